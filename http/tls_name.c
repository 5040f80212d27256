/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/tls_name.c - is this the certificate of the host we meant? See tls_private.h.
 */
#include "http/tls_private.h"

#include "http/sock.h"

#include <mbedtls/asn1.h>
#include <mbedtls/oid.h>
#include <strings.h>

#include "base/banned.h"

/* GeneralName's tags: RFC 5280, section 4.2.1.6 */
#define SAN_DNS (MBEDTLS_ASN1_CONTEXT_SPECIFIC | 2)
#define SAN_ADDRESS (MBEDTLS_ASN1_CONTEXT_SPECIFIC | 7)

static bool equal(struct pgv_str a, struct pgv_str b)
{
    return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

/* A star stands for the whole leftmost label and nothing else, and never right above the root. */
static bool dns_matches(struct pgv_str pattern, struct pgv_str host)
{
    struct pgv_str label, rest, suffix, more;

    if (pattern.n && pattern.p[pattern.n - 1] == '.')
        pattern.n--;
    if (host.n && host.p[host.n - 1] == '.')
        host.n--;
    if (memchr(pattern.p, '\0', pattern.n))
        return false;
    if (!pgv_str_starts(pattern, "*."))
        return host.n > 0 && equal(pattern, host);
    suffix = (struct pgv_str){ pattern.p + 2, pattern.n - 2 };
    if (!pgv_str_cut(suffix, '.', &label, &more) || label.n == 0 || more.n == 0)
        return false;
    return pgv_str_cut(host, '.', &label, &rest) && label.n > 0 && equal(suffix, rest);
}

static bool address_matches(struct pgv_str bytes, const struct sockaddr_storage *host)
{
    if (host->ss_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)host;
        return bytes.n == 4 && memcmp(bytes.p, &a->sin_addr, 4) == 0;
    }
    const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)host;
    return bytes.n == 16 && memcmp(bytes.p, &a->sin6_addr, 16) == 0;
}

bool tls_name_matches(const mbedtls_x509_crt *crt, const char *host)
{
    struct sockaddr_storage address;
    bool is_address = sock_literal(host, 0, &address), named = false;

    for (const mbedtls_x509_sequence *s = &crt->subject_alt_names; s && s->buf.p; s = s->next) {
        struct pgv_str name = { (const char *)s->buf.p, s->buf.len };
        int tag = s->buf.tag & ~MBEDTLS_ASN1_CONSTRUCTED;

        named = named || tag == SAN_DNS || tag == SAN_ADDRESS;
        if (tag == SAN_ADDRESS && is_address && address_matches(name, &address))
            return true;
        if (tag == SAN_DNS && !is_address && dns_matches(name, pgv_str(host)))
            return true;
    }
    if (named)
        return false;
    for (const mbedtls_x509_name *n = &crt->subject; n; n = n->next) {
        struct pgv_str name = { (const char *)n->val.p, n->val.len };

        if (n->oid.p && MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &n->oid) == 0 && name.p &&
            (is_address ? pgv_str_eqz(name, host) : dns_matches(name, pgv_str(host))))
            return true;
    }
    return false;
}
