/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/parse.h - the small formats everybody shares: numbers with units as PostgreSQL and Patroni
 * read them, booleans, LSNs, versions, timestamps. Source: contract of Patroni 4.1, utils.parse_int
 * and friends; PostgreSQL's guc.c for units.
 */
#pragma once

#include "base/buf.h"

/**
 * Integer with optional unit. @base_unit may be NULL (no unit allowed), or "B" "kB" "MB" "ms" "s"
 * "min", with a factor in front ("8kB"). Octal with leading 0, hex with 0x, fractions rounded half
 * to even. False when it does not parse or does not fit.
 */
bool pgv_parse_int(struct pgv_str s, const char *base_unit, int64_t *ret) PGV_MUST_CHECK;
bool pgv_parse_real(struct pgv_str s, const char *base_unit, double *ret) PGV_MUST_CHECK;
/** on true yes 1 / off false no 0, any case. */
bool pgv_parse_bool(struct pgv_str s, bool *ret) PGV_MUST_CHECK;
/** 0 to 15, or -1: no hexadecimal digit. */
int pgv_hex_digit(char c);
/** Decimal digits only, no sign, no blanks. */
bool pgv_parse_u64(struct pgv_str s, uint64_t *ret) PGV_MUST_CHECK;

/** The largest unit that divides exactly: 1024 with "kB" is "1MB". For pending_restart_reason. */
void pgv_format_unit(int64_t value, const char *base_unit, char *ret, size_t ret_bytes);

/** The shortest text that reads back the same, as Python's repr(): "0.1", "1e+16", "30.0", "inf",
 * "nan". */
#define PGV_REAL_BYTES 32
void pgv_format_real(double d, char ret[PGV_REAL_BYTES]);

#define PGV_LSN_BYTES 24
bool pgv_parse_lsn(struct pgv_str s, uint64_t *ret) PGV_MUST_CHECK; /* "16/B374D848" */
void pgv_format_lsn(uint64_t lsn, char ret[PGV_LSN_BYTES]);         /* unpadded, %X/%X */

/** "9.6.24" is 90624, "16.4" is 160004; one part, more than three parts or a word fail. */
bool pgv_parse_pg_version(struct pgv_str s, int *ret) PGV_MUST_CHECK;

/**
 * ISO 8601 moment: 'T' or blank between date and time, optional seconds and fraction, zone Z, UTC,
 * +HH, +HHMM, +HH:MM, compact 20300101T101010Z.
 * @ret_has_zone false: the moment was read as if it were UTC.
 * @ret_offset_s is the zone's offset, so that the text can be given back with it.
 */
bool pgv_parse_moment(struct pgv_str s, int64_t *ret_wall_us, bool *ret_has_zone,
                      int *ret_offset_s) PGV_MUST_CHECK;
/** 'YYYY-MM-DDTHH:MM:SS[.ffffff]+HH:MM' keeping @offset_s. */
#define PGV_MOMENT_BYTES 40
void pgv_format_moment(int64_t wall_us, int offset_s, char ret[PGV_MOMENT_BYTES]);

/** Split like a POSIX shell would (quotes, backslashes), no expansion. @ret_argv in @arena,
 * NULL-terminated. */
struct pgv_arena;
bool pgv_shell_split(struct pgv_arena *arena, struct pgv_str s, char ***ret_argv, size_t *ret_argc,
                     struct pgv_error *err) PGV_MUST_CHECK;

/**
 * 'host', 'host:port', '[v6]:port'. @ret_host without brackets, @ret_port = @default_port when
 * absent. False when the port is no number of 1…65535 or the host does not fit.
 */
bool pgv_parse_host_port(struct pgv_str s, int default_port, char *ret_host, size_t host_bytes,
                         int *ret_port) PGV_MUST_CHECK;

/** Letters to add, drop or change to make one text the other; the first 32 of each are looked at.
 * For 'did you mean'. */
unsigned pgv_letters_apart(const char *a, const char *b);
