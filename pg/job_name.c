/* SPDX-License-Identifier: PostgreSQL */
/* pg/job_name.c - the words for jobs. By themselves: also those use them who have no server. */
#include "pg/postmaster.h"

#include "base/banned.h"

const char *postmaster_job_name(enum postmaster_job job)
{
    switch (job) {
    case PM_JOB_NONE:
        return "none";
    case PM_JOB_BOOTSTRAP:
        return "bootstrap";
    case PM_JOB_POST_BOOTSTRAP:
        return "post_bootstrap";
    case PM_JOB_CLONE:
        return "clone";
    case PM_JOB_START:
        return "start";
    case PM_JOB_STOP:
        return "stop";
    case PM_JOB_RESTART:
        return "restart";
    case PM_JOB_PROMOTE:
        return "promote";
    case PM_JOB_FOLLOW:
        return "follow";
    case PM_JOB_CRASH_RECOVERY:
        return "crash recovery";
    case PM_JOB_CHECK_DIVERGENCE:
        return "divergence check";
    case PM_JOB_REWIND:
        return "rewind";
    case PM_JOB_REMOVE_DATA:
        return "remove data directory";
    case PM_JOB_MOVE_DATA_ASIDE:
        return "move data directory aside";
    }
    return "unknown";
}
