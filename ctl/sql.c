/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/sql.c - connecting to a member and running statements.
 *
 * Rows are fetched one by one into the caller's arena, whose ceiling bounds them; libpq itself
 * would gather any number.
 */
#include "ctl/sql.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/names.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>

#include "base/banned.h"

/** The message with blanks for newlines, as the origin prints it in a row. */
static void refuse(struct ctl_sql_refusal *r, const char *message)
{
    r->given = true;
    pgv_copy_cut(r->text, sizeof(r->text), pgv_str(message));
    for (char *p = r->text; *p; p++)
        *p = *p == '\n' ? ' ' : *p;
}

/* ---- connecting ---- */

struct resolving {
    struct names_query q;
    bool done, failed;
    struct pgv_error err;
};

static void on_resolved(struct names_query *q, const struct pgv_error *err)
{
    struct resolving *r = q->data;

    r->failed = err != NULL;
    if (err)
        r->err = *err;
    r->done = true;
}

struct addresses {
    char text[CTL_SQL_ADDRESSES_MAX][INET6_ADDRSTRLEN];
    unsigned n;
};

/** @ret->n == 0: a socket's folder, which needs no address. */
static bool resolve(struct ctl *c, const struct ctl_sql_target *target, struct addresses *ret,
                    struct ctl_sql_refusal *refusal, struct pgv_error *err)
{
    char message[PGV_ERROR_MSG_BYTES + 300];
    struct resolving r = { 0 };

    *ret = (struct addresses){ 0 };
    if (target->host[0] == '/')
        return true;
    r.q.data = &r;
    names_resolve(&r.q, target->host, target->port, CTL_SQL_CONNECT_MS, on_resolved);
    if (!ctl_wait(c, &r.done, NULL)) {
        names_cancel(&r.q);
        ctl_finish(c, &r.done);
        return ctl_aborted(c, true, err);
    }
    if (r.failed) {
        snprintf(message, sizeof(message), "could not translate host name \"%s\" to address: %s",
                 target->host, r.err.msg);
        refuse(refusal, message);
        return true;
    }
    for (unsigned i = 0; i < r.q.n && ret->n < CTL_SQL_ADDRESSES_MAX; i++) {
        const struct sockaddr_storage *a = &r.q.addrs[i];
        const void *bytes = a->ss_family == AF_INET6
                                ? (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr
                                : (const void *)&((const struct sockaddr_in *)a)->sin_addr;

        if (inet_ntop(a->ss_family, bytes, ret->text[ret->n], sizeof(ret->text[0])))
            ret->n++;
    }
    return true;
}

/** Not on standard error, which is for what went wrong. */
static void on_notice(void *arg, const char *message)
{
    (void)arg;
    pgv_log(PGV_INFO, "ctl", "notice from the server: %.*s", (int)strcspn(message, "\n"), message);
}

static PGconn *start(const struct ctl_sql_target *target, const char *address)
{
    char port[16];
    const char *keys[] = { "host",
                           "hostaddr",
                           "port",
                           "user",
                           "password",
                           "dbname",
                           "fallback_application_name",
                           "client_encoding",
                           NULL };
    const char *values[] = { target->host,   address,       port,   target->user, target->password,
                             target->dbname, "Patroni ctl", "UTF8", NULL };

    snprintf(port, sizeof(port), "%d", target->port);
    return PQconnectStartParams(keys, values, 0); /* a value that is NULL counts as not given */
}

/**
 * One address. True: @conn is connected, or failed for good (@ret_more false) or in a way that
 * another address may cure. False: Ctrl-C.
 */
static bool connect_once(struct ctl *c, PGconn *conn, bool *ret_late, bool *ret_more,
                         struct pgv_error *err)
{
    uint64_t until_ms = pgv_clock_ms() + CTL_SQL_CONNECT_MS;
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;

