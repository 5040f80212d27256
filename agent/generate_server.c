/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/generate_server.c - --generate-config: a configuration for the server that runs already.
 *
 * One connection tells the parameters and where the data directory is; the rest is read there:
 * pg_hba.conf, pg_ident.conf, and which program runs. So this is for the server's own machine and
 * for somebody who may read its files. It waits, but for no answer longer than WAIT_MS.
 */
#include "agent/generate_private.h"

#include "agent/config_private.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/parse.h"
#include "pg/pgdsn.h"

#include <errno.h>
#include <libpq-fe.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/banned.h"

#define WAIT_MS 15000
#define HBA_BYTES_MAX (1u << 20) /* of pg_hba.conf or pg_ident.conf */
#define GSS_HBA_VERSION 120000   /* the first with hostgssenc lines */
#define INCLUDE_VERSION 160000   /* the first with include lines */
#define REWIND_VERSION 110000    /* the first whose pg_rewind needs no superuser */

/* ---- who connects ------------------------------------------------------------------------------
 */

/* Where the superuser's entry comes from. Source: libpq's environment variables. */
static const struct {
    enum pgdsn_key key;
    const char *variable; /* or NULL: a connection string alone can say it */
} credentials[] = {
    { PGDSN_USER, "PGUSER" },
    { PGDSN_PASSWORD, "PGPASSWORD" },
    { PGDSN_SSLMODE, "PGSSLMODE" },
    { PGDSN_SSLCERT, "PGSSLCERT" },
    { PGDSN_SSLKEY, "PGSSLKEY" },
    { PGDSN_SSLPASSWORD, NULL },
    { PGDSN_SSLROOTCERT, "PGSSLROOTCERT" },
    { PGDSN_SSLCRL, "PGSSLCRL" },
    { PGDSN_SSLCRLDIR, "PGSSLCRLDIR" },
    { PGDSN_GSSENCMODE, "PGGSSENCMODE" },
    { PGDSN_CHANNEL_BINDING, "PGCHANNELBINDING" },
    { PGDSN_SSLNEGOTIATION, "PGSSLNEGOTIATION" },
};

/** Fill the gaps of @d: libpq's variables, then PATRONI_SUPERUSER_*, and for the password a person.
 */
static bool complete(const struct generate *g, struct pgdsn *d, struct pgv_error *err)
{
    const struct pgv_value *ours = pgv_path(g->env, "postgresql.authentication.superuser");

    for (size_t i = 0; i < sizeof(credentials) / sizeof(credentials[0]); i++) {
        enum pgdsn_key key = credentials[i].key;

        if (!d->v[key] && credentials[i].variable)
            d->v[key] = getenv(credentials[i].variable);
        if (!d->v[key] || !d->v[key][0])
            d->v[key] =
                pgv_stringz(pgv_get(ours, key == PGDSN_USER ? "username" : pgdsn_key_name(key)));
    }
    if (!d->v[PGDSN_PASSWORD]) {
        /* From the terminal, without showing it; from standard input when there is none. */
        const char *typed = getpass("Please enter the user password:");

        d->v[PGDSN_PASSWORD] = typed ? pgv_arena_dup(g->a, pgv_str(typed)) : NULL;
        if (typed)
            explicit_bzero((char *)(uintptr_t)typed, strlen(typed));
        if (!d->v[PGDSN_PASSWORD])
            return pgv_fail(err, PGV_EINVALID, "cannot read the password");
    }
    return true;
}

/* ---- the connection ----------------------------------------------------------------------------
 */

static bool wait_for(PGconn *conn, short events, uint64_t until_ms)
{
    for (;;) {
        struct pollfd p = { .fd = PQsocket(conn), .events = events };
        uint64_t now_ms = pgv_clock_ms();
        int n = now_ms < until_ms ? poll(&p, 1, (int)(until_ms - now_ms)) : 0;

        if (n >= 0 || errno != EINTR)
            return n > 0;
    }
}

/* libpq's words on one line; they name hosts and users, never passwords. */
static bool fail_connection(PGconn *conn, bool late, struct pgv_error *err)
{
    (void)pgv_fail(err, PGV_EUNREACHABLE, "Failed to establish PostgreSQL connection: %.240s",
                   late ? "no answer within 15 s" : PQerrorMessage(conn));
    for (char *p = err->msg; *p; p++)
        if (*p == '\n')
            *p = p[1] ? ' ' : '\0';
    return false;
}

