/* SPDX-License-Identifier: PostgreSQL */
/* Rows of agent/ha/bootstrap.c, join.c, restart.c, pause and the slots. */
#include "tests/unit/ha_support.h"

#include <stdio.h>

static int empty(void **state)
{
    struct w *w = w_raw(W_EMPTY);

    w->hold[HA_DCS_INITIALIZE] = true;
    w_begin(w);
    *state = w;
    return 0;
}

static void test_bootstrap__from_the_race_to_the_key(void **state)
{
    struct w *w = *state;

    assert_non_null(w_dcs(w, HA_DCS_INITIALIZE));
    assert_null(w_job(w, PM_JOB_BOOTSTRAP));
    w->view.initialize = DCS_INIT_BOOTSTRAPPING; /* the view is faster than the answer */
    w_view(w);
    w_reply(w, HA_DCS_INITIALIZE, HA_OK, w->now_ms);
    assert_non_null(w_job(w, PM_JOB_BOOTSTRAP));
    assert_non_null(w_why(w, HA_WHY_bootstrap));
    w_forget(w);
    w_initdb_ran(w);
    w_job_end(w, PM_JOB_BOOTSTRAP, PM_DONE);
    assert_non_null(w_job(w, PM_JOB_POST_BOOTSTRAP));
    assert_null(w_dcs(w, HA_DCS_TAKE));
    w_forget(w);
    w_job_end(w, PM_JOB_POST_BOOTSTRAP, PM_DONE);
    assert_non_null(w_dcs(w, HA_DCS_SET_SYSID));
    assert_false(w_dcs(w, HA_DCS_SET_SYSID)->u.dcs.create);
    assert_true(w_dcs(w, HA_DCS_SET_SYSID)->u.dcs.guarded);
    assert_non_null(w_dcs(w, HA_DCS_SET_CONFIG));
    assert_non_null(w_dcs(w, HA_DCS_TAKE));
    assert_true(ha_is_leader(&w->ha, w->now_ms));
    assert_non_null(w_why(w, HA_WHY_initialized));
    assert_string_equal(w_did(w, HA_DO_CALLBACK)->u.callback.action, "on_start");
}

/* Somebody else leads, or the cluster has another identity, before ours is finished: nothing of his
 * is taken or removed. */
static void test_bootstrap__overtaken_gives_up(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct w *w;

        /* its roles are being made, or itself */
        empty((void **)&w);
        w_reply(w, HA_DCS_INITIALIZE, HA_OK, w->now_ms);
        if (i != 2) {
            w_initdb_ran(w);
            w_job_end(w, PM_JOB_BOOTSTRAP, PM_DONE);
        }
        if (i != 1)
            w_leader(w, "n2");
        w->view.initialize = i == 1 ? DCS_INIT_SYSID : DCS_INIT_BOOTSTRAPPING;
        if (i == 1)
            memcpy(w->view.initialize_text, "7000000000000000009", 20);
        w_forget(w);
        w_view(w);
        assert_non_null(w_why(w, HA_WHY_bootstrap_overtaken));
        assert_null(w_dcs(w, HA_DCS_SET_SYSID));
        assert_null(w_dcs(w, HA_DCS_TAKE));
        assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.mode, PM_STOP_IMMEDIATE);
        w_server_down(w, PGV_STATE_STOPPED);
        w_job_end(w, PM_JOB_STOP, PM_DONE);
        assert_non_null(w_dcs(w, HA_DCS_CANCEL_INITIALIZE)); /* by its revision */
        assert_non_null(w_job(w, PM_JOB_MOVE_DATA_ASIDE));
        w_free(w);
    }
}

/* Its cluster is made, and published up to @op, which is not answered. */
static struct w *published_up_to(enum ha_dcs_op op)
{
    struct w *w;

    empty((void **)&w);
    w->view.initialize = DCS_INIT_BOOTSTRAPPING;
    w_view(w);
    w_reply(w, HA_DCS_INITIALIZE, HA_OK, w->now_ms);
    w_initdb_ran(w);
    w_job_end(w, PM_JOB_BOOTSTRAP, PM_DONE);
    w->hold[op] = true;
    w_job_end(w, PM_JOB_POST_BOOTSTRAP, PM_DONE);
    assert_non_null(w_dcs(w, op));
    return w;
}

/* The key was removed, and perhaps made by another node, while the view still shows ours: the store
 * says no to the identity, or to the leader key. */
