/* SPDX-License-Identifier: PostgreSQL */
/* base/log_format.h - private to base/log: how a record becomes a line. */
#pragma once

#include "base/log.h"

#include <sys/types.h>

#define LOG_MESSAGE_BYTES 8192
#define LOG_ITEMS_MAX 64
#define LOG_TEXT_BYTES 4096
#define LOG_FIELDS_BYTES 4096
/* JSON makes six bytes of a control byte; then keys, static fields, and the other attributes. */
#define LOG_LINE_BYTES (6 * LOG_MESSAGE_BYTES + LOG_TEXT_BYTES + LOG_FIELDS_BYTES + 8192)
#define LOG_DATEFORMAT_BYTES 128
#define LOG_WARNINGS_MAX 4

/** When the process began, for relativeCreated. */
extern int64_t log_start_wall_us;

struct log_record {
    enum pgv_level level;
    const char *name; /* as Patroni calls the room: "patroni.ha" */
    const char *file, *func;
    int line;
    int64_t wall_us;
    const char *message;
};

enum log_attr {
    LOG_ATTR_NONE, /* literal text */
    LOG_ATTR_ASCTIME,
    LOG_ATTR_CREATED,
    LOG_ATTR_FILENAME,
    LOG_ATTR_FUNCNAME,
    LOG_ATTR_LEVELNAME,
    LOG_ATTR_LEVELNO,
    LOG_ATTR_LINENO,
    LOG_ATTR_MESSAGE,
    LOG_ATTR_MODULE,
    LOG_ATTR_MSECS,
    LOG_ATTR_NAME,
    LOG_ATTR_PATHNAME,
    LOG_ATTR_PROCESS,
    LOG_ATTR_PROCESSNAME,
    LOG_ATTR_RELATIVECREATED,
    LOG_ATTR_THREAD,
    LOG_ATTR_THREADNAME,
    LOG_ATTR_UNKNOWN,
};

/* A piece of the format; texts are offsets into log_format.text, so that a format can be copied. */
struct log_item {
    enum log_attr attr;
    size_t text, text_n; /* the literal, or in JSON the key as it stands in the line */
    bool left, zero;     /* plain: flags, width, precision and conversion of the item */
    int width, precision;
    char conversion;
};

struct log_format {
    bool json;
    char dateformat[LOG_DATEFORMAT_BYTES]; /* empty: the default with milliseconds */
    struct log_item items[LOG_ITEMS_MAX];
    size_t items_n;
    char text[LOG_TEXT_BYTES];
    size_t text_n;
    char fields[LOG_FIELDS_BYTES]; /* static fields as they stand in each line: ', "app": "x"' */
};

/* What is worth a warning once the format is in use. */
struct log_warnings {
    char text[LOG_WARNINGS_MAX][160];
    size_t n;
};

/** From a 'log' section; NULL is the default format. */
bool log_format_compile(struct log_format *f, const struct pgv_value *section,
                        struct log_warnings *w, struct pgv_error *err) PGV_MUST_CHECK;
/** A plain format text, known to be right. */
void log_format_plain(struct log_format *f, const char *text);
/** Writes the line with its newline, cut where it does not fit; returns its length. */
size_t log_format_line(const struct log_format *f, const struct log_record *r, char *out,
                       size_t out_bytes);
const char *log_level_name(enum pgv_level level);
