/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/follow.c - following members.
 *
 *     GET /events ─┬─ a stream: read it; when it ends, ask again a second later
 *                  └─ anything else: GET /patroni every second from then on
 */
#include "ctl/follow.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/httpc.h"

#include "base/banned.h"

#define AGAIN_MS 1000
#define CONNECT_MS 5000
#define ANSWER_MS 10000
#define TEXT_BYTES_MAX (512u << 10) /* an event, or the answer of a health check */
#define STATUS_BYTES_MAX (4u << 20) /* the same as values */
#define RATE_MS 5000                /* rates are means over one to two of these */

/* ---- what they tell ----------------------------------------------------------------------------
 */

static void copy_text(char *dst, size_t dst_bytes, const struct pgv_value *map, const char *key)
{
    pgv_copy_cut(dst, dst_bytes, pgv_string(pgv_get(map, key)));
}

static uint64_t figure(const struct pgv_value *map, const char *key)
{
    const struct pgv_value *v = pgv_get(map, key);

    return pgv_is(v, PGV_INT) && v->u.i > 0 ? (uint64_t)v->u.i : 0;
}

static void read_job(const struct pgv_value *job, struct ctl_status *s)
{
    const struct pgv_value *percent = pgv_get(job, "percent");

    s->job.percent = -1;
    s->job.running = pgv_is(job, PGV_MAP);
    if (!s->job.running)
        return;
    copy_text(s->job.kind, sizeof(s->job.kind), job, "kind");
    copy_text(s->job.name, sizeof(s->job.name), job, "name");
    copy_text(s->job.step, sizeof(s->job.step), job, "step");
    if (pgv_is(percent, PGV_INT) && percent->u.i >= 0 && percent->u.i <= 100)
        s->job.percent = (int)percent->u.i;
    s->job.bytes = figure(job, "bytes");
    s->job.bytes_total = figure(job, "bytes_total");
}

bool ctl_status_parse(struct pgv_str json, struct ctl_status *ret, struct pgv_error *err)
{
    struct ctl_status s = { .known = true };
    const struct pgv_value *leader;
    struct pgv_arena arena;
    struct pgv_value *root;
    bool ok;

    pgv_arena_init(&arena, STATUS_BYTES_MAX);
    ok = pgv_json_parse(&arena, json, &root, err);
    if (ok) {
        uint64_t timeline = figure(root, "timeline");

        s.state = pgv_state_parse(pgv_string(pgv_get(root, "state")));
        s.role = pgv_role_parse(pgv_string(pgv_get(root, "role")));
        leader = pgv_get(root, "leader");
        s.is_pgvigil = leader || pgv_is(pgv_get(root, "pgvigil"), PGV_MAP);
        s.leader = leader ? pgv_truthy(leader) : s.role == PGV_ROLE_PRIMARY;
        s.streaming = pgv_str_eqz(pgv_string(pgv_get(root, "replication_state")), "streaming");
        s.timeline = timeline <= UINT32_MAX ? (uint32_t)timeline : 0;
        read_job(leader ? pgv_get(root, "job") : pgv_path(root, "pgvigil.job"), &s);
        *ret = s;
    }
    pgv_arena_done(&arena);
    return ok;
}

bool ctl_status_is_copying(const struct ctl_status *s)
{
    return s->state == PGV_STATE_CREATING_REPLICA ||
           (s->job.running && strcmp(s->job.name, "reinitialize") == 0);
}

/** Two marks take turns: the mean reaches back one to two RATE_MS, and the first is there soon. */
static void update_rate(struct ctl_followed *m, const struct ctl_status *before)
{
    uint64_t now_ms = pgv_clock_ms(), bytes = m->status.job.bytes;

    if (!m->status.job.bytes_total || bytes < before->job.bytes || !before->job.bytes_total) {
        m->bytes_per_s = 0;
        m->rate_from.ms = m->rate_next.ms = now_ms;
        m->rate_from.bytes = m->rate_next.bytes = bytes;
        return;
    }
    if (now_ms >= m->rate_next.ms + RATE_MS) {
        m->rate_from = m->rate_next;
        m->rate_next.ms = now_ms;
        m->rate_next.bytes = bytes;
    }
    if (bytes > m->rate_from.bytes && now_ms > m->rate_from.ms)
        m->bytes_per_s = (uint64_t)((double)(bytes - m->rate_from.bytes) * 1000.0 /
                                    (double)(now_ms - m->rate_from.ms));
}

