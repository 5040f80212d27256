/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/etcd3_call.c - one RPC: whom to ask, how long to wait, what to make of what comes back.
 *
 * A call asks the best node. A node that fails is marked sick and the next one is asked at once. A
 * node that is merely silent for ETCD3_HEDGE_MS (a frozen process looks like that) gets company:
 * the next node is asked as well, whoever answers first wins, so one frozen member of three never
 * costs the lease; and a cluster that is slow as a whole still gets the whole deadline to answer.
 * When all have been asked, those that failed are asked again after a pause (0.1 s doubling to 1 s,
 * with jitter; source: Patroni, utils.Retry), round by round until the deadline, while those that
 * are silent may still answer.
 *
 * An attempt has up to three steps on its node: GET /version when the API prefix is not known,
 * login when a token is needed, the RPC itself. Each call logs in for itself: the lease never
 * waits for what other traffic is doing.
 */
#include "dcs/etcd3.h"

#include "base/clock.h"
#include "base/log.h"

#include "base/banned.h"

#define DELAY_FIRST_MS 100
#define DELAY_MAX_MS 1000
#define JITTER_MS 800
#define QUICK_MS 500 /* a pooled connection that fails so soon was dead already */
#define AGAIN_MS 20
#define LOGIN_PAUSE_MS 1000

static void on_http(struct httpc_req *r, const struct pgv_error *err);

void etcd3_call_init(struct etcd3_call *c, struct etcd3 *e, struct httpc *client,
                     void (*cb)(struct etcd3_call *c, const struct pgv_error *err), void *data)
{
    memset(c, 0, sizeof(*c));
    c->data = data;
    c->e = e;
    c->client = client;
    c->cb = cb;
    c->pinned = -1;
    pgv_buf_init(&c->body, HTTPC_BODY_BYTES_MAX);
    pgv_arena_init(&c->arena, ETCD3_ANSWER_BYTES_MAX);
    for (unsigned i = 0; i < ETCD3_ATTEMPTS; i++)
        c->attempts[i].call = c;
}

void etcd3_call_done(struct etcd3_call *c)
{
    PGV_ASSERT(!c->e || etcd3_call_idle(c));
    pgv_buf_done(&c->body);
    pgv_arena_done(&c->arena);
}

bool etcd3_call_idle(const struct etcd3_call *c)
{
    if (c->running)
        return false;
    for (unsigned i = 0; i < ETCD3_ATTEMPTS; i++)
        if (c->attempts[i].busy)
            return false;
    return true;
}

struct pgv_buf *etcd3_call_body(struct etcd3_call *c)
{
    PGV_ASSERT(!c->running);
    pgv_buf_reset(&c->body);
    pgv_arena_reset(&c->arena);
    c->answer = (struct etcd3_answer){ 0 };
    c->stream = false;
    return &c->body;
}

/* ---- the end -------------------------------------------------------------------------------- */

static void drop(struct etcd3_attempt *a)
{
    if (!a->busy || a->dropped)
        return;
    a->dropped = true;
    httpc_cancel(&a->http);
}

static void end(struct etcd3_call *c)
{
    struct etcd3_call **p = &c->e->calls;

    while (*p && *p != c)
        p = &(*p)->next;
    if (*p)
        *p = c->next;
    c->next = NULL;
    c->running = false;
    for (unsigned i = 0; i < ETCD3_ATTEMPTS; i++)
        drop(&c->attempts[i]);
}

static void finish_ok(struct etcd3_call *c)
{
    end(c);
    etcd3_seen(c->e);
    c->cb(c, NULL);
}

static void finish_refused(struct etcd3_call *c, enum pgv_code code)
{
    struct pgv_error err;

    end(c);
    pgv_fail(&err, code, "etcd: %s", c->answer.message);
    c->cb(c, &err);
}

static void finish_unanswered(struct etcd3_call *c)
{
    struct pgv_error err;

    end(c);
    c->answer.verdict = ETCD3_AGAIN;
    c->answer.body = NULL;
    pgv_fail(&err, PGV_EUNREACHABLE, "no usable answer from etcd in time%s%s",
             c->last.msg[0] ? ": " : "", c->last.msg);
    c->cb(c, &err);
}

