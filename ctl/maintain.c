/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/maintain.c - commands for single members: reload, reinit, flush. Source: Patroni 4.1, ctl.py.
 */
#include "base/clock.h"
#include "base/log.h"
#include "ctl/backup.h"
#include "ctl/commands.h"
#include "ctl/follow.h"
#include "ctl/members.h"
#include "ctl/prompt.h"
#include "ctl/rest.h"
#include "ctl/schedule.h"

#include "base/banned.h"

#define REINIT_POLL_MS 2000
#define SHOW_MS 1000
#define NAMES_BYTES_MAX 8192

/** 'Success: <what> for member <m>', or how it failed. */
static bool report(struct ctl *c, struct ctl_answer *answer, const char *name, const char *what)
{
    if (answer->status >= 400) {
        ctl_print(c, "Failed: %s for member %s, status code=%d, (%s)\n", what, name, answer->status,
                  ctl_answer_text(answer));
        return false;
    }
    ctl_print(c, "Success: %s for member %s\n", what, name);
    return true;
}

static bool reload(struct ctl_cluster *k, const struct ctl_args *args, struct pgv_error *err)
{
    struct ctl_selection s;
    size_t n;
    const char *const *names = ctl_arguments(args, 1, &n);

    if (!ctl_select_members(k, names, n, ctl_role_parse(ctl_text(args, "--role"), CTL_ROLE_ANY),
                            ctl_flag(args, "--force"), CTL_RELOAD, &s, err))
        return false;
    for (unsigned i = 0; i < s.n; i++) {
        struct ctl_answer answer;

        if (!ctl_request(k->c, s.v[i], "POST", "reload", NULL, CTL_PATIENCE_CHANGE, NULL, &answer,
                         err))
            return false;
        if (answer.status == 200)
            ctl_print(k->c, "No changes to apply on member %s\n", s.v[i]->name);
        else if (answer.status == 202)
            ctl_print(k->c,
                      "Reload request received for member %s and will be processed within %lld "
                      "seconds\n",
                      s.v[i]->name, (long long)ctl_loop_wait_s(k));
        else
            ctl_print(k->c, "Failed: reload for member %s, status code=%d, (%s)\n", s.v[i]->name,
                      answer.status, ctl_answer_text(&answer));
        ctl_answer_done(&answer);
    }
    return true;
}

static struct pgv_value *reinit_body(struct ctl *c, bool force, bool from_leader)
{
    struct pgv_value *body = pgv_new(&c->arena, PGV_MAP);

    if (!pgv_map_set(&c->arena, body, "force", pgv_new_bool(&c->arena, force)) ||
        !pgv_map_set(&c->arena, body, "from_leader", pgv_new_bool(&c->arena, from_leader)))
        return NULL;
    return body;
}

static bool ends_with(const struct pgv_buf *b, const char *end)
{
    size_t n = strlen(end);

    return b->n >= n && memcmp(b->p + b->n - n, end, n) == 0;
}

static bool reinit_member(struct ctl *c, const struct dcs_member *m, bool force, bool from_leader,
                          bool *ret_started, struct pgv_error *err)
{
    struct ctl_answer answer;
    const struct pgv_value *body;
    bool again = false, ok = true, cancel_running = force;

    do {
        body = reinit_body(c, cancel_running, from_leader);
        if (!body)
            return ctl_out_of_memory(err);
        if (!ctl_request(c, m, "POST", "reinitialize", body, CTL_PATIENCE_CHANGE, NULL, &answer,
                         err))
            return false;
        *ret_started = report(c, &answer, m->name, "reinitialize");
        again = false;
        if (!*ret_started && !force && ends_with(&answer.body, " already in progress"))
            ok = ctl_confirm(c, "Do you want to cancel it and reinitialize anyway?", &again, err);
        ctl_answer_done(&answer);
        cancel_running = true;
    } while (ok && again);
    return ok;
}

