/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/jobs_data.c - jobs on the data directory and other nodes: bootstrap, clone, divergence check,
 * rewind, crash recovery, removal. The deeds themselves have files of their own (pgboot, pgclone,
 * pgrewind, pgdata); here they are put between what the supervised server must do before and after.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/banned.h"

/* How far a job is: what its cancel must end, and which answers are meant for it. */
enum {
    PHASE_BEGIN = 0,
    PHASE_CONTROL,  /* waits for control data */
    PHASE_STOP,     /* an inner stop */
    PHASE_PREPARED, /* waits for facts about the binaries */
    PHASE_QUERY,
    PHASE_TOOL, /* the deed itself */
    PHASE_RELOAD,
    PHASE_REMOVE,
    PHASE_END, /* waits for the last control data */
};

/* ---- removal of the data directory ---- */

static void data_gone(struct postmaster_impl *im)
{
    im->params = im->recovery_params = NULL;
    im->follow.current.valid = false;
    pm_read_dir(im);
    (void)pm_control_ready(im, pm_find_version); /* forgets what was known */
    pm_changed(im);
}

static void on_removed(struct pgdata_job *d, bool ok, const char *message)
{
    struct postmaster_impl *im = d->data;
    struct pm_job *j = &im->job;

    data_gone(im);
    if (j->args.job == PM_JOB_REMOVE_DATA || j->args.job == PM_JOB_MOVE_DATA_ASIDE) {
        pm_job_end(im, ok ? PM_DONE : PM_FAILED, message);
        return;
    }
    if (!ok)
        pgv_log(PGV_ERROR, "pg", "cannot remove the data directory: %s", message);
    pm_job_end(im, j->outcome, j->message);
}

static bool start_removal(struct postmaster_impl *im, struct pgv_error *err)
{
    struct pm_job *j = &im->job;
    bool aside = j->args.job == PM_JOB_MOVE_DATA_ASIDE;

    pm_job_step(im, aside ? "moving the data directory aside" : "removing the data directory", -1);
    pm_set_role(im, PGV_ROLE_UNINITIALIZED);
    memset(&j->u.remove, 0, sizeof(j->u.remove));
    j->u.remove.data = im;
    j->phase = PHASE_REMOVE;
    if (aside)
        return pgdata_move_aside_start(&j->u.remove, im->loop, im->conf, on_removed, err);
    return pgdata_remove_start(&j->u.remove, im->loop, im->conf, on_removed, err);
}

/* The job has failed; what it left is removed before its end is told. */
static void end_after_removal(struct postmaster_impl *im, enum postmaster_outcome outcome,
                              const char *message)
{
    struct pm_job *j = &im->job;
    struct pgv_error err = { 0 };

    j->outcome = outcome;
    pgv_copy_cut(j->message, sizeof(j->message), pgv_str(message));
    if (start_removal(im, &err))
        return;
    pgv_log(PGV_ERROR, "pg", "cannot remove the data directory: %s", err.msg);
    pm_job_end(im, outcome, j->message);
}

static void begin_remove(struct postmaster_impl *im)
{
    struct pgv_error err = { 0 };

    if (im->pm->facts.alive) {
        pm_job_end(im, PM_FAILED, "the server is running");
        return;
    }
    im->bootstrapping = im->custom_bootstrap = false;
    if (!start_removal(im, &err))
        pm_job_end(im, PM_FAILED, err.msg);
}

/* ---- CLONE ---- */

static void on_cloned(struct pgclone *c, enum pgclone_result result, const char *message)
{
    struct postmaster_impl *im = c->data;
    struct pm_job *j = &im->job;
    char path[PGCONF_PATH_BYTES + 32];

    pm_set_state(im, PGV_STATE_STOPPED);
    pm_read_dir(im);
    if (result == PGCLONE_OK && im->pm->facts.dir == PM_DIR_OK) {
        /* A promotion asked for at the source must not happen here. Contract pg §15. */
        (void)snprintf(path, sizeof(path), "%s/promote", im->conf->data_dir);
        if (unlink(path) != 0 && errno != ENOENT)
            pgv_log(PGV_WARNING, "pg", "cannot remove '%s'", path);
        (void)pgfiles_mode(im->conf->data_dir, true);
        pm_set_role(im, PGV_ROLE_REPLICA);
        pm_job_end(im, PM_DONE, message);
        return;
    }
    if (j->canceled) {
        pm_job_end(im, PM_CANCELED, "canceled");
        return;
    }
    end_after_removal(im, PM_FAILED, message);
}

