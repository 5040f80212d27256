/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_http_tls.c - contexts, sessions, names in certificates, cipher lists, and client
 * and server speaking TLS to one another.
 */
#include "http_support.h"

#include "base/clock.h"
#include "base/file.h"
#include "http/tls_private.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

struct call {
    struct httpc_req req;
    char url[128], body[256], msg[PGV_ERROR_MSG_BYTES];
    bool done;
    enum pgv_code code;
    size_t answer_bytes;
};

struct fixture {
    uv_loop_t loop;
    struct test_server server;
    struct httpc client;
    bool client_open, client_closed, names_closed, names_open;
    struct call calls[40];
};

static void on_client_closed(struct httpc *c)
{
    ((struct fixture *)c->data)->client_closed = true;
}

static void on_names_closed(void *data)
{
    ((struct fixture *)data)->names_closed = true;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    uv_loop_init(&f->loop);
    f->server.http.limits.head_ms = 50000; /* machines that run tests are slow at times */
    *state = f;
    return 0;
}

static void close_client(struct fixture *f)
{
    f->client_closed = false;
    if (!f->client.closing)
        httpc_close(&f->client, on_client_closed);
    RUN_UNTIL_TRUE(&f->loop, f->client_closed);
    f->client_open = false;
}

static void close_server(struct fixture *f)
{
    test_server_close(&f->server);
    memset(&f->server, 0, sizeof(f->server));
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->client_open)
        close_client(f);
    if (f->server.loop)
        close_server(f);
    if (f->names_open) {
        names_close(on_names_closed, f);
        RUN_UNTIL_TRUE(&f->loop, f->names_closed);
    }
    test_loop_done(&f->loop);
    free(f);
    return 0;
}

static void serve(struct fixture *f, const char *cert, const char *key, enum tls_verify verify)
{
    struct tls_context *t = test_server_tls(cert, key, verify);

    test_server_open(&f->server, &f->loop, t);
    tls_context_unref(t); /* the server has its own reference */
}

static void open_client(struct fixture *f, const char *ca, bool check_host, const char *cert,
                        const char *key)
{
    struct tls_context *t = test_client_tls(ca, check_host, cert, key);

    f->client.data = f;
    httpc_open(&f->client, &f->loop, t);
    f->client_open = true;
    tls_context_unref(t);
}

static void on_done(struct httpc_req *r, const struct pgv_error *err)
{
    struct call *c = r->data;

    c->done = true;
    c->code = err ? err->code : PGV_OK;
    pgv_copy_cut(c->msg, sizeof(c->msg), pgv_str(err ? err->msg : ""));
    pgv_copy_cut(c->body, sizeof(c->body), pgv_buf_view(&r->answer));
    c->answer_bytes = r->answer.n;
}

static void start(struct fixture *f, struct call *c, const char *host, const char *path)
{
    struct pgv_error err;

    c->done = false;
    c->req.data = c;
    c->req.method = c->req.method ? c->req.method : "GET";
    (void)snprintf(c->url, sizeof(c->url), "https://%s:%d%s", host, httpd_port(&f->server.http),
                   path);
    c->req.url = c->url;
    c->req.deadline_ms = pgv_clock_ms() + 50000;
    if (!c->req.connect_timeout_ms)
        c->req.connect_timeout_ms = 50000;
    assert_true(httpc_send(&f->client, &c->req, on_done, &err));
}

static enum pgv_code ask(struct fixture *f, struct call *c, const char *host, const char *path)
{
    start(f, c, host, path);
    RUN_UNTIL_TRUE(&f->loop, c->done);
    return c->code;
}

static void test_tls__request_and_answer(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];
    static char body[900000];

    serve(f, "server.pem", "server.key", TLS_VERIFY_NONE);
    open_client(f, "ca.pem", true, NULL, NULL);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(ask(f, c, "127.0.0.1", "/x"), PGV_OK);
        assert_string_equal(c->body, "/x");
    }
    assert_int_equal(f->server.http.n_conns, 1); /* kept and used again */
    assert_false(f->server.last_verified);

    memset(body, 'y', sizeof(body));
    c->req.method = "POST";
    c->req.body = (struct pgv_str){ body, sizeof(body) };
    assert_int_equal(ask(f, c, "127.0.0.1", "/echo"), PGV_OK);
    assert_int_equal(c->answer_bytes, sizeof(body));
    c->req.method = "GET";
    c->req.body = (struct pgv_str){ 0 };
    assert_int_equal(ask(f, c, "127.0.0.1", "/big"), PGV_OK);
    assert_int_equal(c->answer_bytes, 4u << 20);
}

