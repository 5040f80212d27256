/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/config.c - the local configuration at start and at reload: what must be there, and what
 * this version cannot serve and must not pretend to.
 *
 * A start with a section whose absence would change what the cluster does (Citus, another store) is
 * refused in one sentence; silently ignoring it would promise something the operator relies on.
 */
#include "agent/config_private.h"
#include "base/log.h"
#include "base/parse.h"

#include <stdio.h>
#include <strings.h>

#include "base/banned.h"

#define IDENTITY_BYTES_MAX 65536 /* names, and the paths of the server */

bool agent_config_bad(struct pgv_error *err, const struct pgv_value *at, const char *key,
                      const char *fmt, ...)
{
    char reason[PGV_ERROR_MSG_BYTES];
    va_list args;

    va_start(args, fmt);
    vsnprintf(reason, sizeof(reason), fmt, args);
    va_end(args);
    if (at && at->file && at->line)
        return pgv_fail(err, PGV_EINVALID, "config file '%.200s' line %u: %s: %.100s", at->file,
                        at->line, key, reason);
    if (at && at->file)
        return pgv_fail(err, PGV_EINVALID, "config file '%.200s': %s: %.100s", at->file, key,
                        reason);
    return pgv_fail(err, PGV_EINVALID, "configuration: %s: %.200s", key, reason);
}

/* ---- arenas that are replaced whole -----------------------------------------------------------
 */

struct pgv_arena *agent_config_arena_turn(struct agent_config_arena *a)
{
    pgv_arena_done(&a->before);
    a->before = a->now;
    pgv_arena_init(&a->now, AGENT_CONFIG_ARENA_BYTES_MAX);
    return &a->now;
}

void agent_config_arena_done(struct agent_config_arena *a)
{
    pgv_arena_done(&a->now);
    pgv_arena_done(&a->before);
}

/* ---- checks ------------------------------------------------------------------------------------
 */

/* Text of a scalar, as names may be written as numbers; empty when there is none. */
static bool scalar_text(const struct pgv_value *v, char *ret, size_t ret_bytes)
{
    struct pgv_buf text;
    bool ok;

    ret[0] = '\0';
    if (!v || v->type == PGV_NULL || v->type == PGV_MAP || v->type == PGV_LIST)
        return true;
    pgv_buf_init(&text, 4096);
    ok = pgv_value_text(&text, v) && pgv_copy(ret, ret_bytes, pgv_buf_view(&text));
    pgv_buf_done(&text);
    return ok;
}

static bool check_name(const struct pgv_value *local, struct pgv_error *err)
{
    const struct pgv_value *v = pgv_get(local, "name");
    char text[PGV_NAME_BYTES];

    if (!v)
        v = pgv_path(local, "postgresql.name");
    if (!scalar_text(v, text, sizeof(text)))
        return agent_config_bad(err, v, "name", "is longer than %d bytes", PGV_NAME_BYTES - 1);
    if (!text[0])
        return agent_config_bad(err, v ? v : local, "name", "is not defined.");
    if (strcmp(text, PGV_NAME_PLACEHOLDER) == 0)
        return agent_config_bad(err, v, "name", "Node 'name' can't be set to '%s'",
                                PGV_NAME_PLACEHOLDER);
    /* Readers of the store do not see a member whose name has a slash (dcs contract §2). */
    if (strchr(text, '/'))
        return agent_config_bad(err, v, "name", "must not contain a slash, but is '%s'", text);

    v = pgv_get(local, "scope");
    if (!scalar_text(v, text, sizeof(text)))
        return agent_config_bad(err, v, "scope", "is longer than %d bytes", PGV_NAME_BYTES - 1);
    if (!text[0])
        return agent_config_bad(err, v ? v : local, "scope", "is not defined.");
    return true;
}

static bool check_address(const struct pgv_value *section, const char *key, const char *path,
                          bool required, struct pgv_error *err)
{
    const struct pgv_value *v = pgv_get(section, key);
    char host[256];
    int port;

    if (!pgv_truthy(v)) {
        if (required)
            return agent_config_bad(err, v ? v : section, path, "Can not find \"%s\" config", path);
        return true;
    }
    /* 0 is no port, so it stands for 'none was given'. */
    if (!pgv_parse_host_port(pgv_string(v), 0, host, sizeof(host), &port) || port == 0)
        return agent_config_bad(
            err, v, path,
            "Invalid \"restapi\" config: expected <HOST>:<PORT> for \"%s\", but got \"%s\"", key,
            pgv_stringz(v) ? pgv_stringz(v) : "");
    return true;
}

