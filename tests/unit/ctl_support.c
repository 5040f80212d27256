/* SPDX-License-Identifier: PostgreSQL */
/* ctl_support.c - what the tests of the command line share. */
#include "ctl_support.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

const char *ctl_flow(struct pgv_buf *b, const struct pgv_value *v)
{
    pgv_buf_reset(b);
    assert_true(pgv_json_write(b, v, PGV_JSON_SPACED));
    return pgv_buf_cstr(b);
}

struct pgv_value *ctl_json(struct pgv_arena *a, const char *text)
{
    struct pgv_value *v = NULL;
    struct pgv_error err;

    if (!pgv_json_parse(a, pgv_str(text), &v, &err))
        fail_msg("%s: %s", text, err.msg);
    return v;
}
