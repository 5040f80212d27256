/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgrewind.c - pg_rewind as a machine:
 *
 *     archive what is ready → is the leader ready? → restore_command → pg_rewind → done
 *                                                          ↑  ↓ a segment is missing
 *                                                     fetch it by restore_command
 *
 * The leader is ready when its control file says its new timeline, which a checkpoint after the
 * promotion writes there: pg_rewind reads the source's control file and would find nothing to do.
 *
 * Once pg_rewind copies there is no way back, and it leaves no trace of where it ended: the control
 * file, which it writes last, still tells of a clean shutdown on the old timeline. So a mark is put
 * beside it first. A file would not stay: pg_rewind removes what the source does not have, and
 * while most of what it copies is only asked for. What is neither file, folder nor link it does not
 * see (source: PostgreSQL, file_ops.c, recurse_dir(); pg_rewind.c, perform_rewind()), so it is a
 * FIFO.
 */
#include "pg/pgrewind.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/parse.h"
#include "pg/pgclone.h"
#include "pg/process.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/banned.h"

#define REWIND_BYTES_MAX (4u << 20)
#define TIMEOUT_MS_DEFAULT 10000
#define FETCH_TIMEOUT_MS 900000
#define CANCEL_KILL_MS 10000
#define FETCHES_MAX 100000
#define RESTART_FILE "000000010000000000000001" /* for %r, which has no meaning here */

#define CHECKPOINT_TIMEOUT_MS 600000

/** A segment of WAL: a disk that was too full for the server to go on has less. */
#define ROOM_BYTES (16u << 20)
#define LEFT_MAX 8

static const char recovery_sql[] = "SELECT pg_catalog.pg_is_in_recovery()";

static const char has_checkpoint_sql[] =
    "SELECT NOT pg_catalog.pg_is_in_recovery() AND ('x' || pg_catalog.substr("
    "pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int"
    " = timeline_id FROM pg_catalog.pg_control_checkpoint()";

/* -------------------------------------------------------------------------------------- ending */

static void on_timer_closed(uv_handle_t *handle)
{
    struct pgrewind *j = handle->data;

    pgconf_unref(j->conf);
    j->conf = NULL;
    pgv_arena_done(&j->arena);
    j->running = false;
    j->cb(j, j->result, j->message);
}

static void on_remote_closed(struct pgremote *r)
{
    struct pgrewind *j = r->data;

    uv_close((uv_handle_t *)&j->deferred, on_timer_closed);
}

static void finish(struct pgrewind *j, enum pgrewind_result result, const char *message)
{
    j->ending = true;
    j->result = j->canceled ? PGREWIND_CANCELED : result;
    pgv_copy_cut(j->message, sizeof(j->message), pgv_str(j->canceled ? "canceled" : message));
    if (j->sql.open)
        pgremote_close(&j->sql, on_remote_closed);
    else
        uv_close((uv_handle_t *)&j->deferred, on_timer_closed);
}

static void set_step(struct pgrewind *j, const char *step, int percent)
{
    if (strcmp(j->step, step) == 0 && j->percent == percent)
        return;
    pgv_copy_cut(j->step, sizeof(j->step), pgv_str(step));
    j->percent = percent;
    if (percent < 0)
        j->bytes = j->bytes_total = 0;
    if (j->on_progress)
        j->on_progress(j);
}

/* --------------------------------------------------------------------------------- the leader */

typedef void (*answer_fn)(struct pgremote *r, const PGresult *res, const struct pgv_error *err);

/** One question over a new connection: between two of them an hour of copying may pass. */
static void ask_leader(struct pgrewind *j, const char *sql, answer_fn cb)
{
    j->sql.data = j;
    if (!j->sql.open)
        pgremote_open(&j->sql, j->loop, "rewind", &j->dsn, false, pgv_clock_ms() + j->timeout_ms);
    pgremote_ask(&j->sql, sql, cb);
}

