/* SPDX-License-Identifier: PostgreSQL */
/* Rows of agent/ha/leader.c, demote.c, outage.c and action.c for the holder of the key. */
#include "tests/unit/ha_support.h"

static void test_healthy__renews_publishes_and_says_so(void **state)
{
    struct w *w = *state;

    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_RENEW));
    assert_non_null(w_dcs(w, HA_DCS_SET_STATUS));
    assert_non_null(w_dcs(w, HA_DCS_TOUCH));
    assert_non_null(w_did(w, HA_DO_SLOTS));
    assert_string_equal(w_status(w), "no action. I am (n1), the leader with the lock");
    assert_null(w_did(w, HA_DO_JOB));
}

static void test_lease__counts_from_when_the_renewal_was_sent(void **state)
{
    struct w *w = *state;
    uint64_t sent;

    w->hold[HA_DCS_RENEW] = true;
    w_cycle(w);
    sent = w->now_ms;
    w->now_ms += 4000;
    w_reply(w, HA_DCS_RENEW, HA_OK, sent);
    assert_int_equal(w->ha.lease_until_ms, sent + 30000);
    assert_true(ha_is_leader(&w->ha, sent + 29999));
    assert_false(ha_is_leader(&w->ha, sent + 30000));
}

static void test_renewal_refused__demotes_at_once_without_releasing(void **state)
{
    struct w *w = *state;
    const struct ha_effect *e;

    w->dcs[HA_DCS_RENEW] = HA_REFUSED;
    w_cycle(w);
    e = w_job(w, PM_JOB_STOP);
    assert_non_null(e);
    assert_int_equal(e->u.job.mode, PM_STOP_IMMEDIATE);
    assert_true(e->u.job.demote);
    assert_string_equal(w_status(w), "demoted self because failed to update leader lock in DCS");
    assert_false(ha_is_leader(&w->ha, w->now_ms));
    w->pg.alive = false;
    w->pg.state = PGV_STATE_STOPPED;
    w->pg.role = PGV_ROLE_DEMOTED;
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_null(w_dcs(w, HA_DCS_RELEASE));
}

static void test_renewal_refused__paused_runs_on(void **state)
{
    struct w *w = *state;

    w->policy.paused = true;
    w_policy(w);
    w_forget(w);
    w->dcs[HA_DCS_RENEW] = HA_REFUSED;
    w_cycle(w);
    assert_null(w_did(w, HA_DO_JOB));
    assert_string_equal(w_status(w),
                        "continue to run as primary after failing to update leader lock in DCS");
}

static void test_silence__keeps_the_primary_until_the_lease_nearly_ends(void **state)
{
    struct w *w = *state;
    uint64_t lease_end = w->ha.lease_until_ms;
    const struct ha_effect *e;

    w->dcs[HA_DCS_RENEW] = HA_LOST;
    w->dcs[HA_DCS_READ] = HA_LOST;
    w->live = false;
    w_view(w);
    while (w->now_ms + 500 < lease_end - HA_DEMOTE_MARGIN_MS) {
        w_tick(w, 500);
        assert_null(w_job(w, PM_JOB_STOP));
        assert_true(ha_is_leader(&w->ha, w->now_ms));
        w_forget(w);
    }
    w_tick(w, lease_end - HA_DEMOTE_MARGIN_MS - w->now_ms);
    e = w_job(w, PM_JOB_STOP);
    assert_non_null(e);
    assert_int_equal(e->why, HA_WHY_lease_ends);
    assert_int_equal(e->u.job.mode, PM_STOP_FAST);
    assert_int_equal(e->u.job.immediate_at_ms, lease_end - HA_IMMEDIATE_MARGIN_MS);
    assert_false(ha_is_leader(&w->ha, w->now_ms));
}

static void test_silence__wakes_exactly_at_the_fence(void **state)
{
    struct w *w = *state;
    uint64_t lease_end = w->ha.lease_until_ms;

    w->hold[HA_DCS_RENEW] = true;
    w_cycle(w);
    assert_int_equal(w->wake_ms, lease_end - HA_DEMOTE_MARGIN_MS);
}

