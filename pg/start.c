/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/start.c - starting the server: configuration, spawn, wait until it accepts connections.
 *
 * Backends that outlived a killed postmaster keep its shared memory, and a new postmaster refuses
 * to start as long as they do. They notice and go by themselves unless they are busy; but they are
 * lost in any case, so they get the SIGQUIT that their postmaster gives when one of them crashes,
 * and soon SIGKILL. A few of them go while the new postmaster is being loaded; the start waits for
 * many, and tries again when it was too early.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <signal.h>
#include <stdio.h>

#include "base/banned.h"

#define LEFTOVERS_MAX 256
/** Backends of a dead postmaster that have not quit after this long are killed. */
#define LEFTOVERS_KILL_MS 1000
/** So few are gone before a new postmaster looks for them. */
#define LEFTOVERS_QUICK 64
/** A postmaster that ends sooner than this after its spawn may have met what another left. */
#define TOO_EARLY_MS 1000
#define ATTEMPTS_MAX 8
#define DELAY_MS_FIRST 2
#define DELAY_MS_MAX 50

static void prepare(struct postmaster_impl *im);
static void clear_leftovers(struct postmaster_impl *im);

static uint64_t longer(uint64_t delay_ms)
{
    delay_ms += delay_ms / 2 + 1;
    return delay_ms > DELAY_MS_MAX ? DELAY_MS_MAX : delay_ms;
}

static void finish(struct postmaster_impl *im, enum pm_started how, const char *message)
{
    struct pm_start *s = &im->start;

    s->active = s->waiting = false;
    pgv_copy_cut(s->message, sizeof(s->message), pgv_str(message));
    pm_disarm(im, PM_TIMER_START);
    s->done(im, how);
}

static void failed(struct postmaster_impl *im, const char *message)
{
    pm_set_state(im, PGV_STATE_START_FAILED);
    finish(im, PM_START_FAILED, message);
}

/* ---- waiting ---- */

static void on_deadline(struct postmaster_impl *im)
{
    pgv_log(PGV_WARNING, "pg", "postgres is still starting, its time is up");
    finish(im, PM_STILL_STARTING, "still starting");
}

static void wait_accepting(struct postmaster_impl *im)
{
    struct pm_start *s = &im->start;
    uint64_t now = pgv_clock_ms();

    s->waiting = true;
    if (im->pm->facts.state == PGV_STATE_RUNNING) {
        finish(im, PM_STARTED, "accepting connections");
        return;
    }
    pm_arm(im, PM_TIMER_START, s->deadline_ms > now ? s->deadline_ms - now : 0, on_deadline);
    pm_probe_on(im);
}

void pm_start_look(struct postmaster_impl *im)
{
    if (im->start.active && im->start.waiting && im->pm->facts.state == PGV_STATE_RUNNING)
        finish(im, PM_STARTED, "accepting connections");
}

void pm_start_server_gone(struct postmaster_impl *im, int status)
{
    struct pm_start *s = &im->start;
    uint64_t now = pgv_clock_ms();
    char how[80], message[160];
    struct pm_whose whose;
    pid_t left[1];
    bool early = now - im->server.spawned_ms < TOO_EARLY_MS && s->attempts < ATTEMPTS_MAX &&
                 now < s->deadline_ms;
    bool in_the_way;

    s->waiting = false;
    pm_whose(im, &whose);
    /* It may have come too early: the old one's backends are still there, or have gone just now.
     * Then one more attempt is all it takes. */
    in_the_way = early && pm_proc_leftovers(&whose, 0, left, 1) > 0;
    if (early && (s->had_leftovers || in_the_way)) {
        pgv_log(PGV_INFO, "pg", "trying to start again, an old backend %s in the way attempt=%u",
                in_the_way ? "is" : "may have been", s->attempts);
        s->had_leftovers = in_the_way;
        pm_arm(im, PM_TIMER_START, s->delay_ms, clear_leftovers);
        s->delay_ms = longer(s->delay_ms);
        return;
    }
    pgv_child_describe(status < 0 ? 0 : status, how, sizeof(how));
    (void)snprintf(message, sizeof(message), "postmaster is not running: %s", how);
    failed(im, message);
}

/* ---- spawning ---- */

static void spawn(struct postmaster_impl *im)
{
    struct pm_start *s = &im->start;
    struct pgv_arena arena;
    struct pgtool_args *args;
    struct pgv_error err = { 0 };
    const char *const *options;
    bool ok = false;

    pgv_arena_init(&arena, PM_ARENA_BYTES_MAX);
    args = pgv_arena_alloc(&arena, sizeof(*args));
    if (!args || !im->params) {
        (void)pgv_fail(&err, PGV_ENOMEM, "no room for the command line of postgres");
    } else if (pgfiles_command_line(im->params, &arena, &options, &err)) {
        pgtool_args_init(args, &arena);
        pgtool_args_add(args, im->postgres_path);
        pgtool_args_add(args, "-D");
        pgtool_args_add(args, im->conf->data_dir);
        pgtool_args_addf(args, "--config-file=%s", im->conf->conf_path);
        for (; *options; options++)
            pgtool_args_add(args, *options);
        if (args->failed)
            (void)pgv_fail(&err, PGV_ENOMEM, "no room for the command line of postgres");
        else
            ok = pm_server_spawn(im, args->v, &err);
    }
    pgv_arena_done(&arena);
    if (!ok) {
        pgv_log(PGV_ERROR, "pg", "cannot start postgres: %s", err.msg);
        failed(im, err.msg);
        return;
    }
    s->attempts++;
    pm_set_state(im, im->custom_bootstrap ? PGV_STATE_BOOTSTRAP_STARTING : PGV_STATE_STARTING);
    wait_accepting(im);
}