static void on_clone_progress(struct pgclone *c)
{
    pm_job_amount(c->data, c->bytes, c->bytes_total);
    pm_job_step(c->data, c->step, c->percent);
}

static void clone_prepared(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;
    struct pgclone_args args = { .conf = im->conf,
                                 .source_conn_url = j->args.node.conn_url,
                                 .source_name = j->args.node.name,
                                 .basebackup_only = j->args.from_leader };
    struct pgv_error err = { 0 };

    if (!j->active || j->phase != PHASE_PREPARED)
        return;
    if (!pm_prepared(im, clone_prepared))
        return;
    j->phase = PHASE_TOOL;
    args.binary_version = im->prep.binary_version;
    if (j->canceled) {
        pm_set_state(im, PGV_STATE_STOPPED);
        pm_job_end(im, PM_CANCELED, "canceled");
        return;
    }
    memset(&j->u.clone, 0, sizeof(j->u.clone));
    j->u.clone.data = im;
    j->u.clone.on_progress = on_clone_progress;
    if (!pgclone_start(&j->u.clone, im->loop, &args, on_cloned, &err)) {
        pm_set_state(im, PGV_STATE_STOPPED);
        pm_job_end(im, PM_FAILED, err.msg);
    }
}

static void begin_clone(struct postmaster_impl *im)
{
    if (im->pm->facts.alive) {
        pm_job_end(im, PM_FAILED, "the server is running");
        return;
    }
    im->bootstrapping = im->custom_bootstrap = false;
    im->params = im->recovery_params = NULL;
    pm_set_state(im, PGV_STATE_CREATING_REPLICA);
    im->job.phase = PHASE_PREPARED;
    clone_prepared(im);
}

/* ---- CRASH_RECOVERY ---- */

static void end_with_control(struct postmaster_impl *im);

static void on_crash_recovered(struct pgcrash *c, bool ok, const char *message)
{
    struct postmaster_impl *im = c->data;
    struct pm_job *j = &im->job;

    j->outcome = ok ? PM_DONE : PM_FAILED;
    pgv_copy_cut(j->message, sizeof(j->message), pgv_str(message));
    im->recovery_params = NULL; /* it removed the recovery configuration */
    im->follow.current.valid = false;
    pm_read_dir(im);
    j->phase = PHASE_END;
    end_with_control(im);
}

/* The owner shall find the control file as the job left it. */
static void end_with_control(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;

    if (!j->active || j->phase != PHASE_END)
        return;
    if (!pm_control_ready(im, end_with_control))
        return;
    pm_job_end(im, j->outcome, j->message);
}

static void begin_crash_recovery(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;
    struct pgv_error err = { 0 };

    if (im->pm->facts.alive) {
        pm_job_end(im, PM_FAILED, "the server is running");
        return;
    }
    memset(&j->u.crash, 0, sizeof(j->u.crash));
    j->u.crash.data = im;
    j->phase = PHASE_TOOL;
    pm_job_step(im, "recovering in single-user mode", -1);
    if (!pgcrash_start(&j->u.crash, im->loop, im->conf, im->pm->facts.major_version,
                       on_crash_recovered, &err))
        pm_job_end(im, PM_FAILED, err.msg);
}

/* ---- CHECK_DIVERGENCE ---- */

static void on_checked(struct pgrewind_check *c, enum pgrewind_verdict verdict, const char *message)
{
    struct postmaster_impl *im = c->data;

    pm_job_end(im,
               verdict == PGREWIND_NEED         ? PM_DONE
               : verdict == PGREWIND_NOT_NEEDED ? PM_NO
                                                : PM_UNKNOWN,
               message);
}

