/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgsql.c - a libpq connection on the loop, non-blocking from connect to close.
 *
 * Queries stand in line; only the first is ever sent. Everything that decides happens in
 * advance(), run by the one timer: at once when something was submitted or changed, else at the
 * next deadline. A query is ended by finish(), which runs the owner's callback and must be the
 * last thing done, because the owner may close the connection in there.
 *
 * libpq may close its socket and open another one while it connects, so the poll handle is
 * stopped around PQconnectPoll() and replaced when the descriptor's number changed.
 */
#include "pg/pgsql.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"

#include <ctype.h>
#include <string.h>

#include "base/banned.h"

enum { IDLE, CONNECTING, READY, BUSY };

static void on_timer(uv_timer_t *uv);
static void on_poll(uv_poll_t *uv, int status, int events);

static void kick(struct pgsql *s)
{
    if (!s->closing)
        (void)uv_timer_start(&s->timer, on_timer, 0, 0); /* fails only on a NULL callback */
}

static void on_notice(void *arg, const char *message)
{
    const struct pgsql *s = arg;

    pgv_log(PGV_DEBUG, "pg", "notice from the server connection=%s: %.*s", s->name,
            (int)strcspn(message, "\n"), message);
}

/* ---- the socket ---- */

static void on_poll_closed(uv_handle_t *uv);

static void unwatch(struct pgsql *s)
{
    if (s->poll_open) {
        s->poll_open = false;
        s->polled = 0;
        s->poll_closing = true;
        uv_close((uv_handle_t *)&s->poll, on_poll_closed);
    }
}

/* Close the connection; queries are not touched. Before libpq closes the socket, libuv lets go. */
static void drop(struct pgsql *s)
{
    unwatch(s);
    PQclear(s->result);
    s->result = NULL;
    PQfinish(s->conn);
    s->conn = NULL;
    s->state = IDLE;
    s->connected = s->stale = s->preparing = false;
    s->n_kept = 0;
    s->server_version = 0;
    s->backend_pid = 0;
}

/* Everything in line fails with s->lost; advance() tells them one by one. */
static void lose_all(struct pgsql *s, const char *sqlstate)
{
    for (struct pgsql_query *q = s->first; q; q = q->next) {
        q->lost = true;
        pgv_copy_cut(q->sqlstate, sizeof(q->sqlstate), pgv_str(sqlstate));
    }
    drop(s);
    kick(s);
}

static void watch(struct pgsql *s, int events)
{
    int fd = PQsocket(s->conn), rc;

    s->events = events;
    if (s->poll_closing)
        return; /* on_poll_closed() goes on */
    if (s->poll_open && s->fd != fd) {
        unwatch(s);
        return;
    }
    if (!s->poll_open) {
        rc = uv_poll_init(s->loop, &s->poll, fd);
        if (rc == 0) {
            s->poll.data = s;
            s->poll_open = true;
            s->fd = fd;
            s->uv_open++;
        }
    } else {
        rc = 0;
    }
    if (rc == 0 && s->polled == events)
        return; /* libuv would take it out of epoll and put it back */
    if (rc == 0)
        rc = uv_poll_start(&s->poll, events, on_poll);
    s->polled = rc == 0 ? events : 0;
    if (rc != 0) {
        (void)pgv_fail(&s->lost, PGV_EUNREACHABLE, "cannot watch the connection: %s",
                       uv_strerror(rc));
        lose_all(s, "");
    }
}

static void all_closed(struct pgsql *s);

static void on_poll_closed(uv_handle_t *uv)
{
    struct pgsql *s = uv->data;

    s->poll_closing = false;
    s->uv_open--;
    if (s->closing)
        all_closed(s);
    else if (s->conn)
        watch(s, s->events);
}

/* ---- ends of queries ---- */

