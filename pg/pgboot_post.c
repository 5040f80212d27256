/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgboot_post.c - roles and the user's script, once a bootstrapped server is primary.
 *
 * Statements with passwords go over a connection of their own whose settings keep them out of the
 * server's log, pg_stat_statements and pgaudit from its first moment; a lost connection takes the
 * settings with it to the next one. Nothing waits for a synchronous standby: there is none yet.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "pg/pgboot.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "base/banned.h"

#define BOOT_BYTES_MAX (1u << 20)
#define STATEMENT_BYTES_MAX (64u * 1024)
#define STATEMENT_TIMEOUT_MS 60000
#define CANCEL_KILL_MS 10000

enum { STEP_SUPERUSER, STEP_SCRIPT, STEP_REPLICATION, STEP_REWIND, STEP_GRANTS, STEP_DONE };

/* ------------------------------------------------------------------------------------- quoting */

static void put_doubled(struct pgv_buf *b, const char *s, char quote)
{
    (void)pgv_buf_putc(b, quote);
    for (; *s; s++) {
        if (*s == quote)
            (void)pgv_buf_putc(b, quote);
        (void)pgv_buf_putc(b, *s);
    }
    (void)pgv_buf_putc(b, quote);
}

bool pgboot_role_sql(struct pgv_buf *b, const char *name, const char *password, const char *options)
{
    struct pgv_buf body, role;
    bool ok;

    pgv_buf_init(&body, STATEMENT_BYTES_MAX);
    pgv_buf_init(&role, STATEMENT_BYTES_MAX);
    put_doubled(&role, name, '"');
    (void)pgv_buf_puts(&role, " WITH ");
    for (const char *p = options; *p; p++)
        (void)pgv_buf_putc(&role, (char)toupper((unsigned char)*p));
    if (!strcasestr(options, "LOGIN")) /* which NOLOGIN holds as well */
        (void)pgv_buf_puts(&role, *options ? " LOGIN" : "LOGIN");
    if (password && *password) {
        (void)pgv_buf_puts(&role, " PASSWORD ");
        put_doubled(&role, password, '\'');
    }
    (void)pgv_buf_puts(&body, "BEGIN SET LOCAL synchronous_commit = 'local';"
                              " PERFORM * FROM pg_catalog.pg_authid WHERE rolname = ");
    put_doubled(&body, name, '\'');
    (void)pgv_buf_printf(&body, "; IF FOUND THEN ALTER ROLE %s; ELSE CREATE ROLE %s; END IF; END;",
                         pgv_buf_cstr(&role), pgv_buf_cstr(&role));
    (void)pgv_buf_puts(b, "DO ");
    put_doubled(b, pgv_buf_cstr(&body), '\'');
    ok = !body.failed && !role.failed && !b->failed;
    if (body.p)
        explicit_bzero(body.p, body.n);
    if (role.p)
        explicit_bzero(role.p, role.n);
    pgv_buf_done(&body);
    pgv_buf_done(&role);
    return ok;
}

static bool grants_sql(struct pgv_buf *b, const char *role)
{
    static const char *const functions[] = {
        "pg_ls_dir(text, boolean, boolean)",
        "pg_stat_file(text, boolean)",
        "pg_read_binary_file(text)",
        "pg_read_binary_file(text, bigint, bigint, boolean)",
    };

    for (unsigned i = 0; i < 4; i++) {
        (void)pgv_buf_printf(b, "GRANT EXECUTE ON FUNCTION pg_catalog.%s TO ", functions[i]);
        put_doubled(b, role, '"');
        (void)pgv_buf_puts(b, ";");
    }
    return !b->failed;
}

/* -------------------------------------------------------------------------------------- ending */

static void on_timer_closed(uv_handle_t *handle)
{
    struct pgboot_post *j = handle->data;

    pgconf_unref(j->conf);
    j->conf = NULL;
    pgv_arena_done(&j->arena);
    j->running = false;
    j->cb(j, j->result, j->message);
}

static void on_sql_closed(struct pgsql *sql)
{
    struct pgboot_post *j = sql->data;

    if (j->text.p)
        explicit_bzero(j->text.p, j->text.n);
    pgv_buf_done(&j->text);
    uv_close((uv_handle_t *)&j->deferred, on_timer_closed);
}

static void finish(struct pgboot_post *j, enum pgboot_result result, const char *message)
{
    j->result = j->canceled ? PGBOOT_CANCELED : result;
    pgv_copy_cut(j->message, sizeof(j->message), pgv_str(j->canceled ? "canceled" : message));
    pgsql_close(&j->sql, on_sql_closed);
}

/* --------------------------------------------------------------------------------------- steps */

static void advance(struct pgboot_post *j);

