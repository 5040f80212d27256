/* SPDX-License-Identifier: PostgreSQL */
/* agent/ha/leader.c - the cluster has a leader: lead, or follow (ha contract §12, §13). */
#include "agent/ha/internal.h"

#include <string.h>

/*
 * Prove the lease, once per cycle. A key won or taken in this cycle has just been proven.
 * @status: publish the WAL position afterwards; only for a healthy leader (ha contract, trap 17).
 */
enum ha_ask ha_update_lock(struct ha *ha, struct ha_effects *fx, bool status)
{
    struct ha_cycle *cy = &ha->cycle;
    enum ha_ask ask;

    if (cy->dcs[HA_DCS_ACQUIRE] == HA_ASK_OK || cy->dcs[HA_DCS_TAKE] == HA_ASK_OK)
        ask = HA_ASK_OK;
    else
        ask = ha_ask_dcs(ha, fx, HA_DCS_RENEW, HA_WHY_renew);
    if (ask == HA_ASK_OK && status && ha->pg.look_ok && cy->dcs[HA_DCS_SET_STATUS] == HA_ASK_NOT) {
        ha_tell_dcs(ha, fx, HA_DCS_SET_STATUS, HA_WHY_status);
        cy->dcs[HA_DCS_SET_STATUS] = HA_ASK_OK;
    }
    return ask;
}

/* ha contract §24: what is missing in the history key. The pump writes the document. */
static void publish_history(struct ha *ha, struct ha_effects *fx)
{
    uint32_t tl = ha->pg.timeline;
    bool due;

    if (!ha->pg.look_ok || !tl || ha->cycle.dcs[HA_DCS_SET_HISTORY] != HA_ASK_NOT)
        return;
    if (tl == 1)
        due = ha->view.history_lines > 0;
    else
        due = ha->view.history_lines == 0 || ha->view.history_last_tl != tl - 1 ||
              ha->view.history_last_fields != 5;
    if (due && !ha->cycle.regular && ha->history_timeline == tl)
        return; /* tried for this timeline: once more with the regular cycle */
    if (!due)
        return;
    ha->history_timeline = tl;
    ha_tell_dcs(ha, fx, HA_DCS_SET_HISTORY, HA_WHY_history);
    ha->cycle.dcs[HA_DCS_SET_HISTORY] = HA_ASK_OK;
}

/* pg contract §17.6: standbys that rewind wait for this checkpoint. */
static void checkpoint_after_promote(struct ha *ha, struct ha_effects *fx)
{
    if (!ha_is_primary(ha) || ha->rewind == HA_REWIND_CHECKPOINT || ha->checkpoint_running)
        return;
    ha->checkpoint_running = true;
    ha_emit(fx, HA_DO_CHECKPOINT, HA_WHY_checkpoint);
}

/* ha contract §12.3 */
enum ha_flow ha_enforce_primary(struct ha *ha, struct ha_effects *fx, enum ha_why steady,
                                enum ha_why promoting)
{
    enum ha_ask watched = ha_watchdog_activate(ha, fx);
    struct ha_effect *e;
    bool again;

    if (watched == HA_ASK_WAITS)
        return HA_WAIT;
    if (ha_watchdog_lacks(ha, watched)) {
        if (ha_writable(ha)) {
            ha_demote(ha, fx, HA_DEMOTE_IMMEDIATE, HA_WHY_watchdog_demoted, "demotion");
            return ha_end(ha, fx, HA_WHY_watchdog_demoted);
        }
        return ha_give_key_up(ha, fx, HA_WHY_watchdog_not_promoted);
    }
    /* A primary by now, whoever has promoted it: under it the key stays. */
    if (ha_may_be_primary(ha))
        ha->promote_result_failed = false;
    if (!ha->policy.paused && ha->promote_result_failed) {
        enum ha_flow flow = ha_give_key_up(ha, fx, HA_WHY_pre_promote_failed);

        if (flow == HA_END) {
            ha->promote_result_failed = false;
            ha->pre_promote_failed_ms = ha->now_ms;
        }
        return flow;
    }
    if (ha_is_primary(ha)) {
        publish_history(ha, fx);
        return ha_end(ha, fx, steady, ha->policy.name);
    }
    /* Backends that crash take the startup process along, and what it was asked. To be asked once
     * more does a promotion that takes long no harm. */
    again = ha->pg.role == PGV_ROLE_PROMOTED && ha->pg.look_ok && ha->pg.in_recovery &&
            ha->cycle.regular && !ha->policy.paused;
    if ((ha->pg.role == PGV_ROLE_PRIMARY || ha->pg.role == PGV_ROLE_PROMOTED) && !again)
        return ha_end(ha, fx, steady, ha->policy.name);
    /* Acknowledged commits must not be lost: leave it to others. */
    if (ha->policy.sync_requested && !again)
        return ha_give_key_up(ha, fx, HA_WHY_unsupported_sync);
    /* Nobody is promoted without a proven lease: the answer may be older than it looks, if the
     * machine slept in between. */
    if (ha->lease_until_ms <= ha->now_ms + HA_DEMOTE_MARGIN_MS)
        return ha_dcs_failed(ha, fx);
    ha->last_timeline = 0;
    ha->rewind = HA_REWIND_INITIAL;
    e = ha_start_job(ha, fx, PM_JOB_PROMOTE, promoting, "promote");
    e->u.job.timeout_ms = ha->policy.loop_wait_ms;
    return ha_end(ha, fx, promoting);
}

static enum ha_flow leads(struct ha *ha, struct ha_effects *fx)
{
    bool primary = ha_may_be_primary(ha);

