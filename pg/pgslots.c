/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgslots.c - physical replication slots, one statement after the other:
 *
 *     load → drop what must not be → create, advance or renew what should → load again if changed
 *
 * The first load is left out where the monitoring query of a moment ago has brought the rows along.
 *
 * A statement the server refuses is logged and the next one follows; the next sync sees what is
 * left to do. A connection that breaks ends the sync.
 */
#include "pg/pgslots.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"

#include <stdio.h>

#include "base/banned.h"

#define STATEMENT_TIMEOUT_MS 5000

enum { STEP_LOAD, STEP_DROP, STEP_WANTED, STEP_RENEW, STEP_RELOAD };

/** Rows older than this are not acted upon. */
#define FRESH_MS 1000
#define JSON_BYTES_MAX (1u << 20)
/** WAL is kept and removed in whole segments, of 1 MB at least. Source: PostgreSQL,
 *  WalSegMinSize. */
#define SEGMENT_BITS_MIN 20

enum {
    COL_NAME,
    COL_TYPE,
    COL_XMIN,
    COL_RESTART_LSN,
    COL_CONFIRMED_LSN,
    COL_PLUGIN,
    COL_DATABASE,
    COL_WAL_STATUS,
    COLUMNS,
};

/** Slots that the server itself keeps in step with the primary's (failover, from 17) are not ours.
 */
static const char *load_sql(int version)
{
    if (version >= 170000)
        return "SELECT slot_name, slot_type, xmin, restart_lsn, confirmed_flush_lsn, plugin,"
               " database, wal_status FROM pg_catalog.pg_replication_slots WHERE NOT temporary"
               " AND (NOT failover OR NOT synced)";
    if (version >= 130000)
        return "SELECT slot_name, slot_type, xmin, restart_lsn, confirmed_flush_lsn, plugin,"
               " database, wal_status FROM pg_catalog.pg_replication_slots WHERE NOT temporary";
    if (version >= 100000)
        return "SELECT slot_name, slot_type, xmin, restart_lsn, confirmed_flush_lsn, plugin,"
               " database, NULL::text FROM pg_catalog.pg_replication_slots WHERE NOT temporary";
    return "SELECT slot_name, slot_type, xmin, restart_lsn, NULL::text, plugin, database, "
           "NULL::text"
           " FROM pg_catalog.pg_replication_slots";
}

/** Drops it unless somebody uses it, and tells which: (active, dropped); no row: it is gone. */
static const char drop_sql[] =
    "WITH slots AS (SELECT slot_name, active FROM pg_catalog.pg_replication_slots"
    " WHERE slot_name = $1::pg_catalog.name), dropped AS ("
    "SELECT pg_catalog.pg_drop_replication_slot(slot_name), true AS dropped FROM slots"
    " WHERE NOT active) SELECT active, COALESCE(dropped, false) FROM slots"
    " FULL OUTER JOIN dropped ON true";

static const char create_sql[] =
    "SELECT pg_catalog.pg_create_physical_replication_slot($1::pg_catalog.name) WHERE NOT EXISTS"
    " (SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::pg_catalog.name)";

/** Reserves WAL at once, from 9.6. */
static const char create_reserved_sql[] =
    "SELECT pg_catalog.pg_create_physical_replication_slot($1::pg_catalog.name, true) WHERE NOT"
    " EXISTS (SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::pg_catalog.name)";

static const char advance_sql[] = "SELECT pg_catalog.pg_replication_slot_advance("
                                  "$1::pg_catalog.name, $2::pg_catalog.pg_lsn)";

static void proceed(struct pgslots *s);

void pgslots_init(struct pgslots *s, struct pgsql *sql)
{
    void *data = s->data;

    *s = (struct pgslots){ .data = data, .sql = sql };
}

static void finish(struct pgslots *s, bool ok)
{
    void (*cb)(struct pgslots * s, bool ok) = s->cb;

    /* A whole sync without a statement: the server may have its connection back. */
    if (!s->asked && s->sql->connected)
        pgsql_disconnect(s->sql);

    s->busy = false;
    s->fresh_until_ms = 0; /* acted upon once */
    cb(s, ok && !s->failed);
}

