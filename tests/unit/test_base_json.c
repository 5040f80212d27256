/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_base_json.c - reading and writing JSON. */
#include "base_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *spaced(const struct pgv_value *v)
{
    struct pgv_buf b;
    const char *s;

    pgv_buf_init(&b, 1 << 20);
    assert_true(pgv_json_write(&b, v, PGV_JSON_SPACED));
    s = pgv_arena_dup(&base_arena, pgv_buf_view(&b));
    pgv_buf_done(&b);
    return s;
}

static void test_json__reads_what_it_writes(void **state)
{
    static const char *const cases[] = {
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1.5",
        "\"\"",
        "\"x\"",
        "[]",
        "{}",
        "[1,[2,[3,{}]],\"a\"]",
        "{\"a\":{\"b\":null},\"c\":[]}",
        "9223372036854775807",
        "-9223372036854775808",
        "\"\\u0000\\u001f\\u007f\"",
        "\"\\\"\\\\\\b\\f\\n\\r\\t/\"",
        "\"\\u00e9\\ud83d\\udc18\"",
        "1e+100",
        "1e-07",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_string_equal(base_text(base_json(cases[i])), cases[i]);
}

static void test_json__blanks_and_styles(void **state)
{
    struct pgv_value *v = base_json(" {\r\n\t\"a\" : [ 1 , { } ] , \"b\":\"\" } ");

    (void)state;
    assert_string_equal(base_text(v), "{\"a\":[1,{}],\"b\":\"\"}");
    assert_string_equal(spaced(v), "{\"a\": [1, {}], \"b\": \"\"}");
    assert_string_equal(spaced(NULL), "null");
}

static void test_json__numbers(void **state)
{
    (void)state;
    assert_true(base_json("9223372036854775807")->u.i == INT64_MAX);
    assert_true(base_json("-9223372036854775808")->u.i == INT64_MIN);
    assert_int_equal(base_json("9223372036854775808")->type, PGV_REAL);
    assert_true(base_json("18446744073709551616")->u.d >= 18446744073709551616.0);
    assert_int_equal(base_json("-0")->type, PGV_INT);
    assert_int_equal(base_json("1.0")->type, PGV_REAL);
    assert_int_equal(base_json("1E2")->type, PGV_REAL);
    assert_true(fabs(base_json("1E2")->u.d - 100.0) <= 0);
    assert_string_equal(base_text(base_json("1e400")), "null"); /* no word for infinity */
}

static void test_json__strings(void **state)
{
    struct pgv_value *v = base_json("\"a\\u0000b\\/\\u00e9\\ud83d\\udc18\"");

    (void)state;
    assert_int_equal(v->u.s.n, 10);
    assert_memory_equal(v->u.s.p, "a\0b/\xc3\xa9\xf0\x9f\x90\x98", 11);
    /* Bytes that are no UTF-8 can only come from ourselves; they must not break the document. */
    v = pgv_new_string(&base_arena, PGV_STR("a\xff\xc3z"));
    assert_string_equal(base_text(v), "\"a\\ufffd\\ufffdz\"");
}

static void test_json__the_last_of_equal_keys_wins(void **state)
{
    struct pgv_value *v = base_json("{\"a\":1,\"b\":2,\"a\":3}");

    (void)state;
    assert_string_equal(base_text(v), "{\"a\":3,\"b\":2}");
    assert_int_equal(v->u.c.n, 2);
    v = base_json(
        "{\"\":0,\"b\":1,\"a\":2,\"c\":3,\"b\":{\"x\":1,\"x\":2},\"\":5,\"b\":6,\"d\":7,\"c\":8}");
    assert_string_equal(base_text(v), "{\"\":5,\"b\":6,\"a\":2,\"c\":8,\"d\":7}");
}

static void assert_refused(struct pgv_str text)
{
    struct pgv_error err = { 0 };
    struct pgv_value *v = NULL;

    if (pgv_json_parse(&base_arena, text, &v, &err))
        fail_msg("'%.*s' was read", (int)text.n, text.p);
    assert_null(v);
    assert_int_equal(err.code, PGV_EINVALID);
    assert_true(strncmp(err.msg, "JSON: ", 6) == 0);
}

static void test_json__refuses_what_is_none(void **state)
{
    static const char *const cases[] = {
        "",      " ",   "{",   "[",       "[1,]",      "{\"a\"}",  "{\"a\":}", "{\"a\":1,}",
        "{a:1}", "'a'", "\"a", "\"\\x\"", "\"\\u12\"", "\"a\nb\"", "01",       "+1",
        ".5",    "1.",  "1e",  "-",       "nul",       "truee",    "NaN",      "Infinity",
        "[1] 2", "1 1", "{}x", "// c\n1", "/* c */ 1", "\"\xff\"", "\"\xc3\"", "\xef\xbb\xbf{}",
        "[1}",   "{]",  "]",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_refused(pgv_str(cases[i]));
    assert_refused((struct pgv_str){ 0 });
    assert_refused((struct pgv_str){ "1\0", 2 });
}

static void test_json__messages_quote_nothing(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_value *v;

    (void)state;
    assert_false(pgv_json_parse(&base_arena, PGV_STR("{\"password\": \"hunter2\" x}"), &v, &err));
    assert_null(strstr(err.msg, "hunter2"));
    assert_non_null(strstr(err.msg, "byte"));
}

/* @n times @open, then the same number of @close. */
static struct pgv_str nested(size_t n, const char *open, const char *close)
{
    struct pgv_buf b;
    char *p;
    struct pgv_str s;

    pgv_buf_init(&b, 1 << 20);
    for (size_t i = 0; i < n; i++)
        pgv_buf_puts(&b, open);
    for (size_t i = 0; i < n; i++)
        pgv_buf_puts(&b, close);
    p = pgv_arena_dup(&base_arena, pgv_buf_view(&b));
    s = (struct pgv_str){ p, b.n };
    pgv_buf_done(&b);
    return s;
}

static void test_json__depth_has_a_limit(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_value *v = NULL;

    (void)state;
    assert_true(pgv_json_parse(&base_arena, nested(PGV_DEPTH_MAX, "[", "]"), &v, &err));
    assert_refused(nested(PGV_DEPTH_MAX + 1, "[", "]"));
    assert_refused(nested(100000, "[", "]"));
    assert_refused(nested(PGV_DEPTH_MAX + 1, "{\"a\":", "}"));
}

static void test_json__members_have_a_limit(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_value *v = NULL;
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, 1 << 20);
    pgv_buf_puts(&b, "{\"x\":0");
    for (int i = 1; i < PGV_MEMBERS_MAX; i++)
        pgv_buf_printf(&b, ",\"%d\":0", i);
    pgv_buf_puts(&b, "}");
    assert_true(pgv_json_parse(&base_arena, pgv_buf_view(&b), &v, &err));
    assert_int_equal(v->u.c.n, PGV_MEMBERS_MAX);
    b.n--;
    pgv_buf_puts(&b, ",\"y\":0}");
    v = NULL;
    assert_refused(pgv_buf_view(&b));
    pgv_buf_done(&b);
}

static void test_json__length_has_a_limit(void **state)
{
    char *text = calloc(1, PGV_JSON_BYTES_MAX + 1);

    (void)state;
    assert_non_null(text);
    memset(text, ' ', PGV_JSON_BYTES_MAX + 1);
    assert_refused((struct pgv_str){ text, PGV_JSON_BYTES_MAX + 1 });
    free(text);
}

static void test_json__tree_stays_below_the_ceiling(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_value *v = NULL;
    struct pgv_arena small;

    (void)state;
    pgv_arena_init(&small, 500);
    assert_false(pgv_json_parse(&small, PGV_STR("[1,2,3,4,5,6,7,8,9,10,11,12]"), &v, &err));
    assert_int_equal(err.code, PGV_EINVALID); /* another try would not help */
    pgv_arena_reset(&small);
    assert_true(pgv_json_parse(&small, PGV_STR("1"), &v, &err));
    pgv_arena_done(&small);
}

/* Tokens of every length around the powers of two at which yajl's buffers grow. */
static void test_json__workspace_suffices_for_any_token(void **state)
{
    static const size_t sizes[] = { 0,    1,    100,  2046, 2047,  2048,  2049,  4095,
                                    4096, 4097, 8191, 8192, 65535, 65536, 65537, 1000000 };

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        size_t n = sizes[i];
        char *text = malloc(n + 16);
        struct pgv_error err = { 0 };
        struct pgv_value *v = NULL;

        assert_non_null(text);
        /* The escape at its end makes yajl decode the whole string into its buffer. */
        memcpy(text, "[\"", 2);
        memset(text + 2, 'x', n);
        memcpy(text + 2 + n, "\\n\"]", 4);
        pgv_arena_reset(&base_arena);
        assert_true(pgv_json_parse(&base_arena, (struct pgv_str){ text, n + 6 }, &v, &err));
        assert_int_equal(v->u.c.first->u.s.n, n + 1);
        /* And a token that the end of the text cuts off is kept as a whole. */
        v = NULL;
        assert_false(pgv_json_parse(&base_arena, (struct pgv_str){ text, n + 4 }, &v, &err));
        assert_null(strstr(err.msg, "workspace"));
        memset(text, '1', n);
        assert_int_equal(pgv_json_parse(&base_arena, (struct pgv_str){ text, n }, &v, &err),
                         n > 0 && n < 512);
        assert_null(strstr(err.msg, "workspace"));
        free(text);
    }
}

