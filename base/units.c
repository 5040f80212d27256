/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/units.c - numbers with units.
 *
 * Configured values are compared with what Patroni's nodes and PostgreSQL make of the same text, so
 * the rounding follows Patroni's to the letter: floating point, ties to even, first to the next
 * smaller unit. A file of its own: who reads no such numbers is spared the mathematics library.
 */
#include "base/parse.h"
#include "base/value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

#define NUMBER_BYTES 512 /* longer texts are no numbers that fit anywhere */

/*
 * What one unit is worth in each base unit, largest first. Source: PostgreSQL, guc.c, conversion
 * tables; the quotients are written as Patroni's utils.get_conversion_table computes them.
 */
struct unit {
    const char *name;
    double in[3];
};

static const char *const memory_bases[3] = { "B", "kB", "MB" };
static const struct unit memory_units[] = {
    { "TB", { 1099511627776.0, 1073741824.0, 1048576.0 } },
    { "GB", { 1073741824.0, 1048576.0, 1024.0 } },
    { "MB", { 1048576.0, 1024.0, 1.0 } },
    { "kB", { 1024.0, 1.0, 1.0 / 1024.0 } },
    { "B", { 1.0, 1.0 / 1024.0, 1.0 / 1048576.0 } },
};
static const char *const time_bases[3] = { "ms", "s", "min" };
static const struct unit time_units[] = {
    { "d", { 86400000.0, 86400.0, 1440.0 } },
    { "h", { 3600000.0, 3600.0, 60.0 } },
    { "min", { 60000.0, 60.0, 1.0 } },
    { "s", { 1000.0, 1.0, 1.0 / 60.0 } },
    { "ms", { 1.0, 1.0 / 1000.0, 1.0 / 60000.0 } },
    { "us", { 1.0 / 1000.0, 1.0 / 1000000.0, 1.0 / 60000000.0 } },
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* An integer prefix: exact while it fits into 64 bits, else only as a real. */
struct number {
    bool exact;
    int64_t i;
    double d;
};

/* The digits from @from on in @base, as long as they last; *@ret_end behind them. */
static void read_digits(struct pgv_str s, size_t from, unsigned base, bool minus,
                        struct number *ret, size_t *ret_end)
{
    struct number num = { .exact = true };
    size_t i;

    for (i = from; i < s.n; i++) {
        int digit = pgv_hex_digit(s.p[i]);
        int64_t step;

        if (digit < 0 || (unsigned)digit >= base)
            break;
        step = minus ? -digit : digit;
        num.d = num.d * base + (double)step;
        if (num.exact && (__builtin_mul_overflow(num.i, (int64_t)base, &num.i) ||
                          __builtin_add_overflow(num.i, step, &num.i)))
            num.exact = false;
    }
    if (num.exact)
        num.d = (double)num.i; /* rounded once, not at every digit */
    *ret = num;
    *ret_end = i;
}

/* Sign, then hex, octal or decimal digits. False when there is no integer at the front. */
static bool integer_prefix(struct pgv_str s, struct number *ret, size_t *ret_end)
{
    size_t i = 0;
    bool minus = false;

    if (s.n && (s.p[0] == '+' || s.p[0] == '-'))
        minus = s.p[i++] == '-';
    if (i >= s.n || !is_digit(s.p[i]))
        return false;
    if (s.p[i] != '0')
        read_digits(s, i, 10, minus, ret, ret_end);
    else if (s.n - i > 2 && s.p[i + 1] == 'x' && pgv_hex_digit(s.p[i + 2]) >= 0)
        read_digits(s, i + 2, 16, minus, ret, ret_end);
    else
        read_digits(s, i, 8, minus, ret, ret_end);
    return true;
}

/* A decimal fraction at the front: [-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?, no more of strtod(). */
static bool real_prefix(struct pgv_str s, double *ret, size_t *ret_end)
{
    char text[NUMBER_BYTES];
    size_t i = 0, digits = 0, end;

    if (i < s.n && (s.p[i] == '+' || s.p[i] == '-'))
        i++;
    for (; i < s.n && is_digit(s.p[i]); i++)
        digits++;
    end = i;
    if (i + 1 < s.n && s.p[i] == '.' && is_digit(s.p[i + 1])) {
        for (i++; i < s.n && is_digit(s.p[i]); i++)
            digits++;
        end = i;
    }
    if (digits == 0)
        return false;
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        i++;
        if (i < s.n && (s.p[i] == '+' || s.p[i] == '-'))
            i++;
        for (; i < s.n && is_digit(s.p[i]); i++)
            end = i + 1;
    }
    if (!pgv_copy(text, sizeof(text), (struct pgv_str){ s.p, end }))
        return false;
    *ret = strtod(text, NULL);
    *ret_end = end;
    return true;
}

