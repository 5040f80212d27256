/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/postmaster.c - the supervised server: opening and closing it, and what the owner hears.
 *
 * The machines of pg/postmaster_impl.h change facts and queue events; the event timer tells the
 * owner, one thing a turn and changed facts first, so that he is never called inside a call of his
 * and always decides on what is so now.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/banned.h"

/* ---- timers ---- */

static void on_timer(uv_timer_t *uv)
{
    struct pm_timer *t = uv->data;
    pm_next next = t->next;

    t->next = NULL;
    next(t->im);
}

void pm_arm(struct postmaster_impl *im, enum pm_timer_id which, uint64_t in_ms, pm_next next)
{
    if (im->closing_handles)
        return;
    im->timers[which].next = next;
    uv_update_time(
        im->loop); /* after a stall the loop's idea of now is old, and timers too early */
    (void)uv_timer_start(&im->timers[which].uv, on_timer, in_ms, 0); /* fails on NULL only */
}

void pm_disarm(struct postmaster_impl *im, enum pm_timer_id which)
{
    im->timers[which].next = NULL;
    (void)uv_timer_stop(&im->timers[which].uv);
}

void pm_wait(struct pm_waiters *w, pm_next next)
{
    for (unsigned i = 0; i < w->n; i++)
        if (w->v[i] == next)
            return;
    PGV_ASSERT(w->n < PM_WAITERS_MAX);
    w->v[w->n++] = next;
}

void pm_tell(struct postmaster_impl *im, struct pm_waiters *w)
{
    struct pm_waiters now = *w;

    w->n = 0;
    for (unsigned i = 0; i < now.n; i++)
        now.v[i](im);
}

/* ---- what the owner hears ---- */

static bool deliver_event(struct postmaster_impl *im)
{
    struct postmaster *pm = im->pm;
    struct pm_event e;

    if (im->n_events == 0)
        return false;
    e = im->events[im->first_event];
    im->first_event = (im->first_event + 1) % PM_EVENTS_MAX;
    im->n_events--;
    switch (e.type) {
    case PM_EV_JOB_END:
        if (pm->job == e.job && !e.superseded) {
            pm->job = PM_JOB_NONE;
            pm->job_step[0] = '\0';
            pm->job_percent = -1;
            pm->job_bytes = pm->job_bytes_total = 0;
        }
        if (pm->on_job_end)
            pm->on_job_end(pm, e.job, e.outcome, e.message);
        break;
    case PM_EV_SHUTDOWN_CHECKPOINT:
        if (pm->on_shutdown_checkpoint)
            pm->on_shutdown_checkpoint(pm, e.checkpoint_lsn, e.prev_lsn);
        break;
    case PM_EV_CALLBACK:
        if (pm->on_callback)
            pm->on_callback(pm, e.action, e.role);
        break;
    }
    return true;
}

/* One callback a turn: in each of them the owner may do anything, closing included. */
static void deliver(struct postmaster_impl *im)
{
    struct postmaster *pm = im->pm;

    if (im->closing)
        return;
    pm_wake_owner(im); /* perhaps there is more; an idle turn ends it */
    if (im->changed) {
        im->changed = false;
        if (pm->on_change)
            pm->on_change(pm);
        return;
    }
    if (deliver_event(im))
        return;
    if (pm_status_deliver(im))
        return;
    if (im->look_due) {
        im->look_due = false;
        im->look.cb(pm);
        return;
    }
    if (im->follow_due) {
        void (*cb)(struct postmaster * pm, enum postmaster_follow answer) = im->follow.cb;

        im->follow_due = false;
        cb(pm, im->follow.answer);
        return;
    }
    if (im->ckpt.done) {
        im->ckpt.done = im->ckpt.active = false;
        im->ckpt.cb(pm, im->ckpt.ok);
        return;
    }
    if (im->slots_run.done) {
        im->slots_run.done = im->slots_run.active = false;
        im->slots_run.cb(pm, im->slots_run.ok);
        return;
    }
    pm_disarm(im, PM_TIMER_EVENTS);
}

