/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_dcs_etcd_fake.c - the etcd v3 store against scripted servers: answers that a real
 * etcd gives too seldom to wait for them, at the moments where they matter.
 *
 * A fake knows canned answers for every path. A test puts rules before them: so many requests whose
 * path contains a text are answered in another way, hang, or lose their connection.
 */
#include "dcs_support.h"

#include "base/clock.h"
#include "http/httpd.h"

#define FAKES 3
#define ETCD_VIEW_BYTES (4u << 20) /* what a view may be made of */
#define RULES_MAX 8
#define REQUESTS_MAX 512

enum action { ANSWER, HANG, CUT, LATE /* canned, after LATE_MS */ };
#define LATE_MS 1500

struct rule {
    int server;              /* -1: any */
    const char *path, *body; /* parts of them; body NULL: any */
    int times;               /* -1: always */
    enum action action;
    int status;
    const char *answer;
};

struct request_seen {
    int server;
    char path[64], authorization[32];
    char body[1024];
};

static struct fake {
    struct httpd httpd;
    int index, port;
    struct httpd_req *watch;
    bool open, closed;
} fakes[FAKES];

static struct rule rules[RULES_MAX];
static struct request_seen seen[REQUESTS_MAX];
static unsigned n_seen, n_fakes;
static char kvs[8192];      /* what ranges tell: '{…},{…}' */
static const char *version; /* of the cluster */
static unsigned long long revision, term;
static struct late {
    uv_timer_t timer;
    struct fake *fake;
    struct httpd_req *q;
} lates[32];
static bool members; /* tell the member list */
static struct client c;
static struct request r;

/* ---- the servers ---------------------------------------------------------------------------- */

static void on_gone(struct httpd_req *q)
{
    struct fake *f = q->data;

    if (f->watch == q)
        f->watch = NULL;
}

static const char *header(void)
{
    static char text[160];

    snprintf(text, sizeof(text),
             "\"header\":{\"cluster_id\":\"77\",\"revision\":\"%llu\",\"raft_term\":\"%llu\"}",
             revision, term);
    return text;
}

static void reply(struct httpd_req *q, int status, const char *text)
{
    httpd_reply(q, status, NULL, "application/json", pgv_str(text));
}

static void canned(struct fake *f, struct httpd_req *q, const char *path)
{
    static char text[12288];
    size_t at = 0;

    if (strstr(path, "/version")) {
        snprintf(text, sizeof(text), "{\"etcdserver\":\"%s\",\"etcdcluster\":\"%s\"}", version,
                 version);
    } else if (strstr(path, "/member/list")) {
        at = (size_t)snprintf(text, sizeof(text), "{%s,\"members\":[", header());
        for (unsigned i = 0; i < n_fakes && members; i++)
            at += (size_t)snprintf(text + at, sizeof(text) - at,
                                   "%s{\"clientURLs\":[\"http://127.0.0.1:%d\"]}", i ? "," : "",
                                   fakes[i].port);
        snprintf(text + at, sizeof(text) - at, "]}");
    } else if (strstr(path, "/authenticate")) {
        snprintf(text, sizeof(text), "{%s,\"token\":\"token.%u\"}", header(), n_seen);
    } else if (strstr(path, "/lease/grant")) {
        snprintf(text, sizeof(text), "{%s,\"ID\":\"9223372036854775806\",\"TTL\":\"20\"}",
                 header());
    } else if (strstr(path, "/lease/keepalive")) {
        snprintf(text, sizeof(text),
                 "{\"result\":{%s,\"ID\":\"9223372036854775806\",\"TTL\":\"20\"}}\n", header());
    } else if (strstr(path, "/kv/range")) {
        snprintf(text, sizeof(text), "{%s,\"kvs\":[%s],\"count\":\"%d\"}", header(), kvs,
                 kvs[0] ? 1 : 0);
    } else if (strstr(path, "/kv/put") || strstr(path, "/kv/deleterange")) {
        revision++;
        snprintf(text, sizeof(text), "{%s}", header());
    } else if (strstr(path, "/kv/txn")) {
        revision++;
        snprintf(text, sizeof(text), "{%s,\"succeeded\":true}", header());
    } else if (strstr(path, "/watch")) {
        q->data = f;
        q->on_abort = on_gone;
        f->watch = q;
        httpd_stream_begin(q, "application/json");
        snprintf(text, sizeof(text), "{\"result\":{%s,\"created\":true}}\n", header());
        httpd_stream_write(q, pgv_str(text));
        return;
    } else {
        reply(q, 404, "Not Found");
        return;
    }
    reply(q, 200, text);
}

static void on_late_gone(struct httpd_req *q)
{
    ((struct late *)q->data)->q = NULL;
}

static void on_late_closed(uv_handle_t *h)
{
    ((struct late *)h->data)->fake = NULL;
}

static void on_late(uv_timer_t *t)
{
    struct late *late = t->data;
    struct httpd_req *q = late->q;
    char path[64];

    if (q) {
        pgv_copy_cut(path, sizeof(path), q->path);
        q->on_abort = NULL;
        canned(late->fake, q, path);
    }
    uv_close((uv_handle_t *)t, on_late_closed);
}

static void answer_late(struct fake *f, struct httpd_req *q)
{
    for (size_t i = 0; i < sizeof(lates) / sizeof(*lates); i++) {
        if (lates[i].fake)
            continue;
        lates[i].fake = f;
        lates[i].q = q;
        q->data = &lates[i];
        q->on_abort = on_late_gone;
        uv_timer_init(&loop, &lates[i].timer);
        lates[i].timer.data = &lates[i];
        uv_timer_start(&lates[i].timer, on_late, LATE_MS, 0);
        return;
    }
    fail_msg("too many late answers");
}

static bool nothing_is_late(void *data)
{
    (void)data;
    for (size_t i = 0; i < sizeof(lates) / sizeof(*lates); i++)
        if (lates[i].fake)
            return false;
    return true;
}

