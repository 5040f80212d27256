/* SPDX-License-Identifier: PostgreSQL */
/* agent/ha/say.c - effects and their words. */
#include "agent/ha/internal.h"

#include <stdio.h>
#include <string.h>

static const char *const labels[HA_WHYS] = {
#define HA_WHY(id, text) [HA_WHY_##id] = #id,
#include "agent/ha/why.def"
#undef HA_WHY
};

static const char *const texts[HA_WHYS] = {
#define HA_WHY(id, text) [HA_WHY_##id] = text,
#include "agent/ha/why.def"
#undef HA_WHY
};

const char *ha_why_label(enum ha_why why)
{
    return why < HA_WHYS ? labels[why] : "?";
}

bool ha_why_has_arguments(enum ha_why why)
{
    for (const char *p = texts[why]; *p; p++)
        if (*p == '%')
            return true;
    return false;
}

/* The formats are constants of why.def, each with one place that gives its arguments. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void say(char *ret, size_t ret_bytes, enum ha_why why, va_list args)
{
    vsnprintf(ret, ret_bytes, texts[why], args);
}
#pragma GCC diagnostic pop

void ha_say(char *ret, size_t ret_bytes, enum ha_why why, ...)
{
    va_list args;

    va_start(args, why);
    say(ret, ret_bytes, why, args);
    va_end(args);
}

struct ha_effect *ha_emit(struct ha_effects *fx, enum ha_effect_type type, enum ha_why why)
{
    struct ha_effect *e;

    PGV_ASSERT(fx->n < HA_EFFECTS_MAX);
    e = &fx->v[fx->n++];
    memset(e, 0, sizeof(*e));
    e->type = type;
    e->why = why;
    return e;
}

void ha_log(struct ha_effects *fx, enum ha_level level, enum ha_why why, ...)
{
    struct ha_effect *e;
    va_list args;

    /* Lines for people must never crowd out deeds. */
    if (fx->n + 8 >= HA_EFFECTS_MAX)
        return;
    e = ha_emit(fx, HA_DO_LOG, why);
    e->u.level = level;
    va_start(args, why);
    say(e->text, sizeof(e->text), why, args);
    va_end(args);
}

enum ha_flow ha_end(struct ha *ha, struct ha_effects *fx, enum ha_why why, ...)
{
    struct ha_effect *e = ha_emit(fx, HA_DO_CYCLE_DONE, why);
    va_list args;

    va_start(args, why);
    say(e->text, sizeof(e->text), why, args);
    va_end(args);
    ha->status_why = why;
    memcpy(ha->status, e->text, sizeof(ha->status));
    return HA_END;
}

const char *ha_dcs_op_name(enum ha_dcs_op op)
{
    static const char *const names[HA_DCS_OPS] = {
        [HA_DCS_READ] = "read",
        [HA_DCS_TOUCH] = "touch_member",
        [HA_DCS_RENEW] = "renew_leader",
        [HA_DCS_ACQUIRE] = "acquire_leader",
        [HA_DCS_TAKE] = "take_leader",
        [HA_DCS_RELEASE] = "release_leader",
        [HA_DCS_INITIALIZE] = "initialize",
        [HA_DCS_SET_SYSID] = "set_sysid",
        [HA_DCS_CANCEL_INITIALIZE] = "cancel_initialize",
        [HA_DCS_SET_CONFIG] = "set_config",
        [HA_DCS_SET_FAILOVER] = "set_failover",
        [HA_DCS_SET_STATUS] = "set_status",
        [HA_DCS_SET_HISTORY] = "set_history",
    };
    return op < HA_DCS_OPS ? names[op] : "?";
}

const char *ha_watchdog_op_name(enum ha_watchdog_op op)
{
    static const char *const names[] = {
        [HA_WATCHDOG_CHECK] = "check",
        [HA_WATCHDOG_ACTIVATE] = "activate",
        [HA_WATCHDOG_KEEPALIVE] = "keepalive",
        [HA_WATCHDOG_DISABLE] = "disable",
    };
    return (size_t)op < sizeof(names) / sizeof(names[0]) ? names[op] : "?";
}

const char *ha_event_name(enum ha_event_type type)
{
    static const char *const names[] = {
        [HA_EV_TICK] = "tick",
        [HA_EV_POLICY] = "policy",
        [HA_EV_VIEW] = "view",
        [HA_EV_DCS] = "dcs",
        [HA_EV_FACTS] = "facts",
        [HA_EV_LOOKED] = "looked",
        [HA_EV_JOB] = "job",
        [HA_EV_SHUTDOWN_CHECKPOINT] = "shutdown_checkpoint",
        [HA_EV_PEERS] = "peers",
        [HA_EV_FOLLOW] = "follow",
        [HA_EV_CHECKPOINT] = "checkpoint",
        [HA_EV_SLOTS] = "slots",
        [HA_EV_REQUEST] = "request",
        [HA_EV_WAKE] = "wake",
        [HA_EV_WATCHDOG] = "watchdog",
        [HA_EV_SHUTDOWN] = "shutdown",
    };
    return (size_t)type < sizeof(names) / sizeof(names[0]) ? names[type] : "?";
}

const char *ha_effect_name(enum ha_effect_type type)
{
    static const char *const names[] = {
        [HA_DO_DCS] = "dcs",
        [HA_DO_LOOK] = "look",
        [HA_DO_ASK_PEERS] = "ask_peers",
        [HA_DO_CHECK_FOLLOW] = "check_follow",
        [HA_DO_JOB] = "job",
        [HA_DO_CANCEL_JOB] = "cancel_job",
        [HA_DO_CHECKPOINT] = "checkpoint",
        [HA_DO_RESUME_REPLAY] = "resume_replay",
        [HA_DO_SLOTS] = "slots",
        [HA_DO_CALLBACK] = "callback",
        [HA_DO_ANSWER] = "answer",
        [HA_DO_WATCHDOG] = "watchdog",
        [HA_DO_LOG] = "log",
        [HA_DO_CYCLE_DONE] = "cycle_done",
        [HA_DO_EXIT] = "exit",
    };
    return (size_t)type < sizeof(names) / sizeof(names[0]) ? names[type] : "?";
}
