/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/sheet.c - printing rows and columns.
 *
 * Cells are values, so numbers stay numbers in JSON and YAML; lines and tables show their text form
 * as Python prints it. Source of the shapes: Patroni 4.1, ctl.print_output(), and PrettyTable.
 */
#include "ctl/sheet.h"

#include "base/unicode.h"

#include "base/banned.h"

const char *const ctl_format_choices[] = { "pretty", "tsv", "json", "yaml", "yml", NULL };

enum ctl_format ctl_format_parse(const char *name)
{
    if (!name)
        return CTL_PRETTY;
    if (strcmp(name, "tsv") == 0)
        return CTL_TSV;
    if (strcmp(name, "json") == 0)
        return CTL_JSON;
    return strcmp(name, "yaml") == 0 || strcmp(name, "yml") == 0 ? CTL_YAML : CTL_PRETTY;
}

/** Ranges of no width (combining marks, joiners) and of double width (East Asian, pictographs). */
static const struct {
    uint32_t first, last;
} narrow[] = { { 0x300, 0x36f },   { 0x483, 0x489 },   { 0x591, 0x5bd },   { 0x610, 0x61a },
               { 0x64b, 0x65f },   { 0x6d6, 0x6dc },   { 0x900, 0x902 },   { 0xe31, 0xe31 },
               { 0xe34, 0xe3a },   { 0xe47, 0xe4e },   { 0x1ab0, 0x1aff }, { 0x1dc0, 0x1dff },
               { 0x200b, 0x200f }, { 0x20d0, 0x20ff }, { 0xfe00, 0xfe0f }, { 0xfe20, 0xfe2f } },
  wide[] = { { 0x1100, 0x115f },   { 0x2e80, 0x303e },   { 0x3041, 0x33ff },  { 0x3400, 0x4dbf },
             { 0x4e00, 0x9fff },   { 0xa000, 0xa4cf },   { 0xac00, 0xd7a3 },  { 0xf900, 0xfaff },
             { 0xfe30, 0xfe6f },   { 0xff00, 0xff60 },   { 0xffe0, 0xffe6 },  { 0x1f300, 0x1f64f },
             { 0x1f680, 0x1f6ff }, { 0x1f900, 0x1f9ff }, { 0x20000, 0x3fffd } };

static size_t point_columns(uint32_t c)
{
    for (size_t i = 0; i < sizeof(narrow) / sizeof(narrow[0]); i++) {
        if (c >= narrow[i].first && c <= narrow[i].last)
            return 0;
    }
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
        if (c >= wide[i].first && c <= wide[i].last)
            return 2;
    }
    return 1;
}

size_t ctl_text_columns(struct pgv_str s)
{
    size_t n = 0;

    while (s.n > 0)
        n += point_columns(pgv_utf8_next(&s));
    return n;
}

bool ctl_put_shown(struct pgv_buf *b, struct pgv_str s, size_t columns_max)
{
    size_t used = 0;

    while (s.n > 0) {
        const char *before = s.p;
        uint32_t c = pgv_utf8_next(&s);
        size_t columns = point_columns(c);

        if (columns > columns_max - used)
            break;
        used += columns;
        if (c < 0x20 || (c >= 0x7f && c < 0xa0) || c == PGV_UTF8_BAD)
            pgv_buf_putc(b, '?');
        else
            pgv_buf_append(b, before, (size_t)(s.p - before));
    }
    return !b->failed;
}

/** Text for a table. What steers a terminal is replaced: names come from a store others write to.
 */
static void put_cell_text(struct pgv_buf *b, struct pgv_str s)
{
    for (size_t i = 0; i < s.n; i++)
        pgv_buf_putc(b, (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i]);
}

static void repeat(struct pgv_buf *b, char c, size_t n)
{
    while (n-- > 0)
        pgv_buf_putc(b, c);
}

/** A cell's text as a list of lines, cut at its newlines. */
struct cell {
    struct pgv_str text;
    size_t n_lines;
};

static struct pgv_str cell_line(const struct cell *cell, size_t nth)
{
    struct pgv_str rest = cell->text, head, tail;

    while (pgv_str_cut(rest, '\n', &head, &tail)) {
        if (nth-- == 0)
            return head;
        rest = tail;
    }
    return nth == 0 ? rest : (struct pgv_str){ 0 };
}

