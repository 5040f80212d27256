/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/tls.c - contexts and sessions of mbedTLS.
 *
 * A session has no socket: mbedTLS reads from the bytes of the present call and writes to the
 * buffer of the present call, so nothing here ever waits. Versions: 2.28 (Debian 12) and 3.6
 * (Debian 13), which differ in how keys are parsed, how the lowest version is named, and in that
 * 3.x needs PSA started before TLS 1.3. mbedTLS allocates by itself; its failures come back as
 * MBEDTLS_ERR_SSL_ALLOC_FAILED and end one session.
 */
#include "http/tls.h"

#include "base/alloc.h"
#include "base/file.h"
#include "http/sock.h"
#include "http/tls_private.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/pem.h>
#include <mbedtls/pk.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/ssl_ticket.h>
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#include <psa/crypto.h>
#endif
#include <stdio.h>

#include "base/banned.h"

#define PEM_BYTES_MAX (4u << 20) /* the largest bundle of CAs we read */
#define READ_BYTES 4096
#define TICKET_S 3600 /* how long a client may resume a session; the key changes as often */

struct tls_context {
    unsigned refs;
    bool server, check_host_name;
    bool no_ca; /* a client that was to check, with nothing to check by */
    enum tls_verify verify;
    mbedtls_ssl_config conf;
    mbedtls_x509_crt cert, ca;
    mbedtls_pk_context key;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_ssl_ticket_context tickets;
    int ciphers[TLS_CIPHERS_MAX + 3];
};

struct tls_session {
    struct tls_context *context;
    mbedtls_ssl_context ssl;
    struct pgv_str in;    /* of the present call */
    struct pgv_buf *wire; /* of the present call */
    bool established, peer_closed, over;
    bool peer_has_cert;
    char host[256]; /* to be found in the certificate; empty: not looked for */
};

/* The bundles of Debian, Red Hat and SUSE. */
static const char *const system_bundles[] = { "/etc/ssl/certs/ca-certificates.crt",
                                              "/etc/pki/tls/certs/ca-bundle.crt",
                                              "/etc/ssl/ca-bundle.pem" };

static bool fail(struct pgv_error *err, int rc, const char *what)
{
    char text[160];
    bool no_memory = rc == MBEDTLS_ERR_SSL_ALLOC_FAILED || rc == MBEDTLS_ERR_X509_ALLOC_FAILED ||
                     rc == MBEDTLS_ERR_PK_ALLOC_FAILED || rc == MBEDTLS_ERR_PEM_ALLOC_FAILED;

    mbedtls_strerror(rc, text, sizeof(text));
    (void)pgv_fail(err, no_memory ? PGV_ENOMEM : PGV_EINVALID, "%s: %s", what, text);
    if (err)
        err->sys = rc;
    return false;
}

/* mbedTLS wants PEM with its final zero counted. */
static bool read_pem(const char *path, struct pgv_buf *b, struct pgv_error *err)
{
    pgv_buf_init(b, PEM_BYTES_MAX);
    if (!pgv_file_read(path, b, err))
        return false;
    if (!pgv_buf_putc(b, '\0'))
        return pgv_fail(err, PGV_ENOMEM, "no memory for '%s'", path);
    return true;
}

static void wipe(struct pgv_buf *b)
{
    if (b->p)
        mbedtls_platform_zeroize(b->p, b->n);
    pgv_buf_done(b);
}

static bool load_certs(mbedtls_x509_crt *crt, const char *path, bool all, struct pgv_error *err)
{
    struct pgv_buf pem;
    bool ok = false;
    int rc;

    if (!read_pem(path, &pem, err))
        goto out;
    rc = mbedtls_x509_crt_parse(crt, (const unsigned char *)pem.p, pem.n);
    if (rc < 0) {
        (void)fail(err, rc, "no certificate");
        goto out;
    }
    /* In a bundle some may be of a kind mbedTLS does not know. */
    if (rc > 0 && (all || crt->raw.len == 0)) {
        (void)pgv_fail(err, PGV_EINVALID, "%d of its certificates cannot be read", rc);
        goto out;
    }
    ok = true;
out:
    wipe(&pem); /* it may hold the key as well */
    if (!ok)
        pgv_error_wrap(err, "'%s'", path);
    return ok;
}

