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

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/banned.h"

#define CHECK_BYTES_MAX (4u << 20)
#define TIMEOUT_MS_DEFAULT 10000
/** The first record of a timeline (end of recovery: 42 bytes, or a checkpoint), behind the header
 * of a segment (40 bytes) at most. Source: PostgreSQL, xlogrecord.h, xlog_internal.h. */
#define BEGIN_BYTES 81
#define BEGIN_BYTES_MIN 41
/** A checkpoint record is longer, in every version. */
#define CHECKPOINT_BYTES 60

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

unsigned pgrewind_begin(const struct pgrewind_local *local, uint32_t leader_timeline,
                        const struct pghist *history, uint64_t *ret_lsn)
{
    uint64_t end = local->lsn + (local->in_recovery ? 0 : CHECKPOINT_BYTES), bytes;

    for (size_t i = 0; i < history->n; i++) {
        uint64_t begin = history->v[i].lsn;

        if ((i + 1 < history->n ? history->v[i + 1].timeline : leader_timeline) != local->timeline)
            continue;
        bytes = end > begin + 1 ? end - begin - 1 : 0;
        *ret_lsn = begin;
        return bytes < BEGIN_BYTES_MIN ? 0 : bytes < BEGIN_BYTES ? (unsigned)bytes : BEGIN_BYTES;
    }
    return 0;
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

/* Bytes of our own WAL; fewer than asked for when they are not there any more. */
static size_t read_wal(const struct pgrewind_check *j, const char *file, uint64_t offset,
                       unsigned char *ret, size_t bytes)
{
    char path[PGCONF_PATH_BYTES];
    ssize_t n;
    int fd, len = snprintf(path, sizeof(path), "%s/%s/%s", j->conf->data_dir,
                           pgconf_wal_dir(j->major_version), file);

    if (len < 0 || (size_t)len >= sizeof(path))
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = pread(fd, ret, bytes, (off_t)offset);
    (void)close(fd);
    return n > 0 ? (size_t)n : 0;
}

static bool is_wal_file(struct pgv_str name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!strchr("0123456789ABCDEF", name.p[i]))
            return false;
    return name.n == 24;
}

static void on_begin_read(struct pgremote *r, const PGresult *res, const struct pgv_error *err)
{
    struct pgrewind_check *j = r->data;
    struct pgv_str file = pgsql_field(res, 0, 0), theirs = pgsql_field(res, 0, 2);
    unsigned char ours[BEGIN_BYTES];
    char name[25], hex[3];
    size_t n;
    int64_t offset;

    if (j->canceled) {
        finish(j, PGREWIND_UNKNOWN, "canceled");
        return;
    }
    if (err) {
        pgv_log(PGV_DEBUG, "pg", "the leader's WAL cannot be compared with ours: %s", err->msg);
        conclude(j, PGREWIND_NOT_NEEDED);
        return;
    }
    if (!is_wal_file(file) || !pgv_copy(name, sizeof(name), file) ||
        !pgsql_field_i64(res, 0, 1, &offset) || offset < 0) {
        conclude(j, PGREWIND_NOT_NEEDED);
        return;
    }
    n = read_wal(j, name, (uint64_t)offset, ours, j->begin_bytes);
    if (n > theirs.n / 2)
        n = theirs.n / 2;
    if (n < BEGIN_BYTES_MIN) { /* one of us has it no longer: the timeline is old */
        conclude(j, PGREWIND_NOT_NEEDED);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(hex, sizeof(hex), "%02x", ours[i]);
        if (memcmp(hex, theirs.p + 2 * i, 2) != 0) {
            pgv_log(PGV_ERROR, "pg",
                    "timeline %u of this node is not the leader's timeline %u: two nodes were "
                    "promoted without knowing of each other",
                    (unsigned)j->local.timeline, (unsigned)j->local.timeline);
            conclude(j, PGREWIND_NEED);
            return;
        }
    }
    conclude(j, PGREWIND_NOT_NEEDED);
}

/* By the numbers we belong to the leader's history; by the first record of our timeline as well? */
static void compare_begin(struct pgrewind_check *j)
{
    bool wal = j->major_version >= 100000;
    uint64_t lsn = j->begin_lsn + 1; /* at a boundary of segments the server means the one before */

    (void)snprintf(j->command, sizeof(j->command),
                   "SELECT f.n, f.o, pg_catalog.encode(pg_catalog.pg_read_binary_file("
                   "'%s/' || f.n, f.o, %u, true), 'hex') FROM (SELECT '%08X' ||"
                   " pg_catalog.substr(file_name, 9) AS n, file_offset AS o"
                   " FROM pg_catalog.pg_%sfile_name_offset('%X/%X')) f",
                   pgconf_wal_dir(j->major_version), j->begin_bytes, (unsigned)j->local.timeline,
                   wal ? "wal" : "xlog", (unsigned)(lsn >> 32), (unsigned)lsn);
    pgremote_ask(&j->sql, j->command, on_begin_read);
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
    /* missing_ok came with 9.5 */
    if (verdict == PGREWIND_NOT_NEEDED && has_history && j->major_version >= 90500)
        j->begin_bytes = pgrewind_begin(&j->local, j->leader_timeline, &j->history, &j->begin_lsn);
    if (j->begin_bytes) {
        compare_begin(j);
        return;
    }
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
    if (j->local.timeline > j->leader_timeline || j->leader_timeline == 1) {
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
