/* links: pgvigil_dcs */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_dcs_etcd.c - what an etcd may answer: a stream of documents, each read as stream
 * and as unary answer, with its errors sorted; versions.
 */
#include "base/log.h"
#include "dcs/etcd3.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
    struct pgv_str rest = { (const char *)data, n };
    struct etcd3_scan scan = { 0 };
    struct etcd3_answer answer;
    struct etcd3_api api;
    struct pgv_arena arena;
    char id[DCS_VERSION_BYTES];
    size_t piece;

    pgv_log_configure_ctl(PGV_CRITICAL);
    pgv_arena_init(&arena, 1 << 20);
    etcd3_answer_read(&arena, 200, rest, false, &answer);
    etcd3_answer_read(&arena, 503, rest, true, &answer);
    PGV_ASSERT(answer.verdict != ETCD3_OK);
    (void)etcd3_api_read(rest, &api);
    while (etcd3_scan(&scan, rest, &piece)) {
        PGV_ASSERT(piece > 0 && piece <= rest.n);
        etcd3_answer_read(&arena, 200, (struct pgv_str){ rest.p, piece }, true, &answer);
        PGV_ASSERT((answer.verdict == ETCD3_OK) == (answer.body != NULL));
        etcd3_id(pgv_get(answer.body, "ID"), id);
        (void)etcd3_u64(pgv_path(answer.body, "header.revision"));
        rest.p += piece;
        rest.n -= piece;
    }
    pgv_arena_done(&arena);
    return 0;
}
