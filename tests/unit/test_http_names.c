/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_http_names.c - names through c-ares, from a name server that is this test.
 */
#include "http_support.h"

#include "base/clock.h"
#include "base/file.h"
#include "http/names.h"
#include "http/sock.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

struct fixture {
    uv_loop_t loop;
    uv_poll_t dns;
    int dns_fd;
    unsigned n_asked, want_asked, want_done;
    bool asked_all, done_all;
    bool closed, done, failed;
    bool mute;      /* the name server says nothing */
    unsigned rcode; /* or only this */
    char number;    /* the last byte of what *.num.test has */
    struct names_query q;
    struct names_srv_query srv;
    enum pgv_code code;
    unsigned n_done;
};

static const char *conf_path; /* instead of resolv.conf */

static void put16(struct pgv_buf *b, unsigned v)
{
    (void)pgv_buf_putc(b, (char)(v >> 8 & 0xff));
    (void)pgv_buf_putc(b, (char)(v & 0xff));
}

/* One answer record: the name is a pointer to the question's. */
static void put_record(struct pgv_buf *b, unsigned type, const void *data, unsigned n)
{
    put16(b, 0xc00c);
    put16(b, type);
    put16(b, 1);
    put16(b, 0);
    put16(b, 60);
    put16(b, n);
    (void)pgv_buf_append(b, data, n);
}

static void read_name(const unsigned char *p, size_t n, char ret[256], size_t *ret_end)
{
    struct pgv_buf b;
    size_t at = 12;

    pgv_buf_init(&b, 255);
    while (at < n && p[at]) {
        (void)pgv_buf_append(&b, p + at + 1, p[at]);
        (void)pgv_buf_putc(&b, '.');
        at += p[at] + 1u;
    }
    assert_true(pgv_copy(ret, 256, pgv_buf_view(&b)));
    *ret_end = at + 1;
    pgv_buf_done(&b);
}

static void on_dns(uv_poll_t *poll, int status, int events)
{
    struct fixture *f = poll->data;
    unsigned char q[512];
    struct sockaddr_storage from;
    socklen_t from_n = sizeof(from);
    ssize_t n = recvfrom(f->dns_fd, q, sizeof(q), 0, (struct sockaddr *)&from, &from_n);
    struct pgv_buf b;
    char name[256];
    size_t end;
    unsigned type, answers = 0, rcode = 3;

    (void)status;
    (void)events;
    if (n < 12)
        return;
    f->asked_all = ++f->n_asked >= f->want_asked;
    read_name(q, (size_t)n, name, &end);
    type = (unsigned)q[end] << 8 | q[end + 1];
    if (strncmp(name, "silent.", 7) == 0 || f->mute)
        return;
    pgv_buf_init(&b, 2000);
    (void)pgv_buf_append(&b, q, 2);
    put16(&b, 0); /* flags and counts, set below */
    put16(&b, 1);
    put16(&b, 0);
    put16(&b, 0);
    put16(&b, 0);
    (void)pgv_buf_append(&b, q + 12, end + 4 - 12);
    if (f->rcode) {
        ;
    } else if (strcmp(name, "both.test.") == 0 && type == 1) {
        put_record(&b, 1, "\x0a\0\0\1", 4);
        put_record(&b, 1, "\x0a\0\0\2", 4);
        answers = 2;
    } else if (strcmp(name, "both.test.") == 0 && type == 28) {
        put_record(&b, 28, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
        answers = 1;
    } else if (strcmp(name, "many.test.") == 0 && type == 1) {
        for (char i = 1; i <= 12; i++) {
            char a[4] = { 10, 0, 0, i };
            put_record(&b, 1, a, 4);
        }
        answers = 12;
    } else if (strstr(name, ".num.test.") && type == 1) {
        char a[4] = { 10, 0, 1, f->number };
        put_record(&b, 1, a, 4);
        answers = 1;
    } else if (strcmp(name, "_etcd-client._tcp.test.") == 0 && type == 33) {
        put_record(&b, 33, "\0\0\0\0\x09\x4b\2n1\4test\0", 15);
        put_record(&b, 33, "\0\1\0\1\x09\x4c\2n2\4test\0", 15);
        answers = 2;
    }
    if (answers || f->rcode || strstr(name, ".num.test.") || strcmp(name, "both.test.") == 0 ||
        strcmp(name, "many.test.") == 0)
        rcode = f->rcode;
    b.p[2] = (char)0x85;
    b.p[3] = (char)(0x80 | rcode);
    b.p[7] = (char)answers;
    assert_int_equal(sendto(f->dns_fd, b.p, b.n, 0, (struct sockaddr *)&from, from_n),
                     (ssize_t)b.n);
    pgv_buf_done(&b);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    struct pgv_error err;
    char server[64];

    uv_loop_init(&f->loop);
    f->dns_fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->dns_fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(f->dns_fd, (struct sockaddr *)&a, &n), 0);
    uv_poll_init(&f->loop, &f->dns, f->dns_fd);
    f->dns.data = f;
    uv_poll_start(&f->dns, UV_READABLE, on_dns);
    (void)snprintf(server, sizeof(server), "127.0.0.1:%d", ntohs(a.sin_port));
    assert_true(names_open(&f->loop, &err));
    if (conf_path)
        names_use_conf(conf_path);
    assert_true(names_use_servers(server, &err));
    f->q.data = f;
    f->srv.data = f;
    *state = f;
    return 0;
}

