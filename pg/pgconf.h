/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgconf.h - the 'postgresql' section as typed settings, and the addresses that follow from it.
 *
 * A struct pgconf never changes once made: a reload makes a new one. It is counted, because jobs
 * that run across a reload go on with the settings they began with.
 */
#pragma once

#include "base/alloc.h"
#include "base/value.h"
#include "base/vocabulary.h"
#include "pg/pgdsn.h"

#define PGCONF_PATH_BYTES 1024
#define PGCONF_BYTES_MAX (4u << 20)

/** authentication.{superuser,replication,rewind}; NULL: not set. Source: config contract 6.2. */
struct pgconf_auth {
    bool given; /* the section exists and is not empty */
    const char *username, *password, *sslmode, *sslcert, *sslkey, *sslpassword, *sslrootcert,
        *sslcrl, *sslcrldir, *gssencmode, *channel_binding, *sslnegotiation;
};

struct pgconf {
    const char *name, *scope;
    const struct pgv_value *section; /* our own copy of all of it */
    const char *data_dir, *config_dir, *config_base_name, *bin_dir /* "": PATH */;
    const char *listen_addresses, *port;         /* out of 'listen' */
    const char *connect_address, *proxy_address; /* NULL: none */
    const char *database, *pgpass, *krbsrvname /* NULL */, *custom_conf /* NULL */;
    const char *pre_promote, *before_stop; /* NULL: none */
    struct pgconf_auth superuser, replication, rewind;
    bool use_unix_socket, use_unix_socket_repl, use_slots, use_pg_rewind;
    bool remove_data_directory_on_rewind_failure, remove_data_directory_on_diverged_timelines;
    uint64_t pg_ctl_timeout_ms;
    const struct pgv_value *parameters;        /* a map, without recovery parameters */
    const struct pgv_value *recovery_conf;     /* a map, may be empty; see pg contract 13.4 */
    const struct pgv_value *pg_hba, *pg_ident; /* non-empty list or NULL */
    const struct pgv_value *callbacks;         /* a map or NULL */
    const struct pgv_value *citus;             /* {group, database} or NULL */
    const char *const *create_replica_methods; /* NULL-terminated; at least one */
    /* paths that follow */
    const char *conf_path, *base_conf_path, *hba_path, *ident_path, *auto_conf_path;
    const char *hba_file,
        *ident_file; /* redirected elsewhere by parameters: made absolute; or NULL */
    /* private */
    struct pgv_arena arena;
    unsigned refs;
};

/** @section is copied. Errors name the key: 'postgresql.listen: …'. Frees by pgconf_unref(). */
bool pgconf_new(const char *name, const char *scope, const struct pgv_value *section,
                struct pgconf **ret, struct pgv_error *err) PGV_MUST_CHECK;
struct pgconf *pgconf_ref(struct pgconf *c);
void pgconf_unref(struct pgconf *c); /* NULL is fine */

/** <bin_dir>/<bin_name[cmd] or cmd>, or the bare name. False when it does not fit. */
bool pgconf_bin(const struct pgconf *c, const char *cmd,
                char ret[PGCONF_PATH_BYTES]) PGV_MUST_CHECK;
/** "pg_wal" from 10 on, else "pg_xlog". */
const char *pgconf_wal_dir(int major_version);
/** Credentials for rewinding: authentication.rewind from 11 on if given, else superuser. */
const struct pgconf_auth *pgconf_rewind_auth(const struct pgconf *c, int major_version);
/** Credentials into a connection: username is 'user', the others by their names. */
void pgconf_auth_to_dsn(const struct pgconf_auth *auth, struct pgdsn *d);
/** create_replica_methods' or bootstrap's section of that name, or NULL. */
const struct pgv_value *pgconf_method(const struct pgconf *c, const char *name);
/** Name of the slot that holds WAL for this member: pgv_slot_name(name). */
void pgconf_my_slot(const struct pgconf *c, char ret[PGV_SLOT_NAME_BYTES]);

/** Where the local server is reached, and what the member key publishes. §11 of the contract. */
struct pgconf_address {
    char tcp_host[256], port[16];
    char socket_host[256]; /* absolute path; empty: none usable */
    bool socket_default;   /* unix_socket_directories is not set: libpq's own default */
    char conn_url[PGV_URL_BYTES], proxy_url[PGV_URL_BYTES]; /* proxy_url empty: none */
};
bool pgconf_resolve_address(const struct pgconf *c, struct pgconf_address *ret,
                            struct pgv_error *err) PGV_MUST_CHECK;

enum pgconf_purpose { PGCONF_SUPERUSER, PGCONF_REPLICATION };
/**
 * Connection to the local server, with password. host is left out where libpq's default socket is
 * meant, and is 'localhost' (for hostaddr see http/names.h) or an address or path else.
 * PGCONF_SUPERUSER adds dbname; connect_timeout, options and names are the caller's to set.
 * Texts are borrowed from @c and @addr.
 */
void pgconf_local_dsn(const struct pgconf *c, const struct pgconf_address *addr,
                      enum pgconf_purpose purpose, struct pgdsn *ret);

/** host (without brackets), port (default 5432), dbname (default @c->database) of a member's
 *  conn_url, into @a; several comma-separated hosts are kept as libpq wants them. */
bool pgconf_url_to_dsn(const struct pgconf *c, struct pgv_arena *a, const char *conn_url,
                       struct pgdsn *ret, struct pgv_error *err) PGV_MUST_CHECK;
