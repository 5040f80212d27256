/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/dcs.c - the agent's side of the store: requests with retries, the lease, the watch.
 *
 * It does what dcs/etcd3*.c do, step by step and with the same conclusions: only a guard's answer
 * is a no for the requests that decide about the leader; a lost lease is granted again and the key
 * bound again in the same request; a watch that owes a change for a second is not live any more.
 */
#include "tests/sim/sim.h"

#include <string.h>

#define TRY_MS 1000    /* a silent node gets company */
#define EXPECT_MS 1000 /* the watch must tell within so long what others know */
#define PROBE_MS 5000
#define PROBE_ANSWER_MS 2000
#define PAUSE_FIRST_US (50 * SIM_MS)
#define PAUSE_MAX_US (2 * SIM_S)
#define REBINDS_MAX 3
#define ACQUIRE_PROOF_MS 1000
#define RELEASE_STATUS_MS 1000

static void send_step(struct sim *s, struct sim_node *n, struct sim_op *op, enum sim_step step);
static void connect_soon(struct sim *s, struct sim_node *n);

static uint32_t slot_of(const struct sim_node *n, const struct sim_op *op)
{
    return (uint32_t)(op - n->dcs.ops);
}

static bool only_a_guard_says_no(const struct sim_op *op)
{
    switch (op->op) {
    case HA_DCS_READ:
    case HA_DCS_RENEW:
    case HA_DCS_ACQUIRE:
    case HA_DCS_TAKE:
    case HA_DCS_CANCEL_INITIALIZE:
        return true;
    case HA_DCS_SET_SYSID:
        return !op->create;
    default:
        return false;
    }
}

/* ---- the view
 * ------------------------------------------------------------------------------------- */

