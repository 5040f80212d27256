/* SPDX-License-Identifier: PostgreSQL */
/* test_ctl_sheet.c - rows and columns in each format, and differences of texts. */
#include "ctl/diff.h"
#include "ctl/sheet.h"
#include "ctl_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct pgv_arena arena;
    struct pgv_buf b;
    struct ctl_column columns[3];
    struct ctl_sheet sheet;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    pgv_arena_init(&f->arena, 8 << 20);
    pgv_buf_init(&f->b, 8 << 20);
    f->columns[0].name = "Name";
    f->columns[1] = (struct ctl_column){ .name = "Receive Lag", .heading = "Lag", .right = true };
    f->columns[2].name = "Note";
    f->sheet = (struct ctl_sheet){ .arena = &f->arena, .n_columns = 3, .columns = f->columns };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    pgv_buf_done(&f->b);
    pgv_arena_done(&f->arena);
    free(f);
    return pgv_alloc_blocks_in_use() == 0 ? 0 : -1;
}

static const char *written(struct fixture *f, const char *rows, enum ctl_format format)
{
    f->sheet.rows = ctl_json(&f->arena, rows);
    pgv_buf_reset(&f->b);
    assert_true(ctl_sheet_write(&f->b, &f->sheet, format));
    return pgv_buf_cstr(&f->b);
}

static void test_write__a_table_fits_its_longest_cells(void **state)
{
    assert_string_equal(
        written(*state, "[[\"a\", 5, \"\"], [\"long name\", 1234, null]]", CTL_PRETTY),
        "+-----------+------+------+\n"
        "| Name      |  Lag | Note |\n"
        "+-----------+------+------+\n"
        "| a         |    5 |      |\n"
        "| long name | 1234 | None |\n"
        "+-----------+------+------+\n");
}

static void test_write__an_empty_table_has_two_rules_at_its_end(void **state)
{
    assert_string_equal(written(*state, "[]", CTL_PRETTY), "+------+-----+------+\n"
                                                           "| Name | Lag | Note |\n"
                                                           "+------+-----+------+\n"
                                                           "+------+-----+------+\n");
}

static void test_write__lines_within_a_cell_draw_rules_between_rows(void **state)
{
    assert_string_equal(
        written(*state, "[[\"a\", 1, \"x\\nyy\"], [\"b\\nc\\nd\", 22, \"z\"]]", CTL_PRETTY),
        "+------+-----+------+\n"
        "| Name | Lag | Note |\n"
        "+------+-----+------+\n"
        "| a    |   1 | x    |\n"
        "|      |     | yy   |\n"
        "+------+-----+------+\n"
        "| b    |  22 | z    |\n"
        "| c    |     |      |\n"
        "| d    |     |      |\n"
        "+------+-----+------+\n");
}

static void test_write__the_title_is_cut_not_the_table_widened(void **state)
{
    struct fixture *f = *state;

    f->sheet.title = " Cluster: x ";
    assert_memory_equal(written(f, "[]", CTL_PRETTY), "+ Cluster: x +------+\n", 22);
    f->sheet.title = " Cluster: quite a long one (1234567) ";
    assert_memory_equal(written(f, "[]", CTL_PRETTY), "+ Cluster: quite a l+\n", 22);
    f->sheet.title = " Z\xc3\xbcrich ";
    assert_memory_equal(written(f, "[]", CTL_PRETTY), "+ Z\xc3\xbcrich ----+------+\n", 23);
}

static void test_write__a_column_told_by_the_title_is_left_out(void **state)
{
    struct fixture *f = *state;

    f->columns[0].in_title = true;
    assert_string_equal(written(f, "[[\"a\", 1, \"n\"]]", CTL_PRETTY), "+-----+------+\n"
                                                                       "| Lag | Note |\n"
                                                                       "+-----+------+\n"
                                                                       "|   1 | n    |\n"
                                                                       "+-----+------+\n");
    assert_string_equal(written(f, "[[\"a\", 1, \"n\"]]", CTL_TSV),
                        "Name\tReceive Lag\tNote\na\t1\tn\n");
}

static void test_write__columns_are_those_of_the_terminal(void **state)
{
    /* Two wide signs, one with a combining accent, an escape sequence that must not reach us. */
    assert_string_equal(
        written(*state,
                "[[\"\xe6\x9d\xb1\xe4\xba\xac\", 1, \"e\\u0301\"], [\"a\\u001b[1m\", 2, \"\"]]",
                CTL_PRETTY),
        "+-------+-----+------+\n"
        "| Name  | Lag | Note |\n"
        "+-------+-----+------+\n"
        "| \xe6\x9d\xb1\xe4\xba\xac  |   1 | e\xcc\x81    |\n"
        "| a?[1m |   2 |      |\n"
        "+-------+-----+------+\n");
}