static void add_learnt(struct ctl_followed *m)
{
    struct ctl_status *s = &m->status;

    if (s->state != PGV_STATE_CREATING_REPLICA || s->is_pgvigil)
        m->source_total = 0;
    if (!m->source_total)
        return;
    s->job.running = true;
    pgv_copy_cut(s->job.step, sizeof(s->job.step), PGV_STR("basebackup"));
    s->job.bytes = m->source_bytes;
    s->job.bytes_total = m->source_total;
    s->job.percent = m->source_bytes < m->source_total
                         ? (int)((double)m->source_bytes * 100.0 / (double)m->source_total)
                         : 100;
}

static bool all_known(const struct ctl_follow *f)
{
    bool all = true;

    for (unsigned i = 0; i < f->n; i++)
        all = all && f->v[i].status.known;
    return all;
}

static bool hear(struct ctl_followed *m, struct pgv_str json)
{
    struct ctl_follow *f = m->follow;
    struct ctl_status before = m->status;
    struct pgv_error err;

    if (!ctl_status_parse(json, &m->status, &err)) {
        pgv_log(PGV_DEBUG, "ctl", "member %s: %s", m->name, err.msg);
        return false;
    }
    add_learnt(m);
    update_rate(m, &before);
    f->met = f->met || all_known(f);
    if (f->on_told)
        f->on_told(f, (unsigned)(m - f->v));
    return true;
}

void ctl_follow_learn(struct ctl_follow *f, unsigned i, uint64_t bytes, uint64_t total)
{
    struct ctl_followed *m = &f->v[i];
    struct ctl_status before = m->status;

    m->source_bytes = bytes;
    m->source_total = total;
    add_learnt(m);
    update_rate(m, &before);
    if (f->on_told)
        f->on_told(f, i);
}

/* ---- asking ----------------------------------------------------------------------------- */

static void ask(struct ctl_followed *m);

static void on_again(uv_timer_t *timer)
{
    ask(timer->data);
}

/** The events in m->text that are whole. Source: the shape of ours, agent/rest_events.c. */
static void take_events(struct ctl_followed *m)
{
    static const char head[] = "event: member\ndata: ";
    const char *end;

    while ((end = m->text.n ? memmem(m->text.p, m->text.n, "\n\n", 2) : NULL)) {
        size_t n = (size_t)(end - m->text.p);

        if (n >= sizeof(head) && memcmp(m->text.p, head, sizeof(head) - 1) == 0)
            (void)hear(m, (struct pgv_str){ m->text.p + sizeof(head) - 1, n - (sizeof(head) - 1) });
        pgv_buf_consume(&m->text, n + 2);
    }
}

static void on_piece(struct httpc_req *r, struct pgv_str piece)
{
    struct ctl_followed *m = r->data;

    if (m->follow->closing)
        return;
    if (!pgv_buf_str(&m->text, piece)) {
        httpc_cancel(r);
        return;
    }
    if (!m->asked_in_vain)
        take_events(m);
}

static void on_end(struct httpc_req *r, const struct pgv_error *err)
{
    struct ctl_followed *m = r->data;
    bool was_events = m->req == &m->events;

    m->req = NULL;
    if (m->follow->closing)
        return;
    if (err)
        pgv_log(PGV_DEBUG, "ctl", "member %s: %s", m->name, err->msg);
    else if (was_events && m->text.n > 0) /* no stream: it ends behind a blank line */
        m->asked_in_vain = true;
    if (!err && m->asked_in_vain)
        (void)hear(m, pgv_buf_view(&m->text));
    pgv_buf_reset(&m->text);
    uv_timer_start(&m->again, on_again, AGAIN_MS, 0);
}

static void ask(struct ctl_followed *m)
{
    struct httpc_req *r = m->asked_in_vain ? &m->patroni : &m->events;
    struct pgv_error err;

    r->data = m;
    r->on_piece = on_piece;
    r->connect_timeout_ms = CONNECT_MS;
    r->deadline_ms = m->asked_in_vain ? pgv_clock_ms() + ANSWER_MS : 0;
    if (httpc_send(m->follow->client, r, on_end, &err)) {
        m->req = r;
        return;
    }
    pgv_log(PGV_DEBUG, "ctl", "member %s: %s", m->name, err.msg);
    uv_timer_start(&m->again, on_again, AGAIN_MS, 0);
}

