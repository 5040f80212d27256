/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/trace.c - a recording, of production or of a simulated agent, becomes a test of the
 * brain.
 *
 * import: the part of it that matters, as text (agent/record.h), beginning with the world as it
 * was. The decisions in it are those of this build; at the first one that the recorded build took
 * otherwise the text ends, for what was told after that followed from another decision.
 * check: the events through the brain again; whatever it decides otherwise is told.
 */
#include "tests/sim/sim.h"

#include "agent/record.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (1u << 30)
#define TEXT_BYTES_MAX (64u << 20)
#define LINE_BYTES_MAX (16u << 20) /* a world in words is larger than its bytes */

struct trace {
    struct ha ha;
    struct record_event ev;
    struct ha_effects was, is;
    struct record_text text;
    struct pgv_buf x, y, out;
    bool have_world, begun, differs;
    unsigned long steps;
};

static struct trace *trace_new(void)
{
    struct trace *t = calloc(1, sizeof(*t));

    if (!t)
        abort();
    pgv_buf_init(&t->x, RECORD_PAYLOAD_BYTES_MAX);
    pgv_buf_init(&t->y, RECORD_PAYLOAD_BYTES_MAX);
    pgv_buf_init(&t->out, LINE_BYTES_MAX);
    record_text_init(&t->text);
    return t;
}

static void trace_free(struct trace *t)
{
    pgv_buf_done(&t->x);
    pgv_buf_done(&t->y);
    pgv_buf_done(&t->out);
    free(t);
}

/* ---- import ------------------------------------------------------------------------------- */

/* One step of the recording. False: the text ends here. */
static bool import_step(struct trace *t, const struct record_frame *f, uint64_t from, FILE *to)
{
    bool ok = true;

    if (!record_read_step(f, &t->ev, &t->was) || t->ev.ev.now_ms < t->ha.now_ms) {
        t->have_world = false;
        return !t->begun;
    }
    if (f->seq >= from && !t->begun) {
        t->begun = true;
        ok = record_text_put_world(&t->out, &t->ha);
    }
    if (t->begun)
        ok = ok && record_text_put_event(&t->text, &t->out, &t->ev.ev);
    ha_step(&t->ha, &t->ev.ev, &t->is);
    if (t->begun) {
        ok = ok && record_text_put_effects(&t->out, &t->is, t->ev.ev.now_ms);
        t->differs = !record_same_effects(&t->was, &t->is, &t->x, &t->y);
        t->steps++;
        if (!ok || fwrite(t->out.p, t->out.n, 1, to) != 1)
            abort(); /* no memory, or nowhere to write */
        pgv_buf_reset(&t->out);
    }
    return !t->differs;
}

/* A keyframe in the text's midst, after a new start of the agent, ends it. */
static bool import_world(struct trace *t, const struct record_frame *f)
{
    static struct ha recorded; /* large */
    char build[RECORD_BUILD_BYTES];
    bool continues;

    if (t->begun && t->have_world)
        return record_read_keyframe(f, &recorded, &continues, build) && continues;
    t->have_world = record_read_keyframe(f, &t->ha, &continues, build);
    return true;
}

static bool import_frames(struct trace *t, const struct record_header *h, const unsigned char *ring,
                          uint64_t from, uint64_t to, FILE *out)
{
    struct record_reader reader;
    struct record_frame f;
    bool more = true;

    record_reader_init(&reader, h, ring);
    while (more && record_read_frame(&reader, &f) && f.seq <= to)
        if (f.type == RECORD_KEYFRAME)
            more = import_world(t, &f);
        else if (t->have_world)
            more = import_step(t, &f, from, out);
    record_reader_done(&reader);
    return t->steps > 0;
}

