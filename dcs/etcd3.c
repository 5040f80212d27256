/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/etcd3.c - etcd v3 as a store: the table of functions, and each request from begin to end.
 *
 * A request becomes an op: it makes sure of the lease if it needs one, sends its RPC, concludes.
 * All ends go through one list, delivered by a zero timer: no callback runs inside a caller's call,
 * and the view is up to date before any of them runs.
 *
 * What a failed RPC means for its request. Two mistakes are the worst this agent can make: to take
 * trouble for 'no' demotes a healthy primary, to miss a 'no' keeps a dead one. So for the requests
 * that decide about the leader only a guard's answer is a no, and everything else is 'unknown':
 *
 *   what etcd said              READ         RENEW, ACQUIRE, TAKE        the others
 *   --------------------------  -----------  --------------------------  ------------------------
 *   nothing in time; election,  unreachable  unreachable: the old proof  unreachable: it may have
 *   overload, sick nodes                     stands until its deadline   happened
 *   the guard failed            -            conflict                    conflict
 *   lease not found             -            new lease, once more (re-   TOUCH: the same
 *                                            bind, create, put)
 *   permission denied twice,    unreachable  unreachable: nobody said    conflict: it was not done
 *   database full, …                         that another one has it
 *   wrong password, too old     before the first answer ever: invalid (a mistake of the
 *                               configuration); later like 'permission denied'
 *
 * A guarded write whose first sending went unanswered and which then meets its own result is a
 * success: refused transactions tell the key as it is. The empty initialize key bears no name, so
 * its transaction also touches our member key: equal revisions are the signature. Otherwise a slow
 * store could leave a cluster in which everybody waits for a bootstrap that nobody does.
 */
#include "dcs/etcd3.h"

#include "base/clock.h"
#include "base/log.h"

#include <unistd.h>

#include "base/banned.h"

#define REBINDS_MAX 3         /* leases lost one after another within one request */
#define ACQUIRE_PROOF_MS 1000 /* a leader begins with a proof not older than this */

enum { STEP_MAIN = 1, STEP_CHECK };

static void on_lease(struct etcd3_op *op);
static void on_flush(uv_timer_t *t);
static void on_timer(uv_timer_t *t);

/* ---- small things --------------------------------------------------------------------------- */

uint64_t etcd3_random(struct etcd3 *e, uint64_t below)
{
    e->random ^= e->random << 13;
    e->random ^= e->random >> 7;
    e->random ^= e->random << 17;
    return below ? e->random % below : 0;
}

void etcd3_seen(struct etcd3 *e)
{
    e->ever_answered = true;
    e->dcs->last_seen_ms = pgv_clock_ms();
    e->dcs->last_seen_wall_us = pgv_wall_us();
}

