/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/programs.h - PostgreSQL's programs, for --validate-config and the generators. Both wait, so
 * the agent itself must not call them: its own are pgconf_bin() and struct pgtool.
 */
#pragma once

#include "base/buf.h"

#define PROGRAM_FILE_BYTES 1024

/** The file of @name, looked for in @dirs (several with colons), or in PATH when that is empty. */
bool program_find(const char *name, const char *dirs, char *ret, size_t ret_bytes) PGV_MUST_CHECK;
/** What '<file> --version' prints, cut to @ret_bytes. False: it failed, or took 10 s. */
bool program_version(const char *file, char *ret, size_t ret_bytes) PGV_MUST_CHECK;
