/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/etcd3_cache.c - the keys under our prefix as far as we know them, and the view built of them.
 *
 * Knowledge comes from full reads (linearizable), from the watch, from our own writes and from the
 * single keys that refused transactions tell. All of it is ordered by etcd's revisions: a key's
 * newer mod_revision wins, whatever comes in which order. complete_rev is the revision up to which
 * nothing is missing; a key may be newer than it (our own write, before the watch told it), and a
 * deleted key is remembered until complete_rev has passed its deletion.
 *
 * The view is built anew from the keys whenever something changed, at most once per turn of the
 * loop, into the other one of two snapshots that were allocated at start.
 */
#include "dcs/etcd3.h"

#include "base/clock.h"
#include "base/log.h"

#include "base/banned.h"

/* ---- keys ----------------------------------------------------------------------------------- */

static unsigned change_of(struct pgv_str key)
{
    static const struct {
        const char *key;
        unsigned change;
    } changes[] = {
        { "leader", DCS_CHANGED_LEADER },         { "status", DCS_CHANGED_STATUS },
        { "optime/leader", DCS_CHANGED_STATUS },  { "config", DCS_CHANGED_CONFIG },
        { "failover", DCS_CHANGED_FAILOVER },     { "sync", DCS_CHANGED_SYNC },
        { "initialize", DCS_CHANGED_INITIALIZE }, { "history", DCS_CHANGED_HISTORY },
        { "failsafe", DCS_CHANGED_FAILSAFE },
    };

    if (pgv_str_starts(key, "members/"))
        return DCS_CHANGED_MEMBERS;
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++)
        if (pgv_str_eqz(key, changes[i].key))
            return changes[i].change;
    return 0;
}

static void changed(struct etcd3 *e, struct pgv_str key)
{
    e->changed |= change_of(key);
    e->dirty = true;
    etcd3_flush_soon(e);
}

static int compare(struct pgv_str a, struct pgv_str b)
{
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);

    return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* Where @key is, or would have to be. */
static struct etcd3_kv **find(struct etcd3_cache *c, struct pgv_str key)
{
    struct etcd3_kv **p = &c->first;

    while (*p && compare((*p)->key, key) < 0)
        p = &(*p)->next;
    return p;
}

static struct etcd3_kv *found(struct etcd3_cache *c, struct pgv_str key)
{
    struct etcd3_kv *kv = *find(c, key);

    return kv && pgv_str_eq(kv->key, key) ? kv : NULL;
}

/* A change is lost: nothing counts as complete until the next full read. */
static void lose(struct etcd3_cache *c)
{
    c->failed = true;
    c->complete_rev = 0;
}

static size_t bytes_of(const struct etcd3_kv *kv)
{
    return sizeof(*kv) + kv->key.n + kv->value.n + 2;
}

/* Unlink and free. */
static void remove_at(struct etcd3_cache *c, struct etcd3_kv **p)
{
    struct etcd3_kv *kv = *p;

    *p = kv->next;
    c->bytes -= bytes_of(kv);
    c->n--;
    c->n_live -= !kv->deleted;
    pgv_free(kv);
}

void etcd3_cache_done(struct etcd3_cache *c)
{
    while (c->first)
        remove_at(c, &c->first);
}

const struct etcd3_kv *etcd3_cache_get(const struct etcd3_cache *c, const char *key)
{
    const struct etcd3_kv *kv = c->first;

    while (kv && !pgv_str_eqz(kv->key, key))
        kv = kv->next;
    return kv && !kv->deleted ? kv : NULL;
}

/* Take a key in. @entry NULL: deleted at @mod. */
static void take(struct etcd3 *e, struct pgv_str key, const struct etcd3_entry *entry, uint64_t mod)
{
    struct etcd3_cache *c = &e->cache;
    struct etcd3_kv **p = find(c, key), *old = found(c, key), *kv;
    struct pgv_str value = entry ? entry->value : (struct pgv_str){ 0 };
    char *text;

    if (c->n >= ETCD3_KEYS_MAX ||
        c->bytes + sizeof(*kv) + key.n + value.n + 2 > ETCD3_VIEW_BYTES_MAX ||
        !(kv = pgv_zalloc(sizeof(*kv) + key.n + value.n + 2))) {
        lose(c);
        return;
    }
    text = (char *)(kv + 1);
    memcpy(text, key.p, key.n);
    if (value.n)
        memcpy(text + key.n + 1, value.p, value.n);
    kv->key = (struct pgv_str){ text, key.n };
    kv->value = (struct pgv_str){ text + key.n + 1, value.n };
    kv->mod = mod;
    kv->deleted = !entry;
    if (entry)
        memcpy(kv->lease, entry->lease, sizeof(kv->lease));
    if (!kv->deleted || (old && !old->deleted))
        changed(e, kv->key);
    if (old)
        remove_at(c, p);
    kv->next = *p;
    *p = kv;
    c->bytes += bytes_of(kv);
    c->n++;
    c->n_live += !kv->deleted;
}

