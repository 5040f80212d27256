/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/ha/internal.h - what the brain's rooms share. Not for anybody outside agent/ha.
 *
 * A table is a function that returns an enum ha_flow. Reading top to bottom, TRY() leaves as soon
 * as a table has waited or ended the cycle.
 */
#pragma once

#include "agent/ha/ha.h"

enum ha_flow {
    HA_GO_ON, /* nothing of this table applies: on to the next */
    HA_WAIT,  /* a question is out: this pass stops here and begins again with the answer */
    HA_END,   /* the cycle has its status line */
};

#define TRY(table)                                                                                 \
    do {                                                                                           \
        enum ha_flow flow_ = (table);                                                              \
        if (flow_ != HA_GO_ON)                                                                     \
            return flow_;                                                                          \
    } while (0)

/* say.c: effects and their words */
struct ha_effect *ha_emit(struct ha_effects *fx, enum ha_effect_type type, enum ha_why why);
void ha_log(struct ha_effects *fx, enum ha_level level, enum ha_why why, ...);
enum ha_flow ha_end(struct ha *ha, struct ha_effects *fx, enum ha_why why, ...);
/** The sentence of @why with its arguments, into @ret. */
void ha_say(char *ret, size_t ret_bytes, enum ha_why why, ...);

bool ha_why_has_arguments(enum ha_why why);

/* ask.c: questions */
/** Ask the store once per cycle; what is already in flight is waited for. */
enum ha_ask ha_ask_dcs(struct ha *ha, struct ha_effects *fx, enum ha_dcs_op op, enum ha_why why);
/** As ha_ask_dcs() but nobody waits: skipped while one of the kind is in flight. */
struct ha_effect *ha_tell_dcs(struct ha *ha, struct ha_effects *fx, enum ha_dcs_op op,
                              enum ha_why why);
/** Whom a question to the peers is about. */
enum ha_peers_for {
    HA_PEERS_RACE = 1, /* everybody we know of, and the named candidate in any case */
    HA_PEERS_FAILOVER, /* who could take over from us (ha contract §14.5) */
    HA_PEERS_RECEIVED, /* demotion: who has our shutdown checkpoint */
};
enum ha_ask ha_ask_peers(struct ha *ha, struct ha_effects *fx, enum ha_peers_for why);
/** Start a job; @why's sentence is its name unless @name is given. */
struct ha_effect *ha_start_job(struct ha *ha, struct ha_effects *fx, enum postmaster_job kind,
                               enum ha_why why, const char *name);

/* world.c: derived facts */
bool ha_unlocked(const struct ha *ha);
bool ha_is_primary(
    const struct ha *ha); /* PostgreSQL runs and is not in recovery, as far as known */
bool ha_writable(
    const struct ha *ha); /* it may be taking writes now or soon: what fencing looks at */
bool ha_starting(const struct ha *ha);
bool ha_sync_active(const struct ha *ha); /* the sync key names a leader and sync mode is on */
uint64_t ha_position(const struct ha *ha);
const struct dcs_member *ha_me(const struct ha *ha);
void ha_node_of_member(const struct ha *ha, const struct dcs_member *m,
                       struct postmaster_node *ret);
/** The leader as a node; its member key may be missing. */
void ha_node_of_leader(const struct ha *ha, struct postmaster_node *ret);
/** Whom this node follows (ha contract §13.1); empty name: nobody. */
void ha_node_to_follow(const struct ha *ha, struct postmaster_node *ret);
const struct ha_peer *ha_peer_answer(const struct ha *ha, const char *name);
/** Why a peer cannot promote, or NULL (ha contract §11.3). */
const char *ha_limitation(const struct ha_peer *p);
uint32_t ha_leader_timeline(const struct ha *ha);
void ha_trigger_divergence(struct ha *ha);
bool ha_rewind_allowed(const struct ha *ha);
bool ha_rewind_executed(const struct ha *ha);

/* demote.c */
enum ha_demote { HA_DEMOTE_GRACEFUL, HA_DEMOTE_IMMEDIATE, HA_DEMOTE_NOLOCK, HA_DEMOTE_OFFLINE };
/** Begin to stop the primary; cancels what runs. Sets the demotion going; @name is for people. */
void ha_demote(struct ha *ha, struct ha_effects *fx, enum ha_demote mode, enum ha_why why,
               const char *name);
