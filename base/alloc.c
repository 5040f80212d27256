/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/alloc.c - allocation that is counted, can be made to fail, and arenas.
 *
 * Counting uses what malloc itself says about a block, so blocks carry no header of ours. An arena
 * is a chain of blocks, newest first; a piece too big for the usual block gets one of its own.
 */
#include "base/alloc.h"

#include <malloc.h>
#include <stdalign.h>
#include <stdio.h>

#include "base/banned.h"

static size_t bytes_in_use, blocks_in_use;
static unsigned long fail_countdown; /* 0: none fails */
static bool fail_all_after;

/* Whether this allocation is one that a test wants to fail. */
static bool must_fail(void)
{
    if (fail_countdown == 0)
        return false;
    if (fail_countdown > 1) {
        fail_countdown--;
        return false;
    }
    if (!fail_all_after)
        fail_countdown = 0;
    return true;
}

static void count_in(void *p)
{
    if (p) {
        bytes_in_use += malloc_usable_size(p);
        blocks_in_use++;
    }
}

void *pgv_alloc(size_t bytes)
{
    void *p = must_fail() ? NULL : malloc(bytes ? bytes : 1);

    count_in(p);
    return p;
}

void *pgv_zalloc(size_t bytes)
{
    void *p = must_fail() ? NULL : calloc(1, bytes ? bytes : 1);

    count_in(p);
    return p;
}

void *pgv_realloc(void *p, size_t bytes)
{
    size_t old = p ? malloc_usable_size(p) : 0;
    void *q = must_fail() ? NULL : realloc(p, bytes ? bytes : 1);

    if (q) {
        if (p) {
            bytes_in_use -= old;
            blocks_in_use--;
        }
        count_in(q);
    }
    return q;
}

void pgv_free(void *p)
{
    if (p) {
        bytes_in_use -= malloc_usable_size(p);
        blocks_in_use--;
        free(p);
    }
}

void pgv_alloc_fail_at(unsigned long nth, bool and_all_after)
{
    fail_countdown = nth;
    fail_all_after = and_all_after;
}

size_t pgv_alloc_bytes_in_use(void)
{
    return bytes_in_use;
}

size_t pgv_alloc_blocks_in_use(void)
{
    return blocks_in_use;
}

#define ARENA_ALIGN alignof(max_align_t)
#define ARENA_BLOCK_BYTES_MIN 4064 /* with malloc's own header this stays within a page */
#define ARENA_BLOCK_BYTES_MAX (64 * 1024)

struct pgv_arena_block {
    struct pgv_arena_block *next; /* older */
    size_t cap, used;
    alignas(max_align_t) unsigned char mem[];
};

void pgv_arena_init(struct pgv_arena *a, size_t bytes_max)
{
    *a = (struct pgv_arena){ .bytes_max = bytes_max };
}

static void free_chain(struct pgv_arena_block *b)
{
    while (b) {
        struct pgv_arena_block *next = b->next;

        pgv_free(b);
        b = next;
    }
}

void pgv_arena_reset(struct pgv_arena *a)
{
    struct pgv_arena_block *b = a->first;

    a->bytes = 0;
    a->over = false;
    if (!b)
        return;
    /* The oldest block is the usual one of the smallest size: that is the one to keep. */
    while (b->next) {
        struct pgv_arena_block *next = b->next;

        pgv_free(b);
        b = next;
    }
    b->used = 0;
    a->first = b;
}

void pgv_arena_done(struct pgv_arena *a)
{
    if (!a)
        return;
    free_chain(a->first);
    a->first = NULL;
    a->bytes = 0;
    a->over = false;
}

static struct pgv_arena_block *add_block(struct pgv_arena *a, size_t bytes)
{
    size_t cap = a->first ? a->first->cap * 2 : ARENA_BLOCK_BYTES_MIN;
    struct pgv_arena_block *b;

    if (cap > ARENA_BLOCK_BYTES_MAX)
        cap = ARENA_BLOCK_BYTES_MAX;
    if (cap < bytes)
        cap = bytes;
    b = pgv_alloc(sizeof(*b) + cap);
    if (!b && cap > bytes) { /* memory is short: ask for no more than is needed */
        cap = bytes;
        b = pgv_alloc(sizeof(*b) + cap);
    }
    if (!b)
        return NULL;
    b->cap = cap;
    b->used = 0;
    b->next = a->first;
    a->first = b;
    return b;
}

void *pgv_arena_alloc(struct pgv_arena *a, size_t bytes)
{
    struct pgv_arena_block *b = a->first;
    size_t room = a->bytes_max > a->bytes ? a->bytes_max - a->bytes : 0;
    void *p;

    if (bytes <= room)
        bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (bytes > room) {
        a->over = true;
        return NULL;
    }
    if (!b || b->cap - b->used < bytes) {
        b = add_block(a, bytes);
        if (!b)
            return NULL;
    }
    p = b->mem + b->used;
    b->used += bytes;
    a->bytes += bytes;
    memset(p, 0, bytes);
    return p;
}

char *pgv_arena_dup(struct pgv_arena *a, struct pgv_str s)
{
    char *p = s.n < SIZE_MAX ? pgv_arena_alloc(a, s.n + 1) : NULL;

    if (p && s.n)
        memcpy(p, s.p, s.n);
    return p;
}

char *pgv_arena_printf(struct pgv_arena *a, const char *fmt, ...)
{
    va_list args;
    char *p = NULL;
    int n;

    va_start(args, fmt);
    n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n >= 0)
        p = pgv_arena_alloc(a, (size_t)n + 1);
    if (p) {
        va_start(args, fmt);
        (void)vsnprintf(p, (size_t)n + 1, fmt, args);
        va_end(args);
    }
    return p;
}
