/* SPDX-License-Identifier: PostgreSQL */
/* Rows of agent/ha/watchdog.c: when the device is activated, kept alive, disabled; what without. */
#include "agent/ha/explain.h"
#include "tests/unit/ha_support.h"

#define TIMEOUT 25000

/* A node as it settles with a device, before its first cycle. */
static struct w *with_device(enum w_state state, enum ha_watchdog_mode mode)
{
    struct w *w = w_raw(state);

    w->policy.watchdog = mode;
    w->policy.watchdog_timeout_ms = TIMEOUT;
    w->device.usable = w->device.adjustable = true;
    w->device.timeout_ms = 60000;
    return w;
}

static void settle(struct w *w)
{
    w_begin(w);
    w_cycle(w);
    w_forget(w);
}

static int leader(void **state)
{
    *state = with_device(W_LEADER, HA_WATCHDOG_REQUIRED);
    settle(*state);
    return 0;
}

static int automatic(void **state)
{
    *state = with_device(W_LEADER, HA_WATCHDOG_AUTOMATIC);
    settle(*state);
    return 0;
}

static int without(void **state)
{
    struct w *w = with_device(W_LEADER, HA_WATCHDOG_AUTOMATIC);

    w->device.usable = false;
    settle(w);
    *state = w;
    return 0;
}

/* A standby of a cluster whose leader has just gone. */
static int orphan(void **state)
{
    struct w *w = with_device(W_UNLOCKED_REPLICA, HA_WATCHDOG_REQUIRED);

    w_peer(w, "n2", 0)->reachable = false;
    w_peer(w, "n3", 50000000);
    settle(w);
    w_leader(w, NULL);
    *state = w;
    return 0;
}

static bool before(const struct ha_effect *a, const struct ha_effect *b)
{
    assert_non_null(a);
    assert_non_null(b);
    return a < b;
}

static void stopped(struct w *w)
{
    w_server_down(w, PGV_STATE_STOPPED);
    w->pg.role = PGV_ROLE_DEMOTED;
    w->pg.control_state = PM_CONTROL_SHUT_DOWN;
    w_job_end(w, PM_JOB_STOP, PM_DONE);
}

/* The next renewal is answered so much later. */
static void slow_renewal(struct w *w, uint64_t ms)
{
    uint64_t sent_ms;

    w->hold[HA_DCS_RENEW] = true;
    w_cycle(w);
    sent_ms = w->now_ms;
    w->now_ms += ms;
    w_forget(w);
    w_reply(w, HA_DCS_RENEW, HA_OK, sent_ms);
    w->hold[HA_DCS_RENEW] = false;
}

/* ---- activation ------------------------------------------------------------------------------ */

static void test_activate__a_primary_that_is_found_gets_one(void **state)
{
    struct w *w = *state;

    assert_true(ha_watchdog_guards(&w->ha));
    assert_int_equal(w->device.timeout_ms, TIMEOUT);
    assert_true(w->device.fires_ms < w->ha.lease_until_ms);
    w_cycle(w);
    assert_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE)); /* it runs */
    assert_non_null(w_watchdog(w, HA_WATCHDOG_KEEPALIVE));
}

static void test_activate__is_complete_before_the_promotion(void **state)
{
    struct w *w = *state;

    w->hold_watchdog = true;
    w_view(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_CHECK));
    assert_null(w_dcs(w, HA_DCS_ACQUIRE)); /* not known yet whether it is usable */
    w_device(w);
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_non_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    assert_int_equal(w_watchdog(w, HA_WATCHDOG_ACTIVATE)->u.watchdog.until_ms,
                     w->ha.lease_until_ms);
    assert_null(w_job(w, PM_JOB_PROMOTE));
    w_device(w);
    assert_true(before(w_watchdog(w, HA_WATCHDOG_ACTIVATE), w_job(w, PM_JOB_PROMOTE)));
    assert_string_equal(w_status(w), "promoted self to leader by acquiring session lock");
}

static void test_activate__automatic_as_well_before_the_promotion(void **state)
{
    struct w *w = *state;

    w->policy.watchdog = HA_WATCHDOG_AUTOMATIC;
    w_policy(w);
    w_forget(w);
    w->hold_watchdog = true;
    w_view(w);
    assert_null(w_watchdog(w, HA_WATCHDOG_CHECK));
    assert_null(w_job(w, PM_JOB_PROMOTE));
    w->device.running = false; /* it could not be opened */
    w_device(w);
    assert_non_null(w_job(w, PM_JOB_PROMOTE));
}

static void test_activate__standby_without_gives_the_key_up(void **state)
{
    struct w *w = *state;

    w->hold_watchdog = true;
    w_view(w);
    w_device(w); /* usable, it says */
    w->device.running = w->device.usable = false;
    w_device(w);
    assert_null(w_job(w, PM_JOB_PROMOTE));
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    assert_string_equal(w_status(w), "Not promoting self because watchdog could not be activated");
    assert_int_equal(w->ha.lease_until_ms, 0);
    /* And does not take it again at once, whatever the device says. */
    w->device.usable = true;
    w->hold_watchdog = false;
    w_device(w); /* the question after a regular cycle */
    w_forget(w);
    w_leader(w, NULL);
    w_view(w);
    w_tick(w, 2000);
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_true(ha_watchdog_failed(&w->ha));
    w_forget(w);
    w_tick(w, w->policy.ttl_ms);
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
}

