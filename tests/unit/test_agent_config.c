/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_agent_config.c - the effective configuration: merging, clamping, adopting. */
#include "agent_support.h"

#include "agent/config_private.h"
#include "agent/watchdog.h"
#include "base/file.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/pgvigil-config-XXXXXX", path[64];
static struct agent_config c;

static void write_file(const char *text)
{
    struct pgv_error err;

    assert_true(pgv_file_replace(path, pgv_str(text), 0600, &err));
}

#define HEAD                                                                                       \
    "scope: demo\nname: n1\nrestapi:\n  listen: 127.0.0.1:8008\n"                                  \
    "etcd3: {hosts: '127.0.0.1:2379'}\n"
#define PG "postgresql:\n  data_dir: /d\n  listen: 127.0.0.1:5432\n"

static void open_config(const char *text)
{
    struct pgv_error err = { 0 };

    write_file(text);
    if (!agent_config_open(&c, path, &err))
        fail_msg("%s", err.msg);
}

static void refused(const char *text, const char *words)
{
    struct pgv_error err = { 0 };

    write_file(text);
    if (agent_config_open(&c, path, &err)) {
        agent_config_done(&c);
        fail_msg("taken, and should have been refused: %s", words);
    }
    assert_int_equal(err.code, PGV_EINVALID);
    if (!strstr(err.msg, words))
        fail_msg("'%s' does not say '%s'", err.msg, words);
}

static void value_is(const struct pgv_value *v, const char *json)
{
    struct pgv_buf b;

    pgv_buf_init(&b, 65536);
    assert_true(v ? pgv_json_write(&b, v, PGV_JSON_COMPACT) : pgv_buf_puts(&b, "nothing"));
    assert_string_equal(pgv_buf_cstr(&b), json);
    pgv_buf_done(&b);
}

static void effective_is(const char *key_path, const char *json)
{
    value_is(pgv_path(c.effective, key_path), json);
}

/* A snapshot with this /config. */
static bool adopt(const char *config, const char *version, bool *ret_changed, struct pgv_error *err)
{
    struct dcs_snapshot s;
    bool ok;

    dcs_snapshot_init(&s);
    if (config)
        dcs_snapshot_put(&s, PGV_STR("config"), pgv_str(config), version, "");
    dcs_snapshot_finish(&s);
    ok = agent_config_adopt(&c, &s, ret_changed, err);
    dcs_snapshot_done(&s);
    return ok;
}

