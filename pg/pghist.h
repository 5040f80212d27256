/* SPDX-License-Identifier: PostgreSQL */
/* pg/pghist.h - timeline history files. Source: PostgreSQL, src/backend/access/transam/timeline.c.
 */
#pragma once

#include "base/alloc.h"

/** The part of a timeline that ended at @lsn, where the next one was switched to. */
struct pghist_entry {
    uint32_t timeline;
    uint64_t lsn;
    struct pgv_str reason; /* as the text has it: 'no recovery target specified' */
};

struct pghist {
    struct pghist_entry *v; /* in the arena */
    size_t n;
};

#define PGHIST_BYTES_MAX (1u << 20)
#define PGHIST_FILE_BYTES 20 /* "0000000A.history" and its terminator */

/** Lines without three tab-separated fields are no entries; unreadable numbers are logged and
 *  skipped. Fails for want of memory only. Reasons are copied into @a. */
bool pghist_parse(struct pgv_arena *a, struct pgv_str text, struct pghist *ret,
                  struct pgv_error *err) PGV_MUST_CHECK;
void pghist_file_name(uint32_t timeline, char ret[PGHIST_FILE_BYTES]);
/** Read pg_wal/TTTTTTTT.history. PGV_ESYS with sys == ENOENT: there is none, which is right for 1.
 *  @ret_file_wall_us is the file's modification time. */
bool pghist_read(struct pgv_arena *a, const char *data_dir, int major_version, uint32_t timeline,
                 struct pghist *ret, int64_t *ret_file_wall_us,
                 struct pgv_error *err) PGV_MUST_CHECK;
