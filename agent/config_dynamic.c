/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/config_dynamic.c - the part of the configuration that the cluster shares: the /config key,
 * its cache on disk, and bootstrap.dcs before there is either.
 *
 * A new document is taken whole or not at all: it is clamped and merged in fresh memory, and only
 * then put in the place of the old one. What the store holds is never rewritten by the clamping.
 */
#include "agent/config_private.h"
#include "base/file.h"
#include "base/log.h"

#include <stdio.h>

#include "base/banned.h"

#define CACHE_FILE "patroni.dynamic.json"

/* Times beyond this are 'for ever'; the bound only keeps milliseconds from overflowing. */
#define SECONDS_MAX 1000000000

/* ---- times -------------------------------------------------------------------------------------
 */

static bool raise_to(struct pgv_arena *a, struct pgv_value *dynamic, const char *key,
                     int64_t otherwise, int64_t min, int64_t *ret, struct pgv_error *err)
{
    struct pgv_value *v = pgv_get(dynamic, key);

    *ret = otherwise;
    if (v && !pgv_to_int(v, ret))
        return agent_config_bad(err, v, key, "is not a whole number of seconds");
    if (*ret >= min)
        return true;
    pgv_log(PGV_WARNING, "config", "%s=%lld can't be smaller than %lld, adjusting...", key,
            (long long)*ret, (long long)min);
    *ret = min;
    if (!pgv_map_set(a, dynamic, key, pgv_new_int(a, min)))
        return pgv_fail(err, PGV_ENOMEM, "no memory for the dynamic configuration");
    return true;
}

bool agent_config_clamp(struct pgv_arena *a, struct pgv_value *dynamic, struct pgv_error *err)
{
    int64_t loop_wait, retry, ttl, new_wait, new_retry;

    if (!raise_to(a, dynamic, "loop_wait", 10, 1, &loop_wait, err) ||
        !raise_to(a, dynamic, "retry_timeout", 10, 3, &retry, err) ||
        !raise_to(a, dynamic, "ttl", 30, 20, &ttl, err))
        return false;

    /* loop_wait + 2*retry_timeout <= ttl: one idle wait, one slow read and one slow renewal fit
     * into a lease (dcs contract §1.1). Compared by halves, so that nothing overflows. */
    if (retry > (ttl - 1) / 2) {
        new_wait = 1;
        new_retry = (ttl - 1) / 2;
        pgv_log(
            PGV_WARNING, "config",
            "Violated the rule \"loop_wait + 2*retry_timeout <= ttl\", where ttl=%lld. Adjusting "
            "loop_wait from %lld to %lld and retry_timeout from %lld to %lld",
            (long long)ttl, (long long)loop_wait, (long long)new_wait, (long long)retry,
            (long long)new_retry);
        if (!pgv_map_set(a, dynamic, "loop_wait", pgv_new_int(a, new_wait)) ||
            !pgv_map_set(a, dynamic, "retry_timeout", pgv_new_int(a, new_retry)))
            return pgv_fail(err, PGV_ENOMEM, "no memory for the dynamic configuration");
    } else if (loop_wait > ttl - 2 * retry) {
        new_wait = ttl - 2 * retry;
        pgv_log(PGV_WARNING, "config",
                "Violated the rule \"loop_wait + 2*retry_timeout <= ttl\", where ttl=%lld and "
                "retry_timeout=%lld. Adjusting loop_wait from %lld to %lld",
                (long long)ttl, (long long)retry, (long long)loop_wait, (long long)new_wait);
        if (!pgv_map_set(a, dynamic, "loop_wait", pgv_new_int(a, new_wait)))
            return pgv_fail(err, PGV_ENOMEM, "no memory for the dynamic configuration");
    }
    return true;
}

static uint64_t seconds_to_ms(const struct pgv_value *v, int64_t otherwise)
{
    int64_t s = otherwise;

    if (v && !pgv_to_int(v, &s))
        s = otherwise;
    if (s < 0)
        s = 0;
    return (uint64_t)(s > SECONDS_MAX ? SECONDS_MAX : s) * 1000;
}

