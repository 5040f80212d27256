/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/options.c - reading the words of a command line.
 *
 * Two passes, as in click: first every word is assigned to an option or an argument (unknown
 * options and missing values end it at once), then the values are checked, options in the order in
 * which they came, arguments after them, surplus words last.
 */
#include "ctl/options.h"

#include "base/parse.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/banned.h"

#define SUGGESTIONS_MAX 3
#define SUGGESTION_CUTOFF 0.6 /* difflib.get_close_matches() */

static const char help_name[] = "--help";

static size_t count_options(const struct ctl_command *c)
{
    size_t n = 0;

    while (n < CTL_OPTIONS_MAX && c->options[n].names[0])
        n++;
    return n;
}

static size_t count_arguments(const struct ctl_command *c)
{
    size_t n = 0;

    while (n < CTL_ARGUMENTS_MAX && c->arguments[n].name)
        n++;
    return n;
}

static bool find_option(const struct ctl_command *c, struct pgv_str name, size_t *ret)
{
    for (size_t i = 0; i < count_options(c); i++) {
        for (size_t k = 0; k < 4 && c->options[i].names[k]; k++) {
            if (pgv_str_eqz(name, c->options[i].names[k])) {
                *ret = i;
                return true;
            }
        }
    }
    return false;
}

static size_t must_find(const struct ctl_args *args, const char *name)
{
    size_t i = 0;
    bool found = find_option(args->command, pgv_str(name), &i);

    PGV_ASSERT(found);
    return i;
}

bool ctl_flag(const struct ctl_args *args, const char *name)
{
    return args->options[must_find(args, name)].given;
}

const char *ctl_text(const struct ctl_args *args, const char *name)
{
    return args->options[must_find(args, name)].text;
}

bool ctl_integer(const struct ctl_args *args, const char *name, int64_t *ret)
{
    size_t i = must_find(args, name);

    if (args->options[i].given)
        *ret = args->options[i].integer;
    return args->options[i].given;
}

bool ctl_real(const struct ctl_args *args, const char *name, double *ret)
{
    size_t i = must_find(args, name);

    if (args->options[i].given)
        *ret = args->options[i].real;
    return args->options[i].given;
}

const char *const *ctl_texts(const struct ctl_args *args, const char *name, size_t *ret_n)
{
    size_t i = must_find(args, name);

    *ret_n = args->options[i].n;
    return args->options[i].all;
}

const char *ctl_argument(const struct ctl_args *args, size_t nth)
{
    return args->arguments[nth].n > 0 ? args->arguments[nth].all[0] : NULL;
}

const char *const *ctl_arguments(const struct ctl_args *args, size_t nth, size_t *ret_n)
{
    *ret_n = args->arguments[nth].n;
    return args->arguments[nth].all;
}

bool ctl_fail_lines(struct pgv_error *err, const char *fmt, ...)
{
    va_list args;

    *err = (struct pgv_error){ .code = PGV_EINVALID };
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, args);
    va_end(args);
    return false;
}

bool ctl_repr(struct pgv_buf *b, const char *text)
{
    char quote = strchr(text, '\'') && !strchr(text, '"') ? '"' : '\'';

    pgv_buf_putc(b, quote);
    for (const char *c = text; *c; c++) {
        if (*c == quote || *c == '\\')
            pgv_buf_printf(b, "\\%c", *c);
        else if (*c == '\n')
            pgv_buf_puts(b, "\\n");
        else if (*c == '\t')
            pgv_buf_puts(b, "\\t");
        else if (iscntrl((unsigned char)*c))
            pgv_buf_printf(b, "\\x%02x", (unsigned char)*c);
        else
            pgv_buf_putc(b, *c);
    }
    return pgv_buf_putc(b, quote);
}

/** Characters that two words share, as difflib counts them: the longest run, then left and right.
 */
