/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/ha/explain.c - the brain in plain words.
 *
 * The rules are those of race.c (ha contract §10.3, §10.4) and of the switchover (§14.5), judged by
 * the same functions, in the same order; each is told with what it saw instead of ending at the
 * first that fails.
 */
#include "agent/ha/explain.h"

#include "agent/ha/internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LSN(l) (unsigned)((l) >> 32), (unsigned)((l)&UINT32_MAX)

__attribute__((format(printf, 4, 5))) static void
rule(struct ha_rules *r, const char *name, enum ha_rule_verdict verdict, const char *fmt, ...)
{
    struct ha_rule *to;
    va_list args;

    if (r->n == HA_RULES_MAX) { /* a peer too many: its verdict still counts */
        r->n_fail += verdict == HA_RULE_FAIL;
        return;
    }
    to = &r->v[r->n++];
    to->name = name;
    to->verdict = verdict;
    r->n_fail += verdict == HA_RULE_FAIL;
    r->n_unknown += verdict == HA_RULE_UNKNOWN;
    va_start(args, fmt);
    vsnprintf(to->text, sizeof(to->text), fmt, args);
    va_end(args);
}

static enum ha_rule_verdict pass_if(bool ok)
{
    return ok ? HA_RULE_PASS : HA_RULE_FAIL;
}

static void leadership(const struct ha *ha, uint64_t now_ms, struct ha_explanation *x)
{
    char *to = x->leadership;
    size_t n = sizeof(x->leadership);

    if (!ha->have_policy || !ha->have_facts)
        snprintf(to, n, "the agent is still starting: it knows too little to lead");
    else if (x->leader)
        snprintf(to, n,
                 "it is the leader: it holds the leader key, and its lease is proven for another "
                 "%llu ms%s",
                 (unsigned long long)(ha->lease_until_ms - now_ms),
                 ha->policy.watchdog == HA_WATCHDOG_OFF ? ""
                 : ha_watchdog_guards(ha)               ? "; a watchdog guards it"
                                                        : "; no watchdog guards it");
    else if (!ha->have_view)
        snprintf(to, n, "it is not the leader: the store was never read");
    else if (ha_has_lock(ha) && ha->demotion.active)
        snprintf(to, n, "it is stepping down: PostgreSQL stops before the key is given up");
    else if (ha_has_lock(ha))
        snprintf(to, n,
                 "the leader key names it, but no renewal has proven its lease: it may not act as "
                 "leader");
    else if (ha->view.has_leader)
        snprintf(to, n, "it is not the leader: %.127s holds the leader key%s", ha->view.leader,
                 ha->dcs_lost ? " as far as known (the store does not answer now)" : "");
    else
        snprintf(to, n, "it is not the leader, and nobody is: the leader key is free; last: %.127s",
                 ha->status);
}

/* @former as in ha_peer_stands(). */
static void peers(const struct ha *ha, struct ha_rules *r, bool check_lag, const char *former)
{
    uint64_t mine = ha_position(ha);

    if (!ha->n_peers) {
        rule(r, "peers", ha->view.n_members > 1 ? HA_RULE_UNKNOWN : HA_RULE_PASS, "%s",
             ha->view.n_members > 1
                 ? "the other members' positions are asked for only when the leader key is free"
                 : "there is no other member that could be ahead");
        return;
    }
    for (unsigned i = 0; i < ha->n_peers; i++) {
        const struct ha_peer *p = &ha->peers[i];

        switch (ha_peer_stands(ha, p, check_lag, former)) {
        case HA_PEER_LIMITED:
            rule(r, "peer", HA_RULE_PASS, "%s is no competitor: %s (when last asked)", p->name,
                 ha_limitation(p));
            break;
        case HA_PEER_LEFT:
            rule(r, "peer", HA_RULE_PASS, "%s is no competitor: it hands over", p->name);
            break;
        case HA_PEER_PRIMARY:
            rule(r, "peer", HA_RULE_FAIL, "%s answered as a running primary (when last asked)",
                 p->name);
            break;
        case HA_PEER_AHEAD:
            rule(r, "peer", HA_RULE_FAIL, "%s is ahead: %X/%X, mine %X/%X (when last asked)",
                 p->name, LSN(p->position), LSN(mine));
            break;
        case HA_PEER_OLD:
            rule(r, "peer", HA_RULE_PASS, "%s is no competitor: timeline %u, the cluster's is %u",
                 p->name, p->timeline, ha->view.history_timeline);
            break;
        case HA_PEER_PREFERRED:
            rule(r, "peer", HA_RULE_FAIL,
                 "%s is as far and has failover_priority %d, mine is %d (when last asked)", p->name,
                 p->failover_priority, ha->policy.tags.failover_priority);
            break;
        case HA_PEER_BEHIND:
            rule(r, "peer", HA_RULE_PASS, "%s is not ahead: %X/%X, mine %X/%X (when last asked)",
                 p->name, LSN(p->position), LSN(mine));
            break;
        }
    }
}

