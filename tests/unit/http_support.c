/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/http_support.c - what the HTTP tests share; see the header. */
#include "http_support.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

#define PATIENCE_MS 60000

void test_run_until(uv_loop_t *loop, bool (*done)(void *data), void *data, const char *what)
{
    uint64_t until = pgv_clock_ms() + PATIENCE_MS;

    while (!done(data)) {
        struct pollfd p = { .fd = uv_backend_fd(loop), .events = POLLIN };
        int timeout = uv_backend_timeout(loop);

        if (pgv_clock_ms() > until)
            fail_msg("it never came: %s", what);
        (void)poll(&p, 1, timeout < 0 || timeout > 5 ? 5 : timeout);
        uv_run(loop, UV_RUN_NOWAIT);
    }
}

bool test_flag(void *data)
{
    return *(bool *)data;
}

static void print_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    print_error("left over: %s\n", uv_handle_type_name(h->type));
}

/* The whole design rests on it: no library we call may start a thread. */
static void assert_one_thread(void)
{
    DIR *d = opendir("/proc/self/task");
    unsigned n = 0;

    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    (void)closedir(d);
    assert_int_equal(n, 1);
}

void test_loop_done(uv_loop_t *loop)
{
    assert_one_thread();
    uv_run(loop, UV_RUN_NOWAIT);
    uv_run(loop, UV_RUN_NOWAIT);
    if (uv_loop_alive(loop))
        uv_walk(loop, print_handle, NULL);
    assert_int_equal(uv_loop_close(loop), 0);
}

static void on_server_closed(struct httpd *h)
{
    struct test_server *s = h->data;
    s->closed = true;
}

static void on_abort(struct httpd_req *r)
{
    struct test_server *s = r->data;

    s->n_aborted++;
    for (unsigned i = 0; i < s->n_later; i++)
        if (s->later[i] == r)
            s->later[i] = s->later[--s->n_later];
    if (s->stream == r)
        s->stream = NULL;
}

static void remember(char *dst, size_t bytes, struct pgv_str src)
{
    pgv_copy_cut(dst, bytes, src);
}

static void on_request(struct httpd *h, struct httpd_req *r)
{
    static char big[4 << 20];
    struct test_server *s = h->data;

    s->n_requests++;
    remember(s->last_path, sizeof(s->last_path), r->path);
    remember(s->last_query, sizeof(s->last_query), r->query);
    remember(s->last_authorization, sizeof(s->last_authorization), r->authorization);
    remember(s->last_method, sizeof(s->last_method), r->method_text);
    remember(s->last_line, sizeof(s->last_line), r->request_line);
    s->last_has_length = r->has_length;
    s->last_verified = r->client_cert_verified;
    pgv_buf_reset(&s->last_body);
    (void)pgv_buf_str(&s->last_body, r->body);

    r->data = s;
    if (pgv_str_eqz(r->path, "/echo")) {
        httpd_reply(r, 200, NULL, "text/plain", r->body.n ? r->body : PGV_STR("empty"));
    } else if (pgv_str_eqz(r->path, "/big")) {
        memset(big, 'x', sizeof(big));
        httpd_reply(r, 200, NULL, "text/plain", (struct pgv_str){ big, sizeof(big) });
    } else if (pgv_str_eqz(r->path, "/later")) {
        assert_true(s->n_later < TEST_LATER_MAX);
        s->later[s->n_later++] = r;
        r->on_abort = on_abort;
    } else if (pgv_str_eqz(r->path, "/stream")) {
        s->stream = r;
        r->on_abort = on_abort;
        httpd_stream_begin(r, "text/event-stream");
    } else if (pgv_str_eqz(r->path, "/kill")) {
        r->on_abort = on_abort;
        httpd_close(h, on_server_closed);
    } else if (r->method == HTTPD_HEAD || r->method == HTTPD_OPTIONS) {
        httpd_reply_status(r, 200);
    } else {
        httpd_reply(r, 200, "lsn: 42\r\n", "text/plain", r->path);
    }
}