static void check_from(struct postmaster_impl *im, const struct pgrewind_local *local)
{
    struct pm_job *j = &im->job;
    struct pgrewind_check_args args = {
        .conf = im->conf,
        .major_version = im->pm->facts.major_version,
        .local = *local,
        .leader_conn_url = j->args.node.conn_url,
        .leader_name = j->args.node.name,
        .leader_role = j->args.node.role,
        .timeout_ms = j->args.timeout_ms ? j->args.timeout_ms : im->retry_timeout_ms,
    };
    struct pgv_error err = { 0 };

    if (j->canceled) {
        pm_job_end(im, PM_CANCELED, "canceled");
        return;
    }
    if (local->timeline == 0 || local->lsn == 0) {
        pm_job_end(im, PM_UNKNOWN, "the local position is not known");
        return;
    }
    memset(&j->u.check, 0, sizeof(j->u.check));
    j->u.check.data = im;
    j->phase = PHASE_TOOL;
    if (!pgrewind_check_start(&j->u.check, im->loop, &args, on_checked, &err))
        pm_job_end(im, PM_UNKNOWN, err.msg);
}

static void check_from_control(struct postmaster_impl *im)
{
    struct pgrewind_local local = { 0 };

    if (!im->job.active || im->job.phase != PHASE_CONTROL)
        return;
    if (!pm_control_ready(im, check_from_control))
        return;
    pgrewind_local_from_control(&im->control, &local);
    check_from(im, &local);
}

/* Contract pg §17.4: of a running server the timeline is IDENTIFY_SYSTEM's and the LSN what was
 * replayed. */
static void on_identified(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    const struct postmaster_facts *f = &im->pm->facts;
    struct pgrewind_local local = { .lsn = f->replay_lsn, .in_recovery = true };
    int64_t n;

    if (!err && pgsql_field_i64(res, 0, 1, &n) && n > 0 && n <= UINT32_MAX)
        local.timeline = (uint32_t)n;
    pgsql_disconnect(&im->conn.repl);
    if (local.timeline == 0 && pm_is_starting(im)) {
        im->job.phase = PHASE_CONTROL;
        check_from_control(im);
        return;
    }
    check_from(im, &local);
}

static void on_looked(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    struct pm_job *j = &im->job;

    if (!err && im->pm->facts.alive)
        (void)pm_look_take(im, res);
    if (err || j->canceled) {
        if (!j->canceled && pm_is_starting(im)) {
            j->phase = PHASE_CONTROL;
            check_from_control(im);
            return;
        }
        pm_job_end(im, PM_UNKNOWN, err ? err->msg : "canceled");
        return;
    }
    j->query.sql = "IDENTIFY_SYSTEM";
    j->query.deadline_ms = pgv_clock_ms() + 2500;
    pgsql_submit(&im->conn.repl, &j->query, on_identified);
}

static void begin_check(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;

    pm_job_step(im, "comparing timelines with the leader", -1);
    if (!im->pm->facts.alive) {
        j->phase = PHASE_CONTROL;
        check_from_control(im);
        return;
    }
    j->phase = PHASE_QUERY;
    j->query.data = im;
    j->query.sql = pm_look_sql(im);
    j->query.deadline_ms = pgv_clock_ms() + 2500;
    pgsql_submit(&im->conn.heartbeat, &j->query, on_looked);
}

/* ---- REWIND ---- */

static void on_rewound(struct pgrewind *r, enum pgrewind_result result, const char *message)
{
    struct postmaster_impl *im = r->data;
    struct pm_job *j = &im->job;
    bool remove = im->conf->remove_data_directory_on_rewind_failure ||
                  im->conf->remove_data_directory_on_diverged_timelines;

    pm_read_dir(im);
    j->phase = PHASE_END;
    pgv_copy_cut(j->message, sizeof(j->message), pgv_str(message));
    switch (result) {
    case PGREWIND_DONE:
        j->outcome = PM_DONE;
        break;
    case PGREWIND_NOT_NOW:
        j->outcome = PM_UNKNOWN;
        break;
    case PGREWIND_CANCELED:
        j->outcome = PM_CANCELED;
        break;
    case PGREWIND_FAILED:
        j->outcome = PM_FAILED;
        if (remove && !j->canceled) {
            end_after_removal(im, PM_FAILED, message);
            return;
        }
        break;
    }
    end_with_control(im);
}

static void on_rewind_progress(struct pgrewind *r)
{
    pm_job_amount(r->data, r->bytes, r->bytes_total);
    pm_job_step(r->data, r->step, r->percent);
}

