/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/main.c - pgvigil [options] [configfile]: the command line, and life as process 1.
 */
#include "agent/agent.h"
#include "agent/generate.h"
#include "agent/replay.h"
#include "agent/validate.h"
#include "base/alloc.h"
#include "base/fdtable.h"
#include "base/log.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
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
            "usage: %s [-h] [--version] [--validate-config | --generate-sample-config |\n"
            "       --generate-config] [--dsn DSN] [-i] [-p] [--replay FILE] [configfile]\n",
            program);
}

static void help(const char *program)
{
    usage(stdout, program);
    fputs("\n"
          "The node agent of a PostgreSQL high-availability cluster.\n"
          "\n"
          "positional arguments:\n"
          "  configfile   a YAML file, or a folder of *.yml and *.yaml files; without it the\n"
          "               configuration comes from PATRONI_CONFIGURATION or PATRONI_* variables\n"
          "               (with --generate-*: the file to write; without it standard output)\n"
          "\n"
          "options:\n"
          "  -h, --help   show this help message and exit\n"
          "  --version    show the version and exit\n"
          "  --validate-config\n"
          "               say everything that is wrong with the configuration and exit\n"
          "  --generate-sample-config\n"
          "               write a configuration to begin with\n"
          "  --generate-config\n"
          "               write a configuration for the PostgreSQL server that runs here\n"
          "  --dsn DSN    with --generate-config: where the server is, and its superuser; else\n"
          "               libpq's variables (PGHOST, PGUSER, ...) tell\n"
          "  -i, --ignore-listen-port\n"
          "               with --validate-config: addresses to listen on may be in use\n"
          "  -p, --print  with --validate-config: print the configuration when it is right\n"
          "  --replay FILE\n"
          "               tell the story of a flight recording and compare it with what this\n"
          "               build decides: 0 the same, 1 it differs, 2 unreadable\n",
          stdout);
}

/* What argparse says, to which scripts are used; then the exit status is 2. */
static int PGV_PRINTF(2, 3) misused(const char *program, const char *fmt, ...)
{
    va_list args;

    usage(stderr, program);
    fprintf(stderr, "%s: error: ", program);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return 2;
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

/* The text of docs/configuration.md. */
static int print_reference(void)
{
    struct pgv_buf b;
    bool ok;

    pgv_buf_init(&b, AGENT_FINDINGS_BYTES_MAX);
    ok = agent_options_markdown(&b) && fputs(pgv_buf_cstr(&b), stdout) >= 0;
    pgv_buf_done(&b);
    return ok ? 0 : 1;
}

/* What to do instead of living as the agent; of these only one. */
enum mode { RUN, VALIDATE, GENERATE_SAMPLE, GENERATE };

static const char *const mode_options[] = { NULL, "--validate-config", "--generate-sample-config",
                                            "--generate-config" };

static bool choose(enum mode *mode, enum mode wanted, const char *program)
{
    if (*mode != RUN && *mode != wanted) {
        (void)misused(program, "argument %s: not allowed with argument %s", mode_options[wanted],
                      mode_options[*mode]);
        return false;
    }
    *mode = wanted;
    return true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { "validate-config", no_argument, NULL, 'C' },
        { "generate-sample-config", no_argument, NULL, 'S' },
        { "generate-config", no_argument, NULL, 'G' },
        { "dsn", required_argument, NULL, 'D' },
        { "ignore-listen-port", no_argument, NULL, 'i' },
        { "print", no_argument, NULL, 'p' },
        { "options-reference", no_argument, NULL, 'R' }, /* for docs/, not in the usage */
        { "replay", required_argument, NULL, 'Y' },
        { NULL, 0, NULL, 0 },
    };
    const char *program = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    struct pgv_error err = { 0 };
    const char *dsn = NULL, *path;
    bool ignore_port = false, print = false;
    enum mode mode = RUN;
    int c;

    while ((c = getopt_long(argc, argv, ":hip", options, NULL)) != -1) {
        switch (c) {
        case 'h':
            help(program);
            return 0;
        case 'V':
            printf("%s %s (Patroni %s)\n", program, PGVIGIL_VERSION, PGV_PATRONI_VERSION);
            return 0;
        case 'C':
            if (!choose(&mode, VALIDATE, program))
                return 2;
            break;
        case 'S':
            if (!choose(&mode, GENERATE_SAMPLE, program))
                return 2;
            break;
        case 'G':
            if (!choose(&mode, GENERATE, program))
                return 2;
            break;
        case 'D':
            dsn = optarg;
            break;
        case 'i':
            ignore_port = true;
            break;
        case 'p':
            print = true;
            break;
        case 'R':
            return print_reference();
        case 'Y':
            return replay_file(optarg, stdout, stderr);
        case ':':
            return misused(program, "argument %s: expected one argument", argv[optind - 1]);
        default:
            return misused(program, "unrecognized arguments: %s", argv[optind - 1]);
        }
    }
    if (argc - optind > 1)
        return misused(program, "unrecognized arguments: %s", argv[optind + 1]);
    path = optind < argc ? argv[optind] : "";
    switch (mode) {
    case VALIDATE:
        return agent_validate_main(path, print, ignore_port);
    case GENERATE_SAMPLE:
    case GENERATE:
        return agent_generate_main(mode == GENERATE, dsn, path);
    case RUN:
        break;
    }
    if (getpid() == 1)
        be_init();
    pgv_heap_tighten();
    pgv_reserve_open();
    pgv_fdtable_use_allocator();
    umask(077);
    the_agent.program = program;
    if (!agent_open(&the_agent, path, &err)) {
        fprintf(stderr, "%s: %s\n", program, err.msg);
        return 1;
    }
    return agent_run(&the_agent);
}
