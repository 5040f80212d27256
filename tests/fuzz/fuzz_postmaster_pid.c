/* links: pgvigil_pg */
/* SPDX-License-Identifier: PostgreSQL */
/* tests/fuzz/fuzz_postmaster_pid.c - postmaster.pid and /proc/PID/stat, whoever wrote them. */
#include "pg/process.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgv_str text = { (const char *)data, size };
    struct pm_pidfile f;
    struct pm_proc p;

    if (pm_pidfile_parse(text, &f, NULL))
        PGV_ASSERT(f.pid > 0 && f.port >= 0 && f.port <= 65535);
    if (pm_proc_parse_stat(text, &p))
        PGV_ASSERT(p.pid > 0 && p.ppid >= 0);
    return 0;
}
