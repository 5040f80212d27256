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

static struct client c;
static struct request r;

/* ---- versions, login ------------------------------------------------------------------------ */

static void test_version__decides_the_prefix(void **state)
{
    static const char *const cases[][2] = { { "3.2.1", "/v3alpha/kv/range" },
                                            { "3.3.9", "/v3beta/kv/range" },
                                            { "3.5.1", "/v3/kv/range" } };

    for (size_t i = 0; i < 3; i++) {
        fakes_reset(state);
        fake_version = cases[i][0];
        client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
        must(&c, DCS_READ, NULL);
        assert_int_equal(fake_count(-1, cases[i][1], NULL), 1);
        assert_int_equal(fake_count(-1, "/kv/range", NULL), 1);
        fakes_close(state);
    }
}

static void test_version__too_old_is_a_mistake_of_the_configuration(void **state)
{
    (void)state;
    fake_version = "2.3.8";
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 5000), PGV_EINVALID);
    assert_true(r.took_ms < 2000);
}

static void test_version__a_path_that_went_away_is_looked_up_anew(void **state)
{
    (void)state;
    fake_version = "3.3.9";
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    fake_version = "3.5.1";
    fake_rule(-1, "/v3beta/", -1, ANSWER, 404, "Not Found");
    must(&c, DCS_READ, NULL);
    assert_true(fake_count(-1, "/v3/kv/range", NULL) == 1);
}

#define LOGIN "\"username\":\"u\",\"password\":\"secret\""
#define BAD_TOKEN "{\"error\":\"etcdserver: invalid auth token\",\"code\":16}"

static void test_login__comes_first_and_again_when_the_token_is_old(void **state)
{
    char token[32];

    (void)state;
    client_open(&c, "n1", fakes_open(1, LOGIN), false, 20000);
    must(&c, DCS_READ, NULL);
    for (unsigned i = 0; i < n_fake_seen; i++) {
        bool needs =
            !strstr(fake_seen[i].path, "/version") && !strstr(fake_seen[i].path, "/authenticate");

        assert_int_equal(strncmp(fake_seen[i].authorization, "token.", 6) == 0, needs);
    }
    snprintf(token, sizeof(token), "%s", fake_seen[n_fake_seen - 1].authorization);
    n_fake_seen = 0;
    fake_rule(-1, "/kv/range", 1, ANSWER, 401, BAD_TOKEN);
    must(&c, DCS_READ, NULL);
    assert_int_equal(fake_count(-1, "/authenticate", NULL), 1);
    assert_string_not_equal(fake_seen[n_fake_seen - 1].authorization, token);
}

static void test_login__a_store_without_authentication_is_used_without(void **state)
{
    (void)state;
    fake_rule(-1, "/authenticate", -1, ANSWER, 412,
              "{\"error\":\"etcdserver: authentication is not enabled\",\"code\":9}");
    client_open(&c, "n1", fakes_open(1, LOGIN), false, 20000);
    must(&c, DCS_READ, NULL);
    assert_string_equal(fake_seen[n_fake_seen - 1].authorization, "");
}

static void test_login__tokens_that_are_never_good_end_unreachable_without_haste(void **state)
{
    (void)state;
    fake_rule(-1, "/kv/", -1, ANSWER, 401, BAD_TOKEN);
    client_open(&c, "n1", fakes_open(1, LOGIN), false, 20000);
    assert_int_equal(run(&c, &r, DCS_SET_STATUS, "{}", NULL, 3500), PGV_EUNREACHABLE);
    assert_in_range(fake_count(-1, "/kv/put", NULL), 2, 6); /* with pauses */
    assert_null(strstr(r.msg, "secret"));
}