static void decimal(char *ret, size_t bytes, uint64_t v)
{
    char text[24];
    unsigned n = 0;

    do {
        text[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v && n < sizeof(text));
    for (unsigned i = 0; i < n && i + 1 < bytes; i++)
        ret[i] = text[n - 1 - i];
    ret[n < bytes ? n : bytes - 1] = 0;
}

static void name_of(const struct sim *s, int node, char *ret)
{
    memset(ret, 0, 8);
    if (node >= 0)
        memcpy(ret, s->nodes[node].name, 8);
}

static void fill_member(const struct sim *s, unsigned node, const struct sim_member *m,
                        struct dcs_member *ret, uint16_t *shown_tags)
{
    const struct sim_node *n = &s->nodes[node];

    if (ret->name[1] != n->name[1]) {
        memset(ret, 0, sizeof(*ret));
        memcpy(ret->name, n->name, sizeof(n->name));
        snprintf(ret->conn_url, 64, "postgres://%s:5432/postgres", n->name);
        snprintf(ret->api_url, 64, "http://%s:8008/patroni", n->name);
        ret->agent_version = 40105;
        ret->checkpoint_known = true;
        *shown_tags = 0;
    }
    if (*shown_tags != m->tags + 1) {
        *shown_tags = (uint16_t)(m->tags + 1);
        ret->tags = s->tag_sets[m->tags];
    }
    ret->state = (enum pgv_state)m->state;
    ret->role = (enum pgv_role)m->role;
    ret->xlog_location = m->positions ? m->xlog : 0;
    ret->receive_lsn = m->positions ? m->receive : 0;
    ret->replay_lsn = m->positions ? m->replay : 0;
    ret->timeline = m->positions ? m->tl : 0;
    ret->streaming = m->streaming;
    ret->checkpoint_done = !m->checkpoint_pending && m->role == PGV_ROLE_PRIMARY;
    ret->pause = m->pause;
    ret->pending_restart = m->pending_restart;
}

void dcs_fill_view(struct sim *s, struct sim_node *n)
{
    const struct sim_keys *k = &n->dcs.keys;
    struct dcs_cluster *c = &n->dcs.view;

    c->initialize = k->init;
    memcpy(c->initialize_text, k->sysid, sizeof(c->initialize_text));
    c->config_exists = c->config_valid = k->config;
    if (k->config)
        decimal(c->config_version, sizeof(c->config_version), k->config_rev);
    c->has_leader = k->leader;
    name_of(s, k->leader ? k->leader_node : -1, c->leader);
    c->status_exists = k->status;
    c->status_optime = k->status ? k->optime : 0;
    c->history_exists = k->history;
    c->history_lines = k->history_lines;
    c->history_timeline = k->history ? k->history_tl : 0;
    c->history_last_tl = k->history_lines ? k->history_tl - 1 : 0;
    c->history_last_fields = k->history_lines ? 5 : 0;
    c->failover.exists = k->failover.exists;
    c->failover.present =
        k->failover.exists && (k->failover.leader >= 0 || k->failover.candidate >= 0);
    name_of(s, k->failover.leader, c->failover.leader);
    name_of(s, k->failover.candidate, c->failover.candidate);
    decimal(c->failover.version, sizeof(c->failover.version), k->failover.rev);
    c->failover.scheduled = k->failover.scheduled;
    c->failover.schedule_valid = c->failover.schedule_has_zone =
        k->failover.scheduled && !k->failover.unreadable;
    c->failover.scheduled_wall_us = k->failover.at_wall_us;
    c->n_members = 0;
    for (unsigned i = 0; i < s->n; i++)
        if (k->members[i].exists)
            fill_member(s, i, &k->members[i], &c->members[c->n_members],
                        &n->dcs.view_tags[c->n_members]),
                c->n_members++;
}

static void replaced(struct sim *s, struct sim_node *n)
{
    n->dcs.have_view = true;
    dcs_fill_view(s, n);
    node_on_view(s, n);
}

/* ---- the watch
 * --------------------------------------------------------------------------------------- */

static void watch_cut(struct sim *s, struct sim_node *n, const char *why)
{
    struct sim_dcs *d = &n->dcs;

    if (d->live && sim_noting(s, SIM_NOTE_LOG))
        sim_note(s, n, SIM_NOTE_LOG, "the watch is cut: %s", why);
    d->live = false;
    d->stream++;
    d->expect_us = 0;
    d->deliver_armed = false;
    connect_soon(s, n);
}

static void on_deliver(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_dcs *d = &n->dcs;
    uint64_t rev = s->store.keys.rev;

    if (ev->a != d->stream)
        return;
    d->deliver_armed = false;
    if (!d->live || n->cut_store || n->watch_stale || s->store.no_quorum)
        return;
    if (d->rev + SIM_RING - 8 < rev) {
        watch_cut(s, n, "compacted");
        return;
    }
    while (rev > d->rev && s->store.ring[rev % SIM_RING].committed_us + 100 > s->now_us)
        rev--;
    if (rev < s->store.keys.rev) {
        d->deliver_armed = true;
        sim_in(s, 300, SIM_AGENT, n, on_deliver, d->stream, 0, 0);
    }
    if (rev <= d->rev)
        return;
    d->rev = rev;
    d->expect_us = 0;
    /* What our own writes told already is not told again. */
    if (d->keys.rev >= rev)
        return;
    d->keys = s->store.ring[rev % SIM_RING];
    replaced(s, n);
}

void dcs_committed(struct sim *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        struct sim_node *n = &s->nodes[i];
        struct sim_dcs *d = &n->dcs;

        if (!n->up || !d->live || d->deliver_armed || n->cut_store || n->watch_stale)
            continue;
        d->deliver_armed = true;
        sim_in(s, sim_lat(s, 200, 2 * s->plan.latency_us), SIM_AGENT, n, on_deliver, d->stream, 0,
               0);
    }
}

static void on_expected(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (ev->a == n->dcs.stream && n->dcs.live && n->dcs.rev < ev->b)
        watch_cut(s, n, "a change was not delivered");
}

