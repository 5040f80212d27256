/* SPDX-License-Identifier: PostgreSQL */
/* Rows of agent/ha/race.c and manual.c, and the demotion that gives the key up. */
#include "tests/unit/ha_support.h"

static void test_race__wins_and_promotes_at_once(void **state)
{
    struct w *w = *state;
    const struct ha_effect *e;

    w_peer(w, "n3", 49000000);
    w_view(w);
    assert_non_null(w_dcs(w, HA_DCS_READ)); /* linearizable, before anything that promotes */
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
    e = w_job(w, PM_JOB_PROMOTE);
    assert_non_null(e);
    assert_int_equal(e->u.job.timeout_ms, 10000);
    assert_string_equal(w_status(w), "promoted self to leader by acquiring session lock");
    assert_true(ha_is_leader(&w->ha, w->now_ms + 29999));
}

static void test_race__asks_peers_of_the_last_view_with_a_leader(void **state)
{
    struct w *w = *state;

    w->hold_peers = true;
    w->view.n_members = 1; /* the member keys expired with the leader's */
    w_view(w);
    assert_non_null(w_did(w, HA_DO_ASK_PEERS));
    assert_int_equal(w->ha.n_asked, 2);
    assert_string_equal(w->ha.asked[0].name, "n2");
    assert_string_equal(w->ha.asked[1].name, "n3");
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
}

static void test_race__lost_acquire_is_not_a_promotion(void **state)
{
    struct w *w = *state;

    w->dcs[HA_DCS_ACQUIRE] = HA_LOST;
    w_view(w);
    assert_null(w_job(w, PM_JOB_PROMOTE));
    assert_false(ha_is_leader(&w->ha, w->now_ms));
    assert_string_equal(w_status(w), "DCS is not accessible");
}

static void test_race__refused_acquire_follows(void **state)
{
    struct w *w = *state;

    w->dcs[HA_DCS_ACQUIRE] = HA_REFUSED;
    w_view(w);
    assert_null(w_job(w, PM_JOB_PROMOTE));
    assert_string_equal(w_status(w),
                        "following new leader after trying and failing to obtain lock");
}

static void test_race__lost_read_does_not_promote(void **state)
{
    struct w *w = *state;

    w->dcs[HA_DCS_READ] = HA_LOST;
    w_view(w);
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
}

static void test_race__late_answer_to_acquire_promotes_nobody(void **state)
{
    struct w *w = *state;
    uint64_t sent_ms = w->now_ms;

    w->hold[HA_DCS_ACQUIRE] = w->hold[HA_DCS_RENEW] = true;
    w_view(w);
    w->now_ms += 29000; /* the machine slept: the lease is as good as over */
    w_reply(w, HA_DCS_ACQUIRE, HA_OK, sent_ms);
    assert_null(w_job(w, PM_JOB_PROMOTE));
}

struct race_row {
    const char *what;
    void (*arrange)(struct w *w);
    enum ha_why why; /* the reason given, none: 0 */
    bool wins;
};

static void peer_ahead(struct w *w)
{
    w_peer(w, "n3", 50000001);
}

static void peer_equal_priority_higher(struct w *w)
{
    w_peer(w, "n3", 50000000)->failover_priority = 2;
}

static void former_leader_priority_is_ignored(struct w *w)
{
    w_peer(w, "n2", 50000000)->failover_priority = 2;
}

static void peer_ahead_but_nofailover(struct w *w)
{
    w_peer(w, "n3", 60000000)->nofailover = true;
}

static void peer_ahead_but_unreachable(struct w *w)
{
    w_peer(w, "n3", 60000000)->reachable = false;
}

static void peer_ahead_but_watchdog(struct w *w)
{
    w_peer(w, "n3", 60000000)->watchdog_failed = true;
}

static void peer_is_primary(struct w *w)
{
    w_peer(w, "n2", 0)->in_recovery = false;
}

static void lag_too_large(struct w *w)
{
    w->view.status_optime = 50000000 + 1048577;
}

