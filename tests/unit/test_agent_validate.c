/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_agent_validate.c - what --validate-config says of good and bad configurations.
 */
#include "agent/validate.h"

#include "base/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* @rest and @pg: further keys of restapi and of postgresql. */
#define BARE_WITH(rest, pg)                                                                        \
    "name: a\nscope: s\n"                                                                          \
    "restapi: {listen: '127.0.0.1:1', connect_address: '10.0.0.1:8008', " rest "}\n"               \
    "postgresql:\n"                                                                                \
    "  listen: '127.0.0.1,10.0.0.1:5432'\n"                                                        \
    "  connect_address: '10.0.0.1:5432'\n"                                                         \
    "  data_dir: /nowhere\n"                                                                       \
    "  authentication: {superuser: {username: p}, replication: {username: r}}\n"                   \
    "  " pg "\n"
#define ETCD3 "etcd3: {hosts: '10.0.0.1:2379,10.0.0.2:2379'}\n"
#define BARE BARE_WITH("", "")
#define GOOD BARE ETCD3
#define GOOD_WITH(rest, pg) BARE_WITH(rest, pg) ETCD3

static void look(const char *yaml, struct agent_findings *f)
{
    struct pgv_arena a;
    struct pgv_value *v = NULL;
    struct pgv_error err;

    pgv_arena_init(&a, 1 << 20);
    agent_findings_init(f);
    assert_true(pgv_yaml_parse(&a, "x.yml", pgv_str(yaml), &v, &err));
    assert_true(agent_validate(v, 0, f, &err));
    pgv_arena_done(&a);
}

static void test_agent_validate__good_says_nothing(void **state)
{
    struct agent_findings f;

    (void)state;
    /* what has no effect is no news as long as it is the default */
    look(GOOD "tags: {nofailover: true, rack: r1}\nthread_pool_size: 5\n", &f);
    assert_string_equal(pgv_buf_cstr(&f.errors), "");
    assert_string_equal(pgv_buf_cstr(&f.warnings), "");
    agent_findings_done(&f);
}

