/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_base_value.c - the value tree: look-up, truth, text form, comparing, merging.
 *
 * Source of the merging and comparing rules: contract of Patroni 4.1, config.md 2.2.
 */
#include "base_support.h"

#include <stdio.h>
#include <string.h>

static void test_get__nothing_from_nothing(void **state)
{
    struct pgv_value *v = base_json("{\"a\":{\"b\":[1,2]},\"s\":\"x\",\"n\":null}");

    (void)state;
    assert_null(pgv_get(NULL, "a"));
    assert_null(pgv_get(v, "z"));
    assert_null(pgv_get(pgv_get(v, "s"), "a"));
    assert_null(pgv_value_first(NULL));
    assert_null(pgv_value_first(pgv_get(v, "s")));
    assert_non_null(pgv_get(v, "n"));
    assert_true(pgv_is(pgv_get(v, "n"), PGV_NULL));
    assert_false(pgv_is(NULL, PGV_NULL));
    assert_non_null(pgv_path(v, "a.b"));
    assert_null(pgv_path(v, "a.b.c"));
    assert_null(pgv_path(v, "a.z.c"));
    assert_null(pgv_path(NULL, "a"));
    assert_string_equal(pgv_stringz(pgv_path(v, "s")), "x");
    assert_null(pgv_stringz(pgv_path(v, "n")));
    assert_str(pgv_string(pgv_path(v, "n")), "");
    assert_str(pgv_string(NULL), "");
}

static void test_each__walks_in_order(void **state)
{
    char keys[16] = "";
    size_t n = 0;

    (void)state;
    PGV_EACH(item, base_json("{\"c\":1,\"a\":2,\"b\":3}"))
    {
        keys[n++] = item->key.p[0];
    }
    assert_string_equal(keys, "cab");
    PGV_EACH(item, base_json("5"))
    {
        fail_msg("a number has no members, not %d", item->type);
    }
}

static void test_truthy__as_python(void **state)
{
    static const char *const falsy[] = { "null", "false", "0", "0.0", "-0.0", "\"\"", "[]", "{}" };
    static const char *const truthy[] = { "true",  "1",         "-1",  "0.1",
                                          "\"0\"", "\"false\"", "[0]", "{\"a\":null}" };

    (void)state;
    assert_false(pgv_truthy(NULL));
    for (size_t i = 0; i < sizeof(falsy) / sizeof(*falsy); i++)
        assert_false(pgv_truthy(base_json(falsy[i])));
    for (size_t i = 0; i < sizeof(truthy) / sizeof(*truthy); i++)
        assert_true(pgv_truthy(base_json(truthy[i])));
}

static void test_bool_like_and_int_like__go_by_the_text(void **state)
{
    (void)state;
    assert_true(pgv_bool_like(base_json("true")));
    assert_true(pgv_bool_like(base_json("\"ON\"")));
    assert_true(pgv_bool_like(base_json("1")));
    assert_false(pgv_bool_like(base_json("2")));
    assert_false(pgv_bool_like(base_json("\"nonsense\"")));
    assert_false(pgv_bool_like(base_json("null")));
    assert_false(pgv_bool_like(base_json("[1]")));
    assert_false(pgv_bool_like(NULL));
    assert_int_equal(pgv_int_like(base_json("\"0x10\""), NULL, 7), 16);
    assert_int_equal(pgv_int_like(base_json("2.5"), NULL, 7), 2);
    assert_int_equal(pgv_int_like(base_json("\"30min\""), "s", 7), 1800);
    assert_int_equal(pgv_int_like(base_json("\"30min\""), NULL, 7), 7);
    assert_int_equal(pgv_int_like(base_json("true"), NULL, 7), 7);
    assert_int_equal(pgv_int_like(base_json("null"), NULL, 7), 7);
    assert_int_equal(pgv_int_like(base_json("{}"), NULL, 7), 7);
    assert_int_equal(pgv_int_like(NULL, NULL, 7), 7);
}

