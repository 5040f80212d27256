/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/check.c - what must never happen, and what must happen in the end.
 *
 * The checkers look at the world as it is (the store's own keys, the servers themselves), never at
 * what a brain believes, and share no code with it. What nobody but fencing hardware could have
 * prevented is told apart, by cause, and counted.
 */
#include "tests/sim/sim.h"

#include <string.h>

/** A thawed or started agent's first deed is to fence; this long after its wake it must be done. */
#define WAKE_GRACE_US (1500 * SIM_MS)
/** Demotion begins so long before the lease ends (agent/ha promises it), and some slack. */
#define MARGIN_MS 3000
/** A node that reaches the store again has read it so much later. */
#define RECONNECT_GRACE_US (5 * SIM_S)
/** One that its watch tells has stopped the server so much later: its death within a second. */
#define TOLD_GRACE_US (2500 * SIM_MS)
#define SLACK_MS 2500

const char *const sim_odd_names[SIM_ODDS] = {
    [SIM_ODD_FROZEN] = "agent frozen beyond its lease",
    [SIM_ODD_DEAD] = "agent dead or just started",
    [SIM_ODD_PAUSED_MACHINE] = "machine woke up after its lease",
    [SIM_ODD_STOLEN] = "machine stopped together with its clock",
    [SIM_ODD_STUCK] = "PostgreSQL does not end",
    [SIM_ODD_SESSION] = "the store dropped a live session",
    [SIM_ODD_PAUSE_MODE] = "the cluster is or was just paused by people",
    [SIM_ODD_BOOTSTRAP] = "people gave away the cluster that a node without the store was making",
};

const char *const sim_guard_names[SIM_GUARDS] = {
    [SIM_GUARD_NONE] = "without a watchdog",
    [SIM_GUARD_SOFT] = "with a software watchdog",
    [SIM_GUARD_HARDWARE] = "with a hardware watchdog",
};

const char *const sim_reset_names[SIM_RESETS] = {
    [SIM_RESET_FROZEN] = "agent frozen",
    [SIM_RESET_DEAD] = "agent dead or just started",
    [SIM_RESET_MACHINE] = "machine asleep or stopped",
    [SIM_RESET_STOP] = "PostgreSQL does not end",
    [SIM_RESET_DEVICE] = "device that hears no keepalives, or cannot be closed",
};

static const struct {
    const char *name, *text;
} rules[SIM_RULES] = {
#define SIM_RULE(id, text) { #id, text },
#include "tests/sim/rules.def"
#undef SIM_RULE
};

const char *check_rule_name(enum sim_rule rule)
{
    return rules[rule].name;
}

void check_init(struct sim *s)
{
    memset(&s->check, 0, sizeof(s->check));
    s->check.pause_until_us = 0;
}

void check_violation(struct sim *s, const struct sim_node *n, enum sim_rule rule, const char *fmt,
                     ...)
{
    struct sim_check *c = &s->check;
    char text[sizeof(c->text)];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (c->violations++ == 0) {
        c->rule = rule;
        c->at_us = s->now_us;
        memcpy(c->text, text, sizeof(text));
    }
    sim_note(s, n, SIM_NOTE_BAD, "%s: %s (%s)", rules[rule].name, rules[rule].text, text);
    s->stop = true;
}

static const struct sim_config *config_of(const struct sim *s)
{
    return &s->configs[s->store.keys.config_id];
}

static bool takes_writes(const struct sim_node *n)
{
    return n->pg.writable && !n->paused;
}

static bool holds_key(const struct sim *s, const struct sim_node *n)
{
    return s->store.keys.leader && s->store.keys.leader_node == (int)n->i;
}

static bool recently(const struct sim *s, uint64_t at_us, uint64_t within_us)
{
    return at_us && at_us + within_us >= s->now_us;
}

/* Its agent may not know what the store knows, however quick it is. */
static bool kept_in_the_dark(const struct sim *s, const struct sim_node *n)
{
    const struct sim_store *st = &s->store;

    return n->cut_store || n->watch_stale || st->no_quorum || st->slow_us || st->drop_request_pm ||
           st->drop_reply_pm || st->error_pm || recently(s, n->dark_until_us, RECONNECT_GRACE_US) ||
           recently(s, st->ill_until_us, RECONNECT_GRACE_US);
}

/* So long an agent has when it has just started: to read the store, and to stop what must not run.
 */
static uint64_t start_grace_us(const struct sim *s, const struct sim_node *n)
{
    const struct sim_config *c = config_of(s);

    return (kept_in_the_dark(s, n) ? (c->retry_timeout_ms + c->loop_wait_ms) * SIM_MS : 0) +
           7 * SIM_S;
}

/* What an agent that has just started slept, or was stopped for, it had not. */
void check_thawed(struct sim *s, struct sim_node *n)
{
    if (n->froze_us >= n->seen.agent_up_us &&
        n->froze_us <= n->seen.agent_up_us + start_grace_us(s, n))
        n->seen.agent_up_us += s->now_us - n->froze_us;
}

/* Why this node, which does not hold the key, may take writes: a cause that no agent can help. */
static bool excused(const struct sim *s, const struct sim_node *n, enum sim_odd *ret)
{
    const struct sim_config *c = config_of(s);
    bool dark = kept_in_the_dark(s, n);
    uint64_t ttl_us = c->ttl_ms * SIM_MS;

    if (n->blind_until_us > s->now_us) {
        *ret = SIM_ODD_STOLEN;
    } else if (c->paused || s->configs[n->config_id].paused ||
               recently(s, n->seen.pause_us, WAKE_GRACE_US) ||
               recently(s, s->check.pause_until_us, dark ? 2 * ttl_us : TOLD_GRACE_US)) {
        *ret = SIM_ODD_PAUSE_MODE;
    } else if (!n->up || !n->running || recently(s, n->seen.agent_up_us, start_grace_us(s, n))) {
        *ret = SIM_ODD_DEAD;
    } else if (n->frozen) {
        *ret = SIM_ODD_FROZEN;
    } else if (recently(s, n->thawed_us, WAKE_GRACE_US)) {
        *ret = n->thawed_machine ? SIM_ODD_PAUSED_MACHINE : SIM_ODD_FROZEN;
    } else if (n->pg.stuck || recently(s, n->seen.stuck_us, WAKE_GRACE_US)) {
        *ret = SIM_ODD_STUCK;
    } else if (n->seen.key_lost == SIM_LOSS_REVOKED &&
               recently(s, n->seen.key_until_us, dark ? ttl_us : TOLD_GRACE_US)) {
        *ret = SIM_ODD_SESSION;
    } else if (s->check.disowned && !n->seen.key_from_us &&
               (dark || n->dcs.init_rev == s->store.keys.init_rev ||
                strcmp(n->pg.sysid, s->store.keys.sysid) == 0)) {
        *ret = SIM_ODD_BOOTSTRAP; /* it has never led, and nothing could tell it to end */
    } else {
        return false;
    }
    return true;
}

static bool just_paused(const struct sim *s, const struct sim_node *n)
{
    const struct sim_config *c = config_of(s);

    return c->paused || s->configs[n->config_id].paused ||
           recently(s, n->seen.pause_us, 2 * c->ttl_ms * SIM_MS) ||
           recently(s, s->check.pause_until_us, 2 * c->ttl_ms * SIM_MS);
}

/* What counts on the machine, as the configuration wants it. */
static enum sim_guard guard(const struct sim *s, const struct sim_node *n)
{
    const struct sim_watchdog *w = &n->watchdog;

    if (!w->counting || w->mode == HA_WATCHDOG_OFF || w->timeout_ms > watchdog_wanted_ms(s, n) ||
        just_paused(s, n))
        return SIM_GUARD_NONE;
    return w->device.kind == SIM_DEVICE_SOFT ? SIM_GUARD_SOFT : SIM_GUARD_HARDWARE;
}

/* Must it have been reset by now? Software does not count while the machine stands still, so it is
 * late by as much, whatever ails the node when it goes on; and no device knows that the store has
 * dropped a session. */
static bool guard_fails(const struct sim_node *n, enum sim_odd why, enum sim_guard g)
{
    if (g == SIM_GUARD_NONE || n->seen.key_lost != SIM_LOSS_EXPIRED)
        return false;
    switch (why) {
    case SIM_ODD_FROZEN:
    case SIM_ODD_DEAD:
    case SIM_ODD_STUCK:
        return !n->watchdog.stood;
    case SIM_ODD_PAUSED_MACHINE:
    case SIM_ODD_STOLEN:
        return g == SIM_GUARD_HARDWARE;
    case SIM_ODD_SESSION:
    case SIM_ODD_PAUSE_MODE:
    case SIM_ODD_BOOTSTRAP:
    case SIM_ODDS:
        break;
    }
    return false;
}

/* Nobody leads, and the new cluster is this node's: it may, and who else writes may not. The key's
 * version is its own, or with the identity it wrote a newer one, of which it has no answer yet. */
static bool makes_the_cluster(const struct sim *s, const struct sim_node *n)
{
    const struct sim_keys *k = &s->store.keys;

    return !k->leader && !n->seen.key_from_us && n->dcs.init_rev &&
           (n->dcs.init_rev == k->init_rev ||
            (k->init == DCS_INIT_SYSID && strcmp(n->pg.sysid, k->sysid) == 0));
}

static void check_two(struct sim *s)
{
    struct sim_check *c = &s->check;
    struct sim_node *w[SIM_NODES_MAX];
    unsigned n = 0;
    enum sim_odd why = SIM_ODD_FROZEN;
    enum sim_guard g = SIM_GUARD_NONE;
    int w_lost = SIM_LOSS_NONE;

    for (unsigned i = 0; i < s->n; i++)
        if (takes_writes(&s->nodes[i]))
            w[n++] = &s->nodes[i];
    if (n < 2) {
        if (c->two)
            c->odd_us[c->two_why] += s->now_us - c->two_since_us;
        c->two = false;
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        if (s->store.keys.leader ? s->store.keys.leader_node == (int)w[i]->i
                                 : makes_the_cluster(s, w[i]))
            continue;
        if (!excused(s, w[i], &why)) {
            check_violation(s, w[i], SIM_RULE_two_primaries, "%s and %s", w[0]->name, w[1]->name);
            return;
        }
        g = guard(s, w[i]);
        w_lost = w[i]->seen.key_lost;
        if (guard_fails(w[i], why, g)) {
            check_violation(s, w[i], SIM_RULE_guard_late, "%s (%s)", sim_odd_names[why],
                            sim_guard_names[g]);
            return;
        }
    }
    if (!c->two) {
        if (g != SIM_GUARD_NONE && why != SIM_ODD_PAUSE_MODE &&
            w_lost != SIM_LOSS_EXPIRED) /* that is why the watchdog had no reason to fire */
            why = SIM_ODD_SESSION;
        c->two = true;
        c->two_why = why;
        c->two_since_us = s->now_us;
        c->odd_n[why]++;
        c->guarded_n[why][g]++;
        sim_note(s, w[0], SIM_NOTE_ODD, "%s and %s both take writes: %s", w[0]->name, w[1]->name,
                 sim_odd_names[why]);
    }
}

/* ---- watchdogs ------------------------------------------------------------------------------- */

/** So long a primary may be without: its agent has just begun, a pause has ended, … */
#define UNGUARDED_US (20 * SIM_S)

static bool acts(const struct sim_node *n)
{
    return n->up && n->running && !n->frozen && !n->paused;
}

/* Told of each commit. */
static void check_guarded(struct sim *s, struct sim_node *n)
{
    uint64_t grace_us = UNGUARDED_US + 2 * config_of(s)->loop_wait_ms * SIM_MS;

    if (kept_in_the_dark(s, n)) /* keepalives, which tell of it, come with proofs of the lease */
        grace_us += config_of(s)->ttl_ms * SIM_MS;
    /* One that went away and came back with errors looks like one that counts: until it would fire.
     */
    if (n->watchdog.deaf)
        grace_us += n->watchdog.timeout_ms * SIM_MS;
    if (n->watchdog.mode != HA_WATCHDOG_REQUIRED || n->watchdog.counting || !acts(n) ||
        !holds_key(s, n) || just_paused(s, n)) {
        n->seen.unguarded_us = 0;
        return;
    }
    if (!n->seen.unguarded_us)
        n->seen.unguarded_us = s->now_us;
    if (!recently(s, n->seen.unguarded_us, grace_us) && !recently(s, n->thawed_us, grace_us) &&
        !n->pm.stop.active)
        check_violation(s, n, SIM_RULE_unguarded, "%s", n->ha.status);
}

void check_reset(struct sim *s, struct sim_node *n)
{
    const struct sim_config *c = config_of(s);
    uint64_t late_us = (MARGIN_MS + SLACK_MS) * SIM_MS;
    /* What the agent before this one has armed may be by other times than those that hold now. */
    uint64_t armed_ms = n->watchdog.timeout_ms > c->ttl_ms ? n->watchdog.timeout_ms : c->ttl_ms;
    enum sim_reset why;

    if (n->paused || (recently(s, n->thawed_us, late_us) && n->thawed_machine) ||
        n->blind_until_us > s->now_us)
        why = SIM_RESET_MACHINE;
    else if (n->frozen ||
             (acts(n) && recently(s, n->thawed_us, late_us) && n->thawed_us != n->seen.agent_up_us))
        why = SIM_RESET_FROZEN;
    else if (!acts(n) || recently(s, n->seen.agent_up_us, armed_ms * SIM_MS + late_us))
        why = SIM_RESET_DEAD;
    else if (n->watchdog.device.stays || recently(s, n->seen.device_us, c->ttl_ms * SIM_MS))
        why = SIM_RESET_DEVICE;
    else if (n->pg.proc != PG_DOWN && n->pm.stop.active)
        why = SIM_RESET_STOP;
    else {
        check_violation(s, n, SIM_RULE_needless_reset, "%s", n->ha.status);
        return;
    }
    s->check.reset_n[why]++;
}

void check_disarmed(struct sim *s, struct sim_node *n)
{
    /* Where it is not required, one that hears no keepalives, or cannot be shortened while the
     * store is slow, is given up instead of the leader. */
    bool given_up = n->watchdog.mode == HA_WATCHDOG_AUTOMATIC &&
                    (recently(s, n->seen.device_us, config_of(s)->ttl_ms * SIM_MS) ||
                     n->watchdog.device.fixed_ms);

    if (n->pg.writable && !given_up && guard(s, n) != SIM_GUARD_NONE)
        check_violation(s, n, SIM_RULE_disarmed, "%s", n->ha.status);
}

void check_device(struct sim *s, struct sim_node *n, uint64_t dur_us)
{
    n->seen.device_us = s->now_us + dur_us;
}

/* For the picture: what each node is, told when it changes. */
static void mark_states(struct sim *s)
{
    static const char proc[] = { [PG_DOWN] = 'D', [PG_STARTING] = 'S', [PG_STOPPING] = 'O' };
    int key = s->store.keys.leader ? s->store.keys.leader_node : -1;

    for (unsigned i = 0; i < s->n; i++) {
        struct sim_node *n = &s->nodes[i];
        char p = n->pg.proc != PG_RUNNING ? proc[n->pg.proc]
                 : n->pg.in_recovery      ? 'R'
                 : n->pg.writable         ? 'P'
                                          : 'O';
        char a = n->paused ? 'z' : !n->up ? 'k' : n->frozen ? 'f' : '.';

        if (n->seen.shown[0] == p && n->seen.shown[1] == a)
            continue;
        n->seen.shown[0] = p;
        n->seen.shown[1] = a;
        sim_mark(s, (int)i, SIM_MARK_STATE, n->seen.shown);
    }
    if (s->marked_key != key + 2)
        sim_mark(s, key, SIM_MARK_KEY, "");
    s->marked_key = key + 2;
}

void check_after_event(struct sim *s)
{
    if (s->mark)
        mark_states(s);
    /* What was excused must end: it is looked at again while it lasts. */
    if (!s->check.dirty && !s->check.two)
        return;
    s->check.dirty = false;
    check_two(s);
}

/* ---- work
 * ------------------------------------------------------------------------------------------ */

/** Some failures do cause a burst; it ends. */
#define BUSY_WINDOWS_MAX 3

void check_cycles(struct sim *s, struct sim_node *n)
{
    const struct ha *ha = &n->ha;
    uint64_t since = ha->window_since_ms;

    if (ha->cycles_in_window < HA_CYCLES_PER_WINDOW || since == n->seen.window_ms)
        return;
    n->seen.windows =
        since - n->seen.window_ms < 2 * config_of(s)->loop_wait_ms ? n->seen.windows + 1 : 1;
    n->seen.window_ms = since;
    if (n->seen.windows > BUSY_WINDOWS_MAX)
        check_violation(s, n, SIM_RULE_churns, "%u times %u in loop_wait: %s", n->seen.windows,
                        HA_CYCLES_PER_WINDOW, ha->status);
}

/* ---- the key
 * ------------------------------------------------------------------------------------------ */

/* People have asked for another leader, for now or so soon: by the node's own wall clock. */
static bool asked_for_another(const struct sim *s, const struct sim_node *n, uint64_t soon_us)
{
    const struct sim_failover *f = &s->store.keys.failover;

    return f->exists && (f->leader >= 0 || f->candidate >= 0) &&
           (!f->scheduled || f->unreadable || /* to whoever finds nobody leading, that is now */
            f->at_wall_us <= node_wall_us(s, n) + (int64_t)soon_us);
}

void check_key_won(struct sim *s, struct sim_node *n)
{
    const struct sim_keys *k = &s->store.keys;

    n->seen.key_from_us = s->now_us;
    n->seen.key_until_us = 0;
    n->seen.key_lost = SIM_LOSS_NONE;
    if (n->pg.unfinished)
        check_violation(s, n, SIM_RULE_unfinished,
                        "won the key, its agent was killed while it made the cluster");
    s->check.won_optime[n->i] = k->status ? k->optime : 0;
    s->check.won_manual[n->i] = asked_for_another(s, n, n->policy.ttl_ms * SIM_MS);
    s->check.dirty = true;
}

/* A history that has come to @lsn of @branch holds all that was acknowledged on @of. */
static bool holds_all(struct sim *s, int of, int branch, uint64_t lsn)
{
    const struct sim_branch *b = &s->branches[of];

    if (lsn < b->acked_lsn)
        return false;
    if (pg_fork_lsn(s, of, branch, NULL) >= b->acked_lsn)
        return true;
    if (s->branches[branch].tli != b->tli)
        return false;
    s->check.mixed++; /* by its number it has; nothing in the protocol tells */
    return true;
}

void check_published(struct sim *s, struct sim_node *n)
{
    /* A leader's own position, maybe in a new cluster, stands in for what it found. */
    if (holds_key(s, n) && n->pg.proc == PG_RUNNING && !n->pg.in_recovery)
        s->check.won_optime[n->i] = s->store.keys.optime;
}

/* The key is given up while the server still ends: somebody else must have all that it has said, or
 * have had it when it was asked. */
static bool somebody_has_it(struct sim *s, const struct sim_node *n)
{
    uint64_t under_way_us = 2 * config_of(s)->retry_timeout_ms * SIM_MS; /* question and release */

    for (unsigned i = 0; i < s->n; i++) {
        struct sim_node *other = &s->nodes[i];

        if (other == n)
            continue;
        if (recently(s, other->seen.emptied_us, under_way_us) &&
            holds_all(s, n->pg.branch, other->seen.emptied_branch, other->seen.emptied_lsn))
            return true;
        if (other->pg.dir != PM_DIR_OK)
            continue;
        pg_catch_up(s, other);
        if (holds_all(s, n->pg.branch, other->pg.branch, other->pg.lsn))
            return true;
    }
    return false;
}

void check_emptied(struct sim_node *n)
{
    if (n->pg.branch < 0)
        return;
    n->seen.emptied_us = n->sim->now_us;
    n->seen.emptied_lsn = n->pg.lsn;
    n->seen.emptied_branch = n->pg.branch;
}

void check_key_lost(struct sim *s, struct sim_node *n, enum sim_loss how)
{
    enum sim_odd why;

    n->seen.key_until_us = s->now_us;
    n->seen.key_lost = (int)how;
    s->check.dirty = true;
    if (how == SIM_LOSS_EXPIRED && takes_writes(n) && !excused(s, n, &why))
        check_violation(s, n, SIM_RULE_writes_after_lease, "%s", n->ha.status);
    if (how == SIM_LOSS_RELEASED && n->pg.branch >= 0 && n->pg.proc != PG_DOWN &&
        !n->pg.in_recovery && !config_of(s)->paused && n->pg.dir == PM_DIR_OK &&
        (n->pg.writable || !somebody_has_it(s, n)))
        check_violation(s, n, SIM_RULE_released_too_early, "%s",
                        n->pg.writable ? "it still takes writes" : "nobody has it");
}

void check_promote_signal(struct sim *s, struct sim_node *n)
{
    const struct sim_keys *k = &s->store.keys;
    const struct sim_config *c = config_of(s);
    enum sim_odd why;

    if (!holds_key(s, n)) {
        if (excused(s, n, &why) || n->seen.key_lost == SIM_LOSS_TAKEN)
            s->check.odd_n[n->seen.key_lost == SIM_LOSS_TAKEN ? SIM_ODD_SESSION : why]++;
        else
            check_violation(s, n, SIM_RULE_promoted_without_key, "the key is %s's",
                            k->leader ? s->nodes[k->leader_node].name : "nobody");
        return;
    }
    if (n->watchdog.mode == HA_WATCHDOG_REQUIRED && !n->watchdog.counting && !just_paused(s, n) &&
        !recently(s, n->seen.device_us, SIM_S) && !recently(s, n->seen.mode_us, SIM_S))
        check_violation(s, n, SIM_RULE_unguarded, "it is promoted");
    s->stats.failovers++;
    for (int b = n->pg.branch; b >= 0; b = s->branches[b].parent)
        if (s->branches[b].acked_lsn > n->pg.lsn && b == n->pg.branch)
            s->stats.lost_bytes += s->branches[b].acked_lsn - n->pg.lsn;
    if (s->check.won_manual[n->i] ||
        (asked_for_another(s, n, n->policy.ttl_ms * SIM_MS) && k->failover.candidate >= 0))
        return;
    if (s->check.won_optime[n->i] > n->pg.lsn + s->check.max_lag_before)
        check_violation(s, n, SIM_RULE_lag_exceeded, "%llx is published, it has %llx",
                        (unsigned long long)s->check.won_optime[n->i],
                        (unsigned long long)n->pg.lsn);
    if (c->check_timeline && k->history && k->history_tl > pg_tli(s, n))
        check_violation(s, n, SIM_RULE_behind_timeline, "%u is published, it is on %u",
                        k->history_tl, pg_tli(s, n));
}

void check_attached(struct sim *s, struct sim_node *n, struct sim_node *up)
{
    if (pg_is_ancestor(s, n->pg.branch, n->pg.lsn, up->pg.branch))
        return;
    /* Two promotions gave their histories the same number; nothing in the protocol tells. */
    s->check.mixed++;
    n->seen.mixed = true;
    sim_note(s, n, SIM_NOTE_ODD, "streams from %s although it has another history of that number",
             up->name);
}

/* ---- commits
 * ---------------------------------------------------------------------------------------------- */

/* Synchronous commits that the history which leads to @n does not hold. */
void check_promoted(struct sim *s, struct sim_node *n)
{
    for (unsigned i = 0; s->plan.sync.n && i < s->n_branches; i++) {
        struct sim_branch *b = &s->branches[i];
        int common;
        uint64_t left = pg_fork_lsn(s, (int)i, n->pg.branch, &common);

        if (b->sync_lsn <= left || (common < 0 && s->check.strangers))
            continue;
        if (sync_demands_all(&s->plan) && !s->check.mixed) {
            check_violation(s, n, SIM_RULE_sync_lost, "%llx of timeline %u, left at %llx",
                            (unsigned long long)b->sync_lsn, b->tli, (unsigned long long)left);
            return;
        }
        s->stats.sync_losses++;
        sim_note(s, n, SIM_NOTE_ODD, "synchronous commits of timeline %u are lost behind %llx",
                 b->tli, (unsigned long long)left);
        b->sync_lsn = left; /* once */
    }
}

void check_ack(struct sim *s, struct sim_node *n, uint64_t lsn, bool synchronous)
{
    int b = n->pg.branch;
    struct sim_branch *mine = &s->branches[b];
    enum sim_odd why;

    for (unsigned i = (unsigned)b + 1; i < s->n_branches; i++) {
        const struct sim_branch *other = &s->branches[i];

        if (!other->first_ack_us || other->first_ack_us >= s->now_us)
            continue;
        if (pg_fork_lsn(s, b, (int)i, NULL) >= lsn)
            continue;
        if (excused(s, n, &why) || s->check.mixed)
            break;
        check_violation(s, n, SIM_RULE_fork, "timeline %u goes on at %llx behind timeline %u",
                        mine->tli, (unsigned long long)lsn, other->tli);
        return;
    }
    check_guarded(s, n);
    /* One that should not take writes, and cannot know, leaves nobody else's history behind. */
    if (!mine->first_ack_us && (holds_key(s, n) || !excused(s, n, &why)))
        mine->first_ack_us = s->now_us;
    mine->last_ack_us = s->now_us;
    if (lsn > mine->acked_lsn)
        mine->acked_lsn = lsn;
    if (synchronous)
        mine->sync_lsn = lsn;
}

/* ---- deeds
 * --------------------------------------------------------------------------------------------------
 */

/* How long a leader can do without the store: its lease, or what its watchdog leaves of it. */
static uint64_t budget_ms(const struct sim_config *cfg, uint64_t lives)
{
    uint64_t spent = MARGIN_MS + SLACK_MS, loop = cfg->loop_wait_ms;

    if (lives < cfg->ttl_ms && lives > MARGIN_MS && (lives - MARGIN_MS) / 2 < loop)
        loop = (lives - MARGIN_MS) / 2;
    return lives > spent + loop ? lives - spent - loop : 0;
}

static uint64_t lives_ms(const struct sim_config *cfg, const struct sim_node *n)
{
    const struct sim_watchdog *w = &n->watchdog;

    return w->counting && w->timeout_ms && w->timeout_ms < cfg->ttl_ms ? w->timeout_ms
                                                                       : cfg->ttl_ms;
}

/* Of any node. */
static uint64_t least_budget_ms(const struct sim *s, const struct sim_config *cfg)
{
    uint64_t least = cfg->ttl_ms;

    for (unsigned i = 0; i < s->n; i++) {
        uint64_t lives = lives_ms(cfg, &s->nodes[i]);

        if (lives < least)
            least = lives;
    }
    return budget_ms(cfg, least);
}

/* The store was ill, for no longer than anybody who was guarded then could do without it. Who has
 * come to lead meanwhile may have less: its watchdog did not count yet. */
static bool too_long_for(const struct sim *s, const struct sim_node *n)
{
    const struct sim_check *c = &s->check;
    const struct sim_config *cfg = config_of(s);

    return recently(s, c->short_until_us, 3 * cfg->ttl_ms * SIM_MS) &&
           n->seen.key_from_us > c->short_from_us &&
           c->short_until_us - c->short_from_us >= budget_ms(cfg, lives_ms(cfg, n)) * SIM_MS;
}

/* What may be a reason to demote a leader, and how long it may have its consequences. */
void check_fault(struct sim *s, const struct sim_fault *f)
{
    struct sim_check *c = &s->check;
    const struct sim_config *cfg = config_of(s);
    uint64_t ttl_us = cfg->ttl_ms * SIM_MS, until = s->now_us + f->dur_us + 3 * ttl_us;
    uint64_t budget_us = least_budget_ms(s, cfg) * SIM_MS;
    bool store = false;

    switch (f->kind) {
    case SIM_FAULT_STORE_SLOW:
    case SIM_FAULT_LOST_REQUESTS:
    case SIM_FAULT_LOST_REPLIES:
    case SIM_FAULT_TWICE:
    case SIM_FAULT_NO_QUORUM:
    case SIM_FAULT_STORE_DENIES:
    case SIM_FAULT_STORE_NO_LEADER:
        store = true;
        break;
    case SIM_FAULT_STORE_CUT:
    case SIM_FAULT_ISOLATE:
    case SIM_FAULT_AGENT_FREEZE:
    case SIM_FAULT_MACHINE_PAUSE:
        if (f->dur_us >= budget_us || recently(s, c->excuse_short_us[f->node], 2 * ttl_us) ||
            recently(s, c->store_fault_until_us, 2 * ttl_us))
            break; /* long, or the second one */
        c->excuse_short_us[f->node] = s->now_us + f->dur_us;
        return;
    case SIM_FAULT_STORE_ELECTION:
    case SIM_FAULT_STALE_WATCH:
    case SIM_FAULT_COMPACT:
    case SIM_FAULT_MEMBER_GONE:
    case SIM_FAULT_WALL_STEP:
    case SIM_FAULT_REPL_LAG:
    case SIM_FAULT_PEERS_CUT:
    case SIM_FAULT_CLONE_FAILS:
    case SIM_FAULT_REWIND_FAILS:
    case SIM_FAULT_UNSCHEDULE_RESTART:
    case SIM_FAULT_TAGS:
    case SIM_FAULT_LOOP_WAIT:
    case SIM_FAULT_RETRY_TIMEOUT:
    case SIM_FAULT_START_TIMEOUT:
    case SIM_FAULT_MAXIMUM_LAG:
    case SIM_FAULT_PENDING_RESTART:
    case SIM_FAULT_REPLAY_PAUSED:
    case SIM_FAULT_BAD_SCHEDULE:
    case SIM_FAULT_CONFIG_GONE:
    case SIM_FAULT_INITIALIZE_GONE:
    case SIM_FAULT_INITIALIZE_REMOVED:
    case SIM_FAULT_SLOW_ANSWERS:
    case SIM_FAULT_WHEN: /* what it brings is a fault of its own */
        return;
    case SIM_FAULT_WATCHDOG_GONE:
    case SIM_FAULT_WATCHDOG_BUSY:
    case SIM_FAULT_WATCHDOG_DEAF:
    case SIM_FAULT_WATCHDOG_MODE:
        check_device(s, &s->nodes[f->node], f->dur_us);
        break;
    case SIM_FAULT_SCHEDULED_SWITCHOVER:
    case SIM_FAULT_SCHEDULE_RESTART:
    case SIM_FAULT_SCHEDULE_RESTART_IF:
        until += (uint64_t)(f->arg > 0 ? f->arg : 0) * SIM_S;
        if (f->kind == SIM_FAULT_SCHEDULED_SWITCHOVER)
            c->operator_us = until;
        break;
    case SIM_FAULT_SWITCHOVER:
    case SIM_FAULT_FAILOVER:
    case SIM_FAULT_PAUSE:
    case SIM_FAULT_CONFIG:
        c->operator_us = until;
        break;
    default:
        break;
    }
    if (store) {
        bool again = recently(s, c->store_fault_until_us, 2 * ttl_us);

        for (unsigned i = 0; i < s->n; i++)
            again |= recently(s, c->excuse_short_us[i], 2 * ttl_us);
        if (s->now_us + f->dur_us > c->store_fault_until_us)
            c->store_fault_until_us = s->now_us + f->dur_us;
        if (f->dur_us < budget_us && !again) {
            c->short_from_us = s->now_us;
            c->short_until_us = c->store_fault_until_us;
            return;
        }
    }
    for (unsigned i = 0; i < s->n; i++)
        if ((f->node < 0 || f->node == (int)i) && until > c->excuse_until_us[i])
            c->excuse_until_us[i] = until;
}

static void check_demotion(struct sim *s, struct sim_node *n)
{
    struct sim_check *c = &s->check;

    s->stats.demotions++;
    if (s->now_us < s->plan.faults_from_us)
        return;
    if (!holds_key(s, n))
        return; /* it must */
    if (n->watchdog.mode == HA_WATCHDOG_REQUIRED && !watchdog_wanted_ms(s, n))
        return; /* by its configuration it must not lead */
    if (c->excuse_until_us[n->i] >= s->now_us || c->operator_us >= s->now_us ||
        asked_for_another(s, n, 0) || too_long_for(s, n))
        return;
    check_violation(s, n, SIM_RULE_needless_demotion, "it holds the key and nothing has happened");
}

static void check_paused(struct sim *s, struct sim_node *n, const struct postmaster_job_args *args)
{
    const struct sim_keys *k = &s->store.keys;
    struct sim_check *c = &s->check;
    bool asked = c->asked_us[n->i] + 240 * SIM_S >= s->now_us && c->asked_us[n->i];

    if (!config_of(s)->paused || !s->configs[n->config_id].paused || n->frozen || n->paused ||
        !n->running || s->now_us < c->pause_from_us + 5 * SIM_S || asked)
        return;
    if (k->init != DCS_INIT_SYSID)
        return; /* a cluster that is only being made may fail */
    /* A standby that has left the history is rewound or copied anew in a pause, too. */
    if (args->job == PM_JOB_STOP && n->pg.writable && n->pg.dir == PM_DIR_OK && !n->pg.disk_gone &&
        !n->pg.dir_hidden && !recently(s, c->manual_us, 240 * SIM_S))
        check_violation(s, n, SIM_RULE_paused, "a server is stopped");
    if (args->job == PM_JOB_PROMOTE && !recently(s, c->manual_us, 240 * SIM_S) &&
        !(k->failover.exists && k->failover.candidate >= 0))
        check_violation(s, n, SIM_RULE_paused, "a server is promoted");
}

void check_job(struct sim *s, struct sim_node *n, const struct postmaster_job_args *args)
{
    if (args->job == PM_JOB_STOP && args->demote && n->pg.writable)
        check_demotion(s, n);
    check_paused(s, n, args);
}

void check_asked(struct sim *s, const struct sim_node *n)
{
    if (n)
        s->check.asked_us[n->i] = s->now_us;
    else
        s->check.manual_us = s->now_us;
}

void check_pause(struct sim *s, bool paused)
{
    s->check.max_lag_before = config_of(s)->maximum_lag;
    if (paused) {
        s->check.pause_from_us = s->now_us;
        s->check.pause_until_us = s->now_us;
    } else if (s->check.pause_from_us) {
        s->check.pause_until_us = s->now_us;
    }
}

/* ---- in the end
 * --------------------------------------------------------------------------------------------- */

static bool can_guard(const struct sim *s, const struct sim_node *n)
{
    const struct sim_device *d = &n->watchdog.device;
    uint64_t wanted = watchdog_wanted_ms(s, n), longest = config_of(s)->ttl_ms - 1000;

    if (longest > wanted)
        longest = wanted;
    return wanted >= HA_WATCHDOG_TIMEOUT_MIN_MS && watchdog_usable(n) &&
           (!d->fixed_ms || (d->fixed_ms <= longest && d->fixed_ms >= HA_WATCHDOG_TIMEOUT_MIN_MS));
}

/* May it lead, as the configuration draws the line? */
static bool has_data(const struct sim *s, const struct sim_node *n)
{
    const struct sim_keys *k = &s->store.keys;
    const struct sim_config *c = config_of(s);

    if (n->pg.dir != PM_DIR_OK || n->pg.broken || n->pg.foreign)
        return false;
    if (n->watchdog.mode == HA_WATCHDOG_REQUIRED && !can_guard(s, n))
        return false;
    if (holds_key(s, n))
        return true;
    return !n->tags.nofailover && (!k->status || k->optime <= n->pg.lsn + c->maximum_lag) &&
           (!c->check_timeline || !k->history || k->history_tl <= pg_tli(s, n));
}

/* No watchdog that is required fits, not even to make a cluster. */
static bool nobody_may_lead(const struct sim *s)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->nodes[i].watchdog.mode != HA_WATCHDOG_REQUIRED || can_guard(s, &s->nodes[i]))
            return false;
    return true;
}