static void test_agent_validate__each_problem_in_its_words(void **state)
{
    static const struct {
        const char *yaml, *error;
    } cases[] = {
        { GOOD "bootstrap: {dcs: {ttl: 5}}\n",
          "bootstrap.dcs.ttl 5 didn't pass validation: Wrong value [x.yml line 11" },
        { GOOD "bootstrap: {dcs: {ttl: '30'}, initdb: x}\n", "bootstrap.initdb x is not a list" },
        { GOOD "bootstrap: {method: x}\n", "bootstrap.dcs  is not defined." },
        { GOOD "bootstrap: {dcs: {synchronous_mode: maybe}}\n",
          "invalid value for synchronous_mode" },
        { GOOD "bootstrap: {dcs: {standby_cluster: {primary_slot_name: x}}}\n",
          "bootstrap.dcs.standby_cluster.port  is not defined." },
        { GOOD "bootstrap: {dcs: {postgresql: {use_pg_rewind: 1}}}\n",
          "bootstrap.dcs.postgresql.use_pg_rewind 1 is not a boolean" },
        { GOOD "log: {level: info}\n", "log.level info didn't pass validation: Wrong value" },
        { GOOD "log: {mode: 512}\n", "log.mode 512 didn't pass validation: Wrong value" },
        { GOOD "log: {format: []}\n", "should contain at least one item" },
        { GOOD "tags: {nosync: true, sync_priority: 1}\n",
          "tags  Multiple of ('nosync', 'sync_priority') provided" },
        { GOOD "watchdog: {mode: 3}\n", "watchdog.mode 3 didn't pass validation" },
        { GOOD "citus: {group: 0}\n", "citus.database  is not defined." },
        { GOOD "raft: {self_addr: 'localhost:1', partner_addrs: []}\n",
          "must not contain \"127.0.0.1\"" },
        { GOOD "zookeeper: {hosts: []}\n", "zookeeper.hosts [] is an empty list" },
        { GOOD "exhibitor: {hosts: [a], port: 65536}\n", "exhibitor.port 65536 didn't pass" },
        { GOOD "thread_pool_size: 4\n", "thread_pool_size 4 didn't pass validation: Wrong value" },
        { GOOD "raft: {self_addr: 'h:1', partner_addrs: [], min_timeout: 0}\n",
          "raft.min_timeout 0 didn't pass validation: Wrong value" },
        { GOOD "raft: {self_addr: 'h:1', partner_addrs: [], connection_retry_time: -0.5}\n",
          "raft.connection_retry_time -0.5 didn't pass validation: Wrong value" },
        { GOOD "raft: {self_addr: 'h:1', partner_addrs: 'h:2'}\n",
          "raft.partner_addrs h:2 is not an array" },
        { GOOD "thread_stack_size: 65537\n", "thread_stack_size 65537 didn't pass validation" },
        { GOOD "log: {level: 5}\n", "log.level 5 didn't pass validation: Wrong value" },
        { GOOD "log: {format: [{a: b, c: d}]}\n",
          "each item should be a string or a dictionary with string values" },
        { GOOD "bootstrap: {dcs: {postgresql: {parameters: {max_connections: 0}}}}\n",
          "bootstrap.dcs.postgresql.parameters.max_connections 0 didn't pass validation" },
        { GOOD "bootstrap: {dcs: {}, initdb: {encoding: UTF8}}\n", "is not a list" },
        { GOOD "bootstrap: {dcs: {}, initdb: [5]}\n", "bootstrap.initdb.0 5 is not a dictionary" },
        { GOOD "bootstrap: {dcs: {standby_cluster: {port: 65536}}}\n",
          "standby_cluster.port 65536 didn't pass validation: Wrong value" },
        { GOOD "kubernetes: {labels: {}, ports: [{name: 1}]}\n",
          "kubernetes.ports.0.name {'name': 1} is not a string" },
        { GOOD "kubernetes: {labels: {}, ports: [{name: 1}]}\n",
          "kubernetes.ports.0.port {'name': 1} is not defined." },
        { GOOD "kubernetes: {labels: {}, pod_ip: x}\n", "Is not a valid ipv6 address" },
        { GOOD "kubernetes: {labels: {}, retriable_http_codes: x}\n", "is not an integer" },
        { GOOD "ctl: {authentication: {username: u}}\n",
          "ctl.authentication.password  is not defined." },
        { GOOD "consul: {port: 1}\n", "consul.url  is not defined." },
        { GOOD "consul: {url: x, checks: [5]}\n", "consul.checks.0 5 is not a string" },
        { GOOD "citus: {database: c, group: 0}\n", "citus: is not supported by pgvigil" },
        { "name: a\n", "kubernetes  is not defined." },
        { "name: 1\n", "name 1 is not a string [x.yml line 1: put it into quotes]" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct agent_findings f;

        look(cases[i].yaml, &f);
        if (!strstr(pgv_buf_cstr(&f.errors), cases[i].error))
            fail_msg("'%s' is not in '%s'", cases[i].error, pgv_buf_cstr(&f.errors));
        agent_findings_done(&f);
    }
}

/* 0 is a number, wherever Patroni takes it. */
static void test_agent_validate__zero_is_a_number(void **state)
{
    static const char *const cases[] = {
        "bootstrap: {dcs: {maximum_lag_on_failover: 0, maximum_lag_on_syncnode: 0}}\n",
        "bootstrap: {dcs: {primary_start_timeout: 0, primary_stop_timeout: 0}}\n",
        "bootstrap: {dcs: {member_slots_ttl: 0, postgresql: {pg_ctl_timeout: 0}}}\n",
        "bootstrap: {dcs: {member_slots_ttl: '0', max_timelines_history: 0}}\n",
        "bootstrap: {dcs: {postgresql: {parameters: {max_wal_senders: 0}}}}\n",
        "log: {mode: 0, file_num: 0, file_size: 0, max_queue_size: 0}\n",
        "watchdog: {safety_margin: 0}\n",
        "tags: {failover_priority: 0, sync_priority: 0}\n",
    };
    /* A store pgvigil does not have, so only the agent's refusal may be left. */
    static const char *const refused[] = {
        "raft: {self_addr: 'h:1', partner_addrs: [], connection_retry_time: 0}\n",
        "raft: {self_addr: 'h:1', partner_addrs: [], connection_retry_time: 0.0}\n",
    };
    struct agent_findings f;
    char text[2048];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)snprintf(text, sizeof(text), "%s%s", GOOD, cases[i]);
        look(text, &f);
        assert_string_equal(pgv_buf_cstr(&f.errors), "");
        agent_findings_done(&f);
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        (void)snprintf(text, sizeof(text), "%s%s", BARE, refused[i]);
        look(text, &f);
        assert_int_equal(f.errors_n, 1);
        assert_non_null(strstr(pgv_buf_cstr(&f.errors), "this store is not supported"));
        agent_findings_done(&f);
    }
}