    if (ha->policy.paused && !primary) {
        if (ha->view.failover.present && strcmp(ha->view.failover.candidate, ha->policy.name) == 0)
            return ha_end(ha, fx, HA_WHY_wait_promote_paused);
        return ha_give_key_up(ha, fx, HA_WHY_paused_not_primary);
    }
    /* What a standby has is no position of the cluster: it may be behind what is published. */
    switch (ha_update_lock(ha, fx, primary)) {
    case HA_ASK_NOT:
    case HA_ASK_WAITS:
        return HA_WAIT;
    case HA_ASK_LOST:
        return ha_dcs_failed(ha, fx);
    case HA_ASK_REFUSED: /* answered: the key is not ours */
        if (!primary)
            return ha_end(ha, fx, HA_WHY_update_failed_standby);
        if (ha->policy.paused)
            return ha_end(ha, fx, HA_WHY_paused_update_failed);
        ha_demote(ha, fx, HA_DEMOTE_NOLOCK, HA_WHY_update_failed, "demotion");
        return ha_end(ha, fx, HA_WHY_update_failed);
    case HA_ASK_OK:
        break;
    }
    if (ha->now_ms >= ha->lease_until_ms) /* renewed, but so long ago that it proves nothing now */
        return ha_dcs_failed(ha, fx);
    if (!primary)
        TRY(ha_key_regained(ha, fx));
    ha->regained = false;
    TRY(ha_manual_from_leader(ha, fx));
    checkpoint_after_promote(ha, fx);
    return ha_enforce_primary(ha, fx, HA_WHY_leader_steady, HA_WHY_promoted_had_lock);
}

/* ha contract §13.2, step 5: from 14 on a standby pauses its replay when the primary raised a
 * setting that the standby has too small. It stands still until somebody resumes it, and
 * then the server ends and is started with the right setting. */
static void resume_replay(struct ha *ha, struct ha_effects *fx)
{
    if (ha->policy.paused || ha->pg.major_version < 140000 || !ha->pg.look_ok ||
        !ha->pg.in_recovery || !ha->pg.replay_paused || ha_starting(ha) || ha->cycle.resumed)
        return;
    ha->cycle.resumed = true;
    ha_log(fx, HA_INFO, HA_WHY_resume_replay);
    ha_emit(fx, HA_DO_RESUME_REPLAY, HA_WHY_resume_replay);
}

/* ha contract §13.2. @follow's sentence takes my name and the leader's. */
enum ha_flow ha_follow(struct ha *ha, struct ha_effects *fx, enum ha_why demote, enum ha_why follow)
{
    struct postmaster_node node;
    struct ha_effect *e;
    uint32_t leader_timeline = ha_leader_timeline(ha);

    ha_node_to_follow(ha, &node);
    if (ha->policy.paused) {
        bool rewinding = (ha->rewind == HA_REWIND_CHECK || ha->rewind == HA_REWIND_NEED) &&
                         ha_rewind_allowed(ha);
        if (!rewinding || ha_unlocked(ha)) {
            if (ha_is_primary(ha))
                return ha_end(ha, fx, HA_WHY_paused_primary_no_lock);
            if (!node.name[0])
                return ha_end(ha, fx, HA_WHY_no_action, ha->policy.name);
        }
    } else if (ha_may_be_primary(ha)) {
        ha_demote(ha, fx, HA_DEMOTE_NOLOCK, demote, "demotion");
        return ha_end(ha, fx, demote);
    }
    TRY(ha_rewind_or_reinit(ha, fx));
    resume_replay(ha, fx);
    /* Without a leader the old upstream stays: whoever wins is followed in the next cycle, and
     * dropping the old one in between would only cost a reload. */
    if ((!node.name[0] || !node.conn_url[0]) && !ha->policy.tags.nostream)
        return ha_end(ha, fx, follow, ha->policy.name, ha->view.leader);
    if (ha->now_ms < ha->settled_ms && strcmp(ha->followed, node.name) == 0)
        return ha_end(ha, fx, follow, ha->policy.name, ha->view.leader);
    if (ha->cycle.follow == HA_ASK_NOT) {
        e = ha_emit(fx, HA_DO_CHECK_FOLLOW, HA_WHY_cycle);
        e->u.node = node;
        ha->cycle.follow = HA_ASK_WAITS;
    }
    if (ha->cycle.follow == HA_ASK_WAITS)
        return HA_WAIT;
    if (!ha->cycle.fits) {
        ha_trigger_divergence(ha);
        e = ha_start_job(ha, fx, PM_JOB_FOLLOW,
                         ha->cycle.needs_restart ? HA_WHY_change_upstream : HA_WHY_follow,
                         ha->cycle.needs_restart ? NULL : "changing primary_conninfo");
        e->u.job.role = PGV_ROLE_REPLICA;
        e->u.job.node = node;
        memcpy(ha->followed, node.name, sizeof(ha->followed));
        ha->settled_ms = 0;
    } else if (ha->last_timeline && leader_timeline && ha->last_timeline < leader_timeline &&
               ha->rewind != HA_REWIND_CHECK && ha->rewind != HA_REWIND_NEED &&
               ha->now_ms >= ha->divergence_not_before_ms) {
        ha_trigger_divergence(ha);
        TRY(ha_rewind_or_reinit(ha, fx));
    }
    return ha_end(ha, fx, follow, ha->policy.name, ha->view.leader);
}

enum ha_flow ha_healthy(struct ha *ha, struct ha_effects *fx)
{
    if (ha_has_lock(ha))
        return leads(ha, fx);
    return ha_follow(ha, fx, HA_WHY_demote_not_leader, HA_WHY_follower_steady);
}
