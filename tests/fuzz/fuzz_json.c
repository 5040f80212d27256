/* links: pgvigil_base */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_json.c - whatever bytes come: a value or an error, and a value survives writing.
 *
 * The first byte chooses the ceiling of the arena and which allocation fails, so that the ways out
 * are walked too.
 */
#include "base/value.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pgv_value *parse(struct pgv_arena *a, struct pgv_str text)
{
    struct pgv_error err = { 0 };
    struct pgv_value *v = NULL;

    if (pgv_json_parse(a, text, &v, &err)) {
        PGV_ASSERT(v && err.code == PGV_OK);
        return v;
    }
    PGV_ASSERT(!v && err.code != PGV_OK && err.msg[0]);
    PGV_ASSERT(!strstr(err.msg, "workspace")); /* the sum in json.c would be wrong */
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t blocks = pgv_alloc_blocks_in_use();
    struct pgv_arena a, b;
    struct pgv_buf out, again;
    struct pgv_value *v, *back;
    uint8_t choice;

    if (size == 0)
        return 0;
    choice = data[0];
    pgv_arena_init(&a, choice & 1 ? (size_t)choice * 64 : 16 * 1024 * 1024);
    pgv_arena_init(&b, 16 * 1024 * 1024);
    pgv_buf_init(&out, 16 * 1024 * 1024);
    pgv_buf_init(&again, 16 * 1024 * 1024);
    pgv_alloc_fail_at(choice >> 5, false);
    v = parse(&a, (struct pgv_str){ (const char *)data + 1, size - 1 });
    pgv_alloc_fail_at(0, false);
    if (v) {
        PGV_ASSERT(pgv_json_write(&out, v, PGV_JSON_COMPACT));
        back = parse(&b, pgv_buf_view(&out));
        PGV_ASSERT(back);
        PGV_ASSERT(pgv_json_write(&again, back, PGV_JSON_COMPACT));
        PGV_ASSERT(pgv_str_eq(pgv_buf_view(&out), pgv_buf_view(&again)));
        pgv_buf_reset(&out);
        PGV_ASSERT(pgv_value_text(&out, v));
    }
    pgv_buf_done(&out);
    pgv_buf_done(&again);
    pgv_arena_done(&a);
    pgv_arena_done(&b);
    PGV_ASSERT(pgv_alloc_blocks_in_use() == blocks);
    return 0;
}
