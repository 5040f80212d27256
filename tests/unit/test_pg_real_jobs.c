/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_pg_real_jobs.c - jobs on data directories against a real PostgreSQL: bootstrap
 * by initdb and by a custom script, cloning, divergence and rewind, crash recovery.
 *
 * Node 'a' is bootstrapped first; the tests build on each other in the order of main().
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg_support.h"

#include "base/clock.h"
#include "base/file.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct pg_node a, b, c, d;
static bool have_postgres;
static struct pgv_arena boot_arena;

#define NEED_POSTGRES()                                                                            \
    do {                                                                                           \
        (void)state;                                                                               \
        if (!have_postgres)                                                                        \
            skip();                                                                                \
    } while (0)

static const struct pgv_value *yaml(const char *text)
{
    struct pgv_error err;
    struct pgv_value *v;

    if (!pgv_yaml_parse(&boot_arena, "test", pgv_str(text), &v, &err))
        fail_msg("%s", err.msg);
    return v;
}

static enum postmaster_outcome job(struct pg_node *n, enum postmaster_job what)
{
    return pg_job(n, &(struct postmaster_job_args){ .job = what, .timeout_ms = 30000 });
}

static struct postmaster_node node_of(const struct pg_node *n)
{
    struct postmaster_node node = { .role = PGV_ROLE_PRIMARY,
                                    .is_leader = true,
                                    .leader_checkpoint_known = true,
                                    .leader_checkpoint_done = true };

    (void)snprintf(node.name, sizeof(node.name), "%s", n->name);
    (void)snprintf(node.conn_url, sizeof(node.conn_url), "%s", n->pm.conn_url);
    return node;
}

static bool is_streaming(struct pg_node *n)
{
    pg_look(n);
    return n->pm.facts.streaming;
}

static bool is_streaming_on_2(struct pg_node *n)
{
    return is_streaming(n) && n->pm.facts.timeline == 2;
}

static bool is_dead(struct pg_node *n)
{
    return !n->pm.facts.alive;
}

static void mark_path(const struct pg_node *n, char ret[300])
{
    (void)snprintf(ret, 300, "%s/pgvigil.unfinished", postmaster_data_dir(&n->pm));
}

static bool marked(const struct pg_node *n)
{
    char path[300];

    mark_path(n, path);
    return pgv_file_exists(path);
}

static void test_bootstrap__initdb(void **state)
{
    struct postmaster_facts *f = &a.pm.facts;
    char text[256];

    NEED_POSTGRES();
    a.config.bootstrap = yaml("initdb: [encoding: UTF8, data-checksums, auth: trust, no-sync]\n"
                              "pg_hba: ['host all all 10.9.8.7/32 trust']\n"
                              "post_bootstrap: /bin/true\n");
    pg_node_open(&a);
    pg_look(&a);
    assert_int_equal(f->dir, PM_DIR_EMPTY);
    assert_int_equal(f->role, PGV_ROLE_UNINITIALIZED);
    assert_int_equal(job(&a, PM_JOB_BOOTSTRAP), PM_DONE);
    assert_true(f->alive);
    assert_int_equal(f->role, PGV_ROLE_PRIMARY);
    pg_look(&a);
    assert_string_equal(f->sysid, ""); /* not told before all is done */
    assert_false(f->announced);
    assert_int_equal(job(&a, PM_JOB_POST_BOOTSTRAP), PM_DONE);
    assert_string_not_equal(f->sysid, "");
    assert_true(f->announced); /* by the owner, once he leads */
    pg_look(&a);
    pg_look(&a);
    assert_string_equal(a.callbacks, "");
    pg_sql(&a, "SELECT count(*) FROM pg_hba_file_rules WHERE address = '10.9.8.7'", text);
    assert_string_equal(text, "1");
    pg_sql(&a, "SHOW data_checksums", text);
    assert_string_equal(text, "on");
    assert_true(f->rewind_possible);
    pg_sql(&a, "CREATE TABLE t(i int); INSERT INTO t SELECT generate_series(1, 1000); SELECT 1",
           text);
}

