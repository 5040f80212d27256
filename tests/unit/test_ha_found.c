/* SPDX-License-Identifier: PostgreSQL */
/* What the simulator (tests/sim) has found in the brain, one test each, so that it stays found. */
#include "tests/unit/ha_support.h"

static void shutdown_checkpoint(struct w *w)
{
    struct ha_event ev = { .type = HA_EV_SHUTDOWN_CHECKPOINT };

    ev.u.shutdown_checkpoint.checkpoint_lsn = 50000200;
    ev.u.shutdown_checkpoint.prev_lsn = 50000100;
    w_event(w, &ev);
}

/* The stop has ended and the release is on its way: nothing is due at a moment that has passed. */
static void test_release_on_its_way__is_waited_for_without_spinning(void **state)
{
    struct w *w = *state;

    w_peer(w, "n2", 50000000); /* has not received it */
    w_failover(w, "n1", "n2");
    w_view(w);
    assert_non_null(w_job(w, PM_JOB_STOP));
    w->hold[HA_DCS_RELEASE] = true;
    shutdown_checkpoint(w);
    w->pg.alive = false;
    w->pg.state = PGV_STATE_STOPPED;
    w->pg.role = PGV_ROLE_DEMOTED;
    w->now_ms += 100;
    w_facts(w);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    w_tick(w, 30); /* beyond the moment at which the peers would have been asked again */
    assert_true(w->wake_ms > w->now_ms);
}

/* A slow end of PostgreSQL after the key was given up: no stop upon a stop, no flood of lines. */
static void test_slow_shutdown__is_left_to_end_once_the_last_record_is_written(void **state)
{
    struct w *w = *state;
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };

    w_peer(w, "n2", 50000200);
    w_event(w, &ev);
    assert_non_null(w_job(w, PM_JOB_STOP));
    shutdown_checkpoint(w);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    w_leader(w, NULL);
    w_view(w);
    w_forget(w);
    for (unsigned i = 0; i < 60; i++) {
        w_tick(w, 1000);
        assert_true(w->wake_ms > w->now_ms);
    }
    assert_null(w_job(w, PM_JOB_STOP));
    assert_null(w_why(w, HA_WHY_lease_unproven));
}

/* Writable, no lease, and the fast stop does not end it: once stricter, then there is no more. */
static void test_unproven__an_unfinished_stop_becomes_immediate(void **state)
{
    struct w *w = *state;
    const struct ha_effect *e;

    w->ha.lease_until_ms = 0;
    for (unsigned i = 0; i < HA_DCS_OPS; i++)
        w->hold[i] = true; /* an agent that has just started and meets no store */
    w_tick(w, 1);
    w_tick(w, 10000);
    e = w_job(w, PM_JOB_STOP);
    assert_non_null(e);
    assert_int_equal(e->u.job.mode, PM_STOP_FAST);
    w_forget(w);
    w_tick(w, 1);
    assert_null(w_job(w, PM_JOB_STOP));
    w_tick(w, HA_DEMOTE_MARGIN_MS);
    e = w_job(w, PM_JOB_STOP);
    assert_non_null(e);
    assert_int_equal(e->u.job.mode, PM_STOP_IMMEDIATE);
    assert_true(w->wake_ms > w->now_ms);
}

/* The pre_promote script said no: until the key is known to be given up, nothing is promoted. */
static void test_pre_promote_failed__no_promotion_while_the_key_is_on_its_way_out(void **state)
{
    struct w *w = *state;

    w_view(w);
    w_tick(w, 1000);
    assert_non_null(w_job(w, PM_JOB_PROMOTE));
    w_leader(w, "n1");
    w_view(w);
    w->hold[HA_DCS_RELEASE] = true;
    w_forget(w);
    w_job_end(w, PM_JOB_PROMOTE, PM_FAILED);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    w_forget(w);
    w_tick(w, 1);
    w_view(w);
    w_cycle(w);
    assert_null(w_job(w, PM_JOB_PROMOTE));
    assert_null(w_dcs(w, HA_DCS_RENEW)); /* it would take the key back */
    assert_true(w->wake_ms > w->now_ms);
}

