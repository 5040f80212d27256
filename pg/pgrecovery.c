/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgrecovery.c - building and writing the recovery configuration. The comparison is in
 * pgrecovery_compare.c.
 */
#include "pg/pgrecovery.h"

#include "base/file.h"
#include "base/log.h"
#include "base/parse.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#include "base/banned.h"

static bool no_memory(struct pgv_error *err)
{
    return pgv_fail(err, PGV_ENOMEM, "no memory for the recovery configuration");
}

static bool set_text(struct pgv_arena *a, struct pgv_value *map, const char *name,
                     const char *value)
{
    return value && pgv_map_set(a, map, name, pgv_new_string(a, pgv_str(value)));
}

/** promote_trigger_file was called trigger_file in recovery.conf; 16 has neither. */
static const char *era_name(const char *name, int major_version)
{
    if (major_version >= 120000 && strcmp(name, "trigger_file") == 0)
        return "promote_trigger_file";
    if (major_version < 120000 && strcmp(name, "promote_trigger_file") == 0)
        return "trigger_file";
    return name;
}

/** Copy a member as text under the name of its era, unless the right name is given as well. */
static bool copy_item(struct pgv_arena *a, struct pgv_value *to, const struct pgv_value *from,
                      const struct pgv_value *item, int major_version)
{
    const char *name = era_name(item->key.p, major_version);
    struct pgv_buf text;
    bool ok;

    if (item->type == PGV_NULL || (name != item->key.p && pgv_get(from, name)))
        return true;
    pgv_buf_init(&text, PGCONF_BYTES_MAX);
    ok = pgv_value_text(&text, item) && set_text(a, to, name, pgv_buf_cstr(&text));
    pgv_buf_done(&text);
    return ok;
}

/** Contract §14.5: what the standby's walreceiver connects with. */
static bool build_conninfo(const struct pgconf *c, int version, struct pgv_arena *a,
                           const char *conn_url, struct pgdsn *ret, struct pgv_error *err)
{
    struct pgdsn d, node;

    if (!pgconf_url_to_dsn(c, a, conn_url, &node, err))
        return false;
    d = (struct pgdsn){ 0 };
    pgconf_auth_to_dsn(&c->replication, &d);
    d.v[PGDSN_HOST] = node.v[PGDSN_HOST];
    d.v[PGDSN_PORT] = node.v[PGDSN_PORT];
    d.v[PGDSN_DBNAME] = node.v[PGDSN_DBNAME];
    d.v[PGDSN_APPLICATION_NAME] = c->name; /* synchronous_standby_names goes by it */
    d.v[PGDSN_KRBSRVNAME] = c->krbsrvname;
    if (!d.v[PGDSN_SSLMODE])
        d.v[PGDSN_SSLMODE] = "prefer";
    if (version >= 120000 && !d.v[PGDSN_GSSENCMODE])
        d.v[PGDSN_GSSENCMODE] = "prefer";
    if (version >= 130000 && !d.v[PGDSN_CHANNEL_BINDING])
        d.v[PGDSN_CHANNEL_BINDING] = "prefer";
    if (version >= 170000 && !d.v[PGDSN_SSLNEGOTIATION])
        d.v[PGDSN_SSLNEGOTIATION] = "postgres";
    *ret = d;
    return true;
}

/** The upstream, and the slot that keeps WAL for us there. */
static bool build_upstream(const struct pgconf *c, int version,
                           const struct pgrecovery_source *source, struct pgv_arena *a,
                           struct pgrecovery *r, struct pgv_error *err)
{
    char slot[PGV_SLOT_NAME_BYTES];

    if (!source->conn_url || source->conn_url[0] == '\0' || source->is_me)
        return true;
    if (!build_conninfo(c, version, a, source->conn_url, &r->conninfo, err))
        return false;
    r->has_conninfo = true;
    if (!c->use_slots || version < 90400 || (source->remote && source->no_replication_slot))
        return true;
    /* my own name, not the upstream's: the slot is there for me */
    if (source->remote)
        pgv_slot_name(source->primary_slot_name ? source->primary_slot_name : "", slot);
    else
        pgconf_my_slot(c, slot);
    if (!set_text(a, r->params, "primary_slot_name", slot))
        return no_memory(err);
    if (source->remote && version >= 100000 && r->conninfo.v[PGDSN_HOST] &&
        strchr(r->conninfo.v[PGDSN_HOST], ','))
        r->conninfo.v[PGDSN_TARGET_SESSION_ATTRS] = "read-write";
    return true;
}