static void test_tls__the_key_may_stand_in_the_certificates_file(void **state)
{
    struct fixture *f = *state;

    serve(f, "combined.pem", NULL, TLS_VERIFY_NONE);
    open_client(f, "ca.pem", true, NULL, NULL);
    assert_int_equal(ask(f, &f->calls[0], "127.0.0.1", "/x"), PGV_OK);
}

static void test_tls__rsa(void **state)
{
    struct fixture *f = *state;

    serve(f, "rsa.pem", "rsa.key", TLS_VERIFY_NONE);
    open_client(f, "ca.pem", true, NULL, NULL);
    assert_int_equal(ask(f, &f->calls[0], "127.0.0.1", "/x"), PGV_OK);
}

static void test_tls__names_are_checked_when_asked_for(void **state)
{
    static const struct {
        const char *cert, *key, *ca;
        bool check_host, ok;
    } table[] = {
        { "server.pem", "server.key", "ca.pem", true, true },
        { "elsewhere.pem", "elsewhere.key", "ca.pem", true, false },
        { "elsewhere.pem", "elsewhere.key", "ca.pem", false, true },
        { "server.pem", "server.key", "other-ca.pem", true, false },
        { "server.pem", "server.key", "other-ca.pem", false, false },
        { "elsewhere.pem", "elsewhere.key", NULL, false, true }, /* nothing is checked */
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct call *c = &f->calls[i];
        serve(f, table[i].cert, table[i].key, TLS_VERIFY_NONE);
        open_client(f, table[i].ca, table[i].check_host, NULL, NULL);
        if ((ask(f, c, "127.0.0.1", "/x") == PGV_OK) != table[i].ok)
            fail_msg("case %zu: %s", i, c->msg);
        if (!table[i].ok) {
            assert_int_equal(c->code, PGV_EINVALID);
            assert_non_null(strstr(c->msg, "certificate"));
            assert_false(c->req.sent);
        }
        close_client(f);
        close_server(f);
    }
}

static void test_tls__a_name_is_looked_up_and_checked(void **state)
{
    struct fixture *f = *state;
    struct pgv_error err;

    assert_true(names_open(&f->loop, &err));
    f->names_open = true;
    serve(f, "server.pem", "server.key", TLS_VERIFY_NONE);
    open_client(f, "ca.pem", true, NULL, NULL);
    assert_int_equal(ask(f, &f->calls[0], "localhost", "/x"), PGV_OK);
    close_server(f);
    serve(f, "plain-name.pem", "plain-name.key", TLS_VERIFY_NONE); /* by its common name */
    assert_int_equal(ask(f, &f->calls[0], "localhost", "/x"), PGV_OK);
    assert_int_equal(ask(f, &f->calls[0], "127.0.0.1", "/x"), PGV_EINVALID);
}

static void test_tls__client_certificates(void **state)
{
    static const struct {
        enum tls_verify verify;
        const char *cert, *key;
        bool ok, verified;
    } table[] = {
        { TLS_VERIFY_NONE, "client.pem", "client.key", true, false },
        { TLS_VERIFY_OPTIONAL, "client.pem", "client.key", true, true },
        { TLS_VERIFY_OPTIONAL, NULL, NULL, true, false },
        { TLS_VERIFY_OPTIONAL, "stranger.pem", "stranger.key", false, false },
        { TLS_VERIFY_REQUIRED, "client.pem", "client.key", true, true },
        { TLS_VERIFY_REQUIRED, NULL, NULL, false, false },
        { TLS_VERIFY_REQUIRED, "stranger.pem", "stranger.key", false, false },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct call *c = &f->calls[i];
        serve(f, "server.pem", "server.key", table[i].verify);
        open_client(f, "ca.pem", true, table[i].cert, table[i].key);
        if ((ask(f, c, "127.0.0.1", "/x") == PGV_OK) != table[i].ok)
            fail_msg("case %zu: %s", i, c->msg);
        if (table[i].ok)
            assert_int_equal(f->server.last_verified, table[i].verified);
        else
            assert_int_equal(f->server.n_requests, 0);
        close_client(f);
        close_server(f);
    }
}

