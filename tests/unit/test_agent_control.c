/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_agent_control.c - who may change things, and what the changing endpoints answer.
 */
#include "agent_support.h"

#include "base/clock.h"
#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void body_is(int status, const char *body)
{
    assert_int_equal(reply.status, status);
    assert_string_equal(reply.body, body);
}

/* The words of an error page stand somewhere in it. */
static void page_is(int status, const char *words)
{
    assert_int_equal(reply.status, status);
    assert_true(world_has_header("\r\nContent-Type: text/html"));
    if (!strstr(reply.body, words))
        fail_msg("'%s' does not say '%s'", reply.body, words);
}

static bool is_asked(void)
{
    return world.asked != NULL;
}

/* ---- access ----------------------------------------------------------------------------- */

static void reopen(const char *restapi)
{
    world_close();
    world_open(restapi, "");
}

static void test_access__password(void **state)
{
    (void)state;
    reopen("  authentication: {username: user, password: pass}\n");
    post("POST", "/reload", NULL);
    body_is(401, "no auth header received");
    assert_true(world_has_header("\r\nWWW-Authenticate: Basic realm=\"Patroni\"\r\n"));
    assert_true(world_has_header("\r\nContent-Type: text/html\r\n"));
    world_request("POST", "/reload", "Authorization: Basic dXNlcjpwYXN6\r\n", NULL);
    body_is(401, "not authenticated");
    world_request("POST", "/reload", "Authorization: Basic dXNlcjpwYXNz\r\n", NULL);
    body_is(202, "reload scheduled");
    assert_int_equal(world.n_reloads, 1);
    assert_int_equal(get("/config"), 200); /* reading is free */
    post("POST", "/mpp", "{\"a\":1}");
    assert_int_equal(reply.status, 401);
    post("DELETE", "/restart", NULL);
    assert_int_equal(reply.status, 401);
    assert_false(is_asked());
}

static void test_access__allowlist(void **state)
{
    (void)state;
    reopen("  allowlist: [10.0.0.0/8, 127.0.0.0/8]\n");
    assert_int_equal(post("POST", "/reload", NULL), 202);
    reopen("  allowlist: [10.0.0.0/8, '::1']\n  authentication: {username: u, password: p}\n");
    post("POST", "/reload", NULL);
    body_is(403, "Access is denied"); /* the address comes before the password */
    assert_int_equal(get("/patroni"), 200);
    assert_int_equal(world.n_reloads, 0);
    /* entries that are no use do not open the door */
    reopen("  allowlist: [10.0.0.0/99]\n");
    post("POST", "/reload", NULL);
    body_is(403, "Access is denied");
    /* no list at all: everybody */
    reopen("  allowlist: 10.0.0.0/8\n");
    assert_int_equal(post("POST", "/reload", NULL), 202);
    reopen("  allowlist: {a: 10.0.0.0/8, b: 10.0.0.0/8}\n");
    assert_int_equal(post("POST", "/reload", NULL), 202);
    reopen("  allowlist: []\n");
    assert_int_equal(post("POST", "/reload", NULL), 202);
}

static bool allowlist_in_force(void)
{
    return world.a.rest->access.allow_next == NULL;
}

static void test_access__allowlist_of_names(void **state)
{
    (void)state;
    reopen("  allowlist: [localhost]\n");
    world_turn_until(allowlist_in_force);
    assert_int_equal(post("POST", "/reload", NULL), 202);
}

static void test_access__members(void **state)
{
    (void)state;
    reopen("  allowlist_include_members: true\n");
    post("POST", "/reload", NULL);
    body_is(403, "Access is denied"); /* no member has an address */
    post("POST", "/failsafe", "{\"a\":1}");
    page_is(502, "failsafe_mode is off"); /* members do not count there, so nothing guards it */
    world_put("members/n2", "{\"api_url\":\"http://10.9.9.9:8008/patroni\"}");
    assert_int_equal(post("POST", "/reload", NULL), 403);
    world_put("members/n3", "{\"api_url\":\"http://127.0.0.1:8008/patroni\"}");
    assert_int_equal(post("POST", "/reload", NULL), 202);
    world_put("members/n3", "{\"api_url\":\"http://localhost/patroni\"}"); /* a name: looked up */
    assert_int_equal(post("POST", "/reload", NULL), 202);
    world_view_absent(); /* who the members are is not known any more */
    assert_int_equal(post("POST", "/reload", NULL), 403);
}