void etcd3_call_stop(struct etcd3_call *c)
{
    if (c->running)
        end(c);
}

/* ---- sending -------------------------------------------------------------------------------- */

static bool needs_login(const struct etcd3 *e)
{
    return e->config.has_login && e->api.auth && !e->auth_off && !e->token[0];
}

static bool write_login(const struct etcd3 *e, struct pgv_buf *b)
{
    pgv_buf_puts(b, "{\"name\":");
    pgv_json_write_string(b, pgv_str(e->config.username));
    pgv_buf_puts(b, ",\"password\":");
    pgv_json_write_string(b, pgv_str(e->config.password));
    return pgv_buf_puts(b, "}");
}

/* Send the step that is due. False: it could not even be sent; @a is free then. */
static bool send_step(struct etcd3_attempt *a)
{
    struct etcd3_call *c = a->call;
    struct etcd3 *e = c->e;
    struct httpc_req *r = &a->http;
    struct pgv_buf login;
    char url[ETCD3_URL_BYTES + 64], token[ETCD3_TOKEN_BYTES + 32];
    bool ok;

    a->step = !e->api.path[0]  ? ETCD3_STEP_VERSION
              : needs_login(e) ? ETCD3_STEP_LOGIN
                               : ETCD3_STEP_RPC;
    pgv_buf_init(&login, 8192);
    *r = (struct httpc_req){ .data = a,
                             .method = "POST",
                             .url = url,
                             .deadline_ms = c->deadline_ms,
                             .fresh_connection = a->fresh };
    switch (a->step) {
    case ETCD3_STEP_VERSION:
        snprintf(url, sizeof(url), "%s/version", e->nodes[a->node].url);
        r->method = "GET";
        break;
    case ETCD3_STEP_LOGIN:
        snprintf(url, sizeof(url), "%s%s/auth/authenticate", e->nodes[a->node].url, e->api.path);
        write_login(e, &login);
        r->body = pgv_buf_view(&login);
        r->content_type = "application/json";
        break;
    case ETCD3_STEP_RPC:
        snprintf(url, sizeof(url), "%s%s%s", e->nodes[a->node].url, e->api.path, c->path);
        r->body = pgv_buf_view(&c->body);
        r->content_type = "application/json";
        if (e->token[0] && e->api.auth) {
            snprintf(token, sizeof(token), "Authorization: %s\r\n", e->token);
            r->headers = token;
        }
        break;
    }
    a->token_gen = e->token_gen;
    a->sent_ms = pgv_clock_ms();
    if (login.failed || c->body.failed)
        ok = pgv_fail(&c->last, PGV_ENOMEM, "no memory for the request");
    else
        ok = httpc_send(c->client, r, on_http, &c->last);
    pgv_buf_done(&login);
    a->busy = ok;
    if (ok && a->step == ETCD3_STEP_RPC)
        c->n_sent++;
    return ok;
}

static bool start_attempt(struct etcd3_call *c, unsigned node, bool fresh)
{
    struct etcd3 *e = c->e;

    c->tried |= 1u << node;
    for (unsigned i = 0; i < ETCD3_ATTEMPTS; i++) {
        struct etcd3_attempt *a = &c->attempts[i];

        if (a->busy)
            continue;
        a->dropped = false;
        a->fresh = fresh;
        a->node = node;
        a->serial = e->nodes[node].serial;
        a->started_ms = pgv_clock_ms();
        return send_step(a);
    }
    return false; /* all are being canceled: their ends come with the next turn of the loop */
}

/* ---- whom next ------------------------------------------------------------------------------ */

static int pick(const struct etcd3_call *c, unsigned without)
{
    if (c->pinned < 0)
        return etcd3_nodes_pick(c->e, without);
    return without & (1u << c->pinned) ? -1 : c->pinned;
}

