/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/promote.c - a standby becomes the primary: hook, promotion, wait until it is in production.
 *
 * What 'pg_ctl promote' does is a file named 'promote' in the data directory and SIGUSR1 to the
 * postmaster (source: PostgreSQL, src/bin/pg_ctl/pg_ctl.c, do_promote(); so since 9.3). The control
 * file is glanced at, and once it says 'in production' the server is asked itself.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/banned.h"

#define GLANCE_MS 5
/**
 * A startup process that has just lost its source sleeps for wal_retrieve_retry_interval (5 s)
 * even when it has seen the request; a reload wakes it, so it is nudged after this long, and again
 * after four times as long. Source: PostgreSQL, xlogrecovery.c, WaitForWALToBecomeAvailable() and
 * StartupProcSigHupHandler().
 */
#define NUDGE_MS 40
#define NUDGES_MAX 4
/** Without the control file's word the server is asked this often. */
#define ASK_MS 100
#define QUERY_MS 2500
#define HOOK_MS_MAX (3600ull * 1000)
#define CANCEL_MS 1000

bool pm_run_hook(struct postmaster_impl *im, struct pgv_child *c, const char *command,
                 uint64_t timeout_ms, pgv_child_cb cb, struct pgv_error *err)
{
    struct pgv_child_options o = { .inherit_output = true, .timeout_ms = timeout_ms };
    struct pgv_arena arena;
    struct pgtool_args *args;
    bool ok = false;

    pgv_arena_init(&arena, PM_ARENA_BYTES_MAX);
    args = pgv_arena_alloc(&arena, sizeof(*args));
    if (!args) {
        (void)pgv_fail(err, PGV_ENOMEM, "no room for the command");
        goto out;
    }
    pgtool_args_init(args, &arena);
    if (!pgtool_args_split(args, command, err))
        goto out;
    if (args->failed || args->n == 0) {
        (void)pgv_fail(err, PGV_EINVALID, "the command is empty or too long");
        goto out;
    }
    o.argv = args->v;
    ok = pgv_child_start(im->loop, c, &o, cb, err);
out:
    pgv_arena_done(&arena);
    return ok;
}

static void finish(struct postmaster_impl *im, enum postmaster_outcome outcome, const char *message)
{
    im->promote.active = false;
    pm_disarm(im, PM_TIMER_PROMOTE);
    pm_promote_ended(im, im->promote.canceled ? PM_CANCELED : outcome, message);
}

/* ---- wait until it is in production ---- */

static void tick(struct postmaster_impl *im);

static void on_row(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    struct pm_promote *p = &im->promote;

    p->asking = false;
    if (p->canceled) {
        finish(im, PM_CANCELED, "canceled");
        return;
    }
    /* The look turns the role into primary when the server says so. */
    if (!err && im->pm->facts.alive && pm_look_take(im, res) && !im->pm->facts.in_recovery) {
        finish(im, PM_DONE, "promoted");
        return;
    }
    pm_arm(im, PM_TIMER_PROMOTE, GLANCE_MS, tick);
}

static void tick(struct postmaster_impl *im)
{
    struct pm_promote *p = &im->promote;
    uint64_t now = pgv_clock_ms();

    if (!im->pm->facts.alive) {
        finish(im, PM_FAILED, "the server ended while it was promoted");
        return;
    }
    if (now >= p->deadline_ms) {
        finish(im, PM_UNKNOWN, "promotion is asked for, but not seen in production yet");
        return;
    }
    if (p->nudges < NUDGES_MAX && now >= p->signal_ms + ((uint64_t)NUDGE_MS << (2 * p->nudges))) {
        p->nudges++;
        (void)pm_server_signal(im, SIGHUP);
    }
    if (pm_control_hint(im) != PM_CONTROL_IN_PRODUCTION && now < p->asked_ms + ASK_MS) {
        pm_arm(im, PM_TIMER_PROMOTE, GLANCE_MS, tick);
        return;
    }
    p->asking = true;
    p->asked_ms = now;
    p->query.data = im;
    p->query.sql = pm_look_sql(im);
    p->query.deadline_ms = now + QUERY_MS;
    pgsql_submit(&im->conn.heartbeat, &p->query, on_row);
}

