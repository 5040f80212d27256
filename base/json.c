/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/json.c - JSON: yajl reads it into a value tree.
 *
 * yajl writes through what its allocator returns without looking, so its memory is one workspace
 * taken before it starts and sized by a look at the text: everything yajl keeps is bounded by the
 * longest token. Should that sum ever be wrong, the allocator leaves the parser by longjmp and the
 * document is refused; nothing leaks, because all there is to give back is the workspace.
 */
#include "base/parse.h"
#include "base/unicode.h"
#include "base/value_build.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <yajl/yajl_parse.h>

#include "base/banned.h"

/*
 * Source: yajl 2.1.0. A buffer starts with 2 kB and doubles while the wanted bytes do not fit, so
 * it ends below twice the token and its earlier sizes sum up to as much again. There are two of
 * them: decoded strings, and a token cut off by the end of the text. The rest (handle, lexer, a
 * state stack of 128 steps, which our depth limit keeps it in, an error message) is below 4 kB.
 */
#define WORKSPACE_FIXED_BYTES (16 * 1024)
#define WORKSPACE_PER_BYTE 8

#define NUMBER_BYTES 512 /* a longer number is refused */

struct workspace {
    unsigned char *mem;
    size_t cap, used;
    jmp_buf escape;
};

struct frame {
    struct pgv_value *container;
    struct pgv_str key; /* of the member that comes next */
};

struct reader {
    struct pgv_arena *arena;
    struct pgv_error *err;
    struct pgv_value *root;
    struct frame stack[PGV_DEPTH_MAX];
    size_t depth;
    bool failed; /* err is filled by us, not by yajl's complaint */
};

/* Each piece is preceded by its size, which realloc must know. */
#define PIECE_ALIGN 16

static void *workspace_alloc(void *ctx, size_t bytes)
{
    struct workspace *w = ctx;
    size_t room = w->cap - w->used;
    unsigned char *p = w->mem + w->used;

    if (bytes > room || room - bytes < (size_t)2 * PIECE_ALIGN)
        longjmp(w->escape, 1);
    memcpy(p, &bytes, sizeof(bytes));
    w->used += PIECE_ALIGN + (bytes + PIECE_ALIGN - 1) / PIECE_ALIGN * PIECE_ALIGN;
    return p + PIECE_ALIGN;
}

static void workspace_free(void *ctx, void *p)
{
    (void)ctx;
    (void)p;
}

static void *workspace_realloc(void *ctx, void *p, size_t bytes)
{
    void *q = workspace_alloc(ctx, bytes);
    size_t old;

    if (p) {
        memcpy(&old, (unsigned char *)p - PIECE_ALIGN, sizeof(old));
        memcpy(q, p, old < bytes ? old : bytes);
    }
    return q;
}

/* The longest run of bytes the lexer can take for one token. */
static size_t longest_token(struct pgv_str s)
{
    size_t longest = 0, from = 0;
    bool in_string = false;

    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        if (c == '"')
            in_string = true;
        else if (!strchr(" \t\r\n,:[]{}", c) || c == '\0')
            continue;
        if (i - from > longest)
            longest = i - from;
        from = i;
    }
    return s.n - from > longest ? s.n - from : longest;
}

static int refuse(struct reader *r, enum pgv_code code, const char *why)
{
    (void)pgv_fail(r->err, code, "JSON: %s", why);
    r->failed = true;
    return 0;
}

static int no_room(struct reader *r)
{
    if (r->arena->over)
        return refuse(r, PGV_EINVALID, "the document is too large");
    return refuse(r, PGV_ENOMEM, "no memory for the document");
}

/* Puts a value where it belongs. 0 tells yajl to stop. */
static int add(struct reader *r, struct pgv_value *v)
{
    struct frame *top;

    if (!v)
        return no_room(r);
    if (r->depth == 0) {
        r->root = v;
        return 1;
    }
    top = &r->stack[r->depth - 1];
    if (top->container->type == PGV_MAP) {
        if (top->container->u.c.n == PGV_MEMBERS_MAX)
            return refuse(r, PGV_EINVALID, "too many members in one object");
        pgv_map_append(top->container, top->key, v);
    } else {
        pgv_list_add(top->container, v);
    }
    return 1;
}

static int on_null(void *ctx)
{
    struct reader *r = ctx;

    return add(r, pgv_new(r->arena, PGV_NULL));
}

static int on_bool(void *ctx, int b)
{
    struct reader *r = ctx;

    return add(r, pgv_new_bool(r->arena, b != 0));
}

