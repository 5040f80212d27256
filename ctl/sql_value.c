/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/sql_value.c - values of a result as patronictl has them, which are psycopg2's and are printed
 * by Python. Source: psycopg2 2.9, typecast_builtins.c; PostgreSQL, pg_type.dat for the numbers.
 */
#include "base/parse.h"
#include "base/unicode.h"
#include "ctl/sql.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>

#include "base/banned.h"

enum {
    BOOL = 16,
    INT8 = 20,
    INT2 = 21,
    INT4 = 23,
    OID = 26,
    JSON = 114,
    FLOAT4 = 700,
    FLOAT8 = 701,
    DATE = 1082,
    TIME = 1083,
    TIMESTAMP = 1114,
    TIMESTAMPTZ = 1184,
    INTERVAL = 1186,
    TIMETZ = 1266,
    NUMERIC = 1700,
    JSONB = 3802,
    TEXT = 25,
};

/** Arrays that are taken apart, with the type of their elements; all others stay text. */
static const struct {
    Oid array, element;
} arrays[] = { { 1000, BOOL },   { 1002, TEXT }, { 1003, TEXT }, { 1005, INT2 }, { 1007, INT4 },
               { 1009, TEXT },   { 1014, TEXT }, { 1015, TEXT }, { 1016, INT8 }, { 1021, FLOAT4 },
               { 1022, FLOAT8 }, { 1028, OID },  { 1041, TEXT }, { 651, TEXT },  { 1040, TEXT } };

#define ARRAY_DEPTH_MAX 6 /* PostgreSQL, MAXDIM */
#define MOMENT_TEXT_BYTES 64

bool ctl_sql_put_text(struct pgv_buf *b, struct pgv_str text)
{
    while (text.n > 0) {
        char utf8[PGV_UTF8_BYTES];

        pgv_buf_append(b, utf8, pgv_utf8_put(pgv_utf8_next(&text), utf8));
    }
    return !b->failed;
}

static struct pgv_value *text_value(struct pgv_arena *a, struct pgv_str text)
{
    struct pgv_value *v = NULL;
    struct pgv_buf b;

    pgv_buf_init(&b, a->bytes_max);
    if (ctl_sql_put_text(&b, text))
        v = pgv_new_string(a, pgv_buf_view(&b));
    pgv_buf_done(&b);
    return v;
}

/** The text as a C string, for the readers of libc; false when it is too long for a number. */
static bool number_text(struct pgv_str text, char ret[MOMENT_TEXT_BYTES])
{
    return pgv_copy(ret, MOMENT_TEXT_BYTES, text) && ret[0];
}

static struct pgv_value *int_value(struct pgv_arena *a, struct pgv_str text)
{
    char number[MOMENT_TEXT_BYTES], *end;
    long long i;

    if (!number_text(text, number))
        return text_value(a, text);
    errno = 0;
    i = strtoll(number, &end, 10);
    return errno || *end ? text_value(a, text) : pgv_new_int(a, i);
}

/** JSON has no word for what is infinite or not a number, so the text stands there. */
static struct pgv_value *real_value(struct pgv_arena *a, struct pgv_str text)
{
    char number[MOMENT_TEXT_BYTES], *end;
    struct pgv_value *v;
    double d;

    if (!number_text(text, number))
        return text_value(a, text);
    d = strtod(number, &end);
    if (*end)
        return text_value(a, text);
    v = pgv_new(a, PGV_REAL);
    if (v)
        v->u.d = d;
    return v;
}

/** Python turns to the exponent when six zeros stand behind the point. Source: decimal.__str__().
 */
static struct pgv_value *numeric_value(struct pgv_arena *a, struct pgv_str text)
{
    struct pgv_str whole, fraction = { 0 };
    bool minus = text.n > 0 && text.p[0] == '-';
    size_t zeros = 0;
    const char *sign = minus ? "-" : "";
    char *shown;