/* The table and column of a base unit such as "8kB"; its factor is 1 when none stands in front. */
struct base {
    const struct unit *units;
    size_t n, column;
    double factor;
};

static bool find_base(const char *base_unit, struct base *ret)
{
    struct pgv_str s = pgv_str(base_unit);
    struct number factor = { .exact = true, .i = 1, .d = 1 };
    size_t end = 0;

    (void)integer_prefix(s, &factor, &end);
    if (factor.d <= 0)
        return false;
    for (size_t c = 0; c < 3; c++) {
        if (strcmp(s.n ? s.p + end : "", memory_bases[c]) == 0) {
            *ret = (struct base){ memory_units, sizeof(memory_units) / sizeof(*memory_units), c,
                                  factor.d };
            return true;
        }
        if (strcmp(s.n ? s.p + end : "", time_bases[c]) == 0) {
            *ret =
                (struct base){ time_units, sizeof(time_units) / sizeof(*time_units), c, factor.d };
            return true;
        }
    }
    return false;
}

/* @value of @unit in @base_unit, rounded to a multiple of the next smaller unit, ties to even. */
static bool convert(double value, struct pgv_str unit, const char *base_unit, double *ret)
{
    struct base base;

    if (!base_unit || !find_base(base_unit, &base))
        return false;
    for (size_t u = 0; u < base.n; u++) {
        if (!pgv_str_eqz(unit, base.units[u].name))
            continue;
        value *= base.units[u].in[base.column] / base.factor;
        if (u + 1 < base.n) {
            double step = base.units[u + 1].in[base.column];

            value = nearbyint(value / step) * step;
        }
        *ret = value;
        return true;
    }
    return false;
}

static bool to_int64(double d, int64_t *ret)
{
    d = nearbyint(d);
    if (!(d >= -9223372036854775808.0 && d < 9223372036854775808.0))
        return false;
    *ret = (int64_t)d;
    return true;
}

bool pgv_parse_int(struct pgv_str s, const char *base_unit, int64_t *ret)
{
    struct number num = { 0 };
    struct pgv_str unit;
    size_t end = 0;
    bool got;

    s = pgv_str_trim(s);
    got = integer_prefix(s, &num, &end);
    if (end < s.n && (s.p[end] == '.' || (got && (s.p[end] == 'e' || s.p[end] == 'E')))) {
        got = real_prefix(s, &num.d, &end);
        num.exact = false;
    }
    if (!got)
        return false;
    unit = pgv_str_trim((struct pgv_str){ s.p + end, s.n - end });
    if (unit.n == 0) {
        if (!num.exact)
            return to_int64(num.d, ret);
        *ret = num.i;
        return true;
    }
    return convert(num.d, unit, base_unit, &num.d) && to_int64(num.d, ret);
}

int64_t pgv_int_like(const struct pgv_value *v, const char *base_unit, int64_t otherwise)
{
    char scratch[PGV_REAL_BYTES];
    int64_t i;

    if (!v || pgv_is(v, PGV_LIST) || pgv_is(v, PGV_MAP) || v->type == PGV_BOOL ||
        !pgv_parse_int(pgv_leaf_text(v, scratch), base_unit, &i))
        return otherwise;
    return i;
}

bool pgv_parse_real(struct pgv_str s, const char *base_unit, double *ret)
{
    struct pgv_str unit;
    size_t end;
    double d;

    s = pgv_str_trim(s);
    if (!real_prefix(s, &d, &end))
        return false;
    unit = pgv_str_trim((struct pgv_str){ s.p + end, s.n - end });
    if ((unit.n && !convert(d, unit, base_unit, &d)) || !isfinite(d))
        return false;
    *ret = d;
    return true;
}

void pgv_format_unit(int64_t value, const char *base_unit, char *ret, size_t ret_bytes)
{
    struct base base;
    double total;

    if (value == 0 || !base_unit || !find_base(base_unit, &base)) {
        (void)snprintf(ret, ret_bytes, "%" PRId64, value);
        return;
    }
    total = (double)value * base.factor;
    for (size_t u = 0; u < base.n; u++) {
        double in = base.units[u].in[base.column];

        if (in <= 1.0 || fmod(total, in) == 0.0) {
            (void)snprintf(ret, ret_bytes, "%.0f%s", nearbyint(total / in), base.units[u].name);
            return;
        }
    }
}
