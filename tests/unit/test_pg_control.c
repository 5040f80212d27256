/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_pg_control.c - pg_controldata's output of several versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg/control.h"

#include <string.h>

static const char v93[] = "pg_control version number:            937\n"
                          "Catalog version number:               201306121\n"
                          "Database system identifier:           6037863241453671234\n"
                          "Database cluster state:               in archive recovery\n"
                          "pg_control last modified:             Mon Jul 21 10:00:00 2014\n"
                          "Latest checkpoint location:           16/B374D848\n"
                          "Prior checkpoint location:            16/B374D7E0\n"
                          "Latest checkpoint's REDO location:    16/B374D810\n"
                          "Latest checkpoint's REDO WAL file:    0000000300000016000000B3\n"
                          "Latest checkpoint's TimeLineID:       3\n"
                          "Latest checkpoint's PrevTimeLineID:   3\n"
                          "Minimum recovery ending location:     16/B4000098\n"
                          "Min recovery ending loc's timeline:   2\n"
                          "Current wal_level setting:            hot_standby\n"
                          "Current max_connections setting:      150\n"
                          "Current max_prepared_xacts setting:   5\n"
                          "Current max_locks_per_xact setting:   64\n"
                          "Data page checksum version:           1\n";

static const char v15[] = "pg_control version number:            1300\n"
                          "Database system identifier:           7711683523767092087\n"
                          "Database cluster state:               shut down\n"
                          "Latest checkpoint location:           0/1511A88\n"
                          "Latest checkpoint's REDO WAL file:    000000010000000000000001\n"
                          "Latest checkpoint's TimeLineID:       1\n"
                          "Latest checkpoint's oldestCommitTsXid:0\n"
                          "Minimum recovery ending location:     0/0\n"
                          "Min recovery ending loc's timeline:   0\n"
                          "wal_log_hints setting:                on\n"
                          "max_connections setting:              100\n"
                          "max_worker_processes setting:         8\n"
                          "max_wal_senders setting:              10\n"
                          "max_prepared_xacts setting:           0\n"
                          "max_locks_per_xact setting:           64\n"
                          "Data page checksum version:           0\n";

static const char v18[] = "pg_control version number:            1800\n"
                          "Database system identifier:           7500000000000000001\n"
                          "Database cluster state:               in production\n"
                          "Latest checkpoint location:           FF/FFFFFFFF\n"
                          "Latest checkpoint's TimeLineID:       4294967295\n"
                          "wal_log_hints setting:                off\n"
                          "max_worker_processes setting:         32\n"
                          "Data page checksum version:           1\n"
                          "Default char data signedness:         signed"; /* no newline */

static struct pm_control parse(const char *text)
{
    struct pm_control c;

    assert_true(pm_control_parse(pgv_str(text), &c));
    return c;
}

static void test_pm_control_parse__reads_9_3_with_its_prefix(void **state)
{
    struct pm_control c = parse(v93);

    (void)state;
    assert_true(c.ok);
    assert_int_equal(c.state, PM_CONTROL_IN_ARCHIVE_RECOVERY);
    assert_string_equal(c.sysid, "6037863241453671234");
    assert_true(c.checkpoint_known);
    assert_true(c.checkpoint == 0x16B374D848);
    assert_int_equal(c.checkpoint_timeline, 3);
    assert_string_equal(c.redo_wal_file, "0000000300000016000000B3");
    assert_true(c.min_recovery_end == 0x16B4000098);
    assert_int_equal(c.min_recovery_end_timeline, 2);
    assert_int_equal(c.max_connections, 150);
    assert_int_equal(c.max_prepared_xacts, 5);
    assert_int_equal(c.max_locks_per_xact, 64);
    assert_int_equal(c.max_worker_processes, PM_SETTING_UNKNOWN);
    assert_int_equal(c.max_wal_senders, PM_SETTING_UNKNOWN);
    assert_true(c.checksums);
    assert_false(c.wal_log_hints);
}

static void test_pm_control_parse__reads_15(void **state)
{
    struct pm_control c = parse(v15);

    (void)state;
    assert_int_equal(c.state, PM_CONTROL_SHUT_DOWN);
    assert_true(c.checkpoint == 0x1511A88);
    assert_true(c.wal_log_hints);
    assert_false(c.checksums);
    assert_true(c.min_recovery_end == 0);
    assert_int_equal(c.max_wal_senders, 10);
}

static void test_pm_control_parse__reads_18_up_to_the_last_line(void **state)
{
    struct pm_control c = parse(v18);

    (void)state;
    assert_int_equal(c.state, PM_CONTROL_IN_PRODUCTION);
    assert_true(c.checkpoint == 0xFFFFFFFFFF);
    assert_true(c.checkpoint_timeline == UINT32_MAX);
    assert_false(c.wal_log_hints);
    assert_true(c.checksums);
    assert_int_equal(c.max_worker_processes, 32);
}

static void test_pm_control_parse__knows_every_state(void **state)
{
    static const struct {
        const char *text;
        enum postmaster_control_state state;
    } all[] = {
        { "starting up", PM_CONTROL_STARTING_UP },
        { "shut down", PM_CONTROL_SHUT_DOWN },
        { "shut down in recovery", PM_CONTROL_SHUT_DOWN_IN_RECOVERY },
        { "shutting down", PM_CONTROL_SHUTTING_DOWN },
        { "in crash recovery", PM_CONTROL_IN_CRASH_RECOVERY },
        { "in archive recovery", PM_CONTROL_IN_ARCHIVE_RECOVERY },
        { "in production", PM_CONTROL_IN_PRODUCTION },
        { "unrecognized status code", PM_CONTROL_UNKNOWN },
    };
    char text[200];

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        (void)snprintf(text, sizeof(text),
                       "Database cluster state: %s\nDatabase system identifier: 1\n", all[i].text);
        assert_int_equal(parse(text).state, all[i].state);
        assert_int_equal(parse(text).ok, all[i].state != PM_CONTROL_UNKNOWN);
        if (all[i].state != PM_CONTROL_UNKNOWN)
            assert_string_equal(pm_control_state_name(all[i].state), all[i].text);
    }
    assert_string_equal(pm_control_state_name(PM_CONTROL_UNKNOWN), "unknown");
}

static void test_pm_control_parse__half_a_file_is_not_ok(void **state)
{
    struct pm_control c = { .max_connections = 7 };

    (void)state;
    assert_false(pm_control_parse(pgv_str(""), &c));
    assert_false(pm_control_parse(pgv_str("a: b\nno colon\n:\n"), &c));
    assert_int_equal(c.max_connections, 7); /* untouched */
    c = parse("Database cluster state: shut down\n");
    assert_false(c.ok);
    assert_false(c.checkpoint_known);
    c = parse("Database system identifier: 12\nLatest checkpoint location: 0/1\n");
    assert_false(c.ok);
    assert_false(c.checkpoint_known); /* the timeline is missing */
    c = parse("Database system identifier: 99999999999999999999999999\n"
              "Database cluster state: shut down\n");
    assert_false(c.ok);
    c = parse("Database cluster state: shut down\nmax_connections setting: 99999999999\n");
    assert_int_equal(c.max_connections, PM_SETTING_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pm_control_parse__reads_9_3_with_its_prefix),
        cmocka_unit_test(test_pm_control_parse__reads_15),
        cmocka_unit_test(test_pm_control_parse__reads_18_up_to_the_last_line),
        cmocka_unit_test(test_pm_control_parse__knows_every_state),
        cmocka_unit_test(test_pm_control_parse__half_a_file_is_not_ok),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
