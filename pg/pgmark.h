/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgmark.h - the mark in a data directory that is still being made.
 *
 * initdb, pg_basebackup and the user's own programs may be killed half-way, or go on by themselves
 * when the agent is: what they leave has a control file, and looks like a cluster. The file
 * 'pgvigil.unfinished' says that it is none. It stands inside, so that a directory put in the
 * place of this one, or cleared, does not have it; and it is written as soon as something else is
 * there, because initdb and pg_basebackup want to find the directory empty.
 */
#pragma once

#include "pg/facts.h"
#include "pg/pgconf.h"

#include <sys/types.h>
#include <uv.h>

enum pgmark_kind {
    PGMARK_NONE,
    PGMARK_CLONE,     /* a copy of another node: of no use, may be removed */
    PGMARK_BOOTSTRAP, /* a new cluster, up to the end of post_bootstrap */
};

struct pgmark {
    enum pgmark_kind kind;
    pid_t tool;           /* leads the process group of what fills the directory; 0: nothing does */
    uint64_t start_ticks; /* of that process: with the number, names it for ever */
    char token[POSTMASTER_TOKEN_BYTES];
};

/** Describe @tool, which is our child and leader of its group; @token is copied, "" for none. */
void pgmark_init(struct pgmark *m, enum pgmark_kind kind, pid_t tool, const char *token);
/** From a repeating timer: write the mark once something is in the directory, then stop the timer.
 *  What keeps it from being written is logged, and tried again. */
void pgmark_tick(const struct pgmark *m, const struct pgconf *c, uv_timer_t *timer);
#define PGMARK_TICK_MS 10
/** Write it now, if the directory is there and not empty. */
bool pgmark_write(const struct pgmark *m, const struct pgconf *c,
                  struct pgv_error *err) PGV_MUST_CHECK;
/** Before anything may rely on the directory: gone, also after a power failure. */
bool pgmark_remove(const struct pgconf *c, struct pgv_error *err) PGV_MUST_CHECK;
/**
 * Is there one? PGMARK_NONE is an answer. False when that cannot be found out: PGV_ESYS (of which
 * ENOMEM, EMFILE and ENFILE say nothing of the directory), PGV_EINVALID when it says something
 * that we do not understand.
 */
bool pgmark_read(const struct pgconf *c, struct pgmark *ret, struct pgv_error *err) PGV_MUST_CHECK;
/** What an agent that was killed has left at work there: SIGKILL for it. */
void pgmark_end_tool(const struct pgmark *m);
