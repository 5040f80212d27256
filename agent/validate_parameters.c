/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/validate_parameters.c - PostgreSQL's parameters in the dynamic configuration.
 *
 * Nothing here is an error: the agents leave out what no server would take, and put the bound or
 * the default in the place of a value that will not do. But who wrote it meant something else.
 * Which version the servers have is not known here, so a name counts as known if any has it.
 */
#include "agent/validate_private.h"

#include "agent/config_private.h"
#include "pg/pgguc.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static void check_value(struct validate_check *k, const struct pgguc_rule *rule,
                        const struct pgv_value *v, const char *text)
{
    const char *unit = rule->unit ? rule->unit : "";
    char hint[160];

    switch (pgguc_judge(rule, text)) {
    case PGGUC_FITS:
        return;
    case PGGUC_TOO_LOW:
        (void)snprintf(hint, sizeof(hint), "the agents make it %.15g%s", rule->min, unit);
        validate_bad(k, v, "is too low", hint);
        return;
    case PGGUC_TOO_BIG:
        (void)snprintf(hint, sizeof(hint), "the agents make it %.15g%s", rule->max, unit);
        validate_bad(k, v, "is too big", hint);
        return;
    case PGGUC_WRONG:
        if (*rule->values)
            (void)snprintf(hint, sizeof(hint), "one of: %s%s",
                           rule->type == PGGUC_ENUM_BOOL ? "on|off|" : "", rule->values);
        else if (rule->type == PGGUC_BOOL)
            (void)snprintf(hint, sizeof(hint), "on or off");
        else
            (void)snprintf(hint, sizeof(hint), "a number%s%s",
                           *unit ? ", by itself counted in " : "", unit);
        validate_bad(k, v, "does not suit and is left out", hint);
        return;
    }
}

static void check_parameter(struct validate_check *k, const struct pgv_value *v, bool of_role)
{
    const char *suggested;
    struct pgguc_rule rule;
    struct pgv_buf text;
    char hint[160] = "";

    if (of_role && agent_config_controlled(v->key.p)) {
        validate_bad(k, v, "has no effect here", "it must be the same on all members");
        return;
    }
    if (!agent_config_accepts(v->key.p, v, hint, sizeof(hint))) {
        validate_bad(k, v, "is not accepted", hint);
        return;
    }
    if (memchr(v->key.p, '.', v->key.n)) /* an extension's own */
        return;
    if (pgguc_is_recovery(v->key)) {
        validate_bad(k, v, "has no effect here", "it belongs to postgresql.recovery_conf");
        return;
    }
    if (!pgguc_find(v->key, pgguc_last_version(v->key), &rule)) {
        suggested = pgguc_suggest(v->key);
        if (suggested)
            (void)snprintf(hint, sizeof(hint), "did you mean '%s'?", suggested);
        validate_say(k->f, false, k->path, v, NULL, "is not known to PostgreSQL", hint);
        return;
    }
    pgv_buf_init(&text, 4096);
    if (pgv_value_text(&text, v))
        check_value(k, &rule, v, pgv_buf_cstr(&text));
    pgv_buf_done(&text);
}

void validate_parameters(struct validate_check *k, const char *path)
{
    const struct pgv_value *map = pgv_path(k->local, path);
    bool of_role = strstr(path, "parameters_") != NULL;
    char at[VALIDATE_PATH_BYTES + 64];

    if (!pgv_is(map, PGV_MAP))
        return;
    k->soft = true;
    k->path = at;
    PGV_EACH(v, map)
    {
        if (snprintf(at, sizeof(at), "%s.%s", path, v->key.p) < (int)sizeof(at))
            check_parameter(k, v, of_role);
    }
}
