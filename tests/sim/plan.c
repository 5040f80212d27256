/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/plan.c - what one seed stands for: topology, configuration, load, and the faults.
 *
 * Each seed allows itself only some kinds of faults (swarm testing): a run in which everything
 * happens at once reaches less than many runs in which few things do.
 */
#include "tests/sim/sim.h"

#include <string.h>

/* What only the plans of seeds above PLAN_FIRST_SEEDS hold begins here. */
#define FIRST_KINDS SIM_FAULT_SCHEDULED_SWITCHOVER
#define SECOND_KINDS SIM_FAULT_SLOW_ANSWERS
#define WATCHDOG_KINDS SIM_FAULT_WATCHDOG_GONE /* above PLAN_WATCHDOG_SEEDS */
#define FIFTH_KINDS SIM_FAULT_ARCHIVE_SLOW     /* above PLAN_FIFTH_SEEDS */
#define KINDS SIM_FAULT_FOREIGN_DATA           /* the rest is for scenarios */

static const struct {
    const char *name, *needs;
} kinds[SIM_FAULTS] = {
#define SIM_FAULT(id, name, needs) { name, needs },
#include "tests/sim/fault.def"
#undef SIM_FAULT
};

const char *fault_name(enum sim_fault_kind kind)
{
    return kinds[kind].name;
}

static bool needs(enum sim_fault_kind kind, char what)
{
    return strchr(kinds[kind].needs, what) != NULL;
}

static void make_config(struct sim_config *c, struct sim_rng *r)
{
    memset(c, 0, sizeof(*c));
    c->ttl_ms = 30000;
    c->loop_wait_ms = c->retry_timeout_ms = 10000;
    if (sim_rng_permille(r, 500)) {
        c->loop_wait_ms = sim_rng_range(r, 1, 10) * 1000;
        c->retry_timeout_ms = sim_rng_range(r, 3, 10) * 1000;
        c->ttl_ms = sim_rng_range(r, 20, 60) * 1000;
        if (c->ttl_ms < c->loop_wait_ms + 2 * c->retry_timeout_ms)
            c->ttl_ms = c->loop_wait_ms + 2 * c->retry_timeout_ms;
    }
    c->primary_start_timeout_ms = sim_rng_permille(r, 200)   ? 0
                                  : sim_rng_permille(r, 300) ? sim_rng_range(r, 5, 60) * 1000
                                                             : 300000;
    c->maximum_lag = sim_rng_permille(r, 250) ? sim_rng_range(r, 1, 64) * 1024 : 1048576;
    c->check_timeline = sim_rng_permille(r, 300);
    c->primary_race_backoff_ms = sim_rng_permille(r, 150) ? sim_rng_range(r, 5, 40) * 1000 : 0;
}

