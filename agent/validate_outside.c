/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/validate_outside.c - --validate-config: what needs a look at the network or at files.
 *
 * This is a process of its own that ends when it has spoken, not the agent: it may wait, though no
 * longer than the limits below for each address. Names are asked for with getaddrinfo().
 */
#include "agent/programs.h"
#include "agent/validate_private.h"

#include "base/file.h"
#include "pg/pgdata.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define CONNECT_MS 2000
#define HOSTS_BYTES 1024
#define FILE_BYTES 1024
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- addresses ---------------------------------------------------------------------------------
 */

/*
 * 'host:port' as Patroni takes it apart (utils.split_host_port()): at the last colon, port 1 when
 * there is none; brackets go only when a colon is left. False: the port is no number.
 */
static bool split_address(struct pgv_str s, char *host, size_t host_bytes, int *port)
{
    const char *colon = s.n ? memrchr(s.p, ':', s.n) : NULL;
    struct pgv_str head = s, tail;
    char digits[12];
    char *end;
    long n;

    *port = 1;
    if (colon) {
        head.n = (size_t)(colon - s.p);
        tail = pgv_str_trim((struct pgv_str){ colon + 1, s.n - head.n - 1 });
        if (tail.n == 0 || !pgv_copy(digits, sizeof(digits), tail))
            return false;
        n = strtol(digits, &end, 10);
        if (*end || n < INT32_MIN || n > INT32_MAX)
            return false;
        *port = (int)n;
    }
    return pgv_copy(host, host_bytes, head);
}

/* The next of several hosts, without blanks and brackets. */
static bool next_host(struct pgv_str *rest, char *host, size_t host_bytes)
{
    struct pgv_str head, tail = { 0 };
    bool more = pgv_str_cut(*rest, ',', &head, &tail);

    if (!more)
        head = *rest;
    *rest = more ? tail : (struct pgv_str){ 0 };
    head = pgv_str_trim(head);
    if (head.n >= 2 && head.p[0] == '[' && head.p[head.n - 1] == ']') {
        head.p++;
        head.n -= 2;
    }
    return pgv_copy(host, host_bytes, head);
}

enum answer { ACCEPTS, REFUSES, NO_SUCH_HOST };

/* Does something accept connections there? @why: the resolver's words, when it knows no such host.
 */
static enum answer ask(const char *host, int port, char *why, size_t why_bytes)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list = NULL;
    struct pollfd p = { .events = POLLOUT };
    enum answer answer = REFUSES;
    socklen_t n = sizeof(int);
    int rc = getaddrinfo(host, NULL, &hints, &list), soerror = 0;

    if (rc != 0) {
        (void)snprintf(why, why_bytes, INVALID "[Errno %d] %s", rc, gai_strerror(rc));
        return NO_SUCH_HOST;
    }
    if (list->ai_family == AF_INET)
        ((struct sockaddr_in *)(void *)list->ai_addr)->sin_port = htons((uint16_t)port);
    else if (list->ai_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)list->ai_addr)->sin6_port = htons((uint16_t)port);
    p.fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p.fd >= 0) {
        if (connect(p.fd, list->ai_addr, list->ai_addrlen) == 0)
            answer = ACCEPTS;
        else if (errno == EINPROGRESS && poll(&p, 1, CONNECT_MS) == 1 &&
                 getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &soerror, &n) == 0 && soerror == 0)
            answer = ACCEPTS;
        close(p.fd);
    }
    freeaddrinfo(list);
    return answer;
}

