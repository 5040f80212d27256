/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/status.c - the query behind the REST status document and the health checks.
 *
 * Load balancers come in bursts: whoever asks within PM_STATUS_FRESH_MS of an answer gets that one,
 * and from the middle of that time on has the next one fetched for those who come later, so that
 * under steady load nobody waits. Else those who ask while the query runs share its answer. The end
 * of the server or a change of state or role makes it stale at once. Contract rest §4.2.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

/** Everybody is answered within 3 s; the server's own limit for the statement is 2 s. */
#define QUERY_MS 2800

enum {
    COL_IN_RECOVERY,
    COL_START_US,
    COL_START_OFFSET_S,
    COL_TIMELINE,
    COL_LOCATION,
    COL_REPLAY_LSN,
    COL_RECEIVE_LSN,
    COL_PAUSED,
    COL_REPLAY_US,
    COL_REPLAY_OFFSET_S,
    COL_LATEST_END,
    COL_RECEIVER_STATE,
    COL_WRITTEN_LSN,
    COL_RESTORE_COMMAND,
    COL_SENDERS,
    COLS
};

#define MOMENT(t)                                                                                  \
    "(extract(epoch FROM " t ") OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8,"                 \
    " extract(timezone FROM " t ")::pg_catalog.int4,"

static const char *status_sql(struct postmaster_impl *im)
{
    struct pm_status *st = &im->status;
    int v = im->pm->facts.major_version;
    bool wal = v >= 100000, receiver = v >= 90600;

    if (st->sql_version == v)
        return st->sql;
    (void)snprintf(
        st->sql, sizeof(st->sql),
        "SELECT s.r, " MOMENT(
            "pg_catalog.pg_postmaster_start_time()") " CASE WHEN s.r THEN NULL ELSE"
                                                     " pg_catalog.substr(pg_catalog.pg_%sfile_name("
                                                     "pg_catalog.pg_current_%s()), 1, 8) END,"
                                                     " CASE WHEN s.r THEN NULL ELSE "
                                                     "pg_catalog.pg_current_%s()::text END,"
                                                     " pg_catalog.pg_last_%s()::text, "
                                                     "pg_catalog.pg_last_%s()::text,"
                                                     " CASE WHEN s.r THEN "
                                                     "pg_catalog.pg_is_%s_replay_paused() ELSE "
                                                     "false END, " MOMENT(
                                                         "pg_catalog.pg_last_xact_replay_timestamp("
                                                         ")") " %s, %s, %s, %s,"
                                                              " (SELECT "
                                                              "pg_catalog.array_to_json(pg_catalog."
                                                              "array_agg(pg_catalog.row_to_json(x))"
                                                              ")"
                                                              " FROM (SELECT (SELECT a.rolname "
                                                              "FROM pg_catalog.pg_authid a WHERE "
                                                              "a.oid"
                                                              " OPERATOR(pg_catalog.=) p.usesysid) "
                                                              "AS usename, p.application_name, "
                                                              "p.client_addr,"
                                                              " d.state, d.sync_state, "
                                                              "d.sync_priority"
                                                              " FROM "
                                                              "pg_catalog.pg_stat_get_wal_senders()"
                                                              " d JOIN "
                                                              "pg_catalog.pg_stat_get_activity("
                                                              "NULL) p"
                                                              " ON d.pid OPERATOR(pg_catalog.=) "
                                                              "p.pid) x)"
                                                              " FROM (SELECT "
                                                              "pg_catalog.pg_is_in_recovery() AS "
                                                              "r) s %s",
        wal ? "wal" : "xlog", wal ? "wal_lsn" : "xlog_location",
        v >= 100000  ? "wal_flush_lsn"
        : v >= 90600 ? "xlog_flush_location"
                     : "xlog_location",
        wal ? "wal_replay_lsn" : "xlog_replay_location",
        wal ? "wal_receive_lsn" : "xlog_receive_location", wal ? "wal" : "xlog",
        receiver ? "w.latest_end_lsn::text" : "NULL", receiver ? "w.status" : "NULL",
        v >= 130000 ? "w.written_lsn::text" : "NULL",
        v >= 120000 ? "pg_catalog.current_setting('restore_command')" : "NULL",
        receiver ? "LEFT JOIN pg_catalog.pg_stat_get_wal_receiver() w ON true" : "");
    st->sql_version = v;
    return st->sql;
}

