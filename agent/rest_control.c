/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_control.c - asking the agent to do something: reload, restart (now or scheduled),
 * reinitialize. The brain does it or says why not; here are the words of the answers.
 *
 * An immediate restart keeps its request open until the server is up again or the time is over.
 * A client that goes away meanwhile changes nothing about it (rest contract §7).
 */
#include "agent/rest.h"
#include "base/log.h"

#include <stdio.h>

#include "base/banned.h"

struct restart_call {
    struct rest_call call; /* first */
    bool scheduled;
};

/* ---- small ones ------------------------------------------------------------------------- */

void rest_post_reload(struct rest *r, struct httpd_req *req)
{
    struct agent *a = r->agent;

    /* Answered first: the reload may replace the listener under the request. */
    rest_reply_text(r, req, 202, "reload scheduled");
    agent_reload(a);
}

/* Has an effect in test runs on Windows only. */
void rest_post_sigterm(struct rest *r, struct httpd_req *req)
{
    rest_reply_text(r, req, 202, "shutdown scheduled");
}

/* failsafe_mode is not supported yet: nobody may keep the primary's role by counting on us. */
void rest_post_failsafe(struct rest *r, struct httpd_req *req)
{
    rest_reply_error(r, req, 502, "failsafe_mode is off");
}

/* Events of a Citus cluster, which we are not: acknowledged, and nothing done. */
void rest_post_mpp(struct rest *r, struct httpd_req *req)
{
    struct pgv_value *body;
    struct pgv_arena arena;

    pgv_arena_init(&arena, REST_BODY_ARENA_BYTES_MAX);
    if (rest_body(r, req, false, &arena, &body))
        rest_reply_text(r, req, 200, "OK");
    pgv_arena_done(&arena);
}

/* ---- schedules -------------------------------------------------------------------------- */

int rest_parse_schedule(const struct pgv_value *v, const char *action, int64_t now_wall_us,
                        int64_t *ret_wall_us, char ret_text[PGV_MOMENT_BYTES], char *ret_why,
                        size_t why_bytes)
{
    int64_t wall_us;
    bool has_zone;
    int offset_s;

    if (!pgv_is(v, PGV_STRING) ||
        !pgv_parse_moment(pgv_string(v), &wall_us, &has_zone, &offset_s)) {
        snprintf(ret_why, why_bytes,
                 "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. "
                 "ISO 8601");
        return 422;
    }
    if (!has_zone) {
        snprintf(ret_why, why_bytes, "Timezone information is mandatory for the scheduled %s",
                 action);
        return 400;
    }
    if (wall_us < now_wall_us) {
        snprintf(ret_why, why_bytes, "Cannot schedule %s in the past", action);
        return 422;
    }
    pgv_format_moment(wall_us, offset_s, ret_text);
    *ret_wall_us = wall_us;
    return 0;
}

/* ---- restart ---------------------------------------------------------------------------- */

/* 'X.Y' or 'X.Y.Z' of digits; else the words of the refusal. */
static bool check_version(struct rest_call *c, const struct pgv_value *v)
{
    struct pgv_str s = pgv_string(v);
    struct pgv_buf text;
    bool digits = s.n > 0, ok;

    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '.' && (s.p[i] < '0' || s.p[i] > '9'))
            digits = false;
    for (size_t i = 0; i < s.n; i++) /* a part of nothing is no number */
        if (s.p[i] == '.' && (i == 0 || i + 1 == s.n || s.p[i + 1] == '.'))
            digits = false;
    if (digits && pgv_parse_pg_version(s, &c->ask.request.pg_version_below))
        return true;
    pgv_buf_init(&text, 256);
    ok = pgv_value_text(&text, v);
    rest_call_text(c, 400,
                   digits ? "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: %s"
                          : "Invalid PostgreSQL version: %s",
                   ok ? pgv_buf_cstr(&text) : "");
    pgv_buf_done(&text);
    return false;
}

