/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_agent_record.c - the trace format: nothing lost, and readable however torn. */
#include "agent/record_fields.h"
#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SALT 77u

static struct ha worlds[2]; /* large */
static struct record_event event_read;
static struct dcs_cluster cluster;
static struct postmaster_facts facts;
static struct ha_policy policy;
static struct ha_peer peers[HA_PEERS_MAX];

/* Every field gets a value of its own, arrays are full. */
static void fill(const struct record_fields *fields, unsigned char *base, uint32_t *seed)
{
    for (unsigned i = 0; i < fields->n; i++) {
        const struct record_field *f = &fields->v[i];
        unsigned n = f->n;

        if (f->n_off != RECORD_ALL)
            memcpy(base + f->n_off, &n, sizeof(n));
        for (unsigned k = 0; k < n; k++) {
            unsigned char *p = base + f->off + (size_t)k * f->size;
            uint32_t v = ++*seed;

            switch (f->kind) {
            case RECORD_BOOL:
                *p = v & 1;
                break;
            case RECORD_ENUM:
                v %= f->limit;
                memcpy(p, &v, sizeof(v));
                break;
            case RECORD_UINT:
            case RECORD_INT:
                for (unsigned byte = 0; byte < f->size; byte++)
                    p[byte] = (unsigned char)(v * 31 + byte * 57 + 200);
                break;
            case RECORD_TEXT:
            case RECORD_URL:
                memset(p, 0, f->size);
                for (unsigned byte = 0; byte + 1 < f->size && byte < 1 + v % 60; byte++)
                    p[byte] = (unsigned char)('a' + (v + byte) % 26);
                break;
            case RECORD_STRUCT:
                fill(f->sub, p, seed);
                break;
            }
        }
    }
}

static void fill_all(const struct record_fields *fields, void *p, uint32_t seed)
{
    fill(fields, p, &seed);
}

/* Reads the only frame of @b. */
static void only_frame(struct pgv_buf *b, struct record_header *h, struct record_reader *r,
                       struct record_frame *f)
{
    record_header_init(h, "n1", b->n, SALT);
    record_reader_init(r, h, (const unsigned char *)b->p);
    assert_true(record_read_frame(r, f));
}

static void test_record_put_keyframe__every_field_comes_back(void **state)
{
    struct record_header h;
    struct record_reader r;
    struct record_frame f;
    struct pgv_buf b, x, y;
    char build[RECORD_BUILD_BYTES];
    bool continues = false;

    (void)state;
    pgv_buf_init(&b, RECORD_PAYLOAD_BYTES_MAX);
    pgv_buf_init(&x, RECORD_PAYLOAD_BYTES_MAX);
    pgv_buf_init(&y, RECORD_PAYLOAD_BYTES_MAX);
    memset(&worlds[0], 0, sizeof(worlds[0]));
    fill_all(&record_ha_fields, &worlds[0], 5);
    assert_true(record_put_keyframe(&b, SALT, 1, true, &worlds[0]));
    only_frame(&b, &h, &r, &f);
    memset(&worlds[1], 0xff, sizeof(worlds[1]));
    assert_true(record_read_keyframe(&f, &worlds[1], &continues, build));
    assert_true(continues);
    assert_string_equal(build, record_build());
    assert_memory_equal(&worlds[0], &worlds[1], sizeof(worlds[0]));
    assert_null(record_world_difference(&worlds[0], &worlds[1], &x, &y));
    worlds[1].restarts_in_place++;
    assert_string_equal(record_world_difference(&worlds[0], &worlds[1], &x, &y),
                        "restarts_in_place");
    record_reader_done(&r);
    pgv_buf_done(&b);
    pgv_buf_done(&x);
    pgv_buf_done(&y);
}

