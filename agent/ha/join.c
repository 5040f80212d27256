/* SPDX-License-Identifier: PostgreSQL */
/* agent/ha/join.c - does this data directory belong to this cluster? (ha contract §7.4) */
#include "agent/ha/internal.h"

#include <string.h>

static bool sysid_valid(const char *s)
{
    return strlen(s) >= 10 && strspn(s, "0123456789") == strlen(s);
}

static enum ha_flow leave(struct ha *ha, struct ha_effects *fx, bool leave_running)
{
    ha->shutdown.asked = true;
    ha->shutdown.exit_status = 1;
    ha->shutdown.leave_running = leave_running;
    return ha_end(ha, fx, HA_WHY_shutdown);
}

enum ha_flow ha_join(struct ha *ha, struct ha_effects *fx)
{
    const char *mine = ha->pg.sysid, *theirs = ha->view.initialize_text;
    struct ha_effect *e;

    if (!sysid_valid(mine))
        return ha_end(ha, fx, HA_WHY_sysid_invalid);
    if (ha->view.initialize == DCS_INIT_SYSID && strcmp(mine, theirs) != 0) {
        if (!ha->policy.paused) {
            ha_log(fx, HA_CRITICAL, HA_WHY_sysid_mismatch, ha->policy.name, theirs, mine);
            return leave(ha, fx, false);
        }
        ha_log(fx, HA_WARNING, HA_WHY_sysid_paused, theirs, mine);
        return ha_has_lock(ha) ? ha_give_key_up(ha, fx, HA_WHY_sysid_released) : HA_GO_ON;
    }
    /* A value that cannot be read is unknown, never absent: it is not overwritten here. */
    if (ha->view.initialize != DCS_INIT_SYSID && ha->view.initialize != DCS_INIT_GARBAGE &&
        ha_unlocked(ha) && !ha->policy.paused && !ha->joined) {
        /* A lone replica must not claim an empty store: the primary may be elsewhere. Unless it was
         * the primary itself until the store was lost. */
        if (ha->pg.alive && ha->pg.look_ok && ha->pg.in_recovery && !ha->made_readonly) {
            ha_log(fx, HA_ERROR, HA_WHY_no_initialize_replica);
            return leave(ha, fx, true);
        }
        if (ha->pg.alive && !ha->pg.look_ok)
            return ha_end(ha, fx, HA_WHY_pg_lost);
        if (ha->cycle.dcs[HA_DCS_SET_SYSID] == HA_ASK_NOT) {
            e = ha_tell_dcs(ha, fx, HA_DCS_SET_SYSID, HA_WHY_set_sysid);
            if (e)
                e->u.dcs.create = ha->view.initialize == DCS_INIT_ABSENT;
            ha->cycle.dcs[HA_DCS_SET_SYSID] = HA_ASK_WAITS;
        }
        switch (ha->cycle.dcs[HA_DCS_SET_SYSID]) {
        case HA_ASK_NOT:
        case HA_ASK_WAITS:
            return HA_WAIT;
        case HA_ASK_LOST:
            return ha_dcs_failed(ha, fx);
        case HA_ASK_REFUSED: /* somebody else was faster: the next cycle compares with theirs */
            ha->cycle_due = true;
            return ha_end(ha, fx, HA_WHY_initialize_lost);
        case HA_ASK_OK:
            break;
        }
    }
    ha->joined = true;
    ha->made_readonly = false;
    return HA_GO_ON;
}
