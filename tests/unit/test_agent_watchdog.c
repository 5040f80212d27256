/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_agent_watchdog.c - the watchdog's device is a model with a clock of its own: it
 * knows when it would fire, writes down what was done to it, and fails as it is told. What the
 * testing driver does is done to a real named pipe.
 */
#include "agent/watchdog.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FD 77
#define ALL (WDIOF_SETTIMEOUT | WDIOF_MAGICCLOSE | WDIOF_KEEPALIVEPING)

/* ---- a device ----------------------------------------------------------------------------------
 */

static struct device {
    /* what it is like */
    const char *identity;
    unsigned firmware, options;
    mode_t mode;
    bool nowayout;
    int timeout_s, step_s, least_s; /* its time-out now, and which ones it takes */
    unsigned call_ms;               /* how long a call takes */
    int open_errno, access_errno, support_errno, set_errno, get_errno, write_errno;
    /* what became of it */
    bool open;
    uint64_t fires_ms;
    char did[512];
} device;
static uint64_t now_ms;
static struct watchdog w;
static struct watchdog_config config;

static void did(const char *what)
{
    assert_true(strlen(device.did) + strlen(what) + 2 < sizeof(device.did));
    if (device.did[0])
        strcat(device.did, " ");
    strcat(device.did, what);
}

static int fails(int with)
{
    if (with) {
        errno = with;
        return -1;
    }
    return 0;
}

static void restarts(void)
{
    device.fires_ms = now_ms + (uint64_t)device.timeout_s * 1000;
}

static int fake_open(const char *path, int flags)
{
    /* not to be inherited, and nobody who does not read it may hold us up */
    assert_int_equal(flags, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    assert_string_equal(path, config.device);
    assert_false(device.open);
    did("open");
    if (fails(device.open_errno))
        return -1;
    device.open = true;
    restarts();
    return FD;
}

static int fake_close(int fd)
{
    assert_int_equal(fd, FD);
    assert_true(device.open);
    device.open = false;
    did("close");
    return 0;
}

static ssize_t fake_write(int fd, const void *p, size_t n)
{
    char text[2] = "";

    assert_int_equal(fd, FD);
    assert_true(device.open);
    assert_int_equal(n, 1);
    memcpy(text, p, 1);
    did(text);
    now_ms += device.call_ms;
    if (fails(device.write_errno))
        return -1;
    restarts(); /* as late as it can be */
    return 1;
}

static int set(int *seconds)
{
    char text[24];

    snprintf(text, sizeof(text), "set:%d", *seconds);
    did(text);
    now_ms += device.call_ms;
    if (fails(device.set_errno))
        return -1;
    if (*seconds < device.least_s)
        return fails(EINVAL);
    if (device.step_s)
        *seconds = (*seconds + device.step_s - 1) / device.step_s * device.step_s;
    device.timeout_s = *seconds;
    restarts();
    return 0;
}

static int fake_ioctl(int fd, unsigned long request, void *arg)
{
    assert_int_equal(fd, FD);
    assert_true(device.open);
    if (request == WDIOC_GETSUPPORT) {
        struct watchdog_info *info = arg;

        info->options = device.options;
        info->firmware_version = device.firmware;
        memcpy(info->identity, device.identity, strnlen(device.identity, sizeof(info->identity)));
        return fails(device.support_errno);
    }
    if (request == WDIOC_SETTIMEOUT)
        return set(arg);
    assert_int_equal(request, WDIOC_GETTIMEOUT);
    *(int *)arg = device.timeout_s;
    return fails(device.get_errno);
}

static int fake_access(const char *path, int mode)
{
    assert_string_equal(path, config.device);
    assert_int_equal(mode, W_OK);
    return fails(device.access_errno);
}

static int fake_mode_of(int fd, mode_t *ret)
{
    assert_int_equal(fd, FD);
    *ret = device.mode;
    return 0;
}

static bool fake_nowayout(int fd)
{
    assert_int_equal(fd, FD);
    return device.nowayout;
}

static uint64_t fake_now_ms(void)
{
    return now_ms;
}

static const struct watchdog_sys fake_sys = {
    .open = fake_open,
    .close = fake_close,
    .write = fake_write,
    .ioctl = fake_ioctl,
    .access = fake_access,
    .mode_of = fake_mode_of,
    .nowayout = fake_nowayout,
    .now_ms = fake_now_ms,
};

/* ---- what is said ------------------------------------------------------------------------------
 */

static char dir[] = "/tmp/pgvigil-watchdog-XXXXXX", log_path[64];
static char logged[16384];

/** What was logged since the last call. */
static const char *log_text(void)
{
    FILE *f = fopen(log_path, "r");

    assert_non_null(f);
    logged[fread(logged, 1, sizeof(logged) - 1, f)] = '\0';
    fclose(f);
    assert_int_equal(truncate(log_path, 0), 0);
    return logged;
}

static void log_to_dir(void)
{
    struct pgv_value *section;
    struct pgv_arena arena;
    struct pgv_error err;
    char json[128];

    assert_non_null(mkdtemp(dir));
    snprintf(log_path, sizeof(log_path), "%s/patroni.log", dir);
    snprintf(json, sizeof(json), "{\"level\": \"DEBUG\", \"dir\": \"%s\"}", dir);
    pgv_arena_init(&arena, 65536);
    assert_true(pgv_json_parse(&arena, pgv_str(json), &section, &err));
    assert_true(pgv_log_configure(section, &err));
    pgv_arena_done(&arena);
}

static void said(const char *text)
{
    const char *all = log_text();

    if (!strstr(all, text))
        fail_msg("'%s' was not said, but: %s", text, all);
}

static void said_nothing(void)
{
    assert_string_equal(log_text(), "");
}

/* ---- fixture -----------------------------------------------------------------------------------
 */

static void configured(enum ha_watchdog_mode mode, const char *path)
{
    memset(&config, 0, sizeof(config));
    config.mode = mode;
    config.driver = WATCHDOG_LINUX;
    snprintf(config.device, sizeof(config.device), "%s", path);
    config.ttl_s = 30;
    config.loop_wait_s = 10;
    config.timeout_s = 25;
    config.slack_s = 15;
    config.possible = true;
    (void)watchdog_configure(&w, &config);
}

static void anew(enum ha_watchdog_mode mode)
{
    device = (struct device){ .identity = "iTCO_wdt", .options = ALL, .mode = S_IFCHR };
    device.timeout_s = 60;
    now_ms = 1000000;
    watchdog_init(&w, &fake_sys);
    configured(mode, WATCHDOG_DEVICE_DEFAULT);
}

static void fresh(enum ha_watchdog_mode mode)
{
    anew(mode);
    (void)log_text();
}

static int setup(void **state)
{
    (void)state;
    fresh(HA_WATCHDOG_AUTOMATIC);
    return 0;
}

static bool act(enum ha_watchdog_op op, uint64_t timeout_ms, uint64_t until_ms)
{
    struct ha_effect e = { .type = HA_DO_WATCHDOG };

    e.u.watchdog.op = op;
    e.u.watchdog.timeout_ms = timeout_ms;
    e.u.watchdog.until_ms = until_ms;
    return watchdog_do(&w, &e);
}

/** As the brain does with a lease that has just been renewed. */
static bool keepalive(void)
{
    return act(HA_WATCHDOG_KEEPALIVE, 25000, now_ms + 30000);
}

static struct ha_watchdog state_now(void)
{
    struct ha_watchdog s;

    watchdog_state(&w, &s);
    return s;
}

static void was_done(const char *what)
{
    assert_string_equal(device.did, what);
    device.did[0] = '\0';
}

static void activated(void)
{
    assert_true(act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000));
    assert_true(state_now().running);
    was_done("open set:25 1");
    (void)log_text();
}