/* Marks what the table covers; what is left must be padding: less than one aligned word. */
static void cover(const struct record_fields *fields, unsigned char *map)
{
    for (unsigned i = 0; i < fields->n; i++) {
        const struct record_field *f = &fields->v[i];

        if (f->n_off != RECORD_ALL)
            memset(map + f->n_off, 1, sizeof(unsigned));
        for (unsigned k = 0; k < f->n; k++) {
            if (f->kind == RECORD_STRUCT)
                cover(f->sub, map + f->off + (size_t)k * f->size);
            else
                memset(map + f->off + (size_t)k * f->size, 1, f->size);
        }
    }
}

static void test_record_ha_fields__cover_the_whole_world(void **state)
{
    static unsigned char map[sizeof(struct ha)];
    struct dcs_cluster *views[] = { &((struct ha *)map)->view, &((struct ha *)map)->last_led };
    size_t gap = 0;

    (void)state;
    memset(map, 0, sizeof(map));
    cover(&record_ha_fields, map);
    for (unsigned v = 0; v < 2; v++) /* the one pointer, which the brain does not follow */
        for (unsigned i = 0; i < DCS_MEMBERS_MAX; i++)
            memset((unsigned char *)&views[v]->members[i].data, 1, sizeof(void *));
    for (size_t i = 0; i < sizeof(map); i++) {
        gap = map[i] ? 0 : gap + 1;
        if (gap >= sizeof(uint64_t))
            fail_msg("bytes before offset %zu of struct ha are not recorded", i + 1);
    }
}

static void test_record_put_step__every_event_and_effect_comes_back(void **state)
{
    static struct ha_effects fx, fx_read;

    (void)state;
    fill_all(&record_cluster_fields, &cluster, 1);
    fill_all(&record_facts_fields, &facts, 2);
    fill_all(&record_policy_fields, &policy, 3);
    for (unsigned i = 0; i < HA_PEERS_MAX; i++)
        fill_all(&record_peer_fields, &peers[i], 4 + i);
    for (unsigned type = 0; type <= HA_EV_SHUTDOWN; type++) {
        struct ha_event ev = { .type = (enum ha_event_type)type, .now_ms = 1u << 30 };
        struct record_header h;
        struct record_reader r;
        struct record_frame f;
        struct pgv_buf b, x, y;
        char words[1024];

        pgv_buf_init(&b, RECORD_PAYLOAD_BYTES_MAX);
        pgv_buf_init(&x, RECORD_PAYLOAD_BYTES_MAX);
        pgv_buf_init(&y, RECORD_PAYLOAD_BYTES_MAX);
        fill_all(&record_event_fields[type], &ev, 9);
        ev.wall_us = -5;
        if (type == HA_EV_POLICY)
            ev.u.policy = &policy;
        if (type == HA_EV_VIEW)
            ev.u.view.cluster = &cluster;
        if (type == HA_EV_FACTS || type == HA_EV_LOOKED)
            ev.u.facts = &facts;
        if (type == HA_EV_PEERS) {
            ev.u.peers.n = HA_PEERS_MAX;
            ev.u.peers.peers = peers;
        }
        memset(&fx, 0, sizeof(fx));
        fx.wake_ms = UINT64_MAX;
        for (fx.n = 0; fx.n <= HA_DO_EXIT; fx.n++) {
            struct ha_effect *e = &fx.v[fx.n];

            e->type = (enum ha_effect_type)fx.n;
            e->why = HA_WHY_slots;
            memcpy(e->text, "because", 8);
            fill_all(&record_effect_fields[fx.n], e, fx.n);
        }
        assert_true(record_put_step(&b, SALT, 3, &ev, &fx));
        only_frame(&b, &h, &r, &f);
        assert_int_equal(f.seq, 3);
        assert_true(record_read_step(&f, &event_read, &fx_read));
        assert_int_equal(event_read.ev.type, type);
        assert_int_equal(event_read.ev.now_ms, ev.now_ms);
        assert_int_equal(event_read.ev.wall_us, -5);
        assert_memory_equal(&fx, &fx_read, sizeof(fx));
        assert_true(record_same_effects(&fx, &fx_read, &x, &y));
        fx_read.v[HA_DO_DCS].u.dcs.optime++;
        assert_false(record_same_effects(&fx, &fx_read, &x, &y));
        if (type == HA_EV_POLICY)
            assert_memory_equal(event_read.ev.u.policy, &policy, sizeof(policy));
        if (type == HA_EV_VIEW)
            assert_memory_equal(event_read.ev.u.view.cluster, &cluster, sizeof(cluster));
        if (type == HA_EV_LOOKED)
            assert_memory_equal(event_read.ev.u.facts, &facts, sizeof(facts));
        if (type == HA_EV_PEERS)
            assert_memory_equal(event_read.ev.u.peers.peers, peers, sizeof(peers));
        if (type == HA_EV_REQUEST)
            assert_memory_equal(&event_read.ev.u.request, &ev.u.request, sizeof(ev.u.request));
        record_say_event(&event_read.ev, words, sizeof(words));
        assert_true(words[0] != 0);
        for (unsigned i = 0; i < fx.n; i++) {
            record_say_effect(&fx.v[i], words, sizeof(words));
            assert_true(words[0] != 0);
        }
        record_reader_done(&r);
        pgv_buf_done(&b);
        pgv_buf_done(&x);
        pgv_buf_done(&y);
    }
}

