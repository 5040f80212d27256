/* SPDX-License-Identifier: PostgreSQL */
/* tests/sim/node.c - one agent: the real brain and pump, ports that are models, a clock of its own.
 */
#include "tests/sim/sim.h"

#include "agent/ha/explain.h"

#include <string.h>

#define START_WAIT_US (5 * SIM_S)
#define WALL_EPOCH_US 1700000000000000ll

/* ---- clocks
 * -------------------------------------------------------------------------------------- */

static uint64_t node_us(const struct sim_node *n, uint64_t world_us)
{
    int64_t ran = (int64_t)(world_us - n->stolen_us);

    return n->boot_us + (uint64_t)(ran + ran / 1000 * n->ppm / 1000);
}

uint64_t node_ms(const struct sim *s, const struct sim_node *n)
{
    return node_us(n, s->now_us) / 1000;
}

int64_t node_wall_us(const struct sim *s, const struct sim_node *n)
{
    return WALL_EPOCH_US + (int64_t)s->now_us + n->wall_off_us;
}

uint64_t node_when(const struct sim *s, const struct sim_node *n, uint64_t ms)
{
    uint64_t want_us = ms * 1000, have_us = node_us(n, s->now_us), at;

    if (ms > UINT64_MAX / 2000)
        return SIM_MAX_US;
    if (want_us <= have_us)
        return s->now_us;
    at = s->now_us + (want_us - have_us) -
         (uint64_t)((int64_t)(want_us - have_us) / 1000 * n->ppm / 1000 + 2);
    while (node_us(n, at) < want_us)
        at += 5;
    return at;
}

int node_by_name(const struct sim *s, const char *name)
{
    int i = name[0] == 'n' && name[1] ? name[1] - '1' : -1;

    return i >= 0 && i < (int)s->n && !name[2] ? i : -1;
}

bool node_linked(const struct sim *s, const struct sim_node *a, const struct sim_node *b)
{
    (void)s;
    return !a->cut_peers && !b->cut_peers;
}

/* ---- events for the brain
 * ----------------------------------------------------------------------------- */

static void step(struct sim *s, struct sim_node *n, struct ha_event *ev)
{
    s->stats.steps++;
    reach_note(s, n, ev->type);
    if (s->trace) {
        switch (ev->type) {
        case HA_EV_DCS:
            sim_note(s, n, SIM_NOTE_EVENT, "dcs %s %s", ha_dcs_op_name(ev->u.dcs.op),
                     ev->u.dcs.outcome == HA_OK        ? "ok"
                     : ev->u.dcs.outcome == HA_REFUSED ? "refused"
                                                       : "lost");
            break;
        case HA_EV_VIEW:
            sim_note(s, n, SIM_NOTE_EVENT, "view rev=%llu %s leader=%s",
                     (unsigned long long)n->dcs.keys.rev, ev->u.view.live ? "live" : "stale",
                     ev->u.view.cluster && ev->u.view.cluster->has_leader
                         ? ev->u.view.cluster->leader
                         : "-");
            break;
        case HA_EV_FACTS:
        case HA_EV_LOOKED:
            sim_note(s, n, SIM_NOTE_EVENT, "%s %s %s%s lsn=%llx tl=%u", ha_event_name(ev->type),
                     pgv_state_name(ev->u.facts->state), pgv_role_name(ev->u.facts->role),
                     ev->u.facts->look_ok ? "" : " (not seen)",
                     (unsigned long long)ev->u.facts->wal_lsn, ev->u.facts->timeline);
            break;
        case HA_EV_PEERS:
            sim_note(s, n, SIM_NOTE_EVENT, "peers n=%u", ev->u.peers.n);
            break;
        default:
            sim_note(s, n, SIM_NOTE_EVENT, "%s", ha_event_name(ev->type));
            break;
        }
    }
    pump_event(&n->pump, ev);
    check_cycles(s, n);
    if (n->n_whens)
        fault_met(s, n);
}

void node_push_view(struct sim *s, struct sim_node *n)
{
    struct ha_event ev = { .type = HA_EV_VIEW };

    ev.u.view.cluster = n->dcs.have_view ? &n->dcs.view : NULL;
    ev.u.view.live = n->dcs.was_live = n->dcs.live;
    step(s, n, &ev);
}