/* How many attempts are at work, the youngest of them, and their nodes as bits. */
static unsigned working(struct etcd3_call *c, struct etcd3_attempt **ret_youngest,
                        unsigned *ret_nodes)
{
    unsigned n = 0;

    *ret_youngest = NULL;
    *ret_nodes = 0;
    for (unsigned i = 0; i < ETCD3_ATTEMPTS; i++) {
        struct etcd3_attempt *a = &c->attempts[i];

        if (!a->busy || a->dropped)
            continue;
        n++;
        *ret_nodes |= 1u << a->node;
        if (!*ret_youngest || a->started_ms > (*ret_youngest)->started_ms)
            *ret_youngest = a;
    }
    return n;
}

/* After the pause all but @nodes are asked again. False: the deadline is nearer. */
static bool begin_pause(struct etcd3_call *c, uint64_t now_ms, uint64_t pause_ms, unsigned nodes)
{
    if (now_ms + pause_ms >= c->deadline_ms)
        return false;
    c->tried = nodes;
    c->pause_until_ms = now_ms + pause_ms;
    c->wake_ms = c->pause_until_ms;
    return true;
}

/* Everybody was asked, and those who are not still thinking about it have failed. */
static bool next_round(struct etcd3_call *c, uint64_t now_ms, unsigned thinking)
{
    struct etcd3 *e = c->e;
    uint64_t pause_ms = c->delay_ms + etcd3_random(e, JITTER_MS);

    if (!thinking)
        etcd3_nodes_reload(e);
    if (c->n_stale) { /* when all are behind what we know, it is we who are wrong */
        e->raft_term = 0;
        c->n_stale = 0;
    }
    c->delay_ms = c->delay_ms * 2 > DELAY_MAX_MS ? DELAY_MAX_MS : c->delay_ms * 2;
    return begin_pause(c, now_ms, pause_ms, thinking);
}

/* After so long in vain on all nodes, the connection may be the one at fault. */
static uint64_t patience_ms(const struct etcd3 *e)
{
    uint64_t third = e->dcs->config.retry_timeout_ms / 3;

    return third > 2 * ETCD3_HEDGE_MS ? third : 2 * ETCD3_HEDGE_MS;
}

/* Do what is due. Ends the call when its time is over. */
static void advance(struct etcd3_call *c)
{
    struct etcd3 *e = c->e;
    uint64_t now_ms = pgv_clock_ms(), due_ms = 0;
    struct etcd3_attempt *youngest;
    unsigned n, nodes;
    int node;

    if (now_ms >= c->deadline_ms) {
        finish_unanswered(c);
        return;
    }
    if (now_ms < c->pause_until_ms) {
        c->wake_ms = c->pause_until_ms;
        return;
    }
    n = working(c, &youngest, &nodes);
    node = pick(c, c->tried);
    if (node < 0 && (!n || pick(c, nodes) >= 0)) {
        if (next_round(c, now_ms, nodes))
            return;
        if (!n) {
            finish_unanswered(c);
            return;
        }
        c->wake_ms = c->deadline_ms; /* only those who are thinking can answer in time */
        return;
    }
    if (node >= 0 && n < ETCD3_PARALLEL &&
        (!n || now_ms >= youngest->started_ms + ETCD3_HEDGE_MS)) {
        if (n)
            etcd3_node_silent(e, youngest->node, youngest->serial);
        while (node >= 0 && !start_attempt(c, (unsigned)node, false))
            node = pick(c, c->tried);
        node = pick(c, c->tried);
    } else if (node < 0 && n < ETCD3_PARALLEL && now_ms >= youngest->started_ms + patience_ms(e)) {
        start_attempt(c, youngest->node, true);
    }
    n = working(c, &youngest, &nodes);
    if (node < 0 && n && n < ETCD3_PARALLEL && pick(c, nodes) >= 0 &&
        next_round(c, now_ms, nodes)) /* those that failed before may be well by then */
        return;
    if (n >= ETCD3_PARALLEL)
        due_ms = c->deadline_ms;
    else if (n)
        due_ms = youngest->started_ms + (node >= 0 ? ETCD3_HEDGE_MS : patience_ms(e));
    if (due_ms > c->deadline_ms)
        due_ms = c->deadline_ms;
    /* What could not be begun just now (no place, no memory) is tried again, but not at once. */
    c->wake_ms = due_ms > now_ms ? due_ms : now_ms + AGAIN_MS;
}

