/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest.c - the REST API: routing, answering, and the life of a longer request.
 *
 * Answers are HTTP/1.1 with Content-Length and keep-alive, where Patroni speaks HTTP/1.0 and
 * closes; codes, bodies and content types are Patroni's to the byte. HEAD and OPTIONS never reach
 * the named endpoints but always mean the health check of that path, as there.
 */
#include "agent/rest.h"
#include "base/log.h"

#include <stdio.h>

#include "base/banned.h"

#define OUT_BYTES_MAX (4u << 20)

/* ---- routing: pure ---------------------------------------------------------------------- */

static const struct rest_route routes[] = {
    { HTTPD_GET, "patroni", rest_get_patroni, false, false },
    { HTTPD_GET, "metrics", rest_get_metrics, false, false },
    { HTTPD_GET, "liveness", rest_get_liveness, false, false },
    { HTTPD_GET, "readiness", rest_get_readiness, false, false },
    { HTTPD_GET, "cluster", rest_get_cluster, false, false },
    { HTTPD_GET, "decisions", rest_get_decisions, false, false },
    { HTTPD_GET, "explain", rest_get_explain, false, false },
    { HTTPD_GET, "history", rest_get_history, false, false },
    { HTTPD_GET, "config", rest_get_config, false, false },
    { HTTPD_GET, "failsafe", rest_get_failsafe, false, false },
    { HTTPD_GET, "events", rest_get_events, false, false },
    { HTTPD_GET, "dashboard", rest_get_dashboard, false, false },
    { HTTPD_PATCH, "config", rest_patch_config, true, false },
    { HTTPD_PUT, "config", rest_put_config, true, false },
    { HTTPD_POST, "reload", rest_post_reload, true, false },
    { HTTPD_POST, "failsafe", rest_post_failsafe, true, true },
    { HTTPD_POST, "sigterm", rest_post_sigterm, true, false },
    { HTTPD_POST, "restart", rest_post_restart, true, false },
    { HTTPD_POST, "reinitialize", rest_post_reinitialize, true, false },
    { HTTPD_POST, "failover", rest_post_failover, true, false },
    { HTTPD_POST, "switchover", rest_post_switchover, true, false },
    { HTTPD_POST, "citus", rest_post_mpp, true, false },
    { HTTPD_POST, "mpp", rest_post_mpp, true, false },
    { HTTPD_DELETE, "restart", rest_delete_restart, true, false },
    { HTTPD_DELETE, "switchover", rest_delete_switchover, true, false },
};

static const struct rest_route any_get = { HTTPD_GET, "", rest_get_health, false, false };
static const struct rest_route any_head = { HTTPD_HEAD, "", rest_head_health, false, false };

const struct rest_route *rest_route_find(enum httpd_method method, struct pgv_str path)
{
    struct pgv_str segment, tail;

    while (path.n && path.p[0] == '/') {
        path.p++;
        path.n--;
    }
    pgv_str_cut(path, '/', &segment, &tail);
    for (size_t i = 0; segment.n && i < sizeof(routes) / sizeof(routes[0]); i++)
        if (routes[i].method == method && pgv_str_eqz(segment, routes[i].segment))
            return &routes[i];
    if (method == HTTPD_GET)
        return &any_get;
    if (method == HTTPD_HEAD || method == HTTPD_OPTIONS)
        return &any_head;
    return NULL;
}

/* ---- answering -------------------------------------------------------------------------- */

void rest_observe_probe(struct rest *r, const struct httpd_req *req)
{
    measure_observe(&r->agent->measures[MEASURE_PROBE], pgv_clock_us() - req->received_us);
}

void rest_reply(struct rest *r, struct httpd_req *req, int status, const char *headers,
                const char *content_type, struct pgv_str body)
{
    (void)r;
    httpd_reply(req, status, headers, content_type, body);
}

void rest_reply_status(struct rest *r, struct httpd_req *req, int status)
{
    rest_observe_probe(r, req);
    httpd_reply_status(req, status);
}

void rest_reply_error(struct rest *r, struct httpd_req *req, int status, const char *why)
{
    (void)r;
    httpd_reply_error(req, status, why);
}

/* Plain text goes out as text/html. Source: Patroni, RestApiHandler.write_response(). */
void rest_reply_text(struct rest *r, struct httpd_req *req, int status, const char *text)
{
    rest_reply(r, req, status, NULL, "text/html", pgv_str(text));
}

