/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_base_memory.c - allocation, arenas and buffers. */
#include "base_support.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void test_alloc__counts_and_gives_back(void **state)
{
    size_t bytes = pgv_alloc_bytes_in_use(), blocks = pgv_alloc_blocks_in_use();
    char *p = pgv_alloc(100), *q = pgv_zalloc(50);

    (void)state;
    assert_non_null(p);
    assert_non_null(q);
    assert_int_equal(pgv_alloc_blocks_in_use(), blocks + 2);
    assert_true(pgv_alloc_bytes_in_use() >= bytes + 150);
    for (int i = 0; i < 50; i++)
        assert_int_equal(q[i], 0);
    memset(p, 7, 100);
    p = pgv_realloc(p, 10000);
    assert_non_null(p);
    assert_int_equal(p[99], 7);
    assert_int_equal(pgv_alloc_blocks_in_use(), blocks + 2);
    pgv_free(p);
    pgv_free(q);
    pgv_free(NULL);
    assert_int_equal(pgv_alloc_bytes_in_use(), bytes);
    assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
}

/* Last, for it stays open: what malloc refuses comes from the reserve. */
static void test_reserve__serves_what_malloc_refuses(void **state)
{
    size_t bytes = pgv_alloc_bytes_in_use(), blocks = pgv_alloc_blocks_in_use();
    unsigned char *before = pgv_alloc(100), *p, *many[64];
    unsigned n = 0;

    (void)state;
    assert_non_null(before);
    memset(before, 7, 100);
    pgv_alloc_starve(true);
    assert_null(pgv_alloc(1)); /* not open yet */
    pgv_reserve_open();
    assert_int_equal(pgv_reserve_bytes_in_use(), 0);
    p = pgv_calloc(10, 100);
    assert_non_null(p);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(p[i], 0);
    assert_true(pgv_reserve_bytes_in_use() >= 1000);
    /* a block of malloc's grows into it, and one of its own grows and moves back */
    before = pgv_realloc(before, 5000);
    assert_non_null(before);
    assert_int_equal(before[99], 7);
    before[4999] = 9;
    memset(p, 3, 1000);
    p = pgv_realloc(p, 3000);
    assert_int_equal(p[999], 3);
    assert_ptr_equal(pgv_realloc(p, 2000), p);
    pgv_alloc_starve(false);
    before = pgv_realloc(before, 6000);
    assert_int_equal(before[99], 7);
    assert_int_equal(before[4999], 9);
    pgv_alloc_starve(true);
    /* everybody gets half of it, what is vital the rest */
    while (n < 64 && (many[n] = pgv_alloc(8000)) != NULL)
        n++;
    assert_in_range(n, 5, 8);
    pgv_vital_begin();
    pgv_vital_begin();
    pgv_vital_end();
    while (n < 64 && (many[n] = pgv_alloc(8000)) != NULL)
        n++;
    assert_in_range(n, 13, 16);
    pgv_vital_end();
    assert_null(pgv_alloc(1));
    for (unsigned i = 0; i < n; i += 2) /* holes first, then they join */
        pgv_free(many[i]);
    for (unsigned i = 1; i < n; i += 2)
        pgv_free(many[i]);
    pgv_free(p);
    pgv_free(before);
    assert_int_equal(pgv_reserve_bytes_in_use(), 0);
    assert_true(pgv_reserve_served() > 10);
    assert_int_equal(pgv_reserve_served(), 0);  /* not since */
    p = pgv_alloc(PGV_RESERVE_BYTES / 2 - 256); /* in one piece again */
    assert_non_null(p);
    pgv_free(p);
    assert_null(pgv_calloc(SIZE_MAX / 2, 3));
    assert_null(pgv_alloc(PGV_RESERVE_BYTES * 2));
    pgv_alloc_starve(false);
    assert_int_equal(pgv_alloc_bytes_in_use(), bytes);
    assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
}

