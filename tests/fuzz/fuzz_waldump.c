/* links: pgvigil_pg */
/* SPDX-License-Identifier: PostgreSQL */
/* tests/fuzz/fuzz_waldump.c - what pg_waldump, pg_rewind and pg_basebackup say, and files that a
 * server leaves: one text, read by every reader of such. */
#include "base/log.h"
#include "pg/pgarchive.h"
#include "pg/pgclone.h"
#include "pg/pgrewind.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgv_str text = { (const char *)data, size }, first, rest;
    struct pgtool_args args;
    struct pgwal_record r;
    struct pgv_arena a;
    char name[25];
    uint64_t bytes = 0, total = 0;
    int percent;

    pgv_log_configure_ctl(PGV_CRITICAL);
    if (pgwal_parse_record(text, &r)) {
        (void)pgwal_is_switch(&r);
        (void)pgwal_is_shutdown_checkpoint(&r);
    }
    (void)pgv_str_cut(text, '\n', &first, &rest);
    (void)pgwal_parse_checkpoint_end(first, rest, 0x2000028);
    if (pgrewind_missing_wal(text, name))
        PGV_ASSERT(strspn(name, "0123456789ABCDEF") == 24 && strlen(name) == 24);
    percent = pgclone_parse_progress(text, &bytes, &total);
    PGV_ASSERT(percent >= -1 && percent <= 100);
    pgv_arena_init(&a, 1u << 20);
    pgtool_args_init(&args, &a);
    pgcrash_parse_opts(text, &args);
    for (size_t i = 0; i < args.n; i++)
        PGV_ASSERT(args.v[i] != NULL);
    pgv_arena_done(&a);
    return 0;
}
