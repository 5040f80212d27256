/* SPDX-License-Identifier: PostgreSQL */
/* agent/ha/manual.c - failover and switchover on request, at once or scheduled (ha contract §14).
 */
#include "agent/ha/internal.h"

#include <stdio.h>
#include <string.h>

const char *ha_action_name(const struct ha *ha)
{
    if (!ha->view.failover.exists)
        return "failover";
    return ha->view.failover.leader[0] ? "switchover" : "manual failover";
}

const char *ha_bare_action_name(const struct ha *ha)
{
    return ha->view.failover.exists && ha->view.failover.leader[0] ? "switchover" : "failover";
}

/* One waits for another, who waits as well or has reasons of its own. */
static bool waited_long(const struct ha *ha)
{
    return ha->leaderless_since_ms && ha->now_ms >= ha->leaderless_since_ms + ha->policy.ttl_ms;
}

bool ha_manual_asked(const struct ha *ha)
{
    const struct dcs_failover *f = &ha->view.failover;
    /* The leader goes by its own clock, which may be ahead of ours. */
    int64_t soon_wall_us = ha->wall_us + (int64_t)ha->policy.ttl_ms * 1000;

    if (!f->present || !f->scheduled || !f->schedule_valid)
        return f->present;
    /* By whose clock it has not come yet waits for others, and they for him: not for long. */
    return f->scheduled_wall_us <= soon_wall_us && !waited_long(ha);
}

static void clear_key(struct ha *ha, struct ha_effects *fx)
{
    struct ha_effect *e = ha_tell_dcs(ha, fx, HA_DCS_SET_FAILOVER, HA_WHY_manual_cleanup);

    ha_log(fx, HA_INFO, HA_WHY_manual_cleanup);
    if (e)
        e->u.dcs.guarded = true;
    ha->view.failover.present = false; /* not looked at again in this cycle */
}

static bool is_far_enough(const struct ha *ha, const struct ha_peer *p, uint64_t received_lsn)
{
    /* On an older timeline it is another record that stands there, whatever check_timeline says. */
    bool far = received_lsn ? p->position >= received_lsn && p->timeline >= ha->pg.timeline
                            : ha_lag_fits(ha, p->position);

    return far && ha_timeline_fits(ha, p->timeline);
}

/*
 * The replies to the last question about a failover: could anybody take over? @received_lsn: only
 * who has received that much; 0: who lags no more than allowed.
 */
bool ha_peers_can_take_over(struct ha *ha, struct ha_effects *fx, uint64_t received_lsn)
{
    const struct dcs_failover *f = &ha->view.failover;
    bool named = f->present && f->candidate[0];

    for (unsigned i = 0; i < ha->n_peers; i++) {
        const struct ha_peer *p = &ha->peers[i];
        const char *limit = ha_limitation(p);

        if (named && strcmp(p->name, f->candidate) != 0)
            continue;
        if (limit) {
            if (!received_lsn) /* asked every few milliseconds otherwise */
                ha_log(fx, HA_INFO, HA_WHY_member_limited, ha_action_name(ha), p->name, limit);
            continue;
        }
        if (is_far_enough(ha, p, received_lsn))
            return true;
    }
    return false;
}

bool ha_somebody_else_can(const struct ha *ha)
{
    const char *candidate = ha->view.failover.candidate;

    for (unsigned i = 0; i < ha->n_peers; i++) {
        const struct ha_peer *p = &ha->peers[i];

        if (!ha_limitation(p) &&
            (candidate[0] ? strcmp(p->name, candidate) != 0 : is_far_enough(ha, p, 0)))
            return true;
    }
    return false;
}

/* ha contract §14.5 */
enum ha_verdict ha_failover_possible(struct ha *ha, struct ha_effects *fx, bool exclude_candidate)
{
    const struct dcs_failover *f = &ha->view.failover;

    /* Within a race one question serves all its tables. */
    if (ha_ask_peers(ha, fx, ha_unlocked(ha) ? HA_PEERS_RACE : HA_PEERS_FAILOVER) == HA_ASK_WAITS)
        return HA_ASKING;
    if (exclude_candidate && f->candidate[0])
        return ha_somebody_else_can(ha) ? HA_YES : HA_NO;
    return ha_peers_can_take_over(ha, fx, 0) ? HA_YES : HA_NO;
}

enum due { NOT_DUE, DUE, GARBAGE };

/* ha contract §14.6, without sleeping: the loop is woken at the moment. */
static enum due schedule_due(struct ha *ha, struct ha_effects *fx, const char *action,
                             int64_t at_wall_us, const char *text)
{
    int64_t delta_ms = (at_wall_us - ha->wall_us) / 1000;
    int64_t loop_ms = (int64_t)ha->policy.loop_wait_ms;

    if (ha->policy.paused)
        return NOT_DUE;
    if (delta_ms > 0) {
        if (ha->cycle.regular)
            ha_log(fx, HA_INFO, HA_WHY_schedule_awaiting, action, text,
                   (long long)(delta_ms / 1000));
        if (delta_ms <= loop_ms && ha->next_run_ms > ha->now_ms + (uint64_t)delta_ms)
            ha->next_run_ms = ha->now_ms + (uint64_t)delta_ms;
        return NOT_DUE;
    }
    if (delta_ms < -(loop_ms + loop_ms / 2)) {
        ha_log(fx, HA_WARNING, HA_WHY_schedule_stale, action, text);
        return GARBAGE;
    }
    ha_log(fx, HA_INFO, HA_WHY_schedule_due, action, text);
    return DUE;
}