static void test_activate__primary_without_is_demoted(void **state)
{
    struct w *w = with_device(W_LEADER, HA_WATCHDOG_REQUIRED);
    const struct ha_effect *e;

    (void)state;
    w->device.usable = false;
    w_begin(w);
    e = w_job(w, PM_JOB_STOP);
    assert_non_null(e);
    assert_int_equal(e->u.job.mode, PM_STOP_IMMEDIATE);
    assert_string_equal(w_status(w), "Demoting self because watchdog could not be activated");
    assert_null(w_dcs(w, HA_DCS_RELEASE)); /* it may still take writes */
    stopped(w);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    w_free(w);
}

static void test_activate__automatic_leads_without_and_tries_with_each_regular_cycle(void **state)
{
    struct w *w = *state;
    struct ha_event ev = { .type = HA_EV_WAKE };

    assert_null(w_job(w, PM_JOB_STOP));
    w_event(w, &ev);
    assert_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    w_cycle(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    assert_string_equal(w_status(w), "no action. I am (n1), the leader with the lock");
    w->device.usable = true;
    w_cycle(w);
    assert_true(ha_watchdog_guards(&w->ha));
}

static void test_activate__a_timeout_that_is_too_long_is_none(void **state)
{
    static const uint64_t has_ms[] = { 60000, 26000 }; /* 25 s are wanted */
    struct w *w;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        w = with_device(W_LEADER, HA_WATCHDOG_REQUIRED);
        w->device.adjustable = false;
        w->device.timeout_ms = has_ms[i];
        w_begin(w);
        assert_string_equal(w_status(w), "Demoting self because watchdog could not be activated");
        w_free(w);
    }
    w = with_device(W_LEADER, HA_WATCHDOG_AUTOMATIC);
    w->device.adjustable = false;
    settle(w);
    assert_false(w->device.running); /* it would reset a machine that keeps its lease */
    w_cycle(w);
    assert_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE)); /* it is what it is */
    w->policy.watchdog_timeout_ms = 60000;
    w->policy.ttl_ms = 60000; /* the answer to a renewal would begin it anew beyond the lease */
    w_policy(w);
    assert_false(ha_watchdog_guards(&w->ha));
    w->policy.ttl_ms = 60000 + HA_WATCHDOG_ANSWER_MS;
    w_policy(w);
    assert_true(ha_watchdog_guards(&w->ha));
    w_free(w);
}

static void test_activate__impossible_timing(void **state)
{
    struct w *w = *state;

    w->policy.watchdog_timeout_ms = HA_WATCHDOG_TIMEOUT_MIN_MS - 1;
    w_policy(w);
    assert_string_equal(w_status(w), "Demoting self because watchdog could not be activated");
    assert_true(ha_watchdog_failed(&w->ha));
    assert_non_null(w_job(w, PM_JOB_STOP));
    assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE)); /* not before nothing is written any more */
    w_server_down(w, PGV_STATE_STOPPED);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
}

static void test_activate__impossible_timing_where_it_is_automatic(void **state)
{
    struct w *w = *state;

    w->policy.watchdog_timeout_ms = 0;
    w_policy(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_DISABLE)); /* or it would fire */
    assert_false(w->device.running);
    w_forget(w);
    w_cycle(w);
    assert_null(w_did(w, HA_DO_WATCHDOG));
    assert_string_equal(w_status(w), "no action. I am (n1), the leader with the lock");
}

/* ---- keepalives ------------------------------------------------------------------------------ */

static void test_keepalive__with_each_proof_and_not_beyond_the_lease(void **state)
{
    struct w *w = *state;
    const struct ha_effect *e;

    w_cycle(w);
    e = w_watchdog(w, HA_WATCHDOG_KEEPALIVE);
    assert_non_null(e);
    assert_int_equal(e->u.watchdog.timeout_ms, TIMEOUT);
    assert_int_equal(e->u.watchdog.until_ms, w->ha.lease_until_ms);
    assert_int_equal(w->device.fires_ms, w->now_ms + TIMEOUT);
    assert_int_equal(w->ha.watchdog.fires_ms, w->device.fires_ms);
    w->hold_watchdog = true;
    slow_renewal(w, 7500);
    assert_true(w->ha.watchdog.fires_ms <= w->device.fires_ms); /* not too late, untold */
    w->hold_watchdog = false;
    w_device(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_KEEPALIVE));
    assert_int_equal(w->device.fires_ms, w->now_ms + 22000);
    assert_true(w->device.fires_ms <= w->ha.lease_until_ms);
    assert_int_equal(w->ha.watchdog.fires_ms, w->device.fires_ms);
}