    (void)pgv_str_cut(text, '.', &whole, &fraction);
    while (zeros < fraction.n && fraction.p[zeros] == '0')
        zeros++;
    if (!pgv_str_eqz(whole, minus ? "-0" : "0") || fraction.n == 0)
        return text_value(a, text);
    if (zeros == fraction.n) { /* the zero itself; its one digit is the last */
        if (fraction.n <= 6)
            return text_value(a, text);
        shown = pgv_arena_printf(a, "%s0E-%zu", sign, fraction.n);
    } else if (zeros < 6) {
        return text_value(a, text);
    } else {
        struct pgv_str tail = { fraction.p + zeros + 1, fraction.n - zeros - 1 };

        shown = pgv_arena_printf(a, "%s%c%s%.*sE-%zu", sign, fraction.p[zeros], tail.n ? "." : "",
                                 (int)tail.n, tail.p, zeros + 1);
    }
    return shown ? pgv_new_string(a, pgv_str(shown)) : NULL;
}

static bool digits(struct pgv_str *io_s, size_t n)
{
    if (io_s->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)io_s->p[i]))
            return false;
    }
    *io_s = (struct pgv_str){ io_s->p + n, io_s->n - n };
    return true;
}

static bool sign_of(struct pgv_str *io_s, const char *signs)
{
    if (io_s->n == 0 || !strchr(signs, io_s->p[0]))
        return false;
    *io_s = (struct pgv_str){ io_s->p + 1, io_s->n - 1 };
    return true;
}

/** 'HH:MM:SS[.f][±HH[:MM[:SS]]]' with six digits of the fraction and the minutes of the zone. */
static bool write_time(struct pgv_buf *b, struct pgv_str s)
{
    const char *start = s.p;
    size_t n = 0;

    if (!digits(&s, 2) || !sign_of(&s, ":") || !digits(&s, 2) || !sign_of(&s, ":") ||
        !digits(&s, 2))
        return false;
    pgv_buf_append(b, start, (size_t)(s.p - start));
    if (sign_of(&s, ".")) {
        while (n < s.n && isdigit((unsigned char)s.p[n]))
            n++;
        if (n == 0 || n > 6)
            return false;
        pgv_buf_printf(b, ".%.*s%.*s", (int)n, s.p, (int)(6 - n), "000000");
        s = (struct pgv_str){ s.p + n, s.n - n };
    }
    if (s.n == 0)
        return true;
    start = s.p;
    if (!sign_of(&s, "+-") || !digits(&s, 2))
        return false;
    pgv_buf_append(b, start, 3);
    if (s.n == 0)
        return pgv_buf_puts(b, ":00");
    start = s.p;
    while (s.n > 0) {
        if (!sign_of(&s, ":") || !digits(&s, 2))
            return false;
    }
    return pgv_buf_append(b, start, (size_t)(s.p - start));
}

/** Dates of five digits, before our era and at infinity have no form in Python: they stay text. */
static struct pgv_value *moment_value(struct pgv_arena *a, Oid type, struct pgv_str text)
{
    struct pgv_str rest = text;
    struct pgv_value *v = NULL;
    struct pgv_buf b;
    bool ok = true;

    pgv_buf_init(&b, 2 * MOMENT_TEXT_BYTES);
    if (type != TIME && type != TIMETZ) {
        ok = digits(&rest, 4) && sign_of(&rest, "-") && digits(&rest, 2) && sign_of(&rest, "-") &&
             digits(&rest, 2);
        pgv_buf_append(&b, text.p, ok ? 10 : 0);
    }
    if (type == DATE)
        ok = ok && rest.n == 0;
    else if (type == TIMESTAMP || type == TIMESTAMPTZ)
        ok = ok && sign_of(&rest, " ") && pgv_buf_putc(&b, ' ') && write_time(&b, rest);
    else
        ok = write_time(&b, rest);
    if (ok && !b.failed)
        v = pgv_new_string(a, pgv_buf_view(&b));
    else
        v = text_value(a, text);
    if (v && ok)
        v->plain = type != TIME && type != TIMETZ; /* YAML knows dates, but no times of a day */
    pgv_buf_done(&b);
    return v;
}