static void rewind_prepared(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;
    struct pgrewind_args args = {
        .conf = im->conf,
        .major_version = im->pm->facts.major_version,
        .leader_conn_url = j->args.node.conn_url,
        .leader_name = j->args.node.name,
        .leader_checkpoint_known = j->args.node.leader_checkpoint_known,
        .leader_checkpoint_done = j->args.node.leader_checkpoint_done,
        .timeout_ms = j->args.timeout_ms ? j->args.timeout_ms : im->retry_timeout_ms,
    };
    struct pgv_error err = { 0 };

    if (!j->active || j->phase != PHASE_PREPARED)
        return;
    if (!pm_prepared(im, rewind_prepared))
        return;
    j->phase = PHASE_TOOL;
    args.binary_version = im->prep.binary_version;
    if (j->canceled) {
        pm_job_end(im, PM_CANCELED, "canceled");
        return;
    }
    memset(&j->u.rewind, 0, sizeof(j->u.rewind));
    j->u.rewind.data = im;
    j->u.rewind.on_progress = on_rewind_progress;
    if (!pgrewind_start(&j->u.rewind, im->loop, &args, on_rewound, &err))
        pm_job_end(im, PM_UNKNOWN, err.msg);
}

static void on_rewind_stopped(struct postmaster_impl *im, bool ok)
{
    if (im->job.canceled) {
        pm_job_end(im, PM_CANCELED, "canceled");
        return;
    }
    if (!ok) {
        pgv_log(PGV_WARNING, "pg", "Can not run pg_rewind because postgres is still running");
        pm_job_end(im, PM_UNKNOWN, im->stop.message);
        return;
    }
    im->job.phase = PHASE_PREPARED;
    rewind_prepared(im);
}

static void begin_rewind(struct postmaster_impl *im)
{
    struct postmaster_job_args stop = { .job = PM_JOB_STOP, .mode = PM_STOP_FAST };
    struct pgv_error err;

    if (!pgrewind_has_room(im->conf, im->pm->facts.major_version, &err)) {
        pgv_log(PGV_WARNING, "pg", "%s", err.msg);
        pm_job_end(im, PM_UNKNOWN, err.msg);
        return;
    }
    if (im->pm->facts.alive) {
        pm_job_step(im, "stopping", -1);
        im->job.phase = PHASE_STOP;
        pm_stop_begin(im, &stop, false, on_rewind_stopped);
        return;
    }
    im->job.phase = PHASE_PREPARED;
    rewind_prepared(im);
}

/* ---- BOOTSTRAP ---- */

static void on_boot_started(struct postmaster_impl *im, enum pm_started how)
{
    /* Contract pg §16.1: only whether it runs counts, not whether the wait was long enough. */
    if (how != PM_START_CANCELED && im->pm->facts.alive)
        pm_job_end(im, PM_DONE, "bootstrapped");
    else
        pm_job_end(im, how == PM_START_CANCELED ? PM_CANCELED : PM_FAILED, im->start.message);
}

static bool after_custom(struct postmaster_impl *im, struct pgv_error *err)
{
    struct pgfiles_env env;
    struct pgrecovery r;
    struct pgv_arena a;
    struct pgv_value *params = NULL;

    pm_env(im, &env);
    if (!env.bootstrap_recovery_conf) {
        im->recovery_params = NULL;
        return env.keep_existing_recovery_conf || pgrecovery_remove(im->conf, err);
    }
    pgv_arena_init(&a, PM_ARENA_BYTES_MAX);
    if (!pgrecovery_from_map(im->conf, &env, env.bootstrap_recovery_conf, &a, &r, err) ||
        !pgrecovery_write(im->conf, &env, &r, &a, &params, err)) {
        pgv_arena_done(&a);
        return false;
    }
    pgv_arena_done(&im->recovery_arena);
    im->recovery_arena = a;
    im->recovery_params = params;
    return true;
}