/* ---- the deed ---- */

static bool write_signal_file(struct postmaster_impl *im, struct pgv_error *err)
{
    char path[PGCONF_PATH_BYTES + 32];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/promote", im->conf->data_dir);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
              pgfiles_mode(im->conf->data_dir, false));
    if (fd < 0 || close(fd) != 0)
        return pgv_fail_sys(err, errno, "cannot write '%s'", path);
    if (!pm_server_signal(im, SIGUSR1)) {
        (void)unlink(path);
        return pgv_fail(err, PGV_ESYS, "the postmaster cannot be signalled");
    }
    return true;
}

static void promote(struct postmaster_impl *im)
{
    struct pm_promote *p = &im->promote;
    struct pgv_error err = { 0 };

    if (p->canceled) {
        finish(im, PM_CANCELED, "canceled");
        return;
    }
    if (!im->pm->facts.alive) {
        finish(im, PM_FAILED, "the server is not running");
        return;
    }
    if (!write_signal_file(im, &err)) {
        finish(im, PM_FAILED, err.msg);
        return;
    }
    p->signalled = true;
    p->signal_ms = pgv_clock_ms();
    pm_set_role(im, PGV_ROLE_PROMOTED);
    pm_callback(im, "on_role_change");
    pm_arm(im, PM_TIMER_PROMOTE, GLANCE_MS, tick);
}

static void on_script(struct pgv_child *c, int status)
{
    struct postmaster_impl *im = c->data;
    char how[80], message[160];
    bool ok = pgtool_ok(status);

    im->promote.scripting = false;
    pgv_child_done(c);
    if (ok || im->promote.canceled) {
        promote(im);
        return;
    }
    pgv_child_describe(status, how, sizeof(how));
    (void)snprintf(message, sizeof(message), "pre_promote script failed: %s", how);
    finish(im, PM_FAILED, message);
}

static void begin(struct postmaster_impl *im)
{
    struct pm_promote *p = &im->promote;
    struct postmaster_facts *f = &im->pm->facts;
    struct pgv_error err = { 0 };

    if (f->role == PGV_ROLE_PRIMARY && f->alive && f->look_ok && !f->in_recovery) {
        finish(im, PM_DONE, "it is the primary already");
        return;
    }
    if (f->role == PGV_ROLE_PROMOTED && f->alive) {
        /* Asked for before; a server that was initialized anew since, after a crash of one of its
         * processes, does not know of it. */
        if (f->look_ok && f->in_recovery && !write_signal_file(im, &err)) {
            finish(im, PM_UNKNOWN, err.msg);
            return;
        }
        p->signalled = true;
        p->signal_ms = pgv_clock_ms();
        tick(im);
        return;
    }
    if (!im->conf->pre_promote) {
        promote(im);
        return;
    }
    p->script.data = im;
    if (!pm_run_hook(im, &p->script, im->conf->pre_promote, HOOK_MS_MAX, on_script, &err)) {
        finish(im, PM_FAILED, err.msg); /* contract ha §25: not startable cancels the promotion */
        return;
    }
    p->scripting = true;
}

void pm_promote_begin(struct postmaster_impl *im, uint64_t timeout_ms)
{
    struct pm_promote *p = &im->promote;

    *p = (struct pm_promote){ .active = true };
    p->deadline_ms = pgv_clock_ms() + (timeout_ms ? timeout_ms : im->loop_wait_ms);
    pm_arm(im, PM_TIMER_PROMOTE, 0, begin);
}

/* Before the signal nothing has happened; after it the promotion goes on, only nobody waits. */
void pm_promote_cancel(struct postmaster_impl *im)
{
    struct pm_promote *p = &im->promote;

    if (!p->active || p->canceled)
        return;
    p->canceled = true;
    if (p->scripting)
        pgv_child_cancel(&p->script, CANCEL_MS);
    else if (p->asking)
        pgsql_cancel(&im->conn.heartbeat, &p->query);
    else
        pm_arm(im, PM_TIMER_PROMOTE, 0, promote);
}
