/* links: pgvigil_base */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_parse.c - the small formats: each reader over the same bytes, and what can be
 * written back is read back.
 */
#include "base/alloc.h"
#include "base/parse.h"
#include "base/vocabulary.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_numbers(struct pgv_str s)
{
    static const char *const units[] = { NULL, "B", "kB", "MB", "8kB", "ms", "s", "min" };
    char text[PGV_REAL_BYTES];
    int64_t i, back;
    double d;

    for (size_t u = 0; u < sizeof(units) / sizeof(*units); u++) {
        if (pgv_parse_int(s, units[u], &i)) {
            pgv_format_unit(i, units[u], text, sizeof(text));
            /* Beyond 2^53 the arithmetic of units rounds, as the original's does. */
            if (i > -(INT64_C(1) << 40) && i < INT64_C(1) << 40)
                PGV_ASSERT(pgv_parse_int(pgv_str(text), units[u], &back) && back == i);
        }
        if (pgv_parse_real(s, units[u], &d)) {
            pgv_format_real(d, text);
            PGV_ASSERT(strtod(text, NULL) >= d && strtod(text, NULL) <= d);
        }
    }
}

static void check_moment(struct pgv_str s)
{
    char text[PGV_MOMENT_BYTES];
    int64_t us, us_back;
    int offset_s, offset_back;
    bool has_zone;

    if (!pgv_parse_moment(s, &us, &has_zone, &offset_s))
        return;
    pgv_format_moment(us, offset_s, text);
    PGV_ASSERT(pgv_parse_moment(pgv_str(text), &us_back, &has_zone, &offset_back));
    PGV_ASSERT(has_zone && us_back == us && offset_back == offset_s);
}

static void check_words(struct pgv_str s)
{
    char host[64], lsn_text[PGV_LSN_BYTES], slot[PGV_SLOT_NAME_BYTES], name[PGV_NAME_BYTES];
    struct pgv_error err;
    struct pgv_arena a;
    uint64_t lsn, back;
    char **argv;
    size_t argc, n = 0;
    int v;
    bool b;

    pgv_arena_init(&a, 1 << 20);
    if (pgv_shell_split(&a, s, &argv, &argc, &err)) {
        while (argv[n])
            n++;
        PGV_ASSERT(n == argc);
    }
    pgv_arena_done(&a);
    if (pgv_parse_host_port(s, 5432, host, sizeof(host), &v))
        PGV_ASSERT(v >= 1 && v <= 65535 && strlen(host) <= s.n);
    if (pgv_parse_lsn(s, &lsn)) {
        pgv_format_lsn(lsn, lsn_text);
        PGV_ASSERT(pgv_parse_lsn(pgv_str(lsn_text), &back) && back == lsn);
    }
    if (pgv_copy(name, sizeof(name), s)) {
        pgv_slot_name(name, slot);
        PGV_ASSERT(strspn(slot, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(slot));
    }
    (void)!pgv_parse_pg_version(s, &v);
    (void)!pgv_parse_bool(s, &b);
    (void)!pgv_parse_u64(s, &lsn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgv_str s = { (const char *)data, size };

    check_numbers(s);
    check_moment(s);
    check_words(s);
    return 0;
}