/* ha contract §14.3 */
enum ha_flow ha_manual_from_leader(struct ha *ha, struct ha_effects *fx)
{
    struct dcs_failover *f = &ha->view.failover;
    const char *action = ha_action_name(ha), *bare = ha_bare_action_name(ha);
    char name[HA_TEXT_BYTES];

    if (!f->present || (ha->policy.paused && !ha_is_primary(ha)))
        return HA_GO_ON;
    if (f->scheduled) {
        if (!f->schedule_valid || !f->schedule_has_zone) {
            ha_log(fx, HA_WARNING, HA_WHY_schedule_invalid, f->schedule_text);
            clear_key(ha, fx);
            return HA_GO_ON;
        }
        switch (schedule_due(ha, fx, bare, f->scheduled_wall_us, f->schedule_text)) {
        case NOT_DUE:
            return HA_GO_ON;
        case GARBAGE:
            clear_key(ha, fx);
            return HA_GO_ON;
        case DUE:
            break;
        }
    }
    if (f->leader[0] && strcmp(f->leader, ha->policy.name) != 0) {
        ha_log(fx, HA_WARNING, HA_WHY_manual_leader_mismatch, action, f->leader, ha->policy.name);
        clear_key(ha, fx);
        return HA_GO_ON;
    }
    if (strcmp(f->candidate, ha->policy.name) == 0) {
        ha_log(fx, HA_WARNING, HA_WHY_manual_already_leader, action, bare);
        clear_key(ha, fx);
        return HA_GO_ON;
    }
    if (!f->candidate[0] && ha->policy.paused) {
        ha_log(fx, HA_WARNING, HA_WHY_manual_needs_candidate,
               f->leader[0] ? "Switchover" : "Failover");
        clear_key(ha, fx);
        return HA_GO_ON;
    }
    switch (ha_failover_possible(ha, fx, false)) {
    case HA_ASKING:
        return HA_WAIT;
    case HA_NO:
    case HA_UNDECIDED:
        ha_log(fx, HA_WARNING, HA_WHY_manual_no_members, action, bare);
        clear_key(ha, fx);
        return HA_GO_ON;
    case HA_YES:
        break;
    }
    snprintf(name, sizeof(name), "%s: demote", action);
    ha_demote(ha, fx, HA_DEMOTE_GRACEFUL, HA_WHY_manual_demote, name);
    return ha_end(ha, fx, HA_WHY_manual_demote, action);
}

static bool candidate_is_member(const struct ha *ha)
{
    const char *candidate = ha->view.failover.candidate;

    for (unsigned i = 0; i < ha->view.n_members && candidate[0]; i++)
        if (strcmp(ha->view.members[i].name, candidate) == 0)
            return true;
    return false;
}

bool ha_manual_goes_first(const struct ha *ha)
{
    return ha->policy.paused && !ha->policy.tags.nofailover && ha->view.failover.present &&
           !ha->view.failover.scheduled;
}

/* ha contract §14.4 */
enum ha_manual_stand ha_manual_stands(const struct ha *ha)
{
    const struct dcs_failover *f = &ha->view.failover;

    if (f->candidate[0] && strcmp(f->candidate, ha->policy.name) == 0)
        return HA_MANUAL_ME;
    if (ha->policy.paused)
        return f->candidate[0] && !candidate_is_member(ha) && ha_is_primary(ha) ? HA_MANUAL_GONE
                                                                                : HA_MANUAL_PAUSED;
    if (candidate_is_member(ha) && !ha_limitation(ha_peer_answer(ha, f->candidate)))
        return HA_MANUAL_OTHER;
    return f->leader[0] && strcmp(f->leader, ha->policy.name) == 0 && !waited_long(ha)
               ? HA_MANUAL_BACK
               : HA_MANUAL_ANYBODY;
}

enum ha_verdict ha_manual_no_leader(struct ha *ha, struct ha_effects *fx)
{
    const struct dcs_failover *f = &ha->view.failover;
    const char *action = ha_action_name(ha);
    enum ha_manual_stand stand = ha_manual_stands(ha);
    enum ha_verdict v;

    if (stand >= HA_MANUAL_OTHER && candidate_is_member(ha)) {
        if (ha_ask_peers(ha, fx, HA_PEERS_RACE) == HA_ASK_WAITS)
            return HA_ASKING;
        stand = ha_manual_stands(ha);
        if (stand != HA_MANUAL_OTHER) /* whoever is best takes it, as if nobody had been named */
            ha_log(fx, HA_WARNING, HA_WHY_member_limited, action, f->candidate,
                   ha_limitation(ha_peer_answer(ha, f->candidate)));
    }
    switch (stand) {
    case HA_MANUAL_ME:
        return HA_YES;
    case HA_MANUAL_GONE:
        clear_key(ha, fx);
        return HA_UNDECIDED;
    case HA_MANUAL_PAUSED:
        return HA_NO;
    case HA_MANUAL_OTHER:
        ha_log(fx, HA_INFO, HA_WHY_manual_not_me, action, f->candidate, ha->policy.name);
        return HA_NO;
    case HA_MANUAL_BACK:
        v = ha_failover_possible(ha, fx, true);
        /* I take it back when I am the only healthy one. */
        return v == HA_NO ? HA_YES : v == HA_ASKING ? HA_ASKING : HA_NO;
    case HA_MANUAL_ANYBODY:
        break;
    }
    return ha_compare_with_peers(ha, fx, false, f->leader);
}
