/* SPDX-License-Identifier: PostgreSQL */
/* test_ctl_members.c - the members table, its tree, its numbers; who is selected; edited documents.
 */
#include "ctl/config_edit.h"
#include "ctl/members.h"
#include "ctl_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct dcs_snapshot snapshot;
    struct pgv_arena arena;
    struct pgv_buf b;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    dcs_snapshot_init(&f->snapshot);
    pgv_arena_init(&f->arena, 8 << 20);
    pgv_buf_init(&f->b, 8 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    dcs_snapshot_done(&f->snapshot);
    pgv_buf_done(&f->b);
    pgv_arena_done(&f->arena);
    free(f);
    return pgv_alloc_blocks_in_use() == 0 ? 0 : -1;
}

static void put(struct fixture *f, const char *key, const char *value)
{
    dcs_snapshot_put(&f->snapshot, pgv_str(key), pgv_str(value), "1", "");
}

/** A member at host h<n>, following @from when it is not empty. */
static void put_replica(struct fixture *f, const char *name, const char *from)
{
    char key[64], value[256];

    snprintf(key, sizeof(key), "members/%s", name);
    snprintf(value, sizeof(value),
             "{\"conn_url\": \"postgres://%s:5432/x\", \"state\": \"running\", \"role\": "
             "\"replica\", \"tags\": {\"replicatefrom\": \"%s\"}}",
             name, from);
    put(f, key, value);
}

static const char *shown(struct fixture *f, enum ctl_format format, bool citus, int64_t group)
{
    struct ctl_members_view view = { .s = &f->snapshot,
                                     .name = "main",
                                     .citus = citus,
                                     .group = { .given = group >= 0, .n = group >= 0 ? group : 0 },
                                     .format = format };
    struct pgv_error err;

    dcs_snapshot_finish(&f->snapshot);
    assert_false(f->snapshot.failed);
    pgv_buf_reset(&f->b);
    if (!ctl_write_members(&f->b, &view, &err))
        fail_msg("%s", err.msg);
    return pgv_buf_cstr(&f->b);
}

