/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpd_conn.c - one connection of the server: bytes in, requests to the handler, what comes
 * after the answer.
 *
 * Happy path: readable → receive() → the reader has a request → the handler answers at once →
 * httpd_conn_answered() → idle again, all within one callback of the loop. A handler that answers
 * later leaves the connection in HANDLING; its answer, coming from elsewhere, must not run the
 * next request inside the handler's call, so that waits for the next turn (httpd_conn_later()).
 * Nothing but httpd_conn_close() ends a connection, and it may be called anywhere: memory goes
 * when the poll handle has closed.
 */
#include "http/httpd_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

#define KEPT_BUFFER_BYTES 4096 /* larger ones are given back as soon as they are empty */
#define PIPELINE_BYTES 16384   /* read ahead while a request is handled */
#define HANDSHAKES_US_PER_TURN 20000
#define READS_PER_TURN 4
#define REQUESTS_PER_TURN 64
#define TLS_HANDSHAKE_BYTE 0x16 /* RFC 8446, section 5.1: ContentType handshake */

struct httpd_conn *httpd_conn_new(struct httpd *s)
{
    struct httpd_conn *c = pgv_zalloc(sizeof(*c));

    if (c) {
        httpd_reader_init(&c->reader, &s->limits);
        pgv_buf_init(&c->out, HTTPD_OUT_BYTES_MAX);
    } else if (s->spare) {
        c = s->spare;
        s->spare = c->next_ready;
        s->n_spare--;
        c->next_ready = NULL;
    } else {
        return NULL;
    }
    c->s = s;
    s->n_open++;
    return c;
}

/* Empty for its next use. A buffer that is not too large stays: it is part of the reserve. */
static void reuse(struct httpd_conn *c)
{
    struct httpd *s = c->s;
    struct httpd_reader rd = c->reader;
    struct pgv_buf in = rd.in, head = rd.head;

    pgv_buf_done(&rd.body);
    pgv_buf_done(&c->out);
    *c = (struct httpd_conn){ .s = s };
    httpd_reader_init(&c->reader, &s->limits);
    pgv_buf_init(&c->out, HTTPD_OUT_BYTES_MAX);
    if (in.bytes_max != c->reader.in.bytes_max || in.cap > KEPT_BUFFER_BYTES)
        pgv_buf_done(&in);
    else
        c->reader.in = in;
    if (head.bytes_max != c->reader.head.bytes_max || head.cap > KEPT_BUFFER_BYTES)
        pgv_buf_done(&head);
    else
        c->reader.head = head;
    pgv_buf_reset(&c->reader.in);
    pgv_buf_reset(&c->reader.head);
}

void httpd_conn_release(struct httpd_conn *c)
{
    struct httpd *s = c->s;

    s->n_open--;
    if (s->n_spare < HTTPD_SPARE_CONNS && !s->closing) {
        reuse(c);
        c->next_ready = s->spare;
        s->spare = c;
        s->n_spare++;
        return;
    }
    httpd_reader_done(&c->reader);
    pgv_buf_done(&c->out);
    pgv_free(c);
    httpd_maybe_closed(s);
}

/* The socket and the handle are gone. A request that waits for its answer is aborted, or, when
 * nobody can be told, keeps the memory until the answer comes. */
static void finish_close(struct httpd_conn *c)
{
    if (c->in_request) {
        if (!c->req.on_abort)
            return;
        c->in_request = false;
        c->req.on_abort(&c->req);
    }
    httpd_conn_release(c);
}

static void on_poll_closed(uv_handle_t *h)
{
    struct httpd_conn *c = h->data;

    c->poll_closed = true;
    if (!c->is_ready)
        finish_close(c);
}

