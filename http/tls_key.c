/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/tls_key.c - private keys that OpenSSL 3 has encrypted: PKCS #8 with PBES2 and AES.
 *
 * That is what 'openssl genrsa -aes256' and 'openssl genpkey' write today. mbedTLS knows the
 * wrapping with DES alone up to 3.x, so the wrapping is taken off here, and what is inside goes to
 * it. Source of the structures: RFC 5958 and RFC 8018, appendix A.4 and B.2.5.
 */
#include "http/tls_private.h"

#include "base/alloc.h"

#include <mbedtls/asn1.h>
#include <mbedtls/base64.h>
#include <mbedtls/cipher.h>
#include <mbedtls/md.h>
#include <mbedtls/oid.h>
#include <mbedtls/pkcs5.h>

#include <stdlib.h>

#include "base/banned.h"

#define BEGIN_LINE "-----BEGIN ENCRYPTED PRIVATE KEY-----"
#define END_LINE "-----END ENCRYPTED PRIVATE KEY-----"
#define ITERATIONS_MAX 200000 /* OpenSSL's default is 2048; these take a tenth of a second */
#define KEY_BYTES_MAX 32
#define IV_BYTES 16

#define OID_AES "\x60\x86\x48\x01\x65\x03\x04\x01" /* and one more byte: 2, 22 or 42 for CBC */

/** What the wrapping says of itself. Pointers go into the DER. */
struct wrapping {
    mbedtls_asn1_buf salt, iv, text;
    int iterations;
    mbedtls_md_type_t prf;
    mbedtls_cipher_type_t cipher;
    size_t key_bytes;
};

static bool is_oid(const mbedtls_asn1_buf *oid, const char *wanted, size_t n)
{
    return oid->len == n && memcmp(oid->p, wanted, n) == 0;
}

/* An octet string within [*p, end). */
static bool get_octets(unsigned char **p, const unsigned char *end, mbedtls_asn1_buf *ret)
{
    if (mbedtls_asn1_get_tag(p, end, &ret->len, MBEDTLS_ASN1_OCTET_STRING) != 0)
        return false;
    ret->p = *p;
    *p += ret->len;
    return true;
}

static bool get_prf(const mbedtls_asn1_buf *oid, mbedtls_md_type_t *ret)
{
    if (is_oid(oid, MBEDTLS_OID_HMAC_SHA1, MBEDTLS_OID_SIZE(MBEDTLS_OID_HMAC_SHA1)))
        *ret = MBEDTLS_MD_SHA1;
    else if (is_oid(oid, MBEDTLS_OID_HMAC_SHA256, MBEDTLS_OID_SIZE(MBEDTLS_OID_HMAC_SHA256)))
        *ret = MBEDTLS_MD_SHA256;
    else if (is_oid(oid, MBEDTLS_OID_HMAC_SHA384, MBEDTLS_OID_SIZE(MBEDTLS_OID_HMAC_SHA384)))
        *ret = MBEDTLS_MD_SHA384;
    else if (is_oid(oid, MBEDTLS_OID_HMAC_SHA512, MBEDTLS_OID_SIZE(MBEDTLS_OID_HMAC_SHA512)))
        *ret = MBEDTLS_MD_SHA512;
    else
        return false;
    return true;
}

/* PBKDF2-params: SEQUENCE { salt, iterationCount, keyLength OPTIONAL, prf DEFAULT hmacWithSHA1 } */
static bool get_kdf(const mbedtls_asn1_buf *params, struct wrapping *ret)
{
    unsigned char *p = params->p;
    const unsigned char *end = params->p + params->len;
    mbedtls_asn1_buf oid, nothing;
    int key_bytes;

    ret->prf = MBEDTLS_MD_SHA1;
    if (params->tag != (MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE) ||
        !get_octets(&p, end, &ret->salt) || mbedtls_asn1_get_int(&p, end, &ret->iterations) != 0 ||
        ret->iterations < 1 || ret->iterations > ITERATIONS_MAX)
        return false;
    if (p < end && *p == MBEDTLS_ASN1_INTEGER && mbedtls_asn1_get_int(&p, end, &key_bytes) != 0)
        return false;
    return p == end || (mbedtls_asn1_get_alg(&p, end, &oid, &nothing) == 0 &&
                        get_prf(&oid, &ret->prf) && p == end);
}

static bool get_cipher(const mbedtls_asn1_buf *oid, const mbedtls_asn1_buf *params,
                       struct wrapping *ret)
{
    size_t n = sizeof(OID_AES) - 1;

    if (oid->len != n + 1 || memcmp(oid->p, OID_AES, n) != 0 ||
        params->tag != MBEDTLS_ASN1_OCTET_STRING || params->len != IV_BYTES)
        return false;
    ret->iv = *params;
    switch (oid->p[n]) {
    case 2:
        ret->cipher = MBEDTLS_CIPHER_AES_128_CBC;
        ret->key_bytes = 16;
        return true;
    case 22:
        ret->cipher = MBEDTLS_CIPHER_AES_192_CBC;
        ret->key_bytes = 24;
        return true;
    case 42:
        ret->cipher = MBEDTLS_CIPHER_AES_256_CBC;
        ret->key_bytes = 32;
        return true;
    default:
        return false;
    }
}

