/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/record_file.h - the recording as a ring file of fixed size, for who may wait for a disk.
 *
 * Not for the agent's loop: everything here blocks while the disk does. The writer process
 * (recorder_main.c) uses it on the agent's behalf. The file is laid out in full when it is made,
 * so a disk that fills up later does not stop a recording; nothing is synced.
 */
#pragma once

#include "agent/record.h"

struct record_file {
    struct record_header header;
    int fd;
    uint64_t at;       /* where in the ring the next byte goes */
    uint64_t next_seq; /* of the frame that comes next */
};

/**
 * Open or make the file of @bytes and go on behind what an earlier run left in it. Waits for an
 * earlier writer to end. PGV_EINVALID: the file is something else and was left alone.
 */
bool record_file_open(struct record_file *f, const char *path, uint64_t bytes, const char *node,
                      struct pgv_error *err) PGV_MUST_CHECK;
/** The next bytes of the stream of frames. A frame that was cut fails its CRC. */
bool record_file_append(struct record_file *f, const void *data, size_t n,
                        struct pgv_error *err) PGV_MUST_CHECK;
/** All up to frame @seq is appended: says so in the header, for record_file_decisions(). */
bool record_file_pause(struct record_file *f, uint64_t seq, struct pgv_error *err) PGV_MUST_CHECK;
void record_file_close(struct record_file *f);

/**
 * The last @n steps that decided something, newest last, as a JSON list appended to @b; fewer
 * where @b would not hold them. Waits a moment for the writer to come to frame @seq. Looks at no
 * more than the last half megabyte.
 */
bool record_file_decisions(const char *path, uint64_t seq, unsigned n, struct pgv_buf *b,
                           struct pgv_error *err) PGV_MUST_CHECK;
#define RECORD_DECISIONS_MAX 500
