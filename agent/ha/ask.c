/* SPDX-License-Identifier: PostgreSQL */
/* agent/ha/ask.c - questions: to the store, to the peers, and jobs for PostgreSQL. */
#include "agent/ha/internal.h"

#include <string.h>

/** How long peers have to answer. Source: Patroni asks with 2 s and no retry. */
#define PEERS_TIMEOUT_MS 2000

static uint64_t deadline(const struct ha *ha, enum ha_dcs_op op)
{
    uint64_t at = ha->now_ms + ha->policy.retry_timeout_ms;
    uint64_t fence = ha_fence_at(ha);

    /* A renewal that is answered after PostgreSQL had to be stopped is of no use, and a try that
     * hangs must leave time for another one. */
    if (op == HA_DCS_RENEW && fence != UINT64_MAX && fence > ha->now_ms && fence < at)
        at = fence;
    return at;
}

/*
 * From here on the key may hang on a lease of the ttl as it is now, whether or not we hear of it:
 * where that was lowered, the longer deadline of the old lease proves nothing any more. Where it
 * was raised, an answer that is on its way speaks of the old one.
 */
static void cap_lease(struct ha *ha, enum ha_dcs_op op)
{
    ha->asked_ttl_ms[op] = ha->policy.ttl_ms;
    if (ha->lease_until_ms > ha->now_ms + ha->policy.ttl_ms)
        ha->lease_until_ms = ha->now_ms + ha->policy.ttl_ms;
}

/* After it the leader key may be ours. */
static bool takes_key(enum ha_dcs_op op)
{
    return op == HA_DCS_RENEW || op == HA_DCS_ACQUIRE || op == HA_DCS_TAKE;
}

static struct ha_effect *emit_dcs(struct ha *ha, struct ha_effects *fx, enum ha_dcs_op op,
                                  enum ha_why why)
{
    struct ha_effect *e = ha_emit(fx, HA_DO_DCS, why);

    e->u.dcs.op = op;
    e->u.dcs.deadline_ms = deadline(ha, op);
    e->u.dcs.guarded = op == HA_DCS_SET_SYSID && ha->bootstrapping;
    ha->dcs_inflight[op] = true;
    if (takes_key(op))
        cap_lease(ha, op);
    if (op == HA_DCS_TAKE)
        ha->take_ms = ha->now_ms;
    return e;
}

enum ha_ask ha_ask_dcs(struct ha *ha, struct ha_effects *fx, enum ha_dcs_op op, enum ha_why why)
{
    enum ha_ask *ask = &ha->cycle.dcs[op];

    /* A key on its way out is not asked for: the store might carry out the release first, and the
     * renewal would put the key again under a session that gives it up. */
    if (takes_key(op) && *ask == HA_ASK_NOT && ha->dcs_inflight[HA_DCS_RELEASE])
        return HA_ASK_WAITS;
    if (*ask == HA_ASK_NOT) {
        if (!ha->dcs_inflight[op])
            emit_dcs(ha, fx, op, why);
        *ask = HA_ASK_WAITS;
    }
    return *ask;
}

struct ha_effect *ha_tell_dcs(struct ha *ha, struct ha_effects *fx, enum ha_dcs_op op,
                              enum ha_why why)
{
    return ha->dcs_inflight[op] ? NULL : emit_dcs(ha, fx, op, why);
}

bool ha_key_on_its_way(const struct ha *ha)
{
    for (unsigned op = 0; op < HA_DCS_OPS; op++)
        if (takes_key((enum ha_dcs_op)op) && ha->dcs_inflight[op])
            return true;
    return false;
}

enum ha_flow ha_give_key_up(struct ha *ha, struct ha_effects *fx, enum ha_why why)
{
    if (ha_key_on_its_way(ha))
        return HA_WAIT;
    ha_tell_dcs(ha, fx, HA_DCS_RELEASE, why);
    ha->lease_until_ms = 0;
    return ha_end(ha, fx, why);
}

