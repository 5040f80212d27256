/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/yaml.c - reading YAML: libyaml's events become a value tree.
 *
 * libyaml keeps its own memory with malloc(), checks it, and says so when it has none. Anchored
 * values are kept by name; an alias is a deep copy, so that a document of a few lines cannot unfold
 * beyond the arena's ceiling, and a value that contains itself is refused. Messages name file, line
 * and libyaml's reason, never the text, which may be a password.
 *
 * Keys of maps are always text here. Keys of other types get the form they have in JSON: 1, true.
 */
#include "base/parse.h"
#include "base/value_build.h"
#include "base/yaml_scalar.h"

#include <inttypes.h>
#include <stdio.h>
#include <yaml.h>

#include "base/banned.h"

#define ANCHORS_MAX 256
#define TAG_PREFIX "tag:yaml.org,2002:"

struct anchor {
    const char *name;
    const struct pgv_value *value; /* NULL while we are still within it */
};

struct reader {
    struct pgv_arena *arena;
    const char *file;
    struct pgv_error *err;
    yaml_parser_t parser;
    struct anchor anchors[ANCHORS_MAX];
    size_t anchors_n;
    size_t depth;
};

static bool fail_at(struct reader *r, size_t line, enum pgv_code code, const char *why)
{
    if (r->file)
        return pgv_fail(r->err, code, "%s, line %zu: %s", r->file, line, why);
    return pgv_fail(r->err, code, "line %zu: %s", line, why);
}

static bool no_room(struct reader *r, size_t line)
{
    if (r->arena->over)
        return fail_at(r, line, PGV_EINVALID, "the document is too large");
    return fail_at(r, line, PGV_ENOMEM, "no memory for the document");
}

static bool next_event(struct reader *r, yaml_event_t *ret)
{
    if (yaml_parser_parse(&r->parser, ret))
        return true;
    if (r->parser.error == YAML_MEMORY_ERROR)
        return fail_at(r, r->parser.mark.line + 1, PGV_ENOMEM, "no memory to read it");
    /* The reader of bytes knows no lines yet, only where it stands. */
    return fail_at(
        r,
        (r->parser.error == YAML_READER_ERROR ? r->parser.mark.line : r->parser.problem_mark.line) +
            1,
        PGV_EINVALID, r->parser.problem ? r->parser.problem : "cannot be read");
}

static bool read_node(struct reader *r, yaml_event_t *event, struct pgv_value **ret,
                      enum yaml_kind *ret_kind);

static size_t line_of(const yaml_event_t *event)
{
    return event->start_mark.line + 1;
}

static struct pgv_value *new_at(struct reader *r, enum pgv_type type, size_t line)
{
    struct pgv_value *v = pgv_new(r->arena, type);

    if (v) {
        v->line = (unsigned)line;
        v->file = r->file;
    }
    return v;
}

/* Remembers the name; the value is filled in when it is complete. @ret_slot NULL: no anchor. */
static bool add_anchor(struct reader *r, const yaml_char_t *name, size_t line,
                       struct anchor **ret_slot)
{
    struct pgv_str s = pgv_str((const char *)name);

    *ret_slot = NULL;
    if (!name)
        return true;
    for (size_t i = 0; i < r->anchors_n; i++) {
        if (pgv_str_eqz(s, r->anchors[i].name))
            return fail_at(r, line, PGV_EINVALID, "found duplicate anchor");
    }
    if (r->anchors_n == ANCHORS_MAX)
        return fail_at(r, line, PGV_EINVALID, "too many anchors");
    *ret_slot = &r->anchors[r->anchors_n++];
    (*ret_slot)->value = NULL;
    (*ret_slot)->name = pgv_arena_dup(r->arena, s);
    if (!(*ret_slot)->name)
        return no_room(r, line);
    return true;
}

static size_t height(const struct pgv_value *v)
{
    size_t most = 0;

    PGV_EACH(item, v)
    {
        size_t h = height(item);

        if (h > most)
            most = h;
    }
    return most + 1;
}

