/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgwal.c - single WAL records through pg_waldump.
 *
 * A clean shutdown ends with a checkpoint record; with archiving on, a WAL switch stands before
 * it. A standby that has everything up to the switch has all that matters, because the checkpoint
 * record is alone in a segment that may never be sent.
 */
#include "pg/pgwal.h"

#include "base/log.h"
#include "base/parse.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>
#include <sys/wait.h>

#include "base/banned.h"

#define WALDUMP_TIMEOUT_MS 30000

/* ------------------------------------------------------------------------------------- parsing */

/** What follows @label in @line up to @stop; false when the label is not there. */
static bool field(struct pgv_str line, const char *label, char stop, struct pgv_str *ret)
{
    const char *p = line.n ? memmem(line.p, line.n, label, strlen(label)) : NULL;
    struct pgv_str rest, tail;

    if (!p)
        return false;
    rest.p = p + strlen(label);
    rest.n = line.n - (size_t)(rest.p - line.p);
    while (rest.n > 0 && rest.p[0] == ' ') {
        rest.p++;
        rest.n--;
    }
    (void)pgv_str_cut(rest, stop, ret, &tail);
    return true;
}

bool pgwal_parse_record(struct pgv_str line, struct pgwal_record *ret)
{
    struct pgwal_record r = { 0 };
    struct pgv_str text;

    /* the description comes last and may hold anything */
    const char *desc = line.n ? memmem(line.p, line.n, ", desc:", 7) : NULL;
    struct pgv_str head = { line.p, desc ? (size_t)(desc - line.p) : 0 };

    if (!desc || !pgv_str_starts(line, "rmgr:"))
        return false;
    if (!field(head, "rmgr:", ' ', &text) || !pgv_copy(r.rmgr, sizeof(r.rmgr), text))
        return false;
    if (!field(head, ", lsn:", ',', &text) || !pgv_parse_lsn(pgv_str_trim(text), &r.lsn))
        return false;
    if (!field(head, ", prev ", ',', &text) || !pgv_parse_lsn(pgv_str_trim(text), &r.prev))
        return false;
    text = (struct pgv_str){ desc + 7, line.n - (size_t)(desc + 7 - line.p) };
    pgv_copy_cut(r.desc, sizeof(r.desc), pgv_str_trim(text));
    *ret = r;
    return true;
}

/** The only record in an output; false when there is another number of them. */
static bool only_record(struct pgv_str out, struct pgwal_record *ret)
{
    unsigned n = 0;

    while (out.n > 0) {
        struct pgv_str line, tail;

        (void)pgv_str_cut(out, '\n', &line, &tail);
        out = tail;
        if (pgv_str_trim(line).n == 0)
            continue;
        if (++n > 1 || !pgwal_parse_record(line, ret))
            return false;
    }
    return n == 1;
}

bool pgwal_is_shutdown_checkpoint(const struct pgwal_record *r)
{
    /* '… ; shutdown' ends it from 9.5 on; before, the whole of it stands in one line as well.
     * Source: PostgreSQL, xlogdesc.c, xlog_desc(). The description may be cut: see the last word.
     */
    size_t n = strlen(r->desc);

    return strcmp(r->rmgr, "XLOG") == 0 && strncasecmp(r->desc, "checkpoint", 10) == 0 && n > 8 &&
           strcasecmp(r->desc + n - 8, "shutdown") == 0;
}

bool pgwal_is_switch(const struct pgwal_record *r)
{
    return strcmp(r->rmgr, "XLOG") == 0 &&
           (strcmp(r->desc, "xlog switch") == 0 || strcmp(r->desc, "SWITCH") == 0);
}

/** 'error in WAL record at X: invalid record length at Y…' with X == @lsn: Y, else 0. */
static uint64_t end_in_error(struct pgv_str line, uint64_t lsn)
{
    struct pgv_str text, rest;
    uint64_t at, end;

    if (!field(line, "error in WAL record at ", ':', &text) ||
        !pgv_parse_lsn(pgv_str_trim(text), &at) || at != lsn)
        return 0;
    if (!field(line, ": invalid record length at ", ' ', &text))
        return 0;
    /* ': wanted 24' follows up to 15, ': expected at least 24' since 16, nothing up to 9.5 */
    (void)pgv_str_cut(text, ':', &text, &rest);
    return pgv_parse_lsn(pgv_str_trim(text), &end) ? end : 0;
}

uint64_t pgwal_parse_checkpoint_end(struct pgv_str out, struct pgv_str err_out, uint64_t lsn)
{
    struct pgwal_record r;
    struct pgv_str line, tail;

    if (!only_record(out, &r) || r.lsn != lsn)
        return 0;
    err_out = pgv_str_trim(err_out);
    if (pgv_str_cut(err_out, '\n', &line, &tail))
        return 0;
    return end_in_error(line, lsn);
}

/* -------------------------------------------------------------------------------------- asking */

enum { ASK_CHECKPOINT, ASK_PREVIOUS, ASK_END };

static void finish(struct pgwal_query *q, const struct pgv_error *err)
{
    pgconf_unref(q->conf);
    q->conf = NULL;
    q->cb(q, err);
}

static void on_dump(struct pgtool *tool, int status);