/* ---- activate ----------------------------------------------------------------------------------
 */

static void test_watchdog_do__activation_sets_the_time_out(void **state)
{
    struct ha_watchdog s = state_now();

    (void)state;
    assert_true(s.usable);
    assert_false(s.running);
    assert_true(act(HA_WATCHDOG_CHECK, 25000, 0));
    was_done("");
    assert_true(act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000));
    was_done("open set:25 1");
    said("INFO: iTCO_wdt activated with 25 second timeout, timing slack 15 seconds");
    s = state_now();
    assert_true(s.usable && s.running && s.adjustable);
    assert_int_equal(s.timeout_ms, 25000);
    assert_int_equal(s.fires_ms, now_ms + 25000);
    assert_int_equal(s.fires_ms, device.fires_ms);

    now_ms += 5000; /* again: it is kept alive, no more */
    assert_true(act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000));
    was_done("1");
    said_nothing();
    assert_int_equal(state_now().fires_ms, now_ms + 25000);
    assert_int_equal(w.n_keepalives, 2);
}

static void test_watchdog_name__driver_firmware_and_path(void **state)
{
    static const struct {
        const char *path, *identity, *closed, *open;
        unsigned firmware;
    } rows[] = {
        { "/dev/watchdog", "Software Watchdog", "Linux watchdog device", "Software Watchdog", 0 },
        { "/dev/watchdog", "i6300ESB timer", "Linux watchdog device", "i6300ESB timer (firmware 7)",
          7 },
        { "/dev/watchdog1", "IPMI", "Linux watchdog device at /dev/watchdog1",
          "IPMI (firmware 1) at /dev/watchdog1", 1 },
        { "/dev/watchdog", "12345678901234567890123456789012", "Linux watchdog device",
          "12345678901234567890123456789012", 0 },
        { "/dev/watchdog", "a\nb\377", "Linux watchdog device", "a?b?", 0 },
    };
    char name[WATCHDOG_NAME_BYTES];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        fresh(HA_WATCHDOG_AUTOMATIC);
        configured(HA_WATCHDOG_AUTOMATIC, rows[i].path);
        device.identity = rows[i].identity;
        device.firmware = rows[i].firmware;
        watchdog_name(&w, name);
        assert_string_equal(name, rows[i].closed);
        (void)act(HA_WATCHDOG_ACTIVATE, 25000, 0);
        watchdog_name(&w, name);
        assert_string_equal(name, rows[i].open);
        (void)act(HA_WATCHDOG_DISABLE, 0, 0);
        watchdog_name(&w, name);
        assert_string_equal(name, rows[i].closed);
    }
}

