/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/value.h - the value tree: what JSON and YAML documents become.
 *
 * A tree lives in an arena and dies with it; values are linked into their parent, so building and
 * merging never copies arrays. Maps keep insertion order. Look-ups are linear: documents are
 * configuration-sized, and every parser has a ceiling.
 */
#pragma once

#include "base/alloc.h"

enum pgv_type { PGV_NULL, PGV_BOOL, PGV_INT, PGV_REAL, PGV_STRING, PGV_LIST, PGV_MAP };

struct pgv_value {
    enum pgv_type type;
    bool plain;         /* a string that YAML is to show without quotes: a moment, which it knows */
    unsigned line;      /* line of the source text, from 1; 0 when there is none */
    const char *file;   /* where it came from, or NULL; borrowed from the parser's caller */
    struct pgv_str key; /* when a member of a map; terminated */
    union {
        bool b;
        int64_t i;
        double d;
        struct pgv_str s; /* terminated */
        struct {
            struct pgv_value *first, *last;
            size_t n;
        } c; /* members of a list or map */
    } u;
    struct pgv_value *next; /* sibling */
};

#define PGV_EACH(item, parent)                                                                     \
    for (struct pgv_value *item = pgv_value_first(parent); item; item = item->next)

/** Everything below accepts NULL and values of another type, and then answers "nothing". */
struct pgv_value *pgv_value_first(const struct pgv_value *v);
bool pgv_is(const struct pgv_value *v, enum pgv_type type);
struct pgv_value *pgv_get(const struct pgv_value *map, const char *key);
/** pgv_get() along a dotted path: "postgresql.parameters". Keys with dots need pgv_get(). */
struct pgv_value *pgv_path(const struct pgv_value *map, const char *path);
/** Text of a string, else the empty text. Terminated. */
struct pgv_str pgv_string(const struct pgv_value *v);
const char *pgv_stringz(const struct pgv_value *v); /* NULL unless a string */
/** Truth as Python sees it: false, 0, 0.0, "", null, empty list and map are false; absent too. */
bool pgv_truthy(const struct pgv_value *v);
/** Boolean-like: the text form, lower-cased, is on true yes 1 (true) — all else false. */
bool pgv_bool_like(const struct pgv_value *v);
/** Integer by pgv_parse_int() of the text form; booleans do not count; @otherwise when it fails. */
int64_t pgv_int_like(const struct pgv_value *v, const char *base_unit, int64_t otherwise);
/** Python's int(x): integers, truth values, reals cut off, decimal texts with blanks around. False
 *  for all else and for NULL. */
bool pgv_to_int(const struct pgv_value *v, int64_t *ret) PGV_MUST_CHECK;

/** Building. NULL when the arena is full; adding NULL to a parent fails harmlessly and returns
 * NULL. */
struct pgv_value *pgv_new(struct pgv_arena *a, enum pgv_type type);
struct pgv_value *pgv_new_string(struct pgv_arena *a, struct pgv_str s);
struct pgv_value *pgv_new_int(struct pgv_arena *a, int64_t i);
struct pgv_value *pgv_new_bool(struct pgv_arena *a, bool b);
struct pgv_value *pgv_list_add(struct pgv_value *list, struct pgv_value *item);
/** Sets, replacing a member of the same key in place. */
struct pgv_value *pgv_map_set(struct pgv_arena *a, struct pgv_value *map, const char *key,
                              struct pgv_value *item);
/** The same with a key that lives as long as the map (from its arena, or a literal); allocates
 * nothing. */
struct pgv_value *pgv_map_take(struct pgv_value *map, struct pgv_str key, struct pgv_value *item);
bool pgv_map_remove(struct pgv_value *map, const char *key);
/** Deep copy into @a; NULL when it does not fit. */
struct pgv_value *pgv_value_copy(struct pgv_arena *a, const struct pgv_value *v);

/**
 * The text form used for comparing leaves: numbers decimal, reals with '.0', True/False, None,
 * strings bare, lists and maps as Python prints them. Source: Patroni compares str(x).
 */
bool pgv_value_text(struct pgv_buf *b, const struct pgv_value *v);
/** The same of a leaf, empty of a container: strings as they are, the rest in @scratch, which has
 * PGV_REAL_BYTES. */
struct pgv_str pgv_leaf_text(const struct pgv_value *v, char *scratch);
/** Same key sets recursively, leaves and lists equal by text form. */
bool pgv_value_same(const struct pgv_value *a, const struct pgv_value *b);
/** Strict equality, type by type; order of map members does not matter. */
bool pgv_value_equal(const struct pgv_value *a, const struct pgv_value *b);
/**
 * Merge @patch into @target (a map): null deletes, maps merge, the rest replaces unless equal as
 * text. New parts are copied into @a. @ret_changed tells whether anything did.
 */
bool pgv_value_patch(struct pgv_arena *a, struct pgv_value *target, const struct pgv_value *patch,
                     bool *ret_changed, struct pgv_error *err) PGV_MUST_CHECK;

/**
 * JSON (yajl). One document; depth at most PGV_DEPTH_MAX; integers beyond 64 bits become reals;
 * of members with the same key the last wins. PGV_EINVALID also when the tree would grow beyond the
 * arena's ceiling; the message never quotes the text.
 */
#define PGV_DEPTH_MAX 64
#define PGV_MEMBERS_MAX 4096 /* of one map, in JSON and YAML: look-ups are linear */
#define PGV_JSON_BYTES_MAX (16 * 1024 * 1024) /* longer texts are refused unread */
#define PGV_YAML_BYTES_MAX (4 * 1024 * 1024)
bool pgv_json_parse(struct pgv_arena *a, struct pgv_str text, struct pgv_value **ret,
                    struct pgv_error *err) PGV_MUST_CHECK;
enum pgv_json_style {
    PGV_JSON_COMPACT, /* {"a":1,"b":[2]}, non-ASCII as \uXXXX: what is stored in a DCS */
    PGV_JSON_SPACED,  /* {"a": 1, "b": [2]}, the same escapes: what the REST API answers */
};
bool pgv_json_write(struct pgv_buf *b, const struct pgv_value *v, enum pgv_json_style style);
bool pgv_json_write_string(struct pgv_buf *b, struct pgv_str s);
/** How one code point stands within a JSON string; returns the number of bytes. */
#define PGV_JSON_ESCAPE_BYTES 16
size_t pgv_json_escape(uint32_t c, char ret[PGV_JSON_ESCAPE_BYTES]);

/**
 * YAML 1.1 as PyYAML's safe loader reads it (libyaml): resolution of plain scalars, anchors,
 * merge keys, folded and literal scalars; one document. Errors name @file, line and reason.
 * @file must live as long as the values. Dates stay strings. An empty document is PGV_NULL.
 * Aliases that would blow up the tree beyond the arena's ceiling fail with PGV_EINVALID.
 */
bool pgv_yaml_parse(struct pgv_arena *a, const char *file, struct pgv_str text,
                    struct pgv_value **ret, struct pgv_error *err) PGV_MUST_CHECK;
/** Block style as PyYAML's safe_dump(default_flow_style=False) writes it: keys sorted, width 200.
 */
bool pgv_yaml_write(struct pgv_buf *b, const struct pgv_value *v);
/** Flow style on one line without a newline: '{a: 1, b: x}'. */
bool pgv_yaml_write_flow(struct pgv_buf *b, const struct pgv_value *v);
