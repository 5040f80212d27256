/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/postmaster_impl.h - private to pg/: what stands behind struct postmaster.
 *
 * The facade is made of small machines, one a file, each with its state in here:
 *
 *   server.c   the process: spawned by us or found, its end, signals to it
 *   conn.c     the connections and where they lead
 *   prepare.c  facts about the binaries, asked once
 *   control.c  pg_controldata
 *   look.c     the monitoring query, and IDENTIFY_SYSTEM for a standby's timeline
 *   probe.c    has a starting server begun to accept connections?
 *   start.c    configuration, spawn, wait          ┐
 *   stop.c     checkpoint, signal, escalation      │ the deeds, put together to jobs
 *   promote.c  hook, promote, wait                 │ in jobs.c
 *   follow.c   recovery configuration              ┘
 *   reconf.c   new settings: compare, write, reload, what waits for a restart
 *   status.c   the REST status query
 *
 * A machine is told that it may go on by a plain function pointer (pm_next): the control data is
 * fresh, the server is gone, a timer fired. Nothing here calls the owner: what he is to hear goes
 * through a queue that the event timer empties (postmaster.c).
 */
#pragma once

#include "pg/control.h"
#include "pg/pgboot.h"
#include "pg/pgclone.h"
#include "pg/pgdata.h"
#include "pg/pgfiles.h"
#include "pg/pgrecovery.h"
#include "pg/pgrewind.h"
#include "pg/pgslots.h"
#include "pg/pgsql.h"
#include "pg/pgtool.h"
#include "pg/pgwal.h"
#include "pg/postmaster.h"
#include "pg/process.h"

struct postmaster_impl;
typedef void (*pm_next)(struct postmaster_impl *im);

#define PM_WAITERS_MAX 8
/** Who waits for the same answer; each once. */
struct pm_waiters {
    pm_next v[PM_WAITERS_MAX];
    unsigned n;
};

enum pm_timer_id {
    PM_TIMER_EVENTS, /* deliver what the owner is to hear */
    PM_TIMER_CLOSE,
    PM_TIMER_PREPARE,
    PM_TIMER_CONTROL,
    PM_TIMER_PROBE,
    PM_TIMER_LOOK,
    PM_TIMER_START,
    PM_TIMER_STOP,
    PM_TIMER_PROMOTE,
    PM_TIMER_FOLLOW,
    PM_TIMER_RECONF,
    PM_TIMER_STATUS,
    PM_TIMER_JOB,
    PM_TIMERS
};
struct pm_timer {
    uv_timer_t uv;
    struct postmaster_impl *im;
    pm_next next;
};

/** What the owner is to hear, in order. */
enum pm_event_type { PM_EV_JOB_END, PM_EV_SHUTDOWN_CHECKPOINT, PM_EV_CALLBACK, PM_EV_DONE };
struct pm_event {
    enum pm_event_type type;
    enum postmaster_job job;
    enum postmaster_outcome outcome;
    enum pgv_role role;
    const char *action; /* static text */
    uint64_t checkpoint_lsn, prev_lsn;
    char message[PGV_ERROR_MSG_BYTES];
};
#define PM_EVENTS_MAX 16

/** server.c: the process. */
struct pm_server {
    bool ours;                 /* our child, else found and watched */
    bool releasing;            /* closing: handles go, the process stays */
    uint64_t spawned_ms;
    uint64_t died_ms;          /* last unexpected end; 0: none */
    unsigned watch_at;         /* the watch in use; the other may still be closing */
    struct pgv_child child;
    struct pgv_pidwatch watch[2];
    bool watch_busy[2];
};

enum pm_pending { PM_PENDING_DEFAULT, PM_PENDING_START, PM_PENDING_RESTART, PM_PENDING_NOOP };

struct pm_start_args {
    enum pgv_role role;
    bool write_recovery; /* follow node: signal file and recovery parameters */
    struct postmaster_node node;
    bool keep_state;       /* a restart says 'restarting' until it is spawned */
    enum pm_pending pending;
    uint64_t timeout_ms; /* 0: pg_ctl_timeout */
};
enum pm_started { PM_STARTED, PM_STILL_STARTING, PM_START_FAILED, PM_START_CANCELED };
struct pm_start {
    bool active, canceled;
    struct pm_start_args args;
    uint64_t deadline_ms, delay_ms, leftovers_ms;
    unsigned attempts;
    bool waiting, signalled;
    char message[PGV_ERROR_MSG_BYTES];
    void (*done)(struct postmaster_impl *im, enum pm_started how);
};