/** Protection from an included file that sets a target: it would pause, promote or stop us. */
static bool clear_targets(struct pgv_arena *a, struct pgv_value *params, int version)
{
    static const char *const targets[] = { "recovery_target", "recovery_target_name",
                                           "recovery_target_time", "recovery_target_xid",
                                           "recovery_target_lsn" };

    for (unsigned i = 0; version >= 120000 && i < 5; i++)
        if (!set_text(a, params, targets[i], ""))
            return false;
    return true;
}

bool pgrecovery_build(const struct pgconf *c, const struct pgfiles_env *env,
                      const struct pgrecovery_source *source, struct pgv_arena *a,
                      struct pgrecovery *ret, struct pgv_error *err)
{
    struct pgrecovery r = { .standby_mode = true, .params = pgv_new(a, PGV_MAP) };

    if (!r.params)
        return no_memory(err);
    PGV_EACH(item, c->recovery_conf)
    {
        if (pgv_str_starts(item->key, "recovery_target") ||
            pgv_str_eqz(item->key, "primary_conninfo") ||
            pgv_str_eqz(item->key, "primary_slot_name") || pgv_str_eqz(item->key, "standby_mode"))
            continue;
        if (!copy_item(a, r.params, c->recovery_conf, item, env->major_version))
            return no_memory(err);
    }
    if (!set_text(a, r.params, "recovery_target_timeline", "latest") ||
        !clear_targets(a, r.params, env->major_version))
        return no_memory(err);
    if (!build_upstream(c, env->major_version, source, a, &r, err))
        return false;
    if ((source->restore_command && source->restore_command[0] &&
         !set_text(a, r.params, "restore_command", source->restore_command)) ||
        (source->archive_cleanup_command && source->archive_cleanup_command[0] &&
         !set_text(a, r.params, "archive_cleanup_command", source->archive_cleanup_command)) ||
        (source->remote && source->recovery_min_apply_delay &&
         source->recovery_min_apply_delay[0] &&
         !set_text(a, r.params, "recovery_min_apply_delay", source->recovery_min_apply_delay)))
        return no_memory(err);
    *ret = r;
    return true;
}

bool pgrecovery_from_map(const struct pgconf *c, const struct pgfiles_env *env,
                         const struct pgv_value *map, struct pgv_arena *a, struct pgrecovery *ret,
                         struct pgv_error *err)
{
    struct pgrecovery r = { .params = pgv_new(a, PGV_MAP) };

    (void)c;
    if (!r.params)
        return no_memory(err);
    PGV_EACH(item, map)
    {
        if (pgv_str_eqz(item->key, "standby_mode")) {
            r.standby_mode = pgv_bool_like(item);
            continue;
        }
        if (pgv_str_eqz(item->key, "primary_conninfo") && item->type == PGV_STRING) {
            if (!pgdsn_parse(a, item->u.s.p, false, &r.conninfo, err))
                return false;
            r.has_conninfo = true;
            continue;
        }
        if (!copy_item(a, r.params, map, item, env->major_version))
            return no_memory(err);
    }
    *ret = r;
    return true;
}

/* ------------------------------------------------------------------------------------- writing */

static bool signal_path(const struct pgconf *c, const char *name, char ret[PGCONF_PATH_BYTES])
{
    int n = snprintf(ret, PGCONF_PATH_BYTES, "%s/%s", c->data_dir, name);

    return n > 0 && n < PGCONF_PATH_BYTES;
}

static bool write_signal(const struct pgconf *c, const char *name, struct pgv_error *err)
{
    char path[PGCONF_PATH_BYTES];

    if (!signal_path(c, name, path))
        return pgv_fail(err, PGV_EINVALID, "postgresql.data_dir: path is too long");
    if (pgv_file_exists(path))
        return true;
    return pgv_file_replace(path, (struct pgv_str){ 0 }, pgfiles_mode(c->data_dir, false), err);
}