static void make_fault(struct sim_plan *p, struct sim_rng *r, struct sim_fault *f)
{
    uint64_t ttl_s = p->config.ttl_ms / 1000;

    f->at_us = sim_rng_range(r, p->faults_from_us, p->faults_until_us - SIM_S);
    if (!p->faults_from_us && sim_rng_permille(r, 300)) /* while the cluster is being made */
        f->at_us = sim_rng_range(r, 0, 20 * SIM_S);
    f->node = needs(f->kind, 'N') ? (int)sim_rng_below(r, p->nodes) : -1;
    f->dur_us = 0;
    if (needs(f->kind, 'D')) {
        /* short, about the budget, or long */
        uint64_t ms = sim_rng_permille(r, 400)   ? sim_rng_range(r, 50, 3000)
                      : sim_rng_permille(r, 500) ? sim_rng_range(r, 3000, ttl_s * 1000)
                                                 : sim_rng_range(r, ttl_s * 1000, ttl_s * 3000);
        f->dur_us = ms * SIM_MS;
    }
    switch (f->kind) {
    case SIM_FAULT_STORE_SLOW:
        f->arg = (int64_t)sim_rng_range(r, 50, p->config.retry_timeout_ms + 1000);
        break;
    case SIM_FAULT_LOST_REQUESTS:
    case SIM_FAULT_LOST_REPLIES:
    case SIM_FAULT_STORE_DENIES:
    case SIM_FAULT_STORE_NO_LEADER:
        f->arg = (int64_t)sim_rng_range(r, 50, 1000);
        break;
    case SIM_FAULT_PG_CRASH:
        f->arg = sim_rng_permille(r, 500) ? 0 : (int64_t)sim_rng_range(r, 1000, 90000);
        break;
    case SIM_FAULT_PG_CRASH_LOOP:
        f->arg = (int64_t)sim_rng_range(r, 500, 15000);
        break;
    case SIM_FAULT_START_FAILS:
        f->arg = (int64_t)sim_rng_range(r, 1, 4);
        break;
    case SIM_FAULT_STOP_SLOW:
    case SIM_FAULT_PROMOTE_SLOW:
    case SIM_FAULT_PRE_PROMOTE_SLOW:
    case SIM_FAULT_REPL_LAG:
    case SIM_FAULT_SLOW_ANSWERS:
        f->arg = (int64_t)sim_rng_range(r, 500, 20000);
        break;
    case SIM_FAULT_AGENT_KILL_WITHIN:
        f->arg = (int64_t)sim_rng_below(r, 12);
        break;
    case SIM_FAULT_ARCHIVE_SLOW:
        f->arg = (int64_t)sim_rng_range(r, 1000, 120000);
        break;
    case SIM_FAULT_WALL_STEP:
        f->arg = (int64_t)sim_rng_range(r, 0, 1200) - 600;
        break;
    case SIM_FAULT_SWITCHOVER:
        f->arg = (int64_t)sim_rng_below(r, p->nodes + 1) - 1;
        break;
    case SIM_FAULT_FAILOVER:
        f->arg = (int64_t)sim_rng_below(r, p->nodes);
        break;
    case SIM_FAULT_CONFIG:
        f->arg = (int64_t)sim_rng_range(
            r, (p->config.loop_wait_ms + 2 * p->config.retry_timeout_ms) / 1000, 60);
        if (f->arg < 20)
            f->arg = 20;
        break;
    case SIM_FAULT_SCHEDULED_SWITCHOVER:
    case SIM_FAULT_BAD_SCHEDULE:
    case SIM_FAULT_SCHEDULE_RESTART:
    case SIM_FAULT_SCHEDULE_RESTART_IF:
        f->arg = (int64_t)sim_rng_range(r, 0, 140) - 20; /* some have passed */
        break;
    case SIM_FAULT_RESTART_IF:
        f->arg = (int64_t)sim_rng_below(r, SIM_RESTARTS);
        break;
    case SIM_FAULT_REINIT_HOW:
        f->arg = (int64_t)sim_rng_range(r, 1, 3);
        break;
    case SIM_FAULT_TAGS:
        f->arg = (int64_t)sim_rng_below(r, 16);
        break;
    case SIM_FAULT_WHEN:
        f->arg = (int64_t)sim_rng_below(r, SIM_CLASSES * SIM_MEETINGS);
        break;
    case SIM_FAULT_LOOP_WAIT:
        f->arg = (int64_t)sim_rng_range(r, 1, p->config.loop_wait_ms / 1000);
        break;
    case SIM_FAULT_RETRY_TIMEOUT:
        f->arg = (int64_t)sim_rng_range(r, 3, p->config.retry_timeout_ms / 1000);
        break;
    case SIM_FAULT_START_TIMEOUT:
        f->arg = (int64_t)(sim_rng_permille(r, 300) ? 0 : sim_rng_range(r, 5, 300));
        break;
    case SIM_FAULT_WATCHDOG_MODE:
        f->arg = (int64_t)sim_rng_below(r, 3);
        break;
    case SIM_FAULT_MAXIMUM_LAG:
        f->arg = (int64_t)sim_rng_range(r, 1, 1024) * 1024;
        break;
    default:
        f->arg = 0;
        break;
    }
}

