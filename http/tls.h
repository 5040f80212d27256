/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/tls.h - TLS by mbedTLS, 2.28 and 3.6 alike: contexts (certificates, CA, verification) that
 * are built once and replaced whole when files change, and sessions fed with bytes.
 */
#pragma once

#include "base/buf.h"

/** OPTIONAL: the peer may show no certificate; one that does not check out ends the session. */
enum tls_verify { TLS_VERIFY_NONE, TLS_VERIFY_OPTIONAL, TLS_VERIFY_REQUIRED };

struct tls_config {
    const char *cert_file, *key_file, *key_password; /* own certificate; NULL: none */
    const char *ca_file;                             /* NULL: the system's bundle (clients only) */
    const char *ciphers;    /* OpenSSL-style list, TLS 1.2; NULL: default */
    enum tls_verify verify; /* of the peer */
    bool check_host_name;   /* clients */
};

/** Reference-counted: connections keep the context they began with. */
struct tls_context;
bool tls_context_new(const struct tls_config *c, bool server, struct tls_context **ret,
                     struct pgv_error *err) PGV_MUST_CHECK;
/** Whether the system has a bundle of CA certificates (Debian: the package ca-certificates), which
 *  a client without a CA file of its own needs. Without, its context can be made all the same,
 *  since http may be all that is spoken; tls_session_new() refuses. */
bool tls_has_system_ca(void);
#define TLS_NO_CA "there is no CA file, and none of the system's was found"
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c);
/** Serial number of a certificate file as hex, to see whether it was renewed. */
bool tls_cert_serial(const char *cert_file, char *ret, size_t ret_bytes,
                     struct pgv_error *err) PGV_MUST_CHECK;

/** A session: no socket inside; what the peer sent goes in, what is to be sent comes out. */
struct tls_session;
bool tls_session_new(struct tls_context *c, const char *host_name, struct tls_session **ret,
                     struct pgv_error *err) PGV_MUST_CHECK;
void tls_session_free(struct tls_session *s);
/** Feed received bytes (none to begin a client's handshake). Plain text is appended to @plain,
 *  bytes to send to @wire. On false the session is over; @wire may hold an alert worth sending. */
bool tls_session_feed(struct tls_session *s, struct pgv_str received, struct pgv_buf *plain,
                      struct pgv_buf *wire, struct pgv_error *err) PGV_MUST_CHECK;
/** Encrypt @plain into @wire; before the handshake is done it is queued by the caller. */
bool tls_session_write(struct tls_session *s, struct pgv_str plain, struct pgv_buf *wire,
                       struct pgv_error *err) PGV_MUST_CHECK;
/** Append our 'close notify' to @wire, so that the peer knows that nothing was cut off. False when
 *  there is nothing to say (no handshake yet) or no room. */
bool tls_session_bye(struct tls_session *s, struct pgv_buf *wire);
/** The peer said 'close notify': no more plain text will come. */
bool tls_session_peer_closed(const struct tls_session *s);
bool tls_session_established(const struct tls_session *s);
bool tls_session_peer_verified(const struct tls_session *s); /* a certificate, and it checked out */