static int parse_key(struct tls_context *c, struct pgv_buf *text, const char *password)
{
    size_t n = password ? strlen(password) : 0;

#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    return mbedtls_pk_parse_key(&c->key, (const unsigned char *)text->p, text->n,
                                (const unsigned char *)password, n, mbedtls_ctr_drbg_random,
                                &c->random);
#else
    return mbedtls_pk_parse_key(&c->key, (const unsigned char *)text->p, text->n,
                                (const unsigned char *)password, n);
#endif
}

static bool load_key(struct tls_context *c, const char *path, const char *password,
                     struct pgv_error *err)
{
    struct pgv_buf pem, der;
    int rc = MBEDTLS_ERR_PK_PASSWORD_MISMATCH;

    if (!read_pem(path, &pem, err)) {
        wipe(&pem);
        return false;
    }
    pgv_buf_init(&der, PEM_BYTES_MAX);
    switch (tls_key_unwrap(pem.p, password, &der)) {
    case TLS_KEY_OTHER:
        rc = parse_key(c, &pem, password);
        break;
    case TLS_KEY_UNWRAPPED:
        rc = parse_key(c, &der, NULL);
        break;
    case TLS_KEY_BAD_PASSWORD:
        if (!password)
            rc = MBEDTLS_ERR_PK_PASSWORD_REQUIRED;
        break;
    }
    wipe(&der);
    wipe(&pem);
    if (rc != 0) {
        (void)fail(err, rc, "no private key");
        pgv_error_wrap(err, "'%s'", path);
        return false;
    }
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    rc = mbedtls_pk_check_pair(&c->cert.pk, &c->key, mbedtls_ctr_drbg_random, &c->random);
#else
    rc = mbedtls_pk_check_pair(&c->cert.pk, &c->key);
#endif
    if (rc != 0) {
        (void)fail(err, rc, "key and certificate do not belong together");
        pgv_error_wrap(err, "'%s'", path);
        return false;
    }
    return true;
}

static const char *system_bundle(void)
{
    for (size_t i = 0; i < sizeof(system_bundles) / sizeof(system_bundles[0]); i++)
        if (pgv_file_exists(system_bundles[i]))
            return system_bundles[i];
    return NULL;
}

bool tls_has_system_ca(void)
{
    return system_bundle() != NULL;
}

static bool load_ca(struct tls_context *c, const char *path, struct pgv_error *err)
{
    if (!path)
        path = system_bundle();
    c->no_ca = !path;
    return !path || load_certs(&c->ca, path, false, err);
}

static bool set_ciphers(struct tls_context *c, const char *list, struct pgv_error *err)
{
    size_t n = 0;

#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    c->ciphers[n++] = 0x1302; /* those of TLS 1.3 are always allowed, as with OpenSSL */
    c->ciphers[n++] = 0x1303;
    c->ciphers[n++] = 0x1301;
#endif
    if (!tls_ciphers_parse(list, c->ciphers + n, err))
        return false;
    mbedtls_ssl_conf_ciphersuites(&c->conf, c->ciphers);
    return true;
}

/* By themselves servers of mbedTLS prefer the largest curve, whose handshake takes the loop five
 * times as long. P-256 is what everybody has and what is fastest here. */
static void set_curves(struct tls_context *c)
{
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    static const uint16_t groups[] = { MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
                                       MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
                                       MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1,
                                       MBEDTLS_SSL_IANA_TLS_GROUP_SECP521R1,
                                       MBEDTLS_SSL_IANA_TLS_GROUP_NONE };

    mbedtls_ssl_conf_groups(&c->conf, groups);
#else
    static const mbedtls_ecp_group_id curves[] = { MBEDTLS_ECP_DP_SECP256R1,
                                                   MBEDTLS_ECP_DP_CURVE25519,
                                                   MBEDTLS_ECP_DP_SECP384R1,
                                                   MBEDTLS_ECP_DP_SECP521R1, MBEDTLS_ECP_DP_NONE };

    mbedtls_ssl_conf_curves(&c->conf, curves);
#endif
}

/* A probe that comes back resumes its session for a twentieth of the price. Not where client
 * certificates count: each connection shows its own. */