static void no_such_device(void)
{
    device.open_errno = device.access_errno = ENOENT;
}

static void busy(void)
{
    device.open_errno = EBUSY;
}

static void regular_file(void)
{
    device.mode = S_IFREG;
}

static void silent(void)
{
    device.support_errno = ENOTTY;
}

static void cannot_set(void)
{
    device.set_errno = EIO;
}

static void cannot_get(void)
{
    device.get_errno = EIO;
}

static void cannot_set_20(void)
{
    cannot_set();
    device.timeout_s = 20;
}

static void cannot_set_forever(void)
{
    cannot_set();
    device.nowayout = true;
}

static void cannot_get_forever(void)
{
    cannot_get();
    device.nowayout = true;
}

static void cannot_ping(void)
{
    device.write_errno = EIO;
}

static void fixed_at_25(void)
{
    device.options &= ~(unsigned)WDIOF_SETTIMEOUT;
    device.timeout_s = 25;
}

static void fixed_at_60(void)
{
    device.options &= ~(unsigned)WDIOF_SETTIMEOUT;
}

static void fixed_at_5(void)
{
    device.options &= ~(unsigned)WDIOF_SETTIMEOUT;
    device.timeout_s = 5;
}

static void fixed_at_5_forever(void)
{
    fixed_at_5();
    device.nowayout = true;
}

static void rounds_up(void)
{
    device.step_s = 20;
}

static void rounds_up_forever(void)
{
    device.step_s = 20;
    device.options &= ~(unsigned)WDIOF_MAGICCLOSE;
}

static void test_watchdog_do__activation_that_fails(void **state)
{
    static const struct {
        const char *what;
        void (*make)(void);
        bool required;
        bool running, usable, healthy;
        const char *done, *says;
    } rows[] = {
        { "missing", no_such_device, false, false, false, true, "open",
          "DEBUG: Could not activate Linux watchdog device: it cannot be opened: No such file" },
        { "missing", no_such_device, true, false, false, false, "open",
          "WARNING: Could not activate Linux watchdog device: it cannot be opened: No such file" },
        { "busy", busy, true, false, true, true, "open", "cannot be opened: Device or resource" },
        { "no device", regular_file, true, false, false, false, "open close",
          "WARNING: Could not activate Linux watchdog device: it is no character device" },
        { "silent", silent, true, false, false, false, "open V close",
          "it does not say what it can do" },
        { "set fails", cannot_set, true, false, false, false, "open set:25 1 V close",
          "WARNING: iTCO_wdt: a time-out of 25 seconds cannot be set: Input/output error; it is "
          "taken as it is" },
        { "set fails, 20 would do", cannot_set_20, true, true, true, true, "open set:25 1",
          "INFO: iTCO_wdt activated with 20 second timeout" },
        { "set fails, unstoppable", cannot_set_forever, true, true, true, false, "open set:25 1",
          "ERROR: iTCO_wdt counts 60 seconds, which is more than" },
        { "get fails", cannot_get, false, false, false, true, "open set:25 V close",
          "DEBUG: Could not activate iTCO_wdt: its time-out cannot be read" },
        { "get fails, unstoppable", cannot_get_forever, false, true, true, true, "open set:25",
          "DEBUG: Could not activate iTCO_wdt: its time-out cannot be read" },
        { "ping fails", cannot_ping, true, false, false, false, "open set:25 1 V close",
          "no keepalive could be sent" },
        { "fixed and right", fixed_at_25, true, true, true, true, "open 1",
          "INFO: iTCO_wdt activated with 25 second timeout" },
        { "fixed, too long", fixed_at_60, false, false, false, true, "open 1 V close",
          "WARNING: iTCO_wdt counts 60 seconds, which is more than the wanted 25 seconds" },
        { "fixed, too long", fixed_at_60, true, false, false, false, "open 1 V close",
          "ERROR: iTCO_wdt counts 60 seconds, which is more than the wanted 25 seconds" },
        { "fixed, too short", fixed_at_5, false, false, false, true, "open 1 V close",
          "WARNING: iTCO_wdt counts 5 seconds, which is less than loop_wait of 10 seconds" },
        { "fixed, too short", fixed_at_5, true, false, false, false, "open 1 V close",
          "ERROR: iTCO_wdt counts 5 seconds, which is less than loop_wait of 10 seconds" },
        { "the same, unstoppable", fixed_at_5_forever, false, true, true, true, "open 1",
          "less than loop_wait" },
        { "rounds up", rounds_up, true, false, false, false, "open set:25 1 V close",
          "ERROR: iTCO_wdt counts 40 seconds, which is more than the wanted 25 seconds" },
        { "the same, unstoppable", rounds_up_forever, true, true, true, false, "open set:25 1",
          "WARNING: iTCO_wdt cannot be stopped once it counts" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        fresh(rows[i].required ? HA_WATCHDOG_REQUIRED : HA_WATCHDOG_AUTOMATIC);
        rows[i].make();
        assert_true(act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000));
        if (strcmp(device.did, rows[i].done) != 0)
            fail_msg("%s: %s, not %s", rows[i].what, device.did, rows[i].done);
        said(rows[i].says);
        assert_int_equal(state_now().running, rows[i].running);
        assert_int_equal(state_now().usable, rows[i].usable);
        assert_int_equal(device.open, rows[i].running);
        assert_int_equal(watchdog_is_healthy(&w), rows[i].healthy);
    }
}