static void
test_outage__starts_read_only_and_returns_as_leader_when_the_key_is_still_ours(void **state)
{
    struct w *w = *state;
    const struct ha_effect *e;

    w->dcs[HA_DCS_RENEW] = HA_LOST;
    w->dcs[HA_DCS_READ] = HA_LOST;
    w->live = false;
    w_view(w);
    w_tick(w, 28000);
    assert_non_null(w_job(w, PM_JOB_STOP));
    w_forget(w);
    w->pg.alive = false;
    w->pg.state = PGV_STATE_STOPPED;
    w->pg.role = PGV_ROLE_DEMOTED;
    w->pg.control_state = PM_CONTROL_SHUT_DOWN;
    w_facts(w);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    e = w_job(w, PM_JOB_START);
    assert_non_null(e);
    assert_int_equal(e->u.job.role, PGV_ROLE_REPLICA);
    assert_string_equal(e->u.job.node.name, "");
    assert_string_equal(w_status(w), "DCS is not accessible: starting read-only, following nobody");
    w_forget(w);
    w->pg.alive = true;
    w->pg.state = PGV_STATE_RUNNING;
    w->pg.role = PGV_ROLE_REPLICA;
    w->pg.in_recovery = true;
    w_facts(w);
    w_job_end(w, PM_JOB_START, PM_DONE);
    assert_null(w_job(w, PM_JOB_PROMOTE));
    /* the store is back and the key, whose lease it had extended, still ours */
    w->dcs[HA_DCS_RENEW] = w->dcs[HA_DCS_READ] = HA_OK;
    w->live = true;
    w_view(w);
    w_tick(w, 1);
    assert_non_null(w_job(w, PM_JOB_PROMOTE));
    assert_string_equal(w_status(w), "promoted self to leader because I had the session lock");
}

static void test_frozen__fences_first_thing_after_waking(void **state)
{
    struct w *w = *state;

    w->dcs[HA_DCS_RENEW] = HA_REFUSED;
    w_tick(w, 45000); /* the process was stopped for longer than ttl */
    assert_int_equal(w->did[0].type, HA_DO_LOG);
    assert_int_equal(w->did[1].type, HA_DO_JOB);
    assert_int_equal(w->did[1].u.job.job, PM_JOB_STOP);
    assert_int_equal(w->did[1].u.job.mode, PM_STOP_IMMEDIATE);
    assert_int_equal(w->did[1].why, HA_WHY_lease_over);
    assert_false(ha_is_leader(&w->ha, w->now_ms));
}

static void test_graceful_stop_outliving_the_lease__becomes_immediate(void **state)
{
    struct w *w = *state;
    const struct ha_effect *e;
    uint64_t lease_end;

    w_peer(w, "n2", 50000000);
    w_failover(w, "n1", "n2");
    w_view(w);
    assert_non_null(w_job(w, PM_JOB_STOP));
    w_forget(w);
    lease_end = w->ha.lease_until_ms;
    w->dcs[HA_DCS_RENEW] = w->dcs[HA_DCS_READ] = HA_LOST;
    w_tick(w, lease_end - HA_IMMEDIATE_MARGIN_MS - w->now_ms - 1);
    assert_null(w_job(w, PM_JOB_STOP));
    w_tick(w, 1);
    e = w_job(w, PM_JOB_STOP);
    assert_non_null(e);
    assert_int_equal(e->u.job.mode, PM_STOP_IMMEDIATE);
}

static void
test_attached_primary_without_lease_and_store__is_stopped_after_retry_timeout(void **state)
{
    struct w *w = w_raw(W_LEADER);

    (void)state;
    w->dcs[HA_DCS_READ] = HA_LOST;
    w->dcs[HA_DCS_RENEW] = HA_LOST;
    w->live = false;
    w_policy(w);
    w_facts(w);
    w_tick(w, 9000);
    assert_null(w_job(w, PM_JOB_STOP));
    w_tick(w, 1000);
    assert_non_null(w_job(w, PM_JOB_STOP));
    assert_non_null(w_why(w, HA_WHY_lease_unproven));
    w_free(w);
}

