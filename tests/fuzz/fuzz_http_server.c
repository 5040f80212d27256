/* links: pgvigil_http */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_http_server.c - whatever a client sends. The first byte says how the rest is cut;
 * cut otherwise it must come to the same requests and the same refusal.
 */
#include "http/httpd_read.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    unsigned n_requests, sum;
    enum httpd_read end;
    int status;
};

static unsigned add(unsigned sum, struct pgv_str s)
{
    for (size_t i = 0; i < s.n; i++)
        sum = sum * 31 + (unsigned char)s.p[i];
    return sum * 31 + (unsigned)s.n;
}

static struct outcome run(const uint8_t *data, size_t size, size_t step)
{
    static const struct httpd_limits limits = { .head_bytes_max = 2048, .body_bytes_max = 512 };
    struct outcome o = { .end = HTTPD_READ_MORE };
    struct httpd_req r = { 0 };
    struct httpd_reader rd;

    httpd_reader_init(&rd, &limits);
    for (size_t at = 0; at < size && o.end == HTTPD_READ_MORE;) {
        size_t n = size - at < step ? size - at : step;

        (void)pgv_buf_append(&rd.in, data + at, n);
        at += n;
        while ((o.end = httpd_reader_run(&rd, &r)) == HTTPD_READ_REQUEST ||
               o.end == HTTPD_READ_CONTINUE) {
            if (o.end == HTTPD_READ_CONTINUE)
                continue;
            PGV_ASSERT(r.path.n > 0 && r.method_text.n > 0);
            PGV_ASSERT(r.body.n <= limits.body_bytes_max);
            o.n_requests++;
            o.sum = add(add(add(add(o.sum, r.path), r.query), r.body), r.authorization);
            httpd_reader_next(&rd);
        }
    }
    if (o.end == HTTPD_READ_REFUSE)
        PGV_ASSERT(rd.status >= 400 && rd.why);
    o.status = rd.status;
    httpd_reader_done(&rd);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome a, b;

    if (size < 2)
        return 0;
    a = run(data + 1, size - 1, data[0] ? data[0] : 1);
    b = run(data + 1, size - 1, 1);
    PGV_ASSERT(a.n_requests == b.n_requests && a.sum == b.sum);
    PGV_ASSERT(a.end == b.end && a.status == b.status);
    return 0;
}
