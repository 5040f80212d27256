/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_agent_health.c - the tables of the health checks, row by row. */
#include "agent/rest.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct pgv_arena arena;

static struct rest_world primary(void)
{
    return (struct rest_world){ .state = PGV_STATE_RUNNING,
                                .role = PGV_ROLE_PRIMARY,
                                .cluster_known = true,
                                .leader = true,
                                .replication_state = "",
                                .leader_optime = 1000 };
}

static struct rest_world replica(void)
{
    return (struct rest_world){ .state = PGV_STATE_RUNNING,
                                .role = PGV_ROLE_REPLICA,
                                .cluster_known = true,
                                .replication_state = "streaming",
                                .leader_optime = 1000,
                                .received = 1000,
                                .replayed = 1000 };
}

static int code(const char *path, const char *query, struct rest_world w)
{
    return rest_health_code(rest_probe_of(pgv_str(path)), pgv_str(query), &w);
}

static void test_rest_probe_of__first_match_wins(void **state)
{
    static const struct {
        const char *path;
        enum rest_probe probe;
    } rows[] = {
        { "/", REST_PROBE_PRIMARY },
        { "/primary", REST_PROBE_PRIMARY },
        { "/master", REST_PROBE_PRIMARY },
        { "/read-write", REST_PROBE_PRIMARY },
        { "/leader", REST_PROBE_LEADER },
        { "/foo-leader-x", REST_PROBE_LEADER },
        { "/leader/primary", REST_PROBE_LEADER },
        { "/standby-leader", REST_PROBE_STANDBY_LEADER },
        { "/standby_leader", REST_PROBE_STANDBY_LEADER },
        { "/replica", REST_PROBE_REPLICA },
        { "/primary-replica", REST_PROBE_PRIMARY },
        { "/read-only", REST_PROBE_READ_ONLY },
        { "/read-only-x", REST_PROBE_READ_ONLY },
        { "/health", REST_PROBE_HEALTH },
        { "/read-only-sync-health", REST_PROBE_HEALTH },
        { "/sync", REST_PROBE_SYNC },
        { "/synchronous", REST_PROBE_SYNC },
        { "/sync/", REST_PROBE_NONE },
        { "/quorum", REST_PROBE_QUORUM },
        { "/async", REST_PROBE_ASYNC },
        { "/asynchronous", REST_PROBE_ASYNC },
        { "/read-only-quorum", REST_PROBE_READ_ONLY_QUORUM },
        { "/read-only-sync", REST_PROBE_READ_ONLY_SYNC },
        { "/read-only-synchronous", REST_PROBE_READ_ONLY_SYNC },
        { "/read-only-syncx", REST_PROBE_NONE },
        { "/PRIMARY", REST_PROBE_NONE },
        { "/restart", REST_PROBE_NONE },
        { "", REST_PROBE_NONE },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rest_probe_of(pgv_str(rows[i].path)) != rows[i].probe)
            fail_msg("%s is probe %d", rows[i].path, (int)rest_probe_of(pgv_str(rows[i].path)));
}

static void test_rest_health_code__a_primary(void **state)
{
    struct rest_world w = primary();

    (void)state;
    assert_int_equal(code("/", "", w), 200);
    assert_int_equal(code("/leader", "", w), 200);
    assert_int_equal(code("/read-only", "", w), 200);
    assert_int_equal(code("/read-only-sync", "", w), 200);
    assert_int_equal(code("/read-only-quorum", "", w), 200);
    assert_int_equal(code("/health", "", w), 200);
    assert_int_equal(code("/standby-leader", "", w), 503);
    assert_int_equal(code("/replica", "", w), 503);
    assert_int_equal(code("/sync", "", w), 503);
    assert_int_equal(code("/async", "", w), 503);
    assert_int_equal(code("/quorum", "", w), 503);
    assert_int_equal(code("/nonsense", "", w), 503);
}

