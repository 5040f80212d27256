/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/record.h - the trace format: what the brain was told and what it decided, as bytes.
 *
 * A trace is a header of RECORD_HEADER_BYTES and a ring of frames. Each frame carries its length,
 * its number and a CRC, so a reader finds the oldest whole frame by itself, wherever the writer
 * was killed. The frames are
 *
 *   KEYFRAME  the brain's whole world (struct ha): a replay may begin at any of them;
 *   STEP      one event, the effects that ha_step() gave for it, and when it wants to be woken.
 *
 * Everything is written field by field from one table of fields (record_fields.c): the same bytes
 * from every compiler, no padding, no pointers, and user information of URLs left out. Whether a
 * reader knows the same fields is told by record_fields_id().
 *
 * No files and no loop in here: the agent's ring file (recorder.c), the replayer and the simulator
 * use the same functions. A simulator's trace is a header whose ring is as long as its frames,
 * followed by those frames.
 */
#pragma once

#include "agent/ha/ha.h"

#define RECORD_FORMAT 2
#define RECORD_HEADER_BYTES 512
#define RECORD_FRAME_BYTES 20               /* before each payload */
#define RECORD_PAYLOAD_BYTES_MAX (1u << 20) /* no world is larger */
#define RECORD_BUILD_BYTES 64

struct record_header {
    uint32_t format;
    uint32_t fields_id; /* record_fields_id() of the writer */
    uint32_t salt;      /* of this file: frames of another one do not pass for ours */
    uint64_t ring_bytes;
    char build[RECORD_BUILD_BYTES]; /* of the file's creator; keyframes name their own */
    char node[PGV_NAME_BYTES];
    uint64_t seq, at; /* the newest frame and the offset behind it, when the writer last paused */
};

/** 'pgvigil 0.1.0 brain 0123456789abcdef': equal for equal sources of the brain. */
const char *record_build(void);
/** Changes whenever a field is added, removed, renamed or moved. */
uint32_t record_fields_id(void);
/** A header for this build. */
void record_header_init(struct record_header *h, const char *node, uint64_t ring_bytes,
                        uint32_t salt);
void record_header_write(const struct record_header *h, unsigned char ret[RECORD_HEADER_BYTES]);
/** Only what changes: RECORD_PAUSE_BYTES at RECORD_PAUSE_OFF, outside the header's CRC. */
#define RECORD_PAUSE_OFF 488
#define RECORD_PAUSE_BYTES 16
void record_header_write_pause(const struct record_header *h,
                               unsigned char ret[RECORD_PAUSE_BYTES]);
/** PGV_EINVALID: no header of ours, another format, or damaged. @bytes: RECORD_HEADER_BYTES. */
bool record_header_read(const unsigned char *bytes, size_t n, struct record_header *ret,
                        struct pgv_error *err) PGV_MUST_CHECK;

/* ---- frames ------------------------------------------------------------------------------- */

enum record_type { RECORD_KEYFRAME = 1, RECORD_STEP };

/**
 * Append one whole frame to @b. False: @b is full or memory ran out; @b is as before. @seq counts
 * the frames of a file from 1. @continues: the frame before it led to this very world; else it is a
 * new run of the agent, or steps between them are missing.
 */
bool record_put_keyframe(struct pgv_buf *b, uint32_t salt, uint64_t seq, bool continues,
                         const struct ha *ha);
bool record_put_step(struct pgv_buf *b, uint32_t salt, uint64_t seq, const struct ha_event *ev,
                     const struct ha_effects *fx);

/* ---- the stream from the agent to its writer ---------------------------------------------- */

/**
 * The stream is frames and held steps, one behind the other. A held step is as it is in memory: ten
 * times cheaper to make than a frame, which the writer makes of it. Only for a writer whose
 * record_held_id() is the same.
 */
const char *record_held_id(void);
#define RECORD_HELD_BYTES_MAX 2048
/**
 * Append the step to @b. False: it is not of the kind that quiet cycles are made of, is longer than
 * RECORD_HELD_BYTES_MAX, or there is no room; nothing was appended.
 */
bool record_hold(struct pgv_buf *b, uint64_t seq, const struct ha_event *ev,
                 const struct ha_effects *fx) PGV_MUST_CHECK;
/** The frame of the held step at @held, a whole one. As record_put_step(). */
bool record_put_held(struct pgv_buf *b, uint32_t salt, const char *held);

enum record_piece { RECORD_CUT, RECORD_FRAME, RECORD_HELD, RECORD_DAMAGED };
/** What begins at @p; CUT: too little of it to tell. @ret_bytes: of all of it. */
enum record_piece record_piece(const char *p, size_t n, size_t *ret_bytes, uint64_t *ret_seq);

