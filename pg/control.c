/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/control.c - understanding pg_controldata.
 *
 * Its output is 'key: value' lines whose keys have changed a little over the versions; the ones
 * below stand in every version from 9.3 to 18, with 'Current ' in front of the settings until 9.4.
 * Source: PostgreSQL, src/bin/pg_controldata/pg_controldata.c.
 */
#include "pg/control.h"

#include "base/parse.h"

#include "base/banned.h"

static const struct {
    const char *text;
    enum postmaster_control_state state;
} states[] = {
    { "starting up", PM_CONTROL_STARTING_UP },
    { "shut down", PM_CONTROL_SHUT_DOWN },
    { "shut down in recovery", PM_CONTROL_SHUT_DOWN_IN_RECOVERY },
    { "shutting down", PM_CONTROL_SHUTTING_DOWN },
    { "in crash recovery", PM_CONTROL_IN_CRASH_RECOVERY },
    { "in archive recovery", PM_CONTROL_IN_ARCHIVE_RECOVERY },
    { "in production", PM_CONTROL_IN_PRODUCTION },
};

const char *pm_control_state_name(enum postmaster_control_state state)
{
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (states[i].state == state)
            return states[i].text;
    return "unknown";
}

static enum postmaster_control_state read_state(struct pgv_str s)
{
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (pgv_str_eqz(s, states[i].text))
            return states[i].state;
    return PM_CONTROL_UNKNOWN;
}

static uint32_t read_timeline(struct pgv_str s)
{
    uint64_t n;

    return pgv_parse_u64(s, &n) && n <= UINT32_MAX ? (uint32_t)n : 0;
}

static int read_setting(struct pgv_str s)
{
    uint64_t n;

    return pgv_parse_u64(s, &n) && n <= INT32_MAX ? (int)n : PM_SETTING_UNKNOWN;
}

struct reading {
    struct pm_control c;
    bool lsn_known, timeline_known, sysid_known;
};

static void take_line(struct reading *r, struct pgv_str key, struct pgv_str value)
{
    struct pm_control *c = &r->c;
    const struct {
        const char *key;
        int *to;
    } settings[] = {
        { "max_connections setting", &c->max_connections },
        { "max_worker_processes setting", &c->max_worker_processes },
        { "max_wal_senders setting", &c->max_wal_senders },
        { "max_prepared_xacts setting", &c->max_prepared_xacts },
        { "max_locks_per_xact setting", &c->max_locks_per_xact },
    };

    if (pgv_str_eqz(key, "Database cluster state")) {
        c->state = read_state(value);
    } else if (pgv_str_eqz(key, "Database system identifier")) {
        uint64_t id;

        r->sysid_known = pgv_parse_u64(value, &id) && pgv_copy(c->sysid, sizeof(c->sysid), value);
    } else if (pgv_str_eqz(key, "Latest checkpoint location")) {
        r->lsn_known = pgv_parse_lsn(value, &c->checkpoint);
    } else if (pgv_str_eqz(key, "Latest checkpoint's TimeLineID")) {
        c->checkpoint_timeline = read_timeline(value);
        r->timeline_known = c->checkpoint_timeline != 0;
    } else if (pgv_str_eqz(key, "Latest checkpoint's REDO WAL file")) {
        if (!pgv_copy(c->redo_wal_file, sizeof(c->redo_wal_file), value))
            c->redo_wal_file[0] = '\0';
    } else if (pgv_str_eqz(key, "Minimum recovery ending location")) {
        if (!pgv_parse_lsn(value, &c->min_recovery_end))
            c->min_recovery_end = 0;
    } else if (pgv_str_eqz(key, "Min recovery ending loc's timeline")) {
        c->min_recovery_end_timeline = read_timeline(value);
    } else if (pgv_str_eqz(key, "wal_log_hints setting")) {
        c->wal_log_hints = pgv_str_eqz(value, "on");
    } else if (pgv_str_eqz(key, "Data page checksum version")) {
        c->checksums = value.n > 0 && !pgv_str_eqz(value, "0");
    } else {
        for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
            if (pgv_str_eqz(key, settings[i].key))
                *settings[i].to = read_setting(value);
    }
}

bool pm_control_parse(struct pgv_str text, struct pm_control *ret)
{
    struct reading r = { .c = {
                             .max_connections = PM_SETTING_UNKNOWN,
                             .max_worker_processes = PM_SETTING_UNKNOWN,
                             .max_wal_senders = PM_SETTING_UNKNOWN,
                             .max_prepared_xacts = PM_SETTING_UNKNOWN,
                             .max_locks_per_xact = PM_SETTING_UNKNOWN,
                         } };
    struct pgv_str line, key, value;

    while (text.n > 0) {
        if (!pgv_str_cut(text, '\n', &line, &text))
            text.n = 0; /* the last line, without a newline */
        if (!pgv_str_cut(line, ':', &key, &value))
            continue;
        if (pgv_str_starts(key, "Current ")) {
            key.p += sizeof("Current ") - 1;
            key.n -= sizeof("Current ") - 1;
        }
        take_line(&r, key, pgv_str_trim(value));
    }
    r.c.checkpoint_known = r.lsn_known && r.timeline_known;
    r.c.ok = r.sysid_known && r.c.state != PM_CONTROL_UNKNOWN;
    if (!r.sysid_known && r.c.state == PM_CONTROL_UNKNOWN)
        return false;
    *ret = r.c;
    return true;
}
