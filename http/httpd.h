/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpd.h - the HTTP/1.1 server: a probe gets its answer whatever the others do.
 *
 * Limits on everything a peer can size: header and body bytes, time for the head, the body, the
 * answer, idle time, connections. Past the connection limit the oldest idle one is closed, so ten
 * thousand silent clients cost nobody an answer. The kernel's backlog is 4096: a burst of probes
 * is never dropped.
 */
#pragma once

#include "http/tls.h"

#include <netinet/in.h>
#include <uv.h>

struct httpd;
struct httpd_req;

/** A complete request. Answer it now or later, exactly once, with httpd_reply…(). */
typedef void (*httpd_cb)(struct httpd *s, struct httpd_req *r);

struct httpd_limits {        /* 0: the default */
    unsigned conns_max;      /* 10240, lowered to what RLIMIT_NOFILE allows */
    unsigned tls_conns_max;  /* 512: a TLS session costs 40 kB from its first byte on */
    unsigned head_bytes_max; /* 65536: 431 (414 for the request line) */
    unsigned body_bytes_max; /* 1 MiB: 413 */
    unsigned head_ms;        /* 5000: time for the head once its first byte came: 408 */
    unsigned body_ms;        /* 10000: 408 */
    unsigned idle_ms;        /* 60000: a silent connection is closed */
    unsigned send_ms;        /* 10000: a client that does not take its answer is cut */
};

enum httpd_method {
    HTTPD_GET,
    HTTPD_HEAD,
    HTTPD_OPTIONS,
    HTTPD_POST,
    HTTPD_PUT,
    HTTPD_PATCH,
    HTTPD_DELETE,
    HTTPD_OTHER
};

struct httpd_req {
    void *data; /* the handler's */
    enum httpd_method method;
    struct pgv_str method_text, path,
        query; /* path not decoded, leading '//' collapsed; query without '?' */
    struct pgv_str body;
    bool has_length;              /* a Content-Length was given (chunked bodies count too) */
    struct pgv_str authorization; /* header value or empty */
    struct sockaddr_storage peer; /* v4-mapped addresses are un-mapped */
    bool tls, client_cert_verified;
    uint64_t received_us; /* pgv_clock_us() when the head was complete */
    /** Set by the handler when it answers later: told that the client has gone or the server
     *  closes; the request is then invalid after it returns and must not be answered. */
    void (*on_abort)(struct httpd_req *r);
    /* private */
    struct pgv_str request_line;
    struct httpd_conn *conn;
    bool answered;
};

struct httpd_list { /* connections of one state, the longest waiting first */
    struct httpd_conn *first, *last;
};
#define HTTPD_STATES 9

struct httpd {
    void *data;
    const char
        *extra_headers; /* 'Name: value\r\n…' added to normal answers, or NULL; the owner's */
    const char *server_name; /* value of Server, or NULL for none */
    struct httpd_limits limits;
    unsigned n_conns;
    uint64_t n_requests;
    /* private */
    uv_loop_t *loop;
    httpd_cb cb;
    struct httpd_listener *listener;
    uv_timer_t sweep, again;
    struct tls_context *tls;
    struct httpd_list lists[HTTPD_STATES];
    struct httpd_conn *ready; /* have input to go on with, or are to be freed: on_again() */
    struct httpd_conn *spare; /* reserved at open, for when memory is short */
    struct pgv_buf head_out;  /* heads of answers are written here; reserved at open */
    uint64_t sweep_at_ms, accept_again_ms, warned_ms;
    uint64_t turn_ms, handshakes_us; /* spent in this turn of the loop */
    unsigned n_peak; /* connections at most since memory was last given back to the system */
    unsigned n_open, n_listeners, n_timers, n_spare, n_tls, n_unsaid;
    int reserve_fd, port;
    bool closing;
    void (*close_cb)(struct httpd *s);
    char date[40];
    int64_t date_s;
};

/** @host empty or "*" is the wildcard (dual stack when the system can); names must be addresses or
 * localhost. */
bool httpd_open(struct httpd *s, uv_loop_t *loop, const char *host, int port,
                struct tls_context *tls, httpd_cb cb, struct pgv_error *err) PGV_MUST_CHECK;
void httpd_close(struct httpd *s, void (*cb)(struct httpd *s));
/** Listen elsewhere; connections and what they asked for stay. On failure all is as before. */
bool httpd_relisten(struct httpd *s, const char *host, int port,
                    struct pgv_error *err) PGV_MUST_CHECK;
/** New connections use the new context; the listener and open connections stay. NULL: plain. */
void httpd_set_tls(struct httpd *s, struct tls_context *tls);
int httpd_port(const struct httpd *s); /* the port listened on (useful with port 0) */

/** A normal answer: Server, Date, @headers ('Name: value\r\n…' or NULL), Content-Type, extra
 *  headers, Content-Length. HEAD sends no body. Never fails towards the caller: a client that
 *  cannot be served is cut. */
void httpd_reply(struct httpd_req *r, int status, const char *headers, const char *content_type,
                 struct pgv_str body);
/** Status line and Content-Length: 0 only, as HEAD, OPTIONS and the liveness probes answer. */
void httpd_reply_status(struct httpd_req *r, int status);
/** A small HTML page with code, reason and @why; 'Connection: close'. */
void httpd_reply_error(struct httpd_req *r, int status, const char *why);
/** An endless answer (server-sent events): head now, pieces later, end with httpd_stream_end(). */
void httpd_stream_begin(struct httpd_req *r, const char *content_type);
bool httpd_stream_write(struct httpd_req *r,
                        struct pgv_str piece); /* false: the client is too slow, it was cut */
void httpd_stream_end(struct httpd_req *r);

/** First value of @key in a form-encoded query, decoded into @ret; false when absent or empty. */
bool httpd_query_get(struct pgv_str query, const char *key, char *ret, size_t ret_bytes);
/** Walk all pairs; @key and @value decoded. Stops when @each returns false. */
void httpd_query_each(struct pgv_str query, void *data,
                      bool (*each)(void *data, const char *key, const char *value));
const char *httpd_reason(int status);
