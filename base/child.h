/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/child.h - child processes on the loop.
 *
 * Children start through posix_spawn (no copy of our memory is committed, no thread), each in a
 * process group of its own. Their end is known at once through a pidfd. The agent makes itself
 * the subreaper of its descendants: orphans (a dead postmaster's backends, a callback's children)
 * come to us and are reaped here, so that a new postmaster need not wait for process 1.
 */
#pragma once

#include "base/buf.h"

#include <sys/types.h>
#include <uv.h>

struct pgv_child;

/** How it ended: @status as waitpid() gives it. Runs once, after all output was delivered. */
typedef void (*pgv_child_cb)(struct pgv_child *c, int status);
/** One line of output without its newline; @fd is 1 or 2. Lines beyond PGV_CHILD_LINE_BYTES come in
 * pieces. */
typedef void (*pgv_child_line_cb)(struct pgv_child *c, int fd, struct pgv_str line);

#define PGV_CHILD_LINE_BYTES 4096

struct pgv_child_options {
    const char *const *argv;   /* argv[0] with a slash is a path, else looked up in PATH */
    const char *const *env;    /* NULL: our own environment */
    const char *cwd;           /* NULL: ours */
    struct pgv_str input;      /* copied and written to its stdin; empty: /dev/null */
    int *ret_input;            /* or NULL: gets our end of its stdin, non-blocking, the caller's */
    uint64_t timeout_ms;       /* 0: none. When it passes: TERM to the group, KILL kill_ms later */
    uint64_t kill_ms;          /* 0: 10 s */
    bool keep_output;          /* collect stdout and stderr into out and err_out, bounded */
    bool inherit_output;       /* stdout and stderr are ours (postmaster, callbacks) */
    bool new_session;          /* setsid: survives us, as a postmaster must */
    pgv_child_line_cb on_line; /* NULL: none */
};

struct pgv_child {
    void *data; /* the owner's */
    pid_t pid;  /* 0 before and after */
    bool timed_out;
    struct pgv_buf out, err_out; /* with keep_output, at most PGV_CHILD_OUTPUT_BYTES each */
    /* private */
    uv_loop_t *loop;
    pgv_child_cb cb;
    pgv_child_line_cb on_line;
    int pidfd, status;
    bool started, exited, closing, keep_output;
    bool terminating; /* TERM went to the group: the whole group must be gone, not its leader alone
                       */
    bool killed;      /* KILL too */
    bool reading[2];
    unsigned uv_open;
    uint64_t kill_ms;
    uv_poll_t exit_poll;
    uv_timer_t timer;
    uv_pipe_t pipe_in, pipe_out[2];
    uv_write_t write_req;
    char *input;
    struct pgv_buf line[2];
    struct pgv_child *next;
};

#define PGV_CHILD_OUTPUT_BYTES (256 * 1024)

/**
 * Become the subreaper and reap orphans on @loop. Once per process, before the first child. Also
 * ignores SIGPIPE, because a child may close its standard input before it has read it all.
 */
bool pgv_reaper_open(uv_loop_t *loop, struct pgv_error *err) PGV_MUST_CHECK;
/** No child may be left. The loop must run once more; then the reaper may be opened again. */
void pgv_reaper_close(void);

/**
 * { 0 } or a finished child is what @c must be; c->data is kept. Failing leaves nothing to clean:
 * PGV_ESYS with sys = ENOENT, EACCES, EAGAIN… when the program cannot be started, else PGV_ENOMEM.
 * After the end of the child its output is read on until all of it is there, but at most one second
 * when a grandchild keeps the pipe. Grandchildren are left alone, unless the child was cancelled or
 * timed out: then the callback waits until its whole group is gone.
 */
bool pgv_child_start(uv_loop_t *loop, struct pgv_child *c, const struct pgv_child_options *o,
                     pgv_child_cb cb, struct pgv_error *err) PGV_MUST_CHECK;
/** Signal the whole process group. Harmless when it has ended. */
void pgv_child_kill(struct pgv_child *c, int sig);
/** TERM to the group now, KILL after @kill_ms; the callback comes when it has ended. */
void pgv_child_cancel(struct pgv_child *c, uint64_t kill_ms);
/**
 * Let a running child go on by itself, as a postmaster must when the agent ends: it is not watched
 * any more, and reaped as an orphan is. No more lines come; the callback comes later, with status
 * -1 unless the child had ended.
 */
void pgv_child_abandon(struct pgv_child *c);
/** Free the collected output of a finished child. */
void pgv_child_done(struct pgv_child *c);
/** 'exit status 3', 'killed by signal 9 (Killed)'. */
void pgv_child_describe(int status, char *ret, size_t ret_bytes);

/** Watch a process that is not our child. @cb runs once when it has ended, then the watch is
 * closed. Where no pidfd can be had (no descriptor left, forbidden) its number is looked at ten
 * times a second. */
struct pgv_pidwatch {
    void *data;
    pid_t pid;
    /* private */
    uv_loop_t *loop;
    int pidfd; /* -1: polled */
    uv_poll_t poll;
    uv_timer_t timer;
    void (*cb)(struct pgv_pidwatch *w);
    void (*close_cb)(struct pgv_pidwatch *w);
    bool open, closing;
};
/** PGV_ESYS with sys = ESRCH: there is no such process. */
bool pgv_pidwatch_open(uv_loop_t *loop, struct pgv_pidwatch *w, pid_t pid,
                       void (*cb)(struct pgv_pidwatch *w), struct pgv_error *err) PGV_MUST_CHECK;
/** @close_cb may be NULL; runs later, also when the watch had fired. */
void pgv_pidwatch_close(struct pgv_pidwatch *w, void (*close_cb)(struct pgv_pidwatch *w));