/* An address of ours: one host or several, '*' alone; nobody may listen there yet. */
static void check_listen(struct validate_check *k, const struct pgv_value *v, const char *hosts,
                         int port)
{
    struct pgv_str rest = pgv_str(strcmp(hosts, "*") == 0 ? "0.0.0.0,::" : hosts);
    bool several = k->o->kind == LISTENS || strcmp(hosts, "*") == 0;
    char host[HOSTS_BYTES], what[256];

    if (k->o->kind == LISTENS && strcmp(hosts, "*") != 0 && strchr(hosts, '*')) {
        validate_bad(k, v, INVALID "expecting '*' alone", "'*' listens on all addresses");
        return;
    }
    do {
        if (several ? !next_host(&rest, host, sizeof(host)) : !pgv_copyz(host, sizeof(host), hosts))
            break;
        if (!several && host[0] == '[' && host[strlen(host) - 1] == ']')
            (void)next_host(&rest, host, sizeof(host));
        if (!(k->look & AGENT_LOOK_PORTS) && !(k->look & AGENT_LOOK_NAMES))
            continue;
        switch (ask(host, port, what, sizeof(what))) {
        case NO_SUCH_HOST:
            validate_bad(k, v, what, "an address of this machine, or a name of it");
            return;
        case REFUSES:
            break;
        case ACCEPTS:
            if (!(k->look & AGENT_LOOK_PORTS))
                break;
            (void)snprintf(what, sizeof(what), INVALID "Port %d is already in use.", port);
            validate_bad(k, v, what, "-i passes over this while the agent runs");
            return;
        }
    } while (several && rest.n > 0);
}

/* What is wrong with 'host:port' of a store; "" nothing. */
static void store_complaint(const struct validate_check *k, struct pgv_str text, char *ret,
                            size_t ret_bytes)
{
    char host[HOSTS_BYTES], bare[HOSTS_BYTES];
    struct pgv_str rest;
    int port;

    ret[0] = '\0';
    if (!split_address(text, host, sizeof(host), &port) || port < 0 || port > 65535) {
        (void)snprintf(ret, ret_bytes, INVALID "contains a wrong value");
        return;
    }
    rest = pgv_str(host);
    if (!(k->look & AGENT_LOOK_NAMES) || !next_host(&rest, bare, sizeof(bare)))
        return;
    if (strcmp(bare, "*") == 0 || ask(rest.n ? host : bare, port, ret, ret_bytes) == REFUSES)
        (void)snprintf(ret, ret_bytes, INVALID "%.*s is not reachable",
                       (int)(text.n < 512 ? text.n : 512), text.p);
}

#define STORE_HINT "host:port of a server that is running; the port from 1 to 65535"

void validate_address(struct validate_check *k, const struct pgv_value *v)
{
    static const char *const ours[] = { "127.0.0.1", "0.0.0.0", "*", "::1", "localhost" };
    char hosts[HOSTS_BYTES], host[HOSTS_BYTES], what[1024];
    bool soft = k->soft;
    struct pgv_str rest;
    int port;

    if (!pgv_is(v, PGV_STRING)) {
        validate_bad(k, v, "is not a string", "host:port is expected");
        return;
    }
    if (k->o->kind == REACH) {
        store_complaint(k, pgv_string(v), what, sizeof(what));
        if (what[0])
            validate_bad(k, v, what, STORE_HINT);
        return;
    }
    if (!split_address(pgv_string(v), hosts, sizeof(hosts), &port)) {
        validate_bad(k, v, INVALID "contains a wrong value",
                     "host:port is expected, the port from 1 to 65535");
        return;
    }
    if (port < 1 || port > 65535) {
        /* Patroni does not look at the port of an address it does not listen on. */
        k->soft = k->soft || k->o->kind == CONNECT;
        validate_bad(k, v, INVALID "contains a wrong value", "the port is from 1 to 65535");
        k->soft = soft;
        if (k->o->kind != CONNECT)
            return;
    }
    if (k->o->kind != CONNECT) {
        check_listen(k, v, hosts, port);
        return;
    }
    rest = pgv_str(hosts);
    if (!next_host(&rest, host, sizeof(host)) || rest.n > 0)
        return;
    for (size_t i = 0; i < COUNT(ours); i++) {
        if (strcmp(host, ours[i]) == 0) {
            validate_bad(k, v,
                         INVALID "must not contain \"127.0.0.1\", \"0.0.0.0\", \"*\", "
                                 "\"::1\", \"localhost\"",
                         "other nodes must reach this one there");
            return;
        }
    }
    if (!host[0])
        validate_say(k->f, false, k->path, v, v, "names no host", "other nodes need one");
}

