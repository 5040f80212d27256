/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/base64.c - base64 with padding (RFC 4648, section 4): credentials, and keys and values of
 * etcd, Consul and Kubernetes. The decoder is strict, because what a store answers is compared
 * with what we wrote: stray bytes, missing padding and stray low bits are refused.
 */
#include "http/httpc.h"

#include "base/banned.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool httpc_base64_encode(struct pgv_buf *b, struct pgv_str s)
{
    const unsigned char *p = (const unsigned char *)s.p;

    for (size_t i = 0; i < s.n; i += 3) {
        size_t left = s.n - i;
        unsigned v = (unsigned)p[i] << 16;
        char four[4];

        if (left > 1)
            v |= (unsigned)p[i + 1] << 8;
        if (left > 2)
            v |= p[i + 2];
        four[0] = letters[v >> 18];
        four[1] = letters[(v >> 12) & 63];
        four[2] = left > 1 ? letters[(v >> 6) & 63] : '=';
        four[3] = left > 2 ? letters[v & 63] : '=';
        if (!pgv_buf_append(b, four, 4))
            return false;
    }
    return true;
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

bool httpc_base64_decode(struct pgv_buf *b, struct pgv_str s)
{
    size_t before = b->n;

    if (s.n % 4 != 0)
        return false;
    for (size_t i = 0; i < s.n; i += 4) {
        bool last = i + 4 == s.n;
        size_t pad = last && s.p[i + 3] == '=' ? (s.p[i + 2] == '=' ? 2 : 1) : 0;
        unsigned v = 0;
        char three[3];

        for (size_t k = 0; k < 4; k++) {
            int x = k >= 4 - pad ? 0 : value_of(s.p[i + k]);
            if (x < 0)
                goto bad;
            v = v << 6 | (unsigned)x;
        }
        if ((pad == 1 && (v & 0xff)) || (pad == 2 && (v & 0xffff)))
            goto bad;
        three[0] = (char)(v >> 16);
        three[1] = (char)(v >> 8 & 0xff);
        three[2] = (char)(v & 0xff);
        if (!pgv_buf_append(b, three, 3 - pad))
            goto bad;
    }
    return true;
bad:
    if (b->p) {
        b->n = before; /* nothing half decoded stays */
        b->p[before] = '\0';
    }
    return false;
}
