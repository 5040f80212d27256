/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_pg_dsn.c - connection strings, their comparison, and password files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "pg/pgdsn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pgv_arena arena;

static int setup(void **state)
{
    (void)state;
    pgv_arena_init(&arena, 1u << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pgv_arena_done(&arena);
    return 0;
}

static struct pgdsn parse(const char *text)
{
    struct pgv_error err = { 0 };
    struct pgdsn d = { 0 };

    if (!pgdsn_parse(&arena, text, false, &d, &err))
        fail_msg("'%s': %s", text, err.msg);
    return d;
}

static void check(const struct pgdsn *d, enum pgdsn_key key, const char *want)
{
    if (!want)
        assert_null(d->v[key]);
    else
        assert_string_equal(d->v[key], want);
}

static void test_pgdsn_parse__pairs(void **state)
{
    struct pgdsn d = parse("host=h1,h2  port = 5433 user=u password='a\\'b\\\\c d' "
                           "application_name=x\\ y nosuchoption=1 sslmode=''");

    (void)state;
    check(&d, PGDSN_HOST, "h1,h2");
    check(&d, PGDSN_PORT, "5433");
    check(&d, PGDSN_PASSWORD, "a'b\\c d");
    check(&d, PGDSN_APPLICATION_NAME, "x y");
    check(&d, PGDSN_SSLMODE, "");
    check(&d, PGDSN_DBNAME, NULL);
}

static void test_pgdsn_parse__uris(void **state)
{
    struct pgdsn d = parse("postgres://10.0.0.1:5432/postgres");

    (void)state;
    check(&d, PGDSN_HOST, "10.0.0.1");
    check(&d, PGDSN_PORT, "5432");
    check(&d, PGDSN_DBNAME, "postgres");
    check(&d, PGDSN_USER, NULL);

    d = parse(
        "postgresql://u%40x:p%3A%2f@[fe80::1]:5433,h2:1,h3/db?ssl=true&application_name=a%20b");
    check(&d, PGDSN_USER, "u@x");
    check(&d, PGDSN_PASSWORD, "p:/");
    check(&d, PGDSN_HOST, "fe80::1,h2,h3");
    check(&d, PGDSN_PORT, "5433,1,");
    check(&d, PGDSN_DBNAME, "db");
    check(&d, PGDSN_SSLMODE, "require");
    check(&d, PGDSN_APPLICATION_NAME, "a b");

    d = parse("postgres://");
    check(&d, PGDSN_HOST, NULL);
    d = parse("postgres:///db?host=/var/run/postgresql");
    check(&d, PGDSN_HOST, "/var/run/postgresql");
    check(&d, PGDSN_DBNAME, "db");
}

static void test_pgdsn_parse__refuses_without_repeating_secrets(void **state)
{
    static const char *const bad[] = {
        "host",
        "password='secret",
        "password=secret =x secret",
        "host=a secret",
        "postgres://secret%4",
        "postgres://secret%zz/",
        "postgres://secret%00/",
        "postgres://[secret/",
        "postgres://[]/",
        "postgres://[::1]secret/",
        "postgres://h/?secret",
        "postgres://h/?a=secret=b",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct pgv_error err = { 0 };
        struct pgdsn d = { { [PGDSN_HOST] = "untouched" } };

        if (pgdsn_parse(&arena, bad[i], false, &d, &err))
            fail_msg("'%s' was accepted", bad[i]);
        assert_int_equal(err.code, PGV_EINVALID);
        assert_null(strstr(err.msg, "secret"));
        assert_string_equal(d.v[PGDSN_HOST], "untouched");
    }
}

static void test_pgdsn_parse__fills_in_for_comparison(void **state)
{
    struct pgdsn d;

    (void)state;
    assert_true(pgdsn_parse(&arena, "host=a", true, &d, NULL));
    check(&d, PGDSN_SSLMODE, "prefer");
    check(&d, PGDSN_GSSENCMODE, "prefer");
    check(&d, PGDSN_CHANNEL_BINDING, "prefer");
    check(&d, PGDSN_SSLNEGOTIATION, "postgres");
    assert_true(pgdsn_parse(&arena, "requiressl=1", true, &d, NULL));
    check(&d, PGDSN_SSLMODE, "require");
    assert_true(pgdsn_parse(&arena, "sslmode=disable requiressl=1", true, &d, NULL));
    check(&d, PGDSN_SSLMODE, "disable");
}

static void test_pgdsn_write__order_escapes_and_versions(void **state)
{
    static const struct pgdsn d = { { [PGDSN_HOST] = "h",
                                      [PGDSN_USER] = "it's",
                                      [PGDSN_PASSWORD] = "a b\\c",
                                      [PGDSN_DBNAME] = "postgres",
                                      [PGDSN_PORT] = "5432",
                                      [PGDSN_SSLMODE] = "",
                                      [PGDSN_SSLPASSWORD] = "hidden",
                                      [PGDSN_SSLCRLDIR] = "/crl",
                                      [PGDSN_GSSENCMODE] = "prefer",
                                      [PGDSN_CHANNEL_BINDING] = "prefer",
                                      [PGDSN_TARGET_SESSION_ATTRS] = "read-write",
                                      [PGDSN_SSLNEGOTIATION] = "postgres" } };
    static const struct {
        int version;
        const char *text;
    } cases[] = {
        { 90600, "dbname=postgres user=it\\'s password=a\\ b\\\\c host=h port=5432 sslmode=''" },
        { 100000, "dbname=postgres user=it\\'s password=a\\ b\\\\c host=h port=5432 sslmode=''"
                  " target_session_attrs=read-write" },
        { 120000, "dbname=postgres user=it\\'s password=a\\ b\\\\c host=h port=5432 sslmode=''"
                  " gssencmode=prefer target_session_attrs=read-write" },
        { 130000, "dbname=postgres user=it\\'s password=a\\ b\\\\c host=h port=5432 sslmode=''"
                  " sslpassword=hidden gssencmode=prefer channel_binding=prefer"
                  " target_session_attrs=read-write" },
        { 140000, "dbname=postgres user=it\\'s password=a\\ b\\\\c host=h port=5432 sslmode=''"
                  " sslpassword=hidden sslcrldir=/crl gssencmode=prefer channel_binding=prefer"
                  " target_session_attrs=read-write" },
        { 160000, "dbname=postgres user=it\\'s password=a\\ b\\\\c host=h port=5432 sslmode=''"
                  " sslpassword=hidden sslcrldir=/crl gssencmode=prefer channel_binding=prefer"
                  " target_session_attrs=read-write" },
        { 170000, "dbname=postgres user=it\\'s password=a\\ b\\\\c host=h port=5432 sslmode=''"
                  " sslpassword=hidden sslcrldir=/crl gssencmode=prefer channel_binding=prefer"
                  " target_session_attrs=read-write sslnegotiation=postgres" },
    };
    struct pgdsn with_file = d;
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, PGDSN_BYTES_MAX);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgdsn again;

        pgv_buf_reset(&b);
        assert_true(pgdsn_write(&b, &d, cases[i].version));
        assert_string_equal(pgv_buf_cstr(&b), cases[i].text);
        again = parse(pgv_buf_cstr(&b));
        assert_string_equal(again.v[PGDSN_PASSWORD], "a b\\c");
        assert_string_equal(again.v[PGDSN_SSLMODE], "");
    }
    with_file.v[PGDSN_PASSFILE] = "/home/postgres/pgpass";
    pgv_buf_reset(&b);
    assert_true(pgdsn_write(&b, &with_file, 150000));
    assert_null(strstr(pgv_buf_cstr(&b), " password="));
    assert_non_null(strstr(pgv_buf_cstr(&b), "passfile=/home/postgres/pgpass"));
    pgv_buf_reset(&b);
    assert_true(pgdsn_write_public(&b, &with_file, 180000));
    assert_null(strstr(pgv_buf_cstr(&b), "pass"));
    pgv_buf_done(&b);
}

