/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/explain.c - explain [MEMBER]: why a member is or is not the leader, whether it would be
 * promoted now, what blocks a switchover. The member itself answers; a Patroni node cannot.
 */
#include "ctl/commands.h"
#include "ctl/members.h"
#include "ctl/rest.h"

#include "base/banned.h"

static const char *mark(const struct pgv_value *rule)
{
    const char *verdict = pgv_stringz(pgv_get(rule, "verdict"));

    if (!verdict)
        return "?";
    return strcmp(verdict, "pass") == 0 ? "+" : strcmp(verdict, "fail") == 0 ? "-" : "?";
}

static const char *text_of(const struct pgv_value *map, const char *key)
{
    const char *text = pgv_stringz(pgv_get(map, key));

    return text ? text : "";
}

static void write_rules(struct pgv_buf *b, const char *head, const struct pgv_value *part)
{
    pgv_buf_printf(b, "  %s %s\n", head, text_of(part, "verdict"));
    PGV_EACH(rule, pgv_get(part, "rules"))
    {
        pgv_buf_printf(b, "    %s %s\n", mark(rule), text_of(rule, "text"));
    }
}

static void write_explanation(struct pgv_buf *b, const char *name, const struct pgv_value *root)
{
    pgv_buf_printf(b, "%s: %s\n", name, text_of(root, "leadership"));
    pgv_buf_printf(b, "  last status: %s\n", text_of(root, "status"));
    write_rules(b, "would it be promoted now?", pgv_get(root, "promotion"));
    write_rules(b, "could a switchover succeed now?", pgv_get(root, "switchover"));
    pgv_buf_printf(b, "  a failover reaches its promotion within about %lld s: %s\n",
                   (long long)(pgv_int_like(pgv_get(root, "failover_worst_ms"), NULL, 0) / 1000),
                   text_of(root, "failover"));
    if (pgv_get(root, "crash")) /* an older pgvigil does not say */
        pgv_buf_printf(b, "  after a crash of PostgreSQL alone, within about %lld s: %s\n",
                       (long long)(pgv_int_like(pgv_get(root, "crash_worst_ms"), NULL, 0) / 1000),
                       text_of(root, "crash"));
}

static bool explain_member(struct ctl *c, const struct dcs_member *m, struct pgv_error *err)
{
    struct ctl_answer answer = { 0 };
    struct pgv_error why = { 0 };
    struct pgv_value *root;
    struct pgv_arena arena;
    struct pgv_buf b;
    bool ok = true;

    pgv_arena_init(&arena, CTL_ARENA_BYTES_MAX);
    pgv_buf_init(&b, CTL_OUTPUT_BYTES_MAX);
    if (!m->api_url[0])
        pgv_buf_printf(&b, "%s: it has no api_url and cannot be asked\n", m->name);
    else if (!ctl_request(c, m, "GET", "explain", NULL, CTL_PATIENCE_LOOK, NULL, &answer, &why)) {
        ok = why.code != PGV_ECANCELED;
        pgv_buf_printf(&b, "%s: it does not answer: %s\n", m->name, why.msg);
    } else if (pgv_json_parse(&arena, pgv_buf_view(&answer.body), &root, &why) &&
               pgv_get(root, "leadership"))
        write_explanation(&b, m->name, root);
    else /* there, any unknown path is a health check */
        pgv_buf_printf(&b,
                       "%s: it is a Patroni node (or an older pgvigil) and cannot explain itself; "
                       "its log may\n",
                       m->name);
    if (ok)
        ctl_print_buf(c, &b);
    else
        *err = why;
    ctl_answer_done(&answer);
    pgv_buf_done(&b);
    pgv_arena_done(&arena);
    return ok;
}

static bool run_explain(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    const char *wanted = ctl_argument(args, 0), *scope = ctl_config_text(c, "scope");
    struct ctl_selection s;
    struct ctl_cluster k;
    bool ok = true, found = false;

    if (!scope)
        return pgv_fail(err, PGV_EINVALID, "the configuration names no scope: whose member?");
    if (!ctl_cluster_open(c, scope, ctl_group_of(c, args, false), &k, err))
        return false;
    ctl_members_with_role(&k, CTL_ROLE_ANY, &s);
    for (unsigned i = 0; ok && i < s.n; i++) {
        if (wanted && strcmp(wanted, s.v[i]->name) != 0)
            continue;
        found = true;
        ok = explain_member(c, s.v[i], err);
    }
    if (ok && !found)
        ok = wanted ? pgv_fail(err, PGV_EINVALID, "there is no member '%s'", wanted)
                    : pgv_fail(err, PGV_EINVALID, "the cluster has no members");
    ctl_cluster_close(&k);
    return ok;
}

const struct ctl_command ctl_explain_command = {
    .name = "explain",
    .help = "Explain why a member is or is not the leader, and what it would do now",
    .options = { CTL_OPTION_GROUP },
    .arguments = { { .name = "MEMBER" } },
    .run = run_explain,
};
