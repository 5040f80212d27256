/* links: pgvigil_pg */
/* SPDX-License-Identifier: PostgreSQL */
/* tests/fuzz/fuzz_recovery_conf.c - recovery.conf, as somebody edited it. */
#include "pg/pgrecovery.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgrecovery_current cur = { 0 };

    if (pgrecovery_current_parse(&cur, (struct pgv_str){ (const char *)data, size }, 110000,
                                 NULL)) {
        PGV_ASSERT(cur.valid && cur.n <= PGRECOVERY_ROWS_MAX);
        for (size_t i = 0; i < cur.n; i++)
            PGV_ASSERT(cur.rows[i].name && cur.rows[i].setting && cur.rows[i].restart);
    } else {
        PGV_ASSERT(!cur.valid);
    }
    pgrecovery_current_done(&cur);
    return 0;
}
