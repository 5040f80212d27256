/* SPDX-License-Identifier: PostgreSQL */
/* base/clock.h - time. Durations and leases on CLOCK_BOOTTIME, wall time for people only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Milliseconds of CLOCK_BOOTTIME: like a lease, it runs on while the machine sleeps. */
uint64_t pgv_clock_ms(void);
/** The same clock in microseconds, for latencies. */
uint64_t pgv_clock_us(void);
/** Microseconds since the epoch. For people and stored documents; never subtract two of them. */
int64_t pgv_wall_us(void);

/** 'YYYY-MM-DDTHH:MM:SS[.ffffff]+HH:MM' in the local zone, as Python's isoformat() writes it. */
#define PGV_ISO_BYTES 40
void pgv_wall_iso_local(int64_t wall_us, char ret[PGV_ISO_BYTES]);
