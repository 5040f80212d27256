/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/value.c - the value tree: looking up, building, comparing, merging.
 *
 * Every text in a tree is terminated, whatever bytes it holds. Recursion is bounded by
 * PGV_DEPTH_MAX in the parsers, so functions that walk a tree may recurse.
 */
#include "base/value.h"

#include "base/parse.h"
#include "base/unicode.h"
#include "base/value_build.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/banned.h"

static bool is_container(const struct pgv_value *v)
{
    return v && (v->type == PGV_LIST || v->type == PGV_MAP);
}

struct pgv_value *pgv_value_first(const struct pgv_value *v)
{
    return is_container(v) ? v->u.c.first : NULL;
}

bool pgv_is(const struct pgv_value *v, enum pgv_type type)
{
    return v && v->type == type;
}

static struct pgv_value *find(const struct pgv_value *map, struct pgv_str key)
{
    if (!pgv_is(map, PGV_MAP))
        return NULL;
    PGV_EACH(item, map)
    {
        if (pgv_str_eq(item->key, key))
            return item;
    }
    return NULL;
}

struct pgv_value *pgv_get(const struct pgv_value *map, const char *key)
{
    return find(map, pgv_str(key));
}

struct pgv_value *pgv_path(const struct pgv_value *map, const char *path)
{
    struct pgv_str rest = pgv_str(path), head, tail;

    for (;;) {
        bool more = pgv_str_cut(rest, '.', &head, &tail);
        struct pgv_value *item = find(map, head);

        if (!item || !more)
            return item;
        map = item;
        rest = tail;
    }
}

struct pgv_str pgv_string(const struct pgv_value *v)
{
    return pgv_is(v, PGV_STRING) ? v->u.s : PGV_STR("");
}

const char *pgv_stringz(const struct pgv_value *v)
{
    return pgv_is(v, PGV_STRING) ? v->u.s.p : NULL;
}

bool pgv_truthy(const struct pgv_value *v)
{
    if (!v)
        return false;
    switch (v->type) {
    case PGV_NULL:
        return false;
    case PGV_BOOL:
        return v->u.b;
    case PGV_INT:
        return v->u.i != 0;
    case PGV_REAL:
        return v->u.d < 0 || v->u.d > 0 || isnan(v->u.d);
    case PGV_STRING:
        return v->u.s.n > 0;
    case PGV_LIST:
    case PGV_MAP:
        return v->u.c.n > 0;
    }
    return false;
}

struct pgv_str pgv_leaf_text(const struct pgv_value *v, char *scratch)
{
    switch (v->type) {
    case PGV_NULL:
        return PGV_STR("None");
    case PGV_BOOL:
        return v->u.b ? PGV_STR("True") : PGV_STR("False");
    case PGV_INT:
        (void)snprintf(scratch, PGV_REAL_BYTES, "%" PRId64, v->u.i);
        return pgv_str(scratch);
    case PGV_REAL:
        pgv_format_real(v->u.d, scratch);
        return pgv_str(scratch);
    case PGV_STRING:
        return v->u.s;
    case PGV_LIST:
    case PGV_MAP:
        break;
    }
    return PGV_STR("");
}

bool pgv_bool_like(const struct pgv_value *v)
{
    char scratch[PGV_REAL_BYTES];
    bool b = false;

    return v && !is_container(v) && pgv_parse_bool(pgv_leaf_text(v, scratch), &b) && b;
}

bool pgv_to_int(const struct pgv_value *v, int64_t *ret)
{
    struct pgv_str s;
    bool minus = false;
    uint64_t u;

    if (!v)
        return false;
    switch (v->type) {
    case PGV_INT:
        *ret = v->u.i;
        return true;
    case PGV_BOOL:
        *ret = v->u.b;
        return true;
    case PGV_REAL:
        if (!(v->u.d > -9e18 && v->u.d < 9e18))
            return false;
        *ret = (int64_t)v->u.d;
        return true;
    case PGV_STRING:
        s = pgv_str_trim(v->u.s);
        if (s.n && (s.p[0] == '-' || s.p[0] == '+')) {
            minus = s.p[0] == '-';
            s.p++;
            s.n--;
        }
        if (!pgv_parse_u64(s, &u) || u > INT64_MAX)
            return false;
        *ret = minus ? -(int64_t)u : (int64_t)u;
        return true;
    case PGV_NULL:
    case PGV_LIST:
    case PGV_MAP:
        break;
    }
    return false;
}

struct pgv_value *pgv_new(struct pgv_arena *a, enum pgv_type type)
{
    struct pgv_value *v = pgv_arena_alloc(a, sizeof(*v));

