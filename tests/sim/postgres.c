/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/postgres.c - the servers: timelines, positions, shipping of WAL, how they end.
 *
 * What a position means is (branch, LSN). Two promotions may give their new history the same
 * timeline number, and PostgreSQL goes by numbers; the model knows the branches apart, and the
 * checkers see when a server does not. How far a standby has come is worked out when somebody wants
 * to know, from the last writes of its source and its lag.
 */
#include "tests/sim/sim.h"

#include <string.h>

#define LSN_FIRST 0x3000000ull
#define RETRY_US (5 * SIM_S) /* wal_retrieve_retry_interval */
#define SHIP_US 1500         /* from flush to flush, when nothing lags */
#define RECORD_BYTES 120     /* of a checkpoint */

uint32_t pg_tli(const struct sim *s, const struct sim_node *n)
{
    return n->pg.branch >= 0 ? s->branches[n->pg.branch].tli : 0;
}

static void remember_write(struct sim *s, struct sim_pg *pg)
{
    pg->writes[pg->n_writes % SIM_WRITES].us = s->now_us;
    pg->writes[pg->n_writes % SIM_WRITES].lsn = pg->lsn;
    pg->n_writes++;
}

void pg_init_node(struct sim *s, struct sim_node *n)
{
    uint32_t life = n->pg.life;

    memset(&n->pg, 0, sizeof(n->pg));
    n->pg.life = life + 1;
    n->pg.dir = PM_DIR_EMPTY;
    n->pg.branch = n->pg.upstream = -1;
    n->pg.lag_us = s->plan.lag_us[n->i];
    n->pg.fail_bootstraps = s->plan.bootstrap_fails[n->i];
    n->pg.fail_post_bootstraps = s->plan.post_bootstrap_fails[n->i];
}

int pg_new_branch(struct sim *s, struct sim_node *n, int parent, uint64_t lsn)
{
    struct sim_branch *b;

    if (s->n_branches == SIM_BRANCHES_MAX) {
        check_violation(s, n, SIM_RULE_broken_model, "no room for another timeline");
        return parent;
    }
    b = &s->branches[s->n_branches];
    memset(b, 0, sizeof(*b));
    b->parent = parent;
    b->tli = parent >= 0 ? s->branches[parent].tli + 1 : 1;
    b->switch_lsn = parent >= 0 ? lsn : 0;
    b->created_us = s->now_us;
    b->by = (int8_t)n->i;
    return (int)s->n_branches++;
}

uint64_t pg_fork_lsn(const struct sim *s, int branch, int of, int *ret_common)
{
    /* Walk up from @of; the child's switch point is where a common ancestor is left. */
    for (int a = branch; a >= 0; a = s->branches[a].parent) {
        uint64_t left = SIM_MAX_US, mine = SIM_MAX_US;
        int b;

        for (b = branch; b != a; b = s->branches[b].parent)
            mine = s->branches[b].switch_lsn;
        for (b = of; b >= 0; b = s->branches[b].parent) {
            if (b == a) {
                if (ret_common)
                    *ret_common = a;
                return left < mine ? left : mine;
            }
            left = s->branches[b].switch_lsn;
        }
    }
    if (ret_common)
        *ret_common = -1;
    return 0;
}

bool pg_is_ancestor(const struct sim *s, int branch, uint64_t lsn, int of)
{
    return branch >= 0 && of >= 0 && lsn <= pg_fork_lsn(s, branch, of, NULL);
}

/* ---- shipping
 * ------------------------------------------------------------------------------------ */

static uint64_t written_until(const struct sim_pg *up, uint64_t us)
{
    unsigned have = up->n_writes < SIM_WRITES ? up->n_writes : SIM_WRITES;

    for (unsigned i = 1; i <= have; i++) {
        unsigned at = (up->n_writes - i) % SIM_WRITES;

        if (up->writes[at].us <= us)
            return up->writes[at].lsn;
    }
    return 0;
}

