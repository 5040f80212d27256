/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/watchdog.c - the watchdog's device: opened when there is something to guard, kept alive by
 * each proof of the lease, closed when nothing is left to guard.
 *
 * A keepalive must never make the device fire later than the lease ends. So the clock is read when
 * it is sent, and where the full time-out would be too long a shorter one is set for once. Drivers
 * that talk to hardware over a slow bus are measured; what a call took last time counts as taken.
 */
#include "agent/watchdog.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/banned.h"

/* The first watchdog's other name, a misc device. Source: Linux, miscdevice.h, WATCHDOG_MINOR. */
#define MISC_MAJOR 10
#define WATCHDOG_MINOR 130
/* A call into the driver that takes no longer than this surprises nobody. */
#define CALL_MS 20
/* What the pipe says before anything was set. Source: ha contract §22.2. */
#define TESTING_TIMEOUT_S 60

/* ---- the kernel ------------------------------------------------------------------------------ */

static int real_open(const char *path, int flags)
{
    return open(path, flags);
}

static int real_ioctl(int fd, unsigned long request, void *arg)
{
    return ioctl(fd, request, arg);
}

static int real_mode_of(int fd, mode_t *ret)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return -1;
    *ret = st.st_mode;
    return 0;
}

/* Only sysfs tells: the driver offers the magic close even when it will not heed it. */
static bool real_nowayout(int fd)
{
    char path[64], answer = '0';
    struct stat st;
    int sysfs;

    if (fstat(fd, &st) != 0)
        return false;
    if (major(st.st_rdev) == MISC_MAJOR && minor(st.st_rdev) == WATCHDOG_MINOR)
        snprintf(path, sizeof(path), "/sys/class/watchdog/watchdog0/nowayout");
    else
        snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/nowayout", major(st.st_rdev),
                 minor(st.st_rdev));
    sysfs = open(path, O_RDONLY | O_CLOEXEC);
    if (sysfs < 0)
        return false;
    if (read(sysfs, &answer, 1) != 1)
        answer = '0';
    close(sysfs);
    return answer == '1';
}

const struct watchdog_sys watchdog_sys_real = {
    .open = real_open,
    .close = close,
    .write = write,
    .ioctl = real_ioctl,
    .access = access,
    .mode_of = real_mode_of,
    .nowayout = real_nowayout,
    .now_ms = pgv_clock_ms,
};

/* ---- the device ------------------------------------------------------------------------------ */

void watchdog_name(const struct watchdog *w, char ret[WATCHDOG_NAME_BYTES])
{
    const char *device = w->running ? w->device : w->config.device;
    char firmware[32] = "";

    if (w->running && w->firmware)
        snprintf(firmware, sizeof(firmware), " (firmware %u)", w->firmware);
    snprintf(ret, WATCHDOG_NAME_BYTES, "%s%s%s%s",
             w->running && w->identity[0] ? w->identity : "Linux watchdog device", firmware,
             strcmp(device, WATCHDOG_DEVICE_DEFAULT) != 0 ? " at " : "",
             strcmp(device, WATCHDOG_DEVICE_DEFAULT) != 0 ? device : "");
}

static bool put(struct watchdog *w, const char *text, const char *what, struct pgv_error *err)
{
    size_t n = strlen(text);
    ssize_t done;

    do
        done = w->sys->write(w->fd, text, n);
    while (done < 0 && errno == EINTR);
    if (done < 0)
        return pgv_fail_sys(err, errno, "%s", what);
    if ((size_t)done != n) /* a pipe takes so little as a whole or not at all */
        return pgv_fail(err, PGV_ESYS, "%s: only a part was written", what);
    return true;
}

