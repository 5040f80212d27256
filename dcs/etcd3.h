/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/etcd3.h - private to the etcd3 files: what they share. Nobody else includes it.
 *
 *   etcd3.c         the table of functions, the life of client and requests
 *   etcd3_ops.c     what each request sends and what it concludes
 *   etcd3_call.c    one RPC: which node, hedging, authentication, time budget
 *   etcd3_answer.c  what an answer says: JSON apart, errors sorted into verdicts
 *   etcd3_lease.c   the session: grant, keepalive, loss
 *   etcd3_watch.c   the stream that keeps the view live, and the doubts about it
 *   etcd3_cache.c   the keys we know, by revision, and the view built from them
 *   etcd3_nodes.c   the list of endpoints: discovery, refresh, health
 *   etcd3_config.c  the configuration section
 *
 * API: etcd's v3 JSON gateway. 64-bit ids and revisions arrive as texts and are kept as texts or
 * uint64_t; they never pass through a double.
 */
#pragma once

#include "dcs/dcs.h"
#include "http/httpc.h"

#define ETCD3_NODES_MAX 16
#define ETCD3_URL_BYTES 288
#define ETCD3_PREFIX_BYTES 512
#define ETCD3_TOKEN_BYTES 4096
#define ETCD3_ATTEMPTS 4                /* of one call, those being canceled included */
#define ETCD3_PARALLEL 3                /* of one call, at work at the same time */
#define ETCD3_HEDGE_MS 1000             /* a node silent for so long gets company */
#define ETCD3_SICK_MS 15000             /* a node that failed is asked last for so long */
#define ETCD3_EXPECT_MS 1000            /* the watch must tell within so long what others know */
#define ETCD3_STREAM_IDLE_S 5           /* the kernel probes a silent stream's path after it … */
#define ETCD3_STREAM_PATH_MS 8000       /* … and gives the path up after so long without a word */
#define ETCD3_VIEW_BYTES_MAX (4u << 20) /* of keys and values under the prefix */
#define ETCD3_KEYS_MAX 4096
#define ETCD3_ANSWER_BYTES_MAX (24u << 20) /* of an answer once parsed */

struct etcd3;

/* ---- etcd3_config.c ------------------------------------------------------------------------- */

struct etcd3_config {
    struct {
        char host[256];
        int port;
    } hosts[ETCD3_NODES_MAX];
    unsigned n_hosts;
    bool https;
    bool proxies;     /* the endpoints are proxies: never ask for the member list */
    bool spread_host; /* one host over http: all its addresses are endpoints */
    bool has_login;
    char srv[256], srv_suffix[64];
    char username[256], password[1024];
    char cacert[512], cert[512], key[512];
};

bool etcd3_config_read(const struct pgv_value *section, struct etcd3_config *ret,
                       struct pgv_error *err) PGV_MUST_CHECK;
/** NULL in *@ret_tls when the endpoints are plain http. */
bool etcd3_config_tls(const struct etcd3_config *c, struct tls_context **ret_tls,
                      struct pgv_error *err) PGV_MUST_CHECK;

/* ---- etcd3_answer.c ------------------------------------------------------------------------- */

/**
 * What an answer means for the one who asked. The first five are handled within the call; a call
 * ends with ETCD3_OK, ETCD3_LEASE_LOST, one of the refusals, or without any (deadline).
 */
enum etcd3_verdict {
    ETCD3_OK,
    ETCD3_NODE_FAILED, /* this node cannot say: ask another one, avoid this one for a while */
    ETCD3_AGAIN,       /* the cluster cannot say now (election, overload): ask again */
    ETCD3_AUTH,        /* the token is missing, old or unknown: get another one */
    ETCD3_AUTH_OFF,    /* authentication is not enabled: go without token */
    ETCD3_DENIED,      /* no permission; a refusal when it was said to a fresh token */
    ETCD3_LEASE_LOST,  /* the lease named does not exist */
    ETCD3_BAD_LOGIN,   /* wrong user or password */
    ETCD3_REFUSED,     /* any other definite no */
    ETCD3_TOO_OLD,     /* etcd before 3.0 */
};