static bool check_credentials(const struct pgv_value *local, const char *section,
                              struct pgv_error *err)
{
    const struct pgv_value *auth = pgv_get(pgv_get(local, section), "authentication");
    static const char *const keys[] = { "username", "password" };
    char path[64];

    if (!auth)
        return true;
    snprintf(path, sizeof(path), "%s.authentication", section);
    if (!pgv_is(auth, PGV_MAP))
        return agent_config_bad(err, auth, path, "is not a map");
    for (size_t i = 0; i < 2; i++)
        if (!pgv_get(auth, keys[i]))
            return agent_config_bad(err, auth, path,
                                    "needs both username and password, %s is missing", keys[i]);
    return true;
}

static bool check_postgresql(const struct pgv_value *local, struct pgv_error *err)
{
    static const char *const needed[] = { "data_dir", "listen" };
    const struct pgv_value *pg = pgv_get(local, "postgresql"), *auth, *params;

    if (!pgv_is(pg, PGV_MAP))
        return agent_config_bad(err, pg ? pg : local, "postgresql",
                                pg ? "is not a dictionary" : "is not defined.");
    params = pgv_get(pg, "parameters");
    if (pgv_truthy(params) && !pgv_is(params, PGV_MAP))
        return agent_config_bad(err, params, "postgresql.parameters", "is not a dictionary");
    for (size_t i = 0; i < 2; i++) {
        char path[64];

        snprintf(path, sizeof(path), "postgresql.%s", needed[i]);
        if (!pgv_string(pgv_get(pg, needed[i])).n)
            return agent_config_bad(err, pgv_get(pg, needed[i]) ? pgv_get(pg, needed[i]) : pg, path,
                                    pgv_get(pg, needed[i]) ? "is not a string" : "is not defined.");
    }
    auth = pgv_get(pg, "authentication");
    if (auth && !pgv_is(auth, PGV_MAP))
        return agent_config_bad(err, auth, "postgresql.authentication", "is not a dictionary");
    PGV_EACH(entry, auth)
    {
        char path[96];

        snprintf(path, sizeof(path), "postgresql.authentication.%.48s", entry->key.p);
        if (!pgv_is(entry, PGV_MAP))
            return agent_config_bad(err, entry, path, "is not a dictionary");
    }
    return true;
}

static bool check_store(const struct pgv_value *local, struct pgv_error *err)
{
    /* The first of these that is there is the store. Source: Patroni, dcs.get_dcs(): alphabetical.
     */
    static const char *const stores[] = { "consul",     "etcd", "etcd3",    "exhibitor",
                                          "kubernetes", "raft", "zookeeper" };

    for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
        const struct pgv_value *v = pgv_get(local, stores[i]);

        if (!v)
            continue;
        if (strcmp(stores[i], "etcd3") != 0)
            return agent_config_bad(err, v, stores[i],
                                    "this store is not supported by pgvigil %s; use etcd3",
                                    PGVIGIL_VERSION);
        if (!pgv_is(v, PGV_MAP))
            return agent_config_bad(err, v, "etcd3", "is not a dictionary");
        return true;
    }
    return agent_config_bad(
        err, local, "etcd3",
        "Can not find suitable configuration of distributed configuration store");
}

static bool check_bootstrap(const struct pgv_value *local, struct pgv_error *err)
{
    const struct pgv_value *bootstrap = pgv_get(local, "bootstrap"), *dcs;

    if (pgv_truthy(bootstrap) && !pgv_is(bootstrap, PGV_MAP))
        return agent_config_bad(err, bootstrap, "bootstrap", "is not a dictionary");
    dcs = pgv_get(bootstrap, "dcs");
    if (pgv_truthy(dcs) && !pgv_is(dcs, PGV_MAP))
        return agent_config_bad(err, dcs, "bootstrap.dcs", "is not a dictionary");
    if (dcs && !agent_config_acceptable(dcs, err)) {
        pgv_error_wrap(err, "bootstrap.dcs");
        return false;
    }
    if (agent_config_is_standby_cluster(dcs))
        return agent_config_bad(err, pgv_get(dcs, "standby_cluster"),
                                "bootstrap.dcs.standby_cluster", "is not supported by pgvigil %s",
                                PGVIGIL_VERSION);
    return true;
}

