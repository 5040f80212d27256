/* SPDX-License-Identifier: PostgreSQL */
/* agent/ha/restart.c - restart and reinitialize on request (ha contract §16). */
#include "agent/ha/internal.h"

#include <string.h>

static void answer(struct ha_effects *fx, uint32_t id, enum ha_answer what, const char *text)
{
    struct ha_effect *e;

    if (!id)
        return;
    e = ha_emit(fx, HA_DO_ANSWER, HA_WHY_answer);
    e->u.answer.id = id;
    e->u.answer.answer = what;
    if (text)
        memcpy(e->text, text, sizeof(e->text));
}

static bool conditions_hold(const struct ha *ha, const struct ha_request *r)
{
    if (r->has_role && r->role != ha->pg.role)
        return false;
    if (r->pg_version_below && ha->pg.server_version >= r->pg_version_below)
        return false;
    if (r->restart_pending && !ha->pg.pending_restart)
        return false;
    return true;
}

/* It comes up as what its directory says: as a primary under a proven lease only, for the view may
 * still name us when the key is gone. The tables start and demote such a server as it should be; in
 * a pause people know best. */
static bool may_restart(const struct ha *ha)
{
    return ha->policy.paused ||
           (ha_has_lock(ha) && ha_is_leader(ha, ha->now_ms + HA_DEMOTE_MARGIN_MS)) ||
           (ha->pg.alive ? !ha_may_be_primary(ha) : ha->pg.standby_signal);
}

static void restart(struct ha *ha, struct ha_effects *fx, const struct ha_request *r)
{
    struct ha_effect *e;

    ha->restart_request = *r;
    ha->has_restart_request = true;
    ha->recovering = true;
    ha->start_timeout_ms = r->timeout_ms;
    e = ha_start_job(ha, fx, PM_JOB_RESTART, HA_WHY_restart, NULL);
    e->u.job.timeout_ms = r->timeout_ms ? r->timeout_ms : ha->policy.primary_start_timeout_ms;
    e->u.job.role = ha->pg.role;
    ha->job.role = ha->pg.alive || ha->pg.standby_signal ? ha->pg.role : PGV_ROLE_PRIMARY;
}

static void reinitialize(struct ha *ha, struct ha_effects *fx, const struct ha_request *r)
{
    struct ha_effect *e;

    if (ha_unlocked(ha)) {
        answer(fx, r->id, HA_ANSWER_NO_LEADER, NULL);
        return;
    }
    if (ha_has_lock(ha)) {
        answer(fx, r->id, HA_ANSWER_I_LEAD, NULL);
        return;
    }
    if (ha->job.kind != PM_JOB_NONE && !r->force) {
        answer(fx, r->id, HA_ANSWER_BUSY, ha->job.name);
        return;
    }
    /* The stop cuts short whatever else runs; the clone follows it. */
    e = ha_start_job(ha, fx, PM_JOB_STOP, HA_WHY_reinitialize, NULL);
    e->u.job.mode = PM_STOP_IMMEDIATE;
    e->u.job.stop_timeout_ms = ha->policy.retry_timeout_ms;
    ha->job.mode = PM_STOP_IMMEDIATE;
    ha->reinit.wanted = true;
    ha->reinit.from_leader = r->from_leader;
    ha->start_after_clone = false;
    ha->remove_data = false;
    answer(fx, r->id, HA_ANSWER_DONE, NULL);
}

void ha_take_request(struct ha *ha, const struct ha_request *r, struct ha_effects *fx)
{
    static const char bootstrapping[HA_TEXT_BYTES] = "bootstrap";
    static const char demotion[HA_TEXT_BYTES] = "demotion";

    if (!ha->have_policy || !ha->have_facts || ha->shutdown.asked) {
        answer(fx, r->id, HA_ANSWER_FAILED, NULL);
        return;
    }
    switch (r->type) {
    case HA_REQ_RESTART:
        if (!conditions_hold(ha, r))
            answer(fx, r->id, HA_ANSWER_CONDITIONS, NULL);
        else if (ha->job.kind != PM_JOB_NONE)
            answer(fx, r->id, HA_ANSWER_BUSY, ha->job.name);
        else if (ha->bootstrapping) /* started again it would be no more than a standby */
            answer(fx, r->id, HA_ANSWER_BUSY, bootstrapping);
        else if (ha->demotion.active) /* stopped, and the key is on its way out */
            answer(fx, r->id, HA_ANSWER_BUSY, demotion);
        else if (ha->pg.dir != PM_DIR_OK || !may_restart(ha))
            answer(fx, r->id, HA_ANSWER_FAILED, NULL);
        else
            restart(ha, fx, r);
        break;
    case HA_REQ_SCHEDULE_RESTART:
        if (ha->has_scheduled_restart) {
            answer(fx, r->id, HA_ANSWER_EXISTS, NULL);
            break;
        }
        ha->has_scheduled_restart = true;
        ha->scheduled_restart = *r;
        ha->scheduled_restart.id = 0;
        ha->scheduled_start_time_wall_us = ha->pg.start_time_wall_us;
        ha->touch_due = true;
        ha->cycle_due = true; /* so that its moment is known to the timer */
        answer(fx, r->id, HA_ANSWER_DONE, NULL);
        break;
    case HA_REQ_DELETE_RESTART:
        answer(fx, r->id, ha->has_scheduled_restart ? HA_ANSWER_DONE : HA_ANSWER_NONE, NULL);
        ha->has_scheduled_restart = false;
        ha->touch_due = true;
        break;
    case HA_REQ_REINITIALIZE:
        reinitialize(ha, fx, r);
        break;
    }
}

/* ha contract §16.3 */
enum ha_flow ha_scheduled_restart(struct ha *ha, struct ha_effects *fx)
{
    struct ha_request r = ha->scheduled_restart;
    int64_t loop_ms = (int64_t)ha->policy.loop_wait_ms;
    int64_t delta_ms;

    if (!ha->has_scheduled_restart || ha->job.kind != PM_JOB_NONE || ha->policy.paused ||
        !may_restart(ha))
        return HA_GO_ON;
    if (ha->scheduled_start_time_wall_us && ha->pg.start_time_wall_us &&
        ha->pg.start_time_wall_us != ha->scheduled_start_time_wall_us) {
        ha_log(fx, HA_INFO, HA_WHY_restart_happened);
        ha->has_scheduled_restart = false;
        ha->touch_due = true;
        return HA_GO_ON;
    }
    delta_ms = (r.schedule_wall_us - ha->wall_us) / 1000;
    if (delta_ms > 0) {
        if (delta_ms <= loop_ms && ha->next_run_ms > ha->now_ms + (uint64_t)delta_ms)
            ha->next_run_ms = ha->now_ms + (uint64_t)delta_ms;
        return HA_GO_ON;
    }
    ha->has_scheduled_restart = false;
    ha->touch_due = true;
    if (delta_ms < -(loop_ms + loop_ms / 2))
        return HA_GO_ON; /* stale: as if it had never been there */
    if (!conditions_hold(ha, &r)) {
        ha_log(fx, HA_WARNING, HA_WHY_restart_skipped, "restart conditions are not satisfied");
        return HA_GO_ON;
    }
    restart(ha, fx, &r);
    return ha_end(ha, fx, HA_WHY_restart_initiated);
}