/* The key was taken by somebody else before the last record was written: nobody is to be asked. */
static void test_key_lost_while_stopping__does_not_spin(void **state)
{
    struct w *w = *state;

    w_peer(w, "n2", 50000000);
    w_failover(w, "n1", "n2");
    w_view(w);
    assert_non_null(w_job(w, PM_JOB_STOP));
    w_leader(w, "n3");
    w_view(w);
    w_tick(w, 100);
    shutdown_checkpoint(w);
    w_tick(w, 100);
    assert_true(w->wake_ms > w->now_ms);
}

/* The ttl is lowered. The next renewal binds the key to a shorter lease even if its answer is lost:
 * the long deadline of the old one must not be believed any longer. */
static void test_lower_ttl__the_old_deadline_ends_with_the_first_request(void **state)
{
    struct w *w = *state;

    w->policy.ttl_ms = 60000;
    w_policy(w);
    w_cycle(w);
    assert_true(w->ha.lease_until_ms >= w->now_ms + 60000);
    w->policy.ttl_ms = 20000;
    w->dcs[HA_DCS_RENEW] = HA_LOST;
    w_policy(w);
    assert_non_null(w_dcs(w, HA_DCS_RENEW));
    assert_true(w->ha.lease_until_ms <= w->now_ms + 20000);
}

/* The ttl is raised while a renewal is on its way: its answer speaks of the old, shorter lease. */
static void test_higher_ttl__an_answer_on_its_way_speaks_of_the_old_one(void **state)
{
    struct w *w = *state;
    uint64_t sent;

    w->hold[HA_DCS_RENEW] = true;
    w_cycle(w);
    sent = w->now_ms;
    w->policy.ttl_ms = 60000;
    w_policy(w);
    w_reply(w, HA_DCS_RENEW, HA_OK, sent);
    assert_int_equal(w->ha.lease_until_ms, sent + 30000);
}

/* ---- what the mutation check has found untested ---- */

static void test_renewal_refused__nobody_is_told_that_we_lead(void **state)
{
    struct w *w = *state;

    w->dcs[HA_DCS_RENEW] = HA_REFUSED;
    w->pg.in_recovery = true; /* not running as the primary: no stop says it for us */
    w->pg.role = PGV_ROLE_REPLICA;
    w_facts(w);
    w_cycle(w);
    assert_false(ha_is_leader(&w->ha, w->now_ms));
}

static void test_other_owner_in_the_view__nobody_is_told_that_we_lead(void **state)
{
    struct w *w = *state;

    w->pg.in_recovery = true;
    w->pg.role = PGV_ROLE_REPLICA;
    w_facts(w);
    assert_true(ha_is_leader(&w->ha, w->now_ms));
    w_leader(w, "n2");
    w_view(w);
    assert_false(ha_is_leader(&w->ha, w->now_ms));
}

static void test_renewal__does_not_queue_behind_a_read(void **state)
{
    struct w *w = *state;

    w->live = false;
    w->hold[HA_DCS_READ] = true;
    w_view(w);
    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_READ));
    assert_non_null(w_dcs(w, HA_DCS_RENEW));
}

static void test_peers__an_answer_to_an_older_question_is_none(void **state)
{
    struct w *w = *state;
    struct ha_event ev = { .type = HA_EV_PEERS };

    w->hold_peers = true;
    w_view(w);
    w_tick(w, 1000);
    assert_non_null(w_did(w, HA_DO_ASK_PEERS));
    ev.u.peers.round = w->ha.asked_round - 1;
    w_event(w, &ev);
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
    ev.u.peers.round = w->ha.asked_round;
    w_event(w, &ev);
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
}

