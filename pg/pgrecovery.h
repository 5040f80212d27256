/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgrecovery.h - the recovery configuration: built for a node to follow, written, and compared
 * with what the server has. Contract pg §14.
 */
#pragma once

#include "base/file.h"
#include "pg/pgfiles.h"

/** Whom to follow. { 0 }: nobody, which keeps standby mode without a source. */
struct pgrecovery_source {
    const char *conn_url; /* NULL or empty: no address */
    bool is_me;
    /* from here on: the remote member of a standby cluster; NULL: not said */
    bool remote, no_replication_slot;
    const char *primary_slot_name;
    const char *restore_command, *archive_cleanup_command, *recovery_min_apply_delay;
};

struct pgrecovery {
    bool standby_mode; /* standby.signal, else recovery.signal */
    bool has_conninfo;
    struct pgdsn conninfo;    /* with its password */
    struct pgv_value *params; /* text map without primary_conninfo and standby_mode */
};

/** Everything in @a. @slots: replication slots are in use (postgresql.use_slots and ≥9.4). */
bool pgrecovery_build(const struct pgconf *c, const struct pgfiles_env *env,
                      const struct pgrecovery_source *source, struct pgv_arena *a,
                      struct pgrecovery *ret, struct pgv_error *err) PGV_MUST_CHECK;
/** From a recovery_conf map as the user wrote it (custom bootstrap). */
bool pgrecovery_from_map(const struct pgconf *c, const struct pgfiles_env *env,
                         const struct pgv_value *map, struct pgv_arena *a, struct pgrecovery *ret,
                         struct pgv_error *err) PGV_MUST_CHECK;

/**
 * Write the signal file (≥12) or recovery.conf, and the password file. @ret_params: what
 * pgfiles_write_conf() must put into postgresql.conf on ≥12 (in @a), primary_conninfo included;
 * NULL before 12.
 */
bool pgrecovery_write(const struct pgconf *c, const struct pgfiles_env *env,
                      const struct pgrecovery *r, struct pgv_arena *a,
                      struct pgv_value **ret_params, struct pgv_error *err) PGV_MUST_CHECK;
/** standby.signal, recovery.signal and recovery.conf. */
bool pgrecovery_remove(const struct pgconf *c, struct pgv_error *err) PGV_MUST_CHECK;
bool pgrecovery_exists(const struct pgconf *c, int major_version);

/* --------------------------------------------------------------------------- comparison, §14.6 */

struct pgrecovery_row {
    const char *name, *setting, *sourcefile; /* sourcefile NULL: default */
    bool restart;                            /* changing it needs a restart */
};
#define PGRECOVERY_ROWS_MAX 24

/** What the server has now: rows of pg_settings (≥12) or of recovery.conf. { 0 } is empty. */
struct pgrecovery_current {
    bool valid;
    size_t n;
    struct pgrecovery_row rows[PGRECOVERY_ROWS_MAX];
    /* private */
    struct pgv_arena arena;
    char passfile[PGCONF_PATH_BYTES];
    struct pgrecovery_stamps {
        struct pgv_file_stamp conf, auto_conf, passfile;
        int64_t postmaster;
    } stamps;
};
void pgrecovery_current_done(struct pgrecovery_current *cur);

/** ≥12: SELECT name, setting, (context = 'postmaster')::text, sourcefile of the recovery
 *  parameters that count in that version. */
const char *pgrecovery_sql(int major_version);
/** Files or postmaster changed since the rows were taken? @ret_only_postmaster: nothing but the
 *  postmaster's start time did, so that a failed query means 'no change'. */
bool pgrecovery_current_stale(const struct pgrecovery_current *cur, const struct pgconf *c,
                              int major_version, int64_t postmaster_start,
                              bool *ret_only_postmaster);
/** The password file that the rows name, if any, has kept still for @settle_ns: as long as they are
 *  not stale, its content is what a comparison finds now. */
bool pgrecovery_current_settled(const struct pgrecovery_current *cur, int64_t settle_ns);
/** Take rows (copied). The stamps are those of now: call pgrecovery_current_stamp() before asking.
 */
void pgrecovery_current_stamp(struct pgrecovery_current *cur, const struct pgconf *c,
                              int major_version, int64_t postmaster_start);
bool pgrecovery_current_set(struct pgrecovery_current *cur, const struct pgrecovery_row *rows,
                            size_t n, struct pgv_error *err) PGV_MUST_CHECK;
/** <12: rows out of the text of recovery.conf. PGV_EINVALID: a line does not parse. */
bool pgrecovery_current_parse(struct pgrecovery_current *cur, struct pgv_str text,
                              int major_version, struct pgv_error *err) PGV_MUST_CHECK;
/** After pgrecovery_write() (before a start): the rows are what was written. */
bool pgrecovery_current_written(struct pgrecovery_current *cur, const struct pgconf *c,
                                const struct pgrecovery *r, const struct pgv_value *params,
                                int major_version, struct pgv_error *err) PGV_MUST_CHECK;

/** What the wal receiver reports (monitoring query); NULL: there is none, or it does not say. */
struct pgrecovery_receiver {
    const char *slot_name, *conninfo;
    bool present;
};
struct pgrecovery_diff {
    bool change, restart;
    bool other_passfile; /* one was read that the rows do not name */
    char reason[128];    /* first parameter that differs, for the log; no values */
};
/** Pure but for the signal and password files. @starting: the server does not answer yet.
 *  @announced: a start-type callback has fired. */
void pgrecovery_compare(const struct pgconf *c, const struct pgfiles_env *env,
                        const struct pgrecovery *wanted, const struct pgrecovery_current *cur,
                        const struct pgrecovery_receiver *receiver, bool starting, bool announced,
                        struct pgrecovery_diff *ret);
