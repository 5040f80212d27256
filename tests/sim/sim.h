/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/sim.h - a whole cluster in one process: the real brain and pump of every node over
 * models of everything they touch.
 *
 * One seed makes the topology, the configuration, the faults and the load; events are carried out
 * in the order (time, sequence number), so the same seed gives the same trace everywhere. World
 * time is in microseconds and nobody in the world reads it: each node has a clock of its own.
 *
 * Files: world.c the scheduler, randomness, notes; store.c the store's side of etcd, dcs.c the
 * agent's side of it; postgres.c the servers, sync.c commits that wait for standbys, jobs.c what an
 * agent sees of and does to its own; watchdog.c the machines' watchdogs; node.c an agent under its
 * ports; client.c the writers; plan.c
 * topology and faults from a seed; fault.c what a fault does; check.c what must never happen
 * (shares no code with the brain); reach.c which states met which events; scenario.c scripts;
 * record.c flight recordings of the agents; trace.c recordings as tests; html.c the picture; main.c
 * the command line.
 */
#pragma once

#include "agent/pump.h"

#include <stdarg.h>
#include <stdio.h>

#define SIM_NODES_MAX 9
#define SIM_BRANCHES_MAX 1024
#define SIM_FAULTS_MAX 96
#define SIM_CONFIGS_MAX 64
#define SIM_TAG_SETS_MAX 128
#define SIM_WHENS_MAX 96 /* meetings that wait on one node */
#define SIM_RING 1024    /* revisions a watch can catch up with */
#define SIM_MS 1000ull
#define SIM_S 1000000ull
#define SIM_MAX_US UINT64_MAX

struct sim;
struct sim_node;

/** The commit that was built, with '-dirty' behind it when the tree was; made by each build. */
extern const char sim_commit[];

/* ---- world.c: time, randomness, notes -------------------------------------------------------- */

struct sim_rng {
    uint64_t s[4];
};
void sim_rng_seed(struct sim_rng *r, uint64_t seed);
uint64_t sim_rng_next(struct sim_rng *r);
uint64_t sim_rng_below(struct sim_rng *r, uint64_t n);                 /* n > 0 */
uint64_t sim_rng_range(struct sim_rng *r, uint64_t from, uint64_t to); /* both included */
bool sim_rng_permille(struct sim_rng *r, unsigned p);

/** Whose event it is decides what stops it. */
enum sim_owner {
    SIM_WORLD,   /* nobody: always carried out */
    SIM_AGENT,   /* waits while the agent or its machine is frozen, dies with the agent */
    SIM_MACHINE, /* waits while the machine is paused */
};

struct sim_ev {
    uint64_t at_us, seq;
    void (*fn)(struct sim *s, struct sim_node *n, const struct sim_ev *ev);
    uint64_t b, c;
    uint32_t a;
    uint32_t life; /* SIM_AGENT: of the agent that waits for it */
    int16_t node;  /* -1: none */
    uint8_t owner;
};
typedef void (*sim_fn)(struct sim *s, struct sim_node *n, const struct sim_ev *ev);

void sim_at(struct sim *s, uint64_t at_us, enum sim_owner owner, struct sim_node *n, sim_fn fn,
            uint32_t a, uint64_t b, uint64_t c);
static inline void sim_in(struct sim *s, uint64_t in_us, enum sim_owner owner, struct sim_node *n,
                          sim_fn fn, uint32_t a, uint64_t b, uint64_t c);

/** What a note is about: one line of the trace, one mark of the picture. */
enum sim_note {
    SIM_NOTE_EVENT,  /* into the brain */
    SIM_NOTE_EFFECT, /* out of it */
    SIM_NOTE_STATUS, /* a status line that is new */
    SIM_NOTE_LOG,
    SIM_NOTE_PG,    /* what became of a server */
    SIM_NOTE_KEY,   /* the store changed */
    SIM_NOTE_FAULT, /* begin and end of a fault */
    SIM_NOTE_ACK,   /* a client's commit was acknowledged, the first of a server */
    SIM_NOTE_BAD,   /* a violation */
    SIM_NOTE_ODD,   /* what only fencing hardware could have prevented */
};
/** Marks beyond the notes, for the picture. */
enum { SIM_MARK_STATE = 10, SIM_MARK_KEY };
void sim_mark(struct sim *s, int node, unsigned what, const char *text);
bool sim_noting(const struct sim *s, enum sim_note what);
void sim_note(struct sim *s, const struct sim_node *n, enum sim_note what, const char *fmt, ...)
    PGV_PRINTF(4, 5);

/* ---- the store ------------------------------------------------------------------------------- */

enum sim_key {
    SIM_KEY_INIT,
    SIM_KEY_CONFIG,
    SIM_KEY_LEADER,
    SIM_KEY_STATUS,
    SIM_KEY_FAILOVER,
    SIM_KEY_HISTORY,
    SIM_KEY_MEMBER /* + node */
};

