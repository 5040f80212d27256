/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_http_texts.c - URLs, base64, queries, reasons: texts in, texts out. */
#include "http_support.h"

#include "base/banned.h"

static void test_httpc_url_parse__takes_urls_apart(void **state)
{
    static const struct {
        const char *url;
        bool tls;
        const char *host;
        int port;
        const char *path, *userinfo;
    } table[] = {
        { "http://10.0.0.1:2379/v3/kv/range", false, "10.0.0.1", 2379, "/v3/kv/range", "" },
        { "https://etcd.example", true, "etcd.example", 443, "/", "" },
        { "http://etcd.example", false, "etcd.example", 80, "/", "" },
        { "HTTP://[::1]:8008/patroni?x=y", false, "::1", 8008, "/patroni?x=y", "" },
        { "http://u:p@h:1/", false, "h", 1, "/", "u:p" },
        { "http://u:p%40%3a@h:1/", false, "h", 1, "/", "u:p@:" },
        { "http://u:p@q@h:1/", false, "h", 1, "/", "u:p@q" },
        { "http://h?a=b", false, "h", 80, "/?a=b", "" },
        { "http://h/a#part", false, "h", 80, "/a", "" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct httpc_url u;
        assert_true(httpc_url_parse(pgv_str(table[i].url), &u));
        assert_int_equal(u.tls, table[i].tls);
        assert_string_equal(u.host, table[i].host);
        assert_int_equal(u.port, table[i].port);
        assert_string_equal(u.path, table[i].path);
        assert_string_equal(u.userinfo, table[i].userinfo);
    }
}

static void test_httpc_url_parse__refuses_what_is_none(void **state)
{
    static const char *const table[] = { "",
                                         "h:80",
                                         "ftp://h/",
                                         "http://",
                                         "http:///x",
                                         "http://h:0",
                                         "http://h:65536",
                                         "http://h:x/",
                                         "http://h/ b",
                                         "http://h/\r\nX: y",
                                         "http://[::1/",
                                         "https:/h",
                                         "http://h:80:90/",
                                         "http://[::1]80/",
                                         "http://[h]/",
                                         "http://h,g/",
                                         "http://h:/",
                                         "http://u%00:p@h/" };
    char longest[1024];
    (void)state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct httpc_url u = { .port = 7 };
        if (httpc_url_parse(pgv_str(table[i]), &u))
            fail_msg("taken for a URL: '%s'", table[i]);
        assert_int_equal(u.port, 7); /* untouched */
    }
    memset(longest, 'a', sizeof(longest));
    memcpy(longest, "http://h/", 9);
    longest[sizeof(longest) - 1] = '\0';
    assert_false(httpc_url_parse(pgv_str(longest), &(struct httpc_url){ 0 }));
    memcpy(longest, "http://aaa", 10);
    assert_false(httpc_url_parse(pgv_str(longest), &(struct httpc_url){ 0 }));
}

static void test_httpc_base64__both_ways(void **state)
{
    static const struct {
        struct pgv_str plain;
        const char *coded;
    } table[] = {
        { { "", 0 }, "" },
        { { "f", 1 }, "Zg==" },
        { { "fo", 2 }, "Zm8=" },
        { { "foo", 3 }, "Zm9v" },
        { { "foobar", 6 }, "Zm9vYmFy" },
        { { "\xff\xfe\x00\x80", 4 }, "//4AgA==" },
        { { "postgres:zalando", 16 }, "cG9zdGdyZXM6emFsYW5kbw==" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct pgv_buf b;
        pgv_buf_init(&b, 100);
        assert_true(httpc_base64_encode(&b, table[i].plain));
        assert_string_equal(pgv_buf_cstr(&b), table[i].coded);
        pgv_buf_reset(&b);
        assert_true(httpc_base64_decode(&b, pgv_str(table[i].coded)));
        assert_true(pgv_str_eq(pgv_buf_view(&b), table[i].plain));
        pgv_buf_done(&b);
    }
}

static void test_httpc_base64_decode__refuses_what_is_none(void **state)
{
    static const char *const table[] = { "Z",    "Zg",   "Zg=",      "Zh==",   "Zm9=", "Z===",
                                         "====", "Zm 9", "Zg==Zg==", "Zm9v\n", "Zm-v", "=m9v" };
    struct pgv_buf b;
    (void)state;

    pgv_buf_init(&b, 100);
    assert_true(pgv_buf_puts(&b, "kept"));
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (httpc_base64_decode(&b, pgv_str(table[i])))
            fail_msg("taken for base64: '%s'", table[i]);
        assert_string_equal(pgv_buf_cstr(&b), "kept");
    }
    pgv_buf_done(&b);
}

