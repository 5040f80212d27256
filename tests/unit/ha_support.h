/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/ha_support.h - a world around one brain: what it would be told, and what it did.
 *
 * The node under test is n1 in a cluster of n1, n2, n3. w_run() gives the brain an event, answers
 * its questions from the tables below until nothing is asked any more, and keeps every effect.
 */
#pragma once

#include "agent/ha/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#define W_EFFECTS_MAX 256

struct w {
    struct ha ha;
    uint64_t now_ms;
    int64_t wall_us;
    struct ha_policy policy;
    struct dcs_cluster view;
    bool live;
    struct postmaster_facts pg;
    /* answers */
    enum ha_outcome dcs[HA_DCS_OPS];
    bool hold[HA_DCS_OPS]; /* do not answer */
    bool hold_look, hold_peers;
    uint64_t reply_after_ms; /* time between question and answer */
    unsigned n_peers;
    struct ha_peer peers[8];
    bool fits, needs_restart;
    struct ha_watchdog device; /* timeout_ms: what it has unless it is adjustable */
    bool device_stays;         /* it cannot be closed */
    bool hold_watchdog;
    /* what it did */
    unsigned n;
    struct ha_effect did[W_EFFECTS_MAX];
    uint64_t wake_ms;
};

enum w_state { W_LEADER, W_REPLICA, W_UNLOCKED_REPLICA, W_EMPTY };

/** A settled node: the first cycles have passed, what they did is forgotten. */
struct w *w_new(enum w_state state);
void w_free(struct w *w);
/** Only the facts, policy and view; nothing was told yet. */
struct w *w_raw(enum w_state state);

/** Fixtures of cmocka. The orphan's leader is gone, but the view that says so was not told yet. */
int w_setup_leader(void **state);
int w_setup_replica(void **state);
int w_setup_orphan(void **state);
int w_teardown(void **state);

void w_begin(struct w *w);                      /* all is told, the first cycle runs */
void w_event(struct w *w, struct ha_event *ev); /* one event and all that follows from it */
void w_tick(struct w *w, uint64_t later_ms);    /* time passes */
void w_cycle(struct w *w);                      /* the next regular cycle */
void w_view(struct w *w);                       /* w->view is told */
void w_facts(struct w *w);                      /* w->pg is told */
void w_policy(struct w *w);
void w_job_end(struct w *w, enum postmaster_job job, enum postmaster_outcome outcome);
/** An answer of the store that was held back. */
void w_reply(struct w *w, enum ha_dcs_op op, enum ha_outcome outcome, uint64_t sent_ms);
/** The server is not there any more; w->pg is told. */
void w_server_down(struct w *w, enum pgv_state state);
/** The first server of a new cluster runs; w->pg is told, the job has not ended. */
void w_initdb_ran(struct w *w);
void w_request(struct w *w, const struct ha_request *r);
void w_device(struct w *w); /* w->device is told, unasked or late */
void w_forget(struct w *w); /* forget what it did */

struct dcs_member *w_member(struct w *w, const char *name);
struct ha_peer *w_peer(struct w *w, const char *name, uint64_t position);
void w_leader(struct w *w, const char *name); /* NULL: nobody */
void w_failover(struct w *w, const char *leader, const char *candidate);

/** What it did. NULL or 0 when it did not. */
const struct ha_effect *w_did(const struct w *w, enum ha_effect_type type);
const struct ha_effect *w_dcs(const struct w *w, enum ha_dcs_op op);
const struct ha_effect *w_job(const struct w *w, enum postmaster_job job);
const struct ha_effect *w_watchdog(const struct w *w, enum ha_watchdog_op op);
const struct ha_effect *w_why(const struct w *w, enum ha_why why);
unsigned w_count(const struct w *w, enum ha_effect_type type);
const char *w_status(const struct w *w); /* the last status line */