static void add_asked(struct ha *ha, const char *name, const char *api_url)
{
    if (!api_url[0] || strcmp(name, ha->policy.name) == 0 || ha->n_asked == HA_PEERS_MAX)
        return;
    for (unsigned i = 0; i < ha->n_asked; i++) {
        if (strcmp(ha->asked[i].name, name) == 0) { /* later sources override earlier ones */
            memcpy(ha->asked[i].api_url, api_url, PGV_URL_BYTES);
            return;
        }
    }
    memcpy(ha->asked[ha->n_asked].name, name, PGV_NAME_BYTES);
    memcpy(ha->asked[ha->n_asked].api_url, api_url, PGV_URL_BYTES);
    ha->n_asked++;
}

/* ha contract §10.3 and §14.5: who is asked. Names in the sync key restrict the set where only they
 * may lead. */
static void choose_peers(struct ha *ha, enum ha_peers_for why)
{
    const struct dcs_cluster *c = &ha->view;

    ha->n_asked = 0;
    if (why == HA_PEERS_RACE) {
        if (ha->have_last_led)
            for (unsigned i = 0; i < ha->last_led.n_members; i++)
                if (!ha->last_led.members[i].tags.nofailover)
                    add_asked(ha, ha->last_led.members[i].name, ha->last_led.members[i].api_url);
        if (ha->policy.failsafe_mode)
            for (unsigned i = 0; i < c->n_failsafe; i++)
                add_asked(ha, c->failsafe[i].name, c->failsafe[i].api_url);
    }
    for (unsigned i = 0; i < c->n_members; i++) {
        const struct dcs_member *m = &c->members[i];

        if (m->tags.nofailover && strcmp(m->name, c->failover.candidate) != 0)
            continue;
        add_asked(ha, m->name, m->api_url);
    }
}

static void emit_peers(struct ha *ha, struct ha_effects *fx, enum ha_why why)
{
    struct ha_effect *e = ha_emit(fx, HA_DO_ASK_PEERS, why);

    ha->asked_round++;
    e->u.peers.round = ha->asked_round;
    e->u.peers.deadline_ms = ha->now_ms + PEERS_TIMEOUT_MS;
}

enum ha_ask ha_ask_peers(struct ha *ha, struct ha_effects *fx, enum ha_peers_for why)
{
    if (why == HA_PEERS_RECEIVED) { /* outside the cycle: ha->demotion keeps the round */
        choose_peers(ha, why);
        emit_peers(ha, fx, HA_WHY_release);
        return HA_ASK_WAITS;
    }
    if (ha->cycle.peers == HA_ASK_NOT || ha->cycle.peers_for != (int)why) {
        choose_peers(ha, why);
        ha->cycle.peers_for = (int)why;
        ha->n_peers = 0;
        if (ha->n_asked == 0) {
            ha->cycle.peers = HA_ASK_OK;
        } else {
            emit_peers(ha, fx, HA_WHY_cycle);
            ha->cycle.peers = HA_ASK_WAITS;
        }
    }
    return ha->cycle.peers;
}

struct ha_effect *ha_start_job(struct ha *ha, struct ha_effects *fx, enum postmaster_job kind,
                               enum ha_why why, const char *name)
{
    struct ha_effect *e = ha_emit(fx, HA_DO_JOB, why);

    PGV_ASSERT(ha->job.kind == PM_JOB_NONE || kind == PM_JOB_STOP);
    PGV_ASSERT(name || !ha_why_has_arguments(why));
    memset(&ha->job, 0, sizeof(ha->job));
    ha->job.kind = kind;
    ha->job.since_ms = ha->now_ms;
    ha->job.why = why;
    if (name) {
        size_t n = strnlen(name, sizeof(ha->job.name) - 1);
        memcpy(ha->job.name, name, n);
    } else {
        ha_say(ha->job.name, sizeof(ha->job.name), why);
    }
    memcpy(e->text, ha->job.name, sizeof(e->text));
    e->u.job.job = kind;
    return e;
}
