/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/config_policy.c - what the brain and the REST API want to know of the configuration.
 *
 * Modes (pause, synchronous_mode, …) are read from the raw document of the store and never from
 * the local file. Source: Patroni, GlobalConfig (ha contract §1.3).
 */
#include "agent/config_private.h"
#include "agent/watchdog.h"

#include <strings.h>

#include "base/banned.h"

bool agent_config_is_paused(const struct pgv_value *global)
{
    return pgv_bool_like(pgv_get(global, "pause"));
}

bool agent_config_is_standby_cluster(const struct pgv_value *global)
{
    const struct pgv_value *v = pgv_get(global, "standby_cluster");

    return pgv_is(v, PGV_MAP) &&
           (pgv_truthy(pgv_get(v, "host")) || pgv_truthy(pgv_get(v, "port")) ||
            pgv_truthy(pgv_get(v, "restore_command")));
}

bool agent_config_is_quorum(const struct pgv_value *global)
{
    const char *word = pgv_stringz(pgv_get(global, "synchronous_mode"));

    return word && strcasecmp(word, "quorum") == 0;
}

bool agent_config_is_synchronous(const struct pgv_value *global)
{
    return (pgv_bool_like(pgv_get(global, "synchronous_mode")) || agent_config_is_quorum(global)) &&
           !agent_config_is_standby_cluster(global);
}

static int64_t global_int(const struct pgv_value *global, const char *key, const char *unit,
                          int64_t otherwise)
{
    return pgv_int_like(pgv_get(global, key), unit, otherwise);
}

/* Seconds of the document as milliseconds; negative is none. */
static uint64_t to_ms(int64_t seconds)
{
    if (seconds <= 0)
        return 0;
    return seconds > INT64_MAX / 1000 ? INT64_MAX : (uint64_t)seconds * 1000;
}

static uint64_t primary_start_timeout_ms(const struct pgv_value *global)
{
    const char *key =
        pgv_get(global, "primary_start_timeout") ? "primary_start_timeout" : "master_start_timeout";

    return to_ms(global_int(global, key, NULL, 300));
}

bool agent_config_set_global(struct agent_config *c, const struct pgv_value *document)
{
    struct pgv_arena fresh;
    struct pgv_value *copy;
    int64_t history;

    pgv_arena_init(&fresh, AGENT_CONFIG_ARENA_BYTES_MAX);
    copy = pgv_value_copy(&fresh, document);
    if (!copy) {
        pgv_arena_done(&fresh);
        return false;
    }
    pgv_arena_done(&c->global_arena);
    c->global_arena = fresh;
    c->global = copy;
    c->paused = agent_config_is_paused(copy);
    c->maximum_lag_on_failover = global_int(copy, "maximum_lag_on_failover", NULL, 1048576);
    c->primary_start_timeout_ms = primary_start_timeout_ms(copy);
    history = global_int(copy, "max_timelines_history", NULL, 0);
    c->max_timelines_history = history > INT32_MAX ? INT32_MAX : history < 0 ? 0 : (int)history;
    return true;
}

/* Some replica method needs no running source. Source: Patroni,
 * Bootstrap.replica_method_can_work_without_replication_connection(). */
static bool clones_without_leader(const struct pgv_value *pg)
{
    const struct pgv_value *methods = pgv_get(pg, "create_replica_methods");

    if (!methods)
        methods = pgv_get(pg, "create_replica_method");
    if (!pgv_is(methods, PGV_LIST))
        return false;
    PGV_EACH(m, methods)
    {
        const char *name = pgv_stringz(m);
        const struct pgv_value *options = name ? pgv_get(pg, name) : NULL;

        if (name && strcmp(name, "basebackup") != 0 &&
            (pgv_truthy(pgv_get(options, "no_leader")) ||
             pgv_truthy(pgv_get(options, "no_master"))))
            return true;
    }
    return false;
}

void agent_config_policy(const struct agent_config *c, struct ha_policy *ret)
{
    const struct pgv_value *g = c->global, *pg = c->postgresql;
    const struct pgv_value *use_slots = pgv_get(pgv_get(g, "postgresql"), "use_slots");

    *ret = (struct ha_policy){
        .ttl_ms = c->ttl_ms,
        .loop_wait_ms = c->loop_wait_ms,
        .retry_timeout_ms = c->retry_timeout_ms,
        .primary_start_timeout_ms = primary_start_timeout_ms(g),
        .primary_race_backoff_ms = to_ms(global_int(g, "primary_race_backoff", NULL, 0)),
        .member_slots_ttl_ms = to_ms(global_int(g, "member_slots_ttl", "s", 1800)),
        .paused = agent_config_is_paused(g),
        .check_timeline = pgv_bool_like(pgv_get(g, "check_timeline")),
        .failsafe_mode = pgv_bool_like(pgv_get(g, "failsafe_mode")),
        /* Neither kind of cluster may be led by this version: it keeps no sync state, and it would
         * follow nobody remote. As one of its replicas it does no harm. */
        .sync_requested = agent_config_is_synchronous(g) || agent_config_is_standby_cluster(g),
        .can_bootstrap = pgv_get(c->local.root, "bootstrap") != NULL,
        .clone_without_leader = clones_without_leader(pg),
        .rewind = pgv_bool_like(pgv_get(pg, "use_pg_rewind")),
        .remove_on_diverged =
            pgv_bool_like(pgv_get(pg, "remove_data_directory_on_diverged_timelines")),
        .remove_on_rewind_failure =
            pgv_bool_like(pgv_get(pg, "remove_data_directory_on_rewind_failure")),
        .use_slots = use_slots ? pgv_bool_like(use_slots) : true,
    };
    int64_t lag = global_int(g, "maximum_lag_on_failover", NULL, 1048576);
    struct watchdog_config watchdog;

    agent_config_watchdog(c, &watchdog);
    ret->watchdog = watchdog.mode;
    ret->watchdog_timeout_ms = watchdog.possible ? to_ms(watchdog.timeout_s) : 0;
    ret->maximum_lag_bytes = lag < 0 ? 0 : (uint64_t)lag;
    pgv_copy_cut(ret->name, sizeof(ret->name), pgv_str(c->name));
    pgv_tags_read(c->tags, &ret->tags);
}
