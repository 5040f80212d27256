/* SPDX-License-Identifier: PostgreSQL */
/* ctl/commands.h - the commands of pgvigilctl, in the order of the alphabet. */
#pragma once

#include "ctl/options.h"

extern const struct ctl_command ctl_demote_cluster_command, ctl_dsn_command,
    ctl_edit_config_command, ctl_explain_command, ctl_failover_command, ctl_flush_command,
    ctl_history_command, ctl_list_command, ctl_pause_command, ctl_promote_cluster_command,
    ctl_query_command, ctl_reinit_command, ctl_reload_command, ctl_remove_command,
    ctl_restart_command, ctl_resume_command, ctl_show_config_command, ctl_switchover_command,
    ctl_topology_command, ctl_version_command;

/* Options that several commands have. */
#define CTL_OPTION_GROUP                                                                           \
    {                                                                                              \
        .names = { "--group" }, .kind = CTL_INTEGER, .help = "Citus group"                         \
    }
#define CTL_OPTION_FORCE                                                                           \
    {                                                                                              \
        .names = { "--force" }, .kind = CTL_FLAG,                                                  \
        .help = "Do not ask for confirmation at any point"                                         \
    }
/* Ours alone: all checks, the question for what was not given, but neither confirmation nor change.
 */
#define CTL_OPTION_DRY_RUN                                                                         \
    {                                                                                              \
        .names = { "--dry-run" }, .kind = CTL_FLAG, .help = "Show what would be done, do nothing"  \
    }
#define CTL_OPTION_FORMAT                                                                          \
    {                                                                                              \
        .names = { "--format", "-f" }, .kind = CTL_CHOICE, .help = "Output format",                \
        .choices = ctl_format_choices                                                              \
    }
#define CTL_OPTION_WATCH                                                                           \
    {                                                                                              \
        .names = { "-W" }, .kind = CTL_FLAG, .help = "Auto update the screen every 2 seconds"      \
    }
#define CTL_OPTION_WATCH_SECONDS                                                                   \
    {                                                                                              \
        .names = { "-w", "--watch" }, .kind = CTL_FLOAT,                                           \
        .help = "Auto update the screen every X seconds"                                           \
    }
#define CTL_OPTION_ROLE(text)                                                                      \
    {                                                                                              \
        .names = { "--role", "-r" }, .kind = CTL_CHOICE, .help = (text),                           \
        .choices = ctl_role_choices                                                                \
    }