static void lag_just_allowed(struct w *w)
{
    w->view.status_optime = 50000000 + 1048576;
}

static void timeline_behind_unchecked(struct w *w)
{
    w->view.history_timeline = 3;
}

static void timeline_behind_checked(struct w *w)
{
    w->view.history_timeline = 3;
    w->policy.check_timeline = true;
    w_policy(w);
}

static void peer_ahead_on_an_old_timeline(struct w *w)
{
    w->pg.timeline = 3;
    timeline_behind_checked(w);
    w_peer(w, "n3", 60000000)->timeline = 2;
}
static void peer_ahead_on_an_unknown_timeline(struct w *w)
{
    w->pg.timeline = 3;
    timeline_behind_checked(w);
    w_peer(w, "n3", 60000000)->timeline = 0;
}
static void timeline_unknown(struct w *w)
{
    w->policy.check_timeline = true;
    w_policy(w);
    w->pg.timeline = 0;
}

static void i_am_nofailover(struct w *w)
{
    w->policy.tags.nofailover = true;
    w_policy(w);
}

static void paused(struct w *w)
{
    w->policy.paused = true;
    w_policy(w);
}

static void still_starting(struct w *w)
{
    w->pg.state = PGV_STATE_STARTING;
}

static void query_failed(struct w *w)
{
    w->pg.look_ok = false;
}

static void failsafe_without_me(struct w *w)
{
    w->policy.failsafe_mode = true;
    w_policy(w);
    w->view.failsafe_exists = true;
    w->view.n_failsafe = 1;
    ha_copy_name(w->view.failsafe[0].name, "n2");
}

static void named_me(struct w *w)
{
    w_failover(w, "n2", "n1");
    w_peer(w, "n3", 60000000); /* lag and position of the named one do not count */
}

static void named_another_healthy(struct w *w)
{
    w_failover(w, "n2", "n3");
    w_peer(w, "n3", 10);
}

static void named_another_unreachable(struct w *w)
{
    w_failover(w, "n2", "n3");
}

static void switchover_to_anyone(struct w *w)
{
    w_failover(w, "n2", NULL);
    w_peer(w, "n2", 60000000); /* the one to be left is not asked */
    w_peer(w, "n3", 50000000);
}

static void switchover_to_anyone_other_is_ahead(struct w *w)
{
    w_failover(w, "n2", NULL);
    w_peer(w, "n3", 50000001);
}

static void scheduled(struct w *w, const char *candidate, int64_t in_us)
{
    w_failover(w, "n2", candidate);
    w->view.failover.scheduled = w->view.failover.schedule_valid = true;
    w->view.failover.schedule_has_zone = true;
    w->view.failover.scheduled_wall_us = w->wall_us + in_us;
}
static void named_me_for_later(struct w *w)
{
    scheduled(w, "n1", 60000000);
    w_peer(w, "n3", 50000001);
}
static void named_another_for_later(struct w *w)
{
    scheduled(w, "n3", 60000000);
    w_peer(w, "n3", 10);
}
static void named_me_for_now(struct w *w)
{
    scheduled(w, "n1", -1000);
    w_peer(w, "n3", 50000001);
}
static void nobody_else(struct w *w)
{
    (void)w;
}

