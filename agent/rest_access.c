/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_access.c - who may change things: addresses, client certificates, a password.
 *
 * Three questions in this order, the first refusal answers (rest contract §2.3). Addresses given
 * as such are known at once; names of the allowlist are resolved when the configuration is
 * loaded, and the list before stays in force until all of them are known; the addresses of
 * members are looked up for each request, since members come and go.
 *
 * A list that was configured guards even when none of its entries could be used: an entry that
 * cannot be resolved must not open the door to everybody.
 */
#include "agent/rest.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

#include "base/banned.h"

#define ALLOW_ITEMS_MAX 1024
#define ALLOW_RESOLVE_MS 10000
#define MEMBERS_RESOLVE_MS 2000 /* a request waits for it */

/* ---- networks: pure -----------------------------------------------------------------------------
 */

static const unsigned char v4_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static struct in6_addr from_v4(struct in_addr v4)
{
    struct in6_addr ret;

    memcpy(ret.s6_addr, v4_prefix, sizeof(v4_prefix));
    memcpy(ret.s6_addr + sizeof(v4_prefix), &v4, sizeof(v4));
    return ret;
}

static bool address_of(const struct sockaddr_storage *ss, struct in6_addr *ret)
{
    if (ss->ss_family == AF_INET) {
        struct sockaddr_in v4;

        memcpy(&v4, ss, sizeof(v4));
        *ret = from_v4(v4.sin_addr);
        return true;
    }
    if (ss->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;

        memcpy(&v6, ss, sizeof(v6));
        *ret = v6.sin6_addr;
        return true;
    }
    return false;
}

bool rest_network_parse(struct pgv_str text, struct rest_network *ret)
{
    struct rest_network n = { .bits = 128 };
    struct pgv_str host, bits;
    struct in_addr v4;
    char copy[INET6_ADDRSTRLEN];
    bool has_bits = pgv_str_cut(pgv_str_trim(text), '/', &host, &bits), is_v4;
    uint64_t width;

    if (!pgv_copy(copy, sizeof(copy), host))
        return false;
    is_v4 = inet_pton(AF_INET, copy, &v4) == 1;
    if (is_v4)
        n.addr = from_v4(v4);
    else if (inet_pton(AF_INET6, copy, &n.addr) != 1)
        return false;
    if (has_bits) {
        if (!pgv_parse_u64(bits, &width) || width > (is_v4 ? 32u : 128u))
            return false;
        n.bits = (unsigned)width + (is_v4 ? 96 : 0);
    }
    *ret = n;
    return true;
}

bool rest_network_has(const struct rest_network *n, const struct sockaddr_storage *peer)
{
    unsigned bytes = n->bits / 8, rest = n->bits % 8;
    struct in6_addr addr;

    if (!address_of(peer, &addr) || memcmp(addr.s6_addr, n->addr.s6_addr, bytes) != 0)
        return false;
    return rest == 0 ||
           (addr.s6_addr[bytes] >> (8 - rest)) == (n->addr.s6_addr[bytes] >> (8 - rest));
}

/* Takes as long for a wrong secret as for a right one. */
static bool same_secret(struct pgv_str a, struct pgv_str b)
{
    volatile unsigned char differs = a.n != b.n;

    for (size_t i = 0; i < a.n && i < b.n; i++)
        differs |= (unsigned char)(a.p[i] ^ b.p[i]);
    return differs == 0;
}

const char *rest_auth_refusal(struct pgv_str expected, struct pgv_str header)
{
    if (!expected.n)
        return NULL;
    if (!header.n)
        return "no auth header received";
    if (!pgv_str_starts(header, "Basic "))
        return "not authenticated";
    header.p += 6;
    header.n -= 6;
    return same_secret(expected, header) ? NULL : "not authenticated";
}

/* ---- the allowlist ---------------------------------------------------------------------- */

struct allow_name {
    struct rest_allowlist *list;
    struct names_query query;
    char host[256];
};

struct rest_allowlist {
    struct rest *rest; /* NULL: nobody wants it any more, it ends with its last query */
    bool configured;
    unsigned pending, n_names;
    struct allow_name *names;
    unsigned n, n_max;
    struct rest_network networks[];
};

static void allowlist_free(struct rest_allowlist *l)
{
    if (!l)
        return;
    if (l->pending) {
        l->rest = NULL;
        for (unsigned i = 0; i < l->n_names; i++)
            if (l->names[i].list)
                names_cancel(&l->names[i].query);
        return;
    }
    pgv_free(l->names);
    pgv_free(l);
}

static void take_effect(struct rest *r, struct rest_allowlist *l)
{
    if (r->access.allow != l) {
        allowlist_free(r->access.allow);
        r->access.allow = l;
    }
    if (r->access.allow_next == l)
        r->access.allow_next = NULL;
}

