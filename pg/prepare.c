/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/prepare.c - facts about the binaries: their version, parameters that only they know, whether
 * pg_rewind works. Asked once, and again when the file was replaced by an upgrade, or when a
 * program could not be run or was killed: that says nothing about it.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>

#include "base/banned.h"

#define TOOL_MS 10000
#define AGAIN_MS 10000

static void finish(struct postmaster_impl *im)
{
    im->prep.busy = false;
    im->prep.done = true;
    pm_find_version(im);
    pm_rewind_possible(im);
    pm_tell(im, &im->prep.waiters);
}

static void not_told(struct postmaster_impl *im)
{
    im->prep.again_ms = pgv_clock_ms() + AGAIN_MS;
}

/* Whether it came to its end by itself. */
static bool told(const struct pgtool *t, int status)
{
    return WIFEXITED(status) && !t->child.timed_out;
}

static void on_rewind_help(struct pgtool *t, int status)
{
    struct postmaster_impl *im = t->data;

    /* In doubt it works: a run that fails is tried again, but where it is said not to work a
     * diverged data directory may be removed instead. */
    im->prep.rewind_works = pgtool_ok(status) || !told(t, status);
    if (!told(t, status))
        not_told(im);
    pgtool_done(t);
    finish(im);
}

static void ask_rewind(struct postmaster_impl *im)
{
    char path[PGCONF_PATH_BYTES];
    const char *argv[] = { path, "--help", NULL };
    struct pgv_error err = { 0 };

    im->prep.rewind_works = false;
    im->prep.tool.data = im;
    if (im->closing || !im->conf->use_pg_rewind || !pgconf_bin(im->conf, "pg_rewind", path)) {
        finish(im);
        return;
    }
    if (pgtool_start(&im->prep.tool, im->loop, argv, NULL, TOOL_MS, on_rewind_help, &err))
        return;
    if (err.sys != ENOENT && err.sys != EACCES && err.sys != ENOEXEC) {
        im->prep.rewind_works = true;
        not_told(im);
    }
    finish(im);
}

static void on_names(struct pgguc_query *q, bool ok)
{
    (void)ok; /* logged; then only the names of our table are known */
    ask_rewind(q->data);
}

static void on_version(struct pgtool *t, int status)
{
    struct postmaster_impl *im = t->data;
    struct pgv_error err = { 0 };
    int major = im->pm->facts.major_version;

    im->prep.binary_version =
        pgtool_ok(status) ? pgtool_parse_version(pgv_buf_view(&t->child.out)) : 0;
    if (!told(t, status))
        not_told(im);
    if (im->prep.binary_version == 0 && !im->closing)
        pgv_log(PGV_WARNING, "pg", "cannot tell the version of the server binary path=%s",
                im->postgres_path);
    pgtool_done(t);
    pm_find_version(im);
    im->prep.guc.data = im;
    if (major == 0)
        major = im->prep.binary_version >= 100000 ? im->prep.binary_version / 10000 * 10000
                                                  : im->prep.binary_version / 100 * 100;
    if (im->closing || major == 0 ||
        !pgguc_query_start(&im->prep.guc, im->loop, im->postgres_path, major, &im->prep.names,
                           on_names, &err))
        ask_rewind(im);
}

bool pm_prepared(struct postmaster_impl *im, pm_next next)
{
    const char *argv[] = { im->postgres_path, "--version", NULL };
    struct pgv_error err = { 0 };
    struct pgv_file_stamp now;

    if (!im->prep.busy) {
        (void)pgv_file_stamp(im->postgres_path, &now); /* of PATH: has none, and is asked once */
        if (im->prep.done && pgv_file_stamp_same(&now, &im->prep.stamp) &&
            (!im->prep.again_ms || pgv_clock_ms() < im->prep.again_ms))
            return true;
        if (im->closing)
            return true;
        im->prep.again_ms = 0;
        im->prep.stamp = now;
        im->prep.tool.data = im;
        if (!pgtool_start(&im->prep.tool, im->loop, argv, NULL, TOOL_MS, on_version, &err)) {
            pgv_log(PGV_WARNING, "pg", "cannot tell the version of the server binary: %s", err.msg);
            return true;
        }
        im->prep.busy = true;
    }
    pm_wait(&im->prep.waiters, next);
    return false;
}

void pm_prepare_forget(struct postmaster_impl *im)
{
    im->prep.done = false;
}

void pm_prepare_cancel(struct postmaster_impl *im)
{
    im->prep.waiters.n = 0;
    if (!im->prep.busy)
        return;
    pgtool_cancel(&im->prep.tool);
    pgguc_query_cancel(&im->prep.guc);
}
