/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/yaml_scalar.c - plain scalars of YAML 1.1: their kind and their value.
 *
 * The kinds are recognised by the same patterns as PyYAML's resolver has, written out by hand: a
 * configuration must mean the same to us and to a Patroni node beside us. So 0644 is octal, 1:30 is
 * ninety, 22:5432 and 1e3 are strings. Source: PyYAML 6.0, resolver.py and constructor.py.
 */
#include "base/yaml_scalar.h"

#include <math.h>

#include "base/banned.h"

#define FLOAT_BYTES 512
#define SEXAGESIMAL_MAX 32

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(struct pgv_str s, const char *const *words)
{
    for (; *words; words++) {
        if (pgv_str_eqz(s, *words))
            return true;
    }
    return false;
}

/* A reader over the text, one step a piece of the pattern. */
static bool one_of(struct pgv_str *s, const char *set)
{
    if (s->n == 0 || s->p[0] == '\0' || !strchr(set, s->p[0]))
        return false;
    s->p++;
    s->n--;
    return true;
}

static size_t many_of(struct pgv_str *s, const char *set)
{
    size_t n = 0;

    while (one_of(s, set))
        n++;
    return n;
}

#define DIGITS "0123456789"

/* (:[0-5]?[0-9])+ */
static bool sexagesimal_tail(struct pgv_str *s)
{
    size_t parts = 0;

    while (s->n > 1 && s->p[0] == ':' && is_digit(s->p[1])) {
        bool two = s->n > 2 && is_digit(s->p[2]);

        if (two && s->p[1] > '5')
            return false;
        s->p += two ? 3 : 2;
        s->n -= two ? 3 : 2;
        parts++;
    }
    return parts > 0;
}

static bool looks_int(struct pgv_str s)
{
    struct pgv_str t;

    one_of(&s, "+-");
    if (pgv_str_starts(s, "0b")) {
        t = (struct pgv_str){ s.p + 2, s.n - 2 };
        return many_of(&t, "01_") && t.n == 0;
    }
    if (pgv_str_starts(s, "0x")) {
        t = (struct pgv_str){ s.p + 2, s.n - 2 };
        return many_of(&t, "0123456789abcdefABCDEF_") && t.n == 0;
    }
    t = s;
    if (one_of(&t, "0")) {
        many_of(&t, "01234567_");
        return t.n == 0;
    }
    if (!one_of(&t, "123456789"))
        return false;
    many_of(&t, DIGITS "_");
    return t.n == 0 || (sexagesimal_tail(&t) && t.n == 0);
}

/* ([eE][-+][0-9]+)? and nothing behind it */
static bool exponent_end(struct pgv_str s)
{
    if (s.n == 0)
        return true;
    return one_of(&s, "eE") && one_of(&s, "+-") && many_of(&s, DIGITS) && s.n == 0;
}

static bool looks_float(struct pgv_str s)
{
    static const char *const nans[] = { ".nan", ".NaN", ".NAN", NULL };
    static const char *const infs[] = { ".inf", ".Inf", ".INF", NULL };
    struct pgv_str t = s;

    if (is_word(s, nans))
        return true;
    if (one_of(&t, "."))
        return is_word(s, infs) ||
               (one_of(&t, DIGITS) && (many_of(&t, DIGITS "_"), exponent_end(t)));
    one_of(&t, "+-");
    if (is_word(t, infs))
        return true;
    if (!one_of(&t, DIGITS))
        return false;
    many_of(&t, DIGITS "_");
    if (t.n && t.p[0] == ':') {
        if (!sexagesimal_tail(&t) || !one_of(&t, "."))
            return false;
        many_of(&t, DIGITS "_");
        return t.n == 0;
    }
    if (!one_of(&t, "."))
        return false;
    many_of(&t, DIGITS "_");
    return exponent_end(t);
}

