/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpc.c - the client: requests, their time limits, the pool.
 *
 * Happy path: httpc_send() writes the request down, takes an idle connection to the same place or
 * makes a new one; when the answer is complete, httpc_req_end() closes the request's timer, and
 * the close callback is where the owner hears of it: so never inside a call of the owner's, and
 * the request's memory is free in there. Everything that can happen to a request ends it this way:
 * answer, deadline, cancellation, a dying connection, httpc_close().
 */
#include "http/httpc_private.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "base/banned.h"

#define WIRE_BYTES_MAX (16u << 20) /* a request of ours */

static void on_req_closed(uv_handle_t *h);

static void active_remove(struct httpc_req *r)
{
    struct httpc *c = r->client;

    if (r->prev)
        r->prev->next = r->next;
    else if (r->state == HTTPC_REQ_ACTIVE)
        c->active = r->next;
    else
        c->waiting = r->next;
    if (r->next)
        r->next->prev = r->prev;
    else if (r->state == HTTPC_REQ_WAITING)
        c->last_waiting = r->prev;
    r->next = r->prev = NULL;
}

static void active_push(struct httpc_req *r)
{
    struct httpc *c = r->client;

    r->state = HTTPC_REQ_ACTIVE;
    r->prev = NULL;
    r->next = c->active;
    if (c->active)
        c->active->prev = r;
    c->active = r;
}

static void waiting_append(struct httpc_req *r)
{
    struct httpc *c = r->client;

    r->state = HTTPC_REQ_WAITING;
    r->next = NULL;
    r->prev = c->last_waiting;
    if (c->last_waiting)
        c->last_waiting->next = r;
    else
        c->waiting = r;
    c->last_waiting = r;
}

void httpc_req_end(struct httpc_req *r, enum pgv_code code, int sys, const char *fmt, ...)
{
    PGV_ASSERT(r->state != HTTPC_REQ_DONE);
    active_remove(r);
    r->state = HTTPC_REQ_DONE;
    r->conn = NULL;
    r->failed = code != PGV_OK;
    if (r->failed) {
        char text[PGV_ERROR_MSG_BYTES];
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        (void)pgv_fail(&r->err, code, "%s", text);
        r->err.sys = sys;
    }
    uv_close((uv_handle_t *)&r->timer, on_req_closed);
}

static void maybe_closed(struct httpc *c);

static void on_req_closed(uv_handle_t *h)
{
    struct httpc_req *r = h->data;
    struct httpc *c = r->client;
    struct pgv_buf answer = r->answer;
    struct pgv_error err = r->err;

    pgv_buf_done(&r->wire);
    r->cb(r, r->failed ? &err : NULL); /* r may be gone, or on its way again */
    pgv_buf_done(&answer);
    c->n_open--;
    maybe_closed(c);
}

static void on_timer(uv_timer_t *t);

/* The timer serves the deadline and the present stage, whichever is nearer. */
static void arm(struct httpc_req *r)
{
    uint64_t now = pgv_clock_ms(), at = r->deadline_ms;

    if (r->stage_ms && (!at || r->stage_ms < at))
        at = r->stage_ms;
    if (at)
        uv_timer_start(&r->timer, on_timer, at > now ? at - now + 1 : 0, 0);
    else
        uv_timer_stop(&r->timer);
}

static void on_timer(uv_timer_t *t)
{
    struct httpc_req *r = t->data;
    struct httpc_conn *k = r->conn;
    uint64_t now = pgv_clock_ms();

    if (r->deadline_ms && r->deadline_ms <= now) {
        const char *stage = r->state == HTTPC_REQ_WAITING      ? "waiting for a connection"
                            : k->state == HTTPC_CONN_RESOLVING ? "looking up the name"
                            : k->state == HTTPC_CONN_HANDSHAKE ? "in the TLS handshake"
                            : k->state == HTTPC_CONN_BUSY      ? "waiting for the answer"
                                                               : "connecting";
        httpc_req_end(r, PGV_EUNREACHABLE, ETIMEDOUT, "%s:%d: out of time %s", r->host, r->port,
                      stage);
        if (k) {
            k->req = NULL;
            httpc_conn_close(k);
        }
    } else if (r->stage_ms && r->stage_ms <= now) {
        r->stage_ms = 0;
        arm(r);
        httpc_conn_stage_over(k);
    } else {
        arm(r);
    }
}

