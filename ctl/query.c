/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/query.c - query: run SQL on a member, once or again and again.
 *
 * That there is nobody to ask, or that the server refuses, is an answer like any other: a row of
 * two values without names, and exit status 0. Source: Patroni 4.1, ctl.query_member().
 */
#include "base/clock.h"
#include "base/unicode.h"
#include "ctl/commands.h"
#include "ctl/members.h"
#include "ctl/prompt.h"
#include "ctl/schedule.h"
#include "ctl/sql.h"
#include "ctl/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/banned.h"

#define SQL_BYTES_MAX (16u << 20)

struct query {
    struct ctl *c;
    struct ctl_cluster *k;
    const char *sql, *member, *role; /* the latter two NULL: not asked for */
    const char *delimiter;
    bool shown; /* an unknown format shows nothing */
    enum ctl_format format;
    struct ctl_sql_target target;
    char host[PGV_URL_BYTES], password[CTL_ANSWER_BYTES];
};

static bool parse_format(const char *name, enum ctl_format *ret)
{
    if (!name || strcmp(name, "topology") == 0) {
        *ret = name ? CTL_TOPOLOGY : CTL_TSV;
        return true;
    }
    *ret = ctl_format_parse(name);
    return *ret != CTL_PRETTY || strcmp(name, "pretty") == 0;
}

/** True: as the role says, or the role says nothing about it. */
static bool check_recovery(struct query *q, PGconn *conn, struct ctl_sql_result *result,
                           bool *ret_right, struct ctl_sql_refusal *refusal, struct pgv_error *err)
{
    enum ctl_role role = ctl_role_parse(q->role, CTL_ROLE_LEADER);
    bool in_recovery;

    *ret_right = true;
    if (role == CTL_ROLE_LEADER || role == CTL_ROLE_ANY)
        return true;
    if (!ctl_sql_run(q->c, conn, "SELECT pg_catalog.pg_is_in_recovery()", result, refusal, err))
        return false;
    if (!refusal->given) {
        in_recovery = pgv_truthy(pgv_value_first(pgv_value_first(result->rows)));
        *ret_right = in_recovery == (role != CTL_ROLE_PRIMARY);
    }
    return true;
}

static void refuse_nobody(const struct query *q, struct ctl_sql_refusal *ret)
{
    ret->given = true;
    if (q->member)
        snprintf(ret->text, sizeof(ret->text), "No connection to member %s is available",
                 q->member);
    else if (q->role)
        snprintf(ret->text, sizeof(ret->text), "No connection to role '%s' is available", q->role);
    else
        snprintf(ret->text, sizeof(ret->text), "No connection is available");
}

/** Choose, connect, run. True: @result or @refusal. */
static bool ask_member(struct query *q, struct ctl_sql_result *result,
                       struct ctl_sql_refusal *refusal, struct pgv_error *err)
{
    const struct dcs_member *member = ctl_find_member(q->k, q->member, q->role);
    char said[CTL_SQL_TEXT_BYTES];
    PGconn *conn = NULL;
    bool ok = true, right = false;

    if (!member) {
        refuse_nobody(q, refusal);
        return true;
    }
    if (!dcs_conn_url_parse(member->conn_url, q->host, sizeof(q->host), &q->target.port, NULL, 0))
        return pgv_fail(err, PGV_EINVALID, "member %s does not tell where its PostgreSQL is",
                        member->name);
    q->target.host = q->host;
    if (!ctl_sql_connect(q->c, &q->target, &conn, refusal, err))
        return false;
    if (!refusal->given) {
        ok = check_recovery(q, conn, result, &right, refusal, err);
        if (ok && right && !refusal->given)
            ok = ctl_sql_run(q->c, conn, q->sql, result, refusal, err);
        PQfinish(conn);
    }
    if (ok && refusal->given) {
        pgv_copy_cut(said, sizeof(said), pgv_str(refusal->text));
        snprintf(refusal->text, sizeof(refusal->text), "ERROR, SQLSTATE: %.*s",
                 (int)sizeof(refusal->text) - 20, said);
    } else if (ok && !right) {
        refuse_nobody(q, refusal);
    }
    return ok;
}

/** The row that stands for a failure. */
static bool make_refusal_rows(struct pgv_arena *a, struct ctl_sheet *s, const char *text)
{
    struct pgv_value *row;
    char stamp[CTL_STAMP_BYTES];

    pgv_arena_reset(a);
    ctl_stamp(pgv_wall_us(), 0, stamp);
    s->n_columns = 2;
    s->rows = pgv_new(a, PGV_LIST);
    row = pgv_list_add(s->rows, pgv_new(a, PGV_LIST));
    return pgv_list_add(row, pgv_new_string(a, pgv_str(stamp))) &&
           pgv_list_add(row, pgv_new_string(a, pgv_str(text)));
}

static bool make_columns(struct pgv_arena *a, struct ctl_sheet *s,
                         const struct ctl_sql_result *result)
{
    struct ctl_column *columns;

    s->n_columns = result->n_columns;
    s->rows = result->rows;
    columns = pgv_arena_alloc(a, (s->n_columns + 1) * sizeof(*columns));
    for (size_t i = 0; columns && i < s->n_columns; i++)
        columns[i].name = result->names[i];
    s->columns = columns;
    return columns != NULL;
}

