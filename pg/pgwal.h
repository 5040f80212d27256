/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgwal.h - reading single WAL records with pg_waldump (pg_xlogdump before 10): the end of a
 * shutdown checkpoint, and the position a standby must have received. Contract pg §9.3, 9.4, 17.5.
 */
#pragma once

#include "pg/pgtool.h"

struct pgwal_record {
    char rmgr[32];
    uint64_t lsn, prev;
    char desc[512]; /* cut */
};
/** One line of output. 9.3 and 9.4 have 'bkp: …,' before 'desc:'. */
bool pgwal_parse_record(struct pgv_str line, struct pgwal_record *ret);
/** 17.5: from the output of a dump of two records at @lsn: where the checkpoint record ends. 0: not
 * told. */
uint64_t pgwal_parse_checkpoint_end(struct pgv_str out, struct pgv_str err_out, uint64_t lsn);
bool pgwal_is_shutdown_checkpoint(const struct pgwal_record *r);
bool pgwal_is_switch(const struct pgwal_record *r);

/** One question to pg_waldump, of up to two runs. */
struct pgwal_query {
    void *data;
    uint64_t lsn;      /* the checkpoint asked about */
    uint64_t prev_lsn; /* pgwal_query_shutdown(): prev when that is a WAL switch, else lsn */
    uint64_t end_lsn;  /* pgwal_query_end(): 0 when it cannot be told */
    /* private */
    struct pgtool tool;
    struct pgconf *conf;
    uv_loop_t *loop;
    void (*cb)(struct pgwal_query *q, const struct pgv_error *err);
    int major_version, step;
    uint32_t timeline;
    bool canceled;
};
/** 9.3: @cb always finds prev_lsn set (to @lsn when the dump told nothing); err only says why. */
bool pgwal_query_shutdown(struct pgwal_query *q, uv_loop_t *loop, struct pgconf *c,
                          int major_version, uint32_t timeline, uint64_t lsn,
                          void (*cb)(struct pgwal_query *q, const struct pgv_error *err),
                          struct pgv_error *err) PGV_MUST_CHECK;
/** PGV_EINVALID in @cb: the dump does not tell; any other: it could not be made, later it may. */
bool pgwal_query_end(struct pgwal_query *q, uv_loop_t *loop, struct pgconf *c, int major_version,
                     uint32_t timeline, uint64_t lsn,
                     void (*cb)(struct pgwal_query *q, const struct pgv_error *err),
                     struct pgv_error *err) PGV_MUST_CHECK;
void pgwal_query_cancel(struct pgwal_query *q);
