/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_base_log.c - the log: formats, levels, rotation, the heartbeat filter, loss.
 *
 * Source of what is expected: contract of Patroni 4.1, config.md 5.1 and ctl.md 1.2.
 */
#include "base_support.h"

#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *dir;
static int saved_stderr;

static int setup(void **state)
{
    dir = base_mkdtemp();
    saved_stderr = dup(STDERR_FILENO);
    assert_true(saved_stderr >= 0);
    assert_int_equal(setenv("TZ", "XYZ-5:30", 1), 0);
    tzset();
    return base_setup(state);
}

static int teardown(void **state)
{
    struct pgv_error err = { 0 };

    assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
    (void)close(saved_stderr);
    assert_true(pgv_log_configure(NULL, &err));
    base_rmdir();
    return base_teardown(state);
}

/* A 'log' section with @json's members and the test's folder. */
static bool configure(const char *json, struct pgv_error *err)
{
    struct pgv_value *section = base_json(json);

    assert_non_null(
        pgv_map_set(&base_arena, section, "dir", pgv_new_string(&base_arena, pgv_str(dir))));
    return pgv_log_configure(section, err);
}

static void must_configure(const char *json)
{
    struct pgv_error err = { 0 };

    if (!configure(json, &err))
        fail_msg("%s", err.msg);
}

static const char *in_dir(const char *name)
{
    return pgv_arena_printf(&base_arena, "%s/%s", dir, name);
}

static const char *logged(void)
{
    return base_slurp(in_dir("patroni.log"));
}

static void forget(void)
{
    assert_int_equal(truncate(in_dir("patroni.log"), 0), 0);
}

/* '#' stands for any digit. */
static void assert_like(const char *text, const char *pattern)
{
    size_t n = strlen(pattern);
    bool like = strlen(text) == n;

    for (size_t i = 0; like && i < n; i++)
        like = pattern[i] == '#' ? text[i] >= '0' && text[i] <= '9' : pattern[i] == text[i];
    if (!like)
        fail_msg("'%s' is not like '%s'", text, pattern);
}

static void test_log__default_line(void **state)
{
    time_t now = time(NULL);
    struct tm tm;
    char date[32];

    (void)state;
    must_configure("{}");
    pgv_log(PGV_INFO, "ha", "no action. I am (%s), the leader with the lock", "node1");
    assert_like(logged(), "####-##-## ##:##:##,### INFO: no action. I am (node1), the leader with "
                          "the lock\n");
    assert_non_null(localtime_r(&now, &tm)); /* local time, as configured above */
    assert_true(strftime(date, sizeof(date), "%Y-%m-%d", &tm) > 0);
    assert_memory_equal(logged(), date, 8);
}

static void test_log__plain_attributes(void **state)
{
    char expected[200];
    int line;

    (void)state;
    must_configure("{\"format\":\"%(levelname)-8s|%(levelno)d|%(name)s|%(module)s|%(filename)s|"
                   "%(funcName)s|%(lineno)05d|%(process)d|%(thread)s|%(processName)s|%(threadName)s"
                   "|%(message).5s|%(message)8.3s|100%%|%(nothing)s|%(lineno)x\"}");
    line = __LINE__ + 1;
    pgv_log(PGV_WARNING, "dcs.etcd3", "hello world");
    (void)snprintf(expected, sizeof(expected),
                   "WARNING |30|patroni.dcs.etcd3|etcd3|test_base_log.c|%s|%05d|%d|%d|MainProcess|"
                   "MainThread|hello|     hel|100%%|None|%x\n",
                   __func__, line, (int)getpid(), (int)getpid(), line);
    assert_string_equal(logged(), expected);
}

static void test_log__plain_numbers(void **state)
{
    (void)state;
    must_configure("{\"format\":\"%(created)f %(msecs)03d %(msecs)d %(relativeCreated)d\"}");
    pgv_log(PGV_INFO, "ha", "x");
    assert_true(strtod(logged(), NULL) > 1600000000);
    must_configure("{\"format\":\"%(msecs)03d %(levelno)s %(levelno)5d|%(levelno)-5d|\"}");
    forget();
    pgv_log(PGV_CRITICAL, "ha", "x");
    assert_like(logged(), "### 50    50|50   |\n");
}

