/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_pg_conf.c - the 'postgresql' section as typed settings, and addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg/pgconf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pgv_arena arena;

static int setup(void **state)
{
    (void)state;
    pgv_arena_init(&arena, 1u << 20);
    (void)setenv("HOME", "/home/test", 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pgv_arena_done(&arena);
    return 0;
}

static bool make(const char *yaml, struct pgconf **ret, struct pgv_error *err)
{
    struct pgv_value *v;

    if (!pgv_yaml_parse(&arena, "test", pgv_str(yaml), &v, err))
        fail_msg("%s", err->msg);
    return pgconf_new("node-1", "batman", v, ret, err);
}

static struct pgconf *conf(const char *yaml)
{
    struct pgv_error err = { 0 };
    struct pgconf *c;

    if (!make(yaml, &c, &err))
        fail_msg("%s", err.msg);
    return c;
}

#define SMALL "data_dir: /data\nlisten: 127.0.0.1:5433\n"

static void test_pgconf_new__defaults(void **state)
{
    struct pgconf *c = conf(SMALL);
    char path[PGCONF_PATH_BYTES], slot[PGV_SLOT_NAME_BYTES];

    (void)state;
    assert_string_equal(c->config_dir, "/data");
    assert_string_equal(c->conf_path, "/data/postgresql.conf");
    assert_string_equal(c->base_conf_path, "/data/postgresql.base.conf");
    assert_string_equal(c->hba_path, "/data/pg_hba.conf");
    assert_string_equal(c->auto_conf_path, "/data/postgresql.auto.conf");
    assert_string_equal(c->pgpass, "/home/test/pgpass");
    assert_string_equal(c->database, "postgres");
    assert_string_equal(c->create_replica_methods[0], "basebackup");
    assert_null(c->create_replica_methods[1]);
    assert_true(c->use_slots);
    assert_false(c->use_pg_rewind || c->use_unix_socket || c->superuser.given);
    assert_true(c->pg_ctl_timeout_ms == 60000);
    assert_null(c->pg_hba);
    assert_null(c->callbacks);
    assert_null(c->krbsrvname);
    assert_null(pgv_value_first(c->recovery_conf));
    assert_true(pgconf_bin(c, "pg_ctl", path));
    assert_string_equal(path, "pg_ctl");
    pgconf_my_slot(c, slot);
    assert_string_equal(slot, "node_1");
    pgconf_unref(c);
}

static void test_pgconf_new__everything(void **state)
{
    struct pgconf *c = conf(
        "data_dir: /data\nconfig_dir: /etc/pg\nconfig_base_name: main\nbin_dir: /usr/bin/pg\n"
        "bin_name: {postgres: mypostgres}\nlisten: '*,[::1], fe80::1:5433'\n"
        "connect_address: 10.0.0.1:6000\nproxy_address: proxy:1\ndatabase: 1\n"
        "pgpass: ~/x/pgpass\ncustom_conf: /etc/custom.conf\npre_promote: /bin/p\n"
        "before_stop: /bin/s\nuse_slots: false\nuse_pg_rewind: true\nuse_unix_socket: true\n"
        "use_unix_socket_repl: true\nremove_data_directory_on_rewind_failure: true\n"
        "remove_data_directory_on_diverged_timelines: true\npg_ctl_timeout: '1.5'\n"
        "krbsrvname: krb\ncreate_replica_methods: [wal_g, basebackup]\n"
        "wal_g: {command: x}\npg_hba: [a, b]\npg_ident: [c]\ncallbacks: {on_start: /bin/c}\n"
        "citus: {group: 0, database: d}\n"
        "authentication:\n  superuser: {username: s, password: 12345, sslmode: require,\n"
        "    options: evil, connect_timeout: 1}\n  replication: {username: r, password: p}\n"
        "  rewind: {username: w, sslkey: k}\n"
        "parameters: {Max_Connections: 200, hba_file: custom/hba.conf, shared_buffers: 1GB}\n");
    struct pgdsn d = { 0 };
    char path[PGCONF_PATH_BYTES];

    (void)state;
    assert_string_equal(c->listen_addresses, "*,::1,fe80::1");
    assert_string_equal(c->port, "5433");
    assert_string_equal(c->conf_path, "/etc/pg/main.conf");
    assert_string_equal(c->base_conf_path, "/etc/pg/main.base.conf");
    assert_string_equal(c->auto_conf_path, "/data/postgresql.auto.conf");
    assert_string_equal(c->database, "1");
    assert_string_equal(c->pgpass, "/home/test/x/pgpass");
    assert_string_equal(c->superuser.password, "12345");
    assert_string_equal(c->hba_file, "/etc/pg/custom/hba.conf");
    assert_null(c->ident_file);
    assert_string_equal(c->create_replica_methods[0], "wal_g");
    assert_string_equal(c->create_replica_methods[1], "basebackup");
    assert_null(c->create_replica_methods[2]);
    assert_true(c->pg_ctl_timeout_ms == 1500);
    assert_false(c->use_slots);
    assert_true(c->use_pg_rewind && c->remove_data_directory_on_rewind_failure);
    assert_int_equal(c->pg_hba->u.c.n, 2);
    assert_non_null(c->citus);
    assert_non_null(pgv_get(c->parameters, "max_connections"));
    assert_true(pgconf_bin(c, "postgres", path));
    assert_string_equal(path, "/usr/bin/pg/mypostgres");
    assert_true(pgconf_bin(c, "initdb", path));
    assert_string_equal(path, "/usr/bin/pg/initdb");
    assert_non_null(pgconf_method(c, "wal_g"));
    assert_null(pgconf_method(c, "basebackup"));
    assert_ptr_equal(pgconf_rewind_auth(c, 150000), &c->rewind);
    assert_ptr_equal(pgconf_rewind_auth(c, 110000), &c->rewind);
    assert_ptr_equal(pgconf_rewind_auth(c, 100000), &c->superuser);
    pgconf_auth_to_dsn(&c->superuser, &d);
    assert_string_equal(d.v[PGDSN_USER], "s");
    assert_null(d.v[PGDSN_OPTIONS]);
    pgconf_unref(c);
}

static void test_pgconf_new__is_its_own_copy(void **state)
{
    struct pgconf *c = conf(SMALL), *again = pgconf_ref(c);

    (void)state;
    pgv_arena_reset(&arena); /* what it was made from is gone */
    pgconf_unref(c);
    assert_string_equal(again->data_dir, "/data");
    pgconf_unref(again);
    pgconf_unref(NULL);
}

static void test_pgconf_new__recovery_parameters_move(void **state)
{
    struct pgconf *c = conf(SMALL "recovery_conf: {restore_command: one, recovery_end_command: e}\n"
                                  "parameters: {fsync: on}\n");

    (void)state;
    assert_string_equal(pgv_stringz(pgv_get(c->recovery_conf, "restore_command")), "one");
    pgconf_unref(c);

    /* among the parameters they replace all of recovery_conf */
    c = conf(SMALL "recovery_conf: {restore_command: one, recovery_end_command: e}\n"
                   "parameters: {fsync: on, Restore_Command: two}\n");
    assert_string_equal(pgv_stringz(pgv_get(c->recovery_conf, "restore_command")), "two");
    assert_null(pgv_get(c->recovery_conf, "recovery_end_command"));
    assert_null(pgv_get(c->parameters, "restore_command"));
    assert_non_null(pgv_get(c->parameters, "fsync"));
    pgconf_unref(c);
}

static void test_pgconf_new__errors_name_the_key(void **state)
{
    static const struct {
        const char *yaml, *key;
    } cases[] = {
        { "listen: 127.0.0.1:5432\n", "postgresql.data_dir" },
        { "data_dir: /data\n", "postgresql.listen" },
        { "data_dir: /data\nlisten: 127.0.0.1:x\n", "postgresql.listen" },
        { "data_dir: /data\nlisten: 127.0.0.1:0\n", "postgresql.listen" },
        { "data_dir: /data\nlisten: 127.0.0.1:65536\n", "postgresql.listen" },
        { "data_dir: /data\nlisten: ':5432'\n", "postgresql.listen" },
        { "data_dir: [a]\nlisten: 127.0.0.1:5432\n", "postgresql.data_dir" },
        { SMALL "parameters: [a]\n", "postgresql.parameters" },
        { SMALL "recovery_conf: x\n", "postgresql.recovery_conf" },
        { SMALL "pg_hba: {a: b}\n", "postgresql.pg_hba" },
        { SMALL "pg_ident: [{a: b}]\n", "postgresql.pg_ident" },
        { SMALL "callbacks: [a]\n", "postgresql.callbacks" },
        { SMALL "create_replica_methods: {a: b}\n", "postgresql.create_replica_methods" },
        { SMALL "create_replica_methods: [1]\n", "postgresql.create_replica_methods" },
        { SMALL "authentication: {superuser: [a]}\n", "postgresql.authentication.superuser" },
        { SMALL "authentication: {rewind: {password: {a: b}}}\n",
          "postgresql.authentication.rewind.password" },
        { SMALL "pgpass: /tmp\n", "`postgresql.pgpass`" },
        { "[a]", "postgresql" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgv_error err = { 0 };
        struct pgconf *c = NULL;

        if (make(cases[i].yaml, &c, &err))
            fail_msg("accepted: %s", cases[i].yaml);
        assert_int_equal(err.code, PGV_EINVALID);
        if (!strstr(err.msg, cases[i].key))
            fail_msg("'%s' lacks '%s'", err.msg, cases[i].key);
        assert_null(c);
    }
}

static void test_pg_ctl_timeout__odd_values(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } cases[] = { { "30", 30000 }, { "0", 0 },      { "null", 0 },
                  { "x", 60000 },  { "-5", 60000 }, { "[1]", 60000 } };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char yaml[128];
        struct pgconf *c;

        (void)snprintf(yaml, sizeof(yaml), SMALL "pg_ctl_timeout: %s\n", cases[i].text);
        c = conf(yaml);
        assert_true(c->pg_ctl_timeout_ms == cases[i].ms);
        pgconf_unref(c);
    }
}

