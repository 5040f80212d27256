/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/help.c - usage lines and help pages, laid out as click does: two columns, the left one at
 * most 30 wide, everything within the terminal but never wider than 80.
 */
#include "ctl/options.h"

#include "base/banned.h"

#define PAGE_COLUMNS_MAX 80
#define PAGE_COLUMNS_MIN 50
#define LEFT_COLUMNS_MAX 30
#define USAGE_COLUMNS_MIN 20
#define INDENT 2
#define GAP 2

struct entry {
    const char *left, *right;
};

static size_t page_width(size_t columns)
{
    size_t width = columns < PAGE_COLUMNS_MAX ? columns : PAGE_COLUMNS_MAX;

    return width < PAGE_COLUMNS_MIN + 2 ? PAGE_COLUMNS_MIN : width - 2;
}

static void spaces(struct pgv_buf *b, size_t n)
{
    while (n-- > 0)
        pgv_buf_putc(b, ' ');
}

/** Append the words of @text from column @at on, breaking before @width; later lines at @indent. */
static void wrap(struct pgv_buf *b, const char *text, size_t width, size_t at, size_t indent)
{
    struct pgv_str rest = pgv_str(text), word;
    bool first = true;

    while (rest.n > 0) {
        struct pgv_str tail = { 0 };

        if (!pgv_str_cut(rest, ' ', &word, &tail))
            tail = (struct pgv_str){ 0 };
        rest = tail;
        if (!first && at + 1 + word.n > width) {
            pgv_buf_putc(b, '\n');
            spaces(b, indent);
            at = indent;
            first = true;
        }
        if (!first) {
            pgv_buf_putc(b, ' ');
            at++;
        }
        pgv_buf_str(b, word);
        at += word.n;
        first = false;
    }
}

static bool write_entries(struct pgv_buf *b, const struct entry *entries, size_t n, size_t width)
{
    size_t left = 0, column, text_width;

    for (size_t i = 0; i < n; i++) {
        size_t w = strlen(entries[i].left);

        left = w > left ? w : left;
    }
    column = (left < LEFT_COLUMNS_MAX ? left : LEFT_COLUMNS_MAX) + GAP;
    text_width = width > column + 2 + 10 ? width - column - 2 : 10;
    for (size_t i = 0; i < n; i++) {
        size_t w = strlen(entries[i].left);

        spaces(b, INDENT);
        pgv_buf_puts(b, entries[i].left);
        if (w <= column - GAP) {
            spaces(b, column - w);
        } else {
            pgv_buf_putc(b, '\n');
            spaces(b, INDENT + column);
        }
        wrap(b, entries[i].right, INDENT + column + text_width, INDENT + column, INDENT + column);
        pgv_buf_putc(b, '\n');
    }
    return !b->failed;
}

/** '-f, --format [a|b]': short names first, then what it takes. */
static void option_left(struct pgv_buf *b, const struct ctl_option *o)
{
    const char *separator = "";

    for (int dashes = 1; dashes <= 2; dashes++) {
        for (size_t k = 0; k < 4 && o->names[k]; k++) {
            if ((o->names[k][1] == '-') != (dashes == 2))
                continue;
            pgv_buf_printf(b, "%s%s", separator, o->names[k]);
            separator = ", ";
        }
    }
    switch (o->kind) {
    case CTL_FLAG:
        break;
    case CTL_TEXT:
        pgv_buf_puts(b, " TEXT");
        break;
    case CTL_INTEGER:
        pgv_buf_puts(b, " INTEGER");
        break;
    case CTL_FLOAT:
        pgv_buf_puts(b, " FLOAT");
        break;
    case CTL_FILE:
        pgv_buf_puts(b, " FILENAME");
        break;
    case CTL_CHOICE:
        for (size_t i = 0; o->choices[i]; i++)
            pgv_buf_printf(b, "%s%s", i ? "|" : " [", o->choices[i]);
        pgv_buf_putc(b, ']');
        break;
    }
}

