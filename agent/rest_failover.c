/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_failover.c - switchover and failover on demand: is it possible, write it down, tell
 * how it ended (rest contract §7).
 *
 * The request does not make anything happen itself: it leaves a note in the store, wakes the brain
 * and watches the view. The outcome is seen as it happens, not once a second. A failover key that
 * has gone can only mean failure once the view is known to be newer than our own write, hence the
 * read right after it.
 */
#include "agent/rest.h"
#include "base/log.h"

#include <stdio.h>

#include "base/banned.h"

#define ASK_MEMBERS_MS 2000
#define KEY_BYTES_MAX 4096

struct failover_call {
    struct rest_call call;                                  /* first */
    bool switchover;                                        /* what it is handled as */
    char leader[PGV_NAME_BYTES], candidate[PGV_NAME_BYTES]; /* as asked; empty: not given */
    char scheduled_at[PGV_MOMENT_BYTES];                    /* empty: now */
    char old_leader[PGV_NAME_BYTES];                        /* who led when it was asked */
    uint64_t wait_ms;
    bool armed;      /* the view is newer than our key */
    bool read_again; /* the read that was to show it failed */
    bool asking;
    struct agent_peers_req peers;
};

static const char *action_of(const struct failover_call *f)
{
    return f->switchover ? "switchover" : "failover";
}

/* ---- the outcome ------------------------------------------------------------------------ */

/* Answers when the view shows how it ended. */
static bool tell_outcome(struct failover_call *f)
{
    struct rest_call *c = &f->call;
    const struct dcs_snapshot *view = c->rest->agent->dcs.view;
    const char *done = f->switchover ? "switched" : "failed";

    if (!view)
        return false;
    if (view->cluster.has_leader && strcmp(view->cluster.leader, f->old_leader) != 0) {
        if (!f->candidate[0] || strcmp(f->candidate, view->cluster.leader) == 0)
            rest_call_text(c, 200, "Successfully %s over to \"%s\"", done, view->cluster.leader);
        else
            rest_call_text(c, 200, "%s over to \"%s\" instead of \"%s\"",
                           f->switchover ? "Switched" : "Failed", view->cluster.leader,
                           f->candidate);
        return true;
    }
    if (f->armed && !view->cluster.failover.present) {
        rest_call_text(c, 503, "%s failed", f->switchover ? "Switchover" : "Failover");
        return true;
    }
    return false;
}

static void on_read_after_write(struct rest_call *c, const struct pgv_error *err)
{
    struct failover_call *f = (struct failover_call *)c;

    f->armed = !err;
    f->read_again = err != NULL;
    tell_outcome(f);
}

static void on_world(struct rest_call *c)
{
    struct failover_call *f = (struct failover_call *)c;

    if (tell_outcome(f) || !f->read_again)
        return;
    f->read_again = false; /* something moved: the store may answer again */
    rest_call_read_or_not(c, on_read_after_write);
}

static void on_wait_over(uv_timer_t *timer)
{
    struct rest_call *c = timer->data;
    struct failover_call *f = (struct failover_call *)c;

    if (!c->req || tell_outcome(f))
        return;
    rest_call_text(
        c, 503, "%s status unknown after %llu seconds; operation may still be in progress",
        f->switchover ? "Switchover" : "Failover", (unsigned long long)(f->wait_ms / 1000));
}

static void on_written(struct rest_call *c, const struct pgv_error *err)
{
    struct failover_call *f = (struct failover_call *)c;
    struct agent *a = c->rest->agent;

    if (err) {
        pgv_log(PGV_WARNING, "rest", "the failover key was not written: %s", err->msg);
        rest_call_text(c, 503, "failed to write failover key into DCS");
        return;
    }
    agent_wake(a);
    if (f->scheduled_at[0]) {
        rest_call_text(c, 202, "Switchover scheduled");
        return;
    }
    f->wait_ms = 2 * (a->config.loop_wait_ms > 10000 ? a->config.loop_wait_ms : 10000);
    rest_call_timer(c, f->wait_ms, on_wait_over);
    c->world = on_world;
    rest_call_read_or_not(c, on_read_after_write);
}

static void write_key(struct failover_call *f)
{
    struct rest_call *c = &f->call;
    struct pgv_buf key;

    pgv_buf_init(&key, KEY_BYTES_MAX);
    if (dcs_write_failover(&key, f->leader, f->candidate, f->scheduled_at))
        rest_call_write(c, DCS_SET_FAILOVER, pgv_buf_view(&key), "", on_written);
    else
        rest_call_error(c, 503, "out of memory");
    pgv_buf_done(&key);
}