static void on_closed(void *data)
{
    struct fixture *f = data;
    f->closed = true;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (!f->closed)
        names_close(on_closed, f);
    RUN_UNTIL_TRUE(&f->loop, f->closed);
    uv_close((uv_handle_t *)&f->dns, NULL);
    (void)close(f->dns_fd);
    test_loop_done(&f->loop);
    free(f);
    return 0;
}

static void on_names(struct names_query *q, const struct pgv_error *err)
{
    struct fixture *f = q->data;

    f->done = true;
    f->done_all = ++f->n_done >= f->want_done;
    f->code = err ? err->code : PGV_OK;
}

static void on_srv(struct names_srv_query *q, const struct pgv_error *err)
{
    struct fixture *f = q->data;

    f->done = true;
    f->done_all = ++f->n_done >= f->want_done;
    f->code = err ? err->code : PGV_OK;
}

static void resolve(struct fixture *f, const char *host, uint64_t timeout_ms)
{
    f->done = false;
    names_resolve(&f->q, host, 5432, timeout_ms, on_names);
    assert_false(f->done);
    RUN_UNTIL_TRUE(&f->loop, f->done);
}

static bool has(const struct names_query *q, const char *address)
{
    for (unsigned i = 0; i < q->n; i++) {
        char text[SOCK_ADDR_BYTES];
        sock_addr_text(&q->addrs[i], text);
        assert_int_equal(sock_addr_port(&q->addrs[i]), 5432);
        if (strcmp(text, address) == 0)
            return true;
    }
    return false;
}

static void test_names_resolve__literals_ask_nobody(void **state)
{
    struct fixture *f = *state;

    resolve(f, "10.1.2.3", 0);
    assert_int_equal(f->code, PGV_OK);
    assert_int_equal(f->q.n, 1);
    assert_true(has(&f->q, "10.1.2.3"));
    resolve(f, "fd00::5", 0);
    assert_true(has(&f->q, "fd00::5"));
    assert_int_equal(f->n_asked, 0);
}

static void test_names_resolve__the_hosts_file_comes_first(void **state)
{
    struct fixture *f = *state;

    resolve(f, "localhost", 0);
    assert_int_equal(f->code, PGV_OK);
    assert_true(has(&f->q, "127.0.0.1"));
    assert_int_equal(f->n_asked, 0);
}

static void test_names_resolve__all_addresses_of_a_name(void **state)
{
    struct fixture *f = *state;

    resolve(f, "both.test", 0);
    assert_int_equal(f->code, PGV_OK);
    assert_int_equal(f->q.n, 3);
    assert_true(has(&f->q, "10.0.0.1"));
    assert_true(has(&f->q, "10.0.0.2"));
    assert_true(has(&f->q, "fd00::1"));
    resolve(f, "many.test", 0);
    assert_int_equal(f->code, PGV_OK);
    assert_int_equal(f->q.n, NAMES_ADDRS_MAX);
}

static void test_names_resolve__no_such_name_and_no_answer_differ(void **state)
{
    struct fixture *f = *state;

    resolve(f, "unknown.test", 0);
    assert_int_equal(f->code, PGV_EINVALID);
    assert_int_equal(f->q.n, 0);
    resolve(f, "silent.test", 50);
    assert_int_equal(f->code, PGV_EUNREACHABLE);
}

static bool has_both(const struct fixture *f)
{
    return f->code == PGV_OK && f->q.n == 3 && has(&f->q, "10.0.0.1") && has(&f->q, "10.0.0.2") &&
           has(&f->q, "fd00::1");
}

