/* SPDX-License-Identifier: PostgreSQL */
/* http/percent.h - %XX in queries and URLs. Private to this folder. */
#pragma once

#include "base/buf.h"

/** Decode into @ret; a broken escape stays as it is. False when it does not fit, or holds a zero
 *  byte, which no text of ours can mean. */
bool percent_decode(struct pgv_str s, bool plus_is_blank, char *ret, size_t ret_bytes);
