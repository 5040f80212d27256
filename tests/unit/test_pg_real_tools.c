/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_pg_real_tools.c - tools that talk to a server, against a real PostgreSQL: slots,
 * roles, the table of parameters, questions to another node, rewinding with a missing segment.
 *
 * One primary lives through the whole program. Its log goes to a file, with all statements in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg_support.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/parse.h"
#include "pg/pgboot.h"
#include "pg/pgremote.h"
#include "pg/pgrewind.h"
#include "pg/pgslots.h"
#include "pg/process.h"

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct pg_node primary;
static struct pgsql sql;
static struct pgconf *conf;
static struct pgconf_address addr;
static struct pgv_arena arena;
static bool have_postgres, ended;

#define NEED_POSTGRES()                                                                            \
    do {                                                                                           \
        (void)state;                                                                               \
        if (!have_postgres)                                                                        \
            skip();                                                                                \
        ended = false;                                                                             \
    } while (0)

static void until_ended(void)
{
    uint64_t until = pgv_clock_ms() + 60000;

    while (!ended && pgv_clock_ms() < until)
        (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
    assert_true(ended);
}

static struct pgv_value *yaml(const char *text)
{
    struct pgv_error err;
    struct pgv_value *v;

    if (!pgv_yaml_parse(&arena, "test", pgv_str(text), &v, &err))
        fail_msg("%s", err.msg);
    return v;
}

static void check_sql(const char *statement, const char *want)
{
    char text[256];

    pg_sql(&primary, statement, text);
    if (strcmp(text, want) != 0)
        fail_msg("%s: '%s' instead of '%s'", statement, text, want);
}

/* ------------------------------------------------------------------------------- the table */

static unsigned guc_rows, guc_wrong;

static const char *type_name(const struct pgguc_rule *rule)
{
    static const char *const names[] = {
        [PGGUC_BOOL] = "bool", [PGGUC_INTEGER] = "integer", [PGGUC_REAL] = "real",
        [PGGUC_ENUM] = "enum", [PGGUC_ENUM_BOOL] = "enum",  [PGGUC_STRING] = "string"
    };

    return names[rule->type];
}

static bool same_bound(struct pgv_str text, double bound)
{
    double have;

    /* the largest double is written with fewer digits in the table */
    return text.n == 0 ||
           (pgv_parse_real(text, NULL, &have) && have <= bound * 1.00001 + 1e-9 &&
            have >= bound * 0.99999 - 1e-9) ||
           (have < 0 && have == bound);
}

/** Every word of @a, separated by '|', is one of @b, or says yes or no if @or_bool. */
static bool has_words(struct pgv_str a, struct pgv_str b, bool or_bool)
{
    while (a.n > 0) {
        struct pgv_str word, rest = b, other;
        bool found = false, yes;

        (void)pgv_str_cut(a, '|', &word, &a);
        while (!found && rest.n > 0) {
            (void)pgv_str_cut(rest, '|', &other, &rest);
            found = pgv_str_eq(word, other);
        }
        if (!found && !(or_bool && pgv_parse_bool(word, &yes)))
            return false;
    }
    return true;
}

static void on_settings(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct pgv_buf value;

    (void)q;
    ended = true;
    if (err) {
        print_message("%s\n", err->msg);
        return;
    }
    pgv_buf_init(&value, 65536);
    guc_rows = (unsigned)PQntuples(res);
    for (int i = 0; i < PQntuples(res); i++) {
        struct pgv_str name = pgsql_field(res, i, 0), setting = pgsql_field(res, i, 6);
        bool recovery = pgguc_is_recovery(name);
        int version = recovery ? primary.pm.facts.major_version : sql.server_version;
        int from, till;
        struct pgguc_rule rule;

        if (!(recovery ? pgguc_find_recovery(name, version, &rule)
                       : pgguc_find(name, version, &rule)) ||
            !pgv_str_eqz(pgsql_field(res, i, 1), type_name(&rule)) ||
            !pgv_str_eqz(pgsql_field(res, i, 2), rule.unit ? rule.unit : "") ||
            ((rule.type == PGGUC_INTEGER || rule.type == PGGUC_REAL) &&
             (!same_bound(pgsql_field(res, i, 3), rule.min) ||
              !same_bound(pgsql_field(res, i, 4), rule.max))) ||
            !has_words(pgsql_field(res, i, 5), pgv_str(rule.values),
                       rule.type == PGGUC_ENUM_BOOL) ||
            !has_words(pgv_str(rule.values), pgsql_field(res, i, 5), false)) {
            guc_wrong++;
            print_message("the table does not agree on %s\n", name.p);
        } else if (!pgguc_accept(recovery ? PGGUC_RECOVERY : PGGUC_GENERAL, name.p, setting.p,
                                 version, NULL, &value) ||
                   !pgv_str_eq(pgv_buf_view(&value), setting)) {
            guc_wrong++;
            print_message("the server's own %s=%s is refused\n", name.p, setting.p);
        } else if (!recovery &&
                   (pgguc_needs_restart(name, &from, &till) && version >= from && version < till) !=
                       pgv_str_eqz(pgsql_field(res, i, 7), "postmaster")) {
            guc_wrong++;
            print_message("the table does not agree on when %s needs a restart\n", name.p);
        }
    }
    pgv_buf_done(&value);
}

static void test_guc__the_table_agrees_with_the_server(void **state)
{
    struct pgsql_query q = {
        .sql = "SELECT name, vartype, coalesce(unit, ''), coalesce(min_val, ''),"
               " coalesce(max_val, ''), coalesce(lower(array_to_string(enumvals, '|')), ''),"
               " coalesce(setting, ''), context FROM pg_catalog.pg_settings"
               " WHERE context <> 'internal' AND name NOT LIKE '%.%'"
               " AND name <> 'recovery_target'" /* an enum in all but name */
               /* Debian's own: of 13's the table knows nothing, there the binary's list decides */
               " AND (name <> 'extension_destdir' OR"
               " pg_catalog.current_setting('server_version_num')::int >= 140000)",
        .deadline_ms = pgv_clock_ms() + 10000,
    };

    NEED_POSTGRES();
    pgsql_submit(&sql, &q, on_settings);
    until_ended();
    assert_true(guc_rows > 300);
    assert_int_equal(guc_wrong, 0);
}

/* --------------------------------------------------------------------------------------- slots */

static struct pgslots slots;
static bool slots_ok;

static void on_slots(struct pgslots *s, bool ok)
{
    assert_false(s->busy);
    slots_ok = ok;
    ended = true;
}

static void sync_slots(const struct postmaster_slot *wanted, unsigned n,
                       const struct pgslots_ignore *ignore, unsigned n_ignore, bool drop_others)
{
    struct pgslots_args args = { .version = primary.pm.facts.server_version,
                                 .wanted = wanted,
                                 .n_wanted = n,
                                 .ignore = ignore,
                                 .n_ignore = n_ignore,
                                 .drop_others = drop_others,
                                 .clean_xmin = true };

    ended = false;
    assert_true(pgslots_sync(&slots, &args, on_slots));
    assert_false(ended);
    assert_false(pgslots_sync(&slots, &args, on_slots)); /* one at a time */
    until_ended();
}

static const struct pgslots_row *slot(const char *name)
{
    for (unsigned i = 0; i < slots.n; i++)
        if (strcmp(slots.v[i].state.name, name) == 0)
            return &slots.v[i];
    return NULL;
}

static void test_slots__are_made_kept_and_dropped(void **state)
{
    static const struct postmaster_slot two[] = { { "n2", 0, 1 }, { "n3", 0, 0 } };
    static const struct pgslots_ignore mine = { .name = "mine" };

    NEED_POSTGRES();
    check_sql("SELECT count(*) FROM (SELECT pg_create_physical_replication_slot('mine'),"
              " pg_create_physical_replication_slot('old')) x",
              "1");
    sync_slots(two, 2, &mine, 1, false);
    assert_true(slots_ok && slots.loaded);
    assert_int_equal(slots.n, 4);
    assert_true(slot("n2")->state.physical && slot("n2")->has_lsn && slot("n2")->state.lsn > 0);
    sync_slots(two, 2, &mine, 1, true);
    assert_true(slots_ok);
    assert_null(slot("old"));
    assert_non_null(slot("mine"));
    sync_slots(two, 1, NULL, 0, true);
    assert_int_equal(slots.n, 1);
    check_sql("SELECT string_agg(slot_name, ',') FROM pg_replication_slots", "n2");
}

static void test_slots__advance_to_what_the_member_has(void **state)
{
    struct postmaster_slot wanted = { "n2", 0, 0 };
    uint64_t before;
    char lsn[256];

    NEED_POSTGRES();
    sync_slots(&wanted, 1, NULL, 0, true);
    before = slot("n2")->state.lsn;
    check_sql("CREATE TABLE moved AS SELECT generate_series(1, 1000) i; SELECT 1", "1");
    wanted.lsn = before | 0xfffff; /* of the same WAL nothing could go */
    sync_slots(&wanted, 1, NULL, 0, true);
    assert_true(slots_ok);
    assert_true(slot("n2")->state.lsn == before);
    check_sql("SELECT 1 FROM pg_switch_wal()", "1");
    check_sql("CREATE TABLE moved_on (); SELECT 1", "1");
    pg_sql(&primary, "SELECT pg_current_wal_flush_lsn()", lsn);
    assert_true(pgv_parse_lsn(pgv_str(lsn), &wanted.lsn));
    assert_true(wanted.lsn >> 20 > before >> 20);
    /* active somewhere else: not ours to move */
    wanted.expected_active = 1;
    sync_slots(&wanted, 1, NULL, 0, true);
    assert_true(slot("n2")->state.lsn == before);
    wanted.expected_active = 0;
    sync_slots(&wanted, 1, NULL, 0, true);
    assert_true(slots_ok);
    assert_true(slot("n2")->state.lsn == wanted.lsn);
    check_sql("SELECT restart_lsn = pg_current_wal_flush_lsn() OR restart_lsn IS NOT NULL FROM"
              " pg_replication_slots WHERE slot_name = 'n2'",
              "t");
}

static void test_slots__without_a_position_are_renewed(void **state)
{
    static const struct postmaster_slot wanted[] = { { "n2", 0, 0 }, { "bare", 0, 0 } };

    NEED_POSTGRES();
    check_sql("SELECT slot_name FROM pg_create_physical_replication_slot('bare')", "bare");
    sync_slots(wanted, 2, NULL, 0, true);
    assert_null(slot("bare"));
    sync_slots(wanted, 2, NULL, 0, true);
    assert_true(slot("bare")->has_lsn);
}

static void test_slots__logical_ones_are_left_alone(void **state)
{
    static const struct postmaster_slot wanted[] = { { "n2", 0, 0 } };
    static const struct postmaster_slot same_name[] = { { "n2", 0, 0 }, { "logical", 0, 0 } };

    NEED_POSTGRES();
    check_sql("SELECT slot_name FROM pg_create_logical_replication_slot('logical', 'pgoutput')",
              "logical");
    check_sql("SELECT slot_name FROM pg_create_physical_replication_slot('passing', false, true)",
              "passing");
    sync_slots(wanted, 1, NULL, 0, true);
    assert_true(slots_ok);
    assert_non_null(slot("logical"));
    assert_false(slot("logical")->state.physical);
    assert_string_equal(slot("logical")->plugin, "pgoutput");
    assert_string_equal(slot("logical")->database, "postgres");
    /* but the name of a member's slot is the member's */
    sync_slots(same_name, 2, NULL, 0, true);
    assert_true(slot("logical")->state.physical);
}

static void test_slots__in_use_cannot_be_dropped(void **state)
{
    static const struct postmaster_slot two[] = { { "n2", 0, 1 }, { "busy", 0, 1 } };
    char bin[300], port[16], dir[300];
    const char *words[] = { bin,        "-h", pg_site_dir(), "-p", port,   "-U",
                            "postgres", "-D", dir,           "-S", "busy", NULL };
    union {
        const char *const *in;
        char *const *out;
    } argv = { .in = words };
    uint64_t until = pgv_clock_ms() + 30000;
    char text[256] = "";
    pid_t pid;
    int status;

    NEED_POSTGRES();
    sync_slots(two, 2, NULL, 0, true);
    (void)snprintf(bin, sizeof(bin), "%s/pg_receivewal", pg_site_bin());
    (void)snprintf(port, sizeof(port), "%d", primary.port);
    (void)snprintf(dir, sizeof(dir), "%s/received", pg_site_dir());
    assert_true(pgv_mkdirs(dir, 0700, NULL));
    assert_int_equal(posix_spawn(&pid, bin, NULL, NULL, argv.out, environ), 0);
    while (strcmp(text, "t") != 0 && pgv_clock_ms() < until)
        pg_sql(&primary, "SELECT active FROM pg_replication_slots WHERE slot_name = 'busy'", text);
    assert_string_equal(text, "t");
    sync_slots(two, 1, NULL, 0, true);
    assert_false(slots_ok); /* it is said, and tried again next time */
    assert_non_null(slot("busy"));
    assert_int_equal(kill(pid, SIGINT), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    do
        sync_slots(two, 1, NULL, 0, true);
    while (slot("busy") && pgv_clock_ms() < until);
    assert_null(slot("busy"));
}

/* What the monitoring query brings along, for the next sync. */
static void take_slots(void)
{
    char column[PGSLOTS_SQL_BYTES], text[PGSLOTS_SQL_BYTES + 16], json[256];

    pgslots_sql(primary.pm.facts.server_version, column);
    (void)snprintf(text, sizeof(text), "SELECT %s", column);
    pg_sql(&primary, text, json);
    pgslots_take(&slots, pgv_str(json));
}

static void sync_at_once(const struct postmaster_slot *wanted, unsigned n)
{
    struct pgslots_args args = { .version = primary.pm.facts.server_version,
                                 .wanted = wanted,
                                 .n_wanted = n,
                                 .drop_others = true };

    ended = slots_ok = false;
    assert_true(pgslots_sync(&slots, &args, on_slots));
    assert_true(ended && slots_ok); /* nothing was asked, nor to be done, */
    assert_false(sql.connected);    /* so the connection may go */
}

static void test_slots__come_with_the_monitoring_query(void **state)
{
    static const struct postmaster_slot one[] = { { "n2", 0, 1 } };
    static const struct postmaster_slot two[] = { { "n2", 0, 1 }, { "n3", 0, 1 } };
    struct pgslots_row loaded;
    uint64_t stale_ms;

    NEED_POSTGRES();
    sync_slots(one, 1, NULL, 0, true);
    loaded = *slot("n2");
    slots.n = 0;
    take_slots();
    assert_int_equal(slots.n, 1);
    assert_memory_equal(slot("n2"), &loaded, sizeof(loaded));
    sync_at_once(one, 1);
    /* used once: the next one asks again, and sees what has changed */
    check_sql("SELECT pg_drop_replication_slot('n2') IS NOT NULL", "t");
    sync_slots(two, 2, NULL, 0, true);
    assert_true(slots_ok && slot("n2") && slot("n3"));
    /* what is missing is made, what is too much goes */
    take_slots();
    sync_slots(one, 1, NULL, 0, true);
    assert_true(slots_ok && slot("n2") && !slot("n3"));
    check_sql("SELECT string_agg(slot_name, ',') FROM pg_replication_slots", "n2");
    sync_slots(NULL, 0, NULL, 0, true);
    take_slots();
    assert_int_equal(slots.n, 0);
    sync_at_once(NULL, 0);
    /* old news and what cannot be read are not acted upon */
    take_slots();
    stale_ms = pgv_clock_ms() + 1100;
    while (pgv_clock_ms() < stale_ms)
        usleep(10000);
    check_sql("SELECT slot_name FROM pg_create_physical_replication_slot('old')", "old");
    sync_slots(NULL, 0, NULL, 0, true);
    check_sql("SELECT count(*) FROM pg_replication_slots", "0");
    take_slots();
    pgslots_take(&slots, PGV_STR("[["));
    check_sql("SELECT slot_name FROM pg_create_physical_replication_slot('old')", "old");
    sync_slots(NULL, 0, NULL, 0, true);
    check_sql("SELECT count(*) FROM pg_replication_slots", "0");
}

static void test_slots__canceled_and_refused(void **state)
{
    static const struct postmaster_slot bad[] = { { "Bad Name", 0, 0 },
                                                  { "n2", 0, 0 },
                                                  { "n4", 0, 0 } };
    struct pgslots_args args = { .version = 90300 };

    NEED_POSTGRES();
    assert_false(pgslots_sync(&slots, &args, on_slots)); /* 9.3 has none */
    /* one that the server refuses does not keep the others from being made */
    sync_slots(bad, 3, NULL, 0, true);
    assert_false(slots_ok);
    assert_non_null(slot("n4"));
    ended = false;
    args.version = primary.pm.facts.server_version;
    assert_true(pgslots_sync(&slots, &args, on_slots));
    pgslots_cancel(&slots);
    assert_false(ended);
    until_ended();
    assert_false(slots_ok || slots.loaded);
}

/* --------------------------------------------------------------------------------------- roles */

static enum pgboot_result post_result;
static char post_message[PGV_ERROR_MSG_BYTES];

static void on_post(struct pgboot_post *j, enum pgboot_result result, const char *message)
{
    assert_false(j->running);
    post_result = result;
    (void)snprintf(post_message, sizeof(post_message), "%s", message);
    ended = true;
}

static enum pgboot_result post(const char *authentication, const char *bootstrap)
{
    static struct pgboot_post j;
    struct pgconf *c;
    struct pgv_error err;
    char text[2048];

    (void)snprintf(text, sizeof(text),
                   "data_dir: %s\nbin_dir: %s\nlisten: 127.0.0.1:%d\nuse_unix_socket: true\n"
                   "pgpass: %s/post.pgpass\nparameters: {unix_socket_directories: %s}\n%s",
                   primary.data_dir, pg_site_bin(), primary.port, pg_site_dir(), pg_site_dir(),
                   authentication);
    assert_true(pgconf_new("n1", "test", yaml(text), &c, &err));
    assert_true(pgconf_resolve_address(c, &addr, NULL));
    ended = false;
    assert_true(pgboot_post_start(&j, pg_site_loop(), c, &addr, NULL, yaml(bootstrap),
                                  primary.pm.facts.major_version, on_post, &err));
    pgconf_unref(c); /* the job has its own reference */
    assert_false(ended);
    until_ended();
    return post_result;
}

static void test_post__makes_roles_without_a_trace(void **state)
{
    struct pgv_buf log;
    char path[300], script[600];

    NEED_POSTGRES();
    (void)snprintf(path, sizeof(path), "%s/post.sh", pg_site_dir());
    (void)snprintf(script, sizeof(script),
                   "#!/bin/sh\nexec %s/psql -XAtq -c 'create table by_script()' \"$2\" >&2\n",
                   pg_site_bin());
    assert_true(pgv_file_replace(path, pgv_str(script), 0700, NULL));
    (void)snprintf(script, sizeof(script), "post_init: '%s word'", path);
    assert_int_equal(
        post("authentication:\n  superuser: {username: postgres, password: 'sup''3r-Secret'}\n"
             "  replication: {username: \"re\\\"p'l\", password: 'r3pl-Secret\\\\'}\n"
             "  rewind: {username: rewinder, password: r3wind-Secret}\n",
             script),
        PGBOOT_OK);
    check_sql("SELECT count(*) FROM pg_class WHERE relname = 'by_script'", "1");
    check_sql("SELECT rolreplication AND rolcanlogin AND NOT rolsuper FROM pg_roles WHERE rolname ="
              " 're\"p''l'",
              "t");
    check_sql("SELECT rolcanlogin AND NOT rolreplication AND NOT rolsuper AND"
              " has_function_privilege('rewinder', 'pg_read_binary_file(text, bigint, bigint,"
              " boolean)', 'execute') FROM pg_roles WHERE rolname = 'rewinder'",
              "t");
    check_sql("SELECT count(*) FROM pg_authid WHERE rolpassword IS NOT NULL", "3");
    /* again: they are altered */
    assert_int_equal(post("authentication:\n  replication: {username: rewinder}\n", "{}"),
                     PGBOOT_OK);
    check_sql("SELECT rolreplication FROM pg_roles WHERE rolname = 'rewinder'", "t");

    /* the server logs every statement, but these it did not */
    check_sql("SELECT 'marker'", "marker");
    (void)snprintf(path, sizeof(path), "%s/log/server.log", primary.data_dir);
    pgv_buf_init(&log, 8u << 20);
    /* the logger is a process of its own, which may be a little behind */
    for (unsigned tries = 0; !strstr(pgv_buf_cstr(&log), "SELECT 'marker'"); tries++) {
        assert_in_range(tries, 0, 200);
        (void)poll(NULL, 0, 25);
        pgv_buf_reset(&log);
        assert_true(pgv_file_read(path, &log, NULL));
    }
    assert_non_null(strstr(pgv_buf_cstr(&log), "create table by_script"));
    assert_null(strstr(pgv_buf_cstr(&log), "Secret"));
    assert_null(strstr(pgv_buf_cstr(&log), "CREATE ROLE"));
    pgv_buf_done(&log);
}

static void test_post__fails_when_the_script_or_the_server_does(void **state)
{
    NEED_POSTGRES();
    assert_int_equal(post("", "post_bootstrap: /bin/false"), PGBOOT_FAILED);
    assert_string_equal(post_message, "post_init script /bin/false failed: exit status 1");
    assert_int_equal(post("", "post_bootstrap: /nonexistent/script"), PGBOOT_FAILED);
    /* a role nobody may have */
    assert_int_equal(post("authentication: {replication: {username: pg_reserved}}\n", "{}"),
                     PGBOOT_FAILED);
    assert_non_null(strstr(post_message, "42939"));
    assert_int_equal(post("authentication: {superuser: {username: nobody_here}}\n"
                          "database: nosuch\n",
                          "post_bootstrap: /bin/true"),
                     PGBOOT_OK); /* only the script, which asks nothing */
}

/* ------------------------------------------------------------------------------------ questions */

static struct pgv_error remote_err;
static char remote_text[64];

static void on_remote(struct pgremote *r, const PGresult *res, const struct pgv_error *err)
{
    assert_false(r->asking);
    remote_err = err ? *err : (struct pgv_error){ 0 };
    pgv_copy_cut(remote_text, sizeof(remote_text), pgsql_field(res, 0, 0));
    ended = true;
}

static void on_remote_closed(struct pgremote *r)
{
    assert_false(r->open);
    ended = true;
}

static enum pgv_code ask(const char *host, const char *port, uint64_t ms, bool cancel)
{
    static struct pgremote r;
    struct pgdsn d = { { [PGDSN_HOST] = host,
                         [PGDSN_PORT] = port,
                         [PGDSN_USER] = "postgres",
                         [PGDSN_DBNAME] = "postgres" } };

    pgremote_open(&r, pg_site_loop(), "test", &d, false, pgv_clock_ms() + ms);
    ended = false;
    pgremote_ask(&r, "SELECT 41 + 1", on_remote);
    if (cancel)
        pgremote_cancel(&r);
    assert_false(ended);
    until_ended();
    if (!remote_err.code) { /* and another one, over the same connection */
        ended = false;
        pgremote_ask(&r, "SELECT 42", on_remote);
        until_ended();
        assert_int_equal(remote_err.code, PGV_OK);
    }
    ended = false;
    pgremote_close(&r, on_remote_closed);
    assert_false(ended);
    until_ended();
    return remote_err.code;
}

static void test_remote__names_lists_and_sockets(void **state)
{
    char port[16], two[40];

    NEED_POSTGRES();
    (void)snprintf(port, sizeof(port), "%d", primary.port);
    assert_int_equal(ask("127.0.0.1", port, 10000, false), PGV_OK);
    assert_string_equal(remote_text, "42");
    assert_int_equal(ask("localhost", port, 10000, false), PGV_OK);
    assert_int_equal(ask(pg_site_dir(), port, 10000, false), PGV_OK);
    /* the first host has no server; one of the names does not exist */
    (void)snprintf(two, sizeof(two), "1,%d", primary.port);
    assert_int_equal(ask("127.0.0.1,localhost", two, 10000, false), PGV_OK);
    (void)snprintf(two, sizeof(two), "%d,%d", primary.port, primary.port);
    assert_int_equal(ask("no.such.host.invalid,127.0.0.1", two, 30000, false), PGV_OK);
    assert_int_equal(ask("no.such.host.invalid", port, 30000, false), PGV_EUNREACHABLE);
    assert_int_equal(ask("127.0.0.1", "1", 10000, false), PGV_EUNREACHABLE);
    assert_int_equal(ask("127.0.0.1", port, 10000, true), PGV_ECANCELED);
    assert_int_equal(ask("localhost", port, 10000, true), PGV_ECANCELED);
    assert_int_equal(ask(pg_site_dir(), port, 10000, true), PGV_ECANCELED);
}

static void test_remote__a_silent_host_costs_no_more_than_the_deadline(void **state)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t n = sizeof(a);
    uint64_t start;
    char port[16];
    int fd;

    NEED_POSTGRES();
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 4), 0); /* accepts, and never says a word */
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    (void)snprintf(port, sizeof(port), "%d", ntohs(a.sin_port));
    start = pgv_clock_ms();
    assert_int_equal(ask("127.0.0.1", port, 500, false), PGV_EUNREACHABLE);
    assert_true(pgv_clock_ms() - start < 5000);
    close(fd);
}

