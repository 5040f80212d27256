/* SPDX-License-Identifier: PostgreSQL */
/*
 * The edges of the lease: answers that come late or in another order, a process that was stopped
 * for longer than it lasts, and requests and jobs that meet a key on its way out.
 */
#include "tests/unit/ha_support.h"

/* The store answers no question. */
static void lose_store(struct w *w)
{
    for (unsigned op = 0; op < HA_DCS_OPS; op++)
        w->dcs[op] = HA_LOST;
    w->live = false;
    w_view(w);
}

/* The stop has ended; what it left is a primary's data directory. */
static void stopped(struct w *w)
{
    w->pg.role = PGV_ROLE_DEMOTED;
    w->pg.control_state = PM_CONTROL_SHUT_DOWN;
    w_server_down(w, PGV_STATE_STOPPED);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
}

/* ---- refused renewals ---------------------------------------------------------------------- */

/* The answer says that the key is another's; the read beside it may hang for long. */
static void test_renewal_refused__is_not_kept_waiting_by_the_read(void **state)
{
    struct w *w = *state;

    w->live = false;
    w_view(w);
    w->hold[HA_DCS_READ] = true;
    w->hold[HA_DCS_RENEW] = true;
    w_cycle(w);
    w_forget(w);
    w->now_ms += 1000;
    w_reply(w, HA_DCS_RENEW, HA_REFUSED, w->now_ms - 1000);
    assert_non_null(w_job(w, PM_JOB_STOP));
    assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.mode, PM_STOP_IMMEDIATE);
    assert_string_equal(w_status(w), "demoted self because failed to update leader lock in DCS");
}

/* The first thing heard after a freeze is such an answer, and nobody waits for it: that there is no
 * lease any more must not give the server the time of one that was just found. */
static void test_renewal_refused__does_not_put_the_fence_off(void **state)
{
    struct w *w = *state;
    uint64_t sent;

    w->hold[HA_DCS_RENEW] = true;
    w_server_down(w, PGV_STATE_CRASHED);
    assert_non_null(w_job(w, PM_JOB_START)); /* under the lease as it stands */
    sent = w->now_ms;
    w->pg.alive = w->pg.look_ok = true;
    w->pg.state = PGV_STATE_RUNNING;
    w->hold_look = true;
    w_facts(w);
    w_job_end(w, PM_JOB_START, PM_DONE);
    w_forget(w);
    w->now_ms += 45000;
    w_reply(w, HA_DCS_RENEW, HA_REFUSED, sent);
    assert_non_null(w_job(w, PM_JOB_STOP));
    assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.mode, PM_STOP_IMMEDIATE);
}

/* ---- late proofs --------------------------------------------------------------------------- */

/* Renewed, but so long ago that it proves nothing now. */
static void test_crashed__is_not_started_under_a_lease_that_has_ended(void **state)
{
    struct w *w = *state;
    uint64_t sent = w->ha.lease_until_ms - 9000;

    w->dcs[HA_DCS_RENEW] = HA_LOST;
    w_tick(w, sent - w->now_ms);
    w_forget(w);
    w->hold[HA_DCS_RENEW] = true;
    w_server_down(w, PGV_STATE_CRASHED);
    assert_non_null(w_dcs(w, HA_DCS_RENEW));
    assert_null(w_job(w, PM_JOB_START));
    w->now_ms = sent + 31000;
    w_reply(w, HA_DCS_RENEW, HA_OK, sent);
    assert_null(w_job(w, PM_JOB_START));
}

/* It slept between the question and the answer: who leads, and how far the others are, is of then.
 */
static void test_race__what_was_read_before_a_freeze_decides_nothing(void **state)
{
    struct w *w = *state;

    w_peer(w, "n2", 50000000);
    w_peer(w, "n3", 50000000);
    w->hold[HA_DCS_READ] = true;
    w_view(w);
    assert_non_null(w_dcs(w, HA_DCS_READ));
    w_forget(w);
    w->now_ms += 40000;
    w_reply(w, HA_DCS_READ, HA_OK, 0);
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_non_null(w_dcs(w, HA_DCS_READ)); /* once more */
    w_reply(w, HA_DCS_READ, HA_OK, 0);
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
}

