/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_pg_recovery.c - the recovery configuration: built, written, compared with what
 * the server has.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "pg/pgrecovery.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pgv_arena arena;
static char dir[64];
static struct pgconf *conf_in_use;

static int setup(void **state)
{
    (void)state;
    pgv_arena_init(&arena, 4u << 20);
    (void)snprintf(dir, sizeof(dir), "/tmp/pgvigil-recovery-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    pgconf_unref(conf_in_use);
    conf_in_use = NULL;
    pgv_arena_done(&arena);
    return pgv_tree_remove(dir, NULL) ? 0 : -1;
}

static struct pgv_value *yaml(const char *text)
{
    struct pgv_error err;
    struct pgv_value *v;

    if (!pgv_yaml_parse(&arena, "test", pgv_str(text), &v, &err))
        fail_msg("%s", err.msg);
    return v;
}

static struct pgconf *conf(const char *extra)
{
    struct pgv_error err;
    char text[2048];

    (void)snprintf(text, sizeof(text),
                   "data_dir: %s\nlisten: '*:5433'\npgpass: %s/pgpass\n"
                   "authentication: {replication: {username: rep, password: secret}}\n%s",
                   dir, dir, extra);
    pgconf_unref(conf_in_use);
    conf_in_use = NULL;
    if (!pgconf_new("n-1", "demo", yaml(text), &conf_in_use, &err))
        fail_msg("%s", err.msg);
    return conf_in_use;
}

static const struct pgrecovery_source leader = { .conn_url = "postgres://10.0.0.2:5432/postgres" };

static struct pgrecovery build(const struct pgconf *c, int version,
                               const struct pgrecovery_source *source)
{
    struct pgfiles_env env = { .major_version = version };
    struct pgrecovery r;

    assert_true(pgrecovery_build(c, &env, source, &arena, &r, NULL));
    return r;
}

static struct pgv_value *written(const struct pgconf *c, int version, const struct pgrecovery *r)
{
    struct pgfiles_env env = { .major_version = version };
    struct pgv_value *params = NULL;
    struct pgv_error err;

    if (!pgrecovery_write(c, &env, r, &arena, &params, &err))
        fail_msg("%s", err.msg);
    return params;
}

static void check(const struct pgv_value *map, const char *name, const char *want)
{
    const char *have = pgv_stringz(pgv_get(map, name));

    if ((have == NULL) != (want == NULL) || (want && strcmp(have, want) != 0))
        fail_msg("%s is '%s', should be '%s'", name, have ? have : "(absent)",
                 want ? want : "(absent)");
}

static bool there(const char *name)
{
    char path[PGCONF_PATH_BYTES];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return pgv_file_exists(path);
}

static void put(const char *name, const char *text)
{
    char path[PGCONF_PATH_BYTES];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_true(pgv_file_replace(path, pgv_str(text), 0600, NULL));
}

static const char *slurp(const char *name)
{
    struct pgv_buf b;
    char path[PGCONF_PATH_BYTES], *text;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    pgv_buf_init(&b, 1u << 20);
    if (!pgv_file_read(path, &b, NULL))
        fail_msg("no %s", path);
    text = pgv_arena_dup(&arena, pgv_buf_view(&b));
    pgv_buf_done(&b);
    return text;
}

/* ------------------------------------------------------------------------------------ building */

static void test_build__for_the_leader(void **state)
{
    struct pgconf *c = conf("recovery_conf: {restore_command: cp, recovery_target_time: x,\n"
                            "  primary_conninfo: mine, primary_slot_name: mine,\n"
                            "  trigger_file: t, recovery_min_apply_delay: 1h}\n");
    struct pgrecovery r = build(c, 150000, &leader);

    (void)state;
    assert_true(r.standby_mode && r.has_conninfo);
    check(r.params, "restore_command", "cp");
    check(r.params, "recovery_target_timeline", "latest");
    check(r.params, "recovery_target", "");
    check(r.params, "recovery_target_time", "");
    check(r.params, "recovery_target_lsn", "");
    check(r.params, "primary_slot_name", "n_1");
    check(r.params, "primary_conninfo", NULL);
    check(r.params, "promote_trigger_file", "t");
    check(r.params, "trigger_file", NULL);
    check(r.params, "recovery_min_apply_delay", "1h");
    assert_string_equal(r.conninfo.v[PGDSN_HOST], "10.0.0.2");
    assert_string_equal(r.conninfo.v[PGDSN_USER], "rep");
    assert_string_equal(r.conninfo.v[PGDSN_APPLICATION_NAME], "n-1");
    assert_string_equal(r.conninfo.v[PGDSN_SSLMODE], "prefer");
    assert_string_equal(r.conninfo.v[PGDSN_GSSENCMODE], "prefer");
    assert_string_equal(r.conninfo.v[PGDSN_CHANNEL_BINDING], "prefer");
    assert_null(r.conninfo.v[PGDSN_SSLNEGOTIATION]);
    assert_null(r.conninfo.v[PGDSN_TARGET_SESSION_ATTRS]);

    r = build(c, 90600, &leader);
    check(r.params, "recovery_target", NULL);
    check(r.params, "trigger_file", "t");
    assert_null(r.conninfo.v[PGDSN_GSSENCMODE]);
    r = build(c, 90300, &leader);
    check(r.params, "primary_slot_name", NULL); /* there were no slots */
    r = build(c, 120000, &leader);
    assert_string_equal(r.conninfo.v[PGDSN_GSSENCMODE], "prefer");
    assert_null(r.conninfo.v[PGDSN_CHANNEL_BINDING]);
    assert_string_equal(build(c, 130000, &leader).conninfo.v[PGDSN_CHANNEL_BINDING], "prefer");
    assert_null(build(c, 160000, &leader).conninfo.v[PGDSN_SSLNEGOTIATION]);
    r = build(c, 170000, &leader);
    assert_string_equal(r.conninfo.v[PGDSN_SSLNEGOTIATION], "postgres");
}

static void test_build__for_nobody_and_for_myself(void **state)
{
    static const struct pgrecovery_source nobody = { 0 };
    struct pgrecovery_source me = leader;
    struct pgrecovery r;

    (void)state;
    r = build(conf(""), 150000, &nobody);
    assert_true(r.standby_mode);
    assert_false(r.has_conninfo);
    check(r.params, "primary_slot_name", NULL);
    me.is_me = true;
    assert_false(build(conf(""), 150000, &me).has_conninfo);
    r = build(conf("use_slots: false\n"), 150000, &leader);
    assert_true(r.has_conninfo);
    check(r.params, "primary_slot_name", NULL);
}

static void test_build__for_a_remote_cluster(void **state)
{
    struct pgrecovery_source remote = { .conn_url = "postgres://h1:1,h2:2/postgres",
                                        .remote = true,
                                        .primary_slot_name = "Their-Slot",
                                        .restore_command = "theirs",
                                        .archive_cleanup_command = "clean",
                                        .recovery_min_apply_delay = "5min" };
    struct pgrecovery r;

    (void)state;
    r = build(conf("recovery_conf: {restore_command: ours}\n"), 150000, &remote);
    check(r.params, "primary_slot_name", "their_slot");
    check(r.params, "restore_command", "theirs");
    check(r.params, "archive_cleanup_command", "clean");
    check(r.params, "recovery_min_apply_delay", "5min");
    assert_string_equal(r.conninfo.v[PGDSN_HOST], "h1,h2");
    assert_string_equal(r.conninfo.v[PGDSN_TARGET_SESSION_ATTRS], "read-write");
    assert_null(build(conf(""), 90600, &remote).conninfo.v[PGDSN_TARGET_SESSION_ATTRS]);
    remote.no_replication_slot = true;
    r = build(conf(""), 150000, &remote);
    check(r.params, "primary_slot_name", NULL);
    assert_null(r.conninfo.v[PGDSN_TARGET_SESSION_ATTRS]);

    /* a replica of the standby leader: its commands, not its delay */
    remote.remote = false;
    r = build(conf(""), 150000, &remote);
    check(r.params, "restore_command", "theirs");
    check(r.params, "recovery_min_apply_delay", NULL);
    check(r.params, "primary_slot_name", "n_1");
}

/* ------------------------------------------------------------------------------------- writing */

static void test_write__signals_and_password_file(void **state)
{
    struct pgconf *c = conf("");
    struct pgrecovery r = build(c, 150000, &leader);
    struct pgv_value *params = written(c, 150000, &r);
    char want[512];

    (void)state;
    assert_true(there("standby.signal"));
    assert_false(there("recovery.conf"));
    assert_true(pgrecovery_exists(c, 150000));
    assert_false(pgrecovery_exists(c, 110000));
    assert_string_equal(slurp("pgpass"), "10.0.0.2:5432:*:rep:secret\n");
    (void)snprintf(want, sizeof(want),
                   "dbname=postgres user=rep passfile=%s/pgpass host=10.0.0.2 port=5432 "
                   "sslmode=prefer application_name=n-1 gssencmode=prefer channel_binding=prefer",
                   dir);
    check(params, "primary_conninfo", want);
    check(params, "primary_slot_name", "n_1");

    assert_true(pgrecovery_remove(c, NULL));
    assert_false(pgrecovery_exists(c, 150000));
    assert_true(pgrecovery_remove(c, NULL)); /* nothing to remove is fine */
}

static void test_write__point_in_time(void **state)
{
    struct pgconf *c = conf("");
    struct pgfiles_env env = { .major_version = 150000 };
    struct pgrecovery r;
    struct pgv_value *params;

    (void)state;
    put("standby.signal", "");
    assert_true(pgrecovery_from_map(c, &env,
                                    yaml("{recovery_target_time: '2020-01-01 00:00:00',\n"
                                         " pause_at_recovery_target: false, restore_command: x,\n"
                                         " recovery_target_inclusive: true}"),
                                    &arena, &r, NULL));
    assert_false(r.standby_mode);
    params = written(c, 150000, &r);
    assert_true(there("recovery.signal"));
    assert_false(there("standby.signal"));
    check(params, "recovery_target_time", "2020-01-01 00:00:00");
    check(params, "recovery_target_action", "promote");
    check(params, "pause_at_recovery_target", NULL);
    check(params, "recovery_target_inclusive", "True");
    check(params, "primary_conninfo", NULL);

    assert_true(pgrecovery_from_map(
        c, &env, yaml("{standby_mode: 'on', primary_conninfo: 'host=a'}"), &arena, &r, NULL));
    assert_true(r.standby_mode && r.has_conninfo);
}

static void test_write__recovery_conf_before_12(void **state)
{
    struct pgconf *c = conf("recovery_conf: {restore_command: \"cp '%p'\"}\n");
    struct pgfiles_env env = { .major_version = 90400 };
    struct pgrecovery r = build(c, 90600, &leader);

    (void)state;
    assert_null(written(c, 90600, &r));
    assert_false(there("standby.signal") || there("pgpass"));
    assert_string_equal(slurp("recovery.conf"),
                        "# Do not edit this file manually!\n"
                        "# It will be overwritten by Patroni!\n"
                        "primary_conninfo = 'dbname=postgres user=rep password=secret "
                        "host=10.0.0.2 port=5432 sslmode=prefer application_name=n-1'\n"
                        "primary_slot_name = 'n_1'\n"
                        "recovery_target_timeline = 'latest'\n"
                        "restore_command = 'cp ''%p'''\n"
                        "standby_mode = 'on'\n");
    assert_true(pgrecovery_exists(c, 90600));

    /* the action was called otherwise before 9.5 */
    assert_true(
        pgrecovery_from_map(c, &env, yaml("{recovery_target_action: Promote}"), &arena, &r, NULL));
    assert_null(written(c, 90400, &r));
    assert_non_null(strstr(slurp("recovery.conf"), "pause_at_recovery_target = 'false'\n"));
    assert_non_null(strstr(slurp("recovery.conf"), "standby_mode = 'off'\n"));
    assert_null(strstr(slurp("recovery.conf"), "action"));
}

/* ---------------------------------------------------------------------------------- comparison */

static struct pgrecovery_diff compare(const struct pgconf *c, int version,
                                      const struct pgrecovery *wanted,
                                      const struct pgrecovery_current *cur,
                                      const struct pgrecovery_receiver *receiver)
{
    struct pgfiles_env env = { .major_version = version };
    struct pgrecovery_diff diff;

    pgrecovery_compare(c, &env, wanted, cur, receiver, false, true, &diff);
    return diff;
}

static void test_compare__what_was_written_is_wanted(void **state)
{
    static const int versions[] = { 120000, 130000, 140000, 150000, 160000, 170000, 180000 };
    struct pgrecovery_current cur = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        struct pgconf *c = conf("recovery_conf: {restore_command: cp}\n");
        struct pgrecovery r = build(c, versions[i], &leader);
        struct pgv_value *params = written(c, versions[i], &r);
        struct pgrecovery_diff diff;

        assert_true(pgrecovery_current_written(&cur, c, &r, params, versions[i], NULL));
        diff = compare(c, versions[i], &r, &cur, NULL);
        if (diff.change)
            fail_msg("%d: %s", versions[i], diff.reason);
    }
    pgrecovery_current_done(&cur);
}