static void test_keepalive__silence_and_refusal_are_no_proof(void **state)
{
    struct w *w = *state;

    w->dcs[HA_DCS_RENEW] = HA_LOST;
    w_cycle(w);
    assert_null(w_watchdog(w, HA_WATCHDOG_KEEPALIVE));
    w->dcs[HA_DCS_RENEW] = HA_REFUSED;
    w_cycle(w);
    assert_non_null(w_job(w, PM_JOB_STOP));
    assert_null(w_watchdog(w, HA_WATCHDOG_KEEPALIVE));
    assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE)); /* it still runs */
    assert_true(w->device.running);
    stopped(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
}

static void test_keepalive__not_by_a_proof_that_comes_too_late(void **state)
{
    struct w *w = *state;

    slow_renewal(w, w->policy.ttl_ms - HA_IMMEDIATE_MARGIN_MS);
    assert_null(w_watchdog(w, HA_WATCHDOG_KEEPALIVE));
}

static void test_keepalive__cannot_be_adjusted_and_is_left_alone(void **state)
{
    struct w *w = with_device(W_LEADER, HA_WATCHDOG_REQUIRED);
    uint64_t fires;

    (void)state;
    w->device.adjustable = false;
    w->device.timeout_ms = TIMEOUT;
    settle(w);
    fires = w->device.fires_ms;
    slow_renewal(w, 6000); /* 24 s of the lease are left */
    assert_int_equal(w->device.fires_ms, fires);
    assert_int_equal(w->ha.watchdog.fires_ms, fires);
    assert_true(ha_fence_at(&w->ha) <= fires - HA_DEMOTE_MARGIN_MS);
    assert_null(w_job(w, PM_JOB_STOP));
    /* The next renewal comes soon, and with a fast answer all is well. */
    assert_true(w->wake_ms <= w->now_ms + 3000);
    w_tick(w, w->wake_ms - w->now_ms);
    assert_true(w->device.fires_ms > fires);
    assert_null(w_job(w, PM_JOB_STOP));
    w_free(w);
}

/* ---- fencing --------------------------------------------------------------------------------- */

