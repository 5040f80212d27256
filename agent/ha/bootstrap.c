/* SPDX-License-Identifier: PostgreSQL */
/* agent/ha/bootstrap.c - an empty data directory: a new cluster, or a copy (ha contract §7). */
#include "agent/ha/internal.h"

#include <stdio.h>
#include <string.h>

/* Any member that offers itself, is running, and is neither me nor the leader; which one depends on
 * name and time, so that many joining nodes spread out. */
static const struct dcs_member *clone_member(const struct ha *ha)
{
    const struct dcs_member *fit[DCS_MEMBERS_MAX];
    unsigned n = 0;
    uint64_t seed = ha->now_ms;

    for (unsigned i = 0; i < ha->view.n_members; i++) {
        const struct dcs_member *m = &ha->view.members[i];
        if (m->tags.clonefrom && m->conn_url[0] && m->state == PGV_STATE_RUNNING &&
            strcmp(m->name, ha->policy.name) != 0 && strcmp(m->name, ha->view.leader) != 0)
            fit[n++] = m;
    }
    for (const char *p = ha->policy.name; *p; p++)
        seed = seed * 31 + (unsigned char)*p;
    return n ? fit[seed % n] : NULL;
}

static enum ha_flow start_clone(struct ha *ha, struct ha_effects *fx, bool from_leader,
                                const char *job_name)
{
    const struct dcs_member *m = from_leader ? NULL : clone_member(ha);
    struct postmaster_node node = { 0 };
    char source[HA_TEXT_BYTES], name[HA_TEXT_BYTES];
    struct ha_effect *e;

    if (m)
        ha_node_of_member(ha, m, &node);
    else
        ha_node_of_leader(ha, &node);
    if (!node.name[0])
        snprintf(source, sizeof(source), "(without leader)");
    else
        snprintf(source, sizeof(source), "from %s '%.*s'", node.is_leader ? "leader" : "replica",
                 PGV_NAME_BYTES, node.name);
    snprintf(name, sizeof(name), "bootstrap %.200s", source);
    ha->rewind = HA_REWIND_INITIAL;
    e = ha_start_job(ha, fx, PM_JOB_CLONE, HA_WHY_clone, job_name ? job_name : name);
    e->u.job.node = node;
    e->u.job.role = PGV_ROLE_REPLICA;
    e->u.job.from_leader = from_leader;
    return ha_end(ha, fx, HA_WHY_clone, source);
}

static enum ha_flow bootstrap(struct ha *ha, struct ha_effects *fx)
{
    /* Our own write stands in the view before its answer is here: what was asked goes on. An empty
     * key that may be ours is asked for once more: the store knows who has made it, and nobody else
     * would ever go on with it. */
    bool asked = ha->cycle.dcs[HA_DCS_INITIALIZE] != HA_ASK_NOT ||
                 (ha->init_unanswered && ha->view.initialize == DCS_INIT_BOOTSTRAPPING);

    if (asked || (ha_unlocked(ha) && ha->view.initialize == DCS_INIT_ABSENT &&
                  !ha->policy.tags.nofailover && ha->policy.can_bootstrap)) {
        enum ha_ask usable = asked ? HA_ASK_OK : ha_watchdog_check(ha, fx);

        if (ha->policy.sync_requested)
            return ha_end(ha, fx, HA_WHY_unsupported_sync);
        if (usable == HA_ASK_WAITS)
            return HA_WAIT;
        if (usable != HA_ASK_OK) { /* a cluster that could not be led: let another make it */
            ha_log(fx, HA_WARNING, HA_WHY_watchdog_unusable);
            return ha_end(ha, fx, HA_WHY_wait_bootstrap);
        }
        switch (ha_ask_dcs(ha, fx, HA_DCS_INITIALIZE, HA_WHY_bootstrap)) {
        case HA_ASK_NOT:
        case HA_ASK_WAITS:
            return HA_WAIT;
        case HA_ASK_LOST:
            ha->init_unanswered = true;
            return ha_dcs_failed(ha, fx);
        case HA_ASK_REFUSED:
            ha->init_unanswered = false;
            return ha_end(ha, fx, HA_WHY_initialize_lost);
        case HA_ASK_OK:
            break;
        }
        ha->init_unanswered = false;
        ha->bootstrapping = true;
        ha->init_seen = false;
        ha->bootstrap_result = HA_ASK_NOT;
        ha_start_job(ha, fx, PM_JOB_BOOTSTRAP, HA_WHY_bootstrap, "bootstrap");
        return ha_end(ha, fx, HA_WHY_bootstrap);
    }
    if (ha->view.has_leader && !ha_has_lock(ha))
        return start_clone(ha, fx, false, NULL);
    if (ha->policy.clone_without_leader && ha->view.initialize != DCS_INIT_BOOTSTRAPPING)
        return start_clone(ha, fx, false, NULL);
    return ha_end(ha, fx, HA_WHY_wait_bootstrap);
}

static enum ha_flow cancel_initialization(struct ha *ha, struct ha_effects *fx);

