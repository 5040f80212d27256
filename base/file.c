/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/file.c - files: read whole, replaced whole or not at all, and trees removed.
 *
 * Local files are read and written on the loop: they are small, and asynchronous file calls would
 * need threads. A replaced file is either the old or the new one after a crash, never a mixture.
 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

#define READ_BYTES 8192
#define TREE_DEPTH_MAX 100 /* each level holds a descriptor open while it is emptied */

bool pgv_file_read(const char *path, struct pgv_buf *b, struct pgv_error *err)
{
    /* Non-blocking, so that a pipe which someone put in the file's place cannot stop us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    size_t n_before = b->n;
    bool ok = false;
    char probe;

    if (fd < 0)
        return pgv_fail_sys(err, errno, "cannot open '%s'", path);
    for (;;) {
        size_t room = b->bytes_max > b->n ? b->bytes_max - b->n : 0;
        size_t want = room < READ_BYTES ? room : READ_BYTES;
        ssize_t got;

        if (want && !pgv_buf_reserve(b, want)) {
            (void)pgv_fail(err, PGV_ENOMEM, "no memory to read '%s'", path);
            goto out;
        }
        got = want ? read(fd, b->p + b->n, want) : read(fd, &probe, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            (void)pgv_fail_sys(err, errno, "cannot read '%s'", path);
            goto out;
        }
        if (got == 0)
            break;
        if (!want) {
            (void)pgv_fail(err, PGV_EINVALID, "'%s' is longer than %zu bytes", path, b->bytes_max);
            goto out;
        }
        b->n += (size_t)got;
        b->p[b->n] = '\0';
    }
    ok = true;
out:
    if (!ok && b->p) {
        b->n = n_before;
        b->p[b->n] = '\0';
    }
    (void)close(fd);
    return ok;
}

static bool write_all(int fd, struct pgv_str text)
{
    while (text.n) {
        ssize_t put = write(fd, text.p, text.n);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        text.p += put;
        text.n -= (size_t)put;
    }
    return true;
}

/* The folder of @path: "." when it has no slash. */
static bool parent_of(const char *path, char ret[PATH_MAX])
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return pgv_copyz(ret, PATH_MAX, ".");
    return pgv_copy(ret, PATH_MAX,
                    slash == path ? PGV_STR("/")
                                  : (struct pgv_str){ path, (size_t)(slash - path) });
}

bool pgv_dir_sync(const char *path, struct pgv_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = true;

    if (fd < 0)
        return pgv_fail_sys(err, errno, "cannot open folder '%s'", path);
    /* Some file systems cannot flush a folder and say EINVAL; they have nothing to flush. */
    if (fsync(fd) != 0 && errno != EINVAL)
        ok = pgv_fail_sys(err, errno, "cannot flush folder '%s'", path);
    (void)close(fd);
    return ok;
}

bool pgv_file_remove(const char *path, struct pgv_error *err)
{
    char dir[PATH_MAX];

    if (unlink(path) != 0)
        return errno == ENOENT || pgv_fail_sys(err, errno, "cannot remove '%s'", path);
    return parent_of(path, dir) ? pgv_dir_sync(dir, err)
                                : pgv_fail_sys(err, ENAMETOOLONG, "cannot flush '%s'", path);
}

bool pgv_file_replace(const char *path, struct pgv_str text, mode_t mode, struct pgv_error *err)
{
    char target[PATH_MAX], dir[PATH_MAX], temp[PATH_MAX];
    struct stat st;
    int fd = -1, n;
    bool ok = false;

    /* A link stays a link: what it points to is replaced. */
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
        if (!realpath(path, target))
            return pgv_fail_sys(err, errno, "cannot follow link '%s'", path);
    } else if (!pgv_copyz(target, sizeof(target), path)) {
        return pgv_fail_sys(err, ENAMETOOLONG, "cannot write '%s'", path);
    }
    n = snprintf(temp, sizeof(temp), "%s.pgvigil-new", target);
    if (n < 0 || (size_t)n >= sizeof(temp) || !parent_of(target, dir))
        return pgv_fail_sys(err, ENAMETOOLONG, "cannot write '%s'", path);
    /* One process writes here, so what lies there is the rest of a crash. */
    if (unlink(temp) != 0 && errno != ENOENT)
        return pgv_fail_sys(err, errno, "cannot remove '%s'", temp);
    fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return pgv_fail_sys(err, errno, "cannot create '%s'", temp);
    if (!write_all(fd, text) || fchmod(fd, mode) != 0 || fsync(fd) != 0) {
        (void)pgv_fail_sys(err, errno, "cannot write '%s'", temp);
        goto out;
    }
    if (close(fd) != 0) {
        fd = -1;
        (void)pgv_fail_sys(err, errno, "cannot write '%s'", temp);
        goto out;
    }
    fd = -1;
    if (rename(temp, target) != 0) {
        (void)pgv_fail_sys(err, errno, "cannot replace '%s'", path);
        goto out;
    }
    return pgv_dir_sync(dir, err);