void pm_wake_owner(struct postmaster_impl *im)
{
    if (!im->closing)
        pm_arm(im, PM_TIMER_EVENTS, 0, deliver);
}

void pm_changed(struct postmaster_impl *im)
{
    im->changed = true;
    pm_wake_owner(im);
}

static struct pm_event *new_event(struct postmaster_impl *im)
{
    struct pm_event *e;

    /* At most two ends of jobs, a checkpoint and a few callbacks are ever on their way. */
    if (!PGV_EXPECT(im->n_events < PM_EVENTS_MAX)) {
        im->first_event = (im->first_event + 1) % PM_EVENTS_MAX;
        im->n_events--;
    }
    e = &im->events[(im->first_event + im->n_events++) % PM_EVENTS_MAX];
    *e = (struct pm_event){ 0 };
    pm_wake_owner(im);
    return e;
}

void pm_event_job_end(struct postmaster_impl *im, enum postmaster_job job, bool superseded,
                      enum postmaster_outcome outcome, const char *message)
{
    struct pm_event *e = new_event(im);

    e->type = PM_EV_JOB_END;
    e->job = job;
    e->superseded = superseded;
    e->outcome = outcome;
    pgv_copy_cut(e->message, sizeof(e->message), pgv_str(message));
}

void pm_event_shutdown_checkpoint(struct postmaster_impl *im, uint64_t lsn, uint64_t prev)
{
    struct pm_event *e = new_event(im);

    e->type = PM_EV_SHUTDOWN_CHECKPOINT;
    e->checkpoint_lsn = lsn;
    e->prev_lsn = prev;
}

void pm_callback(struct postmaster_impl *im, const char *action)
{
    struct pm_event *e;

    if (im->bootstrapping)
        return;
    if (strcmp(action, "on_reload") != 0)
        im->pm->facts.announced = true;
    e = new_event(im);
    e->type = PM_EV_CALLBACK;
    e->action = action;
    e->role = im->pm->facts.role;
    pm_changed(im);
}

/* ---- facts ---- */

void pm_set_state(struct postmaster_impl *im, enum pgv_state state)
{
    struct postmaster_facts *f = &im->pm->facts;

    if (f->state == state)
        return;
    pgv_log(PGV_DEBUG, "pg", "state %s, was %s", pgv_state_name(state), pgv_state_name(f->state));
    f->state = state;
    f->state_since_ms = pgv_clock_ms();
    pm_status_forget(im);
    pm_changed(im);
}

void pm_set_role(struct postmaster_impl *im, enum pgv_role role)
{
    struct postmaster_facts *f = &im->pm->facts;

    if (f->role == role)
        return;
    f->role = role;
    pm_status_forget(im);
    pm_changed(im);
}

bool pm_is_starting(const struct postmaster_impl *im)
{
    return pgv_state_is_starting(im->pm->facts.state);
}

void pm_set_pending(struct postmaster_impl *im, const struct postmaster_pending *v, unsigned n)
{
    struct postmaster *pm = im->pm;

    if (n > POSTMASTER_PENDING_MAX)
        n = POSTMASTER_PENDING_MAX;
    if (n == pm->n_pending && (n == 0 || memcmp(v, pm->pending, n * sizeof(*v)) == 0))
        return;
    if (n > 0)
        memcpy(pm->pending, v, n * sizeof(*v));
    pm->n_pending = n;
    pm->facts.pending_restart = n > 0;
    pm_changed(im);
}

/** What the directory's times cannot tell, such as a version file that was written over, is found
 *  this much later. */
#define DIR_BELIEVED_MS 60000

