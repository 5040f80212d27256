/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/switchover.c - switchover and failover: another leader, because a person wants one.
 *
 * The leader's agent is asked, without a leader the candidate's. When none answers, the request is
 * written into the store, where the agents find it. Source: Patroni 4.1,
 * ctl._do_failover_or_switchover().
 */
#include "base/clock.h"
#include "base/log.h"
#include "ctl/commands.h"
#include "ctl/members.h"
#include "ctl/prompt.h"
#include "ctl/rest.h"
#include "ctl/schedule.h"
#include "ctl/steps.h"

#include "base/banned.h"

#define QUESTION_BYTES_MAX 16384
#define GREET_MS 300 /* for the first words of the members, before the request is sent */
#define LOOK_MS 200
#define SETTLE_MS 10000 /* for the others to follow the new leader, before the table is shown */

struct change {
    struct ctl_cluster *k;
    bool switchover, force, dry_run;
    const char *verb; /* "switchover" or "failover" */
    const char *leader, *candidate;
    struct ctl_moment when;
    char leader_answer[CTL_ANSWER_BYTES], candidate_answer[CTL_ANSWER_BYTES];
    char when_answer[CTL_ANSWER_BYTES];
};

static const char *leader_name(const struct change *h)
{
    return h->k->leader ? h->k->leader->name : NULL;
}

/** Members that may be promoted, ordered by name as the view is. */
static void find_candidates(const struct change *h, struct ctl_selection *ret)
{
    const struct dcs_cluster *c = &h->k->s->cluster;
    const char *leader = leader_name(h);

    ret->n = 0;
    for (unsigned i = 0; i < c->n_members; i++) {
        if ((!leader || strcmp(c->members[i].name, leader) != 0) && !c->members[i].tags.nofailover)
            ret->v[ret->n++] = &c->members[i];
    }
}

static bool ask_leader(struct change *h, struct pgv_error *err)
{
    const char *leader = leader_name(h);

    if (!leader)
        return pgv_fail(err, PGV_EINVALID, "This cluster has no leader");
    if (!h->leader && h->force)
        h->leader = leader;
    if (!h->leader) {
        if (!ctl_ask(h->k->c, ctl_is_standby_cluster(h->k) ? "Standby Leader" : "Primary", leader,
                     h->leader_answer, err))
            return false;
        h->leader = h->leader_answer;
    }
    if (strcmp(h->leader, leader) != 0)
        return pgv_fail(err, PGV_EINVALID, "Member %s is not the leader of cluster %s", h->leader,
                        h->k->name);
    return true;
}

static bool ask_candidate(struct change *h, struct pgv_error *err)
{
    struct ctl_selection s;
    struct pgv_buf text;
    const char *leader = leader_name(h);
    bool known = false, ok = true;

    find_candidates(h, &s);
    if (s.n == 0)
        return pgv_fail(err, PGV_EINVALID, "No candidates found to %s to", h->verb);
    if (!h->candidate && !h->force) {
        pgv_buf_init(&text, QUESTION_BYTES_MAX);
        pgv_buf_puts(&text, "Candidate [");
        for (unsigned i = 0; i < s.n; i++) {
            pgv_buf_puts(&text, i ? ", " : "");
            ctl_repr(&text, s.v[i]->name);
        }
        pgv_buf_putc(&text, ']');
        ok = ctl_ask(h->k->c, pgv_buf_cstr(&text), "", h->candidate_answer, err);
        pgv_buf_done(&text);
        h->candidate = h->candidate_answer;
    }
    if (!ok)
        return false;
    if (!h->switchover && (!h->candidate || !*h->candidate))
        return pgv_fail(err, PGV_EINVALID,
                        "Failover could be performed only to a specific candidate");
    if (!h->candidate || !*h->candidate)
        return true;
    for (unsigned i = 0; i < s.n; i++)
        known = known || strcmp(s.v[i]->name, h->candidate) == 0;
    if (known)
        return true;
    if (leader && strcmp(h->candidate, leader) == 0)
        return pgv_fail(err, PGV_EINVALID, "Member %s is already the leader of cluster %s",
                        h->candidate, h->k->name);
    return pgv_fail(err, PGV_EINVALID,
                    "Member %s does not exist in cluster %s or is tagged as nofailover",
                    h->candidate, h->k->name);
}

