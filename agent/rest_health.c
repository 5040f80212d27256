/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_health.c - the tables of the health checks: path, query and world in, code out. Pure.
 *
 * Which check a path means is decided by substrings in a fixed order, so that '/foo-leader-x'
 * works; only the synchronous ones want the exact path. Leader codes follow the lease and nothing
 * else: a server that cannot be queried is still where writes must go while its lease is proven.
 * Source: Patroni, RestApiHandler.do_GET() (rest contract §3).
 */
#include "agent/rest.h"

#include <ctype.h>
#include <stdio.h>

#include "base/banned.h"

#define QUERY_VALUE_BYTES 1024 /* longer values match nothing and parse as nothing */

static bool contains(struct pgv_str s, const char *word)
{
    return s.n && memmem(s.p, s.n, word, strlen(word)) != NULL;
}

enum rest_probe rest_probe_of(struct pgv_str path)
{
    static const struct {
        const char *path;
        enum rest_probe probe;
    } exact[] = {
        { "/sync", REST_PROBE_SYNC },
        { "/synchronous", REST_PROBE_SYNC },
        { "/quorum", REST_PROBE_QUORUM },
        { "/async", REST_PROBE_ASYNC },
        { "/asynchronous", REST_PROBE_ASYNC },
        { "/read-only-quorum", REST_PROBE_READ_ONLY_QUORUM },
        { "/read-only-sync", REST_PROBE_READ_ONLY_SYNC },
        { "/read-only-synchronous", REST_PROBE_READ_ONLY_SYNC },
    };

    if (pgv_str_eqz(path, "/"))
        return REST_PROBE_PRIMARY;
    if (contains(path, "standby_leader") || contains(path, "standby-leader"))
        return REST_PROBE_STANDBY_LEADER;
    if (contains(path, "leader"))
        return REST_PROBE_LEADER;
    if (contains(path, "master") || contains(path, "primary") || contains(path, "read-write"))
        return REST_PROBE_PRIMARY;
    if (contains(path, "replica"))
        return REST_PROBE_REPLICA;
    if (contains(path, "read-only") && !contains(path, "sync") && !contains(path, "quorum"))
        return REST_PROBE_READ_ONLY;
    if (contains(path, "health"))
        return REST_PROBE_HEALTH;
    for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
        if (pgv_str_eqz(path, exact[i].path))
            return exact[i].probe;
    return REST_PROBE_NONE;
}

bool rest_probe_needs_look(enum rest_probe p)
{
    switch (p) {
    case REST_PROBE_STANDBY_LEADER:
    case REST_PROBE_LEADER:
    case REST_PROBE_PRIMARY:
    case REST_PROBE_HEALTH:
    case REST_PROBE_NONE:
        return false;
    case REST_PROBE_REPLICA:
    case REST_PROBE_READ_ONLY:
    case REST_PROBE_SYNC:
    case REST_PROBE_QUORUM:
    case REST_PROBE_ASYNC:
    case REST_PROBE_READ_ONLY_QUORUM:
    case REST_PROBE_READ_ONLY_SYNC:
        break;
    }
    return true;
}

void rest_target_trim(struct pgv_str *path, struct pgv_str *query)
{
    struct pgv_str head, tail;
    const char *p;

    if (pgv_str_cut(*path, '#', &head, &tail)) {
        *path = head;
        *query = (struct pgv_str){ 0 };
    }
    if (pgv_str_cut(*query, '#', &head, &tail))
        *query = head;
    /* http://host/path counts by its path */
    if (path->n && path->p[0] != '/' && (p = memmem(path->p, path->n, "://", 3)) != NULL) {
        struct pgv_str rest = { p + 3, path->n - (size_t)(p + 3 - path->p) };

        p = memchr(rest.p, '/', rest.n);
        *path = p ? (struct pgv_str){ p, rest.n - (size_t)(p - rest.p) } : PGV_STR("/");
    }
    /* ';params' of the last segment */
    p = path->n ? memrchr(path->p, '/', path->n) : NULL;
    tail = p ? (struct pgv_str){ p, path->n - (size_t)(p - path->p) } : *path;
    p = tail.n ? memchr(tail.p, ';', tail.n) : NULL;
    if (p)
        path->n = (size_t)(p - path->p);
}

struct codes {
    bool leader, primary, standby_leader, replica;
};

static uint64_t leader_position(const struct rest_world *w)
{
    return w->leader_optime > w->latest_end_lsn ? w->leader_optime : w->latest_end_lsn;
}

/* How far @position is behind; 0 when it is not, or nobody knows the leader's position. */
static int64_t lag_of(const struct rest_world *w, uint64_t position)
{
    uint64_t leader = leader_position(w);
    uint64_t behind = leader > position ? leader - position : 0;

    return behind > INT64_MAX ? INT64_MAX : (int64_t)behind;
}

static bool query_bytes(struct pgv_str query, const char *key, int64_t *ret)
{
    char text[QUERY_VALUE_BYTES];

    return httpd_query_get(query, key, text, sizeof(text)) &&
           pgv_parse_int(pgv_str(text), "B", ret);
}

/* Behind by more than ?lag=; unparsable is unlimited. A negative limit asks for more than level. */
static bool is_lagging(struct pgv_str query, const struct rest_world *w)
{
    uint64_t leader = leader_position(w);
    int64_t max;

    if (leader == 0 || !query_bytes(query, "lag", &max))
        return false;
    if (max < 0) /* then even being ahead by less than that is too little */
        return w->replayed < leader || w->replayed - leader < (uint64_t) - (max + 1) + 1;
    return leader > w->replayed && leader - w->replayed > (uint64_t)max;
}

