/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/parse.c - booleans, digits, reals as text, LSNs, versions, shell words, host:port. Numbers
 * with units are in units.c, moments in time in moment.c.
 */
#include "base/parse.h"

#include "base/alloc.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/banned.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

int pgv_hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool pgv_parse_bool(struct pgv_str s, bool *ret)
{
    static const char *const yes[] = { "on", "true", "yes", "1" };
    static const char *const no[] = { "off", "false", "no", "0" };

    for (size_t i = 0; i < 4; i++) {
        if (pgv_str_eq_nocase(s, yes[i])) {
            *ret = true;
            return true;
        }
        if (pgv_str_eq_nocase(s, no[i])) {
            *ret = false;
            return true;
        }
    }
    return false;
}

bool pgv_parse_u64(struct pgv_str s, uint64_t *ret)
{
    uint64_t v = 0;

    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.p[i]) || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *ret = v;
    return true;
}

void pgv_format_real(double d, char ret[PGV_REAL_BYTES])
{
    char text[PGV_REAL_BYTES], digits[20];
    size_t n = 0, out = 0;
    int point; /* where the decimal point stands, counted from the first digit */

    if (isnan(d) || isinf(d)) {
        (void)snprintf(ret, PGV_REAL_BYTES, "%s", isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
        return;
    }
    for (int precision = 0; precision <= 16; precision++) {
        (void)snprintf(text, sizeof(text), "%.*e", precision, d);
        if (strtod(text, NULL) == d)
            break;
    }
    for (const char *p = text; *p != 'e'; p++) {
        if (is_digit(*p))
            digits[n++] = *p;
    }
    point = (int)strtol(strchr(text, 'e') + 1, NULL, 10) + 1;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (signbit(d))
        ret[out++] = '-';
    if (point < -3 || point > 16) {
        (void)snprintf(ret + out, PGV_REAL_BYTES - out, n > 1 ? "%c.%.*se%+03d" : "%c%.*se%+03d",
                       digits[0], (int)n - 1, digits + 1, point - 1);
        return;
    }
    if (point <= 0)
        (void)snprintf(ret + out, PGV_REAL_BYTES - out, "0.%.*s%.*s", -point, "000", (int)n,
                       digits);
    else if ((size_t)point < n)
        (void)snprintf(ret + out, PGV_REAL_BYTES - out, "%.*s.%.*s", point, digits, (int)n - point,
                       digits + point);
    else
        (void)snprintf(ret + out, PGV_REAL_BYTES - out, "%.*s%.*s.0", (int)n, digits,
                       point - (int)n, "0000000000000000");
}

static bool parse_hex32(struct pgv_str s, uint64_t *ret)
{
    uint64_t v = 0;

    if (s.n < 1 || s.n > 8)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        int digit = pgv_hex_digit(s.p[i]);

        if (digit < 0)
            return false;
        v = v << 4 | (uint64_t)digit;
    }
    *ret = v;
    return true;
}

bool pgv_parse_lsn(struct pgv_str s, uint64_t *ret)
{
    struct pgv_str high, low;
    uint64_t h, l;

    if (!pgv_str_cut(s, '/', &high, &low) || !parse_hex32(high, &h) || !parse_hex32(low, &l))
        return false;
    *ret = h << 32 | l;
    return true;
}

void pgv_format_lsn(uint64_t lsn, char ret[PGV_LSN_BYTES])
{
    (void)snprintf(ret, PGV_LSN_BYTES, "%" PRIX64 "/%" PRIX64, lsn >> 32, lsn & 0xffffffff);
}

bool pgv_parse_pg_version(struct pgv_str s, int *ret)
{
    uint64_t part[3];
    size_t n = 0;

    for (;;) {
        struct pgv_str head, tail;
        bool more = pgv_str_cut(s, '.', &head, &tail);

        if (n == 3 || !pgv_parse_u64(head, &part[n]) || part[n] > 99)
            return false;
        n++;
        if (!more)
            break;
        s = tail;
    }
    if (n < 2 || (n == 2 && part[0] < 10))
        return false;
    if (n == 2) { /* since 10 there are two parts, and 16.4 is 160004 */
        part[2] = part[1];
        part[1] = 0;
    }
    *ret = (int)(part[0] * 10000 + part[1] * 100 + part[2]);
    return true;
}

/* Words of a shell line: adds one word's characters to @b; *@io_at moves on. */
static bool shell_word(struct pgv_str s, size_t *io_at, char *out, size_t *io_n,
                       struct pgv_error *err)
{
    size_t i = *io_at, n = *io_n;
    char quote = '\0';