static void on_request(struct httpd *s, struct httpd_req *q)
{
    struct fake *f = s->data;
    struct request_seen *to = &seen[n_seen < REQUESTS_MAX ? n_seen++ : REQUESTS_MAX - 1];

    to->server = f->index;
    pgv_copy_cut(to->path, sizeof(to->path), q->path);
    pgv_copy_cut(to->body, sizeof(to->body), q->body);
    pgv_copy_cut(to->authorization, sizeof(to->authorization), q->authorization);
    for (int i = 0; i < RULES_MAX; i++) {
        struct rule *rule = &rules[i];

        if (!rule->times || (rule->server >= 0 && rule->server != f->index) ||
            !strstr(to->path, rule->path) || (rule->body && !strstr(to->body, rule->body)))
            continue;
        if (rule->times > 0)
            rule->times--;
        switch (rule->action) {
        case ANSWER:
            reply(q, rule->status, rule->answer);
            return;
        case HANG:
            q->data = f;
            q->on_abort = on_gone;
            return;
        case CUT: /* an answer that breaks off */
            q->data = f;
            q->on_abort = on_gone;
            httpd_stream_begin(q, "application/json");
            httpd_stream_write(q, PGV_STR("{\"header\":"));
            httpd_stream_end(q);
            return;
        case LATE:
            answer_late(f, q);
            return;
        }
    }
    canned(f, q, to->path);
}

static void on_fake_closed(struct httpd *s)
{
    ((struct fake *)s->data)->closed = true;
}

static bool fake_is_closed(void *data)
{
    return ((struct fake *)data)->closed;
}

static void close_fake(struct fake *f)
{
    if (!f->open)
        return;
    f->closed = f->open = false;
    httpd_close(&f->httpd, on_fake_closed);
    wait_until(fake_is_closed, f, 3000, "closing a fake");
    memset(&f->httpd, 0, sizeof(f->httpd));
}

static int close_all(void **state)
{
    close_clients(state);
    for (int i = 0; i < FAKES; i++)
        close_fake(&fakes[i]);
    wait_until(nothing_is_late, NULL, 2 * LATE_MS, "late answers");
    return 0;
}

static int reset(void **state)
{
    (void)state;
    memset(rules, 0, sizeof(rules));
    memset(fakes, 0, sizeof(fakes));
    n_seen = n_fakes = 0;
    kvs[0] = 0;
    version = "3.4.23";
    revision = 100;
    term = 5;
    members = true;
    return 0;
}

static const char *fakes_open(unsigned n, const char *more)
{
    static char text[256];
    struct pgv_error err = { 0 };
    size_t at = (size_t)snprintf(text, sizeof(text), "{\"hosts\":\"");

    n_fakes = n;
    for (unsigned i = 0; i < n; i++) {
        struct fake *f = &fakes[i];

        f->index = (int)i;
        f->httpd.data = f;
        if (!httpd_open(&f->httpd, &loop, "127.0.0.1", 0, NULL, on_request, &err))
            fail_msg("%s", err.msg);
        f->open = true;
        f->port = httpd_port(&f->httpd);
        at +=
            (size_t)snprintf(text + at, sizeof(text) - at, "%s127.0.0.1:%d", i ? "," : "", f->port);
    }
    snprintf(text + at, sizeof(text) - at, "\"%s%s}", more ? "," : "", more ? more : "");
    return text;
}

static void rule(int server, const char *path, int times, enum action action, int status,
                 const char *answer)
{
    for (int i = 0; i < RULES_MAX; i++) {
        if (rules[i].times)
            continue;
        rules[i] = (struct rule){ server, path, NULL, times, action, status, answer };
        return;
    }
    fail_msg("too many rules");
}

static unsigned count_seen(int server, const char *path, const char *body)
{
    unsigned n = 0;

    for (unsigned i = 0; i < n_seen; i++)
        n += (server < 0 || seen[i].server == server) && strstr(seen[i].path, path) &&
             (!body || strstr(seen[i].body, body));
    return n;
}

static const char *base64(const char *text)
{
    static char ret[4][512];
    static unsigned next;
    struct pgv_buf b;
    char *to = ret[next++ % 4];

    pgv_buf_init(&b, 512);
    httpc_base64_encode(&b, pgv_str(text));
    snprintf(to, 512, "%s", pgv_buf_cstr(&b));
    pgv_buf_done(&b);
    return to;
}

/* A key as etcd tells it. */
static const char *kv(const char *key, const char *value, unsigned long long mod, const char *lease)
{
    static char ret[4][1024];
    static unsigned next;
    char full[256], *to = ret[next++ % 4];

    snprintf(full, sizeof(full), "/service/main/%s", key);
    snprintf(to, 1024, "{\"key\":\"%s\",\"value\":\"%s\",\"mod_revision\":\"%llu\"%s%s%s}",
             base64(full), base64(value), mod, lease ? ",\"lease\":\"" : "", lease ? lease : "",
             lease ? "\"" : "");
    return to;
}

static void put_kv(const char *key, const char *value, unsigned long long mod, const char *lease)
{
    size_t at = strlen(kvs);

    snprintf(kvs + at, sizeof(kvs) - at, "%s%s", at ? "," : "", kv(key, value, mod, lease));
}

#define OUR_LEASE "9223372036854775806"

static bool watch_is_open(void *data)
{
    (void)data;
    for (unsigned i = 0; i < n_fakes; i++)
        if (fakes[i].watch)
            return view_is_live(&c);
    return false;
}

static void push(const char *text, size_t step)
{
    struct fake *f = NULL;
    size_t n = strlen(text);

    for (unsigned i = 0; i < n_fakes && !f; i++)
        f = fakes[i].watch ? &fakes[i] : NULL;
    assert_non_null(f);
    for (size_t at = 0; at < n && f->watch; at += step) {
        httpd_stream_write(f->watch, (struct pgv_str){ text + at, n - at < step ? n - at : step });
        if (step < n)
            for (int i = 0; i < 3; i++)
                uv_run(&loop, UV_RUN_NOWAIT);
    }
}

