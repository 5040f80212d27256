/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/agent.h - the node agent: one loop, the brain, and the ports it acts through.
 *
 * What happens becomes events; the pump (agent/pump.c) alone calls ha_step() and carries the
 * effects out. REST handlers read the world and ask through agent_…() below; they decide nothing.
 */
#pragma once

#include "agent/config.h"
#include "agent/ha/ha.h"
#include "agent/measure.h"
#include "agent/watchdog.h"
#include "dcs/dcs.h"
#include "http/httpc.h"
#include "http/httpd.h"
#include "pg/postmaster.h"

struct agent_request;
/** Once, later: what became of a request to the brain. @text: the job in progress for BUSY. */
typedef void (*agent_answer_cb)(struct agent_request *r, enum ha_answer answer, const char *text);

struct agent_request {
    void *data;
    struct ha_request request; /* id is filled by agent_ask() */
    /* private */
    agent_answer_cb cb;
    struct agent_request *next;
};

struct agent_peers_req;
struct recorder;
struct rest;
struct callbacks;

struct agent {
    uv_loop_t loop;
    const char *program;        /* base name of argv[0] */
    struct agent_config config; /* effective */
    struct ha ha;
    struct dcs dcs;
    struct postmaster pm;
    struct httpc peers_client; /* agent-to-agent REST */
    struct tls_context *peers_tls;
    void (*peers_close_cb)(struct agent *a);
    struct rest *rest;
    struct callbacks *callbacks;
    struct watchdog watchdog;
    struct recorder *recorder; /* NULL in tests */
    int64_t started_wall_us;
    /* the scheduled restart as its requester wrote it (rest contract), or empty */
    struct pgv_buf scheduled_restart_json;
    uint64_t cycles; /* completed */
    uint64_t cycle_us_last;
    struct measure measures[MEASURE_N];
    int exit_status;
    struct agent_pump *pump;
};

/** Configuration, log, loop, store: then agent_run() brings up the rest as the store answers. */
bool agent_open(struct agent *a, const char *config_path, struct pgv_error *err) PGV_MUST_CHECK;
/** Until a signal or a fatal condition; returns the exit status. */
int agent_run(struct agent *a);

/** Wake the brain now. */
void agent_wake(struct agent *a);
/** Put a request to the brain; its answer comes once, later. */
void agent_ask(struct agent *a, struct agent_request *r, agent_answer_cb cb);
/** The requester is gone; the request itself goes on. */
void agent_forget(struct agent *a, struct agent_request *r);
/** SIGHUP, POST /reload: read the local configuration again. */
void agent_reload(struct agent *a);

/* agent/peers.c: ask members for their status (rest contract §10, ha contract §11) */
struct agent_peer_addr {
    char name[PGV_NAME_BYTES];
    char api_url[PGV_URL_BYTES];
};
struct agent_peers_req {
    void *data;
    unsigned n;
    struct ha_peer peers[HA_PEERS_MAX]; /* in the order asked; unreachable where nothing came */
    void (*cb)(struct agent_peers_req *r);
    /* private */
    struct agent *agent;
    struct agent_peers_group *group;
    struct agent_peers_req *next;
    bool waits_unasked;
};
/** The client and its TLS: after the configuration is read; again when a reload changed it. */
bool agent_peers_open(struct agent *a, struct pgv_error *err) PGV_MUST_CHECK;
/** As httpc_send(), to a member, over TLS when its URL says so. */
bool agent_peers_send(struct agent *a, struct httpc_req *r, httpc_cb cb,
                      struct pgv_error *err) PGV_MUST_CHECK;
bool agent_peers_reconfigure(struct agent *a, struct pgv_error *err) PGV_MUST_CHECK;
/** Requests in flight end as unreachable first. */
void agent_peers_close(struct agent *a, void (*cb)(struct agent *a));
/** All in parallel; the callback comes once, later, when all answered or @timeout_ms is over. */
void agent_peers_ask(struct agent *a, struct agent_peers_req *r,
                     const struct agent_peer_addr *addrs, unsigned n, uint64_t timeout_ms,
                     void (*cb)(struct agent_peers_req *r));
/** The callback does not come any more and @r may be freed at once. Harmless after it has come. */
void agent_peers_cancel(struct agent_peers_req *r);
/** Parse the answer of GET /patroni into @ret; false: unreachable, @ret untouched. One who says
 * that he is not @ret->name of @scope is another's. */
bool agent_peer_parse(struct pgv_str body, const char *scope, struct ha_peer *ret);

/* agent/rest.c: the REST API */
bool rest_open(struct agent *a, struct pgv_error *err) PGV_MUST_CHECK;
/** The restapi section changed: everything but an unchanged listener is applied. */
bool rest_reconfigure(struct agent *a, struct pgv_error *err) PGV_MUST_CHECK;
void rest_close(struct agent *a, void (*cb)(struct agent *a));
/** Told by the pump after each step: waiting switchover answers and the like look again. */
void rest_world_changed(struct agent *a);
/** The state as it is shown: in pause a server that has ended is stopped, not crashed, for nobody
 * will start it. Source: Patroni, Ha._run_cycle(). */
enum pgv_state agent_state(const struct agent *a);
/** The published api_url: http(s)://connect_address/patroni. */
const char *rest_api_url(const struct agent *a);

/* agent/callbacks.c: on_start and friends */
bool callbacks_open(struct agent *a, struct pgv_error *err) PGV_MUST_CHECK;
void callbacks_run(struct agent *a, const char *action, enum pgv_role role);
void callbacks_close(struct agent *a, void (*cb)(struct agent *a));

/* agent/member.c: documents written to the store */
bool agent_member_document(struct agent *a, struct pgv_buf *b);

/* agent/notify.c: systemd */
void notify_systemd(const char *state); /* no-op without NOTIFY_SOCKET; takes it out of the
                                           environment at first call */
