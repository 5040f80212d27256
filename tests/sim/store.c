/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/store.c - etcd as its clients meet it: linearizable transactions, leases, revisions.
 *
 * What arrives is applied at once and in order; an answer may be lost after that. A store without
 * quorum answers nobody, and no lease ends meanwhile: the next store leader begins them anew
 * (source: etcd, lease/lessor.go, Promote()).
 */
#include "tests/sim/sim.h"

#include <string.h>

static void commit(struct sim *s, enum sim_key key, const struct sim_node *by, const char *what)
{
    struct sim_keys *k = &s->store.keys;

    k->rev++;
    k->committed_us = s->now_us;
    switch (key) {
    case SIM_KEY_CONFIG:
        k->config_rev = k->rev;
        break;
    case SIM_KEY_LEADER:
        k->leader_rev = k->rev;
        break;
    case SIM_KEY_FAILOVER:
        k->failover.rev = k->rev;
        break;
    case SIM_KEY_INIT:
        k->init_rev = k->init == DCS_INIT_ABSENT ? 0 : k->rev;
        break;
    case SIM_KEY_STATUS:
    case SIM_KEY_HISTORY:
    case SIM_KEY_MEMBER:
        break;
    }
    s->store.ring[k->rev % SIM_RING] = *k;
    if (key != SIM_KEY_STATUS && key != SIM_KEY_MEMBER && sim_noting(s, SIM_NOTE_KEY))
        sim_note(s, by, SIM_NOTE_KEY, "%s rev=%llu", what, (unsigned long long)k->rev);
    dcs_committed(s);
}

void store_init(struct sim *s)
{
    struct sim_store *st = &s->store;

    memset(&st->keys, 0, sizeof(st->keys));
    memset(st->leases, 0, sizeof(st->leases));
    st->keys.rev = 1;
    st->keys.leader_node = -1;
    st->keys.failover.leader = st->keys.failover.candidate = -1;
    st->ring[1] = st->keys;
    st->compacted = 0;
    st->next_lease = 0;
    st->n_leases = 0;
    st->no_quorum = 0;
    st->slow_us = 0;
    st->drop_request_pm = st->drop_reply_pm = 0;
    st->again_us = 0;
    memset(st->again, 0, sizeof(st->again));
    st->error = SIM_ANSWER_OK;
    st->error_pm = 0;
    st->ill_until_us = 0;
}

/* ---- leases
 * ---------------------------------------------------------------------------------------- */

static struct sim_lease *find_lease(struct sim *s, uint32_t id)
{
    for (unsigned i = 0; id && i < s->store.n_leases; i++)
        if (s->store.leases[i].id == id)
            return &s->store.leases[i];
    return NULL;
}

static void end_lease(struct sim *s, struct sim_lease *l, enum sim_loss how, const char *why)
{
    struct sim_keys *k = &s->store.keys;
    uint32_t id = l->id;
    struct sim_node *n = &s->nodes[l->node];

    sim_note(s, n, SIM_NOTE_KEY, "lease %u ends: %s", id, why);
    l->id = 0;
    if (k->leader && k->leader_lease == id) {
        struct sim_node *was = &s->nodes[k->leader_node];

        k->leader = false;
        k->leader_node = -1;
        commit(s, SIM_KEY_LEADER, n, "leader key gone with its lease");
        check_key_lost(s, was, how);
    }
    for (unsigned i = 0; i < s->n; i++)
        if (k->members[i].exists && k->members[i].lease == id) {
            k->members[i].exists = false;
            commit(s, SIM_KEY_MEMBER, n, "member key gone");
        }
}

static void on_expiry(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_lease *l = find_lease(s, ev->a);

    (void)n;
    if (!l)
        return;
    l->armed = false;
    if (s->store.no_quorum || s->now_us < l->expires_us) {
        uint64_t at = s->store.no_quorum ? s->now_us + 100 * SIM_MS : l->expires_us;

        l->armed = true;
        sim_at(s, at, SIM_WORLD, NULL, on_expiry, l->id, 0, 0);
        return;
    }
    end_lease(s, l, SIM_LOSS_EXPIRED, "expired");
}