/** @text: the connection string as given, or NULL; what it leaves out is the environment's. */
static bool connect_to(const struct pgdsn *d, const char *text, PGconn **ret, struct pgv_error *err)
{
    const char *keys[] = { "dbname",          "user", "password", "fallback_application_name",
                           "client_encoding", NULL };
    const char *values[] = {
        text, d->v[PGDSN_USER], d->v[PGDSN_PASSWORD], "pgvigil", "UTF8", NULL
    };
    uint64_t until_ms = pgv_clock_ms() + WAIT_MS;
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    PGconn *conn = PQconnectStartParams(keys, values, 1); /* a value that is NULL is not given */

    if (!conn)
        return pgv_fail(err, PGV_ENOMEM, "no memory for a connection");
    while (PQstatus(conn) != CONNECTION_BAD && status != PGRES_POLLING_OK &&
           status != PGRES_POLLING_FAILED) {
        if (!wait_for(conn, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, until_ms)) {
            (void)fail_connection(conn, true, err);
            goto fail;
        }
        status = PQconnectPoll(conn);
    }
    if (PQstatus(conn) != CONNECTION_OK) {
        (void)fail_connection(conn, false, err);
        goto fail;
    }
    *ret = conn;
    return true;
fail:
    PQfinish(conn);
    return false;
}

/** All rows of @sql, with one parameter. The caller clears them. */
static bool ask(PGconn *conn, const char *sql, const char *parameter, PGresult **ret,
                struct pgv_error *err)
{
    uint64_t until_ms = pgv_clock_ms() + WAIT_MS;
    PGresult *first = NULL, *more;

    if (PQsendQueryParams(conn, sql, 1, NULL, &parameter, NULL, NULL, 0) != 1)
        return fail_connection(conn, false, err);
    while (PQisBusy(conn)) {
        if (!wait_for(conn, POLLIN, until_ms))
            return fail_connection(conn, true, err);
        if (PQconsumeInput(conn) != 1)
            return fail_connection(conn, false, err);
    }
    first = PQgetResult(conn);
    while (first && (more = PQgetResult(conn)))
        PQclear(more);
    if (PQresultStatus(first) != PGRES_TUPLES_OK) {
        PQclear(first);
        return fail_connection(conn, false, err);
    }
    *ret = first;
    return true;
}

/* ---- parameters --------------------------------------------------------------------------------
 */

/* What somebody has set, and what the cluster's configuration controls in any case. */
static const char settings_sql[] =
    "SELECT name, pg_catalog.current_setting(name) FROM pg_catalog.pg_settings"
    " WHERE context <> 'internal'"
    " AND source IN ('configuration file', 'command line', 'environment variable')"
    " AND category <> 'Write-Ahead Log / Recovery Target' AND setting <> '(disabled)'"
    " OR name = ANY ($1::text[]) ORDER BY name";

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(name, *names) == 0)
            return true;
    return false;
}

/* '{hba_file,…,wal_level}' */
static bool put_always_asked(struct pgv_buf *b)
{
    const char *name;

    pgv_buf_puts(b, "{hba_file,ident_file,config_file,data_directory");
    for (size_t i = 0; (name = agent_config_controlled_name(i)) != NULL; i++)
        pgv_buf_printf(b, ",%s", name);
    return pgv_buf_putc(b, '}');
}

static void place_settings(struct generate *g, const PGresult *rows, const struct pgdsn *d)
{
    /* What runs commands or says where files are is one server's, not the cluster's. */
    static const char *const own[] = { "archive_command",
                                       "restore_command",
                                       "archive_cleanup_command",
                                       "recovery_end_command",
                                       "ssl_passphrase_command",
                                       "hba_file",
                                       "ident_file",
                                       "config_file",
                                       NULL };
    struct pgv_value *shared = pgv_path(g->dcs, "postgresql.parameters");
    struct pgv_value *params = pgv_get(g->pg, "parameters");
    const char *listen = "", *port = "", *text;

    if (!pgv_is(params, PGV_MAP)) {
        params = pgv_new(g->a, PGV_MAP);
        generate_put(g, g->pg, "parameters", params);
    }
    for (int i = 0; i < PQntuples(rows); i++) {
        const char *name = PQgetvalue(rows, i, 0), *value = PQgetvalue(rows, i, 1);

        if (strcmp(name, "data_directory") == 0)
            generate_put_text(g, g->pg, "data_dir", value);
        else if (strcmp(name, "cluster_name") == 0 && *value)
            generate_put_text(g, g->root, "scope", value);
        else if (strcmp(name, "listen_addresses") == 0)
            listen = value;
        else if (strcmp(name, "port") == 0)
            port = value;
        else
            generate_put_text(g, is_one_of(name, own) ? params : shared, name, value);
    }
    text = pgv_arena_printf(g->a, "%s:%s", listen, port);
    generate_put_text(g, g->pg, "listen", text ? text : "");
    if (d->v[PGDSN_PORT])
        port = d->v[PGDSN_PORT];
    else if (getenv("PGPORT"))
        port = getenv("PGPORT");
    text = pgv_arena_printf(g->a, "%s:%s", g->ip, port);
    generate_put_text(g, g->pg, "connect_address", text ? text : "");
}

