/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgremote.c - a few questions to another node's server.
 *
 * libpq resolves names with a blocking getaddrinfo(); so each host of the list is resolved here
 * and handed over as hostaddr. Hosts that cannot be resolved leave the list, and only when none is
 * left the question fails.
 */
#include "pg/pgremote.h"

#include "base/clock.h"
#include "base/parse.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

static void resolve_next(struct pgremote *r);

void pgremote_open(struct pgremote *r, uv_loop_t *loop, const char *name, const struct pgdsn *dsn,
                   bool replication, uint64_t deadline_ms)
{
    PGV_ASSERT(!r->open);
    *r = (struct pgremote){ .data = r->data, .dsn = *dsn, .deadline_ms = deadline_ms };
    pgv_buf_init(&r->hosts, 4096);
    pgv_buf_init(&r->ports, 4096);
    pgv_buf_init(&r->addrs, 4096);
    pgsql_open(&r->sql, loop, name);
    r->sql.data = r;
    r->sql.replication = replication;
    (void)uv_timer_init(loop, &r->begin);
    r->begin.data = r;
    r->open = true;
}

static void answer(struct pgremote *r, const PGresult *res, const struct pgv_error *err)
{
    r->asking = false;
    r->cb(r, res, err);
}

static void on_answer(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    answer(q->data, res, err);
}

static void put_item(struct pgv_buf *b, bool first, const char *text)
{
    if (!first)
        (void)pgv_buf_putc(b, ',');
    (void)pgv_buf_puts(b, text);
}

/** The host counts, with @addr ("" for a socket directory). */
static void keep_host(struct pgremote *r, const char *addr)
{
    bool first = r->hosts.n == 0;

    put_item(&r->hosts, first, r->host);
    put_item(&r->ports, first, r->port);
    put_item(&r->addrs, first, addr);
}

static void connect_and_ask(struct pgremote *r)
{
    struct pgv_buf conninfo;
    struct pgv_error err = { 0 };
    bool ok = false;

    pgv_buf_init(&conninfo, 2 * PGDSN_BYTES_MAX);
    r->resolved = true;
    r->dsn.v[PGDSN_HOST] = pgv_buf_cstr(&r->hosts);
    r->dsn.v[PGDSN_PORT] = pgv_buf_cstr(&r->ports);
    r->dsn.v[PGDSN_HOSTADDR] =
        r->addrs.n > 0 && strspn(r->addrs.p, ",") < r->addrs.n ? pgv_buf_cstr(&r->addrs) : NULL;
    if (r->hosts.failed || r->ports.failed || r->addrs.failed ||
        !pgdsn_write(&conninfo, &r->dsn, PQlibVersion()))
        (void)pgv_fail(&err, PGV_ENOMEM, "no memory for a connection");
    else
        ok = pgsql_set_conninfo(&r->sql, pgv_buf_cstr(&conninfo), &err);
    if (conninfo.p)
        explicit_bzero(conninfo.p, conninfo.n);
    pgv_buf_done(&conninfo);
    if (ok)
        pgsql_submit(&r->sql, &r->query, on_answer);
    else
        answer(r, NULL, &err);
}

