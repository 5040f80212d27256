/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/scenario.c - scripts: what happens when, and what must be so then.
 *
 *   nodes 3 | seed 7 | ttl 30 | loop_wait 10 | retry_timeout 10 | start_timeout 300
 *   maximum_lag 1048576 | check_timeline 1 | race_backoff 40 | rewind 0 | remove_on_diverged 1
 *   client 1000 500          one write per so many ms, of so many bytes
 *   nofailover n3 | priority n2 5 | replicatefrom n3 n2 | lag n2 500
 *   sync ANY 1 (*) | sync 2 (n1,n2,n3) | sync_local 200
 *                            synchronous_standby_names; so many of 1000 commits do not wait
 *   watchdog off|automatic|required | safety_margin 5
 *   device n1 none|hardware|soft [fixed S] [stays]       hardware unless it is said
 *   bootstrap_fails n1 1 | post_bootstrap_fails n1 1 | bootstrap_recovery 30 | no_bootstrap n2
 *   early 2 FAULT [n1] [for MS] [arg A]   before anybody leads: seconds since the very beginning
 *   at 10 FAULT [n1] [for MS] [arg A]
 *   at 10 when n1 STATE restart | reinit | schedule | unschedule | wake | shutdown | tags | facts |
 *                       orphan | follow | checkpoint | slots | peers
 *                            as soon as it is in that state (reach.c; '_' for ' '), or, with 'any',
 *                            once in each; the last four
 *                            are answers to questions under way (slow_answers holds some back)
 *   at 20 expect WHAT        within 20 60 expect WHAT        throughout 20 60 expect WHAT
 *
 * Times are seconds since n1, whose agent starts first, leads and all others follow it (whoever
 * does, when a bootstrap fails). WHAT: leader n1 | leader other n1 | leader none | writable n1 |
 * writable none | following n2 promotions N | demotions N | lost BYTES | odd N | settled | status
 * n1 SOME TEXT acknowledging n1 | waiting n1 (its commits, for standbys) | sync_losses N restarted
 * n1 (its server, since the begin) | armed n1 (its watchdog counts) | resets N (by watchdogs). That
 * no checker complains is always expected.
 */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

struct script {
    struct sim *s;
    struct sim_plan plan;
    bool begun, ok, any_leader;
    uint64_t base_us;
    uint64_t promotions, demotions, lost, sync_losses, resets;
    int64_t started_us[SIM_NODES_MAX];
    unsigned line;
    struct pgv_error *err;
};

static int node_of(const char *word)
{
    return word && word[0] == 'n' && word[1] >= '1' && word[1] <= '9' && !word[2] ? word[1] - '1'
                                                                                  : -1;
}

/* Seconds, to the millisecond. */
static uint64_t moment(const char *word)
{
    return (uint64_t)(strtod(word, NULL) * 1000 + 0.5) * SIM_MS;
}

static bool complain(struct script *x, const char *what, const char *word)
{
    return pgv_fail(x->err, PGV_EINVALID, "line %u: %s '%s'", x->line, what, word ? word : "");
}

static bool begin(struct script *x)
{
    char why[160] = "";

    x->begun = true;
    x->plan.scripted = true;
    x->plan.faults_from_us = 0;
    sim_begin(x->s, &x->plan);
    while (x->s->now_us < 300 * SIM_S) {
        if (!sim_run_until(x->s, x->s->now_us + SIM_S))
            return complain(x,
                            "a checker complains before the first leader leads:", x->s->check.text);
        if (x->s->now_us > 20 * SIM_S && check_all_settled(x->s, why, sizeof(why)) &&
            x->s->store.keys.leader && (x->any_leader || x->s->store.keys.leader_node == 0))
            break;
    }
    if (x->s->now_us >= 300 * SIM_S)
        return complain(x, "the cluster does not come up:", why);
    x->base_us = x->s->now_us + 2 * SIM_S;
    x->promotions = x->s->stats.promotions;
    x->demotions = x->s->stats.demotions;
    x->lost = x->s->stats.lost_bytes;
    x->sync_losses = x->s->stats.sync_losses;
    x->resets = x->s->stats.resets;
    for (unsigned i = 0; i < x->s->n; i++)
        x->started_us[i] = x->s->nodes[i].pg.start_wall_us;
    return sim_run_until(x->s, x->base_us);
}