struct sim_member {
    uint64_t rev;
    uint64_t xlog, receive, replay;
    uint32_t lease, tl;
    uint16_t tags; /* into sim->tag_sets */
    uint8_t state, role;
    bool exists, checkpoint_pending, pause, pending_restart, positions, streaming;
};

struct sim_failover {
    uint64_t rev;
    int64_t at_wall_us;
    int8_t leader, candidate; /* -1: not named */
    bool exists, scheduled, unreadable;
};

/** All keys at one revision. */
struct sim_keys {
    uint64_t rev;
    uint64_t committed_us;
    enum dcs_initialize init;
    char sysid[24];
    uint64_t init_rev;
    bool config, leader, status, history;
    uint32_t config_id; /* into sim->configs */
    uint64_t config_rev;
    int8_t leader_node;
    uint32_t leader_lease;
    uint64_t leader_rev;
    uint64_t optime;
    struct sim_failover failover;
    uint32_t history_lines, history_tl; /* the cluster's timeline; 1: '[]' */
    struct sim_member members[SIM_NODES_MAX];
};

struct sim_lease {
    uint32_t id; /* 0: free */
    int8_t node;
    bool armed;
    uint64_t ttl_us, expires_us;
};
#define SIM_LEASES 1024

/** An answer as the etcd client has to understand it. */
enum sim_answer {
    SIM_ANSWER_OK,
    SIM_ANSWER_GUARD,     /* the transaction's guard failed */
    SIM_ANSWER_NO_LEASE,  /* lease not found; a keepalive without TTL */
    SIM_ANSWER_DENIED,    /* permission denied, database full, …: an error, but no guard */
    SIM_ANSWER_NO_LEADER, /* election, overload, a sick member: the node failed */
};

enum sim_step {
    SIM_STEP_KEEPALIVE = 1,
    SIM_STEP_GRANT,
    SIM_STEP_STATUS,
    SIM_STEP_MAIN,
    SIM_STEP_CHECK,
    SIM_STEP_REBIND
};

struct sim_op {
    bool used;
    enum ha_dcs_op op;
    uint8_t step;
    bool ambiguous; /* an earlier sending may have happened */
    uint32_t try;   /* answers to others are not listened to */
    uint64_t slow_until_us;
    uint64_t try_ms, sent_ms, deadline_ms, proven_ms;
    uint32_t lease;
    unsigned rebinds;
    /* what is written */
    struct sim_member member;
    struct sim_failover failover;
    uint64_t optime, guard_rev;
    uint32_t n1, n2;
    bool create;
    char sysid[24];
};

#define SIM_AGAIN_MAX 64

struct sim_store {
    struct sim_keys keys;
    struct sim_keys ring[SIM_RING]; /* [rev % SIM_RING] */
    uint64_t compacted;             /* older revisions cannot be watched */
    struct sim_lease leases[SIM_LEASES];
    uint32_t next_lease;
    unsigned n_leases; /* the used part of the table */
    /* what hurts it */
    unsigned no_quorum; /* counts of faults under way */
    uint64_t slow_us;
    unsigned drop_request_pm, drop_reply_pm;
    uint64_t again_us; /* what is sent is carried out once more so much later; 0: not */
    struct sim_op again[SIM_AGAIN_MAX];
    enum sim_answer error; /* SIM_ANSWER_OK: none */
    unsigned error_pm;
    uint64_t ill_until_us; /* the last of them ended */
};

void store_init(struct sim *s);
/** An RPC of @n's request slot reaches the store; what it answers is sent back. */
void store_arrive(struct sim *s, struct sim_node *n, const struct sim_ev *ev);
/** By a node of the store that had stood still, say: nobody waits for it any more. */
void store_again(struct sim *s, struct sim_node *n, const struct sim_op *op);
void store_revoke(struct sim *s, uint32_t lease, const char *why);
void store_election(struct sim *s); /* a new store leader: every lease begins anew */
void store_compact(struct sim *s);
/** @at_wall_us 0: at once; not @readable: a moment that nobody understands. */
void store_set_failover(struct sim *s, int leader, int candidate, int64_t at_wall_us,
                        bool readable);
void store_set_config(struct sim *s, uint32_t config_id);
void store_delete_config(struct sim *s);
void store_delete_initialize(struct sim *s);
void store_delete_member(struct sim *s, unsigned node);

/* ---- dcs.c: the agent's side ------------------------------------------------------------------
 */