void httpd_conn_close(struct httpd_conn *c)
{
    struct httpd *s = c->s;

    if (c->closing)
        return;
    c->closing = true;
    httpd_list_remove(c);
    s->n_conns--;
    if (c->tls) {
        tls_session_free(c->tls);
        c->tls = NULL;
        s->n_tls--;
    }
    tls_context_unref(c->tls_context);
    c->tls_context = NULL;
    if (c->poll_open) {
        uv_close((uv_handle_t *)&c->poll, on_poll_closed);
    } else {
        c->poll_closed = true;
        httpd_conn_later(c);
    }
    (void)close(c->fd);
    c->fd = -1;
}

static void on_poll(uv_poll_t *poll, int status, int events);

/* Ask the loop for what the state needs; a socket that cannot be watched is closed. */
static void update_poll(struct httpd_conn *c)
{
    int want = 0;

    if (c->closing)
        return;
    if (!c->eof && (c->state == HTTPD_CONN_LINGER || c->reader.in.n < PIPELINE_BYTES ||
                    (!c->in_request && c->out.n == 0)))
        want |= UV_READABLE;
    if (c->out.n > 0)
        want |= UV_WRITABLE;
    if (want == c->events)
        return;
    if (!c->poll_open) {
        if (uv_poll_init(c->s->loop, &c->poll, c->fd) != 0) {
            httpd_conn_close(c);
            return;
        }
        c->poll.data = c;
        c->poll_open = true;
    }
    c->events = (uint8_t)want;
    if (want == 0)
        uv_poll_stop(&c->poll);
    else if (uv_poll_start(&c->poll, want, on_poll) != 0)
        httpd_conn_close(c);
}

/* True when all that waited is gone. */
static bool flush(struct httpd_conn *c)
{
    while (c->out.n > 0) {
        struct iovec v = { c->out.p, c->out.n };
        size_t n = 0;
        enum sock_io io = sock_send(c->fd, &v, 1, false, &n);

        if (io == SOCK_IO_AGAIN)
            return false;
        if (io != SOCK_IO_OK) {
            httpd_conn_close(c);
            return false;
        }
        pgv_buf_consume(&c->out, n);
    }
    if (c->out.cap > KEPT_BUFFER_BYTES)
        pgv_buf_done(&c->out);
    return true;
}

static void send_tls(struct httpd_conn *c, struct pgv_str s)
{
    struct pgv_error err;

    if (s.n && !tls_session_write(c->tls, s, &c->out, &err))
        httpd_conn_close(c);
}

static void send_plain(struct httpd_conn *c, struct pgv_str head, struct pgv_str body, bool last)
{
    size_t sent = 0;

    if (c->out.n == 0) {
        union {
            const char *in;
            char *out;
        } h = { head.p }, b = { body.p }; /* iovec has no const */
        struct iovec v[2] = { { h.out, head.n }, { b.out, body.n } };
        enum sock_io io = sock_send(c->fd, v, body.n ? 2 : 1, last, &sent);

        if (io == SOCK_IO_ERROR) {
            httpd_conn_close(c);
            return;
        }
        if (sent == head.n + body.n)
            return;
    }
    if (sent < head.n) {
        (void)pgv_buf_append(&c->out, head.p + sent, head.n - sent);
        sent = head.n;
    }
    if (sent - head.n < body.n)
        (void)pgv_buf_append(&c->out, body.p + (sent - head.n), body.n - (sent - head.n));
    if (c->out.failed)
        httpd_conn_close(c); /* half an answer is none */
}

void httpd_conn_send(struct httpd_conn *c, struct pgv_str head, struct pgv_str body, bool last)
{
    if (c->closing)
        return;
    if (!c->tls) {
        send_plain(c, head, body, last);
    } else {
        send_tls(c, head);
        if (!c->closing)
            send_tls(c, body);
        if (!c->closing)
            (void)flush(c);
    }
    if (c->closing || c->running)
        return;
    if (c->out.n > 0 && c->state != HTTPD_CONN_SENDING)
        httpd_list_move(c, HTTPD_CONN_SENDING);
    update_poll(c);
}