/* Between @least and @most digits. */
static bool digits(struct pgv_str *s, size_t least, size_t most)
{
    size_t n = 0;

    while (n < most && one_of(s, DIGITS))
        n++;
    return n >= least;
}

static bool looks_timestamp(struct pgv_str s)
{
    struct pgv_str t = s;

    if (digits(&t, 4, 4) && one_of(&t, "-") && digits(&t, 2, 2) && one_of(&t, "-") &&
        digits(&t, 2, 2) && t.n == 0)
        return true;
    if (!digits(&s, 4, 4) || !one_of(&s, "-") || !digits(&s, 1, 2) || !one_of(&s, "-") ||
        !digits(&s, 1, 2))
        return false;
    if (!one_of(&s, "Tt") && !many_of(&s, " \t"))
        return false;
    if (!digits(&s, 1, 2) || !one_of(&s, ":") || !digits(&s, 2, 2) || !one_of(&s, ":") ||
        !digits(&s, 2, 2))
        return false;
    if (one_of(&s, "."))
        many_of(&s, DIGITS);
    if (s.n == 0)
        return true;
    many_of(&s, " \t");
    if (one_of(&s, "Z"))
        return s.n == 0;
    if (!one_of(&s, "+-") || !digits(&s, 1, 2))
        return false;
    return s.n == 0 || (one_of(&s, ":") && digits(&s, 2, 2) && s.n == 0);
}

static const char *const yes_words[] = { "yes",  "Yes", "YES", "true", "True",
                                         "TRUE", "on",  "On",  "ON",   NULL };
static const char *const no_words[] = { "no",    "No",  "NO",  "false", "False",
                                        "FALSE", "off", "Off", "OFF",   NULL };

enum yaml_kind yaml_resolve(struct pgv_str s)
{
    static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };

    if (is_word(s, nulls))
        return YAML_KIND_NULL;
    if (is_word(s, yes_words) || is_word(s, no_words))
        return YAML_KIND_BOOL;
    if (pgv_str_eqz(s, "<<"))
        return YAML_KIND_MERGE;
    if (pgv_str_eqz(s, "="))
        return YAML_KIND_VALUE;
    if (!strchr("+-." DIGITS, s.p[0]))
        return YAML_KIND_STR;
    if (looks_float(s))
        return YAML_KIND_FLOAT;
    if (looks_int(s))
        return YAML_KIND_INT;
    if (looks_timestamp(s))
        return YAML_KIND_TIMESTAMP;
    return YAML_KIND_STR;
}

static int digit_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

static bool plain_float(struct pgv_str s, double *ret);

/* Digits of @base without underscores, added up exactly while they fit, else as a real. */
static bool construct_digits(struct pgv_str s, int base, bool minus, struct pgv_value *ret)
{
    struct pgv_str all = s;
    bool exact = true, any = false;
    int64_t i = 0;
    double d = 0;

    for (; s.n; s.p++, s.n--) {
        int step;

        if (s.p[0] == '_')
            continue;
        step = digit_value(s.p[0]);
        if (step >= base)
            return false;
        if (minus)
            step = -step;
        any = true;
        d = d * base + step;
        exact = exact && !__builtin_mul_overflow(i, (int64_t)base, &i) &&
                !__builtin_add_overflow(i, (int64_t)step, &i);
    }
    if (exact)
        ret->u.i = i;
    else if (base == 10 && plain_float(all, &d)) /* adding up has rounded at each step */
        ret->u.d = minus ? -d : d;
    else
        ret->u.d = d;
    ret->type = exact ? PGV_INT : PGV_REAL;
    return any;
}

