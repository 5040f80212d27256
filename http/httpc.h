/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpc.h - the HTTP/1.1 client: keep-alive pool, deadlines, streaming bodies, TLS.
 *
 * A client is a pool for one purpose (the DCS, the lease, the peers), so that a slow answer for one
 * purpose never delays another. Redirects are not followed. A request belongs to its owner.
 */
#pragma once

#include "http/names.h"
#include "http/tls.h"

#define HTTPC_CONNS_MAX 16              /* per client, open at once */
#define HTTPC_BODY_BYTES_MAX (8u << 20) /* of a collected answer */
#define HTTPC_IDLE_MS 60000             /* idle connections are closed after it */

struct httpc_req;
struct httpc;

/**
 * The end of a request, exactly once, never inside httpc_send(). @err NULL: status, headers and
 * body (unless streamed) are in @r. PGV_EUNREACHABLE: no complete answer (then r->sent tells
 * whether the request may have reached the peer); PGV_ECANCELED; PGV_EINVALID: what came was not
 * HTTP, was too large, or its certificate did not check out; PGV_ENOMEM.
 */
typedef void (*httpc_cb)(struct httpc_req *r, const struct pgv_error *err);
/** Streaming: a piece of the body; r->status is known. Called from the loop, may call
 * httpc_cancel(). */
typedef void (*httpc_piece_cb)(struct httpc_req *r, struct pgv_str piece);

struct httpc_req {
    void *data;
    /* to be filled before httpc_send(); texts are copied by it */
    const char *method;     /* "GET" */
    const char *url;        /* absolute: http or https */
    const char *headers;    /* "Name: value\r\n…" or NULL */
    const char *basic_auth; /* "user:password" or NULL; never logged */
    struct pgv_str body;
    const char *content_type;    /* NULL: none is sent */
    uint64_t connect_timeout_ms; /* 0: only the deadline counts */
    uint64_t deadline_ms;    /* pgv_clock_ms() moment for the whole exchange; 0: none (watches) */
    httpc_piece_cb on_piece; /* NULL: the body is collected */
    bool fresh_connection;   /* do not take one from the pool, close it afterwards */
    /* results */
    int status;
    struct pgv_buf answer;              /* collected body, valid until the callback returns */
    bool sent;                          /* at least one byte of the request went out */
    char lsn_header[24];                /* value of an 'lsn:' response header, else empty */
    char cluster_id[24], raft_term[24]; /* X-Etcd-Cluster-Id, X-Raft-Term, else empty */
    char index_header[24];              /* X-Consul-Index or X-Etcd-Index, else empty */
    char location[320];                 /* where a redirect points to, else empty */
    /* private */
    struct httpc *client;
    struct httpc_conn *conn;
    httpc_cb cb;
    struct pgv_error err;
    struct pgv_buf wire; /* the request as it is sent */
    uv_timer_t timer;
    struct httpc_req *next, *prev;
    uint64_t stage_ms; /* when the present stage (connecting, TLS) is given up; 0: never */
    char host[256];
    int port;
    uint8_t state;
    bool tls, failed, reused, retried, is_get, is_head;
};

struct httpc_tcp_options { /* 0: the system's value */
    unsigned user_timeout_ms, keepidle_s, keepintvl_s, keepcnt;
};

struct httpc {
    void *data;
    struct httpc_tcp_options tcp;
    /* private */
    uv_loop_t *loop;
    struct tls_context *tls;
    struct httpc_conn *conns;                 /* all, the one used last first */
    struct httpc_conn *dead;                  /* to be freed in the next turn */
    struct httpc_req *waiting, *last_waiting; /* for one of the HTTPC_CONNS_MAX to come free */
    struct httpc_req *active;
    uv_timer_t idle, again;
    unsigned n_conns, n_open, n_timers;
    bool closing;
    void (*close_cb)(struct httpc *c);
};

/** @tls may be NULL: https requests then fail with PGV_EINVALID. A reference is taken. */
void httpc_open(struct httpc *c, uv_loop_t *loop, struct tls_context *tls);
/** Cancels what is in flight. */
void httpc_close(struct httpc *c, void (*cb)(struct httpc *c));
/** Later requests use the new context; idle connections are dropped. */
void httpc_set_tls(struct httpc *c, struct tls_context *tls);
/** If it returns false the callback never runs. An idempotent request on a pooled connection that
 *  died before any answer byte is sent once more on a fresh one (GET only). */
bool httpc_send(struct httpc *c, struct httpc_req *r, httpc_cb cb,
                struct pgv_error *err) PGV_MUST_CHECK;
void httpc_cancel(struct httpc_req *r);
/** Close all idle connections (after an endpoint was found sick). */
void httpc_drop_idle(struct httpc *c);

/** 'http://host:port/path' apart; false when it is no http or https URL. */
struct httpc_url {
    bool tls;
    char host[256]; /* without brackets */
    int port;
    char path[512];     /* with the query; at least "/" */
    char userinfo[256]; /* "user:password", decoded, or empty */
};
bool httpc_url_parse(struct pgv_str url, struct httpc_url *ret) PGV_MUST_CHECK;
bool httpc_base64_encode(struct pgv_buf *b, struct pgv_str s);
bool httpc_base64_decode(struct pgv_buf *b, struct pgv_str s);