/* The cluster has no identity, and somebody who may lead has room for a new one. */
static bool can_be_made(const struct sim *s)
{
    if (s->store.keys.init == DCS_INIT_SYSID)
        return false;
    for (unsigned i = 0; i < s->n; i++) {
        const struct sim_node *n = &s->nodes[i];

        if (n->pg.dir == PM_DIR_EMPTY && !s->plan.no_bootstrap[i] && !n->tags.nofailover &&
            (n->watchdog.mode != HA_WATCHDOG_REQUIRED || can_guard(s, n)))
            return true;
    }
    return false;
}

static bool nothing_to_lead_with(const struct sim *s)
{
    bool being_made = false;

    for (unsigned i = 0; i < s->n; i++) {
        if (has_data(s, &s->nodes[i]))
            return false;
        being_made |= !s->n_branches && s->nodes[i].pg.dir != PM_DIR_EMPTY;
    }
    return nobody_may_lead(s) || (!being_made && !can_be_made(s));
}

/* Of another cluster: exchanged by people, or left where none was made. */
static bool foreign(const struct sim *s, const struct sim_node *n)
{
    return n->pg.foreign || (s->check.strangers && n->pg.dir == PM_DIR_OK &&
                             strcmp(n->pg.sysid, s->store.keys.sysid) != 0);
}

