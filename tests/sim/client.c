/* SPDX-License-Identifier: PostgreSQL */
/* tests/sim/client.c - writers: whoever takes a commit gets one, and what is acknowledged counts.
 */
#include "tests/sim/sim.h"

void client_acknowledged(struct sim *s, struct sim_node *n, uint64_t lsn, bool synchronous)
{
    s->stats.acks++;
    s->stats.sync_acks += synchronous;
    s->last_ack_us = s->now_us;
    s->client_last = (int)n->i;
    if (!n->seen.acked_us || n->seen.acked_us + 5 * SIM_S < s->now_us)
        sim_note(s, n, SIM_NOTE_ACK, "acknowledges commits");
    n->seen.acked_us = s->now_us;
    check_ack(s, n, lsn, synchronous);
}

static void on_client(struct sim *s, struct sim_node *none, const struct sim_ev *ev)
{
    bool any = false;

    (void)none;
    (void)ev;
    for (unsigned i = 0; i < s->n; i++) {
        struct sim_node *n = &s->nodes[i];

        if (!n->pg.writable || n->paused || n->pg.hung || n->cut_client)
            continue;
        any = true;
        if (!sync_room(n))
            continue; /* every session waits for a standby */
        pg_write(s, n, s->plan.client_bytes / 2 + sim_rng_below(&s->rng, s->plan.client_bytes));
        if (s->plan.sync.n && !sim_rng_permille(&s->rng, s->plan.sync.local_pm))
            sync_commit(s, n);
        else
            client_acknowledged(s, n, n->pg.lsn, false);
    }
    if (!any) {
        s->stats.refused++;
        s->stats.unavailable_us += s->plan.client_every_us;
        if (s->client_last != -1)
            sim_note(s, NULL, SIM_NOTE_ACK, "nobody takes commits");
        s->client_last = -1;
    }
    sim_in(s, s->plan.client_every_us / 2 + sim_rng_below(&s->rng, s->plan.client_every_us),
           SIM_WORLD, NULL, on_client, 0, 0, 0);
}

void client_start(struct sim *s)
{
    sim_in(s, s->plan.client_every_us, SIM_WORLD, NULL, on_client, 0, 0, 0);
}
