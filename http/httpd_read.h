/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpd_read.h - bytes to requests, without sockets, clocks or callbacks: what the server's
 * connections and the fuzzer feed. Private to this folder.
 *
 * The reader owns three buffers: what came and is not understood yet, the head of the request in
 * hand, its body. The texts of a request point into the latter two, so they stand still until the
 * next request is asked for, whatever arrives meanwhile.
 */
#pragma once

#include "http/httpd.h"

#include <llhttp.h>

#define HTTPD_HEADERS_MAX 100 /* per request: 431. Source: Python's http.client */

enum httpd_reading { HTTPD_READING_HEAD, HTTPD_READING_BODY };

struct httpd_reader {
    struct pgv_buf in; /* append what was received */
    /* facts of the request in hand, valid once its head was complete */
    bool keep_alive, http10;
    /* private */
    llhttp_t parser;
    struct pgv_buf head, body;
    struct httpd_req *req; /* being filled */
    const struct httpd_limits *limits;
    size_t line_at, seen;  /* of in: where the line being checked begins, how far it was searched */
    size_t body_raw_bytes; /* with chunk headers and trailers */
    uint16_t n_lines, status;          /* status: why the request is refused, or 0 */
    uint8_t n_blanks, reading, header; /* header: which one's value comes */
    bool complete, expects, head_done, no_memory;
    const char *why;
};

enum httpd_read {
    HTTPD_READ_MORE,     /* more bytes are needed */
    HTTPD_READ_CONTINUE, /* the client waits for '100 Continue' before it sends the body */
    HTTPD_READ_REQUEST,  /* the request is complete */
    HTTPD_READ_REFUSE, /* answer reader.status, reader.why and close; texts of the request are empty
                        */
    HTTPD_READ_NOT_HTTP, /* TLS or noise: close without a word */
};

void httpd_reader_init(struct httpd_reader *rd, const struct httpd_limits *limits);
void httpd_reader_done(struct httpd_reader *rd);
/** Go on reading. After HTTPD_READ_REQUEST call httpd_reader_next() first. */
enum httpd_read httpd_reader_run(struct httpd_reader *rd, struct httpd_req *r);
/** The request in hand was answered: its texts end, its memory serves the next one. */
void httpd_reader_next(struct httpd_reader *rd);
/** A request has begun: at least one byte of it is here. */
bool httpd_reader_begun(const struct httpd_reader *rd);
/** Give back memory that an idle connection does not need. */
void httpd_reader_trim(struct httpd_reader *rd);