static void test_tls__new_certificates_while_running(void **state)
{
    struct fixture *f = *state;
    struct call *old = &f->calls[0], *now = &f->calls[1];
    struct tls_context *t;

    serve(f, "elsewhere.pem", "elsewhere.key", TLS_VERIFY_NONE);
    open_client(f, "ca.pem", false, NULL, NULL);
    start(f, old, "127.0.0.1", "/later");
    while (f->server.n_later == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    t = test_server_tls("renewed.pem", "renewed.key", TLS_VERIFY_NONE);
    httpd_set_tls(&f->server.http, t);
    tls_context_unref(t);
    t = test_client_tls("ca.pem", true, NULL, NULL);
    httpc_set_tls(&f->client, t);
    tls_context_unref(t);
    /* The new connection sees the new certificate, and checks its name by the new rules. */
    assert_int_equal(ask(f, now, "127.0.0.1", "/x"), PGV_OK);
    httpd_reply(f->server.later[0], 200, NULL, NULL, PGV_STR("old"));
    RUN_UNTIL_TRUE(&f->loop, old->done);
    assert_int_equal(old->code, PGV_OK);
    assert_string_equal(old->body, "old");
    assert_int_equal(f->client.n_conns, 1); /* the old one is not kept */
    /* And back to plain. */
    httpd_set_tls(&f->server.http, NULL);
    httpc_drop_idle(&f->client);
    assert_int_not_equal(ask(f, now, "127.0.0.1", "/x"), PGV_OK);
}

static void test_tls__plain_bytes_to_a_tls_port_are_left_alone(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw;

    serve(f, "server.pem", "server.key", TLS_VERIFY_NONE);
    test_raw_open(&raw, httpd_port(&f->server.http));
    test_raw_send(&raw, "GET / HTTP/1.1\r\n\r\n");
    test_raw_until_eof(&raw, &f->loop);
    assert_int_equal(raw.got.n, 0);
    test_raw_close(&raw);
    /* Noise that begins as TLS does. */
    test_raw_open(&raw, httpd_port(&f->server.http));
    test_raw_send_bytes(&raw, "\x16\x03\x01\x00\x05zzzzzzzzzz", 15);
    test_raw_until_eof(&raw, &f->loop);
    test_raw_close(&raw);
    assert_int_equal(f->server.http.n_tls, 0);
    assert_int_equal(f->server.n_requests, 0);
}

static void test_tls__a_server_that_speaks_plain(void **state)
{
    struct fixture *f = *state;

    test_server_open(&f->server, &f->loop, NULL);
    open_client(f, "ca.pem", true, NULL, NULL);
    /* It closes on our hello without a word. */
    assert_int_equal(ask(f, &f->calls[0], "127.0.0.1", "/x"), PGV_EUNREACHABLE);
    assert_false(f->calls[0].req.sent);
}

static void test_tls__handshakes_have_a_limit(void **state)
{
    struct fixture *f = *state;
    uint64_t begun = pgv_clock_ms();
    struct test_raw raw;

    f->server.http.limits.head_ms = 60;
    serve(f, "server.pem", "server.key", TLS_VERIFY_NONE);
    test_raw_open(&raw, httpd_port(&f->server.http));
    test_raw_send_bytes(&raw, "\x16\x03", 2);
    test_raw_until_eof(&raw, &f->loop);
    assert_true(pgv_clock_ms() - begun >= 60);
    assert_int_equal(f->server.http.n_tls, 0);
    test_raw_close(&raw);
}

/* A peer that accepts and then says nothing. */
static void test_tls__connecting_includes_the_handshake(void **state)
{
    struct fixture *f = *state;
    struct call *c = &f->calls[0];
    uint64_t begun = pgv_clock_ms();

    serve(f, "server.pem", "server.key", TLS_VERIFY_NONE);
    /* A listener nobody accepts from: the kernel does, and stays silent. */
    uv_poll_stop((uv_poll_t *)f->server.http.listener);
    open_client(f, "ca.pem", true, NULL, NULL);
    c->req.connect_timeout_ms = 60;
    assert_int_equal(ask(f, c, "127.0.0.1", "/x"), PGV_EUNREACHABLE);
    assert_true(pgv_clock_ms() - begun >= 60);
    assert_non_null(strstr(c->msg, "handshake"));
}

static void test_tls__sessions_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct test_raw raw[6];

    f->server.http.limits.tls_conns_max = 3;
    serve(f, "server.pem", "server.key", TLS_VERIFY_NONE);
    for (unsigned i = 0; i < 6; i++) {
        test_raw_open(&raw[i], httpd_port(&f->server.http));
        test_raw_send_bytes(&raw[i], "\x16\x03", 2);
    }
    for (unsigned i = 0; i < 3; i++)
        test_raw_until_eof(&raw[i], &f->loop); /* the first ones make room for the last */
    assert_int_equal(f->server.http.n_tls, 3);
    open_client(f, "ca.pem", true, NULL, NULL);
    assert_int_equal(ask(f, &f->calls[0], "127.0.0.1", "/x"), PGV_OK);
    for (unsigned i = 0; i < 6; i++)
        test_raw_close(&raw[i]);
}

