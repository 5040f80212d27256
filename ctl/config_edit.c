/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/config_edit.c - changing the dynamic configuration. Source: Patroni 4.1,
 * ctl.apply_config_changes(), apply_yaml_file().
 */
#include "ctl/config_edit.h"

#include "base/banned.h"

static const char parameters_path[] = "postgresql.parameters";

static bool out_of_memory(struct pgv_error *err)
{
    return pgv_fail(err, PGV_ENOMEM, "out of memory");
}

/** @path is what is left of the whole path; @below tells that it starts under the parameters. */
static bool set_path(struct pgv_arena *a, struct pgv_value *map, struct pgv_str whole,
                     struct pgv_str path, struct pgv_value *value, struct pgv_error *err)
{
    struct pgv_str head, rest = { 0 };
    size_t done = (size_t)(path.p - whole.p);
    bool below = done == sizeof(parameters_path) &&
                 memcmp(whole.p, parameters_path, sizeof(parameters_path) - 1) == 0;
    bool last = below || !pgv_str_cut(path, '.', &head, &rest);
    char *key = pgv_arena_dup(a, last ? path : head);
    struct pgv_value *child;

    if (!key)
        return out_of_memory(err);
    if (last && pgv_is(value, PGV_NULL)) {
        pgv_map_remove(map, key);
        return true;
    }
    if (last)
        return pgv_map_set(a, map, key, value) != NULL || out_of_memory(err);
    child = pgv_get(map, key);
    if (!pgv_is(child, PGV_MAP))
        child = pgv_map_set(a, map, key, pgv_new(a, PGV_MAP));
    if (!child)
        return out_of_memory(err);
    if (!set_path(a, child, whole, rest, value, err))
        return false;
    if (child->u.c.n == 0)
        pgv_map_remove(map, key);
    return true;
}

bool ctl_config_set(struct pgv_arena *a, struct pgv_value *config, const char *pair,
                    struct pgv_error *err)
{
    static const char source[] = "value";
    struct pgv_str path, text;
    struct pgv_value *value;

    if (!pgv_str_cut(pgv_str(pair), '=', &path, &text))
        return pgv_fail(err, PGV_EINVALID, "Invalid parameter setting %s", pair);
    path = pgv_str_trim(path);
    if (!pgv_yaml_parse(a, source, text, &value, err)) {
        pgv_error_wrap(err, "%s", pair);
        return false;
    }
    value->line = 0; /* of a command line nobody wants to know */
    return set_path(a, config, path, path, value, err);
}

bool ctl_config_merge(struct pgv_arena *a, struct pgv_value *config, const char *name,
                      struct pgv_str yaml, struct pgv_error *err)
{
    struct pgv_value *patch;
    bool changed;

    if (!pgv_yaml_parse(a, name, yaml, &patch, err))
        return false;
    if (!pgv_is(patch, PGV_MAP))
        return pgv_fail(err, PGV_EINVALID, "%s does not contain a dict", name);
    return pgv_value_patch(a, config, patch, &changed, err);
}