static void test_bootstrap__refused_gives_up(void **state)
{
    static const enum ha_dcs_op refused[] = { HA_DCS_SET_SYSID, HA_DCS_TAKE };

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct w *w = published_up_to(refused[i]);

        w_forget(w);
        w_reply(w, refused[i], HA_REFUSED, w->now_ms);
        assert_non_null(w_why(w, HA_WHY_bootstrap_overtaken));
        assert_false(ha_is_leader(&w->ha, w->now_ms));
        assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.mode, PM_STOP_IMMEDIATE);
        assert_null(w_dcs(w, HA_DCS_CANCEL_INITIALIZE)); /* it still takes writes */
        w->dcs[HA_DCS_CANCEL_INITIALIZE] = HA_REFUSED;
        w_server_down(w, PGV_STATE_STOPPED);
        w_job_end(w, PM_JOB_STOP, PM_DONE);
        assert_non_null(w_dcs(w, HA_DCS_CANCEL_INITIALIZE));
        assert_non_null(w_job(w, PM_JOB_MOVE_DATA_ASIDE));
        w_free(w);
    }
}

/* All but the leader key stands, and that has been asked for. */
static struct w *asked_for_its_key(void)
{
    struct w *w = published_up_to(HA_DCS_TAKE);

    w->view.initialize = DCS_INIT_SYSID;
    memcpy(w->view.initialize_text, w->pg.sysid, sizeof(w->view.initialize_text));
    w->view.config_exists = w->view.config_valid = true;
    return w;
}

/* The key may be ours since it was asked for, and a member that has copied us may lead when its
 * lease has run out. */
static void test_bootstrap__fenced_when_the_key_may_have_run_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct w *w = asked_for_its_key();
        uint64_t asked_ms = w->now_ms, fence_ms = asked_ms + w->policy.ttl_ms - HA_DEMOTE_MARGIN_MS;

        for (int op = 0; op < HA_DCS_OPS; op++)
            w->hold[op] = op != HA_DCS_READ;
        w_forget(w);
        switch (i) {
        case 0: /* the answer is out */
            break;
        case 1: /* there is none */
            w_tick(w, w->policy.retry_timeout_ms);
            w_reply(w, HA_DCS_TAKE, HA_LOST, asked_ms);
            break;
        case 2: /* neither for what is asked after it */
            w_tick(w, w->policy.retry_timeout_ms);
            w_reply(w, HA_DCS_TAKE, HA_LOST, asked_ms);
            w_cycle(w);
            assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
            w_tick(w, w->policy.retry_timeout_ms);
            w_reply(w, HA_DCS_ACQUIRE, HA_LOST, w->now_ms);
            break;
        case 3: /* the agent was stopped, and hears of it too late */
            w->now_ms += w->policy.ttl_ms;
            w_reply(w, HA_DCS_TAKE, HA_LOST, asked_ms);
            break;
        }
        if (i != 3) {
            w_tick(w, fence_ms - 1 - w->now_ms);
            assert_null(w_job(w, PM_JOB_STOP));
            w_tick(w, 1);
        }
        assert_non_null(w_why(w, HA_WHY_lease_unproven));
        assert_true(w_job(w, PM_JOB_STOP)->u.job.demote);
        /* It is no cluster in the making any more: nothing is cleared away. */
        w_server_down(w, PGV_STATE_STOPPED);
        w_job_end(w, PM_JOB_STOP, PM_DONE);
        w_cycle(w);
        assert_null(w_dcs(w, HA_DCS_CANCEL_INITIALIZE));
        assert_null(w_job(w, PM_JOB_MOVE_DATA_ASIDE));
        w_free(w);
    }
}

/* The answer is lost and the view tells: led from there on, and what makes the cluster is not
 * written again over what people have changed. */
static void test_bootstrap__a_key_that_is_seen_to_be_ours_is_renewed(void **state)
{
    struct w *w = asked_for_its_key();

    (void)state;
    w->hold[HA_DCS_ACQUIRE] = true;
    w_forget(w);
    w_reply(w, HA_DCS_TAKE, HA_LOST, w->now_ms);
    assert_string_equal(w_did(w, HA_DO_CALLBACK)->u.callback.action, "on_start");
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
    w_reply(w, HA_DCS_ACQUIRE, HA_LOST, w->now_ms);
    assert_string_equal(w_status(w), "DCS is not accessible");
    w_leader(w, "n1");
    w_view(w);
    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_RENEW));
    assert_true(ha_is_leader(&w->ha, w->now_ms));
    assert_null(w_dcs(w, HA_DCS_SET_SYSID));
    assert_null(w_dcs(w, HA_DCS_SET_CONFIG));
    assert_int_equal(w_count(w, HA_DO_CALLBACK), 1);
    w_tick(w, w->policy.ttl_ms / 2);
    assert_null(w_job(w, PM_JOB_STOP));
    w_free(w);
}