/** Whether the member is still being copied; for a Patroni, any state but this means it is not. */
static bool is_copying(struct ctl *c, const struct dcs_member *m, bool *ret, struct pgv_error *err)
{
    struct ctl_status status;
    struct ctl_answer answer;
    bool ok;

    if (!ctl_request(c, m, "GET", "patroni", NULL, CTL_PATIENCE_LOOK, NULL, &answer, err))
        return false;
    ok = ctl_status_parse(pgv_buf_view(&answer.body), &status, err);
    if (ok)
        *ret = ctl_status_is_copying(&status);
    else
        pgv_error_wrap(err, "member %s", m->name);
    ctl_answer_done(&answer);
    return ok;
}

/** What a terminal shows of those that are copied: 'reinit: n3: basebackup 45% of 1.2 GB'. */
struct show {
    struct ctl_follow follow;
    char what[1024];
    bool copying[CTL_FOLLOW_MAX];
    bool ended, over; /* somebody's copy has ended; stop sleeping */
};

static void on_told(struct ctl_follow *f, unsigned i)
{
    struct show *w = f->data;
    bool copying = ctl_status_is_copying(&f->v[i].status);
    struct pgv_buf b;

    w->ended = w->ended || (w->copying[i] && !copying);
    w->over = w->over || w->ended;
    w->copying[i] = copying;
    pgv_buf_init(&b, sizeof(w->what) - 16);
    for (unsigned k = 0; k < f->n; k++) {
        if (!w->copying[k])
            continue;
        pgv_buf_printf(&b, "%s%s: ", b.n ? "; " : "", f->v[k].name);
        ctl_put_doing(&b, &f->v[k]);
    }
    snprintf(w->what, sizeof(w->what), "reinit: %s", b.n ? pgv_buf_cstr(&b) : "waiting");
    pgv_buf_done(&b);
}

/** A Patroni that is copied alone: the leader knows how far it is. */
static void look_at_source(struct show *w, struct ctl_backup *b)
{
    uint64_t bytes, total;
    unsigned n = 0, which = 0;

    for (unsigned i = 0; i < w->follow.n; i++) {
        if (!w->copying[i])
            continue;
        n++;
        which = i;
    }
    if (n == 1 && !w->follow.v[which].status.is_pgvigil && ctl_backup_look(b, &bytes, &total))
        ctl_follow_learn(&w->follow, which, bytes, total);
}

/** Until the next look at all of them; a Patroni takes a moment to begin, so it is not too soon. */
static bool sleep_while_shown(struct ctl *c, struct show *w, struct ctl_backup *source,
                              struct pgv_error *err)
{
    bool ok = true;

    w->ended = false;
    for (uint64_t ms = 0; ok && !w->ended && ms < REINIT_POLL_MS; ms += SHOW_MS) {
        look_at_source(w, source);
        w->over = w->ended;
        ok = ctl_sleep_until(c, &w->over, SHOW_MS, w->what, err);
    }
    return ok;
}

static bool wait_for_copies(struct ctl_cluster *k, struct ctl_selection *s, struct pgv_error *err)
{
    struct ctl *c = k->c;
    struct ctl_backup source;
    struct show w = { .what = "reinit: waiting for the copy" };
    struct pgv_buf names;
    unsigned shown = 0;
    bool ok = true;

    w.follow.data = &w;
    w.follow.on_told = on_told;
    ctl_clock_start(c);
    ctl_backup_init(&source, c, k->leader);
    ctl_follow_open(&w.follow, c, s);
    pgv_buf_init(&names, NAMES_BYTES_MAX);
    while (ok && s->n > 0) {
        unsigned left = 0;

        if (s->n != shown) {
            pgv_buf_reset(&names);
            ctl_put_names(&names, s);
            ctl_print(c, "Waiting for reinitialize to complete on: %s\n", pgv_buf_cstr(&names));
            shown = s->n;
        }
        ok = sleep_while_shown(c, &w, &source, err);
        for (unsigned i = 0; ok && i < s->n; i++) {
            bool copying = false;

            ok = is_copying(c, s->v[i], &copying, err);
            if (ok && copying)
                s->v[left++] = s->v[i];
            else if (ok)
                ctl_print(c, "Reinitialize is completed on: %s\n", s->v[i]->name);
        }
        s->n = left;
    }
    pgv_buf_done(&names);
    ctl_follow_close(&w.follow);
    ctl_backup_done(&source);
    ctl_clock_stop(c);
    return ok;
}