static void not_usable(struct pgrewind *j, const char *why)
{
    char message[PGV_ERROR_MSG_BYTES];

    (void)snprintf(message, sizeof(message), "Can not use %s for rewind: %s", j->leader, why);
    if (!j->canceled)
        pgv_log(PGV_WARNING, "pg", "%s", message);
    finish(j, PGREWIND_NOT_NOW, message);
}

static void find_restore_command(struct pgrewind *j);

/** The leader is ready; the connection goes, as what follows may take hours. */
static void on_ready_closed(struct pgremote *r)
{
    struct pgrewind *j = r->data;

    if (j->canceled)
        finish(j, PGREWIND_CANCELED, "canceled");
    else
        find_restore_command(j);
}

static void on_checkpoint_done(struct pgremote *r, const PGresult *res, const struct pgv_error *err)
{
    struct pgrewind *j = r->data;

    (void)res;
    if (err)
        not_usable(j, err->msg);
    else
        pgremote_close(&j->sql, on_ready_closed);
}

static void on_recovery_before_checkpoint(struct pgremote *r, const PGresult *res,
                                          const struct pgv_error *err)
{
    struct pgrewind *j = r->data;

    if (err) {
        not_usable(j, "not accessible or not healthy");
    } else if (pgsql_field_bool(res, 0, 0)) {
        not_usable(j, "is_in_recovery=true");
    } else {
        pgremote_set_deadline(&j->sql, pgv_clock_ms() + CHECKPOINT_TIMEOUT_MS);
        /* from 19 on unlogged relations can be flushed as well */
        pgremote_ask(&j->sql,
                     j->sql.sql.server_version >= 190000 ? "CHECKPOINT (FLUSH_UNLOGGED)"
                                                         : "CHECKPOINT",
                     on_checkpoint_done);
    }
}

static void on_has_checkpoint(struct pgremote *r, const PGresult *res, const struct pgv_error *err)
{
    struct pgrewind *j = r->data;

    if (err)
        not_usable(j, "not accessible or not healthy");
    else if (!pgsql_field_bool(res, 0, 0))
        not_usable(j, "leader has not run a checkpoint yet");
    else
        pgremote_close(&j->sql, on_ready_closed);
}

static void on_recovery(struct pgremote *r, const PGresult *res, const struct pgv_error *err)
{
    struct pgrewind *j = r->data;

    if (err)
        not_usable(j, err->msg);
    else if (pgsql_field_bool(res, 0, 0))
        not_usable(j, "Leader is still in_recovery and therefore can't be used for rewind");
    else
        pgremote_close(&j->sql, on_ready_closed);
}

static void check_leader(struct pgrewind *j)
{
    char message[PGV_NAME_BYTES + 64];

    set_step(j, "checking the leader", -1);
    if (j->checkpoint_known && !j->checkpoint_done) {
        (void)snprintf(message, sizeof(message), "Waiting for checkpoint on %s before rewind",
                       j->leader);
        pgv_log(PGV_INFO, "pg", "%s", message);
        finish(j, PGREWIND_NOT_NOW, message);
    } else if (j->checkpoint_known) {
        ask_leader(j, recovery_sql, on_recovery);
    } else if (j->super) {
        ask_leader(j, recovery_sql, on_recovery_before_checkpoint);
    } else {
        ask_leader(j, has_checkpoint_sql, on_has_checkpoint);
    }
}

static void on_archived(struct pgarchive *a, bool ok, const char *message)
{
    struct pgrewind *j = a->data;

    if (!ok && !j->canceled)
        pgv_log(PGV_ERROR, "pg", "archiving ready segments: %s", message);
    if (j->canceled)
        finish(j, PGREWIND_CANCELED, "canceled");
    else
        check_leader(j);
}

/* ---------------------------------------------------------------------------------- pg_rewind */

static void run_rewind(struct pgrewind *j);

