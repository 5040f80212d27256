/* SPDX-License-Identifier: PostgreSQL */
/* agent/ha/world.c - facts that follow from the facts. */
#include "agent/ha/internal.h"

#include <string.h>
#include <strings.h>

bool ha_copy_name(char *dst, const char *src)
{
    size_t n = strnlen(src, PGV_NAME_BYTES - 1);

    memcpy(dst, src, n);
    dst[n] = 0;
    return src[n] == 0;
}

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static const struct dcs_member *find_member(const struct dcs_cluster *c, const char *name)
{
    for (unsigned i = 0; i < c->n_members; i++)
        if (same(c->members[i].name, name))
            return &c->members[i];
    return NULL;
}

bool ha_unlocked(const struct ha *ha)
{
    return !ha->view.has_leader;
}

bool ha_has_lock(const struct ha *ha)
{
    return ha->view.has_leader && same(ha->view.leader, ha->policy.name);
}

bool ha_is_leader(const struct ha *ha, uint64_t now_ms)
{
    return ha->lease_until_ms > now_ms;
}

bool ha_is_primary(const struct ha *ha)
{
    if (!ha->pg.alive)
        return false;
    /* A query that failed must not demote: fall back to what we believed (pg contract §10.3). */
    return ha->pg.look_ok ? !ha->pg.in_recovery : ha->pg.role == PGV_ROLE_PRIMARY;
}

bool ha_may_be_primary(const struct ha *ha)
{
    return ha_is_primary(ha) || (ha->pg.alive && ha->pg.role == PGV_ROLE_PROMOTED);
}

bool ha_writable(const struct ha *ha)
{
    if (ha->job.kind == PM_JOB_PROMOTE)
        return true;
    if ((ha->job.kind == PM_JOB_START || ha->job.kind == PM_JOB_RESTART) &&
        (ha->job.role == PGV_ROLE_PRIMARY || ha->job.role == PGV_ROLE_PROMOTED))
        return true; /* down for a moment only */
    if (!ha->pg.alive)
        return false;
    return ha->pg.role == PGV_ROLE_PRIMARY || ha->pg.role == PGV_ROLE_PROMOTED ||
           (ha->pg.look_ok && !ha->pg.in_recovery);
}

bool ha_starting(const struct ha *ha)
{
    return ha->pg.alive && pgv_state_is_starting(ha->pg.state);
}

bool ha_sync_active(const struct ha *ha)
{
    return ha->policy.sync_requested && ha->view.sync.leader[0] != 0;
}

uint64_t ha_position(const struct ha *ha)
{
    return ha->pg.wal_lsn;
}

const struct dcs_member *ha_me(const struct ha *ha)
{
    return find_member(&ha->view, ha->policy.name);
}

enum pgv_role ha_role(const struct ha *ha)
{
    return ha->pg.role;
}

bool ha_checkpoint_pending(const struct ha *ha)
{
    return ha_is_leader(ha, ha->now_ms) && ha->rewind != HA_REWIND_CHECKPOINT;
}

void ha_node_of_member(const struct ha *ha, const struct dcs_member *m, struct postmaster_node *ret)
{
    memset(ret, 0, sizeof(*ret));
    memcpy(ret->name, m->name, sizeof(ret->name));
    memcpy(ret->conn_url, m->conn_url, sizeof(ret->conn_url));
    ret->leader_checkpoint_known = m->checkpoint_known;
    ret->leader_checkpoint_done = m->checkpoint_done;
    ret->role = m->role;
    ret->is_leader = ha->view.has_leader && same(ha->view.leader, m->name);
}

void ha_node_of_leader(const struct ha *ha, struct postmaster_node *ret)
{
    const struct dcs_member *m;

    memset(ret, 0, sizeof(*ret));
    if (!ha->view.has_leader)
        return;
    m = find_member(&ha->view, ha->view.leader);
    if (m) {
        ha_node_of_member(ha, m, ret);
        return;
    }
    ha_copy_name(ret->name, ha->view.leader); /* a stub: no address known */
    ret->is_leader = true;
    ret->role = PGV_ROLE_UNKNOWN;
}

void ha_node_to_follow(const struct ha *ha, struct postmaster_node *ret)
{
    const char *from = ha->policy.tags.replicatefrom;
    const struct dcs_member *m;

    memset(ret, 0, sizeof(*ret));
    if (ha->policy.tags.nostream)
        return;
    if (from[0] && !same(from, ha->policy.name)) {
        m = find_member(&ha->view, from);
        if (m) {
            ha_node_of_member(ha, m, ret);
            return;
        }
    }
    ha_node_of_leader(ha, ret);
    if (same(ret->name, ha->policy.name))
        memset(ret, 0, sizeof(*ret));
}