/* Two nodes were asked with it: that both refuse it is said of one token only. */
static void test_login__an_old_token_in_two_attempts_is_refused_once(void **state)
{
    static const char *const refusals[] = {
        BAD_TOKEN, "{\"error\":\"etcdserver: permission denied\",\"code\":7}"
    };

    for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
        int first, status = i == 0 ? 401 : 403;

        fakes_reset(state);
        client_open(&c, "n1", fakes_open(2, LOGIN), false, 20000);
        must(&c, DCS_READ, NULL);
        first = fake_seen[n_fake_seen - 1].server;
        n_fake_seen = 0;
        fake_rule(first, "/kv/put", 1, LATE, status, refusals[i]);
        fake_rule(1 - first, "/kv/put", 1, ANSWER, status, refusals[i]);
        fake_rule(1 - first, "/authenticate", 1, LATE, 0, NULL);
        assert_int_equal(run(&c, &r, DCS_SET_STATUS, "{}", NULL, 9000), PGV_OK);
        assert_in_range(r.took_ms, LATE_MS, 1000 + LATE_MS + 900); /* both refusals were there */
        fakes_close(state);
    }
}

/* A proxy, or a page that says 'back soon', may well answer 200 with an object. */
static void test_answers__of_something_else_send_us_to_the_next_node(void **state)
{
    static const struct {
        int status;
        const char *answer;
    } cases[] = { { 200, "{}" },
                  { 200, "{\"status\":\"ok\"}" },
                  { 302, "{\"moved\":\"elsewhere\"}" } };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        fakes_reset(state);
        client_open(&c, "n1", fakes_open(2, NULL), false, 20000);
        fake_rule(0, "/kv/", -1, ANSWER, cases[i].status, cases[i].answer);
        must(&c, DCS_READ, NULL);
        must(&c, DCS_SET_STATUS, "{}");
        must(&c, DCS_ACQUIRE_LEADER, NULL);
        must(&c, DCS_READ, NULL);
        assert_true(fake_count(1, "/kv/range", NULL) > 0);
        assert_int_equal(fake_count(1, "/kv/put", NULL), 1);
        fakes_close(state);
    }
}

/* ---- what errors mean ----------------------------------------------------------------------- */

static void test_errors__what_each_request_may_conclude(void **state)
{
    enum { UNREACHABLE = PGV_EUNREACHABLE, CONFLICT = PGV_ECONFLICT };
    static const struct {
        enum fake_action action;
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
        { DCS_READ, NULL, true },
        { DCS_RENEW_LEADER, NULL, true },
        { DCS_ACQUIRE_LEADER, NULL, true },
        { DCS_TAKE_LEADER, NULL, true },
        { DCS_TOUCH_MEMBER, NULL, false },
        { DCS_RELEASE_LEADER, NULL, false },
        { DCS_SET_STATUS, NULL, false },
        { DCS_SET_SYNC, "5", false },
        { DCS_DELETE_SYNC, "5", false },
        { DCS_CREATE_INITIALIZE, NULL, false },
        { DCS_SET_INITIALIZE, "5", true },
        { DCS_SET_INITIALIZE, NULL, false },
        { DCS_DELETE_INITIALIZE, "5", true },
    };
    static struct request at_once[13];

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        fakes_reset(state);
        client_open(&c, "n1", fakes_open(2, NULL), false, 20000);
        must(&c, DCS_READ, NULL); /* it has been seen: nothing is the configuration's fault */
        fake_rule(-1, "/kv/", -1, errors[i].action, errors[i].status, errors[i].answer);
        fake_rule(-1, "/lease/", -1, errors[i].action, errors[i].status, errors[i].answer);
        for (size_t k = 0; k < 13; k++)
            start(&c, &at_once[k], ops[k].op, "{}", ops[k].version, 700);
        for (size_t k = 0; k < 13; k++) {
            int expected = ops[k].leader ? UNREACHABLE : errors[i].others;

            finish(&at_once[k]);
            if ((int)at_once[k].code != expected)
                fail_msg("%s after '%s': %s: %s", dcs_op_name(ops[k].op),
                         errors[i].answer ? errors[i].answer : "silence",
                         pgv_code_name(at_once[k].code), at_once[k].msg);
        }
        fakes_close(state);
    }
}

static void test_errors__one_of_them_is_overcome(void **state)
{
    static const struct {
        enum fake_action action;
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
            fakes_reset(state);
            fake_put_kv("leader", "n1", 9, OUR_LEASE);
            client_open(&c, "n1", fakes_open(n, NULL), false, 20000);
            must(&c, DCS_TOUCH_MEMBER, "{}");
            fake_rule(-1, "/lease/keepalive", 1, errors[i].action, errors[i].status,
                      errors[i].answer);
            assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 9000), PGV_OK);
            assert_true(r.took_ms < (n == 1 ? 6000u : 3000u)); /* alone, patience is needed */
            fake_rule(-1, "/kv/range", 1, errors[i].action, errors[i].status, errors[i].answer);
            assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 9000), PGV_OK);
            fakes_close(state);
        }
    }
}

