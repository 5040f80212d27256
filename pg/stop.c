/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/stop.c - stopping the server: checkpoint, hook, signal, escalation. Contract pg §6.
 *
 * An immediate stop is fencing: the signal goes out inside the call that asks for it, the hook
 * runs beside it and nothing is waited for. Whatever a fast stop still waits for before its signal
 * (CHECKPOINT, hook) ends when its time is up or when it is turned into an immediate one.
 *
 * Escalation: the stop's own timeout or the moment immediate_at_ms turns a stop into SIGQUIT, and
 * when that has had its time too, the postmaster is frozen and killed with all its descendants.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <signal.h>
#include <stdio.h>

#include "base/banned.h"

/** While the shutdown checkpoint is awaited the control file is glanced at this often. */
#define GLANCE_MS 5
#define TICK_MS 100
/** PostgreSQL itself kills children that ignore SIGQUIT after 5 s (SIGKILL_CHILDREN_AFTER_SECS);
 *  a postmaster that is still there after this long does not act any more. */
#define QUIT_MS 10000
/** Against the end of a lease there is no such patience. */
#define FENCE_MS 700
/** The hook's limit when the stop has none. */
#define HOOK_MS_MAX (3600ull * 1000)
#define CHECKPOINT_MS_MAX (24ull * 3600 * 1000)
#define CANCEL_MS 1000

static void go_on(struct postmaster_impl *im);
static void tick(struct postmaster_impl *im);

static int signal_of(enum postmaster_stop_mode mode)
{
    switch (mode) {
    case PM_STOP_SMART:
        return SIGTERM;
    case PM_STOP_FAST:
        return SIGINT;
    case PM_STOP_IMMEDIATE:
        return SIGQUIT;
    }
    return SIGINT;
}

/* ---- the end ---- */

static void finish(struct postmaster_impl *im)
{
    struct pm_stop *s = &im->stop;

    s->active = false;
    pm_disarm(im, PM_TIMER_STOP);
    if (s->done)
        s->done(im, s->ok);
}

/* The hook's process and the WAL dump must be over before what they live in is used again. */
static void finish_if_done(struct postmaster_impl *im)
{
    struct pm_stop *s = &im->stop;

    if (!s->ending || s->scripting || s->waling || s->checkpointing)
        return;
    /* The owner shall find the control file's last word in the facts. */
    if (s->ok && !pm_control_ready(im, finish_if_done))
        return;
    if (s->active)
        finish(im);
}

static void demote_role(struct postmaster_impl *im)
{
    enum pgv_role role = im->pm->facts.role;

    if (im->stop.args.demote && (role == PGV_ROLE_PRIMARY || role == PGV_ROLE_PROMOTED))
        pm_set_role(im, PGV_ROLE_DEMOTED);
}

static void cancel_waling(struct postmaster_impl *im)
{
    if (im->stop.seen)
        pgwal_query_cancel(&im->stop.wal);
    else
        pgtool_cancel(&im->stop.control);
}

static void end(struct postmaster_impl *im, bool ok, const char *message)
{
    struct pm_stop *s = &im->stop;

    if (s->ending)
        return;
    s->ending = true;
    s->ok = ok;
    pgv_copy_cut(s->message, sizeof(s->message), pgv_str(message));
    if (ok) {
        if (!s->blocked) {
            pm_set_state(im, PGV_STATE_STOPPED);
            if (s->signalled)
                pm_callback(im, "on_stop");
        }
        demote_role(im); /* after the callback, which tells what was stopped */
    } else {
        pgv_log(PGV_WARNING, "pg", "pg_ctl stop failed: %s", message);
        pm_set_state(im, PGV_STATE_STOP_FAILED);
    }
    if (s->checkpointing)
        pgsql_cancel(&im->conn.checkpoint, &s->query);
    if (s->scripting)
        pgv_child_cancel(&s->script, CANCEL_MS);
    if (s->waling)
        cancel_waling(im);
    finish_if_done(im);
}

void pm_stop_server_gone(struct postmaster_impl *im)
{
    end(im, true, im->stop.killed ? "killed" : "stopped");
}

/* ---- the shutdown checkpoint, while the wal senders are still served (contract pg §9.3) ---- */

