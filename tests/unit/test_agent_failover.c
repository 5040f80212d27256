/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_agent_failover.c - switchover and failover on demand, and asking members: their
 * answers are read strictly.
 */
#include "agent_support.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a member that answers as the test wants -------------------------------------------- */

static struct member {
    struct httpd http;
    int port;
    const char *body; /* NULL: no answer */
    struct httpd_req *held;
    unsigned n_asked;
    char authorization[64];
} members[2];

static void on_member_request(struct httpd *s, struct httpd_req *r)
{
    struct member *m = s->data;

    m->n_asked++;
    pgv_copy_cut(m->authorization, sizeof(m->authorization), r->authorization);
    if (m->body)
        httpd_reply(r, 503, NULL, "application/json", pgv_str(m->body)); /* the code says nothing */
    else
        m->held = r;
}

#define STANDBY                                                                                    \
    "{\"state\": \"running\", \"role\": \"replica\", \"xlog\": {\"received_location\": 10, "       \
    "\"replayed_location\": 9}, \"timeline\": 3}"

static void put_member(unsigned i, const char *name)
{
    char key[64], value[256];

    snprintf(key, sizeof(key), "members/%s", name);
    snprintf(
        value, sizeof(value),
        "{\"api_url\":\"http://127.0.0.1:%d/patroni\",\"state\":\"running\",\"role\":\"replica\"}",
        members[i].port);
    world_put(key, value);
}

static int up(void **state)
{
    struct pgv_error err;

    (void)state;
    world_open("", "");
    for (unsigned i = 0; i < 2; i++) {
        members[i] = (struct member){ .body = STANDBY };
        members[i].http.data = &members[i];
        assert_true(httpd_open(&members[i].http, &world.a.loop, "127.0.0.1", 0, NULL,
                               on_member_request, &err));
        members[i].port = httpd_port(&members[i].http);
    }
    put_member(0, "n2");
    put_member(1, "n3");
    return 0;
}

static void on_member_closed(struct httpd *s)
{
    (void)s;
}

static int down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        if (members[i].held)
            httpd_reply_status(members[i].held, 500);
        httpd_close(&members[i].http, on_member_closed);
    }
    world_close();
    return 0;
}

static void says(const char *target, const char *json, int status, const char *words)
{
    post("POST", target, json);
    if (reply.status != status || strcmp(reply.body, words) != 0)
        fail_msg("%s %s: %d %s", target, json, reply.status, reply.body);
}

static bool is_written(void)
{
    return world.n_writes > 0 && world.n_wakes > 0;
}

static bool is_armed(void) /* the read after the write has been */
{
    return is_written() && !world.a.rest->calls->dcs_busy;
}

/* ---- refusals ----------------------------------------------------------------------------------
 */

static void test_failover__refusals_in_order(void **state)
{
    (void)state;
    says("/failover", "{\"leader\":\"n1\"}", 400,
         "Failover could be performed only to a specific candidate");
    says("/failover", "{\"candidate\":\"\",\"x\":1}", 400,
         "Failover could be performed only to a specific candidate");
    says("/switchover", "{\"candidate\":\"n2\"}", 400,
         "Switchover could be performed only from a specific leader");
    says("/failover", "{\"candidate\":\"n2\",\"scheduled_at\":\"2099-01-01T00:00Z\"}", 400,
         "Failover can't be scheduled");
    says("/switchover", "{\"leader\":\"n1\",\"scheduled_at\":\"2099-01-01T00:00\"}", 400,
         "Timezone information is mandatory for the scheduled switchover");
    says("/switchover", "{\"leader\":\"n1\",\"scheduled_at\":\"2001-01-01T00:00Z\"}", 422,
         "Cannot schedule switchover in the past");
    says("/switchover", "{\"leader\":\"n1\",\"scheduled_at\":7}", 422,
         "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO "
         "8601");
    says("/switchover", "{\"leader\":\"n1\",\"candidate\":\"n1\"}", 400,
         "Switchover target and source are the same");
    says("/failover", "{\"leader\":\"n2\",\"member\":\"n2\"}", 400,
         "Switchover target and source are the same");
    says("/switchover",
         "{\"leader\":\"n1\",\"candidate\":\"n1\",\"scheduled_at\":\"2099-01-01T00:00Z\"}", 400,
         "Switchover target and source are the same");
    says("/switchover", "{\"leader\":\"n9\"}", 412, "leader name does not match");
    says("/failover", "{\"candidate\":\"n9\"}", 412, "candidate does not exists");
    says("/switchover", "{\"leader\":[1]}", 400, "leader is not the name of a member");
    assert_int_equal(members[0].n_asked + members[1].n_asked, 0);
    world_put("config", "{\"pause\":true}");
    says("/switchover", "{\"leader\":\"n1\",\"scheduled_at\":\"2099-01-01T00:00Z\"}", 400,
         "Can't schedule switchover in the paused state");
    says("/switchover", "{\"leader\":\"n1\"}", 400,
         "Switchover is possible only to a specific candidate in a paused state");
    world_put("config", "{}");
    world_put("members/n2", NULL);
    world_put("members/n3", NULL);
    says("/switchover", "{\"leader\":\"n1\"}", 412,
         "switchover is not possible: cluster does not have members except leader");
    world.store_fails = PGV_EUNREACHABLE;
    assert_int_equal(post("POST", "/switchover", "{\"leader\":\"n1\"}"), 503);
    assert_int_equal(world.n_writes, 0);
}

