/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/etcd3_watch.c - the stream that keeps the view live, and the doubts about it.
 *
 * A full linearizable read, then POST /watch from the revision of that read: etcd sends every
 * change of our keys as it happens, JSON documents one after another. While the stream is
 * established dcs->view_live says that the view follows the store. Any end (error, cancellation,
 * compaction, a closed connection) makes it false, and everything begins anew with a read.
 *
 * A stream can be silently dead: a frozen etcd, a connection that leads nowhere, a member that lost
 * its cluster, a cancellation that keeps the connection open. So silence is not believed:
 *   - a change that becomes known in another way (our own write, a read, a refused transaction)
 *     must arrive on the stream within ETCD3_EXPECT_MS;
 *   - after PROBE_MS of silence, unless an answer shows meanwhile that the store has not moved on,
 *     the stream's own node is asked for what changed since: it must answer in PROBE_DEADLINE_MS,
 *     know the revisions that others knew at the last probe, and whatever it tells must then arrive
 *     on the stream. Who asks for its lease in each cycle asks then, see silence_ms();
 *   - the kernel probes the stream's path, which wakes nobody (ETCD3_STREAM_…);
 *   - the stream is asked for with 'hasleader', so that a member without a leader ends it;
 *   - when any request is failed by the stream's node, the stream is cut at once; when it is left
 *     waiting, the probe is due at once.
 */
#include "dcs/etcd3.h"

#include "base/clock.h"
#include "base/log.h"

#include "base/banned.h"

#define TEXT_BYTES_MAX (8u << 20) /* of one document of the stream */
#define CONNECT_MS 3000           /* until the stream is established */
#define PROBE_MS 5000
#define PROBE_CYCLE_MS 11000 /* at most, see silence_ms() */
#define CYCLE_SLACK_MS 1000
#define PROBE_DEADLINE_MS 2000
#define PAUSE_FIRST_MS 50
#define PAUSE_MAX_MS 2000
#define STABLE_MS 10000 /* a stream that lived so long was no failure */

static void on_range(struct etcd3_call *c, const struct pgv_error *err);
static void on_probe(struct etcd3_call *c, const struct pgv_error *err);
static void on_stream(struct httpc_req *r, const struct pgv_error *err);
static void on_piece(struct httpc_req *r, struct pgv_str piece);

void etcd3_watch_init(struct etcd3 *e)
{
    struct etcd3_watch *w = &e->watch;

    etcd3_call_init(&w->range, e, &e->watch_http, on_range, NULL);
    etcd3_call_init(&w->probe, e, &e->watch_http, on_probe, NULL);
    pgv_buf_init(&w->text, TEXT_BYTES_MAX);
    pgv_arena_init(&w->arena, ETCD3_ANSWER_BYTES_MAX);
    w->pause_ms = PAUSE_FIRST_MS;
    if (!e->dcs->config.member)
        return; /* a tool asks when it wants to know */
    w->state = ETCD3_WATCH_PAUSE;
    w->due_ms = pgv_clock_ms();
}

void etcd3_watch_done(struct etcd3 *e)
{
    etcd3_call_done(&e->watch.range);
    etcd3_call_done(&e->watch.probe);
    pgv_buf_done(&e->watch.text);
    pgv_arena_done(&e->watch.arena);
}

bool etcd3_watch_idle(const struct etcd3 *e)
{
    return !e->watch.http_busy && etcd3_call_idle(&e->watch.range) &&
           etcd3_call_idle(&e->watch.probe);
}

static bool streaming(const struct etcd3_watch *w)
{
    return w->state == ETCD3_WATCH_CONNECTING || w->state == ETCD3_WATCH_LIVE;
}

/* ---- beginning and ending ------------------------------------------------------------------- */

/* Whatever it was doing ends; @pause_ms from now it begins anew. */
static void restart(struct etcd3 *e, uint64_t pause_ms)
{
    struct etcd3_watch *w = &e->watch;

    etcd3_call_stop(&w->range);
    etcd3_call_stop(&w->probe);
    if (w->http_busy)
        httpc_cancel(&w->http);
    w->state = ETCD3_WATCH_PAUSE;
    w->due_ms = pgv_clock_ms() + pause_ms;
    w->expect_since_ms = 0;
    e->dcs->view_live = false;
    etcd3_arm(e);
}

