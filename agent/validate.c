/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/validate.c - --validate-config: everything that is wrong with a configuration, at once.
 *
 * Each line begins as Patroni's does ('<path> <value> <error>'), so that scripts which read it go
 * on working; where it stands and what would be right follow in brackets. Unknown keys, which
 * Patroni passes over, are warnings with a suggestion: a typing error otherwise shows as a setting
 * that has no effect. Values of secrets are never printed.
 */
#include "agent/validate.h"

#include "base/config.h"
#include "base/parse.h"
#include "base/vocabulary.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define CONNECT_MS 2000 /* to an address that may be taken */
#define PATH_BYTES 160

enum kind {
    STR,
    INT,
    NUM,  /* an integer, or a text that is one */
    TIME, /* the same with a unit of time, base seconds */
    REAL,
    BOOL,
    SYNC, /* a boolean or 'quorum' */
    WORD, /* one of the words */
    WORD_NOCASE,
    WORD_OR_FALSE,
    FORMAT,
    LIST, /* of texts, not empty */
    ANYLIST,
    OPTIONS, /* of a program: a list of texts and maps, or a map */
    MAP,     /* any keys */
    SECTION, /* the keys of the table */
    TAGS,    /* the keys of the table, and others */
    LISTEN,  /* host[,host]:port */
    CONNECT, /* host:port others can use */
    REACH,   /* host:port of a store */
    HOSTS,   /* several of them: a list, or a text with commas */
    ANYTHING,
};
enum demand { NEED, MAY, SOFT };
enum where { LOCAL, DYNAMIC, BOTH };
enum applied { RELOAD, RESTART, SERVER, ONCE, NOTHING };

static const struct option {
    const char *path;
    enum kind kind;
    enum demand demand;
    int64_t least, most;
    const char *words, *standard, *unit, *env;
    enum where where;
    enum applied applied;
    const char *about;
} options[] = {
#define OPTION(...) { __VA_ARGS__ },
#include "agent/options.def"
#undef OPTION
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define OF_ALL_MEMBERS "bootstrap.dcs." /* in front of the postgresql section of all members */

void agent_findings_init(struct agent_findings *f)
{
    *f = (struct agent_findings){ 0 };
    pgv_buf_init(&f->errors, AGENT_FINDINGS_BYTES_MAX);
    pgv_buf_init(&f->warnings, AGENT_FINDINGS_BYTES_MAX);
}

void agent_findings_done(struct agent_findings *f)
{
    if (!f)
        return;
    pgv_buf_done(&f->errors);
    pgv_buf_done(&f->warnings);
}

static const char *last_key(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot ? dot + 1 : path;
}

static bool is_secret(const char *path)
{
    return strstr(path, "password") || strstr(path, "auth_data") || strstr(path, "token") ||
           strstr(path, "authentication") || strstr(path, "parameters") || strstr(path, "url") ||
           strstr(path, "proxy");
}

/* One line: '<path> <value> <error> [<file> line <n>: <hint>]'. */
static void say(struct agent_findings *f, bool error, const char *path, const struct pgv_value *at,
                const struct pgv_value *shown, const char *what, const char *hint)
{
    struct pgv_buf *b = error ? &f->errors : &f->warnings;

    if (error)
        f->errors_n++;
    else
        f->warnings_n++;
    pgv_buf_printf(b, "%s ", path);
    if (shown && is_secret(path) && shown->type != PGV_NULL)
        pgv_buf_puts(b, "(hidden)");
    else if (shown)
        pgv_value_text(b, shown);
    pgv_buf_printf(b, " %s", what);
    if (at && at->file && at->line)
        pgv_buf_printf(b, " [%s line %u%s%s]", at->file, at->line, *hint ? ": " : "", hint);
    else if (*hint)
        pgv_buf_printf(b, " [%s]", hint);
    pgv_buf_putc(b, '\n');
}

/* ---- single values -----------------------------------------------------------------------------
 */

static bool has_word(const char *words, struct pgv_str s, bool nocase)
{
    struct pgv_str rest = pgv_str(words), word, tail;

    while (rest.n > 0) {
        tail = (struct pgv_str){ 0 };
        if (!pgv_str_cut(rest, ' ', &word, &tail))
            tail = (struct pgv_str){ 0 };
        rest = tail;
        if (word.n == s.n &&
            (nocase ? strncasecmp(word.p, s.p, s.n) : memcmp(word.p, s.p, s.n)) == 0)
            return true;
    }
    return false;
}

/* Does something accept connections there? Numeric addresses only: a name would have to be asked
 * for, and this is about our own addresses. */
static bool is_taken(const char *host, int port)
{
    struct sockaddr_storage ss = { 0 };
    struct sockaddr_in *in = (struct sockaddr_in *)&ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;
    socklen_t length = sizeof(*in);
    struct pollfd p = { .events = POLLOUT };
    int soerror = 0;
    socklen_t soerror_bytes = sizeof(soerror);
    bool taken = false;

    if (!*host || strcmp(host, "*") == 0 || strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
    } else if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)port);
        length = sizeof(*in6);
    } else {
        return false;
    }
    p.fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p.fd < 0)
        return false;
    if (connect(p.fd, (struct sockaddr *)&ss, length) == 0)
        taken = true;
    else if (errno == EINPROGRESS && poll(&p, 1, CONNECT_MS) == 1)
        taken =
            getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &soerror, &soerror_bytes) == 0 && soerror == 0;
    close(p.fd);
    return taken;
}

