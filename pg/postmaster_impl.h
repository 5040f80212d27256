/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/postmaster_impl.h - private to pg/: what stands behind struct postmaster.
 *
 * The facade is made of small machines, one a file, each with its state in here:
 *
 *   server.c   the process: spawned by us or found, its end, signals to it
 *   conn.c     the connections and where they lead
 *   prepare.c  facts about the binaries, asked once
 *   control_run.c  pg_controldata, when it may have changed
 *   look.c     the monitoring query, and IDENTIFY_SYSTEM for a standby's timeline
 *   probe.c    has a starting server begun to accept connections?
 *   start.c    configuration, spawn, wait          ┐
 *   stop.c     checkpoint, signal, escalation      │ the deeds, put together to jobs
 *   promote.c  hook, promote, wait                 │ in jobs.c
 *   follow.c   recovery configuration              ┘
 *   jobs_data.c  the jobs on the data directory and other nodes, over pgclone, pgrewind, …
 *   reload.c   SIGHUP, and waiting until it has arrived
 *   reconf.c   new settings: compare, write, reload, what waits for a restart
 *   status.c   the REST status query
 *
 * A machine is told that it may go on by a plain function pointer (pm_next): the control data is
 * fresh, the server is gone, a timer fired. Nothing here calls the owner: what he is to hear goes
 * through a queue that the event timer empties (postmaster.c).
 */
#pragma once

#include "base/file.h"
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

#define PM_SQL_BYTES 3072
/** A file, or a directory's entries, that changed so recently may change again without a new time:
 *  the clocks of file systems tick in as much as a second. */
#define PM_SETTLES_NS 1000000000
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
    PM_TIMER_RELOAD,
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
enum pm_event_type { PM_EV_JOB_END, PM_EV_SHUTDOWN_CHECKPOINT, PM_EV_CALLBACK };
struct pm_event {
    enum pm_event_type type;
    enum postmaster_job job;
    bool superseded; /* a STOP has taken its place in pm->job */
    enum postmaster_outcome outcome;
    enum pgv_role role;
    const char *action; /* static text */
    uint64_t checkpoint_lsn, prev_lsn;
    char message[PGV_ERROR_MSG_BYTES];
};
#define PM_EVENTS_MAX 16

/** server.c: the process. */
struct pm_server {
    bool ours;                /* our child, else found and watched */
    bool releasing, released; /* closing: handles go, the process stays */
    pid_t fake;               /* named by postmaster.pid, and logged, but no postmaster */
    uint64_t spawned_ms;
    uint64_t died_ms; /* last unexpected end of one that served; 0: none */
    struct pgv_child child;
    struct pgv_pidwatch watch;
};

enum pm_pending { PM_PENDING_DEFAULT, PM_PENDING_START, PM_PENDING_RESTART, PM_PENDING_NOOP };

struct pm_start_args {
    enum pgv_role role; /* UNKNOWN: as the data directory says */
    bool keep_role;
    bool keep_state;     /* a restart says 'restarting' until it is spawned */
    bool write_recovery; /* follow @node: signal file and recovery parameters */
    struct postmaster_node node;
    enum pm_pending pending;
    uint64_t timeout_ms; /* 0: pg_ctl_timeout */
};
enum pm_started { PM_STARTED, PM_STILL_STARTING, PM_START_FAILED, PM_START_CANCELED };
struct pm_start {
    bool active, canceled;
    bool preparing; /* waits for binaries and control data */
    bool waiting;   /* spawned, not accepting yet */
    bool had_leftovers, signalled;
    struct pm_start_args args;
    uint64_t deadline_ms, delay_ms, leftovers_ms;
    unsigned attempts;
    char message[PGV_ERROR_MSG_BYTES];
    void (*done)(struct postmaster_impl *im, enum pm_started how);
};

