/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_listen.c - the restapi section at work: where to listen, TLS, headers, our address.
 *
 * On a reload everything is applied in place: a new certificate serves the next handshake, and
 * the listener is touched only when its address changed. Then it moves in place, with the requests
 * it has, and a mistake in the configuration leaves the API where it was.
 */
#include "agent/rest.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "base/banned.h"

#define HEADERS_BYTES_MAX (16u << 10)
#define LISTEN_RESOLVE_MS 5000
#define LISTEN_AGAIN_MS 5000

/* ---- the listener ----------------------------------------------------------------------- */

static void on_listener_closed(struct httpd *s)
{
    struct rest_listener *l = s->data;
    struct rest *r = l->rest;

    pgv_free(l);
    r->n_open--;
    rest_close_when_done(r);
}

static void wrap_bind_error(const char *host, int port, struct pgv_error *err)
{
    pgv_error_wrap(err,
                   "Couldn't start a service on '%.200s:%d', please check your `restapi.listen` "
                   "configuration",
                   host[0] && strcmp(host, "*") != 0 ? host : "None", port);
}

static bool listen_on(struct rest *r, const char *host, int port, struct pgv_error *err)
{
    struct rest_listener *l = pgv_zalloc(sizeof(*l));

    if (!l)
        return pgv_fail(err, PGV_ENOMEM, "no memory for the REST listener");
    l->rest = r;
    l->http.data = l;
    l->http.extra_headers = r->extra_headers.n ? pgv_buf_cstr(&r->extra_headers) : NULL;
    l->http.server_name = r->server_name;
    if (!httpd_open(&l->http, &r->agent->loop, host, port, r->tls, rest_on_request, err)) {
        pgv_free(l);
        wrap_bind_error(host, port, err);
        return false;
    }
    r->n_open++;
    r->listener = l;
    pgv_copy_cut(r->bound_host, sizeof(r->bound_host), pgv_str(host));
    r->bound_port = port;
    pgv_log(PGV_INFO, "rest", "the REST API listens on %s:%d%s", host[0] ? host : "*",
            httpd_port(&l->http), r->tls ? " with TLS" : "");
    return true;
}

static void on_listen_timer(uv_timer_t *timer);

static void listen_again_later(struct rest *r, const struct pgv_error *err)
{
    pgv_log(PGV_ERROR, "rest", "restapi.listen '%s': %s: trying again in %d s", r->listen, err->msg,
            LISTEN_AGAIN_MS / 1000);
    uv_timer_start(&r->listen_timer, on_listen_timer, LISTEN_AGAIN_MS, 0);
}

/* In place where there is one: open connections and what they asked for stay. */
static bool move_to(struct rest *r, const char *host, int port, struct pgv_error *err)
{
    if (!r->listener)
        return listen_on(r, host, port, err);
    if (port == r->bound_port && strcmp(host, r->bound_host) == 0)
        return true; /* there it is already */
    if (!httpd_relisten(&r->listener->http, host, port, err)) {
        wrap_bind_error(host, port, err);
        return false;
    }
    pgv_copy_cut(r->bound_host, sizeof(r->bound_host), pgv_str(host));
    r->bound_port = port;
    pgv_log(PGV_INFO, "rest", "the REST API now listens on %s:%d", host[0] ? host : "*",
            httpd_port(&r->listener->http));
    return true;
}

static void resolve_listen(struct rest *r);

static void on_listen_resolved(struct names_query *q, const struct pgv_error *resolve_err)
{
    struct rest *r = q->data;
    struct pgv_error err = { 0 };
    char ip[INET6_ADDRSTRLEN] = "";

    r->listen_query_busy = false;
    r->n_open--;
    if (r->closing) {
        rest_close_when_done(r);
        return;
    }
    if (strcmp(r->listen_host, r->listen_queried) != 0) { /* another was configured meanwhile */
        if (r->listen_host[0])
            resolve_listen(r);
        return;
    }
    if (resolve_err)
        err = *resolve_err;
    else if (q->addrs[0].ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&q->addrs[0])->sin6_addr, ip,
                  sizeof(ip));
    else
        inet_ntop(AF_INET, &((const struct sockaddr_in *)&q->addrs[0])->sin_addr, ip, sizeof(ip));
    if (resolve_err || !move_to(r, ip, r->listen_port, &err))
        listen_again_later(r, &err);
}

static void resolve_listen(struct rest *r)
{
    if (r->listen_query_busy)
        return; /* its answer will see that something else is wanted */
    r->listen_query_busy = true;
    r->n_open++;
    r->listen_query.data = r;
    memcpy(r->listen_queried, r->listen_host, sizeof(r->listen_queried));
    names_resolve(&r->listen_query, r->listen_host, r->listen_port, LISTEN_RESOLVE_MS,
                  on_listen_resolved);
}

