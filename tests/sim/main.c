/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/main.c - the command line: one seed, many, for a time, a scenario, a smaller schedule.
 */
#include "tests/sim/sim.h"

#include "base/file.h"

#include <glob.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TRACE_END_LINES 40

static uint64_t running_seed; /* for an assertion of the brain */

static void on_abort(int sig)
{
    char text[192];
    int n =
        snprintf(text, sizeof(text),
                 "\nABORTED seed=%llu commit=%s repeat: tests/sim/run --seed %llu --trace\n",
                 (unsigned long long)running_seed, sim_commit, (unsigned long long)running_seed);

    (void)sig;
    fflush(NULL); /* the trace up to here; nobody else holds stdio */
    if (n > 0 && write(2, text, (size_t)n) < 0)
        _exit(3);
    _exit(2);
}

/* ---- one run
 * ------------------------------------------------------------------------------------------ */

static bool run_plan(struct sim *s, const struct sim_plan *p, FILE *trace, bool mark)
{
    bool ok;

    running_seed = p->seed;
    s->trace = trace;
    s->mark = mark;
    if (trace)
        plan_print(p, trace);
    ok = sim_run(s, p);
    s->trace = NULL;
    return ok;
}

/* The last lines of what has been written. */
static void print_end_of(FILE *trace)
{
    long at[TRACE_END_LINES + 1]; /* where lines begin; the last one is the end */
    char line[1024];
    const unsigned long most = TRACE_END_LINES + 1;
    unsigned long n = 0;

    rewind(trace);
    do
        at[n++ % most] = ftell(trace);
    while (fgets(line, sizeof(line), trace));
    fseek(trace, n > most ? at[n % most] : 0, SEEK_SET);
    while (fgets(line, sizeof(line), trace))
        printf("  %s", line);
}

/* The same run once more; what is counted of it, and recorded, stands already. */
static void print_end(struct sim *s, const struct sim_plan *p)
{
    static struct sim_stats stats;
    struct sim_recording *recording = s->recording;
    enum sim_rule rule = s->check.rule;
    uint64_t at_us = s->check.at_us;
    FILE *trace = tmpfile();

    if (!trace)
        return;
    stats = s->stats;
    s->recording = NULL;
    if (run_plan(s, p, trace, s->mark) || s->check.rule != rule || s->check.at_us != at_us)
        printf("the same run once more is another one\n");
    s->recording = recording;
    s->stats = stats;
    print_end_of(trace);
    fclose(trace);
}

/* @traced: all of it stands there already. */
static void print_failure(struct sim *s, const struct sim_plan *p, bool traced)
{
    const struct sim_check *c = &s->check;

    printf("FAILED seed=%llu commit=%s at=%llu.%06llu s rule=%s: %s\n", (unsigned long long)p->seed,
           sim_commit, (unsigned long long)(c->at_us / SIM_S),
           (unsigned long long)(c->at_us % SIM_S), check_rule_name(c->rule), c->text);
    printf("repeat: tests/sim/run --seed %llu --trace      smaller: tests/sim/run --shrink %llu\n",
           (unsigned long long)p->seed, (unsigned long long)p->seed);
    if (!traced)
        print_end(s, p);
    fflush(stdout);
}

/* ---- shrinking
 * ---------------------------------------------------------------------------------------- */

/** How a run ends: 0 well, by which rule + 1 not, or by an assertion. */
#define ENDS_ABORTED 200

/* In a process of its own, which an assertion of the brain may end. */
static int end_of(struct sim *s, const struct sim_plan *p)
{
    int status = 0;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(ENDS_ABORTED + 1);
        _exit(run_plan(s, p, NULL, false) ? 0 : (int)s->check.rule + 1);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("fork");
        exit(2);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : ENDS_ABORTED;
}

