/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgguc.c - validation of server parameters by the table, and the binary's own list of names.
 *
 * What is refused is left out of the file with a warning: a typo in one parameter must not keep
 * the server from starting, which it would, as PostgreSQL refuses to start with a bad file.
 */
#include "pg/pgguc.h"

#include "base/log.h"
#include "pg/pgguc_table.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/banned.h"

#define PGGUC_NAMES_BYTES_MAX (64u * 1024)
#define PGGUC_QUERY_TIMEOUT_MS 30000

/** Lower-case copy; false when it is longer than any name in the table. */
static bool lower_name(struct pgv_str name, char ret[PGGUC_NAME_BYTES])
{
    if (!pgv_copy(ret, PGGUC_NAME_BYTES, name))
        return false;
    for (char *p = ret; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return true;
}

/** The first of the rows of that name, or NULL. */
static const struct pgguc_row *first_row(const struct pgguc_row *rows, unsigned n,
                                         struct pgv_str name)
{
    char key[PGGUC_NAME_BYTES];
    unsigned low = 0, high = n;

    if (!lower_name(name, key))
        return NULL;
    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (strcmp(rows[middle].name, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && strcmp(rows[low].name, key) == 0 ? &rows[low] : NULL;
}

static bool find(const struct pgguc_row *rows, unsigned n, struct pgv_str name, int version,
                 struct pgguc_rule *ret)
{
    const struct pgguc_row *row = first_row(rows, n, name);

    if (!row)
        return false;
    for (const struct pgguc_row *r = row; r < rows + n && strcmp(r->name, row->name) == 0; r++) {
        if (version < r->from || version >= r->till)
            continue;
        *ret = (struct pgguc_rule){
            .type = (enum pgguc_type)r->type,
            .min = r->min,
            .max = r->max,
            .unit = r->unit ? pgguc_units[r->unit] : NULL,
            .values = pgguc_lists[r->values],
        };
        return true;
    }
    return false;
}

bool pgguc_find(struct pgv_str name, int version, struct pgguc_rule *ret)
{
    return find(pgguc_general, pgguc_general_rows, name, version, ret);
}

bool pgguc_find_recovery(struct pgv_str name, int version, struct pgguc_rule *ret)
{
    return find(pgguc_recovery, pgguc_recovery_rows, name, version, ret);
}

bool pgguc_is_recovery(struct pgv_str name)
{
    return first_row(pgguc_recovery, pgguc_recovery_rows, name) != NULL;
}

int pgguc_last_version(struct pgv_str name)
{
    const struct pgguc_row *row = first_row(pgguc_general, pgguc_general_rows, name);
    const struct pgguc_row *end = pgguc_general + pgguc_general_rows;
    int last = 0;

    for (const struct pgguc_row *r = row; r && r < end && strcmp(r->name, row->name) == 0; r++)
        last = r->till > last ? r->till - 1 : last;
    return last;
}

bool pgguc_needs_restart(struct pgv_str name, int *ret_from, int *ret_till)
{
    const struct pgguc_row *row = first_row(pgguc_general, pgguc_general_rows, name);

    if (!row || row->restart_till == 0)
        return false;
    *ret_from = row->restart_from;
    *ret_till = row->restart_till;
    return true;
}

const char *pgguc_suggest(struct pgv_str name)
{
    char key[PGGUC_NAME_BYTES];
    const char *best = NULL;
    unsigned least = 4, apart;

    if (!lower_name(name, key))
        return NULL;
    for (unsigned i = 0; i < pgguc_general_rows; i++) {
        apart = pgv_letters_apart(key, pgguc_general[i].name);
        if (apart < least && apart < strlen(pgguc_general[i].name)) {
            least = apart;
            best = pgguc_general[i].name;
        }
    }
    return best;
}

/* -------------------------------------------------------------------- the binary's own names */

bool pgguc_names_has(const struct pgguc_names *n, struct pgv_str name)
{
    const char *p = n->text.p;
    const char *end = p ? p + n->text.n : NULL;

    while (p && p < end) {
        size_t len = strlen(p);

        if (len == name.n && strncasecmp(p, name.p, len) == 0)
            return true;
        p += len + 1;
    }
    return false;
}

/** One line of --describe-config: the name is what stands before the first tab. */
static bool add_line(struct pgguc_names *n, struct pgv_str line, int major_version)
{
    struct pgguc_rule rule;
    struct pgv_str name, rest;

    if (!pgv_str_cut(line, '\t', &name, &rest) || name.n == 0)
        return true;
    if (pgguc_find(name, major_version, &rule) || pgguc_find_recovery(name, major_version, &rule))
        return true;
    (void)pgv_buf_str(&n->text, name);
    return pgv_buf_putc(&n->text, '\0');
}

bool pgguc_names_parse(struct pgguc_names *n, struct pgv_str output, int major_version)
{
    struct pgguc_names fresh = { .loaded = true };

    pgv_buf_init(&fresh.text, PGGUC_NAMES_BYTES_MAX);
    while (output.n > 0) {
        struct pgv_str line, rest;

        (void)pgv_str_cut(output, '\n', &line, &rest);
        output = rest;
        if (!add_line(&fresh, line, major_version)) {
            pgguc_names_done(&fresh);
            return false;
        }
    }
    pgguc_names_done(n);
    *n = fresh;
    return true;
}

void pgguc_names_done(struct pgguc_names *n)
{
    if (!n)
        return;
    pgv_buf_done(&n->text);
    *n = (struct pgguc_names){ 0 };
}

/* ------------------------------------------------------------------------------ asking for them */

static void on_query_closed(uv_handle_t *handle)
{
    struct pgguc_query *q = handle->data;

    q->busy = false;
    q->cb(q, q->ok);
}

static void on_query_line(struct pgv_child *child, int fd, struct pgv_str line)
{
    struct pgguc_query *q = child->data;

    if (fd == 1)
        (void)add_line(&q->fresh, line, q->major_version);
}

static void on_query_end(struct pgv_child *child, int status)
{
    struct pgguc_query *q = child->data;
    char how[64];

    q->ok = status == 0 && !q->canceled && !q->fresh.text.failed;
    if (q->ok) {
        pgguc_names_done(q->names);
        *q->names = q->fresh;
        q->names->loaded = true;
        q->fresh = (struct pgguc_names){ 0 };
        memcpy(q->seen_path, q->path, sizeof(q->path));
    } else {
        pgv_child_describe(status, how, sizeof(how));
        if (!q->canceled)
            pgv_log(PGV_WARNING, "pg", "%s --describe-config: %s", q->path, how);
        pgguc_names_done(&q->fresh);
        q->seen_path[0] = '\0';
    }
    pgv_child_done(child);
    uv_close((uv_handle_t *)&q->deferred, on_query_closed);
}

/** What tells one binary file from another put in its place by an upgrade. */
static void identify(const char *path, uint64_t *ret_dev, uint64_t *ret_ino, uint64_t *ret_mtime)
{
    struct stat st;

    if (stat(path, &st) != 0)
        st = (struct stat){ 0 };
    *ret_dev = st.st_dev;
    *ret_ino = st.st_ino;
    *ret_mtime = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
}

bool pgguc_query_start(struct pgguc_query *q, uv_loop_t *loop, const char *postgres_path,
                       int major_version, struct pgguc_names *names,
                       void (*cb)(struct pgguc_query *q, bool ok), struct pgv_error *err)
{
    const char *argv[] = { postgres_path, "--describe-config", NULL };
    struct pgv_child_options options = {
        .argv = argv,
        .timeout_ms = PGGUC_QUERY_TIMEOUT_MS,
        .on_line = on_query_line,
    };
    uint64_t dev, ino, mtime_ns;

    PGV_ASSERT(!q->busy);
    if (!pgv_copyz(q->path, sizeof(q->path), postgres_path))
        return pgv_fail(err, PGV_EINVALID, "postgresql.bin_dir: path is too long");
    identify(postgres_path, &dev, &ino, &mtime_ns);
    q->cb = cb;
    q->ok = names->loaded && strcmp(q->seen_path, postgres_path) == 0 && q->seen_dev == dev &&
            q->seen_ino == ino && q->seen_mtime_ns == mtime_ns && q->names == names &&
            q->major_version == major_version;
    q->canceled = false;
    q->seen_dev = dev;
    q->seen_ino = ino;
    q->seen_mtime_ns = mtime_ns;
    q->names = names;
    q->major_version = major_version;
    pgv_buf_init(&q->fresh.text, PGGUC_NAMES_BYTES_MAX);
    q->child = (struct pgv_child){ .data = q };
    if (!q->ok && !pgv_child_start(loop, &q->child, &options, on_query_end, err))
        return false;
    (void)uv_timer_init(loop, &q->deferred);
    q->deferred.data = q;
    q->busy = true;
    if (q->ok)
        uv_close((uv_handle_t *)&q->deferred, on_query_closed);
    return true;
}

void pgguc_query_cancel(struct pgguc_query *q)
{
    if (!q->busy || uv_is_closing((uv_handle_t *)&q->deferred))
        return;
    q->canceled = true;
    pgv_child_kill(&q->child, 9);
}

/* ----------------------------------------------------------------------------------- validation */

static bool in_list(const char *list, const char *value)
{
    struct pgv_str rest = pgv_str(list), item, tail;
    size_t n = strlen(value);
    bool more = true;

    while (more) {
        more = pgv_str_cut(rest, '|', &item, &tail);
        rest = tail;
        if (item.n == n && strncasecmp(item.p ? item.p : "", value, n) == 0)
            return true;
    }
    return false;
}

static bool refuse(const char *type, const char *name, const char *value)
{
    pgv_log(PGV_WARNING, "pg",
            "Removing %s parameter=%s from the config due to the invalid value=%s", type, name,
            value);
    return false;
}

static void write_bound(struct pgv_buf *b, double bound)
{
    if (fabs(bound) < 1e15 && floor(bound) == bound)
        (void)pgv_buf_printf(b, "%.0f", bound);
    else
        (void)pgv_buf_printf(b, "%.15g", bound);
}

static enum pgguc_verdict judge_number(const struct pgguc_rule *rule, const char *value)
{
    int64_t whole = 0;
    double number = 0;

    if (rule->type == PGGUC_INTEGER) {
        if (!pgv_parse_int(pgv_str(value), rule->unit, &whole))
            return PGGUC_WRONG;
        number = (double)whole;
    } else if (!pgv_parse_real(pgv_str(value), rule->unit, &number)) {
        return PGGUC_WRONG;
    }
    if (number >= rule->min && number <= rule->max)
        return PGGUC_FITS;
    return number < rule->min ? PGGUC_TOO_LOW : PGGUC_TOO_BIG;
}

enum pgguc_verdict pgguc_judge(const struct pgguc_rule *rule, const char *value)
{
    bool truth, fits = true;

    switch (rule->type) {
    case PGGUC_BOOL:
        fits = pgv_parse_bool(pgv_str(value), &truth);
        break;
    case PGGUC_INTEGER:
    case PGGUC_REAL:
        return judge_number(rule, value);
    case PGGUC_ENUM:
        fits = in_list(rule->values, value);
        break;
    case PGGUC_ENUM_BOOL:
        fits = pgv_parse_bool(pgv_str(value), &truth) || in_list(rule->values, value);
        break;
    case PGGUC_STRING:
        break;
    }
    return fits ? PGGUC_FITS : PGGUC_WRONG;
}

/** The user's text when it is in range, else the bare bound, which is in the base unit. */
static bool accept_by_rule(const struct pgguc_rule *rule, const char *name, const char *value,
                           struct pgv_buf *ret)
{
    static const char *const types[] = { "bool", "integer", "real", "enum", "enum", "string" };
    bool low = false;

    switch (pgguc_judge(rule, value)) {
    case PGGUC_FITS:
        return pgv_buf_puts(ret, value);
    case PGGUC_WRONG:
        return refuse(types[rule->type], name, value);
    case PGGUC_TOO_LOW:
        low = true;
        break;
    case PGGUC_TOO_BIG:
        break;
    }
    write_bound(ret, low ? rule->min : rule->max);
    pgv_log(PGV_WARNING, "pg", "Value=%s of parameter=%s is too %s, %s to %s%s", value, name,
            low ? "low" : "big", low ? "increasing" : "decreasing", pgv_buf_cstr(ret),
            rule->unit ? rule->unit : "");
    return !ret->failed;
}

bool pgguc_accept(enum pgguc_section section, const char *name, const char *value, int version,
                  const struct pgguc_names *names, struct pgv_buf *ret)
{
    struct pgv_str key = pgv_str(name);
    struct pgguc_rule rule;

    pgv_buf_reset(ret);
    if (section == PGGUC_GENERAL) {
        /* an extension's own */
        if (strchr(name, '.') && !first_row(pgguc_general, pgguc_general_rows, key))
            return pgv_buf_puts(ret, value);
        if (pgguc_is_recovery(key))
            return false;
        if (pgguc_find(key, version, &rule))
            return accept_by_rule(&rule, name, value, ret);
    } else {
        if (pgguc_find_recovery(key, version, &rule))
            return accept_by_rule(&rule, name, value, ret);
        /* before 12 no binary lists them */
        if (version < 120000 && pgguc_is_recovery(key))
            return pgv_buf_puts(ret, value);
    }
    if (names && pgguc_names_has(names, key))
        return pgv_buf_puts(ret, value);
    pgv_log(PGV_WARNING, "pg", "Removing unexpected parameter=%s value=%s from the config", name,
            value);
    return false;
}

/* ----------------------------------------------------------------------------------- comparison */

bool pgguc_same(const char *vartype, const char *unit, const char *server, const char *wanted)
{
    struct pgv_str a = pgv_str(server), b = pgv_str(wanted);

    if (unit && *unit == '\0')
        unit = NULL;
    if (strcmp(vartype, "bool") == 0) {
        bool x, y;

        return pgv_parse_bool(a, &x) && pgv_parse_bool(b, &y) && x == y;
    }
    if (strcmp(vartype, "integer") == 0) {
        int64_t x, y;

        return pgv_parse_int(a, NULL, &x) && pgv_parse_int(b, unit, &y) && x == y;
    }
    if (strcmp(vartype, "real") == 0) {
        double x, y;

        return pgv_parse_real(a, NULL, &x) && pgv_parse_real(b, unit, &y) && !(x < y) && !(x > y);
    }
    if (strcmp(vartype, "enum") == 0) {
        bool x, y;

        /* a YAML boolean is 'True' by its text, which the server calls 'on' */
        if (pgv_parse_bool(a, &x) && pgv_parse_bool(b, &y))
            return x == y;
        return a.n == b.n && strncasecmp(a.n ? a.p : "", b.n ? b.p : "", a.n) == 0;
    }
    return pgv_str_eq(a, b);
}

bool pgguc_same_of(struct pgv_str name, const char *a, const char *b)
{
    struct pgguc_rule rule;
    double r, s;
    int64_t i, k;
    bool x, y;

    if (!pgguc_find(name, pgguc_last_version(name), &rule))
        return strcmp(a, b) == 0;
    switch (rule.type) {
    case PGGUC_INTEGER:
        if (pgv_parse_int(pgv_str(a), rule.unit, &i) && pgv_parse_int(pgv_str(b), rule.unit, &k))
            return i == k;
        break;
    case PGGUC_REAL:
        if (pgv_parse_real(pgv_str(a), rule.unit, &r) && pgv_parse_real(pgv_str(b), rule.unit, &s))
            return !(r < s) && !(r > s);
        break;
    case PGGUC_BOOL:
    case PGGUC_ENUM_BOOL:
        if (pgv_parse_bool(pgv_str(a), &x) && pgv_parse_bool(pgv_str(b), &y))
            return x == y;
        return strcasecmp(a, b) == 0;
    case PGGUC_ENUM:
        return strcasecmp(a, b) == 0;
    case PGGUC_STRING:
        break;
    }
    return strcmp(a, b) == 0;
}