static void test_record_hold__becomes_the_same_frame(void **state)
{
    static struct ha_effects fx;
    struct pgv_buf held, frame, back;
    unsigned n_held = 0;
    uint64_t seq;
    size_t bytes;

    (void)state;
    pgv_buf_init(&held, 4096);
    pgv_buf_init(&frame, RECORD_PAYLOAD_BYTES_MAX);
    pgv_buf_init(&back, RECORD_PAYLOAD_BYTES_MAX);
    fill_all(&record_cluster_fields, &cluster, 1);
    fill_all(&record_facts_fields, &facts, 2);
    fill_all(&record_policy_fields, &policy, 3);
    for (unsigned type = 0; type <= HA_EV_SHUTDOWN; type++) {
        for (unsigned effect = 0; effect <= HA_DO_EXIT; effect++) {
            struct ha_event ev = { .type = (enum ha_event_type)type, .now_ms = 1u << 30 };
            bool quiet = type != HA_EV_POLICY && type != HA_EV_VIEW && type != HA_EV_PEERS &&
                         type != HA_EV_REQUEST && effect != HA_DO_JOB && effect != HA_DO_EXIT;

            fill_all(&record_event_fields[type], &ev, 9);
            ev.wall_us = -5;
            if (type == HA_EV_POLICY)
                ev.u.policy = &policy;
            if (type == HA_EV_VIEW)
                ev.u.view.cluster = &cluster;
            if (type == HA_EV_FACTS || type == HA_EV_LOOKED)
                ev.u.facts = &facts;
            if (type == HA_EV_PEERS)
                ev.u.peers.n = 0;
            memset(&fx, 0, sizeof(fx));
            fx.wake_ms = UINT64_MAX;
            fx.n = 2;
            fx.v[0].type = HA_DO_LOOK;
            fx.v[1].type = (enum ha_effect_type)effect;
            fx.v[1].why = HA_WHY_slots;
            memcpy(fx.v[1].text, "because", 8);
            fill_all(&record_effect_fields[effect], &fx.v[1], effect);
            if (effect == HA_DO_DCS && type % 2) /* names nobody */
                fx.v[1].u.dcs.candidate[0] = 0;
            if (effect == HA_DO_CYCLE_DONE) /* as long as there is room for */
                memset(fx.v[1].text, 'x', sizeof(fx.v[1].text) - 1);
            pgv_buf_reset(&held);
            if (!record_hold(&held, 77, &ev, &fx)) {
                assert_int_equal(held.n, 0);
                continue;
            }
            assert_true(quiet);
            n_held++;
            for (size_t n = 0; n < RECORD_FRAME_BYTES; n++)
                assert_int_equal(record_piece(held.p, n, &bytes, &seq), RECORD_CUT);
            assert_int_equal(record_piece(held.p, RECORD_FRAME_BYTES, &bytes, &seq), RECORD_HELD);
            assert_int_equal(bytes, held.n);
            assert_int_equal(seq, 77);
            pgv_buf_reset(&frame);
            pgv_buf_reset(&back);
            assert_true(record_put_step(&frame, SALT, 77, &ev, &fx));
            assert_true(record_put_held(&back, SALT, held.p));
            assert_int_equal(back.n, frame.n);
            assert_memory_equal(back.p, frame.p, frame.n);
            assert_int_equal(record_piece(frame.p, frame.n, &bytes, &seq), RECORD_FRAME);
            assert_int_equal(bytes, frame.n);
            assert_int_equal(seq, 77);
            frame.p[0] ^= 1;
            assert_int_equal(record_piece(frame.p, frame.n, &bytes, &seq), RECORD_DAMAGED);
        }
    }
    assert_int_equal(n_held, 8 * 6); /* what quiet cycles are made of */
    /* No room: nothing of it stays. */
    for (size_t room = 0; room < RECORD_HELD_BYTES_MAX; room += 7) {
        pgv_buf_done(&held);
        pgv_buf_init(&held, room);
        fx.n = 1;
        fx.v[0].type = HA_DO_LOOK;
        assert_false(record_hold(&held, 1, &(struct ha_event){ .type = HA_EV_TICK }, &fx));
        assert_true(held.n == 0 && !held.failed);
    }
    /* Too long a step is none of a quiet cycle. */
    pgv_buf_done(&held);
    pgv_buf_init(&held, 65536);
    fx.n = HA_EFFECTS_MAX;
    for (unsigned i = 0; i < fx.n; i++) {
        fx.v[i].type = HA_DO_CYCLE_DONE;
        memset(fx.v[i].text, 'x', sizeof(fx.v[i].text) - 1);
    }
    assert_false(record_hold(&held, 1, &(struct ha_event){ .type = HA_EV_TICK }, &fx));
    assert_true(held.n == 0 && !held.failed);
    pgv_buf_done(&held);
    pgv_buf_done(&frame);
    pgv_buf_done(&back);
}