struct pm_stop {
    bool active, blocked; /* blocked: part of a restart, no state and callback of its own */
    struct postmaster_job_args args;
    bool checkpointing, scripting, signalled, killed, reported, waling, hint_seen, ok, ending;
    uint64_t begun_ms, signal_ms, quit_ms;
    struct pgsql_query query;
    struct pgv_child script;
    struct pgwal_query wal;
    char message[PGV_ERROR_MSG_BYTES];
    void (*done)(struct postmaster_impl *im, bool ok);
};

struct pm_promote {
    bool active, canceled, signalled, asking;
    uint64_t deadline_ms, asked_ms;
    struct pgv_child script;
    struct pgsql_query query;
};

struct pm_follow {
    bool active;  /* a comparison runs */
    bool pending; /* and another one is due for want_node */
    struct postmaster_node node;
    struct pgsql_query query;
    struct pgrecovery_current current;
    void (*cb)(struct postmaster *pm, enum postmaster_follow answer);
    enum postmaster_follow answer;
};

struct pm_reconf {
    bool active, again, due; /* due: it could not be compared, the server did not answer */
    bool sighup, attach;
    int step;
    struct pgconf *old;
    struct pgv_arena arena;
    struct pgv_value *wanted;
    struct pgfiles_changes changes;
    struct pgv_buf names;
    struct pgsql_query query;
    char load_time[48];
    uint64_t reload_ms, deadline_ms;
    unsigned at;
    struct pgtool tool;
    bool tooling;
    unsigned n_rows;
    struct {
        char name[64], setting[256], unit[16], vartype[16];
    } rows[POSTMASTER_PENDING_MAX];
};

struct pm_look {
    bool active, query_done, control_done, timeline_done, retried;
    struct pgsql_query query, identify;
    void (*cb)(struct postmaster *pm);
};

/** What the last monitoring query said of the wal receiver. */
struct pm_receiver {
    bool present;
    uint32_t timeline; /* 0: unknown */
    char slot_name[PGV_SLOT_NAME_BYTES];
    char conninfo[2048];
    char state[24];
};

struct pm_status {
    bool active;
    struct pgsql_query query;
    struct postmaster_status_req *first; /* wait for the query under way */
    struct postmaster_status_req *ready; /* are answered from what is there */
    struct postmaster_status now;
    uint64_t fresh_until_ms;
    struct pgv_buf replication;
    char sql[3072];
    int sql_version;
};

struct pm_job {
    bool active;    /* a job other than STOP is not wound up yet */
    bool canceled;
    bool remove_after; /* CLONE failed: the data directory goes */
    struct postmaster_job_args args;
    int phase;
    union { /* one at a time */
        struct pgclone clone;
        struct pgrewind rewind;
        struct pgrewind_check check;
        struct pgcrash crash;
        struct pgboot boot;
        struct pgboot_post post;
        struct pgv_child remove;
    } u;
    struct pgv_arena arena;
    char message[PGV_ERROR_MSG_BYTES];
};

#define PM_ARENA_BYTES_MAX (1u << 20)
#define PM_SQL_BYTES 3072

struct postmaster_impl {
    struct postmaster *pm;
    uv_loop_t *loop;
    struct pm_timer timers[PM_TIMERS];
    unsigned handles_open;
    bool closing, closing_handles;
    void (*close_cb)(struct postmaster *pm);

    /* configuration */
    struct pgconf *conf;
    struct pgv_arena boot_arena;
    struct pgv_value *bootstrap; /* our copy, or NULL */
    uint64_t retry_timeout_ms, loop_wait_ms;
    bool has_config_key;
    struct pgconf_address addr;
    char data_dir_real[PATH_MAX];
    char postgres_path[PGCONF_PATH_BYTES];
    struct pgv_arena params_arena, recovery_arena;
    struct pgv_value *params;          /* server parameters as last written or loaded; or NULL */
    struct pgv_value *recovery_params; /* what postgresql.conf carries on ≥12; or NULL */

    /* what is known besides the facts */
    struct pm_control control;
    struct {
        bool busy;
        struct pgtool tool;
        struct pm_waiters waiters;
        uint64_t ino, mtime_ns, read_ms; /* of the file when reading began */
        bool settled;
    } ctl;
    struct {
        bool busy, done;
        int step;
        struct pgtool tool;
        struct pgguc_query guc;
        struct pgguc_names names;
        struct pm_waiters waiters;
        uint64_t ino, mtime_ns;
        int binary_version; /* 150008; 0 unknown */
        bool rewind_works;
    } prep;

