/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgcontrol.h - what pg_controldata prints, parsed. Running the program is the owner's
 * (pg/pgtool.h); everything here is a pure function of its output.
 */
#pragma once

#include "base/buf.h"
#include "pg/postmaster.h"

/** Absent numbers are -1, absent locations and timelines 0. */
struct pgcontrol {
    enum postmaster_control_state state; /* PM_CONTROL_UNKNOWN: nothing of use was printed */
    char sysid[24];
    uint64_t checkpoint;    /* Latest checkpoint location */
    uint32_t timeline;      /* Latest checkpoint's TimeLineID */
    char redo_wal_file[32]; /* Latest checkpoint's REDO WAL file */
    uint64_t min_recovery_lsn;
    uint32_t min_recovery_timeline;
    bool wal_log_hints;
    bool checksums; /* Data page checksum version is not 0 */
    int64_t max_connections, max_worker_processes, max_wal_senders, max_prepared_xacts,
        max_locks_per_xact;
};

/** @text is the output under LC_ALL=C. Lines that are not understood are skipped. */
void pgcontrol_parse(struct pgv_str text, struct pgcontrol *ret);
