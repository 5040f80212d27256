/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/log.c - the log: which records are wanted, the heartbeat filter, and settings.
 *
 * One record is formatted in static memory and written at once, so logging works when memory is
 * short, and what was logged is the last thing that happened. Settings live in two places of which
 * one is in use; the other is filled first, so that a bad setting changes nothing. Buffers are
 * wiped after use and known shapes of secrets are masked: messages must not hold any, but a core
 * dump or a log file would keep them for long.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/log_format.h"
#include "base/log_sink.h"
#include "base/parse.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define LOGGERS_MAX 64
#define LOGGER_NAME_BYTES 96
#define HELD_BYTES 512
#define FILE_BYTES_DEFAULT 25000000 /* source: Patroni, log.py */
#define FILE_NUM_DEFAULT 4
#define FILE_NUM_MAX 1000

struct logger_level {
    char name[LOGGER_NAME_BYTES];
    enum pgv_level level;
};

struct settings {
    enum pgv_level root;
    struct logger_level loggers[LOGGERS_MAX];
    size_t loggers_n;
    bool deduplicate;
    struct log_format format;
};

/* The record that is held back until the next one of the HA loop tells whether it is worth a line.
 */
struct held {
    bool held;
    struct log_record record;
    char name[LOGGER_NAME_BYTES];
    char message[HELD_BYTES];
};

static struct settings settings_a, settings_b, *settings;
static struct log_sink sink;
static struct held held;
static char heartbeat[HELD_BYTES]; /* the last one that was written; empty: none */
static unsigned long lost;
static mode_t umask_at_start;
int64_t log_start_wall_us;

/* The agent narrows its umask; log files go by the one it was started with. */
__attribute__((constructor)) static void note_start(void)
{
    umask_at_start = umask(077);
    (void)umask(umask_at_start);
    log_start_wall_us = pgv_wall_us();
}

static void log_surprise(bool fatal, const char *file, int line, const char *text)
{
    pgv_log_at(fatal ? PGV_CRITICAL : PGV_ERROR, "assert", file, line, __func__, "%s", text);
}

static void ensure_ready(void)
{
    if (settings)
        return;
    settings_a.root = PGV_INFO;
    log_format_plain(&settings_a.format, "%(asctime)s %(levelname)s: %(message)s");
    log_sink_stderr(&sink);
    settings = &settings_a;
    pgv_surprises_to(log_surprise);
}

/* The name our room has in Patroni, which is what users' settings and filters speak of. */
static void full_name(const char *logger, char ret[LOGGER_NAME_BYTES])
{
    static const char *const names[][2] = {
        { "agent", "patroni" },         { "callbacks", "patroni.postgresql.callback_executor" },
        { "pg", "patroni.postgresql" }, { "rest", "patroni.api" },
        { "http", "urllib3" },
    };
    struct pgv_str head, tail, s = pgv_str(logger);
    bool more = pgv_str_cut(s, '.', &head, &tail);
    const char *room = NULL;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (pgv_str_eqz(head, names[i][0]))
            room = names[i][1];
    }
    if (room)
        (void)snprintf(ret, LOGGER_NAME_BYTES, "%s%s%s", room, more ? "." : "", more ? tail.p : "");
    else
        (void)snprintf(ret, LOGGER_NAME_BYTES, "patroni.%s", logger);
}

/* Whether @name is @full or stands above it in the hierarchy. */
static bool covers(const char *name, const char *full)
{
    size_t n = strlen(name);

    return strncmp(name, full, n) == 0 && (full[n] == '\0' || full[n] == '.');
}

static enum pgv_level level_of(const char *logger, const char *full)
{
    enum pgv_level level = settings->root;
    size_t longest = 0;

    for (size_t i = 0; i < settings->loggers_n; i++) {
        const struct logger_level *l = &settings->loggers[i];
        size_t n = strlen(l->name);

        if ((covers(l->name, full) || covers(l->name, logger)) && n >= longest) {
            longest = n;
            level = l->level;
        }
    }
    return level;
}

bool pgv_log_enabled(enum pgv_level level, const char *logger)
{
    char full[LOGGER_NAME_BYTES];

    ensure_ready();
    if (settings->loggers_n == 0)
        return level >= settings->root;
    full_name(logger, full);
    return level >= level_of(logger, full);
}

static void write_record(const struct log_record *r)
{
    static char line[LOG_LINE_BYTES];
    size_t n = log_format_line(&settings->format, r, line, sizeof(line));

    if (!log_sink_write(&sink, line, n))
        lost++;
    explicit_bzero(line, n);
}

