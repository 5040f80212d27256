/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/generate.h - --generate-sample-config and --generate-config: a configuration to begin with.
 */
#pragma once

#include <stdbool.h>

/**
 * Write a configuration to @file ("": standard output), made up or taken from a running server
 * (@from_server, @dsn says which one and may be NULL): the exit code. PATRONI_* variables, which
 * are taken, have the last word; what nobody knows is '#FIXME' and named on standard error. The
 * file holds passwords: it is replaced as a whole, for its owner's eyes alone. Waits for the
 * server, and asks for the superuser's password when nothing else tells it.
 */
int agent_generate_main(bool from_server, const char *dsn, const char *file);
