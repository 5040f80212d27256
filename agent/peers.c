/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/peers.c - asking members how they are: GET of their api_url, all in parallel, 2 s, no
 * retries (ha contract §11). An answer is what the leader race and a manual failover count on, so
 * it is read strictly: whatever is not a status with a WAL position counts as unreachable, which
 * is also what a node whose server is down looks like.
 */
#include "agent/agent.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <strings.h>

#include "base/banned.h"

#define PEER_ARENA_BYTES_MAX                                                                       \
    (512 * 1024) /* of a parsed answer; the status of a node is some KB                            \
                  */
#define PEER_LOG_BODY_BYTES 1024

struct agent_peer_call {
    struct agent_peers_group *group;
    struct httpc_req http;
    bool in_flight;
    char name[PGV_NAME_BYTES], api_url[PGV_URL_BYTES];
};

/* One question to all. It outlives a cancelled request until the client has let go of it. */
struct agent_peers_group {
    struct agent_peers_req *req; /* NULL: nobody waits any more */
    unsigned pending, n;
    struct agent_peer_call calls[];
};

/* Questions that nobody could be asked are answered too, and later like all others. One timer
 * serves them; it exists only while it is needed, so that a loop can be closed. */
static struct {
    uv_timer_t timer;
    bool open, closing;
    uv_loop_t *loop;
    struct agent_peers_req *first;
} unasked;

/* ---- reading an answer -------------------------------------------------------------------------
 */

/* A position: absent is 0; anything but a number that fits makes the answer unusable. */
static bool position_of(const struct pgv_value *wal, const char *key, uint64_t *ret)
{
    const struct pgv_value *v = pgv_get(wal, key);

    *ret = 0;
    if (!v)
        return true;
    if (v->type != PGV_INT || v->u.i < 0)
        return false;
    *ret = (uint64_t)v->u.i;
    return true;
}

static bool says_primary(const struct pgv_value *status, const struct pgv_value *wal)
{
    return pgv_truthy(pgv_get(wal, "location")) ||
           pgv_role_parse(pgv_string(pgv_get(status, "role"))) == PGV_ROLE_PRIMARY;
}

/* An address that was a member's may be another cluster's by now, or a typing error. Agents that do
 * not say who they are are believed, as they were asked by that name. */
static bool is_another(const struct pgv_value *status, const char *name, const char *scope)
{
    struct pgv_str n = pgv_string(pgv_path(status, "patroni.name"));
    struct pgv_str s = pgv_string(pgv_path(status, "patroni.scope"));

    return (n.n && !pgv_str_eqz(n, name)) || (s.n && !pgv_str_eqz(s, scope));
}

bool agent_peer_parse(struct pgv_str body, const char *scope, struct ha_peer *ret)
{
    struct ha_peer peer = { .reachable = true };
    const struct pgv_value *wal, *timeline;
    uint64_t received = 0, replayed = 0;
    struct pgv_value *status = NULL;
    struct pgv_arena arena;
    struct pgv_error err;
    struct pgv_tags tags;
    bool ok = false;

    pgv_arena_init(&arena, PEER_ARENA_BYTES_MAX);
    if (!pgv_json_parse(&arena, body, &status, &err) || !pgv_is(status, PGV_MAP) ||
        is_another(status, ret->name, scope))
        goto out;
    wal = pgv_get(status, "wal");
    if (!pgv_truthy(wal))
        wal = pgv_get(status, "xlog");
    if (!pgv_is(wal, PGV_MAP))
        goto out;
    peer.in_recovery = !says_primary(status, wal);
    if (peer.in_recovery) {
        if (!position_of(wal, "received_location", &received) ||
            !position_of(wal, "replayed_location", &replayed))
            goto out;
        peer.position = received > replayed ? received : replayed;
    }
    timeline = pgv_get(status, "timeline");
    if (pgv_is(timeline, PGV_INT) && timeline->u.i > 0 && timeline->u.i <= UINT32_MAX)
        peer.timeline = (uint32_t)timeline->u.i;
    pgv_tags_read(pgv_get(status, "tags"), &tags);
    peer.nofailover = tags.nofailover;
    peer.failover_priority = tags.failover_priority;
    peer.watchdog_failed = pgv_truthy(pgv_get(status, "watchdog_failed"));
    memcpy(peer.name, ret->name, sizeof(peer.name)); /* who it is, only the asker knows */
    *ret = peer;
    ok = true;
out:
    pgv_arena_done(&arena);
    return ok;
}

