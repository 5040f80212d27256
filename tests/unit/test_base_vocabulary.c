/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_base_vocabulary.c - roles, states, tags, slot names. */
#include "base_support.h"

#include "base/unicode.h"
#include "base/vocabulary.h"

#include <string.h>

static void test_role__both_ways(void **state)
{
    (void)state;
    for (int r = PGV_ROLE_UNINITIALIZED; r < PGV_ROLE_UNKNOWN; r++)
        assert_int_equal(pgv_role_parse(pgv_str(pgv_role_name((enum pgv_role)r))), r);
    assert_int_equal(pgv_role_parse(PGV_STR("master")), PGV_ROLE_PRIMARY);
    assert_int_equal(pgv_role_parse(PGV_STR("unknown")), PGV_ROLE_UNKNOWN);
    assert_int_equal(pgv_role_parse(PGV_STR("Primary")), PGV_ROLE_UNKNOWN);
    assert_int_equal(pgv_role_parse(PGV_STR("")), PGV_ROLE_UNKNOWN);
    assert_string_equal(pgv_role_name(PGV_ROLE_STANDBY_LEADER), "standby_leader");
}

/* The wire values, word by word. Source: Patroni 4.1, PostgresqlState. */
static void test_state__words_and_numbers(void **state)
{
    static const char *const names[] = {
        "initializing new cluster",
        "initdb failed",
        "running custom bootstrap script",
        "custom bootstrap failed",
        "creating replica",
        "running",
        "starting",
        "starting after custom bootstrap",
        "start failed",
        "restarting",
        "restart failed",
        "stopping",
        "stopped",
        "stop failed",
        "crashed",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        assert_string_equal(pgv_state_name((enum pgv_state)i), names[i]);
        assert_int_equal(pgv_state_parse(pgv_str(names[i])), i);
    }
    assert_int_equal(PGV_STATE_CRASHED, 14);
    assert_int_equal(pgv_state_parse(PGV_STR("unknown")), PGV_STATE_UNKNOWN);
    assert_int_equal(pgv_state_parse(PGV_STR("")), PGV_STATE_UNKNOWN);
    assert_string_equal(pgv_state_label(PGV_STATE_INITDB), "initdb");
    assert_string_equal(pgv_state_label(PGV_STATE_CUSTOM_BOOTSTRAP), "custom_bootstrap");
    assert_true(pgv_state_is_starting(PGV_STATE_BOOTSTRAP_STARTING));
    assert_false(pgv_state_is_starting(PGV_STATE_START_FAILED));
}

static void test_slot_name__vectors(void **state)
{
    static const struct {
        const char *member, *slot;
    } cases[] = {
        { "Node-1.Example", "node_1_example" },
        { "a b", "au0032b" },
        { "\xc3\x9f", "u0223" },
        { "\xe6\x97\xa5", "u26085" },
        { "a:1", "au00581" },
        { "", "" },
        { "node_1", "node_1" },
        { "\xc3\x89", "u0233" },           /* É becomes é first */
        { "\xe2\x84\xaa", "k" },           /* the sign of Kelvin is a K */
        { "\xc4\xb0", "iu0775" },          /* I with a dot */
        { "\xf0\x9f\x90\x98", "u128024" }, /* an elephant */
        { "\xd0\x9c\xd0\x98\xd0\xa0", "u1084u1080u1088" },
        { "\xff", "u65533" },
    };
    char slot[PGV_SLOT_NAME_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        pgv_slot_name(cases[i].member, slot);
        assert_string_equal(slot, cases[i].slot);
    }
}

static void test_slot_name__is_cut_at_63(void **state)
{
    char member[200], slot[PGV_SLOT_NAME_BYTES];

    (void)state;
    memset(member, 'A', sizeof(member) - 1);
    member[sizeof(member) - 1] = '\0';
    pgv_slot_name(member, slot);
    assert_int_equal(strlen(slot), 63);
    member[61] = ':'; /* of its five characters two remain */
    pgv_slot_name(member, slot);
    assert_int_equal(strlen(slot), 63);
    assert_string_equal(slot + 61, "u0");
}

