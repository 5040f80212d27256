/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/pg_support.h - a real PostgreSQL for the tests of pg/: temporary directories, ports,
 * and supervised servers whose events are written down.
 */
#pragma once

#include "pg/postmaster.h"

/**
 * Once per program: find the newest PostgreSQL, become user postgres when we are root (postgres
 * refuses root), make a temporary directory. False: there is none, the tests are to be skipped.
 */
bool pg_site_open(void);
void pg_site_close(void);
const char *pg_site_dir(void);
const char *pg_site_bin(void); /* directory of the binaries */
uv_loop_t *pg_site_loop(void);
/** Run a program to its end (tests may block); false unless it exits with 0. */
bool pg_run(const char *const *argv);
int pg_free_port(void);

struct pg_node {
    struct postmaster pm;
    struct pgv_arena arena;
    struct postmaster_config config;
    char name[32], data_dir[256];
    int port;
    bool open;
    /* what was heard */
    unsigned changes, ends, looks;
    enum postmaster_job end_job;
    enum postmaster_outcome end_outcome;
    char end_message[PGV_ERROR_MSG_BYTES];
    char ended[512];     /* 'stop:0 start:4 …' */
    char callbacks[512]; /* 'on_start/primary on_stop/primary …' */
    bool checkpoint_seen;
    uint64_t checkpoint_lsn, prev_lsn;
    uint64_t dead_ms; /* when facts.alive was first heard false */
    enum postmaster_follow follow;
    unsigned follows, answers;
    struct postmaster_status status;
    char replication_json[4096];
    bool ok;
};

/** @extra: further YAML of the postgresql section, each line indented by nothing, or NULL. */
void pg_node_init(struct pg_node *n, const char *name, const char *extra);
/** Another configuration for the next postmaster_reconfigure(): n->config is changed. */
void pg_node_configure(struct pg_node *n, const char *extra);
void pg_node_open(struct pg_node *n);
void pg_node_close(struct pg_node *n); /* the server is left as it is */
void pg_node_done(struct pg_node *n);  /* kills what runs */
void pg_initdb(struct pg_node *n);

/** Run the loop until @done says true; fails the test after 60 s. */
void pg_until(bool (*done)(struct pg_node *n), struct pg_node *n, const char *what);
/** Start a job, wait for its end, return how it ended. */
enum postmaster_outcome pg_job(struct pg_node *n, const struct postmaster_job_args *args);
void pg_look(struct pg_node *n);
/** SQL on the node's socket, through psql; the output (first line) into @ret. */
void pg_sql(struct pg_node *n, const char *sql, char ret[256]);