struct check {
    struct agent_findings *f;
    const struct pgv_value *local;
    bool ports;
};

static void bad(struct check *k, const struct option *o, const char *path,
                const struct pgv_value *v, const char *what, const char *hint)
{
    say(k->f, o->demand != SOFT, path, v, v, what, hint);
}

/* 'h1,h2:port' or ':port'; @host gets all of the hosts. Patroni takes port 1 when none is given. */
static bool split_address(struct pgv_str s, char *host, size_t host_bytes, int *port)
{
    const char *colon = memrchr(s.p, ':', s.n);
    struct pgv_str head = s;
    uint64_t n;

    *port = 1;
    if (colon && (!memchr(s.p, ']', s.n) || (colon > s.p && colon[-1] == ']'))) {
        head.n = (size_t)(colon - s.p);
        if (!pgv_parse_u64((struct pgv_str){ colon + 1, s.n - head.n - 1 }, &n) || n < 1 ||
            n > 65535)
            return false;
        *port = (int)n;
    }
    if (head.n > 1 && head.p[0] == '[' && head.p[head.n - 1] == ']') {
        head.p++;
        head.n -= 2;
    }
    return head.n > 0 && pgv_copy(host, host_bytes, head);
}

static void check_address(struct check *k, const struct option *o, const char *path,
                          const struct pgv_value *v)
{
    static const char *const ours[] = { "127.0.0.1", "0.0.0.0", "*", "::1", "localhost" };
    char hosts[512], host[256], what[96];
    struct pgv_str rest, head, tail;
    int port;

    if (!pgv_is(v, PGV_STRING)) {
        bad(k, o, path, v, "is not a string", "host:port is expected");
        return;
    }
    if (!split_address(pgv_string(v), hosts, sizeof(hosts), &port)) {
        bad(k, o, path, v, "didn't pass validation: contains a wrong value",
            "host:port is expected, the port from 1 to 65535");
        return;
    }
    for (rest = pgv_str(hosts); rest.n > 0; rest = tail) {
        tail = (struct pgv_str){ 0 };
        if (!pgv_str_cut(rest, ',', &head, &tail))
            tail = (struct pgv_str){ 0 };
        if (!pgv_copy(host, sizeof(host), pgv_str_trim(head)))
            continue;
        for (size_t i = 0; o->kind == CONNECT && i < COUNT(ours); i++) {
            if (strcmp(host, ours[i]) == 0) {
                bad(k, o, path, v,
                    "didn't pass validation: must not contain \"127.0.0.1\", \"0.0.0.0\", \"*\", "
                    "\"::1\", \"localhost\"",
                    "other nodes must reach this one there");
                return;
            }
        }
        if (o->kind == LISTEN && k->ports && is_taken(host, port)) {
            (void)snprintf(what, sizeof(what), "didn't pass validation: Port %d is already in use.",
                           port);
            bad(k, o, path, v, what, "-i passes over this while the agent runs");
            return;
        }
    }
}

