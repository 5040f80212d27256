/* SPDX-License-Identifier: PostgreSQL */
/* base/buf.h - borrowed text, and growing text with a ceiling. */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/** Text passed along: @n bytes at @p, not always terminated. The zero value is the empty text. */
struct pgv_str {
    const char *p;
    size_t n;
};

#define PGV_STR(literal) ((struct pgv_str){ (literal), sizeof(literal) - 1 })

struct pgv_str pgv_str(const char *s); /* NULL is the empty text */
bool pgv_str_eq(struct pgv_str a, struct pgv_str b);
bool pgv_str_eqz(struct pgv_str a, const char *b);
/** ASCII letters count as equal in either case; @lower is given in lower case. */
bool pgv_str_eq_nocase(struct pgv_str s, const char *lower);
bool pgv_str_starts(struct pgv_str s, const char *prefix);
struct pgv_str pgv_str_trim(struct pgv_str s);
/** Cut at the first @sep: true and @ret_head, @ret_tail set; false when there is none (then head is
 * all). */
bool pgv_str_cut(struct pgv_str s, char sep, struct pgv_str *ret_head, struct pgv_str *ret_tail);

/**
 * Copy into a fixed array, always terminated. False (and an empty array) when it does not fit or
 * holds a zero byte.
 */
bool pgv_copy(char *dst, size_t dst_bytes, struct pgv_str src) PGV_MUST_CHECK;
bool pgv_copyz(char *dst, size_t dst_bytes, const char *src) PGV_MUST_CHECK;
/** The same for texts that may be cut: for logs and display only. */
void pgv_copy_cut(char *dst, size_t dst_bytes, struct pgv_str src);

/**
 * Growing text with a ceiling. Always terminated once something was appended. Appending past the
 * ceiling or out of memory returns false and sets @failed, which stays, so a writer may append
 * many times and look once at the end. { 0 } is a valid empty buffer with ceiling 0: use _init.
 */
struct pgv_buf {
    char *p;
    size_t n;
    size_t bytes_max;
    bool failed;
    /* private */
    size_t cap;
};

void pgv_buf_init(struct pgv_buf *b, size_t bytes_max);
void pgv_buf_done(struct pgv_buf *b);
void pgv_buf_reset(struct pgv_buf *b); /* empties, keeps the memory, clears failed */
bool pgv_buf_append(struct pgv_buf *b, const void *data, size_t n);
bool pgv_buf_puts(struct pgv_buf *b, const char *s);
bool pgv_buf_putc(struct pgv_buf *b, char c);
bool pgv_buf_str(struct pgv_buf *b, struct pgv_str s);
bool pgv_buf_printf(struct pgv_buf *b, const char *fmt, ...) PGV_PRINTF(2, 3);
bool pgv_buf_reserve(struct pgv_buf *b, size_t more);
void pgv_buf_consume(struct pgv_buf *b, size_t n); /* drops @n bytes from the front */
struct pgv_str pgv_buf_view(const struct pgv_buf *b);
const char *pgv_buf_cstr(struct pgv_buf *b); /* "" when empty */
