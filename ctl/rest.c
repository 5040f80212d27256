/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/rest.c - requests to members.
 *
 * Credentials and certificates come from the 'ctl' section, else from 'restapi'; they are those of
 * the agents among each other. Certificates of members are verified unless --insecure or
 * ctl.insecure says otherwise; with a certificate of our own, 'insecure' only leaves the host name
 * unchecked. Source: Patroni 4.1, request.PatroniRequest.
 */
#include "ctl/rest.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/httpc.h"

#include "base/banned.h"

#define CONNECT_MS 10000
#define ATTEMPTS_MAX 4
#define ATTEMPTS_MS 10000 /* no further attempt after it */
#define ANSWER_BYTES_MAX HTTPC_BODY_BYTES_MAX

static const uint64_t patience_ms[] = {
    [CTL_PATIENCE_LOOK] = 10 * 1000,
    [CTL_PATIENCE_CHANGE] = 60 * 1000,
    /* A restart waits for a shutdown checkpoint and for recovery. A peer that dies meanwhile is
     * noticed by keep-alive probes; a person can always press Ctrl-C. */
    [CTL_PATIENCE_WORK] = 24 * 3600 * (uint64_t)1000,
};

struct exchange {
    struct httpc_req req;
    struct pgv_error err;
    struct ctl_answer *answer;
    bool done, failed;
};

static void on_answer(struct httpc_req *r, const struct pgv_error *err)
{
    struct exchange *x = r->data;

    x->failed = err != NULL;
    if (err) {
        x->err = *err;
    } else {
        x->answer->status = r->status;
        if (!pgv_buf_str(&x->answer->body, pgv_buf_view(&r->answer))) {
            x->failed = true;
            pgv_fail(&x->err, PGV_ENOMEM, "out of memory");
        }
    }
    x->done = true;
}

static const char *tls_text(struct ctl *c, const char *path)
{
    const char *text = ctl_config_text(c, path);

    return text && *text ? text : NULL;
}

bool ctl_client_open(struct ctl *c, struct httpc **ret, struct pgv_error *err)
{
    struct tls_config tls = {
        .cert_file = tls_text(c, "ctl.certfile"),
        .key_password = tls_text(c, "ctl.keyfile_password"),
        .ca_file = tls_text(c, "ctl.cacert"),
        .verify = TLS_VERIFY_REQUIRED,
        .check_host_name = !c->insecure,
    };
    struct tls_context *context = NULL;
    struct httpc *client;

    if (tls.cert_file)
        tls.key_file = tls_text(c, "ctl.keyfile");
    else if (c->insecure)
        tls.verify = TLS_VERIFY_NONE;
    if (!tls.ca_file)
        tls.ca_file = tls_text(c, "restapi.cafile");
    if (!tls_context_new(&tls, false, &context, err))
        return false;
    client = pgv_zalloc(sizeof(*client));
    if (!client) {
        tls_context_unref(context);
        return ctl_out_of_memory(err);
    }
    client->tcp = (struct httpc_tcp_options){
        .user_timeout_ms = 30000, .keepidle_s = 10, .keepintvl_s = 5, .keepcnt = 4
    };
    httpc_open(client, &c->loop, context);
    tls_context_unref(context); /* the client has its own reference */
    *ret = client;
    return true;
}

static void on_client_closed(struct httpc *client)
{
    *(bool *)client->data = true;
}

void ctl_client_close(struct ctl *c, struct httpc **io_client)
{
    bool closed = false;

    if (!*io_client)
        return;
    (*io_client)->data = &closed;
    httpc_close(*io_client, on_client_closed);
    ctl_finish(c, &closed);
    pgv_free(*io_client);
    *io_client = NULL;
}

void ctl_rest_close(struct ctl *c)
{
    ctl_client_close(c, &c->rest);
}

/** 'user:password' of ctl or restapi; NULL in @ret when neither is configured. */
static bool basic_auth(struct ctl *c, const char **ret, struct pgv_error *err)
{
    static const char *const sections[] = { "ctl", "restapi" };

    *ret = NULL;
    for (size_t i = 0; i < 2 && !*ret; i++) {
        const struct pgv_value *map = pgv_get(pgv_get(c->config, sections[i]), "authentication");
        char path[64];
        const char *user, *password;

        if (!pgv_truthy(map))
            continue;
        snprintf(path, sizeof(path), "%s.authentication.username", sections[i]);
        user = ctl_config_text(c, path);
        snprintf(path, sizeof(path), "%s.authentication.password", sections[i]);
        password = ctl_config_text(c, path);
        if (!user || !password)
            return pgv_fail(err, PGV_EINVALID, "%s.authentication needs both username and password",
                            sections[i]);
        *ret = pgv_arena_printf(&c->arena, "%s:%s", user, password);
        if (!*ret)
            return ctl_out_of_memory(err);
    }
    return true;
}

