/* links: pgvigil_agent */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_config_merge.c - files of a folder, variables and a dynamic document become one
 * configuration. An input has sections, each behind a line of its own: '%file', '%env' (lines
 * NAME=value) and '%dynamic' (JSON).
 */
#include "agent/config_private.h"
#include "agent/validate.h"
#include "base/config.h"
#include "base/log.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES_MAX 4

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/pgvigil-fuzz-XXXXXX";

static void forget_files(void)
{
    char path[PATH_MAX];

    for (unsigned i = 0; i < FILES_MAX; i++) {
        (void)snprintf(path, sizeof(path), "%s/%u.yml", dir, i);
        (void)unlink(path);
    }
}

static void remove_dir(void)
{
    forget_files();
    (void)rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    pgv_log_configure_ctl(PGV_CRITICAL);
    PGV_ASSERT(mkdtemp(dir));
    return atexit(remove_dir);
}

static void put_file(unsigned i, struct pgv_str text)
{
    char path[PATH_MAX];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%u.yml", dir, i);
    f = fopen(path, "w");
    PGV_ASSERT(f);
    PGV_ASSERT(fwrite(text.p, 1, text.n, f) == text.n);
    PGV_ASSERT(fclose(f) == 0);
}

static void put_env(struct pgv_str text)
{
    struct pgv_str line, tail, name, value;
    char n[128], v[4096];

    for (; text.n > 0; text = tail) {
        tail = (struct pgv_str){ 0 };
        if (!pgv_str_cut(text, '\n', &line, &tail))
            line = text;
        if (pgv_str_cut(line, '=', &name, &value) && pgv_str_starts(name, "PATRONI_") &&
            pgv_copy(n, sizeof(n), name) && pgv_copy(v, sizeof(v), value))
            (void)setenv(n, v, 1);
    }
}

/* The cluster decides these, and where a server lives is its own to say. */
static void check_merged(const struct pgv_value *local, const struct pgv_value *dynamic,
                         const struct pgv_value *merged)
{
    static const char *const own[] = { "listen", "connect_address", "data_dir", "pgpass" };
    const struct pgv_value *pg = pgv_get(merged, "postgresql");
    const struct pgv_value *params = pgv_get(pg, "parameters");

    PGV_ASSERT(pgv_is(pg, PGV_MAP) && pgv_is(params, PGV_MAP));
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        const struct pgv_value *v = pgv_get(pg, own[i]);
        const struct pgv_value *l = pgv_get(pgv_get(local, "postgresql"), own[i]);

        PGV_ASSERT(!v == !l && (!v || pgv_value_same(v, l)));
    }
    if (!pgv_get(dynamic, "ttl"))
        PGV_ASSERT(pgv_int_like(pgv_get(merged, "ttl"), NULL, 0) == 30);
    if (!pgv_get(dynamic, "postgresql"))
        PGV_ASSERT(pgv_int_like(pgv_get(params, "max_connections"), NULL, 0) == 100);
}

static void merge(struct pgv_config *config, struct pgv_str dynamic_text)
{
    struct pgv_value *dynamic = NULL, *merged = NULL, *again = NULL;
    struct agent_config_next before = { 0 };
    struct agent_config c = { .local = *config };
    struct pgv_arena arena;
    struct pgv_error err;

    pgv_arena_init(&arena, 16u << 20);
    if (dynamic_text.n && (!pgv_json_parse(&arena, dynamic_text, &dynamic, &err) ||
                           !pgv_is(dynamic, PGV_MAP) || !agent_config_clamp(&arena, dynamic, &err)))
        goto out;
    if (!agent_config_merge(&arena, dynamic, config->root, &merged, &err) ||
        !agent_config_merge(&arena, dynamic, config->root, &again, &err))
        goto out;
    check_merged(config->root, dynamic, merged);
    PGV_ASSERT(pgv_value_equal(merged, again));
    for (int role = 0; role <= PGV_ROLE_UNKNOWN; role++)
        PGV_ASSERT(
            agent_config_override(&arena, pgv_get(merged, "postgresql"), (enum pgv_role)role));
    c.effective = merged;
    agent_config_say_changes(&c, &before);
out:
    pgv_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgv_str rest = { (const char *)data, size }, dynamic = { 0 };
    struct pgv_config_env env = { 0 };
    struct pgv_config config = { 0 };
    struct agent_findings findings;
    struct pgv_error err;
    unsigned files = 0;
    bool changed;

    (void)clearenv(); /* what the input before has set and nobody took */
    forget_files();
    while (rest.n > 1) {
        const char *next = memmem(rest.p + 1, rest.n - 1, "\n%", 2);
        struct pgv_str part = { rest.p, next ? (size_t)(next + 1 - rest.p) : rest.n }, head, body;

        rest = (struct pgv_str){ rest.p + part.n, rest.n - part.n };
        if (!pgv_str_cut(part, '\n', &head, &body))
            continue;
        if (pgv_str_eqz(head, "%file") && files < FILES_MAX)
            put_file(files++, body);
        else if (pgv_str_eqz(head, "%env"))
            put_env(body);
        else if (pgv_str_eqz(head, "%dynamic"))
            dynamic = body;
    }
    if (!pgv_config_env_take(&env, &err) || !pgv_config_load_lenient(dir, &env, &config, &err))
        goto out;
    /* What lies over the files is in force already: once more changes nothing. */
    PGV_ASSERT(pgv_value_patch(&config.arena, config.root, env.overlay, &changed, &err));
    PGV_ASSERT(!changed);
    if (!pgv_config_read_secrets(&config, NULL, &err))
        goto out;
    agent_findings_init(&findings);
    (void)agent_validate(config.root, 0, &findings, &err);
    agent_findings_done(&findings);
    merge(&config, dynamic);
out:
    pgv_config_done(&config);
    pgv_config_env_done(&env);
    return 0;
}
