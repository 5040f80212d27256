/* SPDX-License-Identifier: PostgreSQL */
/* agent/ha/race.c - no leader: may I, and am I the best? (ha contract §10, §11) */
#include "agent/ha/internal.h"

#include <string.h>
#include <strings.h>

static bool sync_member(const struct ha *ha, const char *name)
{
    const struct dcs_sync *s = &ha->view.sync;

    if (strcasecmp(s->leader, name) == 0)
        return true;
    for (unsigned i = 0; i < s->n; i++)
        if (strcasecmp(s->voters[i], name) == 0)
            return true;
    return false;
}

/* ---- rules -------------------------------------------------------------------------------- */

bool ha_lag_fits(const struct ha *ha, uint64_t position)
{
    return ha->view.status_optime <= position ||
           ha->view.status_optime - position <= ha->policy.maximum_lag_bytes;
}

bool ha_timeline_fits(const struct ha *ha, uint32_t timeline)
{
    return !ha->policy.check_timeline || (timeline && timeline >= ha->view.history_timeline);
}

bool ha_pre_promote_rests(const struct ha *ha, uint64_t now_ms)
{
    return ha->pre_promote_failed_ms && now_ms < ha->pre_promote_failed_ms + ha->policy.ttl_ms;
}

bool ha_sync_fits(const struct ha *ha)
{
    return !ha->policy.sync_requested || ha_is_primary(ha);
}

bool ha_sysid_fits(const struct ha *ha)
{
    return ha->view.initialize != DCS_INIT_SYSID ||
           strcmp(ha->view.initialize_text, ha->pg.sysid) == 0;
}

bool ha_failsafe_fits(const struct ha *ha)
{
    if (!ha->policy.failsafe_mode || !ha->view.n_failsafe)
        return true;
    for (unsigned i = 0; i < ha->view.n_failsafe; i++)
        if (strcmp(ha->view.failsafe[i].name, ha->policy.name) == 0)
            return true;
    return false;
}

bool ha_sync_excludes(const struct ha *ha)
{
    return ha_sync_active(ha) && !sync_member(ha, ha->policy.name);
}

/* ha contract §10.1: with primary_race_backoff, wait while the WAL still moves. */
bool ha_race_backs_off(const struct ha *ha, uint64_t now_ms, uint64_t *ret_left_ms)
{
    uint64_t total = ha->policy.primary_race_backoff_ms, until, left;

    if (ha->policy.paused || !total || !ha->prev_wal_lsn ||
        (ha_manual_asked(ha) && ha->view.failover.candidate[0]) || ha_may_be_primary(ha))
        return false;
    until = (ha->race_backoff_since_ms ? ha->race_backoff_since_ms : now_ms) + total;
    left = until > now_ms ? until - now_ms : 0;
    *ret_left_ms = left;
    return left && ((ha->pg.streaming && ha_position(ha) > ha->prev_wal_lsn) ||
                    left + ha->policy.loop_wait_ms > total);
}

const char *ha_former_leader(const struct ha *ha)
{
    return ha->have_last_led ? ha->last_led.leader : NULL;
}

/* ha contract §10.4, from row 4 */
enum ha_peer_stand ha_peer_stands(const struct ha *ha, const struct ha_peer *p, bool check_lag,
                                  const char *former)
{
    uint64_t mine = ha_position(ha);
    bool is_former = former && strcmp(p->name, former) == 0;

    if (ha_limitation(p))
        return HA_PEER_LIMITED;
    if (!check_lag && is_former)
        return HA_PEER_LEFT;
    if (!p->in_recovery)
        return HA_PEER_PRIMARY;
    /* Who may not lead for his old timeline keeps nobody else from it, however far he is. Who does
     * not know it just now may know it in a moment. */
    if (p->timeline && !ha_timeline_fits(ha, p->timeline))
        return HA_PEER_OLD;
    if (p->position > mine)
        return HA_PEER_AHEAD;
    if (p->position == mine && mine && !is_former &&
        ha->policy.tags.failover_priority < p->failover_priority)
        return HA_PEER_PREFERRED;
    return HA_PEER_BEHIND;
}

/* ---- the race ------------------------------------------------------------------------------ */

/* ha contract §10.4, rows 1 to 3: what excludes me whatever the peers say. */
static bool i_may(struct ha *ha, struct ha_effects *fx, bool check_lag)
{
    if (check_lag && !ha_lag_fits(ha, ha_position(ha))) {
        ha_log(fx, HA_INFO, HA_WHY_lag_exceeded);
        return false;
    }
    if (ha_timeline_fits(ha, ha->pg.timeline))
        return true;
    if (!ha->pg.timeline)
        ha_log(fx, HA_INFO, HA_WHY_timeline_unknown);
    else
        ha_log(fx, HA_INFO, HA_WHY_timeline_behind, ha->pg.timeline, ha->view.history_timeline);
    return false;
}

