/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/postmaster.h - the supervised PostgreSQL server: what is known about it, and what is done to
 * it.
 *
 * Facts change by themselves (the process ends, a query answers) and are reported through
 * on_change. Deeds are jobs: one at a time, each a small state machine over child processes and
 * queries, with a deadline, a cancel and a progress figure. Stopping is always allowed and cancels
 * whatever else runs: fencing comes first. Nothing here decides; agent/ha does.
 */
#pragma once

#include "base/vocabulary.h"

#include <sys/types.h>
#include <uv.h>

struct postmaster;

/** 'Database cluster state' of pg_controldata. */
enum postmaster_control_state {
    PM_CONTROL_UNKNOWN = 0, /* not read, or unreadable */
    PM_CONTROL_STARTING_UP,
    PM_CONTROL_SHUT_DOWN,
    PM_CONTROL_SHUT_DOWN_IN_RECOVERY,
    PM_CONTROL_SHUTTING_DOWN,
    PM_CONTROL_IN_CRASH_RECOVERY,
    PM_CONTROL_IN_ARCHIVE_RECOVERY,
    PM_CONTROL_IN_PRODUCTION,
};

enum postmaster_dir { PM_DIR_UNREADABLE, PM_DIR_EMPTY, PM_DIR_OK };

/** What is known now. Flat, so that it can be copied into the decision core and recorded. */
struct postmaster_facts {
    enum pgv_state state;
    uint64_t state_since_ms;
    enum pgv_role role;
    bool alive;     /* a postmaster process of ours lives */
    pid_t pid;      /* 0 when not */
    bool accepting; /* accepts connections, as far as known */
    enum postmaster_dir dir;
    char dir_error[96];  /* for PM_DIR_UNREADABLE */
    char sysid[24];      /* of the data directory; empty: unknown */
    int major_version;   /* 150000; 0 unknown */
    int server_version;  /* 150008; of the running server, else of the binaries, else 0 */
    bool standby_signal; /* standby.signal, recovery.signal or recovery.conf is there */
    bool backup_label;
    bool announced;       /* a start-type callback has fired in this process */
    bool rewind_possible; /* use_pg_rewind, binary works, checksums or wal_log_hints on */
    bool pending_restart;

    /* control file; kept fresh while the server is down and after each shutdown */
    enum postmaster_control_state control_state;
    uint32_t control_timeline;
    uint64_t control_checkpoint;

    /* the last look (monitoring query); valid when look_ok */
    bool look_ok;
    uint64_t look_ms;  /* when the answer came; 0: never */
    bool look_timeout; /* the server is there but did not answer in time */
    bool in_recovery;
    uint32_t timeline; /* primary: current; standby: receiver's, else of IDENTIFY_SYSTEM */
    uint64_t wal_lsn;  /* primary: flush position; standby: max(receive, replay) */
    uint64_t receive_lsn, replay_lsn;
    bool replay_paused, streaming, in_archive_recovery;
    int64_t start_time_wall_us; /* pg_postmaster_start_time(); 0 unknown */
};

/** Whom to follow, or where to clone from. */
struct postmaster_node {
    char name[PGV_NAME_BYTES];    /* empty: nobody */
    char conn_url[PGV_URL_BYTES]; /* empty: no address (follow nobody, clone without source) */
    bool leader_checkpoint_known, leader_checkpoint_done; /* for rewind */
    enum pgv_role role;                                   /* as published */
    bool is_leader;                                       /* it holds the leader key */
};

enum postmaster_job {
    PM_JOB_NONE = 0,
    PM_JOB_BOOTSTRAP,      /* initdb or custom script, first start */
    PM_JOB_POST_BOOTSTRAP, /* users, scripts, configuration after bootstrap */
    PM_JOB_CLONE,          /* replica creation from node, or without source */
    PM_JOB_START,          /* write configuration for role and node, start, wait until accepting */
    PM_JOB_STOP,
    PM_JOB_RESTART,
    PM_JOB_PROMOTE,          /* pre_promote, promote, wait until in production */
    PM_JOB_FOLLOW,           /* running standby: new upstream, by reload or restart as needed */
    PM_JOB_CRASH_RECOVERY,   /* single-user mode */
    PM_JOB_CHECK_DIVERGENCE, /* against node: outcome YES (rewind needed) or NO or UNKNOWN */
    PM_JOB_REWIND,
    PM_JOB_REMOVE_DATA,     /* the data directory and what its links point to */
    PM_JOB_MOVE_DATA_ASIDE, /* '.failed', after a failed bootstrap */
};

