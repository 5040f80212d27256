/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/ha/ha.h - the HA brain: events go in, effects come out. Fold, decide, do.
 *
 * ha_step() makes no system call, reads no clock, uses no randomness and allocates nothing, so the
 * agent, the simulator and the replayer drive the very same code. What was learned stands in
 * struct ha; what is in flight stands there too; decide() reads the decision tables of Patroni's
 * HA loop from top to bottom and never asks 'where was I', only 'what is so'.
 *
 * A cycle is one pass through the tables. Where a table needs an answer (a fresh look at
 * PostgreSQL, the peers' positions, the lock), the pass emits the question and stops; when the
 * answer comes as an event, the pass begins again from the top and finds it. The cycle ends with
 * HA_DO_CYCLE_DONE, whose text is the status line. Fencing stands outside the cycle: every step
 * looks at the lease first, whatever else is going on.
 */
#pragma once

#include "dcs/cluster.h"
#include "pg/facts.h"

#define HA_PEERS_MAX DCS_MEMBERS_MAX
#define HA_EFFECTS_MAX 24
#define HA_TEXT_BYTES 256

/**
 * PostgreSQL must have stopped taking writes before the lease ends: the fast stop begins this long
 * before, and turns into an immediate one HA_IMMEDIATE_MARGIN_MS before the end. A fast stop ends
 * the sessions within milliseconds; the rest of the margin is for a slow machine.
 */
#define HA_DEMOTE_MARGIN_MS 3000
#define HA_IMMEDIATE_MARGIN_MS 1000

/** A world that keeps changing gets this many cycles per loop_wait; then they are spaced out. */
#define HA_CYCLES_PER_WINDOW 40

/**
 * The shortest time-out of a watchdog that leaves time for an orderly demotion before the machine
 * is reset: shorter ones are not used.
 */
#define HA_WATCHDOG_TIMEOUT_MIN_MS (2 * HA_DEMOTE_MARGIN_MS)
/** So much shorter than ttl a time-out must be that is fixed: the answer to a renewal begins it
 *  anew, and it must end within the lease that was renewed. */
#define HA_WATCHDOG_ANSWER_MS 1000

/* ---- the policy: configuration as the brain needs it ------------------------------------- */

enum ha_watchdog_mode { HA_WATCHDOG_OFF, HA_WATCHDOG_AUTOMATIC, HA_WATCHDOG_REQUIRED };

struct ha_policy {
    char name[PGV_NAME_BYTES];
    uint64_t ttl_ms, loop_wait_ms, retry_timeout_ms;
    uint64_t primary_start_timeout_ms; /* 0: fail over instead of restarting in place */
    uint64_t primary_race_backoff_ms;  /* 0: off */
    uint64_t maximum_lag_bytes;        /* on failover */
    uint64_t member_slots_ttl_ms;      /* 0: keep only slots that should be active */
    bool paused, check_timeline, failsafe_mode;
    bool sync_requested; /* synchronous_mode is on (or quorum): such a cluster must not be led by us
                          */
    bool can_bootstrap;  /* the local configuration has a bootstrap section */
    bool clone_without_leader; /* a replica method that needs no source */
    bool rewind, remove_on_diverged,
        remove_on_rewind_failure; /* use_pg_rewind and the wipe options */
    bool use_slots;
    enum ha_watchdog_mode watchdog;
    uint64_t watchdog_timeout_ms; /* wanted: ttl - safety_margin, or ttl / 2; 0: with this ttl and
                                     loop_wait a watchdog is impossible (slack < 0) */
    struct pgv_tags tags;
};

/* ---- events: what happened ---------------------------------------------------------------- */

enum ha_event_type {
    HA_EV_TICK,                /* time has passed */
    HA_EV_POLICY,              /* new configuration */
    HA_EV_VIEW,                /* the watched view changed, or its watch was lost or found again */
    HA_EV_DCS,                 /* the end of a request to the store */
    HA_EV_FACTS,               /* facts about PostgreSQL changed */
    HA_EV_LOOKED,              /* the end of a look */
    HA_EV_JOB,                 /* the end of a job */
    HA_EV_SHUTDOWN_CHECKPOINT, /* a stopping primary has written its last record */
    HA_EV_PEERS,               /* what the peers answered */
    HA_EV_FOLLOW,              /* whether the recovery configuration fits */
    HA_EV_CHECKPOINT,          /* the checkpoint after promotion ended */
    HA_EV_SLOTS,               /* the slots were brought in line, or not */
    HA_EV_REQUEST,             /* somebody asks for a restart, a reinitialize, … */
    HA_EV_WAKE,     /* look again now: a failover key was written, the configuration patched */
    HA_EV_WATCHDOG, /* what the watchdog's device is like, asked or unasked */
    HA_EV_SHUTDOWN, /* the agent is to end */
};

enum ha_outcome {
    HA_OK,
    HA_REFUSED, /* answered: no */
    HA_LOST,    /* no answer: it may or may not have happened */
};

/** Requests to the store, as the brain names them. */
enum ha_dcs_op {
    HA_DCS_READ,
    HA_DCS_TOUCH,
    HA_DCS_RENEW,
    HA_DCS_ACQUIRE,
    HA_DCS_TAKE, /* after a bootstrap, while initialize says what we wrote */
    HA_DCS_RELEASE,
    HA_DCS_INITIALIZE,        /* create-only, empty value: the right to bootstrap */
    HA_DCS_SET_SYSID,         /* our system identifier; create-only when the key was absent */
    HA_DCS_CANCEL_INITIALIZE, /* remove it, while it is what INITIALIZE or SET_SYSID has made */
    HA_DCS_SET_CONFIG,
    HA_DCS_SET_FAILOVER,
    HA_DCS_SET_STATUS,
    HA_DCS_SET_HISTORY,
    HA_DCS_OPS,
};

/** What one peer said. Unreachable is also what a node without a running server looks like. */
struct ha_peer {
    char name[PGV_NAME_BYTES];
    bool reachable, in_recovery, nofailover, watchdog_failed;
    uint64_t position; /* max(received, replayed); 0 for a primary */
    uint32_t timeline;
    int failover_priority;
};

enum ha_request_type {
    HA_REQ_RESTART,
    HA_REQ_SCHEDULE_RESTART,
    HA_REQ_DELETE_RESTART,
    HA_REQ_REINITIALIZE,
};

struct ha_request {
    enum ha_request_type type;
    uint32_t id;             /* comes back in the answer */
    bool force, from_leader; /* reinitialize */
    uint64_t timeout_ms;     /* restart; 0: primary_start_timeout */
    bool has_role;
    enum pgv_role role;       /* restart only if it is this */
    int pg_version_below;     /* restart only if the server is older; 0: no filter */
    bool restart_pending;     /* restart only if one is pending (presence counts) */
    int64_t schedule_wall_us; /* schedule */
};

/**
 * The watchdog's device as the port sees it: after each CHECK, ACTIVATE and DISABLE, and unasked
 * when a keepalive was not what it should be: it failed, the device went away, timeout_ms is
 * another one, or fires_ms is not timeout_ms after the keepalive.
 */
struct ha_watchdog {
    bool usable;         /* could be activated (it exists and is writable), or is running */
    bool running;        /* open and counting */
    bool adjustable;     /* its time-out can be changed while it runs */
    uint64_t timeout_ms; /* running: it fires this long after a keepalive that nothing shortened;
                            may differ from what was asked */
    uint64_t fires_ms;   /* running: clock moment at which it fires if nobody keeps it alive */
};

struct ha_event {
    enum ha_event_type type;
    uint64_t now_ms; /* the brain's only clock: CLOCK_BOOTTIME */
    int64_t wall_us; /* wall time, for scheduled actions only */
    union {
        const struct ha_policy *policy; /* zeroed before it was filled: compared as bytes */
        struct {
            const struct dcs_cluster *cluster; /* borrowed; NULL: never read yet */
            bool live;                         /* the watch follows the store */
        } view;
        struct {
            enum ha_dcs_op op;
            enum ha_outcome outcome;
            uint64_t sent_ms; /* RENEW, ACQUIRE, TAKE: when we had asked */
        } dcs;
        const struct postmaster_facts *facts; /* FACTS and LOOKED */
        struct {
            enum postmaster_job job;
            enum postmaster_outcome outcome;
        } job;
        struct {
            uint64_t checkpoint_lsn, prev_lsn;
        } shutdown_checkpoint;
        struct {
            uint32_t round; /* of the HA_DO_ASK_PEERS it answers */
            unsigned n;
            const struct ha_peer *peers;
        } peers;
        struct {
            bool fits;          /* nothing to do */
            bool needs_restart; /* else a reload is enough */
        } follow;
        bool ok; /* CHECKPOINT, SLOTS */
        struct ha_watchdog watchdog;
        struct ha_request request;
    } u;
};

/* ---- effects: what is to be done ---------------------------------------------------------- */

/** Why: the word for metrics, tests and the recorder; its sentence is the status line. */
enum ha_why {
#define HA_WHY(id, text) HA_WHY_##id,
#include "agent/ha/why.def"
#undef HA_WHY
    HA_WHYS,
};
/** 'leader_steady' — the label — and the sentence, in which %s, %u stand for what was seen. */
const char *ha_why_label(enum ha_why why);

enum ha_effect_type {
    HA_DO_DCS,          /* a request to the store; its end comes back as HA_EV_DCS */
    HA_DO_LOOK,         /* look at PostgreSQL: HA_EV_LOOKED */
    HA_DO_ASK_PEERS,    /* ask ha->asked peers: HA_EV_PEERS */
    HA_DO_CHECK_FOLLOW, /* compare the recovery configuration with u.node: HA_EV_FOLLOW */
    HA_DO_JOB,          /* start a job: HA_EV_JOB */
    HA_DO_CANCEL_JOB,
    HA_DO_CHECKPOINT,    /* in the background: HA_EV_CHECKPOINT */
    HA_DO_RESUME_REPLAY, /* WAL replay stands still; nothing comes back */
    HA_DO_SLOTS,         /* make the slots be ha->slots: HA_EV_SLOTS */
    HA_DO_CALLBACK,      /* run the callback script */
    HA_DO_ANSWER,        /* to a request */
    HA_DO_WATCHDOG,      /* never fails; HA_EV_WATCHDOG */
    HA_DO_LOG,           /* one line for people */
    HA_DO_CYCLE_DONE,    /* text is the status line */
    HA_DO_EXIT,          /* the agent ends with u.exit_status */
};

enum ha_level { HA_DEBUG, HA_INFO, HA_WARNING, HA_ERROR, HA_CRITICAL };

enum ha_watchdog_op {
    HA_WATCHDOG_CHECK,     /* is it usable? Before a race, in required mode only */
    HA_WATCHDOG_ACTIVATE,  /* open if it is not, set the time-out, keep it alive */
    HA_WATCHDOG_KEEPALIVE, /* nothing comes back if all is as it should be */
    HA_WATCHDOG_DISABLE,   /* nothing left to guard: close so that it does not fire */
};

/** Answers to requests; the REST handler knows the words. */
enum ha_answer {
    HA_ANSWER_DONE,     /* restarted, reinitialize started, schedule deleted or accepted */
    HA_ANSWER_STARTING, /* restarted, not yet accepting */
    HA_ANSWER_FAILED,
    HA_ANSWER_CONDITIONS, /* restart conditions are not satisfied */
    HA_ANSWER_BUSY,       /* text: the job in progress */
    HA_ANSWER_NO_LEADER,
    HA_ANSWER_I_LEAD,
    HA_ANSWER_EXISTS, /* another restart is already scheduled */
    HA_ANSWER_NONE,   /* no restart is scheduled */
};

/** Member statements about itself that only the brain knows; the pump writes the document. */
struct ha_effect {
    enum ha_effect_type type;
    enum ha_why why;
    char text[HA_TEXT_BYTES]; /* LOG, CYCLE_DONE, JOB (its name for people), ANSWER BUSY */
    union {
        struct {
            enum ha_dcs_op op;
            uint64_t deadline_ms;           /* clock moment */
            uint64_t optime;                /* RELEASE: written to status first when not 0 */
            bool create;                    /* SET_SYSID: create-only */
            bool guarded;                   /* SET_FAILOVER: by the version in the view; SET_SYSID:
                                               while the key is what INITIALIZE has made, else by
                                               the version in the view */
            char candidate[PGV_NAME_BYTES]; /* SET_FAILOVER: rewrite as candidate only; empty: {} */
        } dcs;
        struct {
            uint32_t round;
            uint64_t deadline_ms;
        } peers;
        struct postmaster_node node; /* CHECK_FOLLOW */
        struct postmaster_job_args job;
        struct {
            bool drop_others;
        } slots;
        struct {
            enum pgv_role role;
            char action[24];
        } callback;
        struct {
            uint32_t id;
            enum ha_answer answer;
        } answer;
        /**
         * ACTIVATE, KEEPALIVE: the lease ends at until_ms (0: there is nothing to guard), and the
         * device must fire before. The port reads the clock at the moment of the keepalive: where
         * now + timeout_ms would be later than until_ms it shortens the time-out (to whole seconds,
         * rounded down, at least one) if the device is adjustable; else it sends no keepalive, so
         * that the earlier deadline stands, and says so by the event.
         */
        struct {
            enum ha_watchdog_op op;
            uint64_t timeout_ms; /* wanted */
            uint64_t until_ms;
        } watchdog;
        enum ha_level level; /* LOG */
        int exit_status;
    } u;
};

struct ha_effects {
    struct ha_effect v[HA_EFFECTS_MAX];
    unsigned n;
    uint64_t wake_ms; /* step again by then, whatever happens */
};

/* ---- the world ------------------------------------------------------------------------------ */

enum ha_ask { HA_ASK_NOT, HA_ASK_WAITS, HA_ASK_OK, HA_ASK_REFUSED, HA_ASK_LOST };

/** What we know about divergence from the leader. Source: Patroni's Rewind states, in its order. */
enum ha_rewind {
    HA_REWIND_INITIAL,
    HA_REWIND_CHECKPOINT, /* primary: the checkpoint after promotion is confirmed */
    HA_REWIND_CHECK,      /* compare with the leader at the next chance */
    HA_REWIND_NEED,
    HA_REWIND_NOT_NEED, /* what stands after this one: a rewind was executed */
    HA_REWIND_SUCCESS,
    HA_REWIND_FAILED,
};

/** A demotion or shutdown under way: from the stop until the key is given up. */
struct ha_demotion {
    bool active;
    bool stopped;
    bool release;       /* give the key up, by the shutdown checkpoint or after the stop */
    bool shutdown_seen; /* the shutdown checkpoint is written */
    bool released;
    uint64_t checkpoint_lsn, prev_lsn;
    uint64_t ask_again_ms; /* peers had not received it yet */
    uint32_t round;        /* of peers, 0: not asking */
    enum ha_ask release_ask;
};

/** What the watchdog was told; one question at a time. */
struct ha_watchdog_ask {
    bool told; /* ha->watchdog was */
    bool waits;
    enum ha_watchdog_op what;
    bool stays;         /* it could not be disabled: kept alive as long as we live */
    bool unfit;         /* it runs, but its time-out is not what this configuration needs */
    bool unheard;       /* the last keepalive was left out, or failed */
    bool given_up;      /* it is being closed because it hears no keepalives */
    uint64_t failed_ms; /* the last activation, if it gave no watchdog that guards */
    uint64_t kept_ms;   /* the last keepalive */
};

/** Answers of this cycle's questions; all HA_ASK_NOT when it begins. */
struct ha_cycle {
    bool active;
    uint64_t since_ms;
    enum ha_ask dcs[HA_DCS_OPS];
    enum ha_ask look, peers, follow;
    enum ha_ask watchdog, watchdog_check; /* its activation; is it usable? */
    int peers_for;                        /* enum ha_peers_for of the question that peers answers */
    bool fits, needs_restart;
    bool failed;  /* the store did not answer in this cycle */
    bool regular; /* begun by the timer */
    bool touched; /* our missing member key was asked for */
    bool resumed; /* paused WAL replay */
};

struct ha {
    /* what is so */
    uint64_t now_ms;
    int64_t wall_us;
    struct ha_policy policy;
    bool have_policy;
    struct dcs_cluster view;     /* the current snapshot */
    struct dcs_cluster last_led; /* the last snapshot that had a leader (or the first) */
    bool have_view, view_live, have_last_led;
    struct postmaster_facts pg;
    bool have_facts;

    uint64_t lease_until_ms; /* we may be primary until then; 0: no lease */
    bool regained;           /* it was renewed after its end: nobody knows who has led in between */
    bool dcs_lost;           /* the store did not answer in this cycle or the last */
    uint64_t dcs_lost_since_ms;

    struct {
        enum postmaster_job kind; /* in flight */
        uint64_t since_ms;
        enum ha_why why;
        char name[HA_TEXT_BYTES]; /* 'bootstrap from leader 'n1'' */
        bool cancel_asked;
        enum postmaster_stop_mode mode; /* of a STOP */
        enum pgv_role role;             /* of a START */
    } job;
    struct { /* reinitialize is a stop, then a clone */
        bool wanted, from_leader;
        enum ha_why why;
    } reinit;

    uint32_t asked_round;    /* of the last HA_DO_ASK_PEERS */
    uint32_t answered_round; /* of the last HA_EV_PEERS that was still wanted */
    unsigned n_asked;
    struct {
        char name[PGV_NAME_BYTES];
        char api_url[PGV_URL_BYTES];
    } asked[HA_PEERS_MAX];
    unsigned n_peers;
    struct ha_peer peers[HA_PEERS_MAX];

    enum ha_rewind rewind;
    bool compared;                     /* timelines were compared since the server went down */
    uint64_t divergence_not_before_ms; /* of the next comparison */
    bool joined; /* the join checks have passed once: the data directory belongs here */
    bool start_after_clone, remove_data;
    bool offline;         /* demoted because the store was lost: may start read-only without it */
    bool made_readonly;   /* so it did: the primary of this cluster is nowhere else */
    bool bootstrapping;   /* we hold the empty initialize key */
    bool init_unanswered; /* we asked for it and were not answered: it may be ours */
    bool init_seen;       /* it stood in the view since */
    bool init_failed, init_key_removed; /* a failed bootstrap is being cleaned away */
    enum ha_ask bootstrap_result;       /* of POST_BOOTSTRAP: NOT, OK, REFUSED */
    bool recovering;                    /* we (re)started it and must see whether it came up */
    uint64_t crash_recovery_since_ms;
    uint64_t start_timeout_ms; /* of the restart under way; 0: the policy's */
    uint64_t race_backoff_since_ms;
    uint64_t leaderless_since_ms; /* 0: somebody leads */
    uint64_t pre_promote_failed_ms;
    uint64_t wait_leader_until_ms; /* after giving the key up: let somebody take it first */
    bool promote_result_failed;    /* pre_promote said no */
    bool was_paused;
    bool checkpoint_running, slots_running, touch_due;
    bool dcs_inflight[HA_DCS_OPS];
    uint64_t asked_ttl_ms[HA_DCS_OPS]; /* RENEW, ACQUIRE, TAKE: the ttl when it was asked */
    uint64_t
        primary_since_ms;  /* writable without any lease since then (agent just started); 0: not */
    uint64_t led_until_ms; /* writable: when its last lease ends or would have ended; 0: had none */
    uint64_t take_ms;      /* a new cluster's key was asked for then, and may be ours; 0: not */
    uint32_t last_timeline; /* last seen on this standby */
    uint64_t last_wal_lsn, prev_wal_lsn;
    bool history_due;
    uint32_t history_timeline; /* already published for */

    struct ha_watchdog watchdog; /* as last told, and what the keepalives since must have done */
    struct ha_watchdog_ask watchdog_ask;

    struct ha_demotion demotion;
    struct {
        bool asked, stop_begun, touched, done;
        int exit_status;
        bool leave_running; /* PostgreSQL is not ours to stop */
    } shutdown;
    bool exiting;

    char followed[PGV_NAME_BYTES]; /* the last FOLLOW job's upstream, */
    uint64_t settled_ms;           /* and when what it wrote should be in force */

    bool has_restart_request; /* being carried out */
    struct ha_request restart_request;
    unsigned cycles_in_window; /* a world that keeps changing must not make the loop spin */
    uint64_t window_since_ms;
    bool has_scheduled_restart;
    struct ha_request scheduled_restart;
    int64_t scheduled_start_time_wall_us; /* of the postmaster when it was scheduled */

    struct ha_cycle cycle;
    bool cycle_due;             /* begin one as soon as possible */
    uint64_t next_run_ms;       /* the next regular one */
    char status[HA_TEXT_BYTES]; /* of the last cycle */
    enum ha_why status_why;

    unsigned n_slots; /* wanted, for HA_DO_SLOTS */
    struct postmaster_slot slots[POSTMASTER_SLOTS_MAX];

    /* crash loop budget: too many starts in place without a stable minute give the key up */
    unsigned restarts_in_place;
    uint64_t stable_since_ms;
};

void ha_init(struct ha *ha);
/** @ev->now_ms never goes back. Effects are to be carried out in order. */
void ha_step(struct ha *ha, const struct ha_event *ev, struct ha_effects *ret_fx);

/* ---- what others may ask of the world --------------------------------------------------- */

/** Our lease is proven at @now_ms: what /primary answers by. Not the same as holding the key. */
bool ha_is_leader(const struct ha *ha, uint64_t now_ms);
/** The key names us in the current snapshot. */
bool ha_has_lock(const struct ha *ha);
/** The role as others may see it. */
enum pgv_role ha_role(const struct ha *ha);
/** A watchdog is required and cannot be had, as far as known: what peers are told. */
bool ha_watchdog_failed(const struct ha *ha);
/** This node must not say checkpoint_after_promote is done yet. */
bool ha_checkpoint_pending(const struct ha *ha);
/** Slots this node should have (dcs contract §7). Pure; also used by tests and tools. */
unsigned ha_wanted_slots(const struct dcs_cluster *c, const struct ha_policy *p, enum pgv_role role,
                         int major_version, struct postmaster_slot *ret, unsigned max);
const char *ha_dcs_op_name(enum ha_dcs_op op);
const char *ha_watchdog_op_name(enum ha_watchdog_op op);
const char *ha_event_name(enum ha_event_type type);
const char *ha_effect_name(enum ha_effect_type type);
