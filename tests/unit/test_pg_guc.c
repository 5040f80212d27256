/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_pg_guc.c - the table of parameters, validation, comparison. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg/pgguc.h"
#include "pg/pgguc_table.h"

#include <stdio.h>
#include <string.h>

static void check_rows(const struct pgguc_row *rows, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct pgguc_row *r = &rows[i];

        assert_true(r->from < r->till);
        assert_true(r->min <= r->max);
        assert_in_range(r->type, PGGUC_BOOL, PGGUC_STRING);
        assert_int_equal(r->values != 0, r->type == PGGUC_ENUM || r->type == PGGUC_ENUM_BOOL);
        if (i == 0)
            continue;
        assert_true(strcmp(rows[i - 1].name, r->name) <= 0);
        if (strcmp(rows[i - 1].name, r->name) == 0)
            assert_true(rows[i - 1].till <= r->from); /* windows do not overlap */
    }
}

static void test_table__is_sorted_and_sane(void **state)
{
    (void)state;
    check_rows(pgguc_general, pgguc_general_rows);
    check_rows(pgguc_recovery, pgguc_recovery_rows);
    assert_int_equal(pgguc_recovery_rows, 18);
    for (unsigned i = 0; i < pgguc_recovery_rows; i++) {
        struct pgguc_rule rule;

        /* no name is in both */
        for (int v = 90300; v < 200000; v += 100)
            assert_false(pgguc_find(pgv_str(pgguc_recovery[i].name), v, &rule));
    }
}

