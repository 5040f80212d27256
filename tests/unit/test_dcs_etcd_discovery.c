/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_dcs_etcd_discovery.c - endpoints from SRV records and from names with several
 * addresses: a name server of our own and one that speaks a little etcd.
 */
#include "dcs_support.h"

#include "http/httpd.h"
#include "http/names.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

static uv_poll_t dns;
static int dns_fd;
static char asked[64][96]; /* names of SRV queries, in order */
static unsigned n_asked;
static const char *srv_name; /* the one that exists */
static struct httpd etcd;
static bool etcd_closed;
static bool deaf; /* it serves nobody */
static unsigned n_peers_asked;
static struct client c;
static struct request r;

/* ---- the name server ------------------------------------------------------------------------ */

/* The name of a question, dotted and lower-case. Returns its length in the packet, 0: broken. */
static size_t read_name(const unsigned char *p, size_t n, char *ret, size_t ret_bytes)
{
    size_t at = 0, to = 0;

    while (at < n && p[at]) {
        size_t label = p[at++];

        if (label > 63 || at + label >= n || to + label + 2 > ret_bytes)
            return 0;
        if (to)
            ret[to++] = '.';
        for (size_t i = 0; i < label; i++)
            ret[to++] = (char)(p[at + i] >= 'A' && p[at + i] <= 'Z' ? p[at + i] + 32 : p[at + i]);
        at += label;
    }
    ret[to] = 0;
    return at + 1;
}

static void on_dns(uv_poll_t *poll, int status, int events)
{
    static const unsigned char target[] = "\003127\0010\0010\0011";
    struct sockaddr_in from;
    socklen_t from_n = sizeof(from);
    unsigned char q[512], a[1024];
    ssize_t n = recvfrom(dns_fd, q, sizeof(q), 0, (struct sockaddr *)&from, &from_n);
    char name[96];
    size_t name_n, at;
    bool srv, found;
    int port = httpd_port(&etcd);

    (void)poll;
    (void)events;
    if (status || n < 17 || !(name_n = read_name(q + 12, (size_t)n - 12, name, sizeof(name))))
        return;
    at = 12 + name_n + 4;
    if ((size_t)n < at)
        return;
    srv = q[12 + name_n + 1] == 33;
    if (srv && n_asked < 64)
        snprintf(asked[n_asked++], sizeof(asked[0]), "%s", name);
    found = srv && srv_name && !strcmp(name, srv_name);
    memcpy(a, q, at); /* header and question */
    a[2] = 0x85;
    a[3] = (unsigned char)(0x80 | (found ? 0 : 3));
    a[6] = 0;
    a[7] = found;
    memset(a + 8, 0, 4);
    if (found) {
        const unsigned char answer[] = { 0xc0,
                                         12,
                                         0,
                                         33,
                                         0,
                                         1,
                                         0,
                                         0,
                                         0,
                                         60,
                                         0,
                                         6 + sizeof(target),
                                         0,
                                         1,
                                         0,
                                         1,
                                         (unsigned char)(port >> 8),
                                         (unsigned char)port };

        memcpy(a + at, answer, sizeof(answer));
        memcpy(a + at + sizeof(answer), target, sizeof(target));
        at += sizeof(answer) + sizeof(target);
    }
    (void)!sendto(dns_fd, a, at, 0, (struct sockaddr *)&from, from_n);
}

/* ---- a little etcd -------------------------------------------------------------------------- */

static void on_request(struct httpd *s, struct httpd_req *q)
{
    char text[256];

    (void)s;
    if (deaf) {
        httpd_reply(q, 503, NULL, "text/plain", PGV_STR("later"));
        return;
    }
    if (pgv_str_eqz(q->path, "/version")) {
        snprintf(text, sizeof(text), "{\"etcdserver\":\"3.5.0\",\"etcdcluster\":\"3.5.0\"}");
    } else if (pgv_str_eqz(q->path, "/members")) {
        n_peers_asked++;
        snprintf(text, sizeof(text),
                 "[{\"peerURLs\":[\"x\"]},{\"clientURLs\":[\"http://127.0.0.1:%d\"]}]",
                 httpd_port(&etcd));
    } else {
        snprintf(text, sizeof(text),
                 "{\"header\":{\"cluster_id\":\"1\",\"revision\":\"1\",\"raft_term\":\"1\"}}");
    }
    httpd_reply(q, 200, NULL, "application/json", pgv_str(text));
}

static void on_etcd_closed(struct httpd *s)
{
    (void)s;
    etcd_closed = true;
}

static bool etcd_is_closed(void *data)
{
    (void)data;
    return etcd_closed;
}

static int setup(void **state)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t n = sizeof(a);
    char server[32];
    struct pgv_error err = { 0 };

    (void)state;
    n_asked = n_peers_asked = 0;
    srv_name = NULL;
    deaf = false;
    memset(&etcd, 0, sizeof(etcd));
    etcd_closed = false;
    assert_true(httpd_open(&etcd, &loop, "127.0.0.1", 0, NULL, on_request, &err));
    dns_fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(dns_fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(dns_fd, (struct sockaddr *)&a, &n), 0);
    uv_poll_init(&loop, &dns, dns_fd);
    uv_poll_start(&dns, UV_READABLE, on_dns);
    snprintf(server, sizeof(server), "127.0.0.1:%d", ntohs(a.sin_port));
    assert_true(names_use_servers(server, &err));
    return 0;
}

