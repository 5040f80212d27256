/* SPDX-License-Identifier: PostgreSQL */
/* agent/generate_private.h - what the files of the generators share. */
#pragma once

#include "agent/generate.h"

#include "base/value.h"

#define GENERATE_FIXME                                                                             \
    "#FIXME" /* a value that nobody knows. Source: Patroni, config_generator.py */
#define GENERATE_IP_BYTES 64

/** A configuration in the making. Building asks for success once, at the end: @failed. */
struct generate {
    struct pgv_arena *a;
    struct pgv_value *root;      /* the template with the environment over it */
    const struct pgv_value *env; /* what the environment alone says */
    struct pgv_value *pg, *dcs;  /* in root: postgresql, bootstrap.dcs */
    char ip[GENERATE_IP_BYTES];  /* of this host, ready for a port; or GENERATE_FIXME */
    bool failed;                 /* no memory */
};

void generate_put(struct generate *g, struct pgv_value *map, const char *key, struct pgv_value *v);
void generate_put_text(struct generate *g, struct pgv_value *map, const char *key,
                       const char *text);

/** The sections as the running server has them. The errors are Patroni's, so that scripts can tell
 *  them apart; none holds a secret. */
bool generate_from_server(struct generate *g, const char *dsn,
                          struct pgv_error *err) PGV_MUST_CHECK;