/* People remove the key while the server is only being made: nobody waits until it is finished. An
 * old view, which does not show the key yet, says nothing. */
static void test_bootstrap__a_key_that_vanishes_ends_it(void **state)
{
    struct w *w = *state;

    w_reply(w, HA_DCS_INITIALIZE, HA_OK, w->now_ms);
    w_initdb_ran(w);
    w->pg.in_recovery = true;
    w->pg.role = PGV_ROLE_REPLICA;
    w_facts(w);
    w_job_end(w, PM_JOB_BOOTSTRAP, PM_DONE);
    assert_string_equal(w_status(w), "waiting for end of recovery after bootstrap");
    w->view.empty = false;
    w->view.initialize = DCS_INIT_BOOTSTRAPPING;
    w_view(w);
    w_cycle(w);
    assert_null(w_job(w, PM_JOB_STOP));
    w->view.initialize = DCS_INIT_ABSENT;
    w_view(w); /* and at once */
    assert_non_null(w_why(w, HA_WHY_bootstrap_overtaken));
    assert_non_null(w_job(w, PM_JOB_STOP));
}

/* The answer to the creation was lost: whose the empty key is knows the store alone. */
static void test_bootstrap__an_empty_key_that_may_be_ours_is_asked_for_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct w *w;

        empty((void **)&w);
        w->hold[HA_DCS_INITIALIZE] = true;
        w->view.empty = false;
        w->view.initialize = DCS_INIT_BOOTSTRAPPING;
        w_view(w);
        w_reply(w, HA_DCS_INITIALIZE, HA_LOST, w->now_ms);
        w_forget(w);
        w_cycle(w);
        assert_non_null(w_dcs(w, HA_DCS_INITIALIZE));
        w_reply(w, HA_DCS_INITIALIZE, i ? HA_REFUSED : HA_OK, w->now_ms);
        assert_true(!w_job(w, PM_JOB_BOOTSTRAP) == (i == 1));
        w_forget(w);
        w_cycle(w);
        assert_null(w_dcs(w, HA_DCS_INITIALIZE));
        w_free(w);
    }
}

/* A server that recovers a backup would come up as a standby, and wait for ever. */
static void test_restart__not_while_bootstrapping(void **state)
{
    struct w *w = *state;
    struct ha_request r = { .type = HA_REQ_RESTART, .id = 5 };

    w_reply(w, HA_DCS_INITIALIZE, HA_OK, w->now_ms);
    w_initdb_ran(w);
    w->pg.in_recovery = true;
    w->pg.role = PGV_ROLE_REPLICA;
    w_facts(w);
    w_job_end(w, PM_JOB_BOOTSTRAP, PM_DONE);
    assert_string_equal(w_status(w), "waiting for end of recovery after bootstrap");
    w_forget(w);
    w_request(w, &r);
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_BUSY);
    assert_string_equal(w_did(w, HA_DO_ANSWER)->text, "bootstrap");
    assert_null(w_job(w, PM_JOB_RESTART));
}

static void test_bootstrap__lost_race_waits(void **state)
{
    struct w *w = *state;

    w_reply(w, HA_DCS_INITIALIZE, HA_REFUSED, w->now_ms);
    assert_string_equal(w_status(w), "failed to acquire initialize lock");
    w->view.empty = false;
    w->view.initialize = DCS_INIT_BOOTSTRAPPING;
    w_view(w);
    assert_string_equal(w_status(w), "waiting for leader to bootstrap");
    assert_null(w_did(w, HA_DO_JOB));
}

static void test_bootstrap__unanswered_race_starts_nothing(void **state)
{
    struct w *w = *state;

    w_reply(w, HA_DCS_INITIALIZE, HA_LOST, w->now_ms);
    assert_null(w_did(w, HA_DO_JOB));
    assert_string_equal(w_status(w), "DCS is not accessible");
}

/* A bootstrap that has failed, and whose server has been stopped. */
static void bootstrap_fails(struct w *w)
{
    w->view.initialize = DCS_INIT_BOOTSTRAPPING;
    w_view(w);
    w_reply(w, HA_DCS_INITIALIZE, HA_OK, w->now_ms);
    w_initdb_ran(w);
    w_job_end(w, PM_JOB_BOOTSTRAP, PM_DONE);
    w_forget(w);
    w_job_end(w, PM_JOB_POST_BOOTSTRAP, PM_FAILED);
    assert_non_null(w_job(w, PM_JOB_STOP));
    assert_null(w_dcs(w, HA_DCS_CANCEL_INITIALIZE)); /* it still takes writes */
    w_server_down(w, PGV_STATE_STOPPED);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_non_null(w_dcs(w, HA_DCS_CANCEL_INITIALIZE));
}