static void test_alloc__zero_bytes_is_a_block(void **state)
{
    void *p = pgv_alloc(0), *q = pgv_zalloc(0), *r = pgv_realloc(NULL, 0);

    (void)state;
    assert_non_null(p);
    assert_non_null(q);
    assert_non_null(r);
    pgv_free(p);
    pgv_free(q);
    pgv_free(r);
}

static void test_alloc_fail_at__fails_the_nth_only(void **state)
{
    void *p, *q;

    (void)state;
    pgv_alloc_fail_at(2, false);
    p = pgv_alloc(1);
    assert_non_null(p);
    assert_null(pgv_realloc(p, 100)); /* the old block stays */
    q = pgv_zalloc(1);
    assert_non_null(q);
    pgv_free(p);
    pgv_free(q);
}

static void test_alloc_fail_at__and_all_after(void **state)
{
    void *p;

    (void)state;
    pgv_alloc_fail_at(2, true);
    p = pgv_alloc(1);
    assert_non_null(p);
    assert_null(pgv_alloc(1));
    assert_null(pgv_zalloc(1));
    assert_null(pgv_realloc(NULL, 1));
    pgv_alloc_fail_at(0, false);
    pgv_free(p);
    p = pgv_alloc(1);
    assert_non_null(p);
    pgv_free(p);
}

static void test_arena__pieces_are_zeroed_aligned_and_apart(void **state)
{
    char *last = NULL;

    (void)state;
    for (size_t n = 1; n < 300; n++) {
        char *p = pgv_arena_alloc(&base_arena, n);

        assert_non_null(p);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0x5a, n);
        if (last)
            assert_int_equal(last[0], 0x5a);
        last = p;
    }
}

static void test_arena__ceiling_holds_over_all_blocks(void **state)
{
    struct pgv_arena a;
    size_t n = 0;

    (void)state;
    pgv_arena_init(&a, 20000);
    while (pgv_arena_alloc(&a, 100))
        n++;
    assert_in_range(n, 150, 200);
    assert_true(a.over);
    assert_true(a.bytes <= 20000);
    assert_null(pgv_arena_alloc(&a, SIZE_MAX)); /* no overflow on the way */
    assert_null(pgv_arena_alloc(&a, SIZE_MAX - 8));
    pgv_arena_reset(&a);
    assert_false(a.over);
    assert_int_equal(a.bytes, 0);
    assert_null(pgv_arena_alloc(&a, 20001));
    assert_non_null(pgv_arena_alloc(&a, 20000));
    pgv_arena_done(&a);
}

static void test_arena__reset_keeps_one_block(void **state)
{
    struct pgv_arena a;
    size_t blocks = pgv_alloc_blocks_in_use();

    (void)state;
    pgv_arena_init(&a, 1 << 20);
    for (int i = 0; i < 1000; i++)
        assert_non_null(pgv_arena_alloc(&a, 500));
    assert_true(pgv_alloc_blocks_in_use() > blocks + 1);
    pgv_arena_reset(&a);
    assert_int_equal(pgv_alloc_blocks_in_use(), blocks + 1);
    pgv_alloc_fail_at(1, true);
    assert_non_null(pgv_arena_alloc(&a, 500)); /* needs no new memory */
    pgv_alloc_fail_at(0, false);
    pgv_arena_done(&a);
    pgv_arena_done(NULL);
    assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
}

static void test_arena__no_memory_is_null_and_not_over(void **state)
{
    (void)state;
    pgv_alloc_fail_at(1, true);
    assert_null(pgv_arena_alloc(&base_arena, 10));
    assert_null(pgv_arena_dup(&base_arena, PGV_STR("x")));
    assert_null(pgv_arena_printf(&base_arena, "%d", 1));
    assert_false(base_arena.over);
}

static void test_arena_printf__formats_and_dup_terminates(void **state)
{
    (void)state;
    assert_string_equal(pgv_arena_printf(&base_arena, "%s-%05d", "a", 42), "a-00042");
    assert_string_equal(pgv_arena_dup(&base_arena, (struct pgv_str){ "abcdef", 3 }), "abc");
    assert_string_equal(pgv_arena_dup(&base_arena, (struct pgv_str){ 0 }), "");
}

