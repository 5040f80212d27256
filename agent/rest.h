/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest.h - the REST API from inside: what its files share.
 *
 * A request comes in (rest.c), is checked (rest_access.c) and goes to its handler. Most answers
 * are given at once from memory. Those which need the server's status wait for one look that all
 * of them share (rest_status.c); those which need the store, the peers or the brain become a
 * struct rest_call, which lives until the last thing it asked has answered, even when its client
 * has gone. Nothing in here decides about the cluster: that is the brain's.
 */
#pragma once

#include "agent/agent.h"
#include "base/clock.h"
#include "base/parse.h"

struct rest;
struct rest_call;

/* Long-lived requests at once (restarts, switchovers, reads of the store); more get 503. */
#define REST_CALLS_MAX 64
/* Who follows /events at once; more get 503. */
#define REST_EVENTS_MAX 64
#define REST_BODY_ARENA_BYTES_MAX (8u << 20)
/* A status this young answers the next probe too: a thousand probes a second cost the server
 * fifty queries. Any change of the facts makes it stale at once. */
#define REST_LOOK_FRESH_MS 20
/* 'Once more' after a broken connection. Source: Patroni, Retry(delay=1) in its REST query. */
#define REST_RETRY_MS 1000

/* ---- rest_health.c: which code. Pure. --------------------------------------------------- */

enum rest_probe { /* what a path asks for (rest contract §3, first match wins) */
                  REST_PROBE_STANDBY_LEADER,
                  REST_PROBE_LEADER,
                  REST_PROBE_PRIMARY,
                  REST_PROBE_REPLICA,
                  REST_PROBE_READ_ONLY,
                  REST_PROBE_HEALTH,
                  REST_PROBE_SYNC,
                  REST_PROBE_QUORUM,
                  REST_PROBE_ASYNC,
                  REST_PROBE_READ_ONLY_QUORUM,
                  REST_PROBE_READ_ONLY_SYNC,
                  REST_PROBE_NONE,
};

/** What a health check looks at. */
struct rest_world {
    enum pgv_state state; /* UNKNOWN: running, but it could not be asked */
    enum pgv_role role;
    bool cluster_known;           /* a view of the cluster that is no older than ttl */
    bool paused, standby_cluster; /* by the global configuration */
    bool leader;                  /* our lease is proven now */
    bool sync_standby, quorum_standby;
    const char *replication_state; /* "" is none */
    uint64_t leader_optime;        /* of the status key; 0: unknown */
    uint64_t latest_end_lsn;       /* of the WAL receiver; 0: unknown */
    uint64_t received, replayed;
    bool noloadbalance;
    const struct pgv_value *tags; /* published */
};

/** What of a request target routing looks at: no scheme and host, no ;params, no #fragment. */
void rest_target_trim(struct pgv_str *path, struct pgv_str *query);
enum rest_probe rest_probe_of(struct pgv_str path);
/** Does the code of @p hang on the position of the server, or is memory enough? */
bool rest_probe_needs_look(enum rest_probe p);
int rest_health_code(enum rest_probe p, struct pgv_str query, const struct rest_world *w);
/** 200 or 503, and why not. @maximum_lag_bytes: maximum_lag_on_failover. */
int rest_readiness_code(struct pgv_str query, const struct rest_world *w, int64_t maximum_lag_bytes,
                        char *ret_why, size_t why_bytes);

/* ---- rest_status.c: the shared look and the status document ----------------------------- */

/** What the last status query said, copied. */
struct rest_look {
    struct postmaster_status st; /* replication_json is NULL here */
    struct pgv_buf replication;  /* the array as the REST API writes it; empty: none */
    uint64_t at_ms;
    bool fresh; /* until the facts change */
};

/** Answers @req now. @look: NULL when the server could not or should not be asked. */
typedef void (*rest_look_fn)(struct rest *r, struct httpd_req *req, const struct rest_look *look);

