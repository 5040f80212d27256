/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/reconf.c - settings and the running server: compare, write, reload, what waits for a restart.
 *
 * Contract pg §13.6. One pass at a time; a newer configuration that comes meanwhile waits and then
 * gets a pass of its own. A server that starts is compared once it accepts connections, one that
 * is down gets everything at its next start. The second half is §13.9: a server that was running
 * before us tells what it runs with, so that the first comparison has something to compare with
 * and a standby's primary_conninfo is not lost when postgresql.conf is written.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

#define QUERY_MS 2500
#define TOOL_MS 10000
#define ROWS_MAX 1000

/* ---- what the start writes (contract pg §4.5) ---- */

static unsigned split_addrs(char *text, const char **ret, unsigned max)
{
    unsigned n = 0;

    for (char *p = text; p && *p && n < max;) {
        char *comma = strchr(p, ',');

        if (comma)
            *comma = '\0';
        ret[n++] = p;
        p = comma ? comma + 1 : NULL;
    }
    return n;
}

static bool write_hba(struct postmaster_impl *im, const struct pgfiles_env *env, bool *ret_written,
                      struct pgv_error *err)
{
    char text[256];
    const char *addrs[NAMES_ADDRS_MAX], *hostaddr = pm_conn_hostaddr(im);

    pgv_copy_cut(text, sizeof(text), pgv_str(hostaddr ? hostaddr : im->addr.tcp_host));
    return pgfiles_write_hba(im->conf, env, &im->addr, addrs,
                             split_addrs(text, addrs, NAMES_ADDRS_MAX), ret_written, err);
}

static void adopt_params(struct postmaster_impl *im, struct pgv_arena *a, struct pgv_value *params)
{
    pgv_arena_done(&im->params_arena);
    im->params_arena = *a;
    im->params = params;
}

static void take_address(struct postmaster_impl *im)
{
    struct pgv_error err = { 0 };
    struct pgconf_address addr;

    if (pgconf_resolve_address(im->conf, &addr, &err)) {
        im->addr = addr;
        pm_publish_address(im);
    } else {
        pgv_log(PGV_ERROR, "pg", "the local address stays as it was: %s", err.msg);
    }
    pm_conn_configure(im);
}

bool pm_write_conf(struct postmaster_impl *im, struct pgv_error *err)
{
    struct pgfiles_env env;

    pm_env(im, &env);
    return pgfiles_write_conf(im->conf, &env, im->params,
                              env.major_version >= 120000 ? im->recovery_params : NULL, err);
}

bool pm_write_start_files(struct postmaster_impl *im, struct pgv_error *err)
{
    struct postmaster_pending pending[POSTMASTER_PENDING_MAX] = { 0 };
    const struct pm_control *control = im->control.ok ? &im->control : NULL;
    struct pgfiles_env env;
    struct pgv_value *params;
    struct pgv_arena a;
    unsigned n = 0;

    pgv_arena_init(&a, PM_ARENA_BYTES_MAX);
    pm_env(im, &env);
    params = pgfiles_parameters(im->conf, &env, &a, err);
    if (!params ||
        (env.role != PGV_ROLE_PRIMARY &&
         !pgfiles_apply_control(im->conf, &env, control, params, &a, pending, &n, err)) ||
        !pgfiles_make_dirs(im->conf, params, im->pm->facts.dir == PM_DIR_EMPTY, err)) {
        pgv_arena_done(&a);
        return false;
    }
    adopt_params(im, &a, params);
    take_address(im);
    if (!pm_write_conf(im, err) || !write_hba(im, &env, NULL, err) ||
        !pgfiles_write_ident(im->conf, &env, NULL, err))
        return false;
    pm_set_pending(im, pending, n);
    return true;
}

bool pm_write_hba_ident(struct postmaster_impl *im, bool *ret_written, struct pgv_error *err)
{
    struct pgfiles_env env;
    bool hba = false, ident = false;

    pm_env(im, &env);
    if (!write_hba(im, &env, &hba, err) || !pgfiles_write_ident(im->conf, &env, &ident, err))
        return false;
    *ret_written = hba || ident;
    return true;
}

