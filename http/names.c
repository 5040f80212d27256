/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/names.c - names to addresses: c-ares, its sockets and its clock on our loop.
 *
 * c-ares tells through a callback which descriptors it waits for; each gets a uv_poll_t. It never
 * starts a thread as long as nobody asks it to (ARES_OPT_EVENT_THREAD, ares_reinit()), and the
 * hosts file is read by it at every look-up, so changes there are seen. resolv.conf is read when
 * the channel is made: when the file has changed since, the channel is made anew and what is in
 * flight asked again, because an agent lives longer than the network it was started in.
 *
 * What a name had last is kept for those who rather try that than nothing (source: Patroni,
 * DnsCachingResolver, which keeps a stale answer when a new one cannot be had).
 *
 * A query is the caller's; c-ares cannot forget a single one of its own, so between the two stands
 * a small lookup, which outlives a query that was cancelled or timed out.
 */
#define CARES_NO_DEPRECATED /* ares_query() serves 1.18 and 1.34 alike */
#include "http/names.h"

#include "base/alloc.h"
#include "http/sock.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/banned.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define SERVER_TIMEOUT_MS 2000 /* for the first try; c-ares doubles it */
#define SERVER_TRIES 3
#define LAST_KNOWN_MS 500 /* after so long without an answer the last one counts */
#define KEPT_MAX 32

struct names_lookup {
    struct names_query *q; /* one of the two, or none: nobody waits any more */
    struct names_srv_query *srv;
    struct names_lookup *next; /* to be asked again */
    bool keep;                 /* its addresses, for the next time */
    char host[];
};

/* What a name had last. */
struct names_kept {
    struct names_kept *next;
    unsigned n;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } addrs[NAMES_ADDRS_MAX];
    char host[];
};

struct names_sock {
    uv_poll_t poll;
    ares_socket_t fd;
    struct names_sock *next;
};

static struct {
    uv_loop_t *loop; /* NULL: closed */
    ares_channel channel;
    uv_timer_t timer;
    struct names_sock *socks;
    struct names_kept *kept; /* the last used first */
    struct names_lookup *again;
    const char *conf; /* resolv.conf */
    struct timespec conf_time;
    char servers[256]; /* instead of resolv.conf's, or empty */
    unsigned n_lookups, n_queries, n_socks;
    bool made, renewing, closing, timer_closed;
    void (*close_cb)(void *data);
    void *close_data;
} names;

static void maybe_closed(void)
{
    void (*cb)(void *data) = names.close_cb;

    if (!names.closing || !names.timer_closed || names.n_queries > 0 || names.n_socks > 0)
        return;
    ares_library_cleanup();
    while (names.kept) {
        struct names_kept *kept = names.kept;

        names.kept = kept->next;
        pgv_free(kept);
    }
    names.loop = NULL;
    names.closing = false;
    cb(names.close_data);
}

static void on_sock_closed(uv_handle_t *h)
{
    struct names_sock *s = h->data;

    pgv_free(s);
    names.n_socks--;
    maybe_closed();
}

static void on_timer(uv_timer_t *t);

/* c-ares retransmits when asked at the right moment. */
static void arm_timer(void)
{
    struct timeval limit = { .tv_sec = 1 }, tv;
    struct timeval *next;

    if (names.closing)
        return;
    if (names.n_lookups == 0 || !names.made) {
        uv_timer_stop(&names.timer);
        return;
    }
    next = ares_timeout(names.channel, &limit, &tv);
    uv_timer_start(&names.timer, on_timer,
                   (uint64_t)next->tv_sec * 1000 + (uint64_t)next->tv_usec / 1000 + 1, 0);
}

