/* SPDX-License-Identifier: PostgreSQL */
/* base/log_sink.h - private to base/log: where lines go. */
#pragma once

#include "base/error.h"

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

enum log_sink_kind { LOG_SINK_STDERR, LOG_SINK_PIPE, LOG_SINK_SOCKET, LOG_SINK_FILE };

struct log_sink {
    enum log_sink_kind kind;
    int fd;
    bool torn;           /* the last line went out without its end */
    char path[PATH_MAX]; /* LOG_SINK_FILE: the rest too */
    uint64_t bytes_max;  /* 0: never rotate */
    unsigned keep;       /* old files; 0: the file keeps growing */
    mode_t mode;
};

/** Standard error, looked at afresh: a pipe gets a descriptor of ours that does not block. */
void log_sink_stderr(struct log_sink *s);
/** @s->path, bytes_max, keep and mode are set by the caller. */
bool log_sink_open_file(struct log_sink *s, struct pgv_error *err) PGV_MUST_CHECK;
void log_sink_close(struct log_sink *s);
/** One write. False: the line is lost. */
bool log_sink_write(struct log_sink *s, const char *line, size_t n);