static void test_log__dateformat(void **state)
{
    (void)state;
    must_configure("{\"format\":\"%(asctime)s\",\"dateformat\":\"%d.%m.%Y %H:%M %z\"}");
    pgv_log(PGV_INFO, "ha", "x");
    assert_like(logged(), "##.##.#### ##:## +0530\n"); /* and no milliseconds */
    must_configure("{\"format\":\"%(asctime)s\",\"dateformat\":\"\"}");
    forget();
    pgv_log(PGV_INFO, "ha", "x");
    assert_like(logged(), "####-##-## ##:##:##,###\n");
    forget();
    must_configure("{\"format\":\"%(message)s\",\"dateformat\":[1]}");
    assert_string_equal(logged(), "Expected log dateformat to be a string, but got \"list\"\n");
}

static void test_log__plain_with_another_type_of_format(void **state)
{
    (void)state;
    must_configure("{\"format\":[\"message\"]}");
    assert_like(logged(),
                "####-##-## ##:##:##,### WARNING: Expected log format to be a string when "
                "log type is plain, but got \"list\"\n");
}

static void test_log__a_bad_setting_changes_nothing(void **state)
{
    static const char *const bad[] = {
        "{\"format\":\"no item\"}",
        "{\"format\":\"%(message)\"}",
        "{\"format\":\"%(message)y\"}",
        "{\"level\":\"info\"}",
        "{\"level\":\"LOUD\"}",
        "{\"level\":null}",
        "{\"loggers\":{\"a\":\"LOUD\"}}",
        "{\"file_size\":\"25MB\"}",
        "{\"file_num\":\"many\"}",
        ("{\"dateformat\":\"0123456789012345678901234567890123456789012345678901234567890123456789"
         "012345678901234567890123456789012345678901234567890123456789\"}"),
    };

    (void)state;
    must_configure("{\"format\":\"%(levelname)s %(message)s\",\"level\":\"WARN\"}");
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct pgv_error err = { 0 };

        if (configure(bad[i], &err))
            fail_msg("%s was accepted", bad[i]);
        assert_int_equal(err.code, PGV_EINVALID);
        forget();
        pgv_log(PGV_INFO, "ha", "unwanted");
        pgv_log(PGV_WARNING, "ha", "wanted");
        assert_string_equal(logged(), "WARNING wanted\n");
    }
}

static void test_log__the_folder_must_exist(void **state)
{
    struct pgv_error err = { 0 };

    (void)state;
    must_configure("{\"format\":\"%(message)s\"}");
    assert_false(pgv_log_configure(base_json("{\"dir\":\"/nonexistent/log\"}"), &err));
    assert_int_equal(err.code, PGV_ESYS);
    assert_int_equal(err.sys, ENOENT);
    pgv_log(PGV_INFO, "ha", "still here");
    assert_string_equal(logged(), "still here\n");
}

static void test_log__json_with_a_list(void **state)
{
    (void)state;
    must_configure(
        "{\"type\":\"json\",\"format\":[\"message\",\"module\",{\"asctime\":\"@timestamp\"},"
        "{\"levelname\":\"level\"}],\"static_fields\":{\"app\":\"patroni\",\"n\":[1,null]}}");
    pgv_log(PGV_INFO, "ha", "text");
    assert_like(logged(),
                "{\"message\": \"text\", \"module\": \"ha\", \"@timestamp\": \"####-##-## "
                "##:##:##,###\", \"level\": \"INFO\", \"app\": \"patroni\", \"n\": [1, null]}\n");
}

