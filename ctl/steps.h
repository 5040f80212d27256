/* SPDX-License-Identifier: PostgreSQL */
/* ctl/steps.h - a switchover step by step, out of what its members tell of themselves. Pure. */
#pragma once

#include "ctl/follow.h"

struct ctl_steps {
    char old[PGV_NAME_BYTES]; /* the leader that is to go; empty: there was none */
    /** Somebody has been promoted, to this timeline. */
    bool promoted;
    uint32_t timeline;
    /* private */
    struct {
        unsigned said;
        bool led;
    } v[CTL_FOLLOW_MAX];
    uint32_t old_timeline;
};

/** What of f->v[@i] is news, a sentence a line, into @b. */
void ctl_steps_look(struct ctl_steps *s, const struct ctl_follow *f, unsigned i, struct pgv_buf *b);
/** All that can be told has been: everybody who answers follows the new leader. */
bool ctl_steps_complete(const struct ctl_steps *s, const struct ctl_follow *f);
