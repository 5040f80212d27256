/* SPDX-License-Identifier: PostgreSQL */
/* Rows of agent/ha/explain.c: each rule tells what it saw, and agrees with what the brain does. */
#include "agent/ha/explain.h"
#include "tests/unit/ha_support.h"

static struct ha_explanation x; /* large */

static const struct ha_rule *find(const struct ha_rules *r, const char *name)
{
    for (unsigned i = 0; i < r->n; i++)
        if (strcmp(r->v[i].name, name) == 0)
            return &r->v[i];
    return NULL;
}

static const struct ha_explanation *explain(struct w *w)
{
    ha_explain(&w->ha, w->now_ms, &x);
    return &x;
}

#define SAYS(rule, part)                                                                           \
    do {                                                                                           \
        const struct ha_rule *said_ = (rule);                                                      \
        assert_non_null(said_);                                                                    \
        if (said_ && !strstr(said_->text, part))                                                   \
            fail_msg("'%s' does not say '%s'", said_->text, part);                                 \
    } while (0)

static void test_ha_explain__leader(void **state)
{
    struct w *w = *state;

    explain(w);
    assert_true(x.leader);
    assert_non_null(strstr(x.leadership, "it is the leader"));
    assert_int_equal(x.promotion.n_fail, 0);
}

/* The very moment the lease ends it is not the leader, though the key still names it. */
static void test_ha_explain__lease_that_ended(void **state)
{
    struct w *w = *state;

    ha_explain(&w->ha, w->ha.lease_until_ms - 1, &x);
    assert_true(x.leader);
    ha_explain(&w->ha, w->ha.lease_until_ms, &x);
    assert_false(x.leader);
    assert_non_null(strstr(x.leadership, "no renewal has proven its lease"));
}

static void test_ha_explain__replica_is_kept_from_it_by_the_key_alone(void **state)
{
    struct w *w = *state;

    explain(w);
    assert_false(x.leader);
    assert_non_null(strstr(x.leadership, "holds the leader key"));
    assert_int_equal(x.promotion.n_fail, 1);
    assert_int_equal(find(&x.promotion, "leader_key")->verdict, HA_RULE_FAIL);
}

static void test_ha_explain__each_rule_that_fails(void **state)
{
    struct w *w = *state;
    struct ha *ha = &w->ha;
    const struct ha_rule *r;

    ha->view.has_leader = false;
    explain(w);
    assert_int_equal(x.promotion.n_fail, 0);

    ha->view.status_optime = ha->pg.wal_lsn + ha->policy.maximum_lag_bytes;
    assert_int_equal(find(&explain(w)->promotion, "lag")->verdict, HA_RULE_PASS);
    ha->view.status_optime++;
    assert_int_equal(find(&explain(w)->promotion, "lag")->verdict, HA_RULE_FAIL);
    ha->view.status_optime = 0;

    ha->policy.check_timeline = true;
    ha->pg.timeline = 3;
    ha->view.history_timeline = 3;
    assert_int_equal(find(&explain(w)->promotion, "timeline")->verdict, HA_RULE_PASS);
    ha->view.history_timeline = 4;
    r = find(&explain(w)->promotion, "timeline");
    assert_int_equal(r->verdict, HA_RULE_FAIL);
    SAYS(r, "timeline 3, the cluster's is 4");
    ha->policy.check_timeline = false;

    ha->policy.tags.nofailover = true;
    assert_int_equal(find(&explain(w)->promotion, "nofailover")->verdict, HA_RULE_FAIL);
    ha->policy.tags.nofailover = false;
    ha->pg.look_ok = false;
    assert_int_equal(find(&explain(w)->promotion, "reachable")->verdict, HA_RULE_FAIL);
    ha->pg.look_ok = true;
    ha->policy.paused = true;
    assert_int_equal(find(&explain(w)->promotion, "pause")->verdict, HA_RULE_FAIL);
    ha->policy.paused = false;
    ha->dcs_lost = true;
    assert_int_equal(find(&explain(w)->promotion, "store")->verdict, HA_RULE_FAIL);
    ha->dcs_lost = false;
    assert_int_equal(explain(w)->promotion.n_fail, 0);
}