struct pm_stop {
    bool active;
    bool blocked;                          /* part of a restart: no state and callback of its own */
    bool checkpointing, scripting, waling; /* what runs: query, hook, pg_controldata or WAL dump */
    bool served;                           /* it accepted connections when the stop began */
    bool scripted, signalled, killed;
    bool seen;     /* the shutdown checkpoint is in the control file */
    bool reported; /* and the owner was told */
    bool ending, ok;
    struct postmaster_job_args args;
    uint64_t begun_ms, signal_ms, quit_ms;
    struct pgsql_query query;
    struct pgv_child script;
    struct pgtool control;
    struct pgwal_query wal;
    char message[PGV_ERROR_MSG_BYTES];
    void (*done)(struct postmaster_impl *im, bool ok);
};

struct pm_promote {
    bool active, canceled;
    bool scripting, asking; /* what runs: the hook, a query */
    bool signalled;
    unsigned nudges;
    uint64_t deadline_ms, asked_ms, signal_ms;
    struct pgv_child script;
    struct pgsql_query query;
};

/** What the last monitoring query said of the wal receiver. */
struct pm_receiver {
    bool present;
    uint32_t timeline; /* 0: unknown */
    char slot_name[PGV_SLOT_NAME_BYTES];
    char conninfo[2048];
    char state[24];
};

struct pm_follow {
    bool active; /* a comparison runs */
    bool agreed; /* the last one found nothing to change, by agreed_on and what is in files */
    struct {
        int version;
        struct pgv_file_stamp dir; /* for standby.signal */
        struct postmaster_node node;
        struct pm_receiver receiver;
    } agreed_on;
    bool was_valid, only_postmaster;
    struct postmaster_node node;
    struct pgsql_query query;
    struct pgrecovery_current current;
    void (*then)(struct postmaster_impl *im, enum postmaster_follow answer);
    /* for the owner */
    void (*cb)(struct postmaster *pm, enum postmaster_follow answer);
    enum postmaster_follow answer;
};

struct pm_reload {
    bool active, quiet, later_quiet;
    bool ok; /* the last one was sent */
    struct pgsql_query query;
    char load_time[48];
    uint64_t sent_ms;
    struct pm_waiters waiters, later;
};

struct pm_pending_row {
    char name[64], setting[256], unit[16], vartype[16];
};
struct pm_reconf {
    bool active;
    bool due;        /* a comparison waits for the server to answer */
    bool attach_due; /* the running server's parameters are to be read */
    bool sighup, compared;
    struct pgconf *old;  /* for comparing; released at the end */
    struct pgconf *next; /* came meanwhile */
    bool next_sighup;
    struct pgv_arena arena;
    struct pgv_value *wanted;
    struct pgfiles_changes changes;
    struct pgv_buf names;
    struct pgsql_query query;
    struct pgtool tool;
    bool tooling;
    unsigned at, n_rows;
    pid_t asked_pid; /* whose rows these are */
    struct pm_pending_row rows[POSTMASTER_PENDING_MAX];
    struct postmaster_pending seen[POSTMASTER_PENDING_MAX];
};

struct pm_look {
    bool active, query_done, control_done, prepare_done, retried;
    struct pgsql_query query, identify;
    void (*cb)(struct postmaster *pm);
};

/** How long an answer serves those who ask after it. */
#define PM_STATUS_FRESH_MS 50
#define PM_STATUS_JSON_BYTES_MAX (256 * 1024)

struct pm_status {
    bool active, stale, retried;
    struct pgsql_query query;
    struct postmaster_status_req *first; /* wait for the query under way */
    struct postmaster_status_req *ready; /* are answered from what is there */
    struct postmaster_status now;
    uint64_t fresh_until_ms;
    struct pgv_buf replication;
    char sql[PM_SQL_BYTES];
    int sql_version;
};

struct pm_job {
    bool active; /* a job other than STOP is not wound up yet */
    bool begun, canceled;
    bool restarting;  /* RESTART, or FOLLOW by one */
    bool role_change; /* on_role_change instead of on_start or on_restart */
    int phase;        /* of the job at hand, see there */
    struct postmaster_job_args args;
    union { /* one at a time */
        struct pgclone clone;
        struct pgrewind rewind;
        struct pgrewind_check check;
        struct pgcrash crash;
        struct pgboot boot;
        struct pgboot_post post;
        struct pgdata_job remove;
    } u;
    struct pgsql_query query;
    struct pgv_arena arena;
    enum postmaster_outcome outcome; /* told once what follows is done */
    char message[PGV_ERROR_MSG_BYTES];
};