static int teardown(void **state)
{
    close_clients(state);
    uv_close((uv_handle_t *)&dns, NULL);
    httpd_close(&etcd, on_etcd_closed);
    wait_until(etcd_is_closed, NULL, 3000, "closing the server");
    close(dns_fd);
    return 0;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_srv__services_are_tried_in_order(void **state)
{
    static const char *const order[] = {
        "_etcd-client-ssl-x._tcp.example.test", "_etcd-client-x._tcp.example.test",
        "_etcd-ssl-x._tcp.example.test",        "_etcd-x._tcp.example.test",
        "_etcd-server-ssl-x._tcp.example.test", "_etcd-server-x._tcp.example.test",
    };

    (void)state;
    srv_name = order[3];
    client_open(&c, "n1", "{\"srv\":\"example.test\",\"srv_suffix\":\"x\"}", false, 20000);
    must(&c, DCS_READ, NULL); /* begun before any endpoint is known: it waits */
    assert_int_equal(n_asked, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_string_equal(asked[i], order[i]);
    assert_int_equal(n_peers_asked, 0);
}

static void test_srv__peers_tell_the_client_urls(void **state)
{
    (void)state;
    srv_name = "_etcd-server._tcp.example.test";
    client_open(&c, "n1", "{\"discovery_srv\":\"example.test\"}", false, 20000);
    must(&c, DCS_READ, NULL);
    assert_int_equal(n_asked, 6);
    assert_int_equal(n_peers_asked, 1);
}

static void test_srv__hosts_are_what_remains(void **state)
{
    char section[128];

    (void)state;
    snprintf(section, sizeof(section), "{\"srv\":\"example.test\",\"hosts\":\"127.0.0.1:%d\"}",
             httpd_port(&etcd));
    client_open(&c, "n1", section, false, 20000);
    must(&c, DCS_READ, NULL);
    assert_int_equal(n_asked, 6);
}

static void test_srv__nothing_is_unreachable_and_found_later(void **state)
{
    (void)state;
    client_open(&c, "n1", "{\"srv\":\"example.test\"}", false, 20000);
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 1000), PGV_EUNREACHABLE);
    srv_name = "_etcd-client._tcp.example.test";
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 10000), PGV_OK);
}

/* The endpoints of a proxy are in no list of members; an etcd that does not answer makes us look
 * for them again, and DNS may be gone just then. */
static void test_srv__what_was_found_outlives_the_name_server(void **state)
{
    (void)state;
    srv_name = "_etcd-client._tcp.example.test";
    client_open(&c, "n1", "{\"srv\":\"example.test\",\"use_proxies\":true}", false, 20000);
    must(&c, DCS_READ, NULL);
    srv_name = NULL;
    deaf = true;
    (void)run(&c, &r, DCS_READ, NULL, NULL, 8000); /* long enough for another discovery */
    assert_true(n_asked > 6);
    deaf = false;
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 5000), PGV_OK);
}

static void test_reload__counts_even_while_the_old_is_looked_up(void **state)
{
    struct pgv_value *section = NULL;
    struct pgv_error err;
    char text[128];

    (void)state;
    client_open(&c, "n1", "{\"srv\":\"example.test\"}", false, 20000);
    snprintf(text, sizeof(text), "{\"hosts\":\"127.0.0.1:%d\"}", httpd_port(&etcd));
    assert_true(pgv_json_parse(&c.arena, pgv_str(text), &section, NULL));
    assert_true(dcs_reload(&c.dcs, section, &err));
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 4000), PGV_OK);

    /* A section that makes no sense leaves everything as it is. */
    assert_true(pgv_json_parse(&c.arena, PGV_STR("{\"hosts\":[1]}"), &section, NULL));
    assert_false(dcs_reload(&c.dcs, section, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    must(&c, DCS_READ, NULL);
}

static void test_close__while_names_are_looked_up(void **state)
{
    (void)state;
    for (unsigned turns = 0; turns < 20; turns++) {
        srv_name = "_etcd-server._tcp.example.test";
        client_open(&c, "n1",
                    turns % 2 ? "{\"srv\":\"example.test\"}" : "{\"host\":\"etcd.example.test\"}",
                    true, 20000);
        start(&c, &r, DCS_READ, NULL, NULL, 5000);
        for (unsigned i = 0; i < turns; i++)
            uv_run(&loop, UV_RUN_NOWAIT);
        client_close(&c);
        assert_true(r.done);
    }
}

static void test_host__all_addresses_of_a_name(void **state)
{
    char section[128];

    (void)state;
    snprintf(section, sizeof(section), "{\"host\":\"localhost:%d\"}", httpd_port(&etcd));
    client_open(&c, "n1", section, false, 20000);
    must(&c, DCS_READ, NULL); /* also when ::1, where nobody listens, is one of them */
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_srv__services_are_tried_in_order),
        T(test_srv__peers_tell_the_client_urls),
        T(test_srv__hosts_are_what_remains),
        T(test_srv__nothing_is_unreachable_and_found_later),
        T(test_srv__what_was_found_outlives_the_name_server),
        T(test_reload__counts_even_while_the_old_is_looked_up),
        T(test_close__while_names_are_looked_up),
        T(test_host__all_addresses_of_a_name),
    };
    int failed;

    if (support_setup(NULL))
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return support_teardown(NULL) || failed ? 1 : 0;
}
