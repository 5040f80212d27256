/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/jobs.c - what an agent knows of its server and does to it, as pg/postmaster.h promises.
 *
 * Everything here lives in the agent's process: it dies with it and stands still with it. The
 * server goes on in postgres.c.
 */
#include "tests/sim/sim.h"

#include <string.h>

#define QUERY_MS 2000
#define PG_CTL_TIMEOUT_MS 60000
#define QUIT_MS 10000
#define FENCE_MS 700
#define POLL_US (20 * SIM_MS)
#define QUERIES_US (20 * SIM_S)

enum { P_BEGIN, P_RUN, P_END, P_POLL, P_DEADLINE };

static void on_job(struct sim *s, struct sim_node *n, const struct sim_ev *ev);
static void stop_begin(struct sim *s, struct sim_node *n, const struct postmaster_job_args *args,
                       bool own);

/* ---- facts
 * ------------------------------------------------------------------------------------------- */

void pm_read(struct sim *s, struct sim_node *n)
{
    struct postmaster_facts *f = &n->pm.facts;
    const struct sim_pg *pg = &n->pg;

    f->alive = pg->proc != PG_DOWN;
    f->pid = f->alive ? (pid_t)pg->life + 100 : 0;
    f->dir = pg->disk_gone || pg->dir_hidden                                  ? PM_DIR_UNREADABLE
             : pg->dir == PM_DIR_OK && pg->unfinished && !n->pm.bootstrapping ? PM_DIR_UNFINISHED
                                                                              : pg->dir;
    if (f->dir == PM_DIR_OK)
        memcpy(f->sysid, pg->sysid, sizeof(f->sysid));
    else if (!f->alive)
        memset(f->sysid, 0, sizeof(f->sysid));
    f->major_version = 150000;
    f->server_version = 150008;
    f->standby_signal = pg->standby_signal;
    f->backup_label = pg->backup_label;
    f->rewind_possible = s->plan.rewind;
    f->control_state = pg->dir == PM_DIR_OK ? pg->control : PM_CONTROL_UNKNOWN;
    f->control_timeline = pg_tli(s, n);
    f->control_checkpoint = pg->checkpoint;
    if (!f->alive)
        f->look_ok = f->accepting = f->streaming = false;
}

static void set_state(struct sim *s, struct sim_node *n, enum pgv_state state)
{
    struct postmaster_facts *f = &n->pm.facts;

    if (f->state == state)
        return;
    f->state = state;
    f->state_since_ms = node_ms(s, n);
}

static bool is_starting(const struct sim_node *n)
{
    return pgv_state_is_starting(n->pm.facts.state) || n->pm.facts.state == PGV_STATE_RESTARTING;
}

void pm_tell_facts(struct sim *s, struct sim_node *n)
{
    struct ha_event ev = { .type = HA_EV_FACTS };

    if (!n->running)
        return;
    ev.u.facts = &n->pm.facts;
    node_feed(s, n, &ev);
}

static void on_facts(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    (void)ev;
    pm_tell_facts(s, n);
}

static void facts_soon(struct sim *s, struct sim_node *n)
{
    sim_in(s, 0, SIM_AGENT, n, on_facts, 0, 0, 0);
}

static enum pgv_role role_of_dir(const struct sim_node *n)
{
    if (n->pm.facts.dir != PM_DIR_OK)
        return PGV_ROLE_UNINITIALIZED;
    return n->pg.standby_signal ? PGV_ROLE_REPLICA : PGV_ROLE_PRIMARY;
}

/* The row of the monitoring query. */
static void take_row(struct sim *s, struct sim_node *n)
{
    struct postmaster_facts *f = &n->pm.facts;
    const struct sim_pg *pg = &n->pg;

    pg_catch_up(s, n);
    f->look_ok = f->accepting = true;
    f->look_timeout = false;
    f->look_ms = node_ms(s, n);
    f->in_recovery = pg->in_recovery;
    f->timeline = pg_tli(s, n);
    f->wal_lsn = pg->lsn;
    f->receive_lsn = f->replay_lsn = pg->in_recovery ? pg->lsn : 0;
    f->streaming = pg->streaming;
    f->replay_paused = pg->replay_paused;
    f->start_time_wall_us = pg->start_wall_us;
    f->announced = true;
    if (n->pm.stop.active)
        return;
    if (!f->in_recovery)
        f->role = PGV_ROLE_PRIMARY;
    else if (f->role == PGV_ROLE_PRIMARY || f->role == PGV_ROLE_DEMOTED ||
             f->role == PGV_ROLE_UNINITIALIZED)
        f->role = PGV_ROLE_REPLICA;
}

static void on_look(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct postmaster_facts *f = &n->pm.facts;
    struct ha_event out = { .type = HA_EV_LOOKED };

    (void)ev;
    n->pm.looking = false;
    pm_read(s, n);
    if (f->alive && n->pg.proc != PG_STARTING) {
        if (n->pg.hung || n->pg.proc == PG_STOPPING) {
            f->look_ok = false;
            f->look_timeout = n->pg.hung;
        } else {
            take_row(s, n);
            if (!n->pm.stop.active && !n->pm.starting &&
                (f->state == PGV_STATE_STOP_FAILED || f->state == PGV_STATE_START_FAILED ||
                 f->state == PGV_STATE_STOPPED || f->state == PGV_STATE_CRASHED ||
                 f->state == PGV_STATE_RESTART_FAILED))
                set_state(s, n, PGV_STATE_RUNNING);
        }
    }
    if (!n->running)
        return;
    out.u.facts = f;
    node_feed(s, n, &out);
}

