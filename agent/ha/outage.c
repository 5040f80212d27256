/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/ha/outage.c - the store does not answer (ha contract §18).
 *
 * Where Patroni demotes after retry_timeout, we stay primary as long as the lease is proven: nobody
 * else can have the key before it ends, and ha_fence() stops PostgreSQL in time. Standbys follow
 * on.
 */
#include "agent/ha/internal.h"

enum ha_flow ha_dcs_failed(struct ha *ha, struct ha_effects *fx)
{
    struct ha_effect *e;

    ha->cycle.failed = true;
    if (!ha->policy.paused && !ha->pg.alive && ha->offline && ha->job.kind == PM_JOB_NONE &&
        ha->pg.dir == PM_DIR_OK && !ha->demotion.active) {
        /* Demoted because of the outage: serve reads meanwhile, following nobody. */
        ha->offline = false;
        ha->made_readonly = true;
        e = ha_start_job(ha, fx, PM_JOB_START, HA_WHY_dcs_lost_offline, "starting after demotion");
        e->u.job.role = PGV_ROLE_REPLICA;
        ha->job.role = PGV_ROLE_REPLICA;
        ha->recovering = true;
        return ha_end(ha, fx, HA_WHY_dcs_lost_offline);
    }
    if (ha_is_primary(ha) && !ha->policy.paused && ha->lease_until_ms > ha->now_ms) {
        /* The lease is as good as it was, but a watchdog that went away is missing now. */
        enum ha_ask watched =
            ha->job.kind == PM_JOB_NONE ? ha_watchdog_activate(ha, fx) : HA_ASK_OK;

        if (watched == HA_ASK_WAITS)
            return HA_WAIT;
        if (ha_watchdog_lacks(ha, watched)) {
            ha_demote(ha, fx, HA_DEMOTE_IMMEDIATE, HA_WHY_watchdog_demoted, "demotion");
            return ha_end(ha, fx, HA_WHY_watchdog_demoted);
        }
        return ha_end(ha, fx, HA_WHY_dcs_lost_primary,
                      (unsigned long long)((ha->lease_until_ms - ha->now_ms) / 1000));
    }
    return ha_end(ha, fx, HA_WHY_dcs_lost);
}