static void on_timer(uv_timer_t *t)
{
    (void)t;
    ares_process_fd(names.channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm_timer();
}

static void on_sock(uv_poll_t *poll, int status, int events)
{
    struct names_sock *s = poll->data;
    ares_socket_t fd = s->fd;

    /* On an error both: whichever call c-ares makes then meets it. */
    if (status < 0)
        events = UV_READABLE | UV_WRITABLE;
    ares_process_fd(names.channel, events & UV_READABLE ? fd : ARES_SOCKET_BAD,
                    events & UV_WRITABLE ? fd : ARES_SOCKET_BAD);
    arm_timer();
}

static struct names_sock *find_sock(ares_socket_t fd, struct names_sock ***ret_link)
{
    struct names_sock **link = &names.socks;

    while (*link && (*link)->fd != fd)
        link = &(*link)->next;
    *ret_link = link;
    return *link;
}

/* Without memory the socket goes unwatched, and the look-up ends by its time limit. */
static void on_sock_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct names_sock **link, *s = find_sock(fd, &link);
    int events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);

    (void)data;
    if (!s && events) {
        s = pgv_zalloc(sizeof(*s));
        if (!s || uv_poll_init_socket(names.loop, &s->poll, fd) != 0) {
            pgv_free(s);
            return;
        }
        s->poll.data = s;
        s->fd = fd;
        s->next = names.socks;
        names.socks = s;
        names.n_socks++;
    }
    if (!s)
        return;
    if (events) {
        uv_poll_start(&s->poll, events, on_sock);
    } else {
        (void)find_sock(fd, &link);
        *link = s->next;
        uv_close((uv_handle_t *)&s->poll, on_sock_closed);
    }
}

static bool make_channel(struct pgv_error *err)
{
    struct ares_options o = { .timeout = SERVER_TIMEOUT_MS,
                              .tries = SERVER_TRIES,
                              .sock_state_cb = on_sock_state };
    int options = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
    struct stat st;
    int rc;

    names.conf_time = stat(names.conf, &st) == 0 ? st.st_mtim : (struct timespec){ 0 };
#ifdef ARES_OPT_QUERY_CACHE /* since 1.31 it would answer from memory; we ask, as 1.18 does */
    options |= ARES_OPT_QUERY_CACHE; /* qcache_max_ttl of 0: none */
#endif
    rc = ares_init_options(&names.channel, &o, options);
    if (rc != ARES_SUCCESS)
        return pgv_fail(err, rc == ARES_ENOMEM ? PGV_ENOMEM : PGV_ESYS, "the resolver: %s",
                        ares_strerror(rc));
    rc = names.servers[0] ? ares_set_servers_ports_csv(names.channel, names.servers) : ARES_SUCCESS;
    if (rc != ARES_SUCCESS) {
        ares_destroy(names.channel);
        return pgv_fail(err, rc == ARES_ENOMEM ? PGV_ENOMEM : PGV_EINVALID,
                        "the name servers '%s': %s", names.servers, ares_strerror(rc));
    }
    names.made = true;
    return true;
}

static void ask(struct names_lookup *l);
static void give_up(struct names_lookup *l, const struct pgv_error *err);

/* Name servers that are gone would keep a look-up in flight for ever, so this cannot wait for the
 * end of all: who still waits is asked for again. */
static bool renew_channel(struct pgv_error *err)
{
    struct names_lookup *l, *next;
    bool ok;

    names.made = false;
    names.renewing = true;
    ares_destroy(names.channel);
    names.renewing = false;
    ok = make_channel(err);
    for (l = names.again, names.again = NULL; l; l = next) {
        next = l->next;
        if (ok)
            ask(l);
        else
            give_up(l, err);
    }
    return ok;
}

/* Make the channel if there is none, or a new one if resolv.conf has changed. */
static bool refresh_channel(struct pgv_error *err)
{
    struct stat st;

    if (!names.made)
        return make_channel(err);
    if (stat(names.conf, &st) != 0 || (st.st_mtim.tv_sec == names.conf_time.tv_sec &&
                                       st.st_mtim.tv_nsec == names.conf_time.tv_nsec))
        return true;
    return renew_channel(err);
}

bool names_open(uv_loop_t *loop, struct pgv_error *err)
{
    int rc;

    PGV_ASSERT(!names.loop);
    rc = ares_library_init_mem(ARES_LIB_INIT_ALL, pgv_alloc, pgv_free, pgv_realloc);
    if (rc != ARES_SUCCESS)
        return pgv_fail(err, PGV_ENOMEM, "the resolver: %s", ares_strerror(rc));
    memset(&names, 0, sizeof(names));
    names.loop = loop;
    names.conf = RESOLV_CONF;
    uv_timer_init(loop, &names.timer);
    return true;
}

void names_use_conf(const char *path)
{
    PGV_ASSERT(names.loop && !names.made);
    names.conf = path;
}

