/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/etcd3_answer.c - what an answer of etcd's JSON gateway says.
 *
 * The heart of it is etcd3_classify(): a transient error that is taken for 'no' demotes a healthy
 * primary, a 'no' taken for silence leaves one running. So every error is sorted by what may be
 * concluded from it; what we do not know counts as 'cannot say' and is asked again elsewhere.
 * Sources: etcd, api/v3rpc/rpctypes/error.go; grpc codes; Patroni, etcd3.py _raise_for_data().
 */
#include "dcs/etcd3.h"

#include "base/parse.h"

#include "base/banned.h"

enum grpc {
    GRPC_CANCELED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};

/*
 * Texts decide before codes: errors that a follower forwards from the leader arrive with code 2
 * (unknown), whatever they were (Patroni 4.1.3 learned it for 'not a primary lessor').
 */
static const struct {
    const char *text;
    enum etcd3_verdict verdict;
} by_text[] = {
    { "not a primary lessor", ETCD3_NODE_FAILED },
    { "server stopped", ETCD3_NODE_FAILED },
    { "no leader", ETCD3_AGAIN },
    { "not leader", ETCD3_AGAIN },
    { "leader changed", ETCD3_AGAIN },
    { "leadership transfer", ETCD3_AGAIN },
    { "request timed out", ETCD3_AGAIN },
    { "context deadline exceeded", ETCD3_AGAIN },
    { "context canceled", ETCD3_AGAIN },
    { "too many requests", ETCD3_AGAIN },
    { "unhealthy cluster", ETCD3_AGAIN },
    { "apply request took too long", ETCD3_AGAIN },
    { "requested lease not found", ETCD3_LEASE_LOST },
    { "authentication is not enabled", ETCD3_AUTH_OFF },
    { "invalid user ID or password", ETCD3_BAD_LOGIN },
    { "user name is empty", ETCD3_AUTH },
    { "user name not found", ETCD3_AUTH },
    { "invalid auth token", ETCD3_AUTH },
    { "revision of auth store is old", ETCD3_AUTH },
    { "permission denied", ETCD3_DENIED },
};

enum etcd3_verdict etcd3_classify(int grpc_code, const char *message)
{
    for (size_t i = 0; i < sizeof(by_text) / sizeof(*by_text); i++)
        if (strstr(message, by_text[i].text))
            return by_text[i].verdict;
    switch (grpc_code) {
    case GRPC_CANCELED:
    case GRPC_DEADLINE_EXCEEDED:
    case GRPC_FAILED_PRECONDITION:
    case GRPC_ABORTED:
        return ETCD3_AGAIN;
    case GRPC_PERMISSION_DENIED:
        return ETCD3_DENIED;
    case GRPC_UNAUTHENTICATED:
        return ETCD3_AUTH;
    case GRPC_INVALID_ARGUMENT:
    case GRPC_NOT_FOUND:
    case GRPC_ALREADY_EXISTS:
    case GRPC_RESOURCE_EXHAUSTED: /* the database is full: it stays so until somebody acts */
    case GRPC_OUT_OF_RANGE:
        return ETCD3_REFUSED;
    default: /* unknown, unimplemented, internal, unavailable, data loss, none at all */
        return ETCD3_NODE_FAILED;
    }
}

void etcd3_id(const struct pgv_value *v, char ret[DCS_VERSION_BYTES])
{
    struct pgv_str s = pgv_string(v);

    ret[0] = 0;
    if (pgv_is(v, PGV_INT)) {
        snprintf(ret, DCS_VERSION_BYTES, "%lld", (long long)v->u.i);
        return;
    }
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] < '0' || s.p[i] > '9') && !(i == 0 && s.p[0] == '-'))
            return;
    if (!pgv_copy(ret, DCS_VERSION_BYTES, s) || !strcmp(ret, "0"))
        ret[0] = 0;
}

uint64_t etcd3_u64(const struct pgv_value *v)
{
    char text[DCS_VERSION_BYTES];
    uint64_t u;

    etcd3_id(v, text);
    return pgv_parse_u64(pgv_str(text), &u) ? u : 0;
}

bool etcd3_scan(struct etcd3_scan *s, struct pgv_str text, size_t *ret_n)
{
    for (; s->at < text.n; s->at++) {
        char c = text.p[s->at];

        if (s->in_string) {
            if (s->escaped)
                s->escaped = false;
            else if (c == '\\')
                s->escaped = true;
            else if (c == '"')
                s->in_string = false;
        } else if (c == '"') {
            s->in_string = true;
        } else if (c == '{' || c == '[') {
            s->depth++;
            s->begun = true;
        } else if ((c == '}' || c == ']') && s->depth > 0) {
            s->depth--;
        }
        if (s->begun && !s->depth) {
            *ret_n = s->at + 1;
            *s = (struct etcd3_scan){ 0 };
            return true;
        }
    }
    return false;
}

