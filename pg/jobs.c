/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/jobs.c - the job runner: one deed at a time, and a STOP that goes before all of them.
 *
 * A job begins from a timer, never inside the owner's call, and ends through job_end(), which the
 * owner hears as an event. A canceled job first winds up what it has running; STOP does not wait
 * for that with its signal, but ends only when it is over, so that the next job finds everything
 * free. The deeds on files and other nodes are in jobs_data.c.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>

#include "base/banned.h"

void pm_job_step(struct postmaster_impl *im, const char *step, int percent)
{
    struct postmaster *pm = im->pm;

    if (pm->job == PM_JOB_STOP)
        return; /* the canceled one has nothing to say any more */
    if (strcmp(pm->job_step, step) == 0 && pm->job_percent == percent)
        return;
    pgv_copy_cut(pm->job_step, sizeof(pm->job_step), pgv_str(step));
    pm->job_percent = percent;
    pm_changed(im);
}

void pm_job_amount(struct postmaster_impl *im, uint64_t bytes, uint64_t total)
{
    if (im->pm->job == PM_JOB_STOP)
        return;
    im->pm->job_bytes = bytes;
    im->pm->job_bytes_total = total;
}

/* ---- ends ---- */

static void stop_job_end(struct postmaster_impl *im)
{
    im->stop_job = im->stop_job_done = false;
    pm_event_job_end(im, PM_JOB_STOP, false, im->stop_job_ok ? PM_DONE : PM_FAILED,
                     im->stop.message);
}

void pm_job_end(struct postmaster_impl *im, enum postmaster_outcome outcome, const char *message)
{
    struct pm_job *j = &im->job;

    PGV_ASSERT(j->active);
    j->active = false;
    pgv_arena_reset(&j->arena);
    if (j->canceled)
        pm_event_job_end(im, j->args.job, im->stop_job, PM_CANCELED, "canceled");
    else
        pm_event_job_end(im, j->args.job, im->stop_job, outcome, message);
    if (im->stop_job_done)
        stop_job_end(im);
}

bool pm_jobs_idle(const struct postmaster_impl *im)
{
    return !im->job.active && !im->stop.active;
}

/* ---- START, RESTART, FOLLOW ---- */

static bool is_change_of_role(const struct postmaster_impl *im, enum pgv_role to)
{
    const struct postmaster_facts *f = &im->pm->facts;

    /* Contract pg §8.3.3. */
    return f->announced && (f->role == PGV_ROLE_PRIMARY || f->role == PGV_ROLE_PROMOTED ||
                            f->role == PGV_ROLE_DEMOTED ||
                            (f->role == PGV_ROLE_REPLICA && to == PGV_ROLE_STANDBY_LEADER) ||
                            (f->role == PGV_ROLE_STANDBY_LEADER && to == PGV_ROLE_REPLICA));
}

static void on_started(struct postmaster_impl *im, enum pm_started how)
{
    struct pm_job *j = &im->job;

    if (j->role_change && how != PM_START_CANCELED)
        pm_callback(im, "on_role_change");
    if (j->restarting && how == PM_START_FAILED)
        pm_set_state(im, PGV_STATE_RESTART_FAILED);
    switch (how) {
    case PM_STARTED:
        pm_job_end(im, PM_DONE, im->start.message);
        break;
    case PM_STILL_STARTING:
        pm_job_end(im, PM_UNKNOWN, im->start.message);
        break;
    case PM_START_FAILED:
        pm_job_end(im, PM_FAILED, im->start.message);
        break;
    case PM_START_CANCELED:
        pm_job_end(im, PM_CANCELED, im->start.message);
        break;
    }
}

static void start(struct postmaster_impl *im, const struct pm_start_args *args)
{
    pm_job_step(im, "starting", -1);
    pm_start_begin(im, args, on_started);
}

static void begin_start(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;
    bool follow = j->args.role != PGV_ROLE_PRIMARY;

    j->role_change = follow && is_change_of_role(im, j->args.role);
    start(im, &(struct pm_start_args){
                  .role = j->args.role,
                  .write_recovery = follow,
                  .node = j->args.node,
                  .pending = j->role_change ? PM_PENDING_NOOP : PM_PENDING_START,
                  .timeout_ms = j->args.timeout_ms,
              });
}