static bool print_once(struct query *q, struct pgv_error *err)
{
    struct ctl_sql_refusal refusal = { 0 };
    struct pgv_arena arena;
    struct ctl_sql_result result = { .arena = &arena };
    struct ctl_sheet sheet = { .arena = &arena, .delimiter = q->delimiter };
    struct pgv_buf b;
    bool ok;

    pgv_arena_init(&arena, CTL_ARENA_BYTES_MAX);
    pgv_buf_init(&b, CTL_OUTPUT_BYTES_MAX);
    ok = ask_member(q, &result, &refusal, err);
    if (ok && q->shown) {
        ok = refusal.given ? make_refusal_rows(&arena, &sheet, refusal.text)
                           : make_columns(&arena, &sheet, &result);
        ok = (ok && ctl_sheet_write(&b, &sheet, q->format)) ||
             (arena.over || b.n > CTL_OUTPUT_BYTES_MAX / 2
                  ? pgv_fail(err, PGV_EINVALID, "the result is too large to be shown")
                  : ctl_out_of_memory(err));
        if (ok)
            ctl_print_buf(q->c, &b);
    }
    pgv_buf_done(&b);
    pgv_arena_done(&arena);
    return ok;
}

/** The statements, from a file or standard input; in @b. */
static bool read_file(struct ctl *c, const char *path, struct pgv_buf *b, struct pgv_error *err)
{
    char piece[4096];
    ssize_t got;
    int fd;

    if (strcmp(path, "-") == 0)
        return ctl_read_input(c, b, err);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return pgv_fail_sys(err, errno, "cannot read '%s'", path);
    do {
        got = read(fd, piece, sizeof(piece));
    } while (got > 0 && pgv_buf_append(b, piece, (size_t)got));
    if (got < 0)
        pgv_fail_sys(err, errno, "cannot read '%s'", path);
    else if (got > 0)
        pgv_fail(err, PGV_EINVALID, "'%s' is too long", path);
    close(fd);
    return got == 0;
}

static bool is_text(struct pgv_str s)
{
    while (s.n > 0) {
        const char *before = s.p;
        uint32_t c = pgv_utf8_next(&s);

        if (c == 0 || (c == PGV_UTF8_BAD && memcmp(before, "\xef\xbf\xbd", 3) != 0))
            return false;
    }
    return true;
}

/** Sees to what was given on the command line, before the store is asked. */
static bool prepare(struct query *q, const struct ctl_args *args, struct pgv_buf *sql,
                    struct pgv_error *err)
{
    const char *file = ctl_text(args, "--file"), *command = ctl_text(args, "--command");

    if (file && command)
        return pgv_fail(err, PGV_EINVALID, "--file and --command are mutually exclusive options");
    if (!file && !command)
        return pgv_fail(err, PGV_EINVALID, "You need to specify either --command or --file");
    if (file && !read_file(q->c, file, sql, err))
        return false;
    if (file && !is_text(pgv_buf_view(sql)))
        return pgv_fail(err, PGV_EINVALID, "'%s' is no UTF-8 text", file);
    q->sql = file ? pgv_buf_cstr(sql) : command;
    q->member = ctl_text(args, "--member");
    q->role = ctl_text(args, "--role");
    q->delimiter = ctl_text(args, "--delimiter");
    q->shown = parse_format(ctl_text(args, "--format"), &q->format);
    q->target.user = ctl_text(args, "--username");
    q->target.dbname = ctl_text(args, "--dbname");
    if (ctl_flag(args, "--password")) {
        if (!ctl_ask_secret(q->c, "Password", q->password, err))
            return false;
        q->target.password = q->password;
    }
    return true;
}

static bool run_query(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    struct ctl_cluster k = { 0 };
    struct query q = { .c = c, .k = &k };
    struct ctl_watch watch;
    const char *name;
    struct pgv_buf sql;
    bool ok;

    pgv_buf_init(&sql, SQL_BYTES_MAX);
    ok = prepare(&q, args, &sql, err) && ctl_name_of(c, args, &name, err) &&
         ctl_cluster_open(c, name, ctl_group_of(c, args, false), &k, err);
    if (ok && q.member && q.role)
        ok = pgv_fail(err, PGV_EINVALID, "--role and --member are mutually exclusive options");
    ctl_watch_begin(&watch, args);
    while (ok && print_once(&q, err)) {
        if (watch.seconds == 0)
            goto out;
        ok = ctl_watch_wait(c, &watch, err);
    }
    ok = false;
out:
    ctl_cluster_close(&k);
    explicit_bzero(q.password, sizeof(q.password));
    pgv_buf_done(&sql);
    return ok;
}

const struct ctl_command ctl_query_command = {
    .name = "query",
    .help = "Query a Patroni PostgreSQL member",
    .options = { CTL_OPTION_GROUP,
                 { .names = { "--format" },
                   .kind = CTL_TEXT,
                   .help = "Output format (pretty, tsv, json, yaml)" },
                 { .names = { "--file", "-f" },
                   .kind = CTL_FILE,
                   .help = "Execute the SQL commands from this file" },
                 { .names = { "--password" }, .kind = CTL_FLAG, .help = "force password prompt" },
                 { .names = { "-U", "--username" },
                   .kind = CTL_TEXT,
                   .help = "database user name" },
                 CTL_OPTION_WATCH,
                 CTL_OPTION_WATCH_SECONDS,
                 CTL_OPTION_ROLE("The role of the query"),
                 { .names = { "--member", "-m" },
                   .kind = CTL_TEXT,
                   .help = "Query a specific member" },
                 { .names = { "--delimiter" }, .kind = CTL_TEXT, .help = "The column delimiter" },
                 { .names = { "--command", "-c" },
                   .kind = CTL_TEXT,
                   .help = "The SQL commands to execute" },
                 { .names = { "-d", "--dbname" },
                   .kind = CTL_TEXT,
                   .help = "database name to connect to" } },
    .arguments = { { .name = "CLUSTER_NAME" } },
    .run = run_query,
};
