/* SPDX-License-Identifier: PostgreSQL */
/* base/file.h - files: bounded reading, atomic replacement with fsync, removal of trees. */
#pragma once

#include "base/buf.h"

#include <sys/types.h>

/** Append the whole file to @b; PGV_EINVALID past its ceiling, PGV_ESYS (sys = ENOENT…) otherwise.
 */
bool pgv_file_read(const char *path, struct pgv_buf *b, struct pgv_error *err) PGV_MUST_CHECK;
/** Write to a temporary file beside, fsync, rename over, fsync the folder. Mode is set exactly. */
bool pgv_file_replace(const char *path, struct pgv_str text, mode_t mode,
                      struct pgv_error *err) PGV_MUST_CHECK;
/** Flush a folder's entries (after rename or unlink). */
bool pgv_dir_sync(const char *path, struct pgv_error *err) PGV_MUST_CHECK;
/** Remove a file and flush its folder. Absent is success. */
bool pgv_file_remove(const char *path, struct pgv_error *err) PGV_MUST_CHECK;
/** Remove a file or a whole tree; symbolic links are removed, never followed. Absent is success. */
bool pgv_tree_remove(const char *path, struct pgv_error *err) PGV_MUST_CHECK;
bool pgv_file_exists(const char *path);

/** What tells a file's state from the next one without reading it; { 0 }: it cannot be looked at. */
struct pgv_file_stamp {
    uint64_t dev, ino, size;
    int64_t mtime_ns, ctime_ns;
};
/** False: there is none, or it cannot be looked at. */
bool pgv_file_stamp(const char *path, struct pgv_file_stamp *ret);
bool pgv_file_stamp_same(const struct pgv_file_stamp *a, const struct pgv_file_stamp *b);
/**
 * A change within the same tick of the file system's clock leaves the same times. So what was read
 * after @s was taken is known to be still there only if @s was @settle_ns old by then.
 */
bool pgv_file_stamp_settled(const struct pgv_file_stamp *s, int64_t settle_ns);
/** Like mkdir -p with @mode for what is made. */
bool pgv_mkdirs(const char *path, mode_t mode, struct pgv_error *err) PGV_MUST_CHECK;
