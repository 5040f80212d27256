/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/store.h - a cluster's keys for the tool: read them, write one, with the time limit of a tool.
 *
 * A store that does not answer within CTL_STORE_MS is an error; the tool never waits for ever.
 */
#pragma once

#include "ctl/ctl.h"
#include "dcs/dcs.h"

/** Patroni's default retry_timeout: how long it goes on asking a store before it gives up. */
#define CTL_STORE_MS 10000
#define CTL_LOOP_WAIT_S 10 /* default loop_wait */

/** The Citus group asked for by --group (or configured, where that counts). */
struct ctl_group {
    bool given;
    int64_t n;
};

struct ctl_cluster {
    const char *name; /* as given */
    struct ctl_group group;
    bool citus;                   /* a group of a Citus cluster */
    const struct dcs_snapshot *s; /* the last read */
    /** The leader's member, or what stands for it when its key is missing; NULL without a leader.
     */
    const struct dcs_member *leader;
    /** The other groups, when a Citus cluster is meant as a whole: this one is its coordinator. */
    struct ctl_cluster **workers;
    unsigned n_workers;
    /* private */
    struct ctl *c;
    struct dcs dcs;
    struct dcs_config config;
    const struct dcs_ops *ops;
    char scope[PGV_NAME_BYTES + 24];
    struct dcs_member absent_leader;
    bool open;
    struct ctl_cluster *whole; /* all groups' keys, only to see which groups there are */
};

/** Find the configured store and read the cluster; of a Citus cluster without @group all groups. On
 *  failure nothing is left to close. */
bool ctl_cluster_open(struct ctl *c, const char *name, struct ctl_group group,
                      struct ctl_cluster *ret, struct pgv_error *err) PGV_MUST_CHECK;
void ctl_cluster_close(struct ctl_cluster *k);
/** Read again: k->s is replaced and the old one is gone. */
bool ctl_cluster_read(struct ctl_cluster *k, struct pgv_error *err) PGV_MUST_CHECK;
/**
 * Write through a connection of its own, because the one we read through may have been idle while
 * a person thought. @version guards where dcs.h says so; NULL: none. PGV_ECONFLICT: someone else
 * was faster.
 */
bool ctl_cluster_write(struct ctl_cluster *k, enum dcs_op op, struct pgv_str value,
                       const char *version, struct pgv_error *err) PGV_MUST_CHECK;

/** The dynamic configuration, NULL when there is none. */
const struct pgv_value *ctl_dynamic(const struct ctl_cluster *k);
bool ctl_is_paused(const struct ctl_cluster *k);
bool ctl_is_standby_cluster(const struct ctl_cluster *k);
bool ctl_is_synchronous(const struct ctl_cluster *k);
/** loop_wait of the dynamic configuration as text, for sentences; its number in seconds. */
int64_t ctl_loop_wait_s(const struct ctl_cluster *k);

/** A cluster is Citus when a group is asked for or a valid 'citus' section is configured. */
bool ctl_is_citus(const struct ctl *c, struct ctl_group group);
/** --group, or with @configured citus.group. */
struct ctl_group ctl_group_of(struct ctl *c, const struct ctl_args *args, bool configured);
/** The cluster's name: the first argument, else the configured scope; fails when there is neither.
 */
bool ctl_name_of(struct ctl *c, const struct ctl_args *args, const char **ret,
                 struct pgv_error *err) PGV_MUST_CHECK;
