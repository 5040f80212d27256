/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_base_fdtable.c - the loop's table of descriptors grows without the allocator's
 * help when it must, and not at all when there is no memory.
 */
#include "base/fdtable.h"

#include "base/alloc.h"

#include "base_support.h"

#include <sys/eventfd.h>
#include <unistd.h>

static void test_grow__makes_room_once(void **state)
{
    uv_loop_t loop;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    unsigned room;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_true(pgv_fdtable_grow(&loop, 1000, fd));
    room = loop.nwatchers;
    assert_in_range(room, 1000, 1024);
    assert_true(pgv_fdtable_grow(&loop, room, fd));
    assert_int_equal(loop.nwatchers, room);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    (void)close(fd);
}

static void test_grow__without_memory_nothing_happens(void **state)
{
    uv_loop_t loop;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    unsigned room;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_true(pgv_fdtable_grow(&loop, 100, fd));
    room = loop.nwatchers;
    for (unsigned nth = 1; nth <= 2; nth++) { /* the block that is kept, and the handle */
        pgv_alloc_fail_at(nth, true);
        assert_false(pgv_fdtable_grow(&loop, 1000, fd));
        assert_int_equal(loop.nwatchers, room);
    }
    /* all that libuv itself asks for fails: its table moves into the block that was kept */
    pgv_alloc_fail_at(3, true);
    assert_true(pgv_fdtable_grow(&loop, 1000, fd));
    pgv_alloc_fail_at(0, false);
    assert_in_range(loop.nwatchers, 1000, 1024);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    (void)close(fd);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    uint64_t n;

    assert_int_equal(status, 0);
    assert_int_equal(events, UV_READABLE);
    assert_int_equal(read((int)(intptr_t)poll->data, &n, sizeof(n)), sizeof(n));
    uv_close((uv_handle_t *)poll, NULL);
}

static void test_grow__who_is_watched_stays_watched(void **state)
{
    uv_loop_t loop;
    uv_poll_t poll;
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_poll_init(&loop, &poll, fd), 0);
    poll.data = (void *)(intptr_t)fd;
    assert_int_equal(uv_poll_start(&poll, UV_READABLE, on_event), 0);
    pgv_alloc_fail_at(3, true);
    assert_true(pgv_fdtable_grow(&loop, 1000, fd));
    pgv_alloc_fail_at(0, false);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grow__makes_room_once),
        cmocka_unit_test(test_grow__without_memory_nothing_happens),
        cmocka_unit_test(test_grow__who_is_watched_stays_watched),
    };

    pgv_fdtable_use_allocator();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
