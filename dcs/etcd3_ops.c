/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/etcd3_ops.c - what each request sends to etcd and what it concludes from the answer.
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
 *   database full, …                         that another one has it     (initialize by version:
 *                                                                        unreachable)
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

#include "base/banned.h"

#define REBINDS_MAX 3         /* leases lost one after another within one request */
#define ACQUIRE_PROOF_MS 1000 /* a leader begins with a proof not older than this */

enum { STEP_MAIN = 1, STEP_CHECK };

/* ---- failures ------------------------------------------------------------------------------- */

static bool decides_about_leader(enum dcs_op op)
{
    return op == DCS_READ || op == DCS_RENEW_LEADER || op == DCS_ACQUIRE_LEADER ||
           op == DCS_TAKE_LEADER;
}

/* The others end a request with a no whatever the trouble: it was not done. */
static bool only_a_guard_says_no(const struct dcs_req *req)
{
    return decides_about_leader(req->op) ||
           ((req->op == DCS_SET_INITIALIZE || req->op == DCS_DELETE_INITIALIZE) && req->version[0]);
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
        code = only_a_guard_says_no(op->req) ? PGV_EUNREACHABLE : PGV_ECONFLICT;
        break;
    case ETCD3_AUTH:
    case ETCD3_AUTH_OFF:
    case ETCD3_DENIED:
    case ETCD3_LEASE_LOST:
    case ETCD3_REFUSED:
        code = only_a_guard_says_no(op->req) ? PGV_EUNREACHABLE : PGV_ECONFLICT;
        break;
    }
    etcd3_op_fail(op, code, "%s: %s", dcs_op_name(op->req->op), err->msg);
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

enum guard { GUARD_NONE, GUARD_ABSENT, GUARD_VERSION, GUARD_TERM, GUARD_MINE, GUARD_VALUE };

/* One comparison of a list. */
static void put_guard(struct etcd3_op *op, struct pgv_buf *b, const char *key, enum guard guard)
{
    struct etcd3 *e = op->e;

    pgv_buf_putc(b, '{');
    put_key(e, b, key);
    if (guard == GUARD_ABSENT) {
        pgv_buf_puts(b, ",\"target\":\"CREATE\",\"create_revision\":\"0\"");
    } else if (guard == GUARD_VERSION) {
        pgv_buf_printf(b, ",\"target\":\"MOD\",\"mod_revision\":\"%s\"", op->req->version);
    } else if (guard == GUARD_TERM) {
        pgv_buf_printf(b, ",\"target\":\"MOD\",\"mod_revision\":\"%llu\"",
                       (unsigned long long)op->term);
    } else {
        pgv_buf_puts(b, ",\"target\":\"VALUE\",\"value\":");
        put_base64(b,
                   guard == GUARD_VALUE ? pgv_buf_view(&op->value) : pgv_str(e->dcs->config.name));
    }
    pgv_buf_putc(b, '}');
}

/* '"compare":[…]': what must hold. */
static void put_compare(struct etcd3_op *op, struct pgv_buf *b, const char *key, enum guard guard)
{
    pgv_buf_puts(b, "\"compare\":[");
    put_guard(op, b, key, guard);
    pgv_buf_putc(b, ']');
}

static void put_range(struct etcd3 *e, struct pgv_buf *b, const char *key)
{
    pgv_buf_puts(b, "{\"request_range\":{");
    put_key(e, b, key);
    pgv_buf_puts(b, "}}");
}

/* What happens otherwise: tell the key as it is, and @second, unless NULL. */
static void put_tell(struct etcd3 *e, struct pgv_buf *b, const char *key, const char *second)
{
    pgv_buf_puts(b, ",\"failure\":[");
    put_range(e, b, key);
    if (second) {
        pgv_buf_putc(b, ',');
        put_range(e, b, second);
    }
    pgv_buf_putc(b, ']');
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
    put_tell(e, b, key, NULL);
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
    put_tell(e, b, key, NULL);
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
    put_tell(e, b, "initialize", op->is_signed ? member : NULL);
    pgv_buf_putc(b, '}');
    send_rpc(op, "/kv/txn", STEP_MAIN);
}

