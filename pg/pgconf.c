/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgconf.c - the 'postgresql' section as typed settings.
 *
 * The whole section is copied first, so that every text below may point into the copy. Values that
 * are no texts in YAML (a port, a database named 1) are taken by their text form.
 */
#include "pg/pgconf.h"

#include "base/parse.h"
#include "pg/pgguc.h"

#include <ctype.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

static bool no_memory(struct pgv_error *err)
{
    return pgv_fail(err, PGV_ENOMEM, "no memory for the postgresql settings");
}

/** Text form of a scalar, in the arena. @ret stays as it is when the key is absent, null or "". */
static bool read_text(struct pgconf *c, const struct pgv_value *map, const char *where,
                      const char *key, const char **ret, struct pgv_error *err)
{
    const struct pgv_value *v = pgv_get(map, key);
    struct pgv_buf text;
    bool ok = false;

    if (!v || v->type == PGV_NULL)
        return true;
    if (v->type == PGV_LIST || v->type == PGV_MAP)
        return pgv_fail(err, PGV_EINVALID, "%s.%s: is not a text", where, key);
    if (v->type == PGV_STRING) {
        if (v->u.s.n > 0)
            *ret = v->u.s.p;
        return true;
    }
    pgv_buf_init(&text, 128);
    if (pgv_value_text(&text, v)) {
        *ret = pgv_arena_dup(&c->arena, pgv_buf_view(&text));
        ok = *ret != NULL;
    }
    pgv_buf_done(&text);
    return ok || no_memory(err);
}

/** A map, or NULL when absent or empty in Python's sense; anything else is an error. */
static bool read_map(const struct pgv_value *section, const char *key, const struct pgv_value **ret,
                     struct pgv_error *err)
{
    const struct pgv_value *v = pgv_get(section, key);

    if (!pgv_truthy(v)) {
        *ret = NULL;
        return true;
    }
    if (v->type != PGV_MAP)
        return pgv_fail(err, PGV_EINVALID, "postgresql.%s: is not a map", key);
    *ret = v;
    return true;
}

/** A list whose members are lines of text. */
static bool read_lines(const struct pgv_value *section, const char *key,
                       const struct pgv_value **ret, struct pgv_error *err)
{
    const struct pgv_value *v = pgv_get(section, key);

    *ret = NULL;
    if (!pgv_truthy(v))
        return true;
    if (v->type != PGV_LIST)
        return pgv_fail(err, PGV_EINVALID, "postgresql.%s: is not a list", key);
    PGV_EACH(line, v)
    {
        if (line->type != PGV_STRING)
            return pgv_fail(err, PGV_EINVALID, "postgresql.%s: has a line that is not a text", key);
    }
    *ret = v;
    return true;
}

static bool read_auth(struct pgconf *c, const char *who, struct pgconf_auth *ret,
                      struct pgv_error *err)
{
    const struct pgv_value *map = pgv_get(pgv_get(c->section, "authentication"), who);
    const struct {
        const char *key;
        const char **to;
    } fields[] = {
        { "username", &ret->username },
        { "password", &ret->password },
        { "sslmode", &ret->sslmode },
        { "sslcert", &ret->sslcert },
        { "sslkey", &ret->sslkey },
        { "sslpassword", &ret->sslpassword },
        { "sslrootcert", &ret->sslrootcert },
        { "sslcrl", &ret->sslcrl },
        { "sslcrldir", &ret->sslcrldir },
        { "gssencmode", &ret->gssencmode },
        { "channel_binding", &ret->channel_binding },
        { "sslnegotiation", &ret->sslnegotiation },
    };
    char where[64];

    if (!pgv_truthy(map))
        return true;
    (void)snprintf(where, sizeof(where), "postgresql.authentication.%s", who);
    if (map->type != PGV_MAP)
        return pgv_fail(err, PGV_EINVALID, "%s: is not a map", where);
    ret->given = true;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (!read_text(c, map, where, fields[i].key, fields[i].to, err))
            return false;
    return true;
}

/**
 * 'HOSTS:PORT', split at the last colon; brackets around IPv6 addresses go away. Source: Patroni
 * accepts several hosts in front of one port.
 */