/** A failover to a member that is not in the sync key loses what it has not received. */
static bool accept_asynchronous(struct change *h, struct pgv_error *err)
{
    const struct dcs_sync *sync = &h->k->s->cluster.sync;
    char text[CTL_ANSWER_BYTES + 80];

    if (h->force || h->dry_run || h->switchover || !ctl_is_synchronous(h->k) || !sync->leader[0] ||
        dcs_sync_matches(sync, h->candidate, true))
        return true;
    snprintf(text, sizeof(text), "Are you sure you want to failover to the asynchronous node %s?",
             h->candidate);
    return ctl_must_confirm(h->k->c, text, "Aborting failover", err);
}

static bool ask_when(struct change *h, const char *scheduled, struct pgv_error *err)
{
    char text[96], example[CTL_STAMP_BYTES];

    if (!h->switchover)
        return true;
    if (!scheduled && !h->force) {
        ctl_stamp_minute(pgv_wall_us() + (int64_t)3600 * 1000000, example);
        snprintf(text, sizeof(text), "When should the switchover take place (e.g. %s ) ", example);
        if (!ctl_ask(h->k->c, text, "now", h->when_answer, err))
            return false;
        scheduled = h->when_answer;
    }
    if (!ctl_moment_parse(scheduled, pgv_wall_us(), &h->when, err))
        return false;
    if (h->when.later && ctl_is_paused(h->k))
        return pgv_fail(err, PGV_EINVALID, "Can't schedule switchover in the paused state");
    return true;
}

static bool confirm(struct change *h, struct pgv_error *err)
{
    struct pgv_buf text;
    char refused[64];
    bool ok;

    if (h->force || h->dry_run)
        return true;
    pgv_buf_init(&text, QUESTION_BYTES_MAX);
    if (h->when.later)
        pgv_buf_printf(&text, "Are you sure you want to schedule switchover of cluster %s at %s",
                       h->k->name, h->when.iso);
    else
        pgv_buf_printf(&text, "Are you sure you want to %s cluster %s", h->verb, h->k->name);
    if (leader_name(h))
        pgv_buf_printf(&text, ", demoting current leader %s", leader_name(h));
    pgv_buf_putc(&text, '?');
    snprintf(refused, sizeof(refused), "Aborting %s%s", h->when.later ? "scheduled " : "", h->verb);
    ok = ctl_must_confirm(h->k->c, pgv_buf_cstr(&text), refused, err);
    pgv_buf_done(&text);
    return ok;
}

static struct pgv_value *request_body(const struct change *h)
{
    struct pgv_arena *a = &h->k->c->arena;
    struct pgv_value *body = pgv_new(a, PGV_MAP);
    struct pgv_value *candidate =
        h->candidate ? pgv_new_string(a, pgv_str(h->candidate)) : pgv_new(a, PGV_NULL);

    if (!pgv_map_set(a, body, "candidate", candidate) ||
        (h->switchover && !pgv_map_set(a, body, "leader", pgv_new_string(a, pgv_str(h->leader)))) ||
        (h->when.later &&
         !pgv_map_set(a, body, "scheduled_at", pgv_new_string(a, pgv_str(h->when.iso)))))
        return NULL;
    return body;
}