/* Next time later, unless it had worked for a while. */
static uint64_t next_pause_ms(struct etcd3 *e)
{
    struct etcd3_watch *w = &e->watch;
    uint64_t pause_ms;

    if (w->state == ETCD3_WATCH_LIVE && pgv_clock_ms() - w->began_ms >= STABLE_MS)
        w->pause_ms = PAUSE_FIRST_MS;
    pause_ms = w->pause_ms + etcd3_random(e, w->pause_ms);
    w->pause_ms = w->pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : w->pause_ms * 2;
    return pause_ms;
}

void etcd3_watch_stop(struct etcd3 *e)
{
    restart(e, 0);
    e->watch.state = ETCD3_WATCH_OFF;
}

void etcd3_watch_cut(struct etcd3 *e, const char *why)
{
    struct etcd3_watch *w = &e->watch;

    if (!streaming(w) || e->closing)
        return;
    pgv_log(PGV_INFO, "dcs", "the watch begins anew why=%s node=%s", why, e->nodes[w->node].url);
    restart(e, next_pause_ms(e));
}

void etcd3_watch_node_failed(struct etcd3 *e, unsigned node)
{
    if (e->watch.node == node)
        etcd3_watch_cut(e, "its node does not serve");
}

void etcd3_watch_node_silent(struct etcd3 *e, unsigned node)
{
    struct etcd3_watch *w = &e->watch;

    if (w->node != node || w->state != ETCD3_WATCH_LIVE || w->due_ms == UINT64_MAX)
        return;
    w->due_ms = pgv_clock_ms(); /* it may be slow only: the probe will tell */
    etcd3_arm(e);
}

void etcd3_watch_expect(struct etcd3 *e, uint64_t revision)
{
    struct etcd3_watch *w = &e->watch;

    if (!streaming(w) || revision <= w->rev)
        return;
    if (revision > w->expect_rev)
        w->expect_rev = revision;
    if (!w->expect_since_ms)
        w->expect_since_ms = pgv_clock_ms();
    etcd3_arm(e);
}

/*
 * How long silence is believed. Who asks for its lease in each cycle learns then that nothing is
 * missing, and asks no more in between: as long as a watch that dies together with the leader is
 * found out before that one's lease can end.
 */
static uint64_t silence_ms(const struct etcd3 *e, uint64_t now_ms)
{
    const struct dcs_config *c = &e->dcs->config;
    uint64_t cycle_ms = c->loop_wait_ms + CYCLE_SLACK_MS;

    if (!e->watch.proved_ms || now_ms - e->watch.proved_ms > cycle_ms || cycle_ms < PROBE_MS)
        return PROBE_MS;
    if (cycle_ms > PROBE_CYCLE_MS)
        cycle_ms = PROBE_CYCLE_MS;
    return cycle_ms + PROBE_DEADLINE_MS + c->loop_wait_ms > c->ttl_ms ? PROBE_MS : cycle_ms;
}

/* The lease was asked for in the last cycle already. */
static bool asks_each_cycle(const struct etcd3 *e, uint64_t now_ms)
{
    return e->lease.proven_ms &&
           now_ms - e->lease.proven_ms <= e->dcs->config.loop_wait_ms + CYCLE_SLACK_MS;
}

void etcd3_watch_heard(struct etcd3 *e, uint64_t revision)
{
    struct etcd3_watch *w = &e->watch;
    uint64_t now_ms = pgv_clock_ms();

    if (w->state != ETCD3_WATCH_LIVE || w->due_ms == UINT64_MAX || w->expect_since_ms ||
        revision != w->rev || revision != e->revision_seen || w->due_ms <= now_ms)
        return;
    if (asks_each_cycle(e, now_ms))
        w->proved_ms = now_ms;
    w->due_ms = now_ms + silence_ms(e, now_ms);
}

static void delivered(struct etcd3 *e, uint64_t revision)
{
    struct etcd3_watch *w = &e->watch;

    if (revision <= w->rev)
        return;
    w->rev = revision;
    if (w->expect_since_ms)
        w->expect_since_ms = w->rev >= w->expect_rev ? 0 : pgv_clock_ms();
    etcd3_cache_complete(e, revision);
}