static void test_compare__recovery_conf_read_back(void **state)
{
    static const int versions[] = { 90300, 90400, 90500, 90600, 100000, 110000 };
    struct pgrecovery_current cur = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        struct pgconf *c = conf("recovery_conf: {restore_command: \"cp 'a\\\\b'\"}\n");
        struct pgrecovery r = build(c, versions[i], &leader), none;
        struct pgrecovery_diff diff;

        (void)written(c, versions[i], &r);
        assert_true(
            pgrecovery_current_parse(&cur, pgv_str(slurp("recovery.conf")), versions[i], NULL));
        diff = compare(c, versions[i], &r, &cur, NULL);
        if (diff.change)
            fail_msg("%d: %s", versions[i], diff.reason);
        none = build(c, versions[i], &(struct pgrecovery_source){ 0 });
        diff = compare(c, versions[i], &none, &cur, NULL);
        assert_true(diff.change && diff.restart); /* before 12 all of it needs one */
    }
    pgrecovery_current_done(&cur);
}

static void test_compare__reload_or_restart_by_version(void **state)
{
    static const struct {
        const char *name, *value;
        int version;
        bool change, restart;
    } cases[] = {
        { "restore_command", "other", 120000, true, true },
        { "restore_command", "other", 130000, true, true },
        { "restore_command", "other", 140000, true, false },
        { "primary_slot_name", "other", 120000, true, true },
        { "primary_slot_name", "other", 130000, true, false },
        { "primary_conninfo", "host=other", 120000, true, true },
        { "primary_conninfo", "host=other", 130000, true, false },
        { "primary_conninfo", "host=other", 150000, true, false },
        { "primary_conninfo", "", 150000, true, false },
        { "primary_conninfo", "nonsense", 150000, true, true },
        { "recovery_end_command", "x", 150000, true, false },
        { "recovery_target_timeline", "2", 150000, true, false },
        { "recovery_min_apply_delay", "0", 150000, false, false },
        { "recovery_min_apply_delay", "1000", 150000, true, false },
        { "promote_trigger_file", "x", 150000, true, false },
        { "promote_trigger_file", "x", 160000, false, false }, /* 16 has none */
        { "nosuch", "x", 150000, false, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgrecovery_current cur = { 0 }, changed = { 0 };
        struct pgrecovery_row rows[PGRECOVERY_ROWS_MAX];
        struct pgconf *c = conf("recovery_conf: {restore_command: cp}\n");
        struct pgrecovery r = build(c, cases[i].version, &leader);
        struct pgv_value *params = written(c, cases[i].version, &r);
        struct pgrecovery_diff diff;
        bool found = false;
        size_t n;

        assert_true(pgrecovery_current_written(&cur, c, &r, params, cases[i].version, NULL));
        n = cur.n;
        memcpy(rows, cur.rows, n * sizeof(rows[0]));
        for (size_t k = 0; k < n; k++) {
            if (strcmp(rows[k].name, cases[i].name) == 0) {
                rows[k].setting = cases[i].value;
                found = true;
            }
        }
        if (!found)
            rows[n++] =
                (struct pgrecovery_row){ cases[i].name, cases[i].value, c->conf_path, false };
        assert_true(pgrecovery_current_set(&changed, rows, n, NULL));
        diff = compare(c, cases[i].version, &r, &changed, NULL);
        if (diff.change != cases[i].change || diff.restart != cases[i].restart)
            fail_msg("case %zu: %s in %d: change %d restart %d", i, cases[i].name, cases[i].version,
                     diff.change, diff.restart);
        if (diff.change)
            assert_string_equal(diff.reason, cases[i].name);
        pgrecovery_current_done(&cur);
        pgrecovery_current_done(&changed);
    }
}

static void test_compare__signal_missing_and_first_look(void **state)
{
    struct pgfiles_env env = { .major_version = 150000 };
    struct pgrecovery_current cur = { 0 };
    struct pgconf *c = conf("");
    struct pgrecovery r = build(c, 150000, &leader);
    struct pgrecovery_diff diff;

    (void)state;
    diff = compare(c, 150000, &r, &cur, NULL);
    assert_true(diff.change && diff.restart);
    assert_string_equal(diff.reason, "standby.signal");
    diff = compare(c, 110000, &r, &cur, NULL);
    assert_true(diff.change && diff.restart);
    put("standby.signal", "");
    pgrecovery_compare(c, &env, &r, &cur, NULL, false, false, &diff);
    assert_true(diff.change);
    assert_false(diff.restart);
    pgrecovery_compare(c, &env, &r, &cur, NULL, true, false, &diff);
    assert_false(diff.change);
}

static void test_compare__foreign_files_are_left_alone(void **state)
{
    static const struct {
        const char *name, *setting, *file;
        bool change;
    } cases[] = {
        { "restore_command", "theirs", "/etc/other.conf", false },
        { "restore_command", "theirs", NULL, false }, /* by default */
        { "restore_command", "theirs", "CONF", true },
        { "restore_command", "theirs", "AUTO", true },
        { "recovery_target_name", "x", "/etc/other.conf", true },
        { "primary_slot_name", "x", "/etc/other.conf", true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgrecovery_current cur = { 0 };
        struct pgconf *c = conf("");
        struct pgrecovery r = build(c, 150000, &leader);
        struct pgrecovery_row row = { cases[i].name, cases[i].setting, cases[i].file, false };

        put("standby.signal", "");
        if (row.sourcefile && strcmp(row.sourcefile, "CONF") == 0)
            row.sourcefile = c->conf_path;
        if (row.sourcefile && strcmp(row.sourcefile, "AUTO") == 0)
            row.sourcefile = c->auto_conf_path;
        assert_true(pgrecovery_current_set(&cur, &row, 1, NULL));
        if (compare(c, 150000, &r, &cur, NULL).change != cases[i].change)
            fail_msg("case %zu", i);
        pgrecovery_current_done(&cur);
    }
}

static void test_compare__the_receiver_knows_better(void **state)
{
    struct pgrecovery_current cur = { 0 };
    struct pgconf *c = conf("");
    struct pgrecovery r = build(c, 150000, &leader);
    struct pgv_value *params = written(c, 150000, &r);
    struct pgrecovery_receiver receiver = { .present = true };
    char conninfo[512];

    (void)state;
    assert_true(pgrecovery_current_written(&cur, c, &r, params, 150000, NULL));
    (void)snprintf(conninfo, sizeof(conninfo),
                   "user=rep passfile=%s/pgpass channel_binding=prefer dbname=replication "
                   "host=10.0.0.2 port=5432 application_name=n-1 fallback_application_name=demo "
                   "sslmode=prefer sslcompression=0 gssencmode=prefer krbsrvname=postgres "
                   "target_session_attrs=any",
                   dir);
    receiver.conninfo = conninfo;
    receiver.slot_name = "n_1";
    assert_false(compare(c, 150000, &r, &cur, &receiver).change);
    receiver.slot_name = NULL; /* it runs without one */
    assert_true(compare(c, 150000, &r, &cur, &receiver).change);
    receiver.slot_name = "n_1";
    receiver.conninfo = "user=rep host=10.0.0.3 port=5432";
    assert_true(compare(c, 150000, &r, &cur, &receiver).change);
    receiver = (struct pgrecovery_receiver){ 0 };
    assert_false(compare(c, 150000, &r, &cur, &receiver).change);

    /* it runs with a password file that the parameter does not name */
    receiver = (struct pgrecovery_receiver){ .present = true, .slot_name = "n_1" };
    receiver.conninfo = conninfo;
    assert_false(compare(c, 150000, &r, &cur, &receiver).other_passfile);
    *strstr(conninfo, "/pgpass") = '_';
    assert_true(compare(c, 150000, &r, &cur, &receiver).other_passfile);

    /* somebody has rewritten the password file */
    put("pgpass", "10.0.0.2:5432:*:rep:other\n");
    assert_true(compare(c, 150000, &r, &cur, NULL).change);
    pgrecovery_current_done(&cur);
}

static void test_current__stale_when_files_change(void **state)
{
    struct pgrecovery_current cur = { 0 };
    struct pgconf *c = conf("");
    struct pgrecovery r = build(c, 150000, &leader);
    struct pgv_value *params = written(c, 150000, &r);
    bool only_postmaster;

    (void)state;
    put("postgresql.conf", "");
    assert_true(pgrecovery_current_stale(&cur, c, 150000, 1, &only_postmaster));
    assert_false(only_postmaster);
    pgrecovery_current_stamp(&cur, c, 150000, 1);
    assert_true(pgrecovery_current_written(&cur, c, &r, params, 150000, NULL));
    assert_false(pgrecovery_current_stale(&cur, c, 150000, 1, &only_postmaster));
    assert_true(pgrecovery_current_stale(&cur, c, 150000, 2, &only_postmaster));
    assert_true(only_postmaster);
    put("postgresql.auto.conf", "");
    assert_true(pgrecovery_current_stale(&cur, c, 150000, 1, &only_postmaster));
    assert_false(only_postmaster);
    pgrecovery_current_stamp(&cur, c, 150000, 1);
    assert_false(pgrecovery_current_stale(&cur, c, 150000, 1, &only_postmaster));
    put("pgpass", "x");
    assert_true(pgrecovery_current_stale(&cur, c, 150000, 1, &only_postmaster));
    pgrecovery_current_done(&cur);
}

/* The same length, and the times that it had before. */
static void test_current__a_disguised_change_of_the_password_file_is_seen(void **state)
{
    struct pgrecovery_current cur = { 0 };
    struct pgconf *c = conf("");
    struct pgrecovery r = build(c, 150000, &leader);
    struct pgv_value *params = written(c, 150000, &r);
    bool only_postmaster;
    struct stat st, now;
    char path[300];
    FILE *file;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/pgpass", dir);
    assert_true(pgrecovery_current_written(&cur, c, &r, params, 150000, NULL));
    pgrecovery_current_stamp(&cur, c, 150000, 1);
    assert_false(pgrecovery_current_settled(&cur, INT64_MAX / 2));
    assert_true(pgrecovery_current_settled(&cur, 0));
    assert_int_equal(stat(path, &st), 0);
    do { /* until the file system's clock has ticked */
        assert_true((file = fopen(path, "r+")) != NULL);
        assert_int_equal(fputc('9', file), '9');
        assert_int_equal(fclose(file), 0);
        assert_int_equal(stat(path, &now), 0);
    } while (now.st_ctim.tv_nsec == st.st_ctim.tv_nsec);
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){ st.st_atim, st.st_mtim }, 0),
                     0);
    assert_true(pgrecovery_current_stale(&cur, c, 150000, 1, &only_postmaster));
    pgrecovery_current_done(&cur);
}

