/* SPDX-License-Identifier: PostgreSQL */
/* agent/measure.c - histograms with fixed buckets: from a tenth of a millisecond to ten seconds. */
#include "agent/measure.h"

#include "base/banned.h"

const uint64_t measure_bounds_us[MEASURE_BUCKETS] = { 100,    250,     500,     1000,    2500,
                                                      5000,   10000,   25000,   50000,   100000,
                                                      250000, 1000000, 2500000, 10000000 };

void measure_observe(struct measure *m, uint64_t us)
{
    unsigned i = 0;

    while (i < MEASURE_BUCKETS && us > measure_bounds_us[i])
        i++;
    m->buckets[i]++;
    m->n++;
    m->sum_us += us;
}