static void test_rest_health_code__the_lease_alone_makes_a_primary(void **state)
{
    struct rest_world w = primary();

    (void)state;
    w.state = PGV_STATE_UNKNOWN; /* the query failed */
    assert_int_equal(code("/primary", "", w), 200);
    assert_int_equal(code("/health", "", w), 503);
    w.role = PGV_ROLE_REPLICA; /* about to promote */
    w.state = PGV_STATE_RUNNING;
    assert_int_equal(code("/primary", "", w), 200);
    assert_int_equal(code("/replica", "", w), 200);
    w = primary();
    w.leader = false; /* whatever the role */
    assert_int_equal(code("/primary", "", w), 503);
    assert_int_equal(code("/leader", "", w), 503);
    assert_int_equal(code("/read-only", "", w), 503);
}

static void test_rest_health_code__in_pause_without_a_cluster_the_role_decides(void **state)
{
    struct rest_world w = primary();

    (void)state;
    w.leader = false;
    w.cluster_known = false;
    w.paused = true;
    assert_int_equal(code("/primary", "", w), 200);
    assert_int_equal(code("/leader", "", w), 200);
    assert_int_equal(code("/standby-leader", "", w), 503);
    assert_int_equal(code("/read-only-sync", "", w), 503); /* needs the cluster */
    w.role = PGV_ROLE_STANDBY_LEADER;
    assert_int_equal(code("/primary", "", w), 503);
    assert_int_equal(code("/standby-leader", "", w), 200);
    assert_int_equal(code("/leader", "", w), 200);
    w.role = PGV_ROLE_REPLICA;
    assert_int_equal(code("/leader", "", w), 503);
    w = primary();
    w.cluster_known = false; /* not paused: the lease */
    assert_int_equal(code("/primary", "", w), 200);
    w.paused = true; /* paused and unknown: even the lease does not count */
    w.role = PGV_ROLE_REPLICA;
    assert_int_equal(code("/primary", "", w), 503);
}

static void test_rest_health_code__a_standby_cluster(void **state)
{
    struct rest_world w = replica();

    (void)state;
    w.leader = w.standby_cluster = true;
    assert_int_equal(code("/standby-leader", "", w), 200);
    assert_int_equal(code("/leader", "", w), 200);
    assert_int_equal(code("/primary", "", w), 503);
    assert_int_equal(code("/replica", "", w), 503); /* forced, though it is one */
    assert_int_equal(code("/read-only", "", w), 200);
    w.role = PGV_ROLE_PRIMARY;
    assert_int_equal(code("/standby-leader", "", w), 503);
}

static void test_rest_health_code__a_replica(void **state)
{
    struct rest_world w = replica();

    (void)state;
    assert_int_equal(code("/replica", "", w), 200);
    assert_int_equal(code("/read-only", "", w), 200);
    assert_int_equal(code("/async", "", w), 200);
    assert_int_equal(code("/asynchronous", "", w), 200);
    assert_int_equal(code("/sync", "", w), 503);
    assert_int_equal(code("/quorum", "", w), 503);
    assert_int_equal(code("/read-only-sync", "", w), 503);
    assert_int_equal(code("/primary", "", w), 503);
    w.sync_standby = true;
    assert_int_equal(code("/sync", "", w), 200);
    assert_int_equal(code("/async", "", w), 503);
    assert_int_equal(code("/quorum", "", w), 503);
    assert_int_equal(code("/read-only-sync", "", w), 200);
    assert_int_equal(code("/read-only-quorum", "", w), 503);
    w.sync_standby = false;
    w.quorum_standby = true;
    assert_int_equal(code("/quorum", "", w), 200);
    assert_int_equal(code("/read-only-quorum", "", w), 200);
    assert_int_equal(code("/sync", "", w), 503);
    assert_int_equal(code("/async", "", w), 503);
    w.cluster_known = false;
    assert_int_equal(code("/quorum", "", w), 503);
    assert_int_equal(code("/replica", "", w), 200); /* needs no cluster */
    w = replica();
    w.noloadbalance = true;
    assert_int_equal(code("/replica", "", w), 503);
    assert_int_equal(code("/health", "", w), 200);
    w = replica();
    w.state = PGV_STATE_STARTING;
    assert_int_equal(code("/replica", "", w), 503);
    assert_int_equal(code("/health", "", w), 503);
    w = replica();
    w.role = PGV_ROLE_DEMOTED;
    assert_int_equal(code("/replica", "", w), 503);
}

