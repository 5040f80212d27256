/* links: pgvigil_pg */
/* SPDX-License-Identifier: PostgreSQL */
/* tests/fuzz/fuzz_controldata.c - whatever a child process calls itself pg_controldata and says. */
#include "pg/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pm_control c;

    if (pm_control_parse((struct pgv_str){ (const char *)data, size }, &c)) {
        PGV_ASSERT(!c.ok || (c.sysid[0] != '\0' && c.state != PM_CONTROL_UNKNOWN));
        PGV_ASSERT(!c.checkpoint_known || c.checkpoint_timeline != 0);
        PGV_ASSERT(c.max_connections >= PM_SETTING_UNKNOWN);
    }
    return 0;
}
