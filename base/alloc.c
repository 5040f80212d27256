/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/alloc.c - allocation that is counted, can be made to fail, and arenas.
 *
 * Counting uses what malloc itself says about a block, so blocks carry no header of ours; those of
 * the reserve do. An arena is a chain of blocks, newest first; a piece too big for the usual block
 * gets one of its own.
 */
#include "base/alloc.h"

#include <malloc.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

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

/* ---- the reserve: first fit in one block, neighbours joined when freed ---- */

struct piece {
    size_t bytes; /* this header included */
    bool used;
    alignas(max_align_t) unsigned char mem[];
};

static struct {
    bool open, starved;
    unsigned vital, served;
    size_t in_use;
    unsigned char *mem; /* PGV_RESERVE_BYTES of them */
} reserve;

static struct piece *piece_at(size_t offset)
{
    return (struct piece *)(void *)(reserve.mem + offset);
}

static bool is_reserved(const void *p)
{
    return reserve.mem && (uintptr_t)p >= (uintptr_t)reserve.mem &&
           (uintptr_t)p < (uintptr_t)reserve.mem + PGV_RESERVE_BYTES;
}

static struct piece *piece_of(const void *p)
{
    return piece_at((uintptr_t)p - (uintptr_t)reserve.mem - offsetof(struct piece, mem));
}

static size_t usable(void *p)
{
    return is_reserved(p) ? piece_of(p)->bytes - offsetof(struct piece, mem)
                          : malloc_usable_size(p);
}

static void join_neighbours(void)
{
    for (size_t at = 0; at < PGV_RESERVE_BYTES;) {
        struct piece *p = piece_at(at);
        size_t next = at + p->bytes;

        if (!p->used && next < PGV_RESERVE_BYTES && !piece_at(next)->used)
            p->bytes += piece_at(next)->bytes;
        else
            at = next;
    }
}

static void *reserve_take(size_t bytes)
{
    const size_t grain = alignof(max_align_t), least = sizeof(struct piece) + grain;
    size_t limit = reserve.vital ? PGV_RESERVE_BYTES : PGV_RESERVE_BYTES / 2;

    if (!reserve.open || bytes > PGV_RESERVE_BYTES)
        return NULL;
    bytes = (bytes + offsetof(struct piece, mem) + grain) / grain * grain;
    if (reserve.in_use + bytes > limit)
        return NULL;
    for (size_t at = 0; at < PGV_RESERVE_BYTES; at += piece_at(at)->bytes) {
        struct piece *p = piece_at(at);

        if (p->used || p->bytes < bytes)
            continue;
        if (p->bytes >= bytes + least) {
            *piece_at(at + bytes) = (struct piece){ .bytes = p->bytes - bytes };
            p->bytes = bytes;
        }
        p->used = true;
        reserve.in_use += p->bytes;
        reserve.served++;
        return p->mem;
    }
    return NULL;
}

static void reserve_give_back(void *mem)
{
    struct piece *p = piece_of(mem);

    p->used = false;
    reserve.in_use -= p->bytes;
    join_neighbours();
}

void pgv_heap_tighten(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_TOP_PAD, 4 * 1024);
    (void)mallopt(M_TRIM_THRESHOLD, 64 * 1024);
#endif
}

void pgv_heap_give_back(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

/* Not touched before it is needed: where malloc() fails at all (a commit limit, RLIMIT_AS), what it
 * has given is promised. */
void pgv_reserve_open(void)
{
    if (!reserve.mem)
        reserve.mem = malloc(PGV_RESERVE_BYTES);
    if (!reserve.mem)
        return;
    *piece_at(0) = (struct piece){ .bytes = PGV_RESERVE_BYTES };
    reserve.open = true;
}

void pgv_vital_begin(void)
{
    reserve.vital++;
}

void pgv_vital_end(void)
{
    reserve.vital--;
}

size_t pgv_reserve_bytes_in_use(void)
{
    return reserve.in_use;
}

unsigned pgv_reserve_served(void)
{
    unsigned served = reserve.served;

    reserve.served = 0;
    return served;
}

void pgv_alloc_starve(bool on)
{
    reserve.starved = on;
}

/* ---- ordinary memory ---- */

static void count_in(void *p)
{
    if (p) {
        bytes_in_use += usable(p);
        blocks_in_use++;
    }
}

static void *malloc_or_null(size_t bytes)
{
    return reserve.starved ? NULL : malloc(bytes ? bytes : 1);
}

void *pgv_alloc(size_t bytes)
{
    void *p;

    if (must_fail())
        return NULL;
    p = malloc_or_null(bytes);
    if (!p)
        p = reserve_take(bytes);
    count_in(p);
    return p;
}

void *pgv_calloc(size_t n, size_t bytes)
{
    void *p = NULL;

    if (must_fail() || (bytes > 0 && n > SIZE_MAX / bytes))
        return NULL;
    bytes *= n;
    if (!reserve.starved)
        p = calloc(1, bytes ? bytes : 1);
    if (!p) {
        p = reserve_take(bytes);
        if (p)
            memset(p, 0, bytes);
    }
    count_in(p);
    return p;
}

void *pgv_zalloc(size_t bytes)
{
    return pgv_calloc(1, bytes);
}

/* Into another block, of either kind: out of the reserve when malloc has one, into it when malloc
 * has none. What is large enough where it is stays there rather than fail. */
static void *move(void *p, size_t old, size_t bytes)
{
    void *q = malloc_or_null(bytes);

    if (!q && p && bytes <= old)
        return p;
    if (!q)
        q = reserve_take(bytes);
    if (!q)
        return NULL;
    if (p)
        memcpy(q, p, old < bytes ? old : bytes);
    count_in(q);
    pgv_free(p);
    return q;
}

void pgv_zero(void *p, size_t n)
{
    static const char zeros[256];
    char *at = p;

    while (n) {
        size_t piece = n < sizeof(zeros) ? n : sizeof(zeros);

        if (memcmp(at, zeros, piece) != 0)
            memset(at, 0, piece);
        at += piece;
        n -= piece;
    }
}

void *pgv_realloc(void *p, size_t bytes)
{
    size_t old = p ? usable(p) : 0;
    void *q = NULL;

    if (must_fail())
        return NULL;
    if (bytes == 0)
        bytes = 1;
    if (!reserve.starved && !(p && is_reserved(p)))
        q = realloc(p, bytes);
    if (!q)
        return move(p, old, bytes);
    if (p) {
        bytes_in_use -= old;
        blocks_in_use--;
    }
    count_in(q);
    return q;
}

void pgv_free(void *p)
{
    if (!p)
        return;
    bytes_in_use -= usable(p);
    blocks_in_use--;
    if (is_reserved(p))
        reserve_give_back(p);
    else
        free(p);
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
