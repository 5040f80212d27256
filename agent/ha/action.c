/* SPDX-License-Identifier: PostgreSQL */
/* agent/ha/action.c - while a job runs, and while PostgreSQL is starting up (ha contract §9). */
#include "agent/ha/internal.h"

#include <string.h>

static enum ha_flow lost_during_job(struct ha *ha, struct ha_effects *fx)
{
    char name[HA_TEXT_BYTES];

    memcpy(name, ha->job.name, sizeof(name));
    if (ha->bootstrapping || ha->job.kind == PM_JOB_STOP)
        return HA_GO_ON;
    if (ha->job.kind == PM_JOB_PROMOTE && ha->pg.role != PGV_ROLE_PROMOTED &&
        ha->pg.role != PGV_ROLE_PRIMARY && ha->pg.look_ok && ha->pg.in_recovery) {
        /* Whether the promotion has been signalled is not known here. Cancelling ends the job; if
         * it was too late, the next cycle finds a primary without the key and stops it. */
        if (!ha->job.cancel_asked) {
            ha->job.cancel_asked = true;
            ha_emit(fx, HA_DO_CANCEL_JOB, HA_WHY_lost_before_promote);
        }
        return ha_end(ha, fx, HA_WHY_lost_before_promote);
    }
    if (ha_writable(ha) && !ha->policy.paused) {
        ha_demote(ha, fx, HA_DEMOTE_NOLOCK, HA_WHY_lost_during, "demotion");
        return ha_end(ha, fx, HA_WHY_lost_during, name);
    }
    return HA_GO_ON;
}

enum ha_flow ha_key_denied(struct ha *ha, struct ha_effects *fx)
{
    if (ha->job.kind != PM_JOB_NONE)
        return lost_during_job(ha, fx);
    if (ha->policy.paused || !ha_writable(ha))
        return HA_GO_ON;
    ha_demote(ha, fx, HA_DEMOTE_NOLOCK, HA_WHY_update_failed, "demotion");
    return ha_end(ha, fx, HA_WHY_update_failed);
}

enum ha_flow ha_job_in_progress(struct ha *ha, struct ha_effects *fx)
{
    uint64_t elapsed = ha->now_ms - ha->job.since_ms;
    bool giving_up = ha->demotion.active && ha->demotion.release_ask != HA_ASK_NOT;

    if (ha->job.kind == PM_JOB_NONE) {
        /* Stopped, and the key is not given up yet: its end begins the next cycle. */
        if (ha->demotion.active && ha->demotion.stopped && ha->demotion.release &&
            !ha->demotion.released)
            return ha_end(ha, fx, HA_WHY_releasing);
        return HA_GO_ON;
    }
    if (ha_has_lock(ha) && !ha->bootstrapping && !giving_up) {
        switch (ha_update_lock(ha, fx, false)) {
        case HA_ASK_NOT:
        case HA_ASK_WAITS:
            return HA_WAIT;
        case HA_ASK_LOST:
            return ha_dcs_failed(ha, fx);
        case HA_ASK_REFUSED:
            break;
        case HA_ASK_OK:
            if (ha->job.kind == PM_JOB_CRASH_RECOVERY &&
                elapsed >= ha->policy.primary_start_timeout_ms) {
                enum ha_verdict v = ha_failover_possible(ha, fx, false);
                if (v == HA_ASKING)
                    return HA_WAIT;
                if (v == HA_YES) {
                    ha_demote(ha, fx, HA_DEMOTE_IMMEDIATE, HA_WHY_recovery_timeout, "demotion");
                    return ha_end(ha, fx, HA_WHY_recovery_timeout);
                }
            }
            return ha_end(ha, fx, HA_WHY_updated_during, ha->job.name);
        }
    }
    if (!giving_up)
        TRY(lost_during_job(ha, fx));
    return ha_end(ha, fx, HA_WHY_in_progress, ha->job.name);
}

enum ha_flow ha_starting_instance(struct ha *ha, struct ha_effects *fx)
{
    uint64_t timeout, spent;
    enum ha_verdict v;

    if (!ha_starting(ha) || ha->policy.paused || ha->bootstrapping) {
        ha->start_timeout_ms = 0;
        return HA_GO_ON;
    }
    if (!ha_has_lock(ha))
        return HA_GO_ON; /* still starting up as a standby */
    switch (ha_update_lock(ha, fx, false)) {
    case HA_ASK_NOT:
    case HA_ASK_WAITS:
        return HA_WAIT;
    case HA_ASK_LOST:
        return ha_dcs_failed(ha, fx);
    case HA_ASK_REFUSED:
        ha_demote(ha, fx, HA_DEMOTE_NOLOCK, HA_WHY_starting_lost, "demotion");
        return ha_end(ha, fx, HA_WHY_starting_lost);
    case HA_ASK_OK:
        break;
    }
    timeout = ha->start_timeout_ms ? ha->start_timeout_ms : ha->policy.primary_start_timeout_ms;
    spent = ha->now_ms - ha->pg.state_since_ms;
    if (spent >= timeout) {
        v = ha_failover_possible(ha, fx, false);
        if (v == HA_ASKING)
            return HA_WAIT;
        if (v == HA_NO)
            return ha_end(ha, fx, HA_WHY_start_timeout_alone);
        ha_demote(ha, fx, HA_DEMOTE_IMMEDIATE, HA_WHY_start_timeout, "demotion");
        return ha_end(ha, fx, HA_WHY_start_timeout);
    }
    TRY(ha_manual_from_leader(ha, fx));
    return ha_end(ha, fx, HA_WHY_starting, (unsigned long long)((timeout - spent + 500) / 1000));
}
