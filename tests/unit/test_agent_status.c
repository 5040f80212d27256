/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_agent_status.c - the status document, the probes over HTTP, metrics, members. */
#include "agent_support.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TAIL                                                                                       \
    "\"database_system_identifier\": \"7268616322854375442\", \"patroni\": {\"version\": "         \
    "\"" PGV_PATRONI_VERSION "\", \"scope\": \"demo\", \"name\": \"n1\"}, \"pgvigil\": "           \
    "{\"version\": \"" PGVIGIL_VERSION "\"}}"

static int up_tagged(void **state)
{
    (void)state;
    world_open("", "tags: {clonefrom: true, nosync: false, dc: East}\n");
    return 0;
}

/* A look that answered is fresh for a while: what the test changes by hand must be seen. */
static void look_again(void)
{
    world.a.rest->look.fresh = false;
}

static void test_get_patroni__a_primary(void **state)
{
    (void)state;
    world.replication_json =
        "[{\"usename\":\"rep\",\"application_name\":\"n2\",\"client_addr\":\"10.0.0.2\",\"state\":"
        "\"streaming\",\"sync_state\":\"async\",\"sync_priority\":0}]";
    assert_int_equal(get("/patroni"), 200);
    assert_true(world_has_header("\r\nContent-Type: application/json\r\n"));
    assert_string_equal(
        reply.body,
        "{\"state\": \"running\", \"postmaster_start_time\": \"2024-08-28 19:39:26.352526+00:00\", "
        "\"role\": \"primary\", \"server_version\": 160004, \"xlog\": {\"location\": 67420024}, "
        "\"timeline\": 5, \"replication\": [{\"usename\": \"rep\", \"application_name\": \"n2\", "
        "\"client_addr\": \"10.0.0.2\", \"state\": \"streaming\", \"sync_state\": \"async\", "
        "\"sync_priority\": 0}], \"dcs_last_seen\": 1692356718, " TAIL);
    assert_int_equal(get("/patroni/whatever"), 200);
    assert_int_equal(get("/primary"), 200);
    assert_int_equal(get("/"), 200);
    assert_int_equal(get("/replica"), 503);
    assert_int_equal(get("/restart"), 503); /* an unknown health check */
    assert_non_null(strstr(reply.body, "\"state\": \"running\""));
}

static void test_get_patroni__a_replica_with_everything(void **state)
{
    struct postmaster *pm = &world.a.pm;

    (void)state;
    world_be_replica();
    world_put("leader", "n2");
    world_put("config", "{\"synchronous_mode\":true,\"pause\":true}");
    world_put("sync", "{\"leader\":\"n2\",\"sync_standby\":\"N1,n3\"}");
    pm->facts.pending_restart = true;
    pm->n_pending = 1;
    pm->pending[0] = (struct postmaster_pending){ "max_connections", "200", "100" };
    world.a.ha.has_scheduled_restart = true;
    pgv_buf_puts(&world.a.scheduled_restart_json, "{\"schedule\": \"2030-01-01T00:00:00+00:00\"}");
    assert_int_equal(get("/replica"), 200);
    assert_string_equal(
        reply.body,
        "{\"state\": \"running\", \"postmaster_start_time\": \"2024-08-28 19:39:26.352526+00:00\", "
        "\"role\": \"replica\", \"server_version\": 160004, \"xlog\": {\"received_location\": "
        "67419744, \"replayed_location\": 67419744, \"replayed_timestamp\": null, \"paused\": "
        "false}, \"sync_standby\": true, \"timeline\": 5, \"replication_state\": \"streaming\", "
        "\"pause\": true, \"dcs_last_seen\": 1692356718, \"tags\": {\"clonefrom\": true, \"dc\": "
        "\"East\"}, \"database_system_identifier\": \"7268616322854375442\", \"pending_restart\": "
        "true, \"pending_restart_reason\": {\"max_connections\": {\"old_value\": \"200\", "
        "\"new_value\": \"100\"}}, \"patroni\": {\"version\": \"" PGV_PATRONI_VERSION
        "\", \"scope\": \"demo\", \"name\": \"n1\"}, \"scheduled_restart\": {\"schedule\": "
        "\"2030-01-01T00:00:00+00:00\"}, \"pgvigil\": {\"version\": \"" PGVIGIL_VERSION "\"}}");
    assert_int_equal(get("/sync"), 200);
    assert_int_equal(get("/async"), 503);
    assert_int_equal(get("/replica?tag_dc=East"), 200);
    assert_int_equal(get("/replica?tag_dc=West"), 503);
    assert_int_equal(get("/replica?tag_nosync=false"), 503); /* false tags do not exist */
    world_put("config", "{\"synchronous_mode\":\"quorum\"}");
    assert_int_equal(get("/quorum"), 200);
    assert_non_null(strstr(reply.body, "\"quorum_standby\": true, \"timeline\""));
    world_put("config", "{}");
    assert_int_equal(get("/async"), 200);
    world.status.replayed_null = true;
    world.status.timeline = 0;
    world.a.pm.facts.timeline = world.a.pm.facts.control_timeline = 0;
    world.status.replication_state[0] = '\0';
    snprintf(world.status.replayed_timestamp, sizeof(world.status.replayed_timestamp),
             "2024-08-28 19:39:26+00:00");
    look_again();
    assert_int_equal(get("/patroni"), 200);
    assert_non_null(strstr(reply.body,
                           "\"replayed_location\": null, \"replayed_timestamp\": \"2024-08-28 "
                           "19:39:26+00:00\", \"paused\": false}, \"timeline\": null, \"dcs_last"));
    world.a.pm.facts.control_timeline = 7; /* who receives from nobody has its control file */
    assert_int_equal(get("/patroni"), 200);
    assert_non_null(strstr(reply.body, "\"timeline\": 7, "));
}

