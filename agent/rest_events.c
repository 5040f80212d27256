/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_events.c - GET /events: what changes, as it changes (server-sent events).
 *
 * Two kinds of event: 'member' is this node (role, state, lag, the job that runs and for how long,
 * why the last cycle ended as it did), 'cluster' is the document of GET /cluster out of the view
 * the watch keeps. Both come when a client connects and again when their text has changed, at most
 * ten times a second however busy the brain is. Nothing is composed while nobody listens. A client
 * that does not read is cut when its buffer is full; a silent stream gets a comment now and then,
 * so that both sides notice when the other has gone.
 */
#include "agent/rest.h"
#include "base/log.h"

#include <stdio.h>

#include "base/banned.h"

#define EVENT_BYTES_MAX (96u << 10) /* below what a stream may hold back */
#define SOON_MS 100
#define TICK_MS 1000
#define SILENT_MS 15000

static void put_member(struct rest *r, struct pgv_buf *b)
{
    const struct agent *a = r->agent;
    const struct postmaster_facts *f = &a->pm.facts;
    const struct dcs_snapshot *view = rest_cached_cluster(a);
    uint64_t now_ms = pgv_clock_ms(), leader = view ? view->cluster.status_optime : 0;

    pgv_buf_puts(b, "event: member\ndata: {\"name\": ");
    pgv_json_write_string(b, pgv_str(a->config.name));
    pgv_buf_printf(b, ", \"state\": \"%s\", \"role\": \"%s\", \"leader\": %s, \"timeline\": %u",
                   pgv_state_name(agent_state(a)), pgv_role_name(ha_role(&a->ha)),
                   ha_is_leader(&a->ha, now_ms) ? "true" : "false", (unsigned)f->timeline);
    if (f->look_ok && f->in_recovery && leader)
        pgv_buf_printf(b, ", \"lag\": %llu",
                       (unsigned long long)(leader > f->replay_lsn ? leader - f->replay_lsn : 0));
    pgv_buf_printf(b, ", \"pause\": %s, \"pending_restart\": %s, \"dcs\": %s",
                   agent_config_is_paused(rest_global(a, view)) ? "true" : "false",
                   f->pending_restart || a->pm.n_pending ? "true" : "false",
                   view ? "true" : "false");
    if (f->look_ok && (f->streaming || f->in_archive_recovery))
        pgv_buf_printf(b, ", \"replication_state\": \"%s\"",
                       f->streaming ? "streaming" : "in archive recovery");
    rest_put_job(b, a);
    pgv_buf_printf(b, ", \"why\": \"%s\", \"status\": ", ha_why_label(a->ha.status_why));
    pgv_json_write_string(b, pgv_str(a->ha.status));
    pgv_buf_puts(b, "}\n\n");
}

static void put_cluster(struct rest *r, struct pgv_buf *b)
{
    const struct agent *a = r->agent;
    const struct dcs_snapshot *view = rest_cached_cluster(a);
    struct pgv_arena arena;
    struct pgv_value *v;

    pgv_arena_init(&arena, REST_BODY_ARENA_BYTES_MAX);
    v = view ? dcs_cluster_to_json(&arena, view, rest_global(a, view), a->config.scope) : NULL;
    if (v) {
        pgv_buf_puts(b, "event: cluster\ndata: ");
        pgv_json_write(b, v, PGV_JSON_SPACED);
        pgv_buf_puts(b, "\n\n");
    }
    pgv_arena_done(&arena);
}

static void drop(struct rest *r, struct httpd_req *req)
{
    for (unsigned i = 0; i < r->n_events; i++)
        if (r->events[i] == req) {
            r->events[i] = r->events[--r->n_events];
            break;
        }
    if (!r->n_events)
        uv_timer_stop(&r->events_timer);
}

static void on_aborted(struct httpd_req *req)
{
    drop(req->data, req);
}

static void send_all(struct rest *r, struct pgv_str text)
{
    for (unsigned i = r->n_events; i-- > 0;) {
        struct httpd_req *req = r->events[i];

        if (!httpd_stream_write(req, text))
            drop(r, req); /* the last one takes its place, and has had its piece */
    }
    r->events_sent_ms = pgv_clock_ms();
}

/* Composes an event anew; sent when it says something else than before. */
static void update(struct rest *r, struct pgv_buf *last,
                   void (*put)(struct rest *r, struct pgv_buf *b))
{
    struct pgv_buf fresh;

    pgv_buf_init(&fresh, EVENT_BYTES_MAX);
    put(r, &fresh);
    if (fresh.failed) { /* too large, or no memory: the next change tries again */
        pgv_log(PGV_DEBUG, "rest", "an event for /events was left out");
        pgv_buf_done(&fresh);
        return;
    }
    if (pgv_str_eq(pgv_buf_view(&fresh), pgv_buf_view(last))) {
        pgv_buf_done(&fresh);
        return;
    }
    pgv_buf_done(last);
    *last = fresh;
    send_all(r, pgv_buf_view(last));
}

static void on_timer(uv_timer_t *timer)
{
    struct rest *r = timer->data;

    r->events_soon = false;
    update(r, &r->event_member, put_member);
    update(r, &r->event_cluster, put_cluster);
    if (pgv_clock_ms() >= r->events_sent_ms + SILENT_MS)
        send_all(r, PGV_STR(": still here\n\n"));
    if (r->n_events)
        uv_timer_start(timer, on_timer, TICK_MS, 0);
}

void rest_events_changed(struct rest *r)
{
    if (!r->n_events || r->events_soon)
        return;
    r->events_soon = true;
    uv_timer_start(&r->events_timer, on_timer, SOON_MS, 0);
}

void rest_get_events(struct rest *r, struct httpd_req *req)
{
    if (r->n_events == REST_EVENTS_MAX) {
        rest_reply_error(r, req, 503, "too many clients follow the events already");
        return;
    }
    httpd_stream_begin(req, "text/event-stream");
    /* The others hear of it too when it is news; then this one gets both. */
    update(r, &r->event_member, put_member);
    update(r, &r->event_cluster, put_cluster);
    if (!httpd_stream_write(req, pgv_buf_view(&r->event_member)) ||
        !httpd_stream_write(req, pgv_buf_view(&r->event_cluster)))
        return;
    req->data = r;
    req->on_abort = on_aborted;
    r->events[r->n_events++] = req;
    if (!uv_is_active((uv_handle_t *)&r->events_timer))
        uv_timer_start(&r->events_timer, on_timer, TICK_MS, 0);
}