static void test_dead_postmaster__is_restarted_in_place_under_the_same_lease(void **state)
{
    struct w *w = *state;
    const struct ha_effect *e;

    w->pg.alive = false;
    w->pg.state = PGV_STATE_CRASHED;
    w->pg.look_ok = false;
    w_facts(w); /* the pidfd says so: no waiting for the next cycle */
    assert_non_null(w_dcs(w, HA_DCS_RENEW));
    e = w_job(w, PM_JOB_START);
    assert_non_null(e);
    assert_int_equal(e->u.job.role, PGV_ROLE_PRIMARY);
    assert_string_equal(w_status(w), "starting primary after failure");
    assert_null(w_dcs(w, HA_DCS_RELEASE));
}

/* The store is slow to answer, perhaps because of what killed the server: the lease is good for as
 * long as it would be for a server that runs. */
static void test_dead_postmaster__restart_does_not_wait_for_the_store(void **state)
{
    struct w *w = *state;

    w->hold[HA_DCS_RENEW] = true;
    w_forget(w);
    w_server_down(w, PGV_STATE_CRASHED);
    assert_non_null(w_dcs(w, HA_DCS_RENEW)); /* asked all the same */
    assert_non_null(w_job(w, PM_JOB_START));
}

static void test_dead_postmaster__near_the_end_of_the_lease_it_waits(void **state)
{
    struct w *w = *state;

    w->hold[HA_DCS_RENEW] = true;
    w_tick(w, w->ha.lease_until_ms - w->policy.retry_timeout_ms - w->now_ms);
    w_forget(w);
    w_server_down(w, PGV_STATE_CRASHED);
    assert_null(w_job(w, PM_JOB_START));
}

static void test_dead_postmaster__start_timeout_zero_fails_over(void **state)
{
    struct w *w = *state;

    w->policy.primary_start_timeout_ms = 0;
    w_policy(w);
    w_forget(w);
    w_peer(w, "n2", 50000000);
    w_server_down(w, PGV_STATE_CRASHED);
    assert_string_equal(w_status(w), "stopped PostgreSQL to fail over after a crash");
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
}

static void test_crash_loop__gives_the_key_to_another(void **state)
{
    struct w *w = *state;

    w_peer(w, "n2", 50000000);
    for (int i = 0; i < 5; i++) {
        w_server_down(w, PGV_STATE_CRASHED);
        assert_string_equal(w_status(w), "starting primary after failure");
        w->pg.alive = true;
        w->pg.state = PGV_STATE_RUNNING;
        w_facts(w);
        w_job_end(w, PM_JOB_START, PM_DONE);
        w_tick(w, 1000);
    }
    w_forget(w);
    w_server_down(w, PGV_STATE_CRASHED);
    assert_non_null(w_why(w, HA_WHY_crash_loop));
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
}

static void test_failed_start__gives_the_key_up(void **state)
{
    struct w *w = *state;

    w_server_down(w, PGV_STATE_CRASHED);
    w_forget(w);
    w->pg.state = PGV_STATE_START_FAILED;
    w_facts(w);
    w_job_end(w, PM_JOB_START, PM_FAILED);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    assert_string_equal(w_status(w),
                        "removed leader key after trying and failing to start postgres");
}

static void test_standby_with_the_key__is_promoted(void **state)
{
    struct w *w = *state;

    w->pg.in_recovery = true;
    w->pg.role = PGV_ROLE_REPLICA;
    w_facts(w);
    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_RENEW));
    assert_non_null(w_job(w, PM_JOB_PROMOTE));
    assert_string_equal(w_status(w), "promoted self to leader because I had the session lock");
}

static void test_pre_promote_failed__releases_and_backs_off(void **state)
{
    struct w *w = *state;

    w->pg.in_recovery = true;
    w->pg.role = PGV_ROLE_REPLICA;
    w_facts(w);
    w_cycle(w);
    w_forget(w);
    w_job_end(w, PM_JOB_PROMOTE, PM_FAILED);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    assert_string_equal(w_status(w), "Promotion cancelled because the pre-promote script failed");
    w_leader(w, NULL);
    w_forget(w);
    w_view(w);
    w_cycle(w);
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_non_null(w_why(w, HA_WHY_pre_promote_backoff));
}