/* A watchdog is required, and there is none: the peers must not take us for a candidate. */
static void test_get_patroni__watchdog_failed(void **state)
{
    struct watchdog_config c;

    (void)state;
    watchdog_init(&world.a.watchdog, &watchdog_sys_real);
    memset(&c, 0, sizeof(c));
    c.mode = HA_WATCHDOG_REQUIRED;
    c.driver = WATCHDOG_LINUX;
    c.possible = true;
    snprintf(c.device, sizeof(c.device), "%s/none", world.dir);
    (void)watchdog_configure(&world.a.watchdog, &c);
    assert_int_equal(get("/patroni"), 200);
    assert_non_null(strstr(reply.body, "\"name\": \"n1\"}, \"watchdog_failed\": true, \"pgvigil"));
    assert_int_equal(get("/metrics"), 200);
    assert_non_null(
        strstr(reply.body, "\npgvigil_watchdog_running{scope=\"demo\",name=\"n1\"} 0\n"));
    c.mode = HA_WATCHDOG_AUTOMATIC; /* without one it goes on */
    (void)watchdog_configure(&world.a.watchdog, &c);
    assert_int_equal(get("/patroni"), 200);
    assert_null(strstr(reply.body, "watchdog_failed"));
    c.mode = HA_WATCHDOG_REQUIRED; /* it can be written to */
    snprintf(c.device, sizeof(c.device), "%s", world.config_path);
    (void)watchdog_configure(&world.a.watchdog, &c);
    assert_int_equal(get("/patroni"), 200);
    assert_null(strstr(reply.body, "watchdog_failed"));
}

static void test_get_patroni__when_the_server_cannot_be_asked(void **state)
{
    (void)state;
    world.a.pm.facts.state = PGV_STATE_STOPPED;
    world.a.pm.facts.sysid[0] = '\0';
    world_view_absent();
    assert_int_equal(get("/patroni"), 200);
    assert_string_equal(
        reply.body, "{\"state\": \"stopped\", \"role\": \"primary\", \"cluster_unlocked\": true, "
                    "\"dcs_last_seen\": 1692356718, \"patroni\": {\"version\": "
                    "\"" PGV_PATRONI_VERSION "\", \"scope\": \"demo\", \"name\": \"n1\"}, "
                    "\"pgvigil\": {\"version\": \"" PGVIGIL_VERSION "\"}}");
    assert_int_equal(world.n_status, 0);
    assert_int_equal(get("/primary"), 200); /* the lease decides */
    assert_int_equal(get("/health"), 503);
    world.a.pm.facts.state = PGV_STATE_RUNNING;
    world.status.ok = false;
    assert_int_equal(get("/primary"), 200);
    assert_non_null(strstr(reply.body, "{\"state\": \"unknown\", \"role\": \"primary\""));
    assert_int_equal(get("/health"), 503);
    assert_int_equal(world.n_status, 2);
}

