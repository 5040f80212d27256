/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/ha/watchdog.c - the watchdog device: a machine whose agent no longer proves its lease is
 * reset before somebody else may lead (ha contract §22).
 *
 * It is activated with a proven lease and before anything is promoted, and kept alive by proofs of
 * the lease alone, never beyond the lease's end. Fencing looks at the moment at which it fires as
 * it looks at the end of the lease, so that an orderly demotion comes first: a reset is for an
 * agent that cannot act, not for a store that does not answer. It is disabled when nothing can be
 * written any more, so a stop that hangs ends in a reset as well.
 */
#include "agent/ha/internal.h"

/** So long before fencing a deaf device that is not required is closed. */
#define GIVE_UP_MS 1000
/** And left alone for so many times ttl. */
#define UNFIT_RESTS_TTLS 10

uint64_t ha_watchdog_wanted(const struct ha *ha)
{
    const struct ha_policy *p = &ha->policy;

    return p->watchdog == HA_WATCHDOG_OFF || p->watchdog_timeout_ms < HA_WATCHDOG_TIMEOUT_MIN_MS
               ? 0
               : p->watchdog_timeout_ms;
}

static bool required(const struct ha *ha)
{
    return ha->policy.watchdog == HA_WATCHDOG_REQUIRED;
}

/* What could not be closed runs on, and is kept alive by other rules than the lease's. */
static bool counts(const struct ha *ha)
{
    return ha->watchdog.running && !ha->watchdog_ask.stays;
}

bool ha_watchdog_guards(const struct ha *ha)
{
    uint64_t timeout = ha->watchdog.timeout_ms;

    if (!counts(ha) || timeout < HA_WATCHDOG_TIMEOUT_MIN_MS || timeout > ha_watchdog_wanted(ha))
        return false;
    return ha->watchdog.adjustable || timeout + HA_WATCHDOG_ANSWER_MS <= ha->policy.ttl_ms;
}

bool ha_watchdog_ready(const struct ha *ha)
{
    return ha->policy.watchdog == HA_WATCHDOG_OFF || ha->policy.paused || ha_watchdog_guards(ha);
}

bool ha_watchdog_rests(const struct ha *ha, uint64_t now_ms)
{
    return required(ha) && ha->watchdog_ask.failed_ms &&
           now_ms < ha->watchdog_ask.failed_ms + ha->policy.ttl_ms;
}

bool ha_watchdog_failed(const struct ha *ha)
{
    return required(ha) &&
           (!ha_watchdog_wanted(ha) || (ha->watchdog_ask.told && !ha->watchdog.usable) ||
            ha_watchdog_rests(ha, ha->now_ms));
}

uint64_t ha_watchdog_fires(const struct ha *ha)
{
    return counts(ha) ? ha->watchdog.fires_ms : UINT64_MAX;
}

uint64_t ha_proven_until(const struct ha *ha)
{
    uint64_t until = ha->lease_until_ms, fires = ha_watchdog_fires(ha);

    return fires < until ? fires : until;
}

/* It was not kept alive although the lease was proven: it is deaf, or too slow for this store. */
static bool deaf(const struct ha *ha)
{
    return counts(ha) && ha->watchdog_ask.unheard &&
           ha->lease_until_ms > ha->watchdog.fires_ms + HA_DEMOTE_MARGIN_MS;
}

void ha_watchdog_fenced(struct ha *ha)
{
    if (deaf(ha))
        ha->watchdog_ask.failed_ms = ha->now_ms;
}

/* How long it must be left alone between two keepalives for one slow renewal to do no harm. */
static uint64_t half_time(const struct ha *ha)
{
    uint64_t t = ha->watchdog.timeout_ms;

    return t > HA_DEMOTE_MARGIN_MS ? (t - HA_DEMOTE_MARGIN_MS) / 2 : 0;
}

uint64_t ha_watchdog_renew_at(const struct ha *ha)
{
    uint64_t before = HA_DEMOTE_MARGIN_MS + half_time(ha);

    if (!counts(ha) || !ha->lease_until_ms)
        return UINT64_MAX;
    return ha->watchdog.fires_ms > before ? ha->watchdog.fires_ms - before : 0;
}