static void test_failover__somebody_must_be_able(void **state)
{
    (void)state;
    members[0].body = "{\"state\": \"stopped\", \"role\": \"replica\"}"; /* no xlog */
    members[1].body = "{\"xlog\": {}, \"tags\": {\"nofailover\": true}}";
    says("/switchover", "{\"leader\":\"n1\"}", 412,
         "switchover is not possible: no good candidates have been found");
    members[1].body =
        "{\"xlog\": {\"received_location\": 1}, \"tags\": {\"failover_priority\": 0}}";
    says("/switchover", "{\"leader\":\"n1\"}", 412,
         "switchover is not possible: no good candidates have been found");
    members[1].body = "{\"xlog\": {\"received_location\": 1}, \"watchdog_failed\": true}";
    says("/failover", "{\"candidate\":\"n3\"}", 412,
         "failover is not possible: no good candidates have been found");
    assert_int_equal(members[1].n_asked, 3);
    assert_int_equal(members[0].n_asked, 2); /* of a candidate only it is asked */
    assert_int_equal(world.n_writes, 0);
}

static void test_failover__in_synchronous_mode(void **state)
{
    (void)state;
    world_put("config", "{\"synchronous_mode\":true}");
    says("/switchover", "{\"leader\":\"n1\",\"candidate\":\"n2\"}", 412,
         "candidate name does not match with sync_standby");
    says("/switchover", "{\"leader\":\"n1\"}", 412,
         "switchover is not possible: can not find sync_standby");
    world_put("sync", "{\"leader\":\"n1\",\"sync_standby\":\"N3\"}");
    members[1].body = "{}";
    says("/switchover", "{\"leader\":\"n1\"}", 412,
         "switchover is not possible: no good candidates have been found");
    assert_int_equal(members[0].n_asked, 0);
    assert_int_equal(members[1].n_asked, 1);
}

/* ---- outcomes --------------------------------------------------------------------------- */

static void test_switchover__ends_with_the_new_leader(void **state)
{
    int fd = world_send("POST", "/switchover", "", "{\"leader\":\"n1\"}");

    (void)state;
    world_turn_until(is_armed);
    assert_string_equal(world.written, "{\"leader\":\"n1\"}");
    world_put("leader", NULL); /* given up: not the end yet */
    world_put("leader", "n3");
    world_receive(fd);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "Successfully switched over to \"n3\"");
}

static void test_switchover__to_another_than_was_asked(void **state)
{
    int fd = world_send("POST", "/switchover", "", "{\"leader\":\"n1\",\"candidate\":\"n2\"}");

    (void)state;
    world_turn_until(is_armed);
    assert_string_equal(world.written, "{\"leader\":\"n1\",\"member\":\"n2\"}");
    world_put("leader", "n3");
    world_receive(fd);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "Switched over to \"n3\" instead of \"n2\"");
}

static void test_failover__ends_when_the_key_has_gone(void **state)
{
    int fd = world_send("POST", "/failover", "", "{\"member\":\"n2\",\"candidate\":\"\"}");

    (void)state;
    world_turn_until(is_armed);
    assert_string_equal(world.written, "{\"member\":\"n2\"}");
    world_put("failover", "{}");
    world_receive(fd);
    assert_int_equal(reply.status, 503);
    assert_string_equal(reply.body, "Failover failed");
    /* with a leader given it is a switchover, in words too */
    world.n_writes = world.n_wakes = 0;
    fd = world_send("POST", "/failover", "", "{\"candidate\":\"n2\",\"leader\":\"n1\"}");
    world_turn_until(is_armed);
    world_put("failover", NULL);
    world_receive(fd);
    assert_string_equal(reply.body, "Switchover failed");
}