static bool dump(struct pgwal_query *q, uint64_t lsn, unsigned records, struct pgv_error *err)
{
    char bin[PGCONF_PATH_BYTES], tl[16], start[PGV_LSN_BYTES], count[8];
    char data[PGCONF_PATH_BYTES + 8];
    const char *cmd = q->major_version >= 100000 ? "pg_waldump" : "pg_xlogdump";
    const char *env[] = { data, NULL };
    const char *argv[] = { bin, "-t", tl, "-s", start, "-n", count, NULL };

    if (!pgconf_bin(q->conf, cmd, bin))
        return pgv_fail(err, PGV_EINVALID, "postgresql.bin_dir: path is too long");
    (void)snprintf(tl, sizeof(tl), "%u", (unsigned)q->timeline);
    pgv_format_lsn(lsn, start);
    (void)snprintf(count, sizeof(count), "%u", records);
    (void)snprintf(data, sizeof(data), "PGDATA=%s", q->conf->data_dir);
    q->tool.data = q;
    return pgtool_start(&q->tool, q->loop, argv, env, WALDUMP_TIMEOUT_MS, on_dump, err);
}

static struct pgv_str first_line(const struct pgv_buf *b)
{
    struct pgv_str line, rest;

    (void)pgv_str_cut(pgv_str_trim(pgv_buf_view(b)), '\n', &line, &rest);
    if (line.n > 100)
        line.n = 100;
    return line;
}

/** One record was asked for; it counts only when nothing was complained about. */
static bool got_record(struct pgtool *tool, struct pgwal_record *ret)
{
    return pgv_str_trim(pgv_buf_view(&tool->child.err_out)).n == 0 &&
           only_record(pgv_buf_view(&tool->child.out), ret);
}

static void on_dump(struct pgtool *tool, int status)
{
    struct pgwal_query *q = tool->data;
    struct pgv_error err = { 0 };
    struct pgwal_record r;
    bool again = false;

    if (q->canceled) {
        (void)pgv_fail(&err, PGV_ECANCELED, "canceled");
    } else if (!WIFEXITED(status) || tool->child.timed_out) { /* not its own word */
        (void)pgv_fail(&err, PGV_EUNREACHABLE, "pg_waldump did not come to its end");
    } else if (q->step == ASK_END) {
        q->end_lsn = pgwal_parse_checkpoint_end(pgv_buf_view(&tool->child.out),
                                                pgv_buf_view(&tool->child.err_out), q->lsn);
    } else if (!got_record(tool, &r)) {
        (void)pgv_fail(&err, PGV_EINVALID, "no record from pg_waldump");
    } else if (q->step == ASK_CHECKPOINT) {
        again = r.lsn == q->lsn && pgwal_is_shutdown_checkpoint(&r);
    } else if (r.lsn == q->prev_lsn && pgwal_is_switch(&r)) {
        again = false;
    } else {
        q->prev_lsn = q->lsn;
    }
    if (err.code == PGV_EINVALID || (q->step == ASK_END && q->end_lsn == 0 && !err.code)) {
        struct pgv_str out = first_line(&tool->child.out), bad = first_line(&tool->child.err_out);
        char how[64];

        pgv_child_describe(status, how, sizeof(how));
        (void)pgv_fail(&err, PGV_EINVALID, "pg_waldump did not tell (%s): '%.*s' '%.*s'", how,
                       (int)out.n, out.p ? out.p : "", (int)bad.n, bad.p ? bad.p : "");
    }
    pgtool_done(tool);
    if (again) {
        q->step = ASK_PREVIOUS;
        q->prev_lsn = r.prev;
        if (dump(q, r.prev, 1, &err))
            return;
    }
    if (err.code)
        q->prev_lsn = q->lsn;
    finish(q, err.code ? &err : NULL);
}

static bool ask(struct pgwal_query *q, uv_loop_t *loop, struct pgconf *c, int major_version,
                uint32_t timeline, uint64_t lsn, int step, unsigned records,
                void (*cb)(struct pgwal_query *q, const struct pgv_error *err),
                struct pgv_error *err)
{
    q->loop = loop;
    q->conf = pgconf_ref(c);
    q->cb = cb;
    q->major_version = major_version;
    q->timeline = timeline;
    q->lsn = q->prev_lsn = lsn;
    q->end_lsn = 0;
    q->step = step;
    q->canceled = false;
    if (dump(q, lsn, records, err))
        return true;
    pgconf_unref(q->conf);
    q->conf = NULL;
    return false;
}

bool pgwal_query_shutdown(struct pgwal_query *q, uv_loop_t *loop, struct pgconf *c,
                          int major_version, uint32_t timeline, uint64_t lsn,
                          void (*cb)(struct pgwal_query *q, const struct pgv_error *err),
                          struct pgv_error *err)
{
    return ask(q, loop, c, major_version, timeline, lsn, ASK_CHECKPOINT, 1, cb, err);
}

bool pgwal_query_end(struct pgwal_query *q, uv_loop_t *loop, struct pgconf *c, int major_version,
                     uint32_t timeline, uint64_t lsn,
                     void (*cb)(struct pgwal_query *q, const struct pgv_error *err),
                     struct pgv_error *err)
{
    return ask(q, loop, c, major_version, timeline, lsn, ASK_END, 2, cb, err);
}

void pgwal_query_cancel(struct pgwal_query *q)
{
    if (!q->conf)
        return;
    q->canceled = true;
    pgtool_cancel(&q->tool);
}