/* ---- what it is told ---------------------------------------------------------------------- */

static struct ha_effect *tell(struct ha *ha, struct ha_effects *fx, enum ha_watchdog_op op,
                              enum ha_why why)
{
    struct ha_effect *e = ha_emit(fx, HA_DO_WATCHDOG, why);

    e->u.watchdog.op = op;
    if (op != HA_WATCHDOG_KEEPALIVE) {
        ha->watchdog_ask.waits = true;
        ha->watchdog_ask.what = op;
    }
    return e;
}

/*
 * @until_ms 0: without limit. What the port will make of it is reckoned here, never too late;
 * it tells when it is otherwise.
 */
static void keep_alive(struct ha *ha, struct ha_effects *fx, uint64_t until_ms, enum ha_why why)
{
    struct ha_watchdog *d = &ha->watchdog;
    struct ha_effect *e = tell(ha, fx, HA_WATCHDOG_KEEPALIVE, why);
    uint64_t wanted = ha_watchdog_wanted(ha), timeout = d->timeout_ms;

    e->u.watchdog.timeout_ms = wanted ? wanted : timeout;
    e->u.watchdog.until_ms = until_ms;
    ha->watchdog_ask.kept_ms = ha->now_ms;
    ha->watchdog_ask.unheard = false;
    if (d->adjustable && wanted && wanted < timeout)
        timeout = wanted;
    if (!until_ms || ha->now_ms + timeout <= until_ms)
        d->fires_ms = ha->now_ms + timeout;
    else if (d->adjustable) /* in whole seconds, counted from a little later */
        d->fires_ms = until_ms > 1000 ? until_ms - 1000 : 0;
    else
        ha->watchdog_ask.unheard = true;
}

void ha_watchdog_proven(struct ha *ha, struct ha_effects *fx)
{
    const struct ha_watchdog_ask *a = &ha->watchdog_ask;

    /* What is left of the lease must be more than the shortest time-out that can be set. */
    if (counts(ha) && ha_is_leader(ha, ha->now_ms + HA_IMMEDIATE_MARGIN_MS) && !ha->policy.paused &&
        ha_watchdog_wanted(ha) && !(a->waits && a->what == HA_WATCHDOG_DISABLE))
        keep_alive(ha, fx, ha->lease_until_ms, HA_WHY_watchdog_keepalive);
}

void ha_watchdog_new_policy(struct ha *ha, struct ha_effects *fx)
{
    uint64_t wanted = ha_watchdog_wanted(ha);

    ha->watchdog_ask.unfit = ha->watchdog_ask.given_up = false;
    ha->watchdog_ask.failed_ms = 0;
    /* The next renewal is for a shorter lease: it must fire before that ends, answered or not. */
    if (wanted && wanted < ha->watchdog.timeout_ms && ha->watchdog.adjustable)
        ha_watchdog_proven(ha, fx);
}

enum ha_ask ha_watchdog_check(struct ha *ha, struct ha_effects *fx)
{
    enum ha_ask *ask = &ha->cycle.watchdog_check;

    if (!required(ha))
        return HA_ASK_OK;
    if (!ha_watchdog_wanted(ha) || ha_watchdog_rests(ha, ha->now_ms))
        return HA_ASK_REFUSED;
    if (ha->watchdog.running)
        return HA_ASK_OK;
    if (*ask == HA_ASK_NOT && !ha->watchdog_ask.waits) {
        tell(ha, fx, HA_WATCHDOG_CHECK, HA_WHY_watchdog_check);
        *ask = HA_ASK_WAITS;
    }
    return *ask == HA_ASK_NOT ? HA_ASK_WAITS : *ask;
}

/* Where it is not required: one that could not be had may be there in the next regular cycle; one
 * that was of no use will be of none for a while. */
static bool try_again(const struct ha *ha)
{
    const struct ha_watchdog_ask *a = &ha->watchdog_ask;

    return ha->cycle.regular &&
           (!a->unfit || ha->now_ms >= a->failed_ms + UNFIT_RESTS_TTLS * ha->policy.ttl_ms);
}