static void test_bootstrap__failing_script_says_so(void **state)
{
    NEED_POSTGRES();
    c.config.bootstrap = yaml("method: mine\nmine: {command: /bin/false}\n");
    pg_node_open(&c);
    assert_int_equal(job(&c, PM_JOB_BOOTSTRAP), PM_FAILED);
    assert_int_equal(c.pm.facts.state, PGV_STATE_CUSTOM_BOOTSTRAP_FAILED);
    assert_int_equal(job(&c, PM_JOB_MOVE_DATA_ASIDE), PM_DONE);
    pg_node_close(&c);
}

/* The program @name of the site, seen from a directory @up steps below the root. */
static void up_to_root(char *ret, size_t bytes, unsigned up, const char *name)
{
    size_t n = 0;

    for (unsigned i = 0; i < up && n + 4 < bytes; i++) {
        memcpy(ret + n, "../", 4);
        n += 3;
    }
    (void)snprintf(ret + n, bytes - n, "%s/%s", pg_site_dir() + 1, name);
}

/* Its agent is gone between the first start and the end of post_bootstrap. */
static void bootstrap_broken_off(void)
{
    struct postmaster_facts *f = &c.pm.facts;

    pg_node_open(&c);
    (void)snprintf(c.pm.bootstrap_token, sizeof(c.pm.bootstrap_token), "4711");
    assert_int_equal(job(&c, PM_JOB_BOOTSTRAP), PM_DONE);
    pg_look(&c);
    assert_int_equal(f->dir, PM_DIR_OK);
    pg_node_close(&c);
    pg_node_open(&c);
    assert_string_equal(c.pm.bootstrap_token, "4711");
    pg_look(&c);
    assert_int_equal(f->dir, PM_DIR_UNFINISHED);
    assert_int_equal(f->major_version, 0); /* nothing starts it */
    assert_true(f->alive);
    assert_false(postmaster_published(&c.pm, "7000000000000000001"));
    assert_int_equal(
        pg_job(&c, &(struct postmaster_job_args){ .job = PM_JOB_STOP, .mode = PM_STOP_IMMEDIATE }),
        PM_DONE);
    assert_int_equal(f->dir, PM_DIR_UNFINISHED);
    assert_int_equal(job(&c, PM_JOB_MOVE_DATA_ASIDE), PM_DONE);
    assert_int_equal(f->dir, PM_DIR_EMPTY);
    pg_node_close(&c);
}

/* Patroni, say, who leaves our mark where it is. */
static void finished_by_somebody_else(void)
{
    struct postmaster_facts *f = &c.pm.facts;
    char path[300], sysid[24];
    struct pgv_error err;

    memcpy(sysid, f->sysid, sizeof(sysid));
    mark_path(&c, path); /* which is asked of the open node */
    pg_node_close(&c);
    assert_true(pgv_file_replace(path, PGV_STR("bootstrap\n0 0\n4711\n"), 0600, &err));
    pg_node_open(&c);
    assert_int_equal(f->dir, PM_DIR_UNFINISHED);
    assert_true(postmaster_published(&c.pm, sysid));
    assert_false(postmaster_published(&c.pm, sysid));
    assert_true(f->dir == PM_DIR_OK && f->alive && !marked(&c));
    pg_look(&c);
    assert_string_equal(f->sysid, sysid);
    assert_int_equal(f->role, PGV_ROLE_PRIMARY);
    /* a server runs on what was a copy */
    pg_node_close(&c);
    assert_true(pgv_file_replace(path, PGV_STR("clone\n0 0\n\n"), 0600, &err));
    pg_node_open(&c);
    assert_true(f->dir == PM_DIR_OK && f->alive && !marked(&c));
}