static void mark_path(const struct pgconf *c, char ret[PGCONF_PATH_BYTES + 32])
{
    (void)snprintf(ret, PGCONF_PATH_BYTES + 32, "%s/pgvigil.rewinding", c->data_dir);
}

bool pgrewind_is_unfinished(const struct pgconf *c)
{
    char path[PGCONF_PATH_BYTES + 32];

    mark_path(c, path);
    return pgv_file_exists(path);
}

static bool mark(const struct pgrewind *j, struct pgv_error *err)
{
    char path[PGCONF_PATH_BYTES + 32];
    struct stat st;

    mark_path(j->conf, path);
    if (lstat(path, &st) == 0) {
        if (S_ISFIFO(st.st_mode))
            return true;
        if (!pgv_file_remove(path, err)) /* of an agent before this one */
            return false;
    }
    if (mkfifo(path, 0600) != 0)
        return pgv_fail_sys(err, errno, "cannot create '%s'", path);
    return pgv_dir_sync(j->conf->data_dir, err);
}

void pgrewind_end_left(const struct pgconf *c)
{
    const char *wanted[] = { "-D", c->data_dir, "--source-server", NULL };
    pid_t left[LEFT_MAX];
    unsigned n;

    if (!pgrewind_is_unfinished(c))
        return;
    n = pm_proc_with_arguments(wanted, left, LEFT_MAX);
    for (unsigned i = 0; i < n; i++)
        if (kill(left[i], SIGKILL) == 0)
            pgv_log(PGV_WARNING, "pg",
                    "killed the pg_rewind that an agent before this one had begun pid=%d",
                    (int)left[i]);
}

static bool has_room(const char *dir, struct pgv_error *err)
{
    struct statvfs fs;

    if (statvfs(dir, &fs) != 0)
        return errno == ENOENT || pgv_fail_sys(err, errno, "cannot look at '%s'", dir);
    return (uint64_t)fs.f_bavail * fs.f_frsize >= ROOM_BYTES ||
           pgv_fail_sys(err, ENOSPC, "pg_rewind waits, less than %u MB are free at '%s'",
                        ROOM_BYTES >> 20, dir);
}

bool pgrewind_has_room(const struct pgconf *c, int major_version, struct pgv_error *err)
{
    char wal[PGCONF_PATH_BYTES + 32];

    (void)snprintf(wal, sizeof(wal), "%s/%s", c->data_dir, pgconf_wal_dir(major_version));
    return has_room(c->data_dir, err) && has_room(wal, err);
}

static bool unmark(const struct pgrewind *j, struct pgv_error *err)
{
    char path[PGCONF_PATH_BYTES + 32];

    mark_path(j->conf, path);
    return pgv_file_remove(path, err);
}

bool pgrewind_missing_wal(struct pgv_str line, char ret[25])
{
    /* 'could not open file "/data/pg_wal/0000000A00006AA100000068": No such file or directory' */
    static const char pattern[] = "could not open file \"";
    const char *p = line.n ? memmem(line.p, line.n, pattern, sizeof(pattern) - 1) : NULL;
    const char *end, *slash;
    struct pgv_str path;

    if (!p)
        return false;
    p += sizeof(pattern) - 1;
    end = memmem(p, line.n - (size_t)(p - line.p), "\": ", 3);
    if (!end)
        return false;
    path = (struct pgv_str){ p, (size_t)(end - p) };
    slash = memrchr(path.p, '/', path.n);
    if (!slash || end - slash != 25)
        return false;
    path.n = (size_t)(slash - path.p);
    if (!((path.n >= 7 && memcmp(slash - 7, "/pg_wal", 7) == 0) ||
          (path.n >= 8 && memcmp(slash - 8, "/pg_xlog", 8) == 0)))
        return false;
    /* it becomes part of a command */
    for (const char *c = slash + 1; c < end; c++)
        if (!((*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'F')))
            return false;
    memcpy(ret, slash + 1, 24);
    ret[24] = '\0';
    return true;
}