/* ---- the read ------------------------------------------------------------------------------- */

static bool write_range(struct etcd3 *e, struct pgv_buf *b)
{
    pgv_buf_puts(b, "{\"key\":\"");
    httpc_base64_encode(b, pgv_str(e->prefix));
    pgv_buf_puts(b, "\",\"range_end\":\"");
    httpc_base64_encode(b, pgv_str(e->prefix_end));
    return pgv_buf_puts(b, "\"");
}

static void begin(struct etcd3 *e)
{
    struct etcd3_watch *w = &e->watch;
    struct pgv_buf *b;

    if (!etcd3_call_idle(&w->range) || w->http_busy) { /* what was canceled ends in a moment */
        w->due_ms = pgv_clock_ms() + 1;
        return;
    }
    w->state = ETCD3_WATCH_RANGE;
    b = etcd3_call_body(&w->range);
    write_range(e, b);
    pgv_buf_puts(b, "}");
    w->range.path = "/kv/range";
    w->range.deadline_ms = pgv_clock_ms() + e->dcs->config.retry_timeout_ms;
    w->due_ms = UINT64_MAX;
    etcd3_call_start(&w->range);
}

static void begin_stream(struct etcd3 *e, uint64_t revision)
{
    struct etcd3_watch *w = &e->watch;
    struct pgv_buf body;
    struct pgv_error err;
    char url[ETCD3_URL_BYTES + 32], headers[ETCD3_TOKEN_BYTES + 96];

    pgv_buf_init(&body, 8192);
    pgv_buf_puts(&body, "{\"create_request\":");
    write_range(e, &body);
    /* From the revision of the read, not the one after it: what we have is sorted out again. */
    pgv_buf_printf(&body, ",\"start_revision\":\"%llu\",\"filters\":[],\"progress_notify\":true}}",
                   (unsigned long long)revision);
    snprintf(url, sizeof(url), "%s%s/watch", e->nodes[w->node].url, e->api.path);
    snprintf(headers, sizeof(headers), "Grpc-Metadata-hasleader: true\r\n%s%s%s",
             e->token[0] ? "Authorization: " : "", e->token, e->token[0] ? "\r\n" : "");
    w->http = (struct httpc_req){ .data = e,
                                  .method = "POST",
                                  .url = url,
                                  .headers = headers,
                                  .body = pgv_buf_view(&body),
                                  .content_type = "application/json",
                                  .connect_timeout_ms = CONNECT_MS,
                                  .on_piece = on_piece,
                                  .fresh_connection = true };
    pgv_buf_reset(&w->text);
    w->scan = (struct etcd3_scan){ 0 };
    w->rev = revision;
    w->expect_rev = 0;
    w->expect_since_ms = 0;
    w->floor_rev = revision;
    w->began_ms = w->heard_ms = pgv_clock_ms();
    w->state = ETCD3_WATCH_CONNECTING;
    w->due_ms = w->began_ms + CONNECT_MS;
    if (!body.failed && httpc_send(&e->watch_http, &w->http, on_stream, &err))
        w->http_busy = true;
    else
        restart(e, next_pause_ms(e));
    pgv_buf_done(&body);
    etcd3_arm(e);
}

static void on_range(struct etcd3_call *c, const struct pgv_error *err)
{
    struct etcd3 *e = c->e;
    struct etcd3_watch *w = &e->watch;
    struct pgv_error why;

    if (!err && !etcd3_cache_take_all(e, c, &why))
        err = &why;
    if (err) {
        pgv_log(PGV_WARNING, "dcs", "the cluster's keys cannot be read for the watch: %s",
                err->msg);
        restart(e, next_pause_ms(e));
        return;
    }
    if (!e->api.watch) { /* 3.0: every read asks, nothing is told */
        w->state = ETCD3_WATCH_OFF;
        return;
    }
    w->node = c->node;
    w->serial = e->nodes[c->node].serial;
    begin_stream(e, c->answer.revision);
}

/* ---- the stream ----------------------------------------------------------------------------- */