static bool write_to_store(struct change *h, struct pgv_error *err)
{
    char stamp[CTL_STAMP_BYTES];
    struct pgv_buf value;
    bool ok;

    pgv_log(PGV_WARNING, "ctl", "Failing over to DCS");
    ctl_stamp(pgv_wall_us(), 5, stamp);
    ctl_print(h->k->c, "%s Could not %s using Patroni api, falling back to DCS\n", stamp, h->verb);
    pgv_buf_init(&value, QUESTION_BYTES_MAX);
    ok = dcs_write_failover(&value, h->switchover ? h->leader : NULL,
                            h->candidate && *h->candidate ? h->candidate : NULL,
                            h->when.later ? h->when.iso : NULL) ||
         ctl_out_of_memory(err);
    ok = ok && ctl_cluster_write(h->k, DCS_SET_FAILOVER, pgv_buf_view(&value), NULL, err);
    pgv_buf_done(&value);
    return ok;
}

static bool contains(struct ctl_answer *answer, const char *text)
{
    return strcasestr(ctl_answer_text(answer), text) != NULL;
}

/** Whom request() asks. */
static const struct dcs_member *addressee(const struct change *h)
{
    const struct dcs_member *m =
        h->k->leader ? h->k->leader : dcs_find_member(&h->k->s->cluster, h->candidate);

    PGV_ASSERT(m); /* without a leader it is a failover, whose candidate was looked up */
    return m;
}

static bool tell(const struct change *h, struct pgv_error *err)
{
    const struct pgv_value *body = request_body(h);
    struct pgv_buf line;
    bool ok;

    pgv_buf_init(&line, QUESTION_BYTES_MAX);
    pgv_buf_printf(&line, "Dry run: member %s would be asked for a %s: ", addressee(h)->name,
                   h->verb);
    ok = body && pgv_json_write(&line, body, PGV_JSON_SPACED) && pgv_buf_putc(&line, '\n');
    if (ok)
        ctl_print_buf(h->k->c, &line);
    pgv_buf_done(&line);
    return ok || ctl_out_of_memory(err);
}

/* ---- what a terminal shows meanwhile ---------------------------------------------------- */

struct show {
    struct ctl_follow follow;
    struct ctl_steps steps;
    struct ctl *c;
    const char *verb;
    char what[512];
    bool complete; /* everybody follows the new leader */
};

static void say_what(struct show *w)
{
    struct pgv_buf b;

    pgv_buf_init(&b, sizeof(w->what));
    for (unsigned i = 0; i < w->follow.n; i++) {
        if (!w->follow.v[i].status.job.running)
            continue;
        pgv_buf_printf(&b, "%s%s: ", b.n ? ", " : "", w->follow.v[i].name);
        ctl_put_doing(&b, &w->follow.v[i]);
    }
    if (b.n)
        snprintf(w->what, sizeof(w->what), "%s: %s", w->verb, pgv_buf_cstr(&b));
    else
        snprintf(w->what, sizeof(w->what), "%s: waiting for the %s", w->verb,
                 w->steps.promoted ? "members to follow" : "new leader");
    pgv_buf_done(&b);
}

static void on_told(struct ctl_follow *f, unsigned i)
{
    struct show *w = f->data;
    struct pgv_str line, rest;
    struct pgv_buf lines;

    pgv_buf_init(&lines, QUESTION_BYTES_MAX);
    ctl_steps_look(&w->steps, f, i, &lines);
    rest = pgv_buf_view(&lines);
    while (pgv_str_cut(rest, '\n', &line, &rest))
        ctl_note(w->c, "%.*s", (int)line.n, line.p);
    pgv_buf_done(&lines);
    w->complete = w->complete || ctl_steps_complete(&w->steps, f);
    say_what(w);
}

