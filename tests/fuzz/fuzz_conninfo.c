/* links: pgvigil_pg */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_conninfo.c - connection strings of other nodes and of the server. What parses
 * must come back the same after being written, and what libpq knows as well must mean the same.
 */
#include "pg/pgdsn.h"

#include <libpq-fe.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_like_libpq(const char *text, const struct pgdsn *d)
{
    PQconninfoOption *options = PQconninfoParse(text, NULL);

    if (!options)
        return; /* it refuses keys that we drop */
    for (PQconninfoOption *o = options; o->keyword; o++) {
        if (strcmp(o->keyword, "host") == 0)
            PGV_ASSERT(!o->val == !d->v[PGDSN_HOST] &&
                       (!o->val || strcmp(o->val, d->v[PGDSN_HOST]) == 0));
        if (strcmp(o->keyword, "password") == 0)
            PGV_ASSERT(!o->val == !d->v[PGDSN_PASSWORD] &&
                       (!o->val || strcmp(o->val, d->v[PGDSN_PASSWORD]) == 0));
        if (strcmp(o->keyword, "dbname") == 0)
            PGV_ASSERT(!o->val == !d->v[PGDSN_DBNAME] &&
                       (!o->val || strcmp(o->val, d->v[PGDSN_DBNAME]) == 0));
    }
    PQconninfoFree(options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgv_arena a;
    struct pgdsn d, again;
    struct pgv_buf b;
    char *text;

    pgv_arena_init(&a, 4u << 20);
    pgv_buf_init(&b, 1u << 20);
    text = pgv_arena_dup(&a, (struct pgv_str){ (const char *)data, size });
    if (!text || !pgdsn_parse(&a, text, false, &d, NULL))
        goto out;
    check_like_libpq(text, &d);
    d.v[PGDSN_PASSFILE] = NULL; /* it would hide the password */
    PGV_ASSERT(pgdsn_write(&b, &d, 0));
    if (b.n > PGDSN_BYTES_MAX)
        goto out;
    PGV_ASSERT(pgdsn_parse(&a, pgv_buf_cstr(&b), false, &again, NULL));
    for (unsigned i = 0; i < PGDSN_KEYS; i++) {
        PGV_ASSERT(!d.v[i] == !again.v[i]);
        PGV_ASSERT(!d.v[i] || strcmp(d.v[i], again.v[i]) == 0);
    }
    PGV_ASSERT(pgdsn_satisfies(&d, &again, 170000));
    pgv_buf_reset(&b);
    (void)pgdsn_pgpass_text(&b, &d);
out:
    pgv_buf_done(&b);
    pgv_arena_done(&a);
    return 0;
}
