/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_pg_files.c - parameters assembled, configuration files written, and what a reload
 * changes. Every test has a directory of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "pg/pgfiles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pgv_arena arena;
static char dir[64];

static int setup(void **state)
{
    (void)state;
    pgv_arena_init(&arena, 4u << 20);
    (void)snprintf(dir, sizeof(dir), "/tmp/pgvigil-files-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
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

/** @extra: further lines of the section. */
static struct pgconf *conf(const char *extra)
{
    struct pgv_error err;
    struct pgconf *c;
    char text[2048];

    (void)snprintf(text, sizeof(text), "data_dir: %s\nlisten: '*:5433'\n%s", dir, extra);
    if (!pgconf_new("n1", "demo", yaml(text), &c, &err))
        fail_msg("%s", err.msg);
    return c;
}

static struct pgv_value *params(const struct pgconf *c, const struct pgfiles_env *env)
{
    struct pgv_value *map = pgfiles_parameters(c, env, &arena, NULL);

    assert_non_null(map);
    return map;
}

static void check(const struct pgv_value *map, const char *name, const char *want)
{
    const char *have = pgv_stringz(pgv_get(map, name));

    if ((have == NULL) != (want == NULL) || (want && strcmp(have, want) != 0))
        fail_msg("%s is '%s', should be '%s'", name, have ? have : "(absent)",
                 want ? want : "(absent)");
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

static mode_t mode_of(const char *name)
{
    char path[PGCONF_PATH_BYTES];
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

/* ---------------------------------------------------------------------------------- parameters */

static void test_parameters__by_version(void **state)
{
    struct pgconf *c = conf("parameters: {max_connections: 200, wal_level: replica, fsync: on,\n"
                            "  gone: null, port: 1, cluster_name: no}\n");
    static const struct {
        int version;
        const char *wal_level, *segments, *size, *cluster, *slots, *track;
    } cases[] = {
        { 0, "hot_standby", NULL, NULL, "demo", "10", "off" },
        { 90300, "hot_standby", "8", NULL, NULL, NULL, NULL },
        { 90400, "hot_standby", "8", NULL, NULL, "10", NULL },
        { 90500, "hot_standby", "8", NULL, "demo", "10", "off" },
        { 90600, "replica", "8", NULL, "demo", "10", "off" },
        { 120000, "replica", "8", NULL, "demo", "10", "off" },
        { 130000, "replica", NULL, "128MB", "demo", "10", "off" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgfiles_env env = { .major_version = cases[i].version };
        struct pgv_value *map = params(c, &env);

        check(map, "wal_level", cases[i].wal_level);
        check(map, "wal_keep_segments", cases[i].segments);
        check(map, "wal_keep_size", cases[i].size);
        check(map, "cluster_name", cases[i].cluster);
        check(map, "max_replication_slots", cases[i].slots);
        check(map, "track_commit_timestamp", cases[i].track);
        check(map, "max_connections", "200");
        check(map, "port", "5433");
        check(map, "listen_addresses", "*");
        check(map, "fsync", "True");
        check(map, "gone", NULL);
    }
    pgconf_unref(c);
}

static void test_parameters__wal_keep_in_either_era(void **state)
{
    static const struct {
        const char *extra;
        int version;
        const char *name, *want;
    } cases[] = {
        { "parameters: {wal_keep_segments: 100}\n", 150000, "wal_keep_size", "1600MB" },
        { "parameters: {wal_keep_segments: 100, wal_keep_size: 1GB}\n", 150000, "wal_keep_size",
          "1GB" },
        { "parameters: {wal_keep_size: 1GB}\n", 120000, "wal_keep_segments", "64" },
        { "parameters: {wal_keep_size: 1GB, wal_keep_segments: 5}\n", 120000, "wal_keep_segments",
          "5" },
        { "parameters: {wal_keep_size: nonsense}\n", 120000, "wal_keep_segments", "0" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgconf *c = conf(cases[i].extra);
        struct pgfiles_env env = { .major_version = cases[i].version };
        struct pgv_value *map = params(c, &env);

        check(map, cases[i].name, cases[i].want);
        check(map, cases[i].version >= 130000 ? "wal_keep_segments" : "wal_keep_size", NULL);
        pgconf_unref(c);
    }
}

static void test_parameters__synchronous_names_are_ours(void **state)
{
    struct pgconf *c = conf("parameters: {synchronous_standby_names: theirs}\n");
    struct pgfiles_env env = { .major_version = 150000, .role = PGV_ROLE_PRIMARY };

    (void)state;
    check(params(c, &env), "synchronous_standby_names", "theirs");
    env.synchronous_mode = true;
    check(params(c, &env), "synchronous_standby_names", NULL);
    env.synchronous_mode_strict = true;
    check(params(c, &env), "synchronous_standby_names", PGV_NAME_PLACEHOLDER);
    env.role = PGV_ROLE_REPLICA;
    check(params(c, &env), "synchronous_standby_names", NULL);
    env.synchronous_standby_names = "\"n2\"";
    check(params(c, &env), "synchronous_standby_names", "\"n2\"");
    pgconf_unref(c);
}

static void test_parameters__citus(void **state)
{
    struct pgconf *c = conf("citus: {group: 0, database: d}\n"
                            "parameters: {shared_preload_libraries: 'a, citus,b'}\n");
    struct pgfiles_env env = { .major_version = 150000 };
    struct pgv_value *map = params(c, &env);

    (void)state;
    check(map, "shared_preload_libraries", "citus,a,b");
    check(map, "max_prepared_transactions", "200");
    check(map, "wal_level", "logical");
    check(map, "citus.local_hostname", "localhost");
    pgconf_unref(c);
}

static void test_apply_control__standby_takes_the_larger(void **state)
{
    struct pgconf *c = conf("parameters: {max_connections: 100, max_wal_senders: 10}\n");
    struct pm_control control = { .max_connections = 300,
                                  .max_worker_processes = 8,
                                  .max_wal_senders = 20,
                                  .max_prepared_xacts = 0,
                                  .max_locks_per_xact = PM_SETTING_UNKNOWN };
    struct postmaster_pending pending[POSTMASTER_PENDING_MAX];
    struct pgfiles_env env = { .major_version = 150000, .role = PGV_ROLE_REPLICA };
    struct pgv_value *map = params(c, &env);
    unsigned n = 9;

    (void)state;
    assert_true(pgfiles_apply_control(c, &env, &control, map, &arena, pending, &n, NULL));
    assert_int_equal(n, 2);
    assert_string_equal(pending[0].name, "max_connections");
    assert_string_equal(pending[0].old_value, "300");
    assert_string_equal(pending[0].new_value, "100");
    assert_string_equal(pending[1].name, "max_wal_senders");
    check(map, "max_connections", "300");
    check(map, "max_wal_senders", "20");
    check(map, "max_locks_per_transaction", "64");

    /* before 12 walsenders do not count; a primary takes what is configured */
    env.major_version = 110000;
    map = params(c, &env);
    assert_true(pgfiles_apply_control(c, &env, &control, map, &arena, pending, &n, NULL));
    assert_int_equal(n, 1);
    check(map, "max_wal_senders", "10");
    env.role = PGV_ROLE_PRIMARY;
    map = params(c, &env);
    assert_true(pgfiles_apply_control(c, &env, &control, map, &arena, pending, &n, NULL));
    assert_int_equal(n, 0);
    check(map, "max_connections", "100");
    /* an unreadable control file changes nothing */
    env.role = PGV_ROLE_REPLICA;
    map = params(c, &env);
    assert_true(pgfiles_apply_control(c, &env, NULL, map, &arena, pending, &n, NULL));
    assert_int_equal(n, 0);
    pgconf_unref(c);
}

static void test_apply_control__custom_bootstrap_is_not_hot(void **state)
{
    static const struct {
        bool keep;
        const char *recovery;
        int version;
        const char *hot_standby;
    } cases[] = {
        { true, "{}", 150000, "off" },
        { false, "{}", 150000, "on" },
        { false, "{restore_command: x}", 150000, "on" },
        { false, "{recovery_target_action: promote}", 150000, "off" },
        { false, "{recovery_target_action: pause}", 150000, "on" },
        { false, "{pause_at_recovery_target: false}", 150000, "off" },
        { false, "{pause_at_recovery_target: true}", 150000, "on" },
        { false, "{recovery_target_action: promote}", 90400, "on" },
    };
    struct pgconf *c = conf("");

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct postmaster_pending pending[POSTMASTER_PENDING_MAX];
        struct pgfiles_env env = { .major_version = cases[i].version,
                                   .role = PGV_ROLE_REPLICA,
                                   .custom_bootstrap = true,
                                   .keep_existing_recovery_conf = cases[i].keep,
                                   .bootstrap_recovery_conf = yaml(cases[i].recovery) };
        struct pgv_value *map = params(c, &env);
        unsigned n;

        assert_true(pgfiles_apply_control(c, &env, NULL, map, &arena, pending, &n, NULL));
        check(map, "hot_standby", cases[i].hot_standby);
    }
    pgconf_unref(c);
}

static void test_command_line__order_and_raw_text(void **state)
{
    static const char *const want[] = { "--listen_addresses=*",
                                        "--port=5433",
                                        "--cluster_name=demo",
                                        "--wal_level=replica",
                                        "--hot_standby=on",
                                        "--max_connections=bad",
                                        "--max_wal_senders=10",
                                        "--max_prepared_transactions=0",
                                        "--max_locks_per_transaction=64",
                                        "--track_commit_timestamp=off",
                                        "--max_replication_slots=10",
                                        "--max_worker_processes=8",
                                        "--wal_log_hints=on",
                                        NULL };
    struct pgconf *c = conf("parameters: {max_connections: bad, wal_keep_size: 1GB}\n");
    struct pgfiles_env env = { .major_version = 150000 };
    const char *const *argv;
    size_t i;

    (void)state;
    assert_true(pgfiles_command_line(params(c, &env), &arena, &argv, NULL));
    for (i = 0; want[i]; i++)
        assert_string_equal(argv[i], want[i]);
    assert_null(argv[i]);
    pgconf_unref(c);
}

/* --------------------------------------------------------------------------------------- files */

static void test_write_conf__layout(void **state)
{
    struct pgconf *c = conf("parameters: {search_path: \"it's a \\\\ path\", zzz: dropped,\n"
                            "  citus.x: \"a\\nb\"}\n");
    struct pgfiles_env env = { .major_version = 150000,
                               .full_version = 150008,
                               .enforce_hot_standby_feedback = true };
    struct pgv_value *recovery = yaml("{recovery_target: '', primary_slot_name: n1}");
    char want[2048];

    (void)state;
    put("postgresql.conf", "original = 1\n");
    put("postgresql.auto.conf", "# comment\nprimary_conninfo = 'x'\nwork_mem = '4MB'\n"
                                "  RESTORE_COMMAND='y'\nrestore_command_x = 1");
    assert_true(pgfiles_write_conf(c, &env, params(c, &env), recovery, NULL));
    assert_string_equal(slurp("postgresql.base.conf"), "original = 1\n");
    (void)snprintf(want, sizeof(want),
                   "# Do not edit this file manually!\n"
                   "# It will be overwritten by Patroni!\n"
                   "include 'postgresql.base.conf'\n"
                   "\n"
                   "citus.x = 'a\\nb'\n"
                   "cluster_name = 'demo'\n"
                   "hot_standby = 'on'\n"
                   "listen_addresses = '*'\n"
                   "max_connections = '100'\n"
                   "max_locks_per_transaction = '64'\n"
                   "max_prepared_transactions = '0'\n"
                   "max_replication_slots = '10'\n"
                   "max_wal_senders = '10'\n"
                   "max_worker_processes = '8'\n"
                   "port = '5433'\n"
                   "search_path = 'it''s a \\\\ path'\n"
                   "track_commit_timestamp = 'off'\n"
                   "wal_keep_size = '128MB'\n"
                   "wal_level = 'replica'\n"
                   "wal_log_hints = 'on'\n"
                   "hot_standby_feedback = 'on'\n"
                   "hba_file = '%s/pg_hba.conf'\n"
                   "ident_file = '%s/pg_ident.conf'\n"
                   "\n"
                   "# recovery.conf\n"
                   "primary_slot_name = 'n1'\n"
                   "recovery_target = ''\n",
                   dir, dir);
    assert_string_equal(slurp("postgresql.conf"), want);
    assert_int_equal(mode_of("postgresql.conf"), 0600);
    assert_string_equal(slurp("postgresql.auto.conf"),
                        "# comment\nwork_mem = '4MB'\nrestore_command_x = 1");

    /* the base file is made once */
    put("postgresql.conf", "somebody else's");
    assert_true(pgfiles_write_conf(c, &env, params(c, &env), NULL, NULL));
    assert_string_equal(slurp("postgresql.base.conf"), "original = 1\n");
    assert_null(strstr(slurp("postgresql.conf"), "recovery.conf"));
    pgconf_unref(c);
}

static void test_write_conf__redirected_and_custom(void **state)
{
    struct pgconf *c = conf("custom_conf: /etc/it's.conf\n"
                            "parameters: {hba_file: /etc/hba, ident_file: id}\n");
    struct pgfiles_env env = { .major_version = 110000 };
    const char *text;
    char want[128];

    (void)state;
    put("postgresql.auto.conf", "restore_command = 'x'\n");
    assert_true(pgfiles_write_conf(c, &env, params(c, &env), yaml("{restore_command: x}"), NULL));
    text = slurp("postgresql.conf");
    assert_non_null(strstr(text, "include '/etc/it''s.conf'\n"));
    assert_non_null(strstr(text, "hba_file = '/etc/hba'\n"));
    (void)snprintf(want, sizeof(want), "ident_file = '%s/id'\n", dir);
    assert_non_null(strstr(text, want));
    assert_null(strstr(text, "restore_command")); /* before 12 it stands elsewhere */
    assert_false(there("postgresql.base.conf"));
    assert_string_equal(slurp("postgresql.auto.conf"), "restore_command = 'x'\n");

    /* while a custom bootstrap runs the own file is forced */
    env.custom_bootstrap = true;
    assert_true(pgfiles_write_conf(c, &env, params(c, &env), NULL, NULL));
    text = slurp("postgresql.conf");
    assert_null(strstr(text, "/etc/hba"));
    (void)snprintf(want, sizeof(want), "hba_file = '%s/pg_hba.conf'\n", dir);
    assert_non_null(strstr(text, want));
    pgconf_unref(c);
}

static void test_write_conf__through_a_link(void **state)
{
    struct pgconf *c = conf("");
    struct pgfiles_env env = { .major_version = 150000 };
    char link[PGCONF_PATH_BYTES];
    struct stat st;

    (void)state;
    put("base", "");
    put("real.conf", "x");
    put("postgresql.base.conf", "");
    (void)snprintf(link, sizeof(link), "%s/postgresql.conf", dir);
    assert_int_equal(symlink("real.conf", link), 0);
    assert_true(pgfiles_write_conf(c, &env, params(c, &env), NULL, NULL));
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_non_null(strstr(slurp("real.conf"), "port = '5433'"));
    pgconf_unref(c);
}

static void test_write_hba__when_ours(void **state)
{
    static const char *const addrs[] = { "127.0.0.1", "::1" };
    struct pgfiles_env env = { .major_version = 150000 };
    struct pgconf *none = conf(""), *redirected, *c;
    bool written = true;

    (void)state;
    assert_true(pgfiles_write_hba(none, &env, NULL, NULL, 0, &written, NULL));
    assert_false(written);
    assert_false(there("pg_hba.conf"));
    assert_true(pgfiles_write_ident(none, &env, &written, NULL));
    assert_false(written);

    redirected = conf("pg_hba: [a]\npg_ident: [b]\nparameters: {hba_file: /x, ident_file: /y}\n");
    assert_true(pgfiles_write_hba(redirected, &env, NULL, NULL, 0, &written, NULL));
    assert_false(written);
    assert_true(pgfiles_write_ident(redirected, &env, &written, NULL));
    assert_false(written);

    c = conf("pg_hba: ['host all all all md5', 'local all all trust']\npg_ident: [m a b]\n"
             "authentication: {replication: {username: rep}, superuser: {username: su}}\n");
    assert_true(pgfiles_write_hba(c, &env, NULL, NULL, 0, &written, NULL));
    assert_true(written);
    assert_string_equal(slurp("pg_hba.conf"), "# Do not edit this file manually!\n"
                                              "# It will be overwritten by Patroni!\n"
                                              "host all all all md5\nlocal all all trust\n");
    assert_true(pgfiles_write_ident(c, &env, &written, NULL));
    assert_true(written);
    assert_non_null(strstr(slurp("pg_ident.conf"), "\nm a b\n"));

    env.custom_bootstrap = true;
    assert_true(pgfiles_write_hba(c, &env, NULL, addrs, 2, &written, NULL));
    assert_string_equal(slurp("pg_hba.conf"), "# Do not edit this file manually!\n"
                                              "# It will be overwritten by Patroni!\n"
                                              "local\treplication\trep\t\ttrust\n"
                                              "local\tall\tsu\t\ttrust\n"
                                              "host\treplication\trep\t127.0.0.1/32\ttrust\n"
                                              "host\tall\tsu\t127.0.0.1/32\ttrust\n"
                                              "host\treplication\trep\t::1/128\ttrust\n"
                                              "host\tall\tsu\t::1/128\ttrust\n");
    pgconf_unref(none);
    pgconf_unref(redirected);
    pgconf_unref(c);
}

static void test_append_bootstrap_hba__behind_initdb(void **state)
{
    struct pgfiles_env env = { .major_version = 150000 };
    struct pgv_value *lines = yaml("['host all all all md5', two]");
    struct pgconf *c = conf(""), *own = conf("pg_hba: [a]\n");

    (void)state;
    put("pg_hba.conf", "local all all trust\n");
    assert_true(pgfiles_append_bootstrap_hba(own, &env, lines, NULL));
    assert_true(pgfiles_append_bootstrap_hba(c, &env, NULL, NULL));
    assert_string_equal(slurp("pg_hba.conf"), "local all all trust\n");
    assert_true(pgfiles_append_bootstrap_hba(c, &env, lines, NULL));
    assert_string_equal(slurp("pg_hba.conf"), "local all all trust\n\nhost all all all md5\ntwo\n");
    pgconf_unref(c);
    pgconf_unref(own);
}

static void test_backups__there_and_back(void **state)
{
    struct pgfiles_env env = { .major_version = 150000 }, boot = env;
    struct pgconf *c = conf("");
    char path[PGCONF_PATH_BYTES];

    (void)state;
    put("postgresql.conf", "conf");
    put("postgresql.base.conf", "base");
    put("pg_hba.conf", "hba");
    boot.custom_bootstrap = true;
    pgfiles_save_backups(c, &boot);
    assert_false(there("postgresql.conf.backup"));
    pgfiles_save_backups(c, &env);
    assert_string_equal(slurp("postgresql.conf.backup"), "conf");
    assert_string_equal(slurp("postgresql.base.conf.backup"), "base");
    assert_string_equal(slurp("pg_hba.conf.backup"), "hba");
    assert_false(there("pg_ident.conf.backup"));

    (void)snprintf(path, sizeof(path), "%s/pg_hba.conf", dir);
    assert_int_equal(unlink(path), 0);
    put("postgresql.conf", "newer");
    pgfiles_restore_backups(c, &env);
    assert_string_equal(slurp("pg_hba.conf"), "hba");
    assert_string_equal(slurp("postgresql.conf"), "newer"); /* only what is missing */
    assert_string_equal(slurp("pg_ident.conf"), "");
    pgconf_unref(c);
}

static void test_mode__follows_the_data_directory(void **state)
{
    struct pgconf *c = conf("");
    struct pgfiles_env env = { .major_version = 150000 };

    (void)state;
    assert_int_equal(pgfiles_mode(dir, false), 0600);
    assert_int_equal(chmod(dir, 0750), 0);
    assert_int_equal(pgfiles_mode(dir, true), 0640);
    assert_int_equal(umask(077), 027);
    assert_true(pgfiles_write_conf(c, &env, params(c, &env), NULL, NULL));
    assert_int_equal(mode_of("postgresql.conf"), 0640);
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(pgfiles_mode(dir, true), 0600);
    assert_int_equal(umask(022), 077);
    pgconf_unref(c);
}

static void test_make_dirs__and_what_cannot_be(void **state)
{
    char extra[512];
    struct pgconf *c;
    struct pgv_error err = { 0 };

    (void)state;
    (void)snprintf(extra, sizeof(extra), "pgpass: %s/p/pgpass\n", dir);
    c = conf(extra);
    assert_true(
        pgfiles_make_dirs(c, yaml("{unix_socket_directories: 'sock, @abstract'}"), false, NULL));
    assert_true(there("sock") && there("p"));
    /* inside an empty data directory nothing is made: initdb wants it empty */
    assert_true(pgfiles_make_dirs(c, yaml("{stats_temp_directory: stats}"), true, NULL));
    assert_false(there("stats"));
    put("file", "");
    assert_false(pgfiles_make_dirs(c, yaml("{unix_socket_directories: 'file/x'}"), false, &err));
    assert_non_null(strstr(err.msg, "unix_socket_directories"));
    pgconf_unref(c);
}

/* -------------------------------------------------------------------------------------- reload */

static const struct pgfiles_setting rows[] = {
    { "max_connections", "100", NULL, "integer", "postmaster", NULL },
    { "shared_buffers", "16384", "8kB", "integer", "postmaster", NULL },
    { "wal_buffers", "512", "8kB", "integer", "postmaster", NULL },
    { "wal_segment_size", "16777216", "B", "integer", "internal", NULL },
    { "wal_block_size", "8192", NULL, "integer", "internal", NULL },
    { "work_mem", "4096", "kB", "integer", "user", NULL },
    { "fsync", "on", NULL, "bool", "sighup", NULL },
    { "port", "5432", NULL, "integer", "postmaster", NULL },
    { "DateStyle", "ISO, MDY", NULL, "string", "user", NULL },
    { "synchronous_commit", "on", NULL, "enum", "user", NULL },
    { "ssl_library", NULL, NULL, "string", "internal", NULL },
};

static struct pgfiles_changes compare(const char *before, const char *wanted,
                                      struct pgv_value **ret_wanted)
{
    struct pgconf *c = conf("");
    struct pgfiles_changes ch;
    struct pgv_value *map = yaml(wanted);

    pgfiles_compare(c, c, yaml(before), map, rows, sizeof(rows) / sizeof(rows[0]), 150000, &ch);
    if (ret_wanted)
        *ret_wanted = map;
    pgconf_unref(c);
    return ch;
}

static void test_compare__nothing(void **state)
{
    struct pgfiles_changes ch;

    (void)state;
    ch = compare("{work_mem: '4MB'}",
                 "{work_mem: '4MB', shared_buffers: '128MB', fsync: 'True', hot_standby: 'off',\n"
                 " restore_command: x, datestyle: 'ISO, MDY', synchronous_commit: 'True',\n"
                 " wal_buffers: '-1'}",
                 NULL);
    assert_false(ch.conf || ch.hba || ch.ident || ch.address_stale);
    assert_int_equal(ch.n_pending, 0);
}

static void test_compare__reload_or_restart(void **state)
{
    struct pgfiles_changes ch;

    (void)state;
    ch = compare("{work_mem: '4MB'}", "{work_mem: '8MB'}", NULL);
    assert_true(ch.conf);
    assert_int_equal(ch.n_pending, 0);

    ch = compare("{}", "{max_connections: '200', shared_buffers: '1GB'}", NULL);
    assert_true(ch.conf);
    assert_false(ch.address_stale);
    assert_int_equal(ch.n_pending, 2);
    assert_string_equal(ch.pending[0].name, "max_connections");
    assert_string_equal(ch.pending[0].old_value, "100");
    assert_string_equal(ch.pending[0].new_value, "200");
    assert_string_equal(ch.pending[1].old_value, "128MB");
    assert_string_equal(ch.pending[1].new_value, "1GB");

    ch = compare("{}", "{port: '5433'}", NULL);
    assert_true(ch.address_stale);

    /* no longer configured */
    ch = compare("{max_connections: '100'}", "{}", NULL);
    assert_true(ch.conf);
    assert_int_equal(ch.n_pending, 1);
    assert_string_equal(ch.pending[0].new_value, "");

    /* set back to what the server has, before it was ever reloaded */
    ch = compare("{work_mem: '8MB'}", "{work_mem: '4MB'}", NULL);
    assert_true(ch.conf);
    assert_int_equal(ch.n_pending, 0);
}

static void test_compare__wal_buffers_by_default(void **state)
{
    struct pgfiles_changes ch;

    (void)state;
    ch = compare("{}", "{wal_buffers: '4MB'}", NULL); /* 512 blocks, as -1 would be */
    assert_false(ch.conf);
    ch = compare("{wal_buffers: '8MB'}", "{}", NULL);
    assert_false(ch.conf);
    ch = compare("{}", "{wal_buffers: '8MB'}", NULL);
    assert_true(ch.conf);
    assert_string_equal(ch.pending[0].old_value, "4MB");
    assert_string_equal(ch.pending[0].new_value, "8MB");
}

static void test_compare__unknown_names(void **state)
{
    struct pgfiles_changes ch;
    struct pgv_value *wanted;

    (void)state;
    ch = compare("{}", "{nosuch: '1', fsync: 'on'}", &wanted);
    assert_false(ch.conf);
    check(wanted, "nosuch", NULL);
    check(wanted, "fsync", "on");
    /* an extension's parameter is compared as text */
    ch = compare("{my.var: a}", "{my.var: a}", &wanted);
    assert_false(ch.conf);
    check(wanted, "my.var", "a");
    assert_true(compare("{my.var: a}", "{my.var: b}", NULL).conf);
    assert_true(compare("{}", "{my.var: b}", NULL).conf);
    assert_true(compare("{my.var: a}", "{}", NULL).conf);
}

static void test_compare__hba_and_ident(void **state)
{
    struct pgconf *a = conf("pg_hba: [x]\npg_ident: [i]\n"), *b = conf("pg_hba: [y]\n"),
                  *none = conf(""), *away = conf("pg_hba: [z]\nparameters: {hba_file: /x}\n");
    struct pgv_value *empty = yaml("{}");
    struct pgfiles_changes ch;

    (void)state;
    pgfiles_compare(a, a, empty, empty, NULL, 0, 150000, &ch);
    assert_false(ch.hba || ch.ident);
    pgfiles_compare(a, b, empty, empty, NULL, 0, 150000, &ch);
    assert_true(ch.hba);
    assert_false(ch.ident);
    pgfiles_compare(none, a, empty, empty, NULL, 0, 150000, &ch);
    assert_true(ch.hba && ch.ident);
    pgfiles_compare(a, none, empty, empty, NULL, 0, 150000, &ch);
    assert_false(ch.hba || ch.ident); /* what stands there stays */
    pgfiles_compare(a, away, empty, empty, NULL, 0, 150000, &ch);
    assert_false(ch.hba);
    pgconf_unref(a);
    pgconf_unref(b);
    pgconf_unref(none);
    pgconf_unref(away);
}

static void test_settings_names__an_array_literal(void **state)
{
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, 4096);
    assert_true(pgfiles_settings_names(&b, yaml("{old: 1, fsync: 1}"),
                                       yaml("{fsync: x, 'we\"ird\\': y, hot_standby: z}")));
    assert_string_equal(pgv_buf_cstr(&b), "{\"fsync\",\"we\\\"ird\\\\\",\"old\",\"shared_buffers\","
                                          "\"wal_segment_size\",\"wal_block_size\"}");
    pgv_buf_done(&b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_parameters__by_version),
        T(test_parameters__wal_keep_in_either_era),
        T(test_parameters__synchronous_names_are_ours),
        T(test_parameters__citus),
        T(test_apply_control__standby_takes_the_larger),
        T(test_apply_control__custom_bootstrap_is_not_hot),
        T(test_command_line__order_and_raw_text),
        T(test_write_conf__layout),
        T(test_write_conf__redirected_and_custom),
        T(test_write_conf__through_a_link),
        T(test_write_hba__when_ours),
        T(test_append_bootstrap_hba__behind_initdb),
        T(test_backups__there_and_back),
        T(test_mode__follows_the_data_directory),
        T(test_make_dirs__and_what_cannot_be),
        T(test_compare__nothing),
        T(test_compare__reload_or_restart),
        T(test_compare__wal_buffers_by_default),
        T(test_compare__unknown_names),
        T(test_compare__hba_and_ident),
        T(test_settings_names__an_array_literal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