    if (v) {
        v->type = type;
        if (type == PGV_STRING)
            v->u.s = PGV_STR("");
    }
    return v;
}

struct pgv_value *pgv_new_string(struct pgv_arena *a, struct pgv_str s)
{
    struct pgv_value *v = pgv_new(a, PGV_STRING);
    char *p = v ? pgv_arena_dup(a, s) : NULL;

    if (!p)
        return NULL;
    v->u.s = (struct pgv_str){ p, s.n };
    return v;
}

struct pgv_value *pgv_new_int(struct pgv_arena *a, int64_t i)
{
    struct pgv_value *v = pgv_new(a, PGV_INT);

    if (v)
        v->u.i = i;
    return v;
}

struct pgv_value *pgv_new_bool(struct pgv_arena *a, bool b)
{
    struct pgv_value *v = pgv_new(a, PGV_BOOL);

    if (v)
        v->u.b = b;
    return v;
}

static void link_last(struct pgv_value *parent, struct pgv_value *item)
{
    item->next = NULL;
    if (parent->u.c.last)
        parent->u.c.last->next = item;
    else
        parent->u.c.first = item;
    parent->u.c.last = item;
    parent->u.c.n++;
}

struct pgv_value *pgv_list_add(struct pgv_value *list, struct pgv_value *item)
{
    if (!pgv_is(list, PGV_LIST) || !item)
        return NULL;
    link_last(list, item);
    return item;
}

/* The pointer that points to the member with @key, so that the member can be cut out or replaced.
 */
static struct pgv_value **find_link(struct pgv_value *map, struct pgv_str key)
{
    for (struct pgv_value **at = &map->u.c.first; *at; at = &(*at)->next) {
        if (pgv_str_eq((*at)->key, key))
            return at;
    }
    return NULL;
}

static void set_member(struct pgv_value *map, struct pgv_str key, struct pgv_value *item)
{
    struct pgv_value **at = find_link(map, key);

    item->key = key;
    if (!at) {
        link_last(map, item);
        return;
    }
    item->next = (*at)->next;
    if (map->u.c.last == *at)
        map->u.c.last = item;
    *at = item;
}

struct pgv_value *pgv_map_take(struct pgv_value *map, struct pgv_str key, struct pgv_value *item)
{
    if (!pgv_is(map, PGV_MAP) || !item)
        return NULL;
    set_member(map, key, item);
    return item;
}

struct pgv_value *pgv_map_set(struct pgv_arena *a, struct pgv_value *map, const char *key,
                              struct pgv_value *item)
{
    struct pgv_str s = pgv_str(key);
    char *p;

    if (!pgv_is(map, PGV_MAP) || !item)
        return NULL;
    p = pgv_arena_dup(a, s);
    if (!p)
        return NULL;
    set_member(map, (struct pgv_str){ p, s.n }, item);
    return item;
}

void pgv_map_append(struct pgv_value *map, struct pgv_str key, struct pgv_value *item)
{
    item->key = key;
    link_last(map, item);
}

/* A member and its place, so that equal keys keep their order when sorted. */
struct place {
    struct pgv_value *item;
    size_t at;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    struct pgv_str k = x->item->key, l = y->item->key;
    int order = k.n == l.n && k.n ? memcmp(k.p, l.p, k.n) : 0;

    if (k.n != l.n)
        return k.n < l.n ? -1 : 1;
    return order ? order : x->at < y->at ? -1 : 1;
}

bool pgv_map_make_unique(struct pgv_value *map)
{
    size_t n = map->u.c.n, i = 0, first = 0;
    struct pgv_value **order; /* the members in their places; NULL: gone */
    struct place *sorted;

    if (n < 2)
        return true;
    sorted = pgv_alloc(n * sizeof(*sorted));
    order = pgv_alloc(n * sizeof(*order));
    if (!sorted || !order) {
        pgv_free(sorted);
        pgv_free(order);
        return false;
    }
    PGV_EACH(item, map)
    {
        sorted[i] = (struct place){ item, i };
        order[i++] = item;
    }
    qsort(sorted, n, sizeof(*sorted), compare_places);
    for (i = 1; i < n; i++) {
        if (pgv_str_eq(sorted[first].item->key, sorted[i].item->key)) {
            order[sorted[first].at] = sorted[i].item;
            order[sorted[i].at] = NULL;
        } else {
            first = i;
        }
    }
    map->u.c.first = map->u.c.last = NULL;
    map->u.c.n = 0;
    for (i = 0; i < n; i++) {
        if (order[i])
            link_last(map, order[i]);
    }
    pgv_free(sorted);
    pgv_free(order);
    return true;
}