/* ---- putting a configuration in force --------------------------------------------------- */

/* The published tags: predefined booleans that are false say nothing. Source: Patroni,
 * Tags._filter_tags(). Removing from the effective document itself keeps their order. */
static const struct pgv_value *publish_tags(struct pgv_arena *a, const struct pgv_value *effective)
{
    static const char *const predefined[] = { "clonefrom", "nofailover", "noloadbalance", "nosync",
                                              "nostream" };
    const struct pgv_value *from = pgv_get(effective, "tags");
    struct pgv_value *tags = pgv_is(from, PGV_MAP) ? pgv_value_copy(a, from) : pgv_new(a, PGV_MAP);

    for (size_t i = 0; i < sizeof(predefined) / sizeof(predefined[0]); i++) {
        const char *key = predefined[i];
        const struct pgv_value *v = pgv_get(tags, key);

        if (!v || pgv_truthy(v) ||
            (strcmp(key, "nofailover") == 0 && pgv_get(tags, "failover_priority")) ||
            (strcmp(key, "nosync") == 0 && pgv_get(tags, "sync_priority")))
            continue;
        pgv_map_remove(tags, key);
    }
    return tags;
}

/* A server that went on under another data_dir would find it empty and be made anew. */
static const char *const pinned[] = { "data_dir", "config_dir", "config_base_name",
                                      "bin_dir",  "database",   "pgpass" };

#define PINNED_N (sizeof(pinned) / sizeof(pinned[0]))

bool agent_config_pin(struct agent_config *c, struct pgv_error *err)
{
    struct pgv_value *map = pgv_new(&c->identity, PGV_MAP);
    bool ok = map != NULL;

    for (size_t i = 0; i < PINNED_N; i++) {
        const struct pgv_value *v = pgv_get(pgv_get(c->effective, "postgresql"), pinned[i]);

        ok = ok &&
             (!v || pgv_map_set(&c->identity, map, pinned[i], pgv_value_copy(&c->identity, v)));
    }
    if (!ok)
        return pgv_fail(err, PGV_ENOMEM, "no memory for the options of the server");
    c->pinned = map;
    return true;
}

static bool restore_pinned(const struct agent_config *c, struct pgv_arena *a, struct pgv_value *pg)
{
    for (size_t i = 0; c->pinned && i < PINNED_N; i++) {
        const struct pgv_value *v = pgv_get(c->pinned, pinned[i]);

        if (!v)
            pgv_map_remove(pg, pinned[i]);
        else if (!pgv_map_set(a, pg, pinned[i], pgv_value_copy(a, v)))
            return false;
    }
    return true;
}

bool agent_config_make(const struct agent_config *c, const struct pgv_value *dynamic,
                       const struct pgv_value *local, struct agent_config_made *ret,
                       struct pgv_error *err)
{
    struct agent_config_made m = { 0 };

    pgv_arena_init(&m.built, AGENT_CONFIG_ARENA_BYTES_MAX);
    pgv_arena_init(&m.role_built, AGENT_CONFIG_ARENA_BYTES_MAX);
    if (!agent_config_merge(&m.built, dynamic, local, &m.effective, err))
        goto fail;
    m.tags = publish_tags(&m.built, m.effective);
    if (restore_pinned(c, &m.built, pgv_get(m.effective, "postgresql")))
        m.postgresql = agent_config_override(&m.role_built, pgv_get(m.effective, "postgresql"),
                                             c->overrides_role);
    if (!m.tags || !m.postgresql) {
        pgv_fail(err, PGV_ENOMEM, "no memory for the merged configuration");
        goto fail;
    }
    *ret = m;
    return true;
fail:
    pgv_arena_done(&m.built);
    pgv_arena_done(&m.role_built);
    return false;
}