static void test_pgdsn_pgpass_text__one_line_a_host(void **state)
{
    static const struct {
        struct pgdsn d;
        const char *text;
    } cases[] = {
        { { { [PGDSN_HOST] = "h", [PGDSN_PORT] = "5432", [PGDSN_USER] = "u" } }, "" },
        { { { [PGDSN_HOST] = "h",
              [PGDSN_PORT] = "5432",
              [PGDSN_USER] = "u",
              [PGDSN_PASSWORD] = "a:b\\c" } },
          "h:5432:*:u:a\\:b\\\\c\n" },
        { { { [PGDSN_HOST] = "h1, h2",
              [PGDSN_PORT] = "5432",
              [PGDSN_USER] = "u",
              [PGDSN_PASSWORD] = "p" } },
          "h1:5432:*:u:p\nh2:5432:*:u:p\n" },
        { { { [PGDSN_HOST] = "fe80::1", [PGDSN_PASSWORD] = "p" } }, "fe80\\:\\:1:*:*:*:p\n" },
        { { { [PGDSN_PASSWORD] = "p" } }, "*:*:*:*:p\n" },
        { { { [PGDSN_HOST] = "/tmp", [PGDSN_PASSWORD] = "p" } },
          "/tmp:*:*:*:p\nlocalhost:*:*:*:p\n" },
        { { { [PGDSN_HOST] = "/tmp,localhost", [PGDSN_PASSWORD] = "p" } },
          "/tmp:*:*:*:p\nlocalhost:*:*:*:p\n" },
    };
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, PGDSN_BYTES_MAX);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        pgv_buf_reset(&b);
        assert_true(pgdsn_pgpass_text(&b, &cases[i].d));
        assert_string_equal(pgv_buf_cstr(&b), cases[i].text);
    }
    pgv_buf_done(&b);
}