struct sim_dcs {
    struct sim_op ops[HA_DCS_OPS];
    struct sim_keys keys; /* the cached copy */
    struct dcs_cluster view;
    uint16_t view_tags[SIM_NODES_MAX]; /* + 1: which set stands in view.members[] */
    bool have_view, live, was_live;
    uint64_t rev;       /* the watch has told everything up to it */
    uint64_t expect_us; /* since when it owes something; 0: nothing */
    uint32_t stream;    /* generation of the watch */
    bool deliver_armed, connecting;
    uint64_t pause_us;
    uint32_t lease;
    uint64_t lease_proven_ms, lease_ttl_ms;
    struct sim_member touched;
    uint32_t touched_lease;
    uint64_t last_optime; /* the last status document */
    uint64_t init_rev;    /* of the initialize key that our bootstrap has made */
};

void dcs_init_node(struct sim *s, struct sim_node *n); /* a new agent process */
void dcs_port(void *data, const struct ha_effect *e);
/** The store changed: whoever watches will hear of it. */
void dcs_committed(struct sim *s);
void dcs_stream_hurt(struct sim *s, struct sim_node *n); /* its connection or its server is ill */
/** Try @try of request @slot will not be answered. */
void dcs_lost_try(struct sim *s, struct sim_node *n, uint32_t slot, uint32_t try);
void dcs_reply(struct sim *s, struct sim_node *n, const struct sim_ev *ev);
void dcs_fill_view(struct sim *s, struct sim_node *n);

/* ---- PostgreSQL --------------------------------------------------------------------------------
 */

/** One line of history; several may bear the same timeline number. */
struct sim_branch {
    uint32_t tli;
    int parent;          /* -1: the first */
    uint64_t switch_lsn; /* where it left its parent */
    uint64_t created_us;
    int8_t by;
    /* for the checkers */
    uint64_t acked_lsn, sync_lsn, first_ack_us, last_ack_us;
};

enum sim_proc { PG_DOWN, PG_STARTING, PG_RUNNING, PG_STOPPING };

#define SIM_WRITES 32
struct sim_pg {
    enum sim_proc proc;
    bool in_recovery;   /* as it runs */
    bool writable;      /* takes writes */
    bool backends_hang; /* a fast stop does not end the sessions */
    bool broken;        /* a rewind or copy ended half-way: it cannot start */
    enum postmaster_dir dir;
    bool unfinished;     /* marked as a cluster that is being made, */
    uint64_t marked_rev; /* by the maker of this initialize key */
    char sysid[24];
    bool standby_signal, backup_label;
    int branch;
    uint64_t lsn;
    enum postmaster_control_state control;
    uint64_t checkpoint;
    int upstream; /* configured; -1: nobody */
    bool streaming;
    uint32_t life;   /* of the process */
    uint32_t attach; /* of the wal receiver's attempts */
    bool attach_armed;
    int64_t start_wall_us;
    struct {
        uint64_t us, lsn;
    } writes[SIM_WRITES]; /* the last ones, as a ring */
    unsigned n_writes;
    /* what hurts it; counts or durations, 0: nothing */
    unsigned fail_starts, fail_promotes, fail_clones, fail_rewinds;
    unsigned fail_bootstraps, fail_post_bootstraps;
    bool replay_paused;    /* until somebody resumes it; then it ends */
    bool foreign;          /* the data is another cluster's */
    bool stuck;            /* no signal reaches it */
    bool stop_hangs, hung; /* hung: new connections and queries get no answer */
    uint64_t pre_promote_us, promote_us, recovery_us, stop_us, archive_us, lag_us, answer_us;
    bool disk_gone, dir_hidden;
};

void pg_init_node(struct sim *s, struct sim_node *n);
int pg_new_branch(struct sim *s, struct sim_node *n, int parent, uint64_t lsn);
/** Is (@branch, @lsn) in the history of @of? */
bool pg_is_ancestor(const struct sim *s, int branch, uint64_t lsn, int of);
/** Where @branch leaves the history that leads to @of; SIM_MAX_US when it never does. */
uint64_t pg_fork_lsn(const struct sim *s, int branch, int of, int *ret_common);
void pg_catch_up(struct sim *s, struct sim_node *n);
void pg_write(struct sim *s, struct sim_node *n, uint64_t bytes);
void pg_crash(struct sim *s, struct sim_node *n, const char *why);
void pg_end(struct sim *s, struct sim_node *n); /* however: the process is gone */
void pg_spawn(struct sim *s, struct sim_node *n, bool standby, uint64_t after_us);
void pg_promote(struct sim *s, struct sim_node *n);
/** A recovery that ends by itself, with a new timeline: of a custom bootstrap. */
void pg_recover(struct sim *s, struct sim_node *n, uint64_t for_us);
void pg_stop_sessions(struct sim *s, struct sim_node *n);
void pg_try_attach(struct sim *s, struct sim_node *n, uint64_t in_us);
void pg_links_changed(struct sim *s); /* the network or a server changed: streams may end */
uint32_t pg_tli(const struct sim *s, const struct sim_node *n);

