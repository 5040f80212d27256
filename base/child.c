/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/child.c - child processes on the loop: started, read from, ended, reaped.
 *
 * The happy path: spawn; lines come in; the pidfd becomes readable; the status is taken with
 * waitpid(WNOHANG); both pipes reach their end; all handles are closed; the callback runs.
 *
 * There is one SIGCHLD watcher for the whole process. It takes the status of whatever has ended,
 * looking first who it is (WNOWAIT), so that our children get theirs and orphans vanish. It also
 * serves where pidfd_open() is forbidden: then it is the only one to tell of an end.
 *
 * Signals go to process groups. The number of a group cannot be used again while one of its members
 * is left, so we signal only before the leader is reaped, or while the group answers.
 */
#include "base/child.h"

#include "base/alloc.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

/** How often a process without a pidfd is looked at. */
#define WATCH_TICK_MS 100

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* the same on every architecture; source: Linux 5.3 */
#endif

#define KILL_MS_DEFAULT 10000
#define DRAIN_MS 1000
#define READ_BYTES (16 * 1024)

static struct {
    uv_signal_t sigchld;
    bool open, closing;
    unsigned without_pidfd; /* children for which only SIGCHLD tells */
    struct pgv_child *children;
} reaper;

static int open_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void finish(struct pgv_child *c);

/* Whether anybody is left in the process group of an ended child. */
static bool group_is_gone(const struct pgv_child *c)
{
    return kill(-c->pid, 0) != 0 && errno == ESRCH;
}

static void on_timer(uv_timer_t *uv);

static void arm(struct pgv_child *c, uint64_t ms)
{
    uv_update_time(c->loop); /* after a stall its 'now' is old, and a limit would be too short */
    (void)uv_timer_start(&c->timer, on_timer, ms, 0); /* fails only without a callback */
}

/* The child has ended: what is still to wait for before its callback may run? */
static void after_exit(struct pgv_child *c)
{
    if (c->closing || !c->exited)
        return;
    if (c->terminating && !c->killed && !group_is_gone(c))
        return; /* SIGCHLD of the last one, or the timer with KILL, comes back here */
    if (c->terminating)
        c->terminating = false;
    if (!c->reading[0] && !c->reading[1])
        finish(c);
    else
        arm(c, DRAIN_MS);
}

static void on_pidfd_closed(uv_handle_t *uv);

static void note_exit(struct pgv_child *c, int status)
{
    if (c->exited)
        return;
    c->exited = true;
    c->status = status;
    if (!c->terminating)
        (void)uv_timer_stop(&c->timer);
    if (c->pidfd >= 0)
        uv_close((uv_handle_t *)&c->exit_poll, on_pidfd_closed);
    else if (--reaper.without_pidfd == 0)
        uv_unref((uv_handle_t *)&reaper.sigchld);
    after_exit(c);
}

/* Whether it had ended, so that its status could be taken. */
static bool take_status(struct pgv_child *c)
{
    int status = 0;
    pid_t got;

    do {
        got = waitpid(c->pid, &status, WNOHANG);
    } while (got < 0 && errno == EINTR);
    if (got == 0)
        return false; /* not yet: somebody woke us for nothing */
    if (got < 0) {
        pgv_log(PGV_ERROR, "child", "the status of a child was lost pid=%d: %s", (int)c->pid,
                strerror(errno));
        status = 255 << 8;
    }
    note_exit(c, status);
    return true;
}

static void on_pidfd(uv_poll_t *uv, int status, int events)
{
    (void)status;
    (void)events;
    (void)take_status(uv->data);
}

static struct pgv_child *find_child(pid_t pid)
{
    for (struct pgv_child *c = reaper.children; c; c = c->next) {
        if (c->pid == pid && !c->exited)
            return c;
    }
    return NULL;
}