/** One request that waits for the look. */
struct rest_wait {
    struct rest *rest;
    struct httpd_req *req;
    rest_look_fn fn;
    bool may_retry;
    struct rest_wait **list, *next, *prev;
};

void rest_status_init(struct rest *r);
void rest_status_cancel(struct rest *r);
void rest_with_look(struct rest *r, struct httpd_req *req, bool may_retry, rest_look_fn fn);
/** The document into @b. @look as above. */
void rest_status_write(struct rest *r, const struct rest_look *look, struct pgv_buf *b);
void rest_world_fill(struct rest *r, const struct rest_look *look, struct rest_world *ret);
uint32_t rest_timeline(const struct rest *r, const struct postmaster_status *st);
void rest_metrics_write(struct rest *r, const struct rest_look *look, struct pgv_buf *b);
void rest_get_health(struct rest *r, struct httpd_req *req);
void rest_head_health(struct rest *r, struct httpd_req *req);
void rest_get_patroni(struct rest *r, struct httpd_req *req);
void rest_get_readiness(struct rest *r, struct httpd_req *req);
void rest_get_liveness(struct rest *r, struct httpd_req *req);
void rest_get_metrics(struct rest *r, struct httpd_req *req);

/** ', "job": {…}' while something long is under way, else nothing. */
void rest_put_job(struct pgv_buf *b, const struct agent *a);

/** The cluster as last read, if that is not older than ttl; else NULL. */
const struct dcs_snapshot *rest_cached_cluster(const struct agent *a);
/** The global configuration of a view, or the last known good one. */
const struct pgv_value *rest_global(const struct agent *a, const struct dcs_snapshot *view);

/* ---- rest_access.c: who may change things ----------------------------------------------- */

typedef void (*rest_handler)(struct rest *r, struct httpd_req *req);

/** What guards the unsafe endpoints; built from the restapi section. */
struct rest_access {
    struct pgv_buf auth; /* base64 of 'user:password'; empty: everybody */
    bool include_members, want_client_cert;
    struct rest_allowlist *allow;      /* in force */
    struct rest_allowlist *allow_next; /* its names are still being resolved */
};

bool rest_access_configure(struct rest *r, const struct pgv_value *restapi,
                           struct pgv_error *err) PGV_MUST_CHECK;
/** Runs @next when @req may pass, else answers it. @failsafe: members do not count (§2.3). */
void rest_access_check(struct rest *r, struct httpd_req *req, bool failsafe, rest_handler next);
void rest_access_close(struct rest *r);
/** Pure, for the above and for tests. */
struct rest_network {
    struct in6_addr addr; /* IPv4 as ::ffff:a.b.c.d */
    unsigned bits;
};
bool rest_network_parse(struct pgv_str text, struct rest_network *ret);
bool rest_network_has(const struct rest_network *n, const struct sockaddr_storage *peer);
/** The reason of a refusal, or NULL. @expected: base64 of 'user:password'. */
const char *rest_auth_refusal(struct pgv_str expected, struct pgv_str header);

/* ---- rest.c: calls and answers -----------------------------------------------------------------
 */

/** A request that asks the store, the peers or the brain before it is answered. */
struct rest_call {
    struct rest *rest;
    struct httpd_req *req; /* NULL: answered, or the client has gone */
    struct pgv_arena arena;
    struct pgv_value *body;                                         /* an object */
    void (*step)(struct rest_call *c, const struct pgv_error *err); /* after the store answered */
    void (*world)(struct rest_call *c);   /* or NULL: look again, the world has changed */
    void (*aborted)(struct rest_call *c); /* or NULL: forget what else was asked */
    struct dcs_req dcs;
    bool dcs_busy, needs_read;
    struct agent_request ask;
    bool asked;
    uv_timer_t timer;
    bool timer_open;
    struct rest_call *next, *prev;
};

struct rest_listener {
    struct rest *rest;
    struct httpd http;
};

