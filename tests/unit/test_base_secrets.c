/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_base_secrets.c - secrets in files of their own: which counts, and what is said.
 */
#include "base_support.h"

#include "base/config.h"
#include "base/file.h"
#include "base/log.h"
#include "base/secrets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *dir;
static struct pgv_config_env env;
static struct pgv_config config;

static int setup(void **state)
{
    dir = base_mkdtemp();
    clearenv();
    pgv_log_configure_ctl(PGV_CRITICAL);
    return base_setup(state);
}

static int teardown(void **state)
{
    pgv_config_done(&config);
    pgv_config_env_done(&env);
    base_rmdir();
    return base_teardown(state);
}

static const char *in_dir(const char *name)
{
    return pgv_arena_printf(&base_arena, "%s/%s", dir, name);
}

static const char *put(const char *name, struct pgv_str text, mode_t mode)
{
    const char *path = in_dir(name);
    struct pgv_error err;

    assert_true(pgv_file_replace(path, text, mode, &err));
    return path;
}

static const char *put_secret(const char *text)
{
    return put("secret", pgv_str(text), 0600);
}

/* The configuration @yaml (NULL: none) with the environment over it. */
static bool load(const char *yaml, struct pgv_error *err)
{
    const char *path = yaml ? put("c.yml", pgv_str(yaml), 0600) : "";

    pgv_config_done(&config);
    pgv_config_env_done(&env);
    return pgv_config_env_take(&env, err) && pgv_config_load(path, &env, &config, err);
}

static const char *loaded(const char *yaml, const char *path)
{
    struct pgv_error err = { 0 };

    if (!load(yaml, &err))
        fail_msg("%s", err.msg);
    return base_text(pgv_path(config.root, path));
}

static void refused(const char *yaml, const char *words)
{
    struct pgv_error err = { 0 };

    assert_false(load(yaml, &err));
    if (!strstr(err.msg, words))
        fail_msg("'%s' does not say '%s'", err.msg, words);
    assert_null(strstr(err.msg, "s3cret"));
}

/* "ctl: {authentication: {password_file: '<file>'}}" */
static const char *ctl_password(const char *file)
{
    return pgv_arena_printf(&base_arena, "ctl: {authentication: {password_file: '%s'}}", file);
}