static void on_booted(struct pgboot *b, enum pgboot_result result, const char *message)
{
    struct postmaster_impl *im = b->data;
    struct pm_job *j = &im->job;
    struct pgfiles_env env;
    struct pgv_error err = { 0 };
    bool custom = b->custom;

    pm_read_dir(im);
    if (result != PGBOOT_OK || im->pm->facts.dir != PM_DIR_OK || j->canceled) {
        pm_set_state(im, custom ? PGV_STATE_CUSTOM_BOOTSTRAP_FAILED : PGV_STATE_INITDB_FAILED);
        pm_job_end(im, PM_FAILED, result == PGBOOT_OK ? "no data directory" : message);
        return;
    }
    (void)pgfiles_mode(im->conf->data_dir, true);
    pm_env(im, &env);
    if ((custom && !after_custom(im, &err)) ||
        !pgfiles_append_bootstrap_hba(im->conf, &env, pgv_get(im->bootstrap, "pg_hba"), &err)) {
        pm_set_state(im, custom ? PGV_STATE_CUSTOM_BOOTSTRAP_FAILED : PGV_STATE_INITDB_FAILED);
        pm_job_end(im, PM_FAILED, err.msg);
        return;
    }
    pgfiles_save_backups(im->conf, &env);
    pm_read_dir(im);
    pm_job_step(im, "starting", -1);
    pm_start_begin(im,
                   &(struct pm_start_args){ .role = PGV_ROLE_UNKNOWN, .pending = PM_PENDING_NOOP },
                   on_boot_started);
}

static void begin_bootstrap(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;
    struct pgv_error err = { 0 };
    bool custom = pgboot_is_custom(im->bootstrap);

    if (im->pm->facts.alive) {
        pm_job_end(im, PM_FAILED, "the server is running");
        return;
    }
    im->bootstrapping = true;
    im->custom_bootstrap = custom;
    im->params = im->recovery_params = NULL;
    memset(&j->u.boot, 0, sizeof(j->u.boot));
    j->u.boot.data = im;
    pm_set_state(im, custom ? PGV_STATE_CUSTOM_BOOTSTRAP : PGV_STATE_INITDB);
    pm_job_step(im, pgboot_method(im->bootstrap), -1);
    if (!pgboot_start(&j->u.boot, im->loop, im->conf, im->bootstrap, im->pm->bootstrap_token,
                      on_booted, &err)) {
        pm_set_state(im, custom ? PGV_STATE_CUSTOM_BOOTSTRAP_FAILED : PGV_STATE_INITDB_FAILED);
        pm_job_end(im, PM_FAILED, err.msg);
    }
}

/* ---- POST_BOOTSTRAP ---- */

static void bootstrapped(struct postmaster_impl *im, enum postmaster_outcome outcome,
                         const char *message)
{
    struct pgv_error err = { 0 };

    if (outcome == PM_DONE && !pgmark_remove(im->conf, &err)) {
        outcome = PM_FAILED; /* the next agent would throw it away */
        message = err.msg;
    }
    if (outcome == PM_DONE) {
        im->bootstrapping = false;
        im->pm->facts.announced = true; /* by the owner, see pg/facts.h */
        pgv_copy_cut(im->pm->facts.sysid, sizeof(im->pm->facts.sysid), pgv_str(im->control.sysid));
        pm_changed(im);
    }
    pm_job_end(im, outcome, message);
}

static void on_post_started(struct postmaster_impl *im, enum pm_started how)
{
    bootstrapped(im,
                 how == PM_STARTED          ? PM_DONE
                 : how == PM_START_CANCELED ? PM_CANCELED
                                            : PM_FAILED,
                 im->start.message);
}

static void on_post_stopped(struct postmaster_impl *im, bool ok)
{
    if (!ok || im->job.canceled) {
        pm_job_end(im, PM_FAILED, im->stop.message);
        return;
    }
    pm_start_begin(im, &(struct pm_start_args){ .keep_role = true, .pending = PM_PENDING_NOOP },
                   on_post_started);
}

static void reloaded(struct postmaster_impl *im)
{
    if (!im->job.active || im->job.phase != PHASE_RELOAD)
        return;
    pgsql_disconnect(&im->conn.heartbeat);
    bootstrapped(im, PM_DONE, "bootstrapped");
}

