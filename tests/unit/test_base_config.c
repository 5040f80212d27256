/* SPDX-License-Identifier: PostgreSQL */
/* test_base_config.c - which source of the local configuration counts, and how variables convert.
 */
#include "base/config.h"

#include "base/file.h"
#include "base/log.h"
#include "base/vocabulary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char dir[64];
    struct pgv_config_env env;
    struct pgv_config config;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    if (!pgv_copyz(f->dir, sizeof(f->dir), "/tmp/pgvigil-config-XXXXXX") || !mkdtemp(f->dir))
        return -1;
    clearenv();
    pgv_log_configure_ctl(PGV_CRITICAL); /* what is refused is logged, and not of interest here */
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct pgv_error err;

    pgv_config_done(&f->config);
    pgv_config_env_done(&f->env);
    if (!pgv_tree_remove(f->dir, &err))
        return -1;
    free(f);
    return pgv_alloc_blocks_in_use() == 0 ? 0 : -1;
}

static const char *in_dir(struct fixture *f, const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    return path;
}

static const char *put(struct fixture *f, const char *name, const char *text)
{
    const char *path = in_dir(f, name);
    struct pgv_error err;

    assert_true(pgv_file_replace(path, pgv_str(text), 0600, &err));
    return path;
}

/** Takes the environment and loads @path; the result as one line of flow YAML. */
static const char *loaded(struct fixture *f, const char *path)
{
    static char line[4096];
    struct pgv_error err = { 0 };
    struct pgv_buf b;

    if (!pgv_config_env_take(&f->env, &err))
        fail_msg("take: %s", err.msg);
    if (!pgv_config_load_lenient(path, &f->env, &f->config, &err))
        fail_msg("load: %s", err.msg);
    pgv_buf_init(&b, sizeof(line) - 1);
    assert_true(pgv_json_write(&b, f->config.root, PGV_JSON_SPACED));
    assert_true(pgv_copy(line, sizeof(line), pgv_buf_view(&b)));
    pgv_buf_done(&b);
    return line;
}