static bool next_number(struct pgv_str *io_s, int64_t *ret)
{
    bool minus = false;
    int64_t n = 0;
    size_t i = 0;

    if (io_s->n > 0 && strchr("+-", io_s->p[0])) {
        minus = io_s->p[0] == '-';
        *io_s = (struct pgv_str){ io_s->p + 1, io_s->n - 1 };
    }
    for (; i < io_s->n && i < 10 && isdigit((unsigned char)io_s->p[i]); i++)
        n = n * 10 + (io_s->p[i] - '0');
    *io_s = (struct pgv_str){ io_s->p + i, io_s->n - i };
    *ret = minus ? -n : n;
    return i > 0;
}

/** '04:05:06.7' behind its hours, which may have a sign that counts for all. */
static bool read_clock(struct pgv_str s, int64_t hours, bool minus, int64_t *ret_us)
{
    int64_t minutes, seconds, us, unit = 1000000;

    if (!sign_of(&s, ":") || !next_number(&s, &minutes) || !sign_of(&s, ":") ||
        !next_number(&s, &seconds))
        return false;
    us = ((hours < 0 ? -hours : hours) * 3600 + minutes * 60 + seconds) * 1000000;
    if (sign_of(&s, ".")) {
        while (s.n > 0 && isdigit((unsigned char)s.p[0]) && unit > 1) {
            unit /= 10;
            us += (s.p[0] - '0') * unit;
            s = (struct pgv_str){ s.p + 1, s.n - 1 };
        }
    }
    *ret_us = minus ? -us : us;
    return s.n == 0;
}

#define DAY_US (86400 * INT64_C(1000000))

/** '1 year 2 mons 3 days 04:05:06.7': a year has 365 days there and a month 30. */
static bool read_interval(struct pgv_str s, int64_t *ret_days, int64_t *ret_us)
{
    int64_t days = 0, us = 0, n;

    while (s.n > 0) {
        bool minus = s.p[0] == '-';
        struct pgv_str unit, rest = { 0 };

        if (!next_number(&s, &n))
            return false;
        if (s.n > 0 && s.p[0] == ':') {
            if (!read_clock(s, n, minus, &us))
                return false;
            break;
        }
        if (!sign_of(&s, " "))
            return false;
        (void)pgv_str_cut(s, ' ', &unit, &rest);
        if (pgv_str_starts(unit, "year"))
            days += n * 365;
        else if (pgv_str_starts(unit, "mon"))
            days += n * 30;
        else if (pgv_str_starts(unit, "day"))
            days += n;
        else
            return false;
        s = rest;
    }
    *ret_days = days + us / DAY_US;
    *ret_us = us % DAY_US;
    if (*ret_us < 0) { /* a day less, the rest counts forward */
        *ret_us += DAY_US;
        (*ret_days)--;
    }
    return true;
}

static struct pgv_value *interval_value(struct pgv_arena *a, struct pgv_str text)
{
    int64_t days, us;
    long long s;
    char shown[MOMENT_TEXT_BYTES] = "", fraction[16] = "", *whole;

    if (text.n == 0 || !read_interval(text, &days, &us))
        return text_value(a, text); /* another IntervalStyle */
    if (days != 0)
        snprintf(shown, sizeof(shown), "%lld day%s, ", (long long)days,
                 days == 1 || days == -1 ? "" : "s");
    s = us / 1000000;
    if (us % 1000000)
        snprintf(fraction, sizeof(fraction), ".%06d", (int)(us % 1000000));
    whole = pgv_arena_printf(a, "%s%lld:%02lld:%02lld%s", shown, s / 3600, s / 60 % 60, s % 60,
                             fraction);
    return whole ? pgv_new_string(a, pgv_str(whole)) : NULL;
}

