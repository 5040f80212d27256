/* SPDX-License-Identifier: PostgreSQL */
/* pg/pgdata.h - the data directory as a whole: what it is, removing it, moving it aside. §20. */
#pragma once

#include "pg/pgconf.h"
#include "pg/postmaster.h"

/** PG_VERSION as 90600 or 150000; 0 when missing or unreadable. */
int pgdata_major_version(const char *data_dir);
/** Empty: absent, without entries, or holding nothing but what a fresh file system has
 *  (lost+found, hidden files). @ret_error: why it is unreadable. */
enum postmaster_dir pgdata_state(const char *data_dir, char ret_error[96]);
/** Remove it and what its links (pg_wal, tablespaces) point to. */
bool pgdata_remove(const struct pgconf *c, struct pgv_error *err) PGV_MUST_CHECK;
/** Rename it, and what its links point to, with '.failed' behind. Failures are logged. */
void pgdata_move_aside(const struct pgconf *c);
