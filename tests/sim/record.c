/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/record.c - what the flight recorder of each simulated agent would have kept.
 *
 * One file for each node, in the format of the agent's: pgvigil --replay tells its story. Nothing
 * is overwritten in it: its ring is as long as its frames. Each new agent process begins with an
 * empty world, as a new start of the real one does.
 */
#include "tests/sim/sim.h"

#include "agent/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/** After so many bytes another keyframe: a replay that met a difference goes on from there. */
#define KEYFRAME_BYTES (1u << 20)

struct sim_recorder {
    FILE *to;
    struct record_header header;
    uint64_t seq, since_keyframe;
};

struct sim_recording {
    const char *dir;
    struct pgv_buf frame;
    struct sim_recorder nodes[SIM_NODES_MAX];
    struct pgv_error err;
    bool failed;
};

static void fail(struct sim_recording *r, const char *what)
{
    if (!r->failed)
        pgv_fail_sys(&r->err, errno, "a recording cannot be %s", what);
    r->failed = true;
}

static bool begin_file(struct sim *s, struct sim_node *n, struct sim_recorder *r)
{
    unsigned char head[RECORD_HEADER_BYTES];
    char path[600];

    if (r->to)
        return true;
    snprintf(path, sizeof(path), "%s/pgvigil-%s.rec", s->recording->dir, n->name);
    r->to = fopen(path, "wb");
    record_header_init(&r->header, n->name, 0, (uint32_t)s->plan.seed * SIM_NODES_MAX + n->i);
    record_header_write(&r->header, head);
    r->seq = r->since_keyframe = 0;
    if (r->to && fwrite(head, sizeof(head), 1, r->to) == 1)
        return true;
    fail(s->recording, "begun");
    return false;
}

static void write_frame(struct sim *s, struct sim_recorder *r, bool put)
{
    const struct pgv_buf *b = &s->recording->frame;

    if (!put) {
        errno = ENOMEM;
        fail(s->recording, "kept");
        return;
    }
    if (fwrite(b->p, b->n, 1, r->to) != 1)
        fail(s->recording, "written");
    r->header.ring_bytes += b->n;
    r->since_keyframe += b->n;
}

static void keyframe(struct sim *s, struct sim_recorder *r, bool continues, const struct ha *ha)
{
    pgv_buf_reset(&s->recording->frame);
    write_frame(s, r,
                record_put_keyframe(&s->recording->frame, r->header.salt, ++r->seq, continues, ha));
    r->since_keyframe = 0;
}

void recording_step(struct sim *s, struct sim_node *n, const struct ha_event *ev,
                    const struct ha_effects *fx)
{
    struct sim_recorder *r = &s->recording->nodes[n->i];

    if (s->recording->failed)
        return;
    pgv_buf_reset(&s->recording->frame);
    write_frame(s, r, record_put_step(&s->recording->frame, r->header.salt, ++r->seq, ev, fx));
    if (r->since_keyframe >= KEYFRAME_BYTES)
        keyframe(s, r, true, &n->ha);
}

void recording_agent(struct sim *s, struct sim_node *n)
{
    if (!s->recording || !begin_file(s, n, &s->recording->nodes[n->i]))
        return;
    keyframe(s, &s->recording->nodes[n->i], false, &n->ha);
}

struct sim_recording *recording_open(const char *dir)
{
    struct sim_recording *r = calloc(1, sizeof(*r));

    if (!r)
        abort();
    r->dir = dir;
    pgv_buf_init(&r->frame, RECORD_PAYLOAD_BYTES_MAX + RECORD_FRAME_BYTES);
    return r;
}

bool recording_close(struct sim_recording *r, struct pgv_error *err)
{
    unsigned char head[RECORD_HEADER_BYTES];
    bool ok;

    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        struct sim_recorder *node = &r->nodes[i];

        if (!node->to)
            continue;
        record_header_write(&node->header, head);
        if (fseek(node->to, 0, SEEK_SET) != 0 || fwrite(head, sizeof(head), 1, node->to) != 1)
            fail(r, "ended");
        if (fclose(node->to) != 0)
            fail(r, "ended");
    }
    ok = !r->failed;
    if (!ok)
        *err = r->err;
    pgv_buf_done(&r->frame);
    free(r);
    return ok;
}
