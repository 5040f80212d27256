/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/secrets.h - secrets that the configuration keeps in files: 'password_file' beside
 * 'password', and the variables that set either.
 */
#pragma once

#include "base/value.h"

/** A password or a token; more is a wrong file. */
#define PGV_SECRET_BYTES_MAX 8192

/**
 * @layer is about to be merged over @root (NULL: over nothing). Whoever comes later decides: what
 * @root has of a secret that @layer gives the other way, as text or as file, is taken away.
 * PGV_EINVALID: @layer gives one both ways.
 */
bool pgv_secrets_give_way(struct pgv_value *root, const struct pgv_value *layer,
                          struct pgv_error *err) PGV_MUST_CHECK;

/**
 * Put the content of each file below @section (NULL: anywhere) where its secret belongs, less the
 * newlines at its end, and take the key with the file's name away. @ret_n counts them. What is
 * wrong with a file names it and the key or variable that named it, never its content; a file that
 * everybody may read is a warning.
 */
bool pgv_secrets_read(struct pgv_arena *a, struct pgv_value *root, const char *section,
                      unsigned *ret_n, struct pgv_error *err) PGV_MUST_CHECK;
