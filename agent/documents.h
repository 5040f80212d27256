/* SPDX-License-Identifier: PostgreSQL */
/* agent/documents.h - what a leader writes to the store besides its key: status and history. */
#pragma once

#include "agent/agent.h"

/** Names of slots that are kept for members that are gone, with when they were last seen. */
struct retained {
    bool begun; /* what the store had was taken over */
    unsigned n;
    struct {
        char name[PGV_SLOT_NAME_BYTES];
        uint64_t seen_ms;
    } v[DCS_SLOTS_MAX];
};

/** After winning the key: every retained slot's clock starts anew (dcs contract §7.4). An agent
 * that was started under a key of its own does so with its first status. */
void retained_restart(struct retained *r, const struct dcs_cluster *c, uint64_t now_ms);

/**
 * The status document (dcs contract §4.5). @optime_only not 0: that position, with slots and
 * retain_slots carried over from the last one known.
 */
bool status_document(struct agent *a, struct retained *r, uint64_t optime_only, struct pgv_buf *b);

/** The history document (ha contract §24); false when there is nothing to write. */
bool history_document(struct agent *a, struct pgv_buf *b);
