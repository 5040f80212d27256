/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/log_format.c - a record becomes a line, plain or JSON.
 *
 * A format is compiled once into a list of items in fixed memory. Formatting a line then needs no
 * allocation and cannot fail; what does not fit is cut. Source of the formats: contract of Patroni
 * 4.1, 'log' section (Python's logging attributes, python-json-logger's objects).
 */
#include "base/log_format.h"

#include "base/parse.h"
#include "base/unicode.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/banned.h"

#define DEFAULT_FORMAT "%(asctime)s %(levelname)s: %(message)s"
#define DEFAULT_DATEFORMAT "%Y-%m-%d %H:%M:%S"

struct attr_name {
    const char *name;
    enum log_attr attr;
};

static const struct attr_name attr_names[] = {
    { "asctime", LOG_ATTR_ASCTIME },
    { "created", LOG_ATTR_CREATED },
    { "filename", LOG_ATTR_FILENAME },
    { "funcName", LOG_ATTR_FUNCNAME },
    { "levelname", LOG_ATTR_LEVELNAME },
    { "levelno", LOG_ATTR_LEVELNO },
    { "lineno", LOG_ATTR_LINENO },
    { "message", LOG_ATTR_MESSAGE },
    { "module", LOG_ATTR_MODULE },
    { "msecs", LOG_ATTR_MSECS },
    { "name", LOG_ATTR_NAME },
    { "pathname", LOG_ATTR_PATHNAME },
    { "process", LOG_ATTR_PROCESS },
    { "processName", LOG_ATTR_PROCESSNAME },
    { "relativeCreated", LOG_ATTR_RELATIVECREATED },
    { "thread", LOG_ATTR_THREAD },
    { "threadName", LOG_ATTR_THREADNAME },
};

static enum log_attr find_attr(struct pgv_str name)
{
    for (size_t i = 0; i < sizeof(attr_names) / sizeof(*attr_names); i++) {
        if (pgv_str_eqz(name, attr_names[i].name))
            return attr_names[i].attr;
    }
    return LOG_ATTR_UNKNOWN;
}

const char *log_level_name(enum pgv_level level)
{
    static const char *const names[] = { "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL" };

    return names[level];
}

/* What Python calls the type, for warnings about settings. */
static const char *type_name(const struct pgv_value *v)
{
    static const char *const names[] = {
        "NoneType", "bool", "int", "float", "str", "list", "dict"
    };

    return names[v->type];
}

static void warn(struct log_warnings *w, const char *what, const struct pgv_value *v)
{
    if (w && w->n < LOG_WARNINGS_MAX)
        (void)snprintf(w->text[w->n++], sizeof(w->text[0]), "%s, but got \"%s\"", what,
                       type_name(v));
}

/* Adds an item with @text; what does not fit any more is left out. */
static struct log_item *add_item(struct log_format *f, enum log_attr attr, struct pgv_str text)
{
    struct log_item *item;

    if (f->items_n == LOG_ITEMS_MAX || text.n > LOG_TEXT_BYTES - f->text_n)
        return NULL;
    item = &f->items[f->items_n++];
    *item = (struct log_item){ .attr = attr, .text = f->text_n, .text_n = text.n };
    if (text.n)
        memcpy(f->text + f->text_n, text.p, text.n);
    f->text_n += text.n;
    return item;
}

static void take(struct pgv_str *s, size_t n)
{
    s->p += n;
    s->n -= n;
}

static int take_number(struct pgv_str *s, int otherwise)
{
    int v = 0;

    if (s->n == 0 || !isdigit((unsigned char)s->p[0]))
        return otherwise;
    while (s->n && isdigit((unsigned char)s->p[0])) {
        if (v < 1000)
            v = v * 10 + (s->p[0] - '0');
        take(s, 1);
    }
    return v;
}

/* One '%(name)-8.3s' at the front. False, and nothing taken, when it is none. */
static bool take_item(struct log_format *f, struct pgv_str *io_s)
{
    struct pgv_str s = *io_s, name, rest;
    struct log_item *item, spec = { 0 };

    if (!pgv_str_starts(s, "%("))
        return false;
    take(&s, 2);
    if (!pgv_str_cut(s, ')', &name, &rest) || name.n == 0)
        return false;
    s = rest;
    for (; s.n && s.p[0] && strchr("#0+ -", s.p[0]); take(&s, 1)) {
        spec.left |= s.p[0] == '-';
        spec.zero |= s.p[0] == '0';
    }
    spec.width = take_number(&s, 0);
    spec.precision = -1;
    if (s.n && s.p[0] == '.') {
        take(&s, 1);
        spec.precision = take_number(&s, 0);
    }
    if (s.n == 0 || !s.p[0] || !strchr("diouxefgcrsaXEFG", s.p[0]))
        return false;
    spec.conversion = s.p[0];
    take(&s, 1);
    item = add_item(f, find_attr(name), (struct pgv_str){ 0 });
    if (item) {
        item->left = spec.left;
        item->zero = spec.zero;
        item->width = spec.width;
        item->precision = spec.precision;
        item->conversion = spec.conversion;
    }
    *io_s = s;
    return true;
}

