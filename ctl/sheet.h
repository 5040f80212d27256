/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/sheet.h - rows and columns, and the shapes in which they are printed: an ASCII table, tab
 * separated lines, JSON, YAML.
 */
#pragma once

#include "base/value.h"

#define CTL_COLUMNS_MAX 16
#define CTL_OUTPUT_BYTES_MAX (64u << 20) /* of one printed thing */

enum ctl_format { CTL_PRETTY, CTL_TOPOLOGY, CTL_TSV, CTL_JSON, CTL_YAML };

/** The choices of every --format, as options.h wants them. */
extern const char *const ctl_format_choices[];
/** One of them; NULL is the default, 'pretty'. */
enum ctl_format ctl_format_parse(const char *name);

struct ctl_sheet {
    struct pgv_arena *arena;
    size_t n_columns;
    struct ctl_column {
        const char *name;
        const char *heading; /* in tables, when it differs; or NULL */
        bool right;          /* numbers stand at the right edge */
        bool in_title;       /* no column in tables, because the title says it */
    } columns[CTL_COLUMNS_MAX];
    struct pgv_value *rows; /* a list of lists with n_columns values each */
    const char *title;      /* over the table; then JSON and YAML leave out empty values. Or NULL */
};

/** False: out of memory or past the ceiling of @b. */
bool ctl_sheet_write(struct pgv_buf *b, const struct ctl_sheet *s,
                     enum ctl_format format) PGV_MUST_CHECK;

/** How many columns of a terminal a text fills; control characters count as one ('?' is shown). */
size_t ctl_text_columns(struct pgv_str s);