/* The same, unless we know the key as new as that already. */
static void take_news(struct etcd3 *e, struct pgv_str key, const struct etcd3_entry *entry,
                      uint64_t mod)
{
    const struct etcd3_kv *old = found(&e->cache, key);

    if (mod > (old ? old->mod : e->cache.complete_rev))
        take(e, key, entry, mod);
}

bool etcd3_entry_read(struct etcd3 *e, struct pgv_arena *a, const struct pgv_value *kv,
                      struct etcd3_entry *ret)
{
    struct pgv_str key64 = pgv_string(pgv_get(kv, "key"));
    struct pgv_str value64 = pgv_string(pgv_get(kv, "value"));
    size_t prefix_n = strlen(e->prefix);
    struct pgv_buf b;
    struct pgv_str key;
    bool ok = false;
    char *p;

    memset(ret, 0, sizeof(*ret));
    pgv_buf_init(&b, HTTPC_BODY_BYTES_MAX);
    if (!httpc_base64_decode(&b, key64)) {
        lose(&e->cache);
        goto out;
    }
    key = pgv_buf_view(&b);
    if (!pgv_str_starts(key, e->prefix))
        goto out;
    p = pgv_arena_dup(a, (struct pgv_str){ key.p + prefix_n, key.n - prefix_n });
    ret->key = (struct pgv_str){ p, key.n - prefix_n };
    pgv_buf_reset(&b);
    if (!p || !httpc_base64_decode(&b, value64)) {
        lose(&e->cache);
        goto out;
    }
    p = pgv_arena_dup(a, pgv_buf_view(&b));
    if (!p) {
        lose(&e->cache);
        goto out;
    }
    ret->value = (struct pgv_str){ p, b.n };
    ret->mod = etcd3_u64(pgv_get(kv, "mod_revision"));
    etcd3_id(pgv_get(kv, "lease"), ret->lease);
    ok = true;
out:
    pgv_buf_done(&b);
    return ok;
}

void etcd3_cache_complete(struct etcd3 *e, uint64_t revision)
{
    struct etcd3_cache *c = &e->cache;
    struct etcd3_kv **p = &c->first;

    if (revision <= c->complete_rev)
        return;
    c->complete_rev = revision;
    while (*p) {
        if ((*p)->deleted && (*p)->mod <= revision)
            remove_at(c, p);
        else
            p = &(*p)->next;
    }
}

void etcd3_cache_take(struct etcd3 *e, struct pgv_str key, const struct etcd3_entry *entry,
                      uint64_t revision)
{
    const struct etcd3_kv *old = found(&e->cache, key);

    if (entry)
        take_news(e, key, entry, entry->mod ? entry->mod : revision);
    else if (old && !old->deleted)
        take_news(e, old->key, NULL, revision);
}

void etcd3_cache_forget(struct etcd3 *e)
{
    e->revision_seen = 0;
    lose(&e->cache);
    for (struct etcd3_kv *kv = e->cache.first; kv; kv = kv->next)
        kv->mod = 0;
}

/* Everything not newer than @revision and not in @kvs is gone. */
static void remove_missing(struct etcd3 *e, const struct etcd3_entry *kvs, size_t n,
                           uint64_t revision)
{
    struct etcd3_kv **p = &e->cache.first;

    while (*p) {
        struct etcd3_kv *kv = *p;
        bool there = kv->mod > revision;

        for (size_t i = 0; i < n && !there; i++)
            there = pgv_str_eq(kvs[i].key, kv->key);
        if (there) {
            p = &kv->next;
            continue;
        }
        if (!kv->deleted) {
            changed(e, kv->key);
            /* Somebody else deleted it; when the watch had told us, it would not be here. */
            etcd3_watch_expect(e, e->watch.rev + 1);
        }
        remove_at(&e->cache, p);
    }
}