/* Every answer takes longer than a node is waited for alone: that is no reason to get none. */
static void test_errors__a_slow_store_is_still_a_store(void **state)
{
    for (unsigned n = 1; n <= 3; n++) {
        fakes_reset(state);
        fake_put_kv("leader", "n1", 9, OUR_LEASE);
        client_open(&c, "n1", fakes_open(n, NULL), false, 20000);
        must(&c, DCS_TOUCH_MEMBER, "{}");
        fake_rule(-1, "/lease/keepalive", -1, LATE, 0, NULL);
        assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 9000), PGV_OK);
        assert_in_range(r.took_ms, LATE_MS - 10, LATE_MS + 2000);
        /* What was answered is what was asked first, and its proof counts from then. */
        assert_true(pgv_clock_ms() - r.req.sent_ms >= LATE_MS - 10);
        fakes_close(state);
    }
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static void test_nodes__a_silent_one_is_left_for_another_and_avoided(void **state)
{
    int first;

    (void)state;
    client_open(&c, "n1", fakes_open(3, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    first = fake_seen[n_fake_seen - 1].server;
    fake_rule(first, "/", -1, HANG, 0, NULL);
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 9000), PGV_OK);
    assert_in_range(r.took_ms, 900, 3000);
    n_fake_seen = 0;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 9000), PGV_OK);
        assert_true(r.took_ms < 900);
    }
    assert_int_equal(fake_count(first, "/kv/range", NULL), 0);
}

static void test_nodes__unavailable_is_answered_by_the_next_at_once(void **state)
{
    int first;

    (void)state;
    client_open(&c, "n1", fakes_open(3, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    first = fake_seen[n_fake_seen - 1].server;
    fake_rule(first, "/kv/", -1, ANSWER, 503, "{\"error\":\"x\",\"code\":14}");
    fake_rule((first + 1) % 3, "/kv/", -1, ANSWER, 503, "{\"error\":\"x\",\"code\":14}");
    assert_int_equal(run(&c, &r, DCS_READ, NULL, NULL, 9000), PGV_OK);
    assert_true(r.took_ms < 900);
}

#define STALE                                                                                      \
    "{\"result\":{\"header\":{\"cluster_id\":\"77\",\"revision\":\"100\",\"raft_term\":\"4\"},"    \
    "\"ID\":\"" OUR_LEASE "\",\"TTL\":\"20\"}}"

static void test_nodes__a_stale_one_is_not_believed(void **state)
{
    int first;

    (void)state;
    fake_put_kv("leader", "n1", 9, OUR_LEASE);
    client_open(&c, "n1", fakes_open(2, NULL), false, 20000);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    first = fake_seen[n_fake_seen - 1].server;
    fake_rule(first, "/lease/keepalive", -1, ANSWER, 200, STALE);
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 9000), PGV_OK);
    assert_int_equal(fake_count(1 - first, "/lease/keepalive", NULL), 1);

    /* But when all are like that, it is the term we know that is wrong. */
    fake_rule(1 - first, "/lease/keepalive", -1, ANSWER, 200, STALE);
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 9000), PGV_OK);
    assert_true(r.took_ms < 3000);
}

/* One is silent, the others had no leader for a moment: they are asked again while it is. */
static void test_nodes__failed_ones_are_asked_again_beside_a_silent_one(void **state)
{
    int first;

    (void)state;
    fake_put_kv("leader", "n1", 9, OUR_LEASE);
    client_open(&c, "n1", fakes_open(3, NULL), false, 20000);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    first = fake_seen[n_fake_seen - 1].server;
    fake_rule(first, "/", -1, HANG, 0, NULL);
    fake_rule((first + 1) % 3, "/lease/", 2, ANSWER, 500,
              "{\"error\":\"etcdserver: no leader\",\"code\":2}");
    fake_rule((first + 2) % 3, "/lease/", 2, ANSWER, 500,
              "{\"error\":\"not a primary lessor\",\"code\":2}");
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 9000), PGV_OK);
    assert_true(r.took_ms < 6000);
}