static void test_watchdog_do__what_failed_is_tried_again_when_it_may_help(void **state)
{
    (void)state;
    /* a missing file is looked for each time, and told once */
    no_such_device();
    (void)act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000);
    said("Could not activate");
    (void)act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000);
    said_nothing();
    was_done("open open");
    device.open_errno = device.access_errno = 0;
    (void)act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000);
    said("activated");

    /* unfit: not before the configuration changes */
    fresh(HA_WATCHDOG_REQUIRED);
    fixed_at_60();
    (void)act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000);
    was_done("open 1 V close");
    now_ms += 3600000;
    (void)act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000);
    was_done("");
    watchdog_look_again(&w); /* or somebody says that it was mended */
    assert_true(state_now().usable);
    (void)act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000);
    was_done("open 1 V close");
    config.ttl_s = 90;
    config.timeout_s = 85;
    config.slack_s = 75;
    assert_true(watchdog_configure(&w, &config));
    assert_false(watchdog_configure(&w, &config));
    assert_true(state_now().usable);
    (void)act(HA_WATCHDOG_ACTIVATE, 85000, now_ms + 90000);
    was_done("open 1");
    said("activated with 60 second timeout, timing slack 75 seconds");
}

/* safety_margin 0: ttl is all there is for a time-out that cannot be changed. */
static void test_watchdog_do__a_fixed_time_out_of_all_of_ttl_is_not_used(void **state)
{
    (void)state;
    for (int64_t ttl_s = 25; ttl_s <= 26; ttl_s++) {
        fresh(HA_WATCHDOG_REQUIRED);
        fixed_at_25();
        config.ttl_s = config.timeout_s = ttl_s;
        assert_true(watchdog_configure(&w, &config));
        (void)act(HA_WATCHDOG_ACTIVATE, (uint64_t)ttl_s * 1000, now_ms + (uint64_t)ttl_s * 1000);
        assert_int_equal(state_now().running, ttl_s == 26);
        said(ttl_s == 26 ? "activated with 25 second timeout"
                         : "ERROR: iTCO_wdt counts 25 seconds, which is less than a second below "
                           "ttl of 25 seconds: it is not used");
    }
}

static void impossible(void)
{
    config.loop_wait_s = 26;
    config.slack_s = -1;
    config.possible = false;
    assert_true(watchdog_configure(&w, &config));
}

static void test_watchdog_do__times_that_leave_no_room(void **state)
{
    (void)state;
    fresh(HA_WATCHDOG_REQUIRED);
    impossible();
    assert_false(state_now().usable);
    assert_false(watchdog_is_healthy(&w));
    (void)act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000);
    said("WARNING: Watchdog not supported because leader TTL 30 ");
    (void)act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000);
    said_nothing();
    was_done("");

    configured(HA_WATCHDOG_REQUIRED, WATCHDOG_DEVICE_DEFAULT); /* back */
    activated();
    impossible(); /* while it runs: the leader is guarded until it has been demoted for that */
    was_done("");
    said("Watchdog not supported");
    assert_true(state_now().running);
    assert_false(watchdog_is_healthy(&w));
    (void)act(HA_WATCHDOG_DISABLE, 0, 0);
    was_done("V close");
    assert_false(state_now().running || state_now().usable);

    fresh(HA_WATCHDOG_AUTOMATIC); /* nobody demotes: it is stopped rather than left to fire */
    activated();
    impossible();
    was_done("V close");
    assert_false(state_now().running || state_now().usable);

    /* no driver takes such a time-out */
    fresh(HA_WATCHDOG_AUTOMATIC);
    config.ttl_s = 70000;
    config.timeout_s = 69995;
    (void)watchdog_configure(&w, &config);
    (void)act(HA_WATCHDOG_ACTIVATE, 69995000, now_ms + 70000000);
    said("a time-out of 69995 seconds is more than 65534");
    was_done("open 1"); /* 60 s is shorter, and longer than loop_wait */
}

