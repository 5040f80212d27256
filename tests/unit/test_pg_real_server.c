/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_pg_real_server.c - the supervised server against a real PostgreSQL.
 *
 * One primary and one standby live through the whole program; the tests build on each other in
 * the order of main(). Where PostgreSQL is not installed everything is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg_support.h"

#include "base/clock.h"
#include "base/parse.h"
#include "pg/postmaster_impl.h"
#include "pg/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct pg_node primary, standby, unused;
static bool have_postgres;

#define NEED_POSTGRES()                                                                            \
    do {                                                                                           \
        (void)state;                                                                               \
        if (!have_postgres)                                                                        \
            skip();                                                                                \
    } while (0)

static const struct postmaster_job_args start_primary = { .job = PM_JOB_START,
                                                          .role = PGV_ROLE_PRIMARY };

static bool is_dead(struct pg_node *n)
{
    return !n->pm.facts.alive;
}

static bool is_running(struct pg_node *n)
{
    return n->pm.facts.state == PGV_STATE_RUNNING;
}

static bool knows_sysid(struct pg_node *n)
{
    return n->pm.facts.sysid[0] != '\0';
}

static bool seen_dead(struct pg_node *n)
{
    return n->dead_ms != 0;
}

static void test_open__reads_a_stopped_directory(void **state)
{
    struct postmaster_facts *f = &primary.pm.facts;

    NEED_POSTGRES();
    pg_node_open(&primary);
    assert_int_equal(f->state, PGV_STATE_STOPPED);
    assert_int_equal(f->dir, PM_DIR_OK);
    assert_true(f->major_version >= 90300);
    pg_until(knows_sysid, &primary, "system identifier");
    assert_int_equal(f->control_state, PM_CONTROL_SHUT_DOWN);
    assert_int_equal(f->control_timeline, 1);
    pg_look(&primary);
    assert_false(f->alive);
    assert_false(f->look_ok);
    assert_int_equal(f->role, PGV_ROLE_DEMOTED); /* was primary, does not run */
    assert_true(f->server_version > f->major_version);
}

static void test_start__waits_until_it_accepts(void **state)
{
    struct postmaster_facts *f = &primary.pm.facts;
    uint64_t since = pgv_clock_ms();
    char text[256];

    NEED_POSTGRES();
    assert_int_equal(pg_job(&primary, &start_primary), PM_DONE);
    print_message("start took %u ms\n", (unsigned)(pgv_clock_ms() - since));
    assert_int_equal(f->state, PGV_STATE_RUNNING);
    assert_int_equal(f->role, PGV_ROLE_PRIMARY);
    assert_true(f->alive && f->accepting && f->look_ok && f->announced);
    assert_int_equal(f->timeline, 1);
    assert_true(f->wal_lsn > 0);
    assert_true(f->start_time_wall_us > 0);
    assert_string_equal(primary.callbacks, "on_start:primary");
    pg_sql(&primary,
           "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE"
           " 'Patroni%'",
           text);
    assert_string_equal(text, "Patroni heartbeat");
    pg_sql(&primary, "CREATE TABLE t(i int); INSERT INTO t VALUES (1); SELECT count(*) FROM t",
           text);
    assert_string_equal(text, "1");
}