static void test_rest_health_code__lag(void **state)
{
    struct rest_world w = replica();

    (void)state;
    w.leader_optime = 3000000;
    w.replayed = 1000000;
    assert_int_equal(code("/replica", "", w), 200); /* no limit */
    assert_int_equal(code("/replica", "lag=1MB", w), 503);
    assert_int_equal(code("/replica", "lag=2000000", w), 200);
    assert_int_equal(code("/replica", "lag=1999999", w), 503);
    assert_int_equal(code("/replica", "lag=1.95MB", w), 200);
    assert_int_equal(code("/replica", "lag=%202MB%20", w), 200);
    assert_int_equal(code("/replica", "lag=1mb", w), 200);       /* no unit: unlimited */
    assert_int_equal(code("/replica", "lag=10M", w), 200);       /* the same */
    assert_int_equal(code("/replica", "lag=", w), 200);          /* as if it were not there */
    assert_int_equal(code("/replica", "lag=1&lag=9GB", w), 503); /* the first counts */
    assert_int_equal(code("/read-only", "lag=1kB", w), 503);
    assert_int_equal(code("/async", "lag=1kB", w), 503);
    assert_int_equal(code("/health", "lag=1kB", w), 200); /* nothing to do with it */
    w.leader_optime = 0;                                  /* unknown: nobody lags */
    assert_int_equal(code("/replica", "lag=0", w), 200);
    w.latest_end_lsn = 2000000; /* but the receiver has seen it */
    assert_int_equal(code("/replica", "lag=0", w), 503);
    w.replayed = 2000000;
    assert_int_equal(code("/replica", "lag=0", w), 200);
    assert_int_equal(code("/replica", "lag=-1", w), 503);
    w.replayed = 0; /* null counts as 0 */
    assert_int_equal(code("/replica", "lag=1MB", w), 503);
}

static void test_rest_health_code__replication_state(void **state)
{
    struct rest_world w = replica();

    (void)state;
    assert_int_equal(code("/replica", "replication_state=streaming", w), 200);
    assert_int_equal(code("/replica", "replication_state=", w), 200);
    assert_int_equal(code("/replica", "replication_state=Streaming", w), 503);
    assert_int_equal(code("/replica", "replication_state=in+archive+recovery", w), 503);
    w.replication_state = "in archive recovery";
    assert_int_equal(code("/replica", "replication_state=in%20archive%20recovery", w), 200);
    assert_int_equal(code("/health", "replication_state=streaming", w), 200);
}

static void test_rest_health_code__tags(void **state)
{
    struct rest_world w = replica();
    struct pgv_value *tags = NULL;
    struct pgv_error err;

    (void)state;
    assert_true(pgv_json_parse(&arena,
                               PGV_STR("{\"Dc\":\"East\",\"nostream\":true,\"n\":1,\"r\":1.4,"
                                       "\"z\":null,\"e\":\"\"}"),
                               &tags, &err));
    w.tags = tags;
    assert_int_equal(code("/replica", "tag_Dc=East", w), 200);
    assert_int_equal(code("/replica", "tag_Dc=east", w), 503); /* strings are exact */
    assert_int_equal(code("/replica", "tag_dc=East", w), 503);
    assert_int_equal(code("/replica", "tag_nostream=true", w), 200);
    assert_int_equal(code("/replica", "tag_nostream=True", w), 503);
    assert_int_equal(code("/replica", "tag_n=1", w), 200);
    assert_int_equal(code("/replica", "tag_r=1.4", w), 200);
    assert_int_equal(code("/replica", "tag_z=none", w), 503); /* null is missing */
    assert_int_equal(code("/replica", "tag_x=1", w), 503);
    assert_int_equal(code("/replica", "tag_x=", w), 200); /* as if it were not there */
    assert_int_equal(code("/replica", "tag_n=1&tag_n=2", w), 200);
    assert_int_equal(code("/replica", "tag_n=2&tag_n=1", w), 503);
    assert_int_equal(code("/replica", "tag_n=1&tag_Dc=West", w), 503);
    assert_int_equal(code("/replica", "%74ag_n=2", w), 503); /* keys are decoded */
    assert_int_equal(code("/health", "tag_n=2", w), 503);
    assert_int_equal(code("/read-only", "tag_n=2", w), 503);
    w.leader = true; /* leader paths look at no tags */
    assert_int_equal(code("/primary", "tag_n=2", w), 200);
    assert_int_equal(code("/leader", "tag_n=2", w), 200);
}

