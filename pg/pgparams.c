/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgparams.c - the parameters the server should have: assembled, raised to what the control
 * file demands, put on the command line. Contract pg §13.3, §13.5, §4.6. Declared in pgfiles.h.
 */
#include "base/log.h"
#include "base/parse.h"
#include "pg/pgfiles.h"

#include <stdio.h>

#include "base/banned.h"

/**
 * Parameters that all nodes must agree on, in the order in which they stand on the command line.
 * @fallback is for a configuration in which nobody put a value. Source: contract §13.1; a standby
 * needs values not lower than the primary's (PostgreSQL docs, 'Hot Standby', administrators).
 */
static const struct {
    const char *name, *fallback;
    int since;
    bool on_command_line;
} controlled[] = {
    { "listen_addresses", NULL, 0, true },
    { "port", NULL, 0, true },
    { "cluster_name", NULL, 90500, true },
    { "wal_level", "hot_standby", 0, true },
    { "hot_standby", "on", 0, true },
    { "max_connections", "100", 0, true },
    { "max_wal_senders", "10", 0, true },
    { "max_prepared_transactions", "0", 0, true },
    { "max_locks_per_transaction", "64", 0, true },
    { "track_commit_timestamp", "off", 90500, true },
    { "max_replication_slots", "10", 90400, true },
    { "max_worker_processes", "8", 90400, true },
    { "wal_log_hints", "on", 90400, true },
    { "wal_keep_segments", NULL, 0, false },
    { "wal_keep_size", NULL, 130000, false },
};
#define CONTROLLED (sizeof(controlled) / sizeof(controlled[0]))

static bool no_memory(struct pgv_error *err)
{
    return pgv_fail(err, PGV_ENOMEM, "no memory for the server's parameters");
}

static bool set_text(struct pgv_arena *a, struct pgv_value *map, const char *name,
                     const char *value)
{
    return value && pgv_map_set(a, map, name, pgv_new_string(a, pgv_str(value)));
}

/** The value as text; false only for want of memory. Null: not there. */
static bool text_of(struct pgv_arena *a, const struct pgv_value *v, const char **ret)
{
    struct pgv_buf text;

    *ret = NULL;
    if (!v || v->type == PGV_NULL)
        return true;
    if (v->type == PGV_STRING) {
        *ret = v->u.s.p;
        return true;
    }
    pgv_buf_init(&text, PGCONF_BYTES_MAX);
    if (pgv_value_text(&text, v))
        *ret = pgv_arena_dup(a, pgv_buf_view(&text));
    pgv_buf_done(&text);
    return *ret != NULL;
}

/**
 * wal_keep_segments (before 13) and wal_keep_size say the same in segments of 16 MB and in bytes;
 * whichever the user gave serves both eras.
 */
static bool translate_wal_keep(struct pgv_arena *a, struct pgv_value *map, int major_version)
{
    const char *segments = pgv_stringz(pgv_get(map, "wal_keep_segments"));
    const char *size = pgv_stringz(pgv_get(map, "wal_keep_size"));
    const char *text;
    int64_t n;

    if (major_version == 0)
        return true;
    if (major_version >= 130000) {
        if (!segments || !pgv_parse_int(pgv_str(segments), NULL, &n) || n < 0 || n > INT32_MAX / 16)
            n = 8;
        text = size ? size : pgv_arena_printf(a, "%lldMB", (long long)n * 16);
        (void)pgv_map_remove(map, "wal_keep_segments");
        return set_text(a, map, "wal_keep_size", text);
    }
    if (!size || !pgv_parse_int(pgv_str(size), "MB", &n) || n < 0)
        n = size ? 0 : 128;
    text = segments ? segments : pgv_arena_printf(a, "%lld", (long long)(n + 8) / 16);
    (void)pgv_map_remove(map, "wal_keep_size");
    return set_text(a, map, "wal_keep_segments", text);
}

/** 'citus' in front of the libraries, once. */
static bool citus_libraries(struct pgv_arena *a, struct pgv_value *map)
{
    struct pgv_str rest = pgv_string(pgv_get(map, "shared_preload_libraries"));
    struct pgv_buf list;
    bool more = rest.n > 0, ok;

    pgv_buf_init(&list, 8192);
    (void)pgv_buf_puts(&list, "citus");
    while (more) {
        struct pgv_str one, tail;

        more = pgv_str_cut(rest, ',', &one, &tail);
        rest = tail;
        one = pgv_str_trim(one);
        if (one.n > 0 && !pgv_str_eqz(one, "citus")) {
            (void)pgv_buf_putc(&list, ',');
            (void)pgv_buf_str(&list, one);
        }
    }
    ok = !list.failed && set_text(a, map, "shared_preload_libraries", pgv_buf_cstr(&list));
    pgv_buf_done(&list);
    return ok;
}