static void test_str__compares_trims_and_cuts(void **state)
{
    struct pgv_str head, tail;

    (void)state;
    assert_int_equal(pgv_str(NULL).n, 0);
    assert_true(pgv_str_eq(pgv_str(NULL), PGV_STR("")));
    assert_true(pgv_str_eqz(PGV_STR("ab"), "ab"));
    assert_false(pgv_str_eqz(PGV_STR("ab"), "abc"));
    assert_true(pgv_str_starts(PGV_STR("abc"), "ab"));
    assert_true(pgv_str_starts(PGV_STR(""), ""));
    assert_false(pgv_str_starts(PGV_STR("a"), "ab"));
    assert_str(pgv_str_trim(PGV_STR(" \t\r\n\v\fx y\n ")), "x y");
    assert_str(pgv_str_trim(PGV_STR("  ")), "");
    assert_true(pgv_str_cut(PGV_STR("a=b=c"), '=', &head, &tail));
    assert_str(head, "a");
    assert_str(tail, "b=c");
    assert_true(pgv_str_cut(PGV_STR("="), '=', &head, &tail));
    assert_int_equal(head.n + tail.n, 0);
    assert_false(pgv_str_cut(PGV_STR("abc"), '=', &head, &tail));
    assert_str(head, "abc");
    assert_int_equal(tail.n, 0);
    assert_false(pgv_str_cut(pgv_str(NULL), '=', &head, &tail));
}

static void test_copy__fits_or_is_empty(void **state)
{
    char a[4];

    (void)state;
    assert_true(pgv_copyz(a, sizeof(a), "abc"));
    assert_string_equal(a, "abc");
    assert_false(pgv_copyz(a, sizeof(a), "abcd"));
    assert_string_equal(a, "");
    assert_true(pgv_copy(a, sizeof(a), (struct pgv_str){ 0 }));
    assert_string_equal(a, "");
    assert_false(pgv_copy(a, sizeof(a), (struct pgv_str){ "a\0b", 3 })); /* 'a' is another name */
    assert_string_equal(a, "");
}

static void test_copy_cut__never_splits_a_character(void **state)
{
    char a[4];

    (void)state;
    pgv_copy_cut(a, sizeof(a), PGV_STR("abcdef"));
    assert_string_equal(a, "abc");
    pgv_copy_cut(a, sizeof(a), PGV_STR("ab\xc3\xa9"));
    assert_string_equal(a, "ab");
    pgv_copy_cut(a, sizeof(a), PGV_STR("a\xc3\xa9z"));
    assert_string_equal(a, "a\xc3\xa9");
    pgv_copy_cut(a, sizeof(a), PGV_STR(""));
    assert_string_equal(a, "");
}

static void test_buf__grows_up_to_its_ceiling(void **state)
{
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, 10);
    assert_string_equal(pgv_buf_cstr(&b), "");
    assert_true(pgv_buf_puts(&b, "hello"));
    assert_true(pgv_buf_putc(&b, ' '));
    assert_true(pgv_buf_printf(&b, "%d", 1234));
    assert_string_equal(pgv_buf_cstr(&b), "hello 1234");
    assert_false(pgv_buf_putc(&b, 'x'));
    assert_true(b.failed);
    assert_false(pgv_buf_append(&b, "", 0)); /* failed stays */
    assert_string_equal(pgv_buf_cstr(&b), "hello 1234");
    pgv_buf_reset(&b);
    assert_false(b.failed);
    assert_string_equal(pgv_buf_cstr(&b), "");
    assert_false(pgv_buf_printf(&b, "%s", "eleven char"));
    assert_int_equal(b.n, 0);
    assert_string_equal(pgv_buf_cstr(&b), "");
    pgv_buf_done(&b);
    pgv_buf_done(NULL);
}