/* ---- keep alive --------------------------------------------------------------------------------
 */

/* The claim of this file: whatever the moment and however slow the driver, a keepalive never makes
 * the device fire after the lease has ended. */
static void test_watchdog_do__it_never_outlives_the_lease(void **state)
{
    static const unsigned calls_ms[] = { 0, 1, 19, 20, 21, 130, 700, 2500 };

    (void)state;
    for (size_t i = 0; i < COUNT(calls_ms); i++)
        for (int adjustable = 0; adjustable < 2; adjustable++)
            for (uint64_t left_ms = 0; left_ms < 32000; left_ms += 17) {
                uint64_t until_ms, before_ms;

                anew(HA_WATCHDOG_AUTOMATIC);
                device.call_ms = calls_ms[i];
                if (!adjustable)
                    fixed_at_25();
                (void)act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 60000);
                assert_true(state_now().running);
                before_ms = device.fires_ms;
                until_ms = now_ms + left_ms;
                (void)act(HA_WATCHDOG_KEEPALIVE, 25000, until_ms);
                if (device.fires_ms > until_ms && device.fires_ms != before_ms)
                    fail_msg("fires %llu ms after a lease of %llu ms, calls take %u ms",
                             (unsigned long long)(device.fires_ms - until_ms),
                             (unsigned long long)left_ms, calls_ms[i]);
                /* what the brain is told is never too late, and true where calls take no time */
                assert_true(state_now().fires_ms <= device.fires_ms);
                if (calls_ms[i] == 0)
                    assert_int_equal(state_now().fires_ms, device.fires_ms);
            }
}

static void test_watchdog_do__a_late_renewal_shortens_it_for_once(void **state)
{
    uint64_t until_ms = now_ms + 18500;

    (void)state;
    activated();
    assert_false(keepalive()); /* as it should be: nothing to tell */
    was_done("1");

    assert_true(act(HA_WATCHDOG_KEEPALIVE, 25000, until_ms));
    was_done("set:18 1");
    said("WARNING: iTCO_wdt counts 18 seconds only");
    assert_int_equal(state_now().fires_ms, now_ms + 18000);
    assert_int_equal(state_now().timeout_ms, 25000); /* what it will be again */
    assert_true(act(HA_WATCHDOG_KEEPALIVE, 25000, until_ms));
    was_done("1");
    said_nothing();

    now_ms += 5000;
    assert_false(keepalive());
    was_done("set:25 1");
    said("INFO: iTCO_wdt now counts 25 seconds, timing slack 15 seconds");
    assert_int_equal(state_now().fires_ms, now_ms + 25000);

    assert_true(act(HA_WATCHDOG_KEEPALIVE, 25000, now_ms + 999)); /* less than a second is none */
    was_done("");
    said("WARNING: iTCO_wdt is not kept alive for now");
    assert_true(act(HA_WATCHDOG_KEEPALIVE, 25000, now_ms - 1));
    was_done("");
    said_nothing();
    assert_false(act(HA_WATCHDOG_KEEPALIVE, 25000, 0)); /* nothing to guard: as long as it takes */
    was_done("1");
    assert_true(act(HA_WATCHDOG_KEEPALIVE, 25000, now_ms));
    said("is not kept alive for now"); /* that is another time */
}

static void test_watchdog_do__a_late_renewal_shortens_the_activation(void **state)
{
    (void)state;
    assert_true(act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 8100));
    was_done("open set:8 1"); /* less than loop_wait, but for once */
    said("activated with 8 second timeout");
    assert_int_equal(state_now().timeout_ms, 25000);
    assert_int_equal(state_now().fires_ms, now_ms + 8000);
    assert_false(keepalive());
    was_done("set:25 1");
    (void)act(HA_WATCHDOG_DISABLE, 0, 0);
    was_done("V close");
    assert_true(act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 900));
    was_done("");
    assert_false(state_now().running);
}

static void test_watchdog_do__a_fixed_time_out_is_not_renewed_too_late(void **state)
{
    (void)state;
    fixed_at_25();
    (void)act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000);
    was_done("open 1");
    now_ms += 1000;
    assert_true(act(HA_WATCHDOG_KEEPALIVE, 25000, now_ms + 24000));
    was_done("");
    said("its time-out is fixed");
    assert_int_equal(state_now().fires_ms, now_ms + 24000); /* the earlier deadline stands */
    assert_false(keepalive());
    was_done("1");

    /* the driver takes no time-out that short */
    fresh(HA_WATCHDOG_AUTOMATIC);
    device.least_s = 20;
    activated();
    now_ms += 1000;
    assert_true(act(HA_WATCHDOG_KEEPALIVE, 25000, now_ms + 18000));
    was_done("set:17");
    assert_int_equal(state_now().fires_ms, now_ms + 24000);
    said("a time-out of 17 seconds cannot be set");
}