static void test_map__sets_replaces_and_removes(void **state)
{
    struct pgv_arena *a = &base_arena;
    struct pgv_value *map = pgv_new(a, PGV_MAP), *list = pgv_new(a, PGV_LIST);

    (void)state;
    assert_non_null(pgv_map_set(a, map, "a", pgv_new_int(a, 1)));
    assert_non_null(pgv_map_set(a, map, "b", pgv_new_bool(a, true)));
    assert_non_null(pgv_map_set(a, map, "c", pgv_new_string(a, PGV_STR("x"))));
    assert_non_null(pgv_map_set(a, map, "b", list)); /* keeps its place */
    assert_non_null(pgv_list_add(list, pgv_new(a, PGV_NULL)));
    assert_non_null(pgv_map_take(map, PGV_STR("c"), pgv_new_int(a, 2))); /* the last one */
    assert_non_null(pgv_map_set(a, map, "d", pgv_new_int(a, 3)));
    assert_string_equal(base_text(map), "{\"a\":1,\"b\":[null],\"c\":2,\"d\":3}");
    assert_int_equal(map->u.c.n, 4);
    assert_false(pgv_map_remove(map, "z"));
    assert_true(pgv_map_remove(map, "d"));
    assert_true(pgv_map_remove(map, "a"));
    assert_non_null(pgv_map_set(a, map, "e", pgv_new_int(a, 5)));
    assert_string_equal(base_text(map), "{\"b\":[null],\"c\":2,\"e\":5}");
    assert_true(pgv_map_remove(map, "b") && pgv_map_remove(map, "c") && pgv_map_remove(map, "e"));
    assert_int_equal(map->u.c.n, 0);
    assert_non_null(pgv_map_set(a, map, "f", pgv_new_int(a, 6)));
    assert_string_equal(base_text(map), "{\"f\":6}");
}

static void test_building__from_nothing_is_nothing(void **state)
{
    struct pgv_arena *a = &base_arena;

    (void)state;
    assert_null(pgv_list_add(NULL, pgv_new_int(a, 1)));
    assert_null(pgv_list_add(pgv_new(a, PGV_LIST), NULL));
    assert_null(pgv_list_add(pgv_new(a, PGV_MAP), pgv_new_int(a, 1)));
    assert_null(pgv_map_set(a, NULL, "k", pgv_new_int(a, 1)));
    assert_null(pgv_map_set(a, pgv_new(a, PGV_MAP), "k", NULL));
    assert_null(pgv_map_set(a, pgv_new_int(a, 1), "k", pgv_new_int(a, 1)));
    assert_null(pgv_map_take(NULL, PGV_STR("k"), pgv_new_int(a, 1)));
    assert_false(pgv_map_remove(NULL, "k"));
    assert_null(pgv_value_copy(a, NULL));
}

static const char *text_form(const struct pgv_value *v)
{
    struct pgv_buf b;
    const char *s;

    pgv_buf_init(&b, 10000);
    assert_true(pgv_value_text(&b, v));
    s = pgv_arena_dup(&base_arena, pgv_buf_view(&b));
    pgv_buf_done(&b);
    return s;
}

