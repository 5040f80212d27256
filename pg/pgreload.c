/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgreload.c - what a new configuration changes in a running server: by reload, or only by a
 * restart. Contract pg §13.6; a pure function over rows of pg_settings. Declared in pgfiles.h.
 */
#include "base/log.h"
#include "base/parse.h"
#include "pg/pgfiles.h"

#include <stdio.h>
#include <strings.h>

#include "base/banned.h"

const char pgfiles_settings_sql[] =
    "SELECT name, setting, unit, vartype, context, sourcefile FROM pg_catalog.pg_settings"
    " WHERE pg_catalog.lower(name) = ANY($1::pg_catalog.text[])";

/** Not compared: recovery parameters have their own comparison, and a custom bootstrap turns
 *  hot_standby off for a while. */
static bool skipped(struct pgv_str name)
{
    return pgguc_is_recovery(name) || pgv_str_eqz(name, "hot_standby");
}

static void add_name(struct pgv_buf *b, struct pgv_str name)
{
    if (b->n > 1)
        (void)pgv_buf_putc(b, ',');
    (void)pgv_buf_putc(b, '"');
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '"' || name.p[i] == '\\')
            (void)pgv_buf_putc(b, '\\');
        (void)pgv_buf_putc(b, name.p[i]);
    }
    (void)pgv_buf_putc(b, '"');
}

bool pgfiles_settings_names(struct pgv_buf *b, const struct pgv_value *before,
                            const struct pgv_value *wanted)
{
    static const char *const wal_buffers_needs[] = { "shared_buffers", "wal_segment_size",
                                                     "wal_block_size" };

    pgv_buf_reset(b);
    (void)pgv_buf_putc(b, '{');
    PGV_EACH(item, wanted)
    {
        if (!skipped(item->key))
            add_name(b, item->key);
    }
    PGV_EACH(item, before)
    {
        if (!skipped(item->key) && !pgv_get(wanted, item->key.p))
            add_name(b, item->key);
    }
    for (unsigned i = 0; i < 3; i++)
        if (!pgv_get(wanted, wal_buffers_needs[i]))
            add_name(b, pgv_str(wal_buffers_needs[i]));
    return pgv_buf_putc(b, '}');
}

/* --------------------------------------------------------------------------------- differences */

/** '131072' in 8kB becomes '1GB'; what is no number stays. */
static void with_unit(const char *vartype, const char *unit, const char *value, char *ret,
                      size_t bytes)
{
    int64_t n;

    if (vartype && unit && *unit && strcmp(vartype, "integer") == 0 &&
        pgv_parse_int(pgv_str(value), unit, &n))
        pgv_format_unit(n, unit, ret, bytes);
    else
        pgv_copy_cut(ret, bytes, pgv_str(value));
}

void pgfiles_pending(struct postmaster_pending *ret, const char *name, const char *vartype,
                     const char *unit, const char *old_value, const char *new_value)
{
    *ret = (struct postmaster_pending){ 0 };
    pgv_copy_cut(ret->name, sizeof(ret->name), pgv_str(name));
    with_unit(vartype, unit, old_value ? old_value : "", ret->old_value, sizeof(ret->old_value));
    with_unit(vartype, unit, new_value ? new_value : "", ret->new_value, sizeof(ret->new_value));
}

static const struct pgfiles_setting *row_of(const struct pgfiles_setting *rows, size_t n,
                                            const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].name && strcasecmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

static int64_t number_of(const struct pgfiles_setting *row, int64_t otherwise)
{
    int64_t n;

    if (row && row->setting && pgv_parse_int(pgv_str(row->setting), NULL, &n) && n != 0)
        return n;
    return otherwise;
}

/**
 * wal_buffers of -1 is 1/32 of shared_buffers, at least 8 blocks and at most one segment. Source:
 * PostgreSQL, xlog.c, XLOGChooseNumBuffers().
 */
static double default_wal_buffers(const struct pgfiles_setting *rows, size_t n)
{
    const struct pgfiles_setting *segment = row_of(rows, n, "wal_segment_size");
    double block = (double)number_of(row_of(rows, n, "wal_block_size"), 8192);
    double shared = (double)number_of(row_of(rows, n, "shared_buffers"), 16384) / 32;
    double segment_unit = 1, blocks;
    int64_t unit;
    bool in_blocks = segment && segment->unit && segment->unit[0];

    /* before 11 the size is in units of 8kB, since then in bytes */
    if (in_blocks && segment->unit[0] >= '0' && segment->unit[0] <= '9')
        segment_unit = pgv_parse_int(pgv_str(segment->unit), "B", &unit) ? (double)unit : 8192;
    blocks = (double)number_of(segment, in_blocks ? 2048 : 16777216) * segment_unit / block;
    if (shared < 8)
        shared = 8;
    return shared < blocks ? shared : blocks;
}

static bool wal_buffers_same(const struct pgfiles_setting *rows, size_t n,
                             const struct pgfiles_setting *row, const char *wanted)
{
    double by_default = default_wal_buffers(rows, n), have, want;
    int64_t number;

    if (!wanted || strcmp(wanted, "-1") == 0)
        want = by_default;
    else if (pgv_parse_int(pgv_str(wanted), row->unit, &number))
        want = (double)number;
    else
        return false;
    if (strcmp(row->setting, "-1") == 0)
        have = by_default;
    else if (pgv_parse_int(pgv_str(row->setting), NULL, &number))
        have = (double)number;
    else
        return false;
    return !(have < want) && !(have > want);
}