static const char *event(const char *kv_json, bool gone)
{
    static char ret[2][2048];
    static unsigned next;
    char *to = ret[next++ % 2];

    snprintf(to, 2048, "{\"result\":{%s,\"events\":[{%s\"kv\":%s}]}}\n", header(),
             gone ? "\"type\":\"DELETE\"," : "", kv_json);
    return to;
}

/* ---- versions, login ------------------------------------------------------------------------ */

static void test_version__decides_the_prefix(void **state)
{
    static const char *const cases[][2] = { { "3.2.1", "/v3alpha/kv/range" },
                                            { "3.3.9", "/v3beta/kv/range" },
                                            { "3.5.1", "/v3/kv/range" } };

    for (size_t i = 0; i < 3; i++) {
        reset(state);
        version = cases[i][0];
        client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
        must(&c, DCS_READ, NULL);
        assert_int_equal(count_seen(-1, cases[i][1], NULL), 1);
        assert_int_equal(count_seen(-1, "/kv/range", NULL), 1);
        close_all(state);
    }
}

static void test_version__too_old_is_a_mistake_of_the_configuration(void **state)
{
    (void)state;
    version = "2.3.8";
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 5000), PGV_EINVALID);
    assert_true(r.took_ms < 2000);
}

static void test_version__a_path_that_went_away_is_looked_up_anew(void **state)
{
    (void)state;
    version = "3.3.9";
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    version = "3.5.1";
    rule(-1, "/v3beta/", -1, ANSWER, 404, "Not Found");
    must(&c, DCS_READ, NULL);
    assert_true(count_seen(-1, "/v3/kv/range", NULL) == 1);
}

#define LOGIN "\"username\":\"u\",\"password\":\"secret\""
#define BAD_TOKEN "{\"error\":\"etcdserver: invalid auth token\",\"code\":16}"

static void test_login__comes_first_and_again_when_the_token_is_old(void **state)
{
    char token[32];

    (void)state;
    client_open(&c, "n1", fakes_open(1, LOGIN), false, 20000);
    must(&c, DCS_READ, NULL);
    for (unsigned i = 0; i < n_seen; i++) {
        bool needs = !strstr(seen[i].path, "/version") && !strstr(seen[i].path, "/authenticate");

        assert_int_equal(strncmp(seen[i].authorization, "token.", 6) == 0, needs);
    }
    snprintf(token, sizeof(token), "%s", seen[n_seen - 1].authorization);
    n_seen = 0;
    rule(-1, "/kv/range", 1, ANSWER, 401, BAD_TOKEN);
    must(&c, DCS_READ, NULL);
    assert_int_equal(count_seen(-1, "/authenticate", NULL), 1);
    assert_string_not_equal(seen[n_seen - 1].authorization, token);
}

static void test_login__a_store_without_authentication_is_used_without(void **state)
{
    (void)state;
    rule(-1, "/authenticate", -1, ANSWER, 412,
         "{\"error\":\"etcdserver: authentication is not enabled\",\"code\":9}");
    client_open(&c, "n1", fakes_open(1, LOGIN), false, 20000);
    must(&c, DCS_READ, NULL);
    assert_string_equal(seen[n_seen - 1].authorization, "");
}

static void test_login__tokens_that_are_never_good_end_unreachable_without_haste(void **state)
{
    (void)state;
    rule(-1, "/kv/", -1, ANSWER, 401, BAD_TOKEN);
    client_open(&c, "n1", fakes_open(1, LOGIN), false, 20000);
    assert_int_equal(run(&c, &r, DCS_SET_STATUS, "{}", NULL, 3500), PGV_EUNREACHABLE);
    assert_in_range(count_seen(-1, "/kv/put", NULL), 2, 6); /* with pauses */
    assert_null(strstr(r.msg, "secret"));
}

/* ---- what errors mean ----------------------------------------------------------------------- */

static void test_errors__what_each_request_may_conclude(void **state)
{
    enum { UNREACHABLE = PGV_EUNREACHABLE, CONFLICT = PGV_ECONFLICT };
    static const struct {
        enum action action;
        int status;
        const char *answer;
        int others; /* what the requests that do not decide about the leader conclude */
    } errors[] = {
        { HANG, 0, NULL, UNREACHABLE },
        { CUT, 0, NULL, UNREACHABLE },
        { ANSWER, 200, "{\"header\":", UNREACHABLE },
        { ANSWER, 502, "<html>bad gateway</html>", UNREACHABLE },
        { ANSWER, 503, "{\"error\":\"x\",\"code\":14}", UNREACHABLE },
        { ANSWER, 500, "{\"error\":\"not a primary lessor\",\"code\":2}", UNREACHABLE },
        { ANSWER, 500, "{\"error\":\"etcdserver: no leader\",\"code\":2}", UNREACHABLE },
        { ANSWER, 500, "{\"error\":\"what is this\",\"code\":2}", UNREACHABLE },
        { ANSWER, 503, "{\"error\":\"etcdserver: request timed out\",\"code\":14}", UNREACHABLE },
        { ANSWER, 504, "{\"error\":\"context deadline exceeded\",\"code\":4}", UNREACHABLE },
        { ANSWER, 412, "{\"error\":\"x\",\"code\":9}", UNREACHABLE },
        { ANSWER, 429, "{\"error\":\"etcdserver: too many requests\",\"code\":8}", UNREACHABLE },
        { ANSWER, 200, "{\"error\":{\"grpc_code\":14,\"message\":\"x\"}}", UNREACHABLE },
        { ANSWER, 429, "{\"error\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}",
          CONFLICT },
        { ANSWER, 403, "{\"error\":\"etcdserver: permission denied\",\"code\":7}", CONFLICT },
        { ANSWER, 400, "{\"error\":\"etcdserver: user name is empty\",\"code\":3}", CONFLICT },
        { ANSWER, 400, "{\"error\":\"etcdserver: request is too large\",\"code\":3}", CONFLICT },
    };
    static const struct {
        enum dcs_op op;
        const char *version;
        bool leader;
    } ops[] = {
        { DCS_READ, NULL, true },           { DCS_RENEW_LEADER, NULL, true },
        { DCS_ACQUIRE_LEADER, NULL, true }, { DCS_TAKE_LEADER, NULL, true },
        { DCS_TOUCH_MEMBER, NULL, false },  { DCS_RELEASE_LEADER, NULL, false },
        { DCS_SET_STATUS, NULL, false },    { DCS_SET_SYNC, "5", false },
        { DCS_DELETE_SYNC, "5", false },    { DCS_CREATE_INITIALIZE, NULL, false },
    };
    static struct request at_once[10];

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        reset(state);
        client_open(&c, "n1", fakes_open(2, NULL), false, 20000);
        must(&c, DCS_READ, NULL); /* it has been seen: nothing is the configuration's fault */
        rule(-1, "/kv/", -1, errors[i].action, errors[i].status, errors[i].answer);
        rule(-1, "/lease/", -1, errors[i].action, errors[i].status, errors[i].answer);
        for (size_t k = 0; k < 10; k++)
            start(&c, &at_once[k], ops[k].op, "{}", ops[k].version, 700);
        for (size_t k = 0; k < 10; k++) {
            int expected = ops[k].leader ? UNREACHABLE : errors[i].others;

            finish(&at_once[k]);
            if ((int)at_once[k].code != expected)
                fail_msg("%s after '%s': %s: %s", dcs_op_name(ops[k].op),
                         errors[i].answer ? errors[i].answer : "silence",
                         pgv_code_name(at_once[k].code), at_once[k].msg);
        }
        close_all(state);
    }
}

