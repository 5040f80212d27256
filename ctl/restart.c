/* SPDX-License-Identifier: PostgreSQL */
/* ctl/restart.c - restart: PostgreSQL of some members, now or later. Source: Patroni 4.1, ctl.py.
 */
#include "base/clock.h"
#include "base/parse.h"
#include "ctl/commands.h"
#include "ctl/follow.h"
#include "ctl/members.h"
#include "ctl/prompt.h"
#include "ctl/rest.h"
#include "ctl/schedule.h"

#include <sys/random.h>

#include "base/banned.h"

#define QUESTION_BYTES_MAX 16384

static void keep_pending(struct ctl_selection *s)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < s->n; i++) {
        if (pgv_truthy(pgv_get(s->v[i]->data, "pending_restart")))
            s->v[kept++] = s->v[i];
    }
    s->n = kept;
}

static void keep_one(struct ctl_selection *s)
{
    unsigned dice = 0;

    if (s->n < 2)
        return;
    if (getrandom(&dice, sizeof(dice), GRND_NONBLOCK) != (ssize_t)sizeof(dice))
        dice = (unsigned)pgv_clock_us(); /* any choice is right */
    s->v[0] = s->v[dice % s->n];
    s->n = 1;
}

/** '9.5.2' or '16.4', in the words of the REST API, which would refuse it as well. */
static bool check_pg_version(const char *text, struct pgv_error *err)
{
    struct pgv_str rest = pgv_str(text), part, tail;
    unsigned parts = 0;
    uint64_t number, major = 0;
    bool more;

    do {
        more = pgv_str_cut(rest, '.', &part, &tail);
        if (!pgv_parse_u64(part, &number))
            return pgv_fail(err, PGV_EINVALID, "Invalid PostgreSQL version: %s", text);
        major = parts++ == 0 ? number : major;
        rest = tail;
    } while (more);
    if (parts < 2 || parts > 3 || (parts == 2 && major < 10))
        return pgv_fail(err, PGV_EINVALID,
                        "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: %s", text);
    return true;
}

static bool confirm(struct ctl *c, const struct ctl_selection *s, const struct ctl_moment *when,
                    bool pending, struct pgv_error *err)
{
    struct pgv_buf text;
    bool ok;

    pgv_buf_init(&text, QUESTION_BYTES_MAX);
    if (when->later && pending) {
        pgv_buf_puts(&text, "The nodes needing a restart will be identified at the scheduled time, "
                            "and might be different from the ones showing pending restart right "
                            "now. Is this fine?");
    } else {
        pgv_buf_puts(&text, when->later ? "Are you sure you want to schedule restart of members "
                                        : "Are you sure you want to restart members ");
        ctl_put_names(&text, s);
        if (when->later)
            pgv_buf_printf(&text, " at %s", when->plain);
        pgv_buf_putc(&text, '?');
    }
    ok = ctl_must_confirm(c, pgv_buf_cstr(&text),
                          when->later ? "Aborted scheduled restart" : "Aborted restart", err);
    pgv_buf_done(&text);
    return ok;
}

/** What is asked of the members. */
struct restart {
    struct ctl_selection members;
    struct ctl_moment when;
    const char *pg_version, *timeout;
    bool pending, force;
};

static bool set_text(struct ctl *c, struct pgv_value *map, const char *key, const char *text)
{
    return pgv_map_set(&c->arena, map, key, pgv_new_string(&c->arena, pgv_str(text))) != NULL;
}

static struct pgv_value *request_body(struct ctl *c, const struct restart *r)
{
    struct pgv_value *body = pgv_new(&c->arena, PGV_MAP);

    if ((r->pending &&
         !pgv_map_set(&c->arena, body, "restart_pending", pgv_new_bool(&c->arena, true))) ||
        (r->pg_version && !set_text(c, body, "postgres_version", r->pg_version)) ||
        (r->when.later && !set_text(c, body, "schedule", r->when.iso)) ||
        (r->timeout && !set_text(c, body, "timeout", r->timeout)))
        return NULL;
    return body;
}

/** A forced schedule takes the place of the one that is there. */
static bool drop_schedule(struct ctl *c, const struct dcs_member *m, struct pgv_error *err)
{
    struct ctl_answer answer;

    if (!ctl_request(c, m, "DELETE", "restart", NULL, CTL_PATIENCE_CHANGE, NULL, &answer, err))
        return false;
    if (answer.status >= 400)
        ctl_print(c, "Failed: flush scheduled restart for member %s, status code=%d, (%s)\n",
                  m->name, answer.status, ctl_answer_text(&answer));
    ctl_answer_done(&answer);
    return true;
}

/** The line that a terminal shows: 'restart: member n2 (2 of 5): stopping'. */
struct show {
    struct ctl_follow follow;
    char head[PGV_NAME_BYTES + 64], what[PGV_NAME_BYTES + 256];
};

static void on_told(struct ctl_follow *f, unsigned i)
{
    struct show *w = f->data;
    struct pgv_buf b;

    pgv_buf_init(&b, sizeof(w->what) - sizeof(w->head));
    ctl_put_doing(&b, &f->v[i]);
    snprintf(w->what, sizeof(w->what), "%s: %s", w->head, pgv_buf_cstr(&b));
    pgv_buf_done(&b);
}

static void show_begin(struct show *w, struct ctl *c, const struct restart *r, unsigned i)
{
    struct ctl_selection one = { .v = { r->members.v[i] }, .n = r->when.later ? 0 : 1 };

    snprintf(w->head, sizeof(w->head), "restart: member %s", one.v[0]->name);
    if (r->members.n > 1)
        snprintf(w->head + strlen(w->head), sizeof(w->head) - strlen(w->head), " (%u of %u)", i + 1,
                 r->members.n);
    memcpy(w->what, w->head, sizeof(w->head));
    w->follow.data = w;
    w->follow.on_told = on_told;
    ctl_follow_open(&w->follow, c, &one);
}