void pm_port_look(void *data)
{
    struct sim_node *n = data;
    struct sim *s = n->sim;

    if (n->pm.looking)
        return;
    n->pm.looking = true;
    sim_in(s, n->pg.hung && n->pg.proc != PG_DOWN ? QUERY_MS * SIM_MS : sim_lat(s, 300, 2500),
           SIM_AGENT, n, on_look, 0, 0, 0);
}

/* ---- ends
 * -------------------------------------------------------------------------------------------------
 */

static void tell_job(struct sim *s, struct sim_node *n, enum postmaster_job job,
                     enum postmaster_outcome outcome)
{
    struct ha_event ev = { .type = HA_EV_FACTS };

    pm_read(s, n);
    if (sim_noting(s, SIM_NOTE_PG)) {
        static const char *const ends[] = { "done", "no", "unknown", "failed", "canceled" };
        sim_note(s, n, SIM_NOTE_PG, "job %d ends: %s", (int)job, ends[outcome]);
    }
    if (!n->running)
        return;
    ev.u.facts = &n->pm.facts;
    pump_event(&n->pump, &ev);
    ev = (struct ha_event){ .type = HA_EV_JOB };
    ev.u.job.job = job;
    ev.u.job.outcome = outcome;
    node_feed(s, n, &ev);
}

static void job_end(struct sim *s, struct sim_node *n, enum postmaster_outcome outcome)
{
    struct sim_pm *pm = &n->pm;
    enum postmaster_job job = pm->args.job;

    pm->gen++;
    pm->working = pm->starting = false;
    if (!(pm->stop.active && pm->stop.own_job))
        pm->job = PM_JOB_NONE;
    tell_job(s, n, job, pm->canceled ? PM_CANCELED : outcome);
}

static void later(struct sim *s, struct sim_node *n, uint64_t in_us, int phase)
{
    sim_in(s, in_us, SIM_AGENT, n, on_job, n->pm.gen, (uint64_t)phase, 0);
}

static void on_canceled(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (n->pm.working && ev->a == n->pm.gen)
        job_end(s, n, PM_CANCELED);
}

/* What it waited for is dropped; what it left half-way shows. */
static void cancel_work(struct sim *s, struct sim_node *n)
{
    struct sim_pm *pm = &n->pm;

    if (!pm->working || pm->canceled)
        return;
    pm->canceled = true;
    pm->gen++;
    pm->starting = false;
    switch (pm->args.job) {
    case PM_JOB_CLONE:
        n->pg.dir = PM_DIR_EMPTY;
        n->pg.branch = -1;
        break;
    case PM_JOB_BOOTSTRAP:
        if (n->pg.proc == PG_DOWN)
            n->pg.dir = PM_DIR_EMPTY;
        break;
    case PM_JOB_REWIND:
        if (pm->phase == P_END)
            n->pg.broken = true;
        break;
    default:
        break;
    }
    if (!(pm->stop.active && !pm->stop.own_job)) /* else the end of the stop is waited for */
        sim_in(s, SIM_MS, SIM_AGENT, n, on_canceled, pm->gen, 0, 0);
}

void pm_port_cancel_job(void *data)
{
    struct sim_node *n = data;

    cancel_work(n->sim, n);
}

/* ---- STOP
 * --------------------------------------------------------------------------------------------------
 */

static void stop_ended(struct sim *s, struct sim_node *n, bool ok);

static void on_down(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (ev->a != n->pg.life || n->pg.proc == PG_DOWN)
        return;
    sim_note(s, n, SIM_NOTE_PG, "is down");
    pg_end(s, n);
    pm_server_gone(s, n);
}

static void on_report(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct ha_event out = { .type = HA_EV_SHUTDOWN_CHECKPOINT };
    struct postmaster_facts *f = &n->pm.facts;

    if (ev->a != n->pm.stop.gen || !n->pm.stop.active || n->pm.stop.reported ||
        n->pm.stop.args.mode == PM_STOP_IMMEDIATE)
        return;
    n->pm.stop.reported = true;
    if (n->pm.stop.args.demote && (f->role == PGV_ROLE_PRIMARY || f->role == PGV_ROLE_PROMOTED))
        f->role = PGV_ROLE_DEMOTED;
    if (!n->running)
        return;
    out.u.shutdown_checkpoint.checkpoint_lsn = ev->b;
    out.u.shutdown_checkpoint.prev_lsn = ev->b;
    node_feed(s, n, &out);
}

/* All WAL must be archived, however long that takes: ev->b is when it will be. */
static void on_archived(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (ev->a == n->pg.life && n->pg.archive_us && s->now_us < ev->b)
        sim_in(s, 200 * SIM_MS, SIM_MACHINE, n, on_archived, ev->a, ev->b, 0);
    else
        on_down(s, n, ev);
}

