/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/change_role.c - demote-cluster and promote-cluster: a whole cluster becomes the standby of
 * another, or stands on its own feet again.
 *
 * The leader's agent writes the dynamic configuration; then the store is watched until the leader
 * has the new role, without a time limit, because recovery may take as long as it likes. Only when
 * all members are of a kind that never will is it given up after a while. Source: Patroni 4.1,
 * ctl.change_cluster_role().
 */
#include "base/clock.h"
#include "base/log.h"
#include "ctl/commands.h"
#include "ctl/follow.h"
#include "ctl/members.h"
#include "ctl/prompt.h"
#include "ctl/rest.h"
#include "ctl/schedule.h"

#include "base/banned.h"

#define POLL_MS 1000
#define LINE_BYTES_MAX 4096
#define DOUBT_ROUNDS 30

struct role_change {
    struct ctl_cluster *k;
    bool demote;
    const char *verb, *noun;     /* "demote", "demotion" */
    struct pgv_value *standby;   /* the section to set; PGV_NULL deletes it */
    char leader[PGV_NAME_BYTES]; /* who was it before */
};

static bool ask(struct role_change *h, bool force, struct pgv_error *err)
{
    enum pgv_role target = h->demote ? PGV_ROLE_STANDBY_LEADER : PGV_ROLE_PRIMARY;
    char text[CTL_ANSWER_BYTES], refused[64];

    if (!h->k->leader)
        return pgv_fail(err, PGV_EINVALID, "Cluster has no leader, %s is not possible", h->noun);
    if (h->k->leader->role == target)
        return pgv_fail(err, PGV_EINVALID, "Cluster is already in the required state");
    pgv_copy_cut(h->leader, sizeof(h->leader), pgv_str(h->k->leader->name));
    ctl_print(h->k->c, "Current cluster topology\n");
    if (!ctl_print_members(h->k, false, CTL_PRETTY, err))
        return false;
    if (force)
        return true;
    snprintf(text, sizeof(text), "Are you sure you want to %s %s cluster?", h->verb, h->k->name);
    snprintf(refused, sizeof(refused), "Aborted cluster %s", h->noun);
    return ctl_must_confirm(h->k->c, text, refused, err);
}

static bool change_config(struct role_change *h, struct pgv_error *err)
{
    struct ctl *c = h->k->c;
    struct pgv_value *body = pgv_new(&c->arena, PGV_MAP);
    struct ctl_answer answer;
    bool ok;

    if (!pgv_map_set(&c->arena, body, "standby_cluster", h->standby))
        return ctl_out_of_memory(err);
    if (!ctl_request(c, h->k->leader, "PATCH", "config", body, CTL_PATIENCE_CHANGE, NULL, &answer,
                     err)) {
        if (err->code != PGV_ECANCELED)
            pgv_error_wrap(err, "Failed to %s %s cluster", h->verb, h->k->name);
        return false;
    }
    ok = answer.status == 200;
    if (!ok) /* the origin says it twice, and scripts may look for it */
        pgv_fail(err, PGV_ECONFLICT,
                 "Failed to %s %s cluster: Failed to %s %s cluster: /config PATCH status code=%d, "
                 "(%s)",
                 h->verb, h->k->name, h->verb, h->k->name, answer.status, ctl_answer_text(&answer));
    ctl_answer_done(&answer);
    return ok;
}

static const struct dcs_member *find(const struct ctl_cluster *k, const char *name)
{
    for (unsigned i = 0; i < k->s->cluster.n_members; i++) {
        if (strcmp(k->s->cluster.members[i].name, name) == 0)
            return &k->s->cluster.members[i];
    }
    return NULL;
}

static const char *state_of(const struct dcs_member *m)
{
    return m && m->state != PGV_STATE_UNKNOWN ? pgv_state_name(m->state) : "None";
}

/** True once it has happened; else a line that tells how far it is. */
static bool has_happened(const struct role_change *h)
{
    enum pgv_role target = h->demote ? PGV_ROLE_STANDBY_LEADER : PGV_ROLE_PRIMARY;
    const struct dcs_member *leader = h->k->leader, *former = find(h->k, h->leader);
    bool moved = leader && strcmp(leader->name, h->leader) != 0;
    char stamp[CTL_STAMP_BYTES];
    struct pgv_buf line;

    ctl_stamp(pgv_wall_us(), 0, stamp);
    if (leader && leader->role == target && leader->state == PGV_STATE_RUNNING &&
        (!h->demote || (former && former->state == PGV_STATE_RUNNING))) {
        ctl_print(h->k->c, "%s cluster is successfully %sd\n", stamp, h->verb);
        return true;
    }
    pgv_buf_init(&line, LINE_BYTES_MAX);
    pgv_buf_printf(&line, "%s cluster is unlocked: %s, leader role: %s, leader state: %s", stamp,
                   leader ? "False" : "True",
                   leader && leader->role != PGV_ROLE_UNKNOWN ? pgv_role_name(leader->role)
                                                              : "None",
                   state_of(leader));
    if (h->demote && moved && former && former->state != PGV_STATE_UNKNOWN)
        pgv_buf_printf(&line, ", previous leader state: '%s'", state_of(former));
    pgv_buf_putc(&line, '\n');
    ctl_print_buf(h->k->c, &line);
    pgv_buf_done(&line);
    return false;
}

