/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/pump.h - the pump: events in, ha_step(), effects out through ports.
 *
 * It knows no libuv and no clock of its own: the agent gives it real ports, a simulator gives it
 * models. A port never calls back from inside the call; what comes of an effect is a later event.
 */
#pragma once

#include "agent/ha/ha.h"

struct pump_ports {
    uint64_t (*now_ms)(void *data);
    int64_t (*wall_us)(void *data);
    /** Call pump_tick() at that moment of now_ms(), or soon after. Replaces the last one. */
    void (*wake_at)(void *data, uint64_t at_ms);
    void (*dcs)(void *data, const struct ha_effect *e);
    void (*look)(void *data);
    void (*ask_peers)(void *data, const struct ha_effect *e);
    void (*check_follow)(void *data, const struct postmaster_node *node);
    /** False: refused, and no end will be reported. */
    bool (*job)(void *data, const struct postmaster_job_args *args, const char *name);
    void (*cancel_job)(void *data);
    void (*checkpoint)(void *data);
    void (*resume_replay)(void *data);
    void (*slots)(void *data, bool drop_others);
    void (*callback)(void *data, const char *action, enum pgv_role role);
    void (*answer)(void *data, uint32_t id, enum ha_answer answer, const char *text);
    void (*watchdog)(void *data, const struct ha_effect *e);
    void (*log)(void *data, enum ha_level level, enum ha_why why, const char *text);
    void (*cycle_done)(void *data, enum ha_why why, const char *text);
    void (*exit)(void *data, int status);
};

struct pump {
    struct ha *ha;
    const struct pump_ports *ports;
    void *data;
    /** The flight recorder, or NULL: told of every step after its effects were carried out, so that
     * no deed waits for a disk. It must not call back. */
    void (*record)(void *data, const struct ha *ha, const struct ha_event *ev,
                   const struct ha_effects *fx);
    void *record_data;
    /* private */
    bool stepping;
    struct ha_effects fx;
};

void pump_init(struct pump *p, struct ha *ha, const struct pump_ports *ports, void *data);
/** The time fields of @ev are filled here. What it points to is borrowed for the call. */
void pump_event(struct pump *p, struct ha_event *ev);
void pump_tick(struct pump *p);