static void test_query_that_times_out__does_not_demote(void **state)
{
    struct w *w = *state;

    w->pg.look_ok = false;
    w->pg.look_timeout = true;
    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_RENEW));
    assert_null(w_did(w, HA_DO_JOB));
    assert_null(w_dcs(w, HA_DCS_SET_STATUS)); /* but no position is published */
}

static void test_history__is_published_after_a_promotion(void **state)
{
    struct w *w = *state;

    w->pg.timeline = 2;
    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_SET_HISTORY));
    w_forget(w);
    w->view.history_lines = 1;
    w->view.history_last_tl = 1;
    w->view.history_last_fields = 5;
    w_view(w);
    w_cycle(w);
    assert_null(w_dcs(w, HA_DCS_SET_HISTORY));
}

static void test_missing_keys__are_filled_by_the_leader_only(void **state)
{
    struct w *w = *state;

    w->view.initialize = DCS_INIT_ABSENT;
    w->view.config_valid = w->view.config_exists = false;
    w_view(w);
    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_SET_SYSID));
    assert_true(w_dcs(w, HA_DCS_SET_SYSID)->u.dcs.create);
    assert_non_null(w_dcs(w, HA_DCS_SET_CONFIG));
}

static void test_other_owner__demotes(void **state)
{
    struct w *w = *state;

    w_leader(w, "n3");
    w_view(w);
    assert_non_null(w_job(w, PM_JOB_STOP));
    assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.mode, PM_STOP_IMMEDIATE);
    assert_string_equal(w_status(w),
                        "demoting self because I do not have the lock and I was a leader");
}

static void test_job__lease_is_renewed_meanwhile(void **state)
{
    struct w *w = *state;
    struct ha_request r = { .type = HA_REQ_RESTART, .id = 9 };

    w_request(w, &r);
    assert_non_null(w_job(w, PM_JOB_RESTART));
    w_forget(w);
    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_RENEW));
    assert_null(w_dcs(w, HA_DCS_SET_STATUS));
    assert_string_equal(w_status(w), "updated leader lock during restart");
    w_forget(w);
    w_job_end(w, PM_JOB_RESTART, PM_DONE);
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_DONE);
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.id, 9);
}

static void test_job__lost_lock_during_restart_stops_it(void **state)
{
    struct w *w = *state;
    struct ha_request r = { .type = HA_REQ_RESTART, .id = 9 };

    w_request(w, &r);
    w_forget(w);
    w->dcs[HA_DCS_RENEW] = HA_REFUSED;
    w_cycle(w);
    assert_non_null(w_job(w, PM_JOB_STOP));
    assert_string_equal(w_status(w), "lost leader lock during restart");
    w_forget(w);
    w_job_end(w, PM_JOB_RESTART, PM_CANCELED); /* the end of what was cut short */
    assert_int_equal(w->ha.job.kind, PM_JOB_STOP);
    assert_non_null(w_did(w, HA_DO_ANSWER));
}

static void test_starting__says_how_long_and_fails_over_when_it_takes_too_long(void **state)
{
    struct w *w = *state;

    w->pg.state = PGV_STATE_STARTING;
    w->pg.state_since_ms = w->now_ms;
    w->pg.look_ok = false;
    w->pg.accepting = false;
    w_facts(w);
    w_cycle(w);
    assert_true(strncmp(w_status(w), "PostgreSQL is still starting up, 2", 34) == 0);
    w->policy.primary_start_timeout_ms = 20000;
    w_policy(w);
    w_cycle(w);
    w_cycle(w);
    assert_string_equal(w_status(w), "primary start has timed out, but continuing to wait because "
                                     "failover is not possible");
    w_peer(w, "n2", 50000000);
    w_cycle(w);
    assert_string_equal(w_status(w), "stopped PostgreSQL because of startup timeout");
}

static void test_follower__steady(void **state)
{
    struct w *w = *state;

    w_cycle(w);
    assert_null(w_dcs(w, HA_DCS_RENEW));
    assert_null(w_did(w, HA_DO_JOB));
    assert_non_null(w_did(w, HA_DO_CHECK_FOLLOW));
    assert_string_equal(w_did(w, HA_DO_CHECK_FOLLOW)->u.node.name, "n2");
    assert_string_equal(w_status(w),
                        "no action. I am (n1), a secondary, and following a leader (n2)");
}