static bool read_listen(struct pgconf *c, const char *listen, struct pgv_error *err)
{
    const char *colon = strrchr(listen, ':');
    struct pgv_str hosts = pgv_str(listen), port = PGV_STR("5432");
    struct pgv_buf list;
    uint64_t number;
    bool more = true, ok = false;

    if (colon) {
        hosts.n = (size_t)(colon - listen);
        port = pgv_str(colon + 1);
    }
    if (!pgv_parse_u64(port, &number) || number == 0 || number > 65535)
        return pgv_fail(err, PGV_EINVALID, "postgresql.listen: '%s' has no usable port", listen);
    pgv_buf_init(&list, 4096);
    while (more) {
        struct pgv_str host, tail;

        more = pgv_str_cut(hosts, ',', &host, &tail);
        hosts = tail;
        host = pgv_str_trim(host);
        if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']') {
            host.p++;
            host.n -= 2;
        }
        if (list.n > 0)
            (void)pgv_buf_putc(&list, ',');
        (void)pgv_buf_str(&list, host);
    }
    if (list.n == 0) {
        (void)pgv_fail(err, PGV_EINVALID, "postgresql.listen: '%s' has no host", listen);
        goto out;
    }
    c->listen_addresses = pgv_arena_dup(&c->arena, pgv_buf_view(&list));
    c->port = pgv_arena_printf(&c->arena, "%u", (unsigned)number);
    ok = !list.failed && c->listen_addresses && c->port;
    if (!ok)
        (void)no_memory(err);
out:
    pgv_buf_done(&list);
    return ok;
}

static char *lower_dup(struct pgv_arena *a, struct pgv_str s)
{
    char *p = pgv_arena_dup(a, s);

    for (char *q = p; q && *q; q++)
        *q = (char)tolower((unsigned char)*q);
    return p;
}

/**
 * Parameters, their names in lower case (they are case-insensitive to the server), parted into
 * general and recovery ones. Recovery parameters found here replace recovery_conf as a whole.
 */
static bool read_parameters(struct pgconf *c, struct pgv_error *err)
{
    const struct pgv_value *section = NULL, *conf = NULL;
    struct pgv_value *general = pgv_new(&c->arena, PGV_MAP);
    struct pgv_value *inside = pgv_new(&c->arena, PGV_MAP);
    struct pgv_value *own = pgv_new(&c->arena, PGV_MAP);

    if (!general || !inside || !own)
        return no_memory(err);
    if (!read_map(c->section, "parameters", &section, err) ||
        !read_map(c->section, "recovery_conf", &conf, err))
        return false;
    PGV_EACH(item, section)
    {
        char *name = lower_dup(&c->arena, item->key);
        struct pgv_value *to = pgguc_is_recovery(item->key) ? inside : general;

        if (!name || !pgv_map_set(&c->arena, to, name, pgv_value_copy(&c->arena, item)))
            return no_memory(err);
    }
    PGV_EACH(item, conf)
    {
        char *name = lower_dup(&c->arena, item->key);

        if (!name || !pgv_map_set(&c->arena, own, name, pgv_value_copy(&c->arena, item)))
            return no_memory(err);
    }
    c->parameters = general;
    c->recovery_conf = pgv_value_first(inside) ? inside : own;
    return true;
}

static bool read_methods(struct pgconf *c, struct pgv_error *err)
{
    const struct pgv_value *list = pgv_get(c->section, "create_replica_methods");
    const char **v;
    size_t n = 0;

    if (!pgv_truthy(list))
        list = pgv_get(c->section, "create_replica_method");
    if (pgv_truthy(list) && list->type != PGV_LIST && list->type != PGV_STRING)
        return pgv_fail(err, PGV_EINVALID, "postgresql.create_replica_methods: is not a list");
    v = pgv_arena_alloc(&c->arena, (2 + (pgv_is(list, PGV_LIST) ? list->u.c.n : 1)) * sizeof(*v));
    if (!v)
        return no_memory(err);
    PGV_EACH(item, pgv_is(list, PGV_LIST) ? list : NULL)
    {
        if (item->type != PGV_STRING)
            return pgv_fail(err, PGV_EINVALID,
                            "postgresql.create_replica_methods: has a member that is not a text");
        v[n++] = item->u.s.p;
    }
    if (pgv_is(list, PGV_STRING) && list->u.s.n > 0)
        v[n++] = list->u.s.p;
    if (n == 0)
        v[n++] = "basebackup";
    c->create_replica_methods = v;
    return true;
}

