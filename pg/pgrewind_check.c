/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgrewind_check.c - has this node left the leader's history? Contract pg §17.3, §17.4.
 *
 * Only a primary is asked, and only an answer counts: without one the verdict is 'unknown' and the
 * question is asked again later. Being too careful costs a rewind, being too bold a standby that
 * can never stream.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"
#include "pg/pgrewind.h"

#include <stdio.h>

#include "base/banned.h"

#define CHECK_BYTES_MAX (4u << 20)
#define TIMEOUT_MS_DEFAULT 10000

void pgrewind_local_from_control(const struct pm_control *control, struct pgrewind_local *ret)
{
    struct pgrewind_local local = { 0 };

    switch (control->state) {
    case PM_CONTROL_SHUT_DOWN_IN_RECOVERY:
    case PM_CONTROL_IN_ARCHIVE_RECOVERY:
        /* without a minimum it was a primary when it crashed: as after a clean shutdown */
        if (control->min_recovery_end != 0 && control->min_recovery_end_timeline != 0) {
            local = (struct pgrewind_local){ control->min_recovery_end_timeline,
                                             control->min_recovery_end, true };
            break;
        }
        /* fall through */
    case PM_CONTROL_SHUT_DOWN:
        if (control->checkpoint_known)
            local =
                (struct pgrewind_local){ control->checkpoint_timeline, control->checkpoint, false };
        break;
    case PM_CONTROL_UNKNOWN:
    case PM_CONTROL_STARTING_UP:
    case PM_CONTROL_SHUTTING_DOWN:
    case PM_CONTROL_IN_CRASH_RECOVERY:
    case PM_CONTROL_IN_PRODUCTION:
        break;
    }
    *ret = local;
}

enum pgrewind_verdict pgrewind_judge(const struct pgrewind_local *local, uint32_t leader_timeline,
                                     const struct pghist *history, bool end_known,
                                     uint64_t checkpoint_end, bool *ret_need_end)
{
    *ret_need_end = false;
    if (local->timeline == 0 || local->lsn == 0 || leader_timeline == 0)
        return PGREWIND_UNKNOWN;
    if (local->timeline > leader_timeline)
        return PGREWIND_NEED;
    if (local->timeline == leader_timeline || !history)
        return PGREWIND_NOT_NEEDED;
    for (size_t i = 0; i < history->n; i++) {
        uint64_t switched = history->v[i].lsn;

        if (history->v[i].timeline < local->timeline)
            continue;
        if (history->v[i].timeline > local->timeline)
            return PGREWIND_NEED;
        if (local->in_recovery)
            return local->lsn > switched ? PGREWIND_NEED : PGREWIND_NOT_NEEDED;
        if (local->lsn >= switched)
            return PGREWIND_NEED;
        /* the shutdown checkpoint itself must have been replayed before the switch */
        if (!end_known) {
            *ret_need_end = true;
            return PGREWIND_UNKNOWN;
        }
        return checkpoint_end == switched ? PGREWIND_NOT_NEEDED : PGREWIND_NEED;
    }
    return PGREWIND_NEED;
}

/* -------------------------------------------------------------------------------------- ending */

static void on_timer_closed(uv_handle_t *handle)
{
    struct pgrewind_check *j = handle->data;

    pgconf_unref(j->conf);
    j->conf = NULL;
    pgv_arena_done(&j->arena);
    j->running = false;
    j->cb(j, j->verdict, j->message);
}

static void close_parts(struct pgrewind_check *j);

static void on_remote_closed(struct pgremote *r)
{
    close_parts(r->data);
}

/** One part after the other. */
static void close_parts(struct pgrewind_check *j)
{
    if (j->sql.open)
        pgremote_close(&j->sql, on_remote_closed);
    else if (j->repl.open)
        pgremote_close(&j->repl, on_remote_closed);
    else
        uv_close((uv_handle_t *)&j->deferred, on_timer_closed);
}

static void finish(struct pgrewind_check *j, enum pgrewind_verdict verdict, const char *message)
{
    j->ending = true;
    j->verdict = j->canceled ? PGREWIND_UNKNOWN : verdict;
    pgv_copy_cut(j->message, sizeof(j->message), pgv_str(j->canceled ? "canceled" : message));
    close_parts(j);
}

/* ------------------------------------------------------------------------------------- judging */

