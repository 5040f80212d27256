/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_http_client.c - the client against our server, and against a listener whose
 * every byte is the test's: pool, deadlines, streams, cancelling, retries, limits.
 */
#include "http_support.h"

#include "base/clock.h"
#include "http/httpc_private.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

/* A listener that accepts and reads when told, and answers what it is told. */
struct script {
    int listen_fd, port, fd;
    struct pgv_buf got;
};

struct call {
    struct httpc_req req;
    char url[256], body[256];
    bool done;
    unsigned n_done, n_pieces;
    enum pgv_code code;
    char msg[PGV_ERROR_MSG_BYTES];
    size_t answer_bytes;
    struct pgv_buf pieces;
    bool cancel_in_piece, close_in_done;
    struct fixture *f;
};

struct fixture {
    uv_loop_t loop;
    struct test_server server;
    struct script script;
    struct httpc client;
    bool client_open, client_closed;
    struct call calls[40];
};

static void on_client_closed(struct httpc *c)
{
    struct fixture *f = c->data;
    f->client_closed = true;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    uv_loop_init(&f->loop);
    f->client.data = f;
    httpc_open(&f->client, &f->loop, NULL);
    f->client_open = true;
    f->script.fd = f->script.listen_fd = -1;
    for (unsigned i = 0; i < 40; i++)
        pgv_buf_init(&f->calls[i].pieces, 1u << 20);
    *state = f;
    return 0;
}

static void close_client(struct fixture *f)
{
    if (f->client_open && !f->client.closing)
        httpc_close(&f->client, on_client_closed);
    RUN_UNTIL_TRUE(&f->loop, f->client_closed);
    f->client_open = false;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->client_open)
        close_client(f);
    if (f->server.loop)
        test_server_close(&f->server);
    test_loop_done(&f->loop);
    for (unsigned i = 0; i < 40; i++)
        pgv_buf_done(&f->calls[i].pieces);
    if (f->script.fd >= 0)
        (void)close(f->script.fd);
    if (f->script.listen_fd >= 0)
        (void)close(f->script.listen_fd);
    pgv_buf_done(&f->script.got);
    free(f);
    return 0;
}

static void on_done(struct httpc_req *r, const struct pgv_error *err)
{
    struct call *c = r->data;

    c->done = true;
    c->n_done++;
    c->code = err ? err->code : PGV_OK;
    pgv_copy_cut(c->msg, sizeof(c->msg), pgv_str(err ? err->msg : ""));
    pgv_copy_cut(c->body, sizeof(c->body), pgv_buf_view(&r->answer));
    c->answer_bytes = r->answer.n;
    if (c->close_in_done)
        httpc_close(r->client, on_client_closed);
}

static void on_piece(struct httpc_req *r, struct pgv_str piece)
{
    struct call *c = r->data;

    assert_true(r->status > 0);
    c->n_pieces++;
    assert_true(pgv_buf_str(&c->pieces, piece));
    if (c->cancel_in_piece)
        httpc_cancel(r);
}

static bool start(struct fixture *f, struct call *c, int port, const char *path)
{
    struct pgv_error err;
    bool ok;

    c->done = false;
    c->f = f;
    c->req.data = c;
    if (!c->req.method)
        c->req.method = "GET";
    (void)snprintf(c->url, sizeof(c->url), "http://127.0.0.1:%d%s", port, path);
    c->req.url = c->url;
    ok = httpc_send(&f->client, &c->req, on_done, &err);
    assert_false(c->done);                   /* never inside the call */
    memset(c->url, '?', sizeof(c->url) - 1); /* it was copied */
    return ok;
}

static void send_to_server(struct fixture *f, struct call *c, const char *path)
{
    if (!f->server.loop)
        test_server_open(&f->server, &f->loop, NULL);
    assert_true(start(f, c, httpd_port(&f->server.http), path));
}

static void open_script(struct fixture *f)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);

    if (f->script.listen_fd >= 0)
        return;
    f->script.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(f->script.listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(f->script.listen_fd, 16), 0);
    assert_int_equal(getsockname(f->script.listen_fd, (struct sockaddr *)&a, &n), 0);
    f->script.port = ntohs(a.sin_port);
    pgv_buf_init(&f->script.got, 1u << 20);
}