/* ---- sync.c -------------------------------------------------------------------------------------
 */

/** synchronous_standby_names, the same on every node. */
struct sim_sync {
    bool any;         /* a quorum; else by priority */
    unsigned n;       /* so many must confirm; 0: no commit waits */
    unsigned n_names; /* 0: '*' */
    uint8_t names[SIM_NODES_MAX];
    unsigned local_pm; /* of 1000 commits with synchronous_commit = local */
};
struct sim_plan;
bool sync_parse(const char *text, struct sim_sync *ret) PGV_MUST_CHECK;
void sync_print(const struct sim_sync *y, char *ret, size_t bytes);
/** Every other node must confirm: whoever is promoted has what was acknowledged. */
bool sync_demands_all(const struct sim_plan *p);
#define SIM_WAITING_MAX 16                /* sessions of the clients */
bool sync_room(const struct sim_node *n); /* a session is free */
/** What was just written is acknowledged when it is confirmed. */
void sync_commit(struct sim *s, struct sim_node *n);
void sync_sessions_end(struct sim_node *n);

/* ---- jobs.c: the supervision of one server ------------------------------------------------------
 */

struct sim_pm {
    struct postmaster_facts facts;
    struct postmaster_job_args args; /* of the job under way */
    enum postmaster_job job;
    uint32_t gen; /* of the job: events of earlier ones are not listened to */
    int phase;
    uint64_t since_us;
    bool working; /* a job other than STOP is under way */
    bool canceled;
    bool looking;
    /* the stop has a life of its own: a RESTART or REWIND uses it too */
    struct {
        bool active, signalled, reported, served;
        struct postmaster_job_args args;
        uint64_t begun_ms, signal_ms, quit_ms;
        uint32_t gen;
        bool own_job; /* PM_JOB_STOP; else on behalf of a job */
    } stop;
    bool starting;      /* a start waits for the server to accept */
    bool bootstrapping; /* the unfinished cluster in the data directory is this agent's */
    /* questions under way */
    bool follow, checkpoint, slots;
    uint32_t follow_gen, checkpoint_gen, slots_gen;
    int follow_upstream;
    uint32_t checkpoint_life;
};

void pm_init_node(struct sim *s, struct sim_node *n);
void pm_attach(struct sim *s, struct sim_node *n);
void pm_server_gone(struct sim *s, struct sim_node *n);
void pm_server_ready(struct sim *s, struct sim_node *n);
void pm_read(struct sim *s, struct sim_node *n);
void pm_tell_facts(struct sim *s, struct sim_node *n);
void pm_port_look(void *data);
void pm_port_check_follow(void *data, const struct postmaster_node *node);
bool pm_port_job(void *data, const struct postmaster_job_args *args, const char *name);
void pm_port_cancel_job(void *data);
void pm_port_checkpoint(void *data);
void pm_port_resume_replay(void *data);
void pm_port_slots(void *data, bool drop_others);
/** A question that is under way is answered now. */
void pm_answer_follow(struct sim *s, struct sim_node *n);
void pm_answer_checkpoint(struct sim *s, struct sim_node *n);
void pm_answer_slots(struct sim *s, struct sim_node *n);

/* ---- watchdog.c ------------------------------------------------------------------------------ */

enum sim_device_kind {
    SIM_DEVICE_NONE,
    SIM_DEVICE_HARDWARE, /* counts real time, whatever the machine does */
    SIM_DEVICE_SOFT,     /* stands still while the machine does */
};
struct sim_device {
    enum sim_device_kind kind;
    uint64_t fixed_ms; /* its time-out cannot be changed; 0: it can */
    bool stays;        /* it cannot be closed */
};

struct sim_watchdog {
    struct sim_device device;
    enum ha_watchdog_mode mode; /* of the agent's configuration */
    bool open;                  /* by the agent's process */
    bool counting;
    uint64_t timeout_ms;
    uint64_t fires_ms, fires_us; /* by the agent's clock, by the world's */
    uint64_t left_us;            /* SOFT, while the machine stands still */
    bool stood;                  /* SOFT: so did it, since its last keepalive */
    uint32_t gen;
    /* what hurts it */
    bool gone; /* no such device */
    bool busy; /* it cannot be opened, although it looks as if */
    bool deaf; /* keepalives fail, it goes on counting */
};

void watchdog_init_node(struct sim *s, struct sim_node *n);
/** As configured; 0: impossible. */
uint64_t watchdog_wanted_ms(const struct sim *s, const struct sim_node *n);
bool watchdog_usable(const struct sim_node *n);
void watchdog_port(void *data, const struct ha_effect *e);
void watchdog_machine_stops(struct sim *s, struct sim_node *n);
void watchdog_machine_goes_on(struct sim *s, struct sim_node *n);
void watchdog_power_lost(struct sim_node *n);
void watchdog_agent_gone(struct sim_node *n);
void watchdog_goes_away(struct sim_node *n, bool begin);