static void on_shutdown_checkpoint(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_pg *pg = &n->pg;
    uint64_t wait_us = 20 * SIM_MS, at = pg->lsn;

    if (ev->a != pg->life || pg->proc != PG_STOPPING)
        return;
    if (pg->stop_hangs) {
        sim_in(s, 500 * SIM_MS, SIM_MACHINE, n, on_shutdown_checkpoint, pg->life, 0, 0);
        return;
    }
    if (pg->in_recovery) {
        pg->control = PM_CONTROL_SHUT_DOWN_IN_RECOVERY;
    } else {
        pg->checkpoint = at;
        pg_write(s, n, 120);
        pg->control = PM_CONTROL_SHUT_DOWN;
        if (n->pm.stop.active && n->pm.stop.args.report_shutdown_checkpoint && n->up &&
            n->pm.stop.served)
            sim_in(s, sim_lat(s, SIM_MS, 10 * SIM_MS), SIM_AGENT, n, on_report, n->pm.stop.gen, at,
                   0);
        for (unsigned i = 0; i < s->n; i++)
            if (s->nodes[i].pg.streaming && s->nodes[i].pg.upstream == (int)n->i &&
                s->nodes[i].pg.lag_us + 30 * SIM_MS > wait_us)
                wait_us = s->nodes[i].pg.lag_us + 30 * SIM_MS;
    }
    sim_in(s, wait_us, SIM_MACHINE, n, on_archived, pg->life, s->now_us + pg->archive_us, 0);
}

static void on_sigint(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_pg *pg = &n->pg;

    if (ev->a != pg->life || pg->proc == PG_DOWN)
        return;
    if (pg->backends_hang || pg->stuck) {
        sim_in(s, 100 * SIM_MS, SIM_MACHINE, n, on_sigint, pg->life, 0, 0);
        return;
    }
    pg_stop_sessions(s, n);
    if (pg->proc == PG_STARTING) {
        sim_in(s, 50 * SIM_MS, SIM_MACHINE, n, on_down, pg->life, 0, 0);
        return;
    }
    if (pg->proc == PG_STOPPING)
        return;
    pg->proc = PG_STOPPING;
    sim_in(s, sim_lat(s, 30 * SIM_MS, 600 * SIM_MS) + pg->stop_us, SIM_MACHINE, n,
           on_shutdown_checkpoint, pg->life, 0, 0);
}

static void on_sigquit(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (ev->a != n->pg.life || n->pg.proc == PG_DOWN)
        return;
    if (n->pg.stuck) {
        sim_in(s, 100 * SIM_MS, SIM_MACHINE, n, on_sigquit, n->pg.life, 0, 0);
        return;
    }
    pg_stop_sessions(s, n);
    sim_in(s, sim_lat(s, SIM_MS, 20 * SIM_MS), SIM_MACHINE, n, on_down, n->pg.life, 0, 0);
}

static void send_signal(struct sim *s, struct sim_node *n)
{
    struct sim_pm *pm = &n->pm;
    bool quit = pm->stop.args.mode == PM_STOP_IMMEDIATE;

    pm->stop.signalled = true;
    pm->stop.signal_ms = node_ms(s, n);
    sim_note(s, n, SIM_NOTE_PG, "gets %s", quit ? "SIGQUIT" : "SIGINT");
    sim_in(s, sim_lat(s, SIM_MS, 5 * SIM_MS), SIM_MACHINE, n, quit ? on_sigquit : on_sigint,
           n->pg.life, 0, 0);
}

static void on_stop_tick(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_pm *pm = &n->pm;
    uint64_t now = node_ms(s, n), at = UINT64_MAX;
    const struct postmaster_job_args *a = &pm->stop.args;

    if (ev->a != pm->stop.gen || !pm->stop.active || a->mode == PM_STOP_IMMEDIATE)
        return;
    if (a->immediate_at_ms)
        at = a->immediate_at_ms;
    if (a->stop_timeout_ms) {
        uint64_t since = pm->stop.signalled ? pm->stop.signal_ms : pm->stop.begun_ms;
        if (since + a->stop_timeout_ms < at)
            at = since + a->stop_timeout_ms;
    }
    if (at == UINT64_MAX)
        return;
    if (now >= at) {
        pm->stop.args.mode = PM_STOP_IMMEDIATE;
        send_signal(s, n);
        return;
    }
    sim_at(s, node_when(s, n, at), SIM_AGENT, n, on_stop_tick, pm->stop.gen, 0, 0);
}

/* The CHECKPOINT before the signal is done. */
static void on_stop_go(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (ev->a != n->pm.stop.gen || !n->pm.stop.active || n->pm.stop.signalled)
        return;
    if (n->pg.proc == PG_DOWN)
        return;                                           /* its end is on its way */
    if (n->pg.hung && n->pm.stop.args.checkpoint_first) { /* the query gets no answer */
        sim_in(s, SIM_S, SIM_AGENT, n, on_stop_go, ev->a, 0, 0);
        return;
    }
    if (n->pm.stop.own_job)
        set_state(s, n, PGV_STATE_STOPPING);
    send_signal(s, n);
    facts_soon(s, n);
}

static void on_not_running(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (ev->a == n->pm.stop.gen && n->pm.stop.active && n->pg.proc == PG_DOWN)
        stop_ended(s, n, true);
}

static void stop_begin(struct sim *s, struct sim_node *n, const struct postmaster_job_args *args,
                       bool own)
{
    struct sim_pm *pm = &n->pm;

    pm->stop.active = true;
    pm->stop.signalled = pm->stop.reported = false;
    pm->stop.served = pm->facts.accepting;
    pm->stop.args = *args;
    pm->stop.own_job = own;
    pm->stop.begun_ms = node_ms(s, n);
    pm->stop.gen++;
    if (n->pg.proc == PG_DOWN) {
        sim_in(s, 0, SIM_AGENT, n, on_not_running, pm->stop.gen, 0, 0);
        return;
    }
    if (args->mode == PM_STOP_IMMEDIATE) {
        if (own)
            set_state(s, n, PGV_STATE_STOPPING);
        send_signal(s, n);
        return;
    }
    sim_in(s, 0, SIM_AGENT, n, on_stop_tick, pm->stop.gen, 0, 0);
    sim_in(s, args->checkpoint_first && !is_starting(n) ? sim_lat(s, 5 * SIM_MS, 800 * SIM_MS) : 0,
           SIM_AGENT, n, on_stop_go, pm->stop.gen, 0, 0);
}

