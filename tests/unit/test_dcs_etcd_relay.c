/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_dcs_etcd_relay.c - a client behind relays that do what proxies, gateways and bad
 * networks do: answer for themselves, lose requests and replies, cut, dribble, close at the wrong
 * moment, carry a request out twice. What the client concludes is compared with what a real etcd
 * says to somebody who asks it directly.
 */
#include "dcs_support.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <time.h>

#define RELAYS 2
#define TTL_MS 20000
#define LATE_MOST_MS 3000
#define RUN_MS 6000 /* PGVIGIL_RELAY_MS makes it longer */

static struct client a, b;
static uint64_t seed;

static unsigned below(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % n);
}

/* ---- the relay ------------------------------------------------------------------------------ */

enum deed {
    PASS,
    COME_LATE,     /* the request */
    LOSE_REQUEST,  /* and the connection */
    LOSE_REPLY,    /* and the connection; it is carried out */
    KEEP_SILENT,   /* it is carried out, and nothing comes back */
    HTML_503,      /* not carried out */
    HTML_200,      /* a login page */
    EMPTY_OBJECT,  /* somebody's JSON */
    JSON_404,      /* somebody else's */
    GATEWAY_502,   /* it is carried out, and the gateway says that it was not */
    CUT_REPLY,     /* in the middle of the reply */
    CLOSE_AFTER,   /* the reply, without having said so */
    REPLY_AND_408, /* what a proxy says to an idle connection, too early */
    TWICE,         /* once more a while later */
    DRIBBLE,
    RESET,
    DEEDS
};

/* How much of it a relay does, in percent; the rest passes. */
static unsigned trouble[RELAYS];

struct pipe {
    uv_tcp_t in, out; /* to the client, to etcd */
    uv_timer_t timer;
    uv_connect_t connect;
    struct pgv_buf held;  /* for @out until it is connected, or its time has come */
    struct pgv_buf reply; /* for @in, dribbled */
    enum deed deed;
    int relay;
    bool connected, closing, orphan; /* orphan: nobody waits for its reply */
    unsigned open;
    struct pipe *next;
};
static struct pipe *pipes;
static uv_tcp_t listeners[RELAYS];
static int ports[RELAYS];
static unsigned n_pipes;
static uint64_t late_until_ms; /* what was asked may still be carried out */
static struct pgv_buf last_release;
static unsigned orphan_replies;

static void on_pipe_closed(uv_handle_t *h)
{
    struct pipe *p = h->data, **at = &pipes;

    if (--p->open)
        return;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    pgv_buf_done(&p->held);
    pgv_buf_done(&p->reply);
    n_pipes--;
    free(p);
}

static void close_pipe(struct pipe *p)
{
    if (p->closing)
        return;
    p->closing = true;
    if (p->deed == RESET && !p->orphan)
        uv_tcp_close_reset(&p->in, (uv_close_cb)on_pipe_closed);
    else
        uv_close((uv_handle_t *)&p->in, on_pipe_closed);
    uv_close((uv_handle_t *)&p->out, on_pipe_closed);
    uv_close((uv_handle_t *)&p->timer, on_pipe_closed);
}

static void on_written(uv_write_t *w, int status)
{
    (void)status;
    free(w);
}

static void put(uv_tcp_t *to, const char *p, size_t n)
{
    uv_write_t *w = malloc(sizeof(*w) + n);
    uv_buf_t buf = uv_buf_init((char *)(w + 1), (unsigned)n);

    memcpy(w + 1, p, n);
    if (uv_write(w, (uv_stream_t *)to, &buf, 1, on_written) != 0)
        free(w);
}

static void answer(struct pipe *p, int status, const char *type, const char *body)
{
    char text[512];
    int n = snprintf(text, sizeof(text),
                     "HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s", status,
                     type, strlen(body), body);

    put(&p->in, text, (size_t)n);
}