void etcd3_call_start(struct etcd3_call *c)
{
    struct etcd3 *e = c->e;
    uint64_t now_ms = pgv_clock_ms();
    int node;

    PGV_ASSERT(!c->running);
    c->running = true;
    c->tried = 0;
    c->n_sent = c->auth_tries = c->denied = c->n_stale = 0;
    c->delay_ms = DELAY_FIRST_MS;
    c->pause_until_ms = 0;
    c->ambiguous = false;
    c->rev_floor = e->cache.complete_rev;
    c->last.msg[0] = 0;
    c->next = e->calls;
    e->calls = c;
    /* The first attempt goes out now; what follows, an instant end included, comes by the timer. */
    node = pick(c, 0);
    if (node >= 0 && now_ms < c->deadline_ms && start_attempt(c, (unsigned)node, false))
        c->wake_ms =
            now_ms + ETCD3_HEDGE_MS < c->deadline_ms ? now_ms + ETCD3_HEDGE_MS : c->deadline_ms;
    else
        c->wake_ms = now_ms;
    etcd3_arm(e);
}

void etcd3_calls_wake(struct etcd3 *e, uint64_t now_ms)
{
    bool again = true;

    while (again) { /* a call that ends changes the list: begin anew */
        again = false;
        for (struct etcd3_call *c = e->calls; c; c = c->next) {
            if (c->wake_ms > now_ms)
                continue;
            c->wake_ms = UINT64_MAX;
            advance(c);
            again = true;
            break;
        }
    }
}

void etcd3_calls_retry(struct etcd3 *e)
{
    uint64_t now_ms = pgv_clock_ms();

    for (struct etcd3_call *c = e->calls; c; c = c->next) {
        if (c->pause_until_ms > now_ms) {
            c->pause_until_ms = 0;
            c->wake_ms = now_ms;
        }
    }
    etcd3_arm(e);
}

/* ---- answers -------------------------------------------------------------------------------- */

/* Everything we know may be newer than what is true now. */
static void begin_anew(struct etcd3 *e, const char *why)
{
    etcd3_cache_forget(e);
    etcd3_watch_cut(e, why);
}

static bool knows_members(const struct etcd3 *e)
{
    for (unsigned i = 0; i < ETCD3_NODES_MAX; i++)
        if (e->nodes[i].member)
            return true;
    return false;
}

bool etcd3_header_ok(struct etcd3 *e, unsigned node, const struct etcd3_answer *answer,
                     bool by_quorum)
{
    if (!answer->cluster_id[0] || !answer->raft_term)
        return true;
    if (strcmp(answer->cluster_id, e->cluster_id)) {
        /* A member that was removed and lives on by itself is in no list but our configuration. */
        if (e->cluster_id[0] && !e->nodes[node].member && knows_members(e))
            return false;
        if (e->cluster_id[0]) {
            pgv_log(PGV_WARNING, "dcs", "etcd is another cluster now id=%s before=%s",
                    answer->cluster_id, e->cluster_id);
            begin_anew(e, "another cluster");
        }
        if (!pgv_copyz(e->cluster_id, sizeof(e->cluster_id), answer->cluster_id))
            return false;
        e->raft_term = 0;
    }
    if (by_quorum)
        e->raft_term = answer->raft_term;
    else if (answer->raft_term < e->raft_term)
        return false;
    if (answer->revision > e->revision_seen)
        e->revision_seen = answer->revision;
    etcd3_watch_heard(e, answer->revision);
    return true;
}

