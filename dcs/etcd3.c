/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/etcd3.c - etcd v3 as a store: the table of functions, the life of client and requests.
 *
 * A request becomes an op (etcd3_ops.c), which makes sure of the lease if it needs one, sends its
 * RPC and concludes. All ends go through one list, delivered by a zero timer: no callback runs
 * inside a caller's call, and the view is up to date before any of them runs. One other timer
 * serves all that is due: hedging and deadlines of calls, the watch, discovery.
 */
#include "dcs/etcd3.h"

#include "base/clock.h"

#include <unistd.h>

#include "base/banned.h"

#define STALL_MS 2000 /* a timer so late means that we did not run */

static void on_flush(uv_timer_t *t);
static void on_timer(uv_timer_t *t);

/* ---- small things --------------------------------------------------------------------------- */

uint64_t etcd3_random(struct etcd3 *e, uint64_t below)
{
    e->random ^= e->random << 13;
    e->random ^= e->random >> 7;
    e->random ^= e->random << 17;
    return below ? e->random % below : 0;
}

void etcd3_seen(struct etcd3 *e)
{
    e->ever_answered = true;
    e->dcs->last_seen_ms = pgv_clock_ms();
    e->dcs->last_seen_wall_us = pgv_wall_us();
}

void etcd3_flush_soon(struct etcd3 *e)
{
    if (!uv_is_active((uv_handle_t *)&e->flush) && !uv_is_closing((uv_handle_t *)&e->flush))
        uv_timer_start(&e->flush, on_flush, 0, 0);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void etcd3_arm(struct etcd3 *e)
{
    const struct etcd3_watch *w = &e->watch;
    uint64_t due_ms = UINT64_MAX, now_ms = pgv_clock_ms();

    if (uv_is_closing((uv_handle_t *)&e->timer))
        return;
    for (const struct etcd3_call *c = e->calls; c; c = c->next)
        due_ms = earlier(due_ms, c->wake_ms);
    for (const struct etcd3_op *op = e->ops; op; op = op->next)
        if (op->waits_for_lease && !op->finished)
            due_ms = earlier(due_ms, op->req->deadline_ms);
    if (!e->closing) {
        due_ms = earlier(due_ms, e->discovery.refresh_at_ms);
        if (w->state != ETCD3_WATCH_OFF)
            due_ms = earlier(due_ms, w->due_ms);
        if (w->expect_since_ms)
            due_ms = earlier(due_ms, w->expect_since_ms + ETCD3_EXPECT_MS);
        if (e->view_retry_ms)
            due_ms = earlier(due_ms, e->view_retry_ms);
    }
    e->due_ms = due_ms;
    if (due_ms == UINT64_MAX)
        uv_timer_stop(&e->timer);
    else
        uv_timer_start(&e->timer, on_timer, due_ms > now_ms ? due_ms - now_ms + 1 : 0, 0);
}

static void on_timer(uv_timer_t *t)
{
    struct etcd3 *e = t->data;
    uint64_t now_ms = pgv_clock_ms();

    /* We were stopped, or the machine was: what the watch told last may be long over. */
    if (now_ms > e->due_ms + STALL_MS)
        etcd3_watch_cut(e, "this process did not run");
    etcd3_calls_wake(e, now_ms);
    for (struct etcd3_op *op = e->ops; op; op = op->next) {
        if (op->waits_for_lease && !op->finished && now_ms >= op->req->deadline_ms)
            etcd3_op_fail(op, PGV_EUNREACHABLE, "no lease in time");
    }
    if (!e->closing) {
        etcd3_watch_wake(e, now_ms);
        etcd3_nodes_wake(e, now_ms);
        if (e->view_retry_ms && now_ms >= e->view_retry_ms)
            etcd3_flush_soon(e);
    }
    etcd3_arm(e);
}

/* ---- the end of a request ------------------------------------------------------------------- */

void etcd3_op_finish(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;

    PGV_ASSERT(!op->finished);
    op->finished = true;
    op->waits_for_lease = false;
    etcd3_call_stop(&op->call);
    op->next_done = NULL;
    *e->done_last = op;
    e->done_last = &op->next_done;
    etcd3_flush_soon(e);
    etcd3_lease_release(e, op);
}

void etcd3_op_fail(struct etcd3_op *op, enum pgv_code code, const char *fmt, ...)
{
    char text[PGV_ERROR_MSG_BYTES];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    op->failed = true;
    pgv_fail(&op->err, code, "%s", text);
    etcd3_op_finish(op);
}

static void deliver(struct etcd3 *e, struct etcd3_op *op, bool view_ok)
{
    struct dcs_req *req = op->req;
    struct pgv_error err = op->err;
    bool failed = op->failed;

    if (!failed && req->op == DCS_READ && !view_ok)
        failed = !pgv_fail(&err, PGV_ENOMEM, "no memory for the view");
    op->req = NULL;
    req->impl = NULL;
    req->cb(req, failed ? &err : NULL);
    (void)e;
}

static void free_op(struct etcd3_op *op)
{
    etcd3_call_done(&op->call);
    pgv_buf_done(&op->value);
    pgv_free(op);
}

/* Ops that were delivered and whose requests have all ended. */
static void reap(struct etcd3 *e)
{
    struct etcd3_op **p = &e->ops;

    while (*p) {
        struct etcd3_op *op = *p;

        if (op->req || !etcd3_call_idle(&op->call)) {
            p = &op->next;
            continue;
        }
        *p = op->next;
        if (op->reserved)
            op->reserved = false; /* stays, ready for the next renewal */
        else
            free_op(op);
    }
}

static void go_on_closing(struct etcd3 *e);

static void on_flush(uv_timer_t *t)
{
    struct etcd3 *e = t->data;
    struct dcs *dcs = e->dcs;
    struct etcd3_op *op;
    struct dcs_req *req;
    bool replaced, ok;
    unsigned n = 0, changed;

    ok = etcd3_view_update(e, &replaced);
    e->view_retry_ms = ok ? 0 : pgv_clock_ms() + 1000;
    if (replaced) {
        changed = e->changed;
        e->changed = 0;
        if (dcs->on_view && !dcs->closing)
            dcs->on_view(dcs, changed);
    }
    /* What ends meanwhile waits for the next turn, so that nobody is starved. */
    for (op = e->done_first; op; op = op->next_done)
        n++;
    for (; n && e->done_first; n--) {
        op = e->done_first;
        e->done_first = op->next_done;
        if (!e->done_first)
            e->done_last = &e->done_first;
        deliver(e, op, ok);
    }
    for (req = e->no_memory, e->no_memory = NULL; req;) {
        struct dcs_req *next = req->next;
        struct pgv_error err;

        pgv_fail(&err, dcs->closing ? PGV_ECANCELED : PGV_ENOMEM, "no memory for the request");
        req->cb(req, &err);
        req = next;
    }
    reap(e);
    if (e->done_first || e->no_memory)
        etcd3_flush_soon(e);
    if (e->closing)
        go_on_closing(e);
    else
        etcd3_arm(e);
}

/* ---- the begin of a request ----------------------------------------------------------------- */

static struct etcd3_op *new_op(struct etcd3 *e)
{
    struct etcd3_op *op = pgv_zalloc(sizeof(*op));

    if (!op)
        return NULL;
    op->e = e;
    pgv_buf_init(&op->value, DCS_VALUE_BYTES_MAX);
    etcd3_call_init(&op->call, e, &e->http, etcd3_op_answer, op);
    return op;
}

/* The renewal's own op when it is free, else a new one. */
static struct etcd3_op *take_op(struct etcd3 *e, enum dcs_op kind)
{
    struct etcd3_op *op = e->renew;

    if (kind != DCS_RENEW_LEADER || op->reserved)
        return new_op(e);
    op->reserved = true;
    op->rebinds = 0;
    op->waits_for_lease = op->finished = op->failed = op->is_signed = false;
    pgv_buf_reset(&op->value);
    return op;
}

static void etcd3_submit(struct dcs *dcs, struct dcs_req *req)
{
    struct etcd3 *e = dcs->impl;
    struct etcd3_op *op = take_op(e, req->op);

    /* Renewing has no value, so that its op never needs memory and is never freed here. */
    if (op && req->op != DCS_RENEW_LEADER && req->value.n && !pgv_buf_str(&op->value, req->value)) {
        if (req->value.n > DCS_VALUE_BYTES_MAX) {
            op->req = req;
            req->impl = op;
            op->next = e->ops;
            e->ops = op;
            etcd3_op_fail(op, PGV_EINVALID, "%s: the value is too long", dcs_op_name(req->op));
            return;
        }
        free_op(op);
        op = NULL;
    }
    if (!op) {
        req->next = e->no_memory;
        e->no_memory = req;
        etcd3_flush_soon(e);
        return;
    }
    op->req = req;
    op->call.deadline_ms = req->deadline_ms;
    req->impl = op;
    op->next = e->ops;
    e->ops = op;
    etcd3_op_begin(op);
}

static void etcd3_cancel(struct dcs *dcs, struct dcs_req *req)
{
    struct etcd3_op *op = req->impl;

    (void)dcs;
    if (op && !op->finished)
        etcd3_op_fail(op, PGV_ECANCELED, "%s: canceled", dcs_op_name(req->op));
}

/* ---- life ----------------------------------------------------------------------------------- */

/* A connection that is dead must be found out within the lease. Source: Patroni, etcd3 sockets. */
static void set_tcp(struct etcd3 *e)
{
    const struct dcs_config *c = &e->dcs->config;
    uint64_t ttl_s = c->ttl_ms / 1000, idle_s = (c->loop_wait_ms + c->retry_timeout_ms) / 1000;
    uint64_t interval_s = ttl_s > idle_s + 3 ? (ttl_s - idle_s) / 3 : 1;
    struct httpc_tcp_options tcp = {
        .user_timeout_ms = (unsigned)c->ttl_ms,
        .keepidle_s = (unsigned)(idle_s > 32767 ? 32767 : idle_s),
        .keepintvl_s = (unsigned)(interval_s > 32767 ? 32767 : interval_s),
        .keepcnt = 3,
    };

    e->http.tcp = e->lease_http.tcp = tcp;
    e->watch_http.tcp = (struct httpc_tcp_options){ .user_timeout_ms = ETCD3_STREAM_PATH_MS,
                                                    .keepidle_s = ETCD3_STREAM_IDLE_S,
                                                    .keepintvl_s = 1,
                                                    .keepcnt = 3 };
}

static void etcd3_set_times(struct dcs *dcs)
{
    struct etcd3 *e = dcs->impl;

    set_tcp(e);
    if (e->lease.asked_ttl_ms && e->lease.asked_ttl_ms != dcs->config.ttl_ms) {
        /* The old one expires by itself; our keys go over to the new one before. */
        e->lease.id[0] = 0;
        e->lease.proven_ms = 0;
    }
    etcd3_arm(e);
}

static bool etcd3_reload(struct dcs *dcs, struct pgv_error *err)
{
    struct etcd3 *e = dcs->impl;
    struct etcd3_config config;
    struct tls_context *tls;
    bool ok = false;

    if (!etcd3_config_read(dcs->config.section, &config, err) ||
        !etcd3_config_tls(&config, &tls, err))
        goto out;
    if (!etcd3_nodes_renew(e, &config, err)) {
        tls_context_unref(tls);
        goto out;
    }
    tls_context_unref(e->tls);
    e->tls = tls;
    httpc_set_tls(&e->http, tls);
    httpc_set_tls(&e->lease_http, tls);
    httpc_set_tls(&e->watch_http, tls);
    e->token[0] = 0;
    e->auth_off = false;
    etcd3_watch_cut(e, "the configuration changed");
    etcd3_nodes_begin(e);
    ok = true;
out:
    explicit_bzero(&config, sizeof(config)); /* the password */
    return ok;
}

/* The first key after all that begin with the prefix: prefixes end with a slash. */
static bool make_prefix(struct etcd3 *e, struct pgv_error *err)
{
    const struct dcs_config *c = &e->dcs->config;
    size_t n;

    if (!dcs_prefix(c->name_space, c->scope, e->prefix, sizeof(e->prefix)))
        return pgv_fail(err, PGV_EINVALID, "namespace and scope make no usable prefix");
    n = strlen(e->prefix);
    memcpy(e->prefix_end, e->prefix, n + 1);
    e->prefix_end[n - 1]++;
    return true;
}

static void free_memory(struct etcd3 *e)
{
    if (e->renew)
        free_op(e->renew);
    for (unsigned i = 0; i < 2; i++) {
        dcs_snapshot_done(e->views[i]);
        pgv_free(e->views[i]);
    }
    etcd3_cache_done(&e->cache);
    pgv_buf_done(&e->touched);
    tls_context_unref(e->tls);
    explicit_bzero(&e->config, sizeof(e->config)); /* the password */
    explicit_bzero(e->token, sizeof(e->token));
    pgv_free(e);
}

static bool etcd3_open(struct dcs *dcs, struct pgv_error *err)
{
    struct etcd3 *e = pgv_zalloc(sizeof(*e));

    if (!e)
        return pgv_fail(err, PGV_ENOMEM, "no memory for the etcd client");
    e->dcs = dcs;
    e->loop = dcs->loop;
    e->done_last = &e->done_first;
    e->random = pgv_clock_us() * 2654435761u ^ (uint64_t)(uintptr_t)e ^ ((uint64_t)getpid() << 32);
    if (!e->random)
        e->random = 1;
    pgv_buf_init(&e->touched, DCS_VALUE_BYTES_MAX);
    e->views[0] = pgv_zalloc(sizeof(*e->views[0]));
    e->views[1] = pgv_zalloc(sizeof(*e->views[1]));
    e->renew = new_op(e);
    if (!e->views[0] || !e->views[1] || !e->renew) {
        pgv_fail(err, PGV_ENOMEM, "no memory for the etcd client");
        goto fail;
    }
    if (!make_prefix(e, err) || !etcd3_config_read(dcs->config.section, &e->config, err) ||
        !etcd3_config_tls(&e->config, &e->tls, err))
        goto fail;
    dcs->impl = e;
    if (!etcd3_nodes_init(e, err))
        goto fail;
    httpc_open(&e->http, e->loop, e->tls);
    httpc_open(&e->lease_http, e->loop, e->tls);
    httpc_open(&e->watch_http, e->loop, e->tls);
    set_tcp(e);
    uv_timer_init(e->loop, &e->timer);
    uv_timer_init(e->loop, &e->flush);
    e->http.data = e->lease_http.data = e->watch_http.data = e->discovery.peer_http.data = e;
    e->timer.data = e->flush.data = e;
    etcd3_watch_init(e);
    etcd3_nodes_begin(e);
    etcd3_arm(e);
    return true;
fail:
    dcs->impl = NULL;
    free_memory(e);
    return false;
}

static void on_timer_closed(uv_handle_t *h)
{
    struct etcd3 *e = h->data;
    struct dcs *dcs = e->dcs;

    if (--e->open)
        return;
    etcd3_watch_done(e);
    etcd3_nodes_done(e);
    free_memory(e);
    dcs_closed(dcs);
}

static void on_client_closed(struct httpc *c)
{
    struct etcd3 *e = c->data;

    if (--e->open)
        return;
    e->open = 2;
    uv_close((uv_handle_t *)&e->timer, on_timer_closed);
    uv_close((uv_handle_t *)&e->flush, on_timer_closed);
}

/* Requests have been told; when nothing is in flight any more the clients close, then the timers.
 */
static void go_on_closing(struct etcd3 *e)
{
    if (e->closing_clients || e->ops || e->no_memory || !etcd3_watch_idle(e) ||
        !etcd3_nodes_idle(e))
        return;
    e->closing_clients = true;
    e->open = 4;
    httpc_close(&e->http, on_client_closed);
    httpc_close(&e->lease_http, on_client_closed);
    httpc_close(&e->watch_http, on_client_closed);
    httpc_close(&e->discovery.peer_http, on_client_closed);
}

static void etcd3_close(struct dcs *dcs)
{
    struct etcd3 *e = dcs->impl;

    e->closing = true;
    for (struct etcd3_op *op = e->ops; op; op = op->next)
        if (op->req && !op->finished)
            etcd3_op_fail(op, PGV_ECANCELED, "%s: closing", dcs_op_name(op->req->op));
    etcd3_watch_stop(e);
    etcd3_nodes_stop(e);
    etcd3_flush_soon(e);
}

const struct dcs_ops dcs_etcd3_ops = {
    .name = "etcd3",
    .open = etcd3_open,
    .close = etcd3_close,
    .submit = etcd3_submit,
    .cancel = etcd3_cancel,
    .set_times = etcd3_set_times,
    .reload = etcd3_reload,
};
