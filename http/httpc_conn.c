/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpc_conn.c - one connection of the client: name, address after address, TLS, the request
 * out, the answer in, then the pool.
 *
 * When something goes wrong the request is ended first and the connection closed after it; a
 * connection without a request is idle or on its way out. The memory goes in the close callback of
 * its poll handle.
 */
#include "http/httpc_private.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

#define CONNECT_MS_DEFAULT 10000 /* when the request names none: nothing may wait for ever */
#define READS_PER_TURN 8

static void connect_next(struct httpc_conn *k);
static void update_poll(struct httpc_conn *k);

void httpc_conn_free(struct httpc_conn *k)
{
    struct httpc *c = k->client;

    pgv_buf_done(&k->out);
    pgv_buf_done(&k->plain);
    pgv_free(k);
    httpc_conn_gone(c);
}

static void on_poll_closed(uv_handle_t *h)
{
    struct httpc_conn *k = h->data;

    k->poll_open = false;
    if (k->state == HTTPC_CONN_NEXT)
        connect_next(k);
    else
        httpc_conn_free(k);
}

static void drop_socket(struct httpc_conn *k)
{
    if (k->poll_open && !uv_is_closing((uv_handle_t *)&k->poll))
        uv_close((uv_handle_t *)&k->poll, on_poll_closed);
    if (k->fd >= 0)
        (void)close(k->fd);
    k->fd = -1;
    k->events = 0;
}

static void unlink_conn(struct httpc_conn *k)
{
    if (k->prev)
        k->prev->next = k->next;
    else
        k->client->conns = k->next;
    if (k->next)
        k->next->prev = k->prev;
    k->next = k->prev = NULL;
}

static void link_first(struct httpc_conn *k)
{
    k->next = k->client->conns;
    k->prev = NULL;
    if (k->next)
        k->next->prev = k;
    k->client->conns = k;
}

void httpc_conn_close(struct httpc_conn *k)
{
    struct httpc *c = k->client;

    PGV_ASSERT(!k->req);
    if (k->state == HTTPC_CONN_DEAD)
        return;
    unlink_conn(k);
    c->n_conns--;
    if (k->state == HTTPC_CONN_IDLE && k->tls && tls_session_bye(k->tls, &k->out) && k->fd >= 0) {
        struct iovec v = { k->out.p, k->out.n };
        size_t n;
        (void)sock_send(k->fd, &v, 1, false, &n);
    }
    k->state = HTTPC_CONN_DEAD;
    tls_session_free(k->tls);
    k->tls = NULL;
    tls_context_unref(k->tls_context);
    k->tls_context = NULL;
    drop_socket(k);
    if (k->resolving)
        names_cancel(&k->names); /* its callback frees, as that of an open handle does */
    else if (!k->poll_open)
        httpc_free_later(k);
    httpc_pump_later(c);
}

/* The request ends with an error, the connection with it. */
static void fail(struct httpc_conn *k, enum pgv_code code, int sys, const char *what)
{
    struct httpc_req *r = k->req;

    k->req = NULL;
    /* A pooled connection may have been closed by the peer just when we took it: RFC 9110, 9.2.2
     * and RFC 9112, 9.3.1. What never left, or changes nothing, is sent again. */
    if (r && code == PGV_EUNREACHABLE && r->reused && !k->reader.any && (r->is_get || !r->sent))
        httpc_req_retry(r);
    else if (r)
        httpc_req_end(r, code, sys, "%s:%d: %s", r->host, r->port, what);
    httpc_conn_close(k);
}

static void to_pool(struct httpc_conn *k)
{
    k->state = HTTPC_CONN_IDLE;
    k->idle_ms = pgv_clock_ms();
    pgv_buf_done(&k->out);
    pgv_buf_done(&k->plain);
    unlink_conn(k);
    link_first(k);
    update_poll(k);
    if (k->state != HTTPC_CONN_IDLE)
        return;
    httpc_watch_idle(k->client);
    httpc_pump_later(k->client);
}

static void answered(struct httpc_conn *k, size_t left)
{
    struct httpc_req *r = k->req;
    bool keep = k->reader.keep_alive && left == 0 && k->out.n == 0 && !k->fresh &&
                !k->client->closing && !(k->tls && tls_session_peer_closed(k->tls));

    k->req = NULL;
    httpc_req_end(r, PGV_OK, 0, "%s", "");
    if (keep)
        to_pool(k);
    else
        httpc_conn_close(k);
}