void pg_catch_up(struct sim *s, struct sim_node *n)
{
    struct sim_pg *pg = &n->pg;
    struct sim_node *up;
    uint64_t until;
    int b;

    if (!pg->streaming)
        return;
    up = &s->nodes[pg->upstream];
    if (up->pg.in_recovery) {
        pg_catch_up(s, up);
        until = up->pg.lsn;
    } else {
        uint64_t behind = pg->lag_us + SHIP_US;
        until = s->now_us > behind ? written_until(&up->pg, s->now_us - behind) : 0;
    }
    if (until > pg->lsn)
        pg->lsn = until;
    for (b = up->pg.branch; s->branches[b].parent >= 0 && pg->lsn < s->branches[b].switch_lsn;)
        b = s->branches[b].parent;
    pg->branch = b;
}

/* As the wal receiver and the startup process judge: by timeline numbers. */
static bool history_fits(const struct sim *s, const struct sim_node *n, const struct sim_node *up)
{
    uint32_t tli = pg_tli(s, n);
    uint64_t left = SIM_MAX_US;

    for (int b = up->pg.branch; b >= 0; b = s->branches[b].parent) {
        if (s->branches[b].tli == tli)
            return left == SIM_MAX_US ? up->pg.lsn >= n->pg.lsn : n->pg.lsn <= left;
        left = s->branches[b].switch_lsn;
    }
    return false;
}

static bool can_stream(const struct sim *s, const struct sim_node *n)
{
    const struct sim_node *up;

    if (n->pg.upstream < 0 || !n->pg.in_recovery ||
        (n->pg.proc != PG_RUNNING && n->pg.proc != PG_STARTING) || n->paused || n->pg.disk_gone)
        return false;
    up = &s->nodes[n->pg.upstream];
    if (up == n || (up->pg.proc != PG_RUNNING && up->pg.proc != PG_STOPPING) || up->paused)
        return false;
    for (const struct sim_node *v = up; v->pg.streaming && v->pg.upstream >= 0;) {
        v = &s->nodes[v->pg.upstream];
        if (v == n)
            return false; /* a ring has no source */
    }
    return node_linked(s, n, up) && strcmp(up->pg.sysid, n->pg.sysid) == 0;
}

static void on_attach(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_pg *pg = &n->pg;
    struct sim_node *up;

    if (ev->a != pg->attach)
        return;
    pg->attach_armed = false;
    if (pg->upstream < 0 || !pg->in_recovery || pg->proc == PG_DOWN || pg->streaming)
        return;
    up = &s->nodes[pg->upstream];
    if (up->pg.streaming)
        pg_catch_up(s, up);
    if (!can_stream(s, n) || up->pg.proc != PG_RUNNING || up->pg.hung || !history_fits(s, n, up)) {
        pg_try_attach(s, n, RETRY_US);
        return;
    }
    pg->streaming = true;
    sim_note(s, n, SIM_NOTE_PG, "streams from %s", up->name);
    check_attached(s, n, up);
    pg_catch_up(s, n);
}

void pg_try_attach(struct sim *s, struct sim_node *n, uint64_t in_us)
{
    n->pg.attach++;
    n->pg.attach_armed = true;
    sim_in(s, in_us, SIM_MACHINE, n, on_attach, n->pg.attach, 0, 0);
}

void pg_links_changed(struct sim *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        struct sim_node *n = &s->nodes[i];

        if (!n->pg.streaming || can_stream(s, n))
            continue;
        pg_catch_up(s, n);
        n->pg.streaming = false;
        pg_try_attach(s, n, sim_lat(s, 10 * SIM_MS, RETRY_US));
    }
    s->check.dirty = true;
}

void pg_write(struct sim *s, struct sim_node *n, uint64_t bytes)
{
    n->pg.lsn += bytes;
    remember_write(s, &n->pg);
}

/* ---- life and death
 * --------------------------------------------------------------------------------- */

/* Those who stream have got what they have got by now. */
static void settle_standbys(struct sim *s, struct sim_node *n)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->nodes[i].pg.streaming && s->nodes[i].pg.upstream == (int)n->i)
            pg_catch_up(s, &s->nodes[i]);
}

void pg_end(struct sim *s, struct sim_node *n)
{
    struct sim_pg *pg = &n->pg;

    if (pg->proc == PG_DOWN)
        return;
    settle_standbys(s, n);
    pg_catch_up(s, n);
    pg->proc = PG_DOWN;
    pg->writable = pg->streaming = false;
    sync_sessions_end(n);
    pg->attach++;
    pg->life++;
    pg_links_changed(s);
}