#define PM_ARENA_BYTES_MAX (1u << 20)

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
    unsigned n_ignore;
    struct pgslots_ignore ignore[PGSLOTS_IGNORE_MAX];
    struct pgconf_address addr;
    char data_dir_real[PATH_MAX];
    struct pgv_file_stamp dir_stamp; /* of the data directory when its entries were last read */
    uint64_t dir_read_ms;            /* 0: the next change may not show in its stamp */
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
        struct pgv_file_stamp stamp; /* of the file when reading began */
        bool settled;                /* it was old enough to tell the next change */
        bool known;                  /* read since then */
    } ctl;
    struct {
        bool busy, done;
        struct pgtool tool;
        struct pgguc_query guc;
        struct pgguc_names names;
        struct pm_waiters waiters;
        struct pgv_file_stamp stamp;
        uint64_t again_ms;  /* not all was told: ask once more then; 0: it was */
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
    char sql[PM_SQL_BYTES]; /* the monitoring query of sql_version */
    char slots_sql[PM_SQL_BYTES]; /* the same with the slots */
    int sql_version, slots_sql_version;

    struct {
        bool on, asking;
        bool told; /* the last attempt was made because postmaster.pid said 'ready' */
        uint64_t since_ms, asked_ms;
        struct pgsql_query query;
    } probe;
    struct pm_look look;
    struct pm_status status;
    struct pm_start start;
    struct pm_stop stop;
    struct pm_promote promote;
    struct pm_follow follow;
    struct pm_reload reload;
    struct pm_reconf reconf;
    struct pm_job job;
    bool stop_job, stop_job_done, stop_job_ok; /* a STOP of the owner's */
    struct {
        bool active;
        struct pgsql_query query;
        void (*cb)(struct postmaster *pm, bool ok);
        bool done, ok; /* to be told */
    } ckpt;
    struct {
        bool active;
        struct pgsql_query query;
    } resume;
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
void pm_wait(struct pm_waiters *w, pm_next next);
/** Empties it first, so that who is told may wait again. */
void pm_tell(struct postmaster_impl *im, struct pm_waiters *w);
void pm_wake_owner(struct postmaster_impl *im);
void pm_changed(struct postmaster_impl *im);
/** on_start … for the owner; suppressed while bootstrapping. @action is static text. */
void pm_callback(struct postmaster_impl *im, const char *action);
void pm_event_job_end(struct postmaster_impl *im, enum postmaster_job job, bool superseded,
                      enum postmaster_outcome outcome, const char *message);
void pm_event_shutdown_checkpoint(struct postmaster_impl *im, uint64_t lsn, uint64_t prev);
void pm_set_state(struct postmaster_impl *im, enum pgv_state state);
void pm_set_role(struct postmaster_impl *im, enum pgv_role role);
bool pm_is_starting(const struct postmaster_impl *im);
void pm_set_pending(struct postmaster_impl *im, const struct postmaster_pending *v, unsigned n);
/** Data directory: state, version, signal files; cheap. */
void pm_read_dir(struct postmaster_impl *im);
/** The same, unless the directory's own times say that no entry came or went since the last time.
 */
void pm_read_dir_again(struct postmaster_impl *im);
/** What a directory with something in it counts as; @ret_why for PM_DIR_UNREADABLE, with errno. */
enum postmaster_dir pm_unfinished_state(const struct postmaster_impl *im, char ret_why[96]);
/** At the start: what an agent before this one was killed over. Its tool is ended, too. */
void pm_unfinished_end(struct postmaster_impl *im);
/** Role from the data directory: uninitialized, replica or primary. Contract pg §2. */
enum pgv_role pm_role_of_dir(const struct postmaster_impl *im);
void pm_env(const struct postmaster_impl *im, struct pgfiles_env *ret);
/** facts.server_version. Contract pg §1. */
void pm_find_version(struct postmaster_impl *im);
/** pm->conn_url and proxy_url from im->addr. */
void pm_publish_address(struct postmaster_impl *im);
/** The server ended by itself or by our doing. @status as of waitpid(), -1: not our child. */
void pm_on_server_gone(struct postmaster_impl *im, int status);
/** A starting server has begun to accept connections. Contract pg §5. */
void pm_on_accepting(struct postmaster_impl *im);
const char *pm_checkpoint_sql(const struct postmaster_impl *im);
void pm_handle_closed(struct postmaster_impl *im);

/* server.c */
bool pm_server_spawn(struct postmaster_impl *im, const char *const *argv,
                     struct pgv_error *err) PGV_MUST_CHECK;
/** Find a running postmaster of our data directory; true when one lives (also the known one). */
bool pm_server_find(struct postmaster_impl *im);
bool pm_server_pidfile(const struct postmaster_impl *im, struct pm_pidfile *ret);
/** A single-user backend has the data directory. */
bool pm_server_single_user(const struct postmaster_impl *im);
/** False: there is none, or it may not be signalled. */
bool pm_server_signal(struct postmaster_impl *im, int sig);
void pm_server_kill_tree(struct postmaster_impl *im);
/** Send @sig to those of @left (of pm_proc_leftovers()) that are backends without a living
 *  postmaster; how many there were. */
unsigned pm_server_end_orphans(const struct pm_whose *whose, const pid_t *left, unsigned n,
                               int sig);
/** Backends without a postmaster. One that computes, or waits for its client, does not notice that
 *  it has none: it would write on, and say so to its client, whoever leads meanwhile. Killed, none
 *  of them does anything more. */
void pm_server_kill_orphans(struct postmaster_impl *im);
void pm_whose(const struct postmaster_impl *im, struct pm_whose *ret);
void pm_server_release(struct postmaster_impl *im); /* closing: the process goes on */
bool pm_server_released(const struct postmaster_impl *im);

/* conn.c */
void pm_conn_open(struct postmaster_impl *im);
/** Connection strings from configuration and address; starts resolving a name when needed. */
void pm_conn_configure(struct postmaster_impl *im);
void pm_conn_drop_all(struct postmaster_impl *im);
void pm_conn_close(struct postmaster_impl *im); /* counts its handles in */
/** Comma-separated addresses for the name of the local host, or NULL when it is an address. */
const char *pm_conn_hostaddr(const struct postmaster_impl *im);

/* prepare.c */
/** True: everything is known, or cannot be. False: @next comes when it is. */
bool pm_prepared(struct postmaster_impl *im, pm_next next);
void pm_prepare_forget(struct postmaster_impl *im);
void pm_prepare_cancel(struct postmaster_impl *im);

/* control_run.c */
/** True: im->control is what the file says. False: @next comes when it is. */
bool pm_control_ready(struct postmaster_impl *im, pm_next next);
/** The state as it stands in the file right now: a hint, unchecked. UNKNOWN when unreadable. */
enum postmaster_control_state pm_control_hint(const struct postmaster_impl *im);
/** facts.rewind_possible. */
void pm_rewind_possible(struct postmaster_impl *im);

/* look.c */
const char *pm_look_sql(struct postmaster_impl *im);
/** Facts from the row of the monitoring query; false when it is not one. */
bool pm_look_take(struct postmaster_impl *im, const PGresult *res);

/* probe.c */
void pm_probe_on(struct postmaster_impl *im);
void pm_probe_off(struct postmaster_impl *im);

/* status.c */
void pm_status_forget(struct postmaster_impl *im);
bool pm_status_deliver(struct postmaster_impl *im); /* false: nobody waits */
void pm_status_close(struct postmaster_impl *im);

/* start.c */
void pm_start_begin(struct postmaster_impl *im, const struct pm_start_args *args,
                    void (*done)(struct postmaster_impl *im, enum pm_started how));
/** A postmaster that was spawned goes on starting; the caller may stop it. */
void pm_start_cancel(struct postmaster_impl *im);
void pm_start_look(struct postmaster_impl *im); /* it accepts: is that what a start waits for? */
void pm_start_server_gone(struct postmaster_impl *im, int status);

/* stop.c */
/** With mode immediate the signal goes out in here; @done never runs inside. */
void pm_stop_begin(struct postmaster_impl *im, const struct postmaster_job_args *args, bool blocked,
                   void (*done)(struct postmaster_impl *im, bool ok));
/** Take over a stop under way: the new arguments count, @done replaces the old one. */
void pm_stop_take(struct postmaster_impl *im, const struct postmaster_job_args *args,
                  void (*done)(struct postmaster_impl *im, bool ok));
/** Give it up, if the signal has not been sent: done(false). Else false, and it is waited out. */
bool pm_stop_cancel(struct postmaster_impl *im);
void pm_stop_detach(struct postmaster_impl *im); /* closing: nobody waits for it */
void pm_stop_server_gone(struct postmaster_impl *im);

/* promote.c */
void pm_promote_begin(struct postmaster_impl *im, uint64_t timeout_ms);
void pm_promote_cancel(struct postmaster_impl *im);
/** A user's command, its output where ours goes. */
bool pm_run_hook(struct postmaster_impl *im, struct pgv_child *c, const char *command,
                 uint64_t timeout_ms, pgv_child_cb cb, struct pgv_error *err) PGV_MUST_CHECK;

/* follow.c */
/** Write signal file and recovery parameters for @node; postgresql.conf comes after. */
bool pm_follow_write(struct postmaster_impl *im, const struct postmaster_node *node,
                     struct pgv_error *err) PGV_MUST_CHECK;
/** @then answers later. False: another comparison is under way. */
bool pm_follow_compare(struct postmaster_impl *im, const struct postmaster_node *node,
                       void (*then)(struct postmaster_impl *im,
                                    enum postmaster_follow answer)) PGV_MUST_CHECK;

/* reconf.c */
void pm_reconf_begin(struct postmaster_impl *im, struct pgconf *conf, bool sighup);
/** We found a running server: take over what it runs with. Contract pg §13.9. */
void pm_reconf_attach(struct postmaster_impl *im);
/** The server answers again: what could not be compared is compared now. */
void pm_reconf_retry(struct postmaster_impl *im);
void pm_reconf_cancel(struct postmaster_impl *im);
/** Everything a start needs: parameters for the role, directories, all files, addresses. */
bool pm_write_start_files(struct postmaster_impl *im, struct pgv_error *err) PGV_MUST_CHECK;
/** postgresql.conf with the parameters it had. */
bool pm_write_conf(struct postmaster_impl *im, struct pgv_error *err) PGV_MUST_CHECK;
bool pm_write_hba_ident(struct postmaster_impl *im, bool *ret_written,
                        struct pgv_error *err) PGV_MUST_CHECK;

/* reload.c */
/** SIGHUP to the postmaster, on_reload unless @quiet; @next comes when it has arrived in our own
 *  session or could not be sent (im->reload.ok). */
void pm_reload(struct postmaster_impl *im, bool quiet, pm_next next);
void pm_reload_cancel(struct postmaster_impl *im); /* closing */

/* jobs.c */
void pm_job_step(struct postmaster_impl *im, const char *step, int percent);
/** Is seen with the next step or by who looks: a figure alone wakes nobody. */
void pm_job_amount(struct postmaster_impl *im, uint64_t bytes, uint64_t total);
void pm_job_end(struct postmaster_impl *im, enum postmaster_outcome outcome, const char *message);
bool pm_jobs_idle(const struct postmaster_impl *im);
void pm_jobs_cancel_all(struct postmaster_impl *im);
void pm_promote_ended(struct postmaster_impl *im, enum postmaster_outcome outcome,
                      const char *message);

/* jobs_data.c */
void pm_data_job_begin(struct postmaster_impl *im);
void pm_data_job_cancel(struct postmaster_impl *im);
