/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_pg_connection.c - the connection: answers, refusals, deadlines, closing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg_support.h"

#include "base/clock.h"
#include "pg/pgsql.h"

#include <stdio.h>
#include <string.h>

static struct pg_node server;
static bool have_postgres;

#define NEED_POSTGRES()                                                                            \
    do {                                                                                           \
        (void)state;                                                                               \
        if (!have_postgres)                                                                        \
            skip();                                                                                \
    } while (0)

/* ---- pure ---- */

static void test_pgsql_find_sqlstate__reads_verbose_texts(void **state)
{
    static const struct {
        const char *text, *sqlstate;
    } rows[] = {
        { "", "" },
        { "connection to server on socket \"/tmp/.s.PGSQL.1\" failed: No such file or directory\n"
          "\tIs the server running locally and accepting connections on that socket?\n",
          "" },
        { "connection to server at \"localhost\" (127.0.0.1), port 5432 failed: FATAL:  57P03: the "
          "database system is starting up\nLOCATION:  ProcessStartupPacket, postmaster.c:2404\n",
          "57P03" },
        { "FATAL:  57P03: the database system is starting up\n"
          "connection to server at \"localhost\" (::1) failed: Connection refused\n",
          "57P03" },
        { "x failed: FATAL:  57P03: starting\nx failed: FATAL:  3D000: database \"a\" does not "
          "exist\n",
          "3D000" },
        { "VERHÄNGNISVOLL:  28P01: Passwort-Authentifizierung fehlgeschlagen\n", "28P01" },
        { "FATAL:  role \"a:  12345\" does not exist\n", "" },
        { "FATAL:  12345", "" },
        { "FATAL:  abcde: x", "" },
    };
    char got[6];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        pgsql_find_sqlstate(rows[i].text, got);
        assert_string_equal(got, rows[i].sqlstate);
    }
}

/* ---- with a server ---- */

struct ask {
    struct pgsql_query q;
    unsigned calls;
    enum pgv_code code;
    char msg[PGV_ERROR_MSG_BYTES], value[256];
    int rows;
    unsigned *order;
    unsigned at; /* what *order was when it ended */
};

static void on_answer(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct ask *a = q->data;

    a->calls++;
    a->code = err ? err->code : PGV_OK;
    (void)snprintf(a->msg, sizeof(a->msg), "%s", err ? err->msg : "");
    a->rows = res ? PQntuples(res) : -1;
    if (res)
        (void)snprintf(a->value, sizeof(a->value), "%.*s", (int)pgsql_field(res, 0, 0).n,
                       pgsql_field(res, 0, 0).p);
    if (a->order)
        a->at = (*a->order)++;
}

static void submit(struct pgsql *s, struct ask *a, const char *sql, uint64_t ms)
{
    a->calls = 0;
    a->q.data = a;
    a->q.sql = sql;
    a->q.deadline_ms = pgv_clock_ms() + ms;
    pgsql_submit(s, &a->q, on_answer);
    assert_int_equal(a->calls, 0);
}

