/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/log_sink.c - where the lines of the log go: standard error or a rotated file.
 *
 * A log must never stop the loop. What may block (a pipe or socket whose reader sleeps, a stopped
 * terminal) is written without waiting, and a line that does not fit is lost and counted.
 */
#include "base/log_sink.h"

#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/banned.h"

void log_sink_stderr(struct log_sink *s)
{
    struct stat st;
    int fd;

    *s = (struct log_sink){ .kind = LOG_SINK_STDERR, .fd = STDERR_FILENO };
    if (fstat(STDERR_FILENO, &st) != 0)
        return;
    if (S_ISSOCK(st.st_mode)) {
        s->kind = LOG_SINK_SOCKET;
    } else if (S_ISFIFO(st.st_mode)) {
        /* O_NONBLOCK belongs to the open file, which our children share: so we open our own. */
        fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0) {
            s->kind = LOG_SINK_PIPE;
            s->fd = fd;
        }
    }
}

bool log_sink_open_file(struct log_sink *s, struct pgv_error *err)
{
    int fd =
        open(s->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, s->mode);

    if (fd < 0)
        return pgv_fail_sys(err, errno, "cannot open log file '%s'", s->path);
    /* Somebody else's file stays as it is; that is no reason not to log. */
    (void)fchmod(fd, s->mode);
    s->kind = LOG_SINK_FILE;
    s->fd = fd;
    s->torn = false;
    return true;
}

void log_sink_close(struct log_sink *s)
{
    if (s->kind == LOG_SINK_FILE || s->kind == LOG_SINK_PIPE)
        (void)close(s->fd);
    *s = (struct log_sink){ .kind = LOG_SINK_STDERR, .fd = STDERR_FILENO };
}

static void old_path(const struct log_sink *s, unsigned i, char ret[PATH_MAX])
{
    int n = snprintf(ret, PATH_MAX, "%s.%u", s->path, i);

    if (n < 0 || n >= PATH_MAX) /* configured paths leave room for the suffix */
        ret[0] = '\0';
}

/* .3 to .4, …, the file to .1, and a new file. If that cannot be opened we go on in the old one. */
static void rotate(struct log_sink *s)
{
    char from[PATH_MAX], to[PATH_MAX];
    struct log_sink next = *s;
    struct stat st;

    if (stat(s->path, &st) == 0) {
        for (unsigned i = s->keep; i > 1; i--) {
            old_path(s, i - 1, from);
            old_path(s, i, to);
            (void)rename(from, to); /* it may not exist yet */
        }
        old_path(s, 1, to);
        if (rename(s->path, to) != 0)
            return;
    }
    if (!log_sink_open_file(&next, NULL))
        return;
    (void)close(s->fd);
    *s = next;
}

static bool must_rotate(const struct log_sink *s, size_t n)
{
    struct stat st;

    return s->kind == LOG_SINK_FILE && s->bytes_max && s->keep && fstat(s->fd, &st) == 0 &&
           st.st_size > 0 && (uint64_t)st.st_size + n >= s->bytes_max;
}

static ssize_t write_once(const struct log_sink *s, const struct iovec *iov, int iov_n)
{
    struct pollfd room = { .fd = s->fd, .events = POLLOUT };
    struct msghdr msg = { 0 };

    switch (s->kind) {
    case LOG_SINK_SOCKET:
        msg.msg_iovlen = (size_t)iov_n;
        msg.msg_iov = (struct iovec *)(uintptr_t)iov;
        return sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    case LOG_SINK_STDERR: /* a terminal or a file: the look beforehand is all we can do */
        if (poll(&room, 1, 0) == 0)
            return -1;
        break;
    case LOG_SINK_PIPE:
    case LOG_SINK_FILE:
        break;
    }
    return writev(s->fd, iov, iov_n);
}

bool log_sink_write(struct log_sink *s, const char *line, size_t n)
{
    char newline[] = "\n";
    struct iovec iov[2] = { { newline, 1 }, { (char *)(uintptr_t)line, n } };
    int first = s->torn ? 0 : 1;
    size_t want = n + (s->torn ? 1 : 0);
    ssize_t put;

    if (must_rotate(s, n))
        rotate(s);
    do {
        put = write_once(s, iov + first, 2 - first);
    } while (put < 0 && errno == EINTR);
    if (put > 0)
        s->torn = (size_t)put < want;
    return put > 0 && (size_t)put == want;
}