out:
    if (fd >= 0)
        (void)close(fd);
    (void)unlink(temp);
    return ok;
}

static bool remove_in(int dir_fd, const char *name, const char *path, unsigned depth,
                      struct pgv_error *err);

static bool empty_folder(int fd, const char *path, unsigned depth, struct pgv_error *err)
{
    DIR *dir = fdopendir(fd);
    struct dirent *entry;
    bool ok = true;

    if (!dir) {
        (void)pgv_fail_sys(err, errno, "cannot read a folder in '%s'", path);
        (void)close(fd);
        return false;
    }
    for (;;) {
        errno = 0;
        entry = readdir(dir);
        if (!entry) {
            if (errno)
                ok = pgv_fail_sys(err, errno, "cannot read a folder in '%s'", path);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        ok = remove_in(dirfd(dir), entry->d_name, path, depth + 1, err);
        if (!ok)
            break;
    }
    (void)closedir(dir);
    return ok;
}

static bool remove_in(int dir_fd, const char *name, const char *path, unsigned depth,
                      struct pgv_error *err)
{
    int fd;

    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return true;
    if (errno != EISDIR && errno != EPERM)
        return pgv_fail_sys(err, errno, "cannot remove '%s' in '%s'", name, path);
    if (depth > TREE_DEPTH_MAX)
        return pgv_fail_sys(err, ELOOP, "folders nest too deeply in '%s'", path);
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return pgv_fail_sys(err, errno == ENOTDIR ? EPERM : errno, "cannot remove '%s' in '%s'",
                            name, path);
    if (!empty_folder(fd, path, depth, err))
        return false;
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return pgv_fail_sys(err, errno, "cannot remove folder '%s' in '%s'", name, path);
    return true;
}

bool pgv_tree_remove(const char *path, struct pgv_error *err)
{
    return remove_in(AT_FDCWD, path, path, 0, err);
}

bool pgv_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static int64_t ns_of(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

bool pgv_file_stamp(const char *path, struct pgv_file_stamp *ret)
{
    struct stat st;

    *ret = (struct pgv_file_stamp){ 0 };
    if (stat(path, &st) != 0)
        return false;
    ret->dev = (uint64_t)st.st_dev;
    ret->ino = (uint64_t)st.st_ino;
    ret->size = (uint64_t)st.st_size;
    ret->mtime_ns = ns_of(st.st_mtim);
    ret->ctime_ns = ns_of(st.st_ctim);
    return true;
}

bool pgv_file_stamp_same(const struct pgv_file_stamp *a, const struct pgv_file_stamp *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

bool pgv_file_stamp_settled(const struct pgv_file_stamp *s, int64_t settle_ns)
{
    struct timespec now;

    return clock_gettime(CLOCK_REALTIME, &now) == 0 && ns_of(now) - s->ctime_ns >= settle_ns;
}

static bool make_one(const char *path, mode_t mode, struct pgv_error *err)
{
    struct stat st;
    int sys;

    if (mkdir(path, mode) == 0) /* chmod, because the umask took its share */
        return chmod(path, mode) == 0 || pgv_fail_sys(err, errno, "cannot set mode of '%s'", path);
    sys = errno;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return true;
    return pgv_fail_sys(err, sys, "cannot create folder '%s'", path);
}

bool pgv_mkdirs(const char *path, mode_t mode, struct pgv_error *err)
{
    char part[PATH_MAX];

    if (!pgv_copyz(part, sizeof(part), path) || part[0] == '\0')
        return pgv_fail_sys(err, part[0] ? ENAMETOOLONG : ENOENT, "cannot create folder '%s'",
                            path);
    for (char *p = part + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (!make_one(part, mode, err))
            return false;
        *p = '/';
    }
    return make_one(part, mode, err);
}
