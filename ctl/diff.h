/* SPDX-License-Identifier: PostgreSQL */
/* ctl/diff.h - the difference of two texts as a unified diff, for edit-config. */
#pragma once

#include "base/alloc.h"

/**
 * Append the unified diff with three lines of context; nothing when the texts are the same line by
 * line. The header lines name no files: '--- ' and '+++ ' with their blank. Which lines are taken
 * for common is decided as Python's difflib does, so the same edit shows the same diff as in
 * patronictl. False: out of memory.
 */
bool ctl_diff(struct pgv_buf *b, struct pgv_arena *scratch, struct pgv_str before,
              struct pgv_str after) PGV_MUST_CHECK;