void ha_fence(struct ha *ha, struct ha_effects *fx);
void ha_demotion_go_on(struct ha *ha, struct ha_effects *fx);
void ha_shutdown_go_on(struct ha *ha, struct ha_effects *fx);
uint64_t ha_fence_at(const struct ha *ha); /* clock moment; UINT64_MAX: none */

/* the tables, in the order of the cycle */
enum ha_flow ha_load(struct ha *ha, struct ha_effects *fx);            /* step.c */
enum ha_flow ha_job_in_progress(struct ha *ha, struct ha_effects *fx); /* action.c */
enum ha_flow ha_starting_instance(struct ha *ha, struct ha_effects *fx);
enum ha_flow ha_post_bootstrap(struct ha *ha, struct ha_effects *fx); /* bootstrap.c */
enum ha_flow ha_after_clone(struct ha *ha, struct ha_effects *fx);
enum ha_flow ha_data_dir(struct ha *ha, struct ha_effects *fx);
enum ha_flow ha_join(struct ha *ha, struct ha_effects *fx);         /* join.c */
enum ha_flow ha_post_recover(struct ha *ha, struct ha_effects *fx); /* recover.c */
enum ha_flow ha_not_running(struct ha *ha, struct ha_effects *fx);
enum ha_flow ha_rewind_or_reinit(struct ha *ha, struct ha_effects *fx);
enum ha_flow ha_race(struct ha *ha, struct ha_effects *fx);    /* race.c */
enum ha_flow ha_healthy(struct ha *ha, struct ha_effects *fx); /* leader.c */
enum ha_flow ha_enforce_primary(struct ha *ha, struct ha_effects *fx, enum ha_why steady,
                                enum ha_why promoting);
enum ha_ask ha_update_lock(struct ha *ha, struct ha_effects *fx, bool status);
enum ha_flow ha_follow(struct ha *ha, struct ha_effects *fx, enum ha_why demote,
                       enum ha_why follow);
enum ha_flow ha_dcs_failed(struct ha *ha, struct ha_effects *fx); /* outage.c */
/** A failover or switchover is asked for, and its moment, if it has one, has come. Until then it is
 * no word on who takes over from a leader that dies: the one it names may be far behind. */
bool ha_manual_asked(const struct ha *ha);
enum ha_flow ha_manual_from_leader(struct ha *ha, struct ha_effects *fx); /* manual.c */
enum ha_verdict { HA_NO, HA_YES, HA_UNDECIDED, HA_ASKING };
enum ha_verdict ha_manual_no_leader(struct ha *ha, struct ha_effects *fx);
enum ha_verdict ha_compare_with_peers(struct ha *ha, struct ha_effects *fx, bool check_lag,
                                      const char *former_leader); /* race.c */
/** How long this node still holds its race back because its WAL moves; 0: it does not. */
uint64_t ha_backoff_left_ms(const struct ha *ha, uint64_t now_ms); /* race.c */
/** Could somebody else take over? @received_lsn 0: by the lag rule. Asks when it must. */
enum ha_verdict ha_failover_possible(struct ha *ha, struct ha_effects *fx, bool exclude_candidate);
bool ha_peers_can_take_over(struct ha *ha, struct ha_effects *fx, uint64_t received_lsn);
enum ha_flow ha_scheduled_restart(struct ha *ha, struct ha_effects *fx); /* restart.c */
void ha_take_request(struct ha *ha, const struct ha_request *r, struct ha_effects *fx);
void ha_job_ended(struct ha *ha, enum postmaster_job job, enum postmaster_outcome outcome,
                  struct ha_effects *fx); /* fold.c */
void ha_fold(struct ha *ha, const struct ha_event *ev, struct ha_effects *fx);
/** 'switchover', 'manual failover', 'failover' (ha contract §14.1). */
const char *ha_action_name(const struct ha *ha);
const char *ha_bare_action_name(const struct ha *ha);
bool ha_copy_name(char *dst, const char *src);
