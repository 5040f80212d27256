/* SPDX-License-Identifier: PostgreSQL */
/* ctl/schedule.h - moments as people type them, for switchovers and restarts that happen later. */
#pragma once

#include "base/parse.h"

struct ctl_moment {
    bool later; /* false: at once, and nothing else is set */
    int64_t wall_us;
    int offset_s;                 /* of the zone it was given in, or of the local zone then */
    char iso[PGV_MOMENT_BYTES];   /* 'YYYY-MM-DDTHH:MM:SS[.ffffff]+HH:MM': what is sent */
    char plain[PGV_MOMENT_BYTES]; /* the same with a blank: what is shown in questions */
};

/**
 * NULL, empty and 'now' are at once. Otherwise ISO 8601, or parts of it: a date alone is its
 * midnight, a time alone is today. Without a zone the local one is meant, because the REST API
 * refuses moments without one. @now_wall_us tells which day today is. PGV_EINVALID: none of these.
 */
bool ctl_moment_parse(const char *text, int64_t now_wall_us, struct ctl_moment *ret,
                      struct pgv_error *err) PGV_MUST_CHECK;

/** 'YYYY-MM-DD HH:MM:SS' in the local zone, with @digits (0 to 6) of the second's fraction. */
#define CTL_STAMP_BYTES 32
void ctl_stamp(int64_t wall_us, unsigned digits, char ret[CTL_STAMP_BYTES]);
/** 'YYYY-MM-DDTHH:MM' in the local zone: the example in prompts. */
void ctl_stamp_minute(int64_t wall_us, char ret[CTL_STAMP_BYTES]);
