/* SPDX-License-Identifier: PostgreSQL */
/* Rows of the brain's tables that a simulated cluster hardly ever meets. */
#include "tests/unit/ha_support.h"

/* ---- the store answers otherwise, or not ---------------------------------------------------- */

static void test_starting_leader__goes_by_its_renewal(void **state)
{
    static const struct {
        enum ha_outcome outcome;
        bool stopped;
        const char *status;
    } rows[] = {
        { HA_LOST, false, "DCS is not accessible" },
        { HA_REFUSED, true, "stopped PostgreSQL while starting up because leader key was lost" },
        { HA_OK, false, "PostgreSQL is still starting up, 300 seconds until timeout" },
    };

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct w *w = w_new(W_LEADER);

        w->pg.state = PGV_STATE_STARTING;
        w->pg.look_ok = false;
        w->pg.state_since_ms = w->ha.next_run_ms;
        w_facts(w);
        w_forget(w);
        w->dcs[HA_DCS_RENEW] = rows[i].outcome;
        w_cycle(w);
        assert_int_equal(w_job(w, PM_JOB_STOP) != NULL, rows[i].stopped);
        assert_non_null(strstr(w_status(w), rows[i].status));
        w_free(w);
    }
}

/* The renewal was sent so long ago that its success proves nothing any more. */
static void test_leader__a_late_renewal_proves_nothing(void **state)
{
    struct w *w = w_new(W_LEADER);
    uint64_t sent_ms;

    (void)state;
    w->hold[HA_DCS_RENEW] = true;
    w_cycle(w);
    sent_ms = w->now_ms;
    w->ha.policy.paused = true; /* else it would have been stopped by now */
    w->now_ms += w->policy.ttl_ms + 1;
    w_reply(w, HA_DCS_RENEW, HA_OK, sent_ms);
    assert_false(ha_is_leader(&w->ha, w->now_ms));
    assert_string_equal(w_status(w), "DCS is not accessible");
    w_free(w);
}

static void test_race__a_read_that_is_not_answered(void **state)
{
    struct w *w = w_new(W_UNLOCKED_REPLICA);

    (void)state;
    w_peer(w, "n3", 1);
    w->dcs[HA_DCS_READ] = HA_LOST;
    w_view(w);
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_string_equal(w_status(w), "DCS is not accessible");
    w_free(w);
}

/* The server crashed while the key was being asked for, and recovers: the answer proves the lease.
 */
static void test_race__the_key_is_won_by_a_server_that_has_crashed(void **state)
{
    struct w *w = w_new(W_LEADER);

    (void)state;
    w_leader(w, NULL);
    w->hold[HA_DCS_ACQUIRE] = true;
    w_view(w);
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
    w_server_down(w, PGV_STATE_CRASHED);
    assert_non_null(w_job(w, PM_JOB_CRASH_RECOVERY));
    w_forget(w);
    w->hold[HA_DCS_RENEW] = true;
    w_tick(w, 1000);
    w_reply(w, HA_DCS_ACQUIRE, HA_OK, w->now_ms);
    assert_true(ha_is_leader(&w->ha, w->now_ms));
    w_free(w);
}

/* The failover key is being written already: it is not written twice. */
static void test_race__won_while_the_failover_key_is_being_written(void **state)
{
    struct w *w = w_new(W_UNLOCKED_REPLICA);

    (void)state;
    w->ha.dcs_inflight[HA_DCS_SET_FAILOVER] = true;
    w_failover(w, "n2", "n1");
    w_view(w);
    assert_non_null(w_job(w, PM_JOB_PROMOTE));
    assert_null(w_dcs(w, HA_DCS_SET_FAILOVER));
    w_free(w);
}

/* ---- bootstrap and joining ------------------------------------------------------------------- */

