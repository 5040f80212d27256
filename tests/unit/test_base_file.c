/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_base_file.c - files: read, replaced, removed. */
#include "base_support.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *dir;

static int setup(void **state)
{
    dir = base_mkdtemp();
    return base_setup(state);
}

static int teardown(void **state)
{
    base_rmdir();
    return base_teardown(state);
}

static const char *in_dir(const char *name)
{
    const char *path = pgv_arena_printf(&base_arena, "%s/%s", dir, name);

    assert_non_null(path);
    return path;
}

static void put(const char *name, const char *text)
{
    struct pgv_error err = { 0 };

    if (!pgv_file_replace(in_dir(name), pgv_str(text), 0600, &err))
        fail_msg("%s", err.msg);
}

static mode_t mode_of(const char *name)
{
    struct stat st;

    assert_int_equal(lstat(in_dir(name), &st), 0);
    return st.st_mode & 07777;
}

static void test_file_read__appends_the_whole(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_buf b;

    (void)state;
    put("f", "hello\n");
    pgv_buf_init(&b, 100);
    pgv_buf_puts(&b, "> ");
    assert_true(pgv_file_read(in_dir("f"), &b, &err));
    assert_string_equal(pgv_buf_cstr(&b), "> hello\n");
    pgv_buf_done(&b);
    put("empty", "");
    pgv_buf_init(&b, 0);
    assert_true(pgv_file_read(in_dir("empty"), &b, &err));
    assert_string_equal(pgv_buf_cstr(&b), "");
    pgv_buf_done(&b);
}