/* What the race decides and what is explained are the same. */
static void test_ha_explain__a_peer_that_is_ahead(void **state)
{
    struct w *w = *state;
    const struct ha_rule *r = NULL;

    w_peer(w, "n3", w->pg.wal_lsn + 1);
    w_view(w);
    assert_non_null(w_why(w, HA_WHY_peer_ahead));
    explain(w);
    assert_non_null(strstr(x.leadership, "the leader key is free"));
    for (unsigned i = 0; i < x.promotion.n; i++)
        if (x.promotion.v[i].verdict == HA_RULE_FAIL)
            r = &x.promotion.v[i];
    SAYS(r, "n3 is ahead");
    assert_int_equal(x.promotion.n_fail, 1);
}

/* Small and the same everywhere. */
static bool one_in(uint64_t *seed, unsigned n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % n == 0;
}

static void vary_peer(struct w *w, uint64_t *seed, const char *name)
{
    struct ha_peer *p = w_peer(w, name, w->pg.wal_lsn - 100);

    if (one_in(seed, 6))
        p->position += one_in(seed, 2) ? 108 : 100;
    p->failover_priority += one_in(seed, 2);
    p->nofailover = one_in(seed, 6);
    p->in_recovery = !one_in(seed, 12);
    p->reachable = !one_in(seed, 3);
}

static void vary(struct w *w, uint64_t *seed)
{
    static const char *const who[] = { NULL, "n1", "n2", "n3", "nobody" };
    bool former = !one_in(seed, 4);

    w->policy.paused = one_in(seed, 6);
    w->policy.tags.nofailover = one_in(seed, 10);
    w->policy.check_timeline = one_in(seed, 2);
    w->policy.sync_requested = one_in(seed, 20);
    w->policy.failsafe_mode = one_in(seed, 4);
    w->policy.primary_race_backoff_ms = one_in(seed, 8) ? 20000 : 0;
    w->pg.look_ok = !one_in(seed, 12);
    w->pg.timeline = one_in(seed, 12) ? 0 : 1;
    w->view.history_timeline += one_in(seed, 6);
    if (one_in(seed, 6))
        w->view.status_optime = w->pg.wal_lsn + w->policy.maximum_lag_bytes + one_in(seed, 2);
    if (one_in(seed, 3)) {
        w->view.n_failsafe = 1;
        ha_copy_name(w->view.failsafe[0].name, one_in(seed, 2) ? "n1" : "n2");
    }
    if (one_in(seed, 3)) {
        w_failover(w,
                   one_in(seed, 2)   ? "n2"
                   : one_in(seed, 2) ? "n1"
                                     : NULL,
                   who[1 + one_in(seed, 2) + one_in(seed, 2) + one_in(seed, 3)]);
        if (one_in(seed, 3))
            w->view.failover.candidate[0] = '\0';
        w->view.failover.present = w->view.failover.leader[0] || w->view.failover.candidate[0];
    }
    if (!former)
        w->ha.have_last_led = false;
    if (one_in(seed, 10))
        w->ha.pre_promote_failed_ms = w->now_ms;
    vary_peer(w, seed, "n2");
    if (!one_in(seed, 3))
        vary_peer(w, seed, "n3");
}

/* In every world: told to be promoted now is who would be, and nobody else. */
static void test_ha_explain__agrees_with_the_race(void **state)
{
    unsigned n[2] = { 0, 0 };

    (void)state;
    for (unsigned i = 1; i <= 5000; i++) {
        struct w *w = w_new(W_UNLOCKED_REPLICA);
        uint64_t seed = i;
        bool wins;

        vary(w, &seed);
        w->hold[HA_DCS_ACQUIRE] = true; /* the world at the moment of the decision */
        w_policy(w);
        w_facts(w);
        w_forget(w);
        w_view(w);
        wins = w_dcs(w, HA_DCS_ACQUIRE) != NULL;
        explain(w);
        if (wins != (x.promotion.n_fail == 0)) {
            for (unsigned k = 0; k < x.promotion.n; k++)
                print_message("%d %s: %s\n", (int)x.promotion.v[k].verdict, x.promotion.v[k].name,
                              x.promotion.v[k].text);
            fail_msg("seed %u: the brain %s (%s)", i, wins ? "promotes" : "does not promote",
                     w->ha.status);
        }
        n[wins]++;
        w_free(w);
    }
    assert_true(n[0] > 500 && n[1] > 500);
}

