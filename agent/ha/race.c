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

/* ha contract §10.4, rows 1 to 3: what excludes me whatever the peers say. */
static bool i_may(struct ha *ha, struct ha_effects *fx, bool check_lag)
{
    uint32_t cluster_tl = ha->view.history_timeline;
    uint64_t mine = ha_position(ha);

    if (check_lag && ha->view.status_optime > mine &&
        ha->view.status_optime - mine > ha->policy.maximum_lag_bytes) {
        ha_log(fx, HA_INFO, HA_WHY_lag_exceeded);
        return false;
    }
    if (ha->policy.check_timeline) {
        if (!ha->pg.timeline) {
            ha_log(fx, HA_INFO, HA_WHY_timeline_unknown);
            return false;
        }
        if (ha->pg.timeline < cluster_tl) {
            ha_log(fx, HA_INFO, HA_WHY_timeline_behind, ha->pg.timeline, cluster_tl);
            return false;
        }
    }
    return true;
}

enum ha_verdict ha_compare_with_peers(struct ha *ha, struct ha_effects *fx, bool check_lag,
                                      const char *former_leader)
{
    uint64_t mine = ha_position(ha);
    int priority = ha->policy.tags.failover_priority;

    if (!i_may(ha, fx, check_lag))
        return HA_NO;
    if (ha_ask_peers(ha, fx, HA_PEERS_RACE) == HA_ASK_WAITS)
        return HA_ASKING;
    for (unsigned i = 0; i < ha->n_peers; i++) {
        const struct ha_peer *p = &ha->peers[i];

        if (ha_limitation(p))
            continue;
        if (!check_lag && former_leader && strcmp(p->name, former_leader) == 0)
            continue; /* a switchover away from it: it is not asked */
        if (!p->in_recovery) {
            ha_log(fx, HA_WARNING, HA_WHY_primary_alive, p->name);
            return HA_NO;
        }
        /* Who may not lead for his old timeline keeps nobody else from it, however far he is. */
        if (ha->policy.check_timeline && p->timeline < ha->view.history_timeline)
            continue;
        if (p->position > mine) {
            ha_log(fx, HA_INFO, HA_WHY_peer_ahead, p->name);
            return HA_NO;
        }
        if (p->position == mine && mine && priority < p->failover_priority &&
            !(former_leader && strcmp(p->name, former_leader) == 0)) {
            ha_log(fx, HA_INFO, HA_WHY_peer_priority, p->name, p->failover_priority, priority);
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

    if (ha->pre_promote_failed_ms && ha->now_ms < ha->pre_promote_failed_ms + ha->policy.ttl_ms) {
        ha_log(fx, HA_INFO, HA_WHY_pre_promote_backoff);
        return HA_NO;
    }
    if (ha->policy.sync_requested && !ha_is_primary(ha)) {
        ha_log(fx, HA_WARNING, HA_WHY_unsupported_sync);
        return HA_NO;
    }
    if (ha->policy.paused && !ha->policy.tags.nofailover && key && !ha->view.failover.scheduled) {
        v = ha_manual_no_leader(ha, fx);
        if (v != HA_UNDECIDED)
            return v;
    }
    if (ha_starting(ha))
        return HA_NO;
    if (ha_is_primary(ha)) {
        if (ha->policy.paused && ha->view.initialize == DCS_INIT_SYSID &&
            strcmp(ha->view.initialize_text, ha->pg.sysid) != 0)
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
    if (key) {
        if (ha->view.failover.leader[0] && ha_sync_active(ha) && !sync_member(ha, ha->policy.name))
            return HA_NO;
        v = ha_manual_no_leader(ha, fx);
        return v == HA_UNDECIDED ? HA_NO : v;
    }
    if (ha->policy.failsafe_mode && ha->view.n_failsafe) {
        bool listed = false;
        for (unsigned i = 0; i < ha->view.n_failsafe && !listed; i++)
            listed = strcmp(ha->view.failsafe[i].name, ha->policy.name) == 0;
        if (!listed)
            return HA_NO;
    }
    if (ha_sync_active(ha) && !sync_member(ha, ha->policy.name))
        return HA_NO;
    return ha_compare_with_peers(ha, fx, true, ha->have_last_led ? ha->last_led.leader : NULL);
}

static bool backs_off(const struct ha *ha)
{
    return !ha->policy.paused && ha->policy.primary_race_backoff_ms && ha->prev_wal_lsn &&
           !(ha_manual_asked(ha) && ha->view.failover.candidate[0]) && !ha_is_primary(ha);
}

uint64_t ha_backoff_left_ms(const struct ha *ha, uint64_t now_ms)
{
    uint64_t total = ha->policy.primary_race_backoff_ms, until, left;

    if (!backs_off(ha) || !ha->race_backoff_since_ms)
        return 0;
    until = ha->race_backoff_since_ms + total;
    left = until > now_ms ? until - now_ms : 0;
    if ((left && ha->pg.streaming && ha_position(ha) > ha->prev_wal_lsn) ||
        (left && left + ha->policy.loop_wait_ms > total))
        return left;
    return 0;
}

/* ha contract §10.1: with primary_race_backoff, wait while the WAL still moves. */
static enum ha_flow backoff(struct ha *ha, struct ha_effects *fx)
{
    uint64_t left;

    if (backs_off(ha) && !ha->race_backoff_since_ms)
        ha->race_backoff_since_ms = ha->now_ms;
    left = ha_backoff_left_ms(ha, ha->now_ms);
    if (left) {
        uint64_t wait = left < ha->policy.loop_wait_ms ? left : ha->policy.loop_wait_ms;
        if (ha->next_run_ms > ha->now_ms + wait)
            ha->next_run_ms = ha->now_ms + wait;
        return ha_end(ha, fx, HA_WHY_race_backoff, ha->policy.name,
                      (unsigned long long)((left + 999) / 1000));
    }
    return HA_GO_ON;
}

/* The failover key has done its work; without compare-and-swap, except where two fields matter. */
static void clean_failover_after_win(struct ha *ha, struct ha_effects *fx)
{
    const struct dcs_failover *f = &ha->view.failover;
    bool rewrite = ha->policy.paused && f->leader[0] && f->candidate[0];
    struct ha_effect *e;

    if (!f->present)
        return;
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
