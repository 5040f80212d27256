/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/ha/recover.c - PostgreSQL is not running: start it as what it may be (ha contract §8).
 *
 * A crashed primary that still holds the key is restarted in place, at once. Everything else comes
 * up as a standby, after its timeline was compared with the leader's.
 */
#include "agent/ha/internal.h"

#include <string.h>

/** So many crashes in a row without a stable minute, and the key is given to somebody else. */
#define RESTARTS_IN_PLACE_MAX 5

/* ha contract §9.3: we started it; did it come up? */
enum ha_flow ha_post_recover(struct ha *ha, struct ha_effects *fx)
{
    if (!ha->recovering)
        return HA_GO_ON;
    if (!ha->pg.alive && ha_has_lock(ha) && ha_key_on_its_way(ha))
        return HA_WAIT; /* for the key is given up below */
    ha->recovering = false;
    if (ha->pg.alive) {
        ha->crash_recovery_since_ms = 0;
        if (ha_rewind_executed(ha) && ha->rewind == HA_REWIND_SUCCESS)
            ha->rewind = HA_REWIND_INITIAL;
        return HA_GO_ON;
    }
    if (ha_has_lock(ha)) {
        if (ha->pg.role == PGV_ROLE_PRIMARY || ha->pg.role == PGV_ROLE_STANDBY_LEADER) {
            struct ha_effect *e = ha_emit(fx, HA_DO_CALLBACK, HA_WHY_callback);
            e->u.callback.role = PGV_ROLE_DEMOTED;
            memcpy(e->u.callback.action, "on_role_change", 15);
        }
        return ha_give_key_up(ha, fx, HA_WHY_removed_after_failed_start);
    }
    return ha_end(ha, fx, HA_WHY_failed_to_start);
}

static bool crashed_primary(const struct ha *ha)
{
    switch (ha->pg.control_state) {
    case PM_CONTROL_IN_PRODUCTION:
    case PM_CONTROL_IN_CRASH_RECOVERY:
    case PM_CONTROL_SHUTTING_DOWN:
    case PM_CONTROL_SHUT_DOWN:
        break;
    case PM_CONTROL_UNKNOWN:
    case PM_CONTROL_STARTING_UP:
    case PM_CONTROL_SHUT_DOWN_IN_RECOVERY:
    case PM_CONTROL_IN_ARCHIVE_RECOVERY:
        return false;
    }
    return ha->pg.role == PGV_ROLE_PRIMARY && !ha->pg.standby_signal &&
           (ha->pg.state == PGV_STATE_CRASHED || ha->pg.state == PGV_STATE_RUNNING ||
            ha->pg.state == PGV_STATE_STARTING);
}

static enum ha_flow crash_recovery(struct ha *ha, struct ha_effects *fx)
{
    if (ha->crash_recovery_since_ms || !(ha_unlocked(ha) || ha->pg.rewind_possible))
        return HA_GO_ON;
    ha->crash_recovery_since_ms = ha->now_ms;
    ha_start_job(ha, fx, PM_JOB_CRASH_RECOVERY, HA_WHY_crash_recovery, NULL);
    return ha_end(ha, fx, HA_WHY_crash_recovery);
}

/* ha contract §8.4 and pg contract §17. Also used by followers whose leader has changed. */
enum ha_flow ha_rewind_or_reinit(struct ha *ha, struct ha_effects *fx)
{
    struct postmaster_node leader;
    char name[HA_TEXT_BYTES];
    struct ha_effect *e;