static void test_errors__one_of_them_is_overcome(void **state)
{
    static const struct {
        enum action action;
        int status;
        const char *answer;
    } errors[] = {
        { HANG, 0, NULL },
        { CUT, 0, NULL },
        { ANSWER, 200, "nonsense" },
        { ANSWER, 503, "{\"error\":\"x\",\"code\":14}" },
        { ANSWER, 500, "{\"error\":\"not a primary lessor\",\"code\":2}" },
        { ANSWER, 504, "{\"error\":\"context deadline exceeded\",\"code\":4}" },
        { ANSWER, 500, "{\"error\":\"etcdserver: no leader\",\"code\":2}" },
    };

    (void)state;
    for (unsigned n = 1; n <= 2; n++) {
        for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
            reset(state);
            put_kv("leader", "n1", 9, OUR_LEASE);
            client_open(&c, "n1", fakes_open(n, NULL), false, 20000);
            must(&c, DCS_TOUCH_MEMBER, "{}");
            rule(-1, "/lease/keepalive", 1, errors[i].action, errors[i].status, errors[i].answer);
            assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 9000), PGV_OK);
            assert_true(r.took_ms < (n == 1 ? 6000u : 3000u)); /* alone, patience is needed */
            rule(-1, "/kv/range", 1, errors[i].action, errors[i].status, errors[i].answer);
            assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 9000), PGV_OK);
            close_all(state);
        }
    }
}

/* Every answer takes longer than a node is waited for alone: that is no reason to get none. */
static void test_errors__a_slow_store_is_still_a_store(void **state)
{
    for (unsigned n = 1; n <= 3; n++) {
        reset(state);
        put_kv("leader", "n1", 9, OUR_LEASE);
        client_open(&c, "n1", fakes_open(n, NULL), false, 20000);
        must(&c, DCS_TOUCH_MEMBER, "{}");
        rule(-1, "/lease/keepalive", -1, LATE, 0, NULL);
        assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 9000), PGV_OK);
        assert_in_range(r.took_ms, LATE_MS - 10, LATE_MS + 2000);
        /* What was answered is what was asked first, and its proof counts from then. */
        assert_true(pgv_clock_ms() - r.req.sent_ms >= LATE_MS - 10);
        close_all(state);
    }
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static void test_nodes__a_silent_one_is_left_for_another_and_avoided(void **state)
{
    int first;

    (void)state;
    client_open(&c, "n1", fakes_open(3, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    first = seen[n_seen - 1].server;
    rule(first, "/", -1, HANG, 0, NULL);
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 9000), PGV_OK);
    assert_in_range(r.took_ms, 900, 3000);
    n_seen = 0;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 9000), PGV_OK);
        assert_true(r.took_ms < 900);
    }
    assert_int_equal(count_seen(first, "/kv/range", NULL), 0);
}

static void test_nodes__unavailable_is_answered_by_the_next_at_once(void **state)
{
    int first;

    (void)state;
    client_open(&c, "n1", fakes_open(3, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    first = seen[n_seen - 1].server;
    rule(first, "/kv/", -1, ANSWER, 503, "{\"error\":\"x\",\"code\":14}");
    rule((first + 1) % 3, "/kv/", -1, ANSWER, 503, "{\"error\":\"x\",\"code\":14}");
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 9000), PGV_OK);
    assert_true(r.took_ms < 900);
}

static void test_nodes__a_stale_one_is_not_believed(void **state)
{
    static char stale[256];
    int first;

    (void)state;
    client_open(&c, "n1", fakes_open(2, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    first = seen[n_seen - 1].server;
    snprintf(stale, sizeof(stale),
             "{\"header\":{\"cluster_id\":\"77\",\"revision\":\"100\",\"raft_term\":\"4\"}}");
    rule(first, "/kv/range", -1, ANSWER, 200, stale);
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 9000), PGV_OK);
    assert_int_equal(count_seen(1 - first, "/kv/range", NULL), 1);
}

static bool members_were_told(void *data)
{
    (void)data;
    return count_seen(-1, "/member/list", NULL) > 0;
}

static void test_nodes__members_are_found_but_not_through_proxies(void **state)
{
    char section[128];

    fakes_open(2, NULL);
    snprintf(section, sizeof(section), "{\"host\":\"127.0.0.1:%d\"}", fakes[0].port);
    client_open(&c, "n1", section, false, 20000);
    must(&c, DCS_READ, NULL);
    wait_until(members_were_told, NULL, 3000, "the member list");
    must(&c, DCS_READ, NULL);
    close_fake(&fakes[0]);
    must(&c, DCS_READ, NULL);
    assert_true(count_seen(1, "/kv/range", NULL) > 0);
    close_all(state);

    reset(state);
    fakes_open(2, NULL);
    snprintf(section, sizeof(section), "{\"proxy\":\"http://127.0.0.1:%d\"}", fakes[0].port);
    client_open(&c, "n1", section, false, 20000);
    must(&c, DCS_READ, NULL);
    assert_int_equal(count_seen(-1, "/member/list", NULL), 0);
    assert_int_equal(count_seen(1, "/", NULL), 0);
}