static bool contains(const struct pgv_buf *b, const char *text)
{
    return memmem(b->p, b->n, text, strlen(text)) != NULL;
}

static void test_record_put_step__leaves_passwords_out(void **state)
{
    static struct ha_effects fx;
    static const char *const urls[] = {
        "postgres://rep:s3cret@10.0.0.1:5432/postgres",
        "postgres://rep:s3c/s3cret@10.0.0.1:5432/postgres",
        "postgres://rep@10.0.0.1:5432/postgres?password=s3cret",
        "postgres://10.0.0.1:5432/postgres#s3cret",
    };

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct ha_event ev = { .type = HA_EV_VIEW };
        struct pgv_buf b;

        pgv_buf_init(&b, RECORD_PAYLOAD_BYTES_MAX);
        memset(&cluster, 0, sizeof(cluster));
        cluster.n_members = 1;
        assert_true(pgv_copyz(cluster.members[0].conn_url, PGV_URL_BYTES, urls[i]));
        memset(&fx, 0, sizeof(fx));
        fx.n = 1;
        fx.v[0].type = HA_DO_JOB;
        assert_true(pgv_copyz(fx.v[0].u.job.node.conn_url, PGV_URL_BYTES, urls[i]));
        ev.u.view.cluster = &cluster;
        assert_true(record_put_step(&b, SALT, 1, &ev, &fx));
        assert_false(contains(&b, "s3cret"));
        assert_true(contains(&b, "postgres://10.0.0.1:5432/postgres"));
        pgv_buf_done(&b);
    }
}