bool names_use_servers(const char *servers, struct pgv_error *err)
{
    PGV_ASSERT(names.loop && names.n_lookups == 0);
    if (!pgv_copyz(names.servers, sizeof(names.servers), servers))
        return pgv_fail(err, PGV_EINVALID, "too many name servers");
    if (names.made)
        ares_destroy(names.channel);
    names.made = false;
    return make_channel(err);
}

static void on_timer_closed(uv_handle_t *h)
{
    (void)h;
    names.timer_closed = true;
    maybe_closed();
}

void names_close(void (*cb)(void *data), void *data)
{
    PGV_ASSERT(names.loop && !names.closing);
    names.closing = true;
    names.close_cb = cb;
    names.close_data = data;
    if (names.made)
        ares_destroy(names.channel); /* ends every look-up: their queries are cancelled */
    names.made = false;
    uv_close((uv_handle_t *)&names.timer, on_timer_closed);
}

/* From here on the end of the query is a matter of its timer being closed. */
static void on_query_closed(uv_handle_t *h)
{
    struct names_query *q = h->data;
    struct pgv_error err = q->err;

    q->cb(q, q->failed ? &err : NULL);
    names.n_queries--;
    maybe_closed();
}

static void end_query(struct names_query *q)
{
    if (q->lookup)
        q->lookup->q = NULL;
    q->lookup = NULL;
    uv_close((uv_handle_t *)&q->timer, on_query_closed);
}

static void fail_query(struct names_query *q, enum pgv_code code, const char *why)
{
    q->failed = !pgv_fail(&q->err, code, "%s", why);
    q->n = 0;
    end_query(q);
}

/* 'The name does not exist' is an answer, all the rest is silence. */
static enum pgv_code code_of(int status)
{
    switch (status) {
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_EBADNAME:
    case ARES_ENONAME:
        return PGV_EINVALID;
    case ARES_EDESTRUCTION:
    case ARES_ECANCELLED:
        return PGV_ECANCELED;
    case ARES_ENOMEM:
        return PGV_ENOMEM;
    default:
        return PGV_EUNREACHABLE;
    }
}

static void add_address(struct names_query *q, const struct sockaddr *a)
{
    struct sockaddr_storage *to = &q->addrs[q->n];

    if (q->n == NAMES_ADDRS_MAX)
        return;
    memset(to, 0, sizeof(*to));
    if (a->sa_family == AF_INET) {
        memcpy(to, a, sizeof(struct sockaddr_in));
        ((struct sockaddr_in *)to)->sin_port = htons((uint16_t)q->port);
    } else {
        memcpy(to, a, sizeof(struct sockaddr_in6));
        ((struct sockaddr_in6 *)to)->sin6_port = htons((uint16_t)q->port);
    }
    q->n++;
}

static bool is_address(const struct ares_addrinfo_node *a)
{
    return (a->ai_family == AF_INET && (size_t)a->ai_addrlen >= sizeof(struct sockaddr_in)) ||
           (a->ai_family == AF_INET6 && (size_t)a->ai_addrlen >= sizeof(struct sockaddr_in6));
}

static void take_addresses(struct names_query *q, const struct ares_addrinfo *info)
{
    q->n = 0;
    for (struct ares_addrinfo_node *a = info->nodes; a; a = a->ai_next)
        if (is_address(a))
            add_address(q, a->ai_addr);
}

/* Off the list; NULL when the name is not on it. */
static struct names_kept *take_kept(const char *host)
{
    struct names_kept **link = &names.kept, *kept;

    while (*link && strcasecmp((*link)->host, host) != 0)
        link = &(*link)->next;
    kept = *link;
    if (kept)
        *link = kept->next;
    return kept;
}

static void put_kept(struct names_kept *kept)
{
    unsigned n = 1;

    kept->next = names.kept;
    names.kept = kept;
    for (struct names_kept *k = kept; k->next; k = k->next) {
        if (++n <= KEPT_MAX)
            continue;
        pgv_free(k->next); /* the last one: they come one by one */
        k->next = NULL;
        return;
    }
}