/* A pre_promote script that outlives the lease: what is about to take writes is fenced as well. */
static void test_promotion_under_way__is_fenced_like_a_primary(void **state)
{
    struct w *w = *state;
    uint64_t until;

    w_view(w);
    w_tick(w, 1000);
    assert_non_null(w_job(w, PM_JOB_PROMOTE));
    w_leader(w, "n1");
    w_view(w);
    for (unsigned i = 0; i < HA_DCS_OPS; i++)
        w->hold[i] = true;
    until = w->ha.lease_until_ms;
    w_forget(w);
    w_tick(w, until - HA_DEMOTE_MARGIN_MS - w->now_ms);
    assert_non_null(w_job(w, PM_JOB_STOP));
}

/* It was told to become the primary; whether it has become it yet is not known: its recovery goes
 * on, or it answers nobody. Then the key is lost. */
static void test_promoted__without_the_key_it_is_stopped_like_a_primary(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        bool seen = i & 1, refused = i & 2, nobody = i & 4;
        struct w *w = w_new(W_UNLOCKED_REPLICA);

        w_view(w);
        w_tick(w, 1000);
        assert_non_null(w_job(w, PM_JOB_PROMOTE));
        w->pg.role = PGV_ROLE_PROMOTED;
        w->pg.look_ok = w->pg.in_recovery = seen;
        w_facts(w);
        w_leader(w, "n1");
        w_view(w);
        w_job_end(w, PM_JOB_PROMOTE, PM_UNKNOWN);
        assert_null(w_job(w, PM_JOB_STOP));
        if (refused) {
            w->dcs[HA_DCS_RENEW] = HA_REFUSED;
        } else {
            w_leader(w, nobody ? NULL : "n2");
            w->dcs[HA_DCS_ACQUIRE] = HA_REFUSED;
            w_peer(w, "n2", w->pg.wal_lsn + 100); /* not the healthiest node */
        }
        w_forget(w);
        if (refused)
            w_cycle(w);
        else
            w_view(w);
        if (!w_job(w, PM_JOB_STOP) || w_job(w, PM_JOB_FOLLOW))
            fail_msg("case %u", i);
        assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.mode, PM_STOP_IMMEDIATE);
        w_free(w);
    }
}

/* A restart asked for must not bring it up as a primary either. */
static void test_promoted__is_not_restarted_without_the_key(void **state)
{
    struct ha_request r = { .type = HA_REQ_RESTART, .id = 1 };
    struct w *w = w_new(W_REPLICA);

    (void)state;
    w->pg.role = PGV_ROLE_PROMOTED;
    w->pg.look_ok = w->pg.in_recovery = false;
    w->hold_look = true;
    w_facts(w);
    w_forget(w);
    w_request(w, &r);
    assert_null(w_job(w, PM_JOB_RESTART));
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_FAILED);
    w_free(w);
}

/* The primary of a cluster without an initialize key serves reads while the store is away. When
 * that is back there is no other primary to wait for. */
static void test_made_readonly__claims_the_cluster_again(void **state)
{
    struct w *w = *state;

    w->ha.joined = false;
    w->ha.offline = true;
    w->pg.alive = w->pg.look_ok = w->pg.in_recovery = false;
    w->pg.state = PGV_STATE_STOPPED;
    w->dcs[HA_DCS_READ] = HA_LOST;
    w->live = false;
    w_view(w);
    w_facts(w);
    w_cycle(w);
    assert_non_null(w_why(w, HA_WHY_dcs_lost_offline));
    w->pg.alive = w->pg.look_ok = w->pg.in_recovery = true;
    w->pg.state = PGV_STATE_RUNNING;
    w_facts(w);
    w_job_end(w, PM_JOB_START, PM_DONE);
    w->dcs[HA_DCS_READ] = HA_OK;
    w->live = true;
    w->view.initialize = DCS_INIT_ABSENT;
    w->view.initialize_text[0] = 0;
    w_forget(w);
    w_view(w);
    w_cycle(w);
    assert_null(w_why(w, HA_WHY_no_initialize_replica));
    assert_non_null(w_dcs(w, HA_DCS_SET_SYSID));
}

