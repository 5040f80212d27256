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
/** Remove a file or a whole tree; symbolic links are removed, never followed. Absent is success. */
bool pgv_tree_remove(const char *path, struct pgv_error *err) PGV_MUST_CHECK;
bool pgv_file_exists(const char *path);
/** Like mkdir -p with @mode for what is made. */
bool pgv_mkdirs(const char *path, mode_t mode, struct pgv_error *err) PGV_MUST_CHECK;
