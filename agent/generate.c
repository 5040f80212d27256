/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/generate.c - a configuration to begin with: the template, the sample, and the text of it.
 *
 * Shape, order and values are Patroni's (config_generator.py; config contract §10), so that a file
 * made here suits either. What a person still has to fill in is listed on standard error.
 */
#include "agent/generate_private.h"

#include "agent/config_private.h"
#include "agent/programs.h"
#include "agent/validate.h"
#include "base/config.h"
#include "base/file.h"
#include "pg/pgtool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define TEXT_BYTES_MAX (4u << 20)
#define SCRAM_VERSION 100000  /* the first that knows scram-sha-256 */
#define REWIND_VERSION 110000 /* the first whose pg_rewind needs no superuser */

void generate_put(struct generate *g, struct pgv_value *map, const char *key, struct pgv_value *v)
{
    if (!v || !pgv_map_set(g->a, map, key, v))
        g->failed = true;
}

void generate_put_text(struct generate *g, struct pgv_value *map, const char *key, const char *text)
{
    generate_put(g, map, key, pgv_new_string(g->a, pgv_str(text)));
}

/* ---- the template ------------------------------------------------------------------------------
 */

/* The first address of our name, IPv4 preferred; brackets tell the colons of IPv6 from the port's.
 */
static void find_host(char *ret_name, size_t name_bytes, char ret_ip[GENERATE_IP_BYTES])
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    const struct addrinfo *best = NULL;
    char ip[INET6_ADDRSTRLEN];
    const void *bytes;
    int rc;

    if (gethostname(ret_name, name_bytes) != 0 || !memchr(ret_name, '\0', name_bytes)) {
        fprintf(stderr, "Failed to obtain address: no usable host name\n");
        goto unknown;
    }
    rc = getaddrinfo(ret_name, NULL, &hints, &list);
    if (rc != 0) {
        fprintf(stderr, "Failed to obtain address: %s: %s\n", ret_name, gai_strerror(rc));
        goto unknown;
    }
    for (const struct addrinfo *i = list; i; i = i->ai_next)
        if (!best || (best->ai_family != AF_INET && i->ai_family == AF_INET))
            best = i;
    bytes = best->ai_family == AF_INET6
                ? (const void *)&((const struct sockaddr_in6 *)(void *)best->ai_addr)->sin6_addr
                : (const void *)&((const struct sockaddr_in *)(void *)best->ai_addr)->sin_addr;
    (void)snprintf(ret_ip, GENERATE_IP_BYTES, best->ai_family == AF_INET6 ? "[%s]" : "%s",
                   inet_ntop(best->ai_family, bytes, ip, sizeof(ip)));
    freeaddrinfo(list);
    return;
unknown:
    (void)snprintf(ret_name, name_bytes, "%s", GENERATE_FIXME);
    (void)snprintf(ret_ip, GENERATE_IP_BYTES, "%s", GENERATE_FIXME);
}

/* Four times the address. */
static const char template[] =
    "scope: '" GENERATE_FIXME "'\n"
    "log:\n"
    "  type: plain\n"
    "  level: INFO\n"
    "  traceback_level: ERROR\n"
    "  format: '%%(asctime)s %%(levelname)s: %%(message)s'\n"
    "  max_queue_size: 1000\n"
    "restapi:\n"
    "  listen: '%s:8008'\n"
    "  connect_address: '%s:8008'\n"
    "bootstrap: {}\n"
    "postgresql:\n"
    "  listen: '%s:5432'\n"
    "  connect_address: '%s:5432'\n"
    "  data_dir: '" GENERATE_FIXME "'\n"
    "  bin_dir: ''\n"
    "  authentication:\n"
    "    superuser: {username: postgres, password: '" GENERATE_FIXME "'}\n"
    "    replication: {username: replicator, password: '" GENERATE_FIXME "'}\n"
    "tags:\n"
    "  failover_priority: 1\n"
    "  sync_priority: 1\n"
    "  noloadbalance: false\n"
    "  clonefrom: true\n"
    "  nosync: false\n"
    "  nostream: false\n";