/* -------------------------------------------------------------------------------------- rewind */

static enum pgrewind_result rewind_result;
static char rewind_message[PGV_ERROR_MSG_BYTES];

static void on_rewind(struct pgrewind *j, enum pgrewind_result result, const char *message)
{
    assert_false(j->running);
    rewind_result = result;
    (void)snprintf(rewind_message, sizeof(rewind_message), "%s", message);
    ended = true;
}

static void program(const char *name, const char *body)
{
    char path[300], text[2048];

    (void)snprintf(path, sizeof(path), "%s/fake", pg_site_dir());
    assert_true(pgv_mkdirs(path, 0700, NULL));
    (void)snprintf(path, sizeof(path), "%s/fake/%s", pg_site_dir(), name);
    (void)snprintf(text, sizeof(text), "#!/bin/sh\ndir=%s/fake\n%s\n", pg_site_dir(), body);
    assert_true(pgv_file_replace(path, pgv_str(text), 0700, NULL));
}

/** Rewind a directory that is only pretended, by a program that is only pretended, from a leader
 *  that is real. @version decides who fetches missing segments. */
static enum pgrewind_result rewound(int version, bool known, bool done, const char *extra)
{
    static struct pgrewind j;
    struct pgrewind_args args = { .major_version = version,
                                  .binary_version = version,
                                  .leader_conn_url = primary.pm.conn_url,
                                  .leader_name = "primary",
                                  .leader_checkpoint_known = known,
                                  .leader_checkpoint_done = done };
    struct pgv_error err;
    char text[2048];

