/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/agent_support.c - see agent_support.h. */
#include "agent_support.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct world world;
struct reply reply;

/* ---- the server ------------------------------------------------------------------------- */

static struct postmaster_status_req *status_req;
static uv_timer_t status_timer, store_timer;

static void on_status_timer(uv_timer_t *timer)
{
    struct postmaster_status_req *r = status_req;
    struct pgv_buf json;

    (void)timer;
    if (!r)
        return;
    status_req = NULL;
    pgv_buf_init(&json, 65536);
    if (world.replication_json)
        pgv_buf_puts(&json, world.replication_json);
    world.status.replication_json = world.replication_json ? &json : NULL;
    r->cb(r, &world.status);
    pgv_buf_done(&json);
}

void postmaster_status(struct postmaster *pm, struct postmaster_status_req *r,
                       void (*cb)(struct postmaster_status_req *r,
                                  const struct postmaster_status *st))
{
    (void)pm;
    assert_null(status_req); /* the REST API shares one */
    world.n_status++;
    r->cb = cb;
    status_req = r;
    if (!world.hold_status)
        uv_timer_start(&status_timer, on_status_timer, 0, 0);
}

void postmaster_status_cancel(struct postmaster *pm, struct postmaster_status_req *r)
{
    (void)pm;
    assert_ptr_equal(status_req, r);
    status_req = NULL;
}

void world_release_status(void)
{
    world.hold_status = false;
    uv_timer_start(&status_timer, on_status_timer, 0, 0);
}

/* ---- the brain's side of the agent ------------------------------------------------------ */

void agent_wake(struct agent *a)
{
    (void)a;
    world.n_wakes++;
}

void agent_reload(struct agent *a)
{
    (void)a;
    world.n_reloads++;
}

void agent_ask(struct agent *a, struct agent_request *r, agent_answer_cb cb)
{
    (void)a;
    assert_null(world.asked);
    world.asked = r;
    world.asked_cb = cb;
}

void agent_forget(struct agent *a, struct agent_request *r)
{
    (void)a;
    assert_ptr_equal(world.asked, r);
    world.asked = NULL;
    world.n_forgotten++;
}

void world_answer(enum ha_answer answer, const char *text)
{
    struct agent_request *r = world.asked;

    assert_non_null(r);
    world.asked = NULL;
    world.asked_cb(r, answer, text);
}

/* ---- the store -------------------------------------------------------------------------- */

#define KEYS_MAX 32

static struct key {
    char key[64], value[4096], version[DCS_VERSION_BYTES];
} keys[KEYS_MAX];
static unsigned n_keys, revision;
static struct dcs_snapshot snapshots[2];
static unsigned current;
static struct dcs_req *queue;

static struct key *find_key(const char *name)
{
    for (unsigned i = 0; i < n_keys; i++)
        if (strcmp(keys[i].key, name) == 0)
            return &keys[i];
    return NULL;
}

static void set_key(const char *name, struct pgv_str value)
{
    struct key *k = find_key(name);

    if (!k) {
        assert_true(n_keys < KEYS_MAX);
        k = &keys[n_keys++];
        assert_true(pgv_copyz(k->key, sizeof(k->key), name));
    }
    assert_true(pgv_copy(k->value, sizeof(k->value), value));
    snprintf(k->version, sizeof(k->version), "%u", ++revision);
}

static void read_store(void)
{
    struct dcs_snapshot *s = &snapshots[current ^= 1];

    dcs_snapshot_done(s);
    dcs_snapshot_init(s);
    for (unsigned i = 0; i < n_keys; i++)
        dcs_snapshot_put(s, pgv_str(keys[i].key), pgv_str(keys[i].value), keys[i].version, "s1");
    dcs_snapshot_finish(s);
    s->read_ms = pgv_clock_ms();
    world.a.dcs.view = s;
    world.a.dcs.view_live = true;
    world.a.dcs.last_seen_ms = s->read_ms;
    world.a.dcs.last_seen_wall_us = 1692356718000000;
    rest_world_changed(&world.a);
}

void world_put(const char *key, const char *value)
{
    if (value) {
        set_key(key, pgv_str(value));
    } else if (find_key(key)) {
        *find_key(key) = keys[n_keys - 1];
        n_keys--;
    }
    read_store();
}