void agent_config_exchange_made(struct agent_config *c, struct agent_config_made *m)
{
    struct agent_config_made old = {
        .built = c->built.now,
        .role_built = c->role_built.now,
        .effective = c->effective,
        .postgresql = c->postgresql,
        .tags = c->tags,
    };

    c->built.now = m->built;
    c->role_built.now = m->role_built;
    c->effective = m->effective;
    c->postgresql = m->postgresql;
    c->tags = m->tags;
    c->ttl_ms = seconds_to_ms(pgv_get(c->effective, "ttl"), 30);
    c->loop_wait_ms = seconds_to_ms(pgv_get(c->effective, "loop_wait"), 10);
    c->retry_timeout_ms = seconds_to_ms(pgv_get(c->effective, "retry_timeout"), 10);
    *m = old;
}

void agent_config_retire_made(struct agent_config *c, struct agent_config_made *m)
{
    pgv_arena_done(&c->built.before);
    pgv_arena_done(&c->role_built.before);
    c->built.before = m->built;
    c->role_built.before = m->role_built;
    *m = (struct agent_config_made){ 0 };
}

static bool build(struct agent_config *c, const struct pgv_value *dynamic, struct pgv_error *err)
{
    struct agent_config_made m;

    if (!agent_config_make(c, dynamic, c->local.root, &m, err))
        return false;
    agent_config_exchange_made(c, &m);
    agent_config_retire_made(c, &m);
    return true;
}

bool agent_config_set_role(struct agent_config *c, enum pgv_role role)
{
    struct pgv_value *before = c->postgresql, *now;
    struct pgv_arena fresh;
    bool differs;

    if (role == c->overrides_role)
        return false;
    pgv_arena_init(&fresh, AGENT_CONFIG_ARENA_BYTES_MAX);
    now = agent_config_override(&fresh, pgv_get(c->effective, "postgresql"), role);
    if (!now) {
        pgv_log(PGV_ERROR, "config",
                "no memory for the overrides of role %s: the previous ones stay",
                pgv_role_name(role));
        pgv_arena_done(&fresh);
        return false;
    }
    differs = !pgv_value_same(before, now);
    *agent_config_arena_turn(&c->role_built) = fresh;
    c->postgresql = now;
    c->overrides_role = role;
    return differs;
}

/** Take @document over as the dynamic configuration: clamped and merged, or not at all. */
static bool set_dynamic(struct agent_config *c, const struct pgv_value *document,
                        struct pgv_error *err)
{
    struct pgv_arena fresh;
    struct pgv_value *copy;

    pgv_arena_init(&fresh, AGENT_CONFIG_ARENA_BYTES_MAX);
    copy = pgv_value_copy(&fresh, document);
    if (!copy) {
        pgv_fail(err, PGV_ENOMEM, "no memory for the dynamic configuration");
        goto fail;
    }
    if (!agent_config_clamp(&fresh, copy, err) || !build(c, copy, err))
        goto fail;
    pgv_arena_done(&c->dynamic_arena);
    c->dynamic_arena = fresh;
    c->dynamic = copy;
    c->dynamic_loaded = true;
    return true;
fail:
    pgv_arena_done(&fresh);
    return false;
}

/* ---- the three sources --------------------------------------------------------------------------
 */

void agent_config_load_cache(struct agent_config *c, const char *data_dir)
{
    struct pgv_value *document = NULL;
    struct pgv_error err = { 0 };
    struct pgv_arena arena;
    struct pgv_buf text;
    char path[1024];

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", data_dir, CACHE_FILE) >= sizeof(path))
        return;
    pgv_arena_init(&arena, AGENT_CONFIG_ARENA_BYTES_MAX);
    pgv_buf_init(&text, AGENT_CONFIG_DYNAMIC_BYTES_MAX);
    if (!pgv_file_exists(path))
        goto out;
    if (!pgv_file_read(path, &text, &err) ||
        !pgv_json_parse(&arena, pgv_buf_view(&text), &document, &err)) {
        pgv_log(PGV_ERROR, "config", "Exception when loading file: %s, DETAIL: '%s'", path,
                err.msg);
        goto out;
    }
    if (!pgv_is(document, PGV_MAP)) {
        pgv_log(PGV_ERROR, "config", "Exception when loading file: %s, DETAIL: 'not a JSON object'",
                path);
        goto out;
    }
    if (!set_dynamic(c, document, &err))
        pgv_log(PGV_ERROR, "config", "Exception when setting dynamic_configuration, DETAIL: '%s'",
                err.msg);
    else if (!c->global && document->u.c.n && !agent_config_set_global(c, document))
        pgv_log(PGV_ERROR, "config", "no memory for the cached dynamic configuration");
out:
    pgv_buf_done(&text);
    pgv_arena_done(&arena);
}