/* Returns the number of attributes in it. */
static size_t compile_plain(struct log_format *f, struct pgv_str s)
{
    size_t attrs = 0;

    f->json = false;
    f->items_n = f->text_n = 0;
    while (s.n) {
        const char *percent;
        size_t n;

        if (take_item(f, &s)) {
            attrs++;
            continue;
        }
        /* Literal text up to the next percent sign; '%%' is one of them. */
        percent = s.n > 1 ? memchr(s.p + 1, '%', s.n - 1) : NULL;
        n = percent ? (size_t)(percent - s.p) : s.n;
        if (pgv_str_starts(s, "%%")) {
            add_item(f, LOG_ATTR_NONE, PGV_STR("%"));
            n = 2;
        } else {
            add_item(f, LOG_ATTR_NONE, (struct pgv_str){ s.p, n });
        }
        take(&s, n);
    }
    return attrs;
}

void log_format_plain(struct log_format *f, const char *text)
{
    *f = (struct log_format){ 0 };
    (void)compile_plain(f, pgv_str(text));
}

/* A writer into a fixed array: what does not fit is dropped. */
struct out {
    char *p;
    size_t n, bytes;
};

static void put(struct out *o, const char *p, size_t n)
{
    if (n > o->bytes - o->n)
        n = o->bytes - o->n;
    if (n)
        memcpy(o->p + o->n, p, n);
    o->n += n;
}

static void puts_out(struct out *o, const char *s)
{
    put(o, s, strlen(s));
}

static void put_json_string(struct out *o, struct pgv_str s)
{
    char esc[PGV_JSON_ESCAPE_BYTES];

    puts_out(o, "\"");
    while (s.n) {
        size_t n = pgv_json_escape(pgv_utf8_next(&s), esc);

        if (o->bytes - o->n < n + 64) /* room to close the string and the object */
            break;
        put(o, esc, n);
    }
    puts_out(o, "\"");
}

/* A JSON field: @key is what stands in the line, @attr where its value comes from. */
static void add_field(struct log_format *f, struct pgv_str attr, struct pgv_str key)
{
    char text[512];
    struct out o = { text, 0, sizeof(text) };

    for (size_t i = 0; i < f->items_n; i++) {
        if (f->items[i].attr != LOG_ATTR_UNKNOWN && f->items[i].attr == find_attr(attr))
            return; /* an object has each key once */
    }
    put_json_string(&o, key);
    add_item(f, find_attr(attr), (struct pgv_str){ text, o.n });
}

static void fields_of_text(struct log_format *f, struct pgv_str s)
{
    struct pgv_str name, rest;

    for (; s.n; take(&s, 1)) {
        if (!pgv_str_starts(s, "%("))
            continue;
        rest = s;
        take(&rest, 2);
        if (pgv_str_cut(rest, ')', &name, &rest) && name.n)
            add_field(f, name, name);
    }
}

static void fields_of_list(struct log_format *f, const struct pgv_value *list,
                           struct log_warnings *w)
{
    PGV_EACH(item, list)
    {
        if (item->type == PGV_STRING) {
            add_field(f, item->u.s, item->u.s);
        } else if (item->type == PGV_MAP) {
            PGV_EACH(pair, item)
            {
                if (pair->type == PGV_STRING)
                    add_field(f, pair->key, pair->u.s);
                else
                    warn(w, "Expected renamed log field to be a string", pair);
            }
        } else {
            warn(w, "Expected each item of log format to be a string or dictionary", item);
        }
    }
}

static bool compile_json(struct log_format *f, const struct pgv_value *format,
                         const struct pgv_value *fields, struct log_warnings *w,
                         struct pgv_error *err)
{
    struct pgv_buf b;
    bool ok;