    *ret_late = false;
    *ret_more = true;
    while (PQstatus(conn) != CONNECTION_BAD && status != PGRES_POLLING_OK &&
           status != PGRES_POLLING_FAILED) {
        int ready = ctl_wait_for_fd(PQsocket(conn),
                                    status == PGRES_POLLING_READING ? POLLIN : POLLOUT, until_ms);

        if (ready < 0)
            return ctl_aborted(c, true, err);
        if (ready == 0) {
            *ret_late = true;
            return true;
        }
        status = PQconnectPoll(conn);
        if (PQstatus(conn) == CONNECTION_AWAITING_RESPONSE)
            *ret_more = false; /* a server is there: what it says counts */
    }
    return true;
}

static void say_late(char *ret, size_t bytes, const struct ctl_sql_target *target,
                     const char *address)
{
    bool named = address && strcmp(address, target->host) != 0;

    snprintf(ret, bytes, "connection to server at \"%s\"%s%s%s, port %d failed: timeout expired\n",
             target->host, named ? " (" : "", named ? address : "", named ? ")" : "", target->port);
}

/** Moments are shown as ISO 8601 has them, wherever the server's settings come from. */
static bool set_date_style(struct ctl *c, PGconn *conn, struct ctl_sql_refusal *refusal,
                           struct pgv_error *err)
{
    const char *style = PQparameterStatus(conn, "DateStyle");
    struct pgv_arena scratch;
    struct ctl_sql_result nothing = { .arena = &scratch };
    bool ok;

    if (style && strncmp(style, "ISO", 3) == 0)
        return true;
    pgv_arena_init(&scratch, 65536);
    ok = ctl_sql_run(c, conn, "SELECT pg_catalog.set_config('DateStyle', 'ISO', false)", &nothing,
                     refusal, err);
    pgv_arena_done(&scratch);
    return ok;
}

bool ctl_sql_connect(struct ctl *c, const struct ctl_sql_target *target, PGconn **ret,
                     struct ctl_sql_refusal *ret_refusal, struct pgv_error *err)
{
    struct addresses addresses;
    char said[CTL_SQL_TEXT_BYTES] = "";
    size_t said_n = 0;
    unsigned i = 0;