/* ---- the lease and the leader --------------------------------------------------------------- */

#define NO_TTL "{\"result\":{\"header\":{},\"ID\":\"9223372036854775806\"}}\n"

static void test_renew__steady_state_is_a_keepalive_alone(void **state)
{
    (void)state;
    put_kv("leader", "n1", 9, OUR_LEASE);
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(watch_is_open, NULL, 3000, "the watch");
    must(&c, DCS_TOUCH_MEMBER, "{}");
    push(event(kv("members/n1", "{}", 101, OUR_LEASE), false), 4096);
    put_kv("members/n1", "{}", 101, OUR_LEASE);
    must(&c, DCS_READ, NULL);
    n_seen = 0;
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_OK);
    assert_int_equal(n_seen, 1);
    assert_int_equal(count_seen(-1, "/lease/keepalive", "\"ID\":\"" OUR_LEASE "\""), 1);
    assert_true(r.req.sent_ms && r.req.sent_ms <= pgv_clock_ms());
}

static void test_renew__a_lost_lease_is_replaced_and_the_key_bound_again(void **state)
{
    (void)state;
    put_kv("leader", "n1", 9, "5");
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    rule(-1, "/lease/keepalive", 1, ANSWER, 200, NO_TTL);
    rule(-1, "/kv/txn", 1, ANSWER, 200,
         "{\"header\":{\"revision\":\"150\"},\"responses\":[{\"response_txn\":{\"header\":{},"
         "\"succeeded\":true}}]}");
    n_seen = 0;
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_OK);
    assert_int_equal(count_seen(-1, "/lease/grant", "{\"TTL\":20}"), 1);
    assert_int_equal(count_seen(-1, "/kv/txn", "\"request_txn\""), 1);
    assert_string_equal(c.dcs.view ? "" : "no view", "no view"); /* a tool has not read yet */
}

/* The leader key is n2's. */
#define REFUSED_REBIND                                                                             \
    "{\"header\":{\"revision\":\"150\"},\"responses\":[{\"response_txn\":{\"header\":{},"          \
    "\"responses\":[{"                                                                             \
    "\"response_range\":{\"kvs\":[{\"key\":\"L3NlcnZpY2UvbWFpbi9sZWFkZXI=\",\"value\":\"bjI=\","   \
    "\"mod_revision\":\"140\"}]}}]}}]}"

static void test_renew__somebody_else_leads(void **state)
{
    (void)state;
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    /* Found out by the read … */
    put_kv("leader", "n2", 9, "5");
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_ECONFLICT);
    assert_non_null(strstr(r.msg, "'n2'"));
    assert_int_equal(count_seen(-1, "/kv/txn", NULL), 0);
    /* … or by the transaction, when it happened in between. */
    kvs[0] = 0;
    rule(-1, "/kv/txn", 1, ANSWER, 200, REFUSED_REBIND);
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_ECONFLICT);
    /* A refusal that does not tell by whom may be of our own doing. */
    rule(-1, "/kv/txn", 1, ANSWER, 200,
         "{\"header\":{\"revision\":\"150\"},\"responses\":[{\"response_txn\":{\"header\":{}}}]}");
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_EUNREACHABLE);
    /* Nor does an answer about another lease say anything about ours. */
    rule(-1, "/lease/keepalive", 1, ANSWER, 200, "{\"result\":{\"header\":{}}}\n");
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_EUNREACHABLE);
}

static void test_renew__an_error_is_no_lost_lease(void **state)
{
    (void)state;
    put_kv("leader", "n1", 9, OUR_LEASE);
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    n_seen = 0;
    rule(-1, "/lease/keepalive", -1, ANSWER, 200,
         "{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}\n");
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 800), PGV_EUNREACHABLE);
    assert_int_equal(count_seen(-1, "/lease/grant", NULL), 0);
    memset(rules, 0, sizeof(rules));
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_OK);
    assert_int_equal(count_seen(-1, "/lease/grant", NULL), 0);
}

#define LEASE_NOT_FOUND "{\"error\":\"etcdserver: requested lease not found\",\"code\":5}"

static void test_lease__lost_between_its_proof_and_the_write(void **state)
{
    (void)state;
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    rule(-1, "/kv/put", 1, ANSWER, 404, LEASE_NOT_FOUND);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    assert_int_equal(count_seen(-1, "/lease/grant", NULL), 2);
    rule(-1, "/kv/txn", 1, ANSWER, 404, LEASE_NOT_FOUND);
    must(&c, DCS_ACQUIRE_LEADER, NULL);
    assert_int_equal(count_seen(-1, "/lease/grant", NULL), 3);
    /* One that is never found is not granted for ever. */
    rule(-1, "/kv/txn", -1, ANSWER, 404, LEASE_NOT_FOUND);
    assert_int_equal(run(&c, &r, DCS_ACQUIRE_LEADER, NULL, NULL, 5000), PGV_EUNREACHABLE);
    assert_in_range(count_seen(-1, "/lease/grant", NULL), 4, 8);
}

static void test_lease__many_requests_get_one(void **state)
{
    static struct request reqs[4];

    (void)state;
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    start(&c, &reqs[0], DCS_TOUCH_MEMBER, "{}", NULL, 5000);
    start(&c, &reqs[1], DCS_ACQUIRE_LEADER, NULL, NULL, 5000);
    start(&c, &reqs[2], DCS_RENEW_LEADER, NULL, NULL, 5000);
    start(&c, &reqs[3], DCS_TAKE_LEADER, NULL, NULL, 5000);
    dcs_cancel(&reqs[0].req); /* the one that was getting it */
    for (int i = 0; i < 4; i++)
        finish(&reqs[i]);
    assert_int_equal(reqs[0].code, PGV_ECANCELED);
    for (int i = 1; i < 4; i++)
        assert_int_equal(reqs[i].code, PGV_OK);
    assert_in_range(count_seen(-1, "/lease/grant", NULL), 1, 2);
}