static void stamp_dir(struct postmaster_impl *im)
{
    im->dir_read_ms = 0;
    if (pgv_file_stamp(im->conf->data_dir, &im->dir_stamp) &&
        pgv_file_stamp_settled(&im->dir_stamp, PM_SETTLES_NS))
        im->dir_read_ms = pgv_clock_ms();
}

void pm_read_dir_again(struct postmaster_impl *im)
{
    struct pgv_file_stamp now;

    if (im->pm->facts.dir != PM_DIR_OK || !im->dir_read_ms ||
        pgv_clock_ms() - im->dir_read_ms >= DIR_BELIEVED_MS ||
        !pgv_file_stamp(im->conf->data_dir, &now) || !pgv_file_stamp_same(&now, &im->dir_stamp))
        pm_read_dir(im);
}

void pm_read_dir(struct postmaster_impl *im)
{
    struct postmaster_facts *f = &im->pm->facts, before = *f;
    char path[PGCONF_PATH_BYTES + 32], why[sizeof(f->dir_error)];
    enum postmaster_dir dir;

    stamp_dir(im); /* before its entries are read: what changes meanwhile changes it again */
    dir = pgdata_state(im->conf->data_dir, why);
    if (dir == PM_DIR_OK && !im->bootstrapping)
        dir = pm_unfinished_state(im, why);
    if (dir == PM_DIR_UNREADABLE && (errno == ENOMEM || errno == EMFILE || errno == ENFILE)) {
        /* The kernel wants a descriptor before it looks for the name, so this comes before any word
         * on whether the directory is there. */
        pgv_log(PGV_WARNING, "pg", "cannot look into the data directory now: %s", why);
        im->dir_read_ms = 0;
        return; /* what was known stands */
    }
    f->dir = dir;
    memcpy(f->dir_error, why, sizeof(f->dir_error));
    f->major_version = f->dir == PM_DIR_OK ? pgdata_major_version(im->conf->data_dir) : 0;
    f->standby_signal = f->dir == PM_DIR_OK && pgrecovery_exists(im->conf, f->major_version);
    (void)snprintf(path, sizeof(path), "%s/backup_label", im->conf->data_dir);
    f->backup_label = f->dir == PM_DIR_OK && pgv_file_exists(path);
    if (f->dir == PM_DIR_OK && !realpath(im->conf->data_dir, im->data_dir_real))
        pgv_copy_cut(im->data_dir_real, sizeof(im->data_dir_real), pgv_str(im->conf->data_dir));
    if (f->dir != PM_DIR_OK && !f->alive)
        f->sysid[0] = '\0';
    if (f->dir != before.dir || f->major_version != before.major_version ||
        f->standby_signal != before.standby_signal || f->backup_label != before.backup_label)
        pm_changed(im);
}

enum pgv_role pm_role_of_dir(const struct postmaster_impl *im)
{
    const struct postmaster_facts *f = &im->pm->facts;

    if (f->dir != PM_DIR_OK || f->major_version == 0)
        return PGV_ROLE_UNINITIALIZED;
    return f->standby_signal ? PGV_ROLE_REPLICA : PGV_ROLE_PRIMARY;
}

void pm_env(const struct postmaster_impl *im, struct pgfiles_env *ret)
{
    const struct postmaster_facts *f = &im->pm->facts;

    *ret = (struct pgfiles_env){
        .major_version = f->major_version,
        .full_version = f->server_version,
        .role = f->role,
        .custom_bootstrap = im->custom_bootstrap,
        .names = &im->prep.names,
    };
    if (im->custom_bootstrap) {
        const struct pgv_value *method = pgv_get(im->bootstrap, pgboot_method(im->bootstrap));

        ret->bootstrap_recovery_conf = pgv_get(method, "recovery_conf");
        ret->keep_existing_recovery_conf =
            pgv_bool_like(pgv_get(method, "keep_existing_recovery_conf"));
    }
}

/* Contract pg §1: the running server's, else the binary's, unless the data directory is of another
 * major version. */