static const char *home_dir(void)
{
    const char *home = getenv("HOME");
    const struct passwd *pw;

    if (home && *home)
        return home;
    pw = getpwuid(getuid());
    return pw ? pw->pw_dir : "/";
}

/** A path given by the user, '~/' expanded. */
static const char *user_path(struct pgconf *c, const char *path)
{
    if (path[0] == '~' && (path[1] == '/' || path[1] == '\0'))
        return pgv_arena_printf(&c->arena, "%s%s", home_dir(), path + 1);
    return path;
}

/** hba_file or ident_file when the user points them elsewhere than @own; else NULL. */
static const char *redirected(struct pgconf *c, const char *parameter, const char *own)
{
    const char *path = pgv_stringz(pgv_get(c->parameters, parameter));

    if (!path || *path == '\0')
        return NULL;
    if (path[0] != '/')
        path = pgv_arena_printf(&c->arena, "%s/%s", c->config_dir, path);
    return path && strcmp(path, own) != 0 ? path : NULL;
}

static bool derive_paths(struct pgconf *c, struct pgv_error *err)
{
    c->conf_path = pgv_arena_printf(&c->arena, "%s/%s.conf", c->config_dir, c->config_base_name);
    c->base_conf_path =
        pgv_arena_printf(&c->arena, "%s/%s.base.conf", c->config_dir, c->config_base_name);
    c->hba_path = pgv_arena_printf(&c->arena, "%s/pg_hba.conf", c->config_dir);
    c->ident_path = pgv_arena_printf(&c->arena, "%s/pg_ident.conf", c->config_dir);
    c->auto_conf_path = pgv_arena_printf(&c->arena, "%s/postgresql.auto.conf", c->data_dir);
    if (!c->conf_path || !c->base_conf_path || !c->hba_path || !c->ident_path || !c->auto_conf_path)
        return no_memory(err);
    if (strlen(c->base_conf_path) + 32 > PGCONF_PATH_BYTES ||
        strlen(c->auto_conf_path) + 64 > PGCONF_PATH_BYTES)
        return pgv_fail(err, PGV_EINVALID, "postgresql.data_dir: path is too long");
    c->hba_file = redirected(c, "hba_file", c->hba_path);
    c->ident_file = redirected(c, "ident_file", c->ident_path);
    return true;
}

static bool read_timeout(struct pgconf *c, struct pgv_error *err)
{
    const struct pgv_value *v = pgv_get(c->section, "pg_ctl_timeout");
    struct pgv_buf text;
    double seconds = 60;

    if (v && !pgv_truthy(v)) {
        seconds = 0;
    } else if (v) {
        bool ok;

        pgv_buf_init(&text, PGCONF_BYTES_MAX);
        ok = pgv_value_text(&text, v);
        if (!ok || !pgv_parse_real(pgv_buf_view(&text), NULL, &seconds) || !(seconds >= 0))
            seconds = 60;
        if (seconds > 1e9) /* for ever, and milliseconds that do not overflow */
            seconds = 1e9;
        pgv_buf_done(&text);
        if (!ok)
            return no_memory(err);
    }
    c->pg_ctl_timeout_ms = (uint64_t)(seconds * 1000);
    return true;
}