static bool check_role(struct rest_call *c, const struct pgv_value *v)
{
    enum pgv_role role = pgv_role_parse(pgv_string(v));

    if (pgv_str_eqz(pgv_string(v), pgv_role_name(role)) &&
        (role == PGV_ROLE_PRIMARY || role == PGV_ROLE_STANDBY_LEADER || role == PGV_ROLE_REPLICA)) {
        c->ask.request.has_role = true;
        c->ask.request.role = role;
        return true;
    }
    rest_call_text(c, 400, "PostgreSQL role should be either primary, standby_leader, or replica");
    return false;
}

static bool check_timeout(struct rest_call *c, struct pgv_value *v)
{
    int64_t seconds = pgv_int_like(v, "s", 0);
    struct pgv_value *number = pgv_new_int(&c->arena, seconds);

    if (seconds <= 0 || seconds > INT64_MAX / 1000) {
        rest_call_text(c, 400, "Timeout should be a positive number of seconds");
        return false;
    }
    /* Shown later as a number, however it was written. */
    if (!number || !pgv_map_set(&c->arena, c->body, "timeout", number)) {
        rest_call_error(c, 503, "out of memory");
        return false;
    }
    c->ask.request.timeout_ms = (uint64_t)seconds * 1000;
    return true;
}

static bool check_schedule(struct rest_call *c, const struct pgv_value *v)
{
    char text[PGV_MOMENT_BYTES], why[160];
    struct pgv_value *moment;
    int status = rest_parse_schedule(v, "restart", pgv_wall_us(), &c->ask.request.schedule_wall_us,
                                     text, why, sizeof(why));

    if (status) {
        rest_call_text(c, status, "%s", why);
        return false;
    }
    moment = pgv_new_string(&c->arena, pgv_str(text));
    if (!moment || !pgv_map_set(&c->arena, c->body, "schedule", moment)) {
        rest_call_error(c, 503, "out of memory");
        return false;
    }
    return true;
}

/* In the order of the body; the first problem is answered. */
static bool check_filters(struct rest_call *c)
{
    struct pgv_value *next;

    for (struct pgv_value *v = pgv_value_first(c->body); v; v = next) {
        bool ok = true;

        next = v->next; /* a check may put another value in the place of this one */
        if (pgv_str_eqz(v->key, "schedule"))
            ok = check_schedule(c, v);
        else if (pgv_str_eqz(v->key, "role"))
            ok = check_role(c, v);
        else if (pgv_str_eqz(v->key, "postgres_version"))
            ok = check_version(c, v);
        else if (pgv_str_eqz(v->key, "timeout"))
            ok = check_timeout(c, v);
        else if (pgv_str_eqz(v->key, "restart_pending"))
            c->ask.request.restart_pending = true; /* that it is there counts, not what it says */
        else {
            rest_call_text(c, 400, "Unknown filter for the scheduled restart: %.200s", v->key.p);
            ok = false;
        }
        if (!ok)
            return false;
    }
    return true;
}

/* Kept as it was asked for: /patroni and our member key show it. */
static void keep_schedule(struct agent *a, const struct pgv_value *body)
{
    pgv_buf_reset(&a->scheduled_restart_json);
    if (!pgv_json_write(&a->scheduled_restart_json, body, PGV_JSON_SPACED)) {
        pgv_log(PGV_WARNING, "rest", "no memory to show the scheduled restart; it is scheduled");
        pgv_buf_reset(&a->scheduled_restart_json);
    }
}

static void on_restart(struct agent_request *ask, enum ha_answer answer, const char *text)
{
    struct rest_call *c = ask->data;
    bool scheduled = ((struct restart_call *)c)->scheduled;

    c->asked = false;
    switch (answer) {
    case HA_ANSWER_DONE:
        if (scheduled)
            rest_call_text(c, 202, "Restart scheduled");
        else
            rest_call_text(c, 200, "restarted successfully");
        break;
    case HA_ANSWER_EXISTS:
        rest_call_text(c, 409, "Another restart is already scheduled");
        break;
    case HA_ANSWER_CONDITIONS:
        rest_call_text(c, 503, "restart conditions are not satisfied");
        break;
    case HA_ANSWER_BUSY:
        rest_call_text(c, 503, "%s already in progress", text);
        break;
    case HA_ANSWER_STARTING:
        rest_call_text(c, 503, "postgres is still starting");
        break;
    case HA_ANSWER_FAILED:
    case HA_ANSWER_NO_LEADER:
    case HA_ANSWER_I_LEAD:
    case HA_ANSWER_NONE:
        rest_call_text(c, 503, "restart failed");
        break;
    }
}