static void test_secrets__content_less_its_newlines(void **state)
{
    static const struct {
        const char *content, *secret;
    } cases[] = {
        { "s3cret", "s3cret" },
        { "s3cret\n", "s3cret" },
        { "s3cret\r\n\n", "s3cret" },
        { " s3 'cret\" \n", " s3 'cret\" " },
        { "\xc3\xa9: {no: yaml}\n", "\xc3\xa9: {no: yaml}" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgv_error err = { 0 };

        if (!load(ctl_password(put_secret(cases[i].content)), &err))
            fail_msg("%s", err.msg);
        assert_str(pgv_string(pgv_path(config.root, "ctl.authentication.password")),
                   cases[i].secret);
        assert_null(pgv_path(config.root, "ctl.authentication.password_file"));
        assert_int_equal(config.secrets_n, 1);
    }
}

static void test_secrets__every_place_by_key_and_by_variable(void **state)
{
    static const struct {
        const char *path, *variable;
    } places[] = {
        { "restapi.keyfile_password", "PATRONI_RESTAPI_KEYFILE_PASSWORD" },
        { "restapi.authentication.username", "PATRONI_RESTAPI_USERNAME" },
        { "restapi.authentication.password", "PATRONI_RESTAPI_PASSWORD" },
        { "ctl.keyfile_password", "PATRONI_CTL_KEYFILE_PASSWORD" },
        { "ctl.authentication.username", "PATRONI_CTL_USERNAME" },
        { "ctl.authentication.password", "PATRONI_CTL_PASSWORD" },
        { "consul.token", "PATRONI_CONSUL_TOKEN" },
        { "etcd.username", "PATRONI_ETCD_USERNAME" },
        { "etcd.password", "PATRONI_ETCD_PASSWORD" },
        { "etcd3.username", "PATRONI_ETCD3_USERNAME" },
        { "etcd3.password", "PATRONI_ETCD3_PASSWORD" },
        { "raft.password", "PATRONI_RAFT_PASSWORD" },
        { "zookeeper.key_password", "PATRONI_ZOOKEEPER_KEY_PASSWORD" },
        { "postgresql.authentication.superuser.username", "PATRONI_SUPERUSER_USERNAME" },
        { "postgresql.authentication.superuser.password", "PATRONI_SUPERUSER_PASSWORD" },
        { "postgresql.authentication.superuser.sslpassword", "PATRONI_SUPERUSER_SSLPASSWORD" },
        { "postgresql.authentication.replication.username", "PATRONI_REPLICATION_USERNAME" },
        { "postgresql.authentication.replication.password", "PATRONI_REPLICATION_PASSWORD" },
        { "postgresql.authentication.replication.sslpassword", "PATRONI_REPLICATION_SSLPASSWORD" },
        { "postgresql.authentication.rewind.username", "PATRONI_REWIND_USERNAME" },
        { "postgresql.authentication.rewind.password", "PATRONI_REWIND_PASSWORD" },
        { "postgresql.authentication.rewind.sslpassword", "PATRONI_REWIND_SSLPASSWORD" },
    };
    const char *file = put_secret("s3cret\n");

    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const char *variable = pgv_arena_printf(&base_arena, "%s_FILE", places[i].variable);
        const char *key = strrchr(places[i].path, '.') + 1;
        struct pgv_buf yaml;
        unsigned depth = 0;

        setenv(variable, file, 1);
        setenv("PATRONI_ETCD_HOST", "h:1", 1); /* beside it the users of etcd count */
        setenv("PATRONI_ETCD3_HOST", "h:1", 1);
        assert_string_equal(loaded(NULL, places[i].path), "\"s3cret\"");
        assert_null(getenv(variable));

        pgv_buf_init(&yaml, 4096);
        for (const char *p = places[i].path; p < key; depth++) {
            pgv_buf_printf(&yaml, "%.*s: {", (int)strcspn(p, "."), p);
            p += strcspn(p, ".") + 1;
        }
        pgv_buf_printf(&yaml, "%s_file: '%s'", key, file);
        while (depth-- > 0)
            pgv_buf_putc(&yaml, '}');
        assert_string_equal(loaded(pgv_buf_cstr(&yaml), places[i].path), "\"s3cret\"");
        pgv_buf_done(&yaml);
    }
}

static void test_secrets__who_comes_later_decides(void **state)
{
    static const char path[] = "ctl.authentication.password";
    const char *file = put_secret("filed"), *yaml = ctl_password(file);

    (void)state;
    /* a text over a file, a file over a text */
    setenv("PATRONI_CTL_PASSWORD", "text", 1);
    assert_string_equal(loaded(yaml, path), "\"text\"");
    setenv("PATRONI_CTL_PASSWORD_FILE", file, 1);
    assert_string_equal(loaded("ctl: {authentication: {password: text}}", path), "\"filed\"");
    /* in a folder as well */
    assert_true(pgv_mkdirs(in_dir("d"), 0700, NULL));
    put("d/1.yml", pgv_str("ctl: {authentication: {password: text}}"), 0600);
    put("d/2.yml", pgv_str(yaml), 0600);
    pgv_config_done(&config);
    pgv_config_env_done(&env);
    assert_true(pgv_config_env_take(&env, NULL));
    assert_true(pgv_config_load(in_dir("d"), &env, &config, NULL));
    assert_str(pgv_string(pgv_path(config.root, path)), "filed");
    /* nothing is nothing */
    setenv("PATRONI_CTL_PASSWORD_FILE", "", 1);
    assert_string_equal(loaded("ctl: {authentication: {password: text}}", path), "\"text\"");
}