static bool read_places(struct pgconf *c, struct pgv_error *err)
{
    const char *listen = NULL;
    struct stat st;

    c->config_base_name = "postgresql";
    c->bin_dir = "";
    c->database = "postgres";
    c->pgpass = "~/pgpass";
    if (!read_text(c, c->section, "postgresql", "data_dir", &c->data_dir, err) ||
        !read_text(c, c->section, "postgresql", "config_dir", &c->config_dir, err) ||
        !read_text(c, c->section, "postgresql", "config_base_name", &c->config_base_name, err) ||
        !read_text(c, c->section, "postgresql", "custom_conf", &c->custom_conf, err) ||
        !read_text(c, c->section, "postgresql", "bin_dir", &c->bin_dir, err) ||
        !read_text(c, c->section, "postgresql", "listen", &listen, err) ||
        !read_text(c, c->section, "postgresql", "connect_address", &c->connect_address, err) ||
        !read_text(c, c->section, "postgresql", "proxy_address", &c->proxy_address, err) ||
        !read_text(c, c->section, "postgresql", "database", &c->database, err) ||
        !read_text(c, c->section, "postgresql", "krbsrvname", &c->krbsrvname, err) ||
        !read_text(c, c->section, "postgresql", "pre_promote", &c->pre_promote, err) ||
        !read_text(c, c->section, "postgresql", "before_stop", &c->before_stop, err) ||
        !read_text(c, c->section, "postgresql", "pgpass", &c->pgpass, err))
        return false;
    if (!c->data_dir)
        return pgv_fail(err, PGV_EINVALID, "postgresql.data_dir: is required");
    if (!listen)
        return pgv_fail(err, PGV_EINVALID, "postgresql.listen: is required");
    if (!read_listen(c, listen, err))
        return false;
    c->data_dir = user_path(c, c->data_dir);
    c->config_dir = user_path(c, c->config_dir ? c->config_dir : c->data_dir);
    c->bin_dir = user_path(c, c->bin_dir);
    c->pgpass = user_path(c, c->pgpass);
    if (!c->data_dir || !c->config_dir || !c->bin_dir || !c->pgpass)
        return no_memory(err);
    if (strlen(c->pgpass) >= PGCONF_PATH_BYTES - 32)
        return pgv_fail(err, PGV_EINVALID, "postgresql.pgpass: path is too long");
    if (stat(c->pgpass, &st) == 0 && !S_ISREG(st.st_mode))
        return pgv_fail(err, PGV_EINVALID,
                        "'%s' exists and it's not a file, check your `postgresql.pgpass` "
                        "configuration",
                        c->pgpass);
    return true;
}

static bool read_all(struct pgconf *c, struct pgv_error *err)
{
    const struct pgv_value *citus = pgv_get(c->section, "citus");

    c->use_slots =
        !pgv_get(c->section, "use_slots") || pgv_truthy(pgv_get(c->section, "use_slots"));
    c->use_unix_socket = pgv_truthy(pgv_get(c->section, "use_unix_socket"));
    c->use_unix_socket_repl = pgv_truthy(pgv_get(c->section, "use_unix_socket_repl"));
    c->use_pg_rewind = pgv_truthy(pgv_get(c->section, "use_pg_rewind"));
    c->remove_data_directory_on_rewind_failure =
        pgv_truthy(pgv_get(c->section, "remove_data_directory_on_rewind_failure"));
    c->remove_data_directory_on_diverged_timelines =
        pgv_truthy(pgv_get(c->section, "remove_data_directory_on_diverged_timelines"));
    if (pgv_is(pgv_get(citus, "group"), PGV_INT) && pgv_is(pgv_get(citus, "database"), PGV_STRING))
        c->citus = citus;
    return read_places(c, err) && read_auth(c, "superuser", &c->superuser, err) &&
           read_auth(c, "replication", &c->replication, err) &&
           read_auth(c, "rewind", &c->rewind, err) && read_parameters(c, err) &&
           read_lines(c->section, "pg_hba", &c->pg_hba, err) &&
           read_lines(c->section, "pg_ident", &c->pg_ident, err) &&
           read_map(c->section, "callbacks", &c->callbacks, err) && read_methods(c, err) &&
           read_timeout(c, err) && derive_paths(c, err);
}

bool pgconf_new(const char *name, const char *scope, const struct pgv_value *section,
                struct pgconf **ret, struct pgv_error *err)
{
    struct pgconf *c = pgv_zalloc(sizeof(*c));

    if (!c)
        return no_memory(err);
    c->refs = 1;
    pgv_arena_init(&c->arena, PGCONF_BYTES_MAX);
    if (!pgv_is(section, PGV_MAP)) {
        (void)pgv_fail(err, PGV_EINVALID, "postgresql: is not a map");
        goto fail;
    }
    c->name = pgv_arena_dup(&c->arena, pgv_str(name));
    c->scope = pgv_arena_dup(&c->arena, pgv_str(scope));
    c->section = pgv_value_copy(&c->arena, section);
    if (!c->name || !c->scope || !c->section) {
        (void)no_memory(err);
        goto fail;
    }
    if (!read_all(c, err))
        goto fail;
    *ret = c;
    return true;
fail:
    pgconf_unref(c);
    return false;
}

