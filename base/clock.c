/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/clock.c - reading the clocks.
 *
 * CLOCK_BOOTTIME and CLOCK_REALTIME exist on every Linux we run on and cannot fail with a valid
 * pointer; going on without a clock could mean two primaries, hence the assertions.
 */
#include "base/clock.h"

#include "base/parse.h"

#include "base/banned.h"

static struct timespec read_clock(clockid_t id)
{
    struct timespec ts;

    PGV_ASSERT(clock_gettime(id, &ts) == 0);
    return ts;
}

uint64_t pgv_clock_ms(void)
{
    return pgv_clock_us() / 1000;
}

uint64_t pgv_clock_us(void)
{
    struct timespec ts = read_clock(CLOCK_BOOTTIME);

    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

int64_t pgv_wall_us(void)
{
    struct timespec ts = read_clock(CLOCK_REALTIME);

    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void pgv_wall_iso_local(int64_t wall_us, char ret[PGV_ISO_BYTES])
{
    int64_t us = wall_us % 1000000;
    time_t t = (time_t)(wall_us / 1000000 - (us < 0));
    struct tm tm = { 0 };
    long offset_s = localtime_r(&t, &tm) ? tm.tm_gmtoff : 0;

    _Static_assert(PGV_ISO_BYTES >= PGV_MOMENT_BYTES, "one formatter serves both");
    pgv_format_moment(wall_us, (int)offset_s, ret);
}
