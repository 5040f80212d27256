/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/edit_config.c - edit-config: change the dynamic configuration by options, files or editor.
 *
 * What is written is guarded by the version that was read: a change someone else made meanwhile is
 * never overwritten, but shown. Before that the agents' own rules are asked what they would make of
 * the document; all they have to say goes to standard error, so that the output stays patronictl's.
 */
#include "base/file.h"
#include "base/log.h"
#include "ctl/commands.h"
#include "ctl/config_check.h"
#include "ctl/config_edit.h"
#include "ctl/diff.h"
#include "ctl/editor.h"
#include "ctl/prompt.h"
#include "ctl/sheet.h"
#include "ctl/store.h"

#include <unistd.h>

#include "base/banned.h"

struct edit {
    struct ctl *c;
    struct ctl_cluster *k;
    struct pgv_buf before, after; /* texts for the difference */
    struct pgv_value *config;     /* the document as it will be */
    bool from_input, in_editor, quiet, force, dry_run;
};

static bool merge_file(struct edit *e, const char *name, struct pgv_error *err)
{
    struct pgv_buf text;
    bool ok;

    pgv_buf_init(&text, PGV_CONFIG_BYTES_MAX);
    if (strcmp(name, "-") == 0) {
        e->from_input = true;
        ok = ctl_read_input(e->c, &text, err);
        name = "standard input";
    } else {
        ok = pgv_file_read(name, &text, err);
        if (!ok)
            pgv_error_wrap(err, "cannot read '%s'", name);
    }
    ok = ok && ctl_config_merge(&e->c->arena, e->config, name, pgv_buf_view(&text), err);
    pgv_buf_done(&text);
    return ok;
}

static bool set_pairs(struct edit *e, const char *const *pairs, size_t n, bool parameters,
                      struct pgv_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const char *pair = pairs[i];

        if (parameters) {
            pair += strspn(pair, " \t\n\r\f\v");
            pair = pgv_arena_printf(&e->c->arena, "postgresql.parameters.%s", pair);
        }
        if (!pair)
            return ctl_out_of_memory(err);
        if (!ctl_config_set(&e->c->arena, e->config, pair, err))
            return false;
    }
    return true;
}

static bool use_editor(struct edit *e, struct pgv_error *err)
{
    static const char source[] = "edited configuration";
    struct pgv_value *root;

    e->in_editor = true;
    if (!ctl_edit(e->k->name, pgv_buf_view(&e->before), &e->after, err) ||
        !pgv_yaml_parse(&e->c->arena, source, pgv_buf_view(&e->after), &root, err))
        return false;
    if (!pgv_is(root, PGV_MAP)) /* an emptied file must not become the configuration 'null' */
        return pgv_fail(err, PGV_EINVALID, "%s does not contain a dict", source);
    e->config = root;
    return true;
}

static bool make_changes(struct edit *e, const struct ctl_args *args, struct pgv_error *err)
{
    const char *replace = ctl_text(args, "--replace"), *apply = ctl_text(args, "--apply");
    size_t n_set, n_pg;
    const char *const *set = ctl_texts(args, "--set", &n_set);
    const char *const *pg = ctl_texts(args, "--pg", &n_pg);

    if (!(replace && *replace) && !(apply && *apply) && n_set == 0 && n_pg == 0)
        return use_editor(e, err);
    if (replace && *replace) {
        e->config = pgv_new(&e->c->arena, PGV_MAP);
        if (!e->config)
            return ctl_out_of_memory(err);
        if (!merge_file(e, replace, err))
            return false;
    }
    if (apply && *apply && !merge_file(e, apply, err))
        return false;
    return set_pairs(e, set, n_set, false, err) && set_pairs(e, pg, n_pg, true, err) &&
           (pgv_yaml_write(&e->after, e->config) || ctl_out_of_memory(err));
}

/** Colours for the lines that say what goes, what comes and where. */
static bool paint(struct pgv_buf *diff)
{
    struct pgv_str line, rest = pgv_buf_view(diff);
    struct pgv_buf painted;
    bool ok;

    pgv_buf_init(&painted, diff->bytes_max);
    while (pgv_str_cut(rest, '\n', &line, &rest)) {
        const char *colour = pgv_str_starts(line, "@@")  ? CTL_CYAN
                             : pgv_str_starts(line, "-") ? CTL_RED
                             : pgv_str_starts(line, "+") ? CTL_GREEN
                                                         : NULL;

        if (colour)
            pgv_buf_puts(&painted, colour);
        pgv_buf_str(&painted, line);
        pgv_buf_puts(&painted, colour ? CTL_PLAIN "\n" : "\n");
    }
    pgv_buf_str(&painted, rest);
    ok = !painted.failed;
    if (ok) {
        pgv_buf_reset(diff);
        ok = pgv_buf_str(diff, pgv_buf_view(&painted));
    }
    pgv_buf_done(&painted);
    return ok;
}