void rest_reply_json(struct rest *r, struct httpd_req *req, int status, const struct pgv_value *v)
{
    pgv_buf_reset(&r->out);
    if (v && pgv_json_write(&r->out, v, PGV_JSON_SPACED))
        rest_reply(r, req, status, NULL, "application/json", pgv_buf_view(&r->out));
    else
        rest_reply_error(r, req, 503, "out of memory");
}

bool rest_body(struct rest *r, struct httpd_req *req, bool optional, struct pgv_arena *a,
               struct pgv_value **ret)
{
    struct pgv_value *v = NULL;
    struct pgv_error err = { 0 };
    char why[PGV_ERROR_MSG_BYTES + 64];

    if (!req->has_length && !optional) {
        rest_reply_error(r, req, 411, "a request body with its length is needed");
        return false;
    }
    if (!req->body.n && optional) {
        *ret = pgv_new(a, PGV_MAP);
        if (!*ret)
            rest_reply_error(r, req, 503, "out of memory");
        return *ret != NULL;
    }
    if (!pgv_json_parse(a, req->body, &v, &err)) {
        pgv_log(PGV_WARNING, "rest", "Bad request: %s", err.msg);
        snprintf(why, sizeof(why), "the request body is not valid JSON: %s", err.msg);
        rest_reply_error(r, req, err.code == PGV_ENOMEM ? 503 : 400, why);
        return false;
    }
    if (!pgv_is(v, PGV_MAP) || (!optional && !v->u.c.n)) {
        rest_reply_error(r, req, 400,
                         pgv_is(v, PGV_MAP) ? "the request body is an empty JSON object"
                                            : "the request body is not a JSON object");
        return false;
    }
    *ret = v;
    return true;
}

/* ---- calls ------------------------------------------------------------------------------ */

static void on_call_timer_closed(uv_handle_t *timer);

/* Free what has been answered and waits for nothing any more. */
static void settle(struct rest_call *c)
{
    struct rest *r = c->rest;

    if (c->req)
        return;
    if (c->asked) {
        c->asked = false;
        agent_forget(r->agent, &c->ask); /* the deed itself goes on */
    }
    if (c->timer_open) {
        if (!uv_is_closing((uv_handle_t *)&c->timer))
            uv_close((uv_handle_t *)&c->timer, on_call_timer_closed);
        return;
    }
    if (c->dcs_busy)
        return;
    if (c->prev)
        c->prev->next = c->next;
    else
        r->calls = c->next;
    if (c->next)
        c->next->prev = c->prev;
    r->n_calls--;
    pgv_arena_done(&c->arena);
    pgv_free(c);
    rest_close_when_done(r);
}

static void on_call_timer_closed(uv_handle_t *timer)
{
    struct rest_call *c = timer->data;

    c->timer_open = false;
    settle(c);
}

static void on_call_aborted(struct httpd_req *req)
{
    struct rest_call *c = req->data;

    c->req = NULL;
    c->world = NULL;
    if (c->aborted)
        c->aborted(c);
    settle(c);
}

struct rest_call *rest_call_new(struct rest *r, struct httpd_req *req, size_t bytes)
{
    struct rest_call *c = r->n_calls < REST_CALLS_MAX ? pgv_zalloc(bytes) : NULL;

    PGV_ASSERT(bytes >= sizeof(*c));
    if (!c) {
        rest_reply_error(r, req, 503,
                         r->n_calls < REST_CALLS_MAX ? "out of memory"
                                                     : "too many requests are waiting already");
        return NULL;
    }
    c->rest = r;
    c->req = req;
    pgv_arena_init(&c->arena, REST_BODY_ARENA_BYTES_MAX);
    c->dcs.data = c;
    c->ask.data = c;
    c->next = r->calls;
    if (c->next)
        c->next->prev = c;
    r->calls = c;
    r->n_calls++;
    req->data = c;
    req->on_abort = on_call_aborted;
    return c;
}

/* The request leaves the call: it is being answered. */
static struct httpd_req *let_go(struct rest_call *c)
{
    struct httpd_req *req = c->req;

    PGV_ASSERT(req);
    c->req = NULL;
    c->world = NULL;
    req->on_abort = NULL;
    return req;
}