void validate_hosts(struct validate_check *k, const struct pgv_value *v)
{
    char what[1024];
    unsigned i = 0;

    if (k->o->kind == ADDRS && !pgv_is(v, PGV_LIST)) {
        validate_bad(k, v, "is not an array", "a list of host:port");
        return;
    }
    if (pgv_is(v, PGV_STRING)) {
        struct pgv_str rest = pgv_string(v), head, tail;

        do {
            tail = (struct pgv_str){ 0 };
            if (!pgv_str_cut(rest, ',', &head, &tail))
                head = rest;
            store_complaint(k, pgv_str_trim(head), what, sizeof(what));
            if (what[0]) {
                validate_bad(k, v, what, STORE_HINT);
                return;
            }
            rest = tail;
        } while (rest.n > 0);
        return;
    }
    if (!pgv_is(v, PGV_LIST)) {
        validate_bad(k, v, "is not a string", "a text with commas, or a list of host:port");
        validate_bad(k, v, "is not a list", "a list of host:port, or a text with commas");
        return;
    }
    if (!v->u.c.first && k->o->kind == HOSTS)
        validate_bad(k, v, "is an empty list", "host:port is expected");
    PGV_EACH(item, v)
    {
        if (!pgv_is(item, PGV_STRING))
            (void)snprintf(what, sizeof(what), INVALID "is not a string");
        else
            store_complaint(k, pgv_string(item), what, sizeof(what));
        if (what[0] && k->o->kind == ADDRS) { /* Patroni looks at this list as one value */
            validate_bad(k, v, what, STORE_HINT);
            return;
        }
        if (what[0])
            validate_bad_item(k, item, i, "", what, STORE_HINT);
        i++;
    }
}

/* ---- programs ----------------------------------------------------------------------------------
 */

static const char *bin_dir_of(const struct validate_check *k)
{
    const char *dir = pgv_stringz(pgv_path(k->local, "postgresql.bin_dir"));

    return dir ? dir : "";
}

static const char *bin_name_of(const struct validate_check *k, const char *program)
{
    const char *name = pgv_stringz(pgv_get(pgv_path(k->local, "postgresql.bin_name"), program));

    return name ? name : program;
}

void validate_bin(struct validate_check *k, const struct pgv_value *v)
{
    const char *name = pgv_stringz(v), *dir = bin_dir_of(k);
    char file[FILE_BYTES], what[FILE_BYTES];

    if (!name) {
        validate_bad(k, v, "is not a string", "put it into quotes");
    } else if (!*name) {
        validate_bad(k, v, INVALID "is an empty string", "the name of a program");
    } else if ((k->look & AGENT_LOOK_FILES) && !program_find(name, dir, file, sizeof(file))) {
        (void)snprintf(what, sizeof(what), INVALID "does not contain '%.200s' in '%.700s'", name,
                       *dir ? dir : "$PATH");
        validate_bad(k, v, what, "the name of a program there");
    }
}

void validate_bin_dir(struct validate_check *k, const struct pgv_value *v)
{
    static const char *const programs[] = { "pg_ctl",        "initdb",   "pg_controldata",
                                            "pg_basebackup", "postgres", "pg_isready" };
    const struct pgv_value *at = v ? v : pgv_get(k->local, "postgresql");
    const char *dir = v ? pgv_stringz(v) : "";
    char file[FILE_BYTES], what[FILE_BYTES];
    struct stat st;

    if (!dir) { /* Patroni passes over it */
        validate_say(k->f, false, k->path, v, v, "is not a string", "put it into quotes");
        return;
    }
    if (!(k->look & AGENT_LOOK_FILES))
        return;
    if (*dir && (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))) {
        (void)snprintf(what, sizeof(what),
                       access(dir, F_OK) != 0 ? "Directory '%.900s' does not exist."
                                              : "'%.900s' is not a directory.",
                       dir);
        validate_say(k->f, !k->soft, k->path, at, NULL, what,
                     "the folder of PostgreSQL's programs");
        return;
    }
    for (size_t i = 0; i < COUNT(programs); i++) {
        const char *name = bin_name_of(k, programs[i]);

        if (program_find(name, dir, file, sizeof(file)))
            continue;
        (void)snprintf(what, sizeof(what), "does not contain '%.200s' in '%.700s'", name,
                       *dir ? dir : "$PATH");
        validate_say(k->f, !k->soft, k->path, at, NULL, what,
                     "the folder of PostgreSQL's programs; bin_name gives them other names");
    }
}