    f->json = true;
    f->items_n = f->text_n = 0;
    if (pgv_is(format, PGV_LIST))
        fields_of_list(f, format, w);
    else if (pgv_is(format, PGV_STRING))
        fields_of_text(f, format->u.s);
    else if (format)
        warn(w, "Expected log format to be a string or a list", format);
    if (f->items_n == 0)
        fields_of_text(f, PGV_STR(DEFAULT_FORMAT));
    if (!pgv_value_first(fields))
        return true;
    pgv_buf_init(&b, sizeof(f->fields) - 1);
    if (!pgv_buf_reserve(&b, sizeof(f->fields) - 1))
        return pgv_fail(err, PGV_ENOMEM, "no memory for log.static_fields");
    PGV_EACH(field, fields)
    {
        pgv_buf_puts(&b, ", ");
        pgv_json_write_string(&b, field->key);
        pgv_buf_puts(&b, ": ");
        pgv_json_write(&b, field, PGV_JSON_SPACED);
    }
    ok = !b.failed && pgv_copy(f->fields, sizeof(f->fields), pgv_buf_view(&b));
    if (!ok)
        (void)pgv_fail(err, PGV_EINVALID, "log.static_fields are longer than %zu bytes",
                       sizeof(f->fields) - 1);
    pgv_buf_done(&b);
    return ok;
}

bool log_format_compile(struct log_format *f, const struct pgv_value *section,
                        struct log_warnings *w, struct pgv_error *err)
{
    const struct pgv_value *format = pgv_get(section, "format");
    const struct pgv_value *date = pgv_get(section, "dateformat");

    *f = (struct log_format){ 0 };
    if (date && date->type != PGV_STRING && pgv_truthy(date))
        warn(w, "Expected log dateformat to be a string", date);
    if (!pgv_copy(f->dateformat, sizeof(f->dateformat), pgv_string(date)))
        return pgv_fail(err, PGV_EINVALID, "log.dateformat is too long");
    if (pgv_str_eqz(pgv_string(pgv_get(section, "type")), "json"))
        return compile_json(f, format, pgv_get(section, "static_fields"), w, err);
    if (format && format->type != PGV_STRING) {
        warn(w, "Expected log format to be a string when log type is plain", format);
        format = NULL;
    }
    if (compile_plain(f, format ? format->u.s : PGV_STR(DEFAULT_FORMAT)) == 0)
        return pgv_fail(err, PGV_EINVALID, "Invalid format '%.100s' for '%%' style",
                        format ? format->u.s.p : "");
    return true;
}

/* The value of an attribute: a text, or a number with @ret_is_number. */
struct attr_value {
    struct pgv_str s;
    bool is_int, is_real;
    int64_t i;
    double d;
    char scratch[256];
};

static void asctime_value(const struct log_format *f, const struct log_record *r,
                          struct attr_value *ret)
{
    const char *format = f->dateformat[0] ? f->dateformat : DEFAULT_DATEFORMAT;
    time_t t = (time_t)(r->wall_us / 1000000);
    struct tm tm = { 0 };
    size_t n;

    (void)localtime_r(&t, &tm);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the user's own format, as documented */
    n = strftime(ret->scratch, sizeof(ret->scratch), format, &tm);
#pragma GCC diagnostic pop
    ret->scratch[n] = '\0';
    if (!f->dateformat[0])
        (void)snprintf(ret->scratch + n, sizeof(ret->scratch) - n, ",%03d",
                       (int)(r->wall_us / 1000 % 1000));
    ret->s = pgv_str(ret->scratch);
}

static struct pgv_str last_part(const char *s, char sep)
{
    const char *p = strrchr(s, sep);

    return pgv_str(p ? p + 1 : s);
}

static void attr_value(const struct log_format *f, const struct log_record *r, enum log_attr attr,
                       struct attr_value *ret)
{
    ret->is_int = ret->is_real = false;
    ret->s = PGV_STR("");
    switch (attr) {
    case LOG_ATTR_ASCTIME:
        asctime_value(f, r, ret);
        break;
    case LOG_ATTR_CREATED:
        ret->is_real = true;
        ret->d = (double)r->wall_us / 1e6;
        break;
    case LOG_ATTR_FILENAME:
        ret->s = last_part(r->file, '/');
        break;
    case LOG_ATTR_FUNCNAME:
        ret->s = pgv_str(r->func);
        break;
    case LOG_ATTR_LEVELNAME:
        ret->s = pgv_str(log_level_name(r->level));
        break;
    case LOG_ATTR_LEVELNO:
        ret->is_int = true;
        ret->i = ((int)r->level + 1) * 10;
        break;
    case LOG_ATTR_LINENO:
        ret->is_int = true;
        ret->i = r->line;
        break;
    case LOG_ATTR_MESSAGE:
        ret->s = pgv_str(r->message);
        break;
    case LOG_ATTR_MODULE:
        ret->s = last_part(r->name, '.');
        break;
    case LOG_ATTR_MSECS:
        ret->is_real = true;
        ret->d = (double)(r->wall_us / 1000 % 1000);
        break;
    case LOG_ATTR_NAME:
        ret->s = pgv_str(r->name);
        break;
    case LOG_ATTR_PATHNAME:
        ret->s = pgv_str(r->file);
        break;
    case LOG_ATTR_PROCESS:
    case LOG_ATTR_THREAD: /* there is one thread, and its number is that of the process */
        ret->is_int = true;
        ret->i = getpid();
        break;
    case LOG_ATTR_PROCESSNAME:
        ret->s = PGV_STR("MainProcess");
        break;
    case LOG_ATTR_RELATIVECREATED:
        ret->is_real = true;
        ret->d = (double)(r->wall_us - log_start_wall_us) / 1e3;
        break;
    case LOG_ATTR_THREADNAME:
        ret->s = PGV_STR("MainThread");
        break;
    case LOG_ATTR_NONE:
    case LOG_ATTR_UNKNOWN:
        ret->s = PGV_STR("None");
        break;
    }
}