/* ha_compare_with_peers() */
static void comparison(const struct ha *ha, struct ha_rules *r, bool check_lag, const char *former)
{
    const struct dcs_cluster *c = &ha->view;
    uint64_t mine = ha_position(ha);

    if (check_lag)
        rule(r, "lag", pass_if(ha_lag_fits(ha, mine)),
             "lag %llu bytes behind %X/%X, allowed are %llu (maximum_lag_on_failover)",
             (unsigned long long)(c->status_optime > mine ? c->status_optime - mine : 0),
             LSN(c->status_optime), (unsigned long long)ha->policy.maximum_lag_bytes);
    if (ha->policy.check_timeline)
        rule(r, "timeline", pass_if(ha_timeline_fits(ha, ha->pg.timeline)),
             "timeline %u, the cluster's is %u (check_timeline)", ha->pg.timeline,
             c->history_timeline);
    peers(ha, r, check_lag, former);
}

/* What the failover key makes of it: ha_manual_no_leader(). */
static void on_request(const struct ha *ha, struct ha_rules *r)
{
    const struct dcs_failover *f = &ha->view.failover;

    switch (ha_manual_stands(ha)) {
    case HA_MANUAL_ME:
        rule(r, "failover_key", HA_RULE_PASS, "the failover key names it");
        break;
    case HA_MANUAL_GONE:
        rule(r, "failover_key", HA_RULE_UNKNOWN,
             "the failover key names %s, who is no member: it will be removed", f->candidate);
        break;
    case HA_MANUAL_PAUSED:
        rule(r, "failover_key", HA_RULE_FAIL,
             "the cluster is paused, and the failover key does not name it");
        break;
    case HA_MANUAL_OTHER:
        rule(r, "failover_key", HA_RULE_FAIL, "the failover key names %s, who can take over",
             f->candidate);
        break;
    case HA_MANUAL_BACK:
        rule(r, "failover_key", pass_if(!ha_somebody_else_can(ha)),
             "the failover key takes the leadership from it, and %s",
             ha_somebody_else_can(ha) ? "another member can take over" : "nobody else can");
        break;
    case HA_MANUAL_ANYBODY:
        rule(r, "failover_key", HA_RULE_PASS,
             "a failover key is there: whoever is best takes over");
        comparison(ha, r, false, f->leader);
        break;
    }
}

static void watchdog(const struct ha *ha, uint64_t now_ms, struct ha_rules *r)
{
    if (ha->policy.watchdog != HA_WATCHDOG_REQUIRED)
        return;
    if (!ha_watchdog_wanted(ha))
        rule(r, "watchdog", HA_RULE_FAIL,
             "a watchdog is required, and with this ttl, loop_wait and safety_margin it has no "
             "time to be one");
    else if (ha_watchdog_rests(ha, now_ms))
        rule(r, "watchdog", HA_RULE_FAIL,
             "a watchdog is required, and it has failed a moment ago: no new attempt within ttl");
    else
        rule(r, "watchdog", ha->watchdog_ask.told ? pass_if(ha->watchdog.usable) : HA_RULE_UNKNOWN,
             "a watchdog is required, its device %s",
             !ha->watchdog_ask.told ? "was not looked at yet"
             : ha->watchdog.running ? "is running"
             : ha->watchdog.usable  ? "is usable"
                                    : "is not usable");
}