static void check_hosts(struct check *k, const struct option *o, const char *path,
                        const struct pgv_value *v)
{
    char host[512], item_path[PATH_BYTES + 24];
    unsigned i = 0;
    int port;

    if (!pgv_is(v, PGV_STRING) && !pgv_is(v, PGV_LIST)) {
        bad(k, o, path, v, "is not a list", "a list of host:port, or one text with commas");
        return;
    }
    if (!pgv_truthy(v)) {
        bad(k, o, path, v,
            pgv_is(v, PGV_LIST) ? "is an empty list" : "didn't pass validation: is an empty string",
            "host:port is expected");
        return;
    }
    PGV_EACH(item, v)
    {
        (void)snprintf(item_path, sizeof(item_path), "%s.%u", path, i++);
        if (!pgv_is(item, PGV_STRING))
            bad(k, o, item_path, item, "is not a string", "host:port is expected");
        else if (!split_address(pgv_string(item), host, sizeof(host), &port))
            bad(k, o, item_path, item, "didn't pass validation: contains a wrong value",
                "host:port is expected");
    }
}

static void check_number(struct check *k, const struct option *o, const char *path,
                         const struct pgv_value *v)
{
    char hint[128];
    double d = 0;
    int64_t i = 0;
    bool readable;

    if (o->kind == INT && !pgv_is(v, PGV_INT) && !pgv_is(v, PGV_BOOL)) {
        bad(k, o, path, v, "is not an integer", "a whole number without quotes");
        return;
    }
    if (pgv_is(v, PGV_INT) || pgv_is(v, PGV_BOOL)) {
        i = pgv_is(v, PGV_INT) ? v->u.i : v->u.b;
        readable = true;
    } else if (o->kind == REAL) {
        readable = pgv_is(v, PGV_REAL) ||
                   (pgv_is(v, PGV_STRING) && pgv_parse_real(pgv_string(v), NULL, &d));
        if (pgv_is(v, PGV_REAL))
            d = v->u.d;
        if (readable && d > 0)
            return;
        i = -1;
    } else {
        i = pgv_int_like(v, o->kind == TIME ? "s" : NULL, INT64_MIN);
        readable = i != INT64_MIN;
    }
    if (readable && i >= o->least && i <= o->most)
        return;
    if (o->most >= 2147483647)
        (void)snprintf(hint, sizeof(hint), "a number of at least %lld%s%s", (long long)o->least,
                       *o->unit ? " " : "", o->unit);
    else
        (void)snprintf(hint, sizeof(hint), "a number from %lld to %lld",
                       o->least == INT64_MIN ? 1LL : (long long)o->least, (long long)o->most);
    bad(k, o, path, v, "didn't pass validation: Wrong value", hint);
}

static void check_list(struct check *k, const struct option *o, const char *path,
                       const struct pgv_value *v)
{
    char item_path[PATH_BYTES + 24];
    unsigned i = 0;

    if (o->kind == OPTIONS && pgv_is(v, PGV_MAP))
        return;
    if (!pgv_is(v, PGV_LIST)) {
        bad(k, o, path, v, "is not a list", "a list, each item on a line with '- '");
        return;
    }
    if (!v->u.c.first)
        bad(k, o, path, v, "is an empty list", "leave the key out instead");
    PGV_EACH(item, v)
    {
        (void)snprintf(item_path, sizeof(item_path), "%s.%u", path, i++);
        if (o->kind != ANYLIST && !pgv_is(item, PGV_STRING) &&
            !(o->kind == OPTIONS && pgv_is(item, PGV_MAP)))
            bad(k, o, item_path, item, "is not a string", "put it into quotes");
    }
}