static void take_events(struct etcd3 *e, const struct pgv_value *events)
{
    struct etcd3_entry entry;
    uint64_t last = 0;

    PGV_EACH(event, events)
    {
        const struct pgv_value *kv = pgv_get(event, "kv"), *type = pgv_get(event, "type");
        uint64_t mod = etcd3_u64(pgv_get(kv, "mod_revision"));
        bool gone =
            pgv_str_eqz(pgv_string(type), "DELETE") || (pgv_is(type, PGV_INT) && type->u.i == 1);

        if (mod > last)
            last = mod;
        if (etcd3_entry_read(e, &e->watch.arena, kv, &entry))
            etcd3_cache_take(e, entry.key, gone ? NULL : &entry, mod);
    }
    delivered(e, last);
}

/* False: the stream is over. */
static bool take_document(struct etcd3 *e, struct pgv_str text)
{
    struct etcd3_watch *w = &e->watch;
    struct etcd3_answer answer;
    const struct pgv_value *events;

    pgv_arena_reset(&w->arena);
    etcd3_answer_read(&w->arena, 200, text, true, &answer);
    if (answer.verdict != ETCD3_OK) {
        if (answer.verdict == ETCD3_AUTH || answer.verdict == ETCD3_DENIED)
            e->token[0] = 0;
        etcd3_watch_cut(e, answer.message);
        return false;
    }
    if (!etcd3_header_ok(e, w->node, &answer, false)) {
        etcd3_node_failed(e, w->node, w->serial, "it is behind the cluster");
        etcd3_watch_cut(e, "its node is behind");
        return false;
    }
    if (!streaming(w)) /* the header told of another cluster */
        return false;
    if (pgv_truthy(pgv_get(answer.body, "canceled"))) {
        struct pgv_str reason = pgv_string(pgv_get(answer.body, "cancel_reason"));
        char why[128];

        /* The connection stays open and silent for ever: it is for us to end it. An old token is
         * told this way as well. */
        pgv_copy_cut(why, sizeof(why), reason.n ? reason : PGV_STR("canceled"));
        if (etcd3_classify(0, why) == ETCD3_AUTH || etcd3_classify(0, why) == ETCD3_DENIED)
            e->token[0] = 0;
        etcd3_watch_cut(e, why);
        return false;
    }
    events = pgv_get(answer.body, "events");
    if (pgv_truthy(pgv_get(answer.body, "created"))) {
        w->state = ETCD3_WATCH_LIVE;
        if (w->complained)
            pgv_log(PGV_INFO, "dcs", "the watch follows the cluster again node=%s",
                    e->nodes[w->node].url);
        w->complained = false;
        e->dcs->view_live = !e->cache.failed;
    } else if (!pgv_truthy(events)) {
        delivered(e, answer.revision); /* progress: nothing is missing up to there */
    }
    if (pgv_truthy(events))
        take_events(e, events);
    if (e->cache.failed) {
        etcd3_watch_cut(e, "a change could not be taken in");
        return false;
    }
    return true;
}

static void on_piece(struct httpc_req *r, struct pgv_str piece)
{
    struct etcd3 *e = r->data;
    struct etcd3_watch *w = &e->watch;
    size_t n;

    if (!streaming(w))
        return;
    if (r->status >= 400) { /* an error document; its connection ends */
        pgv_buf_str(&w->text, piece);
        return;
    }
    if (!pgv_buf_str(&w->text, piece)) {
        etcd3_watch_cut(e, "a document that is too large");
        return;
    }
    w->heard_ms = pgv_clock_ms();
    etcd3_seen(e);
    while (etcd3_scan(&w->scan, pgv_buf_view(&w->text), &n)) {
        bool more = take_document(e, (struct pgv_str){ w->text.p, n });

        if (!more)
            return;
        pgv_buf_consume(&w->text, n);
    }
    if (w->state == ETCD3_WATCH_LIVE)
        w->due_ms = w->heard_ms + silence_ms(e, w->heard_ms);
    etcd3_arm(e);
}

