/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/editor.c - the user's editor and pager.
 *
 * Not through base/child.h: its children get a process group of their own, and a program outside
 * the terminal's foreground group is stopped as soon as it reads a key. Waiting blocks, which is
 * right here, because nothing else is to be done meanwhile.
 */
#include "ctl/editor.h"

#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

#define PATH_BYTES 1024
#define EDITED_BYTES_MAX PGV_CONFIG_BYTES_MAX

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

bool ctl_which(const char *name, char *ret, size_t ret_bytes)
{
    const char *path = getenv("PATH");
    struct pgv_str rest = pgv_str(path ? path : "/bin:/usr/bin"), folder;
    int n;

    if (!*name)
        return false;
    if (strchr(name, '/'))
        return is_program(name) && pgv_copyz(ret, ret_bytes, name);
    while (rest.n > 0) {
        struct pgv_str tail = { 0 };

        if (!pgv_str_cut(rest, ':', &folder, &tail))
            tail = (struct pgv_str){ 0 };
        rest = tail;
        n = snprintf(ret, ret_bytes, "%.*s/%s", (int)folder.n, folder.p, name);
        if (folder.n > 0 && n > 0 && (size_t)n < ret_bytes && is_program(ret))
            return true;
    }
    return false;
}

/** The base name of what find_pager() and the like found, for deciding what it understands. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/** Run and wait; its end as waitpid() gives it. @input_fd -1: our own standard input. */
static bool run_on_terminal(const char *program, const char *const *argv, int input_fd,
                            int *ret_status, struct pgv_error *err)
{
    struct sigaction ignore = { .sa_handler = SIG_IGN }, saved;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t back_to_default;
    pid_t pid;
    int rc;

    sigemptyset(&back_to_default);
    sigaddset(&back_to_default, SIGINT);
    sigaddset(&back_to_default, SIGPIPE);
    if (posix_spawn_file_actions_init(&actions) != 0)
        return ctl_out_of_memory(err);
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return ctl_out_of_memory(err);
    }
    posix_spawnattr_setsigdefault(&attributes, &back_to_default);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    rc = input_fd >= 0 ? posix_spawn_file_actions_adddup2(&actions, input_fd, STDIN_FILENO) : 0;
    sigaction(SIGINT, &ignore, &saved); /* Ctrl-C is for the one who has the terminal */
    if (rc == 0) {
        /* posix_spawn() takes the words as not const, and does not touch them. */
        union {
            const char *const *given;
            char *const *wanted;
        } words = { argv };

        rc = posix_spawn(&pid, program, &actions, &attributes, words.wanted, environ);
    }
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (rc == 0) {
        while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
            ;
    }
    sigaction(SIGINT, &saved, NULL);
    return rc == 0 || pgv_fail_sys(err, rc, "cannot run '%s'", program);
}