enum ha_ask ha_watchdog_activate(struct ha *ha, struct ha_effects *fx)
{
    struct ha_watchdog_ask *a = &ha->watchdog_ask;
    enum ha_ask *ask = &ha->cycle.watchdog;

    if (ha_watchdog_ready(ha))
        return HA_ASK_OK;
    if (ha->lease_until_ms && !ha_is_leader(ha, ha->now_ms + HA_DEMOTE_MARGIN_MS))
        return HA_ASK_LOST;
    if (!ha_watchdog_wanted(ha) || ha_watchdog_rests(ha, ha->now_ms))
        return HA_ASK_REFUSED;
    if (*ask == HA_ASK_NOT) {
        struct ha_effect *e;

        if (!required(ha) && a->failed_ms && !try_again(ha))
            return HA_ASK_REFUSED;
        if (a->waits)
            return HA_ASK_WAITS;
        e = tell(ha, fx, HA_WATCHDOG_ACTIVATE, HA_WHY_watchdog_activate);
        e->u.watchdog.timeout_ms = ha_watchdog_wanted(ha);
        e->u.watchdog.until_ms = ha->lease_until_ms;
        a->stays = false;
        a->kept_ms = ha->now_ms;
        *ask = HA_ASK_WAITS;
    }
    return *ask;
}

bool ha_watchdog_lacks(const struct ha *ha, enum ha_ask activated)
{
    return activated == HA_ASK_REFUSED && required(ha);
}

/* ---- what it tells ------------------------------------------------------------------------ */

static void activated(struct ha *ha)
{
    struct ha_watchdog_ask *a = &ha->watchdog_ask;
    bool guards = ha_watchdog_guards(ha);

    a->unheard = false;
    a->failed_ms = guards ? 0 : ha->now_ms;
    a->unfit = ha->watchdog.running && !guards;
    if (ha->cycle.active && ha->cycle.watchdog == HA_ASK_WAITS)
        ha->cycle.watchdog = guards ? HA_ASK_OK : HA_ASK_REFUSED;
}

/* Has the last keepalive left no trace? */
static bool unheard(const struct ha *ha)
{
    uint64_t at = ha->watchdog_ask.kept_ms + ha->watchdog.timeout_ms;

    if (ha->lease_until_ms && at > ha->lease_until_ms)
        at = ha->lease_until_ms; /* shortened, to whole seconds */
    return ha->watchdog.running && ha->watchdog.fires_ms + 2000 < at;
}

void ha_watchdog_told(struct ha *ha, const struct ha_watchdog *w, struct ha_effects *fx)
{
    struct ha_watchdog_ask *a = &ha->watchdog_ask;
    bool guarded = ha_watchdog_guards(ha), asked = a->waits;

    ha->watchdog = *w;
    a->told = true;
    a->waits = false;
    if (!w->running)
        a->stays = a->given_up = false;
    if (asked) {
        switch (a->what) {
        case HA_WATCHDOG_CHECK:
            if (ha->cycle.active && ha->cycle.watchdog_check == HA_ASK_WAITS)
                ha->cycle.watchdog_check = w->usable ? HA_ASK_OK : HA_ASK_REFUSED;
            return;
        case HA_WATCHDOG_ACTIVATE:
            activated(ha);
            return;
        case HA_WATCHDOG_DISABLE:
            a->stays = w->running && !a->given_up;
            if (a->stays)
                ha_log(fx, HA_WARNING, HA_WHY_watchdog_stays);
            return;
        case HA_WATCHDOG_KEEPALIVE: /* nobody waits for it */
            break;
        }
    }
    a->unheard = unheard(ha);
    ha_renew_in_time(ha); /* if it was not kept alive, another attempt comes soon */
    if (guarded && !ha_watchdog_guards(ha)) {
        ha_log(fx, HA_WARNING, required(ha) ? HA_WHY_watchdog_lost_required : HA_WHY_watchdog_lost);
        ha->cycle_due = true; /* one attempt to have it again */
    }
}

/* ---- outside the cycle -------------------------------------------------------------------- */

static bool may_write(const struct ha *ha)
{
    return ha_writable(ha) && !(ha->demotion.active && ha->demotion.shutdown_seen);
}

