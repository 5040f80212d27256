/* links: pgvigil_pg */
/* SPDX-License-Identifier: PostgreSQL */
/* tests/fuzz/fuzz_history.c - timeline history, as another node's server sends it. */
#include "base/log.h"
#include "pg/pghist.h"
#include "pg/pgrewind.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pgrewind_local locals[] = { { 1, 0x3000000, true },
                                                    { 2, 0x5000028, false },
                                                    { 9, 1, false } };
    struct pgv_arena a;
    struct pghist h;

    pgv_log_configure_ctl(PGV_CRITICAL);
    pgv_arena_init(&a, 64u << 20);
    if (pghist_parse(&a, (struct pgv_str){ (const char *)data, size }, &h, NULL)) {
        for (size_t i = 0; i < h.n; i++)
            PGV_ASSERT(h.v[i].timeline > 0 && h.v[i].reason.p);
        for (size_t i = 0; i < 3; i++) {
            bool need_end;
            enum pgrewind_verdict v = pgrewind_judge(&locals[i], 10, &h, false, 0, &need_end);

            PGV_ASSERT(need_end == (v == PGREWIND_UNKNOWN));
            v = pgrewind_judge(&locals[i], 10, &h, true, 1, &need_end);
            PGV_ASSERT(v != PGREWIND_UNKNOWN && !need_end);
        }
    }
    pgv_arena_done(&a);
    return 0;
}