bool agent_config_check_local(const struct pgv_value *local, struct pgv_error *err)
{
    const struct pgv_value *rest = pgv_get(local, "restapi"), *citus = pgv_get(local, "citus");
    static const char *const maps[] = { "restapi", "ctl", "tags", "watchdog", "log" };

    if (!check_name(local, err))
        return false;
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
        const struct pgv_value *v = pgv_get(local, maps[i]);

        if (pgv_truthy(v) && !pgv_is(v, PGV_MAP))
            return agent_config_bad(err, v, maps[i], "is not a dictionary");
    }
    if (!rest)
        return agent_config_bad(err, local, "restapi", "is not defined.");
    if (!check_address(rest, "listen", "restapi.listen", true, err) ||
        !check_address(rest, "connect_address", "restapi.connect_address", false, err) ||
        !check_credentials(local, "restapi", err) || !check_credentials(local, "ctl", err) ||
        !check_postgresql(local, err) || !agent_config_check_watchdog(local, err) ||
        !check_store(local, err) || !check_bootstrap(local, err))
        return false;
    /* An incomplete section is no Citus and is ignored, as Patroni does. */
    if (pgv_is(pgv_get(citus, "group"), PGV_INT) && pgv_is(pgv_get(citus, "database"), PGV_STRING))
        return agent_config_bad(err, citus, "citus", "is not supported by pgvigil %s",
                                PGVIGIL_VERSION);
    return true;
}

/* ---- open and reload ---------------------------------------------------------------------------
 */

/* What does not change while we live, copied out of what is rebuilt. */
static bool keep_identity(struct agent_config *c, struct pgv_error *err)
{
    const struct pgv_value *ns = pgv_get(c->effective, "namespace");

    pgv_arena_init(&c->identity, IDENTITY_BYTES_MAX);
    c->name = pgv_arena_dup(&c->identity, pgv_string(pgv_get(c->effective, "name")));
    c->scope = pgv_arena_dup(&c->identity, pgv_string(pgv_get(c->effective, "scope")));
    c->name_space =
        pgv_arena_dup(&c->identity, pgv_string(ns).n ? pgv_string(ns) : pgv_str("service"));
    if (!c->name || !c->scope || !c->name_space)
        return pgv_fail(err, PGV_ENOMEM, "no memory for the names, or they are too long");
    return true;
}

/* The section outlives the files it was read from, so their names must come along. */
static bool own_file_names(struct pgv_arena *a, struct pgv_value *v, const char **last,
                           const char **last_copy)
{
    if (v->file && v->file != *last) {
        *last = v->file;
        *last_copy = pgv_arena_dup(a, pgv_str(v->file));
        if (!*last_copy)
            return false;
    }
    if (v->file)
        v->file = *last_copy;
    PGV_EACH(item, v)
    {
        if (!own_file_names(a, item, last, last_copy))
            return false;
    }
    return true;
}

/* Fill in @next's section of the store, if it is another one than now. */
static bool make_dcs_section(const struct agent_config *c, struct agent_config_next *next,
                             struct pgv_error *err)
{
    const char *last = NULL, *last_copy = NULL;
    const struct pgv_value *section = pgv_get(next->made.effective, "etcd3");
    struct pgv_value *copy;

    if (c->dcs_section && pgv_value_equal(c->dcs_section, section))
        return true;
    pgv_arena_init(&next->dcs_built, AGENT_CONFIG_ARENA_BYTES_MAX);
    copy = pgv_value_copy(&next->dcs_built, section);
    if (!copy || !own_file_names(&next->dcs_built, copy, &last, &last_copy)) {
        pgv_arena_done(&next->dcs_built);
        return pgv_fail(err, PGV_ENOMEM, "no memory for the etcd3 section");
    }
    next->dcs_section = copy;
    next->new_store = true;
    return true;
}