/* A server that was the primary, and another one leads: started as it is it would take writes. */
static void test_restart_request__starts_no_primary_without_the_key(void **state)
{
    struct w *w = *state;
    struct ha_request r = { .type = HA_REQ_RESTART, .id = 5 };

    w->pg.alive = w->pg.look_ok = false;
    w->pg.state = PGV_STATE_CRASHED;
    w->hold_look = true;
    w_leader(w, "n2");
    w_view(w);
    w_facts(w);
    w_forget(w);
    w_request(w, &r);
    assert_null(w_job(w, PM_JOB_RESTART));
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_FAILED);
}

/* Somebody deletes the initialize key: an empty node would make another cluster. */
static void test_initialize_key_deleted__the_leader_writes_it_at_once(void **state)
{
    struct w *w = *state;

    w->view.initialize = DCS_INIT_ABSENT;
    w->view.initialize_text[0] = 0;
    w_view(w);
    assert_non_null(w_dcs(w, HA_DCS_SET_SYSID));
    assert_true(w_dcs(w, HA_DCS_SET_SYSID)->u.dcs.create);
}

/* The data directory cannot be read any more, but the server runs on: it is stopped first. */
static void test_data_dir_unreadable__the_key_goes_when_the_server_has_ended(void **state)
{
    struct w *w = *state;

    w->pg.dir = PM_DIR_UNREADABLE;
    w_facts(w);
    w_cycle(w);
    assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.mode, PM_STOP_IMMEDIATE);
    assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.stop_timeout_ms, w->policy.retry_timeout_ms);
    assert_non_null(w_why(w, HA_WHY_released_unreadable));
    assert_null(w_dcs(w, HA_DCS_RELEASE));
    w_cycle(w);
    assert_null(w_dcs(w, HA_DCS_RELEASE));
    w_server_down(w, PGV_STATE_STOPPED);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    w_leader(w, NULL);
    w_view(w);
    assert_non_null(strstr(w_status(w), "data directory is not accessible"));
}

/* A renewal is on its way when the key is to be given up. Both would be sent again until answered:
 * the renewal could take the key again after the release, and the release remove it once more
 * later. */
static void test_key_given_up__not_before_the_end_of_a_renewal(void **state)
{
    enum { GONE, UNREADABLE, FAILED_START, PAUSED, PRE_PROMOTE, CASES };

    (void)state;
    for (int how = 0; how < CASES; how++) {
        struct w *w = w_new(W_LEADER);

        if (how == PRE_PROMOTE) {
            w->pg.in_recovery = true;
            w->pg.role = PGV_ROLE_REPLICA;
            w_facts(w);
            w_cycle(w);
            assert_non_null(w_job(w, PM_JOB_PROMOTE));
        } else if (how == FAILED_START) {
            w_server_down(w, PGV_STATE_CRASHED);
            assert_non_null(w_job(w, PM_JOB_START));
        } else if (how == PAUSED) {
            w->policy.paused = true;
            w_policy(w);
        }
        w->hold[HA_DCS_RENEW] = true;
        w_forget(w);
        w_cycle(w);
        assert_non_null(w_dcs(w, HA_DCS_RENEW));
        if (how == GONE || how == UNREADABLE) {
            w->pg.dir = how == GONE ? PM_DIR_EMPTY : PM_DIR_UNREADABLE;
            w_server_down(w, PGV_STATE_CRASHED);
        } else if (how == FAILED_START) {
            w_server_down(w, PGV_STATE_START_FAILED);
            w_job_end(w, PM_JOB_START, PM_FAILED);
        } else if (how == PAUSED) {
            w_server_down(w, PGV_STATE_CRASHED);
        } else {
            w_job_end(w, PM_JOB_PROMOTE, PM_FAILED);
        }
        w_tick(w, 100);
        assert_null(w_dcs(w, HA_DCS_RELEASE));
        assert_true(w->wake_ms > w->now_ms);
        w_reply(w, HA_DCS_RENEW, HA_OK, w->now_ms - 100);
        assert_non_null(w_dcs(w, HA_DCS_RELEASE));
        assert_int_equal(w->ha.lease_until_ms, 0);
        assert_null(w_job(w, PM_JOB_PROMOTE));
        w_free(w);
    }
}