static void test_bootstrap__failed_cleans_up_and_ends(void **state)
{
    struct w *w = *state;

    bootstrap_fails(w);
    assert_non_null(w_job(w, PM_JOB_MOVE_DATA_ASIDE));
    assert_null(w_dcs(w, HA_DCS_TAKE));
    w_job_end(w, PM_JOB_MOVE_DATA_ASIDE, PM_DONE);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    w_tick(w, 500);
    assert_non_null(w_did(w, HA_DO_EXIT));
    assert_int_equal(w_did(w, HA_DO_EXIT)->u.exit_status, 1);
}

/* The removal was not answered: it is asked for again, by revision, so that nobody else's goes. */
static void test_bootstrap__failed_removes_its_key(void **state)
{
    struct w *w = *state;

    w->hold[HA_DCS_CANCEL_INITIALIZE] = true;
    bootstrap_fails(w);
    w->view.initialize = DCS_INIT_ABSENT;
    w_view(w);
    w_reply(w, HA_DCS_CANCEL_INITIALIZE, HA_LOST, w->now_ms);
    w_forget(w);
    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_CANCEL_INITIALIZE));
    assert_null(w_job(w, PM_JOB_MOVE_DATA_ASIDE));
    w_reply(w, HA_DCS_CANCEL_INITIALIZE, HA_REFUSED, w->now_ms);
    assert_non_null(w_job(w, PM_JOB_MOVE_DATA_ASIDE));
}

static void test_bootstrap__nofailover_and_configless_nodes_wait(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct w *w = w_raw(W_EMPTY);

        w->policy.tags.nofailover = i == 0;
        w->policy.can_bootstrap = i == 0;
        w_begin(w);
        assert_null(w_dcs(w, HA_DCS_INITIALIZE));
        assert_string_equal(w_status(w), "waiting for leader to bootstrap");
        w_free(w);
    }
}

static struct w *empty_in_cluster(void)
{
    struct w *w = w_raw(W_REPLICA);
    struct dcs_cluster view = w->view;

    w_free(w);
    w = w_raw(W_EMPTY);
    w->view = view;
    w_begin(w);
    return w;
}

static void test_clone__from_leader_then_start(void **state)
{
    struct w *w = empty_in_cluster();

    (void)state;
    assert_string_equal(w_job(w, PM_JOB_CLONE)->u.job.node.name, "n2");
    assert_string_equal(w_status(w), "trying to bootstrap from leader 'n2'");
    w_forget(w);
    w->pg.dir = PM_DIR_OK;
    w->pg.role = PGV_ROLE_REPLICA;
    w->pg.control_state = PM_CONTROL_IN_PRODUCTION; /* a copy looks like this */
    w->pg.major_version = 140000;
    memcpy(w->pg.sysid, "7000000000000000001", 20);
    w_facts(w);
    w_job_end(w, PM_JOB_CLONE, PM_DONE);
    assert_non_null(w_job(w, PM_JOB_START));
    assert_null(w_job(w, PM_JOB_CRASH_RECOVERY));
    assert_string_equal(w_job(w, PM_JOB_START)->u.job.node.name, "n2");
    w_free(w);
}

static void test_clone__prefers_a_running_member_that_offers_itself(void **state)
{
    struct w *w;

    (void)state;
    w = w_raw(W_REPLICA);
    struct dcs_cluster view = w->view;
    w_free(w);
    w = w_raw(W_EMPTY);
    w->view = view;
    w->view.members[2].tags.clonefrom = true;
    w_begin(w);
    assert_string_equal(w_job(w, PM_JOB_CLONE)->u.job.node.name, "n3");
    assert_string_equal(w_status(w), "trying to bootstrap from replica 'n3'");
    w_free(w);
}

static void test_clone__failed_is_cleared_away_and_tried_by_the_next_cycle(void **state)
{
    struct w *w = empty_in_cluster();

    (void)state;
    w_forget(w);
    w_job_end(w, PM_JOB_CLONE, PM_FAILED);
    assert_non_null(w_job(w, PM_JOB_REMOVE_DATA));
    w_forget(w);
    w_job_end(w, PM_JOB_REMOVE_DATA, PM_DONE);
    assert_null(w_job(w, PM_JOB_CLONE));
    w_cycle(w);
    assert_non_null(w_job(w, PM_JOB_CLONE));
    w_free(w);
}

