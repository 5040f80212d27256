/* SPDX-License-Identifier: PostgreSQL */
/* ctl/select.c - which members a command is about. Source: Patroni 4.1, ctl.get_members(). */
#include "ctl/members.h"
#include "ctl/prompt.h"

#include "base/banned.h"

#define QUESTION_BYTES_MAX 16384

const char *const ctl_role_choices[] = { "leader",  "primary", "standby-leader",
                                         "replica", "standby", "any",
                                         NULL };

enum ctl_role ctl_role_parse(const char *name, enum ctl_role otherwise)
{
    for (int i = 0; name && ctl_role_choices[i]; i++) {
        if (strcmp(name, ctl_role_choices[i]) == 0)
            return (enum ctl_role)i;
    }
    return otherwise;
}

const char *ctl_action_name(enum ctl_action action)
{
    static const char *const names[] = { [CTL_RELOAD] = "reload",
                                         [CTL_RESTART] = "restart",
                                         [CTL_REINITIALIZE] = "reinitialize",
                                         [CTL_FLUSH] = "flush" };

    return names[action];
}

static void add(struct ctl_selection *s, const struct dcs_member *m)
{
    if (s->n < CTL_MEMBERS_MAX)
        s->v[s->n++] = m;
}

static void add_with_role(const struct ctl_cluster *k, enum ctl_role role, struct ctl_selection *s)
{
    const struct dcs_cluster *c = &k->s->cluster;
    bool standby_leader = k->leader && k->leader->role == PGV_ROLE_STANDBY_LEADER;
    bool primary = k->leader && k->leader->role == PGV_ROLE_PRIMARY;

    switch (role) {
    case CTL_ROLE_LEADER:
        if (k->leader)
            add(s, k->leader);
        break;
    case CTL_ROLE_PRIMARY: /* a leader of unknown role counts as either */
        if (k->leader && !standby_leader)
            add(s, k->leader);
        break;
    case CTL_ROLE_STANDBY_LEADER:
        if (k->leader && !primary)
            add(s, k->leader);
        break;
    case CTL_ROLE_REPLICA:
    case CTL_ROLE_STANDBY:
    case CTL_ROLE_ANY:
        for (unsigned i = 0; i < c->n_members; i++) {
            if (role == CTL_ROLE_ANY || !k->leader ||
                strcmp(c->members[i].name, k->leader->name) != 0)
                add(s, &c->members[i]);
        }
        break;
    }
}

void ctl_members_with_role(const struct ctl_cluster *k, enum ctl_role role,
                           struct ctl_selection *ret)
{
    ret->n = 0;
    add_with_role(k, role, ret);
    for (unsigned i = 0; i < k->n_workers; i++)
        add_with_role(k->workers[i], role, ret);
}

const struct dcs_member *ctl_find_member(const struct ctl_cluster *k, const char *name,
                                         const char *role)
{
    struct ctl_selection s;

    ctl_members_with_role(k, name ? CTL_ROLE_ANY : ctl_role_parse(role, CTL_ROLE_LEADER), &s);
    for (unsigned i = 0; i < s.n; i++) {
        if (!name || strcmp(s.v[i]->name, name) == 0)
            return s.v[i];
    }
    return NULL;
}

void ctl_members_leader_first(const struct ctl_cluster *k, struct ctl_selection *ret)
{
    const struct dcs_cluster *c = &k->s->cluster;
    struct ctl_selection s = { .n = 0 };

    if (k->leader && k->leader->api_url[0])
        s.v[s.n++] = k->leader;
    for (unsigned i = 0; i < c->n_members; i++) {
        if (c->members[i].api_url[0] && &c->members[i] != k->leader)
            s.v[s.n++] = &c->members[i];
    }
    *ret = s;
}

void ctl_put_names(struct pgv_buf *b, const struct ctl_selection *s)
{
    for (unsigned i = 0; i < s->n; i++)
        pgv_buf_printf(b, "%s%s", i ? ", " : "", s->v[i]->name);
}

bool ctl_must_confirm(struct ctl *c, const char *question, const char *refused,
                      struct pgv_error *err)
{
    bool yes;

    if (!ctl_confirm(c, question, &yes, err))
        return false;
    return yes || pgv_fail(err, PGV_EINVALID, "%s", refused);
}

static bool is_named(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static void keep_named(struct ctl_selection *s, const char *const *names, size_t n)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < s->n; i++) {
        if (is_named(s->v[i]->name, names, n))
            s->v[kept++] = s->v[i];
    }
    s->n = kept;
}

/** reinit never means all members: without names one is asked for. */
static bool ask_which(struct ctl_cluster *k, enum ctl_action action, struct ctl_selection *io,
                      struct pgv_error *err)
{
    char answer[CTL_ANSWER_BYTES];
    const char *name = answer;
    struct pgv_buf question;
    bool ok;

    pgv_buf_init(&question, QUESTION_BYTES_MAX);
    pgv_buf_printf(&question, "Which member do you want to %s [", ctl_action_name(action));
    ctl_put_names(&question, io);
    pgv_buf_puts(&question, "]?");
    ok = ctl_ask(k->c, pgv_buf_cstr(&question), "", answer, err);
    pgv_buf_done(&question);
    if (!ok)
        return false;
    keep_named(io, &name, 1);
    return io->n > 0 || pgv_fail(err, PGV_EINVALID, "%s is not a member of cluster", answer);
}

bool ctl_select_members(struct ctl_cluster *k, const char *const *names, size_t n_names,
                        enum ctl_role role, bool force, enum ctl_action action,
                        struct ctl_selection *ret, struct pgv_error *err)
{
    struct ctl_selection s;
    struct pgv_buf text;
    char refused[64];
    bool ok = false;

    pgv_buf_init(&text, QUESTION_BYTES_MAX);
    ctl_members_with_role(k, role, &s);
    if (n_names == 0 && s.n == 0) {
        pgv_fail(err, PGV_EINVALID, "%s cluster doesn't have any members", k->name);
        goto out;
    }
    if (!ctl_print_members(k, false, CTL_PRETTY, err))
        goto out;
    if (n_names > 0) {
        keep_named(&s, names, n_names);
        if (s.n == 0) {
            const char *quote = action == CTL_REINITIALIZE ? "" : "'";

            pgv_fail(err, PGV_EINVALID, "No %s%s%s among provided members", quote,
                     ctl_role_choices[role], quote);
            goto out;
        }
    } else if (action == CTL_REINITIALIZE) {
        if (force)
            s.n = 0;
        else if (!ask_which(k, action, &s, err))
            goto out;
    }
    if (action != CTL_RESTART && !force) {
        pgv_buf_printf(&text, "Are you sure you want to %s members ", ctl_action_name(action));
        ctl_put_names(&text, &s);
        pgv_buf_putc(&text, '?');
        snprintf(refused, sizeof(refused), "Aborted %s", ctl_action_name(action));
        if (!ctl_must_confirm(k->c, pgv_buf_cstr(&text), refused, err))
            goto out;
    }
    *ret = s;
    ok = true;
out:
    pgv_buf_done(&text);
    return ok;
}