/* A standby that was ahead of us when we were promoted has not come to our timeline yet: at the
 * position of our last record it has another one. The position alone is no receipt, whatever
 * check_timeline says. */
static void test_last_record__is_not_received_on_an_older_timeline(void **state)
{
    struct w *w = *state;
    struct ha_peer *n2 = w_peer(w, "n2", 50009999);

    w->pg.timeline = 2;
    w_facts(w);
    w_failover(w, "n1", "n2");
    w_view(w);
    assert_non_null(w_job(w, PM_JOB_STOP));
    shutdown_checkpoint(w);
    w_tick(w, 2000);
    assert_null(w_dcs(w, HA_DCS_RELEASE));
    n2->timeline = 0; /* it does not tell */
    w_tick(w, 2000);
    assert_null(w_dcs(w, HA_DCS_RELEASE));
    n2->timeline = 2;
    w_tick(w, 2000);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_release_on_its_way__is_waited_for_without_spinning,
                                        w_setup_leader, w_teardown),
        cmocka_unit_test_setup_teardown(
            test_lower_ttl__the_old_deadline_ends_with_the_first_request, w_setup_leader,
            w_teardown),
        cmocka_unit_test_setup_teardown(test_higher_ttl__an_answer_on_its_way_speaks_of_the_old_one,
                                        w_setup_leader, w_teardown),
        cmocka_unit_test_setup_teardown(test_renewal_refused__nobody_is_told_that_we_lead,
                                        w_setup_leader, w_teardown),
        cmocka_unit_test_setup_teardown(test_other_owner_in_the_view__nobody_is_told_that_we_lead,
                                        w_setup_leader, w_teardown),
        cmocka_unit_test_setup_teardown(test_renewal__does_not_queue_behind_a_read, w_setup_leader,
                                        w_teardown),
        cmocka_unit_test_setup_teardown(test_peers__an_answer_to_an_older_question_is_none,
                                        w_setup_orphan, w_teardown),
        cmocka_unit_test_setup_teardown(test_promotion_under_way__is_fenced_like_a_primary,
                                        w_setup_orphan, w_teardown),
        cmocka_unit_test_setup_teardown(test_key_lost_while_stopping__does_not_spin, w_setup_leader,
                                        w_teardown),
        cmocka_unit_test_setup_teardown(
            test_slow_shutdown__is_left_to_end_once_the_last_record_is_written, w_setup_leader,
            w_teardown),
        cmocka_unit_test_setup_teardown(test_unproven__an_unfinished_stop_becomes_immediate,
                                        w_setup_leader, w_teardown),
        cmocka_unit_test(test_promoted__without_the_key_it_is_stopped_like_a_primary),
        cmocka_unit_test(test_promoted__is_not_restarted_without_the_key),
        cmocka_unit_test_setup_teardown(
            test_pre_promote_failed__no_promotion_while_the_key_is_on_its_way_out, w_setup_orphan,
            w_teardown),
        cmocka_unit_test_setup_teardown(
            test_data_dir_unreadable__the_key_goes_when_the_server_has_ended, w_setup_leader,
            w_teardown),
        cmocka_unit_test_setup_teardown(test_initialize_key_deleted__the_leader_writes_it_at_once,
                                        w_setup_leader, w_teardown),
        cmocka_unit_test_setup_teardown(test_restart_request__starts_no_primary_without_the_key,
                                        w_setup_leader, w_teardown),
        cmocka_unit_test_setup_teardown(test_last_record__is_not_received_on_an_older_timeline,
                                        w_setup_leader, w_teardown),
        cmocka_unit_test(test_key_given_up__not_before_the_end_of_a_renewal),
        cmocka_unit_test_setup_teardown(test_made_readonly__claims_the_cluster_again,
                                        w_setup_orphan, w_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
