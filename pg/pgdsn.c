/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgdsn.c - connection strings.
 *
 * The parsers follow libpq's conninfo_parse() and conninfo_uri_parse_options()
 * (src/interfaces/libpq/fe-connect.c) but drop keys they do not know instead of failing: the
 * libpq we are linked with may be older than the server, whose primary_conninfo may then hold
 * options unknown to it, and a text that 'does not parse' would mean a restart at every look.
 */
#include "pg/pgdsn.h"

#include "base/file.h"
#include "base/parse.h"

#include <ctype.h>

#include "base/banned.h"

/** Name and the first major version that knows it. Source: libpq's PQconninfoOptions by release. */
static const struct {
    const char *name;
    int since;
} keys[PGDSN_KEYS] = {
    [PGDSN_DBNAME] = { "dbname", 0 },
    [PGDSN_USER] = { "user", 0 },
    [PGDSN_PASSFILE] = { "passfile", 0 },
    [PGDSN_PASSWORD] = { "password", 0 },
    [PGDSN_HOST] = { "host", 0 },
    [PGDSN_PORT] = { "port", 0 },
    [PGDSN_SSLMODE] = { "sslmode", 0 },
    [PGDSN_SSLCOMPRESSION] = { "sslcompression", 0 },
    [PGDSN_SSLCERT] = { "sslcert", 0 },
    [PGDSN_SSLKEY] = { "sslkey", 0 },
    [PGDSN_SSLPASSWORD] = { "sslpassword", 130000 },
    [PGDSN_SSLROOTCERT] = { "sslrootcert", 0 },
    [PGDSN_SSLCRL] = { "sslcrl", 0 },
    [PGDSN_SSLCRLDIR] = { "sslcrldir", 140000 },
    [PGDSN_APPLICATION_NAME] = { "application_name", 0 },
    [PGDSN_KRBSRVNAME] = { "krbsrvname", 0 },
    [PGDSN_GSSENCMODE] = { "gssencmode", 120000 },
    [PGDSN_CHANNEL_BINDING] = { "channel_binding", 130000 },
    [PGDSN_TARGET_SESSION_ATTRS] = { "target_session_attrs", 100000 },
    [PGDSN_SSLNEGOTIATION] = { "sslnegotiation", 170000 },
    [PGDSN_HOSTADDR] = { "hostaddr", 0 },
    [PGDSN_CONNECT_TIMEOUT] = { "connect_timeout", 0 },
    [PGDSN_FALLBACK_APPLICATION_NAME] = { "fallback_application_name", 0 },
    [PGDSN_OPTIONS] = { "options", 0 },
    [PGDSN_REPLICATION] = { "replication", 0 },
};

const char *pgdsn_key_name(enum pgdsn_key key)
{
    return keys[key].name;
}

bool pgdsn_key_known(enum pgdsn_key key, int version)
{
    return version >= keys[key].since;
}

/* ------------------------------------------------------------------------------------ parsing */

static bool no_memory(struct pgv_error *err)
{
    return pgv_fail(err, PGV_ENOMEM, "no memory for a connection string");
}

/** False: no memory. Unknown names are dropped, known ones replace what was there. */
static bool store(struct pgv_arena *a, struct pgdsn *d, struct pgv_str name, struct pgv_str value)
{
    /* libpq, conninfo_storeval(): the old requiressl is sslmode in disguise, and weaker than it */
    if (pgv_str_eqz(name, "requiressl")) {
        if (!d->v[PGDSN_SSLMODE])
            d->v[PGDSN_SSLMODE] = value.n > 0 && value.p[0] == '1' ? "require" : "prefer";
        return true;
    }
    for (unsigned i = 0; i < PGDSN_KEYS; i++) {
        if (!pgv_str_eqz(name, keys[i].name))
            continue;
        d->v[i] = pgv_arena_dup(a, value);
        return d->v[i] != NULL;
    }
    return true;
}

static bool is_space(char c)
{
    return isspace((unsigned char)c) != 0;
}

