/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_base_yaml.c - reading and writing YAML, compared with what PyYAML does.
 *
 * base_yaml_table.h was computed by PyYAML; see base_yaml_table.py. What stands here is what a
 * table cannot say: limits, messages, lines, memory.
 */
#include "base_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_yaml_table.h"

static const char *write_with(bool (*write)(struct pgv_buf *, const struct pgv_value *),
                              const struct pgv_value *v)
{
    struct pgv_buf b;
    const char *s;

    pgv_buf_init(&b, 1 << 20);
    assert_true(write(&b, v));
    s = pgv_arena_dup(&base_arena, pgv_buf_view(&b));
    pgv_buf_done(&b);
    return s;
}

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

static struct pgv_value *yaml(const char *text)
{
    struct pgv_error err = { 0 };
    struct pgv_value *v = NULL;

    if (!pgv_yaml_parse(&base_arena, "test.yml", pgv_str(text), &v, &err))
        fail_msg("'%s': %s", text, err.msg);
    return v;
}

static void test_yaml_parse__as_pyyaml(void **state)
{
    unsigned wrong = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(yaml_read_table) / sizeof(*yaml_read_table); i++) {
        struct pgv_str text = yaml_read_table[i][0], json = yaml_read_table[i][1];
        struct pgv_error err = { 0 };
        struct pgv_value *v = NULL;

        pgv_arena_reset(&base_arena);
        if (pgv_yaml_parse(&base_arena, "test.yml", text, &v, &err) != (json.p != NULL)) {
            print_error("'%s': wrong outcome: %s\n", text.p, err.msg);
            wrong++;
        } else if (!json.p) {
            assert_null(v);
            assert_int_equal(err.code, PGV_EINVALID);
            assert_true(strncmp(err.msg, "test.yml, line ", 15) == 0);
        } else if (strcmp(spaced(v), json.p) != 0) {
            print_error("'%s' is '%s' and should be '%s'\n", text.p, spaced(v), json.p);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

static void test_yaml_write__as_pyyaml(void **state)
{
    unsigned wrong = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(yaml_write_table) / sizeof(*yaml_write_table); i++) {
        struct pgv_value *v = base_json(yaml_write_table[i][0].p);
        const char *block = write_with(pgv_yaml_write, v);
        const char *flow = write_with(pgv_yaml_write_flow, v);

        if (strcmp(block, yaml_write_table[i][1].p) != 0) {
            print_error("'%s' should be '%s'\n", block, yaml_write_table[i][1].p);
            wrong++;
        }
        if (strcmp(flow, yaml_write_table[i][2].p) != 0) {
            print_error("'%s' should be '%s'\n", flow, yaml_write_table[i][2].p);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* What we write we read back as the same value. */
static void test_yaml_write__is_read_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(yaml_write_table) / sizeof(*yaml_write_table); i++) {
        struct pgv_value *v = base_json(yaml_write_table[i][0].p);

        /* U+0085 is written as a line break and read as a newline, by PyYAML too. */
        if (strstr(yaml_write_table[i][0].p, "\\u0085"))
            continue;
        if (!pgv_value_equal(v, yaml(write_with(pgv_yaml_write, v))))
            fail_msg("%s is not read back", yaml_write_table[i][0].p);
        if (!pgv_value_equal(v, yaml(write_with(pgv_yaml_write_flow, v))))
            fail_msg("%s is not read back from flow style", yaml_write_table[i][0].p);
    }
}

static void test_yaml__what_json_cannot_say(void **state)
{
    struct pgv_value *v = yaml("[.inf, -.inf, .nan, 1.0e+400]");

    (void)state;
    assert_true(isinf(v->u.c.first->u.d) && v->u.c.first->u.d > 0);
    assert_true(isinf(v->u.c.first->next->u.d) && v->u.c.first->next->u.d < 0);
    assert_true(isnan(v->u.c.first->next->next->u.d));
    assert_true(isinf(v->u.c.last->u.d));
    assert_string_equal(write_with(pgv_yaml_write, v), "- .inf\n- -.inf\n- .nan\n- .inf\n");
    assert_string_equal(write_with(pgv_yaml_write, NULL), "null\n...\n");
    v = pgv_new_string(&base_arena, PGV_STR("a\xff")); /* no UTF-8: still a document */
    assert_string_equal(write_with(pgv_yaml_write, v), "a\xef\xbf\xbd\n...\n");
}

static void test_yaml_parse__lines_and_file(void **state)
{
    struct pgv_value *v = yaml("a: 1\n\nb:\n- x\n- &l {c: y,\n   d: z}\ne: *l\n");

    (void)state;
    assert_int_equal(v->line, 1);
    assert_int_equal(pgv_get(v, "a")->line, 1);
    assert_int_equal(pgv_get(v, "b")->line, 4);
    assert_int_equal(pgv_get(v, "b")->u.c.first->line, 4);
    assert_int_equal(pgv_get(pgv_get(v, "b")->u.c.last, "d")->line, 6);
    assert_int_equal(pgv_path(v, "e.d")->line, 6); /* where it was written */
    assert_string_equal(pgv_get(v, "a")->file, "test.yml");
}

static void test_yaml_parse__messages(void **state)
{
    static const char *const cases[][2] = {
        { "a: 1\nb: c: d\n", "test.yml, line 2: mapping values are not allowed in this context" },
        { "a: [1,\n", "test.yml, line 2: did not find expected node content" },
        { "a: *b\n", "test.yml, line 1: found undefined alias" },
        { "a: 1\n---\nb\n", "test.yml, line 2: expected a single document in the stream" },
        { "a:\n  !x y\n", "test.yml, line 2: a tag of an unknown type" },
        { "a:\n  b: &x\n  - *x\n", "test.yml, line 3: a value cannot contain itself" },
        { "? [a]\n: b\n", "test.yml, line 1: found unhashable key" },
    };
    struct pgv_error err = { 0 };
    struct pgv_value *v;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_false(pgv_yaml_parse(&base_arena, "test.yml", pgv_str(cases[i][0]), &v, &err));
        assert_string_equal(err.msg, cases[i][1]);
    }
    assert_false(pgv_yaml_parse(&base_arena, NULL, PGV_STR("}"), &v, &err));
    assert_true(strncmp(err.msg, "line 1: ", 8) == 0);
    assert_false(pgv_yaml_parse(&base_arena, NULL, PGV_STR("password: hunter2: x"), &v, &err));
    assert_null(strstr(err.msg, "hunter2"));
}

static void test_yaml_parse__an_alias_is_a_copy(void **state)
{
    struct pgv_value *v = yaml("a: &x {p: 1}\nb: *x\nc:\n  <<: *x\n");

    (void)state;
    assert_true(pgv_map_remove(pgv_get(v, "a"), "p"));
    assert_string_equal(base_text(v), "{\"a\":{},\"b\":{\"p\":1},\"c\":{\"p\":1}}");
}

/* Nine levels of nine aliases each: 9^9 values if nobody stops it. */
static void test_yaml_parse__a_bomb_fails(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_value *v = NULL;
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, 10000);
    pgv_buf_puts(&b, "a0: &a0 [x]\n");
    for (int i = 1; i <= 9; i++) {
        pgv_buf_printf(&b, "a%d: &a%d [", i, i);
        for (int k = 0; k < 9; k++)
            pgv_buf_printf(&b, "*a%d,", i - 1);
        pgv_buf_puts(&b, "]\n");
    }
    assert_false(pgv_yaml_parse(&base_arena, NULL, pgv_buf_view(&b), &v, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_non_null(strstr(err.msg, "too large"));
    pgv_buf_done(&b);
}

static bool parses(const struct pgv_buf *b)
{
    struct pgv_error err = { 0 };
    struct pgv_value *v = NULL;
    bool ok;

    pgv_arena_reset(&base_arena);
    ok = pgv_yaml_parse(&base_arena, NULL, pgv_buf_view(b), &v, &err);
    if (!ok)
        assert_int_equal(err.code, PGV_EINVALID);
    return ok;
}

static void test_yaml_parse__depth_has_a_limit(void **state)
{
    struct pgv_buf b;

    (void)state;
    for (int depth = PGV_DEPTH_MAX - 1; depth <= PGV_DEPTH_MAX + 1; depth++) {
        pgv_buf_init(&b, 10000);
        for (int i = 0; i < depth; i++)
            pgv_buf_puts(&b, "[");
        for (int i = 0; i < depth; i++)
            pgv_buf_puts(&b, "]");
        assert_int_equal(parses(&b), depth <= PGV_DEPTH_MAX);
        pgv_buf_done(&b);
    }
    /* Each anchor doubles the depth of the one before. */
    pgv_buf_init(&b, 10000);
    pgv_buf_puts(&b, "- &a0 [x]\n");
    for (int i = 1; i < 60; i++)
        pgv_buf_printf(&b, "- &a%d [*a%d]\n", i, i - 1);
    assert_true(parses(&b));
    for (int i = 60; i < 80; i++)
        pgv_buf_printf(&b, "- &a%d [*a%d]\n", i, i - 1);
    assert_false(parses(&b));
    pgv_buf_done(&b);
}

static void test_yaml_parse__numbers_have_limits(void **state)
{
    struct pgv_buf b;
    char *text;

    (void)state;
    pgv_buf_init(&b, 1 << 20);
    for (int i = 0; i < PGV_MEMBERS_MAX; i++)
        pgv_buf_printf(&b, "k%d: 1\n", i);
    assert_true(parses(&b));
    pgv_buf_puts(&b, "last: 1\n");
    assert_false(parses(&b));
    pgv_buf_reset(&b);
    for (int i = 0; i < 256; i++)
        pgv_buf_printf(&b, "- &a%d x\n", i);
    assert_true(parses(&b));
    pgv_buf_puts(&b, "- &last x\n");
    assert_false(parses(&b));
    pgv_buf_done(&b);
    text = calloc(1, PGV_YAML_BYTES_MAX + 1);
    assert_non_null(text);
    memset(text, '\n', PGV_YAML_BYTES_MAX + 1);
    b = (struct pgv_buf){ .p = text, .n = PGV_YAML_BYTES_MAX + 1 };
    assert_false(parses(&b));
    free(text);
}

static const char whole[] =
    "a: &x {p: [1, 2.5, ~, yes], q: 'text'}\nb:\n  <<: *x\n  r: |\n    lit\n1: *x\n";

static void test_yaml_parse__every_allocation_may_fail(void **state)
{
    const char *expected = spaced(yaml(whole));
    bool done = false;

    (void)state;
    for (unsigned long nth = 1; !done; nth++) {
        struct pgv_error err = { 0 };
        struct pgv_value *v = NULL;
        struct pgv_arena a;

        pgv_arena_init(&a, 1 << 20);
        pgv_alloc_fail_at(nth, true);
        done = pgv_yaml_parse(&a, NULL, pgv_str(whole), &v, &err);
        pgv_alloc_fail_at(0, false);
        if (done)
            assert_string_equal(spaced(v), expected);
        else
            assert_int_equal(err.code, PGV_ENOMEM);
        pgv_arena_done(&a);
    }
}

/* The same at every single piece of the arena, of which there are far more. */
static void test_yaml_parse__every_ceiling_is_met(void **state)
{
    bool done = false;

    (void)state;
    for (size_t room = 0; !done; room += 16) {
        struct pgv_error err = { 0 };
        struct pgv_value *v = NULL;
        struct pgv_arena a;

        pgv_arena_init(&a, room);
        done = pgv_yaml_parse(&a, NULL, pgv_str(whole), &v, &err);
        if (!done) {
            assert_null(v);
            assert_int_equal(err.code, PGV_EINVALID);
        }
        pgv_arena_done(&a);
        assert_true(room < 100000);
    }
}

static void test_yaml_write__every_allocation_may_fail(void **state)
{
    struct pgv_value *v = yaml(whole);
    bool done = false;

    (void)state;
    for (unsigned long nth = 1; !done; nth++) {
        struct pgv_buf b;

        pgv_buf_init(&b, 1 << 20);
        pgv_alloc_fail_at(nth, true);
        done = pgv_yaml_write(&b, v);
        pgv_alloc_fail_at(0, false);
        assert_int_equal(b.failed, !done);
        pgv_buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        base_test(test_yaml_parse__as_pyyaml),
        base_test(test_yaml_write__as_pyyaml),
        base_test(test_yaml_write__is_read_back),
        base_test(test_yaml__what_json_cannot_say),
        base_test(test_yaml_parse__lines_and_file),
        base_test(test_yaml_parse__messages),
        base_test(test_yaml_parse__an_alias_is_a_copy),
        base_test(test_yaml_parse__a_bomb_fails),
        base_test(test_yaml_parse__depth_has_a_limit),
        base_test(test_yaml_parse__numbers_have_limits),
        base_test(test_yaml_parse__every_allocation_may_fail),
        base_test(test_yaml_parse__every_ceiling_is_met),
        base_test(test_yaml_write__every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