static void submit(struct pgslots *s, const char *sql, const char *name, pgsql_cb cb)
{
    s->query = (struct pgsql_query){ .data = s,
                                     .sql = sql,
                                     .deadline_ms = pgv_clock_ms() + STATEMENT_TIMEOUT_MS };
    if (name) {
        pgv_copy_cut(s->name, sizeof(s->name), pgv_str(name));
        s->query.params[s->query.n_params++] = s->name;
    }
    s->asked = true;
    if (sql == advance_sql)
        s->query.params[s->query.n_params++] = s->lsn;
    pgsql_submit(s->sql, &s->query, cb);
}

/* ------------------------------------------------------------------------------------- loading */

/** A NULL has no address. */
static void take_row(struct pgslots *s, const struct pgv_str v[COLUMNS])
{
    struct pgslots_row row = { 0 };
    uint64_t lsn;
    int column;

    pgv_copy_cut(row.state.name, sizeof(row.state.name), v[COL_NAME]);
    row.state.physical = pgv_str_eqz(v[COL_TYPE], "physical");
    row.has_xmin = v[COL_XMIN].p != NULL;
    column = row.state.physical || !v[COL_CONFIRMED_LSN].p ? COL_RESTART_LSN : COL_CONFIRMED_LSN;
    row.has_lsn = v[column].p && pgv_parse_lsn(v[column], &lsn);
    row.state.lsn = row.has_lsn ? lsn : 0;
    pgv_copy_cut(row.plugin, sizeof(row.plugin), v[COL_PLUGIN]);
    pgv_copy_cut(row.database, sizeof(row.database), v[COL_DATABASE]);
    row.lost = pgv_str_eqz(v[COL_WAL_STATUS], "lost");
    s->v[s->n++] = row;
}

/** How many of @rows there is room for. */
static unsigned room_for(size_t rows)
{
    if (rows <= POSTMASTER_SLOTS_MAX)
        return (unsigned)rows;
    pgv_log(PGV_WARNING, "pg", "there are %zu replication slots, only %d are looked after", rows,
            POSTMASTER_SLOTS_MAX);
    return POSTMASTER_SLOTS_MAX;
}

void pgslots_sql(int version, char ret[PGSLOTS_SQL_BYTES])
{
    (void)snprintf(ret, PGSLOTS_SQL_BYTES,
                   "(SELECT pg_catalog.json_agg(pg_catalog.json_build_array"
                   "(s1, s2, s3::text, s4::text, s5::text, s6, s7, s8))"
                   " FROM (%s) s (s1, s2, s3, s4, s5, s6, s7, s8))",
                   load_sql(version));
}

void pgslots_take(struct pgslots *s, struct pgv_str json)
{
    struct pgv_value *rows = NULL;
    struct pgv_arena a;
    struct pgv_error err;
    unsigned max;

    if (s->busy)
        return;
    s->fresh_until_ms = 0;
    pgv_arena_init(&a, JSON_BYTES_MAX);
    if (json.n == 0 || pgv_json_parse(&a, json, &rows, &err)) {
        max = room_for(pgv_is(rows, PGV_LIST) ? rows->u.c.n : 0);
        s->n = 0;
        PGV_EACH(row, rows)
        {
            struct pgv_str v[COLUMNS] = { 0 };
            unsigned i = 0;

            PGV_EACH(cell, row)
            {
                if (i < COLUMNS && pgv_is(cell, PGV_STRING))
                    v[i] = pgv_string(cell);
                i++;
            }
            if (i == COLUMNS && s->n < max)
                take_row(s, v);
        }
        s->loaded = true;
        s->fresh_until_ms = pgv_clock_ms() + FRESH_MS;
    }
    pgv_arena_done(&a);
}