static bool parse_pairs(struct pgv_arena *a, const char *p, struct pgdsn *d, struct pgv_error *err)
{
    char *value = pgv_arena_alloc(a, strlen(p) + 1);

    if (!value)
        return no_memory(err);
    for (;;) {
        struct pgv_str name;
        size_t n = 0;

        while (is_space(*p))
            p++;
        if (*p == '\0')
            return true;
        name.p = p;
        while (*p && *p != '=' && !is_space(*p))
            p++;
        name.n = (size_t)(p - name.p);
        while (is_space(*p))
            p++;
        if (*p != '=' || name.n == 0)
            return pgv_fail(err, PGV_EINVALID, "connection string lacks '=' behind a name");
        p++;
        while (is_space(*p))
            p++;
        if (*p == '\'') {
            for (p++; *p != '\''; p++) {
                if (*p == '\\')
                    p++;
                if (*p == '\0')
                    return pgv_fail(err, PGV_EINVALID,
                                    "connection string has a quoted text without an end");
                value[n++] = *p;
            }
            p++;
        } else {
            for (; *p && !is_space(*p); p++) {
                if (*p == '\\' && *++p == '\0')
                    break;
                value[n++] = *p;
            }
        }
        if (!store(a, d, name, (struct pgv_str){ value, n }))
            return no_memory(err);
    }
}

/** Percent-decoded, terminated; %00 and broken escapes fail as in libpq. */
static bool decode(struct pgv_arena *a, struct pgv_str s, struct pgv_str *ret,
                   struct pgv_error *err)
{
    char *out = pgv_arena_alloc(a, s.n + 1);
    size_t n = 0;

    if (!out)
        return no_memory(err);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == '%') {
            int hi = i + 2 < s.n ? pgv_hex_digit(s.p[i + 1]) : -1;
            int lo = i + 2 < s.n ? pgv_hex_digit(s.p[i + 2]) : -1;

            if (hi < 0 || lo < 0 || hi + lo == 0)
                return pgv_fail(err, PGV_EINVALID, "connection URI has a broken %%-escape");
            c = (char)(hi * 16 + lo);
            i += 2;
        }
        out[n++] = c;
    }
    *ret = (struct pgv_str){ out, n };
    return true;
}

static bool store_decoded(struct pgv_arena *a, struct pgdsn *d, const char *name,
                          struct pgv_str value, struct pgv_error *err)
{
    struct pgv_str text;

    if (value.n == 0)
        return true;
    if (!decode(a, value, &text, err))
        return false;
    return store(a, d, pgv_str(name), text) || no_memory(err);
}

static struct pgv_str until(const char **p, const char *stops)
{
    struct pgv_str s = { *p, strcspn(*p, stops) };

    *p += s.n;
    return s;
}

static bool parse_uri_parameters(struct pgv_arena *a, const char *p, struct pgdsn *d,
                                 struct pgv_error *err)
{
    while (*p) {
        struct pgv_str pair = until(&p, "&"), name, value;

        if (*p == '&')
            p++;
        if (!pgv_str_cut(pair, '=', &name, &value) || memchr(value.p, '=', value.n))
            return pgv_fail(err, PGV_EINVALID, "connection URI has a malformed parameter");
        if (!decode(a, name, &name, err) || !decode(a, value, &value, err))
            return false;
        /* libpq: 'Special keyword handling for improved JDBC compatibility' */
        if (pgv_str_eqz(name, "ssl") && pgv_str_eqz(value, "true")) {
            name = PGV_STR("sslmode");
            value = PGV_STR("require");
        }
        if (!store(a, d, name, value))
            return no_memory(err);
    }
    return true;
}

static bool parse_uri(struct pgv_arena *a, const char *p, struct pgdsn *d, struct pgv_error *err)
{
    struct pgv_buf hosts, ports;
    const char *at = p + strcspn(p, "@/");
    bool ok = false;

    pgv_buf_init(&hosts, PGDSN_BYTES_MAX);
    pgv_buf_init(&ports, PGDSN_BYTES_MAX);
    if (*at == '@') {
        struct pgv_str user = until(&p, ":@"), password = { 0 };

        if (*p == ':') {
            p++;
            password = until(&p, "@");
        }
        p = at + 1;
        if (!store_decoded(a, d, "user", user, err) ||
            !store_decoded(a, d, "password", password, err))
            goto out;
    }
    for (;;) {
        if (*p == '[') {
            struct pgv_str host;

            p++;
            host = until(&p, "]");
            if (*p != ']' || host.n == 0 || !strchr(":/?,", p[1])) {
                (void)pgv_fail(err, PGV_EINVALID, "connection URI has a malformed IPv6 address");
                goto out;
            }
            p++;
            (void)pgv_buf_str(&hosts, host);
        } else {
            (void)pgv_buf_str(&hosts, until(&p, ":/?,"));
        }
        if (*p == ':') {
            p++;
            (void)pgv_buf_str(&ports, until(&p, "/?,"));
        }
        if (*p != ',')
            break;
        p++;
        (void)pgv_buf_putc(&hosts, ',');
        (void)pgv_buf_putc(&ports, ',');
    }
    if (hosts.failed || ports.failed) {
        (void)no_memory(err);
        goto out;
    }
    if (!store_decoded(a, d, "host", pgv_buf_view(&hosts), err) ||
        !store_decoded(a, d, "port", pgv_buf_view(&ports), err))
        goto out;
    if (*p == '/') {
        p++;
        if (!store_decoded(a, d, "dbname", until(&p, "?"), err))
            goto out;
    }
    ok = *p != '?' || parse_uri_parameters(a, p + 1, d, err);
out:
    pgv_buf_done(&hosts);
    pgv_buf_done(&ports);
    return ok;
}