/** Before 11 pg_rewind leaves the source's slots here, which nobody would ever drop. */
static void clean_replslot(const struct pgrewind *j)
{
    char path[PGCONF_PATH_BYTES], slot[PGCONF_PATH_BYTES + 256];
    struct dirent *entry;
    struct pgv_error err;
    DIR *dir;

    if (j->major_version >= 110000)
        return;
    (void)snprintf(path, sizeof(path), "%s/pg_replslot", j->conf->data_dir);
    dir = opendir(path);
    if (!dir)
        return;
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(slot, sizeof(slot), "%s/%s", path, entry->d_name);
        if (!pgv_tree_remove(slot, &err))
            pgv_log(PGV_WARNING, "pg", "Unable to clean %s: %s", path, err.msg);
    }
    (void)closedir(dir);
    if (!pgv_dir_sync(path, &err))
        pgv_log(PGV_WARNING, "pg", "Unable to clean %s: %s", path, err.msg);
}

/** After a failure: the leader's fault (then later may work), or for good? */
static void on_still_healthy(struct pgremote *r, const PGresult *res, const struct pgv_error *err)
{
    struct pgrewind *j = r->data;
    char message[PGV_ERROR_MSG_BYTES];
    bool healthy = !err && !pgsql_field_bool(res, 0, 0);

    if (healthy && j->copying && !j->was_unfinished && !j->canceled) {
        /* It may not be left so, and another try may well go through. */
        (void)snprintf(message, sizeof(message), "pg_rewind ended while it copied (%.200s)",
                       j->last_line);
        pgv_log(PGV_ERROR, "pg", "%s; it is tried once more", message);
        finish(j, PGREWIND_NOT_NOW, message);
        return;
    }
    if (healthy)
        (void)snprintf(message, sizeof(message),
                       "Failed to rewind from healthy primary: %.60s (%.200s)", j->leader,
                       j->last_line);
    else
        (void)snprintf(message, sizeof(message),
                       "Failed to rewind because primary %s become unreachable", j->leader);
    if (!j->canceled)
        pgv_log(healthy ? PGV_ERROR : PGV_WARNING, "pg", "%s", message);
    finish(j, healthy ? PGREWIND_FAILED : PGREWIND_NOT_NOW, message);
}

static void rewind_failed(struct pgrewind *j)
{
    struct pgv_error err = { 0 };

    if (!j->copying && !j->was_unfinished && !unmark(j, &err))
        pgv_log(PGV_ERROR, "pg", "%s", err.msg);
    if (j->canceled)
        finish(j, PGREWIND_CANCELED, "canceled");
    else
        ask_leader(j, recovery_sql, on_still_healthy);
}

static void on_fetched(struct pgv_child *child, int status)
{
    struct pgrewind *j = child->data;

    j->in_child = false;
    pgv_child_done(child);
    if (pgtool_ok(status) && !j->canceled) {
        run_rewind(j);
        return;
    }
    if (!j->canceled)
        pgv_log(PGV_INFO, "pg", "Failed to fetch WAL segment %s required for pg_rewind",
                j->fetched);
    rewind_failed(j);
}