static void test_lease__waiting_for_it_has_an_end(void **state)
{
    static struct request reqs[2];

    (void)state;
    rule(-1, "/lease/grant", -1, HANG, 0, NULL);
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    start(&c, &reqs[0], DCS_TOUCH_MEMBER, "{}", NULL, 2000);
    start(&c, &reqs[1], DCS_ACQUIRE_LEADER, NULL, NULL, 300);
    finish(&reqs[1]);
    assert_int_equal(reqs[1].code, PGV_EUNREACHABLE);
    assert_true(reqs[1].took_ms < 800 && !reqs[0].done);
    finish(&reqs[0]);
    assert_int_equal(reqs[0].code, PGV_EUNREACHABLE);
}

/* Applied but never acknowledged: the second sending meets the first one's result. */
static void test_ambiguous__a_guarded_write_recognises_itself(void **state)
{
    static char refused[1024];

    (void)state;
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    rule(-1, "/kv/txn", 1, CUT, 0, NULL);
    snprintf(refused, sizeof(refused), "{%s,\"responses\":[{\"response_range\":{\"kvs\":[%s]}}]}",
             header(), kv("leader", "n1", 100, OUR_LEASE));
    rule(-1, "/kv/txn", 1, ANSWER, 200, refused);
    assert_int_equal(run(&c, &r, DCS_ACQUIRE_LEADER, NULL, NULL, 5000), PGV_OK);
    assert_true(r.req.sent_ms > 0);

    rule(-1, "/kv/txn", 1, CUT, 0, NULL);
    snprintf(refused, sizeof(refused), "{%s,\"responses\":[{\"response_range\":{\"kvs\":[%s]}}]}",
             header(), kv("sync", "{\"leader\":\"n1\"}", 9007199254740993, NULL));
    rule(-1, "/kv/txn", 1, ANSWER, 200, refused);
    assert_int_equal(run(&c, &r, DCS_SET_SYNC, "{\"leader\":\"n1\"}", "5", 5000), PGV_OK);
    assert_string_equal(r.req.new_version, "9007199254740993");

    /* The same answer to a first sending is somebody else's equal value: a no. */
    rule(-1, "/kv/txn", 1, ANSWER, 200, refused);
    assert_int_equal(run(&c, &r, DCS_SET_SYNC, "{\"leader\":\"n1\"}", "5", 5000), PGV_ECONFLICT);

    /* Without a member key nobody can tell whose "" it is. */
    rule(-1, "/kv/txn", 1, CUT, 0, NULL);
    snprintf(refused, sizeof(refused), "{%s,\"responses\":[{\"response_range\":{\"kvs\":[%s]}}]}",
             header(), kv("initialize", "", 100, NULL));
    rule(-1, "/kv/txn", 1, ANSWER, 200, refused);
    assert_int_equal(run(&c, &r, DCS_CREATE_INITIALIZE, "", NULL, 5000), PGV_ECONFLICT);
}

static void test_ambiguous__creating_initialize_is_signed(void **state)
{
    static char refused[1024];
    unsigned long long ours;

    (void)state;
    put_kv("members/n1", "{}", 50, OUR_LEASE);
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    for (ours = 120; ours <= 121; ours++) {
        rule(-1, "/kv/txn", 1, CUT, 0, NULL);
        snprintf(refused, sizeof(refused),
                 "{%s,\"responses\":[{\"response_range\":{\"kvs\":[%s]}},"
                 "{\"response_range\":{\"kvs\":[%s]}}]}",
                 header(), kv("initialize", "", 120, NULL),
                 kv("members/n1", "{}", ours, OUR_LEASE));
        rule(-1, "/kv/txn", 1, ANSWER, 200, refused);
        assert_int_equal(run(&c, &r, DCS_CREATE_INITIALIZE, "", NULL, 5000),
                         ours == 120 ? PGV_OK : PGV_ECONFLICT);
    }
    assert_int_equal(count_seen(-1, "/kv/txn", "ignore_value"), 4);

    /* The member key expired meanwhile: once more without. */
    rule(-1, "/kv/txn", 1, ANSWER, 400, "{\"error\":\"etcdserver: key not found\",\"code\":3}");
    assert_int_equal(run(&c, &r, DCS_CREATE_INITIALIZE, "", NULL, 5000), PGV_OK);
    assert_int_equal(count_seen(-1, "/kv/txn", "ignore_value"), 5);
    assert_int_equal(count_seen(-1, "/kv/txn", NULL), 6);
}

/* ---- the watch ------------------------------------------------------------------------------ */

static bool optime_is(void *data)
{
    return c.dcs.view && c.dcs.view->cluster.status_optime == *(uint64_t *)data;
}

static bool leader_is_gone(void *data)
{
    (void)data;
    return c.dcs.view && !c.dcs.view->cluster.has_leader;
}

