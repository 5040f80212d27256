/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/record_fields.c - which fields are recorded. One table writes, reads and compares them.
 *
 * A field that is added to the world, an event or an effect is added here too;
 * tests/unit/test_agent_record.c finds bytes of them that no entry covers.
 */
#include "agent/record_fields.h"

#include <stddef.h>

#define SIZE(S, m) (uint32_t)sizeof(((S *)0)->m)
#define AT(S, m) (uint32_t) offsetof(S, m)
#define COUNT(S, m) (uint32_t)(sizeof(((S *)0)->m) / sizeof(((S *)0)->m[0]))

#define ONE(S, m, k, lim, subs)                                                                    \
    {                                                                                              \
        .name = #m, .sub = subs, .off = AT(S, m), .size = SIZE(S, m), .n = 1, .n_off = RECORD_ALL, \
        .limit = lim, .kind = k                                                                    \
    }
#define MANY(S, m, counter, k, lim, subs)                                                          \
    {                                                                                              \
        .name = #m, .sub = subs, .off = AT(S, m), .size = SIZE(S, m[0]), .n = COUNT(S, m),         \
        .n_off = counter, .limit = lim, .kind = k                                                  \
    }

#define BOOL(S, m) ONE(S, m, RECORD_BOOL, 0, NULL)
#define UINT(S, m) ONE(S, m, RECORD_UINT, 0, NULL)
#define INT(S, m) ONE(S, m, RECORD_INT, 0, NULL)
#define ENUM(S, m, below) ONE(S, m, RECORD_ENUM, (uint32_t)(below), NULL)
#define TEXT(S, m) ONE(S, m, RECORD_TEXT, 0, NULL)
#define URL(S, m) ONE(S, m, RECORD_URL, 0, NULL)
#define STRUCT(S, m, subs) ONE(S, m, RECORD_STRUCT, 0, &(subs))
#define STRUCTS(S, m, counter, subs) MANY(S, m, AT(S, counter), RECORD_STRUCT, 0, &(subs))

#define FIELDS(array)                                                                              \
    {                                                                                              \
        array, (unsigned)(sizeof(array) / sizeof((array)[0]))                                      \
    }

#define ROLES (PGV_ROLE_UNKNOWN + 1)
#define STATES (PGV_STATE_UNKNOWN + 1)
#define JOBS (PM_JOB_MOVE_DATA_ASIDE + 1)
#define ASKS (HA_ASK_LOST + 1)
#define STOP_MODES (PM_STOP_SMART + 1)

#define T struct pgv_tags
static const struct record_field tags_v[] = {
    BOOL(T, nofailover), BOOL(T, noloadbalance),    BOOL(T, clonefrom),    BOOL(T, nosync),
    BOOL(T, nostream),   INT(T, failover_priority), INT(T, sync_priority), TEXT(T, replicatefrom),
};
#undef T
static const struct record_fields tags = FIELDS(tags_v);

#define T struct ha_policy
static const struct record_field policy_v[] = {
    TEXT(T, name),
    UINT(T, ttl_ms),
    UINT(T, loop_wait_ms),
    UINT(T, retry_timeout_ms),
    UINT(T, primary_start_timeout_ms),
    UINT(T, primary_race_backoff_ms),
    UINT(T, maximum_lag_bytes),
    UINT(T, member_slots_ttl_ms),
    BOOL(T, paused),
    BOOL(T, check_timeline),
    BOOL(T, failsafe_mode),
    BOOL(T, sync_requested),
    BOOL(T, can_bootstrap),
    BOOL(T, clone_without_leader),
    BOOL(T, rewind),
    BOOL(T, remove_on_diverged),
    BOOL(T, remove_on_rewind_failure),
    BOOL(T, use_slots),
    ENUM(T, watchdog, HA_WATCHDOG_REQUIRED + 1),
    UINT(T, watchdog_timeout_ms),
    STRUCT(T, tags, tags),
};
#undef T
const struct record_fields record_policy_fields = FIELDS(policy_v);

