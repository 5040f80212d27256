/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/record_hold.c - steps as they are in memory, for the recorder's writer to make frames of.
 *
 * An idle agent wakes for microseconds and finds its caches cold: writing each step field by field
 * cost more than making it. So the steps of quiet cycles are copied, as little of them as tells
 * them, and the writer writes the fields of many at a time.
 */
#include "agent/record_fields.h"

#include <stddef.h>
#include <string.h>

#include "base/banned.h"

#define HELD_MARK 0x9E2B71C5u

/* The agent puts no padding of its own into what it hands over. */
struct held {
    uint32_t mark, bytes; /* of all of it */
    uint64_t seq, now_ms;
    int64_t wall_us;
    uint64_t wake_ms;
    uint32_t type, n_effects;
};
struct held_effect {
    uint16_t why;
    uint8_t type, text_bytes;
    uint32_t unnamed; /* a request to the store that names no candidate: the name is left out */
};
_Static_assert(HA_TEXT_BYTES <= UINT8_MAX + 1 && HA_WHYS <= UINT16_MAX, "held_effect");
_Static_assert(sizeof(struct held) >= RECORD_FRAME_BYTES, "a piece is known by its head");
#define UNNAMED_BYTES (offsetof(struct ha_effect, u.dcs.candidate) - offsetof(struct ha_effect, u))

const char *record_held_id(void)
{
    return PGVIGIL_HELD;
}

/* Of an event what its type fills in. Not here: what quiet cycles are not told. */
static bool event_bytes(enum ha_event_type type, size_t *ret)
{
    struct ha_event *ev = NULL;

    switch (type) { /* no default: the compiler names the event we forgot */
    case HA_EV_TICK:
        *ret = 0;
        return true;
    case HA_EV_DCS:
        *ret = sizeof(ev->u.dcs);
        return true;
    case HA_EV_FACTS:
    case HA_EV_LOOKED:
        *ret = sizeof(*ev->u.facts);
        return true;
    case HA_EV_FOLLOW:
        *ret = sizeof(ev->u.follow);
        return true;
    case HA_EV_CHECKPOINT:
    case HA_EV_SLOTS:
        *ret = sizeof(ev->u.ok);
        return true;
    case HA_EV_WATCHDOG:
        *ret = sizeof(ev->u.watchdog);
        return true;
    case HA_EV_POLICY:
    case HA_EV_VIEW:
    case HA_EV_JOB:
    case HA_EV_SHUTDOWN_CHECKPOINT:
    case HA_EV_PEERS:
    case HA_EV_REQUEST:
    case HA_EV_WAKE:
    case HA_EV_SHUTDOWN:
        break;
    }
    return false;
}

static bool tells_facts(enum ha_event_type type)
{
    return type == HA_EV_FACTS || type == HA_EV_LOOKED;
}

/* Of an effect what its type fills in, behind its text. Not here: what quiet cycles do not do. */
static bool effect_bytes(enum ha_effect_type type, size_t *ret)
{
    struct ha_effect *e = NULL;

    switch (type) { /* no default: the compiler names the effect we forgot */
    case HA_DO_LOOK:
    case HA_DO_CYCLE_DONE:
        *ret = 0;
        return true;
    case HA_DO_DCS:
        *ret = sizeof(e->u.dcs);
        return true;
    case HA_DO_CHECK_FOLLOW:
        *ret = sizeof(e->u.node);
        return true;
    case HA_DO_SLOTS:
        *ret = sizeof(e->u.slots);
        return true;
    case HA_DO_WATCHDOG:
        *ret = sizeof(e->u.watchdog);
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

static bool hold_effect(struct pgv_buf *b, const struct ha_effect *e)
{
    struct held_effect h = { .type = (uint8_t)e->type,
                             .why = (uint16_t)e->why,
                             .text_bytes = (uint8_t)strnlen(e->text, sizeof(e->text) - 1),
                             .unnamed = e->type == HA_DO_DCS && !e->u.dcs.candidate[0] };
    size_t n;

    return effect_bytes(e->type, &n) && pgv_buf_append(b, &h, sizeof(h)) &&
           pgv_buf_append(b, e->text, h.text_bytes) &&
           pgv_buf_append(b, &e->u, h.unnamed ? UNNAMED_BYTES : n);
}

bool record_hold(struct pgv_buf *b, uint64_t seq, const struct ha_event *ev,
                 const struct ha_effects *fx)
{
    struct held h = { .mark = HELD_MARK,
                      .seq = seq,
                      .now_ms = ev->now_ms,
                      .wall_us = ev->wall_us,
                      .wake_ms = fx->wake_ms,
                      .type = ev->type,
                      .n_effects = fx->n };
    size_t at = b->n, n;
    bool ok;

    if (!event_bytes(ev->type, &n))
        return false;
    ok = pgv_buf_append(b, &h, sizeof(h)) &&
         pgv_buf_append(b, tells_facts(ev->type) ? (const void *)ev->u.facts : &ev->u, n);
    for (unsigned i = 0; ok && i < fx->n; i++)
        ok = hold_effect(b, &fx->v[i]);
    h.bytes = (uint32_t)(b->n - at);
    if (!ok || h.bytes > RECORD_HELD_BYTES_MAX) {
        b->failed = false;
        b->n = at;
        return false;
    }
    memcpy(b->p + at, &h, sizeof(h));
    return true;
}

enum record_piece record_held_piece(const char *p, size_t *ret_bytes, uint64_t *ret_seq)
{
    uint32_t mark, bytes;

    memcpy(&mark, p + offsetof(struct held, mark), sizeof(mark));
    memcpy(&bytes, p + offsetof(struct held, bytes), sizeof(bytes));
    memcpy(ret_seq, p + offsetof(struct held, seq), sizeof(*ret_seq));
    *ret_bytes = bytes;
    return mark == HELD_MARK && bytes >= sizeof(struct held) && bytes <= RECORD_HELD_BYTES_MAX
               ? RECORD_HELD
               : RECORD_DAMAGED;
}

static const char *take(const char *p, void *ret, size_t n)
{
    memcpy(ret, p, n);
    return p + n;
}

void record_unhold(const char *held, struct record_held *ret)
{
    struct held h;
    size_t n = 0;

    ret->p = take(held, &h, sizeof(h));
    ret->seq = h.seq;
    ret->wake_ms = h.wake_ms;
    ret->n_effects = h.n_effects;
    ret->ev.type = (enum ha_event_type)h.type;
    ret->ev.now_ms = h.now_ms;
    ret->ev.wall_us = h.wall_us;
    (void)event_bytes(ret->ev.type, &n);
    if (tells_facts(ret->ev.type)) {
        ret->p = take(ret->p, &ret->facts, n);
        ret->ev.u.facts = &ret->facts;
    } else {
        ret->p = take(ret->p, &ret->ev.u, n);
    }
}

void record_unhold_effect(struct record_held *h, struct ha_effect *ret)
{
    struct held_effect e;
    size_t n = 0;

    h->p = take(h->p, &e, sizeof(e));
    ret->type = (enum ha_effect_type)e.type;
    ret->why = (enum ha_why)e.why;
    h->p = take(h->p, ret->text, e.text_bytes);
    ret->text[e.text_bytes] = 0;
    (void)effect_bytes(ret->type, &n);
    h->p = take(h->p, &ret->u, e.unnamed ? UNNAMED_BYTES : n);
    if (e.unnamed)
        ret->u.dcs.candidate[0] = 0;
}