static void on_alloc(uv_handle_t *h, size_t wanted, uv_buf_t *ret)
{
    static char bytes[65536];

    (void)h;
    (void)wanted;
    *ret = uv_buf_init(bytes, sizeof(bytes));
}

static void send_held(struct pipe *p)
{
    if (!p->connected || !p->held.n)
        return;
    put(&p->out, p->held.p, p->held.n);
    pgv_buf_reset(&p->held);
}

static void on_timer(uv_timer_t *t)
{
    struct pipe *p = t->data;

    if (p->reply.n) { /* dribbled */
        put(&p->in, p->reply.p, 1);
        pgv_buf_consume(&p->reply, 1);
        if (p->reply.n)
            uv_timer_start(t, on_timer, 1, 0);
        return;
    }
    if (p->held.n)
        send_held(p);
    else
        close_pipe(p);
}

static void on_reply(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct pipe *p = s->data;

    if (n < 0) {
        close_pipe(p);
        return;
    }
    orphan_replies += p->orphan;
    if (p->orphan || p->closing)
        return;
    switch (p->deed) {
    case LOSE_REPLY:
        close_pipe(p);
        break;
    case KEEP_SILENT:
        break;
    case GATEWAY_502:
        answer(p, 502, "text/html", "<html>Bad Gateway</html>");
        p->deed = KEEP_SILENT;
        break;
    case CUT_REPLY:
    case RESET:
        put(&p->in, buf->base, 1 + below((unsigned)n));
        p->deed = p->deed == RESET ? RESET : KEEP_SILENT;
        uv_timer_start(&p->timer, on_timer, 1, 0);
        break;
    case CLOSE_AFTER:
        put(&p->in, buf->base, (size_t)n);
        uv_timer_start(&p->timer, on_timer, below(20), 0);
        break;
    case REPLY_AND_408:
        put(&p->in, buf->base, (size_t)n);
        answer(p, 408, "text/plain", "Request Timeout");
        p->deed = KEEP_SILENT;
        break;
    case DRIBBLE:
        pgv_buf_append(&p->reply, buf->base, (size_t)n);
        uv_timer_start(&p->timer, on_timer, 0, 0);
        break;
    default:
        put(&p->in, buf->base, (size_t)n);
        break;
    }
}

static void on_connected(uv_connect_t *c, int status)
{
    struct pipe *p = c->data;

    if (status != 0 || p->closing) {
        close_pipe(p);
        return;
    }
    p->connected = true;
    uv_read_start((uv_stream_t *)&p->out, on_alloc, on_reply);
    if (!uv_is_active((uv_handle_t *)&p->timer))
        send_held(p);
}

static struct pipe *new_pipe(void)
{
    struct pipe *p = calloc(1, sizeof(*p));
    struct sockaddr_in to;

    p->next = pipes;
    pipes = p;
    n_pipes++;
    pgv_buf_init(&p->held, 1 << 20);
    pgv_buf_init(&p->reply, 1 << 20);
    uv_tcp_init(&loop, &p->in);
    uv_tcp_init(&loop, &p->out);
    uv_timer_init(&loop, &p->timer);
    p->in.data = p->out.data = p->timer.data = p->connect.data = p;
    p->open = 3;
    uv_ip4_addr("127.0.0.1", etcds[0].client_port, &to);
    uv_tcp_connect(&p->connect, &p->out, (const struct sockaddr *)&to, on_connected);
    return p;
}