static void test_bootstrap__without_a_source_or_with_a_mode_that_is_not_managed(void **state)
{
    struct w *w = w_raw(W_EMPTY);

    (void)state;
    w->policy.sync_requested = true;
    w_begin(w);
    assert_null(w_dcs(w, HA_DCS_INITIALIZE));
    assert_int_equal(w->ha.status_why, HA_WHY_unsupported_sync);
    w_free(w);

    for (unsigned i = 0; i < 2; i++) {
        w = w_raw(W_EMPTY);
        w->policy.can_bootstrap = false;
        w->policy.clone_without_leader = true;
        w->view.empty = false;
        w->view.initialize = i ? DCS_INIT_BOOTSTRAPPING : DCS_INIT_SYSID;
        w_begin(w);
        if (i) {
            assert_null(w_job(w, PM_JOB_CLONE));
            assert_string_equal(w_status(w), "waiting for leader to bootstrap");
        } else {
            assert_non_null(w_job(w, PM_JOB_CLONE));
            assert_int_equal(w_job(w, PM_JOB_CLONE)->u.job.node.name[0], 0);
            assert_string_equal(w_status(w), "trying to bootstrap (without leader)");
        }
        w_free(w);
    }
}

static void test_bootstrap__a_server_that_cannot_be_asked_yet(void **state)
{
    struct w *w = w_raw(W_EMPTY);

    (void)state;
    w_begin(w);
    w->view.initialize = DCS_INIT_BOOTSTRAPPING;
    w_view(w);
    w->pg.dir = PM_DIR_OK;
    w->pg.alive = true;
    w->pg.state = PGV_STATE_RUNNING;
    w->pg.role = PGV_ROLE_PRIMARY;
    w_facts(w);
    w_job_end(w, PM_JOB_BOOTSTRAP, PM_DONE);
    assert_null(w_job(w, PM_JOB_POST_BOOTSTRAP));
    assert_string_equal(w_status(w), "waiting for end of recovery after bootstrap");
    w_view(w);
    w->view.initialize = DCS_INIT_GARBAGE; /* somebody has written over the key */
    w_view(w);
    assert_non_null(w_why(w, HA_WHY_bootstrap_overtaken));
    w_free(w);
}

/* The configuration key is refused: tried again, for the cluster is ours. */
static void test_bootstrap__a_configuration_that_is_refused(void **state)
{
    struct w *w = w_raw(W_EMPTY);

    (void)state;
    w->dcs[HA_DCS_SET_CONFIG] = HA_REFUSED;
    w_begin(w);
    w_initdb_ran(w);
    w_job_end(w, PM_JOB_BOOTSTRAP, PM_DONE);
    w_job_end(w, PM_JOB_POST_BOOTSTRAP, PM_DONE);
    assert_null(w_dcs(w, HA_DCS_TAKE));
    assert_null(w_job(w, PM_JOB_STOP));
    assert_string_equal(w_status(w), "DCS is not accessible");
    w->dcs[HA_DCS_SET_CONFIG] = HA_OK;
    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_TAKE));
    w_free(w);
}

static void test_join__rows(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct w *w = w_raw(W_LEADER);

        w_leader(w, NULL);
        w->view.initialize = i == 3 ? DCS_INIT_BOOTSTRAPPING : DCS_INIT_ABSENT;
        if (i == 0)
            w->pg.look_ok = false;
        if (i == 1)
            w->dcs[HA_DCS_SET_SYSID] = HA_LOST;
        if (i == 2)
            w->dcs[HA_DCS_SET_SYSID] = HA_REFUSED;
        w->hold[HA_DCS_ACQUIRE] = true;
        w_begin(w);
        assert_int_equal(w_dcs(w, HA_DCS_SET_SYSID) != NULL, i != 0);
        assert_int_equal(w_dcs(w, HA_DCS_ACQUIRE) != NULL, i == 3);
        if (i == 0)
            assert_int_equal(w->ha.status_why, HA_WHY_pg_lost);
        if (i == 1)
            assert_int_equal(w->ha.status_why, HA_WHY_dcs_lost);
        if (i == 3) {
            assert_false(w_dcs(w, HA_DCS_SET_SYSID)->u.dcs.create);
            assert_false(w_dcs(w, HA_DCS_SET_SYSID)->u.dcs.guarded); /* by the view's version */
        }
        w_free(w);
    }
}