/* A renewal takes a key back that is gone. Whoever has held it meanwhile may have got further. */
static void test_regained__is_no_reason_to_promote_who_could_not_win_it(void **state)
{
    (void)state;
    for (unsigned behind = 0; behind < 2; behind++) {
        struct w *w = w_new(W_REPLICA);

        w->hold[HA_DCS_READ] = true;
        w_leader(w, "n1");
        w_view(w);
        assert_non_null(w_dcs(w, HA_DCS_RENEW));
        assert_non_null(w_dcs(w, HA_DCS_READ));
        assert_null(w_dcs(w, HA_DCS_SET_STATUS)); /* it would hide what is published */
        assert_null(w_job(w, PM_JOB_PROMOTE));
        if (behind)
            w->view.status_optime += 2 * w->policy.maximum_lag_bytes;
        w_view(w);
        w_reply(w, HA_DCS_READ, HA_OK, 0);
        assert_int_equal(w_job(w, PM_JOB_PROMOTE) != NULL, !behind);
        assert_int_equal(w_dcs(w, HA_DCS_RELEASE) != NULL, behind);
        assert_int_equal(ha_is_leader(&w->ha, w->now_ms), !behind);
        w_free(w);
    }
}

static void test_regained__is_no_reason_to_start_a_primary_that_is_behind(void **state)
{
    (void)state;
    for (unsigned behind = 0; behind < 2; behind++) {
        struct w *w = w_new(W_LEADER);

        w->hold[HA_DCS_READ] = true;
        w->now_ms += 45000; /* frozen, and the server has crashed meanwhile */
        w_server_down(w, PGV_STATE_CRASHED);
        assert_non_null(w_dcs(w, HA_DCS_RENEW));
        w_reply(w, HA_DCS_READ, HA_LOST, 0);
        w->hold[HA_DCS_RENEW] = true; /* the lease is fresh by now, which is not enough */
        w_tick(w, 1000);
        assert_null(w_job(w, PM_JOB_START));
        w_reply(w, HA_DCS_RENEW, HA_OK, w->now_ms);
        assert_null(w_job(w, PM_JOB_START));
        if (behind)
            w->view.status_optime += 2 * w->policy.maximum_lag_bytes;
        w_view(w);
        w_reply(w, HA_DCS_READ, HA_OK, 0);
        assert_int_equal(w_job(w, PM_JOB_START) != NULL, !behind);
        assert_int_equal(w_dcs(w, HA_DCS_RELEASE) != NULL, behind);
        w_free(w);
    }
}

/* ---- a restart and the key ----------------------------------------------------------------- */

static void test_restart_request__waits_while_the_key_is_given_up(void **state)
{
    struct ha_request r = { .type = HA_REQ_RESTART, .id = 7 };
    struct w *w = *state;

    w_peer(w, "n2", 50000000);
    w_failover(w, "n1", "n2");
    w->hold[HA_DCS_RELEASE] = true;
    w_view(w);
    stopped(w);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    w_forget(w);
    w_request(w, &r);
    assert_null(w_job(w, PM_JOB_RESTART));
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_BUSY);
    assert_string_equal(w_did(w, HA_DO_ANSWER)->text, "demotion");
}

/* Whether it is released is not known; the view says what it said before. */
static void test_restart_request__starts_no_primary_without_a_proven_lease(void **state)
{
    struct ha_request r = { .type = HA_REQ_RESTART, .id = 7 };
    struct w *w = *state;

    w_peer(w, "n2", 50000000);
    w_failover(w, "n1", "n2");
    w->dcs[HA_DCS_RELEASE] = HA_LOST;
    w_view(w);
    w->dcs[HA_DCS_RENEW] = HA_LOST;
    stopped(w);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    assert_true(ha_has_lock(&w->ha));
    assert_int_equal(w->ha.job.kind, PM_JOB_NONE);
    w_forget(w);
    w_request(w, &r);
    assert_null(w_job(w, PM_JOB_RESTART));
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_FAILED);
}

/* It would come up as the primary that it was. */
static void test_restart__is_cut_short_before_the_lease_ends(void **state)
{
    struct ha_request r = { .type = HA_REQ_RESTART, .id = 7 };
    struct w *w = *state;
    uint64_t lease_end = w->ha.lease_until_ms;

    lose_store(w);
    w_request(w, &r);
    assert_non_null(w_job(w, PM_JOB_RESTART));
    w_server_down(w, PGV_STATE_RESTARTING);
    w_tick(w, lease_end - HA_DEMOTE_MARGIN_MS - w->now_ms - 1);
    assert_null(w_job(w, PM_JOB_STOP));
    assert_int_equal(w->wake_ms, lease_end - HA_DEMOTE_MARGIN_MS);
    w_tick(w, 1);
    assert_non_null(w_job(w, PM_JOB_STOP));
}

/* ---- promotions ---------------------------------------------------------------------------- */

