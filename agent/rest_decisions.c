/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_decisions.c - GET /decisions and GET /explain: what the brain decided, and what it
 * would decide now. Neither is Patroni's; both are read only and answered from this node alone.
 */
#include "agent/ha/explain.h"
#include "agent/record_file.h"
#include "agent/recorder.h"
#include "agent/rest.h"

#include "base/banned.h"

#define DECISIONS_DEFAULT 20
#define DECISIONS_MS 5000 /* the recording's disk may hang */
#define ARENA_BYTES_MAX (8u << 20)

static void on_decisions(void *data, const struct pgv_buf *json, const char *why)
{
    struct rest_call *c = data;

    if (json)
        rest_call_json_text(c, 200, pgv_buf_view(json));
    else
        rest_call_error(c, 503, why);
}

static void on_decisions_late(uv_timer_t *timer)
{
    struct rest_call *c = timer->data;

    if (!c->req)
        return;
    recorder_forget(c->rest->agent->recorder);
    rest_call_error(c, 503, "the recording cannot be read in time: its disk does not answer");
}

static void on_decisions_aborted(struct rest_call *c)
{
    recorder_forget(c->rest->agent->recorder);
}

void rest_get_decisions(struct rest *r, struct httpd_req *req)
{
    uint64_t n = DECISIONS_DEFAULT;
    struct rest_call *c;
    struct pgv_error err;
    char text[16];

    if (httpd_query_get(req->query, "last", text, sizeof(text)) &&
        (!pgv_parse_u64(pgv_str(text), &n) || n < 1 || n > RECORD_DECISIONS_MAX)) {
        rest_reply_error(r, req, 400, "last: must be a number from 1 to 500");
        return;
    }
    c = rest_call_new(r, req, sizeof(*c));
    if (!c)
        return;
    if (!r->agent->recorder ||
        !recorder_ask(r->agent->recorder, (unsigned)n, on_decisions, c, &err)) {
        rest_call_error(c, 503, r->agent->recorder ? err.msg : "the flight recorder does not run");
        return;
    }
    c->aborted = on_decisions_aborted;
    rest_call_timer(c, DECISIONS_MS, on_decisions_late);
}

static bool put_text(struct pgv_arena *a, struct pgv_value *map, const char *key, const char *text)
{
    return pgv_map_set(a, map, key, pgv_new_string(a, pgv_str(text))) != NULL;
}

static struct pgv_value *rules_json(struct pgv_arena *a, const struct ha_rules *rules)
{
    static const char *const verdicts[] = {
        [HA_RULE_PASS] = "pass", [HA_RULE_FAIL] = "fail", [HA_RULE_UNKNOWN] = "unknown"
    };
    struct pgv_value *map = pgv_new(a, PGV_MAP), *list = pgv_new(a, PGV_LIST);

    if (!map || !list ||
        !put_text(a, map, "verdict",
                  rules->n_fail      ? "no"
                  : rules->n_unknown ? "perhaps"
                                     : "yes") ||
        !pgv_map_set(a, map, "rules", list))
        return NULL;
    for (unsigned i = 0; i < rules->n; i++) {
        struct pgv_value *m = pgv_new(a, PGV_MAP);

        if (!m || !put_text(a, m, "rule", rules->v[i].name) ||
            !put_text(a, m, "verdict", verdicts[rules->v[i].verdict]) ||
            !put_text(a, m, "text", rules->v[i].text) || !pgv_list_add(list, m))
            return NULL;
    }
    return map;
}

void rest_get_explain(struct rest *r, struct httpd_req *req)
{
    static struct ha_explanation x; /* one thread */
    const struct ha *ha = &r->agent->ha;
    struct pgv_value *root;
    struct pgv_arena arena;
    bool ok;

    ha_explain(ha, pgv_clock_ms(), &x);
    pgv_arena_init(&arena, ARENA_BYTES_MAX);
    root = pgv_new(&arena, PGV_MAP);
    ok = root && put_text(&arena, root, "name", ha->policy.name) &&
         pgv_map_set(&arena, root, "leader", pgv_new_bool(&arena, x.leader)) &&
         put_text(&arena, root, "leadership", x.leadership) &&
         put_text(&arena, root, "status", ha->status) &&
         put_text(&arena, root, "status_why", ha_why_label(ha->status_why)) &&
         pgv_map_set(&arena, root, "promotion", rules_json(&arena, &x.promotion)) &&
         pgv_map_set(&arena, root, "switchover", rules_json(&arena, &x.switchover)) &&
         pgv_map_set(&arena, root, "failover_worst_ms",
                     pgv_new_int(&arena, (int64_t)x.failover_worst_ms)) &&
         put_text(&arena, root, "failover", x.failover) &&
         pgv_map_set(&arena, root, "crash_worst_ms",
                     pgv_new_int(&arena, (int64_t)x.crash_worst_ms)) &&
         put_text(&arena, root, "crash", x.crash);
    rest_reply_json(r, req, 200, ok ? root : NULL);
    pgv_arena_done(&arena);
}