static bool no_memory(struct pgv_error *err)
{
    return pgv_fail(err, PGV_ENOMEM, "no memory for the configuration");
}

static bool make_template(struct generate *g, struct pgv_error *err)
{
    static const char *const maps[] = { "bootstrap", "postgresql", "postgresql.authentication" };
    char name[HOST_NAME_MAX + 1];
    const char *text;
    bool changed;

    find_host(name, sizeof(name), g->ip);
    text = pgv_arena_printf(g->a, template, g->ip, g->ip, g->ip, g->ip);
    if (!text)
        return no_memory(err);
    if (!pgv_yaml_parse(g->a, "template", pgv_str(text), &g->root, err))
        return false;
    generate_put_text(g, g->root, "name", name);
    if (!pgv_value_patch(g->a, g->root, g->env, &changed, err))
        return false;
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
        if (!pgv_is(pgv_path(g->root, maps[i]), PGV_MAP))
            return agent_config_bad(err, pgv_path(g->root, maps[i]), maps[i],
                                    "is not a dictionary");
    g->pg = pgv_get(g->root, "postgresql");
    g->dcs = agent_config_defaults(g->a);
    pgv_map_remove(g->dcs, "standby_cluster");
    generate_put(g, pgv_get(g->root, "bootstrap"), "dcs", g->dcs);
    return !g->failed || no_memory(err);
}

/* ---- the sample --------------------------------------------------------------------------------
 */

static bool find_version(const struct generate *g, int *ret, struct pgv_error *err)
{
    const char *name = pgv_stringz(pgv_path(g->pg, "bin_name.postgres"));
    const char *dir = pgv_stringz(pgv_get(g->pg, "bin_dir"));
    char file[PROGRAM_FILE_BYTES], text[256];

    name = name && *name ? name : "postgres";
    if (!program_find(name, dir, file, sizeof(file)))
        return pgv_fail(err, PGV_EINVALID,
                        "Failed to get postgres version: there is no '%.80s' in '%.160s'", name,
                        dir && *dir ? dir : "$PATH");
    if (!program_version(file, text, sizeof(text)))
        return pgv_fail(err, PGV_EINVALID,
                        "Failed to get postgres version: '%.200s --version' failed", file);
    *ret = pgtool_parse_version(pgv_str(text));
    return *ret > 0 ||
           pgv_fail(err, PGV_EINVALID,
                    "Failed to get postgres version: '%.200s --version' tells none", file);
}

static void add_hba(struct generate *g, const char *method)
{
    const char *user = pgv_stringz(pgv_path(g->pg, "authentication.replication.username"));
    struct pgv_value *hba = pgv_new(g->a, PGV_LIST);
    const char *lines[] = {
        pgv_arena_printf(g->a, "host all all all %s", method),
        pgv_arena_printf(g->a, "host replication %s all %s", user ? user : GENERATE_FIXME, method),
    };

    for (size_t i = 0; i < 2; i++)
        if (!pgv_list_add(hba, lines[i] ? pgv_new_string(g->a, pgv_str(lines[i])) : NULL))
            g->failed = true;
    generate_put(g, g->pg, "pg_hba", hba);
}

static bool make_sample(struct generate *g, struct pgv_error *err)
{
    struct pgv_value *shared = pgv_path(g->dcs, "postgresql.parameters"), *own, *rewind;
    struct pgv_value *auth = pgv_get(g->pg, "authentication");
    const char *method;
    int version = 0;

    if (!find_version(g, &version, err))
        return false;
    method = version >= SCRAM_VERSION ? "scram-sha-256" : "md5";
    own = pgv_new(g->a, PGV_MAP);
    generate_put_text(g, own, "password_encryption", method);
    generate_put(g, g->pg, "parameters", own);
    add_hba(g, method);
    if (version < 130000)
        generate_put(g, shared, "wal_keep_segments", pgv_new_int(g->a, 8));
    else
        generate_put_text(g, shared, "wal_keep_size", "128MB");
    generate_put_text(g, shared, "wal_level", version < 90600 ? "hot_standby" : "replica");
    generate_put(g, pgv_get(g->dcs, "postgresql"), "use_pg_rewind",
                 pgv_new_bool(g->a, pgv_bool_like(pgv_get(shared, "wal_log_hints"))));
    if (version >= REWIND_VERSION) {
        rewind = pgv_get(auth, "rewind");
        if (!rewind) {
            rewind = pgv_new(g->a, PGV_MAP);
            generate_put_text(g, rewind, "username", "rewind_user");
            generate_put(g, auth, "rewind", rewind);
        }
        if (pgv_is(rewind, PGV_MAP) && !pgv_get(rewind, "password"))
            generate_put_text(g, rewind, "password", GENERATE_FIXME);
    }
    return !g->failed || no_memory(err);
}