/* The leader is gone when the stop before the copy has ended: the server starts again. */
static void test_reinitialize__without_a_source_any_more(void **state)
{
    struct w *w = w_new(W_REPLICA);
    struct ha_request r = { .type = HA_REQ_REINITIALIZE, .id = 1 };

    (void)state;
    w_request(w, &r);
    assert_non_null(w_job(w, PM_JOB_STOP));
    w_leader(w, NULL);
    w_view(w);
    w_forget(w);
    w_server_down(w, PGV_STATE_STOPPED);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_null(w_job(w, PM_JOB_CLONE));
    assert_non_null(w_job(w, PM_JOB_START));
    w_free(w);
}

/* ---- jobs and the end of the agent ----------------------------------------------------------- */

static void test_shutdown__paused_drops_the_job_under_way(void **state)
{
    struct w *w = w_new(W_REPLICA);
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };
    struct ha_request r = { .type = HA_REQ_RESTART, .id = 1 };

    (void)state;
    w->policy.paused = true;
    w_policy(w);
    w_request(w, &r);
    assert_non_null(w_job(w, PM_JOB_RESTART));
    w_event(w, &ev);
    assert_non_null(w_did(w, HA_DO_CANCEL_JOB));
    assert_non_null(w_did(w, HA_DO_EXIT));
    w_free(w);
}

static void test_requests__are_refused_by_an_agent_that_ends_or_has_not_begun(void **state)
{
    struct w *w = w_raw(W_REPLICA);
    struct ha_request r = { .type = HA_REQ_RESTART, .id = 7 };
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };

    (void)state;
    w_request(w, &r);
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_FAILED);
    w_free(w);

    w = w_new(W_REPLICA);
    w_event(w, &ev);
    w_forget(w);
    w_request(w, &r);
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_FAILED);
    w_forget(w);
    r.id = 0; /* nobody waits for it */
    w_request(w, &r);
    assert_null(w_did(w, HA_DO_ANSWER));
    w_free(w);
}

/* A stop that a stricter one has replaced ends as 'canceled': the other one goes on. */
static void test_stop__replaced_by_a_stricter_one(void **state)
{
    struct w *w = w_new(W_LEADER);
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };

    (void)state;
    w_event(w, &ev);
    w_leader(w, "n2");
    w_view(w);
    w_job_end(w, PM_JOB_STOP, PM_CANCELED);
    assert_int_equal(w->ha.job.kind, PM_JOB_STOP);
    assert_int_equal(w->ha.job.mode, PM_STOP_IMMEDIATE);
    assert_null(w_did(w, HA_DO_EXIT));
    w_free(w);
}

/* A comparison whose question was answered otherwise meanwhile changes nothing. */
static void test_divergence__an_answer_nobody_waits_for(void **state)
{
    struct w *w = w_new(W_REPLICA);

    (void)state;
    w->ha.rewind = HA_REWIND_CHECK;
    w_cycle(w);
    assert_non_null(w_job(w, PM_JOB_CHECK_DIVERGENCE));
    w->ha.rewind = HA_REWIND_INITIAL;
    w_forget(w);
    w_job_end(w, PM_JOB_CHECK_DIVERGENCE, PM_DONE);
    assert_null(w_job(w, PM_JOB_REWIND));
    w_free(w);
}

