/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/yaml_write.c - writing YAML the way PyYAML's safe_dump() does.
 *
 * People compare and edit what our tools print, and scripts parse it, so the text must be the same
 * to the byte: where lines break, what is quoted and how. libyaml's emitter differs in places and
 * allocates on its own, so the rules stand here. Source of the rules: PyYAML 6.0, emitter.py and
 * representer.py, with allow_unicode=True and width=200.
 *
 * A text is first unpacked into code points, because columns are counted in them.
 */
#include "base/parse.h"
#include "base/unicode.h"
#include "base/value.h"
#include "base/yaml_scalar.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/banned.h"

#define WIDTH 200
#define INDENT 2
#define SIMPLE_KEY_MAX 128 /* a longer key is written with '? ' */

struct writer {
    struct pgv_buf *b;
    size_t column, width;
    int indent;      /* -1: none yet */
    bool whitespace; /* the last character was one */
    bool indention;  /* nothing but indentation, '-', '?' or ':' on this line so far */
    bool flow;       /* within [] or {} */
    bool all_flow;   /* every list and map is one of them */
    bool open_ended; /* a bare scalar as the whole document asks for an end mark */
    size_t depth;
};

struct text {
    uint32_t *c;
    size_t n;
};

/* What the characters of a text allow. */
struct analysis {
    bool multiline, flow_plain, block_plain, single_quoted;
};

static void put_cp(struct writer *w, uint32_t c)
{
    char utf8[PGV_UTF8_BYTES];

    pgv_buf_append(w->b, utf8, pgv_utf8_put(c, utf8));
    w->column++;
}

static void put_range(struct writer *w, const struct text *t, size_t from, size_t to)
{
    for (; from < to; from++)
        put_cp(w, t->c[from]);
}

static void put_ascii(struct writer *w, const char *s)
{
    pgv_buf_puts(w->b, s);
    w->column += strlen(s);
}

static void indicator(struct writer *w, const char *s, bool need_whitespace, bool whitespace,
                      bool indention)
{
    if (!w->whitespace && need_whitespace)
        put_ascii(w, " ");
    put_ascii(w, s);
    w->whitespace = whitespace;
    w->indention = w->indention && indention;
    w->open_ended = false;
}

static void line_break(struct writer *w, uint32_t c)
{
    put_cp(w, c);
    w->whitespace = true;
    w->indention = true;
    w->column = 0;
}

static void write_indent(struct writer *w)
{
    size_t indent = w->indent < 0 ? 0 : (size_t)w->indent;

    if (!w->indention || w->column > indent || (w->column == indent && !w->whitespace))
        line_break(w, '\n');
    if (w->column < indent) {
        w->whitespace = true;
        while (w->column < indent)
            put_ascii(w, " ");
    }
}

static bool is_break(uint32_t c)
{
    return c == '\n' || c == 0x85 || c == 0x2028 || c == 0x2029;
}

static bool is_blank(uint32_t c)
{
    return c == 0 || c == ' ' || c == '\t' || c == '\r' || is_break(c);
}

static bool among(uint32_t c, const char *set)
{
    return c && c < 0x80 && strchr(set, (int)c);
}

/* Printable without an escape, in any style. */
static bool is_printable(uint32_t c)
{
    return c == '\n' || (c >= 0x20 && c <= 0x7e) ||
           (c != 0xfeff && (c == 0x85 || (c >= 0xa0 && c <= 0xd7ff) ||
                            (c >= 0xe000 && c <= 0xfffd) || (c >= 0x10000 && c < 0x10ffff)));
}

static bool starts_with(const struct text *t, uint32_t c)
{
    return t->n >= 3 && t->c[0] == c && t->c[1] == c && t->c[2] == c;
}

/* Indicators: characters that mean something where they stand. */
static void find_indicators(const struct text *t, bool *ret_flow, bool *ret_block)
{
    bool flow = starts_with(t, '-') || starts_with(t, '.'), block = flow;

    for (size_t i = 0; i < t->n; i++) {
        uint32_t c = t->c[i];
        bool before = i == 0 || is_blank(t->c[i - 1]);
        bool after = i + 1 >= t->n || is_blank(t->c[i + 1]);

        if (i == 0) {
            if (among(c, "#,[]{}&*!|>'\"%@`") || (c == '-' && after))
                flow = block = true;
            if (c == '?' || c == ':') {
                flow = true;
                block |= after;
            }
        } else {
            flow |= among(c, ",?[]{}");
            if (c == ':') {
                flow = true;
                block |= after;
            }
            if (c == '#' && before)
                flow = block = true;
        }
    }
    *ret_flow = flow;
    *ret_block = block;
}