static bool show_begin(struct show *w, const struct change *h, struct pgv_error *err)
{
    struct ctl_selection s;

    *w = (struct show){ .c = h->k->c, .verb = h->verb };
    say_what(w);
    ctl_members_leader_first(h->k, &s);
    if (h->when.later)
        s.n = 0; /* it is over at once */
    if (leader_name(h))
        pgv_copy_cut(w->steps.old, sizeof(w->steps.old), pgv_str(leader_name(h)));
    ctl_clock_start(w->c);
    w->follow.data = w;
    w->follow.on_told = on_told;
    ctl_follow_open(&w->follow, w->c, &s);
    return ctl_follow_greet(&w->follow, GREET_MS, err);
}

static bool anybody_known(const struct show *w)
{
    for (unsigned i = 0; i < w->follow.n; i++)
        if (w->follow.v[i].status.known)
            return true;
    return false;
}

/** The members' keys say what the members themselves have told; they are written a moment later. */
static bool store_has_it(const struct show *w, const struct ctl_cluster *k)
{
    for (unsigned i = 0; i < w->follow.n; i++) {
        const struct dcs_member *m = dcs_find_member(&k->s->cluster, w->follow.v[i].name);

        if (w->follow.v[i].status.known && m && m != k->leader &&
            (!m->streaming || m->timeline != w->steps.timeline))
            return false;
    }
    return true;
}

/** So that the table shows how it ended, not how it went. False: the store does not answer. */
static bool show_settle(struct show *w, struct ctl_cluster *k, struct pgv_error *err)
{
    uint64_t until_ms = pgv_clock_ms() + SETTLE_MS;
    struct pgv_error ignored;
    bool going_on = true;

    if (!anybody_known(w))
        return true;
    if (!w->complete)
        going_on = ctl_sleep_until(w->c, &w->complete, SETTLE_MS, w->what, &ignored);
    if (!going_on)
        ctl_interrupt_meant_waiting();
    while (ctl_cluster_read(k, err)) {
        if (!going_on || !w->complete || store_has_it(w, k) || pgv_clock_ms() >= until_ms)
            return true;
        going_on = ctl_sleep(w->c, LOOK_MS, w->what, &ignored);
        if (!going_on)
            ctl_interrupt_meant_waiting();
    }
    return false;
}

static void show_end(struct show *w)
{
    ctl_follow_close(&w->follow);
    ctl_clock_stop(w->c);
}

/* ---- the request ------------------------------------------------------------------------ */

/** Ask the agent; @ret_again: show the table once more. */
static bool request(struct change *h, struct show *w, bool *ret_again, struct pgv_error *err)
{
    const struct dcs_member *m = addressee(h);
    const struct pgv_value *body = request_body(h);
    struct ctl_answer answer;
    struct pgv_error why;
    char stamp[CTL_STAMP_BYTES];
    bool asked;

    *ret_again = true;
    if (!body)
        return ctl_out_of_memory(err);
    asked =
        ctl_request(h->k->c, m, "POST", h->verb, body, CTL_PATIENCE_WORK, w->what, &answer, &why);
    if (asked && answer.status == 501 && h->switchover &&
        contains(&answer, "Server does not support this operation")) {
        ctl_answer_done(&answer); /* an agent of long ago */
        asked = ctl_request(h->k->c, m, "POST", "failover", body, CTL_PATIENCE_WORK, w->what,
                            &answer, &why);
    }
    if (!asked && why.code == PGV_ECANCELED) {
        *err = why;
        return false;
    }
    if (!asked) {
        pgv_log(PGV_ERROR, "ctl", "%s", why.msg);
        return write_to_store(h, err);
    }
    if (answer.status == 200 || answer.status == 202) {
        bool ok = ctl_cluster_read(h->k, err);

        if (ok) {
            ctl_stamp(pgv_wall_us(), 5, stamp);
            ctl_print(h->k->c, "%s %s\n", stamp, ctl_answer_text(&answer));
        }
        ok = ok && (answer.status != 200 || show_settle(w, h->k, err));
        ctl_answer_done(&answer);
        return ok;
    }
    ctl_print(h->k->c, "%s %s, details: %d, %s\n", h->switchover ? "Switchover" : "Failover",
              contains(&answer, "status unknown") ? "result unknown" : "failed", answer.status,
              ctl_answer_text(&answer));
    ctl_answer_done(&answer);
    *ret_again = false;
    return true;
}