#define T struct dcs_slot_lsn
static const struct record_field slot_lsn_v[] = { TEXT(T, name), UINT(T, lsn) };
#undef T
static const struct record_fields slot_lsn = FIELDS(slot_lsn_v);

/* 'data' is a pointer into the snapshot and NULL in copies: the brain does not look at it. */
#define T struct dcs_member
static const struct record_field member_v[] = {
    TEXT(T, name),
    TEXT(T, version),
    TEXT(T, session),
    URL(T, conn_url),
    URL(T, api_url),
    ENUM(T, state, STATES),
    ENUM(T, role, ROLES),
    STRUCT(T, tags, tags),
    UINT(T, xlog_location),
    UINT(T, receive_lsn),
    UINT(T, replay_lsn),
    UINT(T, timeline),
    INT(T, agent_version),
    BOOL(T, checkpoint_done),
    BOOL(T, checkpoint_known),
    BOOL(T, streaming),
    BOOL(T, in_archive_recovery),
    BOOL(T, pause),
    BOOL(T, pending_restart),
    BOOL(T, has_scheduled_restart),
};
#undef T
static const struct record_fields member = FIELDS(member_v);

#define T struct dcs_failover
static const struct record_field failover_v[] = {
    BOOL(T, exists),           BOOL(T, present),           TEXT(T, version),
    TEXT(T, leader),           TEXT(T, candidate),         BOOL(T, scheduled),
    BOOL(T, schedule_valid),   BOOL(T, schedule_has_zone), INT(T, scheduled_wall_us),
    INT(T, schedule_offset_s), TEXT(T, schedule_text),
};
#undef T
static const struct record_fields failover = FIELDS(failover_v);

#define T struct dcs_sync
static const struct record_field sync_v[] = {
    BOOL(T, exists), BOOL(T, garbage), TEXT(T, version),
    TEXT(T, leader), INT(T, quorum),   MANY(T, voters, AT(T, n), RECORD_TEXT, 0, NULL),
};
#undef T
static const struct record_fields sync_fields = FIELDS(sync_v);

/* The unnamed structs of failsafe[] and asked[]. */
struct record_address {
    char name[PGV_NAME_BYTES];
    char api_url[PGV_URL_BYTES];
};
#define T struct record_address
static const struct record_field address_v[] = { TEXT(T, name), URL(T, api_url) };
#undef T
static const struct record_fields address = FIELDS(address_v);
_Static_assert(sizeof(((struct dcs_cluster *)0)->failsafe[0]) == sizeof(struct record_address),
               "failsafe");
_Static_assert(sizeof(((struct ha *)0)->asked[0]) == sizeof(struct record_address), "asked");

#define T struct dcs_cluster
static const struct record_field cluster_v[] = {
    BOOL(T, empty),
    ENUM(T, initialize, DCS_INIT_GARBAGE + 1),
    TEXT(T, initialize_text),
    TEXT(T, initialize_version),
    BOOL(T, config_valid),
    BOOL(T, config_exists),
    BOOL(T, config_empty),
    TEXT(T, config_version),
    BOOL(T, has_leader),
    TEXT(T, leader),
    TEXT(T, leader_version),
    TEXT(T, leader_session),
    BOOL(T, status_exists),
    UINT(T, status_optime),
    STRUCTS(T, status_slots, n_status_slots, slot_lsn),
    MANY(T, retain_slots, AT(T, n_retain_slots), RECORD_TEXT, 0, NULL),
    STRUCTS(T, members, n_members, member),
    STRUCT(T, failover, failover),
    STRUCT(T, sync, sync_fields),
    BOOL(T, history_exists),
    UINT(T, history_lines),
    UINT(T, history_timeline),
    UINT(T, history_last_tl),
    UINT(T, history_last_fields),
    BOOL(T, failsafe_exists),
    BOOL(T, failsafe_garbage),
    STRUCTS(T, failsafe, n_failsafe, address),
};
#undef T
const struct record_fields record_cluster_fields = FIELDS(cluster_v);