    (void)snprintf(text, sizeof(text),
                   "data_dir: %s/fake/data\nbin_dir: %s/fake\nlisten: 127.0.0.1:1\n"
                   "pgpass: %s/fake/pgpass\n%s",
                   pg_site_dir(), pg_site_dir(), pg_site_dir(),
                   extra ? extra
                         : "authentication: {superuser: {username: postgres, password: secret}}\n");
    assert_true(pgconf_new("n1", "test", yaml(text), &args.conf, &err));
    (void)snprintf(text, sizeof(text), "%s/fake/data/pg_wal", pg_site_dir());
    assert_true(pgv_mkdirs(text, 0700, NULL));
    ended = false;
    if (!pgrewind_start(&j, pg_site_loop(), &args, on_rewind, &err))
        fail_msg("%s", err.msg);
    pgconf_unref(args.conf);
    assert_false(ended);
    until_ended();
    return rewind_result;
}

static bool fake_has(const char *name)
{
    char path[300];

    (void)snprintf(path, sizeof(path), "%s/fake/%s", pg_site_dir(), name);
    return pgv_file_exists(path);
}

static void fake_remove(const char *name)
{
    char path[300];

    (void)snprintf(path, sizeof(path), "%s/fake/%s", pg_site_dir(), name);
    (void)unlink(path);
}

