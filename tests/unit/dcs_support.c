/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/dcs_support.c - see dcs_support.h. */
#include "dcs_support.h"

#include "base/clock.h"
#include "base/file.h"
#include "http/httpc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

uv_loop_t loop;
struct etcd etcds[ETCDS_MAX];

static void on_tick(uv_timer_t *t)
{
    (void)t;
}

bool happens_within(bool (*done)(void *data), void *data, uint64_t timeout_ms)
{
    uint64_t until_ms = pgv_clock_ms() + timeout_ms;
    uv_timer_t tick; /* so that the loop comes back to look */
    bool ok;

    uv_timer_init(&loop, &tick);
    uv_timer_start(&tick, on_tick, 10, 10);
    while (!(ok = done(data)) && pgv_clock_ms() < until_ms)
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    return ok;
}

void wait_until(bool (*done)(void *data), void *data, uint64_t timeout_ms, const char *what)
{
    if (!happens_within(done, data, timeout_ms))
        fail_msg("in vain for %llu ms: %s", (unsigned long long)timeout_ms, what);
}

/* ---- clients -------------------------------------------------------------------------------- */

#define OPEN_MAX 4
static struct client *open_clients[OPEN_MAX];

static void on_view(struct dcs *dcs, unsigned changed)
{
    struct client *c = dcs->data;

    c->n_views++;
    c->changed |= changed;
}

void client_open(struct client *c, const char *name, const char *section_json, bool member,
                 uint64_t ttl_ms)
{
    struct dcs_config config = { .name = c->name,
                                 .scope = "main",
                                 .name_space = "/service/",
                                 .ttl_ms = ttl_ms,
                                 .loop_wait_ms = 10000,
                                 .retry_timeout_ms = 10000,
                                 .member = member };
    struct pgv_error err = { 0 };

    memset(c, 0, sizeof(*c));
    snprintf(c->name, sizeof(c->name), "%s", name);
    pgv_arena_init(&c->arena, 1 << 20);
    if (!pgv_json_parse(&c->arena, pgv_str(section_json), &c->section, &err))
        fail_msg("section: %s", err.msg);
    config.section = c->section;
    c->dcs.data = c;
    c->dcs.on_view = on_view;
    if (!dcs_open(&c->dcs, &loop, &dcs_etcd3_ops, &config, &err))
        fail_msg("dcs_open: %s", err.msg);
    for (int i = 0; i < OPEN_MAX; i++) {
        if (!open_clients[i]) {
            open_clients[i] = c;
            break;
        }
    }
}

static void on_closed(struct dcs *dcs)
{
    ((struct client *)dcs->data)->closed = true;
}

static bool is_closed(void *data)
{
    return ((struct client *)data)->closed;
}

void client_close(struct client *c)
{
    for (int i = 0; i < OPEN_MAX; i++)
        if (open_clients[i] == c)
            open_clients[i] = NULL;
    dcs_close(&c->dcs, on_closed);
    assert_false(c->closed);
    wait_until(is_closed, c, 5000, "closing the client");
    pgv_arena_done(&c->arena);
}

static void on_reply(struct dcs_req *req, const struct pgv_error *err)
{
    struct request *r = req->data;

    assert_false(r->done);
    r->done = true;
    r->code = err ? err->code : PGV_OK;
    snprintf(r->msg, sizeof(r->msg), "%s", err ? err->msg : "");
    r->took_ms = pgv_clock_ms() - r->took_ms;
}

static bool is_done(void *data)
{
    return ((struct request *)data)->done;
}

void start(struct client *c, struct request *r, enum dcs_op op, const char *value,
           const char *version, uint64_t timeout_ms)
{
    char text[DCS_VERSION_BYTES];

    snprintf(text, sizeof(text), "%s", version ? version : ""); /* it may be r's own */
    memset(r, 0, sizeof(*r));
    r->req.data = r;
    r->req.op = op;
    r->req.value = pgv_str(value);
    memcpy(r->req.version, text, sizeof(text));
    r->took_ms = pgv_clock_ms();
    r->req.deadline_ms = r->took_ms + timeout_ms;
    dcs_submit(&c->dcs, &r->req, on_reply);
    assert_false(r->done); /* never inside the call */
}