void test_server_open(struct test_server *s, uv_loop_t *loop, struct tls_context *tls)
{
    struct pgv_error err;

    s->loop = loop;
    s->http.data = s;
    s->closed = false;
    pgv_buf_init(&s->last_body, 1u << 20);
    if (!httpd_open(&s->http, loop, "127.0.0.1", 0, tls, on_request, &err))
        fail_msg("no server: %s", err.msg);
}

void test_server_close(struct test_server *s)
{
    if (!s->closed && !s->http.closing)
        httpd_close(&s->http, on_server_closed);
    RUN_UNTIL_TRUE(s->loop, s->closed);
    pgv_buf_done(&s->last_body);
}

void test_raw_open(struct test_raw *r, int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    r->eof = false;
    pgv_buf_init(&r->got, 32u << 20);
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(r->fd >= 0);
    /* The kernel accepts into the backlog: this does not wait for our own loop. */
    assert_int_equal(connect(r->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(fcntl(r->fd, F_SETFL, O_NONBLOCK), 0);
}

void test_raw_send_bytes(struct test_raw *r, const void *p, size_t n)
{
    assert_int_equal(send(r->fd, p, n, MSG_NOSIGNAL), (ssize_t)n);
}

void test_raw_send(struct test_raw *r, const char *s)
{
    test_raw_send_bytes(r, s, strlen(s));
}

static void take(struct test_raw *r)
{
    static char bytes[65536];
    ssize_t n;

    while (!r->eof && (n = recv(r->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) != -1) {
        if (n == 0)
            r->eof = true;
        else
            assert_true(pgv_buf_append(&r->got, bytes, (size_t)n));
    }
    if (!r->eof && errno != EAGAIN)
        r->eof = true;
}

struct wait {
    struct test_raw *r;
    const char *text;
};

static bool has_text(void *data)
{
    struct wait *w = data;

    take(w->r);
    return w->r->got.n && memmem(w->r->got.p, w->r->got.n, w->text, strlen(w->text));
}

static bool has_eof(void *data)
{
    struct wait *w = data;

    take(w->r);
    return w->r->eof;
}

void test_raw_until(struct test_raw *r, uv_loop_t *loop, const char *text)
{
    struct wait w = { r, text };
    test_run_until(loop, has_text, &w, text);
}

void test_raw_until_eof(struct test_raw *r, uv_loop_t *loop)
{
    struct wait w = { r, NULL };
    test_run_until(loop, has_eof, &w, "the end of the connection");
}

void test_raw_close(struct test_raw *r)
{
    (void)close(r->fd);
    pgv_buf_done(&r->got);
}

unsigned test_count(const char *text, const char *what)
{
    unsigned n = 0;

    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

const char *test_data(const char *name)
{
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];
    const char *top = getenv("PGVIGIL_SOURCE_DIR");

    (void)snprintf(path, sizeof(paths[0]), "%s/tests/unit/data/http/%s", top ? top : ".", name);
    return path;
}

struct tls_context *test_server_tls(const char *cert, const char *key, enum tls_verify verify)
{
    struct tls_config cfg = { .cert_file = test_data(cert),
                              .key_file = key ? test_data(key) : NULL,
                              .ca_file = verify ? test_data("ca.pem") : NULL,
                              .verify = verify };
    struct tls_context *c = NULL;
    struct pgv_error err;

    if (!tls_context_new(&cfg, true, &c, &err))
        fail_msg("no TLS: %s", err.msg);
    return c;
}

struct tls_context *test_client_tls(const char *ca, bool check_host, const char *cert,
                                    const char *key)
{
    struct tls_config cfg = { .ca_file = ca ? test_data(ca) : NULL,
                              .cert_file = cert ? test_data(cert) : NULL,
                              .key_file = key ? test_data(key) : NULL,
                              .verify = ca ? TLS_VERIFY_REQUIRED : TLS_VERIFY_NONE,
                              .check_host_name = check_host };
    struct tls_context *c = NULL;
    struct pgv_error err;

    if (!tls_context_new(&cfg, false, &c, &err))
        fail_msg("no TLS: %s", err.msg);
    return c;
}