/* A crashed server is started again under the lease that it had: guarded from its first write. A
 * lease that is not renewed any more is no reason to reset a machine on which nothing runs. */
static bool to_guard(const struct ha *ha)
{
    return may_write(ha) || (!ha->demotion.active && ha_is_leader(ha, ha->now_ms) &&
                             ha->now_ms + HA_DEMOTE_MARGIN_MS < ha->watchdog.fires_ms);
}

/* Who makes a cluster has no lease yet, and nobody to fight; the key, once asked for, is another
 * matter. */
static bool without_limit(const struct ha *ha)
{
    return ha->watchdog_ask.stays || (ha->bootstrapping && !ha->take_ms);
}

/* Where it is not required, a deaf one is not worth a demotion: it is closed a little before
 * fencing would look at it. One that does not even close is left to fencing. */
static bool to_give_up(const struct ha *ha)
{
    return !required(ha) && !ha->watchdog_ask.given_up && deaf(ha) &&
           ha->now_ms + HA_DEMOTE_MARGIN_MS + GIVE_UP_MS >= ha->watchdog.fires_ms;
}

static bool to_disable(const struct ha *ha)
{
    if (!counts(ha))
        return false;
    if (ha->policy.paused || (!required(ha) && !ha_watchdog_wanted(ha)))
        return true;
    if (ha->bootstrapping)
        return !ha->pg.alive;
    /* A device that cannot be what is wanted would reset a machine that keeps its lease. */
    return !to_guard(ha) || (!required(ha) && ha->watchdog_ask.unfit && !ha->watchdog_ask.given_up);
}

static uint64_t keepalive_at(const struct ha *ha)
{
    return ha->watchdog_ask.kept_ms + ha->watchdog.timeout_ms / 3;
}

void ha_watchdog_go_on(struct ha *ha, struct ha_effects *fx)
{
    if (!ha->watchdog.running || ha->watchdog_ask.waits)
        return;
    if (to_give_up(ha)) {
        ha->watchdog_ask.given_up = ha->watchdog_ask.unfit = true;
        ha->watchdog_ask.failed_ms = ha->now_ms;
        ha_log(fx, HA_WARNING, HA_WHY_watchdog_lost);
        tell(ha, fx, HA_WATCHDOG_DISABLE, HA_WHY_watchdog_lost);
        return;
    }
    if (to_disable(ha)) {
        ha->watchdog_ask.given_up = false;
        tell(ha, fx, HA_WATCHDOG_DISABLE, HA_WHY_watchdog_disable);
    } else if (without_limit(ha) && ha->now_ms >= keepalive_at(ha)) {
        keep_alive(ha, fx, 0, HA_WHY_watchdog_unlimited);
    }
}

uint64_t ha_watchdog_at(const struct ha *ha)
{
    if (!ha->watchdog.running || ha->watchdog_ask.waits)
        return UINT64_MAX;
    if (without_limit(ha))
        return keepalive_at(ha);
    if (deaf(ha) && !required(ha) && !ha->watchdog_ask.given_up &&
        ha->watchdog.fires_ms > HA_DEMOTE_MARGIN_MS + GIVE_UP_MS)
        return ha->watchdog.fires_ms - HA_DEMOTE_MARGIN_MS - GIVE_UP_MS;
    /* The moment from which on to_guard() gives a server up that does not run. */
    if (!ha->bootstrapping && !may_write(ha) && ha->watchdog.fires_ms > HA_DEMOTE_MARGIN_MS)
        return ha->watchdog.fires_ms - HA_DEMOTE_MARGIN_MS;
    return UINT64_MAX;
}

void ha_watchdog_leave(struct ha *ha, struct ha_effects *fx)
{
    bool may_run = ha->watchdog.running ||
                   (ha->watchdog_ask.waits && ha->watchdog_ask.what == HA_WATCHDOG_ACTIVATE);

    if (!may_run)
        return;
    if (ha->policy.paused || !may_write(ha))
        tell(ha, fx, HA_WATCHDOG_DISABLE, HA_WHY_watchdog_disable);
    else
        ha_log(fx, HA_ERROR, HA_WHY_watchdog_left);
}