void finish(struct request *r)
{
    uint64_t now_ms = pgv_clock_ms(), left_ms;

    left_ms = r->req.deadline_ms > now_ms ? r->req.deadline_ms - now_ms : 0;
    wait_until(is_done, r, left_ms + 500, dcs_op_name(r->req.op));
}

enum pgv_code run(struct client *c, struct request *r, enum dcs_op op, const char *value,
                  const char *version, uint64_t timeout_ms)
{
    start(c, r, op, value, version, timeout_ms);
    finish(r);
    return r->code;
}

void must(struct client *c, enum dcs_op op, const char *value)
{
    struct request r;

    if (run(c, &r, op, value, NULL, 10000) != PGV_OK)
        fail_msg("%s: %s: %s", dcs_op_name(op), pgv_code_name(r.code), r.msg);
}

bool view_is_live(void *client)
{
    return ((struct client *)client)->dcs.view_live && ((struct client *)client)->dcs.view;
}

bool view_is_not_live(void *client)
{
    return !((struct client *)client)->dcs.view_live;
}

/* ---- plain HTTP ----------------------------------------------------------------------------- */

struct posting {
    struct httpc client;
    struct httpc_req req;
    int status;
    char *ret;
    size_t ret_bytes;
    bool done, closed;
};

static void on_posted(struct httpc_req *r, const struct pgv_error *err)
{
    struct posting *p = r->data;

    p->done = true;
    p->status = err ? 0 : r->status;
    if (!err && p->ret)
        pgv_copy_cut(p->ret, p->ret_bytes, pgv_buf_view(&r->answer));
}

static void on_client_closed(struct httpc *c)
{
    ((struct posting *)c->data)->closed = true;
}

static bool is_posted(void *data)
{
    return ((struct posting *)data)->done;
}

static bool is_posting_closed(void *data)
{
    return ((struct posting *)data)->closed;
}

int post(const char *url, const char *body, char *ret, size_t ret_bytes)
{
    static struct posting p;
    struct pgv_error err;

    memset(&p, 0, sizeof(p));
    p.ret = ret;
    p.ret_bytes = ret_bytes;
    httpc_open(&p.client, &loop, NULL);
    p.client.data = &p;
    p.req = (struct httpc_req){ .data = &p,
                                .method = body ? "POST" : "GET",
                                .url = url,
                                .body = pgv_str(body),
                                .content_type = body ? "application/json" : NULL,
                                .deadline_ms = pgv_clock_ms() + 2000 };
    if (!httpc_send(&p.client, &p.req, on_posted, &err))
        fail_msg("%s: %s", url, err.msg);
    wait_until(is_posted, &p, 3000, url);
    httpc_close(&p.client, on_client_closed);
    wait_until(is_posting_closed, &p, 3000, "closing the http client");
    return p.status;
}

/* ---- etcd ----------------------------------------------------------------------------------- */

/* A port that nobody listens on. From below those that the system gives to clients, and from a
 * place of this process's own, so that programs that run side by side do not take the same. */
static int free_port(void)
{
    static int next;
    int port, fd, taken;

    do {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };

        port = 15000 + (getpid() * 32 + next++) % 16000;
        a.sin_port = htons((uint16_t)port);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        taken = bind(fd, (struct sockaddr *)&a, sizeof(a));
        close(fd);
    } while (taken);
    return port;
}

/* Certificates are those of the HTTP tests. */
const char *certificate(const char *name)
{
    static char path[4][512];
    static unsigned next;
    const char *top = getenv("PGVIGIL_SOURCE_DIR");
    char *to = path[next++ % 4];

    snprintf(to, sizeof(path[0]), "%s/tests/unit/data/http/%s", top ? top : ".", name);
    return to;
}

static bool with_tls;