static void on_request(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct pipe *p = s->data, *again;
    struct pgv_str bytes = { buf->base, n > 0 ? (size_t)n : 0 };

    if (n < 0) {
        close_pipe(p);
        return;
    }
    if (p->closing)
        return;
    if (bytes.n > 5 && (!memcmp(bytes.p, "POST ", 5) || !memcmp(bytes.p, "GET /", 5)))
        p->deed = below(100) < trouble[p->relay] ? (enum deed)below(DEEDS) : PASS;
    if (memmem(bytes.p, bytes.n, "request_delete_range", 20)) {
        pgv_buf_reset(&last_release);
        pgv_buf_append(&last_release, bytes.p, bytes.n);
    }
    pgv_buf_append(&p->held, bytes.p, bytes.n);
    switch (p->deed) {
    case COME_LATE:
        late_until_ms = pgv_clock_ms() + LATE_MOST_MS;
        uv_timer_start(&p->timer, on_timer, below(LATE_MOST_MS), 0);
        return;
    case LOSE_REQUEST:
        close_pipe(p);
        return;
    case HTML_503:
    case HTML_200:
        pgv_buf_reset(&p->held);
        answer(p, p->deed == HTML_503 ? 503 : 200, "text/html", "<html>Sign in, please</html>");
        return;
    case EMPTY_OBJECT:
        pgv_buf_reset(&p->held);
        answer(p, 200, "application/json", "{}");
        return;
    case JSON_404:
        pgv_buf_reset(&p->held);
        answer(p, 404, "application/json", "{\"message\":\"no Route matched with those values\"}");
        return;
    case TWICE:
        again = new_pipe();
        again->orphan = true;
        pgv_buf_append(&again->held, bytes.p, bytes.n);
        late_until_ms = pgv_clock_ms() + LATE_MOST_MS;
        uv_timer_start(&again->timer, on_timer, below(LATE_MOST_MS), 0);
        break;
    default:
        break;
    }
    send_held(p);
}

static void on_accept(uv_stream_t *s, int status)
{
    struct pipe *p;

    if (status != 0)
        return;
    p = new_pipe();
    p->relay = (int)((uv_tcp_t *)s - listeners);
    uv_accept(s, (uv_stream_t *)&p->in);
    uv_read_start((uv_stream_t *)&p->in, on_alloc, on_request);
}

static const char *relays_open(void)
{
    static char section[128];

    for (unsigned i = 0; i < RELAYS; i++) {
        struct sockaddr_in any;
        int n = sizeof(any);

        uv_ip4_addr("127.0.0.1", 0, &any);
        uv_tcp_init(&loop, &listeners[i]);
        uv_tcp_bind(&listeners[i], (const struct sockaddr *)&any, 0);
        assert_int_equal(uv_listen((uv_stream_t *)&listeners[i], 64, on_accept), 0);
        uv_tcp_getsockname(&listeners[i], (struct sockaddr *)&any, &n);
        ports[i] = ntohs(any.sin_port);
    }
    snprintf(section, sizeof(section),
             "{\"hosts\":\"127.0.0.1:%d,127.0.0.1:%d\",\"use_proxies\":true}", ports[0], ports[1]);
    return section;
}

static bool pipes_are_closed(void *data)
{
    (void)data;
    return n_pipes == 0;
}

static void relays_close(void)
{
    for (unsigned i = 0; i < RELAYS; i++)
        uv_close((uv_handle_t *)&listeners[i], NULL);
    for (struct pipe *p = pipes; p; p = p->next)
        close_pipe(p);
    wait_until(pipes_are_closed, NULL, 5000, "the relays");
}

/* ---- what is true --------------------------------------------------------------------------- */

static const struct dcs_cluster *truth(void)
{
    must(&b, DCS_READ, NULL);
    return &b.dcs.view->cluster;
}

/* What etcd says of a lease: milliseconds it lives on, at most. */
static uint64_t lives_ms(const char *lease)
{
    char url[256], body[128], text[2048];
    const char *ttl;

    etcd_url(&etcds[0], "/v3/lease/timetolive", url, sizeof(url));
    snprintf(body, sizeof(body), "{\"ID\":\"%s\"}", lease);
    assert_int_equal(post(url, body, text, sizeof(text)), 200);
    ttl = strstr(text, "\"TTL\":\"");
    return ttl && ttl[7] != '-' ? ((uint64_t)atoi(ttl + 7) + 1) * 1000 : 0;
}

