/* SPDX-License-Identifier: PostgreSQL */
/* ctl/config_edit.h - changing the dynamic configuration as the options of edit-config say. */
#pragma once

#include "base/value.h"

/**
 * Apply one 'path.to.key=value'. The value is YAML; null or nothing deletes, and maps that become
 * empty are removed with it. Below postgresql.parameters the rest of the path is one name, because
 * parameters may have dots. PGV_EINVALID: no '=', or the value is no YAML.
 */
bool ctl_config_set(struct pgv_arena *a, struct pgv_value *config, const char *pair,
                    struct pgv_error *err) PGV_MUST_CHECK;

/** Merge a YAML document, null deletes. @name is for messages and must live as long as @config. */
bool ctl_config_merge(struct pgv_arena *a, struct pgv_value *config, const char *name,
                      struct pgv_str yaml, struct pgv_error *err) PGV_MUST_CHECK;
