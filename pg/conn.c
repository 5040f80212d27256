/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/conn.c - our connections to the local server and where they lead.
 *
 * 'heartbeat' is the cycle's, 'restapi' the probes', 'repl' asks for the timeline of a standby,
 * 'checkpoint' and 'slots' run statements that may take longer than the two seconds the others
 * allow. libpq must never resolve a name: 'localhost' is known, other names are resolved here and
 * given as hostaddr.
 */
#include "pg/postmaster_impl.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/banned.h"

#define RESOLVE_MS 3000
#define LOCALHOST "127.0.0.1,::1"

static bool is_literal(const char *host)
{
    unsigned char a[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, a) == 1 || inet_pton(AF_INET6, host, a) == 1;
}

const char *pm_conn_hostaddr(const struct postmaster_impl *im)
{
    const char *host = im->addr.tcp_host;

    if (is_literal(host))
        return NULL;
    if (strcmp(host, "localhost") == 0)
        return LOCALHOST;
    /* Until the name is resolved the loopback is as good a guess as any, and it never blocks. */
    return im->conn.hostaddr[0] ? im->conn.hostaddr : LOCALHOST;
}

struct purpose {
    struct pgsql *sql;
    enum pgconf_purpose what;
    const char *application_name, *options;
};

static bool configure_one(struct postmaster_impl *im, const struct purpose *p, struct pgv_buf *text,
                          struct pgv_error *err)
{
    struct pgdsn dsn;
    char hosts[1024];
    const char *hostaddr = pm_conn_hostaddr(im);

    pgconf_local_dsn(im->conf, &im->addr, p->what, &dsn);
    if (!pgdsn_set_hostaddr(&dsn, hostaddr, hosts, sizeof(hosts)))
        return pgv_fail(err, PGV_EINVALID, "the local host has too many addresses");
    dsn.v[PGDSN_APPLICATION_NAME] = p->application_name;
    dsn.v[PGDSN_FALLBACK_APPLICATION_NAME] = "Patroni";
    dsn.v[PGDSN_CONNECT_TIMEOUT] = "3";
    dsn.v[PGDSN_OPTIONS] = p->options;
    /* The default, 'prefer', makes libpq look for Kerberos credentials, which may ask the network.
     * Who needs it between agent and server says so in the authentication section. */
    if (!dsn.v[PGDSN_GSSENCMODE])
        dsn.v[PGDSN_GSSENCMODE] = "disable";
    if (p->what == PGCONF_REPLICATION)
        dsn.v[PGDSN_REPLICATION] = "1";
    pgv_buf_reset(text);
    if (!pgdsn_write(text, &dsn, 0))
        return pgv_fail(err, PGV_ENOMEM, "no room for a connection string");
    return pgsql_set_conninfo(p->sql, pgv_buf_cstr(text), err);
}

/* Contract pg §10.1. */
#define SEARCH_PATH " -c search_path=pg_catalog"
#define QUICK "-c statement_timeout=2000 -c pg_stat_statements.track=none" SEARCH_PATH
#define SLOW "-c statement_timeout=0" SEARCH_PATH

static bool configure_all(struct postmaster_impl *im, struct pgv_error *err)
{
    const struct purpose all[] = {
        { &im->conn.heartbeat, PGCONF_SUPERUSER, "Patroni heartbeat", QUICK },
        { &im->conn.restapi, PGCONF_SUPERUSER, "Patroni restapi", QUICK },
        { &im->conn.checkpoint, PGCONF_SUPERUSER, "Patroni", SLOW },
        { &im->conn.slots, PGCONF_SUPERUSER, "Patroni", SLOW },
        { &im->conn.repl, PGCONF_REPLICATION, "Patroni", "-c statement_timeout=2000" },
    };
    struct pgv_buf text;
    bool ok = true;

    pgv_buf_init(&text, PGSQL_CONNINFO_BYTES_MAX);
    for (size_t i = 0; ok && i < sizeof(all) / sizeof(all[0]); i++)
        ok = configure_one(im, &all[i], &text, err);
    if (text.p)
        explicit_bzero(text.p, text.n);
    pgv_buf_done(&text);
    return ok;
}

static void resolve(struct postmaster_impl *im);