static void test_fence__an_orderly_demotion_comes_before_the_reset(void **state)
{
    struct w *w = *state;
    const struct ha_effect *e;
    uint64_t fires = w->device.fires_ms;

    w->dcs[HA_DCS_RENEW] = w->dcs[HA_DCS_READ] = HA_LOST;
    while (!w_job(w, PM_JOB_STOP)) {
        assert_true(w->now_ms < fires);
        w_tick(w, w->wake_ms > w->now_ms ? w->wake_ms - w->now_ms : 1);
    }
    assert_int_equal(w->now_ms, fires - HA_DEMOTE_MARGIN_MS);
    e = w_job(w, PM_JOB_STOP);
    assert_int_equal(e->u.job.mode, PM_STOP_FAST);
    assert_int_equal(e->u.job.immediate_at_ms, fires - HA_IMMEDIATE_MARGIN_MS);
    assert_int_equal(e->why, HA_WHY_watchdog_fires);
    assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    w_forget(w);
    w_tick(w, 500);
    stopped(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
}

/* The key is lost and the race for it is not answered: the watchdog of the old lease counts. */
static void test_fence__without_a_lease_as_well(void **state)
{
    struct w *w = *state;
    uint64_t fires = w->device.fires_ms;

    w->policy.retry_timeout_ms = 20000;
    w_policy(w);
    fires = w->device.fires_ms;
    w->now_ms = fires - HA_DEMOTE_MARGIN_MS - 1000;
    w->hold[HA_DCS_RENEW] = w->hold[HA_DCS_READ] = true;
    w_leader(w, NULL);
    w_view(w);
    assert_int_equal(w->ha.lease_until_ms, 0);
    assert_null(w_job(w, PM_JOB_STOP));
    w_tick(w, 1000);
    assert_non_null(w_job(w, PM_JOB_STOP));
    assert_int_equal(w->now_ms, fires - HA_DEMOTE_MARGIN_MS);
}

static void test_fence__a_stop_that_hangs_leaves_it_armed(void **state)
{
    struct w *w = *state;
    uint64_t fires = w->device.fires_ms;

    w->dcs[HA_DCS_RENEW] = w->dcs[HA_DCS_READ] = HA_LOST;
    while (w->now_ms < fires)
        w_tick(w, w->wake_ms > w->now_ms ? w->wake_ms - w->now_ms : 1);
    assert_non_null(w_job(w, PM_JOB_STOP));
    assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    assert_null(w_watchdog(w, HA_WATCHDOG_KEEPALIVE));
    assert_int_equal(w->device.fires_ms, fires);
}

static void test_renewal__comes_often_enough_for_a_short_timeout(void **state)
{
    struct w *w = with_device(W_LEADER, HA_WATCHDOG_REQUIRED);

    (void)state;
    w->policy.watchdog_timeout_ms = w->policy.ttl_ms / 2;
    settle(w);
    /* One that takes 5 s, of 15 with a margin of 3, must not demote. */
    assert_int_equal(w->ha.next_run_ms, w->device.fires_ms - HA_DEMOTE_MARGIN_MS - 6000);
    w->hold[HA_DCS_RENEW] = true;
    w_cycle(w);
    w_tick(w, 5000);
    assert_null(w_job(w, PM_JOB_STOP));
    w_free(w);
}

/* ---- disabling ------------------------------------------------------------------------------- */

static void test_disable__at_the_shutdown_checkpoint(void **state)
{
    struct w *w = *state;
    struct ha_event ev = { .type = HA_EV_SHUTDOWN_CHECKPOINT };

    ev.u.shutdown_checkpoint.checkpoint_lsn = 50000100;
    w_failover(w, "n1", "n2");
    w_peer(w, "n2", 50000000);
    w->hold_peers = false;
    w_view(w);
    assert_non_null(w_job(w, PM_JOB_STOP));
    w_tick(w, 1000);
    assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    assert_true(w->device.running);
    w_event(w, &ev);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    assert_false(w->device.running);
}

static void test_disable__kept_alive_while_a_long_stop_is_under_the_lease(void **state)
{
    struct w *w = *state;

    w_failover(w, "n1", "n2");
    w_peer(w, "n2", 50000000);
    w_view(w);
    for (unsigned i = 0; i < 8; i++) {
        w_forget(w);
        w_cycle(w);
        assert_non_null(w_watchdog(w, HA_WATCHDOG_KEEPALIVE));
        assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    }
}

static void test_disable__each_time_a_pause_begins(void **state)
{
    struct w *w = *state;

    for (unsigned i = 0; i < 2; i++) {
        w_forget(w);
        w->policy.paused = true;
        w_policy(w);
        assert_non_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
        assert_false(w->device.running);
        w_forget(w);
        w_cycle(w);
        w_cycle(w);
        assert_null(w_did(w, HA_DO_WATCHDOG));
        w->policy.paused = false;
        w_policy(w);
        assert_non_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
        assert_true(w->device.running);
    }
}

static void test_disable__pause_that_begins_while_it_is_activated(void **state)
{
    struct w *w = with_device(W_LEADER, HA_WATCHDOG_REQUIRED);

    (void)state;
    w->hold_watchdog = true;
    w_begin(w);
    w_device(w); /* is it usable? It is */
    w_cycle(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    w->policy.paused = true;
    w_policy(w);
    assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE)); /* one question at a time */
    w_device(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    w_free(w);
}

static void test_mode__off_at_run_time_and_back(void **state)
{
    struct w *w = *state;

    w->policy.watchdog = HA_WATCHDOG_OFF;
    w_policy(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    w_forget(w);
    w_cycle(w);
    assert_null(w_did(w, HA_DO_WATCHDOG));
    w->policy.watchdog = HA_WATCHDOG_REQUIRED;
    w_policy(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    assert_null(w_job(w, PM_JOB_STOP));
    w->policy.watchdog = HA_WATCHDOG_OFF;
    w_policy(w);
    w->device.usable = false;
    w->policy.watchdog = HA_WATCHDOG_REQUIRED;
    w_policy(w);
    assert_non_null(w_job(w, PM_JOB_STOP));
}

static void test_ttl__lowered_it_fires_before_the_shorter_lease_ends(void **state)
{
    struct w *w = *state;

    w->policy.ttl_ms = 60000;
    w->policy.watchdog_timeout_ms = 55000;
    w_policy(w);
    w_cycle(w);
    assert_int_equal(w->device.timeout_ms, 55000);
    w_forget(w);
    w->policy.ttl_ms = 20000;
    w->policy.watchdog_timeout_ms = 15000;
    w->hold[HA_DCS_RENEW] = true;
    w_policy(w); /* the renewal is under way: the key may hang on 20 s from now on */
    assert_true(before(w_watchdog(w, HA_WATCHDOG_KEEPALIVE), w_dcs(w, HA_DCS_RENEW)));
    assert_int_equal(w->device.fires_ms, w->now_ms + 15000);
    assert_int_equal(w->ha.watchdog.fires_ms, w->device.fires_ms);
    assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
}

/* ---- a server that crashes ------------------------------------------------------------------- */

static void test_crash__stays_armed_while_the_lease_is_kept(void **state)
{
    struct w *w = *state;

    w_server_down(w, PGV_STATE_CRASHED);
    assert_non_null(w_job(w, PM_JOB_START));
    assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    assert_true(w->device.running);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_KEEPALIVE));
}

static void test_crash__a_machine_on_which_nothing_runs_is_not_reset(void **state)
{
    struct w *w = *state;
    uint64_t fires = w->device.fires_ms;

    w->policy.primary_start_timeout_ms = 0; /* no start in place without the store's word */
    w_policy(w);
    w->dcs[HA_DCS_RENEW] = w->dcs[HA_DCS_READ] = HA_LOST;
    fires = w->device.fires_ms;
    w_server_down(w, PGV_STATE_CRASHED);
    assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    while (w->now_ms < fires && !w_watchdog(w, HA_WATCHDOG_DISABLE))
        w_tick(w, w->wake_ms > w->now_ms ? w->wake_ms - w->now_ms : 1);
    assert_int_equal(w->now_ms, fires - HA_DEMOTE_MARGIN_MS);
    assert_false(w->device.running);
}

static void test_crash__required_is_activated_before_the_start_in_place(void **state)
{
    struct w *w = *state;

    w->device.running = false; /* gone without a word: the tables look at what they know */
    w->ha.watchdog.running = false;
    w->hold_watchdog = true;
    w_server_down(w, PGV_STATE_CRASHED);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    assert_null(w_job(w, PM_JOB_START));
    w_device(w);
    assert_non_null(w_job(w, PM_JOB_START));
    assert_int_equal(w_job(w, PM_JOB_START)->u.job.role, PGV_ROLE_PRIMARY);
}

static void test_crash__required_and_missing_gives_the_key_up(void **state)
{
    struct w *w = *state;

    w->device.running = w->device.usable = w->ha.watchdog.running = false;
    w_server_down(w, PGV_STATE_CRASHED);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    for (unsigned i = 0; i < w->n; i++)
        if (w->did[i].type == HA_DO_JOB && w->did[i].u.job.job == PM_JOB_START)
            assert_int_equal(w->did[i].u.job.role, PGV_ROLE_REPLICA);
}

/* ---- a device that goes away ----------------------------------------------------------------- */

static void test_lost__required_is_activated_again_or_demotes(void **state)
{
    struct w *w = *state;

    w->device.running = false; /* it can be opened again */
    w_device(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    assert_true(ha_watchdog_guards(&w->ha));
    assert_null(w_job(w, PM_JOB_STOP));
    w->device.running = w->device.usable = false;
    w_device(w);
    assert_non_null(w_job(w, PM_JOB_STOP));
    assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.mode, PM_STOP_IMMEDIATE);
    assert_string_equal(w_status(w), "Demoting self because watchdog could not be activated");
}

static void test_lost__during_an_outage_as_well(void **state)
{
    struct w *w = *state;

    w->dcs[HA_DCS_RENEW] = w->dcs[HA_DCS_READ] = HA_LOST;
    w_cycle(w);
    w->device.running = false;
    w_device(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    assert_true(ha_watchdog_guards(&w->ha));
    assert_int_equal(w_watchdog(w, HA_WATCHDOG_ACTIVATE)->u.watchdog.until_ms,
                     w->ha.lease_until_ms);
    w->device.running = w->device.usable = false;
    w_device(w);
    assert_non_null(w_job(w, PM_JOB_STOP));
    assert_string_equal(w_status(w), "Demoting self because watchdog could not be activated");
}

static void test_lost__automatic_warns_and_goes_on(void **state)
{
    struct w *w = *state;

    w->device.running = w->device.usable = false;
    w_device(w);
    assert_non_null(w_why(w, HA_WHY_watchdog_lost));
    assert_null(w_job(w, PM_JOB_STOP));
    w_cycle(w);
    assert_string_equal(w_status(w), "no action. I am (n1), the leader with the lock");
}

static void test_lost__keepalives_that_fail_end_in_an_orderly_demotion(void **state)
{
    struct w *w = *state;
    uint64_t fires = w->device.fires_ms;

    w_cycle(w);
    w->device.fires_ms = fires; /* it was not kept alive, says the port */
    w_device(w);
    assert_null(w_job(w, PM_JOB_STOP));
    w_tick(w, fires - HA_DEMOTE_MARGIN_MS - w->now_ms);
    w->device.fires_ms = fires;
    w_device(w);
    assert_non_null(w_job(w, PM_JOB_STOP));
    /* A device that is deaf is none: somebody else takes over. */
    w_forget(w);
    stopped(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    w->pg.alive = w->pg.look_ok = w->pg.in_recovery = true;
    w->pg.state = PGV_STATE_RUNNING;
    w->pg.role = PGV_ROLE_REPLICA;
    w_facts(w);
    w_job_end(w, PM_JOB_START, PM_DONE);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    assert_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    assert_string_equal(w_status(w), "Not promoting self because watchdog could not be activated");
}

static void test_lost__automatic_closes_one_that_is_deaf(void **state)
{
    struct w *w = *state;
    uint64_t fires = w->device.fires_ms;

    w_cycle(w);
    w->device.fires_ms = fires;
    w_device(w);
    assert_true(w->wake_ms <= w->now_ms + 1000); /* another attempt comes soon */
    w_forget(w);
    while (w->now_ms < fires + 1000) {
        if (w->device.running && w->device.fires_ms != fires) {
            w->device.fires_ms = fires;
            w_device(w);
        }
        w_tick(w, w->wake_ms > w->now_ms ? w->wake_ms - w->now_ms : 1);
    }
    assert_non_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    assert_non_null(w_why(w, HA_WHY_watchdog_lost));
    assert_false(w->device.running);
    assert_null(w_job(w, PM_JOB_STOP));
    w_forget(w);
    w_cycle(w);
    assert_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE)); /* once was enough, for a while */
    assert_string_equal(w_status(w), "no action. I am (n1), the leader with the lock");
    for (unsigned i = 0; i < 31 && !w_watchdog(w, HA_WATCHDOG_ACTIVATE); i++) {
        w_forget(w);
        w_cycle(w);
    }
    assert_true(ha_watchdog_guards(&w->ha));
}

/* A longer lease that is still proven is no keepalive that was not heard. */
static void test_lost__an_outage_after_a_shorter_ttl_is_none(void **state)
{
    struct w *w = *state;

    w->policy.ttl_ms = 52000;
    w->policy.watchdog_timeout_ms = 47000;
    w_policy(w);
    w_cycle(w);
    w->dcs[HA_DCS_RENEW] = w->dcs[HA_DCS_READ] = HA_LOST;
    w->policy.ttl_ms = 36000;
    w->policy.watchdog_timeout_ms = 31000;
    w_forget(w);
    w_policy(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_KEEPALIVE));
    while (!w_job(w, PM_JOB_STOP)) {
        assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
        w_forget(w);
        w_tick(w, w->wake_ms > w->now_ms ? w->wake_ms - w->now_ms : 1);
    }
    assert_int_equal(w->now_ms, w->device.fires_ms - HA_DEMOTE_MARGIN_MS);
}