static void refused(struct fixture *f, const char *path, const char *why)
{
    struct pgv_error err = { 0 };

    assert_true(pgv_config_env_take(&f->env, &err));
    assert_false(pgv_config_load(path, &f->env, &f->config, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_string_equal(err.msg, why);
    assert_null(f->config.root);
    pgv_config_env_done(&f->env);
}

static void test_load__a_file_comes_first_and_variables_over_it(void **state)
{
    struct fixture *f = *state;

    setenv("PATRONI_SCOPE", "from_env", 1);
    setenv("PATRONI_CONFIGURATION", "{scope: unused}", 1);
    assert_string_equal(
        loaded(f, put(f, "a.yml", "scope: file\nname: n1\nlog:\nrestapi: {listen: 'a:1'}\n")),
        "{\"scope\": \"from_env\", \"name\": \"n1\", \"restapi\": {\"listen\": \"a:1\"}}");
    assert_true(f->config.reloadable);
    assert_null(getenv("PATRONI_SCOPE"));
    assert_null(getenv("PATRONI_CONFIGURATION"));
}

static void test_load__a_reload_applies_the_taken_variables_again(void **state)
{
    struct fixture *f = *state;
    struct pgv_config second;
    struct pgv_error err;

    setenv("PATRONI_NAME", "env", 1);
    loaded(f, put(f, "a.yml", "name: one\n"));
    assert_true(pgv_config_load(put(f, "a.yml", "name: two\nscope: s\n"), &f->env, &second, &err));
    assert_string_equal(pgv_stringz(pgv_get(second.root, "name")), "env");
    assert_string_equal(pgv_stringz(pgv_get(second.root, "scope")), "s");
    pgv_config_done(&second);
}

static void test_load__a_folder_merges_its_files_in_byte_order(void **state)
{
    struct fixture *f = *state;
    char link_path[128];

    put(f, "b.yaml", "log: {level: WARNING, dir: null}\nname: null\n");
    put(f, "a.yml", "name: a\nscope: s\nlog: {level: INFO, dir: /x, mode: 0640}\n");
    put(f, "z.conf", "scope: not_read\n");
    snprintf(link_path, sizeof(link_path), "%s", in_dir(f, "c.yml"));
    put(f, "target", "scope: linked\n");
    assert_int_equal(symlink("target", link_path), 0);
    assert_int_equal(mkdir(in_dir(f, "d.yml"), 0700), 0);
    assert_string_equal(
        loaded(f, f->dir),
        "{\"scope\": \"linked\", \"log\": {\"level\": \"WARNING\", \"mode\": 416}}");
}

static void test_load__an_absent_path_falls_to_the_variables(void **state)
{
    struct fixture *f = *state;

    setenv("PATRONI_CONFIGURATION", "{scope: whole, log: null}", 1);
    setenv("PATRONI_NAME", "ignored", 1);
    assert_string_equal(loaded(f, "/nonexistent/file.yml"),
                        "{\"scope\": \"whole\", \"log\": null}");
    assert_false(f->config.reloadable);
}

static void test_load__an_empty_configuration_variable_is_none(void **state)
{
    struct fixture *f = *state;

    setenv("PATRONI_CONFIGURATION", "{}", 1);
    setenv("PATRONI_NAME", "n1", 1);
    assert_string_equal(loaded(f, ""), "{\"name\": \"n1\"}");
}

static void test_load__refusals_have_the_words_of_the_origin(void **state)
{
    struct fixture *f = *state;
    char why[256];

    refused(f, "", "Config is empty.");
    snprintf(why, sizeof(why),
             "Config is empty: '%s' does not exist or holds nothing, and there are no PATRONI_* "
             "variables",
             f->dir);
    refused(f, f->dir, why);
    refused(f, "/dev/null", "invalid config path");
    snprintf(why, sizeof(why), "invalid config file %s", in_dir(f, "empty.yml"));
    refused(f, put(f, "empty.yml", ""), why);
    snprintf(why, sizeof(why), "invalid config file %s", in_dir(f, "list.yml"));
    refused(f, put(f, "list.yml", "- a\n"), why);
    refused(f, put(f, "p.yml", "postgresql: {parameters: [a]}\n"),
            "postgresql.parameters is not a dictionary");
    refused(f, put(f, "n.yml", "name: " PGV_NAME_PLACEHOLDER "\n"),
            "Node 'name' can't be set to '" PGV_NAME_PLACEHOLDER "'");
    setenv("PATRONI_CONFIGURATION", "[1, 2]", 1);
    refused(f, "", "PATRONI_CONFIGURATION does not contain a dict");
}

static void test_load__bad_yaml_names_the_file_and_the_line(void **state)
{
    struct fixture *f = *state;
    struct pgv_error err = { 0 };
    const char *path = put(f, "bad.yml", "a: 1\nb: [1\nc: 2\n");

    assert_true(pgv_config_env_take(&f->env, &err));
    assert_false(pgv_config_load(path, &f->env, &f->config, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_non_null(strstr(err.msg, "bad.yml"));
    assert_non_null(strstr(err.msg, "3"));
}

static void test_load__a_file_too_large_is_refused(void **state)
{
    struct fixture *f = *state;
    struct pgv_error err = { 0 };
    char *text = malloc(PGV_CONFIG_BYTES_MAX + 2);

    assert_non_null(text);
    memset(text, '#', PGV_CONFIG_BYTES_MAX + 1);
    text[PGV_CONFIG_BYTES_MAX + 1] = '\0';
    assert_true(pgv_config_env_take(&f->env, &err));
    assert_false(pgv_config_load(put(f, "big.yml", text), &f->env, &f->config, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    free(text);
}

static void test_env__each_kind_of_variable_converts(void **state)
{
    static const struct {
        const char *name, *value, *json;
    } cases[] = {
        { "NAME", "n1", "{\"name\": \"n1\"}" },
        { "NAME", "", "{}" },
        { "THREAD_POOL_SIZE", "7", "{\"thread_pool_size\": \"7\"}" },
        { "RESTAPI_LISTEN", "0.0.0.0:8008", "{\"restapi\": {\"listen\": \"0.0.0.0:8008\"}}" },
        { "RESTAPI_HTTP_EXTRA_HEADERS", "'A': 'b', C: d",
          "{\"restapi\": {\"http_extra_headers\": {\"A\": \"b\", \"C\": \"d\"}}}" },
        { "RESTAPI_ALLOWLIST", "10.0.0.0/8,h",
          "{\"restapi\": {\"allowlist\": [\"10.0.0.0/8\", \"h\"]}}" },
        { "RESTAPI_ALLOWLIST_INCLUDE_MEMBERS", "ON",
          "{\"restapi\": {\"allowlist_include_members\": true}}" },
        { "RESTAPI_ALLOWLIST_INCLUDE_MEMBERS", "maybe", "{\"restapi\": {}}" },
        { "RESTAPI_REQUEST_QUEUE_SIZE", "5", "{\"restapi\": {\"request_queue_size\": 5}}" },
        { "RESTAPI_USERNAME", "u", "{\"restapi\": {\"authentication\": {\"username\": \"u\"}}}" },
        { "CTL_INSECURE", "0", "{\"ctl\": {\"insecure\": false}}" },
        { "CTL_PASSWORD", "p", "{\"ctl\": {\"authentication\": {\"password\": \"p\"}}}" },
        { "POSTGRESQL_BIN_PG_CTL", "x", "{\"postgresql\": {\"bin_name\": {\"pg_ctl\": \"x\"}}}" },
        { "SUPERUSER_SSLNEGOTIATION", "direct",
          "{\"postgresql\": {\"authentication\": {\"superuser\": {\"sslnegotiation\": "
          "\"direct\"}}}}" },
        { "LOG_MODE", "0640", "{\"log\": {\"mode\": 416}}" },
        { "LOG_FILE_SIZE", "10MB", "{\"log\": {}}" },
        { "LOG_LOGGERS", "{a: DEBUG}", "{\"log\": {\"loggers\": {\"a\": \"DEBUG\"}}}" },
        { "LOG_FORMAT", "%(message)s", "{\"log\": {\"format\": \"%(message)s\"}}" },
        { "LOG_FORMAT", "message, {level: l}",
          "{\"log\": {\"format\": [\"message\", {\"level\": \"l\"}]}}" },
        { "LOG_FORMAT", "%()s [", "{\"log\": {\"format\": \"%()s [\"}}" },
        { "LOGLEVEL", "DEBUG", "{\"log\": {\"level\": \"DEBUG\"}}" },
        { "RAFT_PARTNER_ADDRS", "'a:1','b:2'",
          "{\"raft\": {\"partner_addrs\": [\"a:1\", \"b:2\"]}}" },
        { "RAFT_MIN_TIMEOUT", "0.5", "{\"raft\": {\"min_timeout\": 0.5}}" },
        { "ETCD3_HOSTS", "h1:2379,h2:2379",
          "{\"etcd3\": {\"hosts\": [\"h1:2379\", \"h2:2379\"]}}" },
        { "ETCD3_HOSTS", "", "{\"etcd3\": {\"hosts\": \"\"}}" },
        { "ETCD3_HOSTS", "[h1:1", "{}" },
        { "ETCD_USERNAME", "alone", "{}" },
        { "CONSUL_PORT", "8500", "{\"consul\": {\"port\": 8500}}" },
        { "CONSUL_PORT", "x", "{}" },
        { "CONSUL_VERIFY", "no", "{\"consul\": {\"verify\": false}}" },
        { "CONSUL_VERIFY", "", "{}" },
        { "CONSUL_URL", "", "{\"consul\": {\"url\": \"\"}}" },
        { "KUBERNETES_LABELS", "a: b", "{\"kubernetes\": {\"labels\": {\"a\": \"b\"}}}" },
        { "KUBERNETES_RETRIABLE_HTTP_CODES", "500, 503",
          "{\"kubernetes\": {\"retriable_http_codes\": [500, 503]}}" },
        { "ZOOKEEPER_USE_SSL", "on", "{\"zookeeper\": {\"use_ssl\": \"on\"}}" },
        { "CITUS_GROUP", "0", "{\"citus\": {\"group\": 0}}" },
        { "CITUS_DATABASE", "c", "{\"citus\": {\"database\": \"c\"}}" },
        { "CITUS_HOST", "h", "{}" },
        { "_HOST", "h", "{}" },
        { "WHATEVER_NOTHING", "x", "{}" },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char name[64];

        snprintf(name, sizeof(name), "PATRONI_%s", cases[i].name);
        setenv(name, cases[i].value, 1);
        assert_string_equal(loaded(f, ""), cases[i].json);
        clearenv();
        pgv_config_done(&f->config);
        pgv_config_env_done(&f->env);
    }
}

static void test_env__a_new_name_wins_over_its_former_one(void **state)
{
    struct fixture *f = *state;

    setenv("PATRONI_LOGLEVEL", "DEBUG", 1);
    setenv("PATRONI_LOG_LEVEL", "INFO", 1);
    setenv("PATRONI_LOG_DATEFMT", "%Y", 1);
    setenv("PATRONI_LOG_DATEFORMAT", "", 1);
    assert_string_equal(loaded(f, ""), "{\"log\": {\"level\": \"INFO\"}}");
    assert_null(getenv("PATRONI_LOGLEVEL"));
    assert_null(getenv("PATRONI_LOG_DATEFORMAT"));
}

static void test_env__users_of_a_store_count_beside_its_address(void **state)
{
    struct fixture *f = *state;

    setenv("PATRONI_ETCD3_USERNAME", "u", 1);
    setenv("PATRONI_ETCD3_PASSWORD", "p", 1);
    setenv("PATRONI_ETCD_PASSWORD", "q", 1);
    setenv("PATRONI_ETCD3_HOST", "h:2379", 1);
    assert_string_equal(loaded(f, ""), "{\"etcd3\": {\"host\": \"h:2379\", \"username\": \"u\", "
                                       "\"password\": \"p\"}}");
    assert_null(getenv("PATRONI_ETCD3_PASSWORD"));
    assert_null(getenv("PATRONI_ETCD_PASSWORD"));
}

static void test_env__a_section_named_like_a_plain_option_is_ignored(void **state)
{
    struct fixture *f = *state;

    setenv("PATRONI_NAME", "n", 1);
    setenv("PATRONI_NAME_HOST", "h", 1);
    assert_string_equal(loaded(f, ""), "{\"name\": \"n\"}");
}

static void test_env__all_that_is_known_is_removed_and_nothing_else(void **state)
{
    struct fixture *f = *state;

    setenv("PATRONI_CONSUL_HOST", "h", 1);
    setenv("PATRONI_CONSUL_TOKEN", "t", 1);
    setenv("PATRONI_REPLICATION_PASSWORD", "p", 1);
    setenv("PATRONI_admin_PASSWORD", "p", 1);
    setenv("PATH", "/bin", 1);
    loaded(f, "");
    assert_null(getenv("PATRONI_CONSUL_HOST"));
    assert_null(getenv("PATRONI_CONSUL_TOKEN"));
    assert_null(getenv("PATRONI_REPLICATION_PASSWORD"));
    assert_string_equal(getenv("PATRONI_admin_PASSWORD"), "p");
    assert_string_equal(getenv("PATH"), "/bin");
}

static void test_load__fails_cleanly_at_every_allocation(void **state)
{
    struct fixture *f = *state;
    const char *path = put(f, "a.yml", "name: n\nscope: s\npostgresql: {parameters: {a: 1}}\n");
    bool done = false;

    for (unsigned long nth = 1; !done; nth++) {
        struct pgv_error err = { 0 };
        size_t blocks = pgv_alloc_blocks_in_use();

        setenv("PATRONI_RESTAPI_ALLOWLIST", "a,b", 1);
        pgv_alloc_fail_at(nth, false);
        if (pgv_config_env_take(&f->env, &err) && pgv_config_load(path, &f->env, &f->config, &err))
            done = true;
        else
            assert_int_equal(err.code, PGV_ENOMEM);
        pgv_alloc_fail_at(0, false);
        pgv_config_done(&f->config);
        pgv_config_env_done(&f->env);
        assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
        assert_true(nth < 1000);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_load__a_file_comes_first_and_variables_over_it),
        TEST(test_load__a_reload_applies_the_taken_variables_again),
        TEST(test_load__a_folder_merges_its_files_in_byte_order),
        TEST(test_load__an_absent_path_falls_to_the_variables),
        TEST(test_load__an_empty_configuration_variable_is_none),
        TEST(test_load__refusals_have_the_words_of_the_origin),
        TEST(test_load__bad_yaml_names_the_file_and_the_line),
        TEST(test_load__a_file_too_large_is_refused),
        TEST(test_env__each_kind_of_variable_converts),
        TEST(test_env__a_new_name_wins_over_its_former_one),
        TEST(test_env__users_of_a_store_count_beside_its_address),
        TEST(test_env__a_section_named_like_a_plain_option_is_ignored),
        TEST(test_env__all_that_is_known_is_removed_and_nothing_else),
        TEST(test_load__fails_cleanly_at_every_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
