/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/ha/step.c - one step of the brain: fold, fence, and the cycle from top to bottom.
 *
 * ha_cycle_tables() is the table of contents of the HA loop (ha contract §4.3).
 */
#include "agent/ha/internal.h"

#include <string.h>

#define CYCLE_SPACING_MS 250
/** While nobody leads, a standby that lost a race looks again after this long. */
#define LEADERLESS_RETRY_MS 1000
/** Pause before the store is asked again while it does not answer. */
#define DCS_RETRY_MS 1000
/** Renewals for the sake of the watchdog come no closer than this. */
#define RENEWALS_APART_MS 1000
/** A primary that ran this long is not in a crash loop. */
#define STABLE_MS 60000

void ha_init(struct ha *ha)
{
    memset(ha, 0, sizeof(*ha));
}

/*
 * Look and read go out together; the lease of a running primary is renewed as soon as the look is
 * back, without waiting for the read: renewal does not queue behind other traffic.
 */
enum ha_flow ha_load(struct ha *ha, struct ha_effects *fx)
{
    struct ha_cycle *cy = &ha->cycle;
    bool taken = cy->dcs[HA_DCS_ACQUIRE] != HA_ASK_NOT || cy->dcs[HA_DCS_TAKE] != HA_ASK_NOT;

    if (cy->look == HA_ASK_NOT) {
        ha_emit(fx, HA_DO_LOOK, HA_WHY_cycle);
        cy->look = HA_ASK_WAITS;
    }
    if (!ha->view_live || !ha->have_view)
        ha_ask_dcs(ha, fx, HA_DCS_READ, HA_WHY_cycle);
    if (cy->look == HA_ASK_WAITS)
        return HA_WAIT;
    if (ha->have_view && ha_has_lock(ha) && ha_is_primary(ha) && !taken &&
        !(ha->demotion.active && ha->demotion.release_ask != HA_ASK_NOT))
        ha_ask_dcs(ha, fx, HA_DCS_RENEW, HA_WHY_renew);
    /* Answered: the key is not ours. A read that hangs is not waited for then. */
    if (cy->dcs[HA_DCS_RENEW] == HA_ASK_REFUSED && cy->dcs[HA_DCS_READ] != HA_ASK_NOT &&
        cy->dcs[HA_DCS_READ] != HA_ASK_OK)
        TRY(ha_key_denied(ha, fx));
    switch (cy->dcs[HA_DCS_READ]) {
    case HA_ASK_WAITS:
        return HA_WAIT;
    case HA_ASK_REFUSED: /* an error answer to a read is no view of the cluster */
    case HA_ASK_LOST:
        return ha_dcs_failed(ha, fx);
    case HA_ASK_NOT:
    case HA_ASK_OK:
        break;
    }
    if (!ha->have_view)
        return ha_dcs_failed(ha, fx);
    if (!ha_has_lock(ha) && !taken) {
        ha->lease_until_ms = 0; /* a snapshot that shows another owner, or none */
        ha->promote_result_failed = false;
    }
    if (!ha_unlocked(ha))
        ha->race_backoff_since_ms = ha->leaderless_since_ms = 0;
    else if (!ha->leaderless_since_ms)
        ha->leaderless_since_ms = ha->now_ms;
    return HA_GO_ON;
}

static void note_pause(struct ha *ha)
{
    if (ha->was_paused && !ha->policy.paused) {
        ha->rewind = HA_REWIND_INITIAL;
        ha->crash_recovery_since_ms = 0;
    }
    ha->was_paused = ha->policy.paused;
}