static void test_bootstrap__custom_script(void **state)
{
    struct postmaster_facts *f = &c.pm.facts;
    char path[300], text[2048];
    struct pgv_error err;
    unsigned up = 0;

    NEED_POSTGRES();
    (void)snprintf(path, sizeof(path), "%s/boot.sh", pg_site_dir());
    (void)snprintf(
        text, sizeof(text),
        "#!/bin/sh\nfor arg; do case $arg in --datadir=*) d=${arg#--datadir=};; esac; done"
        "\n%s/initdb -D $d -N -U postgres -A trust > /dev/null\n",
        pg_site_bin());
    assert_true(pgv_file_replace(path, pgv_str(text), 0755, &err));
    (void)snprintf(text, sizeof(text), "method: mine\nmine: {command: %s}\n", path);
    c.config.bootstrap = yaml(text);
    bootstrap_broken_off();
    /* a pg_rewind that was killed when it was to tell whether it works: that is no 'no' */
    (void)snprintf(path, sizeof(path), "%s/killed", pg_site_dir());
    assert_true(pgv_file_replace(path, PGV_STR("#!/bin/sh\nkill -9 $$\n"), 0755, &err));
    for (const char *p = pg_site_bin(); *p; p++)
        up += *p == '/';
    up_to_root(path, sizeof(path), up, "killed");
    (void)snprintf(text, sizeof(text), "bin_name: {pg_rewind: %s}", path);
    pg_node_configure(&c, text);
    pg_node_open(&c);
    assert_int_equal(job(&c, PM_JOB_BOOTSTRAP), PM_DONE);
    pg_look(&c);
    assert_true(f->rewind_possible);
    assert_int_equal(f->role, PGV_ROLE_PRIMARY);
    assert_true(marked(&c));
    assert_int_equal(job(&c, PM_JOB_POST_BOOTSTRAP), PM_DONE);
    assert_false(marked(&c));
    pg_look(&c);
    assert_true(f->look_ok && !f->in_recovery);
    assert_string_not_equal(f->sysid, "");
    finished_by_somebody_else();
    assert_int_equal(
        pg_job(&c, &(struct postmaster_job_args){ .job = PM_JOB_STOP, .mode = PM_STOP_IMMEDIATE }),
        PM_DONE);
    pg_node_close(&c);
}

