/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_pg_tools.c - the jobs over child processes, with shell scripts in the place of
 * PostgreSQL's programs: what they are called with, and what is made of how they end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/file.h"
#include "pg/pgboot.h"
#include "pg/pgclone.h"
#include "pg/pgdata.h"
#include "pg/pgrewind.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pgv_arena arena;
static uv_loop_t loop;
static char dir[64];
static struct pgconf *conf_in_use;
static bool ended;

static int setup(void **state)
{
    char path[128];

    (void)state;
    ended = false;
    pgv_arena_init(&arena, 4u << 20);
    (void)snprintf(dir, sizeof(dir), "/tmp/pgvigil-tools-XXXXXX");
    if (!mkdtemp(dir) || uv_loop_init(&loop) != 0 || !pgv_reaper_open(&loop, NULL))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/bin", dir);
    return mkdir(path, 0700);
}

static int teardown(void **state)
{
    (void)state;
    pgconf_unref(conf_in_use);
    conf_in_use = NULL;
    pgv_reaper_close();
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&loop) != 0)
        return -1;
    pgv_arena_done(&arena);
    return pgv_tree_remove(dir, NULL) ? 0 : -1;
}

static void until_ended(void)
{
    uint64_t until = pgv_clock_ms() + 30000;

    while (!ended && pgv_clock_ms() < until)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_true(ended);
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
    char text[4096];

    (void)snprintf(text, sizeof(text),
                   "data_dir: %s/data\nbin_dir: %s/bin\nlisten: '*:5433'\npgpass: %s/pgpass\n%s",
                   dir, dir, dir, extra);
    pgconf_unref(conf_in_use);
    conf_in_use = NULL;
    if (!pgconf_new("n1", "demo", yaml(text), &conf_in_use, &err))
        fail_msg("%s", err.msg);
    return conf_in_use;
}

static const char *path_of(const char *name)
{
    return pgv_arena_printf(&arena, "%s/%s", dir, name);
}

static bool there(const char *name)
{
    struct stat st;

    return lstat(path_of(name), &st) == 0;
}

static void put(const char *name, const char *text)
{
    assert_true(pgv_file_replace(path_of(name), pgv_str(text), 0600, NULL));
}

static const char *slurp(const char *name)
{
    struct pgv_buf b;
    const char *text;

    pgv_buf_init(&b, 1u << 20);
    if (!pgv_file_read(path_of(name), &b, NULL))
        fail_msg("no %s", name);
    text = pgv_arena_dup(&arena, pgv_buf_view(&b));
    pgv_buf_done(&b);
    return text;
}

/** A program: $dir is the test's folder; it writes down what it is called with, one word a line. */
static void script(const char *name, const char *body)
{
    const char *text = pgv_arena_printf(&arena,
                                        "#!/bin/sh\ndir=%s\nfor a; do printf '%%s\\n' \"$a\"; done"
                                        " >> $dir/calls\necho PGPASSFILE=$PGPASSFILE >> $dir/env\n"
                                        "%s\n",
                                        dir, body);

    assert_true(pgv_file_replace(path_of(pgv_arena_printf(&arena, "bin/%s", name)), pgv_str(text),
                                 0700, NULL));
}

static void make(const char *name)
{
    assert_true(pgv_mkdirs(path_of(name), 0700, NULL));
}

/* ------------------------------------------------------------------------------------- options */

static bool no_value(const char *key, const char *value, int version)
{
    return version > 0 && strcmp(key, "needs") == 0 && !value;
}

