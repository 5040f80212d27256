/* links: pgvigil_record */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_record.c - a recording as a stranger may hand it to --replay: the ring, and
 * payloads whose frames are sound. What was read must be written again to the same bytes.
 */
#include "agent/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct record_event event;
static struct ha_effects effects;
static struct ha world;

static void read_ring(const uint8_t *data, size_t size)
{
    struct record_header h;
    struct record_reader r;
    struct record_frame f;
    char build[RECORD_BUILD_BYTES], words[4096];
    bool continues;
    uint64_t last = 0;

    record_header_init(&h, "n1", size, 0);
    record_reader_init(&r, &h, data);
    while (record_read_frame(&r, &f)) {
        PGV_ASSERT(!last || f.seq == last + 1);
        last = f.seq;
        if (record_read_keyframe(&f, &world, &continues, build))
            continue;
        if (!record_read_step(&f, &event, &effects))
            continue;
        record_say_event(&event.ev, words, sizeof(words));
        for (unsigned i = 0; i < effects.n; i++)
            record_say_effect(&effects.v[i], words, sizeof(words));
    }
    record_reader_done(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record_frame f = { .seq = 1 };
    struct record_header h;
    struct pgv_buf b, x, y;
    char build[RECORD_BUILD_BYTES], words[4096];
    bool continues;

    if (size < 1 || size > 1u << 16)
        return 0;
    if (data[0] & 1) {
        read_ring(data + 1, size - 1);
        (void)!record_header_read(data + 1, size - 1, &h, NULL);
        return 0;
    }
    pgv_buf_init(&b, RECORD_PAYLOAD_BYTES_MAX + RECORD_FRAME_BYTES);
    pgv_buf_init(&x, RECORD_PAYLOAD_BYTES_MAX);
    pgv_buf_init(&y, RECORD_PAYLOAD_BYTES_MAX);
    f.type = data[0] & 2 ? RECORD_KEYFRAME : RECORD_STEP;
    f.payload = data + 1;
    f.payload_bytes = size - 1;
    if (f.type == RECORD_KEYFRAME) {
        if (record_read_keyframe(&f, &world, &continues, build)) {
            PGV_ASSERT(record_put_keyframe(&b, 0, 1, continues, &world));
            PGV_ASSERT(record_same_world(&world, &world, &x, &y));
        }
    } else if (record_read_step(&f, &event, &effects)) {
        PGV_ASSERT(record_put_step(&b, 0, 1, &event.ev, &effects));
        record_say_event(&event.ev, words, sizeof(words));
        for (unsigned i = 0; i < effects.n; i++)
            record_say_effect(&effects.v[i], words, sizeof(words));
        PGV_ASSERT(record_same_effects(&effects, &effects, &x, &y));
    }
    pgv_buf_done(&b);
    pgv_buf_done(&x);
    pgv_buf_done(&y);
    return 0;
}