enum ha_verdict ha_compare_with_peers(struct ha *ha, struct ha_effects *fx, bool check_lag,
                                      const char *former_leader)
{
    if (!i_may(ha, fx, check_lag))
        return HA_NO;
    if (ha_ask_peers(ha, fx, HA_PEERS_RACE) == HA_ASK_WAITS)
        return HA_ASKING;
    for (unsigned i = 0; i < ha->n_peers; i++) {
        const struct ha_peer *p = &ha->peers[i];

        switch (ha_peer_stands(ha, p, check_lag, former_leader)) {
        case HA_PEER_BEHIND:
        case HA_PEER_OLD:
        case HA_PEER_LIMITED:
        case HA_PEER_LEFT: /* it is not asked */
            break;
        case HA_PEER_PRIMARY:
            ha_log(fx, HA_WARNING, HA_WHY_primary_alive, p->name);
            return HA_NO;
        case HA_PEER_AHEAD:
            ha_log(fx, HA_INFO, HA_WHY_peer_ahead, p->name);
            return HA_NO;
        case HA_PEER_PREFERRED:
            ha_log(fx, HA_INFO, HA_WHY_peer_priority, p->name, p->failover_priority,
                   ha->policy.tags.failover_priority);
            return HA_NO;
        }
    }
    return HA_YES;
}

/* ha contract §10.3 */
static enum ha_verdict healthiest(struct ha *ha, struct ha_effects *fx)
{
    bool key = ha_manual_asked(ha);
    enum ha_verdict v;

    if (ha_pre_promote_rests(ha, ha->now_ms)) {
        ha_log(fx, HA_INFO, HA_WHY_pre_promote_backoff);
        return HA_NO;
    }
    if (!ha_sync_fits(ha)) {
        ha_log(fx, HA_WARNING, HA_WHY_unsupported_sync);
        return HA_NO;
    }
    if (ha_manual_goes_first(ha)) {
        v = ha_manual_no_leader(ha, fx);
        if (v != HA_UNDECIDED)
            return v;
    }
    if (ha_starting(ha))
        return HA_NO;
    if (ha_is_primary(ha)) {
        if (ha->policy.paused && !ha_sysid_fits(ha))
            return HA_NO;
        /* In a pause as well, unlike Patroni: somebody has led since, and what was acknowledged
         * there would be lost when the standbys turn to us. */
        if (ha->pg.timeline < ha->view.history_timeline) {
            ha_log(fx, HA_WARNING, HA_WHY_timeline_behind, ha->pg.timeline,
                   ha->view.history_timeline);
            return HA_NO;
        }
        return HA_YES;
    }
    if (ha->policy.paused || ha->policy.tags.nofailover || !ha->pg.look_ok)
        return HA_NO;
    /* Whoever is named as well: without it he would give the key back at once. */
    switch (ha_watchdog_check(ha, fx)) {
    case HA_ASK_NOT:
    case HA_ASK_WAITS:
        return HA_ASKING;
    case HA_ASK_REFUSED:
    case HA_ASK_LOST:
        ha_log(fx, HA_WARNING, HA_WHY_watchdog_unusable);
        return HA_NO;
    case HA_ASK_OK:
        break;
    }
    if (key) {
        if (ha->view.failover.leader[0] && ha_sync_excludes(ha))
            return HA_NO;
        v = ha_manual_no_leader(ha, fx);
        return v == HA_UNDECIDED ? HA_NO : v;
    }
    if (!ha_failsafe_fits(ha) || ha_sync_excludes(ha))
        return HA_NO;
    return ha_compare_with_peers(ha, fx, true, ha_former_leader(ha));
}

static enum ha_flow backoff(struct ha *ha, struct ha_effects *fx)
{
    uint64_t left = 0, wait;
    bool holds = ha_race_backs_off(ha, ha->now_ms, &left);

    if (left && !ha->race_backoff_since_ms)
        ha->race_backoff_since_ms = ha->now_ms;
    if (!holds)
        return HA_GO_ON;
    wait = left < ha->policy.loop_wait_ms ? left : ha->policy.loop_wait_ms;
    if (ha->next_run_ms > ha->now_ms + wait)
        ha->next_run_ms = ha->now_ms + wait;
    return ha_end(ha, fx, HA_WHY_race_backoff, ha->policy.name,
                  (unsigned long long)((left + 999) / 1000));
}