static const struct race_row rows[] = {
    { "nobody answers", nobody_else, 0, true },
    { "peer ahead", peer_ahead, HA_WHY_peer_ahead, false },
    { "equal position, higher priority", peer_equal_priority_higher, HA_WHY_peer_priority, false },
    { "the former leader's priority", former_leader_priority_is_ignored, 0, true },
    { "ahead on an old timeline", peer_ahead_on_an_old_timeline, 0, true },
    { "ahead on an unknown timeline", peer_ahead_on_an_unknown_timeline, HA_WHY_peer_ahead, false },
    { "ahead but nofailover", peer_ahead_but_nofailover, 0, true },
    { "ahead but unreachable", peer_ahead_but_unreachable, 0, true },
    { "ahead but without watchdog", peer_ahead_but_watchdog, 0, true },
    { "a primary is alive", peer_is_primary, HA_WHY_primary_alive, false },
    { "lag", lag_too_large, HA_WHY_lag_exceeded, false },
    { "lag at the limit", lag_just_allowed, 0, true },
    { "old timeline, not checked", timeline_behind_unchecked, 0, true },
    { "old timeline, checked", timeline_behind_checked, HA_WHY_timeline_behind, false },
    { "timeline unknown, checked", timeline_unknown, HA_WHY_timeline_unknown, false },
    { "nofailover", i_am_nofailover, HA_WHY_not_allowed, false },
    { "paused", paused, 0, false },
    { "starting", still_starting, 0, false },
    { "query failed", query_failed, 0, false },
    { "not in the failsafe map", failsafe_without_me, 0, false },
    { "named candidate", named_me, 0, true },
    { "another one named", named_another_healthy, HA_WHY_manual_not_me, false },
    { "the named one cannot", named_another_unreachable, HA_WHY_member_limited, true },
    { "switchover to anyone", switchover_to_anyone, 0, true },
    { "scheduled for later, names me", named_me_for_later, HA_WHY_peer_ahead, false },
    { "scheduled for later, names another", named_another_for_later, 0, true },
    { "scheduled, its moment has come", named_me_for_now, 0, true },
    { "switchover to anyone, other ahead", switchover_to_anyone_other_is_ahead, HA_WHY_peer_ahead,
      false },
};

static void test_race__rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct w *w = w_new(W_UNLOCKED_REPLICA);
        bool won;

        rows[i].arrange(w);
        w_view(w);
        won = w_job(w, PM_JOB_PROMOTE) != NULL;
        if (won != rows[i].wins)
            fail_msg("row '%s': won=%d status='%s'", rows[i].what, won, w_status(w));
        if (rows[i].why && !w_why(w, rows[i].why))
            fail_msg("row '%s': no '%s', status '%s'", rows[i].what, ha_why_label(rows[i].why),
                     w_status(w));
        w_free(w);
    }
}

/* By its clock the moment has not come: it goes by the ordinary rules, and waits for us. */
static void test_scheduled__the_candidate_is_waited_for_no_longer_than_ttl(void **state)
{
    struct w *w = *state;
    uint64_t until = w->now_ms + w->policy.ttl_ms;

    w_peer(w, "n2", 50000000);
    w_peer(w, "n3", 50000000);
    scheduled(w, "n3", -1000);
    w_view(w);
    while (w->now_ms + 1000 < until) {
        assert_null(w_dcs(w, HA_DCS_ACQUIRE));
        assert_non_null(w_why(w, HA_WHY_manual_not_me));
        w_forget(w);
        w_tick(w, 1000);
    }
    w_forget(w);
    w_tick(w, 1000);
    w_tick(w, 1000);
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_non_null(w_dcs(w, HA_DCS_SET_FAILOVER));
}

/* The one to be left waits for who could take over; that one may have reasons that only it knows,
 * such as its timeline, and the candidate may have to be copied from a leader first. */
static void test_switchover__the_one_to_be_left_waits_no_longer_than_ttl(void **state)
{
    struct w *w = *state;
    uint64_t until = w->now_ms + w->policy.ttl_ms;

    w_failover(w, "n1", "n3");
    w_peer(w, "n2", 49999000);
    w_view(w);
    while (w->now_ms + 1000 < until) {
        assert_null(w_dcs(w, HA_DCS_ACQUIRE));
        w_forget(w);
        w_tick(w, 1000);
    }
    w_tick(w, 1000);
    w_tick(w, 1000);
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
}

static void test_race__won_key_cleans_the_failover_key_unguarded(void **state)
{
    struct w *w = *state;
    const struct ha_effect *e;

    w_failover(w, "n2", "n1");
    w_view(w);
    e = w_dcs(w, HA_DCS_SET_FAILOVER);
    assert_non_null(e);
    assert_false(e->u.dcs.guarded);
    assert_string_equal(e->u.dcs.candidate, "");
}

