/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgtool.h - running PostgreSQL's programs and the user's commands: argument lists, option
 * lists from YAML, environments, and one child with its output.
 */
#pragma once

#include "base/child.h"
#include "pg/pgconf.h"

#define PGTOOL_ARGS_MAX 256

/** A growing argument list in an arena; a failed append shows in @failed at the end. */
struct pgtool_args {
    struct pgv_arena *arena;
    const char *v[PGTOOL_ARGS_MAX + 1]; /* always NULL-terminated */
    size_t n;
    bool failed;
};
void pgtool_args_init(struct pgtool_args *args, struct pgv_arena *a);
void pgtool_args_add(struct pgtool_args *args, const char *arg); /* copied */
void pgtool_args_addf(struct pgtool_args *args, const char *fmt, ...) PGV_PRINTF(2, 3);
/** The command's words as a shell would split them. */
bool pgtool_args_split(struct pgtool_args *args, const char *command,
                       struct pgv_error *err) PGV_MUST_CHECK;

/**
 * A user's option list (map or list) as --k=v and --k. Source: config contract 5.7. @forbidden is
 * NULL-terminated. With @strict a forbidden or malformed option fails, else it is logged and left
 * out. @refused decides on more than the name ('compress=gzip'); NULL: nothing more.
 */
bool pgtool_user_options(struct pgtool_args *args, const char *tool,
                         const struct pgv_value *options, const char *const *forbidden,
                         bool (*refused)(const char *key, const char *value, int version),
                         int version, bool strict, struct pgv_error *err) PGV_MUST_CHECK;

/** Our environment with the given 'NAME=value' (NULL-terminated list) over it; in @a. NULL: memory.
 */
const char *const *pgtool_env(struct pgv_arena *a, const char *const *over);

/**
 * What a program needs to connect as @d: its conninfo without secrets, for an argument, and an
 * environment (@over as in pgtool_env()) that leads to them: PGPASSFILE names c->pgpass, which is
 * written, and PGSERVICEFILE a file beside it that holds sslpassword, if there is one. All in @a.
 */
bool pgtool_connection(struct pgv_arena *a, const struct pgconf *c, const struct pgdsn *d,
                       int version, const char *const *over, const char **ret_dsn,
                       const char *const **ret_env, struct pgv_error *err) PGV_MUST_CHECK;

/** One run of a program with its output, under LANG=C LC_ALL=C. */
struct pgtool {
    void *data;
    struct pgv_child child; /* out, err_out and timed_out are valid in the callback */
    /* private */
    void (*cb)(struct pgtool *t, int status);
};
/** A status for a tool whose output there was no memory for: it neither succeeded nor exited. */
#define PGTOOL_UNHEARD (-1)
/** @argv[0] is resolved by the caller (pgconf_bin). @env_over as in pgtool_env(), may be NULL. */
bool pgtool_start(struct pgtool *t, uv_loop_t *loop, const char *const *argv,
                  const char *const *env_over, uint64_t timeout_ms,
                  void (*cb)(struct pgtool *t, int status), struct pgv_error *err) PGV_MUST_CHECK;
void pgtool_cancel(struct pgtool *t); /* @cb comes with the status of a killed child, later */
/** Give back output and memory; in the callback or after it. */
void pgtool_done(struct pgtool *t);
/** 'postgres -D DIR -C NAME --config-file=CONF': what the parameter will be after a start. */
bool pgtool_guc_start(struct pgtool *t, uv_loop_t *loop, const struct pgconf *c, const char *name,
                      void (*cb)(struct pgtool *t, int status),
                      struct pgv_error *err) PGV_MUST_CHECK;
/** The value in the output of such a run, trimmed; empty when it failed. */
struct pgv_str pgtool_guc_value(const struct pgtool *t, int status);
/** Exited with 0? */
bool pgtool_ok(int status);
/** 150008 of 'postgres (PostgreSQL) 15.8 (Debian …)', as '--version' prints it; 0: none there. */
int pgtool_parse_version(struct pgv_str output);

/** %p %f %r %% of archive_command and restore_command; other pairs stay. */
bool pgtool_expand(struct pgv_buf *b, const char *command, const char *path, const char *file,
                   const char *restart_file);
