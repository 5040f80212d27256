/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_dcs_etcd_watch.c - the watch and the reads of the etcd v3 store against scripted
 * servers: documents however they are cut, every kind of end, every kind of silence.
 */
#include "dcs_support.h"

#include "base/clock.h"
#include "dcs/etcd3.h"
#include "http/httpc_private.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#define ETCD_VIEW_BYTES (4u << 20) /* what a view may be made of */

#define LOGIN "\"username\":\"u\",\"password\":\"secret\""

static struct client c;
static struct request r;

/* ---- the watch ------------------------------------------------------------------------------ */

static bool optime_is(void *data)
{
    return c.dcs.view && c.dcs.view->cluster.status_optime == *(uint64_t *)data;
}

static bool leader_is_gone(void *data)
{
    (void)data;
    return c.dcs.view && !c.dcs.view->cluster.has_leader;
}

static void test_watch__events_however_they_are_cut(void **state)
{
    uint64_t optime = 7;
    char both[4096];

    (void)state;
    fake_put_kv("leader", "n2", 9007199254740993, "5");
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(fake_watch_is_open, &c, 3000, "the watch");
    assert_int_equal(fake_count(-1, "/watch", "\"start_revision\":\"100\""), 1);
    assert_string_equal(c.dcs.view->cluster.leader, "n2");
    assert_string_equal(c.dcs.view->cluster.leader_version, "9007199254740993");
    c.changed = c.n_views = 0;

    fake_revision = 101;
    fake_push(fake_event(fake_kv("status", "{\"optime\":7}", 101, NULL), false), 1);
    wait_until(optime_is, &optime, 3000, "an event in single bytes");
    assert_int_equal(c.changed, DCS_CHANGED_STATUS);
    assert_int_equal(c.n_views, 1);

    /* Two at once make one new view; the older one of a key does not count. */
    c.changed = c.n_views = 0;
    fake_revision = 9007199254740995;
    snprintf(both, sizeof(both), "%s%s",
             fake_event("{\"key\":\"L3NlcnZpY2UvbWFpbi9sZWFkZXI=\",\"mod_revision\":"
                        "\"9007199254740994\"}",
                        true),
             fake_event(fake_kv("status", "{\"optime\":8}", 9007199254740995, NULL), false));
    fake_push(both, sizeof(both));
    wait_until(leader_is_gone, NULL, 3000, "the leader's end");
    assert_int_equal(c.changed, DCS_CHANGED_LEADER | DCS_CHANGED_STATUS);
    assert_int_equal(c.n_views, 1);
    assert_int_equal(c.dcs.view->cluster.status_optime, 8);

    /* Replays and keys of others are no news. */
    c.n_views = 0;
    fake_push(fake_event(fake_kv("status", "{\"optime\":1}", 101, NULL), false), 4096);
    fake_push(fake_event("{\"key\":\"L3NlcnZpY2UvbWFpbg==\",\"mod_revision\":\"9007199254740996\"}",
                         false),
              4096);
    fake_push(fake_event(fake_kv("status", "{\"optime\":9}", 9007199254740997, NULL), false), 4096);
    optime = 9;
    wait_until(optime_is, &optime, 3000, "the last event");
    assert_int_equal(c.n_views, 1);
    assert_true(c.dcs.view_live);
}

static void test_watch__every_kind_of_end_begins_anew(void **state)
{
    static const char *const ends[] = {
        "{\"result\":{\"header\":{},\"canceled\":true,\"compact_revision\":\"90\"}}\n",
        "{\"result\":{\"header\":{},\"canceled\":true,\"cancel_reason\":\"x\"}}\n",
        "{\"result\":{\"header\":{},\"watch_id\":\"-1\",\"created\":true,\"canceled\":true,"
        "\"cancel_reason\":\"etcdserver: permission denied\"}}\n",
        "{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}\n",
        "{\"result\":{\"header\":{\"cluster_id\":\"77\",\"revision\":\"1\",\"raft_term\":\"4\"},"
        "\"events\":[]}}\n",
        "{]}\n",
        NULL, /* the stream ends */
    };

    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    for (const char *const *end = ends;; end++) {
        wait_until(fake_watch_is_open, &c, 9000, "the watch");
        n_fake_seen = 0;
        if (*end)
            fake_push(*end, 4096);
        else
            httpd_stream_end(fakes[0].watch);
        wait_until(view_is_not_live, &c, 2000, *end ? *end : "the end of the stream");
        wait_until(fake_watch_is_open, &c, 9000, "the watch again");
        assert_true(fake_count(-1, "/kv/range", NULL) >= 1);
        if (!*end)
            break;
    }
    (void)state;
}

