/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/record_text.c - traces as text, by the same table of fields as the bytes.
 *
 * A field is written when it differs from what was told before; a list says its new length
 * ('members#=3') before its elements, and elements that it gains begin empty. Roles, states,
 * reasons and requests are written as words, so that new ones may be put between them.
 */
#include "agent/record_fields.h"

#include "base/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define PATH_BYTES 200
#define LINE_TEXT_BYTES 1024

/* ---- words -------------------------------------------------------------------------------- */

static bool ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n >= m && strcmp(name + n - m, end) == 0 &&
           (n == m || name[n - m - 1] == '.' || name[n - m - 1] == '_');
}

/* NULL: a number is as good. */
static const char *word_of(const struct record_field *f, uint64_t v)
{
    if (v >= f->limit)
        return NULL;
    if (ends_in(f->name, "why"))
        return ha_why_label((enum ha_why)v);
    if (ends_in(f->name, "role"))
        return pgv_role_name((enum pgv_role)v);
    if (strcmp(f->name, "state") == 0)
        return pgv_state_name((enum pgv_state)v);
    if (ends_in(f->name, "watchdog.op"))
        return ha_watchdog_op_name((enum ha_watchdog_op)v);
    if (ends_in(f->name, "op"))
        return ha_dcs_op_name((enum ha_dcs_op)v);
    return NULL;
}

/* Lists with one element for each request to the store. */
static bool by_op(const struct record_field *f)
{
    return f->n_off == RECORD_ALL && f->n == HA_DCS_OPS;
}

/* ---- writing ------------------------------------------------------------------------------ */

static bool put_value_text(struct pgv_buf *b, const char *s, size_t n)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-+.:/";
    bool quote = n == 0;

    for (size_t i = 0; i < n && !quote; i++)
        quote = !memchr(plain, s[i], sizeof(plain) - 1);
    if (!quote)
        return pgv_buf_append(b, s, n);
    (void)pgv_buf_putc(b, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c < ' ' || c == '"' || c == '\\' || c == 0x7f)
            (void)pgv_buf_printf(b, "\\%02x", c);
        else
            (void)pgv_buf_putc(b, (char)c);
    }
    return pgv_buf_putc(b, '"');
}

static bool put_value(struct pgv_buf *b, const struct record_field *f, const void *p)
{
    char clean[PGV_URL_BYTES];
    const char *word;
    size_t n;

    switch (f->kind) {
    case RECORD_BOOL:
    case RECORD_UINT:
        return pgv_buf_printf(b, "%" PRIu64, record_load_uint(p, f->size));
    case RECORD_ENUM:
        word = word_of(f, record_load_uint(p, f->size));
        return word ? put_value_text(b, word, strlen(word))
                    : pgv_buf_printf(b, "%" PRIu64, record_load_uint(p, f->size));
    case RECORD_INT:
        return pgv_buf_printf(b, "%" PRId64, record_load_int(p, f->size));
    case RECORD_TEXT:
        return put_value_text(b, p, strnlen(p, f->size - 1));
    case RECORD_URL:
        n = record_clean_url(p, strnlen(p, f->size - 1), clean);
        return put_value_text(b, clean, n);
    case RECORD_STRUCT:
        break;
    }
    return false;
}

static bool same_value(const struct record_field *f, const void *p, const void *q)
{
    static const unsigned char none[8];

    if (f->kind == RECORD_TEXT || f->kind == RECORD_URL)
        return q ? strncmp(p, q, f->size) == 0 : *(const char *)p == 0;
    return memcmp(p, q ? q : none, f->size) == 0;
}

static uint32_t count_of(const struct record_field *f, const unsigned char *base)
{
    uint32_t n = f->n;

    if (f->n_off != RECORD_ALL)
        n = base ? (uint32_t)record_load_uint(base + f->n_off, sizeof(unsigned)) : 0;
    return n < f->n ? n : f->n;
}

