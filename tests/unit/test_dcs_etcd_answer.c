/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_dcs_etcd_answer.c - etcd's answers and our configuration, read without a network:
 * verdicts, streams cut into documents, API versions, endpoints.
 */
#include "dcs_support.h"

#include "dcs/etcd3.h"

static struct pgv_arena arena;

static int setup(void **state)
{
    (void)state;
    pgv_arena_init(&arena, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pgv_arena_done(&arena);
    return pgv_alloc_blocks_in_use() != 0;
}

/* The table that decides what an error lets us conclude. A line moved to another verdict is a
 * demotion too many or one too few. */
static void test_classify__every_error_we_know(void **state)
{
    static const struct {
        int code;
        const char *message;
        enum etcd3_verdict is;
    } cases[] = {
        { 14, "etcdserver: request timed out", ETCD3_AGAIN },
        { 14, "etcdserver: request timed out, possibly due to previous leader failure",
          ETCD3_AGAIN },
        { 14, "etcdserver: leader changed", ETCD3_AGAIN },
        { 14, "etcdserver: no leader", ETCD3_AGAIN },
        { 2, "etcdserver: no leader", ETCD3_AGAIN }, /* as forwarded by a follower */
        { 9, "etcdserver: no leader", ETCD3_AGAIN },
        { 14, "etcdserver: unhealthy cluster", ETCD3_AGAIN },
        { 14, "transport is closing", ETCD3_NODE_FAILED },
        { 14, "etcdserver: server stopped", ETCD3_NODE_FAILED },
        { 2, "not a primary lessor", ETCD3_NODE_FAILED },
        { 2, "something new", ETCD3_NODE_FAILED },
        { 0, "", ETCD3_NODE_FAILED },
        { 99, "from the future", ETCD3_NODE_FAILED },
        { 12, "unknown service", ETCD3_NODE_FAILED },
        { 13, "internal", ETCD3_NODE_FAILED },
        { 15, "etcdserver: corrupt cluster", ETCD3_NODE_FAILED },
        { 1, "context canceled", ETCD3_AGAIN },
        { 1, "", ETCD3_AGAIN },
        { 4, "context deadline exceeded", ETCD3_AGAIN },
        { 2, "context deadline exceeded", ETCD3_AGAIN },
        { 4, "x", ETCD3_AGAIN },
        { 9, "x", ETCD3_AGAIN },
        { 10, "x", ETCD3_AGAIN },
        { 8, "etcdserver: too many requests", ETCD3_AGAIN },
        { 8, "etcdserver: mvcc: database space exceeded", ETCD3_REFUSED },
        { 3, "etcdserver: request is too large", ETCD3_REFUSED },
        { 3, "etcdserver: key is not provided", ETCD3_REFUSED },
        { 11, "etcdserver: mvcc: required revision has been compacted", ETCD3_REFUSED },
        { 6, "x", ETCD3_REFUSED },
        { 5, "x", ETCD3_REFUSED },
        { 5, "etcdserver: requested lease not found", ETCD3_LEASE_LOST },
        { 2, "etcdserver: requested lease not found", ETCD3_LEASE_LOST },
        { 9, "etcdserver: authentication is not enabled", ETCD3_AUTH_OFF },
        { 3, "etcdserver: authentication failed, invalid user ID or password", ETCD3_BAD_LOGIN },
        { 3, "etcdserver: user name is empty", ETCD3_AUTH },
        { 16, "etcdserver: invalid auth token", ETCD3_AUTH },
        { 3, "etcdserver: revision of auth store is old", ETCD3_AUTH },
        { 16, "x", ETCD3_AUTH },
        { 7, "etcdserver: permission denied", ETCD3_DENIED },
        { 7, "x", ETCD3_DENIED },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        if (etcd3_classify(cases[i].code, cases[i].message) != cases[i].is)
            fail_msg("code %d '%s'", cases[i].code, cases[i].message);
}

static void test_answer_read__errors_in_all_their_forms(void **state)
{
    static const struct {
        int status;
        bool stream;
        const char *text;
        enum etcd3_verdict verdict;
        const char *message;
    } cases[] = {
        { 404, false,
          "{\"error\":\"etcdserver: requested lease not found\",\"message\":\"etcdserver: "
          "requested lease not found\",\"code\":5}",
          ETCD3_LEASE_LOST, "etcdserver: requested lease not found" },
        { 503, true,
          "{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":\"m\",\"http_status\":\"x\"}"
          "}",
          ETCD3_NODE_FAILED, "m" },
        { 200, true, "{\"error\":{\"code\":7,\"message\":\"m\"}}\n", ETCD3_DENIED, "m" },
        { 200, false, "{\"Error\":\"m\",\"Code\":7}", ETCD3_DENIED, "m" },
        { 400, false, "{\"message\":\"m\",\"code\":3}", ETCD3_REFUSED, "m" },
        { 400, false, "{\"error\":\"etcdserver: permission denied\"}", ETCD3_DENIED,
          "etcdserver: permission denied" },
        { 500, false, "{}", ETCD3_NODE_FAILED, "an error without a text" },
        { 502, false, "<html>", ETCD3_NODE_FAILED, "HTTP status 502 without a JSON object" },
        { 200, false, "{\"header\":", ETCD3_NODE_FAILED, "HTTP status 200 without a JSON object" },
        { 200, false, "[]", ETCD3_NODE_FAILED, "HTTP status 200 without a JSON object" },
        { 200, false, "", ETCD3_NODE_FAILED, "HTTP status 200 without a JSON object" },
        { 200, true, "{\"header\":{}}", ETCD3_NODE_FAILED, "a stream document without a result" },
    };
    struct etcd3_answer answer;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        etcd3_answer_read(&arena, cases[i].status, pgv_str(cases[i].text), cases[i].stream,
                          &answer);
        assert_int_equal(answer.verdict, cases[i].verdict);
        assert_string_equal(answer.message, cases[i].message);
        assert_null(answer.body);
    }
    etcd3_answer_read(&arena, 404, PGV_STR("404 page not found"), false, &answer);
    assert_true(answer.not_gateway);
    /* our want of memory is not the node's fault */
    pgv_arena_done(&arena);
    pgv_alloc_fail_at(1, true);
    etcd3_answer_read(&arena, 200, PGV_STR("{\"header\":{}}"), false, &answer);
    pgv_alloc_fail_at(0, false);
    assert_int_equal(answer.verdict, ETCD3_AGAIN);
    assert_string_equal(answer.message, "no memory to read the answer");
}

static void test_answer_read__ids_are_exact(void **state)
{
    struct etcd3_answer answer;
    char id[DCS_VERSION_BYTES];

    (void)state;
    etcd3_answer_read(&arena, 200,
                      PGV_STR("{\"result\":{\"header\":{\"cluster_id\":\"18446744073709551615\","
                              "\"revision\":\"9007199254740993\",\"raft_term\":5},"
                              "\"ID\":9223372036854775807,\"TTL\":\"30\"}}\n{\"result\":{}}"),
                      true, &answer);
    assert_int_equal(answer.verdict, ETCD3_OK);
    assert_string_equal(answer.cluster_id, "18446744073709551615");
    assert_true(answer.revision == 9007199254740993u);
    assert_int_equal(answer.raft_term, 5);
    etcd3_id(pgv_get(answer.body, "ID"), id);
    assert_string_equal(id, "9223372036854775807");
    assert_int_equal(etcd3_u64(pgv_get(answer.body, "TTL")), 30);
    etcd3_id(pgv_get(answer.body, "absent"), id);
    assert_string_equal(id, "");
    etcd3_id(pgv_new_string(&arena, PGV_STR("12\"34")), id);
    assert_string_equal(id, "");
    etcd3_id(pgv_new_string(&arena, PGV_STR("0")), id);
    assert_string_equal(id, "");
}

static void test_scan__documents_however_they_are_cut(void **state)
{
    static const char text[] = " {\"a\":\"}{\\\"\",\"b\":[{}]}\n{\"c\":1}{}\n";
    static const size_t ends[] = { 21, 8, 2 };

    (void)state;
    for (size_t step = 1; step < sizeof(text); step++) {
        struct etcd3_scan scan = { 0 };
        size_t from = 0, have = 0, n, found = 0;

        while (have < sizeof(text) - 1) {
            have = have + step < sizeof(text) - 1 ? have + step : sizeof(text) - 1;
            while (etcd3_scan(&scan, (struct pgv_str){ text + from, have - from }, &n)) {
                assert_in_range(found, 0, 2);
                assert_int_equal(text[from + n - 1], '}');
                assert_in_range(n, ends[found], ends[found] + 1);
                from += n;
                found++;
            }
        }
        assert_int_equal(found, 3);
    }
}

static void test_api_read__prefix_by_cluster_version(void **state)
{
    static const struct {
        const char *server, *cluster, *path; /* NULL: not usable */
        enum etcd3_verdict verdict;
        bool auth, watch, final;
    } cases[] = {
        { "3.4.23", "3.4.0", "/v3", ETCD3_OK, true, true, true },
        { "3.6.0-rc.1", "3.6.0", "/v3", ETCD3_OK, true, true, true },
        { "4.0.0", "4.0.0", "/v3", ETCD3_OK, true, true, true },
        { "3.4.0", "3.3.0", "/v3beta", ETCD3_OK, true, true, false },
        { "3.2.1", "3.2.0", "/v3alpha", ETCD3_OK, false, true, false },
        { "3.0.4", "3.0.0", "/v3alpha", ETCD3_OK, false, false, false },
        { "3.0.3", "3.0.0", NULL, ETCD3_TOO_OLD, false, false, false },
        { "2.3.8", "2.3.0", NULL, ETCD3_TOO_OLD, false, false, false },
        { "3.4.0", "2.3.0", NULL, ETCD3_TOO_OLD, false, false, false },
        { "3.4.0", "not_decided", NULL, ETCD3_NODE_FAILED, false, false, false },
        { "", "", NULL, ETCD3_NODE_FAILED, false, false, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct etcd3_api api = { 0 };
        char text[128];

        snprintf(text, sizeof(text), "{\"etcdserver\":\"%s\",\"etcdcluster\":\"%s\"}",
                 cases[i].server, cases[i].cluster);
        assert_int_equal(etcd3_api_read(pgv_str(text), &api), cases[i].verdict);
        assert_string_equal(api.path, cases[i].path ? cases[i].path : "");
        assert_int_equal(api.auth, cases[i].auth);
        assert_int_equal(api.watch, cases[i].watch);
        assert_int_equal(api.final, cases[i].final);
    }
    {
        struct etcd3_api api = { 0 };

        assert_int_equal(etcd3_api_read(PGV_STR("<html>"), &api), ETCD3_NODE_FAILED);
        pgv_alloc_fail_at(1, true);
        assert_int_equal(
            etcd3_api_read(PGV_STR("{\"etcdserver\":\"3.4.0\",\"etcdcluster\":\"3.4.0\"}"), &api),
            ETCD3_AGAIN);
        pgv_alloc_fail_at(0, false);
    }
}

static bool config(const char *json, struct etcd3_config *c)
{
    struct pgv_value *v = NULL;
    struct pgv_error err = { 0 };

    assert_true(pgv_json_parse(&arena, pgv_str(json), &v, NULL));
    if (etcd3_config_read(v, c, &err))
        return true;
    assert_int_equal(err.code, PGV_EINVALID);
    assert_null(strstr(err.msg, "secret"));
    return false;
}

static void test_config_read__endpoints(void **state)
{
    static const struct {
        const char *json, *host, *last_host;
        int port, last_port;
        unsigned n;
        bool https, spread, proxies;
    } cases[] = {
        { "{\"host\":\"h\"}", "h", "h", 2379, 2379, 1, false, true, false },
        { "{\"host\":\"h:1\",\"port\":2}", "h", "h", 2, 2, 1, false, true, false },
        { "{\"host\":\"h\",\"protocol\":\"https\"}", "h", "h", 2379, 2379, 1, true, false, false },
        { "{\"hosts\":\"a:1, b:2,[::1]:3\"}", "a", "::1", 1, 3, 3, false, false, false },
        { "{\"hosts\":[\"a\",\"b:2\"]}", "a", "b", 2379, 2, 2, false, false, false },
        { "{\"hosts\":[\"a\"],\"host\":\"z\"}", "a", "a", 2379, 2379, 1, false, false, false },
        { "{\"url\":\"https://u:secret@h\",\"hosts\":\"a\"}", "h", "h", 2379, 2379, 1, true, false,
          false },
        { "{\"url\":\"http://[::1]:5/\"}", "::1", "::1", 5, 5, 1, false, false, false },
        { "{\"url\":\"http://[::1]/\"}", "::1", "::1", 2379, 2379, 1, false, false, false },
        { "{\"proxy\":\"http://p:9\",\"url\":\"http://u\"}", "p", "p", 9, 9, 1, false, false,
          true },
        { "{\"host\":\"h\",\"use_proxies\":\"on\"}", "h", "h", 2379, 2379, 1, false, true, true },
    };
    struct etcd3_config c;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_true(config(cases[i].json, &c));
        assert_int_equal(c.n_hosts, cases[i].n);
        assert_string_equal(c.hosts[0].host, cases[i].host);
        assert_int_equal(c.hosts[0].port, cases[i].port);
        assert_string_equal(c.hosts[c.n_hosts - 1].host, cases[i].last_host);
        assert_int_equal(c.hosts[c.n_hosts - 1].port, cases[i].last_port);
        assert_int_equal(c.https, cases[i].https);
        assert_int_equal(c.spread_host, cases[i].spread);
        assert_int_equal(c.proxies, cases[i].proxies);
    }
    assert_true(config("{\"srv\":\"example.org\",\"srv_suffix\":\"x\"}", &c));
    assert_string_equal(c.srv, "example.org");
    assert_string_equal(c.srv_suffix, "x");
    assert_true(config("{\"discovery_srv\":\"example.org\"}", &c));
    assert_string_equal(c.srv, "example.org");
    for (const char *const *j =
             (const char *const[]){
                 "{}", "{\"host\":\"\"}", "{\"host\":\"h:x\"}", "{\"port\":2379}",
                 "{\"url\":\"secret://h\"}", "{\"url\":\"h\"}",
                 "{\"host\":\"h\",\"protocol\":\"ftp\"}", "{\"host\":\"h\",\"port\":70000}",
                 "{\"host\":\"h\",\"cacert\":[1]}", "{\"hosts\":[1]}",
                 "{\"hosts\":\"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17\"}", NULL };
         *j; j++)
        assert_false(config(*j, &c));
}

static void test_config_read__login(void **state)
{
    struct etcd3_config c;

    (void)state;
    assert_true(config("{\"host\":\"h\",\"username\":\"u\",\"password\":12345}", &c));
    assert_true(c.has_login);
    assert_string_equal(c.password, "12345");
    assert_true(config("{\"host\":\"h\",\"username\":\"u\"}", &c));
    assert_false(c.has_login);
    assert_true(
        config("{\"url\":\"http://u:secret%21@h\",\"username\":\"x\",\"password\":\"y\"}", &c));
    assert_true(c.has_login);
    assert_string_equal(c.username, "u");
    assert_string_equal(c.password, "secret!");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classify__every_error_we_know),
        cmocka_unit_test(test_answer_read__errors_in_all_their_forms),
        cmocka_unit_test(test_answer_read__ids_are_exact),
        cmocka_unit_test(test_scan__documents_however_they_are_cut),
        cmocka_unit_test(test_api_read__prefix_by_cluster_version),
        cmocka_unit_test(test_config_read__endpoints),
        cmocka_unit_test(test_config_read__login),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