static void test_join__foreign_system_identifier_is_fatal(void **state)
{
    struct w *w = w_raw(W_REPLICA);

    (void)state;
    memcpy(w->view.initialize_text, "7999999999999999999", 20);
    w_begin(w);
    assert_non_null(w_why(w, HA_WHY_sysid_mismatch));
    assert_non_null(w_job(w, PM_JOB_STOP));
    w->pg.alive = false;
    w_facts(w);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_int_equal(w_did(w, HA_DO_EXIT)->u.exit_status, 1);
    w_free(w);
}

static void test_join__replica_does_not_claim_an_empty_store(void **state)
{
    struct w *w = w_raw(W_REPLICA);

    (void)state;
    memset(&w->view, 0, sizeof(w->view));
    w->view.empty = true;
    w_begin(w);
    assert_non_null(w_why(w, HA_WHY_no_initialize_replica));
    assert_null(w_job(w, PM_JOB_STOP)); /* PostgreSQL is left running */
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_int_equal(w_did(w, HA_DO_EXIT)->u.exit_status, 1);
    w_free(w);
}

static void test_join__primary_claims_an_empty_store(void **state)
{
    struct w *w = w_raw(W_LEADER);

    (void)state;
    memset(&w->view, 0, sizeof(w->view));
    w->view.empty = true;
    w_begin(w);
    assert_true(w_dcs(w, HA_DCS_SET_SYSID)->u.dcs.create);
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_true(ha_is_leader(&w->ha, w->now_ms));
    w_free(w);
}

static void test_join__garbage_in_the_store_is_not_absence(void **state)
{
    struct w *w = w_raw(W_LEADER);

    (void)state;
    w_leader(w, NULL);
    w->view.initialize = DCS_INIT_GARBAGE;
    w_begin(w);
    /* nobody claims the cluster by it; only the holder of the key repairs it */
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_true(w_dcs(w, HA_DCS_SET_SYSID) > w_dcs(w, HA_DCS_ACQUIRE));
    assert_false(w_dcs(w, HA_DCS_SET_SYSID)->u.dcs.create);
    w_free(w);
}

static struct w *unfinished(bool alive)
{
    struct w *w = w_raw(W_EMPTY);

    w->pg.dir = PM_DIR_UNFINISHED;
    w->pg.alive = w->pg.look_ok = alive;
    w->pg.state = alive ? PGV_STATE_RUNNING : PGV_STATE_STOPPED;
    w->hold[HA_DCS_INITIALIZE] = true;
    return w;
}

/* What a killed agent has left of its bootstrap: neither served nor claimed, and the next one waits
 * for nobody. */
static void test_unfinished__is_cleared_away_and_begun_anew(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct w *w = unfinished(i == 0);

        w->view.initialize = DCS_INIT_BOOTSTRAPPING;
        w_begin(w);
        if (i == 0) {
            assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.mode, PM_STOP_IMMEDIATE);
            assert_null(w_dcs(w, HA_DCS_CANCEL_INITIALIZE)); /* not while it takes writes */
            w_server_down(w, PGV_STATE_STOPPED);
            w_job_end(w, PM_JOB_STOP, PM_DONE);
        }
        assert_non_null(w_dcs(w, HA_DCS_CANCEL_INITIALIZE));
        assert_non_null(w_job(w, PM_JOB_MOVE_DATA_ASIDE));
        assert_null(w_dcs(w, HA_DCS_ACQUIRE));
        assert_null(w_dcs(w, HA_DCS_SET_SYSID));
        w_forget(w);
        w->view.initialize = DCS_INIT_ABSENT;
        w_view(w);
        w->pg.dir = PM_DIR_EMPTY;
        w_facts(w);
        w_job_end(w, PM_JOB_MOVE_DATA_ASIDE, PM_DONE);
        assert_false(w->ha.shutdown.asked);
        assert_non_null(w_dcs(w, HA_DCS_INITIALIZE));
        w_reply(w, HA_DCS_INITIALIZE, HA_OK, w->now_ms);
        w_forget(w);
        w_initdb_ran(w);
        w_job_end(w, PM_JOB_BOOTSTRAP, PM_DONE);
        w_job_end(w, PM_JOB_POST_BOOTSTRAP, PM_DONE);
        assert_non_null(w_dcs(w, HA_DCS_TAKE));
        w_free(w);
    }
}

