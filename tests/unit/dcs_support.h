/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/dcs_support.h - a client of the DCS, requests waited for, etcd servers of our own. */
#pragma once

#include "dcs/dcs.h"
#include "http/httpc.h"
#include "http/httpd.h"

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
bool etcd_serves(void *etcd);
int etcd_leader(void); /* index of the raft leader */
/** '{"hosts":"127.0.0.1:…,…"}' of the first @n. */
const char *etcd_section(unsigned n, const char *more);
void etcd_url(const struct etcd *s, const char *path, char *ret, size_t ret_bytes);

/**
 * Fakes: servers with canned answers for every path of etcd, and rules before them: so many
 * requests whose path contains a text are answered in another way, hang, lose their connection or
 * are answered late.
 */
#define FAKES_MAX 3
#define FAKE_SEEN_MAX 512
#define LATE_MS 1500
#define OUR_LEASE "9223372036854775806" /* the one they grant */
enum fake_action { ANSWER, HANG, CUT, LATE };
struct fake {
    struct httpd httpd;
    int index, port;
    struct httpd_req *watch;
    bool open, closed;
};
struct fake_request {
    int server;
    char path[64], authorization[32];
    char body[1024];
};
extern struct fake fakes[FAKES_MAX];
extern struct fake_request fake_seen[FAKE_SEEN_MAX];
extern unsigned n_fake_seen;
extern char fake_kvs[8192];              /* what ranges tell: '{…},{…}' */
extern const char *fake_version;         /* of the cluster */
extern unsigned long long fake_revision; /* of the store; writes count it up */

int fakes_reset(void **state); /* setup and teardown of a test */
int fakes_close(void **state);
void fake_close(struct fake *f);
/** Start @n and return the section that names them; @more is added to it. */
const char *fakes_open(unsigned n, const char *more);
/** @server -1: any; @times -1: always. */
void fake_rule(int server, const char *path, int times, enum fake_action action, int status,
               const char *answer);
void fake_no_rules(void);
/** How many requests were seen whose path and body (NULL: any) contain the texts. */
unsigned fake_count(int server, const char *path, const char *body);
const char *fake_header(void); /* '"header":{…}' */
const char *fake_base64(const char *text);
/** A key as etcd tells it; the same, added to fake_kvs. */
const char *fake_kv(const char *key, const char *value, unsigned long long mod, const char *lease);
void fake_put_kv(const char *key, const char *value, unsigned long long mod, const char *lease);
/** A document of the watch with one event. */
const char *fake_event(const char *kv_json, bool gone);
/** Send it on the open watch, @step bytes at a time. */
void fake_push(const char *text, size_t step);
bool fake_watch_is_open(void *client);

/** After a test that failed half way, so that the next one begins clean. */
int close_clients(void **state);
int support_setup(void **state);
int support_teardown(void **state);