static void test_names_resolve__what_a_name_had_last(void **state)
{
    struct fixture *f = *state;
    uint64_t begun_ms;

    f->q.or_last_known = true;
    resolve(f, "both.test", 0);
    assert_true(has_both(f));
    f->mute = true;
    begun_ms = pgv_clock_ms();
    resolve(f, "BOTH.test", 0);
    assert_true(has_both(f));
    assert_true(pgv_clock_ms() - begun_ms < 5000); /* not the whole time limit */
    resolve(f, "both.test", 20);                   /* which may be shorter */
    assert_true(has_both(f));
    pgv_alloc_fail_at(1, true);
    f->done = false;
    names_resolve(&f->q, "both.test", 5432, 0, on_names);
    pgv_alloc_fail_at(0, false);
    RUN_UNTIL_TRUE(&f->loop, f->done);
    assert_true(has_both(f));
    f->mute = false;
    f->rcode = 2; /* SERVFAIL */
    resolve(f, "both.test", 0);
    assert_true(has_both(f));
    f->rcode = 3; /* NXDOMAIN */
    resolve(f, "both.test", 0);
    assert_true(has_both(f));
    /* only for those who want it, and for names that were known once */
    f->q.or_last_known = false;
    resolve(f, "both.test", 0);
    assert_int_equal(f->code, PGV_EINVALID);
    f->q.or_last_known = true;
    resolve(f, "many.test", 0);
    assert_int_equal(f->code, PGV_EINVALID);
    f->rcode = 0;
    names_resolve(&f->q, "both.test", 5432, 0, on_names);
    names_cancel(&f->q);
    f->done = false;
    RUN_UNTIL_TRUE(&f->loop, f->done);
    assert_int_equal(f->code, PGV_ECANCELED);
}

static void write_conf(const char *path, const char *text)
{
    struct pgv_error err;

    if (!pgv_file_replace(path, pgv_str(text), 0600, &err))
        fail_msg("%s", err.msg);
}

/* Name servers that do not answer keep us waiting for them; a new resolv.conf counts at once. */
static void test_names_resolve__a_new_resolv_conf_counts_at_once(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/pgvigil-names-XXXXXX";
    struct names_query q = { 0 };
    uint64_t begun_ms;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    (void)close(fd);
    (void)teardown((void **)&f);
    conf_path = path;
    write_conf(path, "nameserver 127.0.0.1\n");
    (void)setup((void **)&f);
    *state = q.data = f;
    f->mute = true;
    f->done = false;
    names_resolve(&f->q, "both.test", 5432, 0, on_names);
    names_srv(&f->srv, "_etcd-client._tcp.test", 0, on_srv);
    f->want_asked = 3; /* both families, and the service */
    RUN_UNTIL_TRUE(&f->loop, f->asked_all);
    f->mute = false;
    begun_ms = pgv_clock_ms();
    write_conf(path, "nameserver 127.0.0.1\noptions ndots:1\n");
    names_resolve(&q, "many.test", 5432, 0, on_names);
    f->want_done = 3;
    RUN_UNTIL_TRUE(&f->loop, f->done_all);
    assert_int_equal(f->code, PGV_OK);
    assert_true(has_both(f));
    assert_int_equal(f->srv.n, 2);
    assert_int_equal(q.n, NAMES_ADDRS_MAX);
    assert_true(pgv_clock_ms() - begun_ms < 1500); /* the old ones are asked again after two */

    /* who has given up meanwhile is not asked for any more */
    f->mute = true;
    f->n_asked = 0;
    resolve(f, "both.test", 30);
    assert_int_equal(f->code, PGV_EUNREACHABLE);
    f->mute = false;
    write_conf(path, "nameserver 127.0.0.1\n");
    resolve(f, "many.test", 0);
    assert_int_equal(f->code, PGV_OK);
    assert_int_equal(f->n_asked, 4);
    conf_path = NULL;
    (void)unlink(path);
}

/* The names used last stay; a new address takes the place of an old one. */
static void test_names_resolve__keeps_so_many_names(void **state)
{
    struct fixture *f = *state;
    char host[32];

    f->q.or_last_known = true;
    resolve(f, "both.test", 0);
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(host, sizeof(host), "n%u.num.test", i);
        f->number = (char)i;
        resolve(f, host, 0);
        assert_int_equal(f->code, PGV_OK);
    }
    f->number = 77;
    resolve(f, "n38.num.test", 0);
    f->rcode = 2;
    resolve(f, "n39.num.test", 0);
    assert_true(f->q.n == 1 && has(&f->q, "10.0.1.39"));
    resolve(f, "n38.num.test", 0);
    assert_true(f->q.n == 1 && has(&f->q, "10.0.1.77"));
    resolve(f, "both.test", 0);
    assert_int_not_equal(f->code, PGV_OK);
}

