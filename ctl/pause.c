/* SPDX-License-Identifier: PostgreSQL */
/* ctl/pause.c - pause and resume: switch maintenance mode, and wait until all members know. */
#include "base/clock.h"
#include "base/log.h"
#include "ctl/commands.h"
#include "ctl/members.h"
#include "ctl/rest.h"

#include "base/banned.h"

#define POLL_MS 1000
#define NAMES_BYTES_MAX 8192

/** Members that can be asked, as they were before the change. */
struct before {
    struct {
        char name[PGV_NAME_BYTES], version[DCS_VERSION_BYTES];
    } v[DCS_MEMBERS_MAX];
    unsigned n;
};

static void remember(const struct ctl_cluster *k, struct before *ret)
{
    ret->n = 0;
    for (unsigned i = 0; i < k->s->cluster.n_members; i++) {
        const struct dcs_member *m = &k->s->cluster.members[i];

        if (!m->api_url[0])
            continue;
        memcpy(ret->v[ret->n].name, m->name, sizeof(m->name));
        memcpy(ret->v[ret->n++].version, m->version, sizeof(m->version));
    }
}

/** Members that do not know yet; with @updated only those that wrote their key since. */
static unsigned differing(const struct ctl_cluster *k, const struct before *before, bool paused,
                          bool updated, struct ctl_selection *ret)
{
    ret->n = 0;
    for (unsigned i = 0; i < k->s->cluster.n_members; i++) {
        const struct dcs_member *m = &k->s->cluster.members[i];

        for (unsigned b = 0; b < before->n && m->pause != paused; b++) {
            if (strcmp(before->v[b].name, m->name) == 0 &&
                (!updated || strcmp(before->v[b].version, m->version) != 0)) {
                ret->v[ret->n++] = m;
                break;
            }
        }
    }
    return ret->n;
}

static void print_success(struct ctl *c, bool paused)
{
    ctl_print(c, "Success: cluster management is %s\n", paused ? "paused" : "resumed");
}

static bool wait_for_all(struct ctl_cluster *k, bool paused, struct pgv_error *err)
{
    struct before *before = pgv_arena_alloc(&k->c->arena, sizeof(*before));
    int64_t loop_wait_s = ctl_loop_wait_s(k);
    uint64_t until_ms = pgv_clock_ms() + ((uint64_t)loop_wait_s + 1) * 1000;
    struct ctl_selection rest;
    struct pgv_buf names;

    if (!before)
        return ctl_out_of_memory(err);
    remember(k, before);
    ctl_print(k->c, "'%s' request sent, waiting until it is recognized by all nodes\n",
              paused ? "pause" : "resume");
    for (;;) {
        if (!ctl_cluster_read(k, err))
            return false;
        if (differing(k, before, paused, false, &rest) == 0)
            break;
        if (pgv_clock_ms() + POLL_MS > until_ms) {
            /* A member that wrote nothing since is not running, and nobody waits for that one. */
            if (differing(k, before, paused, true, &rest) == 0)
                break;
            pgv_buf_init(&names, NAMES_BYTES_MAX);
            ctl_put_names(&names, &rest);
            ctl_print(k->c, "%s members didn't recognized pause state after %lld seconds\n",
                      pgv_buf_cstr(&names), (long long)loop_wait_s);
            pgv_buf_done(&names);
            return true;
        }
        if (!ctl_sleep(
                k->c, POLL_MS,
                paused ? "pause: waiting for the members" : "resume: waiting for the members", err))
            return false;
    }
    print_success(k->c, paused);
    return true;
}

static bool ask_members(struct ctl_cluster *k, bool paused, bool wait, struct pgv_error *err)
{
    struct pgv_value *body = pgv_new(&k->c->arena, PGV_MAP);
    struct pgv_value *flag =
        paused ? pgv_new_bool(&k->c->arena, true) : pgv_new(&k->c->arena, PGV_NULL);
    struct ctl_selection s;
    struct ctl_answer answer;
    struct pgv_error why;

    if (!pgv_map_set(&k->c->arena, body, "pause", flag))
        return ctl_out_of_memory(err);
    ctl_members_leader_first(k, &s);
    for (unsigned i = 0; i < s.n; i++) {
        bool done;

        if (!ctl_request(k->c, s.v[i], "PATCH", "config", body, CTL_PATIENCE_CHANGE, NULL, &answer,
                         &why)) {
            if (why.code == PGV_ECANCELED) {
                *err = why;
                return false;
            }
            pgv_log(PGV_WARNING, "ctl", "%s", why.msg);
            pgv_log(PGV_WARNING, "ctl", "Member %s is not accessible", s.v[i]->name);
            continue;
        }
        /* Any answer ends it: the others would say the same. */
        done = answer.status == 200;
        if (!done)
            ctl_print(k->c, "Failed: %s cluster management status code=%d, (%s)\n",
                      paused ? "pause" : "resume", answer.status, ctl_answer_text(&answer));
        ctl_answer_done(&answer);
        if (done && wait)
            return wait_for_all(k, paused, err);
        if (done)
            print_success(k->c, paused);
        return true;
    }
    return pgv_fail(err, PGV_EUNREACHABLE, "Can not find accessible cluster member");
}

static bool toggle(struct ctl *c, const struct ctl_args *args, bool paused, struct pgv_error *err)
{
    struct ctl_cluster k;
    const char *name;
    bool ok;

    if (!ctl_name_of(c, args, &name, err) ||
        !ctl_cluster_open(c, name, ctl_group_of(c, args, true), &k, err))
        return false;
    if (ctl_is_paused(&k) == paused)
        ok = pgv_fail(err, PGV_EINVALID, "Cluster is %s paused", paused ? "already" : "not");
    else
        ok = ask_members(&k, paused, ctl_flag(args, "--wait"), err);
    ctl_cluster_close(&k);
    return ok;
}

static bool run_pause(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    return toggle(c, args, true, err);
}

static bool run_resume(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    return toggle(c, args, false, err);
}

const struct ctl_command ctl_pause_command = {
    .name = "pause",
    .help = "Disable auto failover",
    .options = { CTL_OPTION_GROUP,
                 { .names = { "--wait" },
                   .kind = CTL_FLAG,
                   .help = "Wait until pause is applied on all nodes" } },
    .arguments = { { .name = "CLUSTER_NAME" } },
    .run = run_pause,
};

const struct ctl_command ctl_resume_command = {
    .name = "resume",
    .help = "Resume auto failover",
    .options = { CTL_OPTION_GROUP,
                 { .names = { "--wait" },
                   .kind = CTL_FLAG,
                   .help = "Wait until pause is cleared on all nodes" } },
    .arguments = { { .name = "CLUSTER_NAME" } },
    .run = run_resume,
};