static void test_watchdog_do__a_driver_that_rounds_up(void **state)
{
    (void)state;
    device.step_s = 5;
    activated();
    assert_true(act(HA_WATCHDOG_KEEPALIVE, 25000, now_ms + 18500));
    was_done("set:18 set:9 1");
    assert_int_equal(device.fires_ms, now_ms + 10000);
    assert_int_equal(state_now().fires_ms, now_ms + 10000);
    assert_false(keepalive());
    was_done("set:25 1");
    (void)log_text();
    assert_true(act(HA_WATCHDOG_KEEPALIVE, 25000, now_ms + 4500)); /* it has nothing that short */
    was_done("set:4 set:2 set:1");
    said("it takes no shorter time-out");
}

static void test_watchdog_do__slow_drivers_are_told_and_reckoned_with(void **state)
{
    (void)state;
    device.call_ms = 100;
    assert_true(act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000));
    assert_null(strstr(log_text(), "is slow"));
    device.call_ms = 101;
    assert_false(keepalive());
    said("WARNING: iTCO_wdt is slow and holds up the agent, took=101ms");

    /* taken by surprise, it is made shorter at once */
    device.did[0] = '\0';
    device.call_ms = 800;
    assert_true(act(HA_WATCHDOG_KEEPALIVE, 25000, now_ms + 25500));
    was_done("1 set:23 1");
}

static void test_watchdog_do__keepalives_that_fail(void **state)
{
    static const struct {
        int with;
        bool gone;
    } rows[] = { { EAGAIN, false }, { EIO, false },  { ENODEV, true },
                 { EPIPE, true },   { ENXIO, true }, { EBADF, true } };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ha_watchdog before;

        fresh(HA_WATCHDOG_REQUIRED);
        activated();
        before = state_now();
        now_ms += 5000;
        device.write_errno = rows[i].with;
        assert_true(keepalive());
        assert_int_equal(w.n_failures, 1);
        if (!rows[i].gone) {
            said("ERROR: iTCO_wdt: no keepalive could be sent");
            was_done("1");
            assert_int_equal(state_now().fires_ms, before.fires_ms);
            assert_true(watchdog_is_healthy(&w));
            device.write_errno = 0;
            assert_false(keepalive());
            assert_int_equal(state_now().fires_ms, now_ms + 25000);
            continue;
        }
        said("; it is gone");
        was_done("1 close"); /* without the magic character: nobody says that all is well */
        assert_false(state_now().running);
        assert_false(keepalive()); /* nothing runs, nothing is expected */
        was_done("");
        device.write_errno = 0;
        activated();
    }
}

static void test_watchdog_do__a_time_out_that_cannot_be_restored(void **state)
{
    (void)state;
    activated();
    (void)act(HA_WATCHDOG_KEEPALIVE, 25000, now_ms + 18500);
    device.set_errno = EIO;
    now_ms += 1000;
    assert_true(keepalive()); /* kept alive with the short one, and told */
    was_done("set:18 1 set:25 1");
    assert_int_equal(state_now().fires_ms, now_ms + 18000);
    assert_int_equal(state_now().timeout_ms, 18000);
    device.set_errno = 0;
    assert_true(keepalive());
    was_done("set:25 1");
    assert_int_equal(state_now().timeout_ms, 25000);
}

/* ---- configuration -----------------------------------------------------------------------------
 */

static void test_watchdog_configure__off_is_off_at_once(void **state)
{
    (void)state;
    activated();
    config.mode = HA_WATCHDOG_OFF;
    assert_true(watchdog_configure(&w, &config));
    was_done("V close");
    assert_false(state_now().running || state_now().usable);
    assert_true(watchdog_is_healthy(&w));
    (void)act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000);
    was_done("");

    config.mode = HA_WATCHDOG_REQUIRED; /* and on again */
    assert_true(watchdog_configure(&w, &config));
    activated();
    config.driver = WATCHDOG_NONE;
    (void)watchdog_configure(&w, &config);
    was_done("V close");
    assert_false(watchdog_is_healthy(&w));
}

static void test_watchdog_configure__other_times_come_with_the_next_keepalive(void **state)
{
    (void)state;
    activated();
    config.ttl_s = 60;
    config.timeout_s = 55;
    config.slack_s = 45;
    (void)watchdog_configure(&w, &config);
    was_done("");
    assert_true(act(HA_WATCHDOG_KEEPALIVE, 55000, now_ms + 60000));
    was_done("set:55 1");
    said("now counts 55 seconds, timing slack 45 seconds");
    assert_int_equal(state_now().timeout_ms, 55000);
    assert_false(act(HA_WATCHDOG_KEEPALIVE, 55000, now_ms + 60000));
    was_done("1");
}

