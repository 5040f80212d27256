/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/server.c - the postmaster as a process: spawned by us or found, its end, signals to it.
 *
 * We are the parent of what we spawn, so its status is known and reaped at once; in a session of
 * its own it survives us. One that was there before us (an agent restarted, Patroni's) is watched
 * through a pidfd and tells as quickly.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/banned.h"

#define PIDFILE_BYTES_MAX 8192 /* PostgreSQL itself reads no more than a block */

extern char **environ;

void pm_whose(const struct postmaster_impl *im, struct pm_whose *ret)
{
    *ret = (struct pm_whose){
        .self = getpid(),
        .parent = getppid(),
        .data_dir = im->data_dir_real[0] ? im->data_dir_real : im->conf->data_dir,
        .postgres = im->postgres_path,
    };
}

bool pm_server_pidfile(const struct postmaster_impl *im, struct pm_pidfile *ret)
{
    /* Not from a heap that may be empty: whether a server is there must not depend on it. */
    static char text[PIDFILE_BYTES_MAX];
    char path[PGCONF_PATH_BYTES + 32];
    struct pgv_error err = { 0 };
    size_t n;

    (void)snprintf(path, sizeof(path), "%s/postmaster.pid", im->conf->data_dir);
    n = pm_read_small(path, text, sizeof(text));
    if (n == 0)
        return false;
    if (pm_pidfile_parse((struct pgv_str){ text, n }, ret, &err))
        return true;
    pgv_log(PGV_DEBUG, "pg", "cannot use postmaster.pid: %s", err.msg);
    return false;
}

bool pm_server_single_user(const struct postmaster_impl *im)
{
    struct pm_pidfile file;
    struct pm_proc proc;
    struct pm_whose whose;

    if (!pm_server_pidfile(im, &file) || !file.single_user || !pm_proc_read(file.pid, &proc))
        return false;
    pm_whose(im, &whose);
    return pm_proc_is_postgres(&proc, &whose);
}

/* ---- its end ---- */

static void on_child_end(struct pgv_child *c, int status)
{
    struct postmaster_impl *im = c->data;

    pgv_child_done(c);
    if (im->server.releasing) {
        im->server.released = true;
        return;
    }
    im->server.ours = false;
    pm_on_server_gone(im, status);
}

static void on_watch_end(struct pgv_pidwatch *w)
{
    struct postmaster_impl *im = w->data;

    if (im->server.releasing) {
        im->server.released = true;
        return;
    }
    pm_on_server_gone(im, -1);
}

static void lives(struct postmaster_impl *im, pid_t pid)
{
    struct postmaster_facts *f = &im->pm->facts;

    f->alive = true;
    f->pid = pid;
    f->accepting = false;
    pm_changed(im);
}

/* ---- finding ---- */

bool pm_server_find(struct postmaster_impl *im)
{
    struct pm_pidfile file;
    struct pm_proc proc;
    struct pm_whose whose;
    struct pgv_error err = { 0 };
    enum pm_verdict verdict;

    if (im->pm->facts.alive)
        return true;
    if (im->closing || !pm_server_pidfile(im, &file) || file.single_user ||
        !pm_proc_read(file.pid, &proc) || proc.state == 'Z' || proc.state == 'X')
        return false;
    pm_whose(im, &whose);
    verdict = pm_judge(&proc, &file, &whose);
    if (verdict == PM_NOT_POSTMASTER) {
        if (im->server.fake != file.pid)
            pgv_log(PGV_WARNING, "pg",
                    "postmaster.pid names a process that is no postmaster pid=%d", (int)file.pid);
        im->server.fake = file.pid;
        return false;
    }
    if (verdict == PM_IS_POSTMASTER_UNPROVEN)
        pgv_log(PGV_WARNING, "pg",
                "the working directory of the postmaster cannot be read, taking it for ours pid=%d",
                (int)file.pid);
    im->server.watch.data = im;
    if (!pgv_pidwatch_open(im->loop, &im->server.watch, file.pid, on_watch_end, &err))
        return false; /* it has gone just now */
    im->server.ours = false;
    im->server.fake = 0;
    lives(im, file.pid);
    im->pending = PM_PENDING_DEFAULT;
    pm_set_state(im, PGV_STATE_STARTING);
    pm_probe_on(im);
    return true;
}

/* ---- spawning ---- */

/* PostgreSQL's own convention: who protects the postmaster from the OOM killer names in
 * PG_OOM_ADJUST_FILE what its children get back. The agent may be protected by its unit; PostgreSQL
 * shall have the score the machine gives by default, unless the user says otherwise. */
static bool add_oom(struct pgtool_args *env)
{
    char text[16] = "";
    int fd;
    ssize_t n;

    if (getenv("PG_OOM_ADJUST_FILE"))
        return true;
    fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n > 0 && text[0] == '-')
        pgtool_args_add(env, "PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj");
    return !env->failed;
}

