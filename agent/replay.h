/* SPDX-License-Identifier: PostgreSQL */
/* agent/replay.h - pgvigil --replay FILE: the recording through this build's brain. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

/**
 * Tells the story of a recording on @out and compares each step, effect by effect, with what this
 * build's brain decides. 0: identical; 1: it differs, and where; 2: unreadable, and why on @errors.
 */
int replay_file(const char *path, FILE *out, FILE *errors);
