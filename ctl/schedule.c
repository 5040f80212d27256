/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/schedule.c - moments as people type them. Reading is left to pgv_parse_moment(); here a
 * missing date, time or zone is added. Months by name, which the origin understands as well, are
 * refused: 'unambiguous' is what the option's help asks for.
 */
#include "ctl/schedule.h"

#include <ctype.h>
#include <stdio.h>

#include "base/banned.h"

#define SECOND_US 1000000

static void local_time(int64_t wall_us, struct tm *ret)
{
    time_t t = (time_t)(wall_us / SECOND_US);

    if (!localtime_r(&t, ret))
        *ret = (struct tm){ .tm_mday = 1 }; /* only for years that no int holds */
}

void ctl_stamp(int64_t wall_us, unsigned digits, char ret[CTL_STAMP_BYTES])
{
    char fraction[8];
    struct tm tm;
    size_t n;

    local_time(wall_us, &tm);
    n = strftime(ret, CTL_STAMP_BYTES, "%Y-%m-%d %H:%M:%S", &tm);
    if (digits == 0)
        return;
    snprintf(fraction, sizeof(fraction), "%06u", (unsigned)(wall_us % SECOND_US) % SECOND_US);
    snprintf(ret + n, CTL_STAMP_BYTES - n, ".%.*s", (int)(digits > 6 ? 6 : digits), fraction);
}

void ctl_stamp_minute(int64_t wall_us, char ret[CTL_STAMP_BYTES])
{
    struct tm tm;

    local_time(wall_us, &tm);
    strftime(ret, CTL_STAMP_BYTES, "%Y-%m-%dT%H:%M", &tm);
}

/** 'dddd-dd-dd' and nothing more. */
static bool is_date(struct pgv_str s)
{
    if (s.n != 10)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (i == 4 || i == 7 ? s.p[i] != '-' : !isdigit((unsigned char)s.p[i]))
            return false;
    }
    return true;
}

/** 'd:' or 'dd:' in front: an hour. */
static bool is_time(struct pgv_str s)
{
    size_t n = 0;

    while (n < s.n && isdigit((unsigned char)s.p[n]))
        n++;
    return n >= 1 && n <= 2 && n < s.n && s.p[n] == ':';
}

/** The moment at which clocks of the local zone show what @wall_us shows in UTC. */
static bool from_local(int64_t *wall_us, int *ret_offset_s)
{
    time_t shown = (time_t)(*wall_us / SECOND_US), t;
    struct tm tm;

    if (!gmtime_r(&shown, &tm))
        return false;
    tm.tm_isdst = -1; /* the zone's rules know */
    t = mktime(&tm);
    if (t == (time_t)-1)
        return false;
    *ret_offset_s = (int)tm.tm_gmtoff;
    *wall_us = (int64_t)t * SECOND_US + *wall_us % SECOND_US;
    return true;
}

bool ctl_moment_parse(const char *text, int64_t now_wall_us, struct ctl_moment *ret,
                      struct pgv_error *err)
{
    struct ctl_moment m = { .later = true };
    struct pgv_str s = pgv_str_trim(pgv_str(text));
    char full[64], today[CTL_STAMP_BYTES], *t;
    bool has_zone, ok;

    if (s.n == 0 || pgv_str_eqz(s, "now")) {
        *ret = (struct ctl_moment){ 0 };
        return true;
    }
    ok = s.n < 48;
    if (ok && is_date(s)) {
        snprintf(full, sizeof(full), "%.*sT00:00", (int)s.n, s.p);
    } else if (ok && is_time(s)) {
        ctl_stamp(now_wall_us, 0, today);
        snprintf(full, sizeof(full), "%.10sT%s%.*s", today, s.p[1] == ':' ? "0" : "", (int)s.n,
                 s.p);
    } else if (ok) {
        snprintf(full, sizeof(full), "%.*s", (int)s.n, s.p);
    }
    ok = ok && pgv_parse_moment(pgv_str(full), &m.wall_us, &has_zone, &m.offset_s);
    if (ok && !has_zone)
        ok = from_local(&m.wall_us, &m.offset_s);
    if (!ok)
        return pgv_fail(err, PGV_EINVALID,
                        "Unable to parse scheduled timestamp (%s). It should be in an unambiguous "
                        "format (e.g. ISO 8601)",
                        text);
    pgv_format_moment(m.wall_us, m.offset_s, m.iso);
    memcpy(m.plain, m.iso, sizeof(m.plain));
    t = strchr(m.plain, 'T');
    if (t)
        *t = ' ';
    *ret = m;
    return true;
}