static uint64_t lsn_at(const PGresult *res, int col)
{
    uint64_t lsn;

    return pgv_parse_lsn(pgsql_field(res, 0, col), &lsn) ? lsn : 0;
}

/* 'YYYY-MM-DD HH:MM:SS[.ffffff]+HH:MM' in the zone of the session. */
static double moment_at(const PGresult *res, int col, char ret[48])
{
    char iso[PGV_MOMENT_BYTES], *t;
    int64_t us, offset;

    ret[0] = '\0';
    if (!pgsql_field_i64(res, 0, col, &us) || !pgsql_field_i64(res, 0, col + 1, &offset) ||
        offset < -86400 || offset > 86400)
        return 0;
    pgv_format_moment(us, (int)offset, iso);
    t = strchr(iso, 'T');
    if (t)
        *t = ' ';
    pgv_copy_cut(ret, 48, pgv_str(iso));
    return (double)us / 1e6;
}

static bool take(struct postmaster_impl *im, const PGresult *res)
{
    const struct postmaster_facts *f = &im->pm->facts;
    struct pm_status *status = &im->status;
    struct postmaster_status *st = &status->now;
    struct pgv_str senders, state;
    uint64_t timeline = 0, written, received;
    bool restore;

    if (PQntuples(res) != 1 || PQnfields(res) != COLS)
        return false;
    *st = (struct postmaster_status){ 0 };
    st->server_version = im->conn.restapi.server_version;
    st->in_recovery = pgsql_field_bool(res, 0, COL_IN_RECOVERY);
    st->start_epoch = moment_at(res, COL_START_US, st->start_time);
    st->replayed_epoch = moment_at(res, COL_REPLAY_US, st->replayed_timestamp);
    st->location = lsn_at(res, COL_LOCATION);
    st->replayed_null = pgsql_is_null(res, 0, COL_REPLAY_LSN);
    st->replayed_location = lsn_at(res, COL_REPLAY_LSN);
    written = lsn_at(res, COL_WRITTEN_LSN);
    received = lsn_at(res, COL_RECEIVE_LSN);
    st->received_location = written ? written : received ? received : st->replayed_location;
    st->paused = pgsql_field_bool(res, 0, COL_PAUSED);
    st->latest_end_lsn = lsn_at(res, COL_LATEST_END);
    if (st->in_recovery) {
        st->timeline = f->timeline;
        state = pgsql_field(res, 0, COL_RECEIVER_STATE);
        restore = f->major_version >= 120000
                      ? pgsql_field(res, 0, COL_RESTORE_COMMAND).n > 0
                      : pgv_truthy(pgv_get(im->conf->recovery_conf, "restore_command"));
        if (f->major_version >= 90600 && pgv_str_eqz(state, "streaming"))
            pgv_copy_cut(st->replication_state, sizeof(st->replication_state), state);
        else if (f->major_version >= 90600 && restore)
            pgv_copy_cut(st->replication_state, sizeof(st->replication_state),
                         PGV_STR("in archive recovery"));
    } else {
        struct pgv_str hex = pgsql_field(res, 0, COL_TIMELINE);
        char text[9];

        if (pgv_copy(text, sizeof(text), hex))
            timeline = strtoull(text, NULL, 16);
        st->timeline = (uint32_t)timeline;
    }
    pgv_buf_reset(&status->replication);
    senders = pgsql_field(res, 0, COL_SENDERS);
    if (senders.n > 0) {
        if (!pgv_buf_str(&status->replication, senders))
            return false;
        st->replication_json = &status->replication;
    }
    st->ok = true;
    return true;
}