static void test_clone__canceled_leaves_it_to_the_next(void **state)
{
    struct pgv_error err;
    struct postmaster_job_args args = { .job = PM_JOB_CLONE };

    NEED_POSTGRES();
    pg_node_open(&b);
    args.node = node_of(&a);
    assert_true(postmaster_job_start(&b.pm, &args, &err));
    for (int i = 0; i < 5; i++)
        (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
    postmaster_job_cancel(&b.pm);
    while (b.ends == 0)
        (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
    assert_int_equal(b.end_outcome, PM_CANCELED);
    assert_int_equal(b.pm.facts.state, PGV_STATE_STOPPED);
    assert_int_equal(pg_job(&b, &args), PM_DONE);
    assert_int_equal(pg_job(&b, &(struct postmaster_job_args){ .job = PM_JOB_START,
                                                               .role = PGV_ROLE_REPLICA,
                                                               .node = { .name = "nobody" } }),
                     PM_DONE);
    assert_true(b.pm.facts.in_recovery);
    pg_look(&b);
    assert_int_equal(b.pm.facts.timeline, 1); /* no receiver: IDENTIFY_SYSTEM told */
}

/* b has a copy that is complete, but for the mark of one that is not. */
static void test_clone__an_unfinished_copy_counts_as_empty(void **state)
{
    struct postmaster_job_args args = { .job = PM_JOB_CLONE };
    struct postmaster_facts *f = &b.pm.facts;
    char path[300];

    NEED_POSTGRES();
    assert_int_equal(
        pg_job(&b, &(struct postmaster_job_args){ .job = PM_JOB_STOP, .mode = PM_STOP_FAST }),
        PM_DONE);
    assert_false(marked(&b));
    mark_path(&b, path);
    assert_true(pgv_file_replace(path, PGV_STR("of another age\n"), 0600, NULL));
    pg_look(&b);
    assert_int_equal(f->dir, PM_DIR_UNREADABLE);
    assert_string_equal(f->dir_error, "pgvigil.unfinished cannot be understood");
    assert_true(pgv_file_replace(path, PGV_STR("clone\n0 0\n\n"), 0600, NULL));
    pg_look(&b);
    assert_int_equal(f->dir, PM_DIR_EMPTY);
    assert_int_equal(f->major_version, 0); /* nothing starts it */
    args.node = node_of(&a);
    assert_int_equal(pg_job(&b, &args), PM_DONE);
    assert_false(marked(&b));
    assert_int_equal(f->dir, PM_DIR_OK);
    assert_int_equal(pg_job(&b, &(struct postmaster_job_args){ .job = PM_JOB_START,
                                                               .role = PGV_ROLE_REPLICA,
                                                               .node = { .name = "nobody" } }),
                     PM_DONE);
    assert_true(b.pm.facts.in_recovery);
}

static void test_rewind__brings_a_diverged_primary_back(void **state)
{
    struct postmaster_job_args args = { .job = PM_JOB_CHECK_DIVERGENCE };
    char text[256];

    NEED_POSTGRES();
    /* b leaves for timeline 2 while a goes on alone */
    assert_int_equal(job(&b, PM_JOB_PROMOTE), PM_DONE);
    pg_sql(&b, "CREATE TABLE u(i int); CHECKPOINT; SELECT 1", text);
    pg_sql(&a, "INSERT INTO t VALUES (-1); SELECT pg_switch_wal()", text);
    assert_int_equal(pg_job(&a, &(struct postmaster_job_args){ .job = PM_JOB_STOP,
                                                               .mode = PM_STOP_FAST,
                                                               .demote = true }),
                     PM_DONE);
    args.node = node_of(&b);
    assert_int_equal(pg_job(&a, &args), PM_DONE); /* diverged */
    /* left by one that was killed: a mixture, which must not be started but may be rewound again */
    (void)snprintf(text, sizeof(text), "%s/pgvigil.rewinding", postmaster_data_dir(&a.pm));
    assert_true(pgv_file_replace(text, (struct pgv_str){ 0 }, 0600, NULL));
    args.job = PM_JOB_START;
    args.role = PGV_ROLE_REPLICA;
    assert_int_equal(pg_job(&a, &args), PM_FAILED);
    assert_int_equal(a.pm.facts.state, PGV_STATE_START_FAILED);
    assert_false(a.pm.facts.alive);
    args.job = PM_JOB_REWIND;
    assert_int_equal(pg_job(&a, &args), PM_DONE);
    assert_false(a.pm.facts.alive || pgv_file_exists(text));
    args.job = PM_JOB_START;
    args.role = PGV_ROLE_REPLICA;
    pg_sql(&b, "SELECT pg_create_physical_replication_slot('a')", text);
    assert_int_equal(pg_job(&a, &args), PM_DONE);
    pg_until(is_streaming_on_2, &a, "streaming");
    pg_sql(&a, "SELECT count(*) FROM t WHERE i < 0", text);
    assert_string_equal(text, "0");
    args.job = PM_JOB_CHECK_DIVERGENCE; /* of a running standby */
    assert_int_equal(pg_job(&a, &args), PM_NO);
}

static void test_rewind__of_a_leader_that_is_not_there_is_for_later(void **state)
{
    struct postmaster_job_args args = { .job = PM_JOB_CHECK_DIVERGENCE, .timeout_ms = 2000 };

    NEED_POSTGRES();
    args.node = node_of(&b);
    (void)snprintf(args.node.conn_url, sizeof(args.node.conn_url),
                   "postgres://127.0.0.1:1/postgres");
    assert_int_equal(pg_job(&a, &args), PM_UNKNOWN);
}

static void test_crash_recovery__ends_in_a_clean_shutdown(void **state)
{
    struct postmaster_facts *f = &b.pm.facts;

    NEED_POSTGRES();
    assert_int_equal(kill(f->pid, SIGKILL), 0);
    pg_until(is_dead, &b, "the end of the postmaster");
    pg_look(&b);
    assert_int_equal(f->control_state, PM_CONTROL_IN_PRODUCTION);
    assert_int_equal(job(&b, PM_JOB_CRASH_RECOVERY), PM_DONE);
    assert_int_equal(f->control_state, PM_CONTROL_SHUT_DOWN);
    assert_false(f->alive);
}

static void test_close__in_the_middle_of_a_job(void **state)
{
    struct pgv_error err;
    struct postmaster_job_args args = { .job = PM_JOB_START, .role = PGV_ROLE_PRIMARY };

    NEED_POSTGRES();
    for (unsigned turns = 0; turns < 200; turns = turns * 2 + 1) {
        pid_t pid;

        assert_true(postmaster_job_start(&b.pm, &args, &err));
        for (unsigned i = 0; i < turns; i++)
            (void)uv_run(pg_site_loop(), UV_RUN_NOWAIT);
        pid = b.pm.facts.pid;
        pg_node_close(&b);
        pg_node_open(&b);
        if (pid > 0)
            assert_int_equal(pg_job(&b, &(struct postmaster_job_args){ .job = PM_JOB_STOP,
                                                                       .mode = PM_STOP_IMMEDIATE }),
                             PM_DONE);
    }
}

static enum postmaster_outcome stop(struct pg_node *n, enum postmaster_stop_mode mode)
{
    return pg_job(
        n, &(struct postmaster_job_args){ .job = PM_JOB_STOP, .mode = mode, .demote = true });
}

static bool has_all(struct pg_node *n)
{
    pg_look(n);
    return n->pm.facts.replay_lsn >= b.pm.facts.control_checkpoint;
}

/* A new node, as a copy of @from that follows it. */
static void clone_of(struct pg_node *n, struct pg_node *from)
{
    struct postmaster_job_args args = { .job = PM_JOB_CLONE, .node = node_of(from) };
    char sql[80], text[256];

    (void)snprintf(sql, sizeof(sql), "SELECT pg_create_physical_replication_slot('%s')", n->name);
    pg_sql(from, sql, text);
    pg_node_open(n);
    assert_int_equal(pg_job(n, &args), PM_DONE);
    args.job = PM_JOB_START;
    args.role = PGV_ROLE_REPLICA;
    assert_int_equal(pg_job(n, &args), PM_DONE);
    pg_until(is_streaming, n, "streaming");
}

static enum postmaster_outcome diverged(struct pg_node *n, const struct pg_node *leader)
{
    return pg_job(n, &(struct postmaster_job_args){ .job = PM_JOB_CHECK_DIVERGENCE,
                                                    .node = node_of(leader) });
}

/* a and d follow b; it ends, both are promoted, and neither knows of the other's timeline 3. */
static void test_divergence__two_timelines_of_the_same_number(void **state)
{
    struct postmaster_job_args args = { .job = PM_JOB_START, .role = PGV_ROLE_PRIMARY };
    char text[256];

    NEED_POSTGRES();
    assert_int_equal(pg_job(&b, &args), PM_DONE);
    pg_until(is_streaming, &a, "streaming");
    clone_of(&d, &b);
    assert_int_equal(stop(&b, PM_STOP_FAST), PM_DONE);
    pg_look(&b);
    assert_true(b.pm.facts.control_checkpoint > 0);
    pg_until(has_all, &a, "the shutdown checkpoint");
    pg_until(has_all, &d, "the shutdown checkpoint");
    assert_int_equal(job(&a, PM_JOB_PROMOTE), PM_DONE);
    pg_sql(&a, "CREATE TABLE ours(i int); SELECT 1", text);
    assert_int_equal(stop(&a, PM_STOP_IMMEDIATE), PM_DONE);
    d.pm.facts.role = PGV_ROLE_PROMOTED; /* a request that the server has lost is made again */
    assert_int_equal(job(&d, PM_JOB_PROMOTE), PM_DONE);
    pg_sql(&d, "CREATE TABLE theirs(i int); CHECKPOINT; SELECT 1", text);
    pg_look(&d);
    assert_int_equal(d.pm.facts.timeline, 3);
    assert_int_equal(job(&a, PM_JOB_CRASH_RECOVERY), PM_DONE);
    pg_look(&a);
    assert_int_equal(a.pm.facts.control_timeline, 3);
    assert_int_equal(diverged(&a, &d), PM_DONE);
    /* it would say that all is well */
    args = (struct postmaster_job_args){ .job = PM_JOB_REWIND, .node = node_of(&d) };
    assert_int_equal(pg_job(&a, &args), PM_FAILED);
    assert_non_null(strstr(a.end_message, "needs a new copy"));
    /* as a standby on the wrong one of them */
    args = (struct postmaster_job_args){ .job = PM_JOB_START, .role = PGV_ROLE_REPLICA };
    assert_int_equal(pg_job(&a, &args), PM_DONE);
    assert_int_equal(diverged(&a, &d), PM_DONE);
    assert_int_equal(stop(&a, PM_STOP_FAST), PM_DONE);
    assert_int_equal(diverged(&a, &d), PM_DONE);
    /* one that was below the fork belongs to both */
    assert_int_equal(diverged(&b, &d), PM_NO);
}

/* A node that stands rightly on the leader's timeline is not taken for another one's. */
static void test_divergence__the_same_timeline(void **state)
{
    struct postmaster_job_args args = { .job = PM_JOB_REMOVE_DATA };
    char from[300], to[300];

    NEED_POSTGRES();
    assert_int_equal(pg_job(&a, &args), PM_DONE);
    pg_node_close(&a);
    clone_of(&a, &d);
    assert_int_equal(diverged(&a, &d), PM_NO);
    assert_int_equal(stop(&a, PM_STOP_FAST), PM_DONE);
    assert_int_equal(diverged(&a, &d), PM_NO);
    /* a copy of the files, made while it was down: it says 'primary, shut down' */
    assert_int_equal(stop(&d, PM_STOP_FAST), PM_DONE);
    assert_int_equal(pg_job(&a, &args), PM_DONE);
    (void)snprintf(from, sizeof(from), "%s", postmaster_data_dir(&d.pm));
    (void)snprintf(to, sizeof(to), "%s", postmaster_data_dir(&a.pm));
    assert_true(pg_run((const char *const[]){ "/bin/cp", "-a", from, to, NULL }));
    args = (struct postmaster_job_args){ .job = PM_JOB_START, .role = PGV_ROLE_PRIMARY };
    assert_int_equal(pg_job(&d, &args), PM_DONE);
    pg_look(&a);
    assert_int_equal(a.pm.facts.control_state, PM_CONTROL_SHUT_DOWN);
    assert_int_equal(diverged(&a, &d), PM_NO);
}

static int setup(void **state)
{
    (void)state;
    have_postgres = pg_site_open();
    if (!have_postgres)
        return 0;
    pgv_arena_init(&boot_arena, 1u << 20);
    pg_node_init(&a, "a", NULL);
    pg_node_init(&b, "b", NULL);
    pg_node_init(&c, "c", NULL);
    pg_node_init(&d, "d", NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (have_postgres) {
        pg_node_done(&a);
        pg_node_done(&b);
        pg_node_done(&c);
        pg_node_done(&d);
        pgv_arena_done(&boot_arena);
        pg_site_close();
        assert_int_equal(pgv_alloc_blocks_in_use(), 0);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bootstrap__initdb),
        cmocka_unit_test(test_bootstrap__failing_script_says_so),
        cmocka_unit_test(test_bootstrap__custom_script),
        cmocka_unit_test(test_clone__canceled_leaves_it_to_the_next),
        cmocka_unit_test(test_clone__an_unfinished_copy_counts_as_empty),
        cmocka_unit_test(test_rewind__brings_a_diverged_primary_back),
        cmocka_unit_test(test_rewind__of_a_leader_that_is_not_there_is_for_later),
        cmocka_unit_test(test_crash_recovery__ends_in_a_clean_shutdown),
        cmocka_unit_test(test_divergence__two_timelines_of_the_same_number),
        cmocka_unit_test(test_divergence__the_same_timeline),
        cmocka_unit_test(test_close__in_the_middle_of_a_job),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