static void test_pgdsn_pgpass_write__only_for_us(void **state)
{
    char dir[] = "/tmp/pgvigil-dsn-XXXXXX", path[64];
    struct pgdsn d = { { [PGDSN_HOST] = "h", [PGDSN_PASSWORD] = "p" } };
    struct pgdsn other = { { [PGDSN_HOST] = "h2", [PGDSN_PASSWORD] = "p" } };
    struct pgdsn none = { { [PGDSN_HOST] = "h" } };
    struct stat st;
    bool written;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/pgpass", dir);
    assert_true(pgdsn_pgpass_write(path, &none, &written, NULL));
    assert_false(written);
    assert_false(pgv_file_exists(path));
    assert_true(pgdsn_pgpass_write(path, &d, &written, NULL));
    assert_true(written);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(pgdsn_pgpass_same(path, &d));
    assert_false(pgdsn_pgpass_same(path, &other));
    assert_false(pgdsn_pgpass_same("/nonexistent/pgpass", &d));

    /* a standby whose conninfo names the file is content with it */
    struct pgdsn current = { { [PGDSN_HOST] = "h", [PGDSN_PASSFILE] = path } };

    assert_true(pgdsn_satisfies(&d, &current, 150000));
    d.v[PGDSN_PASSWORD] = "changed";
    assert_false(pgdsn_satisfies(&d, &current, 150000));
    assert_true(pgv_tree_remove(dir, NULL));
}

static void test_pgdsn_satisfies__only_what_is_wanted_counts(void **state)
{
    static const struct {
        const char *wanted, *current;
        int version;
        bool same;
    } cases[] = {
        { "host=a port=5432", "host=a port=5432 sslmode=verify-full tty=x", 150000, true },
        { "host=a port=5432", "host=b port=5432", 150000, false },
        { "host=a port=5432", "port=5432", 150000, false },
        { "host=a dbname=postgres", "host=a dbname=replication", 160000, true },
        { "host=a dbname=postgres", "host=a dbname=other", 170000, false },
        { "host=a password=x", "host=a", 150000, false },
        { "host=a password=x", "host=a password=y", 150000, false },
        { "host=a password=x", "host=a password=x", 150000, true },
        { "host=a sslcrldir=/crl", "host=a", 130000, true }, /* 13 has no such thing */
        { "host=a sslcrldir=/crl", "host=a", 140000, false },
        { "host=a sslnegotiation=postgres", "host=a", 160000, true }, /* nor 16 this */
        { "host=a sslnegotiation=postgres", "host=a", 170000, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgdsn wanted = parse(cases[i].wanted), current = parse(cases[i].current);

        if (pgdsn_satisfies(&wanted, &current, cases[i].version) != cases[i].same)
            fail_msg("case %zu: '%s' '%s'", i, cases[i].wanted, cases[i].current);
    }
}

static void test_pgdsn_parse__without_memory(void **state)
{
    static const char *const texts[] = { "host=a password='b c' port=1",
                                         "postgres://u:p@h:1,i:2/d?a=b&sslmode=x" };

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        for (unsigned long n = 1;; n++) {
            struct pgv_error err = { 0 };
            struct pgv_arena a;
            struct pgdsn d;
            bool ok;

            pgv_arena_init(&a, 1u << 20);
            pgv_alloc_fail_at(n, false);
            ok = pgdsn_parse(&a, texts[k], true, &d, &err);
            pgv_alloc_fail_at(0, false);
            pgv_arena_done(&a);
            if (ok)
                break;
            assert_int_equal(err.code, PGV_ENOMEM);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pgdsn_parse__pairs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pgdsn_parse__uris, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pgdsn_parse__refuses_without_repeating_secrets, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_pgdsn_parse__fills_in_for_comparison, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pgdsn_write__order_escapes_and_versions, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_pgdsn_pgpass_text__one_line_a_host, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pgdsn_pgpass_write__only_for_us, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pgdsn_satisfies__only_what_is_wanted_counts, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_pgdsn_parse__without_memory, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