static void send_to_script(struct fixture *f, struct call *c, const char *path)
{
    open_script(f);
    assert_true(start(f, c, f->script.port, path));
}

static bool script_has_request(void *data)
{
    struct fixture *f = data;
    static char bytes[4096];
    ssize_t n;

    if (f->script.fd < 0)
        f->script.fd = accept4(f->script.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (f->script.fd < 0)
        return false;
    while ((n = recv(f->script.fd, bytes, sizeof(bytes), 0)) > 0)
        assert_true(pgv_buf_append(&f->script.got, bytes, (size_t)n));
    return f->script.got.n && strstr(f->script.got.p, "\r\n\r\n");
}

static void script_answers(struct fixture *f, const char *answer)
{
    test_run_until(&f->loop, script_has_request, f, "a request");
    pgv_buf_reset(&f->script.got);
    assert_int_equal(send(f->script.fd, answer, strlen(answer), MSG_NOSIGNAL),
                     (ssize_t)strlen(answer));
}

static void script_hangs_up(struct fixture *f)
{
    (void)close(f->script.fd);
    f->script.fd = -1;
}

static void test_httpc_send__asks_and_collects(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    c->req.basic_auth = "user:pass word";
    c->req.headers = "X-Mine: yes\r\n";
    send_to_server(f, c, "/some/path?q=1");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
    assert_int_equal(c->req.status, 200);
    assert_string_equal(c->body, "/some/path");
    assert_string_equal(c->req.lsn_header, "42");
    assert_string_equal(f->server.last_query, "q=1");
    assert_string_equal(f->server.last_authorization, "Basic dXNlcjpwYXNzIHdvcmQ=");
    assert_true(c->req.sent);
    assert_int_equal(c->n_done, 1);
}

static void test_httpc_send__sends_what_http_needs(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];
    char host[64];

    c->req.method = "POST";
    c->req.body = PGV_STR("{}");
    c->req.content_type = "application/json";
    send_to_script(f, c, "/v3/kv/range");
    test_run_until(&f->loop, script_has_request, f, "a request");
    assert_memory_equal(f->script.got.p, "POST /v3/kv/range HTTP/1.1\r\n", 28);
    (void)snprintf(host, sizeof(host), "Host: 127.0.0.1:%d\r\n", f->script.port);
    assert_non_null(strstr(f->script.got.p, host));
    assert_non_null(strstr(f->script.got.p, "User-Agent: pgvigil/"));
    assert_non_null(strstr(f->script.got.p, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(f->script.got.p, "Content-Length: 2\r\n"));
    assert_non_null(strstr(f->script.got.p, "\r\n\r\n{}"));
    script_answers(f, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Raft-Term: 7\r\n"
                      "X-Etcd-Cluster-Id: abcdef\r\nX-Empty:\r\nX-Consul-Index:  99 \r\n"
                      "Location: http://else.where/\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;e=x\r\nd\r\n0\r\n"
                      "X-Trailer: t\r\n\r\n");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
    assert_int_equal(c->req.status, 200);
    assert_string_equal(c->body, "abcd");
    assert_string_equal(c->req.raft_term, "7");
    assert_string_equal(c->req.cluster_id, "abcdef");
    assert_string_equal(c->req.index_header, "99");
    assert_string_equal(c->req.location, "http://else.where/");
}

static void test_httpc_send__what_cannot_be_sent_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *url, *headers;
    } table[] = {
        { "ftp://h/", NULL },
        { "https://127.0.0.1:1/", NULL }, /* TLS is not configured */
        { "http://127.0.0.1:1/", "X: y" },
        { "http://127.0.0.1:1/", "X: y\r\n\r\n" },
        { "http://127.0.0.1:1/", "X: y\n" },
        { "http://127.0.0.1:1/", "X: y\r\n\r\nGET / HTTP/1.1\r\n" },
        { "http://127.0.0.1:1/", "X: y\rZ: z\r\n" },
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct httpc_req r = { .method = "GET", .url = table[i].url, .headers = table[i].headers };
        struct pgv_error err = { 0 };
        if (httpc_send(&f->client, &r, on_done, &err))
            fail_msg("sent: %s with '%s'", table[i].url, table[i].headers);
        assert_int_equal(err.code, PGV_EINVALID);
    }
}

