/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgdata.c - the data directory as a whole.
 *
 * pg_wal and tablespaces may be links to other places; what they point to belongs to the cluster
 * and goes with it. Only those links are followed, and only by one step.
 *
 * Removing takes a while, and the machine may stop in the midst of it. What is left must not look
 * like a cluster that lacks some tables, so the control file goes first.
 */
#include "pg/pgdata.h"

#include "base/file.h"
#include "base/log.h"
#include "base/parse.h"
#include "pg/process.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

int pgdata_major_version(const char *data_dir)
{
    char path[PGCONF_PATH_BYTES];
    struct pgv_str text, major, minor;
    char content[64]; /* not from a heap that may be empty: that says nothing of the directory */
    uint64_t x, y;
    int n, version = 0;

    n = snprintf(path, sizeof(path), "%s/PG_VERSION", data_dir);
    if (n < 0 || (size_t)n >= sizeof(path))
        return 0;
    text = (struct pgv_str){ content, pm_read_small(path, content, sizeof(content)) };
    text = pgv_str_trim(text);
    if (pgv_str_cut(text, '.', &major, &minor)) { /* "9.6" */
        if (pgv_parse_u64(major, &x) && pgv_parse_u64(minor, &y) && x < 10 && y < 100)
            version = (int)(x * 10000 + y * 100);
    } else if (pgv_parse_u64(text, &x) && x >= 10 && x < 1000) {
        version = (int)x * 10000;
    }
    return version;
}

bool pgdata_sysid(const char *data_dir, char ret[24])
{
    char path[PGCONF_PATH_BYTES];
    uint64_t sysid; /* the first field in every version. Source: PostgreSQL, pg_control.h */
    int n = snprintf(path, sizeof(path), "%s/global/pg_control", data_dir);

    if (n < 0 || (size_t)n >= sizeof(path) ||
        pm_read_small(path, (char *)&sysid, sizeof(sysid)) != sizeof(sysid))
        return false;
    (void)snprintf(ret, 24, "%llu", (unsigned long long)sysid);
    return true;
}

enum postmaster_dir pgdata_state(const char *data_dir, char ret_error[96])
{
    DIR *dir = opendir(data_dir);
    enum postmaster_dir state = PM_DIR_EMPTY;
    struct dirent *entry;
    int sys = 0;

    ret_error[0] = '\0';
    if (!dir) {
        sys = errno;
        if (sys == ENOENT)
            return PM_DIR_EMPTY;
        (void)snprintf(ret_error, 96, "%s", strerror(sys));
        errno = sys;
        return PM_DIR_UNREADABLE;
    }
    errno = 0;
    while (state == PM_DIR_EMPTY && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "lost+found") != 0)
            state = PM_DIR_OK;
    if (state == PM_DIR_EMPTY && errno != 0) {
        sys = errno;
        (void)snprintf(ret_error, 96, "%s", strerror(sys));
        state = PM_DIR_UNREADABLE;
    }
    (void)closedir(dir);
    errno = sys;
    return state;
}

/* ---------------------------------------------------------------------- what the links point to */

/** Runs for each link in the data directory that leads to a part of the cluster. */
typedef void (*link_fn)(struct pgdata_job *j, const char *link, const char *target);

static bool join(char ret[PGCONF_PATH_BYTES], const char *dir, const char *name)
{
    int n = snprintf(ret, PGCONF_PATH_BYTES, "%s/%s", dir, name);

    return n > 0 && n < PGCONF_PATH_BYTES;
}

/** A link that leads to the data directory or above it is no part of the cluster. */
static bool contains(const char *target, const char *data_dir)
{
    char a[PATH_MAX], b[PATH_MAX];
    size_t n;

    if (!realpath(target, a) || !realpath(data_dir, b))
        return false;
    n = strlen(a);
    return n == 1 || (strncmp(a, b, n) == 0 && (b[n] == '/' || b[n] == '\0'));
}

static void one_link(struct pgdata_job *j, const char *dir, const char *name, link_fn fn)
{
    char link[PGCONF_PATH_BYTES], target[PGCONF_PATH_BYTES], full[PGCONF_PATH_BYTES];
    struct stat st;
    ssize_t n;

    if (!join(link, dir, name) || lstat(link, &st) != 0 || !S_ISLNK(st.st_mode))
        return;
    n = readlink(link, target, sizeof(target) - 1);
    if (n <= 0 || n == (ssize_t)sizeof(target) - 1)
        return;
    target[n] = '\0';
    if (target[0] != '/') {
        if (!join(full, dir, target))
            return;
        memcpy(target, full, sizeof(target));
    }
    if (!contains(target, j->conf->data_dir))
        fn(j, link, target);
}