static void test_log__json_with_a_string(void **state)
{
    (void)state;
    must_configure(
        "{\"type\":\"json\",\"format\":\"%(levelname)s: %(message)s %(levelno)d %(message)s "
        "%(msecs)s %(other)s\"}");
    pgv_log(PGV_ERROR, "pg", "\"q\" \\ \n \x01 \xc3\xa9 \xf0\x9f\x90\x98 \xff");
    assert_non_null(strstr(logged(), "{\"levelname\": \"ERROR\", \"message\": \"\\\"q\\\" \\\\ \\n "
                                     "\\u0001 \\u00e9 \\ud83d\\udc18 \\ufffd\", \"levelno\": 40, "
                                     "\"msecs\": "));
    assert_non_null(strstr(logged(), ".0, \"other\": null}\n"));
    assert_true(pgv_is(base_json(logged()), PGV_MAP));
}

static void test_log__json_default(void **state)
{
    (void)state;
    must_configure("{\"type\":\"json\"}");
    pgv_log(PGV_INFO, "ha", "text");
    assert_like(logged(), "{\"asctime\": \"####-##-## ##:##:##,###\", \"levelname\": \"INFO\", "
                          "\"message\": \"text\"}\n");
}

static void test_log__json_warns_of_bad_items(void **state)
{
    (void)state;
    must_configure("{\"type\":\"json\",\"format\":[5,{\"message\":7},\"message\"]}");
    assert_string_equal(logged(),
                        "{\"message\": \"Expected each item of log format to be a string or "
                        "dictionary, but got \\\"int\\\"\"}\n"
                        "{\"message\": \"Expected renamed log field to be a string, but got "
                        "\\\"int\\\"\"}\n");
    forget();
    must_configure("{\"type\":\"json\",\"format\":{\"a\":\"b\"}}");
    assert_non_null(strstr(logged(),
                           "\"message\": \"Expected log format to be a string or a list, but "
                           "got \\\"dict\\\"\"}\n"));
    forget();
    must_configure("{\"type\":\"json\",\"format\":[]}"); /* nothing usable: the default */
    pgv_log(PGV_INFO, "ha", "text");
    assert_non_null(strstr(logged(), "\"levelname\": \"INFO\""));
}

static void test_log__json_line_is_whole_however_long(void **state)
{
    static char text[20000];

    (void)state;
    memset(text, '\x01', sizeof(text) - 1); /* six bytes each */
    must_configure(
        "{\"type\":\"json\",\"format\":[\"message\",\"levelname\"],\"static_fields\":{\"a\":1}}");
    pgv_log(PGV_INFO, "ha", "%s", text);
    assert_true(strlen(logged()) > 40000);
    assert_true(pgv_is(pgv_get(base_json(logged()), "a"), PGV_INT));
}