static void test_file_read__keeps_to_the_ceiling(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_buf b;

    (void)state;
    put("f", "0123456789");
    pgv_buf_init(&b, 10);
    assert_true(pgv_file_read(in_dir("f"), &b, &err));
    pgv_buf_done(&b);
    pgv_buf_init(&b, 9);
    assert_false(pgv_file_read(in_dir("f"), &b, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_string_equal(pgv_buf_cstr(&b), "");
    pgv_buf_done(&b);
}

static void test_file_read__says_what_failed(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_buf b;
    const char *path;

    (void)state;
    pgv_buf_init(&b, 100);
    assert_false(pgv_file_read(in_dir("none"), &b, &err));
    assert_int_equal(err.code, PGV_ESYS);
    assert_int_equal(err.sys, ENOENT);
    assert_non_null(strstr(err.msg, "none"));
    assert_false(pgv_file_read(dir, &b, &err));
    assert_int_equal(err.sys, EISDIR);
    put("f", "x");
    pgv_buf_done(&b);
    pgv_buf_init(&b, 100);
    path = in_dir("f");
    pgv_alloc_fail_at(1, true);
    assert_false(pgv_file_read(path, &b, &err));
    pgv_alloc_fail_at(0, false);
    assert_int_equal(err.code, PGV_ENOMEM);
    pgv_buf_done(&b);
}

static void test_file_read__is_not_held_up_by_a_pipe(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_buf b;

    (void)state;
    assert_int_equal(mkfifo(in_dir("p"), 0600), 0);
    pgv_buf_init(&b, 100);
    assert_true(pgv_file_read(in_dir("p"), &b, &err)); /* returns at all */
    assert_int_equal(b.n, 0);
    pgv_buf_done(&b);
}

static void test_file_replace__sets_text_and_mode(void **state)
{
    struct pgv_error err = { 0 };
    mode_t old = umask(0777);

    (void)state;
    assert_true(pgv_file_replace(in_dir("f"), PGV_STR("one"), 0640, &err));
    umask(old);
    assert_string_equal(base_slurp(in_dir("f")), "one");
    assert_int_equal(mode_of("f"), 0640);
    assert_true(pgv_file_replace(in_dir("f"), PGV_STR("two"), 0600, &err));
    assert_string_equal(base_slurp(in_dir("f")), "two");
    assert_int_equal(mode_of("f"), 0600);
    assert_false(pgv_file_exists(in_dir("f.pgvigil-new")));
}

static void test_file_replace__clears_the_rest_of_a_crash(void **state)
{
    struct pgv_error err = { 0 };

    (void)state;
    put("victim", "untouched");
    assert_int_equal(symlink("victim", in_dir("f.pgvigil-new")), 0);
    assert_true(pgv_file_replace(in_dir("f"), PGV_STR("new"), 0600, &err));
    assert_string_equal(base_slurp(in_dir("victim")), "untouched");
    assert_string_equal(base_slurp(in_dir("f")), "new");
}

static void test_file_replace__goes_through_a_link(void **state)
{
    struct pgv_error err = { 0 };
    struct stat st;

    (void)state;
    put("real", "old");
    assert_int_equal(symlink("real", in_dir("link")), 0);
    assert_true(pgv_file_replace(in_dir("link"), PGV_STR("new"), 0600, &err));
    assert_int_equal(lstat(in_dir("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_string_equal(base_slurp(in_dir("real")), "new");
    assert_int_equal(symlink("nowhere", in_dir("dangling")), 0);
    assert_false(pgv_file_replace(in_dir("dangling"), PGV_STR("x"), 0600, &err));
    assert_int_equal(err.sys, ENOENT);
}

static void test_file_replace__failing_leaves_the_old_one(void **state)
{
    struct pgv_error err = { 0 };
    char longest[300];

    (void)state;
    assert_false(pgv_file_replace(in_dir("no/f"), PGV_STR("x"), 0600, &err));
    assert_int_equal(err.code, PGV_ESYS);
    assert_int_equal(err.sys, ENOENT);
    assert_int_equal(mkdir(in_dir("d"), 0700), 0);
    assert_false(pgv_file_replace(in_dir("d"), PGV_STR("x"), 0600, &err));
    assert_int_equal(err.sys, EISDIR);
    assert_false(pgv_file_exists(in_dir("d.pgvigil-new")));
    assert_true(pgv_file_exists(in_dir("d")));
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_false(pgv_file_replace(in_dir(longest), PGV_STR("x"), 0600, &err));
    assert_int_equal(err.sys, ENAMETOOLONG);
}

static void test_mkdirs__makes_what_is_missing(void **state)
{
    struct pgv_error err = { 0 };
    mode_t old = umask(077);

    (void)state;
    assert_true(pgv_mkdirs(in_dir("a/b//c/"), 0750, &err));
    umask(old);
    assert_int_equal(mode_of("a"), 0750);
    assert_int_equal(mode_of("a/b/c"), 0750);
    assert_true(pgv_mkdirs(in_dir("a/b"), 0700, &err));
    assert_int_equal(mode_of("a/b"), 0750); /* what was there keeps its mode */
    assert_true(pgv_mkdirs("/", 0700, &err));
    put("f", "");
    assert_false(pgv_mkdirs(in_dir("f/x"), 0700, &err));
    assert_int_equal(err.code, PGV_ESYS);
    assert_false(pgv_mkdirs(in_dir("f"), 0700, &err));
    assert_int_equal(err.sys, EEXIST);
    assert_false(pgv_mkdirs("", 0700, &err));
    assert_int_equal(err.sys, ENOENT);
}

static void test_tree_remove__takes_all_but_follows_nothing(void **state)
{
    struct pgv_error err = { 0 };

    (void)state;
    put("outside", "stays");
    assert_true(pgv_mkdirs(in_dir("keep"), 0700, &err));
    put("keep/file", "stays");
    assert_true(pgv_mkdirs(in_dir("t/a/b/c"), 0700, &err));
    put("t/x", "");
    put("t/a/b/y", "");
    assert_int_equal(symlink("../outside", in_dir("t/link")), 0);
    assert_int_equal(symlink("../keep", in_dir("t/dirlink")), 0);
    assert_int_equal(symlink("nowhere", in_dir("t/dangling")), 0);
    assert_int_equal(mkfifo(in_dir("t/pipe"), 0600), 0);
    assert_true(pgv_tree_remove(in_dir("t"), &err));
    assert_false(pgv_file_exists(in_dir("t")));
    assert_string_equal(base_slurp(in_dir("outside")), "stays");
    assert_string_equal(base_slurp(in_dir("keep/file")), "stays");
    assert_true(pgv_tree_remove(in_dir("t"), &err)); /* absent is success */
    assert_true(pgv_tree_remove(in_dir("outside"), &err));
    assert_false(pgv_file_exists(in_dir("outside")));
    assert_int_equal(symlink("keep", in_dir("l")), 0);
    assert_true(pgv_tree_remove(in_dir("l"), &err)); /* the link, not the folder */
    assert_true(pgv_file_exists(in_dir("keep/file")));
}

static void test_tree_remove__depth_has_a_limit(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, 4000);
    pgv_buf_puts(&b, in_dir("deep"));
    for (int i = 0; i < 110; i++)
        pgv_buf_puts(&b, "/d");
    assert_true(pgv_mkdirs(pgv_buf_cstr(&b), 0700, &err));
    assert_false(pgv_tree_remove(in_dir("deep"), &err));
    assert_int_equal(err.sys, ELOOP);
    b.n -= 40; /* by halves it goes */
    b.p[b.n] = '\0';
    assert_true(pgv_tree_remove(pgv_buf_cstr(&b), &err));
    assert_true(pgv_tree_remove(in_dir("deep"), &err));
    pgv_buf_done(&b);
}

static void test_dir_sync__folders_only(void **state)
{
    struct pgv_error err = { 0 };

    (void)state;
    assert_true(pgv_dir_sync(dir, &err));
    put("f", "");
    assert_false(pgv_dir_sync(in_dir("f"), &err));
    assert_int_equal(err.sys, ENOTDIR);
    assert_false(pgv_dir_sync(in_dir("none"), &err));
    assert_int_equal(err.sys, ENOENT);
}

static void test_file_stamp__tells_states_apart(void **state)
{
    struct pgv_file_stamp first, now, none = { 0 };

    (void)state;
    assert_false(pgv_file_stamp(in_dir("f"), &now));
    assert_true(pgv_file_stamp_same(&now, &none));
    put("f", "one");
    assert_true(pgv_file_stamp(in_dir("f"), &first));
    assert_true(pgv_file_stamp(in_dir("f"), &now));
    assert_true(pgv_file_stamp_same(&now, &first));
    assert_false(pgv_file_stamp_settled(&now, INT64_C(3600000000000)));
    assert_true(pgv_file_stamp_settled(&now, 0));
    now.ctime_ns -= INT64_C(3600000000000);
    assert_true(pgv_file_stamp_settled(&now, INT64_C(3600000000000)));
    put("f", "two"); /* another file in its place */
    assert_true(pgv_file_stamp(in_dir("f"), &now));
    assert_false(pgv_file_stamp_same(&now, &first));
    assert_int_equal(truncate(in_dir("f"), 1), 0);
    first = now;
    assert_true(pgv_file_stamp(in_dir("f"), &now));
    assert_false(pgv_file_stamp_same(&now, &first));
}

#define file_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static void test_file_remove__absent_is_success(void **state)
{
    struct pgv_error err = { 0 };

    (void)state;
    put("f", "x");
    assert_true(pgv_file_remove(in_dir("f"), &err));
    assert_false(pgv_file_exists(in_dir("f")));
    assert_true(pgv_file_remove(in_dir("f"), &err));
    assert_int_equal(mkdir(in_dir("folder"), 0700), 0);
    assert_false(pgv_file_remove(in_dir("folder"), &err));
    assert_int_equal(err.code, PGV_ESYS);
    assert_non_null(strstr(err.msg, "folder"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        file_test(test_file_remove__absent_is_success),
        file_test(test_file_read__appends_the_whole),
        file_test(test_file_read__keeps_to_the_ceiling),
        file_test(test_file_read__says_what_failed),
        file_test(test_file_read__is_not_held_up_by_a_pipe),
        file_test(test_file_replace__sets_text_and_mode),
        file_test(test_file_replace__clears_the_rest_of_a_crash),
        file_test(test_file_replace__goes_through_a_link),
        file_test(test_file_replace__failing_leaves_the_old_one),
        file_test(test_mkdirs__makes_what_is_missing),
        file_test(test_tree_remove__takes_all_but_follows_nothing),
        file_test(test_tree_remove__depth_has_a_limit),
        file_test(test_dir_sync__folders_only),
        file_test(test_file_stamp__tells_states_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