static void expect(struct sim *s, struct sim_node *n, uint64_t rev)
{
    struct sim_dcs *d = &n->dcs;

    if (!d->live || rev <= d->rev || d->expect_us)
        return;
    if (d->deliver_armed && !n->watch_stale && !n->cut_store)
        return; /* it is on its way */
    d->expect_us = s->now_us;
    sim_in(s, EXPECT_MS * SIM_MS, SIM_AGENT, n, on_expected, d->stream, rev, 0);
}

static void on_probe(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_dcs *d = &n->dcs;

    if (ev->a != d->stream || !d->live)
        return;
    if (n->cut_store || s->store.no_quorum)
        watch_cut(s, n, "the probe was not answered");
    else if (n->watch_stale && d->rev < s->store.keys.rev)
        expect(s, n, s->store.keys.rev);
    else if (n->watch_stale)
        sim_in(s, PROBE_MS * SIM_MS, SIM_AGENT, n, on_probe, d->stream, 0, 0);
    else if (!d->deliver_armed && d->rev < s->store.keys.rev) {
        d->deliver_armed = true;
        sim_in(s, 100, SIM_AGENT, n, on_deliver, d->stream, 0, 0);
    }
}

/* Silence is noticed by a probe. */
void dcs_stream_hurt(struct sim *s, struct sim_node *n)
{
    if (!n->up || !n->dcs.live)
        return;
    sim_in(s, sim_lat(s, 0, PROBE_MS) * SIM_MS + PROBE_ANSWER_MS * SIM_MS, SIM_AGENT, n, on_probe,
           n->dcs.stream, 0, 0);
}

static void on_connect(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_dcs *d = &n->dcs;

    if (ev->a != d->stream)
        return;
    d->connecting = false;
    if (n->cut_store || s->store.no_quorum || s->store.error == SIM_ANSWER_DENIED ||
        sim_rng_permille(&s->rng, s->store.drop_request_pm)) {
        connect_soon(s, n);
        return;
    }
    d->pause_us = PAUSE_FIRST_US;
    d->live = true;
    d->rev = s->store.keys.rev;
    if (!d->have_view || d->keys.rev <= d->rev) {
        d->keys = s->store.keys;
        replaced(s, n);
        if (!n->running && n->up)
            node_go_on(s, n);
    }
    if (n->watch_stale)
        dcs_stream_hurt(s, n);
}

static void connect_soon(struct sim *s, struct sim_node *n)
{
    struct sim_dcs *d = &n->dcs;
    uint64_t pause = d->pause_us + sim_lat(s, 0, d->pause_us);

    d->connecting = true;
    d->pause_us = d->pause_us * 2 > PAUSE_MAX_US ? PAUSE_MAX_US : d->pause_us * 2;
    sim_in(s, pause + 2 * s->plan.latency_us, SIM_AGENT, n, on_connect, d->stream, 0, 0);
}

void dcs_init_node(struct sim *s, struct sim_node *n)
{
    uint32_t stream = n->dcs.stream + 1;
    struct sim_dcs *d = &n->dcs;

    memset(d->ops, 0, sizeof(d->ops));
    memset(&d->view, 0, sizeof(d->view));
    memset(d->view_tags, 0, sizeof(d->view_tags));
    memset(&d->touched, 0, sizeof(d->touched));
    d->have_view = d->live = d->was_live = d->deliver_armed = d->connecting = false;
    d->rev = 0;
    d->expect_us = 0;
    d->stream = stream;
    d->lease = d->touched_lease = 0;
    d->lease_proven_ms = d->lease_ttl_ms = 0;
    d->last_optime = 0;
    d->init_rev = n->pg.unfinished ? n->pg.marked_rev : 0; /* as the mark tells */
    d->pause_us = PAUSE_FIRST_US;
    memset(&d->keys, 0, sizeof(d->keys));
    connect_soon(s, n);
}

/* ---- the end of a request
 * -------------------------------------------------------------------------------- */

static void finish(struct sim *s, struct sim_node *n, struct sim_op *op, enum ha_outcome outcome);

static void on_finish(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_op *op = &n->dcs.ops[ev->a];

    if (op->used && op->try == (uint32_t)ev->b)
        finish(s, n, op, (enum ha_outcome)ev->c);
}

