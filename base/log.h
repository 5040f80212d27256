/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/log.h - the log: plain or JSON lines on stderr or in a rotated file.
 *
 * Logging neither allocates nor blocks the loop for long: a line is formatted into static memory
 * and written at once. Formats are those of Patroni's 'log' section (contract of Patroni 4.1).
 */
#pragma once

#include "base/value.h"

enum pgv_level { PGV_DEBUG, PGV_INFO, PGV_WARNING, PGV_ERROR, PGV_CRITICAL };

/** Log one sentence; facts follow as key=value. @logger is the room: "ha", "dcs", "pg", "rest", …
 */
#define pgv_log(level, logger, ...)                                                                \
    pgv_log_at((level), (logger), __FILE__, __LINE__, __func__, __VA_ARGS__)
void pgv_log_at(enum pgv_level level, const char *logger, const char *file, int line,
                const char *func, const char *fmt, ...) PGV_PRINTF(6, 7);
bool pgv_log_enabled(enum pgv_level level, const char *logger);

/** Apply a 'log' section (NULL: defaults). On failure the old setting stays. @dir must exist. */
bool pgv_log_configure(const struct pgv_value *section, struct pgv_error *err) PGV_MUST_CHECK;
/** The command line tools: '<asctime> - LEVEL - message' on stderr from @level on. */
void pgv_log_configure_ctl(enum pgv_level level);
bool pgv_parse_level(struct pgv_str s, enum pgv_level *ret) PGV_MUST_CHECK;
