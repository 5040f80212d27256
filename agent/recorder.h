/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/recorder.h - the flight recorder: the last events and effects of the brain in a ring file.
 *
 * Writing a file may wait for its disk, and the loop may not: so a step goes into a pipe, after its
 * effects were carried out, and a process of its own (recorder_main.c) copies the pipe into the
 * file. What lies in the pipe outlives the agent, so a decision survives the agent's death at any
 * instruction, with all that led to it. The routine of quiet cycles, which end as the one before
 * did, waits in the agent first and goes out many steps at once, as it is in memory: the writer
 * makes frames of it. A decision is taken into the file at once, what is routine after some
 * minutes. When the disk does not keep up the pipe is full: then steps are left out and counted,
 * and a keyframe follows the hole. Memory is a frame and what waits.
 */
#pragma once

#include "agent/record.h"
#include "base/child.h"

#include <signal.h>

/** Default: some days of a quiet member, or some hours of a busy one. */
#define RECORDER_BYTES_DEFAULT (8u << 20)
#define RECORDER_BYTES_MIN (1u << 20)
#define RECORDER_BYTES_MAX (1u << 30)
/** Tells the writer to take what is in the pipe now. */
#define RECORDER_SIGNAL_TAKE SIGUSR1
/** An answer of the reader is no longer. */
#define RECORDER_ANSWER_BYTES_MAX (PGV_CHILD_OUTPUT_BYTES)

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

struct recorder;
/** @json: the list, until the callback returns; or @why nothing can be told. */
typedef void (*recorder_answer_cb)(void *data, const struct pgv_buf *json, const char *why);

struct recorder {
    void *data;
    /** It is known now whether the next step is recorded. May be NULL. */
    void (*on_settled)(struct recorder *r);
    uint64_t steps, lost; /* since the start: recorded; left out */
    /* private */
    uv_loop_t *loop;
    const struct ha *ha;
    char program[512];
    char node[PGV_NAME_BYTES];
    struct recorder_config config;
    struct pgv_child writer, reader;
    bool writing, reading; /* the process is there */
    bool abandoned; /* the writer is told to end by the end of its input, and not waited for */
    bool settled;
    int fd;            /* of the pipe; -1: none */
    bool ready;        /* the writer takes frames */
    bool hole;         /* a step was lost behind the last frame */
    bool keyframe_due; /* the ring shall hold some */
    bool said_lost;
    uint64_t said_ms, lost_told;
    uint64_t start_at_ms; /* no new writer before that */
    struct record_header header;
    uint64_t next_seq;
    uint64_t since_keyframe_bytes;
    size_t take_bytes, untaken_bytes; /* when so many may lie in the pipe, the writer is told */
    struct pgv_buf held;              /* of the stream, what the pipe has not taken yet */
    enum ha_why told;                 /* how the last cycle ended */
    void (*finish_cb)(struct recorder *r);
    recorder_answer_cb answer;
    void *answer_data;
};

/** @ha must outlive it. @program: the path of pgvigil-recorder. */
void recorder_init(struct recorder *r, uv_loop_t *loop, const struct ha *ha, const char *program);
/**
 * Begin to record as @c says; what was recorded before ends. Starts the writer; what it says of the
 * file comes later. PGV_ENOMEM, PGV_ESYS: no recording; it is tried again later.
 */
bool recorder_open(struct recorder *r, const struct recorder_config *c, const char *node,
                   struct pgv_error *err) PGV_MUST_CHECK;
/** Ends recording at once. The writer takes what is in the pipe and ends by itself. */
void recorder_close(struct recorder *r);
/** The same at the end of the agent; @cb runs when the file holds all of it: at once when nothing
 * is recorded. */
void recorder_finish(struct recorder *r, void (*cb)(struct recorder *r));
/** False: the writer has not said yet whether it can record. */
bool recorder_is_settled(const struct recorder *r);
/** For struct pump: @data is the recorder. */
void recorder_step(void *data, const struct ha *ha, const struct ha_event *ev,
                   const struct ha_effects *fx);
/**
 * The last steps that decided something, for GET /decisions. One question at a time, answered
 * later, once. PGV_ECONFLICT: one is being answered; PGV_EINVALID: not recording; PGV_ESYS.
 */
bool recorder_ask(struct recorder *r, unsigned n, recorder_answer_cb cb, void *data,
                  struct pgv_error *err) PGV_MUST_CHECK;
/** Nobody waits for the answer any longer. */
void recorder_forget(struct recorder *r);
