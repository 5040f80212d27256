/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/ha_support.c - see ha_support.h */
#include "tests/unit/ha_support.h"

#include <stdio.h>
#include <stdlib.h>

#define MEMBERS 3
static const char *const names[MEMBERS] = { "n1", "n2", "n3" };

struct dcs_member *w_member(struct w *w, const char *name)
{
    for (unsigned i = 0; i < w->view.n_members; i++)
        if (strcmp(w->view.members[i].name, name) == 0)
            return &w->view.members[i];
    return NULL;
}

void w_leader(struct w *w, const char *name)
{
    w->view.has_leader = name != NULL;
    memset(w->view.leader, 0, sizeof(w->view.leader));
    if (name)
        ha_copy_name(w->view.leader, name);
}

struct ha_peer *w_peer(struct w *w, const char *name, uint64_t position)
{
    struct ha_peer *p = &w->peers[w->n_peers++];

    memset(p, 0, sizeof(*p));
    ha_copy_name(p->name, name);
    p->reachable = true;
    p->in_recovery = true;
    p->position = position;
    p->timeline = 1;
    p->failover_priority = 1;
    return p;
}

void w_failover(struct w *w, const char *leader, const char *candidate)
{
    struct dcs_failover *f = &w->view.failover;

    memset(f, 0, sizeof(*f));
    f->exists = true;
    f->present = leader || candidate;
    memcpy(f->version, "77", 3);
    if (leader)
        ha_copy_name(f->leader, leader);
    if (candidate)
        ha_copy_name(f->candidate, candidate);
}

struct w *w_raw(enum w_state state)
{
    struct w *w = calloc(1, sizeof(*w));
    struct ha_policy *p = &w->policy;
    struct postmaster_facts *f = &w->pg;

    assert_non_null(w);
    ha_init(&w->ha);
    w->now_ms = 1000000;
    w->wall_us = 1700000000000000;
    w->live = true;
    w->fits = true;
    ha_copy_name(p->name, "n1");
    p->ttl_ms = 30000;
    p->loop_wait_ms = 10000;
    p->retry_timeout_ms = 10000;
    p->primary_start_timeout_ms = 300000;
    p->maximum_lag_bytes = 1048576;
    p->member_slots_ttl_ms = 1800000;
    p->can_bootstrap = true;
    p->use_slots = true;
    p->tags.failover_priority = 1;
    p->tags.sync_priority = 1;

    f->state = PGV_STATE_RUNNING;
    f->alive = true;
    f->pid = 4711;
    f->accepting = true;
    f->dir = PM_DIR_OK;
    memcpy(f->sysid, "7000000000000000001", 20);
    f->major_version = 150000;
    f->server_version = 150008;
    f->announced = true;
    f->rewind_possible = true;
    f->look_ok = true;
    f->look_ms = w->now_ms;
    f->timeline = 1;
    f->wal_lsn = 50000000;
    f->role = PGV_ROLE_REPLICA;
    f->in_recovery = true;
    f->streaming = true;
    f->control_state = PM_CONTROL_IN_ARCHIVE_RECOVERY;

    w->view.initialize = DCS_INIT_SYSID;
    memcpy(w->view.initialize_text, f->sysid, 20);
    w->view.config_exists = w->view.config_valid = true;
    memcpy(w->view.config_version, "5", 2);
    w->view.status_optime = 50000000;
    w->view.history_exists = true;
    w->view.history_timeline = 1;
    w->view.n_members = MEMBERS;
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct dcs_member *m = &w->view.members[i];
        ha_copy_name(m->name, names[i]);
        snprintf(m->conn_url, sizeof(m->conn_url), "postgres://10.0.0.%u:5432/postgres", i + 1);
        snprintf(m->api_url, sizeof(m->api_url), "http://10.0.0.%u:8008/patroni", i + 1);
        m->state = PGV_STATE_RUNNING;
        m->role = PGV_ROLE_REPLICA;
        m->timeline = 1;
        m->agent_version = 40105;
        m->checkpoint_known = true;
        m->tags.failover_priority = 1;
        m->tags.sync_priority = 1;
    }
    switch (state) {
    case W_LEADER:
        w_leader(w, "n1");
        w->view.members[0].role = PGV_ROLE_PRIMARY;
        f->role = PGV_ROLE_PRIMARY;
        f->in_recovery = false;
        f->streaming = false;
        f->control_state = PM_CONTROL_IN_PRODUCTION;
        break;
    case W_REPLICA:
        w_leader(w, "n2");
        w->view.members[1].role = PGV_ROLE_PRIMARY;
        w->view.members[1].checkpoint_done = true;
        break;
    case W_UNLOCKED_REPLICA:
        w_leader(w, "n2");
        w->view.members[1].role = PGV_ROLE_PRIMARY;
        break;
    case W_EMPTY:
        memset(&w->view, 0, sizeof(w->view));
        w->view.empty = true;
        memset(f, 0, sizeof(*f));
        f->state = PGV_STATE_STOPPED;
        f->role = PGV_ROLE_UNINITIALIZED;
        f->dir = PM_DIR_EMPTY;
        break;
    }
    return w;
}