struct pgconf *pgconf_ref(struct pgconf *c)
{
    c->refs++;
    return c;
}

void pgconf_unref(struct pgconf *c)
{
    if (!c || --c->refs > 0)
        return;
    pgv_arena_done(&c->arena);
    pgv_free(c);
}

bool pgconf_bin(const struct pgconf *c, const char *cmd, char ret[PGCONF_PATH_BYTES])
{
    const char *name = pgv_stringz(pgv_get(pgv_get(c->section, "bin_name"), cmd));
    int n;

    if (!name || *name == '\0')
        name = cmd;
    if (c->bin_dir[0] == '\0')
        return pgv_copyz(ret, PGCONF_PATH_BYTES, name);
    n = snprintf(ret, PGCONF_PATH_BYTES, "%s/%s", c->bin_dir, name);
    return n > 0 && n < PGCONF_PATH_BYTES;
}

const char *pgconf_wal_dir(int major_version)
{
    return major_version >= 100000 ? "pg_wal" : "pg_xlog";
}

const struct pgconf_auth *pgconf_rewind_auth(const struct pgconf *c, int major_version)
{
    return major_version >= 110000 && c->rewind.given ? &c->rewind : &c->superuser;
}

void pgconf_auth_to_dsn(const struct pgconf_auth *auth, struct pgdsn *d)
{
    d->v[PGDSN_USER] = auth->username;
    d->v[PGDSN_PASSWORD] = auth->password;
    d->v[PGDSN_SSLMODE] = auth->sslmode;
    d->v[PGDSN_SSLCERT] = auth->sslcert;
    d->v[PGDSN_SSLKEY] = auth->sslkey;
    d->v[PGDSN_SSLPASSWORD] = auth->sslpassword;
    d->v[PGDSN_SSLROOTCERT] = auth->sslrootcert;
    d->v[PGDSN_SSLCRL] = auth->sslcrl;
    d->v[PGDSN_SSLCRLDIR] = auth->sslcrldir;
    d->v[PGDSN_GSSENCMODE] = auth->gssencmode;
    d->v[PGDSN_CHANNEL_BINDING] = auth->channel_binding;
    d->v[PGDSN_SSLNEGOTIATION] = auth->sslnegotiation;
}

const struct pgv_value *pgconf_method(const struct pgconf *c, const char *name)
{
    const struct pgv_value *v = pgv_get(c->section, name);

    return pgv_is(v, PGV_MAP) || pgv_is(v, PGV_LIST) ? v : NULL;
}

void pgconf_my_slot(const struct pgconf *c, char ret[PGV_SLOT_NAME_BYTES])
{
    pgv_slot_name(c->name, ret);
}

/* ---------------------------------------------------------------------------------- addresses */

/** Everything listens, or this machine's own address: 'localhost'; else the first in the list. */
static bool tcp_host(const char *listen_addresses, char *ret, size_t bytes)
{
    static const char *const local[] = { "*", "localhost", "0.0.0.0", "127.0.0.1" };
    struct pgv_str rest = pgv_str(listen_addresses), first = { 0 };
    bool more = true;

    while (more) {
        struct pgv_str host, tail;

        more = pgv_str_cut(rest, ',', &host, &tail);
        rest = tail;
        host = pgv_str_trim(host);
        if (first.n == 0)
            first = host;
        for (unsigned i = 0; i < 4; i++)
            if (pgv_str_eqz(host, local[i]))
                return pgv_copyz(ret, bytes, "localhost");
    }
    return pgv_copy(ret, bytes, first);
}