#define RING 700u

/* Puts a frame at the writer's place, as the ring file does. */
static void put_ring(unsigned char *ring, size_t *at, const struct pgv_buf *frame, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ring[(*at + i) % RING] = (unsigned char)frame->p[i];
    *at = (*at + bytes) % RING;
}

/* The writer is killed after each byte of each frame: what was whole before is told in order. */
static void test_record_reader__finds_the_frames_of_a_ring_torn_at_any_byte(void **state)
{
    static struct ha_effects fx;
    static unsigned char ring[RING], torn[RING], full[RING];
    struct record_header h;
    size_t at = 0;

    (void)state;
    memset(ring, 0, sizeof(ring));
    memset(&fx, 0, sizeof(fx));
    record_header_init(&h, "n1", RING, SALT);
    for (uint64_t seq = 1; seq <= 60; seq++) {
        struct ha_event ev = { .type = HA_EV_DCS, .now_ms = seq * 1000, .wall_us = (int64_t)seq };
        struct pgv_buf b;

        pgv_buf_init(&b, 4096);
        fx.n = (unsigned)(seq % 3);
        for (unsigned i = 0; i < fx.n; i++)
            memset(fx.v[i].text, 'x', (seq * 7) % 40);
        fx.n = fx.n > 2 ? 2 : fx.n;
        assert_true(record_put_step(&b, SALT, seq, &ev, &fx));
        for (size_t cut = 0; cut <= b.n; cut++) {
            struct record_reader r;
            struct record_frame f;
            size_t place = at, end = at;
            uint64_t expect;
            bool whole;

            memcpy(torn, ring, RING);
            put_ring(torn, &place, &b, cut);
            memcpy(full, ring, RING);
            put_ring(full, &end, &b, b.n);
            whole = memcmp(torn, full, RING) == 0; /* the missing bytes stood there already */
            record_reader_init(&r, &h, torn);
            assert_int_equal(r.last_seq, whole ? seq : seq - 1);
            assert_int_equal(r.end, whole ? end : at);
            expect = r.first_seq;
            while (record_read_frame(&r, &f)) {
                assert_int_equal(f.seq, expect);
                assert_true(record_read_step(&f, &event_read, &fx));
                assert_int_equal(event_read.ev.now_ms, f.seq * 1000);
                expect++;
            }
            if (r.last_seq) {
                assert_int_equal(expect, r.last_seq + 1);
                /* Frames are at most 130 bytes: four of them must have survived. */
                assert_true(r.last_seq < 4 || r.last_seq - r.first_seq >= 3);
            }
            record_reader_done(&r);
        }
        put_ring(ring, &at, &b, b.n);
        pgv_buf_done(&b);
    }
}

/* The check value of CRC-32/ISO-HDLC, and the same in any pieces. */
static void test_record_crc__is_the_usual_one(void **state)
{
    static const char text[] = "123456789";

    (void)state;
    for (size_t cut = 0; cut <= 9; cut++)
        assert_int_equal(record_crc(record_crc(0, text, cut), text + cut, 9 - cut), 0xcbf43926);
}

static void test_record_header_read__refuses_what_is_not_ours(void **state)
{
    unsigned char bytes[RECORD_HEADER_BYTES];
    struct record_header h, back;
    struct pgv_error err;

    (void)state;
    record_header_init(&h, "n1", 1234567, SALT);
    record_header_write(&h, bytes);
    assert_true(record_header_read(bytes, sizeof(bytes), &back, &err));
    assert_string_equal(back.node, "n1");
    assert_int_equal(back.ring_bytes, 1234567);
    assert_false(record_header_read(bytes, sizeof(bytes) - 1, &back, &err));
    assert_int_equal(back.seq, 0);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bool pause = i >= RECORD_PAUSE_OFF && i < RECORD_PAUSE_OFF + RECORD_PAUSE_BYTES;

        bytes[i] ^= 0x10;
        assert_int_equal(record_header_read(bytes, sizeof(bytes), &back, &err), pause);
        bytes[i] ^= 0x10;
    }
    h.seq = 300;
    h.at = 70000;
    record_header_write_pause(&h, bytes + RECORD_PAUSE_OFF);
    assert_true(record_header_read(bytes, sizeof(bytes), &back, &err));
    assert_int_equal(back.seq, 300);
    assert_int_equal(back.at, 70000);
}