void etcd3_cache_delete_all(struct etcd3 *e, uint64_t revision)
{
    struct etcd3_kv *kv = e->cache.first, *next;

    for (; kv; kv = next) {
        next = kv->next; /* taking a key in replaces just that key */
        if (!kv->deleted && kv->mod <= revision)
            take(e, kv->key, NULL, revision);
    }
}

bool etcd3_cache_take_all(struct etcd3 *e, const struct etcd3_call *call, struct pgv_error *err)
{
    struct etcd3_cache *c = &e->cache;
    const struct pgv_value *kvs = pgv_get(call->answer.body, "kvs");
    uint64_t revision = call->answer.revision;
    struct etcd3_entry *entries = NULL;
    size_t n = pgv_is(kvs, PGV_LIST) ? kvs->u.c.n : 0, i = 0;
    struct pgv_arena scratch;
    bool ok = false;

    pgv_arena_init(&scratch, ETCD3_ANSWER_BYTES_MAX);
    if (!revision) {
        pgv_fail(err, PGV_EUNREACHABLE, "etcd's answer has no revision");
        goto out;
    }
    if (revision < call->rev_floor && revision < c->complete_rev) {
        /* It cannot be: the answer is linearizable and we knew more before we asked. */
        pgv_log(PGV_WARNING, "dcs", "etcd went back in time revision=%llu before=%llu",
                (unsigned long long)revision, (unsigned long long)c->complete_rev);
        etcd3_cache_forget(e);
        e->revision_seen = revision;
    }
    if (revision >= c->complete_rev) {
        entries = pgv_arena_alloc(&scratch, (n ? n : 1) * sizeof(*entries));
        if (!entries) {
            pgv_fail(err, PGV_ENOMEM, "no memory for the cluster's keys");
            goto out;
        }
        c->failed = false;
        PGV_EACH(kv, kvs)
        {
            if (!etcd3_entry_read(e, &scratch, kv, &entries[i]))
                continue;
            if (entries[i].mod > e->watch.rev)
                etcd3_watch_expect(e, entries[i].mod);
            i++;
        }
        remove_missing(e, entries, i, revision);
        for (size_t k = 0; k < i; k++) {
            const struct etcd3_kv *old = found(c, entries[k].key);

            if (!old || (old->mod <= revision && (old->mod != entries[k].mod || old->deleted)))
                take(e, entries[k].key, &entries[k], entries[k].mod);
        }
        if (c->failed) {
            pgv_fail(err, PGV_EUNREACHABLE,
                     "the cluster's keys do not fit (limits: %u bytes, %d keys)",
                     ETCD3_VIEW_BYTES_MAX, ETCD3_KEYS_MAX);
            goto out;
        }
        etcd3_cache_complete(e, revision);
    }
    if (!c->loaded) {
        c->loaded = true;
        e->dirty = true; /* an empty cluster is news as well */
        etcd3_flush_soon(e);
    }
    c->read_ms = pgv_clock_ms();
    c->read_wall_us = pgv_wall_us();
    ok = true;
out:
    pgv_arena_done(&scratch);
    return ok;
}

/* ---- the view ------------------------------------------------------------------------------- */

bool etcd3_view_update(struct etcd3 *e, bool *ret_replaced)
{
    struct dcs_snapshot *next = e->views[!e->view_now], *now = e->views[e->view_now];
    char version[DCS_VERSION_BYTES];

    *ret_replaced = false;
    if (!e->cache.loaded || e->cache.failed)
        return !e->dirty;
    if (e->dirty || !e->dcs->view) {
        dcs_snapshot_reset(next);
        for (const struct etcd3_kv *kv = e->cache.first; kv; kv = kv->next) {
            if (kv->deleted)
                continue;
            snprintf(version, sizeof(version), "%llu", (unsigned long long)kv->mod);
            dcs_snapshot_put(next, kv->key, kv->value, version, kv->lease);
        }
        dcs_snapshot_finish(next);
        if (next->failed) {
            dcs_snapshot_done(next);
            return false;
        }
        e->view_now = !e->view_now;
        e->dcs->view = next;
        e->dirty = false;
        dcs_snapshot_done(now);
        now = next;
        *ret_replaced = true;
    }
    now->read_ms = e->cache.read_ms;
    now->read_wall_us = e->cache.read_wall_us;
    now->revision = e->cache.complete_rev;
    return true;
}