void httpc_stage_begin(struct httpc_req *r, uint64_t ms)
{
    r->stage_ms = pgv_clock_ms() + ms;
    arm(r);
}

void httpc_stage_end(struct httpc_req *r)
{
    r->stage_ms = 0;
    arm(r);
}

static struct httpc_conn *find_idle(struct httpc *c, const struct httpc_req *r)
{
    struct httpc_conn *k = c->conns;

    while (k && !(k->state == HTTPC_CONN_IDLE && k->port == r->port && !k->tls == !r->tls &&
                  strcasecmp(k->host, r->host) == 0))
        k = k->next;
    return k;
}

static struct httpc_conn *oldest_idle(struct httpc *c)
{
    struct httpc_conn *found = NULL;

    for (struct httpc_conn *k = c->conns; k; k = k->next)
        if (k->state == HTTPC_CONN_IDLE && (!found || k->idle_ms < found->idle_ms))
            found = k;
    return found;
}

/* True when it has a connection or has failed; false when it must wait for one. */
static bool start(struct httpc *c, struct httpc_req *r)
{
    struct httpc_conn *k = NULL;

    if (r->deadline_ms && r->deadline_ms <= pgv_clock_ms()) {
        active_push(r);
        httpc_req_end(r, PGV_EUNREACHABLE, ETIMEDOUT, "%s:%d: out of time before it was sent",
                      r->host, r->port);
        return true;
    }
    while (!r->fresh_connection && !r->retried && (k = find_idle(c, r))) {
        active_push(r);
        r->conn = k;
        r->reused = true;
        if (httpc_conn_reuse(k, r))
            return true;
        active_remove(r);
    }
    r->reused = false;
    r->conn = NULL;
    if (c->n_conns >= HTTPC_CONNS_MAX) {
        k = oldest_idle(c);
        if (!k)
            return false;
        httpc_conn_close(k);
    }
    active_push(r);
    if (!httpc_conn_new(c, r))
        httpc_req_end(r, PGV_ENOMEM, 0, "%s:%d: no memory for a connection", r->host, r->port);
    return true;
}

static void pump(struct httpc *c)
{
    while (c->waiting && !c->closing) {
        struct httpc_req *r = c->waiting;

        active_remove(r);
        if (start(c, r))
            continue;
        r->state = HTTPC_REQ_WAITING; /* back to the front */
        r->prev = NULL;
        r->next = c->waiting;
        if (r->next)
            r->next->prev = r;
        else
            c->last_waiting = r;
        c->waiting = r;
        return;
    }
}

static void on_again(uv_timer_t *t)
{
    struct httpc *c = t->data;
    struct httpc_conn *k = c->dead;

    c->dead = NULL;
    pump(c);
    while (k) {
        struct httpc_conn *next = k->next;
        httpc_conn_free(k);
        k = next;
    }
}

void httpc_free_later(struct httpc_conn *k)
{
    struct httpc *c = k->client;

    k->next = c->dead;
    c->dead = k;
    uv_timer_start(&c->again, on_again, 0, 0);
}

void httpc_pump_later(struct httpc *c)
{
    if (c->waiting && !c->closing)
        uv_timer_start(&c->again, on_again, 0, 0);
}

void httpc_req_retry(struct httpc_req *r)
{
    active_remove(r);
    r->retried = true;
    r->sent = false;
    r->conn = NULL;
    waiting_append(r);
    httpc_pump_later(r->client);
}

static void on_idle(uv_timer_t *t)
{
    struct httpc *c = t->data;
    uint64_t now = pgv_clock_ms();
    struct httpc_conn *k;

    while ((k = oldest_idle(c)) && k->idle_ms + HTTPC_IDLE_MS <= now)
        httpc_conn_close(k);
    httpc_watch_idle(c);
}