static void spawn(struct etcd *s, unsigned n)
{
    char client[64], peer[64], cluster[256] = "", log[96], data[96];
    const char *args[40];
    unsigned n_args = 0;
    size_t at = 0;

    for (unsigned i = 0; i < n; i++)
        at += (size_t)snprintf(cluster + at, sizeof(cluster) - at, "%s%s=http://127.0.0.1:%d",
                               i ? "," : "", etcds[i].name, etcds[i].peer_port);
    snprintf(client, sizeof(client), "%s://127.0.0.1:%d", with_tls ? "https" : "http",
             s->client_port);
    snprintf(peer, sizeof(peer), "http://127.0.0.1:%d", s->peer_port);
    snprintf(log, sizeof(log), "%s/log", s->dir);
    snprintf(data, sizeof(data), "%s/data", s->dir);
    for (const char *const *arg =
             (const char *const[]){ "etcd",       "--name",
                                    s->name,      "--data-dir",
                                    data,         "--listen-client-urls",
                                    client,       "--advertise-client-urls",
                                    client,       "--listen-peer-urls",
                                    peer,         "--initial-advertise-peer-urls",
                                    peer,         "--initial-cluster",
                                    cluster,      "--initial-cluster-token",
                                    etcds[0].dir, "--heartbeat-interval",
                                    "50",         "--election-timeout",
                                    "500",        "--unsafe-no-fsync",
                                    NULL };
         *arg; arg++)
        args[n_args++] = *arg;
    if (with_tls)
        for (const char *const *arg =
                 (const char *const[]){ "--client-cert-auth", "--trusted-ca-file",
                                        certificate("ca.pem"), "--cert-file",
                                        certificate("server.pem"), "--key-file",
                                        certificate("server.key"), NULL };
             *arg; arg++)
            args[n_args++] = *arg;
    args[n_args] = NULL;
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that dies leaves no server */
        if (fd >= 0) {
            dup2(fd, 1);
            dup2(fd, 2);
        }
        execvp("etcd", (char *const *)(uintptr_t)args); /* it does not write there */
        _exit(127);
    }
}

void etcd_url(const struct etcd *s, const char *path, char *ret, size_t ret_bytes)
{
    snprintf(ret, ret_bytes, "http://127.0.0.1:%d%s", s->client_port, path);
}

bool etcd_serves(void *data)
{
    char url[128];

    etcd_url(data, "/v3/kv/range", url, sizeof(url));
    return post(url, "{\"key\":\"AA==\"}", NULL, 0) == 200;
}

static void start_servers(unsigned n)
{
    memset(etcds, 0, sizeof(etcds));
    for (unsigned i = 0; i < n; i++) {
        snprintf(etcds[i].name, sizeof(etcds[i].name), "e%u", i);
        snprintf(etcds[i].dir, sizeof(etcds[i].dir), "/tmp/pgvigil-etcd-XXXXXX");
        assert_non_null(mkdtemp(etcds[i].dir));
        etcds[i].client_port = free_port();
        etcds[i].peer_port = free_port();
    }
    for (unsigned i = 0; i < n; i++)
        spawn(&etcds[i], n);
}

void etcd_start(unsigned n)
{
    with_tls = false;
    start_servers(n);
    for (unsigned i = 0; i < n; i++)
        wait_until(etcd_serves, &etcds[i], 20000, "etcd starting");
}

void etcd_start_tls(void)
{
    with_tls = true;
    start_servers(1);
}

static unsigned count(void)
{
    unsigned n = 0;

    while (n < ETCDS_MAX && etcds[n].name[0])
        n++;
    return n;
}

void etcd_start_again(struct etcd *s)
{
    assert_int_equal(s->pid, 0);
    spawn(s, count());
}

void etcd_signal(struct etcd *s, int sig)
{
    int status;

    assert_true(s->pid > 0);
    assert_int_equal(kill((pid_t)s->pid, sig), 0);
    if (sig == SIGSTOP)
        assert_int_equal(waitpid((pid_t)s->pid, &status, WUNTRACED), s->pid);
    if (sig == SIGKILL) {
        assert_int_equal(waitpid((pid_t)s->pid, &status, 0), s->pid);
        s->pid = 0;
    }
}