static void test_user_options__lists_and_maps(void **state)
{
    static const char *const forbidden[] = { "pgdata", "host", NULL };
    static const struct {
        const char *yaml, *want, *error; /* error: what strict mode says */
    } cases[] = {
        { "null", "", NULL },
        { "[]", "", NULL },
        { "[verbose, no-sync]", "--verbose --no-sync", NULL },
        { "[{max-rate: 100M}, {label: \"'a b'\"}]", "--max-rate=100M --label=a b", NULL },
        { "[{label: \"'a' b\"}]", "--label='a' b", NULL },
        { "{max-rate: 100M, jobs: 4, empty: '', no: false, flag: true}",
          "--max-rate=100M --jobs=4 --flag=True", NULL },
        { "[pgdata, ok]", "--ok", "pgdata option for tool is not allowed" },
        { "['pgdata=/x', ok]", "--ok", "pgdata option for tool is not allowed" },
        { "{host: x, ok: 1}", "--ok=1", "host option for tool is not allowed" },
        { "[needs, {needs: x}]", "--needs=x", "needs option for tool is not allowed" },
        { "[{a: b, c: d}, ok]", "--ok",
          "Error when parsing tool key-value option a: only one key-value is allowed and value "
          "should be a string" },
        { "[{a: 1}]", "",
          "Error when parsing tool key-value option a: only one key-value is allowed and value "
          "should be a string" },
        { "[1]", "",
          "Error when parsing tool option: value should be string value or a single key-value "
          "pair" },
        { "text", "", "tool options must be list or dict" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgtool_args args;
        struct pgv_error err = { 0 };
        struct pgv_buf b;
        bool ok;

        pgtool_args_init(&args, &arena);
        assert_true(pgtool_user_options(&args, "tool", yaml(cases[i].yaml), forbidden, no_value, 1,
                                        false, NULL));
        pgv_buf_init(&b, 4096);
        for (size_t k = 0; k < args.n; k++)
            (void)pgv_buf_printf(&b, "%s%s", k ? " " : "", args.v[k]);
        assert_string_equal(pgv_buf_cstr(&b), cases[i].want);
        pgv_buf_done(&b);
        pgtool_args_init(&args, &arena);
        ok = pgtool_user_options(&args, "tool", yaml(cases[i].yaml), forbidden, no_value, 1, true,
                                 &err);
        assert_int_equal(ok, cases[i].error == NULL);
        if (!ok)
            assert_string_equal(err.msg, cases[i].error);
    }
}

static void test_args__grow_up_to_a_limit(void **state)
{
    struct pgtool_args args;
    char *big;

    (void)state;
    pgtool_args_init(&args, &arena);
    assert_true(pgtool_args_split(&args, "/bin/x 'a b' c\\ d \"\"", NULL));
    assert_int_equal(args.n, 4);
    assert_string_equal(args.v[1], "a b");
    assert_string_equal(args.v[2], "c d");
    assert_string_equal(args.v[3], "");
    assert_false(pgtool_args_split(&args, "it's", NULL));
    big = pgv_arena_alloc(&arena, 3000);
    memset(big, 'x', 2999);
    pgtool_args_addf(&args, "--o=%s", big);
    assert_int_equal(strlen(args.v[args.n - 1]), 3003);
    while (args.n < PGTOOL_ARGS_MAX)
        pgtool_args_add(&args, "x");
    assert_false(args.failed);
    pgtool_args_add(&args, "too many");
    assert_true(args.failed);
    assert_null(args.v[args.n]);
}

static void test_env__covers_ours(void **state)
{
    static const char *const over[] = { "PGVIGIL_A=2", "PGVIGIL_B=3", NULL };
    const char *const *env;
    unsigned a = 0, b = 0, c = 0;

    (void)state;
    (void)setenv("PGVIGIL_A", "1", 1);
    (void)setenv("PGVIGIL_AB", "1", 1);
    env = pgtool_env(&arena, over);
    assert_non_null(env);
    for (; *env; env++) {
        a += strncmp(*env, "PGVIGIL_A=", 10) == 0;
        b += strcmp(*env, "PGVIGIL_B=3") == 0;
        c += strcmp(*env, "PGVIGIL_AB=1") == 0;
    }
    assert_int_equal(a, 1);
    assert_int_equal(b, 1);
    assert_int_equal(c, 1);
}

/* ------------------------------------------------------------------------------ data directory */

static void test_pgdata__state_and_version(void **state)
{
    static const struct {
        const char *text;
        int version;
    } cases[] = { { "15\n", 150000 }, { "9.6\n", 90600 }, { "9.3", 90300 },
                  { "18", 180000 },   { "", 0 },          { "9", 0 },
                  { "x", 0 },         { "9.x", 0 },       { "15.1.1", 0 } };
    char why[96];
    struct rlimit was, none;
    enum postmaster_dir state_without;
    int sys;

    (void)state;
    assert_int_equal(pgdata_state(path_of("data"), why), PM_DIR_EMPTY);
    make("data/lost+found");
    put("data/.snapshot", "");
    assert_int_equal(pgdata_state(path_of("data"), why), PM_DIR_EMPTY);
    put("data/file", "");
    assert_int_equal(pgdata_state(path_of("data"), why), PM_DIR_OK);
    assert_int_equal(pgdata_state(path_of("data/file"), why), PM_DIR_UNREADABLE);
    assert_true(why[0] != '\0');
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = (struct rlimit){ .rlim_cur = 0, .rlim_max = was.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    state_without = pgdata_state(path_of("data"), why);
    sys = errno;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(state_without, PM_DIR_UNREADABLE);
    assert_int_equal(sys, EMFILE); /* it says nothing of the directory */
    assert_int_equal(pgdata_major_version(path_of("data")), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put("data/PG_VERSION", cases[i].text);
        assert_int_equal(pgdata_major_version(path_of("data")), cases[i].version);
    }
}

static bool job_ok;
static char job_message[PGV_ERROR_MSG_BYTES];

static void on_data_job(struct pgdata_job *j, bool ok, const char *message)
{
    assert_false(j->running);
    job_ok = ok;
    (void)snprintf(job_message, sizeof(job_message), "%s", message);
    ended = true;
}

static void make_cluster_with_links(void)
{
    make("data/pg_tblspc");
    make("wal");
    make("space");
    make("other");
    put("wal/000000010000000000000001", "");
    put("space/file", "");
    put("other/precious", "");
    assert_int_equal(symlink(path_of("wal"), path_of("data/pg_wal")), 0);
    assert_int_equal(symlink("../../space", path_of("data/pg_tblspc/16384")), 0);
    /* no part of the cluster: not a number, up the tree, and any other link */
    assert_int_equal(symlink(path_of("other"), path_of("data/pg_tblspc/x1")), 0);
    assert_int_equal(symlink(dir, path_of("data/pg_tblspc/16385")), 0);
    assert_int_equal(symlink(path_of("other"), path_of("data/link")), 0);
}

static void test_remove__with_what_belongs_to_it(void **state)
{
    struct pgdata_job j = { 0 };

    (void)state;
    make_cluster_with_links();
    assert_true(pgdata_remove_start(&j, &loop, conf(""), on_data_job, NULL));
    assert_true(j.running);
    until_ended();
    assert_true(job_ok);
    assert_false(there("data") || there("wal") || there("space"));
    assert_true(there("other/precious"));

    /* what is not there is gone already; a link goes alone */
    ended = false;
    assert_true(pgdata_remove_start(&j, &loop, conf_in_use, on_data_job, NULL));
    assert_false(ended);
    until_ended();
    assert_true(job_ok);
    make("elsewhere/pg_wal");
    assert_int_equal(symlink(path_of("elsewhere"), path_of("data")), 0);
    ended = false;
    assert_true(pgdata_remove_start(&j, &loop, conf_in_use, on_data_job, NULL));
    until_ended();
    assert_true(job_ok && there("elsewhere/pg_wal"));
    assert_false(there("data"));
}

/* The machine may stop while the files go: what is left must not pass for a cluster. */
static void test_remove__takes_the_control_file_first(void **state)
{
    struct pgdata_job j = { 0 };
    char text[1200], path[1200], *was;

    (void)state;
    make("data/global");
    put("data/global/pg_control", "");
    put("data/PG_VERSION", "15\n");
    make("bin");
    (void)snprintf(text, sizeof(text),
                   "#!/bin/sh\ntest -e %s/data/PG_VERSION && ! test -e %s/data/global/pg_control"
                   " && touch %s/ordered\nPATH=$WAS exec rm \"$@\"\n",
                   dir, dir, dir);
    put("bin/rm", text);
    assert_int_equal(chmod(path_of("bin/rm"), 0755), 0);
    was = strdup(getenv("PATH"));
    assert_non_null(was);
    (void)snprintf(path, sizeof(path), "%s/bin:%s", dir, was);
    (void)setenv("PATH", path, 1);
    (void)setenv("WAS", was, 1);
    ended = false;
    assert_true(pgdata_remove_start(&j, &loop, conf(""), on_data_job, NULL));
    until_ended();
    (void)setenv("PATH", was, 1);
    (void)unsetenv("WAS");
    free(was);
    assert_true(job_ok && there("ordered"));
    assert_false(there("data"));
}

static void test_move_aside__keeps_it_for_later(void **state)
{
    struct pgdata_job j = { 0 };
    char target[256];
    ssize_t n;

    (void)state;
    make_cluster_with_links();
    make("data.failed/old");
    make("wal.failed/old");
    assert_true(pgdata_move_aside_start(&j, &loop, conf(""), on_data_job, NULL));
    until_ended();
    assert_true(job_ok);
    assert_false(there("data") || there("wal") || there("space") || there("data.failed/old") ||
                 there("wal.failed/old"));
    assert_true(there("data.failed/pg_wal/000000010000000000000001"));
    n = readlink(path_of("data.failed/pg_wal"), target, sizeof(target) - 1);
    assert_true(n > 0);
    target[n] = '\0';
    assert_string_equal(target, path_of("wal.failed"));
    assert_true(there("space.failed/file") && there("other/precious"));
}

/* --------------------------------------------------------------------------------------- clone */

static enum pgclone_result clone_result;
static unsigned clone_progress;

static void on_clone(struct pgclone *j, enum pgclone_result result, const char *message)
{
    assert_false(j->running);
    clone_result = result;
    (void)snprintf(job_message, sizeof(job_message), "%s", message);
    ended = true;
}

static void on_clone_progress(struct pgclone *j)
{
    if (j->percent == 42)
        clone_progress++;
}

static enum pgclone_result cloned_by(int version, const char *extra, const char *url)
{
    static struct pgclone j; /* large */
    struct pgclone_args args = {
        .conf = conf(extra), .binary_version = version, .source_conn_url = url, .source_name = "n2"
    };
    struct pgv_error err;

    ended = false;
    clone_progress = 0;
    j.on_progress = on_clone_progress;
    if (!pgclone_start(&j, &loop, &args, on_clone, &err))
        fail_msg("%s", err.msg);
    assert_false(ended);
    until_ended();
    return clone_result;
}

static enum pgclone_result cloned(const char *extra, const char *url)
{
    return cloned_by(150008, extra, url);
}

#define AUTH "authentication: {replication: {username: rep, password: secret, sslmode: require}}\n"
#define URL "postgres://10.0.0.2:5432/postgres"

static void test_clone__basebackup(void **state)
{
    (void)state;
    script("pg_basebackup", "mkdir $dir/data; echo 15 > $dir/data/PG_VERSION; touch"
                            " $dir/data/promote; echo '  1/2 kB (42%), 0/1 tablespace' >&2");
    make("data");
    put("data/old", "");
    put("data/pg_hba.conf.backup", "");
    assert_int_equal(cloned(AUTH, URL), PGCLONE_OK);
    assert_string_equal(job_message, "replica has been created using basebackup");
    assert_int_equal(clone_progress, 1);
    assert_false(there("data/old") || there("data/promote"));
    assert_true(there("data/PG_VERSION") && there("data/pg_ident.conf"));
    assert_string_equal(slurp("calls"),
                        pgv_arena_printf(&arena,
                                         "--pgdata=%s/data\n-X\nstream\n"
                                         "--dbname=dbname=postgres user=rep host=10.0.0.2 "
                                         "port=5432 sslmode=require\n"
                                         "--progress\n--checkpoint=fast\n",
                                         dir));
    assert_string_equal(slurp("env"), pgv_arena_printf(&arena, "PGPASSFILE=%s/pgpass\n", dir));
    assert_string_equal(slurp("pgpass"), "10.0.0.2:5432:*:rep:secret\n");
}

static void test_clone__key_passphrase_in_a_service_file(void **state)
{
    struct stat st;

    (void)state;
    script("pg_basebackup", "mkdir -p $dir/data; touch $dir/data/x; cp $PGSERVICEFILE $dir/seen");
    assert_int_equal(cloned("authentication: {replication: {username: rep, sslkey: /k,"
                            " sslpassword: pass phrase}}\n",
                            URL),
                     PGCLONE_OK);
    assert_non_null(strstr(slurp("calls"), " sslkey=/k service=pgvigil\n"));
    assert_null(strstr(slurp("calls"), "phrase"));
    assert_string_equal(slurp("seen"), "[pgvigil]\nsslpassword=pass phrase\n");
    assert_int_equal(stat(path_of("pgpass.service"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_clone__users_options(void **state)
{
    const char *calls;

    (void)state;
    script("pg_basebackup", "mkdir -p $dir/data; touch $dir/data/x");
    assert_int_equal(cloned("basebackup: [{checkpoint: spread}, {max-rate: 1M}, {pgdata: /x},\n"
                            "  {compress: gzip}, {compress: server-gzip}, compress, gzip]\n",
                            URL),
                     PGCLONE_OK);
    calls = slurp("calls");
    assert_non_null(strstr(calls, "--progress\n--checkpoint=spread\n--max-rate=1M\n"
                                  "--compress=server-gzip\n"));
    assert_null(strstr(calls, "fast"));
    assert_null(strstr(calls, "--pgdata=/x"));
    assert_null(strstr(calls, "gzip\n--"));
    /* 14 has its own side compress only */
    assert_int_equal(unlink(path_of("calls")), 0);
    assert_int_equal(
        cloned_by(140018, "basebackup: [{max-rate: 1M}, {compress: server-gzip}]\n", URL),
        PGCLONE_OK);
    calls = slurp("calls");
    assert_non_null(strstr(calls, "--max-rate=1M\n"));
    assert_null(strstr(calls, "compress"));
}

static void test_clone__methods_one_after_the_other(void **state)
{
    (void)state;
    script("first", "mkdir -p $dir/data; touch $dir/data/rest; exit 3");
    script("second", "mkdir -p $dir/data; touch $dir/data/second");
    assert_int_equal(
        cloned(
            pgv_arena_printf(&arena,
                             "create_replica_methods: [first, second, basebackup]\n"
                             "first: {command: '%s/bin/first \"a b\"', user_key: 1, flag: true}\n"
                             "second: {command: %s/bin/second, no_params: true, keep_data: true,"
                             " no_leader: 1, x: y}\n" AUTH,
                             dir, dir),
            URL),
        PGCLONE_OK);
    assert_string_equal(job_message, "replica has been created using second");
    assert_false(there("data/rest"));
    assert_true(there("data/second"));
    assert_string_equal(
        slurp("calls"),
        pgv_arena_printf(&arena,
                         "a b\n--user_key=1\n--flag=True\n--scope=demo\n--role=replica\n"
                         "--datadir=%s/data\n--connstring=dbname=postgres user=rep host=10.0.0.2 "
                         "port=5432 sslmode=require\n--x=y\n",
                         dir));
    assert_string_equal(slurp("env"), pgv_arena_printf(&arena,
                                                       "PGPASSFILE=%s/pgpass\n"
                                                       "PGPASSFILE=%s/pgpass\n",
                                                       dir, dir));
}

static void test_clone__keep_data(void **state)
{
    const char *section = pgv_arena_printf(&arena,
                                           "create_replica_methods: [keeper]\n"
                                           "keeper: {command: %s/bin/keeper, keep_data: true}\n",
                                           dir);

    (void)state;
    script("keeper", "test -f $dir/data/old || exit 9; exit 1");
    make("data");
    put("data/old", "");
    assert_int_equal(cloned(section, URL), PGCLONE_FAILED);
    assert_string_equal(job_message, "Error creating replica using method keeper: exit status 1");
    assert_true(there("data/old"));
}

static void test_clone__without_source(void **state)
{
    const char *section = pgv_arena_printf(&arena,
                                           "create_replica_methods: [basebackup, a, b]\n"
                                           "a: {command: %s/bin/b}\n"
                                           "b: {command: %s/bin/b, no_leader: true}\n",
                                           dir, dir);

    (void)state;
    script("b", "mkdir -p $dir/data; touch $dir/data/b");
    assert_true(pgclone_works_without_source(conf(section), NULL));
    assert_false(pgclone_works_without_source(conf_in_use, yaml("[basebackup, a]")));
    assert_int_equal(cloned(section, NULL), PGCLONE_OK);
    assert_string_equal(job_message, "replica has been created using b");
    assert_non_null(strstr(slurp("calls"), "--connstring=\n"));
    assert_false(there("pgpass"));

    assert_false(pgclone_works_without_source(conf(""), NULL));
    assert_int_equal(cloned("", ""), PGCLONE_FAILED);
    assert_string_equal(job_message, "there is no method to create a replica without a source");
}

static uv_timer_t poker;
static struct pgclone *to_cancel;

static void on_poke_clone(uv_timer_t *timer)
{
    (void)timer;
    /* once the program runs, or the pause has begun */
    if (there("running") && (to_cancel->in_child || to_cancel->phase == 3))
        pgclone_cancel(to_cancel);
}

/** Cancel as soon as the file 'running' is there. */
static void canceled_clone(const char *body)
{
    static struct pgclone j;
    struct pgclone_args args = { .conf = conf(""), .source_conn_url = URL };

    script("pg_basebackup", body);
    ended = false;
    to_cancel = &j;
    assert_true(pgclone_start(&j, &loop, &args, on_clone, NULL));
    (void)uv_timer_init(&loop, &poker);
    (void)uv_timer_start(&poker, on_poke_clone, 1, 5);
    until_ended();
    uv_close((uv_handle_t *)&poker, NULL);
    assert_int_equal(clone_result, PGCLONE_CANCELED);
}

static void test_clone__canceled_while_it_runs(void **state)
{
    (void)state;
    canceled_clone("touch $dir/running; exec sleep 60");
}

static void test_clone__canceled_between_attempts(void **state)
{
    (void)state;
    canceled_clone("touch $dir/running; exit 1");
    /* one attempt: the second would have come after the pause */
    assert_null(strstr(strstr(slurp("calls"), "--pgdata") + 1, "--pgdata"));
}

static void test_clone__canceled_before_it_began(void **state)
{
    static struct pgclone j;
    struct pgclone_args args = { .conf = conf(""), .source_conn_url = URL };

    (void)state;
    script("pg_basebackup", "");
    assert_true(pgclone_start(&j, &loop, &args, on_clone, NULL));
    pgclone_cancel(&j);
    pgclone_cancel(&j);
    assert_false(ended);
    until_ended();
    assert_int_equal(clone_result, PGCLONE_CANCELED);
    assert_false(there("calls"));
}

static void test_clone__a_bad_url_fails_at_once(void **state)
{
    static struct pgclone j;
    struct pgclone_args args = { .conf = conf(""), .source_conn_url = "postgres://[x" };
    struct pgv_error err = { 0 };

    (void)state;
    assert_false(pgclone_start(&j, &loop, &args, on_clone, &err));
    assert_int_equal(err.code, PGV_EINVALID);
}

/* ----------------------------------------------------------------------------------- bootstrap */

static enum pgboot_result boot_result;

static void on_boot(struct pgboot *j, enum pgboot_result result, const char *message)
{
    assert_false(j->running);
    boot_result = result;
    (void)snprintf(job_message, sizeof(job_message), "%s", message);
    ended = true;
}

static enum pgboot_result boot(const char *extra, const char *bootstrap)
{
    static struct pgboot j;
    struct pgv_error err;

    ended = false;
    if (!pgboot_start(&j, &loop, conf(extra), yaml(bootstrap), "", on_boot, &err))
        fail_msg("%s", err.msg);
    assert_false(ended);
    until_ended();
    return boot_result;
}

static void test_boot__initdb_reads_the_password_from_a_file(void **state)
{
    const char *calls;

    (void)state;
    (void)setenv("TMPDIR", dir, 1);
    script("initdb", "for a; do case $a in --pwfile=*) f=${a#--pwfile=};; esac; done\n"
                     "cat $f > $dir/seen; stat -c %a $f >> $dir/seen");
    assert_int_equal(boot("authentication: {superuser: {username: su, password: 'sec ret'}}\n",
                          "initdb: [{encoding: UTF8}, data-checksums]"),
                     PGBOOT_OK);
    calls = slurp("calls");
    assert_non_null(strstr(calls, "--encoding=UTF8\n--data-checksums\n--username=su\n--pwfile="));
    assert_null(strstr(calls, "sec ret"));
    assert_string_equal(slurp("seen"), "sec ret600\n");
    for (const char *p = strstr(calls, "pgvigil-pw-"); p; p = NULL)
        assert_false(there(pgv_arena_dup(&arena, (struct pgv_str){ p, strcspn(p, "\n") })));
    script("initdb", "");
    assert_int_equal(boot("", "{}"), PGBOOT_OK); /* nothing configured */
    script("initdb", "exit 1");
    assert_int_equal(boot("", "{}"), PGBOOT_FAILED);
    assert_string_equal(job_message, "initdb failed: exit status 1");
    (void)unsetenv("TMPDIR");
}

static void test_boot__forbidden_options_fail(void **state)
{
    static const char *const bad[] = { "initdb: [{pgdata: /x}]", "initdb: [nosync]",
                                       "initdb: {pwfile: /x}", "initdb: [1]", "initdb: x" };
    struct pgboot j = { 0 };

    (void)state;
    script("initdb", "");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct pgv_error err = { 0 };

        assert_false(pgboot_start(&j, &loop, conf(""), yaml(bad[i]), "", on_boot, &err));
        assert_int_equal(err.code, PGV_EINVALID);
    }
    assert_false(there("calls"));
}

static void test_boot__custom_method(void **state)
{
    const char *bootstrap = pgv_arena_printf(
        &arena,
        "{method: restore, restore: {command: '%s/bin/restore x', keep_existing_recovery_conf: 1,"
        " recovery_conf: {a: b}, scope: no, extra: yes}}",
        dir);

    (void)state;
    script("restore", "mkdir $dir/data; touch $dir/data/x");
    assert_true(pgboot_is_custom(yaml(bootstrap)));
    assert_string_equal(pgboot_method(yaml(bootstrap)), "restore");
    assert_string_equal(pgboot_method(yaml("{method: restore, restore: {}}")), "initdb");
    assert_string_equal(pgboot_method(yaml("{method: initdb, initdb: {command: x}}")), "initdb");
    assert_string_equal(pgboot_method(NULL), "initdb");
    assert_int_equal(boot("", bootstrap), PGBOOT_OK);
    assert_string_equal(slurp("calls"), pgv_arena_printf(&arena,
                                                         "x\n--scope=demo\n--datadir=%s/data\n"
                                                         "--extra=True\n",
                                                         dir));
    assert_true(there("data/pg_ident.conf")); /* backups were restored */
    script("restore", "exit 7");
    assert_int_equal(boot("", bootstrap), PGBOOT_FAILED);
    assert_string_equal(job_message, "custom bootstrap script failed: exit status 7");
}

static struct pgboot *boot_to_cancel;

static void on_poke_boot(uv_timer_t *timer)
{
    (void)timer;
    if (there("running"))
        pgboot_cancel(boot_to_cancel);
}

static void test_boot__canceled(void **state)
{
    static struct pgboot j;

    (void)state;
    script("initdb", "touch $dir/running; exec sleep 60");
    boot_to_cancel = &j;
    assert_true(pgboot_start(&j, &loop, conf(""), yaml("{}"), "", on_boot, NULL));
    (void)uv_timer_init(&loop, &poker);
    (void)uv_timer_start(&poker, on_poke_boot, 1, 5);
    until_ended();
    uv_close((uv_handle_t *)&poker, NULL);
    assert_int_equal(boot_result, PGBOOT_CANCELED);
}

static void test_role_sql__quotes(void **state)
{
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, 8192);
    assert_true(pgboot_role_sql(&b, "a\"b'c", "p'w\\x$$", "superuser"));
    assert_string_equal(pgv_buf_cstr(&b),
                        "DO 'BEGIN SET LOCAL synchronous_commit = ''local'';"
                        " PERFORM * FROM pg_catalog.pg_authid WHERE rolname = ''a\"b''''c'';"
                        " IF FOUND THEN ALTER ROLE \"a\"\"b''c\" WITH SUPERUSER LOGIN PASSWORD "
                        "''p''''w\\x$$''; ELSE CREATE ROLE \"a\"\"b''c\" WITH SUPERUSER LOGIN "
                        "PASSWORD ''p''''w\\x$$''; END IF; END;'");
    pgv_buf_reset(&b);
    assert_true(pgboot_role_sql(&b, "r", NULL, ""));
    assert_non_null(strstr(pgv_buf_cstr(&b), "CREATE ROLE \"r\" WITH LOGIN;"));
    pgv_buf_reset(&b);
    assert_true(pgboot_role_sql(&b, "r", NULL, "NOLOGIN"));
    assert_non_null(strstr(pgv_buf_cstr(&b), "CREATE ROLE \"r\" WITH NOLOGIN;"));
    pgv_buf_done(&b);
}

/* ----------------------------------------------------------------------------------- archiving */

static void on_archive(struct pgarchive *j, bool ok, const char *message)
{
    assert_false(j->running);
    job_ok = ok;
    (void)snprintf(job_message, sizeof(job_message), "%s", message);
    ended = true;
}

#define SEG "00000001000000000000000"

/** A postgres that answers -C; @mode and @command are its settings. */
static void fake_postgres(const char *mode, const char *command, const char *single)
{
    put("archive_mode", mode);
    put("archive_command", command);
    script("postgres",
           pgv_arena_printf(&arena, "if [ \"$3\" = -C ]; then cat $dir/$4; exit; fi\n%s", single));
}

static void make_ready(const char *segment, bool wal)
{
    put(pgv_arena_printf(&arena, "data/pg_wal/archive_status/%s.ready", segment), "");
    if (wal)
        put(pgv_arena_printf(&arena, "data/pg_wal/%s", segment), "");
}

static void test_archive__in_order(void **state)
{
    struct pgarchive j = { 0 };

    (void)state;
    make("data/pg_wal/archive_status");
    make_ready(SEG "3", true);
    make_ready(SEG "1", true);
    make_ready(SEG "2", true);
    make_ready(SEG "4", false); /* its WAL is gone */
    make_ready(SEG "5.partial", true);
    make_ready("00000002.history", true);
    fake_postgres(
        "on", pgv_arena_printf(&arena, "test %%f != " SEG "2 && echo %%f %%p >> %s/archived", dir),
        "");
    assert_true(pgarchive_ready_start(&j, &loop, conf(""), 150000, on_archive, NULL));
    until_ended();
    assert_true(job_ok);
    assert_string_equal(job_message, "archived 3 segments, 1 failed");
    assert_string_equal(slurp("archived"),
                        pgv_arena_printf(&arena,
                                         SEG "1 %s/data/pg_wal/" SEG "1\n" SEG
                                             "3 %s/data/pg_wal/" SEG "3\n" SEG
                                             "5.partial %s/data/pg_wal/" SEG "5.partial\n",
                                         dir, dir, dir));
    assert_true(there("data/pg_wal/archive_status/" SEG "1.done"));
    assert_true(there("data/pg_wal/archive_status/" SEG "2.ready"));
    assert_true(there("data/pg_wal/archive_status/00000002.history.ready"));
    assert_false(there("data/pg_wal/archive_status/" SEG "1.ready"));
}

static void test_archive__nothing_to_do(void **state)
{
    static const struct {
        const char *mode, *command, *message;
    } cases[] = {
        { NULL, NULL, "nothing waits to be archived" },
        { "off\n", "x", "archiving is off" },
        { "on\n", "\n", "there is no archive_command" },
        { "always\n", "false", "archived 0 segments, 0 failed" },
    };

    (void)state;
    make("data/pg_wal/archive_status");
    script("postgres", "exit 1"); /* it is not even asked */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgarchive j = { 0 };

        ended = false;
        if (i == 1)
            make_ready(SEG "1", false); /* its WAL is gone */
        if (i > 0)
            fake_postgres(cases[i].mode, cases[i].command, "");
        assert_true(pgarchive_ready_start(&j, &loop, conf(""), 150000, on_archive, NULL));
        until_ended();
        assert_true(job_ok);
        assert_string_equal(job_message, cases[i].message);
    }
}

/* Then it may well be on, and what is ready would be lost. */
static void test_archive__settings_that_cannot_be_read_are_asked_for_again(void **state)
{
    static const char *const words[] = { "archive_mode", "archive_command" };

    (void)state;
    make("data/pg_wal/archive_status");
    put("archive_mode", "on");
    put("archive_command", pgv_arena_printf(&arena, "cp %%p %s/%%f", dir));
    for (size_t i = 0; i < 2; i++) {
        for (unsigned good = 0; good < 2; good++) {
            struct pgarchive j = { 0 };

            ended = false;
            make_ready(SEG "1", true);
            put("asked", "");
            script("postgres", pgv_arena_printf(&arena,
                                                "if [ $4 = %s ]; then echo $4 >> $dir/asked; "
                                                "[ $(wc -l < $dir/asked) -gt %d ] || exit 1; fi\n"
                                                "cat $dir/$4",
                                                words[i], good ? 3 : 4));
            assert_true(pgarchive_ready_start(&j, &loop, conf(""), 150000, on_archive, NULL));
            until_ended();
            assert_int_equal(job_ok, good);
            assert_int_equal(j.archived, good);
            assert_int_equal(there("data/pg_wal/archive_status/" SEG "1.ready"), !good);
            if (!good)
                assert_string_equal(
                    job_message, "postgres does not tell whether WAL is archived: exit status 1");
        }
    }
}

static void test_archive__one_segment(void **state)
{
    struct pgarchive j = { 0 };

    (void)state;
    make("data/pg_wal");
    put("data/pg_wal/" SEG "7", "");
    fake_postgres("on", pgv_arena_printf(&arena, "cp %%p %s/%%f", dir), "");
    assert_true(pgarchive_one_start(&j, &loop, conf(""), 150000, SEG "7", on_archive, NULL));
    until_ended();
    assert_true(job_ok && there(SEG "7"));
    assert_int_equal(j.archived, 1);
}

static struct pgarchive *archive_to_cancel;

static void on_poke_archive(uv_timer_t *timer)
{
    (void)timer;
    if (there("running"))
        pgarchive_cancel(archive_to_cancel);
}

static void test_archive__canceled(void **state)
{
    struct pgarchive j = { 0 };

    (void)state;
    make("data/pg_wal/archive_status");
    make_ready(SEG "1", true);
    fake_postgres("on", pgv_arena_printf(&arena, "touch %s/running; exec sleep 60", dir), "");
    archive_to_cancel = &j;
    assert_true(pgarchive_ready_start(&j, &loop, conf(""), 150000, on_archive, NULL));
    (void)uv_timer_init(&loop, &poker);
    (void)uv_timer_start(&poker, on_poke_archive, 1, 5);
    until_ended();
    uv_close((uv_handle_t *)&poker, NULL);
    assert_false(job_ok);
    assert_string_equal(job_message, "canceled");
}

/* ------------------------------------------------------------------------------ crash recovery */

static void on_crash(struct pgcrash *j, bool ok, const char *message)
{
    assert_false(j->running);
    job_ok = ok;
    (void)snprintf(job_message, sizeof(job_message), "%s", message);
    ended = true;
}

static void test_crash__single_user_mode(void **state)
{
    static struct pgcrash j;

    (void)state;
    make("data/pg_wal/archive_status");
    make_ready(SEG "1", true);
    put("data/standby.signal", "");
    put("data/postmaster.opts", "/x/postgres \"-D\" \"/y\" \"--port=1\" \"--archive_mode=off\" "
                                "\"--config-file=/z.conf\"\n");
    fake_postgres("off\n", "", "exit 0");
    assert_true(pgcrash_start(&j, &loop, conf(""), 150000, on_crash, NULL));
    until_ended();
    assert_true(job_ok);
    assert_false(there("data/standby.signal") ||
                 there("data/pg_wal/archive_status/" SEG "1.ready"));
    assert_non_null(strstr(slurp("calls"), pgv_arena_printf(&arena,
                                                            "--single\n-D\n%s/data\n-c\n"
                                                            "archive_command=false\n-c\n"
                                                            "archive_mode=on\n-c\n"
                                                            "config-file=/z.conf\n-c\nport=1\n"
                                                            "template1\n",
                                                            dir)));
    ended = false;
    fake_postgres("off\n", "", "echo broken >&2; exit 2");
    assert_true(pgcrash_start(&j, &loop, conf_in_use, 150000, on_crash, NULL));
    until_ended();
    assert_false(job_ok);
    assert_string_equal(job_message, "Crash recovery finished with exit status 2: broken");
}

/* ------------------------------------------------------------------------------------- queries */

static struct pgv_error wal_err;

static void on_wal(struct pgwal_query *q, const struct pgv_error *err)
{
    (void)q;
    wal_err = err ? *err : (struct pgv_error){ 0 };
    ended = true;
}

#define RECORD(lsn, prev, desc)                                                                    \
    "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: " lsn ", prev " prev     \
    ", desc: " desc

static void test_wal_query__looks_behind_the_checkpoint(void **state)
{
    static const struct {
        const char *checkpoint, *previous;
        uint64_t prev;
    } cases[] = {
        { RECORD("0/02000028", "0/015668B8", "CHECKPOINT_SHUTDOWN redo 0/2000028; shutdown"),
          RECORD("0/015668B8", "0/01566880", "SWITCH "), 0x15668B8 },
        { RECORD("0/02000028", "0/015668B8", "CHECKPOINT_SHUTDOWN redo 0/2000028; shutdown"),
          RECORD("0/015668B8", "0/01566880", "NEXTOID 5"), 0x2000028 },
        { RECORD("0/02000028", "0/015668B8", "CHECKPOINT_ONLINE redo 0/2000028; online"), "x",
          0x2000028 },
        { RECORD("0/02000030", "0/015668B8", "CHECKPOINT_SHUTDOWN redo 0/2000028; shutdown"),
          RECORD("0/015668B8", "0/01566880", "SWITCH "), 0x2000028 },
        { RECORD("0/02000028", "0/015668B8", "CHECKPOINT_SHUTDOWN redo 0/2000028; shutdown"), "",
          0x2000028 },
        { "", "", 0x2000028 },
    };

    (void)state;
    script("pg_waldump", "test \"$PGDATA $LC_ALL\" = \"$dir/data C\" || exit 9\n"
                         "case $4 in 0/2000028) cat $dir/checkpoint;; *) cat $dir/previous;; esac");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgwal_query q = { 0 };

        ended = false;
        put("checkpoint", cases[i].checkpoint);
        put("previous", cases[i].previous);
        assert_true(pgwal_query_shutdown(&q, &loop, conf(""), 150000, 1, 0x2000028, on_wal, NULL));
        until_ended();
        if (q.prev_lsn != cases[i].prev)
            fail_msg("case %zu: %llx", i, (unsigned long long)q.prev_lsn);
    }
}

static void test_wal_query__end_of_the_checkpoint(void **state)
{
    struct pgwal_query q = { 0 };

    (void)state;
    script("pg_waldump",
           "echo '" RECORD(
               "0/02000028", "0/015668B8",
               "CHECKPOINT_SHUTDOWN x; shutdown") "'\n"
                                                  "echo 'pg_waldump: error: error in WAL record at "
                                                  "0/2000028: invalid record length at"
                                                  " 0/20000A0: wanted 24, got 0' >&2; exit 1");
    assert_true(pgwal_query_end(&q, &loop, conf(""), 150000, 3, 0x2000028, on_wal, NULL));
    until_ended();
    assert_true(q.end_lsn == 0x20000A0);
    assert_int_equal(wal_err.code, PGV_OK);
    assert_string_equal(slurp("calls"), "-t\n3\n-s\n0/2000028\n-n\n2\n");
    ended = false;
    script("pg_waldump", "echo nonsense >&2; exit 1");
    assert_true(pgwal_query_end(&q, &loop, conf(""), 150000, 3, 0x2000028, on_wal, NULL));
    until_ended();
    assert_true(q.end_lsn == 0);
    assert_int_equal(wal_err.code, PGV_EINVALID);
    assert_non_null(strstr(wal_err.msg, "nonsense"));
    ended = false;
    script("pg_waldump", "kill -9 $$"); /* which says nothing about the record */
    assert_true(pgwal_query_end(&q, &loop, conf(""), 150000, 3, 0x2000028, on_wal, NULL));
    until_ended();
    assert_int_equal(wal_err.code, PGV_EUNREACHABLE);
    ended = false;
    script("pg_waldump", "exec sleep 60");
    assert_true(pgwal_query_end(&q, &loop, conf(""), 150000, 3, 0x2000028, on_wal, NULL));
    pgwal_query_cancel(&q);
    until_ended();
    assert_int_equal(wal_err.code, PGV_ECANCELED);
}

static int tool_status;

static void on_tool(struct pgtool *t, int status)
{
    (void)t;
    tool_status = status;
    ended = true;
}

/* A command, or the state of a server, that was cut off for want of memory is none. */
static void test_tool__half_an_output_is_none(void **state)
{
    struct pgtool t = { 0 };
    const char *argv[] = { "/bin/sh", "-c", "echo shut down in recovery", NULL };

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        ended = false;
        assert_true(pgtool_start(&t, &loop, argv, NULL, 0, on_tool, NULL));
        if (i == 1)
            pgv_alloc_fail_at(1, true);
        until_ended();
        pgv_alloc_fail_at(0, false);
        if (i == 0)
            assert_true(pgtool_ok(tool_status) && pgtool_guc_value(&t, tool_status).n > 0);
        else
            assert_false(pgtool_ok(tool_status) || pgtool_guc_value(&t, tool_status).n > 0);
        pgtool_done(&t);
    }
}

static bool names_ok;

static void on_names(struct pgguc_query *q, bool ok)
{
    (void)q;
    names_ok = ok;
    ended = true;
}

static void test_guc_query__once_per_binary(void **state)
{
    struct pgguc_query q = { 0 };
    struct pgguc_names names = { 0 };
    const char *path = path_of("bin/postgres");

    (void)state;
    script("postgres", "printf 'vendor_one\\tuser\\tx\\nfsync\\tsighup\\tx\\nvendor_two\\ty\\n'");
    assert_true(pgguc_query_start(&q, &loop, path, 150000, &names, on_names, NULL));
    until_ended();
    assert_true(names_ok && names.loaded);
    assert_true(pgguc_names_has(&names, PGV_STR("vendor_two")));
    assert_false(pgguc_names_has(&names, PGV_STR("fsync")));
    ended = false;
    assert_true(pgguc_query_start(&q, &loop, path, 150000, &names, on_names, NULL));
    assert_false(ended);
    until_ended();
    assert_true(names_ok);
    assert_string_equal(slurp("calls"), "--describe-config\n"); /* it was not asked again */

    /* an upgrade puts another file there; while it fails the old names stay */
    ended = false;
    script("postgres", "exit 1");
    assert_true(pgguc_query_start(&q, &loop, path, 150000, &names, on_names, NULL));
    until_ended();
    assert_false(names_ok);
    assert_true(pgguc_names_has(&names, PGV_STR("vendor_one")));
    ended = false;
    script("postgres", "printf 'vendor_new\\tuser\\tx\\n'");
    assert_true(pgguc_query_start(&q, &loop, path, 150000, &names, on_names, NULL));
    until_ended();
    assert_true(names_ok && pgguc_names_has(&names, PGV_STR("vendor_new")));
    assert_false(pgguc_names_has(&names, PGV_STR("vendor_one")));
    ended = false;
    script("postgres", "exec sleep 60");
    assert_true(pgguc_query_start(&q, &loop, path, 150000, &names, on_names, NULL));
    pgguc_query_cancel(&q);
    until_ended();
    assert_false(names_ok);
    pgguc_names_done(&names);
}

/* ------------------------------------------------------------------------------ without memory */

static struct pgclone oom_clone;
static struct pgboot oom_boot;
static struct pgarchive oom_archive;
static struct pgcrash oom_crash;
static struct pgwal_query oom_wal;
static struct pgdata_job oom_data;
static struct pgguc_query oom_query;
static struct pgguc_names oom_names;
static struct pgv_value *oom_bootstrap;
static const char *oom_postgres;

static bool start_clone(struct pgv_error *err)
{
    struct pgclone_args args = { .conf = conf_in_use, .source_conn_url = URL };

    return pgclone_start(&oom_clone, &loop, &args, on_clone, err);
}

static bool start_boot(struct pgv_error *err)
{
    return pgboot_start(&oom_boot, &loop, conf_in_use, oom_bootstrap, "", on_boot, err);
}

static bool start_archive(struct pgv_error *err)
{
    return pgarchive_ready_start(&oom_archive, &loop, conf_in_use, 150000, on_archive, err);
}

static bool start_crash(struct pgv_error *err)
{
    return pgcrash_start(&oom_crash, &loop, conf_in_use, 150000, on_crash, err);
}

static bool start_wal(struct pgv_error *err)
{
    return pgwal_query_shutdown(&oom_wal, &loop, conf_in_use, 150000, 1, 0x2000028, on_wal, err);
}

static bool start_data(struct pgv_error *err)
{
    return pgdata_remove_start(&oom_data, &loop, conf_in_use, on_data_job, err);
}

static bool start_query(struct pgv_error *err)
{
    pgguc_names_done(&oom_names);
    return pgguc_query_start(&oom_query, &loop, oom_postgres, 150000, &oom_names, on_names, err);
}

/** Fail the first, the second, … allocation of a whole job: it ends, says so, and keeps nothing. */
static void test_jobs__without_memory(void **state)
{
    static bool (*const starts[])(struct pgv_error * err) = {
        start_clone, start_boot, start_archive, start_crash, start_wal, start_data, start_query
    };

    (void)state;
    script("method", "mkdir -p $dir/data; touch $dir/data/x");
    script("initdb", "exit 0");
    script("pg_waldump",
           "echo '" RECORD("0/02000028", "0/015668B8", "CHECKPOINT_SHUTDOWN shutdown") "'");
    put("archive_mode", "on");
    put("archive_command", "true");
    script("postgres", "if [ \"$3\" = -C ]; then cat $dir/$4; exit; fi\n"
                       "[ $1 = --describe-config ] && printf 'vendor\\tuser\\tx\\n'");
    oom_postgres = path_of("bin/postgres");
    oom_bootstrap = yaml("{initdb: [{encoding: UTF8}]}");
    (void)conf(pgv_arena_printf(&arena,
                                "create_replica_methods: [m]\n"
                                "m: {command: %s/bin/method, a: 1}\n"
                                "authentication: {replication: {username: r, password: p},"
                                " superuser: {username: s, password: p}}\n",
                                dir));
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        unsigned refused = 0;

        /* only that one (which an arena survives), and all from there on */
        for (unsigned long n = 1; n <= 60; n++) {
            struct pgv_error err = { 0 };
            bool started;
            size_t blocks;

            make("data/pg_wal/archive_status");
            make_ready(SEG "1", true);
            put("data/postmaster.opts", "postgres \"--port=1\"\n");
            blocks = pgv_alloc_blocks_in_use();
            ended = false;
            pgv_alloc_fail_at((n + 1) / 2, n % 2 == 0);
            started = starts[i](&err);
            if (started)
                until_ended();
            pgv_alloc_fail_at(0, false);
            if (!started)
                assert_int_equal(err.code, PGV_ENOMEM);
            refused += !started || (starts[i] == start_query && !names_ok);
            pgguc_names_done(&oom_names);
            assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
        }
        if (refused == 0 || refused == 60)
            fail_msg("job %zu: %u", i, refused);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_user_options__lists_and_maps),
        T(test_args__grow_up_to_a_limit),
        T(test_env__covers_ours),
        T(test_pgdata__state_and_version),
        T(test_remove__with_what_belongs_to_it),
        T(test_remove__takes_the_control_file_first),
        T(test_move_aside__keeps_it_for_later),
        T(test_clone__basebackup),
        T(test_clone__key_passphrase_in_a_service_file),
        T(test_clone__users_options),
        T(test_clone__methods_one_after_the_other),
        T(test_clone__keep_data),
        T(test_clone__without_source),
        T(test_clone__canceled_while_it_runs),
        T(test_clone__canceled_between_attempts),
        T(test_clone__canceled_before_it_began),
        T(test_clone__a_bad_url_fails_at_once),
        T(test_boot__initdb_reads_the_password_from_a_file),
        T(test_boot__forbidden_options_fail),
        T(test_boot__custom_method),
        T(test_boot__canceled),
        T(test_role_sql__quotes),
        T(test_archive__in_order),
        T(test_archive__nothing_to_do),
        T(test_archive__settings_that_cannot_be_read_are_asked_for_again),
        T(test_archive__one_segment),
        T(test_archive__canceled),
        T(test_crash__single_user_mode),
        T(test_wal_query__looks_behind_the_checkpoint),
        T(test_wal_query__end_of_the_checkpoint),
        T(test_tool__half_an_output_is_none),
        T(test_guc_query__once_per_binary),
        T(test_jobs__without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
