/* SPDX-License-Identifier: PostgreSQL */
/* agent/datalock.c - see datalock.h. */
#include "agent/datalock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

static bool is_same(int fd, const char *dir)
{
    struct stat held, there;

    return fd >= 0 && fstat(fd, &held) == 0 && stat(dir, &there) == 0 &&
           held.st_dev == there.st_dev && held.st_ino == there.st_ino;
}

bool datalock_take(struct datalock *l, const char *dir, struct pgv_error *err)
{
    int fd;

    if (is_same(l->fd, dir))
        return true;
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        bool taken = errno == EWOULDBLOCK;

        (void)close(fd);
        if (taken)
            return pgv_fail(err, PGV_ECONFLICT, "another agent has the data directory '%s'", dir);
        fd = -1;
    }
    datalock_release(l);
    l->fd = fd;
    return true;
}

void datalock_release(struct datalock *l)
{
    if (l->fd >= 0)
        (void)close(l->fd);
    l->fd = -1;
}