static void note_pending(struct pgfiles_changes *ch, const struct pgfiles_setting *row,
                         const char *wanted)
{
    if (ch->n_pending == POSTMASTER_PENDING_MAX)
        return;
    pgfiles_pending(&ch->pending[ch->n_pending++], row->name, row->vartype, row->unit, row->setting,
                    wanted);
}

static bool moves_address(const struct pgconf *c, const char *name)
{
    return strcmp(name, "listen_addresses") == 0 || strcmp(name, "port") == 0 ||
           (c->use_unix_socket && strcmp(name, "unix_socket_directories") == 0);
}

/** One parameter the server knows. @wanted NULL: no longer configured. */
static void compare_row(const struct pgconf *c, const struct pgfiles_setting *rows, size_t n_rows,
                        const struct pgfiles_setting *found, const char *wanted, const char *before,
                        struct pgfiles_changes *ch)
{
    const struct pgfiles_setting copy = {
        .name = found->name,
        .setting = found->setting ? found->setting : "", /* NULL: hidden from this role */
        .unit = found->unit,
        .vartype = found->vartype ? found->vartype : "string",
        .context = found->context ? found->context : "",
    };
    const struct pgfiles_setting *row = &copy;
    bool is_wal_buffers = strcasecmp(row->name, "wal_buffers") == 0;
    char old_value[256];

    if (strcmp(row->context, "internal") == 0)
        return;
    if (is_wal_buffers && wal_buffers_same(rows, n_rows, row, wanted))
        return;
    with_unit(row->vartype, row->unit, row->setting, old_value, sizeof(old_value));
    if (!wanted || !pgguc_same(row->vartype, row->unit, row->setting, wanted)) {
        bool restart = strcmp(row->context, "postmaster") == 0;

        ch->conf = true;
        pgv_log(PGV_INFO, "pg", "Changed %s from '%s' to '%s'%s", row->name, old_value,
                wanted ? wanted : "", restart ? " (restart might be required)" : "");
        if (restart) {
            note_pending(ch, row, wanted);
            ch->address_stale = ch->address_stale || moves_address(c, row->name);
        }
        return;
    }
    /* the file says something else than the server has: it was never reloaded, or is set back */
    if (before && !pgguc_same(row->vartype, row->unit, row->setting, before)) {
        pgv_log(PGV_INFO, "pg", "Changed %s from '%s' to '%s'", row->name, before, wanted);
        ch->conf = true;
    }
}

/** One the server does not list. True: it must go out of the wanted ones. */
static bool compare_unknown(const char *name, const char *wanted, const char *before,
                            struct pgfiles_changes *ch)
{
    if (strchr(name, '.')) {
        if (!wanted || !before || strcmp(wanted, before) != 0) {
            pgv_log(PGV_INFO, "pg", "Changed %s from '%s' to '%s'", name, before ? before : "",
                    wanted ? wanted : "");
            ch->conf = true;
        }
        return false;
    }
    if (!wanted)
        return false;
    pgv_log(PGV_WARNING, "pg", "Removing invalid parameter `%s` from postgresql.parameters", name);
    return true;
}

static bool lines_differ(const struct pgv_value *a, const struct pgv_value *b)
{
    return b && !(a && pgv_value_equal(a, b));
}

void pgfiles_compare(const struct pgconf *old, const struct pgconf *c,
                     const struct pgv_value *before, struct pgv_value *wanted,
                     const struct pgfiles_setting *rows, size_t n_rows, int major_version,
                     struct pgfiles_changes *ret)
{
    struct pgfiles_changes ch = { 0 };
    struct pgv_value *next;

    (void)major_version;
    for (struct pgv_value *item = pgv_value_first(wanted); item; item = next) {
        const char *was = pgv_stringz(pgv_get(before, item->key.p));
        const struct pgfiles_setting *row = row_of(rows, n_rows, item->key.p);

        next = item->next;
        if (skipped(item->key))
            continue;
        if (row)
            compare_row(c, rows, n_rows, row, pgv_stringz(item), was, &ch);
        else if (compare_unknown(item->key.p, pgv_stringz(item), was, &ch))
            (void)pgv_map_remove(wanted, item->key.p);
    }
    PGV_EACH(item, before)
    {
        const struct pgfiles_setting *row = row_of(rows, n_rows, item->key.p);

        if (skipped(item->key) || pgv_get(wanted, item->key.p))
            continue;
        if (row)
            compare_row(c, rows, n_rows, row, NULL, pgv_stringz(item), &ch);
        else
            (void)compare_unknown(item->key.p, NULL, pgv_stringz(item), &ch);
    }
    ch.hba = !c->hba_file && lines_differ(old ? old->pg_hba : NULL, c->pg_hba);
    ch.ident = !c->ident_file && lines_differ(old ? old->pg_ident : NULL, c->pg_ident);
    *ret = ch;
}