static void on_resolved(struct names_query *q, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    char text[256] = "", one[INET6_ADDRSTRLEN];
    size_t at = 0;
    struct pgv_error conf_err = { 0 };

    im->conn.resolving = false;
    if (im->closing)
        return;
    if (im->conn.resolve_again) {
        im->conn.resolve_again = false;
        resolve(im);
        return;
    }
    if (err) {
        pgv_log(PGV_WARNING, "pg",
                "cannot resolve the local host, trying the loopback address host=%s: %s",
                im->conn.resolved_host, err->msg);
        im->conn.resolved_host[0] = '\0';
        return;
    }
    for (unsigned i = 0; i < q->n; i++) {
        const struct sockaddr_storage *ss = &q->addrs[i];
        const void *a = ss->ss_family == AF_INET6
                            ? (const void *)&((const struct sockaddr_in6 *)ss)->sin6_addr
                            : (const void *)&((const struct sockaddr_in *)ss)->sin_addr;
        size_t n;

        if (!inet_ntop(ss->ss_family, a, one, sizeof(one)))
            continue;
        n = strlen(one);
        if (at + n + 2 > sizeof(text))
            break;
        if (at > 0)
            text[at++] = ',';
        memcpy(text + at, one, n + 1);
        at += n;
    }
    if (strcmp(im->conn.hostaddr, text) == 0)
        return;
    pgv_copy_cut(im->conn.hostaddr, sizeof(im->conn.hostaddr), pgv_str(text));
    if (!configure_all(im, &conf_err))
        pgv_log(PGV_ERROR, "pg", "connections keep their old address: %s", conf_err.msg);
}

static void resolve(struct postmaster_impl *im)
{
    const char *host = im->addr.tcp_host;

    if (is_literal(host) || strcmp(host, "localhost") == 0 || !host[0]) {
        im->conn.hostaddr[0] = im->conn.resolved_host[0] = '\0';
        return;
    }
    if (im->conn.resolving) {
        im->conn.resolve_again = true;
        return;
    }
    if (strcmp(im->conn.resolved_host, host) == 0)
        return;
    pgv_copy_cut(im->conn.resolved_host, sizeof(im->conn.resolved_host), pgv_str(host));
    im->conn.hostaddr[0] = '\0';
    im->conn.resolving = true;
    im->conn.names.data = im;
    names_resolve(&im->conn.names, im->conn.resolved_host, 0, RESOLVE_MS, on_resolved);
}

void pm_conn_configure(struct postmaster_impl *im)
{
    struct pgv_error err = { 0 };

    resolve(im);
    if (!configure_all(im, &err))
        pgv_log(PGV_ERROR, "pg", "connections keep their old address: %s", err.msg);
}

void pm_conn_open(struct postmaster_impl *im)
{
    im->conn.repl.replication = true;
    pgsql_open(&im->conn.heartbeat, im->loop, "heartbeat");
    pgsql_open(&im->conn.restapi, im->loop, "restapi");
    pgsql_open(&im->conn.checkpoint, im->loop, "checkpoint");
    pgsql_open(&im->conn.slots, im->loop, "slots");
    pgsql_open(&im->conn.repl, im->loop, "replication");
    im->conn.heartbeat.data = im->conn.restapi.data = im->conn.checkpoint.data =
        im->conn.slots.data = im->conn.repl.data = im;
}

void pm_conn_drop_all(struct postmaster_impl *im)
{
    pgsql_disconnect(&im->conn.heartbeat);
    pgsql_disconnect(&im->conn.restapi);
    pgsql_disconnect(&im->conn.checkpoint);
    pgsql_disconnect(&im->conn.slots);
    pgsql_disconnect(&im->conn.repl);
}

static void on_closed(struct pgsql *s)
{
    pm_handle_closed(s->data);
}

void pm_conn_close(struct postmaster_impl *im)
{
    im->handles_open += 5;
    pgsql_close(&im->conn.heartbeat, on_closed);
    pgsql_close(&im->conn.restapi, on_closed);
    pgsql_close(&im->conn.checkpoint, on_closed);
    pgsql_close(&im->conn.slots, on_closed);
    pgsql_close(&im->conn.repl, on_closed);
}