static void test_log__levels_by_name_and_number(void **state)
{
    static const struct {
        const char *level;
        enum pgv_level first;
    } cases[] = {
        { "\"DEBUG\"", PGV_DEBUG },
        { "\"INFO\"", PGV_INFO },
        { "\"WARN\"", PGV_WARNING },
        { "\"WARNING\"", PGV_WARNING },
        { "\"ERROR\"", PGV_ERROR },
        { "\"FATAL\"", PGV_CRITICAL },
        { "\"CRITICAL\"", PGV_CRITICAL },
        { "10", PGV_DEBUG },
        { "20", PGV_INFO },
        { "25", PGV_WARNING },
        { "40", PGV_ERROR },
        { "50", PGV_CRITICAL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        must_configure(pgv_arena_printf(&base_arena, "{\"level\":%s}", cases[i].level));
        for (int l = PGV_DEBUG; l <= PGV_CRITICAL; l++)
            assert_int_equal(pgv_log_enabled((enum pgv_level)l, "ha"), l >= (int)cases[i].first);
    }
    must_configure("{}");
    assert_false(pgv_log_enabled(PGV_DEBUG, "ha"));
    assert_true(pgv_log_enabled(PGV_INFO, "ha"));
}

static void test_log__loggers_are_a_hierarchy(void **state)
{
    (void)state;
    must_configure("{\"level\":\"WARNING\",\"loggers\":{\"patroni.dcs\":\"DEBUG\","
                   "\"patroni.dcs.etcd\":\"ERROR\",\"urllib3\":\"INFO\",\"ha\":\"DEBUG\","
                   "\"patroni.postgresql\":\"INFO\",\"patroni.dc\":\"CRITICAL\"}}");
    assert_true(pgv_log_enabled(PGV_DEBUG, "dcs"));
    assert_true(pgv_log_enabled(PGV_DEBUG, "dcs.zookeeper"));
    assert_true(pgv_log_enabled(PGV_DEBUG, "dcs.etcd3")); /* no child of dcs.etcd */
    assert_false(pgv_log_enabled(PGV_WARNING, "dcs.etcd"));
    assert_false(pgv_log_enabled(PGV_WARNING, "dcs.etcd.lease"));
    assert_true(pgv_log_enabled(PGV_INFO, "http"));
    assert_true(pgv_log_enabled(PGV_INFO, "http.tls"));
    assert_false(pgv_log_enabled(PGV_DEBUG, "http"));
    assert_true(pgv_log_enabled(PGV_DEBUG, "ha")); /* our own name will do */
    assert_true(pgv_log_enabled(PGV_INFO, "pg"));
    assert_false(pgv_log_enabled(PGV_INFO, "rest"));
    must_configure("{\"loggers\":{\"patroni\":\"ERROR\"}}");
    assert_false(pgv_log_enabled(PGV_WARNING, "rest"));
    assert_false(pgv_log_enabled(PGV_WARNING, "agent"));
    assert_true(pgv_log_enabled(PGV_INFO, "http"));
}

static off_t size_of(const char *name)
{
    struct stat st;

    return stat(in_dir(name), &st) == 0 ? st.st_size : -1;
}

static void test_log__rotates_before_the_size_is_reached(void **state)
{
    (void)state;
    must_configure("{\"format\":\"%(message)s\",\"file_size\":20,\"file_num\":2}");
    pgv_log(PGV_INFO, "ha", "%s", "000000000"); /* ten bytes a line */
    assert_int_equal(size_of("patroni.log.1"), -1);
    for (int i = 1; i < 5; i++)
        pgv_log(PGV_INFO, "ha", "%09d", i);
    assert_string_equal(logged(), "000000004\n");
    assert_string_equal(base_slurp(in_dir("patroni.log.1")), "000000003\n");
    assert_string_equal(base_slurp(in_dir("patroni.log.2")), "000000002\n");
    assert_int_equal(size_of("patroni.log.3"), -1);
    pgv_log(PGV_INFO, "ha", "one line that is longer than a file may be");
    assert_string_equal(logged(), "one line that is longer than a file may be\n");
    assert_string_equal(base_slurp(in_dir("patroni.log.1")), "000000004\n");
}

static void test_log__does_not_rotate_without_size_or_number(void **state)
{
    static const char *const sections[] = {
        "{\"format\":\"%(message)s\",\"file_size\":0,\"file_num\":2}",
        "{\"format\":\"%(message)s\",\"file_size\":20,\"file_num\":0}",
        "{\"format\":\"%(message)s\",\"file_size\":\"1000000\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(sections) / sizeof(*sections); i++) {
        must_configure(sections[i]);
        forget();
        for (int k = 0; k < 10; k++)
            pgv_log(PGV_INFO, "ha", "%09d", k);
        assert_int_equal(size_of("patroni.log"), 100);
        assert_int_equal(size_of("patroni.log.1"), -1);
    }
}

/* The folder has gone: the old file is still open and gets the lines. */
static void test_log__goes_on_when_it_cannot_rotate(void **state)
{
    const char *moved = pgv_arena_printf(&base_arena, "%s.moved", dir);

    (void)state;
    must_configure("{\"format\":\"%(message)s\",\"file_size\":20,\"file_num\":2}");
    assert_int_equal(rename(dir, moved), 0);
    for (int k = 0; k < 4; k++)
        pgv_log(PGV_INFO, "ha", "%09d", k);
    assert_int_equal(rename(moved, dir), 0);
    assert_string_equal(logged(), "000000000\n000000001\n000000002\n000000003\n");
    pgv_log(PGV_INFO, "ha", "back");
    assert_string_equal(logged(), "back\n");
    assert_int_equal(size_of("patroni.log.1"), 40);
}

static mode_t mode_of(const char *name)
{
    struct stat st;

    assert_int_equal(stat(in_dir(name), &st), 0);
    return st.st_mode & 07777;
}

static void test_log__mode(void **state)
{
    mode_t old = umask(077);

    (void)state;
    must_configure("{}");
    assert_int_equal(mode_of("patroni.log"), 0666 & ~old); /* by the umask we were started with */
    must_configure("{\"mode\":416}");
    assert_int_equal(mode_of("patroni.log"), 0640);
    must_configure("{\"mode\":\"0604\"}");
    assert_int_equal(mode_of("patroni.log"), 0604);
    must_configure("{\"mode\":\"0o600\"}"); /* no mode: the default */
    assert_int_equal(mode_of("patroni.log"), 0666 & ~old);
    must_configure("{\"mode\":384,\"format\":\"%(message)s\",\"file_size\":5}");
    pgv_log(PGV_INFO, "ha", "one");
    pgv_log(PGV_INFO, "ha", "two");
    assert_int_equal(mode_of("patroni.log"), 0600);
    assert_string_equal(logged(), "two\n");
    (void)umask(old);
}

static void test_log__is_opened_anew_on_reload(void **state)
{
    (void)state;
    must_configure("{\"format\":\"%(message)s\"}");
    pgv_log(PGV_INFO, "ha", "one");
    assert_int_equal(rename(in_dir("patroni.log"), in_dir("old")), 0);
    pgv_log(PGV_INFO, "ha", "two");
    assert_string_equal(base_slurp(in_dir("old")), "one\ntwo\n");
    must_configure("{\"format\":\"%(message)s\"}");
    pgv_log(PGV_INFO, "ha", "three");
    assert_string_equal(logged(), "three\n");
}

static const char owner[] = "Lock owner: a; I am b";
static const char beat[] = "no action. I am (b), a secondary, and following a leader (a)";
static const char pause_beat[] = "PAUSE: no action. I am (b)";

/* Each step: a logger and a message; then what the file must hold. */
struct filter_case {
    const char *section;
    const char *steps[8][2];
    const char *written;
};

static const struct filter_case filter_cases[] = {
    /* held, and dropped at the heartbeat */
    { "{\"format\":\"%(message)s\"}",
      { { "ha", owner }, { "ha", beat }, { "ha", owner }, { "ha", beat } },
      "no action. I am (b), a secondary, and following a leader (a)\n"
      "no action. I am (b), a secondary, and following a leader (a)\n" },
    /* held, and written before anything else of the HA loop */
    { "{\"format\":\"%(message)s\"}",
      { { "ha", owner }, { "ha", "promoted self to leader" } },
      "Lock owner: a; I am b\npromoted self to leader\n" },
    { "{\"format\":\"%(message)s\"}",
      { { "ha", owner }, { "pg", "trouble" }, { "ha", beat } },
      "Lock owner: a; I am b\ntrouble\n"
      "no action. I am (b), a secondary, and following a leader (a)\n" },
    /* what other threads of the original say passes by */
    { "{\"format\":\"%(message)s\"}",
      { { "ha", owner },
        { "rest", "GET /" },
        { "http", "retry" },
        { "callbacks", "called" },
        { "ha", beat } },
      "GET /\nretry\ncalled\nno action. I am (b), a secondary, and following a leader (a)\n" },
    /* the same heartbeat again is dropped when that is wanted, a new one is not */
    { "{\"format\":\"%(message)s\",\"deduplicate_heartbeat_logs\":true}",
      { { "ha", owner },
        { "ha", beat },
        { "ha", owner },
        { "ha", beat },
        { "ha", owner },
        { "ha", pause_beat },
        { "ha", owner },
        { "ha", pause_beat } },
      "no action. I am (b), a secondary, and following a leader (a)\nPAUSE: no action. I am "
      "(b)\n" },
    /* and after anything else it is written again */
    { "{\"format\":\"%(message)s\",\"deduplicate_heartbeat_logs\":true}",
      { { "ha", owner },
        { "ha", beat },
        { "ha", owner },
        { "ha", "x" },
        { "ha", owner },
        { "ha", beat } },
      "no action. I am (b), a secondary, and following a leader (a)\n"
      "Lock owner: a; I am b\nx\n"
      "no action. I am (b), a secondary, and following a leader (a)\n" },
    /* a heartbeat without a 'Lock owner' before it is no part of the game */
    { "{\"format\":\"%(message)s\",\"deduplicate_heartbeat_logs\":true}",
      { { "ha", owner }, { "ha", beat }, { "ha", beat } },
      "no action. I am (b), a secondary, and following a leader (a)\n"
      "no action. I am (b), a secondary, and following a leader (a)\n" },
    /* the exact prefixes */
    { "{\"format\":\"%(message)s\"}",
      { { "ha", owner }, { "ha", "no action, I am b" } },
      "Lock owner: a; I am b\nno action, I am b\n" },
    { "{\"format\":\"%(message)s\"}",
      { { "ha", "Lock owner a" }, { "ha", beat } },
      "Lock owner a\nno action. I am (b), a secondary, and following a leader (a)\n" },
    /* the second of two that are held takes the place of the first */
    { "{\"format\":\"%(message)s\"}",
      { { "ha", "Lock owner: x; I am b" }, { "ha", owner }, { "ha", "x" } },
      "Lock owner: a; I am b\nx\n" },
    /* at another level nothing is held */
    { "{\"format\":\"%(message)s\",\"level\":\"DEBUG\"}",
      { { "ha", owner }, { "ha", beat } },
      "Lock owner: a; I am b\n"
      "no action. I am (b), a secondary, and following a leader (a)\n" },
};

static void test_log__heartbeat_filter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(filter_cases) / sizeof(*filter_cases); i++) {
        const struct filter_case *c = &filter_cases[i];

        must_configure(c->section);
        pgv_log(PGV_INFO, "ha", "Lock owner: z; I am z"); /* forgets the heartbeat before */
        pgv_log(PGV_INFO, "ha", "between");
        forget();
        for (size_t s = 0; s < 8 && c->steps[s][0]; s++)
            pgv_log(PGV_INFO, c->steps[s][0], "%s", c->steps[s][1]);
        if (strcmp(logged(), c->written) != 0)
            fail_msg("case %zu: '%s'", i, logged());
    }
}

