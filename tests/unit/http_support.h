/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/http_support.h - what the HTTP tests share: a loop that runs until something holds,
 * a server with a few paths, a client that says raw bytes.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "http/httpc.h"
#include "http/httpd.h"

/** Turn the loop until @done(data) holds; fails the test when it does not within a minute. */
void test_run_until(uv_loop_t *loop, bool (*done)(void *data), void *data, const char *what);
bool test_flag(void *data); /* a bool */
#define RUN_UNTIL_TRUE(loop, flag) test_run_until((loop), test_flag, &(flag), #flag)
/** Close the loop; fails the test when a handle is left. */
void test_loop_done(uv_loop_t *loop);

/**
 * A server on 127.0.0.1:
 *   /echo    the body, or "empty"      /later   kept in later[], the test answers
 *   /big     4 MiB of 'x'              /stream  kept in stream, begun
 *   /kill    closes the server from within its handler
 *   else     200, the path as body, with 'lsn: 42'
 */
#define TEST_LATER_MAX 64
struct test_server {
    struct httpd http;
    uv_loop_t *loop;
    struct httpd_req *later[TEST_LATER_MAX], *stream;
    unsigned n_later, n_requests, n_aborted;
    bool closed;
    char last_path[128], last_query[128], last_authorization[128], last_method[16], last_line[256];
    struct pgv_buf last_body;
    bool last_has_length, last_verified;
};
void test_server_open(struct test_server *s, uv_loop_t *loop, struct tls_context *tls);
void test_server_close(struct test_server *s);

/** A socket that says what it is told. */
struct test_raw {
    int fd;
    bool eof; /* the peer closed, or reset */
    struct pgv_buf got;
};
void test_raw_open(struct test_raw *r, int port);
void test_raw_send(struct test_raw *r, const char *s);
void test_raw_send_bytes(struct test_raw *r, const void *p, size_t n);
void test_raw_until(struct test_raw *r, uv_loop_t *loop, const char *text);
void test_raw_until_eof(struct test_raw *r, uv_loop_t *loop);
void test_raw_close(struct test_raw *r);
unsigned test_count(const char *text, const char *what);

/** A file of tests/unit/data/http. */
const char *test_data(const char *name);
struct tls_context *test_server_tls(const char *cert, const char *key, enum tls_verify verify);
struct tls_context *test_client_tls(const char *ca, bool check_host, const char *cert,
                                    const char *key);