/* A handshake takes seconds there. */
static bool under_valgrind(void)
{
    return getenv("PGVIGIL_VALGRIND") != NULL;
}

static void test_tls__many_at_once(void **state)
{
    unsigned n = under_valgrind() ? 4 : 40;
    struct fixture *f = *state;

    serve(f, "server.pem", "server.key", TLS_VERIFY_NONE);
    open_client(f, "ca.pem", true, NULL, NULL);
    for (unsigned i = 0; i < n; i++)
        start(f, &f->calls[i], "127.0.0.1", "/x");
    for (unsigned i = 0; i < n; i++) {
        RUN_UNTIL_TRUE(&f->loop, f->calls[i].done);
        if (f->calls[i].code != PGV_OK)
            fail_msg("call %u: %s", i, f->calls[i].msg);
    }
}

static void test_tls__closed_at_any_moment(void **state)
{
    (void)state;

    for (unsigned turns = 0; turns < 14; turns += under_valgrind() ? 4 : 1) {
        size_t blocks = pgv_alloc_blocks_in_use();
        void *inner = NULL;
        struct fixture *f;

        (void)setup(&inner);
        f = inner;
        serve(f, "server.pem", "server.key", TLS_VERIFY_NONE);
        open_client(f, "ca.pem", true, NULL, NULL);
        start(f, &f->calls[0], "127.0.0.1", "/later");
        for (unsigned t = 0; t < turns; t++)
            uv_run(&f->loop, UV_RUN_NOWAIT);
        if (turns % 2) {
            close_client(f);
            close_server(f);
        } else {
            close_server(f);
            close_client(f);
        }
        assert_true(f->calls[0].done);
        (void)teardown(&inner);
        assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
    }
}

static void test_tls__each_allocation_of_the_client_may_fail(void **state)
{
    struct fixture *f = *state;
    unsigned n_failed = 0, n_well = 0;

    serve(f, "server.pem", "server.key", TLS_VERIFY_NONE);
    open_client(f, "ca.pem", true, NULL, NULL);
    /* Both sides allocate; some failures harm nothing (a smaller buffer does). Five in a row that
     * harmed nothing are those past the last allocation. */
    for (unsigned long nth = 1; n_well < 5; nth += under_valgrind() ? 7 : 1) {
        struct call *c = &f->calls[0];
        struct pgv_error err;

        httpc_drop_idle(&f->client);
        c->done = false;
        c->req.data = c;
        c->req.method = "GET";
        (void)snprintf(c->url, sizeof(c->url), "https://127.0.0.1:%d/x",
                       httpd_port(&f->server.http));
        c->req.url = c->url;
        pgv_alloc_fail_at(nth, false);
        if (!httpc_send(&f->client, &c->req, on_done, &err)) {
            pgv_alloc_fail_at(0, false);
            assert_int_equal(err.code, PGV_ENOMEM);
            n_failed++;
            continue;
        }
        RUN_UNTIL_TRUE(&f->loop, c->done);
        pgv_alloc_fail_at(0, false);
        n_failed += c->code != PGV_OK;
        n_well = c->code == PGV_OK ? n_well + 1 : 0;
        assert_true(nth < 1000);
    }
    assert_true(n_failed > (under_valgrind() ? 0u : 3u));
    assert_int_equal(ask(f, &f->calls[0], "127.0.0.1", "/x"), PGV_OK);
}