/* Contract pg §4: ours, without what is meant for the agent alone. */
static bool make_env(struct postmaster_impl *im, struct pgtool_args *env)
{
    static const char *const dropped[] = { "NOTIFY_SOCKET=", "PATRONI_", "KUBERNETES_",
                                           "PG_GRANDPARENT_PID=", "MALLOC_ARENA_MAX=" };
    static const char arena_max[] = "PG_MALLOC_ARENA_MAX=";
    struct pm_pidfile file;
    struct pm_proc proc;
    struct pm_whose whose;

    for (char **e = environ; *e; e++) {
        bool keep = true;

        if (strncmp(*e, arena_max, sizeof(arena_max) - 1) == 0) {
            /* An empty one says: not at all, whatever the agent itself has. */
            if ((*e)[sizeof(arena_max) - 1])
                pgtool_args_add(env, *e + 3);
            continue;
        }
        for (size_t i = 0; keep && i < sizeof(dropped) / sizeof(dropped[0]); i++)
            keep = strncmp(*e, dropped[i], strlen(dropped[i])) != 0;
        /* Only PG_MALLOC_ARENA_MAX takes MALLOC_ARENA_MAX's place. */
        if (!keep && strncmp(*e, "MALLOC_ARENA_MAX=", 17) == 0 && !getenv("PG_MALLOC_ARENA_MAX"))
            keep = true;
        if (keep)
            pgtool_args_add(env, *e);
    }
    /* A recycled number in postmaster.pid would make the new postmaster believe that an old one
     * lives; that process named as its grandparent it does not. Never remove the file. */
    pm_whose(im, &whose);
    if (pm_server_pidfile(im, &file) && pm_proc_read(file.pid, &proc) &&
        !(pm_proc_is_postgres(&proc, &whose) && strcmp(proc.cwd, whose.data_dir) == 0))
        pgtool_args_addf(env, "PG_GRANDPARENT_PID=%d", (int)file.pid);
    return add_oom(env);
}

bool pm_server_spawn(struct postmaster_impl *im, const char *const *argv, struct pgv_error *err)
{
    struct pgv_child_options o = { .argv = argv, .inherit_output = true, .new_session = true };
    struct pgv_arena arena;
    struct pgtool_args *env;
    bool ok = false;

    pgv_arena_init(&arena, PM_ARENA_BYTES_MAX);
    env = pgv_arena_alloc(&arena, sizeof(*env));
    if (!env) {
        (void)pgv_fail(err, PGV_ENOMEM, "no room for the environment of postgres");
        goto out;
    }
    pgtool_args_init(env, &arena);
    if (!make_env(im, env) || env->failed) {
        (void)pgv_fail(err, PGV_ENOMEM, "the environment is too large for postgres");
        goto out;
    }
    o.env = env->v;
    im->server.child.data = im;
    if (!pgv_child_start(im->loop, &im->server.child, &o, on_child_end, err))
        goto out;
    im->server.ours = true;
    im->server.fake = 0;
    im->server.spawned_ms = pgv_clock_ms();
    pgv_log(PGV_INFO, "pg", "postmaster pid=%d", (int)im->server.child.pid);
    lives(im, im->server.child.pid);
    ok = true;
out:
    pgv_arena_done(&arena);
    return ok;
}

/* ---- signals ---- */

bool pm_server_signal(struct postmaster_impl *im, int sig)
{
    const struct postmaster_facts *f = &im->pm->facts;

    /* Its number cannot be another's: our child is not reaped before we know of its end, and a
     * found one is watched. */
    if (!f->alive || f->pid <= 0)
        return false;
    if (kill(f->pid, sig) != 0) {
        if (errno != ESRCH)
            pgv_log(PGV_WARNING, "pg", "cannot signal the postmaster pid=%d signal=%d: %s",
                    (int)f->pid, sig, strerror(errno));
        return errno == ESRCH;
    }
    return true;
}

static pid_t pids[PM_FAMILY_MAX]; /* not on the stack, not from a heap that may be empty */

void pm_server_kill_tree(struct postmaster_impl *im)
{
    const struct postmaster_facts *f = &im->pm->facts;
    unsigned n;

    if (!f->alive || f->pid <= 0)
        return;
    /* Stopped, it cannot make new children while the old ones are looked up. */
    (void)kill(f->pid, SIGSTOP);
    n = pm_proc_descendants(f->pid, pids, PM_FAMILY_MAX);
    pgv_log(PGV_WARNING, "pg", "Sending SIGKILL to Postmaster and its children pid=%d children=%u",
            (int)f->pid, n);
    (void)kill(f->pid, SIGKILL);
    for (unsigned i = 0; i < n; i++)
        (void)kill(pids[i], SIGKILL);
}

static bool has_postmaster(pid_t pid, const struct pm_whose *whose)
{
    struct pm_proc proc, parent;

    return pm_proc_read(pid, &proc) && pm_proc_read(proc.ppid, &parent) &&
           pm_proc_is_postgres(&parent, whose);
}

unsigned pm_server_end_orphans(const struct pm_whose *whose, const pid_t *left, unsigned n, int sig)
{
    unsigned sent = 0;

    for (unsigned i = 0; i < n; i++)
        if (pm_proc_is_backend(left[i]) && !has_postmaster(left[i], whose) &&
            kill(left[i], sig) == 0)
            sent++;
    if (sent > 0)
        pgv_log(PGV_WARNING, "pg",
                "ending backends that their postmaster has left behind count=%u signal=%d", sent,
                sig);
    return sent;
}

void pm_server_kill_orphans(struct postmaster_impl *im)
{
    struct pm_whose whose;

    pm_whose(im, &whose);
    (void)pm_server_end_orphans(&whose, pids, pm_proc_leftovers(&whose, 0, pids, PM_FAMILY_MAX),
                                SIGKILL);
}

/* ---- closing ---- */

static void on_watch_closed(struct pgv_pidwatch *w)
{
    struct postmaster_impl *im = w->data;

    im->server.released = true;
}

void pm_server_release(struct postmaster_impl *im)
{
    im->server.releasing = true;
    if (im->pm->facts.alive && im->server.ours)
        pgv_child_abandon(&im->server.child);
    else if (im->pm->facts.alive)
        pgv_pidwatch_close(&im->server.watch, on_watch_closed);
    else
        im->server.released = true;
}

bool pm_server_released(const struct postmaster_impl *im)
{
    return im->server.released;
}
