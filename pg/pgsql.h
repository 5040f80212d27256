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
 * NULL); of several statements it is the last one's. PGV_EUNREACHABLE: no connection, it broke, or
 * the deadline passed (q->sqlstate may tell why the server refused: "57P03" is a server that
 * starts or stops, and every other state means that it accepts connections, though not this one).
 * PGV_ECONFLICT: the server answered with an error on a live connection, q->sqlstate says which.
 * PGV_ECANCELED: canceled, or closing. PGV_ENOMEM: nothing was sent.
 */
typedef void (*pgsql_cb)(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err);

#define PGSQL_PARAMS_MAX 8
/** A connect attempt longer than this fails everything that waits for it. Source: Patroni's
 *  connect_timeout=3. */
#define PGSQL_CONNECT_MS_MAX 3000
#define PGSQL_CONNINFO_BYTES_MAX 8192

/** Names in use on one connection; further ones are not kept. */
#define PGSQL_KEPT_MAX 4

struct pgsql_query {
    void *data;
    const char
        *sql; /* borrowed until the callback; may hold several statements only when n_params is 0 */
    /** A name under which the server keeps the statement, so that it is planned once for each
     *  connection: one text for each name, which lives as long as the connection; no parameters.
     *  NULL: not kept. */
    const char *keep;
    const char *params[PGSQL_PARAMS_MAX]; /* text parameters $1…, borrowed; NULL is SQL null */
    unsigned n_params;
    uint64_t deadline_ms; /* pgv_clock_ms() moment, must be given */
    char sqlstate[6];     /* "" when there is none */
    /* private */
    pgsql_cb cb;
    struct pgsql_query *next;
    bool in_line, sent, canceled, lost;
};

struct pgsql {
    void *data;
    bool replication;   /* a physical replication connection: simple protocol only */
    int server_version; /* of the live connection, else 0 */
    pid_t backend_pid;  /* of the live connection, else 0 */
    bool connected;
    /* private */
    uv_loop_t *loop;
    PGconn *conn;
    PGresult *result;
    uv_poll_t poll;
    uv_timer_t timer;
    struct pgsql_query *first, *last;
    struct pgv_buf conninfo; /* holds secrets: never logged */
    const char *name;
    struct pgv_error lost; /* why queries marked lost are */
    uint64_t connect_until_ms;
    int state, fd, events;
    int polled; /* what the poll handle waits for; 0: it stands */
    unsigned uv_open;
    bool poll_open, poll_closing, stale, closing;
    bool preparing; /* what is under way is the first query's preparation */
    unsigned n_kept;
    const char *kept[PGSQL_KEPT_MAX];
    void (*close_cb)(struct pgsql *s);
};

/** @name is for logs ("heartbeat"). No connection is made yet. */
void pgsql_open(struct pgsql *s, uv_loop_t *loop, const char *name);
/** Key/value conninfo for the next connect (host resolved to hostaddr by the caller where it is a
 *  name). Copied. A live connection made with another one is dropped, after the running query. */
bool pgsql_set_conninfo(struct pgsql *s, const char *conninfo,
                        struct pgv_error *err) PGV_MUST_CHECK;
/** @q belongs to the caller and must live until @cb has run. Allocates nothing here. */
void pgsql_submit(struct pgsql *s, struct pgsql_query *q, pgsql_cb cb);
/** The callback comes with PGV_ECANCELED, later. A running statement is cut with its connection.
 *  Harmless when @q is not waiting. */
void pgsql_cancel(struct pgsql *s, struct pgsql_query *q);
/** Drop the connection; what runs and what waits fails with PGV_EUNREACHABLE, later. */
void pgsql_disconnect(struct pgsql *s);
/** Queries end with PGV_ECANCELED, then @cb runs; @s may be reused in there. */
void pgsql_close(struct pgsql *s, void (*cb)(struct pgsql *s));

/** One field of a result: the empty text for NULL and for rows or columns that are not there. */
struct pgv_str pgsql_field(const PGresult *res, int row, int col);
bool pgsql_is_null(const PGresult *res, int row, int col);
/** Decimal integer fields; false for NULL and for what is no number. */
bool pgsql_field_i64(const PGresult *res, int row, int col, int64_t *ret) PGV_MUST_CHECK;
/** PostgreSQL's 't' and 'f'. */
bool pgsql_field_bool(const PGresult *res, int row, int col);

/** The SQLSTATE in libpq's verbose text of a failed connect ("… FATAL:  57P03: the …"); "" if
 *  there is none. Pure; the severity may be in any language. */
void pgsql_find_sqlstate(const char *message, char ret[6]);