static struct pgv_value *json_value(struct pgv_arena *a, struct pgv_str text)
{
    struct pgv_value *v = NULL;
    struct pgv_error err;

    return pgv_json_parse(a, text, &v, &err) ? v : text_value(a, text);
}

/* ---- arrays ---- */

struct array {
    struct pgv_arena *a;
    struct pgv_str rest;
    Oid element;
    bool broken; /* not what an array looks like: it stays text */
};

static char peek(const struct array *r)
{
    return r->rest.n > 0 ? r->rest.p[0] : '\0';
}

static void skip(struct array *r)
{
    r->rest = (struct pgv_str){ r->rest.p + 1, r->rest.n - 1 };
}

static struct pgv_value *read_element(struct array *r)
{
    bool quoted = peek(r) == '"';
    struct pgv_value *v;
    struct pgv_buf b;

    pgv_buf_init(&b, r->a->bytes_max);
    if (quoted)
        skip(r);
    while (r->rest.n > 0 && (quoted ? peek(r) != '"' : !strchr(",}", peek(r)))) {
        if (peek(r) == '\\' && r->rest.n > 1)
            skip(r);
        pgv_buf_putc(&b, peek(r));
        skip(r);
    }
    if (quoted && r->rest.n > 0)
        skip(r);
    else
        r->broken = r->broken || quoted;
    if (!quoted && pgv_str_eqz(pgv_buf_view(&b), "NULL"))
        v = pgv_new(r->a, PGV_NULL);
    else
        v = b.failed ? NULL : ctl_sql_value(r->a, r->element, pgv_buf_view(&b));
    pgv_buf_done(&b);
    return v;
}

static struct pgv_value *read_array(struct array *r, unsigned depth)
{
    struct pgv_value *list = pgv_new(r->a, PGV_LIST);

    skip(r); /* '{' */
    if (depth > ARRAY_DEPTH_MAX)
        r->broken = true;
    if (peek(r) == '}') {
        skip(r);
        return list;
    }
    while (list && !r->broken) {
        char next;

        if (!pgv_list_add(list, peek(r) == '{' ? read_array(r, depth + 1) : read_element(r)))
            return NULL;
        next = peek(r);
        if (next != ',' && next != '}')
            r->broken = true;
        else
            skip(r);
        if (next == '}')
            break;
    }
    return list;
}

static struct pgv_value *array_value(struct pgv_arena *a, Oid element, struct pgv_str text)
{
    struct array r = { .a = a, .rest = text, .element = element };
    struct pgv_str bounds, tail;
    struct pgv_value *v;

    if (peek(&r) == '[' && pgv_str_cut(text, '=', &bounds, &tail)) /* '[0:1]={1,2}' */
        r.rest = tail;
    if (peek(&r) != '{')
        return text_value(a, text);
    v = read_array(&r, 1);
    return v && (r.broken || r.rest.n > 0) ? text_value(a, text) : v;
}

struct pgv_value *ctl_sql_value(struct pgv_arena *a, Oid type, struct pgv_str text)
{
    switch (type) {
    case BOOL:
        return pgv_new_bool(a, pgv_str_eqz(text, "t"));
    case INT2:
    case INT4:
    case INT8:
    case OID:
        return int_value(a, text);
    case FLOAT4:
    case FLOAT8:
        return real_value(a, text);
    case NUMERIC:
        return numeric_value(a, text);
    case DATE:
    case TIME:
    case TIMETZ:
    case TIMESTAMP:
    case TIMESTAMPTZ:
        return moment_value(a, type, text);
    case INTERVAL:
        return interval_value(a, text);
    case JSON:
    case JSONB:
        return json_value(a, text);
    default:
        break;
    }
    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
        if (arrays[i].array == type)
            return array_value(a, arrays[i].element, text);
    }
    return text_value(a, text);
}
