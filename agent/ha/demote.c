/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/ha/demote.c - fencing, demotion, shutdown: what stands outside the cycle.
 *
 * A demotion is a stop and, where the key is to be given up, its release: as soon as a standby has
 * received the shutdown checkpoint, or when the stop has ended. Starting again as a standby is the
 * business of the ordinary tables, which find PostgreSQL not running.
 */
#include "agent/ha/internal.h"

#include <string.h>

/** After giving the key up, somebody else gets this long to take it before we start as a standby.
 *  Source: Patroni sleeps 2 s there. */
#define WAIT_LEADER_MS 2000
/** How soon the standbys are asked again whether they have the shutdown checkpoint. */
#define ASK_AGAIN_MS 25

static uint64_t before(uint64_t at_ms, uint64_t margin_ms)
{
    return at_ms > margin_ms ? at_ms - margin_ms : 0;
}

/* A stop that lets the server finish is under way, and somebody else leads by now: the session was
 * lost. The tables, which stop whoever runs on, are not asked during a shutdown. */
static bool overtaken_stopping(const struct ha *ha)
{
    return ha->job.kind == PM_JOB_STOP && ha->view.has_leader && !ha_has_lock(ha);
}

uint64_t ha_fence_at(const struct ha *ha)
{
    uint64_t margin, until, fires;

    /* In pause nothing is ever stopped; a cluster that is only being made has nobody to fight,
     * until its key is asked for: from then on others may see a leader, copy it, and follow it. */
    if (ha->policy.paused || (ha->bootstrapping && !ha->take_ms) || !ha_writable(ha))
        return UINT64_MAX;
    if (ha->job.kind == PM_JOB_STOP && ha->job.mode == PM_STOP_IMMEDIATE)
        return UINT64_MAX; /* there is nothing stricter */
    if (ha->demotion.active && ha->demotion.shutdown_seen)
        return UINT64_MAX; /* the last record is written: nothing can follow it */
    if (overtaken_stopping(ha))
        return 0;
    margin = ha->job.kind == PM_JOB_STOP ? HA_IMMEDIATE_MARGIN_MS : HA_DEMOTE_MARGIN_MS;
    if (ha->lease_until_ms)
        return before(ha_proven_until(ha), margin);
    /* The key of a new cluster, which may be ours, ends with the lease that it was asked with.
     * Otherwise we have just found it writable without one (the agent was restarted), or the tables
     * are about to demote: the old lease, if there is one, cannot outlive its ttl. */
    if (ha->take_ms)
        until = ha->take_ms + ha->asked_ttl_ms[HA_DCS_TAKE];
    else if (ha->primary_since_ms)
        until = ha->primary_since_ms + ha->policy.retry_timeout_ms + HA_DEMOTE_MARGIN_MS;
    else
        return UINT64_MAX;
    /* That a lease is lost gives nobody more time than he had with it. */
    if (ha->led_until_ms && ha->led_until_ms < until)
        until = ha->led_until_ms;
    fires = ha_watchdog_fires(ha);
    return before(fires < until ? fires : until, margin);
}

void ha_demote(struct ha *ha, struct ha_effects *fx, enum ha_demote mode, enum ha_why why,
               const char *name)
{
    uint64_t until = ha_proven_until(ha);
    bool immediate = mode == HA_DEMOTE_IMMEDIATE || mode == HA_DEMOTE_NOLOCK;
    struct ha_effect *e;

    if (ha->job.kind == PM_JOB_STOP && (ha->job.mode == PM_STOP_IMMEDIATE || !immediate))
        return;
    ha_trigger_divergence(ha);
    e = ha_start_job(ha, fx, PM_JOB_STOP, why, name);
    e->u.job.demote = true;
    e->u.job.mode = immediate ? PM_STOP_IMMEDIATE : PM_STOP_FAST;
    e->u.job.checkpoint_first = mode == HA_DEMOTE_GRACEFUL;
    e->u.job.report_shutdown_checkpoint = mode == HA_DEMOTE_GRACEFUL;
    if (mode == HA_DEMOTE_OFFLINE)
        e->u.job.immediate_at_ms = until > ha->now_ms + HA_IMMEDIATE_MARGIN_MS
                                       ? until - HA_IMMEDIATE_MARGIN_MS
                                       : ha->now_ms + HA_IMMEDIATE_MARGIN_MS;
    ha->job.mode = e->u.job.mode;
    memset(&ha->demotion, 0, sizeof(ha->demotion));
    ha->demotion.active = true;
    ha->demotion.release = mode == HA_DEMOTE_GRACEFUL || mode == HA_DEMOTE_IMMEDIATE;
    ha->offline = mode == HA_DEMOTE_OFFLINE;
    ha->reinit.wanted = false;
    if (mode != HA_DEMOTE_GRACEFUL)
        ha->lease_until_ms = 0;
}