static void linger(struct httpd_conn *c)
{
    (void)shutdown(c->fd, SHUT_WR);
    httpd_list_move(c, HTTPD_CONN_LINGER);
    pgv_buf_reset(&c->reader.in);
    httpd_reader_trim(&c->reader);
    update_poll(c);
}

/* An answer is out completely and no request is in hand. */
static void after_answer(struct httpd_conn *c)
{
    if (c->close_after || (c->eof && c->reader.in.n == 0)) {
        if (c->tls && tls_session_bye(c->tls, &c->out))
            (void)flush(c);
        if (c->closing)
            return;
        if (!c->eof && (c->linger || c->reader.in.n > 0))
            linger(c);
        else
            httpd_conn_close(c);
        return;
    }
    httpd_list_move(c, HTTPD_CONN_IDLE);
    if (c->running)
        return;
    if (c->reader.in.n > 0)
        httpd_conn_later(c);
    update_poll(c);
}

void httpd_conn_answered(struct httpd_conn *c)
{
    c->in_request = false;
    c->streaming = false;
    if (c->closing) {
        if (c->poll_closed)
            httpd_conn_later(c); /* only the answer was missing */
        return;
    }
    httpd_reader_next(&c->reader);
    if (c->reader.in.n == 0 && c->reader.in.cap > KEPT_BUFFER_BYTES)
        httpd_reader_trim(&c->reader);
    if (c->out.n == 0) {
        after_answer(c);
    } else if (c->state != HTTPD_CONN_SENDING) {
        httpd_list_move(c, HTTPD_CONN_SENDING);
        if (!c->running)
            update_poll(c);
    }
}

static enum httpd_conn_state working_state(const struct httpd_conn *c)
{
    if (c->out.n > 0)
        return HTTPD_CONN_SENDING;
    return c->streaming ? HTTPD_CONN_STREAM : HTTPD_CONN_HANDLING;
}

static void serve(struct httpd_conn *c)
{
    struct httpd *s = c->s;
    struct httpd_req *r = &c->req;

    c->in_request = true;
    c->close_after = !c->reader.keep_alive;
    r->data = NULL;
    r->on_abort = NULL;
    r->received_us = pgv_clock_us();
    r->client_cert_verified = c->tls && tls_session_peer_verified(c->tls);
    s->n_requests++;
    s->cb(s, r);
    if (!c->closing && c->in_request)
        httpd_list_move(c, working_state(c));
}

static void refuse(struct httpd_conn *c, int status, const char *why)
{
    struct httpd_req *r = &c->req;
    char text[96];

    if (status == 501) {
        (void)snprintf(text, sizeof(text), "Unsupported method ('%.*s')",
                       (int)(r->method_text.n > 32 ? 32 : r->method_text.n), r->method_text.p);
        why = text;
    } else {
        r->request_line = (struct pgv_str){ 0 };
    }
    r->method = HTTPD_OTHER;
    r->method_text = r->path = r->query = r->body = r->authorization = (struct pgv_str){ 0 };
    r->on_abort = NULL;
    r->received_us = pgv_clock_us();
    c->in_request = true;
    c->linger = true;
    httpd_reply_error(r, status, why);
}

/* No whole request is here: which clock runs? */
static void await_more(struct httpd_conn *c)
{
    enum httpd_conn_state state = HTTPD_CONN_HEAD;

    if (c->eof) {
        httpd_conn_close(c);
        return;
    }
    if (httpd_reader_begun(&c->reader))
        state = c->reader.reading == HTTPD_READING_BODY ? HTTPD_CONN_BODY : HTTPD_CONN_HEAD;
    else if (!c->tls || tls_session_established(c->tls))
        state = HTTPD_CONN_IDLE;
    if (state == c->state ||
        (state == HTTPD_CONN_IDLE && (c->state == HTTPD_CONN_QUIET || c->state == HTTPD_CONN_NEW)))
        return; /* the clock goes on: dripping bytes buys no time */
    httpd_list_move(c, state);
}

