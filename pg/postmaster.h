/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/postmaster.h - the supervised PostgreSQL server: what is known about it, and what is done to it.
 *
 * Facts change by themselves (the process ends, a query answers) and are reported through
 * on_change. Deeds are jobs: one at a time, each a small state machine over child processes and
 * queries, with a deadline, a cancel and a progress figure. Stopping is always allowed and cancels
 * whatever else runs: fencing comes first. Nothing here decides; agent/ha does.
 */
#pragma once

#include "pg/facts.h"

#include <uv.h>

struct postmaster;

/** Why a parameter waits for a restart. */
struct postmaster_pending {
    char name[64], old_value[256], new_value[256];
};
#define POSTMASTER_PENDING_MAX 32

/** Answer of the REST status query (rest contract §4.2); flat. */
struct postmaster_status {
    bool ok;
    int server_version;
    bool in_recovery;
    char start_time[48];             /* 'YYYY-MM-DD HH:MM:SS.ffffff+00:00' */
    double start_epoch;
    uint32_t timeline;               /* primary; standby: facts.timeline */
    uint64_t location;
    uint64_t received_location, replayed_location;
    bool replayed_null, paused;
    char replayed_timestamp[48];     /* empty: null */
    double replayed_epoch;
    uint64_t latest_end_lsn;         /* 0: none */
    char replication_state[24];      /* "", "streaming", "in archive recovery" */
    struct pgv_buf *replication_json; /* array text or NULL; owned by the postmaster, valid in the callback */
};

struct postmaster_status_req {
    void *data;
    void (*cb)(struct postmaster_status_req *r, const struct postmaster_status *st);
    /* private */
    struct postmaster_status_req *next;
};

struct postmaster_config {
    const char *name, *scope;
    const struct pgv_value *postgresql; /* effective section with role overrides applied; borrowed until replaced */
    const struct pgv_value *bootstrap;  /* local bootstrap section or NULL; borrowed */
    uint64_t retry_timeout_ms, loop_wait_ms;
    const struct pgv_value *ignore_slots; /* list of matchers or NULL; borrowed for the call */
    bool has_config_key;                /* slots are only managed then */
};

struct postmaster {
    void *data;
    struct postmaster_facts facts;
    enum postmaster_job job;         /* in flight */
    uint64_t job_since_ms;
    char job_step[64];               /* for people: 'copying base backup' */
    int job_percent;                 /* -1: unknown */
    uint64_t job_bytes, job_bytes_total; /* copied so far, and of how many; 0: unknown */
    unsigned n_pending;
    struct postmaster_pending pending[POSTMASTER_PENDING_MAX];
    char conn_url[PGV_URL_BYTES], proxy_url[PGV_URL_BYTES]; /* what the member key publishes */
    /** The owner's word on the bootstrap it starts; after postmaster_open() that of an earlier agent
     *  when the directory is PM_DIR_UNFINISHED, else empty. */
    char bootstrap_token[POSTMASTER_TOKEN_BYTES];

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
/**
 * The store says that the cluster is @sysid. An unfinished one of that identity (PM_DIR_UNFINISHED)
 * was finished by somebody else, who knows nothing of our mark: it goes, the facts are fresh. False:
 * nothing has changed.
 */
bool postmaster_published(struct postmaster *pm, const char *sysid);
/** Cancels a job; the server itself is left as it is. */
void postmaster_close(struct postmaster *pm, void (*cb)(struct postmaster *pm));
/** Would postmaster_reconfigure() take @config? */
bool postmaster_config_check(const struct postmaster_config *config,
                             struct pgv_error *err) PGV_MUST_CHECK;
/** New effective configuration: write files, reload, find out what needs a restart. The outcome is
 *  seen in pending and the log. @sighup: rewrite and reload even if nothing changed. */
bool postmaster_reconfigure(struct postmaster *pm, const struct postmaster_config *config,
                            bool sighup, struct pgv_error *err) PGV_MUST_CHECK;

/** Take a fresh look (monitoring query, process, data directory); on_look comes once, later, with
 *  facts updated. A second call while one is under way shares it. */
void postmaster_look(struct postmaster *pm, void (*on_look)(struct postmaster *pm));
/** Timeline the leader publishes: when it differs from ours the next look asks IDENTIFY_SYSTEM again. */
void postmaster_set_leader_timeline(struct postmaster *pm, uint32_t timeline);

/**
 * False (PGV_ECONFLICT) when another job runs — except STOP, which cancels it and begins: the
 * signal does not wait, the canceled job's end (PM_CANCELED) is told before the STOP's. So is that
 * of an earlier STOP, whose place a later one takes with its mode and limits; what has been sent
 * is never softened. With PM_STOP_IMMEDIATE the signal is sent inside this call.
 */
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
/** pg_wal_replay_resume(). An error is logged; the next look shows whether it helped. */
void postmaster_resume_replay(struct postmaster *pm);
/** Make the slots be as wanted (@drop_others: not while paused). Ignored while one is under way. */
void postmaster_sync_slots(struct postmaster *pm, const struct postmaster_slot *wanted, unsigned n,
                           bool drop_others, void (*cb)(struct postmaster *pm, bool ok));
/** What exists, as of the last sync: for the status key. */
unsigned postmaster_slots(const struct postmaster *pm, struct postmaster_slot_state *ret, unsigned max);

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