static bool holds(struct script *x, char **w, unsigned n, bool *ret)
{
    struct sim *s = x->s;
    const struct sim_keys *k = &s->store.keys;
    const char *what = n ? w[0] : "", *arg = n > 1 ? w[1] : "";
    int i = node_of(arg);
    unsigned odd = 0;
    char why[160];

    *ret = false;
    if (!strcmp(what, "leader")) {
        bool leads = k->leader && s->nodes[k->leader_node].pg.writable;

        if (!strcmp(arg, "none"))
            *ret = !k->leader;
        else if (!strcmp(arg, "other"))
            *ret = leads && n > 2 && k->leader_node != node_of(w[2]);
        else
            *ret = leads && k->leader_node == i;
    } else if (!strcmp(what, "writable")) {
        int who = -1;
        unsigned many = 0;

        for (unsigned v = 0; v < s->n; v++)
            if (s->nodes[v].pg.writable && !s->nodes[v].paused) {
                who = (int)v;
                many++;
            }
        *ret = !strcmp(arg, "none") ? many == 0 : many == 1 && who == i;
    } else if (!strcmp(what, "following") && i >= 0) {
        *ret = s->nodes[i].pg.streaming && s->nodes[i].pg.in_recovery;
    } else if (!strcmp(what, "upstream") && i >= 0 && n > 2) {
        *ret = s->nodes[i].pg.streaming && s->nodes[i].pg.upstream == node_of(w[2]);
    } else if (!strcmp(what, "promotions")) {
        *ret = s->stats.promotions - x->promotions == strtoull(arg, NULL, 10);
    } else if (!strcmp(what, "demotions")) {
        *ret = s->stats.demotions - x->demotions == strtoull(arg, NULL, 10);
    } else if (!strcmp(what, "lost")) {
        *ret = s->stats.lost_bytes - x->lost == strtoull(arg, NULL, 10);
    } else if (!strcmp(what, "odd")) {
        for (unsigned o = 0; o < SIM_ODDS; o++)
            odd += s->check.odd_n[o];
        *ret = odd == strtoul(arg, NULL, 10);
    } else if (!strcmp(what, "armed") && i >= 0) {
        *ret = s->nodes[i].watchdog.counting;
    } else if (!strcmp(what, "disarmed") && i >= 0) {
        *ret = !s->nodes[i].watchdog.counting;
    } else if (!strcmp(what, "resets")) {
        *ret = s->stats.resets - x->resets == strtoull(arg, NULL, 10);
    } else if (!strcmp(what, "sync_losses")) {
        *ret = s->stats.sync_losses - x->sync_losses == strtoull(arg, NULL, 10);
    } else if (!strcmp(what, "acknowledging") && i >= 0) {
        *ret = s->nodes[i].seen.acked_us + 2 * SIM_S + 3 * s->plan.client_every_us >= s->now_us;
    } else if (!strcmp(what, "waiting") && i >= 0) {
        *ret = s->nodes[i].waiting.n && s->nodes[i].waiting.v[0].since_us + SIM_S < s->now_us &&
               s->nodes[i].seen.acked_us + SIM_S < s->now_us;
    } else if (!strcmp(what, "restarted") && i >= 0) {
        *ret =
            s->nodes[i].pg.proc == PG_RUNNING && s->nodes[i].pg.start_wall_us != x->started_us[i];
    } else if (!strcmp(what, "settled")) {
        *ret = check_all_settled(s, why, sizeof(why));
    } else if (!strcmp(what, "status") && i >= 0) {
        char text[HA_TEXT_BYTES] = "";

        for (unsigned v = 2; v < n; v++) {
            size_t len = strlen(text);
            snprintf(text + len, sizeof(text) - len, "%s%s", v > 2 ? " " : "", w[v]);
        }
        *ret = strstr(s->nodes[i].ha.status, text) != NULL;
    } else {
        return complain(x, "cannot be expected:", what);
    }
    return true;
}

