/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgrecovery_compare.c - does the server follow whom it should, in the way it should? Contract
 * pg §14.6. What the server has is kept between looks and read again only when a file that could
 * change it, or the postmaster, is another one.
 */
#include "base/file.h"
#include "base/log.h"
#include "base/parse.h"
#include "pg/pgrecovery.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "base/banned.h"

#define RECOVERY_CONF_BYTES_MAX (1u << 20)

/** Recovery parameters whose difference matters. Source: contract §14.6, step 2. */
static const struct {
    const char *name;
    int since, till;
} compared[] = {
    { "archive_cleanup_command", 0, 0 },
    { "primary_conninfo", 0, 0 },
    { "primary_slot_name", 90400, 0 },
    { "promote_trigger_file", 120000, 160000 },
    { "trigger_file", 0, 120000 },
    { "recovery_end_command", 0, 0 },
    { "recovery_min_apply_delay", 90400, 0 },
    { "recovery_target", 90400, 0 },
    { "recovery_target_lsn", 100000, 0 },
    { "recovery_target_name", 0, 0 },
    { "recovery_target_time", 0, 0 },
    { "recovery_target_timeline", 0, 0 },
    { "recovery_target_xid", 0, 0 },
    { "restore_command", 0, 0 },
};
#define COMPARED (sizeof(compared) / sizeof(compared[0]))

static bool counts(size_t i, int version)
{
    return version >= compared[i].since && (compared[i].till == 0 || version < compared[i].till);
}

const char *pgrecovery_sql(int major_version)
{
    (void)major_version; /* pg_settings has no row for what a version does not know */
    return "SELECT name, setting, (context = 'postmaster')::pg_catalog.text, sourcefile"
           " FROM pg_catalog.pg_settings WHERE name IN ('archive_cleanup_command',"
           " 'primary_conninfo', 'primary_slot_name', 'promote_trigger_file',"
           " 'recovery_end_command', 'recovery_min_apply_delay', 'recovery_target',"
           " 'recovery_target_lsn', 'recovery_target_name', 'recovery_target_time',"
           " 'recovery_target_timeline', 'recovery_target_xid', 'restore_command')";
}

/* -------------------------------------------------------------------------- what the server has */

void pgrecovery_current_done(struct pgrecovery_current *cur)
{
    if (!cur)
        return;
    pgv_arena_done(&cur->arena);
    *cur = (struct pgrecovery_current){ 0 };
}

static void stamp_passfile(const struct pgrecovery_current *cur, struct pgv_file_stamp *ret)
{
    if (cur->passfile[0])
        (void)pgv_file_stamp(cur->passfile, ret);
    else
        *ret = (struct pgv_file_stamp){ 0 };
}

static void take_stamps(const struct pgrecovery_current *cur, const struct pgconf *c,
                        int major_version, int64_t postmaster_start, struct pgrecovery_stamps *ret)
{
    char path[PGCONF_PATH_BYTES];

    *ret = (struct pgrecovery_stamps){ 0 };
    if (major_version >= 120000) {
        (void)pgv_file_stamp(c->conf_path, &ret->conf);
        (void)pgv_file_stamp(c->auto_conf_path, &ret->auto_conf);
        ret->postmaster = postmaster_start;
    } else {
        (void)snprintf(path, sizeof(path), "%s/recovery.conf", c->data_dir);
        (void)pgv_file_stamp(path, &ret->conf);
    }
    stamp_passfile(cur, &ret->passfile);
}

bool pgrecovery_current_stale(const struct pgrecovery_current *cur, const struct pgconf *c,
                              int major_version, int64_t postmaster_start,
                              bool *ret_only_postmaster)
{
    const struct pgrecovery_stamps *then = &cur->stamps;
    struct pgrecovery_stamps now;
    bool files;

    take_stamps(cur, c, major_version, postmaster_start, &now);
    files = !cur->valid || !pgv_file_stamp_same(&now.conf, &then->conf) ||
            !pgv_file_stamp_same(&now.auto_conf, &then->auto_conf) ||
            !pgv_file_stamp_same(&now.passfile, &then->passfile);
    *ret_only_postmaster = !files && now.postmaster != then->postmaster;
    return files || *ret_only_postmaster;
}

bool pgrecovery_current_settled(const struct pgrecovery_current *cur, int64_t settle_ns)
{
    return !cur->passfile[0] || pgv_file_stamp_settled(&cur->stamps.passfile, settle_ns);
}

void pgrecovery_current_stamp(struct pgrecovery_current *cur, const struct pgconf *c,
                              int major_version, int64_t postmaster_start)
{
    take_stamps(cur, c, major_version, postmaster_start, &cur->stamps);
}