/* What only later seeds may have. */
static void make_more(struct sim_plan *p, struct sim_rng *r)
{
    if (sim_rng_permille(r, 250)) {
        p->sync.any = sim_rng_permille(r, 500);
        p->sync.n =
            sim_rng_permille(r, 600) ? p->nodes - 1 : (unsigned)sim_rng_range(r, 1, p->nodes - 1);
        p->sync.local_pm = sim_rng_permille(r, 300) ? 200 : 0;
        for (unsigned i = 0; i < p->nodes; i++)
            p->tags[i].replicatefrom[0] = 0; /* only who streams from the leader confirms */
    }
    if (sim_rng_permille(r, 150)) /* from the first moment on */
        p->faults_from_us = 0;
    if (sim_rng_permille(r, 200))
        p->bootstrap_recovery_us = sim_rng_range(r, 1, 60) * SIM_S;
    for (unsigned i = 0; i < p->nodes; i++) {
        p->no_bootstrap[i] = i && sim_rng_permille(r, 200);
        if (sim_rng_permille(r, 100))
            p->bootstrap_fails[i] = (unsigned)sim_rng_range(r, 1, 2);
        if (sim_rng_permille(r, 100))
            p->post_bootstrap_fails[i] = (unsigned)sim_rng_range(r, 1, 2);
    }
}

/* The first two have what is required, so that somebody may lead. */
static void make_watchdogs(struct sim_plan *p, struct sim_rng *r)
{
    p->watchdog = sim_rng_permille(r, 250)   ? HA_WATCHDOG_OFF
                  : sim_rng_permille(r, 400) ? HA_WATCHDOG_AUTOMATIC
                                             : HA_WATCHDOG_REQUIRED;
    p->safety_margin = sim_rng_permille(r, 700)   ? 5
                       : sim_rng_permille(r, 700) ? -1
                                                  : (int)sim_rng_range(r, 0, 16);
    for (unsigned i = 0; i < p->nodes; i++) {
        struct sim_device *d = &p->devices[i];
        bool must = i < 2 && p->watchdog == HA_WATCHDOG_REQUIRED;

        d->kind = !must && sim_rng_permille(r, 200) ? SIM_DEVICE_NONE
                  : sim_rng_permille(r, 300)        ? SIM_DEVICE_SOFT
                                                    : SIM_DEVICE_HARDWARE;
        if (!must && sim_rng_permille(r, 200))
            d->fixed_ms = sim_rng_range(r, 8, 60) * 1000;
        d->stays = sim_rng_permille(r, 100);
    }
}

/* A moment after another one, and on the same node: what one has begun the next one meets. */
static void join_burst(const struct sim_plan *p, struct sim_rng *r, struct sim_fault *f)
{
    uint64_t at_us = f[-1].at_us + sim_rng_range(r, 0, 5 * SIM_S);

    if (at_us < p->faults_until_us - SIM_S)
        f->at_us = at_us;
    if (f->node >= 0 && f[-1].node >= 0)
        f->node = f[-1].node;
}

