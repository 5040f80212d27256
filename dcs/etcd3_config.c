/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/etcd3_config.c - the section 'etcd3' of the configuration.
 *
 * Names, defaults and precedence are Patroni's (etcd.py, AbstractEtcd.get_etcd_client()): proxy
 * before url before hosts before host; srv, when given, is asked at discovery and these are what
 * remains when it yields nothing.
 */
#include "dcs/etcd3.h"

#include "base/log.h"
#include "base/parse.h"
#include "http/tls.h"

#include "base/banned.h"

#define PORT_DEFAULT 2379

/* A text option; numbers count as texts (a password of digits). Absent leaves "" and is fine. */
static bool text_option(const struct pgv_value *section, const char *key, char *ret,
                        size_t ret_bytes, struct pgv_error *err)
{
    const struct pgv_value *v = pgv_get(section, key);
    struct pgv_buf b;
    bool ok;

    ret[0] = 0;
    if (!v || v->type == PGV_NULL)
        return true;
    if (v->type == PGV_LIST || v->type == PGV_MAP)
        return pgv_fail(err, PGV_EINVALID, "etcd3.%s must be a text", key);
    pgv_buf_init(&b, ret_bytes);
    ok = v->type == PGV_STRING
             ? pgv_copy(ret, ret_bytes, v->u.s)
             : pgv_value_text(&b, v) && pgv_copy(ret, ret_bytes, pgv_buf_view(&b));
    pgv_buf_done(&b);
    return ok || pgv_fail(err, PGV_EINVALID, "etcd3.%s is too long", key);
}

/* 'host', 'host:port', '[v6]:port'. An explicit port option beats the one in the text. */
static bool add_host(struct etcd3_config *c, struct pgv_str text, int64_t port,
                     struct pgv_error *err)
{
    text = pgv_str_trim(text);
    if (!text.n)
        return true;
    if (c->n_hosts == ETCD3_NODES_MAX)
        return pgv_fail(err, PGV_EINVALID, "more than %d etcd3 hosts", ETCD3_NODES_MAX);
    if (!pgv_parse_host_port(text, PORT_DEFAULT, c->hosts[c->n_hosts].host,
                             sizeof(c->hosts[0].host), &c->hosts[c->n_hosts].port) ||
        !c->hosts[c->n_hosts].host[0])
        return pgv_fail(err, PGV_EINVALID, "'%.*s' is no etcd3 host", (int)(text.n & 0xff), text.p);
    if (port)
        c->hosts[c->n_hosts].port = (int)port;
    c->n_hosts++;
    return true;
}

/* A list, or a text with commas. */
static bool read_hosts(struct etcd3_config *c, const struct pgv_value *hosts, int64_t port,
                       struct pgv_error *err)
{
    struct pgv_str rest = pgv_string(hosts), head;
    bool more;

    PGV_EACH(host, hosts)
    {
        if (!pgv_is(host, PGV_STRING))
            return pgv_fail(err, PGV_EINVALID, "etcd3.hosts must be texts");
        if (!add_host(c, host->u.s, port, err))
            return false;
    }
    do {
        more = pgv_str_cut(rest, ',', &head, &rest);
        if (!add_host(c, head, port, err))
            return false;
    } while (more);
    return true;
}

/* 'http://user:password@host:port': also sets protocol and login. */
static bool read_url(struct etcd3_config *c, const char *key, struct pgv_str text,
                     struct pgv_error *err)
{
    struct httpc_url url;
    struct pgv_str user, password;
    const char *after = strstr(text.p, "://");
    struct pgv_str authority = pgv_str(after ? after + 3 : NULL), path;
    const char *at, *colon, *bracket;

    if (!httpc_url_parse(text, &url) || !url.host[0])
        return pgv_fail(err, PGV_EINVALID, "etcd3.%s is no http or https URL", key);
    /* Without a port in it the port is etcd's, not that of the web. */
    (void)pgv_str_cut(authority, '/', &authority, &path);
    at = authority.n ? memrchr(authority.p, '@', authority.n) : NULL;
    if (at) {
        authority.n -= (size_t)(at + 1 - authority.p);
        authority.p = at + 1;
    }
    colon = authority.n ? memrchr(authority.p, ':', authority.n) : NULL;
    bracket = authority.n ? memrchr(authority.p, ']', authority.n) : NULL;
    c->https = url.tls;
    c->n_hosts = 1;
    if (!pgv_copyz(c->hosts[0].host, sizeof(c->hosts[0].host), url.host))
        return pgv_fail(err, PGV_EINVALID, "etcd3.%s: the host is too long", key);
    c->hosts[0].port = colon && colon > bracket ? url.port : PORT_DEFAULT;
    if (url.userinfo[0] && pgv_str_cut(pgv_str(url.userinfo), ':', &user, &password) &&
        (!pgv_copy(c->username, sizeof(c->username), user) ||
         !pgv_copy(c->password, sizeof(c->password), password)))
        return pgv_fail(err, PGV_EINVALID, "etcd3.%s: user or password is too long", key);
    return true;
}