/* ---- as text ------------------------------------------------------------------------------ */

#define TEXT_MAX (64u << 20)

static void test_record_text_put_world__every_field_comes_back(void **state)
{
    static const char odd[] = "a \"word\" = \\ and\n\x7f \xc3\xa4";
    struct pgv_buf b;
    struct pgv_str line;
    struct pgv_error err = { 0 };

    (void)state;
    pgv_buf_init(&b, TEXT_MAX);
    memset(&worlds[0], 0, sizeof(worlds[0]));
    fill_all(&record_ha_fields, &worlds[0], 5);
    memset(worlds[0].status, 0, sizeof(worlds[0].status));
    memcpy(worlds[0].status, odd, sizeof(odd));
    assert_true(record_text_put_world(&b, &worlds[0]));
    line = pgv_str_trim((struct pgv_str){ b.p, b.n });
    assert_null(memchr(line.p, '\n', line.n));
    memset(&worlds[1], 0xff, sizeof(worlds[1]));
    assert_true(record_text_get_world(line, &worlds[1], &err));
    assert_memory_equal(&worlds[0], &worlds[1], sizeof(worlds[0]));
    pgv_buf_done(&b);
}

static struct record_text text_put, text_got; /* large */

static const char *put_line(struct pgv_buf *b, const struct ha_event *ev)
{
    pgv_buf_reset(b);
    assert_true(record_text_put_event(&text_put, b, ev));
    b->p[b->n - 1] = 0; /* the end of the line */
    return b->p;
}

static void test_record_text_put_event__every_event_comes_back(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, TEXT_MAX);
    record_text_init(&text_put);
    record_text_init(&text_got);
    /* Twice, with other values: what is told is only what has changed. */
    for (unsigned i = 0; i < 2 * (HA_EV_SHUTDOWN + 1u); i++) {
        unsigned type = i % (HA_EV_SHUTDOWN + 1u), round = i / (HA_EV_SHUTDOWN + 1u);
        struct ha_event ev = { .type = (enum ha_event_type)type, .now_ms = 1u << 30 }, *got;

        memset(&cluster, 0, sizeof(cluster));
        memset(&policy, 0, sizeof(policy));
        fill_all(&record_cluster_fields, &cluster, round);
        if (round)
            cluster.n_members = 2; /* some go */
        fill_all(&record_facts_fields, &facts, 2 + round);
        fill_all(&record_policy_fields, &policy, 3 + round);
        for (unsigned k = 0; k < HA_PEERS_MAX; k++)
            fill_all(&record_peer_fields, &peers[k], 4 + k + round);
        fill_all(&record_event_fields[type], &ev, 9);
        ev.wall_us = -5;
        if (type == HA_EV_POLICY)
            ev.u.policy = &policy;
        if (type == HA_EV_VIEW)
            ev.u.view.cluster = &cluster;
        if (type == HA_EV_FACTS || type == HA_EV_LOOKED)
            ev.u.facts = &facts;
        if (type == HA_EV_PEERS) {
            ev.u.peers.n = 3;
            ev.u.peers.peers = peers;
        }
        assert_true(record_text_get_event(&text_got, pgv_str(put_line(&b, &ev)), &err));
        got = &text_got.last.ev;
        assert_int_equal(got->type, type);
        assert_int_equal(got->now_ms, ev.now_ms);
        assert_int_equal(got->wall_us, -5);
        if (type == HA_EV_POLICY)
            assert_memory_equal(got->u.policy, &policy, sizeof(policy));
        if (type == HA_EV_VIEW) {
            assert_int_equal(got->u.view.cluster->n_members, cluster.n_members);
            assert_memory_equal(got->u.view.cluster->members, cluster.members,
                                cluster.n_members * sizeof(cluster.members[0]));
            assert_memory_equal(&got->u.view.cluster->failover, &cluster.failover,
                                sizeof(cluster.failover));
        }
        if (type == HA_EV_FACTS || type == HA_EV_LOOKED)
            assert_memory_equal(got->u.facts, &facts, sizeof(facts));
        if (type == HA_EV_PEERS) {
            assert_int_equal(got->u.peers.n, 3);
            assert_memory_equal(got->u.peers.peers, peers, 3 * sizeof(peers[0]));
        }
        if (type == HA_EV_REQUEST)
            assert_memory_equal(&got->u.request, &ev.u.request, sizeof(ev.u.request));
    }
    pgv_buf_done(&b);
}