static void test_current_parse__quoting(void **state)
{
    static const struct {
        const char *line, *value; /* NULL: refused */
    } cases[] = {
        { "restore_command = 'a'", "a" },
        { "restore_command='it''s \\'x\\\\' # comment", "it's 'x\\" },
        { "restore_command = word # comment", "word" },
        { "  RESTORE_COMMAND =  word  ", "word" },
        { "restore_command = ''", "" },
        { "restore_command = 'a' b", NULL },
        { "restore_command = 'a", NULL },
        { "restore_command = 'a\\", NULL },
        { "restore_command = a b", NULL },
        { "restore_command = a\\b", NULL },
        { "restore_command =", NULL },
        { "restore_command = # x", NULL },
        { "restore_command", NULL },
        { "= x", NULL },
        { "'", NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgrecovery_current cur = { 0 };
        struct pgv_error err = { 0 };
        char text[256];
        bool ok;

        (void)snprintf(text, sizeof(text), "# a comment\n\nrestore_command = 'earlier'\n%s\n",
                       cases[i].line);
        ok = pgrecovery_current_parse(&cur, pgv_str(text), 110000, &err);
        if (ok != (cases[i].value != NULL))
            fail_msg("'%s'", cases[i].line);
        if (!ok) {
            assert_int_equal(err.code, PGV_EINVALID);
            assert_false(cur.valid);
        }
        for (size_t k = 0, seen = 0; ok && k < cur.n; k++) {
            if (strcmp(cur.rows[k].name, "restore_command") != 0)
                continue;
            assert_int_equal(++seen, 1);
            assert_string_equal(cur.rows[k].setting, cases[i].value);
        }
        pgrecovery_current_done(&cur);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_build__for_the_leader),
        T(test_build__for_nobody_and_for_myself),
        T(test_build__for_a_remote_cluster),
        T(test_write__signals_and_password_file),
        T(test_write__point_in_time),
        T(test_write__recovery_conf_before_12),
        T(test_compare__what_was_written_is_wanted),
        T(test_compare__recovery_conf_read_back),
        T(test_compare__reload_or_restart_by_version),
        T(test_compare__signal_missing_and_first_look),
        T(test_compare__foreign_files_are_left_alone),
        T(test_compare__the_receiver_knows_better),
        T(test_current__stale_when_files_change),
        T(test_current__a_disguised_change_of_the_password_file_is_seen),
        T(test_current_parse__quoting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
