/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/etcd3_nodes.c - the endpoints: where they come from, which of them is worth asking.
 *
 * The configuration names some (or a domain with SRV records); the cluster's member list names all
 * and is asked for in the background, from time to time and after a total failure. Members are
 * preferred to what is merely configured, but both stay: a cluster that advertises addresses we
 * cannot reach is still reached through the configured ones. Proxies are never asked for members.
 *
 * A node that failed or was silent is asked last for ETCD3_SICK_MS. The node that answered last is
 * the current one and is asked first.
 */
#include "dcs/etcd3.h"

#include "base/clock.h"
#include "base/log.h"

#include "base/banned.h"

#define RELOAD_MS 5000          /* at most one discovery within so long */
#define REFRESH_FIRST_MS 300000 /* until the dynamic configuration tells the ttl */
#define MEMBERS_DEADLINE_MS 10000
#define DNS_TIMEOUT_MS 5000

/* Source: Patroni, _get_machines_cache_from_srv(): in this order, the first that yields any. */
static const struct {
    const char *name;
    bool https, peers;
} services[] = {
    { "_etcd-client-ssl", true, false }, { "_etcd-client", false, false },
    { "_etcd-ssl", true, false },        { "_etcd", false, false },
    { "_etcd-server-ssl", true, true },  { "_etcd-server", false, true },
};
#define N_SERVICES (sizeof(services) / sizeof(*services))

static void begin_members(struct etcd3 *e);
static void load(struct etcd3 *e);
static void next_service(struct etcd3 *e);

/* ---- the list ------------------------------------------------------------------------------- */

static bool make_url(char url[ETCD3_URL_BYTES], bool https, const char *host, int port)
{
    bool v6 = strchr(host, ':') != NULL;
    int n = snprintf(url, ETCD3_URL_BYTES, "%s://%s%s%s:%d", https ? "https" : "http",
                     v6 ? "[" : "", host, v6 ? "]" : "", port);

    return n > 0 && n < ETCD3_URL_BYTES;
}

static struct etcd3_node *find_node(struct etcd3 *e, const char *url)
{
    for (unsigned i = 0; i < ETCD3_NODES_MAX; i++)
        if (!strcmp(e->nodes[i].url, url))
            return &e->nodes[i];
    return NULL;
}

/* The node of that URL, new if need be. NULL when there are too many. */
static struct etcd3_node *add_node(struct etcd3 *e, const char *url)
{
    struct etcd3_node *node = find_node(e, url), *spare = NULL;
    unsigned serial;

    if (node)
        return node;
    for (unsigned i = 0; i < ETCD3_NODES_MAX && !node; i++) {
        if (!e->nodes[i].url[0])
            node = &e->nodes[i];
        else if (!e->nodes[i].member)
            spare = &e->nodes[i];
    }
    node = node ? node : spare; /* a member takes the place of one that is only configured */
    if (!node) {
        pgv_log(PGV_WARNING, "dcs", "more etcd nodes than %d; %s is left out", ETCD3_NODES_MAX,
                url);
        return NULL;
    }
    serial = node->serial + 1;
    *node = (struct etcd3_node){ .serial = serial };
    if (!pgv_copyz(node->url, sizeof(node->url), url))
        return NULL;
    return node;
}

static void add_configured(struct etcd3 *e, bool https, const char *host, int port)
{
    char url[ETCD3_URL_BYTES];
    struct etcd3_node *node;

    if (!make_url(url, https, host, port))
        return;
    node = add_node(e, url);
    if (node)
        node->configured = true;
}

/* Forget what is in no list any more. */
static void sweep(struct etcd3 *e)
{
    for (unsigned i = 0; i < ETCD3_NODES_MAX; i++)
        if (e->nodes[i].url[0] && !e->nodes[i].member && !e->nodes[i].configured)
            e->nodes[i] = (struct etcd3_node){ .serial = e->nodes[i].serial + 1 };
}

/* How willingly a node is asked; less is better. */
static uint64_t rank(const struct etcd3 *e, unsigned i, uint64_t now_ms)
{
    const struct etcd3_node *node = &e->nodes[i];
    uint64_t place = (i + ETCD3_NODES_MAX - e->current) % ETCD3_NODES_MAX;

    if (node->sick_until_ms > now_ms)
        return 1000000 + (node->sick_until_ms - now_ms); /* the longest sick first */
    return (node->member || i == e->current ? 0 : 1000) + place;
}

int etcd3_nodes_pick(const struct etcd3 *e, unsigned tried)
{
    uint64_t now_ms = pgv_clock_ms(), best = 0;
    int found = -1;

    for (unsigned i = 0; i < ETCD3_NODES_MAX; i++) {
        uint64_t r;

        if (!e->nodes[i].url[0] || (tried & (1u << i)))
            continue;
        r = rank(e, i, now_ms);
        if (found < 0 || r < best) {
            best = r;
            found = (int)i;
        }
    }
    return found;
}