enum postmaster_outcome {
    PM_DONE,    /* did what it should; CHECK_DIVERGENCE: needs a rewind */
    PM_NO,      /* CHECK_DIVERGENCE: not needed */
    PM_UNKNOWN, /* could not find out, or not now: try again later (START: still starting when the
                   time was up; REWIND: leader not ready) */
    PM_FAILED,
    PM_CANCELED,
};

enum postmaster_stop_mode { PM_STOP_FAST, PM_STOP_IMMEDIATE, PM_STOP_SMART };

struct postmaster_job_args {
    enum postmaster_job job;
    /* START, FOLLOW, CLONE, CHECK_DIVERGENCE, REWIND */
    enum pgv_role role; /* START: PRIMARY takes configured values as they are */
    struct postmaster_node node;
    uint64_t timeout_ms; /* START, RESTART: to accept connections; 0: pg_ctl_timeout.
                            PROMOTE: to be seen in production */
    bool from_leader;    /* CLONE: only basebackup */
    /* STOP */
    enum postmaster_stop_mode mode;
    bool checkpoint_first;           /* CHECKPOINT before the signal */
    bool demote;                     /* role becomes 'demoted' when it was primary */
    bool report_shutdown_checkpoint; /* call on_shutdown_checkpoint as soon as it is written */
    uint64_t stop_timeout_ms;        /* escalate to immediate, then KILL; 0: wait for ever */
    uint64_t immediate_at_ms; /* clock moment to escalate to immediate whatever happens; 0: never */
};

/** Why a parameter waits for a restart. */
struct postmaster_pending {
    char name[64], old_value[256], new_value[256];
};
#define POSTMASTER_PENDING_MAX 32

#define POSTMASTER_SLOTS_MAX 64
struct postmaster_slot { /* a slot that should exist (physical) */
    char name[PGV_SLOT_NAME_BYTES];
    uint64_t lsn;           /* advance to it; 0: unknown */
    int8_t expected_active; /* 1 yes, 0 no, -1 nothing said */
};
struct postmaster_slot_state { /* a slot that does exist */
    char name[PGV_SLOT_NAME_BYTES];
    bool physical;
    uint64_t lsn; /* restart_lsn, or confirmed_flush_lsn of a logical one */
};

/** Answer of the REST status query (rest contract §4.2); flat. */
struct postmaster_status {
    bool ok;
    int server_version;
    bool in_recovery;
    char start_time[48]; /* 'YYYY-MM-DD HH:MM:SS.ffffff+00:00' */
    double start_epoch;
    uint32_t timeline; /* primary; standby: facts.timeline */
    uint64_t location;
    uint64_t received_location, replayed_location;
    bool replayed_null, paused;
    char replayed_timestamp[48]; /* empty: null */
    double replayed_epoch;
    uint64_t latest_end_lsn;    /* 0: none */
    char replication_state[24]; /* "", "streaming", "in archive recovery" */
    struct pgv_buf
        *replication_json; /* array text or NULL; owned by the postmaster, valid in the callback */
};

struct postmaster_status_req {
    void *data;
    void (*cb)(struct postmaster_status_req *r, const struct postmaster_status *st);
    /* private */
    struct postmaster_status_req *next;
};

struct postmaster_config {
    const char *name, *scope;
    const struct pgv_value
        *postgresql; /* effective section with role overrides applied; borrowed until replaced */
    const struct pgv_value *bootstrap; /* local bootstrap section or NULL; borrowed */
    uint64_t retry_timeout_ms, loop_wait_ms;
    bool has_config_key; /* slots are only managed then */
};

struct postmaster {
    void *data;
    struct postmaster_facts facts;
    enum postmaster_job job; /* in flight */
    uint64_t job_since_ms;
    char job_step[64]; /* for people: 'copying base backup' */
    int job_percent;   /* -1: unknown */
    unsigned n_pending;
    struct postmaster_pending pending[POSTMASTER_PENDING_MAX];
    char conn_url[PGV_URL_BYTES], proxy_url[PGV_URL_BYTES]; /* what the member key publishes */