struct table {
    const struct ctl_sheet *sheet;
    size_t n, n_rows; /* visible columns */
    size_t *column;   /* their numbers in the sheet */
    size_t *width;
    const char **heading;
    struct cell *cells; /* n_rows * n */
    bool multi_line;
};

static bool make_cell(struct pgv_arena *a, const struct pgv_value *v, struct cell *ret)
{
    struct pgv_buf text;
    char *copy;

    pgv_buf_init(&text, CTL_OUTPUT_BYTES_MAX);
    copy = pgv_value_text(&text, v) ? pgv_arena_dup(a, pgv_buf_view(&text)) : NULL;
    pgv_buf_done(&text);
    if (!copy)
        return false;
    ret->text = pgv_str(copy);
    ret->n_lines = 1;
    for (const char *c = copy; *c; c++)
        ret->n_lines += *c == '\n' ? 1 : 0;
    return true;
}

static const struct ctl_column *column_of(const struct ctl_sheet *s, size_t i)
{
    static const struct ctl_column unnamed = { 0 };

    return s->columns ? &s->columns[i] : &unnamed;
}

/** Columns without a name are counted, as PrettyTable does. */
static const char *heading_of(const struct ctl_sheet *s, size_t i)
{
    if (!s->columns)
        return pgv_arena_printf(s->arena, "Field %zu", i + 1);
    return s->columns[i].heading ? s->columns[i].heading : s->columns[i].name;
}

static bool measure(struct table *t)
{
    const struct ctl_sheet *s = t->sheet;
    size_t row = 0;

    t->column = pgv_arena_alloc(s->arena, (s->n_columns + 1) * sizeof(*t->column));
    t->width = pgv_arena_alloc(s->arena, (s->n_columns + 1) * sizeof(*t->width));
    t->heading = pgv_arena_alloc(s->arena, (s->n_columns + 1) * sizeof(*t->heading));
    if (!t->column || !t->width || !t->heading)
        return false;
    for (size_t i = 0; i < s->n_columns; i++) {
        if (column_of(s, i)->in_title)
            continue;
        t->heading[t->n] = heading_of(s, i);
        if (!t->heading[t->n])
            return false;
        t->column[t->n] = i;
        t->width[t->n] = ctl_text_columns(pgv_str(t->heading[t->n]));
        t->n++;
    }
    t->n_rows = s->rows->u.c.n;
    t->cells = pgv_arena_alloc(s->arena, (t->n_rows * t->n + 1) * sizeof(*t->cells));
    if (!t->cells)
        return false;
    PGV_EACH(r, s->rows)
    {
        size_t number = 0, at = 0;

        PGV_EACH(v, r)
        {
            struct cell *cell = &t->cells[row * t->n + at];

            if (at == t->n || number++ != t->column[at])
                continue;
            if (!make_cell(s->arena, v, cell))
                return false;
            t->multi_line = t->multi_line || cell->n_lines > 1;
            for (size_t l = 0; l < cell->n_lines; l++) {
                size_t w = ctl_text_columns(cell_line(cell, l));

                t->width[at] = w > t->width[at] ? w : t->width[at];
            }
            at++;
        }
        row++;
    }
    return true;
}

static void write_rule(struct pgv_buf *b, const struct table *t, const char *title)
{
    size_t length = 1, skip = 0, left;
    struct pgv_str rest = pgv_str(title);

    for (size_t i = 0; i < t->n; i++)
        length += t->width[i] + 3;
    if (t->n == 0)
        length = 2;
    /* The title replaces the rule behind its first sign, and is cut rather than widen it. */
    pgv_buf_putc(b, '+');
    for (left = length - 2; rest.n > 0 && left > 0; left--, skip++) {
        struct pgv_str before = rest;

        (void)pgv_utf8_next(&rest);
        put_cell_text(b, (struct pgv_str){ before.p, before.n - rest.n });
    }
    for (size_t i = 0, at = 0; i < t->n; i++) {
        for (size_t k = 0; k < t->width[i] + 3; k++, at++) {
            if (at >= skip)
                pgv_buf_putc(b, k == t->width[i] + 2 ? '+' : '-');
        }
    }
    if (t->n == 0)
        pgv_buf_putc(b, '+');
    pgv_buf_putc(b, '\n');
}