static void test_httpc__connections_are_used_again(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    for (unsigned i = 0; i < 5; i++) {
        send_to_server(f, c, "/x");
        RUN_UNTIL_TRUE(&f->loop, c->done);
        assert_int_equal(c->code, PGV_OK);
    }
    assert_int_equal(f->server.http.n_conns, 1);
    assert_int_equal(f->client.n_conns, 1);
    /* One of its own, closed afterwards. */
    c->req.fresh_connection = true;
    send_to_server(f, c, "/x");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
    assert_int_equal(f->client.n_conns, 1);
    httpc_drop_idle(&f->client);
    assert_int_equal(f->client.n_conns, 0);
}

static void test_httpc__a_pooled_connection_that_died_is_not_used(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    c->req.method = "POST"; /* which is never sent twice */
    send_to_script(f, c, "/a");
    script_answers(f, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(f->client.n_conns, 1);
    script_hangs_up(f); /* the client's loop has not seen it yet */
    send_to_script(f, c, "/b");
    script_answers(f, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
    assert_string_equal(c->body, "2");
}

static void pool_one(struct fixture *f, struct call *c)
{
    send_to_script(f, c, "/first");
    script_answers(f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
    assert_int_equal(f->client.n_conns, 1);
}

static void test_httpc__get_is_sent_once_more_when_the_pooled_connection_dies(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    pool_one(f, c);
    send_to_script(f, c, "/second");
    test_run_until(&f->loop, script_has_request, f, "the request");
    pgv_buf_reset(&f->script.got);
    script_hangs_up(f); /* without an answer: a timeout of the server met our request */
    script_answers(f, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
    assert_string_equal(c->body, "ok");
    assert_int_equal(c->n_done, 2);
}

static void test_httpc__post_is_never_sent_twice(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    c->req.method = "POST";
    pool_one(f, c);
    send_to_script(f, c, "/second");
    test_run_until(&f->loop, script_has_request, f, "the request");
    script_hangs_up(f);
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_EUNREACHABLE);
    assert_true(c->req.sent); /* it may have happened */
}

static void test_httpc__get_is_not_sent_a_third_time(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    pool_one(f, c);
    send_to_script(f, c, "/second");
    for (unsigned i = 0; i < 2; i++) {
        test_run_until(&f->loop, script_has_request, f, "the request");
        pgv_buf_reset(&f->script.got);
        script_hangs_up(f);
    }
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_EUNREACHABLE);
}

static void test_httpc__answers_that_are_none(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *what, *answer;
        bool hang_up;
        enum pgv_code code;
    } table[] = {
        { "no HTTP", "SSH-2.0-OpenSSH\r\n", false, PGV_EINVALID },
        { "a short status", "HTTP/1.1 20\r\nContent-Length: 0\r\n\r\n", false, PGV_EINVALID },
        { "both lengths",
          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", false,
          PGV_EINVALID },
        { "an upgrade",
          "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", false,
          PGV_EINVALID },
        { "a length too large", "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", false,
          PGV_EINVALID },
        { "a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", false,
          PGV_EINVALID },
        { "nothing", "", true, PGV_EUNREACHABLE },
        { "half a head", "HTTP/1.1 200 OK\r\nContent-", true, PGV_EUNREACHABLE },
        { "half a body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", true,
          PGV_EUNREACHABLE },
        { "half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", true,
          PGV_EUNREACHABLE },
        { "no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", true,
          PGV_EUNREACHABLE },
        { "only 100", "HTTP/1.1 100 Continue\r\n\r\n", true, PGV_EUNREACHABLE },
        { "until the end", "HTTP/1.1 200 OK\r\n\r\nabc", true, PGV_OK },
        { "1.0 until the end", "HTTP/1.0 503 No\r\n\r\nabc", true, PGV_OK },
        { "no content", "HTTP/1.1 204 No Content\r\n\r\n", false, PGV_OK },
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct call *c = &f->calls[i];

        c->req.fresh_connection = true;
        send_to_script(f, c, "/");
        script_answers(f, table[i].answer);
        if (table[i].hang_up)
            script_hangs_up(f);
        RUN_UNTIL_TRUE(&f->loop, c->done);
        if (c->code != table[i].code)
            fail_msg("%s: %s (%s)", table[i].what, pgv_code_name(c->code), c->msg);
        if (f->script.fd >= 0)
            script_hangs_up(f);
    }
}

static void test_httpc__an_answer_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];
    static char piece[65536];
    size_t sent = 0;

    send_to_script(f, c, "/");
    script_answers(f, "HTTP/1.1 200 OK\r\n\r\n");
    while (!c->done && sent < 2u * HTTPC_BODY_BYTES_MAX) {
        ssize_t n = send(f->script.fd, piece, sizeof(piece), MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_true(c->done);
    assert_int_equal(c->code, PGV_EINVALID);
    assert_non_null(strstr(c->msg, "too large"));

    /* Heads too. */
    script_hangs_up(f);
    c = &f->calls[1];
    send_to_script(f, c, "/");
    script_answers(f, "HTTP/1.1 200 OK\r\n");
    for (unsigned i = 0; i < 100000 && !c->done; i++) {
        (void)!send(f->script.fd, "X: yyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 32, MSG_NOSIGNAL);
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(c->code, PGV_EINVALID);
    assert_non_null(strstr(c->msg, "too long"));
}

static void test_httpc__deadlines(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];
    uint64_t begun = pgv_clock_ms();

    /* No answer. */
    c->req.deadline_ms = begun + 50;
    send_to_script(f, c, "/");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_EUNREACHABLE);
    assert_true(pgv_clock_ms() - begun >= 50);
    assert_true(c->req.sent);
    assert_non_null(strstr(c->msg, "waiting for the answer"));
    assert_int_equal(f->client.n_conns, 0);

    /* An answer that goes on and on. */
    c->req.deadline_ms = pgv_clock_ms() + 100;
    send_to_script(f, c, "/");
    if (f->script.fd >= 0)
        script_hangs_up(f);
    script_answers(f, "HTTP/1.1 200 OK\r\n\r\n");
    while (!c->done) {
        (void)!send(f->script.fd, "x", 1, MSG_NOSIGNAL);
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(c->code, PGV_EUNREACHABLE);

    /* Over before it began: nothing is sent at all. */
    c->req.deadline_ms = pgv_clock_ms();
    send_to_script(f, c, "/");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_EUNREACHABLE);
    assert_false(c->req.sent);
}

static void test_httpc__refused_and_unreachable(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];
    int port;

    open_script(f);
    port = f->script.port;
    (void)close(f->script.listen_fd);
    f->script.listen_fd = -1;
    assert_true(start(f, c, port, "/"));
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_EUNREACHABLE);
    assert_false(c->req.sent);
    assert_non_null(strstr(c->msg, "refused"));
}