/* ---- node.c
 * -------------------------------------------------------------------------------------- */

struct sim_node {
    struct sim *sim;
    unsigned i;
    char name[8];
    struct ha ha;
    struct pump pump;
    struct ha_policy policy;
    uint32_t config_id; /* adopted; UINT32_MAX: none */
    bool up, running, frozen, paused;
    uint32_t life;
    uint64_t thawed_us; /* end of the last freeze, pause or start */
    uint64_t froze_us;
    bool thawed_machine;
    uint64_t blind_until_us; /* for the checkers: a stolen clock misleads until then */
    /* its clock */
    int64_t ppm;
    uint64_t stolen_us, boot_us;
    int64_t wall_off_us;
    struct pgv_tags tags;
    uint16_t tags_id;
    struct sim_dcs dcs;
    struct sim_pg pg;
    struct sim_pm pm;
    struct sim_watchdog watchdog;
    struct {
        struct {
            uint64_t lsn, since_us;
        } v[SIM_WAITING_MAX];
        unsigned n;
        bool armed;
        uint32_t life;
    } waiting; /* commits, for standbys */
    uint32_t peers_gen, peers_round;
    bool peers_asked;
    unsigned n_peers;
    struct ha_peer peers[HA_PEERS_MAX];
    uint64_t wake_ms, timer_us; /* wanted; in the queue */
    uint32_t timer_gen;
    uint64_t restart_us; /* after a clean end */
    char last_status[HA_TEXT_BYTES];
    /* what is deferred while it is frozen */
    unsigned n_deferred, deferred_max;
    struct sim_ev *deferred;
    /* connections */
    unsigned cut_store, cut_peers, cut_client; /* counts of faults under way */
    uint64_t dark_until_us;                    /* the last one ended, or its stale watch */
    unsigned watch_stale;
    unsigned n_whens;
    int64_t whens[SIM_WHENS_MAX]; /* SIM_FAULT_WHEN: the arguments */
    bool when_due;
    unsigned deeds_left; /* SIM_FAULT_AGENT_KILL_WITHIN: killed upon so many; 0: not */
    bool dying;
    /* for the checkers */
    struct {
        uint64_t key_from_us, key_until_us; /* held the key, as the store knows; until 0: holds */
        int key_lost;                       /* enum sim_loss */
        bool mixed;
        char shown[3];
        uint64_t acked_us;
        uint64_t pause_us; /* it believed in a pause until then */
        uint64_t agent_up_us;
        uint64_t unguarded_us; /* takes writes without a watchdog since then; 0: does not */
        uint64_t stuck_us;     /* PostgreSQL heeded no signals until then */
        uint64_t mode_us;      /* watchdog.mode was changed */
        uint64_t emptied_us;   /* its data was removed: this far it had come */
        uint64_t emptied_lsn;
        int emptied_branch;
        uint64_t window_ms; /* the last loop_wait in which it was as busy as can be, */
        unsigned windows;   /* and how many there were in a row */
        uint64_t device_us; /* something befell its watchdog, which lasts until then */
    } seen;
};

uint64_t node_ms(const struct sim *s, const struct sim_node *n); /* its boot clock */
int64_t node_wall_us(const struct sim *s, const struct sim_node *n);
/** World time at which the node's clock will show @ms. */
uint64_t node_when(const struct sim *s, const struct sim_node *n, uint64_t ms);
void node_init(struct sim *s, unsigned i);
void node_start(struct sim *s, struct sim_node *n, uint64_t in_us); /* the agent's process */
void node_kill(struct sim *s, struct sim_node *n);
void node_freeze(struct sim *s, struct sim_node *n, bool machine);
void node_thaw(struct sim *s, struct sim_node *n, bool machine, uint64_t stolen_us);
void node_feed(struct sim *s, struct sim_node *n, struct ha_event *ev);
void node_push_view(struct sim *s, struct sim_node *n);
void node_on_view(struct sim *s, struct sim_node *n);
void node_push_policy(struct sim *s, struct sim_node *n);
void node_answer_peers(struct sim *s, struct sim_node *n);
bool node_linked(const struct sim *s, const struct sim_node *a, const struct sim_node *b);
void node_go_on(struct sim *s, struct sim_node *n);      /* the first view is there */
int node_by_name(const struct sim *s, const char *name); /* -1: none */

/* ---- client.c
 * ------------------------------------------------------------------------------------- */

void client_start(struct sim *s);
void client_acknowledged(struct sim *s, struct sim_node *n, uint64_t lsn, bool synchronous);

/* ---- plan.c, fault.c
 * -------------------------------------------------------------------------------- */