void node_feed(struct sim *s, struct sim_node *n, struct ha_event *ev)
{
    if (!n->running)
        return;
    if (n->dcs.was_live != n->dcs.live)
        node_push_view(s, n);
    step(s, n, ev);
}

void node_push_policy(struct sim *s, struct sim_node *n)
{
    const struct sim_config *c = &s->configs[n->config_id];
    struct ha_policy *p = &n->policy;
    struct ha_event ev = { .type = HA_EV_POLICY };

    memset(p, 0, sizeof(*p));
    memcpy(p->name, n->name, sizeof(n->name));
    p->ttl_ms = c->ttl_ms;
    p->loop_wait_ms = c->loop_wait_ms;
    p->retry_timeout_ms = c->retry_timeout_ms;
    p->primary_start_timeout_ms = c->primary_start_timeout_ms;
    p->primary_race_backoff_ms = c->primary_race_backoff_ms;
    p->maximum_lag_bytes = c->maximum_lag;
    p->member_slots_ttl_ms = 1800000;
    p->paused = c->paused;
    p->check_timeline = c->check_timeline;
    p->sync_requested = c->sync_mode;
    p->can_bootstrap = !s->plan.no_bootstrap[n->i];
    p->rewind = s->plan.rewind;
    p->remove_on_diverged = s->plan.remove_on_diverged;
    p->remove_on_rewind_failure = s->plan.remove_on_rewind_failure;
    p->use_slots = true;
    p->watchdog = n->watchdog.mode;
    p->watchdog_timeout_ms = p->watchdog ? watchdog_wanted_ms(s, n) : 0;
    p->tags = n->tags;
    ev.u.policy = p;
    step(s, n, &ev);
}

static bool adopt(struct sim_node *n)
{
    if (!n->dcs.keys.config || n->config_id == n->dcs.keys.config_id)
        return false;
    if (n->sim->configs[n->config_id].paused)
        n->seen.pause_us = n->sim->now_us;
    n->config_id = n->dcs.keys.config_id;
    if (n->dcs.lease && n->dcs.lease_ttl_ms != n->sim->configs[n->config_id].ttl_ms) {
        n->dcs.lease = 0; /* the old one expires by itself; our keys go over to a new one before */
        n->dcs.lease_proven_ms = 0;
    }
    return true;
}

void node_on_view(struct sim *s, struct sim_node *n)
{
    bool changed = adopt(n);

    if (!n->running)
        return;
    if (changed)
        node_push_policy(s, n);
    node_push_view(s, n);
}

/* ---- ports
 * ---------------------------------------------------------------------------------------------- */

static uint64_t port_now_ms(void *data)
{
    struct sim_node *n = data;

    return node_ms(n->sim, n);
}

static int64_t port_wall_us(void *data)
{
    struct sim_node *n = data;

    return node_wall_us(n->sim, n);
}

static void arm(struct sim *s, struct sim_node *n);

static void on_timer(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct ha_event tick = { .type = HA_EV_TICK };

    if (ev->a != n->timer_gen)
        return;
    n->timer_us = SIM_MAX_US;
    if (node_ms(s, n) < n->wake_ms)
        arm(s, n);
    else
        node_feed(s, n, &tick);
}

/* One event in the queue is enough: one that comes too early finds out. */
static void arm(struct sim *s, struct sim_node *n)
{
    uint64_t at_us = node_when(s, n, n->wake_ms);

    if (at_us >= n->timer_us)
        return;
    n->timer_us = at_us;
    n->timer_gen++;
    sim_at(s, at_us, SIM_AGENT, n, on_timer, n->timer_gen, 0, 0);
}

static void port_wake_at(void *data, uint64_t at_ms)
{
    struct sim_node *n = data;

    n->wake_ms = at_ms;
    arm(n->sim, n);
}

static void on_killed_within(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    (void)ev;
    if (!n->dying)
        return;
    sim_note(s, n, SIM_NOTE_PG, "the agent is killed between two deeds");
    node_kill(s, n);
    node_start(s, n, sim_lat(s, SIM_S, 30 * SIM_S));
}