static void stop_job(struct sim *s, struct sim_node *n, const struct postmaster_job_args *args)
{
    struct sim_pm *pm = &n->pm;

    pm->job = PM_JOB_STOP;
    if (pm->stop.active) { /* a stricter one takes its place */
        bool was_quit = pm->stop.signalled && pm->stop.args.mode == PM_STOP_IMMEDIATE;

        if (!pm->stop.own_job) {
            pm->canceled = true;
            sim_in(s, 0, SIM_AGENT, n, on_canceled, ++pm->gen, 0, 0);
        }
        pm->stop.own_job = true;
        pm->stop.args = *args;
        pm->stop.begun_ms = node_ms(s, n);
        if (was_quit)
            pm->stop.args.mode = PM_STOP_IMMEDIATE;
        set_state(s, n, PGV_STATE_STOPPING);
        if (n->pg.proc == PG_DOWN)
            return;
        if (pm->stop.args.mode == PM_STOP_IMMEDIATE) {
            if (!was_quit)
                send_signal(s, n);
        } else {
            sim_in(s, 0, SIM_AGENT, n, on_stop_tick, pm->stop.gen, 0, 0);
            if (!pm->stop.signalled)
                sim_in(s, 0, SIM_AGENT, n, on_stop_go, pm->stop.gen, 0, 0);
        }
        return;
    }
    stop_begin(s, n, args, true);
    cancel_work(s, n);
}

static void stop_ended(struct sim *s, struct sim_node *n, bool ok)
{
    struct sim_pm *pm = &n->pm;
    struct postmaster_facts *f = &pm->facts;
    bool own = pm->stop.own_job;

    pm->stop.active = false;
    pm->stop.own_job = false;
    pm->stop.gen++;
    pm_read(s, n);
    if (own)
        set_state(s, n, PGV_STATE_STOPPED);
    if (pm->stop.args.demote && (f->role == PGV_ROLE_PRIMARY || f->role == PGV_ROLE_PROMOTED))
        f->role = PGV_ROLE_DEMOTED;
    if (own) {
        if (pm->working)
            job_end(s, n, PM_CANCELED);
        pm->job = PM_JOB_NONE;
        tell_job(s, n, PM_JOB_STOP, ok ? PM_DONE : PM_FAILED);
        return;
    }
    if (pm->canceled)
        job_end(s, n, PM_CANCELED);
    else
        later(s, n, 0, P_RUN); /* the job for which it was stopped */
}

/* ---- the server changed by itself
 * ----------------------------------------------------------------------------- */

static void on_gone(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_pm *pm = &n->pm;

    (void)ev;
    if (n->pg.proc != PG_DOWN)
        return;
    if (!pm->facts.alive && !pm->stop.active && !pm->starting)
        return;
    pm_read(s, n);
    if (pm->stop.active) {
        stop_ended(s, n, true);
        return;
    }
    if (pm->starting) {
        set_state(s, n, PGV_STATE_START_FAILED);
        job_end(s, n, PM_FAILED);
        return;
    }
    if (pm->facts.state == PGV_STATE_RUNNING || is_starting(n))
        set_state(s, n, PGV_STATE_CRASHED);
    pm_tell_facts(s, n);
}

void pm_server_gone(struct sim *s, struct sim_node *n)
{
    if (n->up)
        sim_in(s, sim_lat(s, 100, 2000), SIM_AGENT, n, on_gone, 0, 0, 0);
}

static void on_accepting(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_pm *pm = &n->pm;

    if (ev->a != n->pg.life || n->pg.proc != PG_RUNNING)
        return;
    pm_read(s, n);
    pm->facts.accepting = true;
    if (!pm->stop.active)
        set_state(s, n, PGV_STATE_RUNNING);
    pm->facts.look_ok = false;
    if (pm->starting) {
        job_end(s, n, PM_DONE);
        return;
    }
    pm_tell_facts(s, n);
}

void pm_server_ready(struct sim *s, struct sim_node *n)
{
    if (n->up)
        sim_in(s, sim_lat(s, SIM_MS, 30 * SIM_MS), SIM_AGENT, n, on_accepting, n->pg.life, 0, 0);
}

/* ---- START and what contains one
 * ----------------------------------------------------------------------------------- */

static uint64_t recovery_us(struct sim *s, struct sim_node *n)
{
    uint64_t us = sim_lat(s, 80 * SIM_MS, 600 * SIM_MS);

    if (n->pg.control == PM_CONTROL_IN_PRODUCTION || n->pg.control == PM_CONTROL_IN_CRASH_RECOVERY)
        us += n->pg.recovery_us;
    return us;
}

static void wait_accepting(struct sim *s, struct sim_node *n)
{
    uint64_t timeout = n->pm.args.timeout_ms ? n->pm.args.timeout_ms : PG_CTL_TIMEOUT_MS;

    n->pm.starting = true;
    later(s, n, timeout * SIM_MS, P_DEADLINE);
    facts_soon(s, n);
}