/* ---- who connects to it ------------------------------------------------------------------------
 */

/* What the environment says of a user, what is missing being unknown. */
static struct pgv_value *user_of(struct generate *g, const char *name)
{
    static const char *const keys[] = { "username", "password" };
    const struct pgv_value *given = pgv_get(pgv_path(g->env, "postgresql.authentication"), name);
    struct pgv_value *user =
        pgv_is(given, PGV_MAP) ? pgv_value_copy(g->a, given) : pgv_new(g->a, PGV_MAP);

    for (size_t i = 0; i < 2; i++)
        if (!pgv_get(user, keys[i]))
            generate_put_text(g, user, keys[i], GENERATE_FIXME);
    return user;
}

static void put_users(struct generate *g, const struct pgdsn *d, const PGconn *conn, int version)
{
    struct pgv_value *auth = pgv_new(g->a, PGV_MAP), *superuser = pgv_new(g->a, PGV_MAP);

    for (size_t i = 0; i < sizeof(credentials) / sizeof(credentials[0]); i++) {
        enum pgdsn_key key = credentials[i].key;

        if (key == PGDSN_USER)
            generate_put_text(g, superuser, "username", d->v[key] ? d->v[key] : PQuser(conn));
        else if (d->v[key] && (d->v[key][0] || key == PGDSN_PASSWORD) &&
                 pgdsn_key_known(key, version))
            generate_put_text(g, superuser, pgdsn_key_name(key), d->v[key]);
    }
    generate_put(g, auth, "superuser", superuser);
    generate_put(g, auth, "replication", user_of(g, "replication"));
    if (version >= REWIND_VERSION && pgv_path(g->env, "postgresql.authentication.rewind"))
        generate_put(g, auth, "rewind", user_of(g, "rewind"));
    generate_put(g, g->pg, "authentication", auth);
}

/* ---- its files ---------------------------------------------------------------------------------
 */

static bool is_hba_line(struct pgv_str line, int version)
{
    static const char *const types[] = { "local", "host", "hostssl", "hostnossl", NULL };
    static const char *const gss[] = { "hostgssenc", "hostnogssenc", NULL };
    static const char *const includes[] = { "include", "include_if_exists", "include_dir", NULL };
    char word[24];
    size_t n = 0;

    while (n < line.n && line.p[n] != ' ' && line.p[n] != '\t')
        n++;
    return pgv_copy(word, sizeof(word), (struct pgv_str){ line.p, n }) &&
           (is_one_of(word, types) || (version >= GSS_HBA_VERSION && is_one_of(word, gss)) ||
            (version >= INCLUDE_VERSION && is_one_of(word, includes)));
}

/** The lines of @file that say something; a backslash at the end of one joins it with the next. */
static bool read_lines(struct generate *g, const char *file, bool hba, int version,
                       struct pgv_value *list, struct pgv_error *err)
{
    struct pgv_str rest, line, tail;
    struct pgv_buf text, joined;
    bool ok = false;

    pgv_buf_init(&text, HBA_BYTES_MAX);
    pgv_buf_init(&joined, HBA_BYTES_MAX);
    if (!pgv_file_read(file, &text, err))
        goto out;
    for (rest = pgv_buf_view(&text); rest.n > 0; rest = tail) {
        tail = (struct pgv_str){ 0 };
        if (!pgv_str_cut(rest, '\n', &line, &tail))
            line = rest;
        if (line.n > 0 && line.p[line.n - 1] == '\\' && tail.n > 0) {
            line.n--;
            pgv_buf_str(&joined, line);
            continue;
        }
        pgv_buf_str(&joined, line);
        line = pgv_str_trim(pgv_buf_view(&joined));
        if (line.n > 0 && line.p[0] != '#' && (!hba || is_hba_line(line, version)) &&
            !pgv_list_add(list, pgv_new_string(g->a, line)))
            g->failed = true;
        pgv_buf_reset(&joined);
    }
    ok = true;
out:
    pgv_buf_done(&joined);
    pgv_buf_done(&text);
    return ok;
}