/* Whether it lives to do this one. */
static bool lives(struct sim_node *n)
{
    if (n->dying)
        return false;
    if (n->deeds_left && --n->deeds_left == 0) { /* this is its last one */
        n->dying = true;
        sim_in(n->sim, 0, SIM_WORLD, n, on_killed_within, 0, 0, 0);
    }
    return true;
}

/* What a peer would say of itself. */
static void ask_one(struct sim *s, struct sim_node *asker, struct ha_peer *p, bool *ret_silent)
{
    int i = node_by_name(s, p->name);
    struct sim_node *n = i >= 0 ? &s->nodes[i] : NULL;

    if (!n || !node_linked(s, asker, n) || n->frozen || n->paused) {
        *ret_silent = true;
        return;
    }
    if (!n->running)
        return; /* refused at once */
    if (n->pg.proc != PG_RUNNING || n->pg.hung) {
        *ret_silent |= n->pg.hung;
        return;
    }
    pg_catch_up(s, n);
    p->reachable = true;
    p->in_recovery = n->pg.in_recovery;
    p->position = n->pg.in_recovery ? n->pg.lsn : 0;
    p->timeline = pg_tli(s, n);
    p->nofailover = n->tags.nofailover;
    p->failover_priority = n->tags.failover_priority;
    p->watchdog_failed = n->watchdog.mode == HA_WATCHDOG_REQUIRED &&
                         (!watchdog_wanted_ms(s, n) || !watchdog_usable(n));
}

void node_answer_peers(struct sim *s, struct sim_node *n)
{
    struct ha_event out = { .type = HA_EV_PEERS };

    if (!n->peers_asked || !n->running)
        return;
    n->peers_asked = false;
    out.u.peers.round = n->peers_round;
    out.u.peers.n = n->n_peers;
    out.u.peers.peers = n->peers;
    node_feed(s, n, &out);
}

static void on_peers_answer(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (ev->a == n->peers_gen)
        node_answer_peers(s, n);
}

static void on_peers_asked(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    bool silent = false;
    uint64_t at_us;

    if (ev->a != n->peers_gen || ev->life != n->life)
        return;
    for (unsigned i = 0; i < n->n_peers; i++)
        ask_one(s, n, &n->peers[i], &silent);
    at_us = s->now_us + sim_lat(s, 200, 3000);
    if (silent && node_when(s, n, ev->c) > at_us)
        at_us = node_when(s, n, ev->c);
    n->peers_asked = true;
    n->peers_round = (uint32_t)ev->b;
    sim_at(s, at_us, SIM_AGENT, n, on_peers_answer, n->peers_gen, 0, 0);
}

static void port_ask_peers(void *data, const struct ha_effect *e)
{
    struct sim_node *n = data;

    if (!lives(n))
        return;
    n->peers_gen++;
    n->peers_asked = false;
    n->n_peers = n->ha.n_asked;
    memset(n->peers, 0, sizeof(n->peers[0]) * n->n_peers);
    for (unsigned i = 0; i < n->n_peers; i++)
        memcpy(n->peers[i].name, n->ha.asked[i].name, 8);
    sim_in(n->sim, sim_lat(n->sim, 100, 2000), SIM_WORLD, n, on_peers_asked, n->peers_gen,
           e->u.peers.round, e->u.peers.deadline_ms);
}

static void port_callback(void *data, const char *action, enum pgv_role role)
{
    struct sim_node *n = data;

    sim_note(n->sim, n, SIM_NOTE_LOG, "callback %s %s", action, pgv_role_name(role));
}

static void port_answer(void *data, uint32_t id, enum ha_answer answer, const char *text)
{
    struct sim_node *n = data;

    sim_note(n->sim, n, SIM_NOTE_LOG, "request %u is answered %d %s", id, (int)answer, text);
}

static void port_log(void *data, enum ha_level level, enum ha_why why, const char *text)
{
    struct sim_node *n = data;

    (void)level;
    (void)why;
    if (sim_noting(n->sim, SIM_NOTE_LOG))
        sim_note(n->sim, n, SIM_NOTE_LOG, "%s", text);
}