/* An agent before this one was killed while it made a cluster. What it left is moved aside and the
 * key given back, if that is still the one it had made; then the next cluster is anybody's. */
static enum ha_flow unfinished(struct ha *ha, struct ha_effects *fx)
{
    if (ha->view.has_leader) {
        ha->init_failed = ha->init_key_removed = false;
        return start_clone(ha, fx, false, NULL);
    }
    return cancel_initialization(ha, fx);
}

/* ha contract §7.2 */
enum ha_flow ha_data_dir(struct ha *ha, struct ha_effects *fx)
{
    bool empty = ha->pg.dir == PM_DIR_EMPTY || ha->pg.dir == PM_DIR_UNFINISHED;
    enum ha_why why = empty ? HA_WHY_released_empty : HA_WHY_released_unreadable;

    if (ha->pg.dir == PM_DIR_OK)
        return HA_GO_ON;
    if (ha->pg.alive) {
        struct ha_effect *e = ha_start_job(ha, fx, PM_JOB_STOP, why, "stop");

        e->u.job.demote = true;
        e->u.job.mode = PM_STOP_IMMEDIATE;
        e->u.job.stop_timeout_ms = ha->policy.retry_timeout_ms;
        ha->job.mode = PM_STOP_IMMEDIATE;
        /* It may still take writes: the key is given up when it has ended, not before. */
        memset(&ha->demotion, 0, sizeof(ha->demotion));
        ha->demotion.active = true;
        ha->demotion.release = ha_has_lock(ha);
        ha->lease_until_ms = 0;
        return ha->demotion.release ? ha_end(ha, fx, why)
                                    : ha_end(ha, fx, HA_WHY_in_progress, ha->job.name);
    }
    if (ha_has_lock(ha))
        return ha_give_key_up(ha, fx, why);
    if (!empty)
        return ha_end(ha, fx, HA_WHY_dir_unreadable, ha->pg.dir_error);
    if (ha->policy.paused)
        return ha_end(ha, fx, HA_WHY_paused_empty);
    if (ha->pg.dir == PM_DIR_UNFINISHED)
        return unfinished(ha, fx);
    return bootstrap(ha, fx);
}

/* What follows a clone: the copy is started against its leader; a failed one is cleared away. */
enum ha_flow ha_after_clone(struct ha *ha, struct ha_effects *fx)
{
    struct ha_effect *e;

    if (ha->reinit.wanted) { /* the stop before it has ended */
        bool from_leader = ha->reinit.from_leader;

        ha->reinit.wanted = false;
        if (ha_unlocked(ha) || ha_has_lock(ha))
            return HA_GO_ON; /* no source any more: start again as what we are */
        return start_clone(ha, fx, from_leader, "reinitialize");
    }
    if (ha->remove_data) {
        ha_start_job(ha, fx, PM_JOB_REMOVE_DATA, HA_WHY_clone_failed, "removing data directory");
        return ha_end(ha, fx, HA_WHY_in_progress, ha->job.name);
    }
    if (ha->start_after_clone) {
        ha->start_after_clone = false;
        if (ha->pg.alive || ha->pg.dir != PM_DIR_OK)
            return HA_GO_ON;
        e = ha_start_job(ha, fx, PM_JOB_START, HA_WHY_start_secondary, NULL);
        e->u.job.role = PGV_ROLE_REPLICA;
        ha->job.role = PGV_ROLE_REPLICA;
        ha_node_to_follow(ha, &e->u.job.node);
        ha->recovering = true;
        return ha_end(ha, fx, HA_WHY_start_secondary);
    }
    return HA_GO_ON;
}

/* While it was made somebody else has begun to lead, or has written another identity: with data of
 * the cluster that was away, say. Or people have removed our key, and the next node makes a cluster
 * of its own. The view may be too old to show our key yet, and never shows whose an empty one is:
 * here is seen what can be seen early; publish() asks the store. */
static bool overtaken(struct ha *ha)
{
    if (ha->view.has_leader && !ha_has_lock(ha))
        return true;
    switch (ha->view.initialize) {
    case DCS_INIT_BOOTSTRAPPING:
        ha->init_seen = true;
        return false;
    case DCS_INIT_SYSID:
        return ha->pg.sysid[0] && strcmp(ha->view.initialize_text, ha->pg.sysid) != 0;
    case DCS_INIT_ABSENT:
    case DCS_INIT_GARBAGE:
        break;
    }
    return ha->init_seen;
}

static void stop_failed(struct ha *ha, struct ha_effects *fx)
{
    struct ha_effect *e = ha_start_job(ha, fx, PM_JOB_STOP, HA_WHY_bootstrap_failed, "stop");

    e->u.job.mode = PM_STOP_IMMEDIATE;
    e->u.job.stop_timeout_ms = ha->policy.retry_timeout_ms;
    ha->job.mode = PM_STOP_IMMEDIATE;
}