void httpc_watch_idle(struct httpc *c)
{
    struct httpc_conn *k = oldest_idle(c);
    uint64_t now = pgv_clock_ms();

    if (!k || c->closing || uv_is_active((uv_handle_t *)&c->idle))
        return;
    uv_timer_start(&c->idle, on_idle,
                   k->idle_ms + HTTPC_IDLE_MS > now ? k->idle_ms + HTTPC_IDLE_MS - now + 1 : 1, 0);
}

void httpc_open(struct httpc *c, uv_loop_t *loop, struct tls_context *tls)
{
    c->loop = loop;
    c->tls = tls_context_ref(tls);
    c->conns = c->dead = NULL;
    c->waiting = c->last_waiting = c->active = NULL;
    c->n_conns = c->n_open = 0;
    c->n_timers = 2;
    c->closing = false;
    c->close_cb = NULL;
    uv_timer_init(loop, &c->idle);
    uv_timer_init(loop, &c->again);
    c->idle.data = c->again.data = c;
}

static void on_client_timer_closed(uv_handle_t *h)
{
    struct httpc *c = h->data;

    if (--c->n_timers == 0)
        c->close_cb(c);
}

static void maybe_closed(struct httpc *c)
{
    if (!c->closing || c->n_open > 0 || uv_is_closing((uv_handle_t *)&c->idle))
        return;
    uv_close((uv_handle_t *)&c->idle, on_client_timer_closed);
    uv_close((uv_handle_t *)&c->again, on_client_timer_closed);
}

void httpc_conn_gone(struct httpc *c)
{
    c->n_open--;
    maybe_closed(c);
}

void httpc_close(struct httpc *c, void (*cb)(struct httpc *c))
{
    PGV_ASSERT(!c->closing);
    c->closing = true;
    c->close_cb = cb;
    while (c->active)
        httpc_cancel(c->active);
    while (c->waiting)
        httpc_cancel(c->waiting);
    for (struct httpc_conn *k = c->conns, *next; k; k = next) {
        next = k->next;
        httpc_conn_close(k);
    }
    tls_context_unref(c->tls);
    c->tls = NULL;
    uv_timer_stop(&c->idle);
    maybe_closed(c);
}

void httpc_drop_idle(struct httpc *c)
{
    for (struct httpc_conn *k = c->conns, *next; k; k = next) {
        next = k->next;
        if (k->state == HTTPC_CONN_IDLE)
            httpc_conn_close(k);
    }
}

void httpc_set_tls(struct httpc *c, struct tls_context *tls)
{
    struct tls_context *old = c->tls;

    c->tls = tls_context_ref(tls);
    tls_context_unref(old);
    httpc_drop_idle(c);
    for (struct httpc_conn *k = c->conns; k; k = k->next)
        k->fresh = k->fresh || k->tls_context; /* begun under the old one: not for the pool */
}

void httpc_cancel(struct httpc_req *r)
{
    struct httpc_conn *k = r->conn;

    if (r->state == HTTPC_REQ_DONE) { /* its result has not been told yet, so this one is */
        r->failed = !pgv_fail(&r->err, PGV_ECANCELED, "cancelled");
        return;
    }
    httpc_req_end(r, PGV_ECANCELED, 0, "cancelled");
    if (k) {
        httpc_reader_forget(&k->reader);
        k->req = NULL;
        httpc_conn_close(k);
    }
}

/* "Name: value\r\n…": what could end the head early, or begin another, is refused. */
static bool headers_are_sound(const char *h)
{
    size_t n = h ? strlen(h) : 0;

    if (n == 0)
        return true;
    if (n < 2 || strcmp(h + n - 2, "\r\n") != 0 || h[0] == '\r')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (h[i] == '\r' && h[i + 1] != '\n')
            return false;
        if (h[i] == '\n' && (i == 0 || h[i - 1] != '\r' || h[i + 1] == '\r'))
            return false;
    }
    return true;
}

static bool has_header(const char *headers, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = headers; p && *p;) {
        const char *nl = strchr(p, '\n');
        if (strncasecmp(p, name, n) == 0 && p[n] == ':')
            return true;
        p = nl ? nl + 1 : NULL;
    }
    return false;
}

