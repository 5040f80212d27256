/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_agent_datalock.c - one agent for one data directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/datalock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], moved[80];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/pgvigil-lock-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(moved, sizeof(moved), "%s.moved", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    (void)rmdir(dir);
    (void)rmdir(moved);
    return 0;
}

/* Locks belong to open files, so two of them in one process are strangers, too. */
static void test_take__only_one_has_it(void **state)
{
    struct datalock a = DATALOCK_NONE, b = DATALOCK_NONE;
    struct pgv_error err = { 0 };

    (void)state;
    assert_true(datalock_take(&a, dir, &err));
    assert_true(datalock_take(&a, dir, &err));
    assert_false(datalock_take(&b, dir, &err));
    assert_int_equal(err.code, PGV_ECONFLICT);
    assert_non_null(strstr(err.msg, dir));
    datalock_release(&a);
    assert_true(datalock_take(&b, dir, &err));
    assert_false(datalock_take(&a, dir, &err));
    datalock_release(&b);
}

static void test_take__a_new_directory_is_another_one(void **state)
{
    struct datalock a = DATALOCK_NONE, b = DATALOCK_NONE;
    struct pgv_error err = { 0 };

    (void)state;
    assert_true(datalock_take(&a, dir, &err));
    assert_int_equal(rename(dir, moved), 0);
    assert_true(datalock_take(&a, dir, &err)); /* none: nothing to have */
    assert_int_equal(a.fd, -1);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_true(datalock_take(&a, dir, &err));
    assert_false(datalock_take(&b, dir, &err));
    assert_true(datalock_take(&b, moved, &err));
    assert_false(datalock_take(&b, dir, &err));
    assert_false(datalock_take(&a, moved, &err)); /* what was held stays */
    datalock_release(&a);
    datalock_release(&b);
    datalock_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_take__only_one_has_it, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_take__a_new_directory_is_another_one, make_dir,
                                        remove_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