static bool endpoint_url(struct ctl *c, const struct dcs_member *member, const char *endpoint,
                         const char **ret, struct pgv_error *err)
{
    const char *authority = strstr(member->api_url, "://");
    size_t n;

    if (!authority) /* never ask a host that is called like the endpoint, as the origin would */
        return pgv_fail(err, PGV_EUNREACHABLE, "member %s has no api_url", member->name);
    *ret = member->api_url;
    if (!endpoint)
        return true;
    n = (size_t)(authority - member->api_url) + 3;
    n += strcspn(member->api_url + n, "/?#");
    *ret = pgv_arena_printf(&c->arena, "%.*s/%s", (int)n, member->api_url, endpoint);
    return *ret != NULL || ctl_out_of_memory(err);
}

bool ctl_request_fill(struct ctl *c, const struct dcs_member *member, const char *endpoint,
                      struct httpc_req *ret, struct pgv_error *err)
{
    const char *url = NULL, *auth = NULL;

    if (!endpoint_url(c, member, endpoint, &url, err) || !basic_auth(c, &auth, err))
        return false;
    *ret = (struct httpc_req){ .method = "GET",
                               .url = url,
                               .headers = "User-Agent: Patroni/" PGV_PATRONI_VERSION
                                          " pgvigilctl/" PGVIGIL_VERSION "\r\n",
                               .basic_auth = auth };
    return true;
}

/** One attempt. @ret_again: the connection was refused, so nothing was done and trying is safe. */
static bool attempt(struct ctl *c, struct exchange *x, const char *what, bool *ret_again,
                    struct pgv_error *err)
{
    *ret_again = false;
    x->done = x->failed = false;
    if (!httpc_send(c->rest, &x->req, on_answer, err))
        return false;
    if (!ctl_wait(c, &x->done, what)) {
        httpc_cancel(&x->req);
        ctl_finish(c, &x->done);
        return ctl_aborted(c, true, err);
    }
    if (x->failed) {
        *err = x->err;
        *ret_again = x->err.code == PGV_EUNREACHABLE && !x->req.sent;
    }
    return !x->failed;
}

bool ctl_request(struct ctl *c, const struct dcs_member *member, const char *method,
                 const char *endpoint, const struct pgv_value *body, enum ctl_patience patience,
                 const char *what, struct ctl_answer *ret, struct pgv_error *err)
{
    struct ctl_answer answer = { 0 };
    struct pgv_buf text;
    struct httpc_req filled;
    uint64_t started_ms = pgv_clock_ms();
    bool ok = false, again = false;

    pgv_buf_init(&answer.body, ANSWER_BYTES_MAX);
    pgv_buf_init(&text, ANSWER_BYTES_MAX);
    if (!ctl_request_fill(c, member, endpoint, &filled, err) ||
        (!c->rest && !ctl_client_open(c, &c->rest, err)))
        goto out;
    if (body && !pgv_json_write(&text, body, PGV_JSON_SPACED)) {
        ctl_out_of_memory(err);
        goto out;
    }
    for (unsigned n = 1; n <= ATTEMPTS_MAX; n++) {
        struct exchange x = { .answer = &answer, .req = filled };

        x.req.data = &x;
        x.req.method = method;
        x.req.body = pgv_buf_view(&text);
        x.req.connect_timeout_ms = CONNECT_MS;
        x.req.deadline_ms = pgv_clock_ms() + patience_ms[patience];
        ok = attempt(c, &x, what, &again, err);
        if (ok || !again || n == ATTEMPTS_MAX || pgv_clock_ms() - started_ms > ATTEMPTS_MS)
            break;
        pgv_log(PGV_WARNING, "ctl", "trying again: %s", err->msg);
    }
    if (ok) {
        *ret = answer;
        answer = (struct ctl_answer){ 0 };
    }
out:
    pgv_buf_done(&text);
    ctl_answer_done(&answer);
    return ok;
}

void ctl_answer_done(struct ctl_answer *a)
{
    pgv_buf_done(&a->body);
    *a = (struct ctl_answer){ 0 };
}

const char *ctl_answer_text(struct ctl_answer *a)
{
    return pgv_buf_cstr(&a->body);
}
