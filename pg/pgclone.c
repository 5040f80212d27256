/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgclone.c - replica creation, a machine over child processes:
 *
 *     next method → clear the directory → run → done
 *                        ↑                  ↓ failed
 *                        └── wait 5 s ← clear the directory → next method
 *
 * Only basebackup is tried twice: a primary that was just promoted may be too busy at first.
 */
#include "pg/pgclone.h"

#include "base/file.h"
#include "base/log.h"
#include "base/parse.h"

#include <stdio.h>
#include <unistd.h>

#include "base/banned.h"

#define CLONE_BYTES_MAX (8u << 20)
#define BASEBACKUP_ATTEMPTS 2
#define BASEBACKUP_PAUSE_MS 5000
#define CANCEL_KILL_MS 10000

enum { PHASE_CLEAR, PHASE_RUN, PHASE_CLEAR_AFTER, PHASE_PAUSE };

/** Options that would contradict ours. Source: contract §15. */
static const char *const basebackup_forbidden[] = { "pgdata",      "format",   "wal-method",
                                                    "xlog-method", "gzip",     "version",
                                                    "dbname",      "host",     "port",
                                                    "username",    "password", NULL };

static bool basebackup_refused(const char *key, const char *value, int version)
{
    if (strcmp(key, "compress") != 0)
        return false;
    /* what the server compresses is expanded on arrival; our own side wants plain files */
    return version < 150000 || !value || strncmp(value, "server", 6) != 0;
}

static bool is_basebackup(const char *method)
{
    return strcmp(method, "basebackup") == 0;
}

/* -------------------------------------------------------------------------------------- ending */

static void on_closed(uv_handle_t *handle)
{
    struct pgclone *j = handle->data;

    pgconf_unref(j->conf);
    j->conf = NULL;
    pgv_arena_done(&j->scratch);
    pgv_arena_done(&j->arena);
    j->running = false;
    j->cb(j, j->result, j->message);
}

static void finish(struct pgclone *j, enum pgclone_result result)
{
    if (j->canceled) {
        result = PGCLONE_CANCELED;
        (void)snprintf(j->message, sizeof(j->message), "canceled");
    }
    j->result = result;
    uv_close((uv_handle_t *)&j->timer, on_closed);
}

static void progress(struct pgclone *j, int percent)
{
    if (j->percent == percent)
        return;
    j->percent = percent;
    if (j->on_progress)
        j->on_progress(j);
}

/* ------------------------------------------------------------------------------------- options */

static const struct pgv_value *method_options(const struct pgconf *c, const char *method)
{
    return pgconf_method(c, method);
}

static bool keeps_data(const struct pgclone *j)
{
    const char *method = j->methods[j->method];

    return !is_basebackup(method) &&
           pgv_truthy(pgv_get(method_options(j->conf, method), "keep_data"));
}

static bool needs_no_source(const struct pgconf *c, const char *method)
{
    return !is_basebackup(method) && pgv_truthy(pgv_get(method_options(c, method), "no_leader"));
}

bool pgclone_works_without_source(const struct pgconf *c, const struct pgv_value *methods)
{
    if (pgv_is(methods, PGV_LIST) && pgv_value_first(methods)) {
        PGV_EACH(item, methods)
        {
            if (item->type == PGV_STRING && needs_no_source(c, item->u.s.p))
                return true;
        }
        return false;
    }
    for (const char *const *m = c->create_replica_methods; *m; m++)
        if (needs_no_source(c, *m))
            return true;
    return false;
}

static bool gives_checkpoint(const struct pgtool_args *args, size_t from)
{
    for (size_t i = from; i < args->n; i++)
        if (strncmp(args->v[i], "--checkpoint", 12) == 0)
            return true;
    return false;
}