static bool show_changes(struct edit *e, struct pgv_error *err)
{
    struct pgv_arena scratch;
    struct pgv_buf diff;
    bool ok;

    pgv_arena_init(&scratch, CTL_ARENA_BYTES_MAX);
    pgv_buf_init(&diff, CTL_OUTPUT_BYTES_MAX);
    ok = ctl_diff(&diff, &scratch, pgv_buf_view(&e->before), pgv_buf_view(&e->after)) ||
         ctl_out_of_memory(err);
    if (ok && ctl_coloured(e->c))
        ok = paint(&diff) || ctl_out_of_memory(err);
    if (ok && e->c->out == stdout && isatty(STDOUT_FILENO))
        ok = ctl_page(pgv_buf_view(&diff), err);
    else if (ok)
        ctl_print_buf(e->c, &diff);
    pgv_buf_done(&diff);
    pgv_arena_done(&scratch);
    return ok;
}

/** Remarks for a person at a terminal, for others lines of the log. */
static void remark(enum pgv_level level, const char *what, struct pgv_str lines)
{
    struct pgv_str line, rest = lines;
    struct pgv_buf shown;

    pgv_buf_init(&shown, CTL_OUTPUT_BYTES_MAX);
    while (pgv_str_cut(rest, '\n', &line, &rest)) {
        pgv_buf_reset(&shown);
        if (!ctl_put_shown(&shown, line, SIZE_MAX))
            continue;
        if (ctl_shows_progress())
            fprintf(stderr, "%s: %s\n", what, pgv_buf_cstr(&shown));
        else
            pgv_log(level, "ctl", "%s: %s", what, pgv_buf_cstr(&shown));
    }
    pgv_buf_done(&shown);
}

/** What was typed into an editor must not be lost because it cannot be written now. */
static void keep_text(struct edit *e)
{
    char path[1024];

    if (e->in_editor && ctl_keep(e->k->name, pgv_buf_view(&e->after), path, sizeof(path)))
        pgv_log(PGV_WARNING, "ctl", "the edited configuration is kept in %s", path);
}

/** What the agents would make of it. Errors end the command unless it is forced. */
static bool check_changes(struct edit *e, const struct pgv_value *before, struct pgv_error *err)
{
    struct ctl_config_check check;
    bool ok;

    ctl_config_check_init(&check);
    ok = ctl_config_check(&check, &e->k->s->cluster, before, e->config, err);
    if (ok) {
        remark(PGV_ERROR, "Invalid", pgv_buf_view(&check.errors));
        remark(PGV_WARNING, "Warning", pgv_buf_view(&check.warnings));
        if (!e->quiet)
            remark(PGV_WARNING, "Needs a restart", pgv_buf_view(&check.restarts));
        if (check.errors.n > 0 && !e->force) {
            keep_text(e);
            ok = pgv_fail(err, PGV_EINVALID,
                          "The configuration is invalid and was not changed; --force would");
        }
    }
    ctl_config_check_done(&check);
    return ok;
}

/** After a lost race: what somebody else has made of it meanwhile. */
static void show_meanwhile(struct edit *e)
{
    struct pgv_error ignored;
    struct pgv_arena scratch;
    struct pgv_buf now, diff;

    pgv_arena_init(&scratch, CTL_ARENA_BYTES_MAX);
    pgv_buf_init(&now, CTL_OUTPUT_BYTES_MAX);
    pgv_buf_init(&diff, CTL_OUTPUT_BYTES_MAX);
    if (ctl_cluster_read(e->k, &ignored) && e->k->s->config &&
        pgv_yaml_write(&now, e->k->s->config) &&
        ctl_diff(&diff, &scratch, pgv_buf_view(&e->before), pgv_buf_view(&now)))
        remark(PGV_WARNING, "Meanwhile", pgv_buf_view(&diff));
    pgv_buf_done(&diff);
    pgv_buf_done(&now);
    pgv_arena_done(&scratch);
}

