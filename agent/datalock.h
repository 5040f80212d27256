/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/datalock.h - one agent for one data directory.
 *
 * Two agents under different names, by a copied configuration say, would each stop the server that
 * the other one leads with. The lock is flock(2) on the directory itself: nothing is written, and
 * it goes with the process. It is one of this machine's; where a file system has none there is
 * none.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>

struct datalock {
    int fd; /* -1: none */
};

#define DATALOCK_NONE ((struct datalock){ .fd = -1 })

/**
 * Take it for @dir as it is now; a directory that took the place of the one before is another one.
 * False: another process has it (PGV_ECONFLICT); what was held stays. True as well when there is no
 * such directory, or no lock to be had.
 */
bool datalock_take(struct datalock *l, const char *dir, struct pgv_error *err) PGV_MUST_CHECK;
void datalock_release(struct datalock *l);