struct rest {
    struct agent *agent;
    struct rest_listener *listener; /* NULL: the name to listen on is still being resolved */
    unsigned n_open;                /* listeners, timers and queries that must end before we do */
    char listen[PGV_URL_BYTES];     /* as configured */
    char listen_host[256], listen_queried[256]; /* a name to be resolved, else empty */
    int listen_port;
    char bound_host[256]; /* in use */
    int bound_port;
    struct names_query listen_query;
    bool listen_query_busy;
    uv_timer_t listen_timer;

    struct tls_context *tls;
    struct pgv_buf tls_key; /* the TLS options in use, to see whether they changed */
    char cert_serial[128];
    struct pgv_buf extra_headers;
    const char *server_name;
    char api_url[PGV_URL_BYTES];
    uint64_t opened_ms;
    struct rest_access access;

    struct rest_look look;
    struct postmaster_status_req status_req;
    bool looking;
    struct rest_wait *waiting, *retrying; /* rings: first->prev is the last */
    uint64_t asked_us;                    /* when the look under way began */
    uv_timer_t retry_timer;
    struct postmaster_facts facts_seen;
    struct pgv_buf out; /* the answer under construction */

    struct httpd_req *events[REST_EVENTS_MAX]; /* who follows /events */
    unsigned n_events;
    uv_timer_t events_timer;
    uint64_t events_sent_ms;
    struct pgv_buf event_member, event_cluster; /* as last sent */
    bool events_soon;

    struct rest_agent_check *agent_check; /* NULL: not configured */
    char agent_check_at[PGV_URL_BYTES];

    struct rest_call *calls;
    unsigned n_calls;
    bool closing;
    void (*close_cb)(struct agent *a);
};

/** NULL: the request was answered with 503. @bytes: of a struct that begins with a rest_call. */
struct rest_call *rest_call_new(struct rest *r, struct httpd_req *req, size_t bytes);
/** Read the store for this request, then @step with NULL. A failure is answered here. */
void rest_call_read(struct rest_call *c,
                    void (*step)(struct rest_call *c, const struct pgv_error *err));
/** The same for those who can go on without: @step gets the error. */
void rest_call_read_or_not(struct rest_call *c,
                           void (*step)(struct rest_call *c, const struct pgv_error *err));
/** Write one key; @step with the outcome. @version: the guard, "" for none. */
void rest_call_write(struct rest_call *c, enum dcs_op op, struct pgv_str value, const char *version,
                     void (*step)(struct rest_call *c, const struct pgv_error *err));
/** Put c->ask.request to the brain. */
void rest_call_ask(struct rest_call *c, agent_answer_cb cb);
void rest_call_timer(struct rest_call *c, uint64_t ms, uv_timer_cb cb);
/** Answer and end the call: it may be freed in here. */
void rest_call_text(struct rest_call *c, int status, const char *fmt, ...) PGV_PRINTF(3, 4);
void rest_call_json(struct rest_call *c, int status, const struct pgv_value *v);
/** The same for what is JSON already. */
void rest_call_json_text(struct rest_call *c, int status, struct pgv_str json);
void rest_call_error(struct rest_call *c, int status, const char *why);

void rest_reply(struct rest *r, struct httpd_req *req, int status, const char *headers,
                const char *content_type, struct pgv_str body);
void rest_reply_status(struct rest *r, struct httpd_req *req, int status);
/** Into the histogram of probes; before the answer, afterwards the request is no more. */
void rest_observe_probe(struct rest *r, const struct httpd_req *req);
void rest_reply_error(struct rest *r, struct httpd_req *req, int status, const char *why);
void rest_reply_text(struct rest *r, struct httpd_req *req, int status, const char *text);
void rest_reply_json(struct rest *r, struct httpd_req *req, int status, const struct pgv_value *v);

