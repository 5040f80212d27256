/* SPDX-License-Identifier: PostgreSQL */
/* test_ctl_options.c - words of a command line: what they become, and how they are refused. */
#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORDS_MAX 16

struct fixture {
    struct pgv_arena arena;
    struct ctl_args args;
    struct pgv_error err;
    bool brief;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    pgv_arena_init(&f->arena, 1 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    pgv_arena_done(&f->arena);
    free(f);
    return pgv_alloc_blocks_in_use() == 0 ? 0 : -1;
}

/** Words apart at single blanks; '~' stands for an empty word. */
static bool parse(struct fixture *f, const struct ctl_command *command, const char *line)
{
    char *words[WORDS_MAX], *text = pgv_arena_dup(&f->arena, pgv_str(line));
    size_t n = 0;

    while (text && *text) {
        char *blank = strchr(text, ' ');

        assert_true(n < WORDS_MAX);
        words[n++] = text;
        if (blank)
            *blank++ = '\0';
        text = blank;
    }
    for (size_t i = 0; i < n; i++) {
        if (strcmp(words[i], "~") == 0)
            *words[i] = '\0';
    }
    return ctl_parse(command, &f->arena, n, words, &f->args, &f->brief, &f->err);
}

static void test_parse__options_and_arguments_mix(void **state)
{
    struct fixture *f = *state;
    const char *const *names;
    size_t n;
    int64_t group;

    assert_true(parse(f, &ctl_restart_command,
                      "main --force a --role=replica --group 3 b --timeout -5 -- --any"));
    assert_true(ctl_flag(&f->args, "--force"));
    assert_false(ctl_flag(&f->args, "--any"));
    assert_string_equal(ctl_text(&f->args, "-r"), "replica");
    assert_string_equal(ctl_text(&f->args, "--timeout"), "-5");
    assert_null(ctl_text(&f->args, "--pg-version"));
    assert_true(ctl_integer(&f->args, "--group", &group));
    assert_int_equal(group, 3);
    assert_string_equal(ctl_argument(&f->args, 0), "main");
    names = ctl_arguments(&f->args, 1, &n);
    assert_int_equal(n, 3);
    assert_string_equal(names[0], "a");
    assert_string_equal(names[2], "--any");
}

static void test_parse__short_options_bundle_and_the_last_takes_the_rest(void **state)
{
    struct fixture *f = *state;
    const char *const *pairs;
    size_t n;

    assert_true(parse(f, &ctl_edit_config_command, "-qsttl=20 -s a=b=c -px=1"));
    assert_true(ctl_flag(&f->args, "--quiet"));
    pairs = ctl_texts(&f->args, "--set", &n);
    assert_int_equal(n, 2);
    assert_string_equal(pairs[0], "ttl=20");
    assert_string_equal(pairs[1], "a=b=c");
    pairs = ctl_texts(&f->args, "--pg", &n);
    assert_int_equal(n, 1);
    assert_null(ctl_argument(&f->args, 0));
}

static void test_parse__what_stands_behind_many_names_is_found_from_the_right(void **state)
{
    struct fixture *f = *state;
    size_t n;

    assert_true(parse(f, &ctl_flush_command, "main a b restart"));
    assert_string_equal(ctl_argument(&f->args, 0), "main");
    assert_string_equal(ctl_argument(&f->args, 2), "restart");
    (void)ctl_arguments(&f->args, 1, &n);
    assert_int_equal(n, 2);
    assert_true(parse(f, &ctl_flush_command, "main switchover"));
    (void)ctl_arguments(&f->args, 1, &n);
    assert_int_equal(n, 0);
}

static void test_parse__the_last_of_several_counts(void **state)
{
    struct fixture *f = *state;
    double seconds;

    assert_true(parse(f, &ctl_list_command, "-w 1 --watch=2.5"));
    assert_true(ctl_real(&f->args, "-w", &seconds));
    assert_true(seconds > 2.4 && seconds < 2.6);
}

static void test_parse__help_goes_before_wrong_values(void **state)
{
    struct fixture *f = *state;

    assert_true(parse(f, &ctl_list_command, "-f nonsense --help"));
    assert_true(f->args.help);
}

static void test_parse__refusals(void **state)
{
    static const struct {
        const struct ctl_command *command;
        const char *line, *message;
        bool brief;
    } cases[] = {
        { &ctl_list_command, "--foo", "No such option: --foo Did you mean --format?", false },
        { &ctl_list_command, "--qqq", "No such option: --qqq", false },
        { &ctl_restart_command, "--pe-version",
          "No such option: --pe-version Did you mean --pg-version?", false },
        { &ctl_list_command, "-eZ", "No such option: -Z", false },
        { &ctl_list_command, "-f", "Option '-f' requires an argument.", true },
        { &ctl_list_command, "--extended=1", "Option '--extended' does not take a value.", true },
        { &ctl_list_command, "--help=1", "Option '--help' does not take a value.", true },
        { &ctl_list_command, "--group 1x",
          "Invalid value for '--group': '1x' is not a valid integer.", false },
        { &ctl_list_command, "--group 99999999999999999999",
          "Invalid value for '--group': '99999999999999999999' is not a valid integer.", false },
        { &ctl_list_command, "-w ~", "Invalid value for '-w' / '--watch': '' is not a valid float.",
          false },
        { &ctl_dsn_command, "-r it's",
          "Invalid value for '--role' / '-r': \"it's\" is not one of 'leader', 'primary', "
          "'standby-leader', 'replica', 'standby', 'any'.",
          false },
        { &ctl_dsn_command, "a b", "Got unexpected extra argument (b)", false },
        { &ctl_dsn_command, "a b c", "Got unexpected extra arguments (b c)", false },
        { &ctl_reload_command, "", "Missing argument 'CLUSTER_NAME'.", false },
        { &ctl_flush_command, "main",
          "Missing argument '{restart|switchover}'. Choose from:\n\trestart,\n\tswitchover",
          false },
        { &ctl_flush_command, "main all",
          "Invalid value for '{restart|switchover}': 'all' is not one of 'restart', 'switchover'.",
          false },
        { &ctl_list_command, "-w y -f x",
          "Invalid value for '-w' / '--watch': 'y' is not a valid float.", false },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_false(parse(f, cases[i].command, cases[i].line));
        assert_string_equal(f->err.msg, cases[i].message);
        assert_int_equal(f->err.code, PGV_EINVALID);
        assert_int_equal(f->brief, cases[i].brief);
    }
}

static void test_write_help__keeps_two_columns(void **state)
{
    struct pgv_buf page;

    (void)state;
    pgv_buf_init(&page, 65536);
    assert_true(ctl_write_help(&page, &ctl_flush_command, "tool flush", 80, NULL, 0));
    assert_string_equal(pgv_buf_cstr(&page),
                        "Usage: tool flush [OPTIONS] CLUSTER_NAME [MEMBER_NAMES]...\n"
                        "                  {restart|switchover}\n\n"
                        "  Discard scheduled events\n\n"
                        "Options:\n"
                        "  --group INTEGER                 Citus group\n"
                        "  -r, --role [leader|primary|standby-leader|replica|standby|any]\n"
                        "                                  Flush only members with this role\n"
                        "  --force                         Do not ask for confirmation at any "
                        "point\n"
                        "  --help                          Show this message and exit.\n");
    pgv_buf_done(&page);
}

static void test_apply_dcs_url__names_a_store(void **state)
{
    static const struct {
        const char *url, *json; /* NULL: refused with what stands in json */
    } cases[] = {
        { "", "{\"raft\": 1, \"etcd\": {\"host\": \"localhost:2379\"}}" },
        { "etcd3://Host", "{\"raft\": 1, \"etcd3\": {\"host\": \"host:2379\"}}" },
        { "h:2379", "{\"raft\": 1, \"etcd\": {\"host\": \"h:2379\"}}" },
        { "h:8500", "{\"raft\": 1, \"consul\": {\"host\": \"h:8500\"}}" },
        { "//h:1/ns", "{\"raft\": 1, \"etcd\": {\"host\": \"h:1\"}, \"namespace\": \"/ns\"}" },
        { "zookeeper://a/", "{\"raft\": 1, \"zookeeper\": {\"hosts\": [\"a:2181\"]}}" },
        { "exhibitor://a:1", "{\"raft\": 1, \"exhibitor\": {\"hosts\": [\"a\"], \"port\": 1}}" },
        { "etcd3://u:p@[::1]:5/x/y",
          "{\"raft\": 1, \"etcd3\": {\"host\": \"[::1]:5\"}, \"namespace\": \"/x/y\"}" },
        { "etcd3://", "{\"raft\": 1, \"etcd3\": {\"host\": \"localhost:2379\"}}" },
    };
    struct fixture *f = *state;
    struct pgv_buf b;

    pgv_buf_init(&b, 4096);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgv_value *config = pgv_new(&f->arena, PGV_MAP);

        pgv_map_set(&f->arena, config, "raft", pgv_new_int(&f->arena, 1));
        pgv_map_set(&f->arena, config, "consul", pgv_new_int(&f->arena, 1));
        pgv_buf_reset(&b);
        assert_true(ctl_apply_dcs_url(&f->arena, config, cases[i].url, &f->err));
        assert_true(pgv_json_write(&b, config, PGV_JSON_SPACED));
        assert_string_equal(pgv_buf_cstr(&b), cases[i].json);
    }
    pgv_buf_done(&b);
}