static void adopts(const char *config, const char *version, bool want_changed)
{
    struct pgv_error err = { 0 };
    bool changed;

    if (!adopt(config, version, &changed, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(changed, want_changed);
}

static void test_agent_config_open__defaults(void **state)
{
    (void)state;
    open_config(HEAD PG);
    assert_string_equal(c.name, "n1");
    assert_string_equal(c.scope, "demo");
    assert_string_equal(c.name_space, "service");
    assert_int_equal(c.ttl_ms, 30000);
    assert_int_equal(c.loop_wait_ms, 10000);
    assert_int_equal(c.retry_timeout_ms, 10000);
    assert_int_equal(c.maximum_lag_on_failover, 1048576);
    effective_is("postgresql.use_slots", "true");
    effective_is(
        "postgresql.parameters",
        "{\"wal_level\":\"hot_standby\",\"hot_standby\":\"on\",\"max_connections\":100,"
        "\"max_wal_senders\":10,\"max_prepared_transactions\":0,"
        "\"max_locks_per_transaction\":64,\"track_commit_timestamp\":\"off\","
        "\"max_replication_slots\":10,\"max_worker_processes\":8,\"wal_log_hints\":\"on\"}");
    effective_is("postgresql.name", "\"n1\"");
    effective_is("postgresql.scope", "\"demo\"");
    effective_is("postgresql.retry_timeout", "10");
    /* no authentication section: the legacy layout */
    effective_is("postgresql.use_pg_rewind", "false");
    effective_is("postgresql.authentication", "{}");
    value_is(c.tags, "{}");
    value_is(c.dcs_section, "{\"hosts\":\"127.0.0.1:2379\"}");
    agent_config_done(&c);
}

static void test_agent_config_open__local_layer(void **state)
{
    (void)state;
    open_config(HEAD
                "ttl: 90\nloop_wait: 5\nstandby_cluster: {host: x}\nnamespace: /db/\n"
                "log:\ntags: {clonefrom: true, nofailover: false, failover_priority: 2, nosync: "
                "false, x: null}\n"
                "ctl: {authentication: {username: u, password: 5}}\n"
                "citus: {group: x, database: y}\n"
                "postgresql:\n  data_dir: /d\n  listen: 127.0.0.1:5432\n  use_slots: false\n"
                "  parameters: {max_connections: 500, Work_Mem: 4MB, WAL_LEVEL: logical}\n"
                "  authentication:\n    superuser: {username: p, password: s, sslmode: require, "
                "foo: 1}\n");
    /* what the cluster must agree on is not the file's to say */
    effective_is("ttl", "30");
    effective_is("loop_wait", "10");
    effective_is("standby_cluster.host", "\"\"");
    effective_is("postgresql.use_slots", "true");
    effective_is("postgresql.parameters.max_connections", "100");
    effective_is("postgresql.parameters.wal_level", "\"hot_standby\"");
    effective_is("postgresql.parameters.Work_Mem", "\"4MB\"");
    effective_is("log", "nothing"); /* null at the top of a file is no section */
    effective_is("ctl.auth", "\"u:5\"");
    effective_is("citus", "nothing");
    effective_is("postgresql.authentication.superuser",
                 "{\"username\":\"p\",\"password\":\"s\",\"sslmode\":\"require\"}");
    value_is(c.tags,
             "{\"clonefrom\":true,\"nofailover\":false,\"failover_priority\":2,\"x\":null}");
    assert_string_equal(c.name_space, "/db/");
    agent_config_done(&c);
}

static void test_agent_config_open__refusals_name_file_line_and_key(void **state)
{
    char where[256];

    (void)state;
    snprintf(where, sizeof(where),
             "config file '%s' line 4: restapi.listen: Invalid \"restapi\" "
             "config: expected <HOST>:<PORT> for \"listen\", but got \"x\"",
             path);
    refused("scope: demo\nname: n1\nrestapi:\n  listen: x\netcd3: {}\n" PG, where);
    refused("name: n1\nrestapi: {listen: 'a:1'}\netcd3: {}\n" PG, "scope: is not defined.");
    refused("scope: a\nrestapi: {listen: 'a:1'}\netcd3: {}\n" PG, "name: is not defined.");
    refused("scope: a\nname: b/c\nrestapi: {listen: 'a:1'}\netcd3: {}\n" PG, "slash");
    refused("scope: a\nname: b\netcd3: {}\n" PG, "restapi: is not defined.");
    refused("scope: a\nname: b\nrestapi: {}\netcd3: {}\n" PG,
            "Can not find \"restapi.listen\" config");
    refused("scope: a\nname: b\nrestapi: {listen: 'a:99999'}\netcd3: {}\n" PG, "restapi.listen");
    refused("scope: a\nname: b\nrestapi: {listen: 'a:1', authentication: {username: u}}\n"
            "etcd3: {}\n" PG,
            "password is missing");
    refused(HEAD "postgresql: [1]\n", "postgresql: is not a dictionary");
    refused(HEAD, "postgresql: is not defined.");
    refused(HEAD "postgresql: {listen: 'a:1'}\n", "postgresql.data_dir: is not defined.");
    refused(HEAD "postgresql: {data_dir: /d}\n", "postgresql.listen: is not defined.");
    refused(HEAD PG "  parameters: [a]\n", "postgresql.parameters is not a dictionary");
    refused(HEAD PG "  authentication: {superuser: x}\n",
            "postgresql.authentication.superuser: is not a dictionary");
    refused("scope: a\nname: b\nrestapi: {listen: 'a:1'}\n" PG,
            "Can not find suitable configuration of distributed configuration store");
}

static void test_agent_config_open__what_this_version_cannot_serve_is_refused(void **state)
{
    (void)state;
    refused(HEAD PG "consul: {host: x}\n", "consul: this store is not supported");
    refused(HEAD PG "etcd: {host: x}\n", "etcd: this store is not supported");
    refused("scope: a\nname: b\nrestapi: {listen: 'a:1'}\nzookeeper: {hosts: x}\n" PG,
            "zookeeper: this store is not supported");
    refused(HEAD PG "citus: {group: 0, database: x}\n", "citus: is not supported");
    refused(HEAD PG "bootstrap: {dcs: {standby_cluster: {host: h}}}\n",
            "bootstrap.dcs.standby_cluster: is not supported");
    refused(HEAD PG "bootstrap: {dcs: {ttl: x}}\n", "ttl: is not a whole number of seconds");
    /* these say nothing that could be missed */
    open_config(HEAD PG "watchdog: {mode: automatic}\nzookeeper: {hosts: x}\n"
                        "bootstrap: {dcs: {standby_cluster: {host: ''}}}\n");
    agent_config_done(&c);
}

static void test_agent_config_watchdog__modes(void **state)
{
    static const struct {
        const char *section;
        enum ha_watchdog_mode mode;
    } rows[] = {
        { "", HA_WATCHDOG_AUTOMATIC },
        { "watchdog:\n", HA_WATCHDOG_AUTOMATIC },
        { "watchdog: {}\n", HA_WATCHDOG_AUTOMATIC },
        { "watchdog: {device: /dev/watchdog1}\n", HA_WATCHDOG_AUTOMATIC },
        { "watchdog: {mode: automatic}\n", HA_WATCHDOG_AUTOMATIC },
        { "watchdog: {mode: Auto}\n", HA_WATCHDOG_AUTOMATIC },
        { "watchdog: {mode: required}\n", HA_WATCHDOG_REQUIRED },
        { "watchdog: {mode: REQUIRE}\n", HA_WATCHDOG_REQUIRED },
        { "watchdog: {mode: off}\n", HA_WATCHDOG_OFF },
        { "watchdog: {mode: 'off'}\n", HA_WATCHDOG_OFF },
        { "watchdog: {mode: no}\n", HA_WATCHDOG_OFF },
        { "watchdog: {mode: false}\n", HA_WATCHDOG_OFF },
        { "watchdog: {mode: disable}\n", HA_WATCHDOG_OFF },
        { "watchdog: {mode: Disabled}\n", HA_WATCHDOG_OFF },
        /* what nobody knows is off, and said */
        { "watchdog: {mode: on}\n", HA_WATCHDOG_OFF },
        { "watchdog: {mode: always}\n", HA_WATCHDOG_OFF },
        { "watchdog: {mode: 1}\n", HA_WATCHDOG_OFF },
        { "watchdog: {mode: }\n", HA_WATCHDOG_OFF },
        { "watchdog: {mode: [required]}\n", HA_WATCHDOG_OFF },
    };
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct watchdog_config w;
        struct ha_policy p = { 0 };

        snprintf(text, sizeof(text), HEAD PG "%s", rows[i].section);
        open_config(text);
        agent_config_watchdog(&c, &w);
        agent_config_policy(&c, &p);
        agent_config_done(&c);
        if (w.mode != rows[i].mode || p.watchdog != rows[i].mode)
            fail_msg("'%s' is mode %d and %d", rows[i].section, w.mode, p.watchdog);
    }
}

static void test_agent_config_watchdog__device_and_times(void **state)
{
    static const struct {
        const char *section;
        int64_t timeout_s, slack_s;
        uint64_t policy_ms;
    } rows[] = {
        { "", 25, 15, 25000 },
        { "watchdog: {safety_margin: 0}\n", 30, 20, 30000 },
        { "watchdog: {safety_margin: -1}\n", 15, 5, 15000 },
        { "watchdog: {safety_margin: '7'}\n", 23, 13, 23000 },
        { "watchdog: {safety_margin: 20}\n", 10, 0, 10000 },
        { "watchdog: {safety_margin: 21}\n", 9, -1, 0 },
        { "watchdog: {safety_margin: 50}\n", -20, -30, 0 },
        { "watchdog: {safety_margin: -1}\nbootstrap: {dcs: {ttl: 41}}\n", 20, 10, 20000 },
        { "bootstrap: {dcs: {ttl: 30, loop_wait: 20, retry_timeout: 5}}\n", 25, 5, 25000 },
    };
    struct watchdog_config w;
    struct pgv_error err;
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ha_policy p = { 0 };

        snprintf(text, sizeof(text), HEAD PG "%s", rows[i].section);
        open_config(text);
        assert_true(agent_config_use_bootstrap(&c, &err));
        agent_config_watchdog(&c, &w);
        agent_config_policy(&c, &p);
        agent_config_done(&c);
        if (w.timeout_s != rows[i].timeout_s || w.slack_s != rows[i].slack_s ||
            p.watchdog_timeout_ms != rows[i].policy_ms)
            fail_msg("'%s': timeout %lld, slack %lld, policy %llu", rows[i].section,
                     (long long)w.timeout_s, (long long)w.slack_s,
                     (unsigned long long)p.watchdog_timeout_ms);
        assert_int_equal(w.driver, WATCHDOG_LINUX);
        assert_string_equal(w.device, WATCHDOG_DEVICE_DEFAULT);
    }
    open_config(HEAD PG "watchdog: {driver: testing, device: /tmp/pipe, mode: require}\n");
    agent_config_watchdog(&c, &w);
    agent_config_done(&c);
    assert_int_equal(w.driver, WATCHDOG_TESTING);
    assert_string_equal(w.device, "/tmp/pipe");
    open_config(HEAD PG "watchdog: {driver: other}\n"); /* harmless: there is no device */
    agent_config_watchdog(&c, &w);
    agent_config_done(&c);
    assert_int_equal(w.driver, WATCHDOG_NONE);
}

