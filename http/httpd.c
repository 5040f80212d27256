/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpd.c - the server: listening, accepting, time limits, closing.
 *
 * Every connection stands in the list of its state, the longest waiting first. As all members of a
 * list have the same time to live, its first member is also the first to run out, so one timer
 * serves them all, and the first members of the idle lists are those to close when room is needed.
 * Memory: a connection costs about a kilobyte; a few are reserved at open, so that probes are
 * answered when malloc() gives nothing any more.
 */
#include "http/httpd_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fdtable.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

#define ACCEPT_BATCH 64
#define ACCEPT_PAUSE_MS 100
#define BACKLOG 4096
#define CROWD_CONNS 500
#define FDS_AT_FIRST 1000
#define FDS_FOR_OTHERS 64 /* PostgreSQL, stores, files: not for clients */
#define HEAD_OUT_BYTES 2048
#define LINGER_MS 2000
#define QUIET_AFTER_MS 1000
#define WARN_EVERY_MS 10000

/*
 * Who does not acknowledge an answer for so long is gone. Source: contract of Patroni 4.1, REST
 * API, 2.1. But no keepalive, as it has there: a silent connection is closed by idle_ms, and the
 * probes of ten thousand come in one burst, which overflows the receiver's backlog (net.core.
 * netdev_max_backlog, 1000 packets); under TCP_USER_TIMEOUT one lost probe ends a living
 * connection.
 */
static const struct httpc_tcp_options tcp_options = { .user_timeout_ms = 10000 };

struct httpd_listener {
    uv_poll_t poll;
    struct httpd *s;
    int fd;
};

static uint64_t limit_ms(const struct httpd *s, enum httpd_conn_state state)
{
    const struct httpd_limits *l = &s->limits;

    switch (state) {
    case HTTPD_CONN_NEW:
        return l->idle_ms;
    case HTTPD_CONN_IDLE:
        return l->idle_ms < QUIET_AFTER_MS ? l->idle_ms : QUIET_AFTER_MS;
    case HTTPD_CONN_QUIET:
        return l->idle_ms < QUIET_AFTER_MS ? 1 : l->idle_ms - QUIET_AFTER_MS;
    case HTTPD_CONN_HEAD:
        return l->head_ms;
    case HTTPD_CONN_BODY:
        return l->body_ms;
    case HTTPD_CONN_SENDING:
        return l->send_ms;
    case HTTPD_CONN_LINGER:
        return LINGER_MS;
    case HTTPD_CONN_HANDLING:
    case HTTPD_CONN_STREAM:
        break;
    }
    return 0;
}

static void on_sweep(uv_timer_t *t);

static void sweep_by(struct httpd *s, uint64_t at_ms, uint64_t now_ms)
{
    if (s->closing || (s->sweep_at_ms && s->sweep_at_ms <= at_ms))
        return;
    s->sweep_at_ms = at_ms;
    uv_timer_start(&s->sweep, on_sweep, at_ms > now_ms ? at_ms - now_ms + 1 : 1, 0);
}

void httpd_list_remove(struct httpd_conn *c)
{
    struct httpd_list *l = &c->s->lists[c->state];

    if (c->prev)
        c->prev->next = c->next;
    else
        l->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    else
        l->last = c->prev;
    c->next = c->prev = NULL;
}

static void list_append(struct httpd_conn *c, enum httpd_conn_state state)
{
    struct httpd *s = c->s;
    struct httpd_list *l = &s->lists[state];
    uint64_t limit = limit_ms(s, state);

    c->state = (uint8_t)state;
    c->since_ms = pgv_clock_ms();
    c->deadline_ms = limit ? c->since_ms + limit : 0;
    c->prev = l->last;
    c->next = NULL;
    if (l->last)
        l->last->next = c;
    else
        l->first = c;
    l->last = c;
    if (limit)
        sweep_by(s, c->deadline_ms, c->since_ms);
}

void httpd_list_move(struct httpd_conn *c, enum httpd_conn_state state)
{
    if (c->prev || c->next || c->s->lists[c->state].first == c)
        httpd_list_remove(c);
    list_append(c, state);
}

