/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/notify.c - telling systemd what we are up to: READY=1, RELOADING=1, STOPPING=1.
 *
 * The protocol is one datagram to the unix socket named by NOTIFY_SOCKET (systemd, sd_notify(3)).
 * The variable is taken out of the environment at the first call, so that PostgreSQL, which knows
 * the protocol too, never speaks in our name.
 */
#include "agent/agent.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/banned.h"

static struct sockaddr_un address;
static socklen_t address_bytes; /* 0: nobody to tell */

static void find_socket(void)
{
    static bool looked;
    const char *path;
    size_t n;

    if (looked)
        return;
    looked = true;
    path = getenv("NOTIFY_SOCKET");
    n = path ? strlen(path) : 0;
    if (n > 1 && (path[0] == '/' || path[0] == '@') && n < sizeof(address.sun_path)) {
        address.sun_family = AF_UNIX;
        memcpy(address.sun_path, path, n);
        if (path[0] == '@') /* the abstract namespace */
            address.sun_path[0] = '\0';
        address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    } else if (n) {
        pgv_log(PGV_WARNING, "agent",
                "NOTIFY_SOCKET='%s' is no usable address, systemd is not told", path);
    }
    unsetenv("NOTIFY_SOCKET");
}

void notify_systemd(const char *state)
{
    char text[256];
    struct timespec now;
    int fd, n;

    find_socket();
    if (!address_bytes)
        return;
    n = snprintf(text, sizeof(text), "%s", state);
    /* Type=notify-reload wants to know when the reload began, on systemd's clock. */
    if (strncmp(state, "RELOADING=1", 11) == 0 && clock_gettime(CLOCK_MONOTONIC, &now) == 0)
        n = snprintf(text, sizeof(text), "%s\nMONOTONIC_USEC=%llu", state,
                     (unsigned long long)now.tv_sec * 1000000 +
                         (unsigned long long)now.tv_nsec / 1000);
    if (n < 0 || (size_t)n >= sizeof(text))
        return;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || sendto(fd, text, (size_t)n, MSG_NOSIGNAL, (const struct sockaddr *)&address,
                         address_bytes) < 0)
        pgv_log(PGV_WARNING, "agent", "could not tell systemd '%s': %s", state, strerror(errno));
    if (fd >= 0)
        close(fd);
}