/* A long job is told of beside the version of who runs it. */
static void test_get_patroni__the_job(void **state)
{
    struct agent *a = &world.a;

    (void)state;
    a->ha.job.kind = PM_JOB_CLONE;
    snprintf(a->ha.job.name, sizeof(a->ha.job.name), "reinitialize");
    a->ha.job.since_ms = pgv_clock_ms() - 12500;
    a->pm.facts.state = PGV_STATE_CREATING_REPLICA;
    assert_int_equal(get("/patroni"), 200);
    assert_non_null(strstr(reply.body, "\"pgvigil\": {\"version\": \"" PGVIGIL_VERSION
                                       "\", \"job\": {\"kind\": \"clone\", \"name\": "
                                       "\"reinitialize\", \"seconds\": 12}}}"));
    a->pm.job = PM_JOB_CLONE;
    snprintf(a->pm.job_step, sizeof(a->pm.job_step), "basebackup");
    a->pm.job_percent = 45;
    a->pm.job_bytes = 450;
    a->pm.job_bytes_total = 1000;
    assert_int_equal(get("/patroni"), 200);
    assert_non_null(strstr(reply.body,
                           "\"seconds\": 12, \"step\": \"basebackup\", \"percent\": 45, "
                           "\"bytes\": 450, \"bytes_total\": 1000}}}"));
    a->ha.job.kind = PM_JOB_STOP; /* the other has not heard of it yet */
    assert_int_equal(get("/patroni"), 200);
    assert_non_null(strstr(reply.body, "\"seconds\": 12}}}"));
}

/* /patroni asks once more after a second: what a connection that broke needs. */
static void test_get_patroni__asks_a_running_server_twice(void **state)
{
    int fd;
    uint64_t before_ms = pgv_clock_ms();

    (void)state;
    world.status.ok = false;
    fd = world_send("GET", "/patroni", "", NULL);
    world_receive(fd);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.body, "{\"state\": \"unknown\""));
    assert_int_equal(world.n_status, 2);
    assert_true(pgv_clock_ms() - before_ms >= 1000);
}

static void test_probes__head_and_options_need_no_query(void **state)
{
    (void)state;
    assert_int_equal(head("/primary"), 200);
    assert_string_equal(reply.body, "");
    assert_int_equal(head("/leader"), 200);
    assert_int_equal(head("/health"), 200);
    assert_int_equal(head("/standby-leader"), 503);
    assert_int_equal(head("/patroni"), 503); /* only GET knows this one */
    assert_int_equal(head("/metrics"), 503);
    assert_int_equal(head("/liveness"), 503);
    assert_int_equal(head("/readiness"), 503);
    world_request("OPTIONS", "/", "", NULL);
    assert_int_equal(reply.status, 200);
    assert_int_equal(world.n_status, 0);
    world.a.pm.facts.look_timeout = true; /* it hangs: whatever its state says */
    assert_int_equal(head("/health"), 503);
    assert_int_equal(head("/primary"), 200);
    world_be_leader(false); /* no later than that the answer changes */
    assert_int_equal(head("/primary"), 503);
    assert_int_equal(world.n_status, 0);
    world_be_replica();
    assert_int_equal(head("/replica"), 200);
    assert_int_equal(world.n_status, 1);
    assert_int_equal(head("/replica?lag=16MB"), 200);
    assert_int_equal(head("/read-only"), 200);
    world_put("status", "{\"optime\":99999999999}");
    assert_int_equal(head("/replica?lag=16MB"), 503);
}

static void test_probes__in_pause_without_the_store_the_role_decides(void **state)
{
    (void)state;
    world_put("config", "{\"pause\":true}");
    {
        struct pgv_error err;
        bool changed;

        assert_true(agent_config_adopt(&world.a.config, world.a.dcs.view, &changed, &err));
    }
    world_be_leader(false);
    assert_int_equal(head("/primary"), 503);
    world_view_absent();
    assert_int_equal(head("/primary"), 200);
    assert_int_equal(get("/primary"), 200);
    world_be_replica();
    assert_int_equal(head("/primary"), 503);
}

static void test_probes__a_view_older_than_ttl_is_no_view(void **state)
{
    static struct dcs_snapshot old;

    (void)state;
    world_be_replica();
    assert_int_equal(get("/async"), 200);
    old = *world.a.dcs.view;
    old.read_ms = pgv_clock_ms() - 30001;
    world.a.dcs.view = &old;
    assert_int_equal(get("/async"), 200); /* the watch lives, and so does the store */
    world.a.dcs.last_seen_ms = old.read_ms;
    assert_int_equal(get("/async"), 503);
    assert_non_null(strstr(reply.body, "\"cluster_unlocked\": true"));
    world.a.dcs.last_seen_ms = pgv_clock_ms();
    world.a.dcs.view_live = false; /* answers of other kinds do not freshen the view */
    assert_int_equal(get("/async"), 503);
}