static void finish(struct sim *s, struct sim_node *n, struct sim_op *op, enum ha_outcome outcome)
{
    struct ha_event ev = { .type = HA_EV_DCS };

    if (n->pump.stepping) { /* never inside the caller's call */
        sim_in(s, 0, SIM_AGENT, n, on_finish, slot_of(n, op), op->try, (uint64_t)outcome);
        return;
    }
    op->used = false;
    op->try++;
    if (!n->running)
        return;
    if (op->op == HA_DCS_SET_STATUS && outcome != HA_OK)
        n->dcs.last_optime = 0;
    if (op->op == HA_DCS_READ && outcome == HA_OK)
        node_push_policy(s, n);
    ev.u.dcs.op = op->op;
    ev.u.dcs.outcome = outcome;
    ev.u.dcs.sent_ms = op->sent_ms;
    node_feed(s, n, &ev);
}

static void leader_is_ours(struct sim *s, struct sim_node *n, struct sim_op *op)
{
    op->sent_ms = op->proven_ms;
    finish(s, n, op, HA_OK);
}

/* Our own write stands in the cache before its answer is told. */
static void wrote(struct sim *s, struct sim_node *n, const struct sim_op *op, uint64_t rev)
{
    struct sim_keys *mine = &n->dcs.keys;
    const struct sim_keys *then = &s->store.ring[rev % SIM_RING];

    if (then->rev != rev || mine->rev >= rev || !n->dcs.have_view)
        return;
    switch (op->op) {
    case HA_DCS_TOUCH:
        mine->members[n->i] = then->members[n->i];
        break;
    case HA_DCS_ACQUIRE:
    case HA_DCS_TAKE:
    case HA_DCS_RENEW:
    case HA_DCS_RELEASE:
        mine->leader = then->leader;
        mine->leader_node = then->leader_node;
        mine->leader_lease = then->leader_lease;
        mine->leader_rev = then->leader_rev;
        break;
    case HA_DCS_INITIALIZE:
    case HA_DCS_SET_SYSID:
    case HA_DCS_CANCEL_INITIALIZE:
        mine->init = then->init;
        mine->init_rev = then->init_rev;
        memcpy(mine->sysid, then->sysid, sizeof(mine->sysid));
        break;
    case HA_DCS_SET_CONFIG:
        mine->config = then->config;
        mine->config_id = then->config_id;
        mine->config_rev = then->config_rev;
        break;
    case HA_DCS_SET_FAILOVER:
        mine->failover = then->failover;
        break;
    case HA_DCS_SET_STATUS:
        mine->status = then->status;
        mine->optime = then->optime;
        break;
    case HA_DCS_SET_HISTORY:
        mine->history = then->history;
        mine->history_lines = then->history_lines;
        mine->history_tl = then->history_tl;
        break;
    case HA_DCS_READ:
    case HA_DCS_OPS:
        return;
    }
    expect(s, n, rev);
    replaced(s, n);
}

/* ---- the lease
 * -----------------------------------------------------------------------------------------------
 */

static void leased(struct sim *s, struct sim_node *n, struct sim_op *op);

static void grant(struct sim *s, struct sim_node *n, struct sim_op *op)
{
    n->dcs.lease = 0;
    op->n2 = (uint32_t)s->configs[n->config_id == UINT32_MAX ? 0 : n->config_id].ttl_ms;
    send_step(s, n, op, SIM_STEP_GRANT);
}

static void ensure_lease(struct sim *s, struct sim_node *n, struct sim_op *op, uint64_t max_age_ms)
{
    struct sim_dcs *d = &n->dcs;

    if (!d->lease) {
        grant(s, n, op);
    } else if (!max_age_ms || node_ms(s, n) - d->lease_proven_ms > max_age_ms) {
        op->lease = d->lease;
        send_step(s, n, op, SIM_STEP_KEEPALIVE);
    } else {
        op->lease = d->lease;
        op->proven_ms = d->lease_proven_ms;
        leased(s, n, op);
    }
}