static void test_record_text_put_event__tells_what_has_changed(void **state)
{
    struct ha_event ev = { .type = HA_EV_LOOKED, .now_ms = 7 };
    struct pgv_error err = { 0 };
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, TEXT_MAX);
    record_text_init(&text_put);
    record_text_init(&text_got);
    memset(&facts, 0, sizeof(facts));
    facts.state = PGV_STATE_RUNNING;
    facts.role = PGV_ROLE_REPLICA;
    ev.u.facts = &facts;
    assert_string_equal(put_line(&b, &ev), "at 7 0 looked facts.state=running facts.role=replica");
    facts.wal_lsn = 5;
    assert_string_equal(put_line(&b, &ev), "at 7 0 looked facts.wal_lsn=5");
    ev = (struct ha_event){ .type = HA_EV_DCS };
    ev.u.dcs.op = HA_DCS_RENEW;
    assert_string_equal(put_line(&b, &ev), "at 0 0 dcs u.dcs.op=renew_leader");
    ev = (struct ha_event){ .type = HA_EV_VIEW };
    assert_string_equal(put_line(&b, &ev), "at 0 0 view nothing");
    assert_true(record_text_get_event(&text_got, pgv_str(b.p), &err));
    assert_null(text_got.last.ev.u.view.cluster);
    /* Members come, go, and others come: nothing of the old ones is left. */
    memset(&cluster, 0, sizeof(cluster));
    ev.u.view.cluster = &cluster;
    for (unsigned n = 2; n != 0; n--) {
        cluster.n_members = 2;
        memcpy(cluster.members[1].name, "n2", 3);
        cluster.members[1].timeline = n == 2 ? 5 : 0;
        assert_true(record_text_get_event(&text_got, pgv_str(put_line(&b, &ev)), &err));
        assert_int_equal(text_got.last.cluster.members[1].timeline, n == 2 ? 5 : 0);
        cluster.n_members = 1;
        assert_true(record_text_get_event(&text_got, pgv_str(put_line(&b, &ev)), &err));
        assert_int_equal(text_got.last.cluster.n_members, 1);
    }
    pgv_buf_done(&b);
}

static void test_record_text_put_effects__every_decision_is_a_line(void **state)
{
    static struct ha_effects fx;
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, TEXT_MAX);
    fx.n = 2;
    fx.v[0].type = HA_DO_DCS;
    fx.v[0].why = HA_WHY_renew;
    fx.v[0].u.dcs.op = HA_DCS_RENEW;
    fx.v[0].u.dcs.deadline_ms = 900;
    fx.v[1].type = HA_DO_CYCLE_DONE;
    fx.v[1].why = HA_WHY_leader_steady;
    memcpy(fx.v[1].text, "no action", 10);
    fx.wake_ms = 300;
    assert_true(record_text_put_effects(&b, &fx, 200));
    assert_string_equal(pgv_buf_cstr(&b),
                        "= dcs renew u.dcs.op=renew_leader u.dcs.deadline_ms=900\n"
                        "= cycle_done leader_steady\n= wake 100\n");
    pgv_buf_done(&b);
}