static void on_read_for_restart(struct rest_call *c, const struct pgv_error *err)
{
    struct agent *a = c->rest->agent;
    bool scheduled = pgv_get(c->body, "schedule") != NULL;

    (void)err;
    if (scheduled && agent_config_is_paused(rest_global(a, a->dcs.view))) {
        rest_call_text(c, 500, "Can't schedule restart in the paused state");
        return;
    }
    c->ask.request.type = scheduled ? HA_REQ_SCHEDULE_RESTART : HA_REQ_RESTART;
    if (!check_filters(c))
        return;
    ((struct restart_call *)c)->scheduled = scheduled;
    /* Before the brain is asked: it writes our member key as soon as it has accepted. While another
     * one is scheduled, that one's text stays, since this request will be refused. */
    if (scheduled && !a->ha.has_scheduled_restart)
        keep_schedule(a, c->body);
    rest_call_ask(c, on_restart);
}

void rest_post_restart(struct rest *r, struct httpd_req *req)
{
    struct rest_call *c = rest_call_new(r, req, sizeof(struct restart_call));

    if (c && rest_call_body(c, true))
        rest_call_read(c, on_read_for_restart);
}

static void on_restart_deleted(struct agent_request *ask, enum ha_answer answer, const char *text)
{
    struct rest_call *c = ask->data;

    (void)text;
    c->asked = false;
    if (answer == HA_ANSWER_DONE) {
        pgv_buf_reset(&c->rest->agent->scheduled_restart_json);
        rest_call_text(c, 200, "scheduled restart deleted");
    } else {
        rest_call_text(c, 404, "no restarts are scheduled");
    }
}

void rest_delete_restart(struct rest *r, struct httpd_req *req)
{
    struct rest_call *c = rest_call_new(r, req, sizeof(*c));

    if (!c)
        return;
    c->ask.request.type = HA_REQ_DELETE_RESTART;
    rest_call_ask(c, on_restart_deleted);
}

/* ---- reinitialize ----------------------------------------------------------------------- */

static void on_reinitialize(struct agent_request *ask, enum ha_answer answer, const char *text)
{
    struct rest_call *c = ask->data;

    c->asked = false;
    switch (answer) {
    case HA_ANSWER_DONE:
        rest_call_text(c, 200, "reinitialize started");
        break;
    case HA_ANSWER_NO_LEADER:
        rest_call_text(c, 503, "Cluster has no leader, can not reinitialize");
        break;
    case HA_ANSWER_I_LEAD:
        rest_call_text(c, 503, "I am the leader, can not reinitialize");
        break;
    case HA_ANSWER_BUSY:
        rest_call_text(c, 503, "%s already in progress", text);
        break;
    case HA_ANSWER_STARTING:
    case HA_ANSWER_FAILED:
    case HA_ANSWER_CONDITIONS:
    case HA_ANSWER_EXISTS:
    case HA_ANSWER_NONE:
        rest_call_text(c, 503, "reinitialize failed");
        break;
    }
}

/* The brain decides on its own view, which this read has just made fresh. */
static void on_read_for_reinitialize(struct rest_call *c, const struct pgv_error *err)
{
    (void)err;
    c->ask.request.type = HA_REQ_REINITIALIZE;
    c->ask.request.force = pgv_bool_like(pgv_get(c->body, "force"));
    c->ask.request.from_leader = pgv_bool_like(pgv_get(c->body, "from_leader"));
    rest_call_ask(c, on_reinitialize);
}

void rest_post_reinitialize(struct rest *r, struct httpd_req *req)
{
    struct rest_call *c = rest_call_new(r, req, sizeof(*c));

    if (c && rest_call_body(c, true))
        rest_call_read(c, on_read_for_reinitialize);
}