/* ---- is it possible? -------------------------------------------------------------------- */

static void on_peers(struct agent_peers_req *req)
{
    struct failover_call *f = req->data;

    f->asking = false;
    /* Positions and timelines are the brain's affair: here it is enough that somebody could. */
    for (unsigned i = 0; i < req->n; i++) {
        const struct ha_peer *p = &req->peers[i];

        if (p->reachable && !p->nofailover && !p->watchdog_failed) {
            write_key(f);
            return;
        }
    }
    rest_call_text(&f->call, 412, "%s is not possible: no good candidates have been found",
                   action_of(f));
}

static void on_aborted(struct rest_call *c)
{
    struct failover_call *f = (struct failover_call *)c;

    if (f->asking)
        agent_peers_cancel(&f->peers);
    f->asking = false;
}

static void ask_members(struct failover_call *f, const struct agent_peer_addr *addrs, unsigned n)
{
    f->asking = true;
    f->call.aborted = on_aborted;
    f->peers.data = f;
    agent_peers_ask(f->call.rest->agent, &f->peers, addrs, n, ASK_MEMBERS_MS, on_peers);
}

/* Who could take over, as far as the store knows; NULL, or the words of the refusal. */
static const char *select_members(const struct failover_call *f, const struct dcs_cluster *cluster,
                                  bool in_sync_only, struct agent_peer_addr *ret, unsigned *ret_n)
{
    *ret_n = 0;
    for (unsigned i = 0; i < cluster->n_members; i++) {
        const struct dcs_member *m = &cluster->members[i];
        bool fits;

        if (f->candidate[0])
            fits = strcmp(m->name, f->candidate) == 0;
        else if (in_sync_only)
            fits = dcs_sync_matches(&cluster->sync, m->name, false);
        else
            fits = !cluster->has_leader || (strcmp(m->name, cluster->leader) != 0 && m->api_url[0]);
        if (!fits)
            continue;
        memcpy(ret[*ret_n].name, m->name, sizeof(m->name));
        memcpy(ret[*ret_n].api_url, m->api_url, sizeof(m->api_url));
        (*ret_n)++;
    }
    if (*ret_n)
        return NULL;
    if (f->candidate[0])
        return "candidate does not exists";
    return in_sync_only ? "can not find sync_standby"
                        : "cluster does not have members except leader";
}

static void check_possible(struct failover_call *f)
{
    struct rest_call *c = &f->call;
    const struct agent *a = c->rest->agent;
    const struct dcs_cluster *cluster = &a->dcs.view->cluster;
    const struct pgv_value *global = rest_global(a, a->dcs.view);
    bool in_sync_only = agent_config_is_synchronous(global) && !agent_config_is_quorum(global);
    struct agent_peer_addr *addrs;
    const char *why;
    unsigned n;

    if (f->leader[0] && (!cluster->has_leader || strcmp(cluster->leader, f->leader) != 0)) {
        rest_call_text(c, 412, "leader name does not match");
        return;
    }
    if (f->candidate[0] && f->switchover && in_sync_only &&
        !dcs_sync_matches(&cluster->sync, f->candidate, false)) {
        rest_call_text(c, 412, "candidate name does not match with sync_standby");
        return;
    }
    addrs = pgv_arena_alloc(&c->arena, DCS_MEMBERS_MAX * sizeof(*addrs));
    if (!addrs) {
        rest_call_error(c, 503, "out of memory");
        return;
    }
    why = select_members(f, cluster, in_sync_only, addrs, &n);
    if (!why)
        ask_members(f, addrs, n);
    else if (f->candidate[0])
        rest_call_text(c, 412, "%s", why);
    else
        rest_call_text(c, 412, "%s is not possible: %s", action_of(f), why);
}

/* ---- the request ------------------------------------------------------------------------ */

/* A name of the body; falsy is none, anything but a text of a name's length is refused. */
static bool take_name(struct rest_call *c, const char *key, char *ret, size_t ret_bytes)
{
    const struct pgv_value *v = pgv_get(c->body, key);

    ret[0] = '\0';
    if (!pgv_truthy(v))
        return true;
    if (pgv_is(v, PGV_STRING) && pgv_copy(ret, ret_bytes, v->u.s))
        return true;
    rest_call_text(c, 400, "%s is not the name of a member", key);
    return false;
}

