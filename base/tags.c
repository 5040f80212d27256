/* SPDX-License-Identifier: PostgreSQL */
/* base/tags.c - a member's tags. */
#include "base/vocabulary.h"

#include <limits.h>

#include "base/banned.h"

/*
 * 'nofailover' decides alone when it is there and not null; else a priority of 0 or less means it.
 * The priority is 0 when the flag is true, else what is given, else 1. Source: Patroni, tags.py.
 */
static void flag_and_priority(const struct pgv_value *map, const char *flag, const char *priority,
                              bool *ret_flag, int *ret_priority)
{
    const struct pgv_value *v = pgv_get(map, flag);
    int64_t p = pgv_int_like(pgv_get(map, priority), NULL, 1);

    if (p > INT_MAX)
        p = INT_MAX;
    if (p < INT_MIN)
        p = INT_MIN;
    *ret_flag = v && v->type != PGV_NULL ? pgv_truthy(v) : p <= 0;
    *ret_priority = pgv_truthy(v) ? 0 : (int)p;
}

void pgv_tags_read(const struct pgv_value *map, struct pgv_tags *ret)
{
    struct pgv_tags t = { 0 };

    flag_and_priority(map, "nofailover", "failover_priority", &t.nofailover, &t.failover_priority);
    flag_and_priority(map, "nosync", "sync_priority", &t.nosync, &t.sync_priority);
    t.noloadbalance = pgv_truthy(pgv_get(map, "noloadbalance"));
    t.clonefrom = pgv_truthy(pgv_get(map, "clonefrom"));
    t.nostream = pgv_bool_like(pgv_get(map, "nostream"));
    /* A name that does not fit names no member, so nobody is lost by ignoring it. */
    if (!pgv_copy(t.replicatefrom, sizeof(t.replicatefrom),
                  pgv_string(pgv_get(map, "replicatefrom"))))
        t.replicatefrom[0] = '\0';
    *ret = t;
}