/* Without a majority there is no such answer: reads of ours are linearizable, but for the probe. */
static bool needs_quorum(const struct etcd3_call *c)
{
    return c->pinned < 0 && (!strncmp(c->path, "/kv/", 4) || !strcmp(c->path, "/lease/grant"));
}

static void node_failed(struct etcd3_attempt *a, const char *why)
{
    struct etcd3_call *c = a->call;

    pgv_fail(&c->last, PGV_EUNREACHABLE, "%s: %s", c->e->nodes[a->node].url, why);
    etcd3_node_failed(c->e, a->node, a->serial, why);
    advance(c);
}

static void got_version(struct etcd3_attempt *a)
{
    struct etcd3_call *c = a->call;
    struct etcd3 *e = c->e;
    enum etcd3_verdict verdict = ETCD3_NODE_FAILED;

    if (a->http.status < 400)
        verdict = etcd3_api_read(pgv_buf_view(&a->http.answer), &e->api);
    if (verdict == ETCD3_TOO_OLD) {
        c->answer = (struct etcd3_answer){ .verdict = ETCD3_TOO_OLD };
        pgv_copy_cut(c->answer.message, sizeof(c->answer.message),
                     PGV_STR("it is older than 3.0.4, which is not supported"));
        finish_refused(c, PGV_EINVALID);
        return;
    }
    if (verdict == ETCD3_AGAIN) { /* our trouble, not the node's */
        pgv_fail(&c->last, PGV_ENOMEM, "no memory to read the version of %s",
                 e->nodes[a->node].url);
        advance(c);
        return;
    }
    if (verdict != ETCD3_OK) {
        node_failed(a, "it does not tell its version");
        return;
    }
    if (e->config.has_login && !e->api.auth)
        pgv_log(PGV_WARNING, "dcs", "this etcd is too old for authentication; going without");
    if (!send_step(a))
        advance(c);
}

static void got_token(struct etcd3_attempt *a, const struct etcd3_answer *answer)
{
    struct etcd3_call *c = a->call;
    struct etcd3 *e = c->e;
    struct pgv_str token = pgv_string(pgv_get(answer->body, "token"));

    switch (answer->verdict) {
    case ETCD3_OK:
        if (!token.n || !pgv_copy(e->token, sizeof(e->token), token)) {
            node_failed(a, "no usable token");
            return;
        }
        for (size_t i = 0; i < token.n; i++) /* it goes into a header line */
            if ((unsigned char)token.p[i] <= ' ') {
                e->token[0] = 0;
                node_failed(a, "no usable token");
                return;
            }
        e->token_gen++;
        break;
    case ETCD3_AUTH_OFF:
        e->auth_off = true;
        break;
    case ETCD3_BAD_LOGIN:
        c->answer = *answer;
        finish_refused(c, PGV_EINVALID);
        return;
    case ETCD3_NODE_FAILED:
        node_failed(a, answer->message);
        return;
    default: /* an election, overload */
        pgv_fail(&c->last, PGV_EUNREACHABLE, "login: %s", answer->message);
        advance(c);
        return;
    }
    if (!send_step(a))
        advance(c);
}

/* The token was refused, or there was none: get one and ask again, at first without a pause. */
static void log_in_again(struct etcd3_attempt *a, const struct etcd3_answer *answer)
{
    struct etcd3_call *c = a->call;
    struct etcd3 *e = c->e;

    e->auth_off = false;
    if (!e->config.has_login || !e->api.auth) {
        c->answer = *answer;
        finish_refused(c, PGV_ECONFLICT);
        return;
    }
    if (c->auth_tries && a->token_gen <= c->refused_gen) {
        /* Two nodes were asked with it. The other attempt is about a new one already. */
        pgv_fail(&c->last, PGV_EUNREACHABLE, "%s", answer->message);
        advance(c);
        return;
    }
    c->refused_gen = a->token_gen;
    if (answer->verdict == ETCD3_DENIED && a->token_gen != 0 && ++c->denied > 1) {
        c->answer = *answer; /* said twice, the second time to a fresh token */
        finish_refused(c, PGV_ECONFLICT);
        return;
    }
    if (a->token_gen == e->token_gen)
        e->token[0] = 0;
    pgv_fail(&c->last, PGV_EUNREACHABLE, "%s", answer->message);
    if (c->auth_tries++ && !begin_pause(c, pgv_clock_ms(), LOGIN_PAUSE_MS, 0)) {
        finish_unanswered(c);
        return;
    }
    if (c->pause_until_ms > pgv_clock_ms())
        return;
    if (!send_step(a))
        advance(c);
}