struct etcd3_answer {
    enum etcd3_verdict verdict;
    const struct pgv_value *body; /* the object (of a stream: its 'result'); NULL on errors */
    uint64_t revision, raft_term; /* of the header; 0: not told */
    char cluster_id[DCS_VERSION_BYTES];
    int grpc_code;
    bool has_header;
    bool not_gateway; /* HTTP 404 and no JSON: the path does not exist */
    char message[160];
};

/** @stream: take the first document only and unwrap 'result' (keepalive, watch). */
void etcd3_answer_read(struct pgv_arena *a, int http_status, struct pgv_str text, bool stream,
                       struct etcd3_answer *ret);
enum etcd3_verdict etcd3_classify(int grpc_code, const char *message);
/** A 64-bit id or revision: text or integer to decimal text; "" when there is none. */
void etcd3_id(const struct pgv_value *v, char ret[DCS_VERSION_BYTES]);
uint64_t etcd3_u64(const struct pgv_value *v);

/** Cuts a stream of JSON documents: feed positions, get ends. { 0 } is the start. */
struct etcd3_scan {
    size_t at; /* bytes looked at */
    unsigned depth;
    bool in_string, escaped, begun;
};
/** True when a document ends within @text: *@ret_n is its length from the start of @text. */
bool etcd3_scan(struct etcd3_scan *s, struct pgv_str text, size_t *ret_n);

/** '/v3' and so on from GET /version's answer. Source: Patroni, _ensure_version_prefix(). */
struct etcd3_api {
    char path[12]; /* empty: not known yet */
    bool final;    /* '/v3': does not change any more */
    bool auth, watch;
};
/** ETCD3_OK, ETCD3_TOO_OLD, ETCD3_AGAIN when we had no memory to read it, or ETCD3_NODE_FAILED. */
enum etcd3_verdict etcd3_api_read(struct pgv_str text, struct etcd3_api *ret);

/* ---- etcd3_nodes.c -------------------------------------------------------------------------- */

struct etcd3_node {
    char url[ETCD3_URL_BYTES]; /* 'http://10.0.0.1:2379'; empty: free */
    unsigned serial;           /* new whenever the slot gets another node */
    bool member;               /* in the member list */
    bool configured;
    uint64_t sick_until_ms;
};

/* ---- etcd3_call.c --------------------------------------------------------------------------- */

enum etcd3_step { ETCD3_STEP_VERSION, ETCD3_STEP_LOGIN, ETCD3_STEP_RPC };

struct etcd3_attempt {
    struct httpc_req http;
    struct etcd3_call *call;
    enum etcd3_step step;
    bool busy, dropped;
    bool fresh; /* on a connection of its own: a dead one from the pool was met before */
    unsigned node, serial, token_gen;
    uint64_t started_ms; /* of the attempt */
    uint64_t sent_ms;    /* of the step at work */
};

struct etcd3_call {
    void *data;
    struct etcd3 *e;
    struct httpc *client;
    const char *path; /* '/kv/range' */
    struct pgv_buf body;
    bool stream; /* the answer is a stream: its first document counts */
    int pinned;  /* a node, or -1 for any */
    uint64_t deadline_ms;
    /** @err NULL: c->answer is ETCD3_OK. Else answer.verdict tells which refusal it was, or
     *  ETCD3_AGAIN when there was no usable answer (PGV_EUNREACHABLE). May start @c again. */
    void (*cb)(struct etcd3_call *c, const struct pgv_error *err);
    /* results */
    struct etcd3_answer answer;
    struct pgv_arena arena; /* owns the answer */
    uint64_t sent_ms;       /* of the request that was answered */
    bool ambiguous;         /* another request of this call may have been carried out as well */
    unsigned node;          /* who answered */
    uint64_t rev_floor;     /* known when it began: a linearizable answer cannot be older */
    /* private */
    bool running;
    unsigned tried; /* nodes of this round, as bits */
    unsigned n_sent, auth_tries, denied, n_stale;
    unsigned refused_gen; /* the last token that was refused; with auth_tries */
    uint64_t delay_ms, pause_until_ms, wake_ms;
    struct pgv_error last; /* why the last attempt failed */
    struct etcd3_attempt attempts[ETCD3_ATTEMPTS];
    struct etcd3_call *next;
};

