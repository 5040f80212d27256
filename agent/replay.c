/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/replay.c - the recording through the brain again: what was known, what was decided, why.
 *
 * The replay begins at the oldest keyframe. Later keyframes are checked against the world that the
 * replay has come to, so a difference that shows in no effect is found too. After a difference
 * the replay goes on from the next keyframe.
 */
#include "agent/replay.h"

#include "agent/record.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define FILE_BYTES_MAX ((uint64_t)2 << 30)
#define WORDS_BYTES 4096

struct replay {
    FILE *out;
    struct ha *ha, *recorded; /* the world now; a keyframe's */
    struct record_event ev;
    struct ha_effects was, is;
    struct pgv_buf x, y;
    bool have_world;
    char build[RECORD_BUILD_BYTES];
    unsigned long steps, skipped, differing, other_builds;
};

static void say_effects(struct replay *r, const char *mark, const struct ha_effects *fx)
{
    char words[WORDS_BYTES];

    for (unsigned i = 0; i < fx->n; i++) {
        record_say_effect(&fx->v[i], words, sizeof(words));
        fprintf(r->out, "  %s %s  [%s]\n", mark, words, ha_why_label(fx->v[i].why));
    }
}

static void say_known(struct replay *r, uint64_t seq)
{
    char words[WORDS_BYTES], when[PGV_ISO_BYTES];

    pgv_wall_iso_local(r->ev.ev.wall_us, when);
    record_say_event(&r->ev.ev, words, sizeof(words));
    fprintf(r->out, "%s #%llu %s\n", when, (unsigned long long)seq, words);
}

static void keyframe(struct replay *r, const struct record_frame *f)
{
    char build[RECORD_BUILD_BYTES] = "";
    const char *differs;
    bool continues;

    if (!record_read_keyframe(f, r->recorded, &continues, build)) {
        fprintf(r->out, "#%llu: a keyframe that this build cannot read\n",
                (unsigned long long)f->seq);
        r->have_world = false;
        r->differing++;
        return;
    }
    if (strcmp(build, r->build) != 0) {
        memcpy(r->build, build, sizeof(build));
        if (strcmp(build, record_build()) != 0) {
            r->other_builds++;
            fprintf(r->out, "recorded by another build: '%s'; this one is '%s'\n", build,
                    record_build());
        }
    }
    if (r->have_world && continues) {
        differs = record_world_difference(r->ha, r->recorded, &r->x, &r->y);
        if (differs) {
            fprintf(r->out, "#%llu DIFFERS: the world is another one: %s\n",
                    (unsigned long long)f->seq, differs);
            r->differing++;
        }
    } else {
        fprintf(r->out, "#%llu the world of %s: status '%s'\n", (unsigned long long)f->seq,
                r->recorded->policy.name[0] ? r->recorded->policy.name : "an agent that starts",
                r->recorded->status);
    }
    memcpy(r->ha, r->recorded, sizeof(*r->ha));
    r->have_world = true;
}

static void step(struct replay *r, const struct record_frame *f)
{
    bool same;

    if (!r->have_world) {
        r->skipped++;
        return;
    }
    if (!record_read_step(f, &r->ev, &r->was) || r->ev.ev.now_ms < r->ha->now_ms) {
        fprintf(r->out, "#%llu: a step that this build cannot read\n", (unsigned long long)f->seq);
        r->have_world = false;
        r->differing++;
        return;
    }
    r->steps++;
    ha_step(r->ha, &r->ev.ev, &r->is);
    same = record_same_effects(&r->was, &r->is, &r->x, &r->y);
    if (same && r->was.n == 0 && r->ev.ev.type == HA_EV_TICK)
        return;
    say_known(r, f->seq);
    if (same) {
        say_effects(r, "->", &r->was);
        return;
    }
    r->differing++;
    fprintf(r->out, "  DIFFERS: recorded (wake in %lld ms):\n",
            (long long)(r->was.wake_ms - r->ev.ev.now_ms));
    say_effects(r, "-", &r->was);
    fprintf(r->out, "  this build (wake in %lld ms):\n",
            (long long)(r->is.wake_ms - r->ev.ev.now_ms));
    say_effects(r, "+", &r->is);
    r->have_world = false; /* what follows would only repeat it */
}

