/* SPDX-License-Identifier: PostgreSQL */
/* ctl/watch.h - commands that can be repeated: -W and -w. */
#pragma once

#include "ctl/ctl.h"

struct ctl_watch {
    double seconds; /* 0: once */
    /* private */
    uint64_t round_ms;
};

/** What -W and -w of @args ask for; the first round begins now. */
void ctl_watch_begin(struct ctl_watch *w, const struct ctl_args *args);
/** Wait for the next round, which is counted from the start of the last one. False: Ctrl-C. */
bool ctl_watch_wait(struct ctl *c, struct ctl_watch *w, struct pgv_error *err) PGV_MUST_CHECK;