void pm_find_version(struct postmaster_impl *im)
{
    struct postmaster_facts *f = &im->pm->facts;
    int v = im->conn.heartbeat.server_version, binary = im->prep.binary_version;

    if (f->state != PGV_STATE_RUNNING || v == 0) {
        v = binary;
        /* 90624 is of 90600, 150008 of 150000 */
        if (f->major_version && binary &&
            (binary >= 100000 ? binary / 10000 * 10000 : binary / 100 * 100) != f->major_version)
            v = f->major_version;
        if (v == 0)
            v = f->major_version;
    }
    if (f->server_version != v) {
        f->server_version = v;
        pm_changed(im);
    }
}

/* The owner must not decide on a control file that is older than the end of the server. */
static void control_is_known(struct postmaster_impl *im)
{
    (void)im;
}

void pm_on_server_gone(struct postmaster_impl *im, int status)
{
    struct postmaster_facts *f = &im->pm->facts;
    char how[80];
    bool expected = im->stop.active || im->closing, served = f->accepting;

    if (status >= 0)
        pgv_child_describe(status, how, sizeof(how));
    else
        (void)snprintf(how, sizeof(how), "not our child");
    pgv_log(expected ? PGV_INFO : PGV_WARNING, "pg", "postmaster has ended pid=%d how='%s'",
            (int)f->pid, how);
    if (status != 0) /* one that ends well ends last. Source: PostgreSQL, PM_NO_CHILDREN */
        pm_server_kill_orphans(im); /* before anybody hears that nothing writes here any more */
    f->alive = false;
    f->pid = 0;
    f->accepting = f->look_ok = f->look_timeout = false;
    f->in_recovery = f->streaming = f->in_archive_recovery = false;
    im->receiver = (struct pm_receiver){ 0 };
    im->identified_timeline = 0;
    pm_probe_off(im);
    pm_conn_drop_all(im);
    pm_status_forget(im);
    pm_read_dir(im);
    if (im->stop.active) {
        pm_stop_server_gone(im);
    } else {
        if (served)
            im->server.died_ms = pgv_clock_ms();
        if (im->start.active && im->start.waiting)
            pm_start_server_gone(im, status);
        else if (pm_is_starting(im))
            pm_set_state(im, PGV_STATE_START_FAILED);
        else if (f->state == PGV_STATE_RUNNING || f->state == PGV_STATE_RESTARTING)
            pm_set_state(im, PGV_STATE_CRASHED);
    }
    pm_find_version(im);
    pm_changed(im);
    (void)pm_control_ready(im, control_is_known);
}

void pm_on_accepting(struct postmaster_impl *im)
{
    struct pgfiles_env env;
    enum pm_pending pending = im->pending;

    pm_probe_off(im);
    im->pm->facts.accepting = true;
    im->pending = PM_PENDING_DEFAULT;
    pm_set_state(im, PGV_STATE_RUNNING);
    pm_find_version(im);
    /* What the control file says of the settings is of this start now. */
    im->ctl.stamp = (struct pgv_file_stamp){ 0 };
    (void)pm_control_ready(im, control_is_known);
    pm_changed(im);
    if (!im->custom_bootstrap) {
        pm_env(im, &env);
        pgfiles_save_backups(im->conf, &env);
    }
    if (pending == PM_PENDING_RESTART)
        pm_callback(im, "on_restart");
    else if (pending != PM_PENDING_NOOP)
        pm_callback(im, "on_start");
    pm_start_look(im);
    if (!im->params)
        pm_reconf_attach(im);
    else
        pm_reconf_retry(im);
}

/* ---- small deeds outside of jobs ---- */

static void on_checkpoint(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;

    (void)res;
    if (err)
        pgv_log(PGV_WARNING, "pg", "checkpoint failed: %s", err->msg);
    im->ckpt.ok = !err;
    im->ckpt.done = true;
    pgsql_disconnect(&im->conn.checkpoint);
    pm_wake_owner(im);
}