    struct {
        struct pgsql heartbeat, restapi, repl, checkpoint, slots;
        struct names_query names;
        bool resolving, resolve_again;
        char hostaddr[256]; /* of the TCP host when it is a name; empty: not needed or not known */
        char resolved_host[256];
    } conn;
    struct pm_server server;
    struct pm_receiver receiver;
    uint32_t leader_timeline, identified_timeline;
    enum pm_pending pending;
    bool bootstrapping;     /* callbacks are suppressed, the system identifier counts as empty */
    bool custom_bootstrap;  /* from the custom method until post_bootstrap is through */
    bool shutting_down_state;
    char sql[PM_SQL_BYTES]; /* the monitoring query of sql_version */
    int sql_version;

    struct {
        bool on;
        uint64_t since_ms, asked_ms;
        bool asking;
        struct pgsql_query query;
    } probe;
    struct pm_look look;
    struct pm_status status;
    struct pm_start start;
    struct pm_stop stop;
    struct pm_promote promote;
    struct pm_follow follow;
    struct pm_reconf reconf;
    struct pm_job job;
    struct {
        bool active;
        struct pgsql_query query;
        void (*cb)(struct postmaster *pm, bool ok);
        bool done, ok; /* to be told */
    } ckpt;
    struct pgslots slots;
    struct {
        bool active, done, ok;
        void (*cb)(struct postmaster *pm, bool ok);
    } slots_run;
    bool look_due, follow_due; /* to be told */

    /* for the owner */
    struct pm_event events[PM_EVENTS_MAX];
    unsigned first_event, n_events;
    bool changed;
};

/* postmaster.c */
void pm_arm(struct postmaster_impl *im, enum pm_timer_id which, uint64_t in_ms, pm_next next);
void pm_disarm(struct postmaster_impl *im, enum pm_timer_id which);
void pm_changed(struct postmaster_impl *im);
void pm_wake_owner(struct postmaster_impl *im);
void pm_set_state(struct postmaster_impl *im, enum pgv_state state);
void pm_set_role(struct postmaster_impl *im, enum pgv_role role);
/** on_start … for the owner; suppressed while bootstrapping. @action is static text. */
void pm_callback(struct postmaster_impl *im, const char *action);
void pm_event_job_end(struct postmaster_impl *im, enum postmaster_job job,
                      enum postmaster_outcome outcome, const char *message);
void pm_event_shutdown_checkpoint(struct postmaster_impl *im, uint64_t lsn, uint64_t prev);
void pm_wait(struct pm_waiters *w, pm_next next);
/** Empties it first, so that who is told may wait again. */
void pm_tell(struct postmaster_impl *im, struct pm_waiters *w);
void pm_env(const struct postmaster_impl *im, struct pgfiles_env *ret);
/** Data directory: state, version, signal files; cheap. */
void pm_read_dir(struct postmaster_impl *im);
bool pm_is_starting(const struct postmaster_impl *im);
/** Role from the data directory: uninitialized, replica or primary. Contract pg §2. */
enum pgv_role pm_role_of_dir(const struct postmaster_impl *im);
/** The server ended by itself or by our doing; facts and machines are brought up to date. */
void pm_on_server_gone(struct postmaster_impl *im, int status);
/** A starting server has begun to accept connections. Contract pg §5. */
void pm_on_accepting(struct postmaster_impl *im);
void pm_set_pending(struct postmaster_impl *im, const struct postmaster_pending *v, unsigned n);

/* server.c */
bool pm_server_spawn(struct postmaster_impl *im, const char *const *argv,
                     struct pgv_error *err) PGV_MUST_CHECK;
/** Find a running postmaster of our data directory; true when one lives (also the known one). */
bool pm_server_find(struct postmaster_impl *im);
/** A single-user backend has the data directory. */
bool pm_server_single_user(const struct postmaster_impl *im);
bool pm_server_signal(struct postmaster_impl *im, int sig);
void pm_server_kill_tree(struct postmaster_impl *im);
void pm_server_release(struct postmaster_impl *im); /* closing */
bool pm_server_released(const struct postmaster_impl *im);
void pm_whose(const struct postmaster_impl *im, struct pm_whose *ret);

