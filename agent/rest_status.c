/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_status.c - how this node is: the status document, and the checks that hang on it.
 *
 * One look at the server is shared by all who ask while it is under way, and by those who come
 * within REST_LOOK_FRESH_MS after it, so a burst of probes costs one query. What the lease alone
 * decides is answered from memory without any look. Where the server cannot be asked, the document
 * says what memory knows (rest contract §4.3), and /primary still follows the lease.
 */
#include "agent/rest.h"
#include "base/log.h"

#include <stdio.h>

#include "base/banned.h"

/* ---- the cluster as we know it ----------------------------------------------------------------
 */

const struct dcs_snapshot *rest_cached_cluster(const struct agent *a)
{
    const struct dcs_snapshot *view = a->dcs.view;
    uint64_t seen_ms;

    if (!view || view->cluster.empty)
        return NULL;
    /* While the watch follows the store, silence means that nothing changed. */
    seen_ms = a->dcs.view_live && a->dcs.last_seen_ms > view->read_ms ? a->dcs.last_seen_ms
                                                                      : view->read_ms;
    return pgv_clock_ms() < seen_ms + a->config.ttl_ms ? view : NULL;
}

const struct pgv_value *rest_global(const struct agent *a, const struct dcs_snapshot *view)
{
    return view && view->cluster.config_valid ? view->config : a->config.global;
}

enum pgv_state agent_state(const struct agent *a)
{
    if (a->pm.facts.state == PGV_STATE_CRASHED && !a->pm.facts.alive &&
        agent_config_is_paused(a->config.global))
        return PGV_STATE_STOPPED;
    return a->pm.facts.state;
}

/* ---- lists of those who wait --------------------------------------------------------------------
 */

static void wait_push(struct rest_wait **list, struct rest_wait *w)
{
    if (*list) {
        w->next = *list;
        w->prev = (*list)->prev;
        w->prev->next = w;
        w->next->prev = w;
    } else {
        *list = w->next = w->prev = w;
    }
    w->list = list;
}

static struct rest_wait *wait_remove(struct rest_wait *w)
{
    if (w->next == w) {
        *w->list = NULL;
    } else {
        w->next->prev = w->prev;
        w->prev->next = w->next;
        if (*w->list == w)
            *w->list = w->next;
    }
    return w;
}

static void on_wait_aborted(struct httpd_req *req)
{
    pgv_free(wait_remove(req->data));
}

/* ---- the shared look -------------------------------------------------------------------- */

/* Source: Patroni asks in these states only (rest contract §4.2). */
static bool worth_asking(const struct postmaster_facts *f)
{
    return f->state == PGV_STATE_RUNNING || f->state == PGV_STATE_RESTARTING ||
           f->state == PGV_STATE_STARTING;
}

/* The array comes as PostgreSQL writes JSON; the REST API writes blanks after ',' and ':'. */
static void copy_replication(struct rest_look *look, const struct pgv_buf *json)
{
    struct pgv_value *list = NULL;
    struct pgv_arena arena;
    struct pgv_error err;

    pgv_buf_reset(&look->replication);
    if (!json || !json->n)
        return;
    pgv_arena_init(&arena, REST_BODY_ARENA_BYTES_MAX);
    if (!pgv_json_parse(&arena, pgv_buf_view(json), &list, &err)) {
        pgv_log(PGV_WARNING, "rest", "the list of WAL senders is left out: %s", err.msg);
    } else if (pgv_truthy(list)) {
        pgv_json_write(&look->replication, list, PGV_JSON_SPACED);
        if (look->replication.failed)
            pgv_buf_reset(&look->replication);
    }
    pgv_arena_done(&arena);
}

static void ask(struct rest *r);

static void on_retry(uv_timer_t *timer)
{
    struct rest *r = timer->data;

    while (r->retrying)
        wait_push(&r->waiting, wait_remove(r->retrying));
    if (r->waiting)
        ask(r);
}

