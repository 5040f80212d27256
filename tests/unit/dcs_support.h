/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/dcs_support.h - a client of the DCS, requests waited for, etcd servers of our own. */
#pragma once

#include "dcs/dcs.h"
#include "http/httpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/** The loop of all these tests. */
extern uv_loop_t loop;

/** Turn the loop until @done says so; fails the test after @timeout_ms. */
void wait_until(bool (*done)(void *data), void *data, uint64_t timeout_ms, const char *what);
/** Turn the loop for a while, or until @done: for what must not happen. */
bool happens_within(bool (*done)(void *data), void *data, uint64_t timeout_ms);

struct client {
    struct dcs dcs;
    char name[32];
    struct pgv_arena arena; /* owns the section */
    struct pgv_value *section;
    unsigned n_views, changed; /* since the test cleared them */
    bool closed;
};

void client_open(struct client *c, const char *name, const char *section_json, bool member,
                 uint64_t ttl_ms);
void client_close(struct client *c);

/** One request, waited for. Results stay in it. */
struct request {
    struct dcs_req req;
    bool done;
    enum pgv_code code;
    char msg[PGV_ERROR_MSG_BYTES];
    uint64_t took_ms;
};

void start(struct client *c, struct request *r, enum dcs_op op, const char *value,
           const char *version, uint64_t timeout_ms);
void finish(struct request *r);
enum pgv_code run(struct client *c, struct request *r, enum dcs_op op, const char *value,
                  const char *version, uint64_t timeout_ms);
/** The same, and it must succeed. */
void must(struct client *c, enum dcs_op op, const char *value);

bool view_is_live(void *client);
bool view_is_not_live(void *client);

/** A plain HTTP request, waited for: status, 0 when there was no answer. */
int post(const char *url, const char *body, char *ret, size_t ret_bytes);

/** An etcd of our own. */
struct etcd {
    char name[16], dir[64];
    int client_port, peer_port;
    long pid;
};
#define ETCDS_MAX 3
extern struct etcd etcds[ETCDS_MAX];

/** Start @n etcd servers as one cluster and wait until it serves. */
void etcd_start(unsigned n);
/** One that speaks TLS and wants to see a certificate; not waited for. */
void etcd_start_tls(void);
/** The path of one of the HTTP tests' certificates. */
const char *certificate(const char *name);
void etcd_start_again(struct etcd *s);     /* one that was killed, with its data */
void etcd_signal(struct etcd *s, int sig); /* SIGKILL is waited for */
void etcd_stop_all(void);                  /* and remove the data */
int etcd_leader(void);                     /* index of the raft leader */
/** '{"hosts":"127.0.0.1:…,…"}' of the first @n. */
const char *etcd_section(unsigned n, const char *more);
void etcd_url(const struct etcd *s, const char *path, char *ret, size_t ret_bytes);

/** After a test that failed half way, so that the next one begins clean. */
int close_clients(void **state);
int support_setup(void **state);
int support_teardown(void **state);