void world_view_absent(void)
{
    world.a.dcs.view = NULL;
    world.a.dcs.view_live = false;
    rest_world_changed(&world.a);
}

static enum pgv_code write_store(struct dcs_req *req)
{
    const char *name = req->op == DCS_SET_CONFIG ? "config" : "failover";
    struct key *k = find_key(name);
    enum pgv_code fails = world.write_fails;

    assert_true(req->op == DCS_SET_CONFIG || req->op == DCS_SET_FAILOVER);
    world.write_fails = PGV_OK;
    if (fails)
        return fails;
    if (req->version[0] && (!k || strcmp(k->version, req->version) != 0))
        return PGV_ECONFLICT;
    world.n_writes++;
    world.written_op = req->op;
    assert_true(pgv_copy(world.written, sizeof(world.written), req->value));
    set_key(name, req->value);
    read_store();
    world.store_fails = world.then_fails;
    return PGV_OK;
}

static void serve(struct dcs_req *req)
{
    enum pgv_code code = world.store_fails;
    struct pgv_error err = { 0 };
    char *value = (char *)(uintptr_t)req->value.p; /* ours: copied at submit */

    if (!code && req->op == DCS_READ)
        read_store();
    else if (!code)
        code = write_store(req);
    if (code)
        pgv_fail(&err, code, "the test's store says no");
    pgv_free(value);
    req->cb(req, code ? &err : NULL);
}

static void on_store_timer(uv_timer_t *timer)
{
    (void)timer;
    while (queue && !world.hold_store) {
        struct dcs_req *req = queue;

        queue = req->next;
        serve(req);
    }
}

static void fake_submit(struct dcs *dcs, struct dcs_req *req)
{
    struct dcs_req **last = &queue;
    char *copy = pgv_alloc(req->value.n + 1);

    (void)dcs;
    assert_non_null(copy);
    if (req->value.n)
        memcpy(copy, req->value.p, req->value.n);
    copy[req->value.n] = '\0';
    req->value.p = copy;
    while (*last)
        last = &(*last)->next;
    *last = req;
    uv_timer_start(&store_timer, on_store_timer, 0, 0);
}

static void fake_cancel(struct dcs *dcs, struct dcs_req *req)
{
    (void)dcs;
    (void)req;
    world.store_fails = PGV_ECANCELED;
    world_release_store();
}

void world_release_store(void)
{
    world.hold_store = false;
    uv_timer_start(&store_timer, on_store_timer, 0, 0);
}

static bool fake_open(struct dcs *dcs, struct pgv_error *err)
{
    (void)dcs;
    (void)err;
    return true;
}

static void fake_close(struct dcs *dcs)
{
    dcs_closed(dcs);
}

static const struct dcs_ops fake_ops = {
    .name = "etcd3",
    .open = fake_open,
    .close = fake_close,
    .submit = fake_submit,
    .cancel = fake_cancel,
};

/* ---- the whole -------------------------------------------------------------------------- */