static void test_value_text__as_python_prints(void **state)
{
    static const char *const cases[][2] = {
        { "null", "None" },
        { "true", "True" },
        { "false", "False" },
        { "5", "5" },
        { "30.0", "30.0" },
        { "1e16", "1e+16" },
        { "\"bare 'text'\"", "bare 'text'" },
        { "[]", "[]" },
        { "{}", "{}" },
        { "[1,\"a\",null,true,1.5]", "[1, 'a', None, True, 1.5]" },
        { "{\"k\":\"v\",\"l\":[{}]}", "{'k': 'v', 'l': [{}]}" },
        { "[\"it's\"]", "[\"it's\"]" },
        { "[\"it's \\\"q\\\"\"]", "['it\\'s \"q\"']" },
        { "[\"\\n\\r\\t\\\\\\u0001\\u00e9\"]", "['\\n\\r\\t\\\\\\x01\xc3\xa9']" },
        { "[\"\\u2028\\u00a0\"]", "['\\u2028\\xa0']" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_string_equal(text_form(base_json(cases[i][0])), cases[i][1]);
    assert_string_equal(text_form(NULL), "None");
}

static void test_value_same__goes_by_text(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        { "{\"1\":null}", "{}", false },
        { "{\"1\":{}}", "{\"1\":null}", false },
        { "{\"1\":[1]}", "{\"1\":[2]}", false },
        { "{\"1\":2}", "{\"1\":\"2\"}", true },
        { "{\"1\":{\"2\":[3,4]}}", "{\"1\":{\"2\":[3,4]}}", true },
        { "{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true },
        { "{\"a\":30.0}", "{\"a\":30}", false },
        { "{\"a\":true}", "{\"a\":\"True\"}", true },
        { "{\"a\":true}", "{\"a\":\"true\"}", false },
        { "{\"a\":null}", "{\"a\":\"None\"}", true },
        { "{\"a\":[1]}", "{\"a\":[\"1\"]}", false },
        { "{\"a\":[1]}", "{\"a\":\"[1]\"}", true },
        { "{\"a\":\"[1, 2]\"}", "{\"a\":[1,2]}", true },
        { "{\"a\":[1]}", "{\"a\":1}", false },
        { "{\"a\":{\"b\":1}}", "{\"a\":{\"b\":1,\"c\":2}}", false },
        { "{\"a\":{\"b\":1}}", "{\"a\":{\"c\":1}}", false },
        { "{}", "null", false },
        { "5", "\"5\"", true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct pgv_value *a = base_json(cases[i].a), *b = base_json(cases[i].b);

        if (pgv_value_same(a, b) != cases[i].same || pgv_value_same(b, a) != cases[i].same)
            fail_msg("%s and %s: wrong answer", cases[i].a, cases[i].b);
    }
    assert_true(pgv_value_same(NULL, NULL));
    assert_false(pgv_value_same(NULL, base_json("null")));
}

static void test_value_same__without_memory_says_different(void **state)
{
    const struct pgv_value *a = base_json("[1]"), *b = base_json("\"[1]\"");

    (void)state;
    pgv_alloc_fail_at(1, true);
    assert_false(pgv_value_same(a, b));
    pgv_alloc_fail_at(0, false);
    assert_true(pgv_value_same(a, b));
}

static void test_value_equal__is_strict(void **state)
{
    static const char *const all[] = {
        "null",
        "true",
        "false",
        "0",
        "1",
        "1.0",
        "1.5",
        "\"1\"",
        "\"\"",
        "[]",
        "[1]",
        "[\"1\"]",
        "{}",
        "{\"a\":1}",
        "{\"a\":2}",
        "{\"b\":1}",
        "{\"a\":1,\"b\":1}",
        "[[]]",
        "[{}]",
    };
    size_t n = sizeof(all) / sizeof(*all);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++)
            assert_int_equal(pgv_value_equal(base_json(all[i]), base_json(all[k])), i == k);
    }
    assert_true(
        pgv_value_equal(base_json("{\"a\":1,\"b\":[2]}"), base_json("{\"b\":[2],\"a\":1}")));
    assert_false(pgv_value_equal(base_json("[1,2]"), base_json("[2,1]")));
    assert_true(pgv_value_equal(NULL, NULL));
    assert_false(pgv_value_equal(NULL, base_json("1")));
}

static void test_value_copy__is_whole_and_apart(void **state)
{
    struct pgv_value *v = base_json("{\"a\":[1,2.5,\"x\",null,true,{\"b\":{}}]}");
    struct pgv_value *copy = pgv_value_copy(&base_arena, v);

    (void)state;
    assert_true(pgv_value_equal(v, copy));
    assert_true(pgv_map_remove(v, "a"));
    assert_string_equal(base_text(copy), "{\"a\":[1,2.5,\"x\",null,true,{\"b\":{}}]}");
}

struct patch_case {
    const char *target, *patch, *result;
    bool changed;
};

static const struct patch_case patch_cases[] = {
    { "{}", "{}", "{}", false },
    { "{\"a\":1}", "{\"a\":null}", "{}", true },
    { "{\"a\":null}", "{\"a\":null}", "{}", false }, /* deleting a null is no change */
    { "{}", "{\"a\":null}", "{}", false },
    { "{\"a\":{\"b\":1}}", "{\"a\":{}}", "{\"a\":{\"b\":1}}", false },
    { "{\"a\":{\"b\":1}}", "{\"a\":{\"c\":2}}", "{\"a\":{\"b\":1,\"c\":2}}", true },
    { "{\"a\":{\"b\":1}}", "{\"a\":{\"b\":null}}", "{\"a\":{}}", true },
    { "{\"a\":5}", "{\"a\":{\"b\":null}}", "{\"a\":{\"b\":null}}", true },
    { "{}", "{\"a\":{\"b\":null}}", "{\"a\":{\"b\":null}}", true },
    { "{\"a\":5}", "{\"a\":\"5\"}", "{\"a\":5}", false }, /* the old type stays */
    { "{\"a\":5}", "{\"a\":5.0}", "{\"a\":5.0}", true },
    { "{\"a\":true}", "{\"a\":\"True\"}", "{\"a\":true}", false },
    { "{\"a\":true}", "{\"a\":\"true\"}", "{\"a\":\"true\"}", true },
    { "{\"a\":[1,2]}", "{\"a\":[1]}", "{\"a\":[1]}", true },
    { "{\"a\":[1]}", "{\"a\":[1]}", "{\"a\":[1]}", false },
    { "{\"a\":[1]}", "{\"a\":[\"1\"]}", "{\"a\":[\"1\"]}", true },
    { "{\"a\":{}}", "{\"a\":5}", "{\"a\":5}", true },
    { "{\"a\":1,\"b\":2}", "{\"b\":3,\"c\":4}", "{\"a\":1,\"b\":3,\"c\":4}", true },
    { "{\"p\":{\"q\":{\"r\":1}}}", "{\"p\":{\"q\":{\"r\":2,\"s\":{\"t\":null}}}}",
      "{\"p\":{\"q\":{\"r\":2,\"s\":{\"t\":null}}}}", true },
};

static void test_value_patch__table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(patch_cases) / sizeof(*patch_cases); i++) {
        const struct patch_case *c = &patch_cases[i];
        struct pgv_value *target = base_json(c->target);
        struct pgv_error err = { 0 };
        bool changed = !c->changed;

        assert_true(pgv_value_patch(&base_arena, target, base_json(c->patch), &changed, &err));
        assert_string_equal(base_text(target), c->result);
        if (changed != c->changed)
            fail_msg("%s over %s: changed is %d", c->patch, c->target, changed);
    }
}