static void test_json_parse__every_allocation_may_fail(void **state)
{
    const char *text =
        "{\"a\":[1,2.5,\"x\\ny\",{\"b\":null}],\"c\":true,\"d\":\"long enough to matter\"}";
    bool done = false;
    unsigned long nth;

    (void)state;
    for (nth = 1; !done; nth++) {
        struct pgv_error err = { 0 };
        struct pgv_value *v = NULL;
        struct pgv_arena a;

        pgv_arena_init(&a, 1 << 20);
        pgv_alloc_fail_at(nth, true);
        done = pgv_json_parse(&a, pgv_str(text), &v, &err);
        pgv_alloc_fail_at(0, false);
        if (done) {
            assert_string_equal(base_text(v), text);
        } else {
            assert_null(v);
            assert_int_equal(err.code, PGV_ENOMEM);
        }
        pgv_arena_done(&a);
    }
    assert_true(nth > 2); /* it does allocate: the workspace and the tree */
}

static void test_json_write__every_allocation_may_fail(void **state)
{
    struct pgv_value *v = base_json("{\"a\":[1,2,3,\"0123456789012345678901234567890123456789\"]}");
    bool done = false;

    (void)state;
    for (unsigned long nth = 1; !done; nth++) {
        struct pgv_buf b;

        pgv_buf_init(&b, 1000);
        pgv_alloc_fail_at(nth, true);
        done = pgv_json_write(&b, v, PGV_JSON_COMPACT);
        pgv_alloc_fail_at(0, false);
        assert_int_equal(b.failed, !done);
        pgv_buf_done(&b);
    }
}

