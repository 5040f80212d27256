/* SPDX-License-Identifier: PostgreSQL */
/* tests/sim/fault.c - what a fault does when it begins and when it ends. */
#include "tests/sim/sim.h"

#include <string.h>

static void apply(struct sim *s, const struct sim_fault *f, bool begin);

static void crash_loop(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    if (s->now_us >= ev->b)
        return;
    if (n->pg.proc == PG_RUNNING && n->pg.writable)
        pg_crash(s, n, "crash loop");
    sim_in(s, ev->c, SIM_WORLD, n, crash_loop, 0, ev->b, ev->c);
}

static void cut(struct sim *s, struct sim_node *n, bool begin, bool store, bool peers, bool client)
{
    unsigned add = begin ? 1u : (unsigned)-1;

    n->cut_store += store ? add : 0;
    n->cut_peers += peers ? add : 0;
    n->cut_client += client ? add : 0;
    if (store && begin)
        dcs_stream_hurt(s, n);
    if (peers)
        pg_links_changed(s);
}

static void hurt_all(struct sim *s)
{
    for (unsigned i = 0; i < s->n; i++)
        dcs_stream_hurt(s, &s->nodes[i]);
}

static void wipe(struct sim *s, struct sim_node *n)
{
    pg_crash(s, n, "the disk is gone");
    n->pg.dir = PM_DIR_EMPTY;
    n->pg.branch = -1;
    n->pg.broken = n->pg.standby_signal = n->pg.backup_label = false;
    n->pg.control = PM_CONTROL_UNKNOWN;
}

static void request(struct sim *s, struct sim_node *n, enum ha_request_type type)
{
    struct ha_event ev = { .type = HA_EV_REQUEST };

    if (!n->running || n->frozen || n->paused)
        return;
    ev.u.request.type = type;
    ev.u.request.id = ++s->request_id;
    check_asked(s, n);
    node_feed(s, n, &ev);
}

static void new_config(struct sim *s, const struct sim_config *c)
{
    if (s->n_configs == SIM_CONFIGS_MAX)
        return;
    s->configs[s->n_configs] = *c;
    store_set_config(s, s->n_configs++);
}

static void set_paused(struct sim *s, bool paused)
{
    struct sim_config c = s->configs[s->store.keys.config ? s->store.keys.config_id : 0];

    if (c.paused == paused)
        return;
    c.paused = paused;
    new_config(s, &c);
    check_pause(s, paused);
}

static void shut_down(struct sim *s, struct sim_node *n, uint64_t back_us)
{
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };

    if (!n->running || n->frozen || n->paused)
        return;
    n->restart_us = back_us;
    check_asked(s, n);
    node_feed(s, n, &ev);
}

