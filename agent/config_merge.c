/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/config_merge.c - defaults, dynamic and local configuration become one document.
 *
 * The rules are Patroni's (Config._build_effective_configuration): dynamic values may not say where
 * this server lives, local values may not say what the cluster must agree on, and each is dropped
 * without a word when it tries. Nothing is shared between the trees: the result lives in its own
 * arena, so that either source may be replaced under it.
 */
#include "agent/config_private.h"
#include "base/log.h"
#include "base/parse.h"

#include <stdio.h>
#include <strings.h>

#include "base/banned.h"

/* Building into an arena: one question at the end instead of one at every step. */
struct build {
    struct pgv_arena *a;
    bool failed;
};

static struct pgv_value *put(struct build *b, struct pgv_value *map, const char *key,
                             struct pgv_value *item)
{
    struct pgv_value *set = item ? pgv_map_set(b->a, map, key, item) : NULL;

    if (!set)
        b->failed = true;
    return set;
}

static struct pgv_value *put_copy(struct build *b, struct pgv_value *map, const char *key,
                                  const struct pgv_value *v)
{
    return put(b, map, key, pgv_value_copy(b->a, v));
}

static void put_text(struct build *b, struct pgv_value *map, const char *key, const char *text)
{
    put(b, map, key, pgv_new_string(b->a, pgv_str(text)));
}

static bool is_one_of(struct pgv_str key, const char *const *names)
{
    for (; *names; names++)
        if (pgv_str_eqz(key, *names))
            return true;
    return false;
}

/* ---- parameters the cluster controls ---------------------------------------------------- */

enum controlled_kind { NEVER, WAL_LEVEL, TRUE_ONLY, BOOLEAN, INTEGER };

/* Source: Patroni, ConfigHandler.CMDLINE_OPTIONS: every server of a cluster must agree on these. */
static const struct controlled {
    const char *name;
    enum controlled_kind kind;
    bool in_defaults;
    const char *word; /* the default, or NULL: number */
    int64_t number, min;
    const char *unit;
} controlled[] = {
    { "listen_addresses", NEVER, false, NULL, 0, 0, NULL },
    { "port", NEVER, false, NULL, 0, 0, NULL },
    { "cluster_name", NEVER, false, NULL, 0, 0, NULL },
    { "wal_level", WAL_LEVEL, true, "hot_standby", 0, 0, NULL },
    { "hot_standby", TRUE_ONLY, true, "on", 0, 0, NULL },
    { "max_connections", INTEGER, true, NULL, 100, 25, NULL },
    { "max_wal_senders", INTEGER, true, NULL, 10, 3, NULL },
    { "wal_keep_segments", INTEGER, false, NULL, 8, 1, NULL },
    { "wal_keep_size", INTEGER, false, "128MB", 0, 16, "MB" },
    { "max_prepared_transactions", INTEGER, true, NULL, 0, 0, NULL },
    { "max_locks_per_transaction", INTEGER, true, NULL, 64, 32, NULL },
    { "track_commit_timestamp", BOOLEAN, true, "off", 0, 0, NULL },
    { "max_replication_slots", INTEGER, true, NULL, 10, 4, NULL },
    { "max_worker_processes", INTEGER, true, NULL, 8, 2, NULL },
    { "wal_log_hints", BOOLEAN, true, "on", 0, 0, NULL },
};

static const struct controlled *find_controlled(const char *name)
{
    for (size_t i = 0; i < sizeof(controlled) / sizeof(controlled[0]); i++)
        if (strcasecmp(controlled[i].name, name) == 0)
            return &controlled[i];
    return NULL;
}

bool agent_config_controlled(const char *parameter)
{
    return find_controlled(parameter) != NULL;
}

const char *agent_config_controlled_name(size_t i)
{
    return i < sizeof(controlled) / sizeof(controlled[0]) ? controlled[i].name : NULL;
}