/* False: the connection is not to be used any more by the caller. */
static bool handle_bytes(struct httpc_conn *k, struct pgv_str bytes)
{
    size_t left = 0;

    if (!k->req) { /* idle: nobody asked for anything */
        httpc_conn_close(k);
        return false;
    }
    switch (httpc_reader_feed(&k->reader, bytes, &left)) {
    case HTTPC_READ_MORE:
        return true;
    case HTTPC_READ_DONE:
        answered(k, left);
        return false;
    case HTTPC_READ_FORGOTTEN: /* cancelled within: closed already */
        return false;
    case HTTPC_READ_FAILED:
    case HTTPC_READ_CUT:
        break;
    }
    if (k->reader.no_memory)
        fail(k, PGV_ENOMEM, 0, "no memory for the answer");
    else
        fail(k, PGV_EINVALID, 0, k->reader.why);
    return false;
}

static void handle_eof(struct httpc_conn *k)
{
    if (!k->req) {
        httpc_conn_close(k);
        return;
    }
    if (k->state != HTTPC_CONN_BUSY) {
        fail(k, PGV_EUNREACHABLE, 0, "the connection was closed in the TLS handshake");
        return;
    }
    /* Behind TLS only a 'close notify' ends a body without length: a bare FIN may be forged. */
    if (!k->tls || tls_session_peer_closed(k->tls)) {
        switch (httpc_reader_eof(&k->reader)) {
        case HTTPC_READ_DONE:
            answered(k, 0);
            return;
        case HTTPC_READ_FAILED:
            fail(k, PGV_EINVALID, 0, k->reader.why);
            return;
        case HTTPC_READ_MORE:
        case HTTPC_READ_CUT:
        case HTTPC_READ_FORGOTTEN:
            break;
        }
    }
    fail(k, PGV_EUNREACHABLE, 0,
         k->reader.any ? "the connection ended in the middle of the answer"
                       : "the connection was closed without an answer");
}

/* False: the connection failed. */
static bool flush(struct httpc_conn *k)
{
    while (k->out.n > 0) {
        struct iovec v = { k->out.p, k->out.n };
        size_t n = 0;
        enum sock_io io = sock_send(k->fd, &v, 1, false, &n);

        if (io == SOCK_IO_AGAIN)
            break;
        if (io != SOCK_IO_OK) {
            /* The answer may be here all the same: a server that refuses a body says so and
             * closes. Reading tells; what could not be sent is not needed then. */
            if (k->state != HTTPC_CONN_BUSY || !k->req || !k->req->sent) {
                fail(k, PGV_EUNREACHABLE, errno, "the connection was lost");
                return false;
            }
            pgv_buf_reset(&k->out);
            break;
        }
        if (k->req && k->request_out && n > 0)
            k->req->sent = true;
        pgv_buf_consume(&k->out, n);
    }
    return true;
}

static void send_request(struct httpc_conn *k)
{
    struct httpc_req *r = k->req;
    struct pgv_error err = { 0 };
    bool ok;

    httpc_stage_end(r);
    k->state = HTTPC_CONN_BUSY;
    k->request_out = true;
    httpc_reader_init(&k->reader, r, r->is_head);
    if (k->tls)
        ok = tls_session_write(k->tls, pgv_buf_view(&r->wire), &k->out, &err);
    else
        ok = pgv_buf_str(&k->out, pgv_buf_view(&r->wire));
    if (!ok) {
        fail(k, PGV_ENOMEM, 0, "no memory to send the request");
        return;
    }
    if (flush(k))
        update_poll(k);
}

/* What was decrypted. False: the connection is not to be used any more. */
static bool feed_tls(struct httpc_conn *k, struct pgv_str bytes)
{
    struct pgv_error err = { 0 };
    bool ok;

    if (!tls_session_feed(k->tls, bytes, &k->plain, &k->out, &err)) {
        struct iovec v = { k->out.p, k->out.n };
        size_t n;
        if (k->out.n)
            (void)sock_send(k->fd, &v, 1, false, &n); /* the alert that says why */
        if (k->req)
            fail(k, err.code, err.sys, err.msg);
        else
            httpc_conn_close(k);
        return false;
    }
    if (!flush(k))
        return false;
    if (k->state == HTTPC_CONN_HANDSHAKE && tls_session_established(k->tls)) {
        send_request(k);
        if (k->state != HTTPC_CONN_BUSY)
            return false;
    }
    if (k->plain.n > 0) {
        ok = handle_bytes(k, pgv_buf_view(&k->plain));
        pgv_buf_reset(&k->plain);
        if (!ok)
            return false;
    }
    if (tls_session_peer_closed(k->tls)) {
        handle_eof(k);
        return false;
    }
    return true;
}