static void test_log__what_is_held_keeps_its_place_and_time(void **state)
{
    int line;

    (void)state;
    must_configure("{\"format\":\"%(lineno)d %(name)s %(message)s\"}");
    line = __LINE__ + 1;
    pgv_log(PGV_INFO, "ha", "%s", owner);
    pgv_log(PGV_ERROR, "pg", "down");
    assert_string_equal(logged(), pgv_arena_printf(&base_arena,
                                                   "%d patroni.ha %s\n%d patroni.postgresql down\n",
                                                   line, owner, line + 1));
    forget();
    pgv_log(PGV_INFO, "ha", "%s", owner);
    must_configure("{\"format\":\"%(message)s\"}"); /* a reload loses nothing */
    assert_non_null(strstr(logged(), owner));
    forget();
    pgv_log(PGV_INFO, "ha", "Lock owner: %600d", 1); /* too long to be held: written */
    assert_non_null(strstr(logged(), "Lock owner: "));
}

static void test_log__no_line_can_be_forged(void **state)
{
    (void)state;
    must_configure("{\"format\":\"%(message)s\"}");
    pgv_log(PGV_INFO, "ha", "a\nb\r\x1b[31m\x7f\t\xc3\xa9");
    assert_string_equal(logged(), "a\\nb\\r\\x1b[31m\\x7f\t\xc3\xa9\n");
}

