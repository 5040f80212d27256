/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/editor.h - the user's editor and pager.
 *
 * Both own the terminal while they run: they stay in our process group, we wait for them and do
 * nothing else, and Ctrl-C is theirs.
 */
#pragma once

#include "ctl/ctl.h"

/** A program by name in PATH, or by path. False when there is none that can be executed. */
bool ctl_which(const char *name, char *ret, size_t ret_bytes) PGV_MUST_CHECK;

/**
 * Let the user edit @before in a temporary file called '<cluster>-config-XXXXXX.yaml', which only
 * the user can read and which is removed afterwards. $EDITOR is one program name, not split into
 * words; else 'editor', else 'vi'.
 */
bool ctl_edit(const char *cluster, struct pgv_str before, struct pgv_buf *after,
              struct pgv_error *err) PGV_MUST_CHECK;

/** Leave @text in such a file, whose path is told. False: it could not be written. */
bool ctl_keep(const char *cluster, struct pgv_str text, char *ret_path,
              size_t path_bytes) PGV_MUST_CHECK;

/** Show @text through $PAGER, else less, else more. */
bool ctl_page(struct pgv_str text, struct pgv_error *err) PGV_MUST_CHECK;
