/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/vocabulary.c - roles, states and slot names as everybody spells them.
 *
 * The words are wire values of Patroni 4.1 (PostgresqlRole, PostgresqlState): peers and tools parse
 * them, so none may change.
 */
#include "base/vocabulary.h"

#include "base/unicode.h"

#include <stdio.h>

#include "base/banned.h"

static const char *const role_names[] = {
    [PGV_ROLE_UNINITIALIZED] = "uninitialized",
    [PGV_ROLE_PRIMARY] = "primary",
    [PGV_ROLE_PROMOTED] = "promoted",
    [PGV_ROLE_STANDBY_LEADER] = "standby_leader",
    [PGV_ROLE_REPLICA] = "replica",
    [PGV_ROLE_DEMOTED] = "demoted",
    [PGV_ROLE_UNKNOWN] = "unknown",
};

struct state_words {
    const char *name, *label;
};

static const struct state_words states[] = {
    [PGV_STATE_INITDB] = { "initializing new cluster", "initdb" },
    [PGV_STATE_INITDB_FAILED] = { "initdb failed", "initdb_failed" },
    [PGV_STATE_CUSTOM_BOOTSTRAP] = { "running custom bootstrap script", "custom_bootstrap" },
    [PGV_STATE_CUSTOM_BOOTSTRAP_FAILED] = { "custom bootstrap failed", "custom_bootstrap_failed" },
    [PGV_STATE_CREATING_REPLICA] = { "creating replica", "creating_replica" },
    [PGV_STATE_RUNNING] = { "running", "running" },
    [PGV_STATE_STARTING] = { "starting", "starting" },
    [PGV_STATE_BOOTSTRAP_STARTING] = { "starting after custom bootstrap", "bootstrap_starting" },
    [PGV_STATE_START_FAILED] = { "start failed", "start_failed" },
    [PGV_STATE_RESTARTING] = { "restarting", "restarting" },
    [PGV_STATE_RESTART_FAILED] = { "restart failed", "restart_failed" },
    [PGV_STATE_STOPPING] = { "stopping", "stopping" },
    [PGV_STATE_STOPPED] = { "stopped", "stopped" },
    [PGV_STATE_STOP_FAILED] = { "stop failed", "stop_failed" },
    [PGV_STATE_CRASHED] = { "crashed", "crashed" },
    [PGV_STATE_UNKNOWN] = { "unknown", "unknown" },
};

const char *pgv_role_name(enum pgv_role role)
{
    return role_names[role];
}

enum pgv_role pgv_role_parse(struct pgv_str s)
{
    if (pgv_str_eqz(s, "master")) /* how members before Patroni 4 call it */
        return PGV_ROLE_PRIMARY;
    for (int r = PGV_ROLE_UNINITIALIZED; r < PGV_ROLE_UNKNOWN; r++) {
        if (pgv_str_eqz(s, role_names[r]))
            return (enum pgv_role)r;
    }
    return PGV_ROLE_UNKNOWN;
}

const char *pgv_state_name(enum pgv_state state)
{
    return states[state].name;
}

enum pgv_state pgv_state_parse(struct pgv_str s)
{
    for (int i = PGV_STATE_INITDB; i < PGV_STATE_UNKNOWN; i++) {
        if (pgv_str_eqz(s, states[i].name))
            return (enum pgv_state)i;
    }
    return PGV_STATE_UNKNOWN;
}

const char *pgv_state_label(enum pgv_state state)
{
    return states[state].label;
}

void pgv_slot_name(const char *member, char ret[PGV_SLOT_NAME_BYTES])
{
    struct pgv_str rest = pgv_str(member);
    size_t n = 0;

    ret[0] = '\0';
    while (rest.n && n < PGV_SLOT_NAME_BYTES - 1) {
        uint32_t lower[2];
        size_t count = pgv_utf8_lower(pgv_utf8_next(&rest), lower);

        for (size_t i = 0; i < count && n < PGV_SLOT_NAME_BYTES - 1; i++) {
            uint32_t c = lower[i];
            char piece[16] = { 0 };

            if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')
                piece[0] = (char)c;
            else if (c == '-' || c == '.')
                piece[0] = '_';
            else
                (void)snprintf(piece, sizeof(piece), "u%04u", (unsigned)c);
            pgv_copy_cut(ret + n, PGV_SLOT_NAME_BYTES - n, pgv_str(piece));
            n += strlen(ret + n);
        }
    }
}
