/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/watchdog.c - the watchdog device of a machine, and the agent's port to it.
 *
 * The device belongs to the machine: it goes on counting when the agent that opened it is killed.
 * Hardware counts real time, whatever becomes of the machine; the kernel's software watchdog stands
 * still while the machine does. When it fires everything on the machine dies at once; the machine
 * boots, and its agent is started.
 */
#include "tests/sim/sim.h"

#define BOOT_FROM_US (15 * SIM_S)
#define BOOT_TO_US (60 * SIM_S)

uint64_t watchdog_wanted_ms(const struct sim *s, const struct sim_node *n)
{
    const struct sim_config *c = &s->configs[n->config_id];
    uint64_t ttl_s = c->ttl_ms / 1000, margin = (uint64_t)s->plan.safety_margin;
    uint64_t timeout_s = s->plan.safety_margin < 0 ? ttl_s / 2
                         : ttl_s > margin          ? ttl_s - margin
                                                   : 0;

    return timeout_s * 1000 < c->loop_wait_ms ? 0 : timeout_s * 1000;
}

void watchdog_init_node(struct sim *s, struct sim_node *n)
{
    n->watchdog.device = s->plan.devices[n->i];
    n->watchdog.mode = s->plan.watchdog;
}

bool watchdog_usable(const struct sim_node *n)
{
    return n->watchdog.open || (n->watchdog.device.kind != SIM_DEVICE_NONE && !n->watchdog.gone);
}

/* ---- the device --------------------------------------------------------------------------- */

static void on_boot(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    (void)ev;
    machine_power(s, n, true);
}

static void on_fire(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_watchdog *w = &n->watchdog;

    if (ev->a != w->gen || !w->counting)
        return;
    sim_note(s, n, SIM_NOTE_FAULT, "the watchdog fires: the machine is reset");
    check_reset(s, n);
    s->stats.resets++;
    machine_power(s, n, false);
    sim_in(s, sim_lat(s, BOOT_FROM_US, BOOT_TO_US), SIM_WORLD, n, on_boot, 0, 0, 0);
}

static void arm(struct sim *s, struct sim_node *n)
{
    n->watchdog.gen++;
    sim_at(s, n->watchdog.fires_us, SIM_WORLD, n, on_fire, n->watchdog.gen, 0, 0);
}

static void disarm(struct sim_node *n)
{
    n->watchdog.counting = n->watchdog.open = false;
    n->watchdog.gen++;
}

void watchdog_machine_stops(struct sim *s, struct sim_node *n)
{
    struct sim_watchdog *w = &n->watchdog;

    if (w->device.kind != SIM_DEVICE_SOFT || !w->counting)
        return;
    w->left_us = w->fires_us - s->now_us;
    w->stood = true;
    w->gen++;
}

void watchdog_machine_goes_on(struct sim *s, struct sim_node *n)
{
    struct sim_watchdog *w = &n->watchdog;

    if (w->device.kind != SIM_DEVICE_SOFT || !w->counting)
        return;
    w->fires_us = s->now_us + w->left_us;
    arm(s, n);
}

void watchdog_power_lost(struct sim_node *n)
{
    disarm(n);
}

/* Closed by the kernel, without the character that stops it. */
void watchdog_agent_gone(struct sim_node *n)
{
    n->watchdog.open = false;
}

void watchdog_goes_away(struct sim_node *n, bool begin)
{
    n->watchdog.gone = begin;
    if (begin)
        n->watchdog.counting = false; /* an open one is found to be gone by the next keepalive */
}

/* ---- the port ----------------------------------------------------------------------------- */

static void on_tell(struct sim *s, struct sim_node *n, const struct sim_ev *ev)
{
    struct sim_watchdog *w = &n->watchdog;
    struct ha_event out = { .type = HA_EV_WATCHDOG };

    (void)ev;
    out.u.watchdog.usable = watchdog_usable(n);
    out.u.watchdog.running = w->open;
    out.u.watchdog.adjustable = !w->device.fixed_ms;
    out.u.watchdog.timeout_ms = w->timeout_ms;
    out.u.watchdog.fires_ms = w->fires_ms;
    node_feed(s, n, &out);
}

static void tell(struct sim *s, struct sim_node *n)
{
    sim_in(s, 1, SIM_AGENT, n, on_tell, 0, 0, 0);
}

static void count_from_now(struct sim *s, struct sim_node *n, uint64_t for_ms)
{
    struct sim_watchdog *w = &n->watchdog;

    w->counting = true;
    w->stood = false;
    w->fires_ms = node_ms(s, n) + for_ms;
    w->fires_us = s->now_us + for_ms * SIM_MS;
    arm(s, n);
}

/* True: all is as it was asked for. @first: it has just been opened and counts in any case. */
static bool keep_alive(struct sim *s, struct sim_node *n, uint64_t wanted_ms, uint64_t until_ms,
                       bool first)
{
    struct sim_watchdog *w = &n->watchdog;
    uint64_t timeout = w->device.fixed_ms ? w->device.fixed_ms : wanted_ms;
    uint64_t now = node_ms(s, n), left;
    bool same = timeout == w->timeout_ms;

    w->timeout_ms = timeout;
    if (!until_ms || now + timeout <= until_ms) {
        count_from_now(s, n, timeout);
        return same;
    }
    left = until_ms > now ? (until_ms - now) / 1000 * 1000 : 0;
    if (!w->device.fixed_ms)
        count_from_now(s, n, left ? left : 1000);
    else if (first)
        count_from_now(s, n, timeout);
    return false;
}

static void activate(struct sim *s, struct sim_node *n, uint64_t timeout_ms, uint64_t until_ms)
{
    struct sim_watchdog *w = &n->watchdog;

    if (!w->open) {
        if (!watchdog_usable(n) || w->busy)
            return;
        w->open = true;
        (void)keep_alive(s, n, timeout_ms, until_ms, true);
    } else if (w->gone) {
        w->open = false;
    } else if (!w->deaf) {
        (void)keep_alive(s, n, timeout_ms, until_ms, false);
    }
}

void watchdog_port(void *data, const struct ha_effect *e)
{
    struct sim_node *n = data;
    struct sim *s = n->sim;
    struct sim_watchdog *w = &n->watchdog;

    if (s->trace)
        sim_note(s, n, SIM_NOTE_EFFECT, "watchdog %s (%s)", ha_watchdog_op_name(e->u.watchdog.op),
                 ha_why_label(e->why));
    switch (e->u.watchdog.op) {
    case HA_WATCHDOG_CHECK:
        break;
    case HA_WATCHDOG_ACTIVATE:
        activate(s, n, e->u.watchdog.timeout_ms, e->u.watchdog.until_ms);
        break;
    case HA_WATCHDOG_KEEPALIVE:
        if (w->open && w->gone)
            w->open = false;
        else if (w->open && !w->deaf &&
                 keep_alive(s, n, e->u.watchdog.timeout_ms, e->u.watchdog.until_ms, false))
            return; /* nothing to tell */
        break;
    case HA_WATCHDOG_DISABLE:
        if (!w->open)
            break;
        check_disarmed(s, n);
        if (w->device.stays && !w->gone)
            count_from_now(s, n, w->timeout_ms);
        else
            disarm(n);
        break;
    }
    tell(s, n);
}