/* A listener whose backlog is full drops what knocks: connecting takes for ever. */
static void test_httpc__connecting_has_its_own_limit(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    uint64_t begun = pgv_clock_ms();
    int fds[8];

    open_script(f);
    assert_int_equal(listen(f->script.listen_fd, 0), 0);
    a.sin_port = htons((uint16_t)f->script.port);
    for (unsigned i = 0; i < 8; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(fds[i], (struct sockaddr *)&a, sizeof(a));
    }
    c->req.connect_timeout_ms = 60;
    c->req.deadline_ms = begun + 60000;
    assert_true(start(f, c, f->script.port, "/"));
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_EUNREACHABLE);
    assert_false(c->req.sent);
    assert_true(pgv_clock_ms() - begun >= 60);
    assert_non_null(strstr(c->msg, "timed out"));
    for (unsigned i = 0; i < 8; i++)
        (void)close(fds[i]);
}

static void test_httpc__one_address_after_the_other(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];
    struct httpc_conn *k;

    /* What a name with three addresses gives, put in place of what a literal gives: two of
     * them refuse, or cannot even be tried. */
    send_to_server(f, c, "/third");
    k = f->client.conns;
    assert_int_equal(k->state, HTTPC_CONN_CONNECTING);
    k->names.addrs[2] = k->names.addrs[0];
    k->names.n = 3;
    assert_true(sock_literal("127.0.0.1", 1, &k->names.addrs[0]));
    assert_true(sock_literal("255.255.255.255", 1, &k->names.addrs[1]));
    /* The first attempt went to the right address; pretend that its time is up. */
    httpc_conn_stage_over(k);
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
    assert_string_equal(c->body, "/third");
}