static void on_resolved(struct names_query *q, const struct pgv_error *err)
{
    struct allow_name *name = q->data;
    struct rest_allowlist *l = name->list;

    name->list = NULL;
    l->pending--;
    if (!l->rest) {
        if (!l->pending)
            allowlist_free(l);
        return;
    }
    if (err)
        pgv_log(PGV_ERROR, "rest", "Failed to resolve %s: %s", name->host, err->msg);
    for (unsigned i = 0; !err && i < q->n && l->n < l->n_max; i++) {
        struct rest_network n = { .bits = 128 };

        if (address_of(&q->addrs[i], &n.addr))
            l->networks[l->n++] = n;
    }
    if (!l->pending)
        take_effect(l->rest, l);
}

static struct rest_allowlist *allowlist_new(struct rest *r, const struct pgv_value *items,
                                            struct pgv_error *err)
{
    unsigned n_items = pgv_is(items, PGV_LIST) && items->u.c.n < ALLOW_ITEMS_MAX
                           ? (unsigned)items->u.c.n
                           : ALLOW_ITEMS_MAX;
    struct rest_allowlist *l;

    if (!pgv_is(items, PGV_LIST))
        n_items = 0;
    l = pgv_zalloc(sizeof(*l) + n_items * NAMES_ADDRS_MAX * sizeof(l->networks[0]));
    if (l && n_items)
        l->names = pgv_zalloc(n_items * sizeof(l->names[0]));
    if (!l || (n_items && !l->names)) {
        pgv_free(l);
        pgv_fail(err, PGV_ENOMEM, "no memory for restapi.allowlist");
        return NULL;
    }
    l->rest = r;
    l->n_max = n_items * NAMES_ADDRS_MAX;
    l->configured = n_items > 0;
    return l;
}

static void allowlist_fill(struct rest_allowlist *l, const struct pgv_value *items)
{
    unsigned n = 0;

    if (!pgv_is(items, PGV_LIST)) /* nothing is reserved for another type */
        return;
    PGV_EACH(item, items)
    {
        struct pgv_str text = pgv_str_trim(pgv_string(item));
        struct allow_name *name = &l->names[l->n_names];

        if (n++ == ALLOW_ITEMS_MAX) {
            pgv_log(PGV_ERROR, "rest", "restapi.allowlist: only its first %d entries are used",
                    ALLOW_ITEMS_MAX);
            break;
        }
        if (rest_network_parse(text, &l->networks[l->n])) {
            l->n++;
        } else if (!text.n || memchr(text.p, '/', text.n)) {
            pgv_log(PGV_ERROR, "rest", "Invalid value \"%.*s\" in the allowlist: no network",
                    (int)text.n, text.n ? text.p : "");
        } else if (!pgv_copy(name->host, sizeof(name->host), text)) {
            pgv_log(PGV_ERROR, "rest", "Failed to resolve %.200s…: the name is too long", text.p);
        } else {
            l->n_names++;
            l->pending++;
            name->list = l;
            name->query.data = name;
            names_resolve(&name->query, name->host, 0, ALLOW_RESOLVE_MS, on_resolved);
        }
    }
}

bool rest_access_configure(struct rest *r, const struct pgv_value *restapi, struct pgv_error *err)
{
    const struct pgv_value *items = pgv_get(restapi, "allowlist");
    struct pgv_str verify = pgv_string(pgv_get(restapi, "verify_client"));
    struct pgv_str auth = pgv_string(pgv_get(restapi, "auth"));
    struct rest_allowlist *l = allowlist_new(r, items, err);
    struct pgv_buf base64;

    if (!l)
        return false;
    pgv_buf_init(&base64, 16384);
    if (auth.n && !httpc_base64_encode(&base64, auth)) {
        pgv_buf_done(&base64);
        allowlist_free(l);
        return pgv_fail(err, PGV_ENOMEM, "restapi.authentication is too long");
    }
    pgv_buf_done(&r->access.auth);
    r->access.auth = base64;
    r->access.include_members = pgv_bool_like(pgv_get(restapi, "allowlist_include_members"));
    r->access.want_client_cert =
        verify.n && (strncasecmp(verify.p, "optional", verify.n + 1) == 0 ||
                     strncasecmp(verify.p, "required", verify.n + 1) == 0);

    allowlist_free(r->access.allow_next);
    r->access.allow_next = l;
    allowlist_fill(l, items);
    /* The very first list guards from the start, with what is known of it. */
    if (!l->pending)
        take_effect(r, l);
    else if (!r->access.allow)
        r->access.allow = l;
    return true;
}

void rest_access_close(struct rest *r)
{
    if (r->access.allow_next != r->access.allow)
        allowlist_free(r->access.allow_next);
    allowlist_free(r->access.allow);
    r->access.allow = r->access.allow_next = NULL;
    pgv_buf_done(&r->access.auth);
}