const char *pm_checkpoint_sql(const struct postmaster_impl *im)
{
    /* From 19 on a plain CHECKPOINT leaves unlogged buffers alone. Contract pg §17.6. */
    return im->pm->facts.major_version >= 190000 ? "CHECKPOINT (FLUSH_UNLOGGED)" : "CHECKPOINT";
}

/** A checkpoint may well take an hour on a big server; longer than a day is a hung one. */
#define CHECKPOINT_MS_MAX (24ull * 3600 * 1000)

void postmaster_checkpoint(struct postmaster *pm, void (*cb)(struct postmaster *pm, bool ok))
{
    struct postmaster_impl *im = pm->impl;

    if (im->ckpt.active)
        return;
    im->ckpt.active = true;
    im->ckpt.cb = cb;
    if (im->stop.checkpointing) {
        im->ckpt.done = true; /* the stop's own uses the connection */
        im->ckpt.ok = false;
        pm_wake_owner(im);
        return;
    }
    im->ckpt.query.data = im;
    im->ckpt.query.sql = pm_checkpoint_sql(im);
    im->ckpt.query.deadline_ms = pgv_clock_ms() + CHECKPOINT_MS_MAX;
    pgsql_submit(&im->conn.checkpoint, &im->ckpt.query, on_checkpoint);
}

/** Resuming sets a flag in shared memory. */
#define RESUME_MS_MAX 3000

static void on_resumed(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;

    (void)res;
    im->resume.active = false;
    if (err)
        pgv_log(PGV_WARNING, "pg", "cannot resume WAL replay: %s", err->msg);
}

void postmaster_resume_replay(struct postmaster *pm)
{
    struct postmaster_impl *im = pm->impl;

    if (im->resume.active || im->closing)
        return;
    im->resume.active = true;
    im->resume.query.data = im;
    im->resume.query.sql = "SELECT pg_catalog.pg_wal_replay_resume()";
    im->resume.query.deadline_ms = pgv_clock_ms() + RESUME_MS_MAX;
    pgsql_submit(&im->conn.heartbeat, &im->resume.query, on_resumed);
}

static void on_slots(struct pgslots *s, bool ok)
{
    struct postmaster_impl *im = s->data;

    im->slots_run.ok = ok;
    im->slots_run.done = true;
    pm_wake_owner(im);
}

static void copy_text(char *to, size_t bytes, const struct pgv_value *v)
{
    pgv_copy_cut(to, bytes, pgv_string(v));
}

static unsigned read_ignored(const struct pgv_value *list, struct pgslots_ignore *ret)
{
    unsigned n = 0;

    if (!pgv_is(list, PGV_LIST))
        return 0;
    PGV_EACH(item, list)
    {
        struct pgslots_ignore *g = &ret[n];
        struct pgv_str type = pgv_string(pgv_get(item, "type"));

        if (!pgv_is(item, PGV_MAP) || n == PGSLOTS_IGNORE_MAX)
            continue;
        *g = (struct pgslots_ignore){ .type_given = type.n > 0,
                                      .physical = pgv_str_eqz(type, "physical") };
        copy_text(g->name, sizeof(g->name), pgv_get(item, "name"));
        copy_text(g->database, sizeof(g->database), pgv_get(item, "database"));
        copy_text(g->plugin, sizeof(g->plugin), pgv_get(item, "plugin"));
        n++;
    }
    return n;
}