static void test_httpc__streams(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    c->req.on_piece = on_piece;
    send_to_server(f, c, "/stream");
    while (!f->server.stream)
        uv_run(&f->loop, UV_RUN_ONCE);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(httpd_stream_write(f->server.stream, PGV_STR("piece.")));
        while (c->n_pieces == i)
            uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_false(c->done);
    httpd_stream_end(f->server.stream);
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
    assert_string_equal(pgv_buf_cstr(&c->pieces), "piece.piece.piece.");
    assert_int_equal(c->answer_bytes, 0);
}

static void test_httpc__a_stream_that_breaks_says_so(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    c->req.on_piece = on_piece;
    send_to_script(f, c, "/");
    script_answers(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
    while (c->n_pieces == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    script_hangs_up(f);
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_EUNREACHABLE);
    assert_string_equal(pgv_buf_cstr(&c->pieces), "ab");
}

static void test_httpc_cancel__at_any_moment(void **state)
{
    struct fixture *f = *state;

    for (unsigned turns = 0; turns < 8; turns++) {
        struct call *c = &f->calls[turns];

        send_to_server(f, c, turns % 2 ? "/x" : "/later");
        for (unsigned i = 0; i < turns && !c->done; i++)
            uv_run(&f->loop, UV_RUN_NOWAIT);
        if (c->done)
            continue;
        httpc_cancel(&c->req);
        httpc_cancel(&c->req); /* twice is once */
        assert_false(c->done);
        RUN_UNTIL_TRUE(&f->loop, c->done);
        assert_int_equal(c->code, PGV_ECANCELED);
        assert_int_equal(c->n_done, 1);
    }
}

static void test_httpc_cancel__from_within_a_piece(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    c->req.on_piece = on_piece;
    c->cancel_in_piece = true;
    send_to_script(f, c, "/");
    script_answers(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                      "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_ECANCELED);
    assert_int_equal(c->n_pieces, 1);
}

static void test_httpc__those_that_wait_keep_their_deadline(void **state)
{
    struct fixture *f = *state;
    unsigned n = HTTPC_CONNS_MAX + 2;
    struct call *late = &f->calls[n - 2], *next = &f->calls[n - 1];

    for (unsigned i = 0; i < HTTPC_CONNS_MAX; i++)
        send_to_server(f, &f->calls[i], "/later");
    late->req.deadline_ms = pgv_clock_ms() + 50;
    send_to_server(f, late, "/x");
    send_to_server(f, next, "/x");
    assert_int_equal(f->client.n_conns, HTTPC_CONNS_MAX);
    RUN_UNTIL_TRUE(&f->loop, late->done);
    assert_int_equal(late->code, PGV_EUNREACHABLE);
    assert_false(late->req.sent);
    assert_false(next->done);
    while (f->server.n_later < HTTPC_CONNS_MAX)
        uv_run(&f->loop, UV_RUN_ONCE);
    httpd_reply(f->server.later[--f->server.n_later], 200, NULL, NULL, PGV_STR("done"));
    RUN_UNTIL_TRUE(&f->loop, next->done);
    assert_int_equal(next->code, PGV_OK);
    while (f->server.n_later)
        httpd_reply(f->server.later[--f->server.n_later], 200, NULL, NULL, PGV_STR("done"));
    for (unsigned i = 0; i < HTTPC_CONNS_MAX; i++) {
        RUN_UNTIL_TRUE(&f->loop, f->calls[i].done);
        assert_int_equal(f->calls[i].code, PGV_OK);
    }
}

/* Idle connections to one place make room for another place. */
static void test_httpc__an_idle_connection_gives_way(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < HTTPC_CONNS_MAX; i++)
        send_to_server(f, &f->calls[i], "/x");
    for (unsigned i = 0; i < HTTPC_CONNS_MAX; i++)
        RUN_UNTIL_TRUE(&f->loop, f->calls[i].done);
    assert_int_equal(f->client.n_conns, HTTPC_CONNS_MAX);
    send_to_script(f, &f->calls[20], "/");
    script_answers(f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    RUN_UNTIL_TRUE(&f->loop, f->calls[20].done);
    assert_int_equal(f->calls[20].code, PGV_OK);
    assert_int_equal(f->client.n_conns, HTTPC_CONNS_MAX);
}

static void test_httpc__sockets_have_their_options(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];
    int v = 0;
    socklen_t n = sizeof(v);

    f->client.tcp = (struct httpc_tcp_options){
        .user_timeout_ms = 30000, .keepidle_s = 20, .keepintvl_s = 3, .keepcnt = 1000
    };
    send_to_server(f, c, "/x");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(getsockopt(f->client.conns->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &v, &n), 0);
    assert_int_equal(v, 30000);
    assert_int_equal(getsockopt(f->client.conns->fd, IPPROTO_TCP, TCP_KEEPIDLE, &v, &n), 0);
    assert_int_equal(v, 20);
    assert_int_equal(getsockopt(f->client.conns->fd, IPPROTO_TCP, TCP_KEEPCNT, &v, &n), 0);
    assert_int_equal(v, 127); /* the kernel's maximum */
    assert_int_equal(getsockopt(f->client.conns->fd, SOL_SOCKET, SO_KEEPALIVE, &v, &n), 0);
    assert_int_equal(v, 1);
}

static void test_httpc__an_early_refusal_of_a_large_body_is_heard(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];
    static char body[4 << 20];

    memset(body, 'x', sizeof(body));
    c->req.method = "POST";
    c->req.body = (struct pgv_str){ body, sizeof(body) };
    send_to_server(f, c, "/echo");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
    assert_int_equal(c->req.status, 413);
}

