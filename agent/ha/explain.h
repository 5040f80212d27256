/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/ha/explain.h - the brain in plain words: why this node is or is not the leader, whether it
 * would be promoted now, what blocks a switchover, how long a failover may take.
 *
 * Pure: it looks at the world as it stands and asks nobody. What the brain would ask first (the
 * peers' positions) is told from the last answers, and said to be so.
 */
#pragma once

#include "agent/ha/ha.h"

#define HA_RULES_MAX 24

enum ha_rule_verdict {
    HA_RULE_PASS,
    HA_RULE_FAIL,
    HA_RULE_UNKNOWN, /* cannot be told from here and now */
};

/** One rule with the values it saw. */
struct ha_rule {
    const char *name; /* 'timeline', stable: for tools */
    enum ha_rule_verdict verdict;
    char text[HA_TEXT_BYTES];
};

struct ha_rules {
    struct ha_rule v[HA_RULES_MAX];
    unsigned n, n_fail, n_unknown;
};

struct ha_explanation {
    bool leader;                    /* our lease is proven now */
    char leadership[HA_TEXT_BYTES]; /* why it is or is not the leader */
    /** Could this node be promoted now, if the leader key were free? As the leader race asks. */
    struct ha_rules promotion;
    /** Could the leader hand over to somebody now? */
    struct ha_rules switchover;
    /** From the death of the leader's whole machine until another is told to promote: a sum of
     * configured times; what PostgreSQL takes comes on top. */
    uint64_t failover_worst_ms;
    char failover[HA_TEXT_BYTES]; /* what it is the sum of */
    /** The same from a crash of PostgreSQL under a healthy agent, when it does not come up. */
    uint64_t crash_worst_ms;
    char crash[HA_TEXT_BYTES];
};

void ha_explain(const struct ha *ha, uint64_t now_ms, struct ha_explanation *ret);