static void test_write__programs_get_names_and_numbers(void **state)
{
    struct fixture *f = *state;
    const char *rows = "[[\"\xc3\xbc\", 5, \"\"], [\"b\", \"\", {\"x\": true}]]";

    assert_string_equal(written(f, rows, CTL_JSON),
                        "[{\"Name\": \"\\u00fc\", \"Receive Lag\": 5, \"Note\": \"\"}, "
                        "{\"Name\": \"b\", \"Receive Lag\": \"\", \"Note\": {\"x\": true}}]\n");
    assert_string_equal(written(f, rows, CTL_YAML),
                        "- Name: \xc3\xbc\n  Note: ''\n  Receive Lag: 5\n"
                        "- Name: b\n  Note:\n    x: true\n  Receive Lag: ''\n\n");
    f->sheet.title = " x ";
    assert_string_equal(written(f, rows, CTL_JSON),
                        "[{\"Name\": \"\\u00fc\", \"Receive Lag\": 5}, "
                        "{\"Name\": \"b\", \"Note\": {\"x\": true}}]\n");
    assert_string_equal(written(f, "[]", CTL_JSON), "[]\n");
    assert_string_equal(written(f, "[]", CTL_YAML), "[]\n\n");
}

static void test_write__fails_cleanly_at_every_allocation(void **state)
{
    struct fixture *f = *state;
    static const enum ctl_format formats[] = { CTL_PRETTY, CTL_TSV, CTL_JSON, CTL_YAML };

    f->sheet.rows = ctl_json(&f->arena, "[[\"a\", 5, \"x\\ny\"]]");
    for (size_t i = 0; i < 4; i++) {
        bool done = false;

        for (unsigned long nth = 1; !done; nth++) {
            struct pgv_arena own;

            pgv_arena_init(&own, 1 << 20);
            pgv_buf_done(&f->b);
            pgv_buf_init(&f->b, 1 << 20);
            f->sheet.arena = &own;
            pgv_alloc_fail_at(nth, true);
            done = ctl_sheet_write(&f->b, &f->sheet, formats[i]);
            pgv_alloc_fail_at(0, false);
            pgv_arena_done(&own);
            assert_true(nth < 200);
        }
    }
}

static const char *difference(struct fixture *f, const char *before, const char *after)
{
    pgv_buf_reset(&f->b);
    assert_true(ctl_diff(&f->b, &f->arena, pgv_str(before), pgv_str(after)));
    return pgv_buf_cstr(&f->b);
}

static void test_diff__shows_three_lines_around_a_change(void **state)
{
    assert_string_equal(
        difference(*state, "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n"),
        "--- \n+++ \n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
}

static void test_diff__says_nothing_of_equal_texts(void **state)
{
    assert_string_equal(difference(*state, "a\nb\n", "a\nb"), "");
    assert_string_equal(difference(*state, "", ""), "");
}

static void test_diff__leaves_out_a_length_of_one(void **state)
{
    assert_string_equal(difference(*state, "{}\n", "a: 1\nb: 2\n"),
                        "--- \n+++ \n@@ -1 +1,2 @@\n-{}\n+a: 1\n+b: 2\n");
    assert_string_equal(difference(*state, "a\nb\n", "a\n"), "--- \n+++ \n@@ -1,2 +1 @@\n a\n-b\n");
}

static void test_diff__parts_distant_changes(void **state)
{
    /* Six common lines join two changes, seven part them. */
    assert_string_equal(difference(*state, "x\n1\n2\n3\n4\n5\n6\ny\n", "X\n1\n2\n3\n4\n5\n6\nY\n"),
                        "--- \n+++ \n@@ -1,8 +1,8 @@\n-x\n+X\n 1\n 2\n 3\n 4\n 5\n 6\n-y\n+Y\n");
    assert_string_equal(
        difference(*state, "x\n1\n2\n3\n4\n5\n6\n7\ny\n", "X\n1\n2\n3\n4\n5\n6\n7\nY\n"),
        "--- \n+++ \n@@ -1,4 +1,4 @@\n-x\n+X\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-y\n+Y\n");
}

static void test_diff__takes_the_longest_run_first(void **state)
{
    /* A minimal difference would keep 'a'; difflib keeps the longer 'b c'. */
    assert_string_equal(difference(*state, "a\nb\nc\n", "b\nc\na\n"),
                        "--- \n+++ \n@@ -1,3 +1,3 @@\n-a\n b\n c\n+a\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_write__a_table_fits_its_longest_cells),
        TEST(test_write__an_empty_table_has_two_rules_at_its_end),
        TEST(test_write__lines_within_a_cell_draw_rules_between_rows),
        TEST(test_write__the_title_is_cut_not_the_table_widened),
        TEST(test_write__a_column_told_by_the_title_is_left_out),
        TEST(test_write__columns_are_those_of_the_terminal),
        TEST(test_write__programs_get_names_and_numbers),
        TEST(test_write__fails_cleanly_at_every_allocation),
        TEST(test_diff__shows_three_lines_around_a_change),
        TEST(test_diff__says_nothing_of_equal_texts),
        TEST(test_diff__leaves_out_a_length_of_one),
        TEST(test_diff__parts_distant_changes),
        TEST(test_diff__takes_the_longest_run_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