/* ha contract §7.6: clean away what a failed bootstrap has left, then end. One step a pass. */
static enum ha_flow cancel_initialization(struct ha *ha, struct ha_effects *fx)
{
    if (!ha->init_failed) {
        ha->init_failed = true;
        ha_log(fx, HA_ERROR, HA_WHY_bootstrap_failed);
    }
    /* It takes writes, and without the key the next node makes its cluster: stopped before. */
    if (ha->pg.alive) {
        stop_failed(ha, fx);
        return ha_end(ha, fx, HA_WHY_bootstrap_failed);
    }
    if (!ha->init_key_removed) {
        switch (ha_ask_dcs(ha, fx, HA_DCS_CANCEL_INITIALIZE, HA_WHY_bootstrap_failed)) {
        case HA_ASK_NOT:
        case HA_ASK_WAITS:
            return HA_WAIT;
        case HA_ASK_LOST:
            return ha_dcs_failed(ha, fx); /* tried again in the next cycle: the key must go */
        case HA_ASK_REFUSED:              /* what stands there is another node's */
        case HA_ASK_OK:
            break;
        }
        ha->init_key_removed = true;
    }
    ha_start_job(ha, fx, PM_JOB_MOVE_DATA_ASIDE, HA_WHY_bootstrap_failed,
                 "moving the data directory aside");
    return ha_end(ha, fx, HA_WHY_bootstrap_failed);
}

static enum ha_flow give_up(struct ha *ha, struct ha_effects *fx)
{
    ha_log(fx, HA_ERROR, HA_WHY_bootstrap_overtaken);
    ha->init_failed = true;
    return cancel_initialization(ha, fx);
}

/* Not only when it is made, and no answer of the server's is waited for: it is about to take
 * writes, and a script that restores a backup may run for hours. */
void ha_bootstrap_fence(struct ha *ha, struct ha_effects *fx)
{
    bool making = ha->job.kind == PM_JOB_BOOTSTRAP || ha->job.kind == PM_JOB_POST_BOOTSTRAP;

    if (!ha->bootstrapping || ha->init_failed || !(making || ha->pg.alive) || !overtaken(ha))
        return;
    ha_log(fx, HA_ERROR, HA_WHY_bootstrap_overtaken);
    ha->init_failed = true;
    stop_failed(ha, fx);
}

/* The identity and the configuration must stand before anybody can see a leader. Between the writes
 * the initialize key may be removed, and made by another node: then the answer is no. The view may
 * not know it yet. */
static enum ha_ask publish(struct ha *ha, struct ha_effects *fx)
{
    static const enum ha_dcs_op writes[] = { HA_DCS_SET_SYSID, HA_DCS_SET_CONFIG, HA_DCS_TAKE };

    for (unsigned i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        enum ha_ask ask = ha_ask_dcs(ha, fx, writes[i], HA_WHY_initialized);

        if (ask != HA_ASK_OK)
            return ask == HA_ASK_REFUSED && writes[i] == HA_DCS_SET_CONFIG ? HA_ASK_LOST : ask;
    }
    return HA_ASK_OK;
}

void ha_bootstrap_made(struct ha *ha, struct ha_effects *fx)
{
    struct ha_effect *e = ha_emit(fx, HA_DO_CALLBACK, HA_WHY_callback);

    e->u.callback.role = PGV_ROLE_PRIMARY;
    memcpy(e->u.callback.action, "on_start", 9);
    ha->bootstrapping = false;
    ha->joined = true;
    ha->rewind = HA_REWIND_INITIAL;
    ha->cycle_due = true; /* the first healthy cycle publishes the rest */
}

/* ha contract §7.7 */
enum ha_flow ha_post_bootstrap(struct ha *ha, struct ha_effects *fx)
{
    enum ha_ask watched;

    if (!ha->bootstrapping)
        return HA_GO_ON;
    if (!ha->init_failed && overtaken(ha))
        return give_up(ha, fx);
    if (ha->init_failed || !ha->pg.alive || ha->bootstrap_result == HA_ASK_REFUSED)
        return cancel_initialization(ha, fx);
    if (ha->bootstrap_result == HA_ASK_NOT) {
        if (!ha_is_primary(ha) || !ha->pg.look_ok)
            return ha_end(ha, fx, HA_WHY_bootstrap_recovery);
        ha_start_job(ha, fx, PM_JOB_POST_BOOTSTRAP, HA_WHY_post_bootstrap, "post_bootstrap");
        return ha_end(ha, fx, HA_WHY_post_bootstrap);
    }
    watched = ha_watchdog_activate(ha, fx);
    if (watched == HA_ASK_WAITS)
        return HA_WAIT;
    if (ha_watchdog_lacks(ha, watched)) {
        ha_log(fx, HA_ERROR, HA_WHY_watchdog_bootstrap);
        return cancel_initialization(ha, fx);
    }
    switch (publish(ha, fx)) {
    case HA_ASK_NOT:
    case HA_ASK_WAITS:
        return HA_WAIT;
    case HA_ASK_LOST:
        return ha_dcs_failed(ha, fx);
    case HA_ASK_REFUSED:
        return give_up(ha, fx);
    case HA_ASK_OK:
        break;
    }
    ha_bootstrap_made(ha, fx);
    return ha_end(ha, fx, HA_WHY_initialized);
}
