/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_agent_recorder.c - the ring file: configuration, going on, reading back, memory.
 */
#include "agent/recorder.h"

#include "agent/replay.h"
#include "base/alloc.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct ha ha; /* large */
static struct ha_effects fx;
static struct ha_policy policy;
static char dir[] = "/tmp/pgvigil-recorder-XXXXXX";
static struct recorder_config config;

static int setup(void **state)
{
    struct pgv_error err;

    (void)state;
    pgv_log_configure_ctl(PGV_CRITICAL);
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    if (!mkdtemp(dir))
        return 1;
    ha_init(&ha);
    memset(&policy, 0, sizeof(policy));
    policy.ttl_ms = 30000;
    policy.loop_wait_ms = 10000;
    policy.retry_timeout_ms = 10000;
    if (!pgv_copyz(policy.name, sizeof(policy.name), "n1"))
        return 1;
    return recorder_config_read(NULL, dir, NULL, "n1", &config, &err) ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    unlink(config.file);
    return rmdir(dir);
}

/* What the pump does: a real step of the brain, told to the recorder. */
static void step(struct recorder *r, uint64_t now_ms)
{
    struct ha_event ev = { .type = HA_EV_POLICY, .now_ms = now_ms, .wall_us = 1 };

    ev.u.policy = &policy;
    ha_step(&ha, &ev, &fx);
    recorder_step(r, &ha, &ev, &fx);
}

static int replay(void)
{
    FILE *out = fopen("/dev/null", "w");
    int status;

    assert_non_null(out);
    status = replay_file(config.file, out, out);
    fclose(out);
    return status;
}

static void test_recorder_config_read__defaults_and_refusals(void **state)
{
    static const struct {
        const char *key, *text;
        bool ok;
    } rows[] = { { "size", "8MB", true },      { "size", "512kB", false },
                 { "size", "2GB", false },     { "size", "a lot", false },
                 { "file", "/x/y.rec", true }, { "file", "y.rec", false },
                 { "enabled", "maybe", false } };
    struct recorder_config c;
    struct pgv_error err;
    struct pgv_arena a;

    (void)state;
    assert_true(recorder_config_read(NULL, NULL, "/srv/data/", "n1", &c, &err));
    assert_true(c.enabled);
    assert_int_equal(c.size_bytes, 8u << 20);
    assert_string_equal(c.file, "/srv/data.rec");
    assert_true(recorder_config_read(NULL, "/var/log", "/srv/data", "n1", &c, &err));
    assert_string_equal(c.file, "/var/log/pgvigil-n1.rec");
    assert_true(recorder_config_read(NULL, "/var/log", "/srv/data", "../n1", &c, &err));
    assert_string_equal(c.file, "/var/log/pgvigil-node.rec");
    pgv_arena_init(&a, 65536);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pgv_value *section = pgv_new(&a, PGV_MAP);

        pgv_map_set(&a, section, rows[i].key, pgv_new_string(&a, pgv_str(rows[i].text)));
        assert_int_equal(recorder_config_read(section, NULL, "/d", "n1", &c, &err), rows[i].ok);
        if (!rows[i].ok)
            assert_non_null(strstr(err.msg, rows[i].key));
    }
    pgv_arena_done(&a);
}