static bool write_all(int fd, struct pgv_str text)
{
    while (text.n > 0) {
        ssize_t n = write(fd, text.p, text.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        text.p += n;
        text.n -= (size_t)n;
    }
    return true;
}

static const char *temporary_folder(void)
{
    const char *dir = getenv("TMPDIR");

    return dir && *dir ? dir : "/tmp";
}

static bool find_editor(char *ret, size_t ret_bytes, struct pgv_error *err)
{
    const char *editor = getenv("EDITOR");

    if (editor && *editor) {
        if (ctl_which(editor, ret, ret_bytes))
            return true;
        return pgv_fail(err, PGV_EINVALID, "cannot run the editor '%s'", editor);
    }
    if (ctl_which("editor", ret, ret_bytes) || ctl_which("vi", ret, ret_bytes))
        return true;
    return pgv_fail(err, PGV_EINVALID,
                    "EDITOR environment variable is not set. editor or vi are not available");
}

/** '<cluster>-config-XXXXXX.yaml' with @text in it; -1: @err tells why there is none. */
static int make_file(const char *cluster, struct pgv_str text, char *ret_path, size_t path_bytes,
                     struct pgv_error *err)
{
    static const char suffix[] = ".yaml";
    int n, fd;

    n = snprintf(ret_path, path_bytes, "%s/%s-config-XXXXXX%s", temporary_folder(), cluster,
                 suffix);
    if (n < 0 || (size_t)n >= path_bytes) {
        pgv_fail(err, PGV_EINVALID, "the cluster's name is too long");
        return -1;
    }
    for (char *p = ret_path + strlen(temporary_folder()) + 1; *p; p++)
        *p = *p == '/' ? '_' : *p;
    fd = mkostemps(ret_path, (int)strlen(suffix), O_CLOEXEC);
    if (fd < 0) {
        pgv_fail_sys(err, errno, "cannot make the temporary file '%s'", ret_path);
    } else if (!write_all(fd, text)) {
        pgv_fail_sys(err, errno, "cannot write '%s'", ret_path);
        close(fd);
        unlink(ret_path);
        fd = -1;
    }
    return fd;
}

bool ctl_keep(const char *cluster, struct pgv_str text, char *ret_path, size_t path_bytes)
{
    struct pgv_error err;
    int fd = make_file(cluster, text, ret_path, path_bytes, &err);

    if (fd < 0) {
        pgv_log(PGV_ERROR, "ctl", "%s", err.msg);
        return false;
    }
    close(fd);
    return true;
}

bool ctl_edit(const char *cluster, struct pgv_str before, struct pgv_buf *after,
              struct pgv_error *err)
{
    char editor[PATH_BYTES], path[PATH_BYTES];
    const char *argv[3] = { editor, path, NULL };
    int fd, status = 0;
    bool ok = false;

    if (!find_editor(editor, sizeof(editor), err))
        return false;
    fd = make_file(cluster, before, path, sizeof(path), err);
    if (fd < 0)
        return false;
    if (!run_on_terminal(editor, argv, -1, &status, err))
        goto out;
    if (status != 0) {
        /* As Python's subprocess tells it: a signal is its number with a minus. */
        pgv_fail(err, PGV_EINVALID, "Editor exited with return code %d",
                 WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
        goto out;
    }
    ok = pgv_file_read(path, after, err); /* by name: editors replace the file */
out:
    close(fd);
    unlink(path);
    return ok;
}

bool ctl_page(struct pgv_str text, struct pgv_error *err)
{
    const char *preferred = getenv("PAGER");
    char pager[PATH_BYTES], path[PATH_BYTES];
    const char *argv[3] = { NULL };
    int fd, status;
    bool ok = false;

    if (!(preferred && ctl_which(preferred, pager, sizeof(pager))) &&
        !ctl_which("less", pager, sizeof(pager)) && !ctl_which("more", pager, sizeof(pager)))
        return pgv_fail(err, PGV_EINVALID,
                        "No pager could be found. Either set PAGER environment variable with your "
                        "pager or install either \"less\" or \"more\" in the host.");
    /* A file rather than a pipe: nobody has to feed it while we wait. */
    if ((size_t)snprintf(path, sizeof(path), "%s/pgvigilctl-diff-XXXXXX", temporary_folder()) >=
        sizeof(path))
        return pgv_fail(err, PGV_EINVALID, "TMPDIR is too long");
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return pgv_fail_sys(err, errno, "cannot make the temporary file '%s'", path);
    unlink(path);
    if (!write_all(fd, text) || lseek(fd, 0, SEEK_SET) != 0) {
        pgv_fail_sys(err, errno, "cannot write the difference");
        goto out;
    }
    argv[0] = pager;
    if (strcmp(base_name(pager), "less") == 0)
        argv[1] = "-FRSX"; /* do not stay for a short text, do not clear the screen */
    ok = run_on_terminal(pager, argv, fd, &status, err);
out:
    close(fd);
    return ok;
}
