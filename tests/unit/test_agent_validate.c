/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_agent_validate.c - what --validate-config says of good and bad configurations.
 */
#include "agent/validate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOOD                                                                                       \
    "name: a\nscope: s\n"                                                                          \
    "restapi: {listen: '127.0.0.1:1', connect_address: '10.0.0.1:8008'}\n"                         \
    "etcd3: {hosts: '10.0.0.1:2379,10.0.0.2:2379'}\n"                                              \
    "postgresql:\n"                                                                                \
    "  listen: '127.0.0.1,10.0.0.1:5432'\n"                                                        \
    "  connect_address: '10.0.0.1:5432'\n"                                                         \
    "  data_dir: /nowhere\n"                                                                       \
    "  authentication: {superuser: {username: p}, replication: {username: r}}\n"

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
    look(GOOD "tags: {nofailover: true, rack: r1}\n", &f);
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
          "bootstrap.dcs.ttl 5 didn't pass validation: Wrong value [x.yml line 10" },
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
        { GOOD "raft: {self_addr: 'localhost:1'}\n", "must not contain \"127.0.0.1\"" },
        { GOOD "zookeeper: {hosts: []}\n", "zookeeper.hosts [] is an empty list" },
        { GOOD "exhibitor: {hosts: [a], port: 65536}\n", "exhibitor.port 65536 didn't pass" },
        { GOOD "thread_pool_size: 4\n", "thread_pool_size 4 didn't pass validation: Wrong value" },
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

static void test_agent_validate__warnings_are_no_errors(void **state)
{
    static const struct {
        const char *yaml, *warning;
    } cases[] = {
        { GOOD "bootstrap: {dcs: {loop_wiat: 5}}\n", "did you mean 'loop_wait'?" },
        { GOOD "postgre: x\n", "postgre  is not known and has no effect" },
        { GOOD "bootstrap: {dcs: {postgresql: {paramters: x}}}\n", "did you mean 'parameters'?" },
        { GOOD "thread_pool_size: 5\n", "has no effect" },
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

/* docs/configuration.md is what the table says today. */
static void test_agent_options_markdown__is_the_manual(void **state)
{
    const char *source = getenv("PGVIGIL_SOURCE_DIR");
    char path[1024];
    struct pgv_buf b;
    static char text[1 << 18];
    FILE *f;
    size_t n;

    (void)state;
    assert_non_null(source);
    (void)snprintf(path, sizeof(path), "%s/docs/configuration.md", source);
    f = fopen(path, "r");
    assert_non_null(f);
    n = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    pgv_buf_init(&b, sizeof(text));
    assert_true(agent_options_markdown(&b));
    assert_string_equal(text, pgv_buf_cstr(&b));
    pgv_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agent_validate__good_says_nothing),
        cmocka_unit_test(test_agent_validate__each_problem_in_its_words),
        cmocka_unit_test(test_agent_validate__warnings_are_no_errors),
        cmocka_unit_test(test_agent_validate__secrets_are_not_printed),
        cmocka_unit_test(test_agent_options_markdown__is_the_manual),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