/* What only people can mend: that, or a data directory that may not be removed: left half-way, or
 * on another timeline of the leader's number. */
static bool for_people(const struct sim *s, const struct sim_node *n)
{
    const struct sim_keys *k = &s->store.keys;
    const struct sim_node *leader = k->leader ? &s->nodes[k->leader_node] : NULL;
    int from = node_by_name(s, n->tags.replicatefrom);
    bool twin = leader && pg_tli(s, n) == pg_tli(s, leader) && n->pg.branch != leader->pg.branch;

    if (foreign(s, n) || ((n->pg.broken || twin) && !s->plan.remove_on_rewind_failure &&
                          !s->plan.remove_on_diverged))
        return true;
    return n->seen.mixed || (from >= 0 && from != (int)n->i && for_people(s, &s->nodes[from]));
}

bool check_leader_settled(struct sim *s)
{
    const struct sim_keys *k = &s->store.keys;
    unsigned writable = 0;

    if (nothing_to_lead_with(s))
        return true;
    for (unsigned i = 0; i < s->n; i++)
        writable += takes_writes(&s->nodes[i]);
    return writable == 1 && k->leader && takes_writes(&s->nodes[k->leader_node]);
}

static bool follows(const struct sim *s, const struct sim_node *n)
{
    return n->pg.proc == PG_RUNNING && n->pg.in_recovery && n->pg.streaming && s->n;
}