static void test_race__backoff_waits_while_wal_moves(void **state)
{
    struct w *w = *state;

    w->policy.primary_race_backoff_ms = 20000;
    w_policy(w);
    w->pg.wal_lsn += 1000;
    w_view(w);
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_non_null(w_why(w, HA_WHY_race_backoff));
    w_forget(w);
    for (int i = 0; i < 30 && !w_dcs(w, HA_DCS_ACQUIRE); i++) {
        w->pg.wal_lsn += 1000;
        w_forget(w);
        w_cycle(w);
    }
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE)); /* but not for ever */
    assert_in_range(w->now_ms, 1000000 + 20000, 1000000 + 22000);
}

static void test_race__running_primary_takes_the_key_back(void **state)
{
    struct w *w = *state;

    w->pg.in_recovery = false;
    w->pg.role = PGV_ROLE_PRIMARY;
    w->pg.timeline = 1;
    w_view(w);
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_null(w_did(w, HA_DO_JOB));
    assert_string_equal(w_status(w), "acquired session lock as a leader");
}

static void test_race__primary_of_an_old_timeline_demotes(void **state)
{
    struct w *w = *state;

    w->pg.in_recovery = false;
    w->pg.role = PGV_ROLE_PRIMARY;
    w->view.history_timeline = 4;
    w_view(w);
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_non_null(w_job(w, PM_JOB_STOP));
}

/* Somebody has led since: in a pause it is left running, and the key is not for it. */
static void test_race__primary_of_an_old_timeline_takes_no_key_in_a_pause(void **state)
{
    struct w *w = *state;

    w->policy.paused = true;
    w_policy(w);
    w->pg.in_recovery = false;
    w->pg.role = PGV_ROLE_PRIMARY;
    w->view.history_timeline = 4;
    w_view(w);
    assert_null(w_dcs(w, HA_DCS_ACQUIRE));
    assert_null(w_job(w, PM_JOB_STOP));
    w->view.history_timeline = w->pg.timeline;
    w_view(w);
    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_ACQUIRE));
}

static void test_race__loser_looks_again_soon(void **state)
{
    struct w *w = *state;

    w_peer(w, "n3", 60000000);
    w_view(w);
    assert_int_equal(w->ha.next_run_ms, w->now_ms + 1000);
}

static void test_switchover__demotes_gracefully_and_releases_when_received(void **state)
{
    struct w *w = *state;
    const struct ha_effect *e;
    struct ha_event ev = { .type = HA_EV_SHUTDOWN_CHECKPOINT };
    struct ha_peer *n2 = w_peer(w, "n2", 50000000);

    w_failover(w, "n1", "n2");
    w_view(w); /* at once */
    e = w_job(w, PM_JOB_STOP);
    assert_non_null(e);
    assert_int_equal(e->u.job.mode, PM_STOP_FAST);
    assert_true(e->u.job.checkpoint_first);
    assert_true(e->u.job.report_shutdown_checkpoint);
    assert_string_equal(e->text, "switchover: demote");
    assert_string_equal(w_status(w), "switchover: demoting myself");
    assert_null(w_dcs(w, HA_DCS_RELEASE));
    w_forget(w);
    /* the last record is written, but not yet received */
    ev.u.shutdown_checkpoint.checkpoint_lsn = 50000200;
    ev.u.shutdown_checkpoint.prev_lsn = 50000100;
    w_event(w, &ev);
    assert_non_null(w_did(w, HA_DO_ASK_PEERS));
    assert_null(w_dcs(w, HA_DCS_RELEASE));
    n2->position = 50000200;
    w_tick(w, w->wake_ms - w->now_ms);
    e = w_dcs(w, HA_DCS_RELEASE);
    assert_non_null(e);
    assert_int_equal(e->u.dcs.optime, 50000100);
    assert_false(ha_is_leader(&w->ha, w->now_ms));
    assert_null(w_dcs(w, HA_DCS_SET_FAILOVER)); /* it stays for the successor */
    w_forget(w);
    /* stopped: wait for the new leader, then follow it */
    w->pg.alive = false;
    w->pg.look_ok = false;
    w->pg.state = PGV_STATE_STOPPED;
    w->pg.role = PGV_ROLE_DEMOTED;
    w->pg.control_state = PM_CONTROL_SHUT_DOWN;
    w_leader(w, NULL);
    w_view(w);
    w_facts(w);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_null(w_job(w, PM_JOB_START));
    assert_null(w_dcs(w, HA_DCS_RENEW));
    w_leader(w, "n2");
    w_view(w);
    assert_non_null(w_job(w, PM_JOB_START));
    assert_string_equal(w_job(w, PM_JOB_START)->u.job.node.name, "n2");
}

