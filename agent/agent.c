/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/agent.c - the agent's life: opening its parts in order, the real ports under the pump,
 * reload, and the end.
 *
 * Callbacks here turn what happened into events and return. The brain's timer is a timerfd on
 * CLOCK_BOOTTIME: after a suspend it fires at once, not when the monotonic clock has caught up.
 */
#include "agent/agent.h"

#include "agent/datalock.h"
#include "agent/documents.h"
#include "agent/pump.h"
#include "agent/recorder.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define CYCLES_TO_SETTLE 2
/** Bursts of requests take some, too. */
#define CYCLES_BETWEEN_TRIMS 6
#define DOCUMENT_BYTES_MAX (256u * 1024)
/** How long a start waits for the store when the cached configuration lets it go on without. */
#define START_WAIT_MS 5000
#define START_RETRY_MS 5000
/** How long a start waits for the flight recorder's file. */
#define RECORDER_WAIT_MS 2000

enum phase {
    PHASE_STORE,  /* wait for the first view */
    PHASE_UNIQUE, /* is somebody alive under our name? */
    PHASE_RUN,
    PHASE_CLOSE,
};

struct dcs_slot {
    struct dcs_req req;
    bool used; /* a request is in flight */
    uint64_t begun_us;
};

struct agent_pump {
    struct agent *agent;
    struct pump pump;
    enum phase phase;
    int timer_fd;
    uint64_t timer_ms; /* what it is set to; 0: it has run out */
    uv_poll_t timer;
    uv_timer_t start_timer;
    uv_signal_t sighup, sigterm, sigint;
    struct dcs_slot dcs[HA_DCS_OPS];
    struct dcs_req first_read; /* before the brain runs: not one of its requests */
    bool first_read_used;
    struct dcs_req release_status; /* the status write before a release */
    bool release_status_used;
    char initialize_version[DCS_VERSION_BYTES]; /* of the key that our bootstrap has made */
    struct pgv_buf document;                    /* scratch, one thread */
    struct pgv_buf last_status, last_history;
    struct retained retained;
    struct agent_peers_req peers;
    uint32_t peers_round;
    bool peers_used;
    struct agent_request *requests; /* waiting for their answers */
    uint32_t next_id;
    struct httpc_req unique;
    bool unique_used;
    struct datalock data_lock;
    uint64_t opened_ms;
    enum pgv_role role_seen;
    bool was_live, pm_open, rest_open, callbacks_open, peers_client_open, dcs_open;
    bool was_leader, overrides_due;
    unsigned unsettled;            /* quiet cycles until what was taken for a while is given back */
    bool on_reserve;               /* memory is short, and it was said */
    char last_line[HA_TEXT_BYTES]; /* the last status line */
    unsigned closing;
    uint64_t cycle_began_us;
};

static struct agent_pump the_pump; /* one agent per process; large, so not on a stack */

static struct recorder the_recorder;

static void push_view(struct agent *a);
static void tell_watchdog(struct agent *a);

/*
 * One event for the brain. Whether the watched view still follows the store may have changed
 * without a new view: that is told first, so that no table trusts a copy that has gone stale.
 */
static void feed(struct agent *a, struct ha_event *ev)
{
    if (a->pump->was_live != a->dcs.view_live)
        push_view(a);
    pump_event(&a->pump->pump, ev);
    if (a->pump->rest_open)
        rest_world_changed(a);
}

/* ---- configuration becomes policy --------------------------------------------------------- */

/* The device first: off is off, whatever the brain makes of it. */
static void push_policy(struct agent *a)
{
    static struct ha_policy policy;
    struct ha_event ev = { .type = HA_EV_POLICY };
    struct watchdog_config watchdog;

    agent_config_watchdog(&a->config, &watchdog);
    if (watchdog_configure(&a->watchdog, &watchdog))
        tell_watchdog(a);
    memset(&policy, 0, sizeof(policy));
    agent_config_policy(&a->config, &policy);
    ev.u.policy = &policy;
    pump_event(&a->pump->pump, &ev);
}

static struct postmaster_config pm_config(const struct agent *a)
{
    struct postmaster_config c = {
        .name = a->config.name,
        .scope = a->config.scope,
        .postgresql = a->config.postgresql,
        .bootstrap = pgv_get(a->config.local.root, "bootstrap"),
        .retry_timeout_ms = a->config.retry_timeout_ms,
        .loop_wait_ms = a->config.loop_wait_ms,
        .has_config_key = true, /* the brain asks for slots only when it is there */
        .ignore_slots = pgv_get(a->config.global, "ignore_slots"),
    };
    return c;
}

static void reconfigure_postgresql(struct agent *a, bool sighup)
{
    struct postmaster_config c = pm_config(a);
    struct pgv_error err;

    agent_config_set_role(&a->config, a->pm.facts.role);
    c.postgresql = a->config.postgresql;
    if (!postmaster_reconfigure(&a->pm, &c, sighup, &err))
        pgv_log(PGV_ERROR, "agent", "Failed to reload config_file=%s: %s", a->config.path, err.msg);
}

static void apply_times(struct agent *a)
{
    dcs_set_times(&a->dcs, a->config.ttl_ms, a->config.loop_wait_ms, a->config.retry_timeout_ms);
}

/* The store's /config: pause and the modes at once; a new document also for PostgreSQL. */
static bool adopt(struct agent *a)
{
    struct pgv_error err;
    bool changed = false;

    if (!a->dcs.view)
        return false;
    if (!agent_config_adopt(&a->config, a->dcs.view, &changed, &err)) {
        pgv_log(PGV_ERROR, "agent", "Exception when setting dynamic_configuration: %s", err.msg);
        return false;
    }
    return changed;
}

/* ---- events ------------------------------------------------------------------------------- */

static void push_view(struct agent *a)
{
    struct ha_event ev = { .type = HA_EV_VIEW };

    ev.u.view.cluster = a->dcs.view ? &a->dcs.view->cluster : NULL;
    ev.u.view.live = a->pump->was_live = a->dcs.view_live;
    if (a->dcs.view && a->pump->pm_open)
        postmaster_set_leader_timeline(&a->pm,
                                       dcs_leader_member(&a->dcs.view->cluster)
                                           ? dcs_leader_member(&a->dcs.view->cluster)->timeline
                                           : 0);
    pump_event(&a->pump->pump, &ev);
}