void etcd3_flush_soon(struct etcd3 *e)
{
    if (!uv_is_active((uv_handle_t *)&e->flush) && !uv_is_closing((uv_handle_t *)&e->flush))
        uv_timer_start(&e->flush, on_flush, 0, 0);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void etcd3_arm(struct etcd3 *e)
{
    const struct etcd3_watch *w = &e->watch;
    uint64_t due_ms = UINT64_MAX, now_ms = pgv_clock_ms();

    if (uv_is_closing((uv_handle_t *)&e->timer))
        return;
    for (const struct etcd3_call *c = e->calls; c; c = c->next)
        due_ms = earlier(due_ms, c->wake_ms);
    for (const struct etcd3_op *op = e->ops; op; op = op->next)
        if (op->waits_for_lease && !op->finished)
            due_ms = earlier(due_ms, op->req->deadline_ms);
    if (!e->closing) {
        due_ms = earlier(due_ms, e->discovery.refresh_at_ms);
        if (w->state != ETCD3_WATCH_OFF)
            due_ms = earlier(due_ms, w->due_ms);
        if (w->expect_since_ms)
            due_ms = earlier(due_ms, w->expect_since_ms + ETCD3_EXPECT_MS);
        if (e->view_retry_ms)
            due_ms = earlier(due_ms, e->view_retry_ms);
    }
    if (due_ms == UINT64_MAX)
        uv_timer_stop(&e->timer);
    else
        uv_timer_start(&e->timer, on_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

static void on_timer(uv_timer_t *t)
{
    struct etcd3 *e = t->data;
    uint64_t now_ms = pgv_clock_ms();

    etcd3_calls_wake(e, now_ms);
    for (struct etcd3_op *op = e->ops; op; op = op->next) {
        if (op->waits_for_lease && !op->finished && now_ms >= op->req->deadline_ms)
            etcd3_op_fail(op, PGV_EUNREACHABLE, "no lease in time");
    }
    if (!e->closing) {
        etcd3_watch_wake(e, now_ms);
        etcd3_nodes_wake(e, now_ms);
        if (e->view_retry_ms && now_ms >= e->view_retry_ms)
            etcd3_flush_soon(e);
    }
    etcd3_arm(e);
}

/* ---- the end of a request ------------------------------------------------------------------- */

void etcd3_op_finish(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;

    PGV_ASSERT(!op->finished);
    op->finished = true;
    op->waits_for_lease = false;
    etcd3_call_stop(&op->call);
    op->next_done = NULL;
    *e->done_last = op;
    e->done_last = &op->next_done;
    etcd3_flush_soon(e);
    etcd3_lease_release(e, op);
}

void etcd3_op_fail(struct etcd3_op *op, enum pgv_code code, const char *fmt, ...)
{
    char text[PGV_ERROR_MSG_BYTES];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    op->failed = true;
    pgv_fail(&op->err, code, "%s", text);
    etcd3_op_finish(op);
}

static bool decides_about_leader(enum dcs_op op)
{
    return op == DCS_READ || op == DCS_RENEW_LEADER || op == DCS_ACQUIRE_LEADER ||
           op == DCS_TAKE_LEADER;
}

void etcd3_op_failed_call(struct etcd3_op *op, const struct pgv_error *err)
{
    enum pgv_code code = err->code;

    switch (op->call.answer.verdict) {
    case ETCD3_OK:
    case ETCD3_NODE_FAILED:
    case ETCD3_AGAIN:
        break; /* as the call says: unreachable, or no memory */
    case ETCD3_BAD_LOGIN:
    case ETCD3_TOO_OLD:
        if (!op->e->ever_answered) {
            code = PGV_EINVALID;
            break;
        }
        code = decides_about_leader(op->req->op) ? PGV_EUNREACHABLE : PGV_ECONFLICT;
        break;
    case ETCD3_AUTH:
    case ETCD3_AUTH_OFF:
    case ETCD3_DENIED:
    case ETCD3_LEASE_LOST:
    case ETCD3_REFUSED:
        code = decides_about_leader(op->req->op) ? PGV_EUNREACHABLE : PGV_ECONFLICT;
        break;
    }
    etcd3_op_fail(op, code, "%s: %s", dcs_op_name(op->req->op), err->msg);
}

static void deliver(struct etcd3 *e, struct etcd3_op *op, bool view_ok)
{
    struct dcs_req *req = op->req;
    struct pgv_error err = op->err;
    bool failed = op->failed;

    if (!failed && req->op == DCS_READ && !view_ok)
        failed = !pgv_fail(&err, PGV_ENOMEM, "no memory for the view");
    op->req = NULL;
    req->impl = NULL;
    req->cb(req, failed ? &err : NULL);
    (void)e;
}

static void free_op(struct etcd3_op *op)
{
    etcd3_call_done(&op->call);
    pgv_buf_done(&op->value);
    pgv_free(op);
}

/* Ops that were delivered and whose requests have all ended. */
static void reap(struct etcd3 *e)
{
    struct etcd3_op **p = &e->ops;

    while (*p) {
        struct etcd3_op *op = *p;

        if (op->req || !etcd3_call_idle(&op->call)) {
            p = &op->next;
            continue;
        }
        *p = op->next;
        if (op->reserved)
            op->reserved = false; /* stays, ready for the next renewal */
        else
            free_op(op);
    }
}

static void go_on_closing(struct etcd3 *e);

static void on_flush(uv_timer_t *t)
{
    struct etcd3 *e = t->data;
    struct dcs *dcs = e->dcs;
    struct etcd3_op *op;
    struct dcs_req *req;
    bool replaced, ok;
    unsigned n = 0, changed;

    ok = etcd3_view_update(e, &replaced);
    e->view_retry_ms = ok ? 0 : pgv_clock_ms() + 1000;
    if (replaced) {
        changed = e->changed;
        e->changed = 0;
        if (dcs->on_view && !dcs->closing)
            dcs->on_view(dcs, changed);
    }
    /* What ends meanwhile waits for the next turn, so that nobody is starved. */
    for (op = e->done_first; op; op = op->next_done)
        n++;
    for (; n && e->done_first; n--) {
        op = e->done_first;
        e->done_first = op->next_done;
        if (!e->done_first)
            e->done_last = &e->done_first;
        deliver(e, op, ok);
    }
    for (req = e->no_memory, e->no_memory = NULL; req;) {
        struct dcs_req *next = req->next;
        struct pgv_error err;

        pgv_fail(&err, dcs->closing ? PGV_ECANCELED : PGV_ENOMEM, "no memory for the request");
        req->cb(req, &err);
        req = next;
    }
    reap(e);
    if (e->done_first || e->no_memory)
        etcd3_flush_soon(e);
    if (e->closing)
        go_on_closing(e);
    else
        etcd3_arm(e);
}

/* ---- what goes out -------------------------------------------------------------------------- */

static void put_base64(struct pgv_buf *b, struct pgv_str s)
{
    pgv_buf_putc(b, '"');
    httpc_base64_encode(b, s);
    pgv_buf_putc(b, '"');
}

static void put_key(struct etcd3 *e, struct pgv_buf *b, const char *key)
{
    char text[ETCD3_PREFIX_BYTES + PGV_NAME_BYTES + 16];

    snprintf(text, sizeof(text), "%s%s", e->prefix, key);
    pgv_buf_puts(b, "\"key\":");
    put_base64(b, pgv_str(text));
}

static void put_put(struct etcd3 *e, struct pgv_buf *b, const char *key, struct pgv_str value,
                    const char *lease)
{
    pgv_buf_putc(b, '{');
    put_key(e, b, key);
    pgv_buf_puts(b, ",\"value\":");
    put_base64(b, value);
    if (lease)
        pgv_buf_printf(b, ",\"lease\":\"%s\"", lease);
    pgv_buf_putc(b, '}');
}

enum guard { GUARD_NONE, GUARD_ABSENT, GUARD_VERSION, GUARD_MINE };

/* '"compare":[…]': what must hold. */
static void put_compare(struct etcd3_op *op, struct pgv_buf *b, const char *key, enum guard guard)
{
    struct etcd3 *e = op->e;

    pgv_buf_puts(b, "\"compare\":[{");
    put_key(e, b, key);
    if (guard == GUARD_ABSENT) {
        pgv_buf_puts(b, ",\"target\":\"CREATE\",\"create_revision\":\"0\"");
    } else if (guard == GUARD_VERSION) {
        pgv_buf_printf(b, ",\"target\":\"MOD\",\"mod_revision\":\"%s\"", op->req->version);
    } else {
        pgv_buf_puts(b, ",\"target\":\"VALUE\",\"value\":");
        put_base64(b, pgv_str(e->dcs->config.name));
    }
    pgv_buf_puts(b, "}]");
}

/* What happens otherwise: tell the key as it is. */
static void put_tell(struct etcd3 *e, struct pgv_buf *b, const char *key)
{
    pgv_buf_puts(b, ",\"failure\":[{\"request_range\":{");
    put_key(e, b, key);
    pgv_buf_puts(b, "}}]");
}

static void send_rpc(struct etcd3_op *op, const char *path, int step)
{
    op->step = step;
    op->call.path = path;
    op->call.client = decides_about_leader(op->req->op) && op->req->op != DCS_READ
                          ? &op->e->lease_http
                          : &op->e->http;
    etcd3_call_start(&op->call);
}

static void send_put(struct etcd3_op *op, const char *key, struct pgv_str value, const char *lease,
                     enum guard guard)
{
    struct etcd3 *e = op->e;
    struct pgv_buf *b = etcd3_call_body(&op->call);

    if (guard == GUARD_NONE) {
        put_put(e, b, key, value, lease);
        send_rpc(op, "/kv/put", STEP_MAIN);
        return;
    }
    pgv_buf_putc(b, '{');
    put_compare(op, b, key, guard);
    pgv_buf_puts(b, ",\"success\":[{\"request_put\":");
    put_put(e, b, key, value, lease);
    pgv_buf_puts(b, "}]");
    put_tell(e, b, key);
    pgv_buf_putc(b, '}');
    send_rpc(op, "/kv/txn", STEP_MAIN);
}

static void send_delete(struct etcd3_op *op, const char *key, enum guard guard)
{
    struct etcd3 *e = op->e;
    struct pgv_buf *b = etcd3_call_body(&op->call);

    pgv_buf_putc(b, '{');
    if (guard == GUARD_NONE) {
        put_key(e, b, key);
        pgv_buf_putc(b, '}');
        send_rpc(op, "/kv/deleterange", STEP_MAIN);
        return;
    }
    put_compare(op, b, key, guard);
    pgv_buf_puts(b, ",\"success\":[{\"request_delete_range\":{");
    put_key(e, b, key);
    pgv_buf_puts(b, "}}]");
    put_tell(e, b, key);
    pgv_buf_putc(b, '}');
    send_rpc(op, "/kv/txn", STEP_MAIN);
}

static void send_prefix(struct etcd3_op *op, const char *path)
{
    struct pgv_buf *b = etcd3_call_body(&op->call);

    pgv_buf_puts(b, "{\"key\":");
    put_base64(b, pgv_str(op->e->prefix));
    pgv_buf_puts(b, ",\"range_end\":");
    put_base64(b, pgv_str(op->e->prefix_end));
    pgv_buf_putc(b, '}');
    send_rpc(op, path, STEP_MAIN);
}

/* Create initialize, and sign it if we can: by touching our own member key in the same transaction.
 * ignore_value and ignore_lease came with etcd 3.2. */
static void send_initialize(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;
    struct pgv_buf *b = etcd3_call_body(&op->call);
    char member[PGV_NAME_BYTES + 16];

    snprintf(member, sizeof(member), "members/%s", e->dcs->config.name);
    op->is_signed = e->api.auth && e->touched_lease[0] && etcd3_cache_get(&e->cache, member);
    pgv_buf_putc(b, '{');
    put_compare(op, b, "initialize", GUARD_ABSENT);
    pgv_buf_puts(b, ",\"success\":[{\"request_put\":");
    put_put(e, b, "initialize", pgv_buf_view(&op->value), NULL);
    if (op->is_signed) {
        pgv_buf_puts(b, "},{\"request_put\":{");
        put_key(e, b, member);
        pgv_buf_puts(b, ",\"ignore_value\":true,\"ignore_lease\":true}");
    }
    pgv_buf_puts(b, "}]");
    put_tell(e, b, "initialize");
    if (op->is_signed) {
        b->n--; /* one more range into the same list */
        pgv_buf_puts(b, ",{\"request_range\":{");
        put_key(e, b, member);
        pgv_buf_puts(b, "}}]");
    }
    pgv_buf_putc(b, '}');
    send_rpc(op, "/kv/txn", STEP_MAIN);
}

/* The leader key as it is, asked of the store itself. */
static void send_check(struct etcd3_op *op)
{
    struct pgv_buf *b = etcd3_call_body(&op->call);

    pgv_buf_putc(b, '{');
    put_key(op->e, b, "leader");
    pgv_buf_putc(b, '}');
    send_rpc(op, "/kv/range", STEP_CHECK);
}

/*
 * The leader key says our name under another lease, or is gone: put it again under ours, unless
 * somebody else has it. Source: Patroni, etcd3.py, _update_leader().
 */
static void send_rebind(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;
    struct pgv_str name = pgv_str(e->dcs->config.name);
    struct pgv_buf *b = etcd3_call_body(&op->call);

    pgv_buf_putc(b, '{');
    put_compare(op, b, "leader", GUARD_MINE);
    pgv_buf_puts(b, ",\"success\":[{\"request_put\":");
    put_put(e, b, "leader", name, op->lease);
    pgv_buf_puts(b, "}],\"failure\":[{\"request_txn\":{");
    put_compare(op, b, "leader", GUARD_ABSENT);
    pgv_buf_puts(b, ",\"success\":[{\"request_put\":");
    put_put(e, b, "leader", name, op->lease);
    pgv_buf_puts(b, "}]");
    put_tell(e, b, "leader");
    pgv_buf_puts(b, "}}]}");
    send_rpc(op, "/kv/txn", STEP_MAIN);
}

/* ---- what comes back ------------------------------------------------------------------------ */

/* The key's name of an op that writes or deletes one key. */
static const char *key_of(const struct etcd3_op *op, char member[PGV_NAME_BYTES + 16])
{
    switch (op->req->op) {
    case DCS_TOUCH_MEMBER:
        snprintf(member, PGV_NAME_BYTES + 16, "members/%s", op->e->dcs->config.name);
        return member;
    case DCS_ACQUIRE_LEADER:
    case DCS_TAKE_LEADER:
    case DCS_RENEW_LEADER:
    case DCS_RELEASE_LEADER:
        return "leader";
    case DCS_CREATE_INITIALIZE:
    case DCS_SET_INITIALIZE:
    case DCS_DELETE_INITIALIZE:
        return "initialize";
    case DCS_SET_CONFIG:
        return "config";
    case DCS_SET_FAILOVER:
        return "failover";
    case DCS_SET_SYNC:
    case DCS_DELETE_SYNC:
        return "sync";
    case DCS_SET_HISTORY:
        return "history";
    case DCS_SET_STATUS:
        return "status";
    case DCS_SET_FAILSAFE:
        return "failsafe";
    case DCS_READ:
    case DCS_DELETE_CLUSTER:
        break;
    }
    return "";
}

/* We wrote it: the cache has it now, and the watch must tell it soon. */
static void wrote(struct etcd3_op *op, const char *key, struct pgv_str value, const char *lease)
{
    struct etcd3 *e = op->e;
    struct etcd3_entry entry = { .key = pgv_str(key),
                                 .value = value,
                                 .mod = op->call.answer.revision };

    snprintf(op->req->new_version, sizeof(op->req->new_version), "%llu",
             (unsigned long long)entry.mod);
    if (!entry.mod)
        return;
    if (lease && !pgv_copyz(entry.lease, sizeof(entry.lease), lease))
        return;
    etcd3_cache_take(e, entry.key, &entry, entry.mod);
    etcd3_watch_expect(e, entry.mod);
}

static void deleted(struct etcd3_op *op, const char *key, bool something)
{
    struct etcd3 *e = op->e;

    etcd3_cache_take(e, pgv_str(key), NULL, op->call.answer.revision);
    if (something)
        etcd3_watch_expect(e, op->call.answer.revision);
}

/* The key a refused transaction or a range told; false when it is absent. Both go to the cache. */
static bool told(struct etcd3_op *op, const struct pgv_value *range, const char *key,
                 struct etcd3_entry *ret)
{
    struct etcd3 *e = op->e;
    const struct pgv_value *kv = pgv_value_first(pgv_get(range, "kvs"));

    memset(ret, 0, sizeof(*ret));
    if (!kv) {
        etcd3_cache_take(e, pgv_str(key), NULL, op->call.answer.revision);
        return false;
    }
    if (!etcd3_entry_read(e, &op->call.arena, kv, ret))
        return true;
    etcd3_cache_take(e, ret->key, ret, ret->mod);
    etcd3_watch_expect(e, ret->mod);
    return true;
}

static const struct pgv_value *first_response(const struct pgv_value *body, const char *kind)
{
    return pgv_get(pgv_value_first(pgv_get(body, "responses")), kind);
}

static void leader_is_ours(struct etcd3_op *op)
{
    op->req->sent_ms = op->e->lease.proven_ms;
    etcd3_op_finish(op);
}

static void conflict(struct etcd3_op *op, const struct etcd3_entry *entry, bool there)
{
    char value[64];

    pgv_copy_cut(value, sizeof(value), entry->value);
    if (!there)
        etcd3_op_fail(op, PGV_ECONFLICT, "%s: the key does not exist", dcs_op_name(op->req->op));
    else if (!strcmp(key_of(op, (char[PGV_NAME_BYTES + 16]){ 0 }), "leader"))
        etcd3_op_fail(op, PGV_ECONFLICT, "%s: the key is held by '%s'", dcs_op_name(op->req->op),
                      value);
    else
        etcd3_op_fail(op, PGV_ECONFLICT, "%s: the key has version %llu", dcs_op_name(op->req->op),
                      (unsigned long long)entry->mod);
}

/* The revision of our member key, from the second range of a refused creation; 0: none. */
static uint64_t signature(const struct etcd3_op *op)
{
    const struct pgv_value *first = pgv_value_first(pgv_get(op->call.answer.body, "responses"));
    const struct pgv_value *range = pgv_get(first ? first->next : NULL, "response_range");

    return etcd3_u64(pgv_get(pgv_value_first(pgv_get(range, "kvs")), "mod_revision"));
}

/* A transaction that came back refused, with the key as it is. */
static void refused_txn(struct etcd3_op *op, const struct pgv_value *range)
{
    struct dcs_req *req = op->req;
    struct etcd3_entry entry;
    char member[PGV_NAME_BYTES + 16];
    bool there = told(op, range, key_of(op, member), &entry);
    bool mine = there && pgv_str_eqz(entry.value, op->e->dcs->config.name);

    switch (req->op) {
    case DCS_ACQUIRE_LEADER:
    case DCS_RENEW_LEADER:
        /* An earlier sending of this very request, or it was ours all the time. */
        if (mine && !strcmp(entry.lease, op->lease)) {
            leader_is_ours(op);
            return;
        }
        break;
    case DCS_RELEASE_LEADER:
    case DCS_DELETE_SYNC:
        if (!there) { /* which is what was wanted */
            etcd3_op_finish(op);
            return;
        }
        break;
    case DCS_SET_CONFIG:
    case DCS_SET_FAILOVER:
    case DCS_SET_SYNC:
        if (there && op->call.ambiguous && pgv_str_eq(entry.value, pgv_buf_view(&op->value))) {
            snprintf(req->new_version, sizeof(req->new_version), "%llu",
                     (unsigned long long)entry.mod);
            etcd3_op_finish(op);
            return;
        }
        break;
    case DCS_CREATE_INITIALIZE:
        if (there && op->is_signed && entry.mod == signature(op)) {
            snprintf(req->new_version, sizeof(req->new_version), "%llu",
                     (unsigned long long)entry.mod);
            etcd3_op_finish(op);
            return;
        }
        break;
    default:
        break;
    }
    conflict(op, &entry, there);
}

static void got_rebind(struct etcd3_op *op)
{
    const struct pgv_value *body = op->call.answer.body;
    const struct pgv_value *inner = first_response(body, "response_txn");

    if (pgv_truthy(pgv_get(body, "succeeded")) || pgv_truthy(pgv_get(inner, "succeeded"))) {
        wrote(op, "leader", pgv_str(op->e->dcs->config.name), op->lease);
        leader_is_ours(op);
        return;
    }
    refused_txn(op, first_response(inner, "response_range"));
}

/* An answer to the main RPC of a request for one key. */
static void got_main(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;
    const struct pgv_value *body = op->call.answer.body;
    bool txn = !strcmp(op->call.path, "/kv/txn");
    char member[PGV_NAME_BYTES + 16];
    const char *key = key_of(op, member);

    if (op->req->op == DCS_RENEW_LEADER) {
        got_rebind(op);
        return;
    }
    if (txn && !pgv_truthy(pgv_get(body, "succeeded"))) {
        refused_txn(op, first_response(body, "response_range"));
        return;
    }
    switch (op->req->op) {
    case DCS_ACQUIRE_LEADER:
    case DCS_TAKE_LEADER:
        wrote(op, key, pgv_str(e->dcs->config.name), op->lease);
        leader_is_ours(op);
        return;
    case DCS_TOUCH_MEMBER:
        wrote(op, key, pgv_buf_view(&op->value), op->lease);
        pgv_buf_reset(&e->touched);
        if (!pgv_buf_str(&e->touched, pgv_buf_view(&op->value)) ||
            !pgv_copyz(e->touched_lease, sizeof(e->touched_lease), op->lease))
            e->touched_lease[0] = 0;
        break;
    case DCS_RELEASE_LEADER:
    case DCS_DELETE_INITIALIZE:
    case DCS_DELETE_SYNC:
        deleted(op, key, txn || etcd3_u64(pgv_get(body, "deleted")));
        break;
    case DCS_DELETE_CLUSTER:
        etcd3_cache_delete_all(e, op->call.answer.revision);
        if (etcd3_u64(pgv_get(body, "deleted")))
            etcd3_watch_expect(e, op->call.answer.revision);
        break;
    case DCS_CREATE_INITIALIZE:
    case DCS_SET_INITIALIZE:
    case DCS_SET_CONFIG:
    case DCS_SET_FAILOVER:
    case DCS_SET_SYNC:
    case DCS_SET_HISTORY:
    case DCS_SET_STATUS:
    case DCS_SET_FAILSAFE:
        wrote(op, key, pgv_buf_view(&op->value), NULL);
        break;
    case DCS_READ:
    case DCS_RENEW_LEADER:
        break;
    }
    etcd3_op_finish(op);
}

/* The leader key, read because the view was not fresh enough to judge by. */
static void got_check(struct etcd3_op *op)
{
    struct etcd3_entry entry;
    bool there = told(op, op->call.answer.body, "leader", &entry);
    bool mine = there && pgv_str_eqz(entry.value, op->e->dcs->config.name);

    if (mine && !strcmp(entry.lease, op->lease))
        leader_is_ours(op);
    else if (there && !mine)
        conflict(op, &entry, there);
    else
        send_rebind(op);
}

static void got_read(struct etcd3_op *op)
{
    struct pgv_error err;

    if (etcd3_cache_take_all(op->e, &op->call, &err))
        etcd3_op_finish(op);
    else
        etcd3_op_fail(op, err.code, "%s", err.msg);
}

static void on_answer(struct etcd3_call *c, const struct pgv_error *err)
{
    struct etcd3_op *op = c->data;
    bool has_lease = op->req->op == DCS_TOUCH_MEMBER || op->req->op == DCS_ACQUIRE_LEADER ||
                     op->req->op == DCS_TAKE_LEADER || op->req->op == DCS_RENEW_LEADER;

    if (op->step != STEP_MAIN && op->step != STEP_CHECK) {
        etcd3_lease_answer(op, err);
    } else if (err && c->answer.verdict == ETCD3_LEASE_LOST && has_lease &&
               op->rebinds++ < REBINDS_MAX) {
        etcd3_lease_forget(op->e, op->lease);
        etcd3_lease_ensure(op, ACQUIRE_PROOF_MS);
    } else if (err && op->is_signed && c->answer.verdict == ETCD3_REFUSED) {
        op->e->touched_lease[0] = 0; /* our member key is gone: nothing to sign with */
        send_initialize(op);
    } else if (err) {
        etcd3_op_failed_call(op, err);
    } else if (op->step == STEP_CHECK) {
        got_check(op);
    } else if (op->req->op == DCS_READ) {
        got_read(op);
    } else {
        got_main(op);
    }
}

/* ---- the begin of a request ----------------------------------------------------------------- */

/* Our member key says already what we would write, under the lease we have. */
static bool member_is_written(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;
    struct pgv_str value = pgv_buf_view(&op->value);
    char member[PGV_NAME_BYTES + 16];
    const struct etcd3_kv *kv;

    if (!e->touched_lease[0] || strcmp(e->touched_lease, op->lease) ||
        !pgv_str_eq(pgv_buf_view(&e->touched), value))
        return false;
    /* Unless somebody changed it since. */
    kv = etcd3_cache_get(&e->cache, key_of(op, member));
    return !e->cache.loaded || e->cache.failed ||
           (kv && pgv_str_eq(kv->value, value) && !strcmp(kv->lease, op->lease));
}

/* The view is fresh enough to believe it about the leader key: nothing can be missing in it that
 * the keepalive's answer knew, or it follows the store and was read whole a moment ago. */
static bool view_is_fresh(const struct etcd3 *e)
{
    const struct etcd3_cache *c = &e->cache;

    return c->loaded && !c->failed && e->dcs->view_live && !e->watch.expect_since_ms &&
           (c->complete_rev >= e->revision_seen || pgv_clock_ms() - c->read_ms <= 1000);
}

/* The lease is proven alive under op->lease. */
static void on_lease(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;
    const struct etcd3_kv *kv = etcd3_cache_get(&e->cache, "leader");
    char member[PGV_NAME_BYTES + 16];

    switch (op->req->op) {
    case DCS_TOUCH_MEMBER:
        if (member_is_written(op))
            etcd3_op_finish(op);
        else
            send_put(op, key_of(op, member), pgv_buf_view(&op->value), op->lease, GUARD_NONE);
        break;
    case DCS_ACQUIRE_LEADER:
        send_put(op, "leader", pgv_str(e->dcs->config.name), op->lease, GUARD_ABSENT);
        break;
    case DCS_TAKE_LEADER:
        send_put(op, "leader", pgv_str(e->dcs->config.name), op->lease, GUARD_NONE);
        break;
    case DCS_RENEW_LEADER:
        if (view_is_fresh(e) && kv && pgv_str_eqz(kv->value, e->dcs->config.name) &&
            !strcmp(kv->lease, op->lease))
            leader_is_ours(op); /* in steady state: one keepalive, no write */
        else if (op->rebinds)
            send_rebind(op);
        else
            send_check(op);
        break;
    default:
        PGV_ASSERT(false);
    }
}

static enum guard version_guard(const struct etcd3_op *op)
{
    return op->req->version[0] ? GUARD_VERSION : GUARD_NONE;
}

static void begin(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;
    struct pgv_str value = pgv_buf_view(&op->value);

    switch (op->req->op) {
    case DCS_READ:
        send_prefix(op, "/kv/range");
        break;
    case DCS_TOUCH_MEMBER:
        /* Half a loop: a refresh in every cycle, but not a second one after a renewal's. */
        etcd3_lease_ensure(op, e->dcs->config.loop_wait_ms / 2 + 1);
        break;
    case DCS_ACQUIRE_LEADER:
    case DCS_TAKE_LEADER:
        etcd3_lease_ensure(op, ACQUIRE_PROOF_MS);
        break;
    case DCS_RENEW_LEADER:
        etcd3_lease_ensure(op, 0);
        break;
    case DCS_RELEASE_LEADER:
        send_delete(op, "leader", GUARD_MINE);
        break;
    case DCS_CREATE_INITIALIZE:
        send_initialize(op);
        break;
    case DCS_SET_INITIALIZE:
        send_put(op, "initialize", value, NULL, GUARD_NONE);
        break;
    case DCS_DELETE_INITIALIZE:
        send_delete(op, "initialize", GUARD_NONE);
        break;
    case DCS_SET_CONFIG:
        send_put(op, "config", value, NULL, version_guard(op));
        break;
    case DCS_SET_FAILOVER:
        send_put(op, "failover", value, NULL, version_guard(op));
        break;
    case DCS_SET_SYNC:
        send_put(op, "sync", value, NULL, version_guard(op));
        break;
    case DCS_DELETE_SYNC:
        send_delete(op, "sync", version_guard(op));
        break;
    case DCS_SET_HISTORY:
        send_put(op, "history", value, NULL, GUARD_NONE);
        break;
    case DCS_SET_STATUS:
        send_put(op, "status", value, NULL, GUARD_NONE);
        break;
    case DCS_SET_FAILSAFE:
        send_put(op, "failsafe", value, NULL, GUARD_NONE);
        break;
    case DCS_DELETE_CLUSTER:
        send_prefix(op, "/kv/deleterange");
        break;
    }
}

static struct etcd3_op *new_op(struct etcd3 *e)
{
    struct etcd3_op *op = pgv_zalloc(sizeof(*op));

    if (!op)
        return NULL;
    op->e = e;
    op->lease_cb = on_lease;
    pgv_buf_init(&op->value, DCS_VALUE_BYTES_MAX);
    etcd3_call_init(&op->call, e, &e->http, on_answer, op);
    return op;
}

/* The renewal's own op when it is free, else a new one. */
static struct etcd3_op *take_op(struct etcd3 *e, enum dcs_op kind)
{
    struct etcd3_op *op = e->renew;

    if (kind != DCS_RENEW_LEADER || op->reserved)
        return new_op(e);
    op->reserved = true;
    op->rebinds = 0;
    op->waits_for_lease = op->finished = op->failed = false;
    pgv_buf_reset(&op->value);
    return op;
}

static void etcd3_submit(struct dcs *dcs, struct dcs_req *req)
{
    struct etcd3 *e = dcs->impl;
    struct etcd3_op *op = take_op(e, req->op);

    if (op && req->value.n && !pgv_buf_str(&op->value, req->value)) {
        if (req->value.n > DCS_VALUE_BYTES_MAX) {
            op->req = req;
            req->impl = op;
            op->next = e->ops;
            e->ops = op;
            etcd3_op_fail(op, PGV_EINVALID, "%s: the value is too long", dcs_op_name(req->op));
            return;
        }
        free_op(op); /* a renewal has no value, so this one is not the reserved one */
        op = NULL;
    }
    if (!op) {
        req->next = e->no_memory;
        e->no_memory = req;
        etcd3_flush_soon(e);
        return;
    }
    op->req = req;
    op->call.deadline_ms = req->deadline_ms;
    req->impl = op;
    op->next = e->ops;
    e->ops = op;
    begin(op);
}

static void etcd3_cancel(struct dcs *dcs, struct dcs_req *req)
{
    struct etcd3_op *op = req->impl;

    (void)dcs;
    if (op && !op->finished)
        etcd3_op_fail(op, PGV_ECANCELED, "%s: canceled", dcs_op_name(req->op));
}

/* ---- life ----------------------------------------------------------------------------------- */

/* A connection that is dead must be found out within the lease. Source: Patroni, etcd3 sockets. */
static void set_tcp(struct etcd3 *e)
{
    const struct dcs_config *c = &e->dcs->config;
    uint64_t ttl_s = c->ttl_ms / 1000, idle_s = (c->loop_wait_ms + c->retry_timeout_ms) / 1000;
    uint64_t interval_s = ttl_s > idle_s + 3 ? (ttl_s - idle_s) / 3 : 1;
    struct httpc_tcp_options tcp = {
        .user_timeout_ms = (unsigned)c->ttl_ms,
        .keepidle_s = (unsigned)(idle_s > 32767 ? 32767 : idle_s),
        .keepintvl_s = (unsigned)(interval_s > 32767 ? 32767 : interval_s),
        .keepcnt = 3,
    };

    e->http.tcp = e->lease_http.tcp = e->watch_http.tcp = tcp;
}

static void etcd3_set_times(struct dcs *dcs)
{
    struct etcd3 *e = dcs->impl;

    set_tcp(e);
    if (e->lease.asked_ttl_ms && e->lease.asked_ttl_ms != dcs->config.ttl_ms) {
        /* The old one expires by itself; our keys go over to the new one before. */
        e->lease.id[0] = 0;
        e->lease.proven_ms = 0;
    }
    etcd3_arm(e);
}

static bool etcd3_reload(struct dcs *dcs, struct pgv_error *err)
{
    struct etcd3 *e = dcs->impl;
    struct etcd3_config config;
    struct tls_context *tls;

    if (!etcd3_config_read(dcs->config.section, &config, err) ||
        !etcd3_config_tls(&config, &tls, err))
        return false;
    e->config = config;
    tls_context_unref(e->tls);
    e->tls = tls;
    httpc_set_tls(&e->http, tls);
    httpc_set_tls(&e->lease_http, tls);
    httpc_set_tls(&e->watch_http, tls);
    e->token[0] = 0;
    e->auth_off = false;
    etcd3_nodes_renew(e);
    etcd3_watch_cut(e, "the configuration changed");
    etcd3_calls_retry(e);
    return true;
}

/* The first key after all that begin with the prefix: prefixes end with a slash. */
static bool make_prefix(struct etcd3 *e, struct pgv_error *err)
{
    const struct dcs_config *c = &e->dcs->config;
    size_t n;

    if (!dcs_prefix(c->name_space, c->scope, e->prefix, sizeof(e->prefix)))
        return pgv_fail(err, PGV_EINVALID, "namespace and scope make no usable prefix");
    n = strlen(e->prefix);
    memcpy(e->prefix_end, e->prefix, n + 1);
    e->prefix_end[n - 1]++;
    return true;
}

static void free_memory(struct etcd3 *e)
{
    if (e->renew)
        free_op(e->renew);
    for (unsigned i = 0; i < 2; i++) {
        dcs_snapshot_done(e->views[i]);
        pgv_free(e->views[i]);
    }
    etcd3_cache_done(&e->cache);
    pgv_buf_done(&e->touched);
    tls_context_unref(e->tls);
    explicit_bzero(&e->config, sizeof(e->config)); /* the password */
    explicit_bzero(e->token, sizeof(e->token));
    pgv_free(e);
}

static bool etcd3_open(struct dcs *dcs, struct pgv_error *err)
{
    struct etcd3 *e = pgv_zalloc(sizeof(*e));

    if (!e)
        return pgv_fail(err, PGV_ENOMEM, "no memory for the etcd client");
    e->dcs = dcs;
    e->loop = dcs->loop;
    e->done_last = &e->done_first;
    e->random = pgv_clock_us() * 2654435761u ^ (uint64_t)(uintptr_t)e ^ ((uint64_t)getpid() << 32);
    if (!e->random)
        e->random = 1;
    pgv_buf_init(&e->touched, DCS_VALUE_BYTES_MAX);
    e->views[0] = pgv_zalloc(sizeof(*e->views[0]));
    e->views[1] = pgv_zalloc(sizeof(*e->views[1]));
    e->renew = new_op(e);
    if (!e->views[0] || !e->views[1] || !e->renew) {
        pgv_fail(err, PGV_ENOMEM, "no memory for the etcd client");
        goto fail;
    }
    if (!make_prefix(e, err) || !etcd3_config_read(dcs->config.section, &e->config, err) ||
        !etcd3_config_tls(&e->config, &e->tls, err))
        goto fail;
    dcs->impl = e;
    if (!etcd3_nodes_init(e, err))
        goto fail;
    httpc_open(&e->http, e->loop, e->tls);
    httpc_open(&e->lease_http, e->loop, e->tls);
    httpc_open(&e->watch_http, e->loop, e->tls);
    set_tcp(e);
    uv_timer_init(e->loop, &e->timer);
    uv_timer_init(e->loop, &e->flush);
    e->http.data = e->lease_http.data = e->watch_http.data = e->discovery.peer_http.data = e;
    e->timer.data = e->flush.data = e;
    etcd3_watch_init(e);
    etcd3_nodes_begin(e);
    etcd3_arm(e);
    return true;
fail:
    dcs->impl = NULL;
    free_memory(e);
    return false;
}

static void on_timer_closed(uv_handle_t *h)
{
    struct etcd3 *e = h->data;
    struct dcs *dcs = e->dcs;

    if (--e->open)
        return;
    etcd3_watch_done(e);
    etcd3_nodes_done(e);
    free_memory(e);
    dcs_closed(dcs);
}

static void on_client_closed(struct httpc *c)
{
    struct etcd3 *e = c->data;

    if (--e->open)
        return;
    e->open = 2;
    uv_close((uv_handle_t *)&e->timer, on_timer_closed);
    uv_close((uv_handle_t *)&e->flush, on_timer_closed);
}

/* Requests have been told; when nothing is in flight any more the clients close, then the timers.
 */
static void go_on_closing(struct etcd3 *e)
{
    if (e->closing_clients || e->ops || e->no_memory || !etcd3_watch_idle(e) ||
        !etcd3_nodes_idle(e))
        return;
    e->closing_clients = true;
    e->open = 4;
    httpc_close(&e->http, on_client_closed);
    httpc_close(&e->lease_http, on_client_closed);
    httpc_close(&e->watch_http, on_client_closed);
    httpc_close(&e->discovery.peer_http, on_client_closed);
}

static void etcd3_close(struct dcs *dcs)
{
    struct etcd3 *e = dcs->impl;

    e->closing = true;
    for (struct etcd3_op *op = e->ops; op; op = op->next)
        if (op->req && !op->finished)
            etcd3_op_fail(op, PGV_ECANCELED, "%s: closing", dcs_op_name(op->req->op));
    etcd3_watch_stop(e);
    etcd3_nodes_stop(e);
    etcd3_flush_soon(e);
}

const struct dcs_ops dcs_etcd3_ops = {
    .name = "etcd3",
    .open = etcd3_open,
    .close = etcd3_close,
    .submit = etcd3_submit,
    .cancel = etcd3_cancel,
    .set_times = etcd3_set_times,
    .reload = etcd3_reload,
};
