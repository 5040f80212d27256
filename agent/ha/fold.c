/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/ha/fold.c - what was learned becomes a fact of the world.
 *
 * Folding decides nothing but one thing: whether the news is worth a cycle at once
 * (ha->cycle_due). Our own writes come back as news too and must not be.
 */
#include "agent/ha/internal.h"

#include <stddef.h>
#include <string.h>

/** A reload is in force in every process of the server after this long. */
#define FOLLOW_SETTLES_MS 2000

static enum ha_ask ask_of(enum ha_outcome o)
{
    switch (o) {
    case HA_OK:
        return HA_ASK_OK;
    case HA_REFUSED:
        return HA_ASK_REFUSED;
    case HA_LOST:
        break;
    }
    return HA_ASK_LOST;
}

static const struct dcs_member *leader_of(const struct dcs_cluster *c)
{
    if (c->has_leader)
        for (unsigned i = 0; i < c->n_members; i++)
            if (strcmp(c->members[i].name, c->leader) == 0)
                return &c->members[i];
    return NULL;
}

/* What followers wait for: the new primary says that it is one, or that its checkpoint is done. */
static bool leader_news(const struct dcs_cluster *was, const struct dcs_cluster *is)
{
    const struct dcs_member *a = leader_of(was), *b = leader_of(is);

    if (!a || !b)
        return a != b;
    return a->role != b->role || a->timeline != b->timeline ||
           a->checkpoint_done != b->checkpoint_done || strcmp(a->conn_url, b->conn_url) != 0;
}

/* A member that comes or goes needs its slot, or no longer. */
static bool members_news(const struct dcs_cluster *was, const struct dcs_cluster *is)
{
    if (was->n_members != is->n_members)
        return true;
    for (unsigned i = 0; i < is->n_members; i++)
        if (strcmp(was->members[i].name, is->members[i].name) != 0 ||
            strcmp(was->members[i].tags.replicatefrom, is->members[i].tags.replicatefrom) != 0)
            return true;
    return false;
}

/* A view is large and mostly empty: what stands behind its counts is not looked at, nor copied. */
static void copy_view(struct dcs_cluster *to, const struct dcs_cluster *from)
{
    size_t rest = offsetof(struct dcs_cluster, failover);

    memcpy(to, from, offsetof(struct dcs_cluster, status_slots));
    memcpy(to->status_slots, from->status_slots,
           from->n_status_slots * sizeof(from->status_slots[0]));
    to->n_retain_slots = from->n_retain_slots;
    memcpy(to->retain_slots, from->retain_slots,
           from->n_retain_slots * sizeof(from->retain_slots[0]));
    to->n_members = from->n_members;
    memcpy(to->members, from->members, from->n_members * sizeof(from->members[0]));
    memcpy((char *)to + rest, (const char *)from + rest,
           offsetof(struct dcs_cluster, failsafe) - rest);
    memcpy(to->failsafe, from->failsafe, from->n_failsafe * sizeof(from->failsafe[0]));
}

static void fold_view(struct ha *ha, const struct ha_event *ev)
{
    const struct dcs_cluster *c = ev->u.view.cluster;
    bool news = false;

    if (ev->u.view.live && !ha->view_live)
        news = true;
    ha->view_live = ev->u.view.live;
    if (!c) {
        ha->cycle_due |= news;
        return;
    }
    if (!ha->have_view) {
        news = true;
    } else {
        const struct dcs_cluster *was = &ha->view;
        bool mine = c->has_leader && strcmp(c->leader, ha->policy.name) == 0;

        if (was->has_leader != c->has_leader || strcmp(was->leader, c->leader) != 0)
            news = true;
        else if (!mine && leader_news(was, c))
            news = true;
        if (c->failover.present && strcmp(was->failover.version, c->failover.version) != 0)
            news = true;
        if (was->initialize != c->initialize && (ha->pg.dir != PM_DIR_OK || ha->bootstrapping))
            news = true;
        /* Keys that are the leader's to fill in: as long as the first one is away, an empty node
         * may make another cluster. */
        if (mine && (was->initialize != c->initialize || c->config_exists != was->config_exists ||
                     members_news(was, c)))
            news = true;
        /* Our own member key vanished: the session was lost or somebody cleaned up. */
        if (!news)
            for (unsigned i = 0; i < was->n_members; i++)
                if (strcmp(was->members[i].name, ha->policy.name) == 0) {
                    bool still = false;
                    for (unsigned k = 0; k < c->n_members && !still; k++)
                        still = strcmp(c->members[k].name, ha->policy.name) == 0;
                    news = !still;
                    break;
                }
    }
    copy_view(&ha->view, c);
    for (unsigned i = 0; i < ha->view.n_members; i++)
        ha->view.members[i].data = NULL;
    ha->have_view = true;
    if (c->has_leader || !ha->have_last_led) {
        copy_view(&ha->last_led, &ha->view);
        ha->have_last_led = true;
    }
    ha->cycle_due |= news;
}

