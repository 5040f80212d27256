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

/*
 * What of an event and, behind its text, of an effect its type fills in, and 1. 0: quiet cycles are
 * not made of it. Tables, and one pass over them: cold code costs more than what it does.
 */
#define MEMBER(of, member) (1 + sizeof(((struct of *)0)->u.member))
static const uint16_t event_room[HA_EV_SHUTDOWN + 1] = {
    [HA_EV_TICK] = 1,
    [HA_EV_DCS] = MEMBER(ha_event, dcs),
    [HA_EV_FACTS] = 1 + sizeof(struct postmaster_facts),
    [HA_EV_LOOKED] = 1 + sizeof(struct postmaster_facts),
    [HA_EV_FOLLOW] = MEMBER(ha_event, follow),
    [HA_EV_CHECKPOINT] = MEMBER(ha_event, ok),
    [HA_EV_SLOTS] = MEMBER(ha_event, ok),
    [HA_EV_WATCHDOG] = MEMBER(ha_event, watchdog),
};
static const uint16_t effect_room[HA_DO_EXIT + 1] = {
    [HA_DO_LOOK] = 1,
    [HA_DO_CYCLE_DONE] = 1,
    [HA_DO_DCS] = MEMBER(ha_effect, dcs),
    [HA_DO_CHECK_FOLLOW] = MEMBER(ha_effect, node),
    [HA_DO_SLOTS] = MEMBER(ha_effect, slots),
    [HA_DO_WATCHDOG] = MEMBER(ha_effect, watchdog),
};

static bool tells_facts(enum ha_event_type type)
{
    return type == HA_EV_FACTS || type == HA_EV_LOOKED;
}

PGV_HOT static enum record_weight weigh(const struct ha_effect *e)
{
    switch (e->type) { /* no default: the compiler names the effect we forgot */
    case HA_DO_LOOK:
    case HA_DO_ASK_PEERS:
    case HA_DO_CHECK_FOLLOW:
    case HA_DO_SLOTS:
        return RECORD_ROUTINE;
    case HA_DO_CYCLE_DONE:
        return RECORD_TOLD;
    case HA_DO_WATCHDOG:
        return e->u.watchdog.op == HA_WATCHDOG_CHECK || e->u.watchdog.op == HA_WATCHDOG_KEEPALIVE
                   ? RECORD_ROUTINE
                   : RECORD_TOLD;
    case HA_DO_LOG:
        return e->u.level > HA_INFO ? RECORD_DECIDED : RECORD_TOLD;
    case HA_DO_DCS:
        return e->u.dcs.op == HA_DCS_READ || e->u.dcs.op == HA_DCS_TOUCH ||
                       e->u.dcs.op == HA_DCS_RENEW || e->u.dcs.op == HA_DCS_SET_STATUS
                   ? RECORD_ROUTINE
                   : RECORD_DECIDED;
    case HA_DO_JOB:
    case HA_DO_CANCEL_JOB:
    case HA_DO_CHECKPOINT:
    case HA_DO_RESUME_REPLAY:
    case HA_DO_CALLBACK:
    case HA_DO_ANSWER:
    case HA_DO_EXIT:
        break;
    }
    return RECORD_DECIDED;
}

PGV_HOT enum record_weight record_weigh(const struct ha_effects *fx)
{
    enum record_weight most = RECORD_ROUTINE;

    for (unsigned i = 0; i < fx->n; i++)
        if (weigh(&fx->v[i]) > most)
            most = weigh(&fx->v[i]);
    return most;
}

static char *put(char *p, const void *data, size_t n)
{
    memcpy(p, data, n);
    return p + n;
}

/* NULL: not of a quiet cycle, or too long. */
PGV_HOT static char *hold_effect(char *p, const char *end, const struct ha_effect *e)
{
    struct held_effect h = { .type = (uint8_t)e->type,
                             .why = (uint16_t)e->why,
                             .unnamed = e->type == HA_DO_DCS && !e->u.dcs.candidate[0] };
    size_t room = effect_room[e->type], text_bytes = 0;

    while (text_bytes < sizeof(e->text) - 1 && e->text[text_bytes])
        text_bytes++;
    h.text_bytes = (uint8_t)text_bytes;
    if (!room || sizeof(h) + text_bytes + room > (size_t)(end - p))
        return NULL;
    p = put(p, &h, sizeof(h));
    p = put(p, e->text, text_bytes);
    return put(p, &e->u, h.unnamed ? UNNAMED_BYTES : room - 1);
}

PGV_HOT bool record_hold(struct pgv_buf *b, uint64_t seq, const struct ha_event *ev,
                         const struct ha_effects *fx)
{
    struct held h = { .mark = HELD_MARK,
                      .seq = seq,
                      .now_ms = ev->now_ms,
                      .wall_us = ev->wall_us,
                      .wake_ms = fx->wake_ms,
                      .type = ev->type,
                      .n_effects = fx->n };
    char *p;
    const char *end;

    if (!event_room[ev->type])
        return false;
    if (!pgv_buf_reserve(b, RECORD_HELD_BYTES_MAX)) {
        b->failed = false;
        return false;
    }
    end = b->p + b->n + RECORD_HELD_BYTES_MAX;
    p = b->p + b->n + sizeof(h);
    if (tells_facts(ev->type))
        p = put(p, ev->u.facts, sizeof(*ev->u.facts));
    else
        p = put(p, &ev->u, event_room[ev->type] - 1u);
    for (unsigned i = 0; p && i < fx->n; i++)
        p = hold_effect(p, end, &fx->v[i]);
    if (!p)
        return false;
    h.bytes = (uint32_t)(p - b->p - (ptrdiff_t)b->n);
    memcpy(b->p + b->n, &h, sizeof(h));
    b->n += h.bytes;
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

    ret->p = take(held, &h, sizeof(h));
    ret->seq = h.seq;
    ret->wake_ms = h.wake_ms;
    ret->n_effects = h.n_effects;
    ret->ev.type = (enum ha_event_type)h.type;
    ret->ev.now_ms = h.now_ms;
    ret->ev.wall_us = h.wall_us;
    if (tells_facts(ret->ev.type)) {
        ret->p = take(ret->p, &ret->facts, sizeof(ret->facts));
        ret->ev.u.facts = &ret->facts;
    } else {
        ret->p = take(ret->p, &ret->ev.u, event_room[h.type] - 1u);
    }
}

void record_unhold_effect(struct record_held *h, struct ha_effect *ret)
{
    struct held_effect e;

    h->p = take(h->p, &e, sizeof(e));
    ret->type = (enum ha_effect_type)e.type;
    ret->why = (enum ha_why)e.why;
    h->p = take(h->p, ret->text, e.text_bytes);
    ret->text[e.text_bytes] = 0;
    h->p = take(h->p, &ret->u, e.unnamed ? UNNAMED_BYTES : effect_room[e.type] - 1u);
    if (e.unnamed)
        ret->u.dcs.candidate[0] = 0;
}
