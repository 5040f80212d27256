/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/process.c - finding the postmaster of a data directory, and its family, in /proc.
 *
 * Everything in /proc may vanish between two reads; a process that does is simply not there.
 */
#include "pg/process.h"

#include "base/parse.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/banned.h"

/** Source: Patroni, PostmasterProcess._is_postmaster_process: 3 s between file and process. */
#define START_TIME_TOLERANCE_S 3

static bool parse_i64(struct pgv_str s, int64_t *ret)
{
    bool negative = s.n > 0 && s.p[0] == '-';
    uint64_t n;

    if (negative) {
        s.p++;
        s.n--;
    }
    if (!pgv_parse_u64(s, &n) || n > INT64_MAX)
        return false;
    *ret = negative ? -(int64_t)n : (int64_t)n;
    return true;
}

bool pm_pidfile_parse(struct pgv_str text, struct pm_pidfile *ret, struct pgv_error *err)
{
    struct pm_pidfile f = { 0 };
    struct pgv_str line;
    int64_t n;

    for (unsigned i = 0; i < 8 && text.n > 0; i++) {
        if (!pgv_str_cut(text, '\n', &line, &text))
            text.n = 0;
        line = pgv_str_trim(line);
        switch (i) {
        case 0:
            if (!parse_i64(line, &n) || n == 0 || n > INT32_MAX || n < -INT32_MAX)
                return pgv_fail(err, PGV_EINVALID, "postmaster.pid does not start with a pid");
            f.single_user = n < 0;
            f.pid = (pid_t)(n < 0 ? -n : n);
            break;
        case 1:
            if (!pgv_copy(f.data_dir, sizeof(f.data_dir), line))
                f.data_dir[0] = '\0';
            break;
        case 2:
            if (parse_i64(line, &n) && n > 0)
                f.start_time_s = n;
            break;
        case 3:
            if (parse_i64(line, &n) && n > 0 && n <= 65535)
                f.port = (int)n;
            break;
        case 7:
            if (!pgv_copy(f.status, sizeof(f.status), line))
                f.status[0] = '\0';
            break;
        default:
            break;
        }
    }
    if (f.pid == 0)
        return pgv_fail(err, PGV_EINVALID, "postmaster.pid is empty");
    *ret = f;
    return true;
}

bool pm_proc_parse_stat(struct pgv_str text, struct pm_proc *ret)
{
    /* pid (comm) state ppid pgrp session … starttime is the 22nd. The name may hold blanks and
     * parentheses, so count from the last one. Source: proc(5). */
    struct pgv_str head, rest, field;
    const char *close = NULL;
    uint64_t n;
    struct pm_proc p = { 0 };

    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == ')')
            close = text.p + i;
    if (!close || !pgv_str_cut(text, ' ', &head, &rest) || !pgv_parse_u64(head, &n) || n == 0 ||
        n > INT32_MAX)
        return false;
    p.pid = (pid_t)n;
    rest.p = close + 1;
    rest.n = text.n - (size_t)(close + 1 - text.p);
    rest = pgv_str_trim(rest);
    for (unsigned i = 3; i <= 22; i++) {
        bool last = !pgv_str_cut(rest, ' ', &field, &rest);

        if (last && i < 22)
            return false;
        if (i == 3) {
            if (field.n != 1)
                return false;
            p.state = field.p[0];
        } else if (i == 4) {
            if (!pgv_parse_u64(field, &n) || n > INT32_MAX)
                return false;
            p.ppid = (pid_t)n;
        } else if (i == 22) {
            if (!pgv_parse_u64(pgv_str_trim(field), &p.start_ticks))
                return false;
        }
    }
    *ret = p;
    return true;
}

size_t pm_read_small(const char *path, char *buf, size_t bytes)
{
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    do
        n = read(fd, buf, bytes);
    while (n < 0 && errno == EINTR);
    close(fd);
    return n > 0 ? (size_t)n : 0;
}

static void read_link(const char *path, char *ret, size_t bytes)
{
    static const char gone[] = " (deleted)";
    ssize_t n = readlink(path, ret, bytes - 1);

    if (n < 0)
        n = 0;
    ret[n] = '\0';
    /* The binary was replaced by a package upgrade while it ran: still the same program. */
    if ((size_t)n > sizeof(gone) - 1 && strcmp(ret + n - (sizeof(gone) - 1), gone) == 0)
        ret[(size_t)n - (sizeof(gone) - 1)] = '\0';
}

/* Seconds since the epoch at which the machine started, or 0. It moves when the wall clock is
 * stepped, as does nothing else we could compare with, so it is read each time. */
static int64_t boot_wall_s(void)
{
    struct timespec wall, boot;

    if (clock_gettime(CLOCK_REALTIME, &wall) != 0 || clock_gettime(CLOCK_BOOTTIME, &boot) != 0)
        return 0;
    return wall.tv_sec - boot.tv_sec;
}

/* stat only: enough for walking the tree, a third of the cost. */
static bool read_stat(pid_t pid, struct pm_proc *ret)
{
    char path[64], text[1024];
    size_t n;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    n = pm_read_small(path, text, sizeof(text));
    return n > 0 && pm_proc_parse_stat((struct pgv_str){ text, n }, ret);
}

static void read_links(struct pm_proc *p)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)p->pid);
    read_link(path, p->exe, sizeof(p->exe));
    (void)snprintf(path, sizeof(path), "/proc/%d/cwd", (int)p->pid);
    read_link(path, p->cwd, sizeof(p->cwd));
}

