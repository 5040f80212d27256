/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/cluster.h - what a cluster looks like in a DCS: the typed view of its keys.
 *
 * struct dcs_cluster is flat (bounded arrays, no pointers that matter to decisions), so the
 * decision core can copy, compare and record it. struct dcs_snapshot adds the documents it was
 * read from, for those who show or edit them. Source of all facts: Patroni 4.1's key space.
 */
#pragma once

#include "base/vocabulary.h"

#define DCS_MEMBERS_MAX 32 /* further members are logged and left out */
#define DCS_SLOTS_MAX 64
#define DCS_SYNC_NAMES_MAX 16
#define DCS_GROUPS_MAX 64 /* further groups are left out */
#define DCS_VERSION_BYTES                                                                          \
    24 /* the compare-and-swap token of a key: a decimal text in every store */

/** 'status.slots' and the like: name and position. */
struct dcs_slot_lsn {
    char name[PGV_SLOT_NAME_BYTES];
    uint64_t lsn;
};

struct dcs_member {
    char name[PGV_NAME_BYTES];
    char version[DCS_VERSION_BYTES]; /* compare-and-swap token */
    char session[DCS_VERSION_BYTES]; /* lease that owns the key; empty: none */
    char conn_url[PGV_URL_BYTES];    /* empty: unknown */
    char api_url[PGV_URL_BYTES];     /* empty: unknown */
    enum pgv_state state;
    enum pgv_role role;
    struct pgv_tags tags;
    uint64_t xlog_location; /* bytes; 0: unknown */
    uint64_t receive_lsn, replay_lsn;
    uint32_t timeline;     /* 0: unknown */
    int agent_version;     /* 40105 for "4.1.5"; 0: unknown */
    bool checkpoint_done;  /* a primary whose post-promote checkpoint is confirmed (see below) */
    bool checkpoint_known; /* the version is new enough to tell */
    bool streaming, in_archive_recovery; /* replication_state */
    bool pause, pending_restart, has_scheduled_restart;
    const struct pgv_value *data; /* the document, owned by the snapshot; NULL in copies */
};

enum dcs_initialize { DCS_INIT_ABSENT, DCS_INIT_BOOTSTRAPPING, DCS_INIT_SYSID, DCS_INIT_GARBAGE };

struct dcs_failover {
    bool exists;  /* the key is there, whatever it says */
    bool present; /* it names a leader or a candidate */
    char version[DCS_VERSION_BYTES];
    char leader[PGV_NAME_BYTES], candidate[PGV_NAME_BYTES]; /* empty: not named */
    bool scheduled;                                         /* a scheduled_at text is there */
    bool schedule_valid, schedule_has_zone;
    int64_t scheduled_wall_us;
    int schedule_offset_s;
    char schedule_text[64];
};

struct dcs_sync {
    bool exists;
    bool garbage; /* there, but unreadable: the state counts as empty, yet nobody may conclude from
                     it that an asynchronous standby may be promoted */
    char version[DCS_VERSION_BYTES];
    char leader[PGV_NAME_BYTES]; /* empty: the state is empty */
    int quorum;
    unsigned n;
    char voters[DCS_SYNC_NAMES_MAX][PGV_NAME_BYTES];
};

struct dcs_cluster {
    bool empty; /* nothing at all under the prefix */

    enum dcs_initialize initialize;
    char initialize_text[24];                   /* the system identifier when it is one */
    char initialize_version[DCS_VERSION_BYTES]; /* empty: absent */

    bool config_valid; /* a JSON object */
    bool config_exists;
    bool config_empty;                      /* '{}' */
    char config_version[DCS_VERSION_BYTES]; /* empty: absent or garbage */

    bool has_leader; /* leader key there and its name not empty */
    char leader[PGV_NAME_BYTES];
    char leader_version[DCS_VERSION_BYTES];
    char leader_session[DCS_VERSION_BYTES];

    bool status_exists;     /* the status key is there, readable or not */
    uint64_t status_optime; /* bytes; 0: unknown. From optime/leader when there is no status */
    unsigned n_status_slots;
    struct dcs_slot_lsn status_slots[DCS_SLOTS_MAX];
    unsigned n_retain_slots;
    char retain_slots[DCS_SLOTS_MAX][PGV_SLOT_NAME_BYTES];

    unsigned n_members;
    struct dcs_member members[DCS_MEMBERS_MAX]; /* ordered by name */

    struct dcs_failover failover;
    struct dcs_sync sync;