static bool reinit(struct ctl_cluster *k, const struct ctl_args *args, struct pgv_error *err)
{
    struct ctl_selection s, started = { .n = 0 };
    bool force = ctl_flag(args, "--force"), went = false;
    size_t n;
    const char *const *names = ctl_arguments(args, 1, &n);

    if (!ctl_select_members(k, names, n, CTL_ROLE_REPLICA, force, CTL_REINITIALIZE, &s, err))
        return false;
    for (unsigned i = 0; i < s.n; i++) {
        if (!reinit_member(k->c, s.v[i], force, ctl_flag(args, "--from-leader"), &went, err))
            return false;
        if (went && ctl_flag(args, "--wait"))
            started.v[started.n++] = s.v[i];
    }
    return wait_for_copies(k, &started, err);
}

static bool flush_restarts(struct ctl_cluster *k, const struct ctl_args *args,
                           struct pgv_error *err)
{
    static const char what[] = "flush scheduled restart";
    struct ctl_selection s;
    size_t n;
    const char *const *names = ctl_arguments(args, 1, &n);

    if (!ctl_select_members(k, names, n, ctl_role_parse(ctl_text(args, "--role"), CTL_ROLE_ANY),
                            ctl_flag(args, "--force"), CTL_FLUSH, &s, err))
        return false;
    for (unsigned i = 0; i < s.n; i++) {
        struct ctl_answer answer;

        if (!pgv_truthy(pgv_get(s.v[i]->data, "scheduled_restart"))) {
            ctl_print(k->c, "No scheduled restart for member %s\n", s.v[i]->name);
            continue;
        }
        if (!ctl_request(k->c, s.v[i], "DELETE", "restart", NULL, CTL_PATIENCE_CHANGE, NULL,
                         &answer, err))
            return false;
        (void)report(k->c, &answer, s.v[i]->name, what);
        ctl_answer_done(&answer);
    }
    return true;
}

/** Nobody answered: the plan is taken back in the store, guarded, so that a newer one survives. */
static bool flush_in_store(struct ctl_cluster *k, struct pgv_error *err)
{
    char stamp[CTL_STAMP_BYTES];
    struct pgv_error why;
    struct pgv_buf nothing;
    bool ok;

    pgv_log(PGV_WARNING, "ctl", "Failing over to DCS");
    ctl_stamp(pgv_wall_us(), 5, stamp);
    ctl_print(k->c, "%s Could not find any accessible member of cluster %s\n", stamp, k->name);
    pgv_buf_init(&nothing, 64);
    ok = dcs_write_failover(&nothing, NULL, NULL, NULL) || ctl_out_of_memory(&why);
    ok = ok && ctl_cluster_write(k, DCS_SET_FAILOVER, pgv_buf_view(&nothing),
                                 k->s->cluster.failover.version, &why);
    pgv_buf_done(&nothing);
    if (!ok && why.code == PGV_ECONFLICT)
        return true; /* someone else decided meanwhile, which the origin does not report either */
    if (!ok)
        *err = why;
    return ok;
}