static bool basebackup_args(struct pgclone *j, struct pgtool_args *args, struct pgv_error *err)
{
    char bin[PGCONF_PATH_BYTES];
    size_t users;

    if (!pgconf_bin(j->conf, "pg_basebackup", bin))
        return pgv_fail(err, PGV_EINVALID, "postgresql.bin_dir: path is too long");
    pgtool_args_add(args, bin);
    pgtool_args_addf(args, "--pgdata=%s", j->conf->data_dir);
    pgtool_args_add(args, "-X");
    pgtool_args_add(args, "stream");
    pgtool_args_addf(args, "--dbname=%s", j->dsn);
    pgtool_args_add(args, "--progress");
    users = args->n;
    if (!pgtool_user_options(args, "basebackup", pgconf_method(j->conf, "basebackup"),
                             basebackup_forbidden, basebackup_refused, j->binary_version, false,
                             err))
        return false;
    if (!gives_checkpoint(args, users))
        pgtool_args_add(args, "--checkpoint=fast");
    return true;
}

/** Members of a section as --key=value, other than those named. */
static bool add_members(struct pgtool_args *args, const struct pgv_value *section,
                        const char *const *but, struct pgv_error *err)
{
    struct pgv_buf text;
    bool ok = true;

    pgv_buf_init(&text, 64 * 1024);
    PGV_EACH(item, section)
    {
        bool skip = false;

        for (const char *const *b = but; *b; b++)
            skip = skip || pgv_str_eqz(item->key, *b);
        if (skip)
            continue;
        pgv_buf_reset(&text);
        if (!pgv_value_text(&text, item)) {
            ok = pgv_fail(err, PGV_ENOMEM, "no memory for a replica method");
            break;
        }
        pgtool_args_addf(args, "--%s=%s", item->key.p, pgv_buf_cstr(&text));
    }
    pgv_buf_done(&text);
    return ok;
}

/** The user's command with what we know, as long as it wants to hear it. */
static bool custom_args(struct pgclone *j, const char *method, struct pgtool_args *args,
                        struct pgv_error *err)
{
    static const char *const ours[] = { "command", "scope", "role", "datadir", "connstring", NULL };
    static const char *const silent[] = { "command", "no_params", "no_leader", "keep_data", NULL };
    const struct pgv_value *section = method_options(j->conf, method);
    const char *command = pgv_stringz(pgv_get(section, "command"));
    bool quiet = pgv_truthy(pgv_get(section, "no_params"));

    if (!pgtool_args_split(args, command && *command ? command : method, err)) {
        pgv_error_wrap(err, "postgresql.%s.command", method);
        return false;
    }
    if (args->n == 0)
        return pgv_fail(err, PGV_EINVALID, "postgresql.%s.command: is empty", method);
    if (!add_members(args, pgv_is(section, PGV_MAP) ? section : NULL, quiet ? silent : ours, err))
        return false;
    if (quiet)
        return true;
    pgtool_args_addf(args, "--scope=%s", j->conf->scope);
    pgtool_args_add(args, "--role=replica");
    pgtool_args_addf(args, "--datadir=%s", j->conf->data_dir);
    pgtool_args_addf(args, "--connstring=%s", j->dsn);
    return true;
}

/* ------------------------------------------------------------------------------------- running */

static void next_method(struct pgclone *j);
static void clear(struct pgclone *j, int phase);
static void run(struct pgclone *j);

int pgclone_parse_progress(struct pgv_str line, uint64_t *ret_bytes, uint64_t *ret_total)
{
    /* '  23195/30947 kB (74%), 0/1 tablespace'. Source: pg_basebackup.c, progress_report() */
    const char *open = line.n ? memchr(line.p, '(', line.n) : NULL;
    struct pgv_str rest, done, total;
    uint64_t done_kb, total_kb;
    unsigned percent = 0;
    size_t i = 0;

    if (!open || !memmem(line.p, line.n, " kB (", 5))
        return -1;
    rest.p = open + 1;
    rest.n = line.n - (size_t)(rest.p - line.p);
    for (; i < rest.n && i < 3 && rest.p[i] >= '0' && rest.p[i] <= '9'; i++)
        percent = percent * 10 + (unsigned)(rest.p[i] - '0');
    if (i == 0 || i >= rest.n || rest.p[i] != '%')
        return -1;
    if (pgv_str_cut(line, '/', &done, &rest) && pgv_str_cut(rest, ' ', &total, &rest) &&
        pgv_parse_u64(pgv_str_trim(done), &done_kb) && pgv_parse_u64(total, &total_kb) &&
        done_kb < UINT64_MAX / 1024 && total_kb < UINT64_MAX / 1024) {
        *ret_bytes = done_kb * 1024;
        *ret_total = total_kb * 1024;
    }
    return percent > 100 ? 100 : (int)percent;
}