static void on_status(struct postmaster_status_req *req, const struct postmaster_status *st)
{
    struct rest *r = req->data;
    const struct rest_look *look = NULL;
    bool again;

    r->looking = false;
    measure_observe(&r->agent->measures[MEASURE_QUERY], pgv_clock_us() - r->asked_us);
    if (st->ok) {
        r->look.st = *st;
        r->look.st.replication_json = NULL;
        r->look.at_ms = pgv_clock_ms();
        r->look.fresh = true;
        copy_replication(&r->look, st->replication_json);
        look = &r->look;
    } else {
        r->look.fresh = false;
        if (r->agent->pm.facts.state == PGV_STATE_RUNNING)
            pgv_log(PGV_WARNING, "rest", "get_postgresql_status: the server did not answer");
    }
    /* A server that runs and yet does not answer has often only lost our connection. */
    again = !look && r->agent->pm.facts.state == PGV_STATE_RUNNING && !r->closing;
    while (r->waiting) {
        struct rest_wait *w = wait_remove(r->waiting);
        struct httpd_req *httpd_req = w->req;
        rest_look_fn fn = w->fn;

        if (again && w->may_retry) {
            w->may_retry = false;
            wait_push(&r->retrying, w);
            if (!uv_is_active((uv_handle_t *)&r->retry_timer))
                uv_timer_start(&r->retry_timer, on_retry, REST_RETRY_MS, 0);
            continue;
        }
        pgv_free(w);
        httpd_req->on_abort = NULL;
        fn(r, httpd_req, look);
    }
}

static void ask(struct rest *r)
{
    if (r->looking)
        return;
    r->looking = true;
    r->asked_us = pgv_clock_us();
    r->status_req.data = r;
    postmaster_status(&r->agent->pm, &r->status_req, on_status);
}

void rest_status_init(struct rest *r)
{
    pgv_buf_init(&r->look.replication, 1u << 20);
    uv_timer_init(&r->agent->loop, &r->retry_timer); /* cannot fail */
    r->retry_timer.data = r;
}

void rest_status_cancel(struct rest *r)
{
    if (r->looking)
        postmaster_status_cancel(&r->agent->pm, &r->status_req);
    r->looking = false;
}

void rest_with_look(struct rest *r, struct httpd_req *req, bool may_retry, rest_look_fn fn)
{
    struct rest_wait *w;

    if (!worth_asking(&r->agent->pm.facts)) {
        fn(r, req, NULL);
        return;
    }
    if (r->look.fresh && pgv_clock_ms() < r->look.at_ms + REST_LOOK_FRESH_MS) {
        fn(r, req, &r->look);
        return;
    }
    w = pgv_zalloc(sizeof(*w));
    if (!w) {
        rest_reply_error(r, req, 503, "out of memory");
        return;
    }
    *w = (struct rest_wait){ .rest = r, .req = req, .fn = fn, .may_retry = may_retry };
    wait_push(&r->waiting, w);
    req->data = w;
    req->on_abort = on_wait_aborted;
    ask(r);
}

/* ---- what the tables look at --------------------------------------------------------------------
 */

static bool is_sync_standby(const struct agent *a, const struct dcs_snapshot *view,
                            const struct pgv_value *global, enum pgv_role role)
{
    return view && role == PGV_ROLE_REPLICA && agent_config_is_synchronous(global) &&
           dcs_sync_matches(&view->cluster.sync, a->config.name, false);
}

static void fill_common(struct rest *r, const struct dcs_snapshot *view,
                        const struct pgv_value *global, struct rest_world *w)
{
    const struct agent *a = r->agent;

    w->cluster_known = view != NULL;
    w->paused = agent_config_is_paused(global);
    w->standby_cluster = agent_config_is_standby_cluster(global);
    w->leader = ha_is_leader(&a->ha, pgv_clock_ms());
    w->leader_optime = view ? view->cluster.status_optime : 0;
    w->noloadbalance = pgv_truthy(pgv_get(a->config.tags, "noloadbalance"));
    w->tags = a->config.tags;
    w->replication_state = "";
}

void rest_world_fill(struct rest *r, const struct rest_look *look, struct rest_world *ret)
{
    const struct agent *a = r->agent;
    const struct dcs_snapshot *view = rest_cached_cluster(a);
    const struct pgv_value *global = rest_global(a, view);
    struct rest_world w = { .state = agent_state(a), .role = ha_role(&a->ha) };

    fill_common(r, view, global, &w);
    if (look) {
        if (!look->st.in_recovery)
            w.role = PGV_ROLE_PRIMARY;
        else if (!w.standby_cluster)
            w.role = PGV_ROLE_REPLICA; /* else memory knows whether it is the standby leader */
        if (is_sync_standby(a, view, global, w.role)) {
            w.quorum_standby = agent_config_is_quorum(global);
            w.sync_standby = !w.quorum_standby;
        }
        w.replication_state = look->st.replication_state;
        w.latest_end_lsn = look->st.latest_end_lsn;
        w.received = look->st.received_location;
        w.replayed = look->st.replayed_null ? 0 : look->st.replayed_location;
    } else if (w.state == PGV_STATE_RUNNING) {
        w.state = PGV_STATE_UNKNOWN;
    }
    *ret = w;
}