/* The cluster is ours to lead as long as initialize says the system identifier that we wrote. */
static void send_take(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;
    struct pgv_buf *b = etcd3_call_body(&op->call);

    pgv_buf_puts(b, "{\"compare\":[");
    put_guard(op, b, "leader", GUARD_ABSENT);
    pgv_buf_putc(b, ',');
    put_guard(op, b, "initialize", GUARD_VALUE);
    pgv_buf_puts(b, "],\"success\":[{\"request_put\":");
    put_put(e, b, "leader", pgv_str(e->dcs->config.name), op->lease);
    pgv_buf_puts(b, "}]");
    put_tell(e, b, "leader", "initialize");
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
 * The key as it was when we gave it up, by its revision: the request may be carried out late, or
 * once more, when it is ours again.
 */
static void send_release(struct etcd3_op *op, uint64_t term)
{
    op->term = term;
    send_delete(op, "leader", GUARD_TERM);
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
    put_tell(e, b, "leader", NULL);
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

enum told { TOLD_NOTHING, TOLD_ABSENT, TOLD_THERE };

/* The key as a refused transaction or a range told it; the cache learns it as well. Nothing, when
 * it could not be read: a key that we have no memory for is neither absent nor another's. */
static enum told told(struct etcd3_op *op, const struct pgv_value *range, const char *key,
                      struct etcd3_entry *ret)
{
    struct etcd3 *e = op->e;
    const struct pgv_value *kv = pgv_value_first(pgv_get(range, "kvs"));

    memset(ret, 0, sizeof(*ret));
    if (!pgv_is(range, PGV_MAP))
        return TOLD_NOTHING;
    if (!kv) {
        etcd3_cache_take(e, pgv_str(key), NULL, op->call.answer.revision);
        return TOLD_ABSENT;
    }
    if (!etcd3_entry_read(e, &op->call.arena, kv, ret))
        return TOLD_NOTHING;
    etcd3_cache_take(e, ret->key, ret, ret->mod);
    etcd3_watch_expect(e, ret->mod);
    return TOLD_THERE;
}

static const struct pgv_value *first_response(const struct pgv_value *body, const char *kind)
{
    return pgv_get(pgv_value_first(pgv_get(body, "responses")), kind);
}

static void leader_is_ours(struct etcd3_op *op)
{
    op->req->sent_ms = op->proven_ms;
    etcd3_op_finish(op);
}

static void conflict(struct etcd3_op *op, const struct etcd3_entry *entry, enum told what)
{
    const char *name = dcs_op_name(op->req->op);
    char member[PGV_NAME_BYTES + 16], value[64];

    pgv_copy_cut(value, sizeof(value), entry->value);
    if (what != TOLD_THERE)
        etcd3_op_fail(op, PGV_ECONFLICT, "%s: the key does not exist", name);
    else if (!strcmp(key_of(op, member), "leader"))
        etcd3_op_fail(op, PGV_ECONFLICT, "%s: the key is held by '%s'", name, value);
    else
        etcd3_op_fail(op, PGV_ECONFLICT, "%s: the key has version %llu", name,
                      (unsigned long long)entry->mod);
}

static void unreadable(struct etcd3_op *op)
{
    etcd3_op_fail(op, PGV_EUNREACHABLE, "%s: the answer could not be read",
                  dcs_op_name(op->req->op));
}

/* The second range of a refused transaction. */
static const struct pgv_value *second_range(const struct etcd3_op *op)
{
    const struct pgv_value *first = pgv_value_first(pgv_get(op->call.answer.body, "responses"));

    return pgv_get(first ? first->next : NULL, "response_range");
}

/* The revision of our member key, as a refused creation tells it; 0: none. */
static uint64_t signature(const struct etcd3_op *op)
{
    const struct pgv_value *kv = pgv_value_first(pgv_get(second_range(op), "kvs"));

    return etcd3_u64(pgv_get(kv, "mod_revision"));
}

/* The leader key is free or ours, and yet it could not be taken. */
static void take_refused(struct etcd3_op *op)
{
    struct etcd3_entry entry;
    enum told what = told(op, second_range(op), "initialize", &entry);

    if (what == TOLD_NOTHING)
        unreadable(op);
    else if (what == TOLD_THERE && pgv_str_eq(entry.value, pgv_buf_view(&op->value)))
        etcd3_op_fail(op, PGV_EUNREACHABLE, "%s: the key is bound to a session of ours that ended",
                      dcs_op_name(op->req->op)); /* it goes with that one, soon */
    else
        etcd3_op_fail(op, PGV_ECONFLICT, "%s: the initialize key is not ours any more",
                      dcs_op_name(op->req->op));
}

static void done_by(struct etcd3_op *op, const struct etcd3_entry *entry)
{
    snprintf(op->req->new_version, sizeof(op->req->new_version), "%llu",
             (unsigned long long)entry->mod);
    etcd3_op_finish(op);
}

/* A transaction that came back refused, with the key as it is. */
static void refused_txn(struct etcd3_op *op, const struct pgv_value *range)
{
    struct dcs_req *req = op->req;
    struct etcd3_entry entry;
    char member[PGV_NAME_BYTES + 16];
    enum told what = told(op, range, key_of(op, member), &entry);
    bool there = what == TOLD_THERE;
    bool mine = there && pgv_str_eqz(entry.value, op->e->dcs->config.name);

    if (what == TOLD_NOTHING) {
        unreadable(op); /* it may be our own doing that refused it */
        return;
    }
    switch (req->op) {
    case DCS_ACQUIRE_LEADER:
    case DCS_RENEW_LEADER:
    case DCS_TAKE_LEADER:
        /* An earlier sending of this very request, or it was ours all the time. */
        if (mine && !strcmp(entry.lease, op->lease)) {
            leader_is_ours(op);
            return;
        }
        if (req->op == DCS_TAKE_LEADER && (mine || !there)) {
            take_refused(op);
            return;
        }
        break;
    case DCS_RELEASE_LEADER:
        if (mine && op->rebinds++ < REBINDS_MAX) { /* it was put again without our knowing */
            send_release(op, entry.mod);
            return;
        }
        /* fall through */
    case DCS_DELETE_INITIALIZE:
    case DCS_DELETE_SYNC:
        if (!there) { /* which is what was wanted */
            etcd3_op_finish(op);
            return;
        }
        break;
    case DCS_SET_INITIALIZE:
        if (there && pgv_str_eq(entry.value, pgv_buf_view(&op->value))) {
            done_by(op, &entry);
            return;
        }
        break;
    case DCS_SET_CONFIG:
    case DCS_SET_FAILOVER:
    case DCS_SET_SYNC:
        if (there && op->call.ambiguous && pgv_str_eq(entry.value, pgv_buf_view(&op->value))) {
            done_by(op, &entry);
            return;
        }
        break;
    case DCS_CREATE_INITIALIZE:
        if (there && op->is_signed && entry.mod == signature(op)) {
            done_by(op, &entry);
            return;
        }
        break;
    default:
        break;
    }
    conflict(op, &entry, what);
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

/* The leader key, read because the view was not fresh enough to judge by, or does not have it. */
static void got_check(struct etcd3_op *op)
{
    struct etcd3_entry entry;
    enum told what = told(op, op->call.answer.body, "leader", &entry);
    bool mine = what == TOLD_THERE && pgv_str_eqz(entry.value, op->e->dcs->config.name);

    if (what == TOLD_NOTHING)
        unreadable(op);
    else if (op->req->op == DCS_RELEASE_LEADER && mine)
        send_release(op, entry.mod);
    else if (op->req->op == DCS_RELEASE_LEADER && what == TOLD_ABSENT)
        etcd3_op_finish(op);
    else if (mine && !strcmp(entry.lease, op->lease))
        leader_is_ours(op);
    else if (what == TOLD_THERE && !mine)
        conflict(op, &entry, what);
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

void etcd3_op_answer(struct etcd3_call *c, const struct pgv_error *err)
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
void etcd3_op_leased(struct etcd3_op *op)
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
        send_take(op);
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

void etcd3_op_begin(struct etcd3_op *op)
{
    struct etcd3 *e = op->e;
    const struct etcd3_kv *kv;
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
        kv = etcd3_cache_get(&e->cache, "leader");
        if (kv && kv->mod && pgv_str_eqz(kv->value, e->dcs->config.name))
            send_release(op, kv->mod);
        else
            send_check(op);
        break;
    case DCS_CREATE_INITIALIZE:
        send_initialize(op);
        break;
    case DCS_SET_INITIALIZE:
        send_put(op, "initialize", value, NULL, version_guard(op));
        break;
    case DCS_DELETE_INITIALIZE:
        send_delete(op, "initialize", version_guard(op));
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