static void test_watchdog_configure__another_device(void **state)
{
    (void)state;
    activated();
    configured(HA_WATCHDOG_AUTOMATIC, "/dev/watchdog1");
    was_done(""); /* the old one guards on */
    assert_true(keepalive());
    was_done("V close open set:25 1");
    said("iTCO_wdt at /dev/watchdog1 activated");

    /* while nothing runs there is nothing to wait for */
    (void)act(HA_WATCHDOG_DISABLE, 0, 0);
    device.access_errno = ENOENT;
    configured(HA_WATCHDOG_REQUIRED, "/dev/watchdog2");
    assert_false(watchdog_is_healthy(&w));
    device.access_errno = 0;
    assert_true(watchdog_is_healthy(&w));
}

/* ---- disable -----------------------------------------------------------------------------------
 */

/* What the driver wrote back counts when it cannot be asked: a longer one must not be missed. */
static void test_watchdog_do__a_time_out_that_cannot_be_read_back(void **state)
{
    (void)state;
    activated();
    (void)act(HA_WATCHDOG_KEEPALIVE, 25000, now_ms + 18500);
    device.get_errno = EIO;
    (void)keepalive();
    was_done("set:18 1 set:25 1");
    assert_int_equal(state_now().fires_ms, now_ms + 25000);
    assert_int_equal(device.fires_ms, now_ms + 25000);
}

static void test_watchdog_do__disable(void **state)
{
    (void)state;
    assert_true(act(HA_WATCHDOG_DISABLE, 0, 0)); /* nothing to do, but it answers */
    was_done("");
    activated();
    assert_true(act(HA_WATCHDOG_DISABLE, 0, 0));
    was_done("V close");
    said("INFO: iTCO_wdt is off");
    assert_false(state_now().running);

    activated();
    device.write_errno = EIO;
    assert_true(act(HA_WATCHDOG_DISABLE, 0, 0));
    was_done("V close");
    said("ERROR: iTCO_wdt may reset this machine: it could not be told to stop: Input/output");
    assert_int_equal(w.n_failures, 1);
}

static void test_watchdog_do__what_cannot_be_stopped_is_kept(void **state)
{
    (void)state;
    for (int nowayout = 0; nowayout < 2; nowayout++) {
        fresh(HA_WATCHDOG_AUTOMATIC);
        device.nowayout = nowayout;
        if (!nowayout)
            device.options &= ~(unsigned)WDIOF_MAGICCLOSE;
        (void)act(HA_WATCHDOG_ACTIVATE, 25000, now_ms + 30000);
        said("WARNING: iTCO_wdt cannot be stopped once it counts");
        was_done("open set:25 1");
        now_ms += 5000;
        assert_true(act(HA_WATCHDOG_DISABLE, 0, 0));
        was_done("1");
        assert_int_equal(device.fires_ms, now_ms + 25000);
        said("WARNING: iTCO_wdt cannot be stopped: without another keepalive it resets this "
             "machine in 25 seconds");
        assert_true(state_now().running);
        config.mode = HA_WATCHDOG_OFF; /* whatever is configured, it goes on */
        assert_true(watchdog_configure(&w, &config));
        was_done("1");
        assert_false(act(HA_WATCHDOG_KEEPALIVE, 25000, 0));
        was_done("1");
        assert_true(state_now().running);

        configured(HA_WATCHDOG_AUTOMATIC, "/dev/watchdog1"); /* and is left for another one */
        assert_true(keepalive());
        was_done("1 V close open set:25 1");
    }
}

/* ---- the pipe of the tests ---------------------------------------------------------------------
 */

static char pipe_path[64];

static int pipe_setup(void **state)
{
    (void)state;
    snprintf(pipe_path, sizeof(pipe_path), "%s/pipe", dir);
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    watchdog_init(&w, &watchdog_sys_real);
    configured(HA_WATCHDOG_AUTOMATIC, pipe_path);
    config.driver = WATCHDOG_TESTING;
    (void)watchdog_configure(&w, &config);
    (void)log_text();
    return 0;
}

static int pipe_down(void **state)
{
    (void)state;
    (void)act(HA_WATCHDOG_DISABLE, 0, 0);
    (void)unlink(pipe_path);
    return 0;
}

static void came(int reader, const char *text)
{
    char got[256];
    ssize_t n = read(reader, got, sizeof(got) - 1);

    got[n > 0 ? n : 0] = '\0';
    assert_string_equal(got, text);
}