static void on_names(struct names_query *q, const struct pgv_error *err)
{
    struct pgremote *r = q->data;
    char text[INET6_ADDRSTRLEN] = "";

    r->resolving = false;
    if (r->canceled) {
        struct pgv_error canceled = { 0 };

        (void)pgv_fail(&canceled, PGV_ECANCELED, "canceled");
        answer(r, NULL, &canceled);
        return;
    }
    if (err || q->n == 0) {
        if (err)
            r->why = *err;
        resolve_next(r);
        return;
    }
    for (unsigned i = 0; i < q->n; i++) { /* libpq tries one after the other */
        const struct sockaddr_storage *addr = &q->addrs[i];
        const void *bytes =
            addr->ss_family == AF_INET
                ? (const void *)&((const struct sockaddr_in *)(const void *)addr)->sin_addr
                : (const void *)&((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;

        if (inet_ntop(addr->ss_family, bytes, text, sizeof(text)))
            keep_host(r, text);
    }
    resolve_next(r);
}

/** Take the next host off the list; false when there is none or it does not fit. */
static bool take_host(struct pgremote *r)
{
    struct pgv_str host, port, tail;
    bool more_ports;

    if (!r->rest_hosts.p)
        return false;
    if (!pgv_str_cut(r->rest_hosts, ',', &host, &tail))
        tail = (struct pgv_str){ 0 };
    r->rest_hosts = tail;
    more_ports = pgv_str_cut(r->rest_ports, ',', &port, &tail);
    if (more_ports) /* a single port is everybody's */
        r->rest_ports = tail;
    host = pgv_str_trim(host);
    port = pgv_str_trim(port);
    return pgv_copy(r->host, sizeof(r->host), host) && pgv_copy(r->port, sizeof(r->port), port);
}

static void resolve_next(struct pgremote *r)
{
    uint64_t now = pgv_clock_ms(), number;
    struct pgv_error err = { 0 };
    int port = 5432;

    while (take_host(r)) {
        if (r->host[0] == '\0' || r->host[0] == '/') {
            keep_host(r, "");
            continue;
        }
        if (pgv_parse_u64(pgv_str(r->port), &number) && number > 0 && number < 65536)
            port = (int)number;
        r->resolving = true;
        r->names.data = r;
        r->names.or_last_known = true;
        names_resolve(&r->names, r->host, port, r->deadline_ms > now ? r->deadline_ms - now : 1,
                      on_names);
        return;
    }
    if (r->hosts.n > 0) {
        connect_and_ask(r);
        return;
    }
    (void)pgv_fail(&err, PGV_EUNREACHABLE, "%s",
                   r->why.msg[0] ? r->why.msg : "there is no host to connect to");
    answer(r, NULL, &err);
}

static void on_begin(uv_timer_t *timer)
{
    struct pgremote *r = timer->data;

    if (r->canceled) {
        struct pgv_error canceled = { 0 };

        (void)pgv_fail(&canceled, PGV_ECANCELED, "canceled");
        answer(r, NULL, &canceled);
        return;
    }
    resolve_next(r);
}

void pgremote_ask(struct pgremote *r, const char *sql,
                  void (*cb)(struct pgremote *r, const PGresult *res, const struct pgv_error *err))
{
    PGV_ASSERT(r->open && !r->asking);
    r->asking = true;
    r->canceled = false;
    r->cb = cb;
    r->query = (struct pgsql_query){ .data = r, .sql = sql, .deadline_ms = r->deadline_ms };
    if (r->resolved) {
        pgsql_submit(&r->sql, &r->query, on_answer);
        return;
    }
    r->rest_hosts = r->dsn.v[PGDSN_HOST] ? pgv_str(r->dsn.v[PGDSN_HOST]) : PGV_STR("localhost");
    r->rest_ports = r->dsn.v[PGDSN_PORT] ? pgv_str(r->dsn.v[PGDSN_PORT]) : PGV_STR("5432");
    (void)uv_timer_start(&r->begin, on_begin, 0, 0); /* it may fail at once: not in this call */
}

void pgremote_set_deadline(struct pgremote *r, uint64_t deadline_ms)
{
    r->deadline_ms = deadline_ms;
}

void pgremote_cancel(struct pgremote *r)
{
    if (!r->open || !r->asking)
        return;
    r->canceled = true;
    if (r->resolving)
        names_cancel(&r->names);
    else if (r->resolved)
        pgsql_cancel(&r->sql, &r->query);
}

static void on_begin_closed(uv_handle_t *handle)
{
    struct pgremote *r = handle->data;

    pgv_buf_done(&r->hosts);
    pgv_buf_done(&r->ports);
    pgv_buf_done(&r->addrs);
    r->open = false;
    r->close_cb(r);
}

static void on_closed(struct pgsql *sql)
{
    struct pgremote *r = sql->data;

    uv_close((uv_handle_t *)&r->begin, on_begin_closed);
}

void pgremote_close(struct pgremote *r, void (*cb)(struct pgremote *r))
{
    PGV_ASSERT(r->open && !r->asking);
    r->close_cb = cb;
    pgsql_close(&r->sql, on_closed);
}
