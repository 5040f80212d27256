/* SPDX-License-Identifier: PostgreSQL */
/* ctl/remove.c - remove: forget a cluster in the store. Its questions cannot be skipped. */
#include "ctl/commands.h"
#include "ctl/members.h"
#include "ctl/prompt.h"

#include "base/banned.h"

static const char awareness[] = "Yes I am aware";

static bool ask_all(struct ctl_cluster *k, struct pgv_error *err)
{
    char answer[CTL_ANSWER_BYTES], text[CTL_ANSWER_BYTES];

    if (!ctl_ask(k->c, "Please confirm the cluster name to remove", NULL, answer, err))
        return false;
    if (strcmp(answer, k->name) != 0)
        return pgv_fail(err, PGV_EINVALID, "Cluster names specified do not match");
    snprintf(text, sizeof(text),
             "You are about to remove all information in DCS for %s, please type: \"%s\"", k->name,
             awareness);
    if (!ctl_ask(k->c, text, NULL, answer, err))
        return false;
    if (strcmp(answer, awareness) != 0)
        return pgv_fail(err, PGV_EINVALID, "You did not exactly type \"%s\"", awareness);
    if (!k->leader)
        return true;
    if (!ctl_ask(k->c,
                 "This cluster currently is healthy. Please specify the leader name to continue",
                 NULL, answer, err))
        return false;
    if (strcmp(answer, k->leader->name) != 0)
        return pgv_fail(err, PGV_EINVALID, "You did not specify the current leader of the cluster");
    return true;
}

static bool tell(struct ctl_cluster *k, struct pgv_error *err)
{
    char prefix[2 * PGV_URL_BYTES];

    if (!dcs_prefix(k->config.name_space, k->scope, prefix, sizeof(prefix)))
        return pgv_fail(err, PGV_EINVALID, "the cluster's name is too long");
    ctl_print(k->c, "Dry run: all keys below %s would be deleted\n", prefix);
    return true;
}

static bool remove_cluster(struct ctl_cluster *k, const struct ctl_args *args,
                           struct pgv_error *err)
{
    if (k->citus && !k->group.given)
        return pgv_fail(err, PGV_EINVALID, "For Citus clusters the --group must me specified");
    if (!ctl_print_members(k, false, ctl_format_parse(ctl_text(args, "--format")), err))
        return false;
    if (ctl_flag(args, "--dry-run"))
        return tell(k, err);
    return ask_all(k, err) &&
           ctl_cluster_write(k, DCS_DELETE_CLUSTER, (struct pgv_str){ 0 }, NULL, err);
}

static bool run_remove(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    struct ctl_cluster k;
    bool ok;

    if (!ctl_cluster_open(c, ctl_argument(args, 0), ctl_group_of(c, args, false), &k, err))
        return false;
    ok = remove_cluster(&k, args, err);
    ctl_cluster_close(&k);
    return ok;
}

const struct ctl_command ctl_remove_command = {
    .name = "remove",
    .help = "Remove cluster from DCS",
    .options = { CTL_OPTION_GROUP, CTL_OPTION_FORMAT, CTL_OPTION_DRY_RUN },
    .arguments = { { .name = "CLUSTER_NAME", .required = true } },
    .run = run_remove,
};