/* How long a call into the driver took, said when it held up the loop. */
static void note_call(struct watchdog *w, uint64_t since_ms)
{
    char name[WATCHDOG_NAME_BYTES];

    w->call_ms = w->sys->now_ms() - since_ms;
    if (w->call_ms <= WATCHDOG_SLOW_MS)
        return;
    watchdog_name(w, name);
    pgv_log(PGV_WARNING, "watchdog", "%s is slow and holds up the agent, took=%llums", name,
            (unsigned long long)w->call_ms);
}

static bool get_support(struct watchdog *w, struct pgv_error *err)
{
    struct watchdog_info info = { 0 };
    size_t n = 0;

    if (w->driver == WATCHDOG_TESTING) {
        pgv_copy_cut(w->identity, sizeof(w->identity), PGV_STR("Watchdog of a test"));
        w->adjustable = w->closable = true;
        return true;
    }
    if (w->sys->ioctl(w->fd, WDIOC_GETSUPPORT, &info) != 0)
        return pgv_fail_sys(err, errno, "it does not say what it can do");
    for (; n < sizeof(info.identity) && info.identity[n]; n++)
        w->identity[n] =
            info.identity[n] >= ' ' && info.identity[n] < 127 ? (char)info.identity[n] : '?';
    w->identity[n] = '\0';
    w->firmware = info.firmware_version;
    w->adjustable = info.options & WDIOF_SETTIMEOUT;
    w->closable = (info.options & WDIOF_MAGICCLOSE) && !w->sys->nowayout(w->fd);
    return true;
}

/* What it counts, into w->timeout_s. */
static bool get_timeout(struct watchdog *w, struct pgv_error *err)
{
    int seconds = 0;

    if (w->driver == WATCHDOG_TESTING)
        return true;
    if (w->sys->ioctl(w->fd, WDIOC_GETTIMEOUT, &seconds) != 0)
        return pgv_fail_sys(err, errno, "its time-out cannot be read");
    if (seconds <= 0)
        return pgv_fail(err, PGV_EINVALID, "it says that its time-out is %d", seconds);
    w->timeout_s = (unsigned)seconds;
    return true;
}

/* The kernel takes a change for a keepalive, too: it may count from now on. */
static bool set_timeout(struct watchdog *w, unsigned seconds, struct pgv_error *err)
{
    uint64_t since_ms = w->sys->now_ms();
    int asked = (int)seconds;
    bool ok = true;

    if (seconds > WATCHDOG_TIMEOUT_S_MAX)
        return pgv_fail(err, PGV_EINVALID, "a time-out of %u seconds is more than %d", seconds,
                        WATCHDOG_TIMEOUT_S_MAX);
    if (w->driver == WATCHDOG_TESTING) {
        char text[32];

        snprintf(text, sizeof(text), "Ctimeout=%u\n", seconds);
        ok = put(w, text, "its time-out cannot be set", err);
        if (ok)
            w->timeout_s = seconds;
    } else if (w->sys->ioctl(w->fd, WDIOC_SETTIMEOUT, &asked) != 0) {
        ok = pgv_fail_sys(err, errno, "a time-out of %u seconds cannot be set", seconds);
    } else {
        w->timeout_s = asked > 0 ? (unsigned)asked : seconds; /* as the driver wrote back */
        ok = get_timeout(w, err);
    }
    note_call(w, since_ms);
    if (!ok)
        return false;
    w->asked_s = seconds;
    w->fires_ms = since_ms + (uint64_t)w->timeout_s * 1000;
    return true;
}

static bool ping(struct watchdog *w, struct pgv_error *err)
{
    uint64_t since_ms = w->sys->now_ms();
    bool ok = put(w, "1", "no keepalive could be sent", err);

    note_call(w, since_ms);
    if (!ok)
        return false;
    w->n_keepalives++;
    w->pinged_ms = since_ms;
    w->fires_ms = since_ms + (uint64_t)w->timeout_s * 1000;
    return true;
}

static void forget_device(struct watchdog *w)
{
    w->running = false;
    w->identity[0] = '\0';
    w->firmware = 0;
    w->adjustable = w->closable = false;
    w->asked_s = w->timeout_s = w->full_s = 0;
    w->fires_ms = w->pinged_ms = w->call_ms = 0;
    w->said_kept_back = false;
}

