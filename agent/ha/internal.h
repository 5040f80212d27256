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
/** A request that may make the leader key ours, once more, has not been answered. */
bool ha_key_on_its_way(const struct ha *ha);
/**
 * Ends the cycle with the key released. While one is on its way that is waited for: the store might
 * carry it out after the release, and what is sent again of the release would undo it later, when
 * we lead by it.
 */
enum ha_flow ha_give_key_up(struct ha *ha, struct ha_effects *fx, enum ha_why why);
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
/** The same, or it was told to become it, and nobody knows whether it has by now: its recovery goes
 * on, or it does not answer. Without the key it must be stopped like a primary. */
bool ha_may_be_primary(const struct ha *ha);
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
/** The same for a cluster in the making: somebody else leads by now. bootstrap.c */
void ha_bootstrap_fence(struct ha *ha, struct ha_effects *fx);
void ha_demotion_go_on(struct ha *ha, struct ha_effects *fx);
void ha_shutdown_go_on(struct ha *ha, struct ha_effects *fx);
uint64_t ha_fence_at(const struct ha *ha); /* clock moment; UINT64_MAX: none */

/** The next regular cycle comes before the watchdog must be kept alive. */
void ha_renew_in_time(struct ha *ha); /* step.c */
/* watchdog.c */
/** Time-out; 0: no watchdog with this configuration. */
uint64_t ha_watchdog_wanted(const struct ha *ha);
/** It runs, and as it should. */
bool ha_watchdog_guards(const struct ha *ha);
/** Nothing is left to do before this node may lead. */
bool ha_watchdog_ready(const struct ha *ha);
/** Its activation has failed a moment ago; in required mode only. */
bool ha_watchdog_rests(const struct ha *ha, uint64_t now_ms);
/** Clock moment at which it resets the machine; UINT64_MAX: never. */
uint64_t ha_watchdog_fires(const struct ha *ha);
/** Until when we may be primary: the lease ends, or the watchdog fires. 0: no lease. */
uint64_t ha_proven_until(const struct ha *ha);
/** Fencing is about to act because it fires before the lease ends. */
void ha_watchdog_fenced(struct ha *ha);
/** By then the lease should be renewed, for one slow renewal to do no harm. */
uint64_t ha_watchdog_renew_at(const struct ha *ha);
/** May we race? Asked once per cycle; at once OK unless it is required. */
enum ha_ask ha_watchdog_check(struct ha *ha, struct ha_effects *fx);
/** Before leading: once per cycle. REFUSED: there is none; ha_watchdog_lacks() says what of it.
 * LOST: there was not time enough left of the lease. */
enum ha_ask ha_watchdog_activate(struct ha *ha, struct ha_effects *fx);
/** Refused, and without it this node must not lead. */
bool ha_watchdog_lacks(const struct ha *ha, enum ha_ask activated);
/** The lease was proven just now. */
void ha_watchdog_proven(struct ha *ha, struct ha_effects *fx);
void ha_watchdog_new_policy(struct ha *ha, struct ha_effects *fx);
void ha_watchdog_told(struct ha *ha, const struct ha_watchdog *w, struct ha_effects *fx);
void ha_watchdog_go_on(struct ha *ha, struct ha_effects *fx);
uint64_t ha_watchdog_at(const struct ha *ha); /* clock moment for ha_watchdog_go_on() */
/** The agent ends. */
void ha_watchdog_leave(struct ha *ha, struct ha_effects *fx);

/* the tables, in the order of the cycle */
enum ha_flow ha_load(struct ha *ha, struct ha_effects *fx);            /* step.c */
enum ha_flow ha_job_in_progress(struct ha *ha, struct ha_effects *fx); /* action.c */
/** The store has said that the key is not ours, whatever the view says: stop being primary. */
enum ha_flow ha_key_denied(struct ha *ha, struct ha_effects *fx);
enum ha_flow ha_starting_instance(struct ha *ha, struct ha_effects *fx);
/** All that makes a new cluster stands, and its leader key was asked for: led like any other now.
 */
