/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpd_private.h - a server's connection, for httpd.c (listening, accepting, time limits),
 * httpd_conn.c (bytes in, requests out) and httpd_reply.c (answers out). Private to this folder.
 */
#pragma once

#include "http/httpd.h"
#include "http/httpd_read.h"
#include "http/sock.h"

/** Where a connection is; each state has a list in struct httpd and, but for two, a time limit. */
enum httpd_conn_state {
    HTTPD_CONN_NEW,      /* has not sent a byte yet */
    HTTPD_CONN_IDLE,     /* nothing asked, nothing owed */
    HTTPD_CONN_QUIET,    /* idle for so long that it gave its buffers back */
    HTTPD_CONN_HEAD,     /* a TLS handshake or a head has begun */
    HTTPD_CONN_BODY,     /* the head is complete, its body comes */
    HTTPD_CONN_HANDLING, /* the handler has the request and may take its time */
    HTTPD_CONN_STREAM,   /* an endless answer is under way */
    HTTPD_CONN_SENDING,  /* the rest of an answer waits for the client to read */
    HTTPD_CONN_LINGER,   /* all is said; the client's last bytes are drained, so that no reset
                            overtakes the answer (RFC 9112, section 9.6) */
};
_Static_assert(HTTPD_CONN_LINGER + 1 == HTTPD_STATES, "a list for every state");

struct httpd_conn {
    uv_poll_t poll;
    struct httpd *s;
    struct httpd_conn *next, *prev; /* in the list of its state */
    struct httpd_conn *next_ready;
    struct tls_context *tls_context; /* NULL: plain */
    struct tls_session *tls;         /* from the first byte on */
    struct pgv_buf out;              /* what the kernel did not take yet */
    struct httpd_reader reader;
    struct httpd_req req;
    uint64_t since_ms, deadline_ms;
    int fd;
    uint8_t state, events;
    bool poll_open, poll_closed, is_ready;
    bool running;    /* httpd_conn_run() is at work further down the stack */
    bool in_request; /* the handler was called and has not answered */
    bool streaming, chunked;
    bool close_after; /* close when the answer is out */
    bool linger;      /* and drain before: the client may still be sending */
    bool eof, closing;
};

/** Answers larger than this are not ours to give; a client that wants one is cut. */
#define HTTPD_OUT_BYTES_MAX (16u << 20)
/** What may wait for the reader of an endless answer. */
#define HTTPD_STREAM_BYTES_MAX (256u << 10)

#define HTTPD_SPARE_CONNS 8

/* httpd_conn.c */
struct httpd_conn *httpd_conn_new(struct httpd *s);
void httpd_conn_release(struct httpd_conn *c);
void httpd_conn_start(struct httpd *s, int fd, const struct sockaddr_storage *peer);
/** The socket closes now, the memory goes later; a request not answered is aborted then. */
void httpd_conn_close(struct httpd_conn *c);
/** Look at it again in the next turn of the loop. */
void httpd_conn_later(struct httpd_conn *c);
void httpd_conn_again(struct httpd_conn *c);
void httpd_conn_timed_out(struct httpd_conn *c);
/** The request was answered, as far as the handler is concerned. */
void httpd_conn_answered(struct httpd_conn *c);
/**
 * Send what waits and what is given. Short of memory or of a peer, the connection is closed.
 * @last: httpd_conn_answered() follows, and closes the connection.
 */
void httpd_conn_send(struct httpd_conn *c, struct pgv_str head, struct pgv_str body, bool last);

/* httpd.c */
void httpd_list_move(struct httpd_conn *c, enum httpd_conn_state state);
void httpd_list_remove(struct httpd_conn *c);
/** Close the connection that has been idle longest. False when all are at work. */
bool httpd_evict(struct httpd *s, bool with_tls);
void httpd_maybe_closed(struct httpd *s);