static bool make_sick(struct etcd3 *e, unsigned node, unsigned serial, const char *why)
{
    struct etcd3_node *n = &e->nodes[node];
    uint64_t now_ms = pgv_clock_ms();

    if (n->serial != serial)
        return false;
    if (n->sick_until_ms <= now_ms)
        pgv_log(PGV_WARNING, "dcs",
                "etcd node does not serve, others are asked first for %d s node=%s why=%s",
                ETCD3_SICK_MS / 1000, n->url, why);
    n->sick_until_ms = now_ms + ETCD3_SICK_MS;
    return true;
}

void etcd3_node_failed(struct etcd3 *e, unsigned node, unsigned serial, const char *why)
{
    if (make_sick(e, node, serial, why))
        etcd3_watch_node_failed(e, node);
}

void etcd3_node_silent(struct etcd3 *e, unsigned node, unsigned serial)
{
    if (make_sick(e, node, serial, "it is silent"))
        etcd3_watch_node_silent(e, node);
}

void etcd3_node_answered(struct etcd3 *e, unsigned node, unsigned serial, bool prefer)
{
    struct etcd3_node *n = &e->nodes[node];

    if (n->serial != serial)
        return;
    n->sick_until_ms = 0;
    if (!prefer || node == e->current)
        return;
    if (e->ever_answered)
        pgv_log(PGV_INFO, "dcs", "etcd node is the one asked first now node=%s", n->url);
    e->current = node;
}

/* ---- the member list ------------------------------------------------------------------------ */

static uint64_t refresh_ms(const struct etcd3 *e)
{
    return e->ever_answered ? 10 * e->dcs->config.ttl_ms : REFRESH_FIRST_MS;
}

/* Begin at a random place, so that many agents spread over the nodes. */
static void choose_current(struct etcd3 *e)
{
    unsigned start = (unsigned)etcd3_random(e, ETCD3_NODES_MAX);

    for (unsigned i = 0; i < ETCD3_NODES_MAX; i++) {
        e->current = (start + i) % ETCD3_NODES_MAX;
        if (e->nodes[e->current].url[0])
            return;
    }
}

static bool add_member_urls(struct etcd3 *e, const struct pgv_value *urls)
{
    bool any = false;

    PGV_EACH(url, urls)
    {
        struct httpc_url parts;
        char text[ETCD3_URL_BYTES];
        struct etcd3_node *node;

        /* Written anew, so that the same place has one spelling. */
        if (!pgv_is(url, PGV_STRING) || !httpc_url_parse(url->u.s, &parts) ||
            !make_url(text, parts.tls, parts.host, parts.port))
            continue;
        node = add_node(e, text);
        if (!node)
            continue;
        node->member = true;
        any = true;
    }
    return any;
}

static void on_members(struct etcd3_call *c, const struct pgv_error *err)
{
    struct etcd3 *e = c->e;
    const struct pgv_value *members = pgv_get(c->answer.body, "members");
    bool was[ETCD3_NODES_MAX], any = false;

    e->discovery.refresh_at_ms = pgv_clock_ms() + refresh_ms(e);
    if (err) {
        pgv_log(PGV_DEBUG, "dcs", "etcd's member list could not be read, keeping the old one: %s",
                err->msg);
        e->discovery.refresh_at_ms = pgv_clock_ms() + RELOAD_MS * 2;
        etcd3_arm(e);
        return;
    }
    if (!e->api.final) /* a rolling upgrade may have moved the prefix: look again */
        e->api = (struct etcd3_api){ 0 };
    for (unsigned i = 0; i < ETCD3_NODES_MAX; i++) {
        was[i] = e->nodes[i].member;
        e->nodes[i].member = false;
    }
    PGV_EACH(member, members)
    any = add_member_urls(e, pgv_get(member, "clientURLs")) || any;
    for (unsigned i = 0; i < ETCD3_NODES_MAX && !any; i++)
        e->nodes[i].member = was[i]; /* an empty list is no news */
    sweep(e);
    if (!e->nodes[e->current].url[0])
        choose_current(e);
    etcd3_calls_retry(e);
}

static void begin_members(struct etcd3 *e)
{
    struct etcd3_discovery *d = &e->discovery;

    d->refresh_at_ms = pgv_clock_ms() + refresh_ms(e);
    if (e->config.proxies || e->closing || !etcd3_call_idle(&d->members))
        return;
    d->members.path = "/cluster/member/list";
    pgv_buf_puts(etcd3_call_body(&d->members), "{}");
    d->members.deadline_ms = pgv_clock_ms() + MEMBERS_DEADLINE_MS;
    etcd3_call_start(&d->members);
}