#define T struct postmaster_facts
static const struct record_field facts_v[] = {
    ENUM(T, state, STATES),
    UINT(T, state_since_ms),
    ENUM(T, role, ROLES),
    BOOL(T, alive),
    INT(T, pid),
    BOOL(T, accepting),
    ENUM(T, dir, PM_DIR_UNFINISHED + 1),
    TEXT(T, dir_error),
    TEXT(T, sysid),
    INT(T, major_version),
    INT(T, server_version),
    BOOL(T, standby_signal),
    BOOL(T, backup_label),
    BOOL(T, announced),
    BOOL(T, rewind_possible),
    BOOL(T, pending_restart),
    ENUM(T, control_state, PM_CONTROL_IN_PRODUCTION + 1),
    UINT(T, control_timeline),
    UINT(T, control_checkpoint),
    BOOL(T, look_ok),
    UINT(T, look_ms),
    BOOL(T, look_timeout),
    BOOL(T, in_recovery),
    UINT(T, timeline),
    UINT(T, wal_lsn),
    UINT(T, receive_lsn),
    UINT(T, replay_lsn),
    BOOL(T, replay_paused),
    BOOL(T, streaming),
    BOOL(T, in_archive_recovery),
    INT(T, start_time_wall_us),
};
#undef T
const struct record_fields record_facts_fields = FIELDS(facts_v);

#define T struct ha_peer
static const struct record_field peer_v[] = {
    TEXT(T, name),       BOOL(T, reachable),        BOOL(T, in_recovery),
    BOOL(T, nofailover), BOOL(T, watchdog_failed),  UINT(T, position),
    UINT(T, timeline),   INT(T, failover_priority),
};
#undef T
const struct record_fields record_peer_fields = FIELDS(peer_v);

#define T struct ha_request
static const struct record_field request_v[] = {
    ENUM(T, type, HA_REQ_REINITIALIZE + 1),
    UINT(T, id),
    BOOL(T, force),
    BOOL(T, from_leader),
    UINT(T, timeout_ms),
    BOOL(T, has_role),
    ENUM(T, role, ROLES),
    INT(T, pg_version_below),
    BOOL(T, restart_pending),
    INT(T, schedule_wall_us),
};
#undef T
const struct record_fields record_request_fields = FIELDS(request_v);

#define T struct ha_watchdog
static const struct record_field watchdog_v[] = {
    BOOL(T, usable), BOOL(T, running), BOOL(T, adjustable), UINT(T, timeout_ms), UINT(T, fires_ms),
};
#undef T
static const struct record_fields watchdog = FIELDS(watchdog_v);

#define T struct ha_watchdog_ask
static const struct record_field watchdog_ask_v[] = {
    BOOL(T, told),     BOOL(T, waits),     ENUM(T, what, HA_WATCHDOG_DISABLE + 1),
    BOOL(T, stays),    BOOL(T, unfit),     BOOL(T, unheard),
    BOOL(T, given_up), UINT(T, failed_ms), UINT(T, kept_ms),
};
#undef T
static const struct record_fields watchdog_ask = FIELDS(watchdog_ask_v);

#define T struct ha_demotion
static const struct record_field demotion_v[] = {
    BOOL(T, active),   BOOL(T, stopped),           BOOL(T, release),  BOOL(T, shutdown_seen),
    BOOL(T, released), UINT(T, checkpoint_lsn),    UINT(T, prev_lsn), UINT(T, ask_again_ms),
    UINT(T, round),    ENUM(T, release_ask, ASKS),
};
#undef T
static const struct record_fields demotion = FIELDS(demotion_v);