/** The connection is gone, or we are told to stop: no use in going on. */
static bool over(struct pgslots *s, const struct pgv_error *err, const char *what)
{
    if (!err)
        return false;
    s->failed = true;
    if (err->code != PGV_ECANCELED)
        pgv_log(PGV_ERROR, "pg", "Exception when changing replication slots: %s%s%s: %s", what,
                s->name[0] ? " " : "", s->name, err->msg);
    if (err->code == PGV_ECONFLICT)
        return false;
    s->loaded = false;
    finish(s, false);
    return true;
}

static void on_loaded(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct pgslots *s = q->data;
    unsigned rows;

    s->name[0] = '\0';
    if (over(s, err, "load"))
        return;
    if (err) { /* refused */
        s->loaded = false;
        finish(s, false);
        return;
    }
    rows = room_for((size_t)PQntuples(res));
    s->n = 0;
    for (unsigned i = 0; i < rows; i++) {
        struct pgv_str v[COLUMNS] = { 0 };

        for (int k = 0; k < COLUMNS; k++)
            if (!pgsql_is_null(res, (int)i, k))
                v[k] = pgsql_field(res, (int)i, k);
        take_row(s, v);
    }
    s->loaded = true;
    if (s->step == STEP_RELOAD) {
        finish(s, true);
        return;
    }
    s->step = STEP_DROP;
    s->at = 0;
    proceed(s);
}

/* ------------------------------------------------------------------------------------ deciding */

static struct pgslots_row *row_of(struct pgslots *s, const char *name)
{
    for (unsigned i = 0; i < s->n; i++)
        if (strcmp(s->v[i].state.name, name) == 0)
            return &s->v[i];
    return NULL;
}

static const struct postmaster_slot *wanted_of(const struct pgslots *s, const char *name)
{
    for (unsigned i = 0; i < s->n_wanted; i++)
        if (strcmp(s->wanted[i].name, name) == 0)
            return &s->wanted[i];
    return NULL;
}

static bool field_matches(const char *rule, const char *value)
{
    return rule[0] == '\0' || strcmp(rule, value) == 0;
}

static bool ignored(const struct pgslots *s, const struct pgslots_row *row)
{
    for (unsigned i = 0; i < s->n_ignore; i++) {
        const struct pgslots_ignore *g = &s->ignore[i];

        if (field_matches(g->name, row->state.name) && field_matches(g->database, row->database) &&
            field_matches(g->plugin, row->plugin) &&
            (!g->type_given || g->physical == row->state.physical))
            return true;
    }
    return false;
}

/** Must it go? Logical slots that nobody wants the name of are left alone. */
static bool must_drop(const struct pgslots *s, const struct pgslots_row *row)
{
    const struct postmaster_slot *wanted = wanted_of(s, row->state.name);

    if (wanted && !row->state.physical)
        return true;
    if (!row->state.physical || !s->drop_others || ignored(s, row))
        return false;
    return !wanted || row->lost;
}

static void on_dropped(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct pgslots *s = q->data;
    struct pgslots_row *row = row_of(s, s->name);
    bool active = !err && pgsql_field_bool(res, 0, 0);
    bool dropped = !err && (PQntuples(res) == 0 || pgsql_field_bool(res, 0, 1));

    if (over(s, err, "drop"))
        return;
    s->changed = true;
    if (dropped) {
        pgv_log(PGV_INFO, "pg", "Dropped replication slot '%s'", s->name);
        if (row)
            row->state.name[0] = '\0';
    } else if (active) {
        pgv_log(PGV_WARNING, "pg", "Unable to drop replication slot '%s', slot is active", s->name);
        s->failed = true;
    }
    /* renewed in the same pass; else on to the next one */
    if (s->step == STEP_RENEW) {
        s->step = STEP_WANTED;
        if (!dropped)
            s->at++;
    } else {
        s->at++;
    }
    proceed(s);
}

static void on_created(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct pgslots *s = q->data;

    (void)res;
    if (over(s, err, "create"))
        return;
    if (!err)
        pgv_log(PGV_INFO, "pg", "Created physical replication slot '%s'", s->name);
    s->changed = true;
    s->at++;
    proceed(s);
}