bool rest_call_body(struct rest_call *c, bool optional)
{
    struct httpd_req *req = c->req;

    /* An error answers the request itself, so it must not know the call any more. */
    req->on_abort = NULL;
    if (!rest_body(c->rest, req, optional, &c->arena, &c->body)) {
        c->req = NULL;
        settle(c);
        return false;
    }
    req->on_abort = on_call_aborted;
    return true;
}

void rest_call_text(struct rest_call *c, int status, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    rest_reply_text(c->rest, let_go(c), status, text);
    settle(c);
}

void rest_call_json(struct rest_call *c, int status, const struct pgv_value *v)
{
    rest_reply_json(c->rest, let_go(c), status, v);
    settle(c);
}

void rest_call_json_text(struct rest_call *c, int status, struct pgv_str json)
{
    rest_reply(c->rest, let_go(c), status, NULL, "application/json", json);
    settle(c);
}

void rest_call_error(struct rest_call *c, int status, const char *why)
{
    rest_reply_error(c->rest, let_go(c), status, why);
    settle(c);
}

static void on_dcs_reply(struct dcs_req *dcs, const struct pgv_error *err)
{
    struct rest_call *c = dcs->data;

    c->dcs_busy = false;
    if (!c->req) {
        settle(c); /* the client has gone meanwhile */
        return;
    }
    if (err && c->needs_read) {
        pgv_log(PGV_WARNING, "rest", "the store cannot be read for a request: %s", err->msg);
        rest_call_error(c, 503, "the distributed configuration store cannot be read now");
        return;
    }
    c->step(c, err);
}

static void submit(struct rest_call *c, enum dcs_op op,
                   void (*step)(struct rest_call *c, const struct pgv_error *err))
{
    struct agent *a = c->rest->agent;

    PGV_ASSERT(!c->dcs_busy);
    if (c->rest->closing) { /* the store is closing too */
        rest_call_error(c, 503, "the agent is shutting down");
        return;
    }
    c->step = step;
    c->dcs_busy = true;
    c->dcs.op = op;
    c->dcs.deadline_ms = pgv_clock_ms() + a->config.retry_timeout_ms;
    dcs_submit(&a->dcs, &c->dcs, on_dcs_reply);
}

void rest_call_read(struct rest_call *c,
                    void (*step)(struct rest_call *c, const struct pgv_error *err))
{
    c->needs_read = true;
    c->dcs.value = (struct pgv_str){ 0 };
    c->dcs.version[0] = '\0';
    submit(c, DCS_READ, step);
}

void rest_call_read_or_not(struct rest_call *c,
                           void (*step)(struct rest_call *c, const struct pgv_error *err))
{
    c->needs_read = false;
    c->dcs.value = (struct pgv_str){ 0 };
    c->dcs.version[0] = '\0';
    submit(c, DCS_READ, step);
}

void rest_call_write(struct rest_call *c, enum dcs_op op, struct pgv_str value, const char *version,
                     void (*step)(struct rest_call *c, const struct pgv_error *err))
{
    c->needs_read = false;
    c->dcs.value = value; /* copied by dcs_submit() */
    pgv_copy_cut(c->dcs.version, sizeof(c->dcs.version), pgv_str(version));
    submit(c, op, step);
}

void rest_call_ask(struct rest_call *c, agent_answer_cb cb)
{
    c->asked = true;
    agent_ask(c->rest->agent, &c->ask, cb);
}

void rest_call_timer(struct rest_call *c, uint64_t ms, uv_timer_cb cb)
{
    if (!c->timer_open)
        uv_timer_init(&c->rest->agent->loop, &c->timer); /* cannot fail */
    c->timer_open = true;
    c->timer.data = c;
    uv_timer_start(&c->timer, cb, ms, 0);
}

/* ---- requests --------------------------------------------------------------------------- */

/* The method stands in the reason of the status line. Source: Python's http.server. */
static void refuse_method(struct rest *r, struct httpd_req *req)
{
    char why[64];
    struct pgv_str m = req->method_text;

    snprintf(why, sizeof(why), "Unsupported method ('%.*s')", (int)(m.n > 32 ? 32 : m.n),
             m.n ? m.p : "");
    rest_reply_error(r, req, 501, why);
}