/* The failover key has done its work; without compare-and-swap, except where two fields matter. */
static void clean_failover_after_win(struct ha *ha, struct ha_effects *fx)
{
    const struct dcs_failover *f = &ha->view.failover;
    bool rewrite = ha->policy.paused && f->leader[0] && f->candidate[0];
    struct ha_effect *e;

    if (!f->present || ha->cycle.dcs[HA_DCS_SET_FAILOVER] != HA_ASK_NOT)
        return;
    ha->cycle.dcs[HA_DCS_SET_FAILOVER] = HA_ASK_OK; /* once, however often its table is read */
    e = ha_tell_dcs(ha, fx, HA_DCS_SET_FAILOVER,
                    rewrite ? HA_WHY_manual_update_acquired : HA_WHY_manual_cleanup_acquired);
    if (!e)
        return;
    ha_log(fx, HA_INFO, e->why);
    e->u.dcs.guarded = rewrite;
    if (rewrite)
        memcpy(e->u.dcs.candidate, f->candidate, sizeof(e->u.dcs.candidate));
}

static enum ha_flow won(struct ha *ha, struct ha_effects *fx)
{
    clean_failover_after_win(ha, fx);
    return ha_enforce_primary(ha, fx, HA_WHY_acquired_primary, HA_WHY_promoted_acquired);
}

/*
 * The lease had ended, and somebody else may have led before the key came back to us. What he has
 * acknowledged is lost by whoever leads without it, so the rules of the race hold, by the store's
 * own view.
 */
enum ha_flow ha_key_regained(struct ha *ha, struct ha_effects *fx)
{
    if (!ha->regained)
        return HA_GO_ON;
    switch (ha_ask_dcs(ha, fx, HA_DCS_READ, HA_WHY_cycle)) {
    case HA_ASK_NOT:
    case HA_ASK_WAITS:
        return HA_WAIT;
    case HA_ASK_REFUSED:
    case HA_ASK_LOST:
        return ha_dcs_failed(ha, fx);
    case HA_ASK_OK:
        break;
    }
    if (!i_may(ha, fx, true))
        return ha_give_key_up(ha, fx, HA_WHY_not_healthiest);
    ha->regained = false;
    return HA_GO_ON;
}

/* This process stood still: somebody may have led, and gone, since the answers were given. */
static enum ha_flow ask_again(struct ha *ha, struct ha_effects *fx)
{
    struct ha_cycle *cy = &ha->cycle;

    cy->since_ms = ha->now_ms;
    cy->look = cy->peers = cy->watchdog_check = cy->dcs[HA_DCS_READ] = HA_ASK_NOT;
    return ha_load(ha, fx);
}

enum ha_flow ha_race(struct ha *ha, struct ha_effects *fx)
{
    if (ha->cycle.dcs[HA_DCS_ACQUIRE] == HA_ASK_NOT) {
        enum ha_verdict v;

        TRY(backoff(ha, fx));
        v = healthiest(ha, fx);
        /* The read and the peers' answers travel together. The view that decides a promotion is
         * the store's own, not the watched copy. */
        if (v == HA_ASKING || v == HA_YES) {
            enum ha_ask read = ha_ask_dcs(ha, fx, HA_DCS_READ, HA_WHY_cycle);
            if (v == HA_ASKING || read == HA_ASK_WAITS)
                return HA_WAIT;
            if (read != HA_ASK_OK)
                return ha_dcs_failed(ha, fx);
            if (ha->now_ms - ha->cycle.since_ms >= ha->policy.ttl_ms)
                return ask_again(ha, fx);
        } else {
            if (ha->view.failover.candidate[0] ||
                (ha->policy.tags.nofailover && !ha->policy.paused))
                ha_trigger_divergence(ha);
            return ha->policy.tags.nofailover
                       ? ha_follow(ha, fx, HA_WHY_not_allowed_primary, HA_WHY_not_allowed)
                       : ha_follow(ha, fx, HA_WHY_not_healthiest_primary, HA_WHY_not_healthiest);
        }
    }
    switch (ha_ask_dcs(ha, fx, HA_DCS_ACQUIRE, HA_WHY_promoted_acquired)) {
    case HA_ASK_NOT:
    case HA_ASK_WAITS:
        return HA_WAIT;
    case HA_ASK_LOST:
        return ha_dcs_failed(ha, fx);
    case HA_ASK_REFUSED:
        return ha_follow(ha, fx, HA_WHY_acquire_failed_primary, HA_WHY_acquire_failed);
    case HA_ASK_OK:
        break;
    }
    return won(ha, fx);
}
