/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgdsn.h - connection strings: parsing (libpq's own rules), writing in a fixed order, the
 * comparison that decides whether a standby must be told of a new upstream, and password files.
 *
 * A struct pgdsn may hold a password: it is never logged. pgdsn_write() puts the password in,
 * pgdsn_write_public() never does.
 */
#pragma once

#include "base/alloc.h"

/** In the order in which they are written. Source: Patroni writes primary_conninfo in this order.
 */
enum pgdsn_key {
    PGDSN_DBNAME,
    PGDSN_USER,
    PGDSN_PASSFILE, /* when set, the password is not written */
    PGDSN_PASSWORD,
    PGDSN_HOST,
    PGDSN_PORT,
    PGDSN_SSLMODE,
    PGDSN_SSLCOMPRESSION,
    PGDSN_SSLCERT,
    PGDSN_SSLKEY,
    PGDSN_SSLPASSWORD,
    PGDSN_SSLROOTCERT,
    PGDSN_SSLCRL,
    PGDSN_SSLCRLDIR,
    PGDSN_APPLICATION_NAME,
    PGDSN_KRBSRVNAME,
    PGDSN_GSSENCMODE,
    PGDSN_CHANNEL_BINDING,
    PGDSN_TARGET_SESSION_ATTRS,
    PGDSN_SSLNEGOTIATION,
    /* only ever in our own connections, never in primary_conninfo */
    PGDSN_HOSTADDR,
    PGDSN_CONNECT_TIMEOUT,
    PGDSN_FALLBACK_APPLICATION_NAME,
    PGDSN_OPTIONS,
    PGDSN_REPLICATION,
    PGDSN_KEYS
};

/** As libpq spells it. */
const char *pgdsn_key_name(enum pgdsn_key key);
/** Does a server or a libpq of @version (130004) know it? */
bool pgdsn_key_known(enum pgdsn_key key, int version);

/** NULL: not set. The texts are borrowed, usually from an arena. */
struct pgdsn {
    const char *v[PGDSN_KEYS];
};

#define PGDSN_BYTES_MAX 8192

/** Parse a URI or key=value text by libpq's rules; keys we do not know are dropped. @defaults
 *  fills sslmode, gssencmode, channel_binding (prefer) and sslnegotiation (postgres) when absent,
 *  as a comparison needs it. PGV_EINVALID never repeats the text, which may hold a password. */
bool pgdsn_parse(struct pgv_arena *a, const char *text, bool defaults, struct pgdsn *ret,
                 struct pgv_error *err) PGV_MUST_CHECK;
/** key=value text. Keys that @version (130004; 0: no gate) does not know are left out. */
bool pgdsn_write(struct pgv_buf *b, const struct pgdsn *d, int version);
/** The same without password, passfile and sslpassword: for argv and logs. */
bool pgdsn_write_public(struct pgv_buf *b, const struct pgdsn *d, int version);

/** Lines of a password file for @d, one a host; nothing without a password. */
bool pgdsn_pgpass_text(struct pgv_buf *b, const struct pgdsn *d);
/** Write them to @path with mode 0600. @ret_written false: there is no password, nothing done. */
bool pgdsn_pgpass_write(const char *path, const struct pgdsn *d, bool *ret_written,
                        struct pgv_error *err) PGV_MUST_CHECK;
/** Do the lines of the file at @path equal, as a set, what would be written for @d? */
bool pgdsn_pgpass_same(const char *path, const struct pgdsn *d);

/** Does @current do what @wanted asks for? Extra keys of @current do not matter. @version < 17:
 *  dbname is ignored. A passfile in @current stands for a password when its content is right. */
bool pgdsn_satisfies(const struct pgdsn *wanted, const struct pgdsn *current, int version);

/**
 * Give the host's addresses (comma-separated, NULL: none) along with its name, which libpq wants
 * repeated as often. @ret_hosts holds the repeated name and must live as long as @d. Sockets stay.
 */
bool pgdsn_set_hostaddr(struct pgdsn *d, const char *hostaddr, char *ret_hosts,
                        size_t bytes) PGV_MUST_CHECK;