/* The one that is well again is not left aside until the silent ones have used up our patience. */
static void test_nodes__a_failed_one_is_asked_again_beside_two_silent_ones(void **state)
{
    (void)state;
    fake_put_kv("leader", "n1", 9, OUR_LEASE);
    client_open(&c, "n1", fakes_open(3, NULL), false, 20000);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    fake_rule(-1, "/lease/", 1, HANG, 0, NULL); /* in the order in which they are asked */
    fake_rule(-1, "/lease/", 1, ANSWER, 503, "{\"error\":\"x\",\"code\":14}");
    fake_rule(-1, "/lease/", 1, HANG, 0, NULL);
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 9000), PGV_OK);
    assert_true(r.took_ms < 3200); /* a second for the first, at most one each for the others */
    assert_int_equal(fake_count(-1, "/lease/keepalive", NULL), 4);
}

static bool members_were_told(void *data)
{
    (void)data;
    return fake_count(-1, "/member/list", NULL) > 0;
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
    fake_close(&fakes[0]);
    must(&c, DCS_READ, NULL);
    assert_true(fake_count(1, "/kv/range", NULL) > 0);
    fakes_close(state);

    fakes_reset(state);
    fakes_open(2, NULL);
    snprintf(section, sizeof(section), "{\"proxy\":\"http://127.0.0.1:%d\"}", fakes[0].port);
    client_open(&c, "n1", section, false, 20000);
    must(&c, DCS_READ, NULL);
    assert_int_equal(fake_count(-1, "/member/list", NULL), 0);
    assert_int_equal(fake_count(1, "/", NULL), 0);
}

/* ---- the lease and the leader --------------------------------------------------------------- */

#define NO_TTL "{\"result\":{\"header\":{},\"ID\":\"9223372036854775806\"}}\n"

static void test_renew__steady_state_is_a_keepalive_alone(void **state)
{
    (void)state;
    fake_put_kv("leader", "n1", 9, OUR_LEASE);
    client_open(&c, "n1", fakes_open(1, NULL), true, 20000);
    wait_until(fake_watch_is_open, &c, 3000, "the watch");
    must(&c, DCS_TOUCH_MEMBER, "{}");
    fake_push(fake_event(fake_kv("members/n1", "{}", 101, OUR_LEASE), false), 4096);
    fake_put_kv("members/n1", "{}", 101, OUR_LEASE);
    must(&c, DCS_READ, NULL);
    n_fake_seen = 0;
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_OK);
    assert_int_equal(n_fake_seen, 1);
    assert_int_equal(fake_count(-1, "/lease/keepalive", "\"ID\":\"" OUR_LEASE "\""), 1);
    assert_true(r.req.sent_ms && r.req.sent_ms <= pgv_clock_ms());
}

static void test_renew__a_lost_lease_is_replaced_and_the_key_bound_again(void **state)
{
    (void)state;
    fake_put_kv("leader", "n1", 9, "5");
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    fake_rule(-1, "/lease/keepalive", 1, ANSWER, 200, NO_TTL);
    fake_rule(-1, "/kv/txn", 1, ANSWER, 200,
              "{\"header\":{\"revision\":\"150\"},\"responses\":[{\"response_txn\":{\"header\":{},"
              "\"succeeded\":true}}]}");
    n_fake_seen = 0;
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_OK);
    assert_int_equal(fake_count(-1, "/lease/grant", "{\"TTL\":20}"), 1);
    assert_int_equal(fake_count(-1, "/kv/txn", "\"request_txn\""), 1);
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
    fake_put_kv("leader", "n2", 9, "5");
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_ECONFLICT);
    assert_non_null(strstr(r.msg, "'n2'"));
    assert_int_equal(fake_count(-1, "/kv/txn", NULL), 0);
    /* … or by the transaction, when it happened in between. */
    fake_kvs[0] = 0;
    fake_rule(-1, "/kv/txn", 1, ANSWER, 200, REFUSED_REBIND);
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_ECONFLICT);
    /* A refusal that does not tell by whom may be of our own doing. */
    fake_rule(
        -1, "/kv/txn", 1, ANSWER, 200,
        "{\"header\":{\"revision\":\"150\"},\"responses\":[{\"response_txn\":{\"header\":{}}}]}");
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_EUNREACHABLE);
    /* Nor does an answer about another lease say anything about ours. */
    fake_rule(-1, "/lease/keepalive", 1, ANSWER, 200, "{\"result\":{\"header\":{}}}\n");
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_EUNREACHABLE);
}

