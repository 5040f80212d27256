/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgarchive.c - archiving WAL in the server's place.
 *
 * A primary that died leaves segments which its archiver had not got to. If the new primary's
 * archive_mode is not 'always' nobody else has them, and after a rewind they are gone. So they are
 * archived first, by the server's own archive_command; it is that command's author who sees to it
 * that nothing in the archive is overwritten.
 */
#include "pg/pgarchive.h"

#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "base/banned.h"

#define ARCHIVE_BYTES_MAX (16u << 20)
#define SEGMENTS_MAX 100000
/** One segment; a command that hangs must not hold us for ever. */
#define COMMAND_TIMEOUT_MS 900000
#define CANCEL_KILL_MS 2000
/** postgres -C may lack memory or time for a moment. */
#define TRIES_MAX 4
#define AGAIN_FIRST_MS 100                      /* then four times as long each */
#define RESTART_FILE "000000010000000000000001" /* for %r, which has no meaning here */

enum { STEP_MODE, STEP_COMMAND, STEP_SEGMENTS };

bool pgarchive_is_ready_name(const char *name)
{
    size_t n = strspn(name, "0123456789ABCDEF");

    return n == 24 && (strcmp(name + n, ".ready") == 0 || strcmp(name + n, ".partial.ready") == 0);
}

/* -------------------------------------------------------------------------------------- ending */

static void on_closed(uv_handle_t *handle)
{
    struct pgarchive *j = handle->data;

    pgconf_unref(j->conf);
    j->conf = NULL;
    pgv_arena_done(&j->arena);
    j->running = false;
    j->cb(j, j->ok, j->message);
}

static void finish(struct pgarchive *j, bool ok, const char *message)
{
    j->ok = ok && !j->canceled;
    pgv_copy_cut(j->message, sizeof(j->message), pgv_str(j->canceled ? "canceled" : message));
    uv_close((uv_handle_t *)&j->deferred, on_closed);
}

/* ----------------------------------------------------------------------------------- segments */

