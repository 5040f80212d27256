/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/base_support.c - what the tests of base/ share. */
#include "base_support.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pgv_arena base_arena;

static char folder[64];
static size_t blocks_before;

int base_setup(void **state)
{
    (void)state;
    blocks_before = pgv_alloc_blocks_in_use();
    pgv_arena_init(&base_arena, 4 * 1024 * 1024);
    return 0;
}

int base_teardown(void **state)
{
    (void)state;
    pgv_alloc_fail_at(0, false);
    pgv_arena_done(&base_arena);
    if (pgv_alloc_blocks_in_use() != blocks_before) {
        print_error("the test left %zu blocks allocated\n",
                    pgv_alloc_blocks_in_use() - blocks_before);
        return -1;
    }
    return 0;
}

struct pgv_value *base_json(const char *text)
{
    struct pgv_error err = { 0 };
    struct pgv_value *v = NULL;

    if (!pgv_json_parse(&base_arena, pgv_str(text), &v, &err))
        fail_msg("%s: %s", text, err.msg);
    return v;
}

const char *base_text(const struct pgv_value *v)
{
    struct pgv_buf b;
    char *copy;

    pgv_buf_init(&b, 1024 * 1024);
    assert_true(pgv_json_write(&b, v, PGV_JSON_COMPACT));
    copy = pgv_arena_dup(&base_arena, pgv_buf_view(&b));
    pgv_buf_done(&b);
    assert_non_null(copy);
    return copy;
}

const char *base_mkdtemp(void)
{
    (void)snprintf(folder, sizeof(folder), "./test_base_XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

void base_rmdir(void)
{
    struct pgv_error err = { 0 };

    assert_true(pgv_tree_remove(folder, &err));
}

const char *base_slurp(const char *path)
{
    struct pgv_error err = { 0 };
    struct pgv_buf b;
    char *copy;

    pgv_buf_init(&b, 1024 * 1024);
    if (!pgv_file_read(path, &b, &err))
        fail_msg("%s", err.msg);
    copy = pgv_arena_dup(&base_arena, pgv_buf_view(&b));
    pgv_buf_done(&b);
    assert_non_null(copy);
    return copy;
}