static bool offer_tickets(struct tls_context *c, struct pgv_error *err)
{
    int rc;

    if (!c->server || c->verify != TLS_VERIFY_NONE)
        return true;
    rc = mbedtls_ssl_ticket_setup(&c->tickets, mbedtls_ctr_drbg_random, &c->random,
                                  MBEDTLS_CIPHER_AES_256_GCM, TICKET_S);
    if (rc != 0)
        return fail(err, rc, "no session tickets");
    mbedtls_ssl_conf_session_tickets_cb(&c->conf, mbedtls_ssl_ticket_write,
                                        mbedtls_ssl_ticket_parse, &c->tickets);
    return true;
}

static int auth_mode(const struct tls_context *c)
{
    switch (c->verify) {
    case TLS_VERIFY_REQUIRED:
        return MBEDTLS_SSL_VERIFY_REQUIRED;
    case TLS_VERIFY_OPTIONAL:
        return MBEDTLS_SSL_VERIFY_OPTIONAL;
    case TLS_VERIFY_NONE:
        break;
    }
    /* A client of TLS 1.3 cannot skip the check in every release of mbedTLS 3, but may ignore
     * its outcome. A server that does not check does not ask either. */
    return c->server ? MBEDTLS_SSL_VERIFY_NONE : MBEDTLS_SSL_VERIFY_OPTIONAL;
}

static bool configure(struct tls_context *c, const struct tls_config *cfg, struct pgv_error *err)
{
    int rc;

#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    if (psa_crypto_init() != PSA_SUCCESS)
        return pgv_fail(err, PGV_ENOMEM, "PSA does not start");
#endif
    rc = mbedtls_ctr_drbg_seed(&c->random, mbedtls_entropy_func, &c->entropy, NULL, 0);
    if (rc != 0)
        return fail(err, rc, "no randomness");
    rc = mbedtls_ssl_config_defaults(&c->conf,
                                     c->server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
                                     MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc != 0)
        return fail(err, rc, "no TLS configuration");
    mbedtls_ssl_conf_rng(&c->conf, mbedtls_ctr_drbg_random, &c->random);
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    mbedtls_ssl_conf_min_tls_version(&c->conf, MBEDTLS_SSL_VERSION_TLS1_2);
#else
    mbedtls_ssl_conf_min_version(&c->conf, MBEDTLS_SSL_MAJOR_VERSION_3,
                                 MBEDTLS_SSL_MINOR_VERSION_3);
#endif
    mbedtls_ssl_conf_authmode(&c->conf, auth_mode(c));
    set_curves(c);
    if (!offer_tickets(c, err))
        return false;
    if (cfg->ciphers && *cfg->ciphers && !set_ciphers(c, cfg->ciphers, err))
        return false;

    if (cfg->cert_file) {
        if (!load_certs(&c->cert, cfg->cert_file, true, err) ||
            !load_key(c, cfg->key_file ? cfg->key_file : cfg->cert_file, cfg->key_password, err))
            return false;
        rc = mbedtls_ssl_conf_own_cert(&c->conf, &c->cert, &c->key);
        if (rc != 0)
            return fail(err, rc, "the certificate cannot be used");
    } else if (c->server) {
        return pgv_fail(err, PGV_EINVALID, "a TLS server needs a certificate");
    }
    if (c->verify == TLS_VERIFY_NONE)
        return true;
    if (c->server && !cfg->ca_file) {
        if (c->verify == TLS_VERIFY_REQUIRED)
            return pgv_fail(err, PGV_EINVALID, "client certificates need a CA file to be checked");
        return true; /* none will check out */
    }
    if (!load_ca(c, cfg->ca_file, err))
        return false;
    mbedtls_ssl_conf_ca_chain(&c->conf, &c->ca, NULL);
    return true;
}

bool tls_context_new(const struct tls_config *cfg, bool server, struct tls_context **ret,
                     struct pgv_error *err)
{
    struct tls_context *c = pgv_zalloc(sizeof(*c));

    if (!c)
        return pgv_fail(err, PGV_ENOMEM, "no memory for TLS");
    c->refs = 1;
    c->server = server;
    c->verify = cfg->verify;
    c->check_host_name = !server && cfg->check_host_name && cfg->verify != TLS_VERIFY_NONE;
    mbedtls_ssl_config_init(&c->conf);
    mbedtls_x509_crt_init(&c->cert);
    mbedtls_x509_crt_init(&c->ca);
    mbedtls_pk_init(&c->key);
    mbedtls_entropy_init(&c->entropy);
    mbedtls_ctr_drbg_init(&c->random);
    mbedtls_ssl_ticket_init(&c->tickets);
    if (!configure(c, cfg, err)) {
        tls_context_unref(c);
        return false;
    }
    *ret = c;
    return true;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    if (c)
        c->refs++;
    return c;
}