static void unlink_query(struct pgsql *s, struct pgsql_query *q)
{
    struct pgsql_query **at = &s->first;

    s->last = NULL;
    for (struct pgsql_query *each; (each = *at) != NULL;) {
        if (each == q) {
            *at = q->next;
        } else {
            s->last = each;
            at = &each->next;
        }
    }
    q->next = NULL;
    q->in_line = false;
}

/* The last thing to do with @s: the owner may do anything in the callback. @res is ours to clear.
 */
static void finish(struct pgsql *s, struct pgsql_query *q, PGresult *res,
                   const struct pgv_error *err)
{
    unlink_query(s, q);
    kick(s);
    q->cb(q, res, err);
    PQclear(res);
}

static void finish_failed(struct pgsql *s, struct pgsql_query *q, enum pgv_code code,
                          const char *text)
{
    struct pgv_error err = { 0 };

    (void)pgv_fail(&err, code, "%s: %s", s->name, text);
    finish(s, q, NULL, &err);
}

static struct pgv_str first_line(const char *message)
{
    return (struct pgv_str){ message, strcspn(message, "\n") };
}

void pgsql_find_sqlstate(const char *message, char ret[6])
{
    ret[0] = '\0';
    /* Severity, ':', two blanks, five of [0-9A-Z], ':'. Several hosts may have been tried: the last
     * one counts. Source: PostgreSQL, fe-protocol3.c, pqBuildErrorMessage3(). */
    for (const char *p = message; (p = strstr(p, ":  ")) != NULL;) {
        size_t n = 0;

        p += 3;
        while (n < 5 && (isdigit((unsigned char)p[n]) || (p[n] >= 'A' && p[n] <= 'Z')))
            n++;
        if (n == 5 && p[5] == ':')
            pgv_copy_cut(ret, 6, (struct pgv_str){ p, 5 });
    }
}

/* Connecting failed, or the connection broke: libpq's words become the reason. */
static void broke(struct pgsql *s, const char *what)
{
    const char *message = s->conn ? PQerrorMessage(s->conn) : "out of memory";
    struct pgv_str line = first_line(message);
    char sqlstate[6];

    pgsql_find_sqlstate(message, sqlstate);
    (void)pgv_fail(&s->lost, PGV_EUNREACHABLE, "%s: %s%s%.*s", s->name, what,
                   line.n > 0 ? ": " : "", (int)line.n, line.p);
    lose_all(s, sqlstate);
}

/* ---- connecting ---- */

static void connect_step(struct pgsql *s)
{
    PostgresPollingStatusType status;

    if (s->poll_open)
        (void)uv_poll_stop(&s->poll);
    s->polled = 0;
    status = PQconnectPoll(s->conn);
    switch (status) {
    case PGRES_POLLING_READING:
        watch(s, UV_READABLE);
        return;
    case PGRES_POLLING_WRITING:
        watch(s, UV_WRITABLE);
        return;
    case PGRES_POLLING_OK:
        break;
    default:
        broke(s, "connecting failed");
        return;
    }
    if (PQsetnonblocking(s->conn, 1) != 0) {
        broke(s, "connecting failed");
        return;
    }
    (void)PQsetErrorVerbosity(s->conn, PQERRORS_DEFAULT);
    s->state = READY;
    s->connected = true;
    s->server_version = PQserverVersion(s->conn);
    s->backend_pid = PQbackendPID(s->conn);
    watch(s, UV_READABLE);
    kick(s);
}

static void connect_begin(struct pgsql *s, uint64_t now)
{
    s->conn = PQconnectStart(pgv_buf_cstr(&s->conninfo));
    if (!s->conn || PQstatus(s->conn) == CONNECTION_BAD) {
        broke(s, "connecting failed");
        return;
    }
    (void)PQsetNoticeProcessor(s->conn, on_notice, s);
    /* The only way to learn the SQLSTATE of a refused connection. Source: PQping does it inside. */
    (void)PQsetErrorVerbosity(s->conn, PQERRORS_VERBOSE);
    s->state = CONNECTING;
    s->connect_until_ms = now + PGSQL_CONNECT_MS_MAX;
    watch(s, UV_WRITABLE);
}