void pg_crash(struct sim *s, struct sim_node *n, const char *why)
{
    if (n->pg.proc == PG_DOWN)
        return;
    sim_note(s, n, SIM_NOTE_PG, "ends: %s", why);
    pg_end(s, n);
    pm_server_gone(s, n);
}

void pg_stop_sessions(struct sim *s, struct sim_node *n)
{
    if (!n->pg.writable)
        return;
    n->pg.writable = false;
    sync_sessions_end(n);
    s->check.dirty = true;
    sim_note(s, n, SIM_NOTE_PG, "takes no writes any more");
}

static void on_ready(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_pg *pg = &n->pg;

    if (ev->a != pg->life || pg->proc != PG_STARTING)
        return;
    pg->proc = PG_RUNNING;
    if (!pg->in_recovery) {
        pg->lsn += RECORD_BYTES;
        remember_write(s, pg);
        pg->control = PM_CONTROL_IN_PRODUCTION;
        pg->writable = true;
    } else {
        pg->control = PM_CONTROL_IN_ARCHIVE_RECOVERY;
    }
    pg->backup_label = false;
    s->check.dirty = true;
    sim_note(s, n, SIM_NOTE_PG, "runs as %s on timeline %u at %llx",
             pg->in_recovery ? "a standby" : "the primary", pg_tli(s, n),
             (unsigned long long)pg->lsn);
    if (pg->in_recovery)
        pg_try_attach(s, n, sim_lat(s, 5 * SIM_MS, 50 * SIM_MS));
    pm_server_ready(s, n);
}

static void on_start_failed(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (ev->a == n->pg.life && n->pg.proc == PG_STARTING)
        pg_crash(s, n, "it cannot start");
}

void pg_spawn(struct sim *s, struct sim_node *n, bool standby, uint64_t after_us)
{
    struct sim_pg *pg = &n->pg;

    pg->life++;
    pg->proc = PG_STARTING;
    pg->in_recovery = standby;
    pg->writable = pg->streaming = pg->replay_paused = false;
    pg->start_wall_us = node_wall_us(s, n);
    if (pg->fail_starts || pg->broken) {
        if (pg->fail_starts)
            pg->fail_starts--;
        sim_in(s, sim_lat(s, 20 * SIM_MS, 300 * SIM_MS), SIM_MACHINE, n, on_start_failed, pg->life,
               0, 0);
        return;
    }
    if (standby)
        pg->control = PM_CONTROL_IN_ARCHIVE_RECOVERY;
    else if (pg->control != PM_CONTROL_SHUT_DOWN)
        pg->control = PM_CONTROL_IN_CRASH_RECOVERY;
    sim_in(s, after_us, SIM_MACHINE, n, on_ready, pg->life, 0, 0);
}

static void on_promoted(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_pg *pg = &n->pg;

    if (ev->a != pg->life || pg->proc != PG_RUNNING || !pg->in_recovery)
        return;
    pg->branch = pg_new_branch(s, n, pg->branch, pg->lsn);
    pg->in_recovery = pg->standby_signal = false;
    pg->writable = true;
    pg->control = PM_CONTROL_IN_PRODUCTION;
    pg->lsn += RECORD_BYTES;
    pg->n_writes = 0;
    remember_write(s, pg);
    s->check.dirty = true;
    s->stats.promotions++;
    sim_note(s, n, SIM_NOTE_PG, "promoted: timeline %u begins at %llx", pg_tli(s, n),
             (unsigned long long)s->branches[pg->branch].switch_lsn);
    check_promoted(s, n);
}

void pg_recover(struct sim *s, struct sim_node *n, uint64_t for_us)
{
    sim_in(s, for_us, SIM_MACHINE, n, on_promoted, n->pg.life, 0, 0);
}

/* The signal: what was received is replayed, then the new timeline begins. */
void pg_promote(struct sim *s, struct sim_node *n)
{
    struct sim_pg *pg = &n->pg;

    pg_catch_up(s, n);
    pg->streaming = false;
    pg->attach++;
    pg->upstream = -1;
    check_promote_signal(s, n);
    sim_note(s, n, SIM_NOTE_PG, "is signalled to promote at %llx", (unsigned long long)pg->lsn);
    sim_in(s, sim_lat(s, 30 * SIM_MS, 400 * SIM_MS) + pg->promote_us, SIM_MACHINE, n, on_promoted,
           pg->life, 0, 0);
}
