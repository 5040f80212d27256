/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_base_parse.c - numbers, units, versions, LSNs, moments, shell words, host:port.
 *
 * Where the contract gives a vector it stands here; the rest was computed with Patroni 4.1.5's
 * utils.parse_int, parse_real and maybe_convert_from_base_unit.
 */
#include "base_support.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/parse.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct int_case {
    const char *text, *unit;
    bool ok;
    int64_t value;
};

static void test_parse_int__vectors(void **state)
{
    static const struct int_case cases[] = {
        { "6GB", "16MB", true, 384 },
        { "4097.5kB", "kB", true, 4098 },
        { "4097.4kB", "kB", true, 4097 },
        { " 0x400 MB ", "16384kB", true, 64 },
        { "010", NULL, true, 8 },
        { "5MB", "8kB", true, 640 },
        { "1TB", "GB", false, 0 },
        { "10MB", "B", true, 10485760 },
        { "1 MB", "B", true, 1048576 },
        { " 1024kB ", "B", true, 1048576 },
        { "1.5MB", "B", true, 1572864 },
        { "1e3kB", "B", true, 1024000 },
        { "08", NULL, false, 0 },
        { "08", "B", false, 0 },
        { "10M", "B", false, 0 },
        { "1mb", "B", false, 0 },
        { "10b", "B", false, 0 },
        { "0x10", NULL, true, 16 },
        { "1min", "s", true, 60 },
        { "1500ms", "s", true, 2 },
        { "500ms", "s", true, 0 },
        { "10.6s", "s", true, 11 },
        { "-5", NULL, true, -5 },
        { "-070", NULL, true, -56 },
        { "+7", NULL, true, 7 },
        { "- 7", NULL, false, 0 },
        { "1.5", NULL, true, 2 },
        { "2.5", NULL, true, 2 },
        { "-1.5", NULL, true, -2 },
        { ".5", NULL, true, 0 },
        { "-.5", NULL, false, 0 },
        { "1.", NULL, false, 0 },
        { "1e", NULL, false, 0 },
        { "1e3", NULL, true, 1000 },
        { "1E3", NULL, true, 1000 },
        { "1e-1", NULL, true, 0 },
        { "1e400", NULL, false, 0 },
        { "1e30", NULL, false, 0 },
        { "0x", NULL, false, 0 },
        { "0x1.5", NULL, false, 0 },
        { "", NULL, false, 0 },
        { "   ", NULL, false, 0 },
        { "x", NULL, false, 0 },
        { "1_0", NULL, false, 0 },
        { "12 3", NULL, false, 0 },
        { "1MB", NULL, false, 0 },
        { "1MB", "nonsense", false, 0 },
        { "1MB", "s", false, 0 },
        { "1MB", "512 MB", false, 0 },
        { "1MB", "0kB", false, 0 },
        { "1", "nonsense", true, 1 },
        { "30min", "s", true, 1800 },
        { "1d", "min", true, 1440 },
        { "90s", "min", true, 2 },
        { "1us", "ms", true, 0 },
        { "9223372036854775807", NULL, true, INT64_MAX },
        { "-9223372036854775808", NULL, true, INT64_MIN },
        { "9223372036854775808", NULL, false, 0 },
        { "0xFFFFFFFFFFFFFFFF", NULL, false, 0 },
        { "99999999999999999999TB", "B", false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int64_t v = 77;

        if (pgv_parse_int(pgv_str(cases[i].text), cases[i].unit, &v) != cases[i].ok)
            fail_msg("'%s' in %s: wrong outcome", cases[i].text, cases[i].unit);
        if (v != (cases[i].ok ? cases[i].value : 77))
            fail_msg("'%s' in %s is %lld", cases[i].text, cases[i].unit, (long long)v);
    }
}

static void test_parse_int__needs_no_terminator(void **state)
{
    int64_t v;

    (void)state;
    assert_true(pgv_parse_int((struct pgv_str){ "123456", 3 }, NULL, &v));
    assert_int_equal(v, 123);
    assert_false(pgv_parse_int((struct pgv_str){ 0 }, NULL, &v));
    assert_true(pgv_parse_int((struct pgv_str){ "1MBx", 3 }, "kB", &v));
    assert_int_equal(v, 1024);
}

static void test_parse_real__vectors(void **state)
{
    static const struct {
        const char *text, *unit;
        bool ok;
        double value;
    } cases[] = {
        { " +0.0005 ", NULL, true, 0.0005 },
        { "0.0005ms", "ms", true, 0.0 },
        { "0.00051ms", "ms", true, 0.001 },
        { "8.325e-10", NULL, true, 8.325e-10 },
        { "1.5s", "ms", true, 1500 },
        { "1min", "s", true, 60 },
        { "5", "ms", true, 5 },
        { "0x10", NULL, false, 0 },
        { "", NULL, false, 0 },
        { ".", NULL, false, 0 },
        { "1e", NULL, false, 0 },
        { "1x", "ms", false, 0 },
        { "1ms", NULL, false, 0 },
        { "inf", NULL, false, 0 },
        { "nan", NULL, false, 0 },
        { "1e400", NULL, false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        double d = 77;

        if (pgv_parse_real(pgv_str(cases[i].text), cases[i].unit, &d) != cases[i].ok)
            fail_msg("'%s': wrong outcome", cases[i].text);
        if (fabs(d - (cases[i].ok ? cases[i].value : 77)) > 0)
            fail_msg("'%s' is %.17g", cases[i].text, d);
    }
}

static void test_parse_bool__words_in_any_case(void **state)
{
    static const char *const yes[] = { "on", "TRUE", "Yes", "1", "tRuE" };
    static const char *const no[] = { "off", "False", "NO", "0" };
    static const char *const neither[] = { "", "y", "n", "2", " on", "on ", "01", "enabled" };
    bool b;

    (void)state;
    for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++) {
        b = false;
        assert_true(pgv_parse_bool(pgv_str(yes[i]), &b));
        assert_true(b);
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++) {
        b = true;
        assert_true(pgv_parse_bool(pgv_str(no[i]), &b));
        assert_false(b);
    }
    for (size_t i = 0; i < sizeof(neither) / sizeof(*neither); i++)
        assert_false(pgv_parse_bool(pgv_str(neither[i]), &b));
}

static void test_parse_u64__digits_only(void **state)
{
    static const char *const wrong[] = { "",   "-1",  "+1",  " 1",
                                         "1 ", "0x1", "1.0", "18446744073709551616" };
    uint64_t v;

    (void)state;
    assert_true(pgv_parse_u64(PGV_STR("18446744073709551615"), &v));
    assert_true(v == UINT64_MAX);
    assert_true(pgv_parse_u64(PGV_STR("007"), &v));
    assert_int_equal(v, 7);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_false(pgv_parse_u64(pgv_str(wrong[i]), &v));
}

static void test_format_unit__largest_that_divides(void **state)
{
    static const struct {
        int64_t value;
        const char *unit, *text;
    } cases[] = {
        { 1024, "kB", "1MB" },     { 1025, "kB", "1025kB" }, { 4, "256MB", "1GB" },
        { 16384, "8kB", "128MB" }, { 60, "s", "1min" },      { 86400, "s", "1d" },
        { 5, "ms", "5ms" },        { 1000, "ms", "1s" },     { 1440, "min", "1d" },
        { 0, "kB", "0" },          { -1, "ms", "-1ms" },     { 4, "256 MB", "4" },
        { 1024, "KB", "1024" },    { 7, NULL, "7" },         { 1099511627776, "B", "1TB" },
        { 1, "B", "1B" },          { 65536, "16MB", "1TB" },
    };
    char text[32];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        pgv_format_unit(cases[i].value, cases[i].unit, text, sizeof(text));
        assert_string_equal(text, cases[i].text);
    }
}