/* All of it at once, in the order of the table, each with its line. */
static void test_agent_validate__everything_at_once(void **state)
{
    static const char yaml[] = "name: 5\n"
                               "log: {level: info}\n"
                               "restapi: {listen: 'a:b', conect_address: 'h:1'}\n"
                               "etcd3: {}\n"
                               "tags: {nosync: 'yes'}\n";
    static const char *const said[] = {
        "name 5 is not a string [x.yml line 1",
        "\nscope  is not defined.",
        "\nlog.level info didn't pass validation: Wrong value [x.yml line 2: one of: DEBUG",
        "\nrestapi.listen a:b didn't pass validation: contains a wrong value [x.yml line 3",
        "\nrestapi.connect_address  is not defined. [x.yml line 3",
        "\netcd3.host  is not defined. [x.yml line 4",
        "\npostgresql  is not defined.",
        "\ntags.nosync yes is not a boolean [x.yml line 5: true or false, without quotes]",
    };
    struct agent_findings f;
    const char *at;

    (void)state;
    look(yaml, &f);
    at = pgv_buf_cstr(&f.errors);
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
        at = strstr(at, said[i]);
        if (!at)
            fail_msg("'%s' is not, or not here, in '%s'", said[i], pgv_buf_cstr(&f.errors));
    }
    assert_non_null(strstr(pgv_buf_cstr(&f.warnings),
                           "restapi.conect_address  is not known and has no effect "
                           "[x.yml line 3: did you mean 'connect_address'?]"));
    agent_findings_done(&f);
}