static void test_httpc__a_large_answer(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    send_to_server(f, c, "/big");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
    assert_int_equal(c->answer_bytes, 4u << 20);
}

static void test_httpc__head_has_no_body(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    c->req.method = "HEAD";
    send_to_script(f, c, "/");
    script_answers(f, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
}

static void test_httpc_close__cancels_what_is_in_flight(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < HTTPC_CONNS_MAX + 3; i++)
        send_to_server(f, &f->calls[i], "/later");
    while (f->server.n_later < HTTPC_CONNS_MAX)
        uv_run(&f->loop, UV_RUN_ONCE);
    close_client(f);
    for (unsigned i = 0; i < HTTPC_CONNS_MAX + 3; i++) {
        assert_int_equal(f->calls[i].n_done, 1);
        assert_int_equal(f->calls[i].code, PGV_ECANCELED);
    }
}

static void test_httpc_close__from_within_a_callback(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    send_to_server(f, &f->calls[1], "/later");
    c->close_in_done = true;
    send_to_server(f, c, "/x");
    RUN_UNTIL_TRUE(&f->loop, f->client_closed);
    assert_int_equal(c->code, PGV_OK);
    assert_int_equal(f->calls[1].code, PGV_ECANCELED);
}

static void test_httpc_close__at_any_moment(void **state)
{
    static const char *const paths[] = { "/x", "/later", "/big", "/stream" };
    (void)state;

    for (unsigned turns = 0; turns < 10; turns++) {
        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
            size_t blocks = pgv_alloc_blocks_in_use();
            void *inner = NULL;
            struct fixture *f;

            (void)setup(&inner);
            f = inner;
            send_to_server(f, &f->calls[0], paths[i]);
            send_to_server(f, &f->calls[1], paths[i]);
            for (unsigned t = 0; t < turns; t++)
                uv_run(&f->loop, UV_RUN_NOWAIT);
            close_client(f);
            assert_int_equal(f->calls[0].n_done, 1);
            assert_int_equal(f->calls[1].n_done, 1);
            (void)teardown(&inner);
            assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
        }
    }
}