/** Contract §24: what Citus needs of every node. */
static bool adjust_for_citus(const struct pgconf *c, struct pgv_arena *a, struct pgv_value *map)
{
    const char *prepared = pgv_stringz(pgv_get(map, "max_prepared_transactions"));
    const char *connections = pgv_stringz(pgv_get(map, "max_connections"));
    struct pgconf_address addr;
    int64_t n = 0, max = 100;

    if (!c->citus)
        return true;
    if (connections && !pgv_parse_int(pgv_str(connections), NULL, &max))
        max = 100;
    if (prepared && !pgv_parse_int(pgv_str(prepared), NULL, &n))
        n = 0;
    if (n == 0 && !set_text(a, map, "max_prepared_transactions",
                            pgv_arena_printf(a, "%lld", (long long)max * 2)))
        return false;
    if (!pgv_get(map, "citus.local_hostname")) {
        struct pgdsn local = { 0 };
        const char *host = "localhost";

        if (pgconf_resolve_address(c, &addr, NULL)) {
            pgconf_local_dsn(c, &addr, PGCONF_SUPERUSER, &local);
            if (local.v[PGDSN_HOST])
                host = local.v[PGDSN_HOST];
        }
        if (!set_text(a, map, "citus.local_hostname", host))
            return false;
    }
    return citus_libraries(a, map) && set_text(a, map, "wal_level", "logical");
}

static bool primary_like(enum pgv_role role)
{
    return role == PGV_ROLE_PRIMARY || role == PGV_ROLE_PROMOTED;
}

/** Under synchronous mode the value is ours, whatever the user wrote. */
static bool set_synchronous_names(const struct pgfiles_env *env, struct pgv_arena *a,
                                  struct pgv_value *map)
{
    const char *ours = env->synchronous_standby_names;

    if (!env->synchronous_mode)
        return true;
    if (!ours && env->synchronous_mode_strict && primary_like(env->role))
        ours = PGV_NAME_PLACEHOLDER;
    if (ours)
        return set_text(a, map, "synchronous_standby_names", ours);
    (void)pgv_map_remove(map, "synchronous_standby_names");
    return true;
}

/** replica was called hot_standby (and archive) before 9.6. */
static bool translate_wal_level(struct pgv_arena *a, struct pgv_value *map, int major_version)
{
    const char *level = pgv_stringz(pgv_get(map, "wal_level"));
    bool new_names = major_version >= 90600;

    if (!level || strcmp(level, new_names ? "hot_standby" : "replica") != 0)
        return true;
    return set_text(a, map, "wal_level", new_names ? "replica" : "hot_standby");
}

struct pgv_value *pgfiles_parameters(const struct pgconf *c, const struct pgfiles_env *env,
                                     struct pgv_arena *a, struct pgv_error *err)
{
    struct pgv_value *map = pgv_new(a, PGV_MAP);
    const char *text;

    if (!map)
        goto fail;
    PGV_EACH(item, c->parameters)
    {
        if (!text_of(a, item, &text))
            goto fail;
        if (text && !set_text(a, map, item->key.p, text))
            goto fail;
    }
    for (size_t i = 0; i < CONTROLLED; i++)
        if (controlled[i].fallback && !pgv_get(map, controlled[i].name) &&
            !set_text(a, map, controlled[i].name, controlled[i].fallback))
            goto fail;
    if (!set_text(a, map, "cluster_name", c->scope) ||
        !set_text(a, map, "listen_addresses", c->listen_addresses) ||
        !set_text(a, map, "port", c->port) || !set_synchronous_names(env, a, map) ||
        !translate_wal_level(a, map, env->major_version) ||
        !translate_wal_keep(a, map, env->major_version) || !adjust_for_citus(c, a, map))
        goto fail;
    for (size_t i = 0; i < CONTROLLED; i++)
        if (env->major_version && env->major_version < controlled[i].since)
            (void)pgv_map_remove(map, controlled[i].name);
    if (pgv_get(map, "hba_file") &&
        !set_text(a, map, "hba_file", c->hba_file ? c->hba_file : c->hba_path))
        goto fail;
    if (pgv_get(map, "ident_file") &&
        !set_text(a, map, "ident_file", c->ident_file ? c->ident_file : c->ident_path))
        goto fail;
    return map;
fail:
    (void)no_memory(err);
    return NULL;
}