static void keep(const char *host, const struct ares_addrinfo *info)
{
    struct names_kept *kept = take_kept(host);
    size_t host_bytes = strlen(host) + 1;

    if (!kept)
        kept = pgv_zalloc(sizeof(*kept) + host_bytes);
    if (!kept)
        return;
    memcpy(kept->host, host, host_bytes);
    kept->n = 0;
    for (struct ares_addrinfo_node *a = info->nodes; a && kept->n < NAMES_ADDRS_MAX; a = a->ai_next)
        if (is_address(a))
            memcpy(&kept->addrs[kept->n++], a->ai_addr,
                   a->ai_family == AF_INET ? sizeof(struct sockaddr_in)
                                           : sizeof(struct sockaddr_in6));
    put_kept(kept);
}

/* False: the query does not want it, or nothing is known. */
static bool take_last_known(struct names_query *q, const char *host)
{
    struct names_kept *kept = q->or_last_known ? take_kept(host) : NULL;

    if (!kept)
        return false;
    put_kept(kept);
    q->n = 0;
    for (unsigned i = 0; i < kept->n; i++)
        add_address(q, &kept->addrs[i].any);
    return q->n > 0;
}

/* True: the channel is being renewed, and somebody still waits for @l. */
static bool again(struct names_lookup *l)
{
    if (!names.renewing || !(l->q || l->srv))
        return false;
    l->next = names.again;
    names.again = l;
    return true;
}

static void on_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct names_lookup *l = arg;
    struct names_query *q = l->q;

    (void)timeouts;
    if (again(l))
        return;
    names.n_lookups--;
    if (status == ARES_SUCCESS && l->keep && info->nodes)
        keep(l->host, info);
    if (q) {
        q->lookup = NULL;
        if (status == ARES_SUCCESS)
            take_addresses(q, info);
        if (status != ARES_SUCCESS && code_of(status) != PGV_ECANCELED &&
            take_last_known(q, l->host))
            end_query(q);
        else if (status != ARES_SUCCESS)
            fail_query(q, code_of(status), ares_strerror(status));
        else if (q->n == 0)
            fail_query(q, PGV_EINVALID, "the name has no address");
        else
            end_query(q);
    }
    ares_freeaddrinfo(info);
    pgv_free(l);
}

static void on_query_timer(uv_timer_t *t)
{
    struct names_query *q = t->data;

    if (take_last_known(q, q->lookup->host))
        end_query(q); /* the look-up goes on, for the next one */
    else
        fail_query(q, PGV_EUNREACHABLE, "no name server answered in time");
}

static void on_query_done(uv_timer_t *t)
{
    end_query(t->data);
}

static void fail_later(struct names_query *q)
{
    q->failed = true;
    uv_timer_start(&q->timer, on_query_done, 0, 0);
}

static struct names_lookup *new_lookup(const char *host, struct pgv_error *err)
{
    size_t host_bytes = strlen(host) + 1;
    struct names_lookup *l;

    if (names.closing) {
        (void)pgv_fail(err, PGV_ECANCELED, "the resolver is closing");
        return NULL;
    }
    if (!refresh_channel(err))
        return NULL;
    l = pgv_zalloc(sizeof(*l) + host_bytes);
    if (!l) {
        (void)pgv_fail(err, PGV_ENOMEM, "a look-up");
        return NULL;
    }
    memcpy(l->host, host, host_bytes);
    names.n_lookups++;
    return l;
}

void names_resolve(struct names_query *q, const char *host, int port, uint64_t timeout_ms,
                   names_cb cb)
{
    struct names_lookup *l;

    PGV_ASSERT(names.loop);
    q->cb = cb;
    q->port = port;
    q->n = 0;
    q->failed = false;
    q->lookup = NULL;
    uv_timer_init(names.loop, &q->timer);
    q->timer.data = q;
    names.n_queries++;

    if (sock_literal(host, port, &q->addrs[0])) {
        q->n = 1;
        uv_timer_start(&q->timer, on_query_done, 0, 0);
        return;
    }
    l = new_lookup(host, &q->err);
    if (!l && q->err.code != PGV_ECANCELED && take_last_known(q, host)) {
        uv_timer_start(&q->timer, on_query_done, 0, 0);
        return;
    }
    if (!l) {
        fail_later(q);
        return;
    }
    l->q = q;
    l->keep = q->or_last_known;
    q->lookup = l;
    if (!timeout_ms)
        timeout_ms = NAMES_TIMEOUT_MS;
    if (timeout_ms > LAST_KNOWN_MS && take_last_known(q, host))
        timeout_ms = LAST_KNOWN_MS;
    q->n = 0;
    uv_timer_start(&q->timer, on_query_timer, timeout_ms, 0);
    ask(l);
}