    if (ha->rewind != HA_REWIND_CHECK && ha->rewind != HA_REWIND_NEED)
        return HA_GO_ON;
    if (!ha_rewind_allowed(ha) || ha->now_ms < ha->divergence_not_before_ms)
        return HA_GO_ON;
    ha_node_of_leader(ha, &leader);
    if (!leader.conn_url[0] || strcmp(leader.name, ha->policy.name) == 0)
        return HA_GO_ON;
    if (ha->rewind == HA_REWIND_CHECK) {
        if (leader.role != PGV_ROLE_PRIMARY)
            return HA_GO_ON; /* still promoting: its history is not written yet */
        e = ha_start_job(ha, fx, PM_JOB_CHECK_DIVERGENCE, HA_WHY_check_divergence,
                         "comparing timelines");
        e->u.job.node = leader;
        return ha_end(ha, fx, HA_WHY_check_divergence, leader.name);
    }
    if (ha->pg.rewind_possible) {
        /* pg_rewind needs it. It may take minutes; a server that is stopped for a rewind that then
         * cannot begin would be down for a moment in every cycle of them. */
        if (leader.leader_checkpoint_known && !leader.leader_checkpoint_done)
            return HA_GO_ON;
        if (!ha->pg.alive && ha->pg.control_state == PM_CONTROL_IN_ARCHIVE_RECOVERY)
            TRY(crash_recovery(ha, fx));
        ha_say(name, sizeof(name), HA_WHY_rewind, leader.name);
        e = ha_start_job(ha, fx, PM_JOB_REWIND, HA_WHY_rewind, name);
        e->u.job.node = leader;
        return ha_end(ha, fx, HA_WHY_rewind, leader.name);
    }
    /* ha_rewind_allowed(): then it is remove_data_directory_on_diverged_timelines. */
    ha->reinit.wanted = true;
    ha->reinit.from_leader = false;
    ha->rewind = HA_REWIND_INITIAL;
    if (ha->pg.alive) {
        e = ha_start_job(ha, fx, PM_JOB_STOP, HA_WHY_reinit_diverged, NULL);
        e->u.job.mode = PM_STOP_IMMEDIATE;
        e->u.job.stop_timeout_ms = ha->policy.retry_timeout_ms;
        ha->job.mode = PM_STOP_IMMEDIATE;
        return ha_end(ha, fx, HA_WHY_reinit_diverged);
    }
    return ha_after_clone(ha, fx);
}

static enum ha_flow paused(struct ha *ha, struct ha_effects *fx)
{
    bool rewound = ha_rewind_executed(ha) && ha->rewind != HA_REWIND_FAILED;
    bool needed = ha->rewind == HA_REWIND_CHECK || ha->rewind == HA_REWIND_NEED;

    if (ha_has_lock(ha))
        return ha_give_key_up(ha, fx, HA_WHY_paused_lock_removed);
    if (ha->rewind == HA_REWIND_FAILED || !(rewound || (needed && ha_rewind_allowed(ha))))
        return ha_end(ha, fx, HA_WHY_paused_not_running);
    return HA_GO_ON;
}

/*
 * The lease as it stands allows the server to run for a good while yet, crashed or not, so its
 * restart need not wait for the store; should the renewal fail, fencing meets a server that runs as
 * it would one that never crashed.
 */
static bool lease_suffices(const struct ha *ha)
{
    return ha->policy.primary_start_timeout_ms && ha->view_live &&
           ha->lease_until_ms > ha->now_ms + ha->policy.retry_timeout_ms;
}

/* The holder of the key whose server crashed: again in place, or give the key to another. */
static enum ha_flow holder(struct ha *ha, struct ha_effects *fx, uint64_t *ret_timeout_ms)
{
    bool loop = ha->restarts_in_place >= RESTARTS_IN_PLACE_MAX;
    struct ha_effect *e;