static void refresh(struct sim *s, struct sim_lease *l)
{
    l->expires_us = s->now_us + l->ttl_us;
    if (!l->armed) {
        l->armed = true;
        sim_at(s, l->expires_us, SIM_WORLD, NULL, on_expiry, l->id, 0, 0);
    }
}

static uint32_t grant(struct sim *s, const struct sim_node *n, uint64_t ttl_us)
{
    struct sim_lease *l = NULL;

    for (unsigned i = 0; i < SIM_LEASES && !l; i++)
        if (!s->store.leases[i].id) {
            l = &s->store.leases[i];
            if (i >= s->store.n_leases)
                s->store.n_leases = i + 1;
        }
    if (!l) {
        check_violation(s, n, SIM_RULE_broken_model, "no room for a lease");
        return 0;
    }
    memset(l, 0, sizeof(*l));
    l->id = ++s->store.next_lease;
    l->node = (int8_t)n->i;
    l->ttl_us = ttl_us;
    refresh(s, l);
    return l->id;
}

void store_revoke(struct sim *s, uint32_t lease, const char *why)
{
    struct sim_lease *l = find_lease(s, lease);

    if (l)
        end_lease(s, l, SIM_LOSS_REVOKED, why);
}

void store_election(struct sim *s)
{
    for (unsigned i = 0; i < s->store.n_leases; i++)
        if (s->store.leases[i].id)
            refresh(s, &s->store.leases[i]);
}

void store_compact(struct sim *s)
{
    s->store.compacted = s->store.keys.rev;
}

/* ---- what people do
 * --------------------------------------------------------------------------------- */

void store_set_failover(struct sim *s, int leader, int candidate, int64_t at_wall_us, bool readable)
{
    struct sim_failover *f = &s->store.keys.failover;

    f->exists = true;
    f->leader = (int8_t)leader;
    f->candidate = (int8_t)candidate;
    f->scheduled = at_wall_us != 0;
    f->at_wall_us = at_wall_us;
    f->unreadable = !readable;
    commit(s, SIM_KEY_FAILOVER, NULL, "failover key written");
}

void store_set_config(struct sim *s, uint32_t config_id)
{
    s->store.keys.config = true;
    s->store.keys.config_id = config_id;
    commit(s, SIM_KEY_CONFIG, NULL, "configuration written");
}

void store_delete_config(struct sim *s)
{
    if (!s->store.keys.config)
        return;
    s->store.keys.config = false;
    commit(s, SIM_KEY_CONFIG, NULL, "configuration deleted");
}

void store_delete_initialize(struct sim *s)
{
    if (s->store.keys.init == DCS_INIT_ABSENT)
        return;
    s->store.keys.init = DCS_INIT_ABSENT;
    commit(s, SIM_KEY_INIT, NULL, "initialize key deleted");
}

void store_delete_member(struct sim *s, unsigned node)
{
    if (!s->store.keys.members[node].exists)
        return;
    s->store.keys.members[node].exists = false;
    commit(s, SIM_KEY_MEMBER, &s->nodes[node], "member key deleted");
}

/* ---- requests
 * ----------------------------------------------------------------------------------------- */

static void give_leader(struct sim *s, struct sim_node *n, uint32_t lease, const char *what)
{
    struct sim_keys *k = &s->store.keys;
    int was = k->leader ? k->leader_node : -1;

    k->leader = true;
    k->leader_node = (int8_t)n->i;
    k->leader_lease = lease;
    commit(s, SIM_KEY_LEADER, n, what);
    if (was >= 0 && was != (int)n->i)
        check_key_lost(s, &s->nodes[was], SIM_LOSS_TAKEN);
    if (was != (int)n->i)
        check_key_won(s, n);
}

static bool mine(const struct sim_keys *k, const struct sim_node *n)
{
    return k->leader && k->leader_node == (int)n->i;
}

/* The main transaction of a request. */
static enum sim_answer apply(struct sim *s, struct sim_node *n, const struct sim_op *op)
{
    struct sim_keys *k = &s->store.keys;
    struct sim_member *m;