static void test_failover__of_a_cluster_without_leader(void **state)
{
    int fd;

    (void)state;
    world_put("leader", NULL);
    fd = world_send("POST", "/failover", "", "{\"candidate\":\"n2\"}");
    world_turn_until(is_armed);
    world_put("leader", "n2");
    world_receive(fd);
    assert_string_equal(reply.body, "Successfully failed over to \"n2\"");
}

/* Before our own key has been seen its absence says nothing, even when reading fails for a while.
 */
static void test_switchover__a_view_older_than_the_key_is_no_failure(void **state)
{
    int fd = world_send("POST", "/switchover", "", "{\"leader\":\"n1\"}");

    (void)state;
    world.then_fails = PGV_EUNREACHABLE; /* the read after the write */
    world_turn_until(is_armed);
    world_put("failover", NULL);               /* as if our write had never been seen */
    assert_non_null(world.a.rest->calls->req); /* it waits still, and reads again */
    world.store_fails = PGV_OK;
    world_put("status", "{\"optime\":5}"); /* something moves */
    world_receive(fd);
    assert_int_equal(reply.status, 503);
    assert_string_equal(reply.body, "Switchover failed");
}

static void test_switchover__time_is_over(void **state)
{
    struct rest_call *c;
    int fd;

    (void)state;
    world.a.config.loop_wait_ms = 11000;
    fd = world_send("POST", "/switchover", "", "{\"leader\":\"n1\"}");
    world_turn_until(is_armed);
    c = world.a.rest->calls;
    assert_true(uv_timer_get_due_in(&c->timer) > 21000);
    assert_true(uv_timer_get_due_in(&c->timer) <= 22000);
    /* not to be waited for: the same callback, now */
    uv_timer_start(&c->timer, c->timer.timer_cb, 0, 0);
    world_receive(fd);
    assert_int_equal(reply.status, 503);
    assert_string_equal(
        reply.body,
        "Switchover status unknown after 22 seconds; operation may still be in progress");
}

static void test_switchover__the_store_refuses(void **state)
{
    (void)state;
    world.write_fails = PGV_ECONFLICT;
    says("/switchover", "{\"leader\":\"n1\"}", 503, "failed to write failover key into DCS");
    assert_int_equal(world.n_wakes, 0);
}

static void test_switchover__scheduled_and_taken_back(void **state)
{
    (void)state;
    says("/switchover", "{\"leader\":\"n1\",\"scheduled_at\":\"2099-01-01 10:00:00+02\"}", 202,
         "Switchover scheduled");
    assert_string_equal(world.written,
                        "{\"leader\":\"n1\",\"scheduled_at\":\"2099-01-01T10:00:00+02:00\"}");
    assert_int_equal(members[0].n_asked, 0);
    world.write_fails = PGV_ECONFLICT;
    assert_int_equal(post("DELETE", "/switchover", NULL), 409);
    assert_int_equal(post("DELETE", "/switchover", NULL), 200);
    assert_string_equal(reply.body, "scheduled switchover deleted");
    assert_string_equal(world.written, "{}");
    assert_int_equal(post("DELETE", "/switchover", NULL), 404);
    assert_string_equal(reply.body, "no switchover is scheduled");
    world_put("failover", "{\"leader\":\"n1\"}"); /* one that is not scheduled is left alone */
    assert_int_equal(post("DELETE", "/switchover", NULL), 404);
}

static bool member_holds(void)
{
    return members[0].held != NULL;
}

static bool no_call(void)
{
    return world.a.rest->calls == NULL;
}

static void test_switchover__a_client_that_goes_stops_it_before_the_write(void **state)
{
    int fd;

    (void)state;
    members[0].body = NULL; /* never answers */
    fd = world_send("POST", "/switchover", "", "{\"leader\":\"n1\"}");
    world_turn_until(member_holds);
    world_drop(fd);
    world_turn_until(no_call);
    assert_int_equal(world.n_writes, 0);
}

static void test_switchover__shutdown_while_members_are_asked(void **state)
{
    int fd;

    (void)state;
    members[0].body = NULL;
    fd = world_send("POST", "/switchover", "", "{\"leader\":\"n1\"}");
    world_turn_until(member_holds);
    down(NULL);
    close(fd);
    up(NULL);
}

/* ---- asking members --------------------------------------------------------------------- */

static struct agent_peers_req asking;
static unsigned n_answers;

static void on_peers(struct agent_peers_req *r)
{
    (void)r;
    n_answers++;
}

static bool answered(void)
{
    return n_answers > 0;
}

