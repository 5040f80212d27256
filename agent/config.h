/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/config.h - the effective configuration: defaults, dynamic (DCS, its cache or bootstrap.dcs)
 * and local, merged as Patroni 4.1 does (config contract §2.4, §6, §7).
 *
 * Pointers into it are borrowed. What is rebuilt as a whole (effective, postgresql, tags) stays
 * readable until the build after the next one, so that whoever borrowed it has time to be told;
 * name, scope, name_space live as long as the configuration, dcs_section until a reload replaces
 * it (and then until the one after).
 */
#pragma once

#include "agent/ha/ha.h"
#include "base/config.h"

/** An arena that is replaced whole: the one in use and the one before it. */
struct agent_config_arena {
    struct pgv_arena now, before;
};

/** What is merged from all sources, with the memory it lives in. */
struct agent_config_made {
    struct pgv_arena built, role_built;
    struct pgv_value *effective, *postgresql;
    const struct pgv_value *tags;
};

struct agent_config {
    struct pgv_config local; /* files and environment */
    struct pgv_config_env env;
    char path[512]; /* as given on the command line; may be empty */
    struct pgv_arena dynamic_arena;
    struct pgv_value *dynamic; /* the last accepted dynamic document (adjusted times), a map */
    bool dynamic_loaded;       /* from cache, DCS or bootstrap */
    bool dynamic_dirty;        /* differs from patroni.dynamic.json */
    char dynamic_version[DCS_VERSION_BYTES]; /* of the /config key last looked at */
    struct pgv_value *effective;             /* the merged document */
    struct pgv_value *postgresql;   /* its postgresql section with the current role's overrides */
    const struct pgv_value *tags;   /* as published: falsy predefined ones left out; a map */
    const struct pgv_value *global; /* the raw dynamic document as last read from the store */
    enum pgv_role overrides_role;   /* role class the overrides were made for */
    const struct pgv_value *dcs_section; /* the etcd3 section */

    const char *name, *scope, *name_space;
    uint64_t ttl_ms, loop_wait_ms, retry_timeout_ms; /* clamped */
    int64_t maximum_lag_on_failover;
    uint64_t primary_start_timeout_ms;
    int max_timelines_history;
    bool paused;
    /* private */
    const struct pgv_value *pinned; /* options of postgresql that stay; NULL: none yet */
    struct agent_config_arena built, role_built, dcs_built;
    struct pgv_arena global_arena, identity;
    struct pgv_config local_before; /* whoever borrowed from it has time to be told */
};

/** Load and check the local configuration; says everything that makes a start impossible. */
bool agent_config_open(struct agent_config *c, const char *path,
                       struct pgv_error *err) PGV_MUST_CHECK;
void agent_config_done(struct agent_config *c);
/**
 * The server is about to be opened: where it lives does not change any more, whatever files and
 * the store may say, until the agent starts again. Source: Patroni reads data_dir, config_dir,
 * config_base_name, bin_dir, database and pgpass once (config contract §6.1).
 */
bool agent_config_pin(struct agent_config *c, struct pgv_error *err) PGV_MUST_CHECK;
/**
 * A reload in three steps, so that those who live by the configuration may refuse it:
 *
 * agent_config_read_again() reads and checks files and secrets. @ret_changed false: nothing
 * differs, and @ret holds nothing. On failure nothing has changed.
 * agent_config_exchange() puts @next in force, or back out of it.
 * agent_config_settle() ends it, whichever of the two is in force by then: the other one stays
 * readable until the next reload.
 *
 * name, scope and namespace do not change before the next start.
 */
struct agent_config_next {
    struct pgv_config local;
    struct agent_config_made made;
    bool new_store; /* the store's section differs */
    struct pgv_arena dcs_built;
    const struct pgv_value *dcs_section;
};
bool agent_config_read_again(const struct agent_config *c, struct agent_config_next *ret,
                             bool *ret_changed, struct pgv_error *err) PGV_MUST_CHECK;
void agent_config_exchange(struct agent_config *c, struct agent_config_next *next);
void agent_config_settle(struct agent_config *c, struct agent_config_next *next);
/** All three at once, for who has nobody to ask. */
bool agent_config_reload(struct agent_config *c, bool *ret_changed,
                         struct pgv_error *err) PGV_MUST_CHECK;
/**
 * Log what differs in the local configuration from @next's, the one before, an option a line: what
 * it was and is, with secrets hidden, and what it takes to have an effect. Also tags that
 * contradict each other.
 */
void agent_config_say_changes(const struct agent_config *c, const struct agent_config_next *next);
/** patroni.dynamic.json in the data directory; absent is fine, a broken one is logged. */
void agent_config_load_cache(struct agent_config *c, const char *data_dir);
bool agent_config_save_cache(struct agent_config *c, const char *data_dir, unsigned mode,
                             struct pgv_error *err) PGV_MUST_CHECK;
/** Start without /config: bootstrap.dcs when no dynamic configuration is known. */
bool agent_config_use_bootstrap(struct agent_config *c, struct pgv_error *err) PGV_MUST_CHECK;
/**
 * A snapshot's /config: the global values (pause, modes, …) are always adopted when it is a valid
 * object; a non-empty document with a new version and other content also becomes the dynamic
 * configuration: @ret_changed. A rejected one (a time that is no number, a standby cluster, which
 * this version cannot serve…) leaves the dynamic configuration as it was and says why, once a
 * version.
 */
bool agent_config_adopt(struct agent_config *c, const struct dcs_snapshot *s, bool *ret_changed,
                        struct pgv_error *err) PGV_MUST_CHECK;
/** Role overrides (parameters_primary, pg_hba_replica…): true when the section differs now. */
bool agent_config_set_role(struct agent_config *c, enum pgv_role role);
/** What the brain needs of it. */
void agent_config_policy(const struct agent_config *c, struct ha_policy *ret);
/** What the watchdog's device needs of it. */
struct watchdog_config;
void agent_config_watchdog(const struct agent_config *c, struct watchdog_config *ret);
/** The dynamic document as compact JSON, to fill an empty /config key. */
bool agent_config_dynamic_json(const struct agent_config *c, struct pgv_buf *b);
/** Clamp ttl, loop_wait and retry_timeout of a document in place, with the contract's warnings. */
bool agent_config_clamp(struct pgv_arena *a, struct pgv_value *dynamic,
                        struct pgv_error *err) PGV_MUST_CHECK;
/**
 * Would every agent refuse this dynamic document as a whole? False says why: a time that is no
 * integer, a postgresql, parameters or standby_cluster that is no map. Source: Patroni,
 * Config.set_dynamic_configuration() keeps the previous document when one of these raises.
 */
bool agent_config_acceptable(const struct pgv_value *dynamic, struct pgv_error *err) PGV_MUST_CHECK;

/* What a dynamic document says, whoever read it; NULL says nothing. Source: Patroni, GlobalConfig.
 */
bool agent_config_is_paused(const struct pgv_value *global);
bool agent_config_is_standby_cluster(const struct pgv_value *global);
bool agent_config_is_quorum(const struct pgv_value *global);
bool agent_config_is_synchronous(const struct pgv_value *global);