static void test_log__secrets_are_masked(void **state)
{
    static const char *const cases[][2] = {
        { "postgres://u:hunter2@h:5432/db", "postgres://u:***@h:5432/db" },
        { "http://u:p@ss@h/ and http://h:8008/x@y", "http://u:***@h/ and http://h:8008/x@y" },
        { "user=u password=hunter2 host=h", "user=u password=*** host=h" },
        { "user=u password='hun ter2' host=h", "user=u password='***' host=h" },
        { "PASSWORD=hunter2", "PASSWORD=***" },
        { "sslpassword=x, passfile=/f", "sslpassword=*, passfile=/f" },
        { "password=", "password=" },
        { "password='open", "password='***" },
        { "postgres://", "postgres://" },
    };

    (void)state;
    must_configure("{\"format\":\"%(message)s\"}");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        forget();
        pgv_log(PGV_INFO, "ha", "%s", cases[i][0]);
        assert_string_equal(logged(), pgv_arena_printf(&base_arena, "%s\n", cases[i][1]));
    }
}

static void test_log__needs_no_memory(void **state)
{
    (void)state;
    must_configure("{\"type\":\"json\",\"format\":[\"asctime\",\"message\"]}");
    pgv_alloc_fail_at(1, true);
    pgv_log(PGV_CRITICAL, "ha", "out of memory");
    pgv_alloc_fail_at(0, false);
    assert_non_null(strstr(logged(), "out of memory"));
}