static void test_watch__a_refused_token_is_replaced(void **state)
{
    (void)state;
    client_open(&c, "n1", fakes_open(1, LOGIN), true, 20000);
    wait_until(fake_watch_is_open, &c, 3000, "the watch");
    n_fake_seen = 0;
    fake_push(
        "{\"result\":{\"header\":{},\"watch_id\":\"-1\",\"created\":true,\"canceled\":true,"
        "\"cancel_reason\":\"rpc error: code = Unauthenticated desc = etcdserver: invalid auth "
        "token\"}}\n",
        4096);
    wait_until(view_is_not_live, &c, 2000, "the end");
    wait_until(fake_watch_is_open, &c, 3000, "the watch again");
    assert_int_equal(fake_count(-1, "/authenticate", NULL), 1);
}

static void test_watch__what_is_known_otherwise_must_arrive(void **state)
{
    uint64_t began_ms;

    (void)state;
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(fake_watch_is_open, &c, 3000, "the watch");
    must(&c, DCS_SET_STATUS, "{\"optime\":3}"); /* this fake never tells it */
    assert_int_equal(c.dcs.view->cluster.status_optime, 3);
    began_ms = pgv_clock_ms();
    wait_until(view_is_not_live, &c, 4000, "the doubt");
    assert_in_range(pgv_clock_ms() - began_ms, 800, 3000);
    wait_until(fake_watch_is_open, &c, 5000, "the watch again");

    must(&c, DCS_SET_STATUS, "{\"optime\":4}");
    fake_push(fake_event(fake_kv("status", "{\"optime\":4}", fake_revision, NULL), false), 4096);
    assert_false(happens_within(view_is_not_live, &c, 1500));
}

static void test_watch__silence_is_looked_into(void **state)
{
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(fake_watch_is_open, &c, 3000, "the watch");
    n_fake_seen = 0;
    fake_put_kv("leader", "n2", 120, "5"); /* the stream is dead: it does not tell */
    fake_revision = 120;
    wait_until(view_is_not_live, &c, 8000, "the doubt");
    assert_int_equal(fake_count(-1, "/kv/range", "\"serializable\":true"), 1);
    wait_until(fake_watch_is_open, &c, 5000, "the watch again");
    assert_string_equal(c.dcs.view->cluster.leader, "n2");
    (void)state;
}

static bool probed(void *data)
{
    (void)data;
    return fake_count(-1, "/kv/range", "\"serializable\":true") > 0;
}

/* A member whose key the stream has told, and that asks for its lease when it is half a cycle old.
 */
static void open_member(uint64_t ttl_ms)
{
    client_open(&c, "n1", fakes_open(1, NULL), true, ttl_ms);
    dcs_set_times(&c.dcs, ttl_ms, 5000, 10000);
    wait_until(fake_watch_is_open, &c, 3000, "the watch");
    must(&c, DCS_TOUCH_MEMBER, "{}");
    fake_push(fake_event(fake_kv("members/n1", "{}", 101, OUR_LEASE), false), 4096);
    fake_put_kv("members/n1", "{}", 101, OUR_LEASE);
    n_fake_seen = 0;
}

/* With the answer, and what may follow from it. */
static void ask_for_lease(void)
{
    must(&c, DCS_TOUCH_MEMBER, "{}");
    (void)happens_within(probed, NULL, 200);
}