static void test_apply_dcs_url__refuses(void **state)
{
    struct fixture *f = *state;
    struct pgv_value *config = pgv_new(&f->arena, PGV_MAP);

    assert_false(ctl_apply_dcs_url(&f->arena, config, "redis://h", &f->err));
    assert_string_equal(f->err.msg, "Unknown dcs scheme: redis");
    assert_false(ctl_apply_dcs_url(&f->arena, config, "h:x", &f->err));
    assert_false(ctl_apply_dcs_url(&f->arena, config, "h:65536", &f->err));
}

static void test_moment_parse__adds_what_is_missing(void **state)
{
    static const struct {
        const char *text, *iso, *plain; /* NULL: at once */
    } cases[] = {
        { NULL, NULL, NULL },
        { "", NULL, NULL },
        { " now ", NULL, NULL },
        { "2030-01-01T10:00", "2030-01-01T10:00:00+01:00", "2030-01-01 10:00:00+01:00" },
        { "2030-07-01 10:00:30", "2030-07-01T10:00:30+02:00", "2030-07-01 10:00:30+02:00" },
        { "2030-07-01", "2030-07-01T00:00:00+02:00", "2030-07-01 00:00:00+02:00" },
        { "2030-01-01T10:00Z", "2030-01-01T10:00:00+00:00", "2030-01-01 10:00:00+00:00" },
        { "2030-01-01T10:00:00.5-03:30", "2030-01-01T10:00:00.500000-03:30",
          "2030-01-01 10:00:00.500000-03:30" },
        { "23:15", "2026-11-24T23:15:00+01:00", "2026-11-24 23:15:00+01:00" },
        { "9:15", "2026-11-24T09:15:00+01:00", "2026-11-24 09:15:00+01:00" },
    };
    /* 2026-11-24 00:30 in Berlin, still the day before in UTC. */
    const int64_t now_us = (int64_t)1795476600 * 1000000;
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ctl_moment m;

        if (!ctl_moment_parse(cases[i].text, now_us, &m, &f->err))
            fail_msg("%s: %s", cases[i].text, f->err.msg);
        assert_int_equal(m.later, cases[i].iso != NULL);
        if (m.later) {
            assert_string_equal(m.iso, cases[i].iso);
            assert_string_equal(m.plain, cases[i].plain);
        }
    }
}