static void check_leads(const struct request *r, const char *what)
{
    const struct dcs_cluster *c = truth();
    uint64_t until_ms = r->req.sent_ms + TTL_MS;

    if (!c->has_leader || strcmp(c->leader, a.name) != 0)
        fail_msg("%s: done, but the leader is '%s'", what, c->has_leader ? c->leader : "");
    if (until_ms > pgv_clock_ms() + lives_ms(c->leader_session))
        fail_msg("%s: the lease is proven for longer than it lives", what);
}

static void check_not_led(const char *what)
{
    const struct dcs_cluster *c = truth();

    if (!c->has_leader || !strcmp(c->leader, a.name))
        fail_msg("%s: refused, but the leader is '%s'", what, c->has_leader ? c->leader : "");
}

/* The store drops the session, as if it had run out; perhaps another one takes the key. */
static bool b_leads;

static void drop_session(void)
{
    const struct dcs_cluster *c = truth();
    char url[256], body[128], text[2048];
    struct request r;

    if (b_leads) {
        must(&b, DCS_RELEASE_LEADER, NULL);
        b_leads = false;
        return;
    }
    if (!c->has_leader || strcmp(c->leader, a.name) != 0)
        return;
    etcd_url(&etcds[0], "/v3/lease/revoke", url, sizeof(url));
    snprintf(body, sizeof(body), "{\"ID\":\"%s\"}", c->leader_session);
    assert_int_equal(post(url, body, text, sizeof(text)), 200);
    if (below(2))
        b_leads = run(&b, &r, DCS_ACQUIRE_LEADER, NULL, NULL, 5000) == PGV_OK;
}

/* ---- the test ------------------------------------------------------------------------------- */

static unsigned counts[4][2];

static enum pgv_code ask(enum dcs_op op, const char *value, const char *version, struct request *r)
{
    return run(&a, r, op, value, version, 1000 + below(4000));
}

static void write_config(void)
{
    static unsigned n;
    char value[64], version[DCS_VERSION_BYTES];
    struct request r;
    const struct dcs_cluster *c = truth();
    enum pgv_code code;

    memcpy(version, c->config_version, sizeof(version));
    snprintf(value, sizeof(value), "{\"ttl\":20,\"n\":%u}", ++n);
    code = ask(DCS_SET_CONFIG, value, version[0] ? version : NULL, &r);
    c = truth();
    if (code == PGV_OK && !strcmp(c->config_version, version))
        fail_msg("a configuration is written and not there");
    if (code == PGV_ECONFLICT && strcmp(c->config_version, version))
        fail_msg("a configuration is refused and written");
}

static void test_relay__what_is_concluded_is_true(void **state)
{
    const char *ms = getenv("PGVIGIL_RELAY_MS");
    uint64_t until_ms = pgv_clock_ms() + (ms ? (uint64_t)atoll(ms) : RUN_MS);
    struct request r;
    bool leads = false;
    unsigned n_unknown = 0;

    (void)state;
    trouble[0] = trouble[1] = 60;
    while (pgv_clock_ms() < until_ms) {
        enum pgv_code code;

        if (!leads) {
            code = ask(DCS_ACQUIRE_LEADER, NULL, NULL, &r);
            if (code == PGV_OK)
                check_leads(&r, "acquire");
            else if (code == PGV_ECONFLICT && !truth()->has_leader)
                fail_msg("acquire: refused, and nobody leads");
            leads = code == PGV_OK;
            counts[0][code == PGV_OK]++;
            if (b_leads && below(4) == 0)
                drop_session();
        } else if (below(12) == 0) {
            code = ask(DCS_RELEASE_LEADER, NULL, NULL, &r);
            if (code == PGV_OK && truth()->has_leader && !b_leads && pgv_clock_ms() > late_until_ms)
                fail_msg("release: done, but there is a leader");
            leads = code != PGV_OK;
            counts[1][code == PGV_OK]++;
        } else if (below(4) == 0) {
            write_config();
            continue;
        } else if (below(8) == 0) {
            drop_session();
            continue;
        } else {
            code = ask(DCS_RENEW_LEADER, NULL, NULL, &r);
            if (code == PGV_OK)
                check_leads(&r, "renew");
            else if (code == PGV_ECONFLICT)
                check_not_led("renew");
            leads = code != PGV_ECONFLICT;
            counts[2][code == PGV_OK]++;
        }
        n_unknown += code == PGV_EUNREACHABLE;
        if (code != PGV_OK && code != PGV_ECONFLICT && code != PGV_EUNREACHABLE)
            fail_msg("%s ended with %s", dcs_op_name(r.req.op), r.msg);
    }
    print_message("acquired %u of %u, released %u of %u, renewed %u of %u, unknown %u\n",
                  counts[0][1], counts[0][0] + counts[0][1], counts[1][1],
                  counts[1][0] + counts[1][1], counts[2][1], counts[2][0] + counts[2][1],
                  n_unknown);
}