static void standby_rules(const struct ha *ha, uint64_t now_ms, struct ha_rules *r)
{
    rule(r, "pause", pass_if(!ha->policy.paused), "the cluster is %spaused",
         ha->policy.paused ? "" : "not ");
    rule(r, "nofailover", pass_if(!ha->policy.tags.nofailover), "tag nofailover is %s",
         ha->policy.tags.nofailover ? "set: it never becomes primary" : "not set");
    rule(r, "reachable", pass_if(ha->pg.look_ok), "PostgreSQL %s",
         ha->pg.look_ok ? "answers" : "could not be asked");
    watchdog(ha, now_ms, r);
    if (ha_sync_excludes(ha) && (!ha_manual_asked(ha) || ha->view.failover.leader[0]))
        rule(r, "synchronous", HA_RULE_FAIL, "it is not in the sync key");
    if (ha_manual_asked(ha)) {
        if (!ha->policy.paused)
            on_request(ha, r);
        return;
    }
    if (ha->policy.failsafe_mode && ha->view.n_failsafe)
        rule(r, "failsafe", pass_if(ha_failsafe_fits(ha)), "it is %s in the failsafe key",
             ha_failsafe_fits(ha) ? "listed" : "not");
    comparison(ha, r, true, ha_former_leader(ha));
}

static void promotion(const struct ha *ha, uint64_t now_ms, struct ha_rules *r)
{
    const struct dcs_cluster *c = &ha->view;
    uint64_t left_ms = 0;
    bool backs_off = ha_race_backs_off(ha, now_ms, &left_ms);

    rule(r, "configuration", pass_if(ha->have_policy), "the configuration is %s",
         ha->have_policy ? "known" : "not known yet");
    rule(r, "store", pass_if(ha->have_view && !ha->dcs_lost), "the store %s",
         !ha->have_view ? "was never read"
         : ha->dcs_lost ? "does not answer"
                        : "answers");
    rule(r, "leader_key", pass_if(!c->has_leader || ha_has_lock(ha)), "%s%.127s",
         c->has_leader ? "the leader key is held by " : "the leader key is free", c->leader);
    rule(r, "running", pass_if(ha->pg.alive && !ha_starting(ha)), "PostgreSQL is %s, role %s",
         pgv_state_name(ha->pg.state), pgv_role_name(ha->pg.role));
    rule(r, "job", pass_if(ha->job.kind == PM_JOB_NONE), "%.200s%s",
         ha->job.kind == PM_JOB_NONE ? "no long action is" : ha->job.name,
         ha->job.kind == PM_JOB_NONE ? " in progress" : " is in progress");
    rule(r, "sysid",
         c->initialize != DCS_INIT_SYSID || !ha->pg.sysid[0] ? HA_RULE_UNKNOWN
                                                             : pass_if(ha_sysid_fits(ha)),
         "system identifier %s, the cluster's is %s", ha->pg.sysid[0] ? ha->pg.sysid : "unknown",
         c->initialize == DCS_INIT_SYSID ? c->initialize_text : "not set");
    if (left_ms && ha->race_backoff_since_ms)
        rule(r, "race_backoff", pass_if(!backs_off),
             "primary_race_backoff of %llu ms since the key became free, %llu ms are left",
             (unsigned long long)ha->policy.primary_race_backoff_ms, (unsigned long long)left_ms);
    if (ha->pre_promote_failed_ms)
        rule(r, "pre_promote", pass_if(!ha_pre_promote_rests(ha, now_ms)),
             "pre_promote has failed: no new attempt within ttl");
    if (ha->policy.sync_requested)
        rule(r, "synchronous_mode", pass_if(ha_sync_fits(ha)),
             "synchronous_mode is on, which this version does not manage");
    if (ha_manual_goes_first(ha) && ha_manual_stands(ha) != HA_MANUAL_GONE) {
        on_request(ha, r);
        return;
    }
    if (!ha_is_primary(ha)) {
        standby_rules(ha, now_ms, r);
        return;
    }
    if (!c->history_timeline)
        rule(r, "timeline", HA_RULE_PASS,
             "it is a running primary on timeline %u, the cluster has no history yet",
             ha->pg.timeline);
    else
        rule(r, "timeline", pass_if(ha->pg.timeline >= c->history_timeline),
             "it is a running primary on timeline %u, the cluster's is %u", ha->pg.timeline,
             c->history_timeline);
}

