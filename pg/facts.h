/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/facts.h - the flat words between the supervised server and those who decide: what is known
 * about it, what may be done to it, how that ended. No pointers, no library types.
 */
#pragma once

#include "base/vocabulary.h"

#include <sys/types.h>

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

enum postmaster_dir {
    PM_DIR_UNREADABLE,
    PM_DIR_EMPTY,      /* or a copy of another node that was not finished: of no use to anybody */
    PM_DIR_OK,
    PM_DIR_UNFINISHED, /* a new cluster whose making was broken off: to be moved aside */
};

/** What the owner says of a bootstrap, one line for the agent that finds it broken off. */
#define POSTMASTER_TOKEN_BYTES 64

/** What is known now. Flat, so that it can be copied into the decision core and recorded. */
struct postmaster_facts {
    enum pgv_state state;
    uint64_t state_since_ms;
    enum pgv_role role;
    bool alive;                  /* a postmaster process of ours lives */
    pid_t pid;                   /* 0 when not */
    bool accepting;              /* accepts connections, as far as known */
    enum postmaster_dir dir;
    char dir_error[96];          /* for PM_DIR_UNREADABLE */
    char sysid[24];              /* of the data directory; empty: unknown */
    int major_version;           /* 150000; 0 unknown */
    int server_version;          /* 150008; of the running server, else of the binaries, else 0 */
    bool standby_signal;         /* standby.signal, recovery.signal or recovery.conf is there */
    bool backup_label;
    bool announced;              /* a start-type callback has fired in this process */
    bool rewind_possible;        /* use_pg_rewind, binary works, checksums or wal_log_hints on */
    bool pending_restart;

    /* control file; kept fresh while the server is down and after each shutdown */
    enum postmaster_control_state control_state;
    uint32_t control_timeline;
    uint64_t control_checkpoint;

    /* the last look (monitoring query); valid when look_ok */
    bool look_ok;
    uint64_t look_ms;            /* when the answer came; 0: never */
    bool look_timeout;           /* the server is there but did not answer in time */
    bool in_recovery;
    uint32_t timeline;           /* primary: current; standby: receiver's, else of IDENTIFY_SYSTEM */
    uint64_t wal_lsn;            /* primary: flush position; standby: max(receive, replay) */
    uint64_t receive_lsn, replay_lsn;
    bool replay_paused, streaming, in_archive_recovery;
    int64_t start_time_wall_us;  /* pg_postmaster_start_time(); 0 unknown */
};

/** Whom to follow, or where to clone from. */
struct postmaster_node {
    char name[PGV_NAME_BYTES];       /* empty: nobody */
    char conn_url[PGV_URL_BYTES];    /* empty: no address (follow nobody, clone without source) */
    bool leader_checkpoint_known, leader_checkpoint_done; /* for rewind */
    enum pgv_role role;              /* as published */
    bool is_leader;                  /* it holds the leader key */
};

enum postmaster_job {
    PM_JOB_NONE = 0,
    PM_JOB_BOOTSTRAP,        /* initdb or custom script, first start */
    PM_JOB_POST_BOOTSTRAP,   /* users, scripts, configuration after bootstrap. Its on_start is the
                                owner's to run, once he leads: it counts as announced */
    PM_JOB_CLONE,            /* replica creation from node, or without source */
    PM_JOB_START,            /* write configuration for role and node, start, wait until accepting */
    PM_JOB_STOP,
    PM_JOB_RESTART,
    PM_JOB_PROMOTE,          /* pre_promote, promote, wait until in production */
    PM_JOB_FOLLOW,           /* running standby: new upstream, by reload or restart as needed */
    PM_JOB_CRASH_RECOVERY,   /* single-user mode */
    PM_JOB_CHECK_DIVERGENCE, /* against node: outcome YES (rewind needed) or NO or UNKNOWN */
    PM_JOB_REWIND,
    PM_JOB_REMOVE_DATA,      /* the data directory and what its links point to */
    PM_JOB_MOVE_DATA_ASIDE,  /* '.failed', after a failed bootstrap */
};

enum postmaster_outcome {
    PM_DONE,      /* did what it should; CHECK_DIVERGENCE: needs a rewind */
    PM_NO,        /* CHECK_DIVERGENCE: not needed */
    PM_UNKNOWN,   /* could not find out, or not now: try again later (START: still starting when the
                     time was up; REWIND: leader not ready) */
    PM_FAILED,
    PM_CANCELED,
};

enum postmaster_stop_mode { PM_STOP_FAST, PM_STOP_IMMEDIATE, PM_STOP_SMART };

struct postmaster_job_args {
    enum postmaster_job job;
    /* START, FOLLOW, CLONE, CHECK_DIVERGENCE, REWIND */
    enum pgv_role role;              /* START: PRIMARY takes configured values as they are */
    struct postmaster_node node;
    uint64_t timeout_ms;             /* START, RESTART: to accept connections; 0: pg_ctl_timeout.
                                        PROMOTE: to be seen in production */
    bool from_leader;                /* CLONE: only basebackup */
    /* STOP */
    enum postmaster_stop_mode mode;
    bool checkpoint_first;           /* CHECKPOINT before the signal */
    bool demote;                     /* role becomes 'demoted' when it was primary */
    bool report_shutdown_checkpoint; /* call on_shutdown_checkpoint as soon as it is written */
    uint64_t stop_timeout_ms;        /* escalate to immediate, then KILL; 0: wait for ever */
    uint64_t immediate_at_ms;        /* clock moment to escalate to immediate whatever happens; 0: never */
};

#define POSTMASTER_SLOTS_MAX 64
struct postmaster_slot {             /* a slot that should exist (physical) */
    char name[PGV_SLOT_NAME_BYTES];
    uint64_t lsn;                    /* advance to it; 0: unknown */
    int8_t expected_active;          /* 1 yes, 0 no, -1 nothing said */
};
struct postmaster_slot_state {       /* a slot that does exist */
    char name[PGV_SLOT_NAME_BYTES];
    bool physical;
    uint64_t lsn;                    /* restart_lsn, or confirmed_flush_lsn of a logical one */
};