static bool restart_member(struct ctl *c, const struct restart *r, unsigned i,
                           const struct pgv_value *body, struct pgv_error *err)
{
    const struct dcs_member *m = r->members.v[i];
    struct ctl_answer answer;
    struct show w;
    bool asked;

    if (r->when.later && r->force && pgv_truthy(pgv_get(m->data, "scheduled_restart")) &&
        !drop_schedule(c, m, err))
        return false;
    show_begin(&w, c, r, i);
    asked = ctl_request(c, m, "POST", "restart", body, CTL_PATIENCE_WORK, w.what, &answer, err);
    ctl_follow_close(&w.follow);
    if (!asked)
        return false;
    if (r->members.n > 1 && !r->when.later)
        ctl_note(c, "%u of %u: %s", i + 1, r->members.n, m->name);
    if (answer.status == 200)
        ctl_print(c, "Success: restart on member %s\n", m->name);
    else if (answer.status == 202)
        ctl_print(c, "Success: restart scheduled on member %s\n", m->name);
    else if (answer.status == 409)
        ctl_print(c, "Failed: another restart is already scheduled on member %s\n", m->name);
    else
        ctl_print(c, "Failed: restart for member %s, status code=%d, (%s)\n", m->name,
                  answer.status, ctl_answer_text(&answer));
    ctl_answer_done(&answer);
    return true;
}

static bool ask_when(struct ctl *c, char ret[CTL_ANSWER_BYTES], struct pgv_error *err)
{
    char text[96], example[CTL_STAMP_BYTES];

    ctl_stamp_minute(pgv_wall_us() + (int64_t)3600 * 1000000, example);
    snprintf(text, sizeof(text), "When should the restart take place (e.g. %s) ", example);
    return ctl_ask(c, text, "now", ret, err);
}

static bool restart(struct ctl_cluster *k, const struct ctl_args *args, struct pgv_error *err)
{
    char when[CTL_ANSWER_BYTES], version[CTL_ANSWER_BYTES];
    const char *scheduled = ctl_text(args, "--scheduled");
    struct restart r = { .pg_version = ctl_text(args, "--pg-version"),
                         .timeout = ctl_text(args, "--timeout"),
                         .pending = ctl_flag(args, "--pending"),
                         .force = ctl_flag(args, "--force") };
    const struct pgv_value *body;
    size_t n;
    const char *const *names = ctl_arguments(args, 1, &n);

    if (!ctl_select_members(k, names, n, ctl_role_parse(ctl_text(args, "--role"), CTL_ROLE_ANY),
                            r.force, CTL_RESTART, &r.members, err))
        return false;
    if (!scheduled && !r.force) {
        if (!ask_when(k->c, when, err))
            return false;
        scheduled = when;
    }
    if (!ctl_moment_parse(scheduled, pgv_wall_us(), &r.when, err))
        return false;
    if (r.pending && !r.when.later)
        keep_pending(&r.members);
    if (ctl_flag(args, "--any"))
        keep_one(&r.members);
    if (!r.force && !confirm(k->c, &r.members, &r.when, r.pending, err))
        return false;
    if (!r.pg_version && !r.force) {
        if (!ctl_ask(k->c, "Restart if the PostgreSQL version is less than provided (e.g. 9.5.2) ",
                     "", version, err))
            return false;
        r.pg_version = version;
    }
    if (r.pg_version && !*r.pg_version)
        r.pg_version = NULL;
    if (r.pg_version && !check_pg_version(r.pg_version, err))
        return false;
    if (r.when.later && ctl_is_paused(k))
        return pgv_fail(err, PGV_EINVALID, "Can't schedule restart in the paused state");
    body = request_body(k->c, &r);
    if (!body)
        return ctl_out_of_memory(err);
    ctl_clock_start(k->c);
    for (unsigned i = 0; i < r.members.n; i++) {
        if (!restart_member(k->c, &r, i, body, err))
            return false;
    }
    return true;
}

static bool run_restart(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    struct ctl_cluster k;
    bool ok;

    if (!ctl_cluster_open(c, ctl_argument(args, 0), ctl_group_of(c, args, false), &k, err))
        return false;
    ok = restart(&k, args, err);
    ctl_cluster_close(&k);
    return ok;
}

const struct ctl_command ctl_restart_command = {
    .name = "restart",
    .help = "Restart cluster member",
    .options = { CTL_OPTION_GROUP,
                 CTL_OPTION_ROLE("Restart only members with this role"),
                 { .names = { "--any" }, .kind = CTL_FLAG, .help = "Restart a single member only" },
                 { .names = { "--scheduled" },
                   .kind = CTL_TEXT,
                   .help = "Timestamp of a scheduled restart in unambiguous format (e.g. ISO "
                           "8601)" },
                 { .names = { "--pg-version" },
                   .kind = CTL_TEXT,
                   .help = "Restart if the PostgreSQL version is less than provided (e.g. "
                           "9.5.2)" },
                 { .names = { "--pending" }, .kind = CTL_FLAG, .help = "Restart if pending" },
                 { .names = { "--timeout" },
                   .kind = CTL_TEXT,
                   .help = "Return error and fail over if necessary when restarting takes longer "
                           "than this." },
                 CTL_OPTION_FORCE },
    .arguments = { { .name = "CLUSTER_NAME", .required = true },
                   { .name = "MEMBER_NAMES", .variadic = true } },
    .run = run_restart,
};