static void candidate(const struct ha *ha, const struct dcs_member *m, struct ha_rules *r,
                      bool *found)
{
    const struct ha_peer *p = ha_peer_answer(ha, m->name);
    uint64_t at = p && p->reachable                ? p->position
                  : m->replay_lsn > m->receive_lsn ? m->replay_lsn
                                                   : m->receive_lsn;
    uint32_t timeline = p && p->reachable ? p->timeline : m->timeline;
    uint64_t lag;

    if (at < m->xlog_location)
        at = m->xlog_location;
    lag = ha->view.status_optime > at ? ha->view.status_optime - at : 0;
    if (m->tags.nofailover) {
        rule(r, "candidate", HA_RULE_UNKNOWN, "%s cannot take over: nofailover", m->name);
    } else if (m->state != PGV_STATE_RUNNING) {
        rule(r, "candidate", HA_RULE_UNKNOWN, "%s cannot take over: it is %s", m->name,
             pgv_state_name(m->state));
    } else if (!m->api_url[0]) {
        rule(r, "candidate", HA_RULE_UNKNOWN, "%s cannot be asked: it has no api_url", m->name);
    } else if (!ha_lag_fits(ha, at)) {
        rule(r, "candidate", HA_RULE_UNKNOWN, "%s lags %llu bytes, allowed are %llu", m->name,
             (unsigned long long)lag, (unsigned long long)ha->policy.maximum_lag_bytes);
    } else if (!ha_timeline_fits(ha, timeline)) {
        rule(r, "candidate", HA_RULE_UNKNOWN, "%s is on timeline %u, the cluster's is %u", m->name,
             timeline, ha->view.history_timeline);
    } else {
        rule(r, "candidate", HA_RULE_PASS, "%s could take over (lag %llu bytes)", m->name,
             (unsigned long long)lag);
        *found = true;
    }
}

static void switchover(const struct ha *ha, struct ha_rules *r)
{
    const struct dcs_cluster *c = &ha->view;
    bool found = false;

    rule(r, "leader", pass_if(c->has_leader), "%s%.127s",
         c->has_leader ? "the leader is " : "there is no leader to switch over from", c->leader);
    rule(r, "store", pass_if(ha->have_view && !ha->dcs_lost), "the store %s",
         ha->have_view && !ha->dcs_lost ? "answers" : "does not answer");
    if (c->failover.present)
        rule(r, "failover_key", HA_RULE_FAIL, "another %s waits already%s%s", ha_action_name(ha),
             c->failover.scheduled ? ", scheduled at " : "", c->failover.schedule_text);
    if (ha->policy.paused)
        rule(r, "pause", HA_RULE_UNKNOWN,
             "the cluster is paused: only to a named candidate, and not scheduled");
    for (unsigned i = 0; i < c->n_members; i++)
        if (!c->has_leader || strcmp(c->members[i].name, c->leader) != 0)
            candidate(ha, &c->members[i], r, &found);
    rule(r, "candidates", pass_if(found), "%s",
         found ? "at least one member could take over" : "no member could take over");
}

/*
 * The whole machine of the leader dies right after a renewal: the lease runs out (the store's
 * watch tells, or the next look within LEADERLESS_RETRY_MS of step.c), the backoff, the question
 * to the peers (which waits for the dead one), and the promotion. Without the watch: loop_wait.
 */
static void worst_case(const struct ha *ha, struct ha_explanation *x)
{
    const struct ha_policy *p = &ha->policy;
    uint64_t notice = p->loop_wait_ms, ask = p->retry_timeout_ms;

    x->failover_worst_ms = p->ttl_ms + notice + p->primary_race_backoff_ms + ask;
    snprintf(x->failover, sizeof(x->failover),
             "ttl %llu s (lease of a leader that died) + loop_wait %llu s (noticed, without a "
             "watch) + retry_timeout %llu s (asking peers and store) + primary_race_backoff %llu s",
             (unsigned long long)p->ttl_ms / 1000, (unsigned long long)notice / 1000,
             (unsigned long long)ask / 1000, (unsigned long long)p->primary_race_backoff_ms / 1000);
    /* PostgreSQL alone crashes: it is started again in place, and has so long. */
    x->crash_worst_ms = p->primary_start_timeout_ms + notice + ask;
    snprintf(x->crash, sizeof(x->crash),
             "primary_start_timeout %llu s (it may recover where it is) + loop_wait %llu s "
             "(noticed, without a watch) + retry_timeout %llu s (asking peers and store)",
             (unsigned long long)p->primary_start_timeout_ms / 1000,
             (unsigned long long)notice / 1000, (unsigned long long)ask / 1000);
}

void ha_explain(const struct ha *ha, uint64_t now_ms, struct ha_explanation *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->leader = ha_is_leader(ha, now_ms);
    leadership(ha, now_ms, ret);
    promotion(ha, now_ms, &ret->promotion);
    switchover(ha, &ret->switchover);
    worst_case(ha, ret);
}