static bool flush_switchover(struct ctl_cluster *k, struct pgv_error *err)
{
    const struct dcs_failover *f = &k->s->cluster.failover;
    struct ctl_selection s;

    if (!f->exists || !f->scheduled) {
        ctl_print(k->c, "No pending scheduled switchover\n");
        return true;
    }
    ctl_members_leader_first(k, &s);
    for (unsigned i = 0; i < s.n; i++) {
        struct ctl_answer answer;
        struct pgv_error why;
        bool done;

        if (!ctl_request(k->c, s.v[i], "DELETE", "switchover", NULL, CTL_PATIENCE_CHANGE, NULL,
                         &answer, &why)) {
            if (why.code == PGV_ECANCELED) {
                *err = why;
                return false;
            }
            pgv_log(PGV_WARNING, "ctl", "%s", why.msg);
            pgv_log(PGV_WARNING, "ctl", "Member %s is not accessible", s.v[i]->name);
            continue;
        }
        done = answer.status == 200 || answer.status == 404;
        if (done)
            ctl_print(k->c, "%s: %s\n", answer.status == 200 ? "Success" : "Failed",
                      ctl_answer_text(&answer));
        else
            ctl_print(k->c, "Failed: member=%s, status_code=%d, (%s)\n", s.v[i]->name,
                      answer.status, ctl_answer_text(&answer));
        ctl_answer_done(&answer);
        if (done)
            return true;
    }
    return flush_in_store(k, err);
}

static bool flush(struct ctl_cluster *k, const struct ctl_args *args, struct pgv_error *err)
{
    if (strcmp(ctl_argument(args, 2), "restart") == 0)
        return flush_restarts(k, args, err);
    return flush_switchover(k, err);
}

/** Open the cluster that is the first argument, work, close it. */
static bool with_cluster(struct ctl *c, const struct ctl_args *args,
                         bool (*work)(struct ctl_cluster *k, const struct ctl_args *args,
                                      struct pgv_error *err),
                         struct pgv_error *err)
{
    struct ctl_cluster k;
    bool ok;

    if (!ctl_cluster_open(c, ctl_argument(args, 0), ctl_group_of(c, args, false), &k, err))
        return false;
    ok = work(&k, args, err);
    ctl_cluster_close(&k);
    return ok;
}

static bool run_reload(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    return with_cluster(c, args, reload, err);
}

static bool run_reinit(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    return with_cluster(c, args, reinit, err);
}

static bool run_flush(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    return with_cluster(c, args, flush, err);
}

const struct ctl_command ctl_reload_command = {
    .name = "reload",
    .help = "Reload cluster member configuration",
    .options = { CTL_OPTION_GROUP, CTL_OPTION_ROLE("Reload only members with this role"),
                 CTL_OPTION_FORCE },
    .arguments = { { .name = "CLUSTER_NAME", .required = true },
                   { .name = "MEMBER_NAMES", .variadic = true } },
    .run = run_reload,
};

const struct ctl_command ctl_reinit_command = {
    .name = "reinit",
    .help = "Reinitialize cluster member",
    .options = { CTL_OPTION_GROUP,
                 CTL_OPTION_FORCE,
                 { .names = { "--from-leader" },
                   .kind = CTL_FLAG,
                   .help = "Get basebackup from leader" },
                 { .names = { "--wait" },
                   .kind = CTL_FLAG,
                   .help = "Wait until reinitialization completes" } },
    .arguments = { { .name = "CLUSTER_NAME", .required = true },
                   { .name = "MEMBER_NAMES", .variadic = true } },
    .run = run_reinit,
};

static const char *const flush_targets[] = { "restart", "switchover", NULL };

const struct ctl_command ctl_flush_command = {
    .name = "flush",
    .help = "Discard scheduled events",
    .options = { CTL_OPTION_GROUP, CTL_OPTION_ROLE("Flush only members with this role"),
                 CTL_OPTION_FORCE },
    .arguments = { { .name = "CLUSTER_NAME", .required = true },
                   { .name = "MEMBER_NAMES", .variadic = true },
                   { .name = "TARGET", .required = true, .choices = flush_targets } },
    .run = run_flush,
};