static void test_switchover__releases_after_the_stop_when_nobody_had_answered(void **state)
{
    struct w *w = *state;

    w_peer(w, "n2", 50000000);
    w_failover(w, "n1", "n2");
    w_view(w);
    w_forget(w);
    w_server_down(w, PGV_STATE_STOPPED);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
}

/* A renewal that reached the store after the release would take the key back. */
static void test_switchover__no_renewal_beside_the_release(void **state)
{
    struct w *w = *state;
    struct ha_event ev = { .type = HA_EV_DCS };

    w_peer(w, "n2", 50000000);
    w_failover(w, "n1", "n2");
    w_view(w);
    w_forget(w);
    w->hold[HA_DCS_RELEASE] = true;
    w_server_down(w, PGV_STATE_STOPPED);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    assert_null(w_dcs(w, HA_DCS_RENEW));
    assert_null(w_job(w, PM_JOB_START));
    assert_string_equal(w_status(w), "giving up the leader key");
    ev.u.dcs.op = HA_DCS_RELEASE;
    ev.u.dcs.sent_ms = w->now_ms;
    w_event(w, &ev);
    assert_null(w_dcs(w, HA_DCS_RENEW));
    assert_null(w_job(w, PM_JOB_START)); /* somebody else gets the time to take it */
}

static void test_switchover__failed_stop_keeps_the_key(void **state)
{
    struct w *w = *state;

    w_peer(w, "n2", 50000000);
    w_failover(w, "n1", "n2");
    w_view(w);
    w_forget(w);
    w_job_end(w, PM_JOB_STOP, PM_FAILED); /* and it runs on */
    assert_null(w_dcs(w, HA_DCS_RELEASE));
}

static void test_switchover__release_waits_for_a_renewal_on_its_way(void **state)
{
    struct w *w = *state;
    struct ha_event ev = { .type = HA_EV_DCS };

    w_peer(w, "n2", 50000000);
    w_failover(w, "n1", "n2");
    w_view(w);
    w->hold[HA_DCS_RENEW] = true;
    w_cycle(w);
    assert_non_null(w_dcs(w, HA_DCS_RENEW));
    w_forget(w);
    w_server_down(w, PGV_STATE_STOPPED);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_null(w_dcs(w, HA_DCS_RELEASE));
    ev.u.dcs.op = HA_DCS_RENEW;
    ev.u.dcs.sent_ms = w->now_ms;
    w_event(w, &ev);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    assert_false(ha_is_leader(&w->ha, w->now_ms));
}

struct refused_row {
    const char *what;
    const char *from, *to;
    bool paused;
    enum ha_why why;
};

