/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/tls_ciphers.c - OpenSSL-style cipher lists for TLS 1.2, as 'restapi.ciphers' holds them.
 *
 * Source: openssl-ciphers(1), "CIPHER LIST FORMAT". Words name a suite or a property, '+' joins
 * properties; in front '!' removes for good, '-' removes, '+' moves to the end. What OpenSSL knows
 * and mbedTLS lacks, and words nobody knows, select nothing, as with OpenSSL; only a list that
 * selects nothing at all is an error. TLS 1.3 suites are not subject to such lists.
 */
#include "http/tls_private.h"

#include <mbedtls/ssl_ciphersuites.h>

#include "base/banned.h"

enum {
    KX_ECDHE = 1 << 0,
    KX_DHE = 1 << 1,
    KX_RSA = 1 << 2,
    AU_RSA = 1 << 3,
    AU_ECDSA = 1 << 4,
    AES128 = 1 << 5,
    AES256 = 1 << 6,
    CHACHA = 1 << 7,
    GCM = 1 << 8,
    CCM = 1 << 9,
    CBC = 1 << 10,
    SHA1 = 1 << 11,
    SHA256 = 1 << 12,
    SHA384 = 1 << 13,
};

/* In the order OpenSSL prefers. A GCM suite's hash counts for 'SHA256' only as part of its name. */
static const struct {
    const char *name;
    int id;
    unsigned bits;
} suites[] = {
    { "ECDHE-ECDSA-AES256-GCM-SHA384", 0xC02C, KX_ECDHE | AU_ECDSA | AES256 | GCM },
    { "ECDHE-RSA-AES256-GCM-SHA384", 0xC030, KX_ECDHE | AU_RSA | AES256 | GCM },
    { "DHE-RSA-AES256-GCM-SHA384", 0x9F, KX_DHE | AU_RSA | AES256 | GCM },
    { "ECDHE-ECDSA-CHACHA20-POLY1305", 0xCCA9, KX_ECDHE | AU_ECDSA | CHACHA },
    { "ECDHE-RSA-CHACHA20-POLY1305", 0xCCA8, KX_ECDHE | AU_RSA | CHACHA },
    { "DHE-RSA-CHACHA20-POLY1305", 0xCCAA, KX_DHE | AU_RSA | CHACHA },
    { "ECDHE-ECDSA-AES256-CCM", 0xC0AD, KX_ECDHE | AU_ECDSA | AES256 | CCM },
    { "DHE-RSA-AES256-CCM", 0xC09F, KX_DHE | AU_RSA | AES256 | CCM },
    { "ECDHE-ECDSA-AES128-GCM-SHA256", 0xC02B, KX_ECDHE | AU_ECDSA | AES128 | GCM },
    { "ECDHE-RSA-AES128-GCM-SHA256", 0xC02F, KX_ECDHE | AU_RSA | AES128 | GCM },
    { "DHE-RSA-AES128-GCM-SHA256", 0x9E, KX_DHE | AU_RSA | AES128 | GCM },
    { "ECDHE-ECDSA-AES128-CCM", 0xC0AC, KX_ECDHE | AU_ECDSA | AES128 | CCM },
    { "DHE-RSA-AES128-CCM", 0xC09E, KX_DHE | AU_RSA | AES128 | CCM },
    { "ECDHE-ECDSA-AES256-SHA384", 0xC024, KX_ECDHE | AU_ECDSA | AES256 | CBC | SHA384 },
    { "ECDHE-RSA-AES256-SHA384", 0xC028, KX_ECDHE | AU_RSA | AES256 | CBC | SHA384 },
    { "DHE-RSA-AES256-SHA256", 0x6B, KX_DHE | AU_RSA | AES256 | CBC | SHA256 },
    { "ECDHE-ECDSA-AES128-SHA256", 0xC023, KX_ECDHE | AU_ECDSA | AES128 | CBC | SHA256 },
    { "ECDHE-RSA-AES128-SHA256", 0xC027, KX_ECDHE | AU_RSA | AES128 | CBC | SHA256 },
    { "DHE-RSA-AES128-SHA256", 0x67, KX_DHE | AU_RSA | AES128 | CBC | SHA256 },
    { "ECDHE-ECDSA-AES256-SHA", 0xC00A, KX_ECDHE | AU_ECDSA | AES256 | CBC | SHA1 },
    { "ECDHE-RSA-AES256-SHA", 0xC014, KX_ECDHE | AU_RSA | AES256 | CBC | SHA1 },
    { "DHE-RSA-AES256-SHA", 0x39, KX_DHE | AU_RSA | AES256 | CBC | SHA1 },
    { "ECDHE-ECDSA-AES128-SHA", 0xC009, KX_ECDHE | AU_ECDSA | AES128 | CBC | SHA1 },
    { "ECDHE-RSA-AES128-SHA", 0xC013, KX_ECDHE | AU_RSA | AES128 | CBC | SHA1 },
    { "DHE-RSA-AES128-SHA", 0x33, KX_DHE | AU_RSA | AES128 | CBC | SHA1 },
    { "AES256-GCM-SHA384", 0x9D, KX_RSA | AU_RSA | AES256 | GCM },
    { "AES256-CCM", 0xC09D, KX_RSA | AU_RSA | AES256 | CCM },
    { "AES128-GCM-SHA256", 0x9C, KX_RSA | AU_RSA | AES128 | GCM },
    { "AES128-CCM", 0xC09C, KX_RSA | AU_RSA | AES128 | CCM },
    { "AES256-SHA256", 0x3D, KX_RSA | AU_RSA | AES256 | CBC | SHA256 },
    { "AES128-SHA256", 0x3C, KX_RSA | AU_RSA | AES128 | CBC | SHA256 },
    { "AES256-SHA", 0x35, KX_RSA | AU_RSA | AES256 | CBC | SHA1 },
    { "AES128-SHA", 0x2F, KX_RSA | AU_RSA | AES128 | CBC | SHA1 },
};
#define N_SUITES (sizeof(suites) / sizeof(suites[0]))
_Static_assert(N_SUITES < TLS_CIPHERS_MAX, "room for every suite and the final zero");