static void test_crash__what_the_control_file_says(void **state)
{
    static const struct {
        enum postmaster_control_state control;
        enum pgv_role role;
        enum pgv_state state;
        bool standby_signal, primary;
    } rows[] = {
        { PM_CONTROL_IN_PRODUCTION, PGV_ROLE_PRIMARY, PGV_STATE_CRASHED, false, true },
        { PM_CONTROL_SHUTTING_DOWN, PGV_ROLE_PRIMARY, PGV_STATE_RUNNING, false, true },
        { PM_CONTROL_SHUT_DOWN, PGV_ROLE_PRIMARY, PGV_STATE_STARTING, false, true },
        { PM_CONTROL_IN_CRASH_RECOVERY, PGV_ROLE_PRIMARY, PGV_STATE_CRASHED, false, true },
        { PM_CONTROL_UNKNOWN, PGV_ROLE_PRIMARY, PGV_STATE_CRASHED, false, false },
        { PM_CONTROL_STARTING_UP, PGV_ROLE_PRIMARY, PGV_STATE_CRASHED, false, false },
        { PM_CONTROL_IN_ARCHIVE_RECOVERY, PGV_ROLE_PRIMARY, PGV_STATE_CRASHED, false, false },
        { PM_CONTROL_SHUT_DOWN, PGV_ROLE_DEMOTED, PGV_STATE_CRASHED, false, false },
        { PM_CONTROL_SHUT_DOWN, PGV_ROLE_PRIMARY, PGV_STATE_STOPPED, false, false },
        { PM_CONTROL_SHUT_DOWN, PGV_ROLE_PRIMARY, PGV_STATE_CRASHED, true, false },
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct w *w = w_new(W_LEADER);
        const struct ha_effect *e;

        w->pg.alive = w->pg.look_ok = false;
        w->pg.control_state = rows[i].control;
        w->pg.role = rows[i].role;
        w->pg.state = rows[i].state;
        w->pg.standby_signal = rows[i].standby_signal;
        w_facts(w);
        e = w_job(w, PM_JOB_START);
        assert_non_null(e);
        if ((e->u.job.role == PGV_ROLE_PRIMARY) != rows[i].primary)
            fail_msg("row %u", i);
        w_free(w);
    }
}

/* ---- in a pause ------------------------------------------------------------------------------ */

static void test_pause__a_standby_that_holds_the_key(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct w *w = w_new(W_LEADER);

        w->policy.paused = true;
        w_policy(w);
        w->pg.in_recovery = true;
        w->pg.role = PGV_ROLE_REPLICA;
        w_facts(w);
        if (i)
            w_failover(w, NULL, "n1"); /* it is being promoted by people */
        w_view(w);
        w_forget(w);
        w_cycle(w);
        assert_int_equal(w_dcs(w, HA_DCS_RELEASE) == NULL, i);
        assert_int_equal(w->ha.status_why,
                         i ? HA_WHY_wait_promote_paused : HA_WHY_paused_not_primary);
        w_free(w);
    }
}

static void test_pause__a_primary_without_the_key_and_a_request(void **state)
{
    struct w *w = w_new(W_LEADER);

    (void)state;
    w->policy.paused = true;
    w_policy(w);
    w_leader(w, NULL);
    w_failover(w, NULL, "gone"); /* who is no member */
    w_forget(w);
    w_view(w);
    assert_non_null(w_dcs(w, HA_DCS_SET_FAILOVER)); /* removed, and the race goes on */
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
    w_free(w);

    w = w_new(W_LEADER);
    w->policy.paused = true;
    w_policy(w);
    w_leader(w, NULL);
    memcpy(w->view.initialize_text, "7999999999999999999", 20); /* the data was exchanged */
    w_forget(w);
    w_view(w);
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
    w_free(w);
}

/* ---- a mode that is not managed -------------------------------------------------------------- */

static void test_sync__a_standby_that_holds_the_key_gives_it_up(void **state)
{
    struct w *w = w_new(W_LEADER);

    (void)state;
    w->pg.in_recovery = true;
    w->pg.role = PGV_ROLE_REPLICA;
    w_facts(w);
    w->policy.sync_requested = true;
    w_forget(w);
    w_policy(w);
    w_cycle(w);
    assert_null(w_job(w, PM_JOB_PROMOTE));
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    assert_int_equal(w_dcs(w, HA_DCS_RELEASE)->why, HA_WHY_unsupported_sync);
    w_free(w);
}

