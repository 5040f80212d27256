/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/main.c - pgvigilctl: find the command, prepare the run, report how it ended.
 *
 * Exit status: 0 the command ran (also when a member refused what was asked), 1 it did not, 2 the
 * command line is wrong. The order is click's: an unknown command is found before the
 * configuration is read, a command's own words are looked at after it.
 */
#include "base/log.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"

#include <signal.h>
#include <unistd.h>

#include "base/banned.h"

#define PAGE_BYTES_MAX 65536

static const struct ctl_command group = {
    .name = "pgvigilctl",
    .help = "Command-line interface for interacting with a cluster of Patroni or pgvigil nodes.",
    .is_group = true,
    .options = { { .names = { "--config-file", "-c" },
                   .kind = CTL_TEXT,
                   .help = "Configuration file" },
                 { .names = { "--dcs-url", "--dcs", "-d" },
                   .kind = CTL_TEXT,
                   .help = "The DCS connect url" },
                 { .names = { "-k", "--insecure" },
                   .kind = CTL_FLAG,
                   .help = "Allow connections to SSL sites without certs" } },
};

static const struct ctl_command *const commands[] = {
    &ctl_demote_cluster_command,  &ctl_dsn_command,         &ctl_edit_config_command,
    &ctl_explain_command,         &ctl_failover_command,    &ctl_flush_command,
    &ctl_history_command,         &ctl_list_command,        &ctl_pause_command,
    &ctl_promote_cluster_command, &ctl_query_command,       &ctl_reinit_command,
    &ctl_reload_command,          &ctl_remove_command,      &ctl_restart_command,
    &ctl_resume_command,          &ctl_show_config_command, &ctl_switchover_command,
    &ctl_topology_command,        &ctl_version_command,
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct ctl_command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    }
    return NULL;
}

static int print_help(struct ctl *c, const struct ctl_command *command, const char *path)
{
    struct pgv_buf page;
    bool ok;

    pgv_buf_init(&page, PAGE_BYTES_MAX);
    ok = ctl_write_help(&page, command, path, ctl_terminal_columns(STDOUT_FILENO), commands,
                        command->is_group ? N_COMMANDS : 0);
    ctl_print_buf(c, &page);
    pgv_buf_done(&page);
    return ok ? 0 : 1;
}

static int usage_error(const struct ctl_command *command, const char *path, bool brief,
                       const struct pgv_error *err)
{
    struct pgv_buf usage;

    pgv_buf_init(&usage, PAGE_BYTES_MAX);
    if (!brief && ctl_write_usage(&usage, command, path, ctl_terminal_columns(STDOUT_FILENO)))
        fprintf(stderr, "%sTry '%s --help' for help.\n\n", pgv_buf_cstr(&usage), path);
    fprintf(stderr, "Error: %s\n", err->msg);
    pgv_buf_done(&usage);
    return 2;
}

static int report(const struct ctl *c, const struct pgv_error *err)
{
    if (err->code == PGV_ECANCELED)
        fprintf(stderr, "%sAborted!\n", c->abort_newline ? "\n" : "");
    else
        fprintf(stderr, "Error: %s\n", err->msg);
    return 1;
}

/** The level of log lines on stderr; the later names win. Read before the environment is taken. */
static void configure_log(void)
{
    static const char *const names[] = { "LOGLEVEL", "PATRONI_LOGLEVEL", "PATRONI_LOG_LEVEL" };
    enum pgv_level level = PGV_WARNING, read;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *text = getenv(names[i]);

        if (text && pgv_parse_level(pgv_str(text), &read))
            level = read;
    }
    pgv_log_configure_ctl(level);
}

/** A variable stands for an option that is not given; set to nothing it is as good as unset. */
static const char *option_or_variable(const struct ctl_args *args, const char *option,
                                      const char *variable)
{
    const char *text = getenv(variable);

    if (ctl_text(args, option))
        return ctl_text(args, option);
    return text && *text ? text : NULL;
}

static int run_command(struct ctl *c, const struct ctl_command *command, const char *path,
                       char **argv, size_t argc)
{
    struct ctl_args args;
    struct pgv_error err;
    bool brief;

    if (!ctl_parse(command, &c->arena, argc, argv, &args, &brief, &err))
        return err.code == PGV_ENOMEM ? report(c, &err) : usage_error(command, path, brief, &err);
    if (args.help)
        return print_help(c, command, path);
    return command->run(c, &args, &err) ? 0 : report(c, &err);
}

static int run(struct ctl *c, struct pgv_arena *arena, size_t argc, char **argv)
{
    char default_path[512] = "", path[256];
    const struct ctl_command *command;
    const char *config_path;
    struct ctl_args args;
    struct pgv_error err;
    bool brief;
    int status;

    if (argc == 0)
        return print_help(c, &group, c->prog);
    if (!ctl_parse(&group, arena, argc, argv, &args, &brief, &err))
        return usage_error(&group, c->prog, brief, &err);
    if (args.help)
        return print_help(c, &group, c->prog);
    if (args.n_rest == 0) {
        pgv_fail(&err, PGV_EINVALID, "Missing command.");
        return usage_error(&group, c->prog, false, &err);
    }
    command = find_command(args.rest[0]);
    if (!command) {
        pgv_fail(&err, PGV_EINVALID, "No such command '%s'.", args.rest[0]);
        return usage_error(&group, c->prog, false, &err);
    }
    config_path = option_or_variable(&args, "--config-file", "PATRONICTL_CONFIG_FILE");
    if (!config_path && ctl_default_config_path(default_path, sizeof(default_path)))
        config_path = default_path;
    snprintf(path, sizeof(path), "%s %s", c->prog, command->name);
    configure_log();
    if (ctl_open(c, config_path ? config_path : "",
                 option_or_variable(&args, "--dcs-url", "DCS_URL"), ctl_flag(&args, "--insecure"),
                 &err))
        status = run_command(c, command, path, args.rest + 1, args.n_rest - 1);
    else
        status = report(c, &err);
    ctl_close(c);
    return status;
}

int main(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    struct ctl c = { .prog = slash      ? slash + 1
                             : argc > 0 ? argv[0]
                                        : group.name,
                     .out = stdout,
                     .in_fd = STDIN_FILENO };
    struct pgv_arena arena;
    int status;

    signal(SIGPIPE, SIG_IGN); /* a member that hangs up must not end us */
    pgv_arena_init(&arena, CTL_ARENA_BYTES_MAX);
    status = run(&c, &arena, argc > 0 ? (size_t)argc - 1 : 0, argv + 1);
    pgv_arena_done(&arena);
    return status;
}