static void clear_leftovers(struct postmaster_impl *im)
{
    static pid_t left[LEFTOVERS_MAX];
    struct pm_start *s = &im->start;
    uint64_t now = pgv_clock_ms();
    struct pm_whose whose;
    unsigned n;

    if (pm_server_find(im)) { /* somebody else was quicker */
        wait_accepting(im);
        return;
    }
    pm_whose(im, &whose);
    n = pm_proc_leftovers(&whose, 0, left, LEFTOVERS_MAX);
    if (n == 0) {
        spawn(im);
        return;
    }
    s->had_leftovers = true;
    if (s->leftovers_ms == 0)
        s->leftovers_ms = now;
    if (now >= s->deadline_ms) {
        failed(im, "processes of an old postmaster do not go away");
        return;
    }
    /* What is no orphan, a postmaster we did not recognise or somebody's single-user server, is
     * waited for and makes the start fail in the end. */
    if (now - s->leftovers_ms >= LEFTOVERS_KILL_MS) {
        (void)pm_server_end_orphans(&whose, left, n, SIGKILL);
    } else if (!s->signalled) {
        s->signalled = true;
        /* They go while the new postmaster is being loaded, which takes longer. It looks for
         * itself whether any is still there, and does not start then: there is a next attempt. */
        if (pm_server_end_orphans(&whose, left, n, SIGQUIT) == n && n <= LEFTOVERS_QUICK) {
            spawn(im);
            return;
        }
    }
    pm_arm(im, PM_TIMER_START, s->delay_ms, clear_leftovers);
    s->delay_ms = longer(s->delay_ms);
}

/* ---- configuration (contract pg §4.4, 4.5) ---- */

static void configure(struct postmaster_impl *im)
{
    struct pm_start *s = &im->start;
    struct pgv_error err = { 0 };

    s->preparing = false;
    if ((s->args.write_recovery && !pm_follow_write(im, &s->args.node, &err)) ||
        !pm_write_start_files(im, &err)) {
        pgv_log(PGV_ERROR, "pg", "cannot write the configuration: %s", err.msg);
        failed(im, err.msg);
        return;
    }
    clear_leftovers(im);
}

static void begin(struct postmaster_impl *im)
{
    struct pm_start *s = &im->start;
    const struct postmaster_facts *f = &im->pm->facts;

    pm_conn_drop_all(im);
    pm_read_dir(im);
    if (pm_server_find(im)) {
        pgv_log(PGV_ERROR, "pg", "Cannot start PostgreSQL because one is already running.");
        wait_accepting(im);
        return;
    }
    if (!s->args.keep_role)
        pm_set_role(im, s->args.role == PGV_ROLE_UNKNOWN ? pm_role_of_dir(im) : s->args.role);
    else if (f->role == PGV_ROLE_PROMOTED || f->role == PGV_ROLE_DEMOTED)
        pm_set_role(im, pm_role_of_dir(im)); /* what was done to it went with its process */
    if (pgrewind_is_unfinished(im->conf)) {
        pgv_log(PGV_ERROR, "pg",
                "not starting: a pg_rewind has not been finished, the data directory is a mixture "
                "of two histories; rewind it again or reinitialize this member");
        failed(im, "an unfinished pg_rewind, this member needs a new copy");
        return;
    }
    if (im->pm->facts.major_version == 0) {
        finish(im, PM_STILL_STARTING, "the version of the data directory is not known");
        return;
    }
    if (!s->args.keep_state)
        pm_set_state(im, im->custom_bootstrap ? PGV_STATE_BOOTSTRAP_STARTING : PGV_STATE_STARTING);
    im->pending = s->args.pending;
    pm_set_pending(im, NULL, 0);
    s->preparing = true;
    prepare(im);
}

/* Comes back here until everything that must be known is. */
static void prepare(struct postmaster_impl *im)
{
    struct pm_start *s = &im->start;

    if (!s->active || s->canceled || !s->preparing)
        return; /* ended while we waited, or is about to */
    if (!pm_prepared(im, prepare))
        return;
    /* Only a standby's maxima depend on the control file. */
    if (im->pm->facts.role != PGV_ROLE_PRIMARY && !pm_control_ready(im, prepare))
        return;
    configure(im);
}

void pm_start_begin(struct postmaster_impl *im, const struct pm_start_args *args,
                    void (*done)(struct postmaster_impl *im, enum pm_started how))
{
    struct pm_start *s = &im->start;
    uint64_t timeout = args->timeout_ms ? args->timeout_ms : im->conf->pg_ctl_timeout_ms;

    PGV_ASSERT(!s->active);
    *s = (struct pm_start){
        .active = true, .args = *args, .done = done, .delay_ms = DELAY_MS_FIRST
    };
    s->deadline_ms = pgv_clock_ms() + timeout;
    /* A crash just now most likely left backends that go within milliseconds. */
    s->had_leftovers = im->server.died_ms && pgv_clock_ms() - im->server.died_ms < 5000;
    pm_arm(im, PM_TIMER_START, 0, begin);
}

static void canceled(struct postmaster_impl *im)
{
    if (!im->pm->facts.alive && pm_is_starting(im))
        pm_set_state(im, PGV_STATE_STOPPED);
    finish(im, PM_START_CANCELED, "canceled");
}

/* Whatever it waits for is dropped; a postmaster already spawned goes on, the caller may stop it.
 */
void pm_start_cancel(struct postmaster_impl *im)
{
    struct pm_start *s = &im->start;

    if (!s->active || s->canceled)
        return;
    s->canceled = true;
    s->waiting = false;
    pm_arm(im, PM_TIMER_START, 0, canceled);
}