static void on_line(struct pgv_child *child, int fd, struct pgv_str line)
{
    struct pgclone *j = child->data;
    int percent = fd == 2 ? pgclone_parse_progress(line, &j->bytes, &j->bytes_total) : -1;

    if (percent >= 0) {
        j->percent = percent;
        if (j->on_progress)
            j->on_progress(j);
        return;
    }
    line = pgv_str_trim(line);
    if (line.n == 0)
        return;
    if (fd == 2)
        pgv_copy_cut(j->last_line, sizeof(j->last_line), line);
    pgv_log(PGV_INFO, "pg", "%s: %.*s", j->step, (int)(line.n < 400 ? line.n : 400), line.p);
}

/** The trigger file of the source's configuration would promote us at once. */
static void remove_trigger(const struct pgconf *c)
{
    const char *name = pgv_stringz(pgv_get(c->recovery_conf, "promote_trigger_file"));
    char path[PGCONF_PATH_BYTES];
    int n;

    if (!name || !*name)
        name = pgv_stringz(pgv_get(c->recovery_conf, "trigger_file"));
    if (!name || !*name)
        name = "promote";
    n = name[0] == '/' ? snprintf(path, sizeof(path), "%s", name)
                       : snprintf(path, sizeof(path), "%s/%s", c->data_dir, name);
    if (n > 0 && (size_t)n < sizeof(path))
        (void)unlink(path);
}

static void failed(struct pgclone *j, const char *how);

static void succeed(struct pgclone *j)
{
    struct pgfiles_env env = { 0 };
    struct pgv_error err = { 0 };

    if (!pgmark_remove(j->conf, &err)) {
        failed(j, err.msg);
        return;
    }
    pgfiles_restore_backups(j->conf, &env);
    remove_trigger(j->conf);
    progress(j, 100);
    (void)snprintf(j->message, sizeof(j->message), "replica has been created using %s", j->step);
    finish(j, PGCLONE_OK);
}

/** This run did not work: say so, clear what it left, and see what comes next. */
static void failed(struct pgclone *j, const char *how)
{
    (void)snprintf(j->message, sizeof(j->message), "Error creating replica using method %s: %s%s%s",
                   j->step, how, j->last_line[0] ? ": " : "", j->last_line);
    if (j->canceled) {
        finish(j, PGCLONE_CANCELED);
        return;
    }
    pgv_log(PGV_ERROR, "pg", "%s", j->message);
    if (is_basebackup(j->step) && j->attempt < BASEBACKUP_ATTEMPTS) {
        j->phase = PHASE_PAUSE;
        /* the directory is cleared before the next attempt, not now: less to wait for on cancel */
        clear(j, PHASE_PAUSE);
        return;
    }
    if (keeps_data(j)) {
        j->method++;
        next_method(j);
        return;
    }
    clear(j, PHASE_CLEAR_AFTER);
}

static void on_mark_due(uv_timer_t *timer)
{
    struct pgclone *j = timer->data;

    pgmark_tick(&j->mark, j->conf, timer);
}

static void on_end(struct pgv_child *child, int status)
{
    struct pgclone *j = child->data;
    char how[64];

    j->in_child = false;
    (void)uv_timer_stop(&j->timer);
    j->exit_status = status;
    pgv_child_describe(status, how, sizeof(how));
    pgv_child_done(child);
    if (pgtool_ok(status) && !j->canceled)
        succeed(j);
    else
        failed(j, how);
}

