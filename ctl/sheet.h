/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/sheet.h - rows and columns, and the shapes in which they are printed: an ASCII table, tab
 * separated lines, JSON, YAML.
 */
#pragma once

#include "base/value.h"

#define CTL_OUTPUT_BYTES_MAX (64u << 20) /* of one printed thing */

enum ctl_format { CTL_PRETTY, CTL_TOPOLOGY, CTL_TSV, CTL_JSON, CTL_YAML };

/** The choices of every --format, as options.h wants them. */
extern const char *const ctl_format_choices[];
/** One of them; NULL is the default, 'pretty'. */
enum ctl_format ctl_format_parse(const char *name);

/* Looks for paint(). Source: ECMA-48, "select graphic rendition". */
#define CTL_PLAIN "\033[0m"
#define CTL_BOLD "\033[1m"
#define CTL_RED "\033[31m"
#define CTL_GREEN "\033[32m"
#define CTL_YELLOW "\033[33m"
#define CTL_CYAN "\033[36m"

struct ctl_column {
    const char *name;
    const char *heading; /* in tables, when it differs; or NULL */
    bool right;          /* numbers stand at the right edge */
    bool in_title;       /* no column in tables, because the title says it */
    /** What a cell's text looks like on a terminal that has colours: an escape sequence, or NULL.
     */
    const char *(*paint)(struct pgv_str text);
};

struct ctl_sheet {
    struct pgv_arena *arena;
    size_t n_columns;
    const struct ctl_column *columns; /* NULL: they have no names, as those of failed queries */
    struct pgv_value *rows;           /* a list of lists with n_columns values each */
    const char *title;     /* over the table; then JSON and YAML leave out empty values. Or NULL */
    const char *delimiter; /* between the values of a line; NULL: a tab */
    bool coloured;         /* tables may use paint() */
};

/** False: out of memory or past the ceiling of @b. */
bool ctl_sheet_write(struct pgv_buf *b, const struct ctl_sheet *s,
                     enum ctl_format format) PGV_MUST_CHECK;

/** How many columns of a terminal a text fills; control characters count as one ('?' is shown). */
size_t ctl_text_columns(struct pgv_str s);
/** Text of others for a terminal: at most @columns_max columns of it, and '?' for what would steer
 *  the terminal or is no UTF-8. */
bool ctl_put_shown(struct pgv_buf *b, struct pgv_str s, size_t columns_max);