static void start_go_on(struct agent *a);

static void on_facts(struct postmaster *pm);

/* Before the brain sees either: together they would speak of half a cluster. */
static bool is_published(struct agent *a)
{
    const struct dcs_cluster *c = a->dcs.view ? &a->dcs.view->cluster : NULL;

    return c && c->initialize == DCS_INIT_SYSID && postmaster_published(&a->pm, c->initialize_text);
}

static void on_view(struct dcs *dcs, unsigned changed)
{
    struct agent *a = dcs->data;

    if (a->pump->phase == PHASE_CLOSE)
        return;
    if (a->pump->phase != PHASE_RUN) {
        start_go_on(a);
        return;
    }
    if (changed & DCS_CHANGED_CONFIG) {
        bool new_document = adopt(a);

        if (new_document)
            apply_times(a); /* before the brain asks for a lease of the new ttl */
        push_policy(a);
        if (new_document)
            reconfigure_postgresql(a, false);
    }
    if (is_published(a))
        on_facts(&a->pm);
    push_view(a);
    if (a->pump->rest_open)
        rest_world_changed(a);
}

static void on_facts(struct postmaster *pm)
{
    struct agent *a = pm->data;
    struct ha_event ev = { .type = HA_EV_FACTS };

    if (a->pump->phase != PHASE_RUN)
        return;
    if (pm->facts.role != a->pump->role_seen) {
        a->pump->role_seen = pm->facts.role;
        a->pump->overrides_due = true; /* applied after the cycle, as the role may still change */
    }
    ev.u.facts = &pm->facts;
    feed(a, &ev);
}

static void on_looked(struct postmaster *pm)
{
    struct agent *a = pm->data;
    struct ha_event ev = { .type = HA_EV_LOOKED };

    if (a->pump->phase != PHASE_RUN)
        return;
    ev.u.facts = &pm->facts;
    feed(a, &ev);
}

static void on_job_end(struct postmaster *pm, enum postmaster_job job,
                       enum postmaster_outcome outcome, const char *message)
{
    struct agent *a = pm->data;
    struct ha_event ev = { .type = HA_EV_JOB };
    struct pgv_error err;
    static const char *const ends[] = { [PM_DONE] = "done",
                                        [PM_NO] = "done: no",
                                        [PM_UNKNOWN] = "not finished",
                                        [PM_FAILED] = "failed",
                                        [PM_CANCELED] = "canceled" };

    pgv_log(outcome == PM_FAILED ? PGV_ERROR : PGV_INFO, "pg", "%s %s%s%s",
            postmaster_job_name(job), ends[outcome], message && message[0] ? ": " : "",
            message ? message : "");
    a->pump->unsettled = CYCLES_TO_SETTLE;
    /* Of a copy, a new cluster: it is another directory by now. */
    if (!datalock_take(&a->pump->data_lock, postmaster_data_dir(pm), &err))
        pgv_log(PGV_ERROR, "agent", "%s", err.msg);
    if (a->pump->phase != PHASE_RUN)
        return;
    /* The facts as they are now travel first: the tables that follow read them. */
    ev.type = HA_EV_FACTS;
    ev.u.facts = &pm->facts;
    pump_event(&a->pump->pump, &ev);
    ev = (struct ha_event){ .type = HA_EV_JOB };
    ev.u.job.job = job;
    ev.u.job.outcome = outcome;
    feed(a, &ev);
}

static void on_shutdown_checkpoint(struct postmaster *pm, uint64_t checkpoint_lsn,
                                   uint64_t prev_lsn)
{
    struct agent *a = pm->data;
    struct ha_event ev = { .type = HA_EV_SHUTDOWN_CHECKPOINT };

    if (a->pump->phase != PHASE_RUN)
        return;
    ev.u.shutdown_checkpoint.checkpoint_lsn = checkpoint_lsn;
    ev.u.shutdown_checkpoint.prev_lsn = prev_lsn;
    feed(a, &ev);
}

static void on_pm_callback(struct postmaster *pm, const char *action, enum pgv_role role)
{
    callbacks_run(pm->data, action, role);
}

/* ---- ports --------------------------------------------------------------------------------- */

static uint64_t port_now_ms(void *data)
{
    (void)data;
    return pgv_clock_ms();
}

static int64_t port_wall_us(void *data)
{
    (void)data;
    return pgv_wall_us();
}

