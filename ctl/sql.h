/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/sql.h - one connection to a member's PostgreSQL, used and waited for.
 *
 * Nothing else goes on meanwhile, so the loop stands still and the socket is waited for alone;
 * Ctrl-C ends every wait. Names are looked up on the loop, never by libpq, which would not let
 * itself be interrupted.
 */
#pragma once

#include "base/value.h"
#include "ctl/ctl.h"

#include <libpq-fe.h>

#define CTL_SQL_CONNECT_MS 5000 /* of each address. Source: Patroni 4.1, ctl.get_cursor() */
#define CTL_SQL_ADDRESSES_MAX 8
#define CTL_SQL_TEXT_BYTES 1024

struct ctl_sql_target {
    const char *host;                     /* as published by the member */
    int port;                             /* as published by the member */
    const char *user, *password, *dbname; /* NULL: what libpq takes by itself */
};

/** What a statement gave. All of it lives in @arena. */
struct ctl_sql_result {
    struct pgv_arena *arena;
    size_t n_columns;
    const char **names;     /* of the columns; NULL when there is no result set */
    struct pgv_value *rows; /* a list of lists */
};

/** What the server or libpq had to say against it: an SQLSTATE, else a message on one line. */
struct ctl_sql_refusal {
    bool given;
    char text[CTL_SQL_TEXT_BYTES];
};

/**
 * Connect. True with @ret_refusal->given false: connected, PQfinish() must follow. True with it
 * given: there is no connection. False: Ctrl-C (PGV_ECANCELED), memory.
 */
bool ctl_sql_connect(struct ctl *c, const struct ctl_sql_target *target, PGconn **ret,
                     struct ctl_sql_refusal *ret_refusal, struct pgv_error *err) PGV_MUST_CHECK;
/**
 * Run @sql, one statement or several, and keep what the last one gave. Ctrl-C asks the server to
 * stop it. True with a refusal as above; a statement that gives no rows is one, as for the origin.
 * PGV_EINVALID: the result does not fit into @ret->arena.
 */
bool ctl_sql_run(struct ctl *c, PGconn *conn, const char *sql, struct ctl_sql_result *ret,
                 struct ctl_sql_refusal *ret_refusal, struct pgv_error *err) PGV_MUST_CHECK;

/**
 * A value of a result as patronictl has it: numbers are numbers, moments have all six digits of
 * their fraction, intervals are counted in days, arrays and JSON are lists and maps. What a type's
 * text cannot be read as stays text. NULL: the arena is full. Source: psycopg2 2.9, its type
 * casters.
 */
struct pgv_value *ctl_sql_value(struct pgv_arena *a, Oid type, struct pgv_str text);
/** @text with what is no UTF-8 replaced, appended. */
bool ctl_sql_put_text(struct pgv_buf *b, struct pgv_str text);