static bool is_number(const char *name)
{
    return *name && name[strspn(name, "0123456789")] == '\0';
}

static void each_link(struct pgdata_job *j, link_fn fn)
{
    char spaces[PGCONF_PATH_BYTES];
    struct dirent *entry;
    DIR *dir;

    one_link(j, j->conf->data_dir, "pg_wal", fn);
    one_link(j, j->conf->data_dir, "pg_xlog", fn);
    if (!join(spaces, j->conf->data_dir, "pg_tblspc"))
        return;
    dir = opendir(spaces);
    if (!dir)
        return;
    while ((entry = readdir(dir)) != NULL)
        if (is_number(entry->d_name))
            one_link(j, spaces, entry->d_name, fn);
    (void)closedir(dir);
}

/* ------------------------------------------------------------------------------------- the jobs */

enum { STEP_REMOVE, STEP_CLEAR_FAILED };

static void on_closed(uv_handle_t *handle)
{
    struct pgdata_job *j = handle->data;

    j->running = false;
    pgconf_unref(j->conf);
    j->conf = NULL;
    pgv_arena_done(&j->arena);
    j->cb(j, j->ok, j->message);
}

static void finish(struct pgdata_job *j, bool ok, const char *message)
{
    j->ok = ok;
    pgv_copy_cut(j->message, sizeof(j->message), pgv_str(message));
    uv_close((uv_handle_t *)&j->deferred, on_closed);
}

static void on_removed(struct pgtool *tool, int status);

/** rm -rf of paths; runs even when there are none. */
static bool run_rm(struct pgdata_job *j, struct pgv_error *err)
{
    if (j->args->failed)
        return pgv_fail(err, PGV_ENOMEM, "no memory to remove the data directory");
    j->tool.data = j;
    return pgtool_start(&j->tool, j->loop, j->args->v, NULL, 0, on_removed, err);
}

static struct pgtool_args *rm_args(struct pgdata_job *j)
{
    struct pgtool_args *args;

    pgv_arena_reset(&j->arena);
    args = pgv_arena_alloc(&j->arena, sizeof(*args));
    if (!args)
        return NULL;
    pgtool_args_init(args, &j->arena);
    pgtool_args_add(args, "rm");
    pgtool_args_add(args, "-rf");
    pgtool_args_add(args, "--");
    return args;
}

static void collect_target(struct pgdata_job *j, const char *link, const char *target)
{
    (void)link;
    pgv_log(PGV_INFO, "pg", "Removing directory: %s", target);
    pgtool_args_add(j->args, target);
}

static void collect_failed(struct pgdata_job *j, const char *link, const char *target)
{
    (void)link;
    pgtool_args_addf(j->args, "%s.failed", target);
}

/** Without it nothing starts here. What cannot be removed now 'rm' will tell about. */
static void remove_control(const struct pgconf *c)
{
    char dir[PGCONF_PATH_BYTES], path[PGCONF_PATH_BYTES];
    struct pgv_error err;

    if (!join(dir, c->data_dir, "global") || !join(path, dir, "pg_control"))
        return;
    if (unlink(path) == 0 && !pgv_dir_sync(dir, &err))
        pgv_log(PGV_WARNING, "pg", "%s", err.msg);
}

static bool start_remove(struct pgdata_job *j, struct pgv_error *err)
{
    struct stat st;

    j->step = STEP_REMOVE;
    j->args = rm_args(j);
    if (!j->args)
        return pgv_fail(err, PGV_ENOMEM, "no memory to remove the data directory");
    pgv_log(PGV_INFO, "pg", "Removing data directory: %s", j->conf->data_dir);
    if (lstat(j->conf->data_dir, &st) == 0 && !S_ISLNK(st.st_mode)) { /* a link goes alone */
        each_link(j, collect_target);
        remove_control(j->conf);
    }
    pgtool_args_add(j->args, j->conf->data_dir);
    return run_rm(j, err);
}

static bool start_move(struct pgdata_job *j, struct pgv_error *err)
{
    j->step = STEP_CLEAR_FAILED;
    j->args = rm_args(j);
    if (!j->args)
        return pgv_fail(err, PGV_ENOMEM, "no memory to move the data directory");
    each_link(j, collect_failed);
    pgtool_args_addf(j->args, "%s.failed", j->conf->data_dir);
    return run_rm(j, err);
}