/* The magic character, then the end. False: it may count on. */
static bool close_device(struct watchdog *w)
{
    char name[WATCHDOG_NAME_BYTES];
    struct pgv_error err;
    bool told = put(w, "V", "it could not be told to stop", &err);

    watchdog_name(w, name);
    if (!told) {
        w->n_failures++;
        pgv_log(PGV_ERROR, "watchdog", "%s may reset this machine: %s", name, err.msg);
    }
    if (w->sys->close(w->fd) != 0)
        pgv_log(PGV_ERROR, "watchdog", "closing %s: %s", name, strerror(errno));
    forget_device(w);
    return told;
}

/* The device is not there any more: nothing could be told to it. */
static bool is_gone(const struct pgv_error *err)
{
    return err->sys == ENODEV || err->sys == ENXIO || err->sys == EPIPE || err->sys == EBADF;
}

static void keepalive_failed(struct watchdog *w, const struct pgv_error *err)
{
    char name[WATCHDOG_NAME_BYTES];

    w->n_failures++;
    watchdog_name(w, name);
    pgv_log(PGV_ERROR, "watchdog", "%s: %s%s", name, err->msg,
            is_gone(err) ? "; it is gone" : "; it goes on counting");
    if (!is_gone(err))
        return;
    (void)w->sys->close(w->fd);
    forget_device(w);
}