/* ---- asking ----------------------------------------------------------------------------- */

static void on_unasked_closed(uv_handle_t *timer);

static void on_unasked(uv_timer_t *timer)
{
    struct agent_peers_req *r = unasked.first;

    if (r) {
        unasked.first = r->next;
        r->waits_unasked = false;
        r->cb(r);
        return; /* the timer repeats; r may be gone */
    }
    unasked.closing = true;
    uv_close((uv_handle_t *)timer, on_unasked_closed);
}

static void arm_unasked(uv_loop_t *loop)
{
    unasked.loop = loop;
    if (unasked.open)
        return;                          /* it repeats, or opens again when it has closed */
    uv_timer_init(loop, &unasked.timer); /* cannot fail */
    unasked.open = true;
    uv_timer_start(&unasked.timer, on_unasked, 0, 1);
}

static void on_unasked_closed(uv_handle_t *timer)
{
    (void)timer;
    unasked.open = unasked.closing = false;
    if (unasked.first)
        arm_unasked(unasked.loop);
}

static void answer_unasked(struct agent *a, struct agent_peers_req *r)
{
    r->waits_unasked = true;
    r->next = unasked.first;
    unasked.first = r;
    arm_unasked(&a->loop);
}

static void on_answer(struct httpc_req *http, const struct pgv_error *err)
{
    struct agent_peer_call *call = http->data;
    struct agent_peers_group *g = call->group;
    struct agent_peers_req *r = g->req;

    call->in_flight = false;
    if (err) {
        pgv_log(PGV_WARNING, "peers", "Request failed to %s: GET %s (%s)", call->name,
                call->api_url, err->msg);
    } else if (r) {
        struct pgv_str body = pgv_buf_view(&http->answer);

        pgv_log(PGV_INFO, "peers", "Got response from %s %s: %.*s", call->name, call->api_url,
                (int)(body.n > PEER_LOG_BODY_BYTES ? PEER_LOG_BODY_BYTES : body.n),
                body.p ? body.p : "");
        /* The status code says nothing here: a replica answers 503 to some paths, and is well. */
        if (!agent_peer_parse(body, r->agent->config.scope, &r->peers[call - g->calls]))
            pgv_log(PGV_WARNING, "peers", "%s gave no usable status: it counts as not reachable",
                    call->name);
    }
    if (--g->pending > 0)
        return;
    pgv_free(g);
    if (r) {
        r->group = NULL;
        r->cb(r);
    }
}

/* 'user:password' for other agents: ctl's, else the REST API's own (rest contract §10). */
static const char *peers_auth(const struct agent *a)
{
    const char *auth = pgv_stringz(pgv_get(pgv_get(a->config.effective, "ctl"), "auth"));

    return auth ? auth : pgv_stringz(pgv_get(pgv_get(a->config.effective, "restapi"), "auth"));
}

void agent_peers_ask(struct agent *a, struct agent_peers_req *r,
                     const struct agent_peer_addr *addrs, unsigned n, uint64_t timeout_ms,
                     void (*cb)(struct agent_peers_req *r))
{
    struct agent_peers_group *g;
    uint64_t deadline_ms = pgv_clock_ms() + timeout_ms;

    PGV_ASSERT(n <= HA_PEERS_MAX);
    r->cb = cb;
    r->agent = a;
    r->group = NULL;
    r->next = NULL;
    r->waits_unasked = false;
    r->n = n;
    for (unsigned i = 0; i < n; i++) {
        r->peers[i] = (struct ha_peer){ 0 };
        pgv_copy_cut(r->peers[i].name, sizeof(r->peers[i].name), pgv_str(addrs[i].name));
    }
    g = pgv_zalloc(sizeof(*g) + n * sizeof(g->calls[0]));
    if (!g) {
        pgv_log(PGV_WARNING, "peers", "no memory to ask %u members: they count as not reachable",
                n);
        answer_unasked(a, r);
        return;
    }
    g->req = r;
    g->n = n;
    for (unsigned i = 0; i < n; i++) {
        struct agent_peer_call *call = &g->calls[i];
        struct pgv_error err = { 0 };

        call->group = g;
        pgv_copy_cut(call->name, sizeof(call->name), pgv_str(addrs[i].name));
        pgv_copy_cut(call->api_url, sizeof(call->api_url), pgv_str(addrs[i].api_url));
        call->http.data = call;
        call->http.method = "GET";
        call->http.url = call->api_url;
        call->http.headers =
            "User-Agent: Patroni/" PGV_PATRONI_VERSION " pgvigil/" PGVIGIL_VERSION "\r\n";
        call->http.basic_auth = peers_auth(a);
        call->http.deadline_ms = deadline_ms;
        if (!call->api_url[0])
            pgv_fail(&err, PGV_EINVALID, "its member key has no api_url");
        else if (agent_peers_send(a, &call->http, on_answer, &err)) {
            call->in_flight = true;
            g->pending++;
            continue;
        }
        pgv_log(PGV_WARNING, "peers", "Request failed to %s: GET %s (%s)", call->name,
                call->api_url, err.msg);
    }
    if (g->pending == 0) {
        pgv_free(g);
        answer_unasked(a, r);
        return;
    }
    r->group = g;
}