static size_t common(const char *a, size_t a_n, const char *b, size_t b_n)
{
    size_t best = 0, best_a = 0, best_b = 0;

    for (size_t i = 0; i < a_n; i++) {
        for (size_t j = 0; j < b_n; j++) {
            size_t n = 0;

            while (i + n < a_n && j + n < b_n && a[i + n] == b[j + n])
                n++;
            if (n > best) {
                best = n;
                best_a = i;
                best_b = j;
            }
        }
    }
    if (best == 0)
        return 0;
    return best + common(a, best_a, b, best_b) +
           common(a + best_a + best, a_n - best_a - best, b + best_b + best, b_n - best_b - best);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/** ' Did you mean --x?', or the few that come close, or nothing. */
static void suggest(struct pgv_buf *b, const struct ctl_command *c, const char *word)
{
    const char *close[SUGGESTIONS_MAX];
    double ratios[SUGGESTIONS_MAX];
    size_t n = 0, word_n = strlen(word);

    if (word_n > 64)
        return;
    for (size_t i = 0; i <= count_options(c); i++) {
        for (size_t k = 0; k < 4; k++) {
            const char *name = i < count_options(c) ? c->options[i].names[k]
                               : k == 0             ? help_name
                                                    : NULL;
            double ratio;
            size_t at;

            if (!name)
                break;
            if (name[1] != '-')
                continue;
            ratio = 2.0 * (double)common(name, strlen(name), word, word_n) /
                    (double)(strlen(name) + word_n);
            if (ratio < SUGGESTION_CUTOFF)
                continue;
            for (at = n; at > 0 && ratios[at - 1] < ratio; at--) {
                if (at < SUGGESTIONS_MAX) {
                    close[at] = close[at - 1];
                    ratios[at] = ratios[at - 1];
                }
            }
            if (at < SUGGESTIONS_MAX) {
                close[at] = name;
                ratios[at] = ratio;
                n += n < SUGGESTIONS_MAX ? 1 : 0;
            }
        }
    }
    if (n == 0)
        return;
    qsort(close, n, sizeof(close[0]), compare_texts);
    pgv_buf_puts(b, n == 1 ? " Did you mean " : " (Possible options: ");
    for (size_t i = 0; i < n; i++)
        pgv_buf_printf(b, "%s%s", i ? ", " : "", close[i]);
    pgv_buf_puts(b, n == 1 ? "?" : ")");
}

static bool no_such_option(const struct ctl_command *c, const char *name, bool is_long,
                           struct pgv_error *err)
{
    struct pgv_buf b;

    pgv_buf_init(&b, PGV_ERROR_MSG_BYTES - 1);
    if (is_long)
        suggest(&b, c, name);
    pgv_fail(err, PGV_EINVALID, "No such option: %s%s", name, pgv_buf_cstr(&b));
    pgv_buf_done(&b);
    return false;
}

/** Words not yet looked at. */
struct words {
    size_t argc, at;
    char **argv;
};

/** State of the first pass. */
struct parser {
    const struct ctl_command *command;
    struct ctl_args *args;
    struct words words;
    size_t order[CTL_OPTIONS_MAX], n_order; /* options as they came */
    const char **positional;
    size_t n_positional;
    bool *ret_brief;
};

/** A value follows in the same word (@inline_value), or is the next word. */
static bool take_value(struct parser *p, size_t option, const char *name, const char *inline_value,
                       struct pgv_error *err)
{
    const struct ctl_option *o = &p->command->options[option];
    const char *value = inline_value;

    if (o->kind != CTL_FLAG && !value) {
        if (p->words.at == p->words.argc) {
            *p->ret_brief = true;
            return pgv_fail(err, PGV_EINVALID, "Option '%s' requires an argument.", name);
        }
        value = p->words.argv[p->words.at++];
    }
    if (!p->args->options[option].given)
        p->order[p->n_order++] = option;
    p->args->options[option].given = true;
    p->args->options[option].text = value;
    if (o->multiple)
        p->args->options[option].all[p->args->options[option].n++] = value;
    return true;
}

static bool take_long(struct parser *p, const char *word, struct pgv_error *err)
{
    struct pgv_str name, value = { 0 };
    bool has_value = pgv_str_cut(pgv_str(word), '=', &name, &value);
    char text[128];
    size_t option = 0;

    pgv_copy_cut(text, sizeof(text), name);
    if (pgv_str_eqz(name, help_name) || find_option(p->command, name, &option)) {
        bool is_flag = pgv_str_eqz(name, help_name) || p->command->options[option].kind == CTL_FLAG;

        if (is_flag && has_value) {
            *p->ret_brief = true;
            return pgv_fail(err, PGV_EINVALID, "Option '%s' does not take a value.", text);
        }
        if (pgv_str_eqz(name, help_name)) {
            p->args->help = true;
            return true;
        }
        return take_value(p, option, text, has_value ? value.p : NULL, err);
    }
    return no_such_option(p->command, text, true, err);
}

static bool take_short(struct parser *p, const char *word, struct pgv_error *err)
{
    for (const char *c = word + 1; *c; c++) {
        char name[3] = { '-', *c, '\0' };
        size_t option = 0;

        if (!find_option(p->command, pgv_str(name), &option))
            return no_such_option(p->command, name, false, err);
        if (p->command->options[option].kind != CTL_FLAG)
            return take_value(p, option, name, c[1] ? c + 1 : NULL, err);
        if (!take_value(p, option, name, NULL, err))
            return false;
    }
    return true;
}

static bool assign_words(struct parser *p, struct pgv_error *err)
{
    while (p->words.at < p->words.argc) {
        char *word = p->words.argv[p->words.at++];

        if (strcmp(word, "--") == 0) {
            while (p->words.at < p->words.argc)
                p->positional[p->n_positional++] = p->words.argv[p->words.at++];
        } else if (word[0] == '-' && word[1] == '-') {
            if (!take_long(p, word, err))
                return false;
        } else if (word[0] == '-' && word[1]) {
            if (!take_short(p, word, err))
                return false;
        } else if (p->command->is_group) {
            p->words.at--;
            break;
        } else {
            p->positional[p->n_positional++] = word;
        }
    }
    p->args->rest = p->words.argv + p->words.at;
    p->args->n_rest = p->words.argc - p->words.at;
    return true;
}

static bool invalid_value(struct pgv_error *err, const char *where, const char *value,
                          const char *what, const char *const *choices)
{
    struct pgv_buf b;

    pgv_buf_init(&b, PGV_ERROR_MSG_BYTES - 1);
    ctl_repr(&b, value);
    pgv_buf_printf(&b, " is not %s", what);
    for (size_t i = 0; choices && choices[i]; i++) {
        pgv_buf_puts(&b, i ? ", " : " ");
        ctl_repr(&b, choices[i]);
    }
    pgv_buf_putc(&b, '.');
    pgv_fail(err, PGV_EINVALID, "Invalid value for %s: %s", where, pgv_buf_cstr(&b));
    pgv_buf_done(&b);
    return false;
}

static bool is_choice(const char *value, const char *const *choices)
{
    for (size_t i = 0; choices[i]; i++) {
        if (strcmp(value, choices[i]) == 0)
            return true;
    }
    return false;
}

/** That it can be opened is part of the command line being right, as in click. */
static bool check_file(const char *where, const char *value, struct pgv_error *err)
{
    struct pgv_buf b;
    int fd, why;

    if (strcmp(value, "-") == 0)
        return true;
    fd = open(value, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        return true;
    }
    why = errno;
    pgv_buf_init(&b, PGV_ERROR_MSG_BYTES - 1);
    ctl_repr(&b, value);
    pgv_fail(err, PGV_EINVALID, "Invalid value for %s: %s: %s", where, pgv_buf_cstr(&b),
             strerror(why));
    pgv_buf_done(&b);
    return false;
}

static bool check_option(struct ctl_args *args, size_t i, struct pgv_error *err)
{
    const struct ctl_option *o = &args->command->options[i];
    const char *value = args->options[i].text;
    char where[64] = "", *end = NULL;
    size_t n = 0;

    for (size_t k = 0; k < 4 && o->names[k]; k++)
        n += (size_t)snprintf(where + n, sizeof(where) - n, "%s'%s'", k ? " / " : "", o->names[k]);
    PGV_ASSERT(n < sizeof(where));
    switch (o->kind) {
    case CTL_FLAG:
    case CTL_TEXT:
        return true;
    case CTL_INTEGER:
        errno = 0;
        args->options[i].integer = strtoll(value, &end, 10);
        if (errno || end == value || *end)
            return invalid_value(err, where, value, "a valid integer", NULL);
        return true;
    case CTL_FLOAT:
        args->options[i].real = strtod(value, &end);
        if (end == value || *end)
            return invalid_value(err, where, value, "a valid float", NULL);
        return true;
    case CTL_FILE:
        return check_file(where, value, err);
    case CTL_CHOICE:
        if (!is_choice(value, o->choices))
            return invalid_value(err, where, value, "one of", o->choices);
        return true;
    }
    return true;
}

/** '{a|b}' or 'NAME', as messages call an argument. */
static bool argument_name(struct pgv_buf *b, const struct ctl_argument *a)
{
    if (!a->choices)
        return pgv_buf_puts(b, a->name);
    for (size_t i = 0; a->choices[i]; i++)
        pgv_buf_printf(b, "%c%s", i ? '|' : '{', a->choices[i]);
    return pgv_buf_putc(b, '}');
}

static bool check_argument(const struct ctl_argument *a, const char *value, struct pgv_error *err)
{
    struct pgv_buf name;
    bool ok = true;

    pgv_buf_init(&name, 128);
    argument_name(&name, a);
    if (!value && a->required) {
        struct pgv_buf choices;

        pgv_buf_init(&choices, 128);
        for (size_t i = 0; a->choices && a->choices[i]; i++)
            pgv_buf_printf(&choices, "%s\n\t%s", i ? "," : " Choose from:", a->choices[i]);
        ok = ctl_fail_lines(err, "Missing argument '%s'.%s", pgv_buf_cstr(&name),
                            pgv_buf_cstr(&choices));
        pgv_buf_done(&choices);
    } else if (value && a->choices && !is_choice(value, a->choices)) {
        char where[136];

        snprintf(where, sizeof(where), "'%s'", pgv_buf_cstr(&name));
        ok = invalid_value(err, where, value, "one of", a->choices);
    }
    pgv_buf_done(&name);
    return ok;
}

/** Words to arguments from the left; what stands behind a variadic one is served from the right. */
static void assign_arguments(struct parser *p)
{
    size_t n = count_arguments(p->command), left = 0, right = p->n_positional, variadic = n;
    const char **all = p->positional;

    for (size_t i = 0; i < n; i++) {
        if (p->command->arguments[i].variadic) {
            variadic = i;
            break;
        }
        p->args->arguments[i].all = all + left;
        p->args->arguments[i].n = left < right ? 1 : 0;
        left += p->args->arguments[i].n;
    }
    for (size_t i = n; i-- > variadic + 1;) {
        p->args->arguments[i].n = left < right ? 1 : 0;
        right -= p->args->arguments[i].n;
        p->args->arguments[i].all = all + right;
    }
    if (variadic < n) {
        p->args->arguments[variadic].all = all + left;
        p->args->arguments[variadic].n = right - left;
        left = right;
    }
    p->positional += left;
    p->n_positional = variadic < n ? 0 : p->n_positional - left;
}

bool ctl_parse(const struct ctl_command *command, struct pgv_arena *arena, size_t argc, char **argv,
               struct ctl_args *ret, bool *ret_brief, struct pgv_error *err)
{
    struct ctl_args args = { .command = command };
    struct parser p = { .command = command,
                        .args = &args,
                        .words = { .argc = argc, .argv = argv },
                        .ret_brief = ret_brief };
    struct pgv_buf surplus;
    bool plural;

    *ret_brief = false;
    p.positional = pgv_arena_alloc(arena, (argc + 1) * sizeof(*p.positional));
    if (!p.positional)
        return pgv_fail(err, PGV_ENOMEM, "out of memory");
    for (size_t i = 0; i < count_options(command); i++) {
        if (!command->options[i].multiple)
            continue;
        args.options[i].all = pgv_arena_alloc(arena, (argc + 1) * sizeof(char *));
        if (!args.options[i].all)
            return pgv_fail(err, PGV_ENOMEM, "out of memory");
    }
    if (!assign_words(&p, err))
        return false;
    if (args.help) {
        *ret = args;
        return true;
    }
    for (size_t i = 0; i < p.n_order; i++) {
        if (!check_option(&args, p.order[i], err))
            return false;
    }
    assign_arguments(&p);
    for (size_t i = 0; i < count_arguments(command); i++) {
        if (!check_argument(&command->arguments[i],
                            args.arguments[i].n ? args.arguments[i].all[0] : NULL, err))
            return false;
    }
    if (p.n_positional > 0) {
        plural = p.n_positional > 1;
        pgv_buf_init(&surplus, PGV_ERROR_MSG_BYTES - 1);
        for (size_t i = 0; i < p.n_positional; i++)
            pgv_buf_printf(&surplus, "%s%s", i ? " " : "", p.positional[i]);
        pgv_fail(err, PGV_EINVALID, "Got unexpected extra argument%s (%s)", plural ? "s" : "",
                 pgv_buf_cstr(&surplus));
        pgv_buf_done(&surplus);
        return false;
    }
    *ret = args;
    return true;
}