/* ---- the end of a pass ---- */

static void begin(struct postmaster_impl *im);

static void finish(struct postmaster_impl *im)
{
    struct pm_reconf *r = &im->reconf;
    struct pgconf *next = r->next;

    r->active = false;
    pgconf_unref(r->old);
    r->old = NULL;
    r->wanted = NULL;
    pgv_arena_done(&r->arena);
    pm_disarm(im, PM_TIMER_RECONF);
    pm_changed(im);
    if (next && !im->closing) {
        r->next = NULL;
        pm_reconf_begin(im, next, r->next_sighup);
    } else {
        pgconf_unref(next);
        r->next = NULL;
    }
}

static void warn_and_finish(struct postmaster_impl *im, const char *what,
                            const struct pgv_error *err)
{
    if (!im->closing)
        pgv_log(PGV_WARNING, "pg", "%s: %s", what, err->msg);
    pm_set_pending(im, im->reconf.changes.pending, im->reconf.changes.n_pending);
    finish(im);
}

/* @param: $1, or NULL. */
static void ask(struct postmaster_impl *im, const char *sql, const char *param, pgsql_cb cb)
{
    struct pm_reconf *r = &im->reconf;

    r->query.data = im;
    r->query.sql = sql;
    r->query.n_params = param ? 1 : 0;
    r->query.params[0] = param;
    r->query.deadline_ms = pgv_clock_ms() + QUERY_MS;
    pgsql_submit(&im->conn.heartbeat, &r->query, cb);
}

/* ---- what waits for a restart, as the server itself sees it ---- */

static void ask_future(struct postmaster_impl *im);

static void add_pending(struct postmaster_impl *im, const char *future)
{
    struct pm_reconf *r = &im->reconf;
    const struct pm_pending_row *row = &r->rows[r->at];
    struct postmaster_pending *p = &r->seen[r->at];

    *p = (struct postmaster_pending){ 0 };
    pgfiles_pending(p, row->name, row->vartype, row->unit[0] ? row->unit : NULL, row->setting,
                    future);
    for (unsigned i = 0; i < r->changes.n_pending; i++)
        if (memcmp(p, &r->changes.pending[i], sizeof(*p)) == 0)
            return;
    pgv_log(PGV_INFO, "pg",
            "a parameter requiring restart seems to be changed bypassing the agent name=%s",
            row->name);
}

static void on_future(struct pgtool *t, int status)
{
    struct postmaster_impl *im = t->data;
    struct pm_reconf *r = &im->reconf;
    char value[256];

    pgv_copy_cut(value, sizeof(value), pgv_str_trim(pgv_buf_view(&t->child.out)));
    pgtool_done(t);
    r->tooling = false;
    if (im->closing) {
        finish(im);
        return;
    }
    add_pending(im, pgtool_ok(status) ? value : "?");
    r->at++;
    ask_future(im);
}

static void ask_future(struct postmaster_impl *im)
{
    struct pm_reconf *r = &im->reconf;
    char config[PGCONF_PATH_BYTES + 32];
    const char *argv[] = { im->postgres_path, "-D", im->conf->data_dir, "-C", NULL, config, NULL };
    struct pgv_error err = { 0 };

    for (; r->at < r->n_rows; r->at++) {
        (void)snprintf(config, sizeof(config), "--config-file=%s", im->conf->conf_path);
        argv[4] = r->rows[r->at].name;
        r->tool.data = im;
        if (pgtool_start(&r->tool, im->loop, argv, NULL, TOOL_MS, on_future, &err)) {
            r->tooling = true;
            return;
        }
        add_pending(im, "?");
    }
    if (im->pm->facts.pid == r->asked_pid) /* else there was a restart meanwhile */
        pm_set_pending(im, r->seen, r->n_rows);
    finish(im);
}