static bool controlled_accepts(const struct controlled *c, const struct pgv_value *v)
{
    struct pgv_buf text;
    bool ok = false, b = false;

    pgv_buf_init(&text, 256);
    pgv_value_text(&text, v);
    switch (c->kind) {
    case NEVER:
        break;
    case WAL_LEVEL:
        ok = strcasecmp(pgv_buf_cstr(&text), "hot_standby") == 0 ||
             strcasecmp(pgv_buf_cstr(&text), "replica") == 0 ||
             strcasecmp(pgv_buf_cstr(&text), "logical") == 0;
        break;
    case TRUE_ONLY:
        ok = pgv_bool_like(v);
        break;
    case BOOLEAN:
        ok = pgv_parse_bool(pgv_buf_view(&text), &b);
        break;
    case INTEGER:
        ok = pgv_int_like(v, c->unit, INT64_MIN) >= c->min;
        break;
    }
    pgv_buf_done(&text);
    return ok;
}

bool agent_config_accepts(const char *parameter, const struct pgv_value *v, char *ret_why,
                          size_t why_bytes)
{
    const struct controlled *c = find_controlled(parameter);

    if (!c || controlled_accepts(c, v))
        return true;
    switch (c->kind) {
    case NEVER:
        (void)snprintf(ret_why, why_bytes, "it follows from the configuration of each member");
        break;
    case WAL_LEVEL:
        (void)snprintf(ret_why, why_bytes, "replica or logical; the default is used");
        break;
    case TRUE_ONLY:
        (void)snprintf(ret_why, why_bytes, "it is always on");
        break;
    case BOOLEAN:
        (void)snprintf(ret_why, why_bytes, "on or off; the default is used: %s", c->word);
        break;
    case INTEGER:
        if (c->word)
            (void)snprintf(ret_why, why_bytes, "at least %lld%s; the default is used: %s",
                           (long long)c->min, c->unit ? c->unit : "", c->word);
        else
            (void)snprintf(ret_why, why_bytes, "at least %lld; the default is used: %lld",
                           (long long)c->min, (long long)c->number);
        break;
    }
    return false;
}

/* Parameter names do not care for case, so 'Work_Mem' replaces 'work_mem'. */
static void put_parameter(struct build *b, struct pgv_value *params, const char *name,
                          struct pgv_value *item)
{
    PGV_EACH(p, params)
    {
        if (strcasecmp(p->key.p, name) == 0) {
            pgv_map_remove(params, p->key.p);
            break;
        }
    }
    put(b, params, name, item);
}

static void warn_controlled(const struct controlled *c, const struct pgv_value *v)
{
    struct pgv_buf text;
    char number[24];

    pgv_buf_init(&text, 256);
    pgv_value_text(&text, v);
    snprintf(number, sizeof(number), "%lld", (long long)c->number);
    pgv_log(PGV_WARNING, "config", "postgresql parameter %s=%s failed validation, defaulting to %s",
            v->key.p, pgv_buf_cstr(&text),
            c->kind == NEVER ? "None" : (c->word ? c->word : number));
    pgv_buf_done(&text);
}

static bool merge_parameters(struct build *b, struct pgv_value *params,
                             const struct pgv_value *from, bool local, struct pgv_error *err)
{
    if (!pgv_truthy(from))
        return true;
    if (!pgv_is(from, PGV_MAP))
        return agent_config_bad(err, from, "postgresql.parameters", "is not a dictionary");

    PGV_EACH(v, from)
    {
        const struct controlled *c = find_controlled(v->key.p);
        int64_t number;

        if (!c) {
            put_parameter(b, params, v->key.p, pgv_value_copy(b->a, v));
            continue;
        }
        if (local)
            continue; /* the cluster decides these, not one member */
        if (!controlled_accepts(c, v)) {
            warn_controlled(c, v);
            continue;
        }
        number = c->kind == INTEGER ? pgv_int_like(v, NULL, INT64_MIN) : INT64_MIN;
        put_parameter(b, params, v->key.p,
                      number != INT64_MIN ? pgv_new_int(b->a, number) : pgv_value_copy(b->a, v));
    }
    return true;
}

/* ---- the three layers ------------------------------------------------------------------- */