/* SEQUENCE { AlgorithmIdentifier { pbes2, SEQUENCE { kdf, cipher } }, encrypted OCTET STRING } */
static bool unwrap(unsigned char *der, size_t der_n, struct wrapping *ret)
{
    const int sequence = MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE;
    mbedtls_asn1_buf oid, params, kdf, kdf_params, cipher, cipher_params;
    unsigned char *p = der;
    const unsigned char *end = der + der_n;
    size_t n;

    if (mbedtls_asn1_get_tag(&p, end, &n, sequence) != 0 || p + n != end ||
        mbedtls_asn1_get_alg(&p, end, &oid, &params) != 0 ||
        !is_oid(&oid, MBEDTLS_OID_PKCS5_PBES2, MBEDTLS_OID_SIZE(MBEDTLS_OID_PKCS5_PBES2)) ||
        params.tag != sequence || !get_octets(&p, end, &ret->text) || p != end)
        return false;
    p = params.p;
    end = params.p + params.len;
    return mbedtls_asn1_get_alg(&p, end, &kdf, &kdf_params) == 0 &&
           is_oid(&kdf, MBEDTLS_OID_PKCS5_PBKDF2, MBEDTLS_OID_SIZE(MBEDTLS_OID_PKCS5_PBKDF2)) &&
           get_kdf(&kdf_params, ret) &&
           mbedtls_asn1_get_alg(&p, end, &cipher, &cipher_params) == 0 &&
           get_cipher(&cipher, &cipher_params, ret) && p == end;
}

static int derive(const struct wrapping *w, const char *password, unsigned char *ret)
{
    const unsigned char *text = (const unsigned char *)password;
#if MBEDTLS_VERSION_NUMBER >= 0x03030000
    return mbedtls_pkcs5_pbkdf2_hmac_ext(w->prf, text, strlen(password), w->salt.p, w->salt.len,
                                         (unsigned)w->iterations, (uint32_t)w->key_bytes, ret);
#else
    mbedtls_md_context_t md;
    int rc;

    mbedtls_md_init(&md);
    rc = mbedtls_md_setup(&md, mbedtls_md_info_from_type(w->prf), 1);
    if (rc == 0)
        rc = mbedtls_pkcs5_pbkdf2_hmac(&md, text, strlen(password), w->salt.p, w->salt.len,
                                       (unsigned)w->iterations, (uint32_t)w->key_bytes, ret);
    mbedtls_md_free(&md);
    return rc;
#endif
}

/* @plain has room for w->text.len and a block. */
static int decrypt(const struct wrapping *w, const unsigned char *key, unsigned char *plain,
                   size_t *ret_n)
{
    mbedtls_cipher_context_t c;
    int rc;

    mbedtls_cipher_init(&c);
    rc = mbedtls_cipher_setup(&c, mbedtls_cipher_info_from_type(w->cipher));
    if (rc == 0)
        rc = mbedtls_cipher_setkey(&c, key, (int)w->key_bytes * 8, MBEDTLS_DECRYPT);
    if (rc == 0) /* mbedTLS 3 has no padding of its own choice */
        rc = mbedtls_cipher_set_padding_mode(&c, MBEDTLS_PADDING_PKCS7);
    if (rc == 0) /* a wrong password shows as a wrong padding */
        rc = mbedtls_cipher_crypt(&c, w->iv.p, w->iv.len, w->text.p, w->text.len, plain, ret_n);
    mbedtls_cipher_free(&c);
    return rc;
}

/* The DER between the two lines; allocated, to be freed. */
static unsigned char *decode_pem(const char *pem, size_t *ret_n)
{
    const char *from = strstr(pem, BEGIN_LINE), *to = from ? strstr(from, END_LINE) : NULL;
    unsigned char *der;

    if (!to)
        return NULL;
    from += sizeof(BEGIN_LINE) - 1;
    der = pgv_alloc((size_t)(to - from) + 1);
    if (der && mbedtls_base64_decode(der, (size_t)(to - from), ret_n, (const unsigned char *)from,
                                     (size_t)(to - from)) == 0)
        return der;
    pgv_free(der);
    return NULL;
}

enum tls_key_wrapping tls_key_unwrap(const char *pem, const char *password, struct pgv_buf *ret_der)
{
    enum tls_key_wrapping result = TLS_KEY_OTHER;
    unsigned char key[KEY_BYTES_MAX], *plain = NULL, *der;
    struct wrapping w = { 0 };
    size_t der_n = 0, n = 0;

    der = decode_pem(pem, &der_n);
    if (!der || !unwrap(der, der_n, &w))
        goto out;
    plain = pgv_alloc(w.text.len + IV_BYTES);
    if (!plain)
        goto out;
    result = TLS_KEY_BAD_PASSWORD;
    if (!password || derive(&w, password, key) != 0 || decrypt(&w, key, plain, &n) != 0)
        goto out;
    result = pgv_buf_append(ret_der, plain, n) ? TLS_KEY_UNWRAPPED : TLS_KEY_OTHER;
out:
    if (plain)
        explicit_bzero(plain, w.text.len + IV_BYTES);
    explicit_bzero(key, sizeof(key));
    pgv_free(plain);
    pgv_free(der);
    return result;
}