static int shrink(struct sim *s, uint64_t seed, FILE *trace)
{
    struct sim_recording *recording = s->recording;
    static struct sim_plan p, q;
    bool smaller = true;
    int end;

    s->recording = NULL; /* only what is left over is recorded */
    plan_make(&p, seed);
    end = end_of(s, &p);
    if (!end) {
        printf("seed %llu does not fail\n", (unsigned long long)seed);
        return 0;
    }
    while (smaller) {
        smaller = false;
        /* Nothing after the violation matters. */
        for (unsigned i = 0; i < p.n_faults; i++)
            if (!p.faults[i].off) {
                q = p;
                q.faults[i].off = true;
                if (end_of(s, &q) == end) {
                    p = q;
                    smaller = true;
                }
            }
        for (unsigned i = 0; i < p.n_faults; i++)
            if (!p.faults[i].off && p.faults[i].dur_us > 2 * SIM_S) {
                q = p;
                q.faults[i].dur_us /= 2;
                if (end_of(s, &q) == end) {
                    p = q;
                    smaller = true;
                }
            }
        if (p.nodes > 2) {
            bool used = false;

            q = p;
            q.nodes--;
            for (unsigned i = 0; i < q.n_faults; i++)
                used |= !q.faults[i].off && q.faults[i].node == (int)q.nodes;
            if (!used && end_of(s, &q) == end) {
                p = q;
                smaller = true;
            }
        }
    }
    s->recording = recording;
    if (!trace)
        plan_print(&p, stdout); /* it stands in the trace, too */
    if (!run_plan(s, &p, trace, false))
        print_failure(s, &p, trace != NULL);
    return 1;
}

/* ---- many
 * ------------------------------------------------------------------------------------------------
 */

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double wall_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct totals {
    uint64_t seeds, failed, odd_n[SIM_ODDS], odd_us[SIM_ODDS], mixed;
    uint64_t guarded_n[SIM_ODDS][SIM_GUARDS], reset_n[SIM_RESETS], modes[3];
    uint64_t sync_all;               /* seeds in which every node must confirm */
    double three_cpu_s, three_sim_s; /* of clusters of three nodes */
    double cpu_from, sim_from;
};

static void begin_one(struct totals *t, const struct sim *s)
{
    t->cpu_from = cpu_s();
    t->sim_from = (double)s->stats.sim_us / 1e6;
}

static void add_up(struct totals *t, const struct sim *s)
{
    t->seeds++;
    t->sync_all += sync_demands_all(&s->plan);
    if (s->plan.nodes == 3) {
        t->three_cpu_s += cpu_s() - t->cpu_from;
        t->three_sim_s += (double)s->stats.sim_us / 1e6 - t->sim_from;
    }
    t->mixed += s->check.mixed;
    for (unsigned i = 0; i < SIM_ODDS; i++) {
        t->odd_n[i] += s->check.odd_n[i];
        t->odd_us[i] += s->check.odd_us[i];
        for (unsigned g = 0; g < SIM_GUARDS; g++)
            t->guarded_n[i][g] += s->check.guarded_n[i][g];
    }
    for (unsigned i = 0; i < SIM_RESETS; i++)
        t->reset_n[i] += s->check.reset_n[i];
    t->modes[s->plan.watchdog]++;
}

static void print_stats(const struct sim *s, const struct totals *t, double cpu, bool table)
{
    const struct sim_stats *st = &s->stats;
    double hours = (double)st->sim_us / 3.6e9;

    printf("%llu seeds, %llu failed; %.1f cluster-hours in %.1f CPU seconds (%.0f per CPU minute); "
           "%llu events, %llu steps of brains\n",
           (unsigned long long)t->seeds, (unsigned long long)t->failed, hours, cpu,
           cpu > 0 ? hours / cpu * 60 : 0, (unsigned long long)st->events,
           (unsigned long long)st->steps);
    printf("promotions %llu, demotions %llu, clones %llu, rewinds %llu, jobs %llu, commits %llu, "
           "refused %llu\n",
           (unsigned long long)st->promotions, (unsigned long long)st->demotions,
           (unsigned long long)st->clones, (unsigned long long)st->rewinds,
           (unsigned long long)st->jobs, (unsigned long long)st->acks,
           (unsigned long long)st->refused);
    if (t->three_cpu_s > 0)
        printf("clusters of three nodes: %.0f cluster-hours per CPU minute\n",
               t->three_sim_s / 3600 / t->three_cpu_s * 60);
    printf(
        "synchronous commits %llu; every other node must confirm in %llu seeds: none is lost; in "
        "others: lost %llu times\n",
        (unsigned long long)st->sync_acks, (unsigned long long)t->sync_all,
        (unsigned long long)st->sync_losses);
    printf("two primaries that only fencing hardware could have prevented:\n");
    for (unsigned i = 0; i < SIM_ODDS; i++)
        if (t->odd_n[i])
            printf("  %6llu  %8.1f s  %s (with a software watchdog %llu, hardware %llu)\n",
                   (unsigned long long)t->odd_n[i], (double)t->odd_us[i] / 1e6, sim_odd_names[i],
                   (unsigned long long)t->guarded_n[i][SIM_GUARD_SOFT],
                   (unsigned long long)t->guarded_n[i][SIM_GUARD_HARDWARE]);
    printf("watchdog off in %llu seeds, automatic in %llu, required in %llu; machines that it has "
           "reset: %llu\n",
           (unsigned long long)t->modes[HA_WATCHDOG_OFF],
           (unsigned long long)t->modes[HA_WATCHDOG_AUTOMATIC],
           (unsigned long long)t->modes[HA_WATCHDOG_REQUIRED], (unsigned long long)st->resets);
    for (unsigned i = 0; i < SIM_RESETS; i++)
        if (t->reset_n[i])
            printf("  %6llu  %s\n", (unsigned long long)t->reset_n[i], sim_reset_names[i]);
    printf("standbys on another history of the same timeline number: %llu\n",
           (unsigned long long)t->mixed);
    if (!table)
        return;
    reach_print(s);
    printf("\nreasons never given:");
    for (unsigned w = 1; w < HA_WHYS; w++)
        if (!st->whys[w])
            printf(" %s", ha_why_label((enum ha_why)w));
    printf("\nfaults:");
    for (unsigned f = 0; f < SIM_FAULTS; f++)
        printf(" %s=%llu", fault_name((enum sim_fault_kind)f), (unsigned long long)st->faults[f]);
    printf("\n");
}