static void test_megabytes__rounds_halves_to_even(void **state)
{
    static const struct {
        int64_t bytes, megabytes;
    } cases[] = {
        { 0, 0 },
        { 524287, 0 },
        { 524288, 0 },
        { 524289, 1 },
        { 1572864, 2 },
        { 2621440, 2 },
        { 3 * 1048576, 3 },
        { 3670016, 4 },
        { 4718592, 4 },
        { 4718593, 5 },
        { 1099511627776, 1048576 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(ctl_megabytes(cases[i].bytes), cases[i].megabytes);
}

static void test_write__a_cluster_of_nothing(void **state)
{
    assert_string_equal(
        shown(*state, CTL_PRETTY, false, -1),
        "+ Cluster: main (uninitialized) ----+-------------+-----+------------+-----+\n"
        "| Member | Host | Role | State | TL | Receive LSN | Lag | Replay LSN | Lag |\n"
        "+--------+------+------+-------+----+-------------+-----+------------+-----+\n"
        "+--------+------+------+-------+----+-------------+-----+------------+-----+\n");
}

static void test_write__topology_is_a_tree_without_cycles(void **state)
{
    static const char *const names[] = { "\n| a       |", "\n| + b     |", "\n|   + c   |",
                                         "\n|     + d |", "\n|   + e   |", "\n| + lost  |",
                                         "\n| + self  |" };
    struct fixture *f = *state;
    const char *at;

    put(f, "leader", "a");
    put(f, "members/a",
        "{\"conn_url\": \"postgres://a:5432/x\", \"state\": \"running\", \"role\": \"primary\"}");
    put_replica(f, "b", "a");
    put_replica(f, "c", "b");
    put_replica(f, "d", "c");
    put_replica(f, "e", "b");
    put_replica(f, "lost", "nobody");
    put_replica(f, "self", "self");
    put_replica(f, "loop1", "loop2");
    put_replica(f, "loop2", "loop1");
    at = shown(f, CTL_TOPOLOGY, false, -1);
    assert_null(strstr(at, "loop1 "));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *found = strstr(at, names[i]);

        if (!found)
            fail_msg("'%s' is not, or not there:\n%s", names[i], at);
        at = found;
    }
}

static void test_write__without_a_leader_all_stand_at_the_first_level(void **state)
{
    struct fixture *f = *state;

    put_replica(f, "b", "");
    put_replica(f, "c", "b");
    assert_non_null(strstr(shown(f, CTL_TOPOLOGY, false, -1), "\n| + b    |"));
    assert_non_null(strstr(pgv_buf_cstr(&f->b), "\n|   + c  |"));
}

static void test_write__a_group_is_told_in_the_title_or_in_a_column(void **state)
{
    struct fixture *f = *state;

    put(f, "initialize", "7277694203142172922");
    put(f, "config", "{\"pause\": true}");
    put_replica(f, "b", "");
    assert_memory_equal(shown(f, CTL_PRETTY, true, 1),
                        "+ Citus cluster: main (group: 1, 7277694203142172922) ", 54);
    assert_null(strstr(pgv_buf_cstr(&f->b), "Group |"));
    assert_memory_equal(shown(f, CTL_PRETTY, true, -1), "+ Citus cluster: main ", 22);
    assert_non_null(strstr(pgv_buf_cstr(&f->b), "\n| Group | Member |"));
    assert_non_null(strstr(pgv_buf_cstr(&f->b), "\nCitus group: 0\n Maintenance mode: on\n"));
    assert_memory_equal(shown(f, CTL_JSON, true, 1), "[{\"Cluster\": \"main\", \"Group\": 1, ", 33);
}

static void test_write__fails_cleanly_at_every_allocation(void **state)
{
    struct fixture *f = *state;
    struct ctl_members_view view = { .s = &f->snapshot, .name = "main", .extended = true };
    bool done = false;

    put(f, "leader", "b");
    put_replica(f, "b", "");
    put_replica(f, "c", "b");
    dcs_snapshot_finish(&f->snapshot);
    for (unsigned long nth = 1; !done; nth++) {
        struct pgv_error err = { 0 };

        pgv_buf_done(&f->b);
        pgv_buf_init(&f->b, 1 << 20);
        pgv_alloc_fail_at(nth, true);
        done = ctl_write_members(&f->b, &view, &err);
        pgv_alloc_fail_at(0, false);
        assert_true(done || err.code == PGV_ENOMEM);
        assert_true(nth < 1000);
    }
}

/** Roles of the leader's member, and which selections find it. */
static void test_members_with_role__knows_the_kinds_of_leaders(void **state)
{
    static const struct {
        enum pgv_role role;
        bool primary, standby_leader;
    } cases[] = {
        { PGV_ROLE_PRIMARY, true, false },
        { PGV_ROLE_STANDBY_LEADER, false, true },
        { PGV_ROLE_REPLICA, true, true }, /* promoted a moment ago, or about to step down */
        { PGV_ROLE_UNKNOWN, true, true },
    };
    struct fixture *f = *state;
    struct ctl_cluster k = { .s = &f->snapshot };
    struct dcs_member leader = { .name = "b" };
    struct ctl_selection s;

    put_replica(f, "b", "");
    put_replica(f, "c", "");
    dcs_snapshot_finish(&f->snapshot);
    ctl_members_with_role(&k, CTL_ROLE_LEADER, &s);
    assert_int_equal(s.n, 0);
    ctl_members_with_role(&k, CTL_ROLE_REPLICA, &s);
    assert_int_equal(s.n, 2);
    k.leader = &leader;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        leader.role = cases[i].role;
        ctl_members_with_role(&k, CTL_ROLE_LEADER, &s);
        assert_int_equal(s.n, 1);
        ctl_members_with_role(&k, CTL_ROLE_PRIMARY, &s);
        assert_int_equal(s.n, cases[i].primary);
        ctl_members_with_role(&k, CTL_ROLE_STANDBY_LEADER, &s);
        assert_int_equal(s.n, cases[i].standby_leader);
        ctl_members_with_role(&k, CTL_ROLE_STANDBY, &s);
        assert_int_equal(s.n, 1);
        assert_string_equal(s.v[0]->name, "c");
        ctl_members_with_role(&k, CTL_ROLE_ANY, &s);
        assert_int_equal(s.n, 2);
    }
}