#define SEGMENT "0000000100000000000000AA"
#define REWIND_NEEDS_SEGMENT                                                                       \
    "printf '%s\\n' \"$@\" > $dir/rewind.args\n"                                                   \
    "test -f $dir/data/pg_wal/" SEGMENT " && exit 0\n"                                             \
    "echo \"pg_rewind: fatal: could not open file \\\"$dir/data/pg_wal/" SEGMENT                   \
    "\\\": No such file or directory\" >&2; exit 1"

static void test_rewind__fetches_what_is_missing(void **state)
{
    struct pgv_buf b;
    char path[300], want[600];

    NEED_POSTGRES();
    program("postgres", "case $4 in archive_mode) echo off;; restore_command)"
                        " echo \"touch %p && echo %f >> $dir/fetched\";; esac");
    program("pg_rewind", REWIND_NEEDS_SEGMENT);
    assert_int_equal(rewound(120000, true, true, NULL), PGREWIND_DONE);
    assert_true(fake_has("fetched") && fake_has("data/pg_wal/" SEGMENT));

    pgv_buf_init(&b, 65536);
    (void)snprintf(path, sizeof(path), "%s/fake/rewind.args", pg_site_dir());
    assert_true(pgv_file_read(path, &b, NULL));
    (void)snprintf(want, sizeof(want),
                   "-D\n%s/fake/data\n--source-server\ndbname=postgres user=postgres "
                   "host=127.0.0.1 port=%d target_session_attrs=read-write\n--progress\n",
                   pg_site_dir(), primary.port);
    assert_string_equal(pgv_buf_cstr(&b), want);
    pgv_buf_done(&b);
}