static struct analysis analyze(const struct text *t)
{
    bool flow, block, special = false, break_space = false, space_break = false;
    bool edge, prev_space = false, prev_break = false;
    struct analysis a = { .single_quoted = true };

    if (t->n == 0) {
        a.block_plain = true;
        return a;
    }
    find_indicators(t, &flow, &block);
    for (size_t i = 0; i < t->n; i++) {
        uint32_t c = t->c[i];

        a.multiline |= is_break(c);
        special |= !is_printable(c);
        break_space |= c == ' ' && prev_break;
        space_break |= is_break(c) && prev_space;
        prev_space = c == ' ';
        prev_break = is_break(c);
    }
    edge = t->c[0] == ' ' || is_break(t->c[0]) || t->c[t->n - 1] == ' ' || is_break(t->c[t->n - 1]);
    a.single_quoted = !break_space && !space_break && !special;
    a.flow_plain = a.single_quoted && !edge && !a.multiline && !flow;
    a.block_plain = a.single_quoted && !edge && !a.multiline && !block;
    return a;
}

static void write_plain(struct writer *w, const struct text *t, bool split)
{
    size_t start = 0;
    bool spaces = false;

    if (t->n == 0)
        return;
    if (!w->whitespace)
        put_ascii(w, " ");
    w->whitespace = false;
    w->indention = false;
    for (size_t end = 0; end <= t->n; end++) {
        bool at_end = end == t->n, space = !at_end && t->c[end] == ' ';

        if (spaces && !space) {
            if (start + 1 == end && w->column > w->width && split) {
                write_indent(w);
                w->whitespace = false;
                w->indention = false;
            } else {
                put_range(w, t, start, end);
            }
            start = end;
        } else if (!spaces && (at_end || space)) {
            put_range(w, t, start, end);
            start = end;
        }
        spaces = space;
    }
}

static void write_breaks(struct writer *w, const struct text *t, size_t from, size_t to)
{
    if (t->c[from] == '\n')
        line_break(w, '\n');
    for (; from < to; from++)
        line_break(w, t->c[from]);
    write_indent(w);
}

static void write_single_quoted(struct writer *w, const struct text *t, bool split)
{
    bool spaces = false, breaks = false;
    size_t start = 0;

    indicator(w, "'", true, false, false);
    for (size_t end = 0; end <= t->n; end++) {
        bool at_end = end == t->n;
        uint32_t c = at_end ? 0 : t->c[end];
        bool space = !at_end && c == ' ', brk = !at_end && is_break(c);

        if (spaces) {
            if (!space) {
                if (start + 1 == end && w->column > w->width && split && start != 0 && !at_end)
                    write_indent(w);
                else
                    put_range(w, t, start, end);
                start = end;
            }
        } else if (breaks) {
            if (!brk) {
                write_breaks(w, t, start, end);
                start = end;
            }
        } else if (at_end || space || brk || c == '\'') {
            put_range(w, t, start, end);
            start = end;
        }
        if (!at_end && c == '\'') {
            put_ascii(w, "''");
            start = end + 1;
        }
        spaces = space;
        breaks = brk;
    }
    indicator(w, "'", false, false, false);
}

static void put_escape(struct writer *w, uint32_t c)
{
    static const struct {
        uint32_t c;
        const char *text;
    } named[] = {
        { 0, "\\0" },     { 7, "\\a" },    { 8, "\\b" },    { '\t', "\\t" },   { '\n', "\\n" },
        { 0x0b, "\\v" },  { 0x0c, "\\f" }, { '\r', "\\r" }, { 0x1b, "\\e" },   { '"', "\\\"" },
        { '\\', "\\\\" }, { 0x85, "\\N" }, { 0xa0, "\\_" }, { 0x2028, "\\L" }, { 0x2029, "\\P" },
    };
    char text[16];

    for (size_t i = 0; i < sizeof(named) / sizeof(*named); i++) {
        if (named[i].c == c) {
            put_ascii(w, named[i].text);
            return;
        }
    }
    (void)snprintf(text, sizeof(text),
                   c <= 0xff     ? "\\x%02X"
                   : c <= 0xffff ? "\\u%04X"
                                 : "\\U%08X",
                   c);
    put_ascii(w, text);
}

