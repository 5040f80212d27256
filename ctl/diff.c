/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/diff.c - unified diffs by the algorithm of Python's difflib.SequenceMatcher: the longest run
 * of common lines first, then the same to its left and to its right. Lines that make up more than
 * one percent of a long text ("popular") start no run.
 */
#include "ctl/diff.h"

#include "base/banned.h"

#define CONTEXT_LINES 3
#define POPULAR_FROM_LINES 200
#define NONE UINT32_MAX

struct line {
    struct pgv_str text;
    uint32_t id; /* equal texts have equal ids */
};

struct side {
    struct line *lines;
    uint32_t n;
};

struct block { /* @n lines are the same from a and b on */
    uint32_t a, b, n;
};

struct matcher {
    struct side a, b;
    uint32_t *first; /* by id: the first line of b with it, or NONE (also when popular) */
    uint32_t *next;  /* by line of b: the next one with the same id */
    uint32_t *run, *run_before; /* by line of b + 1: length of the run that ends there */
    struct block *blocks;
    uint32_t n_blocks;
};

static bool split(struct pgv_arena *scratch, struct pgv_str text, struct side *ret)
{
    struct pgv_str rest, head, tail;
    uint32_t n = 1;

    while (text.n > 0 && text.p[text.n - 1] == '\n')
        text.n--;
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == '\n' ? 1 : 0;
    ret->lines = pgv_arena_alloc(scratch, n * sizeof(*ret->lines));
    if (!ret->lines)
        return false;
    for (rest = text; pgv_str_cut(rest, '\n', &head, &tail); rest = tail)
        ret->lines[ret->n++].text = head;
    ret->lines[ret->n++].text = rest;
    return true;
}

static int compare_lines(const void *a, const void *b)
{
    const struct line *const *x = a, *const *y = b;
    size_t n = (*x)->text.n < (*y)->text.n ? (*x)->text.n : (*y)->text.n;
    int c = n ? memcmp((*x)->text.p, (*y)->text.p, n) : 0;

    if (c != 0)
        return c;
    return (*x)->text.n < (*y)->text.n ? -1 : (*x)->text.n > (*y)->text.n;
}

/** Number the distinct lines of both sides. */
static bool number_lines(struct pgv_arena *scratch, struct matcher *m, uint32_t *ret_ids)
{
    uint32_t n = m->a.n + m->b.n, id = 0;
    struct line **all = pgv_arena_alloc(scratch, n * sizeof(struct line *));

    if (!all)
        return false;
    for (uint32_t i = 0; i < m->a.n; i++)
        all[i] = &m->a.lines[i];
    for (uint32_t i = 0; i < m->b.n; i++)
        all[m->a.n + i] = &m->b.lines[i];
    qsort(all, n, sizeof(struct line *), compare_lines);
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0 && compare_lines(&all[i - 1], &all[i]) != 0)
            id++;
        all[i]->id = id;
    }
    *ret_ids = id + 1;
    return true;
}

static bool prepare(struct pgv_arena *scratch, struct matcher *m)
{
    uint32_t ids, *count;

    if (!number_lines(scratch, m, &ids))
        return false;
    m->first = pgv_arena_alloc(scratch, ids * sizeof(uint32_t));
    m->next = pgv_arena_alloc(scratch, m->b.n * sizeof(uint32_t));
    m->run = pgv_arena_alloc(scratch, (m->b.n + 1) * sizeof(uint32_t));
    m->run_before = pgv_arena_alloc(scratch, (m->b.n + 1) * sizeof(uint32_t));
    m->blocks = pgv_arena_alloc(scratch, (m->a.n + 1) * sizeof(struct block));
    count = pgv_arena_alloc(scratch, ids * sizeof(uint32_t));
    if (!m->first || !m->next || !m->run || !m->run_before || !m->blocks || !count)
        return false;
    for (uint32_t i = 0; i < ids; i++)
        m->first[i] = NONE;
    for (uint32_t j = m->b.n; j-- > 0;) {
        uint32_t id = m->b.lines[j].id;

        m->next[j] = m->first[id];
        m->first[id] = j;
        count[id]++;
    }
    for (uint32_t i = 0; m->b.n >= POPULAR_FROM_LINES && i < ids; i++) {
        if (count[i] > m->b.n / 100 + 1)
            m->first[i] = NONE;
    }
    return true;
}

static bool same(const struct matcher *m, uint32_t i, uint32_t j)
{
    return m->a.lines[i].id == m->b.lines[j].id;
}