/* @was NULL: nothing was told before. */
static bool put_changes(struct pgv_buf *b, const char *path, const struct record_fields *fields,
                        const unsigned char *now, const unsigned char *was)
{
    for (unsigned i = 0; i < fields->n; i++) {
        const struct record_field *f = &fields->v[i];
        uint32_t n = count_of(f, now), n_was = count_of(f, was);
        char name[PATH_BYTES];

        if (n != n_was && !pgv_buf_printf(b, " %s%s#=%u", path, f->name, n))
            return false;
        for (uint32_t k = 0; k < n; k++) {
            const unsigned char *p = now + f->off + (size_t)k * f->size, *q = NULL;
            int len;

            if (was && k < n_was)
                q = was + f->off + (size_t)k * f->size;
            if (f->kind != RECORD_STRUCT && same_value(f, p, q))
                continue;
            if (f->n == 1 && f->n_off == RECORD_ALL)
                len = snprintf(name, sizeof(name), "%s%s", path, f->name);
            else if (by_op(f))
                len = snprintf(name, sizeof(name), "%s%s[%s]", path, f->name,
                               ha_dcs_op_name((enum ha_dcs_op)k));
            else
                len = snprintf(name, sizeof(name), "%s%s[%u]", path, f->name, k);
            if (len < 0 || (size_t)len + 2 > sizeof(name))
                return false;
            if (f->kind == RECORD_STRUCT) {
                name[len] = '.';
                name[len + 1] = 0;
                if (!put_changes(b, name, f->sub, p, q))
                    return false;
            } else if (!pgv_buf_printf(b, " %s=", name) || !put_value(b, f, p)) {
                return false;
            }
        }
    }
    return true;
}

void record_text_init(struct record_text *t)
{
    memset(t, 0, sizeof(*t));
}

bool record_text_put_world(struct pgv_buf *b, const struct ha *ha)
{
    return pgv_buf_puts(b, "world") &&
           put_changes(b, "", &record_ha_fields, (const unsigned char *)ha, NULL) &&
           pgv_buf_putc(b, '\n');
}

/* An event as it was told last; @ev's own pointers are not kept. */
static void point_to_told(struct record_event *r, bool nothing)
{
    struct ha_event *ev = &r->ev;

    if (ev->type == HA_EV_POLICY)
        ev->u.policy = &r->policy;
    else if (ev->type == HA_EV_VIEW)
        ev->u.view.cluster = nothing ? NULL : &r->cluster;
    else if (ev->type == HA_EV_FACTS || ev->type == HA_EV_LOOKED)
        ev->u.facts = &r->facts;
    else if (ev->type == HA_EV_PEERS)
        ev->u.peers.peers = r->peers;
}

static void take_told(struct record_event *to, const struct ha_event *ev, bool nothing)
{
    to->ev = *ev;
    if (ev->type == HA_EV_POLICY)
        to->policy = *ev->u.policy;
    else if (ev->type == HA_EV_VIEW && !nothing)
        to->cluster = *ev->u.view.cluster;
    else if (ev->type == HA_EV_FACTS || ev->type == HA_EV_LOOKED)
        to->facts = *ev->u.facts;
    else if (ev->type == HA_EV_PEERS)
        memcpy(to->peers, ev->u.peers.peers, ev->u.peers.n * sizeof(to->peers[0]));
    point_to_told(to, nothing);
}

bool record_text_put_event(struct record_text *t, struct pgv_buf *b, const struct ha_event *ev)
{
    static struct record_event was; /* large, and one thread */
    bool nothing = ev->type == HA_EV_VIEW && !ev->u.view.cluster, ok;

    PGV_ASSERT(ev->type != HA_EV_PEERS || ev->u.peers.n <= HA_PEERS_MAX);
    was = t->last;
    was.ev.u.peers.n = 0; /* answers are told in full */
    take_told(&t->last, ev, nothing);
    ok = pgv_buf_printf(b, "at %" PRIu64 " %" PRId64 " %s%s", ev->now_ms, ev->wall_us,
                        ha_event_name(ev->type), nothing ? " nothing" : "") &&
         put_changes(b, "", &record_event_fields[ev->type], (const unsigned char *)&t->last.ev,
                     NULL);
    if (ok && !nothing)
        ok = put_changes(b, "", &record_told_fields[ev->type], (const unsigned char *)&t->last,
                         (const unsigned char *)&was);
    return ok && pgv_buf_putc(b, '\n');
}