static void test_unfinished__waits_for_people_or_joins_the_others(void **state)
{
    struct w *w = unfinished(false);

    (void)state;
    w->policy.paused = true;
    w_begin(w);
    assert_null(w_job(w, PM_JOB_MOVE_DATA_ASIDE));
    assert_non_null(w_why(w, HA_WHY_paused_empty));
    w_free(w);

    w = unfinished(false);
    w->view.initialize = DCS_INIT_SYSID;
    memcpy(w->view.initialize_text, "7000000000000000009", 20);
    w_leader(w, "n2");
    w_begin(w);
    assert_non_null(w_job(w, PM_JOB_CLONE)); /* which clears the directory */
    assert_null(w_dcs(w, HA_DCS_CANCEL_INITIALIZE));
    w_free(w);
}

static void test_data_dir_gone__leader_gives_the_key_up(void **state)
{
    struct w *w = *state;

    w->pg.alive = false;
    w->pg.dir = PM_DIR_EMPTY;
    w->pg.state = PGV_STATE_CRASHED;
    w_facts(w);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    assert_non_null(w_why(w, HA_WHY_released_empty));
}

static void test_restart__rows(void **state)
{
    struct {
        struct ha_request r;
        bool pending, busy;
        enum ha_answer answer;
        bool runs;
    } rows[] = {
        { { .type = HA_REQ_RESTART, .id = 1 }, false, false, HA_ANSWER_DONE, true },
        { { .type = HA_REQ_RESTART, .id = 1, .has_role = true, .role = PGV_ROLE_PRIMARY },
          false,
          false,
          HA_ANSWER_CONDITIONS,
          false },
        { { .type = HA_REQ_RESTART, .id = 1, .pg_version_below = 150008 },
          false,
          false,
          HA_ANSWER_CONDITIONS,
          false },
        { { .type = HA_REQ_RESTART, .id = 1, .pg_version_below = 150009 },
          false,
          false,
          HA_ANSWER_DONE,
          true },
        { { .type = HA_REQ_RESTART, .id = 1, .restart_pending = true },
          false,
          false,
          HA_ANSWER_CONDITIONS,
          false },
        { { .type = HA_REQ_RESTART, .id = 1, .restart_pending = true },
          true,
          false,
          HA_ANSWER_DONE,
          true },
        { { .type = HA_REQ_RESTART, .id = 1 }, false, true, HA_ANSWER_BUSY, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct w *w = w_new(W_REPLICA);

        w->pg.pending_restart = rows[i].pending;
        w_facts(w);
        w_forget(w);
        if (rows[i].busy) {
            struct ha_request other = { .type = HA_REQ_REINITIALIZE, .id = 5 };
            w_request(w, &other);
            w_forget(w);
        }
        w_request(w, &rows[i].r);
        assert_int_equal(w_job(w, PM_JOB_RESTART) != NULL, rows[i].runs);
        if (rows[i].runs)
            w_job_end(w, PM_JOB_RESTART, PM_DONE);
        assert_non_null(w_did(w, HA_DO_ANSWER));
        assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, rows[i].answer);
        assert_int_equal(w_count(w, HA_DO_ANSWER), 1);
        w_free(w);
    }
}

static void test_scheduled_restart__life(void **state)
{
    struct w *w = *state;
    struct ha_request r = { .type = HA_REQ_SCHEDULE_RESTART, .id = 1 };
    struct ha_request del = { .type = HA_REQ_DELETE_RESTART, .id = 3 };

    r.schedule_wall_us = w->wall_us + 12000000;
    w->pg.start_time_wall_us = 1600000000000000;
    w_facts(w);
    w_request(w, &r);
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_DONE);
    w_forget(w);
    r.id = 2;
    w_request(w, &r);
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_EXISTS);
    w_forget(w);
    for (int i = 0; i < 50 && !w_job(w, PM_JOB_RESTART); i++)
        w_tick(w, w->wake_ms > w->now_ms ? w->wake_ms - w->now_ms : 1);
    assert_non_null(w_job(w, PM_JOB_RESTART));
    assert_in_range(w->wall_us, r.schedule_wall_us, r.schedule_wall_us + 20000);
    w_job_end(w, PM_JOB_RESTART, PM_DONE);
    w_forget(w);
    w_request(w, &del);
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_NONE);
}

static void test_scheduled_restart__a_restart_meanwhile_cancels_it(void **state)
{
    struct w *w = *state;
    struct ha_request r = { .type = HA_REQ_SCHEDULE_RESTART, .id = 1 };

    r.schedule_wall_us = w->wall_us + 3000000;
    w->pg.start_time_wall_us = 1600000000000000;
    w_facts(w);
    w_request(w, &r);
    w->pg.start_time_wall_us += 1;
    w_facts(w);
    for (int i = 0; i < 10; i++)
        w_tick(w, 1000);
    assert_null(w_job(w, PM_JOB_RESTART));
    assert_non_null(w_why(w, HA_WHY_restart_happened));
}