static void test_find__by_version(void **state)
{
    static const struct {
        const char *name;
        int version;
        bool there;
        enum pgguc_type type;
        double min, max;
        const char *unit, *values;
    } cases[] = {
        { "max_connections", 90502, true, PGGUC_INTEGER, 1, 8388607, NULL, "" },
        { "max_connections", 150008, true, PGGUC_INTEGER, 1, 262143, NULL, "" },
        { "MAX_Connections", 150008, true, PGGUC_INTEGER, 1, 262143, NULL, "" },
        { "wal_level", 90324, true, PGGUC_ENUM, 0, 0, NULL, "minimal|archive|hot_standby" },
        { "wal_level", 90400, true, PGGUC_ENUM, 0, 0, NULL, "minimal|archive|hot_standby|logical" },
        { "wal_level", 90600, true, PGGUC_ENUM, 0, 0, NULL, "minimal|replica|logical" },
        { "wal_keep_segments", 120021, true, PGGUC_INTEGER, 0, 2147483647, NULL, "" },
        { "wal_keep_segments", 130000, false, 0, 0, 0, NULL, NULL },
        { "wal_keep_size", 120021, false, 0, 0, 0, NULL, NULL },
        { "wal_keep_size", 130000, true, PGGUC_INTEGER, 0, 2147483647, "MB", "" },
        { "shared_buffers", 90300, true, PGGUC_INTEGER, 16, 1073741823, "8kB", "" },
        { "max_wal_size", 90600, true, PGGUC_INTEGER, 2, 2147483647, "16MB", "" },
        { "max_wal_size", 100000, true, PGGUC_INTEGER, 2, 2147483647, "MB", "" },
        { "vacuum_cost_delay", 110000, true, PGGUC_INTEGER, 0, 100, "ms", "" },
        { "vacuum_cost_delay", 120000, true, PGGUC_REAL, 0, 100, "ms", "" },
        { "synchronous_commit", 90500, true, PGGUC_ENUM_BOOL, 0, 0, NULL, "local|remote_write" },
        { "io_method", 180000, true, PGGUC_ENUM, 0, 0, NULL, "sync|worker|io_uring" },
        { "io_method", 170005, false, 0, 0, 0, NULL, NULL },
        { "compute_query_id", 140000, true, PGGUC_ENUM_BOOL, 0, 0, NULL, "auto" },
        { "compute_query_id", 150000, true, PGGUC_ENUM_BOOL, 0, 0, NULL, "auto|regress" },
        { "wal_compression", 140000, true, PGGUC_BOOL, 0, 0, NULL, "" },
        { "wal_compression", 150000, true, PGGUC_ENUM_BOOL, 0, 0, NULL, "pglz|lz4|zstd" },
        { "stats_temp_directory", 140000, true, PGGUC_STRING, 0, 0, NULL, "" },
        { "stats_temp_directory", 150000, false, 0, 0, 0, NULL, NULL },
        { "debug_parallel_query", 160000, true, PGGUC_ENUM_BOOL, 0, 0, NULL, "regress" },
        { "logical_replication_mode", 160000, true, PGGUC_ENUM, 0, 0, NULL, "buffered|immediate" },
        { "logical_replication_mode", 170000, false, 0, 0, 0, NULL, NULL },
        { "trace_recovery_messages", 160000, true, PGGUC_ENUM, 0, 0, NULL,
          "debug5|debug4|debug3|debug2|debug1|log|notice|warning|error" },
        { "trace_recovery_messages", 170000, false, 0, 0, 0, NULL, NULL },
        /* brought by minor releases */
        { "restrict_nonsystem_relation_kind", 150007, false, 0, 0, 0, NULL, NULL },
        { "restrict_nonsystem_relation_kind", 150008, true, PGGUC_STRING, 0, 0, NULL, "" },
        { "restrict_nonsystem_relation_kind", 160003, false, 0, 0, 0, NULL, NULL },
        { "restrict_nonsystem_relation_kind", 180000, true, PGGUC_STRING, 0, 0, NULL, "" },
        { "allow_in_place_tablespaces", 140004, false, 0, 0, 0, NULL, NULL },
        { "allow_in_place_tablespaces", 140005, true, PGGUC_BOOL, 0, 0, NULL, "" },
        { "server_version", 150000, false, 0, 0, 0, NULL, NULL }, /* internal */
        { "nosuch", 150000, false, 0, 0, 0, NULL, NULL },
        { "zzz", 150000, false, 0, 0, 0, NULL, NULL },
        { "", 150000, false, 0, 0, 0, NULL, NULL },
        { "a_name_that_is_much_longer_than_any_parameter_can_be_in_the_table", 150000, false, 0, 0,
          0, NULL, NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgguc_rule rule;

        if (pgguc_find(pgv_str(cases[i].name), cases[i].version, &rule) != cases[i].there)
            fail_msg("%s in %d", cases[i].name, cases[i].version);
        if (!cases[i].there)
            continue;
        assert_int_equal(rule.type, cases[i].type);
        assert_true(rule.min == cases[i].min && rule.max == cases[i].max);
        if (cases[i].unit)
            assert_string_equal(rule.unit, cases[i].unit);
        else
            assert_null(rule.unit);
        assert_string_equal(rule.values, cases[i].values);
    }
}

/** The names of @names, separated by blanks, are there in @version as @there says. */
static void check_names(const char *names, int version, bool there)
{
    char name[64];
    int n;

    for (; sscanf(names, " %63s%n", name, &n) == 1; names += n) {
        struct pgguc_rule rule;

        if (pgguc_find(pgv_str(name), version, &rule) != there)
            fail_msg("%s in %d", name, version);
    }
}

/* The other majors have a server that is asked (test_pg_real_tools); these are in no Debian release
 * of our time. */
static void test_find__what_14_and_16_brought_and_took(void **state)
{
    static const struct {
        int version;
        const char *brought, *took;
    } cases[] = {
        { 140000,
          "client_connection_check_interval compute_query_id default_toast_compression"
          " enable_async_append extension_destdir huge_page_size idle_session_timeout"
          " log_recovery_conflict_waits min_dynamic_shared_memory recovery_init_sync_method"
          " remove_temp_files_after_crash ssl_crl_dir track_wal_io_timing vacuum_failsafe_age"
          " vacuum_multixact_failsafe_age",
          "operator_precedence_warning vacuum_cleanup_index_scale_factor" },
        { 160000,
          "createrole_self_grant debug_io_direct debug_parallel_query enable_presorted_aggregate"
          " gss_accept_delegation icu_validation_level logical_replication_mode"
          " max_parallel_apply_workers_per_subscription reserved_connections scram_iterations"
          " send_abort_for_crash send_abort_for_kill vacuum_buffer_usage_limit",
          "force_parallel_mode vacuum_defer_cleanup_age" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int before = cases[i].version - 10000 + 98; /* the last minor release there can be */

        check_names(cases[i].brought, before, false);
        check_names(cases[i].brought, cases[i].version, true);
        check_names(cases[i].took, before, true);
        check_names(cases[i].took, cases[i].version, false);
    }
}

static void test_accept__general(void **state)
{
    static const struct {
        const char *name, *value;
        int version;
        const char *want; /* NULL: left out */
    } cases[] = {
        { "fsync", "True", 150000, "True" },
        { "fsync", "on", 150000, "on" },
        { "fsync", "maybe", 150000, NULL },
        { "max_connections", "100", 150000, "100" },
        { "max_connections", "0", 150000, "1" },
        { "max_connections", "1000000", 150000, "262143" },
        { "max_connections", "1000000", 90502, "1000000" },
        { "max_connections", "many", 150000, NULL },
        { "max_connections", "100MB", 150000, NULL }, /* has no unit */
        { "work_mem", "4MB", 150000, "4MB" },
        { "work_mem", "10", 150000, "64" }, /* kB */
        { "shared_buffers", "1GB", 150000, "1GB" },
        { "shared_buffers", "1 parsec", 150000, NULL },
        { "checkpoint_completion_target", "0.9", 150000, "0.9" },
        { "checkpoint_completion_target", "2", 150000, "1" },
        { "checkpoint_completion_target", "-1", 150000, "0" },
        { "seq_page_cost", "1e2", 150000, "1e2" },
        { "random_page_cost", "x", 150000, NULL },
        { "wal_level", "Replica", 150000, "Replica" },
        { "wal_level", "hot_standby", 150000, NULL },
        { "wal_level", "hot_standby", 90500, "hot_standby" },
        { "synchronous_commit", "remote_apply", 90600, "remote_apply" },
        { "synchronous_commit", "remote_apply", 90500, NULL },
        { "synchronous_commit", "False", 150000, "False" },
        { "synchronous_commit", "sometimes", 150000, NULL },
        { "search_path", "a, b", 150000, "a, b" },
        { "log_connections", "all", 180000, "all" },
        { "log_connections", "all", 170000, NULL },
        /* an extension's */
        { "citus.node_conninfo", "sslmode=require", 150000, "sslmode=require" },
        /* recovery parameters never stand among the general ones */
        { "restore_command", "cp", 150000, NULL },
        { "standby_mode", "on", 160000, NULL },
        /* the binary's list */
        { "Vendor_Parameter", "x", 150000, "x" },
        { "nosuch", "x", 150000, NULL },
        { "wal_keep_segments", "8", 150000, NULL },
    };
    struct pgguc_names names = { 0 };
    struct pgv_buf b;

    (void)state;
    assert_true(
        pgguc_names_parse(&names,
                          PGV_STR("vendor_parameter\tuser\tgroup\tSTRING\t\t\t\tshort\tlong\n"
                                  "max_connections\tpostmaster\tg\tINTEGER\t100\t1\t262143\ts\t\n"),
                          150000));
    pgv_buf_init(&b, 4096);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool ok = pgguc_accept(PGGUC_GENERAL, cases[i].name, cases[i].value, cases[i].version,
                               &names, &b);

        if (ok != (cases[i].want != NULL))
            fail_msg("%s=%s in %d", cases[i].name, cases[i].value, cases[i].version);
        if (ok)
            assert_string_equal(pgv_buf_cstr(&b), cases[i].want);
    }
    /* names that the table knows anyway take no memory */
    assert_true(pgguc_names_has(&names, PGV_STR("VENDOR_parameter")));
    assert_false(pgguc_names_has(&names, PGV_STR("max_connections")));
    assert_false(pgguc_names_has(&names, PGV_STR("vendor")));
    pgguc_names_done(&names);
    assert_false(pgguc_names_has(&names, PGV_STR("vendor_parameter")));
    pgv_buf_done(&b);
}

static void test_accept__recovery(void **state)
{
    static const struct {
        const char *name, *value;
        int version;
        const char *want;
    } cases[] = {
        { "recovery_target", "immediate", 150000, "immediate" },
        { "recovery_target", "", 150000, "" },
        { "recovery_target", "soon", 150000, NULL },
        { "recovery_target_inclusive", "true", 150000, "true" },
        { "recovery_min_apply_delay", "5min", 150000, "5min" },
        { "recovery_target_action", "shutdown", 90500, "shutdown" },
        { "promote_trigger_file", "x", 150000, "x" },
        { "promote_trigger_file", "x", 160000, NULL },
        { "trigger_file", "x", 110000, "x" },
        { "trigger_file", "x", 120000, NULL },
        { "recovery_target_name", "x", 90300, "x" }, /* no rule, but known of old */
        { "max_connections", "100", 150000, NULL },
    };
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, 4096);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool ok =
            pgguc_accept(PGGUC_RECOVERY, cases[i].name, cases[i].value, cases[i].version, NULL, &b);

        if (ok != (cases[i].want != NULL))
            fail_msg("%s=%s in %d", cases[i].name, cases[i].value, cases[i].version);
        if (ok)
            assert_string_equal(pgv_buf_cstr(&b), cases[i].want);
    }
    pgv_buf_done(&b);
}

