/* SPDX-License-Identifier: PostgreSQL */
/* base/alloc.h - allocation that is checked, can be made to fail in tests, and arenas. */
#pragma once

#include "base/buf.h"

/** As malloc/calloc/realloc/free. NULL is an ordinary event: fail one operation with PGV_ENOMEM. */
void *pgv_alloc(size_t bytes);
void *pgv_zalloc(size_t bytes);
void *pgv_calloc(size_t n, size_t bytes);
void *pgv_realloc(void *p, size_t bytes);
void pgv_free(void *p);
/** Zeroes @n bytes. What is zero already is only read: pages of a large piece that were never
 * written stay the system's. */
void pgv_zero(void *p, size_t n);

/**
 * Take memory from the system in small steps and give it back soon, before the first allocation:
 * glibc would take 128 kB and keep as much, and all of a program may be a few of those.
 */
void pgv_heap_tighten(void);
/** Give free pages back to the system, also those between pieces in use: after a peak. */
void pgv_heap_give_back(void);

/**
 * The reserve: memory that is ours from the start, for when the system gives no more. Once open, an
 * allocation that malloc refuses is served from it: half of it to whoever asks, all of it to what
 * keeps the lease and fences, which is marked by pgv_vital_begin() and pgv_vital_end() (they nest).
 * A program that does not open it gets NULL instead.
 */
#define PGV_RESERVE_BYTES (128 * 1024)
void pgv_reserve_open(void);
void pgv_vital_begin(void);
void pgv_vital_end(void);
/** Bytes of the reserve now handed out, their own overhead included. */
size_t pgv_reserve_bytes_in_use(void);
/** How often it has served since this was last asked: most pieces are given back at once, and some
 *  may stay long after there is memory again. */
unsigned pgv_reserve_served(void);

/** Tests: fail the @nth allocation from now (1 = the next), or every one from there on; 0 = none.
 */
void pgv_alloc_fail_at(unsigned long nth, bool and_all_after);
/** As if malloc failed from now on, so that an open reserve is used. */
void pgv_alloc_starve(bool on);

/** Bytes and blocks now in use through this interface, for tests that look for leaks. */
size_t pgv_alloc_bytes_in_use(void);
size_t pgv_alloc_blocks_in_use(void);

/** A bump allocator: many small pieces, given back at once. Pieces are aligned for any type. */
struct pgv_arena {
    size_t bytes_max; /* ceiling over all blocks */
    size_t bytes;     /* handed out */
    bool over;        /* a piece was refused because of the ceiling, not for want of memory */
    /* private */
    struct pgv_arena_block *first;
};

void pgv_arena_init(struct pgv_arena *a, size_t bytes_max);
void pgv_arena_reset(struct pgv_arena *a); /* gives all back but keeps the first block */
void pgv_arena_done(struct pgv_arena *a);
void *pgv_arena_alloc(struct pgv_arena *a, size_t bytes);   /* zeroed; NULL: ceiling or memory */
char *pgv_arena_dup(struct pgv_arena *a, struct pgv_str s); /* terminated copy, or NULL */
char *pgv_arena_printf(struct pgv_arena *a, const char *fmt, ...) PGV_PRINTF(2, 3);