/*
 * Looked at in every step, before everything else. The moment counts from when the last successful
 * renewal was sent; it passes while the machine sleeps. A watchdog that fires before the lease ends
 * is an earlier one.
 */
void ha_fence(struct ha *ha, struct ha_effects *fx)
{
    uint64_t at, until = ha_proven_until(ha);
    bool fires = until < ha->lease_until_ms;
    enum ha_why why;

    if (!ha_writable(ha))
        ha->led_until_ms = 0;
    else if (ha->lease_until_ms)
        ha->led_until_ms = ha->lease_until_ms;
    if (ha->lease_until_ms || !ha_writable(ha))
        ha->primary_since_ms = ha->take_ms = 0;
    else if (!ha->primary_since_ms)
        ha->primary_since_ms = ha->now_ms;
    at = ha_fence_at(ha);
    if (ha->now_ms < at)
        return;
    ha->bootstrapping = false; /* its identity is published: it is raced for like any other */
    if (fires)
        ha_watchdog_fenced(ha);
    if (overtaken_stopping(ha)) {
        char name[HA_TEXT_BYTES];

        memcpy(name, ha->job.name, sizeof(name));
        ha_log(fx, HA_WARNING, HA_WHY_lost_during, name);
        ha_demote(ha, fx, HA_DEMOTE_NOLOCK, HA_WHY_lost_during, "demotion");
    } else if (!ha->lease_until_ms) {
        /* A stop that is under way and has not ended the writes is not enough any more, nor is one
         * that takes its time when the lease there was has ended. */
        bool again = ha->job.kind == PM_JOB_STOP ||
                     (ha->led_until_ms && ha->now_ms + HA_IMMEDIATE_MARGIN_MS >= ha->led_until_ms);

        ha_log(fx, HA_WARNING, HA_WHY_lease_unproven);
        ha_demote(ha, fx, again ? HA_DEMOTE_NOLOCK : HA_DEMOTE_OFFLINE, HA_WHY_lease_unproven,
                  "demotion");
    } else if (ha->job.kind == PM_JOB_STOP || ha->now_ms + HA_IMMEDIATE_MARGIN_MS >= until) {
        why = fires ? HA_WHY_watchdog_fires : HA_WHY_lease_over;
        ha_log(fx, HA_WARNING, why);
        ha_demote(ha, fx, HA_DEMOTE_NOLOCK, why, "demotion");
        ha->offline = true;
    } else {
        why = fires ? HA_WHY_watchdog_fires : HA_WHY_lease_ends;
        ha_log(fx, HA_WARNING, why);
        ha_demote(ha, fx, HA_DEMOTE_OFFLINE, why, "demotion");
    }
}

static void emit_release(struct ha *ha, struct ha_effects *fx, enum ha_why why)
{
    struct ha_demotion *d = &ha->demotion;
    struct ha_effect *e;

    if (ha_key_on_its_way(ha) || ha->dcs_inflight[HA_DCS_RELEASE])
        return; /* it could take the key back: wait for its end */
    e = ha_tell_dcs(ha, fx, HA_DCS_RELEASE, why);
    e->u.dcs.optime = d->prev_lsn;
    d->release_ask = HA_ASK_WAITS;
    ha->lease_until_ms = 0;
}