void etcd3_call_init(struct etcd3_call *c, struct etcd3 *e, struct httpc *client,
                     void (*cb)(struct etcd3_call *c, const struct pgv_error *err), void *data);
/** Only when it is idle. */
void etcd3_call_done(struct etcd3_call *c);
/** Empties the body for the next request; the answer is gone. */
struct pgv_buf *etcd3_call_body(struct etcd3_call *c);
/** path, body, deadline_ms (and stream, pinned) are set. Cannot fail to start. */
void etcd3_call_start(struct etcd3_call *c);
/** No callback any more; not idle until the requests in flight have ended. */
void etcd3_call_stop(struct etcd3_call *c);
bool etcd3_call_idle(const struct etcd3_call *c);
void etcd3_calls_wake(struct etcd3 *e, uint64_t now_ms);
/** The endpoints changed: whoever pauses may try again. */
void etcd3_calls_retry(struct etcd3 *e);
/**
 * The header of any answer of @node: false when it is of another cluster than the members are, or
 * behind the raft term we know. Only answers that need a majority (@by_quorum) tell that term, up
 * or down: a node's own term runs ahead when it stands for election in vain, and one node that did
 * so before it froze must not make all others look stale. Source: Patroni, StaleEtcdNodeGuard,
 * which believes every header.
 */
bool etcd3_header_ok(struct etcd3 *e, unsigned node, const struct etcd3_answer *answer,
                     bool by_quorum);

/* ---- etcd3_cache.c -------------------------------------------------------------------------- */

struct etcd3_kv {
    struct etcd3_kv *next;
    struct pgv_str key, value; /* key relative to the prefix; terminated; in this same block */
    uint64_t mod;
    bool deleted; /* kept until complete_rev has passed it, so that nothing older revives it */
    char lease[DCS_VERSION_BYTES];
};

struct etcd3_cache {
    struct etcd3_kv *first; /* ordered by key */
    size_t bytes;
    unsigned n, n_live;
    uint64_t complete_rev; /* all changes up to it are in; single keys may be newer */
    bool loaded;           /* a full read went in */
    bool failed;           /* a change was lost (memory, size): only a full read repairs it */
    uint64_t read_ms;      /* of the last full read */
    int64_t read_wall_us;
};

/** One key as an answer tells it: base64 and texts apart. */
struct etcd3_entry {
    struct pgv_str key, value;
    uint64_t mod;
    char lease[DCS_VERSION_BYTES];
};
/** False: not under our prefix, or no memory (then the cache is marked failed). Lives in @a. */
bool etcd3_entry_read(struct etcd3 *e, struct pgv_arena *a, const struct pgv_value *kv,
                      struct etcd3_entry *ret);

void etcd3_cache_done(struct etcd3_cache *c);
const struct etcd3_kv *etcd3_cache_get(const struct etcd3_cache *c, const char *key);
/** All keys as of the answer's revision. False (and err) when it could not be taken in. */
bool etcd3_cache_take_all(struct etcd3 *e, const struct etcd3_call *c, struct pgv_error *err);
/** One key as of @revision; @entry NULL: absent. */
void etcd3_cache_take(struct etcd3 *e, struct pgv_str key, const struct etcd3_entry *entry,
                      uint64_t revision);
void etcd3_cache_delete_all(struct etcd3 *e, uint64_t revision);
/** The store is another one: all we know is older than anything it says. */
void etcd3_cache_forget(struct etcd3 *e);
void etcd3_cache_complete(struct etcd3 *e, uint64_t revision);
/** Build the view when something changed; false when memory is short (the old view stays). */
bool etcd3_view_update(struct etcd3 *e, bool *ret_replaced);

/* ---- etcd3_lease.c -------------------------------------------------------------------------- */

struct etcd3_op;

struct etcd3_lease {
    char id[DCS_VERSION_BYTES];      /* empty: none */
    uint64_t proven_ms;              /* when the request went out that proved it last */
    uint64_t asked_ttl_ms;           /* of the grant at work */
    const struct etcd3_op *granting; /* the request that is getting a new one */
};