static void start(struct sim *s, struct sim_node *n, enum pgv_role role)
{
    struct sim_pg *pg = &n->pg;
    struct postmaster_facts *f = &n->pm.facts;
    bool standby = role != PGV_ROLE_PRIMARY;
    int up =
        n->pm.args.job == PM_JOB_RESTART ? pg->upstream : node_by_name(s, n->pm.args.node.name);

    if (pg->proc != PG_DOWN) {
        if (pg->proc == PG_RUNNING) {
            job_end(s, n, PM_DONE);
            return;
        }
        wait_accepting(s, n);
        return;
    }
    if (pg->dir != PM_DIR_OK || pg->disk_gone || pg->dir_hidden) {
        set_state(s, n, PGV_STATE_START_FAILED);
        job_end(s, n, PM_FAILED);
        return;
    }
    if (n->pm.args.job != PM_JOB_RESTART || f->role == PGV_ROLE_PROMOTED ||
        f->role == PGV_ROLE_DEMOTED) /* else it changes nothing but the process */
        f->role = role;
    pg->standby_signal = standby;
    pg->upstream = standby ? up : -1;
    set_state(s, n, PGV_STATE_STARTING);
    pg_spawn(s, n, standby, recovery_us(s, n));
    pm_read(s, n);
    f->look_ok = false;
    f->accepting = f->pending_restart = false;
    wait_accepting(s, n);
}

/* ---- the data directory
 * ------------------------------------------------------------------------------------------------
 */

static struct sim_node *source_of(struct sim *s, struct sim_node *n)
{
    int i = node_by_name(s, n->pm.args.node.name);
    struct sim_node *up = i >= 0 ? &s->nodes[i] : NULL;

    if (!up || up == n || up->pg.proc != PG_RUNNING || up->pg.hung || !node_linked(s, n, up))
        return NULL;
    return up;
}

static void wiped(struct sim_node *n)
{
    check_emptied(n);
    n->pg.dir = PM_DIR_EMPTY;
    n->pg.branch = -1;
    n->pg.broken = n->pg.foreign = n->pg.standby_signal = n->pg.backup_label = false;
    n->pg.unfinished = n->pm.bootstrapping = false;
    n->pg.upstream = -1;
    n->pg.control = PM_CONTROL_UNKNOWN;
}

static void clone_end(struct sim *s, struct sim_node *n, uint32_t source_life)
{
    struct sim_node *up = source_of(s, n);
    struct sim_pg *pg = &n->pg;

    s->stats.clones++;
    if (pg->fail_clones || !up || up->pg.life != source_life) {
        if (pg->fail_clones)
            pg->fail_clones--;
        wiped(n);
        set_state(s, n, PGV_STATE_STOPPED);
        job_end(s, n, PM_FAILED);
        return;
    }
    pg_catch_up(s, up);
    wiped(n);
    pg->dir = PM_DIR_OK;
    memcpy(pg->sysid, up->pg.sysid, sizeof(pg->sysid));
    pg->branch = up->pg.branch;
    pg->lsn = up->pg.lsn;
    pg->standby_signal = pg->backup_label = true;
    pg->control = up->pg.in_recovery ? PM_CONTROL_IN_ARCHIVE_RECOVERY : PM_CONTROL_IN_PRODUCTION;
    set_state(s, n, PGV_STATE_STOPPED);
    n->pm.facts.role = PGV_ROLE_REPLICA;
    job_end(s, n, PM_DONE);
}

/* By numbers, as PostgreSQL's history files tell it. */
static enum postmaster_outcome judge(const struct sim *s, const struct sim_node *n,
                                     const struct sim_node *leader)
{
    uint32_t tli = pg_tli(s, n), theirs = pg_tli(s, leader);
    uint64_t left = SIM_MAX_US;

    if (tli > theirs)
        return PM_DONE;
    for (int b = leader->pg.branch; b >= 0; b = s->branches[b].parent) {
        if (s->branches[b].tli == tli) /* another one of that number begins otherwise */
            return b != n->pg.branch || n->pg.lsn > left ? PM_DONE : PM_NO;
        left = s->branches[b].switch_lsn;
    }
    return PM_DONE;
}

static void check_divergence(struct sim *s, struct sim_node *n)
{
    struct sim_node *up = source_of(s, n);

    if (!up || up->pg.in_recovery || n->pm.args.node.role != PGV_ROLE_PRIMARY ||
        n->pg.dir != PM_DIR_OK) {
        job_end(s, n, PM_UNKNOWN);
        return;
    }
    pg_catch_up(s, n);
    job_end(s, n, judge(s, n, up));
}

static void rewind_end(struct sim *s, struct sim_node *n, uint32_t source_life)
{
    struct sim_node *up = source_of(s, n);
    struct sim_pg *pg = &n->pg;
    uint64_t fork;
    int common;

    s->stats.rewinds++;
    if (!up || up->pg.life != source_life) {
        pg->broken = true;
        job_end(s, n, PM_UNKNOWN);
        return;
    }
    if (pg->fail_rewinds) {
        pg->fail_rewinds--;
        pg->broken = true;
        if (s->plan.remove_on_diverged || s->plan.remove_on_rewind_failure)
            wiped(n);
        job_end(s, n, PM_FAILED);
        return;
    }
    if (pg->branch != up->pg.branch && pg_tli(s, n) == pg_tli(s, up)) {
        /* pg_rewind takes them for one history */
        if (s->plan.remove_on_diverged || s->plan.remove_on_rewind_failure)
            wiped(n);
        job_end(s, n, PM_FAILED);
        return;
    }
    fork = pg_fork_lsn(s, pg->branch, up->pg.branch, &common);
    if (common >= 0 && pg->branch != up->pg.branch) {
        if (fork < pg->lsn)
            pg->lsn = fork;
        pg->branch = common;
    }
    pg->broken = false;
    pg->control = PM_CONTROL_IN_ARCHIVE_RECOVERY;
    job_end(s, n, PM_DONE);
}