/* The client's allocations fail one by one: an error or an answer, once, and nothing is lost. */
static void test_httpc__each_allocation_may_fail(void **state)
{
    unsigned n_failed = 0;
    (void)state;

    for (unsigned long nth = 1; nth < 40; nth++) {
        size_t blocks = pgv_alloc_blocks_in_use();
        struct pgv_error err;
        void *inner = NULL;
        struct fixture *f;
        struct call *c;
        bool sent;

        (void)setup(&inner);
        f = inner;
        c = &f->calls[0];
        open_script(f);
        c->req.data = c;
        c->req.method = "POST";
        c->req.body = PGV_STR("hello");
        (void)snprintf(c->url, sizeof(c->url), "http://127.0.0.1:%d/", f->script.port);
        c->req.url = c->url;
        /* Only this side allocates with our allocator: the script is bare sockets. */
        pgv_alloc_fail_at(nth, true);
        sent = httpc_send(&f->client, &c->req, on_done, &err);
        pgv_alloc_fail_at(0, false);
        if (sent) {
            while (!c->done && !script_has_request(f))
                uv_run(&f->loop, UV_RUN_NOWAIT);
            if (!c->done) {
                static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                assert_int_equal(send(f->script.fd, answer, sizeof(answer) - 1, 0),
                                 (ssize_t)sizeof(answer) - 1);
                pgv_alloc_fail_at(nth, true);
                for (unsigned i = 0; i < 10; i++)
                    uv_run(&f->loop, UV_RUN_NOWAIT);
                pgv_alloc_fail_at(0, false);
            }
            RUN_UNTIL_TRUE(&f->loop, c->done);
            if (c->code != PGV_OK) {
                assert_int_equal(c->code, PGV_ENOMEM);
                n_failed++;
            }
        } else {
            assert_int_equal(err.code, PGV_ENOMEM);
            n_failed++;
        }
        (void)teardown(&inner);
        assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
    }
    assert_true(n_failed >= 3);
}

static void test_httpc__idle_connections_do_not_stay_for_ever(void **state)
{
    struct fixture *f = *state;

    pool_one(f, &f->calls[0]);
    pool_one(f, &f->calls[1]);
    assert_true(uv_is_active((uv_handle_t *)&f->client.idle));
    f->client.conns->idle_ms -= HTTPC_IDLE_MS; /* as if the time had passed */
    uv_timer_start(&f->client.idle, f->client.idle.timer_cb, 0, 0);
    while (f->client.n_conns > 0)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_false(uv_is_active((uv_handle_t *)&f->client.idle));
}

static void test_httpc__a_header_that_does_not_fit_is_none(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    send_to_script(f, c, "/");
    script_answers(f, "HTTP/1.1 200 OK\r\nlsn: 0123456789012345678901234567890\r\n"
                      "X-Raft-Term: 8\r\nContent-Length: 0\r\n\r\n");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
    assert_string_equal(c->req.lsn_header, "");
    assert_string_equal(c->req.raft_term, "8");
}

