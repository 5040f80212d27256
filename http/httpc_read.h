/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpc_read.h - bytes to answers, without sockets, clocks or callbacks but the piece's: what
 * the client's connections and the fuzzer feed. Private to this folder.
 */
#pragma once

#include "http/httpc.h"

#include <llhttp.h>

#define HTTPC_HEAD_BYTES_MAX 65536 /* names and values of an answer, its trailers too */

struct httpc_reader {
    bool any, complete, keep_alive; /* any: a byte of an answer came */
    bool no_memory;
    const char *why; /* what is wrong with the answer */
    /* private */
    llhttp_t parser;
    struct httpc_req *req; /* NULL after httpc_reader_forget() */
    char *value;           /* where the value of the present header goes, or NULL */
    size_t value_bytes, value_n, head_bytes;
    uint8_t name_n;
    bool named, informational, bodyless;
    char name[24];
};

enum httpc_read {
    HTTPC_READ_MORE,
    HTTPC_READ_DONE,      /* the answer is complete */
    HTTPC_READ_FAILED,    /* why and no_memory say how */
    HTTPC_READ_CUT,       /* the connection ended in the middle */
    HTTPC_READ_FORGOTTEN, /* the request was cancelled from its piece callback */
};

/** @bodyless: the request was HEAD, to which answers have no body. */
void httpc_reader_init(struct httpc_reader *rd, struct httpc_req *r, bool bodyless);
/** The request is over: nothing of it is touched any more. May be called within a piece. */
void httpc_reader_forget(struct httpc_reader *rd);
/** @ret_left: bytes after the end of the answer, which nobody asked for. */
enum httpc_read httpc_reader_feed(struct httpc_reader *rd, struct pgv_str bytes, size_t *ret_left);
enum httpc_read httpc_reader_eof(struct httpc_reader *rd);
