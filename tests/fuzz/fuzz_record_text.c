/* links: pgvigil_record */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_record_text.c - a trace as text, line by line. What was understood is written
 * again, and understood alike.
 */
#include "agent/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct record_text got, put, again;
static struct ha world, world_again;

static void world_line(struct pgv_str line, struct pgv_buf *b, struct pgv_buf *x, struct pgv_buf *y)
{
    if (!record_text_get_world(line, &world, NULL))
        return;
    pgv_buf_reset(b);
    PGV_ASSERT(record_text_put_world(b, &world));
    PGV_ASSERT(record_text_get_world((struct pgv_str){ b->p, b->n - 1 }, &world_again, NULL));
    PGV_ASSERT(record_same_world(&world, &world_again, x, y));
}

static void event_line(struct pgv_str line, struct pgv_buf *b)
{
    if (!record_text_get_event(&got, line, NULL))
        return;
    pgv_buf_reset(b);
    PGV_ASSERT(record_text_put_event(&put, b, &got.last.ev));
    PGV_ASSERT(record_text_get_event(&again, (struct pgv_str){ b->p, b->n - 1 }, NULL));
    PGV_ASSERT(again.last.ev.type == got.last.ev.type);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgv_str rest = { (const char *)data, size }, line;
    struct pgv_buf b, x, y;

    if (size > 1u << 14)
        return 0;
    pgv_buf_init(&b, 64u << 20);
    pgv_buf_init(&x, RECORD_PAYLOAD_BYTES_MAX);
    pgv_buf_init(&y, RECORD_PAYLOAD_BYTES_MAX);
    record_text_init(&got);
    record_text_init(&put);
    record_text_init(&again);
    while (rest.n) {
        if (!pgv_str_cut(rest, '\n', &line, &rest))
            rest = (struct pgv_str){ 0 };
        if (pgv_str_starts(line, "world"))
            world_line(line, &b, &x, &y);
        else
            event_line(line, &b);
    }
    pgv_buf_done(&b);
    pgv_buf_done(&x);
    pgv_buf_done(&y);
    return 0;
}
