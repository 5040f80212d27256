/* SPDX-License-Identifier: PostgreSQL */
/* test_ctl_follow.c - what members tell of themselves, in words; the steps of a switchover. */
#include "ctl/steps.h"
#include "ctl_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void parse(const char *json, struct ctl_status *ret)
{
    struct pgv_error err;

    if (!ctl_status_parse(pgv_str(json), ret, &err))
        fail_msg("%s: %s", json, err.msg);
}

static void test_status__of_either_kind(void **state)
{
    struct ctl_status s;

    (void)state;
    parse("{\"state\": \"running\", \"role\": \"primary\", \"timeline\": 5}", &s);
    assert_true(s.known && s.leader && !s.is_pgvigil && !s.streaming && !s.job.running);
    assert_int_equal(s.timeline, 5);
    parse("{\"state\": \"running\", \"role\": \"replica\", \"replication_state\": \"streaming\", "
          "\"timeline\": null, \"pgvigil\": {\"version\": \"1\"}}",
          &s);
    assert_true(s.is_pgvigil && s.streaming && !s.leader && !s.job.running);
    assert_int_equal(s.timeline, 0);
    parse("{\"state\": \"creating replica\", \"role\": \"replica\", \"pgvigil\": {\"job\": "
          "{\"kind\": "
          "\"clone\", \"name\": \"reinitialize\", \"step\": \"basebackup\", \"percent\": 45, "
          "\"bytes\": 45, \"bytes_total\": 100}}}",
          &s);
    assert_true(s.job.running && ctl_status_is_copying(&s));
    assert_string_equal(s.job.kind, "clone");
    assert_int_equal(s.job.percent, 45);
    assert_int_equal(s.job.bytes, 45);
    /* An event: the lease counts, not the role. */
    parse("{\"name\": \"n\", \"state\": \"running\", \"role\": \"primary\", \"leader\": false, "
          "\"timeline\": 7, \"job\": {\"kind\": \"stop\", \"name\": \"reinitialize\"}}",
          &s);
    assert_true(s.is_pgvigil && !s.leader && s.job.running && ctl_status_is_copying(&s));
    assert_int_equal(s.job.percent, -1);
}

static void test_status__of_what_is_none(void **state)
{
    static const char *const texts[] = { "", "no such thing", "{", "[1" };
    struct ctl_status s = { .timeline = 7 };
    struct pgv_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_false(ctl_status_parse(pgv_str(texts[i]), &s, &err));
    assert_int_equal(s.timeline, 7);
    parse("[]", &s); /* tells nothing, and does no harm */
    assert_int_equal(s.state, PGV_STATE_UNKNOWN);
    parse("{\"timeline\": -1, \"job\": 5, \"leader\": \"x\", \"state\": {}, \"pgvigil\": []}", &s);
    assert_true(s.leader && !s.job.running && s.timeline == 0);
    parse("{\"timeline\": 99999999999, \"pgvigil\": {\"job\": {\"percent\": 1000, \"bytes\": -1, "
          "\"step\": 5}}}",
          &s);
    assert_int_equal(s.timeline, 0);
    assert_true(s.job.running && s.job.percent == -1 && s.job.bytes == 0);
}

static void test_doing__in_words(void **state)
{
    struct ctl_followed m = { .name = "n1" };
    struct pgv_buf b;

    (void)state;
    pgv_buf_init(&b, 4096);
#define SAYS(text)                                                                                 \
    pgv_buf_reset(&b);                                                                             \
    ctl_put_doing(&b, &m);                                                                         \
    assert_string_equal(pgv_buf_cstr(&b), text)

    SAYS("not known yet");
    m.status = (struct ctl_status){ .known = true, .state = PGV_STATE_STOPPING };
    SAYS("stopping");
    m.status.job.running = true;
    m.status.job.percent = -1;
    strcpy(m.status.job.name, "restart");
    SAYS("restart");
    strcpy(m.status.job.step, "basebackup");
    SAYS("basebackup");
    m.status.job.percent = 45;
    SAYS("basebackup 45%");
    m.status.job.bytes = 450ull << 20;
    m.status.job.bytes_total = 1000ull << 20;
    SAYS("basebackup 45% of 1000.0 MB");
    m.bytes_per_s = 55ull << 20;
    SAYS("basebackup 45% of 1000.0 MB, 55.0 MB/s, 10 s left");
    m.status.job.bytes = m.status.job.bytes_total; /* also more than was thought */
    SAYS("basebackup 45% of 1000.0 MB, 55.0 MB/s");
    pgv_buf_reset(&b);
    ctl_put_bytes(&b, 0);
    ctl_put_bytes(&b, 1023 << 10);
    ctl_put_bytes(&b, 1 << 20);
    ctl_put_bytes(&b, UINT64_MAX);
    assert_string_equal(pgv_buf_cstr(&b), "0 kB1023 kB1.0 MB16384.0 PB");
    pgv_buf_done(&b);
}

