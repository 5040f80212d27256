/* SPDX-License-Identifier: PostgreSQL */
/* agent/pump.c - the pump: the only caller of ha_step(). */
#include "agent/pump.h"

#include "base/alloc.h"

#include <string.h>

void pump_init(struct pump *p, struct ha *ha, const struct pump_ports *ports, void *data)
{
    memset(p, 0, sizeof(*p));
    p->ha = ha;
    p->ports = ports;
    p->data = data;
}

/* False: a job was refused; its end is to be told to the brain. */
static bool carry_out(struct pump *p, const struct ha_effect *e)
{
    const struct pump_ports *to = p->ports;

    switch (e->type) { /* no default: the compiler names the effect we forgot */
    case HA_DO_DCS:
        to->dcs(p->data, e);
        break;
    case HA_DO_LOOK:
        to->look(p->data);
        break;
    case HA_DO_ASK_PEERS:
        to->ask_peers(p->data, e);
        break;
    case HA_DO_CHECK_FOLLOW:
        to->check_follow(p->data, &e->u.node);
        break;
    case HA_DO_JOB:
        return to->job(p->data, &e->u.job, e->text);
    case HA_DO_CANCEL_JOB:
        to->cancel_job(p->data);
        break;
    case HA_DO_CHECKPOINT:
        to->checkpoint(p->data);
        break;
    case HA_DO_RESUME_REPLAY:
        to->resume_replay(p->data);
        break;
    case HA_DO_SLOTS:
        to->slots(p->data, e->u.slots.drop_others);
        break;
    case HA_DO_CALLBACK:
        to->callback(p->data, e->u.callback.action, e->u.callback.role);
        break;
    case HA_DO_ANSWER:
        to->answer(p->data, e->u.answer.id, e->u.answer.answer, e->text);
        break;
    case HA_DO_WATCHDOG:
        to->watchdog(p->data, e);
        break;
    case HA_DO_LOG:
        to->log(p->data, e->u.level, e->why, e->text);
        break;
    case HA_DO_CYCLE_DONE:
        to->cycle_done(p->data, e->why, e->text);
        break;
    case HA_DO_EXIT:
        to->exit(p->data, e->u.exit_status);
        break;
    }
    return true;
}

static bool fences(const struct ha_effect *e)
{
    return e->type == HA_DO_JOB && e->u.job.job == PM_JOB_STOP;
}

/* One step; @ret_refused is the job that the port would not start. */
static void step(struct pump *p, struct ha_event *ev, enum postmaster_job *ret_refused)
{
    *ret_refused = PM_JOB_NONE;
    ev->now_ms = p->ports->now_ms(p->data);
    if (ev->now_ms <
        p->ha->now_ms) /* the clock is boot time: it does not go back, rounding might */
        ev->now_ms = p->ha->now_ms;
    ev->wall_us = p->ports->wall_us(p->data);
    pgv_vital_begin();
    ha_step(p->ha, ev, &p->fx);
    /* Fencing before all else, the rest in order. */
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < p->fx.n; i++)
            if (fences(&p->fx.v[i]) == (pass == 0) && !carry_out(p, &p->fx.v[i]))
                *ret_refused = p->fx.v[i].u.job.job;
    p->ports->wake_at(p->data, p->fx.wake_ms);
    pgv_vital_end();
    if (p->record)
        p->record(p->record_data, p->ha, ev, &p->fx);
}

void pump_event(struct pump *p, struct ha_event *ev)
{
    enum postmaster_job refused;

    PGV_ASSERT(!p->stepping);
    p->stepping = true;
    step(p, ev, &refused);
    while (refused != PM_JOB_NONE) {
        struct ha_event end = { .type = HA_EV_JOB };

        end.u.job.job = refused;
        end.u.job.outcome = PM_FAILED;
        step(p, &end, &refused);
    }
    p->stepping = false;
}

void pump_tick(struct pump *p)
{
    struct ha_event ev = { .type = HA_EV_TICK };

    pump_event(p, &ev);
}
