/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgboot.c - initdb, or the user's bootstrap command. The superuser's password reaches initdb
 * in a file that only we can read and that is gone as soon as initdb ends.
 */
#include "pg/pgboot.h"

#include "base/log.h"
#include "pg/pgrecovery.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/banned.h"

#define BOOT_BYTES_MAX (4u << 20)
#define CANCEL_KILL_MS 10000

const char *pgboot_method(const struct pgv_value *bootstrap)
{
    const char *method = pgv_stringz(pgv_get(bootstrap, "method"));

    if (method && *method && strcmp(method, "initdb") != 0 &&
        pgv_get(pgv_get(bootstrap, method), "command"))
        return method;
    return "initdb";
}

bool pgboot_is_custom(const struct pgv_value *bootstrap)
{
    return strcmp(pgboot_method(bootstrap), "initdb") != 0;
}

/* -------------------------------------------------------------------------------------- ending */

static void remove_pwfile(struct pgboot *j)
{
    if (j->pwfile[0])
        (void)unlink(j->pwfile);
    j->pwfile[0] = '\0';
}

static void on_closed(uv_handle_t *handle)
{
    struct pgboot *j = handle->data;

    pgconf_unref(j->conf);
    j->conf = NULL;
    j->running = false;
    j->cb(j, j->result, j->message);
}

static void on_mark_due(uv_timer_t *timer)
{
    struct pgboot *j = timer->data;

    pgmark_tick(&j->mark, j->conf, timer);
}

static void on_end(struct pgv_child *child, int status)
{
    struct pgboot *j = child->data;
    const char *what = j->custom ? "custom bootstrap script" : "initdb";
    struct pgfiles_env env = { 0 };
    struct pgv_error err = { 0 };
    char how[64];

    remove_pwfile(j);
    j->exit_status = status;
    pgv_child_describe(status, how, sizeof(how));
    pgv_child_done(child);
    if (j->canceled) {
        j->result = PGBOOT_CANCELED;
        (void)snprintf(j->message, sizeof(j->message), "canceled");
    } else if (pgtool_ok(status)) {
        j->result = PGBOOT_OK;
        (void)snprintf(j->message, sizeof(j->message), "%s succeeded", what);
        if (j->custom)
            pgfiles_restore_backups(j->conf, &env);
        /* It may have been quicker than the timer, or have cleared the directory once more. */
        if (!pgmark_write(&j->mark, j->conf, &err))
            pgv_log(PGV_WARNING, "pg", "the new data directory cannot be marked: %s", err.msg);
    } else {
        j->result = PGBOOT_FAILED;
        (void)snprintf(j->message, sizeof(j->message), "%s failed: %s", what, how);
    }
    uv_close((uv_handle_t *)&j->deferred, on_closed);
}

/* ------------------------------------------------------------------------------------- options */

/** The password in a file of mode 0600, for --pwfile. */
static bool write_pwfile(struct pgboot *j, const char *password, struct pgv_error *err)
{
    const char *dir = getenv("TMPDIR");
    struct pgv_str text = pgv_str(password);
    int fd, n, sys = 0;

    n = snprintf(j->pwfile, sizeof(j->pwfile), "%s/pgvigil-pw-XXXXXX", dir && *dir ? dir : "/tmp");
    if (n < 0 || (size_t)n >= sizeof(j->pwfile)) {
        j->pwfile[0] = '\0';
        return pgv_fail(err, PGV_EINVALID, "TMPDIR is too long");
    }
    fd = mkostemp(j->pwfile, O_CLOEXEC); /* 0600 by itself */
    if (fd < 0) {
        sys = errno;
        j->pwfile[0] = '\0';
        return pgv_fail_sys(err, sys, "temporary file for initdb");
    }
    while (text.n > 0 && sys == 0) {
        ssize_t done = write(fd, text.p, text.n);

        if (done >= 0) {
            text.p += done;
            text.n -= (size_t)done;
        } else if (errno != EINTR) {
            sys = errno;
        }
    }
    if (close(fd) != 0 && sys == 0)
        sys = errno;
    return sys == 0 || pgv_fail_sys(err, sys, "temporary file for initdb");
}

static bool initdb_args(struct pgboot *j, const struct pgv_value *bootstrap,
                        struct pgtool_args *args, struct pgv_error *err)
{
    static const char *const forbidden[] = { "pgdata",    "nosync",  "pwfile",
                                             "sync-only", "version", NULL };
    const struct pgconf_auth *super = &j->conf->superuser;
    char bin[PGCONF_PATH_BYTES];

    if (!pgconf_bin(j->conf, "initdb", bin))
        return pgv_fail(err, PGV_EINVALID, "postgresql.bin_dir: path is too long");
    pgtool_args_add(args, bin);
    if (!pgtool_user_options(args, "initdb", pgv_get(bootstrap, "initdb"), forbidden, NULL, 0, true,
                             err))
        return false;
    if (super->username)
        pgtool_args_addf(args, "--username=%s", super->username);
    if (super->password) {
        if (!write_pwfile(j, super->password, err))
            return false;
        pgtool_args_addf(args, "--pwfile=%s", j->pwfile);
    }
    pgtool_args_add(args, j->conf->data_dir);
    return true;
}

