/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/sync.c - commits that wait for standbys: synchronous_standby_names as people set it.
 *
 * Every node has the same setting and keeps it; the brain has no synchronous mode yet and knows
 * nothing of it. Written, flushed and replayed are one moment here, so that synchronous_commit is
 * 'on' or 'local'. A commit whose session ends while it waits is not acknowledged, though it is
 * there.
 */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_FIRST_US (3 * SIM_MS)
#define LOOK_MAX_US (500 * SIM_MS)

/* '2 (n1,n2)', 'FIRST 2 (*)', 'ANY 1 (n2,n3)' */
bool sync_parse(const char *text, struct sim_sync *ret)
{
    struct sim_sync y = { 0 };
    char *end;

    if (strncmp(text, "ANY ", 4) == 0) {
        y.any = true;
        text += 4;
    } else if (strncmp(text, "FIRST ", 6) == 0) {
        text += 6;
    }
    y.n = (unsigned)strtoul(text, &end, 10);
    while (*end == ' ')
        end++;
    if (y.n == 0 || y.n > SIM_NODES_MAX || *end++ != '(')
        return false;
    if (strcmp(end, "*)") != 0)
        do {
            if (end[0] != 'n' || end[1] < '1' || end[1] > '9' || y.n_names == SIM_NODES_MAX)
                return false;
            y.names[y.n_names++] = (uint8_t)(end[1] - '1');
            end += 2;
        } while (*end++ == ',');
    if (y.n_names && (end[-1] != ')' || *end))
        return false;
    *ret = y;
    return true;
}

void sync_print(const struct sim_sync *y, char *ret, size_t bytes)
{
    size_t n = (size_t)snprintf(ret, bytes, "%s %u (", y->any ? "ANY" : "FIRST", y->n);

    for (unsigned i = 0; i < y->n_names; i++)
        n += (size_t)snprintf(ret + n, bytes - n, "%sn%u", i ? "," : "", y->names[i] + 1u);
    snprintf(ret + n, bytes - n, "%s)", y->n_names ? "" : "*");
}

bool sync_demands_all(const struct sim_plan *p)
{
    const struct sim_sync *y = &p->sync;
    bool listed[SIM_NODES_MAX] = { false };
    unsigned n = 0;

    for (unsigned i = 0; i < y->n_names; i++)
        if (y->names[i] < p->nodes && !listed[y->names[i]]) {
            listed[y->names[i]] = true;
            n++;
        }
    return y->n + 1 >= p->nodes && y->n > 0 && (!y->n_names || n == p->nodes);
}

/* The position of a standby that streams from @n, or 0. */
static uint64_t position(struct sim *s, const struct sim_node *n, unsigned i)
{
    struct sim_node *standby = &s->nodes[i];

    if (standby == n || !standby->pg.streaming || standby->pg.upstream != (int)n->i)
        return 0;
    pg_catch_up(s, standby);
    return standby->pg.lsn;
}

/* Up to where a commit on @n is confirmed by as many as it takes. */
static uint64_t confirmed(struct sim *s, const struct sim_node *n)
{
    const struct sim_sync *y = &s->plan.sync;
    unsigned of = y->n_names ? y->n_names : s->n, have = 0;
    uint64_t at[SIM_NODES_MAX], least = 0;

    for (unsigned k = 0; k < of; k++) {
        unsigned i = y->n_names ? y->names[k] : k;
        uint64_t lsn = i < s->n ? position(s, n, i) : 0;

        if (!lsn)
            continue;
        /* By priority the first ones count, whoever is farther; a quorum is any. */
        if (!y->any && have == y->n)
            break;
        at[have++] = lsn;
    }
    if (have < y->n)
        return 0;
    for (unsigned picked = 0; picked < y->n; picked++) {
        unsigned best = picked;

        for (unsigned k = picked + 1; k < have; k++)
            if (at[k] > at[best])
                best = k;
        least = at[best];
        at[best] = at[picked];
        at[picked] = least;
    }
    return least;
}

static void on_waiting(struct sim *s, struct sim_node *n, const struct sim_ev *ev);

static void look_in(struct sim *s, struct sim_node *n, uint64_t us)
{
    n->waiting.armed = true;
    sim_in(s, us, SIM_MACHINE, n, on_waiting, n->waiting.life, us, 0);
}

static void on_waiting(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    uint64_t upto;
    unsigned done = 0;

    if (ev->a != n->waiting.life)
        return;
    n->waiting.armed = false;
    if (!n->waiting.n)
        return;
    upto = n->pg.hung ? 0 : confirmed(s, n);
    while (done < n->waiting.n && n->waiting.v[done].lsn <= upto) {
        if (!n->cut_client) /* else the client does not hear of it */
            client_acknowledged(s, n, n->waiting.v[done].lsn, true);
        done++;
    }
    n->waiting.n -= done;
    memmove(n->waiting.v, n->waiting.v + done, n->waiting.n * sizeof(n->waiting.v[0]));
    if (n->waiting.n && !s->stop)
        look_in(s, n, done ? LOOK_FIRST_US : ev->b * 2 < LOOK_MAX_US ? ev->b * 2 : LOOK_MAX_US);
}

bool sync_room(const struct sim_node *n)
{
    return n->waiting.n < SIM_WAITING_MAX;
}

void sync_commit(struct sim *s, struct sim_node *n)
{
    n->waiting.v[n->waiting.n].lsn = n->pg.lsn;
    n->waiting.v[n->waiting.n++].since_us = s->now_us;
    if (!n->waiting.armed)
        look_in(s, n, LOOK_FIRST_US);
}

void sync_sessions_end(struct sim_node *n)
{
    n->waiting.n = 0;
    n->waiting.armed = false;
    n->waiting.life++;
}