void etcd_stop_all(void)
{
    for (unsigned i = 0; i < count(); i++) {
        if (etcds[i].pid > 0)
            etcd_signal(&etcds[i], SIGKILL);
        (void)!pgv_tree_remove(etcds[i].dir, NULL);
    }
    memset(etcds, 0, sizeof(etcds));
}

static int find_leader(void)
{
    char url[128], text[1024];

    for (unsigned i = 0; i < count(); i++) {
        struct pgv_arena a;
        struct pgv_value *v = NULL;
        struct pgv_str member, leader;
        bool is_leader = false;

        if (etcds[i].pid <= 0)
            continue;
        etcd_url(&etcds[i], "/v3/maintenance/status", url, sizeof(url));
        if (post(url, "{}", text, sizeof(text)) != 200)
            continue;
        pgv_arena_init(&a, 1 << 16);
        if (pgv_json_parse(&a, pgv_str(text), &v, NULL)) {
            member = pgv_string(pgv_path(v, "header.member_id"));
            leader = pgv_string(pgv_get(v, "leader"));
            is_leader = leader.n && pgv_str_eq(member, leader);
        }
        pgv_arena_done(&a);
        if (is_leader)
            return (int)i;
    }
    return -1;
}

static bool has_leader(void *data)
{
    return (*(int *)data = find_leader()) >= 0;
}

int etcd_leader(void)
{
    int leader;

    wait_until(has_leader, &leader, 10000, "an etcd leader");
    return leader;
}

const char *etcd_section(unsigned n, const char *more)
{
    static char text[2560];
    size_t at = (size_t)snprintf(text, sizeof(text), "{\"hosts\":\"");

    for (unsigned i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s127.0.0.1:%d", i ? "," : "",
                               etcds[i].client_port);
    snprintf(text + at, sizeof(text) - at, "\"%s%s}", more ? "," : "", more ? more : "");
    return text;
}

/* ---- fakes ---------------------------------------------------------------------------------- */

#define RULES_MAX 8

struct fake_rule {
    int server;
    const char *path;
    int times;
    enum fake_action action;
    int status;
    const char *answer;
};

struct fake fakes[FAKES_MAX];
struct fake_request fake_seen[FAKE_SEEN_MAX];
unsigned n_fake_seen;
char fake_kvs[8192];
const char *fake_version;
unsigned long long fake_revision;

static struct fake_rule rules[RULES_MAX];
static unsigned n_fakes;
static unsigned long long term;
static struct late {
    uv_timer_t timer;
    struct fake *fake;
    struct httpd_req *q;
    int status; /* of the answer, or NULL for the usual one */
    const char *answer;
} lates[32];

void fake_no_rules(void)
{
    memset(rules, 0, sizeof(rules));
}

static void on_gone(struct httpd_req *q)
{
    struct fake *f = q->data;

    if (f->watch == q)
        f->watch = NULL;
}

