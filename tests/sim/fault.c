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
    if (store && !n->cut_store)
        n->dark_until_us = s->now_us;
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
    check_emptied(n);
    n->pg.dir = PM_DIR_EMPTY;
    n->pg.branch = -1;
    n->pg.broken = n->pg.foreign = n->pg.standby_signal = n->pg.backup_label = false;
    n->pg.control = PM_CONTROL_UNKNOWN;
}

static bool hears(const struct sim_node *n)
{
    return n->running && !n->frozen && !n->paused;
}

static void request(struct sim *s, struct sim_node *n, const struct ha_request *r)
{
    struct ha_event ev = { .type = HA_EV_REQUEST };

    if (!hears(n))
        return;
    ev.u.request = *r;
    ev.u.request.id = ++s->request_id;
    check_asked(s, n);
    node_feed(s, n, &ev);
}

static void restart_if(struct sim *s, struct sim_node *n, enum sim_restart what)
{
    struct ha_request r = { .type = HA_REQ_RESTART };

    r.has_role = what == SIM_RESTART_PRIMARY || what == SIM_RESTART_REPLICA;
    r.role = what == SIM_RESTART_PRIMARY ? PGV_ROLE_PRIMARY : PGV_ROLE_REPLICA;
    r.restart_pending = what == SIM_RESTART_PENDING;
    r.pg_version_below = what == SIM_RESTART_OLDER   ? 160000
                         : what == SIM_RESTART_NEWER ? 150000
                                                     : 0;
    r.timeout_ms = what == SIM_RESTART_IMPATIENT ? 1000 : 0;
    request(s, n, &r);
}

/* Whoever was asked over REST to write a key looks at once. */
static void wake_one(struct sim *s, const struct sim_fault *f)
{
    struct sim_node *n = &s->nodes[f->at_us % s->n];
    struct ha_event ev = { .type = HA_EV_WAKE };

    if (s->plan.seed > PLAN_FIRST_SEEDS && hears(n))
        node_feed(s, n, &ev);
}

static void schedule_switchover(struct sim *s, const struct sim_fault *f, bool readable)
{
    int leader = s->store.keys.leader ? s->store.keys.leader_node : -1;

    if (leader < 0 || leader == f->node)
        return;
    /* As the leader's wall clock has it: it is the one that waits for it. */
    store_set_failover(s, leader, f->node,
                       node_wall_us(s, &s->nodes[leader]) + f->arg * (int64_t)SIM_S, readable);
    check_asked(s, NULL);
    wake_one(s, f);
}

static void on_reload(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    (void)ev;
    if (n->running)
        node_push_policy(s, n);
}

static void set_tags(struct sim *s, struct sim_node *n, unsigned bits)
{
    struct pgv_tags t = s->plan.tags[n->i];

    /* The first two may always lead, and nobody's source is behind it: no rings. */
    if (bits & SIM_TAG_NOFAILOVER && n->i >= 2)
        t.nofailover = true;
    t.clonefrom = bits & SIM_TAG_CLONEFROM;
    t.failover_priority = t.nofailover ? 0 : bits & SIM_TAG_PRIORITY ? 3 : 1;
    t.replicatefrom[0] = 0;
    if (bits & SIM_TAG_REPLICATEFROM && n->i >= 2 && !s->plan.sync.n) {
        t.replicatefrom[0] = 'n';
        t.replicatefrom[1] = (char)('0' + n->i); /* the one before it */
        t.replicatefrom[2] = 0;
    }
    if (s->n_tag_sets == SIM_TAG_SETS_MAX)
        return;
    n->tags_id = (uint16_t)s->n_tag_sets;
    s->tag_sets[s->n_tag_sets++] = t;
    n->tags = t;
    if (hears(n))
        node_push_policy(s, n);
}

static void new_config(struct sim *s, const struct sim_config *c)
{
    if (s->n_configs == SIM_CONFIGS_MAX)
        return;
    s->configs[s->n_configs] = *c;
    if (c->maximum_lag > s->check.max_lag_before)
        s->check.max_lag_before = c->maximum_lag;
    store_set_config(s, s->n_configs++);
}

