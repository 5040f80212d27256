/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/main.c - pgvigil [options] [configfile]: the command line, and life as process 1.
 */
#include "agent/agent.h"

#include "agent/replay.h"
#include "base/alloc.h"
#include "base/log.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct agent the_agent; /* large: not on the stack */
static volatile sig_atomic_t init_child;

static void usage(FILE *to, const char *program)
{
    fprintf(to,
            "usage: %s [-h] [--version] [--replay FILE] [configfile]\n"
            "\n"
            "The node agent of a PostgreSQL high-availability cluster.\n"
            "\n"
            "positional arguments:\n"
            "  configfile   a YAML file, or a folder of *.yml and *.yaml files; without it the\n"
            "               configuration comes from PATRONI_CONFIGURATION or PATRONI_* variables\n"
            "\n"
            "options:\n"
            "  -h, --help   show this help message and exit\n"
            "  --version    show the version and exit\n"
            "  --replay FILE\n"
            "               tell the story of a flight recording and compare it with what this\n"
            "               build decides: 0 the same, 1 it differs, 2 unreadable\n",
            program);
}

static void forward(int signum)
{
    if (init_child > 0)
        kill((pid_t)init_child, signum);
}

/*
 * As process 1 (of a container): the agent is a child, signals are passed on, and every orphan is
 * reaped. Returns only in the child.
 */
static void be_init(void)
{
    static const int passed[] = { SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGINT, SIGABRT, SIGTERM };
    struct sigaction sa = { .sa_handler = forward };
    int status;
    pid_t pid, child = fork();

    if (child < 0) {
        fprintf(stderr, "pgvigil: fork: %s\n", strerror(errno));
        _exit(1);
    }
    if (child == 0)
        return;
    init_child = child;
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        sigaction(passed[i], &sa, NULL);
    for (;;) {
        pid = waitpid(-1, &status, 0);
        if (pid == child)
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        if (pid < 0 && errno != EINTR)
            _exit(1);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { "replay", required_argument, NULL, 'R' },
        { NULL, 0, NULL, 0 },
    };
    const char *program = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    struct pgv_error err = { 0 };
    int c;

    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (c) {
        case 'h':
            usage(stdout, program);
            return 0;
        case 'V':
            printf("%s %s (Patroni %s)\n", program, PGVIGIL_VERSION, PGV_PATRONI_VERSION);
            return 0;
        case 'R':
            return replay_file(optarg, stdout, stderr);
        default:
            usage(stderr, program);
            return 2;
        }
    }
    if (argc - optind > 1) {
        usage(stderr, program);
        fprintf(stderr, "%s: error: unrecognized arguments: %s\n", program, argv[optind + 1]);
        return 2;
    }
    if (getpid() == 1)
        be_init();
    pgv_reserve_open();
    if (uv_replace_allocator(pgv_alloc, pgv_realloc, pgv_calloc, pgv_free) != 0)
        abort(); /* it refuses nothing but NULL */
    umask(077);
    the_agent.program = program;
    if (!agent_open(&the_agent, optind < argc ? argv[optind] : "", &err)) {
        fprintf(stderr, "%s: %s\n", program, err.msg);
        return 1;
    }
    return agent_run(&the_agent);
}