static void log_history(const struct pgrewind_check *j)
{
    size_t n = j->history.n;

    for (size_t i = n > 4 ? n - 4 : 0; i < n; i++) {
        const struct pghist_entry *e = &j->history.v[i];
        char lsn[PGV_LSN_BYTES];

        pgv_format_lsn(e->lsn, lsn);
        pgv_log(PGV_INFO, "pg", "primary: history=%u\t%s\t%.*s", (unsigned)e->timeline, lsn,
                (int)(e->reason.n < 100 ? e->reason.n : 100), e->reason.p);
    }
}

static void conclude(struct pgrewind_check *j, enum pgrewind_verdict verdict)
{
    char message[160], lsn[PGV_LSN_BYTES];

    pgv_format_lsn(j->local.lsn, lsn);
    (void)snprintf(message, sizeof(message), "%s: local timeline=%u lsn=%s primary_timeline=%u",
                   verdict == PGREWIND_NEED ? "diverged from the primary"
                                            : "not diverged from the primary",
                   (unsigned)j->local.timeline, lsn, (unsigned)j->leader_timeline);
    finish(j, verdict, message);
}

static void on_end_known(struct pgwal_query *q, const struct pgv_error *err)
{
    struct pgrewind_check *j = q->data;
    bool need_end;

    j->wal_busy = false;
    if (err && !j->canceled)
        pgv_log(PGV_ERROR, "pg", "end of the shutdown checkpoint is not known: %s", err->msg);
    if (err && err->code != PGV_EINVALID) { /* later it may tell; a data directory may hang on it */
        finish(j, PGREWIND_UNKNOWN, err->msg);
        return;
    }
    conclude(
        j, pgrewind_judge(&j->local, j->leader_timeline, &j->history, true, q->end_lsn, &need_end));
}

static void judge(struct pgrewind_check *j, bool has_history)
{
    struct pgv_error err;
    bool need_end;
    enum pgrewind_verdict verdict = pgrewind_judge(
        &j->local, j->leader_timeline, has_history ? &j->history : NULL, false, 0, &need_end);

    if (has_history)
        log_history(j);
    if (!need_end) {
        conclude(j, verdict);
        return;
    }
    j->wal.data = j;
    j->wal_busy = pgwal_query_end(&j->wal, j->loop, j->conf, j->major_version, j->local.timeline,
                                  j->local.lsn, on_end_known, &err);
    if (!j->wal_busy)
        finish(j, PGREWIND_UNKNOWN, err.msg);
}

/* -------------------------------------------------------------------------------------- asking */

static void on_history(struct pgremote *r, const PGresult *res, const struct pgv_error *err)
{
    struct pgrewind_check *j = r->data;
    struct pgv_error why;

    if (err)
        finish(j, PGREWIND_UNKNOWN, err->msg);
    else if (!pghist_parse(&j->arena, pgsql_field(res, 0, 1), &j->history, &why))
        finish(j, PGREWIND_UNKNOWN, why.msg);
    else
        judge(j, true);
}

static void on_identified(struct pgremote *r, const PGresult *res, const struct pgv_error *err)
{
    struct pgrewind_check *j = r->data;
    int64_t timeline;

    if (err) {
        finish(j, PGREWIND_UNKNOWN, err->msg);
        return;
    }
    if (!pgsql_field_i64(res, 0, 1, &timeline) || timeline <= 0 || timeline > UINT32_MAX) {
        finish(j, PGREWIND_UNKNOWN, "the leader did not tell its timeline");
        return;
    }
    j->leader_timeline = (uint32_t)timeline;
    pgv_log(PGV_INFO, "pg", "primary_timeline=%u", (unsigned)j->leader_timeline);
    if (j->local.timeline >= j->leader_timeline || j->leader_timeline == 1) {
        judge(j, false);
        return;
    }
    (void)snprintf(j->command, sizeof(j->command), "TIMELINE_HISTORY %u",
                   (unsigned)j->leader_timeline);
    pgremote_ask(&j->repl, j->command, on_history);
}

static void on_recovery(struct pgremote *r, const PGresult *res, const struct pgv_error *err)
{
    struct pgrewind_check *j = r->data;

    if (err)
        finish(j, PGREWIND_UNKNOWN, err->msg);
    else if (pgsql_field_bool(res, 0, 0))
        finish(j, PGREWIND_UNKNOWN,
               "Leader is still in_recovery and therefore can't be used for rewind");
    else
        pgremote_ask(&j->repl, "IDENTIFY_SYSTEM", on_identified);
}

