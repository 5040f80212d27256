/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_pg_wal_texts.c - what WAL tools print, history files, and what follows from them:
 * has a node diverged. Outputs of 15 are recorded, those of other versions as their sources write
 * them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "pg/pgarchive.h"
#include "pg/pgclone.h"
#include "pg/pgrewind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHUTDOWN_15                                                                                \
    "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/02000028, prev "       \
    "0/015668B8, desc: CHECKPOINT_SHUTDOWN redo 0/2000028; tli 1; prev tli 1; fpw true; xid "      \
    "0:733; oid 16391; multi 1; offset 0; oldest xid 716 in DB 1; oldest multi 1 in DB 1; "        \
    "oldest/newest commit timestamp xid: 0/0; oldest running xid 0; shutdown"

#define SHUTDOWN_93                                                                                \
    "rmgr: XLOG        len (rec/tot):     72/   104, tx:          0, lsn: 0/02000028, prev "       \
    "0/01800B50, bkp: 0000, desc: checkpoint: redo 0/2000028; tli 1; prev tli 1; fpw true; xid "   \
    "0/1811; oid 16384; multi 1; offset 0; oldest xid 1798 in DB 1; oldest multi 1 in DB 1; "      \
    "oldest running xid 0; shutdown"

static void test_parse_record__of_several_versions(void **state)
{
    static const struct {
        const char *line;
        uint64_t lsn, prev;
        bool shutdown, is_switch;
    } cases[] = {
        { SHUTDOWN_15, 0x2000028, 0x15668B8, true, false },
        { SHUTDOWN_93, 0x2000028, 0x1800B50, true, false },
        { "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 16/B374D848, prev "
          "16/B374D810, desc: CHECKPOINT_ONLINE redo 16/B374D810; tli 1; oldest running xid 734; "
          "online",
          0x16B374D848, 0x16B374D810, false, false },
        { "rmgr: XLOG        len (rec/tot):     24/    24, tx:          0, lsn: 0/015668B8, prev "
          "0/01566880, desc: SWITCH ",
          0x15668B8, 0x1566880, false, true },
        { "rmgr: XLOG        len (rec/tot):      0/    32, tx:          0, lsn: 0/015668B8, prev "
          "0/01566880, bkp: 0000, desc: xlog switch",
          0x15668B8, 0x1566880, false, true },
        { "rmgr: Heap        len (rec/tot):     59/    59, tx:        734, lsn: 0/01566840, prev "
          "0/01566800, desc: INSERT off 1, desc: SWITCH",
          0x1566840, 0x1566800, false, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgwal_record r;

        assert_true(pgwal_parse_record(pgv_str(cases[i].line), &r));
        assert_true(r.lsn == cases[i].lsn && r.prev == cases[i].prev);
        assert_int_equal(pgwal_is_shutdown_checkpoint(&r), cases[i].shutdown);
        assert_int_equal(pgwal_is_switch(&r), cases[i].is_switch);
    }
}

static void test_parse_record__refuses_other_lines(void **state)
{
    static const char *const bad[] = {
        "",
        "rmgr: XLOG",
        "rmgr: XLOG lsn: 0/1, prev 0/2, desc: x", /* no ', lsn:' */
        "rmgr: XLOG len, lsn: 0/x, prev 0/2, desc: x",
        "rmgr: XLOG len, lsn: 0/1, prev zz, desc: x",
        "rmgr: AVeryLongNameOfAResourceManagerThatNobodyHas len, lsn: 0/1, prev 0/2, desc: x",
        "lsn: 0/1, prev 0/2, desc: x",
        "pg_waldump: fatal: could not find file \"000000010000000000000001\"",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct pgwal_record r;

        if (pgwal_parse_record(pgv_str(bad[i]), &r))
            fail_msg("'%s'", bad[i]);
    }
}

static void test_parse_checkpoint_end__of_several_versions(void **state)
{
    static const struct {
        const char *out, *err;
        uint64_t end;
    } cases[] = {
        { SHUTDOWN_15 "\n",
          "pg_waldump: error: error in WAL record at 0/2000028: invalid record length at "
          "0/20000A0: wanted 24, got 0\n",
          0x20000A0 },
        { SHUTDOWN_15 "\n",
          "pg_waldump: error: error in WAL record at 0/2000028: invalid record length at "
          "0/20000A0: expected at least 24, got 0\n",
          0x20000A0 },
        { SHUTDOWN_93 "\n",
          "pg_xlogdump: FATAL:  error in WAL record at 0/2000028: invalid record length at "
          "0/2000090\n",
          0x2000090 },
        /* 19 may pad */
        { SHUTDOWN_15 "\n",
          "pg_waldump: error: error in WAL record at 0/02000028: invalid record length at "
          "0/020000A0: expected at least 24, got 0\n",
          0x20000A0 },
        /* of another record */
        { SHUTDOWN_15 "\n",
          "pg_waldump: error: error in WAL record at 0/3000028: invalid record length at "
          "0/30000A0: wanted 24, got 0\n",
          0 },
        /* two complaints, two records, none, another kind of end */
        { SHUTDOWN_15 "\n", "x\nerror in WAL record at 0/2000028: invalid record length at 0/1: x",
          0 },
        { SHUTDOWN_15 "\n" SHUTDOWN_15 "\n",
          "error in WAL record at 0/2000028: invalid record length at 0/20000A0: wanted 24, got 0",
          0 },
        { "", "error in WAL record at 0/2000028: invalid record length at 0/20000A0", 0 },
        { SHUTDOWN_15 "\n",
          "error in WAL record at 0/2000028: incorrect resource manager data checksum", 0 },
        { SHUTDOWN_15 "\n", "", 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (pgwal_parse_checkpoint_end(pgv_str(cases[i].out), pgv_str(cases[i].err), 0x2000028) !=
            cases[i].end)
            fail_msg("case %zu", i);
}

static const char history_5[] = "1\t0/3000000\tno recovery target specified\n"
                                "\n"
                                "2\t0/5000060\tno recovery target specified\n"
                                "# a comment\n"
                                "3\tnonsense\tx\n"
                                "x\t0/1\ty\n"
                                "4\t1/7\tbefore 2020-01-01 00:00:00+00\n";

static void test_pghist_parse__skips_what_it_does_not_know(void **state)
{
    struct pgv_arena a;
    struct pghist h;

    (void)state;
    pgv_arena_init(&a, 1u << 20);
    assert_true(pghist_parse(&a, pgv_str(history_5), &h, NULL));
    assert_int_equal(h.n, 3);
    assert_int_equal(h.v[0].timeline, 1);
    assert_true(h.v[0].lsn == 0x3000000);
    assert_true(pgv_str_eqz(h.v[0].reason, "no recovery target specified"));
    assert_int_equal(h.v[2].timeline, 4);
    assert_true(h.v[2].lsn == 0x100000007);
    assert_true(pghist_parse(&a, (struct pgv_str){ 0 }, &h, NULL));
    assert_int_equal(h.n, 0);
    pgv_arena_done(&a);
}

static void test_pghist_read__by_version_and_absence(void **state)
{
    char dir[] = "/tmp/pgvigil-hist-XXXXXX", path[128];
    struct pgv_error err = { 0 };
    struct pgv_arena a;
    struct pghist h;
    int64_t when = 0;

    (void)state;
    assert_non_null(mkdtemp(dir));
    pgv_arena_init(&a, 1u << 20);
    (void)snprintf(path, sizeof(path), "%s/pg_wal", dir);
    assert_true(pgv_mkdirs(path, 0700, NULL));
    assert_false(pghist_read(&a, dir, 150000, 10, &h, &when, &err));
    assert_int_equal(err.code, PGV_ESYS);
    assert_int_equal(err.sys, ENOENT);
    (void)snprintf(path, sizeof(path), "%s/pg_wal/0000000A.history", dir);
    assert_true(pgv_file_replace(path, pgv_str(history_5), 0600, NULL));
    assert_true(pghist_read(&a, dir, 150000, 10, &h, &when, &err));
    assert_int_equal(h.n, 3);
    assert_true(when > 1500000000000000);
    assert_false(pghist_read(&a, dir, 90600, 10, &h, &when, &err)); /* looks in pg_xlog */
    pgv_arena_done(&a);
    assert_true(pgv_tree_remove(dir, NULL));
}

static void test_judge__every_row(void **state)
{
    static struct pghist_entry entries[] = { { 1, 0x3000000, { 0 } },
                                             { 2, 0x5000060, { 0 } },
                                             { 4, 0x100000007, { 0 } } };
    static const struct pghist history = { entries, 3 };
    static const struct {
        struct pgrewind_local local;
        uint32_t leader;
        bool has_history, end_known;
        uint64_t end;
        enum pgrewind_verdict verdict;
        bool need_end;
    } cases[] = {
        { { 0, 1, true }, 5, true, false, 0, PGREWIND_UNKNOWN, false },
        { { 1, 0, true }, 5, true, false, 0, PGREWIND_UNKNOWN, false },
        { { 6, 0x100, true }, 5, false, false, 0, PGREWIND_NEED, false },
        { { 5, 0x100, false }, 5, false, false, 0, PGREWIND_NOT_NEEDED, false },
        { { 1, 0x100, false }, 1, false, false, 0, PGREWIND_NOT_NEEDED, false },
        /* a standby: at or before the switch, or beyond */
        { { 2, 0x5000060, true }, 5, true, false, 0, PGREWIND_NOT_NEEDED, false },
        { { 2, 0x5000061, true }, 5, true, false, 0, PGREWIND_NEED, false },
        { { 1, 0x2000000, true }, 5, true, false, 0, PGREWIND_NOT_NEEDED, false },
        /* a former primary: its checkpoint must end where the switch is */
        { { 2, 0x5000060, false }, 5, true, false, 0, PGREWIND_NEED, false },
        { { 2, 0x5000028, false }, 5, true, false, 0, PGREWIND_UNKNOWN, true },
        { { 2, 0x5000028, false }, 5, true, true, 0x5000060, PGREWIND_NOT_NEEDED, false },
        { { 2, 0x5000028, false }, 5, true, true, 0x50000a0, PGREWIND_NEED, false },
        { { 2, 0x5000028, false }, 5, true, true, 0, PGREWIND_NEED, false },
        /* a timeline the leader never was on */
        { { 3, 0x10, true }, 5, true, false, 0, PGREWIND_NEED, false },
    };
    static const struct pghist empty = { entries, 0 };
    struct pgrewind_local one = { 1, 0x100, true };
    bool need_end;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (pgrewind_judge(&cases[i].local, cases[i].leader, cases[i].has_history ? &history : NULL,
                           cases[i].end_known, cases[i].end, &need_end) != cases[i].verdict ||
            need_end != cases[i].need_end)
            fail_msg("case %zu", i);
    }
    assert_int_equal(pgrewind_judge(&one, 2, &empty, false, 0, &need_end), PGREWIND_NEED);
}

static void test_begin__of_our_timeline_at_the_leaders(void **state)
{
    static struct pghist_entry entries[] = { { 1, 0x3000000, { 0 } }, { 2, 0x5000060, { 0 } } };
    static const struct pghist history = { entries, 2 };
    static const struct {
        struct pgrewind_local local;
        uint32_t leader;
        uint64_t begin;
        unsigned bytes;
    } cases[] = {
        { { 3, 0x6000000, true }, 3, 0x5000060, 81 },
        { { 2, 0x5000000, true }, 3, 0x3000000, 81 },
        { { 1, 0x2000000, true }, 3, 0, 0 }, /* the first one has no other beside it */
        { { 2, 0x5000000, true }, 4, 0x3000000, 81 },
        { { 4, 0x5000000, true }, 3, 0, 0 },
        /* a standby has what it has replayed, a primary its shutdown checkpoint as well */
        { { 3, 0x5000060, true }, 3, 0x5000060, 0 },
        { { 3, 0x5000060 + 41, true }, 3, 0x5000060, 0 },
        { { 3, 0x5000060 + 42, true }, 3, 0x5000060, 41 },
        { { 3, 0x5000060 + 48, true }, 3, 0x5000060, 47 },
        { { 3, 0x5000000, true }, 3, 0x5000060, 0 },
        { { 3, 0x5000060, false }, 3, 0x5000060, 59 },
        { { 3, 0x5000000, false }, 3, 0x5000060, 0 },
    };
    uint64_t begin;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin = 0;
        if (pgrewind_begin(&cases[i].local, cases[i].leader, &history, &begin) != cases[i].bytes ||
            begin != cases[i].begin)
            fail_msg("case %zu", i);
    }
}

static void test_local_from_control__by_state(void **state)
{
    static const struct {
        enum postmaster_control_state state;
        uint64_t minimum;
        uint32_t minimum_timeline, timeline;
        uint64_t lsn;
        bool in_recovery;
    } cases[] = {
        { PM_CONTROL_SHUT_DOWN, 0, 0, 3, 0x2000028, false },
        { PM_CONTROL_SHUT_DOWN_IN_RECOVERY, 0x3000000, 4, 4, 0x3000000, true },
        { PM_CONTROL_IN_ARCHIVE_RECOVERY, 0x3000000, 4, 4, 0x3000000, true },
        { PM_CONTROL_IN_ARCHIVE_RECOVERY, 0, 0, 3, 0x2000028, false },
        { PM_CONTROL_IN_ARCHIVE_RECOVERY, 0x3000000, 0, 3, 0x2000028, false },
        { PM_CONTROL_IN_PRODUCTION, 0x3000000, 4, 0, 0, false },
        { PM_CONTROL_IN_CRASH_RECOVERY, 0, 0, 0, 0, false },
        { PM_CONTROL_UNKNOWN, 0, 0, 0, 0, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pm_control c = { .state = cases[i].state,
                                .checkpoint_known = true,
                                .checkpoint = 0x2000028,
                                .checkpoint_timeline = 3,
                                .min_recovery_end = cases[i].minimum,
                                .min_recovery_end_timeline = cases[i].minimum_timeline };
        struct pgrewind_local local;

        pgrewind_local_from_control(&c, &local);
        assert_int_equal(local.timeline, cases[i].timeline);
        assert_true(local.lsn == cases[i].lsn);
        assert_int_equal(local.in_recovery, cases[i].in_recovery);
    }
}

static void test_missing_wal__only_real_names(void **state)
{
    static const struct {
        const char *line, *name;
    } cases[] = {
        { "pg_rewind: fatal: could not open file \"/data/pg_wal/0000000A00006AA100000068\": No "
          "such "
          "file or directory",
          "0000000A00006AA100000068" },
        { "could not open file \"d/pg_xlog/000000010000000000000001\": No such file or directory",
          "000000010000000000000001" },
        { "could not open file \"/data/base/000000010000000000000001\": No such file", NULL },
        { "could not open file \"/data/pg_wal/00000001\": No such file", NULL },
        { "could not open file \"/data/pg_wal/00000001000000000000;rm;\": No such file", NULL },
        { "could not open file \"000000010000000000000001\": No such file", NULL },
        { "could not open file \"/data/pg_wal/000000010000000000000001", NULL },
        { "", NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char name[25];
        bool found = pgrewind_missing_wal(pgv_str(cases[i].line), name);

        if (found != (cases[i].name != NULL))
            fail_msg("case %zu", i);
        if (found)
            assert_string_equal(name, cases[i].name);
    }
}

static void test_progress__of_basebackup_and_rewind(void **state)
{
    static const struct {
        const char *line;
        int percent;
        uint64_t kb, total_kb;
    } cases[] = {
        { "    0/30947 kB (0%), 0/1 tablespace", 0, 0, 30947 },
        { "23195/30947 kB (74%), 0/1 tablespace (...base/13395/2608)", 74, 23195, 30947 },
        { "30957/30957 kB (100%), 1/1 tablespace", 100, 30957, 30957 },
        { "40000/30957 kB (129%), 1/1 tablespace", 100, 40000, 30957 },
        { "   64/66094 kB (0%) copied", 0, 64, 66094 },
        { "99999999999999999999/1 kB (5%)", 5, 7, 7 }, /* no figure: the last ones stay */
        { "18446744073709551615/1 kB (5%)", 5, 7, 7 },
        { "waiting for checkpoint", -1, 7, 7 },
        { "12/13 kB (x%)", -1, 7, 7 },
        { "12/13 kB (1234%)", -1, 7, 7 },
        { "12/13 kB (7", -1, 7, 7 },
        { "", -1, 7, 7 },
    };
    uint64_t bytes, total;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bytes = total = 7 * 1024;
        if (pgclone_parse_progress(pgv_str(cases[i].line), &bytes, &total) != cases[i].percent ||
            bytes != cases[i].kb * 1024 || total != cases[i].total_kb * 1024)
            fail_msg("'%s'", cases[i].line);
    }
}

static void test_postmaster_opts__long_options_only(void **state)
{
    static const char text[] =
        "/usr/lib/postgresql/15/bin/postgres \"-D\" \"/data\" \"--config-file=/etc/p.conf\" "
        "\"--listen_addresses=127.0.0.1,::1\" \"--port=5432\" \"--flag\" \"-c\" \"x=y\" "
        "\"--cluster_name=my cluster\"\n";
    struct pgtool_args args;
    struct pgv_arena a;

    (void)state;
    pgv_arena_init(&a, 1u << 20);
    pgtool_args_init(&args, &a);
    pgcrash_parse_opts(pgv_str(text), &args);
    assert_int_equal(args.n, 4);
    assert_string_equal(args.v[0], "config-file=/etc/p.conf");
    assert_string_equal(args.v[1], "listen_addresses=127.0.0.1,::1");
    assert_string_equal(args.v[2], "port=5432");
    assert_string_equal(args.v[3], "cluster_name=my cluster");
    pgtool_args_init(&args, &a);
    pgcrash_parse_opts((struct pgv_str){ 0 }, &args);
    assert_int_equal(args.n, 0);
    pgv_arena_done(&a);
}

static void test_ready_name__segments_and_partial_ones(void **state)
{
    static const struct {
        const char *name;
        bool ready;
    } cases[] = {
        { "000000010000000000000001.ready", true },
        { "0000000A00006AA1000000FF.partial.ready", true },
        { "000000010000000000000001.done", false },
        { "00000002.history.ready", false },
        { "000000010000000000000001.00000028.backup.ready", false },
        { "00000001000000000000000g.ready", false },
        { "0000000100000000000000011.ready", false },
        { "", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(pgarchive_is_ready_name(cases[i].name), cases[i].ready);
}

static void test_expand__placeholders(void **state)
{
    static const struct {
        const char *command, *want;
    } cases[] = {
        { "cp %p /archive/%f", "cp /d/pg_wal/F /archive/F" },
        { "x %r %% %q %", "x R % %q %" },
        { "", "" },
        { "%", "%" },
        { "%%p", "%p" },
    };
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, 1024);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(pgtool_expand(&b, cases[i].command, "/d/pg_wal/F", "F", "R"));
        assert_string_equal(pgv_buf_cstr(&b), cases[i].want);
    }
    pgv_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_record__of_several_versions),
        cmocka_unit_test(test_parse_record__refuses_other_lines),
        cmocka_unit_test(test_parse_checkpoint_end__of_several_versions),
        cmocka_unit_test(test_pghist_parse__skips_what_it_does_not_know),
        cmocka_unit_test(test_pghist_read__by_version_and_absence),
        cmocka_unit_test(test_judge__every_row),
        cmocka_unit_test(test_begin__of_our_timeline_at_the_leaders),
        cmocka_unit_test(test_local_from_control__by_state),
        cmocka_unit_test(test_missing_wal__only_real_names),
        cmocka_unit_test(test_progress__of_basebackup_and_rewind),
        cmocka_unit_test(test_postmaster_opts__long_options_only),
        cmocka_unit_test(test_ready_name__segments_and_partial_ones),
        cmocka_unit_test(test_expand__placeholders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