/* A suite has the property when it shares a bit with 'any'; 0: none has it. */
static const struct {
    const char *word;
    unsigned any;
} words[] = {
    { "ALL", ~0u },
    { "DEFAULT", ~0u },
    { "HIGH", ~0u },
    { "TLSv1.2", GCM | CCM | CHACHA | SHA256 | SHA384 },
    { "TLSv1", SHA1 },
    { "TLSv1.0", SHA1 },
    { "SSLv3", SHA1 },
    { "ECDHE", KX_ECDHE },
    { "EECDH", KX_ECDHE },
    { "kECDHE", KX_ECDHE },
    { "kEECDH", KX_ECDHE },
    { "DHE", KX_DHE },
    { "EDH", KX_DHE },
    { "kDHE", KX_DHE },
    { "kEDH", KX_DHE },
    { "RSA", KX_RSA },
    { "kRSA", KX_RSA },
    { "aRSA", AU_RSA },
    { "ECDSA", AU_ECDSA },
    { "aECDSA", AU_ECDSA },
    { "AES", AES128 | AES256 },
    { "AES128", AES128 },
    { "AES256", AES256 },
    { "AESGCM", GCM },
    { "AESCCM", CCM },
    { "CHACHA20", CHACHA },
    { "SHA", SHA1 },
    { "SHA1", SHA1 },
    { "SHA256", SHA256 },
    { "SHA384", SHA384 },
};

static unsigned any_of(struct pgv_str word)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (pgv_str_eqz(word, words[i].word))
            return words[i].any;
    return 0;
}

/* @item is one suite's name, or words joined by '+'. */
static bool selects(struct pgv_str item, size_t suite)
{
    struct pgv_str word, rest = item;
    bool more = true;

    if (pgv_str_eqz(item, suites[suite].name))
        return true;
    while (more) {
        more = pgv_str_cut(rest, '+', &word, &rest);
        if (!(suites[suite].bits & any_of(word)))
            return false;
    }
    return true;
}

static size_t length_of(const int *list)
{
    size_t n = 0;

    while (list[n])
        n++;
    return n;
}

static bool list_remove(int *list, int id)
{
    size_t n = length_of(list);

    for (size_t i = 0; i < n; i++) {
        if (list[i] != id)
            continue;
        memmove(&list[i], &list[i + 1], (n - i) * sizeof(list[0]));
        return true;
    }
    return false;
}

static bool list_has(const int *list, int id)
{
    while (*list && *list != id)
        list++;
    return *list != 0;
}

static void list_append(int *list, int id)
{
    size_t n = length_of(list);

    list[n] = id;
    list[n + 1] = 0;
}

static void sort_by_strength(int *list)
{
    /* Stable, 256 bits first: those of 128 move to the end in their order. */
    for (size_t i = 0; i < N_SUITES; i++)
        if ((suites[i].bits & AES128) && list_remove(list, suites[i].id))
            list_append(list, suites[i].id);
}

static void apply(struct pgv_str item, int *list, bool *dead)
{
    char op = item.p[0];

    if (op == '@') {
        if (pgv_str_eqz(item, "@STRENGTH"))
            sort_by_strength(list);
        return;
    }
    if (op == '!' || op == '-' || op == '+') {
        item.p++;
        item.n--;
    }
    for (size_t i = 0; i < N_SUITES; i++) {
        int id = suites[i].id;

        if (dead[i] || !selects(item, i))
            continue;
        if (op == '!' || op == '-') {
            (void)list_remove(list, id);
            dead[i] = op == '!';
        } else if (op == '+') {
            if (list_remove(list, id))
                list_append(list, id);
        } else if (!list_has(list, id)) {
            list_append(list, id);
        }
    }
}

bool tls_ciphers_parse(const char *text, int ret[TLS_CIPHERS_MAX], struct pgv_error *err)
{
    int list[TLS_CIPHERS_MAX] = { 0 };
    bool dead[N_SUITES] = { 0 };
    size_t n = 0;

    for (const char *p = text; *p;) {
        size_t len = strcspn(p, ":, ;");
        if (len > 0)
            apply((struct pgv_str){ p, len }, list, dead);
        p += len + (p[len] != '\0');
    }
    memset(ret, 0, sizeof(list));
    for (size_t i = 0; list[i]; i++)
        if (mbedtls_ssl_ciphersuite_from_id(list[i]))
            ret[n++] = list[i];
    if (n == 0)
        return pgv_fail(err, PGV_EINVALID, "no cipher can be selected from '%s'", text);
    return true;
}
