/* SPDX-License-Identifier: PostgreSQL */
/* base/yaml_scalar.h - private to base/yaml: what a plain scalar means in YAML 1.1. */
#pragma once

#include "base/value.h"

enum yaml_kind {
    YAML_KIND_STR,
    YAML_KIND_NULL,
    YAML_KIND_BOOL,
    YAML_KIND_INT,
    YAML_KIND_FLOAT,
    YAML_KIND_TIMESTAMP,
    YAML_KIND_MERGE, /* '<<' */
    YAML_KIND_VALUE, /* '=' */
};

/** As PyYAML's resolver decides by the look of the text. */
enum yaml_kind yaml_resolve(struct pgv_str s);
/** The value of a text of @kind, put into @ret (its type too). False: it only looked like one. */
bool yaml_construct(struct pgv_str s, enum yaml_kind kind, struct pgv_value *ret) PGV_MUST_CHECK;
