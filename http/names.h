/* SPDX-License-Identifier: PostgreSQL */
/* http/names.h - host names to addresses through c-ares on the loop; never getaddrinfo(). */
#pragma once

#include "base/buf.h"

#include <netinet/in.h>
#include <uv.h>

#define NAMES_ADDRS_MAX 8

struct names_query;
struct names_lookup;
/** @n addresses, best first; @err non-NULL (PGV_EUNREACHABLE, PGV_EINVALID, PGV_ECANCELED) when
 * none. */
typedef void (*names_cb)(struct names_query *q, const struct pgv_error *err);

struct names_query {
    void *data;
    /**
     * When no name server helps, or none has answered for a moment, the addresses that the name had
     * last will do: an outage of DNS must not look like one of everything that has a name. For
     * connecting, where a wrong address only fails; never for deciding who may do what.
     */
    bool or_last_known;
    struct sockaddr_storage addrs[NAMES_ADDRS_MAX]; /* with the port asked for */
    unsigned n;
    /* private */
    names_cb cb;
    uv_timer_t timer; /* the time limit; its closing brings the callback */
    struct names_lookup *lookup;
    struct pgv_error err;
    int port;
    bool failed;
};

/** One resolver per process and loop; reads resolv.conf, nsswitch's hosts file first. */
bool names_open(uv_loop_t *loop, struct pgv_error *err) PGV_MUST_CHECK;
/** Ask these name servers ("10.0.0.1,10.0.0.2:5353") instead of those of resolv.conf. */
bool names_use_servers(const char *servers, struct pgv_error *err) PGV_MUST_CHECK;
/** Another resolv.conf; for tests, before anything else. @path is borrowed until names_close(). */
void names_use_conf(const char *path);
/** What is being looked up ends with PGV_ECANCELED before @cb runs. */
void names_close(void (*cb)(void *data), void *data);
/** Literal addresses answer without DNS. @cb never runs inside this call. @timeout_ms bounds it;
 *  0 is NAMES_TIMEOUT_MS. @q belongs to the resolver until @cb runs. */
#define NAMES_TIMEOUT_MS 10000
void names_resolve(struct names_query *q, const char *host, int port, uint64_t timeout_ms,
                   names_cb cb);
void names_cancel(struct names_query *q); /* @cb comes with PGV_ECANCELED, later */

/** SRV records, for discovery: targets with ports, priority and weight ignored. */
#define NAMES_TARGETS_MAX 16
struct names_srv_query {
    void *data;
    struct {
        char host[256];
        int port;
    } targets[NAMES_TARGETS_MAX];
    unsigned n;
    /* private */
    void (*cb)(struct names_srv_query *q, const struct pgv_error *err);
    uv_timer_t timer;
    struct names_lookup *lookup;
    struct pgv_error err;
    bool failed;
};
/** @err PGV_EINVALID: there is no such record; PGV_EUNREACHABLE: nobody answered. */
void names_srv(struct names_srv_query *q, const char *name, uint64_t timeout_ms,
               void (*cb)(struct names_srv_query *q, const struct pgv_error *err));
void names_srv_cancel(struct names_srv_query *q); /* @cb comes with PGV_ECANCELED, later */