static void test_rewind__gives_up_when_nothing_helps(void **state)
{
    NEED_POSTGRES();
    fake_remove("data/pg_wal/" SEGMENT);
    fake_remove("fetched");
    /* the command succeeds but the file does not come: no endless loop */
    program("postgres", "case $4 in archive_mode) echo off;; *) echo \"echo %f >> $dir/fetched\";;"
                        " esac");
    assert_int_equal(rewound(120000, true, true, NULL), PGREWIND_FAILED);
    assert_non_null(strstr(rewind_message, "Failed to rewind from healthy primary: primary"));
    assert_true(fake_has("fetched"));
    /* the command fails */
    fake_remove("fetched");
    program("postgres", "case $4 in archive_mode) echo off;; *) echo false;; esac");
    assert_int_equal(rewound(120000, true, true, NULL), PGREWIND_FAILED);
    /* there is none */
    program("postgres", "exit 0");
    assert_int_equal(rewound(120000, true, true, NULL), PGREWIND_FAILED);
    /* from 13 on pg_rewind runs the command itself */
    program("postgres", "case $4 in archive_mode) echo off;; *) echo \"touch %p\";; esac");
    assert_int_equal(rewound(130000, true, true, NULL), PGREWIND_FAILED);
    assert_false(fake_has("data/pg_wal/" SEGMENT));
    /* before 12 it stands in recovery_conf */
    (void)snprintf(rewind_message, sizeof(rewind_message), "%s", "");
    assert_int_equal(rewound(110000, true, true,
                             "authentication: {superuser: {username: postgres}}\n"
                             "recovery_conf: {restore_command: 'touch %p; mkdir -p ../data/pg_wal;"
                             " touch ../data/pg_wal/%f'}\n"),
                     PGREWIND_DONE);
}