static void report_lost(void)
{
    struct log_record r = { .level = PGV_WARNING,
                            .name = "patroni.log",
                            .file = __FILE__,
                            .func = __func__,
                            .line = __LINE__,
                            .wall_us = pgv_wall_us() };
    char message[64];
    unsigned long n = lost;

    (void)snprintf(message, sizeof(message), "QueueHandler has lost %lu log records", n);
    r.message = message;
    lost = 0;
    write_record(&r);
    if (lost)
        lost = n;
}

static void emit(const struct log_record *r)
{
    unsigned long before = lost;

    write_record(r);
    if (before && lost == before)
        report_lost();
}

static void release_held(void)
{
    if (!held.held)
        return;
    held.held = false;
    emit(&held.record);
    explicit_bzero(held.message, sizeof(held.message));
}

static bool starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* The REST API, its clients and the callbacks have threads of their own in Patroni. */
static bool of_ha_loop(const char *name)
{
    return !covers("patroni.api", name) && !covers("urllib3", name) &&
           !covers("patroni.postgresql.callback_executor", name);
}

static bool hold(const struct log_record *r)
{
    if (!pgv_copyz(held.message, sizeof(held.message), r->message))
        return false;
    (void)snprintf(held.name, sizeof(held.name), "%s", r->name);
    held.record = *r;
    held.record.name = held.name;
    held.record.message = held.message;
    held.held = true;
    return true;
}

/*
 * Source: Patroni, PatroniLogger.run. At level INFO 'Lock owner: …' is held back. If a heartbeat
 * follows it is dropped (and the heartbeat too, when it is the same as the last and the user wants
 * that); if anything else follows it is written first, because then it helps to understand.
 * True when @r itself is still to be written.
 */
static bool pass_heartbeat_filter(const struct log_record *r)
{
    bool wanted = true;

    if (settings->root != PGV_INFO)
        return true;
    if (starts(r->message, "Lock owner: "))
        return !hold(r);
    if (!held.held || !of_ha_loop(r->name))
        return true;
    if (starts(r->message, "no action. ") || starts(r->message, "PAUSE: no action")) {
        held.held = false;
        explicit_bzero(held.message, sizeof(held.message));
        if (settings->deduplicate && heartbeat[0] && strcmp(heartbeat, r->message) == 0)
            wanted = false;
        else if (!pgv_copyz(heartbeat, sizeof(heartbeat), r->message))
            heartbeat[0] = '\0';
    } else {
        release_held();
        heartbeat[0] = '\0';
    }
    return wanted;
}

/* Replaces @n bytes at @p by asterisks and closes the gap. */
static void mask(char *p, size_t n)
{
    size_t stars = n < 3 ? n : 3;

    memset(p, '*', stars);
    memmove(p + stars, p + n, strlen(p + n) + 1);
}

/* 'scheme://user:secret@host': what stands between the colon and the '@'. */
static void mask_urls(char *s)
{
    for (char *p = strstr(s, "://"); p; p = strstr(p + 3, "://")) {
        size_t n = strcspn(p + 3, "/?# \t\n\"'");
        char *at = memrchr(p + 3, '@', n);
        char *colon = at ? memchr(p + 3, ':', (size_t)(at - p - 3)) : NULL;

        if (colon)
            mask(colon + 1, (size_t)(at - colon - 1));
    }
}

/* 'password=secret' and 'password='se cret''. */
static void mask_passwords(char *s)
{
    static const char word[] = "password=";

    for (char *p = strcasestr(s, word); p; p = strcasestr(p, word)) {
        size_t n;

        p += sizeof(word) - 1;
        if (*p == '\'' || *p == '"') {
            char quote[] = { *p++, '\0' };

            n = strcspn(p, quote);
        } else {
            n = strcspn(p, " \t\n&,;)'\"");
        }
        mask(p, n);
    }
}

void pgv_log_at(enum pgv_level level, const char *logger, const char *file, int line,
                const char *func, const char *fmt, ...)
{
    static char message[LOG_MESSAGE_BYTES];
    char full[LOGGER_NAME_BYTES];
    struct log_record r = {
        .level = level, .name = full, .file = file, .func = func, .line = line, .message = message
    };
    va_list args;

    if (!pgv_log_enabled(level, logger))
        return;
    full_name(logger, full);
    va_start(args, fmt);
    (void)vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    mask_urls(message);
    mask_passwords(message);
    r.wall_us = pgv_wall_us();
    if (pass_heartbeat_filter(&r))
        emit(&r);
    explicit_bzero(message, strlen(message));
}

bool pgv_parse_level(struct pgv_str s, enum pgv_level *ret)
{
    static const struct {
        const char *name;
        enum pgv_level level;
    } names[] = {
        { "DEBUG", PGV_DEBUG },       { "INFO", PGV_INFO },   { "WARN", PGV_WARNING },
        { "WARNING", PGV_WARNING },   { "ERROR", PGV_ERROR }, { "FATAL", PGV_CRITICAL },
        { "CRITICAL", PGV_CRITICAL },
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (pgv_str_eqz(s, names[i].name)) {
            *ret = names[i].level;
            return true;
        }
    }
    return false;
}

