/* SPDX-License-Identifier: PostgreSQL */
/* test_ctl_config_check.c - what is said about a changed dynamic configuration. */
#include "ctl/config_check.h"
#include "ctl_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/** Three members: a leads, c does not run, b runs with max_connections = 300 still. */
static const struct {
    const char *key, *value;
} keys[] = {
    { "leader", "a" },
    { "members/a", "{\"state\": \"running\", \"role\": \"primary\"}" },
    { "members/b", "{\"state\": \"running\", \"role\": \"replica\", \"pending_restart\": true, "
                   "\"pending_restart_reason\": {\"max_connections\": {\"old_value\": \"300\", "
                   "\"new_value\": \"100\"}}}" },
    { "members/c", "{\"state\": \"stopped\", \"role\": \"replica\"}" },
};

static const struct {
    const char *before, *after, *errors, *warnings, *restarts;
} cases[] = {
    { "{}", "{}", "", "", "" },
    { "{\"ttl\": 30}", "{\"ttl\": 40}", "", "", "" },
    { "{\"ttl\": 30}", "{\"ttl\": 5}",
      "ttl 5 didn't pass validation: Wrong value [a number of at least 20 s]\n",
      "ttl, loop_wait, retry_timeout  are impossible together: loop_wait + 2*retry_timeout = 30 s "
      "is more than ttl = 5 s [the agent will lower the other two]\n",
      "" },
    /* What was wrong before is not told again. */
    { "{\"ttl\": 5, \"x\": 1}", "{\"ttl\": 5, \"x\": 1, \"pause\": true}", "", "", "" },
    { "{}", "{\"postgresql\": 5}",
      "postgresql 5 is not a dictionary [keys with values, indented below it]\n", "", "" },
    { "{}", "{\"lop_wait\": 5}", "",
      "lop_wait  is not known and has no effect [did you mean 'loop_wait'?]\n", "" },
    { "{}", "{\"slots\": {\"x\": {\"type\": \"physical\"}}, \"synchronous_mode\": \"quorum\"}", "",
      "", "" },
    /* A parameter: name, value, what the agents make of it. */
    { "{}", "{\"postgresql\": {\"parameters\": {\"max_connectons\": 5}}}", "",
      "postgresql.parameters.max_connectons  is not known to PostgreSQL [did you mean "
      "'max_connections'?]\n",
      "" },
    { "{}", "{\"postgresql\": {\"parameters\": {\"an_ext.x\": 5, \"work_mem\": \"64MB\"}}}", "", "",
      "" },
    { "{}", "{\"postgresql\": {\"parameters\": {\"work_mem\": \"x\"}}}", "",
      "postgresql.parameters.work_mem x does not suit and is left out [a number, by itself counted "
      "in kB]\n",
      "" },
    { "{}", "{\"postgresql\": {\"parameters\": {\"work_mem\": 1}}}", "",
      "postgresql.parameters.work_mem 1 is too low [the agents make it 64kB]\n", "" },
    { "{}", "{\"postgresql\": {\"parameters\": {\"fsync\": 7, \"wal_sync_method\": \"x\"}}}", "",
      "postgresql.parameters.fsync 7 does not suit and is left out [on or off]\n"
      "postgresql.parameters.wal_sync_method x does not suit and is left out [one of: "
      "fsync|fdatasync|open_sync|open_datasync]\n",
      "" },
    { "{}", "{\"postgresql\": {\"parameters\": {\"port\": 1, \"primary_conninfo\": \"x\"}}}", "",
      "postgresql.parameters.port 1 is not accepted [it follows from the configuration of each "
      "member]\n"
      "postgresql.parameters.primary_conninfo x has no effect here [it belongs to "
      "postgresql.recovery_conf]\n",
      "" },
    { "{}", "{\"postgresql\": {\"parameters_replica\": {\"max_connections\": 500}}}", "",
      "postgresql.parameters_replica.max_connections 500 has no effect here [it must be the same "
      "on "
      "all members]\n",
      "" },
    { "{}", "{\"postgresql\": {\"parameters\": {\"max_connections\": null, \"x\": null}}}", "",
      "", "" },
    /* Restarts: of whom runs, unless it runs with that value already. */
    { "{\"postgresql\": {\"parameters\": {\"max_connections\": 100}}}",
      "{\"postgresql\": {\"parameters\": {\"max_connections\": 200}}}", "", "",
      "max_connections 100 -> 200: restart of a, b\n" },
    { "{\"postgresql\": {\"parameters\": {\"max_connections\": 100}}}",
      "{\"postgresql\": {\"parameters\": {\"max_connections\": \"300\"}}}", "", "",
      "max_connections 100 -> 300: restart of a\n" },
    { "{\"postgresql\": {\"parameters\": {\"max_connections\": 100}}}",
      "{\"postgresql\": {\"parameters\": {\"max_connections\": \"100\"}}}", "", "", "" },
    { "{\"postgresql\": {\"parameters\": {\"shared_buffers\": \"1GB\"}}}",
      "{\"postgresql\": {\"parameters\": {\"shared_buffers\": \"1024MB\"}}}", "", "", "" },
    { "{\"postgresql\": {\"parameters\": {\"shared_buffers\": \"1GB\"}}}", "{}", "", "",
      "shared_buffers 1GB -> default: restart of a, b\n" },
    { "{}", "{\"postgresql\": {\"parameters\": {\"huge_pages\": true}}}", "", "",
      "huge_pages default -> True: restart of a, b\n" },
    { "{\"postgresql\": {\"parameters\": {\"huge_pages\": \"on\"}}}",
      "{\"postgresql\": {\"parameters\": {\"huge_pages\": true}}}", "", "", "" },
    { "{}", "{\"postgresql\": {\"parameters\": {\"autovacuum_max_workers\": 5}}}", "", "",
      "autovacuum_max_workers default -> 5 (before PostgreSQL 18): restart of a, b\n" },
    { "{}", "{\"postgresql\": {\"parameters\": {\"io_method\": \"worker\"}}}", "", "",
      "io_method default -> worker (from PostgreSQL 18 on): restart of a, b\n" },
    { "{}", "{\"postgresql\": {\"parameters_primary\": {\"shared_buffers\": \"1GB\"}}}", "", "",
      "shared_buffers default -> 1GB: restart of a\n" },
    /* Not accepted, so nothing changes. */
    { "{}", "{\"postgresql\": {\"parameters\": {\"max_connections\": 5}}}", "",
      "postgresql.parameters.max_connections 5 is not accepted [at least 25; the default is used: "
      "100]\n",
      "" },
};