static void test_moment_parse__refuses_what_is_no_moment(void **state)
{
    static const char *const cases[] = {
        "tomorrow", "2030-13-01", "2030-01-01T25:00",
        "10",       "12:",        "2030-01-01T10:00 and much more than any moment needs"
    };
    struct fixture *f = *state;
    struct ctl_moment m;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_false(ctl_moment_parse(cases[i], 0, &m, &f->err));
        assert_int_equal(f->err.code, PGV_EINVALID);
        assert_non_null(strstr(f->err.msg, "Unable to parse scheduled timestamp ("));
    }
}

static void test_stamp__is_local(void **state)
{
    char stamp[CTL_STAMP_BYTES];

    (void)state;
    ctl_stamp((int64_t)1795476600 * 1000000 + 12345, 5, stamp);
    assert_string_equal(stamp, "2026-11-24 00:30:00.01234");
    ctl_stamp((int64_t)1795476600 * 1000000 + 12345, 0, stamp);
    assert_string_equal(stamp, "2026-11-24 00:30:00");
    ctl_stamp_minute((int64_t)1795476600 * 1000000, stamp);
    assert_string_equal(stamp, "2026-11-24T00:30");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_parse__options_and_arguments_mix),
        TEST(test_parse__short_options_bundle_and_the_last_takes_the_rest),
        TEST(test_parse__what_stands_behind_many_names_is_found_from_the_right),
        TEST(test_parse__the_last_of_several_counts),
        TEST(test_parse__help_goes_before_wrong_values),
        TEST(test_parse__refusals),
        TEST(test_write_help__keeps_two_columns),
        TEST(test_apply_dcs_url__names_a_store),
        TEST(test_apply_dcs_url__refuses),
        TEST(test_moment_parse__adds_what_is_missing),
        TEST(test_moment_parse__refuses_what_is_no_moment),
        TEST(test_stamp__is_local),
    };

    setenv("TZ", "Europe/Berlin", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