void names_cancel(struct names_query *q)
{
    if (!uv_is_closing((uv_handle_t *)&q->timer)) {
        fail_query(q, PGV_ECANCELED, "cancelled");
        return;
    }
    q->failed = !pgv_fail(&q->err, PGV_ECANCELED, "cancelled");
    q->n = 0;
}

static void on_srv_closed(uv_handle_t *h)
{
    struct names_srv_query *q = h->data;
    struct pgv_error err = q->err;

    q->cb(q, q->failed ? &err : NULL);
    names.n_queries--;
    maybe_closed();
}

static void end_srv(struct names_srv_query *q)
{
    if (q->lookup)
        q->lookup->srv = NULL;
    q->lookup = NULL;
    uv_close((uv_handle_t *)&q->timer, on_srv_closed);
}

static void fail_srv(struct names_srv_query *q, enum pgv_code code, const char *why)
{
    q->failed = !pgv_fail(&q->err, code, "%s", why);
    q->n = 0;
    end_srv(q);
}

static int take_targets(struct names_srv_query *q, const unsigned char *answer, int bytes)
{
    struct ares_srv_reply *list = NULL;
    int rc = ares_parse_srv_reply(answer, bytes, &list);

    q->n = 0;
    for (struct ares_srv_reply *s = list; s && q->n < NAMES_TARGETS_MAX; s = s->next) {
        if (!pgv_copyz(q->targets[q->n].host, sizeof(q->targets[0].host), s->host) || !s->host[0])
            continue;
        q->targets[q->n++].port = s->port;
    }
    ares_free_data(list);
    return rc;
}

static void on_srv(void *arg, int status, int timeouts, unsigned char *answer, int bytes)
{
    struct names_lookup *l = arg;
    struct names_srv_query *q = l->srv;

    (void)timeouts;
    if (again(l))
        return;
    names.n_lookups--;
    if (q) {
        q->lookup = NULL;
        if (status == ARES_SUCCESS)
            status = take_targets(q, answer, bytes);
        if (status != ARES_SUCCESS)
            fail_srv(q, code_of(status), ares_strerror(status));
        else if (q->n == 0)
            fail_srv(q, PGV_EINVALID, "the name has no SRV record");
        else
            end_srv(q);
    }
    pgv_free(l);
}

static void ask(struct names_lookup *l)
{
    struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };

    if (l->srv)
        ares_query(names.channel, l->host, ns_c_in, ns_t_srv, on_srv, l);
    else
        ares_getaddrinfo(names.channel, l->host, NULL, &hints, on_addresses, l);
    arm_timer();
}

static void give_up(struct names_lookup *l, const struct pgv_error *err)
{
    names.n_lookups--;
    if (l->q)
        fail_query(l->q, err->code, err->msg);
    else
        fail_srv(l->srv, err->code, err->msg);
    pgv_free(l);
}

static void on_srv_timer(uv_timer_t *t)
{
    fail_srv(t->data, PGV_EUNREACHABLE, "no name server answered in time");
}

static void on_srv_failed(uv_timer_t *t)
{
    end_srv(t->data);
}

void names_srv(struct names_srv_query *q, const char *name, uint64_t timeout_ms,
               void (*cb)(struct names_srv_query *q, const struct pgv_error *err))
{
    struct names_lookup *l;

    PGV_ASSERT(names.loop);
    q->cb = cb;
    q->n = 0;
    q->failed = false;
    q->lookup = NULL;
    uv_timer_init(names.loop, &q->timer);
    q->timer.data = q;
    names.n_queries++;
    l = new_lookup(name, &q->err);
    if (!l) {
        q->failed = true;
        uv_timer_start(&q->timer, on_srv_failed, 0, 0);
        return;
    }
    l->srv = q;
    q->lookup = l;
    uv_timer_start(&q->timer, on_srv_timer, timeout_ms ? timeout_ms : NAMES_TIMEOUT_MS, 0);
    ask(l);
}

void names_srv_cancel(struct names_srv_query *q)
{
    if (!uv_is_closing((uv_handle_t *)&q->timer)) {
        fail_srv(q, PGV_ECANCELED, "cancelled");
        return;
    }
    q->failed = !pgv_fail(&q->err, PGV_ECANCELED, "cancelled");
    q->n = 0;
}
