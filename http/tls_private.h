/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/tls_private.h - the parts of TLS that stand in files of their own. Private to this folder.
 */
#pragma once

#include "http/tls.h"

#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>

/**
 * Whether a certificate was issued for @host. mbedTLS 2.28 does not look at addresses in
 * subjectAltName, which is where stores addressed by number have theirs, so we look ourselves.
 * Rules: RFC 6125, section 6.4; without any such name the common name counts, as OpenSSL has it.
 */
bool tls_name_matches(const mbedtls_x509_crt *crt, const char *host);

/** Numbers of the TLS 1.2 suites an OpenSSL-style list selects, in order, zero-terminated. */
#define TLS_CIPHERS_MAX 64
bool tls_ciphers_parse(const char *list, int ret[TLS_CIPHERS_MAX],
                       struct pgv_error *err) PGV_MUST_CHECK;

enum tls_key_wrapping {
    TLS_KEY_OTHER,     /* something else, or no memory: mbedTLS may know, or says what is wrong */
    TLS_KEY_UNWRAPPED, /* the DER is what mbedTLS wants to have */
    TLS_KEY_BAD_PASSWORD,
};
/** Take the encryption off a PKCS #8 key with PBES2 and AES in @pem. @ret_der holds a secret. */
enum tls_key_wrapping tls_key_unwrap(const char *pem, const char *password,
                                     struct pgv_buf *ret_der) PGV_MUST_CHECK;