static void test_switchover__refused_rows(void **state)
{
    static const struct refused_row refused[] = {
        { "wrong leader", "n3", "n2", false, HA_WHY_manual_leader_mismatch },
        { "to myself", NULL, "n1", false, HA_WHY_manual_already_leader },
        { "paused without candidate", "n1", NULL, true, HA_WHY_manual_needs_candidate },
        { "nobody healthy", "n1", "n2", false, HA_WHY_manual_no_members },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct w *w = w_new(W_LEADER);

        w->policy.paused = refused[i].paused;
        w_policy(w);
        w_forget(w);
        w_failover(w, refused[i].from, refused[i].to);
        w_view(w);
        if (!w_why(w, refused[i].why))
            fail_msg("row '%s': status '%s'", refused[i].what, w_status(w));
        assert_null(w_job(w, PM_JOB_STOP));
        assert_non_null(w_dcs(w, HA_DCS_SET_FAILOVER));
        assert_true(w_dcs(w, HA_DCS_SET_FAILOVER)->u.dcs.guarded);
        assert_string_equal(w_status(w), "no action. I am (n1), the leader with the lock");
        w_free(w);
    }
}

static void test_scheduled_switchover__runs_at_its_moment(void **state)
{
    struct w *w = *state;
    struct dcs_failover *f = &w->view.failover;
    uint64_t began;

    w_peer(w, "n2", 50000000);
    w_failover(w, "n1", "n2");
    f->scheduled = f->schedule_valid = f->schedule_has_zone = true;
    f->scheduled_wall_us = w->wall_us + 25000000;
    memcpy(f->schedule_text, "2023-11-14T22:13:45+00:00", 26);
    began = w->now_ms;
    w_view(w);
    assert_null(w_job(w, PM_JOB_STOP));
    while (!w_job(w, PM_JOB_STOP) && w->now_ms < began + 40000) {
        w_forget(w);
        w_tick(w, w->wake_ms > w->now_ms ? w->wake_ms - w->now_ms : 1);
    }
    assert_in_range(w->now_ms - began, 25000, 25010);
}

static void test_scheduled_switchover__stale_and_naive_are_cleaned(void **state)
{
    struct w *w = *state;
    struct dcs_failover *f = &w->view.failover;

    w_failover(w, "n1", "n2");
    f->scheduled = f->schedule_valid = f->schedule_has_zone = true;
    f->scheduled_wall_us = w->wall_us - 16000000;
    w_view(w);
    assert_non_null(w_why(w, HA_WHY_schedule_stale));
    assert_non_null(w_dcs(w, HA_DCS_SET_FAILOVER));
    w_forget(w);
    w_failover(w, "n1", "n2");
    memcpy(f->version, "78", 3);
    f->scheduled = f->schedule_valid = true;
    f->scheduled_wall_us = w->wall_us;
    w_view(w);
    assert_non_null(w_why(w, HA_WHY_schedule_invalid));
    assert_null(w_job(w, PM_JOB_STOP));
}

static void test_shutdown__leader_releases_when_received_and_exits(void **state)
{
    struct w *w = *state;
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };
    const struct ha_effect *e;

    w_event(w, &ev);
    e = w_job(w, PM_JOB_STOP);
    assert_non_null(e);
    assert_int_equal(e->u.job.mode, PM_STOP_FAST);
    assert_false(e->u.job.checkpoint_first);
    assert_true(e->u.job.report_shutdown_checkpoint);
    w_forget(w);
    w_peer(w, "n2", 50000200);
    ev.type = HA_EV_SHUTDOWN_CHECKPOINT;
    ev.u.shutdown_checkpoint.checkpoint_lsn = 50000200;
    ev.u.shutdown_checkpoint.prev_lsn = 50000100;
    w_event(w, &ev);
    assert_non_null(w_dcs(w, HA_DCS_RELEASE));
    w_server_down(w, PGV_STATE_STOPPED);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_non_null(w_dcs(w, HA_DCS_TOUCH));
    e = w_did(w, HA_DO_EXIT);
    assert_non_null(e);
    assert_int_equal(e->u.exit_status, 0);
}

static void test_shutdown__long_stop_keeps_the_lease(void **state)
{
    struct w *w = *state;
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };

    w_event(w, &ev);
    for (int i = 0; i < 120; i++) {
        w_tick(w, 500);
        assert_true(ha_is_leader(&w->ha, w->now_ms));
        assert_null(w_did(w, HA_DO_EXIT));
        w_forget(w);
    }
}