const char *fake_header(void)
{
    static char text[160];

    snprintf(text, sizeof(text),
             "\"header\":{\"cluster_id\":\"77\",\"revision\":\"%llu\",\"raft_term\":\"%llu\"}",
             fake_revision, term);
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
        snprintf(text, sizeof(text), "{\"etcdserver\":\"%s\",\"etcdcluster\":\"%s\"}", fake_version,
                 fake_version);
    } else if (strstr(path, "/member/list")) {
        at = (size_t)snprintf(text, sizeof(text), "{%s,\"members\":[", fake_header());
        for (unsigned i = 0; i < n_fakes; i++)
            at += (size_t)snprintf(text + at, sizeof(text) - at,
                                   "%s{\"clientURLs\":[\"http://127.0.0.1:%d\"]}", i ? "," : "",
                                   fakes[i].port);
        snprintf(text + at, sizeof(text) - at, "]}");
    } else if (strstr(path, "/authenticate")) {
        snprintf(text, sizeof(text), "{%s,\"token\":\"token.%u\"}", fake_header(), n_fake_seen);
    } else if (strstr(path, "/lease/grant")) {
        snprintf(text, sizeof(text), "{%s,\"ID\":\"9223372036854775806\",\"TTL\":\"20\"}",
                 fake_header());
    } else if (strstr(path, "/lease/keepalive")) {
        snprintf(text, sizeof(text),
                 "{\"result\":{%s,\"ID\":\"9223372036854775806\",\"TTL\":\"20\"}}\n",
                 fake_header());
    } else if (strstr(path, "/kv/range")) {
        snprintf(text, sizeof(text), "{%s,\"kvs\":[%s],\"count\":\"%d\"}", fake_header(), fake_kvs,
                 fake_kvs[0] ? 1 : 0);
    } else if (strstr(path, "/kv/put") || strstr(path, "/kv/deleterange")) {
        fake_revision++;
        snprintf(text, sizeof(text), "{%s}", fake_header());
    } else if (strstr(path, "/kv/txn")) {
        fake_revision++;
        snprintf(text, sizeof(text), "{%s,\"succeeded\":true}", fake_header());
    } else if (strstr(path, "/watch")) {
        q->data = f;
        q->on_abort = on_gone;
        f->watch = q;
        httpd_stream_begin(q, "application/json");
        snprintf(text, sizeof(text), "{\"result\":{%s,\"created\":true}}\n", fake_header());
        if (!httpd_stream_write(q, pgv_str(text)))
            f->watch = NULL;
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
        if (late->answer)
            reply(q, late->status, late->answer);
        else
            canned(late->fake, q, path);
    }
    uv_close((uv_handle_t *)t, on_late_closed);
}