bool agent_config_save_cache(struct agent_config *c, const char *data_dir, unsigned mode,
                             struct pgv_error *err)
{
    struct pgv_buf text;
    char path[1024];
    bool ok = false;

    if (!c->dynamic_dirty)
        return true;
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", data_dir, CACHE_FILE) >= sizeof(path))
        return pgv_fail(err, PGV_EINVALID, "path of the data directory is too long");
    pgv_buf_init(&text, AGENT_CONFIG_DYNAMIC_BYTES_MAX);
    if (!pgv_json_write(&text, c->dynamic, PGV_JSON_SPACED)) {
        pgv_fail(err, PGV_ENOMEM, "no memory for '%s'", path);
        goto out;
    }
    if (!pgv_file_replace(path, pgv_buf_view(&text), (mode_t)mode, err)) {
        pgv_error_wrap(err, "Exception when saving file: %s", path);
        goto out;
    }
    c->dynamic_dirty = false;
    ok = true;
out:
    pgv_buf_done(&text);
    return ok;
}

bool agent_config_use_bootstrap(struct agent_config *c, struct pgv_error *err)
{
    const struct pgv_value *dcs = pgv_path(c->local.root, "bootstrap.dcs");
    struct pgv_arena arena;
    bool ok;

    if (c->dynamic_loaded || !pgv_get(c->local.root, "bootstrap"))
        return true;
    pgv_arena_init(&arena, 4096);
    /* A bootstrap section without dcs means an empty document. */
    ok = set_dynamic(c, pgv_is(dcs, PGV_MAP) ? dcs : pgv_new(&arena, PGV_MAP), err);
    if (ok) {
        c->dynamic_dirty = true;
        if (!c->global && pgv_truthy(dcs) && !agent_config_set_global(c, dcs))
            ok = pgv_fail(err, PGV_ENOMEM, "no memory for bootstrap.dcs");
    } else {
        pgv_error_wrap(err, "bootstrap.dcs");
    }
    pgv_arena_done(&arena);
    return ok;
}

bool agent_config_adopt(struct agent_config *c, const struct dcs_snapshot *s, bool *ret_changed,
                        struct pgv_error *err)
{
    *ret_changed = false;
    if (!s->config || !s->cluster.config_valid || !s->cluster.config_version[0])
        return true; /* vanished or garbage: what was last known stays in force */
    if (strcmp(c->dynamic_version, s->cluster.config_version) == 0)
        return true;
    if (!agent_config_set_global(c, s->config))
        return pgv_fail(err, PGV_ENOMEM, "no memory for the dynamic configuration");
    /* From here on this version has been looked at: a refusal is said once, not every cycle. */
    memcpy(c->dynamic_version, s->cluster.config_version, sizeof(c->dynamic_version));
    if (!pgv_truthy(s->config) || (c->dynamic && pgv_value_same(c->dynamic, s->config)))
        return true;
    if (agent_config_is_standby_cluster(s->config))
        return pgv_fail(
            err, PGV_EINVALID,
            "/config: standby_cluster is not supported by pgvigil %s: this node will not "
            "lead such a cluster",
            PGVIGIL_VERSION);
    if (!set_dynamic(c, s->config, err)) {
        if (err && err->code == PGV_ENOMEM)
            c->dynamic_version[0] = '\0'; /* later may work */
        pgv_error_wrap(err, "/config");
        return false;
    }
    c->dynamic_dirty = true;
    *ret_changed = true;
    return true;
}

bool agent_config_dynamic_json(const struct agent_config *c, struct pgv_buf *b)
{
    return c->dynamic ? pgv_json_write(b, c->dynamic, PGV_JSON_COMPACT) : pgv_buf_puts(b, "{}");
}
