/* links: pgvigil_base */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_yaml.c - whatever bytes come: a value or an error; what we write we read back.
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

    if (pgv_yaml_parse(a, "fuzz", text, &v, &err)) {
        PGV_ASSERT(v && err.code == PGV_OK);
        return v;
    }
    PGV_ASSERT(!v && err.code != PGV_OK && err.msg[0]);
    return NULL;
}

/* U+0085 is written as a line break and read as a newline, as PyYAML has it. */
static bool survives(struct pgv_str text)
{
    return !text.n || !memmem(text.p, text.n, "\xc2\x85", 2);
}

static void check_written(const struct pgv_value *v,
                          bool (*write)(struct pgv_buf *, const struct pgv_value *))
{
    struct pgv_arena a;
    struct pgv_buf out;
    struct pgv_value *back;

    pgv_arena_init(&a, 64 * 1024 * 1024);
    pgv_buf_init(&out, 64 * 1024 * 1024);
    PGV_ASSERT(write(&out, v));
    if (out.n <= PGV_YAML_BYTES_MAX && survives(pgv_buf_view(&out))) {
        back = parse(&a, pgv_buf_view(&out));
        PGV_ASSERT(back);
        PGV_ASSERT(pgv_value_equal(v, back));
    }
    pgv_buf_done(&out);
    pgv_arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t blocks = pgv_alloc_blocks_in_use();
    struct pgv_arena a;
    struct pgv_value *v;
    uint8_t choice;

    if (size == 0)
        return 0;
    choice = data[0];
    pgv_arena_init(&a, choice & 1 ? (size_t)choice * 64 : 256 * 1024);
    pgv_alloc_fail_at(choice >> 5, false);
    v = parse(&a, (struct pgv_str){ (const char *)data + 1, size - 1 });
    pgv_alloc_fail_at(0, false);
    if (v) {
        check_written(v, pgv_yaml_write);
        check_written(v, pgv_yaml_write_flow);
    }
    pgv_arena_done(&a);
    PGV_ASSERT(pgv_alloc_blocks_in_use() == blocks);
    return 0;
}