/** Make sure of the lease, then etcd3_op_leased(). @max_age_ms: an older proof is renewed first. */
void etcd3_lease_ensure(struct etcd3_op *op, uint64_t max_age_ms);
/** The store said that the lease is gone. */
void etcd3_lease_forget(struct etcd3 *e, const char *id);
/** @op ended in any way: others may go on. */
void etcd3_lease_release(struct etcd3 *e, const struct etcd3_op *op);
/** Answers of calls started by etcd3_lease_ensure(). */
void etcd3_lease_answer(struct etcd3_op *op, const struct pgv_error *err);

/* ---- etcd3_watch.c -------------------------------------------------------------------------- */

enum etcd3_watch_state {
    ETCD3_WATCH_OFF,
    ETCD3_WATCH_PAUSE,
    ETCD3_WATCH_RANGE,
    ETCD3_WATCH_CONNECTING,
    ETCD3_WATCH_LIVE,
};

struct etcd3_watch {
    enum etcd3_watch_state state;
    struct etcd3_call range, probe;
    struct httpc_req http;
    bool http_busy;
    bool complained; /* about not being able to begin; once until it follows again */
    unsigned node, serial;
    struct pgv_buf text;
    struct etcd3_scan scan;
    struct pgv_arena arena;
    uint64_t rev;             /* delivered up to */
    uint64_t expect_rev;      /* known from elsewhere: must be delivered soon */
    uint64_t expect_since_ms; /* 0: nothing is missing */
    uint64_t floor_rev;       /* the store's revision when the last probe went out */
    uint64_t heard_ms, began_ms, pause_ms;
    uint64_t proved_ms; /* when one who asks in each cycle was last told that nothing is missing */
    uint64_t due_ms;    /* when to look again */
    bool probe_with_cycle;
};

void etcd3_watch_init(struct etcd3 *e);
void etcd3_watch_done(struct etcd3 *e);
void etcd3_watch_stop(struct etcd3 *e);
bool etcd3_watch_idle(const struct etcd3 *e);
void etcd3_watch_wake(struct etcd3 *e, uint64_t now_ms);
/** A change of our keys at @revision is known: the stream must deliver it within a second. */
void etcd3_watch_expect(struct etcd3 *e, uint64_t revision);
/** An answer tells of @revision: when the stream has delivered up to it, its silence is right. */
void etcd3_watch_heard(struct etcd3 *e, uint64_t revision);
/** A question about the lease has gone out. Where others write to the store, its answer will not
 *  tell that nothing is missing: the probe that is due before the next one goes with it, so that
 *  we wake for both at once. */
void etcd3_watch_asked(struct etcd3 *e);
/** The node failed somebody: the stream is cut. It was silent: it is asked what it knows. */
void etcd3_watch_node_failed(struct etcd3 *e, unsigned node);
void etcd3_watch_node_silent(struct etcd3 *e, unsigned node);
/** The stream is not to be trusted: cut it and begin again with a full read. */
void etcd3_watch_cut(struct etcd3 *e, const char *why);

/* ---- etcd3_nodes.c -------------------------------------------------------------------------- */

struct etcd3_discovery {
    struct etcd3_call members;
    struct names_query host;
    struct names_srv_query srv;
    struct httpc peer_http;
    struct httpc_req peer;
    bool host_busy, srv_busy, peer_busy, loading;
    bool again;               /* the configuration changed while it was loading */
    bool complained;          /* about names; once until they are found */
    unsigned service, target; /* of the SRV services, and of the targets of one */
    bool https;               /* scheme of the service that was found */
    uint64_t refresh_at_ms, loaded_ms;
};