static void change_config(struct sim *s, const struct sim_fault *f)
{
    struct sim_config c = s->configs[s->store.keys.config_id];
    uint64_t v = (uint64_t)f->arg;

    if (f->kind == SIM_FAULT_CONFIG)
        c.ttl_ms = v * 1000;
    else if (f->kind == SIM_FAULT_LOOP_WAIT)
        c.loop_wait_ms = v * 1000;
    else if (f->kind == SIM_FAULT_RETRY_TIMEOUT)
        c.retry_timeout_ms = v * 1000;
    else if (f->kind == SIM_FAULT_START_TIMEOUT)
        c.primary_start_timeout_ms = v * 1000;
    else if (f->kind == SIM_FAULT_SYNC_MODE)
        c.sync_mode = v != 0;
    else
        c.maximum_lag = v;
    new_config(s, &c);
}

static void set_paused(struct sim *s, bool paused)
{
    struct sim_config c = s->configs[s->store.keys.config_id];

    if (c.paused == paused)
        return;
    c.paused = paused;
    new_config(s, &c);
    check_pause(s, paused);
}

static void shut_down(struct sim *s, struct sim_node *n, uint64_t back_us)
{
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };

    if (!hears(n))
        return;
    n->restart_us = back_us;
    check_asked(s, n);
    node_feed(s, n, &ev);
}

void machine_power(struct sim *s, struct sim_node *n, bool on)
{
    if (on) {
        cut(s, n, false, true, true, true);
        node_start(s, n, 2 * SIM_S);
        return;
    }
    if (n->paused)
        node_thaw(s, n, true, 0);
    node_kill(s, n);
    watchdog_power_lost(n);
    pg_crash(s, n, "power lost");
    cut(s, n, true, true, true, true);
}

