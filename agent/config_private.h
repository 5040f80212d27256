/* SPDX-License-Identifier: PostgreSQL */
/* agent/config_private.h - what the files of the configuration share. */
#pragma once

#include "agent/config.h"

/* Ceilings: a configuration is text written by people; /config cannot exceed what a store takes. */
#define AGENT_CONFIG_ARENA_BYTES_MAX (16u << 20)
#define AGENT_CONFIG_DYNAMIC_BYTES_MAX (4u << 20) /* of the cached document */

/** Begin a new build: the current arena steps back, the one before it is given back. */
struct pgv_arena *agent_config_arena_turn(struct agent_config_arena *a);
void agent_config_arena_done(struct agent_config_arena *a);

/** An error about @key: 'config file 'x.yml' line 12: key: reason', as far as @at knows where. */
bool agent_config_bad(struct pgv_error *err, const struct pgv_value *at, const char *key,
                      const char *fmt, ...) PGV_PRINTF(4, 5);

/** Is everything there without which, or with which, we cannot start? */
bool agent_config_check_local(const struct pgv_value *local, struct pgv_error *err) PGV_MUST_CHECK;

/** Tags that contradict each other, in the log. */
void agent_config_warn_tags(const struct agent_config *c);

/** agent/config_watchdog.c: the part of agent_config_check_local() about its section. */
bool agent_config_check_watchdog(const struct pgv_value *local,
                                 struct pgv_error *err) PGV_MUST_CHECK;
/** What a section (NULL: none) means with these times. */
void agent_config_watchdog_of(const struct pgv_value *section, int64_t ttl_s, int64_t loop_wait_s,
                              struct watchdog_config *ret);
/** A mode that nobody knows, in the log. */
void agent_config_warn_watchdog(const struct agent_config *c);

/** The merged document in @a (config contract §2.4). @dynamic may be NULL. */
bool agent_config_merge(struct pgv_arena *a, const struct pgv_value *dynamic,
                        const struct pgv_value *local, struct pgv_value **ret,
                        struct pgv_error *err) PGV_MUST_CHECK;

/** Build effective, postgresql, tags from @dynamic and @local, for the role as it is; not in force.
 */
bool agent_config_make(const struct agent_config *c, const struct pgv_value *dynamic,
                       const struct pgv_value *local, struct agent_config_made *ret,
                       struct pgv_error *err) PGV_MUST_CHECK;
/** Put @m in force, and what was into @m. */
void agent_config_exchange_made(struct agent_config *c, struct agent_config_made *m);
/** What is not in force any more stays readable until the next one comes here. */
void agent_config_retire_made(struct agent_config *c, struct agent_config_made *m);

/** Remember the raw document and what is read from it. False: no memory, the old one stays. */
bool agent_config_set_global(struct agent_config *c, const struct pgv_value *document);

/** The section with the overrides of @role in @a; @postgresql itself when there are none. */
struct pgv_value *agent_config_override(struct pgv_arena *a, struct pgv_value *postgresql,
                                        enum pgv_role role);
/** A parameter the cluster controls. Source: Patroni, ConfigHandler.CMDLINE_OPTIONS. */
bool agent_config_controlled(const char *parameter);
/** May the dynamic configuration set @parameter to @v? True for those the cluster does not control.
 * False: its default is used, and @ret_why tells what would do. */
bool agent_config_accepts(const char *parameter, const struct pgv_value *v, char *ret_why,
                          size_t why_bytes);
/** The @i-th of them; NULL behind the last. */
const char *agent_config_controlled_name(size_t i);
/** What is in force when nobody says anything (config contract §2.4). NULL: no memory. */
struct pgv_value *agent_config_defaults(struct pgv_arena *a);