/** Remember which password file the conninfo names, so that its change is noticed. */
static void note_passfile(struct pgrecovery_current *cur)
{
    cur->passfile[0] = '\0';
    for (size_t i = 0; i < cur->n; i++) {
        struct pgdsn d;

        if (strcmp(cur->rows[i].name, "primary_conninfo") != 0)
            continue;
        if (pgdsn_parse(&cur->arena, cur->rows[i].setting, false, &d, NULL) &&
            d.v[PGDSN_PASSFILE] &&
            !pgv_copyz(cur->passfile, sizeof(cur->passfile), d.v[PGDSN_PASSFILE]))
            cur->passfile[0] = '\0';
    }
    stamp_passfile(cur, &cur->stamps.passfile);
}

static bool no_memory(struct pgrecovery_current *cur, struct pgv_error *err)
{
    cur->valid = false;
    return pgv_fail(err, PGV_ENOMEM, "no memory for the recovery configuration");
}

static void begin(struct pgrecovery_current *cur)
{
    pgv_arena_done(&cur->arena);
    pgv_arena_init(&cur->arena, PGCONF_BYTES_MAX);
    cur->n = 0;
    cur->valid = false;
}

static bool add(struct pgrecovery_current *cur, const char *name, struct pgv_str setting,
                bool restart, const char *sourcefile)
{
    struct pgrecovery_row *row = &cur->rows[cur->n];

    if (cur->n == PGRECOVERY_ROWS_MAX)
        return true;
    row->name = pgv_arena_dup(&cur->arena, pgv_str(name));
    row->setting = pgv_arena_dup(&cur->arena, setting);
    row->restart = restart;
    row->sourcefile = sourcefile ? pgv_arena_dup(&cur->arena, pgv_str(sourcefile)) : NULL;
    if (!row->name || !row->setting || (sourcefile && !row->sourcefile))
        return false;
    cur->n++;
    return true;
}

bool pgrecovery_current_set(struct pgrecovery_current *cur, const struct pgrecovery_row *rows,
                            size_t n, struct pgv_error *err)
{
    begin(cur);
    for (size_t i = 0; i < n; i++)
        if (!add(cur, rows[i].name, pgv_str(rows[i].setting), rows[i].restart, rows[i].sourcefile))
            return no_memory(cur, err);
    note_passfile(cur);
    cur->valid = true;
    return true;
}

static const struct pgrecovery_row *find(const struct pgrecovery_current *cur, const char *name)
{
    for (size_t i = 0; i < cur->n; i++)
        if (strcasecmp(cur->rows[i].name, name) == 0)
            return &cur->rows[i];
    return NULL;
}

/** What is not written down has its default: empty, and no delay. */
static bool add_missing(struct pgrecovery_current *cur, int version, bool restart_all,
                        const char *sourcefile)
{
    for (size_t i = 0; i < COMPARED; i++) {
        const char *name = compared[i].name;
        bool restart = restart_all;

        if (!counts(i, version) || find(cur, name))
            continue;
        if (!restart_all)
            restart = (version < 140000 && strcmp(name, "restore_command") == 0) ||
                      (version < 130000 && (strcmp(name, "primary_conninfo") == 0 ||
                                            strcmp(name, "primary_slot_name") == 0));
        if (!add(cur, name,
                 strcmp(name, "recovery_min_apply_delay") == 0 ? PGV_STR("0")
                                                               : (struct pgv_str){ 0 },
                 restart, sourcefile))
            return false;
    }
    return true;
}

bool pgrecovery_current_written(struct pgrecovery_current *cur, const struct pgconf *c,
                                const struct pgrecovery *r, const struct pgv_value *params,
                                int major_version, struct pgv_error *err)
{
    (void)r;
    begin(cur);
    PGV_EACH(item, params)
    {
        const char *name = item->key.p;
        bool restart = (major_version < 140000 && strcmp(name, "restore_command") == 0) ||
                       (major_version < 130000 && (strcmp(name, "primary_conninfo") == 0 ||
                                                   strcmp(name, "primary_slot_name") == 0));
        bool known = false;

        for (size_t i = 0; i < COMPARED; i++)
            known = known || strcmp(compared[i].name, name) == 0;
        if (known && !add(cur, name, pgv_string(item), restart, c->conf_path))
            return no_memory(cur, err);
    }
    if (!add_missing(cur, major_version, false, c->conf_path))
        return no_memory(cur, err);
    note_passfile(cur);
    cur->valid = true;
    return true;
}

/* -------------------------------------------------------------------------------- recovery.conf */

/** What follows a closed quote must be nothing or a comment. */
static bool only_comment(struct pgv_str s)
{
    s = pgv_str_trim(s);
    return s.n == 0 || s.p[0] == '#';
}

