/* SPDX-License-Identifier: PostgreSQL */
/* base/error.h - typed errors: what the caller may conclude, and a sentence for people. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>

#define PGV_MUST_CHECK __attribute__((warn_unused_result))
/** Runs in every quiet cycle, when caches are cold: such functions lie side by side. */
#define PGV_HOT __attribute__((hot))
#define PGV_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#define PGV_ERROR_MSG_BYTES 320

enum pgv_code {
    PGV_OK = 0,
    PGV_ENOMEM,       /* nothing was done; later may work */
    PGV_EINVALID,     /* the input is wrong; trying again will not help */
    PGV_ECONFLICT,    /* the other side answered: no */
    PGV_EUNREACHABLE, /* no answer: it may or may not have happened */
    PGV_ECANCELED,    /* we stopped waiting */
    PGV_ESYS,         /* a local system call failed; sys is its errno */
};

struct pgv_error {
    enum pgv_code code;            /* what the caller may conclude */
    int sys;                       /* errno or library code behind it, or 0 */
    char msg[PGV_ERROR_MSG_BYTES]; /* for people, one line; inline, so failing needs no memory */
};

/** Fill @err (which may be NULL) and return false, so that 'return pgv_fail(…)' reads well. */
bool pgv_fail(struct pgv_error *err, enum pgv_code code, const char *fmt, ...) PGV_PRINTF(3, 4);

/** As pgv_fail() with PGV_ESYS and @sys; ': <strerror>' is appended to the message. */
bool pgv_fail_sys(struct pgv_error *err, int sys, const char *fmt, ...) PGV_PRINTF(3, 4);

/** Put 'text: ' in front of the message of a filled @err; the code stays. */
void pgv_error_wrap(struct pgv_error *err, const char *fmt, ...) PGV_PRINTF(2, 3);

/** The name of a code, such as "unreachable", for logs and tests. */
const char *pgv_code_name(enum pgv_code code);

/** For our own broken invariants where going on could mean two primaries; on in release builds. */
#define PGV_ASSERT(c) ((c) ? (void)0 : pgv_assert_failed(#c, __FILE__, __LINE__))
_Noreturn void pgv_assert_failed(const char *what, const char *file, int line);

/** A surprise within one request: logs, counts and yields the truth of @c; in debug builds aborts.
 */
#define PGV_EXPECT(c) (__builtin_expect(!!(c), 1) || pgv_expect_failed(#c, __FILE__, __LINE__))
bool pgv_expect_failed(const char *what, const char *file, int line);
/** Who tells of both; standard error until the log is there. */
void pgv_surprises_to(void (*to)(bool fatal, const char *file, int line, const char *text));
/** How many surprises there were, for the metrics. */
unsigned long pgv_expect_failures(void);
