/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/config_changes.c - what a reload changed, in the log: which option, from what to what, and
 * whether that is all it takes. What waits for a restart of PostgreSQL, PostgreSQL knows best: that
 * line comes from pg/pgreload.c when the new settings are compared with the server's.
 */
#include "agent/config_private.h"
#include "agent/validate.h"
#include "base/log.h"

#include <stdio.h>

#include "base/banned.h"

#define PATH_BYTES 256
#define VALUE_BYTES 160
#define LINES_MAX 100 /* of one reload */

/* A value for people: cut, and hidden when it is or could hold a secret. */
static void show(const char *path, const struct pgv_value *v, char ret[VALUE_BYTES])
{
    struct pgv_buf text;

    pgv_buf_init(&text, 64 * 1024);
    if (agent_option_is_secret(path, v))
        (void)snprintf(ret, VALUE_BYTES, "(hidden)");
    else if (pgv_value_text(&text, v))
        pgv_copy_cut(ret, VALUE_BYTES, pgv_buf_view(&text));
    else
        (void)snprintf(ret, VALUE_BYTES, "(long)");
    pgv_buf_done(&text);
}

static const char *effect_of(const char *path)
{
    static const char own[] = "postgresql.parameters.";
    enum agent_option_effect effect = agent_option_effect(path);

    if (strncmp(path, own, sizeof(own) - 1) == 0 && agent_config_controlled(path + sizeof(own) - 1))
        effect = AGENT_OPTION_SHARED;
    switch (effect) {
    case AGENT_OPTION_NOW:
        return "in force";
    case AGENT_OPTION_RESTART:
        return "takes a restart of the agent";
    case AGENT_OPTION_SERVER:
        return "in force once PostgreSQL has reloaded it, or was restarted if it is one of those";
    case AGENT_OPTION_BOOTSTRAP:
        return "counts when a cluster begins, not for this one";
    case AGENT_OPTION_SHARED:
        return "no effect: the cluster's configuration decides, see edit-config";
    case AGENT_OPTION_NONE:
        break;
    }
    return "no effect";
}

static void say(const char *path, const struct pgv_value *before, const struct pgv_value *after)
{
    char was[VALUE_BYTES] = "", is[VALUE_BYTES] = "";

    if (before)
        show(path, before, was);
    if (after)
        show(path, after, is);
    if (before && after)
        pgv_log(PGV_INFO, "config", "%s changed from '%s' to '%s': %s", path, was, is,
                effect_of(path));
    else if (after)
        pgv_log(PGV_INFO, "config", "%s set to '%s': %s", path, is, effect_of(path));
    else
        pgv_log(PGV_INFO, "config", "%s taken away, it was '%s': %s", path, was, effect_of(path));
}

static void compare(const char *path, const struct pgv_value *before, const struct pgv_value *after,
                    unsigned *lines);

static void compare_member(const char *path, const char *key, const struct pgv_value *before,
                           const struct pgv_value *after, unsigned *lines)
{
    char below[PATH_BYTES];

    if (snprintf(below, sizeof(below), "%s%s%s", path, *path ? "." : "", key) < (int)sizeof(below))
        compare(below, before, after, lines);
}

static void compare(const char *path, const struct pgv_value *before, const struct pgv_value *after,
                    unsigned *lines)
{
    if (before && after && pgv_value_same(before, after))
        return;
    if ((!before || pgv_is(before, PGV_MAP)) && (!after || pgv_is(after, PGV_MAP))) {
        PGV_EACH(b, before)
        {
            compare_member(path, b->key.p, b, pgv_get(after, b->key.p), lines);
        }
        PGV_EACH(a, after)
        {
            if (!pgv_get(before, a->key.p))
                compare_member(path, a->key.p, NULL, a, lines);
        }
        return;
    }
    if (++*lines <= LINES_MAX)
        say(path, before, after);
}

void agent_config_say_changes(const struct agent_config *c, const struct agent_config_next *next)
{
    unsigned lines = 0;

    compare("", next->local.root, c->local.root, &lines);
    if (lines > LINES_MAX)
        pgv_log(PGV_INFO, "config", "%u further options changed", lines - LINES_MAX);
    agent_config_warn_tags(c);
    agent_config_warn_watchdog(c);
}

/* ---- tags --------------------------------------------------------------------------------------
 */

/* Source: Patroni, Config._validate_contradictory_tags(). */
static void warn_conflicting_tags(const struct pgv_value *tags, const char *flag,
                                  const char *priority)
{
    const struct pgv_value *v = pgv_get(tags, flag);
    int64_t p = pgv_int_like(pgv_get(tags, priority), NULL, INT64_MIN);
    char text[VALUE_BYTES];

    if (!v || p == INT64_MIN || pgv_truthy(v) != (p > 0))
        return;
    show(flag, v, text);
    pgv_log(PGV_WARNING, "config",
            "Conflicting configuration between %s: %s and %s: %lld. Defaulting to %s: %s", flag,
            text, priority, (long long)p, flag, text);
}

void agent_config_warn_tags(const struct agent_config *c)
{
    const struct pgv_value *tags = pgv_get(c->effective, "tags");

    warn_conflicting_tags(tags, "nofailover", "failover_priority");
    warn_conflicting_tags(tags, "nosync", "sync_priority");
}