static bool same_member(const struct sim_member *a, const struct sim_member *b)
{
    return a->xlog == b->xlog && a->receive == b->receive && a->replay == b->replay &&
           a->tl == b->tl && a->state == b->state && a->role == b->role &&
           a->checkpoint_pending == b->checkpoint_pending && a->pause == b->pause &&
           a->tags == b->tags && a->pending_restart == b->pending_restart &&
           a->positions == b->positions && a->streaming == b->streaming;
}

static void leased(struct sim *s, struct sim_node *n, struct sim_op *op)
{
    struct sim_dcs *d = &n->dcs;
    const struct sim_keys *k = &d->keys;

    switch (op->op) {
    case HA_DCS_TOUCH:
        if (d->touched_lease == op->lease && same_member(&d->touched, &op->member) &&
            k->members[n->i].exists && k->members[n->i].lease == op->lease)
            finish(s, n, op, HA_OK);
        else
            send_step(s, n, op, SIM_STEP_MAIN);
        break;
    case HA_DCS_ACQUIRE:
    case HA_DCS_TAKE:
        send_step(s, n, op, SIM_STEP_MAIN);
        break;
    case HA_DCS_RENEW:
        if (d->have_view && d->live && !d->expect_us && k->leader && k->leader_node == (int)n->i &&
            k->leader_lease == op->lease)
            leader_is_ours(s, n, op);
        else if (op->rebinds)
            send_step(s, n, op, SIM_STEP_REBIND);
        else
            send_step(s, n, op, SIM_STEP_CHECK);
        break;
    default:
        check_violation(s, n, SIM_RULE_broken_model, "a lease for nothing");
        break;
    }
}

/* ---- sending
 * ---------------------------------------------------------------------------------------------------
 */

static void on_try_over(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_op *op = &n->dcs.ops[ev->a];

    if (!op->used || op->try != (uint32_t)ev->b)
        return;
    if (node_ms(s, n) >= op->deadline_ms) {
        finish(s, n, op, HA_LOST);
        return;
    }
    op->ambiguous = true;
    send_step(s, n, op, (enum sim_step)op->step);
}

static void arm_try(struct sim *s, struct sim_node *n, struct sim_op *op, uint64_t at_ms)
{
    uint64_t at = at_ms < op->deadline_ms ? at_ms : op->deadline_ms;

    sim_at(s, node_when(s, n, at), SIM_AGENT, n, on_try_over, slot_of(n, op), op->try, 0);
}

void dcs_lost_try(struct sim *s, struct sim_node *n, uint32_t slot, uint32_t try)
{
    struct sim_op *op = &n->dcs.ops[slot];

    if (!op->used || op->try != try)
        return;
    if (n->cut_store || s->store.no_quorum || n->watch_stale)
        dcs_stream_hurt(s, n);
    arm_try(s, n, op, op->try_ms + TRY_MS);
}

static void send_step(struct sim *s, struct sim_node *n, struct sim_op *op, enum sim_step step)
{
    struct sim_store *st = &s->store;
    uint64_t there_us = sim_lat(s, s->plan.latency_us / 2, s->plan.latency_us), slow_us = 0;

    op->step = (uint8_t)step;
    op->try++;
    op->try_ms = node_ms(s, n);
    if (op->try_ms >= op->deadline_ms) {
        arm_try(s, n, op, op->deadline_ms);
        return;
    }
    if (st->again_us)
        store_again(s, n, op);
    if (n->cut_store || sim_rng_permille(&s->rng, st->drop_request_pm)) {
        dcs_lost_try(s, n, slot_of(n, op), op->try);
        return;
    }
    if (st->slow_us) {
        slow_us = s->now_us + there_us + sim_lat(s, st->slow_us / 4, st->slow_us);
        arm_try(s, n, op, op->deadline_ms);
    }
    sim_in(s, there_us, SIM_WORLD, n, store_arrive, slot_of(n, op), op->try, slow_us);
}

/* ---- answers
 * ------------------------------------------------------------------------------------------------------
 */