/** @key is 'pg_hba' or 'pg_ident'; a file that lies elsewhere stays the operator's. */
static bool take_file(struct generate *g, const char *key, const char *parameter, int version,
                      struct pgv_error *err)
{
    const char *file = pgv_stringz(pgv_get(pgv_get(g->pg, "parameters"), parameter));
    const char *usual =
        pgv_arena_printf(g->a, "%s/%s.conf", pgv_string(pgv_get(g->pg, "data_dir")).p, key);
    struct pgv_value *list = pgv_new(g->a, PGV_LIST);

    if (!file || !usual || strcmp(file, usual) != 0)
        return true;
    if (!read_lines(g, file, strcmp(key, "pg_hba") == 0, version, list, err)) {
        pgv_error_wrap(err, "Failed to read %s.conf", key);
        return false;
    }
    if (pgv_value_first(list))
        generate_put(g, g->pg, key, list);
    return true;
}

static bool take_bin_dir(struct generate *g, struct pgv_error *err)
{
    const char *data_dir = pgv_string(pgv_get(g->pg, "data_dir")).p;
    char path[PATH_MAX], program[PATH_MAX], *slash;
    struct pgv_str line, tail;
    struct pgv_buf text;
    uint64_t pid = 0;
    ssize_t n;

    (void)snprintf(path, sizeof(path), "%s/postmaster.pid", data_dir);
    pgv_buf_init(&text, 65536);
    if (!pgv_file_read(path, &text, err)) {
        pgv_error_wrap(err, "Error while reading postmaster.pid file");
        pgv_buf_done(&text);
        return false;
    }
    (void)pgv_str_cut(pgv_buf_view(&text), '\n', &line, &tail);
    if (!pgv_parse_u64(pgv_str_trim(line), &pid) || pid == 0)
        pid = 0;
    pgv_buf_done(&text);
    if (pid == 0)
        return pgv_fail(err, PGV_EINVALID,
                        "Failed to obtain postmaster pid from postmaster.pid file");
    (void)snprintf(path, sizeof(path), "/proc/%llu/exe", (unsigned long long)pid);
    n = readlink(path, program, sizeof(program) - 1);
    if (n < 0 && errno == ENOENT)
        return pgv_fail(err, PGV_EINVALID, "Obtained postmaster pid doesn't exist.");
    if (n < 0)
        return pgv_fail_sys(err, errno, "cannot see which program process %llu runs",
                            (unsigned long long)pid);
    program[n] = '\0';
    slash = strrchr(program, '/');
    if (slash)
        *slash = '\0';
    generate_put_text(g, g->pg, "bin_dir", program);
    return true;
}

/* ---- all of it ---------------------------------------------------------------------------------
 */

bool generate_from_server(struct generate *g, const char *dsn, struct pgv_error *err)
{
    const char *text = dsn && *dsn ? dsn : NULL, *superuser;
    struct pgdsn d = { { 0 } };
    PGconn *conn = NULL;
    PGresult *rows = NULL;
    struct pgv_buf names;
    bool ok = false;
    int version;

    pgv_buf_init(&names, 4096);
    if (text && !pgdsn_parse(g->a, text, true, &d, err)) {
        pgv_error_wrap(err, "Failed to parse DSN string");
        goto out;
    }
    if (!complete(g, &d, err) || !connect_to(&d, text, &conn, err))
        goto out;
    version = PQserverVersion(conn);
    superuser = PQparameterStatus(conn, "is_superuser");
    if (!superuser || strcmp(superuser, "on") != 0) {
        (void)pgv_fail(err, PGV_EINVALID, "The provided user does not have superuser privilege");
        goto out;
    }
    if (!put_always_asked(&names) || !ask(conn, settings_sql, pgv_buf_cstr(&names), &rows, err))
        goto out;
    put_users(g, &d, conn, version);
    place_settings(g, rows, &d);
    if (!take_file(g, "pg_hba", "hba_file", version, err) ||
        !take_file(g, "pg_ident", "ident_file", version, err) || !take_bin_dir(g, err))
        goto out;
    ok = !g->failed || pgv_fail(err, PGV_ENOMEM, "no memory for the configuration");
out:
    PQclear(rows);
    PQfinish(conn);
    pgv_buf_done(&names);
    return ok;
}
