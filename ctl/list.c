/* SPDX-License-Identifier: PostgreSQL */
/* ctl/list.c - list and topology: the members of clusters, once or again and again. */
#include "base/clock.h"
#include "base/log.h"
#include "ctl/commands.h"
#include "ctl/members.h"
#include "ctl/schedule.h"
#include "ctl/watch.h"

#include "base/banned.h"

/* Source: ECMA-48. */
#define CLEAR_SCREEN "\033[2J\033[1;1H"
#define HOME "\033[1;1H"
#define CLEAR_REST_OF_LINE "\033[K"
#define CLEAR_BELOW "\033[J"

struct listing {
    struct ctl *c;
    struct ctl_cluster *clusters;
    size_t n, n_open;
    bool extended, stamped;
    enum ctl_format format;
};

static bool read_cluster(struct listing *l, size_t i, const char *const *names,
                         struct ctl_group group, struct pgv_error *err)
{
    if (i < l->n_open)
        return ctl_cluster_read(&l->clusters[i], err);
    if (!ctl_cluster_open(l->c, names[i], group, &l->clusters[i], err))
        return false;
    l->n_open++;
    return true;
}

/** All of a round into @b, so that a screen changes at once and not while a store is awaited. */
static bool write_round(struct listing *l, const char *const *names, struct ctl_group group,
                        struct pgv_buf *b, struct pgv_error *err)
{
    char stamp[CTL_STAMP_BYTES];

    if (l->stamped) {
        ctl_stamp(pgv_wall_us(), 0, stamp);
        pgv_buf_printf(b, "%s\n", stamp);
    }
    for (size_t i = 0; i < l->n; i++) {
        if (!read_cluster(l, i, names, group, err) ||
            !ctl_write_members_of(b, &l->clusters[i], l->extended, l->format, err))
            return false;
    }
    return !b->failed || ctl_out_of_memory(err);
}

/** Over what the last round left on the screen, line by line: nothing flickers. */
static bool redraw(struct listing *l, struct pgv_str text, bool first)
{
    struct pgv_str line, rest = text;
    struct pgv_buf b;
    bool ok;

    pgv_buf_init(&b, CTL_OUTPUT_BYTES_MAX);
    pgv_buf_puts(&b, first ? CLEAR_SCREEN : HOME);
    while (pgv_str_cut(rest, '\n', &line, &rest)) {
        pgv_buf_str(&b, line);
        pgv_buf_puts(&b, CLEAR_REST_OF_LINE "\n");
    }
    ok = pgv_buf_puts(&b, CLEAR_BELOW);
    if (ok)
        ctl_print_buf(l->c, &b);
    pgv_buf_done(&b);
    return ok;
}

/** False also when Ctrl-C ended a watch. */
static bool print_rounds(struct listing *l, const char *const *names, struct ctl_group group,
                         struct ctl_watch *watch, struct pgv_error *err)
{
    struct pgv_buf b;
    bool ok, first = true;

    for (;;) {
        pgv_buf_init(&b, CTL_OUTPUT_BYTES_MAX);
        ok = write_round(l, names, group, &b, err);
        if (watch->seconds != 0 && ctl_on_terminal(l->c))
            ok = ok && (redraw(l, pgv_buf_view(&b), first) || ctl_out_of_memory(err));
        else
            ctl_print_buf(l->c, &b); /* also what came before an error */
        pgv_buf_done(&b);
        first = false;
        if (!ok || watch->seconds == 0 || !ctl_watch_wait(l->c, watch, err))
            return ok && watch->seconds == 0;
    }
}

static bool list_clusters(struct ctl *c, const struct ctl_args *args, struct listing *l,
                          struct pgv_error *err)
{
    const char *const *names = ctl_arguments(args, 0, &l->n);
    const char *scope = ctl_config_text(c, "scope");
    struct ctl_group group = ctl_group_of(c, args, false);
    struct ctl_watch watch;
    bool ok;

    if (l->n == 0 && scope) {
        names = &scope;
        l->n = 1;
    }
    if (l->n == 0) {
        pgv_log(PGV_WARNING, "ctl", "Listing members: No cluster names were provided");
        return true;
    }
    ctl_watch_begin(&watch, args);
    l->c = c;
    l->clusters = pgv_arena_alloc(&c->arena, l->n * sizeof(*l->clusters));
    if (!l->clusters)
        return ctl_out_of_memory(err);
    ok = print_rounds(l, names, group, &watch, err);
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
