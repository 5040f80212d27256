/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/recorder.c - the flight recorder in the agent: steps into the writer's pipe.
 *
 * The happy path: the writer starts, opens its file and says 'ready'; the world becomes the first
 * keyframe; each step becomes a piece of the stream, as it is in memory or, a rare kind, as a
 * frame. What the pipe leaves of a piece is kept, so the stream stays whole pieces, one behind the
 * other, whatever is left out between them.
 */
#include "agent/recorder.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

/** What the writer may be behind: about a hundred steps with their keyframe. The kernel takes the
 * memory as it is needed. */
#define PIPE_BYTES (256 << 10)
/** After a writer that failed, before the next; and from one complaint to the next. */
#define REST_MS 30000
/** A ring holds this many keyframes: that much of its oldest part may have lost its beginning. */
#define KEYFRAMES_PER_RING 16
#define FRAME_RESERVE_BYTES 32768
#define STREAM_BYTES_MAX (RECORD_PAYLOAD_BYTES_MAX + RECORD_FRAME_BYTES + HELD_BYTES_MAX)
/** What the pipe does not take waits up to here; then steps are left out. */
#define HELD_BYTES_MAX 16384
/** Up to here quiet steps wait to go out together: some 80 of them, or two minutes. */
#define QUIET_BYTES 12288
/** A reader that takes longer is ended. */
#define READER_MS 10000

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

void recorder_init(struct recorder *r, uv_loop_t *loop, const struct ha *ha, const char *program)
{
    memset(r, 0, sizeof(*r));
    r->loop = loop;
    r->ha = ha;
    r->fd = -1;
    r->settled = true;
    r->writer.data = r->reader.data = r;
    pgv_copy_cut(r->program, sizeof(r->program), pgv_str(program));
    pgv_buf_init(&r->held, STREAM_BYTES_MAX);
}

/* ---- the stream --------------------------------------------------------------------------- */

static void close_pipe(struct recorder *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    r->ready = false;
    r->hole = true;
    pgv_buf_reset(&r->held);
}

/* What is held goes out, as far as the pipe takes it. True: all of it. */
static bool flush(struct recorder *r)
{
    while (r->held.n) {
        ssize_t n = write(r->fd, r->held.p, r->held.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno != EAGAIN)
                close_pipe(r); /* the writer has ended: its end is told by itself */
            return false;
        }
        pgv_buf_consume(&r->held, (size_t)n);
    }
    return true;
}

/* The piece behind @before is part of the stream now. A frame is shorter than a held step: there
 * will be more keyframes than there need to be. */
static void composed(struct recorder *r, size_t before)
{
    size_t n = r->held.n - before;

    r->since_keyframe_bytes += n;
    r->untaken_bytes += n;
    r->next_seq++;
}

static bool put_keyframe(struct recorder *r, const struct ha *ha)
{
    size_t before = r->held.n;

    if (!record_put_keyframe(&r->held, r->header.salt, r->next_seq, !r->hole, ha))
        return false;
    if (r->held.n - before > r->header.ring_bytes / 4) {
        r->held.n = before;
        return false;
    }
    composed(r, before);
    r->hole = r->keyframe_due = false;
    r->since_keyframe_bytes = 0;
    return true;
}

PGV_HOT static bool put_step(struct recorder *r, const struct ha_event *ev,
                             const struct ha_effects *fx)
{
    size_t before = r->held.n;

    if (!record_hold(&r->held, r->next_seq, ev, fx) &&
        !record_put_step(&r->held, r->header.salt, r->next_seq, ev, fx))
        return false;
    composed(r, before);
    return true;
}

static void take(struct recorder *r)
{
    r->untaken_bytes = 0;
    pgv_child_kill(&r->writer, RECORDER_SIGNAL_TAKE);
}

static void lose(struct recorder *r)
{
    uint64_t now_ms = pgv_clock_ms();

    r->lost++;
    r->hole = true;
    if (!r->ready || r->said_lost || (r->said_ms && now_ms < r->said_ms + REST_MS))
        return;
    r->said_lost = true;
    r->said_ms = now_ms;
    pgv_log(PGV_WARNING, "agent",
            "the flight recorder's disk does not keep up: steps are left out of the recording");
}

