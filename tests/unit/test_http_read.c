/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_http_read.c - bytes to requests: what is taken, what is refused, and that it
 * makes no difference how the bytes are cut.
 */
#include "http_support.h"

#include "http/httpd_read.h"

#include "base/banned.h"

struct outcome {
    enum httpd_read end;
    unsigned n_requests, n_continues;
    int status;
    char paths[256], bodies[256];
};

/* Feed @bytes in pieces of @step; stop at the first refusal. */
static struct outcome feed(struct pgv_str bytes, size_t step, const struct httpd_limits *l)
{
    struct httpd_reader rd;
    struct httpd_req r = { 0 };
    struct outcome o = { .end = HTTPD_READ_MORE };
    struct pgv_buf paths, bodies;

    pgv_buf_init(&paths, sizeof(o.paths) - 1);
    pgv_buf_init(&bodies, sizeof(o.bodies) - 1);
    httpd_reader_init(&rd, l);
    for (size_t at = 0; at < bytes.n;) {
        size_t n = bytes.n - at < step ? bytes.n - at : step;
        (void)pgv_buf_append(&rd.in, bytes.p + at, n);
        at += n;
        while ((o.end = httpd_reader_run(&rd, &r)) == HTTPD_READ_REQUEST ||
               o.end == HTTPD_READ_CONTINUE) {
            if (o.end == HTTPD_READ_CONTINUE) {
                o.n_continues++;
                continue;
            }
            o.n_requests++;
            (void)pgv_buf_printf(&paths, "%.*s|", (int)r.path.n, r.path.p);
            (void)pgv_buf_printf(&bodies, "%.*s|", (int)r.body.n, r.body.n ? r.body.p : "");
            httpd_reader_next(&rd);
        }
        if (o.end == HTTPD_READ_REFUSE || o.end == HTTPD_READ_NOT_HTTP)
            break;
    }
    o.status = rd.status;
    if (o.end == HTTPD_READ_REFUSE)
        assert_non_null(rd.why);
    pgv_copy_cut(o.paths, sizeof(o.paths), pgv_buf_view(&paths));
    pgv_copy_cut(o.bodies, sizeof(o.bodies), pgv_buf_view(&bodies));
    pgv_buf_done(&paths);
    pgv_buf_done(&bodies);
    httpd_reader_done(&rd);
    return o;
}

static const struct httpd_limits limits = { .head_bytes_max = 4096, .body_bytes_max = 1000 };

static void same_for_all_cuts(const char *name, struct pgv_str bytes, int status,
                              unsigned n_requests, const char *paths, const char *bodies)
{
    static const size_t steps[] = { 1, 2, 3, 7, 64, 100000 };

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct outcome o = feed(bytes, steps[i], &limits);
        if (o.status != status || o.n_requests != n_requests ||
            (paths && strcmp(o.paths, paths) != 0) || (bodies && strcmp(o.bodies, bodies) != 0))
            fail_msg("%s, cut by %zu: status %d, %u requests, paths '%s', bodies '%s'", name,
                     steps[i], o.status, o.n_requests, o.paths, o.bodies);
    }
}

#define H "\r\nHost: h\r\n"