static void got_lease(struct sim *s, struct sim_node *n, struct sim_op *op, uint32_t id)
{
    struct sim_dcs *d = &n->dcs;
    uint64_t ttl = s->configs[n->config_id == UINT32_MAX ? 0 : n->config_id].ttl_ms;

    if (op->step == SIM_STEP_GRANT) {
        if (d->lease) { /* another request was quicker: ours runs out by itself */
            op->lease = d->lease;
            op->proven_ms = d->lease_proven_ms;
            leased(s, n, op);
            return;
        }
        if (op->n2 != ttl) {
            grant(s, n, op);
            return;
        }
        d->lease = id;
        d->lease_ttl_ms = ttl;
        d->lease_proven_ms = op->try_ms;
    } else if (op->lease != d->lease) { /* replaced meanwhile */
        ensure_lease(s, n, op, op->op == HA_DCS_RENEW ? 0 : ACQUIRE_PROOF_MS);
        return;
    } else if (op->try_ms > d->lease_proven_ms) {
        d->lease_proven_ms = op->try_ms;
    }
    op->lease = d->lease;
    op->proven_ms = d->lease_proven_ms;
    leased(s, n, op);
}

static void lease_lost(struct sim *s, struct sim_node *n, struct sim_op *op)
{
    if (n->dcs.lease == op->lease)
        n->dcs.lease = 0;
    if (op->step != SIM_STEP_KEEPALIVE)
        op->rebinds++;
    else if (op->op == HA_DCS_RENEW)
        op->rebinds = 0;
    if (op->rebinds > REBINDS_MAX) {
        finish(s, n, op, HA_LOST);
        return;
    }
    if (n->dcs.lease)
        ensure_lease(s, n, op, 0);
    else
        grant(s, n, op);
}

/* A guard said no; the answer tells the key as it is. */
static void guarded(struct sim *s, struct sim_node *n, struct sim_op *op, const struct sim_keys *k)
{
    bool mine = k->leader && k->leader_node == (int)n->i;

    if ((op->op == HA_DCS_ACQUIRE || op->op == HA_DCS_RENEW || op->op == HA_DCS_TAKE) && mine &&
        k->leader_lease == op->lease) {
        leader_is_ours(s, n, op);
        return;
    }
    if (op->op == HA_DCS_TAKE && mine && k->init == DCS_INIT_SYSID &&
        strcmp(k->sysid, op->sysid) == 0) {
        finish(s, n, op, HA_LOST); /* under a session that has ended */
        return;
    }
    if (op->op == HA_DCS_RELEASE && mine && op->rebinds++ < REBINDS_MAX) {
        op->guard_rev = k->leader_rev; /* it was put again without our knowing */
        send_step(s, n, op, SIM_STEP_MAIN);
        return;
    }
    if (op->op == HA_DCS_INITIALIZE && k->members[n->i].exists &&
        k->members[n->i].rev == k->init_rev) {
        n->dcs.init_rev = k->init_rev;
        finish(s, n, op, HA_OK);
        return;
    }
    if (op->op == HA_DCS_SET_SYSID && !op->create && k->init == DCS_INIT_SYSID &&
        strcmp(k->sysid, op->sysid) == 0) {
        n->dcs.init_rev = k->init_rev;
        finish(s, n, op, HA_OK);
        return;
    }
    if (op->op == HA_DCS_SET_FAILOVER && op->ambiguous &&
        k->failover.exists == op->failover.exists && k->failover.leader == op->failover.leader &&
        k->failover.candidate == op->failover.candidate) {
        finish(s, n, op, HA_OK);
        return;
    }
    finish(s, n, op, HA_REFUSED);
}

static void checked(struct sim *s, struct sim_node *n, struct sim_op *op, const struct sim_keys *k)
{
    bool mine = k->leader && k->leader_node == (int)n->i;

    if (mine && k->leader_lease == op->lease)
        leader_is_ours(s, n, op);
    else if (k->leader && !mine)
        finish(s, n, op, HA_REFUSED);
    else
        send_step(s, n, op, SIM_STEP_REBIND);
}