/* Take out of the reader what is there. */
static void run(struct httpd_conn *c)
{
    unsigned served = 0;

    c->running = true;
    while (!c->closing && !c->in_request && c->out.n == 0 && c->state != HTTPD_CONN_LINGER) {
        enum httpd_read got;

        if (served == REQUESTS_PER_TURN) {
            httpd_conn_later(c); /* the others have waited */
            break;
        }
        got = httpd_reader_run(&c->reader, &c->req);
        if (got == HTTPD_READ_MORE) {
            await_more(c);
            break;
        }
        switch (got) {
        case HTTPD_READ_MORE:
            break;
        case HTTPD_READ_CONTINUE:
            httpd_conn_send(c, PGV_STR("HTTP/1.1 100 Continue\r\n\r\n"), (struct pgv_str){ 0 },
                            false);
            break;
        case HTTPD_READ_NOT_HTTP:
            httpd_conn_close(c);
            break;
        case HTTPD_READ_REFUSE:
            refuse(c, c->reader.status, c->reader.why);
            break;
        case HTTPD_READ_REQUEST:
            served++;
            serve(c);
            break;
        }
    }
    c->running = false;
    update_poll(c);
}

void httpd_conn_again(struct httpd_conn *c)
{
    if (!c->closing)
        run(c);
    else if (c->poll_closed)
        finish_close(c);
}

/* False when the connection is closed. */
static bool tls_begin(struct httpd_conn *c, char first)
{
    struct httpd *s = c->s;
    struct pgv_error err;

    if (first != TLS_HANDSHAKE_BYTE) { /* somebody speaks plain HTTP to us, or worse */
        httpd_conn_close(c);
        return false;
    }
    if (s->n_tls >= s->limits.tls_conns_max && !httpd_evict(s, true)) {
        httpd_conn_close(c);
        return false;
    }
    if (!tls_session_new(c->tls_context, NULL, &c->tls, &err)) {
        pgv_log(PGV_WARNING, "rest", "no TLS session: %s", err.msg);
        httpd_conn_close(c);
        return false;
    }
    s->n_tls++;
    httpd_list_move(c, HTTPD_CONN_HEAD);
    return true;
}

/* A handshake costs milliseconds of computing, and everything else in this process waits for it:
 * a burst of them is spread over several turns of the loop. */
static bool may_shake_hands(struct httpd_conn *c)
{
    struct httpd *s = c->s;
    uint64_t turn = uv_now(s->loop);

    if (!c->tls_context || (c->tls && tls_session_established(c->tls)))
        return true;
    if (s->turn_ms != turn) {
        s->turn_ms = turn;
        s->handshakes_us = 0;
    }
    return s->handshakes_us < HANDSHAKES_US_PER_TURN;
}

static void feed_tls(struct httpd_conn *c, struct pgv_str bytes)
{
    struct pgv_error err;
    uint64_t begun_us;
    bool shaking, ok;

    if (!c->tls && !tls_begin(c, bytes.p[0]))
        return;
    shaking = !tls_session_established(c->tls);
    begun_us = shaking ? pgv_clock_us() : 0;
    ok = tls_session_feed(c->tls, bytes, &c->reader.in, &c->out, &err);
    if (shaking)
        c->s->handshakes_us += pgv_clock_us() - begun_us;
    if (!ok) {
        char peer[SOCK_ADDR_BYTES];
        sock_addr_text(&c->req.peer, peer);
        pgv_log(PGV_DEBUG, "rest", "Connection from %s:%d was reset during the SSL handshake: %s",
                peer, sock_addr_port(&c->req.peer), err.msg);
        (void)flush(c); /* the alert that says why */
        httpd_conn_close(c);
        return;
    }
    if (tls_session_peer_closed(c->tls))
        c->eof = true;
    (void)flush(c);
}

