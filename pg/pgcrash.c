/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgcrash.c - crash recovery in single-user mode. Contract pg §17.7. Declared in pgrewind.h.
 *
 * pg_rewind before 13 wants a cleanly shut down target, and the position of a crashed primary is
 * only known once it has replayed its WAL. It must not archive anything while doing so: what it
 * holds may never have been part of the cluster's history.
 */
#include "base/file.h"
#include "base/log.h"
#include "pg/pgrecovery.h"
#include "pg/pgrewind.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/banned.h"

#define CRASH_BYTES_MAX (1u << 20)
#define CANCEL_KILL_MS 10000

static void on_closed(uv_handle_t *handle)
{
    struct pgcrash *j = handle->data;

    pgconf_unref(j->conf);
    j->conf = NULL;
    j->running = false;
    j->cb(j, j->ok, j->message);
}

static void finish(struct pgcrash *j, bool ok, const char *message)
{
    j->ok = ok && !j->canceled;
    pgv_copy_cut(j->message, sizeof(j->message), pgv_str(j->canceled ? "canceled" : message));
    uv_close((uv_handle_t *)&j->deferred, on_closed);
}

/** Nothing of the old timeline may be archived any more: forget what was ready, or done. */
static void clear_archive_status(const struct pgcrash *j)
{
    char path[PGCONF_PATH_BYTES], file[PGCONF_PATH_BYTES + 256];
    struct dirent *entry;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "%s/%s/archive_status", j->conf->data_dir,
                   pgconf_wal_dir(j->major_version));
    dir = opendir(path);
    if (!dir) {
        pgv_log(PGV_ERROR, "pg", "Unable to list %s: %s", path, strerror(errno));
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        if (unlink(file) != 0 && errno != EISDIR && errno != ENOENT)
            pgv_log(PGV_ERROR, "pg", "Unable to remove %s: %s", file, strerror(errno));
    }
    (void)closedir(dir);
}

void pgcrash_parse_opts(struct pgv_str text, struct pgtool_args *args)
{
    while (text.n > 0) {
        const char *p = memmem(text.p, text.n, "\" \"", 3);
        struct pgv_str piece = { text.p, p ? (size_t)(p - text.p) : text.n };

        text = p ? (struct pgv_str){ p + 3, text.n - piece.n - 3 } : (struct pgv_str){ 0 };
        while (piece.n > 0 && (piece.p[piece.n - 1] == '"' || piece.p[piece.n - 1] == '\n'))
            piece.n--;
        if (pgv_str_starts(piece, "--") && memchr(piece.p, '=', piece.n))
            pgtool_args_addf(args, "%.*s", (int)piece.n - 2, piece.p + 2);
    }
}