static void on_statement(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct pgboot_post *j = q->data;
    char message[PGV_ERROR_MSG_BYTES + 64];

    (void)res;
    j->in_query = false;
    if (err) {
        (void)snprintf(message, sizeof(message), "post_bootstrap: %s%s%s", err->msg,
                       q->sqlstate[0] ? " sqlstate=" : "", q->sqlstate);
        finish(j, PGBOOT_FAILED, message);
        return;
    }
    j->step++;
    advance(j);
}

static void submit(struct pgboot_post *j, bool ok)
{
    if (!ok) {
        finish(j, PGBOOT_FAILED, "post_bootstrap: no memory for a statement");
        return;
    }
    j->query = (struct pgsql_query){
        .data = j,
        .sql = pgv_buf_cstr(&j->text),
        .deadline_ms = pgv_clock_ms() + STATEMENT_TIMEOUT_MS,
    };
    j->in_query = true;
    pgsql_submit(&j->sql, &j->query, on_statement);
}

static void on_script_end(struct pgv_child *child, int status)
{
    struct pgboot_post *j = child->data;
    char how[64], message[256];

    j->in_child = false;
    pgv_child_describe(status, how, sizeof(how));
    pgv_child_done(child);
    if (!pgtool_ok(status)) {
        (void)snprintf(message, sizeof(message), "post_init script %.100s failed: %s", j->script,
                       how);
        if (!j->canceled)
            pgv_log(PGV_ERROR, "pg", "%s", message);
        finish(j, PGBOOT_FAILED, message);
        return;
    }
    j->step++;
    advance(j);
}

/** The user's command, with the connection as its last word and the password in PGPASSFILE. */
static bool start_script(struct pgboot_post *j, struct pgv_error *err)
{
    static const char *const over[] = {
        "PGOPTIONS=-c synchronous_commit=local -c statement_timeout=0", NULL
    };
    struct pgv_child_options options = { .kill_ms = CANCEL_KILL_MS, .inherit_output = true };
    struct pgtool_args *args = pgv_arena_alloc(&j->arena, sizeof(*args));
    const char *dsn;

    if (!args)
        return pgv_fail(err, PGV_ENOMEM, "no memory for the post_init script");
    if (!pgtool_connection(&j->arena, j->conf, &j->dsn, j->major_version, over, &dsn, &options.env,
                           err))
        return false;
    pgtool_args_init(args, &j->arena);
    if (!pgtool_args_split(args, j->script, err))
        return false;
    pgtool_args_add(args, dsn);
    if (args->failed)
        return pgv_fail(err, PGV_ENOMEM, "no memory for the post_init script");
    options.argv = args->v;
    j->child.data = j;
    j->in_child = pgv_child_start(j->loop, &j->child, &options, on_script_end, err);
    return j->in_child;
}

/** Rewinding has credentials of its own. */
static bool has_rewind_role(const struct pgboot_post *j)
{
    const struct pgconf_auth *rewind = pgconf_rewind_auth(j->conf, j->major_version);
    const char *super = j->conf->superuser.username;

    return rewind == &j->conf->rewind && rewind->username &&
           (!super || strcmp(rewind->username, super) != 0);
}

static void advance(struct pgboot_post *j)
{
    const struct pgconf *c = j->conf;
    struct pgv_error err = { 0 };

    if (j->text.p)
        explicit_bzero(j->text.p, j->text.n);
    pgv_buf_reset(&j->text);
    if (j->canceled) {
        finish(j, PGBOOT_CANCELED, "canceled");
        return;
    }
    for (;; j->step++) {
        switch (j->step) {
        case STEP_SUPERUSER:
            if (!c->superuser.username || !c->superuser.password)
                continue;
            submit(j, pgboot_role_sql(&j->text, c->superuser.username, c->superuser.password,
                                      "SUPERUSER"));
            return;
        case STEP_SCRIPT:
            if (!j->script)
                continue;
            if (!start_script(j, &err)) {
                pgv_log(PGV_ERROR, "pg", "post_init script %s failed: %s", j->script, err.msg);
                finish(j, PGBOOT_FAILED, err.msg);
            }
            return;
        case STEP_REPLICATION:
            if (!c->replication.username)
                continue;
            submit(j, pgboot_role_sql(&j->text, c->replication.username, c->replication.password,
                                      "REPLICATION"));
            return;
        case STEP_REWIND:
            if (!has_rewind_role(j))
                continue;
            submit(j, pgboot_role_sql(&j->text, c->rewind.username, c->rewind.password, ""));
            return;
        case STEP_GRANTS:
            if (!has_rewind_role(j))
                continue;
            submit(j, grants_sql(&j->text, c->rewind.username));
            return;
        default:
            finish(j, PGBOOT_OK, "post_bootstrap finished");
            return;
        }
    }
}