bool pm_proc_read(pid_t pid, struct pm_proc *ret)
{
    long hz = sysconf(_SC_CLK_TCK);
    int64_t boot = boot_wall_s();

    if (!read_stat(pid, ret))
        return false;
    if (hz > 0 && boot > 0)
        ret->start_wall_s = boot + (int64_t)(ret->start_ticks / (uint64_t)hz);
    read_links(ret);
    return true;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

bool pm_proc_is_postgres(const struct pm_proc *p, const struct pm_whose *whose)
{
    const char *name = base_name(p->exe);

    return p->exe[0] &&
           (strcmp(name, base_name(whose->postgres)) == 0 || strcmp(name, "postmaster") == 0);
}

enum pm_verdict pm_judge(const struct pm_proc *proc, const struct pm_pidfile *file,
                         const struct pm_whose *whose)
{
    bool child = proc->ppid == whose->self;
    int64_t apart = proc->start_wall_s - file->start_time_s;
    /* A postmaster works in its data directory. Either may look different from where we are. */
    bool stranger = proc->exe[0] && !pm_proc_is_postgres(proc, whose) && proc->cwd[0] &&
                    strcmp(proc->cwd, whose->data_dir) != 0;

    if (proc->pid == whose->self || proc->pid == whose->parent)
        return PM_NOT_POSTMASTER;
    if (proc->state == 'Z' || proc->state == 'X')
        return PM_NOT_POSTMASTER;
    if (!child && !stranger && file->start_time_s > 0 && proc->start_wall_s > 0 &&
        apart <= START_TIME_TOLERANCE_S && apart >= -START_TIME_TOLERANCE_S)
        return PM_IS_POSTMASTER;
    if (!pm_proc_is_postgres(proc, whose))
        return PM_NOT_POSTMASTER;
    if (proc->cwd[0])
        return strcmp(proc->cwd, whose->data_dir) == 0 ? PM_IS_POSTMASTER : PM_NOT_POSTMASTER;
    return child ? PM_NOT_POSTMASTER : PM_IS_POSTMASTER_UNPROVEN;
}

/* Calls @each with every pid there is. */
static void each_pid(bool (*each)(pid_t pid, void *data), void *data)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    uint64_t pid;

    if (!dir)
        return;
    while ((entry = readdir(dir)) != NULL)
        if (pgv_parse_u64(pgv_str(entry->d_name), &pid) && pid > 0 && pid <= INT32_MAX &&
            !each((pid_t)pid, data))
            break;
    closedir(dir);
}

struct family {
    pid_t root, *pid;
    unsigned n, max;
    bool grown;
};

static bool belongs(const struct family *f, pid_t pid)
{
    for (unsigned i = 0; i < f->n; i++)
        if (f->pid[i] == pid)
            return true;
    return pid == f->root;
}

static bool note_descendant(pid_t pid, void *data)
{
    struct family *f = data;
    struct pm_proc p;

    if (!belongs(f, pid) && read_stat(pid, &p) && belongs(f, p.ppid)) {
        f->pid[f->n++] = pid;
        f->grown = true;
    }
    return f->n < f->max;
}

unsigned pm_proc_descendants(pid_t root, pid_t *ret, unsigned max)
{
    struct family f = { .root = root, .pid = ret, .max = max };

    /* Children are mostly younger than their parents and stand behind them: two rounds do. */
    do {
        f.grown = false;
        each_pid(note_descendant, &f);
    } while (f.grown && f.n < f.max);
    return f.n;
}

struct leftovers {
    const struct pm_whose *whose;
    pid_t except, *ret;
    unsigned n, max;
};

static bool note_leftover(pid_t pid, void *data)
{
    struct leftovers *l = data;
    char path[64], cwd[PATH_MAX];
    struct pm_proc p;

    if (pid == l->whose->self || pid == l->except)
        return true;
    /* One call rules out nearly all of them; a restart waits for this. */
    (void)snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid);
    read_link(path, cwd, sizeof(cwd));
    if (strcmp(cwd, l->whose->data_dir) != 0 || !pm_proc_read(pid, &p) || p.state == 'Z' ||
        p.state == 'X' || (l->except != 0 && p.ppid == l->except))
        return true;
    if (pm_proc_is_postgres(&p, l->whose))
        l->ret[l->n++] = pid;
    return l->n < l->max;
}

unsigned pm_proc_leftovers(const struct pm_whose *whose, pid_t except, pid_t *ret, unsigned max)
{
    struct leftovers l = { .whose = whose, .except = except, .ret = ret, .max = max };

    if (max > 0)
        each_pid(note_leftover, &l);
    return l.n;
}

bool pm_proc_is_backend(pid_t pid)
{
    char path[64], title[16];
    size_t n;

    (void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    n = pm_read_small(path, title, sizeof(title));
    return pgv_str_starts((struct pgv_str){ title, n }, "postgres: ");
}

struct with_arguments {
    const char *const *wanted;
    pid_t *ret;
    unsigned n, max;
};

static bool has_arguments(struct pgv_str line, const char *const *wanted)
{
    const char *const *w = wanted;
    struct pgv_str argument;

    while (*w && pgv_str_cut(line, '\0', &argument, &line))
        w = pgv_str_eqz(argument, *w) ? w + 1 : wanted + pgv_str_eqz(argument, *wanted);
    return !*w;
}

static bool note_with_arguments(pid_t pid, void *data)
{
    struct with_arguments *a = data;
    char path[64], line[2 * PATH_MAX];
    size_t n;

    (void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    n = pm_read_small(path, line, sizeof(line));
    if (pid != getpid() && has_arguments((struct pgv_str){ line, n }, a->wanted))
        a->ret[a->n++] = pid;
    return a->n < a->max;
}

unsigned pm_proc_with_arguments(const char *const *wanted, pid_t *ret, unsigned max)
{
    struct with_arguments a = { .wanted = wanted, .ret = ret, .max = max };

    if (max > 0)
        each_pid(note_with_arguments, &a);
    return a.n;
}
