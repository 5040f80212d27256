/* SPDX-License-Identifier: PostgreSQL */
/* agent/recorder.c - the flight recorder's ring file. */
#include "agent/recorder.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

/** A write into the page cache that takes longer than this waited for the disk; less may just be
 * a machine that is busy. */
#define SLOW_MS 300
#define REST_MS 30000
/** A ring holds this many keyframes: that much of its oldest part may have lost its beginning. */
#define KEYFRAMES_PER_RING 16
#define FRAME_RESERVE_BYTES 65536
#define READ_BACK_BYTES (512u << 10)

bool recorder_config_read(const struct pgv_value *section, const char *log_dir,
                          const char *data_dir, const char *name, struct recorder_config *ret,
                          struct pgv_error *err)
{
    struct recorder_config c = { .enabled = true, .size_bytes = RECORDER_BYTES_DEFAULT };
    const struct pgv_value *v;
    int64_t bytes;
    int n;

    if (section && !pgv_is(section, PGV_NULL) && !pgv_is(section, PGV_MAP))
        return pgv_fail(err, PGV_EINVALID, "recorder: must be a section");
    v = pgv_get(section, "enabled");
    if (v && !pgv_is(v, PGV_NULL)) {
        if (!pgv_is(v, PGV_BOOL))
            return pgv_fail(err, PGV_EINVALID, "recorder.enabled: must be true or false");
        c.enabled = v->u.b;
    }
    v = pgv_get(section, "size");
    if (v && !pgv_is(v, PGV_NULL)) {
        bytes = pgv_int_like(v, "B", -1);
        if (bytes < RECORDER_BYTES_MIN || bytes > RECORDER_BYTES_MAX)
            return pgv_fail(err, PGV_EINVALID,
                            "recorder.size: must be a size from 1MB to 1GB, such as 8MB");
        c.size_bytes = (uint64_t)bytes;
    }
    v = pgv_get(section, "file");
    if (v && !pgv_is(v, PGV_NULL)) {
        if (!pgv_is(v, PGV_STRING) || pgv_stringz(v)[0] != '/' ||
            !pgv_copyz(c.file, sizeof(c.file), pgv_stringz(v)))
            return pgv_fail(err, PGV_EINVALID, "recorder.file: must be an absolute path");
    } else {
        size_t dir_n = data_dir ? strlen(data_dir) : 0;

        while (dir_n > 1 && data_dir[dir_n - 1] == '/')
            dir_n--; /* '/data/.rec' would lie inside */
        if (log_dir && log_dir[0])
            n = snprintf(c.file, sizeof(c.file), "%s/pgvigil-%s.rec", log_dir,
                         strchr(name, '/') ? "node" : name);
        else
            n = snprintf(c.file, sizeof(c.file), "%.*s.rec", (int)dir_n, dir_n ? data_dir : "");
        if (n < 0 || (size_t)n >= sizeof(c.file))
            return pgv_fail(err, PGV_EINVALID, "recorder.file: the path is too long");
    }
    *ret = c;
    return true;
}

void recorder_init(struct recorder *r)
{
    memset(r, 0, sizeof(*r));
    r->fd = -1;
    r->slow_ms = SLOW_MS;
    pgv_buf_init(&r->frame, RECORD_PAYLOAD_BYTES_MAX + RECORD_FRAME_BYTES);
}

static bool read_at(int fd, unsigned char *p, size_t n, uint64_t off, size_t *ret_n)
{
    size_t got = 0;

    while (got < n) {
        ssize_t k = pread(fd, p + got, n - got, (off_t)(off + got));

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return false;
        if (k == 0)
            break;
        got += (size_t)k;
    }
    *ret_n = got;
    return true;
}

/* All or nothing, as far as the disk lets us: a frame that was cut fails its CRC. */
static bool write_at(int fd, const unsigned char *p, size_t n, uint64_t off)
{
    while (n) {
        ssize_t k = pwrite(fd, p, n, (off_t)off);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
        off += (uint64_t)k;
    }
    return true;
}

/* What an earlier run left: false: begin afresh. */
static bool go_on(struct recorder *r, int fd)
{
    unsigned char head[RECORD_HEADER_BYTES], *ring;
    struct record_reader reader;
    struct record_header h;
    size_t n;
    bool ok = false;

    if (!read_at(fd, head, sizeof(head), 0, &n) || !record_header_read(head, n, &h, NULL) ||
        h.fields_id != r->header.fields_id || h.ring_bytes != r->header.ring_bytes ||
        strcmp(h.node, r->header.node) != 0)
        return false;
    ring = pgv_zalloc(h.ring_bytes);
    if (!ring)
        return false;
    if (read_at(fd, ring, h.ring_bytes, RECORD_HEADER_BYTES, &n) && n == h.ring_bytes) {
        record_reader_init(&reader, &h, ring);
        r->header = h;
        r->at = reader.end;
        r->next_seq = reader.last_seq + 1;
        record_reader_done(&reader);
        ok = true;
    }
    pgv_free(ring);
    return ok;
}