static void apply(struct sim *s, const struct sim_fault *f, bool begin)
{
    struct sim_node *n = f->node >= 0 ? &s->nodes[f->node] : NULL;
    struct sim_store *st = &s->store;

    switch (f->kind) {
    case SIM_FAULT_STORE_CUT:
        cut(s, n, begin, true, false, false);
        break;
    case SIM_FAULT_PEERS_CUT:
        cut(s, n, begin, false, true, false);
        break;
    case SIM_FAULT_ISOLATE:
        cut(s, n, begin, true, true, true);
        break;
    case SIM_FAULT_STORE_SLOW:
        st->slow_us = begin ? (uint64_t)f->arg * SIM_MS : 0;
        break;
    case SIM_FAULT_LOST_REQUESTS:
        st->drop_request_pm = begin ? (unsigned)f->arg : 0;
        break;
    case SIM_FAULT_LOST_REPLIES:
        st->drop_reply_pm = begin ? (unsigned)f->arg : 0;
        break;
    case SIM_FAULT_NO_QUORUM:
        if (begin) {
            st->no_quorum++;
            hurt_all(s);
        } else if (--st->no_quorum == 0) {
            store_election(s);
        }
        break;
    case SIM_FAULT_STORE_DENIES:
    case SIM_FAULT_STORE_NO_LEADER:
        st->error = !begin                              ? SIM_ANSWER_OK
                    : f->kind == SIM_FAULT_STORE_DENIES ? SIM_ANSWER_DENIED
                                                        : SIM_ANSWER_NO_LEADER;
        st->error_pm = begin ? (unsigned)f->arg : 0;
        break;
    case SIM_FAULT_STORE_ELECTION:
        store_election(s);
        break;
    case SIM_FAULT_STALE_WATCH:
        n->watch_stale += begin ? 1u : (unsigned)-1;
        if (begin)
            dcs_stream_hurt(s, n);
        break;
    case SIM_FAULT_COMPACT:
        store_compact(s);
        break;
    case SIM_FAULT_SESSION_LOSS:
        store_revoke(s, n->dcs.lease, "revoked before its time");
        break;
    case SIM_FAULT_MEMBER_GONE:
        store_delete_member(s, n->i);
        break;
    case SIM_FAULT_PG_CRASH:
        n->pg.recovery_us = (uint64_t)f->arg * SIM_MS;
        pg_crash(s, n, "crash");
        break;
    case SIM_FAULT_PG_HUNG:
        n->pg.hung = begin;
        break;
    case SIM_FAULT_PG_CRASH_LOOP:
        if (begin)
            sim_in(s, 0, SIM_WORLD, n, crash_loop, 0, s->now_us + f->dur_us,
                   (uint64_t)f->arg * SIM_MS);
        break;
    case SIM_FAULT_START_FAILS:
        n->pg.fail_starts = (unsigned)f->arg;
        break;
    case SIM_FAULT_STOP_HANGS:
        n->pg.stop_hangs = begin;
        break;
    case SIM_FAULT_BACKENDS_HANG:
        n->pg.backends_hang = begin;
        break;
    case SIM_FAULT_STOP_SLOW:
        n->pg.stop_us = begin ? (uint64_t)f->arg * SIM_MS : 0;
        break;
    case SIM_FAULT_PROMOTE_SLOW:
        n->pg.promote_us = begin ? (uint64_t)f->arg * SIM_MS : 0;
        break;
    case SIM_FAULT_PROMOTE_FAILS:
        n->pg.fail_promotes = 1;
        break;
    case SIM_FAULT_CLONE_FAILS:
        n->pg.fail_clones = 1;
        break;
    case SIM_FAULT_REWIND_FAILS:
        n->pg.fail_rewinds = 1;
        break;
    case SIM_FAULT_DISK_GONE:
        n->pg.disk_gone = begin;
        if (begin)
            pg_crash(s, n, "the disk is gone");
        break;
    case SIM_FAULT_DISK_WIPED:
        wipe(s, n);
        break;
    case SIM_FAULT_REPL_LAG:
        pg_catch_up(s, n);
        n->pg.lag_us = begin ? (uint64_t)f->arg * SIM_MS : s->plan.lag_us[n->i];
        break;
    case SIM_FAULT_AGENT_FREEZE:
        if (begin && n->up && !n->frozen)
            node_freeze(s, n, false);
        else if (!begin && n->frozen)
            node_thaw(s, n, false, 0);
        break;
    case SIM_FAULT_AGENT_KILL:
        if (begin && n->up) {
            node_kill(s, n);
            node_start(s, n, f->dur_us);
        }
        break;
    case SIM_FAULT_MACHINE_PAUSE:
    case SIM_FAULT_MACHINE_STEAL:
        if (begin && !n->paused) {
            node_freeze(s, n, true);
        } else if (!begin && n->paused) {
            uint64_t stolen = f->kind == SIM_FAULT_MACHINE_STEAL ? s->now_us - n->froze_us : 0;

            if (stolen) /* it believes in its lease for so much longer than it lives */
                n->blind_until_us = s->now_us + stolen + 60 * SIM_S;
            node_thaw(s, n, true, stolen);
        }
        break;
    case SIM_FAULT_MACHINE_CRASH:
        if (begin) {
            if (n->paused)
                node_thaw(s, n, true, 0);
            node_kill(s, n);
            pg_crash(s, n, "power lost");
            cut(s, n, true, true, true, true);
        } else {
            cut(s, n, false, true, true, true);
            node_start(s, n, 2 * SIM_S);
        }
        break;
    case SIM_FAULT_WALL_STEP:
        n->wall_off_us += f->arg * (int64_t)SIM_S;
        break;
    case SIM_FAULT_SWITCHOVER:
        if (s->store.keys.leader && (int)f->arg != s->store.keys.leader_node)
            store_set_failover(s, s->store.keys.leader_node, (int)f->arg, 0);
        check_asked(s, NULL);
        break;
    case SIM_FAULT_FAILOVER:
        store_set_failover(s, -1, (int)f->arg, 0);
        check_asked(s, NULL);
        break;
    case SIM_FAULT_PAUSE:
        set_paused(s, begin);
        break;
    case SIM_FAULT_CONFIG: {
        struct sim_config c = s->configs[s->store.keys.config ? s->store.keys.config_id : 0];

        c.ttl_ms = (uint64_t)f->arg * 1000;
        new_config(s, &c);
        break;
    }
    case SIM_FAULT_RESTART:
        request(s, n, HA_REQ_RESTART);
        break;
    case SIM_FAULT_REINIT:
        request(s, n, HA_REQ_REINITIALIZE);
        break;
    case SIM_FAULT_SHUTDOWN:
        if (begin)
            shut_down(s, n, f->dur_us);
        break;
    case SIM_FAULTS:
        break;
    }
    s->check.dirty = true;
}

static void on_end(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    const struct sim_fault *f = &s->plan.faults[ev->a];

    (void)n;
    s->faults_on--;
    sim_note(s, f->node >= 0 ? &s->nodes[f->node] : NULL, SIM_NOTE_FAULT, "%s ends",
             fault_name(f->kind));
    apply(s, f, false);
}

void fault_begin(struct sim *s, const struct sim_fault *f)
{
    s->stats.faults[f->kind]++;
    if (sim_noting(s, SIM_NOTE_FAULT))
        sim_note(s, f->node >= 0 ? &s->nodes[f->node] : NULL, SIM_NOTE_FAULT,
                 "%s%s dur=%llu ms arg=%lld", fault_name(f->kind), f->dur_us ? " begins" : "",
                 (unsigned long long)(f->dur_us / SIM_MS), (long long)f->arg);
    check_fault(s, f);
    apply(s, f, true);
}

static void on_begin(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    const struct sim_fault *f = &s->plan.faults[ev->a];

    (void)n;
    if (f->dur_us) {
        s->faults_on++;
        sim_in(s, f->dur_us, SIM_WORLD, NULL, on_end, ev->a, 0, 0);
    }
    fault_begin(s, f);
}

void fault_schedule(struct sim *s, unsigned i)
{
    sim_at(s, s->plan.faults[i].at_us, SIM_WORLD, NULL, on_begin, i, 0, 0);
}

void fault_heal(struct sim *s)
{
    struct sim_store *st = &s->store;

    st->slow_us = 0;
    st->drop_request_pm = st->drop_reply_pm = st->error_pm = 0;
    st->error = SIM_ANSWER_OK;
    for (unsigned i = 0; i < s->n; i++) {
        struct sim_pg *pg = &s->nodes[i].pg;

        pg->fail_starts = pg->fail_promotes = pg->fail_clones = pg->fail_rewinds = 0;
        pg->recovery_us = 0;
    }
    set_paused(s, false);
}
