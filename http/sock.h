/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/sock.h - TCP sockets as client and server need them: non-blocking, close-on-exec, with
 * their options set before anything can happen on them. Private to this folder.
 */
#pragma once

#include "http/httpc.h"

#include <netinet/in.h>
#include <sys/uio.h>

/** Bytes read at once. One buffer serves every connection: nothing reads while another does. */
#define SOCK_RECV_BYTES 16384
extern char sock_recv_bytes[SOCK_RECV_BYTES];

/** A literal IPv4 or IPv6 address (no brackets) with @port; false when @host is a name. */
bool sock_literal(const char *host, int port, struct sockaddr_storage *ret);
/** The length the kernel wants for an address of this family. */
socklen_t sock_addr_len(const struct sockaddr_storage *a);
/** "10.0.0.1" or "::1"; "?" for what is no address. */
#define SOCK_ADDR_BYTES 64
void sock_addr_text(const struct sockaddr_storage *a, char ret[SOCK_ADDR_BYTES]);
int sock_addr_port(const struct sockaddr_storage *a);
/** ::ffff:10.0.0.1 becomes 10.0.0.1, so that it can be compared with IPv4 networks. */
void sock_addr_unmap(struct sockaddr_storage *a);

/**
 * A listening socket with the options accepted sockets shall have: Linux hands TCP_NODELAY,
 * keepalive and TCP_USER_TIMEOUT on to them (tcp(7) sockets are cloned from the listener), so
 * accepting costs one system call. @host as in httpd_open().
 */
bool sock_listen(const char *host, int port, int backlog, const struct httpc_tcp_options *o,
                 int *ret_fd, struct pgv_error *err) PGV_MUST_CHECK;
/** A socket on its way to @a. @ret_connected: it is there already (loopback can be that fast). */
bool sock_connect(const struct sockaddr_storage *a, const struct httpc_tcp_options *o, int *ret_fd,
                  bool *ret_connected, struct pgv_error *err) PGV_MUST_CHECK;
/** The error that waits on a socket, 0 for none. */
int sock_error(int fd);

enum sock_io { SOCK_IO_OK, SOCK_IO_AGAIN, SOCK_IO_EOF, SOCK_IO_ERROR };
/** Read at most SOCK_RECV_BYTES into sock_recv_bytes. errno is set on SOCK_IO_ERROR. */
enum sock_io sock_recv(int fd, size_t *ret_n);
/**
 * As writev() without SIGPIPE; fewer bytes than given is SOCK_IO_OK. @before_close: close() or
 * shutdown() follows at once, and the last bytes go out in one segment with its FIN.
 */
enum sock_io sock_send(int fd, struct iovec *iov, size_t n_iov, bool before_close, size_t *ret_n);
