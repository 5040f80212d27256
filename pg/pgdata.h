/* SPDX-License-Identifier: PostgreSQL */
/* pg/pgdata.h - the data directory as a whole: what it is, removing it, moving it aside. §20. */
#pragma once

#include "pg/pgtool.h"
#include "pg/postmaster.h"

/** PG_VERSION as 90600 or 150000; 0 when missing or unreadable. */
int pgdata_major_version(const char *data_dir);
/** The system identifier in the control file, as text; false when it cannot be read. */
bool pgdata_sysid(const char *data_dir, char ret[24]) PGV_MUST_CHECK;
/** Empty: absent, without entries, or holding nothing but what a fresh file system has
 *  (lost+found, hidden files). @ret_error: why it is unreadable; errno too, of which ENOMEM, EMFILE
 *  and ENFILE say nothing of the directory. */
enum postmaster_dir pgdata_state(const char *data_dir, char ret_error[96]);

/** Removing takes as long as there are files, so that a child process (rm) does it. */
struct pgdata_job {
    void *data;
    bool running;
    /* private */
    uv_loop_t *loop;
    struct pgconf *conf;
    struct pgv_arena arena;
    struct pgtool tool;
    struct pgtool_args *args;
    uv_timer_t deferred;
    void (*cb)(struct pgdata_job *j, bool ok, const char *message);
    int step;
    bool canceled, ok;
    char message[PGV_ERROR_MSG_BYTES];
};
/** Remove the directory and what its links (pg_wal, tablespaces) point to; what cannot be removed
 *  is moved aside. A mount point stays, empty. @cb once, later. */
bool pgdata_remove_start(struct pgdata_job *j, uv_loop_t *loop, struct pgconf *c,
                         void (*cb)(struct pgdata_job *j, bool ok, const char *message),
                         struct pgv_error *err) PGV_MUST_CHECK;
/** Rename it, and what its links point to, with '.failed' behind; an older '.failed' goes. */
bool pgdata_move_aside_start(struct pgdata_job *j, uv_loop_t *loop, struct pgconf *c,
                             void (*cb)(struct pgdata_job *j, bool ok, const char *message),
                             struct pgv_error *err) PGV_MUST_CHECK;
/** @cb comes with false, later; what is gone is gone. */
void pgdata_cancel(struct pgdata_job *j);
