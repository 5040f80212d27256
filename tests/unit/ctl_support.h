/* SPDX-License-Identifier: PostgreSQL */
/* ctl_support.h - what the tests of the command line share. */
#pragma once

#include "base/value.h"

/** A value as spaced JSON in @b, valid until its next use. */
const char *ctl_flow(struct pgv_buf *b, const struct pgv_value *v);
/** A value from JSON text, which must be right. */
struct pgv_value *ctl_json(struct pgv_arena *a, const char *text);
