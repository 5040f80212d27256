/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/measure.h - how long things take: histograms with fixed buckets, for /metrics.
 *
 * Observing allocates nothing and costs a handful of comparisons.
 */
#pragma once

#include <stdint.h>

#define MEASURE_BUCKETS 14 /* and +Inf */

enum measure_what {
    MEASURE_CYCLE, /* of the HA loop */
    MEASURE_DCS,   /* a request to the store, until its answer */
    MEASURE_PROBE, /* a health check or status request, until its answer is handed to the kernel */
    MEASURE_QUERY, /* a look at PostgreSQL */
    MEASURE_N
};

struct measure {
    uint64_t buckets[MEASURE_BUCKETS + 1]; /* each its own count; the last is +Inf */
    uint64_t n, sum_us;
};

/** Upper bounds, ascending. */
extern const uint64_t measure_bounds_us[MEASURE_BUCKETS];

void measure_observe(struct measure *m, uint64_t us);