static void test_httpc__a_reset_is_no_answer(void **state)
{
    struct linger l = { .l_onoff = 1 };
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    send_to_script(f, c, "/");
    test_run_until(&f->loop, script_has_request, f, "the request");
    assert_int_equal(setsockopt(f->script.fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
    script_hangs_up(f);
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_EUNREACHABLE);
    assert_true(c->req.sent);
}

static void test_httpc__an_idle_connection_that_speaks_is_closed(void **state)
{
    struct fixture *f = *state;

    pool_one(f, &f->calls[0]);
    assert_int_equal(send(f->script.fd, "HTTP/1.1 408 Late\r\n\r\n", 21, MSG_NOSIGNAL), 21);
    while (f->client.n_conns > 0)
        uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void test_httpc__answer_and_more_is_answered_but_not_kept(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];

    send_to_script(f, c, "/");
    script_answers(f, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n");
    RUN_UNTIL_TRUE(&f->loop, c->done);
    assert_int_equal(c->code, PGV_OK);
    assert_string_equal(c->body, "ok");
    assert_int_equal(f->client.n_conns, 0);
}

static void on_names_closed(void *data)
{
    *(bool *)data = true;
}

/* A name server that is there and says nothing: every way out of looking up a name. */
static void test_httpc__names_that_are_not_resolved(void **state)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    struct fixture *f = *state;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct pgv_error err;
    char server[64];
    bool closed = false;

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    (void)snprintf(server, sizeof(server), "127.0.0.1:%d", ntohs(a.sin_port));
    assert_true(names_open(&f->loop, &err));
    assert_true(names_use_servers(server, &err));
    for (unsigned i = 0; i < 4; i++) {
        struct call *c = &f->calls[i];

        c->req.data = c;
        c->req.method = "GET";
        c->req.url = i == 3 ? "http://bad..name/" : "http://silent.test/";
        c->req.connect_timeout_ms = i == 0 ? 30 : 0;
        c->req.deadline_ms = i == 1 ? pgv_clock_ms() + 30 : 0;
        assert_true(httpc_send(&f->client, &c->req, on_done, &err));
        if (i == 2)
            httpc_cancel(&c->req);
        RUN_UNTIL_TRUE(&f->loop, c->done);
        assert_int_equal(c->code, i == 2 ? PGV_ECANCELED : PGV_EUNREACHABLE);
        assert_false(c->req.sent);
    }
    assert_non_null(strstr(f->calls[0].msg, "not resolved in time"));
    assert_non_null(strstr(f->calls[1].msg, "looking up the name"));
    /* And closing while a name is looked up. */
    f->calls[4].req =
        (struct httpc_req){ .data = &f->calls[4], .method = "GET", .url = "http://silent.test/" };
    assert_true(httpc_send(&f->client, &f->calls[4].req, on_done, &err));
    close_client(f);
    assert_int_equal(f->calls[4].code, PGV_ECANCELED);
    names_close(on_names_closed, &closed);
    RUN_UNTIL_TRUE(&f->loop, closed);
    (void)close(fd);
}

static void test_httpc_send__refused_by_a_client_that_closes(void **state)
{
    struct fixture *f = *state;
    struct httpc_req r = { .method = "GET", .url = "http://127.0.0.1:1/" };
    struct pgv_error err;

    httpc_close(&f->client, on_client_closed);
    assert_false(httpc_send(&f->client, &r, on_done, &err));
    assert_int_equal(err.code, PGV_ECANCELED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_httpc_send__asks_and_collects),
        TEST(test_httpc_send__sends_what_http_needs),
        TEST(test_httpc_send__what_cannot_be_sent_is_refused_at_once),
        TEST(test_httpc__connections_are_used_again),
        TEST(test_httpc__a_pooled_connection_that_died_is_not_used),
        TEST(test_httpc__get_is_sent_once_more_when_the_pooled_connection_dies),
        TEST(test_httpc__post_is_never_sent_twice),
        TEST(test_httpc__get_is_not_sent_a_third_time),
        TEST(test_httpc__answers_that_are_none),
        TEST(test_httpc__an_answer_is_bounded),
        TEST(test_httpc__deadlines),
        TEST(test_httpc__refused_and_unreachable),
        TEST(test_httpc__connecting_has_its_own_limit),
        TEST(test_httpc__one_address_after_the_other),
        TEST(test_httpc__streams),
        TEST(test_httpc__a_stream_that_breaks_says_so),
        TEST(test_httpc_cancel__at_any_moment),
        TEST(test_httpc_cancel__from_within_a_piece),
        TEST(test_httpc__those_that_wait_keep_their_deadline),
        TEST(test_httpc__an_idle_connection_gives_way),
        TEST(test_httpc__sockets_have_their_options),
        TEST(test_httpc__an_early_refusal_of_a_large_body_is_heard),
        TEST(test_httpc__a_large_answer),
        TEST(test_httpc__head_has_no_body),
        TEST(test_httpc_close__cancels_what_is_in_flight),
        TEST(test_httpc_close__from_within_a_callback),
        cmocka_unit_test(test_httpc_close__at_any_moment),
        TEST(test_httpc__idle_connections_do_not_stay_for_ever),
        TEST(test_httpc__a_header_that_does_not_fit_is_none),
        TEST(test_httpc__a_reset_is_no_answer),
        TEST(test_httpc__an_idle_connection_that_speaks_is_closed),
        TEST(test_httpc__answer_and_more_is_answered_but_not_kept),
        TEST(test_httpc__names_that_are_not_resolved),
        TEST(test_httpc_send__refused_by_a_client_that_closes),
        cmocka_unit_test(test_httpc__each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
