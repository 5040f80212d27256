/* SPDX-License-Identifier: PostgreSQL */
/* base/fdtable.c - room in the loop's table of descriptors; see fdtable.h. */
#include "base/fdtable.h"

#include "base/alloc.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/banned.h"

/* What libuv adds to the number of descriptors before it rounds up to a power of two, and what its
 * table holds behind them. Source: libuv 1.44 to 1.50, maybe_resize(). */
#define EXTRA 2

static struct {
    void *mem;          /* serves the growth of the table when the allocator does not */
    size_t bytes, used; /* its own size, and that of the table until now */
} kept;

static void *reallocate(void *p, size_t bytes)
{
    void *q = pgv_realloc(p, bytes);

    if (q || !kept.mem || bytes > kept.bytes)
        return q;
    q = kept.mem;
    kept.mem = NULL;
    if (p)
        memcpy(q, p, kept.used);
    pgv_free(p);
    return q;
}

void pgv_fdtable_use_allocator(void)
{
    if (uv_replace_allocator(pgv_alloc, reallocate, pgv_calloc, pgv_free) != 0)
        abort(); /* it refuses nothing but NULL */
}

static void on_never(uv_poll_t *poll, int status, int events)
{
    (void)poll;
    (void)status;
    (void)events;
}

static void on_closed(uv_handle_t *poll)
{
    pgv_free(poll);
}

/* Watching a high number makes the table as large as it must be for it. */
static bool watch_high(uv_loop_t *loop, unsigned n, int fd)
{
    uv_poll_t *poll = pgv_alloc(sizeof(*poll));
    int high = poll ? fcntl(fd, F_DUPFD_CLOEXEC, (int)n - 1) : -1;

    if (high < 0 || uv_poll_init(loop, poll, high) != 0) {
        if (high >= 0)
            (void)close(high);
        pgv_free(poll);
        return false;
    }
    (void)uv_poll_start(poll, UV_READABLE, on_never); /* fails on closing handles only */
    uv_close((uv_handle_t *)poll, on_closed);
    (void)close(high);
    return true;
}

bool pgv_fdtable_grow(uv_loop_t *loop, unsigned n, int fd)
{
    size_t entries = 8, reserve = pgv_reserve_bytes_in_use();
    long limit = sysconf(_SC_OPEN_MAX);
    bool ok;

    if (limit > 0 && n > (unsigned long)limit)
        n = (unsigned)limit; /* there is no higher one */
    if (n <= loop->nwatchers)
        return true;
    while (entries < n + EXTRA)
        entries *= 2;
    kept.bytes = entries * sizeof(void *);
    kept.used = loop->watchers ? (loop->nwatchers + EXTRA) * sizeof(void *) : 0;
    kept.mem = pgv_alloc(kept.bytes);
    /* What stays for good does not belong into the reserve. */
    ok = kept.mem && pgv_reserve_bytes_in_use() == reserve && watch_high(loop, n, fd);
    pgv_free(kept.mem);
    kept.mem = NULL;
    return ok;
}