static bool open_device(struct watchdog *w, struct pgv_error *err)
{
    const struct watchdog_config *c = &w->config;
    mode_t mode;

    /* Nobody reading a pipe must not keep us, and nobody we start may hold the device open. */
    w->fd = w->sys->open(c->device, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (w->fd < 0)
        return pgv_fail_sys(err, errno, "it cannot be opened");
    w->running = true;
    w->driver = c->driver;
    pgv_copy_cut(w->device, sizeof(w->device), pgv_str(c->device));
    w->closable = true; /* until it says otherwise */
    w->timeout_s = TESTING_TIMEOUT_S;
    w->fires_ms = w->sys->now_ms() + TESTING_TIMEOUT_S * 1000;
    if (w->sys->mode_of(w->fd, &mode) != 0 ||
        (c->driver == WATCHDOG_TESTING ? !S_ISFIFO(mode) : !S_ISCHR(mode))) {
        (void)w->sys->close(w->fd);
        forget_device(w);
        return pgv_fail(err, PGV_EINVALID, "it is no %s",
                        c->driver == WATCHDOG_TESTING ? "named pipe" : "character device");
    }
    return true;
}

/* ---- activate -------------------------------------------------------------------------------- */

/* How long it may count when a call to the driver begins now. 0: not one second. */
static unsigned seconds_allowed(const struct watchdog *w, uint64_t want_ms, uint64_t until_ms)
{
    uint64_t seconds = want_ms / 1000, begun_ms = w->sys->now_ms() + w->call_ms + CALL_MS;

    if (seconds == 0)
        seconds = 1;
    if (until_ms) {
        uint64_t room = until_ms > begun_ms ? (until_ms - begun_ms) / 1000 : 0;

        seconds = room < seconds ? room : seconds;
    }
    return seconds > UINT32_MAX ? UINT32_MAX : (unsigned)seconds;
}

static void say_impossible(struct watchdog *w)
{
    if (w->said_impossible)
        return;
    w->said_impossible = true;
    pgv_log(PGV_WARNING, "watchdog",
            "Watchdog not supported because leader TTL %lld leaves a time-out of %lld seconds, "
            "less than loop_wait %lld or less than %d",
            (long long)w->config.ttl_s, (long long)w->config.timeout_s,
            (long long)w->config.loop_wait_s, HA_WATCHDOG_TIMEOUT_MIN_MS / 1000);
}

static void say_not_activated(struct watchdog *w, const struct pgv_error *err)
{
    char name[WATCHDOG_NAME_BYTES];

    if (strcmp(w->said, err->msg) == 0) /* tried in every cycle, told when it changes */
        return;
    pgv_copy_cut(w->said, sizeof(w->said), pgv_str(err->msg));
    watchdog_name(w, name);
    pgv_log(w->config.mode == HA_WATCHDOG_REQUIRED ? PGV_WARNING : PGV_DEBUG, "watchdog",
            "Could not activate %s: %s", name, err->msg);
}

/* It counts with the time-out it has got. One that would reset a machine that keeps its lease, or
 * too late, is not used. What cannot be closed stays open, here as above: it is the brain's to keep
 * it alive. */
static void judge(struct watchdog *w, bool shortened)
{
    const struct watchdog_config *c = &w->config;
    const char *wrong = NULL;
    int64_t than_s = 0;
    char name[WATCHDOG_NAME_BYTES];

    if (!shortened && w->timeout_s < c->loop_wait_s) {
        wrong = "less than loop_wait of";
        than_s = c->loop_wait_s;
    } else if (w->timeout_s > c->timeout_s) {
        wrong = "more than the wanted";
        than_s = c->timeout_s;
    } else if (!w->adjustable && w->timeout_s + HA_WATCHDOG_ANSWER_MS / 1000 > c->ttl_s) {
        /* Begun anew by the answer to a renewal, it must still end within the lease. */
        wrong = "less than a second below ttl of";
        than_s = c->ttl_s;
    }

    watchdog_name(w, name);
    if (!w->closable)
        pgv_log(PGV_WARNING, "watchdog",
                "%s cannot be stopped once it counts: it will reset this machine some time after "
                "the agent has ended, even if PostgreSQL has been stopped by then",
                name);
    if (!wrong) {
        pgv_log(PGV_INFO, "watchdog",
                "%s activated with %u second timeout, timing slack %lld seconds", name,
                w->timeout_s, (long long)c->slack_s);
        return;
    }
    pgv_log(c->mode == HA_WATCHDOG_REQUIRED ? PGV_ERROR : PGV_WARNING, "watchdog",
            "%s counts %u seconds, which is %s %lld seconds: it is not used", name, w->timeout_s,
            wrong, (long long)than_s);
    w->unfit = true;
    if (w->closable)
        (void)close_device(w);
}

/* It is open, and should count as long as allowed. */
static bool arm(struct watchdog *w, unsigned seconds, struct pgv_error *err)
{
    char name[WATCHDOG_NAME_BYTES];

    if (!get_support(w, err))
        return false;
    if (w->adjustable && !set_timeout(w, seconds, err)) {
        if (is_gone(err))
            return false;
        w->n_failures++;
        watchdog_name(w, name);
        pgv_log(PGV_WARNING, "watchdog", "%s: %s; it is taken as it is", name, err->msg);
        w->adjustable = false;
    }
    return (w->adjustable || get_timeout(w, err)) && ping(w, err);
}

static void activate(struct watchdog *w, uint64_t want_ms, uint64_t until_ms)
{
    const struct watchdog_config *c = &w->config;
    unsigned seconds = seconds_allowed(w, want_ms, until_ms);
    struct pgv_error err;
    bool shortened;

    if (c->mode == HA_WATCHDOG_OFF || c->driver == WATCHDOG_NONE || w->unfit)
        return;
    if (!c->possible) {
        say_impossible(w);
        return;
    }
    if (seconds == 0) /* the lease is over, so is what was to be guarded */
        return;
    if (!open_device(w, &err)) {
        say_not_activated(w, &err);
        w->unfit = err.code == PGV_EINVALID;
        return;
    }
    if (!arm(w, seconds, &err)) {
        say_not_activated(w, &err);
        w->unfit = !is_gone(&err);
        w->full_s = w->timeout_s;
        if (w->closable || !w->unfit)
            (void)close_device(w);
        return;
    }
    w->said[0] = '\0';
    shortened = (uint64_t)seconds * 1000 < want_ms;
    w->full_s = shortened && w->adjustable ? (unsigned)(want_ms / 1000) : w->timeout_s;
    judge(w, shortened);
}

/* ---- disable --------------------------------------------------------------------------------- */

static void disable(struct watchdog *w)
{
    char name[WATCHDOG_NAME_BYTES];
    struct pgv_error err;

    if (!w->running)
        return;
    if (w->closable) {
        watchdog_name(w, name);
        if (close_device(w))
            pgv_log(PGV_INFO, "watchdog", "%s is off", name);
        return;
    }
    /* It stays open: as much time as there is, for whoever can still do something. */
    if (!ping(w, &err)) {
        keepalive_failed(w, &err);
        return;
    }
    watchdog_name(w, name);
    pgv_log(PGV_WARNING, "watchdog",
            "%s cannot be stopped: without another keepalive it resets this machine in %u seconds",
            name, w->timeout_s);
}

/* ---- keep alive ------------------------------------------------------------------------------ */

static void say_timeout(const struct watchdog *w, bool shortened)
{
    char name[WATCHDOG_NAME_BYTES];

    watchdog_name(w, name);
    if (shortened)
        pgv_log(PGV_WARNING, "watchdog",
                "%s counts %u seconds only, as the lease ends then: the store was slow to renew it",
                name, w->timeout_s);
    else
        pgv_log(PGV_INFO, "watchdog", "%s now counts %u seconds, timing slack %lld seconds", name,
                w->timeout_s, (long long)w->config.slack_s);
}

static void say_kept_back(struct watchdog *w, const char *why)
{
    char name[WATCHDOG_NAME_BYTES];

    if (w->said_kept_back)
        return;
    w->said_kept_back = true;
    watchdog_name(w, name);
    pgv_log(PGV_WARNING, "watchdog",
            "%s is not kept alive for now, as it would outlive the lease: %s", name, why);
}

/* Would it fire after the lease has ended, if it counted anew from then on? */
static bool outlives(const struct watchdog *w, uint64_t from_ms, uint64_t until_ms)
{
    return until_ms && from_ms + w->call_ms + (uint64_t)w->timeout_s * 1000 > until_ms;
}

/* A driver that rounds up is asked for less and less. False: it is gone. */
static bool change_timeout(struct watchdog *w, unsigned seconds, bool shortened, uint64_t until_ms)
{
    unsigned before_s = w->timeout_s;
    struct pgv_error err;

    for (;; seconds /= 2) {
        if (!set_timeout(w, seconds, &err)) {
            if (is_gone(&err)) {
                keepalive_failed(w, &err);
                return false;
            }
            w->n_failures++;
            pgv_log(PGV_WARNING, "watchdog", "%s", err.msg);
            return true;
        }
        if (seconds < 2 || w->timeout_s <= seconds || !outlives(w, w->sys->now_ms(), until_ms))
            break;
    }
    if (w->timeout_s != before_s)
        say_timeout(w, shortened);
    return true;
}

/* True: all is as the brain expects it. */
static bool keep_alive(struct watchdog *w, uint64_t want_ms, uint64_t until_ms)
{
    unsigned before_s = w->full_s, seconds;
    struct pgv_error err;
    bool shortened;

    /* What a call took longer than expected shows afterwards: then once more, with less. */
    for (int attempt = 0; attempt < 2; attempt++) {
        seconds = seconds_allowed(w, want_ms, until_ms);
        if (seconds == 0) {
            say_kept_back(w, "that ends within a second");
            return false;
        }
        shortened = (uint64_t)seconds * 1000 < want_ms;
        if (w->adjustable && seconds != w->asked_s &&
            !change_timeout(w, seconds, shortened, until_ms))
            return false;
        if (!shortened)
            w->full_s = w->timeout_s;
        if (outlives(w, w->sys->now_ms(), until_ms)) {
            say_kept_back(w,
                          w->adjustable ? "it takes no shorter time-out" : "its time-out is fixed");
            return false;
        }
        w->said_kept_back = false;
        if (!ping(w, &err)) {
            keepalive_failed(w, &err);
            return false;
        }
        if (!outlives(w, w->pinged_ms, until_ms))
            break;
        shortened = true;
    }
    return !shortened && w->full_s == before_s;
}

/* Driver and device may have been exchanged since it was opened. */
static bool is_another(const struct watchdog *w)
{
    return w->driver != w->config.driver || strcmp(w->device, w->config.device) != 0;
}

static bool keepalive(struct watchdog *w, uint64_t want_ms, uint64_t until_ms)
{
    if (!w->running)
        return true;
    if (is_another(w)) {
        disable(w);
        if (w->running) /* it counts on, and nobody will keep it alive */
            (void)close_device(w);
        activate(w, want_ms, until_ms);
        return false;
    }
    return keep_alive(w, want_ms, until_ms);
}

/* ---- for the brain --------------------------------------------------------------------------- */

void watchdog_init(struct watchdog *w, const struct watchdog_sys *sys)
{
    memset(w, 0, sizeof(*w)); /* the configuration is compared as bytes */
    w->sys = sys;
    forget_device(w);
}

bool watchdog_configure(struct watchdog *w, const struct watchdog_config *c)
{
    if (memcmp(&w->config, c, sizeof(*c)) == 0)
        return false;
    memcpy(&w->config, c, sizeof(*c));
    w->unfit = w->said_impossible = false;
    w->said[0] = '\0';
    if (w->running && !c->possible)
        say_impossible(w);
    /* Where one is required the brain demotes for it: as armed as it is until that is done. */
    if (c->mode == HA_WATCHDOG_OFF || c->driver == WATCHDOG_NONE ||
        (!c->possible && c->mode != HA_WATCHDOG_REQUIRED))
        disable(w);
    return true;
}

void watchdog_look_again(struct watchdog *w)
{
    w->unfit = false;
    w->said[0] = '\0';
}

bool watchdog_do(struct watchdog *w, const struct ha_effect *e)
{
    uint64_t want_ms = e->u.watchdog.timeout_ms, until_ms = e->u.watchdog.until_ms;

    switch (e->u.watchdog.op) { /* no default: the compiler names the one we forgot */
    case HA_WATCHDOG_CHECK:
        break;
    case HA_WATCHDOG_ACTIVATE:
        if (w->running)
            (void)keepalive(w, want_ms, until_ms);
        else
            activate(w, want_ms, until_ms);
        break;
    case HA_WATCHDOG_KEEPALIVE:
        return !keepalive(w, want_ms, until_ms);
    case HA_WATCHDOG_DISABLE:
        disable(w);
        break;
    }
    return true;
}

static bool is_usable(const struct watchdog *w)
{
    const struct watchdog_config *c = &w->config;

    return w->running || (c->mode != HA_WATCHDOG_OFF && c->driver != WATCHDOG_NONE && c->possible &&
                          !w->unfit && w->sys->access(c->device, W_OK) == 0);
}

void watchdog_state(const struct watchdog *w, struct ha_watchdog *ret)
{
    *ret = (struct ha_watchdog){ .usable = is_usable(w), .running = w->running };
    if (!ret->running)
        return;
    ret->adjustable = w->adjustable;
    ret->timeout_ms = (uint64_t)w->full_s * 1000;
    ret->fires_ms = w->fires_ms;
}

bool watchdog_is_healthy(const struct watchdog *w)
{
    const struct watchdog_config *c = &w->config;

    return c->mode != HA_WATCHDOG_REQUIRED ||
           (c->possible && is_usable(w) && (!w->running || (int64_t)w->full_s <= c->timeout_s));
}