static void on_listen_timer(uv_timer_t *timer)
{
    struct rest *r = timer->data;
    struct pgv_error err = { 0 };
    char host[sizeof(r->bound_host)];

    if (r->listen_host[0]) {
        resolve_listen(r);
        return;
    }
    memcpy(host, r->bound_host, sizeof(host));
    if (!r->listener && !listen_on(r, host, r->bound_port, &err))
        listen_again_later(r, &err);
}

/* Addresses are bound at once and may fail; a name is looked up first, without blocking. */
static bool open_listener(struct rest *r, const char *listen, struct pgv_error *err)
{
    struct in6_addr scratch;
    char host[sizeof(r->listen_host)];
    int port;

    if (!pgv_parse_host_port(pgv_str(listen), 0, host, sizeof(host), &port))
        return pgv_fail(
            err, PGV_EINVALID,
            "Invalid \"restapi\" config: expected <HOST>:<PORT> for \"listen\", but got "
            "\"%.200s\"",
            listen);
    if (!host[0] || strcmp(host, "*") == 0 || strcasecmp(host, "localhost") == 0 ||
        inet_pton(AF_INET, host, &scratch) == 1 || inet_pton(AF_INET6, host, &scratch) == 1) {
        if (!move_to(r, host, port, err))
            return false;
        r->listen_host[0] = '\0';
        uv_timer_stop(&r->listen_timer);
    } else {
        memcpy(r->listen_host, host, sizeof(host));
        r->listen_port = port;
        resolve_listen(r);
    }
    pgv_copy_cut(r->listen, sizeof(r->listen), pgv_str(listen));
    return true;
}

/* ---- configuration ---------------------------------------------------------------------- */

static enum tls_verify verify_of(const struct pgv_value *restapi)
{
    const char *word = pgv_stringz(pgv_get(restapi, "verify_client"));

    if (!word || strcasecmp(word, "none") == 0)
        return TLS_VERIFY_NONE;
    if (strcasecmp(word, "optional") == 0)
        return TLS_VERIFY_OPTIONAL;
    if (strcasecmp(word, "required") == 0)
        return TLS_VERIFY_REQUIRED;
    pgv_log(PGV_ERROR, "rest", "Bad value in the \"restapi.verify_client\": %s", word);
    return TLS_VERIFY_NONE;
}

/* A new context when an option or the certificate behind it changed; the listener stays. */
static bool configure_tls(struct rest *r, const struct pgv_value *restapi, struct pgv_error *err)
{
    static const char *const options[] = { "certfile", "keyfile", "keyfile_password",
                                           "cafile",   "ciphers", "verify_client" };
    const char *cert = pgv_stringz(pgv_get(restapi, "certfile"));
    char serial[sizeof(r->cert_serial)] = "";
    struct tls_context *fresh = NULL;
    struct pgv_buf key;

    pgv_buf_init(&key, 16384);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        pgv_buf_str(&key, pgv_string(pgv_get(restapi, options[i])));
        pgv_buf_putc(&key, '\n');
    }
    if (key.failed) {
        pgv_fail(err, PGV_ENOMEM, "the TLS options of restapi are too long");
        goto fail;
    }
    if (cert && cert[0]) {
        struct tls_config config = {
            .cert_file = cert,
            .key_file = pgv_stringz(pgv_get(restapi, "keyfile")),
            .key_password = pgv_stringz(pgv_get(restapi, "keyfile_password")),
            .ca_file = pgv_stringz(pgv_get(restapi, "cafile")),
            .ciphers = pgv_stringz(pgv_get(restapi, "ciphers")),
        };

        if (!tls_cert_serial(cert, serial, sizeof(serial), err))
            goto fail_wrapped;
        if (r->tls && pgv_str_eq(pgv_buf_view(&key), pgv_buf_view(&r->tls_key)) &&
            strcmp(serial, r->cert_serial) == 0) {
            pgv_buf_done(&key);
            return true;
        }
        config.verify = verify_of(restapi);
        if (!tls_context_new(&config, true, &fresh, err))
            goto fail_wrapped;
    }
    if (r->listener)
        httpd_set_tls(&r->listener->http, fresh);
    if (r->tls)
        pgv_log(PGV_INFO, "rest", "the REST API uses the TLS settings as they are now");
    tls_context_unref(r->tls);
    r->tls = fresh;
    memcpy(r->cert_serial, serial, sizeof(serial));
    pgv_buf_done(&r->tls_key);
    r->tls_key = key;
    return true;
fail_wrapped:
    pgv_error_wrap(err, "restapi.certfile");
fail:
    pgv_buf_done(&key);
    return false;
}