static bool put_basic_auth(struct pgv_buf *b, const char *userinfo)
{
    return pgv_buf_puts(b, "Authorization: Basic ") && httpc_base64_encode(b, pgv_str(userinfo)) &&
           pgv_buf_puts(b, "\r\n");
}

static void put_all(struct pgv_buf *b, const char *const *texts)
{
    for (; *texts; texts++)
        (void)pgv_buf_puts(b, *texts);
}

static bool write_request(struct httpc_req *r, const struct httpc_url *u)
{
    struct pgv_buf *b = &r->wire;
    bool v6 = strchr(u->host, ':') != NULL;
    const char *auth = r->basic_auth ? r->basic_auth : u->userinfo[0] ? u->userinfo : NULL;
    bool has_body = r->body.n > 0 || !(r->is_get || r->is_head);

    put_all(b, (const char *const[]){ r->method, " ", u->path, " HTTP/1.1\r\nHost: ", v6 ? "[" : "",
                                      u->host, v6 ? "]" : "", NULL });
    if (u->port != (u->tls ? 443 : 80))
        (void)pgv_buf_printf(b, ":%d", u->port);
    (void)pgv_buf_puts(b, "\r\n");
    if (!has_header(r->headers, "User-Agent"))
        (void)pgv_buf_puts(b, "User-Agent: pgvigil/" PGVIGIL_VERSION "\r\n");
    if (r->fresh_connection)
        (void)pgv_buf_puts(b, "Connection: close\r\n");
    if (auth && !has_header(r->headers, "Authorization"))
        (void)put_basic_auth(b, auth);
    if (r->content_type)
        put_all(b, (const char *const[]){ "Content-Type: ", r->content_type, "\r\n", NULL });
    if (has_body)
        (void)pgv_buf_printf(b, "Content-Length: %zu\r\n", r->body.n);
    if (r->headers)
        (void)pgv_buf_puts(b, r->headers);
    (void)pgv_buf_puts(b, "\r\n");
    (void)pgv_buf_str(b, r->body);
    return !b->failed;
}

bool httpc_send(struct httpc *c, struct httpc_req *r, httpc_cb cb, struct pgv_error *err)
{
    struct httpc_url u;

    if (c->closing)
        return pgv_fail(err, PGV_ECANCELED, "the client is closing");
    if (!httpc_url_parse(pgv_str(r->url), &u))
        return pgv_fail(err, PGV_EINVALID, "no http or https URL");
    if (u.tls && !c->tls)
        return pgv_fail(err, PGV_EINVALID, "%s:%d: https, but TLS is not configured", u.host,
                        u.port);
    if (!headers_are_sound(r->headers))
        return pgv_fail(err, PGV_EINVALID, "%s:%d: malformed request headers", u.host, u.port);
    r->is_get = strcmp(r->method, "GET") == 0;
    r->is_head = strcmp(r->method, "HEAD") == 0;
    pgv_buf_init(&r->wire, WIRE_BYTES_MAX);
    if (!write_request(r, &u)) {
        bool large = r->body.n > WIRE_BYTES_MAX / 2;
        pgv_buf_done(&r->wire);
        if (large)
            return pgv_fail(err, PGV_EINVALID, "%s:%d: the request is too large", u.host, u.port);
        return pgv_fail(err, PGV_ENOMEM, "%s:%d: no memory for a request", u.host, u.port);
    }
    r->client = c;
    r->cb = cb;
    r->conn = NULL;
    r->next = r->prev = NULL;
    r->status = 0;
    r->sent = r->failed = r->reused = r->retried = false;
    r->stage_ms = 0;
    r->lsn_header[0] = r->cluster_id[0] = r->raft_term[0] = '\0';
    r->index_header[0] = r->location[0] = '\0';
    r->port = u.port;
    r->tls = u.tls;
    memcpy(r->host, u.host, sizeof(r->host));
    pgv_buf_init(&r->answer, HTTPC_BODY_BYTES_MAX);
    uv_timer_init(c->loop, &r->timer);
    r->timer.data = r;
    c->n_open++;
    arm(r);
    waiting_append(r);
    pump(c);
    return true;
}