void postmaster_sync_slots(struct postmaster *pm, const struct postmaster_slot *wanted, unsigned n,
                           bool drop_others, void (*cb)(struct postmaster *pm, bool ok))
{
    struct postmaster_impl *im = pm->impl;
    const struct postmaster_facts *f = &pm->facts;
    bool primary = f->look_ok && !f->in_recovery;
    struct pgslots_args args = {
        .version = f->server_version,
        .wanted = wanted,
        .n_wanted = n,
        .ignore = im->ignore,
        .n_ignore = im->n_ignore,
        .drop_others = drop_others,
        /* Contract pg §18.5: somebody else leads, or I am primary. A leader's timeline is only
         * known when there is a leader. */
        .clean_xmin = primary || im->leader_timeline > 0,
    };

    if (im->slots_run.active)
        return;
    im->slots_run.active = true;
    im->slots_run.cb = cb;
    im->slots.data = im;
    if (!im->has_config_key || f->state != PGV_STATE_RUNNING || f->major_version < 90400 ||
        !pgslots_sync(&im->slots, &args, on_slots)) {
        im->slots_run.ok = f->state == PGV_STATE_RUNNING;
        im->slots_run.done = true;
        pm_wake_owner(im);
    }
}

unsigned postmaster_slots(const struct postmaster *pm, struct postmaster_slot_state *ret,
                          unsigned max)
{
    const struct pgslots *s = &pm->impl->slots;
    unsigned n = 0;

    for (; s->loaded && n < s->n && n < max; n++)
        ret[n] = s->v[n].state;
    return n;
}

void postmaster_set_leader_timeline(struct postmaster *pm, uint32_t timeline)
{
    pm->impl->leader_timeline = timeline;
}

const char *postmaster_data_dir(const struct postmaster *pm)
{
    return pm->impl->conf->data_dir;
}

unsigned postmaster_file_mode(const struct postmaster *pm)
{
    return (unsigned)pgfiles_mode(pm->impl->conf->data_dir, false);
}

struct pgv_value *postmaster_history(struct postmaster *pm, struct pgv_arena *a, uint32_t timeline,
                                     int64_t *ret_file_wall_us)
{
    struct postmaster_impl *im = pm->impl;
    struct pgv_error err = { 0 };
    struct pghist h = { 0 };
    struct pgv_value *lines;

    if (timeline < 2)
        return NULL;
    if (!pghist_read(a, im->conf->data_dir, pm->facts.major_version, timeline, &h, ret_file_wall_us,
                     &err)) {
        if (err.sys != ENOENT)
            pgv_log(PGV_WARNING, "pg", "cannot read the timeline history: %s", err.msg);
        return NULL;
    }
    lines = pgv_new(a, PGV_LIST);
    for (size_t i = 0; lines && i < h.n; i++) {
        struct pgv_value *line = pgv_list_add(lines, pgv_new(a, PGV_LIST));

        if (!pgv_list_add(line, pgv_new_int(a, (int64_t)h.v[i].timeline)) ||
            !pgv_list_add(line, pgv_new_int(a, (int64_t)h.v[i].lsn)) ||
            !pgv_list_add(line, pgv_new_string(a, h.v[i].reason)))
            return NULL;
    }
    return lines;
}

/* ---- open ---- */

static bool take_config(struct postmaster_impl *im, const struct postmaster_config *config,
                        struct pgv_error *err)
{
    struct pgv_arena arena;
    struct pgv_value *bootstrap = NULL;

    pgv_arena_init(&arena, PM_ARENA_BYTES_MAX);
    if (config->bootstrap) {
        bootstrap = pgv_value_copy(&arena, config->bootstrap);
        if (!bootstrap) {
            pgv_arena_done(&arena);
            return pgv_fail(err, PGV_ENOMEM, "no room for the bootstrap section");
        }
    }
    pgv_arena_done(&im->boot_arena);
    im->boot_arena = arena;
    im->bootstrap = bootstrap;
    im->retry_timeout_ms = config->retry_timeout_ms;
    im->loop_wait_ms = config->loop_wait_ms;
    im->has_config_key = config->has_config_key;
    im->n_ignore = read_ignored(config->ignore_slots, im->ignore);
    return true;
}

