/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/member.c - our entry under members/ in the store: what peers, load balancer templates and
 * the command line tool read about this node (dcs contract §4.4).
 *
 * Fields come in a fixed order, values as compact JSON. What a query would have to tell is left
 * out while the server cannot be asked.
 */
#include "agent/agent.h"
#include "agent/rest.h"

#include <stdio.h>

#include "base/banned.h"

#define MEMBER_ARENA_BYTES_MAX (256 * 1024)

static void put_string(struct pgv_buf *b, const char *key, const char *value)
{
    pgv_buf_puts(b, b->n > 1 ? ",\"" : "\"");
    pgv_buf_puts(b, key);
    pgv_buf_puts(b, "\":");
    pgv_json_write_string(b, pgv_str(value));
}

static void put_u64(struct pgv_buf *b, const char *key, uint64_t value)
{
    pgv_buf_printf(b, ",\"%s\":%llu", key, (unsigned long long)value);
}

static void put_pending(struct pgv_buf *b, const struct postmaster *pm)
{
    pgv_buf_puts(b, ",\"pending_restart\":true");
    if (!pm->n_pending)
        return;
    pgv_buf_puts(b, ",\"pending_restart_reason\":{");
    for (unsigned i = 0; i < pm->n_pending; i++) {
        pgv_buf_puts(b, i ? "," : "");
        pgv_json_write_string(b, pgv_str(pm->pending[i].name));
        pgv_buf_puts(b, ":{\"old_value\":");
        pgv_json_write_string(b, pgv_str(pm->pending[i].old_value));
        pgv_buf_puts(b, ",\"new_value\":");
        pgv_json_write_string(b, pgv_str(pm->pending[i].new_value));
        pgv_buf_putc(b, '}');
    }
    pgv_buf_putc(b, '}');
}

/* Only while no job changes the server under the query (a promotion does not), and while it is in
 * a state in which it can answer. */
static bool server_can_be_asked(const struct postmaster *pm)
{
    return pm->facts.look_ok && (pm->job == PM_JOB_NONE || pm->job == PM_JOB_PROMOTE) &&
           (pm->facts.state == PGV_STATE_RUNNING || pm->facts.state == PGV_STATE_RESTARTING ||
            pm->facts.state == PGV_STATE_STARTING);
}

static void put_positions(struct pgv_buf *b, const struct postmaster_facts *f)
{
    put_u64(b, "xlog_location", f->wal_lsn);
    if (f->in_recovery) {
        if (f->replay_lsn)
            put_u64(b, "replay_lsn", f->replay_lsn);
        if (f->receive_lsn)
            put_u64(b, "receive_lsn", f->receive_lsn);
        if (f->streaming)
            pgv_buf_puts(b, ",\"replication_state\":\"streaming\"");
        else if (f->in_archive_recovery)
            pgv_buf_puts(b, ",\"replication_state\":\"in archive recovery\"");
    }
    if (f->timeline)
        put_u64(b, "timeline", f->timeline);
}

/* What was asked for, and the start of the server it was asked for: an earlier restart voids it. */
static bool put_scheduled_restart(struct agent *a, struct pgv_buf *b)
{
    int64_t start_us = a->ha.scheduled_start_time_wall_us;
    struct pgv_value *request = NULL, *start;
    char text[PGV_MOMENT_BYTES];
    struct pgv_arena arena;
    struct pgv_error err;
    bool ok = false;

    pgv_arena_init(&arena, MEMBER_ARENA_BYTES_MAX);
    if (!pgv_json_parse(&arena, pgv_buf_view(&a->scheduled_restart_json), &request, &err))
        goto out;
    if (start_us) {
        rest_moment_text(start_us, text);
        start = pgv_new_string(&arena, pgv_str(text));
    } else {
        start = pgv_new(&arena, PGV_NULL);
    }
    if (!pgv_map_set(&arena, request, "postmaster_start_time", start))
        goto out;
    pgv_buf_puts(b, ",\"scheduled_restart\":");
    ok = pgv_json_write(b, request, PGV_JSON_COMPACT);
out:
    pgv_arena_done(&arena);
    return ok;
}

bool agent_member_document(struct agent *a, struct pgv_buf *b)
{
    const struct postmaster *pm = &a->pm;

    pgv_buf_putc(b, '{');
    put_string(b, "conn_url", pm->conn_url);
    put_string(b, "api_url", rest_api_url(a));
    put_string(b, "state", pgv_state_name(agent_state(a)));
    put_string(b, "role", pgv_role_name(ha_role(&a->ha)));
    put_string(b, "version", PGV_PATRONI_VERSION);
    if (pm->proxy_url[0])
        put_string(b, "proxy_url", pm->proxy_url);
    if (ha_is_leader(&a->ha, pgv_clock_ms()) && ha_checkpoint_pending(&a->ha))
        pgv_buf_puts(b, ",\"checkpoint_after_promote\":false");
    if (pgv_truthy(a->config.tags)) {
        pgv_buf_puts(b, ",\"tags\":");
        pgv_json_write(b, a->config.tags, PGV_JSON_COMPACT);
    }
    if (pm->facts.pending_restart || pm->n_pending)
        put_pending(b, pm);
    if (server_can_be_asked(pm))
        put_positions(b, &pm->facts);
    if (a->ha.has_scheduled_restart && a->scheduled_restart_json.n && !put_scheduled_restart(a, b))
        return false;
    if (a->config.paused)
        pgv_buf_puts(b, ",\"pause\":true");
    return pgv_buf_putc(b, '}') && !b->failed;
}