#define T struct ha_cycle
static const struct record_field cycle_v[] = {
    BOOL(T, active),
    UINT(T, since_ms),
    MANY(T, dcs, RECORD_ALL, RECORD_ENUM, ASKS, NULL),
    ENUM(T, look, ASKS),
    ENUM(T, peers, ASKS),
    ENUM(T, follow, ASKS),
    ENUM(T, watchdog, ASKS),
    ENUM(T, watchdog_check, ASKS),
    INT(T, peers_for),
    BOOL(T, fits),
    BOOL(T, needs_restart),
    BOOL(T, failed),
    BOOL(T, regular),
    BOOL(T, touched),
    BOOL(T, resumed),
};
#undef T
static const struct record_fields cycle = FIELDS(cycle_v);

#define T struct postmaster_slot
static const struct record_field slot_v[] = { TEXT(T, name), UINT(T, lsn),
                                              INT(T, expected_active) };
#undef T
static const struct record_fields slot = FIELDS(slot_v);

#define T struct ha
static const struct record_field ha_v[] = {
    UINT(T, now_ms),
    INT(T, wall_us),
    STRUCT(T, policy, record_policy_fields),
    BOOL(T, have_policy),
    STRUCT(T, view, record_cluster_fields),
    STRUCT(T, last_led, record_cluster_fields),
    BOOL(T, have_view),
    BOOL(T, view_live),
    BOOL(T, have_last_led),
    STRUCT(T, pg, record_facts_fields),
    BOOL(T, have_facts),
    UINT(T, lease_until_ms),
    BOOL(T, regained),
    BOOL(T, dcs_lost),
    UINT(T, dcs_lost_since_ms),
    ENUM(T, job.kind, JOBS),
    UINT(T, job.since_ms),
    ENUM(T, job.why, HA_WHYS),
    TEXT(T, job.name),
    BOOL(T, job.cancel_asked),
    ENUM(T, job.mode, STOP_MODES),
    ENUM(T, job.role, ROLES),
    BOOL(T, reinit.wanted),
    BOOL(T, reinit.from_leader),
    ENUM(T, reinit.why, HA_WHYS),
    UINT(T, asked_round),
    UINT(T, answered_round),
    STRUCTS(T, asked, n_asked, address),
    STRUCTS(T, peers, n_peers, record_peer_fields),
    ENUM(T, rewind, HA_REWIND_FAILED + 1),
    BOOL(T, compared),
    UINT(T, divergence_not_before_ms),
    BOOL(T, joined),
    BOOL(T, start_after_clone),
    BOOL(T, remove_data),
    BOOL(T, offline),
    BOOL(T, made_readonly),
    BOOL(T, bootstrapping),
    BOOL(T, init_unanswered),
    BOOL(T, init_seen),
    BOOL(T, init_failed),
    BOOL(T, init_key_removed),
    ENUM(T, bootstrap_result, ASKS),
    BOOL(T, recovering),
    UINT(T, crash_recovery_since_ms),
    UINT(T, start_timeout_ms),
    UINT(T, race_backoff_since_ms),
    UINT(T, leaderless_since_ms),
    UINT(T, pre_promote_failed_ms),
    UINT(T, wait_leader_until_ms),
    BOOL(T, promote_result_failed),
    BOOL(T, was_paused),
    BOOL(T, checkpoint_running),
    BOOL(T, slots_running),
    BOOL(T, touch_due),
    MANY(T, dcs_inflight, RECORD_ALL, RECORD_BOOL, 0, NULL),
    MANY(T, asked_ttl_ms, RECORD_ALL, RECORD_UINT, 0, NULL),
    UINT(T, primary_since_ms),
    UINT(T, led_until_ms),
    UINT(T, take_ms),
    UINT(T, last_timeline),
    UINT(T, last_wal_lsn),
    UINT(T, prev_wal_lsn),
    BOOL(T, history_due),
    UINT(T, history_timeline),
    STRUCT(T, watchdog, watchdog),
    STRUCT(T, watchdog_ask, watchdog_ask),
    STRUCT(T, demotion, demotion),
    BOOL(T, shutdown.asked),
    BOOL(T, shutdown.stop_begun),
    BOOL(T, shutdown.touched),
    BOOL(T, shutdown.done),
    INT(T, shutdown.exit_status),
    BOOL(T, shutdown.leave_running),
    BOOL(T, exiting),
    TEXT(T, followed),
    UINT(T, settled_ms),
    BOOL(T, has_restart_request),
    STRUCT(T, restart_request, record_request_fields),
    UINT(T, cycles_in_window),
    UINT(T, window_since_ms),
    BOOL(T, has_scheduled_restart),
    STRUCT(T, scheduled_restart, record_request_fields),
    INT(T, scheduled_start_time_wall_us),
    STRUCT(T, cycle, cycle),
    BOOL(T, cycle_due),
    UINT(T, next_run_ms),
    TEXT(T, status),
    ENUM(T, status_why, HA_WHYS),
    STRUCTS(T, slots, n_slots, slot),
    UINT(T, restarts_in_place),
    UINT(T, stable_since_ms),
};
#undef T
const struct record_fields record_ha_fields = FIELDS(ha_v);