/** False: everybody who answers is a pgvigil, and this version of it is never a standby cluster. */
static bool may_come_true(const struct role_change *h, struct pgv_error *err)
{
    const struct dcs_cluster *c = &h->k->s->cluster;
    unsigned answered = 0;

    for (unsigned i = 0; i < c->n_members; i++) {
        struct ctl_status status = { 0 };
        struct ctl_answer answer;
        struct pgv_error why;

        if (!c->members[i].api_url[0])
            continue;
        if (!ctl_request(h->k->c, &c->members[i], "GET", "patroni", NULL, CTL_PATIENCE_LOOK, NULL,
                         &answer, &why)) {
            if (why.code == PGV_ECANCELED) {
                *err = why;
                return false;
            }
            continue;
        }
        if (ctl_status_parse(pgv_buf_view(&answer.body), &status, &why))
            answered++;
        ctl_answer_done(&answer);
        if (status.known && !status.is_pgvigil)
            return true;
    }
    return answered == 0 ||
           pgv_fail(err, PGV_EINVALID,
                    "Nothing has come of it within %d seconds: the members are run by pgvigil, "
                    "which cannot be a standby cluster in version %s. 'edit-config -s "
                    "standby_cluster=' takes the request back",
                    DOUBT_ROUNDS * POLL_MS / 1000, PGVIGIL_VERSION);
}

static bool run(struct ctl *c, const struct ctl_args *args, struct role_change *h,
                struct pgv_error *err)
{
    static const struct ctl_group no_group = { 0 };
    struct ctl_cluster k;
    const char *name;
    unsigned rounds = 0;
    bool ok;

    if (!ctl_name_of(c, args, &name, err) || !ctl_cluster_open(c, name, no_group, &k, err))
        return false;
    h->k = &k;
    ok = ask(h, ctl_flag(args, "--force"), err) && change_config(h, err);
    while (ok) {
        ok = ctl_cluster_read(&k, err);
        if (!ok || has_happened(h))
            break;
        ok = (++rounds != DOUBT_ROUNDS || !h->demote || may_come_true(h, err)) &&
             ctl_sleep(c, POLL_MS, NULL, err);
    }
    ok = ok && ctl_print_members(&k, false, CTL_PRETTY, err);
    ctl_cluster_close(&k);
    return ok;
}

static bool run_demote(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    struct role_change h = { .demote = true, .verb = "demote", .noun = "demotion" };
    const char *host = ctl_text(args, "--host"), *restore = ctl_text(args, "--restore-command"),
               *slot = ctl_text(args, "--primary-slot-name");
    struct pgv_arena *a = &c->arena;
    int64_t port = 0;
    bool has_port = ctl_integer(args, "--port", &port) && port != 0, ok;

    if (!(host && *host) && !has_port && !(restore && *restore))
        return pgv_fail(err, PGV_EINVALID,
                        "At least --host, --port or --restore-command should be specified");
    h.standby = pgv_new(a, PGV_MAP);
    ok = h.standby != NULL;
    if (host && *host)
        ok = ok && pgv_map_set(a, h.standby, "host", pgv_new_string(a, pgv_str(host)));
    if (has_port)
        ok = ok && pgv_map_set(a, h.standby, "port", pgv_new_int(a, port));
    if (slot && *slot)
        ok = ok && pgv_map_set(a, h.standby, "primary_slot_name", pgv_new_string(a, pgv_str(slot)));
    if (restore && *restore)
        ok =
            ok && pgv_map_set(a, h.standby, "restore_command", pgv_new_string(a, pgv_str(restore)));
    return ok ? run(c, args, &h, err) : ctl_out_of_memory(err);
}

static bool run_promote(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    struct role_change h = { .verb = "promote",
                             .noun = "promotion",
                             .standby = pgv_new(&c->arena, PGV_NULL) };

    return h.standby ? run(c, args, &h, err) : ctl_out_of_memory(err);
}

const struct ctl_command ctl_demote_cluster_command = {
    .name = "demote-cluster",
    .help = "Demote cluster to a standby cluster",
    .options = { CTL_OPTION_FORCE,
                 { .names = { "--host" }, .kind = CTL_TEXT, .help = "Address of the remote node" },
                 { .names = { "--port" }, .kind = CTL_INTEGER, .help = "Port of the remote node" },
                 { .names = { "--restore-command" },
                   .kind = CTL_TEXT,
                   .help = "Command to restore WAL records from the remote primary" },
                 { .names = { "--primary-slot-name" },
                   .kind = CTL_TEXT,
                   .help = "Name of the slot on the remote node to use for replication" } },
    .arguments = { { .name = "CLUSTER_NAME" } },
    .run = run_demote,
};

const struct ctl_command ctl_promote_cluster_command = {
    .name = "promote-cluster",
    .help = "Promote cluster, make it run standalone",
    .options = { CTL_OPTION_FORCE },
    .arguments = { { .name = "CLUSTER_NAME" } },
    .run = run_promote,
};