static int by_text(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

static void status_dir(const struct pgarchive *j, char ret[PGCONF_PATH_BYTES - 64])
{
    (void)snprintf(ret, PGCONF_PATH_BYTES - 64, "%s/%s/archive_status", j->conf->data_dir,
                   pgconf_wal_dir(j->major_version));
}

/** The names in archive_status that say 'ready', without that ending, in order. */
static bool list_ready(struct pgarchive *j, struct pgv_error *err)
{
    char path[PGCONF_PATH_BYTES - 64];
    struct dirent *entry;
    size_t cap = 0;
    bool ok = false;
    DIR *dir;

    status_dir(j, path);
    dir = opendir(path);
    if (!dir) {
        pgv_log(PGV_ERROR, "pg", "Unable to list %s: %s", path, strerror(errno));
        return true;
    }
    while ((entry = readdir(dir)) != NULL)
        cap += pgarchive_is_ready_name(entry->d_name);
    if (cap > SEGMENTS_MAX)
        cap = SEGMENTS_MAX;
    j->files = pgv_arena_alloc(&j->arena, (cap + 1) * sizeof(*j->files));
    if (!j->files)
        goto out;
    rewinddir(dir);
    while (j->n_files < cap && (entry = readdir(dir)) != NULL) {
        if (!pgarchive_is_ready_name(entry->d_name))
            continue;
        j->files[j->n_files] = pgv_arena_dup(
            &j->arena, (struct pgv_str){ entry->d_name, strlen(entry->d_name) - strlen(".ready") });
        if (!j->files[j->n_files++])
            goto out;
    }
    qsort(j->files, j->n_files, sizeof(*j->files), by_text);
    ok = true;
out:
    (void)closedir(dir);
    return ok || pgv_fail(err, PGV_ENOMEM, "no memory for the list of ready segments");
}

static void mark_done(struct pgarchive *j, const char *file)
{
    char dir[PGCONF_PATH_BYTES - 64], ready[PGCONF_PATH_BYTES], done[PGCONF_PATH_BYTES];

    status_dir(j, dir);
    (void)snprintf(ready, sizeof(ready), "%s/%s.ready", dir, file);
    (void)snprintf(done, sizeof(done), "%s/%s.done", dir, file);
    if (rename(ready, done) != 0 && !j->only)
        pgv_log(PGV_ERROR, "pg", "Unable to rename %s to %s: %s", ready, done, strerror(errno));
}

static void next_segment(struct pgarchive *j);

static void on_command_end(struct pgv_child *child, int status)
{
    struct pgarchive *j = child->data;
    const char *file = j->files[j->at++];

    j->in_child = false;
    pgv_child_done(child);
    if (pgtool_ok(status)) {
        j->archived++;
        mark_done(j, file);
    } else {
        j->failed++;
        pgv_log(PGV_INFO, "pg", "Failed to archive WAL segment %s", file);
    }
    next_segment(j);
}

/** False: could not be started. */
static bool run_command(struct pgarchive *j, const char *file, const char *path,
                        struct pgv_error *err)
{
    const char *argv[] = { "/bin/sh", "-c", NULL, NULL };
    struct pgv_child_options options = {
        .argv = argv,
        .cwd = j->conf->data_dir, /* where the server would run it */
        .timeout_ms = COMMAND_TIMEOUT_MS,
        .kill_ms = CANCEL_KILL_MS,
        .inherit_output = true,
    };
    struct pgv_buf text;
    bool ok = false;

    pgv_buf_init(&text, 64 * 1024);
    if (!pgtool_expand(&text, j->command, path, file, RESTART_FILE)) {
        (void)pgv_fail(err, PGV_ENOMEM, "no memory for archive_command");
        goto out;
    }
    argv[2] = pgv_buf_cstr(&text);
    pgv_log(PGV_INFO, "pg", "Trying to archive %s", file);
    j->child = (struct pgv_child){ .data = j };
    ok = j->in_child = pgv_child_start(j->loop, &j->child, &options, on_command_end, err);
out:
    pgv_buf_done(&text);
    return ok;
}

static void next_segment(struct pgarchive *j)
{
    char path[PGCONF_PATH_BYTES], message[96];
    struct pgv_error err;

    for (; j->at < j->n_files && !j->canceled; j->at++) {
        (void)snprintf(path, sizeof(path), "%s/%s/%s", j->conf->data_dir,
                       pgconf_wal_dir(j->major_version), j->files[j->at]);
        if (!pgv_file_exists(path)) /* archived and removed meanwhile */
            continue;
        if (run_command(j, j->files[j->at], path, &err))
            return;
        pgv_log(PGV_ERROR, "pg", "Failed to archive WAL segment %s: %s", j->files[j->at], err.msg);
        j->failed++;
    }
    (void)snprintf(message, sizeof(message), "archived %u segments, %u failed", j->archived,
                   j->failed);
    finish(j, true, message);
}

/* ------------------------------------------------------------------------- is there an archive */

static void on_guc(struct pgtool *tool, int status);

static bool ask(struct pgarchive *j, struct pgv_error *err)
{
    return pgtool_guc_start(&j->tool, j->loop, j->conf,
                            j->step == STEP_MODE ? "archive_mode" : "archive_command", on_guc, err);
}

static void ask_or_end(struct pgarchive *j)
{
    struct pgv_error err = { 0 };

    if (!ask(j, &err))
        finish(j, false, err.msg);
}

static void ask_again(uv_timer_t *timer)
{
    struct pgarchive *j = timer->data;

    j->waiting = false;
    ask_or_end(j);
}

/* That is no 'off': what the rewind or the recovery goes over after us would be lost. */
static void unanswered(struct pgarchive *j, const char *how)
{
    char message[160];

    if (++j->tries < TRIES_MAX) {
        j->waiting = true;
        (void)uv_timer_start(&j->deferred, ask_again,
                             (uint64_t)AGAIN_FIRST_MS << (2 * (j->tries - 1)), 0);
        return;
    }
    (void)snprintf(message, sizeof(message), "postgres does not tell whether WAL is archived: %s",
                   how);
    finish(j, false, message);
}

static void told_command(struct pgarchive *j, struct pgv_str value)
{
    j->command = value.n > 0 ? pgv_arena_dup(&j->arena, value) : NULL;
    pgtool_done(&j->tool);
    j->step = STEP_SEGMENTS;
    if (value.n == 0)
        finish(j, true, "there is no archive_command");
    else if (!j->command)
        finish(j, false, "no memory for archive_command");
    else
        next_segment(j);
}

static void on_guc(struct pgtool *tool, int status)
{
    struct pgarchive *j = tool->data;
    struct pgv_str value = pgtool_guc_value(tool, status);
    char how[64];

    if (j->canceled) {
        pgtool_done(tool);
        finish(j, false, "");
    } else if (status == PGTOOL_UNHEARD) {
        pgtool_done(tool);
        finish(j, false, "no memory for what postgres tells");
    } else if (!pgtool_ok(status)) {
        pgv_child_describe(status, how, sizeof(how));
        pgtool_done(tool);
        unanswered(j, how);
    } else if (j->step == STEP_COMMAND) {
        told_command(j, value);
    } else if (pgv_str_eqz(value, "off")) {
        pgtool_done(tool);
        finish(j, true, "archiving is off");
    } else {
        pgtool_done(tool);
        j->step = STEP_COMMAND;
        j->tries = 0;
        ask_or_end(j);
    }
}

static bool start(struct pgarchive *j, uv_loop_t *loop, struct pgconf *c, int major_version,
                  const char *only, void (*cb)(struct pgarchive *j, bool ok, const char *message),
                  struct pgv_error *err)
{
    PGV_ASSERT(!j->running);
    *j = (struct pgarchive){
        .data = j->data, .loop = loop, .conf = c, .cb = cb, .major_version = major_version
    };
    pgv_arena_init(&j->arena, ARCHIVE_BYTES_MAX);
    if (only) {
        j->files = pgv_arena_alloc(&j->arena, sizeof(*j->files));
        j->only = pgv_arena_dup(&j->arena, pgv_str(only));
        if (!j->files || !j->only) {
            (void)pgv_fail(err, PGV_ENOMEM, "no memory to archive '%s'", only);
            goto fail;
        }
        j->files[0] = j->only;
        j->n_files = 1;
    } else if (!list_ready(j, err)) {
        goto fail;
    }
    j->tool.data = j;
    if (j->n_files > 0 && !ask(j, err))
        goto fail;
    (void)pgconf_ref(c);
    (void)uv_timer_init(loop, &j->deferred);
    j->deferred.data = j;
    j->running = true;
    if (j->n_files == 0)
        finish(j, true, "nothing waits to be archived");
    return true;
fail:
    pgv_arena_done(&j->arena);
    return false;
}

bool pgarchive_ready_start(struct pgarchive *j, uv_loop_t *loop, struct pgconf *c,
                           int major_version,
                           void (*cb)(struct pgarchive *j, bool ok, const char *message),
                           struct pgv_error *err)
{
    return start(j, loop, c, major_version, NULL, cb, err);
}

bool pgarchive_one_start(struct pgarchive *j, uv_loop_t *loop, struct pgconf *c, int major_version,
                         const char *file,
                         void (*cb)(struct pgarchive *j, bool ok, const char *message),
                         struct pgv_error *err)
{
    return start(j, loop, c, major_version, file, cb, err);
}

void pgarchive_cancel(struct pgarchive *j)
{
    if (!j->running || uv_is_closing((uv_handle_t *)&j->deferred))
        return;
    j->canceled = true;
    if (j->waiting)
        finish(j, false, "");
    else if (j->in_child)
        pgv_child_cancel(&j->child, CANCEL_KILL_MS);
    else
        pgtool_cancel(&j->tool);
}