static void test_agent_config_open__refuses_a_watchdog_that_cannot_be(void **state)
{
    char text[1024], device[WATCHDOG_PATH_BYTES + 1];

    (void)state;
    refused(HEAD PG "watchdog: {mode: required, driver: other}\n",
            "watchdog.driver: is not known, but watchdog.mode requires a watchdog");
    refused(HEAD PG "watchdog: {device: 5}\n", "watchdog.device: is not a string");
    refused(HEAD PG "watchdog: {device: ''}\n", "watchdog.device: is not a string");
    refused(HEAD PG "watchdog: {safety_margin: -2}\n",
            "watchdog.safety_margin: is not an integer from -1");
    refused(HEAD PG "watchdog: {safety_margin: some}\n",
            "watchdog.safety_margin: is not an integer");
    refused(HEAD PG "watchdog: {safety_margin: 9999999999}\n",
            "watchdog.safety_margin: is not an integer");
    memset(device, 'x', sizeof(device) - 1);
    device[sizeof(device) - 1] = '\0';
    snprintf(text, sizeof(text), HEAD PG "watchdog: {device: %s}\n", device);
    refused(text, "watchdog.device: is longer than 255 bytes");
    text[strlen(text) - 3] = '}'; /* one less fits */
    text[strlen(text) - 2] = '\n';
    text[strlen(text) - 1] = '\0';
    open_config(text);
    agent_config_done(&c);
}

