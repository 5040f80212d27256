/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_agent_check.c - HAProxy's agent-check: one line of text for whoever connects.
 *
 * With 'restapi.agent_check: host:port' a load balancer learns more than yes or no: the weight
 * falls as a replica falls behind, and a replica with the tag noloadbalance is in maintenance. The
 * line is said at once and the connection closed; nothing is read. Source: HAProxy 2.6,
 * configuration manual, 'agent-check': words of the states and 'N%' of the weight, ended by a
 * newline.
 */
#include "agent/rest.h"
#include "base/log.h"

#include <stdio.h>

#include "base/banned.h"

#define BACKLOG 128
#define LINES_AT_ONCE_MAX 256 /* closing connections; more are turned away unanswered */

struct rest_agent_check {
    uv_tcp_t tcp;
    struct rest *rest;
    unsigned n_lines;
    bool closing;
};

struct line {
    uv_tcp_t tcp;
    struct rest_agent_check *check;
};

unsigned rest_weight_percent(uint64_t lag_bytes, int64_t max_bytes)
{
    uint64_t max = max_bytes > 0 ? (uint64_t)max_bytes : 1;

    if (lag_bytes >= max)
        return 1; /* slow, not gone: who has nothing better may still use it */
    return 100 - (unsigned)((double)lag_bytes * 99 / (double)max);
}

/* From memory: the facts of the last look, the view the watch keeps. */
static void compose(struct rest *r, char *ret, size_t bytes)
{
    const struct agent *a = r->agent;
    const struct postmaster_facts *f = &a->pm.facts;
    const struct dcs_snapshot *view = rest_cached_cluster(a);
    uint64_t leader = view ? view->cluster.status_optime : 0;

    if (ha_is_leader(&a->ha, pgv_clock_ms()))
        snprintf(ret, bytes, "ready up 100%%\n");
    else if (f->state != PGV_STATE_RUNNING || !f->look_ok || !f->in_recovery)
        snprintf(ret, bytes, "down #PostgreSQL is not running as a replica\n");
    else if (pgv_truthy(pgv_get(a->config.tags, "noloadbalance")))
        snprintf(ret, bytes, "maint #noloadbalance\n");
    else
        snprintf(ret, bytes, "ready up %u%%\n",
                 rest_weight_percent(leader > f->replay_lsn ? leader - f->replay_lsn : 0,
                                     a->config.maximum_lag_on_failover));
}

static void settle(struct rest_agent_check *c)
{
    struct rest *r = c->rest;

    if (!c->closing || c->n_lines || !uv_is_closing((uv_handle_t *)&c->tcp))
        return;
    pgv_free(c);
    r->n_open--;
    rest_close_when_done(r);
}

static void on_line_closed(uv_handle_t *h)
{
    struct line *l = h->data;
    struct rest_agent_check *c = l->check;

    pgv_free(l);
    c->n_lines--;
    settle(c);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct rest_agent_check *c = server->data;
    struct line *l;
    char text[96];
    uv_buf_t buf;

    if (status < 0 || c->closing || c->n_lines >= LINES_AT_ONCE_MAX)
        return;
    l = pgv_zalloc(sizeof(*l));
    if (!l)
        return; /* taken up with the next one */
    l->check = c;
    l->tcp.data = l;
    if (uv_tcp_init(server->loop, &l->tcp) != 0) {
        pgv_free(l);
        return;
    }
    l->tcp.data = l;
    c->n_lines++;
    if (uv_accept(server, (uv_stream_t *)&l->tcp) == 0) {
        compose(c->rest, text, sizeof(text));
        buf = uv_buf_init(text, (unsigned)strlen(text));
        (void)uv_try_write((uv_stream_t *)&l->tcp, &buf, 1); /* a fresh socket takes a line */
    }
    uv_close((uv_handle_t *)&l->tcp, on_line_closed);
}

static void on_closed(uv_handle_t *h)
{
    struct rest_agent_check *c = h->data;

    c->closing = true;
    settle(c);
}

void rest_agent_check_close(struct rest *r)
{
    if (r->agent_check)
        uv_close((uv_handle_t *)&r->agent_check->tcp, on_closed);
    r->agent_check = NULL;
}

static bool open_check(struct rest *r, const char *where, struct pgv_error *err)
{
    struct rest_agent_check *c;
    struct sockaddr_storage ss = { 0 };
    char host[256];
    int port, rc;

    if (!pgv_parse_host_port(pgv_str(where), 0, host, sizeof(host), &port))
        return pgv_fail(err, PGV_EINVALID,
                        "restapi.agent_check: expected <HOST>:<PORT>, but got \"%.200s\"", where);
    if (!host[0] || strcmp(host, "*") == 0)
        memcpy(host, "0.0.0.0", sizeof("0.0.0.0"));
    else if (strcmp(host, "localhost") == 0)
        memcpy(host, "127.0.0.1", sizeof("127.0.0.1"));
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&ss) != 0 &&
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)&ss) != 0)
        return pgv_fail(err, PGV_EINVALID,
                        "restapi.agent_check: \"%.200s\" is not an address to listen on", host);
    c = pgv_zalloc(sizeof(*c));
    if (!c)
        return pgv_fail(err, PGV_ENOMEM, "no memory for restapi.agent_check");
    c->rest = r;
    rc = uv_tcp_init(&r->agent->loop, &c->tcp);
    if (rc != 0) {
        pgv_free(c);
        return pgv_fail(err, PGV_EINVALID, "restapi.agent_check: %s", uv_strerror(rc));
    }
    c->tcp.data = c;
    r->n_open++;
    rc = uv_tcp_bind(&c->tcp, (const struct sockaddr *)&ss, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&c->tcp, BACKLOG, on_connection);
    if (rc != 0) {
        uv_close((uv_handle_t *)&c->tcp, on_closed);
        return pgv_fail(err, PGV_EINVALID, "restapi.agent_check '%.200s': %s", where,
                        uv_strerror(rc));
    }
    rest_agent_check_close(r); /* the one before */
    r->agent_check = c;
    pgv_log(PGV_INFO, "rest", "agent-check answers on %s", where);
    return true;
}

bool rest_agent_check_configure(struct rest *r, const struct pgv_value *restapi,
                                struct pgv_error *err)
{
    const char *where = pgv_stringz(pgv_get(restapi, "agent_check"));

    if (!where || !where[0]) {
        rest_agent_check_close(r);
        r->agent_check_at[0] = '\0';
        return true;
    }
    if (strcmp(where, r->agent_check_at) == 0)
        return true;
    if (!open_check(r, where, err))
        return false;
    pgv_copy_cut(r->agent_check_at, sizeof(r->agent_check_at), pgv_str(where));
    return true;
}