static bool failed(struct script *x, char **w, unsigned n)
{
    char why[160] = "";

    printf("line %u: at %.3f s not so:", x->line,
           (double)(x->s->now_us - x->base_us) / (double)SIM_S);
    for (unsigned i = 0; i < n; i++)
        printf(" %s", w[i]);
    if (!strcmp(w[0], "settled") && !check_all_settled(x->s, why, sizeof(why)))
        printf(" (%s)", why);
    printf("\n");
    for (unsigned i = 0; i < x->s->n; i++)
        printf("  %s %s%s: %s\n", x->s->nodes[i].name, pgv_role_name(x->s->nodes[i].pm.facts.role),
               x->s->nodes[i].pg.writable ? ", writable" : "", x->s->nodes[i].ha.status);
    x->ok = false;
    return true;
}

static bool meeting(const char *state, const char *what, int64_t *ret)
{
    static const char *const names[SIM_MEETINGS] = {
        "restart", "reinit", "schedule", "unschedule", "wake",  "shutdown", "tags",
        "facts",   "orphan", "follow",   "checkpoint", "slots", "peers"
    };
    int class = strcmp(state, "any") == 0 ? SIM_CLASSES : reach_class_by_name(state);

    for (int i = 0; class >= 0 && i < SIM_MEETINGS; i++)
        if (!strcmp(what, names[i])) {
            *ret = (int64_t) class * SIM_MEETINGS + i;
            return true;
        }
    return false;
}

static bool fault(struct script *x, struct sim_plan *p, uint64_t at_us, char **w, unsigned n)
{
    struct sim_fault *f = &p->faults[p->n_faults];
    unsigned k;

    for (k = 0; k < SIM_FAULTS && strcmp(fault_name((enum sim_fault_kind)k), w[0]) != 0; k++)
        ;
    if (k == SIM_FAULTS || p->n_faults == SIM_FAULTS_MAX)
        return complain(x, "no such fault:", w[0]);
    memset(f, 0, sizeof(*f));
    f->kind = (enum sim_fault_kind)k;
    f->at_us = at_us;
    f->node = -1;
    for (unsigned i = 1; i < n; i++) {
        if (f->kind == SIM_FAULT_WHEN && i + 1 < n && meeting(w[i], w[i + 1], &f->arg))
            i++;
        else if (node_of(w[i]) >= 0)
            f->node = node_of(w[i]);
        else if (!strcmp(w[i], "for") && i + 1 < n)
            f->dur_us = strtoull(w[++i], NULL, 10) * SIM_MS;
        else if (!strcmp(w[i], "arg") && i + 1 < n)
            f->arg = node_of(w[i + 1]) >= 0 ? node_of(w[i + 1]) : strtoll(w[i + 1], NULL, 10), i++;
        else
            return complain(x, "what is", w[i]);
    }
    p->n_faults++;
    return true;
}

static bool timed(struct script *x, char **w, unsigned n)
{
    bool at = !strcmp(w[0], "at"), through = !strcmp(w[0], "throughout"), so = false;
    uint64_t from = moment(w[1]), to = at ? from : moment(w[2]);
    unsigned skip = at ? 2 : 3;

    if (!x->begun && !begin(x))
        return false;
    from += x->base_us;
    to += x->base_us;
    if (!sim_run_until(x->s, from))
        return true;
    if (strcmp(w[skip], "expect") != 0) {
        struct sim_plan *p = &x->s->plan;

        if (!at)
            return complain(x, "expected 'expect', not", w[skip]);
        if (!fault(x, p, x->s->now_us, w + skip, n - skip))
            return false;
        fault_schedule(x->s, p->n_faults - 1);
        return true;
    }
    w += skip + 1;
    n -= skip + 1;
    do {
        if (!holds(x, w, n, &so))
            return false;
        if (so != through || x->s->now_us >= to)
            break;
    } while (sim_run_until(x->s, x->s->now_us + 50 * SIM_MS));
    if (x->s->stop)
        return true;
    return so || failed(x, w, n);
}