static void test_watch__events_however_they_are_cut(void **state)
{
    uint64_t optime = 7;
    char both[4096];

    (void)state;
    put_kv("leader", "n2", 9007199254740993, "5");
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(watch_is_open, NULL, 3000, "the watch");
    assert_int_equal(count_seen(-1, "/watch", "\"start_revision\":\"100\""), 1);
    assert_string_equal(c.dcs.view->cluster.leader, "n2");
    assert_string_equal(c.dcs.view->cluster.leader_version, "9007199254740993");
    c.changed = c.n_views = 0;

    revision = 101;
    push(event(kv("status", "{\"optime\":7}", 101, NULL), false), 1);
    wait_until(optime_is, &optime, 3000, "an event in single bytes");
    assert_int_equal(c.changed, DCS_CHANGED_STATUS);
    assert_int_equal(c.n_views, 1);

    /* Two at once make one new view; the older one of a key does not count. */
    c.changed = c.n_views = 0;
    revision = 9007199254740995;
    snprintf(both, sizeof(both), "%s%s",
             event("{\"key\":\"L3NlcnZpY2UvbWFpbi9sZWFkZXI=\",\"mod_revision\":"
                   "\"9007199254740994\"}",
                   true),
             event(kv("status", "{\"optime\":8}", 9007199254740995, NULL), false));
    push(both, sizeof(both));
    wait_until(leader_is_gone, NULL, 3000, "the leader's end");
    assert_int_equal(c.changed, DCS_CHANGED_LEADER | DCS_CHANGED_STATUS);
    assert_int_equal(c.n_views, 1);
    assert_int_equal(c.dcs.view->cluster.status_optime, 8);

    /* Replays and keys of others are no news. */
    c.n_views = 0;
    push(event(kv("status", "{\"optime\":1}", 101, NULL), false), 4096);
    push(event("{\"key\":\"L3NlcnZpY2UvbWFpbg==\",\"mod_revision\":\"9007199254740996\"}", false),
         4096);
    push(event(kv("status", "{\"optime\":9}", 9007199254740997, NULL), false), 4096);
    optime = 9;
    wait_until(optime_is, &optime, 3000, "the last event");
    assert_int_equal(c.n_views, 1);
    assert_true(c.dcs.view_live);
}

static void test_watch__every_kind_of_end_begins_anew(void **state)
{
    static const char *const ends[] = {
        "{\"result\":{\"header\":{},\"canceled\":true,\"compact_revision\":\"90\"}}\n",
        "{\"result\":{\"header\":{},\"canceled\":true,\"cancel_reason\":\"x\"}}\n",
        "{\"result\":{\"header\":{},\"watch_id\":\"-1\",\"created\":true,\"canceled\":true,"
        "\"cancel_reason\":\"etcdserver: permission denied\"}}\n",
        "{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}\n",
        "{\"result\":{\"header\":{\"cluster_id\":\"77\",\"revision\":\"1\",\"raft_term\":\"4\"},"
        "\"events\":[]}}\n",
        "{]}\n",
        NULL, /* the stream ends */
    };

    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    for (const char *const *end = ends;; end++) {
        wait_until(watch_is_open, NULL, 9000, "the watch");
        n_seen = 0;
        if (*end)
            push(*end, 4096);
        else
            httpd_stream_end(fakes[0].watch);
        wait_until(view_is_not_live, &c, 2000, *end ? *end : "the end of the stream");
        wait_until(watch_is_open, NULL, 9000, "the watch again");
        assert_true(count_seen(-1, "/kv/range", NULL) >= 1);
        if (!*end)
            break;
    }
    (void)state;
}

static void test_watch__a_refused_token_is_replaced(void **state)
{
    (void)state;
    client_open(&c, "n1", fakes_open(1, LOGIN), true, 20000);
    wait_until(watch_is_open, NULL, 3000, "the watch");
    n_seen = 0;
    push("{\"result\":{\"header\":{},\"watch_id\":\"-1\",\"created\":true,\"canceled\":true,"
         "\"cancel_reason\":\"rpc error: code = Unauthenticated desc = etcdserver: invalid auth "
         "token\"}}\n",
         4096);
    wait_until(view_is_not_live, &c, 2000, "the end");
    wait_until(watch_is_open, NULL, 3000, "the watch again");
    assert_int_equal(count_seen(-1, "/authenticate", NULL), 1);
}

static void test_watch__what_is_known_otherwise_must_arrive(void **state)
{
    uint64_t began_ms;

    (void)state;
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(watch_is_open, NULL, 3000, "the watch");
    must(&c, DCS_SET_STATUS, "{\"optime\":3}"); /* this fake never tells it */
    assert_int_equal(c.dcs.view->cluster.status_optime, 3);
    began_ms = pgv_clock_ms();
    wait_until(view_is_not_live, &c, 4000, "the doubt");
    assert_in_range(pgv_clock_ms() - began_ms, 800, 3000);
    wait_until(watch_is_open, NULL, 5000, "the watch again");

    must(&c, DCS_SET_STATUS, "{\"optime\":4}");
    push(event(kv("status", "{\"optime\":4}", revision, NULL), false), 4096);
    assert_false(happens_within(view_is_not_live, &c, 1500));
}

static void test_watch__silence_is_looked_into(void **state)
{
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(watch_is_open, NULL, 3000, "the watch");
    n_seen = 0;
    put_kv("leader", "n2", 120, "5"); /* the stream is dead: it does not tell */
    revision = 120;
    wait_until(view_is_not_live, &c, 8000, "the doubt");
    assert_int_equal(count_seen(-1, "/kv/range", "\"serializable\":true"), 1);
    wait_until(watch_is_open, NULL, 5000, "the watch again");
    assert_string_equal(c.dcs.view->cluster.leader, "n2");
    (void)state;
}

static void test_watch__after_a_stall_of_our_own_it_begins_anew(void **state)
{
    uint64_t until_ms;

    (void)state;
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(watch_is_open, NULL, 3000, "the watch");
    rule(-1, "/kv/put", 1, HANG, 0, NULL);
    start(&c, &r, DCS_SET_STATUS, "{}", NULL, 9000); /* something is due in a second */
    uv_run(&loop, UV_RUN_NOWAIT);
    for (until_ms = pgv_clock_ms() + 6500; pgv_clock_ms() < until_ms;)
        ; /* frozen */
    wait_until(view_is_not_live, &c, 3000, "the doubt");
    wait_until(watch_is_open, NULL, 5000, "the watch again");
    finish(&r);
    assert_int_equal(r.code, PGV_OK);
}

/* ---- reads ---------------------------------------------------------------------------------- */