/* ---- the checks ------------------------------------------------------------------------- */

static bool in_allowlist(const struct rest *r, const struct httpd_req *req)
{
    const struct rest_allowlist *l = r->access.allow;

    for (unsigned i = 0; l && i < l->n; i++)
        if (rest_network_has(&l->networks[i], &req->peer))
            return true;
    return false;
}

static void deny(struct rest *r, struct httpd_req *req)
{
    rest_reply_text(r, req, 403, "Access is denied");
}

/* The address may pass: certificate and password. */
static void check_identity(struct rest *r, struct httpd_req *req, rest_handler next)
{
    const char *refusal;

    if (req->tls && r->access.want_client_cert && !req->client_cert_verified) {
        rest_reply_text(r, req, 403, "client certificate required");
        return;
    }
    refusal = rest_auth_refusal(pgv_buf_view(&r->access.auth), req->authorization);
    if (refusal) {
        rest_reply(r, req, 401, "WWW-Authenticate: Basic realm=\"Patroni\"\r\n", "text/html",
                   pgv_str(refusal));
        return;
    }
    next(r, req);
}

/* Looking up the members' names for one request. */
struct member_check {
    struct rest *rest;
    struct httpd_req *req; /* NULL: decided, or the client has gone */
    rest_handler next;
    unsigned n, pending;
    struct member_name {
        struct member_check *check;
        struct names_query query;
        bool busy;
    } names[];
};

static void members_cancel(struct member_check *m)
{
    for (unsigned i = 0; i < m->n; i++)
        if (m->names[i].busy)
            names_cancel(&m->names[i].query);
}

static void on_members_aborted(struct httpd_req *req)
{
    struct member_check *m = req->data;

    m->req = NULL;
    members_cancel(m); /* its last callback frees it */
}

static void on_member_resolved(struct names_query *q, const struct pgv_error *err)
{
    struct member_name *name = q->data;
    struct member_check *m = name->check;
    struct httpd_req *req = m->req;
    struct rest *r = m->rest;
    rest_handler next = m->next;
    bool found = false;

    name->busy = false;
    m->pending--;
    for (unsigned i = 0; req && !err && i < q->n && !found; i++) {
        struct rest_network n = { .bits = 128 };

        found = address_of(&q->addrs[i], &n.addr) && rest_network_has(&n, &req->peer);
    }
    if (req && (found || !m->pending)) {
        m->req = NULL;
        req->on_abort = NULL;
        members_cancel(m);
    } else {
        req = NULL;
    }
    if (!m->pending)
        pgv_free(m);
    if (req && found)
        check_identity(r, req, next);
    else if (req)
        deny(r, req);
}

/* Literal addresses of members decide at once; for names the request waits. */
static void check_members(struct rest *r, struct httpd_req *req, rest_handler next)
{
    const struct dcs_snapshot *view = rest_cached_cluster(r->agent);
    unsigned n_names = 0;
    struct member_check *m;
    struct httpc_url url;
    struct rest_network n;

    for (unsigned i = 0; view && i < view->cluster.n_members; i++) {
        if (!httpc_url_parse(pgv_str(view->cluster.members[i].api_url), &url))
            continue;
        if (!rest_network_parse(pgv_str(url.host), &n)) {
            n_names++;
        } else if (rest_network_has(&n, &req->peer)) {
            check_identity(r, req, next);
            return;
        }
    }
    if (!n_names) {
        deny(r, req);
        return;
    }
    m = pgv_zalloc(sizeof(*m) + n_names * sizeof(m->names[0]));
    if (!m) {
        rest_reply_error(r, req, 503, "out of memory");
        return;
    }
    *m = (struct member_check){ .rest = r, .req = req, .next = next };
    req->data = m;
    req->on_abort = on_members_aborted;
    for (unsigned i = 0; i < view->cluster.n_members && m->n < n_names; i++) {
        struct member_name *name = &m->names[m->n];

        if (!httpc_url_parse(pgv_str(view->cluster.members[i].api_url), &url) ||
            rest_network_parse(pgv_str(url.host), &n))
            continue;
        m->n++;
        m->pending++;
        name->check = m;
        name->busy = true;
        name->query.data = name;
        names_resolve(&name->query, url.host, url.port, MEMBERS_RESOLVE_MS, on_member_resolved);
    }
}

void rest_access_check(struct rest *r, struct httpd_req *req, bool failsafe, rest_handler next)
{
    bool members = r->access.include_members && !failsafe;
    bool listed = r->access.allow && r->access.allow->configured;

    if ((!listed && !members) || in_allowlist(r, req))
        check_identity(r, req, next);
    else if (members)
        check_members(r, req, next);
    else
        deny(r, req);
}
