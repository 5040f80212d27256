/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/config_check.c - a changed dynamic configuration: what is wrong with it, and which restarts
 * it brings. The rules are the agent's own (agent/validate.h), and PostgreSQL's table of
 * parameters.
 */
#include "ctl/config_check.h"

#include "agent/config_private.h"
#include "agent/validate.h"
#include "pg/pgguc.h"

#include "base/banned.h"

#define TEXT_BYTES_MAX 4096

void ctl_config_check_init(struct ctl_config_check *k)
{
    pgv_buf_init(&k->errors, AGENT_FINDINGS_BYTES_MAX);
    pgv_buf_init(&k->warnings, AGENT_FINDINGS_BYTES_MAX);
    pgv_buf_init(&k->restarts, AGENT_FINDINGS_BYTES_MAX);
}

void ctl_config_check_done(struct ctl_config_check *k)
{
    pgv_buf_done(&k->errors);
    pgv_buf_done(&k->warnings);
    pgv_buf_done(&k->restarts);
}

/** Lines of @after that @before has not. Where a line stands in an edited text does not count. */
static void add_news(struct pgv_buf *b, struct pgv_buf *before, struct pgv_buf *after)
{
    struct pgv_str line, rest = pgv_buf_view(after);

    while (pgv_str_cut(rest, '\n', &line, &rest)) {
        struct pgv_str old, olds = pgv_buf_view(before), head, ignored;
        bool known = false;

        (void)pgv_str_cut(line, '[', &head, &ignored);
        while (!known && pgv_str_cut(olds, '\n', &old, &olds)) {
            (void)pgv_str_cut(old, '[', &old, &ignored);
            known = pgv_str_eq(old, head);
        }
        if (known)
            continue;
        pgv_buf_str(b, line);
        pgv_buf_putc(b, '\n');
    }
}

static bool validate(struct ctl_config_check *ret, const struct pgv_value *before,
                     const struct pgv_value *after, struct pgv_error *err)
{
    struct agent_findings old, new;
    bool ok;

    agent_findings_init(&old);
    agent_findings_init(&new);
    ok = agent_validate_dynamic(before, &old, err) && agent_validate_dynamic(after, &new, err);
    if (ok) {
        add_news(&ret->errors, &old.errors, &new.errors);
        add_news(&ret->warnings, &old.warnings, &new.warnings);
    }
    agent_findings_done(&old);
    agent_findings_done(&new);
    return ok;
}

/* ---- restarts -------------------------------------------------------------------------------- */

/** '' for all members, or what follows 'parameters' for those of one role. */
struct scope {
    const char *suffix;
    enum pgv_role role;
};

/** Does @m run with something else than @text (NULL: the server's default)? */
static bool must_restart(const struct dcs_member *m, const struct scope *scope, struct pgv_str name,
                         const char *text)
{
    const struct pgv_value *reasons = pgv_get(m->data, "pending_restart_reason");
    const struct pgv_value *reason = pgv_get(reasons, name.p);
    const char *runs_with = pgv_stringz(pgv_get(reason, "old_value"));

    if (m->state != PGV_STATE_RUNNING && !pgv_state_is_starting(m->state))
        return false; /* it will start with it */
    if (*scope->suffix && m->role != scope->role)
        return false;
    return !runs_with || !text || !pgguc_same_of(name, runs_with, text);
}

static void put_versions(struct pgv_buf *b, int from, int till)
{
    if (from > PGGUC_VERSION_OLDEST)
        pgv_buf_printf(b, " (from PostgreSQL %d on)", from / 10000);
    else if (till < PGGUC_VERSION_OPEN)
        pgv_buf_printf(b, " (before PostgreSQL %d)", till / 10000);
}

/** A change of @name between two texts; NULL: not set. */
static void tell_restart(struct pgv_buf *b, const struct dcs_cluster *cluster,
                         const struct scope *scope, struct pgv_str name, const char *old,
                         const char *new)
{
    unsigned told = 0;
    int from, till;

    if (!pgguc_needs_restart(name, &from, &till) || (old && new &&pgguc_same_of(name, old, new)))
        return;
    for (unsigned i = 0; i < cluster->n_members; i++) {
        const struct dcs_member *m = &cluster->members[i];

        if (!must_restart(m, scope, name, new))
            continue;
        if (told++ == 0) {
            pgv_buf_printf(b, "%s %s -> %s", name.p, old ? old : "default", new ? new : "default");
            put_versions(b, from, till);
            pgv_buf_puts(b, ": restart of ");
        }
        pgv_buf_printf(b, "%s%s", told > 1 ? ", " : "", m->name);
    }
    if (told)
        pgv_buf_putc(b, '\n');
}

/** The text of a parameter in the way it would be put in force, in @buf; NULL: it would not. */
static const char *text_of(const struct pgv_value *map, const char *name, const char *suffix,
                           struct pgv_buf *buf)
{
    const struct pgv_value *v = pgv_get(map, name);
    char why[160];

    pgv_buf_reset(buf);
    if (!v || v->type == PGV_NULL || !agent_config_accepts(name, v, why, sizeof(why)) ||
        (*suffix && agent_config_controlled(name)) || !pgv_value_text(buf, v))
        return NULL;
    return pgv_buf_cstr(buf);
}

static void compare(struct pgv_buf *b, const struct dcs_cluster *cluster, const struct scope *scope,
                    const struct pgv_value *before, const struct pgv_value *after)
{
    const struct pgv_value *old_map, *new_map;
    struct pgv_buf old_text, new_text;
    const char *old, *new;
    char path[64];

    snprintf(path, sizeof(path), "postgresql.parameters%s", scope->suffix);
    old_map = pgv_path(before, path);
    new_map = pgv_path(after, path);
    pgv_buf_init(&old_text, TEXT_BYTES_MAX);
    pgv_buf_init(&new_text, TEXT_BYTES_MAX);
    PGV_EACH(v, new_map)
    {
        old = text_of(old_map, v->key.p, scope->suffix, &old_text);
        new = text_of(new_map, v->key.p, scope->suffix, &new_text);
        if (old || new)
            tell_restart(b, cluster, scope, v->key, old, new);
    }
    PGV_EACH(v, old_map)
    {
        old = text_of(old_map, v->key.p, scope->suffix, &old_text);
        if (old && !pgv_get(new_map, v->key.p))
            tell_restart(b, cluster, scope, v->key, old, NULL);
    }
    pgv_buf_done(&old_text);
    pgv_buf_done(&new_text);
}

bool ctl_config_check(struct ctl_config_check *ret, const struct dcs_cluster *cluster,
                      const struct pgv_value *before, const struct pgv_value *after,
                      struct pgv_error *err)
{
    static const struct scope scopes[] = { { "", PGV_ROLE_UNKNOWN },
                                           { "_primary", PGV_ROLE_PRIMARY },
                                           { "_replica", PGV_ROLE_REPLICA },
                                           { "_standby_leader", PGV_ROLE_STANDBY_LEADER } };

    if (!validate(ret, before, after, err))
        return false;
    for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++)
        compare(&ret->restarts, cluster, &scopes[i], before, after);
    if (ret->errors.failed || ret->warnings.failed || ret->restarts.failed)
        return pgv_fail(err, PGV_ENOMEM, "no memory for all that is to be said");
    return true;
}
