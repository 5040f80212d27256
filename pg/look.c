/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/look.c - a fresh look at the server: process, data directory, and the monitoring query.
 *
 * One statement on the heartbeat connection (contract pg §10.4). It is allowed two seconds by the
 * server and a little more by us; a server that does not answer in that time is there all the
 * same, which look_timeout says. When the server is down the control file is read instead.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"

#include <stdio.h>

#include "base/banned.h"

/** The server's own limit is 2000 ms; ours only fires when the server cannot even say so. */
#define QUERY_MS 2500
#define IDENTIFY_MS 2500

/* Columns of the monitoring query. LSNs are texts, NULL where they do not apply. */
enum {
    COL_IN_RECOVERY,
    COL_START_US,
    COL_TIMELINE, /* 8 hex digits of the current WAL file */
    COL_WAL_LSN,
    COL_REPLAY_LSN,
    COL_RECEIVE_LSN,
    COL_PAUSED,
    COL_RECEIVED_TLI,
    COL_WRITTEN_LSN,
    COL_SLOT_NAME,
    COL_CONNINFO,
    COL_RECEIVER_STATE,
    COL_RESTORE_COMMAND,
    COL_SLOTS, /* in a look's query only */
};

const char *pm_look_sql(struct postmaster_impl *im)
{
    int v = im->pm->facts.major_version;
    bool wal = v >= 100000;
    const char *receiver =
        v >= 90600 ? "LEFT JOIN pg_catalog.pg_stat_get_wal_receiver() w ON true" : "";

    if (im->sql_version == v)
        return im->sql;
    (void)snprintf(
        im->sql, sizeof(im->sql),
        "SELECT s.r, (extract(epoch FROM pg_catalog.pg_postmaster_start_time())"
        " OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8,"
        " CASE WHEN s.r THEN NULL ELSE"
        " pg_catalog.substr(pg_catalog.pg_%sfile_name(pg_catalog.pg_current_%s()), 1, 8) END,"
        " CASE WHEN s.r THEN NULL ELSE pg_catalog.pg_current_%s()::text END,"
        " pg_catalog.pg_last_%s()::text, pg_catalog.pg_last_%s()::text,"
        " CASE WHEN s.r THEN pg_catalog.pg_is_%s_replay_paused() ELSE false END,"
        " %s, %s, %s, %s, %s, %s"
        " FROM (SELECT pg_catalog.pg_is_in_recovery() AS r) s %s",
        wal ? "wal" : "xlog", wal ? "wal_lsn" : "xlog_location",
        v >= 100000  ? "wal_flush_lsn"
        : v >= 90600 ? "xlog_flush_location"
                     : "xlog_location",
        wal ? "wal_replay_lsn" : "xlog_replay_location",
        wal ? "wal_receive_lsn" : "xlog_receive_location", wal ? "wal" : "xlog",
        v >= 90600 ? "CASE WHEN w.latest_end_lsn IS NULL THEN NULL ELSE w.received_tli END"
                   : "NULL",
        v >= 130000 ? "w.written_lsn::text" : "NULL", v >= 90600 ? "w.slot_name::text" : "NULL",
        v >= 90600 ? "w.conninfo" : "NULL", v >= 90600 ? "w.status" : "NULL",
        v >= 120000 ? "pg_catalog.current_setting('restore_command')" : "NULL", receiver);
    im->sql_version = v;
    return im->sql;
}

static uint64_t lsn_at(const PGresult *res, int col)
{
    uint64_t lsn;

    return pgv_parse_lsn(pgsql_field(res, 0, col), &lsn) ? lsn : 0;
}

static uint32_t hex_at(const PGresult *res, int col)
{
    struct pgv_str s = pgsql_field(res, 0, col);
    uint32_t n = 0;

    if (s.n != 8)
        return 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;

        if (digit > 15)
            return 0;
        n = n << 4 | digit;
    }
    return n;
}

/* The recovery parameters of our own recovery.conf stand in for the setting before 12. */
static bool has_restore_command(const struct postmaster_impl *im, const PGresult *res)
{
    if (im->pm->facts.major_version >= 120000)
        return pgsql_field(res, 0, COL_RESTORE_COMMAND).n > 0;
    return pgv_truthy(pgv_get(im->conf->recovery_conf, "restore_command"));
}

static void take_receiver(struct postmaster_impl *im, const PGresult *res)
{
    struct pm_receiver *r = &im->receiver;
    int64_t n;

    *r = (struct pm_receiver){ .present = !pgsql_is_null(res, 0, COL_RECEIVER_STATE) };
    if (pgsql_field_i64(res, 0, COL_RECEIVED_TLI, &n) && n > 0 && n <= UINT32_MAX)
        r->timeline = (uint32_t)n;
    pgv_copy_cut(r->slot_name, sizeof(r->slot_name), pgsql_field(res, 0, COL_SLOT_NAME));
    pgv_copy_cut(r->state, sizeof(r->state), pgsql_field(res, 0, COL_RECEIVER_STATE));
    /* Too long to keep: then the comparison goes by the setting instead. */
    if (!pgv_copy(r->conninfo, sizeof(r->conninfo), pgsql_field(res, 0, COL_CONNINFO)))
        r->conninfo[0] = '\0';
}