static void all_ready(struct postmaster_impl *im)
{
    struct pm_status *st = &im->status;
    struct postmaster_status_req **at = &st->ready;

    while (*at)
        at = &(*at)->next;
    *at = st->first;
    st->first = NULL;
    pm_wake_owner(im);
}

static void on_row(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    struct pm_status *st = &im->status;
    bool again = st->stale && !err && st->first;

    st->active = false;
    if (again && pgv_clock_ms() < q->deadline_ms) {
        /* The role or state changed while it ran: half of the answer may be of before. */
        st->stale = false;
        st->active = true;
        pgsql_submit(&im->conn.restapi, q, on_row);
        return;
    }
    if (err && err->code == PGV_EUNREACHABLE && !st->retried && !q->sqlstate[0] &&
        pgv_clock_ms() < q->deadline_ms && im->pm->facts.alive && im->pm->facts.accepting) {
        st->retried = true; /* an idle connection that broke unnoticed */
        st->active = true;
        pgsql_submit(&im->conn.restapi, q, on_row);
        return;
    }
    if (err || !take(im, res)) {
        st->now = (struct postmaster_status){ 0 };
        if (err && err->code != PGV_ECANCELED)
            pgv_log(PGV_WARNING, "pg", "get_postgresql_status: %s", err->msg);
    }
    st->fresh_until_ms = st->now.ok && !st->stale ? pgv_clock_ms() + PM_STATUS_FRESH_MS : 0;
    all_ready(im);
}

bool pm_status_deliver(struct postmaster_impl *im)
{
    struct postmaster_status_req *r;
    bool any = im->status.ready != NULL;

    /* All at once: they may be a thousand. Each is off the list before its owner is called, and
     * closing empties the list. */
    while ((r = im->status.ready) != NULL) {
        im->status.ready = r->next;
        r->next = NULL;
        r->cb(r, &im->status.now);
    }
    return any;
}

void pm_status_forget(struct postmaster_impl *im)
{
    im->status.fresh_until_ms = 0;
    im->status.stale = im->status.active;
}

static void fetch(struct postmaster_impl *im, uint64_t now_ms)
{
    struct pm_status *st = &im->status;

    st->active = true;
    st->stale = st->retried = false;
    st->query.data = im;
    st->query.sql = status_sql(im);
    st->query.keep = "status";
    st->query.deadline_ms = now_ms + QUERY_MS;
    pgsql_submit(&im->conn.restapi, &st->query, on_row);
}

void postmaster_status(struct postmaster *pm, struct postmaster_status_req *r,
                       void (*cb)(struct postmaster_status_req *r,
                                  const struct postmaster_status *st))
{
    struct postmaster_impl *im = pm->impl;
    struct pm_status *st = &im->status;
    const struct postmaster_facts *f = &pm->facts;
    uint64_t now = pgv_clock_ms();
    bool serves = f->alive && f->accepting &&
                  (f->state == PGV_STATE_RUNNING || f->state == PGV_STATE_RESTARTING ||
                   f->state == PGV_STATE_STARTING);

    PGV_ASSERT(!im->closing);
    r->cb = cb;
    r->next = st->first;
    st->first = r;
    if (serves && now < st->fresh_until_ms) {
        all_ready(im);
        if (!st->active && now + PM_STATUS_FRESH_MS / 2 >= st->fresh_until_ms)
            fetch(im, now);
    } else if (st->active) {
        /* shares its answer */
    } else if (!serves) {
        st->now = (struct postmaster_status){ 0 };
        all_ready(im);
    } else {
        fetch(im, now);
    }
}

static void unlink_from(struct postmaster_status_req **at, struct postmaster_status_req *r)
{
    for (; *at; at = &(*at)->next)
        if (*at == r) {
            *at = r->next;
            return;
        }
}

void postmaster_status_cancel(struct postmaster *pm, struct postmaster_status_req *r)
{
    unlink_from(&pm->impl->status.first, r);
    unlink_from(&pm->impl->status.ready, r);
}

void pm_status_close(struct postmaster_impl *im)
{
    /* The owner has ended his requests, or they go with him: nobody is called any more. */
    im->status.first = im->status.ready = NULL;
}