static void test_record_text_put_event__leaves_passwords_out(void **state)
{
    struct ha_event ev = { .type = HA_EV_VIEW };
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, TEXT_MAX);
    record_text_init(&text_put);
    memset(&cluster, 0, sizeof(cluster));
    cluster.n_members = 1;
    memcpy(cluster.members[0].conn_url, "postgres://rep:s3cret@10.0.0.1:5432/db?p=s3cret", 48);
    ev.u.view.cluster = &cluster;
    assert_null(strstr(put_line(&b, &ev), "s3cret"));
    assert_non_null(strstr(b.p, "cluster.members[0].conn_url=postgres://10.0.0.1:5432/db"));
    pgv_buf_done(&b);
}

static void test_record_text_get_event__names_the_word_that_is_wrong(void **state)
{
    static const char *const wrong[][2] = {
        { "", "is expected" },
        { "world", "is expected" },
        { "at 1 2", "is expected" },
        { "at x 2 tick", "is expected" },
        { "at 1 2 tock", "tock" },
        { "at 1 2 tick now=1", "now=1" },
        { "at 1 2 looked facts.alive", "facts.alive" },
        { "at 1 2 looked facts.alive=2", "facts.alive=2" },
        { "at 1 2 looked facts.state=lying", "facts.state=lying" },
        { "at 1 2 looked facts.timeline=4294967296", "facts.timeline" },
        { "at 1 2 looked facts.sysid=0123456789012345678901234", "facts.sysid" },
        { "at 1 2 looked facts.sysid=\"12", "does not end" },
        { "at 1 2 looked facts.sysid=\"\\00\"", "does not end" },
        { "at 1 2 looked facts.sysid[0]=1", "facts.sysid" },
        { "at 1 2 view cluster.members[0].name=n1", "cluster.members[0]" },
        { "at 1 2 view cluster.members#=100000", "cluster.members#" },
        { "at 1 2 view cluster.members#=1 cluster.members[1].name=n1", "members[1]" },
        { "at 1 2 view cluster.members#=1 cluster.members[0.name=n1", "members[0" },
        { "at 1 2 view nothing cluster.empty=1", "cluster.empty" },
        { "at 1 2 peers peers#=4000000000", "peers#" },
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct pgv_error err = { 0 };

        record_text_init(&text_got);
        if (record_text_get_event(&text_got, pgv_str(wrong[i][0]), &err))
            fail_msg("'%s' is taken", wrong[i][0]);
        assert_int_equal(err.code, PGV_EINVALID);
        assert_non_null(strstr(err.msg, wrong[i][1]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_put_keyframe__every_field_comes_back),
        cmocka_unit_test(test_record_ha_fields__cover_the_whole_world),
        cmocka_unit_test(test_record_put_step__every_event_and_effect_comes_back),
        cmocka_unit_test(test_record_hold__becomes_the_same_frame),
        cmocka_unit_test(test_record_put_step__leaves_passwords_out),
        cmocka_unit_test(test_record_reader__finds_the_frames_of_a_ring_torn_at_any_byte),
        cmocka_unit_test(test_record_crc__is_the_usual_one),
        cmocka_unit_test(test_record_header_read__refuses_what_is_not_ours),
        cmocka_unit_test(test_record_text_put_world__every_field_comes_back),
        cmocka_unit_test(test_record_text_put_event__every_event_comes_back),
        cmocka_unit_test(test_record_text_put_event__tells_what_has_changed),
        cmocka_unit_test(test_record_text_put_effects__every_decision_is_a_line),
        cmocka_unit_test(test_record_text_put_event__leaves_passwords_out),
        cmocka_unit_test(test_record_text_get_event__names_the_word_that_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