static void test_follower__new_leader_is_followed_and_timelines_compared(void **state)
{
    struct w *w = *state;

    w_leader(w, "n3");
    w_member(w, "n3")->role = PGV_ROLE_PRIMARY;
    w_member(w, "n3")->checkpoint_done = true;
    w_member(w, "n2")->role = PGV_ROLE_REPLICA;
    w->fits = false;
    w_view(w); /* at once, not with the next cycle */
    assert_non_null(w_job(w, PM_JOB_FOLLOW));
    assert_string_equal(w_job(w, PM_JOB_FOLLOW)->u.job.node.name, "n3");
    w_forget(w);
    w->fits = true;
    w_job_end(w, PM_JOB_FOLLOW, PM_DONE);
    assert_non_null(w_job(w, PM_JOB_CHECK_DIVERGENCE));
    w_forget(w);
    w_job_end(w, PM_JOB_CHECK_DIVERGENCE, PM_DONE);
    assert_non_null(w_job(w, PM_JOB_REWIND));
    assert_string_equal(w_status(w), "running pg_rewind from n3");
}

/* pg_rewind begins with that checkpoint: until it is done the server is not stopped for nothing. */
static void test_follower__rewind_waits_for_the_leaders_checkpoint(void **state)
{
    struct w *w = *state;

    w->ha.rewind = HA_REWIND_NEED;
    w_member(w, "n2")->role = PGV_ROLE_PRIMARY;
    w_member(w, "n2")->checkpoint_known = true;
    w_member(w, "n2")->checkpoint_done = false;
    w_view(w);
    w_cycle(w);
    assert_null(w_did(w, HA_DO_JOB));
    w_member(w, "n2")->checkpoint_done = true;
    w_view(w); /* at once */
    assert_non_null(w_job(w, PM_JOB_REWIND));
}

static void test_follower__comparison_waits_for_the_new_primary(void **state)
{
    struct w *w = *state;

    w_leader(w, "n3"); /* its member key still says replica: it promotes */
    w_member(w, "n2")->role = PGV_ROLE_REPLICA;
    w->fits = false;
    w_view(w);
    w->fits = true;
    w_job_end(w, PM_JOB_FOLLOW, PM_DONE);
    assert_null(w_job(w, PM_JOB_CHECK_DIVERGENCE));
    w_forget(w);
    w_member(w, "n3")->role = PGV_ROLE_PRIMARY;
    w_view(w);
    assert_non_null(w_job(w, PM_JOB_CHECK_DIVERGENCE));
}

static void test_follower__a_reload_gets_time_to_settle(void **state)
{
    struct w *w = *state;

    w->fits = false; /* the old values are still to be seen */
    w_cycle(w);
    assert_non_null(w_job(w, PM_JOB_FOLLOW));
    w_forget(w);
    w_job_end(w, PM_JOB_FOLLOW, PM_DONE);
    assert_null(w_job(w, PM_JOB_FOLLOW));
    w->ha.rewind = HA_REWIND_NOT_NEED;
    w->ha.job.kind = PM_JOB_NONE;
    w_forget(w);
    w_cycle(w); /* later it counts again */
    assert_non_null(w_job(w, PM_JOB_FOLLOW));
}

static void test_follower__unreachable_comparison_does_not_spin(void **state)
{
    struct w *w = *state;

    ha_trigger_divergence(&w->ha);
    w_cycle(w);
    assert_non_null(w_job(w, PM_JOB_CHECK_DIVERGENCE));
    w_forget(w);
    w_job_end(w, PM_JOB_CHECK_DIVERGENCE, PM_UNKNOWN);
    assert_null(w_job(w, PM_JOB_CHECK_DIVERGENCE));
    w_cycle(w);
    w_cycle(w);
    assert_non_null(w_job(w, PM_JOB_CHECK_DIVERGENCE));
}

/* It is not diverged and does not stream all the same, as its disk is full: the comparison is
 * made again, and not without end. */