static void test_buf__zero_value_takes_nothing(void **state)
{
    struct pgv_buf b = { 0 };

    (void)state;
    assert_false(pgv_buf_putc(&b, 'x'));
    assert_string_equal(pgv_buf_cstr(&b), "");
    pgv_buf_done(&b);
}

static void test_buf_reserve__refuses_sizes_that_wrap(void **state)
{
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, SIZE_MAX);
    assert_false(pgv_buf_reserve(&b, SIZE_MAX));
    pgv_buf_done(&b);
    pgv_buf_init(&b, 1000);
    assert_true(pgv_buf_puts(&b, "x"));
    assert_false(pgv_buf_reserve(&b, SIZE_MAX));
    pgv_buf_done(&b);
}

static void test_buf_consume__drops_the_front(void **state)
{
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, 100);
    pgv_buf_consume(&b, 0);
    pgv_buf_puts(&b, "abcdef");
    pgv_buf_consume(&b, 2);
    assert_string_equal(pgv_buf_cstr(&b), "cdef");
    pgv_buf_consume(&b, 4);
    assert_string_equal(pgv_buf_cstr(&b), "");
    pgv_buf_str(&b, PGV_STR("x"));
    assert_str(pgv_buf_view(&b), "x");
    pgv_buf_done(&b);
}

/* Whatever allocation fails: false, failed, the old content whole. */
static void test_buf__every_allocation_may_fail(void **state)
{
    bool done = false;

    (void)state;
    for (unsigned long nth = 1; !done; nth++) {
        struct pgv_buf b;

        pgv_buf_init(&b, 100000);
        pgv_alloc_fail_at(nth, false);
        done = true;
        for (int i = 0; i < 1000 && done; i++)
            done = pgv_buf_printf(&b, "%d,", i);
        pgv_alloc_fail_at(0, false);
        assert_int_equal(b.failed, !done);
        assert_int_equal(strlen(pgv_buf_cstr(&b)), b.n);
        if (b.n)
            assert_int_equal(pgv_buf_cstr(&b)[b.n - 1], ',');
        pgv_buf_done(&b);
        assert_true(nth < 100);
    }
}

/* What is zero is not written: it may be read-only here, elsewhere nobody has paid for it yet. */
static void test_zero__writes_only_what_is_not(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *p = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_ptr_not_equal(p, MAP_FAILED);
    p[0] = p[page - 1] = p[2 * page] = p[2 * page + 300] = 1;
    assert_int_equal(mprotect(p + page, page, PROT_READ), 0);
    pgv_zero(p, 2 * page + 300);
    assert_int_equal(p[2 * page + 300], 1);
    p[2 * page + 300] = 0;
    for (size_t i = 0; i < 3 * page; i++)
        assert_int_equal(p[i], 0);
    munmap(p, 3 * page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        base_test(test_alloc__counts_and_gives_back),
        base_test(test_alloc__zero_bytes_is_a_block),
        base_test(test_alloc_fail_at__fails_the_nth_only),
        base_test(test_alloc_fail_at__and_all_after),
        base_test(test_arena__pieces_are_zeroed_aligned_and_apart),
        base_test(test_arena__ceiling_holds_over_all_blocks),
        base_test(test_arena__reset_keeps_one_block),
        base_test(test_arena__no_memory_is_null_and_not_over),
        base_test(test_arena_printf__formats_and_dup_terminates),
        base_test(test_str__compares_trims_and_cuts),
        base_test(test_copy__fits_or_is_empty),
        base_test(test_copy_cut__never_splits_a_character),
        base_test(test_buf__grows_up_to_its_ceiling),
        base_test(test_buf__zero_value_takes_nothing),
        base_test(test_buf_reserve__refuses_sizes_that_wrap),
        base_test(test_buf_consume__drops_the_front),
        base_test(test_buf__every_allocation_may_fail),
        cmocka_unit_test(test_zero__writes_only_what_is_not),
        cmocka_unit_test(test_reserve__serves_what_malloc_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
