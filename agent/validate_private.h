/* SPDX-License-Identifier: PostgreSQL */
/* agent/validate_private.h - what the files of --validate-config share. */
#pragma once

#include "agent/validate.h"

enum validate_kind {
    STR,
    INT,
    NUM,      /* an integer, or a text that is one */
    TIME,     /* the same with a unit of time, base seconds */
    SIZE,     /* the same with a unit of memory, base bytes */
    REAL,     /* at least 0 */
    POSITIVE, /* more than 0 */
    BOOL,
    SYNC, /* a boolean or 'quorum' */
    WORD, /* one of the words */
    WORD_NOCASE,
    WORD_OR_FALSE,
    FORMAT,
    LIST, /* of texts, not empty */
    ANYLIST,
    OPTIONS,     /* of a program: a list of texts and maps */
    OPTIONS_MAP, /* the same, or a map, or nothing */
    MAP,         /* any keys */
    SECTION,     /* the keys of the table */
    TAGS,        /* the keys of the table, and others */
    LISTEN,      /* host:port of ours */
    LISTENS,     /* host[,host]:port of ours */
    CONNECT,     /* host:port others can use */
    REACH,       /* host:port of a store */
    HOSTS,       /* several of them: a list, or a text with commas */
    ADDRS,       /* several of them: a list, which may be empty */
    IP,          /* a numeric address */
    PORTS,       /* a list of names with ports */
    CODES,       /* an integer or a list of them */
    DATA_DIR,    /* absent, empty, or a data directory of our version */
    BIN_DIR,     /* a folder with PostgreSQL's programs */
    BIN,         /* the name of one of them */
    ANYTHING,
};
enum validate_demand { NEED, MAY, SOFT };
enum validate_where { LOCAL, DYNAMIC, BOTH };
enum validate_applied { RELOAD, RESTART, SERVER, ONCE, NOTHING };

struct validate_option {
    const char *path;
    enum validate_kind kind;
    enum validate_demand demand;
    int64_t least, most;
    const char *words, *standard, *unit, *env;
    enum validate_where where;
    enum validate_applied applied;
    const char *about;
};

/** One value under examination. */
struct validate_check {
    struct agent_findings *f;
    const struct pgv_value *local;
    unsigned look; /* AGENT_LOOK_* */
    bool soft;     /* what is wrong here is a warning */
    const struct validate_option *o;
    const char *path; /* of the option as it stands in the document */
};

#define VALIDATE_PATH_BYTES 160
#define INVALID "didn't pass validation: " /* Patroni's words in front of what a check found */

/** One line: '<path> <value> <error> [<file> line <n>: <hint>]'. Neither value nor hint: NULL, "".
 */
void validate_say(struct agent_findings *f, bool error, const char *path,
                  const struct pgv_value *at, const struct pgv_value *shown, const char *what,
                  const char *hint);
/** The same about @v at k->path. */
void validate_bad(struct validate_check *k, const struct pgv_value *v, const char *what,
                  const char *hint);
/** The same about member @i of the list at k->path. @below: further keys with their dot, or "". */
void validate_bad_item(struct validate_check *k, const struct pgv_value *item, unsigned i,
                       const char *below, const char *what, const char *hint);

/** Does @v suit k->o? Says so when it does not. */
void validate_value(struct validate_check *k, const struct pgv_value *v);

/* PostgreSQL's parameters in the map at @path: validate_parameters.c. */
void validate_parameters(struct validate_check *k, const char *path);

/* What needs a look at the network or at files: validate_outside.c. */
void validate_address(struct validate_check *k, const struct pgv_value *v);
void validate_hosts(struct validate_check *k, const struct pgv_value *v);
void validate_data_dir(struct validate_check *k, const struct pgv_value *v);
/** @v is NULL when bin_dir is not there: then the programs are looked for in PATH. */
void validate_bin_dir(struct validate_check *k, const struct pgv_value *v);
void validate_bin(struct validate_check *k, const struct pgv_value *v);
