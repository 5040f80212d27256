/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/base_support.h - what the tests of base/ share. */
#pragma once

#include "base/value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/** An arena that lives for one test; base_setup and base_teardown are its fixture. */
extern struct pgv_arena base_arena;
int base_setup(void **state);
/** Also asserts that the test gave back all it allocated. */
int base_teardown(void **state);

/** The value of a JSON text that must parse. */
struct pgv_value *base_json(const char *text);
/** JSON text of a value, compact, in the test's arena. */
const char *base_text(const struct pgv_value *v);

/** A new empty folder below the build directory, removed by base_rmdir(). */
const char *base_mkdtemp(void);
void base_rmdir(void);
/** The whole content of a file, in the test's arena. */
const char *base_slurp(const char *path);

#define base_test(f) cmocka_unit_test_setup_teardown(f, base_setup, base_teardown)
#define assert_str(s, z)                                                                           \
    do {                                                                                           \
        struct pgv_str assert_str_s = (s);                                                         \
        assert_int_equal(assert_str_s.n, strlen(z));                                               \
        assert_memory_equal(assert_str_s.p, (z), assert_str_s.n);                                  \
    } while (0)