const struct ha_peer *ha_peer_answer(const struct ha *ha, const char *name)
{
    for (unsigned i = 0; i < ha->n_peers; i++)
        if (same(ha->peers[i].name, name))
            return &ha->peers[i];
    return NULL;
}

const char *ha_limitation(const struct ha_peer *p)
{
    if (!p || !p->reachable)
        return "not reachable";
    if (p->nofailover)
        return "not allowed to promote";
    if (p->watchdog_failed)
        return "not watchdog capable";
    return NULL;
}

uint32_t ha_leader_timeline(const struct ha *ha)
{
    const struct dcs_member *m =
        ha->view.has_leader ? find_member(&ha->view, ha->view.leader) : NULL;

    return m ? m->timeline : 0;
}

bool ha_rewind_allowed(const struct ha *ha)
{
    return ha->pg.rewind_possible || ha->policy.remove_on_diverged;
}

bool ha_rewind_executed(const struct ha *ha)
{
    return ha->rewind > HA_REWIND_NOT_NEED;
}

void ha_trigger_divergence(struct ha *ha)
{
    if (ha_rewind_allowed(ha) && ha->rewind != HA_REWIND_NEED) {
        ha->rewind = HA_REWIND_CHECK;
        ha->divergence_not_before_ms = 0;
    }
}

static bool slot_present(const struct postmaster_slot *v, unsigned n, const char *name)
{
    for (unsigned i = 0; i < n; i++)
        if (same(v[i].name, name))
            return true;
    return false;
}

static uint64_t status_lsn(const struct dcs_cluster *c, const char *slot)
{
    for (unsigned i = 0; i < c->n_status_slots; i++)
        if (same(c->status_slots[i].name, slot))
            return c->status_slots[i].lsn;
    return 0;
}

/* dcs contract §7.2: which physical slots a node keeps for the others. */
unsigned ha_wanted_slots(const struct dcs_cluster *c, const struct ha_policy *p, enum pgv_role role,
                         int major_version, struct postmaster_slot *ret, unsigned max)
{
    bool can_advance = major_version >= 110000;
    bool keep_all = can_advance && p->member_slots_ttl_ms > 0;
    bool leads = role == PGV_ROLE_PRIMARY || role == PGV_ROLE_STANDBY_LEADER;
    const struct dcs_member *leader = c->has_leader ? find_member(c, c->leader) : NULL;
    bool old_leader = leader && leader->agent_version && leader->agent_version < 40000;
    char own[PGV_SLOT_NAME_BYTES], name[PGV_SLOT_NAME_BYTES];
    unsigned n = 0;

    if (!p->use_slots)
        return 0;
    pgv_slot_name(p->name, own);
    for (unsigned i = 0; i < c->n_members && n < max; i++) {
        const struct dcs_member *m = &c->members[i];
        const char *from = m->tags.replicatefrom;
        bool from_me = same(from, p->name);
        bool active;

        if (same(m->name, p->name) || m->tags.nostream)
            continue;
        if (leads)
            active = !from[0] || from_me || !find_member(c, from);
        else
            active = from_me && !(c->has_leader && same(c->leader, m->name));
        if (keep_all ? (p->tags.nofailover && !from_me) : !active)
            continue;
        pgv_slot_name(m->name, name);
        if (slot_present(ret, n, name))
            continue; /* two members share a slot name; the log of the view says so */
        memset(&ret[n], 0, sizeof(ret[n]));
        memcpy(ret[n].name, name, sizeof(name));
        ret[n].expected_active = active ? 1 : 0;
        ret[n].lsn = status_lsn(c, name);
        if ((from[0] || old_leader) && m->xlog_location > ret[n].lsn)
            ret[n].lsn = m->xlog_location;
        n++;
    }
    for (unsigned i = 0; i < c->n_retain_slots && n < max && !p->tags.nofailover; i++) {
        if (same(c->retain_slots[i], own) || slot_present(ret, n, c->retain_slots[i]))
            continue;
        memset(&ret[n], 0, sizeof(ret[n]));
        memcpy(ret[n].name, c->retain_slots[i], sizeof(ret[n].name));
        ret[n].expected_active = -1;
        n++;
    }
    return n;
}
