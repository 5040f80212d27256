/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgsql.h - a libpq connection on the loop, non-blocking from connect to close.
 *
 * One query at a time; further ones wait in line. Connecting happens on demand and again after
 * the connection was lost. Names are resolved by the caller or through http/names.h and given as
 * hostaddr, so libpq never blocks in a resolver.
 */
#pragma once

#include "base/buf.h"

#include <libpq-fe.h>
#include <uv.h>

struct pgsql;
struct pgsql_query;

/**
 * Exactly once, never inside pgsql_submit(). @res is valid during the call (NULL unless @err is
 * NULL). PGV_EUNREACHABLE: no connection, it broke, or the deadline passed (q->sqlstate may tell
 * why the server refused). PGV_ECONFLICT: the server answered with an error on a live connection,
 * q->sqlstate says which. PGV_ECANCELED: closing.
 */
typedef void (*pgsql_cb)(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err);

#define PGSQL_PARAMS_MAX 8

struct pgsql_query {
    void *data;
    const char
        *sql; /* borrowed until the callback; may hold several statements only when n_params is 0 */
    const char *params[PGSQL_PARAMS_MAX]; /* text parameters $1…, borrowed */
    unsigned n_params;
    uint64_t deadline_ms; /* pgv_clock_ms() moment, must be given */
    char sqlstate[6];     /* "" when there is none */
    /* private */
    pgsql_cb cb;
    struct pgsql_query *next;
    bool sent, canceled;
};

struct pgsql {
    void *data;
    bool replication;   /* a physical replication connection: simple protocol only */
    int server_version; /* of the live connection, else 0 */
    pid_t backend_pid;
    bool connected;
    /* private */
    uv_loop_t *loop;
    PGconn *conn;
    uv_poll_t poll;
    uv_timer_t timer, deferred;
    struct pgsql_query *first, *last;
    struct pgv_buf conninfo; /* holds secrets: never logged */
    const char *name;
    int state, fd;
    unsigned uv_open;
    bool closing;
    void (*close_cb)(struct pgsql *s);
};

/** @name is for logs ("heartbeat"). No connection is made yet. */
void pgsql_open(struct pgsql *s, uv_loop_t *loop, const char *name);
/** Key/value conninfo for the next connect (host resolved to hostaddr by the caller where it is a
 *  name); drops a live connection when it differs. Copied. */
bool pgsql_set_conninfo(struct pgsql *s, const char *conninfo,
                        struct pgv_error *err) PGV_MUST_CHECK;
void pgsql_submit(struct pgsql *s, struct pgsql_query *q, pgsql_cb cb);
/** The callback comes with PGV_ECANCELED, later. A running statement is cut with its connection. */
void pgsql_cancel(struct pgsql *s, struct pgsql_query *q);
/** Drop the connection; waiting queries fail with PGV_EUNREACHABLE. */
void pgsql_disconnect(struct pgsql *s);
void pgsql_close(struct pgsql *s, void (*cb)(struct pgsql *s));