static void apply(struct sim *s, const struct sim_fault *f, bool begin)
{
    struct sim_node *n = f->node >= 0 ? &s->nodes[f->node] : NULL;
    struct sim_store *st = &s->store;

    if (f->kind <= SIM_FAULT_STORE_ELECTION && f->node < 0)
        st->ill_until_us = s->now_us;
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
    case SIM_FAULT_TWICE:
        st->again_us = begin ? (uint64_t)f->arg * SIM_MS : 0;
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
        n->dark_until_us = s->now_us;
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
    case SIM_FAULT_ARCHIVE_SLOW:
        n->pg.archive_us = begin ? (uint64_t)f->arg * SIM_MS : 0;
        break;
    case SIM_FAULT_PROMOTE_SLOW:
        n->pg.promote_us = begin ? (uint64_t)f->arg * SIM_MS : 0;
        break;
    case SIM_FAULT_PRE_PROMOTE_SLOW:
        n->pg.pre_promote_us = begin ? (uint64_t)f->arg * SIM_MS : 0;
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
    case SIM_FAULT_DIR_HIDDEN:
        n->pg.dir_hidden = begin;
        if (hears(n)) { /* the next look at the directory */
            pm_read(s, n);
            pm_tell_facts(s, n);
        }
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
    case SIM_FAULT_AGENT_KILL_WITHIN:
        n->deeds_left = begin ? (unsigned)f->arg + 1 : 0;
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
        machine_power(s, n, !begin);
        break;
    case SIM_FAULT_WALL_STEP:
        n->wall_off_us += f->arg * (int64_t)SIM_S;
        break;
    case SIM_FAULT_SWITCHOVER:
        if (s->store.keys.leader && (int)f->arg != s->store.keys.leader_node)
            store_set_failover(s, s->store.keys.leader_node, (int)f->arg, 0, true);
        check_asked(s, NULL);
        wake_one(s, f);
        break;
    case SIM_FAULT_FAILOVER:
        store_set_failover(s, -1, (int)f->arg, 0, true);
        check_asked(s, NULL);
        wake_one(s, f);
        break;
    case SIM_FAULT_PAUSE:
        set_paused(s, begin);
        break;
    case SIM_FAULT_CONFIG:
    case SIM_FAULT_LOOP_WAIT:
    case SIM_FAULT_RETRY_TIMEOUT:
    case SIM_FAULT_START_TIMEOUT:
    case SIM_FAULT_MAXIMUM_LAG:
    case SIM_FAULT_SYNC_MODE:
        change_config(s, f);
        wake_one(s, f);
        break;
    case SIM_FAULT_RESTART:
        request(s, n, &(struct ha_request){ .type = HA_REQ_RESTART });
        break;
    case SIM_FAULT_RESTART_IF:
        restart_if(s, n, (enum sim_restart)f->arg);
        break;
    case SIM_FAULT_SCHEDULE_RESTART:
    case SIM_FAULT_SCHEDULE_RESTART_IF:
        request(s, n,
                &(struct ha_request){ .type = HA_REQ_SCHEDULE_RESTART,
                                      .has_role = f->kind == SIM_FAULT_SCHEDULE_RESTART_IF,
                                      .role = PGV_ROLE_PRIMARY,
                                      .schedule_wall_us =
                                          node_wall_us(s, n) + f->arg * (int64_t)SIM_S });
        break;
    case SIM_FAULT_UNSCHEDULE_RESTART:
        request(s, n, &(struct ha_request){ .type = HA_REQ_DELETE_RESTART });
        break;
    case SIM_FAULT_REINIT:
    case SIM_FAULT_REINIT_HOW:
        request(s, n,
                &(struct ha_request){
                    .type = HA_REQ_REINITIALIZE, .force = f->arg & 1, .from_leader = f->arg & 2 });
        break;
    case SIM_FAULT_SCHEDULED_SWITCHOVER:
    case SIM_FAULT_BAD_SCHEDULE:
        schedule_switchover(s, f, f->kind == SIM_FAULT_SCHEDULED_SWITCHOVER);
        break;
    case SIM_FAULT_TAGS:
        set_tags(s, n, (unsigned)f->arg);
        break;
    case SIM_FAULT_PENDING_RESTART:
        n->pm.facts.pending_restart = n->pm.facts.alive;
        if (hears(n))
            pm_tell_facts(s, n);
        break;
    case SIM_FAULT_REPLAY_PAUSED:
        n->pg.replay_paused = n->pg.proc == PG_RUNNING && n->pg.in_recovery;
        break;
    case SIM_FAULT_CONFIG_GONE:
        store_delete_config(s);
        break;
    case SIM_FAULT_INITIALIZE_GONE:
        if (st->keys.init != DCS_INIT_SYSID)
            break; /* a second cluster would be made beside the first */
        s->check.strangers = true;
        s->check.disowned |= !st->keys.leader;
        store_delete_initialize(s);
        break;
    case SIM_FAULT_WATCHDOG_GONE:
        watchdog_goes_away(n, begin);
        break;
    case SIM_FAULT_WATCHDOG_BUSY:
        n->watchdog.busy = begin;
        break;
    case SIM_FAULT_WATCHDOG_DEAF:
        n->watchdog.deaf = begin;
        break;
    case SIM_FAULT_PG_STUCK:
        n->pg.stuck = begin;
        n->seen.stuck_us = s->now_us;
        break;
    case SIM_FAULT_WATCHDOG_MODE:
        n->watchdog.mode = (enum ha_watchdog_mode)f->arg;
        n->seen.mode_us = s->now_us;
        sim_in(s, 0, SIM_AGENT, n, on_reload, 0, 0, 0); /* a frozen one hears of it later */
        break;
    case SIM_FAULT_INITIALIZE_REMOVED:
        s->check.strangers = true;
        s->check.disowned |= st->keys.init == DCS_INIT_BOOTSTRAPPING || !st->keys.leader;
        store_delete_initialize(s);
        break;
    case SIM_FAULT_SLOW_ANSWERS:
        n->pg.answer_us = begin ? (uint64_t)f->arg * SIM_MS : 0;
        break;
    case SIM_FAULT_WHEN:
        for (int64_t c = 0; c < SIM_CLASSES && n->n_whens < SIM_WHENS_MAX; c++)
            if (f->arg / SIM_MEETINGS == c || f->arg / SIM_MEETINGS == SIM_CLASSES)
                n->whens[n->n_whens++] = c * SIM_MEETINGS + f->arg % SIM_MEETINGS;
        break;
    case SIM_FAULT_FOREIGN_DATA:
        if (n->pg.dir == PM_DIR_OK) {
            pg_crash(s, n, "its data directory is exchanged");
            memcpy(n->pg.sysid, f->arg ? "" : "7999999999999999999", f->arg ? 1 : 20);
            n->pg.foreign = true;
        }
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

static void meet(struct sim *s, struct sim_node *n, enum sim_meeting what)
{
    static const enum sim_fault_kind kinds[SIM_MEETINGS] = {
        [SIM_MEET_RESTART] = SIM_FAULT_RESTART,
        [SIM_MEET_REINIT] = SIM_FAULT_REINIT,
        [SIM_MEET_SCHEDULE] = SIM_FAULT_SCHEDULE_RESTART,
        [SIM_MEET_UNSCHEDULE] = SIM_FAULT_UNSCHEDULE_RESTART,
        [SIM_MEET_SHUTDOWN] = SIM_FAULT_SHUTDOWN,
        [SIM_MEET_TAGS] = SIM_FAULT_TAGS,
        [SIM_MEET_FACTS] = SIM_FAULT_PENDING_RESTART,
    };
    struct sim_fault f = { .at_us = s->now_us, .kind = kinds[what], .node = (int)n->i };
    struct ha_event wake = { .type = HA_EV_WAKE };

    switch (what) {
    case SIM_MEET_WAKE:
        node_feed(s, n, &wake);
        return;
    case SIM_MEET_ORPHAN:
        if (!s->store.keys.leader || s->store.keys.leader_node == (int)n->i ||
            s->plan.n_faults == SIM_FAULTS_MAX)
            return;
        s->plan.faults[s->plan.n_faults] = (struct sim_fault){ .at_us = s->now_us,
                                                               .dur_us = 20 * SIM_S,
                                                               .kind = SIM_FAULT_ISOLATE,
                                                               .node = s->store.keys.leader_node };
        fault_schedule(s, s->plan.n_faults++);
        f = (struct sim_fault){ .kind = SIM_FAULT_SESSION_LOSS, .node = s->store.keys.leader_node };
        fault_begin(s, &f);
        return;
    case SIM_MEET_FOLLOW:
        pm_answer_follow(s, n);
        return;
    case SIM_MEET_CHECKPOINT:
        pm_answer_checkpoint(s, n);
        return;
    case SIM_MEET_SLOTS:
        pm_answer_slots(s, n);
        return;
    case SIM_MEET_PEERS:
        node_answer_peers(s, n);
        return;
    default:
        break;
    }
    f.arg = what == SIM_MEET_SCHEDULE ? 20 : what == SIM_MEET_TAGS ? SIM_TAG_CLONEFROM : 0;
    f.dur_us = what == SIM_MEET_SHUTDOWN ? 5 * SIM_S : 0;
    fault_begin(s, &f);
}

/* It is in that state, and a question whose answer it is to meet is under way. */
static bool is_met(const struct sim_node *n, int64_t arg)
{
    if (arg / SIM_MEETINGS != (int64_t)reach_class(n))
        return false;
    switch ((enum sim_meeting)(arg % SIM_MEETINGS)) {
    case SIM_MEET_FOLLOW:
        return n->pm.follow;
    case SIM_MEET_CHECKPOINT:
        return n->pm.checkpoint;
    case SIM_MEET_SLOTS:
        return n->pm.slots;
    case SIM_MEET_PEERS:
        return n->peers_asked;
    default:
        return true;
    }
}

static void on_met(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    (void)ev;
    n->when_due = false;
    for (unsigned i = 0; i < n->n_whens && hears(n); i++) {
        int64_t arg = n->whens[i];

        if (!is_met(n, arg))
            continue;
        n->whens[i] = n->whens[--n->n_whens];
        meet(s, n, (enum sim_meeting)(arg % SIM_MEETINGS));
        return; /* the next one in the state that this has made */
    }
}

void fault_met(struct sim *s, struct sim_node *n)
{
    if (n->when_due)
        return;
    for (unsigned i = 0; i < n->n_whens; i++)
        if (is_met(n, n->whens[i])) {
            n->when_due = true;
            sim_in(s, 0, SIM_AGENT, n, on_met, 0, 0, 0);
            return;
        }
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

/* Whoever began to make the cluster has died: people remove the key that it left. */
static void unblock_bootstrap(struct sim *s)
{
    if (s->store.keys.init != DCS_INIT_BOOTSTRAPPING)
        return;
    for (unsigned i = 0; i < s->n; i++)
        if (s->nodes[i].pg.dir == PM_DIR_OK || s->nodes[i].pm.job == PM_JOB_BOOTSTRAP)
            return;
    store_delete_initialize(s);
}

void fault_heal(struct sim *s)
{
    struct sim_store *st = &s->store;

    st->slow_us = st->again_us = 0;
    st->drop_request_pm = st->drop_reply_pm = st->error_pm = 0;
    st->error = SIM_ANSWER_OK;
    for (unsigned i = 0; i < s->n; i++) {
        struct sim_pg *pg = &s->nodes[i].pg;

        pg->fail_starts = pg->fail_promotes = pg->fail_clones = pg->fail_rewinds = 0;
        pg->fail_bootstraps = pg->fail_post_bootstraps = 0;
        pg->recovery_us = 0;
        s->nodes[i].n_whens = 0;
        request(s, &s->nodes[i], &(struct ha_request){ .type = HA_REQ_DELETE_RESTART });
    }
    set_paused(s, false);
    unblock_bootstrap(s);
}