static void test_lost__one_that_is_deaf_and_does_not_close_demotes(void **state)
{
    struct w *w = *state;
    uint64_t fires = w->device.fires_ms;

    w->device_stays = true;
    w_cycle(w);
    while (!w_job(w, PM_JOB_STOP)) {
        assert_true(w->now_ms < fires);
        if (w->device.fires_ms != fires) {
            w->device.fires_ms = fires;
            w_device(w);
        }
        w_tick(w, w->wake_ms > w->now_ms ? w->wake_ms - w->now_ms : 1);
    }
    assert_non_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    assert_int_equal(w->now_ms, fires - HA_DEMOTE_MARGIN_MS);
}

static void test_activate__not_under_a_lease_that_is_nearly_over(void **state)
{
    struct w *w = *state;
    uint64_t sent_ms = w->now_ms;

    w->hold[HA_DCS_ACQUIRE] = w->hold[HA_DCS_RENEW] = true;
    w_view(w);
    w->now_ms += w->policy.ttl_ms - HA_DEMOTE_MARGIN_MS;
    w_reply(w, HA_DCS_ACQUIRE, HA_OK, sent_ms);
    assert_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    assert_null(w_job(w, PM_JOB_PROMOTE));
}

/* ---- one that cannot be closed --------------------------------------------------------------- */

