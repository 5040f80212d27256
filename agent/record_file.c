/* SPDX-License-Identifier: PostgreSQL */
/* agent/record_file.c - the flight recorder's ring file. */
#include "agent/record_file.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define READ_BACK_BYTES (512u << 10)
/** How long the reader waits for what the writer was told to take. */
#define LATE_TRIES 30
#define LATE_MS 10
#define DECISION_ARENA_BYTES_MAX (1u << 20)

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
static bool go_on(struct record_file *f)
{
    unsigned char head[RECORD_HEADER_BYTES], *ring;
    struct record_reader reader;
    struct record_header h;
    size_t n;
    bool ok = false;

    if (!read_at(f->fd, head, sizeof(head), 0, &n) || !record_header_read(head, n, &h, NULL) ||
        h.fields_id != f->header.fields_id || h.ring_bytes != f->header.ring_bytes ||
        strcmp(h.node, f->header.node) != 0)
        return false;
    ring = pgv_zalloc(h.ring_bytes);
    if (!ring)
        return false;
    if (read_at(f->fd, ring, h.ring_bytes, RECORD_HEADER_BYTES, &n) && n == h.ring_bytes) {
        record_reader_init(&reader, &h, ring);
        f->header = h;
        f->at = reader.end;
        f->next_seq = reader.last_seq + 1;
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
    struct stat st;
    size_t n;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && read_at(fd, head, sizeof(head), 0, &n) &&
           (n == 0 || record_header_read(head, n, &h, NULL) || memcmp(head, "PGVREC", 6) == 0);
}

static bool begin_afresh(struct record_file *f, const char *path, uint64_t bytes,
                         struct pgv_error *err)
{
    unsigned char head[RECORD_HEADER_BYTES];
    int sys;

    record_header_write(&f->header, head);
    if (ftruncate(f->fd, 0) < 0 || fchmod(f->fd, 0600) < 0)
        return pgv_fail_sys(err, errno, "cannot empty '%s'", path);
    sys = posix_fallocate(f->fd, 0, (off_t)bytes);
    if (sys != 0) {
        (void)!ftruncate(f->fd, 0); /* what was taken of the last room is given back */
        return pgv_fail_sys(err, sys, "cannot make room for '%s'", path);
    }
    if (!write_at(f->fd, head, sizeof(head), 0))
        return pgv_fail_sys(err, errno, "cannot write '%s'", path);
    return true;
}

bool record_file_open(struct record_file *f, const char *path, uint64_t bytes, const char *node,
                      struct pgv_error *err)
{
    memset(f, 0, sizeof(*f));
    record_header_init(&f->header, node, bytes - RECORD_HEADER_BYTES, (uint32_t)pgv_wall_us());
    f->next_seq = 1;
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (f->fd < 0)
        return pgv_fail_sys(err, errno, "cannot open '%s'", path);
    while (flock(f->fd, LOCK_EX) < 0)
        if (errno != EINTR) {
            pgv_fail_sys(err, errno, "cannot lock '%s'", path);
            goto failed;
        }
    if (!is_ours_or_empty(f->fd)) {
        pgv_fail(err, PGV_EINVALID, "'%s' is something else than a recording: left alone", path);
        goto failed;
    }
    if (!go_on(f) && !begin_afresh(f, path, bytes, err))
        goto failed;
    return true;
failed:
    record_file_close(f);
    return false;
}

bool record_file_append(struct record_file *f, const void *data, size_t n, struct pgv_error *err)
{
    const unsigned char *p = data;
    uint64_t size = f->header.ring_bytes;

    while (n) {
        size_t piece = n < size - f->at ? n : (size_t)(size - f->at);

        if (!write_at(f->fd, p, piece, RECORD_HEADER_BYTES + f->at))
            return pgv_fail_sys(err, errno, "the file cannot be written");
        p += piece;
        n -= piece;
        f->at = f->at + piece == size ? 0 : f->at + piece;
    }
    return true;
}

bool record_file_pause(struct record_file *f, uint64_t seq, struct pgv_error *err)
{
    unsigned char pause[RECORD_PAUSE_BYTES];

    f->header.seq = seq;
    f->header.at = f->at;
    record_header_write_pause(&f->header, pause);
    return write_at(f->fd, pause, sizeof(pause), RECORD_PAUSE_OFF) ||
           pgv_fail_sys(err, errno, "the file cannot be written");
}

void record_file_close(struct record_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* ---- reading back ------------------------------------------------------------------------- */

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

/* The last @n steps that decided something, and room to read one. */
struct deciding {
    struct record_frame v[RECORD_DECISIONS_MAX];
    unsigned n, first, found;
    struct record_event ev;
    struct ha_effects fx;
};

/* The frames point into the reader's ring, not into its buffer for one that wraps. */
static void find_deciding(struct record_reader *reader, struct deciding *d)
{
    unsigned long found = 0;
    struct record_frame f;

    while (record_read_frame(reader, &f))
        if (f.type == RECORD_STEP && f.payload != (const unsigned char *)reader->flat.p + 1 &&
            record_read_step(&f, &d->ev, &d->fx) && record_weigh(&d->fx) > RECORD_ROUTINE)
            d->v[found++ % d->n] = f;
    d->first = found > d->n ? (unsigned)(found % d->n) : 0;
    d->found = found > d->n ? d->n : (unsigned)found;
}

/* From the newest back, as many as fit; then they are put in order. */
static bool write_decisions(struct deciding *all, struct pgv_buf *b)
{
    struct pgv_buf text[RECORD_DECISIONS_MAX];
    size_t room = b->bytes_max - b->n, used = 2;
    unsigned from = all->found;
    struct pgv_arena a;
    bool ok = true;

    pgv_arena_init(&a, DECISION_ARENA_BYTES_MAX);
    while (from > 0) {
        const struct record_frame *f = &all->v[(all->first + from - 1) % all->n];
        struct pgv_buf *t = &text[from - 1];
        const struct pgv_value *d;

        pgv_buf_init(t, room);
        pgv_arena_reset(&a);
        d = record_read_step(f, &all->ev, &all->fx) ? decision(&a, f->seq, &all->ev.ev, &all->fx)
                                                    : NULL;
        if (!d || !pgv_json_write(t, d, PGV_JSON_SPACED) || used + t->n + 2 > room) {
            pgv_buf_done(t);
            break;
        }
        used += t->n + 2;
        from--;
    }
    ok = pgv_buf_putc(b, '[');
    for (unsigned i = from; i < all->found; i++) {
        ok = ok && (i == from || pgv_buf_puts(b, ", ")) && pgv_buf_str(b, pgv_buf_view(&text[i]));
        pgv_buf_done(&text[i]);
    }
    pgv_arena_done(&a);
    return ok && pgv_buf_putc(b, ']');
}

/*
 * The last bytes before the writer's place, in order, as a small ring of their own: no frame that
 * counts wraps around its end, so all of them stay where they are found.
 */
static bool read_tail(int fd, const struct record_header *h, uint64_t at, unsigned char *ring,
                      size_t bytes)
{
    uint64_t from = at >= bytes ? at - bytes : at + h->ring_bytes - bytes;
    size_t tail = h->ring_bytes - from < bytes ? (size_t)(h->ring_bytes - from) : bytes, got;

    return read_at(fd, ring, tail, RECORD_HEADER_BYTES + from, &got) && got == tail &&
           read_at(fd, ring + tail, bytes - tail, RECORD_HEADER_BYTES, &got) && got == bytes - tail;
}

/* The header, and whether this build can read what is behind it. */
static bool read_header(int fd, const char *path, struct record_header *ret, struct pgv_error *err)
{
    unsigned char head[RECORD_HEADER_BYTES];
    size_t got;

    if (!read_at(fd, head, sizeof(head), 0, &got))
        return pgv_fail_sys(err, errno, "cannot read '%s'", path);
    if (!record_header_read(head, got, ret, err))
        return false;
    return (ret->fields_id == record_fields_id() && ret->at < ret->ring_bytes) ||
           pgv_fail(err, PGV_EINVALID, "'%s' was recorded by another build", path);
}

bool record_file_decisions(const char *path, uint64_t seq, unsigned n, struct pgv_buf *b,
                           struct pgv_error *err)
{
    unsigned char *ring = NULL;
    struct record_reader reader = { 0 };
    struct record_header h, tail;
    struct deciding *all = NULL;
    size_t bytes;
    bool ok = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    PGV_ASSERT(n >= 1 && n <= RECORD_DECISIONS_MAX);
    if (fd < 0)
        return pgv_fail_sys(err, errno, "cannot open '%s'", path);
    for (unsigned tries = 0; tries < LATE_TRIES; tries++) { /* the writer may not be so far yet */
        if (tries > 0)
            (void)poll(NULL, 0, LATE_MS);
        if (!read_header(fd, path, &h, err))
            goto out;
        if (h.seq >= seq)
            break;
    }
    bytes = h.ring_bytes < READ_BACK_BYTES ? (size_t)h.ring_bytes : READ_BACK_BYTES;
    ring = pgv_alloc(bytes);
    all = pgv_zalloc(sizeof(*all));
    if (!ring || !all) {
        pgv_fail(err, PGV_ENOMEM, "no memory to read '%s'", path);
        goto out;
    }
    if (!read_tail(fd, &h, h.at, ring, bytes)) {
        pgv_fail(err, PGV_EINVALID, "'%s' was cut", path);
        goto out;
    }
    tail = h;
    tail.ring_bytes = bytes;
    record_reader_init(&reader, &tail, ring);
    all->n = n;
    find_deciding(&reader, all);
    ok = write_decisions(all, b) || pgv_fail(err, PGV_ENOMEM, "no memory for the decisions");
out:
    record_reader_done(&reader);
    pgv_free(all);
    pgv_free(ring);
    close(fd);
    return ok;
}
