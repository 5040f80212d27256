/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/value_build.h - private to the parsers of base/: filling a map that is not known to be good.
 *
 * Setting member by member looks each key up, which a peer could make take seconds. The parsers
 * append, and make the keys unique once, when the map is complete.
 */
#pragma once

#include "base/value.h"

/** Adds @item as @key, which lives as long as the map, whether or not the key is there already. */
void pgv_map_append(struct pgv_value *map, struct pgv_str key, struct pgv_value *item);
/**
 * Of members with the same key the last value stays, in the place of the first, as if they had been
 * set one by one. False without memory; then the map is as it was.
 */
bool pgv_map_make_unique(struct pgv_value *map) PGV_MUST_CHECK;