static bool read_alias(struct reader *r, const yaml_event_t *event, struct pgv_value **ret)
{
    struct pgv_str name = pgv_str((const char *)event->data.alias.anchor);

    for (size_t i = 0; i < r->anchors_n; i++) {
        if (!pgv_str_eqz(name, r->anchors[i].name))
            continue;
        if (!r->anchors[i].value)
            return fail_at(r, line_of(event), PGV_EINVALID, "a value cannot contain itself");
        if (r->depth + height(r->anchors[i].value) > PGV_DEPTH_MAX)
            return fail_at(r, line_of(event), PGV_EINVALID, "nested too deeply");
        *ret = pgv_value_copy(r->arena, r->anchors[i].value);
        return *ret || no_room(r, line_of(event));
    }
    return fail_at(r, line_of(event), PGV_EINVALID, "found undefined alias");
}

/* The kind an explicit tag asks for. */
static bool tag_kind(const char *tag, enum yaml_kind *ret)
{
    static const struct {
        const char *tag;
        enum yaml_kind kind;
    } known[] = {
        { TAG_PREFIX "str", YAML_KIND_STR },     { TAG_PREFIX "null", YAML_KIND_NULL },
        { TAG_PREFIX "bool", YAML_KIND_BOOL },   { TAG_PREFIX "int", YAML_KIND_INT },
        { TAG_PREFIX "float", YAML_KIND_FLOAT }, { TAG_PREFIX "timestamp", YAML_KIND_TIMESTAMP },
        { TAG_PREFIX "merge", YAML_KIND_MERGE }, { TAG_PREFIX "value", YAML_KIND_VALUE },
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (strcmp(tag, known[i].tag) == 0) {
            *ret = known[i].kind;
            return true;
        }
    }
    return false;
}

static bool read_scalar(struct reader *r, const yaml_event_t *event, struct pgv_value **ret,
                        enum yaml_kind *ret_kind)
{
    struct pgv_str s = { (const char *)event->data.scalar.value, event->data.scalar.length };
    const char *tag = (const char *)event->data.scalar.tag;
    enum yaml_kind kind = YAML_KIND_STR;
    struct pgv_value scalar = { 0 };
    struct pgv_value *v;

    if (tag && strcmp(tag, "!") != 0) {
        if (!tag_kind(tag, &kind))
            return fail_at(r, line_of(event), PGV_EINVALID, "a tag of an unknown type");
    } else if (event->data.scalar.plain_implicit) {
        kind = yaml_resolve(s);
    }
    *ret_kind = kind;
    if (kind == YAML_KIND_VALUE) { /* only a key may be a bare '=' */
        scalar.type = PGV_STRING;
        scalar.u.s = s;
    } else if (!yaml_construct(s, kind, &scalar)) {
        return fail_at(r, line_of(event), PGV_EINVALID, "a value that its type does not have");
    }
    v = new_at(r, scalar.type, line_of(event));
    if (v && scalar.type == PGV_STRING) {
        char *p = pgv_arena_dup(r->arena, s);

        if (!p)
            v = NULL;
        else
            v->u.s = (struct pgv_str){ p, s.n };
    } else if (v) {
        v->u = scalar.u;
    }
    *ret = v;
    return v || no_room(r, line_of(event));
}

/* The tag of a list or map, if it has one, must say just that. */
static bool check_collection(struct reader *r, const yaml_char_t *tag, const char *wanted,
                             size_t line)
{
    if (tag && strcmp((const char *)tag, "!") != 0 && strcmp((const char *)tag, wanted) != 0)
        return fail_at(r, line, PGV_EINVALID, "a tag of an unknown type");
    if (r->depth >= PGV_DEPTH_MAX)
        return fail_at(r, line, PGV_EINVALID, "nested too deeply");
    return true;
}

/* A value as an item of a list or a member of a map: there '=' has no meaning. */
static bool read_value(struct reader *r, yaml_event_t *event, struct pgv_value **ret)
{
    size_t line = line_of(event);
    enum yaml_kind kind;

    if (!read_node(r, event, ret, &kind))
        return false;
    if (kind == YAML_KIND_VALUE || kind == YAML_KIND_MERGE)
        return fail_at(r, line, PGV_EINVALID, "'<<' and '=' cannot be values");
    return true;
}