static void on_pending_rows(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    struct pm_reconf *r = &im->reconf;

    if (err) {
        warn_and_finish(im, "cannot read what waits for a restart", err);
        return;
    }
    r->at = r->n_rows = 0;
    r->asked_pid = im->pm->facts.pid;
    for (int i = 0; i < PQntuples(res) && r->n_rows < POSTMASTER_PENDING_MAX; i++) {
        struct pm_pending_row *row = &r->rows[r->n_rows];
        struct pgv_str name = pgsql_field(res, i, 0);

        if (pgguc_is_recovery(name) || pgv_str_eqz(name, "hot_standby"))
            continue;
        pgv_copy_cut(row->name, sizeof(row->name), name);
        pgv_copy_cut(row->setting, sizeof(row->setting), pgsql_field(res, i, 1));
        pgv_copy_cut(row->unit, sizeof(row->unit), pgsql_field(res, i, 2));
        pgv_copy_cut(row->vartype, sizeof(row->vartype), pgsql_field(res, i, 3));
        r->n_rows++;
    }
    ask_future(im);
}

/* ---- reload ---- */

static void reloaded(struct postmaster_impl *im)
{
    struct pm_reconf *r = &im->reconf;

    if (!r->active)
        return;
    if (im->closing || !im->reload.ok || im->pm->facts.major_version < 90500 || !r->compared) {
        pm_set_pending(im, r->changes.pending, r->changes.n_pending);
        finish(im);
        return;
    }
    ask(im,
        "SELECT name, setting, unit, vartype FROM pg_catalog.pg_settings WHERE pending_restart"
        " ORDER BY name",
        NULL, on_pending_rows);
}

/* ---- write ---- */

static void write_files(struct postmaster_impl *im)
{
    struct pm_reconf *r = &im->reconf;
    struct pgfiles_changes *c = &r->changes;
    struct pgv_error err = { 0 };
    struct pgfiles_env env;
    bool ok = true;

    if (!c->address_stale)
        take_address(im);
    if (r->wanted) {
        adopt_params(im, &r->arena, r->wanted);
        pgv_arena_init(&r->arena, PM_ARENA_BYTES_MAX); /* moved out */
        r->wanted = NULL;
    }
    pm_env(im, &env);
    if (im->params && (c->conf || r->sighup))
        ok = pm_write_conf(im, &err);
    if (ok && (c->hba || r->sighup))
        ok = write_hba(im, &env, NULL, &err);
    if (ok && (c->ident || r->sighup))
        ok = pgfiles_write_ident(im->conf, &env, NULL, &err);
    if (!ok)
        pgv_log(PGV_ERROR, "pg", "cannot write the configuration: %s", err.msg);
    if (!im->pm->facts.alive) {
        finish(im); /* the next start writes everything */
    } else if (c->conf || c->hba || c->ident || r->sighup) {
        pgv_log(PGV_INFO, "pg", "Reloading PostgreSQL configuration.");
        pm_reload(im, false, reloaded);
    } else {
        pgv_log(PGV_INFO, "pg", "No PostgreSQL configuration items changed, nothing to reload.");
        if (r->compared)
            pm_set_pending(im, c->pending, c->n_pending);
        finish(im);
    }
}

/* ---- compare ---- */

static const char *field_or_null(const PGresult *res, int row, int col)
{
    return pgsql_is_null(res, row, col) ? NULL : PQgetvalue(res, row, col);
}

static void on_settings(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    struct pm_reconf *r = &im->reconf;
    struct pgfiles_setting *rows;
    int n;

    if (err) {
        if (!im->closing)
            pgv_log(PGV_WARNING, "pg",
                    "cannot compare the configuration, doing it when the server answers: %s",
                    err->msg);
        r->due = true;
        finish(im);
        return;
    }
    n = PQntuples(res) < ROWS_MAX ? PQntuples(res) : ROWS_MAX;
    rows = pgv_arena_alloc(&r->arena, sizeof(*rows) * (size_t)(n + 1));
    if (!rows) {
        pgv_log(PGV_ERROR, "pg", "no room to compare the configuration");
        r->due = true;
        finish(im);
        return;
    }
    for (int i = 0; i < n; i++)
        rows[i] = (struct pgfiles_setting){
            .name = field_or_null(res, i, 0),
            .setting = field_or_null(res, i, 1),
            .unit = field_or_null(res, i, 2),
            .vartype = field_or_null(res, i, 3),
            .context = field_or_null(res, i, 4),
            .sourcefile = field_or_null(res, i, 5),
        };
    pgfiles_compare(r->old, im->conf, im->params, r->wanted, rows, (size_t)n,
                    im->pm->facts.major_version, &r->changes);
    r->compared = true;
    write_files(im);
}