/** A command's help on one line of at most @width: whole words, and '...' when some are missing. */
static void shorten(struct pgv_buf *b, const char *text, size_t width)
{
    size_t n = strlen(text);

    if (n <= width) {
        pgv_buf_puts(b, text);
        return;
    }
    /* Words are dropped from the end until what is left and the dots fit. */
    for (n = width; n > 0; n--) {
        if (text[n] == ' ' && n + 3 <= width)
            break;
    }
    pgv_buf_str(b, (struct pgv_str){ text, n });
    pgv_buf_puts(b, "...");
}

bool ctl_write_usage(struct pgv_buf *b, const struct ctl_command *command, const char *path,
                     size_t columns)
{
    size_t width = page_width(columns), indent = strlen("Usage: ") + strlen(path) + 1;
    struct pgv_buf words;

    pgv_buf_init(&words, 512);
    pgv_buf_puts(&words, "[OPTIONS]");
    if (command->is_group)
        pgv_buf_puts(&words, " COMMAND [ARGS]...");
    for (size_t i = 0; i < CTL_ARGUMENTS_MAX && command->arguments[i].name; i++) {
        const struct ctl_argument *a = &command->arguments[i];

        pgv_buf_putc(&words, ' ');
        if (a->choices) {
            for (size_t k = 0; a->choices[k]; k++)
                pgv_buf_printf(&words, "%c%s", k ? '|' : '{', a->choices[k]);
            pgv_buf_putc(&words, '}');
        } else {
            pgv_buf_printf(&words, a->required ? "%s" : "[%s]", a->name);
        }
        if (a->variadic)
            pgv_buf_puts(&words, "...");
    }
    pgv_buf_printf(b, "Usage: %s ", path);
    if (width < indent + USAGE_COLUMNS_MIN) { /* too little is left beside the names */
        indent = strlen("Usage: ") + 4;
        pgv_buf_putc(b, '\n');
        spaces(b, indent);
    }
    wrap(b, pgv_buf_cstr(&words), width, indent, indent);
    pgv_buf_done(&words);
    return pgv_buf_putc(b, '\n');
}

bool ctl_write_help(struct pgv_buf *b, const struct ctl_command *command, const char *path,
                    size_t columns, const struct ctl_command *const *commands, size_t n)
{
    struct entry entries[CTL_OPTIONS_MAX + 1];
    struct pgv_buf lefts[CTL_OPTIONS_MAX];
    size_t width = page_width(columns), n_entries = 0, longest = 0;

    ctl_write_usage(b, command, path, columns);
    pgv_buf_puts(b, "\n  ");
    wrap(b, command->help, width, INDENT, INDENT);
    pgv_buf_puts(b, "\n\nOptions:\n");
    for (; n_entries < CTL_OPTIONS_MAX && command->options[n_entries].names[0]; n_entries++) {
        pgv_buf_init(&lefts[n_entries], 256);
        option_left(&lefts[n_entries], &command->options[n_entries]);
        entries[n_entries].left = pgv_buf_cstr(&lefts[n_entries]);
        entries[n_entries].right = command->options[n_entries].help;
    }
    entries[n_entries].left = "--help";
    entries[n_entries].right = "Show this message and exit.";
    write_entries(b, entries, n_entries + 1, width);
    for (size_t i = 0; i < n_entries; i++)
        pgv_buf_done(&lefts[i]);

    if (n == 0)
        return !b->failed;
    pgv_buf_puts(b, "\nCommands:\n");
    for (size_t i = 0; i < n; i++)
        longest = strlen(commands[i]->name) > longest ? strlen(commands[i]->name) : longest;
    for (size_t i = 0; i < n; i++) {
        spaces(b, INDENT);
        pgv_buf_puts(b, commands[i]->name);
        spaces(b, longest - strlen(commands[i]->name) + GAP);
        shorten(b, commands[i]->help, width - 6 - longest);
        pgv_buf_putc(b, '\n');
    }
    return !b->failed;
}