void ha_demotion_go_on(struct ha *ha, struct ha_effects *fx)
{
    struct ha_demotion *d = &ha->demotion;

    if (!d->active)
        return;
    if (d->release && !ha_has_lock(ha))
        d->released = true; /* somebody else's already, or gone */
    if (d->release && !d->released && d->release_ask == HA_ASK_NOT) {
        if (d->stopped) {
            emit_release(ha, fx, HA_WHY_release);
        } else if (d->shutdown_seen && d->round == 0 && ha->now_ms >= d->ask_again_ms) {
            ha_ask_peers(ha, fx, HA_PEERS_RECEIVED);
            d->round = ha->asked_round;
        } else if (d->shutdown_seen && d->round && d->round == ha->answered_round) {
            if (ha_peers_can_take_over(ha, fx, d->checkpoint_lsn)) {
                emit_release(ha, fx, HA_WHY_release_received);
            } else {
                d->round = 0;
                d->ask_again_ms = ha->now_ms + ASK_AGAIN_MS;
            }
        }
    }
    if (d->stopped && (!d->release || d->released)) {
        bool gave_up = d->release;

        memset(d, 0, sizeof(*d));
        if (gave_up && !ha->policy.paused)
            ha->wait_leader_until_ms = ha->now_ms + WAIT_LEADER_MS;
        ha->cycle_due = true;
    }
}

static void leave(struct ha *ha, struct ha_effects *fx)
{
    ha_watchdog_leave(ha, fx);
    ha->exiting = true;
    ha_emit(fx, HA_DO_EXIT, HA_WHY_shutdown)->u.exit_status = ha->shutdown.exit_status;
}

/*
 * The end of the agent (ha contract §23). Unless paused, PostgreSQL is stopped; a leader gives its
 * key up as soon as a standby has everything, and keeps the lease alive until then.
 */
void ha_shutdown_go_on(struct ha *ha, struct ha_effects *fx)
{
    struct ha_effect *e;

    if (!ha->shutdown.asked || ha->exiting)
        return;
    if (ha->policy.paused || ha->shutdown.leave_running) {
        if (ha->policy.paused)
            ha_log(fx, HA_INFO, HA_WHY_shutdown_paused);
        if (ha->job.kind != PM_JOB_NONE && !ha->job.cancel_asked) {
            ha_emit(fx, HA_DO_CANCEL_JOB, HA_WHY_shutdown);
            ha->job.cancel_asked = true;
        }
        leave(ha, fx);
        return;
    }
    if (!ha->shutdown.stop_begun) {
        bool leads = ha_is_leader(ha, ha->now_ms);

        ha->shutdown.stop_begun = true;
        ha->reinit.wanted = false;
        if (ha->job.kind == PM_JOB_STOP && ha->demotion.active)
            return; /* a demotion is under way: it ends as we want */
        e = ha_start_job(ha, fx, PM_JOB_STOP, HA_WHY_shutdown, "shutdown");
        e->u.job.mode = PM_STOP_FAST;
        e->u.job.report_shutdown_checkpoint = leads;
        memset(&ha->demotion, 0, sizeof(ha->demotion));
        ha->demotion.active = true;
        ha->demotion.release = leads && ha_has_lock(ha);
        return;
    }
    if (ha->demotion.active) {
        if (!ha->demotion.stopped && ha->demotion.release_ask == HA_ASK_NOT && ha_has_lock(ha) &&
            ha->lease_until_ms &&
            (ha->now_ms + ha->policy.ttl_ms >= ha->lease_until_ms + ha->policy.loop_wait_ms ||
             ha->now_ms >= ha_watchdog_renew_at(ha)))
            ha_tell_dcs(ha, fx, HA_DCS_RENEW, HA_WHY_renew);
        return;
    }
    if (!ha->shutdown.touched) {
        if (ha->pg.alive)
            ha_log(fx, HA_ERROR, HA_WHY_shutdown_stop_failed);
        if (ha->dcs_inflight[HA_DCS_TOUCH])
            return;
        ha->shutdown.touched = true;
        e = ha_tell_dcs(ha, fx, HA_DCS_TOUCH, HA_WHY_touch);
        e->u.dcs.deadline_ms =
            ha->now_ms + 3000; /* a store that is gone must not hold the exit up */
        return;
    }
    if (!ha->dcs_inflight[HA_DCS_TOUCH])
        leave(ha, fx);
}