    *ret_refusal = (struct ctl_sql_refusal){ 0 };
    if (!resolve(c, target, &addresses, ret_refusal, err))
        return false;
    while (!ret_refusal->given) {
        const char *address = addresses.n > 0 ? addresses.text[i] : NULL;
        PGconn *conn = start(target, address);
        bool late, more;

        if (!conn)
            return ctl_out_of_memory(err);
        (void)PQsetNoticeProcessor(conn, on_notice, NULL);
        if (!connect_once(c, conn, &late, &more, err)) {
            PQfinish(conn);
            return false;
        }
        if (!late && PQstatus(conn) == CONNECTION_OK) {
            if (set_date_style(c, conn, ret_refusal, err) && !ret_refusal->given) {
                *ret = conn;
                return true;
            }
            PQfinish(conn);
            return ret_refusal->given;
        }
        /* What each address said, one after the other, is how libpq has it as well. */
        if (late)
            say_late(said + said_n, sizeof(said) - said_n, target, address);
        else
            snprintf(said + said_n, sizeof(said) - said_n, "%s", PQerrorMessage(conn));
        said_n += strlen(said + said_n);
        PQfinish(conn);
        if (!more || ++i >= addresses.n)
            refuse(ret_refusal, said);
    }
    return true;
}

/* ---- statements ---- */

struct run {
    struct ctl_sql_result *result;
    struct ctl_sql_refusal *refusal;
    bool in_set; /* rows of a result set are coming */
    bool full;   /* the arena was too small */
    bool failed; /* a statement was refused: the first such word is the one that counts */
};

static const char *valid_text(struct pgv_arena *a, const char *text)
{
    const char *copy = NULL;
    struct pgv_buf b;

    pgv_buf_init(&b, a->bytes_max);
    if (ctl_sql_put_text(&b, pgv_str(text)))
        copy = pgv_arena_dup(a, pgv_buf_view(&b));
    pgv_buf_done(&b);
    return copy;
}

static void begin_set(struct run *r, const PGresult *res)
{
    struct ctl_sql_result *to = r->result;

    pgv_arena_reset(to->arena);
    r->in_set = true;
    *r->refusal = (struct ctl_sql_refusal){ 0 };
    to->n_columns = (size_t)PQnfields(res);
    to->names = pgv_arena_alloc(to->arena, (to->n_columns + 1) * sizeof(*to->names));
    to->rows = pgv_new(to->arena, PGV_LIST);
    r->full = !to->names || !to->rows;
    for (size_t i = 0; !r->full && i < to->n_columns; i++) {
        to->names[i] = valid_text(to->arena, PQfname(res, (int)i));
        r->full = !to->names[i];
    }
}

static void add_row(struct run *r, const PGresult *res)
{
    struct pgv_arena *a = r->result->arena;
    struct pgv_value *row = pgv_list_add(r->result->rows, pgv_new(a, PGV_LIST)), *v;

    r->full = !row;
    for (int i = 0; !r->full && i < PQnfields(res); i++) {
        if (PQgetisnull(res, 0, i))
            v = pgv_new(a, PGV_NULL);
        else
            v = ctl_sql_value(
                a, PQftype(res, i),
                (struct pgv_str){ PQgetvalue(res, 0, i), (size_t)PQgetlength(res, 0, i) });
        r->full = !pgv_list_add(row, v);
    }
}

/** False: nothing more can come that matters. */
static bool take(struct run *r, const PGresult *res)
{
    const char *state;

    switch (PQresultStatus(res)) {
    case PGRES_SINGLE_TUPLE:
        if (!r->in_set)
            begin_set(r, res);
        if (!r->full)
            add_row(r, res);
        return !r->full;
    case PGRES_TUPLES_OK:
        if (!r->in_set)
            begin_set(r, res);
        r->in_set = false;
        return !r->full;
    case PGRES_COMMAND_OK:
        refuse(r->refusal, "no results to fetch");
        return true;
    case PGRES_EMPTY_QUERY:
        refuse(r->refusal, "can't execute an empty query");
        return true;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        refuse(r->refusal, "COPY from or to the client is not supported");
        return false;
    default:
        state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
        refuse(r->refusal, state ? state : PQresultErrorMessage(res));
        r->failed = true;
        return true;
    }
}

/** Ask the server to stop. A second Ctrl-C ends us if even that does not come through. */
static void stop(PGconn *conn)
{
    PGcancel *cancel = PQgetCancel(conn);
    char why[256];

    signal(SIGINT, SIG_DFL);
    if (cancel)
        (void)PQcancel(cancel, why, sizeof(why)); /* if it cannot be told it will find out */
    PQfreeCancel(cancel);
}

/** Send all, and wait until a result can be had without waiting, or the connection is lost. False:
 * Ctrl-C. */
static bool wait_for_result(struct ctl *c, PGconn *conn, bool *ret_lost, struct pgv_error *err)
{
    int unsent = PQflush(conn);

    while (unsent > 0 || PQisBusy(conn)) {
        if (ctl_wait_for_fd(PQsocket(conn), (short)(unsent > 0 ? POLLIN | POLLOUT : POLLIN),
                            UINT64_MAX) < 0) {
            stop(conn);
            return ctl_aborted(c, true, err);
        }
        if (PQconsumeInput(conn) != 1) {
            *ret_lost = true;
            return true;
        }
        unsent = unsent > 0 ? PQflush(conn) : 0;
    }
    return true;
}

bool ctl_sql_run(struct ctl *c, PGconn *conn, const char *sql, struct ctl_sql_result *ret,
                 struct ctl_sql_refusal *ret_refusal, struct pgv_error *err)
{
    struct run r = { .result = ret, .refusal = ret_refusal };
    bool more = true;

    *ret_refusal = (struct ctl_sql_refusal){ 0 };
    if (PQsetnonblocking(conn, 1) != 0 || PQsendQuery(conn, sql) != 1 ||
        PQsetSingleRowMode(conn) != 1) {
        refuse(ret_refusal, PQerrorMessage(conn));
        return true;
    }
    while (more) {
        PGresult *res;
        bool lost = false;

        if (!wait_for_result(c, conn, &lost, err))
            return false;
        if (lost) { /* unless the server has said why */
            if (!r.failed)
                refuse(ret_refusal, PQerrorMessage(conn));
            return true;
        }
        res = PQgetResult(conn);
        more = res && take(&r, res);
        PQclear(res);
    }
    if (r.full) {
        stop(conn);
        return pgv_fail(err, PGV_EINVALID, "the result is too large to be shown");
    }
    return true;
}
