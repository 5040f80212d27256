/* SPDX-License-Identifier: PostgreSQL */
/* agent/record_fields.h - private to agent/record*.c: the table of fields that are recorded. */
#pragma once

#include "agent/record.h"

enum record_kind {
    RECORD_BOOL = 1,
    RECORD_UINT, /* any unsigned width */
    RECORD_INT,  /* any signed width */
    RECORD_ENUM, /* unsigned, below limit */
    RECORD_TEXT, /* a terminated array */
    RECORD_URL,  /* the same, written without user information and parameters */
    RECORD_STRUCT,
};

struct record_fields;

/** One member of a struct, or an array of them. */
struct record_field {
    const char *name;
    const struct record_fields *sub; /* STRUCT */
    uint32_t off, size;              /* of one element */
    uint32_t n;                      /* elements there is room for; 1: no array */
    uint32_t n_off;                  /* of the unsigned that counts them; RECORD_ALL: all */
    uint32_t limit;                  /* ENUM: values are below */
    enum record_kind kind;
};
#define RECORD_ALL UINT32_MAX

struct record_fields {
    const struct record_field *v;
    unsigned n;
};

extern const struct record_fields record_ha_fields, record_policy_fields, record_cluster_fields,
    record_facts_fields, record_peer_fields, record_request_fields;
/** What of the unions belongs to a type; offsets from the event or effect. Pointers stay out. */
extern const struct record_fields record_event_fields[HA_EV_SHUTDOWN + 1];
extern const struct record_fields record_effect_fields[HA_DO_EXIT + 1];
/** What an event points to; offsets from struct record_event. */
extern const struct record_fields record_told_fields[HA_EV_SHUTDOWN + 1];

bool record_put_fields(struct pgv_buf *b, const struct record_fields *fields, const void *data);
/** A cursor over bytes; false as soon as they do not fit. */
struct record_cursor {
    const unsigned char *p, *end;
};
bool record_get_fields(struct record_cursor *c, const struct record_fields *fields,
                       void *data) PGV_MUST_CHECK;
bool record_put_uint(struct pgv_buf *b, uint64_t v);
bool record_get_uint(struct record_cursor *c, uint64_t *ret) PGV_MUST_CHECK;

/** A number of @size bytes; storing says false when it does not fit. */
uint64_t record_load_uint(const void *p, uint32_t size);
int64_t record_load_int(const void *p, uint32_t size);
bool record_store_uint(void *p, uint32_t size, uint64_t v) PGV_MUST_CHECK;
bool record_store_int(void *p, uint32_t size, int64_t v) PGV_MUST_CHECK;
/** Without user information (it may hold a password) and parameters: neither decides anything.
 * Returns the length; @ret is not terminated. */
size_t record_clean_url(const char *url, size_t n, char ret[PGV_URL_BYTES]);

/** RECORD_HELD or RECORD_DAMAGED, of the RECORD_FRAME_BYTES at @p: record_hold.c. */
enum record_piece record_held_piece(const char *p, size_t *ret_bytes, uint64_t *ret_seq);
