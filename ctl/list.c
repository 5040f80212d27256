/* SPDX-License-Identifier: PostgreSQL */
/* ctl/list.c - list and topology: the members of clusters, once or again and again. */
#include "base/clock.h"
#include "base/log.h"
#include "ctl/commands.h"
#include "ctl/members.h"
#include "ctl/schedule.h"

#include <unistd.h>

#include "base/banned.h"

#define WATCH_S_DEFAULT 2.0
#define WATCH_S_MAX 86400.0

static void clear_screen(struct ctl *c)
{
    if (c->out == stdout && isatty(STDOUT_FILENO))
        ctl_print(c, "\033[2J\033[1;1H");
}

struct listing {
    struct ctl *c;
    struct ctl_cluster *clusters;
    size_t n, n_open;
    bool extended, stamped;
    enum ctl_format format;
};

static bool print_once(struct listing *l, const char *const *names, struct ctl_group group,
                       struct pgv_error *err)
{
    char stamp[CTL_STAMP_BYTES];

    if (l->stamped) {
        ctl_stamp(pgv_wall_us(), 0, stamp);
        ctl_print(l->c, "%s\n", stamp);
    }
    for (size_t i = 0; i < l->n; i++) {
        struct ctl_cluster *k = &l->clusters[i];

        if (i == l->n_open) {
            if (!ctl_cluster_open(l->c, names[i], group, k, err))
                return false;
            l->n_open++;
        } else if (!ctl_cluster_read(k, err)) {
            return false;
        }
        if (!ctl_print_members(k, l->extended, l->format, err))
            return false;
    }
    return true;
}

/** Every @watch_s seconds, counted from the start of a round; 0 is once. */
static bool print_watching(struct listing *l, const char *const *names, struct ctl_group group,
                           double watch_s, struct pgv_error *err)
{
    uint64_t interval_ms = watch_s > 0 ? (uint64_t)(watch_s * 1000) : 0, started_ms, now_ms;

    for (;;) {
        if (watch_s != 0)
            clear_screen(l->c);
        started_ms = pgv_clock_ms();
        if (!print_once(l, names, group, err))
            return false;
        if (watch_s == 0)
            return true;
        now_ms = pgv_clock_ms();
        if (!ctl_sleep(l->c,
                       now_ms < started_ms + interval_ms ? started_ms + interval_ms - now_ms : 0,
                       NULL, err))
            return false;
    }
}

static bool list_clusters(struct ctl *c, const struct ctl_args *args, struct listing *l,
                          struct pgv_error *err)
{
    const char *const *names = ctl_arguments(args, 0, &l->n);
    const char *scope = ctl_config_text(c, "scope");
    struct ctl_group group = ctl_group_of(c, args, false);
    double watch_s = 0;
    bool ok;

    if (l->n == 0 && scope) {
        names = &scope;
        l->n = 1;
    }
    if (l->n == 0) {
        pgv_log(PGV_WARNING, "ctl", "Listing members: No cluster names were provided");
        return true;
    }
    (void)ctl_real(args, "-w", &watch_s);
    if (ctl_flag(args, "-W") && watch_s == 0)
        watch_s = WATCH_S_DEFAULT;
    if (!(watch_s <= WATCH_S_MAX)) /* also what is no number */
        watch_s = WATCH_S_MAX;
    l->c = c;
    l->clusters = pgv_arena_alloc(&c->arena, l->n * sizeof(*l->clusters));
    if (!l->clusters)
        return ctl_out_of_memory(err);
    ok = print_watching(l, names, group, watch_s, err);
    for (size_t i = 0; i < l->n_open; i++)
        ctl_cluster_close(&l->clusters[i]);
    return ok;
}

static bool run_list(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    struct listing l = { .extended = ctl_flag(args, "--extended"),
                         .stamped = ctl_flag(args, "--timestamp"),
                         .format = ctl_format_parse(ctl_text(args, "--format")) };

    return list_clusters(c, args, &l, err);
}

static bool run_topology(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    struct listing l = { .format = CTL_TOPOLOGY };

    return list_clusters(c, args, &l, err);
}

const struct ctl_command ctl_list_command = {
    .name = "list",
    .help = "List the Patroni members for a given Patroni",
    .options = { CTL_OPTION_GROUP,
                 { .names = { "--extended", "-e" },
                   .kind = CTL_FLAG,
                   .help = "Show some extra information" },
                 { .names = { "--timestamp", "-t" }, .kind = CTL_FLAG, .help = "Print timestamp" },
                 CTL_OPTION_FORMAT,
                 CTL_OPTION_WATCH,
                 CTL_OPTION_WATCH_SECONDS },
    .arguments = { { .name = "CLUSTER_NAMES", .variadic = true } },
    .run = run_list,
};

const struct ctl_command ctl_topology_command = {
    .name = "topology",
    .help = "Prints ASCII topology for given cluster",
    .options = { CTL_OPTION_GROUP, CTL_OPTION_WATCH, CTL_OPTION_WATCH_SECONDS },
    .arguments = { { .name = "CLUSTER_NAMES", .variadic = true } },
    .run = run_topology,
};
