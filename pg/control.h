/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/control.h - what pg_controldata says about a data directory.
 *
 * Reading is a child process (postmaster.c keeps the answer and refreshes it when the file may have
 * changed); understanding its output is the pure function here.
 */
#pragma once

#include "base/buf.h"
#include "pg/postmaster.h"

#define PM_SETTING_UNKNOWN (-1)

/** Fields of pg_controldata that decide something; those its version does not print say 'unknown'.
 */
struct pm_control {
    bool ok; /* state and system identifier were there */
    enum postmaster_control_state state;
    char sysid[24];
    char redo_wal_file[32]; /* of the latest checkpoint */
    bool checkpoint_known;  /* location and timeline below are there */
    uint64_t checkpoint;    /* latest checkpoint location */
    uint32_t checkpoint_timeline;
    uint64_t min_recovery_end;          /* 0: none */
    uint32_t min_recovery_end_timeline; /* 0: none */
    bool wal_log_hints;                 /* known and on */
    bool checksums;                     /* known and not 0 */
    /* PM_SETTING_UNKNOWN when the line is missing */
    int max_connections, max_worker_processes, max_wal_senders, max_prepared_xacts,
        max_locks_per_xact;
};

/**
 * Read the output of pg_controldata (run with LC_ALL=C). Unknown lines are skipped, so is
 * 'Current ' in front of a key (9.x). False when it has neither state nor system identifier.
 */
bool pm_control_parse(struct pgv_str text, struct pm_control *ret) PGV_MUST_CHECK;
/** "shut down in recovery" and so on, for logs; "unknown". */
const char *pm_control_state_name(enum postmaster_control_state state);
