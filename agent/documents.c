/* SPDX-License-Identifier: PostgreSQL */
/* agent/documents.c - status and history, as the leader publishes them. */
#include "agent/documents.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

static void retained_see(struct retained *r, const char *name, uint64_t now_ms)
{
    for (unsigned i = 0; i < r->n; i++)
        if (strcmp(r->v[i].name, name) == 0) {
            r->v[i].seen_ms = now_ms;
            return;
        }
    if (r->n == DCS_SLOTS_MAX)
        return;
    pgv_copy_cut(r->v[r->n].name, sizeof(r->v[r->n].name), pgv_str(name));
    r->v[r->n].seen_ms = now_ms;
    r->n++;
}

void retained_restart(struct retained *r, const struct dcs_cluster *c, uint64_t now_ms)
{
    r->begun = true;
    r->n = 0;
    for (unsigned i = 0; i < c->n_retain_slots; i++)
        retained_see(r, c->retain_slots[i], now_ms);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

bool status_document(struct agent *a, struct retained *r, uint64_t optime_only, struct pgv_buf *b)
{
    const struct dcs_cluster *c = &a->ha.view;
    const struct ha_policy *p = &a->ha.policy;
    static struct postmaster_slot_state have[POSTMASTER_SLOTS_MAX]; /* one thread, one caller */
    static struct dcs_slot_lsn slots[DCS_SLOTS_MAX];
    static char retain[DCS_SLOTS_MAX][PGV_SLOT_NAME_BYTES];
    char own[PGV_SLOT_NAME_BYTES], name[PGV_SLOT_NAME_BYTES];
    uint64_t now_ms = pgv_clock_ms();
    unsigned n = 0, n_retain = 0;

    if (optime_only)
        return dcs_write_status(b, optime_only, c->status_slots, c->n_status_slots, c->retain_slots,
                                c->n_retain_slots);
    if (!r->begun)
        retained_restart(r, c, now_ms);
    if (a->pm.facts.major_version >= 110000 && p->member_slots_ttl_ms > 0) {
        unsigned n_have = postmaster_slots(&a->pm, have, POSTMASTER_SLOTS_MAX);

        for (unsigned i = 0; i < n_have && n < DCS_SLOTS_MAX - 1; i++) {
            if (!have[i].lsn)
                continue;
            memcpy(slots[n].name, have[i].name, sizeof(slots[n].name));
            slots[n++].lsn = have[i].lsn;
        }
        pgv_slot_name(p->name, own);
        memcpy(slots[n].name, own, sizeof(own));
        slots[n++].lsn = a->pm.facts.wal_lsn;
        for (unsigned i = 0; i < c->n_members; i++) {
            if (c->members[i].tags.nostream)
                continue;
            pgv_slot_name(c->members[i].name, name);
            for (unsigned k = 0; k < n; k++)
                if (strcmp(slots[k].name, name) == 0)
                    retained_see(r, name, now_ms);
        }
        for (unsigned i = 0; i < r->n;) {
            if (now_ms - r->v[i].seen_ms >= p->member_slots_ttl_ms) {
                pgv_log(
                    PGV_INFO, "ha",
                    "Replication slot '%s' for absent cluster member is expired after %llu sec.",
                    r->v[i].name, (unsigned long long)(p->member_slots_ttl_ms / 1000));
                r->v[i] = r->v[--r->n];
                continue;
            }
            memcpy(retain[n_retain++], r->v[i].name, PGV_SLOT_NAME_BYTES);
            i++;
        }
        qsort(retain, n_retain, sizeof(retain[0]), by_name);
    }
    return dcs_write_status(b, a->pm.facts.wal_lsn, slots, n,
                            (const char(*)[PGV_SLOT_NAME_BYTES])retain, n_retain);
}

/* Elements 4 and 5 of a line that the store already has for the same timeline and position. */
static void enrich(struct pgv_arena *arena, struct pgv_value *line, const struct pgv_value *known)
{
    const struct pgv_value *tl = pgv_value_first(line);

    PGV_EACH(old, known)
    {
        const struct pgv_value *old_tl = pgv_value_first(old);
        const struct pgv_value *extra;

        if (!old_tl || !tl || !pgv_value_same(old_tl, tl) || !old_tl->next || !tl->next ||
            !pgv_value_same(old_tl->next, tl->next))
            continue;
        extra = old_tl->next->next ? old_tl->next->next->next : NULL;
        for (; extra && line->u.c.n < 5; extra = extra->next)
            pgv_list_add(line, pgv_value_copy(arena, extra));
        return;
    }
}

bool history_document(struct agent *a, struct pgv_buf *b)
{
    uint32_t timeline = a->pm.facts.timeline;
    const struct pgv_value *known = a->dcs.view ? a->dcs.view->history : NULL;
    struct pgv_arena arena;
    struct pgv_value *lines, *last = NULL;
    int64_t file_wall_us = 0;
    int keep = a->config.max_timelines_history;
    bool ok = false;

    if (timeline <= 1)
        return pgv_buf_puts(b, "[]");
    pgv_arena_init(&arena, 1u << 20);
    lines = postmaster_history(&a->pm, &arena, timeline, &file_wall_us);
    if (!lines || lines->u.c.n == 0)
        goto out;
    while (keep > 0 && lines->u.c.n > (size_t)keep) {
        lines->u.c.first = lines->u.c.first->next;
        lines->u.c.n--;
    }
    PGV_EACH(line, lines)
    {
        last = line;
        enrich(&arena, line, known);
    }
    if (last && last->u.c.n == 3 && pgv_is(last->u.c.first, PGV_INT) &&
        last->u.c.first->u.i == (int64_t)timeline - 1) {
        char when[PGV_ISO_BYTES];

        pgv_wall_iso_local(file_wall_us, when);
        pgv_list_add(last, pgv_new_string(&arena, pgv_str(when)));
        pgv_list_add(last, pgv_new_string(&arena, pgv_str(a->config.name)));
    }
    ok = pgv_json_write(b, lines, PGV_JSON_COMPACT);
out:
    pgv_arena_done(&arena);
    return ok;
}