/* The text form of a number, by the item's conversion. */
static void number_text(struct attr_value *v, const struct log_item *item)
{
    double d = v->is_real ? v->d : (double)v->i;
    int64_t i = v->is_real ? (int64_t)v->d : v->i;
    int precision = item->precision < 0 ? 6 : item->precision > 20 ? 20 : item->precision;

    switch (item->conversion) {
    case 'd':
    case 'i':
    case 'u':
        (void)snprintf(v->scratch, sizeof(v->scratch), "%" PRId64, i);
        break;
    case 'x':
    case 'X':
        (void)snprintf(v->scratch, sizeof(v->scratch), "%" PRIx64, (uint64_t)i);
        break;
    case 'o':
        (void)snprintf(v->scratch, sizeof(v->scratch), "%" PRIo64, (uint64_t)i);
        break;
    case 'e':
    case 'E':
        (void)snprintf(v->scratch, sizeof(v->scratch), "%.*e", precision, d);
        break;
    case 'f':
    case 'F':
        (void)snprintf(v->scratch, sizeof(v->scratch), "%.*f", precision, d);
        break;
    case 'g':
    case 'G':
        (void)snprintf(v->scratch, sizeof(v->scratch), "%.*g", precision, d);
        break;
    default: /* as a text: what str() makes of it */
        if (v->is_real)
            pgv_format_real(v->d, v->scratch);
        else
            (void)snprintf(v->scratch, sizeof(v->scratch), "%" PRId64, v->i);
        break;
    }
    v->s = pgv_str(v->scratch);
}

/* Control characters would break or forge lines, and dress up a terminal: they are escaped. */
static void put_visible(struct out *o, struct pgv_str s)
{
    char esc[8];

    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if ((c >= 0x20 && c != 0x7f) || c == '\t') {
            put(o, s.p + i, 1);
            continue;
        }
        if (c == '\n')
            (void)snprintf(esc, sizeof(esc), "\\n");
        else if (c == '\r')
            (void)snprintf(esc, sizeof(esc), "\\r");
        else
            (void)snprintf(esc, sizeof(esc), "\\x%02x", c);
        puts_out(o, esc);
    }
}

static void put_plain_item(struct out *o, const struct log_item *item, struct attr_value *v)
{
    bool number = v->is_int || v->is_real;
    size_t pad;

    if (number)
        number_text(v, item);
    else if (item->precision >= 0 && v->s.n > (size_t)item->precision)
        v->s.n = (size_t)item->precision;
    pad = v->s.n < (size_t)item->width ? (size_t)item->width - v->s.n : 0;
    for (; pad && !item->left; pad--)
        puts_out(o, number && item->zero ? "0" : " ");
    put_visible(o, v->s);
    for (; pad; pad--)
        puts_out(o, " ");
}

static void put_json_item(struct out *o, const struct log_item *item, struct attr_value *v)
{
    static const struct log_item as_text = { .conversion = 's' };

    if (item->attr == LOG_ATTR_UNKNOWN) {
        puts_out(o, "null");
    } else if (v->is_int || v->is_real) {
        number_text(v, &as_text);
        put(o, v->s.p, v->s.n);
    } else {
        put_json_string(o, v->s);
    }
}

size_t log_format_line(const struct log_format *f, const struct log_record *r, char *out,
                       size_t out_bytes)
{
    struct out o = { out, 0, out_bytes - 1 }; /* the newline always fits */
    struct attr_value v;

    if (f->json)
        puts_out(&o, "{");
    for (size_t i = 0; i < f->items_n; i++) {
        const struct log_item *item = &f->items[i];

        if (f->json && i)
            puts_out(&o, ", ");
        put(&o, f->text + item->text, item->text_n);
        if (item->attr == LOG_ATTR_NONE)
            continue;
        attr_value(f, r, item->attr, &v);
        if (f->json) {
            puts_out(&o, ": ");
            put_json_item(&o, item, &v);
        } else {
            put_plain_item(&o, item, &v);
        }
    }
    if (f->json) {
        puts_out(&o, f->fields);
        puts_out(&o, "}");
    }
    out[o.n++] = '\n';
    return o.n;
}