/** The JSON object of the body, in @a. False: answered with an error page (rest contract §2.5). */
bool rest_body(struct rest *r, struct httpd_req *req, bool optional, struct pgv_arena *a,
               struct pgv_value **ret);
/** The same for a call, into its arena; false: the call has ended. */
bool rest_call_body(struct rest_call *c, bool optional);

/** For rest_listen.c: what the listener calls; the end of @r when nothing of it is open any more.
 */
void rest_on_request(struct httpd *s, struct httpd_req *req);
void rest_close_when_done(struct rest *r);

/* agent/rest_listen.c: apply the restapi section; stop listening */
bool rest_configure(struct rest *r, struct pgv_error *err) PGV_MUST_CHECK;
void rest_listener_close(struct rest *r);

/* agent/rest_events.c, agent/rest_dashboard.c */
void rest_get_events(struct rest *r, struct httpd_req *req);
void rest_get_dashboard(struct rest *r, struct httpd_req *req);
/** The page, and what of its Content-Security-Policy names it. Made by cmake/embed_dashboard.cmake.
 */
extern const unsigned char rest_dashboard_html[];
extern const size_t rest_dashboard_html_bytes;
extern const char rest_dashboard_hashes[];
/** The world has changed: who follows is told, soon. */
void rest_events_changed(struct rest *r);

/* agent/rest_agent_check.c */
bool rest_agent_check_configure(struct rest *r, const struct pgv_value *restapi,
                                struct pgv_error *err) PGV_MUST_CHECK;
void rest_agent_check_close(struct rest *r);
/** 100 at no lag, 1 at @max_bytes and beyond. Pure. */
unsigned rest_weight_percent(uint64_t lag_bytes, int64_t max_bytes);

/** The server in use, for its counters; NULL while there is none. */
const struct httpd *rest_server(const struct rest *r);
/** Find the handler of a request. NULL: none. Pure. */
struct rest_route {
    enum httpd_method method;
    const char *segment;
    rest_handler handler;
    bool guarded, failsafe;
};
const struct rest_route *rest_route_find(enum httpd_method method, struct pgv_str path);

/* ---- handlers -----------------------------------------------------------------------------------
 */

void rest_get_cluster(struct rest *r, struct httpd_req *req);
void rest_get_decisions(struct rest *r, struct httpd_req *req);
void rest_get_explain(struct rest *r, struct httpd_req *req);
void rest_get_history(struct rest *r, struct httpd_req *req);
void rest_get_failsafe(struct rest *r, struct httpd_req *req);
void rest_get_config(struct rest *r, struct httpd_req *req);
void rest_patch_config(struct rest *r, struct httpd_req *req);
void rest_put_config(struct rest *r, struct httpd_req *req);
void rest_post_reload(struct rest *r, struct httpd_req *req);
void rest_post_sigterm(struct rest *r, struct httpd_req *req);
void rest_post_failsafe(struct rest *r, struct httpd_req *req);
void rest_post_mpp(struct rest *r, struct httpd_req *req);
void rest_post_restart(struct rest *r, struct httpd_req *req);
void rest_delete_restart(struct rest *r, struct httpd_req *req);
void rest_post_reinitialize(struct rest *r, struct httpd_req *req);
void rest_post_failover(struct rest *r, struct httpd_req *req);
void rest_post_switchover(struct rest *r, struct httpd_req *req);
void rest_delete_switchover(struct rest *r, struct httpd_req *req);
/** The text of a schedule (rest contract §8). 0: accepted, else the status of the refusal. */
int rest_parse_schedule(const struct pgv_value *v, const char *action, int64_t now_wall_us,
                        int64_t *ret_wall_us, char ret_text[PGV_MOMENT_BYTES], char *ret_why,
                        size_t why_bytes);
/** 'YYYY-MM-DD HH:MM:SS.ffffff+00:00' */
void rest_moment_text(int64_t wall_us, char ret[PGV_MOMENT_BYTES]);