static void test_ha_explain__switchover(void **state)
{
    struct w *w = *state;
    struct ha *ha = &w->ha;

    ha->view.status_optime = 0;
    for (unsigned i = 0; i < ha->view.n_members; i++) {
        ha->view.members[i].state = PGV_STATE_RUNNING;
        assert_true(pgv_copyz(ha->view.members[i].api_url, PGV_URL_BYTES, "http://h:8008/patroni"));
    }
    explain(w);
    assert_int_equal(x.switchover.n_fail, 0);
    assert_int_equal(find(&x.switchover, "candidates")->verdict, HA_RULE_PASS);
    for (unsigned i = 0; i < ha->view.n_members; i++)
        ha->view.members[i].tags.nofailover = true;
    explain(w);
    assert_int_equal(find(&x.switchover, "candidates")->verdict, HA_RULE_FAIL);
    SAYS(find(&x.switchover, "candidate"), "nofailover");
    ha->view.failover.present = true;
    assert_int_equal(find(&explain(w)->switchover, "failover_key")->verdict, HA_RULE_FAIL);
    ha->view.has_leader = false;
    assert_int_equal(find(&explain(w)->switchover, "leader")->verdict, HA_RULE_FAIL);
}

/* Before the first events, before the first read, and on the way down. */
static void test_ha_explain__an_agent_that_knows_little_or_steps_down(void **state)
{
    struct w *w = w_raw(W_REPLICA);
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };

    (void)state;
    explain(w);
    assert_non_null(strstr(x.leadership, "still starting"));
    SAYS(find(&x.promotion, "configuration"), "not known yet");
    SAYS(find(&x.promotion, "store"), "was never read");
    w_policy(w);
    explain(w);
    assert_non_null(strstr(x.leadership, "still starting"));
    w_facts(w);
    explain(w);
    assert_non_null(strstr(x.leadership, "was never read"));
    w_free(w);

    w = w_new(W_LEADER);
    w_event(w, &ev);
    w_tick(w, 60000); /* the stop hangs, and no renewal is answered any more */
    w->ha.lease_until_ms = 0;
    explain(w);
    assert_non_null(strstr(x.leadership, "stepping down"));
    w->ha.dcs_lost = true;
    w->ha.demotion.active = false;
    w_leader(w, "n2");
    w->ha.view = w->view;
    explain(w);
    assert_non_null(strstr(x.leadership, "as far as known"));
    SAYS(find(&x.switchover, "store"), "does not answer");
    SAYS(find(&x.promotion, "store"), "does not answer");
    w_free(w);
}

static void test_ha_explain__requests_in_a_pause(void **state)
{
    struct w *w = w_new(W_LEADER);

    (void)state;
    w->policy.paused = true;
    w_policy(w);
    w_leader(w, NULL);
    w_failover(w, NULL, "n2");
    w->ha.view = w->view;
    explain(w);
    SAYS(find(&x.promotion, "failover_key"), "does not name it");
    w_failover(w, NULL, "gone");
    w->ha.view = w->view;
    explain(w);
    assert_null(find(&x.promotion, "failover_key")); /* removed, and as if there had been none */
    w_free(w);

    w = w_new(W_REPLICA);
    w->policy.tags.nofailover = true; /* a pause's request does not go first for it */
    w->policy.paused = true;
    w_policy(w);
    w_leader(w, NULL);
    w_failover(w, NULL, "n2");
    w->ha.view = w->view;
    explain(w);
    assert_null(find(&x.promotion, "failover_key"));
    SAYS(find(&x.promotion, "nofailover"), "is set");
    w_free(w);
}

/* The mode is not managed yet, its key is told all the same. */
static void test_ha_explain__not_in_the_sync_key(void **state)
{
    static const char *const voters[] = { "n3", "N1" };

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct w *w = w_new(W_REPLICA);

        w->policy.sync_requested = true;
        w_policy(w);
        w_leader(w, NULL);
        w->view.sync.exists = true;
        ha_copy_name(w->view.sync.leader, i == 2 ? "n1" : "n2");
        w->view.sync.n = 1;
        ha_copy_name(w->view.sync.voters[0], voters[i % 2]);
        w->ha.view = w->view;
        explain(w);
        assert_int_equal(find(&x.promotion, "synchronous") != NULL, i == 0);
        SAYS(find(&x.promotion, "synchronous_mode"), "does not manage");
        w_failover(w, NULL, "n1"); /* asked for by name */
        w->ha.view = w->view;
        explain(w);
        assert_null(find(&x.promotion, "synchronous"));
        w_failover(w, "n2", "n1");
        w->ha.view = w->view;
        explain(w);
        assert_int_equal(find(&x.promotion, "synchronous") != NULL, i == 0);
        w_free(w);
    }
}