static void report(struct postmaster_impl *im, uint64_t lsn, uint64_t prev)
{
    struct pm_stop *s = &im->stop;

    if (s->reported || s->ending)
        return;
    s->reported = true;
    demote_role(im);
    if (im->stop_job)
        pgv_copy_cut(im->pm->job_step, sizeof(im->pm->job_step),
                     PGV_STR("shutdown checkpoint written"));
    pgv_log(PGV_INFO, "pg", "the shutdown checkpoint is written");
    pm_event_shutdown_checkpoint(im, lsn, prev);
}

static void on_wal(struct pgwal_query *q, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;

    im->stop.waling = false;
    if (err && !im->stop.ending)
        pgv_log(PGV_WARNING, "pg", "cannot read the record before the shutdown checkpoint: %s",
                err->msg);
    report(im, q->lsn, q->prev_lsn);
    finish_if_done(im);
}

static void on_control(struct pgtool *t, int status)
{
    struct postmaster_impl *im = t->data;
    struct pm_stop *s = &im->stop;
    struct pm_control c;
    struct pgv_error err = { 0 };
    bool ok = pgtool_ok(status) && pm_control_parse(pgv_buf_view(&t->child.out), &c);

    pgtool_done(t);
    s->waling = false;
    if (ok && !s->ending) {
        if (c.state == PM_CONTROL_SHUT_DOWN && c.checkpoint_known) {
            s->wal.data = im;
            s->waling = true;
            s->seen = true;
            if (!pgwal_query_shutdown(&s->wal, im->loop, im->conf, im->pm->facts.major_version,
                                      c.checkpoint_timeline, c.checkpoint, on_wal, &err)) {
                s->waling = false;
                pgv_log(PGV_WARNING, "pg", "cannot read the record before the checkpoint: %s",
                        err.msg);
                report(im, c.checkpoint, c.checkpoint);
            }
        } else if (c.state == PM_CONTROL_SHUT_DOWN_IN_RECOVERY) {
            s->seen = true; /* a standby: nothing to report */
        }
    }
    finish_if_done(im);
}

static void watch_checkpoint(struct postmaster_impl *im)
{
    struct pm_stop *s = &im->stop;
    char path[PGCONF_PATH_BYTES];
    const char *argv[] = { path, im->conf->data_dir, NULL };
    struct pgv_error err = { 0 };
    enum postmaster_control_state hint;

    if (!s->args.report_shutdown_checkpoint || !s->served || s->args.mode == PM_STOP_IMMEDIATE ||
        s->seen || s->waling)
        return;
    hint = pm_control_hint(im);
    if (hint != PM_CONTROL_SHUT_DOWN && hint != PM_CONTROL_SHUT_DOWN_IN_RECOVERY)
        return;
    /* The hint is unchecked bytes; pg_controldata verifies the file's version and checksum. */
    s->control.data = im;
    if (pgconf_bin(im->conf, "pg_controldata", path) &&
        pgtool_start(&s->control, im->loop, argv, NULL, QUIT_MS, on_control, &err))
        s->waling = true;
}

/* ---- signal and escalation ---- */

static void send_signal(struct postmaster_impl *im)
{
    struct pm_stop *s = &im->stop;

    if (!pm_server_signal(im, signal_of(s->args.mode))) {
        if (im->pm->facts.alive)
            end(im, false, "the postmaster cannot be signalled");
        else
            end(im, true, "it was not running");
        return;
    }
    s->signalled = true;
    s->signal_ms = pgv_clock_ms();
    if (s->args.mode == PM_STOP_IMMEDIATE)
        s->quit_ms = s->signal_ms;
    /* One that is frozen (SIGSTOP) would never see the signal. */
    (void)pm_server_signal(im, SIGCONT);
    if (s->args.mode == PM_STOP_SMART)
        pm_conn_drop_all(im); /* it waits for its clients, and that is us, too */
    pm_arm(im, PM_TIMER_STOP, GLANCE_MS, tick);
}

static void to_immediate(struct postmaster_impl *im, const char *why)
{
    struct pm_stop *s = &im->stop;

    pgv_log(PGV_WARNING, "pg", "Timeout during postmaster stop, aborting Postgres. %s", why);
    s->args.mode = PM_STOP_IMMEDIATE;
    if (s->checkpointing)
        pgsql_cancel(&im->conn.checkpoint, &s->query);
    send_signal(im);
}