#define REWIND_MARK "data/pgvigil.rewinding"

/* From when it copies until all is done the directory is marked; before that nothing happened. */
static void test_rewind__marks_what_it_leaves_unfinished(void **state)
{
    char mark[300];

    NEED_POSTGRES();
    program("postgres", "exit 0");
    program("pg_rewind", "test -p $dir/" REWIND_MARK " && touch $dir/marked; exit 1");
    assert_int_equal(rewound(150000, true, true, NULL), PGREWIND_FAILED);
    assert_true(fake_has("marked"));
    assert_false(fake_has(REWIND_MARK));
    /* killed in the midst of it */
    program("pg_rewind",
            "echo 'pg_rewind: need to copy 37 MB (total source directory size is 55 MB)' >&2;"
            " kill -9 $$");
    assert_int_equal(rewound(150000, true, true, NULL), PGREWIND_NOT_NOW);
    assert_true(fake_has(REWIND_MARK));
    /* another try that fails does not make it better, one that goes through does */
    assert_int_equal(rewound(150000, true, true, NULL), PGREWIND_FAILED);
    assert_true(fake_has(REWIND_MARK));
    program("pg_rewind", "exit 1");
    assert_int_equal(rewound(150000, true, true, NULL), PGREWIND_FAILED);
    assert_true(fake_has(REWIND_MARK));
    program("pg_rewind", "exit 0");
    assert_int_equal(rewound(150000, true, true, NULL), PGREWIND_DONE);
    assert_false(fake_has(REWIND_MARK));
    /* the real one takes away what the leader does not have, while it has not copied anything; a
     * mark of before was a file */
    (void)snprintf(mark, sizeof(mark), "%s/fake/" REWIND_MARK, pg_site_dir());
    assert_true(pgv_file_replace(mark, (struct pgv_str){ 0 }, 0600, NULL));
    program("pg_rewind", "echo 'pg_rewind: need to copy 37 MB' >&2;"
                         " find $dir/data -name 'pgvigil*' -type f -delete; kill -9 $$");
    assert_int_equal(rewound(150000, true, true, NULL), PGREWIND_FAILED);
    assert_true(fake_has(REWIND_MARK));
    program("pg_rewind", "exit 0");
    assert_int_equal(rewound(150000, true, true, NULL), PGREWIND_DONE);
    assert_false(fake_has(REWIND_MARK));
}

