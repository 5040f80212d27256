/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/recorder.h - the flight recorder: the last events and effects of the brain in a ring file.
 *
 * The file has a fixed size, laid out in full when it is made, so a full disk cannot stop it later.
 * A step is one pwrite() into the page cache, after the step's effects were carried out: memory is
 * one frame, and what was written survives the agent's death at any instruction (not that of the
 * machine: nothing is synced). When the disk is so slow that a write makes the loop wait, or
 * refuses it, the recorder rests for a while; the trace then has a hole, and a keyframe behind it.
 */
#pragma once

#include "agent/record.h"

/** Default: some days of a quiet member, or some hours of a busy one. */
#define RECORDER_BYTES_DEFAULT (8u << 20)
#define RECORDER_BYTES_MIN (1u << 20)
#define RECORDER_BYTES_MAX (1u << 30)

/** The 'recorder' section of the local configuration. */
struct recorder_config {
    bool enabled;
    uint64_t size_bytes; /* of the file */
    char file[512];
};
/**
 * @section may be NULL: defaults. The file: 'pgvigil-NAME.rec' in @log_dir, or without one
 * '<data_dir>.rec', beside the data directory. PGV_EINVALID names the key that is wrong.
 */
bool recorder_config_read(const struct pgv_value *section, const char *log_dir,
                          const char *data_dir, const char *name, struct recorder_config *ret,
                          struct pgv_error *err) PGV_MUST_CHECK;

struct recorder {
    struct recorder_config config;
    struct record_header header;
    int fd; /* -1: not recording */
    uint64_t at, next_seq;
    uint64_t since_keyframe_bytes;
    bool keyframe_due;
    uint64_t slow_ms;       /* a write that took longer waited for the disk */
    uint64_t rest_until_ms; /* the disk was slow or refused */
    struct pgv_buf frame;
    uint64_t steps, lost; /* since the start */
};

void recorder_init(struct recorder *r);
/** Goes on behind what an earlier run left in the file; a file that is not ours is refused. */
bool recorder_open(struct recorder *r, const struct recorder_config *c, const char *node,
                   struct pgv_error *err) PGV_MUST_CHECK;
void recorder_close(struct recorder *r);
/** For struct pump: @data is the recorder. */
void recorder_step(void *data, const struct ha *ha, const struct ha_event *ev,
                   const struct ha_effects *fx);
/**
 * The last steps that decided something, for GET /decisions: a list of at most @n in @a, newest
 * last. NULL: no memory, or not recording. Reads back at most half a megabyte.
 */
struct pgv_value *recorder_decisions(struct recorder *r, struct pgv_arena *a, unsigned n);