static bool is_reserved(struct pgv_str key)
{
    static const char *const reserved[] = {
        "command", "no_params", "keep_existing_recovery_conf", "recovery_conf", "scope", "datadir"
    };

    for (unsigned i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        if (pgv_str_eqz(key, reserved[i]))
            return true;
    return false;
}

static bool custom_args(struct pgboot *j, const struct pgv_value *bootstrap,
                        struct pgtool_args *args, struct pgv_error *err)
{
    const char *method = pgboot_method(bootstrap);
    const struct pgv_value *section = pgv_get(bootstrap, method);
    const char *command = pgv_stringz(pgv_get(section, "command"));
    struct pgv_buf text;
    bool ok = true;

    if (!command || !pgtool_args_split(args, command, err) || args->n == 0)
        return pgv_fail(err, PGV_EINVALID, "bootstrap.%s.command: is no command", method);
    if (!pgv_truthy(pgv_get(section, "no_params"))) {
        pgtool_args_addf(args, "--scope=%s", j->conf->scope);
        pgtool_args_addf(args, "--datadir=%s", j->conf->data_dir);
    }
    pgv_buf_init(&text, 64 * 1024);
    PGV_EACH(item, section)
    {
        if (is_reserved(item->key))
            continue;
        pgv_buf_reset(&text);
        if (!pgv_value_text(&text, item)) {
            ok = pgv_fail(err, PGV_ENOMEM, "no memory for the bootstrap command");
            break;
        }
        pgtool_args_addf(args, "--%s=%s", item->key.p, pgv_buf_cstr(&text));
    }
    pgv_buf_done(&text);
    return ok;
}

bool pgboot_start(struct pgboot *j, uv_loop_t *loop, struct pgconf *c,
                  const struct pgv_value *bootstrap, const char *token,
                  void (*cb)(struct pgboot *j, enum pgboot_result result, const char *message),
                  struct pgv_error *err)
{
    struct pgv_child_options options = { .kill_ms = CANCEL_KILL_MS, .inherit_output = true };
    struct pgtool_args *args;
    struct pgv_arena arena;
    bool ok = false;

    PGV_ASSERT(!j->running);
    *j = (struct pgboot){ .data = j->data, .loop = loop, .conf = c, .cb = cb, .exit_status = -1 };
    j->custom = pgboot_is_custom(bootstrap);
    pgv_arena_init(&arena, BOOT_BYTES_MAX);
    args = pgv_arena_alloc(&arena, sizeof(*args));
    if (!args) {
        (void)pgv_fail(err, PGV_ENOMEM, "no memory to bootstrap");
        goto out;
    }
    pgtool_args_init(args, &arena);
    if (!(j->custom ? custom_args(j, bootstrap, args, err) : initdb_args(j, bootstrap, args, err)))
        goto out;
    if (args->failed) {
        (void)pgv_fail(err, PGV_ENOMEM, "too many bootstrap options, or no memory for them");
        goto out;
    }
    options.argv = args->v;
    j->child.data = j;
    pgv_log(PGV_INFO, "pg", "Running %s: %s", j->custom ? "custom bootstrap script" : "initdb",
            args->v[0]);
    if (!pgv_child_start(loop, &j->child, &options, on_end, err))
        goto out;
    (void)pgconf_ref(c);
    pgmark_init(&j->mark, PGMARK_BOOTSTRAP, j->child.pid, token);
    (void)uv_timer_init(loop, &j->deferred);
    j->deferred.data = j;
    (void)uv_timer_start(&j->deferred, on_mark_due, PGMARK_TICK_MS, PGMARK_TICK_MS);
    j->running = true;
    ok = true;
out:
    if (!ok)
        remove_pwfile(j);
    pgv_arena_done(&arena);
    return ok;
}

void pgboot_cancel(struct pgboot *j)
{
    if (!j->running || uv_is_closing((uv_handle_t *)&j->deferred))
        return;
    j->canceled = true;
    pgv_child_cancel(&j->child, CANCEL_KILL_MS);
}

bool pgboot_end_custom(const struct pgconf *c, const struct pgfiles_env *env,
                       const struct pgv_value *params, struct pgv_error *err)
{
    PGV_ASSERT(!env->custom_bootstrap);
    /* ours let everybody in; what the restored cluster had is in the backup */
    if (!c->pg_hba) {
        if (unlink(c->hba_path) != 0 && errno != ENOENT)
            return pgv_fail_sys(err, errno, "remove '%s'", c->hba_path);
        pgfiles_restore_backups(c, env);
    }
    return pgfiles_write_conf(c, env, params, NULL, err) &&
           pgfiles_write_ident(c, env, NULL, err) && pgrecovery_remove(c, err) &&
           pgfiles_write_hba(c, env, NULL, NULL, 0, NULL, err);
}