/** The longest common run within a[alo, ahi) and b[blo, bhi), the earliest of several. */
static struct block longest(struct matcher *m, uint32_t alo, uint32_t ahi, uint32_t blo,
                            uint32_t bhi)
{
    struct block best = { alo, blo, 0 };

    memset(m->run_before, 0, (m->b.n + 1) * sizeof(uint32_t));
    for (uint32_t i = alo; i < ahi; i++) {
        uint32_t *swap = m->run_before;

        memset(m->run, 0, (m->b.n + 1) * sizeof(uint32_t));
        for (uint32_t j = m->first[m->a.lines[i].id]; j != NONE && j < bhi; j = m->next[j]) {
            uint32_t k;

            if (j < blo)
                continue;
            k = m->run[j + 1] = m->run_before[j] + 1;
            if (k > best.n)
                best = (struct block){ i + 1 - k, j + 1 - k, k };
        }
        m->run_before = m->run;
        m->run = swap;
    }
    /* Popular lines start no run but may lengthen one. */
    while (best.a > alo && best.b > blo && same(m, best.a - 1, best.b - 1)) {
        best.a--;
        best.b--;
        best.n++;
    }
    while (best.a + best.n < ahi && best.b + best.n < bhi &&
           same(m, best.a + best.n, best.b + best.n))
        best.n++;
    return best;
}

/** Common blocks in order. The recursion is at most as deep as there are blocks in a. */
static void find_blocks(struct matcher *m, uint32_t alo, uint32_t ahi, uint32_t blo, uint32_t bhi)
{
    while (alo < ahi && blo < bhi) {
        struct block best = longest(m, alo, ahi, blo, bhi), *last;

        if (best.n == 0)
            return;
        find_blocks(m, alo, best.a, blo, best.b);
        last = m->n_blocks ? &m->blocks[m->n_blocks - 1] : NULL;
        if (last && last->a + last->n == best.a && last->b + last->n == best.b)
            last->n += best.n;
        else
            m->blocks[m->n_blocks++] = best;
        alo = best.a + best.n;
        blo = best.b + best.n;
    }
}

static void write_range(struct pgv_buf *b, char sign, uint32_t start, uint32_t n)
{
    if (n == 1)
        pgv_buf_printf(b, " %c%u", sign, start + 1);
    else
        pgv_buf_printf(b, " %c%u,%u", sign, n ? start + 1 : start, n);
}

static void write_lines(struct pgv_buf *b, char sign, const struct side *s, uint32_t from,
                        uint32_t to)
{
    for (; from < to; from++) {
        pgv_buf_putc(b, sign);
        pgv_buf_str(b, s->lines[from].text);
        pgv_buf_putc(b, '\n');
    }
}

/** Blocks @from to @to are the common parts within one hunk, the outer ones cut to the context. */
static void write_hunk(struct pgv_buf *b, const struct matcher *m, uint32_t from, uint32_t to)
{
    struct block start = m->blocks[from], end = m->blocks[to];
    uint32_t head = start.n < CONTEXT_LINES ? start.n : CONTEXT_LINES;
    uint32_t tail = end.n < CONTEXT_LINES ? end.n : CONTEXT_LINES;
    uint32_t a = start.a + start.n - head, at_b = start.b + start.n - head;

    pgv_buf_puts(b, "@@");
    write_range(b, '-', a, end.a + tail - a);
    write_range(b, '+', at_b, end.b + tail - at_b);
    pgv_buf_puts(b, " @@\n");
    for (uint32_t i = from; i <= to; i++) {
        const struct block *common = &m->blocks[i];
        uint32_t from_a = i == from ? a : common->a;
        uint32_t until = i == to ? common->a + tail : common->a + common->n;

        write_lines(b, ' ', &m->a, from_a, until);
        if (i == to)
            break;
        write_lines(b, '-', &m->a, until, m->blocks[i + 1].a);
        write_lines(b, '+', &m->b, common->b + common->n, m->blocks[i + 1].b);
    }
}

bool ctl_diff(struct pgv_buf *b, struct pgv_arena *scratch, struct pgv_str before,
              struct pgv_str after)
{
    struct matcher m = { 0 };
    struct block *bounded;
    uint32_t n = 0;
    bool started = false;

    if (!split(scratch, before, &m.a) || !split(scratch, after, &m.b) || !prepare(scratch, &m))
        return false;
    find_blocks(&m, 0, m.a.n, 0, m.b.n);

    /* With empty blocks at both ends every change stands between two blocks. */
    bounded = pgv_arena_alloc(scratch, (m.n_blocks + 2) * sizeof(*bounded));
    if (!bounded)
        return false;
    if (m.n_blocks == 0 || m.blocks[0].a > 0 || m.blocks[0].b > 0)
        bounded[n++] = (struct block){ 0, 0, 0 };
    for (uint32_t i = 0; i < m.n_blocks; i++)
        bounded[n++] = m.blocks[i];
    if (bounded[n - 1].a + bounded[n - 1].n < m.a.n || bounded[n - 1].b + bounded[n - 1].n < m.b.n)
        bounded[n++] = (struct block){ m.a.n, m.b.n, 0 };
    m.blocks = bounded;
    for (uint32_t from = 0; from + 1 < n;) {
        uint32_t to = from + 1;

        while (to + 1 < n && m.blocks[to].n <= 2 * CONTEXT_LINES)
            to++;
        if (!started)
            pgv_buf_puts(b, "--- \n+++ \n");
        started = true;
        write_hunk(b, &m, from, to);
        from = to;
    }
    return !b->failed;
}