enum sim_fault_kind {
#define SIM_FAULT(id, name, needs) SIM_FAULT_##id,
#include "tests/sim/fault.def"
#undef SIM_FAULT
    SIM_FAULTS,
};

struct sim_fault {
    uint64_t at_us, dur_us;
    enum sim_fault_kind kind;
    int node;
    int64_t arg;
    bool off; /* left out by the shrinker */
};

/** A restart on a condition. */
enum sim_restart {
    SIM_RESTART_PRIMARY,
    SIM_RESTART_REPLICA,
    SIM_RESTART_PENDING,
    SIM_RESTART_OLDER, /* than 16: so it is */
    SIM_RESTART_NEWER, /* older than 15: so it is not */
    SIM_RESTART_IMPATIENT,
    SIM_RESTARTS
};
/** What a node meets when it is in a state: arg = class * SIM_MEETINGS + meeting. */
enum sim_meeting {
    SIM_MEET_RESTART,
    SIM_MEET_REINIT,
    SIM_MEET_SCHEDULE,
    SIM_MEET_UNSCHEDULE,
    SIM_MEET_WAKE,
    SIM_MEET_SHUTDOWN,
    SIM_MEET_TAGS,
    SIM_MEET_FACTS,  /* a setting waits for a restart */
    SIM_MEET_ORPHAN, /* the leader's key and the leader are gone */
    SIM_MEET_FOLLOW, /* from here on: the answer to a question that is under way */
    SIM_MEET_CHECKPOINT,
    SIM_MEET_SLOTS,
    SIM_MEET_PEERS,
    SIM_MEETINGS
};
void fault_met(struct sim *s, struct sim_node *n); /* the brain has made a step */
enum sim_tag {
    SIM_TAG_NOFAILOVER = 1,
    SIM_TAG_CLONEFROM = 2,
    SIM_TAG_PRIORITY = 4,
    SIM_TAG_REPLICATEFROM = 8
};

/** What the store's configuration key says. */
struct sim_config {
    uint64_t ttl_ms, loop_wait_ms, retry_timeout_ms, primary_start_timeout_ms;
    uint64_t primary_race_backoff_ms, maximum_lag;
    bool paused, check_timeline, sync_mode;
};

struct sim_plan {
    uint64_t seed;
    unsigned nodes;
    struct sim_config config;
    struct pgv_tags tags[SIM_NODES_MAX];
    int64_t ppm[SIM_NODES_MAX];
    uint64_t lag_us[SIM_NODES_MAX];
    bool rewind, remove_on_diverged, remove_on_rewind_failure;
    bool no_bootstrap[SIM_NODES_MAX]; /* no bootstrap section */
    unsigned bootstrap_fails[SIM_NODES_MAX], post_bootstrap_fails[SIM_NODES_MAX];
    uint64_t bootstrap_recovery_us; /* a custom bootstrap that recovers first; 0: initdb */
    uint64_t client_every_us, client_bytes;
    struct sim_sync sync;
    enum ha_watchdog_mode watchdog;
    int safety_margin; /* -1: half of ttl */
    struct sim_device devices[SIM_NODES_MAX];
    uint64_t latency_us;
    uint64_t faults_from_us, faults_until_us;
    unsigned n_faults;
    struct sim_fault faults[SIM_FAULTS_MAX];
    bool scripted; /* a scenario: what a script expects is checked by the script */
};

/**
 * Seeds up to these stand for what they stood for when they were stored: what the simulator has
 * learned since is only in the plans of greater ones.
 */
#define PLAN_FIRST_SEEDS 10000000ull
#define PLAN_SECOND_SEEDS 100000000ull
#define PLAN_WATCHDOG_SEEDS 1000000000ull
#define PLAN_FIFTH_SEEDS 1796000000000ull
void plan_make(struct sim_plan *p, uint64_t seed);
void plan_print(const struct sim_plan *p, FILE *to);
const char *fault_name(enum sim_fault_kind kind);
void fault_begin(struct sim *s, const struct sim_fault *f);
void fault_schedule(struct sim *s, unsigned i);
/** Everything on the machine ends at once; or it boots, and its agent is started. */
void machine_power(struct sim *s, struct sim_node *n, bool on);
/** Nothing lies in wait any more, and nobody keeps the cluster paused. */
void fault_heal(struct sim *s);
/** In which time after the last fault everything must be well again, from the configuration. */
uint64_t plan_leader_bound_us(const struct sim_plan *p);
uint64_t plan_settled_bound_us(const struct sim_plan *p);

/* ---- check.c
 * ------------------------------------------------------------------------------------------ */

/** Why a node does not hold the key any more. */
enum sim_loss {
    SIM_LOSS_NONE,
    SIM_LOSS_EXPIRED,
    SIM_LOSS_RELEASED,
    SIM_LOSS_REVOKED,
    SIM_LOSS_TAKEN
};