/** By restore_command, as the server would run it. */
static bool fetch(struct pgrewind *j, struct pgv_error *err)
{
    const char *argv[] = { "/bin/sh", "-c", NULL, NULL };
    struct pgv_child_options options = {
        .argv = argv,
        .cwd = j->conf->data_dir,
        .timeout_ms = FETCH_TIMEOUT_MS,
        .kill_ms = CANCEL_KILL_MS,
        .inherit_output = true,
    };
    char path[PGCONF_PATH_BYTES];
    struct pgv_buf text;
    bool ok = false;

    memcpy(j->fetched, j->missing, sizeof(j->fetched));
    j->fetches++;
    (void)snprintf(path, sizeof(path), "%s/%s/%s", j->conf->data_dir,
                   pgconf_wal_dir(j->major_version), j->fetched);
    pgv_buf_init(&text, 64 * 1024);
    if (!pgtool_expand(&text, j->restore_command, path, j->fetched, RESTART_FILE)) {
        (void)pgv_fail(err, PGV_ENOMEM, "no memory for restore_command");
        goto out;
    }
    argv[2] = pgv_buf_cstr(&text);
    pgv_log(PGV_INFO, "pg", "Trying to fetch the missing wal: %s", j->fetched);
    set_step(j, "fetching missing WAL", -1);
    j->child.data = j;
    ok = j->in_child = pgv_child_start(j->loop, &j->child, &options, on_fetched, err);
out:
    pgv_buf_done(&text);
    return ok;
}

static void on_line(struct pgv_child *child, int fd, struct pgv_str line)
{
    struct pgrewind *j = child->data;
    int percent = pgclone_parse_progress(line, &j->bytes, &j->bytes_total);

    (void)fd;
    /* With --progress it says 'need to copy …' before it begins. Source: pg_rewind.c, main(). */
    if (percent >= 0 || (line.n && memmem(line.p, line.n, "need to copy ", 13)))
        j->copying = true;
    if (percent >= 0) {
        set_step(j, "running pg_rewind", percent);
        return;
    }
    (void)pgrewind_missing_wal(line, j->missing);
    if (line.n && memmem(line.p, line.n, "are on the same timeline", 24))
        j->same_timeline = true;
    line = pgv_str_trim(line);
    if (line.n == 0)
        return;
    pgv_copy_cut(j->last_line, sizeof(j->last_line), line);
    pgv_log(PGV_INFO, "pg", "pg_rewind: %.*s", (int)(line.n < 400 ? line.n : 400), line.p);
}

static void on_rewound(struct pgv_child *child, int status)
{
    struct pgrewind *j = child->data;
    struct pgv_error err;
    char how[64];

    j->in_child = false;
    pgv_child_describe(status, how, sizeof(how));
    pgv_child_done(child);
    pgv_log(PGV_INFO, "pg", "pg_rewind %s", how);
    if (pgtool_ok(status)) {
        clean_replslot(j);
        if (!unmark(j, &err))
            finish(j, PGREWIND_NOT_NOW, err.msg);
        else if (j->same_timeline)
            finish(j, PGREWIND_FAILED,
                   "pg_rewind cannot tell two timelines of the same number apart: this member "
                   "needs a new copy");
        else
            finish(j, PGREWIND_DONE, "pg_rewind succeeded");
        return;
    }
    if (j->canceled || !j->restore_command || j->server_restores || !j->missing[0] ||
        j->fetches >= FETCHES_MAX || strcmp(j->missing, j->fetched) == 0) {
        rewind_failed(j);
        return;
    }
    if (!fetch(j, &err)) {
        pgv_log(PGV_ERROR, "pg", "%s", err.msg);
        rewind_failed(j);
    }
}

static bool rewind_args(struct pgrewind *j, struct pgtool_args *args, struct pgv_error *err)
{
    static const char *const forbidden[] = { "target-pgdata",
                                             "source-pgdata",
                                             "source-server",
                                             "write-recovery-conf",
                                             "dry-run",
                                             "restore-target-wal",
                                             "config-file",
                                             "no-ensure-shutdown",
                                             "version",
                                             "help",
                                             NULL };
    bool elsewhere = strcmp(j->conf->config_dir, j->conf->data_dir) != 0;
    char bin[PGCONF_PATH_BYTES];

    if (!pgconf_bin(j->conf, "pg_rewind", bin))
        return pgv_fail(err, PGV_EINVALID, "postgresql.bin_dir: path is too long");
    pgtool_args_add(args, bin);
    if (j->server_restores) {
        pgtool_args_add(args, "--restore-target-wal");
        if (j->major_version >= 150000 && elsewhere)
            pgtool_args_addf(args, "--config-file=%s", j->conf->conf_path);
    }
    pgtool_args_add(args, "-D");
    pgtool_args_add(args, j->conf->data_dir);
    pgtool_args_add(args, "--source-server");
    pgtool_args_add(args, j->public_dsn);
    pgtool_args_add(args, "--progress");
    return pgtool_user_options(args, "rewind", pgv_get(j->conf->section, "rewind"), forbidden, NULL,
                               0, false, err);
}