/* ---- discovery from the configuration ------------------------------------------------------- */

static void loaded(struct etcd3 *e)
{
    e->discovery.loading = false;
    if (e->closing)
        return;
    if (e->discovery.again) { /* what was found is what was configured before */
        load(e);
        return;
    }
    sweep(e);
    if (!e->nodes[e->current].url[0] || !e->ever_answered)
        choose_current(e);
    etcd3_calls_retry(e);
    begin_members(e);
}

static void on_host(struct names_query *q, const struct pgv_error *err)
{
    struct etcd3 *e = q->data;
    char text[64];

    e->discovery.host_busy = false;
    if (e->closing) {
        etcd3_flush_soon(e);
        return;
    }
    if (err) {
        pgv_log(e->discovery.complained ? PGV_DEBUG : PGV_WARNING, "dcs",
                "the name of the etcd host is not known: %s", err->msg);
        e->discovery.complained = true;
    } else if (q->n) {
        e->discovery.complained = false;
        for (unsigned i = 0; i < ETCD3_NODES_MAX; i++)
            e->nodes[i].configured = false;
        for (unsigned i = 0; i < q->n; i++) {
            const struct sockaddr *sa = (const struct sockaddr *)&q->addrs[i];

            if (sa->sa_family == AF_INET6)
                uv_ip6_name((const struct sockaddr_in6 *)sa, text, sizeof(text));
            else
                uv_ip4_name((const struct sockaddr_in *)sa, text, sizeof(text));
            add_configured(e, false, text, e->config.hosts[0].port);
        }
    }
    loaded(e);
}

static bool is_literal(const char *host)
{
    unsigned char bytes[16];

    return uv_inet_pton(AF_INET, host, bytes) == 0 || uv_inet_pton(AF_INET6, host, bytes) == 0;
}

static void load_hosts(struct etcd3 *e)
{
    const struct etcd3_config *c = &e->config;

    for (unsigned i = 0; i < ETCD3_NODES_MAX; i++)
        e->nodes[i].configured = false;
    for (unsigned i = 0; i < c->n_hosts; i++)
        add_configured(e, c->https, c->hosts[i].host, c->hosts[i].port);
    if (c->spread_host && !is_literal(c->hosts[0].host)) {
        e->discovery.host_busy = true;
        names_resolve(&e->discovery.host, c->hosts[0].host, c->hosts[0].port, DNS_TIMEOUT_MS,
                      on_host);
        return;
    }
    loaded(e);
}

static void on_peer(struct httpc_req *r, const struct pgv_error *err);

/* Ask the next peer of a '-server' service for the client URLs of all. */
static void next_peer(struct etcd3 *e)
{
    struct etcd3_discovery *d = &e->discovery;
    struct pgv_error err;
    char url[ETCD3_URL_BYTES + 16], base[ETCD3_URL_BYTES];

    while (d->target < d->srv.n) {
        unsigned i = d->target++;

        if (!make_url(base, d->https, d->srv.targets[i].host, d->srv.targets[i].port))
            continue;
        snprintf(url, sizeof(url), "%s/members", base);
        d->peer =
            (struct httpc_req){ .data = e,
                                .method = "GET",
                                .url = url,
                                .deadline_ms = pgv_clock_ms() + e->dcs->config.retry_timeout_ms };
        if (httpc_send(&d->peer_http, &d->peer, on_peer, &err)) {
            d->peer_busy = true;
            return;
        }
    }
    next_service(e);
}

static void on_peer(struct httpc_req *r, const struct pgv_error *err)
{
    struct etcd3 *e = r->data;
    struct pgv_arena a;
    struct pgv_value *list = NULL;
    struct pgv_error parse_err;
    bool any = false;

    e->discovery.peer_busy = false;
    if (e->closing) {
        etcd3_flush_soon(e);
        return;
    }
    pgv_arena_init(&a, ETCD3_ANSWER_BYTES_MAX);
    if (!err && r->status < 400 &&
        pgv_json_parse(&a, pgv_buf_view(&r->answer), &list, &parse_err)) {
        PGV_EACH(member, list)
        any = add_member_urls(e, pgv_get(member, "clientURLs")) || any;
    }
    pgv_arena_done(&a);
    if (any)
        loaded(e);
    else
        next_peer(e);
}

