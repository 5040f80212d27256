/* links: pgvigil_agent */
/* SPDX-License-Identifier: PostgreSQL */
/* tests/fuzz/fuzz_peer_status.c - what another member answers to GET /patroni. */
#include "agent/agent.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ha_peer p, before;

    memset(&p, 0x5a, sizeof(p));
    memcpy(p.name, "n2", 3);
    before = p;
    if (agent_peer_parse((struct pgv_str){ (const char *)data, size }, "demo", &p)) {
        PGV_ASSERT(p.reachable);
        PGV_ASSERT(p.in_recovery || p.position == 0);
        PGV_ASSERT(strcmp(p.name, "n2") == 0);
    } else {
        PGV_ASSERT(memcmp(&p, &before, sizeof(p)) == 0);
    }
    PGV_ASSERT(pgv_alloc_blocks_in_use() == 0);
    return 0;
}
