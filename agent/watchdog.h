/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/watchdog.h - the watchdog: a timer outside of this process that resets the machine unless
 * it is told again and again that we live.
 *
 * The brain says when (HA_DO_WATCHDOG), here is how: a device of Linux, or a named pipe that stands
 * for one. Nothing in here waits, allocates or calls back; what the brain should know afterwards is
 * asked with watchdog_state(). Closing the device without its magic character leaves it counting,
 * and so does the end of this process, however it ends: that is what it is for.
 */
#pragma once

#include "agent/ha/ha.h"

#include <sys/types.h>

/** Source: Patroni, LinuxWatchdogDevice. */
#define WATCHDOG_DEVICE_DEFAULT "/dev/watchdog"
#define WATCHDOG_TIMEOUT_S_MAX 65534
#define WATCHDOG_SAFETY_MARGIN_S_DEFAULT 5

#define WATCHDOG_PATH_BYTES 256
#define WATCHDOG_NAME_BYTES (WATCHDOG_PATH_BYTES + 80)
/** A call into the driver that takes longer is told: it holds up the loop. */
#define WATCHDOG_SLOW_MS 100

enum watchdog_driver {
    WATCHDOG_NONE,    /* nobody knows this driver: there never is a device */
    WATCHDOG_LINUX,   /* linux/watchdog.h */
    WATCHDOG_TESTING, /* a named pipe; a time-out is told by 'Ctimeout=N' and a newline */
};

/** Zeroed before it is filled: compared as bytes. */
struct watchdog_config {
    enum ha_watchdog_mode mode;
    enum watchdog_driver driver;
    char device[WATCHDOG_PATH_BYTES];
    int64_t ttl_s, loop_wait_s;
    int64_t timeout_s; /* wanted */
    int64_t slack_s;   /* timeout_s - loop_wait_s */
    bool possible;     /* with these times, that is */
};

/** What the kernel does for us, so that a test can be the device. Each returns as its namesake. */
struct watchdog_sys {
    int (*open)(const char *path, int flags);
    int (*close)(int fd);
    ssize_t (*write)(int fd, const void *p, size_t n);
    int (*ioctl)(int fd, unsigned long request, void *arg);
    int (*access)(const char *path, int mode);
    int (*mode_of)(int fd, mode_t *ret); /* fstat(): the file's type */
    bool (*nowayout)(int fd);            /* known to go on counting whatever is written to it */
    uint64_t (*now_ms)(void);            /* pgv_clock_ms() */
};
extern const struct watchdog_sys watchdog_sys_real;

struct watchdog {
    struct watchdog_config config;
    /* for /metrics */
    uint64_t n_keepalives, n_failures;
    /* private */
    const struct watchdog_sys *sys;
    bool running; /* fd is open, and the device counts */
    int fd;
    enum watchdog_driver driver;
    char device[WATCHDOG_PATH_BYTES]; /* what fd is */
    char identity[33];
    unsigned firmware;
    bool adjustable, closable;
    unsigned asked_s;     /* the time-out that was set last */
    unsigned timeout_s;   /* what the device made of it: it counts this long */
    unsigned full_s;      /* the same when nothing shortened it */
    uint64_t pinged_ms;   /* when the call of the last keepalive began */
    uint64_t fires_ms;    /* no later than it would without another one */
    uint64_t call_ms;     /* the last call into the driver took so long */
    bool unfit;           /* opened in vain: not again with this configuration */
    bool said_impossible; /* once a configuration */
    bool said_kept_back;
    char said[PGV_ERROR_MSG_BYTES]; /* why it could not be opened; said once */
};

/** Nothing is opened. @sys: watchdog_sys_real. A zeroed one is off, and stays so. */
void watchdog_init(struct watchdog *w, const struct watchdog_sys *sys);
/**
 * At the start and at each change of the configuration. One that must not be used any more is
 * disabled at once, but where it is required and the times leave no room for it: then it counts on
 * until the brain, which demotes for that reason, disables it. Another device is changed to at the
 * next keepalive. True: the brain should be told.
 */
bool watchdog_configure(struct watchdog *w, const struct watchdog_config *c);
/** Somebody may have mended it: what was given up is tried once more. */
void watchdog_look_again(struct watchdog *w);
/** HA_DO_WATCHDOG. True: the brain should be told, later. */
bool watchdog_do(struct watchdog *w, const struct ha_effect *e);
/** What there is to tell by HA_EV_WATCHDOG. */
void watchdog_state(const struct watchdog *w, struct ha_watchdog *ret);

/**
 * False: this node must not become primary, for a watchdog is required and there is none that
 * could be used; it says so to its peers.
 */
bool watchdog_is_healthy(const struct watchdog *w);
/** 'iTCO_wdt (firmware 2) at /dev/watchdog1', for people. */
void watchdog_name(const struct watchdog *w, char ret[WATCHDOG_NAME_BYTES]);