bool record_text_put_effects(struct pgv_buf *b, const struct ha_effects *fx, uint64_t now_ms)
{
    for (unsigned i = 0; i < fx->n; i++) {
        const struct ha_effect *e = &fx->v[i];

        if (!pgv_buf_printf(b, "= %s %s", ha_effect_name(e->type), ha_why_label(e->why)) ||
            !put_changes(b, "", &record_effect_fields[e->type], (const unsigned char *)e, NULL) ||
            !pgv_buf_putc(b, '\n'))
            return false;
    }
    return pgv_buf_printf(b, "= wake %" PRId64 "\n", (int64_t)(fx->wake_ms - now_ms));
}

/* ---- reading ------------------------------------------------------------------------------ */

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The next word; a quoted value loses its quotes. False: no more, or (@ret_bad) it does not end. */
static bool next_word(struct pgv_str *line, char ret[LINE_TEXT_BYTES], bool *ret_bad)
{
    size_t n = 0, i = 0;
    bool quoted = false;

    while (line->n && line->p[0] == ' ')
        line->p++, line->n--;
    if (!line->n)
        return false;
    for (; i < line->n && (quoted || line->p[i] != ' '); i++) {
        char c = line->p[i];

        if (c == '"') {
            quoted = !quoted;
            continue;
        }
        if (quoted && c == '\\') {
            int high = i + 2 < line->n ? hex(line->p[i + 1]) : -1;
            int low = high >= 0 ? hex(line->p[i + 2]) : -1;

            if (low < 0 || high + low == 0)
                break;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (n + 1 == LINE_TEXT_BYTES)
            break;
        ret[n++] = c;
    }
    if (quoted || (i < line->n && line->p[i] != ' ')) {
        *ret_bad = true;
        return false;
    }
    ret[n] = 0;
    line->p += i;
    line->n -= i;
    return true;
}

static bool to_i64(const char *s, int64_t *ret)
{
    uint64_t u;
    bool minus = *s == '-';

    if (!pgv_parse_u64(pgv_str(s + minus), &u) || u > (uint64_t)INT64_MAX + minus)
        return false;
    *ret = minus ? (int64_t)(0 - u) : (int64_t)u;
    return true;
}

static bool set_value(const struct record_field *f, unsigned char *p, const char *value)
{
    uint64_t u;
    int64_t i;
    size_t n;

    switch (f->kind) {
    case RECORD_BOOL:
        return pgv_parse_u64(pgv_str(value), &u) && u <= 1 && record_store_uint(p, f->size, u);
    case RECORD_UINT:
        return pgv_parse_u64(pgv_str(value), &u) && record_store_uint(p, f->size, u);
    case RECORD_INT:
        return to_i64(value, &i) && record_store_int(p, f->size, i);
    case RECORD_ENUM:
        for (uint32_t v = 0; v < f->limit && word_of(f, v); v++)
            if (strcmp(word_of(f, v), value) == 0)
                return record_store_uint(p, f->size, v);
        return pgv_parse_u64(pgv_str(value), &u) && u < f->limit && !word_of(f, u) &&
               record_store_uint(p, f->size, u);
    case RECORD_TEXT:
    case RECORD_URL:
        n = strlen(value);
        if (n >= f->size)
            return false;
        memset(p, 0, f->size);
        memcpy(p, value, n);
        return true;
    case RECORD_STRUCT:
        break;
    }
    return false;
}

static bool set_count(const struct record_field *f, unsigned char *base, const char *value)
{
    uint32_t was = count_of(f, base);
    uint64_t n;

    if (!pgv_parse_u64(pgv_str(value), &n) || n > f->n)
        return false;
    if (n > was)
        memset(base + f->off + (size_t)was * f->size, 0, (size_t)(n - was) * f->size);
    return record_store_uint(base + f->n_off, sizeof(unsigned), n);
}

/* '[3]' or '[renew_leader]'; @ret_rest is behind it. */
static bool index_of(const struct record_field *f, const unsigned char *base, const char *at,
                     uint32_t *ret, const char **ret_rest)
{
    const char *end = strchr(at, ']');
    struct pgv_str word;
    uint64_t k = 0;

    if (!end || (f->n == 1 && f->n_off == RECORD_ALL))
        return false;
    word = (struct pgv_str){ at + 1, (size_t)(end - at - 1) };
    if (by_op(f)) {
        while (k < HA_DCS_OPS && !pgv_str_eqz(word, ha_dcs_op_name((enum ha_dcs_op)k)))
            k++;
    } else if (!pgv_parse_u64(word, &k)) {
        return false;
    }
    *ret = (uint32_t)k;
    *ret_rest = end + 1;
    return k < count_of(f, base);
}

static bool set_field(const struct record_fields *fields, unsigned char *base, const char *key,
                      const char *value)
{
    for (unsigned i = 0; i < fields->n; i++) {
        const struct record_field *f = &fields->v[i];
        size_t n = strlen(f->name);
        const char *rest = key + n;
        uint32_t k = 0;

        if (strncmp(key, f->name, n) != 0)
            continue;
        if (strcmp(rest, "#") == 0 && f->n_off != RECORD_ALL)
            return set_count(f, base, value);
        if (*rest == '[' && !index_of(f, base, rest, &k, &rest))
            return false;
        if (*rest == 0 && f->kind != RECORD_STRUCT)
            return set_value(f, base + f->off + (size_t)k * f->size, value);
        if (*rest == '.' && f->kind == RECORD_STRUCT)
            return set_field(f->sub, base + f->off + (size_t)k * f->size, rest + 1, value);
    }
    return false;
}

static bool get_fields(struct pgv_str *line, const struct record_fields *fields, void *base,
                       const struct record_fields *told, void *told_base, struct pgv_error *err)
{
    char word[LINE_TEXT_BYTES], *value;
    bool bad = false;

    while (next_word(line, word, &bad)) {
        value = strchr(word, '=');
        if (value)
            *value++ = 0;
        if (!value || !(set_field(fields, base, word, value) ||
                        (told && set_field(told, told_base, word, value))))
            return pgv_fail(err, PGV_EINVALID, "what is '%.80s%s%.80s'", word, value ? "=" : "",
                            value ? value : "");
    }
    return !bad || pgv_fail(err, PGV_EINVALID, "a text does not end, or is too long");
}

static bool cut_word(struct pgv_str *line, const char *word)
{
    struct pgv_str head, tail;
    bool more = pgv_str_cut(pgv_str_trim(*line), ' ', &head, &tail);

    if (!pgv_str_eqz(head, word))
        return false;
    *line = more ? tail : (struct pgv_str){ 0 };
    return true;
}

bool record_text_get_world(struct pgv_str line, struct ha *ret, struct pgv_error *err)
{
    if (!cut_word(&line, "world"))
        return pgv_fail(err, PGV_EINVALID, "a line that begins with 'world' is expected");
    memset(ret, 0, sizeof(*ret));
    return get_fields(&line, &record_ha_fields, ret, NULL, NULL, err);
}

bool record_text_get_event(struct record_text *t, struct pgv_str line, struct pgv_error *err)
{
    struct record_event *last = &t->last;
    struct ha_event *ev = &last->ev;
    char now[LINE_TEXT_BYTES], wall[LINE_TEXT_BYTES], name[LINE_TEXT_BYTES];
    bool bad = false, nothing;
    unsigned type = 0;

    memset(ev, 0, sizeof(*ev));
    if (!cut_word(&line, "at") || !next_word(&line, now, &bad) || !next_word(&line, wall, &bad) ||
        !next_word(&line, name, &bad) || !pgv_parse_u64(pgv_str(now), &ev->now_ms) ||
        !to_i64(wall, &ev->wall_us))
        return pgv_fail(err, PGV_EINVALID, "'at NOW_MS WALL_US EVENT' is expected");
    while (type <= HA_EV_SHUTDOWN && strcmp(ha_event_name((enum ha_event_type)type), name) != 0)
        type++;
    if (type > HA_EV_SHUTDOWN)
        return pgv_fail(err, PGV_EINVALID, "there is no event '%.80s'", name);
    ev->type = (enum ha_event_type)type;
    nothing = ev->type == HA_EV_VIEW && cut_word(&line, "nothing");
    if (!get_fields(&line, &record_event_fields[type], ev,
                    nothing ? NULL : &record_told_fields[type], last, err))
        return false;
    point_to_told(last, nothing);
    return true;
}
