/* links: pgvigil_http */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_http_texts.c - URLs from the store, queries from clients, base64 from both, and
 * cipher lists. The first byte says which.
 */
#include "http/tls_private.h"

#include "http/httpc.h"
#include "http/httpd.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool on_pair(void *data, const char *key, const char *value)
{
    unsigned *n = data;

    PGV_ASSERT(strlen(key) < 128 && strlen(value) < 1024);
    return ++*n < 100;
}

static void try_url(struct pgv_str s)
{
    struct httpc_url u;

    if (!httpc_url_parse(s, &u))
        return;
    PGV_ASSERT(u.host[0] && u.port > 0 && u.port < 65536 && u.path[0] == '/');
    PGV_ASSERT(!strpbrk(u.host, " \r\n/@") && !strpbrk(u.path, " \r\n"));
}

static void try_query(struct pgv_str s)
{
    char value[64];
    unsigned n = 0;

    httpd_query_each(s, &n, on_pair);
    if (httpd_query_get(s, "lag", value, sizeof(value)))
        PGV_ASSERT(value[0]);
}

static void try_base64(struct pgv_str s)
{
    struct pgv_buf plain, again;

    pgv_buf_init(&plain, 1u << 20);
    pgv_buf_init(&again, 1u << 20);
    if (httpc_base64_decode(&plain, s)) {
        PGV_ASSERT(httpc_base64_encode(&again, pgv_buf_view(&plain)));
        PGV_ASSERT(pgv_str_eq(pgv_buf_view(&again), s)); /* there is one spelling only */
    }
    pgv_buf_done(&plain);
    pgv_buf_done(&again);
}

static void try_ciphers(struct pgv_str s)
{
    int list[TLS_CIPHERS_MAX];
    struct pgv_error err;
    char text[1024];

    if (pgv_copy(text, sizeof(text), s) && tls_ciphers_parse(text, list, &err))
        PGV_ASSERT(list[0] != 0 && list[TLS_CIPHERS_MAX - 1] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgv_str s = { (const char *)data + 1, size - 1 };

    if (size < 1)
        return 0;
    switch (data[0]) {
    case 'u':
        try_url(s);
        break;
    case 'q':
        try_query(s);
        break;
    case 'b':
        try_base64(s);
        break;
    case 'c':
        try_ciphers(s);
        break;
    default:
        break;
    }
    return 0;
}