static void set_own_leader(struct ha *ha)
{
    ha->view.has_leader = true;
    memcpy(ha->view.leader, ha->policy.name, sizeof(ha->view.leader));
}

static void fold_dcs(struct ha *ha, const struct ha_event *ev, struct ha_effects *fx)
{
    enum ha_dcs_op op = ev->u.dcs.op;
    enum ha_outcome o = ev->u.dcs.outcome;
    uint64_t ttl_ms = ha->asked_ttl_ms[op] && ha->asked_ttl_ms[op] < ha->policy.ttl_ms
                          ? ha->asked_ttl_ms[op]
                          : ha->policy.ttl_ms;
    uint64_t until = ev->u.dcs.sent_ms + ttl_ms;

    ha->dcs_inflight[op] = false;
    if (ha->cycle.active && ha->cycle.dcs[op] == HA_ASK_WAITS)
        ha->cycle.dcs[op] = ask_of(o);
    if (o == HA_LOST) {
        if (!ha->dcs_lost)
            ha->dcs_lost_since_ms = ha->now_ms;
        ha->dcs_lost = true;
    } else if (op == HA_DCS_READ || op == HA_DCS_RENEW || op == HA_DCS_TOUCH) {
        ha->dcs_lost = false;
    }
    switch (op) {
    case HA_DCS_RENEW:
    case HA_DCS_ACQUIRE:
    case HA_DCS_TAKE:
        if (o == HA_OK) {
            /* A key given up meanwhile is not taken back by an answer that came late. */
            if (ha->demotion.active && ha->demotion.release_ask != HA_ASK_NOT)
                break;
            /* A renewal takes the key back when it is gone; a race looks first. */
            ha->regained = op == HA_DCS_RENEW && (ha->regained || ha->lease_until_ms <= ha->now_ms);
            if (until > ha->lease_until_ms)
                ha->lease_until_ms = until;
            ha->offline = false;
            if (op != HA_DCS_RENEW)
                set_own_leader(ha);
            ha_watchdog_proven(ha, fx);
        } else if (o == HA_REFUSED) {
            ha->lease_until_ms = 0; /* answered: the key is not ours */
            if (!ha->cycle.active)
                ha->cycle_due = true;
        } else if (op == HA_DCS_TAKE && ha->bootstrapping) {
            /* Whether the key is ours or not: what makes the cluster is not written once more over
             * what people may have changed. */
            ha_bootstrap_made(ha, fx);
        } /* silence proves nothing: the old deadline stands */
        break;
    case HA_DCS_RELEASE:
        if (o != HA_LOST && ha_has_lock(ha)) {
            ha->view.has_leader = false;
            ha->view.leader[0] = 0;
        }
        ha->lease_until_ms = 0;
        if (ha->demotion.active && ha->demotion.release_ask == HA_ASK_WAITS) {
            ha->demotion.release_ask = ask_of(o);
            ha->demotion.released = true; /* unanswered: it runs out by itself */
        }
        break;
    case HA_DCS_TOUCH:
        break;
    case HA_DCS_READ:
    case HA_DCS_INITIALIZE:
    case HA_DCS_SET_SYSID:
    case HA_DCS_CANCEL_INITIALIZE:
    case HA_DCS_SET_CONFIG:
    case HA_DCS_SET_FAILOVER:
    case HA_DCS_SET_STATUS:
    case HA_DCS_SET_HISTORY:
    case HA_DCS_OPS:
        break;
    }
}