void tls_context_unref(struct tls_context *c)
{
    if (!c || --c->refs > 0)
        return;
    mbedtls_ssl_config_free(&c->conf);
    mbedtls_x509_crt_free(&c->cert);
    mbedtls_x509_crt_free(&c->ca);
    mbedtls_pk_free(&c->key);
    mbedtls_ssl_ticket_free(&c->tickets);
    mbedtls_ctr_drbg_free(&c->random);
    mbedtls_entropy_free(&c->entropy);
    pgv_free(c);
}

bool tls_cert_serial(const char *cert_file, char *ret, size_t ret_bytes, struct pgv_error *err)
{
    static const char digits[] = "0123456789ABCDEF";
    mbedtls_x509_crt crt;
    bool ok = false;

    mbedtls_x509_crt_init(&crt);
    if (!load_certs(&crt, cert_file, true, err))
        goto out;
    if (crt.serial.len * 2 + 1 > ret_bytes) {
        (void)pgv_fail(err, PGV_EINVALID, "'%s': its serial number is too long", cert_file);
        goto out;
    }
    for (size_t i = 0; i < crt.serial.len; i++) {
        ret[2 * i] = digits[crt.serial.p[i] >> 4];
        ret[2 * i + 1] = digits[crt.serial.p[i] & 15];
    }
    ret[2 * crt.serial.len] = '\0';
    ok = true;
out:
    mbedtls_x509_crt_free(&crt);
    return ok;
}

static int on_send(void *data, const unsigned char *p, size_t n)
{
    struct tls_session *s = data;

    if (!s->wire || !pgv_buf_append(s->wire, p, n))
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    return (int)n;
}

static int on_recv(void *data, unsigned char *p, size_t n)
{
    struct tls_session *s = data;

    if (s->in.n == 0)
        return MBEDTLS_ERR_SSL_WANT_READ;
    if (n > s->in.n)
        n = s->in.n;
    memcpy(p, s->in.p, n);
    s->in.p += n;
    s->in.n -= n;
    return (int)n;
}

static int on_verify(void *data, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
    struct tls_session *s = data;

    if (depth != 0)
        return 0;
    s->peer_has_cert = true;
    *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH;
    if (s->host[0] && !tls_name_matches(crt, s->host))
        *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    return 0;
}

bool tls_session_new(struct tls_context *c, const char *host_name, struct tls_session **ret,
                     struct pgv_error *err)
{
    struct tls_session *s;
    struct sockaddr_storage a;
    int rc;

    if (c->no_ca)
        return pgv_fail(err, PGV_EINVALID, "%s", TLS_NO_CA);
    s = pgv_zalloc(sizeof(*s));
    if (!s)
        return pgv_fail(err, PGV_ENOMEM, "no memory for a TLS session");
    mbedtls_ssl_init(&s->ssl);
    s->context = tls_context_ref(c);
    if (host_name && c->check_host_name && !pgv_copyz(s->host, sizeof(s->host), host_name)) {
        tls_session_free(s);
        return pgv_fail(err, PGV_EINVALID, "the host name is too long");
    }
    rc = mbedtls_ssl_setup(&s->ssl, &c->conf);
    /* The name goes out as SNI, which has no place for addresses (RFC 6066, section 3). NULL has
     * to be said aloud, or 3.6 refuses to check a certificate. */
    if (rc == 0 && !c->server)
        rc = mbedtls_ssl_set_hostname(
            &s->ssl, host_name && !sock_literal(host_name, 0, &a) ? host_name : NULL);
    if (rc != 0) {
        tls_session_free(s);
        return fail(err, rc, "no TLS session");
    }
    mbedtls_ssl_set_verify(&s->ssl, on_verify, s);
    mbedtls_ssl_set_bio(&s->ssl, s, on_send, on_recv, NULL);
    *ret = s;
    return true;
}

void tls_session_free(struct tls_session *s)
{
    if (!s)
        return;
    mbedtls_ssl_free(&s->ssl);
    tls_context_unref(s->context);
    pgv_free(s);
}