static void recorded(struct recorder *r)
{
    r->steps++;
    if (!r->said_lost)
        return;
    r->said_lost = false;
    pgv_log(PGV_INFO, "agent", "the flight recorder goes on, %llu steps were left out",
            (unsigned long long)(r->lost - r->lost_told));
    r->lost_told = r->lost;
}

/* Nothing is decided, and the cycle, if this is its end, ends as the last one did. */
PGV_HOT static bool is_quiet(struct recorder *r, const struct ha_effects *fx)
{
    bool quiet = true;

    for (unsigned i = 0; i < fx->n; i++)
        if (fx->v[i].type == HA_DO_CYCLE_DONE && fx->v[i].why != r->told) {
            r->told = fx->v[i].why;
            quiet = false;
        }
    return quiet && record_weigh(fx) < RECORD_DECIDED;
}

static void start_again(struct recorder *r);

PGV_HOT void recorder_step(void *data, const struct ha *ha, const struct ha_event *ev,
                           const struct ha_effects *fx)
{
    struct recorder *r = data;
    bool quiet;

    if (!r->config.enabled)
        return;
    if (!r->ready) {
        if (!r->writing && pgv_clock_ms() >= r->start_at_ms)
            start_again(r);
        lose(r);
        return;
    }
    quiet = is_quiet(r, fx);
    if (r->held.n >= HELD_BYTES_MAX && !flush(r)) {
        lose(r);
        return;
    }
    /* Behind a hole a step says nothing that could be replayed: the world comes first. It is the
     * world after this step, so the step itself is left out. */
    if (!r->hole && put_step(r, ev, fx)) {
        recorded(r);
    } else {
        lose(r);
    }
    if (r->since_keyframe_bytes >= r->header.ring_bytes / KEYFRAMES_PER_RING)
        r->keyframe_due = true;
    if (quiet && !r->hole && !r->keyframe_due && r->held.n < QUIET_BYTES)
        return;
    if ((r->hole || r->keyframe_due) && flush(r))
        (void)put_keyframe(r, ha);
    (void)flush(r);
    if (r->ready && (r->untaken_bytes >= r->take_bytes || record_weigh(fx) == RECORD_DECIDED))
        take(r);
}

/* ---- the writer --------------------------------------------------------------------------- */

static void settle(struct recorder *r)
{
    if (r->settled)
        return;
    r->settled = true;
    if (r->on_settled)
        r->on_settled(r);
}

static void on_writer_line(struct pgv_child *c, int fd, struct pgv_str line)
{
    struct recorder *r = c->data;
    unsigned long long seq;
    unsigned long salt;
    char text[64];

    if (fd == 2) {
        pgv_log(PGV_WARNING, "agent", "the flight recorder: %.*s", (int)line.n, line.p);
        return;
    }
    if (r->fd < 0 || !pgv_copy(text, sizeof(text), line) ||
        sscanf(text, "ready %lu %llu", &salt, &seq) != 2)
        return;
    record_header_init(&r->header, r->node, r->config.size_bytes - RECORD_HEADER_BYTES,
                       (uint32_t)salt);
    r->next_seq = seq;
    r->ready = true;
    r->hole = true; /* whatever lies there is not what led to this world */
    (void)(put_keyframe(r, r->ha) && flush(r));
    settle(r);
}

static bool start_writer(struct recorder *r, struct pgv_error *err);

static void start_again(struct recorder *r)
{
    struct pgv_error err;

    if (!start_writer(r, &err))
        pgv_log(PGV_WARNING, "agent", "the flight recorder does not start: %s", err.msg);
}

static void on_writer_end(struct pgv_child *c, int status)
{
    struct recorder *r = c->data;
    char how[64];

    pgv_child_done(c);
    r->writing = false;
    if (r->finish_cb) {
        close_pipe(r);
        r->finish_cb(r);
        return;
    }
    if (r->abandoned) { /* not ours any more; another may be wanted */
        r->abandoned = false;
        if (r->config.enabled)
            start_again(r);
    } else {
        close_pipe(r);
        pgv_child_describe(status, how, sizeof(how));
        pgv_log(PGV_WARNING, "agent", "the flight recorder rests for %d s, its writer ended: %s",
                REST_MS / 1000, how);
        r->start_at_ms = pgv_clock_ms() + REST_MS;
        r->said_lost = true;
    }
    if (!r->writing)
        settle(r);
}