    bool history_exists;
    unsigned history_lines;
    uint32_t history_timeline; /* the cluster timeline: last line + 1; '[]' is 1; unknown is 0 */
    uint32_t history_last_tl;  /* timeline of the last line, 0 when none */
    unsigned history_last_fields;

    bool failsafe_exists;  /* an object */
    bool failsafe_garbage; /* there, but not all of it could be read: rely on it for nothing */
    unsigned n_failsafe;
    struct {
        char name[PGV_NAME_BYTES];
        char api_url[PGV_URL_BYTES];
    } failsafe[DCS_MEMBERS_MAX];
};

/** The documents behind a view; owned by whoever read it. */
struct dcs_snapshot {
    struct dcs_cluster cluster;
    const struct pgv_value *config;  /* the object, NULL when absent or garbage */
    const struct pgv_value *history; /* the array, NULL when absent or garbage */
    const struct pgv_value *failover, *sync, *status, *failsafe; /* parsed documents or NULL */
    const char *initialize_garbage; /* DCS_INIT_GARBAGE: the key as it stands, for people.
                                       NULL also for want of memory */
    struct pgv_arena arena;         /* owns all of the above and the members' data */
    uint64_t read_ms;               /* pgv_clock_ms() when the store answered */
    int64_t read_wall_us;
    uint64_t revision; /* of the store, for logs */
    /** Groups of a Citus cluster whose keys stand in folders below, in the store's order. */
    unsigned n_groups;
    int64_t groups[DCS_GROUPS_MAX];
    bool failed; /* memory ran out while it was built: it must not be used as a view */
};

#define DCS_VALUE_BYTES_MAX (1u << 20)     /* a longer value is corrupt */
#define DCS_SNAPSHOT_BYTES_MAX (64u << 20) /* of all documents once parsed */

void dcs_snapshot_init(struct dcs_snapshot *s);
/** The same of one that is zero or was filled before: what was never written stays so. */
void dcs_snapshot_reset(struct dcs_snapshot *s);
void dcs_snapshot_done(struct dcs_snapshot *s);

/**
 * Put one key into a snapshot under construction: @key relative to the cluster's prefix
 * ("members/n1"). A corrupt value is logged, leaves its part unknown and is never an error;
 * unknown keys are ignored. @version and @session may be empty. Call dcs_snapshot_finish() last.
 */
void dcs_snapshot_put(struct dcs_snapshot *s, struct pgv_str key, struct pgv_str value,
                      const char *version, const char *session);
/** Order members, derive what depends on several keys. */
void dcs_snapshot_finish(struct dcs_snapshot *s);

const struct dcs_member *dcs_find_member(const struct dcs_cluster *c, const char *name);
/** The leader's member entry; NULL when its key is missing or there is no leader. */
const struct dcs_member *dcs_leader_member(const struct dcs_cluster *c);
/** Case-insensitive, as everywhere for the sync key; false when the state is empty. */
bool dcs_sync_matches(const struct dcs_sync *s, const char *name, bool with_leader);

/** '/service/main/' from namespace and scope, slashes squeezed, with the trailing slash. */
bool dcs_prefix(const char *name_space, const char *scope, char *ret,
                size_t ret_bytes) PGV_MUST_CHECK;

/**
 * A member's conn_url apart: 'postgres://host:port/db', also with IPv6 brackets and user info. The
 * host comes without brackets and in lower case, the port defaults to 5432, @ret_dbname (may be
 * NULL) is the path without its first slash. False when it is no such URL or names no host.
 */
bool dcs_conn_url_parse(const char *url, char *ret_host, size_t host_bytes, int *ret_port,
                        char *ret_dbname, size_t dbname_bytes) PGV_MUST_CHECK;

/** Documents we write, compact JSON. */
bool dcs_write_failover(struct pgv_buf *b, const char *leader, const char *candidate,
                        const char *scheduled_at);
bool dcs_write_status(struct pgv_buf *b, uint64_t optime, const struct dcs_slot_lsn *slots,
                      unsigned n_slots, const char (*retain)[PGV_SLOT_NAME_BYTES],
                      unsigned n_retain);

/**
 * The cluster as GET /cluster and 'list' show it (rest contract §6): members sorted by name, pause,
 * scheduled_switchover, scope. @config may be NULL. Built in @a; NULL when it does not fit.
 */
struct pgv_value *dcs_cluster_to_json(struct pgv_arena *a, const struct dcs_snapshot *s,
                                      const struct pgv_value *config, const char *scope);
