/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/moment.c - moments in ISO 8601: read from requests and configuration, written to the DCS.
 *
 * The calendar is computed here, because timegm() and friends read environment and files.
 */
#include "base/parse.h"

#include <stdio.h>

#include "base/banned.h"

#define DAY_S 86400

/* Days since 1970-01-01 in the proleptic Gregorian calendar, and back. */
static int64_t days_from_date(int year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

    return era * 146097 + doe - 719468;
}

static void date_from_days(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;

    *ret_day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *ret_month = (int)(mp + (mp < 10 ? 3 : -9));
    *ret_year = yoe + era * 400 + (*ret_month <= 2);
}

static int month_days(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

/* A reader over the text: each step says whether it found what it wanted. */
struct reader {
    struct pgv_str s;
};

static bool digits(struct reader *r, size_t n, int *ret)
{
    int v = 0;

    if (r->s.n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (r->s.p[i] < '0' || r->s.p[i] > '9')
            return false;
        v = v * 10 + (r->s.p[i] - '0');
    }
    r->s.p += n;
    r->s.n -= n;
    *ret = v;
    return true;
}

static bool skip(struct reader *r, char c)
{
    if (r->s.n == 0 || r->s.p[0] != c)
        return false;
    r->s.p++;
    r->s.n--;
    return true;
}

/* '.' or ',' and digits: microseconds, what is finer is dropped. */
static bool fraction(struct reader *r, int *ret_us)
{
    int us = 0, unit = 100000;

    if (r->s.n == 0 || r->s.p[0] < '0' || r->s.p[0] > '9')
        return false;
    while (r->s.n && r->s.p[0] >= '0' && r->s.p[0] <= '9') {
        us += (r->s.p[0] - '0') * unit;
        unit /= 10;
        r->s.p++;
        r->s.n--;
    }
    *ret_us = us;
    return true;
}

static bool letters_only(struct pgv_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = (char)(s.p[i] | 0x20);

        if (c < 'a' || c > 'z')
            return false;
    }
    return true;
}

/* The rest of the text: nothing, a zone, or letters that name none we know. */
static bool zone(struct reader *r, bool *ret_has_zone, int *ret_offset_s)
{
    struct pgv_str s;
    int hours, minutes = 0;
    bool minus;

    *ret_has_zone = false;
    *ret_offset_s = 0;
    r->s = s = pgv_str_trim(r->s);
    if (s.n == 0)
        return true;
    if (pgv_str_eqz(s, "Z") || pgv_str_eqz(s, "z") || pgv_str_eqz(s, "UTC") ||
        pgv_str_eqz(s, "GMT")) {
        *ret_has_zone = true;
        return true;
    }
    /* Source: contract of Patroni 4.1 (dateutil): unknown abbreviations count as no zone. */
    if (s.n >= 3 && s.n <= 5 && letters_only(s))
        return true;
    minus = s.p[0] == '-';
    if (!skip(r, '+') && !skip(r, '-'))
        return false;
    if (r->s.n == 1 ? !digits(r, 1, &hours) : !digits(r, 2, &hours))
        return false;
    if (r->s.n && ((void)skip(r, ':'), !digits(r, 2, &minutes)))
        return false;
    if (r->s.n || hours > 23 || minutes > 59)
        return false;
    *ret_has_zone = true;
    *ret_offset_s = (hours * 3600 + minutes * 60) * (minus ? -1 : 1);
    return true;
}

bool pgv_parse_moment(struct pgv_str s, int64_t *ret_wall_us, bool *ret_has_zone, int *ret_offset_s)
{
    struct reader r = { pgv_str_trim(s) };
    int year, month, day, hour = 0, minute = 0, second = 0, us = 0, offset_s;
    bool has_zone, compact;
    int64_t total_s;

    if (!digits(&r, 4, &year))
        return false;
    compact = !skip(&r, '-');
    if (!digits(&r, 2, &month) || (!compact && !skip(&r, '-')) || !digits(&r, 2, &day))
        return false;
    if (skip(&r, 'T') || skip(&r, 't') || (r.s.n > 2 && r.s.p[0] == ' ' && skip(&r, ' '))) {
        if (!digits(&r, 2, &hour) || (!compact && !skip(&r, ':')) || !digits(&r, 2, &minute))
            return false;
        if (compact ? (r.s.n && r.s.p[0] >= '0' && r.s.p[0] <= '9') : skip(&r, ':')) {
            if (!digits(&r, 2, &second))
                return false;
            if ((skip(&r, '.') || skip(&r, ',')) && !fraction(&r, &us))
                return false;
        }
    } else if (r.s.n) {
        return false;
    }
    if (!zone(&r, &has_zone, &offset_s))
        return false;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > month_days(year, month) ||
        hour > 23 || minute > 59 || second > 59)
        return false;
    total_s = days_from_date(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    *ret_wall_us = (total_s - offset_s) * 1000000 + us;
    *ret_has_zone = has_zone;
    *ret_offset_s = offset_s;
    return true;
}

void pgv_format_moment(int64_t wall_us, int offset_s, char ret[PGV_MOMENT_BYTES])
{
    int64_t us = wall_us % 1000000, total_s = wall_us / 1000000, days, year;
    int month, day, rest, n, minutes = offset_s / 60;
    char sign = minutes < 0 ? '-' : '+';

    if (us < 0) {
        us += 1000000;
        total_s--;
    }
    total_s += offset_s;
    days = total_s / DAY_S;
    rest = (int)(total_s % DAY_S);
    if (rest < 0) {
        rest += DAY_S;
        days--;
    }
    date_from_days(days, &year, &month, &day);
    if (minutes < 0)
        minutes = -minutes;
    n = snprintf(ret, PGV_MOMENT_BYTES, "%04lld-%02d-%02dT%02d:%02d:%02d", (long long)year, month,
                 day, rest / 3600, rest / 60 % 60, rest % 60);
    if (us && n > 0 && n < PGV_MOMENT_BYTES)
        n += snprintf(ret + n, PGV_MOMENT_BYTES - (size_t)n, ".%06d", (int)us);
    if (n > 0 && n < PGV_MOMENT_BYTES)
        (void)snprintf(ret + n, PGV_MOMENT_BYTES - (size_t)n, "%c%02d:%02d", sign, minutes / 60,
                       minutes % 60);
}