static void test_renew__an_error_is_no_lost_lease(void **state)
{
    (void)state;
    fake_put_kv("leader", "n1", 9, OUR_LEASE);
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    n_fake_seen = 0;
    fake_rule(-1, "/lease/keepalive", -1, ANSWER, 200,
              "{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}\n");
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 800), PGV_EUNREACHABLE);
    assert_int_equal(fake_count(-1, "/lease/grant", NULL), 0);
    fake_no_rules();
    assert_int_equal(run(&c, &r, DCS_RENEW_LEADER, NULL, NULL, 5000), PGV_OK);
    assert_int_equal(fake_count(-1, "/lease/grant", NULL), 0);
}

#define LEASE_NOT_FOUND "{\"error\":\"etcdserver: requested lease not found\",\"code\":5}"

static void test_lease__lost_between_its_proof_and_the_write(void **state)
{
    (void)state;
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    fake_rule(-1, "/kv/put", 1, ANSWER, 404, LEASE_NOT_FOUND);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    assert_int_equal(fake_count(-1, "/lease/grant", NULL), 2);
    fake_rule(-1, "/kv/txn", 1, ANSWER, 404, LEASE_NOT_FOUND);
    must(&c, DCS_ACQUIRE_LEADER, NULL);
    assert_int_equal(fake_count(-1, "/lease/grant", NULL), 3);
    /* One that is never found is not granted for ever. */
    fake_rule(-1, "/kv/txn", -1, ANSWER, 404, LEASE_NOT_FOUND);
    assert_int_equal(run(&c, &r, DCS_ACQUIRE_LEADER, NULL, NULL, 5000), PGV_EUNREACHABLE);
    assert_in_range(fake_count(-1, "/lease/grant", NULL), 4, 8);
}

static void test_lease__many_requests_get_one(void **state)
{
    static struct request reqs[4];

    (void)state;
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    start(&c, &reqs[0], DCS_TOUCH_MEMBER, "{}", NULL, 5000);
    start(&c, &reqs[1], DCS_ACQUIRE_LEADER, NULL, NULL, 5000);
    start(&c, &reqs[2], DCS_RENEW_LEADER, NULL, NULL, 5000);
    start(&c, &reqs[3], DCS_TAKE_LEADER, "7000000000000000001", NULL, 5000);
    dcs_cancel(&reqs[0].req); /* the one that was getting it */
    for (int i = 0; i < 4; i++)
        finish(&reqs[i]);
    assert_int_equal(reqs[0].code, PGV_ECANCELED);
    for (int i = 1; i < 4; i++)
        assert_int_equal(reqs[i].code, PGV_OK);
    assert_in_range(fake_count(-1, "/lease/grant", NULL), 1, 2);
}