static bool rename_failed(const char *path, char failed[PGCONF_PATH_BYTES])
{
    int n = snprintf(failed, PGCONF_PATH_BYTES, "%s.failed", path);

    if (n < 0 || n >= PGCONF_PATH_BYTES)
        return false;
    pgv_log(PGV_INFO, "pg", "renaming %s to %s", path, failed);
    if (rename(path, failed) != 0) {
        pgv_log(PGV_ERROR, "pg", "Could not rename %s to %s: %s", path, failed, strerror(errno));
        return false;
    }
    return true;
}

static void move_target(struct pgdata_job *j, const char *link, const char *target)
{
    char failed[PGCONF_PATH_BYTES];

    (void)j;
    if (!rename_failed(target, failed))
        return;
    if (unlink(link) != 0 || symlink(failed, link) != 0)
        pgv_log(PGV_ERROR, "pg", "Could not point %s to %s: %s", link, failed, strerror(errno));
}

/** A data directory that is itself a mount point cannot go; that it is empty is enough. */
static bool gone_or_empty(const char *dir)
{
    char why[96];

    return pgdata_state(dir, why) == PM_DIR_EMPTY;
}

static void on_removed(struct pgtool *tool, int status)
{
    struct pgdata_job *j = tool->data;
    char how[64], failed[PGCONF_PATH_BYTES];
    struct pgv_str text = pgv_str_trim(pgv_buf_view(&tool->child.err_out));
    struct pgv_error err = { 0 };

    pgv_child_describe(status, how, sizeof(how));
    if (!pgtool_ok(status) && !j->canceled &&
        !(j->step == STEP_REMOVE && gone_or_empty(j->conf->data_dir)))
        pgv_log(PGV_ERROR, "pg", "Could not remove data directory %s: rm: %s: %.*s",
                j->conf->data_dir, how, (int)(text.n < 200 ? text.n : 200), text.p ? text.p : "");
    pgtool_done(tool);
    if (j->canceled) {
        finish(j, false, "canceled");
    } else if (j->step == STEP_REMOVE) {
        if (gone_or_empty(j->conf->data_dir))
            finish(j, true, "data directory removed");
        else if (!start_move(j, &err))
            finish(j, false, err.msg);
    } else {
        each_link(j, move_target);
        if (rename_failed(j->conf->data_dir, failed))
            finish(j, true, "data directory moved aside");
        else
            finish(j, false, "could not move the data directory aside");
    }
}

static bool begin(struct pgdata_job *j, uv_loop_t *loop, struct pgconf *c,
                  bool (*start)(struct pgdata_job *j, struct pgv_error *err), bool nothing,
                  void (*cb)(struct pgdata_job *j, bool ok, const char *message),
                  struct pgv_error *err)
{
    PGV_ASSERT(!j->running);
    j->loop = loop;
    j->conf = pgconf_ref(c);
    j->cb = cb;
    j->canceled = false;
    pgv_arena_init(&j->arena, 1u << 20);
    if (!nothing && !start(j, err)) {
        pgconf_unref(j->conf);
        j->conf = NULL;
        pgv_arena_done(&j->arena);
        return false;
    }
    (void)uv_timer_init(loop, &j->deferred);
    j->deferred.data = j;
    j->running = true;
    if (nothing)
        finish(j, true, "there was no data directory");
    return true;
}

bool pgdata_remove_start(struct pgdata_job *j, uv_loop_t *loop, struct pgconf *c,
                         void (*cb)(struct pgdata_job *j, bool ok, const char *message),
                         struct pgv_error *err)
{
    struct stat st;
    bool nothing = lstat(c->data_dir, &st) != 0 && errno == ENOENT;

    /* 'rm' removes a link or a file in the directory's place just as well */
    return begin(j, loop, c, start_remove, nothing, cb, err);
}

bool pgdata_move_aside_start(struct pgdata_job *j, uv_loop_t *loop, struct pgconf *c,
                             void (*cb)(struct pgdata_job *j, bool ok, const char *message),
                             struct pgv_error *err)
{
    struct stat st;
    bool nothing = stat(c->data_dir, &st) != 0 || !S_ISDIR(st.st_mode);

    return begin(j, loop, c, start_move, nothing, cb, err);
}

void pgdata_cancel(struct pgdata_job *j)
{
    if (!j->running || uv_is_closing((uv_handle_t *)&j->deferred))
        return;
    j->canceled = true;
    pgtool_cancel(&j->tool);
}