bool check_all_settled(struct sim *s, char *why, size_t why_bytes)
{
    const struct sim_keys *k = &s->store.keys;

    s->check.unsettled = SIM_RULE_not_settled;
    if (nothing_to_lead_with(s))
        return true;
    if (!check_leader_settled(s)) {
        snprintf(why, why_bytes, "no leader");
        return false;
    }
    if (k->failover.exists && (k->failover.leader >= 0 || k->failover.candidate >= 0)) {
        s->check.unsettled = SIM_RULE_switchover_open;
        snprintf(why, why_bytes, "a switchover is still asked for");
        return false;
    }
    for (unsigned i = 0; i < s->n; i++) {
        const struct sim_node *n = &s->nodes[i];

        if (!n->running && !foreign(s, n)) {
            snprintf(why, why_bytes, "%s: its agent does not run", n->name);
            return false;
        }
        if (n->watchdog.counting && !n->watchdog.open) {
            snprintf(why, why_bytes, "%s: nobody keeps its watchdog alive", n->name);
            return false;
        }
        if (for_people(s, n))
            continue;
        if (n->pm.working || n->pm.stop.active) {
            s->check.unsettled = SIM_RULE_job_hangs;
            snprintf(why, why_bytes, "%s: job %d is under way", n->name, (int)n->pm.job);
            return false;
        }
        if (!k->members[i].exists) {
            snprintf(why, why_bytes, "%s: no member key", n->name);
            return false;
        }
        if (i == (unsigned)k->leader_node)
            continue;
        if (!follows(s, n)) {
            snprintf(why, why_bytes, "%s does not follow (%s)", n->name, n->ha.status);
            return false;
        }
    }
    return true;
}