static void test_probes__those_who_come_together_share_one_query(void **state)
{
    int fds[50];

    (void)state;
    world.hold_status = true;
    for (size_t i = 0; i < 50; i++)
        fds[i] = world_send("GET", i % 2 ? "/primary" : "/patroni", "", NULL);
    for (int turns = 0; world.a.rest->waiting == NULL || turns < 200; turns++)
        uv_run(&world.a.loop, UV_RUN_NOWAIT);
    world_drop(fds[7]); /* one loses patience */
    for (int turns = 0; turns < 200; turns++)
        uv_run(&world.a.loop, UV_RUN_NOWAIT);
    world_release_status();
    for (size_t i = 0; i < 50; i++) {
        if (i == 7)
            continue;
        world_receive(fds[i]);
        assert_int_equal(reply.status, 200);
    }
    assert_int_equal(world.n_status, 1);
}

static void test_probes__no_memory_is_an_answer(void **state)
{
    int fd;

    (void)state;
    for (unsigned long n = 1; n <= 12; n++) {
        look_again();
        fd = world_send("GET", "/patroni", "", NULL);
        pgv_alloc_fail_at(n, false);
        world_receive(fd);
        pgv_alloc_fail_at(0, false);
        assert_true(reply.status == 200 || reply.status == 503);
    }
}

static void test_get_liveness__follows_the_loop(void **state)
{
    struct ha *ha = &world.a.ha;
    uint64_t now_ms;

    (void)state;
    assert_int_equal(get("/liveness"), 200); /* before the first cycle */
    now_ms = pgv_clock_ms();
    world.a.rest->opened_ms = 0;
    ha->next_run_ms = now_ms - 29000;
    assert_int_equal(get("/liveness"), 200);
    ha->next_run_ms = now_ms - 30001;
    assert_int_equal(get("/liveness"), 503);
    world_be_replica();
    assert_int_equal(get("/liveness"), 200); /* twice the time */
    ha->next_run_ms = now_ms - 60001;
    assert_int_equal(get("/liveness"), 503);
    assert_string_equal(reply.body, "");
    world.a.config.global = world.a.dcs.view->config;
    assert_int_equal(get("/liveness"), 503);
    world_put("config", "{\"pause\":1}");
    world.a.config.global = world.a.dcs.view->config;
    assert_int_equal(get("/liveness"), 200);
    world.a.config.global = NULL;
}

static void test_get_readiness__over_http(void **state)
{
    (void)state;
    assert_int_equal(get("/readiness"), 200);
    assert_int_equal(world.n_status, 0);
    world_be_replica();
    assert_int_equal(get("/readiness"), 200);
    assert_int_equal(world.n_status, 1);
    world_put("status", "{\"optime\":99999999999}");
    assert_int_equal(get("/readiness"), 503);
    assert_int_equal(get("/readiness?lag=200GB"), 200);
}