static void test_json_write__a_full_buffer_fails(void **state)
{
    struct pgv_value *v = base_json("{\"a\":\"\\u00e9\"}");
    size_t full = strlen("{\"a\":\"\\u00e9\"}");
    struct pgv_buf b;

    (void)state;
    for (size_t n = 0; n <= full; n++) {
        pgv_buf_init(&b, n);
        assert_int_equal(pgv_json_write(&b, v, PGV_JSON_COMPACT), n == full);
        pgv_buf_done(&b);
    }
}

static void test_json_write__a_bottomless_tree_fails(void **state)
{
    struct pgv_value *list = pgv_new(&base_arena, PGV_LIST);
    struct pgv_buf b;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct pgv_value *outer = pgv_new(&base_arena, PGV_LIST);

        pgv_list_add(outer, list);
        list = outer;
    }
    pgv_buf_init(&b, 1 << 20);
    assert_false(pgv_json_write(&b, list, PGV_JSON_COMPACT));
    pgv_buf_done(&b);
    pgv_buf_init(&b, 1 << 20);
    assert_false(pgv_yaml_write(&b, list));
    pgv_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        base_test(test_json__reads_what_it_writes),
        base_test(test_json__blanks_and_styles),
        base_test(test_json__numbers),
        base_test(test_json__strings),
        base_test(test_json__the_last_of_equal_keys_wins),
        base_test(test_json__refuses_what_is_none),
        base_test(test_json__messages_quote_nothing),
        base_test(test_json__depth_has_a_limit),
        base_test(test_json__members_have_a_limit),
        base_test(test_json__length_has_a_limit),
        base_test(test_json__tree_stays_below_the_ceiling),
        base_test(test_json__workspace_suffices_for_any_token),
        base_test(test_json_parse__every_allocation_may_fail),
        base_test(test_json_write__every_allocation_may_fail),
        base_test(test_json_write__a_full_buffer_fails),
        base_test(test_json_write__a_bottomless_tree_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
