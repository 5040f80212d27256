/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_http_server.c - the server on loopback, spoken to in raw bytes: what it answers,
 * how long it waits, whom it closes when room is short, and that it ends cleanly at any moment.
 */
#include "http_support.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/httpd_private.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

struct fixture {
    uv_loop_t loop;
    struct test_server server;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    uv_loop_init(&f->loop);
    f->server.http.server_name = "Patroni/4.1.5";
    f->server.http.extra_headers = "X-Extra: 1\r\n";
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    test_server_close(&f->server);
    test_loop_done(&f->loop);
    free(f);
    return 0;
}

static void open_raw(struct fixture *f, struct test_raw *raw)
{
    if (!f->server.loop)
        test_server_open(&f->server, &f->loop, NULL);
    test_raw_open(raw, httpd_port(&f->server.http));
}

static const char *ask(struct fixture *f, struct test_raw *raw, const char *request)
{
    open_raw(f, raw);
    test_raw_send(raw, request);
    test_raw_until_eof(raw, &f->loop);
    return pgv_buf_cstr(&raw->got);
}

static void test_httpd_reply__headers_in_order(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;
    const char *got = ask(f, &raw, "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    const char *date = strstr(got, "Date: ");

    assert_non_null(date);
    assert_memory_equal(got, "HTTP/1.1 200 OK\r\nServer: Patroni/4.1.5\r\nDate: ", 46);
    assert_string_equal(strchr(date, '\n'),
                        "\nlsn: 42\r\nContent-Type: text/plain\r\nX-Extra: 1\r\n"
                        "Content-Length: 2\r\nConnection: close\r\n\r\n/x");
    assert_memory_equal(strchr(date, '\n') - 4, "GMT\r", 4);
    test_raw_close(&raw);
}

static void test_httpd_reply__status_only_for_head_and_options(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    assert_string_equal(ask(f, &raw, "HEAD /primary HTTP/1.0\r\n\r\n"),
                        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n");
    test_raw_close(&raw);
    assert_string_equal(ask(f, &raw, "OPTIONS / HTTP/1.0\r\n\r\n"),
                        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n");
    test_raw_close(&raw);
    /* A normal answer to HEAD says how long it would be, and nothing more. */
    assert_null(strstr(ask(f, &raw, "HEAD /echo HTTP/1.0\r\n\r\n"), "empty"));
    assert_non_null(strstr(pgv_buf_cstr(&raw.got), "Content-Length: 5\r\n"));
    test_raw_close(&raw);
}

static void test_httpd_reply__http10_closes_unless_asked_to_stay(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    assert_non_null(strstr(ask(f, &raw, "GET /x HTTP/1.0\r\n\r\n"), "HTTP/1.0 200 OK\r\n"));
    assert_null(strstr(pgv_buf_cstr(&raw.got), "Connection:"));
    test_raw_close(&raw);

    open_raw(f, &raw);
    for (unsigned i = 0; i < 2; i++) {
        pgv_buf_reset(&raw.got);
        test_raw_send(&raw, "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        test_raw_until(&raw, &f->loop, "Connection: keep-alive\r\n\r\n/x");
    }
    test_raw_close(&raw);
}

static void test_httpd__pipelined_requests_are_answered_in_order(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;
    const char *a, *b, *c;

    open_raw(f, &raw);
    test_raw_send(&raw, "GET /one HTTP/1.1\r\n\r\nGET /later HTTP/1.1\r\n\r\n"
                        "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
    test_raw_until(&raw, &f->loop, "/one");
    assert_int_equal(f->server.n_later, 1);
    assert_int_equal(f->server.n_requests, 2); /* one at a time */
    httpd_reply(f->server.later[0], 200, NULL, "text/plain", PGV_STR("second"));
    assert_int_equal(f->server.n_requests, 2); /* not inside our call */
    f->server.n_later = 0;
    test_raw_until(&raw, &f->loop, "abc");
    a = strstr(raw.got.p, "/one");
    b = strstr(raw.got.p, "second");
    c = strstr(raw.got.p, "abc");
    assert_true(a < b && b < c);
    assert_int_equal(test_count(raw.got.p, "HTTP/1.1 200 OK"), 3);
    test_raw_close(&raw);
}

static void test_httpd__a_flood_of_pipelined_requests_is_answered(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;
    struct pgv_buf b;

    pgv_buf_init(&b, 1u << 20);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(pgv_buf_printf(&b, "GET /n%u HTTP/1.1\r\n%s\r\n", i,
                                   i == 999 ? "Connection: close\r\n" : ""));
    open_raw(f, &raw);
    test_raw_send_bytes(&raw, b.p, b.n);
    test_raw_until_eof(&raw, &f->loop);
    assert_int_equal(test_count(raw.got.p, "HTTP/1.1 200 OK"), 1000);
    assert_int_equal(f->server.http.n_requests, 1000);
    test_raw_close(&raw);
    pgv_buf_done(&b);
}

static void test_httpd__bodies_sized_chunked_and_awaited(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    open_raw(f, &raw);
    test_raw_send(&raw, "PUT /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe");
    test_raw_send(&raw, "llo");
    test_raw_until(&raw, &f->loop, "hello");
    assert_true(f->server.last_has_length);
    test_raw_send(&raw, "PATCH /echo?a=b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
                        "Authorization: Basic eDp5\r\n\r\n4\r\nchun\r\n3\r\nked\r\n0\r\n\r\n");
    test_raw_until(&raw, &f->loop, "chunked");
    assert_true(f->server.last_has_length);
    assert_string_equal(f->server.last_query, "a=b");
    assert_string_equal(f->server.last_authorization, "Basic eDp5");
    pgv_buf_reset(&raw.got);
    test_raw_send(&raw, "POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    test_raw_until(&raw, &f->loop, "HTTP/1.1 100 Continue\r\n\r\n");
    test_raw_send(&raw, "body");
    test_raw_until(&raw, &f->loop, "\r\n\r\nbody");
    pgv_buf_reset(&raw.got);
    test_raw_send(&raw, "POST /echo HTTP/1.1\r\n\r\n");
    test_raw_until(&raw, &f->loop, "empty");
    assert_false(f->server.last_has_length);
    test_raw_close(&raw);
}

static void test_httpd__refusals_are_pages_and_close(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *request, *status;
    } table[] = {
        { "GET / HTTP/1.1\r\nX : y\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n" },
        { "FOO / HTTP/1.1\r\n\r\n", "HTTP/1.1 501 Unsupported method ('FOO')\r\n" },
        { "GET / HTTP/2.0\r\n\r\n", "HTTP/1.1 505 HTTP Version Not Supported\r\n" },
        { "POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\nmore of it",
          "HTTP/1.1 413 Request Entity Too Large\r\n" },
        { "POST / HTTP/1.1\r\nExpect: wonders\r\nContent-Length: 1\r\n\r\n",
          "HTTP/1.1 417 Expectation Failed\r\n" },
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct test_raw raw;
        const char *got, *length, *body;

        open_raw(f, &raw);
        test_raw_send(&raw, table[i].request);
        test_raw_until_eof(&raw, &f->loop);
        got = pgv_buf_cstr(&raw.got);
        assert_memory_equal(got, table[i].status, strlen(table[i].status));
        assert_non_null(strstr(got, "Connection: close\r\n"));
        assert_non_null(strstr(got, "Content-Type: text/html;charset=utf-8\r\n"));
        assert_null(strstr(got, "X-Extra"));
        length = strstr(got, "Content-Length: ");
        body = strstr(got, "\r\n\r\n");
        assert_non_null(length);
        assert_non_null(body);
        assert_int_equal(strtoul(length + 16, NULL, 10), strlen(body + 4));
        if (strstr(table[i].status, "501"))
            assert_non_null(strstr(body, "Server does not support this operation"));
        test_raw_close(&raw);
    }
    assert_int_equal(f->server.n_requests, 0);
}

static void test_httpd_reply_error__escapes_and_closes(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    open_raw(f, &raw);
    test_raw_send(&raw, "GET /later HTTP/1.1\r\n\r\n");
    while (f->server.n_later == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    httpd_reply_error(f->server.later[0], 409, "<b>&");
    test_raw_until_eof(&raw, &f->loop);
    assert_non_null(strstr(raw.got.p, "HTTP/1.1 409 Conflict\r\n"));
    assert_non_null(strstr(raw.got.p, "&lt;b&gt;&amp;"));
    test_raw_close(&raw);
}

static void test_httpd__tls_bytes_are_left_without_an_answer(void **state)
{
    static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    struct fixture *f = *state;
    struct test_raw raw, other;

    open_raw(f, &raw);
    test_raw_send_bytes(&raw, hello, sizeof(hello) - 1);
    test_raw_until_eof(&raw, &f->loop);
    assert_int_equal(raw.got.n, 0);
    test_raw_close(&raw);
    (void)ask(f, &other, "GET /still-here HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(other.got.p, "/still-here"));
    test_raw_close(&other);
}

static void test_httpd__a_half_closed_client_gets_its_answer(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    open_raw(f, &raw);
    test_raw_send(&raw, "GET /later HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n");
    assert_int_equal(shutdown(raw.fd, SHUT_WR), 0);
    while (f->server.n_later == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    for (unsigned i = 0; i < 5; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    httpd_reply(f->server.later[0], 200, NULL, NULL, PGV_STR("late"));
    test_raw_until_eof(&raw, &f->loop);
    assert_non_null(strstr(raw.got.p, "late"));
    assert_non_null(strstr(raw.got.p, "/x")); /* what was asked before the end is answered too */
    assert_int_equal(f->server.n_aborted, 0);
    test_raw_close(&raw);
}

static bool aborted(void *data)
{
    return ((struct fixture *)data)->server.n_aborted > 0;
}

static void reset_connection(struct test_raw *raw)
{
    struct linger l = { .l_onoff = 1 };

    assert_int_equal(setsockopt(raw->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
    test_raw_close(raw);
}

static void test_httpd__a_reset_aborts_the_request(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    open_raw(f, &raw);
    test_raw_send(&raw, "GET /later HTTP/1.1\r\n\r\n");
    while (f->server.n_later == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    reset_connection(&raw);
    test_run_until(&f->loop, aborted, f, "the abort");
    assert_int_equal(f->server.n_later, 0);
    assert_int_equal(f->server.http.n_conns, 0);
}

static bool no_conns(void *data)
{
    return ((struct fixture *)data)->server.http.n_conns == 0;
}

/* A handler that cannot be told may answer a client long gone. */
static void test_httpd__an_answer_after_the_reset_is_harmless(void **state)
{
    struct fixture *f = *state;
    struct httpd_req *r;
    struct test_raw raw;

    open_raw(f, &raw);
    test_raw_send(&raw, "GET /later HTTP/1.1\r\n\r\n");
    while (f->server.n_later == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    r = f->server.later[0];
    r->on_abort = NULL;
    reset_connection(&raw);
    test_run_until(&f->loop, no_conns, f, "the end of the connection");
    for (unsigned i = 0; i < 5; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_true(pgv_str_eqz(r->path, "/later")); /* its texts still stand */
    httpd_reply(r, 200, NULL, NULL, PGV_STR("to nobody"));
}

static void test_httpd__large_answers_to_slow_readers(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    open_raw(f, &raw);
    test_raw_send(&raw,
                  "GET /big HTTP/1.1\r\n\r\nGET /after HTTP/1.1\r\nConnection: close\r\n\r\n");
    for (unsigned i = 0; i < 10; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT); /* it cannot all be out */
    assert_int_equal(f->server.n_requests, 1);
    test_raw_until_eof(&raw, &f->loop);
    assert_true(raw.got.n > (4u << 20));
    assert_non_null(strstr(raw.got.p, "/after"));
    test_raw_close(&raw);
}

static void test_httpd__time_limits(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *what, *bytes, *answer; /* NULL: closed without one */
    } table[] = {
        { "silence", "", NULL },
        { "half a head", "GET / HTTP/1.1\r\nHost:", "HTTP/1.1 408 Request Timeout\r\n" },
        { "half a body", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nx",
          "HTTP/1.1 408 Request Timeout\r\n" },
        { "silence after an answer", "GET /x HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n" },
    };

    f->server.http.limits = (struct httpd_limits){ .head_ms = 50, .body_ms = 50, .idle_ms = 50 };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint64_t begun = pgv_clock_ms();
        struct test_raw raw;

        open_raw(f, &raw);
        test_raw_send(&raw, table[i].bytes);
        test_raw_until_eof(&raw, &f->loop);
        assert_true(pgv_clock_ms() - begun >= 50);
        if (table[i].answer)
            assert_memory_equal(pgv_buf_cstr(&raw.got), table[i].answer, strlen(table[i].answer));
        else
            assert_int_equal(raw.got.n, 0);
        test_raw_close(&raw);
    }
}

/* Slow loris: a byte now and then does not move the limit. */
static void test_httpd__dripping_bytes_buys_no_time(void **state)
{
    struct fixture *f = *state;
    uint64_t begun = pgv_clock_ms();
    struct test_raw raw;
    unsigned sent = 0;

    f->server.http.limits.head_ms = 200;
    open_raw(f, &raw);
    test_raw_send(&raw, "GET / HTTP/1.1\r\n");
    while (!raw.got.n) {
        struct pollfd p = { .fd = raw.fd, .events = POLLIN };
        if (send(raw.fd, "X: y\r\n", 6, MSG_NOSIGNAL) == 6)
            sent++;
        uv_run(&f->loop, UV_RUN_NOWAIT);
        if (poll(&p, 1, 10) > 0)
            break;
        assert_true(pgv_clock_ms() - begun < 5000);
    }
    test_raw_until_eof(&raw, &f->loop);
    assert_true(sent > 3);
    assert_true(pgv_clock_ms() - begun >= 200);
    assert_non_null(strstr(raw.got.p, "408"));
    test_raw_close(&raw);
}

static void test_httpd__a_client_that_does_not_read_is_cut(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    f->server.http.limits.send_ms = 100;
    open_raw(f, &raw);
    test_raw_send(&raw, "GET /big HTTP/1.1\r\n\r\n");
    while (f->server.n_requests == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    test_run_until(&f->loop, no_conns, f, "the cut");
    test_raw_until_eof(&raw, &f->loop);
    assert_true(raw.got.n < (4u << 20));
    test_raw_close(&raw);
}

static bool n_conns_is_3(void *data)
{
    return ((struct fixture *)data)->server.http.n_conns == 3;
}

static void test_httpd__past_the_limit_the_longest_idle_is_closed(void **state)
{
    struct fixture *f = *state;
    struct test_raw silent[3], raw;

    f->server.http.limits.conns_max = 3;
    for (unsigned i = 0; i < 3; i++)
        open_raw(f, &silent[i]);
    test_run_until(&f->loop, n_conns_is_3, f, "three connections");
    /* The second one works: it is not idle, whatever its age. */
    test_raw_send(&silent[1], "GET /later HTTP/1.1\r\n\r\n");
    while (f->server.n_later == 0)
        uv_run(&f->loop, UV_RUN_ONCE);

    (void)ask(f, &raw, "GET /x HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(pgv_buf_cstr(&raw.got), "200 OK"));
    test_raw_close(&raw);
    test_raw_until_eof(&silent[0], &f->loop);
    assert_int_equal(f->server.http.n_conns, 2);

    open_raw(f, &raw);
    test_run_until(&f->loop, n_conns_is_3, f, "three connections");
    test_raw_close(&silent[0]);
    open_raw(f, &silent[0]);
    test_raw_send(&silent[0], "GET /x HTTP/1.1\r\n\r\n");
    test_raw_until(&silent[0], &f->loop, "200 OK");
    test_raw_until_eof(&silent[2], &f->loop);

    httpd_reply_status(f->server.later[0], 200);
    test_raw_until(&silent[1], &f->loop, "200 OK");
    for (unsigned i = 0; i < 3; i++)
        test_raw_close(&silent[i]);
    test_raw_close(&raw);
}

static void test_httpd__a_thousand_silent_clients_delay_nobody(void **state)
{
    struct fixture *f = *state;
    static struct test_raw silent[400];
    struct rlimit r;
    struct test_raw raw;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    assert_true(r.rlim_cur >= 1000);
    f->server.http.limits.conns_max = 200;
    for (unsigned i = 0; i < 400; i++) {
        open_raw(f, &silent[i]);
        if (i % 3 == 0)
            test_raw_send(&silent[i], "GET /half HTTP/1.1\r\nHost:");
    }
    for (unsigned i = 0; i < 50; i++) {
        (void)ask(f, &raw, "GET /x HTTP/1.0\r\n\r\n");
        assert_non_null(strstr(pgv_buf_cstr(&raw.got), "200 OK"));
        test_raw_close(&raw);
        assert_true(f->server.http.n_conns <= 200);
    }
    for (unsigned i = 0; i < 400; i++)
        test_raw_close(&silent[i]);
}

/* All descriptors of the process are gone: clients are told by closing, and it ends. */
static void test_httpd__without_descriptors_it_sheds_load(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, low;
    struct test_raw busy, raw, after;
    int fds[64];
    unsigned n = 0;

    open_raw(f, &busy);
    test_raw_send(&busy, "GET /later HTTP/1.1\r\n\r\n");
    while (f->server.n_later == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    open_raw(f, &raw);
    test_raw_send(&raw, "GET /x HTTP/1.0\r\n\r\n");

    /* The limit counts numbers: one above the highest in use by this test so far. */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = (rlim_t)raw.fd + 16;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (n < 64 && (fds[n] = dup(raw.fd)) >= 0)
        n++;
    /* What waits is closed by means of the reserved descriptor: nobody idle could go instead. */
    for (unsigned i = 0; i < 20; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->server.n_requests, 1);
    while (n > 0)
        (void)close(fds[--n]);
    test_raw_until_eof(&raw, &f->loop);
    assert_int_equal(raw.got.n, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);

    (void)ask(f, &after, "GET /x HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(pgv_buf_cstr(&after.got), "200 OK"));
    httpd_reply_status(f->server.later[0], 200);
    test_raw_until(&busy, &f->loop, "200 OK");
    test_raw_close(&busy);
    test_raw_close(&raw);
    test_raw_close(&after);
}

static void test_httpd_stream__pieces_are_chunks(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    open_raw(f, &raw);
    test_raw_send(&raw, "GET /stream HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n");
    test_raw_until(&raw, &f->loop, "Transfer-Encoding: chunked\r\n\r\n");
    assert_true(httpd_stream_write(f->server.stream, PGV_STR("data: 1\n\n")));
    assert_true(httpd_stream_write(f->server.stream, PGV_STR("")));
    test_raw_until(&raw, &f->loop, "9\r\ndata: 1\n\n\r\n");
    assert_int_equal(f->server.n_requests, 1);
    httpd_stream_end(f->server.stream);
    test_raw_until(&raw, &f->loop, "\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n");
    test_raw_close(&raw);

    open_raw(f, &raw);
    test_raw_send(&raw, "GET /stream HTTP/1.0\r\n\r\n");
    test_raw_until(&raw, &f->loop, "\r\n\r\n");
    assert_null(strstr(raw.got.p, "chunked"));
    assert_true(httpd_stream_write(f->server.stream, PGV_STR("bare")));
    httpd_stream_end(f->server.stream);
    test_raw_until_eof(&raw, &f->loop);
    assert_string_equal(raw.got.p + raw.got.n - 8, "\r\n\r\nbare");
    test_raw_close(&raw);
}

static void test_httpd_stream__a_slow_reader_is_cut(void **state)
{
    static char piece[60000];
    struct fixture *f = *state;
    struct test_raw raw;
    unsigned n = 0;

    open_raw(f, &raw);
    test_raw_send(&raw, "GET /stream HTTP/1.1\r\n\r\n");
    test_raw_until(&raw, &f->loop, "\r\n\r\n");
    while (httpd_stream_write(f->server.stream, (struct pgv_str){ piece, sizeof(piece) })) {
        n++;
        uv_run(&f->loop, UV_RUN_NOWAIT);
        assert_true(n < 1000);
    }
    f->server.stream = NULL;
    test_run_until(&f->loop, no_conns, f, "the cut");
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->server.n_aborted, 0); /* it was told already */
    test_raw_close(&raw);
}

static void test_httpd_stream__the_readers_end_is_told(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    open_raw(f, &raw);
    test_raw_send(&raw, "GET /stream HTTP/1.1\r\n\r\n");
    test_raw_until(&raw, &f->loop, "\r\n\r\n");
    test_raw_close(&raw);
    test_run_until(&f->loop, aborted, f, "the abort");
    assert_null(f->server.stream);
}

static void test_httpd__sockets_have_their_options(void **state)
{
    struct fixture *f = *state;
    struct httpd_conn *c;
    struct test_raw raw;
    static const struct {
        int level, option, value;
    } table[] = {
        { IPPROTO_TCP, TCP_NODELAY, 1 },
        { SOL_SOCKET, SO_KEEPALIVE, 0 },
        { IPPROTO_TCP, TCP_USER_TIMEOUT, 10000 },
    };

    open_raw(f, &raw);
    test_raw_send(&raw, "GET /later HTTP/1.1\r\n\r\n");
    while (f->server.n_later == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    c = f->server.later[0]->conn;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int v = -1;
        socklen_t n = sizeof(v);
        assert_int_equal(getsockopt(c->fd, table[i].level, table[i].option, &v, &n), 0);
        assert_int_equal(v, table[i].value);
    }
    assert_int_equal(f->server.later[0]->peer.ss_family, AF_INET);
    httpd_reply_status(f->server.later[0], 200);
    test_raw_close(&raw);
}

static bool is_quiet(void *data)
{
    return ((struct fixture *)data)->server.http.lists[HTTPD_CONN_QUIET].first != NULL;
}

static void test_httpd__an_idle_connection_is_small(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;
    size_t before, idle, quiet;

    test_server_open(&f->server, &f->loop, NULL);
    before = pgv_alloc_bytes_in_use();
    open_raw(f, &raw);
    test_raw_send(&raw, "GET /x HTTP/1.1\r\nHost: some.where\r\nUser-Agent: a client\r\n\r\n");
    test_raw_until(&raw, &f->loop, "/x");
    pgv_buf_done(&raw.got);
    idle = pgv_alloc_bytes_in_use() - before;
    assert_true(idle < 1536 + 1024); /* with the test's own last_body */
    test_run_until(&f->loop, is_quiet, f, "a quiet connection");
    quiet = pgv_alloc_bytes_in_use() - before;
    assert_true(quiet < 1536);
    test_raw_send(&raw, "GET /y HTTP/1.1\r\n\r\n");
    test_raw_until(&raw, &f->loop, "/y");
    test_raw_close(&raw);
}

static void test_httpd_relisten__connections_stay(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw, other;
    struct pgv_error err;
    int old_port;

    open_raw(f, &raw);
    test_raw_send(&raw, "GET /later HTTP/1.1\r\n\r\n");
    while (f->server.n_later == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    old_port = httpd_port(&f->server.http);
    assert_false(httpd_relisten(&f->server.http, "no-address", 0, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_int_equal(httpd_port(&f->server.http), old_port);
    /* From one address to all addresses of the same port: the old one is in the way. */
    assert_true(httpd_relisten(&f->server.http, "*", old_port, &err));
    assert_int_equal(httpd_port(&f->server.http), old_port);
    (void)ask(f, &other, "GET /x HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(pgv_buf_cstr(&other.got), "200 OK"));
    test_raw_close(&other);
    /* There, IPv4 clients come in IPv6's clothes: they are undressed. */
    test_raw_open(&other, old_port);
    test_raw_send(&other, "GET /later HTTP/1.1\r\n\r\n");
    while (f->server.n_later == 1)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->server.later[1]->peer.ss_family, AF_INET);
    httpd_reply_status(f->server.later[1], 200);
    test_raw_close(&other);
    assert_true(httpd_relisten(&f->server.http, "localhost", 0, &err));
    assert_int_not_equal(httpd_port(&f->server.http), old_port);
    (void)ask(f, &other, "GET /x HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(pgv_buf_cstr(&other.got), "200 OK"));
    test_raw_close(&other);

    httpd_reply(f->server.later[0], 200, NULL, NULL, PGV_STR("as if nothing had happened"));
    test_raw_until(&raw, &f->loop, "as if nothing had happened");
    test_raw_close(&raw);
}

static void test_httpd_open__reports_what_is_in_the_way(void **state)
{
    struct fixture *f = *state;
    static struct httpd second;
    struct pgv_error err;
    size_t blocks;

    test_server_open(&f->server, &f->loop, NULL);
    blocks = pgv_alloc_blocks_in_use();
    assert_false(
        httpd_open(&second, &f->loop, "127.0.0.1", httpd_port(&f->server.http), NULL, NULL, &err));
    assert_int_equal(err.code, PGV_ESYS);
    assert_int_equal(err.sys, EADDRINUSE);
    assert_false(httpd_open(&second, &f->loop, "example.org", 0, NULL, NULL, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
}

static void test_httpd_close__from_within_a_handler(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw, other;

    open_raw(f, &other);
    test_raw_send(&other, "GET /later HTTP/1.1\r\n\r\n");
    while (f->server.n_later == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    open_raw(f, &raw);
    test_raw_send(&raw, "GET /kill HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n");
    test_raw_until_eof(&raw, &f->loop);
    test_raw_until_eof(&other, &f->loop);
    RUN_UNTIL_TRUE(&f->loop, f->server.closed);
    assert_int_equal(f->server.n_aborted, 2);
    assert_int_equal(f->server.n_requests, 2);
    test_raw_close(&raw);
    test_raw_close(&other);
}

/* Closed after 0, 1, 2 … turns of everything a connection can be doing. */
static void test_httpd_close__at_any_moment(void **state)
{
    static const char *const doing[] = {
        "",
        "GET / HT",
        "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nx",
        "GET /later HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        "GET /big HTTP/1.1\r\n\r\n",
        "GET /stream HTTP/1.1\r\n\r\n",
        "bad\r\n\r\n",
        "GET /x HTTP/1.0\r\n\r\n",
    };
    (void)state;

    for (unsigned turns = 0; turns < 8; turns++) {
        for (size_t i = 0; i < sizeof(doing) / sizeof(doing[0]); i++) {
            struct fixture *f = calloc(1, sizeof(*f));
            size_t blocks = pgv_alloc_blocks_in_use();
            struct test_raw raw;

            uv_loop_init(&f->loop);
            open_raw(f, &raw);
            test_raw_send(&raw, doing[i]);
            for (unsigned t = 0; t < turns; t++)
                uv_run(&f->loop, UV_RUN_NOWAIT);
            test_server_close(&f->server);
            test_raw_close(&raw);
            test_loop_done(&f->loop);
            assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
            free(f);
        }
    }
}

/* Every allocation from the nth on fails: the probe is answered all the same, from the reserve. */
static void test_httpd__probes_are_answered_without_memory(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    test_server_open(&f->server, &f->loop, NULL);
    for (unsigned i = 0; i < 20; i++) {
        static char bytes[4096];
        size_t n = 0;
        ssize_t got;

        test_raw_open(&raw, httpd_port(&f->server.http));
        test_raw_send(&raw, "GET /primary HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        pgv_alloc_fail_at(1, true);
        /* The test's own buffer would need memory: read by hand. */
        for (unsigned turn = 0; turn < 1000; turn++) {
            struct pollfd p = { .fd = raw.fd, .events = POLLIN };
            uv_run(&f->loop, UV_RUN_NOWAIT);
            if (poll(&p, 1, 1) <= 0)
                continue;
            got = recv(raw.fd, bytes + n, sizeof(bytes) - n, 0);
            if (got <= 0)
                break;
            n += (size_t)got;
        }
        pgv_alloc_fail_at(0, false);
        assert_memory_equal(bytes, "HTTP/1.1 200 OK\r\n", 17);
        assert_memory_equal(bytes + n - 8, "/primary", 8);
        test_raw_close(&raw);
    }
}

/* One allocation fails, each in turn, until none is left: an answer, a 503, or a closed connection,
 * and nothing lost. */
static void test_httpd__each_allocation_may_fail(void **state)
{
    static const char *const requests[] = {
        "GET /x HTTP/1.0\r\n\r\n",
        "POST /echo HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
        "GET /big HTTP/1.0\r\n\r\n",
        "bad\r\n\r\n",
    };
    (void)state;

    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        for (unsigned long nth = 1; nth < 40; nth++) {
            struct fixture *f = calloc(1, sizeof(*f));
            size_t blocks = pgv_alloc_blocks_in_use();
            struct test_raw raw;

            uv_loop_init(&f->loop);
            open_raw(f, &raw);
            test_raw_send(&raw, requests[i]);
            pgv_alloc_fail_at(nth, false);
            for (unsigned t = 0; t < 5; t++)
                uv_run(&f->loop, UV_RUN_NOWAIT);
            pgv_alloc_fail_at(0, false);
            test_raw_until_eof(&raw, &f->loop);
            test_server_close(&f->server);
            test_raw_close(&raw);
            test_loop_done(&f->loop);
            assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
            free(f);
        }
    }
}

static void test_httpd_open__each_allocation_may_fail(void **state)
{
    unsigned long nth = 0;
    bool ok = false;
    (void)state;

    while (!ok) {
        struct fixture *f = calloc(1, sizeof(*f));
        size_t blocks = pgv_alloc_blocks_in_use();
        struct pgv_error err;

        uv_loop_init(&f->loop);
        pgv_alloc_fail_at(++nth, false);
        ok = httpd_open(&f->server.http, &f->loop, "*", 0, NULL, NULL, &err);
        pgv_alloc_fail_at(0, false);
        if (ok) {
            f->server.loop = &f->loop;
            f->server.http.data = &f->server;
            test_server_close(&f->server);
        } else {
            assert_int_equal(err.code, PGV_ENOMEM);
        }
        test_loop_done(&f->loop);
        assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
        free(f);
        assert_true(nth < 100);
    }
    assert_true(nth > HTTPD_SPARE_CONNS);
}

/* The reserve serves eight; the ninth hears at least why. */
static void test_httpd__past_the_reserve_clients_are_told(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw[HTTPD_SPARE_CONNS + 1];
    unsigned turn = 0;

    test_server_open(&f->server, &f->loop, NULL);
    for (unsigned i = 0; i <= HTTPD_SPARE_CONNS; i++) {
        test_raw_open(&raw[i], httpd_port(&f->server.http));
        test_raw_send(&raw[i], "GET /later HTTP/1.1\r\n\r\n");
        pgv_alloc_fail_at(1, true);
        for (turn = 0; turn < 1000 && f->server.n_later <= i; turn++)
            uv_run(&f->loop, UV_RUN_NOWAIT);
        pgv_alloc_fail_at(0, false);
    }
    assert_int_equal(f->server.n_later, HTTPD_SPARE_CONNS);
    test_raw_until_eof(&raw[HTTPD_SPARE_CONNS], &f->loop);
    assert_memory_equal(pgv_buf_cstr(&raw[HTTPD_SPARE_CONNS].got), "HTTP/1.1 503 ", 13);
    while (f->server.n_later)
        httpd_reply_status(f->server.later[--f->server.n_later], 200);
    for (unsigned i = 0; i <= HTTPD_SPARE_CONNS; i++)
        test_raw_close(&raw[i]);
}

static void test_httpd__when_all_are_at_work_the_new_one_is_closed(void **state)
{
    struct fixture *f = *state;
    struct test_raw busy, raw;

    f->server.http.limits.conns_max = 1;
    open_raw(f, &busy);
    test_raw_send(&busy, "GET /later HTTP/1.1\r\n\r\n");
    while (f->server.n_later == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    open_raw(f, &raw);
    test_raw_until_eof(&raw, &f->loop);
    assert_int_equal(raw.got.n, 0);
    httpd_reply_status(f->server.later[0], 200);
    test_raw_until(&busy, &f->loop, "200 OK");
    test_raw_close(&raw);
    test_raw_close(&busy);
}

static void test_httpd_relisten__what_fails_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct test_server other = { .loop = NULL };
    struct pgv_error err;
    struct test_raw raw;

    test_server_open(&f->server, &f->loop, NULL);
    test_server_open(&other, &f->loop, NULL);
    /* As configured, with a number: the kernel does not keep one it chose itself. */
    assert_true(httpd_relisten(&f->server.http, "127.0.0.1", httpd_port(&f->server.http), &err));
    assert_false(httpd_relisten(&f->server.http, "127.0.0.1", httpd_port(&other.http), &err));
    assert_int_equal(err.sys, EADDRINUSE);
    (void)ask(f, &raw, "GET /x HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(pgv_buf_cstr(&raw.got), "200 OK"));
    test_raw_close(&raw);
    test_server_close(&other);
}

static void test_httpd_stream__what_waits_is_sent_when_the_client_reads(void **state)
{
    static char piece[50000];
    struct fixture *f = *state;
    struct test_raw raw;
    unsigned n = 0;

    memset(piece, 'p', sizeof(piece));
    open_raw(f, &raw);
    test_raw_send(&raw, "GET /stream HTTP/1.1\r\nConnection: close\r\n\r\n");
    test_raw_until(&raw, &f->loop, "\r\n\r\n");
    assert_non_null(strstr(raw.got.p, "Connection: close\r\n"));
    while (f->server.stream->conn->out.n == 0) {
        assert_true(httpd_stream_write(f->server.stream, (struct pgv_str){ piece, sizeof(piece) }));
        n++;
        assert_true(n < 1000);
    }
    assert_int_equal(f->server.stream->conn->state, HTTPD_CONN_SENDING);
    assert_true(httpd_stream_write(f->server.stream, PGV_STR("small")));
    test_raw_until(&raw, &f->loop, "5\r\nsmall\r\n");
    while (f->server.stream->conn->state != HTTPD_CONN_STREAM)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    httpd_stream_end(f->server.stream);
    test_raw_until_eof(&raw, &f->loop);
    assert_true(raw.got.n > (size_t)n * sizeof(piece));
    assert_string_equal(raw.got.p + raw.got.n - 5, "0\r\n\r\n");
    test_raw_close(&raw);
}

static void test_httpd__memory_goes_back_when_a_crowd_has_left(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    f->server.http.limits.idle_ms = 20;
    open_raw(f, &raw);
    f->server.http.n_peak = 10000; /* as if there had been one */
    test_raw_until_eof(&raw, &f->loop);
    while (f->server.http.n_peak == 10000)
        uv_run(&f->loop, UV_RUN_ONCE);
    test_raw_close(&raw);
}

static void test_httpd__each_answer_is_logged_for_those_who_debug(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/pgvigil-test-XXXXXX", text[4096] = "";
    int fd = mkstemp(path), old = dup(STDERR_FILENO);
    struct pgv_value *section = NULL;
    struct pgv_arena arena;
    struct pgv_error err;
    struct test_raw raw;
    ssize_t n;

    assert_true(fd >= 0 && old >= 0);
    pgv_arena_init(&arena, 65536);
    assert_true(pgv_json_parse(&arena, PGV_STR("{\"level\": \"DEBUG\"}"), &section, &err));
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    assert_true(pgv_log_configure(section, &err));
    (void)ask(f, &raw, "GET /x?y HTTP/1.0\r\n\r\n");
    test_raw_close(&raw);
    (void)ask(f, &raw, "BREW /x HTTP/1.0\r\n\r\n");
    (void)dup2(old, STDERR_FILENO);
    assert_true(pgv_log_configure(NULL, &err));
    n = pread(fd, text, sizeof(text) - 1, 0);
    (void)unlink(path);
    (void)close(fd);
    (void)close(old);
    pgv_arena_done(&arena);
    test_raw_close(&raw);
    assert_true(n > 0);
    assert_non_null(
        strstr(text, "API thread: 127.0.0.1 - - \"GET /x?y HTTP/1.0\" 200 - latency: "));
    assert_non_null(strstr(text, "API thread: 127.0.0.1 - - \"BREW /x HTTP/1.0\" 501 - latency: "));
    assert_non_null(strstr(text, " ms\n"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_httpd_reply__headers_in_order),
        TEST(test_httpd_reply__status_only_for_head_and_options),
        TEST(test_httpd_reply__http10_closes_unless_asked_to_stay),
        TEST(test_httpd__pipelined_requests_are_answered_in_order),
        TEST(test_httpd__a_flood_of_pipelined_requests_is_answered),
        TEST(test_httpd__bodies_sized_chunked_and_awaited),
        TEST(test_httpd__refusals_are_pages_and_close),
        TEST(test_httpd_reply_error__escapes_and_closes),
        TEST(test_httpd__tls_bytes_are_left_without_an_answer),
        TEST(test_httpd__a_half_closed_client_gets_its_answer),
        TEST(test_httpd__a_reset_aborts_the_request),
        TEST(test_httpd__an_answer_after_the_reset_is_harmless),
        TEST(test_httpd__large_answers_to_slow_readers),
        TEST(test_httpd__time_limits),
        TEST(test_httpd__dripping_bytes_buys_no_time),
        TEST(test_httpd__a_client_that_does_not_read_is_cut),
        TEST(test_httpd__past_the_limit_the_longest_idle_is_closed),
        TEST(test_httpd__a_thousand_silent_clients_delay_nobody),
        TEST(test_httpd__without_descriptors_it_sheds_load),
        TEST(test_httpd_stream__pieces_are_chunks),
        TEST(test_httpd_stream__a_slow_reader_is_cut),
        TEST(test_httpd_stream__the_readers_end_is_told),
        TEST(test_httpd__sockets_have_their_options),
        TEST(test_httpd__an_idle_connection_is_small),
        TEST(test_httpd_relisten__connections_stay),
        TEST(test_httpd_open__reports_what_is_in_the_way),
        TEST(test_httpd__past_the_reserve_clients_are_told),
        TEST(test_httpd__when_all_are_at_work_the_new_one_is_closed),
        TEST(test_httpd_relisten__what_fails_changes_nothing),
        TEST(test_httpd_stream__what_waits_is_sent_when_the_client_reads),
        TEST(test_httpd__memory_goes_back_when_a_crowd_has_left),
        TEST(test_httpd__each_answer_is_logged_for_those_who_debug),
        TEST(test_httpd_close__from_within_a_handler),
        cmocka_unit_test(test_httpd_close__at_any_moment),
        TEST(test_httpd__probes_are_answered_without_memory),
        cmocka_unit_test(test_httpd__each_allocation_may_fail),
        cmocka_unit_test(test_httpd_open__each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