static void receive(struct httpc_conn *k)
{
    for (unsigned i = 0; i < READS_PER_TURN; i++) {
        struct pgv_str bytes = { sock_recv_bytes, 0 };
        enum sock_io io = sock_recv(k->fd, &bytes.n);

        if (io == SOCK_IO_AGAIN)
            return;
        if (io == SOCK_IO_EOF) {
            handle_eof(k);
            return;
        }
        if (io == SOCK_IO_ERROR) {
            fail(k, PGV_EUNREACHABLE, errno, "the connection was lost");
            return;
        }
        if (!(k->tls ? feed_tls(k, bytes) : handle_bytes(k, bytes)))
            return;
        if (bytes.n < SOCK_RECV_BYTES)
            return;
    }
}

static void begin_tls(struct httpc_conn *k)
{
    struct httpc_req *r = k->req;
    struct pgv_error err = { 0 };

    k->state = HTTPC_CONN_HANDSHAKE;
    httpc_stage_begin(r, r->connect_timeout_ms ? r->connect_timeout_ms : CONNECT_MS_DEFAULT);
    if (!tls_session_new(k->tls_context, k->host, &k->tls, &err)) {
        fail(k, err.code, err.sys, err.msg);
        return;
    }
    if (feed_tls(k, (struct pgv_str){ 0 }))
        update_poll(k);
}

static void connected(struct httpc_conn *k)
{
    if (k->tls_context)
        begin_tls(k);
    else
        send_request(k);
}

/* This address failed. */
static void try_next(struct httpc_conn *k, int sys)
{
    bool was_open = k->poll_open;
    char text[SOCK_ADDR_BYTES];

    sock_addr_text(&k->names.addrs[k->addr], text);
    (void)pgv_fail_sys(&k->last, sys, "connecting to %s", text);
    k->addr++;
    k->state = HTTPC_CONN_NEXT;
    drop_socket(k);
    if (!was_open)
        connect_next(k);
}

static void on_connecting(struct httpc_conn *k)
{
    int sys = sock_error(k->fd);

    if (sys == 0)
        connected(k);
    else
        try_next(k, sys);
}

static void take_events(struct httpc_conn *k, int status, int events)
{
    if (k->state == HTTPC_CONN_CONNECTING) {
        on_connecting(k);
        return;
    }
    if (status < 0) { /* reset; libuv has stopped the handle */
        k->events = 0;
        if (k->state == HTTPC_CONN_BUSY)
            receive(k); /* an answer that came before the reset still counts */
        if (k->state == HTTPC_CONN_DEAD)
            return;
        if (k->req)
            fail(k, PGV_EUNREACHABLE, sock_error(k->fd), "the connection was lost");
        else
            httpc_conn_close(k);
        return;
    }
    if ((events & UV_WRITABLE) && !flush(k))
        return;
    if (events & UV_READABLE)
        receive(k);
    update_poll(k);
}

/* The lease hangs on the answers of the store: they may use the reserve to the end. */
static void on_poll(uv_poll_t *poll, int status, int events)
{
    pgv_vital_begin();
    take_events(poll->data, status, events);
    pgv_vital_end();
}

/* Ask the loop for what the state needs. */
static void update_poll(struct httpc_conn *k)
{
    int want = k->state == HTTPC_CONN_CONNECTING ? UV_WRITABLE : UV_READABLE, rc = 0;

    if (k->state == HTTPC_CONN_DEAD || k->fd < 0)
        return;
    if (k->out.n > 0)
        want |= UV_WRITABLE;
    if (want == k->events)
        return;
    if (!k->poll_open) {
        rc = uv_poll_init(k->client->loop, &k->poll, k->fd);
        k->poll_open = rc == 0;
        k->poll.data = k;
    }
    if (rc == 0)
        rc = uv_poll_start(&k->poll, want, on_poll);
    if (rc == 0) {
        k->events = (uint8_t)want;
        return;
    }
    if (k->req)
        fail(k, PGV_ENOMEM, 0, "the socket cannot be watched");
    else
        httpc_conn_close(k);
}