static void test_resolve_address__who_is_local(void **state)
{
    static const struct {
        const char *yaml, *tcp, *super, *repl, *url, *proxy;
    } cases[] = {
        { "listen: '*:5432'\n", "localhost", "localhost", "localhost",
          "postgres://localhost:5432/postgres", "" },
        { "listen: '10.0.0.1,127.0.0.1:5432'\n", "localhost", "localhost", "localhost",
          "postgres://localhost:5432/postgres", "" },
        { "listen: '10.0.0.1,10.0.0.2:1'\n", "10.0.0.1", "10.0.0.1", "10.0.0.1",
          "postgres://10.0.0.1:1/postgres", "" },
        { "listen: '[fe80::1]:5432'\n", "fe80::1", "fe80::1", "fe80::1",
          "postgres://[fe80::1]:5432/postgres", "" },
        { "listen: '*:5432'\nconnect_address: h.example:6432\nproxy_address: '[::1]:7000'\n"
          "database: app\n",
          "localhost", "localhost", "localhost", "postgres://h.example:6432/app",
          "postgres://[::1]:7000/app" },
        { "listen: '*:5432'\nconnect_address: fe80::2:6432\n", "localhost", "localhost",
          "localhost", "postgres://[fe80::2]:6432/postgres", "" },
        /* sockets: the default one, a given one, none that can be used */
        { "listen: '*:5432'\nuse_unix_socket: true\n", "localhost", NULL, "localhost",
          "postgres://localhost:5432/postgres", "" },
        { "listen: '*:5432'\nuse_unix_socket: true\nuse_unix_socket_repl: true\n"
          "parameters: {unix_socket_directories: 'rel, /run/a, /run/b'}\n",
          "localhost", "/run/a", "/run/a", "postgres://localhost:5432/postgres", "" },
        { "listen: '10.0.0.1:5432'\nuse_unix_socket: true\n"
          "parameters: {unix_socket_directories: ''}\n",
          "10.0.0.1", "10.0.0.1", "10.0.0.1", "postgres://10.0.0.1:5432/postgres", "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgconf_address addr;
        struct pgdsn d;
        struct pgconf *c;
        char yaml[512];

        (void)snprintf(yaml, sizeof(yaml), "data_dir: /data\n%s", cases[i].yaml);
        c = conf(yaml);
        assert_true(pgconf_resolve_address(c, &addr, NULL));
        assert_string_equal(addr.tcp_host, cases[i].tcp);
        assert_string_equal(addr.conn_url, cases[i].url);
        assert_string_equal(addr.proxy_url, cases[i].proxy);
        pgconf_local_dsn(c, &addr, PGCONF_SUPERUSER, &d);
        if (cases[i].super)
            assert_string_equal(d.v[PGDSN_HOST], cases[i].super);
        else
            assert_null(d.v[PGDSN_HOST]);
        assert_non_null(d.v[PGDSN_DBNAME]);
        pgconf_local_dsn(c, &addr, PGCONF_REPLICATION, &d);
        assert_string_equal(d.v[PGDSN_HOST], cases[i].repl);
        assert_null(d.v[PGDSN_DBNAME]);
        pgconf_unref(c);
    }
}

static void test_url_to_dsn__defaults(void **state)
{
    struct pgconf *c = conf(SMALL "database: app\n");
    struct pgdsn d;

    (void)state;
    assert_true(pgconf_url_to_dsn(c, &arena, "postgres://u:p@h1:1,h2:2/x?sslmode=a", &d, NULL));
    assert_string_equal(d.v[PGDSN_HOST], "h1,h2");
    assert_string_equal(d.v[PGDSN_PORT], "1,2");
    assert_string_equal(d.v[PGDSN_DBNAME], "x");
    assert_null(d.v[PGDSN_USER]); /* a member's URL does not bring credentials */
    assert_null(d.v[PGDSN_PASSWORD]);
    assert_null(d.v[PGDSN_SSLMODE]);
    assert_true(pgconf_url_to_dsn(c, &arena, "postgres://h", &d, NULL));
    assert_string_equal(d.v[PGDSN_PORT], "5432");
    assert_string_equal(d.v[PGDSN_DBNAME], "app");
    pgconf_unref(c);
}

static void test_pgconf_new__without_memory(void **state)
{
    struct pgv_error err = { 0 };
    struct pgv_value *v;
    size_t blocks;

    (void)state;
    assert_true(pgv_yaml_parse(&arena, "test",
                               PGV_STR(SMALL "parameters: {a: 1, restore_command: x}\n"
                                             "pg_ctl_timeout: 5\npg_hba: [a]\n"),
                               &v, &err));
    blocks = pgv_alloc_blocks_in_use();
    for (unsigned long n = 1;; n++) {
        struct pgconf *c = NULL;
        bool ok;

        pgv_alloc_fail_at(n, false);
        ok = pgconf_new("n", "s", v, &c, &err);
        pgv_alloc_fail_at(0, false);
        if (ok) {
            pgconf_unref(c);
            break;
        }
        assert_int_equal(err.code, PGV_ENOMEM);
        assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
    }
    assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pgconf_new__defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pgconf_new__everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pgconf_new__is_its_own_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pgconf_new__recovery_parameters_move, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pgconf_new__errors_name_the_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pg_ctl_timeout__odd_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resolve_address__who_is_local, setup, teardown),
        cmocka_unit_test_setup_teardown(test_url_to_dsn__defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pgconf_new__without_memory, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