static void check_value(struct check *k, const struct option *o, const char *path,
                        const struct pgv_value *v)
{
    char hint[160];

    switch (o->kind) {
    case STR:
        if (!pgv_is(v, PGV_STRING))
            bad(k, o, path, v, "is not a string", "put it into quotes");
        else if (strcmp(path, "name") == 0 && pgv_str_eqz(pgv_string(v), PGV_NAME_PLACEHOLDER))
            bad(k, o, path, v,
                "didn't pass validation: Node 'name' can't be set to '" PGV_NAME_PLACEHOLDER "'",
                "this name is reserved");
        else if (strcmp(path, "postgresql.data_dir") == 0 && !pgv_truthy(v))
            bad(k, o, path, v, "didn't pass validation: is an empty string", "a path");
        return;
    case INT:
    case NUM:
    case TIME:
    case REAL:
        check_number(k, o, path, v);
        return;
    case BOOL:
        if (!pgv_is(v, PGV_BOOL))
            bad(k, o, path, v, "is not a boolean", "true or false, without quotes");
        return;
    case SYNC:
        if (!pgv_is(v, PGV_BOOL) &&
            !(pgv_is(v, PGV_STRING) &&
              has_word("on off true false yes no 1 0 quorum", pgv_string(v), true)))
            bad(k, o, path, v, "didn't pass validation: invalid value for synchronous_mode",
                "true, false or quorum");
        return;
    case WORD_OR_FALSE:
        if (pgv_is(v, PGV_BOOL) && !v->u.b)
            return;
        if (!pgv_is(v, PGV_STRING)) {
            bad(k, o, path, v, "didn't pass validation: expected type is not a string",
                "off, automatic or required");
            return;
        }
        __attribute__((fallthrough));
    case WORD:
    case WORD_NOCASE:
        (void)snprintf(hint, sizeof(hint), "one of: %s", o->words);
        if (!pgv_is(v, PGV_STRING))
            bad(k, o, path, v, "is not a string", hint);
        else if (!has_word(o->words, pgv_string(v), o->kind == WORD_NOCASE))
            bad(k, o, path, v, "didn't pass validation: Wrong value", hint);
        return;
    case FORMAT:
        if (!pgv_is(v, PGV_STRING) && !pgv_is(v, PGV_LIST))
            bad(k, o, path, v, "didn't pass validation: Should be a string or a list",
                "a format, or a list of fields");
        else if (!pgv_truthy(v))
            bad(k, o, path, v, "didn't pass validation: should contain at least one item",
                "a format, or a list of fields");
        return;
    case LIST:
    case ANYLIST:
    case OPTIONS:
        check_list(k, o, path, v);
        return;
    case MAP:
    case SECTION:
    case TAGS:
        if (!pgv_is(v, PGV_MAP))
            bad(k, o, path, v, "is not a dictionary", "keys with values, indented below it");
        return;
    case LISTEN:
    case CONNECT:
    case REACH:
        check_address(k, o, path, v);
        return;
    case HOSTS:
        check_hosts(k, o, path, v);
        return;
    case ANYTHING:
        return;
    }
}

/* ---- the whole ---------------------------------------------------------------------------------
 */

/* @prefix is put before the option's path: of what stands in the section for all members. */
static void check_option(struct check *k, const struct option *o, const char *prefix)
{
    const struct pgv_value *parent, *v;
    char path[PATH_BYTES], above[PATH_BYTES];
    char *dot;

    (void)snprintf(path, sizeof(path), "%s%s", prefix, o->path);
    (void)snprintf(above, sizeof(above), "%s", path);
    dot = strrchr(above, '.');
    if (dot)
        *dot = '\0';
    parent = dot ? pgv_path(k->local, above) : k->local;
    if (dot && !pgv_is(parent, PGV_MAP)) {
        /* Patroni names every key that is missing in a needed section that is missing itself only
         * by the section, so nothing here. */
        return;
    }
    v = pgv_get(parent, last_key(path));
    if (v) {
        check_value(k, o, path, v);
        if (o->applied == NOTHING && pgv_truthy(v))
            say(k->f, false, path, v, v, "has no effect", o->about);
    } else if (o->demand == NEED && !*prefix) {
        say(k->f, true, path, parent, NULL, "is not defined.", o->about);
    }
}

static const struct option *option_at(const char *path)
{
    if (strncmp(path, OF_ALL_MEMBERS "postgresql.", sizeof(OF_ALL_MEMBERS "postgresql.") - 1) == 0)
        path += sizeof(OF_ALL_MEMBERS) - 1;
    for (size_t i = 0; i < COUNT(options); i++) {
        if (strcmp(options[i].path, path) == 0)
            return &options[i];
    }
    return NULL;
}