void w_forget(struct w *w)
{
    w->n = 0;
}

struct w *w_new(enum w_state state)
{
    struct w *w = w_raw(state);

    w_begin(w);
    if (state == W_UNLOCKED_REPLICA) {
        w_forget(w);
        w_leader(w, NULL);
    } else {
        w_cycle(w);
    }
    w_forget(w);
    return w;
}

void w_free(struct w *w)
{
    free(w);
}

int w_setup_leader(void **state)
{
    *state = w_new(W_LEADER);
    return 0;
}

int w_setup_replica(void **state)
{
    *state = w_new(W_REPLICA);
    return 0;
}

int w_setup_orphan(void **state)
{
    *state = w_new(W_UNLOCKED_REPLICA);
    return 0;
}

int w_teardown(void **state)
{
    w_free(*state);
    return 0;
}

void w_begin(struct w *w)
{
    w_policy(w);
    w_facts(w);
    w_view(w);
    w_tick(w, 1);
}

void w_reply(struct w *w, enum ha_dcs_op op, enum ha_outcome outcome, uint64_t sent_ms)
{
    struct ha_event ev = { .type = HA_EV_DCS };

    ev.u.dcs.op = op;
    ev.u.dcs.outcome = outcome;
    ev.u.dcs.sent_ms = sent_ms;
    w_event(w, &ev);
}

void w_server_down(struct w *w, enum pgv_state state)
{
    w->pg.alive = w->pg.look_ok = w->pg.accepting = false;
    w->pg.state = state;
    w_facts(w);
}

void w_initdb_ran(struct w *w)
{
    w->pg.dir = PM_DIR_OK;
    w->pg.alive = true;
    w->pg.state = PGV_STATE_RUNNING;
    w->pg.role = PGV_ROLE_PRIMARY;
    w->pg.look_ok = true;
    w->pg.in_recovery = false;
    w->pg.timeline = 1;
    w->pg.wal_lsn = 100;
    memcpy(w->pg.sysid, "7000000000000000001", 20);
    w_facts(w);
}

/* As the port keeps it: never beyond until_ms. False: nothing is to be told. */
static bool device(struct w *w, const struct ha_effect *e)
{
    struct ha_watchdog *d = &w->device;
    uint64_t timeout = d->adjustable ? e->u.watchdog.timeout_ms : d->timeout_ms;
    uint64_t until = e->u.watchdog.until_ms, left;
    bool same;

    switch (e->u.watchdog.op) {
    case HA_WATCHDOG_CHECK:
        break;
    case HA_WATCHDOG_ACTIVATE:
        d->running = d->usable;
        if (!d->running)
            return true;
        /* fall through */
    case HA_WATCHDOG_KEEPALIVE:
        assert_true(d->running);
        same = d->timeout_ms == timeout;
        d->timeout_ms = timeout;
        if (!until || w->now_ms + timeout <= until) {
            d->fires_ms = w->now_ms + timeout;
            return !same || e->u.watchdog.op == HA_WATCHDOG_ACTIVATE;
        }
        left = (until - w->now_ms) / 1000 * 1000;
        if (d->adjustable)
            d->fires_ms = w->now_ms + (left ? left : 1000);
        else if (e->u.watchdog.op == HA_WATCHDOG_ACTIVATE)
            d->fires_ms = w->now_ms + timeout;
        break;
    case HA_WATCHDOG_DISABLE:
        d->running = d->running && w->device_stays;
        break;
    }
    return true;
}

static void answer(struct w *w, const struct ha_effect *e, struct ha_event *ev, bool *ret_has)
{
    memset(ev, 0, sizeof(*ev));
    *ret_has = true;
    switch (e->type) {
    case HA_DO_LOOK:
        *ret_has = !w->hold_look;
        ev->type = HA_EV_LOOKED;
        ev->u.facts = &w->pg;
        break;
    case HA_DO_DCS:
        *ret_has = !w->hold[e->u.dcs.op];
        ev->type = HA_EV_DCS;
        ev->u.dcs.op = e->u.dcs.op;
        ev->u.dcs.outcome = w->dcs[e->u.dcs.op];
        ev->u.dcs.sent_ms = w->now_ms;
        break;
    case HA_DO_ASK_PEERS:
        *ret_has = !w->hold_peers;
        ev->type = HA_EV_PEERS;
        ev->u.peers.round = e->u.peers.round;
        ev->u.peers.n = w->n_peers;
        ev->u.peers.peers = w->peers;
        break;
    case HA_DO_CHECK_FOLLOW:
        ev->type = HA_EV_FOLLOW;
        ev->u.follow.fits = w->fits;
        ev->u.follow.needs_restart = w->needs_restart;
        break;
    case HA_DO_CHECKPOINT:
        ev->type = HA_EV_CHECKPOINT;
        ev->u.ok = true;
        break;
    case HA_DO_SLOTS:
        ev->type = HA_EV_SLOTS;
        ev->u.ok = true;
        break;
    case HA_DO_WATCHDOG:
        *ret_has = device(w, e) && !w->hold_watchdog;
        ev->type = HA_EV_WATCHDOG;
        ev->u.watchdog = w->device;
        break;
    case HA_DO_JOB:
    case HA_DO_CANCEL_JOB:
    case HA_DO_RESUME_REPLAY:
    case HA_DO_CALLBACK:
    case HA_DO_ANSWER:
    case HA_DO_LOG:
    case HA_DO_CYCLE_DONE:
    case HA_DO_EXIT:
        *ret_has = false;
        break;
    }
}