static bool needs_escape(uint32_t c)
{
    if (c == '"' || c == '\\' || c == 0x85 || c == 0x2028 || c == 0x2029 || c == 0xfeff)
        return true;
    return !((c >= 0x20 && c <= 0x7e) || (c >= 0xa0 && c <= 0xd7ff) ||
             (c >= 0xe000 && c <= 0xfffd));
}

static void write_double_quoted(struct writer *w, const struct text *t, bool split)
{
    size_t start = 0;

    indicator(w, "\"", true, false, false);
    for (size_t end = 0; end <= t->n; end++) {
        bool at_end = end == t->n;
        uint32_t c = at_end ? 0 : t->c[end];

        if (at_end || needs_escape(c)) {
            put_range(w, t, start, end);
            start = end;
            if (!at_end) {
                put_escape(w, c);
                start = end + 1;
            }
        }
        /* Fold at a blank or behind an escape, as long as something is left on both sides. */
        if (end > 0 && end + 1 < t->n && (c == ' ' || start >= end) &&
            w->column + end - start > w->width && split) {
            if (start < end) {
                put_range(w, t, start, end);
                start = end;
            }
            put_ascii(w, "\\");
            write_indent(w);
            w->whitespace = false;
            w->indention = false;
            if (t->c[start] == ' ')
                put_ascii(w, "\\");
        }
    }
    indicator(w, "\"", false, false, false);
}

/* The text of a value that is no list or map. */
static struct pgv_str scalar_text(const struct pgv_value *v, char scratch[PGV_REAL_BYTES + 2])
{
    char *e;

    switch (v->type) {
    case PGV_NULL:
        return PGV_STR("null");
    case PGV_BOOL:
        return v->u.b ? PGV_STR("true") : PGV_STR("false");
    case PGV_INT:
        (void)snprintf(scratch, PGV_REAL_BYTES, "%" PRId64, v->u.i);
        return pgv_str(scratch);
    case PGV_REAL:
        if (isnan(v->u.d))
            return PGV_STR(".nan");
        if (isinf(v->u.d))
            return v->u.d < 0 ? PGV_STR("-.inf") : PGV_STR(".inf");
        pgv_format_real(v->u.d, scratch);
        e = strchr(scratch, 'e');
        if (e && !strchr(scratch, '.')) { /* YAML 1.1 takes it for a number only with a point */
            memmove(e + 2, e, strlen(e) + 1);
            memcpy(e, ".0", 2);
        }
        return pgv_str(scratch);
    case PGV_STRING:
        return v->u.s;
    case PGV_LIST:
    case PGV_MAP:
        break;
    }
    return PGV_STR("");
}

static bool unpack(struct writer *w, struct pgv_str s, struct text *ret)
{
    *ret = (struct text){ 0 };
    if (s.n == 0)
        return true;
    ret->c = s.n <= SIZE_MAX / sizeof(*ret->c) ? pgv_alloc(s.n * sizeof(*ret->c)) : NULL;
    if (!ret->c) {
        w->b->failed = true;
        return false;
    }
    while (s.n)
        ret->c[ret->n++] = pgv_utf8_next(&s);
    return true;
}

/* A scalar; @is_str: a string, which must not look like anything else when it stands plain. */
static void write_scalar_text(struct writer *w, struct pgv_str s, bool is_str, bool simple_key)
{
    struct analysis a;
    struct text t;
    int outer = w->indent;
    bool plain;

    if (!unpack(w, s, &t))
        return;
    a = analyze(&t);
    plain = !is_str || yaml_resolve(s) == YAML_KIND_STR;
    plain = plain && !(simple_key && (t.n == 0 || a.multiline)) &&
            (w->flow ? a.flow_plain : a.block_plain);
    w->indent = w->indent < 0 ? INDENT : w->indent + INDENT;
    if (plain)
        write_plain(w, &t, !simple_key);
    else if (a.single_quoted && !(simple_key && a.multiline))
        write_single_quoted(w, &t, !simple_key);
    else
        write_double_quoted(w, &t, !simple_key);
    w->indent = outer;
    if (plain && w->depth == 0)
        w->open_ended = true;
    pgv_free(t.c);
}

static void write_node(struct writer *w, const struct pgv_value *v, bool in_map);

