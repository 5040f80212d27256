/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/agent_support.h - an agent without a brain's loop, a server or a store: what the tests
 * of agent/ stand on. The store is a table of keys behind the real dcs interface, the server says
 * what the test puts into world.status, the brain's requests are caught and answered by the test.
 */
#pragma once

#include "agent/agent.h"
#include "agent/rest.h"

#define WORLD_NAME "n1"
#define WORLD_SCOPE "demo"

struct world {
    struct agent a;
    char dir[64], config_path[128];
    const char *host; /* to listen on; NULL: 127.0.0.1 */
    int port;

    /* the server: what the next status query says */
    struct postmaster_status status;
    const char *replication_json; /* NULL: none */
    bool hold_status;             /* the query gets no answer until world_release_status() */
    unsigned n_status;            /* queries so far */

    /* the brain */
    unsigned n_wakes, n_reloads, n_forgotten;
    struct agent_request *asked; /* waits for world_answer() */
    agent_answer_cb asked_cb;

    /* the store */
    bool hold_store;           /* requests wait */
    enum pgv_code store_fails; /* every request ends with it; PGV_OK: none does */
    enum pgv_code write_fails; /* the next write only */
    enum pgv_code then_fails;  /* what store_fails becomes after the next write that succeeds */
    unsigned n_writes;
    char written[4096]; /* the last value */
    enum dcs_op written_op;
};
extern struct world world;

/** A minimal local configuration; @restapi and @more are YAML, may be "". */
void world_config_write(const char *restapi, const char *more);
/** Everything up to an open REST API, with a primary that runs. Aborts the test when it fails. */
void world_open(const char *restapi, const char *more);
void world_close(void);
/** The two as a test's fixture, without further configuration. */
int world_up(void **state);
int world_down(void **state);
/** A port nobody listens on; one that somebody does (until the next call of it). */
int world_free_port(void);
int world_take_port(void);
/** As facts and status of a primary, of a streaming replica. */
void world_be_primary(void);
void world_be_replica(void);
void world_be_leader(bool leader);

void world_put(const char *key, const char *value); /* NULL deletes; the view follows */
void world_view_absent(void);                       /* as if nothing had ever been read */
void world_release_store(void);
void world_release_status(void);
void world_answer(enum ha_answer answer, const char *text);

/** Turn the loop until @done() says so, or fail after 5 s. */
void world_turn_until(bool (*done)(void));

/** One request, the whole answer; status is its code. The body starts at body. */
struct reply {
    char text[262144];
    size_t n;
    int status;
    const char *body;
};
extern struct reply reply;
void world_request(const char *method, const char *target, const char *headers, const char *body);
int get(const char *target);
int head(const char *target);
int post(const char *method, const char *target, const char *json); /* NULL: no body at all */

/** The same in two halves: what happens between is the test's. */
int world_send(const char *method, const char *target, const char *headers, const char *body);
void world_receive(int fd);
void world_drop(int fd); /* the client goes away for good: a reset, not the end of its sending */
bool world_has_header(const char *line);
