/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgslots.c - physical replication slots, one statement after the other:
 *
 *     load → drop what must not be → create, advance or renew what should → load again if changed
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

/** Columns: name, type, xmin, restart_lsn, confirmed_flush_lsn, plugin, database, wal_status. Slots
 *  that the server itself keeps in step with the primary's (failover, from 17) are not ours. */
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
               " database, NULL FROM pg_catalog.pg_replication_slots WHERE NOT temporary";
    return "SELECT slot_name, slot_type, xmin, restart_lsn, NULL, plugin, database, NULL"
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

    s->busy = false;
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
    if (sql == advance_sql)
        s->query.params[s->query.n_params++] = s->lsn;
    pgsql_submit(s->sql, &s->query, cb);
}

/* ------------------------------------------------------------------------------------- loading */

static void read_row(const PGresult *res, int i, struct pgslots_row *ret)
{
    struct pgslots_row row = { 0 };
    uint64_t lsn;
    int column;

    pgv_copy_cut(row.state.name, sizeof(row.state.name), pgsql_field(res, i, 0));
    row.state.physical = pgv_str_eqz(pgsql_field(res, i, 1), "physical");
    row.has_xmin = !pgsql_is_null(res, i, 2);
    column = row.state.physical || pgsql_is_null(res, i, 4) ? 3 : 4;
    row.has_lsn =
        !pgsql_is_null(res, i, column) && pgv_parse_lsn(pgsql_field(res, i, column), &lsn);
    row.state.lsn = row.has_lsn ? lsn : 0;
    pgv_copy_cut(row.plugin, sizeof(row.plugin), pgsql_field(res, i, 5));
    pgv_copy_cut(row.database, sizeof(row.database), pgsql_field(res, i, 6));
    row.lost = pgv_str_eqz(pgsql_field(res, i, 7), "lost");
    *ret = row;
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
    int rows;

    s->name[0] = '\0';
    if (over(s, err, "load"))
        return;
    if (err) { /* refused */
        s->loaded = false;
        finish(s, false);
        return;
    }
    rows = PQntuples(res);
    if (rows > POSTMASTER_SLOTS_MAX) {
        pgv_log(PGV_WARNING, "pg", "there are %d replication slots, only %d are looked after", rows,
                POSTMASTER_SLOTS_MAX);
        rows = POSTMASTER_SLOTS_MAX;
    }
    s->n = (unsigned)rows;
    for (int i = 0; i < rows; i++)
        read_row(res, i, &s->v[i]);
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
    if (wanted->lsn <= row->state.lsn)
        return false;
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
    s->changed = s->failed = false;
    s->step = STEP_LOAD;
    submit(s, load_sql(s->version), NULL, on_loaded);
    return true;
}

void pgslots_cancel(struct pgslots *s)
{
    if (s->busy)
        pgsql_cancel(s->sql, &s->query);
}