static void on_stream(struct httpc_req *r, const struct pgv_error *err)
{
    struct etcd3 *e = r->data;
    struct etcd3_watch *w = &e->watch;
    struct etcd3_answer answer;

    w->http_busy = false;
    if (!streaming(w)) {
        etcd3_flush_soon(e);
        return;
    }
    if (err) {
        etcd3_node_failed(e, w->node, w->serial, err->msg);
        etcd3_watch_cut(e, err->msg);
    } else if (r->status >= 400) {
        pgv_arena_reset(&w->arena);
        etcd3_answer_read(&w->arena, r->status, pgv_buf_view(&w->text), false, &answer);
        if (answer.verdict == ETCD3_AUTH || answer.verdict == ETCD3_DENIED)
            e->token[0] = 0;
        if (answer.not_gateway)
            e->api = (struct etcd3_api){ 0 };
        etcd3_watch_cut(e, answer.message);
    } else {
        etcd3_watch_cut(e, "the stream ended");
    }
}

/* ---- doubts --------------------------------------------------------------------------------- */

/* What does the stream's own node know? Not linearizable: it is this node that is in question. */
static void begin_probe(struct etcd3 *e)
{
    struct etcd3_watch *w = &e->watch;
    struct pgv_buf *b;

    if (!etcd3_call_idle(&w->probe)) {
        w->due_ms = pgv_clock_ms() + 100;
        return;
    }
    w->probe_with_cycle = false;
    b = etcd3_call_body(&w->probe);
    write_range(e, b);
    pgv_buf_printf(b, ",\"serializable\":true,\"keys_only\":true,\"min_mod_revision\":\"%llu\"}",
                   (unsigned long long)w->rev + 1);
    w->probe.path = "/kv/range";
    w->probe.pinned = (int)w->node;
    w->probe.deadline_ms = pgv_clock_ms() + PROBE_DEADLINE_MS;
    w->due_ms = UINT64_MAX;
    etcd3_call_start(&w->probe);
}

void etcd3_watch_asked(struct etcd3 *e)
{
    struct etcd3_watch *w = &e->watch;
    uint64_t now_ms = pgv_clock_ms();

    if (w->state != ETCD3_WATCH_LIVE || e->revision_seen <= w->rev ||
        w->due_ms > now_ms + e->dcs->config.loop_wait_ms || !etcd3_call_idle(&w->probe))
        return;
    begin_probe(e);
    w->probe_with_cycle = asks_each_cycle(e, now_ms);
}

static void on_probe(struct etcd3_call *c, const struct pgv_error *err)
{
    struct etcd3 *e = c->e;
    struct etcd3_watch *w = &e->watch;
    const struct pgv_value *kvs = pgv_get(c->answer.body, "kvs");
    uint64_t now_ms = pgv_clock_ms();

    if (err) {
        etcd3_node_failed(e, w->node, w->serial, err->msg); /* which cuts the stream */
        etcd3_watch_cut(e, "its node does not answer");
        return;
    }
    if (c->answer.revision < w->floor_rev) {
        etcd3_node_failed(e, w->node, w->serial, "it does not follow the cluster");
        etcd3_watch_cut(e, "its node does not follow the cluster");
        return;
    }
    w->floor_rev = e->revision_seen;
    PGV_EACH(kv, kvs)
    etcd3_watch_expect(e, etcd3_u64(pgv_get(kv, "mod_revision")));
    if (etcd3_u64(pgv_get(c->answer.body, "count")) != e->cache.n_live &&
        c->answer.revision >= e->cache.complete_rev)
        etcd3_watch_expect(e, w->rev + 1);
    if (w->probe_with_cycle)
        w->proved_ms = now_ms;
    w->due_ms = now_ms + silence_ms(e, now_ms);
    etcd3_arm(e);
}

void etcd3_watch_wake(struct etcd3 *e, uint64_t now_ms)
{
    struct etcd3_watch *w = &e->watch;

    if (w->expect_since_ms && now_ms >= w->expect_since_ms + ETCD3_EXPECT_MS) {
        etcd3_watch_cut(e, "a change was not delivered");
        return;
    }
    if (now_ms < w->due_ms)
        return;
    switch (w->state) {
    case ETCD3_WATCH_PAUSE:
        begin(e);
        break;
    case ETCD3_WATCH_CONNECTING:
        etcd3_node_failed(e, w->node, w->serial, "no watch");
        etcd3_watch_cut(e, "it was not established in time");
        break;
    case ETCD3_WATCH_LIVE:
        begin_probe(e);
        break;
    case ETCD3_WATCH_OFF:
    case ETCD3_WATCH_RANGE:
        w->due_ms = UINT64_MAX;
        break;
    }
}