static void test_agent_validate__warnings_are_no_errors(void **state)
{
    static const struct {
        const char *yaml, *warning;
    } cases[] = {
        { GOOD "bootstrap: {dcs: {loop_wiat: 5}}\n", "did you mean 'loop_wait'?" },
        { GOOD "postgre: x\n", "postgre  is not known and has no effect" },
        { GOOD "bootstrap: {dcs: {postgresql: {paramters: x}}}\n", "did you mean 'parameters'?" },
        { GOOD "recorder: {size: 1kB}\n", "recorder.size 1kB didn't pass validation: Wrong value" },
        { GOOD "recorder: {enabeld: false}\n", "did you mean 'enabled'?" },
        { GOOD_WITH("agent_check: 5", ""), "restapi.agent_check 5 is not a string" },
        { GOOD_WITH("", "bin_dir: 5"), "postgresql.bin_dir 5 is not a string" },
        { GOOD_WITH("", "proxy_address: 'h:70000'"), "the port is from 1 to 65535" },
        { GOOD "thread_pool_size: 6\n", "has no effect" },
        { GOOD "ttl: 40\n", "it belongs to bootstrap.dcs" },
        { GOOD "bootstrap: {dcs: {ttl: 20, retry_timeout: 10}}\n", "are impossible together" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct agent_findings f;

        look(cases[i].yaml, &f);
        assert_string_equal(pgv_buf_cstr(&f.errors), "");
        if (!strstr(pgv_buf_cstr(&f.warnings), cases[i].warning))
            fail_msg("'%s' is not in '%s'", cases[i].warning, pgv_buf_cstr(&f.warnings));
        agent_findings_done(&f);
    }
}

static void test_agent_validate__secrets_are_not_printed(void **state)
{
    struct agent_findings f;

    (void)state;
    look("restapi: {authentication: {username: u, password: 424242}}\n", &f);
    assert_non_null(strstr(pgv_buf_cstr(&f.errors), "password (hidden) is not a string"));
    assert_null(strstr(pgv_buf_cstr(&f.errors), "424242"));
    agent_findings_done(&f);
}

static void test_agent_validate__secrets_in_the_wrong_place(void **state)
{
    static const char *const cases[] = {
        GOOD "etcd: [{password: s3cret}]\n",
        GOOD "etcd: 'http://u:s3cret@h:1'\n",
        GOOD "bootstrap: {dcs: {postgresql: {pg_hba: 'x password=s3cret'}}}\n",
        GOOD "postgresql: {authentication: {superuser: s3cret}}\n",
        GOOD "restapi: {authentication: s3cret}\n",
        GOOD "etcd3: {url: [s3cret]}\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct agent_findings f;

        look(cases[i], &f);
        assert_true(f.errors_n > 0);
        assert_non_null(strstr(pgv_buf_cstr(&f.errors), "(hidden)"));
        assert_null(strstr(pgv_buf_cstr(&f.errors), "s3cret"));
        agent_findings_done(&f);
    }
}

static void test_agent_validate_times__in_words(void **state)
{
    static const struct {
        const char *yaml, *said;
    } cases[] = {
        { "x: 1\n", "another takes over after ttl + loop_wait + retry_timeout + "
                    "primary_race_backoff = 50 s" },
        { "x: 1\n", "that is 17 to 27 s after the silence began" },
        { "x: 1\n", "it may recover for 300 s" },
        { "bootstrap: {dcs: {primary_start_timeout: 0}}\n", "at once if one can" },
        { "bootstrap: {dcs: {primary_race_backoff: 5}}\n", "= 55 s" },
        { "bootstrap: {dcs: {ttl: 20}}\n", "With ttl 20 s, loop_wait 1 s, retry_timeout 9 s" },
        { "bootstrap: {dcs: {ttl: 25}}\n", "With ttl 25 s, loop_wait 5 s, retry_timeout 10 s" },
        { "bootstrap: {dcs: {ttl: 99999999999}}\n", "With ttl 2147483647 s" },
        { "x: 1\n", "resets the machine 25 s after the last renewal of the lease, that is 5 s" },
        { "watchdog: {safety_margin: -1}\n",
          "15 s after the last renewal of the lease, that is 15 s" },
        { "watchdog: {mode: required, safety_margin: 25}\n",
          "its time-out of 5 s is less than loop_wait or than 6 s; as it is required, nobody can "
          "lead" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgv_value *v = NULL;
        struct pgv_error err;
        struct pgv_arena a;
        struct pgv_buf b;

        pgv_arena_init(&a, 1 << 20);
        pgv_buf_init(&b, AGENT_FINDINGS_BYTES_MAX);
        assert_true(pgv_yaml_parse(&a, "x.yml", pgv_str(cases[i].yaml), &v, &err));
        agent_validate_times(v, &b);
        if (!strstr(pgv_buf_cstr(&b), cases[i].said))
            fail_msg("'%s' is not in '%s'", cases[i].said, pgv_buf_cstr(&b));
        pgv_buf_done(&b);
        pgv_arena_done(&a);
    }
}

static char *source_text(const char *file)
{
    const char *source = getenv("PGVIGIL_SOURCE_DIR");
    static char text[1 << 19];
    char path[1024];
    size_t n;
    FILE *f;

    assert_non_null(source);
    (void)snprintf(path, sizeof(path), "%s/%s", source, file);
    f = fopen(path, "r");
    assert_non_null(f);
    n = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    return text;
}

/* What the sources look up in a section of the configuration is in the table. */
static void test_agent_option_known__all_that_is_read(void **state)
{
    static const struct {
        const char *file, *call, *section;
        unsigned least; /* look-ups that are there: the search must not find nothing */
    } reads[] = {
        { "agent/rest_listen.c", "(restapi, \"", "restapi.", 10 },
        { "agent/rest_access.c", "(restapi, \"", "restapi.", 3 },
        { "agent/rest_agent_check.c", "(restapi, \"", "restapi.", 1 },
        { "agent/recorder.c", "(section, \"", "recorder.", 3 },
        { "agent/config.c", "(local, \"", "", 5 },
        { "agent/config_policy.c", "(global, \"", "bootstrap.dcs.", 4 },
        { "agent/config_policy.c", "(g, \"", "bootstrap.dcs.", 5 },
        { "agent/config_policy.c", "(pg, \"", "postgresql.", 5 },
        { "agent/config_dynamic.c", "(tags, \"", "tags.", 2 },
        { "base/log.c", "(section, \"", "log.", 6 },
        { "base/log_format.c", "(section, \"", "log.", 4 },
        { "dcs/etcd3_config.c", "(section, \"", "etcd3.", 10 },
        { "pg/pgconf.c", "(c->section, \"", "postgresql.", 12 },
        { "pg/pgboot.c", "(bootstrap, \"", "bootstrap.", 2 },
        { "pg/pgboot_post.c", "(bootstrap, \"", "bootstrap.", 3 },
    };
    /* Made by the agent itself out of other options. */
    static const char *const derived[] = { "restapi.auth", "postgresql.citus" };

    (void)state;
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        const char *at = source_text(reads[i].file);
        unsigned found = 0;

        while ((at = strstr(at, reads[i].call)) != NULL) {
            char path[256];
            bool known = false;

            at += strlen(reads[i].call);
            (void)snprintf(path, sizeof(path), "%s%.*s", reads[i].section, (int)strcspn(at, "\""),
                           at);
            for (size_t d = 0; d < sizeof(derived) / sizeof(derived[0]); d++)
                known = known || strcmp(path, derived[d]) == 0;
            if (!known && !agent_option_known(path))
                fail_msg("%s reads '%s', which is not in agent/options.def", reads[i].file, path);
            found++;
        }
        assert_true(found >= reads[i].least);
    }
}

/* Each variable of the table is one that is read (and thereby removed). */
static void test_agent_options_markdown__variables_are_read(void **state)
{
    struct pgv_config_env env;
    struct pgv_error err;
    struct pgv_buf b;
    const char *at;
    unsigned n = 0;

    (void)state;
    pgv_buf_init(&b, AGENT_FINDINGS_BYTES_MAX);
    assert_true(agent_options_markdown(&b));
    for (at = pgv_buf_cstr(&b); (at = strstr(at, "| PATRONI_")) != NULL; n++) {
        char name[128];

        at += 2;
        (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(at, " "), at);
        /* A user of etcd counts beside an address only, but is taken in any case. */
        assert_int_equal(setenv(name, "1", 1), 0);
        assert_true(pgv_config_env_take(&env, &err));
        if (getenv(name))
            fail_msg("%s is not read", name);
        pgv_config_env_done(&env);
    }
    assert_true(n > 100);
    pgv_buf_done(&b);
}

/* docs/configuration.md is what the table says today. */
static void test_agent_options_markdown__is_the_manual(void **state)
{
    struct pgv_buf b;
    const char *text;

    (void)state;
    text = source_text("docs/configuration.md");
    pgv_buf_init(&b, AGENT_FINDINGS_BYTES_MAX);
    assert_true(agent_options_markdown(&b));
    assert_string_equal(text, pgv_buf_cstr(&b));
    pgv_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agent_validate__good_says_nothing),
        cmocka_unit_test(test_agent_validate__each_problem_in_its_words),
        cmocka_unit_test(test_agent_validate__zero_is_a_number),
        cmocka_unit_test(test_agent_validate__everything_at_once),
        cmocka_unit_test(test_agent_validate__warnings_are_no_errors),
        cmocka_unit_test(test_agent_validate__secrets_are_not_printed),
        cmocka_unit_test(test_agent_validate__secrets_in_the_wrong_place),
        cmocka_unit_test(test_agent_validate_times__in_words),
        cmocka_unit_test(test_agent_option_known__all_that_is_read),
        cmocka_unit_test(test_agent_options_markdown__variables_are_read),
        cmocka_unit_test(test_agent_options_markdown__is_the_manual),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