    switch (ha_update_lock(ha, fx, false)) {
    case HA_ASK_NOT:
    case HA_ASK_WAITS:
        if (loop || !lease_suffices(ha) || !crashed_primary(ha) || !ha_watchdog_ready(ha))
            return HA_WAIT;
        break; /* clients are waiting; the answer finds the start under way */
    case HA_ASK_LOST:
        return ha_dcs_failed(ha, fx);
    case HA_ASK_REFUSED:
        return HA_GO_ON;
    case HA_ASK_OK:
        break;
    }
    *ret_timeout_ms = ha->policy.primary_start_timeout_ms;
    if (!*ret_timeout_ms || loop) {
        enum ha_verdict v = ha_failover_possible(ha, fx, false);
        if (v == HA_ASKING)
            return HA_WAIT;
        if (v == HA_YES) {
            enum ha_why why = loop ? HA_WHY_crash_loop : HA_WHY_crash_failover;
            unsigned n = ha->restarts_in_place;

            ha->restarts_in_place = 0;
            ha_demote(ha, fx, HA_DEMOTE_IMMEDIATE, why, "demotion");
            return loop ? ha_end(ha, fx, why, n) : ha_end(ha, fx, why);
        }
    }
    if (*ret_timeout_ms && crashed_primary(ha)) {
        enum ha_ask watched = ha_watchdog_activate(ha, fx);

        if (watched == HA_ASK_WAITS)
            return HA_WAIT;
        if (watched == HA_ASK_LOST)
            return ha_dcs_failed(ha, fx);
        if (ha_watchdog_lacks(ha, watched))
            return ha_give_key_up(ha, fx, HA_WHY_watchdog_not_promoted);
        TRY(ha_key_regained(ha, fx));
        /* The answer may be older than it looks, as for a promotion. */
        if (ha->lease_until_ms <= ha->now_ms + HA_DEMOTE_MARGIN_MS)
            return ha_dcs_failed(ha, fx);
        ha->restarts_in_place++;
        ha->recovering = true;
        e = ha_start_job(ha, fx, PM_JOB_START, HA_WHY_start_primary, NULL);
        e->u.job.role = PGV_ROLE_PRIMARY;
        e->u.job.timeout_ms = *ret_timeout_ms;
        ha->job.role = PGV_ROLE_PRIMARY;
        return ha_end(ha, fx, HA_WHY_start_primary);
    }
    return HA_GO_ON;
}

enum ha_flow ha_not_running(struct ha *ha, struct ha_effects *fx)
{
    bool lock = ha_has_lock(ha);
    uint64_t timeout_ms = 0;
    enum ha_why why = HA_WHY_start_secondary;
    struct ha_effect *e;

    if (ha->pg.alive)
        return HA_GO_ON;
    if (ha->policy.paused)
        TRY(paused(ha, fx));
    if (lock)
        TRY(holder(ha, fx, &timeout_ms));
    /* The key was given up a moment ago: starting before somebody has it means starting twice. */
    if (!lock && ha_unlocked(ha) && ha->wait_leader_until_ms > ha->now_ms)
        return ha_end(ha, fx, HA_WHY_wait_leader);
    if (ha->pg.control_state == PM_CONTROL_IN_PRODUCTION ||
        ha->pg.control_state == PM_CONTROL_SHUTTING_DOWN ||
        ha->pg.control_state == PM_CONTROL_IN_CRASH_RECOVERY) {
        /* From 15 on the server replays a base backup by itself. */
        if (!(ha->pg.backup_label && ha->pg.major_version >= 150000))
            TRY(crash_recovery(ha, fx));
    }
    if (lock) {
        ha->rewind = HA_REWIND_INITIAL;
        why = HA_WHY_start_readonly;
    } else {
        if (!ha_rewind_executed(ha) && !ha->compared && ha->rewind != HA_REWIND_CHECK)
            ha_trigger_divergence(ha);
        TRY(ha_rewind_or_reinit(ha, fx));
    }
    e = ha_start_job(ha, fx, PM_JOB_START, why, "restarting after failure");
    e->u.job.role = PGV_ROLE_REPLICA;
    ha->job.role = PGV_ROLE_REPLICA;
    e->u.job.timeout_ms = timeout_ms;
    if (!lock)
        ha_node_to_follow(ha, &e->u.job.node);
    ha->recovering = true;
    return ha_end(ha, fx, why);
}