static void test_lease__waiting_for_it_has_an_end(void **state)
{
    static struct request reqs[2];

    (void)state;
    fake_rule(-1, "/lease/grant", -1, HANG, 0, NULL);
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
    fake_rule(-1, "/kv/txn", 1, CUT, 0, NULL);
    snprintf(refused, sizeof(refused), "{%s,\"responses\":[{\"response_range\":{\"kvs\":[%s]}}]}",
             fake_header(), fake_kv("leader", "n1", 100, OUR_LEASE));
    fake_rule(-1, "/kv/txn", 1, ANSWER, 200, refused);
    assert_int_equal(run(&c, &r, DCS_ACQUIRE_LEADER, NULL, NULL, 5000), PGV_OK);
    assert_true(r.req.sent_ms > 0);

    fake_rule(-1, "/kv/txn", 1, CUT, 0, NULL);
    snprintf(refused, sizeof(refused), "{%s,\"responses\":[{\"response_range\":{\"kvs\":[%s]}}]}",
             fake_header(), fake_kv("sync", "{\"leader\":\"n1\"}", 9007199254740993, NULL));
    fake_rule(-1, "/kv/txn", 1, ANSWER, 200, refused);
    assert_int_equal(run(&c, &r, DCS_SET_SYNC, "{\"leader\":\"n1\"}", "5", 5000), PGV_OK);
    assert_string_equal(r.req.new_version, "9007199254740993");

    /* The same answer to a first sending is somebody else's equal value: a no. */
    fake_rule(-1, "/kv/txn", 1, ANSWER, 200, refused);
    assert_int_equal(run(&c, &r, DCS_SET_SYNC, "{\"leader\":\"n1\"}", "5", 5000), PGV_ECONFLICT);

    /* Without a member key nobody can tell whose "" it is. */
    fake_rule(-1, "/kv/txn", 1, CUT, 0, NULL);
    snprintf(refused, sizeof(refused), "{%s,\"responses\":[{\"response_range\":{\"kvs\":[%s]}}]}",
             fake_header(), fake_kv("initialize", "", 100, NULL));
    fake_rule(-1, "/kv/txn", 1, ANSWER, 200, refused);
    assert_int_equal(run(&c, &r, DCS_CREATE_INITIALIZE, "", NULL, 5000), PGV_ECONFLICT);
}

static void test_ambiguous__creating_initialize_is_signed(void **state)
{
    static char refused[1024];
    unsigned long long ours;

    (void)state;
    fake_put_kv("members/n1", "{}", 50, OUR_LEASE);
    client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
    must(&c, DCS_READ, NULL);
    must(&c, DCS_TOUCH_MEMBER, "{}");
    for (ours = 120; ours <= 121; ours++) {
        fake_rule(-1, "/kv/txn", 1, CUT, 0, NULL);
        snprintf(refused, sizeof(refused),
                 "{%s,\"responses\":[{\"response_range\":{\"kvs\":[%s]}},"
                 "{\"response_range\":{\"kvs\":[%s]}}]}",
                 fake_header(), fake_kv("initialize", "", 120, NULL),
                 fake_kv("members/n1", "{}", ours, OUR_LEASE));
        fake_rule(-1, "/kv/txn", 1, ANSWER, 200, refused);
        assert_int_equal(run(&c, &r, DCS_CREATE_INITIALIZE, "", NULL, 5000),
                         ours == 120 ? PGV_OK : PGV_ECONFLICT);
    }
    assert_int_equal(fake_count(-1, "/kv/txn", "ignore_value"), 4);

    /* The member key expired meanwhile: once more without. */
    fake_rule(-1, "/kv/txn", 1, ANSWER, 400,
              "{\"error\":\"etcdserver: key not found\",\"code\":3}");
    assert_int_equal(run(&c, &r, DCS_CREATE_INITIALIZE, "", NULL, 5000), PGV_OK);
    assert_int_equal(fake_count(-1, "/kv/txn", "ignore_value"), 5);
    assert_int_equal(fake_count(-1, "/kv/txn", NULL), 6);
}

/* A sending whose answer was lost, and what the next one finds: the bootstrap goes on only with
 * what it has made itself. */