enum sim_rule {
#define SIM_RULE(id, text) SIM_RULE_##id,
#include "tests/sim/rules.def"
#undef SIM_RULE
    SIM_RULES,
};
/** Two writable servers that no agent could have prevented, by cause. */
enum sim_odd {
    SIM_ODD_FROZEN,
    SIM_ODD_DEAD,
    SIM_ODD_PAUSED_MACHINE,
    SIM_ODD_STOLEN,
    SIM_ODD_STUCK,
    SIM_ODD_SESSION,
    SIM_ODD_PAUSE_MODE,
    SIM_ODD_BOOTSTRAP,
    SIM_ODDS
};
extern const char *const sim_odd_names[SIM_ODDS];
/** What guarded the one without the key. */
enum sim_guard { SIM_GUARD_NONE, SIM_GUARD_SOFT, SIM_GUARD_HARDWARE, SIM_GUARDS };
extern const char *const sim_guard_names[SIM_GUARDS];
/** Why a watchdog fired. */
enum sim_reset {
    SIM_RESET_FROZEN,
    SIM_RESET_DEAD,
    SIM_RESET_MACHINE, /* asleep or stopped */
    SIM_RESET_STOP,    /* PostgreSQL does not end */
    SIM_RESET_DEVICE,  /* keepalives failed, or it cannot be closed */
    SIM_RESETS
};
extern const char *const sim_reset_names[SIM_RESETS];

void check_init(struct sim *s);
void check_after_event(struct sim *s);
void check_cycles(struct sim *s, struct sim_node *n);
void check_violation(struct sim *s, const struct sim_node *n, enum sim_rule rule, const char *fmt,
                     ...) PGV_PRINTF(4, 5);
const char *check_rule_name(enum sim_rule rule);
/* told by the models */
void check_published(struct sim *s, struct sim_node *n); /* its optime */
void check_key_won(struct sim *s, struct sim_node *n);
void check_key_lost(struct sim *s, struct sim_node *n, enum sim_loss how);
void check_promote_signal(struct sim *s, struct sim_node *n);
void check_job(struct sim *s, struct sim_node *n, const struct postmaster_job_args *args);
void check_ack(struct sim *s, struct sim_node *n, uint64_t lsn, bool synchronous);
void check_promoted(struct sim *s, struct sim_node *n);
void check_attached(struct sim *s, struct sim_node *n, struct sim_node *up);
void check_fault(struct sim *s, const struct sim_fault *f);
void check_asked(struct sim *s, const struct sim_node *n); /* by people; NULL: of the cluster */
void check_pause(struct sim *s, bool paused);
void check_reset(struct sim *s, struct sim_node *n);
void check_disarmed(struct sim *s, struct sim_node *n);
void check_thawed(struct sim *s, struct sim_node *n);                  /* since n->froze_us */
void check_emptied(struct sim_node *n);                                /* its data is about to go */
void check_device(struct sim *s, struct sim_node *n, uint64_t dur_us); /* a fault of its watchdog */
bool check_leader_settled(struct sim *s); /* one leader accepts writes */
bool check_all_settled(struct sim *s, char *why, size_t why_bytes);

struct sim_check {
    bool dirty;
    unsigned violations;
    enum sim_rule rule;      /* the first */
    enum sim_rule unsettled; /* which one it is that the cluster does not settle */
    char text[200];
    uint64_t at_us;
    uint64_t odd_us[SIM_ODDS];
    unsigned odd_n[SIM_ODDS];
    unsigned guarded_n[SIM_ODDS][SIM_GUARDS]; /* the same, by what guarded it */
    unsigned reset_n[SIM_RESETS];
    bool two; /* two are writable now */
    enum sim_odd two_why;
    uint64_t two_since_us;
    /* the faults that may excuse a demotion: when the last ended, per node; store faults apart */
    uint64_t excuse_until_us[SIM_NODES_MAX];
    uint64_t store_fault_until_us;
    uint64_t short_from_us, short_until_us; /* the last one of the store that excuses none */
    uint64_t excuse_short_us[SIM_NODES_MAX];
    uint64_t operator_us, manual_us, asked_us[SIM_NODES_MAX];
    uint64_t max_lag_before;
    unsigned mixed; /* standbys on a history of the same number */
    bool strangers; /* data of another cluster may be left: of a bootstrap that broke off, or for
                       the initialize key was away */
    uint64_t pause_from_us, pause_until_us;
    bool disowned; /* people have removed the initialize key while nobody led: the next bootstrap,
                      or the one that was under way, may be beside another cluster's leader */
    uint64_t won_optime[SIM_NODES_MAX];
    bool won_manual[SIM_NODES_MAX];
};

