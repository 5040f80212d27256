/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_dcs_show.c - GET /cluster's document, the documents we write, prefixes, URLs. */
#include "dcs/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct dcs_snapshot snap;

static const char *const cluster_keys[][2] = {
    { "leader", "n1" },
    { "status", "{\"optime\":67420024}" },
    { "sync", "{\"leader\":\"n1\",\"quorum\":1,\"sync_standby\":\"N3\"}" },
    { "failover", "{\"leader\":\"n1\",\"member\":\"n3\",\"scheduled_at\":"
                  "\"2030-01-02T03:04:05.5+01:00\"}" },
    { "members/n3", "{\"conn_url\":\"postgres://[FE80::1]/postgres\",\"state\":\"running\","
                    "\"role\":\"replica\",\"replication_state\":\"streaming\",\"xlog_location\":"
                    "67420000,\"replay_lsn\":67420000,\"receive_lsn\":67420025,\"timeline\":3,"
                    "\"tags\":{\"a\":[1]},\"pending_restart\":true}" },
    { "members/n1", "{\"conn_url\":\"postgres://H1:5433/postgres\",\"api_url\":\"http://h1:8008/"
                    "patroni\",\"state\":\"running\",\"role\":\"primary\",\"timeline\":3,"
                    "\"replication_state\":\"streaming\",\"xlog_location\":67420024}" },
    { "members/n2", "{}" },
};

static void load(void)
{
    dcs_snapshot_done(&snap);
    dcs_snapshot_init(&snap);
    for (size_t i = 0; i < sizeof(cluster_keys) / sizeof(*cluster_keys); i++)
        dcs_snapshot_put(&snap, pgv_str(cluster_keys[i][0]), pgv_str(cluster_keys[i][1]), "7", "");
    dcs_snapshot_finish(&snap);
}

static void check(const char *config, const char *expected)
{
    struct pgv_arena a;
    struct pgv_buf b;
    struct pgv_value *v, *c = NULL;

    pgv_arena_init(&a, 1 << 20);
    pgv_buf_init(&b, 1 << 20);
    assert_true(pgv_json_parse(&a, pgv_str(config), &c, NULL));
    v = dcs_cluster_to_json(&a, &snap, c, "main");
    assert_non_null(v);
    assert_true(pgv_json_write(&b, v, PGV_JSON_COMPACT));
    assert_string_equal(pgv_buf_cstr(&b), expected);
    pgv_buf_done(&b);
    pgv_arena_done(&a);
}

#define N1_START "{\"members\":[{\"name\":\"n1\",\"role\":\""
#define N1_END                                                                                     \
    "\",\"api_url\":\"http://h1:8008/patroni\",\"host\":\"h1\",\"port\":5433,\"timeline\":3},"     \
    "{\"name\":\"n2\",\"role\":\"replica\",\"state\":\"\",\"api_url\":null,"                       \
    "\"receive_lsn\":\"unknown\",\"receive_lag\":\"unknown\",\"replay_lsn\":\"unknown\","          \
    "\"replay_lag\":\"unknown\",\"lsn\":\"unknown\",\"lag\":\"unknown\"},"                         \
    "{\"name\":\"n3\",\"role\":\""
#define N3_END                                                                                     \
    "\",\"state\":\"streaming\",\"api_url\":null,\"host\":\"fe80::1\",\"port\":5432,"              \
    "\"timeline\":3,\"pending_restart\":true,\"tags\":{\"a\":[1]},\"receive_lag\":0,"              \
    "\"receive_lsn\":\"0/404BF79\",\"replay_lag\":24,\"replay_lsn\":\"0/404BF60\",\"lag\":24,"     \
    "\"lsn\":\"0/404BF60\"}],"
#define TAIL                                                                                       \
    "\"scheduled_switchover\":{\"at\":\"2030-01-02T03:04:05.500000+01:00\",\"from\":\"n1\","       \
    "\"to\":\"n3\"},\"scope\":\"main\"}"

static void test_cluster_to_json__modes(void **state)
{
    (void)state;
    load();
    check("{}", N1_START "leader\",\"state\":\"running" N1_END "replica" N3_END TAIL);
    check("{\"synchronous_mode\":\"on\",\"pause\":true}", N1_START
          "leader\",\"state\":\"running" N1_END "sync_standby" N3_END "\"pause\":true," TAIL);
    check("{\"synchronous_mode\":\"Quorum\"}",
          N1_START "leader\",\"state\":\"running" N1_END "quorum_standby" N3_END TAIL);
    check("{\"synchronous_mode\":\"quorum\",\"standby_cluster\":{\"host\":\"x\"}}",
          N1_START "standby_leader\",\"state\":\"streaming" N1_END "replica" N3_END TAIL);
    check("{\"synchronous_mode\":true,\"standby_cluster\":{\"create_replica_methods\":[]}}",
          N1_START "leader\",\"state\":\"running" N1_END "sync_standby" N3_END TAIL);
}

static void test_cluster_to_json__no_room_is_no_document(void **state)
{
    struct pgv_arena a;

    (void)state;
    load();
    for (size_t bytes = 0; bytes < 2048; bytes += 128) {
        pgv_arena_init(&a, bytes);
        assert_null(dcs_cluster_to_json(&a, &snap, NULL, "main"));
        pgv_arena_done(&a);
    }
}