/* A level by name, or by Python's number (10 is DEBUG, 50 CRITICAL). */
static bool level_from(const struct pgv_value *v, enum pgv_level *ret)
{
    if (pgv_is(v, PGV_INT)) {
        *ret = v->u.i <= 10   ? PGV_DEBUG
               : v->u.i <= 20 ? PGV_INFO
               : v->u.i <= 30 ? PGV_WARNING
               : v->u.i <= 40 ? PGV_ERROR
                              : PGV_CRITICAL;
        return true;
    }
    return pgv_parse_level(pgv_string(v), ret);
}

static bool read_levels(const struct pgv_value *section, struct settings *s, struct pgv_error *err)
{
    const struct pgv_value *level = pgv_get(section, "level");

    s->root = PGV_INFO;
    if (level && !level_from(level, &s->root))
        return pgv_fail(err, PGV_EINVALID, "Unknown level: '%.60s'", pgv_string(level).p);
    s->loggers_n = 0;
    PGV_EACH(item, pgv_get(section, "loggers"))
    {
        struct logger_level *l = &s->loggers[s->loggers_n];

        if (s->loggers_n == LOGGERS_MAX || !pgv_copy(l->name, sizeof(l->name), item->key))
            return pgv_fail(err, PGV_EINVALID, "log.loggers: too many or too long names");
        if (!level_from(item, &l->level))
            return pgv_fail(err, PGV_EINVALID, "Unknown level: '%.60s'", pgv_string(item).p);
        s->loggers_n++;
    }
    return true;
}

/* An integer of the section; absent or null is the default. */
static bool read_int(const struct pgv_value *section, const char *key, int64_t otherwise,
                     int64_t *ret, struct pgv_error *err)
{
    const struct pgv_value *v = pgv_get(section, key);

    *ret = otherwise;
    if (!v || v->type == PGV_NULL)
        return true;
    *ret = pgv_int_like(v, NULL, INT64_MIN);
    if (*ret == INT64_MIN)
        return pgv_fail(err, PGV_EINVALID, "log.%s is not an integer", key);
    return true;
}

static bool open_sink(const struct pgv_value *section, struct log_sink *ret, struct pgv_error *err)
{
    struct pgv_str dir = pgv_string(pgv_get(section, "dir"));
    int64_t bytes, num, mode;
    int n;

    if (dir.n == 0) {
        log_sink_stderr(ret);
        return true;
    }
    if (!read_int(section, "file_size", FILE_BYTES_DEFAULT, &bytes, err) ||
        !read_int(section, "file_num", FILE_NUM_DEFAULT, &num, err))
        return false;
    /* A mode that cannot be read is no mode: the umask decides. Source: Patroni, parse_int. */
    mode = pgv_int_like(pgv_get(section, "mode"), NULL, -1);
    *ret = (struct log_sink){ .bytes_max = bytes > 0 ? (uint64_t)bytes : 0,
                              .keep = num < 0              ? 0
                                      : num > FILE_NUM_MAX ? FILE_NUM_MAX
                                                           : (unsigned)num,
                              .mode = mode >= 0 ? (mode_t)mode & 07777 : 0666 & ~umask_at_start };
    n = snprintf(ret->path, sizeof(ret->path) - 8, "%s/patroni.log", dir.p);
    if (n < 0 || (size_t)n >= sizeof(ret->path) - 8)
        return pgv_fail(err, PGV_EINVALID, "log.dir is too long");
    return log_sink_open_file(ret, err);
}

bool pgv_log_configure(const struct pgv_value *section, struct pgv_error *err)
{
    struct settings *next;
    struct log_warnings warnings = { 0 };
    struct log_sink next_sink;

    ensure_ready();
    next = settings == &settings_a ? &settings_b : &settings_a;
    if (!read_levels(section, next, err) ||
        !log_format_compile(&next->format, section, &warnings, err) ||
        !open_sink(section, &next_sink, err))
        return false;
    next->deduplicate = pgv_truthy(pgv_get(section, "deduplicate_heartbeat_logs"));
    release_held();
    settings = next;
    log_sink_close(&sink);
    sink = next_sink;
    for (size_t i = 0; i < warnings.n; i++)
        pgv_log(PGV_WARNING, "log", "%s", warnings.text[i]);
    return true;
}

void pgv_log_configure_ctl(enum pgv_level level)
{
    ensure_ready();
    release_held();
    settings = &settings_a;
    settings_a = (struct settings){ .root = level };
    log_format_plain(&settings_a.format, "%(asctime)s - %(levelname)s - %(message)s");
    log_sink_close(&sink);
    log_sink_stderr(&sink);
}
