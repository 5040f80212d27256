/* SPDX-License-Identifier: PostgreSQL */
/* agent/record_say.c - what was recorded, in words: one line for each event and effect. */
#include "agent/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static const char *job_word(enum postmaster_job job)
{
    static const char *const words[] = {
        [PM_JOB_NONE] = "nothing",
        [PM_JOB_BOOTSTRAP] = "bootstrap",
        [PM_JOB_POST_BOOTSTRAP] = "post_bootstrap",
        [PM_JOB_CLONE] = "clone",
        [PM_JOB_START] = "start",
        [PM_JOB_STOP] = "stop",
        [PM_JOB_RESTART] = "restart",
        [PM_JOB_PROMOTE] = "promote",
        [PM_JOB_FOLLOW] = "follow",
        [PM_JOB_CRASH_RECOVERY] = "crash recovery",
        [PM_JOB_CHECK_DIVERGENCE] = "check divergence",
        [PM_JOB_REWIND] = "rewind",
        [PM_JOB_REMOVE_DATA] = "remove data",
        [PM_JOB_MOVE_DATA_ASIDE] = "move data aside",
    };

    return words[job];
}

static const char *outcome_word(enum ha_outcome o)
{
    switch (o) {
    case HA_OK:
        return "done";
    case HA_REFUSED:
        return "refused: the store answered no";
    case HA_LOST:
        break;
    }
    return "no answer: it may or may not have happened";
}

static const char *end_word(enum postmaster_outcome o)
{
    static const char *const words[] = { [PM_DONE] = "done",
                                         [PM_NO] = "done: no",
                                         [PM_UNKNOWN] = "not finished",
                                         [PM_FAILED] = "failed",
                                         [PM_CANCELED] = "canceled" };

    return words[o];
}

static const char *request_word(enum ha_request_type t)
{
    switch (t) {
    case HA_REQ_RESTART:
        return "restart";
    case HA_REQ_SCHEDULE_RESTART:
        return "schedule a restart";
    case HA_REQ_DELETE_RESTART:
        return "delete the scheduled restart";
    case HA_REQ_REINITIALIZE:
        break;
    }
    return "reinitialize";
}

static void say_facts(const char *head, const struct postmaster_facts *f, char *ret, size_t n)
{
    snprintf(ret, n, "%s: %s, %s%s, timeline %u, position %" PRIX64 "/%" PRIX64 "%s", head,
             pgv_state_name(f->state), pgv_role_name(f->role), f->alive ? "" : ", no postmaster",
             f->timeline, f->wal_lsn >> 32, f->wal_lsn & UINT32_MAX,
             f->look_ok        ? ""
             : f->look_timeout ? ", did not answer in time"
                               : ", could not be asked");
}