static void done(struct sim *s, struct sim_node *n, struct sim_op *op, uint64_t rev)
{
    struct sim_dcs *d = &n->dcs;
    const struct sim_keys *then = &s->store.ring[rev % SIM_RING];

    switch (op->op) {
    case HA_DCS_READ:
        if (then->rev != rev) {
            finish(s, n, op, HA_LOST); /* too old to be looked up */
            return;
        }
        if (d->keys.rev < rev || !d->have_view) {
            d->keys = *then;
            replaced(s, n);
        }
        expect(s, n, rev);
        break;
    case HA_DCS_TOUCH:
        d->touched = op->member;
        d->touched_lease = op->lease;
        wrote(s, n, op, rev);
        break;
    case HA_DCS_ACQUIRE:
    case HA_DCS_TAKE:
    case HA_DCS_RENEW:
        wrote(s, n, op, rev);
        leader_is_ours(s, n, op);
        return;
    case HA_DCS_INITIALIZE:
    case HA_DCS_SET_SYSID:
        d->init_rev = rev;
        wrote(s, n, op, rev);
        break;
    default:
        wrote(s, n, op, rev);
        break;
    }
    finish(s, n, op, HA_OK);
}

void dcs_reply(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_op *op = &n->dcs.ops[ev->a & 0xff];
    enum sim_answer answer = (enum sim_answer)(ev->a >> 8);
    const struct sim_keys *then = &s->store.ring[ev->c % SIM_RING];

    if (!op->used || op->try != (uint32_t)ev->b || n->cut_store) {
        if (op->used && op->try == (uint32_t)ev->b)
            dcs_lost_try(s, n, ev->a & 0xff, op->try);
        return;
    }
    if (node_ms(s, n) >= op->deadline_ms) { /* the timer, not the answer, comes first */
        finish(s, n, op, HA_LOST);
        return;
    }
    switch (answer) {
    case SIM_ANSWER_NO_LEADER:
        op->try++; /* another node after a pause */
        op->ambiguous = true;
        arm_try(s, n, op, node_ms(s, n) + 100 + sim_lat(s, 0, 800));
        return;
    case SIM_ANSWER_DENIED:
        finish(s, n, op, only_a_guard_says_no(op) ? HA_LOST : HA_REFUSED);
        return;
    case SIM_ANSWER_NO_LEASE:
        lease_lost(s, n, op);
        return;
    case SIM_ANSWER_GUARD:
        if (then->rev == ev->c)
            guarded(s, n, op, then);
        else
            finish(s, n, op, HA_LOST);
        return;
    case SIM_ANSWER_OK:
        break;
    }
    switch ((enum sim_step)op->step) {
    case SIM_STEP_KEEPALIVE:
    case SIM_STEP_GRANT:
        got_lease(s, n, op, (uint32_t)(ev->b >> 32));
        break;
    case SIM_STEP_STATUS:
        send_step(s, n, op, SIM_STEP_MAIN);
        break;
    case SIM_STEP_CHECK:
        if (then->rev == ev->c)
            checked(s, n, op, then);
        else
            finish(s, n, op, HA_LOST);
        break;
    case SIM_STEP_MAIN:
    case SIM_STEP_REBIND:
        done(s, n, op, ev->c);
        break;
    }
}

/* ---- the port
 * -----------------------------------------------------------------------------------------------------
 */

static void on_skipped(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    finish(s, n, &n->dcs.ops[ev->a], HA_OK);
}