static void test_secrets__refusals_name_the_file_and_who_named_it(void **state)
{
    const char *file = put_secret("s3cret"), *yaml, *words;
    char big[PGV_SECRET_BYTES_MAX + 2];

    (void)state;
    setenv("PATRONI_CTL_PASSWORD_FILE", file, 1);
    setenv("PATRONI_CTL_PASSWORD", "s3cret", 1);
    refused(NULL, "PATRONI_CTL_PASSWORD_FILE: 'password' is given as well");
    yaml = pgv_arena_printf(
        &base_arena, "x: 1\nctl: {authentication: {password: s3cret,\n password_file: %s}}", file);
    words = pgv_arena_printf(&base_arena,
                             "config file '%s' line 3: ctl.authentication.password_file: "
                             "'password' is given as well",
                             in_dir("c.yml"));
    refused(yaml, words);

    setenv("PATRONI_CTL_PASSWORD_FILE", "/nowhere/x", 1);
    refused(NULL, "PATRONI_CTL_PASSWORD_FILE: cannot open '/nowhere/x': No such file");
    refused(ctl_password("/nowhere/x"), "ctl.authentication.password_file: cannot open '/nowhere/");
    refused(ctl_password("/dev/null"), "'/dev/null' is no regular file");
    refused(ctl_password(dir), "is no regular file");
    refused("ctl: {authentication: {password_file: 5}}", "is not a string");
    refused(ctl_password(put_secret("")), "is empty");
    refused(ctl_password(put_secret("\n\n")), "is empty");
    refused(ctl_password(put_secret("s3cret\ns3cret\n")), "more than one line");
    refused(ctl_password(put("secret", PGV_STR("s3cret\0"), 0600)), "no text");
    memset(big, 's', sizeof(big));
    refused(ctl_password(put("secret", (struct pgv_str){ big, sizeof(big) - 1 }, 0600)),
            "is longer than 8192 bytes");
}

static void test_secrets__a_file_for_all_to_read_is_a_warning(void **state)
{
    const char *yaml = ctl_password(put_secret("s3cret"));
    struct pgv_value *section = base_json("{}");
    struct pgv_error err;
    const char *log;

    (void)state;
    pgv_map_set(&base_arena, section, "dir", pgv_new_string(&base_arena, pgv_str(dir)));
    assert_true(pgv_log_configure(section, &err));
    assert_string_equal(loaded(yaml, "ctl.authentication.password"), "\"s3cret\"");
    assert_string_equal(base_slurp(in_dir("patroni.log")), "");
    put("secret", PGV_STR("s3cret"), 0644);
    assert_string_equal(loaded(yaml, "ctl.authentication.password"), "\"s3cret\"");
    assert_true(pgv_log_configure(NULL, &err));
    log = base_slurp(in_dir("patroni.log"));
    assert_non_null(strstr(log, "WARNING"));
    assert_non_null(strstr(log, "ctl.authentication.password_file: '"));
    assert_non_null(strstr(log, "can be read by everybody"));
    assert_null(strstr(log, "s3cret"));
}

/* The command line tool reads what it needs and may. */
static void test_secrets__a_section_alone(void **state)
{
    const char *yaml =
        pgv_arena_printf(&base_arena,
                         "ctl: {authentication: {password_file: %s}}\nctlx: 1\n"
                         "postgresql: {authentication: {superuser: {password_file: /nowhere}}}\n",
                         put_secret("s3cret"));
    struct pgv_error err;

    (void)state;
    assert_true(pgv_config_env_take(&env, &err));
    assert_true(pgv_config_load_lenient(put("c.yml", pgv_str(yaml), 0600), &env, &config, &err));
    assert_true(pgv_config_read_secrets(&config, "ct", &err));
    assert_int_equal(config.secrets_n, 0);
    assert_true(pgv_config_read_secrets(&config, "ctl", &err));
    assert_int_equal(config.secrets_n, 1);
    assert_str(pgv_string(pgv_path(config.root, "ctl.authentication.password")), "s3cret");
    assert_false(pgv_config_read_secrets(&config, "postgresql", &err));
}

static void test_secrets__every_allocation_may_fail(void **state)
{
    const char *file = put_secret("s3cret"),
               *path = put("c.yml", pgv_str(ctl_password(file)), 0600);
    bool done = false;

    (void)state;
    for (unsigned long nth = 1; !done && nth < 1000; nth++) {
        struct pgv_error err = { 0 };

        setenv("PATRONI_RESTAPI_PASSWORD_FILE", file, 1);
        pgv_alloc_fail_at(nth, false);
        done = pgv_config_env_take(&env, &err) && pgv_config_load(path, &env, &config, &err);
        pgv_alloc_fail_at(0, false);
        assert_true(done || err.code == PGV_ENOMEM);
        pgv_config_done(&config);
        pgv_config_env_done(&env);
    }
    assert_true(done);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_secrets__content_less_its_newlines),
        TEST(test_secrets__every_place_by_key_and_by_variable),
        TEST(test_secrets__who_comes_later_decides),
        TEST(test_secrets__refusals_name_the_file_and_who_named_it),
        TEST(test_secrets__a_file_for_all_to_read_is_a_warning),
        TEST(test_secrets__a_section_alone),
        TEST(test_secrets__every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
