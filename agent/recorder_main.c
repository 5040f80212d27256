/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/recorder_main.c - pgvigil-recorder: what of the flight recorder may wait for a disk.
 *
 * The agent starts it; nobody else needs to. As the writer it takes its standard input into the
 * ring file, frames as they are and held steps as frames, until the end of that input, which is the
 * end of the agent: what the agent had written by then lies in the pipe and is still taken. It
 * looks into the pipe every two minutes, or at once when RECORDER_SIGNAL_TAKE tells it to. A disk
 * that hangs makes this process wait, the pipe run full, and the agent go on without recording. As
 * the reader it prints the last decisions.
 *
 *     pgvigil-recorder write FILE BYTES NODE HELD_ID   prints 'ready SALT SEQ' once it can begin
 *     pgvigil-recorder last N SEQ FILE                 prints a JSON list
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

/* What has come, and what of it is to be written. */
struct intake {
    char in[4096];
    size_t n, frame_left; /* bytes of a frame that have still to come */
    uint64_t seq;         /* of the last whole piece, or of the frame that is on its way */
    struct pgv_buf out;
};
_Static_assert(RECORD_HELD_BYTES_MAX <= sizeof(((struct intake *)0)->in), "a held step fits");
#define OUT_BYTES 4096
#define OUT_BYTES_MAX 65536 /* and a piece more */

static bool write_out(struct intake *t, struct record_file *f, struct pgv_error *err)
{
    bool ok = record_file_append(f, t->out.p, t->out.n, err);

    pgv_buf_reset(&t->out);
    return ok;
}

/* All but the beginning of a piece, which stays for what comes behind it. */
static bool take_in(struct intake *t, struct record_file *f, struct pgv_error *err)
{
    size_t at = 0, bytes;

    while (at < t->n) {
        const char *p = t->in + at;
        size_t left = t->n - at;

        if (t->frame_left) {
            bytes = left < t->frame_left ? left : t->frame_left;
            if (!pgv_buf_append(&t->out, p, bytes))
                return pgv_fail(err, PGV_ENOMEM, "no memory for a frame");
            t->frame_left -= bytes;
        } else {
            enum record_piece piece = record_piece(p, left, &bytes, &t->seq);

            if (piece == RECORD_DAMAGED)
                return pgv_fail(err, PGV_EINVALID, "what the agent says makes no sense");
            if (piece == RECORD_FRAME) {
                t->frame_left = bytes;
                continue;
            }
            if (piece == RECORD_CUT || left < bytes)
                break;
            if (!record_put_held(&t->out, f->header.salt, p))
                return pgv_fail(err, PGV_ENOMEM, "no memory for a frame");
        }
        at += bytes;
        if (t->out.n >= OUT_BYTES && !write_out(t, f, err))
            return false;
    }
    t->n -= at;
    memmove(t->in, t->in + at, t->n);
    return true;
}

static int write_ring(const char *path, uint64_t bytes, const char *node)
{
    static struct intake t;
    struct pollfd end = { .fd = STDIN_FILENO }; /* no events: only the end of the input counts */
    const struct timespec gather = { .tv_sec = GATHER_S };
    struct sigaction on_signal = { .sa_handler = on_take };
    struct record_file f;
    sigset_t mask, waiting;
    struct pgv_error err;
    ssize_t n;

    /* Blocked except while waiting: none is lost between reading and waiting. */
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, RECORDER_SIGNAL_TAKE);
    (void)sigprocmask(SIG_BLOCK, &mask, &waiting);
    (void)sigaction(RECORDER_SIGNAL_TAKE, &on_signal, NULL);
    if (!record_file_open(&f, path, bytes, node, &err))
        return fail(&err);
    pgv_buf_init(&t.out, OUT_BYTES_MAX);
    printf("ready %lu %llu\n", (unsigned long)f.header.salt, (unsigned long long)f.next_seq);
    fflush(stdout);
    while ((n = read(STDIN_FILENO, t.in + t.n, sizeof(t.in) - t.n)) != 0) {
        bool all = n >= 0 && t.n + (size_t)n < sizeof(t.in);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            pgv_fail_sys(&err, errno, "cannot read what the agent says");
            return fail(&err);
        }
        t.n += (size_t)n;
        if (!take_in(&t, &f, &err) || (all && !write_out(&t, &f, &err)) ||
            (all && !t.n && !t.frame_left && !record_file_pause(&f, t.seq, &err)))
            return fail(&err);
        if (all)
            (void)ppoll(&end, 1, &gather, &waiting);
    }
    if (!write_out(&t, &f, &err))
        return fail(&err);
    pgv_buf_done(&t.out);
    record_file_close(&f);
    return 0;
}

static int print_last(unsigned n, uint64_t seq, const char *path)
{
    struct pgv_error err;
    struct pgv_buf b;
    int status = 0;

    pgv_buf_init(&b, RECORDER_ANSWER_BYTES_MAX);
    if (!record_file_decisions(path, seq, n, &b, &err))
        status = fail(&err);
    else if (fwrite(b.p, 1, b.n, stdout) != b.n || fflush(stdout) != 0)
        status = 1;
    pgv_buf_done(&b);
    return status;
}

int main(int argc, char **argv)
{
    uint64_t n, seq;

    pgv_heap_tighten();
    if (argc == 6 && strcmp(argv[1], "write") == 0 && pgv_parse_u64(pgv_str(argv[3]), &n) &&
        n >= RECORDER_BYTES_MIN && n <= RECORDER_BYTES_MAX) {
        if (strcmp(argv[5], record_held_id()) == 0)
            return write_ring(argv[2], n, argv[4]);
        fprintf(stderr, "pgvigil-recorder is of another build than the pgvigil that runs\n");
        return 1;
    }
    if (argc == 5 && strcmp(argv[1], "last") == 0 && pgv_parse_u64(pgv_str(argv[2]), &n) &&
        n >= 1 && n <= RECORD_DECISIONS_MAX && pgv_parse_u64(pgv_str(argv[3]), &seq))
        return print_last((unsigned)n, seq, argv[4]);
    fprintf(stderr, "pgvigil-recorder is started by pgvigil\n");
    return 2;
}
