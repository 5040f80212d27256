/* SPDX-License-Identifier: PostgreSQL */
/* base/unicode.h - reading UTF-8, and lower case by Unicode's rules. */
#pragma once

#include "base/buf.h"

#define PGV_UTF8_BAD 0xfffd /* what stands for bytes that are no UTF-8 */
#define PGV_UTF8_BYTES 4

/** Takes one code point off the front of @io_s, which must not be empty. */
uint32_t pgv_utf8_next(struct pgv_str *io_s);
/** Writes a code point; returns its number of bytes. Surrogates and what is too large become
 * U+FFFD. */
size_t pgv_utf8_put(uint32_t c, char ret[PGV_UTF8_BYTES]);
/** Lower case of one code point, as Python's str.lower() has it: one or two code points. */
size_t pgv_utf8_lower(uint32_t c, uint32_t ret[2]);