static void test_follower__behind_the_leaders_timeline_compares_once_per_loop_wait(void **state)
{
    struct w *w = *state;
    unsigned n = 0;

    w_member(w, "n2")->timeline = w->pg.timeline + 1;
    w_view(w);
    w_cycle(w);
    for (unsigned i = 0; i < 20; i++) {
        n += w_job(w, PM_JOB_CHECK_DIVERGENCE) != NULL;
        w_forget(w);
        w_tick(w, w->policy.loop_wait_ms / 10);
        if (w->ha.job.kind == PM_JOB_CHECK_DIVERGENCE)
            w_job_end(w, PM_JOB_CHECK_DIVERGENCE, PM_NO);
    }
    assert_in_range(n, 2, 3);
}

static void test_follower__store_lost_keeps_following(void **state)
{
    struct w *w = *state;

    w->live = false;
    w->dcs[HA_DCS_READ] = HA_LOST;
    w_view(w);
    w_cycle(w);
    assert_string_equal(w_status(w), "DCS is not accessible");
    assert_null(w_did(w, HA_DO_JOB));
    assert_int_equal(w->ha.next_run_ms, w->now_ms + 1000);
}

static void test_follower__dead_server_is_started_after_comparison(void **state)
{
    struct w *w = *state;

    w->pg.alive = false;
    w->pg.state = PGV_STATE_CRASHED;
    w->pg.control_state = PM_CONTROL_IN_ARCHIVE_RECOVERY;
    w_facts(w);
    assert_non_null(w_job(w, PM_JOB_CHECK_DIVERGENCE));
    w_job_end(w, PM_JOB_CHECK_DIVERGENCE, PM_NO);
    assert_non_null(w_job(w, PM_JOB_START));
    assert_string_equal(w_job(w, PM_JOB_START)->u.job.node.name, "n2");
    assert_string_equal(w_status(w), "starting as a secondary");
}

static void test_old_primary_without_the_key__recovers_compares_rewinds_starts(void **state)
{
    struct w *w = *state;

    w->pg.alive = false;
    w->pg.state = PGV_STATE_STOPPED;
    w->pg.role = PGV_ROLE_DEMOTED;
    w->pg.control_state = PM_CONTROL_IN_PRODUCTION; /* it was killed */
    w->pg.look_ok = false;
    w_facts(w);
    assert_non_null(w_job(w, PM_JOB_CRASH_RECOVERY));
    w->pg.control_state = PM_CONTROL_SHUT_DOWN;
    w_facts(w);
    w_job_end(w, PM_JOB_CRASH_RECOVERY, PM_DONE);
    assert_non_null(w_job(w, PM_JOB_CHECK_DIVERGENCE));
    w_job_end(w, PM_JOB_CHECK_DIVERGENCE, PM_DONE);
    assert_non_null(w_job(w, PM_JOB_REWIND));
    w_job_end(w, PM_JOB_REWIND, PM_DONE);
    assert_non_null(w_job(w, PM_JOB_START));
    assert_int_equal(w_job(w, PM_JOB_START)->u.job.role, PGV_ROLE_REPLICA);
}

static void test_failed_rewind__wipes_only_when_allowed(void **state)
{
    struct w *w = *state;

    w->ha.rewind = HA_REWIND_NEED;
    w_cycle(w);
    assert_non_null(w_job(w, PM_JOB_REWIND));
    w_server_down(w, PGV_STATE_STOPPED);
    w_forget(w);
    w_job_end(w, PM_JOB_REWIND, PM_FAILED);
    assert_null(w_job(w, PM_JOB_REMOVE_DATA));
    assert_non_null(w_job(w, PM_JOB_START));
    w_free(w);

    w = *state = w_new(W_REPLICA);
    w->policy.remove_on_rewind_failure = true;
    w_policy(w);
    w->ha.rewind = HA_REWIND_NEED;
    w_cycle(w);
    w_server_down(w, PGV_STATE_STOPPED);
    w_forget(w);
    w_job_end(w, PM_JOB_REWIND, PM_FAILED);
    assert_non_null(w_job(w, PM_JOB_REMOVE_DATA));
}