static void on_sweep(uv_timer_t *t)
{
    struct httpd *s = t->data;
    uint64_t now = pgv_clock_ms(), next = 0;

    s->sweep_at_ms = 0;
    for (unsigned i = 0; i < HTTPD_STATES; i++) {
        struct httpd_conn *c;

        if (limit_ms(s, (enum httpd_conn_state)i) == 0)
            continue;
        while ((c = s->lists[i].first) && c->deadline_ms <= now)
            httpd_conn_timed_out(c);
        if (c && (!next || c->deadline_ms < next))
            next = c->deadline_ms;
    }
    if (s->accept_again_ms && s->accept_again_ms <= now) {
        s->accept_again_ms = 0;
        uv_poll_start(&s->listener->poll, UV_READABLE, s->listener->poll.poll_cb);
    }
    if (s->accept_again_ms && (!next || s->accept_again_ms < next))
        next = s->accept_again_ms;
    if (next)
        sweep_by(s, next, now);
    /* A crowd has left: malloc() would keep its megabytes for the next one. */
    if (s->n_peak >= CROWD_CONNS && s->n_conns < s->n_peak / 2) {
        pgv_heap_give_back();
        s->n_peak = s->n_conns;
    }
}

static struct httpd_conn *first_of(struct httpd *s, enum httpd_conn_state state, bool with_tls)
{
    struct httpd_conn *c = s->lists[state].first;

    /* Plain ones stand in the way only for a while after TLS was switched on: look no further. */
    for (unsigned i = 0; with_tls && c && !c->tls && i < 16; i++)
        c = c->next;
    return c && (!with_tls || c->tls) ? c : NULL;
}

bool httpd_evict(struct httpd *s, bool with_tls)
{
    static const enum httpd_conn_state idle[] = { HTTPD_CONN_NEW, HTTPD_CONN_IDLE, HTTPD_CONN_QUIET,
                                                  HTTPD_CONN_HEAD, HTTPD_CONN_LINGER };
    struct httpd_conn *oldest = NULL;

    for (unsigned i = 0; i < sizeof(idle) / sizeof(idle[0]); i++) {
        struct httpd_conn *c = first_of(s, idle[i], with_tls);
        if (c && (!oldest || c->since_ms < oldest->since_ms))
            oldest = c;
    }
    /* Clients that dawdle over a body or an answer are next; what a handler works on stays. */
    if (!oldest)
        oldest = first_of(s, HTTPD_CONN_BODY, with_tls);
    if (!oldest)
        oldest = first_of(s, HTTPD_CONN_SENDING, with_tls);
    if (!oldest)
        return false;
    httpd_conn_close(oldest);
    return true;
}

static void warn_rarely(struct httpd *s, const char *what)
{
    uint64_t now = pgv_clock_ms();

    if (s->warned_ms && now - s->warned_ms < WARN_EVERY_MS) {
        s->n_unsaid++;
        return;
    }
    pgv_log(PGV_WARNING, "rest", "%s connections=%u not_reported=%u", what, s->n_conns,
            s->n_unsaid);
    s->warned_ms = now;
    s->n_unsaid = 0;
}

static void pause_accepting(struct httpd *s)
{
    uint64_t now = pgv_clock_ms();

    uv_poll_stop(&s->listener->poll);
    s->accept_again_ms = now + ACCEPT_PAUSE_MS;
    sweep_by(s, s->accept_again_ms, now);
}

/* Out of descriptors, with nobody to close: use the reserved one to tell a client 'no' by closing,
 * instead of leaving it in the backlog until it times out. */