bool pgdsn_parse(struct pgv_arena *a, const char *text, bool defaults, struct pgdsn *ret,
                 struct pgv_error *err)
{
    static const char *const schemes[] = { "postgresql://", "postgres://" };
    struct pgdsn d = { 0 };
    const char *rest = NULL;

    if (strlen(text) > PGDSN_BYTES_MAX)
        return pgv_fail(err, PGV_EINVALID, "connection string is too long");
    for (unsigned i = 0; i < 2; i++)
        if (pgv_str_starts(pgv_str(text), schemes[i]))
            rest = text + strlen(schemes[i]);
    if (rest ? !parse_uri(a, rest, &d, err) : !parse_pairs(a, text, &d, err))
        return false;
    if (defaults) {
        static const struct {
            enum pgdsn_key key;
            const char *value;
        } fill[] = { { PGDSN_SSLMODE, "prefer" },
                     { PGDSN_GSSENCMODE, "prefer" },
                     { PGDSN_CHANNEL_BINDING, "prefer" },
                     { PGDSN_SSLNEGOTIATION, "postgres" } };

        for (unsigned i = 0; i < sizeof(fill) / sizeof(fill[0]); i++)
            if (!d.v[fill[i].key])
                d.v[fill[i].key] = fill[i].value;
    }
    *ret = d;
    return true;
}

/* ------------------------------------------------------------------------------------ writing */

static bool write_pair(struct pgv_buf *b, const char *name, const char *value)
{
    if (b->n > 0)
        (void)pgv_buf_putc(b, ' ');
    (void)pgv_buf_printf(b, "%s=", name);
    if (*value == '\0')
        return pgv_buf_puts(b, "''");
    for (; *value; value++) {
        if (*value == '\'' || *value == '\\' || is_space(*value))
            (void)pgv_buf_putc(b, '\\');
        (void)pgv_buf_putc(b, *value);
    }
    return !b->failed;
}

static bool write_dsn(struct pgv_buf *b, const struct pgdsn *d, int version, bool secrets)
{
    for (unsigned i = 0; i < PGDSN_KEYS; i++) {
        if (!d->v[i] || (version > 0 && version < keys[i].since))
            continue;
        if (!secrets && (i == PGDSN_PASSWORD || i == PGDSN_PASSFILE || i == PGDSN_SSLPASSWORD))
            continue;
        if (i == PGDSN_PASSWORD && d->v[PGDSN_PASSFILE])
            continue;
        (void)write_pair(b, keys[i].name, d->v[i]);
    }
    return !b->failed;
}

bool pgdsn_write(struct pgv_buf *b, const struct pgdsn *d, int version)
{
    return write_dsn(b, d, version, true);
}

bool pgdsn_write_public(struct pgv_buf *b, const struct pgdsn *d, int version)
{
    return write_dsn(b, d, version, false);
}

/* ----------------------------------------------------------------------------- password files */

static void pgpass_field(struct pgv_buf *b, struct pgv_str s)
{
    if (s.n == 0) {
        (void)pgv_buf_putc(b, '*');
        return;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == ':' || s.p[i] == '\\')
            (void)pgv_buf_putc(b, '\\');
        (void)pgv_buf_putc(b, s.p[i]);
    }
}

static void pgpass_line(struct pgv_buf *b, const struct pgdsn *d, struct pgv_str host)
{
    pgpass_field(b, host);
    (void)pgv_buf_putc(b, ':');
    pgpass_field(b, pgv_str(d->v[PGDSN_PORT]));
    (void)pgv_buf_puts(b, ":*:");
    pgpass_field(b, pgv_str(d->v[PGDSN_USER]));
    (void)pgv_buf_putc(b, ':');
    pgpass_field(b, pgv_str(d->v[PGDSN_PASSWORD]));
    (void)pgv_buf_putc(b, '\n');
}