static void test_stays__is_kept_alive_without_limit_until_it_guards_again(void **state)
{
    struct w *w = *state;
    const struct ha_effect *e;

    w->device_stays = true;
    w->policy.paused = true;
    w_policy(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    assert_non_null(w_why(w, HA_WHY_watchdog_stays));
    w_forget(w);
    for (unsigned i = 0; i < 200; i++) {
        w_tick(w, w->wake_ms > w->now_ms ? w->wake_ms - w->now_ms : 1);
        assert_true(w->now_ms < w->device.fires_ms);
        w_forget(w);
    }
    while (!w_watchdog(w, HA_WATCHDOG_KEEPALIVE))
        w_tick(w, w->wake_ms > w->now_ms ? w->wake_ms - w->now_ms : 1);
    e = w_watchdog(w, HA_WATCHDOG_KEEPALIVE);
    assert_int_equal(e->u.watchdog.until_ms, 0);
    assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    w->policy.paused = false;
    w_policy(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    w_forget(w);
    w_cycle(w);
    assert_int_equal(w_watchdog(w, HA_WATCHDOG_KEEPALIVE)->u.watchdog.until_ms,
                     w->ha.lease_until_ms);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void shut_down(struct w *w)
{
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };

    w_event(w, &ev);
}

static void test_exit__stopped_it_is_disabled(void **state)
{
    struct w *w = *state;

    shut_down(w);
    assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    w_tick(w, 12000);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_KEEPALIVE)); /* it stops for long */
    stopped(w);
    w_tick(w, 600);
    assert_true(before(w_watchdog(w, HA_WATCHDOG_DISABLE), w_did(w, HA_DO_EXIT)));
    assert_false(w->device.running);
}

static void test_exit__paused_it_is_disabled(void **state)
{
    struct w *w = with_device(W_LEADER, HA_WATCHDOG_REQUIRED);

    (void)state;
    w->hold_watchdog = true;
    w_begin(w);
    w_device(w);
    w_cycle(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    w->policy.paused = true;
    w_policy(w);
    shut_down(w); /* its activation is not even answered */
    assert_true(before(w_watchdog(w, HA_WATCHDOG_DISABLE), w_did(w, HA_DO_EXIT)));
    w_free(w);
}

static void test_exit__a_stop_that_failed_leaves_it_armed(void **state)
{
    struct w *w = *state;

    shut_down(w);
    w_job_end(w, PM_JOB_STOP, PM_FAILED);
    w_tick(w, 600);
    w_tick(w, 600);
    assert_non_null(w_did(w, HA_DO_EXIT));
    assert_non_null(w_why(w, HA_WHY_watchdog_left));
    assert_null(w_watchdog(w, HA_WATCHDOG_DISABLE));
    assert_true(w->device.running);
}

/* ---- the race, bootstrap --------------------------------------------------------------------- */

static void test_race__required_and_unusable_does_not_run(void **state)
{
    struct w *w = *state;

    w->device.usable = false;
    w_view(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_CHECK));
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_non_null(w_why(w, HA_WHY_watchdog_unusable));
    assert_true(ha_watchdog_failed(&w->ha));
    assert_non_null(strstr(w_status(w), "because i am not the healthiest node"));
}