static void test_value_patch__leaves_the_patch_alone(void **state)
{
    struct pgv_value *target = base_json("{}"), *patch = base_json("{\"a\":{\"b\":1},\"c\":[1]}");
    struct pgv_error err = { 0 };
    bool changed;

    (void)state;
    assert_true(pgv_value_patch(&base_arena, target, patch, &changed, &err));
    assert_true(pgv_map_remove(pgv_get(target, "a"), "b"));
    assert_string_equal(base_text(patch), "{\"a\":{\"b\":1},\"c\":[1]}");
}

static void test_value_patch__maps_only(void **state)
{
    struct pgv_error err = { 0 };
    bool changed;

    (void)state;
    assert_false(pgv_value_patch(&base_arena, base_json("[]"), base_json("{}"), &changed, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_false(pgv_value_patch(&base_arena, base_json("{}"), base_json("5"), &changed, &err));
    assert_false(pgv_value_patch(&base_arena, base_json("{}"), NULL, &changed, &err));
    assert_false(pgv_value_patch(&base_arena, NULL, base_json("{}"), &changed, &err));
}

static void test_value_patch__without_memory_changes_nothing(void **state)
{
    struct pgv_value *target = base_json("{\"a\":1,\"b\":{\"c\":2}}");
    struct pgv_value *patch = base_json("{\"a\":null,\"b\":{\"c\":3,\"d\":[1,2,3,\"four\"]}}");
    bool done = false, changed;

    (void)state;
    for (size_t room = 0; !done; room += 16) {
        struct pgv_error err = { 0 };
        struct pgv_arena small;

        pgv_arena_init(&small, room);
        done = pgv_value_patch(&small, target, patch, &changed, &err);
        if (!done) {
            assert_int_equal(err.code, PGV_ENOMEM);
            assert_string_equal(base_text(target), "{\"a\":1,\"b\":{\"c\":2}}");
        } else {
            assert_string_equal(base_text(target), "{\"b\":{\"c\":3,\"d\":[1,2,3,\"four\"]}}");
        }
        pgv_arena_done(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        base_test(test_get__nothing_from_nothing),
        base_test(test_each__walks_in_order),
        base_test(test_truthy__as_python),
        base_test(test_bool_like_and_int_like__go_by_the_text),
        base_test(test_map__sets_replaces_and_removes),
        base_test(test_building__from_nothing_is_nothing),
        base_test(test_value_text__as_python_prints),
        base_test(test_value_same__goes_by_text),
        base_test(test_value_same__without_memory_says_different),
        base_test(test_value_equal__is_strict),
        base_test(test_value_copy__is_whole_and_apart),
        base_test(test_value_patch__table),
        base_test(test_value_patch__leaves_the_patch_alone),
        base_test(test_value_patch__maps_only),
        base_test(test_value_patch__without_memory_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
