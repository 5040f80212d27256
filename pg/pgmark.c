/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgmark.c - the mark in a data directory that is still being made: three lines, which are what
 * it is ('clone', 'bootstrap'), who is at work ('pid start-ticks') and the token.
 */
#include "pg/pgmark.h"

#include "base/file.h"
#include "base/log.h"
#include "base/parse.h"
#include "pg/pgdata.h"
#include "pg/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "base/banned.h"

#define TEXT_BYTES_MAX (POSTMASTER_TOKEN_BYTES + 96)
/** After a failure; until then it waits for the first file. */
#define AGAIN_MS 1000

static const char *const kinds[] = {
    [PGMARK_CLONE] = "clone",
    [PGMARK_BOOTSTRAP] = "bootstrap",
};

static void mark_path(const struct pgconf *c, char ret[PGCONF_PATH_BYTES + 32])
{
    (void)snprintf(ret, PGCONF_PATH_BYTES + 32, "%s/pgvigil.unfinished", c->data_dir);
}

void pgmark_init(struct pgmark *m, enum pgmark_kind kind, pid_t tool, const char *token)
{
    struct pm_proc proc;

    *m = (struct pgmark){ .kind = kind, .tool = tool };
    pgv_copy_cut(m->token, sizeof(m->token), pgv_str(token));
    if (pm_proc_read(tool, &proc))
        m->start_ticks = proc.start_ticks;
    else
        m->tool = 0;
}

bool pgmark_write(const struct pgmark *m, const struct pgconf *c, struct pgv_error *err)
{
    char path[PGCONF_PATH_BYTES + 32], text[TEXT_BYTES_MAX], why[96];
    int n;

    switch (pgdata_state(c->data_dir, why)) {
    case PM_DIR_OK:
        break;
    case PM_DIR_EMPTY:
        return true;
    case PM_DIR_UNREADABLE:
    case PM_DIR_UNFINISHED:
        return pgv_fail_sys(err, errno, "cannot look into '%s'", c->data_dir);
    }
    mark_path(c, path);
    n = snprintf(text, sizeof(text), "%s\n%d %llu\n%s\n", kinds[m->kind], (int)m->tool,
                 (unsigned long long)m->start_ticks, m->token);
    return pgv_file_replace(path, (struct pgv_str){ text, (size_t)n }, 0600, err);
}

void pgmark_tick(const struct pgmark *m, const struct pgconf *c, uv_timer_t *timer)
{
    char why[96];
    struct pgv_error err = { 0 };

    if (pgdata_state(c->data_dir, why) == PM_DIR_EMPTY)
        return;
    if (pgmark_write(m, c, &err)) {
        (void)uv_timer_stop(timer);
        return;
    }
    pgv_log(PGV_WARNING, "pg", "the data directory that is being made cannot be marked: %s",
            err.msg);
    uv_timer_set_repeat(timer, AGAIN_MS);
}

bool pgmark_remove(const struct pgconf *c, struct pgv_error *err)
{
    char path[PGCONF_PATH_BYTES + 32];

    mark_path(c, path);
    return pgv_file_remove(path, err);
}

static bool parse(struct pgv_str text, struct pgmark *ret)
{
    struct pgmark m = { 0 };
    struct pgv_str kind, who, token, pid, ticks, rest;
    uint64_t n;

    if (!pgv_str_cut(text, '\n', &kind, &rest) || !pgv_str_cut(rest, '\n', &who, &rest) ||
        !pgv_str_cut(rest, '\n', &token, &rest) || !pgv_str_cut(who, ' ', &pid, &ticks) ||
        !pgv_parse_u64(pid, &n) || n > INT32_MAX || !pgv_parse_u64(ticks, &m.start_ticks) ||
        !pgv_copy(m.token, sizeof(m.token), token))
        return false;
    m.tool = (pid_t)n;
    if (pgv_str_eqz(kind, kinds[PGMARK_CLONE]))
        m.kind = PGMARK_CLONE;
    else if (pgv_str_eqz(kind, kinds[PGMARK_BOOTSTRAP]))
        m.kind = PGMARK_BOOTSTRAP;
    else
        return false;
    *ret = m;
    return true;
}

bool pgmark_read(const struct pgconf *c, struct pgmark *ret, struct pgv_error *err)
{
    char path[PGCONF_PATH_BYTES + 32];
    char text[TEXT_BYTES_MAX]; /* not from a heap that may be empty */
    size_t n;

    mark_path(c, path);
    errno = 0;
    n = pm_read_small(path, text, sizeof(text));
    if (n == 0 && errno == ENOENT) {
        *ret = (struct pgmark){ .kind = PGMARK_NONE };
        return true;
    }
    if (n == 0 && errno != 0)
        return pgv_fail_sys(err, errno, "cannot read '%s'", path);
    return parse((struct pgv_str){ text, n }, ret) ||
           pgv_fail(err, PGV_EINVALID, "pgvigil.unfinished cannot be understood");
}

void pgmark_end_tool(const struct pgmark *m)
{
    struct pm_proc proc;

    if (m->tool <= 1 || !pm_proc_read(m->tool, &proc) || proc.start_ticks != m->start_ticks)
        return;
    if (kill(-m->tool, SIGKILL) == 0)
        pgv_log(PGV_WARNING, "pg",
                "killed what an agent before this one had left at work in the data directory "
                "group=%d",
                (int)m->tool);
}