static bool sync_setting(struct script *x, char **w, unsigned n)
{
    unsigned local_pm = x->plan.sync.local_pm;
    char text[64] = "";

    for (unsigned i = 0; i < n; i++) {
        size_t len = strlen(text);
        snprintf(text + len, sizeof(text) - len, "%s%s", i ? " " : "", w[i]);
    }
    if (!sync_parse(text, &x->plan.sync))
        return complain(x, "no synchronous_standby_names:", text);
    x->plan.sync.local_pm = local_pm;
    return true;
}

static bool device(struct script *x, char **w, unsigned n)
{
    static const char *const names[] = { "none", "hardware", "soft" };
    struct sim_device *d = &x->plan.devices[node_of(w[1])];
    unsigned k = 0;

    while (k < 3 && strcmp(names[k], w[2]) != 0)
        k++;
    if (k == 3)
        return complain(x, "no such device:", w[2]);
    d->kind = (enum sim_device_kind)k;
    for (unsigned i = 3; i < n; i++) {
        if (!strcmp(w[i], "stays"))
            d->stays = true;
        else if (!strcmp(w[i], "fixed") && i + 1 < n)
            d->fixed_ms = strtoull(w[++i], NULL, 10) * 1000;
        else
            return complain(x, "what is", w[i]);
    }
    return true;
}

static bool watchdog(struct script *x, const char *mode)
{
    static const char *const names[] = { "off", "automatic", "required" };
    unsigned k = 0;

    while (k < 3 && strcmp(names[k], mode) != 0)
        k++;
    if (k == 3)
        return complain(x, "no mode of a watchdog:", mode);
    x->plan.watchdog = (enum ha_watchdog_mode)k;
    return true;
}

static bool setting(struct script *x, char **w, unsigned n)
{
    struct sim_plan *p = &x->plan;
    uint64_t v = n > 1 ? strtoull(w[1], NULL, 10) : 0;
    int i = n > 1 ? node_of(w[1]) : -1;

    if (x->begun)
        return complain(x, "too late for", w[0]);
    if (!strcmp(w[0], "early") && n > 2) {
        x->any_leader = true;
        return fault(x, p, moment(w[1]), w + 2, n - 2);
    }
    if (!strcmp(w[0], "nodes") && v >= 1 && v <= SIM_NODES_MAX)
        p->nodes = (unsigned)v;
    else if (!strcmp(w[0], "seed"))
        p->seed = v;
    else if (!strcmp(w[0], "ttl"))
        p->config.ttl_ms = v * 1000;
    else if (!strcmp(w[0], "loop_wait"))
        p->config.loop_wait_ms = v * 1000;
    else if (!strcmp(w[0], "retry_timeout"))
        p->config.retry_timeout_ms = v * 1000;
    else if (!strcmp(w[0], "start_timeout"))
        p->config.primary_start_timeout_ms = v * 1000;
    else if (!strcmp(w[0], "maximum_lag"))
        p->config.maximum_lag = v;
    else if (!strcmp(w[0], "check_timeline"))
        p->config.check_timeline = v != 0;
    else if (!strcmp(w[0], "race_backoff"))
        p->config.primary_race_backoff_ms = v * 1000;
    else if (!strcmp(w[0], "rewind"))
        p->rewind = v != 0;
    else if (!strcmp(w[0], "remove_on_diverged"))
        p->remove_on_diverged = v != 0;
    else if (!strcmp(w[0], "client") && n > 2)
        p->client_every_us = v * SIM_MS, p->client_bytes = strtoull(w[2], NULL, 10);
    else if (!strcmp(w[0], "nofailover") && i >= 0)
        p->tags[i].nofailover = true, p->tags[i].failover_priority = 0;
    else if (!strcmp(w[0], "priority") && i >= 0 && n > 2)
        p->tags[i].failover_priority = (int)strtol(w[2], NULL, 10);
    else if (!strcmp(w[0], "replicatefrom") && i >= 0 && n > 2 && node_of(w[2]) >= 0)
        memcpy(p->tags[i].replicatefrom, w[2], 3);
    else if (!strcmp(w[0], "sync"))
        return sync_setting(x, w + 1, n - 1);
    else if (!strcmp(w[0], "sync_local"))
        p->sync.local_pm = (unsigned)v;
    else if (!strcmp(w[0], "bootstrap_fails") && i >= 0 && n > 2)
        p->bootstrap_fails[i] = (unsigned)strtoul(w[2], NULL, 10), x->any_leader = true;
    else if (!strcmp(w[0], "post_bootstrap_fails") && i >= 0 && n > 2)
        p->post_bootstrap_fails[i] = (unsigned)strtoul(w[2], NULL, 10), x->any_leader = true;
    else if (!strcmp(w[0], "watchdog") && n > 1)
        return watchdog(x, w[1]);
    else if (!strcmp(w[0], "safety_margin") && n > 1)
        p->safety_margin = (int)strtol(w[1], NULL, 10);
    else if (!strcmp(w[0], "device") && i >= 0 && n > 2)
        return device(x, w, n);
    else if (!strcmp(w[0], "sync_mode"))
        p->config.sync_mode = v != 0;
    else if (!strcmp(w[0], "bootstrap_recovery"))
        p->bootstrap_recovery_us = v * SIM_S;
    else if (!strcmp(w[0], "no_bootstrap") && i >= 0)
        p->no_bootstrap[i] = true;
    else if (!strcmp(w[0], "lag") && i >= 0 && n > 2)
        p->lag_us[i] = strtoull(w[2], NULL, 10) * SIM_MS;
    else
        return complain(x, "what is", w[0]);
    return true;
}