/* ---- life --------------------------------------------------------------------------------------
 */

static bool begin(struct ctl_follow *f, const struct dcs_member *member, struct pgv_error *err)
{
    struct ctl_followed *m = &f->v[f->n];

    *m = (struct ctl_followed){ .follow = f };
    if (!ctl_request_fill(f->c, member, "events", &m->events, err) ||
        !ctl_request_fill(f->c, member, "patroni", &m->patroni, err))
        return false;
    memcpy(m->name, member->name, sizeof(m->name));
    pgv_buf_init(&m->text, TEXT_BYTES_MAX);
    uv_timer_init(&f->c->loop, &m->again);
    m->again.data = m;
    f->n_timers++;
    f->n++;
    ask(m);
    return true;
}

void ctl_follow_open(struct ctl_follow *f, struct ctl *c, const struct ctl_selection *s)
{
    struct pgv_error err;

    f->c = c;
    f->n = f->n_timers = 0;
    f->closing = f->closed = f->met = false;
    f->client = NULL;
    if (!ctl_shows_progress())
        return;
    if (!ctl_client_open(c, &f->client, &err)) {
        pgv_log(PGV_DEBUG, "ctl", "nobody is followed: %s", err.msg);
        return;
    }
    for (unsigned i = 0; i < s->n && f->n < CTL_FOLLOW_MAX; i++)
        if (!begin(f, s->v[i], &err))
            pgv_log(PGV_DEBUG, "ctl", "member %s is not followed: %s", s->v[i]->name, err.msg);
}

static void on_timer_closed(uv_handle_t *timer)
{
    struct ctl_follow *f = ((struct ctl_followed *)timer->data)->follow;

    f->closed = --f->n_timers == 0;
}

void ctl_follow_close(struct ctl_follow *f)
{
    if (!f->client)
        return;
    f->closing = true;
    for (unsigned i = 0; i < f->n; i++)
        uv_close((uv_handle_t *)&f->v[i].again, on_timer_closed);
    ctl_client_close(f->c, &f->client); /* cancels what is under way */
    if (f->n > 0)
        ctl_finish(f->c, &f->closed);
    for (unsigned i = 0; i < f->n; i++)
        pgv_buf_done(&f->v[i].text);
    f->n = 0;
}

bool ctl_follow_greet(struct ctl_follow *f, uint64_t ms, struct pgv_error *err)
{
    f->met = all_known(f);
    return f->met || ctl_sleep_until(f->c, &f->met, ms, NULL, err);
}

/* ---- words ------------------------------------------------------------------------------ */

void ctl_put_bytes(struct pgv_buf *b, uint64_t bytes)
{
    static const char *const units[] = { "kB", "MB", "GB", "TB", "PB" };
    double amount = (double)bytes / 1024.0;
    size_t i = 0;

    while (amount >= 1023.95 && i + 1 < sizeof(units) / sizeof(units[0])) {
        amount /= 1024.0;
        i++;
    }
    pgv_buf_printf(b, i == 0 ? "%.0f %s" : "%.1f %s", amount, units[i]);
}

void ctl_put_doing(struct pgv_buf *b, const struct ctl_followed *m)
{
    const struct ctl_status *s = &m->status;

    if (!s->job.running) {
        pgv_buf_puts(b, s->known ? pgv_state_name(s->state) : "not known yet");
        return;
    }
    pgv_buf_puts(b, s->job.step[0] ? s->job.step : s->job.name);
    if (s->job.percent >= 0)
        pgv_buf_printf(b, " %d%%", s->job.percent);
    if (!s->job.bytes_total)
        return;
    pgv_buf_puts(b, " of ");
    ctl_put_bytes(b, s->job.bytes_total);
    if (!m->bytes_per_s)
        return;
    pgv_buf_puts(b, ", ");
    ctl_put_bytes(b, m->bytes_per_s);
    pgv_buf_puts(b, "/s");
    if (s->job.bytes < s->job.bytes_total)
        pgv_buf_printf(b, ", %llu s left",
                       (unsigned long long)((s->job.bytes_total - s->job.bytes) / m->bytes_per_s));
}