static void member_document(struct sim *s, struct sim_node *n, struct sim_member *m)
{
    const struct postmaster_facts *f = &n->pm.facts;
    uint64_t now = node_ms(s, n);

    memset(m, 0, sizeof(*m));
    m->state = (uint8_t)f->state;
    m->role = (uint8_t)ha_role(&n->ha);
    m->tags = n->tags_id;
    m->checkpoint_pending = ha_is_leader(&n->ha, now) && ha_checkpoint_pending(&n->ha);
    m->pause = s->configs[n->config_id].paused;
    m->pending_restart = f->pending_restart;
    m->positions = f->look_ok && (n->pm.job == PM_JOB_NONE || n->pm.job == PM_JOB_PROMOTE) &&
                   (f->state == PGV_STATE_RUNNING || f->state == PGV_STATE_STARTING);
    if (m->positions) {
        m->xlog = f->wal_lsn;
        m->tl = f->timeline;
        if (f->in_recovery) {
            m->receive = f->receive_lsn;
            m->replay = f->replay_lsn;
            m->streaming = f->streaming;
        }
    }
}

static uint32_t history_lines(const struct sim *s, const struct sim_node *n)
{
    uint32_t lines = 0;

    for (int b = n->pg.branch; b >= 0; b = s->branches[b].parent)
        lines++;
    return lines ? lines - 1 : 0;
}

void dcs_port(void *data, const struct ha_effect *e)
{
    struct sim_node *n = data;
    struct sim *s = n->sim;
    enum ha_dcs_op kind = e->u.dcs.op;
    struct sim_op *op = &n->dcs.ops[kind];
    uint32_t try = op->try;

    PGV_ASSERT(!op->used); /* the brain knows what is in flight */
    memset(op, 0, sizeof(*op));
    op->try = try;
    op->used = true;
    op->op = kind;
    op->deadline_ms = e->u.dcs.deadline_ms;
    switch (kind) {
    case HA_DCS_TOUCH:
        member_document(s, n, &op->member);
        ensure_lease(s, n, op, s->configs[n->config_id].loop_wait_ms / 2 + 1);
        return;
    case HA_DCS_ACQUIRE:
    case HA_DCS_TAKE:
        memcpy(op->sysid, n->pm.facts.sysid, sizeof(op->sysid));
        ensure_lease(s, n, op, ACQUIRE_PROOF_MS);
        return;
    case HA_DCS_RENEW:
        ensure_lease(s, n, op, 0);
        return;
    case HA_DCS_SET_SYSID:
        op->create = e->u.dcs.create;
        op->guard_rev = e->u.dcs.guarded ? n->dcs.init_rev : n->dcs.keys.init_rev;
        memcpy(op->sysid, n->pm.facts.sysid, sizeof(op->sysid));
        break;
    case HA_DCS_SET_CONFIG:
        op->n1 = n->config_id;
        break;
    case HA_DCS_SET_FAILOVER:
        op->failover.exists = true;
        op->failover.leader = op->failover.candidate = -1;
        if (e->u.dcs.candidate[0])
            op->failover.candidate = (int8_t)node_by_name(s, e->u.dcs.candidate);
        op->guard_rev = e->u.dcs.guarded ? n->dcs.keys.failover.rev : 0;
        break;
    case HA_DCS_SET_STATUS:
        op->optime = n->pm.facts.wal_lsn;
        if (op->optime == n->dcs.last_optime) {
            sim_in(s, 0, SIM_AGENT, n, on_skipped, (uint32_t)kind, 0, 0);
            return;
        }
        n->dcs.last_optime = op->optime;
        break;
    case HA_DCS_SET_HISTORY:
        op->n2 = n->pm.facts.timeline;
        op->n1 = op->n2 > 1 ? history_lines(s, n) : 0;
        break;
    case HA_DCS_RELEASE:
        op->guard_rev = n->dcs.keys.leader_node == (int)n->i ? n->dcs.keys.leader_rev : 0;
        if (e->u.dcs.optime) {
            op->optime = e->u.dcs.optime;
            n->dcs.last_optime = 0;
            send_step(s, n, op, SIM_STEP_STATUS);
            return;
        }
        break;
    case HA_DCS_CANCEL_INITIALIZE:
        op->guard_rev = n->dcs.init_rev;
        break;
    case HA_DCS_READ:
    case HA_DCS_INITIALIZE:
    case HA_DCS_OPS:
        break;
    }
    send_step(s, n, op, SIM_STEP_MAIN);
}