static void test_get_metrics__golden(void **state)
{
    static const char *const values[] = {
        "patroni_version 040105",
        "patroni_postgres_running 1",
        "patroni_postmaster_start_time 1724873966.352526",
        "patroni_primary 1",
        "patroni_xlog_location 67420024",
        "patroni_standby_leader 0",
        "patroni_replica 0",
        "patroni_sync_standby 0",
        "patroni_quorum_standby 0",
        "patroni_xlog_received_location 0",
        "patroni_xlog_replayed_location 0",
        "patroni_xlog_replayed_timestamp 0",
        "patroni_xlog_paused 0",
        "patroni_postgres_streaming 0",
        "patroni_postgres_in_archive_recovery 0",
        "patroni_postgres_server_version 160004",
        "patroni_cluster_unlocked 0",
        "patroni_failsafe_mode_is_active 0",
        "patroni_failsafe_mode_enabled 0",
        "patroni_failsafe_member 0",
        "patroni_postgres_timeline 5",
        "patroni_dcs_last_seen 1692356718",
        "patroni_pending_restart 0",
        "patroni_is_paused 0",
        "patroni_postgres_state 5",
        "patroni_failover_priority 1",
    };
    const char *at;

    (void)state;
    assert_int_equal(get("/metrics"), 200);
    assert_true(world_has_header("\r\nContent-Type: text/plain\r\n"));
    at = reply.body;
    assert_memory_equal(at,
                        "# HELP patroni_version Patroni semver without periods.\n"
                        "# TYPE patroni_version gauge\n"
                        "patroni_version{scope=\"demo\",name=\"n1\"} 040105\n"
                        "# HELP patroni_postgres_running Value is 1 if Postgres is running, 0 "
                        "otherwise.\n",
                        190);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        const char *space = strchr(values[i], ' ');
        char line[160];

        snprintf(line, sizeof(line), "\n%.*s{scope=\"demo\",name=\"n1\"} %s\n",
                 (int)(space - values[i]), values[i], space + 1);
        at = strstr(at, line); /* in this order */
        if (!at)
            fail_msg("missing, or not in its place: %s", line);
    }
    assert_non_null(strstr(
        reply.body,
        "# HELP patroni_postgres_state Numeric representation of Postgres state.\n"
        "# Values: 0=initdb, 1=initdb_failed, 2=custom_bootstrap, 3=custom_bootstrap_failed, "
        "4=creating_replica, 5=running, 6=starting, 7=bootstrap_starting, 8=start_failed, "
        "9=restarting, 10=restart_failed, 11=stopping, 12=stopped, 13=stop_failed, 14=crashed\n"
        "# TYPE patroni_postgres_state gauge\n"));
    assert_non_null(strstr(at, "\npgvigil_version{scope=\"demo\",name=\"n1\",version=\"" //
                           PGVIGIL_VERSION "\"} 1\n"));
    assert_int_equal(reply.text[reply.n - 1], '\n');
}

static void test_get_metrics__of_a_replica_and_of_nobody(void **state)
{
    (void)state;
    world_be_replica();
    world.status.paused = true;
    world.status.replayed_epoch = 1724873966;
    snprintf(world.status.replayed_timestamp, sizeof(world.status.replayed_timestamp), "x");
    assert_int_equal(get("/metrics"), 200);
    assert_non_null(strstr(reply.body, "\npatroni_replica{scope=\"demo\",name=\"n1\"} 1\n"));
    assert_non_null(strstr(reply.body, "\npatroni_xlog_paused{scope=\"demo\",name=\"n1\"} 1\n"));
    assert_non_null(
        strstr(reply.body,
               "\npatroni_xlog_replayed_timestamp{scope=\"demo\",name=\"n1\"} 1724873966.0\n"));
    assert_non_null(strstr(
        reply.body, "\npatroni_xlog_received_location{scope=\"demo\",name=\"n1\"} 67419744\n"));
    assert_non_null(
        strstr(reply.body, "\npatroni_postgres_streaming{scope=\"demo\",name=\"n1\"} 1\n"));
    world.a.pm.facts.state = PGV_STATE_CRASHED;
    assert_int_equal(get("/metrics"), 200);
    assert_null(strstr(reply.body, "patroni_postgres_streaming"));
    assert_non_null(
        strstr(reply.body, "\npatroni_postgres_state{scope=\"demo\",name=\"n1\"} 14\n"));
    assert_non_null(
        strstr(reply.body, "\npatroni_postmaster_start_time{scope=\"demo\",name=\"n1\"} 0\n"));
    assert_non_null(
        strstr(reply.body, "\npatroni_postgres_server_version{scope=\"demo\",name=\"n1\"} 0\n"));
}

static void member_is(const char *json)
{
    struct pgv_buf b;

    pgv_buf_init(&b, 65536);
    assert_true(agent_member_document(&world.a, &b));
    assert_string_equal(pgv_buf_cstr(&b), json);
    pgv_buf_done(&b);
}

#define MEMBER(port, rest)                                                                         \
    snprintf(text, sizeof(text),                                                                   \
             "{\"conn_url\":\"postgres://127.0.0.1:5432/postgres\",\"api_url\":"                   \
             "\"http://127.0.0.1:%d/patroni\"," rest,                                              \
             port)