    switch (op->op) {
    case HA_DCS_READ:
        return SIM_ANSWER_OK;
    case HA_DCS_TOUCH:
        if (!find_lease(s, op->lease))
            return SIM_ANSWER_NO_LEASE;
        m = &k->members[n->i];
        *m = op->member;
        m->exists = true;
        m->lease = op->lease;
        m->rev = k->rev + 1;
        commit(s, SIM_KEY_MEMBER, n, "member");
        return SIM_ANSWER_OK;
    case HA_DCS_ACQUIRE:
        if (!find_lease(s, op->lease))
            return SIM_ANSWER_NO_LEASE;
        if (k->leader)
            return SIM_ANSWER_GUARD;
        give_leader(s, n, op->lease, "leader key acquired");
        return SIM_ANSWER_OK;
    case HA_DCS_TAKE:
        if (!find_lease(s, op->lease))
            return SIM_ANSWER_NO_LEASE;
        if (k->leader || k->init != DCS_INIT_SYSID || strcmp(k->sysid, op->sysid) != 0)
            return SIM_ANSWER_GUARD;
        give_leader(s, n, op->lease, "leader key taken");
        return SIM_ANSWER_OK;
    case HA_DCS_RENEW: /* the re-bind */
        if (!find_lease(s, op->lease))
            return SIM_ANSWER_NO_LEASE;
        if (k->leader && !mine(k, n))
            return SIM_ANSWER_GUARD;
        give_leader(s, n, op->lease, "leader key bound again");
        return SIM_ANSWER_OK;
    case HA_DCS_RELEASE:
        if (!mine(k, n))
            return k->leader ? SIM_ANSWER_GUARD : SIM_ANSWER_OK;
        if (op->guard_rev && op->guard_rev != k->leader_rev)
            return SIM_ANSWER_GUARD;
        k->leader = false;
        k->leader_node = -1;
        commit(s, SIM_KEY_LEADER, n, "leader key released");
        check_key_lost(s, n, SIM_LOSS_RELEASED);
        return SIM_ANSWER_OK;
    case HA_DCS_INITIALIZE:
        if (k->init != DCS_INIT_ABSENT)
            return SIM_ANSWER_GUARD;
        k->init = DCS_INIT_BOOTSTRAPPING;
        if (k->members[n->i].exists) /* touched by the same transaction: the signature */
            k->members[n->i].rev = k->rev + 1;
        commit(s, SIM_KEY_INIT, n, "initialize key created");
        return SIM_ANSWER_OK;
    case HA_DCS_SET_SYSID:
        if (k->init_rev != (op->create ? 0 : op->guard_rev))
            return SIM_ANSWER_GUARD;
        k->init = DCS_INIT_SYSID;
        memcpy(k->sysid, op->sysid, sizeof(k->sysid));
        commit(s, SIM_KEY_INIT, n, "system identifier written");
        return SIM_ANSWER_OK;
    case HA_DCS_CANCEL_INITIALIZE:
        if (k->init_rev != op->guard_rev)
            return k->init == DCS_INIT_ABSENT ? SIM_ANSWER_OK : SIM_ANSWER_GUARD;
        k->init = DCS_INIT_ABSENT;
        commit(s, SIM_KEY_INIT, n, "initialize key removed");
        return SIM_ANSWER_OK;
    case HA_DCS_SET_CONFIG:
        k->config = true;
        k->config_id = op->n1;
        commit(s, SIM_KEY_CONFIG, n, "configuration filled in");
        return SIM_ANSWER_OK;
    case HA_DCS_SET_FAILOVER:
        if (op->guard_rev && op->guard_rev != k->failover.rev)
            return SIM_ANSWER_GUARD;
        k->failover = op->failover;
        commit(s, SIM_KEY_FAILOVER, n, "failover key cleared");
        return SIM_ANSWER_OK;
    case HA_DCS_SET_STATUS:
        k->status = true;
        k->optime = op->optime;
        check_published(s, n);
        commit(s, SIM_KEY_STATUS, n, "status");
        return SIM_ANSWER_OK;
    case HA_DCS_SET_HISTORY:
        k->history = true;
        k->history_lines = op->n1;
        k->history_tl = op->n2;
        commit(s, SIM_KEY_HISTORY, n, "history");
        return SIM_ANSWER_OK;
    case HA_DCS_OPS:
        break;
    }
    return SIM_ANSWER_DENIED;
}