static bool is_carried_out_again(void *data)
{
    (void)data;
    return orphan_replies > 0;
}

/* A request that nobody waits for any more may still be carried out, or once more: by a node of
 * the store that stood still, say. A release takes what was given up then, not what was won since.
 */
static void test_relay__a_late_release_takes_no_key_that_was_won_after_it(void **state)
{
    struct pipe *again;

    (void)state;
    orphan_replies = 0;
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    must(&a, DCS_RELEASE_LEADER, NULL);
    assert_false(truth()->has_leader);
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    again = new_pipe();
    again->orphan = true;
    assert_true(pgv_buf_append(&again->held, last_release.p, last_release.n));
    wait_until(is_carried_out_again, NULL, 5000, "the release once more");
    assert_true(truth()->has_leader);
    assert_string_equal(truth()->leader, a.name);
    must(&a, DCS_RELEASE_LEADER, NULL); /* this one counts */
    assert_false(truth()->has_leader);
}

/* Whatever one of them does: no renewal fails, nor takes so long that the lease would suffer. */
static void test_relay__a_sound_one_is_enough(void **state)
{
    struct request r;
    uint64_t most_ms = 0;

    (void)state;
    must(&a, DCS_ACQUIRE_LEADER, NULL);
    for (unsigned i = 0; i < 60; i++) {
        unsigned bad = below(RELAYS);

        trouble[bad] = 100;
        trouble[!bad] = 0;
        if (run(&a, &r, DCS_RENEW_LEADER, NULL, NULL, 5000) != PGV_OK)
            fail_msg("renewal %u: %s", i, r.msg);
        if (r.took_ms > most_ms)
            most_ms = r.took_ms;
    }
    print_message("the slowest renewal took %llu ms\n", (unsigned long long)most_ms);
    assert_true(most_ms < 4000);
}

static int setup(void **state)
{
    const char *from = getenv("PGVIGIL_RELAY_SEED");

    (void)state;
    seed = from ? (uint64_t)atoll(from) : (uint64_t)time(NULL);
    print_message("PGVIGIL_RELAY_SEED=%llu\n", (unsigned long long)seed);
    trouble[0] = trouble[1] = 0;
    b_leads = false;
    etcd_start(1);
    client_open(&b, "b", etcd_section(1, NULL), false, TTL_MS);
    client_open(&a, "a", relays_open(), true, TTL_MS);
    must(&a, DCS_READ, NULL);
    must(&a, DCS_SET_CONFIG, "{\"ttl\":20}");
    pgv_buf_init(&last_release, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    close_clients(state);
    relays_close();
    pgv_buf_done(&last_release);
    etcd_stop_all();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_relay__what_is_concluded_is_true, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_relay__a_late_release_takes_no_key_that_was_won_after_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay__a_sound_one_is_enough, setup, teardown),
    };

    return cmocka_run_group_tests(tests, support_setup, support_teardown);
}