static void test_tags_read__priorities(void **state)
{
    static const struct {
        const char *json;
        bool nofailover;
        int priority;
    } cases[] = {
        { "{}", false, 1 },
        { "{\"nofailover\":\"false\"}", true, 0 },
        { "{\"nofailover\":false,\"failover_priority\":0}", false, 0 },
        { "{\"failover_priority\":0}", true, 0 },
        { "{\"failover_priority\":\"2\"}", false, 2 },
        { "{\"nofailover\":null,\"failover_priority\":-1}", true, -1 },
        { "{\"nofailover\":true,\"failover_priority\":5}", true, 0 },
        { "{\"failover_priority\":\"x\"}", false, 1 },
        { "{\"failover_priority\":true}", false, 1 },
        { "{\"failover_priority\":99999999999}", false, 2147483647 },
        { "[]", false, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct pgv_tags t;

        pgv_tags_read(base_json(cases[i].json), &t);
        if (t.nofailover != cases[i].nofailover || t.failover_priority != cases[i].priority)
            fail_msg("%s: %d %d", cases[i].json, t.nofailover, t.failover_priority);
        assert_false(t.nosync);
        assert_int_equal(t.sync_priority, 1);
    }
}

static void test_tags_read__the_rest(void **state)
{
    struct pgv_tags t;

    (void)state;
    pgv_tags_read(NULL, &t);
    assert_false(t.nofailover || t.noloadbalance || t.clonefrom || t.nosync || t.nostream);
    assert_int_equal(t.failover_priority, 1);
    assert_string_equal(t.replicatefrom, "");
    pgv_tags_read(base_json("{\"noloadbalance\":1,\"clonefrom\":\"no\",\"nosync\":true,"
                            "\"nostream\":\"On\",\"replicatefrom\":\"b\"}"),
                  &t);
    assert_true(t.noloadbalance);
    assert_true(t.clonefrom); /* truth as Python has it: a text that is not empty */
    assert_true(t.nosync);
    assert_int_equal(t.sync_priority, 0);
    assert_true(t.nostream);
    assert_string_equal(t.replicatefrom, "b");
    pgv_tags_read(base_json("{\"nostream\":\"nonsense\",\"sync_priority\":0,"
                            "\"replicatefrom\":5}"),
                  &t);
    assert_false(t.nostream);
    assert_true(t.nosync);
    assert_string_equal(t.replicatefrom, "");
}

static void test_utf8__both_ways_for_every_code_point(void **state)
{
    (void)state;
    for (uint32_t c = 1; c <= 0x10ffff; c++) {
        char bytes[PGV_UTF8_BYTES];
        struct pgv_str s = { bytes, pgv_utf8_put(c, bytes) };
        uint32_t back = pgv_utf8_next(&s);

        if (back != (c >= 0xd800 && c <= 0xdfff ? PGV_UTF8_BAD : c) || s.n != 0)
            fail_msg("U+%04X comes back as U+%04X", c, back);
    }
}

static void test_utf8_next__refuses_what_is_none(void **state)
{
    static const struct pgv_str bad[] = {
        { "\x80", 1 },
        { "\xc0\x80", 2 },
        { "\xc1\xbf", 2 },
        { "\xe0\x80\x80", 3 },
        { "\xed\xa0\x80", 3 },
        { "\xf0\x80\x80\x80", 4 },
        { "\xf4\x90\x80\x80", 4 },
        { "\xf5\x80\x80\x80", 4 },
        { "\xc3", 1 },
        { "\xe6\x97", 2 },
        { "\xff", 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct pgv_str s = bad[i];

        assert_int_equal(pgv_utf8_next(&s), PGV_UTF8_BAD);
        assert_int_equal(s.n, bad[i].n - 1); /* one byte at a time */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        base_test(test_role__both_ways),
        base_test(test_state__words_and_numbers),
        base_test(test_slot_name__vectors),
        base_test(test_slot_name__is_cut_at_63),
        base_test(test_tags_read__priorities),
        base_test(test_tags_read__the_rest),
        base_test(test_utf8__both_ways_for_every_code_point),
        base_test(test_utf8_next__refuses_what_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