static bool new_context(struct tls_config cfg, bool server, struct pgv_error *err)
{
    struct tls_context *c = NULL;
    bool ok = tls_context_new(&cfg, server, &c, err);

    if (!ok)
        assert_null(c);
    tls_context_unref(c);
    return ok;
}

static void test_tls_context_new__says_what_is_wrong(void **state)
{
    const char *cert = test_data("server.pem"), *key = test_data("server.key");
    struct pgv_error err;
    (void)state;

    assert_false(new_context((struct tls_config){ 0 }, true, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_false(new_context((struct tls_config){ .cert_file = "/nowhere" }, true, &err));
    assert_int_equal(err.code, PGV_ESYS);
    assert_non_null(strstr(err.msg, "/nowhere"));
    assert_false(new_context((struct tls_config){ .cert_file = key }, true, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_false(
        new_context((struct tls_config){ .cert_file = cert, .key_file = cert }, true, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_false(new_context(
        (struct tls_config){ .cert_file = cert, .key_file = test_data("rsa.key") }, true, &err));
    assert_non_null(strstr(err.msg, "belong together"));
    assert_false(new_context(
        (struct tls_config){ .cert_file = cert, .key_file = key, .verify = TLS_VERIFY_REQUIRED },
        true, &err));
    assert_false(new_context(
        (struct tls_config){ .cert_file = cert, .key_file = key, .ciphers = "NOTHING:LIKE:THIS" },
        true, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    assert_false(new_context((struct tls_config){ .ca_file = key, .verify = TLS_VERIFY_REQUIRED },
                             false, &err));
    assert_true(new_context((struct tls_config){ .cert_file = cert, .key_file = key }, true, &err));

    /* Encrypted keys, in OpenSSL's older format and its newer one: the word, the wrong word, none;
     * and it is never shown. */
    static const char *const encrypted[] = { "encrypted.key", "pkcs8.key", "pkcs8-sha1.key" };

    for (size_t i = 0; i < sizeof(encrypted) / sizeof(encrypted[0]); i++) {
        struct tls_config cfg = { .cert_file = cert,
                                  .key_file = test_data(encrypted[i]),
                                  .key_password = "secret" };
        if (!new_context(cfg, true, &err))
            fail_msg("%s: %s", encrypted[i], err.msg);
        cfg.key_password = "wrong-word";
        assert_false(new_context(cfg, true, &err));
        assert_null(strstr(err.msg, "wrong-word"));
        cfg.key_password = NULL;
        assert_false(new_context(cfg, true, &err));
    }
}

/* A wrapping that is cut off anywhere, or with any byte changed, is refused and harms nobody. */
static void test_tls_key_unwrap__broken_ones(void **state)
{
    struct pgv_buf pem, der;
    struct pgv_error err;
    const char *text;

    (void)state;
    pgv_buf_init(&pem, 65536);
    pgv_buf_init(&der, 65536);
    assert_true(pgv_file_read(test_data("pkcs8.key"), &pem, &err));
    text = pgv_buf_cstr(&pem);
    assert_int_equal(tls_key_unwrap(text, "secret", &der), TLS_KEY_UNWRAPPED);
    assert_int_equal(tls_key_unwrap("", "secret", &der), TLS_KEY_OTHER);
    for (size_t i = 38; i < pem.n; i++) { /* behind the first line */
        char before = pem.p[i];

        pem.p[i] = before == 'A' ? 'B' : 'A';
        pgv_buf_reset(&der);
        /* first come the names of the methods; what is encrypted, CBC does not protect */
        if (tls_key_unwrap(text, "secret", &der) == TLS_KEY_UNWRAPPED && i < 78)
            fail_msg("opened with byte %zu changed", i);
        pem.p[i] = before;
    }
    for (size_t i = 38; i < pem.n; i += 7) {
        struct pgv_buf cut;

        pgv_buf_init(&cut, 65536);
        pgv_buf_append(&cut, pem.p, i);
        pgv_buf_puts(&cut, "\n-----END ENCRYPTED PRIVATE KEY-----\n");
        pgv_buf_reset(&der);
        if (i + 40 < pem.n)
            assert_int_not_equal(tls_key_unwrap(pgv_buf_cstr(&cut), "secret", &der),
                                 TLS_KEY_UNWRAPPED);
        pgv_buf_done(&cut);
    }
    pgv_buf_done(&der);
    pgv_buf_done(&pem);
}

/* Where the package ca-certificates is not installed, as in the systems of tests/versions. */
static void test_tls_session_new__needs_a_ca(void **state)
{
    struct tls_config cfg = { .verify = TLS_VERIFY_REQUIRED };
    struct tls_context *c = NULL;
    struct tls_session *s = NULL;
    struct pgv_error err;
    (void)state;

    assert_true(tls_context_new(&cfg, false, &c, &err)); /* http may be all that is spoken */
    assert_int_equal(tls_session_new(c, "localhost", &s, &err), tls_has_system_ca());
    if (!s) {
        assert_int_equal(err.code, PGV_EINVALID);
        assert_non_null(strstr(err.msg, "no CA file"));
    }
    tls_session_free(s);
    tls_context_unref(c);
}

static void test_tls_context_new__each_allocation_may_fail(void **state)
{
    const char *cert = test_data("server.pem"), *key = test_data("server.key");
    bool ok = false;
    (void)state;

    for (unsigned long nth = 1; !ok; nth++) {
        size_t blocks = pgv_alloc_blocks_in_use();
        struct pgv_error err;

        pgv_alloc_fail_at(nth, true);
        ok = new_context((struct tls_config){ .cert_file = cert, .key_file = key }, true, &err);
        pgv_alloc_fail_at(0, false);
        assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
        assert_true(nth < 50);
    }
}

static void test_tls_cert_serial__tells_certificates_apart(void **state)
{
    char a[80], b[80], tiny[4] = "?";
    struct pgv_error err;
    (void)state;

    assert_true(tls_cert_serial(test_data("server.pem"), a, sizeof(a), &err));
    assert_string_equal(a, "1001");
    assert_true(tls_cert_serial(test_data("renewed.pem"), b, sizeof(b), &err));
    assert_string_equal(b, "1002");
    assert_false(tls_cert_serial(test_data("renewed.pem"), tiny, sizeof(tiny), &err));
    assert_string_equal(tiny, "?");
    assert_false(tls_cert_serial("/nowhere", a, sizeof(a), &err));
}

static void test_tls_name_matches__as_the_rules_say(void **state)
{
    static const struct {
        const char *cert, *host;
        bool matches;
    } table[] = {
        { "server.pem", "localhost", true },
        { "server.pem", "LOCALHOST", true },
        { "server.pem", "localhost.", true },
        { "server.pem", "127.0.0.1", true },
        { "server.pem", "::1", true },
        { "server.pem", "0:0:0:0:0:0:0:1", true },
        { "server.pem", "n1.cluster.example", true },
        { "server.pem", "cluster.example", false },
        { "server.pem", "a.n1.cluster.example", false },
        { "server.pem", "n1.cluster.example.org", false },
        { "server.pem", ".cluster.example", false },
        { "server.pem", "127.0.0.2", false },
        { "server.pem", "::2", false },
        { "server.pem", "server", false }, /* the common name, but there are better ones */
        { "server.pem", "", false },
        { "plain-name.pem", "localhost", true },
        { "plain-name.pem", "127.0.0.1", false },
        { "elsewhere.pem", "localhost", false },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        mbedtls_x509_crt crt;

        mbedtls_x509_crt_init(&crt);
        assert_int_equal(mbedtls_x509_crt_parse_file(&crt, test_data(table[i].cert)), 0);
        if (tls_name_matches(&crt, table[i].host) != table[i].matches)
            fail_msg("%s of %s", table[i].host, table[i].cert);
        mbedtls_x509_crt_free(&crt);
    }
}

static void test_tls_ciphers_parse__as_openssl_does(void **state)
{
    static const struct {
        const char *list;
        int first[4]; /* how the outcome begins */
        int absent;
    } table[] = {
        { "ECDHE-RSA-AES128-GCM-SHA256", { 0xC02F, 0 }, 0xC030 },
        { "AES128-SHA:AES256-SHA", { 0x2F, 0x35, 0 }, 0 },
        { "AES256-SHA,AES128-SHA", { 0x35, 0x2F, 0 }, 0 },
        { "ECDHE+AESGCM+AES128:!ECDSA", { 0xC02F, 0 }, 0xC02B },
        { "ECDHE+AESGCM:!aRSA:-AES256", { 0xC02B, 0 }, 0xC02C },
        { "!AES256:ECDHE+AESGCM:ECDHE-RSA-AES256-GCM-SHA384", { 0xC02B, 0xC02F, 0 }, 0xC030 },
        { "ECDHE+AESGCM+aRSA:+AES256", { 0xC02F, 0xC030, 0 }, 0 },
        { "AES128-SHA:AES256-SHA:@STRENGTH", { 0x35, 0x2F, 0 }, 0 },
        { "kRSA+SHA256", { 0x3D, 0x3C, 0 }, 0 },
        { "HIGH:!aNULL:!MD5:!RC4:!kRSA:!DHE:!SHA1:!SHA256:!SHA384:@SECLEVEL=1", { 0xC02C }, 0x9C },
        { "DEFAULT", { 0xC02C, 0xC030 }, 0 },
        { "CAMELLIA:whatever:AES128-SHA", { 0x2F, 0 }, 0 },
    };
    int got[TLS_CIPHERS_MAX];
    struct pgv_error err;
    (void)state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_true(tls_ciphers_parse(table[i].list, got, &err));
        for (size_t k = 0; k < 4; k++) {
            if (got[k] != table[i].first[k])
                fail_msg("'%s': number %zu is %x", table[i].list, k, (unsigned)got[k]);
            if (table[i].first[k] == 0 || table[i].first[k + (k < 3)] == 0)
                break;
        }
        for (size_t k = 0; table[i].absent && got[k]; k++)
            assert_int_not_equal(got[k], table[i].absent);
    }
    got[0] = 7;
    assert_false(tls_ciphers_parse("", got, &err));
    assert_false(tls_ciphers_parse("ALL:!ALL", got, &err));
    assert_false(tls_ciphers_parse("RC4", got, &err));
}

static void test_tls__a_cipher_list_holds(void **state)
{
    struct tls_config cfg = { .cert_file = test_data("server.pem"),
                              .key_file = test_data("server.key"),
                              .ciphers = "ECDHE-RSA-AES128-GCM-SHA256" };
    struct tls_context *t = NULL;
    struct fixture *f = *state;
    struct pgv_error err;

    /* An ECDSA key cannot serve a suite that wants RSA, which only TLS 1.2 ties together. */
    assert_true(tls_context_new(&cfg, true, &t, &err));
    test_server_open(&f->server, &f->loop, t);
    tls_context_unref(t);
    open_client(f, "ca.pem", true, NULL, NULL);
#if MBEDTLS_VERSION_NUMBER < 0x03000000
    assert_int_equal(ask(f, &f->calls[0], "127.0.0.1", "/x"), PGV_EINVALID);
#else
    assert_int_equal(ask(f, &f->calls[0], "127.0.0.1", "/x"), PGV_OK);
#endif
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_tls__request_and_answer),
        TEST(test_tls__the_key_may_stand_in_the_certificates_file),
        TEST(test_tls__rsa),
        TEST(test_tls__names_are_checked_when_asked_for),
        TEST(test_tls__a_name_is_looked_up_and_checked),
        TEST(test_tls__client_certificates),
        TEST(test_tls__new_certificates_while_running),
        TEST(test_tls__plain_bytes_to_a_tls_port_are_left_alone),
        TEST(test_tls__a_server_that_speaks_plain),
        TEST(test_tls__handshakes_have_a_limit),
        TEST(test_tls__connecting_includes_the_handshake),
        TEST(test_tls__sessions_are_bounded),
        TEST(test_tls__many_at_once),
        cmocka_unit_test(test_tls__closed_at_any_moment),
        TEST(test_tls__each_allocation_of_the_client_may_fail),
        cmocka_unit_test(test_tls_context_new__says_what_is_wrong),
        cmocka_unit_test(test_tls_key_unwrap__broken_ones),
        cmocka_unit_test(test_tls_session_new__needs_a_ca),
        cmocka_unit_test(test_tls_context_new__each_allocation_may_fail),
        cmocka_unit_test(test_tls_cert_serial__tells_certificates_apart),
        cmocka_unit_test(test_tls_name_matches__as_the_rules_say),
        cmocka_unit_test(test_tls_ciphers_parse__as_openssl_does),
        TEST(test_tls__a_cipher_list_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