static void port_wake_at(void *data, uint64_t at_ms)
{
    struct agent *a = data;
    struct itimerspec at = { 0 };

    if (at_ms == 0)
        at_ms = 1;
    if (at_ms == a->pump->timer_ms)
        return;
    a->pump->timer_ms = at_ms;
    at.it_value.tv_sec = (time_t)(at_ms / 1000);
    at.it_value.tv_nsec = (long)(at_ms % 1000) * 1000000;
    (void)PGV_EXPECT(timerfd_settime(a->pump->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
}

static enum ha_outcome outcome_of(const struct pgv_error *err)
{
    if (!err)
        return HA_OK;
    return err->code == PGV_ECONFLICT ? HA_REFUSED : HA_LOST;
}

static void dcs_ended(struct agent *a, enum ha_dcs_op op, enum ha_outcome outcome, uint64_t sent_ms)
{
    struct ha_event ev = { .type = HA_EV_DCS };

    if (a->pump->phase != PHASE_RUN)
        return;
    if (op == HA_DCS_READ && outcome == HA_OK) {
        if (adopt(a)) {
            apply_times(a);
            reconfigure_postgresql(a, false);
        }
        push_policy(a);
        push_view(a);
    }
    if ((op == HA_DCS_ACQUIRE || op == HA_DCS_TAKE) && outcome == HA_OK)
        retained_restart(&a->pump->retained, &a->ha.view, pgv_clock_ms());
    ev.u.dcs.op = op;
    ev.u.dcs.outcome = outcome;
    ev.u.dcs.sent_ms = sent_ms;
    feed(a, &ev);
}

static void on_dcs_reply(struct dcs_req *req, const struct pgv_error *err)
{
    struct agent *a = req->data;
    struct dcs_slot *slot = NULL;
    unsigned op;

    for (op = 0; op < HA_DCS_OPS; op++)
        if (req == &a->pump->dcs[op].req)
            break;
    slot = &a->pump->dcs[op];
    slot->used = false;
    if (!err || err->code == PGV_ECONFLICT) /* it answered */
        measure_observe(&a->measures[MEASURE_DCS], pgv_clock_us() - slot->begun_us);
    if (err && err->code != PGV_ECANCELED)
        pgv_log(err->code == PGV_ECONFLICT ? PGV_INFO : PGV_WARNING, "dcs", "%s: %s (%s)",
                ha_dcs_op_name((enum ha_dcs_op)op), err->msg, pgv_code_name(err->code));
    if (err && op == HA_DCS_SET_STATUS)
        pgv_buf_reset(&a->pump->last_status);
    if (!err && (op == HA_DCS_INITIALIZE || op == HA_DCS_SET_SYSID))
        memcpy(a->pump->initialize_version, req->new_version, sizeof(req->new_version));
    dcs_ended(a, (enum ha_dcs_op)op, outcome_of(err), req->sent_ms);
}

static void on_release_status(struct dcs_req *req, const struct pgv_error *err)
{
    struct agent *a = req->data;
    struct dcs_slot *slot = &a->pump->dcs[HA_DCS_RELEASE];

    (void)err; /* the position is a help for the race; the release goes on without it */
    a->pump->release_status_used = false;
    if (a->pump->phase != PHASE_RUN) {
        slot->used = false;
        return;
    }
    dcs_submit(&a->dcs, &slot->req, on_dcs_reply);
}

/* Nothing to write or no memory for it: the brain learns that nothing was done. */
static uv_timer_t skipped_timer;
static bool skipped[HA_DCS_OPS];
static enum ha_outcome skipped_outcome[HA_DCS_OPS];

static void on_skipped(uv_timer_t *timer)
{
    struct agent *a = timer->data;

    for (unsigned op = 0; op < HA_DCS_OPS; op++)
        if (skipped[op]) {
            skipped[op] = false;
            dcs_ended(a, (enum ha_dcs_op)op, skipped_outcome[op], 0);
        }
}

static void skip(struct agent *a, enum ha_dcs_op op, enum ha_outcome outcome)
{
    (void)a;
    a->pump->dcs[op].used = false;
    skipped[op] = true;
    skipped_outcome[op] = outcome;
    uv_timer_start(&skipped_timer, on_skipped, 0, 0);
}

static bool same_text(const struct pgv_buf *a, const struct pgv_buf *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
}

static void remember(struct pgv_buf *dst, const struct pgv_buf *src)
{
    pgv_buf_reset(dst);
    pgv_buf_append(dst, src->p, src->n);
}

/* Whether the store still has the status that was written for this position: an idle server writes
 * no other one, so nobody else would put back what got lost there. */
static bool store_has_status(const struct agent *a)
{
    const struct dcs_cluster *c = a->dcs.view ? &a->dcs.view->cluster : NULL;

    return c && c->status_exists && c->status_optime == a->pm.facts.wal_lsn;
}

static void port_dcs(void *data, const struct ha_effect *e)
{
    static const enum dcs_op ops[HA_DCS_OPS] = {
        [HA_DCS_READ] = DCS_READ,
        [HA_DCS_TOUCH] = DCS_TOUCH_MEMBER,
        [HA_DCS_RENEW] = DCS_RENEW_LEADER,
        [HA_DCS_ACQUIRE] = DCS_ACQUIRE_LEADER,
        [HA_DCS_TAKE] = DCS_TAKE_LEADER,
        [HA_DCS_RELEASE] = DCS_RELEASE_LEADER,
        [HA_DCS_INITIALIZE] = DCS_CREATE_INITIALIZE,
        [HA_DCS_SET_SYSID] = DCS_SET_INITIALIZE,
        [HA_DCS_CANCEL_INITIALIZE] = DCS_DELETE_INITIALIZE,
        [HA_DCS_SET_CONFIG] = DCS_SET_CONFIG,
        [HA_DCS_SET_FAILOVER] = DCS_SET_FAILOVER,
        [HA_DCS_SET_STATUS] = DCS_SET_STATUS,
        [HA_DCS_SET_HISTORY] = DCS_SET_HISTORY,
    };
    struct agent *a = data;
    struct agent_pump *p = a->pump;
    enum ha_dcs_op op = e->u.dcs.op;
    struct dcs_slot *slot = &p->dcs[op];
    struct pgv_buf *doc = &p->document;
    struct dcs_req *req = &slot->req;

    PGV_ASSERT(!slot->used); /* the brain knows what is in flight */
    memset(req, 0, sizeof(*req));
    req->data = a;
    req->op = ops[op];
    slot->begun_us = pgv_clock_us();
    req->deadline_ms = e->u.dcs.deadline_ms;
    pgv_buf_reset(doc);
    slot->used = true;
    switch (op) {
    case HA_DCS_TOUCH:
        if (!agent_member_document(a, doc)) {
            skip(a, op, HA_LOST);
            return;
        }
        req->value = pgv_buf_view(doc);
        break;
    case HA_DCS_SET_SYSID:
        if (e->u.dcs.create)
            req->op = DCS_CREATE_INITIALIZE;
        else if (e->u.dcs.guarded)
            memcpy(req->version, p->initialize_version, sizeof(req->version));
        else
            memcpy(req->version, a->ha.view.initialize_version, sizeof(req->version));
        req->value = pgv_str(a->pm.facts.sysid);
        break;
    case HA_DCS_TAKE:
        req->value = pgv_str(a->pm.facts.sysid);
        break;
    case HA_DCS_CANCEL_INITIALIZE:
        if (!p->initialize_version[0]) { /* no key of ours, and a delete without a guard hits any */
            skip(a, op, HA_REFUSED);
            return;
        }
        memcpy(req->version, p->initialize_version, sizeof(req->version));
        break;
    case HA_DCS_SET_CONFIG:
        if (!agent_config_dynamic_json(&a->config, doc)) {
            skip(a, op, HA_LOST);
            return;
        }
        req->value = pgv_buf_view(doc);
        break;
    case HA_DCS_SET_FAILOVER: {
        const struct dcs_failover *f = &a->ha.view.failover;
        bool rewrite = e->u.dcs.candidate[0] != 0;

        if (!dcs_write_failover(doc, NULL, rewrite ? e->u.dcs.candidate : NULL,
                                rewrite && f->scheduled ? f->schedule_text : NULL)) {
            skip(a, op, HA_LOST);
            return;
        }
        if (e->u.dcs.guarded)
            memcpy(req->version, f->version, sizeof(req->version));
        req->value = pgv_buf_view(doc);
        break;
    }
    case HA_DCS_SET_STATUS:
        if (!status_document(a, &p->retained, 0, doc)) {
            skip(a, op, HA_LOST);
            return;
        }
        if (same_text(doc, &p->last_status) && store_has_status(a)) {
            skip(a, op, HA_OK);
            return;
        }
        remember(&p->last_status, doc);
        req->value = pgv_buf_view(doc);
        break;
    case HA_DCS_SET_HISTORY:
        if (!history_document(a, doc)) {
            skip(a, op, HA_OK);
            return;
        }
        req->value = pgv_buf_view(doc);
        break;
    case HA_DCS_RELEASE:
        if (e->u.dcs.optime && !p->release_status_used &&
            status_document(a, &p->retained, e->u.dcs.optime, doc)) {
            struct dcs_req *first = &p->release_status;

            memset(first, 0, sizeof(*first));
            first->data = a;
            first->op = DCS_SET_STATUS;
            first->value = pgv_buf_view(doc);
            first->deadline_ms = pgv_clock_ms() + 1000;
            pgv_buf_reset(&p->last_status);
            p->release_status_used = true;
            dcs_submit(&a->dcs, first, on_release_status);
            return;
        }
        break;
    case HA_DCS_READ:
    case HA_DCS_RENEW:
    case HA_DCS_ACQUIRE:
    case HA_DCS_INITIALIZE:
    case HA_DCS_OPS:
        break;
    }
    dcs_submit(&a->dcs, req, on_dcs_reply);
}

static void port_look(void *data)
{
    struct agent *a = data;

    postmaster_look(&a->pm, on_looked);
}

static void on_peers(struct agent_peers_req *r)
{
    struct agent *a = r->data;
    struct ha_event ev = { .type = HA_EV_PEERS };

    a->pump->peers_used = false;
    if (a->pump->phase != PHASE_RUN)
        return;
    ev.u.peers.round = a->pump->peers_round;
    ev.u.peers.n = r->n;
    ev.u.peers.peers = r->peers;
    feed(a, &ev);
}

static void port_ask_peers(void *data, const struct ha_effect *e)
{
    static struct agent_peer_addr addrs[HA_PEERS_MAX];
    struct agent *a = data;
    uint64_t now = pgv_clock_ms();

    if (a->pump->peers_used)
        agent_peers_cancel(&a->pump->peers);
    for (unsigned i = 0; i < a->ha.n_asked; i++) {
        memcpy(addrs[i].name, a->ha.asked[i].name, sizeof(addrs[i].name));
        memcpy(addrs[i].api_url, a->ha.asked[i].api_url, sizeof(addrs[i].api_url));
    }
    a->pump->peers_round = e->u.peers.round;
    a->pump->peers_used = true;
    a->pump->peers.data = a;
    agent_peers_ask(a, &a->pump->peers, addrs, a->ha.n_asked,
                    e->u.peers.deadline_ms > now ? e->u.peers.deadline_ms - now : 1, on_peers);
}

static void on_check_follow(struct postmaster *pm, enum postmaster_follow answer)
{
    struct agent *a = pm->data;
    struct ha_event ev = { .type = HA_EV_FOLLOW };

    if (a->pump->phase != PHASE_RUN)
        return;
    ev.u.follow.fits = answer == PM_FOLLOW_OK;
    ev.u.follow.needs_restart = answer == PM_FOLLOW_RESTART;
    feed(a, &ev);
}

static void port_check_follow(void *data, const struct postmaster_node *node)
{
    struct agent *a = data;

    postmaster_check_follow(&a->pm, node, on_check_follow);
}

static bool port_job(void *data, const struct postmaster_job_args *args, const char *name)
{
    struct agent *a = data;
    struct postmaster_job_args now = *args;
    struct pgv_error err;
    enum pgv_role wanted = args->role;

    /* A start writes the configuration of the role it starts as. */
    if (args->job == PM_JOB_START && agent_config_set_role(&a->config, wanted))
        reconfigure_postgresql(a, false);
    if (args->job == PM_JOB_BOOTSTRAP) /* by which an agent after us would know our key */
        pgv_copy_cut(a->pm.bootstrap_token, sizeof(a->pm.bootstrap_token),
                     pgv_str(a->pump->initialize_version));
    if (postmaster_job_start(&a->pm, &now, &err))
        return true;
    pgv_log(PGV_ERROR, "agent", "cannot begin '%s': %s", name, err.msg);
    return false;
}

static void port_cancel_job(void *data)
{
    struct agent *a = data;

    postmaster_job_cancel(&a->pm);
}

static void on_checkpoint(struct postmaster *pm, bool ok)
{
    struct agent *a = pm->data;
    struct ha_event ev = { .type = HA_EV_CHECKPOINT };

    if (a->pump->phase != PHASE_RUN)
        return;
    ev.u.ok = ok;
    feed(a, &ev);
}

static void port_checkpoint(void *data)
{
    struct agent *a = data;

    postmaster_checkpoint(&a->pm, on_checkpoint);
}

static void port_resume_replay(void *data)
{
    struct agent *a = data;

    postmaster_resume_replay(&a->pm);
}

static void on_slots(struct postmaster *pm, bool ok)
{
    struct agent *a = pm->data;
    struct ha_event ev = { .type = HA_EV_SLOTS };

    if (a->pump->phase != PHASE_RUN)
        return;
    ev.u.ok = ok;
    feed(a, &ev);
}

static void port_slots(void *data, bool drop_others)
{
    struct agent *a = data;

    postmaster_sync_slots(&a->pm, a->ha.slots, a->ha.n_slots, drop_others, on_slots);
}

static void port_callback(void *data, const char *action, enum pgv_role role)
{
    callbacks_run(data, action, role);
}

static void port_answer(void *data, uint32_t id, enum ha_answer answer, const char *text)
{
    struct agent *a = data;

    for (struct agent_request **at = &a->pump->requests; *at; at = &(*at)->next) {
        struct agent_request *r = *at;

        if (r->request.id != id)
            continue;
        *at = r->next;
        r->cb(r, answer, text);
        return;
    }
}

/* What the device is like is told soon, but never inside the brain's step. */
static uv_timer_t watchdog_timer;

static void on_watchdog_timer(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    struct ha_event ev = { .type = HA_EV_WATCHDOG };

    if (a->pump->phase != PHASE_RUN)
        return;
    watchdog_state(&a->watchdog, &ev.u.watchdog);
    feed(a, &ev);
}

static void tell_watchdog(struct agent *a)
{
    watchdog_timer.data = a;
    uv_timer_start(&watchdog_timer, on_watchdog_timer, 0, 0);
}

/* Whether a device can be had may change by itself, and peers are told. */
static void look_at_watchdog(struct agent *a)
{
    struct ha_watchdog now;

    if (a->ha.policy.watchdog != HA_WATCHDOG_REQUIRED || a->ha.watchdog.running)
        return;
    watchdog_state(&a->watchdog, &now);
    if (now.usable != a->ha.watchdog.usable)
        tell_watchdog(a);
}

static void port_watchdog(void *data, const struct ha_effect *e)
{
    struct agent *a = data;

    if (watchdog_do(&a->watchdog, e))
        tell_watchdog(a);
}

static void port_log(void *data, enum ha_level level, enum ha_why why, const char *text)
{
    static const enum pgv_level levels[] = { [HA_DEBUG] = PGV_DEBUG,
                                             [HA_INFO] = PGV_INFO,
                                             [HA_WARNING] = PGV_WARNING,
                                             [HA_ERROR] = PGV_ERROR,
                                             [HA_CRITICAL] = PGV_CRITICAL };

    (void)data;
    (void)why;
    pgv_log(levels[level], "ha", "%s", text);
}

/* What happened since the last cycle; some of it may stay in the reserve for long. */
static void note_memory(struct agent_pump *p)
{
    bool served = pgv_reserve_served() > 0;

    if (served && !p->on_reserve)
        pgv_log(PGV_CRITICAL, "agent", "out of memory: living on the reserve, bytes=%zu of %d",
                pgv_reserve_bytes_in_use(), PGV_RESERVE_BYTES);
    else if (!served && p->on_reserve)
        pgv_log(PGV_INFO, "agent", "there is memory again, bytes=%zu of the reserve still in use",
                pgv_reserve_bytes_in_use());
    p->on_reserve = served;
}

static void settle(struct agent *a)
{
    struct agent_pump *p = a->pump;

    if (!a->ha.cycle.regular || a->pm.job != PM_JOB_NONE || --p->unsettled > 0)
        return;
    pgv_heap_give_back();
    p->unsettled = CYCLES_BETWEEN_TRIMS;
}

static void port_cycle_done(void *data, enum ha_why why, const char *text)
{
    struct agent *a = data;
    struct agent_pump *p = a->pump;
    struct pgv_error err;
    bool leader = ha_is_leader(&a->ha, pgv_clock_ms());
    /* A cycle that something woke and that says what the last one said is nothing new. */
    bool news = a->ha.cycle.regular || strcmp(p->last_line, text) != 0;

    (void)why;
    note_memory(p);
    settle(a);
    look_at_watchdog(a);
    a->cycles++;
    a->cycle_us_last = (pgv_clock_ms() - a->ha.cycle.since_ms) * 1000;
    measure_observe(&a->measures[MEASURE_CYCLE], a->cycle_us_last);
    if (a->ha.have_view && a->ha.cycle.regular)
        pgv_log(PGV_INFO, "ha", "Lock owner: %s; I am %s",
                a->ha.view.has_leader ? a->ha.view.leader : "None", a->config.name);
    if (news)
        pgv_log(PGV_INFO, "ha", "%s%s", a->ha.policy.paused ? "PAUSE: " : "", text);
    pgv_copy_cut(p->last_line, sizeof(p->last_line), pgv_str(text));
    if (leader && !p->was_leader)
        pgv_buf_reset(&p->last_status);
    p->was_leader = leader;
    if (a->config.dynamic_dirty && a->pm.facts.role != PGV_ROLE_UNINITIALIZED &&
        a->pm.facts.dir == PM_DIR_OK &&
        !agent_config_save_cache(&a->config, postmaster_data_dir(&a->pm),
                                 postmaster_file_mode(&a->pm), &err))
        pgv_log(PGV_ERROR, "agent", "Exception when saving file: %s", err.msg);
    if (p->overrides_due && a->pm.job == PM_JOB_NONE) {
        p->overrides_due = false;
        if (agent_config_set_role(&a->config, a->pm.facts.role))
            reconfigure_postgresql(a, false);
    }
}

static void close_all(struct agent *a, int status);

static void port_exit(void *data, int status)
{
    close_all(data, status);
}

static const struct pump_ports real_ports = {
    .now_ms = port_now_ms,
    .wall_us = port_wall_us,
    .wake_at = port_wake_at,
    .dcs = port_dcs,
    .look = port_look,
    .ask_peers = port_ask_peers,
    .check_follow = port_check_follow,
    .job = port_job,
    .cancel_job = port_cancel_job,
    .checkpoint = port_checkpoint,
    .resume_replay = port_resume_replay,
    .slots = port_slots,
    .callback = port_callback,
    .answer = port_answer,
    .watchdog = port_watchdog,
    .log = port_log,
    .cycle_done = port_cycle_done,
    .exit = port_exit,
};

static void on_timer(uv_poll_t *timer, int status, int events)
{
    struct agent *a = timer->data;
    uint64_t ticks;

    (void)status;
    (void)events;
    if (read(a->pump->timer_fd, &ticks, sizeof(ticks)) < 0 && errno == EAGAIN)
        return;
    a->pump->timer_ms = 0;
    if (a->pump->phase != PHASE_RUN)
        return;
    feed(a, &(struct ha_event){ .type = HA_EV_TICK });
}

/* ---- what REST handlers ask ---------------------------------------------------------------- */

void agent_wake(struct agent *a)
{
    struct ha_event ev = { .type = HA_EV_WAKE };

    if (a->pump->phase == PHASE_RUN && !a->pump->pump.stepping) {
        feed(a, &ev);
    }
}

/* The answer may be there at once, but never inside the caller's call. */
static uv_timer_t ask_timer;

static void on_ask(uv_timer_t *timer)
{
    struct agent *a = timer->data;

    for (struct agent_request *r = a->pump->requests, *next; r; r = next) {
        struct ha_event ev = { .type = HA_EV_REQUEST };

        next = r->next;
        if (r->request.id)
            continue;
        r->request.id = ++a->pump->next_id;
        ev.u.request = r->request;
        pump_event(&a->pump->pump, &ev);
        uv_timer_start(&ask_timer, on_ask, 0, 0); /* the list may have changed: begin again */
        break;
    }
}

void agent_ask(struct agent *a, struct agent_request *r, agent_answer_cb cb)
{
    struct agent_request **end = &a->pump->requests;

    r->cb = cb;
    r->next = NULL;
    r->request.id = 0;
    while (*end)
        end = &(*end)->next;
    *end = r;
    uv_timer_start(&ask_timer, on_ask, 0, 0);
}

void agent_forget(struct agent *a, struct agent_request *r)
{
    for (struct agent_request **at = &a->pump->requests; *at; at = &(*at)->next)
        if (*at == r) {
            *at = r->next;
            return;
        }
}

static bool read_recorder_config(const struct agent *a, struct recorder_config *ret,
                                 struct pgv_error *err)
{
    return recorder_config_read(pgv_get(a->config.local.root, "recorder"),
                                pgv_stringz(pgv_path(a->config.effective, "log.dir")),
                                pgv_stringz(pgv_path(a->config.effective, "postgresql.data_dir")),
                                a->config.name, ret, err);
}

/* The recorder is a help for people: what is wrong with it is said and costs nothing else. */
static void reconfigure_recorder(struct agent *a)
{
    struct recorder *r = a->recorder;
    struct recorder_config c;
    struct pgv_error err;

    if (!read_recorder_config(a, &c, &err)) {
        pgv_log(PGV_ERROR, "agent", "%s; the recorder stays as it was", err.msg);
        return;
    }
    if (c.enabled == r->config.enabled && (!c.enabled || (c.size_bytes == r->config.size_bytes &&
                                                          strcmp(c.file, r->config.file) == 0)))
        return;
    if (!recorder_open(r, &c, a->config.name, &err))
        pgv_log(PGV_WARNING, "agent", "going on without the flight recorder: %s", err.msg);
}

static void on_recorder_settled(struct recorder *r)
{
    start_go_on(r->data);
}

/* The writer lies beside the program, wherever that was installed. */
static void init_recorder(struct agent *a)
{
    char path[512] = "";
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("pgvigil-recorder"));
    char *name;

    path[n > 0 ? n : 0] = '\0';
    name = strrchr(path, '/');
    snprintf(name ? name + 1 : path, sizeof("pgvigil-recorder"), "pgvigil-recorder");
    recorder_init(&the_recorder, &a->loop, &a->ha, path);
    the_recorder.data = a;
    the_recorder.on_settled = on_recorder_settled;
    a->recorder = &the_recorder;
    a->pump->pump.record = recorder_step;
    a->pump->pump.record_data = &the_recorder;
}

/* Only when it has to be, as it costs the watch and the login: another section, or certificates,
 * which may be new behind the same names. */
static bool reload_store(struct agent *a, bool new_section, struct pgv_error *err)
{
    const struct pgv_value *section =
        a->dcs.ops ? pgv_get(a->config.effective, a->dcs.ops->name) : NULL;
    bool files = pgv_get(section, "cacert") || pgv_get(section, "cert");

    return !section || (!new_section && !files) || dcs_reload(&a->dcs, section, err);
}

/* All that may refuse the configuration in force but the store, each leaving its part as it was
 * when it does. */
static bool apply(struct agent *a, struct pgv_error *err)
{
    struct recorder_config recorder;
    struct postmaster_config pm;

    if (!pgv_log_configure(pgv_get(a->config.effective, "log"), err))
        return false;
    if (a->pump->phase != PHASE_RUN)
        return true;
    pm = pm_config(a);
    return read_recorder_config(a, &recorder, err) && postmaster_config_check(&pm, err) &&
           rest_reconfigure(a, err) && agent_peers_reconfigure(a, err);
}

/* @next is in force, or nothing of it: what has taken it over already is given back the old. The
 * store is told last, so that it never has to be taken back. */
static bool apply_or_undo(struct agent *a, struct agent_config_next *next)
{
    struct pgv_error err, again;

    if (apply(a, &err) && (a->pump->phase != PHASE_RUN || reload_store(a, next->new_store, &err)))
        return true;
    agent_config_exchange(&a->config, next);
    if (!apply(a, &again))
        pgv_log(PGV_ERROR, "agent", "going back to the configuration before: %s", again.msg);
    pgv_log(PGV_ERROR, "agent",
            "Failed to reload config_file=%s: %s; the old configuration stays, all of it",
            a->config.path, err.msg);
    return false;
}

static void say_failed(struct agent *a, const struct pgv_error *err)
{
    pgv_log(PGV_ERROR, "agent", "Failed to reload config_file=%s: %s", a->config.path, err->msg);
}

/* No option changed, but the files behind them may have: certificates above all. */
static void look_again(struct agent *a)
{
    struct pgv_error err;

    pgv_log(PGV_INFO, "agent", "No local configuration items changed.");
    if (a->pump->phase != PHASE_RUN)
        return;
    if (!rest_reconfigure(a, &err))
        say_failed(a, &err);
    if (!agent_peers_reconfigure(a, &err))
        say_failed(a, &err);
    if (!reload_store(a, false, &err))
        say_failed(a, &err);
}

void agent_reload(struct agent *a)
{
    struct agent_config_next next;
    struct pgv_error err;
    bool changed = false, taken = true;

    notify_systemd("RELOADING=1");
    a->pump->unsettled = CYCLES_TO_SETTLE;
    if (!agent_config_read_again(&a->config, &next, &changed, &err)) {
        pgv_log(PGV_ERROR, "agent",
                "Exception when reloading local configuration from %s: %s; the old one stays",
                a->config.path, err.msg);
        goto out;
    }
    if (changed) {
        agent_config_exchange(&a->config, &next);
        taken = apply_or_undo(a, &next);
        if (taken)
            agent_config_say_changes(&a->config, &next);
        agent_config_settle(&a->config, &next);
    } else {
        look_again(a);
    }
    if (!taken || a->pump->phase != PHASE_RUN)
        goto out;
    reconfigure_recorder(a);
    watchdog_look_again(&a->watchdog);
    apply_times(a);
    push_policy(a);
    reconfigure_postgresql(a, true);
out:
    notify_systemd("READY=1");
}

static void on_signal(uv_signal_t *signal, int signum)
{
    struct agent *a = signal->data;
    struct ha_event ev = { .type = HA_EV_SHUTDOWN };

    if (signum == SIGHUP) {
        agent_reload(a);
        return;
    }
    if (a->pump->phase == PHASE_CLOSE)
        return;
    notify_systemd("STOPPING=1");
    if (a->pump->phase != PHASE_RUN) {
        close_all(a, 0);
        return;
    }
    feed(a, &ev);
}

/* ---- the start ------------------------------------------------------------------------------- */

static bool open_rest_of(struct agent *a, struct pgv_error *err)
{
    struct agent_pump *p = a->pump;
    struct postmaster_config c;
    struct ha_event ev = { .type = HA_EV_FACTS };

    adopt(a);
    if (!agent_config_use_bootstrap(&a->config, err))
        return false;
    apply_times(a);
    agent_config_set_role(&a->config, PGV_ROLE_UNINITIALIZED);
    if (!agent_config_pin(&a->config, err))
        return false;
    c = pm_config(a);
    a->pm.data = a;
    a->pm.on_change = on_facts;
    a->pm.on_job_end = on_job_end;
    a->pm.on_shutdown_checkpoint = on_shutdown_checkpoint;
    a->pm.on_callback = on_pm_callback;
    if (!datalock_take(&p->data_lock, pgv_stringz(pgv_get(a->config.postgresql, "data_dir")),
                       err) ||
        !callbacks_open(a, err))
        return false;
    p->callbacks_open = true;
    if (!postmaster_open(&a->pm, &a->loop, &c, err))
        return false;
    p->pm_open = true;
    if (!pgv_copyz(p->initialize_version, sizeof(p->initialize_version), a->pm.bootstrap_token))
        pgv_log(PGV_WARNING, "agent", "the unfinished bootstrap names no key of the store");
    (void)is_published(a);
    p->role_seen = a->pm.facts.role;
    p->overrides_due = true;
    if (!rest_open(a, err))
        return false;
    p->rest_open = true;
    p->phase = PHASE_RUN;
    reconfigure_recorder(a);
    a->started_wall_us = pgv_wall_us();
    push_policy(a);
    ev.u.facts = &a->pm.facts;
    pump_event(&p->pump, &ev);
    push_view(a);
    notify_systemd("READY=1");
    return true;
}

static void fatal(struct agent *a, const struct pgv_error *err)
{
    pgv_log(PGV_CRITICAL, "agent", "%s", err->msg);
    close_all(a, 1);
}

static void run(struct agent *a)
{
    struct pgv_error err;

    uv_timer_stop(&a->pump->start_timer);
    if (!open_rest_of(a, &err))
        fatal(a, &err);
}

static void on_unique(struct httpc_req *r, const struct pgv_error *err)
{
    struct agent *a = r->data;
    struct pgv_error taken;

    a->pump->unique_used = false;
    if (a->pump->phase == PHASE_CLOSE)
        return;
    if (err) { /* nobody answers: the name is free */
        run(a);
        return;
    }
    pgv_fail(&taken, PGV_ECONFLICT, "Can't start; there is already a node named '%s' running",
             a->config.name);
    fatal(a, &taken);
}

/* Source: Patroni 4.1 refuses to run under a name that answers (ha contract §2.4). */
static void check_unique(struct agent *a)
{
    const struct dcs_member *me =
        a->dcs.view ? dcs_find_member(&a->dcs.view->cluster, a->config.name) : NULL;
    static char url[PGV_URL_BYTES + 16];
    struct httpc_url u;
    struct pgv_error err;

    a->pump->phase = PHASE_UNIQUE;
    if (!me || !me->api_url[0] || !httpc_url_parse(pgv_str(me->api_url), &u)) {
        run(a);
        return;
    }
    snprintf(url, sizeof(url), "%s://%s%s%s:%d/liveness", u.tls ? "https" : "http",
             strchr(u.host, ':') ? "[" : "", u.host, strchr(u.host, ':') ? "]" : "", u.port);
    memset(&a->pump->unique, 0, sizeof(a->pump->unique));
    a->pump->unique.data = a;
    a->pump->unique.method = "GET";
    a->pump->unique.url = url;
    a->pump->unique.deadline_ms = pgv_clock_ms() + 3000;
    a->pump->unique.fresh_connection = true;
    a->pump->unique_used = true;
    if (!agent_peers_send(a, &a->pump->unique, on_unique, &err)) {
        a->pump->unique_used = false;
        run(a);
    }
}

static void on_first_read(struct dcs_req *req, const struct pgv_error *err)
{
    struct agent *a = req->data;

    a->pump->first_read_used = false;
    if (err && err->code != PGV_ECANCELED)
        pgv_log(PGV_WARNING, "agent", "Can not get cluster from dcs: %s", err->msg);
    if (a->pump->phase == PHASE_STORE)
        start_go_on(a);
}

static void read_first(struct agent *a)
{
    struct dcs_req *req = &a->pump->first_read;

    if (a->pump->first_read_used)
        return;
    memset(req, 0, sizeof(*req));
    a->pump->first_read_used = true;
    req->data = a;
    req->op = DCS_READ;
    req->deadline_ms = pgv_clock_ms() + START_RETRY_MS;
    dcs_submit(&a->dcs, req, on_first_read);
}

static void on_start_timer(uv_timer_t *timer)
{
    start_go_on(timer->data);
}

/*
 * The first view decides with which configuration we attach. Without the store we go on only when
 * the cached dynamic configuration is there: then a primary that runs must be watched over, for its
 * lease may be ending.
 */
static void start_go_on(struct agent *a)
{
    struct agent_pump *p = a->pump;
    uint64_t waited_ms;

    if (p->phase != PHASE_STORE)
        return;
    /* The recording shall begin with the first step; a disk that hangs may not keep us long. */
    waited_ms = pgv_clock_ms() - p->opened_ms;
    if (!recorder_is_settled(a->recorder) && waited_ms < RECORDER_WAIT_MS) {
        uv_timer_start(&p->start_timer, on_start_timer, RECORDER_WAIT_MS - waited_ms, 0);
        return;
    }
    if (a->dcs.view) {
        check_unique(a);
        return;
    }
    if (a->config.dynamic_loaded && pgv_clock_ms() >= p->opened_ms + START_WAIT_MS) {
        pgv_log(PGV_WARNING, "agent",
                "the store does not answer: going on with the configuration of %s",
                "patroni.dynamic.json");
        check_unique(a);
        return;
    }
    read_first(a);
    uv_timer_start(&p->start_timer, on_start_timer, 1000, 0);
}

bool agent_open(struct agent *a, const char *config_path, struct pgv_error *err)
{
    struct agent_pump *p = &the_pump;
    struct dcs_config dc = { 0 };
    const struct dcs_ops *ops;
    const struct pgv_value *section;
    uv_signal_t *signals[] = { &p->sighup, &p->sigterm, &p->sigint };
    static const int signums[] = { SIGHUP, SIGTERM, SIGINT };

    a->pump = p;
    p->agent = a;
    p->timer_fd = -1;
    p->data_lock = DATALOCK_NONE;
    if (!agent_config_open(&a->config, config_path, err))
        return false;
    if (!pgv_log_configure(pgv_get(a->config.effective, "log"), err))
        return false;
    ops = dcs_find_ops(a->config.effective, &section);
    if (!ops)
        return pgv_fail(err, PGV_EINVALID,
                        "Can not find suitable configuration of distributed configuration store "
                        "(this version knows: etcd3)");
    agent_config_load_cache(&a->config,
                            pgv_stringz(pgv_path(a->config.effective, "postgresql.data_dir")));
    if (uv_loop_init(&a->loop) != 0)
        return pgv_fail(err, PGV_ENOMEM, "cannot make an event loop");
    if (!pgv_reaper_open(&a->loop, err) || !names_open(&a->loop, err))
        return false;
    p->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (p->timer_fd < 0)
        return pgv_fail_sys(err, errno, "timerfd_create");
    uv_poll_init(&a->loop, &p->timer, p->timer_fd);
    p->timer.data = a;
    uv_poll_start(&p->timer, UV_READABLE, on_timer);
    uv_timer_init(&a->loop, &p->start_timer);
    p->start_timer.data = a;
    uv_timer_init(&a->loop, &ask_timer);
    ask_timer.data = a;
    uv_timer_init(&a->loop, &skipped_timer);
    skipped_timer.data = a;
    uv_timer_init(&a->loop, &watchdog_timer);
    for (unsigned i = 0; i < 3; i++) {
        uv_signal_init(&a->loop, signals[i]);
        signals[i]->data = a;
        uv_signal_start(signals[i], on_signal, signums[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    pgv_buf_init(&p->document, DOCUMENT_BYTES_MAX);
    pgv_buf_init(&p->last_status, DOCUMENT_BYTES_MAX);
    pgv_buf_init(&p->last_history, DOCUMENT_BYTES_MAX);
    pgv_buf_init(&a->scheduled_restart_json, 16384);
    watchdog_init(&a->watchdog, &watchdog_sys_real);
    ha_init(&a->ha);
    pump_init(&p->pump, &a->ha, &real_ports, a);
    init_recorder(a);
    reconfigure_recorder(a);

    if (!agent_peers_open(a, err))
        return false;
    p->peers_client_open = true;
    p->unsettled = CYCLES_TO_SETTLE;

    dc.name = a->config.name;
    dc.scope = a->config.scope;
    dc.name_space = a->config.name_space;
    dc.section = section;
    dc.ttl_ms = a->config.ttl_ms;
    dc.loop_wait_ms = a->config.loop_wait_ms;
    dc.retry_timeout_ms = a->config.retry_timeout_ms;
    dc.member = true;
    a->dcs.data = a;
    a->dcs.on_view = on_view;
    if (!dcs_open(&a->dcs, &a->loop, ops, &dc, err)) {
        pgv_error_wrap(err, "section '%s'", ops->name);
        return false;
    }
    p->dcs_open = true;
    p->opened_ms = pgv_clock_ms();
    p->phase = PHASE_STORE;
    start_go_on(a);
    return true;
}

/* ---- the end ----------------------------------------------------------------------------------
 */

static void recorder_finished(struct recorder *r)
{
    struct agent *a = r->data;

    uv_stop(&a->loop);
}

/* The recorder last: the step that ends the agent is told to it when this has begun. */
static void closed_one(struct agent *a)
{
    if (--a->pump->closing == 0)
        recorder_finish(a->recorder, recorder_finished);
}

static void rest_closed(struct agent *a)
{
    closed_one(a);
}

static void callbacks_closed(struct agent *a)
{
    closed_one(a);
}

static void pm_closed(struct postmaster *pm)
{
    closed_one(pm->data);
}

static void dcs_closed_cb(struct dcs *dcs)
{
    closed_one(dcs->data);
}

static void peers_closed(struct agent *a)
{
    closed_one(a);
}

/* Every part ends by itself; a part that does not must not keep the process. */
static void on_close_timeout(uv_timer_t *timer)
{
    struct agent *a = timer->data;

    pgv_log(PGV_WARNING, "agent", "some parts did not end in time, leaving anyway");
    uv_stop(&a->loop);
}

static void close_all(struct agent *a, int status)
{
    struct agent_pump *p = a->pump;

    if (p->phase == PHASE_CLOSE)
        return;
    p->phase = PHASE_CLOSE;
    a->exit_status = status;
    p->closing = 1;
    uv_timer_start(&p->start_timer, on_close_timeout, 5000, 0);
    uv_poll_stop(&p->timer);
    if (p->peers_used)
        agent_peers_cancel(&p->peers);
    if (p->rest_open) {
        p->closing++;
        rest_close(a, rest_closed);
    }
    if (p->callbacks_open) {
        p->closing++;
        callbacks_close(a, callbacks_closed);
    }
    if (p->pm_open) {
        p->closing++;
        postmaster_close(&a->pm, pm_closed);
    }
    if (p->dcs_open) {
        p->closing++;
        dcs_close(&a->dcs, dcs_closed_cb);
    }
    if (p->peers_client_open) {
        p->closing++;
        agent_peers_close(a, peers_closed);
    }
    closed_one(a);
}

int agent_run(struct agent *a)
{
    uv_run(&a->loop, UV_RUN_DEFAULT);
    pgv_log(PGV_INFO, "agent", "the agent ends with status %d", a->exit_status);
    return a->exit_status;
}