/* The query says what the server is; the role is what we call it. */
static void role_by_look(struct postmaster_impl *im)
{
    const struct postmaster_facts *f = &im->pm->facts;

    if (im->stop.active)
        return; /* what is being demoted stays so, even if it still answers */
    if (!f->in_recovery && f->role != PGV_ROLE_PRIMARY)
        pm_set_role(im, PGV_ROLE_PRIMARY);
    else if (f->in_recovery && (f->role == PGV_ROLE_PRIMARY || f->role == PGV_ROLE_DEMOTED ||
                                f->role == PGV_ROLE_UNINITIALIZED))
        pm_set_role(im, PGV_ROLE_REPLICA);
    /* PROMOTED in recovery: the promotion is under way. */
}

bool pm_look_take(struct postmaster_impl *im, const PGresult *res)
{
    struct postmaster_facts *f = &im->pm->facts;
    struct postmaster_facts before = *f;
    uint64_t written;
    int64_t start;

    if (PQntuples(res) != 1 || PQnfields(res) < COL_RESTORE_COMMAND + 1)
        return false;
    take_receiver(im, res);
    f->look_ok = f->accepting = true;
    f->look_timeout = false;
    f->look_ms = pgv_clock_ms();
    f->in_recovery = pgsql_field_bool(res, 0, COL_IN_RECOVERY);
    f->start_time_wall_us = pgsql_field_i64(res, 0, COL_START_US, &start) ? start : 0;
    f->replay_lsn = lsn_at(res, COL_REPLAY_LSN);
    f->receive_lsn = lsn_at(res, COL_RECEIVE_LSN);
    written = lsn_at(res, COL_WRITTEN_LSN);
    if (written > f->receive_lsn)
        f->receive_lsn = written;
    f->replay_paused = pgsql_field_bool(res, 0, COL_PAUSED);
    f->streaming = f->in_recovery && strcmp(im->receiver.state, "streaming") == 0;
    f->in_archive_recovery = f->in_recovery && !f->streaming && f->major_version >= 90600 &&
                             has_restore_command(im, res);
    if (!f->in_recovery) {
        f->timeline = hex_at(res, COL_TIMELINE);
        f->wal_lsn = lsn_at(res, COL_WAL_LSN);
        im->identified_timeline = 0;
    } else {
        f->wal_lsn = f->receive_lsn > f->replay_lsn ? f->receive_lsn : f->replay_lsn;
        f->timeline = im->receiver.timeline ? im->receiver.timeline : im->identified_timeline;
    }
    pm_find_version(im);
    role_by_look(im);
    if (!before.look_ok || f->in_recovery != before.in_recovery || f->timeline != before.timeline ||
        f->streaming != before.streaming || f->replay_paused != before.replay_paused ||
        f->accepting != before.accepting)
        pm_changed(im);
    return true;
}

static void finish_if_done(struct postmaster_impl *im)
{
    struct pm_look *l = &im->look;

    if (!l->active || !l->query_done || !l->control_done || !l->prepare_done)
        return;
    l->active = false;
    im->look_due = true;
    pm_wake_owner(im);
}

static void control_done(struct postmaster_impl *im)
{
    im->look.control_done = true;
    finish_if_done(im);
}

static void prepare_done(struct postmaster_impl *im)
{
    im->look.prepare_done = true;
    finish_if_done(im);
}

static void query_done(struct postmaster_impl *im)
{
    im->look.query_done = true;
    finish_if_done(im);
}

/* ---- a standby's timeline, when no wal receiver tells it (contract pg §10.5) ---- */

static void on_identified(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    struct postmaster_facts *f = &im->pm->facts;
    int64_t n;

    if (err) {
        pgv_log(PGV_DEBUG, "pg", "IDENTIFY_SYSTEM failed: %s", err->msg);
    } else if (pgsql_field_i64(res, 0, 1, &n) && n > 0 && n <= UINT32_MAX && f->alive) {
        im->identified_timeline = (uint32_t)n;
        if (f->in_recovery && im->receiver.timeline == 0) {
            f->timeline = (uint32_t)n;
            pm_changed(im);
        }
    }
    /* A wal sender that idles would be waited for when the server stops. */
    pgsql_disconnect(&im->conn.repl);
    query_done(im);
}

static void identify_or_finish(struct postmaster_impl *im)
{
    struct pm_look *l = &im->look;
    const struct postmaster_facts *f = &im->pm->facts;

    if (im->closing || !f->look_ok || !f->in_recovery || im->receiver.timeline != 0 ||
        (im->identified_timeline != 0 && im->leader_timeline != 0 &&
         im->identified_timeline == im->leader_timeline)) {
        query_done(im);
        return;
    }
    l->identify.data = im;
    l->identify.sql = "IDENTIFY_SYSTEM";
    l->identify.deadline_ms = pgv_clock_ms() + IDENTIFY_MS;
    pgsql_submit(&im->conn.repl, &l->identify, on_identified);
}

/* ---- the query ---- */

static void submit(struct postmaster_impl *im);