static bool construct_sexagesimal_int(struct pgv_str s, bool minus, struct pgv_value *ret)
{
    struct pgv_value part = { 0 };
    bool exact = true, more = true;
    int64_t i = 0;
    double d = 0;

    while (more) {
        struct pgv_str head, tail;

        more = pgv_str_cut(s, ':', &head, &tail);
        if (!construct_digits(head, 10, minus, &part))
            return false;
        d = d * 60 + (part.type == PGV_INT ? (double)part.u.i : part.u.d);
        exact = exact && part.type == PGV_INT && !__builtin_mul_overflow(i, (int64_t)60, &i) &&
                !__builtin_add_overflow(i, part.u.i, &i);
        s = tail;
    }
    if (exact)
        ret->u.i = i;
    else
        ret->u.d = d;
    ret->type = exact ? PGV_INT : PGV_REAL;
    return true;
}

static bool construct_int(struct pgv_str s, struct pgv_value *ret)
{
    bool minus = s.n && s.p[0] == '-';

    one_of(&s, "+-");
    while (s.n && s.p[0] == '_') { /* underscores count for nothing, wherever they stand */
        s.p++;
        s.n--;
    }
    if (pgv_str_starts(s, "0b"))
        return construct_digits((struct pgv_str){ s.p + 2, s.n - 2 }, 2, minus, ret);
    if (pgv_str_starts(s, "0x"))
        return construct_digits((struct pgv_str){ s.p + 2, s.n - 2 }, 16, minus, ret);
    if (pgv_str_starts(s, "0"))
        return construct_digits(s, 8, minus, ret);
    if (s.n && memchr(s.p, ':', s.n))
        return construct_sexagesimal_int(s, minus, ret);
    return construct_digits(s, 10, minus, ret);
}

static bool plain_float(struct pgv_str s, double *ret)
{
    char text[FLOAT_BYTES];
    size_t n = 0;
    char *end;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '_')
            continue;
        if (n + 1 == sizeof(text) || !strchr("+-.eE" DIGITS, s.p[i]) || s.p[i] == '\0')
            return false;
        text[n++] = s.p[i];
    }
    text[n] = '\0';
    *ret = strtod(text, &end);
    return n > 0 && *end == '\0';
}

static bool construct_float(struct pgv_str s, struct pgv_value *ret)
{
    double parts[SEXAGESIMAL_MAX], base = 1, sum = 0;
    bool minus = s.n && s.p[0] == '-', more = true;
    size_t n = 0;

    ret->type = PGV_REAL;
    one_of(&s, "+-");
    if (pgv_str_eq_nocase(s, ".inf")) {
        ret->u.d = minus ? -INFINITY : INFINITY;
        return true;
    }
    if (pgv_str_eq_nocase(s, ".nan")) {
        ret->u.d = NAN;
        return true;
    }
    while (more) {
        struct pgv_str head, tail;

        more = pgv_str_cut(s, ':', &head, &tail);
        if (n == SEXAGESIMAL_MAX || !plain_float(head, &parts[n++]))
            return false;
        s = tail;
    }
    while (n) { /* from the right, as the original adds them up */
        sum += parts[--n] * base;
        base *= 60;
    }
    ret->u.d = minus ? -sum : sum;
    return true;
}

static bool construct_bool(struct pgv_str s, struct pgv_value *ret)
{
    static const char *const words[] = { "no", "yes", "false", "true", "off", "on" };

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (pgv_str_eq_nocase(s, words[i])) {
            ret->type = PGV_BOOL;
            ret->u.b = i % 2 == 1;
            return true;
        }
    }
    return false;
}

bool yaml_construct(struct pgv_str s, enum yaml_kind kind, struct pgv_value *ret)
{
    switch (kind) {
    case YAML_KIND_NULL:
        ret->type = PGV_NULL;
        return true;
    case YAML_KIND_BOOL:
        return construct_bool(s, ret);
    case YAML_KIND_INT:
        return construct_int(s, ret);
    case YAML_KIND_FLOAT:
        return construct_float(s, ret);
    case YAML_KIND_STR:
    case YAML_KIND_TIMESTAMP:
    case YAML_KIND_MERGE:
        ret->type = PGV_STRING;
        ret->u.s = s;
        return true;
    case YAML_KIND_VALUE:
        break;
    }
    return false;
}