static bool read_list(struct reader *r, struct pgv_value *list)
{
    yaml_event_t event;
    struct pgv_value *item;

    for (;;) {
        if (!next_event(r, &event))
            return false;
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return true;
        }
        if (!read_value(r, &event, &item))
            return false;
        pgv_list_add(list, item);
    }
}

/* The text under which a key is known; scalars only. */
static bool key_text(struct reader *r, const struct pgv_value *key, struct pgv_str *ret)
{
    char text[PGV_REAL_BYTES];
    char *p;

    switch (key->type) {
    case PGV_STRING:
        *ret = key->u.s;
        return true;
    case PGV_NULL:
        *ret = PGV_STR("null");
        return true;
    case PGV_BOOL:
        *ret = key->u.b ? PGV_STR("true") : PGV_STR("false");
        return true;
    case PGV_INT:
        (void)snprintf(text, sizeof(text), "%" PRId64, key->u.i);
        break;
    case PGV_REAL:
        pgv_format_real(key->u.d, text);
        break;
    case PGV_LIST:
    case PGV_MAP:
        return fail_at(r, key->line, PGV_EINVALID, "found unhashable key");
    }
    p = pgv_arena_dup(r->arena, pgv_str(text));
    if (!p)
        return no_room(r, key->line);
    *ret = pgv_str(p);
    return true;
}

static bool append(struct reader *r, struct pgv_value *map, struct pgv_str key,
                   struct pgv_value *item, size_t line)
{
    if (map->u.c.n == PGV_MEMBERS_MAX)
        return fail_at(r, line, PGV_EINVALID, "too many members in one map");
    pgv_map_append(map, key, item);
    return true;
}

/* Members of @from come into @map by copy, because an anchor may still speak of them. */
static bool merge_map(struct reader *r, struct pgv_value *map, const struct pgv_value *from)
{
    PGV_EACH(item, from)
    {
        struct pgv_value *copy = pgv_value_copy(r->arena, item);

        if (!copy)
            return no_room(r, item->line);
        if (!append(r, map, copy->key, copy, item->line))
            return false;
    }
    return true;
}

/* The value of '<<': a map, or a list of maps of which the earlier beat the later. */
static bool merge(struct reader *r, struct pgv_value *map, const struct pgv_value *from)
{
    const struct pgv_value *done = NULL;

    if (from->type == PGV_MAP)
        return merge_map(r, map, from);
    if (from->type != PGV_LIST)
        return fail_at(r, from->line, PGV_EINVALID,
                       "expected a mapping or list of mappings for merging");
    PGV_EACH(item, from)
    {
        if (item->type != PGV_MAP)
            return fail_at(r, item->line, PGV_EINVALID, "expected a mapping for merging");
    }
    if (from->u.c.n > PGV_MEMBERS_MAX)
        return fail_at(r, from->line, PGV_EINVALID, "too many mappings for merging");
    while (done != from->u.c.first) { /* from its end */
        const struct pgv_value *at = from->u.c.first;

        while (at->next != done)
            at = at->next;
        if (!merge_map(r, map, at))
            return false;
        done = at;
    }
    return true;
}

static bool read_map(struct reader *r, struct pgv_value *map)
{
    struct pgv_value own = { .type = PGV_MAP }, *key, *item, *next;
    yaml_event_t event;
    enum yaml_kind kind;
    struct pgv_str text;

    for (;;) {
        if (!next_event(r, &event))
            return false;
        if (event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            break;
        }
        if (!read_node(r, &event, &key, &kind))
            return false;
        if (!next_event(r, &event))
            return false;
        if (!read_value(r, &event, &item))
            return false;
        if (kind == YAML_KIND_MERGE) {
            if (!merge(r, map, item))
                return false;
        } else if (!key_text(r, key, &text) || !append(r, &own, text, item, key->line)) {
            return false;
        }
    }
    /* What is merged comes first and is overridden by what stands here. */
    for (item = own.u.c.first; item; item = next) {
        next = item->next;
        if (!append(r, map, item->key, item, item->line))
            return false;
    }
    return pgv_map_make_unique(map) || no_room(r, map->line);
}