static void begin(struct postmaster_impl *im)
{
    struct pm_reconf *r = &im->reconf;
    const struct postmaster_facts *f = &im->pm->facts;
    struct pgv_error err = { 0 };
    struct pgfiles_env env;

    if (im->custom_bootstrap) {
        pgv_log(PGV_INFO, "pg",
                "Skipping PostgreSQL configuration update while in custom bootstrap.");
        finish(im);
        return;
    }
    if (!pm_prepared(im, begin))
        return;
    if (f->state != PGV_STATE_RUNNING || !im->params) {
        r->due = f->alive;
        write_files(im);
        return;
    }
    pm_env(im, &env);
    r->wanted = pgfiles_parameters(im->conf, &env, &r->arena, &err);
    pgv_buf_reset(&r->names);
    if (!r->wanted || !pgfiles_settings_names(&r->names, im->params, r->wanted)) {
        pgv_log(PGV_ERROR, "pg", "no room to compare the configuration: %s", err.msg);
        r->wanted = NULL;
        r->due = true;
        finish(im);
        return;
    }
    ask(im, pgfiles_settings_sql, pgv_buf_cstr(&r->names), on_settings);
}

static void begin_pass(struct postmaster_impl *im, bool sighup)
{
    struct pm_reconf *r = &im->reconf;

    r->active = true;
    r->due = false;
    r->sighup = sighup;
    r->compared = false;
    r->changes = (struct pgfiles_changes){ 0 };
    pgv_arena_init(&r->arena, PM_ARENA_BYTES_MAX);
    pm_arm(im, PM_TIMER_RECONF, 0, begin);
}

void pm_reconf_begin(struct postmaster_impl *im, struct pgconf *conf, bool sighup)
{
    struct pm_reconf *r = &im->reconf;
    char path[PGCONF_PATH_BYTES];

    if (r->active) {
        pgconf_unref(r->next);
        r->next_sighup = sighup || (r->next && r->next_sighup);
        r->next = conf;
        return;
    }
    r->old = im->conf;
    im->conf = conf;
    im->follow.agreed = false; /* that was with the old */
    if (conf->krbsrvname)
        (void)setenv("PGKRBSRVNAME", conf->krbsrvname, 1);
    if (pgconf_bin(conf, "postgres", path) && strcmp(path, im->postgres_path) != 0) {
        pgv_copy_cut(im->postgres_path, sizeof(im->postgres_path), pgv_str(path));
        pm_prepare_forget(im);
    }
    begin_pass(im, sighup);
}

void pm_reconf_retry(struct postmaster_impl *im)
{
    if (im->reconf.due && !im->reconf.active)
        begin_pass(im, im->reconf.sighup);
}

void pm_reconf_cancel(struct postmaster_impl *im)
{
    struct pm_reconf *r = &im->reconf;

    r->due = false;
    if (!r->active)
        return;
    if (im->reload.active)
        return; /* canceled, too: it comes back here */
    if (r->tooling)
        pgtool_cancel(&r->tool);
    else if (r->query.in_line)
        pgsql_cancel(&im->conn.heartbeat, &r->query);
    else
        pm_arm(im, PM_TIMER_RECONF, 0, finish);
}

/* ---- a server that was there before us (contract pg §2, §13.9) ---- */

static const char attach_sql[] =
    "SELECT pg_catalog.lower(name), pg_catalog.current_setting(name) FROM pg_catalog.pg_settings"
    " WHERE (source IN ('command line', 'environment variable') OR sourcefile"
    " OPERATOR(pg_catalog.=) $1 OR name OPERATOR(pg_catalog.=) ANY ('{wal_level,hot_standby,"
    "max_connections,max_wal_senders,wal_keep_segments,wal_keep_size,max_prepared_transactions,"
    "max_locks_per_transaction,track_commit_timestamp,max_replication_slots,max_worker_processes,"
    "wal_log_hints}'))"
    " AND name OPERATOR(pg_catalog.<>) ALL ('{listen_addresses,port,cluster_name,config_file,"
    "data_directory}')";