static bool shed_one(struct httpd *s)
{
    int fd;

    if (s->reserve_fd < 0)
        return false;
    (void)close(s->reserve_fd);
    fd = accept4(s->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        (void)close(fd);
    s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

/* False: stop accepting for now. */
static bool accept_failed(struct httpd *s, int sys)
{
    switch (sys) {
    case EAGAIN:
        return false;
    case EMFILE:
    case ENFILE:
        warn_rarely(s, "no descriptor is left for a new connection: closing the longest idle");
        if (httpd_evict(s, false) || shed_one(s))
            return true;
        pause_accepting(s);
        return false;
    case ENOMEM:
    case ENOBUFS:
        warn_rarely(s, "no memory for a new connection: closing the longest idle");
        (void)httpd_evict(s, false);
        pause_accepting(s);
        return false;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
        (void)PGV_EXPECT(false);
        pause_accepting(s);
        return false;
    default:
        return true; /* errors of that one connection: accept(2), error handling */
    }
}

/* Room in the loop's table for descriptor @fd, and for those that others may open beside it. */
static bool make_room(struct httpd *s, int fd, unsigned at_least)
{
    unsigned n = (unsigned)fd + FDS_FOR_OTHERS, max = s->limits.conns_max + FDS_FOR_OTHERS;

    if (n < at_least)
        n = at_least;
    return pgv_fdtable_grow(s->loop, n < max ? n : max, fd);
}

static void on_listener(uv_poll_t *poll, int status, int events)
{
    struct httpd_listener *l = poll->data;
    struct httpd *s = l->s;

    (void)events;
    if (status < 0) {
        pause_accepting(s);
        return;
    }
    for (unsigned i = 0; i < ACCEPT_BATCH && !s->closing && s->listener == l; i++) {
        struct sockaddr_storage peer = { 0 };
        socklen_t n = sizeof(peer);
        int fd = accept4(l->fd, (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            if (!accept_failed(s, errno))
                break;
            continue;
        }
        if (s->n_conns >= s->limits.conns_max) {
            warn_rarely(s, "too many connections: closing the longest idle");
            if (!httpd_evict(s, false)) {
                (void)close(fd);
                continue;
            }
        }
        if (!make_room(s, fd, 0)) {
            (void)close(fd);
            if (!accept_failed(s, ENOMEM))
                break;
            continue;
        }
        httpd_conn_start(s, fd, &peer);
    }
}

static void on_again(uv_timer_t *t)
{
    struct httpd *s = t->data;
    struct httpd_conn *list = s->ready;

    s->ready = NULL;
    while (list) {
        struct httpd_conn *c = list;
        list = c->next_ready;
        c->is_ready = false;
        httpd_conn_again(c);
    }
}

void httpd_conn_later(struct httpd_conn *c)
{
    if (c->is_ready)
        return;
    c->is_ready = true;
    c->next_ready = c->s->ready;
    c->s->ready = c;
    if (!uv_is_active((uv_handle_t *)&c->s->again))
        uv_timer_start(&c->s->again, on_again, 0, 0);
}

static void set_defaults(struct httpd_limits *l)
{
    struct rlimit r;

    if (!l->conns_max)
        l->conns_max = 10240;
    if (!l->tls_conns_max)
        l->tls_conns_max = 512;
    if (!l->head_bytes_max)
        l->head_bytes_max = 65536;
    if (!l->body_bytes_max)
        l->body_bytes_max = 1u << 20;
    if (!l->head_ms)
        l->head_ms = 5000;
    if (!l->body_ms)
        l->body_ms = 10000;
    if (!l->idle_ms)
        l->idle_ms = 60000;
    if (!l->send_ms)
        l->send_ms = 10000;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur != RLIM_INFINITY) {
        rlim_t usable =
            r.rlim_cur > 2 * FDS_FOR_OTHERS ? r.rlim_cur - FDS_FOR_OTHERS : r.rlim_cur / 2;
        if (l->conns_max > usable)
            l->conns_max = (unsigned)usable;
    }
}

static int bound_port(int fd)
{
    struct sockaddr_storage a = { 0 };
    socklen_t n = sizeof(a);

    return getsockname(fd, (struct sockaddr *)&a, &n) == 0 ? sock_addr_port(&a) : 0;
}

static bool listener_open(struct httpd *s, const char *host, int port, struct httpd_listener **ret,
                          struct pgv_error *err)
{
    struct httpd_listener *l = pgv_zalloc(sizeof(*l));
    int rc;

    if (!l)
        return pgv_fail(err, PGV_ENOMEM, "a listener");
    l->s = s;
    if (!sock_listen(host, port, BACKLOG, &tcp_options, &l->fd, err)) {
        pgv_free(l);
        return false;
    }
    if (!make_room(s, l->fd, FDS_AT_FIRST)) {
        (void)close(l->fd);
        pgv_free(l);
        return pgv_fail(err, PGV_ENOMEM, "no memory to watch a listener");
    }
    rc = uv_poll_init(s->loop, &l->poll, l->fd);
    if (rc != 0) {
        (void)close(l->fd);
        pgv_free(l);
        return pgv_fail(err, PGV_ESYS, "watching a listener: %s", uv_strerror(rc));
    }
    l->poll.data = l;
    s->n_listeners++;
    *ret = l;
    return true;
}

static void on_listener_closed(uv_handle_t *h)
{
    struct httpd_listener *l = h->data;
    struct httpd *s = l->s;

    pgv_free(l);
    s->n_listeners--;
    httpd_maybe_closed(s);
}

static void listener_close(struct httpd_listener *l)
{
    uv_close((uv_handle_t *)&l->poll, on_listener_closed);
    (void)close(l->fd);
}

static void listener_use(struct httpd *s, struct httpd_listener *l)
{
    s->listener = l;
    s->port = bound_port(l->fd);
    uv_poll_start(&l->poll, UV_READABLE, on_listener);
}

static void free_spare(struct httpd *s)
{
    while (s->spare) {
        struct httpd_conn *c = s->spare;
        s->spare = c->next_ready;
        httpd_reader_done(&c->reader);
        pgv_buf_done(&c->out);
        pgv_free(c);
    }
    s->n_spare = 0;
}

bool httpd_open(struct httpd *s, uv_loop_t *loop, const char *host, int port,
                struct tls_context *tls, httpd_cb cb, struct pgv_error *err)
{
    struct httpd_listener *l = NULL;
    bool ok = true;

    s->loop = loop;
    s->cb = cb;
    s->spare = s->ready = NULL;
    s->listener = NULL;
    memset(s->lists, 0, sizeof(s->lists));
    s->n_conns = s->n_peak = s->n_open = s->n_listeners = s->n_spare = s->n_tls = s->n_unsaid = 0;
    s->sweep_at_ms = s->accept_again_ms = s->warned_ms = 0;
    s->turn_ms = s->handshakes_us = 0;
    s->closing = false;
    s->close_cb = NULL;
    s->date_s = -1;
    set_defaults(&s->limits);
    pgv_buf_init(&s->head_out, 64u << 10);

    for (unsigned i = 0; ok && i < HTTPD_SPARE_CONNS; i++) {
        struct httpd_conn *c = httpd_conn_new(s);
        ok = c && pgv_buf_reserve(&c->reader.in, 1024) && pgv_buf_reserve(&c->reader.head, 1024);
        if (c)
            httpd_conn_release(c);
    }
    /* A connection made from the reserve, when memory was short, counts for nothing here. */
    if (!ok || s->n_spare < HTTPD_SPARE_CONNS || !pgv_buf_reserve(&s->head_out, HEAD_OUT_BYTES)) {
        (void)pgv_fail(err, PGV_ENOMEM, "the HTTP server's reserve");
        goto fail;
    }
    if (!listener_open(s, host, port, &l, err))
        goto fail;
    s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    s->tls = tls_context_ref(tls);
    uv_timer_init(loop, &s->sweep);
    uv_timer_init(loop, &s->again);
    s->sweep.data = s->again.data = s;
    s->n_timers = 2;
    listener_use(s, l);
    return true;
fail:
    free_spare(s);
    pgv_buf_done(&s->head_out);
    return false;
}

bool httpd_relisten(struct httpd *s, const char *host, int port, struct pgv_error *err)
{
    struct httpd_listener *old = s->listener, *l = NULL;
    struct pgv_error first = { 0 };

    PGV_ASSERT(!s->closing);
    if (!listener_open(s, host, port, &l, &first)) {
        /* The old address may be what is in the way, as 127.0.0.1:8008 is of *:8008. It leaves
         * the listening state while the new one is tried, and comes back if that fails (Linux
         * keeps the port of a socket that was bound to a number of our choice). */
        if (first.sys != EADDRINUSE) {
            if (err)
                *err = first;
            return false;
        }
        (void)shutdown(old->fd, SHUT_RDWR);
        if (!listener_open(s, host, port, &l, err)) {
            if (listen(old->fd, BACKLOG) != 0)
                pgv_log(PGV_ERROR, "rest", "the old listener could not be restored errno=%d",
                        errno);
            return false;
        }
    }
    s->accept_again_ms = 0;
    listener_use(s, l);
    listener_close(old);
    return true;
}

void httpd_set_tls(struct httpd *s, struct tls_context *tls)
{
    struct tls_context *old = s->tls;

    s->tls = tls_context_ref(tls);
    tls_context_unref(old);
}

int httpd_port(const struct httpd *s)
{
    return s->port;
}

static void on_timer_closed(uv_handle_t *h)
{
    struct httpd *s = h->data;

    if (--s->n_timers > 0)
        return;
    free_spare(s);
    pgv_buf_done(&s->head_out);
    s->close_cb(s);
}

void httpd_maybe_closed(struct httpd *s)
{
    if (!s->closing || s->n_open > 0 || s->n_listeners > 0 ||
        uv_is_closing((uv_handle_t *)&s->sweep))
        return;
    uv_close((uv_handle_t *)&s->sweep, on_timer_closed);
    uv_close((uv_handle_t *)&s->again, on_timer_closed);
}

void httpd_close(struct httpd *s, void (*cb)(struct httpd *s))
{
    PGV_ASSERT(!s->closing);
    s->closing = true;
    s->close_cb = cb;
    uv_timer_stop(&s->sweep);
    for (unsigned i = 0; i < HTTPD_STATES; i++)
        while (s->lists[i].first)
            httpd_conn_close(s->lists[i].first);
    listener_close(s->listener);
    if (s->reserve_fd >= 0)
        (void)close(s->reserve_fd);
    tls_context_unref(s->tls);
    s->tls = NULL;
    httpd_maybe_closed(s);
}