/* Contract pg §16.5.4: the custom method's leave, the regular configuration takes its place. */
static void end_custom(struct postmaster_impl *im)
{
    struct postmaster_job_args stop = { .job = PM_JOB_STOP,
                                        .mode = PM_STOP_FAST,
                                        .checkpoint_first = true };
    struct pgfiles_env env;
    struct pgv_error err = { 0 };
    bool written, redirected = im->conf->hba_file != NULL;

    im->custom_bootstrap = false;
    pm_env(im, &env);
    if (!im->conf->pg_hba) {
        (void)unlink(im->conf->hba_path);
        pgfiles_restore_backups(im->conf, &env);
    }
    im->recovery_params = NULL;
    if (!pgrecovery_remove(im->conf, &err) || !pm_write_start_files(im, &err) ||
        (!redirected && !pm_write_hba_ident(im, &written, &err))) {
        pm_job_end(im, PM_FAILED, err.msg);
        return;
    }
    if (redirected || im->pm->n_pending > 0) {
        pm_set_state(im, PGV_STATE_RESTARTING);
        im->job.phase = PHASE_STOP;
        im->job.restarting = true;
        pm_stop_begin(im, &stop, true, on_post_stopped);
        return;
    }
    im->job.phase = PHASE_RELOAD;
    pm_reload(im, false, reloaded);
}

static void on_post(struct pgboot_post *p, enum pgboot_result result, const char *message)
{
    struct postmaster_impl *im = p->data;

    if (result != PGBOOT_OK || im->job.canceled)
        pm_job_end(im, PM_FAILED, message);
    else if (im->custom_bootstrap)
        end_custom(im);
    else
        bootstrapped(im, PM_DONE, message);
}

static void begin_post(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;
    struct pgv_error err = { 0 };

    memset(&j->u.post, 0, sizeof(j->u.post));
    j->u.post.data = im;
    pm_job_step(im, "creating roles", -1);
    if (!pgboot_post_start(&j->u.post, im->loop, im->conf, &im->addr, pm_conn_hostaddr(im),
                           im->bootstrap, im->pm->facts.major_version, on_post, &err))
        pm_job_end(im, PM_FAILED, err.msg);
}

/* ---- for the runner ---- */

void pm_data_job_begin(struct postmaster_impl *im)
{
    switch (im->job.args.job) {
    case PM_JOB_BOOTSTRAP:
        begin_bootstrap(im);
        return;
    case PM_JOB_POST_BOOTSTRAP:
        begin_post(im);
        return;
    case PM_JOB_CLONE:
        begin_clone(im);
        return;
    case PM_JOB_CRASH_RECOVERY:
        begin_crash_recovery(im);
        return;
    case PM_JOB_CHECK_DIVERGENCE:
        begin_check(im);
        return;
    case PM_JOB_REWIND:
        begin_rewind(im);
        return;
    case PM_JOB_REMOVE_DATA:
    case PM_JOB_MOVE_DATA_ASIDE:
        begin_remove(im);
        return;
    default:
        pm_job_end(im, PM_FAILED, "no such job");
        return;
    }
}

/* What waits for an answer of ours sees the flag when that comes; children and queries are ended.
 */
void pm_data_job_cancel(struct postmaster_impl *im)
{
    struct pm_job *j = &im->job;

    if (j->phase == PHASE_REMOVE) {
        pgdata_cancel(&j->u.remove);
        return;
    }
    switch (j->args.job) {
    case PM_JOB_BOOTSTRAP:
        if (j->u.boot.running)
            pgboot_cancel(&j->u.boot);
        break;
    case PM_JOB_POST_BOOTSTRAP:
        if (j->u.post.running)
            pgboot_post_cancel(&j->u.post);
        break;
    case PM_JOB_CLONE:
        if (j->phase == PHASE_TOOL)
            pgclone_cancel(&j->u.clone);
        break;
    case PM_JOB_CRASH_RECOVERY:
        if (j->phase == PHASE_TOOL)
            pgcrash_cancel(&j->u.crash);
        break;
    case PM_JOB_CHECK_DIVERGENCE:
        if (j->phase == PHASE_TOOL)
            pgrewind_check_cancel(&j->u.check);
        else if (j->query.in_line) {
            pgsql_cancel(&im->conn.heartbeat, &j->query);
            pgsql_cancel(&im->conn.repl, &j->query);
        }
        break;
    case PM_JOB_REWIND:
        if (j->phase == PHASE_TOOL)
            pgrewind_cancel(&j->u.rewind);
        else if (j->phase == PHASE_STOP)
            (void)pm_stop_cancel(im);
        break;
    default:
        break;
    }
}