static void test_recorder_step__wraps_goes_on_and_replays(void **state)
{
    struct recorder r;
    struct pgv_error err;
    struct stat st;
    uint64_t now = 1000, last;

    (void)state;
    config.size_bytes = RECORDER_BYTES_MIN;
    recorder_init(&r);
    r.slow_ms = UINT64_MAX; /* of the test's machine nothing is asked */
    assert_true(recorder_open(&r, &config, "n1", &err));
    assert_int_equal(stat(config.file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, RECORDER_BYTES_MIN);
    for (unsigned i = 0; i < 40000; i++) /* more than once around */
        step(&r, now += 7);
    assert_int_equal(r.lost, 0);
    assert_true(r.next_seq > 40000);
    assert_int_equal(replay(), 0);
    last = r.next_seq;
    recorder_close(&r); /* as after a kill: nothing is written at the end */

    ha_init(&ha);
    assert_true(recorder_open(&r, &config, "n1", &err));
    assert_int_equal(r.next_seq, last);
    for (unsigned i = 0; i < 100; i++)
        step(&r, now += 7);
    assert_int_equal(replay(), 0);
    policy.ttl_ms = 20000;
    ha.lease_until_ms = now + 1000000; /* behind the recorder's back: the worlds part */
    ha.have_facts = true;
    for (unsigned i = 0; i < 10; i++)
        step(&r, now += 7);
    r.keyframe_due = true;
    step(&r, now += 7);
    assert_int_equal(replay(), 1);
    recorder_close(&r);
    assert_int_equal(st.st_size, RECORDER_BYTES_MIN);
}

static void test_recorder_step__takes_no_memory(void **state)
{
    struct recorder r;
    struct pgv_error err;
    size_t blocks;

    (void)state;
    recorder_init(&r);
    r.slow_ms = UINT64_MAX; /* of the test's machine nothing is asked */
    assert_true(recorder_open(&r, &config, "n1", &err));
    step(&r, 1);
    blocks = pgv_alloc_blocks_in_use();
    pgv_alloc_fail_at(1, true); /* not one allocation succeeds from here on */
    for (unsigned i = 0; i < 2000; i++)
        step(&r, 2 + i);
    pgv_alloc_fail_at(0, false);
    assert_int_equal(r.lost, 0);
    assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
    recorder_close(&r);
}

static void test_recorder_open__leaves_other_files_alone(void **state)
{
    static const char text[] = "precious";
    char back[sizeof(text)];
    struct recorder r;
    struct pgv_error err;
    FILE *f = fopen(config.file, "w");

    (void)state;
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
    recorder_init(&r);
    r.slow_ms = UINT64_MAX; /* of the test's machine nothing is asked */
    assert_false(recorder_open(&r, &config, "n1", &err));
    assert_int_equal(r.fd, -1);
    f = fopen(config.file, "r");
    assert_non_null(f);
    assert_non_null(fgets(back, sizeof(back), f));
    fclose(f);
    assert_string_equal(back, text);
    assert_int_equal(replay(), 2);
    recorder_close(&r);
}

static void test_recorder_decisions__gives_the_last_that_decided(void **state)
{
    struct ha_event ev = { .type = HA_EV_TICK };
    struct pgv_value *list;
    struct recorder r;
    struct pgv_error err;
    struct pgv_arena a;

    (void)state;
    recorder_init(&r);
    r.slow_ms = UINT64_MAX; /* of the test's machine nothing is asked */
    assert_true(recorder_open(&r, &config, "n1", &err));
    memset(&fx, 0, sizeof(fx));
    fx.n = 1;
    for (unsigned i = 0; i < 20; i++) {
        ev.now_ms = i;
        fx.v[0].type = i % 2 ? HA_DO_LOOK : HA_DO_CYCLE_DONE;
        recorder_step(&r, &ha, &ev, &fx);
    }
    pgv_arena_init(&a, 1u << 20);
    list = recorder_decisions(&r, &a, 3);
    assert_non_null(list);
    assert_int_equal(list->u.c.n, 3);
    assert_int_equal(pgv_get(list->u.c.last, "seq")->u.i, 19);
    assert_string_equal(pgv_stringz(pgv_get(list->u.c.last, "event")), "tick");
    list = recorder_decisions(&r, &a, 100);
    assert_int_equal(list->u.c.n, 9); /* the first step became the keyframe */
    pgv_arena_done(&a);
    recorder_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_recorder_config_read__defaults_and_refusals, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_recorder_step__wraps_goes_on_and_replays, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_recorder_step__takes_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recorder_open__leaves_other_files_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_recorder_decisions__gives_the_last_that_decided, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