static void test_log_configure__every_allocation_may_fail(void **state)
{
    struct pgv_value *section = base_json("{\"type\":\"json\",\"static_fields\":{\"a\":\"b\"}}");
    bool done = false;

    (void)state;
    for (unsigned long nth = 1; !done; nth++) {
        struct pgv_error err = { 0 };

        pgv_alloc_fail_at(nth, true);
        done = pgv_log_configure(section, &err);
        pgv_alloc_fail_at(0, false);
        if (!done)
            assert_int_equal(err.code, PGV_ENOMEM);
        assert_true(nth < 10);
    }
}

static void test_log_configure__static_fields_have_a_limit(void **state)
{
    struct pgv_error err = { 0 };

    (void)state;
    must_configure("{}");
    assert_false(
        configure(pgv_arena_printf(&base_arena,
                                   "{\"type\":\"json\",\"static_fields\":{\"a\":\"%5000d\"}}", 0),
                  &err));
    assert_int_equal(err.code, PGV_EINVALID);
}

/* Makes a socket of our standard error that keeps one write from another. */
static int take_stderr_socket(void)
{
    struct pgv_error err = { 0 };
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    (void)close(ends[1]);
    assert_true(pgv_log_configure(base_json("{\"format\":\"%(message)s\"}"), &err));
    return ends[0];
}

static void test_log__one_line_is_one_write(void **state)
{
    int fd = take_stderr_socket();
    char got[10000];

    (void)state;
    pgv_log(PGV_INFO, "ha", "%5000d", 1);
    pgv_log(PGV_INFO, "ha", "two");
    assert_int_equal(recv(fd, got, sizeof(got), 0), 5001);
    assert_int_equal(recv(fd, got, sizeof(got), 0), 4);
    assert_memory_equal(got, "two\n", 4);
    (void)close(fd);
    pgv_log(PGV_INFO, "ha", "nobody reads, and nobody dies of it");
}