static void test_reinitialize__rows(void **state)
{
    struct w *w = *state;
    struct ha_request r = { .type = HA_REQ_REINITIALIZE, .id = 1, .from_leader = true };

    w_request(w, &r);
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_DONE);
    assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.mode, PM_STOP_IMMEDIATE);
    w_forget(w);
    w_request(w, &r);
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_BUSY);
    assert_string_equal(w_did(w, HA_DO_ANSWER)->text, "reinitialize");
    w_forget(w);
    w_server_down(w, PGV_STATE_STOPPED);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_non_null(w_job(w, PM_JOB_CLONE));
    assert_true(w_job(w, PM_JOB_CLONE)->u.job.from_leader);
    assert_string_equal(w_job(w, PM_JOB_CLONE)->u.job.node.name, "n2");
    assert_null(w_job(w, PM_JOB_START));
}

static void test_reinitialize__leader_and_leaderless_refuse(void **state)
{
    struct w *w = *state;
    struct ha_request r = { .type = HA_REQ_REINITIALIZE, .id = 1, .force = true };

    w_request(w, &r);
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_I_LEAD);
    assert_null(w_did(w, HA_DO_JOB));
    w_free(w);
    w = *state = w_new(W_UNLOCKED_REPLICA);
    w->policy.paused = true;
    w_policy(w);
    w_view(w);
    w_forget(w);
    w_request(w, &r);
    assert_int_equal(w_did(w, HA_DO_ANSWER)->u.answer.answer, HA_ANSWER_NO_LEADER);
}

static void test_pause__dead_leader_gives_the_key_up_and_starts_nothing(void **state)
{
    struct w *w = *state;

    w->policy.paused = true;
    w_policy(w);
    w_forget(w);
    w_server_down(w, PGV_STATE_CRASHED);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    assert_string_equal(w_status(w), "removed leader lock because postgres is not running");
    w_forget(w);
    w_leader(w, NULL);
    w_view(w);
    w_cycle(w);
    assert_null(w_did(w, HA_DO_JOB));
    assert_string_equal(w_status(w), "postgres is not running");
}

static void test_pause__store_lost_changes_nothing(void **state)
{
    struct w *w = *state;

    w->policy.paused = true;
    w_policy(w);
    w->dcs[HA_DCS_READ] = w->dcs[HA_DCS_RENEW] = HA_LOST;
    w->live = false;
    w_view(w);
    w_forget(w);
    for (int i = 0; i < 100; i++) {
        w_tick(w, 1000);
        assert_null(w_did(w, HA_DO_JOB));
        w_forget(w);
    }
}

static void test_pause__primary_without_lock_runs_on(void **state)
{
    struct w *w = *state;

    w->policy.paused = true;
    w_policy(w);
    w_leader(w, "n3");
    w_view(w);
    assert_null(w_did(w, HA_DO_JOB));
    assert_string_equal(w_status(w), "continue to run as primary without lock");
}