static const char *const standby_keys[] = {
    "create_replica_methods",
    "host",
    "port",
    "primary_slot_name",
    "restore_command",
    "archive_cleanup_command",
    "recovery_min_apply_delay",
    NULL,
};

static struct pgv_value *put_defaults(struct build *b)
{
    struct pgv_value *root = pgv_new(b->a, PGV_MAP), *standby, *pg, *params;

    put(b, root, "ttl", pgv_new_int(b->a, 30));
    put(b, root, "loop_wait", pgv_new_int(b->a, 10));
    put(b, root, "retry_timeout", pgv_new_int(b->a, 10));
    standby = put(b, root, "standby_cluster", pgv_new(b->a, PGV_MAP));
    for (const char *const *k = standby_keys; *k; k++)
        put_text(b, standby, *k, "");
    pg = put(b, root, "postgresql", pgv_new(b->a, PGV_MAP));
    put(b, pg, "use_slots", pgv_new_bool(b->a, true));
    params = put(b, pg, "parameters", pgv_new(b->a, PGV_MAP));
    for (size_t i = 0; i < sizeof(controlled) / sizeof(controlled[0]); i++) {
        const struct controlled *c = &controlled[i];

        if (c->in_defaults && c->word)
            put_text(b, params, c->name, c->word);
        else if (c->in_defaults)
            put(b, params, c->name, pgv_new_int(b->a, c->number));
    }
    return root;
}

/* A section of the dynamic document: absent and falsy say nothing, anything but a map is refused.
 */
static bool section_of(const struct pgv_value *v, const char *key, struct pgv_error *err)
{
    if (pgv_truthy(v) && !pgv_is(v, PGV_MAP))
        return agent_config_bad(err, v, key, "is not a map");
    return true;
}

bool agent_config_acceptable(const struct pgv_value *dynamic, struct pgv_error *err)
{
    static const char *const times[] = { "ttl", "loop_wait", "retry_timeout" };
    const struct pgv_value *pg = pgv_get(dynamic, "postgresql"), *params;
    int64_t seconds;

    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        const struct pgv_value *v = pgv_get(dynamic, times[i]);

        if (v && !pgv_to_int(v, &seconds))
            return agent_config_bad(err, v, times[i], "is not a whole number of seconds");
    }
    params = pgv_get(pg, "parameters");
    if (pgv_truthy(params) && !pgv_is(params, PGV_MAP))
        return agent_config_bad(err, params, "postgresql.parameters", "is not a dictionary");
    return section_of(pg, "postgresql", err) &&
           section_of(pgv_get(dynamic, "standby_cluster"), "standby_cluster", err);
}

static bool overlay_dynamic(struct build *b, struct pgv_value *root,
                            const struct pgv_value *dynamic, struct pgv_error *err)
{
    /* Where a server lives is not the cluster's to say. */
    static const char *const not_dynamic[] = { "connect_address", "proxy_address",
                                               "listen",          "config_dir",
                                               "data_dir",        "pgpass",
                                               "authentication",  NULL };
    struct pgv_value *pg = pgv_get(root, "postgresql"), *standby = pgv_get(root, "standby_cluster");

    if (!agent_config_acceptable(dynamic, err))
        return false;
    PGV_EACH(v, dynamic)
    {
        int64_t seconds;

        if (pgv_str_eqz(v->key, "postgresql")) {
            PGV_EACH(p, v)
            {
                if (pgv_str_eqz(p->key, "parameters")) {
                    if (!merge_parameters(b, pgv_get(pg, "parameters"), p, false, err))
                        return false;
                } else if (!is_one_of(p->key, not_dynamic)) {
                    put_copy(b, pg, p->key.p, p);
                }
            }
        } else if (pgv_str_eqz(v->key, "standby_cluster")) {
            PGV_EACH(s, v)
            {
                if (is_one_of(s->key, standby_keys))
                    put_copy(b, standby, s->key.p, s);
            }
        } else if (pgv_get(root, v->key.p) && pgv_to_int(v, &seconds)) {
            put(b, root, v->key.p, pgv_new_int(b->a, seconds));
        }
    }
    return true;
}