static void test_agent_config_adopt__dynamic_layer(void **state)
{
    (void)state;
    open_config(HEAD PG "  parameters: {a: local}\n  pg_ctl_timeout: 7\n");
    adopts("{\"ttl\":\"40\",\"loop_wait\":5.9,\"pause\":\"ON\",\"unknown\":1,\"standby_cluster\":{"
           "\"port\":\"\",\"other\":1},"
           "\"maximum_lag_on_failover\":5,\"primary_start_timeout\":7,\"postgresql\":{"
           "\"data_dir\":\"/x\",\"listen\":\"x\",\"pg_ctl_timeout\":9,\"bin_dir\":\"/b\","
           "\"use_slots\":false,\"parameters\":{\"A\":\"dynamic\",\"max_connections\":\"200\","
           "\"max_wal_senders\":1,\"wal_level\":\"Logical\",\"hot_standby\":false,"
           "\"wal_keep_size\":\"32MB\",\"max_worker_processes\":\"0x10\",\"port\":1}}}",
           "1", true);
    assert_int_equal(c.ttl_ms, 40000);
    assert_int_equal(c.loop_wait_ms, 5000);
    assert_true(c.paused);
    assert_int_equal(c.maximum_lag_on_failover, 5);
    assert_int_equal(c.primary_start_timeout_ms, 7000);
    effective_is("unknown", "nothing");
    effective_is("standby_cluster.other", "nothing");
    effective_is("postgresql.data_dir", "\"/d\"");
    effective_is("postgresql.listen", "\"127.0.0.1:5432\"");
    effective_is("postgresql.pg_ctl_timeout", "7"); /* local wins */
    effective_is("postgresql.bin_dir", "\"/b\"");
    effective_is("postgresql.use_slots", "false");
    effective_is("postgresql.parameters",
                 "{\"hot_standby\":\"on\",\"max_wal_senders\":10,\"max_prepared_transactions\":0,"
                 "\"max_locks_per_transaction\":64,\"track_commit_timestamp\":\"off\","
                 "\"max_replication_slots\":10,\"wal_log_hints\":\"on\",\"max_connections\":200,"
                 "\"wal_level\":\"Logical\",\"wal_keep_size\":\"32MB\",\"max_worker_processes\":16,"
                 "\"a\":\"local\"}");
    assert_true(c.dynamic_dirty);
    agent_config_done(&c);
}