/* How long this address may take: an even share of what is left, so that a silent first address
 * leaves time for the second. */
static uint64_t share_ms(const struct httpc_conn *k)
{
    const struct httpc_req *r = k->req;
    uint64_t now = pgv_clock_ms(), ms = r->connect_timeout_ms;
    unsigned left = k->names.n - k->addr;

    if (!ms)
        ms = CONNECT_MS_DEFAULT;
    if (r->deadline_ms) {
        uint64_t share = (r->deadline_ms > now ? r->deadline_ms - now : 0) / left;
        if (share < ms)
            ms = share;
    }
    return ms ? ms : 1;
}

static void connect_next(struct httpc_conn *k)
{
    bool there = false;

    while (k->addr < k->names.n &&
           !sock_connect(&k->names.addrs[k->addr], &k->client->tcp, &k->fd, &there, &k->last))
        k->addr++;
    if (k->addr >= k->names.n) {
        fail(k, PGV_EUNREACHABLE, k->last.sys, k->last.msg);
        return;
    }
    k->state = HTTPC_CONN_CONNECTING;
    httpc_stage_begin(k->req, share_ms(k));
    update_poll(k); /* also when it is there: the loop says so in the next turn */
}

void httpc_conn_stage_over(struct httpc_conn *k)
{
    switch ((enum httpc_conn_state)k->state) {
    case HTTPC_CONN_RESOLVING:
        fail(k, PGV_EUNREACHABLE, ETIMEDOUT, "the name was not resolved in time");
        break;
    case HTTPC_CONN_CONNECTING:
        try_next(k, ETIMEDOUT);
        break;
    case HTTPC_CONN_HANDSHAKE:
        fail(k, PGV_EUNREACHABLE, ETIMEDOUT, "the TLS handshake took too long");
        break;
    case HTTPC_CONN_NEXT:
    case HTTPC_CONN_BUSY:
    case HTTPC_CONN_IDLE:
    case HTTPC_CONN_DEAD:
        break;
    }
}

static void on_names(struct names_query *q, const struct pgv_error *err)
{
    struct httpc_conn *k = q->data;

    k->resolving = false;
    if (k->state == HTTPC_CONN_DEAD) {
        httpc_conn_free(k);
        return;
    }
    if (err) {
        /* An unknown name is 'no answer' too: name servers forget and remember. */
        fail(k, err->code == PGV_ENOMEM ? PGV_ENOMEM : PGV_EUNREACHABLE, err->sys, err->msg);
        return;
    }
    connect_next(k);
}

bool httpc_conn_new(struct httpc *c, struct httpc_req *r)
{
    struct httpc_conn *k = pgv_zalloc(sizeof(*k));

    if (!k)
        return false;
    k->client = c;
    k->req = r;
    k->fd = -1;
    k->port = r->port;
    memcpy(k->host, r->host, sizeof(k->host));
    k->fresh = r->fresh_connection;
    k->tls_context = r->tls ? tls_context_ref(c->tls) : NULL;
    pgv_buf_init(&k->out, (size_t)32 << 20);
    pgv_buf_init(&k->plain, (size_t)64 << 10);
    link_first(k);
    c->n_conns++;
    c->n_open++;
    r->conn = k;
    if (sock_literal(k->host, k->port, &k->names.addrs[0])) {
        k->names.n = 1;
        connect_next(k);
        return true;
    }
    k->state = HTTPC_CONN_RESOLVING;
    k->resolving = true;
    k->names.data = k;
    k->names.or_last_known = true;
    httpc_stage_begin(r, r->connect_timeout_ms ? r->connect_timeout_ms : CONNECT_MS_DEFAULT);
    names_resolve(&k->names, k->host, k->port, 0, on_names);
    return true;
}

/* Whether a pooled connection still stands. A close that has arrived already is seen here. */
static bool is_alive(struct httpc_conn *k)
{
    char byte;
    ssize_t n = recv(k->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK;
    return false; /* closed, or bytes nobody asked for */
}

bool httpc_conn_reuse(struct httpc_conn *k, struct httpc_req *r)
{
    if (!is_alive(k)) {
        httpc_conn_close(k);
        return false;
    }
    k->req = r;
    send_request(k);
    return true;
}