static void test_format_real__as_pythons_repr(void **state)
{
    static const struct {
        double d;
        const char *text;
    } cases[] = {
        { 0.0, "0.0" },
        { -0.0, "-0.0" },
        { 30.0, "30.0" },
        { 0.1, "0.1" },
        { 1.5, "1.5" },
        { 1e15, "1000000000000000.0" },
        { 1e16, "1e+16" },
        { 123456789012345680.0, "1.2345678901234568e+17" },
        { 0.0001, "0.0001" },
        { 0.00012, "0.00012" },
        { 0.00001, "1e-05" },
        { 1.2e-5, "1.2e-05" },
        { 1e100, "1e+100" },
        { 5e-324, "5e-324" },
        { 1.7976931348623157e308, "1.7976931348623157e+308" },
        { 0.30000000000000004, "0.30000000000000004" },
        { -123.456, "-123.456" },
        { INFINITY, "inf" },
        { -INFINITY, "-inf" },
        { NAN, "nan" },
    };
    char text[PGV_REAL_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        pgv_format_real(cases[i].d, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void test_lsn__both_ways(void **state)
{
    static const char *const wrong[] = { "",     "/",    "1/",    "/1",          "1",
                                         "g/1",  "1/g",  "1/2/3", "123456789/0", "0/123456789",
                                         " 1/2", "-1/2", "0x1/2" };
    char text[PGV_LSN_BYTES];
    uint64_t lsn;

    (void)state;
    assert_true(pgv_parse_lsn(PGV_STR("16/B374D848"), &lsn));
    assert_true(lsn == 0x16b374d848);
    pgv_format_lsn(lsn, text);
    assert_string_equal(text, "16/B374D848");
    assert_true(pgv_parse_lsn(PGV_STR("0/00000a"), &lsn));
    pgv_format_lsn(lsn, text);
    assert_string_equal(text, "0/A");
    assert_true(pgv_parse_lsn(PGV_STR("ffffffff/FFFFFFFF"), &lsn));
    assert_true(lsn == UINT64_MAX);
    pgv_format_lsn(UINT64_MAX, text);
    assert_string_equal(text, "FFFFFFFF/FFFFFFFF");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_false(pgv_parse_lsn(pgv_str(wrong[i]), &lsn));
}

static void test_parse_pg_version__two_schemes(void **state)
{
    static const struct {
        const char *text;
        int version; /* 0: refused */
    } cases[] = {
        { "9.5.3", 90503 }, { "9.3.13", 90313 }, { "9.6.24", 90624 },  { "10.1", 100001 },
        { "16.4", 160004 }, { "10.0", 100000 },  { "16.0.0", 160000 }, { "10", 0 },
        { "9.6", 0 },       { "a.b.c", 0 },      { "1.2.3.4", 0 },     { "", 0 },
        { "16.", 0 },       { ".4", 0 },         { "16.4beta1", 0 },   { "16.-4", 0 },
        { "16. 4", 0 },     { "16.100", 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int v = 0;

        assert_int_equal(pgv_parse_pg_version(pgv_str(cases[i].text), &v), cases[i].version != 0);
        assert_int_equal(v, cases[i].version);
    }
}

static void test_parse_moment__forms(void **state)
{
    static const struct {
        const char *text;
        const char *back; /* NULL: refused */
        bool has_zone;
    } cases[] = {
        { "2030-01-02T03:04:05+00:00", "2030-01-02T03:04:05+00:00", true },
        { "2030-01-02 03:04:05+00:00", "2030-01-02T03:04:05+00:00", true },
        { "2030-01-02T03:04Z", "2030-01-02T03:04:00+00:00", true },
        { "2030-01-02T03:04 UTC", "2030-01-02T03:04:00+00:00", true },
        { "2030-01-02 03:04:05.5+02", "2030-01-02T03:04:05.500000+02:00", true },
        { "2030-01-02 03:04:05.1234567+0230", "2030-01-02T03:04:05.123456+02:30", true },
        { "2030-01-02T03:04:05-5", "2030-01-02T03:04:05-05:00", true },
        { "2030-01-02T03:04:05 -05:30", "2030-01-02T03:04:05-05:30", true },
        { "20300101T101010Z", "2030-01-01T10:10:10+00:00", true },
        { "20300101T1010Z", "2030-01-01T10:10:00+00:00", true },
        { "  2030-01-02T03:04Z  ", "2030-01-02T03:04:00+00:00", true },
        { "2024-02-29T00:00Z", "2024-02-29T00:00:00+00:00", true },
        { "2000-02-29T00:00Z", "2000-02-29T00:00:00+00:00", true },
        { "1969-12-31T23:59:59.25Z", "1969-12-31T23:59:59.250000+00:00", true },
        { "0001-01-01T00:00Z", "0001-01-01T00:00:00+00:00", true },
        { "9999-12-31T23:59:59Z", "9999-12-31T23:59:59+00:00", true },
        { "2030-01-02 03:04", "2030-01-02T03:04:00+00:00", false },
        { "2030-01-02", "2030-01-02T00:00:00+00:00", false },
        { "2030-01-02T03:04 EST", "2030-01-02T03:04:00+00:00", false },
        { "2023-02-29T00:00Z", NULL, false },
        { "1900-02-29T00:00Z", NULL, false },
        { "2030-13-02T03:04Z", NULL, false },
        { "2030-00-02T03:04Z", NULL, false },
        { "2030-01-00T03:04Z", NULL, false },
        { "2030-04-31T03:04Z", NULL, false },
        { "0000-01-01T00:00Z", NULL, false },
        { "2030-01-02T24:00Z", NULL, false },
        { "2030-01-02T03:60Z", NULL, false },
        { "2030-01-02T03:04:60Z", NULL, false },
        { "2030-01-02T03:04:05.Z", NULL, false },
        { "2030-01-02T03Z", NULL, false },
        { "2030-01-02T03:04+24:00", NULL, false },
        { "2030-01-02T03:04+02:60", NULL, false },
        { "2030-01-02T03:04+", NULL, false },
        { "2030-01-02T03:04+02:", NULL, false },
        { "2030-01-02T03:04+02:00x", NULL, false },
        { "2030-1-2T03:04Z", NULL, false },
        { "2030-01-02x03:04Z", NULL, false },
        { "tomorrow", NULL, false },
        { "", NULL, false },
        { "2030", NULL, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char back[PGV_MOMENT_BYTES] = "";
        bool has_zone = false;
        int64_t us = 0;
        int offset_s = 0;

        if (pgv_parse_moment(pgv_str(cases[i].text), &us, &has_zone, &offset_s) !=
            (cases[i].back != NULL))
            fail_msg("'%s': wrong outcome", cases[i].text);
        if (!cases[i].back)
            continue;
        pgv_format_moment(us, offset_s, back);
        assert_string_equal(back, cases[i].back);
        assert_int_equal(has_zone, cases[i].has_zone);
    }
}

static void test_parse_moment__is_the_same_instant_in_any_zone(void **state)
{
    int64_t a, b;
    bool zone;
    int offset_s;

    (void)state;
    assert_true(pgv_parse_moment(PGV_STR("2030-01-02T03:04:05+05:30"), &a, &zone, &offset_s));
    assert_int_equal(offset_s, 19800);
    assert_true(pgv_parse_moment(PGV_STR("2030-01-01T21:34:05Z"), &b, &zone, &offset_s));
    assert_true(a == b);
    assert_true(a == 1893533645000000);
    assert_true(pgv_parse_moment(PGV_STR("1970-01-01T00:00Z"), &a, &zone, &offset_s));
    assert_true(a == 0);
}

static void test_format_moment__agrees_with_the_c_library(void **state)
{
    (void)state;
    for (int64_t t = -62135596800; t < 253402300800; t += 86399 * 977) {
        char ours[PGV_MOMENT_BYTES], theirs[64];
        time_t sec = (time_t)t;
        struct tm tm;

        pgv_format_moment(t * 1000000, 0, ours);
        assert_non_null(gmtime_r(&sec, &tm));
        (void)snprintf(theirs, sizeof(theirs), "%04d-%02d-%02dT%02d:%02d:%02d+00:00",
                       tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                       tm.tm_sec);
        assert_string_equal(ours, theirs);
    }
}

static void test_wall_iso_local__uses_the_zone(void **state)
{
    char text[PGV_ISO_BYTES];

    (void)state;
    assert_int_equal(setenv("TZ", "XYZ-5:30", 1), 0);
    tzset();
    pgv_wall_iso_local(0, text);
    assert_string_equal(text, "1970-01-01T05:30:00+05:30");
    pgv_wall_iso_local(1500000, text);
    assert_string_equal(text, "1970-01-01T05:30:01.500000+05:30");
    pgv_wall_iso_local(-1, text);
    assert_string_equal(text, "1970-01-01T05:29:59.999999+05:30");
    assert_int_equal(unsetenv("TZ"), 0);
    tzset();
}

static void test_clock__goes_forward(void **state)
{
    uint64_t us = pgv_clock_us(), ms = pgv_clock_ms();

    (void)state;
    assert_true(ms >= us / 1000);
    assert_true(pgv_clock_us() >= us);
    assert_true(pgv_wall_us() > 1600000000000000);
}

static void test_shell_split__quotes_and_backslashes(void **state)
{
    static const struct {
        const char *text;
        const char *argv[6];
    } cases[] = {
        { "", { NULL } },
        { "  \t\n ", { NULL } },
        { "a b  c", { "a", "b", "c", NULL } },
        { "a 'b c' d", { "a", "b c", "d", NULL } },
        { "a \"b c\"d", { "a", "b cd", NULL } },
        { "''", { "", NULL } },
        { "a '' \"\"", { "a", "", "", NULL } },
        { "a\\ b", { "a b", NULL } },
        { "'a\\b'", { "a\\b", NULL } },
        { "\"a\\\"b\\\\c\\d\"", { "a\"b\\c\\d", NULL } },
        { "\"a'b\" 'c\"d'", { "a'b", "c\"d", NULL } },
        { "a#b #c", { "a#b", "#c", NULL } },
        { "$HOME `x` *", { "$HOME", "`x`", "*", NULL } },
        { "a\\\nb", { "a\nb", NULL } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct pgv_error err = { 0 };
        char **argv = NULL;
        size_t argc = 99, n = 0;

        assert_true(pgv_shell_split(&base_arena, pgv_str(cases[i].text), &argv, &argc, &err));
        for (; cases[i].argv[n]; n++)
            assert_string_equal(argv[n], cases[i].argv[n]);
        assert_int_equal(argc, n);
        assert_null(argv[n]);
    }
}

static void test_shell_split__refuses_open_ends(void **state)
{
    static const struct pgv_str cases[] = {
        { "a 'b", 4 }, { "a \"b", 4 }, { "a\\", 2 }, { "\"a\\", 3 }, { "a\0b", 3 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct pgv_error err = { 0 };
        char **argv;
        size_t argc;

        assert_false(pgv_shell_split(&base_arena, cases[i], &argv, &argc, &err));
        assert_int_equal(err.code, PGV_EINVALID);
    }
}

static void test_shell_split__every_allocation_may_fail(void **state)
{
    bool done = false;

    (void)state;
    for (unsigned long nth = 1; !done; nth++) {
        struct pgv_error err = { 0 };
        struct pgv_arena a;
        char **argv;
        size_t argc;

        pgv_arena_init(&a, 100000);
        pgv_alloc_fail_at(nth, true);
        done = pgv_shell_split(&a, PGV_STR("a b c"), &argv, &argc, &err);
        pgv_alloc_fail_at(0, false);
        if (!done)
            assert_int_equal(err.code, PGV_ENOMEM);
        pgv_arena_done(&a);
    }
}

static void test_parse_host_port__forms(void **state)
{
    static const struct {
        const char *text;
        const char *host; /* NULL: refused */
        int port;
    } cases[] = {
        { "127.0.0.1", "127.0.0.1", 5432 },
        { "127.0.0.1:5400", "127.0.0.1", 5400 },
        { "db.example:1", "db.example", 1 },
        { "db.example:65535", "db.example", 65535 },
        { "*:8008", "*", 8008 },
        { ":8008", "", 8008 },
        { "[::1]:5400", "::1", 5400 },
        { "[::1]", "::1", 5432 },
        { "::1", "::1", 5432 },
        { "fe80::1", "fe80::1", 5432 },
        { "::1:5433", "::1", 5433 },
        { "0:0:0:0:0:0:0:0:5400", "0:0:0:0:0:0:0:0", 5400 },
        { "127.0.0.1,192.168.0.101:5400", "127.0.0.1,192.168.0.101", 5400 },
        { "127.0.0.1,www.mydomain.com,[fe80:0:0:0:213:72ff:fe3c:21bf], 0:0:0:0:0:0:0:0:5400",
          "127.0.0.1,www.mydomain.com,fe80:0:0:0:213:72ff:fe3c:21bf,0:0:0:0:0:0:0:0", 5400 },
        { "host:0", NULL, 0 },
        { "host:65536", NULL, 0 },
        { "host:", NULL, 0 },
        { "host:x", NULL, 0 },
        { "host:-1", NULL, 0 },
        { "host:99999999999999999999", NULL, 0 },
    };
    char host[80];
    int port;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        port = 0;
        if (pgv_parse_host_port(pgv_str(cases[i].text), 5432, host, sizeof(host), &port) !=
            (cases[i].host != NULL))
            fail_msg("'%s': wrong outcome", cases[i].text);
        if (cases[i].host) {
            assert_string_equal(host, cases[i].host);
            assert_int_equal(port, cases[i].port);
        }
    }
    assert_true(pgv_parse_host_port(PGV_STR("abc:1"), 0, host, 4, &port));
    assert_false(pgv_parse_host_port(PGV_STR("abcd:1"), 0, host, 4, &port));
    assert_false(pgv_parse_host_port(PGV_STR("ab,c:1"), 0, host, 4, &port));
    assert_false(pgv_parse_host_port(PGV_STR("abc,d:1"), 0, host, 4, &port));
}

static void test_error__fills_wraps_and_stays_on_one_line(void **state)
{
    struct pgv_error err = { 0 };
    char text[1000];

    (void)state;
    assert_false(pgv_fail(&err, PGV_ECONFLICT, "line %d\nforged\x1b[0m", 1));
    assert_int_equal(err.code, PGV_ECONFLICT);
    assert_int_equal(err.sys, 0);
    assert_string_equal(err.msg, "line 1 forged [0m");
    pgv_error_wrap(&err, "while %s", "testing");
    assert_int_equal(err.code, PGV_ECONFLICT);
    assert_string_equal(err.msg, "while testing: line 1 forged [0m");
    assert_false(pgv_fail_sys(&err, 2, "cannot open '%s'", "x"));
    assert_int_equal(err.code, PGV_ESYS);
    assert_int_equal(err.sys, 2);
    assert_string_equal(err.msg, "cannot open 'x': No such file or directory");
    assert_false(pgv_fail(NULL, PGV_ENOMEM, "nobody listens"));
    assert_false(pgv_fail_sys(NULL, 2, "nobody listens"));
    pgv_error_wrap(NULL, "nobody listens");
    assert_false(pgv_fail(&err, PGV_ENOMEM, "%s", err.msg)); /* may quote itself */
    assert_string_equal(err.msg, "cannot open 'x': No such file or directory");
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_false(pgv_fail(&err, PGV_EINVALID, "%s", text));
    assert_int_equal(strlen(err.msg), PGV_ERROR_MSG_BYTES - 1);
    pgv_error_wrap(&err, "%s", text);
    assert_int_equal(strlen(err.msg), PGV_ERROR_MSG_BYTES - 1);
    assert_false(pgv_fail_sys(&err, 2, "%s", text));
    assert_int_equal(strlen(err.msg), PGV_ERROR_MSG_BYTES - 1);
}

static void test_code_name__differs_for_each(void **state)
{
    (void)state;
    assert_string_equal(pgv_code_name(PGV_EUNREACHABLE), "unreachable");
    for (int a = PGV_OK; a <= PGV_ESYS; a++) {
        for (int b = PGV_OK; b < a; b++)
            assert_string_not_equal(pgv_code_name((enum pgv_code)a),
                                    pgv_code_name((enum pgv_code)b));
    }
}

/* How a process of its own ends that runs @f: its status as waitpid() gives it. */
static int status_of(void (*f)(void))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);

        (void)signal(SIGABRT, SIG_DFL);
        if (null >= 0)
            (void)dup2(null, STDERR_FILENO);
        f();
        _exit(3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void break_an_invariant(void)
{
    PGV_ASSERT(1 + 1 == 3);
}

static void keep_an_invariant(void)
{
    PGV_ASSERT(1 + 1 == 2);
}

static void test_assert__aborts_in_every_build(void **state)
{
    int broken = status_of(break_an_invariant), kept = status_of(keep_an_invariant);

    (void)state;
    assert_true(WIFSIGNALED(broken));
    assert_int_equal(WTERMSIG(broken), SIGABRT);
    assert_true(WIFEXITED(kept));
}

/* Leaves with 0 when the surprise was counted and said so. */
static void be_surprised(void)
{
    if (!PGV_EXPECT(1 + 1 == 3) && pgv_expect_failures() == 1)
        _exit(0);
}

static void test_expect__aborts_in_debug_builds_and_counts_in_others(void **state)
{
    int status = status_of(be_surprised);

    (void)state;
    assert_true(PGV_EXPECT(1 + 1 == 2));
    assert_int_equal(pgv_expect_failures(), 0);
    if (WIFSIGNALED(status))
        assert_int_equal(WTERMSIG(status), SIGABRT);
    else
        assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        base_test(test_parse_int__vectors),
        base_test(test_parse_int__needs_no_terminator),
        base_test(test_parse_real__vectors),
        base_test(test_parse_bool__words_in_any_case),
        base_test(test_parse_u64__digits_only),
        base_test(test_format_unit__largest_that_divides),
        base_test(test_format_real__as_pythons_repr),
        base_test(test_lsn__both_ways),
        base_test(test_parse_pg_version__two_schemes),
        base_test(test_parse_moment__forms),
        base_test(test_parse_moment__is_the_same_instant_in_any_zone),
        base_test(test_format_moment__agrees_with_the_c_library),
        base_test(test_wall_iso_local__uses_the_zone),
        base_test(test_clock__goes_forward),
        base_test(test_shell_split__quotes_and_backslashes),
        base_test(test_shell_split__refuses_open_ends),
        base_test(test_shell_split__every_allocation_may_fail),
        base_test(test_parse_host_port__forms),
        base_test(test_error__fills_wraps_and_stays_on_one_line),
        base_test(test_code_name__differs_for_each),
        base_test(test_assert__aborts_in_every_build),
        base_test(test_expect__aborts_in_debug_builds_and_counts_in_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