void rest_on_request(struct httpd *s, struct httpd_req *req)
{
    struct rest_listener *l = s->data;
    const struct rest_route *route;

    rest_target_trim(&req->path, &req->query);
    route = rest_route_find(req->method, req->path);
    if (!route)
        refuse_method(l->rest, req);
    else if (route->guarded)
        rest_access_check(l->rest, req, route->failsafe, route->handler);
    else
        route->handler(l->rest, req);
}

void rest_world_changed(struct agent *a)
{
    struct rest *r = a->rest;
    const struct postmaster_facts *f = &a->pm.facts, *seen;
    struct rest_call *c, *next;

    if (!r || r->closing)
        return;
    seen = &r->facts_seen;
    if (f->state != seen->state || f->role != seen->role || f->pid != seen->pid ||
        f->accepting != seen->accepting || f->in_recovery != seen->in_recovery ||
        f->timeline != seen->timeline || f->look_ok != seen->look_ok) {
        r->look.fresh = false;
        r->facts_seen = *f;
    }
    rest_events_changed(r);
    for (c = r->calls; c; c = next) {
        next = c->next; /* a call that looks may end itself, and nobody else */
        if (c->world)
            c->world(c);
    }
}

const struct httpd *rest_server(const struct rest *r)
{
    return r->listener ? &r->listener->http : NULL;
}

const char *rest_api_url(const struct agent *a)
{
    return a->rest ? a->rest->api_url : "";
}

/* ---- open and close --------------------------------------------------------------------- */

static void rest_free(struct rest *r)
{
    rest_access_close(r);
    tls_context_unref(r->tls);
    pgv_buf_done(&r->tls_key);
    pgv_buf_done(&r->extra_headers);
    pgv_buf_done(&r->look.replication);
    pgv_buf_done(&r->out);
    pgv_buf_done(&r->event_member);
    pgv_buf_done(&r->event_cluster);
    pgv_free(r);
}

void rest_close_when_done(struct rest *r)
{
    struct agent *a = r->agent;
    void (*cb)(struct agent *) = r->close_cb;

    if (!r->closing || r->n_open || r->calls)
        return;
    if (a->rest == r)
        a->rest = NULL;
    rest_free(r);
    if (cb)
        cb(a);
}

static void on_timer_closed(uv_handle_t *timer)
{
    struct rest *r = timer->data;

    r->n_open--;
    rest_close_when_done(r);
}

static void begin_close(struct rest *r, void (*cb)(struct agent *a))
{
    r->closing = true;
    r->close_cb = cb;
    rest_status_cancel(r);
    rest_listener_close(r);
    rest_agent_check_close(r);
    for (struct rest_call *c = r->calls; c; c = c->next)
        if (c->dcs_busy)
            dcs_cancel(&c->dcs);
    uv_close((uv_handle_t *)&r->retry_timer, on_timer_closed);
    uv_close((uv_handle_t *)&r->listen_timer, on_timer_closed);
    uv_close((uv_handle_t *)&r->events_timer, on_timer_closed);
}

bool rest_open(struct agent *a, struct pgv_error *err)
{
    struct rest *r = pgv_zalloc(sizeof(*r));

    if (!r)
        return pgv_fail(err, PGV_ENOMEM, "no memory for the REST API");
    r->agent = a;
    r->opened_ms = pgv_clock_ms();
    pgv_buf_init(&r->out, OUT_BYTES_MAX);
    pgv_buf_init(&r->tls_key, 0);
    pgv_buf_init(&r->extra_headers, 0);
    pgv_buf_init(&r->access.auth, 0);
    rest_status_init(r);
    uv_timer_init(&a->loop, &r->listen_timer); /* cannot fail */
    r->listen_timer.data = r;
    uv_timer_init(&a->loop, &r->events_timer);
    r->events_timer.data = r;
    r->n_open = 3; /* the three timers */
    a->rest = r;
    if (rest_configure(r, err))
        return true;
    a->rest = NULL;
    begin_close(r, NULL); /* ends by itself within the next turns of the loop */
    return false;
}

bool rest_reconfigure(struct agent *a, struct pgv_error *err)
{
    return rest_configure(a->rest, err);
}

void rest_close(struct agent *a, void (*cb)(struct agent *a))
{
    PGV_ASSERT(a->rest && !a->rest->closing);
    begin_close(a->rest, cb);
}