void plan_make(struct sim_plan *p, uint64_t seed)
{
    struct sim_rng r;
    bool allowed[SIM_FAULTS];
    unsigned n_allowed = 0, wiped = 0, kinds_n;

    kinds_n = seed > PLAN_FIFTH_SEEDS      ? KINDS
              : seed > PLAN_WATCHDOG_SEEDS ? FIFTH_KINDS
              : seed > PLAN_SECOND_SEEDS   ? WATCHDOG_KINDS
              : seed > PLAN_FIRST_SEEDS    ? SECOND_KINDS
                                           : FIRST_KINDS;
    memset(p, 0, sizeof(*p));
    sim_rng_seed(&r, seed);
    p->seed = seed;
    p->nodes = sim_rng_permille(&r, 600) ? 3 : (unsigned)sim_rng_range(&r, 2, SIM_NODES_MAX);
    make_config(&p->config, &r);
    for (unsigned i = 0; i < p->nodes; i++) {
        struct pgv_tags *t = &p->tags[i];

        t->failover_priority = t->sync_priority = 1;
        if (sim_rng_permille(&r, 100))
            t->failover_priority = (int)sim_rng_range(&r, 0, 5);
        t->nofailover = i >= 2 && (t->failover_priority == 0 || sim_rng_permille(&r, 100));
        if (t->failover_priority == 0)
            t->failover_priority = t->nofailover ? 0 : 1;
        t->clonefrom = sim_rng_permille(&r, 100);
        if (i >= 2 && sim_rng_permille(&r, 100)) {
            t->replicatefrom[0] = 'n';
            t->replicatefrom[1] = (char)('1' + sim_rng_below(&r, i));
        }
        p->ppm[i] = (int64_t)sim_rng_below(&r, 401) - 200;
        p->lag_us[i] = sim_rng_permille(&r, 200) ? sim_rng_range(&r, 0, 3 * SIM_S) : 0;
    }
    p->rewind = sim_rng_permille(&r, 850);
    p->remove_on_diverged = !p->rewind || sim_rng_permille(&r, 200);
    p->remove_on_rewind_failure = sim_rng_permille(&r, 500);
    p->client_every_us = sim_rng_range(&r, 200, 3000) * SIM_MS;
    p->client_bytes = sim_rng_range(&r, 100, 20000);
    p->latency_us = sim_rng_range(&r, 300, 5000);
    p->faults_from_us = 90 * SIM_S;
    p->faults_until_us = p->faults_from_us + sim_rng_range(&r, 120, 3600) * SIM_S;
    if (seed > PLAN_FIRST_SEEDS)
        make_more(p, &r);
    if (seed > PLAN_WATCHDOG_SEEDS)
        make_watchdogs(p, &r);
    for (unsigned k = 0; k < kinds_n; k++) {
        allowed[k] = sim_rng_permille(&r, 300);
        if (k == SIM_FAULT_MACHINE_STEAL && sim_rng_permille(&r, 800))
            allowed[k] = false;
        n_allowed += allowed[k];
    }
    if (!n_allowed || sim_rng_permille(&r, 30))
        return;
    p->n_faults =
        (unsigned)sim_rng_range(&r, 2, 4 + (p->faults_until_us - p->faults_from_us) / SIM_S / 60);
    if (p->n_faults > SIM_FAULTS_MAX)
        p->n_faults = SIM_FAULTS_MAX;
    for (unsigned i = 0; i < p->n_faults; i++) {
        struct sim_fault *f = &p->faults[i];
        enum sim_fault_kind k;

        do
            k = (enum sim_fault_kind)sim_rng_below(&r, kinds_n);
        while (!allowed[k]);
        f->kind = k;
        make_fault(p, &r, f);
        if (seed > PLAN_FIRST_SEEDS && i && sim_rng_permille(&r, 250))
            join_burst(p, &r, f);
        /* All the data must not go. */
        if (f->kind == SIM_FAULT_DISK_WIPED && wiped++)
            f->off = true;
    }
    /* In the order of time, for people. */
    for (unsigned i = 1; i < p->n_faults; i++)
        for (unsigned k = i; k && p->faults[k].at_us < p->faults[k - 1].at_us; k--) {
            struct sim_fault f = p->faults[k];
            p->faults[k] = p->faults[k - 1];
            p->faults[k - 1] = f;
        }
}