static int many(struct sim *s, uint64_t from, uint64_t to, double seconds, bool table,
                unsigned most)
{
    static struct sim_plan p;
    struct totals t = { 0 };
    double began = wall_s();

    for (uint64_t seed = from; seed <= to && (seconds <= 0 || wall_s() - began < seconds); seed++) {
        plan_make(&p, seed);
        begin_one(&t, s);
        if (!run_plan(s, &p, NULL, false)) {
            print_failure(s, &p, false);
            t.failed++;
        }
        add_up(&t, s);
        if (t.failed >= most)
            break;
    }
    print_stats(s, &t, cpu_s(), table);
    return t.failed ? 1 : 0;
}

static int stored(struct sim *s, const char *path, struct totals *t)
{
    static struct sim_plan p;
    char line[256];
    FILE *f = fopen(path, "r");

    if (!f) {
        fprintf(stderr, "cannot read %s\n", path);
        return 2;
    }
    while (fgets(line, sizeof(line), f)) {
        char *end;
        unsigned long long seed = strtoull(line, &end, 10);

        if (end == line)
            continue;
        plan_make(&p, seed);
        begin_one(t, s);
        if (!run_plan(s, &p, NULL, false)) {
            print_failure(s, &p, false);
            t->failed++;
        }
        add_up(t, s);
    }
    fclose(f);
    return t->failed || !t->seeds ? 1 : 0;
}

/* Everything that is stored, and whether it reaches every pair of state and event that is possible.
 */
static int reach(struct sim *s, const char *dir)
{
    struct totals t = { 0 };
    char path[512];
    glob_t found = { 0 };
    int status;

    snprintf(path, sizeof(path), "%s/seeds", dir);
    status = stored(s, path, &t);
    snprintf(path, sizeof(path), "%s/scenarios/*.sim", dir);
    if (glob(path, 0, NULL, &found) != 0)
        status = 2;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct pgv_error err = { 0 };
        bool ok = false;

        if (!scenario_run(s, found.gl_pathv[i], &ok, &err))
            fprintf(stderr, "%s: %s\n", found.gl_pathv[i], err.msg);
        if (!ok)
            status = 1;
    }
    globfree(&found);
    print_stats(s, &t, cpu_s(), true);
    return status || reach_missing(s) ? 1 : 0;
}

static int usage(void)
{
    fprintf(
        stderr,
        "sim --seed N [--trace] [--html FILE] [--record DIR]   one run\n"
        "sim --seeds A-B [--max-failures N]                    many\n"
        "sim --seconds S [--from N|now] [--stats]              as many as there is time for\n"
        "sim --stored FILE                                     the seeds of a file\n"
        "sim --reach DIR                                       seeds and scenarios of DIR, and\n"
        "                                                      whether they reach all there is\n"
        "sim --shrink N [--trace] [--record DIR]               a smaller schedule that fails\n"
        "sim --scenario FILE [--trace] [--html FILE] [--record DIR]\n"
        "                                                      a script\n"
        "sim --import FILE [--from N] [--to N]                 a flight recording as a text\n"
        "sim --check FILE                                      such a text through the brain\n"
        "sim --plan N                                          what a seed stands for\n");
    return 2;
}