void agent_peers_cancel(struct agent_peers_req *r)
{
    if (r->waits_unasked) {
        struct agent_peers_req **p = &unasked.first;

        while (*p && *p != r)
            p = &(*p)->next;
        if (*p)
            *p = r->next;
        r->waits_unasked = false;
        return;
    }
    if (r->group) {
        struct agent_peers_group *g = r->group;

        g->req = NULL;
        r->group = NULL;
        for (unsigned i = 0; i < g->n; i++)
            if (g->calls[i].in_flight)
                httpc_cancel(&g->calls[i].http); /* the group ends with the last of them */
    }
}

/* ---- the client ------------------------------------------------------------------------- */

static bool has_certificate(const struct agent *a)
{
    return pgv_string(pgv_path(a->config.effective, "ctl.certfile")).n > 0;
}

/*
 * Agents talk to each other 'insecurely' in Patroni's words: without a client certificate the
 * server's is not verified at all, with one the chain is, but not the host name (rest contract
 * §10).
 */
static bool peers_tls_new(const struct agent *a, struct tls_context **ret, struct pgv_error *err)
{
    const struct pgv_value *ctl = pgv_get(a->config.effective, "ctl");
    const struct pgv_value *rest = pgv_get(a->config.effective, "restapi");
    const char *ca = pgv_stringz(pgv_get(ctl, "cacert"));
    struct tls_config config = { .verify = TLS_VERIFY_NONE };

    if (!ca)
        ca = pgv_stringz(pgv_get(rest, "cafile"));
    if (has_certificate(a)) {
        config.cert_file = pgv_stringz(pgv_get(ctl, "certfile"));
        config.key_file = pgv_stringz(pgv_get(ctl, "keyfile"));
        config.key_password = pgv_stringz(pgv_get(ctl, "keyfile_password"));
        config.ca_file = ca;
        config.verify = TLS_VERIFY_REQUIRED;
    }
    if (!tls_context_new(&config, false, ret, err)) {
        pgv_error_wrap(err, "TLS of requests to other members (section ctl)");
        return false;
    }
    return true;
}

/* A certificate that cannot be read is told at once; without one TLS waits until it is needed. */
bool agent_peers_open(struct agent *a, struct pgv_error *err)
{
    if (has_certificate(a) && !peers_tls_new(a, &a->peers_tls, err))
        return false;
    httpc_open(&a->peers_client, &a->loop, a->peers_tls);
    return true;
}

bool agent_peers_send(struct agent *a, struct httpc_req *r, httpc_cb cb, struct pgv_error *err)
{
    if (!a->peers_tls && strncasecmp(r->url, "https:", 6) == 0) {
        if (!peers_tls_new(a, &a->peers_tls, err))
            return false;
        httpc_set_tls(&a->peers_client, a->peers_tls);
    }
    return httpc_send(&a->peers_client, r, cb, err);
}

bool agent_peers_reconfigure(struct agent *a, struct pgv_error *err)
{
    struct tls_context *fresh = NULL;

    if ((a->peers_tls || has_certificate(a)) && !peers_tls_new(a, &fresh, err))
        return false;
    httpc_set_tls(&a->peers_client, fresh);
    tls_context_unref(a->peers_tls);
    a->peers_tls = fresh;
    return true;
}

static void on_client_closed(struct httpc *client)
{
    struct agent *a = client->data;
    void (*cb)(struct agent *) = a->peers_close_cb;

    tls_context_unref(a->peers_tls);
    a->peers_tls = NULL;
    cb(a);
}

void agent_peers_close(struct agent *a, void (*cb)(struct agent *a))
{
    a->peers_close_cb = cb;
    a->peers_client.data = a;
    httpc_close(&a->peers_client, on_client_closed);
}