/* It goes on when the agent is killed, and the next one would start a server beside it. */
static void test_rewind__one_that_was_left_is_ended(void **state)
{
    char data[300], text[400];
    const char *wanted[] = { "-D", data, "--source-server", NULL };
    struct pgconf *c;
    struct pgv_error err;
    pid_t child, found[1];
    int status;

    (void)state;
    (void)snprintf(data, sizeof(data), "%s/left", pg_site_dir());
    (void)snprintf(text, sizeof(text), "data_dir: %s\nlisten: 127.0.0.1:1\n", data);
    assert_true(pgconf_new("n1", "test", yaml(text), &c, &err));
    (void)snprintf(text, sizeof(text), "%s/pgvigil.rewinding", data);
    assert_true(pgv_mkdirs(data, 0700, NULL));
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)execl("/bin/sh", "sh", "-c", "kill -STOP $$", "pg_rewind", "-D", data,
                    "--source-server", "x", (char *)NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, WUNTRACED), child); /* it stops itself */
    assert_true(WIFSTOPPED(status));
    pgrewind_end_left(c); /* not ours: there is no mark */
    assert_int_equal(pm_proc_with_arguments(wanted, found, 1), 1);
    assert_true(pgv_file_replace(text, (struct pgv_str){ 0 }, 0600, &err));
    pgrewind_end_left(c);
    pgconf_unref(c);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_rewind__command_by_version(void **state)
{
    static const struct {
        int version;
        const char *config_dir; /* below our directory; NULL: the data directory */
        const char *options;
    } cases[] = {
        { 120000, NULL, "" },
        { 130000, NULL, "--restore-target-wal\n" },
        { 140000, NULL, "--restore-target-wal\n" },
        { 140000, "conf", "" }, /* pg_rewind cannot be told where the configuration is */
        { 150000, NULL, "--restore-target-wal\n" },
        { 150000, "conf", "--restore-target-wal\n--config-file=" },
        { 160000, "conf", "--restore-target-wal\n--config-file=" },
        { 180000, NULL, "--restore-target-wal\n" },
    };

    NEED_POSTGRES();
    program("postgres", "case $4 in archive_mode) echo off;; *) echo \"cp %f %p\";; esac");
    program("pg_rewind", "printf '%s\\n' \"$@\" > $dir/rewind.args");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[300], extra[600] = "", want[600];
        struct pgv_buf b;

        if (cases[i].config_dir)
            (void)snprintf(extra, sizeof(extra), "config_dir: %s/fake/%s\n", pg_site_dir(),
                           cases[i].config_dir);
        (void)snprintf(extra + strlen(extra), sizeof(extra) - strlen(extra), "%s",
                       "authentication: {superuser: {username: postgres}}\n");
        assert_int_equal(rewound(cases[i].version, true, true, extra), PGREWIND_DONE);

        (void)snprintf(want, sizeof(want), "%s", cases[i].options);
        if (strstr(want, "--config-file="))
            (void)snprintf(want + strlen(want), sizeof(want) - strlen(want),
                           "%s/fake/%s/postgresql.conf\n", pg_site_dir(), cases[i].config_dir);
        (void)snprintf(want + strlen(want), sizeof(want) - strlen(want), "-D\n%s/fake/data\n",
                       pg_site_dir());
        pgv_buf_init(&b, 65536);
        (void)snprintf(path, sizeof(path), "%s/fake/rewind.args", pg_site_dir());
        assert_true(pgv_file_read(path, &b, NULL));
        if (strncmp(pgv_buf_cstr(&b), want, strlen(want)) != 0)
            fail_msg("%d: %s", cases[i].version, pgv_buf_cstr(&b));
        pgv_buf_done(&b);
    }
}

static void test_rewind__waits_for_the_leader(void **state)
{
    NEED_POSTGRES();
    fake_remove("rewind.args");
    program("postgres", "exit 0");
    program("pg_rewind", "touch $dir/rewind.args");
    assert_int_equal(rewound(150000, true, false, NULL), PGREWIND_NOT_NOW);
    assert_string_equal(rewind_message, "Waiting for checkpoint on primary before rewind");
    assert_false(fake_has("rewind.args"));
    /* a peer that does not say: the superuser orders a checkpoint, others look for one */
    assert_int_equal(rewound(150000, false, false, NULL), PGREWIND_DONE);
    fake_remove("rewind.args");
    assert_int_equal(
        rewound(150000, false, false, "authentication: {rewind: {username: postgres}}\n"),
        PGREWIND_DONE);
    assert_true(fake_has("rewind.args"));
    /* credentials that are wrong */
    assert_int_equal(
        rewound(150000, true, true, "authentication: {superuser: {username: nobody_here}}\n"),
        PGREWIND_NOT_NOW);
}

static struct pgrewind rewind_to_cancel;

static void on_poke(uv_timer_t *timer)
{
    (void)timer;
    if (fake_has("running"))
        pgrewind_cancel(&rewind_to_cancel);
}

