/* SPDX-License-Identifier: PostgreSQL */
/* test_ctl_sql.c - values of query results as Python would have them, also from a server that lies;
 * and that waiting for a timer ends. */
#include "ctl/sql.h"
#include "ctl_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct pgv_arena arena;
static struct pgv_buf text;

static int setup(void **state)
{
    (void)state;
    pgv_arena_init(&arena, 1 << 20);
    pgv_buf_init(&text, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pgv_buf_done(&text);
    pgv_arena_done(&arena);
    return pgv_alloc_blocks_in_use() == 0 ? 0 : -1;
}

static const char *shown(Oid type, const char *value)
{
    struct pgv_value *v = ctl_sql_value(&arena, type, pgv_str(value));

    assert_non_null(v);
    pgv_buf_reset(&text);
    assert_true(pgv_value_text(&text, v));
    return pgv_buf_cstr(&text);
}

static void test_value__as_python_prints_it(void **state)
{
    static const struct {
        Oid type;
        const char *value, *shown;
    } cases[] = {
        { 16, "t", "True" },
        { 16, "f", "False" },
        { 20, "-9223372036854775808", "-9223372036854775808" },
        { 23, "99999999999999999999", "99999999999999999999" },
        { 701, "1", "1.0" },
        { 701, "Infinity", "inf" },
        { 1700, "1.50", "1.50" },
        { 1700, "0.000001", "0.000001" },
        { 1700, "-0.00000012", "-1.2E-7" },
        { 1700, "0.0000000", "0E-7" },
        { 1700, "NaN", "NaN" },
        { 1082, "2024-02-29", "2024-02-29" },
        { 1114, "2024-02-29 10:11:12.5", "2024-02-29 10:11:12.500000" },
        { 1184, "2024-02-29 10:11:12+02", "2024-02-29 10:11:12+02:00" },
        { 1184, "0044-03-15 10:11:12+02 BC", "0044-03-15 10:11:12+02 BC" },
        { 1184, "infinity", "infinity" },
        { 1266, "01:02:03.25+05:30", "01:02:03.250000+05:30" },
        { 1186, "1 year 2 mons 3 days 04:05:06.7", "428 days, 4:05:06.700000" },
        { 1186, "-00:00:01", "-1 day, 23:59:59" },
        { 1186, "-1 days", "-1 day, 0:00:00" },
        { 1186, "00:00:00", "0:00:00" },
        { 1186, "P1DT2H", "P1DT2H" },
        { 1007, "{1,NULL,{2,3}}", "[1, None, [2, 3]]" },
        { 1009, "{\"a\\\"b\",c}", "['a\"b', 'c']" },
        { 1007, "[0:1]={5,6}", "[5, 6]" },
        { 3802, "{\"a\": [1, null]}", "{'a': [1, None]}" },
        { 25, "\xff", "\xef\xbf\xbd" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(shown(cases[i].type, cases[i].value), cases[i].shown);
}

/** What is broken or cut anywhere stays text; nothing is read behind its end. */
static void test_value__what_cannot_be_read_is_text(void **state)
{
    static const Oid types[] = { 16,   20,   701,  1700, 1082, 1083, 1114,
                                 1184, 1186, 1266, 114,  1007, 1009 };
    static const char *const values[] = { "2024-02-29 10:11:12.123456+05:30:15",
                                          "-1 year -2 mons +3 days -04:05:06.7",
                                          "{\"a\\\\\",{b,\"c\"},NULL}",
                                          "[-1:2]={{1},{2}}",
                                          "{{{{{{{{{1}}}}}}}}}",
                                          "{\"a\": [1, 2.5, null]}",
                                          "-0.000000120",
                                          "1e400" };

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        for (size_t n = 0; n <= strlen(values[i]); n++) {
            char *cut = malloc(n + 1); /* so that a sanitizer sees every byte too many */

            assert_non_null(cut);
            memcpy(cut, values[i], n);
            for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++)
                assert_non_null(ctl_sql_value(&arena, types[t], (struct pgv_str){ cut, n }));
            free(cut);
        }
        pgv_arena_reset(&arena);
    }
    assert_string_equal(shown(1007, "{1,2"), "{1,2");
    assert_string_equal(shown(1007, "{1,2}x"), "{1,2}x");
    assert_string_equal(shown(1009, "{\"a}"), "{\"a}");
    assert_string_equal(shown(114, "{"), "{");
    assert_string_equal(shown(1082, "20240229"), "20240229");
}

static void test_value__every_allocation_may_fail(void **state)
{
    (void)state;
    for (unsigned long nth = 1;; nth++) {
        struct pgv_value *v;

        pgv_arena_done(&arena);
        pgv_arena_init(&arena, 1 << 20);
        pgv_alloc_fail_at(nth, true);
        v = ctl_sql_value(&arena, 1009, pgv_str("{a,\"b\",{c}}"));
        pgv_alloc_fail_at(0, false);
        if (v)
            break;
        assert_true(nth < 100);
    }
}

/** A timer that is due at once is what is awaited: no other event will ever come. */
static void test_sleep__of_no_time_ends(void **state)
{
    struct ctl c = { .prog = "test", .out = stdout, .in_fd = STDIN_FILENO };
    struct pgv_error err;
    char path[512];

    (void)state;
    setenv("HOME", "/nonexistent", 1);
    unsetenv("XDG_CONFIG_HOME");
    assert_true(ctl_default_config_path(path, sizeof(path)));
    assert_true(ctl_open(&c, path, NULL, false, &err));
    alarm(20);
    for (unsigned i = 0; i < 100; i++)
        assert_true(ctl_sleep(&c, 0, NULL, &err));
    alarm(0);
    ctl_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_value__as_python_prints_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_value__what_cannot_be_read_is_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_value__every_allocation_may_fail, setup, teardown),
        cmocka_unit_test(test_sleep__of_no_time_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