static int unreadable(FILE *errors, const char *path, const char *why)
{
    fprintf(errors, "pgvigil: cannot replay '%s': %s\n", path, why);
    return 2;
}

static int tell(struct replay *r, const struct record_header *h, const unsigned char *ring)
{
    struct record_reader reader;
    struct record_frame f;

    record_reader_init(&reader, h, ring);
    while (record_read_frame(&reader, &f)) {
        if (f.type == RECORD_KEYFRAME)
            keyframe(r, &f);
        else
            step(r, &f);
    }
    record_reader_done(&reader);
    fprintf(r->out,
            "\n%lu steps of %s replayed, %lu before the first keyframe left out, "
            "%lu differences\n",
            r->steps, h->node, r->skipped, r->differing);
    if (r->other_builds)
        fprintf(r->out, "the recording comes from another build: differences may be changes\n");
    return r->differing ? 1 : 0;
}

int replay_file(const char *path, FILE *out, FILE *errors)
{
    unsigned char head[RECORD_HEADER_BYTES];
    struct record_header h;
    struct replay *r = NULL;
    struct pgv_error err;
    unsigned char *ring = NULL;
    size_t got = 0;
    struct stat st;
    ssize_t n;
    int status = 2, fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return unreadable(errors, path, strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        unreadable(errors, path, "not a file");
        goto out;
    }
    n = read(fd, head, sizeof(head));
    if (!record_header_read(head, n < 0 ? 0 : (size_t)n, &h, &err)) {
        unreadable(errors, path, err.msg);
        goto out;
    }
    if (h.fields_id != record_fields_id()) {
        fprintf(errors,
                "pgvigil: '%s' was recorded by '%s', whose fields this build ('%s') does "
                "not know\n",
                path, h.build, record_build());
        goto out;
    }
    if (h.ring_bytes == 0 || h.ring_bytes > FILE_BYTES_MAX) {
        unreadable(errors, path, "it claims an impossible size");
        goto out;
    }
    /* The claimed size bounds memory only by what the file really holds. */
    if ((uint64_t)st.st_size < RECORD_HEADER_BYTES + h.ring_bytes)
        fprintf(out, "the file was cut: %lld of %llu bytes are there\n",
                (long long)st.st_size - RECORD_HEADER_BYTES, (unsigned long long)h.ring_bytes);
    ring = pgv_zalloc(h.ring_bytes);
    r = pgv_zalloc(sizeof(*r));
    if (r) {
        pgv_buf_init(&r->x, RECORD_PAYLOAD_BYTES_MAX);
        pgv_buf_init(&r->y, RECORD_PAYLOAD_BYTES_MAX);
        r->out = out;
        r->ha = pgv_zalloc(sizeof(*r->ha));
        r->recorded = pgv_zalloc(sizeof(*r->recorded));
    }
    if (!ring || !r || !r->ha || !r->recorded) {
        unreadable(errors, path, "out of memory");
        goto out;
    }
    while (got < h.ring_bytes && (n = read(fd, ring + got, h.ring_bytes - got)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            unreadable(errors, path, strerror(errno));
            goto out;
        }
        got += (size_t)n;
    }
    fprintf(out, "recording of %s\n", h.node);
    status = tell(r, &h, ring);
    if (r->steps == 0 && !r->differing)
        status = unreadable(errors, path, "it holds no step that could be replayed");
out:
    if (r) {
        pgv_buf_done(&r->x);
        pgv_buf_done(&r->y);
        pgv_free(r->ha);
        pgv_free(r->recorded);
    }
    pgv_free(r);
    pgv_free(ring);
    close(fd);
    return status;
}
