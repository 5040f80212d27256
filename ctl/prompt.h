/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/prompt.h - questions to a person. End of input and Ctrl-C end the command (PGV_ECANCELED,
 * shown as 'Aborted!'); they never count as an answer.
 */
#pragma once

#include "ctl/ctl.h"

#define CTL_ANSWER_BYTES 1024

/**
 * '<text> [<otherwise>]: '. An empty answer is @otherwise, which may be empty; with NULL there is
 * no default, '<text>: ' is shown and an empty answer asks again.
 */
bool ctl_ask(struct ctl *c, const char *text, const char *otherwise, char ret[CTL_ANSWER_BYTES],
             struct pgv_error *err) PGV_MUST_CHECK;
/** A whole number without default; anything else is refused and asked for again. */
bool ctl_ask_integer(struct ctl *c, const char *text, int64_t *ret,
                     struct pgv_error *err) PGV_MUST_CHECK;
/**
 * '<text>: ', and what is typed does not show. On the terminal itself where there is one, so that
 * standard input and output may be elsewhere; an empty answer asks again.
 */
bool ctl_ask_secret(struct ctl *c, const char *text, char ret[CTL_ANSWER_BYTES],
                    struct pgv_error *err) PGV_MUST_CHECK;
/** '<text> [y/N]: '. True in @ret for y and yes, false for n, no and nothing. */
bool ctl_confirm(struct ctl *c, const char *text, bool *ret, struct pgv_error *err) PGV_MUST_CHECK;

/** All of standard input, for edit-config. PGV_EINVALID past the ceiling of @b. */
bool ctl_read_input(struct ctl *c, struct pgv_buf *b, struct pgv_error *err) PGV_MUST_CHECK;
