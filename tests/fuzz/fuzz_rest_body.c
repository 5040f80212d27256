/* links: pgvigil_agent, helpers: agent */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_rest_body.c - bodies of requests that change something, at an agent that leads.
 * The first byte says where the rest goes. There is an answer to each; one that says that the body
 * was bad has changed nothing; and what is written to /config is a document that can be read.
 */
#include "../unit/agent_support.h"

#include "base/parse.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
    const char *method, *target;
} places[] = {
    { "POST", "/switchover" },   { "POST", "/failover" }, { "POST", "/restart" },
    { "POST", "/reinitialize" }, { "PATCH", "/config" },  { "PUT", "/config" },
    { "POST", "/failsafe" },     { "POST", "/citus" },    { "POST", "/mpp" },
};
#define PLACES (sizeof(places) / sizeof(places[0]))

static int client;

static bool asked_or_answered(void)
{
    struct pollfd p = { .fd = client, .events = POLLIN };

    return world.asked || poll(&p, 1, 0) == 1;
}

static void begin(bool paused)
{
    static bool open;

    if (!open) {
        world_open("", "");
        PGV_ASSERT(atexit(world_close) == 0); /* it has a folder */
    }
    open = true;
    world_put("failover", NULL);
    world_put("config", paused ? "{\"ttl\":30,\"pause\":true}" : "{\"ttl\":30}");
    world_put("members/n1", "{\"role\":\"primary\",\"state\":\"running\",\"api_url\":\"\"}");
    world_put("members/n2", "{\"role\":\"replica\",\"state\":\"running\",\"api_url\":\"\"}");
    world_be_leader(true);
}

static void check_config(void)
{
    struct pgv_arena arena;
    struct pgv_value *v;
    struct pgv_error err;

    pgv_arena_init(&arena, 1 << 20);
    PGV_ASSERT(pgv_json_parse(&arena, pgv_str(world.written), &v, &err) && pgv_is(v, PGV_MAP));
    pgv_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char body[2048] = "";
    unsigned place, writes;

    if (!size || size > sizeof(body))
        return 0;
    place = (data[0] & 127) % PLACES;
    memcpy(body, data + 1, size - 1);
    begin(data[0] & 128);
    writes = world.n_writes;
    client = world_send(places[place].method, places[place].target, "", body);
    world_turn_until(asked_or_answered);
    if (world.asked)
        world_answer(HA_ANSWER_DONE, NULL);
    world_receive(client);
    PGV_ASSERT(reply.status >= 200 && reply.status <= 504);
    PGV_ASSERT(reply.status < 400 || reply.status >= 500 || world.n_writes == writes);
    if (world.n_writes != writes && strcmp(places[place].target, "/config") == 0)
        check_config();
    return 0;
}