static void test_ambiguous__finishing_a_bootstrap(void **state)
{
    static const struct {
        enum dcs_op op;
        const char *version, *value, *leader, *lease;
        const char *initialize; /* as the refused transaction tells it; NULL: absent */
        int code;
    } cases[] = {
        { DCS_SET_INITIALIZE, "90", "7000000000000000001", NULL, NULL, "7000000000000000001",
          PGV_OK },
        { DCS_SET_INITIALIZE, "90", "7000000000000000001", NULL, NULL, "7000000000000000002",
          PGV_ECONFLICT },
        { DCS_SET_INITIALIZE, "90", "7000000000000000001", NULL, NULL, "", PGV_ECONFLICT },
        { DCS_SET_INITIALIZE, "90", "7000000000000000001", NULL, NULL, NULL, PGV_ECONFLICT },
        { DCS_DELETE_INITIALIZE, "90", NULL, NULL, NULL, NULL, PGV_OK },
        { DCS_DELETE_INITIALIZE, "90", NULL, NULL, NULL, "", PGV_ECONFLICT },
        { DCS_TAKE_LEADER, NULL, "7000000000000000001", "n1", OUR_LEASE, "7000000000000000001",
          PGV_OK },
        { DCS_TAKE_LEADER, NULL, "7000000000000000001", "n1", "77", "7000000000000000001",
          PGV_EUNREACHABLE },
        { DCS_TAKE_LEADER, NULL, "7000000000000000001", "n2", "77", "7000000000000000001",
          PGV_ECONFLICT },
        { DCS_TAKE_LEADER, NULL, "7000000000000000001", NULL, NULL, "", PGV_ECONFLICT },
        { DCS_TAKE_LEADER, NULL, "7000000000000000001", NULL, NULL, NULL, PGV_ECONFLICT },
    };
    static char refused[1024];
    char leader[256], initialize[256];

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        bool take = cases[i].op == DCS_TAKE_LEADER;

        fakes_reset(state);
        client_open(&c, "n1", fakes_open(1, NULL), false, 20000);
        must(&c, DCS_TOUCH_MEMBER, "{}");
        leader[0] = initialize[0] = 0;
        if (cases[i].leader)
            snprintf(leader, sizeof(leader), "%s",
                     fake_kv("leader", cases[i].leader, 100, cases[i].lease));
        if (cases[i].initialize)
            snprintf(initialize, sizeof(initialize), "%s",
                     fake_kv("initialize", cases[i].initialize, 101, NULL));
        snprintf(refused, sizeof(refused),
                 "{%s,\"responses\":[{\"response_range\":{\"kvs\":[%s]}},"
                 "{\"response_range\":{\"kvs\":[%s]}}]}",
                 fake_header(), take ? leader : initialize, take ? initialize : "");
        fake_rule(-1, "/kv/txn", 1, CUT, 0, NULL);
        fake_rule(-1, "/kv/txn", 1, ANSWER, 200, refused);
        if ((int)run(&c, &r, cases[i].op, cases[i].value, cases[i].version, 3000) != cases[i].code)
            fail_msg("case %zu: %s: %s", i, pgv_code_name(r.code), r.msg);
        if (cases[i].op == DCS_SET_INITIALIZE && cases[i].code == PGV_OK)
            assert_string_equal(r.req.new_version, "101");
        fakes_close(state);
    }
}

/* ---- memory --------------------------------------------------------------------------------- */

/* When memory is gone for good, a renewal ends in time and with an error that proves nothing, and
 * the next one, with memory, succeeds. */
static void test_memory__a_renewal_without_any(void **state)
{
    unsigned long nth, fewest = 0;

    (void)state;
    fake_put_kv("leader", "n1", 9, OUR_LEASE);
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
    fake_put_kv("leader", "n1", 9, OUR_LEASE);
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
#define T(name) cmocka_unit_test_setup_teardown(name, fakes_reset, fakes_close)
    const struct CMUnitTest tests[] = {
        T(test_version__decides_the_prefix),
        T(test_version__too_old_is_a_mistake_of_the_configuration),
        T(test_version__a_path_that_went_away_is_looked_up_anew),
        T(test_login__comes_first_and_again_when_the_token_is_old),
        T(test_login__a_store_without_authentication_is_used_without),
        T(test_login__an_old_token_in_two_attempts_is_refused_once),
        T(test_login__tokens_that_are_never_good_end_unreachable_without_haste),
        T(test_answers__of_something_else_send_us_to_the_next_node),
        T(test_errors__what_each_request_may_conclude),
        T(test_errors__one_of_them_is_overcome),
        T(test_errors__a_slow_store_is_still_a_store),
        T(test_nodes__a_silent_one_is_left_for_another_and_avoided),
        T(test_nodes__unavailable_is_answered_by_the_next_at_once),
        T(test_nodes__a_stale_one_is_not_believed),
        T(test_nodes__failed_ones_are_asked_again_beside_a_silent_one),
        T(test_nodes__a_failed_one_is_asked_again_beside_two_silent_ones),
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
        T(test_ambiguous__finishing_a_bootstrap),
        T(test_memory__a_renewal_without_any),
        T(test_memory__each_allocation_may_fail),
    };
    int failed;

    if (support_setup(NULL))
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return support_teardown(NULL) || failed ? 1 : 0;
}
