/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_agent_events.c - GET /events: what comes, when, and what a reader may cost. */
#include "agent_support.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/** What one reader may hold back, and what is composed beside it. */
#define READER_BYTES_MAX (256u << 10)
#define SLACK_BYTES (300u << 10)

static struct reader {
    int fd;
    char text[1u << 20];
    size_t n;
    bool ended;
} reader;
static unsigned wanted;

static void follow(void)
{
    reader.n = 0;
    reader.ended = false;
    reader.fd = world_send("GET", "/events", "", NULL);
}

static void read_more(void)
{
    ssize_t n;

    while ((n = recv(reader.fd, reader.text + reader.n, sizeof(reader.text) - 1 - reader.n,
                     MSG_DONTWAIT)) > 0)
        reader.n += (size_t)n;
    reader.ended = n == 0 || (n < 0 && errno != EAGAIN);
    reader.text[reader.n] = '\0';
}

static unsigned count(const char *text)
{
    unsigned n = 0;

    for (const char *p = reader.text; (p = strstr(p, text)) != NULL; p++)
        n++;
    return n;
}

static bool has_both(void)
{
    read_more();
    return count("event: member\n") >= wanted && count("event: cluster\n") >= 1;
}

static bool is_told_of_leader(void)
{
    read_more();
    return strstr(reader.text, "\"leader\": true") != NULL;
}

static bool is_heard(void)
{
    return !world.a.rest->events_soon;
}

static bool are_so_many(void)
{
    return world.a.rest->n_events == wanted;
}

static void test_events__both_at_once_and_then_what_changes(void **state)
{
    unsigned members;

    (void)state;
    world_be_leader(false);
    follow();
    wanted = 1;
    world_turn_until(has_both);
    assert_int_equal(strncmp(reader.text, "HTTP/1.1 200 ", 13), 0);
    assert_non_null(strstr(reader.text, "\r\nContent-Type: text/event-stream\r\n"));
    assert_non_null(strstr(reader.text,
                           "data: {\"name\": \"n1\", \"state\": \"running\", \"role\": "
                           "\"primary\", \"leader\": false, "));
    /* the brain is busy, and nothing is new: nothing is sent */
    members = count("event: member\n");
    rest_world_changed(&world.a);
    world_turn_until(is_heard);
    read_more();
    assert_int_equal(count("event: member\n"), members);
    world_be_leader(true);
    rest_world_changed(&world.a);
    world_turn_until(is_told_of_leader);
    assert_int_equal(count("event: member\n"), members + 1);
    assert_int_equal(count("event: cluster\n"), 1);
    world_drop(reader.fd);
    wanted = 0;
    world_turn_until(are_so_many);
    assert_false(uv_is_active((uv_handle_t *)&world.a.rest->events_timer)); /* nobody listens */
}

static void test_events__so_many_readers_and_no_more(void **state)
{
    int fds[REST_EVENTS_MAX];

    (void)state;
    for (wanted = 1; wanted <= REST_EVENTS_MAX; wanted++) {
        fds[wanted - 1] = world_send("GET", "/events", "", NULL);
        world_turn_until(are_so_many);
    }
    assert_int_equal(get("/events"), 503);
    wanted = REST_EVENTS_MAX - 1;
    world_drop(fds[7]);
    world_turn_until(are_so_many);
    fds[7] = world_send("GET", "/events", "", NULL);
    wanted = REST_EVENTS_MAX;
    world_turn_until(are_so_many);
    assert_int_equal(get("/events"), 503);
    for (unsigned i = 0; i < REST_EVENTS_MAX; i++)
        world_drop(fds[i]);
    wanted = 0;
    world_turn_until(are_so_many);
}

/* A reader that takes nothing: one more event than it may hold back, and it is cut. */
static int follow_and_never_read(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)world.port) };
    static const char request[] = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), bytes = 4096;

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(send(fd, request, sizeof(request) - 1, 0), (ssize_t)sizeof(request) - 1);
    return fd;
}

/* About 70 kB of cluster, another one with each @round. */
static void grow_members(unsigned round)
{
    char key[32], value[4000], padding[3000];

    memset(padding, 'x', sizeof(padding));
    padding[sizeof(padding) - 1] = '\0';
    for (unsigned i = 0; i < 20; i++) {
        snprintf(key, sizeof(key), "members/x%u", i);
        snprintf(
            value, sizeof(value),
            "{\"state\":\"running\",\"role\":\"replica\",\"tags\":{\"round\":%u,\"x\":\"%s\"}}",
            round, padding);
        world_put(key, value);
    }
}

static void test_events__who_does_not_read_is_cut(void **state)
{
    size_t before, peak = 0;
    unsigned round;
    int deaf;

    (void)state;
    grow_members(0);
    follow();
    wanted = 1;
    world_turn_until(has_both);
    deaf = follow_and_never_read();
    wanted = 2;
    world_turn_until(are_so_many);
    before = pgv_alloc_bytes_in_use();
    for (round = 1; world.a.rest->n_events == 2 && round < 200; round++) {
        reader.n = 0;
        grow_members(round);
        rest_world_changed(&world.a);
        world_turn_until(is_heard);
        read_more();
        if (pgv_alloc_bytes_in_use() > peak)
            peak = pgv_alloc_bytes_in_use();
    }
    assert_int_equal(world.a.rest->n_events, 1);
    assert_true(peak < before + READER_BYTES_MAX + SLACK_BYTES);
    /* the one who reads is told on */
    assert_false(reader.ended);
    reader.n = 0;
    world_be_leader(false);
    rest_world_changed(&world.a);
    world_turn_until(is_heard);
    world_be_leader(true);
    rest_world_changed(&world.a);
    world_turn_until(is_told_of_leader);
    close(deaf);
    world_drop(reader.fd);
    wanted = 0;
    world_turn_until(are_so_many);
}

/* An event for which there is no memory is left out; the next change tells again. */
static void test_events__without_memory(void **state)
{
    (void)state;
    world_be_leader(false);
    follow();
    wanted = 1;
    world_turn_until(has_both);
    world_be_leader(true);
    rest_world_changed(&world.a);
    pgv_alloc_fail_at(1, true);
    world_turn_until(is_heard);
    pgv_alloc_fail_at(0, false);
    read_more();
    assert_int_equal(count("\"leader\": true"), 0);
    rest_world_changed(&world.a);
    world_turn_until(is_told_of_leader);
    assert_false(reader.ended);
    world_drop(reader.fd);
    wanted = 0;
    world_turn_until(are_so_many);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)
    const struct CMUnitTest tests[] = {
        TEST(test_events__both_at_once_and_then_what_changes),
        TEST(test_events__so_many_readers_and_no_more),
        TEST(test_events__who_does_not_read_is_cut),
        TEST(test_events__without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
