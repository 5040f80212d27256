/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgremote.h - a few questions to another node's server: its names resolved without blocking,
 * one connection, one question at a time, one deadline for all.
 */
#pragma once

#include "http/names.h"
#include "pg/pgdsn.h"
#include "pg/pgsql.h"

#define PGREMOTE_HOSTS_MAX 8

struct pgremote {
    void *data;
    /* private */
    struct pgsql sql;
    struct names_query names;
    uv_timer_t begin;
    struct pgsql_query query;
    void (*cb)(struct pgremote *r, const PGresult *res, const struct pgv_error *err);
    void (*close_cb)(struct pgremote *r);
    struct pgdsn dsn;
    struct pgv_buf hosts, ports, addrs; /* of the hosts that could be resolved */
    struct pgv_error why;               /* of the last host that could not */
    struct pgv_str rest_hosts, rest_ports;
    char host[256], port[16];
    uint64_t deadline_ms;
    bool open, asking, resolving, resolved, canceled;
};

/** The texts of @dsn are borrowed until the close callback; host may be a list. */
void pgremote_open(struct pgremote *r, uv_loop_t *loop, const char *name, const struct pgdsn *dsn,
                   bool replication, uint64_t deadline_ms);
/** @cb as pgsql_cb: once, later. @sql is borrowed until then. */
void pgremote_ask(struct pgremote *r, const char *sql,
                  void (*cb)(struct pgremote *r, const PGresult *res, const struct pgv_error *err));
/** For the questions to come. */
void pgremote_set_deadline(struct pgremote *r, uint64_t deadline_ms);
/** The question under way ends with PGV_ECANCELED, later. */
void pgremote_cancel(struct pgremote *r);
/** No question may be under way. */
void pgremote_close(struct pgremote *r, void (*cb)(struct pgremote *r));