static void test_watch__silence_is_right_while_the_store_stands_still(void **state)
{
    (void)state;
    open_member(20000);
    for (unsigned i = 0; i < 2; i++) { /* in each cycle */
        assert_false(happens_within(probed, NULL, 4700));
        ask_for_lease();
        assert_int_equal(fake_count(-1, "/lease/keepalive", NULL), i + 1);
        assert_false(probed(NULL));
    }
    assert_false(happens_within(probed, NULL, 5500));
    assert_true(happens_within(probed, NULL, 1500)); /* it asks no more */
    n_fake_seen = 0;
    assert_false(happens_within(probed, NULL, 4500));
    assert_true(happens_within(probed, NULL, 1500));
}

static void test_watch__silence_is_not_believed_until_the_leaders_lease_ends(void **state)
{
    (void)state;
    open_member(12000); /* a leader that dies now may have renewed it 5 s ago */
    for (unsigned i = 0; i < 2; i++) {
        assert_false(happens_within(probed, NULL, 2600));
        ask_for_lease();
    }
    assert_true(happens_within(probed, NULL, 5300));
}

static void test_watch__where_others_write_the_probe_goes_with_the_cycle(void **state)
{
    (void)state;
    open_member(20000);
    assert_false(happens_within(probed, NULL, 2600));
    fake_revision++;
    ask_for_lease(); /* the answer knows more than the stream has told: it proves nothing … */
    assert_false(probed(NULL));
    assert_true(happens_within(probed, NULL, 3000)); /* … so that silence is over after 5 s */
    for (unsigned i = 0; i < 2; i++) {
        n_fake_seen = 0;
        assert_false(happens_within(probed, NULL, 4500));
        fake_revision++;
        ask_for_lease();
        assert_true(probed(NULL));
    }
    n_fake_seen = 0;
    assert_false(happens_within(probed, NULL, 5300)); /* it is good for a cycle */
    assert_true(happens_within(probed, NULL, 1500));
}

static void test_watch__a_leaders_renewals_stand_for_probes(void **state)
{
    fake_put_kv("leader", "n1", 9, OUR_LEASE);
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    dcs_set_times(&c.dcs, 20000, 7000, 10000);
    wait_until(fake_watch_is_open, &c, 3000, "the watch");
    must(&c, DCS_RENEW_LEADER, NULL);
    must(&c, DCS_RENEW_LEADER, NULL);
    n_fake_seen = 0;
    for (unsigned i = 0; i < 2; i++) { /* in each cycle */
        assert_false(happens_within(probed, NULL, 6500));
        must(&c, DCS_RENEW_LEADER, NULL);
    }
    assert_false(happens_within(probed, NULL, 6500));
    assert_true(happens_within(probed, NULL, 3000)); /* it renews no more */

    /* others write to the store as well: its renewals prove nothing */
    n_fake_seen = 0;
    for (unsigned i = 0; i < 3 && !probed(NULL); i++) {
        fake_revision++;
        must(&c, DCS_RENEW_LEADER, NULL);
        (void)happens_within(probed, NULL, 3000);
    }
    assert_true(probed(NULL));
    (void)state;
}

static void test_watch__the_kernel_probes_its_path(void **state)
{
    const struct httpc_conn *k;
    unsigned n_conns = 0;

    (void)state;
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(fake_watch_is_open, &c, 3000, "the watch");
    for (k = ((struct etcd3 *)c.dcs.impl)->watch_http.conns; k; k = k->next) {
        int on = 0, idle_s = 0, gap_s = 0, give_up_ms = 0;
        socklen_t n = sizeof(int);

        n_conns++;
        assert_int_equal(getsockopt(k->fd, SOL_SOCKET, SO_KEEPALIVE, &on, &n), 0);
        assert_int_equal(getsockopt(k->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, &n), 0);
        assert_int_equal(getsockopt(k->fd, IPPROTO_TCP, TCP_KEEPINTVL, &gap_s, &n), 0);
        assert_int_equal(getsockopt(k->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &give_up_ms, &n), 0);
        assert_true(on);
        assert_in_range(give_up_ms, 1000 * (idle_s + gap_s), 8000);
    }
    assert_true(n_conns > 0);
}

