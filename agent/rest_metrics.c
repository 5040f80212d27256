/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_metrics.c - GET /metrics: Patroni's gauges by the same names, so that dashboards and
 * alert rules stay what they are; ours follow after the last of them (rest contract §6).
 */
#include "agent/recorder.h"
#include "agent/rest.h"

#include <stdio.h>

#include "base/banned.h"

struct metrics {
    struct pgv_buf *b;
    const struct agent *a;
};

static void head(const struct metrics *m, const char *name, const char *type, const char *help)
{
    pgv_buf_printf(m->b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void name_and_labels(const struct metrics *m, const char *name)
{
    /* Label values stand there as they are. Source: Patroni escapes nothing. */
    pgv_buf_printf(m->b, "%s{scope=\"%s\",name=\"%s\"} ", name, m->a->config.scope,
                   m->a->config.name);
}

static void put(const struct metrics *m, const char *name, const char *type, const char *help,
                const char *value)
{
    head(m, name, type, help);
    name_and_labels(m, name);
    pgv_buf_printf(m->b, "%s\n", value);
}

static void put_u64(const struct metrics *m, const char *name, const char *type, const char *help,
                    uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    put(m, name, type, help, text);
}

static void gauge(const struct metrics *m, const char *name, const char *help, uint64_t value)
{
    put_u64(m, name, "gauge", help, value);
}

/* Seconds with up to six digits and at least one, as Python prints a float; 0 when unknown. */
static void epoch(const struct metrics *m, const char *name, const char *help, double seconds)
{
    char text[48] = "0";

    if (seconds != 0) {
        int n = snprintf(text, sizeof(text), "%.6f", seconds);

        while (n > 2 && text[n - 1] == '0' && text[n - 2] != '.')
            text[--n] = '\0';
    }
    put(m, name, "gauge", help, text);
}

static void put_version(const struct metrics *m)
{
    unsigned major = 0, minor = 0, patch = 0;
    char text[16];

    /* 4.1.5 is 040105 */
    if (sscanf(PGV_PATRONI_VERSION, "%2u.%2u.%2u", &major, &minor, &patch) != 3)
        return;
    snprintf(text, sizeof(text), "%02u%02u%02u", major % 100, minor % 100, patch % 100);
    put(m, "patroni_version", "gauge", "Patroni semver without periods.", text);
}

static void put_state(const struct metrics *m, enum pgv_state state)
{
    char text[8];

    pgv_buf_puts(m->b, "# HELP patroni_postgres_state Numeric representation of Postgres state.\n"
                       "# Values: ");
    for (int i = 0; i < PGV_STATE_UNKNOWN; i++)
        pgv_buf_printf(m->b, "%s%d=%s", i ? ", " : "", i, pgv_state_label((enum pgv_state)i));
    pgv_buf_puts(m->b, "\n# TYPE patroni_postgres_state gauge\n");
    name_and_labels(m, "patroni_postgres_state");
    snprintf(text, sizeof(text), "%d", state == PGV_STATE_UNKNOWN ? -1 : (int)state);
    pgv_buf_printf(m->b, "%s\n", text);
}

static void put_positions(const struct metrics *m, const struct postmaster_status *st,
                          const struct rest_world *w)
{
    bool standby = st->ok && st->in_recovery;

    put_u64(m, "patroni_xlog_received_location", "counter",
            "Current location of the received Postgres transaction log, 0 if this node is not a "
            "replica.",
            standby ? w->received : 0);
    put_u64(m, "patroni_xlog_replayed_location", "counter",
            "Current location of the replayed Postgres transaction log, 0 if this node is not a "
            "replica.",
            standby ? w->replayed : 0);
    epoch(m, "patroni_xlog_replayed_timestamp",
          "Current timestamp of the replayed Postgres transaction log, 0 if null.",
          standby && st->replayed_timestamp[0] ? st->replayed_epoch : 0);
    gauge(m, "patroni_xlog_paused", "Value is 1 if the Postgres xlog is paused, 0 otherwise.",
          standby && st->paused);
    if (st->ok && st->server_version >= 90600) {
        gauge(m, "patroni_postgres_streaming", "Value is 1 if Postgres is streaming, 0 otherwise.",
              strcmp(w->replication_state, "streaming") == 0);
        gauge(m, "patroni_postgres_in_archive_recovery",
              "Value is 1 if Postgres is replicating from archive, 0 otherwise.",
              strcmp(w->replication_state, "in archive recovery") == 0);
    }
}

static bool is_failsafe_member(const struct agent *a)
{
    const struct dcs_snapshot *view = a->dcs.view; /* kept across outages of the store */

    for (unsigned i = 0; view && i < view->cluster.n_failsafe; i++)
        if (strcmp(view->cluster.failsafe[i].name, a->config.name) == 0)
            return true;
    return false;
}

static void histogram(const struct metrics *m, const char *name, const char *help,
                      const struct measure *h)
{
    const char *scope = m->a->config.scope, *node = m->a->config.name;
    uint64_t n = 0;

    head(m, name, "histogram", help);
    for (unsigned i = 0; i < MEASURE_BUCKETS; i++) {
        n += h->buckets[i];
        pgv_buf_printf(m->b, "%s_bucket{scope=\"%s\",name=\"%s\",le=\"%g\"} %llu\n", name, scope,
                       node, (double)measure_bounds_us[i] / 1e6, (unsigned long long)n);
    }
    pgv_buf_printf(m->b, "%s_bucket{scope=\"%s\",name=\"%s\",le=\"+Inf\"} %llu\n", name, scope,
                   node, (unsigned long long)h->n);
    pgv_buf_printf(m->b, "%s_sum{scope=\"%s\",name=\"%s\"} %.6f\n", name, scope, node,
                   (double)h->sum_us / 1e6);
    pgv_buf_printf(m->b, "%s_count{scope=\"%s\",name=\"%s\"} %llu\n", name, scope, node,
                   (unsigned long long)h->n);
}

static void put_watchdog(const struct metrics *m, const struct watchdog *w)
{
    struct ha_watchdog state;

    watchdog_state(w, &state);
    gauge(m, "pgvigil_watchdog_running", "Value is 1 if the watchdog counts, 0 otherwise.",
          state.running);
    gauge(m, "pgvigil_watchdog_timeout_seconds",
          "How long after a keepalive the watchdog fires, 0 if it does not count.",
          state.timeout_ms / 1000);
    put_u64(m, "pgvigil_watchdog_keepalives_total", "counter", "Keepalives sent to the watchdog.",
            w->n_keepalives);
    put_u64(m, "pgvigil_watchdog_failures_total", "counter",
            "Calls to the watchdog that have failed.", w->n_failures);
}

static void put_ours(const struct metrics *m, const struct httpd *s)
{
    head(m, "pgvigil_version", "gauge", "Always 1; the label tells the version of pgvigil.");
    pgv_buf_printf(m->b, "pgvigil_version{scope=\"%s\",name=\"%s\",version=\"%s\"} 1\n",
                   m->a->config.scope, m->a->config.name, PGVIGIL_VERSION);
    head(m, "pgvigil_status", "gauge", "Always 1; the label tells how the last cycle ended.");
    pgv_buf_printf(m->b, "pgvigil_status{scope=\"%s\",name=\"%s\",why=\"%s\"} 1\n",
                   m->a->config.scope, m->a->config.name, ha_why_label(m->a->ha.status_why));
    put_u64(m, "pgvigil_cycles_total", "counter", "Cycles of the HA loop completed.", m->a->cycles);
    histogram(m, "pgvigil_cycle_duration_seconds", "Duration of the cycles of the HA loop.",
              &m->a->measures[MEASURE_CYCLE]);
    histogram(m, "pgvigil_dcs_request_duration_seconds",
              "How long the store took to answer requests of the HA loop.",
              &m->a->measures[MEASURE_DCS]);
    histogram(m, "pgvigil_probe_duration_seconds",
              "How long health checks and status requests took to answer.",
              &m->a->measures[MEASURE_PROBE]);
    histogram(m, "pgvigil_postgres_query_duration_seconds",
              "How long PostgreSQL took to answer the status query.",
              &m->a->measures[MEASURE_QUERY]);
    put_watchdog(m, &m->a->watchdog);
    if (m->a->recorder) {
        put_u64(m, "pgvigil_recorder_steps_total", "counter",
                "Steps the flight recorder has recorded.", m->a->recorder->steps);
        put_u64(m, "pgvigil_recorder_lost_steps_total", "counter",
                "Steps the flight recorder has left out, because its disk did not keep up.",
                m->a->recorder->lost);
    }
    if (!s)
        return;
    put_u64(m, "pgvigil_rest_requests_total", "counter", "Requests the REST API has received.",
            s->n_requests);
    gauge(m, "pgvigil_rest_connections", "Connections open to the REST API.", s->n_conns);
}

void rest_metrics_write(struct rest *r, const struct rest_look *look, struct pgv_buf *b)
{
    static const struct postmaster_status unknown; /* not ok: nothing is known of the server */
    const struct metrics m = { .b = b, .a = r->agent };
    const struct postmaster_status *st = look ? &look->st : &unknown;
    const struct agent *a = r->agent;
    const struct dcs_snapshot *view = rest_cached_cluster(a);
    struct rest_world w;
    struct pgv_tags tags;
    char priority[16];

    rest_world_fill(r, look, &w);
    pgv_tags_read(w.tags, &tags);
    put_version(&m);
    gauge(&m, "patroni_postgres_running", "Value is 1 if Postgres is running, 0 otherwise.",
          w.state == PGV_STATE_RUNNING);
    epoch(&m, "patroni_postmaster_start_time", "Epoch seconds since Postgres started.",
          st->start_epoch);
    gauge(&m, "patroni_primary", "Value is 1 if this node is the leader, 0 otherwise.",
          w.role == PGV_ROLE_PRIMARY);
    put_u64(&m, "patroni_xlog_location", "counter",
            "Current location of the Postgres transaction log, 0 if this node is not the leader.",
            st->ok && !st->in_recovery ? st->location : 0);
    gauge(&m, "patroni_standby_leader",
          "Value is 1 if this node is the standby_leader, 0 otherwise.",
          w.role == PGV_ROLE_STANDBY_LEADER);
    gauge(&m, "patroni_replica", "Value is 1 if this node is a replica, 0 otherwise.",
          w.role == PGV_ROLE_REPLICA);
    gauge(&m, "patroni_sync_standby", "Value is 1 if this node is a sync standby, 0 otherwise.",
          w.sync_standby);
    gauge(&m, "patroni_quorum_standby", "Value is 1 if this node is a quorum standby, 0 otherwise.",
          w.quorum_standby);
    put_positions(&m, st, &w);
    gauge(&m, "patroni_postgres_server_version", "Version of Postgres (if running), 0 otherwise.",
          (uint64_t)st->server_version);
    gauge(&m, "patroni_cluster_unlocked", "Value is 1 if the cluster is unlocked, 0 if locked.",
          !view || !view->cluster.has_leader);
    gauge(&m, "patroni_failsafe_mode_is_active",
          "Value is 1 if failsafe mode is active, 0 if inactive.", 0);
    gauge(&m, "patroni_failsafe_mode_enabled",
          "Value is 1 if failsafe_mode is enabled, 0 otherwise.",
          pgv_bool_like(pgv_get(rest_global(a, view), "failsafe_mode")));
    gauge(&m, "patroni_failsafe_member",
          "Value is 1 if this node is a member of failsafe, 0 otherwise.", is_failsafe_member(a));
    gauge(&m, "patroni_postgres_timeline",
          "Postgres timeline of this node (if running), 0 otherwise.", rest_timeline(r, st));
    gauge(&m, "patroni_dcs_last_seen",
          "Epoch timestamp when DCS was last contacted successfully by Patroni.",
          a->dcs.last_seen_wall_us > 0 ? (uint64_t)a->dcs.last_seen_wall_us / 1000000 : 0);
    gauge(&m, "patroni_pending_restart", "Value is 1 if the node needs a restart, 0 otherwise.",
          a->pm.facts.pending_restart || a->pm.n_pending);
    gauge(&m, "patroni_is_paused", "Value is 1 if auto failover is disabled, 0 otherwise.",
          w.paused);
    put_state(&m, w.state);
    snprintf(priority, sizeof(priority), "%d", tags.nofailover ? 0 : tags.failover_priority);
    put(&m, "patroni_failover_priority", "gauge", "Failover priority of this node.", priority);
    put_ours(&m, rest_server(r));
}