static bool remove_member(struct pgv_value *map, struct pgv_str key)
{
    struct pgv_value *before = NULL;

    for (struct pgv_value *item = map->u.c.first; item; before = item, item = item->next) {
        if (!pgv_str_eq(item->key, key))
            continue;
        if (before)
            before->next = item->next;
        else
            map->u.c.first = item->next;
        if (map->u.c.last == item)
            map->u.c.last = before;
        map->u.c.n--;
        return true;
    }
    return false;
}

bool pgv_map_remove(struct pgv_value *map, const char *key)
{
    return pgv_is(map, PGV_MAP) && remove_member(map, pgv_str(key));
}

struct pgv_value *pgv_value_copy(struct pgv_arena *a, const struct pgv_value *v)
{
    struct pgv_value *copy;
    char *p;

    if (!v)
        return NULL;
    copy = v->type == PGV_STRING ? pgv_new_string(a, v->u.s) : pgv_new(a, v->type);
    if (!copy)
        return NULL;
    copy->plain = v->plain;
    copy->line = v->line;
    copy->file = v->file;
    if (v->key.p) {
        p = pgv_arena_dup(a, v->key);
        if (!p)
            return NULL;
        copy->key = (struct pgv_str){ p, v->key.n };
    }
    switch (v->type) {
    case PGV_NULL:
    case PGV_STRING:
        break;
    case PGV_BOOL:
        copy->u.b = v->u.b;
        break;
    case PGV_INT:
        copy->u.i = v->u.i;
        break;
    case PGV_REAL:
        copy->u.d = v->u.d;
        break;
    case PGV_LIST:
    case PGV_MAP:
        PGV_EACH(item, v)
        {
            struct pgv_value *c = pgv_value_copy(a, item);

            if (!c)
                return NULL;
            link_last(copy, c);
        }
        break;
    }
    return copy;
}

/* Python's repr() escapes blanks but the common one, and what has no shape. Unassigned ones left
 * out. */
static bool has_no_shape(uint32_t c)
{
    static const uint32_t ranges[][2] = {
        { 0x7f, 0xa0 },       { 0xad, 0xad },        { 0x1680, 0x1680 }, { 0x180e, 0x180e },
        { 0x2000, 0x200f },   { 0x2028, 0x202f },    { 0x205f, 0x206f }, { 0x3000, 0x3000 },
        { 0xe000, 0xf8ff },   { 0xfeff, 0xfeff },    { 0xfff0, 0xfffb }, { 0xfffe, 0xffff },
        { 0xe0000, 0xe00ff }, { 0xf0000, 0x10ffff },
    };

    for (size_t i = 0; i < sizeof(ranges) / sizeof(*ranges); i++) {
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return true;
    }
    return c < 0x20;
}

/* A string within a list or map, quoted as Python's repr() does: 'x', or "it's". */
static void text_quoted(struct pgv_buf *b, struct pgv_str s)
{
    bool single = s.n && memchr(s.p, '\'', s.n), both = single && memchr(s.p, '"', s.n);
    char quote = single && !both ? '"' : '\'';

    pgv_buf_putc(b, quote);
    while (s.n) {
        struct pgv_str before = s;
        uint32_t c = pgv_utf8_next(&s);

        if (c == '\\' || c == (uint32_t)quote)
            pgv_buf_printf(b, "\\%c", (char)c);
        else if (c == '\n')
            pgv_buf_puts(b, "\\n");
        else if (c == '\r')
            pgv_buf_puts(b, "\\r");
        else if (c == '\t')
            pgv_buf_puts(b, "\\t");
        else if (has_no_shape(c))
            pgv_buf_printf(b, c <= 0xff ? "\\x%02x" : c <= 0xffff ? "\\u%04x" : "\\U%08x", c);
        else
            pgv_buf_append(b, before.p, before.n - s.n);
    }
    pgv_buf_putc(b, quote);
}

static void text_nested(struct pgv_buf *b, const struct pgv_value *v)
{
    char scratch[PGV_REAL_BYTES];

    if (v->type == PGV_STRING) {
        text_quoted(b, v->u.s);
        return;
    }
    if (!is_container(v)) {
        pgv_buf_str(b, pgv_leaf_text(v, scratch));
        return;
    }
    pgv_buf_putc(b, v->type == PGV_MAP ? '{' : '[');
    PGV_EACH(item, v)
    {
        if (v->type == PGV_MAP) {
            text_quoted(b, item->key);
            pgv_buf_puts(b, ": ");
        }
        text_nested(b, item);
        if (item->next)
            pgv_buf_puts(b, ", ");
    }
    pgv_buf_putc(b, v->type == PGV_MAP ? '}' : ']');
}