/* The pre_promote script, if there is one, has ended. */
static void promote(struct sim *s, struct sim_node *n)
{
    struct sim_pm *pm = &n->pm;
    struct sim_pg *pg = &n->pg;

    if (pg->proc == PG_RUNNING && !pg->in_recovery) {
        take_row(s, n);
        job_end(s, n, PM_DONE);
        return;
    }
    if (pm->facts.role != PGV_ROLE_PROMOTED || pg->proc == PG_DOWN) {
        if (pg->proc == PG_DOWN || pg->fail_promotes) {
            if (pg->fail_promotes)
                pg->fail_promotes--;
            job_end(s, n, PM_FAILED);
            return;
        }
        pg_promote(s, n);
        pm->facts.role = PGV_ROLE_PROMOTED;
        facts_soon(s, n);
    }
    pm->phase = P_POLL;
    later(s, n, POLL_US, P_POLL);
    later(s, n, (pm->args.timeout_ms ? pm->args.timeout_ms : 10000) * SIM_MS, P_DEADLINE);
}

/* ---- the jobs
 * ----------------------------------------------------------------------------------------------------------------
 */

static void begin(struct sim *s, struct sim_node *n)
{
    struct sim_pm *pm = &n->pm;
    struct sim_pg *pg = &n->pg;
    const struct postmaster_job_args *a = &pm->args;
    struct postmaster_job_args stop = { .job = PM_JOB_STOP, .mode = PM_STOP_FAST };

    switch (a->job) {
    case PM_JOB_START:
        start(s, n, a->role);
        return;
    case PM_JOB_RESTART:
        set_state(s, n, PGV_STATE_RESTARTING);
        stop.checkpoint_first = true;
        stop_begin(s, n, &stop, false);
        return;
    case PM_JOB_FOLLOW:
        if (pg->proc == PG_DOWN)
            start(s, n, a->role);
        else
            later(s, n, sim_lat(s, 20 * SIM_MS, 200 * SIM_MS), P_END);
        return;
    case PM_JOB_PROMOTE:
        if (pg->pre_promote_us && pg->in_recovery && pm->facts.role != PGV_ROLE_PROMOTED)
            later(s, n, pg->pre_promote_us, P_RUN);
        else
            promote(s, n);
        return;
    case PM_JOB_CRASH_RECOVERY:
        if (pg->proc != PG_DOWN || pg->dir != PM_DIR_OK || pg->disk_gone) {
            job_end(s, n, PM_FAILED);
            return;
        }
        later(s, n, sim_lat(s, 300 * SIM_MS, 3 * SIM_S) + pg->recovery_us, P_END);
        return;
    case PM_JOB_CHECK_DIVERGENCE:
        later(s, n, sim_lat(s, 10 * SIM_MS, 150 * SIM_MS), P_END);
        return;
    case PM_JOB_REWIND:
        if (pg->proc != PG_DOWN)
            stop_begin(s, n, &stop, false);
        else
            later(s, n, 0, P_RUN);
        return;
    case PM_JOB_CLONE: {
        struct sim_node *up = source_of(s, n);

        set_state(s, n, PGV_STATE_CREATING_REPLICA);
        facts_soon(s, n);
        if (!up || pg->proc != PG_DOWN || pg->disk_gone) {
            set_state(s, n, PGV_STATE_STOPPED);
            later(s, n, 50 * SIM_MS, P_DEADLINE);
            return;
        }
        wiped(n); /* what is there now is a part of a copy */
        pm->phase = P_END;
        sim_in(s, sim_lat(s, 2 * SIM_S, 30 * SIM_S), SIM_AGENT, n, on_job, pm->gen, P_END,
               up->pg.life);
        return;
    }
    case PM_JOB_BOOTSTRAP:
        set_state(s, n, PGV_STATE_INITDB);
        facts_soon(s, n);
        later(s, n, sim_lat(s, 800 * SIM_MS, 4 * SIM_S), P_RUN);
        return;
    case PM_JOB_POST_BOOTSTRAP:
        later(s, n, sim_lat(s, 100 * SIM_MS, 800 * SIM_MS), P_END);
        return;
    case PM_JOB_REMOVE_DATA:
    case PM_JOB_MOVE_DATA_ASIDE:
        later(s, n, sim_lat(s, 50 * SIM_MS, 900 * SIM_MS), P_END);
        return;
    case PM_JOB_NONE:
    case PM_JOB_STOP:
        break;
    }
    job_end(s, n, PM_FAILED);
}