/* The running server was found before we knew much: look whether it is one. */
static void attach(struct postmaster_impl *im)
{
    if (!pm_server_find(im)) {
        pm_server_kill_orphans(im); /* of one that died while no agent was here */
        if (im->pm->facts.role == PGV_ROLE_PRIMARY)
            im->pm->facts.role = PGV_ROLE_DEMOTED; /* contract pg §2.3 */
        return;
    }
    pgv_log(PGV_INFO, "pg", "found a running postmaster pid=%d", (int)im->pm->facts.pid);
}

bool postmaster_open(struct postmaster *pm, uv_loop_t *loop, const struct postmaster_config *config,
                     struct pgv_error *err)
{
    static bool umask_known;
    struct postmaster_impl *im = pgv_zalloc(sizeof(*im));
    struct pgconf_address addr;

    if (!umask_known) /* before we change it for what is written into the data directory */
        pgfiles_remember_umask();
    umask_known = true;
    if (!im)
        return pgv_fail(err, PGV_ENOMEM, "no memory for the server's state");
    pgv_arena_init(&im->boot_arena, PM_ARENA_BYTES_MAX);
    pgv_arena_init(&im->params_arena, PM_ARENA_BYTES_MAX);
    pgv_arena_init(&im->recovery_arena, PM_ARENA_BYTES_MAX);
    pgv_arena_init(&im->job.arena, PM_ARENA_BYTES_MAX);
    im->pm = pm;
    im->loop = loop;
    if (!pgconf_new(config->name, config->scope, config->postgresql, &im->conf, err) ||
        !pgconf_resolve_address(im->conf, &addr, err) ||
        !pgconf_bin(im->conf, "postgres", im->postgres_path) || !take_config(im, config, err)) {
        if (err && err->code == PGV_OK)
            (void)pgv_fail(err, PGV_EINVALID, "postgresql.bin_dir: too long");
        pgconf_unref(im->conf);
        pgv_arena_done(&im->boot_arena);
        pgv_free(im);
        return false;
    }
    im->addr = addr;
    pm->impl = im;
    pm->facts = (struct postmaster_facts){ 0 };
    pm->facts.state = PGV_STATE_STOPPED;
    pm->facts.state_since_ms = pgv_clock_ms();
    pm->job = PM_JOB_NONE;
    pm->job_percent = -1;
    pm->job_bytes = pm->job_bytes_total = 0;
    pm->n_pending = 0;
    for (unsigned i = 0; i < PM_TIMERS; i++) {
        (void)uv_timer_init(loop, &im->timers[i].uv); /* never fails */
        im->timers[i].uv.data = &im->timers[i];
        im->timers[i].im = im;
        im->handles_open++;
    }
    pgv_buf_init(&im->status.replication, PM_STATUS_JSON_BYTES_MAX);
    pgv_buf_init(&im->reconf.names, PM_ARENA_BYTES_MAX);
    pgv_arena_init(&im->reconf.arena, PM_ARENA_BYTES_MAX);
    pm_conn_open(im);
    pgslots_init(&im->slots, &im->conn.slots);
    (void)pgfiles_mode(im->conf->data_dir, true);
    pm_publish_address(im);
    pm_unfinished_end(im);
    pm_read_dir(im);
    pm->facts.role = pm_role_of_dir(im);
    pm_conn_configure(im);
    attach(im);
    (void)pm_prepared(im, pm_find_version);
    (void)pm_control_ready(im, control_is_known);
    pm_changed(im);
    return true;
}

/* ---- close ---- */

static void all_closed(struct postmaster_impl *im)
{
    struct postmaster *pm = im->pm;
    void (*cb)(struct postmaster * pm) = im->close_cb;

    pgrecovery_current_done(&im->follow.current);
    pgguc_names_done(&im->prep.names);
    pgv_buf_done(&im->status.replication);
    pgv_buf_done(&im->reconf.names);
    pgv_arena_done(&im->reconf.arena);
    pgv_arena_done(&im->boot_arena);
    pgv_arena_done(&im->params_arena);
    pgv_arena_done(&im->recovery_arena);
    pgv_arena_done(&im->job.arena);
    pgconf_unref(im->conf);
    pgv_free(im);
    pm->impl = NULL;
    cb(pm);
}