static void run(struct pgclone *j)
{
    struct pgv_child_options options = { .kill_ms = CANCEL_KILL_MS };
    struct pgtool_args *args;
    struct pgv_error err = { 0 };
    bool base = is_basebackup(j->step);

    if (j->canceled) {
        finish(j, PGCLONE_CANCELED);
        return;
    }
    j->phase = PHASE_RUN;
    j->last_line[0] = '\0';
    j->bytes = j->bytes_total = 0;
    progress(j, -1);
    pgv_arena_reset(&j->scratch);
    args = pgv_arena_alloc(&j->scratch, sizeof(*args));
    if (!args) {
        failed(j, "no memory");
        return;
    }
    pgtool_args_init(args, &j->scratch);
    if (!(base ? basebackup_args(j, args, &err) : custom_args(j, j->step, args, &err))) {
        failed(j, err.msg);
        return;
    }
    if (args->failed) {
        failed(j, "too many options, or no memory for them");
        return;
    }
    options.argv = args->v;
    options.env = j->env;
    options.on_line = base ? on_line : NULL;
    options.inherit_output = !base;
    j->attempt++;
    j->child = (struct pgv_child){ .data = j };
    if (!pgv_child_start(j->loop, &j->child, &options, on_end, &err)) {
        failed(j, err.msg);
        return;
    }
    j->in_child = true;
    pgmark_init(&j->mark, PGMARK_CLONE, j->child.pid, "");
    (void)uv_timer_start(&j->timer, on_mark_due, PGMARK_TICK_MS, PGMARK_TICK_MS);
}

static void on_pause_over(uv_timer_t *timer)
{
    struct pgclone *j = timer->data;

    clear(j, PHASE_CLEAR);
}

static void after_clear(struct pgclone *j)
{
    if (j->canceled) {
        finish(j, PGCLONE_CANCELED);
    } else if (j->phase == PHASE_CLEAR) {
        run(j);
    } else if (j->phase == PHASE_PAUSE) {
        (void)uv_timer_start(&j->timer, on_pause_over, BASEBACKUP_PAUSE_MS, 0);
    } else {
        j->method++;
        next_method(j);
    }
}

static void on_removed(struct pgdata_job *remove, bool ok, const char *message)
{
    struct pgclone *j = remove->data;

    if (!ok && !j->canceled)
        pgv_log(PGV_ERROR, "pg", "%s", message);
    after_clear(j);
}

/** Empty the data directory if it is not, then go on as @phase says. */
static void clear(struct pgclone *j, int phase)
{
    char why[96];
    struct pgv_error err;

    j->phase = phase;
    if (pgdata_state(j->conf->data_dir, why) == PM_DIR_EMPTY) {
        after_clear(j);
        return;
    }
    if (phase == PHASE_CLEAR && keeps_data(j)) {
        pgv_log(PGV_INFO, "pg", "Leaving data directory uncleaned");
        after_clear(j);
        return;
    }
    j->remove.data = j;
    if (!pgdata_remove_start(&j->remove, j->loop, j->conf, on_removed, &err)) {
        pgv_log(PGV_ERROR, "pg", "data directory was not removed: %s", err.msg);
        after_clear(j);
    }
}

static void next_method(struct pgclone *j)
{
    const char *method = j->methods[j->method];

    if (j->canceled || !method) {
        finish(j, j->canceled ? PGCLONE_CANCELED : PGCLONE_FAILED);
        return;
    }
    pgv_copy_cut(j->step, sizeof(j->step), pgv_str(method));
    j->attempt = 0;
    if (j->on_progress)
        j->on_progress(j);
    clear(j, PHASE_CLEAR);
}

/* ------------------------------------------------------------------------------------ starting */

static void on_begin(uv_timer_t *timer)
{
    next_method(timer->data);
}