static void test_cluster_to_json__naive_and_broken_schedules_are_shown_as_they_are(void **state)
{
    static const char *const cases[][2] = { { "2030-01-02 03:04", "2030-01-02T03:04:00" },
                                            { "tomorrow", "tomorrow" } };
    struct pgv_arena a;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct pgv_value *v;
        char text[128];

        snprintf(text, sizeof(text), "{\"member\":\"b\",\"scheduled_at\":\"%s\"}", cases[i][0]);
        dcs_snapshot_done(&snap);
        dcs_snapshot_init(&snap);
        dcs_snapshot_put(&snap, PGV_STR("failover"), pgv_str(text), "7", "");
        dcs_snapshot_finish(&snap);
        pgv_arena_init(&a, 1 << 20);
        v = dcs_cluster_to_json(&a, &snap, NULL, "main");
        assert_string_equal(pgv_stringz(pgv_path(v, "scheduled_switchover.at")), cases[i][1]);
        assert_null(pgv_path(v, "scheduled_switchover.from"));
        pgv_arena_done(&a);
    }
}

static void test_prefix__slashes(void **state)
{
    static const struct {
        const char *name_space, *scope, *is;
    } cases[] = {
        { "service", "main", "/service/main/" },
        { "/service/", "main", "/service/main/" },
        { "//a//b/", "/main/", "/a/b/main/" },
        { "/", "main", "/main/" },
        { "", "main", "/main/" },
        { NULL, "main", "/main/" },
    };
    char prefix[64], small[8];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_true(dcs_prefix(cases[i].name_space, cases[i].scope, prefix, sizeof(prefix)));
        assert_string_equal(prefix, cases[i].is);
    }
    assert_false(dcs_prefix("service", "", prefix, sizeof(prefix)));
    assert_false(dcs_prefix("service", "/", prefix, 1));
    assert_false(dcs_prefix("service", "main", small, sizeof(small)));
}

static void test_conn_url__forms(void **state)
{
    static const struct {
        const char *url, *host;
        int port;
        const char *dbname;
    } cases[] = {
        { "postgres://10.0.0.1:5433/postgres", "10.0.0.1", 5433, "postgres" },
        { "postgresql://Host/db?x=/y", "host", 5432, "db" },
        { "postgres://u:p@h:1", "h", 1, "" },
        { "postgres://[::1]:6/a", "::1", 6, "a" },
        { "postgres://[::1]", "::1", 5432, "" },
        { "postgres://h:/a", "h", 5432, "a" },
    };
    char host[64], db[64];
    int port;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_true(dcs_conn_url_parse(cases[i].url, host, sizeof(host), &port, db, sizeof(db)));
        assert_string_equal(host, cases[i].host);
        assert_int_equal(port, cases[i].port);
        assert_string_equal(db, cases[i].dbname);
    }
    for (const char *const *u = (const char *const[]){ "", "x", "http://h/", "postgres:h",
                                                       "postgres:///db", "postgres://h:x/", NULL };
         *u; u++)
        assert_false(dcs_conn_url_parse(*u, host, sizeof(host), &port, db, sizeof(db)));
    assert_false(dcs_conn_url_parse(NULL, host, sizeof(host), &port, db, sizeof(db)));
}

static void test_write__failover_and_status(void **state)
{
    static const struct dcs_slot_lsn slots[] = { { "n1", 67420024 }, { "l\"s", 1 } };
    static const char retain[][PGV_SLOT_NAME_BYTES] = { "n1", "n2" };
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, 1024);
    assert_true(dcs_write_failover(&b, "n1", "n2", "2030-01-02T03:04:05+00:00"));
    assert_string_equal(pgv_buf_cstr(&b), "{\"leader\":\"n1\",\"member\":\"n2\",\"scheduled_at\":"
                                          "\"2030-01-02T03:04:05+00:00\"}");
    pgv_buf_reset(&b);
    assert_true(dcs_write_failover(&b, NULL, "n2", ""));
    assert_string_equal(pgv_buf_cstr(&b), "{\"member\":\"n2\"}");
    pgv_buf_reset(&b);
    assert_true(dcs_write_failover(&b, NULL, NULL, NULL));
    assert_string_equal(pgv_buf_cstr(&b), "{}");

    pgv_buf_reset(&b);
    assert_true(dcs_write_status(&b, 67420024, slots, 2, retain, 2));
    assert_string_equal(pgv_buf_cstr(&b), "{\"optime\":67420024,\"slots\":{\"n1\":67420024,"
                                          "\"l\\\"s\":1},\"retain_slots\":[\"n1\",\"n2\"]}");
    pgv_buf_reset(&b);
    assert_true(dcs_write_status(&b, 5, NULL, 0, NULL, 0));
    assert_string_equal(pgv_buf_cstr(&b), "{\"optime\":5}");
    pgv_buf_done(&b);

    pgv_buf_init(&b, 16);
    assert_false(dcs_write_status(&b, 5, slots, 2, NULL, 0));
    pgv_buf_done(&b);
}

static int teardown(void **state)
{
    (void)state;
    dcs_snapshot_done(&snap);
    return pgv_alloc_blocks_in_use() != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cluster_to_json__modes),
        cmocka_unit_test(test_cluster_to_json__no_room_is_no_document),
        cmocka_unit_test(test_cluster_to_json__naive_and_broken_schedules_are_shown_as_they_are),
        cmocka_unit_test(test_prefix__slashes),
        cmocka_unit_test(test_conn_url__forms),
        cmocka_unit_test(test_write__failover_and_status),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}
