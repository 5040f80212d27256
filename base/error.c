/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/error.c - typed errors, and what happens when our own invariants break.
 *
 * Nothing here allocates: an error is filled in the caller's memory, cut where it does not fit, and
 * kept on one line, because it ends up as one line of a log.
 */
#include "base/error.h"

#include <stdio.h>

#include "base/banned.h"

static unsigned long expect_failures;

/* One line for people: control characters would break the log's lines. */
static void flatten(char *msg)
{
    for (char *p = msg; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    }
}

static void fill(struct pgv_error *err, enum pgv_code code, int sys, const char *fmt, va_list args)
    __attribute__((format(printf, 4, 0)));

static void fill(struct pgv_error *err, enum pgv_code code, int sys, const char *fmt, va_list args)
{
    /* The message being built may quote the old one, so it is built beside it. */
    char msg[PGV_ERROR_MSG_BYTES];

    (void)vsnprintf(msg, sizeof(msg), fmt, args);
    flatten(msg);
    err->code = code;
    err->sys = sys;
    memcpy(err->msg, msg, sizeof(msg));
}

bool pgv_fail(struct pgv_error *err, enum pgv_code code, const char *fmt, ...)
{
    va_list args;

    if (err) {
        va_start(args, fmt);
        fill(err, code, 0, fmt, args);
        va_end(args);
    }
    return false;
}

bool pgv_fail_sys(struct pgv_error *err, int sys, const char *fmt, ...)
{
    va_list args;
    size_t n;

    if (err) {
        va_start(args, fmt);
        fill(err, PGV_ESYS, sys, fmt, args);
        va_end(args);
        n = strlen(err->msg);
        (void)snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", strerror(sys));
    }
    return false;
}

void pgv_error_wrap(struct pgv_error *err, const char *fmt, ...)
{
    char old[PGV_ERROR_MSG_BYTES];
    va_list args;
    size_t n;

    if (!err)
        return;
    memcpy(old, err->msg, sizeof(old));
    va_start(args, fmt);
    fill(err, err->code, err->sys, fmt, args);
    va_end(args);
    n = strlen(err->msg);
    (void)snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", old);
}

const char *pgv_code_name(enum pgv_code code)
{
    switch (code) {
    case PGV_OK:
        return "ok";
    case PGV_ENOMEM:
        return "out of memory";
    case PGV_EINVALID:
        return "invalid";
    case PGV_ECONFLICT:
        return "conflict";
    case PGV_EUNREACHABLE:
        return "unreachable";
    case PGV_ECANCELED:
        return "canceled";
    case PGV_ESYS:
        return "system";
    }
    return "unknown";
}

static void say_plain(bool fatal, const char *file, int line, const char *text)
{
    (void)fatal;
    (void)file;
    (void)line;
    fprintf(stderr, "%s\n", text);
}

static void (*say)(bool fatal, const char *file, int line, const char *text) = say_plain;

void pgv_surprises_to(void (*to)(bool fatal, const char *file, int line, const char *text))
{
    say = to;
}

void pgv_assert_failed(const char *what, const char *file, int line)
{
    char text[512];

    (void)snprintf(text, sizeof(text), "assertion failed: %s at %s:%d", what, file, line);
    say(true, file, line, text);
    abort();
}

bool pgv_expect_failed(const char *what, const char *file, int line)
{
    char text[512];

    expect_failures++;
    (void)snprintf(text, sizeof(text), "a surprise, this request fails: %s at %s:%d", what, file,
                   line);
    say(false, file, line, text);
#ifdef PGV_DEBUG_BUILD
    abort();
#endif
    return false;
}

unsigned long pgv_expect_failures(void)
{
    return expect_failures;
}