/* ---- the text ----------------------------------------------------------------------------------
 */

/* '<key>: <value>' with @prefix in front of each line. */
static bool put_block(struct pgv_buf *b, struct pgv_arena *a, const char *prefix, const char *key,
                      const struct pgv_value *v)
{
    struct pgv_value *map = pgv_new(a, PGV_MAP);
    struct pgv_str rest, line, tail;
    struct pgv_buf text;
    bool ok;

    pgv_buf_init(&text, TEXT_BYTES_MAX);
    ok = pgv_map_set(a, map, key, pgv_value_copy(a, v)) && pgv_yaml_write(&text, map);
    for (rest = pgv_buf_view(&text); ok && rest.n > 0; rest = tail) {
        tail = (struct pgv_str){ 0 };
        if (!pgv_str_cut(rest, '\n', &line, &tail))
            line = rest;
        if (line.n) /* within a text a bare newline counts */
            pgv_buf_puts(b, prefix);
        pgv_buf_str(b, line);
        ok = pgv_buf_putc(b, '\n');
    }
    pgv_buf_done(&text);
    return ok;
}

static bool put_section(struct pgv_buf *b, struct pgv_arena *a, const struct pgv_value *root,
                        const char *key)
{
    const struct pgv_value *v = pgv_get(root, key);

    if (!v)
        return true;
    if (pgv_is(v, PGV_MAP))
        pgv_buf_putc(b, '\n');
    return put_block(b, a, "", key, v);
}

static bool put_bootstrap(struct pgv_buf *b, struct pgv_arena *a, const struct pgv_value *dcs)
{
    static const char *const first[] = { "loop_wait", "retry_timeout", "ttl" };
    bool ok = true;

    pgv_buf_puts(b, "\n# How a new cluster begins. Nothing in here counts once the cluster is "
                    "there: its dynamic\n# configuration is then changed with 'edit-config'.\n"
                    "bootstrap:\n  # The first dynamic configuration, which all members share.\n"
                    "  dcs:\n");
    for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
        ok = ok && put_block(b, a, "    ", first[i], pgv_get(dcs, first[i]));
    PGV_EACH(v, dcs)
    {
        bool done = false;

        for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
            done = done || pgv_str_eqz(v->key, first[i]);
        ok = ok && (done || put_block(b, a, "    ", v->key.p, v));
    }
    return ok;
}

static bool write_text(struct pgv_buf *b, struct generate *g, struct pgv_error *err)
{
    static const char *const before[] = { "scope",   "namespace", "name",      "log",
                                          "restapi", "ctl",       "citus",     "consul",
                                          "etcd",    "etcd3",     "exhibitor", "kubernetes",
                                          "raft",    "zookeeper" };
    static const char *const behind[] = { "postgresql", "watchdog", "tags" };
    bool ok = true;

    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++)
        ok = ok && put_section(b, g->a, g->root, before[i]);
    ok = ok && put_bootstrap(b, g->a, g->dcs);
    for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++)
        ok = ok && put_section(b, g->a, g->root, behind[i]);
    return (ok && !b->failed) || no_memory(err);
}