static void ask(uint64_t timeout_ms)
{
    struct agent_peer_addr addrs[4] = { { .name = "n2" }, { .name = "n3" }, { .name = "n4" } };

    for (unsigned i = 0; i < 2; i++)
        snprintf(addrs[i].api_url, sizeof(addrs[i].api_url), "http://127.0.0.1:%d/patroni",
                 members[i].port);
    snprintf(addrs[2].api_url, sizeof(addrs[2].api_url), "http://127.0.0.1:1/patroni");
    n_answers = 0;
    agent_peers_ask(&world.a, &asking, addrs, 4, timeout_ms, on_peers);
    assert_int_equal(n_answers, 0);
}

static void test_agent_peers_ask__in_parallel_and_in_order(void **state)
{
    (void)state;
    members[1].body = "{\"role\": \"primary\", \"xlog\": {\"location\": 77}, \"timeline\": 4}";
    ask(2000);
    world_turn_until(answered);
    assert_int_equal(n_answers, 1);
    assert_int_equal(asking.n, 4);
    assert_string_equal(asking.peers[0].name, "n2");
    assert_true(asking.peers[0].reachable);
    assert_true(asking.peers[0].in_recovery);
    assert_int_equal(asking.peers[0].position, 10);
    assert_int_equal(asking.peers[0].timeline, 3);
    assert_true(asking.peers[1].reachable);
    assert_false(asking.peers[1].in_recovery);
    assert_int_equal(asking.peers[1].position, 0);
    assert_string_equal(asking.peers[2].name, "n4");
    assert_false(asking.peers[2].reachable); /* nobody there */
    assert_false(asking.peers[3].reachable); /* no address */
}

static void test_agent_peers_ask__times_out_and_is_cancelled(void **state)
{
    uint64_t before_ms = pgv_clock_ms();

    (void)state;
    members[0].body = NULL;
    ask(200);
    world_turn_until(answered);
    assert_true(pgv_clock_ms() - before_ms >= 200);
    assert_false(asking.peers[0].reachable);
    assert_true(asking.peers[1].reachable);
    httpd_reply_status(members[0].held, 500);
    members[0].held = NULL;
    ask(5000);
    world_turn_until(member_holds);
    agent_peers_cancel(&asking);
    memset(&asking, 0xa5, sizeof(asking)); /* it may be gone at once */
    for (int turns = 0; turns < 50; turns++)
        uv_run(&world.a.loop, UV_RUN_NOWAIT);
    assert_int_equal(n_answers, 0);
}

static void test_agent_peers_ask__nobody_or_no_memory(void **state)
{
    (void)state;
    n_answers = 0;
    agent_peers_ask(&world.a, &asking, NULL, 0, 1000, on_peers);
    assert_int_equal(n_answers, 0);
    world_turn_until(answered);
    assert_int_equal(asking.n, 0);
    pgv_alloc_fail_at(1, true);
    ask(1000);
    pgv_alloc_fail_at(0, false);
    world_turn_until(answered);
    for (unsigned i = 0; i < 4; i++)
        assert_false(asking.peers[i].reachable);
    pgv_alloc_fail_at(1, true);
    ask(1000);
    pgv_alloc_fail_at(0, false);
    agent_peers_cancel(&asking);
    for (int turns = 0; turns < 10; turns++)
        uv_run(&world.a.loop, UV_RUN_NOWAIT);
    assert_int_equal(n_answers, 0);
}

static void test_agent_peers_ask__with_the_password(void **state)
{
    struct agent *a = &world.a;
    struct pgv_error err;
    bool changed;

    (void)state;
    world_config_write("  authentication: {username: r, password: p}\n", "");
    assert_true(agent_config_reload(&a->config, &changed, &err));
    ask(2000);
    world_turn_until(answered);
    assert_string_equal(members[0].authorization, "Basic cjpw"); /* r:p */
    world_config_write("  authentication: {username: r, password: p}\n",
                       "ctl: {authentication: {username: c, password: q}}\n");
    assert_true(agent_config_reload(&a->config, &changed, &err));
    assert_true(agent_peers_reconfigure(a, &err));
    ask(2000);
    world_turn_until(answered);
    assert_string_equal(members[0].authorization, "Basic Yzpx"); /* c:q */
}

static void parses(const char *json, bool want, bool in_recovery, uint64_t position)
{
    struct ha_peer p = { .name = "n2" };

    if (agent_peer_parse(pgv_str(json), "demo", &p) != want)
        fail_msg("%s", json);
    assert_string_equal(p.name, "n2");
    assert_int_equal(p.reachable, want);
    if (want) {
        assert_int_equal(p.in_recovery, in_recovery);
        assert_int_equal(p.position, position);
    }
}

