/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgboot.h - the first data directory of a cluster: initdb or a custom script, and what follows
 * once the server runs: roles and the user's script. Contract pg §16.
 */
#pragma once

#include "pg/pgfiles.h"
#include "pg/pgmark.h"
#include "pg/pgsql.h"
#include "pg/pgtool.h"

enum pgboot_result { PGBOOT_OK, PGBOOT_FAILED, PGBOOT_CANCELED };

/** bootstrap.method as it will be used: "initdb" or the name of a section with a command. */
const char *pgboot_method(const struct pgv_value *bootstrap);
bool pgboot_is_custom(const struct pgv_value *bootstrap);

struct pgboot {
    void *data;
    bool running, custom;
    int exit_status; /* as waitpid() gives it; -1: it never ran */
    /* private */
    uv_loop_t *loop;
    struct pgconf *conf;
    struct pgv_child child;
    struct pgmark mark;
    uv_timer_t deferred;
    void (*cb)(struct pgboot *j, enum pgboot_result result, const char *message);
    char pwfile[PGCONF_PATH_BYTES]; /* empty: none */
    bool canceled;
    enum pgboot_result result;
    char message[PGV_ERROR_MSG_BYTES];
};
/**
 * Run initdb or the custom method. On success of a custom method the configuration backups are
 * restored; what is left for the caller: PG_VERSION, recovery configuration of the method
 * (recovery_conf, keep_existing_recovery_conf), pgfiles_append_bootstrap_hba(), backups, start.
 * An option that is not allowed fails here, with PGV_EINVALID. The directory keeps the mark of one
 * that is being made, with @token in it: pgmark_remove() when the cluster is complete.
 */
bool pgboot_start(struct pgboot *j, uv_loop_t *loop, struct pgconf *c,
                  const struct pgv_value *bootstrap, const char *token,
                  void (*cb)(struct pgboot *j, enum pgboot_result result, const char *message),
                  struct pgv_error *err) PGV_MUST_CHECK;
void pgboot_cancel(struct pgboot *j);

/**
 * After post_bootstrap of a custom bootstrap: the server's files as they should be from now on.
 * @env must say custom_bootstrap == false. @params as for pgfiles_write_conf(). When hba is
 * redirected (conf->hba_file) or parameters are pending a restart follows, else a reload.
 */
bool pgboot_end_custom(const struct pgconf *c, const struct pgfiles_env *env,
                       const struct pgv_value *params, struct pgv_error *err) PGV_MUST_CHECK;

/** After the server became primary: superuser, post_bootstrap script, replication and rewind roles.
 */
struct pgboot_post {
    void *data;
    bool running;
    /* private */
    uv_loop_t *loop;
    struct pgconf *conf;
    struct pgv_arena arena;
    struct pgsql sql;
    struct pgsql_query query;
    struct pgv_child child;
    uv_timer_t deferred;
    void (*cb)(struct pgboot_post *j, enum pgboot_result result, const char *message);
    struct pgdsn dsn;    /* of the local superuser, without our own additions */
    struct pgv_buf text; /* the statement under way: holds passwords */
    const char *script;
    int step, major_version;
    bool canceled, in_child, in_query;
    enum pgboot_result result;
    char message[PGV_ERROR_MSG_BYTES];
};
/** @hostaddr: address for the local host when that is a name (http/names.h), or NULL. */
bool pgboot_post_start(struct pgboot_post *j, uv_loop_t *loop, struct pgconf *c,
                       const struct pgconf_address *addr, const char *hostaddr,
                       const struct pgv_value *bootstrap, int major_version,
                       void (*cb)(struct pgboot_post *j, enum pgboot_result result,
                                  const char *message),
                       struct pgv_error *err) PGV_MUST_CHECK;
void pgboot_post_cancel(struct pgboot_post *j);

/**
 * The statement that creates or alters a role. @options ("SUPERUSER", may be empty); LOGIN is added
 * unless it or NOLOGIN is there. @password may be NULL; the text holds it, quoted. Needs
 * standard_conforming_strings.
 */
bool pgboot_role_sql(struct pgv_buf *b, const char *name, const char *password,
                     const char *options);