static void run_rewind(struct pgrewind *j)
{
    struct pgv_child_options options = { .kill_ms = CANCEL_KILL_MS, .on_line = on_line };
    struct pgtool_args *args;
    struct pgv_error err = { 0 };
    struct pgv_arena arena;
    bool ok = false;

    set_step(j, "running pg_rewind", -1);
    j->missing[0] = '\0';
    j->same_timeline = false;
    pgv_arena_init(&arena, REWIND_BYTES_MAX);
    args = pgv_arena_alloc(&arena, sizeof(*args));
    if (!args) {
        (void)pgv_fail(&err, PGV_ENOMEM, "no memory to run pg_rewind");
        goto out;
    }
    pgtool_args_init(args, &arena);
    if (!rewind_args(j, args, &err))
        goto out;
    if (args->failed) {
        (void)pgv_fail(&err, PGV_ENOMEM, "too many options for pg_rewind, or no memory");
        goto out;
    }
    options.argv = args->v;
    options.env = j->env;
    if (!mark(j, &err))
        goto out;
    pgv_log(PGV_INFO, "pg", "running pg_rewind from %s", j->leader);
    j->child.data = j;
    ok = j->in_child = pgv_child_start(j->loop, &j->child, &options, on_rewound, &err);
out:
    pgv_arena_done(&arena);
    if (ok)
        return;
    if (!j->copying && !j->was_unfinished)
        (void)unmark(j, NULL);
    finish(j, PGREWIND_NOT_NOW, err.msg);
}

/** Password file and environment of pg_rewind, then run it. */
static void prepare_rewind(struct pgrewind *j)
{
    static const char *const over[] = { "LANG=C", "LC_ALL=C", "PGOPTIONS=-c statement_timeout=0",
                                        NULL };
    struct pgdsn d = j->dsn;
    struct pgv_error err = { 0 };

    /* ours only, not the questions' */
    d.v[PGDSN_OPTIONS] = d.v[PGDSN_CONNECT_TIMEOUT] = d.v[PGDSN_APPLICATION_NAME] = NULL;
    /* in place since 15; since 13 when the configuration is where pg_rewind looks for it */
    j->server_restores =
        j->restore_command &&
        (j->major_version >= 150000 ||
         (j->major_version >= 130000 && strcmp(j->conf->config_dir, j->conf->data_dir) == 0));
    if (pgtool_connection(&j->arena, j->conf, &d, j->binary_version, over, &j->public_dsn, &j->env,
                          &err))
        run_rewind(j);
    else
        finish(j, PGREWIND_NOT_NOW, err.msg);
}

static void on_restore_command(struct pgtool *tool, int status)
{
    struct pgrewind *j = tool->data;
    struct pgv_str value = pgtool_guc_value(tool, status);

    j->in_tool = false;
    j->restore_command = value.n > 0 ? pgv_arena_dup(&j->arena, value) : NULL;
    pgtool_done(tool);
    if (j->canceled)
        finish(j, PGREWIND_CANCELED, "canceled");
    else
        prepare_rewind(j);
}