/* After the stop that it began with, or after its first half. */
static void run(struct sim *s, struct sim_node *n)
{
    struct sim_pm *pm = &n->pm;
    struct sim_pg *pg = &n->pg;

    switch (pm->args.job) {
    case PM_JOB_PROMOTE:
        promote(s, n);
        return;
    case PM_JOB_RESTART:
        start(s, n, pg->standby_signal ? PGV_ROLE_REPLICA : PGV_ROLE_PRIMARY);
        return;
    case PM_JOB_REWIND: {
        struct sim_node *up = source_of(s, n);

        set_state(s, n, PGV_STATE_STOPPED);
        if (!up || up->pg.in_recovery ||
            (pm->args.node.leader_checkpoint_known && !pm->args.node.leader_checkpoint_done)) {
            job_end(s, n, PM_UNKNOWN);
            return;
        }
        pm->phase = P_END;
        sim_in(s, sim_lat(s, SIM_S, 15 * SIM_S), SIM_AGENT, n, on_job, pm->gen, P_END, up->pg.life);
        return;
    }
    case PM_JOB_BOOTSTRAP: {
        uint64_t id = 7000000000000000000ull + sim_rng_below(&s->rng, 1000000000000000ull);

        if (pg->disk_gone || pg->fail_bootstraps) {
            if (pg->fail_bootstraps)
                pg->fail_bootstraps--;
            set_state(s, n, PGV_STATE_INITDB_FAILED);
            job_end(s, n, PM_FAILED);
            return;
        }
        snprintf(pg->sysid, sizeof(pg->sysid), "%llu", (unsigned long long)id);
        pg->dir = PM_DIR_OK;
        pg->unfinished = pm->bootstrapping = true;
        pg->marked_rev = n->dcs.init_rev;
        pg->branch = pg_new_branch(s, n, -1, 0);
        pg->lsn = 0x3000000;
        pg->n_writes = 0;
        pg->control = PM_CONTROL_SHUT_DOWN;
        s->stats.bootstraps++;
        start(s, n, PGV_ROLE_PRIMARY);
        if (s->plan.bootstrap_recovery_us) { /* a backup, replayed up to a target */
            pg->in_recovery = true;
            pg_recover(s, n, s->plan.bootstrap_recovery_us);
        }
        return;
    }
    default:
        job_end(s, n, PM_FAILED);
    }
}

static void finish(struct sim *s, struct sim_node *n, uint64_t extra)
{
    struct sim_pm *pm = &n->pm;
    struct sim_pg *pg = &n->pg;

    switch (pm->args.job) {
    case PM_JOB_FOLLOW:
        if (pg->proc == PG_DOWN) {
            job_end(s, n, PM_FAILED);
            return;
        }
        if (pg->streaming) {
            pg_catch_up(s, n);
            pg->streaming = false;
        }
        pg->upstream = node_by_name(s, pm->args.node.name);
        pm->facts.role = pm->args.role;
        pg_try_attach(s, n, sim_lat(s, 5 * SIM_MS, 80 * SIM_MS));
        job_end(s, n, PM_DONE);
        return;
    case PM_JOB_CRASH_RECOVERY:
        pg->standby_signal = false;
        if (pg->broken || pg->disk_gone) {
            job_end(s, n, PM_FAILED);
            return;
        }
        pg->checkpoint = pg->lsn;
        pg->lsn += 120;
        pg->control = PM_CONTROL_SHUT_DOWN;
        job_end(s, n, PM_DONE);
        return;
    case PM_JOB_CHECK_DIVERGENCE:
        check_divergence(s, n);
        return;
    case PM_JOB_REWIND:
        rewind_end(s, n, (uint32_t)extra);
        return;
    case PM_JOB_CLONE:
        clone_end(s, n, (uint32_t)extra);
        return;
    case PM_JOB_POST_BOOTSTRAP:
        if (pg->fail_post_bootstraps) {
            pg->fail_post_bootstraps--;
            job_end(s, n, PM_FAILED);
            return;
        }
        if (pg->proc == PG_RUNNING && !pg->hung)
            pg->unfinished = pm->bootstrapping = false;
        job_end(s, n, pg->unfinished ? PM_FAILED : PM_DONE);
        return;
    case PM_JOB_REMOVE_DATA:
    case PM_JOB_MOVE_DATA_ASIDE:
        if (pg->proc != PG_DOWN || pg->disk_gone || pg->dir_hidden) {
            s->check.strangers |= pm->args.job == PM_JOB_MOVE_DATA_ASIDE;
            job_end(s, n, PM_FAILED);
            return;
        }
        wiped(n);
        pm->facts.role = PGV_ROLE_UNINITIALIZED;
        job_end(s, n, PM_DONE);
        return;
    default:
        job_end(s, n, PM_FAILED);
    }
}

static void on_job(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_pm *pm = &n->pm;

    if (!pm->working || ev->a != pm->gen)
        return;
    switch ((int)ev->b) {
    case P_BEGIN:
        begin(s, n);
        break;
    case P_RUN:
        run(s, n);
        break;
    case P_END:
        finish(s, n, ev->c);
        break;
    case P_POLL: /* PROMOTE */
        if (n->pg.proc == PG_DOWN) {
            job_end(s, n, PM_FAILED);
        } else if (!n->pg.in_recovery && !n->pg.hung) {
            take_row(s, n);
            job_end(s, n, PM_DONE);
        } else {
            later(s, n, POLL_US, P_POLL);
        }
        break;
    default: /* P_DEADLINE */
        job_end(s, n, pm->args.job == PM_JOB_CLONE ? PM_FAILED : PM_UNKNOWN);
        break;
    }
}