/* ---- sending and reading ---- */

static void flush(struct pgsql *s)
{
    int rc = PQflush(s->conn);

    if (rc < 0)
        broke(s, "connection lost");
    else
        watch(s, rc > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

static bool is_kept(const struct pgsql *s, const char *name)
{
    for (unsigned i = 0; i < s->n_kept; i++)
        if (strcmp(s->kept[i], name) == 0)
            return true;
    return false;
}

static void send_first(struct pgsql *s)
{
    struct pgsql_query *q = s->first;
    bool keep = q->keep && !s->replication;
    int rc;

    PGV_ASSERT(!keep || q->n_params == 0);
    if (keep && is_kept(s, q->keep)) {
        rc = PQsendQueryPrepared(s->conn, q->keep, 0, NULL, NULL, NULL, 0);
    } else if (keep && s->n_kept < PGSQL_KEPT_MAX) {
        rc = PQsendPrepare(s->conn, q->keep, q->sql, 0, NULL);
        s->preparing = rc == 1;
    } else if (q->n_params == 0) {
        rc = PQsendQuery(s->conn, q->sql);
    } else {
        rc = PQsendQueryParams(s->conn, q->sql, (int)q->n_params, NULL, q->params, NULL, NULL, 0);
    }
    if (rc != 1) {
        broke(s, "cannot send");
        return;
    }
    q->sent = true;
    s->state = BUSY;
    flush(s);
}

static bool is_fatal(const PGresult *res)
{
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);

    if (!severity)
        severity = PQresultErrorField(res, PG_DIAG_SEVERITY); /* servers before 9.6 */
    return severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* It is not kept any more, or its columns have changed: for a new connection it is made anew. */
static bool is_lost(const char *sqlstate)
{
    return strcmp(sqlstate, "26000") == 0 || strcmp(sqlstate, "0A000") == 0;
}

/* The server is ready for the next one, or the connection is @torn: end the query that ran. */
static void complete(struct pgsql *s, bool torn)
{
    struct pgsql_query *q = s->first;
    PGresult *res = s->result;
    ExecStatusType status = PQresultStatus(res); /* of NULL: PGRES_FATAL_ERROR */
    const char *sqlstate, *text;
    struct pgv_error err = { 0 };
    bool dead;

    if (status != PGRES_FATAL_ERROR && status != PGRES_BAD_RESPONSE && !torn) {
        s->result = NULL;
        s->state = READY;
        if (s->preparing) {
            PQclear(res);
            s->preparing = q->sent = false;
            if (s->stale)
                drop(s);
            else
                s->kept[s->n_kept++] = q->keep;
            kick(s); /* which sends it */
            return;
        }
        if (s->stale)
            drop(s);
        finish(s, q, res, NULL);
        return;
    }
    /* Contract pg §10.2: an error that leaves the connection dead, or comes without a SQLSTATE, is
     * a connection problem; any other is the server's answer. */
    sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    s->preparing = false;
    dead = torn || !sqlstate || is_fatal(res) || PQstatus(s->conn) == CONNECTION_BAD ||
           (q->keep && is_lost(sqlstate));
    pgv_copy_cut(q->sqlstate, sizeof(q->sqlstate), pgv_str(sqlstate));
    if (!text) {
        struct pgv_str line = first_line(PQerrorMessage(s->conn));

        (void)pgv_fail(&err, PGV_EUNREACHABLE, "%s: %.*s", s->name, (int)line.n, line.p);
    } else {
        (void)pgv_fail(&err, dead ? PGV_EUNREACHABLE : PGV_ECONFLICT, "%s: %s", s->name, text);
    }
    if (dead || s->stale) {
        drop(s); /* clears the result, too */
    } else {
        PQclear(res);
        s->result = NULL;
        s->state = READY;
    }
    finish(s, q, NULL, &err);
}

/* True: the query has ended and its owner was told. */
static bool read_results(struct pgsql *s)
{
    while (!PQisBusy(s->conn)) {
        PGresult *res = PQgetResult(s->conn);
        ExecStatusType status = PQresultStatus(res);

        if (!res) {
            complete(s, false);
            return true;
        }
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
            PQclear(res);
            broke(s, "unexpected COPY");
            return true;
        }
        if (s->result && PQresultStatus(s->result) == PGRES_FATAL_ERROR) {
            PQclear(res); /* the first error explains the rest */
        } else {
            PQclear(s->result);
            s->result = res;
        }
    }
    /* libpq has closed the socket and will not become ready any more. A result without the
     * server's last word may not have been committed. */
    if (PQstatus(s->conn) == CONNECTION_BAD) {
        complete(s, true);
        return true;
    }
    return false;
}

static void on_poll(uv_poll_t *uv, int status, int events)
{
    struct pgsql *s = uv->data;
    PGnotify *notify;

    if (status < 0)
        s->polled = 0; /* libuv has stopped it */
    if (s->state == CONNECTING) {
        connect_step(s); /* libpq finds out itself what is wrong with the socket */
        return;
    }
    if (status < 0) /* an error condition on the socket; what came before it is still to be read */
        events = UV_READABLE;
    if ((events & UV_READABLE) && PQconsumeInput(s->conn) != 1 && s->state != BUSY) {
        drop(s); /* the server closed an idle connection; what was just submitted gets a new one */
        kick(s);
        return;
    }
    if (s->state == BUSY) {
        /* Also after a failed read: what the server said before it went is in there. */
        if ((events & UV_WRITABLE) && PQflush(s->conn) == 0)
            watch(s, UV_READABLE);
        if (s->state == BUSY && !read_results(s) && status < 0)
            broke(s, "connection lost");
        return;
    }
    if (status < 0) {
        drop(s);
        kick(s);
        return;
    }
    while ((notify = PQnotifies(s->conn)) != NULL) /* lets libpq digest what came unasked */
        PQfreemem(notify);
}

/* ---- what next ---- */

static void advance(struct pgsql *s)
{
    uint64_t now = pgv_clock_ms(), wake = UINT64_MAX;

    for (struct pgsql_query *q = s->first; q; q = q->next) {
        if (q->canceled || now >= q->deadline_ms) {
            bool canceled = q->canceled;

            if (q->sent && !q->lost)
                drop(s); /* the only way to be rid of a running statement without blocking */
            finish_failed(s, q, canceled ? PGV_ECANCELED : PGV_EUNREACHABLE,
                          canceled ? "canceled" : "no answer in time");
            return;
        }
        if (q->lost) {
            struct pgv_error err = s->lost;

            finish(s, q, NULL, &err);
            return;
        }
        if (q->deadline_ms < wake)
            wake = q->deadline_ms;
    }
    if (s->state == CONNECTING && now >= s->connect_until_ms) {
        (void)pgv_fail(&s->lost, PGV_EUNREACHABLE, "%s: connecting took too long", s->name);
        lose_all(s, "");
        return;
    }
    if (s->first && s->state == IDLE)
        connect_begin(s, now);
    else if (s->first && s->state == READY)
        send_first(s);
    if (s->first && s->first->lost)
        return; /* one of the two has just failed and kicked the timer */
    if (s->state == CONNECTING && s->connect_until_ms < wake)
        wake = s->connect_until_ms;
    if (wake != UINT64_MAX)
        (void)uv_timer_start(&s->timer, on_timer, wake - now + 1, 0);
}

static void on_timer(uv_timer_t *uv)
{
    advance(uv->data);
}

/* ---- for the owner ---- */

void pgsql_open(struct pgsql *s, uv_loop_t *loop, const char *name)
{
    void *data = s->data;
    bool replication = s->replication;

    *s = (struct pgsql){ .data = data, .replication = replication, .loop = loop, .name = name };
    pgv_buf_init(&s->conninfo, PGSQL_CONNINFO_BYTES_MAX);
    (void)uv_timer_init(loop, &s->timer); /* never fails */
    s->timer.data = s;
    s->uv_open = 1;
    s->fd = -1;
}

bool pgsql_set_conninfo(struct pgsql *s, const char *conninfo, struct pgv_error *err)
{
    if (pgv_str_eqz(pgv_buf_view(&s->conninfo), conninfo))
        return true;
    pgv_buf_reset(&s->conninfo);
    if (!pgv_buf_puts(&s->conninfo, conninfo))
        return pgv_fail(err, PGV_ENOMEM, "no room for the connection string of '%s'", s->name);
    if (s->state == BUSY)
        s->stale = true;
    else if (s->conn)
        drop(s);
    kick(s);
    return true;
}

void pgsql_submit(struct pgsql *s, struct pgsql_query *q, pgsql_cb cb)
{
    PGV_ASSERT(!s->closing && !q->in_line && q->deadline_ms > 0);
    q->cb = cb;
    q->next = NULL;
    q->sent = q->canceled = q->lost = false;
    q->in_line = true;
    q->sqlstate[0] = '\0';
    if (s->last)
        s->last->next = q;
    else
        s->first = q;
    s->last = q;
    kick(s);
}

void pgsql_cancel(struct pgsql *s, struct pgsql_query *q)
{
    if (!q->in_line)
        return;
    q->canceled = true;
    kick(s);
}

void pgsql_disconnect(struct pgsql *s)
{
    (void)pgv_fail(&s->lost, PGV_EUNREACHABLE, "%s: disconnected", s->name);
    lose_all(s, "");
}

static void all_closed(struct pgsql *s)
{
    struct pgv_error err = { 0 };
    struct pgsql_query *q;

    if (s->uv_open > 0)
        return;
    (void)pgv_fail(&err, PGV_ECANCELED, "%s: closing", s->name);
    while ((q = s->first) != NULL) {
        unlink_query(s, q);
        q->cb(q, NULL, &err);
    }
    /* Overwrite before it goes back to the heap: there is a password in it. */
    if (s->conninfo.p)
        explicit_bzero(s->conninfo.p, s->conninfo.n);
    pgv_buf_done(&s->conninfo);
    s->close_cb(s);
}

static void on_timer_closed(uv_handle_t *uv)
{
    struct pgsql *s = uv->data;

    s->uv_open--;
    all_closed(s);
}

void pgsql_close(struct pgsql *s, void (*cb)(struct pgsql *s))
{
    PGV_ASSERT(!s->closing);
    s->closing = true;
    s->close_cb = cb;
    drop(s);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

/* ---- results ---- */

bool pgsql_is_null(const PGresult *res, int row, int col)
{
    return row >= PQntuples(res) || col >= PQnfields(res) || PQgetisnull(res, row, col) == 1;
}

struct pgv_str pgsql_field(const PGresult *res, int row, int col)
{
    if (pgsql_is_null(res, row, col))
        return (struct pgv_str){ "", 0 };
    return (struct pgv_str){ PQgetvalue(res, row, col), (size_t)PQgetlength(res, row, col) };
}

bool pgsql_field_i64(const PGresult *res, int row, int col, int64_t *ret)
{
    struct pgv_str s = pgsql_field(res, row, col);
    bool negative = s.n > 0 && s.p[0] == '-';
    uint64_t n;

    if (negative) {
        s.p++;
        s.n--;
    }
    if (!pgv_parse_u64(s, &n) || n > INT64_MAX)
        return false;
    *ret = negative ? -(int64_t)n : (int64_t)n;
    return true;
}

bool pgsql_field_bool(const PGresult *res, int row, int col)
{
    return pgv_str_eqz(pgsql_field(res, row, col), "t");
}