static void test_race__required_and_unusable_not_even_by_name(void **state)
{
    struct w *w = *state;

    w->device.usable = false;
    w_failover(w, NULL, "n1");
    w_view(w);
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
}

static void test_race__automatic_does_not_ask(void **state)
{
    struct w *w = *state;

    w->device.usable = false;
    w->policy.watchdog = HA_WATCHDOG_AUTOMATIC;
    w_policy(w);
    w_view(w);
    assert_null(w_watchdog(w, HA_WATCHDOG_CHECK));
    assert_non_null(w_job(w, PM_JOB_PROMOTE));
}

/* A new cluster is made, and all but its key stands. */
static struct w *bootstrapped(bool usable, enum ha_outcome set_sysid)
{
    struct w *w = with_device(W_EMPTY, HA_WATCHDOG_REQUIRED);

    w->dcs[HA_DCS_SET_SYSID] = set_sysid;
    w_begin(w);
    assert_non_null(w_job(w, PM_JOB_BOOTSTRAP));
    w->view.initialize = DCS_INIT_BOOTSTRAPPING;
    w_initdb_ran(w);
    w_job_end(w, PM_JOB_BOOTSTRAP, PM_DONE);
    assert_null(w_watchdog(w, HA_WATCHDOG_ACTIVATE));
    w->device.usable = usable;
    w_job_end(w, PM_JOB_POST_BOOTSTRAP, PM_DONE);
    return w;
}

static void test_bootstrap__activated_before_the_key_is_taken(void **state)
{
    struct w *w = bootstrapped(true, HA_OK);

    (void)state;
    assert_true(before(w_watchdog(w, HA_WATCHDOG_ACTIVATE), w_dcs(w, HA_DCS_TAKE)));
    assert_int_equal(w_watchdog(w, HA_WATCHDOG_ACTIVATE)->u.watchdog.until_ms, 0);
    assert_non_null(w_why(w, HA_WHY_initialized));
    assert_true(ha_watchdog_guards(&w->ha));
    assert_true(w->device.fires_ms < w->ha.lease_until_ms);
    w_free(w);
}

static void test_bootstrap__without_it_does_not_begin(void **state)
{
    struct w *w = with_device(W_EMPTY, HA_WATCHDOG_REQUIRED);

    (void)state;
    w->device.usable = false;
    w_begin(w);
    assert_non_null(w_watchdog(w, HA_WATCHDOG_CHECK));
    assert_null(w_dcs(w, HA_DCS_INITIALIZE));
    assert_string_equal(w_status(w), "waiting for leader to bootstrap");
    w->device.usable = true;
    w_cycle(w);
    assert_non_null(w_job(w, PM_JOB_BOOTSTRAP));
    w_free(w);
}

static void test_bootstrap__without_it_is_cancelled(void **state)
{
    struct w *w = bootstrapped(false, HA_OK);

    (void)state;
    assert_null(w_dcs(w, HA_DCS_TAKE));
    assert_non_null(w_why(w, HA_WHY_watchdog_bootstrap));
    assert_non_null(w_job(w, PM_JOB_STOP));
    w_free(w);
}

static void test_bootstrap__a_store_that_is_away_does_not_reset_it(void **state)
{
    struct w *w = bootstrapped(true, HA_LOST);

    (void)state;
    assert_true(w->device.running);
    for (unsigned i = 0; i < 100; i++) {
        w_forget(w);
        w_tick(w, w->wake_ms > w->now_ms ? w->wake_ms - w->now_ms : 1);
        assert_true(w->now_ms < w->device.fires_ms);
    }
    assert_null(w_dcs(w, HA_DCS_TAKE));
    w_free(w);
}

/* ---- telling --------------------------------------------------------------------------------- */

static enum ha_rule_verdict told(struct w *w, char **ret)
{
    static struct ha_explanation x;

    ha_explain(&w->ha, w->now_ms, &x);
    for (unsigned i = 0; i < x.promotion.n; i++)
        if (strcmp(x.promotion.v[i].name, "watchdog") == 0) {
            *ret = x.promotion.v[i].text;
            return x.promotion.v[i].verdict;
        }
    *ret = x.leadership;
    return HA_RULE_UNKNOWN;
}