static void test_access__client_that_goes_while_members_are_looked_up(void **state)
{
    int fd;

    (void)state;
    reopen("  allowlist_include_members: true\n");
    world_put("members/n3", "{\"api_url\":\"http://localhost/patroni\"}");
    fd = world_send("POST", "/reload", "", NULL);
    world_drop(fd);
    assert_int_equal(post("POST", "/reload", NULL), 202);
}

/* ---- small ones -------------------------------------------------------------------------------
 */

static void test_small_endpoints(void **state)
{
    (void)state;
    post("POST", "/sigterm", NULL);
    body_is(202, "shutdown scheduled");
    post("POST", "/citus", "{\"type\":\"before_demote\"}");
    body_is(200, "OK");
    post("POST", "/mpp", NULL);
    page_is(411, "length");
    post("POST", "/patroni", "{}");
    page_is(501, "Server does not support this operation");
    world_request("TRACE", "/", "", NULL);
    assert_int_equal(reply.status, 501);
    assert_int_equal(get("/failsafe"), 502);
    world_put("failsafe", "{\"n1\":\"http://n1:8008/patroni\"}");
    assert_int_equal(get("/failsafe"), 200);
    assert_string_equal(reply.body, "{\"n1\": \"http://n1:8008/patroni\"}");
    world_view_absent();
    get("/failsafe");
    body_is(200, "{}");
}