static int ready(const char *query, struct rest_world w, char *why)
{
    why[0] = '\0';
    return rest_readiness_code(pgv_str(query), &w, 1048576, why, 160);
}

static void test_rest_readiness_code__rows(void **state)
{
    struct rest_world w = primary();
    char why[160];

    (void)state;
    assert_int_equal(ready("", w, why), 200);
    w.leader = false;
    w.state = PGV_STATE_STARTING;
    assert_int_equal(ready("", w, why), 503);
    assert_string_equal(why, "PostgreSQL is not running");
    w = replica();
    assert_int_equal(ready("", w, why), 200);
    w.replication_state = "in archive recovery";
    assert_int_equal(ready("", w, why), 503);
    assert_string_equal(why, "PostgreSQL replication state is not streaming");
    w = replica();
    w.cluster_known = false;
    w.leader_optime = 0;
    assert_int_equal(ready("", w, why), 503);
    assert_string_equal(why, "DCS is not accessible");
    w.latest_end_lsn = 1000;
    assert_int_equal(ready("", w, why), 200);
    w = replica();
    w.leader_optime = 1000 + 1048577;
    w.received = 1000 + 1048577;
    assert_int_equal(ready("", w, why), 503);
    assert_string_equal(why, "Replication apply lag 1048577 exceeds maximum allowable 1048576");
    assert_int_equal(ready("mode=write", w, why), 200);
    assert_int_equal(ready("mode=Write", w, why), 503);
    assert_int_equal(ready("lag=2MB", w, why), 200);
    assert_int_equal(ready("lag=bad", w, why), 503); /* the limit of a failover stands */
    w.received = 1000;
    assert_int_equal(ready("mode=write&lag=16kB", w, why), 503);
    assert_string_equal(why, "Replication write lag 1048577 exceeds maximum allowable 16384");
}

static void target(const char *path, const char *query, const char *want_path,
                   const char *want_query)
{
    struct pgv_str p = pgv_str(path), q = pgv_str(query);

    rest_target_trim(&p, &q);
    if (!pgv_str_eqz(p, want_path) || !pgv_str_eqz(q, want_query))
        fail_msg("'%s' '%s' became '%.*s' '%.*s'", path, query, (int)p.n, p.p, (int)q.n,
                 q.n ? q.p : "");
}

static void test_rest_target_trim__what_routing_sees(void **state)
{
    (void)state;
    target("/patroni", "a=1", "/patroni", "a=1");
    target("http://h:8008/config", "", "/config", "");
    target("http://h:8008", "", "/", "");
    target("/a;x/b;y", "", "/a;x/b", "");
    target("/a#frag", "q=1", "/a", "");
    target("/a", "q=1#frag", "/a", "q=1");
    target("", "", "", "");
    target("config", "", "config", "");
    target(";", "", "", "");
}

static void test_rest_route_find__methods_and_segments(void **state)
{
    (void)state;
    assert_string_equal(rest_route_find(HTTPD_GET, PGV_STR("/patroni/x"))->segment, "patroni");
    assert_string_equal(rest_route_find(HTTPD_GET, PGV_STR("///config"))->segment, "config");
    assert_string_equal(rest_route_find(HTTPD_GET, PGV_STR("/Config"))->segment, "");
    assert_string_equal(rest_route_find(HTTPD_GET, PGV_STR("/restart"))->segment, "");
    assert_string_equal(rest_route_find(HTTPD_HEAD, PGV_STR("/patroni"))->segment, "");
    assert_string_equal(rest_route_find(HTTPD_OPTIONS, PGV_STR("/metrics"))->segment, "");
    assert_null(rest_route_find(HTTPD_POST, PGV_STR("/patroni")));
    assert_null(rest_route_find(HTTPD_DELETE, PGV_STR("/config")));
    assert_null(rest_route_find(HTTPD_OTHER, PGV_STR("/")));
    assert_true(rest_route_find(HTTPD_POST, PGV_STR("/mpp"))->guarded);
    assert_true(rest_route_find(HTTPD_POST, PGV_STR("/failsafe"))->failsafe);
    assert_false(rest_route_find(HTTPD_GET, PGV_STR("/failsafe"))->guarded);
    assert_true(rest_route_find(HTTPD_PUT, PGV_STR("/config"))->guarded);
    assert_true(rest_route_find(HTTPD_DELETE, PGV_STR("/switchover"))->guarded);
}