static void say(struct etcd3_answer *ret, enum etcd3_verdict verdict, struct pgv_str message)
{
    ret->verdict = verdict;
    ret->body = NULL;
    pgv_copy_cut(ret->message, sizeof(ret->message), message);
    for (char *p = ret->message; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
}

/* The first of several spellings: the gateway changed them between versions. */
static const struct pgv_value *first_of(const struct pgv_value *map, const char *const *keys)
{
    for (; *keys; keys++) {
        const struct pgv_value *v = pgv_get(map, *keys);

        if (v)
            return v;
    }
    return NULL;
}

/* {"error":"text","code":5}, {"error":{"grpc_code":14,"message":"text"}}, and their variants. */
static void read_error(const struct pgv_value *doc, const struct pgv_value *error,
                       struct etcd3_answer *ret)
{
    static const char *const codes[] = { "grpc_code", "code", "Code", NULL };
    static const char *const texts[] = { "message", "error", "Error", "Message", NULL };
    const struct pgv_value *from = pgv_is(error, PGV_MAP) ? error : doc;
    struct pgv_str message = pgv_string(first_of(from, texts));

    if (!message.n)
        message = pgv_string(error);
    ret->grpc_code = (int)pgv_int_like(first_of(from, codes), NULL, GRPC_UNKNOWN);
    say(ret, ETCD3_NODE_FAILED, message.n ? message : PGV_STR("an error without a text"));
    ret->verdict = etcd3_classify(ret->grpc_code, ret->message);
}

static void read_header(const struct pgv_value *body, struct etcd3_answer *ret)
{
    const struct pgv_value *header = pgv_get(body, "header");

    ret->has_header = pgv_is(header, PGV_MAP);
    etcd3_id(pgv_get(header, "cluster_id"), ret->cluster_id);
    ret->revision = etcd3_u64(pgv_get(header, "revision"));
    ret->raft_term = etcd3_u64(pgv_get(header, "raft_term"));
}

void etcd3_answer_read(struct pgv_arena *a, int http_status, struct pgv_str text, bool stream,
                       struct etcd3_answer *ret)
{
    static const char *const errors[] = { "error", "Error", NULL };
    struct etcd3_scan scan = { 0 };
    struct pgv_value *doc = NULL;
    const struct pgv_value *error;
    struct pgv_error err = { 0 };
    size_t n;
    char why[96];

    *ret = (struct etcd3_answer){ 0 };
    if (stream && etcd3_scan(&scan, text, &n))
        text.n = n;
    if (!pgv_json_parse(a, text, &doc, &err) || !pgv_is(doc, PGV_MAP)) {
        if (err.code == PGV_ENOMEM && !a->over) { /* our trouble, not the node's */
            say(ret, ETCD3_AGAIN, PGV_STR("no memory to read the answer"));
            return;
        }
        snprintf(why, sizeof(why), "HTTP status %d without a JSON object", http_status);
        say(ret, ETCD3_NODE_FAILED, pgv_str(why));
        ret->not_gateway = http_status == 404;
        return;
    }
    error = first_of(doc, errors);
    if (error || http_status >= 400) {
        read_error(doc, error, ret);
        return;
    }
    ret->verdict = ETCD3_OK;
    ret->body = stream ? pgv_get(doc, "result") : doc;
    if (!pgv_is(ret->body, PGV_MAP)) {
        say(ret, ETCD3_NODE_FAILED, PGV_STR("a stream document without a result"));
        return;
    }
    read_header(ret->body, ret);
}

/* Leading numbers of '3.4.23' and of '3.6.0-rc.1'; Patroni stumbles over the latter. */
static void read_version(struct pgv_str s, unsigned v[3])
{
    unsigned part = 0;

    v[0] = v[1] = v[2] = 0;
    for (size_t i = 0; i < s.n && part < 3; i++) {
        if (s.p[i] >= '0' && s.p[i] <= '9' && v[part] < 100000)
            v[part] = v[part] * 10 + (unsigned)(s.p[i] - '0');
        else if (s.p[i] == '.')
            part++;
        else
            break;
    }
}

enum etcd3_verdict etcd3_api_read(struct pgv_str text, struct etcd3_api *ret)
{
    struct pgv_arena a;
    struct pgv_value *doc = NULL;
    struct pgv_error err = { 0 };
    unsigned cluster[3], server[3];
    const char *path = "/v3";
    enum etcd3_verdict verdict = ETCD3_NODE_FAILED;

    pgv_arena_init(&a, 64 * 1024);
    if (!pgv_json_parse(&a, text, &doc, &err)) {
        if (err.code == PGV_ENOMEM && !a.over)
            verdict = ETCD3_AGAIN;
        goto out;
    }
    read_version(pgv_string(pgv_get(doc, "etcdcluster")), cluster);
    read_version(pgv_string(pgv_get(doc, "etcdserver")), server);
    if (!server[0] || !cluster[0]) /* 'not_decided' while the cluster is being formed */
        goto out;
    if (cluster[0] < 3 || server[0] < 3 || (server[0] == 3 && !server[1] && server[2] < 4)) {
        verdict = ETCD3_TOO_OLD;
        goto out;
    }
    if (cluster[0] == 3 && cluster[1] < 3)
        path = "/v3alpha";
    else if (cluster[0] == 3 && cluster[1] == 3)
        path = "/v3beta";
    *ret = (struct etcd3_api){ .final = !strcmp(path, "/v3"),
                               .auth = cluster[0] > 3 || cluster[1] >= 3,
                               .watch = cluster[0] > 3 || cluster[1] >= 1 };
    if (pgv_copyz(ret->path, sizeof(ret->path), path))
        verdict = ETCD3_OK;
out:
    pgv_arena_done(&a);
    return verdict;
}