static void test_watch__after_a_stall_of_our_own_it_begins_anew(void **state)
{
    uint64_t until_ms;

    (void)state;
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(fake_watch_is_open, &c, 3000, "the watch");
    fake_rule(-1, "/kv/put", 1, HANG, 0, NULL);
    start(&c, &r, DCS_SET_STATUS, "{}", NULL, 9000); /* something is due in a second */
    uv_run(&loop, UV_RUN_NOWAIT);
    for (until_ms = pgv_clock_ms() + 6500; pgv_clock_ms() < until_ms;)
        ; /* frozen */
    wait_until(view_is_not_live, &c, 3000, "the doubt");
    wait_until(fake_watch_is_open, &c, 5000, "the watch again");
    finish(&r);
    assert_int_equal(r.code, PGV_OK);
}

/* ---- reads ---------------------------------------------------------------------------------- */

static void test_read__an_answer_overtaken_by_the_watch_takes_nothing_back(void **state)
{
    uint64_t optime = 8;

    (void)state;
    fake_put_kv("status", "{\"optime\":7}", 50, NULL);
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(fake_watch_is_open, &c, 3000, "the watch");
    start(&c, &r, DCS_READ, NULL, NULL, 5000); /* begun at 100, answered as of 100 … */
    fake_push(fake_event(fake_kv("status", "{\"optime\":8}", 101, NULL), false), 4096);
    wait_until(optime_is, &optime, 3000, "the event");
    finish(&r);
    assert_int_equal(r.code, PGV_OK);
    assert_int_equal(c.dcs.view->cluster.status_optime, 8); /* … which is old by now */
}

static void test_read__a_store_that_went_back_is_believed(void **state)
{
    (void)state;
    fake_put_kv("leader", "n2", 90, "5");
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    fake_kvs[0] = 0;
    fake_put_kv("leader", "n3", 2, "5");
    fake_revision = 3; /* made anew, under the same names */
    must(&c, DCS_READ, NULL);
    assert_string_equal(c.dcs.view->cluster.leader, "n3");
    assert_string_equal(c.dcs.view->cluster.leader_version, "2");
}

static void test_read__more_than_we_hold_is_no_view(void **state)
{
    static char answer[7000000];
    size_t at;

    (void)state;
    at = (size_t)snprintf(answer, sizeof(answer), "{%s,\"kvs\":[{\"key\":\"%s\",\"value\":\"",
                          fake_header(), fake_base64("/service/main/config"));
    memset(answer + at, 'A', 4 * ((ETCD_VIEW_BYTES / 3) + 10));
    at += 4 * ((ETCD_VIEW_BYTES / 3) + 10);
    snprintf(answer + at, sizeof(answer) - at, "\",\"mod_revision\":\"5\"}]}");
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    fake_rule(-1, "/kv/range", 1, ANSWER, 200, answer);
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 5000), PGV_EUNREACHABLE);
    must(&c, DCS_READ, NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fakes_reset, fakes_close)
    const struct CMUnitTest tests[] = {
        T(test_watch__events_however_they_are_cut),
        T(test_watch__every_kind_of_end_begins_anew),
        T(test_watch__a_refused_token_is_replaced),
        T(test_watch__what_is_known_otherwise_must_arrive),
        T(test_watch__silence_is_looked_into),
        T(test_watch__silence_is_right_while_the_store_stands_still),
        T(test_watch__silence_is_not_believed_until_the_leaders_lease_ends),
        T(test_watch__where_others_write_the_probe_goes_with_the_cycle),
        T(test_watch__a_leaders_renewals_stand_for_probes),
        T(test_watch__the_kernel_probes_its_path),
        T(test_watch__after_a_stall_of_our_own_it_begins_anew),
        T(test_read__an_answer_overtaken_by_the_watch_takes_nothing_back),
        T(test_read__a_store_that_went_back_is_believed),
        T(test_read__more_than_we_hold_is_no_view),
    };
    int failed;

    if (support_setup(NULL))
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return support_teardown(NULL) || failed ? 1 : 0;
}