static enum sim_answer step(struct sim *s, struct sim_node *n, const struct sim_op *op,
                            uint64_t *ret)
{
    struct sim_keys *k = &s->store.keys;
    struct sim_lease *l;

    switch ((enum sim_step)op->step) {
    case SIM_STEP_KEEPALIVE:
        l = find_lease(s, op->lease);
        if (!l)
            return SIM_ANSWER_NO_LEASE;
        refresh(s, l);
        return SIM_ANSWER_OK;
    case SIM_STEP_GRANT:
        *ret = grant(s, n, (op->n2 + 999) / 1000 * SIM_S); /* whole seconds */
        return SIM_ANSWER_OK;
    case SIM_STEP_STATUS:
        k->status = true;
        k->optime = op->optime;
        check_published(s, n);
        commit(s, SIM_KEY_STATUS, n, "status");
        return SIM_ANSWER_OK;
    case SIM_STEP_MAIN:
    case SIM_STEP_REBIND:
        return apply(s, n, op);
    case SIM_STEP_CHECK:
        return SIM_ANSWER_OK;
    }
    return SIM_ANSWER_DENIED;
}

static void on_again(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_op *op = &s->store.again[ev->a];
    uint64_t ret;

    if (n->cut_store || s->store.no_quorum) { /* it is sent again and again */
        sim_in(s, SIM_S, SIM_WORLD, n, on_again, ev->a, 0, 0);
        return;
    }
    (void)step(s, n, op, &ret);
    op->used = false;
}

void store_again(struct sim *s, struct sim_node *n, const struct sim_op *op)
{
    unsigned i = 0;

    if (op->step != SIM_STEP_MAIN && op->step != SIM_STEP_REBIND)
        return;
    while (i < SIM_AGAIN_MAX && s->store.again[i].used)
        i++;
    if (i == SIM_AGAIN_MAX)
        return;
    s->store.again[i] = *op;
    sim_in(s, s->store.again_us, SIM_WORLD, n, on_again, i, 0, 0);
}

/* A slow store is slow until it is well again: then it answers what has waited. */
static void on_slow_reply(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    uint64_t due_us = n->dcs.ops[ev->a & 0xff].slow_until_us;

    if (ev->life != n->life)
        return;
    if (s->store.slow_us && s->now_us < due_us)
        sim_in(s, due_us - s->now_us < 200 * SIM_MS ? due_us - s->now_us : 200 * SIM_MS, SIM_WORLD,
               n, on_slow_reply, ev->a, ev->b, ev->c);
    else
        sim_in(s, 0, SIM_AGENT, n, dcs_reply, ev->a, ev->b, ev->c);
}

/* ev: a = slot, b = try, c = when a slow store gets to it */
void store_arrive(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_store *st = &s->store;
    struct sim_op *op = &n->dcs.ops[ev->a];
    enum sim_answer answer = SIM_ANSWER_OK;
    uint64_t ret = 0, back_us;

    /* The slot may be another request's by now: then this one is lost on the way. A process that
     * was killed may have sent it all the same, which a lost reply shows as well. */
    if (ev->life != n->life || !op->used || op->try != (uint32_t)ev->b)
        return;
    if (st->slow_us && s->now_us < ev->c) {
        uint64_t left = ev->c - s->now_us;

        sim_in(s, left < 200 * SIM_MS ? left : 200 * SIM_MS, SIM_WORLD, n, store_arrive, ev->a,
               ev->b, ev->c);
        return;
    }
    if (st->no_quorum || n->cut_store) {
        dcs_lost_try(s, n, ev->a, (uint32_t)ev->b);
        return;
    }
    if (st->error != SIM_ANSWER_OK && sim_rng_permille(&s->rng, st->error_pm))
        answer = st->error;
    else
        answer = step(s, n, op, &ret);
    if (sim_rng_permille(&s->rng, st->drop_reply_pm)) {
        dcs_lost_try(s, n, ev->a, (uint32_t)ev->b);
        return;
    }
    back_us = sim_lat(s, s->plan.latency_us / 2, s->plan.latency_us);
    op->slow_until_us =
        st->slow_us ? s->now_us + sim_lat(s, st->slow_us / 4, st->slow_us) : s->now_us;
    sim_in(s, back_us, st->slow_us ? SIM_WORLD : SIM_AGENT, n,
           st->slow_us ? on_slow_reply : dcs_reply, ev->a | (uint32_t)answer << 8,
           ev->b | ret << 32, st->keys.rev);
}
