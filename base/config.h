/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/config.h - the local configuration: file or folder of files, environment merged over it.
 *
 * Shared by the agent and the command line tool. Order and conversions are Patroni 4.1's. What the
 * agent makes of it together with the dynamic configuration is agent/config.h.
 */
#pragma once

#include "base/value.h"

#define PGV_CONFIG_BYTES_MAX (1u << 20) /* of one file */
#define PGV_CONFIG_FILES_MAX 256        /* of one folder */
#define PGV_CONFIG_ARENA_BYTES_MAX (32u << 20)

/**
 * Read every recognised PATRONI_* variable into a tree, once per process, and remove it from the
 * environment, so that children never see the secrets in it. PATRONI_CONFIGURATION is kept aside.
 */
struct pgv_config_env {
    struct pgv_arena arena;
    struct pgv_value *overlay;       /* a map, may be empty */
    struct pgv_value *configuration; /* PATRONI_CONFIGURATION parsed, or NULL */
    /* private */
    bool configuration_bad;             /* it was set but is no mapping: matters only when used */
    struct pgv_error configuration_err; /* why */
};
bool pgv_config_env_take(struct pgv_config_env *env, struct pgv_error *err) PGV_MUST_CHECK;
void pgv_config_env_done(struct pgv_config_env *env);

/** A loaded local configuration. @root is a map and lives in @arena. */
struct pgv_config {
    struct pgv_arena arena;
    struct pgv_value *root;
    bool reloadable;    /* from a file or folder */
    unsigned secrets_n; /* that came from files of their own */
};

/**
 * @path: file or folder, may be empty. Absent path: PATRONI_CONFIGURATION, else the environment
 * alone. Errors name file, line and reason; 'Config is empty.' when nothing is configured at all,
 * with @path named when one was given; the reserved placeholder as 'name' is refused.
 * On failure @ret is untouched, so an old configuration stays in force.
 */
bool pgv_config_load(const char *path, const struct pgv_config_env *env, struct pgv_config *ret,
                     struct pgv_error *err) PGV_MUST_CHECK;
/**
 * The same without the agent's demands: nothing configured at all is an empty map, any 'name'
 * passes, and keys like 'password_file' still stand there: see pgv_config_read_secrets(). For the
 * command line tool (which may get its store by option), --validate-config and the generators.
 */
bool pgv_config_load_lenient(const char *path, const struct pgv_config_env *env,
                             struct pgv_config *ret, struct pgv_error *err) PGV_MUST_CHECK;
/**
 * Put the content of the files that keys like 'password_file' name in the secrets' places: those
 * below @section, or all (NULL). Not known to Patroni. On failure the others may have been read.
 */
bool pgv_config_read_secrets(struct pgv_config *c, const char *section,
                             struct pgv_error *err) PGV_MUST_CHECK;
void pgv_config_done(struct pgv_config *c);
