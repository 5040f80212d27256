/* SPDX-License-Identifier: PostgreSQL */
/* ctl/backup.c - asking the leader about the base backup it sends. */
#include "ctl/backup.h"

#include "base/log.h"

#include "base/banned.h"

#define RESULT_BYTES_MAX (1u << 20)

void ctl_backup_init(struct ctl_backup *b, struct ctl *c, const struct dcs_member *leader)
{
    const char *dbname = ctl_config_text(c, "postgresql.database");

    *b = (struct ctl_backup){ .c = c };
    b->target.user = ctl_config_text(c, "postgresql.authentication.replication.username");
    b->target.password = ctl_config_text(c, "postgresql.authentication.replication.password");
    b->target.dbname = dbname ? dbname : "postgres";
    b->target.host = b->host;
    b->hopeless =
        !leader || !b->target.user ||
        !dcs_conn_url_parse(leader->conn_url, b->host, sizeof(b->host), &b->target.port, NULL, 0);
}

void ctl_backup_done(struct ctl_backup *b)
{
    if (b->conn)
        PQfinish(b->conn);
    b->conn = NULL;
}

static bool ask(struct ctl_backup *b, struct ctl_sql_result *result)
{
    static const char sql[] = "SELECT backup_streamed, backup_total"
                              " FROM pg_catalog.pg_stat_progress_basebackup";
    struct ctl_sql_refusal refusal = { 0 };
    struct pgv_error err = { 0 };

    if ((!b->conn && !ctl_sql_connect(b->c, &b->target, &b->conn, &refusal, &err)) ||
        (!refusal.given && !ctl_sql_run(b->c, b->conn, sql, result, &refusal, &err)) ||
        refusal.given) {
        pgv_log(PGV_DEBUG, "ctl", "how far the copy is, the leader does not tell: %s",
                refusal.given ? refusal.text : err.msg);
        return false;
    }
    return true;
}

bool ctl_backup_look(struct ctl_backup *b, uint64_t *ret_bytes, uint64_t *ret_total)
{
    const struct pgv_value *row, *streamed, *total;
    struct ctl_sql_result result = { 0 };
    struct pgv_arena arena;
    bool ok;

    if (b->hopeless)
        return false;
    pgv_arena_init(&arena, RESULT_BYTES_MAX);
    result.arena = &arena;
    b->hopeless = !ask(b, &result);
    row = b->hopeless ? NULL : pgv_value_first(result.rows);
    streamed = pgv_value_first(row);
    total = streamed ? streamed->next : NULL;
    ok = row && !row->next && pgv_is(streamed, PGV_INT) && pgv_is(total, PGV_INT) &&
         streamed->u.i >= 0 && total->u.i > 0;
    if (ok) {
        *ret_bytes = (uint64_t)streamed->u.i;
        *ret_total = (uint64_t)total->u.i;
    }
    pgv_arena_done(&arena);
    return ok;
}
