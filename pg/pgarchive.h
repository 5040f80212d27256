/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgarchive.h - archiving WAL in the server's place: what a stopped primary had ready (17.8),
 * and the segment of the shutdown checkpoint when a cluster is demoted (17.9).
 */
#pragma once

#include "pg/pgtool.h"

struct pgarchive {
    void *data;
    bool running;
    unsigned archived, failed; /* segments, valid in the callback */
    /* private */
    uv_loop_t *loop;
    struct pgconf *conf;
    struct pgv_arena arena;
    struct pgtool tool;
    struct pgv_child child;
    uv_timer_t deferred;
    void (*cb)(struct pgarchive *j, bool ok, const char *message);
    const char *command, *only;
    const char **files;
    size_t n_files, at;
    int major_version, step;
    unsigned tries; /* of the question of this step */
    bool in_child, waiting;
    bool canceled, ok;
    char message[PGV_ERROR_MSG_BYTES];
};
/** Archive every ready segment in order. ok is false when canceled, out of memory, or when the
 *  server's binary does not tell its settings; a failing command is logged and counted. Nothing to
 *  do is ok. */
bool pgarchive_ready_start(struct pgarchive *j, uv_loop_t *loop, struct pgconf *c,
                           int major_version,
                           void (*cb)(struct pgarchive *j, bool ok, const char *message),
                           struct pgv_error *err) PGV_MUST_CHECK;
/** Archive one segment file by name. */
bool pgarchive_one_start(struct pgarchive *j, uv_loop_t *loop, struct pgconf *c, int major_version,
                         const char *file,
                         void (*cb)(struct pgarchive *j, bool ok, const char *message),
                         struct pgv_error *err) PGV_MUST_CHECK;
void pgarchive_cancel(struct pgarchive *j);
/** 24 hex digits, perhaps '.partial', and '.ready'. */
bool pgarchive_is_ready_name(const char *name);