/* ---- the run
 * --------------------------------------------------------------------------------------------- */

struct sim_mark { /* kept for the picture */
    uint64_t us;
    int8_t node;
    uint8_t what;
    char text[118];
};

#define SIM_CLASSES 16 /* of states, see reach.c */
struct sim_stats {
    uint64_t events, steps, acks, refused, promotions, demotions, failovers, jobs, sim_us;
    uint64_t bootstraps, clones, rewinds, resets;
    uint64_t pairs[HA_EV_SHUTDOWN + 1][SIM_CLASSES]; /* event x what the node was then */
    uint64_t whys[HA_WHYS];
    uint64_t faults[SIM_FAULTS];
    uint64_t unavailable_us, lost_bytes;
    uint64_t sync_acks, sync_losses; /* where not all must confirm */
};

struct sim {
    struct sim_plan plan;
    uint64_t now_us, seq;
    struct sim_rng rng;
    struct sim_ev *heap;
    unsigned n_heap, heap_max;
    unsigned n;
    struct sim_node *nodes; /* n of SIM_NODES_MAX */
    struct sim_store store;
    struct sim_branch branches[SIM_BRANCHES_MAX];
    unsigned n_branches;
    struct sim_config configs[SIM_CONFIGS_MAX];
    unsigned n_configs;
    struct pgv_tags tag_sets[SIM_TAG_SETS_MAX]; /* the first are those of the plan */
    unsigned n_tag_sets;
    struct sim_check check;
    struct sim_stats stats;
    unsigned faults_on; /* under way */
    bool healed;        /* the faults are over */
    uint64_t client_seq;
    uint64_t busy_us; /* events at one instant: somebody may spin */
    unsigned busy;
    int client_last; /* the server that took the last commit */
    uint64_t last_ack_us;
    bool stop; /* a violation ends the run */
    FILE *trace;
    bool mark;
    unsigned n_marks, marks_max;
    struct sim_mark *marks;
    int marked_key;
    uint32_t request_id;
    struct sim_recording *recording; /* or NULL */
};

static inline void sim_in(struct sim *s, uint64_t in_us, enum sim_owner owner, struct sim_node *n,
                          sim_fn fn, uint32_t a, uint64_t b, uint64_t c)
{
    sim_at(s, s->now_us + in_us, owner, n, fn, a, b, c);
}

struct sim *sim_new(void);
void sim_free(struct sim *s);
/** A world from its plan; false: memory. */
void sim_begin(struct sim *s, const struct sim_plan *plan);
/** Until @until_us or a violation; true: there is more to do. */
bool sim_run_until(struct sim *s, uint64_t until_us);
/** A whole run of a seed: faults, healing, liveness. True: nothing was violated. */
bool sim_run(struct sim *s, const struct sim_plan *plan);
static inline uint64_t sim_lat(struct sim *s, uint64_t from_us, uint64_t to_us)
{
    return sim_rng_range(&s->rng, from_us, to_us);
}

/* ---- reach.c --------------------------------------------------------------------------------- */

/** 'primary_no_key+job'; -1: no such state. */
int reach_class_by_name(const char *name);
/** Why this pair cannot occur; NULL: it can. */
const char *reach_impossible(unsigned class, enum ha_event_type event);
unsigned reach_class(const struct sim_node *n);
/** @n is about to be told @event. */
void reach_note(struct sim *s, struct sim_node *n, enum ha_event_type event);
void reach_print(const struct sim *s);
/** Lists what is possible and was not reached. */
bool reach_missing(const struct sim *s);

/* ---- record.c ------------------------------------------------------------------------------- */

/** The run's agents are recorded into @dir/pgvigil-NAME.rec; @dir must live until the end. */
struct sim_recording *recording_open(const char *dir);
/** What could not be written is told here. */
bool recording_close(struct sim_recording *r, struct pgv_error *err) PGV_MUST_CHECK;
void recording_agent(struct sim *s, struct sim_node *n); /* a new agent process */
void recording_step(struct sim *s, struct sim_node *n, const struct ha_event *ev,
                    const struct ha_effects *fx);

/* ---- trace.c ----------------------------------------------------------------------------------
 */

/** Frames #@from to #@to of a flight recording, as a text that trace_check() can run. */
bool trace_import(const char *path, uint64_t from, uint64_t to, FILE *out,
                  struct pgv_error *err) PGV_MUST_CHECK;
/** False: unreadable. @ret_same: this build decides as the text says. */
bool trace_check(const char *path, bool *ret_same, struct pgv_error *err) PGV_MUST_CHECK;

/* scenario.c, html.c */
bool scenario_run(struct sim *s, const char *path, bool *ret_ok, struct pgv_error *err);
bool html_write(const struct sim *s, const char *path, const char *title, struct pgv_error *err);