/* The same from memory, for checks that need no position: the facts of the last look. */
static void world_from_memory(struct rest *r, struct rest_world *ret)
{
    const struct agent *a = r->agent;
    const struct postmaster_facts *f = &a->pm.facts;
    const struct dcs_snapshot *view = rest_cached_cluster(a);
    struct rest_world w = { .state = agent_state(a), .role = ha_role(&a->ha) };

    fill_common(r, view, rest_global(a, view), &w);
    if (f->look_ok && !f->in_recovery)
        w.role = PGV_ROLE_PRIMARY;
    else if (f->look_ok && !w.standby_cluster)
        w.role = PGV_ROLE_REPLICA;
    if (w.state == PGV_STATE_RUNNING && f->look_timeout)
        w.state = PGV_STATE_UNKNOWN;
    *ret = w;
}

/* ---- the document ----------------------------------------------------------------------- */

static void put_u64(struct pgv_buf *b, uint64_t value)
{
    char digits[20];
    size_t i = sizeof(digits);

    do {
        digits[--i] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    pgv_buf_append(b, digits + i, sizeof(digits) - i);
}

static void put_field_u64(struct pgv_buf *b, const char *text_before, uint64_t value)
{
    pgv_buf_puts(b, text_before);
    put_u64(b, value);
}

static void put_field_string(struct pgv_buf *b, const char *text_before, const char *value)
{
    pgv_buf_puts(b, text_before);
    pgv_json_write_string(b, pgv_str(value));
}

void rest_moment_text(int64_t wall_us, char ret[PGV_MOMENT_BYTES])
{
    char *t;

    pgv_format_moment(wall_us, 0, ret);
    t = strchr(ret, 'T');
    if (t)
        *t = ' ';
}

static void put_xlog(struct pgv_buf *b, const struct postmaster_status *st)
{
    if (!st->in_recovery) {
        put_field_u64(b, ", \"xlog\": {\"location\": ", st->location);
        pgv_buf_putc(b, '}');
        return;
    }
    put_field_u64(b, ", \"xlog\": {\"received_location\": ", st->received_location);
    pgv_buf_puts(b, ", \"replayed_location\": ");
    if (st->replayed_null)
        pgv_buf_puts(b, "null");
    else
        put_u64(b, st->replayed_location);
    pgv_buf_puts(b, ", \"replayed_timestamp\": ");
    if (st->replayed_timestamp[0])
        pgv_json_write_string(b, pgv_str(st->replayed_timestamp));
    else
        pgv_buf_puts(b, "null");
    pgv_buf_puts(b, st->paused ? ", \"paused\": true}" : ", \"paused\": false}");
}

/* A standby that receives from nobody knows its timeline from the control file. Source: Patroni,
 * Postgresql.replica_cached_timeline() (rest contract §4.1). */
uint32_t rest_timeline(const struct rest *r, const struct postmaster_status *st)
{
    const struct postmaster_facts *f = &r->agent->pm.facts;

    if (st->timeline || !st->ok)
        return st->timeline;
    return f->timeline ? f->timeline : f->control_timeline;
}

static void put_server(const struct rest *r, struct pgv_buf *b, const struct rest_look *look,
                       const struct rest_world *w)
{
    const struct postmaster_status *st = &look->st;
    uint32_t timeline = rest_timeline(r, st);

    put_field_string(b, ", \"postmaster_start_time\": ", st->start_time);
    put_field_string(b, ", \"role\": ", pgv_role_name(w->role));
    put_field_u64(b, ", \"server_version\": ", (uint64_t)st->server_version);
    put_xlog(b, st);
    if (w->quorum_standby)
        pgv_buf_puts(b, ", \"quorum_standby\": true");
    if (w->sync_standby)
        pgv_buf_puts(b, ", \"sync_standby\": true");
    if (timeline)
        put_field_u64(b, ", \"timeline\": ", timeline);
    else
        pgv_buf_puts(b, ", \"timeline\": null");
    if (st->replication_state[0])
        put_field_string(b, ", \"replication_state\": ", st->replication_state);
    if (look->replication.n) {
        pgv_buf_puts(b, ", \"replication\": ");
        pgv_buf_str(b, pgv_buf_view(&look->replication));
    }
}

static void put_pending(struct pgv_buf *b, const struct postmaster *pm)
{
    pgv_buf_puts(b, ", \"pending_restart\": true");
    if (!pm->n_pending)
        return;
    pgv_buf_puts(b, ", \"pending_restart_reason\": {");
    for (unsigned i = 0; i < pm->n_pending; i++) {
        put_field_string(b, i ? ", " : "", pm->pending[i].name);
        put_field_string(b, ": {\"old_value\": ", pm->pending[i].old_value);
        put_field_string(b, ", \"new_value\": ", pm->pending[i].new_value);
        pgv_buf_putc(b, '}');
    }
    pgv_buf_putc(b, '}');
}

void rest_put_job(struct pgv_buf *b, const struct agent *a)
{
    const struct postmaster *pm = &a->pm;

    if (a->ha.job.kind == PM_JOB_NONE)
        return;
    put_field_string(b, ", \"job\": {\"kind\": ", postmaster_job_name(a->ha.job.kind));
    put_field_string(b, ", \"name\": ", a->ha.job.name);
    put_field_u64(b, ", \"seconds\": ", (pgv_clock_ms() - a->ha.job.since_ms) / 1000);
    if (pm->job == a->ha.job.kind) { /* else it is about to begin, or to end */
        if (pm->job_step[0])
            put_field_string(b, ", \"step\": ", pm->job_step);
        if (pm->job_percent >= 0)
            put_field_u64(b, ", \"percent\": ", (uint64_t)pm->job_percent);
        if (pm->job_bytes_total) {
            put_field_u64(b, ", \"bytes\": ", pm->job_bytes);
            put_field_u64(b, ", \"bytes_total\": ", pm->job_bytes_total);
        }
    }
    pgv_buf_putc(b, '}');
}

static void put_about_us(struct pgv_buf *b, const struct agent *a)
{
    if (pgv_truthy(a->config.tags)) {
        pgv_buf_puts(b, ", \"tags\": ");
        pgv_json_write(b, a->config.tags, PGV_JSON_SPACED);
    }
    if (a->pm.facts.sysid[0])
        put_field_string(b, ", \"database_system_identifier\": ", a->pm.facts.sysid);
    if (a->pm.facts.pending_restart || a->pm.n_pending)
        put_pending(b, &a->pm);
    pgv_buf_puts(b, ", \"patroni\": {\"version\": \"" PGV_PATRONI_VERSION "\"");
    put_field_string(b, ", \"scope\": ", a->config.scope);
    put_field_string(b, ", \"name\": ", a->config.name);
    pgv_buf_putc(b, '}');
    if (a->ha.has_scheduled_restart && a->scheduled_restart_json.n) {
        pgv_buf_puts(b, ", \"scheduled_restart\": ");
        pgv_buf_str(b, pgv_buf_view(&a->scheduled_restart_json));
    }
    if (ha_watchdog_failed(&a->ha) || !watchdog_is_healthy(&a->watchdog))
        pgv_buf_puts(b, ", \"watchdog_failed\": true");
    /* Beside Patroni's fields, after the last of them: who really answers. */
    pgv_buf_puts(b, ", \"pgvigil\": {\"version\": \"" PGVIGIL_VERSION "\"");
    rest_put_job(b, a);
    pgv_buf_putc(b, '}');
}

void rest_status_write(struct rest *r, const struct rest_look *look, struct pgv_buf *b)
{
    const struct agent *a = r->agent;
    const struct dcs_snapshot *view = rest_cached_cluster(a);
    struct rest_world w;

    rest_world_fill(r, look, &w);
    put_field_string(b, "{\"state\": ", pgv_state_name(w.state));
    if (look)
        put_server(r, b, look, &w);
    else
        put_field_string(b, ", \"role\": ", pgv_role_name(w.role));
    if (w.paused)
        pgv_buf_puts(b, ", \"pause\": true");
    if (!view || !view->cluster.has_leader)
        pgv_buf_puts(b, ", \"cluster_unlocked\": true");
    put_field_u64(b, ", \"dcs_last_seen\": ",
                  a->dcs.last_seen_wall_us > 0 ? (uint64_t)a->dcs.last_seen_wall_us / 1000000 : 0);
    put_about_us(b, a);
    pgv_buf_putc(b, '}');
}

/* ---- handlers --------------------------------------------------------------------------- */

static void reply_status(struct rest *r, struct httpd_req *req, int code,
                         const struct rest_look *look)
{
    rest_observe_probe(r, req);
    pgv_buf_reset(&r->out);
    rest_status_write(r, look, &r->out);
    if (r->out.failed)
        rest_reply_error(r, req, 503, "out of memory");
    else
        rest_reply(r, req, code, NULL, "application/json", pgv_buf_view(&r->out));
}

static void get_health(struct rest *r, struct httpd_req *req, const struct rest_look *look)
{
    struct rest_world w;

    rest_world_fill(r, look, &w);
    reply_status(r, req, rest_health_code(rest_probe_of(req->path), req->query, &w), look);
}

void rest_get_health(struct rest *r, struct httpd_req *req)
{
    rest_with_look(r, req, false, get_health);
}

static void head_health(struct rest *r, struct httpd_req *req, const struct rest_look *look)
{
    struct rest_world w;

    rest_world_fill(r, look, &w);
    rest_reply_status(r, req, rest_health_code(rest_probe_of(req->path), req->query, &w));
}

void rest_head_health(struct rest *r, struct httpd_req *req)
{
    enum rest_probe p = rest_probe_of(req->path);
    struct rest_world w;

    if (rest_probe_needs_look(p)) {
        rest_with_look(r, req, false, head_health);
        return;
    }
    world_from_memory(r, &w);
    rest_reply_status(r, req, rest_health_code(p, req->query, &w));
}

static void get_patroni(struct rest *r, struct httpd_req *req, const struct rest_look *look)
{
    reply_status(r, req, 200, look);
}

void rest_get_patroni(struct rest *r, struct httpd_req *req)
{
    rest_with_look(r, req, true, get_patroni);
}

static void get_metrics(struct rest *r, struct httpd_req *req, const struct rest_look *look)
{
    pgv_buf_reset(&r->out);
    rest_metrics_write(r, look, &r->out);
    if (r->out.failed)
        rest_reply_error(r, req, 503, "out of memory");
    else
        rest_reply(r, req, 200, NULL, "text/plain", pgv_buf_view(&r->out));
}

void rest_get_metrics(struct rest *r, struct httpd_req *req)
{
    rest_with_look(r, req, true, get_metrics);
}

static void get_readiness(struct rest *r, struct httpd_req *req, const struct rest_look *look)
{
    struct rest_world w;
    char why[160];
    int code;

    rest_world_fill(r, look, &w);
    code = rest_readiness_code(req->query, &w, r->agent->config.maximum_lag_on_failover, why,
                               sizeof(why));
    if (code != 200)
        pgv_log(PGV_DEBUG, "rest", "Readiness check failure: %s", why);
    rest_reply_status(r, req, code);
}

void rest_get_readiness(struct rest *r, struct httpd_req *req)
{
    if (ha_is_leader(&r->agent->ha, pgv_clock_ms()))
        rest_reply_status(r, req, 200);
    else
        rest_with_look(r, req, true, get_readiness);
}

/* Is the brain's loop alive? (rest contract §5) A loop that cannot answer gives no code at all. */
void rest_get_liveness(struct rest *r, struct httpd_req *req)
{
    const struct agent *a = r->agent;
    uint64_t ttl_ms = a->config.ttl_ms, next_ms = a->ha.next_run_ms;
    bool primary = ha_role(&a->ha) == PGV_ROLE_PRIMARY && a->pm.facts.alive;

    if (next_ms < r->opened_ms) /* before the first cycle */
        next_ms = r->opened_ms;
    rest_reply_status(r, req,
                      agent_config_is_paused(a->config.global) ||
                              next_ms + (primary ? ttl_ms : 2 * ttl_ms) > pgv_clock_ms()
                          ? 200
                          : 503);
}