void plan_print(const struct sim_plan *p, FILE *to)
{
    const struct sim_config *c = &p->config;

    fprintf(to,
            "plan seed=%llu nodes=%u ttl=%llu loop_wait=%llu retry_timeout=%llu start_timeout=%llu "
            "maximum_lag=%llu check_timeline=%d race_backoff=%llu rewind=%d remove_on_diverged=%d "
            "remove_on_rewind_failure=%d client=%llu us x %llu B latency=%llu us\n",
            (unsigned long long)p->seed, p->nodes, (unsigned long long)c->ttl_ms,
            (unsigned long long)c->loop_wait_ms, (unsigned long long)c->retry_timeout_ms,
            (unsigned long long)c->primary_start_timeout_ms, (unsigned long long)c->maximum_lag,
            c->check_timeline, (unsigned long long)c->primary_race_backoff_ms, p->rewind,
            p->remove_on_diverged, p->remove_on_rewind_failure,
            (unsigned long long)p->client_every_us, (unsigned long long)p->client_bytes,
            (unsigned long long)p->latency_us);
    for (unsigned i = 0; i < p->nodes; i++)
        if (p->tags[i].nofailover || p->tags[i].failover_priority != 1 ||
            p->tags[i].replicatefrom[0] || p->lag_us[i])
            fprintf(to, "plan n%u nofailover=%d priority=%d replicatefrom=%s lag=%llu ms\n", i + 1,
                    p->tags[i].nofailover, p->tags[i].failover_priority, p->tags[i].replicatefrom,
                    (unsigned long long)(p->lag_us[i] / SIM_MS));
    if (p->sync.n) {
        char names[64];

        sync_print(&p->sync, names, sizeof(names));
        fprintf(to, "plan synchronous_standby_names='%s' local=%u of 1000\n", names,
                p->sync.local_pm);
    }
    if (p->watchdog)
        fprintf(to, "plan watchdog %s safety_margin=%d\n",
                p->watchdog == HA_WATCHDOG_REQUIRED ? "required" : "automatic", p->safety_margin);
    for (unsigned i = 0; i < p->nodes && p->watchdog; i++)
        fprintf(to, "plan n%u watchdog device=%s fixed=%llu s stays=%d\n", i + 1,
                p->devices[i].kind == SIM_DEVICE_NONE   ? "none"
                : p->devices[i].kind == SIM_DEVICE_SOFT ? "soft"
                                                        : "hardware",
                (unsigned long long)(p->devices[i].fixed_ms / 1000), p->devices[i].stays);
    if (p->bootstrap_recovery_us)
        fprintf(to, "plan custom bootstrap, recovery takes %llu s\n",
                (unsigned long long)(p->bootstrap_recovery_us / SIM_S));
    for (unsigned i = 0; i < p->nodes; i++)
        if (p->no_bootstrap[i] || p->bootstrap_fails[i] || p->post_bootstrap_fails[i])
            fprintf(to, "plan n%u bootstrap=%d bootstrap_fails=%u post_bootstrap_fails=%u\n", i + 1,
                    !p->no_bootstrap[i], p->bootstrap_fails[i], p->post_bootstrap_fails[i]);
    for (unsigned i = 0; i < p->n_faults; i++) {
        const struct sim_fault *f = &p->faults[i];

        if (f->off)
            continue;
        fprintf(to, "plan fault %-15s at %llu.%06llu s", fault_name(f->kind),
                (unsigned long long)(f->at_us / SIM_S), (unsigned long long)(f->at_us % SIM_S));
        if (f->node >= 0)
            fprintf(to, " n%d", f->node + 1);
        if (needs(f->kind, 'D'))
            fprintf(to, " for %llu ms", (unsigned long long)(f->dur_us / SIM_MS));
        if (needs(f->kind, 'A'))
            fprintf(to, " arg %lld", (long long)f->arg);
        fputc('\n', to);
    }
    fprintf(to, "plan faults end at %llu s\n", (unsigned long long)(p->faults_until_us / SIM_S));
}

/*
 * The lease must end (ttl), somebody must look (two loops, and one that met a store still ill,
 * retry_timeout each), the race may be held back, a start or a recovery under way must end.
 */
uint64_t plan_leader_bound_us(const struct sim_plan *p)
{
    const struct sim_config *c = &p->config;
    uint64_t ttl = c->ttl_ms;

    /* loop_wait and retry_timeout are only ever lowered. */
    for (unsigned i = 0; i < p->n_faults; i++)
        if (p->faults[i].kind == SIM_FAULT_CONFIG && !p->faults[i].off &&
            (uint64_t)p->faults[i].arg * 1000 > ttl)
            ttl = (uint64_t)p->faults[i].arg * 1000;
    return (ttl + 3 * c->loop_wait_ms + 2 * c->retry_timeout_ms + c->primary_race_backoff_ms +
            180000) *
               SIM_MS +
           p->bootstrap_recovery_us;
}

/* Everybody compares, rewinds or copies, one after a failed one. */
uint64_t plan_settled_bound_us(const struct sim_plan *p)
{
    return plan_leader_bound_us(p) + (240 * SIM_S + 6 * p->config.loop_wait_ms * SIM_MS);
}