bool pgdsn_pgpass_text(struct pgv_buf *b, const struct pgdsn *d)
{
    struct pgv_str rest = pgv_str(d->v[PGDSN_HOST]);
    bool socket = false, localhost = false, more = true;

    if (!d->v[PGDSN_PASSWORD] || d->v[PGDSN_PASSWORD][0] == '\0')
        return true;
    while (more) {
        struct pgv_str host, tail;

        more = pgv_str_cut(rest, ',', &host, &tail);
        rest = tail;
        host = pgv_str_trim(host);
        socket = socket || pgv_str_starts(host, "/");
        localhost = localhost || pgv_str_eqz(host, "localhost");
        pgpass_line(b, d, host);
    }
    /* libpq looks a socket directory that is its built-in default up as 'localhost' */
    if (socket && !localhost)
        pgpass_line(b, d, PGV_STR("localhost"));
    return !b->failed;
}

bool pgdsn_pgpass_write(const char *path, const struct pgdsn *d, bool *ret_written,
                        struct pgv_error *err)
{
    struct pgv_buf text;
    bool ok = false, written = false;

    pgv_buf_init(&text, 4 * PGDSN_BYTES_MAX);
    if (!pgdsn_pgpass_text(&text, d)) {
        (void)pgv_fail(err, PGV_ENOMEM, "no memory for the password file");
        goto out;
    }
    written = text.n > 0;
    ok = !written || pgv_file_replace(path, pgv_buf_view(&text), 0600, err);
out:
    if (text.p)
        explicit_bzero(text.p, text.n);
    pgv_buf_done(&text);
    if (ok && ret_written)
        *ret_written = written;
    return ok;
}

/** Is every line of @a also one of @b? Both are whole texts. */
static bool lines_within(struct pgv_str a, struct pgv_str b)
{
    struct pgv_str line, other;

    while (a.n > 0) {
        struct pgv_str rest = b;
        bool found = false;

        (void)pgv_str_cut(a, '\n', &line, &a);
        while (!found && rest.n > 0) {
            (void)pgv_str_cut(rest, '\n', &other, &rest);
            found = pgv_str_eq(line, other);
        }
        if (line.n > 0 && !found)
            return false;
    }
    return true;
}

bool pgdsn_pgpass_same(const char *path, const struct pgdsn *d)
{
    struct pgv_buf want, have;
    bool same = false;

    pgv_buf_init(&want, 4 * PGDSN_BYTES_MAX);
    pgv_buf_init(&have, 4 * PGDSN_BYTES_MAX);
    if (pgdsn_pgpass_text(&want, d) && want.n > 0 && pgv_file_read(path, &have, NULL))
        same = lines_within(pgv_buf_view(&want), pgv_buf_view(&have)) &&
               lines_within(pgv_buf_view(&have), pgv_buf_view(&want));
    if (want.p)
        explicit_bzero(want.p, want.n);
    if (have.p)
        explicit_bzero(have.p, have.n);
    pgv_buf_done(&want);
    pgv_buf_done(&have);
    return same;
}

/* --------------------------------------------------------------------------------- comparison */

bool pgdsn_satisfies(const struct pgdsn *wanted, const struct pgdsn *current, int version)
{
    const char *password = current->v[PGDSN_PASSWORD];

    if (wanted->v[PGDSN_PASSWORD] && !password && current->v[PGDSN_PASSFILE]) {
        if (!pgdsn_pgpass_same(current->v[PGDSN_PASSFILE], wanted))
            return false;
        password = wanted->v[PGDSN_PASSWORD];
    }
    for (unsigned i = 0; i < PGDSN_KEYS; i++) {
        const char *have = i == PGDSN_PASSWORD ? password : current->v[i];

        if (!wanted->v[i] || i == PGDSN_PASSFILE || (version > 0 && version < keys[i].since))
            continue;
        /* Before 17 a walreceiver's dbname has no meaning: nothing there reads a database. */
        if (i == PGDSN_DBNAME && version < 170000)
            continue;
        if (!have || strcmp(wanted->v[i], have) != 0)
            return false;
    }
    return true;
}

bool pgdsn_set_hostaddr(struct pgdsn *d, const char *hostaddr, char *ret_hosts, size_t bytes)
{
    const char *host = d->v[PGDSN_HOST];
    size_t at = 0, len, n = 1;

    if (!host || host[0] == '/' || !hostaddr)
        return true;
    len = strlen(host);
    for (const char *p = hostaddr; *p; p++)
        n += *p == ',';
    if (n * (len + 1) > bytes)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            ret_hosts[at++] = ',';
        memcpy(ret_hosts + at, host, len);
        at += len;
    }
    ret_hosts[at] = '\0';
    d->v[PGDSN_HOST] = ret_hosts;
    d->v[PGDSN_HOSTADDR] = hostaddr;
    return true;
}