static bool write_config(struct edit *e, struct pgv_error *err)
{
    struct pgv_buf json;
    bool ok;

    pgv_buf_init(&json, PGV_CONFIG_BYTES_MAX);
    ok = pgv_json_write(&json, e->config, PGV_JSON_COMPACT) ||
         pgv_fail(err, PGV_EINVALID, "the configuration is too large");
    ok = ok && ctl_cluster_write(e->k, DCS_SET_CONFIG, pgv_buf_view(&json),
                                 e->k->s->cluster.config_version, err);
    pgv_buf_done(&json);
    if (ok) {
        ctl_print(e->c, "Configuration changed\n");
        return true;
    }
    keep_text(e);
    if (err->code != PGV_ECONFLICT)
        return false;
    show_meanwhile(e);
    return pgv_fail(err, PGV_ECONFLICT, "Config modification aborted due to concurrent changes");
}

static bool edit(struct edit *e, const struct ctl_args *args, struct pgv_error *err)
{
    const struct pgv_value *config = e->k->s->config;
    bool yes = e->force;

    if (!e->k->s->cluster.config_exists)
        return pgv_fail(err, PGV_EINVALID, "The config key does not exist in the cluster %s",
                        e->k->name);
    if (!config)
        config = pgv_new(&e->c->arena, PGV_MAP);
    e->config = pgv_value_copy(&e->c->arena, config);
    if (!e->config || !pgv_yaml_write(&e->before, config))
        return ctl_out_of_memory(err);
    if (!make_changes(e, args, err))
        return false;
    if (pgv_value_equal(config, e->config)) {
        if (!e->quiet)
            ctl_print(e->c, "Not changed\n");
        return true;
    }
    if (!e->quiet && !show_changes(e, err))
        return false;
    if (!check_changes(e, config, err))
        return false;
    if (e->dry_run) {
        ctl_print(e->c, "Dry run: the configuration is not changed\n");
        return true;
    }
    if (e->from_input && !e->force) {
        ctl_print(e->c, "Use --force option to apply changes\n");
        return true;
    }
    if (!yes && !ctl_confirm(e->c, "Apply these changes?", &yes, err))
        return false;
    return !yes || write_config(e, err);
}

static bool run_edit_config(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    struct ctl_cluster k;
    struct edit e = { .c = c,
                      .k = &k,
                      .quiet = ctl_flag(args, "--quiet"),
                      .force = ctl_flag(args, "--force"),
                      .dry_run = ctl_flag(args, "--dry-run") };
    const char *name;
    bool ok;

    if (!ctl_name_of(c, args, &name, err) ||
        !ctl_cluster_open(c, name, ctl_group_of(c, args, true), &k, err))
        return false;
    pgv_buf_init(&e.before, CTL_OUTPUT_BYTES_MAX);
    pgv_buf_init(&e.after, CTL_OUTPUT_BYTES_MAX);
    ok = edit(&e, args, err);
    pgv_buf_done(&e.before);
    pgv_buf_done(&e.after);
    ctl_cluster_close(&k);
    return ok;
}

const struct ctl_command ctl_edit_config_command = {
    .name = "edit-config",
    .help = "Edit cluster configuration",
    .options = { CTL_OPTION_GROUP,
                 { .names = { "--quiet", "-q" }, .kind = CTL_FLAG, .help = "Do not show changes" },
                 { .names = { "--set", "-s" },
                   .kind = CTL_TEXT,
                   .multiple = true,
                   .help = "Set specific configuration value. Can be specified multiple times" },
                 { .names = { "--pg", "-p" },
                   .kind = CTL_TEXT,
                   .multiple = true,
                   .help = "Set specific PostgreSQL parameter value. Shorthand for -s "
                           "postgresql.parameters. Can be specified multiple times" },
                 { .names = { "--apply" },
                   .kind = CTL_TEXT,
                   .help = "Apply configuration from file. Use - for stdin." },
                 { .names = { "--replace" },
                   .kind = CTL_TEXT,
                   .help = "Apply configuration from file, replacing existing configuration. Use - "
                           "for stdin." },
                 CTL_OPTION_FORCE,
                 CTL_OPTION_DRY_RUN },
    .arguments = { { .name = "CLUSTER_NAME" } },
    .run = run_edit_config,
};