/* '16' or '9.6' of 'postgres (PostgreSQL) 16.4 (Debian)': the third word, less its last number. */
static bool major_version(const struct validate_check *k, char *ret, size_t ret_bytes)
{
    char file[FILE_BYTES], text[256];
    struct pgv_str rest, word = { 0 }, tail;
    size_t n = 0;
    char *dot;

    if (!program_find(bin_name_of(k, "postgres"), bin_dir_of(k), file, sizeof(file)) ||
        !program_version(file, text, sizeof(text)))
        return false;
    rest = pgv_str(text);
    for (int i = 0; i < 3; i++) {
        tail = (struct pgv_str){ 0 };
        if (!pgv_str_cut(rest, ' ', &word, &tail))
            word = rest;
        rest = tail;
    }
    while (n < word.n && (word.p[n] == '.' || (word.p[n] >= '0' && word.p[n] <= '9')))
        n++;
    if (n == 0 || !pgv_copy(ret, ret_bytes, (struct pgv_str){ word.p, n }))
        return false;
    dot = strrchr(ret, '.');
    if (dot && (strncmp(ret, "9.", 2) != 0 || strchr(ret, '.') != dot))
        *dot = '\0';
    return true;
}

/* ---- the data directory ------------------------------------------------------------------------
 */

void validate_data_dir(struct validate_check *k, const struct pgv_value *v)
{
    const char *dir = pgv_stringz(v), *wal;
    char file[FILE_BYTES], version[32], ours[32], what[256], why[96];
    struct pgv_buf text;
    struct pgv_error err;
    struct stat st;
    bool read;

    if (!dir) {
        validate_bad(k, v, "is not a string", "put it into quotes");
        return;
    }
    if (!*dir) {
        validate_bad(k, v, INVALID "is an empty string", "a path");
        return;
    }
    if (!(k->look & AGENT_LOOK_FILES) || stat(dir, &st) != 0)
        return;
    if (!S_ISDIR(st.st_mode)) {
        validate_bad(k, v, INVALID "is not a directory", "a folder");
        return;
    }
    if (access(dir, R_OK | X_OK) != 0) {
        validate_say(k->f, false, k->path, v, v, "cannot be looked into", strerror(errno));
        return;
    }
    if (pgdata_state(dir, why) != PM_DIR_OK)
        return;
    (void)snprintf(file, sizeof(file), "%.1000s/PG_VERSION", dir);
    pgv_buf_init(&text, sizeof(version));
    read = pgv_file_read(file, &text, &err) &&
           pgv_copy(version, sizeof(version), pgv_str_trim(pgv_buf_view(&text)));
    pgv_buf_done(&text);
    if (!read) {
        validate_bad(k, v, INVALID "doesn't look like a valid data directory",
                     "empty, or made by initdb");
        return;
    }
    wal = strtod(version, NULL) >= 10 ? "pg_wal" : "pg_xlog";
    (void)snprintf(file, sizeof(file), "%.1000s/%s", dir, wal);
    if (stat(file, &st) != 0 || !S_ISDIR(st.st_mode)) {
        (void)snprintf(what, sizeof(what),
                       INVALID "data dir for the cluster is not empty, but doesn't contain \"%s\" "
                               "directory",
                       wal);
        validate_bad(k, v, what, "the WAL directory is lost, or this is something else");
        return;
    }
    if (!major_version(k, ours, sizeof(ours)))
        (void)snprintf(what, sizeof(what), INVALID "Failed to get postgres version");
    else if (strcmp(version, ours) != 0)
        (void)snprintf(what, sizeof(what),
                       INVALID "data_dir directory postgresql version (%s) doesn't match with "
                               "'postgres --version' output (%s)",
                       version, ours);
    else
        return;
    validate_bad(k, v, what, "bin_dir must be the one of the cluster's version");
}