static struct sockaddr_storage peer(const char *ip)
{
    struct sockaddr_storage ss = { 0 };
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

    if (inet_pton(AF_INET, ip, &v4.sin_addr) == 1) {
        memcpy(&ss, &v4, sizeof(v4));
    } else {
        assert_int_equal(inet_pton(AF_INET6, ip, &v6.sin6_addr), 1);
        memcpy(&ss, &v6, sizeof(v6));
    }
    return ss;
}

static void test_rest_network_has__vectors(void **state)
{
    static const struct {
        const char *network, *ip;
        bool inside;
    } rows[] = {
        { "10.1.2.3", "10.1.2.3", true },
        { "10.1.2.3", "10.1.2.4", false },
        { "10.1.2.3", "::ffff:10.1.2.3", true }, /* v4-mapped */
        { "10.1.2.3/8", "10.200.0.1", true },    /* host bits are tolerated */
        { "10.0.0.0/8", "11.0.0.1", false },
        { "10.128.0.0/9", "10.127.0.1", false },
        { "0.0.0.0/0", "192.0.2.1", true },
        { "0.0.0.0/0", "2001:db8::1", false }, /* all of IPv4 is not IPv6 */
        { "::/0", "2001:db8::1", true },
        { "2001:db8::/33", "2001:db8:8000::1", false },
        { "2001:db8::/33", "2001:db8:7fff::1", true },
        { "::1", "::1", true },
        { "::1", "127.0.0.1", false },
    };
    struct rest_network n;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sockaddr_storage ss = peer(rows[i].ip);

        assert_true(rest_network_parse(pgv_str(rows[i].network), &n));
        if (rest_network_has(&n, &ss) != rows[i].inside)
            fail_msg("%s in %s", rows[i].ip, rows[i].network);
    }
    assert_false(rest_network_parse(PGV_STR("10.0.0.0/33"), &n));
    assert_false(rest_network_parse(PGV_STR("::/129"), &n));
    assert_false(rest_network_parse(PGV_STR("10.0.0.0/"), &n));
    assert_false(rest_network_parse(PGV_STR("10.0.0.0/-1"), &n));
    assert_false(rest_network_parse(PGV_STR("node1"), &n));
    assert_false(rest_network_parse(PGV_STR(""), &n));
}

static void test_rest_auth_refusal__words(void **state)
{
    struct pgv_str secret = PGV_STR("dXNlcjpwYXNz"); /* user:pass */

    (void)state;
    assert_null(rest_auth_refusal(secret, PGV_STR("Basic dXNlcjpwYXNz")));
    assert_null(rest_auth_refusal(PGV_STR(""), PGV_STR("")));
    assert_string_equal(rest_auth_refusal(secret, PGV_STR("")), "no auth header received");
    assert_string_equal(rest_auth_refusal(secret, PGV_STR("basic dXNlcjpwYXNz")),
                        "not authenticated");
    assert_string_equal(rest_auth_refusal(secret, PGV_STR("Basic dXNlcjpwYXN")),
                        "not authenticated");
    assert_string_equal(rest_auth_refusal(secret, PGV_STR("Basic dXNlcjpwYXNzz")),
                        "not authenticated");
    assert_string_equal(rest_auth_refusal(secret, PGV_STR("Basic ")), "not authenticated");
    assert_string_equal(rest_auth_refusal(secret, PGV_STR("Bearer dXNlcjpwYXNz")),
                        "not authenticated");
}

