/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/backup.h - how far a base backup is, asked where it comes from. For members that do not tell.
 *
 * The leader is asked as the replication user of the configuration at hand, whose own backup it is
 * and to whom PostgreSQL therefore shows the figures (13 and newer). All of it is for display: what
 * fails is not tried again.
 */
#pragma once

#include "ctl/sql.h"
#include "dcs/cluster.h"

struct ctl_backup {
    /* private */
    struct ctl *c;
    struct ctl_sql_target target;
    char host[PGV_URL_BYTES];
    PGconn *conn;
    bool hopeless;
};

/** @leader may be NULL; it is borrowed for the call. Connects at the first look. */
void ctl_backup_init(struct ctl_backup *b, struct ctl *c, const struct dcs_member *leader);
/** The one backup that is under way there; false when there is none, more than one, or nobody to
 * ask.
 */
bool ctl_backup_look(struct ctl_backup *b, uint64_t *ret_bytes, uint64_t *ret_total);
void ctl_backup_done(struct ctl_backup *b);
