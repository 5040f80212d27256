/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/members.h - the members of a cluster: the table that many commands print, and which of them
 * a command is about.
 */
#pragma once

#include "ctl/sheet.h"
#include "ctl/store.h"

enum ctl_role {
    CTL_ROLE_LEADER,
    CTL_ROLE_PRIMARY,
    CTL_ROLE_STANDBY_LEADER,
    CTL_ROLE_REPLICA,
    CTL_ROLE_STANDBY,
    CTL_ROLE_ANY,
};

/** The choices of every --role, as options.h wants them, in the order of enum ctl_role. */
extern const char *const ctl_role_choices[];
/** One of them; NULL is @otherwise. */
enum ctl_role ctl_role_parse(const char *name, enum ctl_role otherwise);

/** Of all groups of a cluster; further members are left out. */
#define CTL_MEMBERS_MAX 256

/** Members a command is about, group by group in the order of their names. Borrowed from the
 *  snapshots. */
struct ctl_selection {
    const struct dcs_member *v[CTL_MEMBERS_MAX];
    unsigned n;
};

void ctl_members_with_role(const struct ctl_cluster *k, enum ctl_role role,
                           struct ctl_selection *ret);
/** The member called @name, else (NULL) the first of @role, else (NULL) the leader. */
const struct dcs_member *ctl_find_member(const struct ctl_cluster *k, const char *name,
                                         const char *role);
/** Those with an api_url, the leader before all others. */
void ctl_members_leader_first(const struct ctl_cluster *k, struct ctl_selection *ret);

enum ctl_action { CTL_RELOAD, CTL_RESTART, CTL_REINITIALIZE, CTL_FLUSH };

/**
 * Print the table, find the members that @names and @role tell, and unless @force ask whether they
 * are meant (not for restarts, which ask later). Unknown names are dropped as long as one is known.
 */
bool ctl_select_members(struct ctl_cluster *k, const char *const *names, size_t n_names,
                        enum ctl_role role, bool force, enum ctl_action action,
                        struct ctl_selection *ret, struct pgv_error *err) PGV_MUST_CHECK;
/** 'a, b, c' into @b. */
void ctl_put_names(struct pgv_buf *b, const struct ctl_selection *s);
const char *ctl_action_name(enum ctl_action action);
/** '<question>' to be answered with yes; 'Aborted <what>' otherwise. */
bool ctl_must_confirm(struct ctl *c, const char *question, const char *refused,
                      struct pgv_error *err) PGV_MUST_CHECK;

/** The table of members in any format, with what else is to be said in tables. */
bool ctl_print_members(struct ctl_cluster *k, bool extended, enum ctl_format format,
                       struct pgv_error *err) PGV_MUST_CHECK;
/** The same into a buffer. */
bool ctl_write_members_of(struct pgv_buf *b, struct ctl_cluster *k, bool extended,
                          enum ctl_format format, struct pgv_error *err) PGV_MUST_CHECK;
struct ctl_members_view {
    const struct dcs_snapshot *s;
    const char *name;
    bool citus;
    struct ctl_group group;
    struct ctl_cluster *const *workers; /* further groups, or NULL */
    unsigned n_workers;
    bool extended, coloured;
    enum ctl_format format;
};
bool ctl_write_members(struct pgv_buf *b, const struct ctl_members_view *view,
                       struct pgv_error *err) PGV_MUST_CHECK;

/** Bytes to megabytes, halves to the even neighbour. */
int64_t ctl_megabytes(int64_t bytes);