static bool take_names(struct failover_call *f)
{
    struct rest_call *c = &f->call;

    return take_name(c, "leader", f->leader, sizeof(f->leader)) &&
           take_name(c, pgv_truthy(pgv_get(c->body, "candidate")) ? "candidate" : "member",
                     f->candidate, sizeof(f->candidate));
}

/* The first refusal is answered. */
static bool validate(struct failover_call *f, bool paused)
{
    struct rest_call *c = &f->call;
    const struct pgv_value *at = pgv_get(c->body, "scheduled_at");
    int64_t wall_us;
    char why[160];
    int status;

    if (!f->switchover && !f->candidate[0]) {
        rest_call_text(c, 400, "Failover could be performed only to a specific candidate");
        return false;
    }
    if (f->switchover && !f->leader[0]) {
        rest_call_text(c, 400, "Switchover could be performed only from a specific leader");
        return false;
    }
    if (pgv_truthy(at)) {
        if (!f->switchover || paused) {
            rest_call_text(c, 400,
                           f->switchover ? "Can't schedule switchover in the paused state"
                                         : "Failover can't be scheduled");
            return false;
        }
        status = rest_parse_schedule(at, "switchover", pgv_wall_us(), &wall_us, f->scheduled_at,
                                     why, sizeof(why));
        if (status) {
            rest_call_text(c, status, "%s", why);
            return false;
        }
    }
    if (paused && !f->candidate[0]) {
        rest_call_text(c, 400,
                       "Switchover is possible only to a specific candidate in a paused state");
        return false;
    }
    if (!f->switchover && f->leader[0]) {
        pgv_log(PGV_WARNING, "rest",
                "received failover request with leader specified - performing switchover instead");
        f->switchover = true;
    }
    if (strcmp(f->leader, f->candidate) == 0) {
        rest_call_text(c, 400, "Switchover target and source are the same");
        return false;
    }
    return true;
}

static void on_read_for_failover(struct rest_call *c, const struct pgv_error *err)
{
    struct failover_call *f = (struct failover_call *)c;
    const struct agent *a = c->rest->agent;
    const struct dcs_snapshot *view = a->dcs.view;
    struct pgv_buf at;

    (void)err;
    if (!take_names(f))
        return;
    pgv_buf_init(&at, 128);
    pgv_value_text(&at, pgv_get(c->body, "scheduled_at"));
    pgv_log(PGV_INFO, "rest", "received %s request with leader=%s candidate=%s scheduled_at=%s",
            action_of(f), f->leader[0] ? f->leader : "None",
            f->candidate[0] ? f->candidate : "None", at.n ? pgv_buf_cstr(&at) : "None");
    pgv_buf_done(&at);
    if (view->cluster.has_leader)
        memcpy(f->old_leader, view->cluster.leader, sizeof(f->old_leader));
    if (!validate(f, agent_config_is_paused(rest_global(a, view))))
        return;
    if (f->scheduled_at[0])
        write_key(f);
    else
        check_possible(f);
}

static void begin(struct rest *r, struct httpd_req *req, bool switchover)
{
    struct rest_call *c = rest_call_new(r, req, sizeof(struct failover_call));

    if (!c)
        return;
    ((struct failover_call *)c)->switchover = switchover;
    if (rest_call_body(c, false))
        rest_call_read(c, on_read_for_failover);
}

void rest_post_failover(struct rest *r, struct httpd_req *req)
{
    begin(r, req, false);
}

void rest_post_switchover(struct rest *r, struct httpd_req *req)
{
    begin(r, req, true);
}

/* ---- taking a scheduled one back -------------------------------------------------------- */

static void on_schedule_deleted(struct rest_call *c, const struct pgv_error *err)
{
    if (!err)
        rest_call_text(c, 200, "scheduled switchover deleted");
    else if (err->code == PGV_EUNREACHABLE)
        rest_call_error(c, 503, "the store did not answer: it may or may not have been deleted");
    else
        rest_call_error(c, 409, "the failover key was changed by somebody else meanwhile");
}

static void on_read_for_delete(struct rest_call *c, const struct pgv_error *err)
{
    const struct dcs_failover *f = &c->rest->agent->dcs.view->cluster.failover;

    (void)err;
    if (f->exists && f->scheduled)
        rest_call_write(c, DCS_SET_FAILOVER, PGV_STR("{}"), f->version, on_schedule_deleted);
    else
        rest_call_text(c, 404, "no switchover is scheduled");
}

void rest_delete_switchover(struct rest *r, struct httpd_req *req)
{
    struct rest_call *c = rest_call_new(r, req, sizeof(*c));

    if (c)
        rest_call_read(c, on_read_for_delete);
}