/* The rest of @next from its local configuration, which is given back on failure. */
static bool make_next(const struct agent_config *c, struct agent_config_next *next,
                      struct pgv_error *err)
{
    if (!agent_config_check_local(next->local.root, err) ||
        !agent_config_make(c, c->dynamic, next->local.root, &next->made, err))
        goto fail;
    if (!make_dcs_section(c, next, err)) {
        pgv_arena_done(&next->made.built);
        pgv_arena_done(&next->made.role_built);
        goto fail;
    }
    return true;
fail:
    pgv_config_done(&next->local);
    return false;
}

void agent_config_exchange(struct agent_config *c, struct agent_config_next *next)
{
    struct pgv_config local = c->local;
    struct pgv_arena dcs_built = c->dcs_built.now;
    const struct pgv_value *dcs_section = c->dcs_section;

    c->local = next->local;
    next->local = local;
    agent_config_exchange_made(c, &next->made);
    if (!next->new_store)
        return;
    c->dcs_built.now = next->dcs_built;
    c->dcs_section = next->dcs_section;
    next->dcs_built = dcs_built;
    next->dcs_section = dcs_section;
}

void agent_config_settle(struct agent_config *c, struct agent_config_next *next)
{
    pgv_config_done(&c->local_before);
    c->local_before = next->local;
    agent_config_retire_made(c, &next->made);
    if (next->new_store) {
        pgv_arena_done(&c->dcs_built.before);
        c->dcs_built.before = next->dcs_built;
    }
    *next = (struct agent_config_next){ 0 };
}

bool agent_config_open(struct agent_config *c, const char *path, struct pgv_error *err)
{
    struct agent_config_next next = { 0 };

    *c = (struct agent_config){
        .overrides_role = PGV_ROLE_UNINITIALIZED,
        .maximum_lag_on_failover = 1048576,
        .primary_start_timeout_ms = 300000,
    };
    if (!pgv_copyz(c->path, sizeof(c->path), path ? path : ""))
        return pgv_fail(err, PGV_EINVALID, "the path of the configuration is too long");
    if (!pgv_config_env_take(&c->env, err))
        goto fail;
    if (!pgv_config_load(c->path, &c->env, &next.local, err))
        goto fail;
    if (!make_next(c, &next, err))
        goto fail;
    agent_config_exchange(c, &next);
    agent_config_settle(c, &next);
    if (!keep_identity(c, err))
        goto fail;
    agent_config_warn_tags(c);
    agent_config_warn_watchdog(c);
    return true;
fail:
    agent_config_done(c);
    return false;
}

void agent_config_done(struct agent_config *c)
{
    if (!c)
        return;
    pgv_config_done(&c->local);
    pgv_config_done(&c->local_before);
    pgv_config_env_done(&c->env);
    agent_config_arena_done(&c->built);
    agent_config_arena_done(&c->role_built);
    agent_config_arena_done(&c->dcs_built);
    pgv_arena_done(&c->dynamic_arena);
    pgv_arena_done(&c->global_arena);
    pgv_arena_done(&c->identity);
    *c = (struct agent_config){ 0 };
}

bool agent_config_read_again(const struct agent_config *c, struct agent_config_next *ret,
                             bool *ret_changed, struct pgv_error *err)
{
    struct agent_config_next next = { 0 };

    *ret = next;
    *ret_changed = false;
    /* What came from the environment alone is fixed, except for the files it names. */
    if (!c->local.reloadable && !c->local.secrets_n)
        return true;
    if (!pgv_config_load(c->local.reloadable ? c->path : "", &c->env, &next.local, err))
        return false;
    if (pgv_value_same(c->local.root, next.local.root)) {
        pgv_config_done(&next.local);
        return true;
    }
    if (!make_next(c, &next, err))
        return false;
    *ret = next;
    *ret_changed = true;
    return true;
}

bool agent_config_reload(struct agent_config *c, bool *ret_changed, struct pgv_error *err)
{
    struct agent_config_next next;

    if (!agent_config_read_again(c, &next, ret_changed, err))
        return false;
    if (*ret_changed) {
        agent_config_exchange(c, &next);
        agent_config_settle(c, &next);
        agent_config_warn_tags(c);
        agent_config_warn_watchdog(c);
    }
    return true;
}