static int by_text(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

static bool names(const char *option, const char *name)
{
    size_t n = strlen(name);

    return strncmp(option, name, n) == 0 && option[n] == '=';
}

/** postgres --single -D DIR -c name=value … template1 */
static bool single_args(struct pgcrash *j, struct pgv_arena *a, struct pgtool_args *args,
                        struct pgv_error *err)
{
    struct pgtool_args *opts = pgv_arena_alloc(a, sizeof(*opts));
    char bin[PGCONF_PATH_BYTES], path[PGCONF_PATH_BYTES];
    struct pgv_buf text;
    bool no_memory = false;

    if (!opts)
        return pgv_fail(err, PGV_ENOMEM, "no memory for crash recovery");
    if (!pgconf_bin(j->conf, "postgres", bin))
        return pgv_fail(err, PGV_EINVALID, "postgresql.bin_dir: path is too long");
    pgtool_args_init(args, a);
    pgtool_args_init(opts, a);
    pgv_buf_init(&text, 64 * 1024);
    (void)snprintf(path, sizeof(path), "%s/postmaster.opts", j->conf->data_dir);
    if (pgv_file_read(path, &text, err)) {
        pgcrash_parse_opts(pgv_buf_view(&text), opts);
    } else {
        no_memory = err->code == PGV_ENOMEM; /* without its options it may be another server */
        pgv_log(PGV_ERROR, "pg", "Error when reading postmaster.opts: %s", err->msg);
    }
    pgv_buf_done(&text);
    if (no_memory)
        return false;
    pgtool_args_add(opts, "archive_mode=on");
    pgtool_args_add(opts, "archive_command=false");
    qsort(opts->v, opts->n, sizeof(opts->v[0]), by_text);
    pgtool_args_add(args, bin);
    pgtool_args_add(args, "--single");
    pgtool_args_add(args, "-D");
    pgtool_args_add(args, j->conf->data_dir);
    for (size_t i = 0; i < opts->n; i++) {
        const char *o = opts->v[i];

        if ((names(o, "archive_mode") && strcmp(o, "archive_mode=on") != 0) ||
            (names(o, "archive_command") && strcmp(o, "archive_command=false") != 0))
            continue;
        pgtool_args_add(args, "-c");
        pgtool_args_add(args, o);
    }
    pgtool_args_add(args, "template1");
    return (!args->failed && !opts->failed) ||
           pgv_fail(err, PGV_ENOMEM, "too many options in postmaster.opts, or no memory");
}

static void on_line(struct pgv_child *child, int fd, struct pgv_str line)
{
    struct pgcrash *j = child->data;

    (void)fd;
    line = pgv_str_trim(line);
    if (line.n == 0)
        return;
    pgv_copy_cut(j->last_line, sizeof(j->last_line), line);
    pgv_log(PGV_INFO, "pg", "single-user mode: %.*s", (int)(line.n < 400 ? line.n : 400), line.p);
}

static void on_end(struct pgv_child *child, int status)
{
    struct pgcrash *j = child->data;
    char how[64], message[320];

    j->in_child = false;
    pgv_child_describe(status, how, sizeof(how));
    pgv_child_done(child);
    if (pgtool_ok(status)) {
        finish(j, true, "crash recovery finished");
        return;
    }
    (void)snprintf(message, sizeof(message), "Crash recovery finished with %s: %s", how,
                   j->last_line);
    if (!j->canceled)
        pgv_log(PGV_ERROR, "pg", "%s", message);
    finish(j, false, message);
}

static void run_single(struct pgcrash *j)
{
    struct pgv_child_options options = { .kill_ms = CANCEL_KILL_MS, .on_line = on_line };
    struct pgtool_args *args;
    struct pgv_error err = { 0 };
    struct pgv_arena arena;
    bool ok = false;

    pgv_arena_init(&arena, CRASH_BYTES_MAX);
    args = pgv_arena_alloc(&arena, sizeof(*args));
    if (!args) {
        (void)pgv_fail(&err, PGV_ENOMEM, "no memory for crash recovery");
        goto out;
    }
    if (!single_args(j, &arena, args, &err))
        goto out;
    clear_archive_status(j);
    if (!pgrecovery_remove(j->conf, &err))
        goto out;
    options.argv = args->v;
    j->child.data = j;
    ok = j->in_child = pgv_child_start(j->loop, &j->child, &options, on_end, &err);
out:
    pgv_arena_done(&arena);
    if (!ok)
        finish(j, false, err.msg);
}

static void on_archived(struct pgarchive *a, bool ok, const char *message)
{
    struct pgcrash *j = a->data;

    if (!ok && !j->canceled)
        pgv_log(PGV_ERROR, "pg", "archiving ready segments: %s", message);
    if (j->canceled)
        finish(j, false, "canceled");
    else
        run_single(j);
}

bool pgcrash_start(struct pgcrash *j, uv_loop_t *loop, struct pgconf *c, int major_version,
                   void (*cb)(struct pgcrash *j, bool ok, const char *message),
                   struct pgv_error *err)
{
    PGV_ASSERT(!j->running);
    *j = (struct pgcrash){
        .data = j->data, .loop = loop, .conf = c, .cb = cb, .major_version = major_version
    };
    j->archive.data = j;
    if (!pgarchive_ready_start(&j->archive, loop, c, major_version, on_archived, err))
        return false;
    (void)pgconf_ref(c);
    (void)uv_timer_init(loop, &j->deferred);
    j->deferred.data = j;
    j->running = true;
    return true;
}

void pgcrash_cancel(struct pgcrash *j)
{
    if (!j->running || j->canceled)
        return;
    j->canceled = true;
    if (j->archive.running)
        pgarchive_cancel(&j->archive);
    if (j->in_child)
        pgv_child_cancel(&j->child, CANCEL_KILL_MS);
}