bool trace_import(const char *path, uint64_t from, uint64_t to, FILE *out, struct pgv_error *err)
{
    struct trace *t = trace_new();
    struct record_header h;
    struct pgv_buf file;
    unsigned char *ring = NULL;
    bool ok = false;

    pgv_buf_init(&file, FILE_BYTES_MAX);
    if (!pgv_file_read(path, &file, err) ||
        !record_header_read((const unsigned char *)file.p, file.n, &h, err))
        goto out;
    if (h.fields_id != record_fields_id()) {
        pgv_fail(err, PGV_EINVALID, "recorded by '%s', whose fields this build does not know",
                 h.build);
        goto out;
    }
    /* A file that was cut: the rest counts as damaged. */
    ring = h.ring_bytes <= FILE_BYTES_MAX ? calloc(1, h.ring_bytes + 1) : NULL;
    if (!ring) {
        pgv_fail(err, PGV_ENOMEM, "it claims %llu bytes", (unsigned long long)h.ring_bytes);
        goto out;
    }
    memcpy(ring, file.p + RECORD_HEADER_BYTES,
           file.n - RECORD_HEADER_BYTES < h.ring_bytes ? file.n - RECORD_HEADER_BYTES
                                                       : h.ring_bytes);
    fprintf(out, "# %s, recorded by %s\n", h.node, h.build);
    ok = import_frames(t, &h, ring, from, to, out);
    if (!ok)
        pgv_fail(err, PGV_EINVALID, "it holds no step from #%llu on that could be replayed",
                 (unsigned long long)from);
    else
        fprintf(stderr, "%lu steps%s\n", t->steps,
                t->differs ? ", the last of which this build decides otherwise" : "");
out:
    free(ring);
    pgv_buf_done(&file);
    trace_free(t);
    return ok;
}

/* ---- check -------------------------------------------------------------------------------- */

/* @at: the lines of what was decided; what this build decides lies in t->out. */
static bool compare(struct trace *t, struct pgv_str at, unsigned line)
{
    if (at.n == t->out.n && memcmp(at.p, t->out.p, at.n) == 0)
        return true;
    printf("line %u: DIFFERS: expected\n%.*sthis build\n%s", line, (int)at.n, at.p,
           pgv_buf_cstr(&t->out));
    return false;
}

static bool check_lines(struct trace *t, struct pgv_str text, bool *ret_same, struct pgv_error *err)
{
    struct pgv_str line, rest = text, decided = { 0 };
    unsigned n = 0, at = 0;

    *ret_same = true;
    while (*ret_same && rest.n) {
        bool effect;

        n++;
        if (!pgv_str_cut(rest, '\n', &line, &rest))
            rest = (struct pgv_str){ 0 };
        effect = pgv_str_starts(line, "= ");
        if (effect) {
            if (!decided.n)
                decided.p = line.p;
            decided.n = (size_t)(line.p + line.n + 1 - decided.p);
        }
        if ((!effect || !rest.n) && at) {
            *ret_same = compare(t, decided, at);
            at = 0;
        }
        if (!*ret_same || effect || !line.n || line.p[0] == '#')
            continue;
        decided = (struct pgv_str){ 0 };
        if (pgv_str_starts(line, "world")) {
            t->have_world = record_text_get_world(line, &t->ha, err);
            record_text_init(&t->text);
            if (!t->have_world)
                goto wrong;
            continue;
        }
        if (!record_text_get_event(&t->text, line, err))
            goto wrong;
        if (!t->have_world || t->text.last.ev.now_ms < t->ha.now_ms) {
            (void)pgv_fail(err, PGV_EINVALID, "an event before the world it belongs to");
            goto wrong;
        }
        ha_step(&t->ha, &t->text.last.ev, &t->is);
        pgv_buf_reset(&t->out);
        if (!record_text_put_effects(&t->out, &t->is, t->ha.now_ms))
            abort();
        t->steps++;
        at = n;
    }
    if (at)
        *ret_same = compare(t, decided, at);
    return true;
wrong:
    pgv_error_wrap(err, "line %u", n);
    return false;
}

bool trace_check(const char *path, bool *ret_same, struct pgv_error *err)
{
    struct trace *t = trace_new();
    struct pgv_buf file;
    bool ok;

    pgv_buf_init(&file, TEXT_BYTES_MAX);
    ok = pgv_file_read(path, &file, err) && pgv_buf_putc(&file, '\n') &&
         check_lines(t, (struct pgv_str){ file.p, file.n }, ret_same, err);
    if (ok && !t->steps)
        ok = pgv_fail(err, PGV_EINVALID, "nothing happens in it");
    if (ok)
        printf("%s: %s, %lu steps\n", path, *ret_same ? "ok" : "FAILED", t->steps);
    pgv_buf_done(&file);
    trace_free(t);
    return ok;
}