/* A wrong path in the configuration must not cost anybody a file. */
static bool is_ours_or_empty(int fd)
{
    unsigned char head[RECORD_HEADER_BYTES];
    struct record_header h;
    size_t n;

    return read_at(fd, head, sizeof(head), 0, &n) &&
           (n == 0 || record_header_read(head, n, &h, NULL) || memcmp(head, "PGVREC", 6) == 0);
}

bool recorder_open(struct recorder *r, const struct recorder_config *c, const char *node,
                   struct pgv_error *err)
{
    unsigned char head[RECORD_HEADER_BYTES];
    struct stat st;
    int fd, sys;

    PGV_ASSERT(r->fd < 0);
    r->config = *c;
    if (!c->enabled)
        return true;
    if (!pgv_buf_reserve(&r->frame, FRAME_RESERVE_BYTES))
        return pgv_fail(err, PGV_ENOMEM, "no memory for the recorder");
    fd = open(c->file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return pgv_fail_sys(err, errno, "cannot open '%s'", c->file);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !is_ours_or_empty(fd)) {
        pgv_fail(err, PGV_EINVALID, "'%s' is something else than a recording: left alone", c->file);
        goto failed;
    }
    record_header_init(&r->header, node, c->size_bytes - RECORD_HEADER_BYTES,
                       (uint32_t)pgv_wall_us());
    r->at = 0;
    r->next_seq = 1;
    if (!go_on(r, fd)) {
        record_header_write(&r->header, head);
        if (ftruncate(fd, 0) < 0 || fchmod(fd, 0600) < 0) {
            pgv_fail_sys(err, errno, "cannot empty '%s'", c->file);
            goto failed;
        }
        sys = posix_fallocate(fd, 0, (off_t)c->size_bytes);
        if (sys != 0) {
            pgv_fail_sys(err, sys, "cannot make room for '%s'", c->file);
            (void)!ftruncate(fd, 0); /* what was taken of the last room is given back */
            goto failed;
        }
        if (!write_at(fd, head, sizeof(head), 0)) {
            pgv_fail_sys(err, errno, "cannot write '%s'", c->file);
            goto failed;
        }
    }
    r->fd = fd;
    r->keyframe_due = true;
    r->since_keyframe_bytes = 0;
    r->rest_until_ms = 0;
    return true;
failed:
    close(fd);
    return false;
}

void recorder_close(struct recorder *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    pgv_buf_done(&r->frame);
    pgv_buf_init(&r->frame, RECORD_PAYLOAD_BYTES_MAX + RECORD_FRAME_BYTES);
}

static void rest(struct recorder *r, const char *why, int sys)
{
    pgv_log(PGV_WARNING, "agent", "the flight recorder rests for %d s: %s%s%s", REST_MS / 1000, why,
            sys ? ": " : "", sys ? strerror(sys) : "");
    r->rest_until_ms = pgv_clock_ms() + REST_MS;
    r->keyframe_due = true;
}

/* The frame in the buffer goes to the ring's end. */
static bool write_frame(struct recorder *r)
{
    const unsigned char *p = (const unsigned char *)r->frame.p;
    size_t n = r->frame.n, first = n;
    uint64_t size = r->header.ring_bytes;

    if (n > size / 4)
        return false;
    if (r->at + n > size)
        first = (size_t)(size - r->at);
    if (!write_at(r->fd, p, first, RECORD_HEADER_BYTES + r->at) ||
        !write_at(r->fd, p + first, n - first, RECORD_HEADER_BYTES))
        return false;
    r->at = r->at + n >= size ? r->at + n - size : r->at + n;
    r->since_keyframe_bytes += n;
    r->next_seq++;
    return true;
}

void recorder_step(void *data, const struct ha *ha, const struct ha_event *ev,
                   const struct ha_effects *fx)
{
    struct recorder *r = data;
    uint64_t began;
    bool put, ok = true;

    if (r->fd < 0)
        return;
    began = pgv_clock_ms();
    if (began < r->rest_until_ms) {
        r->lost++;
        return;
    }
    /* Behind a hole a step says nothing that could be replayed: the world comes first. It is the
     * world after this step, so the step itself is left out, unless it continues what is there. */
    if (!r->keyframe_due) {
        pgv_buf_reset(&r->frame);
        put = record_put_step(&r->frame, r->header.salt, r->next_seq, ev, fx);
        ok = put && write_frame(r);
        if (!put)
            rest(r, "no memory for a frame", 0);
        else if (!ok)
            rest(r, "its file cannot be written", errno);
        if (r->since_keyframe_bytes >= r->header.ring_bytes / KEYFRAMES_PER_RING)
            r->keyframe_due = true;
    }
    if (ok && r->keyframe_due) {
        pgv_buf_reset(&r->frame);
        put = record_put_keyframe(&r->frame, r->header.salt, r->next_seq, ha);
        ok = put && write_frame(r);
        if (ok) {
            r->keyframe_due = false;
            r->since_keyframe_bytes = 0;
        } else {
            rest(r, put ? "its file cannot be written" : "no memory for a frame", put ? errno : 0);
        }
    }
    r->steps += ok;
    r->lost += !ok;
    if (ok && pgv_clock_ms() - began > r->slow_ms)
        rest(r, "the disk is slow", 0);
}