/* A pause stops no server, but nor is one made a primary without the key in it. */
static void test_promote__is_dropped_in_a_pause_when_the_key_is_lost(void **state)
{
    struct w *w = *state;

    w_view(w);
    assert_non_null(w_job(w, PM_JOB_PROMOTE)); /* its pre_promote takes long */
    w->policy.paused = true;
    w_policy(w);
    w_forget(w);
    w_leader(w, "n2");
    w_view(w);
    assert_non_null(w_did(w, HA_DO_CANCEL_JOB));
    assert_null(w_job(w, PM_JOB_STOP));
}

/* A backend crashes, the server is initialized anew, and is a standby that nobody asks to lead. */
static void test_promote__is_asked_for_again_when_it_was_lost(void **state)
{
    struct w *w = *state;

    w_view(w);
    assert_non_null(w_job(w, PM_JOB_PROMOTE));
    w_leader(w, "n1");
    w->pg.role = PGV_ROLE_PROMOTED;
    w_facts(w);
    w_view(w);
    w_forget(w);
    w_job_end(w, PM_JOB_PROMOTE, PM_UNKNOWN);
    assert_null(w_job(w, PM_JOB_PROMOTE));
    w->policy.paused = true;
    w_policy(w);
    w_cycle(w);
    assert_null(w_job(w, PM_JOB_PROMOTE));
    w->policy.paused = false;
    w->policy.sync_requested = true; /* what was asked for stands */
    w_policy(w);
    w_cycle(w);
    assert_non_null(w_job(w, PM_JOB_PROMOTE));
    assert_null(w_dcs(w, HA_DCS_RELEASE));
}

/* pre_promote has said no in a pause, and people have promoted the server themselves. */
static void test_pre_promote__its_no_is_not_held_against_a_primary(void **state)
{
    struct w *w = *state;

    w_view(w);
    assert_non_null(w_job(w, PM_JOB_PROMOTE));
    w_leader(w, "n1");
    w_view(w);
    w->policy.paused = true;
    w_failover(w, NULL, "n1"); /* what keeps the key for it meanwhile */
    w_policy(w);
    w_view(w);
    w_job_end(w, PM_JOB_PROMOTE, PM_FAILED);
    w->pg.role = PGV_ROLE_PRIMARY;
    w->pg.in_recovery = w->pg.streaming = false;
    w->pg.timeline = 2;
    w_facts(w);
    w_failover(w, NULL, NULL);
    w_view(w);
    w_cycle(w);
    assert_string_equal(w_status(w), "no action. I am (n1), the leader with the lock");
    w_forget(w);
    w->policy.paused = false;
    w_policy(w);
    assert_null(w_dcs(w, HA_DCS_RELEASE));
    assert_string_equal(w_status(w), "no action. I am (n1), the leader with the lock");
}

/* The key was lost meanwhile: whoever wins it again asks the script again. */
static void test_pre_promote__its_no_goes_with_the_key(void **state)
{
    struct w *w = *state;

    w_view(w);
    assert_non_null(w_job(w, PM_JOB_PROMOTE));
    w_leader(w, "n2");
    w_view(w);
    w_job_end(w, PM_JOB_PROMOTE, PM_FAILED);
    w_forget(w);
    w_leader(w, NULL);
    w_view(w);
    assert_non_null(w_job(w, PM_JOB_PROMOTE));
    assert_null(w_dcs(w, HA_DCS_RELEASE));
}

#define LEADER(test) cmocka_unit_test_setup_teardown(test, w_setup_leader, w_teardown)
#define ORPHAN(test) cmocka_unit_test_setup_teardown(test, w_setup_orphan, w_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEADER(test_renewal_refused__is_not_kept_waiting_by_the_read),
        LEADER(test_renewal_refused__does_not_put_the_fence_off),
        LEADER(test_crashed__is_not_started_under_a_lease_that_has_ended),
        ORPHAN(test_race__what_was_read_before_a_freeze_decides_nothing),
        cmocka_unit_test(test_regained__is_no_reason_to_promote_who_could_not_win_it),
        cmocka_unit_test(test_regained__is_no_reason_to_start_a_primary_that_is_behind),
        LEADER(test_restart_request__waits_while_the_key_is_given_up),
        LEADER(test_restart_request__starts_no_primary_without_a_proven_lease),
        LEADER(test_restart__is_cut_short_before_the_lease_ends),
        ORPHAN(test_promote__is_dropped_in_a_pause_when_the_key_is_lost),
        ORPHAN(test_promote__is_asked_for_again_when_it_was_lost),
        ORPHAN(test_pre_promote__its_no_is_not_held_against_a_primary),
        ORPHAN(test_pre_promote__its_no_goes_with_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