/* -------------------------------------------------------------------------- control file maxima */

/**
 * A custom bootstrap that ends in promotion must not wait for connections in between: recovery may
 * meet higher maxima in the WAL, which is fatal only to a hot standby.
 */
static bool must_not_be_hot(const struct pgfiles_env *env)
{
    const struct pgv_value *conf = env->bootstrap_recovery_conf;
    const struct pgv_value *action = pgv_get(conf, "recovery_target_action");
    const struct pgv_value *pause = pgv_get(conf, "pause_at_recovery_target");

    if (!env->custom_bootstrap)
        return false;
    if (env->keep_existing_recovery_conf)
        return true;
    if (env->major_version < 90500 || !pgv_value_first(conf))
        return false;
    if (action)
        return pgv_str_eqz(pgv_string(action), "promote");
    return pause && !pgv_bool_like(pause);
}

bool pgfiles_apply_control(const struct pgconf *c, const struct pgfiles_env *env,
                           const struct pm_control *control, struct pgv_value *params,
                           struct pgv_arena *a, struct postmaster_pending *ret_pending,
                           unsigned *ret_n, struct pgv_error *err)
{
    const struct {
        const char *name;
        int since, value;
    } maxima[] = {
        { "max_connections", 0, control ? control->max_connections : -1 },
        { "max_prepared_transactions", 0, control ? control->max_prepared_xacts : -1 },
        { "max_locks_per_transaction", 0, control ? control->max_locks_per_xact : -1 },
        { "max_worker_processes", 90400, control ? control->max_worker_processes : -1 },
        { "max_wal_senders", 120000, control ? control->max_wal_senders : -1 },
    };
    unsigned n = 0;

    (void)c;
    *ret_n = 0;
    if (env->role == PGV_ROLE_PRIMARY)
        return true;
    if (!control)
        pgv_log(PGV_WARNING, "pg", "pg_controldata tells no maxima, the configured ones are used");
    for (size_t i = 0; control && i < sizeof(maxima) / sizeof(maxima[0]); i++) {
        const char *text = pgv_stringz(pgv_get(params, maxima[i].name));
        char number[16];
        int64_t configured;

        if (env->major_version < maxima[i].since)
            continue;
        if (maxima[i].value < 0) {
            pgv_log(PGV_WARNING, "pg", "%s is missing from pg_controldata output", maxima[i].name);
            continue;
        }
        if (!text || !pgv_parse_int(pgv_str(text), NULL, &configured) ||
            configured >= maxima[i].value)
            continue;
        pgv_log(PGV_INFO, "pg",
                "%s value in pg_controldata: %d, in the global configuration: %lld. "
                "pg_controldata value will be used. Setting 'Pending restart' flag",
                maxima[i].name, maxima[i].value, (long long)configured);
        (void)snprintf(number, sizeof(number), "%d", maxima[i].value);
        pgfiles_pending(&ret_pending[n++], maxima[i].name, NULL, NULL, number, text);
        if (!set_text(a, params, maxima[i].name, number))
            return no_memory(err);
    }
    if (must_not_be_hot(env) && !set_text(a, params, "hot_standby", "off"))
        return no_memory(err);
    *ret_n = n;
    return true;
}

bool pgfiles_command_line(const struct pgv_value *params, struct pgv_arena *a,
                          const char *const **ret_argv, struct pgv_error *err)
{
    const char **argv = pgv_arena_alloc(a, (CONTROLLED + 1) * sizeof(*argv));
    size_t n = 0;

    if (!argv)
        return no_memory(err);
    for (size_t i = 0; i < CONTROLLED; i++) {
        const char *value = pgv_stringz(pgv_get(params, controlled[i].name));

        if (!controlled[i].on_command_line || !value)
            continue;
        argv[n] = pgv_arena_printf(a, "--%s=%s", controlled[i].name, value);
        if (!argv[n++])
            return no_memory(err);
    }
    *ret_argv = argv;
    return true;
}
