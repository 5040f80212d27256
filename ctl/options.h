/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/options.h - the command line: options and arguments of a command, usage errors, help pages.
 *
 * Options and positional arguments may be mixed, '--' ends the options, short ones may be bundled
 * and long ones take their value after '=' or as the next word. Texts, order of checks and shape
 * of the pages are those of patronictl (click), because scripts and fingers know them.
 */
#pragma once

#include "base/alloc.h"

struct ctl;
struct ctl_args;

#define CTL_OPTIONS_MAX 12
#define CTL_ARGUMENTS_MAX 3

enum ctl_kind {
    CTL_FLAG,
    CTL_TEXT,
    CTL_INTEGER,
    CTL_FLOAT,
    CTL_CHOICE,
    CTL_FILE, /* to be read; '-' is standard input */
};

struct ctl_option {
    const char *names[4]; /* in the order of error messages; NULL ends them */
    enum ctl_kind kind;
    const char *help;
    const char *const *choices; /* NULL-terminated, for CTL_CHOICE */
    bool multiple;              /* may be given again and again; only for CTL_TEXT */
};

struct ctl_argument {
    const char *name; /* as help shows it: "CLUSTER_NAME" */
    bool required;
    bool variadic;              /* takes all that is left, at most one per command */
    const char *const *choices; /* NULL: any text */
};

struct ctl_command {
    const char *name, *help;
    struct ctl_option options[CTL_OPTIONS_MAX];       /* the first without a name ends them */
    struct ctl_argument arguments[CTL_ARGUMENTS_MAX]; /* the same */
    bool is_group; /* the tool itself: its first positional word is a command */
    /** PGV_ECANCELED: the user gave up; anything else is shown as 'Error: …'. */
    bool (*run)(struct ctl *c, const struct ctl_args *args, struct pgv_error *err);
};

/** What was given; texts are borrowed from argv. */
struct ctl_args {
    const struct ctl_command *command;
    struct {
        bool given;
        const char *text; /* the last one */
        int64_t integer;
        double real;
        const char **all; /* of a multiple one */
        size_t n;
    } options[CTL_OPTIONS_MAX];
    struct {
        const char **all;
        size_t n;
    } arguments[CTL_ARGUMENTS_MAX];
    char **rest; /* of a group: the command's name and what follows it */
    size_t n_rest;
    bool help; /* --help was among them: nothing else was checked */
};

/** An option by any of its names, which must exist. */
bool ctl_flag(const struct ctl_args *args, const char *name);
const char *ctl_text(const struct ctl_args *args, const char *name); /* NULL: not given */
bool ctl_integer(const struct ctl_args *args, const char *name, int64_t *ret);
bool ctl_real(const struct ctl_args *args, const char *name, double *ret);
const char *const *ctl_texts(const struct ctl_args *args, const char *name, size_t *ret_n);
/** The @nth argument: its (first) text, or NULL; all of a variadic one. */
const char *ctl_argument(const struct ctl_args *args, size_t nth);
const char *const *ctl_arguments(const struct ctl_args *args, size_t nth, size_t *ret_n);

/**
 * Parse the words after the command's name. @path is 'prog' or 'prog command'. False is a usage
 * error: @err has its text, which may span lines, @ret_brief tells that it stands without the usage
 * lines. Lists live in @arena.
 */
bool ctl_parse(const struct ctl_command *command, struct pgv_arena *arena, size_t argc, char **argv,
               struct ctl_args *ret, bool *ret_brief, struct pgv_error *err) PGV_MUST_CHECK;

/** 'Usage: prog command [OPTIONS] …' and a newline. */
bool ctl_write_usage(struct pgv_buf *b, const struct ctl_command *command, const char *path,
                     size_t columns);
/** The help page. Of a group: with the @n commands of @commands. @columns is the terminal's width.
 */
bool ctl_write_help(struct pgv_buf *b, const struct ctl_command *command, const char *path,
                    size_t columns, const struct ctl_command *const *commands, size_t n);

/**
 * As pgv_fail() with PGV_EINVALID, for the two messages of the origin that span lines; pgv_fail()
 * makes one line of everything.
 */
bool ctl_fail_lines(struct pgv_error *err, const char *fmt, ...) PGV_PRINTF(2, 3);

/** A text as Python prints it in messages: 'text', or "it's". */
bool ctl_repr(struct pgv_buf *b, const char *text);