/* ------------------------------------------------------------------------------------ starting */

static void on_begin(uv_timer_t *timer)
{
    advance(timer->data);
}

/** Settings of our connection; each is one that a superuser may give at its start. */
static bool connection_options(struct pgv_buf *b, int major_version)
{
    (void)pgv_buf_puts(b, "-c search_path=pg_catalog -c standard_conforming_strings=on"
                          " -c synchronous_commit=local -c statement_timeout=0"
                          " -c log_statement=none -c log_min_duration_statement=-1"
                          " -c log_min_error_statement=log -c pgaudit.log=none"
                          " -c pg_stat_statements.track=none"
                          " -c pg_stat_statements.track_utility=off");
    if (major_version >= 120000)
        (void)pgv_buf_puts(b, " -c log_transaction_sample_rate=0");
    if (major_version >= 130000)
        (void)pgv_buf_puts(b, " -c log_min_duration_sample=-1");
    return !b->failed;
}

bool pgboot_post_start(struct pgboot_post *j, uv_loop_t *loop, struct pgconf *c,
                       const struct pgconf_address *addr, const char *hostaddr,
                       const struct pgv_value *bootstrap, int major_version,
                       void (*cb)(struct pgboot_post *j, enum pgboot_result result,
                                  const char *message),
                       struct pgv_error *err)
{
    struct pgconf_address *kept;
    struct pgv_buf options, conninfo;
    struct pgdsn d;
    char hosts[1024];
    bool ok = false;

    PGV_ASSERT(!j->running);
    *j = (struct pgboot_post){
        .data = j->data, .loop = loop, .conf = c, .cb = cb, .major_version = major_version
    };
    pgv_arena_init(&j->arena, BOOT_BYTES_MAX);
    pgv_buf_init(&j->text, STATEMENT_BYTES_MAX);
    pgv_buf_init(&options, 1024);
    pgv_buf_init(&conninfo, PGDSN_BYTES_MAX);
    /* the owner's address may change under us at a reload */
    kept = pgv_arena_alloc(&j->arena, sizeof(*kept));
    if (kept)
        *kept = *addr;
    j->script = pgv_stringz(pgv_get(bootstrap, "post_bootstrap"));
    if (!j->script || !*j->script)
        j->script = pgv_stringz(pgv_get(bootstrap, "post_init"));
    if (j->script && *j->script)
        j->script = pgv_arena_dup(&j->arena, pgv_str(j->script));
    else
        j->script = NULL;
    if (!kept || !connection_options(&options, major_version))
        goto no_memory;
    pgconf_local_dsn(c, kept, PGCONF_SUPERUSER, &j->dsn);
    d = j->dsn;
    if (!pgdsn_set_hostaddr(&d, hostaddr, hosts, sizeof(hosts)))
        goto no_memory;
    d.v[PGDSN_CONNECT_TIMEOUT] = "3";
    d.v[PGDSN_APPLICATION_NAME] = "Patroni bootstrap";
    d.v[PGDSN_OPTIONS] = pgv_buf_cstr(&options);
    if (!pgdsn_write(&conninfo, &d, PQlibVersion()))
        goto no_memory;
    if (pgv_truthy(pgv_get(bootstrap, "users")))
        pgv_log(PGV_ERROR, "pg",
                "User creation is not be supported starting from v4.0.0. Please use "
                "\"bootstrap.post_bootstrap\" script to create users.");
    pgsql_open(&j->sql, loop, "bootstrap");
    j->sql.data = j;
    (void)uv_timer_init(loop, &j->deferred);
    j->deferred.data = j;
    j->running = true;
    (void)pgconf_ref(c);
    ok = true;
    if (!pgsql_set_conninfo(&j->sql, pgv_buf_cstr(&conninfo), NULL))
        finish(j, PGBOOT_FAILED, "post_bootstrap: no memory for the connection");
    else
        (void)uv_timer_start(&j->deferred, on_begin, 0, 0);
    goto out;
no_memory:
    (void)pgv_fail(err, PGV_ENOMEM, "no memory for post_bootstrap");
out:
    if (conninfo.p)
        explicit_bzero(conninfo.p, conninfo.n);
    pgv_buf_done(&conninfo);
    pgv_buf_done(&options);
    if (!ok) {
        pgv_arena_done(&j->arena);
        pgv_buf_done(&j->text);
    }
    return ok;
}

void pgboot_post_cancel(struct pgboot_post *j)
{
    if (!j->running || j->canceled)
        return;
    j->canceled = true;
    if (j->in_child)
        pgv_child_cancel(&j->child, CANCEL_KILL_MS);
    else if (j->in_query)
        pgsql_cancel(&j->sql, &j->query);
    /* else the beginning is still to come, or the end is under way */
}