/* ---- events: what of the union belongs to a type ----------------------------------------- */

#define T struct ha_event
static const struct record_field ev_view_v[] = { BOOL(T, u.view.live) };
static const struct record_field ev_dcs_v[] = {
    ENUM(T, u.dcs.op, HA_DCS_OPS),
    ENUM(T, u.dcs.outcome, HA_LOST + 1),
    UINT(T, u.dcs.sent_ms),
};
static const struct record_field ev_job_v[] = {
    ENUM(T, u.job.job, JOBS),
    ENUM(T, u.job.outcome, PM_CANCELED + 1),
};
static const struct record_field ev_shutdown_checkpoint_v[] = {
    UINT(T, u.shutdown_checkpoint.checkpoint_lsn),
    UINT(T, u.shutdown_checkpoint.prev_lsn),
};
static const struct record_field ev_peers_v[] = { UINT(T, u.peers.round) };
static const struct record_field ev_follow_v[] = { BOOL(T, u.follow.fits),
                                                   BOOL(T, u.follow.needs_restart) };
static const struct record_field ev_ok_v[] = { BOOL(T, u.ok) };
static const struct record_field ev_watchdog_v[] = { STRUCT(T, u.watchdog, watchdog) };
static const struct record_field ev_request_v[] = { STRUCT(T, u.request, record_request_fields) };
#undef T
const struct record_fields record_event_fields[HA_EV_SHUTDOWN + 1] = {
    [HA_EV_VIEW] = FIELDS(ev_view_v),
    [HA_EV_DCS] = FIELDS(ev_dcs_v),
    [HA_EV_JOB] = FIELDS(ev_job_v),
    [HA_EV_SHUTDOWN_CHECKPOINT] = FIELDS(ev_shutdown_checkpoint_v),
    [HA_EV_PEERS] = FIELDS(ev_peers_v),
    [HA_EV_FOLLOW] = FIELDS(ev_follow_v),
    [HA_EV_CHECKPOINT] = FIELDS(ev_ok_v),
    [HA_EV_SLOTS] = FIELDS(ev_ok_v),
    [HA_EV_REQUEST] = FIELDS(ev_request_v),
    [HA_EV_WATCHDOG] = FIELDS(ev_watchdog_v),
};

#define T struct record_event
static const struct record_field told_policy_v[] = { STRUCT(T, policy, record_policy_fields) };
static const struct record_field told_view_v[] = { STRUCT(T, cluster, record_cluster_fields) };
static const struct record_field told_facts_v[] = { STRUCT(T, facts, record_facts_fields) };
static const struct record_field told_peers_v[] = { STRUCTS(T, peers, ev.u.peers.n,
                                                            record_peer_fields) };
