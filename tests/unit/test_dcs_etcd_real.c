/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_dcs_etcd_real.c - the etcd v3 store against real etcd servers, which are killed,
 * frozen and cut down to a minority meanwhile.
 */
#include "dcs_support.h"

#include "base/clock.h"

#include <signal.h>
#include <stdlib.h>

static struct client a, b;
static struct request r;

#define TTL_MS 20000
#define FULL_MS 10000 /* a usual deadline */

static int one_etcd(void **state)
{
    (void)state;
    etcd_start(1);
    return 0;
}

/* What the test before left behind, be it by a request that was canceled. */
static int no_keys(void **state)
{
    (void)state;
    client_open(&a, "n0", etcd_section(1, NULL), false, TTL_MS);
    must(&a, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
    return 0;
}

static int three_etcds(void **state)
{
    (void)state;
    etcd_start(3);
    return 0;
}

static int no_etcd(void **state)
{
    close_clients(state);
    etcd_stop_all();
    return 0;
}

/* The view; read first when the watch has not come to it yet. */
static const struct dcs_cluster *view(struct client *c)
{
    if (!c->dcs.view)
        must(c, DCS_READ, NULL);
    return &c->dcs.view->cluster;
}

static bool a_leads_in_b(void *data)
{
    (void)data;
    return b.dcs.view && b.dcs.view->cluster.has_leader &&
           !strcmp(b.dcs.view->cluster.leader, a.name);
}

static bool nobody_leads_in_b(void *data)
{
    (void)data;
    return b.dcs.view && !b.dcs.view->cluster.has_leader;
}

static bool b_knows_optime(void *data)
{
    return b.dcs.view && b.dcs.view->cluster.status_optime == *(uint64_t *)data;
}

static void test_store__a_cluster_from_first_key_to_last(void **state)
{
    char version[DCS_VERSION_BYTES], first[DCS_VERSION_BYTES];
    const struct dcs_cluster *c;
    uint64_t optime = 7;

    (void)state;
    client_open(&a, "n1", etcd_section(1, NULL), true, TTL_MS);
    client_open(&b, "n2", etcd_section(1, NULL), true, TTL_MS);
    assert_null(a.dcs.view);
    must(&a, DCS_READ, NULL);
    assert_true(view(&a)->empty);
    assert_true(a.dcs.last_seen_ms > 0);

    must(&a, DCS_TOUCH_MEMBER, "{\"state\":\"running\"}");
    must(&a, DCS_CREATE_INITIALIZE, "");
    assert_int_equal(run(&b, &r, DCS_CREATE_INITIALIZE, "", NULL, FULL_MS), PGV_ECONFLICT);
    must(&a, DCS_SET_INITIALIZE, "7000000000000000001");
    must(&a, DCS_SET_CONFIG, "{\"ttl\":20}");
    assert_int_equal(run(&a, &r, DCS_TAKE_LEADER, "7000000000000000001", NULL, FULL_MS), PGV_OK);
    assert_true(r.req.sent_ms && r.req.sent_ms <= pgv_clock_ms());
    assert_int_equal(run(&b, &r, DCS_ACQUIRE_LEADER, NULL, NULL, FULL_MS), PGV_ECONFLICT);
    assert_non_null(strstr(r.msg, "'n1'"));
    must(&a, DCS_SET_HISTORY, "[[1,2,\"x\"]]");
    must(&a, DCS_SET_FAILSAFE, "{\"n1\":\"http://a/patroni\"}");
    must(&a, DCS_SET_STATUS, "{\"optime\":7}");
    wait_until(b_knows_optime, &optime, 3000, "the watch of b");

    /* Own writes are in the own view at once. */
    c = view(&a);
    assert_int_equal(c->initialize, DCS_INIT_SYSID);
    assert_string_equal(c->leader, "n1");
    assert_int_equal(c->n_members, 1);
    assert_int_equal(c->history_timeline, 2);
    assert_string_equal(c->members[0].session, view(&a)->leader_session);
    assert_true(c->leader_session[0]);
    must(&b, DCS_READ, NULL);
    assert_string_equal(view(&b)->leader_session, view(&a)->leader_session);
    assert_string_equal(view(&b)->leader_version, view(&a)->leader_version);

    /* Compare and swap. */
    assert_int_equal(run(&a, &r, DCS_SET_SYNC, "{\"leader\":\"n1\"}", NULL, FULL_MS), PGV_OK);
    memcpy(first, r.req.new_version, sizeof(first));
    assert_string_equal(view(&a)->sync.version, first);
    assert_int_equal(run(&a, &r, DCS_SET_SYNC, "{\"leader\":\"n1\",\"quorum\":1}", first, FULL_MS),
                     PGV_OK);
    memcpy(version, r.req.new_version, sizeof(version));
    assert_string_not_equal(first, version);
    assert_int_equal(run(&b, &r, DCS_SET_SYNC, "{}", first, FULL_MS), PGV_ECONFLICT);
    assert_int_equal(run(&b, &r, DCS_DELETE_SYNC, NULL, first, FULL_MS), PGV_ECONFLICT);
    assert_int_equal(run(&b, &r, DCS_DELETE_SYNC, NULL, version, FULL_MS), PGV_OK);
    assert_int_equal(run(&b, &r, DCS_SET_SYNC, "{}", version, FULL_MS), PGV_ECONFLICT);
    assert_false(view(&b)->sync.exists);
    must(&b, DCS_SET_FAILOVER, "{\"member\":\"n2\"}");
    assert_int_equal(run(&a, &r, DCS_SET_FAILOVER, "{}", view(&b)->failover.version, FULL_MS),
                     PGV_OK);
    assert_true(view(&a)->failover.exists && !view(&a)->failover.present);

    assert_int_equal(run(&b, &r, DCS_RELEASE_LEADER, NULL, NULL, FULL_MS), PGV_ECONFLICT);
    must(&a, DCS_RELEASE_LEADER, NULL);
    assert_false(view(&a)->has_leader);
    must(&a, DCS_RELEASE_LEADER, NULL); /* it is gone, as wanted */
    wait_until(nobody_leads_in_b, NULL, 3000, "the release in b's view");
    must(&b, DCS_ACQUIRE_LEADER, NULL);
    assert_int_equal(run(&a, &r, DCS_RENEW_LEADER, NULL, NULL, FULL_MS), PGV_ECONFLICT);
    must(&b, DCS_RENEW_LEADER, NULL);
    must(&a, DCS_DELETE_INITIALIZE, NULL);
    must(&a, DCS_DELETE_CLUSTER, NULL);
    assert_true(view(&a)->empty);
    must(&b, DCS_READ, NULL);
    assert_true(view(&b)->empty);
    client_close(&a);
    client_close(&b);
}

static void test_view__changes_are_told_as_a_set(void **state)
{
    (void)state;
    client_open(&a, "n1", etcd_section(1, NULL), true, TTL_MS);
    client_open(&b, "n2", etcd_section(1, NULL), true, TTL_MS);
    wait_until(view_is_live, &b, 5000, "b's watch");
    b.changed = 0;
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    wait_until(a_leads_in_b, NULL, 3000, "the leader in b's view");
    assert_int_equal(b.changed, DCS_CHANGED_LEADER);
    b.changed = 0;
    must(&a, DCS_TOUCH_MEMBER, "{}");
    must(&b, DCS_READ, NULL);
    assert_int_equal(b.changed, DCS_CHANGED_MEMBERS);

    /* Nothing written, nothing told. */
    b.n_views = a.n_views = 0;
    must(&a, DCS_TOUCH_MEMBER, "{}");
    must(&a, DCS_RENEW_LEADER, NULL);
    must(&b, DCS_READ, NULL);
    assert_int_equal(a.n_views + b.n_views, 0);
    must(&a, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
    client_close(&b);
}

/* Our own member key vanished without our knowing: creating initialize signs with it. */
static void test_initialize__does_not_depend_on_the_member_key(void **state)
{
    (void)state;
    client_open(&a, "n1", etcd_section(1, NULL), false, TTL_MS);
    client_open(&b, "n2", etcd_section(1, NULL), false, TTL_MS);
    must(&a, DCS_TOUCH_MEMBER, "{}");
    must(&a, DCS_READ, NULL);
    must(&b, DCS_DELETE_CLUSTER, NULL);
    must(&a, DCS_CREATE_INITIALIZE, "");
    assert_int_equal(run(&b, &r, DCS_CREATE_INITIALIZE, "", NULL, FULL_MS), PGV_ECONFLICT);
    must(&b, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
    client_close(&b);
}

/* Two bootstraps, and people between them: the first one finds its key gone, or another's, by its
 * revision, whatever its own view says; it takes nothing and removes nothing. */
static void test_initialize__is_finished_by_who_made_it(void **state)
{
    char version[DCS_VERSION_BYTES], other[DCS_VERSION_BYTES];

    (void)state;
    client_open(&a, "n1", etcd_section(1, NULL), false, TTL_MS);
    client_open(&b, "n2", etcd_section(1, NULL), false, TTL_MS);
    must(&a, DCS_TOUCH_MEMBER, "{}");
    assert_int_equal(run(&a, &r, DCS_CREATE_INITIALIZE, "", NULL, FULL_MS), PGV_OK);
    memcpy(version, r.req.new_version, sizeof(version));
    must(&b, DCS_READ, NULL);
    assert_string_equal(view(&b)->initialize_version, version);
    must(&b, DCS_DELETE_INITIALIZE, NULL); /* people */
    assert_int_equal(run(&a, &r, DCS_SET_INITIALIZE, "7000000000000000001", version, FULL_MS),
                     PGV_ECONFLICT);
    assert_int_equal(run(&b, &r, DCS_CREATE_INITIALIZE, "", NULL, FULL_MS), PGV_OK);
    memcpy(other, r.req.new_version, sizeof(other));
    assert_int_equal(run(&a, &r, DCS_SET_INITIALIZE, "7000000000000000001", version, FULL_MS),
                     PGV_ECONFLICT);
    assert_int_equal(run(&a, &r, DCS_DELETE_INITIALIZE, NULL, version, FULL_MS), PGV_ECONFLICT);
    assert_int_equal(run(&b, &r, DCS_SET_INITIALIZE, "7000000000000000002", other, FULL_MS),
                     PGV_OK);
    assert_int_equal(run(&a, &r, DCS_TAKE_LEADER, "7000000000000000001", NULL, FULL_MS),
                     PGV_ECONFLICT);
    assert_non_null(strstr(r.msg, "not ours any more"));
    assert_string_equal(view(&a)->initialize_text, "7000000000000000002"); /* learned on the way */
    assert_int_equal(run(&b, &r, DCS_TAKE_LEADER, "7000000000000000002", NULL, FULL_MS), PGV_OK);
    assert_int_equal(run(&a, &r, DCS_TAKE_LEADER, "7000000000000000002", NULL, FULL_MS),
                     PGV_ECONFLICT);
    assert_non_null(strstr(r.msg, "'n2'"));
    must(&b, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
    client_close(&b);
}

static void revoke_lease(const char *lease)
{
    char url[128], body[64];

    etcd_url(&etcds[0], "/v3/lease/revoke", url, sizeof(url));
    snprintf(body, sizeof(body), "{\"ID\":\"%s\"}", lease);
    assert_int_equal(post(url, body, NULL, 0), 200);
}

static void test_renew__a_lost_lease_is_replaced_unless_somebody_else_leads(void **state)
{
    char lease[DCS_VERSION_BYTES];

    (void)state;
    client_open(&a, "n1", etcd_section(1, NULL), true, TTL_MS);
    client_open(&b, "n2", etcd_section(1, NULL), true, TTL_MS);
    must(&a, DCS_TOUCH_MEMBER, "{}");
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    memcpy(lease, view(&a)->leader_session, sizeof(lease));

    revoke_lease(lease); /* the leader key goes with it; nobody took it meanwhile */
    assert_int_equal(run(&a, &r, DCS_RENEW_LEADER, NULL, NULL, FULL_MS), PGV_OK);
    assert_true(r.req.sent_ms > 0);
    assert_string_equal(view(&a)->leader, "n1");
    assert_string_not_equal(view(&a)->leader_session, lease);
    must(&a, DCS_TOUCH_MEMBER, "{}"); /* the member key went as well: it is written again */
    must(&b, DCS_READ, NULL);
    assert_int_equal(view(&b)->n_members, 1);
    assert_string_equal(view(&b)->members[0].session, view(&b)->leader_session);

    memcpy(lease, view(&b)->leader_session, sizeof(lease));
    revoke_lease(lease);
    must(&b, DCS_ACQUIRE_LEADER, NULL);
    assert_int_equal(run(&a, &r, DCS_RENEW_LEADER, NULL, NULL, FULL_MS), PGV_ECONFLICT);
    must(&b, DCS_RENEW_LEADER, NULL);
    must(&a, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
    client_close(&b);
}

static void test_renew__a_key_under_a_foreign_lease_is_bound_to_ours(void **state)
{
    char lease[DCS_VERSION_BYTES];

    (void)state;
    client_open(&a, "n1", etcd_section(1, NULL), true, TTL_MS);
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    memcpy(lease, view(&a)->leader_session, sizeof(lease));
    client_close(&a); /* as an agent that is started anew within ttl */
    client_open(&a, "n1", etcd_section(1, NULL), true, TTL_MS);
    must(&a, DCS_READ, NULL);
    assert_string_equal(view(&a)->leader, "n1");
    assert_string_equal(view(&a)->leader_session, lease);
    assert_int_equal(run(&a, &r, DCS_ACQUIRE_LEADER, NULL, NULL, FULL_MS), PGV_ECONFLICT);
    must(&a, DCS_RENEW_LEADER, NULL);
    assert_string_not_equal(view(&a)->leader_session, lease);
    revoke_lease(lease); /* nothing hangs on it any more */
    must(&a, DCS_RENEW_LEADER, NULL);
    must(&a, DCS_READ, NULL);
    assert_string_equal(view(&a)->leader, "n1");
    must(&a, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
}

static void test_set_times__another_ttl_is_another_lease(void **state)
{
    char lease[DCS_VERSION_BYTES], url[128], body[64], text[256];

    (void)state;
    client_open(&a, "n1", etcd_section(1, NULL), true, TTL_MS);
    must(&a, DCS_TOUCH_MEMBER, "{}");
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    memcpy(lease, view(&a)->leader_session, sizeof(lease));
    dcs_set_times(&a.dcs, 40000, 10000, 10000);
    must(&a, DCS_RENEW_LEADER, NULL);
    must(&a, DCS_TOUCH_MEMBER, "{}");
    must(&a, DCS_READ, NULL);
    assert_string_not_equal(view(&a)->leader_session, lease);
    assert_string_equal(view(&a)->leader_session, view(&a)->members[0].session);
    etcd_url(&etcds[0], "/v3/lease/timetolive", url, sizeof(url));
    snprintf(body, sizeof(body), "{\"ID\":\"%s\"}", view(&a)->leader_session);
    assert_int_equal(post(url, body, text, sizeof(text)), 200);
    assert_non_null(strstr(text, "\"grantedTTL\":\"40\""));
    must(&a, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
}

static void test_touch__what_others_did_to_our_key_is_repaired(void **state)
{
    char url[128], body[256];
    struct pgv_buf key;

    (void)state;
    client_open(&a, "n1", etcd_section(1, NULL), true, TTL_MS);
    must(&a, DCS_TOUCH_MEMBER, "{\"state\":\"running\"}");
    pgv_buf_init(&key, 128);
    httpc_base64_encode(&key, PGV_STR("/service/main/members/n1"));
    snprintf(body, sizeof(body), "{\"key\":\"%s\"}", pgv_buf_cstr(&key));
    pgv_buf_done(&key);
    etcd_url(&etcds[0], "/v3/kv/deleterange", url, sizeof(url));
    assert_int_equal(post(url, body, NULL, 0), 200);
    must(&a, DCS_READ, NULL);
    assert_int_equal(view(&a)->n_members, 0);
    must(&a, DCS_TOUCH_MEMBER, "{\"state\":\"running\"}");
    must(&a, DCS_READ, NULL);
    assert_int_equal(view(&a)->n_members, 1);
    must(&a, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
}

static void test_frozen__a_single_etcd_is_noticed_and_taken_up_again(void **state)
{
    (void)state;
    client_open(&a, "n1", etcd_section(1, NULL), true, TTL_MS);
    client_open(&b, "n2", etcd_section(1, NULL), true, TTL_MS);
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    wait_until(view_is_live, &a, 5000, "a's watch");
    wait_until(view_is_live, &b, 5000, "b's watch");
    wait_until(a_leads_in_b, NULL, 3000, "the leader in b's view");
    etcd_signal(&etcds[0], SIGSTOP);
    assert_int_equal(run(&a, &r, DCS_RENEW_LEADER, NULL, NULL, 1500), PGV_EUNREACHABLE);
    assert_in_range(r.took_ms, 1400, 3000);
    assert_int_equal(run(&a, &r, DCS_READ, NULL, NULL, 1000), PGV_EUNREACHABLE);
    /* b asks nothing, and yet must not take its view for fresh for long. */
    wait_until(view_is_not_live, &b, 8500, "b's doubt");
    wait_until(view_is_not_live, &a, 8500, "a's doubt");
    assert_string_equal(view(&b)->leader, "n1"); /* what was known stays */
    etcd_signal(&etcds[0], SIGCONT);
    must(&a, DCS_RENEW_LEADER, NULL);
    wait_until(view_is_live, &a, 10000, "a's watch after the thaw");
    wait_until(view_is_live, &b, 10000, "b's watch after the thaw");
    must(&a, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
    client_close(&b);
}

static void test_killed__a_single_etcd_comes_back(void **state)
{
    uint64_t optime = 5;

    (void)state;
    client_open(&a, "n1", etcd_section(1, NULL), true, TTL_MS);
    client_open(&b, "n2", etcd_section(1, NULL), true, TTL_MS);
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    wait_until(view_is_live, &b, 5000, "b's watch");
    etcd_signal(&etcds[0], SIGKILL);
    wait_until(view_is_not_live, &b, 4000, "b's watch ends with its connection");
    assert_int_equal(run(&a, &r, DCS_RENEW_LEADER, NULL, NULL, 1500), PGV_EUNREACHABLE);
    start(&a, &r, DCS_RENEW_LEADER, NULL, NULL, FULL_MS);
    etcd_start_again(&etcds[0]);
    finish(&r);
    assert_int_equal(r.code, PGV_OK);
    wait_until(view_is_live, &b, 10000, "b's watch after the restart");
    must(&a, DCS_SET_STATUS, "{\"optime\":5}");
    wait_until(b_knows_optime, &optime, 2000, "b's watch follows");
    must(&a, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
    client_close(&b);
}

static void test_frozen__one_of_three_never_costs_the_lease(void **state)
{
    (void)state;
    client_open(&a, "n1", etcd_section(3, NULL), true, TTL_MS);
    client_open(&b, "n2", etcd_section(3, NULL), true, TTL_MS);
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    for (int i = 0; i < 3; i++) {
        uint64_t optime = 100 + (uint64_t)i;
        char status[64];

        snprintf(status, sizeof(status), "{\"optime\":%llu}", (unsigned long long)optime);
        wait_until(view_is_live, &a, 10000, "a's watch");
        wait_until(view_is_live, &b, 10000, "b's watch");
        etcd_signal(&etcds[i], SIGSTOP);
        assert_int_equal(run(&a, &r, DCS_RENEW_LEADER, NULL, NULL, FULL_MS), PGV_OK);
        assert_true(r.took_ms < 5000); /* an election may be in it */
        print_message("etcd %d frozen: renewed in %llu ms\n", i, (unsigned long long)r.took_ms);
        assert_int_equal(run(&a, &r, DCS_RENEW_LEADER, NULL, NULL, FULL_MS), PGV_OK);
        print_message("etcd %d frozen: then in %llu ms\n", i, (unsigned long long)r.took_ms);
        assert_true(r.took_ms < 1000); /* the sick one is not asked again */
        assert_int_equal(run(&a, &r, DCS_SET_STATUS, status, NULL, FULL_MS), PGV_OK);
        wait_until(b_knows_optime, &optime, 12000, "b's watch leaves the frozen node");
        etcd_signal(&etcds[i], SIGCONT);
    }
    must(&a, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
    client_close(&b);
}

static bool all_serve(void *data)
{
    (void)data;
    for (int i = 0; i < 3; i++)
        if (!etcd_serves(&etcds[i]))
            return false;
    return true;
}

/* PGVIGIL_SOAK_ROUNDS=500 for a long one. Whatever happens to one member, in the middle of what
 * was healed just before: renewals succeed, with time to spare, and views follow. */
static void test_soak__one_member_at_a_time(void **state)
{
    const char *rounds = getenv("PGVIGIL_SOAK_ROUNDS");
    unsigned seed = (unsigned)pgv_clock_us();
    uint64_t worst_ms = 0;

    (void)state;
    print_message("seed %u\n", seed);
    client_open(&a, "n1", etcd_section(3, NULL), true, TTL_MS);
    client_open(&b, "n2", etcd_section(3, NULL), true, TTL_MS);
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    for (long i = 1; i <= (rounds ? strtol(rounds, NULL, 10) : 4); i++) {
        uint64_t optime = 1000 + (uint64_t)i;
        int node = rand_r(&seed) % 3;
        bool kill = rand_r(&seed) % 2;
        char status[64];

        snprintf(status, sizeof(status), "{\"optime\":%llu}", (unsigned long long)optime);
        wait_until(all_serve, NULL, 20000, "all members");
        etcd_signal(&etcds[node], kill ? SIGKILL : SIGSTOP);
        for (int k = rand_r(&seed) % 4; k >= 0; k--) {
            if (run(&a, &r, DCS_RENEW_LEADER, NULL, NULL, FULL_MS) != PGV_OK)
                fail_msg("round %ld, member %d %s: %s", i, node, kill ? "killed" : "frozen", r.msg);
            worst_ms = r.took_ms > worst_ms ? r.took_ms : worst_ms;
        }
        assert_int_equal(run(&a, &r, DCS_SET_STATUS, status, NULL, FULL_MS), PGV_OK);
        wait_until(b_knows_optime, &optime, 15000, "b's view");
        if (kill)
            etcd_start_again(&etcds[node]);
        else
            etcd_signal(&etcds[node], SIGCONT);
    }
    print_message("the slowest renewal took %llu ms\n", (unsigned long long)worst_ms);
    must(&a, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
    client_close(&b);
}

static void test_minority__is_no_cluster_and_its_watch_not_live(void **state)
{
    int leader = etcd_leader();
    unsigned left = leader == 0 ? 1 : 0;

    (void)state;
    client_open(&a, "n1", etcd_section(3, NULL), true, TTL_MS);
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    wait_until(view_is_live, &a, 5000, "a's watch");
    for (unsigned i = 0; i < 3; i++)
        if (i != left)
            etcd_signal(&etcds[i], SIGKILL);
    wait_until(view_is_not_live, &a, 12000, "a's watch on a member without a leader");
    assert_int_equal(run(&a, &r, DCS_RENEW_LEADER, NULL, NULL, 3000), PGV_EUNREACHABLE);
    assert_int_equal(run(&a, &r, DCS_READ, NULL, NULL, 2000), PGV_EUNREACHABLE);
    assert_int_equal(run(&a, &r, DCS_SET_STATUS, "{}", NULL, 2000), PGV_EUNREACHABLE);
    for (unsigned i = 0; i < 3; i++)
        if (i != left)
            etcd_start_again(&etcds[i]);
    wait_until(view_is_live, &a, 20000, "a's watch when the cluster is back");
    must(&a, DCS_RENEW_LEADER, NULL);
    must(&a, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
}

static void test_discovery__one_host_is_enough_to_find_all(void **state)
{
    (void)state;
    client_open(&a, "n1", etcd_section(1, NULL), true, TTL_MS);
    must(&a, DCS_READ, NULL);
    wait_until(view_is_live, &a, 5000, "a's watch");
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    etcd_signal(&etcds[0], SIGKILL);
    assert_int_equal(run(&a, &r, DCS_RENEW_LEADER, NULL, NULL, FULL_MS), PGV_OK);
    etcd_start_again(&etcds[0]);
    must(&a, DCS_DELETE_CLUSTER, NULL);
    client_close(&a);
}

/* etcdctl's part of switching authentication on, through the gateway. */
static void enable_auth(void)
{
    static const char *const steps[][2] = {
        { "/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"rp\"}" },
        { "/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}" },
        { "/v3/auth/role/add", "{\"name\":\"pg\"}" },
        { "/v3/auth/role/grant",
          "{\"name\":\"pg\",\"perm\":{\"permType\":\"READWRITE\",\"key\":\"L3NlcnZpY2Uv\","
          "\"range_end\":\"L3NlcnZpY2Uw\"}}" },
        { "/v3/auth/user/add", "{\"name\":\"pg\",\"password\":\"pp\"}" },
        { "/v3/auth/user/grant", "{\"user\":\"pg\",\"role\":\"pg\"}" },
        { "/v3/auth/user/add", "{\"name\":\"poor\",\"password\":\"pp\"}" },
        { "/v3/auth/enable", "{}" },
    };
    char url[128];

    etcd_url(&etcds[0], "/v3/auth/role/add", url, sizeof(url));
    assert_int_equal(post(url, "{\"name\":\"root\"}", NULL, 0), 200);
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        etcd_url(&etcds[0], steps[i][0], url, sizeof(url));
        assert_int_equal(post(url, steps[i][1], NULL, 0), 200);
    }
}

static void test_auth__login_loss_of_the_token_and_refusals(void **state)
{
    uint64_t optime = 9;

    (void)state;
    client_open(&b, "n2", etcd_section(1, "\"username\":\"pg\",\"password\":\"pp\""), true, TTL_MS);
    must(&b, DCS_READ, NULL); /* authentication is not enabled yet: it goes without */
    enable_auth();
    client_open(&a, "n1", etcd_section(1, "\"username\":\"pg\",\"password\":\"pp\""), true, TTL_MS);
    must(&a, DCS_TOUCH_MEMBER, "{}");
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    must(&b, DCS_READ, NULL);
    assert_string_equal(view(&b)->leader, "n1");
    wait_until(view_is_live, &a, 5000, "a's watch");
    wait_until(view_is_live, &b, 10000, "b's watch");

    etcd_signal(&etcds[0], SIGKILL); /* tokens live in its memory only */
    etcd_start_again(&etcds[0]);
    assert_int_equal(run(&a, &r, DCS_RENEW_LEADER, NULL, NULL, FULL_MS), PGV_OK);
    must(&a, DCS_SET_STATUS, "{\"optime\":9}");
    wait_until(b_knows_optime, &optime, 10000, "b's watch with a new token");
    client_close(&b);

    /* A wrong password at the start is a mistake of the configuration, told at once. */
    client_open(&b, "n2", etcd_section(1, "\"username\":\"pg\",\"password\":\"no\""), false,
                TTL_MS);
    assert_int_equal(run(&b, &r, DCS_READ, NULL, NULL, FULL_MS), PGV_EINVALID);
    assert_true(r.took_ms < 3000);
    assert_null(strstr(r.msg, "\"no\""));
    client_close(&b);

    /* No permission: not done, but nobody said that somebody else leads. */
    client_open(&b, "n2", etcd_section(1, "\"username\":\"poor\",\"password\":\"pp\""), false,
                TTL_MS);
    assert_int_equal(run(&b, &r, DCS_SET_STATUS, "{}", NULL, FULL_MS), PGV_ECONFLICT);
    assert_int_equal(run(&b, &r, DCS_READ, NULL, NULL, FULL_MS), PGV_EUNREACHABLE);
    assert_int_equal(run(&b, &r, DCS_ACQUIRE_LEADER, NULL, NULL, FULL_MS), PGV_EUNREACHABLE);
    assert_true(r.took_ms < 5000);
    client_close(&b);
    client_open(&b, "n2", etcd_section(1, NULL), false, TTL_MS);
    assert_int_equal(run(&b, &r, DCS_SET_STATUS, "{}", NULL, FULL_MS), PGV_ECONFLICT);
    client_close(&b);
    must(&a, DCS_RENEW_LEADER, NULL);
    client_close(&a);
}

static void test_close__at_any_moment(void **state)
{
    static struct request reqs[6];

    (void)state;
    for (unsigned turns = 0; turns < 40; turns++) {
        client_open(&a, "n1", etcd_section(1, NULL), true, TTL_MS);
        start(&a, &reqs[0], DCS_READ, NULL, NULL, FULL_MS);
        start(&a, &reqs[1], DCS_TOUCH_MEMBER, "{}", NULL, FULL_MS);
        start(&a, &reqs[2], DCS_RENEW_LEADER, NULL, NULL, FULL_MS);
        start(&a, &reqs[3], DCS_RENEW_LEADER, NULL, NULL, FULL_MS);
        start(&a, &reqs[4], DCS_SET_SYNC, "{}", NULL, FULL_MS);
        start(&a, &reqs[5], DCS_SET_STATUS, "{}", NULL, FULL_MS);
        dcs_cancel(&reqs[5].req);
        assert_false(reqs[5].done);
        for (unsigned i = 0; i < turns; i++)
            uv_run(&loop, UV_RUN_NOWAIT);
        client_close(&a);
        for (unsigned i = 0; i < 6; i++)
            assert_true(reqs[i].done);
        assert_int_equal(reqs[5].code, PGV_ECANCELED);
        if (turns == 0)
            assert_int_equal(reqs[0].code, PGV_ECANCELED);
    }
}

static const char *tls_section(const char *ca, const char *cert, const char *key)
{
    char more[2048];

    snprintf(more, sizeof(more),
             "\"protocol\":\"https\",\"cacert\":\"%s\",\"cert\":\"%s\",\"key\":\"%s\"",
             certificate(ca), cert ? certificate(cert) : "", key ? certificate(key) : "");
    return etcd_section(1, more);
}

static int tls_etcd(void **state)
{
    (void)state;
    etcd_start_tls();
    return 0;
}

static void test_tls__both_sides_are_verified(void **state)
{
    struct pgv_value *right = NULL;
    struct pgv_error err;

    (void)state;
    client_open(&a, "n1", tls_section("ca.pem", "client.pem", "client.key"), true, TTL_MS);
    must(&a, DCS_TOUCH_MEMBER, "{}"); /* also waits for the server's start */
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    must(&a, DCS_RENEW_LEADER, NULL);
    wait_until(view_is_live, &a, 5000, "the watch over TLS");
    /* A server of another CA, and one that does not know us. */
    client_open(&b, "n2", tls_section("other-ca.pem", "client.pem", "client.key"), false, TTL_MS);
    assert_int_equal(run(&b, &r, DCS_READ, NULL, NULL, 1500), PGV_EUNREACHABLE);
    client_close(&b);
    client_open(&b, "n2", tls_section("ca.pem", NULL, NULL), false, TTL_MS);
    assert_int_equal(run(&b, &r, DCS_READ, NULL, NULL, 1500), PGV_EUNREACHABLE);
    assert_true(pgv_json_parse(&b.arena, pgv_str(tls_section("ca.pem", "client.pem", "client.key")),
                               &right, NULL));
    assert_true(dcs_reload(&b.dcs, right, &err));
    must(&b, DCS_READ, NULL);
    assert_string_equal(view(&b)->leader, "n1");
    client_close(&b);
    client_close(&a);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, no_keys, close_clients)
    const struct CMUnitTest single[] = {
        T(test_store__a_cluster_from_first_key_to_last),
        T(test_view__changes_are_told_as_a_set),
        T(test_renew__a_lost_lease_is_replaced_unless_somebody_else_leads),
        T(test_renew__a_key_under_a_foreign_lease_is_bound_to_ours),
        T(test_set_times__another_ttl_is_another_lease),
        T(test_touch__what_others_did_to_our_key_is_repaired),
        T(test_initialize__does_not_depend_on_the_member_key),
        T(test_initialize__is_finished_by_who_made_it),
        T(test_close__at_any_moment),
        T(test_frozen__a_single_etcd_is_noticed_and_taken_up_again),
        T(test_killed__a_single_etcd_comes_back),
    };
#undef T
    const struct CMUnitTest others[] = {
        cmocka_unit_test_setup_teardown(test_auth__login_loss_of_the_token_and_refusals, one_etcd,
                                        no_etcd),
        cmocka_unit_test_setup_teardown(test_tls__both_sides_are_verified, tls_etcd, no_etcd),
        cmocka_unit_test_setup_teardown(test_frozen__one_of_three_never_costs_the_lease,
                                        three_etcds, no_etcd),
        cmocka_unit_test_setup_teardown(test_soak__one_member_at_a_time, three_etcds, no_etcd),
        cmocka_unit_test_setup_teardown(test_minority__is_no_cluster_and_its_watch_not_live,
                                        three_etcds, no_etcd),
        cmocka_unit_test_setup_teardown(test_discovery__one_host_is_enough_to_find_all, three_etcds,
                                        no_etcd),
    };
    int failed;

    if (support_setup(NULL))
        return 1;
    failed = cmocka_run_group_tests(single, one_etcd, no_etcd);
    failed += cmocka_run_group_tests(others, NULL, NULL);
    return support_teardown(NULL) || failed ? 1 : 0;
}