static void test_explain__says_what_keeps_it_from_it(void **state)
{
    struct w *w = *state;
    char *text;

    assert_int_equal(told(w, &text), HA_RULE_PASS); /* looked at with the regular cycle */
    w->device.usable = false;
    w_cycle(w);
    assert_int_equal(told(w, &text), HA_RULE_FAIL);
    assert_non_null(strstr(text, "not usable"));
    w->policy.watchdog_timeout_ms = 0;
    w_policy(w);
    assert_int_equal(told(w, &text), HA_RULE_FAIL);
    assert_non_null(strstr(text, "no time"));
    w->policy.watchdog = HA_WATCHDOG_AUTOMATIC;
    w_policy(w);
    assert_int_equal(told(w, &text), HA_RULE_UNKNOWN);
    assert_false(ha_watchdog_failed(&w->ha));
}

static void test_explain__says_whether_the_leader_is_guarded(void **state)
{
    struct w *w = *state;
    char *text;

    (void)told(w, &text);
    assert_non_null(strstr(text, "; a watchdog guards it"));
    w->device.running = w->device.usable = false;
    w_device(w);
    (void)told(w, &text);
    assert_non_null(strstr(text, "; no watchdog guards it"));
}

int main(void)
{
#define LEADER(t) cmocka_unit_test_setup_teardown(t, leader, w_teardown)
#define AUTOMATIC(t) cmocka_unit_test_setup_teardown(t, automatic, w_teardown)
#define ORPHAN(t) cmocka_unit_test_setup_teardown(t, orphan, w_teardown)
    const struct CMUnitTest tests[] = {
        LEADER(test_activate__a_primary_that_is_found_gets_one),
        ORPHAN(test_activate__is_complete_before_the_promotion),
        ORPHAN(test_activate__automatic_as_well_before_the_promotion),
        ORPHAN(test_activate__standby_without_gives_the_key_up),
        cmocka_unit_test(test_activate__primary_without_is_demoted),
        cmocka_unit_test_setup_teardown(
            test_activate__automatic_leads_without_and_tries_with_each_regular_cycle, without,
            w_teardown),
        cmocka_unit_test(test_activate__a_timeout_that_is_too_long_is_none),
        LEADER(test_activate__impossible_timing),
        AUTOMATIC(test_activate__impossible_timing_where_it_is_automatic),
        LEADER(test_keepalive__with_each_proof_and_not_beyond_the_lease),
        LEADER(test_keepalive__silence_and_refusal_are_no_proof),
        LEADER(test_keepalive__not_by_a_proof_that_comes_too_late),
        cmocka_unit_test(test_keepalive__cannot_be_adjusted_and_is_left_alone),
        LEADER(test_fence__an_orderly_demotion_comes_before_the_reset),
        LEADER(test_fence__without_a_lease_as_well),
        LEADER(test_fence__a_stop_that_hangs_leaves_it_armed),
        cmocka_unit_test(test_renewal__comes_often_enough_for_a_short_timeout),
        LEADER(test_disable__at_the_shutdown_checkpoint),
        LEADER(test_disable__kept_alive_while_a_long_stop_is_under_the_lease),
        LEADER(test_disable__each_time_a_pause_begins),
        cmocka_unit_test(test_disable__pause_that_begins_while_it_is_activated),
        LEADER(test_mode__off_at_run_time_and_back),
        LEADER(test_ttl__lowered_it_fires_before_the_shorter_lease_ends),
        LEADER(test_crash__stays_armed_while_the_lease_is_kept),
        LEADER(test_crash__a_machine_on_which_nothing_runs_is_not_reset),
        LEADER(test_crash__required_is_activated_before_the_start_in_place),
        LEADER(test_crash__required_and_missing_gives_the_key_up),
        LEADER(test_lost__required_is_activated_again_or_demotes),
        LEADER(test_lost__during_an_outage_as_well),
        AUTOMATIC(test_lost__automatic_warns_and_goes_on),
        LEADER(test_lost__keepalives_that_fail_end_in_an_orderly_demotion),
        AUTOMATIC(test_lost__automatic_closes_one_that_is_deaf),
        AUTOMATIC(test_lost__an_outage_after_a_shorter_ttl_is_none),
        AUTOMATIC(test_lost__one_that_is_deaf_and_does_not_close_demotes),
        ORPHAN(test_activate__not_under_a_lease_that_is_nearly_over),
        LEADER(test_stays__is_kept_alive_without_limit_until_it_guards_again),
        LEADER(test_exit__stopped_it_is_disabled),
        cmocka_unit_test(test_exit__paused_it_is_disabled),
        LEADER(test_exit__a_stop_that_failed_leaves_it_armed),
        ORPHAN(test_race__required_and_unusable_does_not_run),
        ORPHAN(test_race__required_and_unusable_not_even_by_name),
        ORPHAN(test_race__automatic_does_not_ask),
        cmocka_unit_test(test_bootstrap__activated_before_the_key_is_taken),
        cmocka_unit_test(test_bootstrap__without_it_does_not_begin),
        cmocka_unit_test(test_bootstrap__without_it_is_cancelled),
        cmocka_unit_test(test_bootstrap__a_store_that_is_away_does_not_reset_it),
        ORPHAN(test_explain__says_what_keeps_it_from_it),
        AUTOMATIC(test_explain__says_whether_the_leader_is_guarded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
