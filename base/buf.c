/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/buf.c - borrowed text, and growing text with a ceiling.
 *
 * A buffer that failed once keeps what it had and stays failed until it is reset, so that a text
 * with a hole in its middle is never taken for a whole one.
 */
#include "base/buf.h"

#include "base/alloc.h"

#include <stdio.h>

#include "base/banned.h"

struct pgv_str pgv_str(const char *s)
{
    return (struct pgv_str){ s, s ? strlen(s) : 0 };
}

bool pgv_str_eq(struct pgv_str a, struct pgv_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool pgv_str_eqz(struct pgv_str a, const char *b)
{
    return pgv_str_eq(a, pgv_str(b));
}

bool pgv_str_eq_nocase(struct pgv_str s, const char *lower)
{
    if (s.n != strlen(lower))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != lower[i])
            return false;
    }
    return true;
}

bool pgv_str_starts(struct pgv_str s, const char *prefix)
{
    size_t n = strlen(prefix);

    return s.n >= n && (n == 0 || memcmp(s.p, prefix, n) == 0);
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct pgv_str pgv_str_trim(struct pgv_str s)
{
    while (s.n && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool pgv_str_cut(struct pgv_str s, char sep, struct pgv_str *ret_head, struct pgv_str *ret_tail)
{
    const char *p = s.n ? memchr(s.p, sep, s.n) : NULL;

    if (!p) {
        *ret_head = s;
        *ret_tail = (struct pgv_str){ 0 };
        return false;
    }
    *ret_head = (struct pgv_str){ s.p, (size_t)(p - s.p) };
    *ret_tail = (struct pgv_str){ p + 1, s.n - (size_t)(p - s.p) - 1 };
    return true;
}

bool pgv_copy(char *dst, size_t dst_bytes, struct pgv_str src)
{
    PGV_ASSERT(dst_bytes > 0);
    dst[0] = '\0';
    /* A zero byte within would make two different names equal. */
    if (src.n >= dst_bytes || (src.n && memchr(src.p, '\0', src.n)))
        return false;
    if (src.n)
        memcpy(dst, src.p, src.n);
    dst[src.n] = '\0';
    return true;
}

bool pgv_copyz(char *dst, size_t dst_bytes, const char *src)
{
    return pgv_copy(dst, dst_bytes, pgv_str(src));
}

void pgv_copy_cut(char *dst, size_t dst_bytes, struct pgv_str src)
{
    bool cut = src.n >= dst_bytes;

    PGV_ASSERT(dst_bytes > 0);
    if (cut) {
        src.n = dst_bytes - 1;
        while (src.n && ((unsigned char)src.p[src.n] & 0xc0) == 0x80)
            src.n--; /* never within a UTF-8 character */
    }
    if (src.n)
        memcpy(dst, src.p, src.n);
    dst[src.n] = '\0';
}

void pgv_buf_init(struct pgv_buf *b, size_t bytes_max)
{
    *b = (struct pgv_buf){ .bytes_max = bytes_max };
}

void pgv_buf_done(struct pgv_buf *b)
{
    if (!b)
        return;
    pgv_free(b->p);
    *b = (struct pgv_buf){ .bytes_max = b->bytes_max };
}

void pgv_buf_reset(struct pgv_buf *b)
{
    b->n = 0;
    b->failed = false;
    if (b->p)
        b->p[0] = '\0';
}

bool pgv_buf_reserve(struct pgv_buf *b, size_t more)
{
    size_t need, cap;
    char *p;

    if (b->failed)
        return false;
    if (b->n > b->bytes_max || more > b->bytes_max - b->n || b->bytes_max == SIZE_MAX) {
        b->failed = true;
        return false;
    }
    need = b->n + more + 1;
    if (need <= b->cap)
        return true;
    cap = b->cap < 64 ? 64 : b->cap > SIZE_MAX / 2 ? SIZE_MAX : b->cap * 2;
    if (cap < need)
        cap = need;
    if (cap > b->bytes_max + 1)
        cap = b->bytes_max + 1;
    p = pgv_realloc(b->p, cap);
    if (!p && cap > need) { /* memory is short: ask for no more than is needed */
        cap = need;
        p = pgv_realloc(b->p, cap);
    }
    if (!p) {
        b->failed = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    b->p[b->n] = '\0';
    return true;
}

bool pgv_buf_append(struct pgv_buf *b, const void *data, size_t n)
{
    if (!pgv_buf_reserve(b, n))
        return false;
    if (n)
        memcpy(b->p + b->n, data, n);
    b->n += n;
    b->p[b->n] = '\0';
    return true;
}

bool pgv_buf_puts(struct pgv_buf *b, const char *s)
{
    return pgv_buf_append(b, s, strlen(s));
}

bool pgv_buf_putc(struct pgv_buf *b, char c)
{
    return pgv_buf_append(b, &c, 1);
}

bool pgv_buf_str(struct pgv_buf *b, struct pgv_str s)
{
    return pgv_buf_append(b, s.p, s.n);
}

bool pgv_buf_printf(struct pgv_buf *b, const char *fmt, ...)
{
    va_list args;
    size_t room = b->cap > b->n ? b->cap - b->n : 0;
    int n;

    if (b->failed)
        return false;
    va_start(args, fmt);
    n = vsnprintf(b->p ? b->p + b->n : NULL, b->p ? room : 0, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n >= room) {
        if (b->p)
            b->p[b->n] = '\0'; /* what was begun does not count */
        if (!pgv_buf_reserve(b, (size_t)n))
            return false;
        va_start(args, fmt);
        n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, args);
        va_end(args);
    }
    if (n < 0) {
        b->failed = true;
        return false;
    }
    b->n += (size_t)n;
    return true;
}

void pgv_buf_consume(struct pgv_buf *b, size_t n)
{
    PGV_ASSERT(n <= b->n);
    if (n == 0)
        return;
    memmove(b->p, b->p + n, b->n - n + 1);
    b->n -= n;
}

struct pgv_str pgv_buf_view(const struct pgv_buf *b)
{
    return (struct pgv_str){ b->p, b->n };
}

const char *pgv_buf_cstr(struct pgv_buf *b)
{
    return b->p ? b->p : "";
}
