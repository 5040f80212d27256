/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/etcd3_lease.c - the session: one lease that carries our member key and the leader key.
 *
 * A request that needs it calls etcd3_lease_ensure(): the lease is kept alive when its last proof
 * is older than the request wants, granted when there is none. A keepalive answered without TTL
 * says that the lease is gone (HTTP status 200 notwithstanding); then a new one is granted in the
 * same breath and the request, which sees a new id, re-binds what hung on the old one. An error is
 * no such statement: the lease may well live, nothing is proven.
 *
 * What a proof is worth is counted from the moment the request went out, because the store may have
 * begun to count then.
 */
#include "dcs/etcd3.h"

#include "base/clock.h"
#include "base/log.h"

#include "base/banned.h"

enum { STEP_KEEPALIVE = 100, STEP_GRANT };

void etcd3_lease_forget(struct etcd3 *e, const char *id)
{
    struct etcd3_lease *l = &e->lease;

    if (!l->id[0] || strcmp(l->id, id))
        return;
    pgv_log(PGV_WARNING, "dcs", "the lease is lost; getting another one lease=%s", l->id);
    l->id[0] = 0;
    l->proven_ms = 0;
}

static void grant(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;
    uint64_t ttl_s = (e->dcs->config.ttl_ms + 999) / 1000;

    if (e->lease.granting && e->lease.granting != op) {
        op->waits_for_lease = true; /* etcd3_lease_release() goes on with it */
        return;
    }
    e->lease.granting = op;
    e->lease.asked_ttl_ms = e->dcs->config.ttl_ms;
    op->step = STEP_GRANT;
    op->call.path = "/lease/grant";
    pgv_buf_printf(etcd3_call_body(&op->call), "{\"TTL\":%llu}", (unsigned long long)ttl_s);
    op->call.client = &e->lease_http;
    etcd3_call_start(&op->call);
}

static void keepalive(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;

    memcpy(op->lease, e->lease.id, sizeof(op->lease));
    op->step = STEP_KEEPALIVE;
    op->call.path = "/lease/keepalive";
    pgv_buf_printf(etcd3_call_body(&op->call), "{\"ID\":\"%s\"}", op->lease);
    op->call.stream = true;
    op->call.client = &e->lease_http;
    etcd3_call_start(&op->call);
    etcd3_watch_asked(e);
}

static void ready(struct etcd3_op *op)
{
    /* Together: a lease that replaces this one meanwhile has a proof of its own. */
    memcpy(op->lease, op->e->lease.id, sizeof(op->lease));
    op->proven_ms = op->e->lease.proven_ms;
    etcd3_op_leased(op);
}

void etcd3_lease_ensure(struct etcd3_op *op, uint64_t max_age_ms)
{
    const struct etcd3_lease *l = &op->e->lease;

    op->lease_max_age_ms = max_age_ms;
    if (!l->id[0])
        grant(op);
    else if (pgv_clock_ms() - l->proven_ms > max_age_ms || !max_age_ms)
        keepalive(op);
    else
        ready(op);
}

void etcd3_lease_release(struct etcd3 *e, const struct etcd3_op *op)
{
    struct etcd3_op *other;

    if (e->lease.granting != op)
        return;
    e->lease.granting = NULL;
    for (other = e->ops; other; other = other->next) {
        if (!other->waits_for_lease || other->finished)
            continue;
        other->waits_for_lease = false;
        etcd3_lease_ensure(other, other->lease_max_age_ms ? other->lease_max_age_ms : 1);
    }
}

static void got_keepalive(struct etcd3_op *op)
{
    struct etcd3_lease *l = &op->e->lease;
    uint64_t ttl_s = etcd3_u64(pgv_get(op->call.answer.body, "TTL"));
    char id[DCS_VERSION_BYTES];

    etcd3_id(pgv_get(op->call.answer.body, "ID"), id);
    if (strcmp(id, op->lease)) { /* it is not about this lease, whatever it says */
        etcd3_op_fail(op, PGV_EUNREACHABLE, "etcd's answer is not about the lease asked for");
        return;
    }
    if (strcmp(l->id, op->lease)) { /* replaced while we asked about the old one */
        etcd3_lease_ensure(op, op->lease_max_age_ms);
        return;
    }
    if (!ttl_s) {
        etcd3_lease_forget(op->e, op->lease);
        grant(op);
        return;
    }
    if (op->call.sent_ms > l->proven_ms)
        l->proven_ms = op->call.sent_ms;
    ready(op);
}

static void got_grant(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;
    struct etcd3_lease *l = &e->lease;

    etcd3_id(pgv_get(op->call.answer.body, "ID"), l->id);
    if (!l->id[0]) {
        etcd3_op_fail(op, PGV_EUNREACHABLE, "etcd granted a lease without an ID");
        return;
    }
    if (l->asked_ttl_ms != e->dcs->config.ttl_ms) { /* it changed meanwhile */
        l->id[0] = 0;
        grant(op);
        return;
    }
    l->proven_ms = op->call.sent_ms;
    pgv_log(PGV_INFO, "dcs", "lease granted lease=%s ttl=%llus", l->id,
            (unsigned long long)(e->dcs->config.ttl_ms / 1000));
    etcd3_lease_release(e, op);
    ready(op);
}

void etcd3_lease_answer(struct etcd3_op *op, const struct pgv_error *err)
{
    if (op->step == STEP_KEEPALIVE) {
        if (!err) {
            got_keepalive(op);
        } else if (op->call.answer.verdict == ETCD3_LEASE_LOST) {
            etcd3_lease_forget(op->e, op->lease);
            grant(op);
        } else {
            etcd3_op_failed_call(op, err);
        }
        return;
    }
    if (!err)
        got_grant(op);
    else
        etcd3_op_failed_call(op, err);
}