static void port_cycle_done(void *data, enum ha_why why, const char *text)
{
    struct sim_node *n = data;
    struct sim *s = n->sim;

    (void)why;
    if (s->stats.steps % 1024 == 0) { /* in whatever state it is */
        struct ha_explanation x;

        ha_explain(&n->ha, n->ha.now_ms, &x);
        PGV_ASSERT(x.leader == ha_is_leader(&n->ha, n->ha.now_ms));
    }
    if (!sim_noting(s, SIM_NOTE_STATUS) || strcmp(n->last_status, text) == 0)
        return;
    memcpy(n->last_status, text, sizeof(n->last_status));
    sim_note(s, n, SIM_NOTE_STATUS, "%s", text);
}

static void on_exit_asked(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    (void)ev;
    sim_note(s, n, SIM_NOTE_PG, "the agent ends");
    node_kill(s, n);
    node_start(s, n, n->restart_us ? n->restart_us : 5 * SIM_S);
    n->restart_us = 0;
}

static void port_exit(void *data, int status)
{
    struct sim_node *n = data;

    (void)status;
    sim_in(n->sim, SIM_MS, SIM_AGENT, n, on_exit_asked, 0, 0, 0);
}

/* Whoever asks for the key could be promoted, as the brain explains itself. */
static void check_explained(struct sim *s, struct sim_node *n)
{
    const struct dcs_failover *f = &n->ha.view.failover;
    struct ha_explanation x;

    if (f->present && !(f->scheduled && f->schedule_valid &&
                        f->scheduled_wall_us > n->ha.wall_us + (int64_t)n->policy.ttl_ms * 1000))
        return; /* what people have asked for has other rules */
    ha_explain(&n->ha, n->ha.now_ms, &x);
    /* Whether the store answers is told by the last request, whatever it was for. */
    for (unsigned i = 0; i < x.promotion.n; i++)
        if (x.promotion.v[i].verdict == HA_RULE_FAIL && strcmp(x.promotion.v[i].name, "store") != 0)
            check_violation(s, n, SIM_RULE_explained_otherwise, "%s: %.100s", x.promotion.v[i].name,
                            x.promotion.v[i].text);
}

static void port_dcs(void *data, const struct ha_effect *e)
{
    struct sim_node *n = data;

    if (n->sim->trace)
        sim_note(n->sim, n, SIM_NOTE_EFFECT, "dcs %s (%s)", ha_dcs_op_name(e->u.dcs.op),
                 ha_why_label(e->why));
    if (e->u.dcs.op == HA_DCS_ACQUIRE)
        check_explained(n->sim, n);
    if (lives(n))
        dcs_port(data, e);
}

static bool port_job(void *data, const struct postmaster_job_args *args, const char *name)
{
    return !lives(data) || pm_port_job(data, args, name); /* nobody hears that it was not begun */
}

static void port_cancel_job(void *data)
{
    if (lives(data))
        pm_port_cancel_job(data);
}

static void port_watchdog(void *data, const struct ha_effect *e)
{
    if (lives(data))
        watchdog_port(data, e);
}

static const struct pump_ports ports = {
    .now_ms = port_now_ms,
    .wall_us = port_wall_us,
    .wake_at = port_wake_at,
    .dcs = port_dcs,
    .look = pm_port_look,
    .ask_peers = port_ask_peers,
    .check_follow = pm_port_check_follow,
    .job = port_job,
    .cancel_job = port_cancel_job,
    .checkpoint = pm_port_checkpoint,
    .resume_replay = pm_port_resume_replay,
    .slots = pm_port_slots,
    .callback = port_callback,
    .answer = port_answer,
    .watchdog = port_watchdog,
    .log = port_log,
    .cycle_done = port_cycle_done,
    .exit = port_exit,
};

/* ---- life
 * ----------------------------------------------------------------------------------------------------
 */

void node_init(struct sim *s, unsigned i)
{
    struct sim_node *n = &s->nodes[i];
    struct sim_ev *deferred = n->deferred;
    unsigned max = n->deferred_max;

    memset(n, 0, sizeof(*n));
    n->deferred = deferred;
    n->deferred_max = max;
    n->sim = s;
    n->i = i;
    n->name[0] = 'n';
    n->name[1] = (char)('1' + i);
    n->tags = s->plan.tags[i];
    n->tags_id = (uint16_t)i;
    n->ppm = s->plan.ppm[i];
    n->boot_us = sim_lat(s, 1000 * SIM_S, 100000 * SIM_S);
    n->wall_off_us = (int64_t)sim_lat(s, 0, 2 * SIM_S) - (int64_t)SIM_S;
    n->timer_us = SIM_MAX_US;
    watchdog_init_node(s, n);
    pg_init_node(s, n);
}

