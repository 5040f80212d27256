/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/process.h - finding the postmaster of a data directory, and its family, in /proc.
 *
 * postmaster.pid may be stale and its number may meanwhile belong to somebody else, so what it
 * names is believed only after a look at the process itself. The rules are a pure function over
 * what was read; reading is synchronous and small.
 */
#pragma once

#include "base/buf.h"

#include <limits.h>
#include <sys/types.h>

/** The first lines of postmaster.pid. Source: PostgreSQL, src/include/utils/pidfile.h. */
struct pm_pidfile {
    pid_t pid;        /* positive */
    bool single_user; /* the number was negative: a single-user backend has the directory */
    char data_dir[PATH_MAX];
    int64_t start_time_s; /* 0: unknown; wall time */
    int port;             /* 0: unknown */
    char status[16];      /* from 10 on "starting", "stopping", "ready", "standby"; else empty */
};

/** False (PGV_EINVALID) when there is no pid in it. */
bool pm_pidfile_parse(struct pgv_str text, struct pm_pidfile *ret,
                      struct pgv_error *err) PGV_MUST_CHECK;

/** A small file into @buf, without allocating; its length, or 0 (errno is open's or read's). */
size_t pm_read_small(const char *path, char *buf, size_t bytes);

/** What /proc tells about a process. */
struct pm_proc {
    pid_t pid, ppid;
    char state;           /* 'R', 'S', 'Z', … */
    uint64_t start_ticks; /* field 22 of stat: with the pid, names one process for ever */
    int64_t start_wall_s; /* 0: unknown */
    char exe[PATH_MAX];   /* empty: unknown (another user's, or a kernel thread) */
    char cwd[PATH_MAX];   /* empty: unknown */
};

/** False when no such process is there (any more). */
bool pm_proc_read(pid_t pid, struct pm_proc *ret) PGV_MUST_CHECK;
/** /proc/PID/stat: pid, state, ppid, start_ticks. Pure; the command name may hold anything. */
bool pm_proc_parse_stat(struct pgv_str text, struct pm_proc *ret) PGV_MUST_CHECK;

/** Its executable is the configured binary's, by base name, or 'postmaster'. */
struct pm_whose;
bool pm_proc_is_postgres(const struct pm_proc *p, const struct pm_whose *whose);

enum pm_verdict {
    PM_NOT_POSTMASTER,
    PM_IS_POSTMASTER,
    PM_IS_POSTMASTER_UNPROVEN, /* its working directory cannot be read: accepted with a warning */
};

/** Who asks, and what the postmaster should look like. */
struct pm_whose {
    pid_t self, parent;   /* the agent and its parent */
    const char *data_dir; /* resolved */
    const char *postgres; /* base name of the configured binary */
};

/**
 * Is @proc the postmaster that @file speaks of? Contract: the agent itself and its parent never
 * are; a start time within 3 s decides, unless executable and working directory both are others (a
 * container that is started again at once uses the same numbers); else these two. A direct child of
 * the agent counts by executable and directory only, its start time proves nothing (a callback
 * may have got a recycled number).
 */
enum pm_verdict pm_judge(const struct pm_proc *proc, const struct pm_pidfile *file,
                         const struct pm_whose *whose);

#define PM_FAMILY_MAX 4096
/** Pids of descendants of @root, at most @max, which is not 0; each after its parent. */
unsigned pm_proc_descendants(pid_t root, pid_t *ret, unsigned max);
/**
 * Backends that outlived their postmaster: processes of the postgres binary working in the data
 * directory, other than @except and its descendants. They hold the shared memory that keeps a new
 * postmaster from starting.
 */
unsigned pm_proc_leftovers(const struct pm_whose *whose, pid_t except, pid_t *ret, unsigned max);
/** Other processes whose command line has @wanted (NULL at its end) one after the other. */
unsigned pm_proc_with_arguments(const char *const *wanted, pid_t *ret, unsigned max);
/** It has a backend's title ('postgres: …'), which neither a postmaster nor a single-user server
 *  has: those are started with a command line that stays. */
bool pm_proc_is_backend(pid_t pid);