static void test_log__a_full_pipe_loses_lines_and_says_so(void **state)
{
    struct pgv_error err = { 0 };
    static char got[1 << 20];
    int ends[2];
    ssize_t n;
    unsigned long lost;
    char *warning;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    assert_true(pgv_log_configure(base_json("{\"format\":\"%(message)s\"}"), &err));
    for (int i = 0; i < 100; i++)
        pgv_log(PGV_INFO, "ha", "%04d%4000d", i, 0); /* 65536 bytes are all it takes */
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK,
                     0); /* our children share that one */
    n = read(ends[0], got, sizeof(got));
    assert_true(n > 0);
    pgv_log(PGV_INFO, "ha", "after");
    n = read(ends[0], got, sizeof(got) - 1);
    assert_true(n > 0);
    got[n] = '\0';
    warning = strstr(got, "QueueHandler has lost ");
    assert_non_null(warning);
    lost = strtoul(warning + 22, NULL, 10);
    assert_in_range(lost, 80, 99);
    assert_string_equal(strchr(warning, '\n'), "\n");
    pgv_log(PGV_INFO, "ha", "again");
    n = read(ends[0], got, sizeof(got) - 1);
    assert_int_equal(n, 6); /* it is said once */
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* A line that was cut off by a full pipe does not swallow the next one. */
static void test_log__a_torn_line_is_ended(void **state)
{
    struct pgv_error err = { 0 };
    static char got[1 << 20];
    size_t total = 0;
    int ends[2];
    ssize_t n;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    assert_true(pgv_log_configure(base_json("{\"format\":\"%(message)s\"}"), &err));
    /* One page and many times two: of the sixteen the last is left for half a line. */
    pgv_log(PGV_INFO, "ha", "%3000d", 0);
    for (int i = 0; i < 20; i++)
        pgv_log(PGV_INFO, "ha", "%7000d", 0);
    n = read(ends[0], got, sizeof(got));
    assert_true(n > 0);
    total = (size_t)n;
    pgv_log(PGV_INFO, "ha", "after");
    n = read(ends[0], got + total, sizeof(got) - total - 1);
    assert_true(n > 0);
    got[total + (size_t)n] = '\0';
    assert_int_not_equal(got[total - 1], '\n'); /* it was torn */
    assert_non_null(strstr(got + total, "\nafter\n"));
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void test_log__switches_between_file_and_stderr(void **state)
{
    int fd = take_stderr_socket();
    struct pgv_error err = { 0 };
    char got[100];

    (void)state;
    must_configure("{\"format\":\"%(message)s\"}");
    pgv_log(PGV_INFO, "ha", "to the file");
    assert_true(pgv_log_configure(base_json("{\"format\":\"%(message)s\"}"), &err));
    pgv_log(PGV_INFO, "ha", "to the terminal");
    assert_int_equal(recv(fd, got, sizeof(got), 0), 16);
    assert_string_equal(logged(), "to the file\n");
    (void)close(fd);
}

static void test_log_configure_ctl__its_own_format(void **state)
{
    int fd = take_stderr_socket();
    char got[100];
    ssize_t n;

    (void)state;
    pgv_log_configure_ctl(PGV_WARNING);
    pgv_log(PGV_INFO, "ctl", "unwanted");
    pgv_log(PGV_WARNING, "ctl", "Listing members");
    n = recv(fd, got, sizeof(got) - 1, 0);
    assert_true(n > 0);
    got[n] = '\0';
    assert_like(got, "####-##-## ##:##:##,### - WARNING - Listing members\n");
    (void)close(fd);
}

#define log_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        log_test(test_log__default_line),
        log_test(test_log__plain_attributes),
        log_test(test_log__plain_numbers),
        log_test(test_log__dateformat),
        log_test(test_log__plain_with_another_type_of_format),
        log_test(test_log__a_bad_setting_changes_nothing),
        log_test(test_log__the_folder_must_exist),
        log_test(test_log__json_with_a_list),
        log_test(test_log__json_with_a_string),
        log_test(test_log__json_default),
        log_test(test_log__json_warns_of_bad_items),
        log_test(test_log__json_line_is_whole_however_long),
        log_test(test_log__levels_by_name_and_number),
        log_test(test_log__loggers_are_a_hierarchy),
        log_test(test_log__rotates_before_the_size_is_reached),
        log_test(test_log__does_not_rotate_without_size_or_number),
        log_test(test_log__goes_on_when_it_cannot_rotate),
        log_test(test_log__mode),
        log_test(test_log__is_opened_anew_on_reload),
        log_test(test_log__heartbeat_filter),
        log_test(test_log__what_is_held_keeps_its_place_and_time),
        log_test(test_log__no_line_can_be_forged),
        log_test(test_log__secrets_are_masked),
        log_test(test_log__needs_no_memory),
        log_test(test_log_configure__every_allocation_may_fail),
        log_test(test_log_configure__static_fields_have_a_limit),
        log_test(test_log__one_line_is_one_write),
        log_test(test_log__a_full_pipe_loses_lines_and_says_so),
        log_test(test_log__a_torn_line_is_ended),
        log_test(test_log__switches_between_file_and_stderr),
        log_test(test_log_configure_ctl__its_own_format),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