/* Rows 3 to 5 of the cycle: our member key, the system identifier, the configuration key. */
static void fill_keys(struct ha *ha, struct ha_effects *fx)
{
    if (!ha_me(ha) && !ha->cycle.touched) {
        ha->cycle.touched = true;
        ha->touch_due = true;
    }
    if (!ha_has_lock(ha))
        return;
    if (ha->view.initialize != DCS_INIT_SYSID && ha->pg.sysid[0] && !ha->bootstrapping &&
        ha->cycle.dcs[HA_DCS_SET_SYSID] == HA_ASK_NOT) {
        struct ha_effect *e = ha_tell_dcs(ha, fx, HA_DCS_SET_SYSID, HA_WHY_set_sysid);
        if (e)
            e->u.dcs.create = ha->view.initialize == DCS_INIT_ABSENT;
        ha->cycle.dcs[HA_DCS_SET_SYSID] = HA_ASK_OK;
    }
    if ((!ha->view.config_valid || ha->view.config_empty) && !ha->bootstrapping &&
        ha->cycle.dcs[HA_DCS_SET_CONFIG] == HA_ASK_NOT) {
        ha_tell_dcs(ha, fx, HA_DCS_SET_CONFIG, HA_WHY_fill_config);
        ha->cycle.dcs[HA_DCS_SET_CONFIG] = HA_ASK_OK;
    }
}

static enum ha_flow cycle_tables(struct ha *ha, struct ha_effects *fx)
{
    TRY(ha_load(ha, fx));
    note_pause(ha);
    fill_keys(ha, fx);
    TRY(ha_job_in_progress(ha, fx));
    TRY(ha_starting_instance(ha, fx));
    TRY(ha_post_bootstrap(ha, fx));
    TRY(ha_post_recover(ha, fx));
    TRY(ha_after_clone(ha, fx));
    TRY(ha_data_dir(ha, fx));
    TRY(ha_join(ha, fx));
    TRY(ha_not_running(ha, fx));
    /* A key won in this very cycle stands in the view already; its table goes on. */
    if (ha_unlocked(ha) || ha->cycle.dcs[HA_DCS_ACQUIRE] != HA_ASK_NOT)
        return ha_race(ha, fx);
    TRY(ha_scheduled_restart(ha, fx));
    return ha_healthy(ha, fx);
}