static void answer_late(struct fake *f, struct httpd_req *q, const struct fake_rule *rule)
{
    for (size_t i = 0; i < sizeof(lates) / sizeof(*lates); i++) {
        if (lates[i].fake)
            continue;
        lates[i].fake = f;
        lates[i].q = q;
        lates[i].status = rule->status;
        lates[i].answer = rule->answer;
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
    struct fake_request *to =
        &fake_seen[n_fake_seen < FAKE_SEEN_MAX ? n_fake_seen++ : FAKE_SEEN_MAX - 1];

    to->server = f->index;
    pgv_copy_cut(to->path, sizeof(to->path), q->path);
    pgv_copy_cut(to->body, sizeof(to->body), q->body);
    pgv_copy_cut(to->authorization, sizeof(to->authorization), q->authorization);
    for (int i = 0; i < RULES_MAX; i++) {
        struct fake_rule *rule = &rules[i];

        if (!rule->times || (rule->server >= 0 && rule->server != f->index) ||
            !strstr(to->path, rule->path))
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
            if (httpd_stream_write(q, PGV_STR("{\"header\":"))) /* or it has given up already */
                httpd_stream_end(q);
            return;
        case LATE:
            answer_late(f, q, rule);
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

void fake_close(struct fake *f)
{
    if (!f->open)
        return;
    f->closed = f->open = false;
    httpd_close(&f->httpd, on_fake_closed);
    wait_until(fake_is_closed, f, 3000, "closing a fake");
    memset(&f->httpd, 0, sizeof(f->httpd));
}

int fakes_close(void **state)
{
    close_clients(state);
    for (int i = 0; i < FAKES_MAX; i++)
        fake_close(&fakes[i]);
    wait_until(nothing_is_late, NULL, 2 * LATE_MS, "late answers");
    return 0;
}

int fakes_reset(void **state)
{
    (void)state;
    memset(rules, 0, sizeof(rules));
    memset(fakes, 0, sizeof(fakes));
    n_fake_seen = n_fakes = 0;
    fake_kvs[0] = 0;
    fake_version = "3.4.23";
    fake_revision = 100;
    term = 5;
    return 0;
}

const char *fakes_open(unsigned n, const char *more)
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

void fake_rule(int server, const char *path, int times, enum fake_action action, int status,
               const char *answer)
{
    for (int i = 0; i < RULES_MAX; i++) {
        if (rules[i].times)
            continue;
        rules[i] = (struct fake_rule){ server, path, times, action, status, answer };
        return;
    }
    fail_msg("too many rules");
}

unsigned fake_count(int server, const char *path, const char *body)
{
    unsigned n = 0;

    for (unsigned i = 0; i < n_fake_seen; i++)
        n += (server < 0 || fake_seen[i].server == server) && strstr(fake_seen[i].path, path) &&
             (!body || strstr(fake_seen[i].body, body));
    return n;
}

const char *fake_base64(const char *text)
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
const char *fake_kv(const char *key, const char *value, unsigned long long mod, const char *lease)
{
    static char ret[4][1024];
    static unsigned next;
    char full[256], *to = ret[next++ % 4];

    snprintf(full, sizeof(full), "/service/main/%s", key);
    snprintf(to, 1024, "{\"key\":\"%s\",\"value\":\"%s\",\"mod_revision\":\"%llu\"%s%s%s}",
             fake_base64(full), fake_base64(value), mod, lease ? ",\"lease\":\"" : "",
             lease ? lease : "", lease ? "\"" : "");
    return to;
}

void fake_put_kv(const char *key, const char *value, unsigned long long mod, const char *lease)
{
    size_t at = strlen(fake_kvs);

    snprintf(fake_kvs + at, sizeof(fake_kvs) - at, "%s%s", at ? "," : "",
             fake_kv(key, value, mod, lease));
}

bool fake_watch_is_open(void *client)
{
    for (unsigned i = 0; i < n_fakes; i++)
        if (fakes[i].watch)
            return view_is_live(client);
    return false;
}

void fake_push(const char *text, size_t step)
{
    struct fake *f = NULL;
    size_t n = strlen(text);

    for (unsigned i = 0; i < n_fakes && !f; i++)
        f = fakes[i].watch ? &fakes[i] : NULL;
    assert_non_null(f);
    for (size_t at = 0; at < n && f->watch; at += step) {
        if (!httpd_stream_write(f->watch,
                                (struct pgv_str){ text + at, n - at < step ? n - at : step }))
            f->watch = NULL;
        if (step < n)
            for (int i = 0; i < 3; i++)
                uv_run(&loop, UV_RUN_NOWAIT);
    }
}

const char *fake_event(const char *kv_json, bool gone)
{
    static char ret[2][2048];
    static unsigned next;
    char *to = ret[next++ % 2];

    snprintf(to, 2048, "{\"result\":{%s,\"events\":[{%s\"kv\":%s}]}}\n", fake_header(),
             gone ? "\"type\":\"DELETE\"," : "", kv_json);
    return to;
}

/* ---- group ---------------------------------------------------------------------------------- */

int support_setup(void **state)
{
    struct pgv_error err;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (uv_loop_init(&loop) || !names_open(&loop, &err))
        return -1;
    return 0;
}

static void on_names_closed(void *data)
{
    *(bool *)data = true;
}

static bool is_true(void *data)
{
    return *(bool *)data;
}

int close_clients(void **state)
{
    (void)state;
    for (int i = 0; i < OPEN_MAX; i++)
        if (open_clients[i])
            client_close(open_clients[i]);
    return 0;
}

int support_teardown(void **state)
{
    bool closed = false;

    close_clients(state);
    etcd_stop_all();
    names_close(on_names_closed, &closed);
    if (!happens_within(is_true, &closed, 3000))
        return -1;
    for (int i = 0; i < 10; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    if (uv_loop_close(&loop)) {
        print_error("handles are left open\n");
        return -1;
    }
    if (pgv_alloc_blocks_in_use())
        print_error("%zu blocks are left\n", pgv_alloc_blocks_in_use());
    return pgv_alloc_blocks_in_use() ? -1 : 0;
}