/* ---- whom to follow, which slots ------------------------------------------------------------- */

static void test_follow__tags(void **state)
{
    struct w *w = w_new(W_REPLICA);

    (void)state;
    memcpy(w->policy.tags.replicatefrom, "n3", 3);
    w_policy(w);
    assert_string_equal(w_did(w, HA_DO_CHECK_FOLLOW)->u.node.name, "n3");
    w_forget(w);
    memcpy(w->policy.tags.replicatefrom, "n1", 3); /* itself: the leader */
    w_policy(w);
    assert_string_equal(w_did(w, HA_DO_CHECK_FOLLOW)->u.node.name, "n2");
    w_forget(w);
    memcpy(w->policy.tags.replicatefrom, "gone", 5);
    w_policy(w);
    assert_string_equal(w_did(w, HA_DO_CHECK_FOLLOW)->u.node.name, "n2");
    w_forget(w);
    w->policy.tags.nostream = true;
    w_policy(w);
    assert_int_equal(w_did(w, HA_DO_CHECK_FOLLOW)->u.node.name[0], 0);
    w_free(w);
}

static void test_follow__a_change_that_takes_a_restart(void **state)
{
    struct w *w = w_new(W_REPLICA);

    (void)state;
    w->fits = false;
    w->needs_restart = true;
    w_cycle(w);
    assert_int_equal(w_job(w, PM_JOB_FOLLOW)->why, HA_WHY_change_upstream);
    w_free(w);
}

static unsigned slots_of(struct w *w, enum pgv_role role, int major, struct postmaster_slot *ret)
{
    return ha_wanted_slots(&w->view, &w->policy, role, major, ret, POSTMASTER_SLOTS_MAX);
}

static void test_slots__rows(void **state)
{
    struct w *w = w_new(W_LEADER);
    struct postmaster_slot v[POSTMASTER_SLOTS_MAX];

    (void)state;
    assert_int_equal(slots_of(w, PGV_ROLE_PRIMARY, 150000, v), 2);
    assert_int_equal(v[0].expected_active, 1);
    /* they need the slots of the others, too, for a switchover */
    assert_int_equal(slots_of(w, PGV_ROLE_REPLICA, 150000, v), 2);
    assert_int_equal(v[0].expected_active, 0);
    assert_int_equal(slots_of(w, PGV_ROLE_REPLICA, 100000, v), 0); /* cannot advance them */
    assert_int_equal(slots_of(w, PGV_ROLE_STANDBY_LEADER, 100000, v), 2);
    w->policy.member_slots_ttl_ms = 0;
    assert_int_equal(slots_of(w, PGV_ROLE_REPLICA, 150000, v), 0);
    w_member(w, "n3")->tags.nostream = true;
    assert_int_equal(slots_of(w, PGV_ROLE_PRIMARY, 150000, v), 1);
    w_member(w, "n3")->tags.nostream = false;
    memcpy(w_member(w, "n3")->tags.replicatefrom, "n2", 3);
    assert_int_equal(slots_of(w, PGV_ROLE_PRIMARY, 150000, v), 1);
    memcpy(w_member(w, "n3")->tags.replicatefrom, "gone", 5);
    assert_int_equal(slots_of(w, PGV_ROLE_PRIMARY, 150000, v), 2);
    memcpy(w_member(w, "n3")->tags.replicatefrom, "n1", 3);
    w_member(w, "n3")->xlog_location = 77;
    assert_int_equal(slots_of(w, PGV_ROLE_PRIMARY, 150000, v), 2);
    assert_int_equal(v[1].lsn, 77);
    assert_int_equal(slots_of(w, PGV_ROLE_REPLICA, 150000, v), 1); /* it streams from us */
    w_leader(w, "n3");
    assert_int_equal(slots_of(w, PGV_ROLE_REPLICA, 150000, v), 0);
    w_leader(w, "n1");
    w_member(w, "n1")->agent_version = 30300; /* positions of members, not of the status key */
    w_member(w, "n2")->xlog_location = 55;
    (void)slots_of(w, PGV_ROLE_PRIMARY, 150000, v);
    assert_int_equal(v[0].lsn, 55);
    /* two names that make one slot */
    w->policy.member_slots_ttl_ms = 1800000;
    ha_copy_name(w_member(w, "n3")->name, "N2");
    assert_int_equal(slots_of(w, PGV_ROLE_PRIMARY, 150000, v), 1);
    w->policy.tags.nofailover = true;
    w->view.n_retain_slots = 2;
    memcpy(w->view.retain_slots[0], "n1", 3);
    memcpy(w->view.retain_slots[1], "old", 4);
    assert_int_equal(slots_of(w, PGV_ROLE_REPLICA, 150000, v), 1); /* who replicates from it */
    w->policy.tags.nofailover = false;
    assert_int_equal(slots_of(w, PGV_ROLE_REPLICA, 150000, v), 2);
    assert_int_equal(v[1].expected_active, -1);
    w->policy.use_slots = false;
    assert_int_equal(slots_of(w, PGV_ROLE_PRIMARY, 150000, v), 0);
    w_free(w);
}