static bool add_method(struct pgclone *j, size_t *n, const char *name, bool source,
                       struct pgv_error *err)
{
    if (!source && !needs_no_source(j->conf, name))
        return true;
    j->methods[*n] = pgv_arena_dup(&j->arena, pgv_str(name));
    return j->methods[(*n)++] || pgv_fail(err, PGV_ENOMEM, "no memory to create a replica");
}

static bool choose_methods(struct pgclone *j, const struct pgclone_args *args, bool source,
                           struct pgv_error *err)
{
    const struct pgv_value *list = pgv_is(args->methods, PGV_LIST) ? args->methods : NULL;
    size_t cap = 2 + (list ? list->u.c.n : 0), n = 0;

    for (const char *const *m = j->conf->create_replica_methods; *m; m++)
        cap++;
    j->methods = pgv_arena_alloc(&j->arena, cap * sizeof(*j->methods));
    if (!j->methods)
        return pgv_fail(err, PGV_ENOMEM, "no memory to create a replica");
    if (args->basebackup_only)
        return add_method(j, &n, "basebackup", source, err);
    if (pgv_value_first(list)) {
        PGV_EACH(item, list)
        {
            if (item->type == PGV_STRING && !add_method(j, &n, item->u.s.p, source, err))
                return false;
        }
        return true;
    }
    for (const char *const *m = j->conf->create_replica_methods; *m; m++)
        if (!add_method(j, &n, *m, source, err))
            return false;
    return true;
}

/** The connection to the source for the children: its password goes into the password file. */
static bool prepare_source(struct pgclone *j, const struct pgclone_args *args,
                           struct pgv_error *err)
{
    struct pgdsn node, d = { 0 };

    if (!pgconf_url_to_dsn(j->conf, &j->arena, args->source_conn_url, &node, err))
        return false;
    pgconf_auth_to_dsn(&j->conf->replication, &d);
    d.v[PGDSN_HOST] = node.v[PGDSN_HOST];
    d.v[PGDSN_PORT] = node.v[PGDSN_PORT];
    d.v[PGDSN_DBNAME] = node.v[PGDSN_DBNAME];
    return pgtool_connection(&j->arena, j->conf, &d, args->binary_version, NULL, &j->dsn, &j->env,
                             err);
}

bool pgclone_start(struct pgclone *j, uv_loop_t *loop, const struct pgclone_args *args,
                   void (*cb)(struct pgclone *j, enum pgclone_result result, const char *message),
                   struct pgv_error *err)
{
    bool source = args->source_conn_url && args->source_conn_url[0];

    PGV_ASSERT(!j->running);
    *j = (struct pgclone){ .data = j->data,
                           .on_progress = j->on_progress,
                           .percent = -1,
                           .exit_status = -1,
                           .loop = loop,
                           .conf = args->conf,
                           .cb = cb,
                           .dsn = "",
                           .binary_version = args->binary_version };
    pgv_arena_init(&j->arena, CLONE_BYTES_MAX);
    pgv_arena_init(&j->scratch, CLONE_BYTES_MAX);
    if (!choose_methods(j, args, source, err) || (source && !prepare_source(j, args, err))) {
        j->conf = NULL;
        pgv_arena_done(&j->arena);
        return false;
    }
    (void)pgconf_ref(j->conf);
    (void)snprintf(j->message, sizeof(j->message), "there is no method to create a replica%s",
                   source ? "" : " without a source");
    (void)uv_timer_init(loop, &j->timer);
    j->timer.data = j;
    j->running = true;
    (void)uv_timer_start(&j->timer, on_begin, 0, 0);
    return true;
}

void pgclone_cancel(struct pgclone *j)
{
    if (!j->running || uv_is_closing((uv_handle_t *)&j->timer))
        return;
    j->canceled = true;
    if (j->in_child)
        pgv_child_cancel(&j->child, CANCEL_KILL_MS);
    else if (j->remove.running)
        pgdata_cancel(&j->remove);
    else
        finish(j, PGCLONE_CANCELED); /* waiting for its turn, or for the next attempt */
}