static void test_names_cancel__comes_later_and_once(void **state)
{
    struct fixture *f = *state;
    static const char *const hosts[] = { "10.0.0.1", "both.test", "silent.test", "localhost" };

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        for (unsigned turns = 0; turns < 4; turns++) {
            f->done = false;
            f->n_done = 0;
            names_resolve(&f->q, hosts[i], 1, 0, on_names);
            for (unsigned t = 0; t < turns && !f->done; t++)
                uv_run(&f->loop, UV_RUN_NOWAIT);
            if (f->done)
                continue;
            names_cancel(&f->q);
            names_cancel(&f->q);
            assert_false(f->done);
            RUN_UNTIL_TRUE(&f->loop, f->done);
            assert_int_equal(f->code, PGV_ECANCELED);
            assert_int_equal(f->n_done, 1);
        }
    }
}

static void test_names_use_servers__nonsense_is_refused(void **state)
{
    struct fixture *f = *state;
    struct pgv_error err;

    assert_false(names_use_servers("not-an-address", &err));
    assert_int_equal(err.code, PGV_EINVALID);
    resolve(f, "10.0.0.1", 0); /* needs none */
    assert_int_equal(f->code, PGV_OK);
    resolve(f, "both.test", 0);
    assert_int_equal(f->code, PGV_EINVALID);
}

static void test_names_srv__targets_with_ports(void **state)
{
    struct fixture *f = *state;

    names_srv(&f->srv, "_etcd-client._tcp.test", 0, on_srv);
    RUN_UNTIL_TRUE(&f->loop, f->done);
    assert_int_equal(f->code, PGV_OK);
    assert_int_equal(f->srv.n, 2);
    assert_string_equal(f->srv.targets[0].host, "n1.test");
    assert_int_equal(f->srv.targets[0].port, 2379);
    assert_string_equal(f->srv.targets[1].host, "n2.test");
    assert_int_equal(f->srv.targets[1].port, 2380);

    f->done = false;
    names_srv(&f->srv, "_none._tcp.test", 0, on_srv);
    RUN_UNTIL_TRUE(&f->loop, f->done);
    assert_int_equal(f->code, PGV_EINVALID);
    f->done = false;
    names_srv(&f->srv, "silent.test", 50, on_srv);
    RUN_UNTIL_TRUE(&f->loop, f->done);
    assert_int_equal(f->code, PGV_EUNREACHABLE);
    f->done = false;
    names_srv(&f->srv, "silent.test", 0, on_srv);
    names_srv_cancel(&f->srv);
    RUN_UNTIL_TRUE(&f->loop, f->done);
    assert_int_equal(f->code, PGV_ECANCELED);
}

static void test_names_close__ends_what_is_in_flight(void **state)
{
    struct fixture *f = *state;

    for (unsigned turns = 0; turns < 4; turns++) {
        static const char *const hosts[] = { "silent.test", "both.test", "10.0.0.1" };
        for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
            void *inner = NULL;
            struct fixture *g;

            (void)teardown((void **)&f);
            (void)setup(&inner);
            g = f = inner;
            names_resolve(&g->q, hosts[i], 1, 0, on_names);
            names_srv(&g->srv, "silent.test", 0, on_srv);
            for (unsigned t = 0; t < turns; t++)
                uv_run(&g->loop, UV_RUN_NOWAIT);
            names_close(on_closed, g);
            assert_false(g->closed);
            RUN_UNTIL_TRUE(&g->loop, g->closed);
            assert_int_equal(g->n_done, 2);
        }
    }
    *state = f;
}

static void test_names__each_allocation_may_fail(void **state)
{
    struct fixture *f = *state;
    unsigned n_failed = 0;

    for (unsigned long nth = 1; nth < 60; nth++) {
        f->done = false;
        pgv_alloc_fail_at(nth, true);
        names_resolve(&f->q, "both.test", 1, 30, on_names);
        pgv_alloc_fail_at(0, false);
        RUN_UNTIL_TRUE(&f->loop, f->done);
        if (f->code == PGV_OK)
            assert_true(f->q.n > 0);
        else
            n_failed++;
    }
    assert_true(n_failed > 3);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_names_resolve__literals_ask_nobody),
        TEST(test_names_resolve__the_hosts_file_comes_first),
        TEST(test_names_resolve__all_addresses_of_a_name),
        TEST(test_names_resolve__no_such_name_and_no_answer_differ),
        TEST(test_names_resolve__what_a_name_had_last),
        TEST(test_names_resolve__keeps_so_many_names),
        TEST(test_names_resolve__a_new_resolv_conf_counts_at_once),
        TEST(test_names_cancel__comes_later_and_once),
        TEST(test_names_use_servers__nonsense_is_refused),
        TEST(test_names_srv__targets_with_ports),
        TEST(test_names_close__ends_what_is_in_flight),
        TEST(test_names__each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