static int bound_socket(int *ret_port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

int world_free_port(void)
{
    int port;

    close(bound_socket(&port));
    return port;
}

int world_take_port(void)
{
    static int fd = -1;
    int port;

    if (fd >= 0)
        close(fd);
    fd = bound_socket(&port);
    assert_int_equal(listen(fd, 1), 0);
    return port;
}

void world_config_write(const char *restapi, const char *more)
{
    struct pgv_error err;
    struct pgv_buf b;

    pgv_buf_init(&b, 65536);
    pgv_buf_printf(&b,
                   "scope: " WORLD_SCOPE "\nname: " WORLD_NAME "\nrestapi:\n  listen: '%s:%d'\n%s"
                   "etcd3:\n  hosts: 127.0.0.1:1\n"
                   "postgresql:\n  data_dir: /nonexistent\n  listen: 127.0.0.1:5432\n"
                   "  authentication:\n    superuser: {username: postgres}\n"
                   "    replication: {username: rep}\n%s",
                   world.host ? world.host : "127.0.0.1", world.port, restapi, more);
    assert_false(b.failed);
    assert_true(pgv_file_replace(world.config_path, pgv_buf_view(&b), 0600, &err));
    pgv_buf_done(&b);
}

void world_open(const char *restapi, const char *more)
{
    struct agent *a = &world.a;
    struct dcs_config dc = { 0 };
    struct pgv_error err = { 0 };

    memset(&world, 0, sizeof(world));
    n_keys = revision = 0;
    queue = NULL;
    status_req = NULL;
    pgv_log_configure_ctl(PGV_CRITICAL);
    snprintf(world.dir, sizeof(world.dir), "/tmp/pgvigil-agent-XXXXXX");
    assert_non_null(mkdtemp(world.dir));
    snprintf(world.config_path, sizeof(world.config_path), "%s/c.yml", world.dir);
    world.port = world_free_port();
    world_config_write(restapi, more);
    if (!agent_config_open(&a->config, world.config_path, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(uv_loop_init(&a->loop), 0);
    uv_timer_init(&a->loop, &status_timer);
    uv_timer_init(&a->loop, &store_timer);
    assert_true(names_open(&a->loop, &err));
    ha_init(&a->ha);
    pgv_buf_init(&a->scheduled_restart_json, 16384);
    assert_true(agent_peers_open(a, &err));
    dc.name = a->config.name;
    dc.scope = a->config.scope;
    dc.name_space = a->config.name_space;
    dc.ttl_ms = a->config.ttl_ms;
    dc.loop_wait_ms = a->config.loop_wait_ms;
    dc.retry_timeout_ms = a->config.retry_timeout_ms;
    assert_true(dcs_open(&a->dcs, &a->loop, &fake_ops, &dc, &err));
    snprintf(a->pm.conn_url, sizeof(a->pm.conn_url), "postgres://127.0.0.1:5432/postgres");
    if (!rest_open(a, &err))
        fail_msg("%s", err.msg);
    world_be_primary();
    world_put("leader", WORLD_NAME);
    world_put("config", "{\"ttl\":30}");
    world_put("status", "{\"optime\":1000}");
}

static bool closed[3];

static void rest_is_closed(struct agent *a)
{
    (void)a;
    closed[0] = true;
}

static void peers_are_closed(struct agent *a)
{
    (void)a;
    closed[1] = true;
}

static void names_are_closed(void *data)
{
    (void)data;
    closed[2] = true;
}

static bool all_closed(void)
{
    return closed[0] && closed[1] && closed[2];
}

static void dcs_is_closed(struct dcs *dcs)
{
    (void)dcs;
}

void world_close(void)
{
    struct agent *a = &world.a;
    struct pgv_error err;

    closed[0] = closed[1] = closed[2] = false;
    rest_close(a, rest_is_closed);
    agent_peers_close(a, peers_are_closed);
    names_close(names_are_closed, NULL);
    world_turn_until(all_closed);
    dcs_close(&a->dcs, dcs_is_closed);
    uv_close((uv_handle_t *)&status_timer, NULL);
    uv_close((uv_handle_t *)&store_timer, NULL);
    uv_run(&a->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&a->loop), 0);
    dcs_snapshot_done(&snapshots[0]);
    dcs_snapshot_done(&snapshots[1]);
    pgv_buf_done(&a->scheduled_restart_json);
    agent_config_done(&a->config);
    assert_true(pgv_tree_remove(world.dir, &err));
}

int world_up(void **state)
{
    (void)state;
    world_open("", "");
    return 0;
}

int world_down(void **state)
{
    (void)state;
    world_close();
    return 0;
}

static void be(enum pgv_role role, bool in_recovery)
{
    struct postmaster_facts *f = &world.a.pm.facts;

    *f = (struct postmaster_facts){
        .state = PGV_STATE_RUNNING,
        .role = role,
        .alive = true,
        .pid = 42,
        .accepting = true,
        .dir = PM_DIR_OK,
        .major_version = 160000,
        .server_version = 160004,
        .look_ok = true,
        .in_recovery = in_recovery,
        .timeline = 5,
        .wal_lsn = 67420024,
        .start_time_wall_us = 1724873966352526,
    };
    snprintf(f->sysid, sizeof(f->sysid), "7268616322854375442");
    world.status = (struct postmaster_status){
        .ok = true,
        .server_version = 160004,
        .in_recovery = in_recovery,
        .start_time = "2024-08-28 19:39:26.352526+00:00",
        .start_epoch = 1724873966.352526,
        .timeline = 5,
        .location = in_recovery ? 0 : 67420024,
    };
    if (in_recovery) {
        world.status.received_location = 67419744;
        world.status.replayed_location = 67419744;
        snprintf(world.status.replication_state, sizeof(world.status.replication_state),
                 "streaming");
        f->streaming = true;
        f->receive_lsn = f->replay_lsn = 67420024;
    }
    world.a.ha.pg = *f;
    rest_world_changed(&world.a);
}

void world_be_primary(void)
{
    be(PGV_ROLE_PRIMARY, false);
    world_be_leader(true);
}

void world_be_replica(void)
{
    be(PGV_ROLE_REPLICA, true);
    world_be_leader(false);
}

void world_be_leader(bool leader)
{
    world.a.ha.lease_until_ms = leader ? pgv_clock_ms() + 1000000 : 0;
}

void world_turn_until(bool (*done)(void))
{
    uint64_t end_ms = pgv_clock_ms() + 5000;

    while (!done()) {
        struct pollfd fd = { .fd = uv_backend_fd(&world.a.loop), .events = POLLIN };
        int ms = uv_backend_timeout(&world.a.loop);

        if (pgv_clock_ms() > end_ms)
            fail_msg("nothing happened for five seconds");
        uv_run(&world.a.loop, UV_RUN_NOWAIT);
        if (!done())
            poll(&fd, 1, ms < 0 || ms > 10 ? 10 : ms);
    }
}

/* ---- a client --------------------------------------------------------------------------- */

static int receiving = -1;

static bool complete(void)
{
    const char *length, *end;

    if (receiving >= 0) {
        ssize_t n =
            recv(receiving, reply.text + reply.n, sizeof(reply.text) - 1 - reply.n, MSG_DONTWAIT);

        if (n > 0)
            reply.n += (size_t)n;
        else if (n == 0)
            return true;
        reply.text[reply.n] = '\0';
    }
    end = strstr(reply.text, "\r\n\r\n");
    if (!end)
        return false;
    length = strcasestr(reply.text, "\r\nContent-Length: ");
    if (!length || length > end)
        return false;
    return reply.n >= (size_t)(end + 4 - reply.text) + strtoul(length + 18, NULL, 10);
}

int world_send(const char *method, const char *target, const char *headers, const char *body)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)world.port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pgv_buf b;

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    pgv_buf_init(&b, 65536);
    pgv_buf_printf(&b, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s", method, target,
                   headers);
    if (body)
        pgv_buf_printf(&b, "Content-Length: %zu\r\n", strlen(body));
    pgv_buf_printf(&b, "\r\n%s", body ? body : "");
    assert_int_equal(send(fd, b.p, b.n, 0), (ssize_t)b.n);
    pgv_buf_done(&b);
    return fd;
}

void world_receive(int fd)
{
    memset(&reply, 0, sizeof(reply));
    receiving = fd;
    world_turn_until(complete);
    receiving = -1;
    close(fd);
    reply.body = strstr(reply.text, "\r\n\r\n");
    reply.body = reply.body ? reply.body + 4 : "";
    assert_int_equal(sscanf(reply.text, "HTTP/1.1 %d", &reply.status), 1);
}

void world_drop(int fd)
{
    struct linger at_once = { .l_onoff = 1 };

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    close(fd);
}

void world_request(const char *method, const char *target, const char *headers, const char *body)
{
    world_receive(world_send(method, target, headers, body));
}

int get(const char *target)
{
    world_request("GET", target, "", NULL);
    return reply.status;
}

int head(const char *target)
{
    world_request("HEAD", target, "", NULL);
    return reply.status;
}

int post(const char *method, const char *target, const char *json)
{
    world_request(method, target, "", json);
    return reply.status;
}

bool world_has_header(const char *line)
{
    const char *at = strcasestr(reply.text, line);

    return at && at < reply.body;
}
