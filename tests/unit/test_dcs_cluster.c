/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_dcs_cluster.c - reading keys into the view: the vectors of the key contract,
 * limits, corrupt values.
 */
#include "dcs/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct dcs_snapshot snap; /* large: not on the stack */

/* One snapshot of @n key, value pairs; version "7", session "99". */
static const struct dcs_cluster *read_keys(const char *const (*kv)[2], size_t n)
{
    dcs_snapshot_done(&snap);
    dcs_snapshot_init(&snap);
    for (size_t i = 0; i < n; i++)
        dcs_snapshot_put(&snap, pgv_str(kv[i][0]), pgv_str(kv[i][1]), "7", "99");
    dcs_snapshot_finish(&snap);
    assert_false(snap.failed);
    return &snap.cluster;
}

static const struct dcs_cluster *read_key(const char *key, const char *value)
{
    return read_keys(&(const char *const[2]){ key, value }, 1);
}

static int teardown(void **state)
{
    (void)state;
    dcs_snapshot_done(&snap);
    return pgv_alloc_blocks_in_use() != 0;
}

static void test_snapshot__nothing_is_empty_and_anything_is_not(void **state)
{
    (void)state;
    assert_true(read_keys(NULL, 0)->empty);
    assert_int_equal(snap.cluster.initialize, DCS_INIT_ABSENT);
    assert_false(read_key("whatever", "x")->empty);
    assert_false(snap.cluster.has_leader);
}

static void test_initialize__all_forms(void **state)
{
    static const struct {
        const char *value;
        enum dcs_initialize is;
    } cases[] = {
        { "", DCS_INIT_BOOTSTRAPPING },       { "7000000000000000001", DCS_INIT_SYSID },
        { "1234567890", DCS_INIT_SYSID },     { "123456789", DCS_INIT_GARBAGE },
        { "12345678901x", DCS_INIT_GARBAGE }, { "1234567890123456789012345", DCS_INIT_GARBAGE },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_int_equal(read_key("initialize", cases[i].value)->initialize, cases[i].is);
        assert_string_equal(snap.cluster.initialize_text,
                            cases[i].is == DCS_INIT_SYSID ? cases[i].value : "");
        if (cases[i].is == DCS_INIT_GARBAGE)
            assert_string_equal(snap.initialize_garbage, cases[i].value);
        else
            assert_null(snap.initialize_garbage);
    }
}

static void test_config__garbage_is_no_empty_object(void **state)
{
    const struct dcs_cluster *c = read_key("config", "{\"ttl\":30}");

    (void)state;
    assert_true(c->config_valid && c->config_exists && !c->config_empty);
    assert_string_equal(c->config_version, "7");
    assert_int_equal(pgv_int_like(pgv_get(snap.config, "ttl"), NULL, 0), 30);

    c = read_key("config", "{}");
    assert_true(c->config_valid && c->config_exists && c->config_empty);
    assert_string_equal(c->config_version, "7");

    for (const char *const *v = (const char *const[]){ "", "{", "[]", "5", "null", "x", NULL }; *v;
         v++) {
        c = read_key("config", *v);
        assert_true(c->config_exists && !c->config_valid && !c->config_empty);
        assert_string_equal(c->config_version, "");
        assert_null(snap.config);
    }
}

static void test_leader__name_version_session(void **state)
{
    const struct dcs_cluster *c = read_key("leader", "n1");

    (void)state;
    assert_true(c->has_leader);
    assert_string_equal(c->leader, "n1");
    assert_string_equal(c->leader_version, "7");
    assert_string_equal(c->leader_session, "99");
    assert_null(dcs_leader_member(c)); /* a leader without a member key is legal */
    assert_false(read_key("leader", "")->has_leader);
}

static void test_leader__an_impossible_name_still_locks(void **state)
{
    char name[300];
    const struct dcs_cluster *c;

    (void)state;
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = 0;
    c = read_key("leader", name);
    assert_true(c->has_leader);
    assert_int_equal(strlen(c->leader), PGV_NAME_BYTES - 1);
    assert_string_equal(c->leader + PGV_NAME_BYTES - 4, "...");
}