static void test_agent_config_adopt__versions_and_content(void **state)
{
    struct pgv_error err = { 0 };
    bool changed;

    (void)state;
    open_config(HEAD PG);
    adopts("{\"ttl\":40,\"pause\":true}", "1", true);
    adopts("{\"ttl\":50}", "1", false); /* a version is looked at once */
    assert_int_equal(c.ttl_ms, 40000);
    adopts("{\"ttl\":\"40\",\"pause\":\"True\"}", "2", false); /* the same by text */
    assert_true(c.paused);
    adopts(NULL, "", false); /* vanished: the last one stays */
    adopts("[]", "3", false);
    assert_true(c.paused);
    adopts("{}", "4", false); /* the modes go, the merged values stay */
    assert_false(c.paused);
    assert_int_equal(c.ttl_ms, 40000);
    /* a refused one changes the modes only, and is refused once */
    assert_false(adopt("{\"ttl\":\"x\",\"pause\":true}", "5", &changed, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_non_null(strstr(err.msg, "ttl: is not a whole number of seconds"));
    assert_true(c.paused);
    assert_int_equal(c.ttl_ms, 40000);
    adopts("{\"ttl\":\"x\"}", "5", false);
    assert_false(adopt("{\"postgresql\":{\"parameters\":[1]}}", "6", &changed, &err));
    assert_false(adopt("{\"postgresql\":5}", "7", &changed, &err));
    adopts("{\"postgresql\":null}", "8", true); /* falsy says nothing */
    agent_config_done(&c);
}

static void test_agent_config_policy__clusters_that_must_not_be_led(void **state)
{
    struct ha_policy p;
    struct pgv_error err = { 0 };
    bool changed;

    (void)state;
    open_config(HEAD PG "  authentication: {}\n"
                        "tags: {nofailover: true, noloadbalance: false}\nbootstrap: {dcs: {}}\n");
    agent_config_policy(&c, &p);
    assert_false(p.sync_requested);
    assert_true(p.can_bootstrap);
    assert_true(p.use_slots);
    assert_int_equal(p.member_slots_ttl_ms, 1800000);
    assert_int_equal(p.primary_start_timeout_ms, 300000);
    assert_true(p.tags.nofailover);
    assert_string_equal(p.name, "n1");
    adopts(
        "{\"synchronous_mode\":\"Quorum\",\"member_slots_ttl\":\"1h\",\"master_start_timeout\":0,"
        "\"maximum_lag_on_failover\":-1,\"check_timeline\":\"yes\",\"primary_race_backoff\":3,"
        "\"postgresql\":{\"use_slots\":\"off\",\"use_pg_rewind\":true,"
        "\"remove_data_directory_on_rewind_failure\":1,"
        "\"create_replica_methods\":[\"basebackup\",\"walg\"],\"walg\":{\"no_leader\":1}}}",
        "1", true);
    agent_config_policy(&c, &p);
    assert_true(p.sync_requested);
    assert_int_equal(p.member_slots_ttl_ms, 3600000);
    assert_int_equal(p.primary_start_timeout_ms, 0);
    assert_int_equal(p.maximum_lag_bytes, 0);
    assert_true(p.check_timeline);
    assert_int_equal(p.primary_race_backoff_ms, 3000);
    assert_false(p.use_slots);
    assert_true(p.rewind);
    assert_true(p.remove_on_rewind_failure);
    assert_false(p.remove_on_diverged);
    assert_true(p.clone_without_leader);
    /* a standby cluster: refused, and not led either */
    assert_false(adopt("{\"standby_cluster\":{\"host\":\"h\"}}", "2", &changed, &err));
    assert_non_null(strstr(err.msg, "standby_cluster is not supported"));
    agent_config_policy(&c, &p);
    assert_true(p.sync_requested);
    agent_config_done(&c);
}

static void test_agent_config_set_role__overrides(void **state)
{
    (void)state;
    open_config(HEAD PG "  parameters: {work_mem: 1MB, x: 1}\n  pg_hba: [a]\n"
                        "  parameters_replica: {Work_mem: 9MB, max_connections: 7}\n"
                        "  pg_hba_primary: []\n  parameters_primary: 5\n");
    assert_false(agent_config_set_role(&c, PGV_ROLE_UNINITIALIZED));
    assert_true(agent_config_set_role(&c, PGV_ROLE_REPLICA));
    value_is(pgv_path(c.postgresql, "parameters.Work_mem"), "\"9MB\"");
    value_is(pgv_path(c.postgresql, "parameters.max_connections"), "100");
    value_is(pgv_path(c.postgresql, "pg_hba"), "[\"a\"]");
    assert_false(agent_config_set_role(&c, PGV_ROLE_DEMOTED)); /* the same class of role */
    assert_true(agent_config_set_role(&c, PGV_ROLE_PRIMARY));
    value_is(pgv_path(c.postgresql, "parameters.work_mem"), "\"1MB\"");
    value_is(pgv_path(c.postgresql, "pg_hba"), "[]"); /* replaces, even by nothing */
    assert_false(agent_config_set_role(&c, PGV_ROLE_PROMOTED));
    adopts("{\"postgresql\":{\"parameters\":{\"y\":2}}}", "1", true);
    value_is(pgv_path(c.postgresql, "pg_hba"), "[]"); /* still in the primary's clothes */
    value_is(pgv_path(c.postgresql, "parameters.y"), "2");
    assert_true(agent_config_set_role(&c, PGV_ROLE_STANDBY_LEADER));
    value_is(pgv_path(c.postgresql, "pg_hba"), "[\"a\"]");
    agent_config_done(&c);
}

static void clamp(const char *in, const char *out)
{
    struct pgv_value *v = NULL;
    struct pgv_arena arena;
    struct pgv_error err = { 0 };

    pgv_arena_init(&arena, 65536);
    assert_true(pgv_json_parse(&arena, pgv_str(in), &v, &err));
    if (agent_config_clamp(&arena, v, &err))
        value_is(v, out);
    else
        assert_string_equal(out, "refused");
    pgv_arena_done(&arena);
}

static void test_agent_config_clamp__vectors(void **state)
{
    (void)state;
    clamp("{}", "{}");
    clamp("{\"ttl\":30,\"loop_wait\":10,\"retry_timeout\":10}",
          "{\"ttl\":30,\"loop_wait\":10,\"retry_timeout\":10}");
    clamp("{\"ttl\":\"30\"}", "{\"ttl\":\"30\"}"); /* what fits stays as it is written */
    clamp("{\"ttl\":20}", "{\"ttl\":20,\"loop_wait\":1,\"retry_timeout\":9}");
    clamp("{\"ttl\":25}", "{\"ttl\":25,\"loop_wait\":5}");
    clamp("{\"ttl\":5}", "{\"ttl\":20,\"loop_wait\":1,\"retry_timeout\":9}");
    clamp("{\"loop_wait\":0}", "{\"loop_wait\":1}");
    clamp("{\"retry_timeout\":2}", "{\"retry_timeout\":3}");
    clamp("{\"retry_timeout\":-7,\"loop_wait\":-7}", "{\"retry_timeout\":3,\"loop_wait\":1}");
    clamp("{\"ttl\":30,\"retry_timeout\":15}", "{\"ttl\":30,\"retry_timeout\":14,\"loop_wait\":1}");
    clamp("{\"ttl\":31,\"retry_timeout\":15}", "{\"ttl\":31,\"retry_timeout\":15,\"loop_wait\":1}");
    clamp("{\"ttl\":100,\"loop_wait\":90}", "{\"ttl\":100,\"loop_wait\":80}");
    clamp("{\"retry_timeout\":9223372036854775807}", "{\"retry_timeout\":14,\"loop_wait\":1}");
    clamp("{\"loop_wait\":9223372036854775807}", "{\"loop_wait\":10}");
    clamp("{\"ttl\":true}", "{\"ttl\":20,\"loop_wait\":1,\"retry_timeout\":9}");
    clamp("{\"ttl\":30.9}", "{\"ttl\":30.9}");
    clamp("{\"ttl\":null}", "refused");
    clamp("{\"ttl\":\"30s\"}", "refused");
    clamp("{\"loop_wait\":[]}", "refused");
    clamp("{\"ttl\":1e300}", "refused");
}

static void test_agent_config_cache__saved_and_loaded(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_buf b;
    char cache[96];

    (void)state;
    snprintf(cache, sizeof(cache), "%s/patroni.dynamic.json", dir);
    open_config(HEAD PG);
    agent_config_load_cache(&c, dir); /* absent is fine */
    assert_false(c.dynamic_loaded);
    adopts("{\"ttl\":40,\"pause\":true}", "1", true);
    assert_true(agent_config_save_cache(&c, dir, 0640, &err));
    assert_false(c.dynamic_dirty);
    pgv_buf_init(&b, 65536);
    assert_true(pgv_file_read(cache, &b, &err));
    assert_string_equal(pgv_buf_cstr(&b), "{\"ttl\": 40, \"pause\": true}");
    agent_config_done(&c);

    open_config(HEAD PG "bootstrap: {dcs: {ttl: 77}}\n");
    agent_config_load_cache(&c, dir);
    assert_true(c.dynamic_loaded);
    assert_int_equal(c.ttl_ms, 40000);
    assert_true(c.paused);
    assert_true(agent_config_use_bootstrap(&c, &err)); /* the cache is there: not used */
    assert_int_equal(c.ttl_ms, 40000);
    pgv_buf_reset(&b);
    assert_true(agent_config_dynamic_json(&c, &b));
    assert_string_equal(pgv_buf_cstr(&b), "{\"ttl\":40,\"pause\":true}");
    agent_config_done(&c);

    assert_true(pgv_file_replace(cache, PGV_STR("{\"ttl\": 4"), 0600, &err));
    open_config(HEAD PG "bootstrap: {dcs: {ttl: 77, synchronous_mode: true}}\n");
    agent_config_load_cache(&c, dir); /* broken: said in the log, and as if absent */
    assert_false(c.dynamic_loaded);
    assert_true(agent_config_use_bootstrap(&c, &err));
    assert_int_equal(c.ttl_ms, 77000);
    assert_true(agent_config_is_synchronous(c.global));
    assert_true(c.dynamic_dirty);
    agent_config_done(&c);
    pgv_buf_done(&b);
}

static void test_agent_config_reload__old_stays_when_the_new_is_bad(void **state)
{
    struct pgv_error err = { 0 };
    const char *name;
    bool changed;

    (void)state;
    open_config(HEAD PG "tags: {x: 1}\n");
    adopts("{\"ttl\":40}", "1", true);
    name = c.name;
    assert_true(agent_config_reload(&c, &changed, &err));
    assert_false(changed);
    write_file(HEAD PG "tags: {x: 2\n");
    assert_false(agent_config_reload(&c, &changed, &err));
    write_file(HEAD PG "citus: {group: 1, database: d}\n");
    assert_false(agent_config_reload(&c, &changed, &err));
    value_is(c.tags, "{\"x\":1}");
    write_file("scope: demo\nname: other\nrestapi: {listen: '127.0.0.1:8008'}\n"
               "etcd3: {hosts: 'h:1'}\n" PG "tags: {x: 3}\n");
    assert_true(agent_config_reload(&c, &changed, &err));
    assert_true(changed);
    value_is(c.tags, "{\"x\":3}");
    assert_int_equal(c.ttl_ms, 40000); /* the dynamic layer is still there */
    assert_ptr_equal(c.name, name);    /* who we are takes a restart */
    value_is(c.dcs_section, "{\"hosts\":\"h:1\"}");
    agent_config_done(&c);
}

/* Put in force, taken back, put in force again: as those who live by it say. */
static void test_agent_config_exchange__there_and_back(void **state)
{
    struct agent_config_next next;
    struct pgv_error err = { 0 };
    bool changed;

    (void)state;
    open_config(HEAD PG "tags: {x: 1}\n");
    adopts("{\"postgresql\":{\"pg_ctl_timeout\":9}}", "1", true);
    for (int round = 0; round < 3; round++) {
        const char *now = round % 2 ? "{\"x\":1}" : "{\"x\":2}";

        write_file(round % 2 ? HEAD PG "tags: {x: 1}\n"
                             : "scope: demo\nname: n1\nrestapi: {listen: 'h:1'}\n"
                               "etcd3: {hosts: 'h:1'}\n" PG "tags: {x: 2}\n");
        assert_true(agent_config_read_again(&c, &next, &changed, &err));
        assert_true(changed && next.new_store);
        value_is(c.tags, round % 2 ? "{\"x\":2}" : "{\"x\":1}"); /* not yet */
        agent_config_exchange(&c, &next);
        value_is(c.tags, now);
        agent_config_exchange(&c, &next);
        value_is(c.tags, round % 2 ? "{\"x\":2}" : "{\"x\":1}");
        value_is(c.dcs_section,
                 round % 2 ? "{\"hosts\":\"h:1\"}" : "{\"hosts\":\"127.0.0.1:2379\"}");
        agent_config_exchange(&c, &next);
        agent_config_settle(&c, &next);
        value_is(c.tags, now);
        effective_is("postgresql.pg_ctl_timeout", "9");
    }
    assert_true(agent_config_read_again(&c, &next, &changed, &err));
    assert_false(changed);
    agent_config_done(&c);
}

/* What comes from variables alone is fixed, but the files they name are read again. */
static void test_agent_config_reload__secrets_of_the_environment(void **state)
{
    char secret[96];
    struct pgv_error err = { 0 };
    bool changed;

    (void)state;
    snprintf(secret, sizeof(secret), "%s/secret", dir);
    assert_true(pgv_file_replace(secret, PGV_STR("one\n"), 0600, &err));
    setenv("PATRONI_SCOPE", "demo", 1);
    setenv("PATRONI_NAME", "n1", 1);
    setenv("PATRONI_RESTAPI_LISTEN", "127.0.0.1:8008", 1);
    setenv("PATRONI_ETCD3_HOST", "127.0.0.1:2379", 1);
    setenv("PATRONI_POSTGRESQL_DATA_DIR", "/d", 1);
    setenv("PATRONI_POSTGRESQL_LISTEN", "127.0.0.1:5432", 1);
    setenv("PATRONI_SUPERUSER_PASSWORD_FILE", secret, 1);
    assert_true(agent_config_open(&c, "", &err));
    effective_is("postgresql.authentication.superuser.password", "\"one\"");
    assert_true(agent_config_reload(&c, &changed, &err));
    assert_false(changed);
    assert_true(pgv_file_replace(secret, PGV_STR("two\n"), 0600, &err));
    assert_true(agent_config_reload(&c, &changed, &err));
    assert_true(changed);
    effective_is("postgresql.authentication.superuser.password", "\"two\"");
    assert_true(pgv_tree_remove(secret, &err));
    assert_false(agent_config_reload(&c, &changed, &err));
    assert_non_null(strstr(err.msg, "PATRONI_SUPERUSER_PASSWORD_FILE: cannot open"));
    effective_is("postgresql.authentication.superuser.password", "\"two\"");
    agent_config_done(&c);
}

static bool everything(struct pgv_error *err)
{
    bool changed, ok = false;
    struct ha_policy p;

    if (!agent_config_open(&c, path, err))
        return false;
    if (!adopt("{\"ttl\":40,\"postgresql\":{\"parameters\":{\"a\":1}}}", "1", &changed, err))
        goto out;
    agent_config_set_role(&c, PGV_ROLE_REPLICA);
    agent_config_policy(&c, &p);
    if (!agent_config_save_cache(&c, dir, 0600, err) || !agent_config_reload(&c, &changed, err))
        goto out;
    ok = true;
out:
    agent_config_done(&c);
    return ok;
}

static void test_agent_config__every_allocation_may_fail(void **state)
{
    struct pgv_error err = { 0 };
    unsigned fine = 0;

    (void)state;
    write_file(HEAD PG
               "  parameters_replica: {w: 1}\ntags: {x: 1}\nctl: {authentication: {username: "
               "u, password: p}}\n");
    assert_true(everything(&err));
    /* Some failures are survived, those of texts for the log; a long row of them is the end. */
    for (unsigned long n = 1; fine < 100 && n < 20000; n++) {
        size_t blocks = pgv_alloc_blocks_in_use();
        bool ok;

        err = (struct pgv_error){ 0 };
        pgv_alloc_fail_at(n, false);
        ok = everything(&err);
        pgv_alloc_fail_at(0, false);
        assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
        assert_true(ok || err.code != PGV_OK);
        fine = ok ? fine + 1 : 0;
    }
    assert_int_equal(fine, 100);
}

static int dir_up(void **state)
{
    (void)state;
    unsetenv("PATRONI_CONFIGURATION");
    pgv_log_configure_ctl(PGV_CRITICAL);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/c.yml", dir);
    return 0;
}

static int dir_down(void **state)
{
    struct pgv_error err;

    (void)state;
    return pgv_tree_remove(dir, &err) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agent_config_open__defaults),
        cmocka_unit_test(test_agent_config_open__local_layer),
        cmocka_unit_test(test_agent_config_open__refusals_name_file_line_and_key),
        cmocka_unit_test(test_agent_config_open__what_this_version_cannot_serve_is_refused),
        cmocka_unit_test(test_agent_config_watchdog__modes),
        cmocka_unit_test(test_agent_config_watchdog__device_and_times),
        cmocka_unit_test(test_agent_config_open__refuses_a_watchdog_that_cannot_be),
        cmocka_unit_test(test_agent_config_adopt__dynamic_layer),
        cmocka_unit_test(test_agent_config_adopt__versions_and_content),
        cmocka_unit_test(test_agent_config_policy__clusters_that_must_not_be_led),
        cmocka_unit_test(test_agent_config_set_role__overrides),
        cmocka_unit_test(test_agent_config_clamp__vectors),
        cmocka_unit_test(test_agent_config_cache__saved_and_loaded),
        cmocka_unit_test(test_agent_config_reload__old_stays_when_the_new_is_bad),
        cmocka_unit_test(test_agent_config_exchange__there_and_back),
        cmocka_unit_test(test_agent_config_reload__secrets_of_the_environment),
        cmocka_unit_test(test_agent_config__every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, dir_up, dir_down);
}