void pm_handle_closed(struct postmaster_impl *im)
{
    if (--im->handles_open == 0)
        all_closed(im);
}

static void on_timer_closed(uv_handle_t *uv)
{
    struct pm_timer *t = uv->data;

    pm_handle_closed(t->im);
}

/** How often a close looks whether all that was canceled has come to its end. */
#define CLOSE_TICK_MS 2

static void close_step(struct postmaster_impl *im)
{
    if (!pm_jobs_idle(im) || im->stop.active || im->start.active || im->promote.active ||
        im->prep.busy || im->ctl.busy || im->reload.active || im->reconf.active ||
        im->conn.resolving) {
        pm_arm(im, PM_TIMER_CLOSE, CLOSE_TICK_MS, close_step);
        return;
    }
    if (!im->server.releasing)
        pm_server_release(im);
    if (!pm_server_released(im)) {
        pm_arm(im, PM_TIMER_CLOSE, CLOSE_TICK_MS, close_step);
        return;
    }
    im->closing_handles = true;
    pm_conn_close(im); /* counts its handles in */
    for (unsigned i = 0; i < PM_TIMERS; i++)
        uv_close((uv_handle_t *)&im->timers[i].uv, on_timer_closed);
}

void postmaster_close(struct postmaster *pm, void (*cb)(struct postmaster *pm))
{
    struct postmaster_impl *im = pm->impl;

    PGV_ASSERT(!im->closing);
    im->closing = true;
    im->close_cb = cb;
    pm_disarm(im, PM_TIMER_EVENTS);
    pm_probe_off(im);
    pm_status_close(im);
    pm_jobs_cancel_all(im);
    pm_reload_cancel(im);
    pm_reconf_cancel(im);
    pm_prepare_cancel(im);
    if (im->ctl.busy)
        pgtool_cancel(&im->ctl.tool);
    if (im->conn.resolving)
        names_cancel(&im->conn.names);
    pm_arm(im, PM_TIMER_CLOSE, 0, close_step);
}

/* ---- new configuration ---- */

bool postmaster_config_check(const struct postmaster_config *config, struct pgv_error *err)
{
    struct pgconf *conf = NULL;
    struct pgconf_address addr;
    bool ok = pgconf_new(config->name, config->scope, config->postgresql, &conf, err) &&
              pgconf_resolve_address(conf, &addr, err);

    pgconf_unref(conf);
    return ok;
}

bool postmaster_reconfigure(struct postmaster *pm, const struct postmaster_config *config,
                            bool sighup, struct pgv_error *err)
{
    struct postmaster_impl *im = pm->impl;
    struct pgconf *conf = NULL;
    struct pgconf_address addr;

    if (!pgconf_new(config->name, config->scope, config->postgresql, &conf, err))
        return false;
    if (!pgconf_resolve_address(conf, &addr, err) || !take_config(im, config, err)) {
        pgconf_unref(conf);
        return false;
    }
    pm_reconf_begin(im, conf, sighup);
    return true;
}

void pm_publish_address(struct postmaster_impl *im)
{
    struct postmaster *pm = im->pm;

    if (strcmp(pm->conn_url, im->addr.conn_url) == 0 &&
        strcmp(pm->proxy_url, im->addr.proxy_url) == 0)
        return;
    pgv_copy_cut(pm->conn_url, sizeof(pm->conn_url), pgv_str(im->addr.conn_url));
    pgv_copy_cut(pm->proxy_url, sizeof(pm->proxy_url), pgv_str(im->addr.proxy_url));
    pm_changed(im);
}
