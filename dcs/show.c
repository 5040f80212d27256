/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/show.c - the cluster as people and programs read it: GET /cluster, pgvigilctl list.
 *
 * Source of the document, its order and its words: Patroni 4.1, utils.cluster_as_json().
 */
#include "base/parse.h"
#include "dcs/cluster.h"

#include <strings.h>

#include "base/banned.h"

/* What the dynamic configuration says about modes. Source: Patroni, global_config.GlobalConfig. */
struct modes {
    bool pause, standby, sync, quorum;
};

static struct modes read_modes(const struct pgv_value *config)
{
    const struct pgv_value *standby = pgv_get(config, "standby_cluster");
    const struct pgv_value *sync = pgv_get(config, "synchronous_mode");
    struct modes m = { .pause = pgv_bool_like(pgv_get(config, "pause")) };

    m.standby = pgv_truthy(pgv_get(standby, "host")) || pgv_truthy(pgv_get(standby, "port")) ||
                pgv_truthy(pgv_get(standby, "restore_command"));
    m.quorum = pgv_is(sync, PGV_STRING) && !strcasecmp(sync->u.s.p, "quorum");
    m.sync = !m.standby && (m.quorum || pgv_bool_like(sync));
    return m;
}

/* Building keeps going after a failure and reports it once at the end. */
struct show {
    struct pgv_arena *a;
    bool failed;
};

static void set(struct show *sh, struct pgv_value *map, const char *key, struct pgv_value *item)
{
    if (!pgv_map_set(sh->a, map, key, item))
        sh->failed = true;
}

static void set_text(struct show *sh, struct pgv_value *map, const char *key, const char *text)
{
    set(sh, map, key, pgv_new_string(sh->a, pgv_str(text)));
}

/* 'receive_lsn' and 'receive_lag', and so on: a position and how far it is behind the leader's. */
static void set_lsn(struct show *sh, struct pgv_value *map, const char *lsn_key,
                    const char *lag_key, uint64_t lsn, uint64_t leader_lsn)
{
    char text[PGV_LSN_BYTES];

    if (!lsn) {
        set_text(sh, map, lsn_key, "unknown");
        set_text(sh, map, lag_key, "unknown");
        return;
    }
    pgv_format_lsn(lsn, text);
    set(sh, map, lag_key, pgv_new_int(sh->a, leader_lsn > lsn ? (int64_t)(leader_lsn - lsn) : 0));
    set_text(sh, map, lsn_key, text);
}

static const char *role_word(const struct dcs_cluster *c, const struct dcs_member *m,
                             const struct modes *modes)
{
    if (c->has_leader && !strcmp(c->leader, m->name))
        return modes->standby ? "standby_leader" : "leader";
    if (modes->sync && dcs_sync_matches(&c->sync, m->name, false))
        return modes->quorum ? "quorum_standby" : "sync_standby";
    return "replica";
}

static struct pgv_value *show_member(struct show *sh, const struct dcs_cluster *c,
                                     const struct dcs_member *m, const struct modes *modes)
{
    static const char *const verbatim[] = { "timeline", "pending_restart", "pending_restart_reason",
                                            "scheduled_restart", "tags" };
    struct pgv_value *map = pgv_new(sh->a, PGV_MAP);
    const char *role = role_word(c, m, modes);
    struct pgv_str state = { 0 };
    char host[PGV_URL_BYTES];
    int port;

    set_text(sh, map, "name", m->name);
    set_text(sh, map, "role", role);
    if (strcmp(role, "leader"))
        state = pgv_string(pgv_get(m->data, "replication_state"));
    if (!state.n)
        state = pgv_string(pgv_get(m->data, "state"));
    set(sh, map, "state", pgv_new_string(sh->a, state));
    set(sh, map, "api_url",
        m->api_url[0] ? pgv_new_string(sh->a, pgv_str(m->api_url)) : pgv_new(sh->a, PGV_NULL));
    if (dcs_conn_url_parse(m->conn_url, host, sizeof(host), &port, NULL, 0)) {
        set_text(sh, map, "host", host);
        set(sh, map, "port", pgv_new_int(sh->a, port));
    }
    for (size_t i = 0; i < sizeof(verbatim) / sizeof(*verbatim); i++) {
        const struct pgv_value *v = pgv_get(m->data, verbatim[i]);

        if (v)
            set(sh, map, verbatim[i], pgv_value_copy(sh->a, v));
    }
    if (!c->has_leader || strcmp(c->leader, m->name)) {
        set_lsn(sh, map, "receive_lsn", "receive_lag", m->receive_lsn, c->status_optime);
        set_lsn(sh, map, "replay_lsn", "replay_lag", m->replay_lsn, c->status_optime);
        set_lsn(sh, map, "lsn", "lag", m->xlog_location, c->status_optime);
    }
    return map;
}

/* The moment as it was stored: with its own offset, or without one when it has none. */
static void schedule_text(const struct dcs_failover *f, char ret[PGV_MOMENT_BYTES + 64])
{
    if (!f->schedule_valid) {
        pgv_copy_cut(ret, PGV_MOMENT_BYTES + 64, pgv_str(f->schedule_text));
        return;
    }
    pgv_format_moment(f->scheduled_wall_us, f->schedule_offset_s, ret);
    if (!f->schedule_has_zone && strlen(ret) > 6)
        ret[strlen(ret) - 6] = 0;
}

struct pgv_value *dcs_cluster_to_json(struct pgv_arena *a, const struct dcs_snapshot *s,
                                      const struct pgv_value *config, const char *scope)
{
    const struct dcs_cluster *c = &s->cluster;
    struct modes modes = read_modes(config ? config : s->config);
    struct show sh = { .a = a };
    struct pgv_value *map = pgv_new(a, PGV_MAP);
    struct pgv_value *members = pgv_new(a, PGV_LIST);

    for (unsigned i = 0; i < c->n_members; i++)
        if (!pgv_list_add(members, show_member(&sh, c, &c->members[i], &modes)))
            sh.failed = true;
    set(&sh, map, "members", members);
    if (modes.pause)
        set(&sh, map, "pause", pgv_new_bool(a, true));
    if (c->failover.present && c->failover.scheduled) {
        struct pgv_value *switchover = pgv_new(a, PGV_MAP);
        char at[PGV_MOMENT_BYTES + 64];

        schedule_text(&c->failover, at);
        set_text(&sh, switchover, "at", at);
        if (c->failover.leader[0])
            set_text(&sh, switchover, "from", c->failover.leader);
        if (c->failover.candidate[0])
            set_text(&sh, switchover, "to", c->failover.candidate);
        set(&sh, map, "scheduled_switchover", switchover);
    }
    set_text(&sh, map, "scope", scope);
    return sh.failed ? NULL : map;
}