/* ---- words ----------------------------------------------------------------------------------- */

static void test_names__of_what_is_not_known(void **state)
{
    (void)state;
    assert_string_equal(ha_why_label(HA_WHYS), "?");
    assert_string_equal(ha_dcs_op_name(HA_DCS_OPS), "?");
    assert_string_equal(ha_event_name((enum ha_event_type)(HA_EV_SHUTDOWN + 1)), "?");
    assert_string_equal(ha_effect_name((enum ha_effect_type)(HA_DO_EXIT + 1)), "?");
    for (unsigned i = 0; i < HA_WHYS; i++)
        assert_true(ha_why_label((enum ha_why)i)[0]);
    for (unsigned i = 0; i < HA_DCS_OPS; i++)
        assert_true(ha_dcs_op_name((enum ha_dcs_op)i)[0]);
    for (unsigned i = 0; i <= HA_EV_SHUTDOWN; i++)
        assert_true(ha_event_name((enum ha_event_type)i)[0]);
    for (unsigned i = 0; i <= HA_DO_EXIT; i++)
        assert_true(ha_effect_name((enum ha_effect_type)i)[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starting_leader__goes_by_its_renewal),
        cmocka_unit_test(test_leader__a_late_renewal_proves_nothing),
        cmocka_unit_test(test_race__a_read_that_is_not_answered),
        cmocka_unit_test(test_race__the_key_is_won_by_a_server_that_has_crashed),
        cmocka_unit_test(test_race__won_while_the_failover_key_is_being_written),
        cmocka_unit_test(test_bootstrap__without_a_source_or_with_a_mode_that_is_not_managed),
        cmocka_unit_test(test_bootstrap__a_server_that_cannot_be_asked_yet),
        cmocka_unit_test(test_bootstrap__a_configuration_that_is_refused),
        cmocka_unit_test(test_join__rows),
        cmocka_unit_test(test_reinitialize__without_a_source_any_more),
        cmocka_unit_test(test_shutdown__paused_drops_the_job_under_way),
        cmocka_unit_test(test_requests__are_refused_by_an_agent_that_ends_or_has_not_begun),
        cmocka_unit_test(test_stop__replaced_by_a_stricter_one),
        cmocka_unit_test(test_divergence__an_answer_nobody_waits_for),
        cmocka_unit_test(test_crash__what_the_control_file_says),
        cmocka_unit_test(test_pause__a_standby_that_holds_the_key),
        cmocka_unit_test(test_pause__a_primary_without_the_key_and_a_request),
        cmocka_unit_test(test_sync__a_standby_that_holds_the_key_gives_it_up),
        cmocka_unit_test(test_follow__tags),
        cmocka_unit_test(test_follow__a_change_that_takes_a_restart),
        cmocka_unit_test(test_slots__rows),
        cmocka_unit_test(test_names__of_what_is_not_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