static bool start_writer(struct recorder *r, struct pgv_error *err)
{
    char size[24];
    const char *argv[] = { r->program,       "write", r->config.file, size, r->node,
                           record_held_id(), NULL };
    struct pgv_child_options o = { .argv = argv, .on_line = on_writer_line, .ret_input = &r->fd };
    int pipe_bytes;

    PGV_ASSERT(!r->writing && r->fd < 0);
    snprintf(size, sizeof(size), "%llu", (unsigned long long)r->config.size_bytes);
    r->start_at_ms = pgv_clock_ms() + REST_MS;
    if (!pgv_buf_reserve(&r->held, FRAME_RESERVE_BYTES))
        return pgv_fail(err, PGV_ENOMEM, "no memory for a frame");
    if (!pgv_child_start(r->loop, &r->writer, &o, on_writer_end, err))
        return false;
    (void)fcntl(r->fd, F_SETPIPE_SZ, PIPE_BYTES); /* else it keeps its 64 kB */
    pipe_bytes = fcntl(r->fd, F_GETPIPE_SZ);
    r->take_bytes = pipe_bytes > 0 ? (size_t)pipe_bytes / 2 : 0;
    r->untaken_bytes = 0;
    r->writing = true;
    return true;
}

bool recorder_open(struct recorder *r, const struct recorder_config *c, const char *node,
                   struct pgv_error *err)
{
    recorder_close(r);
    r->config = *c;
    pgv_copy_cut(r->node, sizeof(r->node), pgv_str(node));
    if (!c->enabled)
        return true;
    r->settled = false;
    if (r->writing) /* its callback has still to come, soon: the next writer starts there */
        return true;
    r->settled = !start_writer(r, err);
    return !r->settled;
}

void recorder_close(struct recorder *r)
{
    (void)flush(r);
    close_pipe(r);
    if (r->writing && !r->abandoned) {
        r->abandoned = true; /* however long its disk makes it wait */
        pgv_child_abandon(&r->writer);
    }
    r->config.enabled = false;
    pgv_buf_done(&r->held);
    pgv_buf_init(&r->held, STREAM_BYTES_MAX);
}

void recorder_finish(struct recorder *r, void (*cb)(struct recorder *r))
{
    r->config.enabled = false;
    (void)flush(r);
    close_pipe(r);
    if (r->writing)
        r->finish_cb = cb;
    else
        cb(r);
}

bool recorder_is_settled(const struct recorder *r)
{
    return r->settled;
}

/* ---- reading back ------------------------------------------------------------------------- */

static void on_reader_end(struct pgv_child *c, int status)
{
    struct recorder *r = c->data;
    recorder_answer_cb cb = r->answer;
    struct pgv_buf out = c->out;
    char why[256];

    c->out = (struct pgv_buf){ 0 };
    r->reading = false;
    r->answer = NULL;
    if (cb && (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !out.n)) {
        snprintf(why, sizeof(why), "the recording cannot be read: %.200s",
                 c->err_out.n ? pgv_buf_cstr(&c->err_out) : "its reader has failed");
        cb(r->answer_data, NULL, why);
    } else if (cb) {
        cb(r->answer_data, &out, NULL);
    }
    pgv_buf_done(&out);
    pgv_child_done(c);
}

bool recorder_ask(struct recorder *r, unsigned n, recorder_answer_cb cb, void *data,
                  struct pgv_error *err)
{
    char count[16], seq[24];
    const char *argv[] = { r->program, "last", count, seq, r->config.file, NULL };
    struct pgv_child_options o = { .argv = argv, .keep_output = true, .timeout_ms = READER_MS };

    if (!r->ready)
        return pgv_fail(err, PGV_EINVALID, "the flight recorder does not run");
    if (r->reading)
        return pgv_fail(err, PGV_ECONFLICT, "the recording is being read already");
    snprintf(count, sizeof(count), "%u", n);
    (void)flush(r);
    if (!r->ready)
        return pgv_fail(err, PGV_EINVALID, "the flight recorder does not run");
    snprintf(seq, sizeof(seq), "%llu", (unsigned long long)r->next_seq - 1);
    take(r);
    if (!pgv_child_start(r->loop, &r->reader, &o, on_reader_end, err))
        return false;
    r->reading = true;
    r->answer = cb;
    r->answer_data = data;
    return true;
}

void recorder_forget(struct recorder *r)
{
    r->answer = NULL;
}