void ha_bootstrap_made(struct ha *ha, struct ha_effects *fx);
enum ha_flow ha_post_bootstrap(struct ha *ha, struct ha_effects *fx); /* bootstrap.c */
enum ha_flow ha_after_clone(struct ha *ha, struct ha_effects *fx);
enum ha_flow ha_data_dir(struct ha *ha, struct ha_effects *fx);
enum ha_flow ha_join(struct ha *ha, struct ha_effects *fx);         /* join.c */
enum ha_flow ha_post_recover(struct ha *ha, struct ha_effects *fx); /* recover.c */
enum ha_flow ha_not_running(struct ha *ha, struct ha_effects *fx);
enum ha_flow ha_rewind_or_reinit(struct ha *ha, struct ha_effects *fx);
enum ha_flow ha_race(struct ha *ha, struct ha_effects *fx); /* race.c */
/** Before a server that is none becomes the primary under a key that was not won in this cycle. */
enum ha_flow ha_key_regained(struct ha *ha, struct ha_effects *fx);
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

/* rules: pure, so that what is decided (race.c, manual.c) and what is told (explain.c) is the same
 */
/** True: it may. @position: how far the one in question is. */
bool ha_lag_fits(const struct ha *ha, uint64_t position);
/** With check_timeline: @timeline is known and no older than the cluster's. */
bool ha_timeline_fits(const struct ha *ha, uint32_t timeline);
bool ha_pre_promote_rests(const struct ha *ha, uint64_t now_ms);
bool ha_sync_fits(const struct ha *ha);
bool ha_sysid_fits(const struct ha *ha);
bool ha_failsafe_fits(const struct ha *ha);
/** The sync key is in force and does not name this node. */
bool ha_sync_excludes(const struct ha *ha);
/** primary_race_backoff holds this node back; how long at most. */
bool ha_race_backs_off(const struct ha *ha, uint64_t now_ms, uint64_t *ret_left_ms);
enum ha_peer_stand {
    HA_PEER_BEHIND,  /* or as far as this node, and not preferred */
    HA_PEER_LIMITED, /* ha_limitation() */
    HA_PEER_LEFT,    /* a switchover away from it */
    HA_PEER_PRIMARY,
    HA_PEER_OLD, /* of a timeline that check_timeline does not let lead */
    HA_PEER_AHEAD,
    HA_PEER_PREFERRED, /* as far, with a higher failover_priority */
};
/** @check_lag false: on request; @former: the leader before, or NULL. */
enum ha_peer_stand ha_peer_stands(const struct ha *ha, const struct ha_peer *p, bool check_lag,
                                  const char *former);
/** The leader before, for ha_peer_stands() without a request; NULL: not known. */
const char *ha_former_leader(const struct ha *ha);
enum ha_manual_stand {
    HA_MANUAL_ME,
    HA_MANUAL_GONE,   /* paused, we are primary, and the candidate is no member */
    HA_MANUAL_PAUSED, /* waits for somebody else, as long as the pause lasts */
    /* from here on the candidate's answer counts */
    HA_MANUAL_OTHER,   /* the candidate, who can */
    HA_MANUAL_BACK,    /* away from us: only when nobody else can */
    HA_MANUAL_ANYBODY, /* whoever is best */
};
/** What the failover key means for us; the candidate's last answer counts. */
enum ha_manual_stand ha_manual_stands(const struct ha *ha);
/** Could another peer than the candidate take over? By their last answers. */
bool ha_somebody_else_can(const struct ha *ha);
/** In a pause a failover that is not scheduled goes before everything else. */
bool ha_manual_goes_first(const struct ha *ha);

enum ha_verdict { HA_NO, HA_YES, HA_UNDECIDED, HA_ASKING };
enum ha_verdict ha_manual_no_leader(struct ha *ha, struct ha_effects *fx);
enum ha_verdict ha_compare_with_peers(struct ha *ha, struct ha_effects *fx, bool check_lag,
                                      const char *former_leader); /* race.c */
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