/* ---- reading back ------------------------------------------------------------------------- */

/* Every cycle looks, reads and publishes; a decision is what goes beyond. */
static bool decides(const struct ha_effects *fx)
{
    for (unsigned i = 0; i < fx->n; i++)
        switch (fx->v[i].type) {
        case HA_DO_LOOK:
        case HA_DO_ASK_PEERS:
        case HA_DO_CHECK_FOLLOW:
        case HA_DO_SLOTS:
            break;
        case HA_DO_DCS:
            if (fx->v[i].u.dcs.op != HA_DCS_READ && fx->v[i].u.dcs.op != HA_DCS_TOUCH &&
                fx->v[i].u.dcs.op != HA_DCS_RENEW && fx->v[i].u.dcs.op != HA_DCS_SET_STATUS)
                return true;
            break;
        case HA_DO_JOB:
        case HA_DO_CANCEL_JOB:
        case HA_DO_CHECKPOINT:
        case HA_DO_RESUME_REPLAY:
        case HA_DO_CALLBACK:
        case HA_DO_ANSWER:
        case HA_DO_LOG:
        case HA_DO_CYCLE_DONE:
        case HA_DO_EXIT:
            return true;
        }
    return false;
}

static struct pgv_value *decision(struct pgv_arena *a, uint64_t seq, const struct ha_event *ev,
                                  const struct ha_effects *fx)
{
    struct pgv_value *d = pgv_new(a, PGV_MAP), *list = pgv_new(a, PGV_LIST);
    char words[2048], when[PGV_ISO_BYTES];

    if (!d || !list)
        return NULL;
    pgv_wall_iso_local(ev->wall_us, when);
    record_say_event(ev, words, sizeof(words));
    if (!pgv_map_set(a, d, "seq", pgv_new_int(a, (int64_t)seq)) ||
        !pgv_map_set(a, d, "time", pgv_new_string(a, pgv_str(when))) ||
        !pgv_map_set(a, d, "event", pgv_new_string(a, pgv_str(ha_event_name(ev->type)))) ||
        !pgv_map_set(a, d, "known", pgv_new_string(a, pgv_str(words))) ||
        !pgv_map_set(a, d, "decided", list))
        return NULL;
    for (unsigned i = 0; i < fx->n; i++) {
        const struct ha_effect *e = &fx->v[i];
        struct pgv_value *m = pgv_new(a, PGV_MAP);

        record_say_effect(e, words, sizeof(words));
        if (!m ||
            !pgv_map_set(a, m, "effect", pgv_new_string(a, pgv_str(ha_effect_name(e->type)))) ||
            !pgv_map_set(a, m, "what", pgv_new_string(a, pgv_str(words))) ||
            !pgv_map_set(a, m, "why", pgv_new_string(a, pgv_str(ha_why_label(e->why)))) ||
            !pgv_list_add(list, m))
            return NULL;
    }
    return d;
}

struct pgv_value *recorder_decisions(struct recorder *r, struct pgv_arena *a, unsigned n)
{
    static struct record_event ev; /* one thread */
    static struct ha_effects fx;
    struct pgv_value *list = pgv_new(a, PGV_LIST);
    struct record_header tail = r->header;
    struct record_reader reader = { 0 };
    struct record_frame f;
    unsigned char *ring = NULL;
    uint64_t size = r->header.ring_bytes, from, found = 0;
    size_t bytes = size < READ_BACK_BYTES ? (size_t)size : READ_BACK_BYTES, first, got;
    bool ok = false;

    if (r->fd < 0 || !list)
        return NULL;
    ring = pgv_alloc(bytes);
    if (!ring)
        return NULL;
    /* The last bytes before the writer's place, in order, as a small ring of their own. */
    from = r->at >= bytes ? r->at - bytes : r->at + size - bytes;
    first = size - from < bytes ? (size_t)(size - from) : bytes;
    if (!read_at(r->fd, ring, first, RECORD_HEADER_BYTES + from, &got) || got != first ||
        !read_at(r->fd, ring + first, bytes - first, RECORD_HEADER_BYTES, &got) ||
        got != bytes - first)
        goto out;
    tail.ring_bytes = bytes;
    for (unsigned pass = 0; pass < 2; pass++) {
        uint64_t count = 0;

        record_reader_init(&reader, &tail, ring);
        while (record_read_frame(&reader, &f)) {
            if (f.type != RECORD_STEP || !record_read_step(&f, &ev, &fx) || !decides(&fx))
                continue;
            count++;
            if (pass == 1 && count + n > found) {
                struct pgv_value *d = decision(a, f.seq, &ev.ev, &fx);

                if (!d || !pgv_list_add(list, d)) {
                    record_reader_done(&reader);
                    goto out;
                }
            }
        }
        found = count;
        record_reader_done(&reader);
    }
    ok = true;
out:
    pgv_free(ring);
    return ok ? list : NULL;
}