static void fold_facts(struct ha *ha, const struct postmaster_facts *f, bool looked)
{
    bool first = !ha->have_facts;
    bool died = ha->pg.alive && !f->alive;
    bool came_up = !ha->pg.alive && f->alive;
    bool ready = f->alive && pgv_state_is_starting(ha->pg.state) && f->state == PGV_STATE_RUNNING;

    if (first || ha->pg.state != f->state || ha->pg.role != f->role ||
        ha->pg.pending_restart != f->pending_restart)
        ha->touch_due = true;
    /* A promotion seen: followers wait for this line in our member key. */
    if (!first && ha->pg.timeline != f->timeline && f->timeline)
        ha->touch_due = true;
    ha->pg = *f;
    ha->have_facts = true;
    if (looked && f->look_ok)
        ha->last_wal_lsn = f->wal_lsn;
    if (f->look_ok && f->in_recovery && f->timeline)
        ha->last_timeline = f->timeline;
    if (!first && ha->job.kind == PM_JOB_NONE && (died || came_up || ready))
        ha->cycle_due = true;
    if (died)
        ha->stable_since_ms = 0;
    if (f->alive)
        ha->compared = false;
    if (looked && ha->cycle.active && ha->cycle.look == HA_ASK_WAITS)
        ha->cycle.look = HA_ASK_OK;
}

static void answer(struct ha_effects *fx, uint32_t id, enum ha_answer what)
{
    struct ha_effect *e = ha_emit(fx, HA_DO_ANSWER, HA_WHY_answer);

    e->u.answer.id = id;
    e->u.answer.answer = what;
}

void ha_job_ended(struct ha *ha, enum postmaster_job job, enum postmaster_outcome outcome,
                  struct ha_effects *fx)
{
    bool done = outcome == PM_DONE;

    if (job == PM_JOB_RESTART && ha->has_restart_request) {
        ha->has_restart_request = false;
        if (ha->restart_request.id)
            answer(fx, ha->restart_request.id,
                   done                                              ? HA_ANSWER_DONE
                   : outcome == PM_UNKNOWN || outcome == PM_CANCELED ? HA_ANSWER_STARTING
                                                                     : HA_ANSWER_FAILED);
    }
    if (job != ha->job.kind)
        return; /* the end of one that a stop has cut short */
    if (job == PM_JOB_STOP && outcome == PM_CANCELED)
        return; /* a stricter stop took its place and goes on */
    memset(&ha->job, 0, sizeof(ha->job));
    ha->cycle_due = true;
    switch (job) {
    case PM_JOB_POST_BOOTSTRAP:
        ha->bootstrap_result = done ? HA_ASK_OK : HA_ASK_REFUSED;
        break;
    case PM_JOB_CLONE:
        ha->start_after_clone = done;
        ha->remove_data = !done;
        break;
    case PM_JOB_STOP:
        ha->demotion.stopped = true;
        if (outcome == PM_FAILED && ha->pg.alive)
            ha->demotion.release = false; /* it runs on: the key must not go to another */
        break;
    case PM_JOB_PROMOTE:
        ha->promote_result_failed = outcome == PM_FAILED;
        if (done)
            ha->touch_due = true;
        break;
    case PM_JOB_CHECK_DIVERGENCE:
        ha->compared = !ha->pg.alive;
        if (ha->rewind != HA_REWIND_CHECK)
            break;
        if (done)
            ha->rewind = HA_REWIND_NEED;
        else if (outcome == PM_NO)
            ha->rewind = HA_REWIND_NOT_NEED;
        /* Not found out, or of no avail as long as it does not stream. */
        if (!done)
            ha->divergence_not_before_ms = ha->now_ms + ha->policy.loop_wait_ms;
        break;
    case PM_JOB_REWIND:
        if (done)
            ha->rewind = HA_REWIND_SUCCESS;
        else if (outcome == PM_FAILED) {
            ha->rewind = HA_REWIND_FAILED;
            ha->remove_data = ha->policy.remove_on_rewind_failure || ha->policy.remove_on_diverged;
        } else {
            ha->divergence_not_before_ms = ha->now_ms + ha->policy.loop_wait_ms;
        }
        break;
    case PM_JOB_REMOVE_DATA:
        ha->remove_data = false;
        /* A copy that failed is tried again by the regular cycle; one is made at once where a
         * rewind has failed. */
        ha->cycle_due = ha->rewind == HA_REWIND_FAILED;
        ha->rewind = HA_REWIND_INITIAL;
        break;
    case PM_JOB_MOVE_DATA_ASIDE:
        if (!ha->bootstrapping) { /* what another agent had left */
            ha->init_failed = ha->init_key_removed = false;
            ha->cycle_due = done;
            break;
        }
        ha->shutdown.asked = true;
        ha->shutdown.exit_status = 1;
        break;
    case PM_JOB_FOLLOW:
        ha->settled_ms = done ? ha->now_ms + FOLLOW_SETTLES_MS : 0;
        break;
    case PM_JOB_START:
    case PM_JOB_RESTART:
    case PM_JOB_BOOTSTRAP:
    case PM_JOB_CRASH_RECOVERY:
    case PM_JOB_NONE:
        break;
    }
}