/* Somebody else leads while the server is still finishing: the session was lost. The cycle, which
 * would stop it, does not run any more. */
static void test_shutdown__overtaken_is_stopped_at_once(void **state)
{
    struct w *w = *state;
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };

    w_event(w, &ev);
    assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.mode, PM_STOP_FAST);
    w_forget(w);
    w_leader(w, "n2");
    w_view(w);
    assert_non_null(w_why(w, HA_WHY_lost_during));
    assert_int_equal(w_job(w, PM_JOB_STOP)->u.job.mode, PM_STOP_IMMEDIATE);
    w_forget(w);
    w_server_down(w, PGV_STATE_STOPPED);
    w_job_end(w, PM_JOB_STOP, PM_DONE);
    assert_null(w_dcs(w, HA_DCS_RELEASE)); /* it is not ours */
    assert_non_null(w_did(w, HA_DO_EXIT));
}

static void test_shutdown__paused_leaves_everything(void **state)
{
    struct w *w = *state;
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };

    w->policy.paused = true;
    w_policy(w);
    w_forget(w);
    w_event(w, &ev);
    assert_null(w_did(w, HA_DO_JOB));
    assert_null(w_dcs(w, HA_DCS_RELEASE));
    assert_non_null(w_did(w, HA_DO_EXIT));
}

static void test_shutdown__failed_stop_keeps_the_key(void **state)
{
    struct w *w = *state;
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };

    w_event(w, &ev);
    w_job_end(w, PM_JOB_STOP, PM_FAILED);
    assert_null(w_dcs(w, HA_DCS_RELEASE));
    w_tick(w, 500);
    assert_non_null(w_did(w, HA_DO_EXIT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define ORPHAN(t) cmocka_unit_test_setup_teardown(t, w_setup_orphan, w_teardown)
#define LEADER(t) cmocka_unit_test_setup_teardown(t, w_setup_leader, w_teardown)
        ORPHAN(test_race__wins_and_promotes_at_once),
        ORPHAN(test_race__asks_peers_of_the_last_view_with_a_leader),
        ORPHAN(test_race__lost_acquire_is_not_a_promotion),
        ORPHAN(test_race__refused_acquire_follows),
        ORPHAN(test_race__lost_read_does_not_promote),
        ORPHAN(test_race__late_answer_to_acquire_promotes_nobody),
        cmocka_unit_test(test_race__rows),
        ORPHAN(test_scheduled__the_candidate_is_waited_for_no_longer_than_ttl),
        ORPHAN(test_switchover__the_one_to_be_left_waits_no_longer_than_ttl),
        ORPHAN(test_race__won_key_cleans_the_failover_key_unguarded),
        ORPHAN(test_race__backoff_waits_while_wal_moves),
        ORPHAN(test_race__running_primary_takes_the_key_back),
        ORPHAN(test_race__primary_of_an_old_timeline_demotes),
        ORPHAN(test_race__primary_of_an_old_timeline_takes_no_key_in_a_pause),
        ORPHAN(test_race__loser_looks_again_soon),
        LEADER(test_switchover__demotes_gracefully_and_releases_when_received),
        LEADER(test_switchover__releases_after_the_stop_when_nobody_had_answered),
        LEADER(test_switchover__failed_stop_keeps_the_key),
        LEADER(test_switchover__no_renewal_beside_the_release),
        LEADER(test_switchover__release_waits_for_a_renewal_on_its_way),
        cmocka_unit_test(test_switchover__refused_rows),
        LEADER(test_scheduled_switchover__runs_at_its_moment),
        LEADER(test_scheduled_switchover__stale_and_naive_are_cleaned),
        LEADER(test_shutdown__leader_releases_when_received_and_exits),
        LEADER(test_shutdown__long_stop_keeps_the_lease),
        LEADER(test_shutdown__overtaken_is_stopped_at_once),
        LEADER(test_shutdown__paused_leaves_everything),
        LEADER(test_shutdown__failed_stop_keeps_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
