/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgguc.h - server parameters: which exist in which version, and whether a value is acceptable.
 *
 * The table (pg/pgguc_table.c) is constant data without a single pointer, so that it stays in
 * shared, clean pages. It is generated from pg_settings of running servers and from the facts in
 * pg/gen/guc-facts.txt by pg/gen/guc-table.py. Names that it does not know are accepted when the
 * server's own binary lists them ('postgres --describe-config').
 */
#pragma once

#include "base/child.h"
#include "base/parse.h"

enum pgguc_type {
    PGGUC_BOOL,
    PGGUC_INTEGER,
    PGGUC_REAL,
    PGGUC_ENUM,
    PGGUC_ENUM_BOOL,
    PGGUC_STRING
};

/** What the table says of a name in a version. */
struct pgguc_rule {
    enum pgguc_type type;
    double min, max;    /* numbers */
    const char *unit;   /* "8kB", "ms", … or NULL */
    const char *values; /* enums: 'debug5|debug4|…', lower case; else "" */
};

/** The oldest and the newest version that the table knows of; versions are below the latter. */
#define PGGUC_VERSION_OLDEST 90300
#define PGGUC_VERSION_OPEN 10000000

/** Names in any case. @version is full: 150008. */
bool pgguc_find(struct pgv_str name, int version, struct pgguc_rule *ret);
/** A recovery parameter of any version, in any case. */
bool pgguc_is_recovery(struct pgv_str name);
bool pgguc_find_recovery(struct pgv_str name, int version, struct pgguc_rule *ret);
/** The latest version that knows @name, PGGUC_VERSION_OPEN - 1 when it has not gone; 0: none does.
 */
int pgguc_last_version(struct pgv_str name);
enum pgguc_verdict { PGGUC_FITS, PGGUC_TOO_LOW, PGGUC_TOO_BIG, PGGUC_WRONG };
/** Does the text @value suit? What is too low or too big the server is given as the bound. */
enum pgguc_verdict pgguc_judge(const struct pgguc_rule *rule, const char *value);
/** The versions in which a change of @name waits for a restart, from <= version < till. */
bool pgguc_needs_restart(struct pgv_str name, int *ret_from, int *ret_till);
/** The name in the table that comes closest to a misspelt one; NULL: none comes close. */
const char *pgguc_suggest(struct pgv_str name);

/** Names the binary lists though the table has no rule for them in its major version. */
struct pgguc_names {
    bool loaded;
    /* private */
    struct pgv_buf text; /* lower-case, each terminated */
};
bool pgguc_names_has(const struct pgguc_names *n, struct pgv_str name);
/** Take over the output of '--describe-config'; @major_version as 150000. False: no memory. */
bool pgguc_names_parse(struct pgguc_names *n, struct pgv_str output,
                       int major_version) PGV_MUST_CHECK;
void pgguc_names_done(struct pgguc_names *n);

/** Run 'postgres --describe-config' and fill @names, once per binary: asking again for the same
 *  file (path, inode, time) answers from what is there, also later and never inside the call. */
struct pgguc_query {
    void *data;
    /* private */
    struct pgguc_names *names;
    struct pgv_child child;
    uv_timer_t deferred;
    void (*cb)(struct pgguc_query *q, bool ok);
    int major_version;
    unsigned uv_open;
    bool busy, ok, canceled;
    struct pgguc_names fresh;
    uint64_t seen_dev, seen_ino, seen_mtime_ns;
    char path[1024], seen_path[1024];
};
bool pgguc_query_start(struct pgguc_query *q, uv_loop_t *loop, const char *postgres_path,
                       int major_version, struct pgguc_names *names,
                       void (*cb)(struct pgguc_query *q, bool ok),
                       struct pgv_error *err) PGV_MUST_CHECK;
void pgguc_query_cancel(struct pgguc_query *q); /* @cb comes with false, later */

enum pgguc_section { PGGUC_GENERAL, PGGUC_RECOVERY };
/**
 * May name = value be written? True: @ret holds the text to write (the user's own, or the bound
 * it was clamped to, which is logged). False: leave it out; the reason was logged.
 * @version: full for general parameters, major for recovery ones. @names may be NULL.
 */
bool pgguc_accept(enum pgguc_section section, const char *name, const char *value, int version,
                  const struct pgguc_names *names, struct pgv_buf *ret);

/** Would the server see these two texts as the same value? @vartype and @unit as pg_settings has
 *  them; @server is pg_settings.setting, @wanted a configured text. Contract pg §13.7. */
bool pgguc_same(const char *vartype, const char *unit, const char *server, const char *wanted);
/** The same for two configured texts, by the table's rule for @name; unknown names: as texts. */
bool pgguc_same_of(struct pgv_str name, const char *a, const char *b);
