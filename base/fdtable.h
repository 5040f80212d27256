/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/fdtable.h - room in the loop's table of descriptors.
 *
 * libuv keeps a table by descriptor number, which doubles when a higher one is watched, and aborts
 * the process when there is no memory for that (maybe_resize() in src/unix/core.c). So it is grown
 * here, before anybody needs it, and who would need more than there is memory for is refused.
 */
#pragma once

#include "base/error.h"

#include <uv.h>

/** Give libuv our allocator. Before its first call. */
void pgv_fdtable_use_allocator(void);

/**
 * Make room for descriptors below @n. @fd: any open one that can be watched, to make a copy of.
 * False: there is no memory or no such number, and the table is as it was.
 */
bool pgv_fdtable_grow(uv_loop_t *loop, unsigned n, int fd) PGV_MUST_CHECK;