bool pgv_value_text(struct pgv_buf *b, const struct pgv_value *v)
{
    if (!v)
        pgv_buf_puts(b, "None");
    else if (v->type == PGV_STRING)
        pgv_buf_str(b, v->u.s);
    else
        text_nested(b, v);
    return !b->failed;
}

/* Members in the same order are the rule; only where order differs are keys looked up. */
static bool members_match(const struct pgv_value *a, const struct pgv_value *b,
                          bool (*same)(const struct pgv_value *, const struct pgv_value *))
{
    const struct pgv_value *other = b->u.c.first;

    if (a->u.c.n != b->u.c.n)
        return false;
    PGV_EACH(item, a)
    {
        const struct pgv_value *match = other;

        if (a->type == PGV_MAP && !pgv_str_eq(item->key, match->key))
            match = find(b, item->key);
        if (!match || !same(item, match))
            return false;
        other = other->next;
    }
    return true;
}

bool pgv_value_equal(const struct pgv_value *a, const struct pgv_value *b)
{
    if (!a || !b)
        return a == b;
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case PGV_NULL:
        return true;
    case PGV_BOOL:
        return a->u.b == b->u.b;
    case PGV_INT:
        return a->u.i == b->u.i;
    case PGV_REAL: /* what is not a number equals itself here: the question is 'did it change' */
        return (isnan(a->u.d) && isnan(b->u.d)) || (a->u.d <= b->u.d && a->u.d >= b->u.d);
    case PGV_STRING:
        return pgv_str_eq(a->u.s, b->u.s);
    case PGV_LIST:
    case PGV_MAP:
        return members_match(a, b, pgv_value_equal);
    }
    return false;
}

/*
 * Equal as text. Lists and maps are compared by structure with typed leaves, which is what their
 * printed form comes to. A list against a string that looks like one needs the text itself; when
 * there is no memory for it they count as different, which only costs a write.
 */
static bool same_text(const struct pgv_value *a, const struct pgv_value *b)
{
    char scratch_a[PGV_REAL_BYTES], scratch_b[PGV_REAL_BYTES];
    struct pgv_buf text;
    bool same;

    if (!is_container(a) && !is_container(b))
        return pgv_str_eq(pgv_leaf_text(a, scratch_a), pgv_leaf_text(b, scratch_b));
    if (is_container(a) && is_container(b))
        return pgv_value_equal(a, b);
    if (is_container(b)) {
        const struct pgv_value *swap = a;

        a = b;
        b = swap;
    }
    if (b->type != PGV_STRING)
        return false;
    pgv_buf_init(&text, b->u.s.n); /* longer than the other it cannot be equal */
    same = pgv_value_text(&text, a) && pgv_str_eq(pgv_buf_view(&text), b->u.s);
    pgv_buf_done(&text);
    return same;
}

bool pgv_value_same(const struct pgv_value *a, const struct pgv_value *b)
{
    if (!a || !b)
        return a == b;
    if (a->type == PGV_MAP && b->type == PGV_MAP)
        return members_match(a, b, pgv_value_same);
    if (a->type == PGV_MAP || b->type == PGV_MAP)
        return false;
    return same_text(a, b);
}

/* Moves what differs from @patch into @target. Cannot fail: all memory is there. */
static bool apply_patch(struct pgv_value *target, struct pgv_value *patch)
{
    struct pgv_value *next;
    bool changed = false;

    for (struct pgv_value *item = pgv_value_first(patch); item; item = next) {
        struct pgv_value *old = find(target, item->key);

        next = item->next;
        if (item->type == PGV_NULL) {
            changed |= old && old->type != PGV_NULL;
            (void)remove_member(target, item->key);
        } else if (old && item->type == PGV_MAP && old->type == PGV_MAP) {
            changed |= apply_patch(old, item);
        } else if (!old || item->type == PGV_MAP || !same_text(old, item)) {
            set_member(target, item->key, item);
            changed = true;
        }
    }
    return changed;
}

bool pgv_value_patch(struct pgv_arena *a, struct pgv_value *target, const struct pgv_value *patch,
                     bool *ret_changed, struct pgv_error *err)
{
    struct pgv_value *copy;

    if (!pgv_is(target, PGV_MAP) || !pgv_is(patch, PGV_MAP))
        return pgv_fail(err, PGV_EINVALID, "only a map can be merged into a map");
    /* The copy first: a merge that ran out of memory half-way would leave a document nobody wrote.
     */
    copy = pgv_value_copy(a, patch);
    if (!copy)
        return pgv_fail(err, PGV_ENOMEM, "no memory to merge a document");
    *ret_changed = apply_patch(target, copy);
    return true;
}