static void tick(struct postmaster_impl *im)
{
    struct pm_stop *s = &im->stop;
    uint64_t now = pgv_clock_ms();
    uint64_t quit_ms = s->args.immediate_at_ms ? FENCE_MS : QUIT_MS;
    uint64_t since = s->signalled ? s->signal_ms : s->begun_ms;
    bool watching;

    if (!s->active || s->ending)
        return;
    if (s->args.stop_timeout_ms && s->args.stop_timeout_ms < quit_ms)
        quit_ms = s->args.stop_timeout_ms;
    if (s->quit_ms) {
        if (now >= s->quit_ms + quit_ms) {
            s->killed = true;
            s->quit_ms = now; /* once more should one have slipped through */
            pm_server_kill_tree(im);
        }
    } else if (s->args.immediate_at_ms && now >= s->args.immediate_at_ms) {
        to_immediate(im, "the lease ends");
        return;
    } else if (s->args.stop_timeout_ms && now >= since + s->args.stop_timeout_ms) {
        to_immediate(im, "it took too long");
        return;
    } else if (s->signalled) {
        watch_checkpoint(im);
    }
    watching = s->signalled && s->args.report_shutdown_checkpoint && !s->seen && !s->quit_ms;
    pm_arm(im, PM_TIMER_STOP, watching ? GLANCE_MS : TICK_MS, tick);
}

/* ---- before the signal ---- */

static void on_script(struct pgv_child *c, int status)
{
    struct postmaster_impl *im = c->data;
    char how[80];

    im->stop.scripting = false;
    if (!pgtool_ok(status)) {
        pgv_child_describe(status, how, sizeof(how));
        pgv_log(PGV_WARNING, "pg", "before_stop script failed: %s", how);
    }
    pgv_child_done(c);
    if (im->stop.ending)
        finish_if_done(im);
    else if (!im->stop.signalled)
        send_signal(im);
}

/* Starts the hook; false when there is none to wait for. */
static bool start_script(struct postmaster_impl *im)
{
    struct pm_stop *s = &im->stop;
    struct pgv_error err = { 0 };

    if (!im->conf->before_stop || s->scripting || s->scripted)
        return false;
    s->scripted = true;
    s->script.data = im;
    if (!pm_run_hook(im, &s->script, im->conf->before_stop,
                     s->args.stop_timeout_ms ? s->args.stop_timeout_ms : HOOK_MS_MAX, on_script,
                     &err)) {
        pgv_log(PGV_WARNING, "pg", "cannot run before_stop: %s", err.msg);
        return false;
    }
    s->scripting = true;
    return true;
}

static void go_on(struct postmaster_impl *im)
{
    struct pm_stop *s = &im->stop;

    if (!s->blocked)
        pm_set_state(im, PGV_STATE_STOPPING);
    if (!start_script(im) && !s->scripting)
        send_signal(im);
}

static void on_checkpoint(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    struct pm_stop *s = &im->stop;

    (void)res;
    s->checkpointing = false;
    if (err && err->code != PGV_ECANCELED)
        pgv_log(PGV_WARNING, "pg", "checkpoint before the stop failed: %s", err->msg);
    pgsql_disconnect(&im->conn.checkpoint);
    if (s->ending)
        finish_if_done(im);
    else if (!s->signalled)
        go_on(im);
}

static void checkpoint(struct postmaster_impl *im)
{
    struct pm_stop *s = &im->stop;

    s->checkpointing = true;
    s->query.data = im;
    s->query.sql = pm_checkpoint_sql(im);
    s->query.deadline_ms =
        pgv_clock_ms() + (s->args.stop_timeout_ms ? s->args.stop_timeout_ms : CHECKPOINT_MS_MAX);
    pgsql_submit(&im->conn.checkpoint, &s->query, on_checkpoint);
}

/* ---- for the jobs ---- */

static void end_not_running(struct postmaster_impl *im)
{
    if (im->stop.active && !im->stop.ending)
        end(im, true, "it was not running");
}

static void refuse_single_user(struct postmaster_impl *im)
{
    if (im->stop.active && !im->stop.ending)
        end(im, false, "a single-user backend has the data directory");
}