void ha_fold(struct ha *ha, const struct ha_event *ev, struct ha_effects *fx)
{
    switch (ev->type) { /* no default: the compiler names the event we forgot */
    case HA_EV_TICK:
        break;
    case HA_EV_POLICY:
        if (ha->have_policy && memcmp(&ha->policy, ev->u.policy, sizeof(ha->policy)) == 0)
            break;
        /* Whoever leads with a lease of the old length keeps that until it is renewed. */
        ha->policy = *ev->u.policy;
        ha->have_policy = true;
        ha_watchdog_new_policy(ha, fx);
        ha->touch_due = true;
        ha->cycle_due = true;
        break;
    case HA_EV_VIEW:
        fold_view(ha, ev);
        break;
    case HA_EV_DCS:
        fold_dcs(ha, ev, fx);
        break;
    case HA_EV_FACTS:
        fold_facts(ha, ev->u.facts, false);
        break;
    case HA_EV_LOOKED:
        fold_facts(ha, ev->u.facts, true);
        break;
    case HA_EV_JOB:
        ha_job_ended(ha, ev->u.job.job, ev->u.job.outcome, fx);
        break;
    case HA_EV_SHUTDOWN_CHECKPOINT:
        if (ha->demotion.active && !ha->demotion.shutdown_seen) {
            ha->demotion.shutdown_seen = true;
            ha->demotion.checkpoint_lsn = ev->u.shutdown_checkpoint.checkpoint_lsn;
            ha->demotion.prev_lsn = ev->u.shutdown_checkpoint.prev_lsn;
        }
        break;
    case HA_EV_PEERS:
        if (ev->u.peers.round != ha->asked_round)
            break; /* of a question nobody waits for any more */
        ha->answered_round = ev->u.peers.round;
        ha->n_peers = ev->u.peers.n <= HA_PEERS_MAX ? ev->u.peers.n : HA_PEERS_MAX;
        for (unsigned i = 0; i < ha->n_peers; i++)
            ha->peers[i] = ev->u.peers.peers[i];
        if (ha->cycle.active && ha->cycle.peers == HA_ASK_WAITS)
            ha->cycle.peers = HA_ASK_OK;
        break;
    case HA_EV_FOLLOW:
        if (ha->cycle.active && ha->cycle.follow == HA_ASK_WAITS) {
            ha->cycle.follow = HA_ASK_OK;
            ha->cycle.fits = ev->u.follow.fits;
            ha->cycle.needs_restart = ev->u.follow.needs_restart;
        }
        break;
    case HA_EV_CHECKPOINT:
        ha->checkpoint_running = false;
        if (ev->u.ok && ha_is_primary(ha)) {
            ha->rewind = HA_REWIND_CHECKPOINT;
            ha->touch_due = true;
        }
        break;
    case HA_EV_SLOTS:
        ha->slots_running = false;
        break;
    case HA_EV_REQUEST:
        ha_take_request(ha, &ev->u.request, fx);
        break;
    case HA_EV_WAKE:
        ha->cycle_due = true;
        break;
    case HA_EV_WATCHDOG:
        ha_watchdog_told(ha, &ev->u.watchdog, fx);
        break;
    case HA_EV_SHUTDOWN:
        ha->shutdown.asked = true;
        break;
    }
}