/* dcs contract §16.2, the column with member_slots_ttl 1800 and the one with 0. */
static void test_slots__vectors(void **state)
{
    static const struct {
        const char *name, *from;
        uint64_t lsn, status;
        bool nofailover, nostream;
    } members[] = {
        { "a", "", 1000, 1000, false, false }, { "b", "", 900, 890, false, false },
        { "c", "b", 800, 500, false, false },  { "d", "", 700, 690, true, false },
        { "e", "", 600, 0, false, true },
    };
    static const struct {
        const char *node;
        enum pgv_role role;
        uint64_t ttl_ms;
        const char *want; /* name lsn active */
    } rows[] = {
        { "a", PGV_ROLE_PRIMARY, 1800000, "b 890 1,c 800 0,d 690 1,gone 0 -1" },
        { "a", PGV_ROLE_PRIMARY, 0, "b 890 1,d 690 1,c 0 -1,gone 0 -1" },
        { "b", PGV_ROLE_REPLICA, 1800000, "a 1000 0,c 800 1,d 690 0,gone 0 -1" },
        { "b", PGV_ROLE_REPLICA, 0, "c 800 1,a 0 -1,d 0 -1,gone 0 -1" },
        { "c", PGV_ROLE_REPLICA, 1800000, "a 1000 0,b 890 0,d 690 0,gone 0 -1" },
        { "d", PGV_ROLE_REPLICA, 1800000, "" },
        { "d", PGV_ROLE_REPLICA, 0, "" },
        { "e", PGV_ROLE_REPLICA, 1800000, "a 1000 0,b 890 0,c 800 0,d 690 0,gone 0 -1" },
    };
    static struct dcs_cluster c;
    struct postmaster_slot slots[16];

    (void)state;
    memset(&c, 0, sizeof(c));
    c.n_members = 5;
    for (unsigned i = 0; i < 5; i++) {
        struct dcs_member *m = &c.members[i];
        ha_copy_name(m->name, members[i].name);
        ha_copy_name(m->tags.replicatefrom, members[i].from);
        m->tags.nofailover = members[i].nofailover;
        m->tags.nostream = members[i].nostream;
        m->xlog_location = members[i].lsn;
        m->agent_version = 40105;
        if (members[i].status) {
            memcpy(c.status_slots[c.n_status_slots].name, members[i].name, 2);
            c.status_slots[c.n_status_slots++].lsn = members[i].status;
        }
    }
    c.has_leader = true;
    ha_copy_name(c.leader, "a");
    for (unsigned i = 0; i < 4; i++)
        memcpy(c.retain_slots[i], members[i].name, 2);
    memcpy(c.retain_slots[4], "gone", 5);
    c.n_retain_slots = 5;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ha_policy p = { 0 };
        char got[2048] = "";
        unsigned n;

        ha_copy_name(p.name, rows[i].node);
        p.use_slots = true;
        p.member_slots_ttl_ms = rows[i].ttl_ms;
        p.tags.nofailover = rows[i].node[0] == 'd';
        p.tags.nostream = rows[i].node[0] == 'e';
        n = ha_wanted_slots(&c, &p, rows[i].role, 150000, slots, 16);
        for (unsigned k = 0; k < n; k++)
            snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%.63s %llu %d", k ? "," : "",
                     slots[k].name, (unsigned long long)slots[k].lsn, slots[k].expected_active);
        assert_string_equal(got, rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define EMPTY(t) cmocka_unit_test_setup_teardown(t, empty, w_teardown)
#define LEADER(t) cmocka_unit_test_setup_teardown(t, w_setup_leader, w_teardown)
#define REPLICA(t) cmocka_unit_test_setup_teardown(t, w_setup_replica, w_teardown)
        EMPTY(test_bootstrap__from_the_race_to_the_key),
        EMPTY(test_bootstrap__lost_race_waits),
        EMPTY(test_bootstrap__unanswered_race_starts_nothing),
        EMPTY(test_bootstrap__failed_cleans_up_and_ends),
        cmocka_unit_test(test_bootstrap__overtaken_gives_up),
        cmocka_unit_test(test_bootstrap__refused_gives_up),
        cmocka_unit_test(test_bootstrap__an_empty_key_that_may_be_ours_is_asked_for_again),
        cmocka_unit_test(test_bootstrap__fenced_when_the_key_may_have_run_out),
        cmocka_unit_test(test_bootstrap__a_key_that_is_seen_to_be_ours_is_renewed),
        EMPTY(test_bootstrap__a_key_that_vanishes_ends_it),
        EMPTY(test_restart__not_while_bootstrapping),
        EMPTY(test_bootstrap__failed_removes_its_key),
        cmocka_unit_test(test_bootstrap__nofailover_and_configless_nodes_wait),
        cmocka_unit_test(test_clone__from_leader_then_start),
        cmocka_unit_test(test_clone__prefers_a_running_member_that_offers_itself),
        cmocka_unit_test(test_clone__failed_is_cleared_away_and_tried_by_the_next_cycle),
        cmocka_unit_test(test_join__foreign_system_identifier_is_fatal),
        cmocka_unit_test(test_join__replica_does_not_claim_an_empty_store),
        cmocka_unit_test(test_join__primary_claims_an_empty_store),
        cmocka_unit_test(test_join__garbage_in_the_store_is_not_absence),
        cmocka_unit_test(test_unfinished__is_cleared_away_and_begun_anew),
        cmocka_unit_test(test_unfinished__waits_for_people_or_joins_the_others),
        LEADER(test_data_dir_gone__leader_gives_the_key_up),
        cmocka_unit_test(test_restart__rows),
        LEADER(test_scheduled_restart__life),
        LEADER(test_scheduled_restart__a_restart_meanwhile_cancels_it),
        REPLICA(test_reinitialize__rows),
        LEADER(test_reinitialize__leader_and_leaderless_refuse),
        LEADER(test_pause__dead_leader_gives_the_key_up_and_starts_nothing),
        LEADER(test_pause__store_lost_changes_nothing),
        LEADER(test_pause__primary_without_lock_runs_on),
        cmocka_unit_test(test_slots__vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
