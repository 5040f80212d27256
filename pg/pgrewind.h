/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgrewind.h - has this node left the leader's history, and bringing it back: divergence
 * check, pg_rewind, crash recovery in single-user mode, archiving of what the old primary had
 * ready. Contract pg §17. Which of it is to be done is decided elsewhere.
 */
#pragma once

#include "http/names.h"
#include "pg/control.h"
#include "pg/pgfiles.h"
#include "pg/pghist.h"
#include "pg/pgsql.h"
#include "pg/pgwal.h"

/** Where this node stands; timeline 0: not known. */
struct pgrewind_local {
    uint32_t timeline;
    uint64_t lsn;
    bool in_recovery; /* stands as a standby; else ended with a shutdown checkpoint at @lsn */
};
/** 17.4 for a server that is down (or starting). */
void pgrewind_local_from_control(const struct pm_control *control, struct pgrewind_local *ret);

enum pgrewind_verdict { PGREWIND_NEED, PGREWIND_NOT_NEEDED, PGREWIND_UNKNOWN };

/**
 * 17.3 step 4 and 5, pure. @history is the leader's (of its timeline @leader_timeline; NULL when
 * that is 1). Former primary: @checkpoint_end is where its shutdown checkpoint record ends (0:
 * unknown, which only matters when *@ret_need_end is set: then ask pgwal_query_end() and call
 * again).
 */
enum pgrewind_verdict pgrewind_judge(const struct pgrewind_local *local, uint32_t leader_timeline,
                                     const struct pghist *history, bool end_known,
                                     uint64_t checkpoint_end, bool *ret_need_end);

/** A connection to another node with its names resolved; shared by the jobs below. */
struct pgrewind_remote {
    /* private */
    struct pgsql sql;
    struct names_query names;
    struct pgsql_query query;
    void (*cb)(struct pgrewind_remote *r, const PGresult *res, const struct pgv_error *err);
    void (*close_cb)(struct pgrewind_remote *r);
    void *owner;
    const char *text;
    struct pgv_arena arena;
    struct pgdsn dsn;
    char hosts[8][256];
    char hostaddr[8 * 48];
    unsigned n_hosts, host;
    uint64_t deadline_ms;
    int version;
    bool resolved, open, canceled;
};

struct pgrewind_check_args {
    struct pgconf *conf;
    int major_version;
    struct pgrewind_local local;
    const char *leader_conn_url, *leader_name;
    enum pgv_role leader_role; /* as published; the judgement waits unless it is primary */
    bool leader_remote;        /* a standby cluster's source: its role is not published */
    uint64_t timeout_ms;
};
struct pgrewind_check {
    void *data;
    bool running;
    /* private */
    uv_loop_t *loop;
    struct pgconf *conf;
    struct pgv_arena arena;
    struct pgrewind_remote sql, repl;
    struct pgwal_query wal;
    uv_timer_t deferred;
    void (*cb)(struct pgrewind_check *j, enum pgrewind_verdict verdict, const char *message);
    struct pgrewind_local local;
    struct pghist history;
    uint32_t leader_timeline;
    uint64_t deadline_ms;
    int major_version, step;
    unsigned open;
    bool canceled, wal_busy;
    enum pgrewind_verdict verdict;
    char message[PGV_ERROR_MSG_BYTES];
};
/** @cb once, later; canceled: PGREWIND_UNKNOWN. */
bool pgrewind_check_start(struct pgrewind_check *j, uv_loop_t *loop,
                          const struct pgrewind_check_args *args,
                          void (*cb)(struct pgrewind_check *j, enum pgrewind_verdict verdict,
                                     const char *message),
                          struct pgv_error *err) PGV_MUST_CHECK;
void pgrewind_check_cancel(struct pgrewind_check *j);

enum pgrewind_result {
    PGREWIND_DONE,
    PGREWIND_NOT_NOW, /* the leader is not ready (checkpoint, reachability): try again later */
    PGREWIND_FAILED,  /* will not get better by itself */
    PGREWIND_CANCELED,
};

struct pgrewind_args {
    struct pgconf *conf;
    int major_version, binary_version;
    const char *leader_conn_url, *leader_name;
    bool leader_checkpoint_known, leader_checkpoint_done;
    uint64_t timeout_ms; /* for questions to the leader; the rewind itself has no limit */
};
/** The server is down. Archives ready WAL, asks the leader, rewinds, fetches missing WAL. */
struct pgrewind {
    void *data;
    char step[64];
    int percent; /* of what pg_rewind copies; -1: unknown */
    bool running;
    void (*on_progress)(struct pgrewind *j);
    /* private */
    uv_loop_t *loop;
    struct pgconf *conf;
    struct pgv_arena arena;
    struct pgrewind_remote sql;
    struct pgtool tool;
    struct pgv_child child;
    uv_timer_t deferred;
    void (*cb)(struct pgrewind *j, enum pgrewind_result result, const char *message);
    struct pgarchive *archive;
    const char *restore_command, *last_missing, *dsn;
    const char *const *env;
    uint64_t deadline_ms;
    int major_version, binary_version, phase, exit_status;
    unsigned fetches, open;
    bool canceled, checkpoint_known, checkpoint_done, server_side_restore;
    enum pgrewind_result result;
    char leader[PGV_NAME_BYTES], message[PGV_ERROR_MSG_BYTES];
};
bool pgrewind_start(struct pgrewind *j, uv_loop_t *loop, const struct pgrewind_args *args,
                    void (*cb)(struct pgrewind *j, enum pgrewind_result result,
                               const char *message),
                    struct pgv_error *err) PGV_MUST_CHECK;
void pgrewind_cancel(struct pgrewind *j);

/** The missing segment in pg_rewind's output: 24 characters into @ret, or false. */
bool pgrewind_missing_wal(struct pgv_str err_out, struct pgv_str out, char ret[25]);

/** 17.7: replay after a crash in single-user mode, so that the control file says 'shut down'. */
struct pgcrash {
    void *data;
    bool running;
    /* private */
    uv_loop_t *loop;
    struct pgconf *conf;
    struct pgv_arena arena;
    struct pgv_child child;
    uv_timer_t deferred;
    void (*cb)(struct pgcrash *j, bool ok, const char *message);
    struct pgarchive *archive;
    int major_version;
    unsigned open;
    bool canceled, ok;
    char message[PGV_ERROR_MSG_BYTES];
};
bool pgcrash_start(struct pgcrash *j, uv_loop_t *loop, struct pgconf *c, int major_version,
                   void (*cb)(struct pgcrash *j, bool ok, const char *message),
                   struct pgv_error *err) PGV_MUST_CHECK;
void pgcrash_cancel(struct pgcrash *j);
/** The '--name=value' options of a postmaster.opts text, in @args. */
struct pgtool_args;
void pgcrash_parse_opts(struct pgv_str text, struct pgtool_args *args);
