/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/unfinished.c - a data directory whose making was broken off, see pg/pgmark.h: what it counts
 * as, and when the mark is older than what is there.
 *
 * Somebody who does not know the mark may have finished the work, Patroni for one, and leaves it
 * where it is. So a copy that a server runs on is complete, and so is a cluster whose identity the
 * store tells: our own bootstrap takes its mark away before it writes that.
 */
#include "pg/postmaster_impl.h"

#include "base/log.h"
#include "pg/pgmark.h"

#include <errno.h>

#include "base/banned.h"

enum postmaster_dir pm_unfinished_state(const struct postmaster_impl *im, char ret_why[96])
{
    struct pgmark mark;
    struct pgv_error err = { 0 };

    if (!pgmark_read(im->conf, &mark, &err)) {
        pgv_copy_cut(ret_why, 96, pgv_str(err.msg));
        errno = err.sys;
        return PM_DIR_UNREADABLE;
    }
    switch (mark.kind) {
    case PGMARK_CLONE:
        return PM_DIR_EMPTY;
    case PGMARK_BOOTSTRAP:
        return PM_DIR_UNFINISHED;
    case PGMARK_NONE:
        break;
    }
    return PM_DIR_OK;
}

/* A copy is never started before it is complete and without its mark. */
static bool was_started(const struct postmaster_impl *im)
{
    struct pm_pidfile file;
    struct pm_proc proc;
    struct pm_whose whose;

    pm_whose(im, &whose);
    return pm_server_pidfile(im, &file) && pm_proc_read(file.pid, &proc) &&
           pm_judge(&proc, &file, &whose) != PM_NOT_POSTMASTER;
}

void pm_unfinished_end(struct postmaster_impl *im)
{
    struct pgmark mark;
    struct pgv_error err = { 0 };

    im->pm->bootstrap_token[0] = '\0';
    pgrewind_end_left(im->conf);
    if (!pgmark_read(im->conf, &mark, &err) || mark.kind == PGMARK_NONE)
        return;
    if (mark.kind == PGMARK_CLONE && was_started(im)) {
        if (!pgmark_remove(im->conf, &err))
            pgv_log(PGV_ERROR, "pg", "%s", err.msg);
        return;
    }
    pgv_log(PGV_WARNING, "pg",
            mark.kind == PGMARK_CLONE
                ? "the copy in the data directory was not finished, it counts as empty"
                : "the new cluster in the data directory was not finished, it is begun anew");
    pgmark_end_tool(&mark);
    memcpy(im->pm->bootstrap_token, mark.token, sizeof(mark.token));
}

bool postmaster_published(struct postmaster *pm, const char *sysid)
{
    struct postmaster_impl *im = pm->impl;
    struct pgv_error err = { 0 };
    char ours[24];

    if (pm->facts.dir != PM_DIR_UNFINISHED || !pgdata_sysid(im->conf->data_dir, ours) ||
        strcmp(ours, sysid) != 0)
        return false;
    if (!pgmark_remove(im->conf, &err)) {
        pgv_log(PGV_ERROR, "pg", "%s", err.msg);
        return false;
    }
    pgv_log(PGV_INFO, "pg", "the new cluster in the data directory was finished by somebody else");
    pm_read_dir(im);
    pm->facts.role = pm_role_of_dir(im);
    if (!pm->facts.alive && pm->facts.role == PGV_ROLE_PRIMARY)
        pm->facts.role = PGV_ROLE_DEMOTED; /* contract pg §2.3 */
    (void)pm_control_ready(im, pm_find_version);
    return true;
}