    for (; i < s.n; i++) {
        char c = s.p[i];

        if (quote == '\0' && (c == ' ' || c == '\t' || c == '\r' || c == '\n'))
            break;
        if (quote == '\0' && (c == '\'' || c == '"')) {
            quote = c;
        } else if (c == quote) {
            quote = '\0';
        } else if (c == '\\' && quote != '\'') {
            if (i + 1 == s.n)
                return pgv_fail(err, PGV_EINVALID, "No escaped character");
            /* Within double quotes a backslash stands for itself unless it quotes '"' or '\'. */
            if (quote == '"' && s.p[i + 1] != '"' && s.p[i + 1] != '\\')
                out[n++] = c;
            else
                out[n++] = s.p[++i];
        } else {
            out[n++] = c;
        }
    }
    if (quote)
        return pgv_fail(err, PGV_EINVALID, "No closing quotation");
    *io_at = i;
    *io_n = n;
    return true;
}

bool pgv_shell_split(struct pgv_arena *arena, struct pgv_str s, char ***ret_argv, size_t *ret_argc,
                     struct pgv_error *err)
{
    size_t argc = 0, at = 0, n = 0, argv_max = s.n / 2 + 2;
    /* Each word is at most as long as its source, and its end takes the place of a blank. */
    char *text = pgv_arena_alloc(arena, s.n + 1);
    char **argv = pgv_arena_alloc(arena, argv_max * sizeof(*argv));

    if (!text || !argv)
        return pgv_fail(err, PGV_ENOMEM, "no memory to split a command line");
    if (s.n && memchr(s.p, '\0', s.n))
        return pgv_fail(err, PGV_EINVALID, "a command line must not contain a zero byte");
    for (;;) {
        while (at < s.n && strchr(" \t\r\n", s.p[at]))
            at++;
        if (at == s.n)
            break;
        argv[argc++] = text + n;
        if (!shell_word(s, &at, text, &n, err))
            return false;
        text[n++] = '\0';
    }
    argv[argc] = NULL;
    *ret_argv = argv;
    *ret_argc = argc;
    return true;
}

static bool is_ipv6(struct pgv_str s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;

    return pgv_copy(text, sizeof(text), s) && inet_pton(AF_INET6, text, &addr) == 1;
}

/* Append one host without blanks and brackets around it. */
static bool add_host(char *ret_host, size_t host_bytes, size_t *io_n, struct pgv_str host)
{
    host = pgv_str_trim(host);
    while (host.n && (host.p[0] == '[' || host.p[0] == ']')) {
        host.p++;
        host.n--;
    }
    while (host.n && (host.p[host.n - 1] == '[' || host.p[host.n - 1] == ']'))
        host.n--;
    if (!pgv_copy(ret_host + *io_n, host_bytes - *io_n, host))
        return false;
    *io_n += host.n;
    return true;
}

/*
 * As Patroni's utils.split_host_port: what follows the last colon is the port, and a
 * comma-separated list of hosts may stand in front of it. On top of that an IPv6 address may stand
 * alone.
 */
bool pgv_parse_host_port(struct pgv_str s, int default_port, char *ret_host, size_t host_bytes,
                         int *ret_port)
{
    const char *colon = s.n ? memrchr(s.p, ':', s.n) : NULL;
    struct pgv_str hosts = s, head, tail;
    uint64_t port = 0;
    bool has_port = colon != NULL, more;
    size_t n = 0;

    if (has_port && pgv_str_trim(s).n && pgv_str_trim(s).p[pgv_str_trim(s).n - 1] == ']')
        has_port = false;
    if (has_port)
        hosts.n = (size_t)(colon - s.p);
    if (has_port && memchr(hosts.p, ':', hosts.n) && !memchr(s.p, '[', s.n) &&
        !memchr(s.p, ',', s.n) && !is_ipv6(pgv_str_trim(hosts)) && is_ipv6(pgv_str_trim(s))) {
        has_port = false;
        hosts = s;
    }
    if (has_port) {
        tail = (struct pgv_str){ colon + 1, s.n - hosts.n - 1 };
        if (!pgv_parse_u64(pgv_str_trim(tail), &port) || port < 1 || port > 65535)
            return false;
    }
    PGV_ASSERT(host_bytes > 0);
    ret_host[0] = '\0';
    for (;;) {
        more = pgv_str_cut(hosts, ',', &head, &tail);
        if (!add_host(ret_host, host_bytes, &n, head) || (more && n + 1 >= host_bytes)) {
            ret_host[0] = '\0';
            return false;
        }
        if (!more)
            break;
        ret_host[n++] = ',';
        ret_host[n] = '\0';
        hosts = tail;
    }
    *ret_port = has_port ? (int)port : default_port;
    return true;
}

unsigned pgv_letters_apart(const char *a, const char *b)
{
    unsigned row[33], before, here;
    size_t m = strnlen(a, 32), n = strnlen(b, 32);

    for (size_t j = 0; j <= n; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= m; i++) {
        before = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= n; j++) {
            here = row[j];
            row[j] = before + (a[i - 1] != b[j - 1]);
            if (here + 1 < row[j])
                row[j] = here + 1;
            if (row[j - 1] + 1 < row[j])
                row[j] = row[j - 1] + 1;
            before = here;
        }
    }
    return row[n];
}