static void find_restore_command(struct pgrewind *j)
{
    struct pgv_error err;

    if (j->major_version < 120000) {
        const char *text = pgv_stringz(pgv_get(j->conf->recovery_conf, "restore_command"));

        j->restore_command = text && *text ? text : NULL;
        prepare_rewind(j);
        return;
    }
    j->tool.data = j;
    j->in_tool =
        pgtool_guc_start(&j->tool, j->loop, j->conf, "restore_command", on_restore_command, &err);
    if (!j->in_tool)
        finish(j, PGREWIND_NOT_NOW, err.msg);
}

/* ------------------------------------------------------------------------------------ starting */

static void on_begin(uv_timer_t *timer)
{
    struct pgrewind *j = timer->data;
    struct pgv_error err;

    if (j->canceled) {
        finish(j, PGREWIND_CANCELED, "canceled");
        return;
    }
    set_step(j, "archiving ready WAL", -1);
    j->archive.data = j;
    if (!pgarchive_ready_start(&j->archive, j->loop, j->conf, j->major_version, on_archived,
                               &err)) {
        pgv_log(PGV_ERROR, "pg", "archiving ready segments: %s", err.msg);
        check_leader(j);
    }
}

bool pgrewind_start(struct pgrewind *j, uv_loop_t *loop, const struct pgrewind_args *args,
                    void (*cb)(struct pgrewind *j, enum pgrewind_result result,
                               const char *message),
                    struct pgv_error *err)
{
    const struct pgconf_auth *auth = pgconf_rewind_auth(args->conf, args->major_version);
    struct pgdsn node;

    PGV_ASSERT(!j->running);
    *j = (struct pgrewind){ .data = j->data,
                            .on_progress = j->on_progress,
                            .loop = loop,
                            .conf = args->conf,
                            .cb = cb,
                            .percent = -1,
                            .major_version = args->major_version,
                            .binary_version = args->binary_version,
                            .checkpoint_known = args->leader_checkpoint_known,
                            .checkpoint_done = args->leader_checkpoint_done,
                            .timeout_ms = args->timeout_ms ? args->timeout_ms : TIMEOUT_MS_DEFAULT,
                            .super = auth == &args->conf->superuser,
                            .was_unfinished = pgrewind_is_unfinished(args->conf) };
    pgv_arena_init(&j->arena, REWIND_BYTES_MAX);
    pgv_copy_cut(j->leader, sizeof(j->leader), pgv_str(args->leader_name));
    if (!pgconf_url_to_dsn(args->conf, &j->arena, args->leader_conn_url, &node, err)) {
        pgv_arena_done(&j->arena);
        return false;
    }
    (void)pgconf_ref(j->conf);
    pgconf_auth_to_dsn(auth, &j->dsn);
    j->dsn.v[PGDSN_HOST] = node.v[PGDSN_HOST];
    j->dsn.v[PGDSN_PORT] = node.v[PGDSN_PORT];
    j->dsn.v[PGDSN_DBNAME] = node.v[PGDSN_DBNAME];
    j->dsn.v[PGDSN_CONNECT_TIMEOUT] = "3";
    j->dsn.v[PGDSN_APPLICATION_NAME] = "Patroni";
    /* CHECKPOINT may take as long as it takes; our own deadline stands */
    j->dsn.v[PGDSN_OPTIONS] = "-c statement_timeout=0 -c search_path=pg_catalog";
    if (j->major_version >= 100000)
        j->dsn.v[PGDSN_TARGET_SESSION_ATTRS] = "read-write";
    (void)uv_timer_init(loop, &j->deferred);
    j->deferred.data = j;
    j->running = true;
    (void)uv_timer_start(&j->deferred, on_begin, 0, 0);
    return true;
}

void pgrewind_cancel(struct pgrewind *j)
{
    if (!j->running || j->ending || j->canceled)
        return;
    j->canceled = true;
    if (j->archive.running)
        pgarchive_cancel(&j->archive);
    if (j->in_tool)
        pgtool_cancel(&j->tool);
    if (j->in_child)
        pgv_child_cancel(&j->child, CANCEL_KILL_MS);
    pgremote_cancel(&j->sql);
}