/* conn.c */
bool pm_conn_open(struct postmaster_impl *im);
/** Connection strings from configuration and address; starts resolving a name when needed. */
bool pm_conn_configure(struct postmaster_impl *im, struct pgv_error *err) PGV_MUST_CHECK;
void pm_conn_drop_all(struct postmaster_impl *im);
bool pm_conn_busy(const struct postmaster_impl *im);
void pm_conn_close(struct postmaster_impl *im);
/** The address for host names in our own connections, or NULL. */
const char *pm_conn_hostaddr(const struct postmaster_impl *im);

/* prepare.c */
/** True: everything is known. False: @next comes when it is. */
bool pm_prepared(struct postmaster_impl *im, pm_next next);
int pm_parse_binary_version(struct pgv_str output);

/* control_run.c */
/** True: im->control is what the file says. False: @next comes when it is. */
bool pm_control_ready(struct postmaster_impl *im, pm_next next);
/** The state as it stands in the file right now: a hint, unchecked. UNKNOWN when unreadable. */
enum postmaster_control_state pm_control_hint(const struct postmaster_impl *im);

/* look.c */
const char *pm_look_sql(struct postmaster_impl *im);
/** Facts from a row of the monitoring query. */
bool pm_look_take(struct postmaster_impl *im, const PGresult *res);
void pm_look_cancel(struct postmaster_impl *im);

/* probe.c */
void pm_probe_on(struct postmaster_impl *im);
void pm_probe_off(struct postmaster_impl *im);

/* status.c */
void pm_status_forget(struct postmaster_impl *im);
void pm_status_deliver(struct postmaster_impl *im);
void pm_status_close(struct postmaster_impl *im);

/* start.c */
void pm_start_begin(struct postmaster_impl *im, const struct pm_start_args *args,
                    void (*done)(struct postmaster_impl *im, enum pm_started how));
void pm_start_cancel(struct postmaster_impl *im);
/** The state of the server changed: is that what the start waits for? */
void pm_start_look(struct postmaster_impl *im);
void pm_start_server_gone(struct postmaster_impl *im, int status);

/* stop.c */
void pm_stop_begin(struct postmaster_impl *im, const struct postmaster_job_args *args,
                   bool blocked, void (*done)(struct postmaster_impl *im, bool ok));
/** Take a stop over: harsher arguments count, @done replaces the old one. */
void pm_stop_take(struct postmaster_impl *im, const struct postmaster_job_args *args,
                  void (*done)(struct postmaster_impl *im, bool ok));
/** Nobody waits for it any more; a signal once sent cannot be taken back. */
void pm_stop_forget(struct postmaster_impl *im);
void pm_stop_server_gone(struct postmaster_impl *im);

/* promote.c */
void pm_promote_begin(struct postmaster_impl *im);
void pm_promote_cancel(struct postmaster_impl *im);

/* follow.c */
/** Recovery configuration for @node, in @a; NULL-safe for nobody. */
bool pm_follow_build(struct postmaster_impl *im, const struct postmaster_node *node,
                     struct pgv_arena *a, struct pgrecovery *ret,
                     struct pgv_error *err) PGV_MUST_CHECK;
/** Write it and remember what postgresql.conf must carry. */
bool pm_follow_write(struct postmaster_impl *im, const struct postmaster_node *node,
                     struct pgv_error *err) PGV_MUST_CHECK;
/** Compare and answer through @then: used by check_follow and by the FOLLOW job. */
void pm_follow_compare(struct postmaster_impl *im, const struct postmaster_node *node,
                       void (*then)(struct postmaster_impl *im, enum postmaster_follow answer));

/* reconf.c */
void pm_reconf_begin(struct postmaster_impl *im, struct pgconf *conf, bool sighup);
/** We found a running server: take over what it runs with. Contract pg §13.9. */
void pm_reconf_attach(struct postmaster_impl *im);
void pm_reconf_retry(struct postmaster_impl *im);
void pm_reconf_cancel(struct postmaster_impl *im);
/** Assemble, write postgresql.conf (and hba, ident with @all). */
bool pm_write_conf(struct postmaster_impl *im, struct pgv_error *err) PGV_MUST_CHECK;
/** SIGHUP to the postmaster; on_reload unless @quiet. */
bool pm_reload(struct postmaster_impl *im, bool quiet);

/* jobs.c */
void pm_job_server_gone(struct postmaster_impl *im);
bool pm_jobs_idle(const struct postmaster_impl *im);
