/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/programs.c - PostgreSQL's programs, for the modes that look and end: where one is, and its
 * version. The agent itself never waits like this.
 */
#include "agent/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

#define VERSION_MS 10000 /* for <program> --version */

bool program_find(const char *name, const char *dirs, char *ret, size_t ret_bytes)
{
    struct pgv_str rest = pgv_str(dirs && *dirs ? dirs : getenv("PATH")), head, tail;
    bool path = strchr(name, '/') != NULL;
    struct stat st;
    int n;

    do {
        tail = (struct pgv_str){ 0 };
        if (!pgv_str_cut(rest, ':', &head, &tail))
            head = rest;
        n = path ? snprintf(ret, ret_bytes, "%s", name)
                 : snprintf(ret, ret_bytes, "%.*s/%s", (int)head.n, head.n ? head.p : "", name);
        if (n > 0 && (size_t)n < ret_bytes && access(ret, X_OK) == 0 && stat(ret, &st) == 0 &&
            !S_ISDIR(st.st_mode))
            return true;
        rest = tail;
    } while (!path && rest.n > 0);
    return false;
}

/* Waits so long for the end of our child, then kills it. */
static bool ended_well(pid_t pid, int limit_ms)
{
    int status = 0;
    pid_t got;

    for (int waited_ms = 0; waited_ms < limit_ms; waited_ms += 5) {
        got = waitpid(pid, &status, WNOHANG);
        if (got == pid)
            return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (got < 0 && errno != EINTR)
            return false;
        poll(NULL, 0, 5);
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return false;
}

bool program_version(const char *file, char *ret, size_t ret_bytes)
{
    char *argv[] = { (char *)(uintptr_t)file, (char *)(uintptr_t) "--version", NULL };
    struct pollfd p = { .events = POLLIN };
    posix_spawn_file_actions_t actions;
    int pipe_fd[2];
    bool started, silent = false;
    size_t n = 0;
    ssize_t got;
    pid_t pid;

    if (pipe2(pipe_fd, O_CLOEXEC) != 0)
        return false;
    if (posix_spawn_file_actions_init(&actions) != 0) {
        close(pipe_fd[0]);
        close(pipe_fd[1]);
        return false;
    }
    started = posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], STDOUT_FILENO) == 0 &&
              posix_spawn(&pid, file, &actions, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_fd[1]);
    p.fd = pipe_fd[0];
    while (started && n + 1 < ret_bytes) {
        silent = poll(&p, 1, VERSION_MS) != 1;
        got = silent ? 0 : read(p.fd, ret + n, ret_bytes - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(pipe_fd[0]);
    if (!started)
        return false;
    ret[n] = '\0';
    return ended_well(pid, silent ? 0 : VERSION_MS);
}