/* After each step of the brain. */
static void on_step(void *data, const struct ha *ha, const struct ha_event *ev,
                    const struct ha_effects *fx)
{
    struct sim_node *n = data;

    (void)ha;
    for (unsigned i = 0; i < fx->n; i++)
        n->sim->stats.whys[fx->v[i].why]++;
    if (n->sim->recording)
        recording_step(n->sim, n, ev, fx);
}

static void begin_run(struct sim *s, struct sim_node *n)
{
    struct ha_event ev = { .type = HA_EV_FACTS };

    n->running = true;
    pm_attach(s, n);
    node_push_policy(s, n);
    ev.u.facts = &n->pm.facts;
    step(s, n, &ev);
    node_push_view(s, n);
}

/* The first view is there. */
void node_go_on(struct sim *s, struct sim_node *n)
{
    if (!n->up || n->running)
        return;
    begin_run(s, n);
}

static void on_waited(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    (void)ev;
    /* Without the store only with the configuration cached beside the data. */
    if (n->up && !n->running && n->pg.dir == PM_DIR_OK)
        begin_run(s, n);
}

static void on_start(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    (void)ev;
    if (n->up)
        return;
    n->up = true;
    n->running = false;
    n->timer_us = SIM_MAX_US;
    n->thawed_us = s->now_us;
    n->seen.agent_up_us = s->now_us;
    ha_init(&n->ha);
    pump_init(&n->pump, &n->ha, &ports, n);
    n->pump.record = on_step;
    n->pump.record_data = n;
    recording_agent(s, n);
    pm_init_node(s, n);
    dcs_init_node(s, n);
    n->last_status[0] = 0;
    s->check.dirty = true;
    sim_note(s, n, SIM_NOTE_PG, "the agent starts");
    sim_in(s, START_WAIT_US, SIM_AGENT, n, on_waited, 0, 0, 0);
}

void node_start(struct sim *s, struct sim_node *n, uint64_t in_us)
{
    sim_in(s, in_us, SIM_AGENT, n, on_start, 0, 0, 0);
}

void node_kill(struct sim *s, struct sim_node *n)
{
    /* What its children were at stays as it is. */
    if (n->pm.working && n->pm.args.job == PM_JOB_CLONE)
        n->pg.dir = PM_DIR_EMPTY;
    if (n->pm.working && n->pm.args.job == PM_JOB_REWIND && n->pm.phase)
        n->pg.broken = true;
    if (s->store.keys.init != DCS_INIT_SYSID || n->pm.job == PM_JOB_MOVE_DATA_ASIDE)
        s->check.strangers = true;
    n->up = n->running = n->frozen = n->when_due = n->peers_asked = n->dying = false;
    n->deeds_left = 0;
    watchdog_agent_gone(n);
    n->life++;
    n->froze_us = s->now_us;
    s->check.dirty = true;
}

void node_freeze(struct sim *s, struct sim_node *n, bool machine)
{
    if (machine)
        n->paused = true;
    else
        n->frozen = true;
    n->froze_us = s->now_us;
    if (machine) {
        watchdog_machine_stops(s, n);
        pg_links_changed(s);
    }
    s->check.dirty = true;
}

void node_thaw(struct sim *s, struct sim_node *n, bool machine, uint64_t stolen_us)
{
    unsigned many = n->n_deferred;

    if (machine)
        n->paused = false;
    else
        n->frozen = false;
    n->stolen_us += stolen_us;
    check_thawed(s, n);
    n->thawed_us = s->now_us;
    n->thawed_machine = machine;
    if (machine)
        watchdog_machine_goes_on(s, n);
    n->n_deferred = 0;
    /* In the order in which they came; what may not run yet is put aside again. */
    for (unsigned i = 0; i < many; i++) {
        const struct sim_ev *ev = &n->deferred[i];
        uint32_t life = n->life;

        n->life = ev->life;
        sim_at(s, s->now_us, (enum sim_owner)ev->owner, n, ev->fn, ev->a, ev->b, ev->c);
        n->life = life;
    }
    if (machine)
        pg_links_changed(s);
    s->check.dirty = true;
}
