/* links: pgvigil_agent */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_rest_query.c - target and query of a health check, as a client wrote them. Bits
 * of the first byte make the world; the rest is 'path?query'.
 */
#include "agent/rest.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct pgv_value *tags(void)
{
    static struct pgv_arena arena;
    static struct pgv_value *v;
    struct pgv_error err;

    if (!v) {
        pgv_arena_init(&arena, 65536);
        PGV_ASSERT(pgv_json_parse(
            &arena, PGV_STR("{\"dc\":\"East\",\"n\":1,\"r\":1.5,\"b\":true,\"z\":null}"), &v,
            &err));
    }
    return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgv_str path, query = { 0 };
    struct rest_world w;
    char why[160] = "";
    unsigned bits;
    int code;

    if (!size)
        return 0;
    bits = data[0];
    w = (struct rest_world){
        .state = bits & 1 ? PGV_STATE_RUNNING : PGV_STATE_STARTING,
        .role = bits & 2 ? PGV_ROLE_REPLICA : PGV_ROLE_PRIMARY,
        .cluster_known = bits & 4,
        .paused = bits & 8,
        .leader = bits & 16,
        .standby_cluster = bits & 32,
        .sync_standby = bits & 64,
        .replication_state = bits & 128 ? "streaming" : "",
        .leader_optime = 5000000,
        .received = 4000000,
        .replayed = 3000000,
        .tags = tags(),
    };
    pgv_str_cut((struct pgv_str){ (const char *)data + 1, size - 1 }, '?', &path, &query);
    rest_target_trim(&path, &query);
    code = rest_health_code(rest_probe_of(path), query, &w);
    PGV_ASSERT(code == 200 || code == 503);
    /* Whatever they ask: without the lease nobody is told that this is the primary. */
    PGV_ASSERT(code == 503 || w.leader || w.paused || rest_probe_of(path) != REST_PROBE_PRIMARY);
    code = rest_readiness_code(query, &w, 1048576, why, sizeof(why));
    PGV_ASSERT(code == 200 || (code == 503 && why[0]));
    return 0;
}