static void receive(struct httpd_conn *c)
{
    if (!may_shake_hands(c))
        return; /* the poll handle will say again that there is something */
    for (unsigned i = 0; i < READS_PER_TURN && !c->closing && !c->eof; i++) {
        struct pgv_str bytes = { sock_recv_bytes, 0 };
        enum sock_io io = sock_recv(c->fd, &bytes.n);

        if (io == SOCK_IO_AGAIN)
            return;
        if (io == SOCK_IO_ERROR) {
            httpd_conn_close(c);
            return;
        }
        if (io == SOCK_IO_EOF) {
            c->eof = true;
            if (c->state == HTTPD_CONN_LINGER || c->streaming) {
                httpd_conn_close(c); /* an endless answer has lost its reader */
                return;
            }
        } else if (c->state != HTTPD_CONN_LINGER) {
            if (c->tls_context)
                feed_tls(c, bytes);
            else
                (void)pgv_buf_str(&c->reader.in, bytes); /* its failure is seen by the reader */
        }
        if (c->closing)
            return;
        if (c->state != HTTPD_CONN_LINGER)
            run(c);
        if (bytes.n < SOCK_RECV_BYTES || c->reader.in.n >= PIPELINE_BYTES)
            return; /* the socket is empty, or the client is ahead of us */
    }
}

static void on_writable(struct httpd_conn *c)
{
    if (!flush(c) || c->closing)
        return;
    if (c->in_request)
        httpd_list_move(c, working_state(c));
    else if (c->state == HTTPD_CONN_SENDING)
        after_answer(c);
    if (!c->closing && !c->in_request && c->state != HTTPD_CONN_LINGER)
        run(c);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct httpd_conn *c = poll->data;

    if (status < 0) { /* reset, or timed out by the kernel */
        httpd_conn_close(c);
        return;
    }
    if (events & UV_WRITABLE)
        on_writable(c);
    if ((events & UV_READABLE) && !c->closing)
        receive(c);
    update_poll(c);
}

void httpd_conn_timed_out(struct httpd_conn *c)
{
    switch ((enum httpd_conn_state)c->state) {
    case HTTPD_CONN_IDLE:
        httpd_reader_trim(&c->reader);
        pgv_buf_done(&c->out);
        httpd_list_move(c, HTTPD_CONN_QUIET);
        return;
    case HTTPD_CONN_HEAD:
    case HTTPD_CONN_BODY:
        if (httpd_reader_begun(&c->reader) && c->out.n == 0) {
            httpd_list_move(c, HTTPD_CONN_HANDLING); /* off the list, whatever the answer does */
            refuse(c, 408, "the request took too long");
            return;
        }
        break;
    case HTTPD_CONN_NEW:
    case HTTPD_CONN_QUIET:
    case HTTPD_CONN_SENDING:
    case HTTPD_CONN_LINGER:
    case HTTPD_CONN_HANDLING:
    case HTTPD_CONN_STREAM:
        break;
    }
    httpd_conn_close(c);
}

/* Said with the last breath: without memory there is nothing to read the request into. */
static void refuse_unheard(int fd)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
                               "Content-Length: 0\r\n\r\n";

    size_t n;

    (void)sock_recv(fd, &n); /* or closing would send a reset, which overtakes the answer */
    (void)send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)close(fd);
}

void httpd_conn_start(struct httpd *s, int fd, const struct sockaddr_storage *peer)
{
    struct httpd_conn *c = httpd_conn_new(s);

    if (!c) {
        if (!s->tls)
            refuse_unheard(fd);
        else
            (void)close(fd);
        (void)httpd_evict(s, false); /* its memory serves the next one */
        return;
    }
    c->fd = fd;
    c->req.conn = c;
    c->req.peer = *peer;
    sock_addr_unmap(&c->req.peer);
    c->req.tls = s->tls != NULL;
    c->tls_context = tls_context_ref(s->tls);
    s->n_conns++;
    if (s->n_peak < s->n_conns)
        s->n_peak = s->n_conns;
    httpd_list_move(c, HTTPD_CONN_NEW);
    receive(c); /* the request is often here already */
    update_poll(c);
}