static void on_srv(struct names_srv_query *q, const struct pgv_error *err)
{
    struct etcd3 *e = q->data;
    struct etcd3_discovery *d = &e->discovery;

    d->srv_busy = false;
    if (e->closing) {
        etcd3_flush_soon(e);
        return;
    }
    if (err || !q->n) {
        next_service(e);
        return;
    }
    d->complained = false;
    d->https = services[d->service - 1].https;
    if (services[d->service - 1].peers) {
        d->target = 0;
        next_peer(e);
        return;
    }
    for (unsigned i = 0; i < ETCD3_NODES_MAX; i++)
        e->nodes[i].configured = false;
    for (unsigned i = 0; i < q->n; i++) {
        size_t n = strlen(q->targets[i].host);

        if (n && q->targets[i].host[n - 1] == '.')
            q->targets[i].host[n - 1] = 0;
        add_configured(e, d->https, q->targets[i].host, q->targets[i].port);
    }
    loaded(e);
}

static void next_service(struct etcd3 *e)
{
    struct etcd3_discovery *d = &e->discovery;
    char name[600];

    if (d->service == N_SERVICES) {
        pgv_log(d->complained ? PGV_DEBUG : PGV_WARNING, "dcs",
                "no SRV record names an etcd; using hosts or host srv=%s", e->config.srv);
        d->complained = true;
        if (e->config.n_hosts)
            load_hosts(e);
        else
            loaded(e); /* what was found before is better than nothing at all */
        return;
    }
    snprintf(name, sizeof(name), "%s%s%s._tcp.%s", services[d->service].name,
             e->config.srv_suffix[0] ? "-" : "", e->config.srv_suffix, e->config.srv);
    d->service++;
    d->srv_busy = true;
    names_srv(&d->srv, name, DNS_TIMEOUT_MS, on_srv);
}

static void load(struct etcd3 *e)
{
    struct etcd3_discovery *d = &e->discovery;

    d->loading = true;
    d->again = false;
    d->loaded_ms = pgv_clock_ms();
    d->service = 0;
    if (e->config.srv[0])
        next_service(e);
    else
        load_hosts(e);
}

void etcd3_nodes_reload(struct etcd3 *e)
{
    struct etcd3_discovery *d = &e->discovery;

    if (!d->loading && !e->closing && pgv_clock_ms() - d->loaded_ms >= RELOAD_MS)
        load(e);
}

/* Peers are asked for client URLs only; what these are is checked when they are used. */
static bool peers_tls(const struct etcd3_config *c, struct tls_context **ret, struct pgv_error *err)
{
    struct tls_config any_peer = { .verify = TLS_VERIFY_NONE };

    *ret = NULL;
    return !c->srv[0] || tls_context_new(&any_peer, false, ret, err);
}

bool etcd3_nodes_renew(struct etcd3 *e, const struct etcd3_config *config, struct pgv_error *err)
{
    struct etcd3_discovery *d = &e->discovery;
    struct tls_context *tls;

    if (!peers_tls(config, &tls, err))
        return false;
    httpc_set_tls(&d->peer_http, tls);
    tls_context_unref(tls);
    e->config = *config;
    for (unsigned i = 0; i < ETCD3_NODES_MAX; i++)
        e->nodes[i].member = false;
    return true;
}

/* ---- life ----------------------------------------------------------------------------------- */

bool etcd3_nodes_init(struct etcd3 *e, struct pgv_error *err)
{
    struct etcd3_discovery *d = &e->discovery;
    struct tls_context *tls;

    if (!peers_tls(&e->config, &tls, err))
        return false;
    etcd3_call_init(&d->members, e, &e->http, on_members, NULL);
    d->host.data = e;
    d->host.or_last_known = true;
    d->srv.data = e;
    httpc_open(&d->peer_http, e->loop, tls);
    tls_context_unref(tls);
    return true;
}

void etcd3_nodes_begin(struct etcd3 *e)
{
    if (e->discovery.loading)
        e->discovery.again = true;
    else
        load(e);
}

void etcd3_nodes_done(struct etcd3 *e)
{
    etcd3_call_done(&e->discovery.members);
}

void etcd3_nodes_stop(struct etcd3 *e)
{
    struct etcd3_discovery *d = &e->discovery;

    etcd3_call_stop(&d->members);
    if (d->srv_busy)
        names_srv_cancel(&d->srv);
    if (d->host_busy)
        names_cancel(&d->host);
    if (d->peer_busy)
        httpc_cancel(&d->peer);
}

bool etcd3_nodes_idle(const struct etcd3 *e)
{
    const struct etcd3_discovery *d = &e->discovery;

    return etcd3_call_idle(&d->members) && !d->host_busy && !d->srv_busy && !d->peer_busy;
}

void etcd3_nodes_wake(struct etcd3 *e, uint64_t now_ms)
{
    if (now_ms >= e->discovery.refresh_at_ms)
        begin_members(e);
}