#define FULL_MEMBER                                                                                \
    "{\"conn_url\":\"postgres://10.0.0.2:5432/postgres\",\"api_url\":\"http://10.0.0.2:8008/"      \
    "patroni\",\"state\":\"running\",\"role\":\"replica\",\"version\":\"4.1.4\",\"tags\":{"        \
    "\"clonefrom\":true},\"xlog_location\":67420024,\"replay_lsn\":67420023,\"receive_lsn\":"      \
    "\"0x404BF78\",\"replication_state\":\"streaming\",\"timeline\":3,\"pause\":true}"

static void test_member__all_fields(void **state)
{
    const struct dcs_member *m = dcs_find_member(read_key("members/n2", FULL_MEMBER), "n2");

    (void)state;
    assert_non_null(m);
    assert_string_equal(m->conn_url, "postgres://10.0.0.2:5432/postgres");
    assert_string_equal(m->api_url, "http://10.0.0.2:8008/patroni");
    assert_string_equal(m->version, "7");
    assert_string_equal(m->session, "99");
    assert_int_equal(m->state, PGV_STATE_RUNNING);
    assert_int_equal(m->role, PGV_ROLE_REPLICA);
    assert_int_equal(m->agent_version, 40104);
    assert_true(m->tags.clonefrom);
    assert_int_equal(m->xlog_location, 67420024);
    assert_int_equal(m->replay_lsn, 67420023);
    assert_int_equal(m->receive_lsn, 0x404BF78);
    assert_int_equal(m->timeline, 3);
    assert_true(m->streaming && !m->in_archive_recovery && m->pause && !m->pending_restart);
    assert_true(m->checkpoint_known && !m->checkpoint_done); /* only a primary has done one */
}

static void test_member__corrupt_values_leave_an_unknown_member(void **state)
{
    (void)state;
    for (const char *const *v = (const char *const[]){ "", "{", "[1]", "5", "null", NULL }; *v;
         v++) {
        const struct dcs_member *m = dcs_find_member(read_key("members/n2", *v), "n2");

        assert_non_null(m);
        assert_int_equal(m->state, PGV_STATE_UNKNOWN);
        assert_int_equal(m->role, PGV_ROLE_UNKNOWN);
        assert_int_equal(m->tags.failover_priority, 1);
        assert_false(m->checkpoint_known);
        assert_true(pgv_is(m->data, PGV_MAP));
    }
}

static void test_member__legacy_url(void **state)
{
    const struct dcs_member *m;

    (void)state;
    m = dcs_find_member(read_key("members/old", "postgres://u:p@h:5433/db?x=1&application_name="
                                                "http%3A//h:8008/patroni&y=2"),
                        "old");
    assert_non_null(m);
    assert_string_equal(m->conn_url, "postgres://u:p@h:5433/db");
    assert_string_equal(m->api_url, "http://h:8008/patroni");
    m = dcs_find_member(read_key("members/old", "postgres://h/db"), "old");
    assert_string_equal(m->conn_url, "postgres://h/db");
    assert_string_equal(m->api_url, "");
}

static void test_member__conn_kwargs_stand_in_for_conn_url(void **state)
{
    (void)state;
    assert_string_equal(
        read_key("members/a", "{\"conn_kwargs\":{\"host\":\"h\"}}")->members[0].conn_url,
        "postgresql://h:5432");
    assert_string_equal(read_key("members/a", "{\"conn_kwargs\":{\"host\":\"::1\",\"port\":\"6\"}}")
                            ->members[0]
                            .conn_url,
                        "postgresql://[::1]:6");
}

static void test_member__clonefrom_needs_a_connection(void **state)
{
    (void)state;
    assert_false(
        read_key("members/a", "{\"tags\":{\"clonefrom\":true}}")->members[0].tags.clonefrom);
}