static void failed(struct postmaster_impl *im, const struct pgsql_query *q,
                   const struct pgv_error *err)
{
    struct postmaster_facts *f = &im->pm->facts;
    bool late = pgv_clock_ms() >= q->deadline_ms;

    f->look_ok = false;
    f->look_timeout = f->alive && (late || strcmp(q->sqlstate, "57014") == 0);
    /* Any state but "cannot connect now" is said by a server that takes connections. */
    if (err->code == PGV_EUNREACHABLE && (!q->sqlstate[0] || strcmp(q->sqlstate, "57P03") == 0))
        f->accepting = f->accepting && late;
    pgv_log(f->state == PGV_STATE_RUNNING ? PGV_WARNING : PGV_DEBUG, "pg",
            "the monitoring query failed: %s", err->msg);
    if (f->alive && f->state == PGV_STATE_RUNNING && strcmp(q->sqlstate, "57P03") == 0) {
        /* It restarts by itself after the crash of a backend. Contract pg §10.3. */
        im->pending = PM_PENDING_DEFAULT;
        pm_set_state(im, PGV_STATE_STARTING);
        pm_probe_on(im);
    }
    pm_changed(im);
}

/* A stop or restart failed, and yet it serves. */
static bool given_up(const struct postmaster_impl *im)
{
    enum pgv_state s = im->pm->facts.state;

    return !im->stop.active && !im->start.active &&
           (s == PGV_STATE_STOP_FAILED || s == PGV_STATE_RESTART_FAILED ||
            s == PGV_STATE_START_FAILED || s == PGV_STATE_STOPPED || s == PGV_STATE_CRASHED);
}

static void on_row(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    struct pm_look *l = &im->look;

    if (!err && im->pm->facts.alive) {
        if (PQnfields(res) > COL_SLOTS)
            pgslots_take(&im->slots, pgsql_field(res, 0, COL_SLOTS));
        if (!pm_look_take(im, res)) {
            struct pgv_error odd = { 0 };

            (void)pgv_fail(&odd, PGV_EUNREACHABLE, "unexpected answer");
            failed(im, q, &odd);
        } else if (given_up(im)) {
            im->pending = PM_PENDING_NOOP;
            pm_on_accepting(im);
        }
    } else if (err && im->pm->facts.alive && !im->closing) {
        /* An old connection may have broken without the server being at fault: ask once more. */
        if (err->code == PGV_EUNREACHABLE && !l->retried && pgv_clock_ms() < q->deadline_ms) {
            l->retried = true;
            submit(im);
            return;
        }
        failed(im, q, err);
    }
    identify_or_finish(im);
}

/* The monitoring query with the slots, where they are looked after at the end of the cycle: one
 * question instead of two. */
static const char *sql_of_look(struct postmaster_impl *im)
{
    const struct postmaster_facts *f = &im->pm->facts;
    char slots[PGSLOTS_SQL_BYTES];

    im->look.query.keep = "look";
    if (!im->has_config_key || f->state != PGV_STATE_RUNNING || f->major_version < 90400)
        return pm_look_sql(im);
    im->look.query.keep = "look_slots";
    if (im->slots_sql_version != f->major_version) {
        pgslots_sql(f->major_version, slots);
        (void)snprintf(im->slots_sql, sizeof(im->slots_sql), "SELECT l.*, %s FROM (%s) l", slots,
                       pm_look_sql(im));
        im->slots_sql_version = f->major_version;
    }
    return im->slots_sql;
}

static void submit(struct postmaster_impl *im)
{
    struct pm_look *l = &im->look;

    l->query.data = im;
    l->query.sql = sql_of_look(im);
    if (!l->retried)
        l->query.deadline_ms = pgv_clock_ms() + QUERY_MS;
    pgsql_submit(&im->conn.heartbeat, &l->query, on_row);
}

/* The owner saw a running server that no start-type callback was ever run for. Contract ha §25. */
static void announce(struct postmaster_impl *im)
{
    const struct postmaster_facts *f = &im->pm->facts;

    if (f->look_ok && !f->announced && f->state == PGV_STATE_RUNNING && !im->bootstrapping &&
        im->pm->job == PM_JOB_NONE)
        pm_callback(im, "on_start");
}

void postmaster_look(struct postmaster *pm, void (*on_look)(struct postmaster *pm))
{
    struct postmaster_impl *im = pm->impl;
    struct pm_look *l = &im->look;
    bool was_active = l->active;

    l->cb = on_look;
    if (was_active)
        return;
    im->look_due = false;
    *l = (struct pm_look){ .active = true, .cb = on_look };
    pm_read_dir_again(im);
    (void)pm_server_find(im);
    if (pm_prepared(im, prepare_done))
        l->prepare_done = true;
    announce(im);
    if (im->reconf.attach_due && pm->facts.state == PGV_STATE_RUNNING)
        pm_reconf_attach(im);
    if (pm_control_ready(im, control_done))
        l->control_done = true;
    if (pm->facts.alive && !pm_is_starting(im))
        submit(im);
    else
        l->query_done = true; /* down, or the probe is at it */
    finish_if_done(im);
}