static void on_sigchld(uv_signal_t *uv, int signum)
{
    struct pgv_child *c, *next;

    (void)uv;
    (void)signum;
    for (;;) {
        siginfo_t info = { 0 };

        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
            break;
        c = find_child(info.si_pid);
        if (c) {
            if (!take_status(c))
                break;
        } else if (waitpid(info.si_pid, NULL, WNOHANG) == info.si_pid) {
            pgv_log(PGV_DEBUG, "child", "reaped an orphan pid=%d", (int)info.si_pid);
        } else {
            break;
        }
    }
    /* An orphan may have been the last of a group that somebody waits for. */
    for (c = reaper.children; c; c = next) {
        next = c->next;
        if (c->terminating)
            after_exit(c);
    }
}

static void on_reaper_closed(uv_handle_t *uv)
{
    (void)uv;
    reaper.closing = false;
}

bool pgv_reaper_open(uv_loop_t *loop, struct pgv_error *err)
{
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    int rc;

    PGV_ASSERT(!reaper.open && !reaper.closing);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return pgv_fail_sys(err, errno, "cannot become the reaper of orphans");
    if (sigaction(SIGPIPE, &ignore, NULL) != 0)
        return pgv_fail_sys(err, errno, "cannot ignore SIGPIPE");
    rc = uv_signal_init(loop, &reaper.sigchld);
    if (rc < 0)
        return pgv_fail_sys(err, -rc, "cannot watch for SIGCHLD");
    rc = uv_signal_start(&reaper.sigchld, on_sigchld, SIGCHLD);
    if (rc < 0) {
        reaper.closing = true;
        uv_close((uv_handle_t *)&reaper.sigchld, on_reaper_closed);
        return pgv_fail_sys(err, -rc, "cannot watch for SIGCHLD");
    }
    uv_unref((uv_handle_t *)&reaper.sigchld); /* alone it is no reason for the loop to go on */
    reaper.open = true;
    return true;
}

void pgv_reaper_close(void)
{
    if (!reaper.open)
        return;
    PGV_ASSERT(!reaper.children);
    reaper.open = false;
    reaper.closing = true;
    uv_close((uv_handle_t *)&reaper.sigchld, on_reaper_closed);
}

/* Hands on one line, or a piece of one that is too long. */
static void deliver_line(struct pgv_child *c, int i)
{
    struct pgv_str line = pgv_buf_view(&c->line[i]);

    c->line[i].n = 0;
    c->on_line(c, i + 1, line);
}

static void split_lines(struct pgv_child *c, int i, struct pgv_str data)
{
    struct pgv_buf *line = &c->line[i];

    while (data.n && c->on_line) { /* a line may have been the reason to abandon the child */
        const char *end = memchr(data.p, '\n', data.n);
        size_t n = end ? (size_t)(end - data.p) : data.n;
        size_t room = PGV_CHILD_LINE_BYTES - line->n;
        bool cut = n > room;

        if (cut)
            n = room;
        PGV_ASSERT(pgv_buf_append(line, data.p, n)); /* reserved at the start */
        data.p += n;
        data.n -= n;
        if (!cut && !end)
            return; /* the rest of this line is still to come */
        deliver_line(c, i);
        if (!cut) {
            data.p++; /* the newline */
            data.n--;
        }
    }
}

static void take_output(struct pgv_child *c, int i, struct pgv_str data)
{
    struct pgv_buf *all = i == 0 ? &c->out : &c->err_out;
    size_t room = all->bytes_max - all->n;

    if (c->keep_output) /* past the ceiling, or without memory, the rest is dropped */
        (void)pgv_buf_append(all, data.p, data.n < room ? data.n : room);
    if (c->on_line)
        split_lines(c, i, data);
}

static void on_closed(uv_handle_t *uv)
{
    struct pgv_child *c = uv->data;

    if (--c->uv_open > 0)
        return;
    c->started = false;
    c->pid = 0;
    for (int i = 0; i < 2; i++)
        pgv_buf_done(&c->line[i]);
    pgv_free(c->input);
    c->input = NULL;
    c->cb(c, c->status); /* the owner may free c in here */
}

static void on_pidfd_closed(uv_handle_t *uv)
{
    struct pgv_child *c = uv->data;

    (void)close(c->pidfd);
    c->pidfd = -1;
    on_closed(uv);
}

