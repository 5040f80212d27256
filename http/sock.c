/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/sock.c - TCP sockets with their options; see sock.h.
 */
#include "http/sock.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

char sock_recv_bytes[SOCK_RECV_BYTES];

bool sock_literal(const char *host, int port, struct sockaddr_storage *ret)
{
    struct sockaddr_storage a = { 0 };

    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&a) != 0 &&
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)&a) != 0)
        return false;
    *ret = a;
    return true;
}

socklen_t sock_addr_len(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET6 ? (socklen_t)sizeof(struct sockaddr_in6)
                                    : (socklen_t)sizeof(struct sockaddr_in);
}

void sock_addr_text(const struct sockaddr_storage *a, char ret[SOCK_ADDR_BYTES])
{
    int rc = -1;

    if (a->ss_family == AF_INET)
        rc = uv_ip4_name((const struct sockaddr_in *)a, ret, SOCK_ADDR_BYTES);
    else if (a->ss_family == AF_INET6)
        rc = uv_ip6_name((const struct sockaddr_in6 *)a, ret, SOCK_ADDR_BYTES);
    if (rc != 0)
        pgv_copy_cut(ret, SOCK_ADDR_BYTES, PGV_STR("?"));
}

int sock_addr_port(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)a)->sin_port);
    if (a->ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)a)->sin6_port);
    return 0;
}

void sock_addr_unmap(struct sockaddr_storage *a)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6;

    if (a->ss_family != AF_INET6)
        return;
    memcpy(&v6, a, sizeof(v6));
    if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
        return;
    v4.sin_port = v6.sin6_port;
    memcpy(&v4.sin_addr, v6.sin6_addr.s6_addr + 12, 4);
    memset(a, 0, sizeof(*a));
    memcpy(a, &v4, sizeof(v4));
}

/* Options are wishes: a kernel that lacks one still serves, so failures are not reported. */
static void set_options(int fd, const struct httpc_tcp_options *o)
{
    int on = 1, v;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (o->user_timeout_ms) {
        unsigned ms = o->user_timeout_ms;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
    }
    if (!o->keepidle_s && !o->keepintvl_s && !o->keepcnt)
        return;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    /* The kernel's maxima: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT in net/tcp.h. */
    if (o->keepidle_s) {
        v = o->keepidle_s > 32767 ? 32767 : (int)o->keepidle_s;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &v, sizeof(v));
    }
    if (o->keepintvl_s) {
        v = o->keepintvl_s > 32767 ? 32767 : (int)o->keepintvl_s;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &v, sizeof(v));
    }
    if (o->keepcnt) {
        v = o->keepcnt > 127 ? 127 : (int)o->keepcnt;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &v, sizeof(v));
    }
}

static bool listen_on(const struct sockaddr_storage *a, bool dual, int backlog,
                      const struct httpc_tcp_options *o, int *ret_fd, int *ret_errno)
{
    int on = 1, only = dual ? 0 : 1;
    int fd = socket(a->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        *ret_errno = errno;
        return false;
    }
    set_options(fd, o);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (a->ss_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) != 0) ||
        bind(fd, (const struct sockaddr *)a, sock_addr_len(a)) != 0 || listen(fd, backlog) != 0) {
        *ret_errno = errno;
        (void)close(fd);
        return false;
    }
    *ret_fd = fd;
    return true;
}

bool sock_listen(const char *host, int port, int backlog, const struct httpc_tcp_options *o,
                 int *ret_fd, struct pgv_error *err)
{
    struct sockaddr_storage a;
    int sys = 0;

    if (port < 0 || port > 65535)
        return pgv_fail(err, PGV_EINVALID, "port %d is none", port);
    if (!host || !*host || strcmp(host, "*") == 0) {
        /* One dual-stack socket, or IPv4 where the system has no IPv6 (ipv6.disable=1). */
        if (sock_literal("::", port, &a) && listen_on(&a, true, backlog, o, ret_fd, &sys))
            return true;
        if (sys == EADDRINUSE || sys == EACCES)
            return pgv_fail_sys(err, sys, "listening on port %d", port);
        host = "0.0.0.0";
    } else if (strcmp(host, "localhost") == 0) {
        host = "127.0.0.1";
    }
    if (!sock_literal(host, port, &a))
        return pgv_fail(err, PGV_EINVALID, "'%s' is no address to listen on", host);
    if (!listen_on(&a, false, backlog, o, ret_fd, &sys))
        return pgv_fail_sys(err, sys, "listening on %s port %d", host, port);
    return true;
}

bool sock_connect(const struct sockaddr_storage *a, const struct httpc_tcp_options *o, int *ret_fd,
                  bool *ret_connected, struct pgv_error *err)
{
    char text[SOCK_ADDR_BYTES];
    int sys, fd;

    sock_addr_text(a, text);
    fd = socket(a->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return pgv_fail_sys(err, errno, "a socket for %s", text);
    set_options(fd, o);
    if (connect(fd, (const struct sockaddr *)a, sock_addr_len(a)) == 0) {
        *ret_connected = true;
    } else if (errno == EINPROGRESS) {
        *ret_connected = false;
    } else {
        sys = errno;
        (void)close(fd);
        return pgv_fail_sys(err, sys, "connecting to %s port %d", text, sock_addr_port(a));
    }
    *ret_fd = fd;
    return true;
}

int sock_error(int fd)
{
    int sys = 0;
    socklen_t n = sizeof(sys);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &n) != 0)
        return errno;
    return sys;
}

enum sock_io sock_recv(int fd, size_t *ret_n)
{
    ssize_t n;

    do {
        n = recv(fd, sock_recv_bytes, sizeof(sock_recv_bytes), 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        *ret_n = (size_t)n;
        return SOCK_IO_OK;
    }
    if (n == 0)
        return SOCK_IO_EOF;
    return errno == EAGAIN || errno == EWOULDBLOCK ? SOCK_IO_AGAIN : SOCK_IO_ERROR;
}

enum sock_io sock_send(int fd, struct iovec *iov, size_t n_iov, bool before_close, size_t *ret_n)
{
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = n_iov };
    ssize_t n;

    do {
        n = sendmsg(fd, &m, before_close ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        *ret_n = (size_t)n;
        return SOCK_IO_OK;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK ? SOCK_IO_AGAIN : SOCK_IO_ERROR;
}