static void write_field(struct pgv_buf *b, struct pgv_str text, size_t width, bool right,
                        const char *paint)
{
    size_t fill = width - ctl_text_columns(text);

    pgv_buf_putc(b, ' ');
    repeat(b, ' ', right ? fill : 0);
    if (paint)
        pgv_buf_puts(b, paint);
    put_cell_text(b, text);
    if (paint)
        pgv_buf_puts(b, CTL_PLAIN);
    repeat(b, ' ', right ? 0 : fill);
    pgv_buf_puts(b, " |");
}

static void write_row(struct pgv_buf *b, const struct table *t, const struct cell *cells)
{
    size_t lines = 1;

    for (size_t i = 0; i < t->n; i++)
        lines = cells[i].n_lines > lines ? cells[i].n_lines : lines;
    for (size_t l = 0; l < lines; l++) {
        pgv_buf_putc(b, '|');
        for (size_t i = 0; i < t->n; i++) {
            const struct ctl_column *c = column_of(t->sheet, t->column[i]);

            write_field(b, cell_line(&cells[i], l), t->width[i], c->right,
                        t->sheet->coloured && c->paint ? c->paint(cells[i].text) : NULL);
        }
        pgv_buf_putc(b, '\n');
    }
}

static bool write_table(struct pgv_buf *b, const struct ctl_sheet *s)
{
    struct table t = { .sheet = s };

    if (!measure(&t))
        return false;
    write_rule(b, &t, s->title);
    pgv_buf_putc(b, '|');
    for (size_t i = 0; i < t.n; i++)
        write_field(b, pgv_str(t.heading[i]), t.width[i], column_of(s, t.column[i])->right, NULL);
    pgv_buf_putc(b, '\n');
    write_rule(b, &t, NULL);
    for (size_t row = 0; row < t.n_rows; row++) {
        write_row(b, &t, &t.cells[row * t.n]);
        if (t.multi_line && row + 1 < t.n_rows)
            write_rule(b, &t, NULL);
    }
    write_rule(b, &t, NULL);
    return !b->failed;
}

static bool write_lines(struct pgv_buf *b, const struct ctl_sheet *s)
{
    const char *delimiter = s->delimiter ? s->delimiter : "\t";

    for (size_t i = 0; s->columns && i < s->n_columns; i++)
        pgv_buf_printf(b, "%s%s", i ? delimiter : "", s->columns[i].name);
    if (s->columns)
        pgv_buf_putc(b, '\n');
    PGV_EACH(row, s->rows)
    {
        const char *separator = "";

        PGV_EACH(v, row)
        {
            pgv_buf_puts(b, separator);
            pgv_value_text(b, v);
            separator = delimiter;
        }
        pgv_buf_putc(b, '\n');
    }
    return !b->failed;
}

static bool is_empty_text(const struct pgv_value *v)
{
    return pgv_is(v, PGV_STRING) && v->u.s.n == 0;
}

/** A list of maps, one per row. */
static struct pgv_value *to_maps(const struct ctl_sheet *s)
{
    struct pgv_value *list = pgv_new(s->arena, PGV_LIST);

    PGV_EACH(row, s->rows)
    {
        struct pgv_value *map = pgv_list_add(list, pgv_new(s->arena, PGV_MAP));
        size_t i = 0;

        PGV_EACH(v, row)
        {
            const char *name = column_of(s, i++)->name;

            if (!name || (s->title && is_empty_text(v)))
                continue;
            if (!pgv_map_set(s->arena, map, name, pgv_value_copy(s->arena, v)))
                return NULL;
        }
    }
    return list;
}

bool ctl_sheet_write(struct pgv_buf *b, const struct ctl_sheet *s, enum ctl_format format)
{
    struct pgv_value *maps;

    if (!s->rows)
        return false;
    switch (format) {
    case CTL_PRETTY:
    case CTL_TOPOLOGY:
        return write_table(b, s);
    case CTL_TSV:
        return write_lines(b, s);
    case CTL_JSON:
        maps = to_maps(s);
        return maps && pgv_json_write(b, maps, PGV_JSON_SPACED) && pgv_buf_putc(b, '\n');
    case CTL_YAML:
        maps = to_maps(s);
        return maps && pgv_yaml_write(b, maps) && pgv_buf_putc(b, '\n');
    }
    return false;
}