static void test_agent_peer_parse__strictly(void **state)
{
    struct ha_peer p = { 0 };

    (void)state;
    parses(STANDBY, true, true, 10);
    parses("{\"xlog\":{\"replayed_location\":7}}", true, true, 7);
    parses("{\"wal\":{\"received_location\":8},\"xlog\":{\"received_location\":9}}", true, true, 8);
    parses("{\"wal\":{},\"xlog\":{\"received_location\":9}}", true, true, 9);
    parses("{\"xlog\":{\"location\":5}}", true, false, 0);
    parses("{\"xlog\":{\"location\":0},\"role\":\"master\"}", true, false, 0);
    parses("{\"xlog\":{\"received_location\":1},\"role\":\"primary\"}", true, false, 0);
    parses("{\"xlog\":{}}", true, true, 0);
    parses("{\"xlog\":{\"received_location\":null,\"replayed_location\":3}}", false, false, 0);
    parses("{\"xlog\":{\"received_location\":-1}}", false, false, 0);
    parses("{\"xlog\":{\"received_location\":\"1\"}}", false, false, 0);
    parses("{\"xlog\":{\"received_location\":99999999999999999999}}", false, false, 0);
    parses("{\"xlog\":5}", false, false, 0);
    parses("{\"state\":\"stopped\"}", false, false, 0);
    parses("[1]", false, false, 0);
    parses("", false, false, 0);
    parses("{\"xlog\":{}", false, false, 0);
    /* who it says to be */
    parses("{\"xlog\":{},\"patroni\":{\"scope\":\"demo\",\"name\":\"n2\"}}", true, true, 0);
    parses("{\"xlog\":{},\"patroni\":{\"version\":\"2.0\",\"scope\":\"demo\"}}", true, true, 0);
    parses("{\"xlog\":{},\"patroni\":null}", true, true, 0);
    parses("{\"xlog\":{},\"patroni\":{\"scope\":\"other\",\"name\":\"n2\"}}", false, false, 0);
    parses("{\"xlog\":{},\"patroni\":{\"scope\":\"demo\",\"name\":\"n3\"}}", false, false, 0);
    assert_true(
        agent_peer_parse(PGV_STR("{\"xlog\":{},\"timeline\":null,\"tags\":{\"nofailover\":false,"
                                 "\"failover_priority\":-2},\"watchdog_failed\":1}"),
                         "demo", &p));
    assert_int_equal(p.timeline, 0);
    assert_false(p.nofailover); /* present: it decides alone */
    assert_true(p.watchdog_failed);
    assert_true(agent_peer_parse(PGV_STR("{\"xlog\":{},\"timeline\":4294967296,\"tags\":"
                                         "{\"failover_priority\":\"0\"}}"),
                                 "demo", &p));
    assert_int_equal(p.timeline, 0);
    assert_true(p.nofailover);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_failover__refusals_in_order, up, down),
        cmocka_unit_test_setup_teardown(test_failover__somebody_must_be_able, up, down),
        cmocka_unit_test_setup_teardown(test_failover__in_synchronous_mode, up, down),
        cmocka_unit_test_setup_teardown(test_switchover__ends_with_the_new_leader, up, down),
        cmocka_unit_test_setup_teardown(test_switchover__to_another_than_was_asked, up, down),
        cmocka_unit_test_setup_teardown(test_failover__ends_when_the_key_has_gone, up, down),
        cmocka_unit_test_setup_teardown(test_failover__of_a_cluster_without_leader, up, down),
        cmocka_unit_test_setup_teardown(test_switchover__a_view_older_than_the_key_is_no_failure,
                                        up, down),
        cmocka_unit_test_setup_teardown(test_switchover__time_is_over, up, down),
        cmocka_unit_test_setup_teardown(test_switchover__the_store_refuses, up, down),
        cmocka_unit_test_setup_teardown(test_switchover__scheduled_and_taken_back, up, down),
        cmocka_unit_test_setup_teardown(
            test_switchover__a_client_that_goes_stops_it_before_the_write, up, down),
        cmocka_unit_test_setup_teardown(test_switchover__shutdown_while_members_are_asked, up,
                                        down),
        cmocka_unit_test_setup_teardown(test_agent_peers_ask__in_parallel_and_in_order, up, down),
        cmocka_unit_test_setup_teardown(test_agent_peers_ask__times_out_and_is_cancelled, up, down),
        cmocka_unit_test_setup_teardown(test_agent_peers_ask__nobody_or_no_memory, up, down),
        cmocka_unit_test_setup_teardown(test_agent_peers_ask__with_the_password, up, down),
        cmocka_unit_test(test_agent_peer_parse__strictly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