/**
 * The value behind '=': quoted (a quote doubled or behind a backslash), or a bare word; '#' begins
 * a comment. Source: recovery.conf is read by guc-file.l's rules; contract §14.6.
 */
static bool parse_conf_value(struct pgv_str s, struct pgv_buf *ret)
{
    size_t i;

    pgv_buf_reset(ret);
    s = pgv_str_trim(s);
    if (s.n == 0)
        return false;
    if (s.p[0] != '\'') {
        const char *hash = memchr(s.p, '#', s.n);

        if (hash)
            s.n = (size_t)(hash - s.p);
        s = pgv_str_trim(s);
        for (i = 0; i < s.n; i++)
            if (isspace((unsigned char)s.p[i]) || s.p[i] == '\\')
                return false;
        return s.n > 0 && pgv_buf_str(ret, s);
    }
    for (i = 1; i < s.n; i++) {
        if (s.p[i] == '\\') {
            if (++i >= s.n)
                return false;
        } else if (s.p[i] == '\'') {
            if (i + 1 >= s.n || s.p[i + 1] != '\'')
                return only_comment((struct pgv_str){ s.p + i + 1, s.n - i - 1 }) && !ret->failed;
            i++;
        }
        (void)pgv_buf_putc(ret, s.p[i]);
    }
    return false;
}