/** A publishable URL out of 'host:port' or 'host'; IPv6 addresses get their brackets. */
static bool make_url(const struct pgconf *c, const char *netloc, char ret[PGV_URL_BYTES])
{
    const char *colon = strrchr(netloc, ':');
    struct pgv_str host = pgv_str(netloc), port = { 0 };
    bool bare;
    int n;

    if (colon) {
        host.n = (size_t)(colon - netloc);
        port = pgv_str(colon + 1);
    }
    bare = host.n > 0 && memchr(host.p, ':', host.n) && host.p[0] != '[';
    n = snprintf(ret, PGV_URL_BYTES, "postgres://%s%.*s%s%s%.*s%s%s", bare ? "[" : "", (int)host.n,
                 host.p, bare ? "]" : "", port.n > 0 ? ":" : "", (int)port.n,
                 port.n > 0 ? port.p : "", c->database[0] == '/' ? "" : "/", c->database);
    return n > 0 && n < PGV_URL_BYTES;
}

static void first_socket_dir(struct pgv_str list, char *ret, size_t bytes)
{
    bool more = true;

    ret[0] = '\0';
    while (more && ret[0] == '\0') {
        struct pgv_str dir, tail;

        more = pgv_str_cut(list, ',', &dir, &tail);
        list = tail;
        dir = pgv_str_trim(dir);
        if (pgv_str_starts(dir, "/") && !pgv_copy(ret, bytes, dir))
            ret[0] = '\0';
    }
}

bool pgconf_resolve_address(const struct pgconf *c, struct pgconf_address *ret,
                            struct pgv_error *err)
{
    const struct pgv_value *sockets = pgv_get(c->parameters, "unix_socket_directories");
    struct pgconf_address addr = { 0 };
    char netloc[sizeof(addr.tcp_host) + sizeof(addr.port) + 1];

    if (!tcp_host(c->listen_addresses, addr.tcp_host, sizeof(addr.tcp_host)) ||
        !pgv_copyz(addr.port, sizeof(addr.port), c->port))
        return pgv_fail(err, PGV_EINVALID, "postgresql.listen: host is too long");
    addr.socket_default = !sockets || sockets->type == PGV_NULL;
    first_socket_dir(pgv_string(sockets), addr.socket_host, sizeof(addr.socket_host));
    (void)snprintf(netloc, sizeof(netloc), "%s:%s", addr.tcp_host, addr.port);
    if (!make_url(c, c->connect_address ? c->connect_address : netloc, addr.conn_url))
        return pgv_fail(err, PGV_EINVALID, "postgresql.connect_address: is too long");
    if (c->proxy_address && !make_url(c, c->proxy_address, addr.proxy_url))
        return pgv_fail(err, PGV_EINVALID, "postgresql.proxy_address: is too long");
    *ret = addr;
    return true;
}

void pgconf_local_dsn(const struct pgconf *c, const struct pgconf_address *addr,
                      enum pgconf_purpose purpose, struct pgdsn *ret)
{
    bool super = purpose == PGCONF_SUPERUSER;
    bool socket = super ? c->use_unix_socket : c->use_unix_socket_repl;
    struct pgdsn d = { 0 };

    pgconf_auth_to_dsn(super ? &c->superuser : &c->replication, &d);
    d.v[PGDSN_HOST] = addr->tcp_host;
    if (socket && addr->socket_default)
        d.v[PGDSN_HOST] = NULL;
    else if (socket && addr->socket_host[0])
        d.v[PGDSN_HOST] = addr->socket_host;
    d.v[PGDSN_PORT] = addr->port;
    if (super)
        d.v[PGDSN_DBNAME] = c->database;
    d.v[PGDSN_KRBSRVNAME] = c->krbsrvname;
    *ret = d;
}

bool pgconf_url_to_dsn(const struct pgconf *c, struct pgv_arena *a, const char *conn_url,
                       struct pgdsn *ret, struct pgv_error *err)
{
    struct pgdsn url, d = { 0 };

    if (!pgdsn_parse(a, conn_url, false, &url, err))
        return false;
    d.v[PGDSN_HOST] = url.v[PGDSN_HOST];
    d.v[PGDSN_PORT] = url.v[PGDSN_PORT] ? url.v[PGDSN_PORT] : "5432";
    d.v[PGDSN_DBNAME] = url.v[PGDSN_DBNAME] ? url.v[PGDSN_DBNAME] : c->database;
    *ret = d;
    return true;
}