/** A held step taken apart: what it was told, then its effects one by one. */
struct record_held {
    const char *p; /* private: the next effect */
    uint64_t seq, wake_ms;
    unsigned n_effects;
    struct ha_event ev; /* points to facts */
    struct postmaster_facts facts;
};
void record_unhold(const char *held, struct record_held *ret);
void record_unhold_effect(struct record_held *h, struct ha_effect *ret);

/* ---- finding frames ----------------------------------------------------------------------- */

/** A frame as found: the payload is contiguous only inside a record_reader. */
struct record_frame {
    enum record_type type;
    uint64_t seq;
    const unsigned char *payload; /* behind the type byte */
    size_t payload_bytes;
};

/** Walks a ring that lies in memory, from the oldest whole frame to the newest. */
struct record_reader {
    const struct record_header *header;
    const unsigned char *ring;    /* header->ring_bytes of it */
    uint64_t first_seq, last_seq; /* 0: no frame at all */
    uint64_t at;                  /* offset behind the frame last given */
    uint64_t end;                 /* offset behind the newest frame: where a writer goes on */
    uint64_t next_seq;
    struct pgv_buf flat; /* a frame that wraps around the end of the ring */
};
/** @ring may be the first @ring_bytes of a file that was cut: the rest counts as damaged. */
void record_reader_init(struct record_reader *r, const struct record_header *h,
                        const unsigned char *ring);
void record_reader_done(struct record_reader *r);
/** False: no more (or no memory for a frame that wraps). @ret is good until the next call. */
bool record_read_frame(struct record_reader *r, struct record_frame *ret);

/* ---- payloads ----------------------------------------------------------------------------- */

/** An event with what it points to. Large: not for a stack. */
struct record_event {
    struct ha_event ev;
    struct ha_policy policy;
    struct dcs_cluster cluster;
    struct postmaster_facts facts;
    struct ha_peer peers[HA_PEERS_MAX];
};

/** False: damaged, or not of this type. @ret_build: the brain that wrote it. */
bool record_read_keyframe(const struct record_frame *f, struct ha *ret, bool *ret_continues,
                          char ret_build[RECORD_BUILD_BYTES]) PGV_MUST_CHECK;
bool record_read_step(const struct record_frame *f, struct record_event *ret_ev,
                      struct ha_effects *ret_fx) PGV_MUST_CHECK;

/** Do both say the same, field by field? Scratch buffers @x and @y are overwritten. */
bool record_same_effects(const struct ha_effects *a, const struct ha_effects *b, struct pgv_buf *x,
                         struct pgv_buf *y);
bool record_same_world(const struct ha *a, const struct ha *b, struct pgv_buf *x,
                       struct pgv_buf *y);
/** The name of the first field in which two worlds differ ('view.members'), or NULL. */
const char *record_world_difference(const struct ha *a, const struct ha *b, struct pgv_buf *x,
                                    struct pgv_buf *y);

/** One event, one effect, in words, on one line: 'looked: running, primary, timeline 3, …'. */
void record_say_event(const struct ha_event *ev, char *ret, size_t ret_bytes);
void record_say_effect(const struct ha_effect *e, char *ret, size_t ret_bytes);

/** How much a step says. */
enum record_weight {
    RECORD_ROUTINE, /* what every cycle does: it looks, reads, renews and publishes */
    RECORD_TOLD,    /* the end of a cycle, words */
    RECORD_DECIDED, /* a deed, or a warning */
};
enum record_weight record_weigh(const struct ha_effects *fx);

/* ---- as text: record_text.c ------------------------------------------------------------- */

/**
 * A trace as lines that people can read, cut and keep: fields by their names, and of each event
 * only what differs from the last one that told the same. Unlike a recording it outlives new
 * fields.
 *
 *   world FIELD=VALUE …            where it begins: the brain's world
 *   at NOW_MS WALL_US EVENT FIELD=VALUE …
 *   = EFFECT WHY FIELD=VALUE …     what was decided upon it, in order; without the words for people
 *   = wake IN_MS
 */
struct record_text {
    struct record_event last; /* what was told so far */
};
void record_text_init(struct record_text *t);
/** False: @b is full, or memory ran out. */
bool record_text_put_world(struct pgv_buf *b, const struct ha *ha);
bool record_text_put_event(struct record_text *t, struct pgv_buf *b, const struct ha_event *ev);
/** One line for each effect and one for when it wants to be woken, counted from @now_ms. */
bool record_text_put_effects(struct pgv_buf *b, const struct ha_effects *fx, uint64_t now_ms);
/** A 'world' or 'at' line; the event is t->last.ev then. PGV_EINVALID names the word that is wrong.
 */
bool record_text_get_world(struct pgv_str line, struct ha *ret,
                           struct pgv_error *err) PGV_MUST_CHECK;
bool record_text_get_event(struct record_text *t, struct pgv_str line,
                           struct pgv_error *err) PGV_MUST_CHECK;

/** CRC-32 (IEEE 802.3), going on from @crc; 0 begins. */
uint32_t record_crc(uint32_t crc, const void *data, size_t n);