static void schedule(const char *json, int want_status, const char *want)
{
    struct pgv_value *v = NULL;
    struct pgv_error err;
    char text[PGV_MOMENT_BYTES] = "", why[160] = "";
    int64_t wall_us, now_us = 1893456000000000; /* 2030-01-01 */
    int status;

    assert_true(pgv_json_parse(&arena, pgv_str(json), &v, &err));
    status = rest_parse_schedule(v, "restart", now_us, &wall_us, text, why, sizeof(why));
    assert_int_equal(status, want_status);
    assert_string_equal(status ? why : text, want);
}

static void test_rest_parse_schedule__answers(void **state)
{
    (void)state;
    schedule("\"2030-06-01T10:00+02\"", 0, "2030-06-01T10:00:00+02:00");
    schedule("\"2030-06-01 10:00:00.5 UTC\"", 0, "2030-06-01T10:00:00.500000+00:00");
    schedule("\"20300601T101010Z\"", 0, "2030-06-01T10:10:10+00:00");
    schedule("\"2030-06-01T10:00\"", 400,
             "Timezone information is mandatory for the scheduled restart");
    schedule("\"2029-12-31T23:59:59Z\"", 422, "Cannot schedule restart in the past");
    schedule("\"tomorrow\"", 422,
             "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO "
             "8601");
    schedule("5", 422,
             "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO "
             "8601");
}

static int arena_up(void **state)
{
    (void)state;
    pgv_arena_init(&arena, 1u << 20);
    return 0;
}

static int arena_down(void **state)
{
    (void)state;
    pgv_arena_done(&arena);
    return 0;
}

static void test_rest_weight_percent__falls_with_the_lag(void **state)
{
    (void)state;
    assert_int_equal(rest_weight_percent(0, 1000), 100);
    assert_int_equal(rest_weight_percent(500, 1000), 51);
    assert_int_equal(rest_weight_percent(999, 1000), 2);
    assert_int_equal(rest_weight_percent(1000, 1000), 1);
    assert_int_equal(rest_weight_percent(UINT64_MAX, 1000), 1);
    assert_int_equal(rest_weight_percent(0, 0), 100);
    assert_int_equal(rest_weight_percent(1, -5), 1);
}

static void test_measure_observe__each_falls_into_one_bucket(void **state)
{
    struct measure m = { 0 };

    (void)state;
    measure_observe(&m, 0);
    measure_observe(&m, 100); /* a bound belongs to its bucket */
    measure_observe(&m, 101);
    measure_observe(&m, 10000001);
    assert_int_equal(m.buckets[0], 2);
    assert_int_equal(m.buckets[1], 1);
    assert_int_equal(m.buckets[MEASURE_BUCKETS], 1);
    assert_int_equal(m.n, 4);
    assert_int_equal(m.sum_us, 10000202);
    for (unsigned i = 1; i < MEASURE_BUCKETS; i++)
        assert_true(measure_bounds_us[i - 1] < measure_bounds_us[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rest_weight_percent__falls_with_the_lag),
        cmocka_unit_test(test_measure_observe__each_falls_into_one_bucket),
        cmocka_unit_test(test_rest_probe_of__first_match_wins),
        cmocka_unit_test(test_rest_health_code__a_primary),
        cmocka_unit_test(test_rest_health_code__the_lease_alone_makes_a_primary),
        cmocka_unit_test(test_rest_health_code__in_pause_without_a_cluster_the_role_decides),
        cmocka_unit_test(test_rest_health_code__a_standby_cluster),
        cmocka_unit_test(test_rest_health_code__a_replica),
        cmocka_unit_test(test_rest_health_code__lag),
        cmocka_unit_test(test_rest_health_code__replication_state),
        cmocka_unit_test(test_rest_health_code__tags),
        cmocka_unit_test(test_rest_readiness_code__rows),
        cmocka_unit_test(test_rest_target_trim__what_routing_sees),
        cmocka_unit_test(test_rest_route_find__methods_and_segments),
        cmocka_unit_test(test_rest_network_has__vectors),
        cmocka_unit_test(test_rest_auth_refusal__words),
        cmocka_unit_test(test_rest_parse_schedule__answers),
    };

    return cmocka_run_group_tests(tests, arena_up, arena_down);
}