void record_say_event(const struct ha_event *ev, char *ret, size_t ret_bytes)
{
    const struct dcs_cluster *c;
    size_t n;

    switch (ev->type) {
    case HA_EV_TICK:
        snprintf(ret, ret_bytes, "time has passed");
        return;
    case HA_EV_POLICY:
        snprintf(ret, ret_bytes,
                 "configuration: I am %s, ttl %" PRIu64 " ms, loop_wait %" PRIu64
                 " ms, retry_timeout %" PRIu64 " ms%s",
                 ev->u.policy->name, ev->u.policy->ttl_ms, ev->u.policy->loop_wait_ms,
                 ev->u.policy->retry_timeout_ms, ev->u.policy->paused ? ", paused" : "");
        return;
    case HA_EV_VIEW:
        c = ev->u.view.cluster;
        if (!c)
            snprintf(ret, ret_bytes, "the store was never read yet");
        else
            snprintf(ret, ret_bytes,
                     "the store shows leader %s, %u members, cluster timeline %u%s%s%s%s",
                     c->has_leader ? c->leader : "none", c->n_members, c->history_timeline,
                     c->failover.present ? ", a failover key to " : "",
                     !c->failover.present       ? ""
                     : c->failover.candidate[0] ? c->failover.candidate
                                                : "anybody",
                     c->sync.exists ? ", a sync key" : "",
                     ev->u.view.live ? "" : " (the watch is not live)");
        return;
    case HA_EV_DCS:
        snprintf(ret, ret_bytes, "store: %s: %s", ha_dcs_op_name(ev->u.dcs.op),
                 outcome_word(ev->u.dcs.outcome));
        return;
    case HA_EV_FACTS:
        say_facts("PostgreSQL", ev->u.facts, ret, ret_bytes);
        return;
    case HA_EV_LOOKED:
        say_facts("looked at PostgreSQL", ev->u.facts, ret, ret_bytes);
        return;
    case HA_EV_JOB:
        snprintf(ret, ret_bytes, "job %s: %s", job_word(ev->u.job.job),
                 end_word(ev->u.job.outcome));
        return;
    case HA_EV_SHUTDOWN_CHECKPOINT:
        snprintf(ret, ret_bytes, "the shutdown checkpoint is written at %" PRIX64 "/%" PRIX64,
                 ev->u.shutdown_checkpoint.checkpoint_lsn >> 32,
                 ev->u.shutdown_checkpoint.checkpoint_lsn & UINT32_MAX);
        return;
    case HA_EV_PEERS:
        snprintf(ret, ret_bytes, "peers (round %u):", ev->u.peers.round);
        for (unsigned i = 0; i < ev->u.peers.n; i++) {
            const struct ha_peer *p = &ev->u.peers.peers[i];

            n = strlen(ret);
            if (!p->reachable)
                snprintf(ret + n, ret_bytes - n, " %s silent;", p->name);
            else
                snprintf(ret + n, ret_bytes - n, " %s %s at %" PRIX64 "/%" PRIX64 "%s;", p->name,
                         p->in_recovery ? "standby" : "primary", p->position >> 32,
                         p->position & UINT32_MAX, p->nofailover ? " nofailover" : "");
        }
        return;
    case HA_EV_FOLLOW:
        snprintf(ret, ret_bytes, "the recovery configuration %s",
                 ev->u.follow.fits            ? "fits"
                 : ev->u.follow.needs_restart ? "needs a restart"
                                              : "needs a reload");
        return;
    case HA_EV_CHECKPOINT:
        snprintf(ret, ret_bytes, "the checkpoint after promotion %s",
                 ev->u.ok ? "is done" : "failed");
        return;
    case HA_EV_SLOTS:
        snprintf(ret, ret_bytes, "the slots %s", ev->u.ok ? "fit" : "could not be brought in line");
        return;
    case HA_EV_REQUEST:
        snprintf(ret, ret_bytes, "request %u: %s", ev->u.request.id,
                 request_word(ev->u.request.type));
        return;
    case HA_EV_WAKE:
        snprintf(ret, ret_bytes, "woken: look again");
        return;
    case HA_EV_WATCHDOG:
        if (ev->u.watchdog.running)
            snprintf(ret, ret_bytes, "watchdog: runs, fires %" PRIu64 " ms after a keepalive%s",
                     ev->u.watchdog.timeout_ms,
                     ev->u.watchdog.adjustable ? "" : ", cannot be adjusted");
        else
            snprintf(ret, ret_bytes, "watchdog: does not run, %s",
                     ev->u.watchdog.usable ? "is usable" : "is not usable");
        return;
    case HA_EV_SHUTDOWN:
        snprintf(ret, ret_bytes, "the agent is asked to end");
        return;
    }
}

void record_say_effect(const struct ha_effect *e, char *ret, size_t ret_bytes)
{
    switch (e->type) {
    case HA_DO_DCS:
        snprintf(ret, ret_bytes, "store: %s%s%s", ha_dcs_op_name(e->u.dcs.op),
                 e->u.dcs.candidate[0] ? ", candidate " : "", e->u.dcs.candidate);
        return;
    case HA_DO_LOOK:
        snprintf(ret, ret_bytes, "look at PostgreSQL");
        return;
    case HA_DO_ASK_PEERS:
        snprintf(ret, ret_bytes, "ask the peers (round %u)", e->u.peers.round);
        return;
    case HA_DO_CHECK_FOLLOW:
        snprintf(ret, ret_bytes, "check whether it follows %s",
                 e->u.node.name[0] ? e->u.node.name : "nobody");
        return;
    case HA_DO_JOB:
        snprintf(ret, ret_bytes, "job %s%s%s%s%s", job_word(e->u.job.job),
                 e->u.job.node.name[0] ? ", node " : "", e->u.job.node.name, e->text[0] ? ": " : "",
                 e->text);
        return;
    case HA_DO_CANCEL_JOB:
        snprintf(ret, ret_bytes, "cancel the job");
        return;
    case HA_DO_CHECKPOINT:
        snprintf(ret, ret_bytes, "checkpoint");
        return;
    case HA_DO_RESUME_REPLAY:
        snprintf(ret, ret_bytes, "resume WAL replay");
        return;
    case HA_DO_SLOTS:
        snprintf(ret, ret_bytes, "bring the slots in line");
        return;
    case HA_DO_CALLBACK:
        snprintf(ret, ret_bytes, "callback %s as %s", e->u.callback.action,
                 pgv_role_name(e->u.callback.role));
        return;
    case HA_DO_ANSWER:
        snprintf(ret, ret_bytes, "answer request %u (%d)", e->u.answer.id, (int)e->u.answer.answer);
        return;
    case HA_DO_WATCHDOG:
        snprintf(ret, ret_bytes, "watchdog: %s", ha_watchdog_op_name(e->u.watchdog.op));
        return;
    case HA_DO_LOG:
        snprintf(ret, ret_bytes, "say: %s", e->text);
        return;
    case HA_DO_CYCLE_DONE:
        snprintf(ret, ret_bytes, "status: %s", e->text);
        return;
    case HA_DO_EXIT:
        snprintf(ret, ret_bytes, "end with status %d", e->u.exit_status);
        return;
    }
}