    /** Facts or pending changed. May be called often; never inside a call of the owner. */
    void (*on_change)(struct postmaster *pm);
    /** The job ended. @message is one line for the log. A new job may be started in here. */
    void (*on_job_end)(struct postmaster *pm, enum postmaster_job job,
                       enum postmaster_outcome outcome, const char *message);
    /** The shutdown checkpoint stands in the control file while the postmaster still serves its
     *  WAL senders. @prev_lsn: the end that a standby must have, see contract pg §9.3. */
    void (*on_shutdown_checkpoint)(struct postmaster *pm, uint64_t checkpoint_lsn,
                                   uint64_t prev_lsn);
    /** A callback script is due: on_start, on_stop, on_restart, on_reload, on_role_change. */
    void (*on_callback)(struct postmaster *pm, const char *action, enum pgv_role role);
    /* private */
    struct postmaster_impl *impl;
};

/** Reads the data directory, attaches to a running server. Fails on unusable configuration only. */
bool postmaster_open(struct postmaster *pm, uv_loop_t *loop, const struct postmaster_config *config,
                     struct pgv_error *err) PGV_MUST_CHECK;
/** Cancels a job; the server itself is left as it is. */
void postmaster_close(struct postmaster *pm, void (*cb)(struct postmaster *pm));
/** New effective configuration: write files, reload, find out what needs a restart. The outcome is
 *  seen in pending and the log. @sighup: rewrite and reload even if nothing changed. */
bool postmaster_reconfigure(struct postmaster *pm, const struct postmaster_config *config,
                            bool sighup, struct pgv_error *err) PGV_MUST_CHECK;

/** Take a fresh look (monitoring query, process, data directory); on_look comes once, later, with
 *  facts updated. A second call while one is under way shares it. */
void postmaster_look(struct postmaster *pm, void (*on_look)(struct postmaster *pm));
/** Timeline the leader publishes: when it differs from ours the next look asks IDENTIFY_SYSTEM
 * again. */
void postmaster_set_leader_timeline(struct postmaster *pm, uint32_t timeline);

/** False (PGV_ECONFLICT) when another job runs — except STOP, which cancels it and begins. */
bool postmaster_job_start(struct postmaster *pm, const struct postmaster_job_args *args,
                          struct pgv_error *err) PGV_MUST_CHECK;
void postmaster_job_cancel(struct postmaster *pm); /* ends as PM_CANCELED, later */
const char *postmaster_job_name(enum postmaster_job job);

/** Is the recovery configuration what following @node needs? Asked after a look; no job needed. */
enum postmaster_follow { PM_FOLLOW_OK, PM_FOLLOW_RELOAD, PM_FOLLOW_RESTART };
void postmaster_check_follow(struct postmaster *pm, const struct postmaster_node *node,
                             void (*cb)(struct postmaster *pm, enum postmaster_follow answer));

/** CHECKPOINT in the background after a promotion; @cb with success. One at a time. */
void postmaster_checkpoint(struct postmaster *pm, void (*cb)(struct postmaster *pm, bool ok));
/** Make the slots be as wanted (@drop_others: not while paused). Ignored while one is under way. */
void postmaster_sync_slots(struct postmaster *pm, const struct postmaster_slot *wanted, unsigned n,
                           bool drop_others, void (*cb)(struct postmaster *pm, bool ok));
/** What exists, as of the last sync: for the status key. */
unsigned postmaster_slots(const struct postmaster *pm, struct postmaster_slot_state *ret,
                          unsigned max);

/** REST status: identical requests in flight share one query. Always answered within 3 s. */
void postmaster_status(struct postmaster *pm, struct postmaster_status_req *r,
                       void (*cb)(struct postmaster_status_req *r,
                                  const struct postmaster_status *st));
void postmaster_status_cancel(struct postmaster *pm, struct postmaster_status_req *r);

/** Local timeline history as JSON lines for the history key: [tl, lsn, reason] triples, plus the
 *  file's time for the newest; NULL when there is none (timeline 1) or it cannot be read. */
struct pgv_value *postmaster_history(struct postmaster *pm, struct pgv_arena *a, uint32_t timeline,
                                     int64_t *ret_file_wall_us);
/** The data directory (for patroni.dynamic.json) and the mode of files in it. */
const char *postmaster_data_dir(const struct postmaster *pm);
unsigned postmaster_file_mode(const struct postmaster *pm);