/* An existing file keeps its owner, who is the one that reads it, but not its mode. */
static bool write_file(const char *file, struct pgv_str text, struct pgv_error *err)
{
    const char *slash = strrchr(file, '/');
    char folder[PATH_MAX];
    struct stat st;
    bool there = stat(file, &st) == 0, ok;
    FILE *f;

    if (there && !S_ISREG(st.st_mode)) { /* /dev/stdout is not to be replaced */
        f = fopen(file, "w");
        ok = f && fwrite(text.p, 1, text.n, f) == text.n;
        ok = (!f || fclose(f) == 0) && ok;
        return ok || pgv_fail_sys(err, errno, "cannot write '%.200s'", file);
    }
    if (slash && slash != file) {
        if (!pgv_copy(folder, sizeof(folder), (struct pgv_str){ file, (size_t)(slash - file) }))
            return pgv_fail_sys(err, ENAMETOOLONG, "cannot write '%.200s'", file);
        if (!pgv_mkdirs(folder, 0700, err))
            return false;
    }
    if (!pgv_file_replace(file, text, 0600, err))
        return false;
    if (there && (st.st_uid != geteuid() || st.st_gid != getegid()) &&
        chown(file, st.st_uid, st.st_gid) != 0)
        return pgv_fail_sys(err, errno, "cannot give '%.200s' back to its owner", file);
    return true;
}

/* Where a person has to fill something in. */
static void say_unknown(const struct pgv_value *v, const char *path)
{
    char below[512];
    unsigned i = 0;

    if (pgv_is(v, PGV_STRING) && strstr(v->u.s.p, GENERATE_FIXME))
        fprintf(stderr, "to be filled in: %s\n", path);
    PGV_EACH(item, v)
    {
        if (pgv_is(v, PGV_MAP))
            (void)snprintf(below, sizeof(below), "%s%s%s", path, *path ? "." : "", item->key.p);
        else
            (void)snprintf(below, sizeof(below), "%s.%u", path, i++);
        say_unknown(item, below);
    }
}

/* A machine whose name means itself and no address: others cannot use what follows from it. */
static void say_loopback(const struct generate *g)
{
    static const char *const paths[] = { "restapi.connect_address", "postgresql.connect_address" };

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct pgv_str address = pgv_string(pgv_path(g->root, paths[i]));

        if (pgv_str_starts(address, "127.") || pgv_str_starts(address, "[::1]"))
            fprintf(stderr, "to be changed: %s: other nodes cannot reach this one at %s\n",
                    paths[i], address.p);
    }
}

int agent_generate_main(bool from_server, const char *dsn, const char *file)
{
    struct pgv_config_env env = { 0 };
    struct pgv_config config = { 0 };
    struct pgv_error err = { 0 };
    struct pgv_arena arena;
    struct pgv_buf text;
    struct generate g = { .a = &arena };
    int rc = 1;

    umask(077);
    pgv_arena_init(&arena, AGENT_CONFIG_ARENA_BYTES_MAX);
    pgv_buf_init(&text, TEXT_BYTES_MAX);
    if (!pgv_config_env_take(&env, &err) || !pgv_config_load_lenient("", &env, &config, &err) ||
        !pgv_config_read_secrets(&config, NULL, &err))
        goto out;
    g.env = config.root;
    if (!make_template(&g, &err) ||
        !(from_server ? generate_from_server(&g, dsn, &err) : make_sample(&g, &err)) ||
        !write_text(&text, &g, &err))
        goto out;
    if (*file) {
        if (!write_file(file, pgv_buf_view(&text), &err))
            goto out;
    } else if (fwrite(text.p, 1, text.n, stdout) != text.n || fflush(stdout) != 0) {
        (void)pgv_fail_sys(&err, errno, "cannot write the configuration");
        goto out;
    }
    say_unknown(g.root, "");
    say_loopback(&g);
    if (!agent_names_store(g.root))
        fprintf(stderr, "to be added: a store, for instance 'etcd3: {hosts: [...]}'\n");
    rc = 0;
out:
    if (rc != 0)
        fprintf(stderr, "%s\n", err.msg);
    pgv_buf_done(&text);
    pgv_config_done(&config);
    pgv_config_env_done(&env);
    pgv_arena_done(&arena);
    return rc;
}
