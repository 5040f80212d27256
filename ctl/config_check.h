/* SPDX-License-Identifier: PostgreSQL */
/* ctl/config_check.h - what is to be said about a changed dynamic configuration before it is
 * written. */
#pragma once

#include "ctl/store.h"

/** Lines with their newline; empty: there is nothing to say. Only what the change brings counts:
 *  what was wrong before is not told again. */
struct ctl_config_check {
    struct pgv_buf errors;   /* the agents would refuse or correct it */
    struct pgv_buf warnings; /* unknown names and values that will not be used as they stand */
    struct pgv_buf restarts; /* 'max_connections 100 -> 200: restart of n1, n2' */
};

void ctl_config_check_init(struct ctl_config_check *k);
void ctl_config_check_done(struct ctl_config_check *k);

/**
 * Compare the documents. Restarts are told as far as they follow from the documents and from what
 * the members of @cluster have published; a member's own configuration is not seen from here.
 */
bool ctl_config_check(struct ctl_config_check *ret, const struct dcs_cluster *cluster,
                      const struct pgv_value *before, const struct pgv_value *after,
                      struct pgv_error *err) PGV_MUST_CHECK;