static void test_start__refuses_a_second_job(void **state)
{
    struct pgv_error err;
    unsigned ends;

    NEED_POSTGRES();
    ends = primary.ends;
    assert_true(postmaster_job_start(&primary.pm, &start_primary, &err)); /* runs already: done */
    assert_false(postmaster_job_start(&primary.pm, &start_primary, &err));
    assert_int_equal(err.code, PGV_ECONFLICT);
    assert_int_equal(primary.ends, ends); /* never inside the call */
    while (primary.ends == ends)
        (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
    assert_int_equal(primary.end_outcome, PM_DONE);
    assert_int_equal(primary.pm.job, PM_JOB_NONE);
}

/* ---- status ---- */

static void on_status(struct postmaster_status_req *r, const struct postmaster_status *st)
{
    struct pg_node *n = r->data;

    n->answers++;
    n->status = *st;
    n->replication_json[0] = '\0';
    if (st->replication_json)
        (void)snprintf(n->replication_json, sizeof(n->replication_json), "%s",
                       pgv_buf_cstr(st->replication_json));
}

static unsigned answers_wanted;

static bool has_answers(struct pg_node *n)
{
    return n->answers >= answers_wanted;
}

static void ask_status(struct pg_node *n, unsigned times)
{
    static struct postmaster_status_req reqs[200];

    assert_true(times <= 200);
    answers_wanted = n->answers + times;
    for (unsigned i = 0; i < times; i++) {
        reqs[i] = (struct postmaster_status_req){ .data = n };
        postmaster_status(&n->pm, &reqs[i], on_status);
    }
    assert_int_equal(n->answers + times, answers_wanted);
    pg_until(has_answers, n, "status");
}

static void test_status__a_burst_costs_one_query(void **state)
{
    char before[256], after[256];
    struct postmaster_status_req gone = { .data = &primary };

    NEED_POSTGRES();
    ask_status(&primary, 1);
    assert_true(primary.status.ok);
    assert_false(primary.status.in_recovery);
    assert_int_equal(primary.status.timeline, 1);
    assert_true(primary.status.location > 0);
    assert_int_equal(primary.status.server_version, primary.pm.facts.server_version);
    assert_int_equal(primary.status.start_time[10], ' ');
    assert_non_null(strstr(primary.status.start_time, ":"));
    assert_true(primary.status.start_epoch > 1e9);
    assert_null(primary.status.replication_json);
    pg_sql(&primary, "SELECT pg_stat_reset()", before);
    /* a statement is a transaction: count those of the restapi backend by xact counters */
    pg_sql(&primary,
           "SELECT query_start FROM pg_stat_activity WHERE application_name = 'Patroni"
           " restapi'",
           before);
    ask_status(&primary, 200);
    pg_sql(&primary,
           "SELECT query_start FROM pg_stat_activity WHERE application_name = 'Patroni"
           " restapi'",
           after);
    assert_true(primary.status.ok);
    postmaster_status(&primary.pm, &gone, on_status);
    postmaster_status_cancel(&primary.pm, &gone); /* never answered */
    answers_wanted = primary.answers;
    ask_status(&primary, 1);
    assert_int_equal(primary.answers, answers_wanted);
}

static void turn_for(unsigned ms)
{
    uint64_t until_ms = pgv_clock_ms() + ms;

    while (pgv_clock_ms() < until_ms)
        (void)uv_run(pg_site_loop(), UV_RUN_NOWAIT);
}

static void test_status__under_steady_load_nobody_waits(void **state)
{
    struct postmaster_status_req late = { .data = &primary };
    uint64_t since_ms;
    char pid[256];
    bool ok;

    NEED_POSTGRES();
    /* on a busy machine the answer may be too old by the time we ask: then once more */
    for (unsigned tries = 0;; tries++) {
        ask_status(&primary, 1);
        pg_sql(&primary,
               "SELECT pid FROM pg_stat_activity WHERE application_name = 'Patroni restapi'", pid);
        turn_for(PM_STATUS_FRESH_MS + 10);
        since_ms = pgv_clock_ms();
        ask_status(&primary, 1);
        assert_int_equal(kill(atoi(pid), SIGSTOP), 0); /* the next query will not be answered */
        turn_for(PM_STATUS_FRESH_MS / 2 + 2);
        ask_status(&primary, 1); /* from what is there, while the next is fetched */
        ok = primary.status.ok;
        ask_status(&primary, 1);
        ok = ok && primary.status.ok && pgv_clock_ms() - since_ms < 1000; /* else it failed */
        if (ok)
            break;
        assert_true(tries < 10);
        assert_int_equal(kill(atoi(pid), SIGCONT), 0);
    }
    turn_for(PM_STATUS_FRESH_MS);
    answers_wanted = primary.answers + 1;
    postmaster_status(&primary.pm, &late, on_status); /* too old now */
    turn_for(20);
    assert_int_equal(primary.answers, answers_wanted - 1);
    assert_int_equal(kill(atoi(pid), SIGCONT), 0);
    pg_until(has_answers, &primary, "status");
    assert_true(primary.status.ok);
}

/* ---- looks ---- */

static void test_look__sees_a_primary(void **state)
{
    struct postmaster_facts *f = &primary.pm.facts;
    uint64_t lsn = f->wal_lsn, ms = f->look_ms;
    char text[256];

    NEED_POSTGRES();
    pg_sql(&primary, "INSERT INTO t VALUES (2); SELECT 1", text);
    pg_look(&primary);
    assert_true(f->look_ok);
    assert_false(f->in_recovery);
    assert_true(f->wal_lsn > lsn);
    assert_true(f->look_ms >= ms);
    assert_true(f->rewind_possible); /* wal_log_hints is on by default */
}

/** Longer than file systems may take to tell one change from the next. */
#define SETTLED_MS (PM_SETTLES_NS / 1000000 + 100)

static void look_after(struct pg_node *n, unsigned ms)
{
    uint64_t at_ms = pgv_clock_ms() + ms;

    while (pgv_clock_ms() < at_ms)
        usleep(10000);
    pg_look(n);
}

/* The directory is read again only when its times have changed. */
static void test_look__sees_what_comes_and_goes_in_the_directory(void **state)
{
    const struct postmaster_facts *f = &primary.pm.facts;
    char label[300];
    FILE *file;

    NEED_POSTGRES();
    (void)snprintf(label, sizeof(label), "%s/backup_label", primary.data_dir);
    for (unsigned settled = 0; settled < 2; settled++) {
        look_after(&primary, settled ? SETTLED_MS : 0);
        assert_false(f->backup_label);
        assert_true((file = fopen(label, "w")) != NULL);
        assert_int_equal(fclose(file), 0);
        pg_look(&primary);
        assert_true(f->backup_label);
        look_after(&primary, settled ? SETTLED_MS : 0);
        assert_int_equal(unlink(label), 0);
        pg_look(&primary);
        assert_false(f->backup_label);
    }
    look_after(&primary, SETTLED_MS);
    assert_int_equal(chmod(primary.data_dir, 0), 0);
    pg_look(&primary);
    assert_int_equal(f->dir, geteuid() == 0 ? PM_DIR_OK : PM_DIR_UNREADABLE);
    assert_int_equal(chmod(primary.data_dir, 0700), 0);
    pg_look(&primary);
    assert_int_equal(f->dir, PM_DIR_OK);
}

static void test_look__survives_a_killed_backend(void **state)
{
    char text[256];

    NEED_POSTGRES();
    pg_sql(&primary,
           "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
           " application_name LIKE 'Patroni%'",
           text);
    pg_look(&primary);
    assert_true(primary.pm.facts.look_ok);
}

/* ---- the process ---- */

static void test_kill__is_known_at_once_and_restarts_fast(void **state)
{
    struct postmaster_facts *f = &primary.pm.facts;
    uint64_t killed, noticed, back;
    char text[256];

    NEED_POSTGRES();
    pg_sql(&primary, "INSERT INTO t VALUES (3); SELECT 1", text);
    for (int round = 0; round < 3; round++) {
        primary.dead_ms = 0;
        killed = pgv_clock_ms();
        assert_int_equal(kill(f->pid, SIGKILL), 0);
        pg_until(seen_dead, &primary, "the end of the postmaster");
        noticed = primary.dead_ms;
        assert_int_equal(f->state, PGV_STATE_CRASHED);
        assert_false(f->look_ok);
        assert_int_equal(pg_job(&primary, &start_primary), PM_DONE);
        back = pgv_clock_ms();
        print_message("kill -9: noticed after %u ms, accepts writes after %u ms\n",
                      (unsigned)(noticed - killed), (unsigned)(back - killed));
        assert_true(noticed - killed < 1000);
        assert_true(f->look_ok && !f->in_recovery);
    }
    pg_sql(&primary, "SELECT count(*) FROM t", text);
    assert_string_equal(text, "3");
}

/* A session that does not look for its postmaster while it computes. Ends with the server. */
static void begin_busy_session(void)
{
    char psql[300], port[16], text[256] = "";
    const char *argv[] = {
        psql, "-XAtq",    "-h", pg_site_dir(),
        "-p", port,       "-U", "postgres",
        "-d", "postgres", "-c", "DO $$ BEGIN FOR i IN 1..2000000000 LOOP NULL; END LOOP; END $$",
        NULL
    };
    pid_t pid;

    (void)snprintf(psql, sizeof(psql), "%s/psql", pg_site_bin());
    (void)snprintf(port, sizeof(port), "%d", primary.port);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        union {
            const char *const *in;
            char *const *out;
        } u = { .in = argv };

        (void)close(2);
        execv(psql, u.out);
        _exit(1);
    }
    while (strcmp(text, "1") != 0)
        pg_sql(&primary, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO $$%'", text);
}

static pid_t busy_backend(void)
{
    char text[256];

    pg_sql(&primary, "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO $$%'", text);
    return (pid_t)atoi(text);
}

static void test_kill__a_busy_backend_does_not_hold_it_up(void **state)
{
    /* It would keep the new one out. */
    struct postmaster_facts *f = &primary.pm.facts;
    uint64_t killed;

    NEED_POSTGRES();
    begin_busy_session();
    killed = pgv_clock_ms();
    assert_int_equal(kill(f->pid, SIGKILL), 0);
    pg_until(is_dead, &primary, "the end of the postmaster");
    assert_int_equal(pg_job(&primary, &start_primary), PM_DONE);
    print_message("with a busy backend: accepts writes after %u ms\n",
                  (unsigned)(pgv_clock_ms() - killed));
}

/* True: it runs no code any more. */
static bool is_over_now(pid_t pid)
{
    struct pm_proc proc;

    return !pm_proc_read(pid, &proc) || proc.state == 'Z' || proc.state == 'X';
}

static bool is_over(pid_t pid)
{
    uint64_t until_ms = pgv_clock_ms() + 2000; /* a killed process is taken down by the kernel */

    while (!is_over_now(pid))
        if (pgv_clock_ms() > until_ms)
            return false;
    return true;
}

/* Nobody starts it again: what it left behind would write on beside another primary. */
static void test_kill__leaves_no_backend_behind(void **state)
{
    struct postmaster_facts *f = &primary.pm.facts;
    pid_t backend, postmaster;

    NEED_POSTGRES();
    begin_busy_session();
    backend = busy_backend();
    assert_int_equal(kill(f->pid, SIGKILL), 0);
    pg_until(is_dead, &primary, "the end of the postmaster");
    assert_true(is_over(backend));
    assert_int_equal(pg_job(&primary, &start_primary), PM_DONE);
    /* the same when no agent was there */
    begin_busy_session();
    backend = busy_backend();
    postmaster = f->pid;
    pg_node_close(&primary);
    assert_int_equal(kill(postmaster, SIGKILL), 0);
    assert_true(is_over(postmaster));
    assert_int_equal(kill(backend, 0), 0);
    pg_node_open(&primary);
    assert_false(f->alive);
    assert_true(is_over(backend));
    assert_int_equal(pg_job(&primary, &start_primary), PM_DONE);
    /* one that has a postmaster is left alone */
    begin_busy_session();
    backend = busy_backend();
    pg_node_close(&primary);
    pg_node_open(&primary);
    assert_true(f->alive);
    assert_int_equal(kill(backend, SIGTERM), 0);
    assert_true(is_over(backend));
    pg_until(is_running, &primary, "running");
}

/* Somebody has removed postmaster.pid: the server is not found, but what it serves is not ours to
 * end. */
static void test_start__leaves_the_backends_of_a_living_postmaster_alone(void **state)
{
    struct postmaster_facts *f = &primary.pm.facts;
    struct postmaster_job_args start = start_primary;
    char path[300], aside[300];
    pid_t backend, postmaster = f->pid;

    NEED_POSTGRES();
    begin_busy_session();
    backend = busy_backend();
    pg_node_close(&primary);
    (void)snprintf(path, sizeof(path), "%s/postmaster.pid", primary.data_dir);
    (void)snprintf(aside, sizeof(aside), "%s/pid.aside", pg_site_dir());
    assert_int_equal(rename(path, aside), 0);
    pg_node_open(&primary);
    assert_false(f->alive);
    start.timeout_ms = 1500; /* longer than backends are given */
    assert_int_equal(pg_job(&primary, &start), PM_FAILED);
    assert_string_equal(primary.end_message, "processes of an old postmaster do not go away");
    assert_false(is_over_now(backend));
    pg_node_close(&primary);
    assert_int_equal(rename(aside, path), 0);
    pg_node_open(&primary);
    assert_true(f->alive);
    assert_int_equal(f->pid, postmaster);
    assert_int_equal(kill(backend, SIGTERM), 0);
    assert_true(is_over(backend));
    pg_until(is_running, &primary, "running");
}

static void test_close__leaves_the_server_and_attaches_again(void **state)
{
    struct postmaster_facts *f = &primary.pm.facts;
    pid_t pid = f->pid;
    uint64_t killed;

    NEED_POSTGRES();
    pg_node_close(&primary);
    assert_int_equal(kill(pid, 0), 0);
    primary.callbacks[0] = '\0';
    pg_node_open(&primary);
    assert_true(f->alive);
    assert_int_equal(f->pid, pid);
    pg_until(is_running, &primary, "running");
    assert_int_equal(f->role, PGV_ROLE_PRIMARY);
    assert_non_null(strstr(primary.callbacks, ""));
    pg_look(&primary);
    assert_true(f->look_ok);
    assert_string_equal(primary.callbacks, "on_start:primary");
    /* not our child any more, and known as quickly */
    primary.dead_ms = 0;
    killed = pgv_clock_ms();
    assert_int_equal(kill(pid, SIGKILL), 0);
    pg_until(seen_dead, &primary, "the end of the postmaster");
    print_message("adopted, kill -9: noticed after %u ms\n", (unsigned)(primary.dead_ms - killed));
    assert_true(primary.dead_ms - killed < 1000);
    assert_int_equal(pg_job(&primary, &start_primary), PM_DONE);
}

/* ---- restart, settings ---- */

static void test_restart__takes_effect(void **state)
{
    struct postmaster_facts *f = &primary.pm.facts;
    pid_t pid = f->pid;
    uint64_t since = pgv_clock_ms();

    NEED_POSTGRES();
    primary.callbacks[0] = '\0';
    assert_int_equal(pg_job(&primary, &(struct postmaster_job_args){ .job = PM_JOB_RESTART }),
                     PM_DONE);
    print_message("restart took %u ms\n", (unsigned)(pgv_clock_ms() - since));
    assert_int_not_equal(f->pid, pid);
    assert_int_equal(f->state, PGV_STATE_RUNNING);
    assert_string_equal(primary.callbacks, "on_restart:primary");
}

static bool is_pending(struct pg_node *n)
{
    return n->pm.facts.pending_restart;
}

static bool not_pending(struct pg_node *n)
{
    return !n->pm.facts.pending_restart;
}

static bool heard_reload(struct pg_node *n)
{
    return strstr(n->callbacks, "on_reload") != NULL;
}

static void reconfigure(struct pg_node *n, const char *parameters)
{
    char extra[1024];
    struct pgv_error err;

    (void)snprintf(extra, sizeof(extra), "parameters: {unix_socket_directories: %s, %s}",
                   pg_site_dir(), parameters);
    pg_node_configure(n, extra);
    n->callbacks[0] = '\0';
    if (!postmaster_reconfigure(&n->pm, &n->config, false, &err))
        fail_msg("%s", err.msg);
}

static void test_reconfigure__reloads_and_knows_what_waits(void **state)
{
    char text[256];

    NEED_POSTGRES();
    reconfigure(&primary, "shared_buffers: 16MB, max_connections: 40, work_mem: 5MB");
    pg_until(heard_reload, &primary, "reload");
    pg_until(is_pending, &primary, "pending restart");
    assert_int_equal(primary.pm.n_pending, 1);
    assert_string_equal(primary.pm.pending[0].name, "max_connections");
    assert_string_equal(primary.pm.pending[0].old_value, "30");
    assert_string_equal(primary.pm.pending[0].new_value, "40");
    pg_sql(&primary, "SHOW work_mem", text);
    assert_string_equal(text, "5MB");
    assert_int_equal(pg_job(&primary, &(struct postmaster_job_args){ .job = PM_JOB_RESTART }),
                     PM_DONE);
    assert_false(primary.pm.facts.pending_restart);
    pg_sql(&primary, "SHOW max_connections", text);
    assert_string_equal(text, "40");
    /* back again: two passes at once, the second waits for the first */
    reconfigure(&primary, "shared_buffers: 32MB, max_connections: 40");
    reconfigure(&primary, "shared_buffers: 32MB, max_connections: 40, work_mem: 6MB");
    pg_until(is_pending, &primary, "pending restart");
    reconfigure(&primary, "shared_buffers: 16MB, max_connections: 40, work_mem: 7MB");
    pg_until(not_pending, &primary, "no pending restart");
    pg_sql(&primary, "SHOW work_mem", text);
    assert_string_equal(text, "7MB");
}

static void test_reconfigure__bad_settings_leave_the_old(void **state)
{
    struct pgv_error err;
    struct pgv_value *bad;

    NEED_POSTGRES();
    assert_true(pgv_yaml_parse(&primary.arena, "test", PGV_STR("{data_dir: 5}"), &bad, &err));
    primary.config.postgresql = bad;
    assert_false(postmaster_reconfigure(&primary.pm, &primary.config, false, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    pg_look(&primary);
    assert_true(primary.pm.facts.look_ok);
    pg_node_configure(&primary, NULL);
}

/* ---- checkpoint ---- */

static void on_checkpoint(struct postmaster *pm, bool ok)
{
    struct pg_node *n = pm->data;

    n->answers++;
    n->ok = ok;
}

static void test_checkpoint__tells(void **state)
{
    NEED_POSTGRES();
    answers_wanted = primary.answers + 1;
    postmaster_checkpoint(&primary.pm, on_checkpoint);
    pg_until(has_answers, &primary, "checkpoint");
    assert_true(primary.ok);
}

/* ---- a standby ---- */

static void sync_slot(struct pg_node *n, const char *name)
{
    struct postmaster_slot wanted = { .expected_active = 1 };
    struct postmaster_slot_state there[4];

    (void)snprintf(wanted.name, sizeof(wanted.name), "%s", name);
    answers_wanted = n->answers + 1;
    postmaster_sync_slots(&n->pm, &wanted, 1, true, on_checkpoint);
    assert_int_equal(n->answers + 1, answers_wanted);
    pg_until(has_answers, n, "slots");
    assert_true(n->ok);
    /* what exists is told as of the last sync */
    postmaster_sync_slots(&n->pm, &wanted, 1, true, on_checkpoint);
    answers_wanted = n->answers + 1;
    pg_until(has_answers, n, "slots");
    assert_int_equal(postmaster_slots(&n->pm, there, 4), 1);
    assert_string_equal(there[0].name, name);
    assert_true(there[0].physical);
}

static struct postmaster_node node_of(const struct pg_node *n)
{
    struct postmaster_node node = { .role = PGV_ROLE_PRIMARY, .is_leader = true };

    (void)snprintf(node.name, sizeof(node.name), "%s", n->name);
    (void)snprintf(node.conn_url, sizeof(node.conn_url), "%s", n->pm.conn_url);
    return node;
}

static bool is_streaming(struct pg_node *n)
{
    pg_look(n);
    return n->pm.facts.streaming;
}

static void test_standby__is_cloned_and_streams(void **state)
{
    struct postmaster_facts *f = &standby.pm.facts;

    NEED_POSTGRES();
    assert_string_not_equal(primary.pm.conn_url, "");
    sync_slot(&primary, "two");
    pg_node_open(&standby);
    pg_look(&standby);
    assert_int_equal(f->dir, PM_DIR_EMPTY);
    assert_int_equal(f->role, PGV_ROLE_UNINITIALIZED);
    assert_int_equal(pg_job(&standby, &(struct postmaster_job_args){ .job = PM_JOB_CLONE,
                                                                     .node = node_of(&primary) }),
                     PM_DONE);
    assert_int_equal(f->role, PGV_ROLE_REPLICA);
    assert_int_equal(pg_job(&standby, &(struct postmaster_job_args){ .job = PM_JOB_START,
                                                                     .role = PGV_ROLE_REPLICA,
                                                                     .node = node_of(&primary) }),
                     PM_DONE);
    assert_int_equal(f->role, PGV_ROLE_REPLICA);
    assert_true(f->in_recovery);
    assert_true(f->standby_signal || f->major_version < 120000);
    pg_until(is_streaming, &standby, "streaming");
    assert_int_equal(f->timeline, 1);
    assert_true(f->wal_lsn > 0 && f->replay_lsn > 0);
    assert_string_equal(f->sysid, primary.pm.facts.sysid);
    ask_status(&standby, 1);
    assert_true(standby.status.ok && standby.status.in_recovery);
    assert_string_equal(standby.status.replication_state, "streaming");
    assert_true(standby.status.received_location > 0);
    ask_status(&primary, 1);
    assert_non_null(primary.status.replication_json);
    assert_non_null(strstr(primary.replication_json, "\"state\":\"streaming\""));
}

static bool is_streaming_on_2(struct pg_node *n)
{
    return is_streaming(n) && n->pm.facts.timeline == 2;
}

static void on_follow(struct postmaster *pm, enum postmaster_follow answer)
{
    struct pg_node *n = pm->data;

    n->follows++;
    n->follow = answer;
}

static unsigned follows_wanted;

static bool has_follow(struct pg_node *n)
{
    return n->follows >= follows_wanted;
}

static enum postmaster_follow ask_follow(struct pg_node *n, const struct postmaster_node *node)
{
    follows_wanted = n->follows + 1;
    postmaster_check_follow(&n->pm, node, on_follow);
    assert_int_equal(n->follows + 1, follows_wanted);
    pg_until(has_follow, n, "follow");
    return n->follow;
}

static void test_check_follow__knows_what_changed(void **state)
{
    struct postmaster_node node;
    enum postmaster_follow reload;

    NEED_POSTGRES();
    node = node_of(&primary);
    reload = standby.pm.facts.major_version >= 130000 ? PM_FOLLOW_RELOAD : PM_FOLLOW_RESTART;
    assert_int_equal(ask_follow(&standby, &node), PM_FOLLOW_OK);
    assert_int_equal(ask_follow(&standby, &(struct postmaster_node){ 0 }), reload);
    (void)snprintf(node.conn_url, sizeof(node.conn_url), "postgres://127.0.0.1:1/postgres");
    assert_int_equal(ask_follow(&standby, &node), reload);
}

static void append(const struct pg_node *n, const char *name, const char *text)
{
    char path[300];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", n->data_dir, name);
    assert_true((file = fopen(path, "a")) != NULL);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static struct postmaster_node upstream;

static bool is_to_reload(struct pg_node *n)
{
    pg_look(n);
    return ask_follow(n, &upstream) == PM_FOLLOW_RELOAD;
}

static bool is_configured(struct pg_node *n)
{
    return !n->pm.impl->reconf.active;
}

/* A comparison is spared as long as nothing has changed, whoever might have changed it. */
static void test_check_follow__sees_what_others_change(void **state)
{
    const struct pm_follow *follow = &standby.pm.impl->follow;
    char path[300], extra[512];
    struct pgv_error err;

    NEED_POSTGRES();
    if (standby.pm.facts.major_version < 130000) /* the file is another one; a change restarts */
        skip();
    upstream = node_of(&primary);
    (void)snprintf(path, sizeof(path), "%s/standby.signal", standby.data_dir);
    for (unsigned i = 0; i < 2; i++) {
        look_after(&standby, SETTLED_MS);
        assert_int_equal(ask_follow(&standby, &upstream), PM_FOLLOW_OK);
        assert_true(follow->agreed);
        assert_int_equal(ask_follow(&standby, &upstream), PM_FOLLOW_OK);
        assert_int_equal(unlink(path), 0);
        look_after(&standby, i ? SETTLED_MS : 0);
        assert_int_equal(ask_follow(&standby, &upstream), PM_FOLLOW_RESTART);
        append(&standby, "standby.signal", "");
        pg_look(&standby);
        assert_int_equal(ask_follow(&standby, &upstream), PM_FOLLOW_OK);
        assert_false(follow->agreed); /* it may go again, unseen */
        assert_int_equal(unlink(path), 0);
        pg_look(&standby);
        assert_int_equal(ask_follow(&standby, &upstream), PM_FOLLOW_RESTART);
        append(&standby, "standby.signal", "");
    }

    look_after(&standby, SETTLED_MS);
    assert_int_equal(ask_follow(&standby, &upstream), PM_FOLLOW_OK);
    assert_true(follow->agreed);
    append(&standby, "postgresql.conf", "\nprimary_slot_name = 'another'\n");
    assert_int_equal(kill(standby.pm.facts.pid, SIGHUP), 0);
    pg_until(is_to_reload, &standby, "the other slot");
    assert_int_equal(pg_job(&standby, &(struct postmaster_job_args){ .job = PM_JOB_FOLLOW,
                                                                     .role = PGV_ROLE_REPLICA,
                                                                     .node = upstream }),
                     PM_DONE);
    pg_until(is_streaming, &standby, "streaming");

    look_after(&standby, SETTLED_MS);
    assert_int_equal(ask_follow(&standby, &upstream), PM_FOLLOW_OK);
    assert_true(follow->agreed);
    (void)snprintf(extra, sizeof(extra),
                   "use_slots: false\nparameters: {unix_socket_directories: %s,"
                   " shared_buffers: 16MB, max_connections: 30}\n",
                   pg_site_dir());
    pg_node_configure(&standby, extra);
    if (!postmaster_reconfigure(&standby.pm, &standby.config, false, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(ask_follow(&standby, &upstream), PM_FOLLOW_RELOAD);
    pg_until(is_configured, &standby, "the new configuration");
    pg_node_configure(&standby, NULL);
    if (!postmaster_reconfigure(&standby.pm, &standby.config, false, &err))
        fail_msg("%s", err.msg);
    pg_until(is_configured, &standby, "the old configuration");
    assert_int_equal(ask_follow(&standby, &upstream), PM_FOLLOW_OK);
}

static void test_follow__nobody_and_back_again(void **state)
{
    struct postmaster_job_args args = { .job = PM_JOB_FOLLOW, .role = PGV_ROLE_REPLICA };
    struct postmaster_node node;

    NEED_POSTGRES();
    node = node_of(&primary);
    standby.callbacks[0] = '\0';
    assert_int_equal(pg_job(&standby, &args), PM_DONE);
    assert_int_equal(ask_follow(&standby, &node), standby.pm.facts.major_version >= 130000
                                                      ? PM_FOLLOW_RELOAD
                                                      : PM_FOLLOW_RESTART);
    args.node = node;
    assert_int_equal(pg_job(&standby, &args), PM_DONE);
    pg_until(is_streaming, &standby, "streaming");
    assert_int_equal(ask_follow(&standby, &node), PM_FOLLOW_OK);
    assert_int_equal(standby.pm.facts.role, PGV_ROLE_REPLICA);
}

static void test_restart__keeps_a_standby_one(void **state)
{
    NEED_POSTGRES();
    standby.callbacks[0] = '\0';
    assert_int_equal(pg_job(&standby, &(struct postmaster_job_args){ .job = PM_JOB_RESTART }),
                     PM_DONE);
    assert_string_equal(standby.callbacks, "on_restart:replica");
    pg_until(is_streaming, &standby, "streaming");
    assert_int_equal(standby.pm.facts.role, PGV_ROLE_REPLICA);
}

/* Who asked a server to promote asked a process: started again it is what its directory says. The
 * owner would wait for ever for a promotion that nobody is about. */
static void test_restart__forgets_a_promotion(void **state)
{
    NEED_POSTGRES();
    standby.pm.facts.role = PGV_ROLE_PROMOTED;
    assert_int_equal(pg_job(&standby, &(struct postmaster_job_args){ .job = PM_JOB_RESTART }),
                     PM_DONE);
    assert_int_equal(standby.pm.facts.role, PGV_ROLE_REPLICA);
    pg_until(is_streaming, &standby, "streaming");
}

/* An agent that is started anew finds the standby running and must not make it forget its source.
 */
static void test_attach__a_standby_keeps_its_source(void **state)
{
    struct postmaster_node node;

    NEED_POSTGRES();
    node = node_of(&primary);
    pg_node_close(&standby);
    standby.callbacks[0] = '\0';
    pg_node_open(&standby);
    pg_until(is_running, &standby, "running");
    assert_int_equal(standby.pm.facts.role, PGV_ROLE_REPLICA);
    pg_look(&standby);
    reconfigure(&standby, "shared_buffers: 16MB, max_connections: 30, work_mem: 3MB");
    pg_until(heard_reload, &standby, "reload");
    pg_until(is_streaming, &standby, "streaming");
    assert_int_equal(ask_follow(&standby, &node), PM_FOLLOW_OK);
}

/* ---- stop, promote ---- */

static void test_stop__reports_the_shutdown_checkpoint(void **state)
{
    struct postmaster_facts *f = &primary.pm.facts;
    struct postmaster_job_args args = { .job = PM_JOB_STOP,
                                        .mode = PM_STOP_FAST,
                                        .checkpoint_first = true,
                                        .demote = true,
                                        .report_shutdown_checkpoint = true };
    uint64_t since = pgv_clock_ms();

    NEED_POSTGRES();
    primary.callbacks[0] = '\0';
    primary.checkpoint_seen = false;
    assert_int_equal(pg_job(&primary, &args), PM_DONE);
    print_message("fast stop took %u ms\n", (unsigned)(pgv_clock_ms() - since));
    assert_int_equal(f->state, PGV_STATE_STOPPED);
    assert_int_equal(f->role, PGV_ROLE_DEMOTED);
    assert_false(f->alive);
    assert_int_equal(f->control_state, PM_CONTROL_SHUT_DOWN);
    /* what was stopped; demoted already when the owner heard of the shutdown checkpoint */
    assert_string_equal(primary.callbacks,
                        primary.checkpoint_seen ? "on_stop:demoted" : "on_stop:primary");
    if (primary.checkpoint_seen) { /* the server may be too quick for it */
        assert_true(primary.checkpoint_lsn == f->control_checkpoint);
        assert_true(primary.prev_lsn <= primary.checkpoint_lsn && primary.prev_lsn > 0);
    }
    /* once more: nothing to do, nothing to call back */
    primary.callbacks[0] = '\0';
    assert_int_equal(pg_job(&primary, &args), PM_DONE);
    assert_string_equal(primary.callbacks, "");
    ask_status(&primary, 1);
    assert_false(primary.status.ok);
}

static void test_promote__becomes_primary(void **state)
{
    struct postmaster_facts *f = &standby.pm.facts;
    uint64_t since = pgv_clock_ms();
    int64_t wall;
    struct pgv_arena a;
    struct pgv_value *history;
    char text[256];

    NEED_POSTGRES();
    standby.callbacks[0] = '\0';
    assert_int_equal(pg_job(&standby, &(struct postmaster_job_args){ .job = PM_JOB_PROMOTE,
                                                                     .timeout_ms = 20000 }),
                     PM_DONE);
    print_message("promote took %u ms\n", (unsigned)(pgv_clock_ms() - since));
    assert_int_equal(f->role, PGV_ROLE_PRIMARY);
    assert_false(f->in_recovery);
    assert_int_equal(f->timeline, 2);
    assert_string_equal(standby.callbacks, "on_role_change:promoted");
    pg_sql(&standby, "INSERT INTO t VALUES (4); SELECT count(*) FROM t", text);
    assert_string_equal(text, "4");
    pgv_arena_init(&a, 65536);
    history = postmaster_history(&standby.pm, &a, 2, &wall);
    assert_non_null(history);
    assert_int_equal(history->u.c.n, 1);
    assert_true(wall > 0);
    assert_null(postmaster_history(&standby.pm, &a, 1, &wall));
    pgv_arena_done(&a);
}

static void test_divergence__of_the_old_primary(void **state)
{
    struct postmaster_job_args args = { .job = PM_JOB_CHECK_DIVERGENCE };

    NEED_POSTGRES();
    args.node = node_of(&standby);
    sync_slot(&standby, "one");
    /* it ended cleanly before the promotion: it may simply follow */
    assert_int_equal(pg_job(&primary, &args), PM_NO);
    assert_int_equal(pg_job(&primary, &(struct postmaster_job_args){ .job = PM_JOB_START,
                                                                     .role = PGV_ROLE_REPLICA,
                                                                     .node = node_of(&standby) }),
                     PM_DONE);
    assert_int_equal(primary.pm.facts.role, PGV_ROLE_REPLICA);
    pg_until(is_streaming_on_2, &primary, "streaming");
}

static void test_pre_promote__says_no(void **state)
{
    NEED_POSTGRES();
    pg_node_configure(&primary, "pre_promote: /bin/false");
    {
        struct pgv_error err;

        assert_true(postmaster_reconfigure(&primary.pm, &primary.config, false, &err));
    }
    assert_int_equal(pg_job(&primary, &(struct postmaster_job_args){ .job = PM_JOB_PROMOTE,
                                                                     .timeout_ms = 5000 }),
                     PM_FAILED);
    assert_int_equal(primary.pm.facts.role, PGV_ROLE_REPLICA);
    pg_look(&primary);
    assert_true(primary.pm.facts.in_recovery);
}

/* ---- fencing ---- */

static unsigned ends_wanted;

static bool has_ended(struct pg_node *n)
{
    return n->ends >= ends_wanted;
}

static void test_stop__goes_before_a_start(void **state)
{
    struct postmaster_job_args stop = { .job = PM_JOB_STOP, .mode = PM_STOP_IMMEDIATE };
    struct pgv_error err;

    NEED_POSTGRES();
    assert_int_equal(pg_job(&primary, &stop), PM_DONE);
    /* canceled at every stage of a start, from before it has begun until it is accepting */
    for (unsigned turns = 0; turns < 60; turns = turns * 2 + 1) {
        primary.ended[0] = '\0';
        ends_wanted = primary.ends + 2;
        assert_true(postmaster_job_start(&primary.pm,
                                         &(struct postmaster_job_args){ .job = PM_JOB_START,
                                                                        .role = PGV_ROLE_REPLICA,
                                                                        .node = node_of(&standby) },
                                         &err));
        for (unsigned i = 0; i < turns && primary.ends + 2 == ends_wanted; i++)
            (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
        assert_true(postmaster_job_start(&primary.pm, &stop, &err));
        pg_until(has_ended, &primary, "both ends");
        if (strcmp(primary.ended, "start:canceled stop:done") != 0)
            assert_string_equal(primary.ended, "start:done stop:done");
        assert_false(primary.pm.facts.alive);
        assert_int_equal(primary.pm.facts.state, PGV_STATE_STOPPED);
        assert_int_equal(primary.pm.job, PM_JOB_NONE);
    }
}

static void test_stop__twice_at_once_during_a_start(void **state)
{
    struct postmaster_job_args stop = { .job = PM_JOB_STOP, .mode = PM_STOP_FAST };
    struct postmaster_job_args start = { .job = PM_JOB_START,
                                         .role = PGV_ROLE_REPLICA,
                                         .node = node_of(&standby) };
    struct pgv_error err;

    NEED_POSTGRES();
    for (unsigned turns = 0; turns < 30; turns = turns * 2 + 1) {
        primary.ended[0] = '\0';
        ends_wanted = primary.ends + 3;
        assert_true(postmaster_job_start(&primary.pm, &start, &err));
        for (unsigned i = 0; i < turns && primary.ends + 3 == ends_wanted; i++)
            (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
        stop.mode = PM_STOP_FAST;
        assert_true(postmaster_job_start(&primary.pm, &stop, &err));
        stop.mode = PM_STOP_IMMEDIATE;
        assert_true(postmaster_job_start(&primary.pm, &stop, &err));
        pg_until(has_ended, &primary, "three ends");
        assert_non_null(strstr(primary.ended, "start:"));
        assert_non_null(strstr(primary.ended, "stop:canceled"));
        assert_non_null(strstr(primary.ended, "stop:done"));
        assert_false(primary.pm.facts.alive);
        assert_int_equal(primary.pm.job, PM_JOB_NONE);
    }
}

static void test_stop__takes_over_a_restart_and_an_earlier_stop(void **state)
{
    struct postmaster_job_args stop = { .job = PM_JOB_STOP, .mode = PM_STOP_SMART };
    struct pgv_error err;

    NEED_POSTGRES();
    /* a client keeps a smart stop waiting: our own restapi connection is none, psql would be */
    standby.ended[0] = '\0';
    ends_wanted = standby.ends + 3;
    assert_true(postmaster_job_start(&standby.pm,
                                     &(struct postmaster_job_args){ .job = PM_JOB_RESTART }, &err));
    (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
    assert_true(postmaster_job_start(&standby.pm, &stop, &err));
    stop.mode = PM_STOP_IMMEDIATE;
    assert_true(postmaster_job_start(&standby.pm, &stop, &err));
    pg_until(has_ended, &standby, "all ends");
    assert_non_null(strstr(standby.ended, "restart:canceled"));
    assert_non_null(strstr(standby.ended, "stop:canceled"));
    assert_non_null(strstr(standby.ended, "stop:done"));
    assert_false(standby.pm.facts.alive);
    assert_int_equal(standby.pm.facts.state, PGV_STATE_STOPPED);
    assert_int_equal(pg_job(&standby, &start_primary), PM_DONE);
}

static void test_stop__a_frozen_postmaster_does_not_outlive_the_lease(void **state)
{
    struct postmaster_job_args stop = { .job = PM_JOB_STOP, .mode = PM_STOP_FAST, .demote = true };
    uint64_t since = pgv_clock_ms();

    NEED_POSTGRES();
    assert_int_equal(kill(standby.pm.facts.pid, SIGSTOP), 0);
    stop.immediate_at_ms = since + 300;
    assert_int_equal(pg_job(&standby, &stop), PM_DONE);
    print_message("frozen postmaster was gone after %u ms\n", (unsigned)(pgv_clock_ms() - since));
    assert_true(pgv_clock_ms() - since < 5000);
    assert_int_equal(standby.pm.facts.role, PGV_ROLE_DEMOTED);
    assert_int_equal(pg_job(&standby, &start_primary), PM_DONE);
}

/* ---- without memory ---- */

static void test_memory__a_failed_allocation_fails_one_thing_only(void **state)
{
    struct postmaster_job_args stop = { .job = PM_JOB_STOP, .mode = PM_STOP_FAST };

    NEED_POSTGRES();
    for (unsigned long nth = 1; nth < 60; nth++) { /* looks, status and comparison go on */
        pgv_alloc_fail_at(nth, false);
        pg_look(&standby);
        ask_status(&standby, 1);
        (void)ask_follow(&standby, &(struct postmaster_node){ 0 });
        pgv_alloc_fail_at(0, false);
        assert_true(standby.pm.facts.alive);
    }
    pg_look(&standby);
    assert_true(standby.pm.facts.look_ok);
    /* fencing allocates nothing that it needs: every allocation fails from the signal on */
    pgv_alloc_fail_at(1, true);
    assert_int_equal(pg_job(&standby, &stop), PM_DONE);
    pgv_alloc_fail_at(0, false);
    assert_false(standby.pm.facts.alive);
    for (unsigned long nth = 1; nth < 600; nth = nth * 3 / 2 + 1) {
        enum postmaster_outcome how;

        pgv_alloc_fail_at(nth, false);
        how = pg_job(&standby, &start_primary);
        pgv_alloc_fail_at(0, false);
        assert_true(how == PM_DONE || how == PM_FAILED);
        assert_int_equal(how == PM_DONE, standby.pm.facts.state == PGV_STATE_RUNNING);
        assert_int_equal(pg_job(&standby, &stop), PM_DONE);
    }
    pgv_alloc_fail_at(1, true);
    assert_int_equal(pg_job(&standby, &start_primary), PM_FAILED);
    pgv_alloc_fail_at(0, false);
    assert_int_equal(pg_job(&standby, &start_primary), PM_DONE);
}

static void test_open__fails_for_want_of_memory(void **state)
{
    struct pgv_error err;
    bool ok = false;

    NEED_POSTGRES();
    for (unsigned long nth = 1; !ok; nth++) {
        size_t blocks = pgv_alloc_blocks_in_use();

        unused.pm = (struct postmaster){ .data = &unused };
        pgv_alloc_fail_at(nth, false);
        /* another directory: the running one must not be attached twice */
        ok = postmaster_open(&unused.pm, pg_site_loop(), &unused.config, &err);
        pgv_alloc_fail_at(0, false);
        if (!ok) {
            assert_int_equal(err.code, PGV_ENOMEM);
            assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
            assert_true(nth < 200);
        }
    }
    unused.open = true;
    pg_node_close(&unused);
}

static void test_start__fails_on_bad_settings(void **state)
{
    struct postmaster_job_args stop = { .job = PM_JOB_STOP };
    char path[300];
    FILE *f;

    NEED_POSTGRES();
    assert_int_equal(pg_job(&standby, &stop), PM_DONE);
    (void)snprintf(path, sizeof(path), "%s/postgresql.base.conf", standby.data_dir);
    f = fopen(path, "a");
    assert_non_null(f);
    assert_true(fputs("no_such_parameter = 1\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(pg_job(&standby, &start_primary), PM_FAILED);
    assert_int_equal(standby.pm.facts.state, PGV_STATE_START_FAILED);
    assert_false(standby.pm.facts.alive);
}

static void test_remove__leaves_an_empty_directory(void **state)
{
    NEED_POSTGRES();
    assert_int_equal(pg_job(&standby, &(struct postmaster_job_args){ .job = PM_JOB_REMOVE_DATA }),
                     PM_DONE);
    assert_int_equal(standby.pm.facts.dir, PM_DIR_EMPTY);
    assert_int_equal(standby.pm.facts.role, PGV_ROLE_UNINITIALIZED);
    assert_string_equal(standby.pm.facts.sysid, "");
    assert_int_equal(pg_job(&standby, &start_primary), PM_UNKNOWN);
}

static int setup(void **state)
{
    (void)state;
    have_postgres = pg_site_open();
    if (!have_postgres) {
        print_message("no PostgreSQL here: skipping\n");
        return 0;
    }
    pg_node_init(&primary, "one", NULL);
    pg_node_init(&standby, "two", NULL);
    pg_node_init(&unused, "none", NULL);
    pg_initdb(&primary);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (have_postgres) {
        pg_node_done(&standby);
        pg_node_done(&primary);
        pg_node_done(&unused);
        pg_site_close();
        assert_int_equal(pgv_alloc_blocks_in_use(), 0);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open__reads_a_stopped_directory),
        cmocka_unit_test(test_start__waits_until_it_accepts),
        cmocka_unit_test(test_start__refuses_a_second_job),
        cmocka_unit_test(test_status__a_burst_costs_one_query),
        cmocka_unit_test(test_status__under_steady_load_nobody_waits),
        cmocka_unit_test(test_look__sees_a_primary),
        cmocka_unit_test(test_look__sees_what_comes_and_goes_in_the_directory),
        cmocka_unit_test(test_look__survives_a_killed_backend),
        cmocka_unit_test(test_kill__is_known_at_once_and_restarts_fast),
        cmocka_unit_test(test_kill__a_busy_backend_does_not_hold_it_up),
        cmocka_unit_test(test_kill__leaves_no_backend_behind),
        cmocka_unit_test(test_start__leaves_the_backends_of_a_living_postmaster_alone),
        cmocka_unit_test(test_close__leaves_the_server_and_attaches_again),
        cmocka_unit_test(test_restart__takes_effect),
        cmocka_unit_test(test_reconfigure__reloads_and_knows_what_waits),
        cmocka_unit_test(test_reconfigure__bad_settings_leave_the_old),
        cmocka_unit_test(test_checkpoint__tells),
        cmocka_unit_test(test_standby__is_cloned_and_streams),
        cmocka_unit_test(test_check_follow__knows_what_changed),
        cmocka_unit_test(test_check_follow__sees_what_others_change),
        cmocka_unit_test(test_follow__nobody_and_back_again),
        cmocka_unit_test(test_restart__keeps_a_standby_one),
        cmocka_unit_test(test_restart__forgets_a_promotion),
        cmocka_unit_test(test_attach__a_standby_keeps_its_source),
        cmocka_unit_test(test_stop__reports_the_shutdown_checkpoint),
        cmocka_unit_test(test_promote__becomes_primary),
        cmocka_unit_test(test_divergence__of_the_old_primary),
        cmocka_unit_test(test_pre_promote__says_no),
        cmocka_unit_test(test_stop__goes_before_a_start),
        cmocka_unit_test(test_stop__twice_at_once_during_a_start),
        cmocka_unit_test(test_stop__takes_over_a_restart_and_an_earlier_stop),
        cmocka_unit_test(test_stop__a_frozen_postmaster_does_not_outlive_the_lease),
        cmocka_unit_test(test_memory__a_failed_allocation_fails_one_thing_only),
        cmocka_unit_test(test_open__fails_for_want_of_memory),
        cmocka_unit_test(test_start__fails_on_bad_settings),
        cmocka_unit_test(test_remove__leaves_an_empty_directory),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
