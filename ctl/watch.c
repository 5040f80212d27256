/* SPDX-License-Identifier: PostgreSQL */
/* ctl/watch.c - commands that can be repeated: -W and -w. */
#include "ctl/watch.h"

#include "base/clock.h"

#include "base/banned.h"

#define WATCH_S_DEFAULT 2.0
#define WATCH_S_MAX 86400.0

void ctl_watch_begin(struct ctl_watch *w, const struct ctl_args *args)
{
    *w = (struct ctl_watch){ .round_ms = pgv_clock_ms() };
    (void)ctl_real(args, "-w", &w->seconds);
    if (ctl_flag(args, "-W") && w->seconds == 0)
        w->seconds = WATCH_S_DEFAULT;
    if (!(w->seconds <= WATCH_S_MAX)) /* also what is no number */
        w->seconds = WATCH_S_MAX;
}

bool ctl_watch_wait(struct ctl *c, struct ctl_watch *w, struct pgv_error *err)
{
    uint64_t now_ms = pgv_clock_ms();
    uint64_t next_ms = w->round_ms + (w->seconds > 0 ? (uint64_t)(w->seconds * 1000) : 0);

    if (!ctl_sleep(c, now_ms < next_ms ? next_ms - now_ms : 0, NULL, err))
        return false;
    w->round_ms = pgv_clock_ms();
    return true;
}