static bool session_failed(struct tls_session *s, int rc, struct pgv_error *err)
{
    uint32_t flags = mbedtls_ssl_get_verify_result(&s->ssl);
    char why[PGV_ERROR_MSG_BYTES];

    s->over = true;
    if (rc == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED && flags != 0 &&
        mbedtls_x509_crt_verify_info(why, sizeof(why), "", flags) > 0) {
        for (char *p = why; *p; p++)
            if (*p == '\n')
                *p = p[1] ? ';' : '\0';
        return pgv_fail(err, PGV_EINVALID, "the certificate does not check out: %s", why);
    }
    return fail(err, rc, "TLS");
}

/* As with OpenSSL, and so with Patroni: none may be shown, but not a wrong one. */
static bool bad_optional_certificate(const struct tls_session *s)
{
    return s->context->verify == TLS_VERIFY_OPTIONAL && s->peer_has_cert &&
           mbedtls_ssl_get_verify_result(&s->ssl) != 0;
}

/* Room is asked for first, so that decrypted bytes always have a place to go. */
static bool read_plain(struct tls_session *s, struct pgv_buf *plain, struct pgv_error *err)
{
    for (;;) {
        int rc;

        if (!pgv_buf_reserve(plain, READ_BYTES)) {
            s->over = true;
            return pgv_fail(err, PGV_ENOMEM, "TLS: no memory for what was received");
        }
        rc = mbedtls_ssl_read(&s->ssl, (unsigned char *)plain->p + plain->n, READ_BYTES);
        if (rc > 0) {
            plain->n += (size_t)rc;
            plain->p[plain->n] = '\0';
            continue;
        }
        switch (rc) {
        case MBEDTLS_ERR_SSL_WANT_READ:
        case MBEDTLS_ERR_SSL_WANT_WRITE:
            return true;
        case 0:
        case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
            s->peer_closed = true;
            return true;
#if defined(MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
        case MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET:
            continue;
#endif
        default:
            return session_failed(s, rc, err);
        }
    }
}

bool tls_session_feed(struct tls_session *s, struct pgv_str received, struct pgv_buf *plain,
                      struct pgv_buf *wire, struct pgv_error *err)
{
    bool ok = true;
    int rc;

    if (s->over)
        return pgv_fail(err, PGV_EINVALID, "TLS: the session is over");
    if (s->peer_closed)
        return true; /* whatever follows the farewell is noise */
    s->in = received;
    s->wire = wire;
    if (!s->established) {
        rc = mbedtls_ssl_handshake(&s->ssl);
        if (rc == 0 && bad_optional_certificate(s))
            rc = MBEDTLS_ERR_X509_CERT_VERIFY_FAILED;
        if (rc == 0)
            s->established = true;
        else if (rc != MBEDTLS_ERR_SSL_WANT_READ && rc != MBEDTLS_ERR_SSL_WANT_WRITE)
            ok = session_failed(s, rc, err);
    }
    if (ok && s->established)
        ok = read_plain(s, plain, err);
    s->in = (struct pgv_str){ 0 };
    s->wire = NULL;
    return ok;
}

bool tls_session_write(struct tls_session *s, struct pgv_str plain, struct pgv_buf *wire,
                       struct pgv_error *err)
{
    PGV_ASSERT(s->established);
    if (s->over)
        return pgv_fail(err, PGV_EINVALID, "TLS: the session is over");
    s->wire = wire;
    while (plain.n > 0) {
        int rc = mbedtls_ssl_write(&s->ssl, (const unsigned char *)plain.p, plain.n);

        if (rc <= 0) {
            s->wire = NULL;
            return session_failed(s, rc, err);
        }
        plain.p += rc;
        plain.n -= (size_t)rc;
    }
    s->wire = NULL;
    return true;
}

bool tls_session_bye(struct tls_session *s, struct pgv_buf *wire)
{
    int rc;

    if (!s->established || s->over)
        return false;
    s->over = true;
    s->wire = wire;
    rc = mbedtls_ssl_close_notify(&s->ssl);
    s->wire = NULL;
    return rc == 0;
}

bool tls_session_peer_closed(const struct tls_session *s)
{
    return s->peer_closed;
}

bool tls_session_established(const struct tls_session *s)
{
    return s->established;
}

bool tls_session_peer_verified(const struct tls_session *s)
{
    return s->established && s->peer_has_cert && mbedtls_ssl_get_verify_result(&s->ssl) == 0;
}