static void test_agent_member_document__golden(void **state)
{
    struct agent *a = &world.a;
    char text[2048];

    (void)state;
    a->ha.rewind = HA_REWIND_CHECKPOINT;
    a->ha.now_ms = pgv_clock_ms();
    MEMBER(world.port, "\"state\":\"running\",\"role\":\"primary\",\"version\":"
                       "\"" PGV_PATRONI_VERSION "\",\"tags\":{\"clonefrom\":true,\"dc\":\"East\"},"
                       "\"xlog_location\":67420024,\"timeline\":5}");
    member_is(text);

    a->ha.rewind = HA_REWIND_INITIAL; /* led, and its checkpoint not confirmed */
    snprintf(a->pm.proxy_url, sizeof(a->pm.proxy_url), "postgres://p:1/postgres");
    a->pm.n_pending = 1;
    a->pm.pending[0] = (struct postmaster_pending){ "port", "1", "2" };
    a->pm.job = PM_JOB_RESTART; /* positions are not asked for under a job… */
    a->config.paused = true;
    a->ha.has_scheduled_restart = true;
    a->ha.scheduled_start_time_wall_us = 1724873966352526;
    pgv_buf_puts(&a->scheduled_restart_json,
                 "{\"schedule\": \"2030-01-01T00:00:00+00:00\", \"restart_pending\": true}");
    MEMBER(
        world.port,
        "\"state\":\"running\",\"role\":\"primary\",\"version\":\"" PGV_PATRONI_VERSION
        "\",\"proxy_url\":\"postgres://p:1/postgres\",\"checkpoint_after_promote\":false,\"tags\":"
        "{\"clonefrom\":true,\"dc\":\"East\"},\"pending_restart\":true,\"pending_restart_reason\""
        ":{\"port\":{\"old_value\":\"1\",\"new_value\":\"2\"}},\"scheduled_restart\":{"
        "\"schedule\":\"2030-01-01T00:00:00+00:00\",\"restart_pending\":true,"
        "\"postmaster_start_time\":\"2024-08-28 19:39:26.352526+00:00\"},\"pause\":true}");
    member_is(text);
    a->ha.scheduled_start_time_wall_us = 0;
    {
        struct pgv_buf b;

        pgv_buf_init(&b, 65536);
        assert_true(agent_member_document(a, &b));
        assert_non_null(strstr(pgv_buf_cstr(&b), "\"postmaster_start_time\":null}"));
        pgv_buf_done(&b);
    }
    a->ha.has_scheduled_restart = a->config.paused = false;
    a->pm.n_pending = 0;
    a->pm.proxy_url[0] = '\0';
    a->pm.job = PM_JOB_PROMOTE; /* …but under a promotion they are */
    world_be_replica();
    MEMBER(world.port,
           "\"state\":\"running\",\"role\":\"replica\",\"version\":"
           "\"" PGV_PATRONI_VERSION "\",\"tags\":{\"clonefrom\":true,\"dc\":\"East\"},"
           "\"xlog_location\":67420024,\"replay_lsn\":67420024,\"receive_lsn\":67420024,"
           "\"replication_state\":\"streaming\",\"timeline\":5}");
    member_is(text);
    a->pm.facts.state = PGV_STATE_STOPPED;
    a->ha.pg.role = PGV_ROLE_DEMOTED;
    MEMBER(world.port,
           "\"state\":\"stopped\",\"role\":\"demoted\",\"version\":"
           "\"" PGV_PATRONI_VERSION "\",\"tags\":{\"clonefrom\":true,\"dc\":\"East\"}}");
    member_is(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_get_patroni__a_primary, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_get_patroni__a_replica_with_everything, up_tagged,
                                        world_down),
        cmocka_unit_test_setup_teardown(test_get_patroni__the_job, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_get_patroni__when_the_server_cannot_be_asked, world_up,
                                        world_down),
        cmocka_unit_test_setup_teardown(test_get_patroni__asks_a_running_server_twice, world_up,
                                        world_down),
        cmocka_unit_test_setup_teardown(test_probes__head_and_options_need_no_query, world_up,
                                        world_down),
        cmocka_unit_test_setup_teardown(test_probes__in_pause_without_the_store_the_role_decides,
                                        world_up, world_down),
        cmocka_unit_test_setup_teardown(test_probes__a_view_older_than_ttl_is_no_view, world_up,
                                        world_down),
        cmocka_unit_test_setup_teardown(test_probes__those_who_come_together_share_one_query,
                                        world_up, world_down),
        cmocka_unit_test_setup_teardown(test_probes__no_memory_is_an_answer, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_get_liveness__follows_the_loop, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_get_readiness__over_http, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_get_patroni__watchdog_failed, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_get_metrics__golden, world_up, world_down),
        cmocka_unit_test_setup_teardown(test_get_metrics__of_a_replica_and_of_nobody, world_up,
                                        world_down),
        cmocka_unit_test_setup_teardown(test_agent_member_document__golden, up_tagged, world_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