struct pgv_value *agent_config_defaults(struct pgv_arena *a)
{
    struct build b = { .a = a };
    struct pgv_value *root = put_defaults(&b);

    return b.failed ? NULL : root;
}

static bool valid_citus(const struct pgv_value *v)
{
    return pgv_is(pgv_get(v, "group"), PGV_INT) && pgv_is(pgv_get(v, "database"), PGV_STRING);
}

static bool overlay_local(struct build *b, struct pgv_value *root, const struct pgv_value *local,
                          struct pgv_error *err)
{
    struct pgv_value *pg = pgv_get(root, "postgresql");

    PGV_EACH(v, local)
    {
        if (pgv_str_eqz(v->key, "citus")) {
            if (valid_citus(v))
                put_copy(b, root, "citus", v);
        } else if (pgv_str_eqz(v->key, "postgresql")) {
            PGV_EACH(p, v)
            {
                if (pgv_str_eqz(p->key, "parameters")) {
                    if (!merge_parameters(b, pgv_get(pg, "parameters"), p, true, err))
                        return false;
                } else if (!pgv_str_eqz(p->key, "use_slots")) {
                    put_copy(b, pg, p->key.p, p);
                }
            }
        } else if (!pgv_get(root, v->key.p) || pgv_str_eqz(v->key, "watchdog")) {
            if (pgv_truthy(v))
                put_copy(b, root, v->key.p, v);
            else
                put(b, root, v->key.p, pgv_new(b->a, PGV_MAP));
        }
    }
    return true;
}

/* ---- what older and shorter spellings mean ---------------------------------------------- */

/* restapi.auth = 'username:password', where the REST server and its clients look for it. */
static void put_auth(struct build *b, struct pgv_value *root, const char *section)
{
    struct pgv_value *map = pgv_get(root, section);
    const struct pgv_value *auth = pgv_get(map, "authentication");
    struct pgv_buf text;

    if (!pgv_get(auth, "username") || !pgv_get(auth, "password"))
        return;
    pgv_buf_init(&text, 4096);
    pgv_value_text(&text, pgv_get(auth, "username"));
    pgv_buf_putc(&text, ':');
    pgv_value_text(&text, pgv_get(auth, "password"));
    if (text.failed)
        b->failed = true;
    else
        put(b, map, "auth", pgv_new_string(b->a, pgv_buf_view(&text)));
    pgv_buf_done(&text);
}

static void normalize_authentication(struct build *b, struct pgv_value *pg)
{
    static const char *const allowed[] = { "username",    "password",        "sslmode",
                                           "sslcert",     "sslkey",          "sslpassword",
                                           "sslrootcert", "sslcrl",          "sslcrldir",
                                           "gssencmode",  "channel_binding", "sslnegotiation",
                                           NULL };
    static const char *const legacy[] = { "replication", "superuser" };
    struct pgv_value *auth = pgv_get(pg, "authentication"), *rewind = pgv_get(pg, "pg_rewind");

    if (!auth) {
        put(b, pg, "use_pg_rewind", pgv_new_bool(b->a, rewind != NULL));
        auth = put(b, pg, "authentication", pgv_new(b->a, PGV_MAP));
        for (size_t i = 0; i < 2; i++)
            if (pgv_get(pg, legacy[i]))
                put_copy(b, auth, legacy[i], pgv_get(pg, legacy[i]));
    }
    if (pgv_is(auth, PGV_MAP) && !pgv_get(auth, "superuser") && rewind)
        put_copy(b, auth, "superuser", rewind);

    PGV_EACH(entry, auth)
    {
        struct pgv_value *next;

        for (struct pgv_value *v = pgv_value_first(entry); v; v = next) {
            next = v->next;
            if (!is_one_of(v->key, allowed))
                pgv_map_remove(entry, v->key.p);
        }
    }
}