/* Letters to add, drop or change; at most 31 letters are looked at. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[33], before, here;
    size_t m = strnlen(a, 32), n = strnlen(b, 32);

    for (size_t j = 0; j <= n; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= m; i++) {
        before = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= n; j++) {
            here = row[j];
            row[j] = before + (a[i - 1] != b[j - 1]);
            if (here + 1 < row[j])
                row[j] = here + 1;
            if (row[j - 1] + 1 < row[j])
                row[j] = row[j - 1] + 1;
            before = here;
        }
    }
    return row[n];
}

static void check_unknown(struct check *k, const struct pgv_value *map, const char *prefix)
{
    PGV_EACH(item, map)
    {
        const struct option *o, *best = NULL;
        char path[PATH_BYTES], hint[128] = "";
        const char *base = prefix;
        size_t base_n;
        unsigned least = 4, d;

        if (snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", item->key.p) >=
            (int)sizeof(path))
            continue;
        o = option_at(path);
        if (o) {
            if (o->kind == SECTION && pgv_is(item, PGV_MAP))
                check_unknown(k, item, path);
            continue;
        }
        /* A way to make a replica or a cluster, or a store of another name, is a map of its own. */
        if (pgv_is(item, PGV_MAP) &&
            (strcmp(prefix, "postgresql") == 0 ||
             strcmp(prefix, OF_ALL_MEMBERS "postgresql") == 0 || strcmp(prefix, "bootstrap") == 0))
            continue;
        if (strcmp(base, OF_ALL_MEMBERS "postgresql") == 0)
            base = "postgresql";
        base_n = strlen(base);
        for (size_t i = 0; i < COUNT(options); i++) {
            const char *key = last_key(options[i].path);
            size_t parent_n = key == options[i].path ? 0 : (size_t)(key - options[i].path) - 1;

            if (parent_n != base_n || strncmp(options[i].path, base, base_n) != 0)
                continue;
            d = distance(item->key.p, key);
            if (d < least && d < strlen(key)) {
                least = d;
                best = &options[i];
            }
        }
        if (best)
            (void)snprintf(hint, sizeof(hint), "did you mean '%s'?", last_key(best->path));
        say(k->f, false, path, item, NULL, "is not known and has no effect", hint);
    }
}

static void check_one_of(struct check *k, const char *section, const char *const *keys, size_t n)
{
    const struct pgv_value *map = pgv_path(k->local, section);
    char path[PATH_BYTES];

    if (!pgv_is(map, PGV_MAP))
        return;
    for (size_t i = 0; i < n; i++) {
        if (pgv_get(map, keys[i]))
            return;
    }
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(path, sizeof(path), "%s.%s", section, keys[i]);
        say(k->f, true, path, map, NULL, "is not defined.", "one of these is needed");
    }
}

static void check_both_tags(struct check *k, const char *flag, const char *priority)
{
    const struct pgv_value *tags = pgv_get(k->local, "tags");
    char what[96];

    if (!pgv_get(tags, flag) || !pgv_get(tags, priority))
        return;
    (void)snprintf(what, sizeof(what), "Multiple of ('%s', '%s') provided", flag, priority);
    say(k->f, true, "tags", tags, NULL, what, "keep one of them");
}

static int64_t time_of(const struct pgv_value *local, const char *key, int64_t otherwise)
{
    return pgv_int_like(pgv_get(pgv_path(local, "bootstrap.dcs"), key), NULL, otherwise);
}

static void check_times(struct check *k)
{
    static const char *const local_only[] = { "ttl", "loop_wait", "retry_timeout" };
    int64_t ttl = time_of(k->local, "ttl", 30), wait = time_of(k->local, "loop_wait", 10);
    int64_t retry = time_of(k->local, "retry_timeout", 10);
    char what[192];

    for (size_t i = 0; i < COUNT(local_only); i++) {
        const struct pgv_value *v = pgv_get(k->local, local_only[i]);

        if (v)
            say(k->f, false, local_only[i], v, v, "has no effect here",
                "it belongs to bootstrap.dcs, and later to the dynamic configuration");
    }
    if (ttl > INT32_MAX || wait > INT32_MAX || retry > INT32_MAX || wait + 2 * retry <= ttl)
        return;
    (void)snprintf(what, sizeof(what),
                   "are impossible together: loop_wait + 2*retry_timeout = %lld s is more than "
                   "ttl = %lld s",
                   (long long)(wait + 2 * retry), (long long)ttl);
    say(k->f, false, "bootstrap.dcs.ttl, loop_wait, retry_timeout",
        pgv_path(k->local, "bootstrap.dcs"), NULL, what, "the agent will lower the other two");
}

bool agent_validate(const struct pgv_value *local, bool ports, struct agent_findings *f,
                    struct pgv_error *err)
{
    static const char *const stores[] = { "consul",     "etcd", "etcd3",    "exhibitor",
                                          "kubernetes", "raft", "zookeeper" };
    static const char *const etcd[] = { "host", "hosts", "srv", "srv_suffix", "url", "proxy" };
    static const char *const consul[] = { "host", "url" };
    static const char *const standby[] = { "host", "port", "restore_command" };
    struct check k = { .f = f, .local = local, .ports = ports };
    bool store = false;