static void on_restart_stopped(struct postmaster_impl *im, bool ok)
{
    struct pm_job *j = &im->job;

    if (j->canceled) {
        if (ok)
            pm_set_state(im, PGV_STATE_STOPPED);
        pm_job_end(im, PM_CANCELED, "canceled");
        return;
    }
    if (!ok) {
        pm_set_state(im, PGV_STATE_RESTART_FAILED);
        pm_job_end(im, PM_FAILED, im->stop.message);
        return;
    }
    start(im, &(struct pm_start_args){
                  .role = j->args.role,
                  .keep_role = j->args.job == PM_JOB_RESTART,
                  .keep_state = true,
                  .write_recovery = j->args.job == PM_JOB_FOLLOW,
                  .node = j->args.node,
                  .pending = j->role_change ? PM_PENDING_NOOP : PM_PENDING_RESTART,
                  .timeout_ms = j->args.timeout_ms,
              });
}

static void restart(struct postmaster_impl *im)
{
    struct postmaster_job_args stop = { .job = PM_JOB_STOP,
                                        .mode = PM_STOP_FAST,
                                        .checkpoint_first = true };

    im->job.restarting = true;
    pm_set_state(im, PGV_STATE_RESTARTING);
    pm_job_step(im, "stopping", -1);
    pm_stop_begin(im, &stop, true, on_restart_stopped);
}

static void end_follow(struct postmaster_impl *im, const char *failed)
{
    struct pm_job *j = &im->job;

    if (!failed)
        pm_set_role(im, j->args.role);
    if (j->role_change)
        pm_callback(im, "on_role_change");
    pm_job_end(im, failed ? PM_FAILED : PM_DONE, failed ? failed : "following");
}

static void on_follow_reloaded(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;

    if (!j->active || j->args.job != PM_JOB_FOLLOW)
        return;
    /* What was known of the old source is of no use any more. */
    im->follow.current.valid = false;
    im->receiver = (struct pm_receiver){ 0 };
    end_follow(im, im->reload.ok ? NULL : "the postmaster cannot be signalled");
}

static void on_compared(struct postmaster_impl *im, enum postmaster_follow answer)
{
    struct pm_job *j = &im->job;
    struct pgv_error err = { 0 };

    if (j->canceled) {
        pm_job_end(im, PM_CANCELED, "canceled");
        return;
    }
    if (answer == PM_FOLLOW_RESTART) {
        restart(im);
        return;
    }
    if (answer == PM_FOLLOW_OK)
        end_follow(im, NULL);
    else if (pm_follow_write(im, &j->args.node, &err) && pm_write_conf(im, &err))
        pm_reload(im, j->role_change, on_follow_reloaded);
    else
        end_follow(im, err.msg);
}

static void begin_compare(struct postmaster_impl *im)
{
    if (im->job.canceled) {
        pm_job_end(im, PM_CANCELED, "canceled");
        return;
    }
    /* A comparison for the owner may be under way: its end is not far. */
    if (!pm_follow_compare(im, &im->job.args.node, on_compared))
        pm_arm(im, PM_TIMER_JOB, 5, begin_compare);
}

static void begin_follow(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;

    if (!im->pm->facts.alive) {
        begin_start(im);
        return;
    }
    j->role_change = is_change_of_role(im, j->args.role);
    pm_job_step(im, "comparing the recovery configuration", -1);
    begin_compare(im);
}

/* ---- PROMOTE ---- */

void pm_promote_ended(struct postmaster_impl *im, enum postmaster_outcome outcome,
                      const char *message)
{
    pm_job_end(im, outcome, message);
}

/* ---- the runner ---- */