int main(int argc, char **argv)
{
    static struct sim_plan p;
    struct sim *s = sim_new();
    const char *seed = NULL, *seeds = NULL, *html = NULL, *scenario = NULL, *file = NULL;
    const char *reach_dir = NULL;
    const char *shrink_seed = NULL, *plan = NULL, *record = NULL, *import = NULL, *check = NULL;
    double seconds = 0;
    uint64_t from = 1, to = UINT64_MAX;
    unsigned most = 10;
    bool trace = false, table = false;
    struct pgv_error err = { 0 };
    int status = 0;

    signal(SIGABRT, on_abort);
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;

        if (!strcmp(a, "--trace")) {
            trace = true;
            continue;
        }
        if (!strcmp(a, "--stats")) {
            table = true;
            continue;
        }
        if (!v)
            return usage();
        i++;
        if (!strcmp(a, "--seed"))
            seed = v;
        else if (!strcmp(a, "--seeds"))
            seeds = v;
        else if (!strcmp(a, "--seconds"))
            seconds = strtod(v, NULL);
        else if (!strcmp(a, "--from"))
            from = !strcmp(v, "now") ? (uint64_t)time(NULL) * 1000 : strtoull(v, NULL, 10);
        else if (!strcmp(a, "--to"))
            to = strtoull(v, NULL, 10);
        else if (!strcmp(a, "--record"))
            record = v;
        else if (!strcmp(a, "--import"))
            import = v;
        else if (!strcmp(a, "--check"))
            check = v;
        else if (!strcmp(a, "--max-failures"))
            most = (unsigned)strtoul(v, NULL, 10);
        else if (!strcmp(a, "--stored"))
            file = v;
        else if (!strcmp(a, "--reach"))
            reach_dir = v;
        else if (!strcmp(a, "--shrink"))
            shrink_seed = v;
        else if (!strcmp(a, "--html"))
            html = v;
        else if (!strcmp(a, "--scenario"))
            scenario = v;
        else if (!strcmp(a, "--plan"))
            plan = v;
        else
            return usage();
    }
    if (record) {
        if (!seed && !shrink_seed && !scenario)
            return usage();
        if (!pgv_mkdirs(record, 0777, &err)) {
            fprintf(stderr, "%s\n", err.msg);
            return 2;
        }
        s->recording = recording_open(record);
    }
    if (import) {
        if (!trace_import(import, from, to, stdout, &err)) {
            fprintf(stderr, "%s: %s\n", import, err.msg);
            status = 2;
        }
    } else if (check) {
        bool same = false;

        if (!trace_check(check, &same, &err)) {
            fprintf(stderr, "%s: %s\n", check, err.msg);
            status = 2;
        } else {
            status = same ? 0 : 1;
        }
    } else if (plan) {
        plan_make(&p, strtoull(plan, NULL, 10));
        plan_print(&p, stdout);
    } else if (seed) {
        plan_make(&p, strtoull(seed, NULL, 10));
        if (!run_plan(s, &p, trace ? stdout : NULL, html != NULL)) {
            print_failure(s, &p, trace);
            status = 1;
        } else {
            printf("seed %llu: nothing was violated in %llu s of a cluster's life\n",
                   (unsigned long long)p.seed, (unsigned long long)(s->now_us / SIM_S));
        }
    } else if (shrink_seed) {
        status = shrink(s, strtoull(shrink_seed, NULL, 10), trace ? stdout : NULL);
    } else if (seeds) {
        char *dash;
        uint64_t a = strtoull(seeds, &dash, 10);

        status = many(s, a, *dash == '-' ? strtoull(dash + 1, NULL, 10) : a, 0, table, most);
    } else if (file) {
        struct totals t = { 0 };

        status = stored(s, file, &t);
        print_stats(s, &t, cpu_s(), false);
    } else if (reach_dir) {
        status = reach(s, reach_dir);
    } else if (scenario) {
        bool ok = false;

        s->trace = trace ? stdout : NULL;
        s->mark = html != NULL;
        if (!scenario_run(s, scenario, &ok, &err)) {
            fprintf(stderr, "%s: %s\n", scenario, err.msg);
            return 2;
        }
        status = ok ? 0 : 1;
    } else if (seconds > 0) {
        status = many(s, from, UINT64_MAX, seconds, table, most);
    } else {
        return usage();
    }
    if (html && !html_write(s, html, scenario ? scenario : "", &err)) {
        fprintf(stderr, "%s: %s\n", html, err.msg);
        status = 2;
    }
    if (s->recording && !recording_close(s->recording, &err)) {
        fprintf(stderr, "%s: %s\n", record, err.msg);
        status = 2;
    }
    sim_free(s);
    return status;
}