static int on_number(void *ctx, const char *p, size_t n)
{
    struct reader *r = ctx;
    struct pgv_value *v;
    char text[NUMBER_BYTES];
    int64_t i = 0;
    bool minus = n && p[0] == '-', whole = true;

    if (!pgv_copy(text, sizeof(text), (struct pgv_str){ p, n }))
        return refuse(r, PGV_EINVALID, "a number is too long");
    for (size_t at = minus; at < n && whole; at++) {
        int step = text[at] - '0';

        whole = step >= 0 && step <= 9 && !__builtin_mul_overflow(i, (int64_t)10, &i) &&
                !__builtin_add_overflow(i, (int64_t)(minus ? -step : step), &i);
    }
    if (whole)
        return add(r, pgv_new_int(r->arena, i));
    v = pgv_new(r->arena, PGV_REAL);
    if (v)
        v->u.d = strtod(text, NULL);
    return add(r, v);
}

static int on_string(void *ctx, const unsigned char *p, size_t n)
{
    struct reader *r = ctx;

    return add(r, pgv_new_string(r->arena, (struct pgv_str){ (const char *)p, n }));
}

static int on_key(void *ctx, const unsigned char *p, size_t n)
{
    struct reader *r = ctx;
    char *key = pgv_arena_dup(r->arena, (struct pgv_str){ (const char *)p, n });

    if (!key)
        return no_room(r);
    r->stack[r->depth - 1].key = (struct pgv_str){ key, n };
    return 1;
}

static int open_container(struct reader *r, enum pgv_type type)
{
    struct pgv_value *v;

    if (r->depth == PGV_DEPTH_MAX)
        return refuse(r, PGV_EINVALID, "nested too deeply");
    v = pgv_new(r->arena, type);
    if (!add(r, v))
        return 0;
    r->stack[r->depth++] = (struct frame){ .container = v };
    return 1;
}

static int on_map_open(void *ctx)
{
    return open_container(ctx, PGV_MAP);
}

static int on_list_open(void *ctx)
{
    return open_container(ctx, PGV_LIST);
}

static int on_map_close(void *ctx)
{
    struct reader *r = ctx;

    r->depth--;
    return pgv_map_make_unique(r->stack[r->depth].container) || no_room(r);
}

static int on_list_close(void *ctx)
{
    struct reader *r = ctx;

    r->depth--;
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_bool,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_map_open,
    .yajl_map_key = on_key,
    .yajl_end_map = on_map_close,
    .yajl_start_array = on_list_open,
    .yajl_end_array = on_list_close,
};

static bool run_yajl(struct workspace *w, struct reader *r, struct pgv_str text)
{
    yajl_alloc_funcs funcs = { workspace_alloc, workspace_realloc, workspace_free, w };
    yajl_handle yajl;
    yajl_status status;
    char *why;

    if (setjmp(w->escape)) {
        (void)refuse(r, PGV_EINVALID, "the reader ran out of its workspace");
        return false;
    }
    yajl = yajl_alloc(&callbacks, &funcs, r);
    status = yajl_parse(yajl, (const unsigned char *)text.p, text.n);
    if (status == yajl_status_ok)
        status = yajl_complete_parse(yajl);
    if (status == yajl_status_ok)
        return true;
    if (!r->failed) {
        /* Not the verbose form: it quotes the text, and the text may hold a secret. */
        why = (char *)yajl_get_error(yajl, 0, NULL, 0);
        why[strcspn(why, "\n")] = '\0';
        (void)pgv_fail(r->err, PGV_EINVALID, "JSON: %s (byte %zu)", why,
                       yajl_get_bytes_consumed(yajl));
    }
    return false;
}

bool pgv_json_parse(struct pgv_arena *a, struct pgv_str text, struct pgv_value **ret,
                    struct pgv_error *err)
{
    struct workspace w = { 0 };
    struct reader r = { .arena = a, .err = err };
    bool ok;

    if (text.n > PGV_JSON_BYTES_MAX)
        return pgv_fail(err, PGV_EINVALID, "JSON: longer than %d bytes", PGV_JSON_BYTES_MAX);
    w.cap = WORKSPACE_FIXED_BYTES + WORKSPACE_PER_BYTE * longest_token(text);
    w.mem = pgv_alloc(w.cap);
    if (!w.mem)
        return pgv_fail(err, PGV_ENOMEM, "JSON: no memory to read a document of %zu bytes", text.n);
    a->over = false;
    ok = run_yajl(&w, &r, text);
    pgv_free(w.mem);
    if (ok)
        *ret = r.root;
    return ok;
}