/* One node whose first event is @event, which is used up in any case. */
static bool read_node(struct reader *r, yaml_event_t *event, struct pgv_value **ret,
                      enum yaml_kind *ret_kind)
{
    enum yaml_event_type_e type = event->type;
    size_t line = line_of(event);
    struct anchor *anchor = NULL;
    struct pgv_value *v = NULL;
    bool ok = false;

    *ret_kind = YAML_KIND_STR;
    switch (type) {
    case YAML_ALIAS_EVENT:
        ok = read_alias(r, event, &v);
        break;
    case YAML_SCALAR_EVENT:
        ok = add_anchor(r, event->data.scalar.anchor, line, &anchor) &&
             read_scalar(r, event, &v, ret_kind);
        break;
    case YAML_SEQUENCE_START_EVENT:
        v = new_at(r, PGV_LIST, line);
        ok = add_anchor(r, event->data.sequence_start.anchor, line, &anchor) &&
             check_collection(r, event->data.sequence_start.tag, TAG_PREFIX "seq", line) &&
             (v || no_room(r, line));
        break;
    case YAML_MAPPING_START_EVENT:
        v = new_at(r, PGV_MAP, line);
        ok = add_anchor(r, event->data.mapping_start.anchor, line, &anchor) &&
             check_collection(r, event->data.mapping_start.tag, TAG_PREFIX "map", line) &&
             (v || no_room(r, line));
        break;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        (void)fail_at(r, line, PGV_EINVALID, "a value is missing");
        break;
    }
    yaml_event_delete(event);
    if (ok && (type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT)) {
        r->depth++;
        ok = type == YAML_SEQUENCE_START_EVENT ? read_list(r, v) : read_map(r, v);
        r->depth--;
    }
    if (ok && anchor)
        anchor->value = v;
    *ret = v;
    return ok;
}

/* Takes the next event, which must be of @type. */
static bool expect_event(struct reader *r, yaml_event_type_t type, const char *else_why)
{
    yaml_event_t event;
    bool ok;

    if (!next_event(r, &event))
        return false;
    ok = event.type == type || fail_at(r, line_of(&event), PGV_EINVALID, else_why);
    yaml_event_delete(&event);
    return ok;
}

static bool read_document(struct reader *r, struct pgv_value **ret)
{
    yaml_event_t event;
    bool empty;

    if (!expect_event(r, YAML_STREAM_START_EVENT, "cannot be read") || !next_event(r, &event))
        return false;
    empty = event.type == YAML_STREAM_END_EVENT;
    yaml_event_delete(&event);
    if (empty) {
        *ret = new_at(r, PGV_NULL, 1);
        return *ret || no_room(r, 1);
    }
    return next_event(r, &event) && read_value(r, &event, ret) &&
           expect_event(r, YAML_DOCUMENT_END_EVENT, "expected the end of the document") &&
           expect_event(r, YAML_STREAM_END_EVENT, "expected a single document in the stream");
}

bool pgv_yaml_parse(struct pgv_arena *a, const char *file, struct pgv_str text,
                    struct pgv_value **ret, struct pgv_error *err)
{
    struct reader r = { .arena = a, .file = file, .err = err };
    struct pgv_value *v = NULL;
    bool ok;

    if (text.n > PGV_YAML_BYTES_MAX)
        return fail_at(&r, 1, PGV_EINVALID, "the document is too long");
    if (!yaml_parser_initialize(&r.parser))
        return fail_at(&r, 1, PGV_ENOMEM, "no memory to read it");
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.n ? text.p : ""), text.n);
    a->over = false;
    ok = read_document(&r, &v);
    yaml_parser_delete(&r.parser);
    if (ok)
        *ret = v;
    return ok;
}