static void test_rewind__canceled_at_any_step(void **state)
{
    static const struct {
        const char *postgres, *rewind;
    } steps[] = {
        { "touch $dir/running; exec sleep 60", "" },
        { "case $4 in archive_mode) echo on;; *) echo \"touch $dir/running; sleep 60\";; esac",
          "" },
        { "case $4 in archive_mode) echo off;; *) touch $dir/running; exec sleep 60;; esac", "" },
        { "exit 0", "touch $dir/running; exec sleep 60" },
    };
    char path[300];

    NEED_POSTGRES();
    (void)snprintf(path, sizeof(path), "%s/fake/data/pg_wal/archive_status", pg_site_dir());
    assert_true(pgv_mkdirs(path, 0700, NULL));
    (void)snprintf(path, sizeof(path), "%s/fake/data/pg_wal/archive_status/" SEGMENT ".ready",
                   pg_site_dir());
    assert_true(pgv_file_replace(path, (struct pgv_str){ 0 }, 0600, NULL));
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct pgrewind_args args = { .conf = conf,
                                      .major_version = 150000,
                                      .leader_conn_url = primary.pm.conn_url,
                                      .leader_name = "primary",
                                      .leader_checkpoint_known = true,
                                      .leader_checkpoint_done = true };
        uv_timer_t poker;

        fake_remove("running");
        program("postgres", steps[i].postgres);
        program("pg_rewind", steps[i].rewind);
        ended = false;
        assert_true(pgrewind_start(&rewind_to_cancel, pg_site_loop(), &args, on_rewind, NULL));
        (void)uv_timer_init(pg_site_loop(), &poker);
        (void)uv_timer_start(&poker, on_poke, 1, 5);
        until_ended();
        uv_close((uv_handle_t *)&poker, NULL);
        (void)uv_run(pg_site_loop(), UV_RUN_NOWAIT);
        assert_int_equal(rewind_result, PGREWIND_CANCELED);
    }
}

/* --------------------------------------------------------------------------------- beginning */

static void on_sql_closed(struct pgsql *s)
{
    (void)s;
    ended = true;
}

static int setup(void **state)
{
    struct pgv_error err;
    struct pgdsn d;
    struct pgv_buf conninfo;
    char text[1024];

    (void)state;
    pgv_arena_init(&arena, 1u << 20);
    have_postgres = pg_site_open();
    if (!have_postgres)
        return 0;
    (void)snprintf(
        text, sizeof(text),
        "parameters: {unix_socket_directories: %s, shared_buffers: 16MB, logging_collector: on,"
        " log_directory: log, log_filename: server.log, log_statement: all,"
        " log_min_duration_statement: 0, wal_level: logical}\n",
        pg_site_dir());
    pg_node_init(&primary, "one", text);
    pg_initdb(&primary);
    pg_node_open(&primary);
    if (pg_job(&primary, &(struct postmaster_job_args){ .job = PM_JOB_START,
                                                        .role = PGV_ROLE_PRIMARY }) != PM_DONE)
        return -1;
    pg_look(&primary);
    /* programs that are only pretended, for jobs on this configuration */
    (void)snprintf(text, sizeof(text),
                   "data_dir: %s/fake/data\nbin_dir: %s/fake\nlisten: 127.0.0.1:1\n"
                   "pgpass: %s/fake/pgpass\nauthentication: {superuser: {username: postgres}}\n",
                   pg_site_dir(), pg_site_dir(), pg_site_dir());
    if (!pgconf_new("fake", "test", yaml(text), &conf, &err))
        return -1;
    (void)snprintf(text, sizeof(text), "%d", primary.port);
    d = (struct pgdsn){ { [PGDSN_HOST] = pg_site_dir(),
                          [PGDSN_PORT] = text,
                          [PGDSN_USER] = "postgres",
                          [PGDSN_DBNAME] = "postgres" } };
    pgv_buf_init(&conninfo, PGDSN_BYTES_MAX);
    pgsql_open(&sql, pg_site_loop(), "test");
    if (!pgdsn_write(&conninfo, &d, 0) || !pgsql_set_conninfo(&sql, pgv_buf_cstr(&conninfo), &err))
        return -1;
    pgv_buf_done(&conninfo);
    pgslots_init(&slots, &sql);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (have_postgres) {
        ended = false;
        pgsql_close(&sql, on_sql_closed);
        until_ended();
        pgconf_unref(conf);
        pg_node_done(&primary);
        pg_site_close();
    }
    pgv_arena_done(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guc__the_table_agrees_with_the_server),
        cmocka_unit_test(test_slots__are_made_kept_and_dropped),
        cmocka_unit_test(test_slots__advance_to_what_the_member_has),
        cmocka_unit_test(test_slots__without_a_position_are_renewed),
        cmocka_unit_test(test_slots__logical_ones_are_left_alone),
        cmocka_unit_test(test_slots__in_use_cannot_be_dropped),
        cmocka_unit_test(test_slots__come_with_the_monitoring_query),
        cmocka_unit_test(test_slots__canceled_and_refused),
        cmocka_unit_test(test_post__makes_roles_without_a_trace),
        cmocka_unit_test(test_post__fails_when_the_script_or_the_server_does),
        cmocka_unit_test(test_remote__names_lists_and_sockets),
        cmocka_unit_test(test_remote__a_silent_host_costs_no_more_than_the_deadline),
        cmocka_unit_test(test_rewind__fetches_what_is_missing),
        cmocka_unit_test(test_rewind__gives_up_when_nothing_helps),
        cmocka_unit_test(test_rewind__marks_what_it_leaves_unfinished),
        cmocka_unit_test(test_rewind__one_that_was_left_is_ended),
        cmocka_unit_test(test_rewind__command_by_version),
        cmocka_unit_test(test_rewind__waits_for_the_leader),
        cmocka_unit_test(test_rewind__canceled_at_any_step),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
