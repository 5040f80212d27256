/* SPDX-License-Identifier: PostgreSQL */
/* tests/sim/world.c - the scheduler, randomness, notes, and the frame of a run. */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

/* ---- randomness: xoshiro256**, seeded by splitmix64 (public domain, Blackman and Vigna)
 * ---------- */

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void sim_rng_seed(struct sim_rng *r, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15ull);

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        r->s[i] = z ^ (z >> 31);
    }
}

uint64_t sim_rng_next(struct sim_rng *r)
{
    uint64_t result = rotl(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;

    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotl(r->s[3], 45);
    return result;
}

uint64_t sim_rng_below(struct sim_rng *r, uint64_t n)
{
    return sim_rng_next(r) % n; /* the bias of so small an n matters to nobody */
}

uint64_t sim_rng_range(struct sim_rng *r, uint64_t from, uint64_t to)
{
    return from + sim_rng_below(r, to - from + 1);
}

bool sim_rng_permille(struct sim_rng *r, unsigned p)
{
    return p && sim_rng_below(r, 1000) < p;
}

/* ---- the queue: a binary heap ordered by time, then by sequence
 * ------------------------------------ */

static bool before(const struct sim_ev *a, const struct sim_ev *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

static void push(struct sim *s, const struct sim_ev *ev)
{
    unsigned i = s->n_heap;

    if (s->n_heap == s->heap_max) {
        s->heap_max = s->heap_max ? s->heap_max * 2 : 1024;
        s->heap = realloc(s->heap, s->heap_max * sizeof(*s->heap));
        if (!s->heap)
            abort();
    }
    s->n_heap++;
    for (; i && before(ev, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = *ev;
}

static void pop(struct sim *s, struct sim_ev *ret)
{
    struct sim_ev last = s->heap[--s->n_heap];
    unsigned i = 0;

    *ret = s->heap[0];
    for (;;) {
        unsigned kid = 2 * i + 1;

        if (kid >= s->n_heap)
            break;
        if (kid + 1 < s->n_heap && before(&s->heap[kid + 1], &s->heap[kid]))
            kid++;
        if (!before(&s->heap[kid], &last))
            break;
        s->heap[i] = s->heap[kid];
        i = kid;
    }
    s->heap[i] = last;
}

void sim_at(struct sim *s, uint64_t at_us, enum sim_owner owner, struct sim_node *n, sim_fn fn,
            uint32_t a, uint64_t b, uint64_t c)
{
    struct sim_ev ev = { .at_us = at_us < s->now_us ? s->now_us : at_us,
                         .seq = ++s->seq,
                         .fn = fn,
                         .a = a,
                         .b = b,
                         .c = c,
                         .life = n ? n->life : 0,
                         .node = n ? (int16_t)n->i : -1,
                         .owner = (uint8_t)owner };

    push(s, &ev);
}

static void defer(struct sim_node *n, const struct sim_ev *ev)
{
    if (n->n_deferred == n->deferred_max) {
        n->deferred_max = n->deferred_max ? n->deferred_max * 2 : 64;
        n->deferred = realloc(n->deferred, n->deferred_max * sizeof(*n->deferred));
        if (!n->deferred)
            abort();
    }
    n->deferred[n->n_deferred++] = *ev;
}

static void carry_out(struct sim *s, const struct sim_ev *ev)
{
    struct sim_node *n = ev->node >= 0 ? &s->nodes[ev->node] : NULL;

    if (n && ev->owner == SIM_AGENT && ev->life != n->life)
        return;
    if (n && ((ev->owner == SIM_AGENT && (n->frozen || n->paused)) ||
              (ev->owner == SIM_MACHINE && n->paused))) {
        defer(n, ev);
        return;
    }
    s->stats.events++;
    if (s->now_us != s->busy_us) {
        s->busy_us = s->now_us;
        s->busy = 0;
    } else if (++s->busy > 2000) {
        check_violation(s, n, SIM_RULE_spins, "2000 events at one instant");
        return;
    }
    ev->fn(s, n, ev);
    check_after_event(s);
}

bool sim_run_until(struct sim *s, uint64_t until_us)
{
    struct sim_ev ev;

    while (s->n_heap && s->heap[0].at_us <= until_us) {
        pop(s, &ev);
        s->now_us = ev.at_us;
        carry_out(s, &ev);
        if (s->stop)
            return false;
    }
    s->now_us = until_us;
    return true;
}

/* ---- notes
 * -------------------------------------------------------------------------------------------- */

bool sim_noting(const struct sim *s, enum sim_note what)
{
    return s->trace || (s->mark && what != SIM_NOTE_EVENT && what != SIM_NOTE_EFFECT) ||
           what == SIM_NOTE_BAD;
}

void sim_mark(struct sim *s, int node, unsigned what, const char *text)
{
    struct sim_mark *m;
    size_t len = strlen(text);

    if (s->n_marks == s->marks_max) {
        s->marks_max = s->marks_max ? s->marks_max * 2 : 256;
        s->marks = realloc(s->marks, s->marks_max * sizeof(*s->marks));
        if (!s->marks)
            abort();
    }
    m = &s->marks[s->n_marks++];
    memset(m, 0, sizeof(*m));
    m->us = s->now_us;
    m->node = (int8_t)node;
    m->what = (uint8_t)what;
    memcpy(m->text, text, len < sizeof(m->text) ? len : sizeof(m->text) - 1);
}

void sim_note(struct sim *s, const struct sim_node *n, enum sim_note what, const char *fmt, ...)
{
    static const char *const words[] = { "event", "effect", "status", "log", "pg",
                                         "key",   "fault",  "ack",    "BAD", "ODD" };
    char text[400];
    va_list args;

    if (!sim_noting(s, what))
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (s->trace)
        fprintf(s->trace, "%8llu.%06llu %-2s %-6s %s\n", (unsigned long long)(s->now_us / SIM_S),
                (unsigned long long)(s->now_us % SIM_S), n ? n->name : "-", words[what], text);
    if (s->mark && what != SIM_NOTE_EVENT && what != SIM_NOTE_EFFECT)
        sim_mark(s, n ? (int)n->i : -1, what, text);
}

/* ---- a run
 * ---------------------------------------------------------------------------------------------- */

struct sim *sim_new(void)
{
    struct sim *s = calloc(1, sizeof(*s));

    if (s)
        s->nodes = calloc(SIM_NODES_MAX, sizeof(*s->nodes));
    if (!s || !s->nodes)
        abort();
    return s;
}

void sim_free(struct sim *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < SIM_NODES_MAX; i++)
        free(s->nodes[i].deferred);
    free(s->nodes);
    free(s->heap);
    free(s->marks);
    free(s);
}

void sim_begin(struct sim *s, const struct sim_plan *plan)
{
    s->plan = *plan;
    s->now_us = 0;
    s->seq = s->busy_us = 0;
    s->busy = 0;
    s->n_heap = 0;
    s->n_marks = 0;
    s->marked_key = 0;
    s->n_branches = 0;
    s->faults_on = 0;
    s->healed = s->stop = false;
    s->client_seq = 0;
    s->client_last = -1;
    s->last_ack_us = 0;
    s->request_id = 0;
    sim_rng_seed(&s->rng, plan->seed * 2 + 1);
    s->n = plan->nodes;
    s->n_configs = 1;
    s->configs[0] = plan->config;
    s->n_tag_sets = plan->nodes;
    memcpy(s->tag_sets, plan->tags, sizeof(plan->tags));
    store_init(s);
    check_init(s);
    s->check.max_lag_before = plan->config.maximum_lag;
    for (unsigned i = 0; i < s->n; i++)
        node_init(s, i);
    for (unsigned i = 0; i < s->n; i++)
        node_start(s, &s->nodes[i],
                   plan->scripted ? (i ? 8 * SIM_S : 0) : sim_lat(s, 0, 2 * SIM_S));
    client_start(s);
    for (unsigned i = 0; i < plan->n_faults; i++)
        if (!plan->faults[i].off)
            fault_schedule(s, i);
}

static bool wait_for_leader(struct sim *s, uint64_t until_us)
{
    while (s->now_us < until_us) {
        if (!sim_run_until(s, s->now_us + 200 * SIM_MS))
            return false;
        if (check_leader_settled(s))
            return true;
    }
    check_violation(s, NULL, SIM_RULE_no_leader, "bound %llu s",
                    (unsigned long long)(plan_leader_bound_us(&s->plan) / SIM_S));
    return false;
}

static bool wait_for_all(struct sim *s, uint64_t until_us)
{
    char why[160] = "";

    while (s->now_us < until_us) {
        if (!sim_run_until(s, s->now_us + SIM_S))
            return false;
        if (check_all_settled(s, why, sizeof(why)))
            return true;
    }
    check_violation(s, NULL, s->check.unsettled, "%s", why);
    return false;
}

bool sim_run(struct sim *s, const struct sim_plan *plan)
{
    uint64_t healed_us;

    sim_begin(s, plan);
    if (!sim_run_until(s, plan->faults_until_us))
        goto out;
    /* What is still under way ends by its own event; none begins any more. */
    while (s->faults_on && !s->stop)
        if (!sim_run_until(s, s->now_us + SIM_S))
            goto out;
    s->healed = true;
    healed_us = s->now_us;
    fault_heal(s);
    sim_note(s, NULL, SIM_NOTE_FAULT, "all faults are over");
    if (!wait_for_leader(s, healed_us + plan_leader_bound_us(plan)) ||
        !wait_for_all(s, healed_us + plan_settled_bound_us(plan)))
        goto out;
    /* The next cycles may still prefer another source; then it is as it will be. */
    if (!sim_run_until(s, s->now_us + 3 * plan->config.loop_wait_ms * SIM_MS) ||
        !wait_for_all(s, s->now_us + 60 * SIM_S))
        goto out;
    (void)sim_run_until(s, s->now_us + 30 * SIM_S);
    if (!s->stop && !check_leader_settled(s))
        check_violation(s, NULL, SIM_RULE_not_settled, "it did not last");
out:
    s->stats.sim_us += s->now_us;
    return s->check.violations == 0;
}