/** 'name = value' or 'name value'; false when it is neither. */
static bool parse_conf_line(struct pgv_str line, char name[64], struct pgv_buf *value)
{
    size_t n = 0;

    while (n < line.n && (isalpha((unsigned char)line.p[n]) || line.p[n] == '_'))
        n++;
    if (n == 0 || !pgv_copy(name, 64, (struct pgv_str){ line.p, n }))
        return false;
    for (char *p = name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    line = pgv_str_trim((struct pgv_str){ line.p + n, line.n - n });
    if (line.n == 0 || line.p[0] != '=')
        return false;
    return parse_conf_value((struct pgv_str){ line.p + 1, line.n - 1 }, value);
}

bool pgrecovery_current_parse(struct pgrecovery_current *cur, struct pgv_str text,
                              int major_version, struct pgv_error *err)
{
    struct pgv_buf value;
    bool ok = false;

    begin(cur);
    pgv_buf_init(&value, RECOVERY_CONF_BYTES_MAX);
    while (text.n > 0) {
        struct pgv_str line, tail;
        char name[64];

        (void)pgv_str_cut(text, '\n', &line, &tail);
        text = tail;
        line = pgv_str_trim(line);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        if (!parse_conf_line(line, name, &value)) {
            (void)pgv_fail(err, PGV_EINVALID, "recovery.conf has a line that is no setting");
            goto out;
        }
        if (!pgguc_is_recovery(pgv_str(name)))
            continue;
        for (size_t i = 0; i < cur->n; i++) /* the last one counts */
            if (strcmp(cur->rows[i].name, name) == 0)
                cur->rows[i] = cur->rows[--cur->n];
        if (!add(cur, name, pgv_buf_view(&value), true, "")) {
            (void)no_memory(cur, err);
            goto out;
        }
    }
    if (!add_missing(cur, major_version, true, "")) {
        (void)no_memory(cur, err);
        goto out;
    }
    note_passfile(cur);
    cur->valid = true;
    ok = true;
out:
    if (value.p)
        explicit_bzero(value.p, value.n);
    pgv_buf_done(&value);
    return ok;
}

/* --------------------------------------------------------------------------------- comparison */

/** The connection in use: the walreceiver's own report where it runs, else the parameter. */
static bool current_dsn(struct pgv_arena *a, const char *setting,
                        const struct pgrecovery_receiver *receiver, bool starting,
                        struct pgdsn *ret, bool *ret_empty)
{
    struct pgdsn guc, used;

    *ret_empty = setting[0] == '\0';
    if (*ret_empty)
        return true;
    if (!pgdsn_parse(a, setting, true, &guc, NULL))
        return false;
    *ret = guc;
    if (starting || !receiver || !receiver->conninfo || receiver->conninfo[0] == '\0' ||
        !pgdsn_parse(a, receiver->conninfo, true, &used, NULL))
        return true;
    /* the report masks the password and calls the database 'replication' */
    used.v[PGDSN_DBNAME] = guc.v[PGDSN_DBNAME];
    used.v[PGDSN_PASSWORD] = guc.v[PGDSN_PASSWORD];
    *ret = used;
    return true;
}

static const char *wanted_text(const struct pgrecovery *wanted, const char *name)
{
    const char *text = pgv_stringz(pgv_get(wanted->params, name));

    return text ? text : "";
}

/** Parameters that somebody may set in a file of his own when we say nothing of them. */
static bool may_be_foreign(const char *name)
{
    static const char *const names[] = { "archive_cleanup_command", "promote_trigger_file",
                                         "recovery_end_command", "recovery_min_apply_delay",
                                         "restore_command" };

    for (unsigned i = 0; i < 5; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool is_foreign(const struct pgconf *c, const struct pgrecovery_row *row,
                       const struct pgrecovery *wanted)
{
    const char *file = row->sourcefile;

    if (file && file[0] == '\0') /* read from recovery.conf: ours */
        return false;
    if (file && (strcmp(file, c->conf_path) == 0 || strcmp(file, c->auto_conf_path) == 0))
        return false;
    return may_be_foreign(row->name) && !pgv_get(wanted->params, row->name);
}

static bool same_conninfo(const struct pgrecovery *wanted, const struct pgdsn *current, bool empty,
                          int version)
{
    if (!wanted->has_conninfo || empty)
        return !wanted->has_conninfo && empty;
    return pgdsn_satisfies(&wanted->conninfo, current, version);
}

static bool row_same(const struct pgrecovery_row *row, const struct pgrecovery *wanted,
                     const struct pgrecovery_receiver *receiver, bool starting)
{
    const char *have = row->setting;
    const char *want = wanted_text(wanted, row->name);

    if (strcmp(row->name, "recovery_min_apply_delay") == 0)
        return pgguc_same("integer", "ms", have, want[0] ? want : "0");
    if (strcmp(row->name, "standby_mode") == 0)
        return pgguc_same("bool", NULL, have, wanted->standby_mode ? "on" : "off");
    if (strcmp(row->name, "primary_slot_name") == 0) {
        if (!wanted->has_conninfo)
            return true;
        if (!starting && receiver && receiver->present)
            have = receiver->slot_name ? receiver->slot_name : "";
    }
    return strcmp(have, want) == 0;
}

void pgrecovery_compare(const struct pgconf *c, const struct pgfiles_env *env,
                        const struct pgrecovery *wanted, const struct pgrecovery_current *cur,
                        const struct pgrecovery_receiver *receiver, bool starting, bool announced,
                        struct pgrecovery_diff *ret)
{
    int version = env->major_version;
    struct pgrecovery_diff diff = { 0 };
    char path[PGCONF_PATH_BYTES];
    struct pgv_arena arena;

    pgv_arena_init(&arena, PGCONF_BYTES_MAX);
    (void)snprintf(path, sizeof(path), "%s/%s", c->data_dir,
                   version >= 120000 ? "standby.signal" : "recovery.conf");
    if (!pgv_file_exists(path)) {
        diff = (struct pgrecovery_diff){ .change = true, .restart = true };
        pgv_copy_cut(diff.reason, sizeof(diff.reason),
                     pgv_str(version >= 120000 ? "standby.signal" : "recovery.conf"));
        goto out;
    }
    /* attached to a running server: write our file once, whatever it has */
    if (version >= 120000 && !announced && !starting) {
        diff.change = true;
        pgv_copy_cut(diff.reason, sizeof(diff.reason), PGV_STR("first look at a running server"));
    }
    for (size_t i = 0; i < cur->n; i++) {
        const struct pgrecovery_row *row = &cur->rows[i];
        bool same, empty, counted = strcmp(row->name, "standby_mode") == 0;
        struct pgdsn dsn = { 0 };

        for (size_t k = 0; k < COMPARED; k++)
            counted = counted || (counts(k, version) && strcmp(compared[k].name, row->name) == 0);
        if (!counted || is_foreign(c, row, wanted))
            continue;
        if (strcmp(row->name, "primary_conninfo") == 0) {
            if (!current_dsn(&arena, row->setting, receiver, starting, &dsn, &empty)) {
                diff.change = diff.restart = true;
                pgv_copy_cut(diff.reason, sizeof(diff.reason), pgv_str(row->name));
                break;
            }
            same = same_conninfo(wanted, &dsn, empty, version);
            diff.other_passfile = wanted->conninfo.v[PGDSN_PASSWORD] && !dsn.v[PGDSN_PASSWORD] &&
                                  dsn.v[PGDSN_PASSFILE] &&
                                  strcmp(dsn.v[PGDSN_PASSFILE], cur->passfile) != 0;
        } else {
            same = row_same(row, wanted, receiver, starting);
        }
        if (same)
            continue;
        if (!diff.change || (row->restart && !diff.restart))
            pgv_copy_cut(diff.reason, sizeof(diff.reason), pgv_str(row->name));
        diff.change = true;
        diff.restart = diff.restart || row->restart;
    }
out:
    pgv_arena_done(&arena);
    *ret = diff;
}