static void test_same__as_the_server_sees_it(void **state)
{
    static const struct {
        const char *vartype, *unit, *server, *wanted;
        bool same;
    } cases[] = {
        { "bool", NULL, "on", "True", true },
        { "bool", NULL, "off", "no", true },
        { "bool", NULL, "on", "off", false },
        { "bool", NULL, "on", "perhaps", false },
        { "integer", "8kB", "131072", "1GB", true },
        { "integer", "8kB", "131072", "131072", true },
        { "integer", "8kB", "131072", "1MB", false },
        { "integer", "16MB", "384", "6GB", true },
        { "integer", "kB", "4098", "4097.5kB", true },
        { "integer", NULL, "8", "010", true },
        { "integer", NULL, "100", "100MB", false },
        { "integer", "ms", "60000", "1min", true },
        { "integer", "", "5", "5", true },
        { "real", NULL, "0.9", "0.90", true },
        { "real", "ms", "2", "2000us", true },
        { "real", NULL, "1", "2", false },
        { "real", NULL, "1", "x", false },
        { "enum", NULL, "replica", "Replica", true },
        { "enum", NULL, "replica", "logical", false },
        { "enum", NULL, "on", "True", true }, /* a YAML boolean */
        { "enum", NULL, "off", "False", true },
        { "enum", NULL, "local", "True", false },
        { "string", NULL, "a", "a", true },
        { "string", NULL, "a", "A", false },
        { "string", NULL, "", "", true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (pgguc_same(cases[i].vartype, cases[i].unit, cases[i].server, cases[i].wanted) !=
            cases[i].same)
            fail_msg("case %zu: %s %s %s", i, cases[i].vartype, cases[i].server, cases[i].wanted);
}

static void test_needs_restart__by_version(void **state)
{
    static const struct {
        const char *name;
        int from, till; /* 0: never */
    } cases[] = {
        { "max_connections", PGGUC_VERSION_OLDEST, PGGUC_VERSION_OPEN },
        { "Shared_Buffers", PGGUC_VERSION_OLDEST, PGGUC_VERSION_OPEN },
        { "autovacuum_max_workers", PGGUC_VERSION_OLDEST, 180000 },
        { "io_method", 180000, PGGUC_VERSION_OPEN },
        { "ssl", PGGUC_VERSION_OLDEST, 100000 },
        { "work_mem", 0, 0 },
        { "log_statement", 0, 0 },
        { "nosuch", 0, 0 },
        { "an_extension.x", 0, 0 },
    };
    int from, till;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        from = till = 0;
        if (pgguc_needs_restart(pgv_str(cases[i].name), &from, &till) != (cases[i].till != 0) ||
            from != cases[i].from || till != cases[i].till)
            fail_msg("%s: %d %d", cases[i].name, from, till);
    }
    assert_int_equal(pgguc_last_version(PGV_STR("wal_keep_segments")), 129999);
    assert_int_equal(pgguc_last_version(PGV_STR("work_mem")), PGGUC_VERSION_OPEN - 1);
    assert_int_equal(pgguc_last_version(PGV_STR("nosuch")), 0);
}

static void test_suggest__what_comes_close(void **state)
{
    (void)state;
    assert_string_equal(pgguc_suggest(PGV_STR("max_connectons")), "max_connections");
    assert_string_equal(pgguc_suggest(PGV_STR("Shared_Bufers")), "shared_buffers");
    assert_null(pgguc_suggest(PGV_STR("entirely_different")));
}

static void test_same_of__two_texts_of_a_user(void **state)
{
    static const struct {
        const char *name, *a, *b;
        bool same;
    } cases[] = {
        { "shared_buffers", "1GB", "1024MB", true },
        { "shared_buffers", "1GB", "131072", true },
        { "shared_buffers", "1GB", "1MB", false },
        { "shared_buffers", "x", "x", true },
        { "shared_buffers", "x", "y", false },
        { "random_page_cost", "4", "4.0", true },
        { "fsync", "on", "True", true },
        { "fsync", "on", "off", false },
        { "wal_level", "Replica", "replica", true },
        { "huge_pages", "try", "TRY", true },
        { "huge_pages", "on", "true", true },
        { "archive_command", "a", "A", false },
        { "nosuch", "1", "1", true },
        { "nosuch", "1", "01", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (pgguc_same_of(pgv_str(cases[i].name), cases[i].a, cases[i].b) != cases[i].same)
            fail_msg("case %zu", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table__is_sorted_and_sane),
        cmocka_unit_test(test_find__by_version),
        cmocka_unit_test(test_find__what_14_and_16_brought_and_took),
        cmocka_unit_test(test_accept__general),
        cmocka_unit_test(test_accept__recovery),
        cmocka_unit_test(test_same__as_the_server_sees_it),
        cmocka_unit_test(test_needs_restart__by_version),
        cmocka_unit_test(test_suggest__what_comes_close),
        cmocka_unit_test(test_same_of__two_texts_of_a_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