static void test_config_set__follows_the_path(void **state)
{
    static const struct {
        const char *pair, *json;
    } cases[] = {
        { "ttl=20", "{\"ttl\": 20, \"postgresql\": {\"parameters\": {\"a\": 1}}}" },
        { "ttl=", "{\"postgresql\": {\"parameters\": {\"a\": 1}}}" },
        { " new.x = [1, y]", "{\"ttl\": 30, \"postgresql\": {\"parameters\": {\"a\": 1}}, \"new\": "
                             "{\"x\": [1, \"y\"]}}" },
        { "postgresql.parameters.a=null", "{\"ttl\": 30}" },
        { "postgresql.parameters.b.c.d=on",
          "{\"ttl\": 30, \"postgresql\": {\"parameters\": {\"a\": 1, \"b.c.d\": true}}}" },
        { "postgresql.parameters=5", "{\"ttl\": 30, \"postgresql\": {\"parameters\": 5}}" },
        { "ttl.x=5", "{\"ttl\": {\"x\": 5}, \"postgresql\": {\"parameters\": {\"a\": 1}}}" },
        { "ttl.x=", "{\"postgresql\": {\"parameters\": {\"a\": 1}}}" },
        { "s=a=b", "{\"ttl\": 30, \"postgresql\": {\"parameters\": {\"a\": 1}}, \"s\": \"a=b\"}" },
    };
    struct fixture *f = *state;
    struct pgv_error err;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgv_value *config =
            ctl_json(&f->arena, "{\"ttl\": 30, \"postgresql\": {\"parameters\": {\"a\": 1}}}");

        if (!ctl_config_set(&f->arena, config, cases[i].pair, &err))
            fail_msg("%s: %s", cases[i].pair, err.msg);
        assert_string_equal(ctl_flow(&f->b, config), cases[i].json);
    }
}

static void test_config_set__refuses(void **state)
{
    struct fixture *f = *state;
    struct pgv_value *config = pgv_new(&f->arena, PGV_MAP);
    struct pgv_error err;

    assert_false(ctl_config_set(&f->arena, config, "ttl", &err));
    assert_string_equal(err.msg, "Invalid parameter setting ttl");
    assert_false(ctl_config_set(&f->arena, config, "", &err));
    assert_false(ctl_config_set(&f->arena, config, "a=[1", &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_string_equal(ctl_flow(&f->b, config), "{}");
}

static void test_config_merge__takes_mappings_only(void **state)
{
    struct fixture *f = *state;
    struct pgv_value *config = ctl_json(&f->arena, "{\"a\": 1, \"b\": {\"c\": 2}}");
    struct pgv_error err;

    assert_false(ctl_config_merge(&f->arena, config, "x.yml", PGV_STR("- a"), &err));
    assert_string_equal(err.msg, "x.yml does not contain a dict");
    assert_false(ctl_config_merge(&f->arena, config, "x.yml", PGV_STR(""), &err));
    assert_true(
        ctl_config_merge(&f->arena, config, "x.yml", PGV_STR("a: null\nb: {d: 3}\n"), &err));
    assert_string_equal(ctl_flow(&f->b, config), "{\"b\": {\"c\": 2, \"d\": 3}}");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_megabytes__rounds_halves_to_even),
        TEST(test_write__a_cluster_of_nothing),
        TEST(test_write__topology_is_a_tree_without_cycles),
        TEST(test_write__without_a_leader_all_stand_at_the_first_level),
        TEST(test_write__a_group_is_told_in_the_title_or_in_a_column),
        TEST(test_write__fails_cleanly_at_every_allocation),
        TEST(test_members_with_role__knows_the_kinds_of_leaders),
        TEST(test_config_set__follows_the_path),
        TEST(test_config_set__refuses),
        TEST(test_config_merge__takes_mappings_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
