/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/dcs.h - the distributed store as the rest of pgvigil sees it: one cluster's keys, one lease.
 *
 * Every operation is a request with a deadline, owned by the caller, cancellable; its callback runs
 * exactly once and never inside the call that started it. 'The store said no' (PGV_ECONFLICT) and
 * 'no answer' (PGV_EUNREACHABLE) are different outcomes everywhere. The view is kept by a watch:
 * reading it costs nothing; dcs_read() asks the store itself.
 */
#pragma once

#include "dcs/cluster.h"

#include <uv.h>

struct dcs;
struct dcs_req;

/**
 * @err NULL: done. PGV_ECONFLICT: the store answered no (the guard failed, the key is another's, or
 * any other definite refusal). PGV_EUNREACHABLE: no usable answer before the deadline, it may or
 * may not have happened. PGV_EINVALID: what we asked or what was configured is wrong.
 * PGV_ECANCELED. PGV_ENOMEM: as unreachable.
 *
 * READ, RENEW, ACQUIRE, TAKE and what is done to initialize by its version end with PGV_ECONFLICT
 * only when a guard failed, that is, when the store said that the key is another's. Any other
 * refusal ('permission denied', 'database full') is PGV_EUNREACHABLE for them: nothing is proven,
 * but nobody said that somebody else leads, or makes the cluster.
 */
typedef void (*dcs_reply_cb)(struct dcs_req *req, const struct pgv_error *err);

enum dcs_op {
    DCS_READ,         /* linearizable read of all keys; result: dcs->view is as new as this read */
    DCS_TOUCH_MEMBER, /* value: our member document; keeps the session; skipped when unchanged */
    DCS_ACQUIRE_LEADER,    /* create-only, bound to our session */
    DCS_TAKE_LEADER,       /* after a bootstrap: create-only, bound to our session, and only while
                              initialize says value, our system identifier */
    DCS_RENEW_LEADER,      /* prove the lease; when the session or the key was lost meanwhile, bind
                              the key to our session again unless somebody else has it */
    DCS_RELEASE_LEADER,    /* delete the key if it is ours; one that we win later it leaves alone,
                              even if it is carried out after that */
    DCS_CREATE_INITIALIZE, /* create-only with value ("" or a system identifier) */
    DCS_SET_INITIALIZE,    /* guarded by version when one is given, as the next five; a key that
                              says value already is what was wanted */
    DCS_DELETE_INITIALIZE, /* so is one that is gone */
    DCS_SET_CONFIG,
    DCS_SET_FAILOVER,
    DCS_SET_SYNC,
    DCS_DELETE_SYNC,
    DCS_SET_HISTORY, /* unconditional, as the next two */
    DCS_SET_STATUS,
    DCS_SET_FAILSAFE,
    DCS_DELETE_CLUSTER, /* everything under the prefix */
};

struct dcs_req {
    void *data;
    enum dcs_op op;
    struct pgv_str value;            /* copied by dcs_submit() */
    char version[DCS_VERSION_BYTES]; /* guard; empty: none */
    uint64_t deadline_ms;            /* pgv_clock_ms() moment; must be given */
    /* results */
    uint64_t sent_ms; /* renew, acquire, take: when the decisive request went out;
                         the lease is proven until sent_ms + ttl_ms */
    char new_version[DCS_VERSION_BYTES]; /* of the key written, when the store tells */
    /* private */
    struct dcs *dcs;
    dcs_reply_cb cb;
    void *impl;
    struct dcs_req *next;
};

struct dcs_config {
    const char *name, *scope, *name_space; /* borrowed for the life of the dcs */
    const struct pgv_value *section;       /* the store's section, e.g. etcd3; borrowed as well */
    uint64_t ttl_ms, loop_wait_ms, retry_timeout_ms;
    bool member; /* false: a tool without session and watch */
};

/** What changed since the last call, as a set: cheap filter for those who wait for one thing. */
enum dcs_change {
    DCS_CHANGED_LEADER = 1,
    DCS_CHANGED_STATUS = 2,
    DCS_CHANGED_CONFIG = 4,
    DCS_CHANGED_MEMBERS = 8,
    DCS_CHANGED_FAILOVER = 16,
    DCS_CHANGED_SYNC = 32,
    DCS_CHANGED_INITIALIZE = 64,
    DCS_CHANGED_HISTORY = 128,
    DCS_CHANGED_FAILSAFE = 256,
};

struct dcs_ops {
    const char *name; /* the config section: "etcd3" */
    bool (*open)(struct dcs *dcs, struct pgv_error *err);
    void (*close)(struct dcs *dcs); /* ends in dcs_closed() */
    void (*submit)(struct dcs *dcs, struct dcs_req *req);
    void (*cancel)(struct dcs *dcs, struct dcs_req *req);
    void (*set_times)(struct dcs *dcs); /* ttl and friends changed in dcs->config */
    bool (*reload)(struct dcs *dcs,
                   struct pgv_error *err); /* credentials, certificates: section changed */
};

struct dcs {
    void *data;
    const struct dcs_ops *ops;
    struct dcs_config config;
    const struct dcs_snapshot *view; /* NULL until first read; replaced at each change */
    bool view_live;                  /* the watch is established: the view follows the store */
    uint64_t last_seen_ms;           /* last answer of any kind */
    int64_t last_seen_wall_us;       /* the same for people (dcs_last_seen) */
    /** The view was replaced; the old one is gone. @changed is a set of enum dcs_change. */
    void (*on_view)(struct dcs *dcs, unsigned changed);
    /* private */
    uv_loop_t *loop;
    void *impl;
    bool closing;
    void (*close_cb)(struct dcs *dcs);
};

/** Pick the store from the effective configuration: the first known section. */
const struct dcs_ops *dcs_find_ops(const struct pgv_value *config,
                                   const struct pgv_value **ret_section);

/** Fails only for configuration errors; an unreachable store is an ordinary state. */
bool dcs_open(struct dcs *dcs, uv_loop_t *loop, const struct dcs_ops *ops,
              const struct dcs_config *config, struct pgv_error *err) PGV_MUST_CHECK;
/** Requests in flight end with PGV_ECANCELED first. The session is not revoked (as Patroni). */
void dcs_close(struct dcs *dcs, void (*cb)(struct dcs *dcs));
/** @req->op, value, version, deadline_ms filled. Cannot fail to start. */
void dcs_submit(struct dcs *dcs, struct dcs_req *req, dcs_reply_cb cb);
void dcs_cancel(struct dcs_req *req);
void dcs_set_times(struct dcs *dcs, uint64_t ttl_ms, uint64_t loop_wait_ms,
                   uint64_t retry_timeout_ms);
bool dcs_reload(struct dcs *dcs, const struct pgv_value *section,
                struct pgv_error *err) PGV_MUST_CHECK;
const char *dcs_op_name(enum dcs_op op);

/** For the stores. */
void dcs_closed(struct dcs *dcs);
extern const struct dcs_ops dcs_etcd3_ops;
