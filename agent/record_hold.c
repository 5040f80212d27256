/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/record_hold.c - steps that are put aside as they are in memory, to be written later.
 *
 * An idle agent wakes for microseconds and finds its caches cold: writing each step field by field
 * cost more than making it. The steps of quiet cycles are copied instead, and become frames many at
 * a time.
 */
#include "agent/record.h"

#include <stddef.h>
#include <string.h>

#include "base/banned.h"

/* Of an effect what its type fills in, behind its text. Not here: what quiet cycles do not do. */
static bool parameters(enum ha_effect_type type, size_t *ret_bytes)
{
    struct ha_effect *e = NULL;

    switch (type) { /* no default: the compiler names the effect we forgot */
    case HA_DO_LOOK:
    case HA_DO_CYCLE_DONE:
        *ret_bytes = 0;
        return true;
    case HA_DO_DCS:
        *ret_bytes = sizeof(e->u.dcs);
        return true;
    case HA_DO_CHECK_FOLLOW:
        *ret_bytes = sizeof(e->u.node);
        return true;
    case HA_DO_SLOTS:
        *ret_bytes = sizeof(e->u.slots);
        return true;
    case HA_DO_WATCHDOG:
        *ret_bytes = sizeof(e->u.watchdog);
        return true;
    case HA_DO_ASK_PEERS:
    case HA_DO_JOB:
    case HA_DO_CANCEL_JOB:
    case HA_DO_CHECKPOINT:
    case HA_DO_RESUME_REPLAY:
    case HA_DO_CALLBACK:
    case HA_DO_ANSWER:
    case HA_DO_LOG:
    case HA_DO_EXIT:
        break;
    }
    return false;
}

static bool can_be_held(const struct ha_event *ev, const struct ha_effects *fx)
{
    size_t n;

    switch (ev->type) {
    case HA_EV_TICK:
    case HA_EV_DCS:
    case HA_EV_FACTS:
    case HA_EV_LOOKED:
    case HA_EV_FOLLOW:
    case HA_EV_CHECKPOINT:
    case HA_EV_SLOTS:
    case HA_EV_WATCHDOG:
        break;
    case HA_EV_POLICY:
    case HA_EV_VIEW:
    case HA_EV_JOB:
    case HA_EV_SHUTDOWN_CHECKPOINT:
    case HA_EV_PEERS:
    case HA_EV_REQUEST:
    case HA_EV_WAKE:
    case HA_EV_SHUTDOWN:
        return false;
    }
    for (unsigned i = 0; i < fx->n; i++)
        if (!parameters(fx->v[i].type, &n))
            return false;
    return true;
}

struct head {
    uint16_t why;
    uint8_t type, text_bytes;
    bool unnamed; /* a request to the store that names no candidate: the name is left out */
};
_Static_assert(HA_TEXT_BYTES <= UINT8_MAX + 1 && HA_WHYS <= UINT16_MAX, "head");
#define UNNAMED_BYTES (offsetof(struct ha_effect, u.dcs.candidate) - offsetof(struct ha_effect, u))

static bool tells_facts(const struct ha_event *ev)
{
    return ev->type == HA_EV_FACTS || ev->type == HA_EV_LOOKED;
}

bool record_hold(struct pgv_buf *b, const struct ha_event *ev, const struct ha_effects *fx)
{
    size_t at = b->n;
    bool ok;

    if (!can_be_held(ev, fx))
        return false;
    ok = pgv_buf_append(b, ev, sizeof(*ev)) &&
         pgv_buf_append(b, &fx->wake_ms, sizeof(fx->wake_ms)) &&
         pgv_buf_append(b, &fx->n, sizeof(fx->n));
    if (ok && tells_facts(ev))
        ok = pgv_buf_append(b, ev->u.facts, sizeof(*ev->u.facts));
    for (unsigned i = 0; ok && i < fx->n; i++) {
        const struct ha_effect *e = &fx->v[i];
        struct head h = { .type = (uint8_t)e->type,
                          .why = (uint16_t)e->why,
                          .text_bytes = (uint8_t)strnlen(e->text, sizeof(e->text) - 1),
                          .unnamed = e->type == HA_DO_DCS && !e->u.dcs.candidate[0] };
        size_t n;

        ok = parameters(e->type, &n) && pgv_buf_append(b, &h, sizeof(h)) &&
             pgv_buf_append(b, e->text, h.text_bytes) &&
             pgv_buf_append(b, &e->u, h.unnamed ? UNNAMED_BYTES : n);
    }
    if (!ok) {
        b->failed = false;
        b->n = at;
    }
    return ok;
}

static const char *take(const char *p, void *ret, size_t n)
{
    memcpy(ret, p, n);
    return p + n;
}

size_t record_unhold(const char *held, struct ha_event *ret_ev, struct postmaster_facts *ret_facts,
                     struct ha_effects *ret_fx)
{
    const char *p = take(held, ret_ev, sizeof(*ret_ev));

    p = take(p, &ret_fx->wake_ms, sizeof(ret_fx->wake_ms));
    p = take(p, &ret_fx->n, sizeof(ret_fx->n));
    if (tells_facts(ret_ev)) {
        p = take(p, ret_facts, sizeof(*ret_facts));
        ret_ev->u.facts = ret_facts;
    }
    for (unsigned i = 0; i < ret_fx->n; i++) {
        struct ha_effect *e = &ret_fx->v[i];
        struct head h;
        size_t n = 0;

        p = take(p, &h, sizeof(h));
        e->type = (enum ha_effect_type)h.type;
        e->why = (enum ha_why)h.why;
        p = take(p, e->text, h.text_bytes);
        e->text[h.text_bytes] = 0;
        (void)parameters(e->type, &n);
        p = take(p, &e->u, h.unnamed ? UNNAMED_BYTES : n);
        if (h.unnamed)
            e->u.dcs.candidate[0] = 0;
    }
    return (size_t)(p - held);
}