static bool read_srv(struct etcd3_config *c, const struct pgv_value *section, struct pgv_error *err)
{
    static const char *const names[] = { "srv", "discovery_srv", "srv_domain" };

    for (size_t i = 0; i < 3 && !c->srv[0]; i++)
        if (!text_option(section, names[i], c->srv, sizeof(c->srv), err))
            return false;
    return text_option(section, "srv_suffix", c->srv_suffix, sizeof(c->srv_suffix), err);
}

static bool read_endpoints(struct etcd3_config *c, const struct pgv_value *section,
                           struct pgv_error *err)
{
    struct pgv_str proxy = pgv_string(pgv_get(section, "proxy"));
    struct pgv_str url = pgv_string(pgv_get(section, "url"));
    const struct pgv_value *hosts = pgv_get(section, "hosts");
    struct pgv_str host = pgv_string(pgv_get(section, "host"));
    int64_t port = pgv_int_like(pgv_get(section, "port"), NULL, 0);

    if (port < 0 || port > 65535)
        return pgv_fail(err, PGV_EINVALID, "etcd3.port must be between 1 and 65535");
    c->proxies = pgv_bool_like(pgv_get(section, "use_proxies"));
    if (proxy.n) {
        c->proxies = true;
        return read_url(c, "proxy", proxy, err);
    }
    if (!read_srv(c, section, err))
        return false;
    if (url.n)
        return read_url(c, "url", url, err);
    if (pgv_truthy(hosts))
        return read_hosts(c, hosts, port, err);
    if (!add_host(c, host, port, err))
        return false;
    /* A name that stands for several servers; certificates are for names, so not with https. */
    c->spread_host = c->n_hosts == 1 && !c->https;
    return true;
}

bool etcd3_config_read(const struct pgv_value *section, struct etcd3_config *ret,
                       struct pgv_error *err)
{
    char protocol[16];

    memset(ret, 0, sizeof(*ret));
    if (!text_option(section, "protocol", protocol, sizeof(protocol), err) ||
        !text_option(section, "cacert", ret->cacert, sizeof(ret->cacert), err) ||
        !text_option(section, "cert", ret->cert, sizeof(ret->cert), err) ||
        !text_option(section, "key", ret->key, sizeof(ret->key), err))
        return false;
    if (protocol[0] && strcmp(protocol, "http") && strcmp(protocol, "https"))
        return pgv_fail(err, PGV_EINVALID, "etcd3.protocol must be http or https");
    ret->https = !strcmp(protocol, "https");
    if (!read_endpoints(ret, section, err))
        return false;
    if (!ret->n_hosts && !ret->srv[0])
        return pgv_fail(err, PGV_EINVALID,
                        "the etcd3 section names no endpoint: one of host, hosts, url, srv, proxy "
                        "is needed");
    if (!ret->username[0] &&
        (!text_option(section, "username", ret->username, sizeof(ret->username), err) ||
         !text_option(section, "password", ret->password, sizeof(ret->password), err)))
        return false;
    ret->has_login = ret->username[0] && ret->password[0];
    if (!ret->has_login && (ret->username[0] || ret->password[0]))
        pgv_log(PGV_WARNING, "dcs", "etcd3 needs both username and password; going without them");
    return true;
}

bool etcd3_config_tls(const struct etcd3_config *c, struct tls_context **ret_tls,
                      struct pgv_error *err)
{
    struct tls_config tls = {
        .cert_file = c->cert[0] ? c->cert : NULL,
        .key_file = c->key[0]    ? c->key
                    : c->cert[0] ? c->cert
                                 : NULL, /* may hold both */
        .ca_file = c->cacert[0] ? c->cacert : NULL,
        .verify = TLS_VERIFY_REQUIRED,
        .check_host_name = true,
    };

    *ret_tls = NULL;
    /* SRV records may name https services whatever the protocol option says. */
    if (!c->https && !c->srv[0])
        return true;
    if (c->https && !tls.ca_file && !tls_has_system_ca())
        (void)pgv_fail(err, PGV_EINVALID, "%s", TLS_NO_CA);
    else if (tls_context_new(&tls, false, ret_tls, err))
        return true;
    pgv_error_wrap(err, "etcd3");
    return false;
}