/* Names may be written as numbers in YAML; everybody else wants texts. */
static void put_as_text(struct build *b, struct pgv_value *root, const char *key)
{
    const struct pgv_value *v = pgv_get(root, key);
    struct pgv_buf text;

    if (!v || v->type == PGV_STRING || v->type == PGV_MAP || v->type == PGV_LIST)
        return;
    pgv_buf_init(&text, 256);
    if (pgv_value_text(&text, v))
        put(b, root, key, pgv_new_string(b->a, pgv_buf_view(&text)));
    else
        b->failed = true;
    pgv_buf_done(&text);
}

bool agent_config_merge(struct pgv_arena *a, const struct pgv_value *dynamic,
                        const struct pgv_value *local, struct pgv_value **ret,
                        struct pgv_error *err)
{
    static const char *const into_postgresql[] = { "name", "scope", "retry_timeout", "citus" };
    struct build b = { .a = a };
    struct pgv_value *root = put_defaults(&b), *pg = pgv_get(root, "postgresql");

    if (!overlay_dynamic(&b, root, dynamic, err) || !overlay_local(&b, root, local, err))
        return false;
    put_auth(&b, root, "ctl");
    put_auth(&b, root, "restapi");
    normalize_authentication(&b, pg);
    if (!pgv_get(root, "name") && pgv_get(pg, "name"))
        put_copy(&b, root, "name", pgv_get(pg, "name"));
    put_as_text(&b, root, "name");
    put_as_text(&b, root, "scope");
    put_as_text(&b, root, "namespace");
    for (size_t i = 0; i < sizeof(into_postgresql) / sizeof(into_postgresql[0]); i++)
        if (pgv_get(root, into_postgresql[i]))
            put_copy(&b, pg, into_postgresql[i], pgv_get(root, into_postgresql[i]));
    if (b.failed)
        return pgv_fail(err, PGV_ENOMEM, "no memory for the merged configuration");
    *ret = root;
    return true;
}

/* ---- role overrides ---------------------------------------------------------------------------
 */

static const char *role_suffix(enum pgv_role role)
{
    switch (role) {
    case PGV_ROLE_PRIMARY:
    case PGV_ROLE_PROMOTED:
        return "primary";
    case PGV_ROLE_REPLICA:
    case PGV_ROLE_DEMOTED:
        return "replica";
    case PGV_ROLE_STANDBY_LEADER:
        return "standby_leader";
    case PGV_ROLE_UNINITIALIZED:
    case PGV_ROLE_UNKNOWN:
        break;
    }
    return NULL;
}

struct pgv_value *agent_config_override(struct pgv_arena *a, struct pgv_value *postgresql,
                                        enum pgv_role role)
{
    static const char *const replaced[] = { "pg_hba", "pg_ident" };
    const char *suffix = role_suffix(role);
    struct build b = { .a = a };
    struct pgv_value *pg;
    char key[64];
    bool any = false;

    if (!suffix)
        return postgresql;
    snprintf(key, sizeof(key), "parameters_%s", suffix);
    any = pgv_is(pgv_get(postgresql, key), PGV_MAP);
    for (size_t i = 0; i < 2; i++) {
        char k[64];

        snprintf(k, sizeof(k), "%s_%s", replaced[i], suffix);
        any = any || pgv_get(postgresql, k);
    }
    if (!any)
        return postgresql;

    pg = pgv_value_copy(a, postgresql);
    PGV_EACH(v, pgv_get(postgresql, key))
    {
        if (agent_config_controlled(v->key.p))
            pgv_log(PGV_WARNING, "config",
                    "Role-based config attempted to override protected parameter '%s', ignoring",
                    v->key.p);
        else
            put_parameter(&b, pgv_get(pg, "parameters"), v->key.p, pgv_value_copy(a, v));
    }
    for (size_t i = 0; i < 2; i++) {
        snprintf(key, sizeof(key), "%s_%s", replaced[i], suffix);
        if (pgv_get(postgresql, key))
            put_copy(&b, pg, replaced[i], pgv_get(postgresql, key));
    }
    return b.failed ? NULL : pg;
}