static void test_httpd_reader__takes_what_is_sound(void **state)
{
    static const struct {
        const char *name, *bytes;
        unsigned n;
        const char *paths, *bodies;
    } table[] = {
        { "plain", "GET /a HTTP/1.1" H "\r\n", 1, "/a|", "|" },
        { "1.0", "OPTIONS / HTTP/1.0\r\n\r\n", 1, "/|", "|" },
        { "blank lines first", "\r\n\r\nGET /a HTTP/1.1" H "\r\n", 1, "/a|", "|" },
        { "pipelined", "GET /a HTTP/1.1" H "\r\nGET /b HTTP/1.1" H "\r\n", 2, "/a|/b|", "||" },
        { "sized body", "POST /a HTTP/1.1" H "Content-Length: 3\r\n\r\nxyz", 1, "/a|", "xyz|" },
        { "sized body, then another",
          "POST /a HTTP/1.1" H "Content-Length: 3\r\n\r\nxyzGET /b HTTP/1.1" H "\r\n", 2, "/a|/b|",
          "xyz||" },
        { "chunked",
          "POST /a HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
          1, "/a|", "abcde|" },
        { "chunked with extension and trailer, then another",
          "POST /a HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n"
          "3;x=y\r\nabc\r\n0\r\nTrail: er\r\n\r\nGET /b HTTP/1.1" H "\r\n",
          2, "/a|/b|", "abc||" },
        { "trailers mean nothing",
          "POST /a HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n"
          "1\r\na\r\n0\r\nExpect: wonders\r\nAuthorization: Basic x\r\n\r\n",
          1, "/a|", "a|" },
        { "empty body", "POST /a HTTP/1.1" H "Content-Length: 0\r\n\r\n", 1, "/a|", "|" },
        { "absolute form", "GET http://h:1/a?q HTTP/1.1" H "\r\n", 1, "/a|", "|" },
        { "absolute form without a path", "GET http://h:1 HTTP/1.1" H "\r\n", 1, "/|", "|" },
        { "absolute form with a query alone", "GET http://h?a=b HTTP/1.1" H "\r\n", 1, "/|", "|" },
        { "a fragment", "GET /a#b?c HTTP/1.1" H "\r\n", 1, "/a|", "|" },
        { "slashes in front", "GET ////a//b HTTP/1.1" H "\r\n", 1, "/a//b|", "|" },
        { "parameters of the last segment", "GET /a;b/c;d;e?f;g HTTP/1.1" H "\r\n", 1, "/a;b/c|",
          "|" },
        { "upgrade is not for us",
          "GET /a HTTP/1.1" H "Connection: upgrade\r\nUpgrade: h2c\r\n\r\n", 1, "/a|", "|" },
        { "unusual but known method", "PROPFIND /a HTTP/1.1" H "\r\n", 1, "/a|", "|" },
        { "bytes beyond ASCII in a header", "GET /a HTTP/1.1" H "X: \xc3\xbc\r\n\r\n", 1, "/a|",
          "|" },
        { "every target of OPTIONS", "OPTIONS * HTTP/1.1" H "\r\n", 1, "*|", "|" },
        { "odd but allowed characters", "GET /a[1]|{}\"<>\\^` HTTP/1.1" H "\r\n", 1,
          "/a[1]|{}\"<>\\^`|", "|" },
        { "no blank after the colon", "GET /a HTTP/1.1\r\nHost:h\r\n\r\n", 1, "/a|", "|" },
        { "empty value", "GET /a HTTP/1.1" H "X:\r\n\r\n", 1, "/a|", "|" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        same_for_all_cuts(table[i].name, pgv_str(table[i].bytes), 0, table[i].n, table[i].paths,
                          table[i].bodies);
}

/* What one of two servers in a row could read as another request than the other one does. */
static void test_httpd_reader__refuses_smuggling(void **state)
{
    static const struct {
        const char *name, *bytes;
        int status;
    } table[] = {
        { "both lengths",
          "POST / HTTP/1.1" H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
        { "both lengths, other order",
          "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400 },
        { "two lengths", "POST / HTTP/1.1" H "Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
          400 },
        { "the same length twice",
          "POST / HTTP/1.1" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400 },
        { "a list of lengths", "POST / HTTP/1.1" H "Content-Length: 3, 3\r\n\r\n", 400 },
        { "a signed length", "POST / HTTP/1.1" H "Content-Length: +3\r\n\r\n", 400 },
        { "a negative length", "POST / HTTP/1.1" H "Content-Length: -3\r\n\r\n", 400 },
        { "a hexadecimal length", "POST / HTTP/1.1" H "Content-Length: 0x3\r\n\r\n", 400 },
        { "a length with a gap", "POST / HTTP/1.1" H "Content-Length: 3 4\r\n\r\n", 400 },
        { "a length beyond 64 bits",
          "POST / HTTP/1.1" H "Content-Length: 99999999999999999999999\r\n\r\n", 400 },
        { "a blank before the colon", "POST / HTTP/1.1" H "Content-Length : 3\r\n\r\n", 400 },
        { "a tab before the colon", "POST / HTTP/1.1" H "Content-Length\t: 3\r\n\r\n", 400 },
        { "a folded header", "GET / HTTP/1.1" H "X: a\r\n b\r\n\r\n", 400 },
        { "a folded first header", "GET / HTTP/1.1\r\n X: a\r\n\r\n", 400 },
        { "a bare LF after the request line", "GET / HTTP/1.1\nHost: h\r\n\r\n", 400 },
        { "a bare LF after a header", "GET / HTTP/1.1\r\nHost: h\n\r\n", 400 },
        { "a bare LF at the end", "GET / HTTP/1.1\r\nHost: h\r\n\n", 400 },
        { "a bare CR in a header", "GET / HTTP/1.1" H "X: a\rY: b\r\n\r\n", 400 },
        { "a header without colon", "GET / HTTP/1.1" H "nothing\r\n\r\n", 400 },
        { "a header without name", "GET / HTTP/1.1" H ": x\r\n\r\n", 400 },
        { "an encoding that is not chunked", "POST / HTTP/1.1" H "Transfer-Encoding: gzip\r\n\r\n",
          400 },
        { "chunked twice", "POST / HTTP/1.1" H "Transfer-Encoding: chunked, chunked\r\n\r\n", 400 },
        { "chunked not last", "POST / HTTP/1.1" H "Transfer-Encoding: chunked, identity\r\n\r\n",
          400 },
        { "almost chunked", "POST / HTTP/1.1" H "Transfer-Encoding: xchunked\r\n\r\n", 400 },
        { "chunked in quotes", "POST / HTTP/1.1" H "Transfer-Encoding: \"chunked\"\r\n\r\n", 400 },
        { "chunked behind a control character",
          "POST / HTTP/1.1" H "Transfer-Encoding:\vchunked\r\n\r\n", 400 },
        { "two encodings",
          "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n",
          400 },
        { "chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
        { "a chunk size that is none",
          "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400 },
        { "a chunk size with 0x",
          "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", 400 },
        { "a signed chunk size",
          "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n", 400 },
        { "no chunk size",
          "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n\r\na\r\n0\r\n\r\n", 400 },
        { "a chunk size beyond 64 bits",
          "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n11111111111111111\r\n", 400 },
        { "a chunk longer than it says",
          "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400 },
        { "a chunk header ended by LF",
          "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", 400 },
        { "a chunk ended by LF",
          "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n", 400 },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        same_for_all_cuts(table[i].name, pgv_str(table[i].bytes), table[i].status, 0, NULL, NULL);
    same_for_all_cuts("a zero byte in a header",
                      PGV_STR("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n"), 400, 0, NULL, NULL);
}

static void test_httpd_reader__refuses_with_the_right_status(void **state)
{
    static const struct {
        const char *name, *bytes;
        int status;
    } table[] = {
        { "unknown method", "FOO / HTTP/1.1" H "\r\n", 501 },
        { "no version", "GET /\r\n\r\n", 400 },
        { "0.9", "GET / HTTP/0.9\r\n\r\n", 400 },
        { "1.2", "GET / HTTP/1.2\r\n\r\n", 400 },
        { "2.0", "GET / HTTP/2.0\r\n\r\n", 505 },
        { "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
        { "another protocol", "GET / HTTQ/1.1\r\n\r\n", 400 },
        { "two blanks", "GET  / HTTP/1.1\r\n\r\n", 400 },
        { "a blank in the target", "GET /a b HTTP/1.1\r\n\r\n", 400 },
        { "bytes beyond ASCII in the target", "GET /?tag_x=\xc3\xbc HTTP/1.1\r\n\r\n", 400 },
        { "a target without slash", "GET x HTTP/1.1\r\n\r\n", 400 },
        { "no method", " / HTTP/1.1\r\n\r\n", 400 },
        { "a bracket", "(GET) / HTTP/1.1\r\n\r\n", 400 },
        { "too many blank lines", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400 },
        { "body too large", "POST / HTTP/1.1" H "Content-Length: 1001\r\n\r\n", 413 },
        { "chunks too large", "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n3e9\r\n", 0 },
        { "unknown expectation", "POST / HTTP/1.1" H "Expect: more\r\nContent-Length: 1\r\n\r\n",
          417 },
    };
    struct pgv_buf b;
    (void)state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        same_for_all_cuts(table[i].name, pgv_str(table[i].bytes), table[i].status, 0, NULL, NULL);

    pgv_buf_init(&b, 100000);
    (void)pgv_buf_puts(&b, "GET /");
    for (unsigned i = 0; i < 5000; i++)
        (void)pgv_buf_putc(&b, 'a');
    same_for_all_cuts("a long request line", pgv_buf_view(&b), 414, 0, NULL, NULL);

    pgv_buf_reset(&b);
    (void)pgv_buf_puts(&b, "GET / HTTP/1.1\r\nX: ");
    for (unsigned i = 0; i < 5000; i++)
        (void)pgv_buf_putc(&b, 'a');
    same_for_all_cuts("a long header", pgv_buf_view(&b), 431, 0, NULL, NULL);
    (void)pgv_buf_puts(&b, "\r\n\r\n");
    same_for_all_cuts("a long head at once", pgv_buf_view(&b), 431, 0, NULL, NULL);

    pgv_buf_reset(&b);
    (void)pgv_buf_puts(&b, "GET / HTTP/1.1\r\n");
    for (unsigned i = 0; i < HTTPD_HEADERS_MAX; i++)
        (void)pgv_buf_puts(&b, "X: y\r\n");
    (void)pgv_buf_puts(&b, "\r\n");
    same_for_all_cuts("as many headers as allowed", pgv_buf_view(&b), 0, 1, NULL, NULL);
    b.n -= 2;
    (void)pgv_buf_puts(&b, "X: y\r\n\r\n");
    same_for_all_cuts("one header more", pgv_buf_view(&b), 431, 0, NULL, NULL);

    pgv_buf_reset(&b);
    (void)pgv_buf_puts(&b, "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n3e9\r\n");
    for (unsigned i = 0; i < 1001; i++)
        (void)pgv_buf_putc(&b, 'a');
    same_for_all_cuts("a large chunk", pgv_buf_view(&b), 413, 0, NULL, NULL);

    pgv_buf_reset(&b);
    (void)pgv_buf_puts(&b, "POST / HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n1;x=");
    for (unsigned i = 0; i < 20000; i++)
        (void)pgv_buf_puts(&b, "yyyy");
    {
        /* Bytes that are never kept still end some day; at the latest after these. */
        struct outcome o = feed(pgv_buf_view(&b), 100, &limits);
        assert_int_equal(o.status, 413);
    }
    pgv_buf_done(&b);
}

static void test_httpd_reader__leaves_what_is_not_http_without_an_answer(void **state)
{
    static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    (void)state;

    assert_int_equal(feed((struct pgv_str){ hello, sizeof(hello) - 1 }, 100, &limits).end,
                     HTTPD_READ_NOT_HTTP);
    assert_int_equal(feed(PGV_STR("\xff\xfe"), 1, &limits).end, HTTPD_READ_NOT_HTTP);
    assert_int_equal(feed(PGV_STR("\0\0\0\x08\x04\xd2\x16\x2f"), 100, &limits).end,
                     HTTPD_READ_NOT_HTTP); /* PostgreSQL's SSLRequest */
}

static void test_httpd_reader__asks_for_the_body_when_the_client_waits(void **state)
{
    static const char head[] =
        "POST /a HTTP/1.1" H "Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
    struct outcome o;
    (void)state;

    o = feed(PGV_STR("POST /a HTTP/1.1" H "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nxyz"),
             sizeof(head) - 1, &limits);
    assert_int_equal(o.n_continues, 1);
    assert_string_equal(o.bodies, "xyz|");
    /* The body is here already: nobody waits. */
    o = feed(PGV_STR("POST /a HTTP/1.1" H "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nxyz"),
             1000, &limits);
    assert_int_equal(o.n_continues, 0);
    assert_string_equal(o.bodies, "xyz|");
    /* HTTP/1.0 does not know it; refused bodies are not asked for. */
    o = feed(PGV_STR("POST /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"), 1000,
             &limits);
    assert_int_equal(o.n_continues, 0);
    o = feed(PGV_STR("POST /a HTTP/1.1" H "Expect: 100-continue\r\nContent-Length: 3000\r\n\r\n"),
             1000, &limits);
    assert_int_equal(o.n_continues, 0);
    assert_int_equal(o.status, 413);
}

static void test_httpd_reader__knows_who_stays(void **state)
{
    static const struct {
        const char *bytes;
        bool keep, http10;
    } table[] = {
        { "GET / HTTP/1.1" H "\r\n", true, false },
        { "GET / HTTP/1.1" H "Connection: close\r\n\r\n", false, false },
        { "GET / HTTP/1.1" H "Connection: Keep-Alive, Close\r\n\r\n", false, false },
        { "GET / HTTP/1.0\r\n\r\n", false, true },
        { "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, true },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct httpd_reader rd;
        struct httpd_req r = { 0 };

        httpd_reader_init(&rd, &limits);
        assert_true(pgv_buf_puts(&rd.in, table[i].bytes));
        assert_int_equal(httpd_reader_run(&rd, &r), HTTPD_READ_REQUEST);
        assert_int_equal(rd.keep_alive, table[i].keep);
        assert_int_equal(rd.http10, table[i].http10);
        httpd_reader_done(&rd);
    }
}

static void test_httpd_reader__texts_stand_still_while_more_arrives(void **state)
{
    struct httpd_reader rd;
    struct httpd_req r = { 0 };
    (void)state;

    httpd_reader_init(&rd, &limits);
    assert_true(pgv_buf_puts(&rd.in, "POST /a?b=c HTTP/1.1" H "Authorization:  Basic eDp5 \r\n"
                                     "Content-Length: 2\r\n\r\nhi"
                                     "GET /next HTTP/1.1\r\n"));
    assert_int_equal(httpd_reader_run(&rd, &r), HTTPD_READ_REQUEST);
    for (unsigned i = 0; i < 300; i++)
        assert_true(pgv_buf_puts(&rd.in, "X: y\r\n"));
    assert_int_equal(r.method, HTTPD_POST);
    assert_true(pgv_str_eqz(r.method_text, "POST"));
    assert_true(pgv_str_eqz(r.path, "/a"));
    assert_true(pgv_str_eqz(r.query, "b=c"));
    assert_true(pgv_str_eqz(r.authorization, "Basic eDp5"));
    assert_true(pgv_str_eqz(r.body, "hi"));
    assert_true(r.has_length);
    assert_true(pgv_str_eqz(r.request_line, "POST /a?b=c HTTP/1.1"));
    httpd_reader_next(&rd);
    assert_int_equal(httpd_reader_run(&rd, &r), HTTPD_READ_REFUSE); /* 300 headers */
    httpd_reader_done(&rd);
}

static void test_httpd_reader__memory_that_fails_is_a_refusal(void **state)
{
    static const char bytes[] = "POST /a HTTP/1.1" H "Transfer-Encoding: chunked\r\n\r\n"
                                "3\r\nabc\r\n0\r\n\r\nGET /b HTTP/1.1" H "\r\n";
    unsigned long nth = 0;
    bool failed = true;
    (void)state;

    while (failed) {
        struct outcome o;
        struct httpd_reader rd;
        struct httpd_req r = { 0 };
        size_t blocks = pgv_alloc_blocks_in_use();

        nth++;
        memset(&o, 0, sizeof(o));
        httpd_reader_init(&rd, &limits);
        pgv_alloc_fail_at(nth, true);
        for (size_t i = 0; i < sizeof(bytes) - 1 && o.end != HTTPD_READ_REFUSE; i++) {
            (void)pgv_buf_append(&rd.in, bytes + i, 1);
            o.end = httpd_reader_run(&rd, &r);
            if (o.end == HTTPD_READ_REQUEST) {
                o.n_requests++;
                httpd_reader_next(&rd);
            }
        }
        pgv_alloc_fail_at(0, false);
        failed = o.end == HTTPD_READ_REFUSE;
        if (failed)
            assert_int_equal(rd.status, 503);
        else
            assert_int_equal(o.n_requests, 2);
        httpd_reader_done(&rd);
        assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
        assert_true(nth < 100);
    }
    assert_true(nth > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_httpd_reader__takes_what_is_sound),
        cmocka_unit_test(test_httpd_reader__refuses_smuggling),
        cmocka_unit_test(test_httpd_reader__refuses_with_the_right_status),
        cmocka_unit_test(test_httpd_reader__leaves_what_is_not_http_without_an_answer),
        cmocka_unit_test(test_httpd_reader__asks_for_the_body_when_the_client_waits),
        cmocka_unit_test(test_httpd_reader__knows_who_stays),
        cmocka_unit_test(test_httpd_reader__texts_stand_still_while_more_arrives),
        cmocka_unit_test(test_httpd_reader__memory_that_fails_is_a_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