static void close_pipe_in(struct pgv_child *c)
{
    if (c->input && !uv_is_closing((uv_handle_t *)&c->pipe_in))
        uv_close((uv_handle_t *)&c->pipe_in, on_closed);
}

static void close_pipe_out(struct pgv_child *c, int i)
{
    if (!c->reading[i])
        return;
    c->reading[i] = false;
    if (c->on_line && c->line[i].n) /* a last line without its newline */
        deliver_line(c, i);
    uv_close((uv_handle_t *)&c->pipe_out[i], on_closed);
}

/* Everything is over: no more signals, no more output. The callback runs when all is closed. */
static void finish(struct pgv_child *c)
{
    if (c->closing)
        return;
    c->closing = true;
    for (struct pgv_child **at = &reaper.children; *at; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    close_pipe_in(c);
    close_pipe_out(c, 0);
    close_pipe_out(c, 1);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void on_timer(uv_timer_t *uv)
{
    struct pgv_child *c = uv->data;

    if (c->exited && !c->terminating) { /* somebody else keeps the pipe: enough waited */
        finish(c);
    } else if (c->terminating) {
        pgv_child_kill(c, SIGKILL);
        c->killed = true;
        after_exit(c);
    } else {
        c->timed_out = true;
        pgv_child_cancel(c, c->kill_ms);
    }
}

static void on_alloc(uv_handle_t *uv, size_t suggested, uv_buf_t *ret)
{
    static char chunk[READ_BYTES]; /* libuv reads into it and gives it to on_read() at once */

    (void)uv;
    (void)suggested;
    *ret = uv_buf_init(chunk, sizeof(chunk));
}

static void on_read(uv_stream_t *uv, ssize_t n, const uv_buf_t *chunk)
{
    struct pgv_child *c = uv->data;
    int i = uv == (uv_stream_t *)&c->pipe_out[0] ? 0 : 1;

    if (n > 0) {
        take_output(c, i, (struct pgv_str){ chunk->base, (size_t)n });
    } else if (n < 0) {
        close_pipe_out(c, i);
        if (c->exited && !c->terminating && !c->closing && !c->reading[0] && !c->reading[1])
            finish(c);
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct pgv_child *c = req->data;

    (void)status; /* a child need not read what it is given */
    if (!c->closing)
        close_pipe_in(c);
}

/* Our and the child's ends of the three standard streams; -1 where there is none. */
struct stdio {
    int ours[3], theirs[3];
};

static void close_all(int fd[3])
{
    for (int i = 0; i < 3; i++) {
        if (fd[i] >= 0)
            (void)close(fd[i]);
        fd[i] = -1;
    }
}

static bool open_stdio(const struct pgv_child_options *o, struct stdio *s, struct pgv_error *err)
{
    bool wanted[3] = { o->input.n > 0 || o->ret_input, false, false };
    int ends[2];

    *s = (struct stdio){ { -1, -1, -1 }, { -1, -1, -1 } };
    wanted[1] = wanted[2] = !o->inherit_output && (o->keep_output || o->on_line);
    for (int i = 0; i < 3; i++) {
        if (!wanted[i])
            continue;
        if (pipe2(ends, O_CLOEXEC) != 0) {
            (void)pgv_fail_sys(err, errno, "cannot create a pipe");
            goto fail;
        }
        s->ours[i] = ends[i == 0 ? 1 : 0];
        s->theirs[i] = ends[i == 0 ? 0 : 1];
    }
    if (o->ret_input && fcntl(s->ours[0], F_SETFL, O_NONBLOCK) != 0) {
        (void)pgv_fail_sys(err, errno, "cannot set up a pipe");
        goto fail;
    }
    return true;
fail:
    close_all(s->ours);
    close_all(s->theirs);
    return false;
}

static int add_stdio(posix_spawn_file_actions_t *actions, const struct pgv_child_options *o,
                     const struct stdio *s)
{
    int rc = 0;

    for (int i = 0; i < 3 && rc == 0; i++) {
        if (s->theirs[i] >= 0)
            rc = posix_spawn_file_actions_adddup2(actions, s->theirs[i], i);
        else if (i == 0 || !o->inherit_output)
            rc = posix_spawn_file_actions_addopen(actions, i, "/dev/null",
                                                  i == 0 ? O_RDONLY : O_WRONLY, 0);
    }
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(actions, 3);
    if (rc == 0 && o->cwd)
        rc = posix_spawn_file_actions_addchdir_np(actions, o->cwd);
    return rc;
}

static int set_attributes(posix_spawnattr_t *attr, bool new_session)
{
    sigset_t none, all;
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    int rc;

    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    flags |= new_session ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
    rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attr, &all);
    if (rc == 0)
        rc = posix_spawnattr_setpgroup(attr, 0);
    if (rc == 0)
        rc = posix_spawnattr_setflags(attr, (short)flags);
    return rc;
}

/* posix_spawn() takes char *const[] and promises not to write; the cast says so once. */
static char *const *unconst(const char *const *v)
{
    union {
        const char *const *in;
        char *const *out;
    } u = { .in = v };

    return u.out;
}

static bool spawn(const struct pgv_child_options *o, const struct stdio *s, pid_t *ret,
                  struct pgv_error *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    pid_t pid = 0;
    int rc = posix_spawn_file_actions_init(&actions);

    if (rc != 0)
        return pgv_fail_sys(err, rc, "cannot start '%s'", o->argv[0]);
    rc = posix_spawnattr_init(&attr);
    if (rc == 0) {
        rc = add_stdio(&actions, o, s);
        if (rc == 0)
            rc = set_attributes(&attr, o->new_session);
        if (rc == 0)
            rc = posix_spawnp(&pid, o->argv[0], &actions, &attr, unconst(o->argv),
                              o->env ? unconst(o->env) : environ);
        (void)posix_spawnattr_destroy(&attr);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    if (rc != 0)
        return pgv_fail_sys(err, rc, "cannot start '%s'", o->argv[0]);
    *ret = pid;
    return true;
}

/* What must be there before the child runs, because afterwards nothing may fail. */
static bool reserve(struct pgv_child *c, const struct pgv_child_options *o)
{
    c->keep_output = o->keep_output && !o->inherit_output;
    c->on_line = o->inherit_output ? NULL : o->on_line;
    pgv_buf_init(&c->out, PGV_CHILD_OUTPUT_BYTES);
    pgv_buf_init(&c->err_out, PGV_CHILD_OUTPUT_BYTES);
    for (int i = 0; i < 2; i++) {
        pgv_buf_init(&c->line[i], PGV_CHILD_LINE_BYTES);
        if (c->on_line && !pgv_buf_reserve(&c->line[i], PGV_CHILD_LINE_BYTES))
            return false;
    }
    if (o->input.n) {
        c->input = pgv_alloc(o->input.n);
        if (!c->input)
            return false;
        memcpy(c->input, o->input.p, o->input.n);
    }
    return true;
}

static void open_pipe_in(struct pgv_child *c, int fd, size_t n)
{
    uv_buf_t chunk;

    (void)uv_pipe_init(c->loop, &c->pipe_in, 0); /* cannot fail without ipc */
    c->pipe_in.data = c;
    c->uv_open++;
    c->write_req.data = c;
    chunk = uv_buf_init(c->input, (unsigned)n);
    if (uv_pipe_open(&c->pipe_in, fd) != 0) {
        (void)close(fd);
        close_pipe_in(c);
    } else if (uv_write(&c->write_req, (uv_stream_t *)&c->pipe_in, &chunk, 1, on_written) != 0) {
        close_pipe_in(c);
    }
}

static void open_pipe_out(struct pgv_child *c, int i, int fd)
{
    (void)uv_pipe_init(c->loop, &c->pipe_out[i], 0);
    c->pipe_out[i].data = c;
    c->uv_open++;
    c->reading[i] = true;
    if (uv_pipe_open(&c->pipe_out[i], fd) != 0) {
        (void)close(fd);
        close_pipe_out(c, i); /* its output is lost, its status is not */
    } else if (uv_read_start((uv_stream_t *)&c->pipe_out[i], on_alloc, on_read) != 0) {
        close_pipe_out(c, i);
    }
}

static void watch_exit(struct pgv_child *c)
{
    c->pidfd = open_pidfd(c->pid);
    if (c->pidfd >= 0 && uv_poll_init(c->loop, &c->exit_poll, c->pidfd) != 0) {
        (void)close(c->pidfd);
        c->pidfd = -1;
    }
    if (c->pidfd < 0) { /* SIGCHLD will tell; meanwhile it keeps the loop going */
        if (reaper.without_pidfd++ == 0)
            uv_ref((uv_handle_t *)&reaper.sigchld);
        return;
    }
    c->exit_poll.data = c;
    c->uv_open++;
    PGV_ASSERT(uv_poll_start(&c->exit_poll, UV_READABLE, on_pidfd) == 0);
}

bool pgv_child_start(uv_loop_t *loop, struct pgv_child *c, const struct pgv_child_options *o,
                     pgv_child_cb cb, struct pgv_error *err)
{
    struct stdio s;
    void *data = c->data;
    pid_t pid = 0;

    PGV_ASSERT(reaper.open && !c->started && !(o->input.n && o->ret_input));
    pgv_child_done(c);
    *c = (struct pgv_child){ .data = data, .loop = loop, .cb = cb, .pidfd = -1 };
    if (!open_stdio(o, &s, err))
        return false;
    if (!reserve(c, o)) {
        (void)pgv_fail(err, PGV_ENOMEM, "no memory to start '%s'", o->argv[0]);
        goto fail;
    }
    if (!spawn(o, &s, &pid, err))
        goto fail;

    close_all(s.theirs);
    c->pid = pid;
    c->started = true;
    c->kill_ms = o->kill_ms ? o->kill_ms : KILL_MS_DEFAULT;
    c->next = reaper.children;
    reaper.children = c;
    (void)uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    c->uv_open++;
    watch_exit(c);
    if (c->input)
        open_pipe_in(c, s.ours[0], o->input.n);
    else if (o->ret_input)
        *o->ret_input = s.ours[0];
    for (int i = 0; i < 2; i++) {
        if (s.ours[i + 1] >= 0)
            open_pipe_out(c, i, s.ours[i + 1]);
    }
    if (o->timeout_ms)
        arm(c, o->timeout_ms);
    return true;
fail:
    close_all(s.ours);
    close_all(s.theirs);
    for (int i = 0; i < 2; i++)
        pgv_buf_done(&c->line[i]);
    pgv_free(c->input);
    c->input = NULL;
    return false;
}

void pgv_child_kill(struct pgv_child *c, int sig)
{
    if (!c->started || c->closing)
        return;
    /* Ended and not terminating: the number of the group may belong to somebody else by now. */
    if (c->exited && !c->terminating)
        return;
    (void)kill(-c->pid, sig);
}

void pgv_child_cancel(struct pgv_child *c, uint64_t kill_ms)
{
    if (!c->started || c->closing || c->killed)
        return;
    if (c->exited && !c->terminating) {
        /* Only its output is still awaited, and nobody wants it any more. */
        arm(c, 0);
        return;
    }
    if (!c->terminating) {
        c->terminating = true;
        pgv_child_kill(c, SIGTERM);
        arm(c, kill_ms);
    } else if (uv_timer_get_due_in(&c->timer) > kill_ms) {
        arm(c, kill_ms);
    }
}

void pgv_child_abandon(struct pgv_child *c)
{
    if (!c->started || c->closing)
        return;
    c->terminating = false;
    c->on_line = NULL; /* what is half read now would be handed on from within this call */
    if (!c->exited) {
        c->exited = true; /* for us */
        c->status = -1;
        if (c->pidfd >= 0)
            uv_close((uv_handle_t *)&c->exit_poll, on_pidfd_closed);
        else if (--reaper.without_pidfd == 0)
            uv_unref((uv_handle_t *)&reaper.sigchld);
    }
    finish(c); /* off the list, so that SIGCHLD takes it for an orphan */
}

void pgv_child_done(struct pgv_child *c)
{
    if (!c)
        return;
    PGV_ASSERT(!c->started);
    pgv_buf_done(&c->out);
    pgv_buf_done(&c->err_out);
}

void pgv_child_describe(int status, char *ret, size_t ret_bytes)
{
    if (WIFEXITED(status))
        (void)snprintf(ret, ret_bytes, "exit status %d", WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        (void)snprintf(ret, ret_bytes, "killed by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    else
        (void)snprintf(ret, ret_bytes, "unknown status %d", status);
}

/* A watch that fired: its handle is closed, so the owner may do with it what he likes. */
static void on_watch_closed(uv_handle_t *uv)
{
    struct pgv_pidwatch *w = uv->data;
    bool asked = w->closing;

    if (w->pidfd >= 0)
        (void)close(w->pidfd);
    w->pidfd = -1;
    w->open = w->closing = false;
    if (!asked)
        w->cb(w);
    else if (w->close_cb)
        w->close_cb(w);
}

static uv_handle_t *watch_handle(struct pgv_pidwatch *w)
{
    return w->pidfd >= 0 ? (uv_handle_t *)&w->poll : (uv_handle_t *)&w->timer;
}

static void on_watch(uv_poll_t *uv, int status, int events)
{
    (void)status;
    (void)events;
    uv_close((uv_handle_t *)uv, on_watch_closed);
}

static bool process_is_gone(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

static void on_watch_tick(uv_timer_t *uv)
{
    struct pgv_pidwatch *w = uv->data;

    if (process_is_gone(w->pid))
        uv_close((uv_handle_t *)uv, on_watch_closed);
}

bool pgv_pidwatch_open(uv_loop_t *loop, struct pgv_pidwatch *w, pid_t pid,
                       void (*cb)(struct pgv_pidwatch *w), struct pgv_error *err)
{
    int fd = open_pidfd(pid);

    PGV_ASSERT(!w->open);
    if (fd < 0 && (errno == ESRCH || process_is_gone(pid)))
        return pgv_fail_sys(err, ESRCH, "cannot watch process %d", (int)pid);
    if (fd >= 0 && uv_poll_init(loop, &w->poll, fd) != 0) {
        (void)close(fd);
        fd = -1;
    }
    w->loop = loop;
    w->pid = pid;
    w->pidfd = fd;
    w->cb = cb;
    w->close_cb = NULL;
    w->open = true;
    w->closing = false;
    if (fd >= 0) {
        w->poll.data = w;
        PGV_ASSERT(uv_poll_start(&w->poll, UV_READABLE, on_watch) == 0);
    } else {
        (void)uv_timer_init(loop, &w->timer);
        w->timer.data = w;
        (void)uv_timer_start(&w->timer, on_watch_tick, WATCH_TICK_MS, WATCH_TICK_MS);
    }
    return true;
}

static void on_deferred_closed(uv_handle_t *uv)
{
    struct pgv_pidwatch *w = uv->data;

    w->closing = false;
    w->close_cb(w);
}

void pgv_pidwatch_close(struct pgv_pidwatch *w, void (*close_cb)(struct pgv_pidwatch *w))
{
    PGV_ASSERT(!w->closing);
    if (w->open) {
        w->closing = true;
        w->close_cb = close_cb;
        if (!uv_is_closing(watch_handle(w)))
            uv_close(watch_handle(w), on_watch_closed);
        return;
    }
    if (!close_cb || !w->loop)
        return;
    /* It has fired and is closed already; the answer must come later all the same. */
    w->closing = true;
    w->close_cb = close_cb;
    (void)uv_timer_init(w->loop, &w->timer);
    w->timer.data = w;
    uv_close((uv_handle_t *)&w->timer, on_deferred_closed);
}