#undef T
const struct record_fields record_told_fields[HA_EV_SHUTDOWN + 1] = {
    [HA_EV_POLICY] = FIELDS(told_policy_v), [HA_EV_VIEW] = FIELDS(told_view_v),
    [HA_EV_FACTS] = FIELDS(told_facts_v),   [HA_EV_LOOKED] = FIELDS(told_facts_v),
    [HA_EV_PEERS] = FIELDS(told_peers_v),
};

/* ---- effects ------------------------------------------------------------------------------ */

#define T struct postmaster_node
static const struct record_field node_v[] = {
    TEXT(T, name),
    URL(T, conn_url),
    BOOL(T, leader_checkpoint_known),
    BOOL(T, leader_checkpoint_done),
    ENUM(T, role, ROLES),
    BOOL(T, is_leader),
};
#undef T
static const struct record_fields node = FIELDS(node_v);

#define T struct postmaster_job_args
static const struct record_field job_args_v[] = {
    ENUM(T, job, JOBS),        ENUM(T, role, ROLES),     STRUCT(T, node, node),
    UINT(T, timeout_ms),       BOOL(T, from_leader),     ENUM(T, mode, STOP_MODES),
    BOOL(T, checkpoint_first), BOOL(T, demote),          BOOL(T, report_shutdown_checkpoint),
    UINT(T, stop_timeout_ms),  UINT(T, immediate_at_ms),
};
#undef T
static const struct record_fields job_args = FIELDS(job_args_v);

#define T struct ha_effect
static const struct record_field fx_dcs_v[] = {
    ENUM(T, u.dcs.op, HA_DCS_OPS), UINT(T, u.dcs.deadline_ms), UINT(T, u.dcs.optime),
    BOOL(T, u.dcs.create),         BOOL(T, u.dcs.guarded),     TEXT(T, u.dcs.candidate),
};
static const struct record_field fx_peers_v[] = { UINT(T, u.peers.round),
                                                  UINT(T, u.peers.deadline_ms) };
static const struct record_field fx_node_v[] = { STRUCT(T, u.node, node) };
static const struct record_field fx_job_v[] = { STRUCT(T, u.job, job_args) };
static const struct record_field fx_slots_v[] = { BOOL(T, u.slots.drop_others) };
static const struct record_field fx_callback_v[] = { ENUM(T, u.callback.role, ROLES),
                                                     TEXT(T, u.callback.action) };
static const struct record_field fx_answer_v[] = { UINT(T, u.answer.id),
                                                   ENUM(T, u.answer.answer, HA_ANSWER_NONE + 1) };
static const struct record_field fx_watchdog_v[] = {
    ENUM(T, u.watchdog.op, HA_WATCHDOG_DISABLE + 1),
    UINT(T, u.watchdog.timeout_ms),
    UINT(T, u.watchdog.until_ms),
};
static const struct record_field fx_log_v[] = { ENUM(T, u.level, HA_CRITICAL + 1) };
static const struct record_field fx_exit_v[] = { INT(T, u.exit_status) };
#undef T
const struct record_fields record_effect_fields[HA_DO_EXIT + 1] = {
    [HA_DO_DCS] = FIELDS(fx_dcs_v),           [HA_DO_ASK_PEERS] = FIELDS(fx_peers_v),
    [HA_DO_CHECK_FOLLOW] = FIELDS(fx_node_v), [HA_DO_JOB] = FIELDS(fx_job_v),
    [HA_DO_SLOTS] = FIELDS(fx_slots_v),       [HA_DO_CALLBACK] = FIELDS(fx_callback_v),
    [HA_DO_ANSWER] = FIELDS(fx_answer_v),     [HA_DO_WATCHDOG] = FIELDS(fx_watchdog_v),
    [HA_DO_LOG] = FIELDS(fx_log_v),           [HA_DO_EXIT] = FIELDS(fx_exit_v),
};