static bool is_header(const char *name, struct pgv_str value)
{
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("!#$%&'*+-.^_`|~", *p))
            return false;
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] < 0x20 && value.p[i] != '\t')
            return false;
    return name[0] != '\0';
}

static void put_headers(struct pgv_buf *b, const struct pgv_value *map,
                        const struct pgv_value *over)
{
    PGV_EACH(v, map)
    {
        struct pgv_buf text;

        if (pgv_get(over, v->key.p))
            continue; /* the https one counts */
        pgv_buf_init(&text, 4096);
        if (pgv_value_text(&text, v) && is_header(v->key.p, pgv_buf_view(&text)))
            pgv_buf_printf(b, "%s: %s\r\n", v->key.p, pgv_buf_cstr(&text));
        else
            pgv_log(PGV_WARNING, "rest", "'%s' is left out of the extra headers: no valid header",
                    v->key.p);
        pgv_buf_done(&text);
    }
}

static bool configure_headers(struct rest *r, const struct pgv_value *restapi, bool tls,
                              struct pgv_error *err)
{
    const struct pgv_value *https = tls ? pgv_get(restapi, "https_extra_headers") : NULL;
    const char *tokens = pgv_stringz(pgv_get(restapi, "server_tokens"));
    struct pgv_buf headers;

    pgv_buf_init(&headers, HEADERS_BYTES_MAX);
    put_headers(&headers, pgv_get(restapi, "http_extra_headers"), https);
    put_headers(&headers, https, NULL);
    if (headers.failed) {
        pgv_buf_done(&headers);
        return pgv_fail(err, PGV_EINVALID, "the extra headers of restapi are longer than %u bytes",
                        HEADERS_BYTES_MAX);
    }
    pgv_buf_done(&r->extra_headers);
    r->extra_headers = headers;

    r->server_name = "pgvigil/" PGVIGIL_VERSION; /* the banner of the HTTP server, as it were */
    if (tokens && strcasecmp(tokens, "productonly") == 0)
        r->server_name = "Patroni";
    else if (tokens && strcasecmp(tokens, "minimal") == 0)
        r->server_name = "Patroni/" PGV_PATRONI_VERSION;
    else if (tokens && strcasecmp(tokens, "original") != 0)
        pgv_log(
            PGV_WARNING, "rest",
            "restapi.server_tokens is set to \"%s\". Patroni will not modify the Server header. "
            "Valid values are: \"Minimal\", \"ProductOnly\".",
            tokens);
    if (r->listener) {
        r->listener->http.extra_headers =
            r->extra_headers.n ? pgv_buf_cstr(&r->extra_headers) : NULL;
        r->listener->http.server_name = r->server_name;
    }
    return true;
}

static bool configure_url(struct rest *r, const struct pgv_value *restapi, const char *listen,
                          struct pgv_error *err)
{
    const char *address = pgv_stringz(pgv_get(restapi, "connect_address"));
    char host[256];
    int port, n;

    if (!address || !address[0])
        address = listen;
    if (!pgv_parse_host_port(pgv_str(address), 0, host, sizeof(host), &port))
        return pgv_fail(
            err, PGV_EINVALID,
            "Invalid \"restapi\" config: expected <HOST>:<PORT> for \"connect_address\", "
            "but got \"%.200s\"",
            address);
    n = snprintf(r->api_url, sizeof(r->api_url), "%s://%s%s%s:%d/patroni",
                 r->tls ? "https" : "http", strchr(host, ':') ? "[" : "", host,
                 strchr(host, ':') ? "]" : "", port);
    if (n < 0 || (size_t)n >= sizeof(r->api_url))
        return pgv_fail(err, PGV_EINVALID, "restapi.connect_address is too long");
    return true;
}

bool rest_configure(struct rest *r, struct pgv_error *err)
{
    const struct pgv_value *restapi = pgv_get(r->agent->config.effective, "restapi");
    const char *listen = pgv_stringz(pgv_get(restapi, "listen"));

    if (!listen)
        return pgv_fail(err, PGV_EINVALID, "Can not find \"restapi.listen\" config");
    if (!configure_tls(r, restapi, err) || !configure_headers(r, restapi, r->tls != NULL, err) ||
        !configure_url(r, restapi, listen, err) || !rest_access_configure(r, restapi, err) ||
        !rest_agent_check_configure(r, restapi, err))
        return false;
    return strcmp(listen, r->listen) == 0 || open_listener(r, listen, err);
}

void rest_listener_close(struct rest *r)
{
    if (r->listen_query_busy)
        names_cancel(&r->listen_query);
    if (r->listener)
        httpd_close(&r->listener->http, on_listener_closed); /* aborts the requests it has */
}