    for (size_t i = 0; i < COUNT(options); i++)
        check_option(&k, &options[i], "");
    for (size_t i = 0; i < COUNT(options); i++) {
        if (strncmp(options[i].path, "postgresql.", 11) == 0 && options[i].where != LOCAL)
            check_option(&k, &options[i], OF_ALL_MEMBERS);
    }
    for (size_t i = 0; i < COUNT(stores); i++)
        store = store || pgv_get(local, stores[i]);
    for (size_t i = 0; !store && i < COUNT(stores); i++)
        say(f, true, stores[i], NULL, NULL, "is not defined.", "one store is needed");
    check_one_of(&k, "etcd", etcd, COUNT(etcd));
    check_one_of(&k, "etcd3", etcd, COUNT(etcd));
    check_one_of(&k, "consul", consul, COUNT(consul));
    check_one_of(&k, "bootstrap.dcs.standby_cluster", standby, COUNT(standby));
    check_both_tags(&k, "nofailover", "failover_priority");
    check_both_tags(&k, "nosync", "sync_priority");
    check_unknown(&k, local, "");
    check_times(&k);
    if (f->errors.failed || f->warnings.failed)
        return pgv_fail(err, PGV_ENOMEM, "no memory for all that is to be said");
    return true;
}

void agent_validate_times(const struct pgv_value *local, struct pgv_buf *b)
{
    long long ttl = time_of(local, "ttl", 30), wait = time_of(local, "loop_wait", 10);
    long long retry = time_of(local, "retry_timeout", 10);
    long long start = time_of(local, "primary_start_timeout", 300);

    pgv_buf_printf(
        b,
        "With ttl %lld s, loop_wait %lld s, retry_timeout %lld s and "
        "primary_start_timeout %lld s, at worst:\n"
        "  a node is lost: its lease ends after %lld s, then the others elect\n"
        "  the store is silent: the primary is stopped 3 s before its lease ends, at the "
        "earliest %lld s after the silence began\n"
        "  the primary crashes: it may recover for %lld s before the key is given away\n",
        ttl, wait, retry, start, ttl, ttl > wait + 3 ? ttl - wait - 3 : 0, start);
}

bool agent_options_markdown(struct pgv_buf *b)
{
    static const char *const wheres[] = { "local", "dynamic", "both" };
    static const char *const applies[] = { "reload", "restart of the agent",
                                           "reload or restart of PostgreSQL", "at bootstrap",
                                           "accepted, no effect" };

    pgv_buf_puts(
        b, "# Configuration reference\n\n"
           "Generated from `agent/options.def`, which the validator follows, too; do not edit.\n\n"
           "| option | default | unit | environment | where | applied by | meaning |\n"
           "|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < COUNT(options); i++) {
        const struct option *o = &options[i];

        pgv_buf_printf(b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", o->path, o->standard, o->unit,
                       o->env, wheres[o->where], applies[o->applied], o->about);
    }
    return !b->failed;
}

int agent_validate_main(const char *path, bool print, bool ignore_listen_port)
{
    struct pgv_config_env env = { 0 };
    struct pgv_config config = { 0 };
    struct agent_findings f;
    struct pgv_error err = { 0 };
    struct pgv_buf text;
    int rc = 1;

    agent_findings_init(&f);
    pgv_buf_init(&text, AGENT_FINDINGS_BYTES_MAX * 4);
    if (!pgv_config_env_take(&env, &err) || !pgv_config_load_lenient(path, &env, &config, &err) ||
        !agent_validate(config.root, !ignore_listen_port, &f, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        goto out;
    }
    fputs(pgv_buf_cstr(&f.errors), stderr);
    if (f.warnings_n)
        fprintf(stderr, "Warnings:\n%s", pgv_buf_cstr(&f.warnings));
    if (f.errors_n)
        goto out;
    agent_validate_times(config.root, &text);
    fputs(pgv_buf_cstr(&text), stderr);
    pgv_buf_reset(&text);
    if (print) {
        if (!pgv_yaml_write(&text, config.root)) {
            fprintf(stderr, "no memory to print the configuration\n");
            goto out;
        }
        fputs(pgv_buf_cstr(&text), stdout);
    }
    rc = 0;
out:
    pgv_buf_done(&text);
    agent_findings_done(&f);
    pgv_config_done(&config);
    pgv_config_env_done(&env);
    return rc;
}