static bool replica_is_fine(struct pgv_str query, const struct rest_world *w)
{
    char wanted[QUERY_VALUE_BYTES];

    if (w->noloadbalance || w->role != PGV_ROLE_REPLICA || w->state != PGV_STATE_RUNNING ||
        is_lagging(query, w))
        return false;
    return !httpd_query_get(query, "replication_state", wanted, sizeof(wanted)) ||
           strcmp(wanted, w->replication_state) == 0;
}

static struct codes codes_of(struct pgv_str query, const struct rest_world *w)
{
    struct codes c = { .replica = replica_is_fine(query, w) };

    if (!w->cluster_known && w->paused) {
        /* In pause without the store nobody takes over, so the role tells who is who. */
        c.primary = w->role == PGV_ROLE_PRIMARY;
        c.standby_leader = w->role == PGV_ROLE_STANDBY_LEADER;
        c.leader = c.primary || c.standby_leader;
    } else if (w->leader) {
        c.leader = true;
        if (w->standby_cluster) {
            c.replica = false;
            c.standby_leader = w->role == PGV_ROLE_REPLICA || w->role == PGV_ROLE_STANDBY_LEADER;
        } else {
            c.primary = true; /* whatever role and state are: it is about to be, or was asked to */
        }
    }
    return c;
}

struct tag_check {
    struct pgv_str query;
    const struct pgv_value *tags;
    bool ok;
};

static bool tag_matches(const struct pgv_value *tag, const char *wanted)
{
    struct pgv_buf text;
    bool same;

    if (!tag || tag->type == PGV_NULL)
        return false;
    if (tag->type == PGV_STRING)
        return pgv_str_eqz(tag->u.s, wanted);
    pgv_buf_init(&text, QUERY_VALUE_BYTES);
    pgv_value_text(&text, tag);
    for (size_t i = 0; i < text.n; i++)
        text.p[i] = (char)tolower((unsigned char)text.p[i]);
    same = !text.failed && strcmp(pgv_buf_cstr(&text), wanted) == 0;
    pgv_buf_done(&text);
    return same;
}

static bool check_tag(void *data, const char *key, const char *value)
{
    struct tag_check *check = data;
    char first[QUERY_VALUE_BYTES];

    if (strncmp(key, "tag_", 4) != 0 || !value[0])
        return true;
    /* Of a repeated key only the first value counts. */
    check->ok = httpd_query_get(check->query, key, first, sizeof(first)) &&
                tag_matches(pgv_get(check->tags, key + 4), first);
    return check->ok;
}

static bool tags_match(struct pgv_str query, const struct rest_world *w)
{
    struct tag_check check = { .query = query, .tags = w->tags, .ok = true };

    if (query.n)
        httpd_query_each(query, &check, check_tag);
    return check.ok;
}

int rest_health_code(enum rest_probe p, struct pgv_str query, const struct rest_world *w)
{
    struct codes c = codes_of(query, w);
    bool writable = c.primary || c.standby_leader, ok = false;

    switch (p) {
    case REST_PROBE_STANDBY_LEADER:
        return c.standby_leader ? 200 : 503;
    case REST_PROBE_LEADER:
        return c.leader ? 200 : 503;
    case REST_PROBE_PRIMARY:
        return c.primary ? 200 : 503;
    case REST_PROBE_REPLICA:
        ok = c.replica;
        break;
    case REST_PROBE_READ_ONLY:
        ok = writable || c.replica;
        break;
    case REST_PROBE_HEALTH:
        ok = w->state == PGV_STATE_RUNNING;
        break;
    case REST_PROBE_SYNC:
        ok = w->cluster_known && w->sync_standby && c.replica;
        break;
    case REST_PROBE_QUORUM:
        ok = w->cluster_known && w->quorum_standby && c.replica;
        break;
    case REST_PROBE_ASYNC:
        ok = w->cluster_known && !w->sync_standby && !w->quorum_standby && c.replica;
        break;
    case REST_PROBE_READ_ONLY_QUORUM:
        ok = w->cluster_known && (writable || (w->quorum_standby && c.replica));
        break;
    case REST_PROBE_READ_ONLY_SYNC:
        ok = w->cluster_known && (writable || (w->sync_standby && c.replica));
        break;
    case REST_PROBE_NONE:
        break;
    }
    return ok && tags_match(query, w) ? 200 : 503;
}

int rest_readiness_code(struct pgv_str query, const struct rest_world *w, int64_t maximum_lag_bytes,
                        char *ret_why, size_t why_bytes)
{
    char mode[16];
    bool write = httpd_query_get(query, "mode", mode, sizeof(mode)) && strcmp(mode, "write") == 0;
    int64_t lag = lag_of(w, write ? w->received : w->replayed), allowed;
    const char *why = NULL;

    if (w->leader)
        return 200;
    if (w->state != PGV_STATE_RUNNING)
        why = "PostgreSQL is not running";
    else if (strcmp(w->replication_state, "streaming") != 0)
        why = "PostgreSQL replication state is not streaming";
    else if (!w->cluster_known && !w->latest_end_lsn)
        why = "DCS is not accessible";
    if (why) {
        snprintf(ret_why, why_bytes, "%s", why);
        return 503;
    }
    if (!query_bytes(query, "lag", &allowed))
        allowed = maximum_lag_bytes;
    if (lag > allowed) {
        snprintf(ret_why, why_bytes, "Replication %s lag %lld exceeds maximum allowable %lld",
                 write ? "write" : "apply", (long long)lag, (long long)allowed);
        return 503;
    }
    return 200;
}