static void on_begin(uv_timer_t *timer)
{
    struct pgrewind_check *j = timer->data;
    char lsn[PGV_LSN_BYTES];

    pgv_format_lsn(j->local.lsn, lsn);
    pgv_log(PGV_INFO, "pg", "Local timeline=%u lsn=%s", (unsigned)j->local.timeline, lsn);
    if (j->canceled)
        finish(j, PGREWIND_UNKNOWN, "canceled");
    else if (j->local.timeline == 0 || j->local.lsn == 0)
        finish(j, PGREWIND_UNKNOWN, "the local position is not known");
    else if (!j->sql.open)
        finish(j, PGREWIND_UNKNOWN, "the leader's member key does not say that it is primary");
    else
        pgremote_ask(&j->sql, "SELECT pg_catalog.pg_is_in_recovery()", on_recovery);
}

/** Superuser or rewind credentials; replication ones where only removal of a diverged directory
 *  is wanted before 11, as then nobody has configured anything for rewinding. */
static const struct pgconf_auth *credentials(const struct pgconf *c, int major_version)
{
    if (!c->use_pg_rewind && c->remove_data_directory_on_diverged_timelines &&
        major_version < 110000)
        return &c->replication;
    return pgconf_rewind_auth(c, major_version);
}

bool pgrewind_check_start(struct pgrewind_check *j, uv_loop_t *loop,
                          const struct pgrewind_check_args *args,
                          void (*cb)(struct pgrewind_check *j, enum pgrewind_verdict verdict,
                                     const char *message),
                          struct pgv_error *err)
{
    uint64_t until = pgv_clock_ms() + (args->timeout_ms ? args->timeout_ms : TIMEOUT_MS_DEFAULT);
    struct pgdsn node, sql = { 0 }, repl = { 0 };
    bool ask = args->leader_remote || args->leader_role == PGV_ROLE_PRIMARY;

    PGV_ASSERT(!j->running);
    *j = (struct pgrewind_check){ .data = j->data,
                                  .loop = loop,
                                  .conf = args->conf,
                                  .cb = cb,
                                  .local = args->local,
                                  .major_version = args->major_version };
    pgv_arena_init(&j->arena, CHECK_BYTES_MAX);
    if (!pgconf_url_to_dsn(args->conf, &j->arena, args->leader_conn_url, &node, err)) {
        pgv_arena_done(&j->arena);
        return false;
    }
    (void)pgconf_ref(j->conf);
    pgconf_auth_to_dsn(credentials(j->conf, j->major_version), &sql);
    pgconf_auth_to_dsn(&j->conf->replication, &repl);
    sql.v[PGDSN_HOST] = repl.v[PGDSN_HOST] = node.v[PGDSN_HOST];
    sql.v[PGDSN_PORT] = repl.v[PGDSN_PORT] = node.v[PGDSN_PORT];
    sql.v[PGDSN_DBNAME] = node.v[PGDSN_DBNAME];
    sql.v[PGDSN_CONNECT_TIMEOUT] = repl.v[PGDSN_CONNECT_TIMEOUT] = "3";
    sql.v[PGDSN_APPLICATION_NAME] = repl.v[PGDSN_APPLICATION_NAME] = "Patroni";
    sql.v[PGDSN_OPTIONS] = "-c statement_timeout=2000 -c search_path=pg_catalog";
    repl.v[PGDSN_REPLICATION] = "1";
    if (j->major_version >= 100000)
        sql.v[PGDSN_TARGET_SESSION_ATTRS] = "read-write";
    if (ask) {
        j->sql.data = j->repl.data = j;
        pgremote_open(&j->sql, loop, "rewind check", &sql, false, until);
        pgremote_open(&j->repl, loop, "rewind check", &repl, true, until);
    }
    (void)uv_timer_init(loop, &j->deferred);
    j->deferred.data = j;
    j->running = true;
    (void)uv_timer_start(&j->deferred, on_begin, 0, 0);
    return true;
}

void pgrewind_check_cancel(struct pgrewind_check *j)
{
    if (!j->running || j->ending || j->canceled)
        return;
    j->canceled = true;
    if (j->wal_busy)
        pgwal_query_cancel(&j->wal);
    pgremote_cancel(&j->sql);
    pgremote_cancel(&j->repl);
}