static bool remove_file(const struct pgconf *c, const char *name, bool *removed,
                        struct pgv_error *err)
{
    char path[PGCONF_PATH_BYTES];

    if (!signal_path(c, name, path))
        return pgv_fail(err, PGV_EINVALID, "postgresql.data_dir: path is too long");
    if (unlink(path) == 0)
        *removed = true;
    else if (errno != ENOENT && errno != ENOTDIR)
        return pgv_fail_sys(err, errno, "remove '%s'", path);
    return true;
}

/** pause_at_recovery_target (before 9.5) and recovery_target_action say the same. */
static bool translate_action(struct pgv_arena *a, struct pgv_value *params, int version)
{
    const struct pgv_value *pause = pgv_get(params, "pause_at_recovery_target");
    const char *action = pgv_stringz(pgv_get(params, "recovery_target_action"));
    bool ok = true, paused;

    if (version >= 90500) {
        if (pause && !action && pgv_parse_bool(pgv_string(pause), &paused))
            ok = set_text(a, params, "recovery_target_action", paused ? "pause" : "promote");
        (void)pgv_map_remove(params, "pause_at_recovery_target");
        return ok;
    }
    if (action && !pause && strcasecmp(action, "promote") == 0)
        ok = set_text(a, params, "pause_at_recovery_target", "false");
    (void)pgv_map_remove(params, "recovery_target_action");
    return ok;
}

/** The text of primary_conninfo; from 10 on the password goes into the password file instead. */
static bool set_conninfo(const struct pgconf *c, int version, const struct pgrecovery *r,
                         struct pgv_arena *a, struct pgv_value *params, struct pgv_error *err)
{
    struct pgdsn d = r->conninfo;
    struct pgv_buf text;
    bool in_file = false, ok;

    if (version >= 100000 && !pgdsn_pgpass_write(c->pgpass, &d, &in_file, err))
        return false;
    if (in_file)
        d.v[PGDSN_PASSFILE] = c->pgpass;
    pgv_buf_init(&text, PGDSN_BYTES_MAX);
    ok = pgdsn_write(&text, &d, version) &&
         set_text(a, params, "primary_conninfo", pgv_buf_cstr(&text));
    if (text.p)
        explicit_bzero(text.p, text.n);
    pgv_buf_done(&text);
    return ok || no_memory(err);
}

bool pgrecovery_write(const struct pgconf *c, const struct pgfiles_env *env,
                      const struct pgrecovery *r, struct pgv_arena *a,
                      struct pgv_value **ret_params, struct pgv_error *err)
{
    struct pgv_value *params = pgv_value_copy(a, r->params);
    bool removed = false;

    if (!params || !translate_action(a, params, env->major_version))
        return no_memory(err);
    if (r->has_conninfo && !set_conninfo(c, env->major_version, r, a, params, err))
        return false;
    if (env->major_version < 120000) {
        if (!set_text(a, params, "standby_mode", r->standby_mode ? "on" : "off"))
            return no_memory(err);
        if (!pgfiles_write_recovery_conf(c, env, params, err))
            return false;
        *ret_params = NULL;
        return true;
    }
    if (r->standby_mode) {
        if (!write_signal(c, "standby.signal", err))
            return false;
    } else if (!remove_file(c, "standby.signal", &removed, err) ||
               !write_signal(c, "recovery.signal", err)) {
        return false;
    }
    *ret_params = params;
    return true;
}

bool pgrecovery_remove(const struct pgconf *c, struct pgv_error *err)
{
    bool removed = false;

    if (!remove_file(c, "recovery.conf", &removed, err) ||
        !remove_file(c, "standby.signal", &removed, err) ||
        !remove_file(c, "recovery.signal", &removed, err))
        return false;
    return !removed || pgv_dir_sync(c->data_dir, err);
}

bool pgrecovery_exists(const struct pgconf *c, int major_version)
{
    char path[PGCONF_PATH_BYTES];

    if (major_version < 120000)
        return signal_path(c, "recovery.conf", path) && pgv_file_exists(path);
    return (signal_path(c, "standby.signal", path) && pgv_file_exists(path)) ||
           (signal_path(c, "recovery.signal", path) && pgv_file_exists(path));
}