/* What is told, look by look: '<member> <document>'. */
static void test_steps__of_a_switchover(void **state)
{
    static const struct {
        unsigned who;
        const char *json, *said;
    } looks[] = {
        { 0, "{\"leader\": true, \"role\": \"primary\", \"state\": \"running\", \"timeline\": 5}",
          "" },
        { 1,
          "{\"leader\": false, \"role\": \"replica\", \"state\": \"running\", \"timeline\": 5, "
          "\"replication_state\": \"streaming\"}",
          "" },
        { 0,
          "{\"leader\": true, \"role\": \"primary\", \"state\": \"stopping\", \"timeline\": 5, "
          "\"job\": "
          "{\"kind\": \"stop\", \"step\": \"stopping\"}}",
          "a: shutting down\n" },
        { 0,
          "{\"leader\": true, \"role\": \"demoted\", \"state\": \"stopping\", \"timeline\": 5, "
          "\"job\": "
          "{\"kind\": \"stop\", \"step\": \"shutdown checkpoint written\"}}",
          "a: shutdown checkpoint written\n" },
        { 0, "{\"leader\": false, \"role\": \"demoted\", \"state\": \"stopped\", \"timeline\": 5}",
          "a: no longer the leader\na: stopped\n" },
        /* It has the key, and is not promoted yet. */
        { 1, "{\"leader\": true, \"role\": \"replica\", \"state\": \"running\", \"timeline\": 5}",
          "b: the new leader\n" },
        { 1, "{\"leader\": true, \"role\": \"primary\", \"state\": \"running\", \"timeline\": 5}",
          "" },
        /* The third one, a Patroni, is ahead of what we know. */
        { 2,
          "{\"role\": \"replica\", \"state\": \"running\", \"timeline\": 6, \"replication_state\": "
          "\"streaming\"}",
          "" },
        { 1, "{\"leader\": true, \"role\": \"primary\", \"state\": \"running\", \"timeline\": 6}",
          "b: promoted, timeline 6\nc: follows on timeline 6\n" },
        { 0, "{\"leader\": false, \"role\": \"replica\", \"state\": \"running\", \"timeline\": 6}",
          "" },
        { 0,
          "{\"leader\": false, \"role\": \"replica\", \"state\": \"running\", \"timeline\": 6, "
          "\"replication_state\": \"streaming\"}",
          "a: follows on timeline 6\n" },
    };
    static struct ctl_follow f;
    struct ctl_steps s = { .old = "a" };
    struct pgv_buf b;

    (void)state;
    f = (struct ctl_follow){ .n = 3, .v = { { .name = "a" }, { .name = "b" }, { .name = "c" } } };
    pgv_buf_init(&b, 4096);
    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
        for (int again = 0; again < 2; again++) { /* nothing is said twice */
            pgv_buf_reset(&b);
            parse(looks[i].json, &f.v[looks[i].who].status);
            ctl_steps_look(&s, &f, looks[i].who, &b);
            if (strcmp(pgv_buf_cstr(&b), again ? "" : looks[i].said) != 0)
                fail_msg("look %zu: '%s'", i, pgv_buf_cstr(&b));
        }
        assert_true(ctl_steps_complete(&s, &f) == (i + 1 == sizeof(looks) / sizeof(looks[0])));
    }
    assert_true(s.promoted && s.timeline == 6);
    pgv_buf_done(&b);
}

/* Nobody led, nobody else answers. */
static void test_steps__of_a_failover(void **state)
{
    static struct ctl_follow f;
    struct ctl_steps s = { .old = "" };
    struct pgv_buf b;

    (void)state;
    f = (struct ctl_follow){ .n = 2, .v = { { .name = "a" }, { .name = "b" } } };
    pgv_buf_init(&b, 4096);
    assert_false(ctl_steps_complete(&s, &f));
    parse("{\"role\": \"primary\", \"state\": \"running\", \"timeline\": 2}", &f.v[0].status);
    ctl_steps_look(&s, &f, 0, &b);
    assert_string_equal(pgv_buf_cstr(&b), "a: the new leader\na: promoted, timeline 2\n");
    assert_true(ctl_steps_complete(&s, &f));
    pgv_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status__of_either_kind),
        cmocka_unit_test(test_status__of_what_is_none),
        cmocka_unit_test(test_doing__in_words),
        cmocka_unit_test(test_steps__of_a_switchover),
        cmocka_unit_test(test_steps__of_a_failover),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