/** Citus needs to know which group; a switchover of all of them at once does not exist. */
static bool choose_group(struct change *h, struct pgv_error *err)
{
    struct ctl *c = h->k->c;
    const char *name = h->k->name;
    struct ctl_group group = { .given = true };

    if (!h->k->citus || h->k->group.given)
        return true;
    if (h->force)
        return pgv_fail(err, PGV_EINVALID, "For Citus clusters the --group must me specified");
    if (!ctl_ask_integer(c, "Citus group", &group.n, err))
        return false;
    ctl_cluster_close(h->k);
    return ctl_cluster_open(c, name, group, h->k, err);
}

static bool change_leader(struct change *h, const char *scheduled, struct pgv_error *err)
{
    struct show w;
    bool again, ok;

    ctl_print(h->k->c, "Current cluster topology\n");
    if (!ctl_print_members(h->k, false, CTL_PRETTY, err) || !choose_group(h, err) ||
        (h->switchover && !ask_leader(h, err)) || !ask_candidate(h, err) ||
        !accept_asynchronous(h, err) || !ask_when(h, scheduled, err) || !confirm(h, err))
        return false;
    if (h->dry_run)
        return tell(h, err);
    ok = show_begin(&w, h, err) && request(h, &w, &again, err);
    show_end(&w);
    if (!ok)
        return false;
    return !again || ctl_print_members(h->k, false, CTL_PRETTY, err);
}

static bool run(struct ctl *c, const struct ctl_args *args, struct change *h, const char *scheduled,
                struct pgv_error *err)
{
    struct ctl_cluster k;
    const char *name;
    bool ok;

    h->k = &k;
    h->candidate = ctl_text(args, "--candidate");
    h->force = ctl_flag(args, "--force");
    h->dry_run = ctl_flag(args, "--dry-run");
    if (!ctl_name_of(c, args, &name, err) ||
        !ctl_cluster_open(c, name, ctl_group_of(c, args, false), &k, err))
        return false;
    ok = change_leader(h, scheduled, err);
    ctl_cluster_close(&k);
    return ok;
}

static bool run_switchover(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    struct change h = { .switchover = true,
                        .verb = "switchover",
                        .leader = ctl_text(args, "--leader") };

    return run(c, args, &h, ctl_text(args, "--scheduled"), err);
}

static bool run_failover(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    struct change h = { .verb = "failover" };

    return run(c, args, &h, NULL, err);
}

const struct ctl_command ctl_switchover_command = {
    .name = "switchover",
    .help = "Switchover to a replica",
    .options = { CTL_OPTION_GROUP,
                 { .names = { "--leader", "--primary" },
                   .kind = CTL_TEXT,
                   .help = "The name of the current leader" },
                 { .names = { "--candidate" },
                   .kind = CTL_TEXT,
                   .help = "The name of the candidate" },
                 { .names = { "--scheduled" },
                   .kind = CTL_TEXT,
                   .help = "Timestamp of a scheduled switchover in unambiguous format (e.g. ISO "
                           "8601)" },
                 CTL_OPTION_FORCE,
                 CTL_OPTION_DRY_RUN },
    .arguments = { { .name = "CLUSTER_NAME" } },
    .run = run_switchover,
};

const struct ctl_command ctl_failover_command = {
    .name = "failover",
    .help = "Failover to a replica",
    .options = { CTL_OPTION_GROUP,
                 { .names = { "--candidate" },
                   .kind = CTL_TEXT,
                   .help = "The name of the candidate" },
                 CTL_OPTION_FORCE,
                 CTL_OPTION_DRY_RUN },
    .arguments = { { .name = "CLUSTER_NAME" } },
    .run = run_failover,
};