static void write_key(struct writer *w, struct pgv_str key)
{
    const size_t tag = 5; /* the emitter counts the tag, '!!str', though it does not write it */
    struct pgv_str rest = key;
    bool simple = key.n > 0;
    size_t n = 0;

    for (; rest.n && simple; n++)
        simple = !is_break(pgv_utf8_next(&rest));
    simple = simple && n + tag < SIMPLE_KEY_MAX;
    if (simple) {
        write_scalar_text(w, key, true, true);
        indicator(w, ":", false, false, false);
        return;
    }
    indicator(w, "?", true, false, !w->flow);
    write_scalar_text(w, key, true, false);
    if (!w->flow)
        write_indent(w);
    indicator(w, ":", true, false, !w->flow);
}

static int compare_keys(const void *a, const void *b)
{
    const struct pgv_value *const *x = a, *const *y = b;
    size_t n = (*x)->key.n < (*y)->key.n ? (*x)->key.n : (*y)->key.n;
    int order = n ? memcmp((*x)->key.p, (*y)->key.p, n) : 0;

    if (order)
        return order;
    return ((*x)->key.n > (*y)->key.n) - ((*x)->key.n < (*y)->key.n);
}

/* UTF-8 sorts by bytes as its code points do, which is how Python sorts strings. */
static const struct pgv_value **sorted(const struct pgv_value *map)
{
    const struct pgv_value **members = pgv_alloc(map->u.c.n * sizeof(const struct pgv_value *));
    size_t n = 0;

    if (!members)
        return NULL;
    PGV_EACH(item, map)
    {
        members[n++] = item;
    }
    qsort(members, n, sizeof(*members), compare_keys);
    return members;
}

static void write_map(struct writer *w, const struct pgv_value *v)
{
    const struct pgv_value **members = sorted(v);

    if (!members) {
        w->b->failed = true;
        return;
    }
    for (size_t i = 0; i < v->u.c.n; i++) {
        if (!w->flow)
            write_indent(w);
        else if (i)
            indicator(w, ",", false, false, false);
        if (w->flow && w->column > w->width)
            write_indent(w);
        write_key(w, members[i]->key);
        write_node(w, members[i], true);
    }
    pgv_free(members);
}

static void write_list(struct writer *w, const struct pgv_value *v)
{
    PGV_EACH(item, v)
    {
        if (!w->flow) {
            write_indent(w);
            indicator(w, "-", true, false, true);
        } else {
            if (item != v->u.c.first)
                indicator(w, ",", false, false, false);
            if (w->column > w->width)
                write_indent(w);
        }
        write_node(w, item, false);
    }
}

static void write_collection(struct writer *w, const struct pgv_value *v, bool in_map)
{
    bool map = v->type == PGV_MAP, outer_flow = w->flow;
    /* A list that is the value of a key is not indented further. */
    bool indentless = !map && in_map && !w->indention;
    int outer = w->indent;

    w->flow = w->flow || w->all_flow || v->u.c.n == 0;
    if (w->flow)
        indicator(w, map ? "{" : "[", true, true, false);
    if (w->indent < 0)
        w->indent = w->flow ? INDENT : 0;
    else if (w->flow || !indentless)
        w->indent += INDENT;
    w->depth++;
    if (map && v->u.c.n)
        write_map(w, v);
    else if (!map)
        write_list(w, v);
    w->depth--;
    w->indent = outer;
    if (w->flow)
        indicator(w, map ? "}" : "]", false, false, false);
    w->flow = outer_flow;
}

static void write_node(struct writer *w, const struct pgv_value *v, bool in_map)
{
    char scratch[PGV_REAL_BYTES + 2];

    if (w->depth > PGV_DEPTH_MAX * 2) { /* no reader of ours would take it back */
        w->b->failed = true;
        return;
    }
    if (v && (v->type == PGV_LIST || v->type == PGV_MAP))
        write_collection(w, v, in_map);
    else
        write_scalar_text(w, v ? scalar_text(v, scratch) : PGV_STR("null"),
                          v && v->type == PGV_STRING && !v->plain, false);
}

bool pgv_yaml_write(struct pgv_buf *b, const struct pgv_value *v)
{
    struct writer w = {
        .b = b, .width = WIDTH, .indent = -1, .whitespace = true, .indention = true
    };

    write_node(&w, v, false);
    write_indent(&w);
    if (w.open_ended) {
        indicator(&w, "...", true, false, false);
        write_indent(&w);
    }
    return !b->failed;
}

bool pgv_yaml_write_flow(struct pgv_buf *b, const struct pgv_value *v)
{
    struct writer w = { .b = b,
                        .width = SIZE_MAX,
                        .indent = -1,
                        .whitespace = true,
                        .indention = true,
                        .all_flow = true };

    write_node(&w, v, false);
    return !b->failed;
}
