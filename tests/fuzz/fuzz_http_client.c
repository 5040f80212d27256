/* links: pgvigil_http */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_http_client.c - whatever a store or a member answers. The first byte says how the
 * rest is cut, the second how the request was made.
 */
#include "http/httpc_read.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct httpc_reader rd;

static void on_piece(struct httpc_req *r, struct pgv_str piece)
{
    size_t *n = r->data;

    PGV_ASSERT(r->status >= 100);
    *n += piece.n;
    if (piece.n && piece.p[0] == '!') /* the owner has had enough */
        httpc_reader_forget(&rd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct httpc_req r = { 0 };
    enum httpc_read got = HTTPC_READ_MORE;
    size_t n_pieces = 0, left = 0;

    if (size < 2)
        return 0;
    pgv_buf_init(&r.answer, 1000);
    r.data = &n_pieces;
    r.on_piece = data[1] & 1 ? on_piece : NULL;
    httpc_reader_init(&rd, &r, data[1] & 2);
    for (size_t at = 2; at < size && got == HTTPC_READ_MORE;) {
        size_t step = data[0] ? data[0] : 1, n = size - at < step ? size - at : step;

        got = httpc_reader_feed(&rd, (struct pgv_str){ (const char *)data + at, n }, &left);
        PGV_ASSERT(left <= n);
        at += n;
    }
    if (got == HTTPC_READ_MORE)
        got = httpc_reader_eof(&rd);
    PGV_ASSERT(got != HTTPC_READ_MORE);
    if (got == HTTPC_READ_DONE)
        PGV_ASSERT(r.status >= 200 && r.answer.n <= 1000);
    if (got == HTTPC_READ_FAILED)
        PGV_ASSERT(rd.why || rd.no_memory);
    PGV_ASSERT(memchr(r.lsn_header, 0, sizeof(r.lsn_header)));
    PGV_ASSERT(memchr(r.location, 0, sizeof(r.location)));
    pgv_buf_done(&r.answer);
    return 0;
}