bool pm_port_job(void *data, const struct postmaster_job_args *args, const char *name)
{
    struct sim_node *n = data;
    struct sim *s = n->sim;
    struct sim_pm *pm = &n->pm;

    s->stats.jobs++;
    if (sim_noting(s, SIM_NOTE_STATUS))
        sim_note(s, n, SIM_NOTE_STATUS, "job: %s", name);
    check_job(s, n, args);
    if (args->job == PM_JOB_STOP) {
        stop_job(s, n, args);
        return true;
    }
    if (pm->working || pm->stop.active)
        return false;
    pm->args = *args;
    pm->working = true;
    pm->canceled = false;
    pm->phase = P_BEGIN;
    pm->job = args->job;
    pm->since_us = s->now_us;
    pm->gen++;
    later(s, n, 0, P_BEGIN);
    return true;
}

/* ---- small questions
 * -----------------------------------------------------------------------------------------------------------
 */

/* Queries have a timeout, a checkpoint has none. */
static uint64_t answer_us(const struct sim_node *n)
{
    return n->pg.answer_us < QUERIES_US ? n->pg.answer_us : QUERIES_US;
}

void pm_answer_follow(struct sim *s, struct sim_node *n)
{
    struct ha_event out = { .type = HA_EV_FOLLOW };

    if (!n->running || !n->pm.follow)
        return;
    n->pm.follow = false;
    out.u.follow.fits = n->pg.upstream == n->pm.follow_upstream;
    node_feed(s, n, &out);
}

static void on_follow(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (ev->a == n->pm.follow_gen)
        pm_answer_follow(s, n);
}

void pm_port_check_follow(void *data, const struct postmaster_node *node)
{
    struct sim_node *n = data;

    n->pm.follow = true;
    n->pm.follow_upstream = node_by_name(n->sim, node->name);
    sim_in(n->sim, 500 + answer_us(n), SIM_AGENT, n, on_follow, ++n->pm.follow_gen, 0, 0);
}

void pm_answer_checkpoint(struct sim *s, struct sim_node *n)
{
    struct ha_event out = { .type = HA_EV_CHECKPOINT };

    if (!n->running || !n->pm.checkpoint)
        return;
    n->pm.checkpoint = false;
    out.u.ok = n->pm.checkpoint_life == n->pg.life && n->pg.proc == PG_RUNNING &&
               !n->pg.in_recovery && !n->pg.hung;
    node_feed(s, n, &out);
}

static void on_checkpointed(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (ev->a == n->pm.checkpoint_gen)
        pm_answer_checkpoint(s, n);
}

void pm_port_checkpoint(void *data)
{
    struct sim_node *n = data;

    n->pm.checkpoint = true;
    n->pm.checkpoint_life = n->pg.life;
    sim_in(n->sim, sim_lat(n->sim, 30 * SIM_MS, 3 * SIM_S) + n->pg.answer_us, SIM_AGENT, n,
           on_checkpointed, ++n->pm.checkpoint_gen, 0, 0);
}

/* It could not replay on with its settings: once resumed it ends, and is started with others. */
static void on_resumed(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (ev->a == n->pg.life && n->pg.replay_paused)
        pg_crash(s, n, "a setting is too small to replay on");
}

void pm_port_resume_replay(void *data)
{
    struct sim_node *n = data;

    sim_in(n->sim, sim_lat(n->sim, SIM_MS, 50 * SIM_MS), SIM_MACHINE, n, on_resumed, n->pg.life, 0,
           0);
}

void pm_answer_slots(struct sim *s, struct sim_node *n)
{
    struct ha_event out = { .type = HA_EV_SLOTS };

    if (!n->running || !n->pm.slots)
        return;
    n->pm.slots = false;
    out.u.ok = n->pg.proc == PG_RUNNING && !n->pg.hung;
    node_feed(s, n, &out);
}

static void on_slots(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (ev->a == n->pm.slots_gen)
        pm_answer_slots(s, n);
}

void pm_port_slots(void *data, bool drop_others)
{
    struct sim_node *n = data;

    (void)drop_others;
    n->pm.slots = true;
    sim_in(n->sim, 800 + answer_us(n), SIM_AGENT, n, on_slots, ++n->pm.slots_gen, 0, 0);
}

/* ---- a new agent
 * ------------------------------------------------------------------------------------------------------------------
 */

void pm_init_node(struct sim *s, struct sim_node *n)
{
    uint32_t gen = n->pm.gen, stop_gen = n->pm.stop.gen, slots_gen = n->pm.slots_gen;
    uint32_t follow_gen = n->pm.follow_gen, checkpoint_gen = n->pm.checkpoint_gen;

    (void)s;
    memset(&n->pm, 0, sizeof(n->pm));
    n->pm.gen = gen + 1;
    n->pm.stop.gen = stop_gen + 1;
    n->pm.slots_gen = slots_gen;
    n->pm.follow_gen = follow_gen;
    n->pm.checkpoint_gen = checkpoint_gen;
    n->pm.facts.state = PGV_STATE_STOPPED;
}

/* It looks at what is there. */
void pm_attach(struct sim *s, struct sim_node *n)
{
    struct postmaster_facts *f = &n->pm.facts;

    f->state_since_ms = node_ms(s, n);
    pm_read(s, n);
    f->role = role_of_dir(n);
    if (!f->alive && f->role == PGV_ROLE_PRIMARY)
        f->role = PGV_ROLE_DEMOTED;
    if (n->pg.proc == PG_STARTING)
        set_state(s, n, PGV_STATE_STARTING);
    else if (n->pg.proc == PG_RUNNING)
        set_state(s, n, PGV_STATE_RUNNING);
    f->accepting = n->pg.proc == PG_RUNNING;
}
