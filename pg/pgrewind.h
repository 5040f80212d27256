/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgrewind.h - has this node left the leader's history, and bringing it back: divergence
 * check, pg_rewind, crash recovery in single-user mode. Contract pg §17. Which of it is to be
 * done is decided elsewhere. Names are resolved through http/names.h, which must be open.
 */
#pragma once

#include "pg/control.h"
#include "pg/pgarchive.h"
#include "pg/pgfiles.h"
#include "pg/pghist.h"
#include "pg/pgremote.h"
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
 * that is 1). A former primary below the switch point is judged by where its shutdown checkpoint
 * record ends: with @end_known false *@ret_need_end is set then (ask pgwal_query_end() and call
 * again); an end of 0 says that it could not be found out.
 */
enum pgrewind_verdict pgrewind_judge(const struct pgrewind_local *local, uint32_t leader_timeline,
                                     const struct pghist *history, bool end_known,
                                     uint64_t checkpoint_end, bool *ret_need_end);
/**
 * Two nodes that were promoted without knowing of each other have given their timelines the same
 * number. What tells them apart is the first record of the timeline: it bears the time. How many
 * bytes from behind *@ret_lsn, the leader's begin of @local's timeline, both must have alike; 0:
 * this node has none of it, or the history does not tell.
 */
unsigned pgrewind_begin(const struct pgrewind_local *local, uint32_t leader_timeline,
                        const struct pghist *history, uint64_t *ret_lsn);

struct pgrewind_check_args {
    struct pgconf *conf;
    int major_version;
    struct pgrewind_local local;
    const char *leader_conn_url, *leader_name;
    enum pgv_role leader_role; /* as published; the judgement waits unless it is primary */
    bool leader_remote;        /* a standby cluster's source: its role is not published */
    uint64_t timeout_ms;       /* 0: 10 s */
};
struct pgrewind_check {
    void *data;
    bool running;
    /* private */
    uv_loop_t *loop;
    struct pgconf *conf;
    struct pgv_arena arena;
    struct pgremote sql, repl;
    struct pgwal_query wal;
    uv_timer_t deferred;
    void (*cb)(struct pgrewind_check *j, enum pgrewind_verdict verdict, const char *message);
    struct pgrewind_local local;
    struct pghist history;
    uint32_t leader_timeline;
    int major_version;
    uint64_t begin_lsn; /* of our timeline, as the leader tells it */
    unsigned begin_bytes;
    char command[512];
    bool canceled, ending, wal_busy;
    enum pgrewind_verdict verdict;
    char message[PGV_ERROR_MSG_BYTES];
};
/** @cb once, later; canceled or not to be found out now: PGREWIND_UNKNOWN. */
bool pgrewind_check_start(struct pgrewind_check *j, uv_loop_t *loop,
                          const struct pgrewind_check_args *args,
                          void (*cb)(struct pgrewind_check *j, enum pgrewind_verdict verdict,
                                     const char *message),
                          struct pgv_error *err) PGV_MUST_CHECK;
void pgrewind_check_cancel(struct pgrewind_check *j);

enum pgrewind_result {
    PGREWIND_DONE,
    PGREWIND_NOT_NOW, /* the leader is not ready or became unreachable: try again later, but see
                         that the control file is still readable */
    PGREWIND_FAILED,  /* will not get better by itself */
    PGREWIND_CANCELED,
};

struct pgrewind_args {
    struct pgconf *conf;
    int major_version, binary_version; /* the latter of pg_rewind; 0: unknown */
    const char *leader_conn_url, *leader_name;
    bool leader_checkpoint_known, leader_checkpoint_done;
    uint64_t timeout_ms; /* for questions to the leader (0: 10 s); the rewind itself has no limit */
};
/** The server is down. Archives ready WAL, asks the leader, rewinds, fetches missing WAL. */
struct pgrewind {
    void *data;
    char step[64];
    int percent;                 /* of what pg_rewind copies; -1: unknown */
    uint64_t bytes, bytes_total; /* the same; 0: unknown */
    bool running;
    void (*on_progress)(struct pgrewind *j); /* step or a figure changed; may be NULL */
    /* private */
    uv_loop_t *loop;
    struct pgconf *conf;
    struct pgv_arena arena;
    struct pgremote sql;
    struct pgtool tool;
    struct pgv_child child;
    struct pgarchive archive;
    uv_timer_t deferred;
    void (*cb)(struct pgrewind *j, enum pgrewind_result result, const char *message);
    struct pgdsn dsn; /* of the leader, with our credentials for rewinding */
    const char *restore_command, *public_dsn;
    const char *const *env;
    uint64_t timeout_ms;
    int major_version, binary_version;
    unsigned fetches;
    bool canceled, ending, in_child, in_tool, checkpoint_known, checkpoint_done, server_restores;
    bool super;          /* the credentials are the superuser's, who may CHECKPOINT */
    bool same_timeline;  /* pg_rewind takes both for one history and has done nothing */
    bool copying;        /* pg_rewind has begun to change the data directory */
    bool was_unfinished; /* so had one before it */
    enum pgrewind_result result;
    char missing[25], fetched[25], last_line[200];
    char leader[PGV_NAME_BYTES], message[PGV_ERROR_MSG_BYTES];
};
bool pgrewind_start(struct pgrewind *j, uv_loop_t *loop, const struct pgrewind_args *args,
                    void (*cb)(struct pgrewind *j, enum pgrewind_result result,
                               const char *message),
                    struct pgv_error *err) PGV_MUST_CHECK;
void pgrewind_cancel(struct pgrewind *j);

/**
 * A pg_rewind that ended in the midst of copying (killed, or its source lost) leaves a mixture of
 * two histories that looks like a data directory. A file in it says so from before the copying
 * until pg_rewind has done all of it; it survives us and the machine. Such a directory must not be
 * started: rewinding it again may repair it, a new copy does.
 */
bool pgrewind_is_unfinished(const struct pgconf *c);
/** Whoever still rewinds it was begun by an agent that was killed: SIGKILL for it. */
void pgrewind_end_left(const struct pgconf *c);
/** False: a disk of the data directory is as good as full, and @err says which. To be asked before
 *  the server is stopped. */
bool pgrewind_has_room(const struct pgconf *c, int major_version,
                       struct pgv_error *err) PGV_MUST_CHECK;

/** A line of pg_rewind's output that names a missing segment: its 24 characters, or false. */
bool pgrewind_missing_wal(struct pgv_str line, char ret[25]);

/** 17.7: replay after a crash in single-user mode, so that the control file says 'shut down'. */
struct pgcrash {
    void *data;
    bool running;
    /* private */
    uv_loop_t *loop;
    struct pgconf *conf;
    struct pgv_child child;
    struct pgarchive archive;
    uv_timer_t deferred;
    void (*cb)(struct pgcrash *j, bool ok, const char *message);
    int major_version;
    bool canceled, in_child, ok;
    char last_line[200], message[PGV_ERROR_MSG_BYTES];
};
/** Removes the recovery configuration; the next follow writes it again. */
bool pgcrash_start(struct pgcrash *j, uv_loop_t *loop, struct pgconf *c, int major_version,
                   void (*cb)(struct pgcrash *j, bool ok, const char *message),
                   struct pgv_error *err) PGV_MUST_CHECK;
void pgcrash_cancel(struct pgcrash *j);
/** 'name=value' of each option in the text of postmaster.opts that begins with '--'. */
void pgcrash_parse_opts(struct pgv_str text, struct pgtool_args *args);
