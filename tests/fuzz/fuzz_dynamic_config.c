/* links: pgvigil_agent */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_dynamic_config.c - a /config document that somebody else wrote: it is refused,
 * or clamped into times that fit together and merged.
 */
#include "agent/config_private.h"
#include "base/log.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t seconds(const struct pgv_value *doc, const char *key)
{
    int64_t s = 0;

    PGV_ASSERT(pgv_to_int(pgv_get(doc, key), &s));
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgv_value *doc = NULL, *local = NULL, *merged = NULL;
    struct pgv_arena arena;
    struct pgv_error err;

    pgv_log_configure_ctl(PGV_CRITICAL);
    pgv_arena_init(&arena, 8u << 20);
    if (!pgv_json_parse(&arena, (struct pgv_str){ (const char *)data, size }, &doc, &err) ||
        !pgv_is(doc, PGV_MAP))
        goto out;
    PGV_ASSERT(
        pgv_json_parse(&arena,
                       PGV_STR("{\"name\":\"n1\",\"scope\":\"s\",\"postgresql\":{\"data_dir\":"
                               "\"/d\",\"listen\":\"l\",\"parameters\":{\"a\":\"b\"},"
                               "\"parameters_replica\":{\"a\":\"c\"}}}"),
                       &local, &err));
    (void)agent_config_is_standby_cluster(doc);
    (void)agent_config_is_synchronous(doc);
    if (!agent_config_clamp(&arena, doc, &err) ||
        !agent_config_merge(&arena, doc, local, &merged, &err))
        goto out;
    PGV_ASSERT(seconds(merged, "ttl") >= 20);
    PGV_ASSERT(seconds(merged, "loop_wait") >= 1);
    PGV_ASSERT(seconds(merged, "retry_timeout") >= 3);
    PGV_ASSERT(seconds(merged, "retry_timeout") <= (seconds(merged, "ttl") - 1) / 2);
    PGV_ASSERT(seconds(merged, "loop_wait") <=
               seconds(merged, "ttl") - 2 * seconds(merged, "retry_timeout"));
    /* Where this server lives is not the cluster's to say. */
    PGV_ASSERT(pgv_str_eqz(pgv_string(pgv_path(merged, "postgresql.data_dir")), "/d"));
    PGV_ASSERT(pgv_str_eqz(pgv_string(pgv_path(merged, "postgresql.listen")), "l"));
    PGV_ASSERT(pgv_is(pgv_path(merged, "postgresql.parameters"), PGV_MAP));
    PGV_ASSERT(agent_config_override(&arena, pgv_get(merged, "postgresql"), PGV_ROLE_REPLICA));
out:
    pgv_arena_done(&arena);
    return 0;
}