/* Slots are looked after at the end of a cycle (ha contract §26). */
static void slots(struct ha *ha, struct ha_effects *fx)
{
    if (!ha->have_view || ha->slots_running || !ha->pg.alive || ha_starting(ha) ||
        !ha->pg.look_ok || !ha->view.config_exists || ha->dcs_lost ||
        (ha->job.kind != PM_JOB_NONE && ha->job.kind != PM_JOB_PROMOTE))
        return;
    ha->n_slots = ha_wanted_slots(&ha->view, &ha->policy, ha->pg.role, ha->pg.major_version,
                                  ha->slots, POSTMASTER_SLOTS_MAX);
    ha->slots_running = true;
    ha_emit(fx, HA_DO_SLOTS, HA_WHY_slots)->u.slots.drop_others = !ha->policy.paused;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void ha_renew_in_time(struct ha *ha)
{
    uint64_t at = ha_watchdog_renew_at(ha);

    if (at < ha->now_ms + RENEWALS_APART_MS)
        at = ha->now_ms + RENEWALS_APART_MS;
    ha->next_run_ms = earliest(ha->next_run_ms, at);
}

static void cycle_ended(struct ha *ha, struct ha_effects *fx)
{
    struct ha_cycle *cy = &ha->cycle;

    slots(ha, fx);
    if (!cy->failed)
        ha->touch_due =
            true; /* the store skips a write that changes nothing, and keeps our session */
    if (cy->failed && ha->next_run_ms > ha->now_ms + DCS_RETRY_MS)
        ha->next_run_ms = ha->now_ms + DCS_RETRY_MS;
    if (ha->have_view && ha_unlocked(ha) && ha->pg.alive && !ha->policy.paused &&
        ha->next_run_ms > ha->now_ms + LEADERLESS_RETRY_MS)
        ha->next_run_ms = ha->now_ms + LEADERLESS_RETRY_MS;
    ha_renew_in_time(ha);
    if (cy->regular && !ha->policy.paused)
        (void)ha_watchdog_check(ha, fx); /* for those who ask; the next race asks again */
    if (ha_is_primary(ha) && ha->pg.state == PGV_STATE_RUNNING) {
        if (!ha->stable_since_ms)
            ha->stable_since_ms = ha->now_ms;
        else if (ha->now_ms - ha->stable_since_ms >= STABLE_MS)
            ha->restarts_in_place = 0;
    }
    cy->active = false;
}

static void begin_cycle(struct ha *ha)
{
    bool regular = ha->now_ms >= ha->next_run_ms;

    if (ha->now_ms - ha->window_since_ms >= ha->policy.loop_wait_ms) {
        ha->window_since_ms = ha->now_ms;
        ha->cycles_in_window = 0;
    }
    ha->cycles_in_window++;
    memset(&ha->cycle, 0, sizeof(ha->cycle));
    ha->cycle.active = true;
    ha->cycle.since_ms = ha->now_ms;
    ha->cycle.regular = regular;
    ha->cycle_due = false;
    ha->prev_wal_lsn = ha->last_wal_lsn;
    ha->next_run_ms = ha->now_ms + ha->policy.loop_wait_ms;
}

static uint64_t cycle_at(const struct ha *ha)
{
    if (!ha->cycle_due)
        return ha->next_run_ms;
    if (ha->cycles_in_window < HA_CYCLES_PER_WINDOW)
        return ha->now_ms;
    return earliest(ha->next_run_ms, ha->cycle.since_ms + CYCLE_SPACING_MS);
}

static uint64_t wake_at(const struct ha *ha)
{
    uint64_t at = earliest(ha_fence_at(ha), ha_watchdog_at(ha));

    if (!ha->cycle.active && !ha->shutdown.asked)
        at = earliest(at, cycle_at(ha));
    /* As ha_demotion_go_on() asks: a moment at which nothing would be done must not be waited for.
     */
    if (ha->demotion.active && ha->demotion.release && !ha->demotion.released &&
        ha->demotion.release_ask == HA_ASK_NOT && !ha->demotion.stopped &&
        ha->demotion.shutdown_seen && !ha->demotion.round)
        at = earliest(at, ha->demotion.ask_again_ms);
    if (ha->wait_leader_until_ms > ha->now_ms)
        at = earliest(at, ha->wait_leader_until_ms);
    if (ha->shutdown.asked)
        at = earliest(at, ha->now_ms + 500);
    if (at == UINT64_MAX)
        at = ha->now_ms + ha->policy.loop_wait_ms;
    return at;
}

void ha_step(struct ha *ha, const struct ha_event *ev, struct ha_effects *ret_fx)
{
    PGV_ASSERT(ev->now_ms >= ha->now_ms);
    ha->now_ms = ev->now_ms;
    ha->wall_us = ev->wall_us;
    ret_fx->n = 0;
    ha_fold(ha, ev, ret_fx);
    if (!ha->have_policy || !ha->have_facts || ha->exiting) {
        ret_fx->wake_ms = ha->now_ms + 1000;
        return;
    }
    ha_fence(ha, ret_fx);
    ha_bootstrap_fence(ha, ret_fx);
    if (ha->wait_leader_until_ms && ha->now_ms >= ha->wait_leader_until_ms) {
        ha->wait_leader_until_ms = 0;
        ha->cycle_due = true;
    }
    ha_demotion_go_on(ha, ret_fx);
    ha_watchdog_go_on(ha, ret_fx);
    ha_shutdown_go_on(ha, ret_fx);
    if (!ha->shutdown.asked) {
        if (!ha->cycle.active && ha->now_ms >= cycle_at(ha))
            begin_cycle(ha);
        if (ha->cycle.active && cycle_tables(ha, ret_fx) == HA_END)
            cycle_ended(ha, ret_fx);
        if (ha->touch_due && ha->have_view && !ha->dcs_inflight[HA_DCS_TOUCH] &&
            ret_fx->n < HA_EFFECTS_MAX) {
            ha->touch_due = false;
            ha_tell_dcs(ha, ret_fx, HA_DCS_TOUCH, HA_WHY_touch);
        }
        if (ha->shutdown.asked) /* decided just now: a fatal condition */
            ha_shutdown_go_on(ha, ret_fx);
    }
    ret_fx->wake_ms = wake_at(ha);
}
