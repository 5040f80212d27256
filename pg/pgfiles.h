/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgfiles.h - the server's configuration: parameters assembled, files written, what a reload
 * changes. Contract pg §12 and §13. Files are replaced atomically and fsynced; only files.
 */
#pragma once

#include "pg/control.h"
#include "pg/pgconf.h"
#include "pg/pgguc.h"
#include "pg/postmaster.h"

/** What the owner knows when configuration is made. */
struct pgfiles_env {
    int major_version; /* of the data directory: 90600, 150000; 0 unknown */
    int full_version;  /* §1: running server, else binary, else the major; 0 unknown */
    enum pgv_role role;
    bool synchronous_mode, synchronous_mode_strict;
    const char *synchronous_standby_names; /* the value we manage; NULL: none */
    bool enforce_hot_standby_feedback;
    bool custom_bootstrap;                           /* runs now, until post_bootstrap is through */
    bool keep_existing_recovery_conf;                /* of the custom bootstrap method */
    const struct pgv_value *bootstrap_recovery_conf; /* of the method, or NULL */
    const struct pgguc_names *names;                 /* or NULL */
};

/**
 * §13.3: the map name → text value the server should have, in @a (a YAML value becomes its text,
 * null is left out). Includes listen_addresses, port, cluster_name, hba_file and ident_file made
 * absolute when the user redirects them. NULL: no memory (@err).
 */
struct pgv_value *pgfiles_parameters(const struct pgconf *c, const struct pgfiles_env *env,
                                     struct pgv_arena *a, struct pgv_error *err) PGV_MUST_CHECK;

/**
 * §13.5: at a start that is not as primary the maxima of the control file win over lower
 * configured ones, and each is reported in @ret_pending. @control may be NULL (unreadable).
 * @params is changed in place.
 */
bool pgfiles_apply_control(const struct pgconf *c, const struct pgfiles_env *env,
                           const struct pm_control *control, struct pgv_value *params,
                           struct pgv_arena *a, struct postmaster_pending *ret_pending,
                           unsigned *ret_n, struct pgv_error *err) PGV_MUST_CHECK;

/** §4.6: '--name=value' for the postmaster, NULL-terminated, in @a. */
bool pgfiles_command_line(const struct pgv_value *params, struct pgv_arena *a,
                          const char *const **ret_argv, struct pgv_error *err) PGV_MUST_CHECK;

/** postgresql.conf; renames the original to postgresql.base.conf the first time; sanitises
 *  postgresql.auto.conf on ≥12. @recovery: parameters for ≥12 (pg/pgrecovery.h), or NULL. */
bool pgfiles_write_conf(const struct pgconf *c, const struct pgfiles_env *env,
                        const struct pgv_value *params, const struct pgv_value *recovery,
                        struct pgv_error *err) PGV_MUST_CHECK;
/** recovery.conf (<12) out of a text map; pg/pgrecovery.h is how to get there. */
bool pgfiles_write_recovery_conf(const struct pgconf *c, const struct pgfiles_env *env,
                                 const struct pgv_value *recovery,
                                 struct pgv_error *err) PGV_MUST_CHECK;
/** pg_hba.conf and pg_ident.conf, if they are ours. @ret_written may be NULL. While a custom
 *  bootstrap runs: trust for the replication and superuser from @addrs (text addresses). */
bool pgfiles_write_hba(const struct pgconf *c, const struct pgfiles_env *env,
                       const struct pgconf_address *addr, const char *const *addrs,
                       unsigned n_addrs, bool *ret_written, struct pgv_error *err) PGV_MUST_CHECK;
bool pgfiles_write_ident(const struct pgconf *c, const struct pgfiles_env *env, bool *ret_written,
                         struct pgv_error *err) PGV_MUST_CHECK;
/** bootstrap.pg_hba lines behind what initdb wrote, unless hba is configured otherwise. */
bool pgfiles_append_bootstrap_hba(const struct pgconf *c, const struct pgfiles_env *env,
                                  const struct pgv_value *lines,
                                  struct pgv_error *err) PGV_MUST_CHECK;
/** <data_dir>/<name>.backup of each configuration file; failures are logged. */
void pgfiles_save_backups(const struct pgconf *c, const struct pgfiles_env *env);
void pgfiles_restore_backups(const struct pgconf *c, const struct pgfiles_env *env);
/** Remove recovery parameters from postgresql.auto.conf; failures are logged. */
void pgfiles_sanitise_auto_conf(const struct pgconf *c, const struct pgfiles_env *env);

/** Mode of files in the data directory: 0600, or 0640 when it is group-readable (≥11). Sets the
 *  process umask accordingly when @set_umask. */
mode_t pgfiles_mode(const char *data_dir, bool set_umask);
/** The umask before we touched it (call once at start, before any file is made). */
void pgfiles_remember_umask(void);
/** §12.8: directories of sockets, statistics and pgpass exist and are writable. */
bool pgfiles_make_dirs(const struct pgconf *c, const struct pgv_value *params, bool data_dir_empty,
                       struct pgv_error *err) PGV_MUST_CHECK;

/* ------------------------------------------------------------------ what a reload changes, §13.6
 */

/** A row of pg_settings; NULL fields as in the row. Borrowed. */
struct pgfiles_setting {
    const char *name, *setting, *unit, *vartype, *context, *sourcefile;
};

/** The rows that are needed: SELECT name, setting, unit, vartype, context, sourcefile … = ANY($1).
 */
extern const char pgfiles_settings_sql[];
/** $1 of it: the names of @before and @wanted as an array literal. */
bool pgfiles_settings_names(struct pgv_buf *b, const struct pgv_value *before,
                            const struct pgv_value *wanted);

struct pgfiles_changes {
    bool conf, hba, ident;
    bool address_stale; /* listen_addresses or port (or the socket) wait for a restart: keep the
                           old local address until then */
    unsigned n_pending;
    struct postmaster_pending pending[POSTMASTER_PENDING_MAX];
};
/**
 * Pure but for its log lines. @before: what was wanted last time. @wanted: what is wanted now;
 * names the server does not know are removed from it (and logged), as they must not be written.
 * @old may be NULL. hba and ident are compared between @old and @c.
 */
void pgfiles_compare(const struct pgconf *old, const struct pgconf *c,
                     const struct pgv_value *before, struct pgv_value *wanted,
                     const struct pgfiles_setting *rows, size_t n_rows, int major_version,
                     struct pgfiles_changes *ret);
/** Fill @ret from a name, the current and the future value, with units: '100', '1GB'. */
void pgfiles_pending(struct postmaster_pending *ret, const char *name, const char *vartype,
                     const char *unit, const char *old_value, const char *new_value);