bool etcd3_nodes_init(struct etcd3 *e, struct pgv_error *err);
/** Look for endpoints as configured. */
void etcd3_nodes_begin(struct etcd3 *e);
void etcd3_nodes_done(struct etcd3 *e);
void etcd3_nodes_stop(struct etcd3 *e);
bool etcd3_nodes_idle(const struct etcd3 *e);
void etcd3_nodes_wake(struct etcd3 *e, uint64_t now_ms);
/** Take the configuration over: what was known of the old endpoints does not count. Then begin. */
bool etcd3_nodes_renew(struct etcd3 *e, const struct etcd3_config *config, struct pgv_error *err);
/** Nobody answers: look for endpoints anew. At most every few seconds. */
void etcd3_nodes_reload(struct etcd3 *e);
/** The best node that is not in @tried; -1: none. */
int etcd3_nodes_pick(const struct etcd3 *e, unsigned tried);
void etcd3_node_failed(struct etcd3 *e, unsigned node, unsigned serial, const char *why);
/** It has not answered yet while others were expected to: asked last for a while, no more. */
void etcd3_node_silent(struct etcd3 *e, unsigned node, unsigned serial);
void etcd3_node_answered(struct etcd3 *e, unsigned node, unsigned serial, bool prefer);

/* ---- etcd3.c -------------------------------------------------------------------------------- */

struct etcd3_op {
    struct etcd3_call call;
    struct etcd3 *e;
    struct dcs_req *req; /* NULL once delivered */
    struct pgv_buf value;
    uint64_t lease_max_age_ms;
    int step;
    unsigned rebinds;
    uint64_t term;                 /* revision of the leader key that is released */
    char lease[DCS_VERSION_BYTES]; /* the lease the request at work named */
    uint64_t proven_ms;            /* and its proof */
    bool is_signed;                /* the transaction also touches our member key */
    bool waits_for_lease, finished, reserved;
    bool failed;
    struct pgv_error err;
    struct etcd3_op *next, *next_done;
};

struct etcd3 {
    struct dcs *dcs;
    uv_loop_t *loop;
    struct etcd3_config config;
    struct tls_context *tls;
    char prefix[ETCD3_PREFIX_BYTES], prefix_end[ETCD3_PREFIX_BYTES];
    struct httpc lease_http, http, watch_http;
    uv_timer_t timer, flush;
    uint64_t due_ms; /* what the timer is set to */
    unsigned open;   /* handles that are not closed yet */
    bool closing, closing_clients;

    struct etcd3_node nodes[ETCD3_NODES_MAX];
    unsigned current;
    struct etcd3_discovery discovery;

    struct etcd3_api api;
    char token[ETCD3_TOKEN_BYTES];
    unsigned token_gen;
    bool auth_off, ever_answered;
    char cluster_id[DCS_VERSION_BYTES];
    uint64_t raft_term;     /* of the last answer that a majority stood behind */
    uint64_t revision_seen; /* of the store, in any answer */

    struct etcd3_cache cache;
    struct dcs_snapshot *views[2];
    unsigned view_now;
    unsigned changed;
    bool dirty;
    uint64_t view_retry_ms;

    struct etcd3_lease lease;
    struct etcd3_watch watch;
    struct pgv_buf touched;                /* the member document as last written … */
    char touched_lease[DCS_VERSION_BYTES]; /* … and under which lease; empty: not yet */

    struct etcd3_call *calls;
    struct etcd3_op *ops, *done_first, **done_last;
    struct etcd3_op *renew; /* taken at start: renewing must not depend on memory */
    struct dcs_req *no_memory;
    uint64_t random;
};

/* ---- etcd3_ops.c ---------------------------------------------------------------------------- */

void etcd3_op_begin(struct etcd3_op *op);
/** Its lease is proven alive: op->lease, op->proven_ms. */
void etcd3_op_leased(struct etcd3_op *op);
void etcd3_op_answer(struct etcd3_call *c, const struct pgv_error *err);
/** A call of the op ended with an error or refusal: the op ends by the table there. */
void etcd3_op_failed_call(struct etcd3_op *op, const struct pgv_error *err);

/* ---- etcd3.c, continued --------------------------------------------------------------------- */

void etcd3_op_finish(struct etcd3_op *op);
void etcd3_op_fail(struct etcd3_op *op, enum pgv_code code, const char *fmt, ...) PGV_PRINTF(3, 4);
void etcd3_flush_soon(struct etcd3 *e);
/** Set the timer to the next thing that is due. Call after anything that changed a due time. */
void etcd3_arm(struct etcd3 *e);
uint64_t etcd3_random(struct etcd3 *e, uint64_t below);
void etcd3_seen(struct etcd3 *e);
