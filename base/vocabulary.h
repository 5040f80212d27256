/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/vocabulary.h - words that every folder must spell alike: roles and states of a member as
 * they stand in the DCS and in the REST API, tags, slot names. Source: Patroni 4.1 (wire values).
 */
#pragma once

#include "base/value.h"

enum pgv_role {
    PGV_ROLE_UNINITIALIZED = 0, /* no usable data directory */
    PGV_ROLE_PRIMARY,
    PGV_ROLE_PROMOTED, /* promotion accepted, not yet seen in production */
    PGV_ROLE_STANDBY_LEADER,
    PGV_ROLE_REPLICA,
    PGV_ROLE_DEMOTED, /* was primary, stopped by a demotion */
    PGV_ROLE_UNKNOWN, /* only ever read: a word we do not know, or none */
};

/** The numbers are those of the metric patroni_postgres_state and never change. */
enum pgv_state {
    PGV_STATE_INITDB = 0,
    PGV_STATE_INITDB_FAILED,
    PGV_STATE_CUSTOM_BOOTSTRAP,
    PGV_STATE_CUSTOM_BOOTSTRAP_FAILED,
    PGV_STATE_CREATING_REPLICA,
    PGV_STATE_RUNNING,
    PGV_STATE_STARTING,
    PGV_STATE_BOOTSTRAP_STARTING,
    PGV_STATE_START_FAILED,
    PGV_STATE_RESTARTING,
    PGV_STATE_RESTART_FAILED,
    PGV_STATE_STOPPING,
    PGV_STATE_STOPPED,
    PGV_STATE_STOP_FAILED,
    PGV_STATE_CRASHED,
    PGV_STATE_UNKNOWN, /* only ever read */
};

const char *pgv_role_name(enum pgv_role role);
enum pgv_role pgv_role_parse(struct pgv_str s); /* "master" is primary */
const char *pgv_state_name(enum pgv_state state);
enum pgv_state pgv_state_parse(struct pgv_str s);
/** 'initdb', 'custom_bootstrap', …: the label of the metric. */
const char *pgv_state_label(enum pgv_state state);
static inline bool pgv_state_is_starting(enum pgv_state s)
{
    return s == PGV_STATE_STARTING || s == PGV_STATE_BOOTSTRAP_STARTING;
}

#define PGV_NAME_BYTES 128     /* member, scope and slot names, with the terminator */
#define PGV_URL_BYTES 320      /* conn_url, api_url */
#define PGV_SLOT_NAME_BYTES 64 /* NAMEDATALEN */

/** Slot name from member name: lower-case, '-' and '.' to '_', the rest to uNNNN, cut at 63. */
void pgv_slot_name(const char *member, char ret[PGV_SLOT_NAME_BYTES]);

/** The tags that decide something; what they say when absent is the zero value plus priority 1. */
struct pgv_tags {
    bool nofailover, noloadbalance, clonefrom, nosync, nostream;
    int failover_priority, sync_priority;
    char replicatefrom[PGV_NAME_BYTES]; /* empty: none */
};
/** @map may be NULL. Truth of values is Python's; nostream is boolean-like. */
void pgv_tags_read(const struct pgv_value *map, struct pgv_tags *ret);

/** Patroni's version whose behaviour we match: what members publish and peers parse. */
#define PGV_PATRONI_VERSION "4.1.5"
/** Member names that are refused. Source: Patroni, strict synchronous placeholder. */
#define PGV_NAME_PLACEHOLDER "__patroni_strict_sync_replica_placeholder__"
