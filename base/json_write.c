/* SPDX-License-Identifier: PostgreSQL */
/* base/json_write.c - JSON: two styles of writing. Without yajl, for programs that read none. */
#include "base/parse.h"
#include "base/unicode.h"
#include "base/value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

/* Like Python's json.dumps(): what is no printable ASCII becomes an escape. */
size_t pgv_json_escape(uint32_t c, char ret[PGV_JSON_ESCAPE_BYTES])
{
    static const char named[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    const char *name = c && c < 0x80 ? strchr(named, (int)c) : NULL;
    int n;

    if (name)
        n = snprintf(ret, PGV_JSON_ESCAPE_BYTES, "\\%c", names[name - named]);
    else if (c >= ' ' && c <= '~')
        n = snprintf(ret, PGV_JSON_ESCAPE_BYTES, "%c", (char)c);
    else if (c >= 0x10000)
        n = snprintf(ret, PGV_JSON_ESCAPE_BYTES, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                     0xdc00 + ((c - 0x10000) & 0x3ff));
    else
        n = snprintf(ret, PGV_JSON_ESCAPE_BYTES, "\\u%04x", c);
    return (size_t)n;
}

bool pgv_json_write_string(struct pgv_buf *b, struct pgv_str s)
{
    char esc[PGV_JSON_ESCAPE_BYTES];

    pgv_buf_putc(b, '"');
    while (s.n) {
        struct pgv_str plain = s;

        while (s.n && s.p[0] >= ' ' && s.p[0] <= '~' && s.p[0] != '"' && s.p[0] != '\\') {
            s.p++;
            s.n--;
        }
        pgv_buf_append(b, plain.p, plain.n - s.n);
        if (s.n)
            pgv_buf_append(b, esc, pgv_json_escape(pgv_utf8_next(&s), esc));
    }
    pgv_buf_putc(b, '"');
    return !b->failed;
}

static void write_value(struct pgv_buf *b, const struct pgv_value *v, bool spaced, size_t depth)
{
    char real[PGV_REAL_BYTES];

    if (depth > PGV_DEPTH_MAX * 2) { /* no reader of ours would take it back */
        b->failed = true;
        return;
    }
    if (!v) {
        pgv_buf_puts(b, "null");
        return;
    }
    switch (v->type) {
    case PGV_NULL:
        pgv_buf_puts(b, "null");
        return;
    case PGV_BOOL:
        pgv_buf_puts(b, v->u.b ? "true" : "false");
        return;
    case PGV_INT:
        pgv_buf_printf(b, "%" PRId64, v->u.i);
        return;
    case PGV_REAL: /* JSON has no word for what is infinite or not a number */
        pgv_format_real(v->u.d, real);
        pgv_buf_puts(b, isfinite(v->u.d) ? real : "null");
        return;
    case PGV_STRING:
        pgv_json_write_string(b, v->u.s);
        return;
    case PGV_LIST:
    case PGV_MAP:
        break;
    }
    pgv_buf_putc(b, v->type == PGV_MAP ? '{' : '[');
    PGV_EACH(item, v)
    {
        if (v->type == PGV_MAP) {
            pgv_json_write_string(b, item->key);
            pgv_buf_puts(b, spaced ? ": " : ":");
        }
        write_value(b, item, spaced, depth + 1);
        if (item->next)
            pgv_buf_puts(b, spaced ? ", " : ",");
    }
    pgv_buf_putc(b, v->type == PGV_MAP ? '}' : ']');
}

bool pgv_json_write(struct pgv_buf *b, const struct pgv_value *v, enum pgv_json_style style)
{
    write_value(b, v, style == PGV_JSON_SPACED, 0);
    return !b->failed;
}