struct fixture {
    struct dcs_snapshot snapshot;
    struct pgv_arena arena;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    dcs_snapshot_init(&f->snapshot);
    pgv_arena_init(&f->arena, 8 << 20);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        dcs_snapshot_put(&f->snapshot, pgv_str(keys[i].key), pgv_str(keys[i].value), "1", "");
    dcs_snapshot_finish(&f->snapshot);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    dcs_snapshot_done(&f->snapshot);
    pgv_arena_done(&f->arena);
    free(f);
    return pgv_alloc_blocks_in_use() == 0 ? 0 : -1;
}

static void test_config_check__says(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ctl_config_check k;
        struct pgv_error err;

        ctl_config_check_init(&k);
        if (!ctl_config_check(&k, &f->snapshot.cluster, ctl_json(&f->arena, cases[i].before),
                              ctl_json(&f->arena, cases[i].after), &err))
            fail_msg("case %zu: %s", i, err.msg);
        if (strcmp(pgv_buf_cstr(&k.errors), cases[i].errors) != 0 ||
            strcmp(pgv_buf_cstr(&k.warnings), cases[i].warnings) != 0 ||
            strcmp(pgv_buf_cstr(&k.restarts), cases[i].restarts) != 0)
            fail_msg("case %zu %s:\n%s\n%s\n%s", i, cases[i].after, pgv_buf_cstr(&k.errors),
                     pgv_buf_cstr(&k.warnings), pgv_buf_cstr(&k.restarts));
        ctl_config_check_done(&k);
    }
}

static void test_config_check__out_of_memory(void **state)
{
    struct fixture *f = *state;
    const struct pgv_value *before = ctl_json(&f->arena, "{\"ttl\": 30}");
    const struct pgv_value *after =
        ctl_json(&f->arena,
                 "{\"ttl\": 5, \"x\": 1, \"postgresql\": {\"parameters\": {\"wal_buffers\": 5}}}");
    bool done = false;

    for (unsigned long nth = 1; !done; nth++) {
        struct ctl_config_check k;
        struct pgv_error err;

        ctl_config_check_init(&k);
        pgv_alloc_fail_at(nth, true);
        done = ctl_config_check(&k, &f->snapshot.cluster, before, after, &err);
        pgv_alloc_fail_at(0, false);
        assert_true(done || err.code == PGV_ENOMEM);
        ctl_config_check_done(&k);
        assert_true(nth < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_config_check__says, setup, teardown),
        cmocka_unit_test_setup_teardown(test_config_check__out_of_memory, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