void w_event(struct w *w, struct ha_event *ev)
{
    static struct ha_effects fx;
    struct ha_event queue[64];
    unsigned head = 0, tail = 0, rounds = 0;

    queue[tail++] = *ev;
    while (head != tail) {
        struct ha_event now = queue[head++ % 64];

        assert_true(++rounds < 200); /* a world that never settles is a bug of the brain */
        now.now_ms = w->now_ms;
        now.wall_us = w->wall_us;
        ha_step(&w->ha, &now, &fx);
        w->wake_ms = fx.wake_ms;
        assert_true(fx.wake_ms >= w->now_ms || fx.wake_ms == 0 || fx.n > 0);
        for (unsigned i = 0; i < fx.n; i++) {
            struct ha_event reply;
            bool has;

            assert_true(w->n < W_EFFECTS_MAX);
            w->did[w->n++] = fx.v[i];
            answer(w, &fx.v[i], &reply, &has);
            if (has) {
                assert_true(tail - head < 64);
                queue[tail++ % 64] = reply;
            }
        }
        if (tail != head) {
            w->now_ms += w->reply_after_ms;
            w->wall_us += (int64_t)w->reply_after_ms * 1000;
        }
    }
}

void w_tick(struct w *w, uint64_t later_ms)
{
    struct ha_event ev = { .type = HA_EV_TICK };

    w->now_ms += later_ms;
    w->wall_us += (int64_t)later_ms * 1000;
    w_event(w, &ev);
}

void w_cycle(struct w *w)
{
    uint64_t due = w->ha.next_run_ms > w->now_ms ? w->ha.next_run_ms - w->now_ms : 0;

    w_tick(w, due);
}

void w_view(struct w *w)
{
    struct ha_event ev = { .type = HA_EV_VIEW };

    ev.u.view.cluster = &w->view;
    ev.u.view.live = w->live;
    w_event(w, &ev);
}

void w_facts(struct w *w)
{
    struct ha_event ev = { .type = HA_EV_FACTS };

    ev.u.facts = &w->pg;
    w_event(w, &ev);
}

void w_policy(struct w *w)
{
    struct ha_event ev = { .type = HA_EV_POLICY };

    ev.u.policy = &w->policy;
    w_event(w, &ev);
}

void w_job_end(struct w *w, enum postmaster_job job, enum postmaster_outcome outcome)
{
    struct ha_event ev = { .type = HA_EV_JOB };

    ev.u.job.job = job;
    ev.u.job.outcome = outcome;
    w_event(w, &ev);
}

void w_request(struct w *w, const struct ha_request *r)
{
    struct ha_event ev = { .type = HA_EV_REQUEST };

    ev.u.request = *r;
    w_event(w, &ev);
}

void w_device(struct w *w)
{
    struct ha_event ev = { .type = HA_EV_WATCHDOG };

    ev.u.watchdog = w->device;
    w_event(w, &ev);
}

const struct ha_effect *w_watchdog(const struct w *w, enum ha_watchdog_op op)
{
    for (unsigned i = 0; i < w->n; i++)
        if (w->did[i].type == HA_DO_WATCHDOG && w->did[i].u.watchdog.op == op)
            return &w->did[i];
    return NULL;
}

const struct ha_effect *w_did(const struct w *w, enum ha_effect_type type)
{
    for (unsigned i = 0; i < w->n; i++)
        if (w->did[i].type == type)
            return &w->did[i];
    return NULL;
}

const struct ha_effect *w_dcs(const struct w *w, enum ha_dcs_op op)
{
    for (unsigned i = 0; i < w->n; i++)
        if (w->did[i].type == HA_DO_DCS && w->did[i].u.dcs.op == op)
            return &w->did[i];
    return NULL;
}

const struct ha_effect *w_job(const struct w *w, enum postmaster_job job)
{
    for (unsigned i = 0; i < w->n; i++)
        if (w->did[i].type == HA_DO_JOB && w->did[i].u.job.job == job)
            return &w->did[i];
    return NULL;
}

const struct ha_effect *w_why(const struct w *w, enum ha_why why)
{
    for (unsigned i = 0; i < w->n; i++)
        if (w->did[i].why == why)
            return &w->did[i];
    return NULL;
}

unsigned w_count(const struct w *w, enum ha_effect_type type)
{
    unsigned n = 0;

    for (unsigned i = 0; i < w->n; i++)
        n += w->did[i].type == type;
    return n;
}

const char *w_status(const struct w *w)
{
    return w->ha.status;
}