void pm_stop_begin(struct postmaster_impl *im, const struct postmaster_job_args *args, bool blocked,
                   void (*done)(struct postmaster_impl *im, bool ok))
{
    struct pm_stop *s = &im->stop;

    PGV_ASSERT(!s->active);
    *s = (struct pm_stop){ .active = true, .blocked = blocked, .args = *args, .done = done };
    s->begun_ms = pgv_clock_ms();
    /* Of one that had not begun to serve the control file may still speak of the shutdown before.
     */
    s->served = im->pm->facts.accepting;
    pm_probe_off(im);
    if (!pm_server_find(im)) {
        if (pm_server_single_user(im)) {
            pm_arm(im, PM_TIMER_STOP, 0, refuse_single_user);
            return;
        }
        pm_arm(im, PM_TIMER_STOP, 0, end_not_running);
        return;
    }
    if (args->mode == PM_STOP_IMMEDIATE) {
        if (!blocked)
            pm_set_state(im, PGV_STATE_STOPPING);
        send_signal(im);
        (void)start_script(im);
        return;
    }
    pm_arm(im, PM_TIMER_STOP, TICK_MS, tick);
    if (args->checkpoint_first && !pm_is_starting(im))
        checkpoint(im);
    else
        go_on(im);
}

static bool harsher(enum postmaster_stop_mode a, enum postmaster_stop_mode b)
{
    return signal_of(a) != signal_of(b) && (a == PM_STOP_IMMEDIATE || b == PM_STOP_SMART);
}

void pm_stop_take(struct postmaster_impl *im, const struct postmaster_job_args *args,
                  void (*done)(struct postmaster_impl *im, bool ok))
{
    struct pm_stop *s = &im->stop;
    enum postmaster_stop_mode was = s->args.mode;

    PGV_ASSERT(s->active);
    s->done = done;
    s->blocked = false;
    s->args = *args;
    if (s->signalled && harsher(was, args->mode))
        s->args.mode = was; /* what has been sent cannot be softened */
    if (s->ending && (s->ok || !im->pm->facts.alive))
        return;        /* it is down, and only its tools are wound up */
    s->ending = false; /* of a stop that was just given up */
    s->begun_ms = pgv_clock_ms();
    pm_set_state(im, PGV_STATE_STOPPING);
    pm_arm(im, PM_TIMER_STOP, TICK_MS, tick);
    if (s->checkpointing && (!args->checkpoint_first || args->mode == PM_STOP_IMMEDIATE))
        pgsql_cancel(&im->conn.checkpoint, &s->query);
    if (s->args.mode == PM_STOP_IMMEDIATE) {
        if (was != PM_STOP_IMMEDIATE || !s->signalled)
            send_signal(im);
        if (!s->ending)
            (void)start_script(im);
    } else if (!s->signalled) {
        if (!s->scripting && !s->checkpointing)
            go_on(im); /* else their end does */
    } else if (harsher(args->mode, was)) {
        send_signal(im);
    }
}

bool pm_stop_cancel(struct postmaster_impl *im)
{
    struct pm_stop *s = &im->stop;

    if (!s->active || s->signalled || s->ending)
        return false;
    s->ending = true;
    s->ok = false;
    pgv_copy_cut(s->message, sizeof(s->message), PGV_STR("canceled"));
    pm_disarm(im, PM_TIMER_STOP);
    if (s->checkpointing)
        pgsql_cancel(&im->conn.checkpoint, &s->query);
    if (s->scripting)
        pgv_child_cancel(&s->script, CANCEL_MS);
    pm_set_state(im, im->pm->facts.accepting ? PGV_STATE_RUNNING : PGV_STATE_STARTING);
    if (!im->pm->facts.accepting)
        pm_probe_on(im);
    pm_arm(im, PM_TIMER_STOP, 0, finish_if_done);
    return true;
}

void pm_stop_detach(struct postmaster_impl *im)
{
    struct pm_stop *s = &im->stop;

    s->done = NULL;
    pm_disarm(im, PM_TIMER_STOP);
    if (!s->ending) {
        s->ending = true;
        s->ok = false;
        if (s->checkpointing)
            pgsql_cancel(&im->conn.checkpoint, &s->query);
        if (s->scripting)
            pgv_child_cancel(&s->script, CANCEL_MS);
        if (s->waling)
            cancel_waling(im);
    }
    pm_arm(im, PM_TIMER_STOP, 0, finish_if_done);
}