static void begin(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;

    if (j->canceled) {
        pm_job_end(im, PM_CANCELED, "canceled");
        return;
    }
    j->begun = true;
    switch (j->args.job) {
    case PM_JOB_START:
        begin_start(im);
        return;
    case PM_JOB_RESTART:
        restart(im);
        return;
    case PM_JOB_FOLLOW:
        begin_follow(im);
        return;
    case PM_JOB_PROMOTE:
        pm_job_step(im, "promoting", -1);
        pm_promote_begin(im, j->args.timeout_ms);
        return;
    case PM_JOB_BOOTSTRAP:
    case PM_JOB_POST_BOOTSTRAP:
    case PM_JOB_CLONE:
    case PM_JOB_CRASH_RECOVERY:
    case PM_JOB_CHECK_DIVERGENCE:
    case PM_JOB_REWIND:
    case PM_JOB_REMOVE_DATA:
    case PM_JOB_MOVE_DATA_ASIDE:
        pm_data_job_begin(im);
        return;
    case PM_JOB_NONE:
    case PM_JOB_STOP:
        break;
    }
    pm_job_end(im, PM_FAILED, "no such job");
}

static void cancel_job(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;

    if (!j->active || j->canceled)
        return;
    pgv_log(PGV_INFO, "pg", "canceling job='%s'", postmaster_job_name(j->args.job));
    j->canceled = true;
    if (!j->begun)
        return; /* begin() sees it */
    if (im->start.active) {
        pm_start_cancel(im);
    } else if (j->restarting && im->stop.active) {
        (void)pm_stop_cancel(im); /* a signal that was sent is waited out */
    } else if (im->promote.active) {
        pm_promote_cancel(im);
    } else {
        pm_data_job_cancel(im); /* FOLLOW's comparison ends by itself within its deadline */
    }
}

static void on_stop_job(struct postmaster_impl *im, bool ok)
{
    im->stop_job_ok = ok;
    im->stop_job_done = true;
    if (!im->job.active)
        stop_job_end(im);
}

static void stop_job(struct postmaster_impl *im, const struct postmaster_job_args *args)
{
    struct postmaster *pm = im->pm;
    /* The job's own stop, that is: an earlier stop of ours is superseded, and that one has canceled
     * the job already. */
    bool taken = im->stop.active && im->job.active && !im->stop_job;

    if (im->stop_job) /* a harsher one, or a nearer deadline: the first has been superseded */
        pm_event_job_end(im, PM_JOB_STOP, true, PM_CANCELED, "superseded by another stop");
    im->stop_job = true;
    im->stop_job_done = false;
    pm->job = PM_JOB_STOP;
    pm->job_since_ms = pgv_clock_ms();
    pm->job_percent = -1;
    pm->job_bytes = pm->job_bytes_total = 0;
    pgv_copy_cut(pm->job_step, sizeof(pm->job_step), PGV_STR("stopping"));
    /* The signal first; what else runs is wound up behind it. */
    if (im->stop.active)
        pm_stop_take(im, args, on_stop_job);
    else
        pm_stop_begin(im, args, false, on_stop_job);
    if (taken) { /* the stop that a restart or rewind waited for: there is nothing else to wind up
                  */
        im->job.canceled = true;
        pm_job_end(im, PM_CANCELED, "canceled");
    } else {
        cancel_job(im);
    }
    pm_changed(im);
}

bool postmaster_job_start(struct postmaster *pm, const struct postmaster_job_args *args,
                          struct pgv_error *err)
{
    struct postmaster_impl *im = pm->impl;
    struct pm_job *j = &im->job;

    if (im->closing)
        return pgv_fail(err, PGV_ECONFLICT, "closing");
    if (args->job == PM_JOB_STOP) {
        stop_job(im, args);
        return true;
    }
    if (pm->job != PM_JOB_NONE || !pm_jobs_idle(im))
        return pgv_fail(err, PGV_ECONFLICT, "%s is in progress", postmaster_job_name(pm->job));
    j->args = *args;
    j->active = true;
    j->canceled = j->begun = j->restarting = j->role_change = false;
    j->phase = 0;
    pm->job = args->job;
    pm->job_since_ms = pgv_clock_ms();
    pm->job_percent = -1;
    pm->job_bytes = pm->job_bytes_total = 0;
    pm->job_step[0] = '\0';
    pm_arm(im, PM_TIMER_JOB, 0, begin);
    pm_changed(im);
    return true;
}

void postmaster_job_cancel(struct postmaster *pm)
{
    cancel_job(pm->impl);
}

void pm_jobs_cancel_all(struct postmaster_impl *im)
{
    cancel_job(im);
    im->stop_job = im->stop_job_done = false;
    if (im->stop.active)
        pm_stop_detach(im);
}
