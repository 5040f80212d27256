/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/url.c - the URLs of stores and members taken apart: scheme, credentials, host, port, path.
 */
#include "http/httpc.h"

#include "base/parse.h"
#include "http/percent.h"

#include <strings.h>

#include "base/banned.h"

static bool scheme_is(struct pgv_str *url, const char *scheme)
{
    size_t n = strlen(scheme);

    if (url->n < n || strncasecmp(url->p, scheme, n) != 0)
        return false;
    url->p += n;
    url->n -= n;
    return true;
}

/* What goes into a request line or a Host header must not be able to end it. */
static bool is_printable(struct pgv_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
            return false;
    return true;
}

/* Names, addresses (with a zone), and what Docker and Kubernetes make of names. */
static bool is_host(const char *s)
{
    for (; *s; s++)
        if ((*s < '0' || *s > '9') && (*s < 'a' || *s > 'z') && (*s < 'A' || *s > 'Z') &&
            !strchr(".:-_%", *s))
            return false;
    return true;
}

static size_t authority_length(struct pgv_str s)
{
    size_t i = 0;

    while (i < s.n && s.p[i] != '/' && s.p[i] != '?' && s.p[i] != '#')
        i++;
    return i;
}

/* 'host', 'host:port', '[v6]:port': one host, nothing around it. */
static bool take_authority(struct pgv_str s, struct httpc_url *u)
{
    struct pgv_str host, port = { 0 };
    bool bracketed = s.n && s.p[0] == '[', has_port = false;
    uint64_t number = 0;

    if (bracketed) {
        s.p++;
        s.n--;
        if (!pgv_str_cut(s, ']', &host, &port) || !memchr(host.p, ':', host.n))
            return false;
        has_port = port.n > 0;
        if (has_port && port.p[0] != ':')
            return false;
        port.p += has_port;
        port.n -= has_port;
    } else {
        has_port = pgv_str_cut(s, ':', &host, &port);
    }
    u->port = u->tls ? 443 : 80;
    if (has_port) {
        if (!pgv_parse_u64(port, &number) || number < 1 || number > 65535)
            return false;
        u->port = (int)number;
    }
    return pgv_copy(u->host, sizeof(u->host), host) && u->host[0] && is_host(u->host);
}

bool httpc_url_parse(struct pgv_str url, struct httpc_url *ret)
{
    struct httpc_url u = { 0 };
    struct pgv_str authority, path, head, tail;
    size_t n;

    if (!is_printable(url))
        return false;
    if (scheme_is(&url, "https://"))
        u.tls = true;
    else if (!scheme_is(&url, "http://"))
        return false;

    n = authority_length(url);
    authority = (struct pgv_str){ url.p, n };
    path = (struct pgv_str){ url.p + n, url.n - n };
    if (pgv_str_cut(path, '#', &head, &tail))
        path = head; /* a fragment is never sent */

    /* The last '@' ends the credentials: a password may hold one. */
    for (size_t i = authority.n; i > 0; i--) {
        if (authority.p[i - 1] != '@')
            continue;
        /* Reserved characters of a password are written with %XX (RFC 3986, 3.2.1). */
        if (!percent_decode((struct pgv_str){ authority.p, i - 1 }, false, u.userinfo,
                            sizeof(u.userinfo)))
            return false;
        authority.p += i;
        authority.n -= i;
        break;
    }
    if (!take_authority(authority, &u))
        return false;
    if (path.n == 0 || path.p[0] != '/') {
        u.path[0] = '/';
        if (!pgv_copy(u.path + 1, sizeof(u.path) - 1, path))
            return false;
    } else if (!pgv_copy(u.path, sizeof(u.path), path)) {
        return false;
    }
    *ret = u;
    return true;
}