/* A standby of 14 or later stands still when the primary raised one of the maxima. */
static void test_follower__resumes_a_paused_replay(void **state)
{
    struct w *w = *state;

    w->pg.replay_paused = true;
    w->pg.major_version = 130000;
    w_facts(w);
    w_cycle(w);
    assert_null(w_did(w, HA_DO_RESUME_REPLAY));
    w->pg.major_version = 140000;
    w_facts(w);
    w_forget(w);
    w_cycle(w);
    assert_int_equal(w_count(w, HA_DO_RESUME_REPLAY), 1);
    w_forget(w);
    w->policy.paused = true;
    w_policy(w);
    w_cycle(w);
    assert_null(w_did(w, HA_DO_RESUME_REPLAY));
}

static void test_sync_mode__is_not_led(void **state)
{
    struct w *w = *state;

    w->policy.sync_requested = true;
    w_policy(w);
    w_forget(w);
    w_leader(w, NULL);
    w_view(w);
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_non_null(w_why(w, HA_WHY_unsupported_sync));
}

static void test_busy_world__does_not_make_the_loop_spin(void **state)
{
    struct w *w = *state;
    unsigned cycles = 0;

    for (int i = 0; i < 1000; i++) {
        struct ha_event ev = { .type = HA_EV_WAKE };
        w_forget(w);
        w_event(w, &ev);
        cycles += w_count(w, HA_DO_CYCLE_DONE);
        w->now_ms += 1;
    }
    assert_true(cycles <= 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define LEADER(t) cmocka_unit_test_setup_teardown(t, w_setup_leader, w_teardown)
#define REPLICA(t) cmocka_unit_test_setup_teardown(t, w_setup_replica, w_teardown)
        LEADER(test_healthy__renews_publishes_and_says_so),
        LEADER(test_lease__counts_from_when_the_renewal_was_sent),
        LEADER(test_renewal_refused__demotes_at_once_without_releasing),
        LEADER(test_renewal_refused__paused_runs_on),
        LEADER(test_silence__keeps_the_primary_until_the_lease_nearly_ends),
        LEADER(test_silence__wakes_exactly_at_the_fence),
        LEADER(test_outage__starts_read_only_and_returns_as_leader_when_the_key_is_still_ours),
        LEADER(test_frozen__fences_first_thing_after_waking),
        LEADER(test_graceful_stop_outliving_the_lease__becomes_immediate),
        cmocka_unit_test(
            test_attached_primary_without_lease_and_store__is_stopped_after_retry_timeout),
        LEADER(test_dead_postmaster__is_restarted_in_place_under_the_same_lease),
        LEADER(test_dead_postmaster__restart_does_not_wait_for_the_store),
        LEADER(test_dead_postmaster__near_the_end_of_the_lease_it_waits),
        LEADER(test_dead_postmaster__start_timeout_zero_fails_over),
        LEADER(test_crash_loop__gives_the_key_to_another),
        LEADER(test_failed_start__gives_the_key_up),
        LEADER(test_standby_with_the_key__is_promoted),
        LEADER(test_pre_promote_failed__releases_and_backs_off),
        LEADER(test_query_that_times_out__does_not_demote),
        LEADER(test_history__is_published_after_a_promotion),
        LEADER(test_missing_keys__are_filled_by_the_leader_only),
        LEADER(test_other_owner__demotes),
        LEADER(test_job__lease_is_renewed_meanwhile),
        LEADER(test_job__lost_lock_during_restart_stops_it),
        LEADER(test_starting__says_how_long_and_fails_over_when_it_takes_too_long),
        REPLICA(test_follower__steady),
        REPLICA(test_follower__new_leader_is_followed_and_timelines_compared),
        REPLICA(test_follower__comparison_waits_for_the_new_primary),
        REPLICA(test_follower__rewind_waits_for_the_leaders_checkpoint),
        REPLICA(test_follower__a_reload_gets_time_to_settle),
        REPLICA(test_follower__unreachable_comparison_does_not_spin),
        REPLICA(test_follower__behind_the_leaders_timeline_compares_once_per_loop_wait),
        REPLICA(test_follower__store_lost_keeps_following),
        REPLICA(test_follower__dead_server_is_started_after_comparison),
        REPLICA(test_old_primary_without_the_key__recovers_compares_rewinds_starts),
        REPLICA(test_failed_rewind__wipes_only_when_allowed),
        REPLICA(test_follower__resumes_a_paused_replay),
        REPLICA(test_sync_mode__is_not_led),
        REPLICA(test_busy_world__does_not_make_the_loop_spin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