static void got_answer(struct etcd3_attempt *a)
{
    struct etcd3_call *c = a->call;
    struct etcd3 *e = c->e;
    struct etcd3_answer answer;

    pgv_arena_reset(&c->arena);
    etcd3_answer_read(&c->arena, a->http.status, pgv_buf_view(&a->http.answer),
                      c->stream && a->step == ETCD3_STEP_RPC, &answer);
    /* Every answer of etcd has a header, if only an empty one. What a proxy says for itself may be
     * a JSON object, too. */
    if (answer.verdict == ETCD3_OK && a->step == ETCD3_STEP_RPC && !answer.has_header) {
        node_failed(a, "its answer is not etcd's");
        return;
    }
    if (answer.verdict == ETCD3_OK &&
        !etcd3_header_ok(e, a->node, &answer, a->step == ETCD3_STEP_RPC && needs_quorum(c))) {
        c->n_stale++;
        node_failed(a, "it is behind the cluster");
        return;
    }
    if (a->step == ETCD3_STEP_LOGIN) {
        got_token(a, &answer);
        return;
    }
    switch (answer.verdict) {
    case ETCD3_OK:
        etcd3_node_answered(e, a->node, a->serial, c->pinned < 0);
        break;
    case ETCD3_NODE_FAILED:
        if (answer.not_gateway)
            e->api = (struct etcd3_api){ 0 }; /* another version by now: look again */
        node_failed(a, answer.message);
        return;
    case ETCD3_AGAIN:
        pgv_fail(&c->last, PGV_EUNREACHABLE, "%s: %s", e->nodes[a->node].url, answer.message);
        advance(c);
        return;
    case ETCD3_AUTH_OFF:
        e->auth_off = true;
        e->token[0] = 0;
        if (!send_step(a))
            advance(c);
        return;
    case ETCD3_AUTH:
    case ETCD3_DENIED:
        log_in_again(a, &answer);
        return;
    case ETCD3_LEASE_LOST:
    case ETCD3_BAD_LOGIN:
    case ETCD3_REFUSED:
    case ETCD3_TOO_OLD:
        c->answer = answer;
        c->ambiguous = c->n_sent > 1;
        etcd3_seen(e);
        finish_refused(c, PGV_ECONFLICT);
        return;
    }
    c->answer = answer;
    c->sent_ms = a->sent_ms;
    c->node = a->node;
    c->ambiguous = c->n_sent > 1;
    finish_ok(c);
}

static void on_http(struct httpc_req *r, const struct pgv_error *err)
{
    struct etcd3_attempt *a = r->data;
    struct etcd3_call *c = a->call;
    struct etcd3 *e = c->e;

    a->busy = false;
    if (a->dropped || !c->running) {
        if (c->running) /* a place got free */
            c->wake_ms = 0;
        goto out;
    }
    if (!err && a->step == ETCD3_STEP_VERSION) {
        got_version(a);
    } else if (!err) {
        got_answer(a);
    } else if (err->code == PGV_EUNREACHABLE && !a->fresh &&
               pgv_clock_ms() - a->sent_ms < QUICK_MS) {
        a->fresh = true;
        if (!send_step(a))
            advance(c);
    } else if (err->code == PGV_ENOMEM || err->code == PGV_ECANCELED) {
        c->last = *err; /* not the node's fault */
        advance(c);
    } else {
        node_failed(a, err->msg);
    }
out:
    if (!c->running)
        etcd3_flush_soon(e); /* it may be idle now: somebody may wait for that */
    etcd3_arm(e);
}
