/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/ctl.h - one run of the command line tool: its configuration, its loop, what it prints.
 *
 * The tool does one thing after another, so asynchronous work is wrapped: ctl_wait() turns the loop
 * until a flag is set. While a person is asked or an editor runs, the loop stands still; nothing
 * that must not wait hangs on it.
 *
 *     options.h, help       words of the command line
 *     context.c             this file: configuration, loop, printing
 *     progress.c            this file: what a terminal shows meanwhile
 *     store.h, rest.h       a cluster's keys, a member's REST API
 *     follow.h, steps.h     what members do meanwhile, and what of it is a switchover
 *     prompt.h, editor.h    questions, editor and pager
 *     members.h, sheet.h    the members table, tables in general
 *     commands.h            the commands
 */
#pragma once

#include "base/config.h"
#include "ctl/options.h"

#include <stdio.h>
#include <uv.h>

#define CTL_ARENA_BYTES_MAX (128u << 20)

struct ctl {
    const char *prog; /* how we were called, without folders */
    FILE *out;
    int in_fd;
    struct pgv_arena arena;   /* what lives until the command has ended */
    struct pgv_value *config; /* local configuration with -d and -k applied: a map */
    bool insecure;            /* do not verify the certificates of members */
    bool abort_newline;       /* the cursor stands in a line that 'Aborted!' should not continue */
    /* private */
    struct pgv_config_env env;
    struct pgv_config local;
    uv_loop_t loop;
    bool loop_open, progress_shown;
    uv_async_t wake;
    uv_timer_t progress;
    uv_prepare_t before_poll;
    const bool *awaited;     /* what the loop is turned for */
    const char *waiting_for; /* shown on a terminal while waiting; NULL: nothing is */
    uint64_t waiting_since_ms;
    uint64_t clock_ms;  /* when ctl_clock_start() was called; 0: the clock stands */
    struct httpc *rest; /* made at the first request */
};

/** @c of zeros but for out, in_fd and prog. Takes the environment. */
bool ctl_open(struct ctl *c, const char *config_path, const char *dcs_url, bool insecure,
              struct pgv_error *err) PGV_MUST_CHECK;
/** Also after a failed ctl_open(). */
void ctl_close(struct ctl *c);

/** $XDG_CONFIG_HOME/patroni/patronictl.yaml, else below ~/.config: Patroni's users have theirs
 * there. */
bool ctl_default_config_path(char *ret, size_t ret_bytes) PGV_MUST_CHECK;

/**
 * 'SCHEME://HOST:PORT/NAMESPACE', every part optional, becomes a section of @config and replaces
 * the other stores that can be named so. Source: Patroni 4.1, ctl.parse_dcs().
 */
bool ctl_apply_dcs_url(struct pgv_arena *a, struct pgv_value *config, const char *url,
                       struct pgv_error *err) PGV_MUST_CHECK;

/** A plain value of the local configuration as text, or NULL: a 'scope: 5' is "5". In c->arena. */
const char *ctl_config_text(struct ctl *c, const char *path);

/**
 * Turn the loop until *@done. False: Ctrl-C came, and whoever started the work must cancel it and
 * wait again. @what is shown on a terminal with the seconds gone by, as in
 * 'switchover: waiting for the new leader… 1.2 s'; NULL shows nothing. It may be changed meanwhile.
 */
bool ctl_wait(struct ctl *c, const bool *done, const char *what) PGV_MUST_CHECK;
/** The same without an end before that: for what has been cancelled or is being closed. */
void ctl_finish(struct ctl *c, const bool *done);
/** Let @ms go by. False: Ctrl-C came. */
bool ctl_sleep(struct ctl *c, uint64_t ms, const char *what, struct pgv_error *err) PGV_MUST_CHECK;
/** The same, ended also by *@over, which somebody else may set; it is set afterwards. */
bool ctl_sleep_until(struct ctl *c, bool *over, uint64_t ms, const char *what,
                     struct pgv_error *err) PGV_MUST_CHECK;
/** Ctrl-C came at some time. */
bool ctl_interrupted(void);
/** It ended a wait that could as well be left out: the command goes on as if it had not come. */
void ctl_interrupt_meant_waiting(void);
/**
 * Wait, with the loop standing still, until @fd is ready for @events (POLLIN, POLLOUT) or the
 * moment
 * @until_ms (UINT64_MAX: none) has come. 1 ready, 0 too late, -1 Ctrl-C.
 */
int ctl_wait_for_fd(int fd, short events, uint64_t until_ms);

/** Standard error is a terminal, so that progress is shown. */
bool ctl_shows_progress(void);
/** The seconds shown by waits and notes count from now on, until it is stopped; else each wait
 *  counts for itself. */
void ctl_clock_start(struct ctl *c);
void ctl_clock_stop(struct ctl *c);
/** A line of progress that stays, with the seconds; only where progress is shown. */
void ctl_note(struct ctl *c, const char *fmt, ...) PGV_PRINTF(2, 3);
/** For ctl_wait(). */
void ctl_progress_begin(struct ctl *c, const char *what);
void ctl_progress_end(struct ctl *c);
/** $COLUMNS, else the width of the terminal @fd, else 80. */
size_t ctl_terminal_columns(int fd);

/** Print on stdout, at once. What cannot be written ends the program with status 1. */
void ctl_print(struct ctl *c, const char *fmt, ...) PGV_PRINTF(2, 3);
void ctl_print_buf(struct ctl *c, const struct pgv_buf *b);

/** Standard output is a terminal that can do more than print lines. */
bool ctl_on_terminal(const struct ctl *c);
/** That, and nobody asked for no colours. Source: no-color.org, NO_COLOR set and not empty. */
bool ctl_coloured(const struct ctl *c);

/** PGV_ECANCELED, which main shows as 'Aborted!'. */
bool ctl_aborted(struct ctl *c, bool newline, struct pgv_error *err);
bool ctl_out_of_memory(struct pgv_error *err);