static void test_bodies(void **state)
{
    static const struct {
        const char *text;
        int mandatory, optional; /* status; of the optional one 0: it goes on */
    } rows[] = {
        { NULL, 411, 0 },
        { "", 400, 0 },
        { "{}", 400, 0 },
        { "[]", 400, 400 },
        { "5", 400, 400 },
        { "{", 400, 400 },
        { "{\"a\":1} x", 400, 400 },
        { "null", 400, 400 },
        { "{\"\xff\":1}", 400, 400 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        post("PATCH", "/config", rows[i].text);
        assert_int_equal(reply.status, rows[i].mandatory);
        if (rows[i].optional) {
            post("POST", "/reinitialize", rows[i].text);
            assert_int_equal(reply.status, rows[i].optional);
            assert_false(is_asked()); /* and nothing was begun after the 400 */
        } else {
            int fd = world_send("POST", "/reinitialize", "", rows[i].text);

            world_turn_until(is_asked);
            world_answer(HA_ANSWER_DONE, "");
            world_receive(fd);
            body_is(200, "reinitialize started");
        }
    }
    assert_int_equal(world.n_writes, 0);
}

/* ---- configuration -----------------------------------------------------------------------------
 */

static void test_get_config(void **state)
{
    (void)state;
    get("/config");
    body_is(200, "{\"ttl\": 30}");
    assert_true(world_has_header("\r\nContent-Type: application/json\r\n"));
    world_put("config", "[]");
    get("/config");
    page_is(502, "config");
    world_put("config", "{\"\xc3\xa4\":{\"b\":[1,null]}}");
    world_view_absent(); /* then the store is asked */
    get("/config");
    body_is(200, "{\"\\u00e4\": {\"b\": [1, null]}}");
    world_view_absent();
    world.store_fails = PGV_EUNREACHABLE;
    assert_int_equal(get("/config"), 503);
    assert_int_equal(get("/cluster"), 503);
    assert_int_equal(get("/history"), 503);
}

static void test_patch_config__merges_and_swaps(void **state)
{
    (void)state;
    world_put("config", "{\"ttl\":30,\"a\":{\"b\":1,\"c\":2},\"x\":true}");
    post("PATCH", "/config",
         "{\"ttl\":\"30\",\"a\":{\"b\":null,\"d\":[1]},\"x\":\"True\",\"y\":null,\"z\":5}");
    body_is(200, "{\"ttl\": 30, \"a\": {\"c\": 2, \"d\": [1]}, \"x\": true, \"z\": 5}");
    assert_string_equal(world.written, "{\"ttl\":30,\"a\":{\"c\":2,\"d\":[1]},\"x\":true,\"z\":5}");
    assert_int_equal(world.written_op, DCS_SET_CONFIG);
    assert_int_equal(world.n_wakes, 1);
    post("PATCH", "/config", "{\"ttl\":\"30\"}"); /* equal as text: nothing to write */
    assert_int_equal(reply.status, 200);
    assert_int_equal(world.n_writes, 1);
    assert_int_equal(world.n_wakes, 2);
}

static bool has_call(void)
{
    return world.a.rest->calls != NULL;
}

static bool client_gone(void)
{
    return has_call() && !world.a.rest->calls->req;
}

static bool no_call(void)
{
    return !has_call();
}

static void test_patch_config__refusals(void **state)
{
    int fd;

    (void)state;
    /* somebody else was faster */
    world.write_fails = PGV_ECONFLICT;
    post("PATCH", "/config", "{\"ttl\":40}");
    page_is(409, "");
    world.write_fails = PGV_EUNREACHABLE;
    post("PATCH", "/config", "{\"ttl\":40}");
    page_is(503, "may or may not");
    /* what no member could use */
    post("PATCH", "/config", "{\"ttl\":\"30s\"}");
    page_is(400, "ttl: is not a whole number of seconds");
    post("PATCH", "/config", "{\"postgresql\":[1]}");
    page_is(400, "postgresql: is not a map");
    post("PATCH", "/config", "{\"postgresql\":{\"parameters\":\"x\"}}");
    page_is(400, "postgresql.parameters: is not a dictionary");
    post("PUT", "/config", "{\"loop_wait\":null}");
    page_is(400, "loop_wait");
    assert_int_equal(world.n_writes, 0);
    assert_int_equal(world.n_wakes, 0);
    /* unknown names and values are nobody's business */
    assert_int_equal(post("PATCH", "/config", "{\"whatever\":{\"x\":-1}}"), 200);
    world_put("config", NULL);
    post("PATCH", "/config", "{\"ttl\":40}");
    page_is(503, "config");
    /* a client that has gone before the write changes nothing */
    world_put("config", "{\"ttl\":30}");
    world.n_writes = 0;
    world.hold_store = true;
    fd = world_send("PATCH", "/config", "", "{\"ttl\":50}");
    world_turn_until(has_call);
    world_drop(fd);
    world_turn_until(client_gone);
    world_release_store(); /* the call had to wait for it still */
    world_turn_until(no_call);
    assert_int_equal(world.n_writes, 0);
}

static void test_put_config(void **state)
{
    (void)state;
    post("PUT", "/config", "{\"ttl\":\"30\"}"); /* the same, leaf by leaf as text */
    body_is(200, "{\"ttl\": \"30\"}");
    assert_int_equal(world.n_writes, 0);
    post("PUT", "/config", "{\"b\":1,\"a\":null}");
    body_is(200, "{\"b\": 1, \"a\": null}");
    assert_string_equal(world.written, "{\"b\":1,\"a\":null}");
    assert_int_equal(world.n_wakes, 0);
    world_put("config", NULL);
    assert_int_equal(post("PUT", "/config", "{\"ttl\":30}"), 200); /* works without one, too */
    world.write_fails = PGV_ECONFLICT;
    page_is((post("PUT", "/config", "{\"ttl\":31}"), 502), "");
}

/* ---- cluster, history ------------------------------------------------------------------- */

static void test_get_cluster_and_history(void **state)
{
    (void)state;
    world_put("members/n1", "{\"conn_url\":\"postgres://h1:5433/postgres\",\"api_url\":"
                            "\"http://h1:8008/patroni\",\"state\":\"running\",\"role\":\"primary\","
                            "\"timeline\":3,\"xlog_location\":1000}");
    get("/cluster");
    body_is(200, "{\"members\": [{\"name\": \"n1\", \"role\": \"leader\", \"state\": \"running\", "
                 "\"api_url\": \"http://h1:8008/patroni\", \"host\": \"h1\", \"port\": 5433, "
                 "\"timeline\": 3}], \"scope\": \"demo\"}");
    get("/history");
    body_is(200, "[]");
    world_put("history",
              "[[1,25623960,\"no recovery target specified\",\"2030-01-01T00:00:00+00:00\","
              "\"n1\"]]");
    get("/history");
    body_is(200, "[[1, 25623960, \"no recovery target specified\", \"2030-01-01T00:00:00+00:00\", "
                 "\"n1\"]]");
    world_view_absent();
    assert_int_equal(get("/history"), 200);
    assert_non_null(strstr(reply.body, "25623960"));
}

/* ---- restart and reinitialize ----------------------------------------------------------- */

static void asks(const char *method, const char *target, const char *body, enum ha_answer answer,
                 const char *text, int status, const char *words)
{
    int fd = world_send(method, target, "", body);

    world_turn_until(is_asked);
    world_answer(answer, text);
    world_receive(fd);
    body_is(status, words);
}

static void test_restart__answers(void **state)
{
    (void)state;
    asks("POST", "/restart", NULL, HA_ANSWER_DONE, "", 200, "restarted successfully");
    asks("POST", "/restart", "", HA_ANSWER_STARTING, "", 503, "postgres is still starting");
    asks("POST", "/restart", "{}", HA_ANSWER_FAILED, "", 503, "restart failed");
    asks("POST", "/restart", "{}", HA_ANSWER_CONDITIONS, "", 503,
         "restart conditions are not satisfied");
    asks("POST", "/restart", "{}", HA_ANSWER_BUSY, "reinitialize", 503,
         "reinitialize already in progress");
    asks("DELETE", "/restart", NULL, HA_ANSWER_DONE, "", 200, "scheduled restart deleted");
    asks("DELETE", "/restart", NULL, HA_ANSWER_NONE, "", 404, "no restarts are scheduled");
    asks("POST", "/restart", "{\"schedule\":\"2099-01-01T10:00Z\"}", HA_ANSWER_EXISTS, "", 409,
         "Another restart is already scheduled");
}

static void test_restart__what_is_asked_of_the_brain(void **state)
{
    const struct ha_request *r;
    int fd = world_send("POST", "/restart", "",
                        "{\"role\":\"replica\",\"postgres_version\":\"16.5\",\"timeout\":\"2min\","
                        "\"restart_pending\":false}");

    (void)state;
    world_turn_until(is_asked);
    r = &world.asked->request;
    assert_int_equal(r->type, HA_REQ_RESTART);
    assert_true(r->has_role);
    assert_int_equal(r->role, PGV_ROLE_REPLICA);
    assert_int_equal(r->pg_version_below, 160005);
    assert_int_equal(r->timeout_ms, 120000);
    assert_true(r->restart_pending);
    world_answer(HA_ANSWER_DONE, "");
    world_receive(fd);
    assert_int_equal(reply.status, 200);

    fd = world_send("POST", "/restart", "",
                    "{\"timeout\":\"1500ms\",\"schedule\":\"2099-01-01 10:00:00+02:00\"}");
    world_turn_until(is_asked);
    r = &world.asked->request;
    assert_int_equal(r->type, HA_REQ_SCHEDULE_RESTART);
    assert_int_equal(r->schedule_wall_us, 4070937600000000);
    /* shown before the brain is asked, which writes the member key as soon as it agrees */
    assert_string_equal(pgv_buf_cstr(&world.a.scheduled_restart_json),
                        "{\"timeout\": 2, \"schedule\": \"2099-01-01T10:00:00+02:00\"}");
    world_answer(HA_ANSWER_DONE, "");
    world_receive(fd);
    body_is(202, "Restart scheduled");
    world.a.ha.has_scheduled_restart = true;
    /* a second one is refused and does not disturb what is shown of the first */
    asks("POST", "/restart", "{\"schedule\":\"2098-01-01T10:00Z\"}", HA_ANSWER_EXISTS, "", 409,
         "Another restart is already scheduled");
    assert_non_null(strstr(pgv_buf_cstr(&world.a.scheduled_restart_json), "2099"));
    asks("DELETE", "/restart", NULL, HA_ANSWER_DONE, "", 200, "scheduled restart deleted");
    assert_int_equal(world.a.scheduled_restart_json.n, 0);
}

static void test_restart__refusals(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *words;
    } rows[] = {
        { "{\"role\":\"master\"}", 400,
          "PostgreSQL role should be either primary, standby_leader, or replica" },
        { "{\"role\":null}", 400,
          "PostgreSQL role should be either primary, standby_leader, or replica" },
        { "{\"postgres_version\":\"x\"}", 400, "Invalid PostgreSQL version: x" },
        { "{\"postgres_version\":\"9.\"}", 400, "Invalid PostgreSQL version: 9." },
        { "{\"postgres_version\":16}", 400, "Invalid PostgreSQL version: 16" },
        { "{\"postgres_version\":\"16\"}", 400,
          "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 16" },
        { "{\"postgres_version\":\"9.6\"}", 400,
          "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 9.6" },
        { "{\"timeout\":0}", 400, "Timeout should be a positive number of seconds" },
        { "{\"timeout\":\"abc\"}", 400, "Timeout should be a positive number of seconds" },
        { "{\"timeout\":true}", 400, "Timeout should be a positive number of seconds" },
        { "{\"foo\":1,\"role\":\"x\"}", 400, "Unknown filter for the scheduled restart: foo" },
        { "{\"role\":\"x\",\"foo\":1}", 400,
          "PostgreSQL role should be either primary, standby_leader, or replica" },
        { "{\"schedule\":\"2030-01-01T10:00\"}", 400,
          "Timezone information is mandatory for the scheduled restart" },
        { "{\"schedule\":\"2001-01-01T10:00Z\"}", 422, "Cannot schedule restart in the past" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        post("POST", "/restart", rows[i].body);
        body_is(rows[i].status, rows[i].words);
    }
    world_put("config", "{\"pause\":true}");
    post("POST", "/restart", "{\"foo\":1,\"schedule\":\"x\"}");
    body_is(500, "Can't schedule restart in the paused state");
    assert_false(is_asked());
    asks("POST", "/restart", "{}", HA_ANSWER_DONE, "", 200, "restarted successfully");
    world.store_fails = PGV_EUNREACHABLE;
    assert_int_equal(post("POST", "/restart", "{}"), 503);
    assert_false(is_asked());
}

static bool is_forgotten(void)
{
    return world.n_forgotten == 1;
}

static void test_restart__goes_on_when_the_client_has_gone(void **state)
{
    int fd = world_send("POST", "/restart", "", NULL);

    (void)state;
    world_turn_until(is_asked);
    world_drop(fd);
    world_turn_until(is_forgotten);
    assert_null(world.a.rest->calls);
}

static void test_reinitialize__answers(void **state)
{
    int fd;

    (void)state;
    asks("POST", "/reinitialize", NULL, HA_ANSWER_NO_LEADER, "", 503,
         "Cluster has no leader, can not reinitialize");
    asks("POST", "/reinitialize", "{}", HA_ANSWER_I_LEAD, "", 503,
         "I am the leader, can not reinitialize");
    asks("POST", "/reinitialize", "{}", HA_ANSWER_BUSY, "restart", 503,
         "restart already in progress");
    fd = world_send("POST", "/reinitialize", "", "{\"force\":\"YES\",\"from_leader\":1,\"x\":2}");
    world_turn_until(is_asked);
    assert_int_equal(world.asked->request.type, HA_REQ_REINITIALIZE);
    assert_true(world.asked->request.force);
    assert_true(world.asked->request.from_leader);
    world_answer(HA_ANSWER_DONE, "");
    world_receive(fd);
    body_is(200, "reinitialize started");
    fd = world_send("POST", "/reinitialize", "", "{\"force\":\"y\",\"from-leader\":true}");
    world_turn_until(is_asked);
    assert_false(world.asked->request.force);
    assert_false(world.asked->request.from_leader);
    world_answer(HA_ANSWER_DONE, "");
    world_receive(fd);
}

static void test_calls__too_many_are_refused(void **state)
{
    int fds[REST_CALLS_MAX];

    (void)state;
    world.hold_store = true;
    for (size_t i = 0; i < REST_CALLS_MAX; i++)
        fds[i] = world_send("GET", "/cluster", "", NULL);
    while (world.a.rest->n_calls < REST_CALLS_MAX)
        uv_run(&world.a.loop, UV_RUN_NOWAIT);
    assert_int_equal(get("/cluster"), 503);
    assert_int_equal(get("/patroni"), 200); /* probes are no calls */
    world_release_store();
    for (size_t i = 0; i < REST_CALLS_MAX; i++) {
        world_receive(fds[i]);
        assert_int_equal(reply.status, 200);
    }
    assert_int_equal(world.a.rest->n_calls, 0);
}

static void test_close__with_requests_under_way(void **state)
{
    int fds[4];

    (void)state;
    world.hold_store = world.hold_status = true;
    fds[0] = world_send("GET", "/cluster", "", NULL);
    fds[1] = world_send("GET", "/patroni", "", NULL);
    fds[2] = world_send("PATCH", "/config", "", "{\"a\":1}");
    fds[3] = world_send("DELETE", "/restart", "", NULL);
    world_turn_until(is_asked);
    while (world.a.rest->n_calls < 3)
        uv_run(&world.a.loop, UV_RUN_NOWAIT);
    /* the teardown closes under them */
    world_close();
    for (size_t i = 0; i < 4; i++)
        close(fds[i]);
    world_open("", "");
}

/* ---- reload ----------------------------------------------------------------------------- */

static void reload(const char *restapi)
{
    struct agent *a = &world.a;
    struct pgv_error err = { 0 };
    bool changed;

    world_config_write(restapi, "");
    if (!agent_config_reload(&a->config, &changed, &err) || !rest_reconfigure(a, &err))
        fail_msg("%s", err.msg);
}

static void test_reconfigure__applies_everything_in_place(void **state)
{
    (void)state;
    get("/patroni");
    assert_true(world_has_header("\r\nServer: pgvigil/"));
    reload("  http_extra_headers: {X-A: b, 'bad name': 1, X-Bad: \"a\\nb\"}\n"
           "  https_extra_headers: {X-C: d}\n  server_tokens: ProductOnly\n"
           "  connect_address: '[fe80::1]:99'\n  authentication: {username: u, password: p}\n");
    get("/patroni");
    assert_true(world_has_header("\r\nServer: Patroni\r\n"));
    assert_true(world_has_header("\r\nX-A: b\r\n"));
    assert_false(world_has_header("X-Bad"));
    assert_false(world_has_header("X-C"));
    assert_string_equal(rest_api_url(&world.a), "http://[fe80::1]:99/patroni");
    assert_int_equal(post("POST", "/reload", NULL), 401);
    reload("  server_tokens: minimal\n");
    assert_int_equal(post("POST", "/reload", NULL), 202);
    assert_true(world_has_header("\r\nServer: Patroni/" PGV_PATRONI_VERSION "\r\n"));
    assert_false(world_has_header("X-A"));
}

static bool one_listener(void)
{
    return world.a.rest->listener && world.a.rest->n_open == 4; /* and the three timers */
}

static void test_reconfigure__moves_the_listener(void **state)
{
    struct agent *a = &world.a;
    struct pgv_error err = { 0 };
    bool changed;
    int old;

    (void)state;
    world.port = world_free_port();
    world_config_write("", "");
    assert_true(agent_config_reload(&a->config, &changed, &err));
    if (!rest_reconfigure(a, &err))
        fail_msg("%s", err.msg);
    world_turn_until(one_listener);
    assert_int_equal(get("/patroni"), 200);
    /* an address that cannot be had leaves the listener where it is */
    old = world.port;
    world.port = world_take_port();
    world_config_write("", "");
    assert_true(agent_config_reload(&a->config, &changed, &err));
    assert_false(rest_reconfigure(a, &err));
    assert_non_null(strstr(err.msg, "Couldn't start a service on '127.0.0.1:"));
    world.port = old;
    assert_int_equal(get("/patroni"), 200);
    /* the same port of all addresses, and back: the old listener has to go first */
    world.host = "0.0.0.0";
    reload("");
    world_turn_until(one_listener);
    assert_int_equal(get("/patroni"), 200);
    world.host = "*";
    reload("");
    world_turn_until(one_listener);
    assert_int_equal(get("/patroni"), 200);
    world.host = "localhost"; /* no name to be looked up, but two addresses */
    reload("");
    world_turn_until(one_listener);
    assert_int_equal(get("/patroni"), 200);
    world.host = NULL;
    reload("");
    world_turn_until(one_listener);
    assert_int_equal(get("/patroni"), 200);
}

/* While a name is looked up, and when there is no such name, the API stays where it was. */
static void test_reconfigure__a_name_to_listen_on(void **state)
{
    struct rest_listener *listener = world.a.rest->listener;

    (void)state;
    world.host = "no-such-host.invalid";
    reload("");
    assert_true(world.a.rest->listen_query_busy);
    assert_int_equal(get("/patroni"), 200);
    world.host = NULL; /* taken back before the answer */
    reload("");
    assert_ptr_equal(world.a.rest->listener, listener);
    assert_int_equal(get("/patroni"), 200);
    world.host = "no-such-host.invalid";
    reload("");
    /* the teardown closes under the look-up */
}

/* ---- TLS -------------------------------------------------------------------------------- */

static void copy_file(const char *from, const char *to)
{
    const char *source = getenv("PGVIGIL_SOURCE_DIR");
    struct pgv_error err;
    struct pgv_buf b;
    char path[512];

    snprintf(path, sizeof(path), "%s/tests/unit/data/http/%s", source ? source : ".", from);
    pgv_buf_init(&b, 65536);
    if (!pgv_file_read(path, &b, &err))
        fail_msg("%s", err.msg);
    snprintf(path, sizeof(path), "%s/%s", world.dir, to);
    assert_true(pgv_file_replace(path, pgv_buf_view(&b), 0600, &err));
    pgv_buf_done(&b);
}

static struct httpc_req https;
static bool https_done, https_ok;
static struct pgv_buf https_body;

static void on_https(struct httpc_req *r, const struct pgv_error *err)
{
    https_ok = !err;
    https_done = true;
    pgv_buf_reset(&https_body);
    if (!err)
        pgv_buf_str(&https_body, pgv_buf_view(&r->answer));
}

static bool https_is_done(void)
{
    return https_done;
}

/* The status of a request over TLS; 0: no answer. */
static int https_request(struct agent *a, const char *method, const char *target)
{
    struct pgv_error err;
    char url[128];

    snprintf(url, sizeof(url), "https://127.0.0.1:%d%s", world.port, target);
    https = (struct httpc_req){
        .method = method, .url = url, .deadline_ms = pgv_clock_ms() + 4000, .fresh_connection = true
    };
    https_done = false;
    assert_true(agent_peers_send(a, &https, on_https, &err));
    world_turn_until(https_is_done);
    return https_ok ? https.status : 0;
}

static int https_get(struct agent *a, const char *target)
{
    return https_request(a, "GET", target);
}

static int https_post(struct agent *a, const char *target)
{
    return https_request(a, "POST", target);
}

static void test_reconfigure__tls_comes_is_renewed_and_goes(void **state)
{
    struct agent *a = &world.a;
    struct pgv_error err = { 0 };
    struct rest_listener *listener = a->rest->listener;
    char restapi[512], serial[128];
    struct tls_context *context;
    bool changed;

    (void)state;
    pgv_buf_init(&https_body, 65536);
    copy_file("server.pem", "cert.pem");
    copy_file("server.key", "key.pem");
    copy_file("ca.pem", "ca.pem");
    snprintf(restapi, sizeof(restapi),
             "  certfile: %s/cert.pem\n  keyfile: %s/key.pem\n  cafile: %s/ca.pem\n"
             "  verify_client: Optional\n  https_extra_headers: {X-C: d}\n",
             world.dir, world.dir, world.dir);
    reload(restapi);
    assert_memory_equal(rest_api_url(a), "https://", 8);
    assert_int_equal(https_get(a, "/patroni"), 200);
    memcpy(serial, a->rest->cert_serial, sizeof(serial));

    /* The same names, another certificate: seen although no option changed. */
    context = a->rest->tls;
    assert_true(rest_reconfigure(a, &err));
    assert_ptr_equal(a->rest->tls, context);
    copy_file("renewed.pem", "cert.pem");
    copy_file("renewed.key", "key.pem");
    assert_true(agent_config_reload(&a->config, &changed, &err));
    assert_false(changed);
    if (!rest_reconfigure(a, &err))
        fail_msg("%s", err.msg);
    assert_string_not_equal(a->rest->cert_serial, serial);
    assert_int_equal(https_get(a, "/patroni"), 200);

    /* A certificate without its key: said, and the one in use stays. */
    copy_file("server.pem", "cert.pem");
    assert_false(rest_reconfigure(a, &err));
    assert_non_null(strstr(err.msg, "restapi.certfile"));
    assert_int_equal(https_get(a, "/patroni"), 200);

    reload("");
    assert_memory_equal(rest_api_url(a), "http://", 7);
    assert_int_equal(get("/patroni"), 200);
    assert_ptr_equal(a->rest->listener, listener); /* all the time the same one */
    pgv_buf_done(&https_body);
}

static void test_access__client_certificate(void **state)
{
    struct agent *a = &world.a;
    struct pgv_error err = { 0 };
    char restapi[512], ctl[512];
    bool changed;

    (void)state;
    pgv_buf_init(&https_body, 65536);
    copy_file("server.pem", "cert.pem");
    copy_file("server.key", "key.pem");
    copy_file("client.pem", "client.pem");
    copy_file("client.key", "client.key");
    copy_file("ca.pem", "ca.pem");
    snprintf(restapi, sizeof(restapi),
             "  certfile: %s/cert.pem\n  keyfile: %s/key.pem\n  cafile: %s/ca.pem\n"
             "  verify_client: optional\n",
             world.dir, world.dir, world.dir);
    snprintf(ctl, sizeof(ctl), "ctl:\n  certfile: %s/client.pem\n  keyfile: %s/client.key\n",
             world.dir, world.dir);
    reload(restapi);
    assert_int_equal(https_post(a, "/reload"), 403);
    assert_string_equal(pgv_buf_cstr(&https_body), "client certificate required");
    assert_int_equal(world.n_reloads, 0);
    /* As an agent with a certificate asks: it trusts restapi.cafile when ctl names none. */
    world_config_write(restapi, ctl);
    assert_true(agent_config_reload(&a->config, &changed, &err));
    if (!agent_peers_reconfigure(a, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(https_post(a, "/reload"), 202);
    assert_int_equal(world.n_reloads, 1);
    pgv_buf_done(&https_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_access__password, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_access__allowlist, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_access__allowlist_of_names, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_access__members, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_access__client_that_goes_while_members_are_looked_up,
                                        world_up, world_down),
        cmocka_unit_test_setup_teardown(test_small_endpoints, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_bodies, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_get_config, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_patch_config__merges_and_swaps, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_patch_config__refusals, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_put_config, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_get_cluster_and_history, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_restart__answers, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_restart__what_is_asked_of_the_brain, world_up,
                                        world_down),
        cmocka_unit_test_setup_teardown(test_restart__refusals, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_restart__goes_on_when_the_client_has_gone, world_up,
                                        world_down),
        cmocka_unit_test_setup_teardown(test_reinitialize__answers, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_calls__too_many_are_refused, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_close__with_requests_under_way, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_reconfigure__applies_everything_in_place, world_up,
                                        world_down),
        cmocka_unit_test_setup_teardown(test_reconfigure__moves_the_listener, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_reconfigure__a_name_to_listen_on, world_up,
                                        world_down),
        cmocka_unit_test_setup_teardown(test_reconfigure__tls_comes_is_renewed_and_goes, world_up,
                                        world_down),
        cmocka_unit_test_setup_teardown(test_access__client_certificate, world_up, world_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