/* The configured ones of the three that are never taken from the server. */
static bool keep_configured(const struct pgv_value *from, struct pgv_arena *a, struct pgv_value *to)
{
    static const char *const names[] = { "listen_addresses", "port", "cluster_name" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct pgv_value *v = pgv_get(from, names[i]);

        if (v && !pgv_map_set(a, to, names[i], pgv_value_copy(a, v)))
            return false;
    }
    return true;
}

static bool load_rows(struct postmaster_impl *im, const PGresult *res, struct pgv_error *err)
{
    const struct postmaster_facts *f = &im->pm->facts;
    struct pgv_arena a, ra;
    struct pgv_value *params, *recovery, *configured;
    struct pgfiles_env env;
    bool standby = f->in_recovery && f->major_version >= 120000, ok = false;

    pgv_arena_init(&a, PM_ARENA_BYTES_MAX);
    pgv_arena_init(&ra, PM_ARENA_BYTES_MAX);
    params = pgv_new(&a, PGV_MAP);
    recovery = pgv_new(&ra, PGV_MAP);
    pm_env(im, &env);
    configured = pgfiles_parameters(im->conf, &env, &a, err);
    if (!params || !recovery || !configured || !keep_configured(configured, &a, params))
        goto out;
    for (int i = 0; i < PQntuples(res); i++) {
        struct pgv_str name = pgsql_field(res, i, 0), value = pgsql_field(res, i, 1);

        if (pgguc_is_recovery(name)) {
            if (standby && !pgv_map_set(&ra, recovery, name.p, pgv_new_string(&ra, value)))
                goto out;
        } else if (!pgv_map_set(&a, params, name.p, pgv_new_string(&a, value))) {
            goto out;
        }
    }
    adopt_params(im, &a, params);
    if (standby) {
        pgv_arena_done(&im->recovery_arena);
        im->recovery_arena = ra;
        im->recovery_params = recovery;
    } else {
        pgv_arena_done(&ra);
    }
    return true;
out:
    ok = pgv_fail(err, PGV_ENOMEM, "no room for the server's parameters");
    pgv_arena_done(&a);
    pgv_arena_done(&ra);
    return ok;
}

static void on_attach_rows(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    struct pm_reconf *r = &im->reconf;
    struct pgv_error own = { 0 };
    bool written = false;

    r->active = false;
    if (im->closing) {
        finish(im);
        return;
    }
    if (err || !load_rows(im, res, &own)) {
        pgv_log(PGV_WARNING, "pg", "cannot read the parameters of the running server: %s",
                err ? err->msg : own.msg);
        r->attach_due = true; /* at a later look */
        finish(im);
        return;
    }
    if (!pm_write_hba_ident(im, &written, &own))
        pgv_log(PGV_ERROR, "pg", "cannot write the configuration: %s", own.msg);
    if (!im->pm->facts.in_recovery || im->pm->facts.major_version < 120000) {
        if (!r->next) {
            begin_pass(im, written);
            return;
        }
    } else if (written) {
        r->active = true;
        pm_reload(im, false, finish);
        return;
    }
    finish(im);
}

static void ask_attach(struct postmaster_impl *im)
{
    if (!pm_prepared(im, ask_attach))
        return;
    if (im->pm->facts.state != PGV_STATE_RUNNING) {
        finish(im); /* it has gone meanwhile */
        return;
    }
    ask(im, attach_sql, im->conf->conf_path, on_attach_rows);
}

void pm_reconf_attach(struct postmaster_impl *im)
{
    struct pm_reconf *r = &im->reconf;

    r->attach_due = r->active; /* then the next look comes back to it */
    if (r->active)
        return;
    r->active = true;
    pgv_arena_init(&r->arena, PM_ARENA_BYTES_MAX);
    pm_arm(im, PM_TIMER_RECONF, 0, ask_attach);
}
