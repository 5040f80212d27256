/* SPDX-License-Identifier: PostgreSQL */
/* ctl/prompt.c - questions to a person, byte by byte from standard input so that nothing is lost.
 */
#include "ctl/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "base/banned.h"

/** As read(); -1 with EINTR, and nothing read, once Ctrl-C came. */
static ssize_t read_input(int fd, void *ret, size_t bytes)
{
    if (ctl_wait_for_fd(fd, POLLIN, UINT64_MAX) > 0)
        return read(fd, ret, bytes);
    errno = EINTR;
    return -1;
}

/** A line without its newline; what does not fit is dropped. */
static bool read_line(struct ctl *c, int fd, bool hidden, char ret[CTL_ANSWER_BYTES],
                      struct pgv_error *err)
{
    size_t n = 0;
    char byte;

    for (;;) {
        ssize_t got = read_input(fd, &byte, 1);

        if (ctl_interrupted() || got == 0)
            return ctl_aborted(c, hidden, err);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return pgv_fail_sys(err, errno, "cannot read the answer");
        if (byte == '\n')
            break;
        if (n + 1 < CTL_ANSWER_BYTES)
            ret[n++] = byte;
    }
    if (n > 0 && ret[n - 1] == '\r')
        n--;
    ret[n] = '\0';
    return true;
}

bool ctl_ask(struct ctl *c, const char *text, const char *otherwise, char ret[CTL_ANSWER_BYTES],
             struct pgv_error *err)
{
    char answer[CTL_ANSWER_BYTES];

    do {
        if (otherwise)
            ctl_print(c, "%s [%s]: ", text, otherwise);
        else
            ctl_print(c, "%s: ", text);
        if (!read_line(c, c->in_fd, false, answer, err))
            return false;
    } while (!answer[0] && !otherwise);
    pgv_copy_cut(ret, CTL_ANSWER_BYTES, pgv_str(answer[0] ? answer : otherwise));
    return true;
}

bool ctl_ask_secret(struct ctl *c, const char *text, char ret[CTL_ANSWER_BYTES],
                    struct pgv_error *err)
{
    int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    int fd = terminal >= 0 ? terminal : c->in_fd;
    struct termios before, hidden;
    bool restore = tcgetattr(fd, &before) == 0, ok;

    if (restore) {
        hidden = before;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        (void)tcsetattr(fd, TCSAFLUSH, &hidden);
    }
    do {
        dprintf(terminal >= 0 ? terminal : STDERR_FILENO, "%s: ", text);
        ok = read_line(c, fd, true, ret, err);
        if (ok && restore) /* the newline was not shown either */
            dprintf(terminal >= 0 ? terminal : STDERR_FILENO, "\n");
    } while (ok && !ret[0]);
    if (restore)
        (void)tcsetattr(fd, TCSAFLUSH, &before);
    if (terminal >= 0)
        close(terminal);
    return ok;
}

bool ctl_ask_integer(struct ctl *c, const char *text, int64_t *ret, struct pgv_error *err)
{
    char answer[CTL_ANSWER_BYTES], *end;

    for (;;) {
        if (!ctl_ask(c, text, NULL, answer, err))
            return false;
        errno = 0;
        *ret = strtoll(answer, &end, 10);
        if (!errno && end != answer && !*end)
            return true;
        ctl_print(c, "Error: '%s' is not a valid integer.\n", answer);
    }
}

bool ctl_confirm(struct ctl *c, const char *text, bool *ret, struct pgv_error *err)
{
    char answer[CTL_ANSWER_BYTES];
    struct pgv_str word;

    for (;;) {
        ctl_print(c, "%s [y/N]: ", text);
        if (!read_line(c, c->in_fd, false, answer, err))
            return false;
        word = pgv_str_trim(pgv_str(answer));
        *ret = (word.n == 1 && strncasecmp(word.p, "y", 1) == 0) ||
               (word.n == 3 && strncasecmp(word.p, "yes", 3) == 0);
        if (*ret || word.n == 0 || (word.n == 1 && strncasecmp(word.p, "n", 1) == 0) ||
            (word.n == 2 && strncasecmp(word.p, "no", 2) == 0))
            return true;
        ctl_print(c, "Error: invalid input\n");
    }
}

bool ctl_read_input(struct ctl *c, struct pgv_buf *b, struct pgv_error *err)
{
    char piece[4096];

    for (;;) {
        ssize_t got = read_input(c->in_fd, piece, sizeof(piece));

        if (ctl_interrupted())
            return ctl_aborted(c, true, err);
        if (got == 0)
            return true;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return pgv_fail_sys(err, errno, "cannot read standard input");
        if (!pgv_buf_append(b, piece, (size_t)got))
            return pgv_fail(err, PGV_EINVALID, "standard input is too long");
    }
}