static void test_member__deeper_keys_and_impossible_names_are_left_out(void **state)
{
    char key[300] = "members/";

    (void)state;
    assert_int_equal(read_key("members/a/b", "{}")->n_members, 0);
    assert_int_equal(read_key("members/", "{}")->n_members, 0);
    memset(key + 8, 'x', sizeof(key) - 9);
    assert_int_equal(read_key(key, "{}")->n_members, 0);
}

static void test_members__are_ordered_by_name_and_bounded(void **state)
{
    static char keys[DCS_MEMBERS_MAX + 3][32];
    const char *kv[DCS_MEMBERS_MAX + 3][2];
    size_t n = DCS_MEMBERS_MAX + 3;
    const struct dcs_cluster *c;

    (void)state;
    for (size_t i = 0; i < n; i++) {
        snprintf(keys[i], sizeof(keys[i]), "members/n%02zu", n - i);
        kv[i][0] = keys[i];
        kv[i][1] = "{}";
    }
    c = read_keys((const char *const(*)[2])kv, n);
    assert_int_equal(c->n_members, DCS_MEMBERS_MAX);
    for (unsigned i = 1; i < c->n_members; i++)
        assert_true(strcmp(c->members[i - 1].name, c->members[i].name) < 0);
}

static void test_member__checkpoint_facts(void **state)
{
    static const struct {
        const char *value;
        bool known, done;
    } cases[] = {
        { "{\"version\":\"4.1.5\",\"role\":\"primary\"}", true, true },
        { "{\"version\":\"4.1.5\",\"role\":\"master\"}", true, true },
        { "{\"version\":\"4.1.5\",\"role\":\"promoted\"}", true, false },
        { "{\"version\":\"4.1.5\",\"role\":\"primary\",\"checkpoint_after_promote\":false}", true,
          false },
        { "{\"version\":\"1.5.7\",\"role\":\"primary\"}", true, true },
        { "{\"version\":\"1.5.6\",\"role\":\"primary\"}", false, false },
        { "{\"version\":\"4.1.5-x\",\"role\":\"primary\"}", false, false },
        { "{\"role\":\"primary\"}", false, false },
        { "{\"version\":5,\"role\":\"primary\"}", false, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct dcs_member *m = &read_key("members/a", cases[i].value)->members[0];

        assert_int_equal(m->checkpoint_known, cases[i].known);
        assert_int_equal(m->checkpoint_done, cases[i].done);
    }
}

static void test_member__agent_versions(void **state)
{
    static const struct {
        const char *text;
        int is;
    } cases[] = {
        { "4.1.5", 40105 }, { "4.1", 40100 }, { "4", 40000 }, { "4.1.5.9", 40105 }, { "4.1.x", 0 },
        { "", 0 },          { "4..1", 0 },    { "4.1.", 0 },  { "4.1.200", 40199 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char value[64];

        snprintf(value, sizeof(value), "{\"version\":\"%s\"}", cases[i].text);
        assert_int_equal(read_key("members/a", value)->members[0].agent_version, cases[i].is);
    }
}

static void test_tags__vectors(void **state)
{
    static const struct {
        const char *tags;
        bool nofailover;
        int priority;
    } cases[] = {
        { "{}", false, 1 },
        { "{\"nofailover\":\"false\"}", true, 0 },
        { "{\"nofailover\":false,\"failover_priority\":0}", false, 0 },
        { "{\"failover_priority\":0}", true, 0 },
        { "{\"failover_priority\":\"2\"}", false, 2 },
        { "{\"nofailover\":null,\"failover_priority\":-1}", true, -1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char value[128];
        const struct dcs_member *m;

        snprintf(value, sizeof(value), "{\"tags\":%s}", cases[i].tags);
        m = &read_key("members/a", value)->members[0];
        assert_int_equal(m->tags.nofailover, cases[i].nofailover);
        assert_int_equal(m->tags.failover_priority, cases[i].priority);
    }
}

static void test_status__vectors(void **state)
{
    const struct dcs_cluster *c = read_key("status", "12345");

    (void)state;
    assert_true(c->status_exists);
    assert_int_equal(c->status_optime, 12345);
    assert_int_equal(c->n_status_slots + c->n_retain_slots, 0);

    c = read_key(
        "status",
        "{\"optime\":\"12\",\"slots\":\"{\\\"a\\\":1}\",\"retain_slots\":\"[\\\"b\\\"]\"}");
    assert_int_equal(c->status_optime, 12);
    assert_int_equal(c->n_status_slots, 1);
    assert_string_equal(c->status_slots[0].name, "a");
    assert_int_equal(c->status_slots[0].lsn, 1);
    assert_int_equal(c->n_retain_slots, 1);
    assert_string_equal(c->retain_slots[0], "b");

    c = read_key("status", "{\"optime\":1.9,\"slots\":[1]}");
    assert_int_equal(c->status_optime, 1);
    assert_int_equal(c->n_status_slots, 0);

    for (const char *const *v = (const char *const[]){ "{", "[]", "\"x\"", NULL }; *v; v++) {
        c = read_key("status", *v);
        assert_true(c->status_exists);
        assert_int_equal(c->status_optime + c->n_status_slots + c->n_retain_slots, 0);
    }
}

static void test_status__strange_slots(void **state)
{
    const struct dcs_cluster *c;

    (void)state;
    c = read_key("status", "{\"optime\":18446744073709551615,\"slots\":{\"a\":\"x\",\"b\":\"0x10\","
                           "\"c\":9007199254740993},\"retain_slots\":[1,\"ok\",null]}");
    assert_int_equal(c->n_status_slots, 3);
    assert_int_equal(c->status_slots[0].lsn, 0);
    assert_int_equal(c->status_slots[1].lsn, 16);
    assert_true(c->status_slots[2].lsn == 9007199254740993u); /* more than a double holds */
    assert_int_equal(c->n_retain_slots, 1);
    assert_string_equal(c->retain_slots[0], "ok");
}

static void test_optime__counts_only_without_status(void **state)
{
    static const char *const before[][2] = { { "optime/leader", "99" }, { "status", "{}" } };
    static const char *const after[][2] = { { "status", "{\"optime\":5}" },
                                            { "optime/leader", "99" } };

    (void)state;
    assert_int_equal(read_key("optime/leader", "99")->status_optime, 99);
    assert_int_equal(read_keys(before, 2)->status_optime, 0);
    assert_int_equal(read_keys(after, 2)->status_optime, 5);
}

static void test_failover__vectors(void **state)
{
    static const struct {
        const char *value, *leader, *candidate;
        bool present;
    } cases[] = {
        { "a", "a", "", true },
        { "a:b", "a", "b", true },
        { "a: b :c", "a", "b", true },
        { "{}", "", "", false },
        { "null", "", "", false },
        { "[]", "", "", false },
        { "", "", "", false },
        { "{\"leader\":\"a\",\"member\":\"b\"}", "a", "b", true },
        { "{\"leader\":\"\",\"member\":\"b\"}", "", "b", true },
        { "{\"leader\":[1],\"member\":\"b\"}", "", "", false }, /* never a failover by mistake */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct dcs_failover *f = &read_key("failover", cases[i].value)->failover;

        assert_true(f->exists);
        assert_string_equal(f->version, "7");
        assert_string_equal(f->leader, cases[i].leader);
        assert_string_equal(f->candidate, cases[i].candidate);
        assert_int_equal(f->present, cases[i].present);
        assert_false(f->scheduled);
    }
}

static void test_failover__schedules(void **state)
{
    const struct dcs_failover *f;

    (void)state;
    f = &read_key("failover", "{\"member\":\"b\",\"scheduled_at\":\"2030-01-02 03:04\"}")->failover;
    assert_true(f->present && f->scheduled && f->schedule_valid && !f->schedule_has_zone);
    f = &read_key("failover", "{\"leader\":\"a\",\"scheduled_at\":\"2030-01-02T03:04:05+01:00\"}")
             ->failover;
    assert_true(f->scheduled && f->schedule_valid && f->schedule_has_zone);
    assert_int_equal(f->schedule_offset_s, 3600);
    assert_true(f->scheduled_wall_us == 1893549845000000);
    f = &read_key("failover", "{\"leader\":\"a\",\"scheduled_at\":\"tomorrow\"}")->failover;
    assert_true(f->present && f->scheduled && !f->schedule_valid);
    assert_string_equal(f->schedule_text, "tomorrow");
    f = &read_key("failover", "{\"leader\":\"a\",\"scheduled_at\":5}")->failover;
    assert_true(f->present && f->scheduled && !f->schedule_valid);
}

static void test_sync__vectors(void **state)
{
    static const struct {
        const char *value;
        bool garbage;
    } cases[] = {
        { "{\"leader\":\"a\",\"quorum\":\"x\"}", true },
        { "{\"quorum\":2}", false },
        { "5", true },
        { "null", false },
        { "", false },
        { "{}", false },
        { "{\"leader\":null,\"sync_standby\":\"b\"}", false },
        { "{\"leader\":\"a\",\"sync_standby\":[\"b\"]}", true },
        { "{\"leader\":7}", true },
        { "{", true },
    };
    const struct dcs_sync *s;

    (void)state;
    s = &read_key("sync", "{\"leader\":\"a\",\"quorum\":\"2\",\"sync_standby\":\"b, C ,\"}")->sync;
    assert_true(s->exists && !s->garbage);
    assert_string_equal(s->version, "7");
    assert_string_equal(s->leader, "a");
    assert_int_equal(s->quorum, 2);
    assert_int_equal(s->n, 2);
    assert_string_equal(s->voters[0], "b");
    assert_string_equal(s->voters[1], "C");
    assert_true(dcs_sync_matches(s, "B", false));
    assert_true(dcs_sync_matches(s, "c", false));
    assert_false(dcs_sync_matches(s, "a", false));
    assert_true(dcs_sync_matches(s, "A", true));
    assert_false(dcs_sync_matches(s, "", true));

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        s = &read_key("sync", cases[i].value)->sync;
        assert_true(s->exists);
        assert_string_equal(s->version, "7");
        assert_string_equal(s->leader, "");
        assert_int_equal(s->n + (unsigned)s->quorum, 0);
        assert_int_equal(s->garbage, cases[i].garbage);
        assert_false(dcs_sync_matches(s, "b", true));
    }
}

static void test_history__vectors(void **state)
{
    static const struct {
        const char *value;
        unsigned lines, timeline, last_tl, fields;
    } cases[] = {
        { "[]", 0, 1, 0, 0 },
        { "[ ]", 0, 0, 0, 0 }, /* exactly '[]' is timeline 1 */
        { "[[1,2,\"x\"]]", 1, 2, 1, 3 },
        { "[[3,1,\"r\",\"t\",\"n\"]]", 1, 4, 3, 5 },
        { "[[1,2,\"x\"],[2,3,\"y\",\"t\"]]", 2, 3, 2, 4 },
        { "{}", 0, 0, 0, 0 },
        { "x", 0, 0, 0, 0 },
        { "[[\"a\"]]", 1, 0, 0, 0 },
        { "[5]", 1, 0, 0, 0 },
        { "[[-1]]", 1, 0, 0, 0 },
        { "[[4294967295]]", 1, 0, 0, 0 },
    };

    (void)state;
    assert_false(read_key("config", "{}")->history_exists);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct dcs_cluster *c = read_key("history", cases[i].value);

        assert_true(c->history_exists);
        assert_int_equal(c->history_lines, cases[i].lines);
        assert_int_equal(c->history_timeline, cases[i].timeline);
        assert_int_equal(c->history_last_tl, cases[i].last_tl);
        assert_int_equal(c->history_last_fields, cases[i].fields);
    }
}

static void test_failsafe__unusable_parts_never_shrink_the_list(void **state)
{
    const struct dcs_cluster *c;
    struct pgv_buf b;

    (void)state;
    c = read_key("failsafe", "{\"n1\":\"http://a/patroni\",\"n2\":5}");
    assert_true(c->failsafe_exists && !c->failsafe_garbage);
    assert_int_equal(c->n_failsafe, 2);
    assert_string_equal(c->failsafe[0].api_url, "http://a/patroni");
    assert_string_equal(c->failsafe[1].name, "n2");
    assert_string_equal(c->failsafe[1].api_url, "");
    c = read_key("failsafe", "[]");
    assert_true(!c->failsafe_exists && c->failsafe_garbage);
    c = read_key("failsafe", "null");
    assert_true(!c->failsafe_exists && !c->failsafe_garbage);

    pgv_buf_init(&b, 4096);
    for (int i = 0; i <= DCS_MEMBERS_MAX; i++)
        pgv_buf_printf(&b, "%s\"n%d\":\"http://a\"", i ? "," : "{", i);
    pgv_buf_puts(&b, "}");
    c = read_key("failsafe", pgv_buf_cstr(&b));
    assert_true(c->failsafe_exists && c->failsafe_garbage);
    pgv_buf_done(&b);
}

static void test_snapshot__running_out_of_memory_never_makes_a_view(void **state)
{
    unsigned long fail = 1;

    (void)state;
    for (;; fail++) {
        dcs_snapshot_done(&snap);
        dcs_snapshot_init(&snap);
        pgv_alloc_fail_at(fail, true);
        dcs_snapshot_put(&snap, PGV_STR("sync"), PGV_STR("{\"leader\":\"a\",\"quorum\":0}"), "1",
                         "");
        dcs_snapshot_put(&snap, PGV_STR("members/a"), PGV_STR("postgres://h?application_name=x"),
                         "1", "");
        dcs_snapshot_finish(&snap);
        pgv_alloc_fail_at(0, false);
        if (!snap.failed)
            break;
    }
    assert_true(fail > 1);
    assert_string_equal(snap.cluster.sync.leader, "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snapshot__nothing_is_empty_and_anything_is_not),
        cmocka_unit_test(test_initialize__all_forms),
        cmocka_unit_test(test_config__garbage_is_no_empty_object),
        cmocka_unit_test(test_leader__name_version_session),
        cmocka_unit_test(test_leader__an_impossible_name_still_locks),
        cmocka_unit_test(test_member__all_fields),
        cmocka_unit_test(test_member__corrupt_values_leave_an_unknown_member),
        cmocka_unit_test(test_member__legacy_url),
        cmocka_unit_test(test_member__conn_kwargs_stand_in_for_conn_url),
        cmocka_unit_test(test_member__clonefrom_needs_a_connection),
        cmocka_unit_test(test_member__deeper_keys_and_impossible_names_are_left_out),
        cmocka_unit_test(test_members__are_ordered_by_name_and_bounded),
        cmocka_unit_test(test_member__checkpoint_facts),
        cmocka_unit_test(test_member__agent_versions),
        cmocka_unit_test(test_tags__vectors),
        cmocka_unit_test(test_status__vectors),
        cmocka_unit_test(test_status__strange_slots),
        cmocka_unit_test(test_optime__counts_only_without_status),
        cmocka_unit_test(test_failover__vectors),
        cmocka_unit_test(test_failover__schedules),
        cmocka_unit_test(test_sync__vectors),
        cmocka_unit_test(test_history__vectors),
        cmocka_unit_test(test_failsafe__unusable_parts_never_shrink_the_list),
        cmocka_unit_test(test_snapshot__running_out_of_memory_never_makes_a_view),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}