static void test_read__an_answer_overtaken_by_the_watch_takes_nothing_back(void **state)
{
    uint64_t optime = 8;

    (void)state;
    put_kv("status", "{\"optime\":7}", 50, NULL);
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(watch_is_open, NULL, 3000, "the watch");
    start(&c, &r, DCS_READ, NULL, NULL, 5000); /* begun at 100, answered as of 100 … */
    push(event(kv("status", "{\"optime\":8}", 101, NULL), false), 4096);
    wait_until(optime_is, &optime, 3000, "the event");
    finish(&r);
    assert_int_equal(r.code, PGV_OK);
    assert_int_equal(c.dcs.view->cluster.status_optime, 8); /* … which is old by now */
}

static void test_read__a_store_that_went_back_is_believed(void **state)
{
    (void)state;
    put_kv("leader", "n2", 90, "5");
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    kvs[0] = 0;
    put_kv("leader", "n3", 2, "5");
    revision = 3; /* made anew, under the same names */
    must(&c, DCS_READ, NULL);
    assert_string_equal(c.dcs.view->cluster.leader, "n3");
    assert_string_equal(c.dcs.view->cluster.leader_version, "2");
}

static void test_read__more_than_we_hold_is_no_view(void **state)
{
    static char answer[7000000];
    size_t at;

    (void)state;
    at = (size_t)snprintf(answer, sizeof(answer), "{%s,\"kvs\":[{\"key\":\"%s\",\"value\":\"",
                          header(), base64("/service/main/config"));
    memset(answer + at, 'A', 4 * ((ETCD_VIEW_BYTES / 3) + 10));
    at += 4 * ((ETCD_VIEW_BYTES / 3) + 10);
    snprintf(answer + at, sizeof(answer) - at, "\",\"mod_revision\":\"5\"}]}");
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    rule(-1, "/kv/range", 1, ANSWER, 200, answer);
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 5000), PGV_EUNREACHABLE);
    must(&c, DCS_READ, NULL);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* When memory is gone for good, a renewal ends in time and with an error that proves nothing, and
 * the next one, with memory, succeeds. */
static void test_memory__a_renewal_without_any(void **state)
{
    unsigned long nth, fewest = 0;

    (void)state;
    put_kv("leader", "n1", 9, OUR_LEASE);
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    must(&c, DCS_RENEW_LEADER, NULL);
    for (nth = 1; !fewest; nth++) {
        assert_true(nth < 500);
        pgv_alloc_fail_at(nth, true);
        start(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 300);
        while (!r.done)
            uv_run(&loop, UV_RUN_ONCE);
        pgv_alloc_fail_at(0, false);
        if (r.code == PGV_OK)
            fewest = nth - 1;
        else if (r.code != PGV_ENOMEM && r.code != PGV_EUNREACHABLE)
            fail_msg("%lu: %s: %s", nth, pgv_code_name(r.code), r.msg);
        assert_true(r.took_ms < 800);
        must(&c, DCS_RENEW_LEADER, NULL);
    }
    print_message("a renewal (with the fake's part) needs %lu allocations\n", fewest);
}

static void test_memory__each_allocation_may_fail(void **state)
{
    static const enum dcs_op ops[] = { DCS_READ, DCS_TOUCH_MEMBER, DCS_RENEW_LEADER,
                                       DCS_ACQUIRE_LEADER, DCS_SET_SYNC };

    (void)state;
    put_kv("leader", "n1", 9, OUR_LEASE);
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
        unsigned long nth = 1;
        bool untouched = false;

        for (; !untouched; nth++) {
            char value[32];

            assert_true(nth < 2000);
            snprintf(value, sizeof(value), "{\"a\":%lu}", nth);
            pgv_alloc_fail_at(nth, false);
            start(&c, &r, ops[i], value, NULL, 3000);
            finish(&r);
            /* It had not come to the nth yet when the next one still fails. */
            untouched = r.code == PGV_OK && nth > 60;
            pgv_alloc_fail_at(0, false);
            assert_true(r.code == PGV_OK || r.code == PGV_ENOMEM || r.code == PGV_EUNREACHABLE);
        }
        must(&c, ops[i], "{}");
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, reset, close_all)
    const struct CMUnitTest tests[] = {
        T(test_version__decides_the_prefix),
        T(test_version__too_old_is_a_mistake_of_the_configuration),
        T(test_version__a_path_that_went_away_is_looked_up_anew),
        T(test_login__comes_first_and_again_when_the_token_is_old),
        T(test_login__a_store_without_authentication_is_used_without),
        T(test_login__tokens_that_are_never_good_end_unreachable_without_haste),
        T(test_errors__what_each_request_may_conclude),
        T(test_errors__one_of_them_is_overcome),
        T(test_errors__a_slow_store_is_still_a_store),
        T(test_nodes__a_silent_one_is_left_for_another_and_avoided),
        T(test_nodes__unavailable_is_answered_by_the_next_at_once),
        T(test_nodes__a_stale_one_is_not_believed),
        T(test_nodes__members_are_found_but_not_through_proxies),
        T(test_renew__steady_state_is_a_keepalive_alone),
        T(test_renew__a_lost_lease_is_replaced_and_the_key_bound_again),
        T(test_renew__somebody_else_leads),
        T(test_renew__an_error_is_no_lost_lease),
        T(test_lease__lost_between_its_proof_and_the_write),
        T(test_lease__many_requests_get_one),
        T(test_lease__waiting_for_it_has_an_end),
        T(test_ambiguous__a_guarded_write_recognises_itself),
        T(test_ambiguous__creating_initialize_is_signed),
        T(test_watch__events_however_they_are_cut),
        T(test_watch__every_kind_of_end_begins_anew),
        T(test_watch__a_refused_token_is_replaced),
        T(test_watch__what_is_known_otherwise_must_arrive),
        T(test_watch__silence_is_looked_into),
        T(test_watch__after_a_stall_of_our_own_it_begins_anew),
        T(test_read__an_answer_overtaken_by_the_watch_takes_nothing_back),
        T(test_read__a_store_that_went_back_is_believed),
        T(test_read__more_than_we_hold_is_no_view),
        T(test_memory__a_renewal_without_any),
        T(test_memory__each_allocation_may_fail),
    };
    int failed;

    if (support_setup(NULL))
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return support_teardown(NULL) || failed ? 1 : 0;
}