static void on_advanced(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct pgslots *s = q->data;
    struct pgslots_row *row = row_of(s, s->name);
    uint64_t lsn;

    (void)res;
    if (over(s, err, "advance"))
        return;
    if (!err && row && pgv_parse_lsn(pgv_str(s->lsn), &lsn))
        row->state.lsn = lsn;
    s->at++;
    proceed(s);
}

/** What a wanted slot needs; false: nothing. */
static bool tend(struct pgslots *s, const struct postmaster_slot *wanted)
{
    struct pgslots_row *row = row_of(s, wanted->name);

    if (!row) {
        submit(s, s->version >= 90600 ? create_reserved_sql : create_sql, wanted->name, on_created);
        return true;
    }
    if (!row->state.physical || s->version < 110000)
        return false;
    if (row->has_xmin) {
        /* an old xmin on a slot that nobody here uses keeps vacuum from cleaning up */
        if (!s->may_clean || wanted->expected_active != 0)
            return false;
        pgv_log(PGV_WARNING, "pg",
                "Dropping physical replication slot '%s' because it holds an old xmin",
                wanted->name);
        s->step = STEP_RENEW;
        submit(s, drop_sql, wanted->name, on_dropped);
        return true;
    }
    if (wanted->expected_active == 1)
        return false;
    if (!row->has_lsn) {
        /* it cannot be advanced; the next sync creates it with a position */
        pgv_log(PGV_WARNING, "pg",
                "Dropping physical replication slot '%s' because it has no restart_lsn",
                wanted->name);
        submit(s, drop_sql, wanted->name, on_dropped);
        return true;
    }
    if (wanted->lsn >> SEGMENT_BITS_MIN <= row->state.lsn >> SEGMENT_BITS_MIN)
        return false; /* no WAL could go */
    pgv_format_lsn(wanted->lsn, s->lsn);
    submit(s, advance_sql, wanted->name, on_advanced);
    return true;
}

static void proceed(struct pgslots *s)
{
    if (s->step == STEP_DROP) {
        for (; s->at < s->n; s->at++) {
            if (!must_drop(s, &s->v[s->at]) || s->v[s->at].state.name[0] == '\0')
                continue;
            submit(s, drop_sql, s->v[s->at].state.name, on_dropped);
            return;
        }
        s->step = STEP_WANTED;
        s->at = 0;
    }
    for (; s->at < s->n_wanted; s->at++)
        if (tend(s, &s->wanted[s->at]))
            return;
    if (!s->changed) {
        finish(s, true);
        return;
    }
    s->step = STEP_RELOAD;
    submit(s, load_sql(s->version), NULL, on_loaded);
}

bool pgslots_sync(struct pgslots *s, const struct pgslots_args *args,
                  void (*cb)(struct pgslots *s, bool ok))
{
    if (s->busy || args->version < 90400)
        return false;
    s->busy = true;
    s->cb = cb;
    s->version = args->version;
    s->n_wanted = args->n_wanted < POSTMASTER_SLOTS_MAX ? args->n_wanted : POSTMASTER_SLOTS_MAX;
    s->n_ignore = args->n_ignore < PGSLOTS_IGNORE_MAX ? args->n_ignore : PGSLOTS_IGNORE_MAX;
    if (s->n_wanted > 0)
        memcpy(s->wanted, args->wanted, s->n_wanted * sizeof(s->wanted[0]));
    if (s->n_ignore > 0)
        memcpy(s->ignore, args->ignore, s->n_ignore * sizeof(s->ignore[0]));
    s->drop_others = args->drop_others;
    s->may_clean = args->clean_xmin;
    s->changed = s->failed = s->asked = false;
    s->at = 0;
    if (s->loaded && pgv_clock_ms() < s->fresh_until_ms) {
        s->step = STEP_DROP;
        s->name[0] = '\0';
        proceed(s);
    } else {
        s->step = STEP_LOAD;
        submit(s, load_sql(s->version), NULL, on_loaded);
    }
    return true;
}

void pgslots_cancel(struct pgslots *s)
{
    if (s->busy)
        pgsql_cancel(s->sql, &s->query);
}
