/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/record.c - the trace format: fields to bytes and back, frames, and finding them again.
 *
 * Numbers are LEB128 (signed ones zigzag), texts a length and their bytes, structs their fields in
 * the order of the table. The frame before each payload is fixed: mark, payload length, number,
 * CRC over all of it and the file's salt, little-endian.
 */
#include "agent/record.h"

#include "agent/record_fields.h"

#include <string.h>

#include "base/banned.h"

#define MARK 0xF19D7EC0u
static const char magic[8] = { 'P', 'G', 'V', 'R', 'E', 'C', '\r', '\n' };

/* ---- numbers ------------------------------------------------------------------------------ */

static uint32_t get32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Four bytes at a time: each of the four tables tells what a byte does so many bytes later. */
uint32_t record_crc(uint32_t crc, const void *data, size_t n)
{
    static uint32_t table[4][256];
    const unsigned char *p = data;

    if (!table[0][1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;

            for (unsigned later = 0; later < 4; later++) {
                for (unsigned bit = 0; bit < 8; bit++)
                    c = c & 1 ? (c >> 1) ^ 0xedb88320 : c >> 1;
                table[later][i] = c;
            }
        }
    crc = ~crc;
    for (; n >= 4; n -= 4, p += 4) {
        crc ^= get32(p);
        crc = table[3][crc & 0xff] ^ table[2][crc >> 8 & 0xff] ^ table[1][crc >> 16 & 0xff] ^
              table[0][crc >> 24];
    }
    for (; n; n--, p++)
        crc = (crc >> 8) ^ table[0][(crc ^ *p) & 0xff];
    return ~crc;
}

static void put32(unsigned char *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static void put64(unsigned char *p, uint64_t v)
{
    put32(p, (uint32_t)v);
    put32(p + 4, (uint32_t)(v >> 32));
}

static uint64_t get64(const unsigned char *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

#define UINT_BYTES_MAX 10

static unsigned encode_uint(unsigned char *p, uint64_t v)
{
    unsigned n = 0;

    while (v >= 0x80) {
        p[n++] = (unsigned char)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (unsigned char)v;
    return n;
}

bool record_put_uint(struct pgv_buf *b, uint64_t v)
{
    unsigned char bytes[UINT_BYTES_MAX];

    return pgv_buf_append(b, bytes, encode_uint(bytes, v));
}

bool record_get_uint(struct record_cursor *c, uint64_t *ret)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        unsigned char byte;

        if (c->p == c->end)
            return false;
        byte = *c->p++;
        if (shift == 63 && byte > 1)
            return false;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

static uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0);
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)((v >> 1) ^ (v & 1 ? UINT64_MAX : 0));
}

static bool put_int(struct pgv_buf *b, int64_t v)
{
    return record_put_uint(b, zigzag(v));
}

static bool get_int(struct record_cursor *c, int64_t *ret)
{
    uint64_t v;

    if (!record_get_uint(c, &v))
        return false;
    *ret = unzigzag(v);
    return true;
}

static bool put_text(struct pgv_buf *b, const char *text, size_t n)
{
    return record_put_uint(b, n) && (n == 0 || pgv_buf_append(b, text, n));
}

static bool get_text(struct record_cursor *c, char *ret, size_t ret_bytes)
{
    uint64_t n;

    if (!record_get_uint(c, &n) || n >= ret_bytes || n > (size_t)(c->end - c->p) ||
        memchr(c->p, 0, n))
        return false;
    memset(ret, 0, ret_bytes);
    memcpy(ret, c->p, n);
    c->p += n;
    return true;
}

/* ---- fields ------------------------------------------------------------------------------- */

/* Whatever width a field has in memory, its number is the same. */
uint64_t record_load_uint(const void *p, uint32_t size)
{
    uint64_t u64;
    uint32_t u32;
    uint16_t u16;

    switch (size) {
    case 8:
        memcpy(&u64, p, 8);
        return u64;
    case 4:
        memcpy(&u32, p, 4);
        return u32;
    case 2:
        memcpy(&u16, p, 2);
        return u16;
    default:
        PGV_ASSERT(size == 1);
        return *(const unsigned char *)p;
    }
}

int64_t record_load_int(const void *p, uint32_t size)
{
    uint64_t u = record_load_uint(p, size);
    unsigned unused = 64 - 8 * size;

    return unused ? (int64_t)(u << unused) >> unused : (int64_t)u;
}

bool record_store_uint(void *p, uint32_t size, uint64_t v)
{
    uint32_t u32 = (uint32_t)v;
    uint16_t u16 = (uint16_t)v;
    unsigned char u8 = (unsigned char)v;

    if (size < 8 && v >> (8 * size))
        return false;
    memcpy(p,
           size == 8   ? (void *)&v
           : size == 4 ? (void *)&u32
           : size == 2 ? (void *)&u16
                       : &u8,
           size);
    return true;
}

bool record_store_int(void *p, uint32_t size, int64_t v)
{
    uint64_t u = (uint64_t)v;

    if (size < 8) {
        int64_t half = (int64_t)1 << (8 * size - 1);

        if (v < -half || v >= half)
            return false;
        u &= ((uint64_t)1 << (8 * size)) - 1;
    }
    return record_store_uint(p, size, u);
}

size_t record_clean_url(const char *url, size_t n, char ret[PGV_URL_BYTES])
{
    size_t authority = 0, end, at = 0, kept = 0;

    PGV_ASSERT(n < PGV_URL_BYTES);
    for (size_t i = 0; i + 2 < n && !authority; i++)
        if (memcmp(url + i, "://", 3) == 0)
            authority = i + 3;
    for (end = authority; end < n && url[end] != '?' && url[end] != '#'; end++)
        if (url[end] == '@') /* also behind a '/': a password may hold one that was not escaped */
            at = end + 1;
    memcpy(ret, url, authority);
    kept = authority;
    if (at < authority)
        at = authority;
    memcpy(ret + kept, url + at, end - at);
    return kept + (end - at);
}

static bool put_url(struct pgv_buf *b, const char *url, size_t n)
{
    char clean[PGV_URL_BYTES];
    size_t kept = record_clean_url(url, n, clean);

    return put_text(b, clean, kept);
}

static bool put_one(struct pgv_buf *b, const struct record_field *f, const unsigned char *p)
{
    switch (f->kind) {
    case RECORD_BOOL:
    case RECORD_UINT:
    case RECORD_ENUM:
        return record_put_uint(b, record_load_uint(p, f->size));
    case RECORD_INT:
        return put_int(b, record_load_int(p, f->size));
    case RECORD_TEXT:
        return put_text(b, (const char *)p, strnlen((const char *)p, f->size - 1));
    case RECORD_URL:
        return put_url(b, (const char *)p, strnlen((const char *)p, f->size - 1));
    case RECORD_STRUCT:
        return record_put_fields(b, f->sub, p);
    }
    return false;
}

static bool put_field(struct pgv_buf *b, const struct record_field *f, const unsigned char *base)
{
    uint32_t n = f->n;

    if (f->n_off != RECORD_ALL) {
        n = (uint32_t)record_load_uint(base + f->n_off, sizeof(unsigned));
        if (n > f->n || !record_put_uint(b, n))
            return false;
    }
    for (uint32_t i = 0; i < n; i++)
        if (!put_one(b, f, base + f->off + (size_t)i * f->size))
            return false;
    return true;
}

static bool is_number(const struct record_field *f)
{
    return f->n == 1 && f->n_off == RECORD_ALL && f->kind <= RECORD_ENUM;
}

/* Most fields are single numbers, and steps are written by an agent that has nothing else to do:
 * those that stand side by side go out together. */
bool record_put_fields(struct pgv_buf *b, const struct record_fields *fields, const void *data)
{
    const unsigned char *base = data;
    unsigned char numbers[16 * UINT_BYTES_MAX];
    unsigned n = 0;

    for (unsigned i = 0; i < fields->n; i++) {
        const struct record_field *f = &fields->v[i];

        if (is_number(f)) {
            const unsigned char *p = base + f->off;

            n +=
                encode_uint(numbers + n, f->kind == RECORD_INT ? zigzag(record_load_int(p, f->size))
                                                               : record_load_uint(p, f->size));
            if (n <= sizeof(numbers) - UINT_BYTES_MAX)
                continue;
        }
        if (n && !pgv_buf_append(b, numbers, n))
            return false;
        n = 0;
        if (!is_number(f) && !put_field(b, f, base))
            return false;
    }
    return n == 0 || pgv_buf_append(b, numbers, n);
}

static bool get_one(struct record_cursor *c, const struct record_field *f, unsigned char *p)
{
    uint64_t u;
    int64_t s;

    switch (f->kind) {
    case RECORD_BOOL:
        return record_get_uint(c, &u) && u <= 1 && record_store_uint(p, f->size, u);
    case RECORD_UINT:
        return record_get_uint(c, &u) && record_store_uint(p, f->size, u);
    case RECORD_ENUM:
        return record_get_uint(c, &u) && u < f->limit && record_store_uint(p, f->size, u);
    case RECORD_INT:
        return get_int(c, &s) && record_store_int(p, f->size, s);
    case RECORD_TEXT:
    case RECORD_URL:
        return get_text(c, (char *)p, f->size);
    case RECORD_STRUCT:
        return record_get_fields(c, f->sub, p);
    }
    return false;
}

bool record_get_fields(struct record_cursor *c, const struct record_fields *fields, void *data)
{
    unsigned char *base = data;

    for (unsigned i = 0; i < fields->n; i++) {
        const struct record_field *f = &fields->v[i];
        uint64_t n = f->n;

        if (f->n_off != RECORD_ALL && (!record_get_uint(c, &n) || n > f->n ||
                                       !record_store_uint(base + f->n_off, sizeof(unsigned), n)))
            return false;
        for (uint64_t k = 0; k < n; k++)
            if (!get_one(c, f, base + f->off + (size_t)k * f->size))
                return false;
    }
    return true;
}

static uint32_t fields_crc(uint32_t crc, const struct record_fields *fields)
{
    for (unsigned i = 0; i < fields->n; i++) {
        const struct record_field *f = &fields->v[i];
        unsigned char shape[3] = { (unsigned char)f->kind, (unsigned char)f->n,
                                   (unsigned char)f->limit };

        crc = record_crc(crc, f->name, strlen(f->name) + 1);
        crc = record_crc(crc, shape, sizeof(shape));
        if (f->sub)
            crc = fields_crc(crc, f->sub);
    }
    return record_crc(crc, ";", 1);
}

uint32_t record_fields_id(void)
{
    static uint32_t id;

    if (!id) {
        id = fields_crc(0, &record_ha_fields);
        for (unsigned i = 0; i <= HA_EV_SHUTDOWN; i++)
            id = fields_crc(id, &record_event_fields[i]);
        for (unsigned i = 0; i <= HA_DO_EXIT; i++)
            id = fields_crc(id, &record_effect_fields[i]);
    }
    return id;
}

const char *record_build(void)
{
    return "pgvigil " PGVIGIL_VERSION " brain " PGVIGIL_BRAIN;
}

/* What an event carries that does not lie in it. */
enum points_to { NOTHING, POLICY, CLUSTER, FACTS, PEERS };

static enum points_to points_to(enum ha_event_type type)
{
    switch (type) { /* no default: the compiler names the event we forgot */
    case HA_EV_POLICY:
        return POLICY;
    case HA_EV_VIEW:
        return CLUSTER;
    case HA_EV_FACTS:
    case HA_EV_LOOKED:
        return FACTS;
    case HA_EV_PEERS:
        return PEERS;
    case HA_EV_TICK:
    case HA_EV_DCS:
    case HA_EV_JOB:
    case HA_EV_SHUTDOWN_CHECKPOINT:
    case HA_EV_FOLLOW:
    case HA_EV_CHECKPOINT:
    case HA_EV_SLOTS:
    case HA_EV_REQUEST:
    case HA_EV_WAKE:
    case HA_EV_WATCHDOG:
    case HA_EV_SHUTDOWN:
        break;
    }
    return NOTHING;
}

/* ---- the header --------------------------------------------------------------------------- */

void record_header_init(struct record_header *h, const char *node, uint64_t ring_bytes,
                        uint32_t salt)
{
    memset(h, 0, sizeof(*h));
    h->format = RECORD_FORMAT;
    h->fields_id = record_fields_id();
    h->salt = salt;
    h->ring_bytes = ring_bytes;
    pgv_copy_cut(h->build, sizeof(h->build), pgv_str(record_build()));
    pgv_copy_cut(h->node, sizeof(h->node), pgv_str(node));
}

_Static_assert(32 + RECORD_BUILD_BYTES + PGV_NAME_BYTES <= RECORD_PAUSE_OFF &&
                   RECORD_PAUSE_OFF + RECORD_PAUSE_BYTES <= RECORD_HEADER_BYTES - 4,
               "header");

/* As if the writer had never paused: a header is sound whenever the writer was killed. */
static uint32_t header_crc(const unsigned char bytes[RECORD_HEADER_BYTES])
{
    static const unsigned char never[RECORD_PAUSE_BYTES];
    uint32_t crc = record_crc(0, bytes, RECORD_PAUSE_OFF);
    size_t end = RECORD_PAUSE_OFF + RECORD_PAUSE_BYTES;

    crc = record_crc(crc, never, sizeof(never));
    return record_crc(crc, bytes + end, RECORD_HEADER_BYTES - 4 - end);
}

void record_header_write(const struct record_header *h, unsigned char ret[RECORD_HEADER_BYTES])
{
    memset(ret, 0, RECORD_HEADER_BYTES);
    memcpy(ret, magic, sizeof(magic));
    put32(ret + 8, h->format);
    put32(ret + 12, h->fields_id);
    put32(ret + 16, h->salt);
    put64(ret + 20, h->ring_bytes);
    memcpy(ret + 32, h->build, strnlen(h->build, sizeof(h->build) - 1));
    memcpy(ret + 32 + RECORD_BUILD_BYTES, h->node, strnlen(h->node, sizeof(h->node) - 1));
    record_header_write_pause(h, ret + RECORD_PAUSE_OFF);
    put32(ret + RECORD_HEADER_BYTES - 4, header_crc(ret));
}

void record_header_write_pause(const struct record_header *h, unsigned char ret[RECORD_PAUSE_BYTES])
{
    put64(ret, h->seq);
    put64(ret + 8, h->at);
}

bool record_header_read(const unsigned char *bytes, size_t n, struct record_header *ret,
                        struct pgv_error *err)
{
    struct record_header h = { 0 };

    if (n < RECORD_HEADER_BYTES || memcmp(bytes, magic, sizeof(magic)) != 0)
        return pgv_fail(err, PGV_EINVALID, "this is no recording of pgvigil");
    if (get32(bytes + RECORD_HEADER_BYTES - 4) != header_crc(bytes))
        return pgv_fail(err, PGV_EINVALID, "the header of the recording is damaged");
    h.format = get32(bytes + 8);
    h.fields_id = get32(bytes + 12);
    h.salt = get32(bytes + 16);
    h.ring_bytes = get64(bytes + 20);
    memcpy(h.build, bytes + 32, sizeof(h.build) - 1);
    memcpy(h.node, bytes + 32 + RECORD_BUILD_BYTES, sizeof(h.node) - 1);
    h.seq = get64(bytes + RECORD_PAUSE_OFF);
    h.at = get64(bytes + RECORD_PAUSE_OFF + 8);
    if (h.format != RECORD_FORMAT)
        return pgv_fail(err, PGV_EINVALID, "the recording has format %u, this build reads %d",
                        h.format, RECORD_FORMAT);
    *ret = h;
    return true;
}

/* ---- writing frames ----------------------------------------------------------------------- */

static bool begin_frame(struct pgv_buf *b, enum record_type type, size_t *ret_at)
{
    static const unsigned char space[RECORD_FRAME_BYTES];

    *ret_at = b->n;
    return !b->failed && pgv_buf_append(b, space, sizeof(space)) && pgv_buf_putc(b, (char)type);
}

static bool end_frame(struct pgv_buf *b, size_t at, bool ok, uint32_t salt, uint64_t seq)
{
    unsigned char *p;
    size_t payload;

    if (!ok || b->n - at - RECORD_FRAME_BYTES > RECORD_PAYLOAD_BYTES_MAX) {
        b->failed = false;
        b->n = at;
        return false;
    }
    p = (unsigned char *)b->p + at;
    payload = b->n - at - RECORD_FRAME_BYTES;
    put32(p, MARK);
    put32(p + 4, (uint32_t)payload);
    put64(p + 8, seq);
    put32(p + 16, record_crc(record_crc(salt, p, 16), p + RECORD_FRAME_BYTES, payload));
    return true;
}

bool record_put_keyframe(struct pgv_buf *b, uint32_t salt, uint64_t seq, bool continues,
                         const struct ha *ha)
{
    const char *build = record_build();
    size_t at;
    bool ok = begin_frame(b, RECORD_KEYFRAME, &at) && put_text(b, build, strlen(build)) &&
              record_put_uint(b, record_fields_id()) && record_put_uint(b, continues) &&
              record_put_fields(b, &record_ha_fields, ha);

    return end_frame(b, at, ok, salt, seq);
}

static bool put_event(struct pgv_buf *b, const struct ha_event *ev)
{
    unsigned char head[3 * UINT_BYTES_MAX];
    unsigned n = encode_uint(head, ev->type);

    n += encode_uint(head + n, ev->now_ms);
    n += encode_uint(head + n, zigzag(ev->wall_us));
    if (!pgv_buf_append(b, head, n) || !record_put_fields(b, &record_event_fields[ev->type], ev))
        return false;
    switch (points_to(ev->type)) {
    case POLICY:
        return record_put_fields(b, &record_policy_fields, ev->u.policy);
    case CLUSTER:
        return record_put_uint(b, ev->u.view.cluster != NULL) &&
               (!ev->u.view.cluster ||
                record_put_fields(b, &record_cluster_fields, ev->u.view.cluster));
    case FACTS:
        return record_put_fields(b, &record_facts_fields, ev->u.facts);
    case PEERS:
        if (!record_put_uint(b, ev->u.peers.n))
            return false;
        for (unsigned i = 0; i < ev->u.peers.n; i++)
            if (!record_put_fields(b, &record_peer_fields, &ev->u.peers.peers[i]))
                return false;
        return true;
    case NOTHING:
        return true;
    }
    return false;
}

static bool put_effect(struct pgv_buf *b, const struct ha_effect *e)
{
    unsigned char head[3 * UINT_BYTES_MAX];
    unsigned n = encode_uint(head, e->type);
    size_t text_bytes = strnlen(e->text, sizeof(e->text) - 1);

    n += encode_uint(head + n, e->why);
    n += encode_uint(head + n, text_bytes);
    return pgv_buf_append(b, head, n) && (!text_bytes || pgv_buf_append(b, e->text, text_bytes)) &&
           record_put_fields(b, &record_effect_fields[e->type], e);
}

static bool put_effects(struct pgv_buf *b, const struct ha_effects *fx)
{
    bool ok = record_put_uint(b, fx->wake_ms) && record_put_uint(b, fx->n);

    for (unsigned i = 0; ok && i < fx->n; i++)
        ok = put_effect(b, &fx->v[i]);
    return ok;
}

bool record_put_step(struct pgv_buf *b, uint32_t salt, uint64_t seq, const struct ha_event *ev,
                     const struct ha_effects *fx)
{
    size_t at;
    bool ok = begin_frame(b, RECORD_STEP, &at) && put_event(b, ev) && put_effects(b, fx);

    return end_frame(b, at, ok, salt, seq);
}

bool record_put_held(struct pgv_buf *b, uint32_t salt, const char *held)
{
    struct record_held h;
    struct ha_effect e;
    size_t at;
    bool ok;

    record_unhold(held, &h);
    ok = begin_frame(b, RECORD_STEP, &at) && put_event(b, &h.ev) && record_put_uint(b, h.wake_ms) &&
         record_put_uint(b, h.n_effects);
    for (unsigned i = 0; ok && i < h.n_effects; i++) {
        record_unhold_effect(&h, &e);
        ok = put_effect(b, &e);
    }
    return end_frame(b, at, ok, salt, h.seq);
}

enum record_piece record_piece(const char *p, size_t n, size_t *ret_bytes, uint64_t *ret_seq)
{
    const unsigned char *head = (const unsigned char *)p;

    if (n < RECORD_FRAME_BYTES)
        return RECORD_CUT;
    if (get32(head) != MARK)
        return record_held_piece(p, ret_bytes, ret_seq);
    *ret_bytes = RECORD_FRAME_BYTES + get32(head + 4);
    *ret_seq = get64(head + 8);
    return *ret_bytes - RECORD_FRAME_BYTES <= RECORD_PAYLOAD_BYTES_MAX ? RECORD_FRAME
                                                                       : RECORD_DAMAGED;
}

/* ---- finding frames ----------------------------------------------------------------------- */

static unsigned char ring_byte(const struct record_reader *r, uint64_t off)
{
    return r->ring[off >= r->header->ring_bytes ? off - r->header->ring_bytes : off];
}

static void ring_copy(const struct record_reader *r, uint64_t off, unsigned char *ret, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = ring_byte(r, off + i);
}

static uint32_t ring_crc(const struct record_reader *r, uint32_t crc, uint64_t off, size_t n)
{
    uint64_t size = r->header->ring_bytes;
    size_t first;

    if (off >= size)
        off -= size;
    first = n < size - off ? n : (size_t)(size - off);
    crc = record_crc(crc, r->ring + off, first);
    return record_crc(crc, r->ring, n - first);
}

/* A whole frame at @off (below the size): its number and payload length. */
static bool frame_at(const struct record_reader *r, uint64_t off, uint64_t *ret_seq,
                     size_t *ret_payload)
{
    unsigned char head[RECORD_FRAME_BYTES];
    uint32_t payload, crc;

    if (r->header->ring_bytes < RECORD_FRAME_BYTES + 1 || ring_byte(r, off) != (MARK & 0xff))
        return false;
    ring_copy(r, off, head, sizeof(head));
    payload = get32(head + 4);
    if (get32(head) != MARK || payload == 0 || payload > RECORD_PAYLOAD_BYTES_MAX ||
        payload + RECORD_FRAME_BYTES > r->header->ring_bytes || get64(head + 8) == 0)
        return false;
    crc = ring_crc(r, record_crc(r->header->salt, head, 16), off + RECORD_FRAME_BYTES, payload);
    if (crc != get32(head + 16))
        return false;
    *ret_seq = get64(head + 8);
    *ret_payload = payload;
    return true;
}

/*
 * Frames lie one behind the other, and their numbers go up by one. All whole frames are found
 * first; the newest run that has no hole is what can be told. A frame that was cut by a crash fails
 * its CRC; the oldest ones, half overwritten, too.
 */
void record_reader_init(struct record_reader *r, const struct record_header *h,
                        const unsigned char *ring)
{
    uint64_t off = 0, run_seq = 0, run_end = 0, run_first = 0, run_at = 0;
    uint64_t wrap_first = 0, wrap_last = 0, wrap_end = 0, wrap_at = 0;
    bool wrap_known = false;
    size_t payload;

    memset(r, 0, sizeof(*r));
    r->header = h;
    r->ring = ring;
    pgv_buf_init(&r->flat, RECORD_PAYLOAD_BYTES_MAX);
    while (off < h->ring_bytes) {
        uint64_t seq;

        if (!frame_at(r, off, &seq, &payload)) {
            off++;
            continue;
        }
        if (!run_seq || seq != run_seq + 1 || off != run_end) {
            if (run_seq && !wrap_known) { /* the run that holds the lowest offsets */
                wrap_known = true;
                wrap_first = run_first, wrap_last = run_seq, wrap_end = run_end, wrap_at = run_at;
            }
            run_first = seq;
            run_at = off;
        }
        run_seq = seq;
        run_end = off + RECORD_FRAME_BYTES + payload;
        if (seq > r->last_seq) {
            r->last_seq = seq;
            r->first_seq = run_first;
            r->at = run_at;
            r->end = run_end >= h->ring_bytes ? run_end - h->ring_bytes : run_end;
        }
        off = run_end;
    }
    if (!wrap_known)
        wrap_first = run_first, wrap_last = run_seq, wrap_end = run_end, wrap_at = run_at;
    (void)wrap_end;
    /* The last run of the ring goes on at its start. */
    if (run_seq && wrap_first == run_seq + 1 && wrap_last == r->last_seq &&
        wrap_at == (run_end >= h->ring_bytes ? run_end - h->ring_bytes : run_end)) {
        r->first_seq = run_first;
        r->at = run_at;
    }
    r->next_seq = r->first_seq;
}

void record_reader_done(struct record_reader *r)
{
    pgv_buf_done(&r->flat);
}

bool record_read_frame(struct record_reader *r, struct record_frame *ret)
{
    uint64_t seq, off, size = r->header->ring_bytes;
    size_t payload;

    if (!r->next_seq || r->next_seq > r->last_seq || !frame_at(r, r->at, &seq, &payload) ||
        seq != r->next_seq)
        return false;
    off = r->at + RECORD_FRAME_BYTES;
    if (off >= size)
        off -= size;
    if (off + payload <= size)
        ret->payload = r->ring + off;
    else {
        pgv_buf_reset(&r->flat);
        if (!pgv_buf_append(&r->flat, r->ring + off, (size_t)(size - off)) ||
            !pgv_buf_append(&r->flat, r->ring, payload - (size_t)(size - off)))
            return false;
        ret->payload = (const unsigned char *)r->flat.p;
    }
    ret->type = (enum record_type)ret->payload[0];
    ret->seq = seq;
    ret->payload++;
    ret->payload_bytes = payload - 1;
    r->at = off + payload >= size ? off + payload - size : off + payload;
    r->next_seq++;
    return true;
}

/* ---- reading payloads --------------------------------------------------------------------- */

bool record_read_keyframe(const struct record_frame *f, struct ha *ret, bool *ret_continues,
                          char ret_build[RECORD_BUILD_BYTES])
{
    struct record_cursor c = { f->payload, f->payload + f->payload_bytes };
    uint64_t id, continues;

    if (f->type != RECORD_KEYFRAME || !get_text(&c, ret_build, RECORD_BUILD_BYTES) ||
        !record_get_uint(&c, &id) || id != record_fields_id() || !record_get_uint(&c, &continues) ||
        continues > 1)
        return false;
    *ret_continues = continues;
    memset(ret, 0, sizeof(*ret));
    return record_get_fields(&c, &record_ha_fields, ret) && c.p == c.end;
}

static bool get_event(struct record_cursor *c, struct record_event *ret)
{
    struct ha_event *ev = &ret->ev;
    uint64_t type, n;

    memset(ret, 0, sizeof(*ret));
    if (!record_get_uint(c, &type) || type > HA_EV_SHUTDOWN || !record_get_uint(c, &ev->now_ms) ||
        !get_int(c, &ev->wall_us))
        return false;
    ev->type = (enum ha_event_type)type;
    if (!record_get_fields(c, &record_event_fields[ev->type], ev))
        return false;
    switch (points_to(ev->type)) {
    case POLICY:
        ev->u.policy = &ret->policy;
        return record_get_fields(c, &record_policy_fields, &ret->policy);
    case CLUSTER:
        if (!record_get_uint(c, &n) || n > 1)
            return false;
        ev->u.view.cluster = n ? &ret->cluster : NULL;
        return !n || record_get_fields(c, &record_cluster_fields, &ret->cluster);
    case FACTS:
        ev->u.facts = &ret->facts;
        return record_get_fields(c, &record_facts_fields, &ret->facts);
    case PEERS:
        if (!record_get_uint(c, &n) || n > HA_PEERS_MAX)
            return false;
        ev->u.peers.n = (unsigned)n;
        ev->u.peers.peers = ret->peers;
        for (unsigned i = 0; i < n; i++)
            if (!record_get_fields(c, &record_peer_fields, &ret->peers[i]))
                return false;
        return true;
    case NOTHING:
        return true;
    }
    return false;
}

static bool get_effects(struct record_cursor *c, struct ha_effects *ret)
{
    uint64_t n, type, why;

    memset(ret, 0, sizeof(*ret));
    if (!record_get_uint(c, &ret->wake_ms) || !record_get_uint(c, &n) || n > HA_EFFECTS_MAX)
        return false;
    ret->n = (unsigned)n;
    for (unsigned i = 0; i < n; i++) {
        struct ha_effect *e = &ret->v[i];

        if (!record_get_uint(c, &type) || type > HA_DO_EXIT || !record_get_uint(c, &why) ||
            why >= HA_WHYS)
            return false;
        e->type = (enum ha_effect_type)type;
        e->why = (enum ha_why)why;
        if (!get_text(c, e->text, sizeof(e->text)) ||
            !record_get_fields(c, &record_effect_fields[e->type], e))
            return false;
    }
    return true;
}

bool record_read_step(const struct record_frame *f, struct record_event *ret_ev,
                      struct ha_effects *ret_fx)
{
    struct record_cursor c = { f->payload, f->payload + f->payload_bytes };

    return f->type == RECORD_STEP && get_event(&c, ret_ev) && get_effects(&c, ret_fx) &&
           c.p == c.end;
}

/* ---- comparing ---------------------------------------------------------------------------- */

static bool same_bytes(const struct pgv_buf *x, const struct pgv_buf *y)
{
    return x->n == y->n && (x->n == 0 || memcmp(x->p, y->p, x->n) == 0);
}

bool record_same_effects(const struct ha_effects *a, const struct ha_effects *b, struct pgv_buf *x,
                         struct pgv_buf *y)
{
    pgv_buf_reset(x);
    pgv_buf_reset(y);
    return put_effects(x, a) && put_effects(y, b) && same_bytes(x, y);
}

bool record_same_world(const struct ha *a, const struct ha *b, struct pgv_buf *x, struct pgv_buf *y)
{
    return record_world_difference(a, b, x, y) == NULL;
}

const char *record_world_difference(const struct ha *a, const struct ha *b, struct pgv_buf *x,
                                    struct pgv_buf *y)
{
    for (unsigned i = 0; i < record_ha_fields.n; i++) {
        const struct record_field *f = &record_ha_fields.v[i];

        pgv_buf_reset(x);
        pgv_buf_reset(y);
        if (!put_field(x, f, (const unsigned char *)a) ||
            !put_field(y, f, (const unsigned char *)b) || !same_bytes(x, y))
            return f->name;
    }
    return NULL;
}
