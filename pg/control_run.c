/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/control_run.c - running pg_controldata, when the file may have changed and not more often.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

#define TOOL_MS 10000
/** A file that changed within the last clock tick may change again without a new time. */
#define SETTLE_NS 20000000

static bool file_path(const struct postmaster_impl *im, char ret[PGCONF_PATH_BYTES + 32])
{
    (void)snprintf(ret, PGCONF_PATH_BYTES + 32, "%s/global/pg_control", im->conf->data_dir);
    return true;
}

static bool stamp(const struct postmaster_impl *im, struct pgv_file_stamp *ret)
{
    char path[PGCONF_PATH_BYTES + 32];

    return file_path(im, path) && pgv_file_stamp(path, ret);
}

/* The numbers of DBState. Source: PostgreSQL, src/include/catalog/pg_control.h: system identifier,
 * two 32-bit versions, then the state, in the machine's byte order; the same from 9.3 to 18. */
#define STATE_OFFSET 16

enum postmaster_control_state pm_control_hint(const struct postmaster_impl *im)
{
    static const enum postmaster_control_state states[] = {
        PM_CONTROL_STARTING_UP,   PM_CONTROL_SHUT_DOWN,         PM_CONTROL_SHUT_DOWN_IN_RECOVERY,
        PM_CONTROL_SHUTTING_DOWN, PM_CONTROL_IN_CRASH_RECOVERY, PM_CONTROL_IN_ARCHIVE_RECOVERY,
        PM_CONTROL_IN_PRODUCTION,
    };
    char path[PGCONF_PATH_BYTES + 32];
    uint32_t state;
    ssize_t n;
    int fd;

    if (!file_path(im, path))
        return PM_CONTROL_UNKNOWN;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return PM_CONTROL_UNKNOWN;
    n = pread(fd, &state, sizeof(state), STATE_OFFSET);
    close(fd);
    if (n != (ssize_t)sizeof(state) || state >= sizeof(states) / sizeof(states[0]))
        return PM_CONTROL_UNKNOWN;
    return states[state];
}

void pm_rewind_possible(struct postmaster_impl *im)
{
    struct postmaster_facts *f = &im->pm->facts;
    bool possible = im->conf->use_pg_rewind && im->prep.rewind_works && im->control.ok &&
                    (im->control.wal_log_hints || im->control.checksums);

    if (f->rewind_possible != possible) {
        f->rewind_possible = possible;
        pm_changed(im);
    }
}

static void take(struct postmaster_impl *im, const struct pm_control *c)
{
    struct postmaster_facts *f = &im->pm->facts;

    im->control = *c;
    f->control_state = c->state;
    f->control_timeline = c->checkpoint_known ? c->checkpoint_timeline : 0;
    f->control_checkpoint = c->checkpoint_known ? c->checkpoint : 0;
    pgv_copy_cut(f->sysid, sizeof(f->sysid),
                 im->bootstrapping ? (struct pgv_str){ 0 } : pgv_str(c->sysid));
    /* Contract pg §2: unreadable control data is as good as no data directory. */
    if (!c->ok && !f->alive && !im->job.active)
        pm_set_role(im, PGV_ROLE_UNINITIALIZED);
    pm_rewind_possible(im);
    pm_changed(im);
}

static bool run(struct postmaster_impl *im);

static void on_end(struct pgtool *t, int status)
{
    struct postmaster_impl *im = t->data;
    struct pm_control c = { 0 };
    struct pgv_file_stamp now;
    bool ok;

    im->ctl.busy = false;
    ok = pgtool_ok(status) && pm_control_parse(pgv_buf_view(&t->child.out), &c);
    im->ctl.known = ok;
    if (ok) {
        take(im, &c);
    } else if (!im->closing) {
        char how[80];

        pgv_child_describe(status, how, sizeof(how));
        pgv_log(PGV_ERROR, "pg", "pg_controldata failed how='%s': %.*s", how,
                (int)strcspn(pgv_buf_cstr(&t->child.err_out), "\n"),
                pgv_buf_cstr(&t->child.err_out));
        /* Only its own word counts against the file; one that was killed or could not run leaves
         * what was known, and the next look asks again. */
        if (WIFEXITED(status) && !t->child.timed_out)
            take(im, &(struct pm_control){ 0 });
    }
    pgtool_done(t);
    /* It changed while it was read, as when the server ended just then: who waits wants the end. */
    if (ok && !im->closing && !im->pm->facts.alive && stamp(im, &now) &&
        !pgv_file_stamp_same(&now, &im->ctl.stamp) && run(im))
        return;
    pm_tell(im, &im->ctl.waiters);
}

static bool run(struct postmaster_impl *im)
{
    char path[PGCONF_PATH_BYTES];
    const char *argv[] = { path, im->conf->data_dir, NULL };
    struct pgv_error err = { 0 };

    (void)stamp(im, &im->ctl.stamp);
    im->ctl.settled = pgv_file_stamp_settled(&im->ctl.stamp, SETTLE_NS);
    im->ctl.tool.data = im;
    if (!pgconf_bin(im->conf, "pg_controldata", path) ||
        !pgtool_start(&im->ctl.tool, im->loop, argv, NULL, TOOL_MS, on_end, &err)) {
        pgv_log(PGV_ERROR, "pg", "cannot run pg_controldata: %s", err.msg);
        return false;
    }
    im->ctl.busy = true;
    return true;
}

bool pm_control_ready(struct postmaster_impl *im, pm_next next)
{
    const struct postmaster_facts *f = &im->pm->facts;
    struct pgv_file_stamp now;

    if (im->ctl.busy) {
        pm_wait(&im->ctl.waiters, next);
        return false;
    }
    if (im->closing)
        return true;
    /* Contract pg §9.1: not while there is nothing to read, or somebody writes it. */
    if (f->dir != PM_DIR_OK || f->major_version == 0 || f->state == PGV_STATE_CREATING_REPLICA ||
        !stamp(im, &now)) {
        im->ctl.known = false;
        if (im->control.ok || f->control_state != PM_CONTROL_UNKNOWN)
            take(im, &(struct pm_control){ 0 });
        return true;
    }
    /* Of a running server only what never changes is of interest. */
    if (im->ctl.known && (f->alive ? now.dev == im->ctl.stamp.dev && now.ino == im->ctl.stamp.ino
                                   : im->ctl.settled && pgv_file_stamp_same(&now, &im->ctl.stamp)))
        return true;
    if (!run(im))
        return true;
    pm_wait(&im->ctl.waiters, next);
    return false;
}