static void test_ha_explain__worst_case_follows_from_the_configuration(void **state)
{
    struct w *w = *state;

    w->ha.policy.ttl_ms = 30000;
    w->ha.policy.loop_wait_ms = 10000;
    w->ha.policy.retry_timeout_ms = 10000;
    w->ha.policy.primary_race_backoff_ms = 7000;
    w->ha.policy.primary_start_timeout_ms = 300000;
    explain(w);
    assert_int_equal(x.failover_worst_ms, 57000);
    assert_non_null(strstr(x.failover, "ttl 30 s"));
    assert_int_equal(x.crash_worst_ms, 320000);
    assert_non_null(strstr(x.crash, "primary_start_timeout 300 s"));
    w->ha.policy.primary_start_timeout_ms = 0;
    explain(w);
    assert_int_equal(x.crash_worst_ms, 20000);
}

/* As the race does: held back while the WAL moves, and at least for a cycle. */
static void test_ha_explain__race_backoff_ends_with_the_movement(void **state)
{
    struct w *w = *state;

    w->ha.policy.loop_wait_ms = 10000;
    w->ha.policy.primary_race_backoff_ms = 40000;
    w->ha.race_backoff_since_ms = w->now_ms - 20000;
    w->ha.pg.look_ok = w->ha.pg.in_recovery = w->ha.pg.streaming = true;
    w->ha.prev_wal_lsn = w->ha.pg.wal_lsn - 1;
    explain(w);
    assert_int_equal(find(&x.promotion, "race_backoff")->verdict, HA_RULE_FAIL);
    w->ha.prev_wal_lsn = w->ha.pg.wal_lsn;
    explain(w);
    assert_int_equal(find(&x.promotion, "race_backoff")->verdict, HA_RULE_PASS);
    w->ha.race_backoff_since_ms = w->now_ms - 5000;
    explain(w);
    assert_int_equal(find(&x.promotion, "race_backoff")->verdict, HA_RULE_FAIL);
}

/* The full house: more rules than there is room for end in no harm. */
static void test_ha_explain__more_peers_than_rules(void **state)
{
    struct w *w = *state;

    w->ha.n_peers = HA_PEERS_MAX;
    for (unsigned i = 0; i < HA_PEERS_MAX; i++) {
        w->ha.peers[i].reachable = w->ha.peers[i].in_recovery = true;
        w->ha.peers[i].position = UINT64_MAX;
        memset(w->ha.peers[i].name, 'x', PGV_NAME_BYTES - 1);
    }
    explain(w);
    assert_int_equal(x.promotion.n, HA_RULES_MAX);
    assert_int_equal(x.promotion.n_fail, HA_PEERS_MAX + 1); /* and the leader key */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ha_explain__leader, w_setup_leader, w_teardown),
        cmocka_unit_test_setup_teardown(test_ha_explain__lease_that_ended, w_setup_leader,
                                        w_teardown),
        cmocka_unit_test_setup_teardown(test_ha_explain__replica_is_kept_from_it_by_the_key_alone,
                                        w_setup_replica, w_teardown),
        cmocka_unit_test_setup_teardown(test_ha_explain__each_rule_that_fails, w_setup_replica,
                                        w_teardown),
        cmocka_unit_test_setup_teardown(test_ha_explain__a_peer_that_is_ahead, w_setup_orphan,
                                        w_teardown),
        cmocka_unit_test(test_ha_explain__agrees_with_the_race),
        cmocka_unit_test_setup_teardown(test_ha_explain__switchover, w_setup_leader, w_teardown),
        cmocka_unit_test(test_ha_explain__an_agent_that_knows_little_or_steps_down),
        cmocka_unit_test(test_ha_explain__requests_in_a_pause),
        cmocka_unit_test(test_ha_explain__not_in_the_sync_key),
        cmocka_unit_test_setup_teardown(test_ha_explain__worst_case_follows_from_the_configuration,
                                        w_setup_leader, w_teardown),
        cmocka_unit_test_setup_teardown(test_ha_explain__race_backoff_ends_with_the_movement,
                                        w_setup_orphan, w_teardown),
        cmocka_unit_test_setup_teardown(test_ha_explain__more_peers_than_rules, w_setup_replica,
                                        w_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