static void finish(struct ask *a)
{
    uint64_t until = pgv_clock_ms() + 30000;

    while (a->calls == 0) {
        if (pgv_clock_ms() > until)
            fail_msg("no callback: %s", a->q.sql);
        (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
    }
    assert_int_equal(a->calls, 1);
}

static void ask(struct pgsql *s, struct ask *a, const char *sql)
{
    submit(s, a, sql, 20000);
    finish(a);
}

static void on_closed(struct pgsql *s)
{
    *(bool *)s->data = true;
}

static void close_and_wait(struct pgsql *s)
{
    bool closed = false;

    s->data = &closed;
    pgsql_close(s, on_closed);
    assert_false(closed);
    while (!closed)
        (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
}

static void open_to(struct pgsql *s, const char *database)
{
    char conninfo[512];
    struct pgv_error err;

    memset(s, 0, sizeof(*s));
    pgsql_open(s, pg_site_loop(), "test");
    (void)snprintf(conninfo, sizeof(conninfo), "host=%s port=%d user=postgres dbname=%s",
                   pg_site_dir(), server.port, database);
    assert_true(pgsql_set_conninfo(s, conninfo, &err));
}

static void test_query__answers_errors_and_parameters(void **state)
{
    struct pgsql s;
    struct ask a = { 0 };
    pid_t pid;

    NEED_POSTGRES();
    open_to(&s, "postgres");
    assert_false(s.connected);
    ask(&s, &a, "SELECT 42");
    assert_int_equal(a.code, PGV_OK);
    assert_string_equal(a.value, "42");
    assert_true(s.connected && s.server_version > 90000);
    pid = s.backend_pid;
    ask(&s, &a, "SELECT * FROM no_such_table");
    assert_int_equal(a.code, PGV_ECONFLICT);
    assert_string_equal(a.q.sqlstate, "42P01");
    assert_non_null(strstr(a.msg, "no_such_table"));
    a.q.n_params = 2;
    a.q.params[0] = "x'y";
    a.q.params[1] = NULL;
    ask(&s, &a, "SELECT $1::text || coalesce($2::text, ' null')");
    assert_string_equal(a.value, "x'y null");
    assert_string_equal(a.q.sqlstate, "");
    a.q.n_params = 0;
    ask(&s, &a, "SELECT 1; SELECT 2, 3; SELECT NULL::int");
    assert_int_equal(a.rows, 1);
    assert_string_equal(a.value, "");
    ask(&s, &a, "SELECT 1; SELECT 1/0; SELECT 3");
    assert_string_equal(a.q.sqlstate, "22012");
    ask(&s, &a, "COPY (SELECT 1) TO STDOUT");
    assert_int_equal(a.code, PGV_EUNREACHABLE); /* not understood: the connection goes */
    ask(&s, &a, "SELECT 5");
    assert_string_equal(a.value, "5");
    assert_int_not_equal(s.backend_pid, pid);
    close_and_wait(&s);
}

static void test_query__stand_in_line(void **state)
{
    struct pgsql s;
    struct ask a[20] = { 0 };
    unsigned order = 0;

    NEED_POSTGRES();
    open_to(&s, "postgres");
    for (unsigned i = 0; i < 20; i++) {
        a[i].order = &order;
        submit(&s, &a[i], i == 3 ? "SELECT 1/0" : "SELECT pg_backend_pid()", 20000);
    }
    for (unsigned i = 0; i < 20; i++) {
        finish(&a[i]);
        assert_int_equal(a[i].at, i);
        assert_int_equal(a[i].code, i == 3 ? PGV_ECONFLICT : PGV_OK);
        if (i > 0 && i != 3)
            assert_string_equal(a[i].value, a[0].value);
    }
    close_and_wait(&s);
}

static void test_connect__refused_tells_why(void **state)
{
    struct pgsql s;
    struct ask a = { 0 }, b = { 0 };
    struct pgv_error err;

    NEED_POSTGRES();
    open_to(&s, "no_such_database");
    submit(&s, &a, "SELECT 1", 20000);
    submit(&s, &b, "SELECT 2", 20000);
    finish(&a);
    finish(&b);
    assert_int_equal(a.code, PGV_EUNREACHABLE);
    assert_string_equal(a.q.sqlstate, "3D000");
    assert_string_equal(b.q.sqlstate, "3D000");
    assert_true(pgsql_set_conninfo(&s, "host=127.0.0.1 hostaddr=127.0.0.1 port=1 user=x", &err));
    ask(&s, &a, "SELECT 1");
    assert_int_equal(a.code, PGV_EUNREACHABLE);
    assert_string_equal(a.q.sqlstate, "");
    assert_null(strchr(a.msg, '\n'));
    assert_true(pgsql_set_conninfo(&s, "host=/nowhere port=1 user=x", &err));
    ask(&s, &a, "SELECT 1");
    assert_int_equal(a.code, PGV_EUNREACHABLE);
    assert_true(pgsql_set_conninfo(&s, "=what?", &err)); /* libpq refuses it when it connects */
    ask(&s, &a, "SELECT 1");
    assert_int_equal(a.code, PGV_EUNREACHABLE);
    close_and_wait(&s);
}

static void test_query__deadline_and_cancel(void **state)
{
    struct pgsql s;
    struct ask slow = { 0 }, waits = { 0 }, next = { 0 };
    uint64_t since;

    NEED_POSTGRES();
    open_to(&s, "postgres");
    ask(&s, &next, "SELECT 1");
    since = pgv_clock_ms();
    submit(&s, &slow, "SELECT pg_sleep(60)", 200);
    submit(&s, &waits, "SELECT 2", 100); /* its time is up while the first still runs */
    submit(&s, &next, "SELECT 3", 20000);
    finish(&waits);
    assert_int_equal(waits.code, PGV_EUNREACHABLE);
    assert_int_equal(slow.calls, 0);
    finish(&slow);
    assert_int_equal(slow.code, PGV_EUNREACHABLE);
    finish(&next); /* over a new connection */
    assert_string_equal(next.value, "3");
    assert_true(pgv_clock_ms() - since < 20000);

    submit(&s, &slow, "SELECT pg_sleep(60)", 60000);
    submit(&s, &waits, "SELECT 2", 60000);
    submit(&s, &next, "SELECT 4", 60000);
    pgsql_cancel(&s, &waits.q);
    assert_int_equal(waits.calls, 0);
    finish(&waits);
    assert_int_equal(waits.code, PGV_ECANCELED);
    while (s.backend_pid == 0)
        (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
    pgsql_cancel(&s, &slow.q);
    pgsql_cancel(&s, &waits.q); /* it has ended: harmless */
    finish(&slow);
    assert_int_equal(slow.code, PGV_ECANCELED);
    finish(&next);
    assert_string_equal(next.value, "4");
    close_and_wait(&s);
}

static void test_query__killed_backend(void **state)
{
    struct pgsql s;
    struct ask a = { 0 }, b = { 0 };
    char sql[200], text[256];

    NEED_POSTGRES();
    open_to(&s, "postgres");
    ask(&s, &a, "SELECT 1");
    (void)snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d)", (int)s.backend_pid);
    submit(&s, &a, "SELECT pg_sleep(60)", 60000);
    submit(&s, &b, "SELECT 2", 60000);
    (void)uv_run(pg_site_loop(), UV_RUN_ONCE); /* sent */
    (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
    pg_sql(&server, sql, text);
    finish(&a);
    assert_int_equal(a.code, PGV_EUNREACHABLE);
    assert_string_equal(a.q.sqlstate, "57P01");
    finish(&b);
    assert_string_equal(b.value, "2");
    /* an idle one is noticed and replaced */
    (void)snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d)", (int)s.backend_pid);
    pg_sql(&server, sql, text);
    while (s.connected)
        (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
    ask(&s, &a, "SELECT 3");
    assert_string_equal(a.value, "3");
    close_and_wait(&s);
}

static void test_query__kept_by_the_server(void **state)
{
    static const char *const names[] = { "a", "b", "c", "d", "e" };
    struct pgsql s;
    struct ask kept = { .q.keep = "look" }, bad = { .q.keep = "bad" }, other = { 0 }, more = { 0 };
    pid_t pid;

    NEED_POSTGRES();
    open_to(&s, "postgres");
    for (unsigned i = 0; i < 3; i++) {
        ask(&s, &kept, "SELECT 40 + 2");
        assert_string_equal(kept.value, "42");
        ask(&s, &other,
            "SELECT string_agg(name || ':' || generic_plans + custom_plans, ',')"
            " FROM pg_prepared_statements"
            " WHERE current_setting('server_version_num')::int >= 140000");
        if (s.server_version >= 140000)
            assert_string_equal(other.value, i == 0 ? "look:1" : i == 1 ? "look:2" : "look:3");
    }
    ask(&s, &bad, "SELECT * FROM no_such_table");
    assert_int_equal(bad.code, PGV_ECONFLICT);
    assert_string_equal(bad.q.sqlstate, "42P01");
    ask(&s, &kept, "SELECT 40 + 2");
    assert_string_equal(kept.value, "42");
    /* one that is lost costs the connection, and the next has it again */
    pid = s.backend_pid;
    ask(&s, &other, "DEALLOCATE ALL");
    ask(&s, &kept, "SELECT 40 + 2");
    assert_int_equal(kept.code, PGV_EUNREACHABLE);
    ask(&s, &kept, "SELECT 40 + 2");
    assert_string_equal(kept.value, "42");
    assert_int_not_equal(s.backend_pid, pid);
    /* another connection while it is being prepared */
    pgsql_disconnect(&s);
    submit(&s, &kept, "SELECT current_database()", 20000);
    while (!s.preparing)
        (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
    s.stale = true;
    finish(&kept);
    assert_string_equal(kept.value, "postgres");
    assert_true(s.n_kept == 1 && !s.stale);
    /* more names than there is room for are run all the same */
    for (unsigned i = 0; i < 5; i++) {
        more.q.keep = names[i];
        ask(&s, &more, "SELECT 7");
        assert_string_equal(more.value, "7");
    }
    close_and_wait(&s);
}

static void test_set_conninfo__changes_after_the_running_query(void **state)
{
    struct pgsql s;
    struct ask a = { 0 }, b = { 0 };
    char conninfo[512];
    struct pgv_error err;

    NEED_POSTGRES();
    open_to(&s, "postgres");
    ask(&s, &a, "SELECT 1");
    submit(&s, &a, "SELECT pg_sleep(0.1)::text || current_database()", 20000);
    submit(&s, &b, "SELECT current_database()", 20000);
    (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
    (void)snprintf(conninfo, sizeof(conninfo), "host=%s port=%d user=postgres dbname=template1",
                   pg_site_dir(), server.port);
    assert_true(pgsql_set_conninfo(&s, conninfo, &err));
    finish(&a);
    assert_string_equal(a.value, "postgres");
    finish(&b);
    assert_string_equal(b.value, "template1");
    pgsql_disconnect(&s);
    submit(&s, &a, "SELECT 1", 20000);
    pgsql_disconnect(&s);
    finish(&a);
    assert_int_equal(a.code, PGV_EUNREACHABLE);
    ask(&s, &a, "SELECT 6");
    assert_string_equal(a.value, "6");
    close_and_wait(&s);
}

static void test_close__after_any_number_of_turns(void **state)
{
    NEED_POSTGRES();
    for (unsigned turns = 0; turns < 12; turns++) {
        struct pgsql s;
        struct ask a = { 0 }, b = { 0 };

        open_to(&s, "postgres");
        submit(&s, &a, "SELECT 1", 20000);
        submit(&s, &b, "SELECT pg_sleep(60)", 60000);
        for (unsigned i = 0; i < turns; i++)
            (void)uv_run(pg_site_loop(), UV_RUN_ONCE);
        close_and_wait(&s);
        assert_int_equal(a.calls, 1);
        assert_int_equal(b.calls, 1);
        assert_true(a.code == PGV_OK || a.code == PGV_ECANCELED);
        assert_int_equal(b.code, PGV_ECANCELED);
    }
}

static int setup(void **state)
{
    (void)state;
    have_postgres = pg_site_open();
    if (!have_postgres)
        return 0;
    pg_node_init(&server, "one", NULL);
    pg_initdb(&server);
    pg_node_open(&server);
    assert_int_equal(pg_job(&server, &(struct postmaster_job_args){ .job = PM_JOB_START,
                                                                    .role = PGV_ROLE_PRIMARY }),
                     PM_DONE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (have_postgres) {
        pg_node_done(&server);
        pg_site_close();
        assert_int_equal(pgv_alloc_blocks_in_use(), 0);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pgsql_find_sqlstate__reads_verbose_texts),
        cmocka_unit_test(test_query__answers_errors_and_parameters),
        cmocka_unit_test(test_query__stand_in_line),
        cmocka_unit_test(test_connect__refused_tells_why),
        cmocka_unit_test(test_query__deadline_and_cancel),
        cmocka_unit_test(test_query__killed_backend),
        cmocka_unit_test(test_query__kept_by_the_server),
        cmocka_unit_test(test_set_conninfo__changes_after_the_running_query),
        cmocka_unit_test(test_close__after_any_number_of_turns),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