bool scenario_run(struct sim *s, const char *path, bool *ret_ok, struct pgv_error *err)
{
    struct script *x = calloc(1, sizeof(*x));
    char line[400], *w[24];
    FILE *f = fopen(path, "r");
    bool ok = false;

    if (!f || !x) {
        (void)pgv_fail(err, PGV_ESYS, "cannot be read");
        goto out;
    }
    x->s = s;
    x->err = err;
    x->ok = true;
    plan_make(&x->plan, 7);
    x->plan.n_faults = 0;
    x->plan.nodes = 3;
    x->plan.config = (struct sim_config){ .ttl_ms = 30000,
                                          .loop_wait_ms = 10000,
                                          .retry_timeout_ms = 10000,
                                          .primary_start_timeout_ms = 300000,
                                          .maximum_lag = 1048576 };
    x->plan.rewind = true;
    x->plan.remove_on_diverged = false;
    x->plan.client_every_us = 500 * SIM_MS;
    x->plan.client_bytes = 500;
    x->plan.latency_us = 1000;
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        x->plan.tags[i] = (struct pgv_tags){ .failover_priority = 1, .sync_priority = 1 };
        x->plan.lag_us[i] = 0;
        x->plan.devices[i].kind = SIM_DEVICE_HARDWARE;
    }
    x->plan.safety_margin = 5;
    while (fgets(line, sizeof(line), f)) {
        unsigned n = 0;
        char *save = NULL;

        x->line++;
        for (char *t = strtok_r(line, " \t\n", &save); t && t[0] != '#' && n < 24;
             t = strtok_r(NULL, " \t\n", &save))
            w[n++] = t;
        if (!n)
            continue;
        if ((n > 2 && !strcmp(w[0], "at")) ||
            (n > 3 && (!strcmp(w[0], "within") || !strcmp(w[0], "throughout")))) {
            if (!timed(x, w, n))
                goto out;
        } else if (!setting(x, w, n)) {
            goto out;
        }
        if (x->begun && (s->stop || !x->ok))
            break;
    }
    if (!x->begun) {
        (void)pgv_fail(err, PGV_EINVALID, "nothing happens in it");
        goto out;
    }
    if (s->stop) {
        printf("line %u: %s: %s\n", x->line, check_rule_name(s->check.rule), s->check.text);
        x->ok = false;
    }
    *ret_ok = x->ok;
    printf("%s: %s\n", path, x->ok ? "ok" : "FAILED");
    ok = true;
out:
    if (f)
        fclose(f);
    free(x);
    return ok;
}
