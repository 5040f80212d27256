/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpc_private.h - a client's connection, for httpc.c (requests, the pool) and httpc_conn.c
 * (names, connecting, TLS, bytes). Private to this folder.
 */
#pragma once

#include "http/httpc.h"
#include "http/httpc_read.h"
#include "http/sock.h"

enum httpc_req_state { HTTPC_REQ_WAITING, HTTPC_REQ_ACTIVE, HTTPC_REQ_DONE };

enum httpc_conn_state {
    HTTPC_CONN_RESOLVING,
    HTTPC_CONN_CONNECTING,
    HTTPC_CONN_NEXT, /* the handle of a failed attempt closes, then comes the next address */
    HTTPC_CONN_HANDSHAKE,
    HTTPC_CONN_BUSY, /* the request goes out, the answer comes in */
    HTTPC_CONN_IDLE, /* in the pool */
    HTTPC_CONN_DEAD,
};

struct httpc_conn {
    uv_poll_t poll;
    struct httpc *client;
    struct httpc_req *req; /* NULL when idle or dead */
    struct httpc_conn *next, *prev;
    struct tls_context *tls_context; /* NULL: plain */
    struct tls_session *tls;
    struct httpc_reader reader;
    struct pgv_buf out, plain; /* to be sent; decrypted */
    struct pgv_error last;     /* why the last address failed */
    uint64_t idle_ms;          /* since when */
    unsigned addr;             /* the one being tried */
    int fd, port;
    uint8_t state, events;
    bool poll_open, resolving, fresh, request_out;
    char host[256];
    struct names_query names;
};

/* httpc.c */
/** The request is over; its callback comes when its timer has closed. @err NULL: well. */
void httpc_req_end(struct httpc_req *r, enum pgv_code code, int sys, const char *fmt, ...)
    PGV_PRINTF(4, 5);
/** Put it back to be sent once more, on a fresh connection. */
void httpc_req_retry(struct httpc_req *r);
/** From now on until httpc_stage_end() connecting must succeed within @ms. */
void httpc_stage_begin(struct httpc_req *r, uint64_t ms);
void httpc_stage_end(struct httpc_req *r);
/** A connection came free: start what waits. In the next turn, never inside this call. */
void httpc_pump_later(struct httpc *c);
void httpc_conn_gone(struct httpc *c);
/** A connection that has no handle whose closing could free it. */
void httpc_free_later(struct httpc_conn *k);
/** A connection went into the pool: it must be looked after in time. */
void httpc_watch_idle(struct httpc *c);

/* httpc_conn.c */
/** A new connection for @r, on its way. False: no memory. */
bool httpc_conn_new(struct httpc *c, struct httpc_req *r);
/** Give @r to a pooled connection. False: it has died meanwhile, and is closed now. */
bool httpc_conn_reuse(struct httpc_conn *k, struct httpc_req *r);
/** Its request, if any, must have been ended or taken away before. */
void httpc_conn_close(struct httpc_conn *k);
void httpc_conn_free(struct httpc_conn *k);
/** The time of the present stage is up. */
void httpc_conn_stage_over(struct httpc_conn *k);
