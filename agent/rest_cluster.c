/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_cluster.c - what the store says: the cluster, its history, the failsafe topology.
 *
 * /cluster reads the store for each request; the others are content with the view the watch keeps
 * and read only when there is none (rest contract §6).
 */
#include "agent/rest.h"

#include "base/banned.h"

static void on_cluster(struct rest_call *c, const struct pgv_error *err)
{
    const struct agent *a = c->rest->agent;

    (void)err;
    rest_call_json(
        c, 200,
        dcs_cluster_to_json(&c->arena, a->dcs.view, rest_global(a, a->dcs.view), a->config.scope));
}

void rest_get_cluster(struct rest *r, struct httpd_req *req)
{
    struct rest_call *c = rest_call_new(r, req, sizeof(*c));

    if (c)
        rest_call_read(c, on_cluster);
}

static void reply_history(struct rest *r, struct httpd_req *req, const struct dcs_snapshot *s)
{
    if (s->history)
        rest_reply_json(r, req, 200, s->history);
    else
        rest_reply(r, req, 200, NULL, "application/json", pgv_str("[]"));
}

static void on_history(struct rest_call *c, const struct pgv_error *err)
{
    const struct dcs_snapshot *s = c->rest->agent->dcs.view;
    const struct pgv_value *history = s->history ? s->history : pgv_new(&c->arena, PGV_LIST);

    (void)err;
    rest_call_json(c, 200, history);
}

void rest_get_history(struct rest *r, struct httpd_req *req)
{
    const struct dcs_snapshot *view = rest_cached_cluster(r->agent);
    struct rest_call *c;

    if (view) {
        reply_history(r, req, view);
        return;
    }
    c = rest_call_new(r, req, sizeof(*c));
    if (c)
        rest_call_read(c, on_history);
}

/* Must be answerable without the store: what was last read of it stays good through an outage. */
void rest_get_failsafe(struct rest *r, struct httpd_req *req)
{
    const struct dcs_snapshot *view = r->agent->dcs.view;

    if (!view)
        rest_reply(r, req, 200, NULL, "application/json", pgv_str("{}"));
    else if (view->cluster.failsafe_exists)
        rest_reply_json(r, req, 200, view->failsafe);
    else
        rest_reply_error(r, req, 502, "there is no /failsafe key in the store");
}