static void test_httpd_query_get__reads_as_python_does(void **state)
{
    static const struct {
        const char *query, *key, *value; /* NULL: absent */
    } table[] = {
        { "lag=10MB", "lag", "10MB" },
        { "a=1&lag=2&lag=3", "lag", "2" },
        { "lag=", "lag", NULL },
        { "lag=&lag=5", "lag", "5" }, /* an empty value does not exist */
        { "lag", "lag", NULL },
        { "", "lag", NULL },
        { "tag_key=a+b%20c%2B", "tag_key", "a b c+" },
        { "t%61g=x", "tag", "x" },
        { "x=%zz%4", "x", "%zz%4" },
        { "x=1;y=2", "y", NULL },
        { "x=1;y=2", "x", "1;y=2" },
        { "x=a=b", "x", "a=b" },
        { "x=%00", "x", NULL },
        { "x=0123456789", "x", NULL }, /* too long for the array below: not cut */
    };
    (void)state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char value[8 + 1] = "?";
        bool got = httpd_query_get(pgv_str(table[i].query), table[i].key, value, sizeof(value));
        if (got != (table[i].value != NULL))
            fail_msg("'%s': %s", table[i].query, got ? "present" : "absent");
        assert_string_equal(value, got ? table[i].value : "");
    }
}

struct pairs {
    char text[256];
    unsigned n, stop_after;
};

static bool on_pair(void *data, const char *key, const char *value)
{
    struct pairs *p = data;
    struct pgv_buf b;

    pgv_buf_init(&b, sizeof(p->text) - 1);
    assert_true(pgv_buf_printf(&b, "%s%s->%s;", p->text, key, value));
    assert_true(pgv_copy(p->text, sizeof(p->text), pgv_buf_view(&b)));
    pgv_buf_done(&b);
    return ++p->n != p->stop_after;
}

static void test_httpd_query_each__walks_in_order_and_stops(void **state)
{
    struct pairs all = { .stop_after = 0 }, two = { .stop_after = 2 };
    (void)state;

    httpd_query_each(pgv_str("&a=1&&b=&c&d=x%26y&a=2&"), &all, on_pair);
    assert_string_equal(all.text, "a->1;d->x&y;a->2;");
    httpd_query_each(pgv_str("a=1&b=2&c=3"), &two, on_pair);
    assert_string_equal(two.text, "a->1;b->2;");
}

static void test_httpd_reason__names_what_we_answer(void **state)
{
    (void)state;
    assert_string_equal(httpd_reason(200), "OK");
    assert_string_equal(httpd_reason(503), "Service Unavailable");
    assert_string_equal(httpd_reason(412), "Precondition Failed");
    assert_string_equal(httpd_reason(299), "Unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_httpc_url_parse__takes_urls_apart),
        cmocka_unit_test(test_httpc_url_parse__refuses_what_is_none),
        cmocka_unit_test(test_httpc_base64__both_ways),
        cmocka_unit_test(test_httpc_base64_decode__refuses_what_is_none),
        cmocka_unit_test(test_httpd_query_get__reads_as_python_does),
        cmocka_unit_test(test_httpd_query_each__walks_in_order_and_stops),
        cmocka_unit_test(test_httpd_reason__names_what_we_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
