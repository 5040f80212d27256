/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgslots.h - physical replication slots: making those that exist be those that are wanted.
 * Contract pg §18. Logical slots are read, for publishing, and left alone.
 */
#pragma once

#include "pg/pgsql.h"
#include "pg/postmaster.h"

/** ignore_slots: a slot that matches is never touched. Empty fields match everything. */
struct pgslots_ignore {
    char name[PGV_SLOT_NAME_BYTES], database[PGV_SLOT_NAME_BYTES], plugin[PGV_SLOT_NAME_BYTES];
    bool type_given, physical;
};
#define PGSLOTS_IGNORE_MAX 16

/** A row of pg_replication_slots as we use it. */
struct pgslots_row {
    struct postmaster_slot_state state;
    char database[PGV_SLOT_NAME_BYTES], plugin[PGV_SLOT_NAME_BYTES];
    bool has_lsn, has_xmin, lost;
};

struct pgslots {
    void *data;
    bool loaded;
    unsigned n;
    struct pgslots_row v[POSTMASTER_SLOTS_MAX]; /* as of the last load */
    /* private */
    struct pgsql *sql;
    struct pgsql_query query;
    void (*cb)(struct pgslots *s, bool ok);
    struct postmaster_slot wanted[POSTMASTER_SLOTS_MAX];
    struct pgslots_ignore ignore[PGSLOTS_IGNORE_MAX];
    unsigned n_wanted, n_ignore, at;
    int version, step;
    uint64_t fresh_until_ms; /* what the monitoring query brought along counts as loaded */
    bool busy, drop_others, may_clean, changed, failed, asked;
    char name[PGV_SLOT_NAME_BYTES], lsn[24]; /* parameters of the statement under way */
};

struct pgslots_args {
    int version;                          /* of the server */
    const struct postmaster_slot *wanted; /* copied */
    unsigned n_wanted;
    const struct pgslots_ignore *ignore; /* copied */
    unsigned n_ignore;
    bool drop_others; /* not while paused */
    bool clean_xmin;  /* the cluster has a leader, and it is not me or I am primary: slots that are
                         expected inactive and hold an xmin are dropped and made anew */
};
/** @sql belongs to the owner and is used for one statement after the other. */
void pgslots_init(struct pgslots *s, struct pgsql *sql);
#define PGSLOTS_SQL_BYTES 640
/** A column for the monitoring query: all slots as JSON, from 9.4. */
void pgslots_sql(int version, char ret[PGSLOTS_SQL_BYTES]);
/** What that column held; the empty text: no slots. Takes the place of the next sync's load, if that
 *  comes within a second. Nothing is done while a sync is under way. */
void pgslots_take(struct pgslots *s, struct pgv_str json);
/** Load, drop, create, advance. False and nothing done when one is under way or before 9.4.
 *  @cb once, perhaps in here, when nothing was to be asked; ok is false when the server could not be
 *  asked or refused something. */
bool pgslots_sync(struct pgslots *s, const struct pgslots_args *args,
                  void (*cb)(struct pgslots *s, bool ok));
/** @cb comes with false, later. */
void pgslots_cancel(struct pgslots *s);