static void test_watchdog_do__testing_driver(void **state)
{
    int reader = open(pipe_path, O_RDONLY | O_NONBLOCK);
    uint64_t until_ms = pgv_clock_ms() + 3600000;

    (void)state;
    assert_true(act(HA_WATCHDOG_ACTIVATE, 25000, until_ms));
    came(reader, "Ctimeout=25\n1");
    assert_true(state_now().running && state_now().adjustable);
    assert_int_equal(state_now().timeout_ms, 25000);
    assert_int_equal(fcntl(w.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_false(act(HA_WATCHDOG_KEEPALIVE, 25000, until_ms));
    came(reader, "1");
    assert_true(act(HA_WATCHDOG_KEEPALIVE, 25000, pgv_clock_ms() + 7500));
    came(reader, "Ctimeout=7\n1");
    assert_true(act(HA_WATCHDOG_DISABLE, 0, 0));
    came(reader, "V");
    said("Watchdog of a test at /tmp/");

    /* a reader that does not read holds nobody up */
    assert_true(act(HA_WATCHDOG_ACTIVATE, 25000, until_ms));
    for (int i = 0; i < 100000 && w.n_failures == 0; i++)
        (void)act(HA_WATCHDOG_KEEPALIVE, 25000, until_ms);
    assert_int_equal(w.n_failures, 1);
    assert_true(state_now().running);

    close(reader); /* and one that goes away is noticed */
    assert_true(act(HA_WATCHDOG_KEEPALIVE, 25000, until_ms));
    assert_false(state_now().running);
    said("; it is gone");
}

static void test_watchdog_do__testing_driver_without_a_reader(void **state)
{
    (void)state;
    assert_true(state_now().usable);
    assert_true(act(HA_WATCHDOG_ACTIVATE, 25000, 0));
    assert_false(state_now().running);
    said("it cannot be opened: No such device or address");

    assert_int_equal(unlink(pipe_path), 0); /* a file is not written into */
    close(open(pipe_path, O_CREAT | O_WRONLY, 0600));
    config.ttl_s++;
    (void)watchdog_configure(&w, &config);
    assert_true(act(HA_WATCHDOG_ACTIVATE, 25000, 0));
    said("it is no named pipe");
}

/* The real calls, to a device that is no watchdog. */
static void test_watchdog_do__linux_driver_on_what_is_none(void **state)
{
    (void)state;
    configured(HA_WATCHDOG_REQUIRED, "/dev/null");
    assert_true(state_now().usable);
    assert_true(act(HA_WATCHDOG_ACTIVATE, 25000, 0));
    assert_false(state_now().running);
    assert_false(watchdog_is_healthy(&w));
    said("WARNING: Could not activate Linux watchdog device at /dev/null: it does not say what it "
         "can do: Inappropriate ioctl for device");
}

static void test_watchdog__zeroed_is_off(void **state)
{
    (void)state;
    memset(&w, 0, sizeof(w));
    assert_false(state_now().running);
    assert_true(watchdog_is_healthy(&w));
    assert_false(state_now().usable || state_now().running);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)
#define PIPE_TEST(f) cmocka_unit_test_setup_teardown(f, pipe_setup, pipe_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_watchdog_do__activation_sets_the_time_out),
        TEST(test_watchdog_name__driver_firmware_and_path),
        TEST(test_watchdog_do__activation_that_fails),
        TEST(test_watchdog_do__what_failed_is_tried_again_when_it_may_help),
        TEST(test_watchdog_do__times_that_leave_no_room),
        TEST(test_watchdog_do__it_never_outlives_the_lease),
        TEST(test_watchdog_do__a_late_renewal_shortens_it_for_once),
        TEST(test_watchdog_do__a_late_renewal_shortens_the_activation),
        TEST(test_watchdog_do__a_fixed_time_out_is_not_renewed_too_late),
        TEST(test_watchdog_do__a_fixed_time_out_of_all_of_ttl_is_not_used),
        TEST(test_watchdog_do__a_driver_that_rounds_up),
        TEST(test_watchdog_do__slow_drivers_are_told_and_reckoned_with),
        TEST(test_watchdog_do__keepalives_that_fail),
        TEST(test_watchdog_do__a_time_out_that_cannot_be_restored),
        TEST(test_watchdog_configure__off_is_off_at_once),
        TEST(test_watchdog_configure__other_times_come_with_the_next_keepalive),
        TEST(test_watchdog_configure__another_device),
        TEST(test_watchdog_do__a_time_out_that_cannot_be_read_back),
        TEST(test_watchdog_do__disable),
        TEST(test_watchdog_do__what_cannot_be_stopped_is_kept),
        PIPE_TEST(test_watchdog_do__testing_driver),
        PIPE_TEST(test_watchdog_do__testing_driver_without_a_reader),
        PIPE_TEST(test_watchdog_do__linux_driver_on_what_is_none),
        TEST(test_watchdog__zeroed_is_off),
    };
    int failed;

    log_to_dir();
    signal(SIGPIPE, SIG_IGN); /* as the agent does */
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(log_path);
    (void)rmdir(dir);
    return failed;
}
