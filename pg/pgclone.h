/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgclone.h - making this node's data directory out of another node's: pg_basebackup or the
 * user's own methods, one after the other until one succeeds. Contract pg §15.
 *
 * The caller has stopped PostgreSQL. On success the configuration backups are restored and a
 * promotion trigger file is gone; PG_VERSION must be read anew. On failure the data directory may
 * hold remains, which the caller removes (pg/pgdata.h).
 *
 * pg_basebackup is given --checkpoint=fast unless the user's options name a checkpoint mode: with
 * the server's default a copy of a small database waits minutes for a spread checkpoint.
 */
#pragma once

#include "pg/pgdata.h"
#include "pg/pgfiles.h"
#include "pg/pgmark.h"

struct pgclone_args {
    struct pgconf *conf;         /* a reference is taken */
    int binary_version;          /* of postgres --version: options of pg_basebackup */
    const char *source_conn_url; /* NULL or empty: none; only methods with no_leader */
    const char *source_name;     /* for the log */
    bool basebackup_only;
    const struct pgv_value *methods; /* a remote source's create_replica_methods, or NULL */
};

enum pgclone_result { PGCLONE_OK, PGCLONE_FAILED, PGCLONE_CANCELED };

struct pgclone {
    void *data;
    char step[64];               /* for people: 'basebackup', 'wal_g' */
    int percent;                 /* -1: unknown */
    uint64_t bytes, bytes_total; /* what --progress said last; 0: nothing yet */
    bool running;
    int exit_status; /* of the last child, as waitpid() gives it; -1: none ran */
    /** The step or a figure changed; NULL: nobody is interested. */
    void (*on_progress)(struct pgclone *j);
    /* private */
    uv_loop_t *loop;
    struct pgconf *conf;
    struct pgv_arena arena;   /* of the whole job */
    struct pgv_arena scratch; /* of one attempt: arguments */
    struct pgv_child child;
    struct pgdata_job remove;
    struct pgmark mark; /* on the directory as long as the copy is not complete */
    uv_timer_t timer;
    void (*cb)(struct pgclone *j, enum pgclone_result result, const char *message);
    const char *const *env; /* NULL: our own */
    const char *dsn;        /* without password; "" when there is no source */
    const char **methods;   /* NULL-terminated */
    size_t method;
    unsigned attempt;
    int binary_version, phase;
    bool canceled, in_child;
    enum pgclone_result result;
    char last_line[200], message[PGV_ERROR_MSG_BYTES];
};

/** @j is { 0 } or finished, with data and on_progress set. @cb runs once, later. */
bool pgclone_start(struct pgclone *j, uv_loop_t *loop, const struct pgclone_args *args,
                   void (*cb)(struct pgclone *j, enum pgclone_result result, const char *message),
                   struct pgv_error *err) PGV_MUST_CHECK;
void pgclone_cancel(struct pgclone *j); /* @cb comes with PGCLONE_CANCELED, later */

/** Is there a configured method that works without a source? */
bool pgclone_works_without_source(const struct pgconf *c, const struct pgv_value *methods);
/** '  12345/67890 kB (18%), 0/1 tablespace': 18, and the bytes; -1: not such a line, they stay. */
int pgclone_parse_progress(struct pgv_str line, uint64_t *ret_bytes, uint64_t *ret_total);
