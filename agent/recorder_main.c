/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/recorder_main.c - pgvigil-recorder: what of the flight recorder may wait for a disk.
 *
 * The agent starts it; nobody else needs to. As the writer it copies its standard input into the
 * ring file until the end of that input, which is the end of the agent: what the agent had written
 * by then lies in the pipe and is still taken. It looks into the pipe once a minute, or at once
 * when RECORDER_SIGNAL_TAKE tells it to. A disk that hangs makes this process wait, the pipe run
 * full, and the agent go on without recording. As the reader it prints the last decisions.
 *
 *     pgvigil-recorder write FILE BYTES NODE      prints 'ready SALT SEQ AT' once it can begin
 *     pgvigil-recorder last N AT FILE             prints a JSON list
 *
 * Errors go to standard error, as one line each; then it ends with status 1.
 */
#include "agent/record_file.h"
#include "agent/recorder.h"
#include "base/alloc.h"
#include "base/parse.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

/** To be woken costs more than to write: what nobody is in a hurry for waits in the pipe. */
#define GATHER_S 120

static int fail(const struct pgv_error *err)
{
    fprintf(stderr, "%s\n", err->msg);
    return 1;
}

static void on_take(int signum)
{
    (void)signum; /* it ends the waiting, which is all */
}

static int write_ring(const char *path, uint64_t bytes, const char *node)
{
    static unsigned char chunk[4096];
    struct pollfd end = { .fd = STDIN_FILENO }; /* no events: only the end of the input counts */
    const struct timespec gather = { .tv_sec = GATHER_S };
    struct sigaction take = { .sa_handler = on_take };
    struct record_file f;
    sigset_t mask, waiting;
    struct pgv_error err;
    ssize_t n;

    /* Blocked except while waiting: none is lost between reading and waiting. */
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, RECORDER_SIGNAL_TAKE);
    (void)sigprocmask(SIG_BLOCK, &mask, &waiting);
    (void)sigaction(RECORDER_SIGNAL_TAKE, &take, NULL);
    if (!record_file_open(&f, path, bytes, node, &err))
        return fail(&err);
    printf("ready %lu %llu %llu\n", (unsigned long)f.header.salt, (unsigned long long)f.next_seq,
           (unsigned long long)f.at);
    fflush(stdout);
    while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            pgv_fail_sys(&err, errno, "cannot read what the agent says");
            return fail(&err);
        }
        if (!record_file_append(&f, chunk, (size_t)n, &err))
            return fail(&err);
        if ((size_t)n < sizeof(chunk))
            (void)ppoll(&end, 1, &gather, &waiting);
    }
    record_file_close(&f);
    return 0;
}

static int print_last(unsigned n, uint64_t at, const char *path)
{
    struct pgv_error err;
    struct pgv_buf b;
    int status = 0;

    pgv_buf_init(&b, RECORDER_ANSWER_BYTES_MAX);
    if (!record_file_decisions(path, at, n, &b, &err))
        status = fail(&err);
    else if (fwrite(b.p, 1, b.n, stdout) != b.n || fflush(stdout) != 0)
        status = 1;
    pgv_buf_done(&b);
    return status;
}

int main(int argc, char **argv)
{
    uint64_t n, at;

    pgv_heap_tighten();
    if (argc == 5 && strcmp(argv[1], "write") == 0 && pgv_parse_u64(pgv_str(argv[3]), &n) &&
        n >= RECORDER_BYTES_MIN && n <= RECORDER_BYTES_MAX)
        return write_ring(argv[2], n, argv[4]);
    if (argc == 5 && strcmp(argv[1], "last") == 0 && pgv_parse_u64(pgv_str(argv[2]), &n) &&
        n >= 1 && n <= RECORD_DECISIONS_MAX && pgv_parse_u64(pgv_str(argv[3]), &at))
        return print_last((unsigned)n, at, argv[4]);
    fprintf(stderr, "pgvigil-recorder is started by pgvigil\n");
    return 2;
}
