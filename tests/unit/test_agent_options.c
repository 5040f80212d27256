/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_agent_options.c - every option of agent/options.def has a case here: what it
 * accepts, what it refuses, whether its section needs it, and what it does.
 *
 * What an option does shows in a fingerprint: the typed settings that the brain, PostgreSQL, the
 * store and the recorder are given. A changed option must change it, and one without effect must
 * not. What takes effect elsewhere (the log, the REST API, programs that are run) names the test
 * that proves it; of what this version does not serve yet, only the check of the value is proven.
 * The other columns are documentation, which test_agent_validate.c compares with the manual.
 */
#include "agent/config_private.h"
#include "agent/recorder.h"
#include "agent/validate_private.h"
#include "agent/watchdog.h"
#include "base/file.h"
#include "base/log.h"
#include "dcs/etcd3.h"
#include "pg/pgconf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct validate_option options[] = {
#define OPTION(...) { __VA_ARGS__ },
#include "agent/options.def"
#undef OPTION
};

#define BASE                                                                                       \
    "name: a\nscope: s\n"                                                                          \
    "restapi: {listen: '127.0.0.1:1', connect_address: '10.0.0.1:8008'}\n"                         \
    "etcd3: {hosts: '10.0.0.1:2379'}\n"                                                            \
    "postgresql:\n"                                                                                \
    "  listen: '127.0.0.1:5432'\n"                                                                 \
    "  connect_address: '10.0.0.1:5432'\n"                                                         \
    "  data_dir: /nowhere\n"                                                                       \
    "  authentication: {superuser: {username: p}, replication: {username: r}}\n"

enum effect {
    SHOWS,     /* in the fingerprint */
    NO_EFFECT, /* and it must not */
    PROVEN,    /* by the test named, which speaks of it */
    UNSERVED,  /* not in this version */
    GROUP,     /* a section: its options count */
};

/* @good and @bad are values in YAML with blanks and a '|' between them; @with is merged into BASE
 * first. demand: N(eed), M(ay), S(oft). */
struct option_case {
    const char *path;
    char demand;
    const char *good, *bad;
    enum effect effect;
    const char *with;   /* or NULL */
    const char *proven; /* file */
};

#define TEXT "5 | [x] | true"          /* bad ones of a text */
#define FLAG "'true' | 1 | yes please" /* of a boolean */
#define NAMES "x | [] | [5]"           /* of a list of texts */
#define KEYS "5 | x | [x]"             /* of a map */
#define LOG_TEST "tests/unit/test_base_log.c"
#define REST_TEST "tests/unit/test_agent_control.c"
#define TLS_TEST "tests/integration/test_certificates.py"
#define CALLBACK_TEST "tests/unit/test_agent_callbacks.c"
#define SECRETS_TEST "tests/unit/test_base_secrets.c"

#define SECRET(path, demand, effect, with, proven)                                                 \
    { path, demand, "secret", TEXT, effect, with, proven },                                        \
    {                                                                                              \
        path "_file", 'S', "/run/secret", TEXT, PROVEN, with, SECRETS_TEST                         \
    }
#define USER(user, demand)                                                                            \
    { "postgresql.authentication." user, demand, "{username: x}", KEYS, GROUP, NULL, NULL },          \
        SECRET("postgresql.authentication." user ".username", 'N', SHOWS, NULL, NULL),                \
        SECRET("postgresql.authentication." user ".password", 'M', SHOWS, NULL, NULL),                \
        SECRET("postgresql.authentication." user ".sslpassword", 'S', SHOWS, NULL, NULL),             \
        { "postgresql.authentication." user ".sslmode", 'S', "require", TEXT, SHOWS, NULL, NULL },    \
        { "postgresql.authentication." user ".sslcert", 'S', "/c", TEXT, SHOWS, NULL, NULL },         \
        { "postgresql.authentication." user ".sslkey", 'S', "/k", TEXT, SHOWS, NULL, NULL },          \
        { "postgresql.authentication." user ".sslrootcert", 'S', "/r", TEXT, SHOWS, NULL, NULL },     \
        { "postgresql.authentication." user ".sslcrl", 'S', "/l", TEXT, SHOWS, NULL, NULL },          \
        { "postgresql.authentication." user ".sslcrldir", 'S', "/d", TEXT, SHOWS, NULL, NULL },       \
        { "postgresql.authentication." user ".gssencmode", 'S', "disable", TEXT, SHOWS, NULL, NULL }, \
        { "postgresql.authentication." user ".channel_binding",                                       \
          'S',                                                                                        \
          "require",                                                                                  \
          TEXT,                                                                                       \
          SHOWS,                                                                                      \
          NULL,                                                                                       \
          NULL },                                                                                     \
    {                                                                                                 \
        "postgresql.authentication." user ".sslnegotiation", 'S', "direct", TEXT, SHOWS, NULL,        \
            NULL                                                                                      \
    }
#define ETCD(section, effect, none, https)                                                          \
    { section, 'M', "{url: 'http://h:1'}", KEYS, GROUP, NULL, NULL },                               \
        { section ".host", 'M', "'h:1'", "5 | 'h:x'", effect, none, NULL },                         \
        { section ".hosts",                                                                         \
          'M',                                                                                      \
          "'h:1,i:2' | ['h:1', 'i:2']",                                                             \
          "5 | [] | ['h:x']",                                                                       \
          effect,                                                                                   \
          none,                                                                                     \
          NULL },                                                                                   \
        { section ".port",                                                                          \
          'S',                                                                                      \
          "1 | 65535",                                                                              \
          "0 | 65536 | x",                                                                          \
          effect,                                                                                   \
          section ": {host: h, hosts: null}",                                                       \
          NULL },                                                                                   \
        { section ".srv", 'M', "example.com", TEXT, effect, none, NULL },                           \
        { section ".srv_suffix", 'M', "x", TEXT, effect, section ": {srv: d, hosts: null}", NULL }, \
        { section ".url", 'M', "'http://h:1'", TEXT, effect, none, NULL },                          \
        { section ".proxy", 'M', "'http://h:1'", TEXT, effect, none, NULL },                        \
        { section ".use_proxies", 'S', "true", FLAG, effect, NULL, NULL },                          \
        { section ".protocol", 'M', "https", TEXT, effect, NULL, NULL },                            \
        SECRET(section ".username", 'M', effect, section ": {password: x}", NULL),                  \
        SECRET(section ".password", 'M', effect, section ": {username: x}", NULL),                  \
        { section ".cacert", 'M', "/c", TEXT, effect, https, NULL },                                \
        { section ".cert", 'M', "/c", TEXT, effect, https, NULL },                                  \
    {                                                                                               \
        section ".key", 'M', "/k", TEXT, effect, https, NULL                                        \
    }
#define BY_ROLE(key, demand, good, bad)                                                            \
    { "postgresql." key, demand, good, bad, SHOWS, NULL, NULL },                                   \
        { "postgresql." key "_primary", 'S', good, bad, SHOWS, NULL, NULL },                       \
        { "postgresql." key "_replica", 'S', good, bad, SHOWS, NULL, NULL },                       \
    {                                                                                              \
        "postgresql." key "_standby_leader", 'S', good, bad, SHOWS, NULL, NULL                     \
    }
#define PROGRAM(name)                                                                              \
    {                                                                                              \
        "postgresql.bin_name." name, 'M', "x", "5 | ''", SHOWS, NULL, NULL                         \
    }
#define SHARED(key, good, bad)                                                                     \
    {                                                                                              \
        "bootstrap.dcs.postgresql.parameters." key, 'M', good, bad, SHOWS, NULL, NULL              \
    }

/* clang-format off */
static const struct option_case cases[] = {
    { "name", 'N', "b", "5 | '" PGV_NAME_PLACEHOLDER "'", SHOWS, NULL, NULL },
    { "scope", 'N', "b", TEXT, SHOWS, NULL, NULL },
    { "namespace", 'S', "/db/", TEXT, SHOWS, NULL, NULL },
    { "thread_pool_size", 'M', "5 | 100", "4 | '5'", NO_EFFECT, NULL, NULL },
    { "thread_stack_size", 'M', "65536 | 524288", "65535 | 65537 | x", NO_EFFECT, NULL, NULL },

    { "log", 'M', "{}", KEYS, GROUP, NULL, NULL },
    { "log.type", 'M', "plain | json", "JSON | 5", PROVEN, NULL, LOG_TEST },
    { "log.level", 'M', "DEBUG | INFO | WARN | WARNING | ERROR | FATAL | CRITICAL", "info | LOUD | 5", PROVEN, NULL, LOG_TEST },
    { "log.traceback_level", 'M', "DEBUG | error", "INFO | 5", NO_EFFECT, NULL, NULL },
    { "log.format", 'M', "'%(message)s' | [message, {asctime: t}]", "5 | [] | [5]", PROVEN, NULL, LOG_TEST },
    { "log.dateformat", 'M', "'%H'", TEXT, PROVEN, NULL, LOG_TEST },
    { "log.static_fields", 'M', "{a: b}", KEYS, PROVEN, NULL, LOG_TEST },
    { "log.max_queue_size", 'M', "5", "x", NO_EFFECT, NULL, NULL },
    { "log.dir", 'M', "/tmp", TEXT, PROVEN, NULL, LOG_TEST },
    { "log.file_num", 'M', "0 | 5", "x | 1.5", PROVEN, NULL, LOG_TEST },
    { "log.file_size", 'M', "0 | 5", "x | 1.5", PROVEN, NULL, LOG_TEST },
    { "log.mode", 'M', "0 | 511 | 0640", "-1 | 512 | '0640'", PROVEN, NULL, LOG_TEST },
    { "log.loggers", 'M', "{a: DEBUG}", KEYS, PROVEN, NULL, LOG_TEST },
    { "log.deduplicate_heartbeat_logs", 'M', "true", FLAG, PROVEN, NULL, LOG_TEST },

    { "ctl", 'M', "{}", KEYS, GROUP, NULL, NULL },
    { "ctl.insecure", 'M', "true", FLAG, PROVEN, NULL, TLS_TEST },
    { "ctl.cacert", 'M', "/c", TEXT, PROVEN, NULL, TLS_TEST },
    { "ctl.certfile", 'M', "/c", TEXT, PROVEN, NULL, TLS_TEST },
    { "ctl.keyfile", 'M', "/c", TEXT, PROVEN, NULL, TLS_TEST },
    SECRET("ctl.keyfile_password", 'M', PROVEN, NULL, TLS_TEST),
    { "ctl.authentication", 'M', "{username: u, password: p}", KEYS, GROUP, NULL, NULL },
    { "ctl.authentication.username", 'N', "u | 5", NULL, SHOWS, "ctl: {authentication: {username: o, password: p}}", NULL },
    { "ctl.authentication.username_file", 'S', "/run/secret", TEXT, PROVEN, "ctl: {authentication: {username: o, password: p}}", SECRETS_TEST },
    { "ctl.authentication.password", 'N', "p | 5", NULL, SHOWS, "ctl: {authentication: {username: u, password: o}}", NULL },
    { "ctl.authentication.password_file", 'S', "/run/secret", TEXT, PROVEN, "ctl: {authentication: {username: u, password: o}}", SECRETS_TEST },

    { "restapi", 'N', "{listen: 'h:1', connect_address: 'h:1'}", KEYS, GROUP, NULL, NULL },
    { "restapi.thread_pool_size", 'M', "5 | 9", "4 | x", NO_EFFECT, NULL, NULL },
    { "restapi.listen", 'N', "'*:1' | '127.0.0.1:65535'", "5 | '127.0.0.1:x' | '127.0.0.1:0' | '127.0.0.1:65536'", PROVEN, NULL, REST_TEST },
    { "restapi.connect_address", 'N', "'h:1'", "5 | 'h:x' | '127.0.0.1:1' | 'localhost:1' | '*:1'", PROVEN, NULL, REST_TEST },
    { "restapi.authentication", 'M', "{username: u, password: p}", KEYS, GROUP, NULL, NULL },
    SECRET("restapi.authentication.username", 'N', SHOWS, "restapi: {authentication: {username: o, password: p}}", NULL),
    SECRET("restapi.authentication.password", 'N', SHOWS, "restapi: {authentication: {username: u, password: o}}", NULL),
    { "restapi.certfile", 'M', "/c", TEXT, PROVEN, NULL, TLS_TEST },
    { "restapi.keyfile", 'M', "/c", TEXT, PROVEN, NULL, TLS_TEST },
    SECRET("restapi.keyfile_password", 'M', PROVEN, NULL, TLS_TEST),
    { "restapi.cafile", 'M', "/c", TEXT, PROVEN, NULL, TLS_TEST },
    { "restapi.ciphers", 'M', "X", TEXT, PROVEN, NULL, TLS_TEST },
    { "restapi.verify_client", 'M', "none | optional | required", "Required | 5", PROVEN, NULL, TLS_TEST },
    { "restapi.allowlist", 'M', "['10.0.0.0/8', h]", NAMES, PROVEN, NULL, REST_TEST },
    { "restapi.allowlist_include_members", 'M', "true", FLAG, PROVEN, NULL, REST_TEST },
    { "restapi.http_extra_headers", 'M', "{A: b}", KEYS, PROVEN, NULL, REST_TEST },
    { "restapi.https_extra_headers", 'M', "{A: b}", KEYS, PROVEN, NULL, REST_TEST },
    { "restapi.request_queue_size", 'M', "0 | 4096", "-1 | 4097 | x", NO_EFFECT, NULL, NULL },
    { "restapi.server_tokens", 'M', "original | ProductOnly | MINIMAL", "none | 5", PROVEN, NULL, REST_TEST },
    { "restapi.agent_check", 'S', "'h:1'", TEXT, PROVEN, NULL, "tests/integration/test_rest_clients.py" },

    { "bootstrap", 'M', "{dcs: {}}", KEYS, GROUP, NULL, NULL },
    { "bootstrap.dcs", 'N', "{}", KEYS, GROUP, NULL, NULL },
    { "bootstrap.dcs.ttl", 'M', "20 | '99' | 2147483647", "19 | 2147483648 | x", SHOWS, NULL, NULL },
    { "bootstrap.dcs.loop_wait", 'M', "1 | '9' | 2147483647", "0 | 2147483648 | x", SHOWS, "bootstrap: {dcs: {ttl: 4000}}", NULL },
    { "bootstrap.dcs.retry_timeout", 'M', "3 | '9' | 2147483647", "2 | 2147483648 | x", SHOWS, NULL, NULL },
    { "bootstrap.dcs.maximum_lag_on_failover", 'M', "0 | 5000000000", "-1 | x", SHOWS, NULL, NULL },
    { "bootstrap.dcs.maximum_lag_on_syncnode", 'M', "-1 | 0", "-2 | x", UNSERVED, NULL, NULL },
    { "bootstrap.dcs.max_timelines_history", 'S', "5 | 1", "-1 | x", SHOWS, NULL, NULL },
    { "bootstrap.dcs.primary_start_timeout", 'M', "0 | '9' | 2147483647", "-1 | 2147483648 | x", SHOWS, NULL, NULL },
    { "bootstrap.dcs.master_start_timeout", 'S', "0 | '9' | 2147483647", "-1 | 2147483648 | x", SHOWS, NULL, NULL },
    { "bootstrap.dcs.primary_stop_timeout", 'M', "0 | '9' | 2147483647", "-1 | 2147483648 | x", UNSERVED, NULL, NULL },
    { "bootstrap.dcs.master_stop_timeout", 'S', "0 | '9' | 2147483647", "-1 | 2147483648 | x", UNSERVED, NULL, NULL },
    { "bootstrap.dcs.primary_race_backoff", 'S', "9 | 2147483647", "-1 | 2147483648 | x", SHOWS, NULL, NULL },
    { "bootstrap.dcs.synchronous_mode", 'M', "true | quorum | 'on' | 1", "maybe | []", SHOWS, NULL, NULL },
    { "bootstrap.dcs.synchronous_mode_strict", 'M', "true", FLAG, UNSERVED, NULL, NULL },
    { "bootstrap.dcs.synchronous_node_count", 'M', "1 | '2' | 2147483647", "0 | 2147483648 | x", UNSERVED, NULL, NULL },
    { "bootstrap.dcs.failsafe_mode", 'S', "true", FLAG, SHOWS, NULL, NULL },
    { "bootstrap.dcs.check_timeline", 'S', "true", FLAG, SHOWS, NULL, NULL },
    { "bootstrap.dcs.pause", 'S', "true", FLAG, SHOWS, NULL, NULL },
    { "bootstrap.dcs.standby_cluster", 'M', "{host: h}", KEYS, GROUP, NULL, NULL },
    { "bootstrap.dcs.standby_cluster.host", 'M', "h", TEXT, UNSERVED, NULL, NULL },
    { "bootstrap.dcs.standby_cluster.port", 'M', "5432 | 65535", "65536 | x", UNSERVED, NULL, NULL },
    { "bootstrap.dcs.standby_cluster.restore_command", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "bootstrap.dcs.standby_cluster.primary_slot_name", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "bootstrap.dcs.standby_cluster.create_replica_methods", 'M', "[x]", NAMES, UNSERVED, NULL, NULL },
    { "bootstrap.dcs.standby_cluster.archive_cleanup_command", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "bootstrap.dcs.standby_cluster.recovery_min_apply_delay", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "bootstrap.dcs.member_slots_ttl", 'M', "0 | 31min | '9'", "-1 | x | 5kB", SHOWS, NULL, NULL },
    { "bootstrap.dcs.slots", 'S', "{a: {type: physical}}", KEYS, UNSERVED, NULL, NULL },
    { "bootstrap.dcs.permanent_slots", 'S', "{a: {type: physical}}", KEYS, UNSERVED, NULL, NULL },
    { "bootstrap.dcs.permanent_replication_slots", 'S', "{a: {type: physical}}", KEYS, UNSERVED, NULL, NULL },
    { "bootstrap.dcs.ignore_slots", 'S', "[{name: a}] | []", "x | {a: b}", PROVEN, NULL, "tests/integration/test_config.py" },
    { "bootstrap.dcs.postgresql", 'M', "{}", KEYS, GROUP, NULL, NULL },
    SHARED("max_connections", "25 | '99' | 262143", "0 | 262144 | x"),
    SHARED("max_locks_per_transaction", "32 | '99' | 2147483647", "9 | 2147483648 | x"),
    SHARED("max_prepared_transactions", "1 | '99' | 262143", "-1 | 262144 | x"),
    SHARED("max_replication_slots", "4 | '99' | 262143", "-1 | 262144 | x"),
    SHARED("max_wal_senders", "3 | '99' | 262143", "-1 | 262144 | x"),
    SHARED("max_worker_processes", "2 | '99' | 262143", "-1 | 262144 | x"),
    { "bootstrap.initdb", 'M', "[data-checksums, {encoding: UTF8}]", "x | [] | [5] | {a: b}", PROVEN, NULL, "tests/unit/test_pg_tools.c" },
    { "bootstrap.method", 'M', "own", TEXT, PROVEN, NULL, "tests/unit/test_pg_tools.c" },
    { "bootstrap.pg_hba", 'S', "[local all all trust]", NAMES, PROVEN, NULL, "tests/unit/test_pg_real_jobs.c" },
    { "bootstrap.post_bootstrap", 'S', "x", TEXT, PROVEN, NULL, "tests/unit/test_pg_real_jobs.c" },
    { "bootstrap.post_init", 'S', "x", TEXT, PROVEN, NULL, "tests/unit/test_pg_real_tools.c" },
    { "bootstrap.users", 'S', "{}", KEYS, NO_EFFECT, "bootstrap: {dcs: {}}", NULL },

    { "consul", 'M', "{url: x}", KEYS, GROUP, NULL, NULL },
    { "consul.host", 'M', "'h:1'", "5 | 'h:x'", UNSERVED, NULL, NULL },
    { "consul.url", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "consul.port", 'M', "1 | 65535", "65536 | x", UNSERVED, NULL, NULL },
    { "consul.scheme", 'M', "https", TEXT, UNSERVED, NULL, NULL },
    SECRET("consul.token", 'M', UNSERVED, NULL, NULL),
    { "consul.verify", 'M', "false", FLAG, UNSERVED, NULL, NULL },
    { "consul.cacert", 'M', "/c", TEXT, UNSERVED, NULL, NULL },
    { "consul.cert", 'M', "/c", TEXT, UNSERVED, NULL, NULL },
    { "consul.key", 'M', "/k", TEXT, UNSERVED, NULL, NULL },
    { "consul.dc", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "consul.checks", 'M', "[x]", NAMES, UNSERVED, NULL, NULL },
    { "consul.register_service", 'M', "true", FLAG, UNSERVED, NULL, NULL },
    { "consul.service_tags", 'M', "[x]", NAMES, UNSERVED, NULL, NULL },
    { "consul.service_check_interval", 'M', "5s", TEXT, UNSERVED, NULL, NULL },
    { "consul.service_check_tls_server_name", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "consul.consistency", 'M', "default | consistent | stale", "Stale | x | 5", UNSERVED, NULL, NULL },

    ETCD("etcd", UNSERVED, NULL, NULL),
    ETCD("etcd3", SHOWS, "etcd3: {hosts: null}", "etcd3: {protocol: https}"),

    { "exhibitor", 'M', "{hosts: [h], port: 1}", KEYS, GROUP, NULL, NULL },
    { "exhibitor.hosts", 'N', "[h]", NAMES, UNSERVED, NULL, NULL },
    { "exhibitor.port", 'N', "1 | 65535", "65536 | x", UNSERVED, NULL, NULL },
    { "exhibitor.poll_interval", 'M', "1 | 2147483647", "0 | 2147483648 | x", UNSERVED, NULL, NULL },

    { "kubernetes", 'M', "{labels: {}}", KEYS, GROUP, NULL, NULL },
    { "kubernetes.labels", 'N', "{a: b}", KEYS, UNSERVED, NULL, NULL },
    { "kubernetes.bypass_api_service", 'M', "true", FLAG, UNSERVED, NULL, NULL },
    { "kubernetes.namespace", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "kubernetes.context", 'S', "x", TEXT, UNSERVED, NULL, NULL },
    { "kubernetes.scope_label", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "kubernetes.role_label", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "kubernetes.leader_label_value", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "kubernetes.follower_label_value", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "kubernetes.standby_leader_label_value", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "kubernetes.tmp_role_label", 'M', "x", TEXT, UNSERVED, NULL, NULL },
    { "kubernetes.use_endpoints", 'M', "true", FLAG, UNSERVED, NULL, NULL },
    { "kubernetes.pod_ip", 'M', "10.0.0.1 | '::1'", "x | 5", UNSERVED, NULL, NULL },
    { "kubernetes.ports", 'M', "[{name: x, port: 1}]", "x | [] | [{name: x}] | [{name: x, port: 65536}]", UNSERVED, NULL, NULL },
    { "kubernetes.cacert", 'M', "/c", TEXT, UNSERVED, NULL, NULL },
    { "kubernetes.retriable_http_codes", 'M', "500 | [500, 503]", "x | [] | [x]", UNSERVED, NULL, NULL },
    { "kubernetes.bootstrap_labels", 'M', "{a: b}", KEYS, UNSERVED, NULL, NULL },

    { "raft", 'M', "{self_addr: 'h:1', partner_addrs: []}", KEYS, GROUP, NULL, NULL },
    { "raft.self_addr", 'N', "'h:1'", "5 | 'h:x' | 'localhost:1'", UNSERVED, NULL, NULL },
    { "raft.bind_addr", 'M', "'*:1'", "5 | '127.0.0.1:x' | '127.0.0.1:0'", UNSERVED, NULL, NULL },
    { "raft.partner_addrs", 'N', "[] | ['h:1']", "'h:1' | ['h:x']", UNSERVED, NULL, NULL },
    { "raft.data_dir", 'M', "/d", TEXT, UNSERVED, NULL, NULL },
    SECRET("raft.password", 'M', UNSERVED, NULL, NULL),
    { "raft.min_timeout", 'M', "0.1 | 1", "0 | -1 | x", UNSERVED, NULL, NULL },
    { "raft.max_timeout", 'M', "0.1 | 1", "0 | -1 | x", UNSERVED, NULL, NULL },
    { "raft.connection_timeout", 'M', "0.1 | 1", "0 | -1 | x", UNSERVED, NULL, NULL },
    { "raft.append_entries_period", 'M', "0.1 | 1", "0 | -1 | x", UNSERVED, NULL, NULL },
    { "raft.connection_retry_time", 'M', "0 | 0.1", "-1 | x", UNSERVED, NULL, NULL },
    { "raft.leader_fallback_timeout", 'M', "0.1 | 1", "0 | -1 | x", UNSERVED, NULL, NULL },

    { "zookeeper", 'M', "{hosts: 'h:1'}", KEYS, GROUP, NULL, NULL },
    { "zookeeper.hosts", 'N', "'h:1,i:2' | ['h:1']", "5 | [] | ['h:x']", UNSERVED, NULL, NULL },
    { "zookeeper.use_ssl", 'M', "true", FLAG, UNSERVED, NULL, NULL },
    { "zookeeper.cacert", 'M', "/c", TEXT, UNSERVED, NULL, NULL },
    { "zookeeper.cert", 'M', "/c", TEXT, UNSERVED, NULL, NULL },
    { "zookeeper.key", 'M', "/k", TEXT, UNSERVED, NULL, NULL },
    SECRET("zookeeper.key_password", 'M', UNSERVED, NULL, NULL),
    { "zookeeper.verify", 'M', "false", FLAG, UNSERVED, NULL, NULL },
    { "zookeeper.set_acls", 'M', "{a: [ALL]}", KEYS, UNSERVED, NULL, NULL },
    { "zookeeper.auth_data", 'M', "{digest: 'u:p'}", KEYS, UNSERVED, NULL, NULL },
    { "zookeeper.exhibitor", 'S', "{hosts: [h]}", KEYS, UNSERVED, NULL, NULL },

    { "citus", 'M', "{database: c, group: 0}", KEYS, GROUP, NULL, NULL },
    { "citus.database", 'N', "c", TEXT, UNSERVED, NULL, NULL },
    { "citus.group", 'N', "0 | 5 | 2147483647", "-1 | 2147483648 | x", UNSERVED, NULL, NULL },

    { "postgresql", 'N', "{listen: 'h:1', connect_address: 'h:1', data_dir: /d, authentication: {}}", KEYS, GROUP, NULL, NULL },
    { "postgresql.name", 'S', "b", TEXT, SHOWS, "name: null", NULL },
    { "postgresql.listen", 'N', "'*:5432' | '127.0.0.1,10.0.0.1:1' | '127.0.0.1:65535'", "5 | 'h:x' | 'h,*:1' | 'h:65536' | 'h:0'", SHOWS, NULL, NULL },
    { "postgresql.connect_address", 'N', "'h:1'", "5 | 'h:x' | '127.0.0.1:1' | '0.0.0.0:1'", SHOWS, NULL, NULL },
    { "postgresql.proxy_address", 'M', "'h:1'", "5 | 'h:x' | 'localhost:1'", SHOWS, NULL, NULL },
    { "postgresql.authentication", 'N', "{superuser: {username: x}, replication: {username: y}}", KEYS, GROUP, NULL, NULL },
    USER("superuser", 'N'),
    USER("replication", 'N'),
    USER("rewind", 'M'),
    { "postgresql.data_dir", 'N', "/other", "5 | ''", SHOWS, NULL, NULL },
    { "postgresql.config_dir", 'S', "/other", TEXT, SHOWS, NULL, NULL },
    { "postgresql.config_base_name", 'S', "other", TEXT, SHOWS, NULL, NULL },
    { "postgresql.bin_name", 'M', "{}", KEYS, GROUP, NULL, NULL },
    PROGRAM("pg_ctl"),
    PROGRAM("initdb"),
    PROGRAM("pg_controldata"),
    PROGRAM("pg_basebackup"),
    PROGRAM("postgres"),
    PROGRAM("pg_rewind"),
    { "postgresql.bin_name.pg_isready", 'M', "x", "5 | ''", NO_EFFECT, NULL, NULL },
    { "postgresql.bin_dir", 'M', "/other", NULL, SHOWS, NULL, NULL },
    { "postgresql.database", 'S', "other", TEXT, SHOWS, NULL, NULL },
    { "postgresql.pgpass", 'S', "/other", TEXT, SHOWS, NULL, NULL },
    { "postgresql.krbsrvname", 'S', "other", TEXT, SHOWS, NULL, NULL },
    { "postgresql.use_unix_socket", 'S', "true", FLAG, SHOWS, NULL, NULL },
    { "postgresql.use_unix_socket_repl", 'S', "true", FLAG, SHOWS, NULL, NULL },
    BY_ROLE("parameters", 'M', "{work_mem: 5MB}", KEYS),
    { "postgresql.parameters.unix_socket_directories", 'M', "/other", TEXT, SHOWS, NULL, NULL },
    BY_ROLE("pg_hba", 'M', "[local all all trust]", NAMES),
    BY_ROLE("pg_ident", 'M', "[a b c]", NAMES),
    { "postgresql.recovery_conf", 'S', "{restore_command: x}", KEYS, SHOWS, NULL, NULL },
    { "postgresql.custom_conf", 'S', "/other", TEXT, SHOWS, NULL, NULL },
    { "postgresql.create_replica_methods", 'S', "[x, basebackup]", NAMES, SHOWS, NULL, NULL },
    { "postgresql.create_replica_method", 'S', "[x, basebackup]", NAMES, SHOWS, NULL, NULL },
    { "postgresql.basebackup", 'M', "[verbose, {max-rate: 5M}] | {max-rate: 5M}", "x | [5]", PROVEN, NULL, "tests/unit/test_pg_tools.c" },
    { "postgresql.callbacks", 'S', "{on_start: x}", KEYS, GROUP, NULL, NULL },
    { "postgresql.callbacks.on_start", 'S', "x", TEXT, PROVEN, NULL, CALLBACK_TEST },
    { "postgresql.callbacks.on_stop", 'S', "x", TEXT, PROVEN, NULL, CALLBACK_TEST },
    { "postgresql.callbacks.on_restart", 'S', "x", TEXT, PROVEN, NULL, CALLBACK_TEST },
    { "postgresql.callbacks.on_reload", 'S', "x", TEXT, PROVEN, NULL, CALLBACK_TEST },
    { "postgresql.callbacks.on_role_change", 'S', "x", TEXT, PROVEN, NULL, CALLBACK_TEST },
    { "postgresql.pre_promote", 'S', "x", TEXT, SHOWS, NULL, NULL },
    { "postgresql.before_stop", 'S', "x", TEXT, SHOWS, NULL, NULL },
    { "postgresql.use_slots", 'S', "true", FLAG, PROVEN, NULL, "tests/unit/test_agent_config.c" },
    { "postgresql.use_pg_rewind", 'M', "true", FLAG, SHOWS, NULL, NULL },
    { "postgresql.rewind", 'M', "[debug, {sync-method: fsync}] | {debug: x}", "x | [5]", PROVEN, NULL, "tests/unit/test_pg_real_jobs.c" },
    { "postgresql.remove_data_directory_on_rewind_failure", 'S', "true", FLAG, SHOWS, NULL, NULL },
    { "postgresql.remove_data_directory_on_diverged_timelines", 'S', "true", FLAG, SHOWS, NULL, NULL },
    { "postgresql.pg_ctl_timeout", 'M', "1 | '9' | 2147483647", "-1 | 2147483648 | x", SHOWS, NULL, NULL },

    { "watchdog", 'M', "{}", KEYS, GROUP, NULL, NULL },
    { "watchdog.mode", 'M', "off | automatic | required", "'Off' | auto | 5", PROVEN, NULL, "tests/unit/test_agent_config.c" },
    { "watchdog.device", 'M', "/dev/watchdog0", TEXT, SHOWS, NULL, NULL },
    { "watchdog.safety_margin", 'M', "-1 | 5 | 2147483647", "-2 | 2147483648 | x", SHOWS, "watchdog: {safety_margin: 7}", NULL },
    { "watchdog.driver", 'S', "testing | x", TEXT, SHOWS, NULL, NULL },

    { "recorder", 'S', "{}", KEYS, GROUP, NULL, NULL },
    { "recorder.enabled", 'S', "false", FLAG, SHOWS, NULL, NULL },
    { "recorder.size", 'S', "1048576 | 16MB | 1GB", "1048575 | 2GB | x", SHOWS, NULL, NULL },
    { "recorder.file", 'S', "/other", TEXT, SHOWS, NULL, NULL },

    { "tags", 'M', "{rack: r1}", KEYS, SHOWS, NULL, NULL },
    { "tags.nofailover", 'M', "true", FLAG, SHOWS, NULL, NULL },
    { "tags.failover_priority", 'M', "0 | 5 | 2147483647", "-1 | 2147483648 | x", SHOWS, NULL, NULL },
    { "tags.clonefrom", 'M', "true", FLAG, SHOWS, NULL, NULL },
    { "tags.noloadbalance", 'M', "true", FLAG, SHOWS, NULL, NULL },
    { "tags.replicatefrom", 'M', "b", TEXT, SHOWS, NULL, NULL },
    { "tags.nosync", 'M', "true", FLAG, SHOWS, NULL, NULL },
    { "tags.sync_priority", 'M', "0 | 5 | 2147483647", "-1 | 2147483648 | x", SHOWS, NULL, NULL },
    { "tags.nostream", 'M', "true", FLAG, SHOWS, NULL, NULL },
};
/* clang-format on */

static char dir[] = "/tmp/pgvigil-options-XXXXXX", file[64];
static struct pgv_arena arena;

/* ---- documents ---------------------------------------------------------------------------------
 */

static struct pgv_value *parse(const char *yaml)
{
    struct pgv_value *v = NULL;
    struct pgv_error err;

    if (!pgv_yaml_parse(&arena, "x.yml", pgv_str(yaml), &v, &err))
        fail_msg("'%s': %s", yaml, err.msg);
    return v;
}

/** The next of the values in @list, or NULL. */
static struct pgv_value *next_value(const char **list)
{
    const char *text = *list, *end;

    if (!text || !*text)
        return NULL;
    end = strstr(text, " | ");
    *list = end ? end + 3 : text + strlen(text);
    return parse(
        pgv_arena_printf(&arena, "%.*s", (int)(end ? end - text : (long)strlen(text)), text));
}

static const char *last_key(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot ? dot + 1 : path;
}

/** The map in which the option at @path stands, made on the way. */
static struct pgv_value *parent_of(struct pgv_value *root, const char *path)
{
    struct pgv_value *at = root;

    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        const char *key = pgv_arena_printf(&arena, "%.*s", (int)(dot - path), path);
        struct pgv_value *child = pgv_get(at, key);

        if (!child)
            child = pgv_map_set(&arena, at, key, pgv_new(&arena, PGV_MAP));
        at = child;
    }
    assert_true(pgv_is(at, PGV_MAP));
    return at;
}

/** BASE with what @oc wants beside it; @value NULL: without the option itself. */
static struct pgv_value *document(const struct option_case *oc, struct pgv_value *value)
{
    struct pgv_value *root = parse(BASE), *parent;
    bool changed;

    if (strncmp(oc->path, "bootstrap.", 10) == 0)
        (void)parent_of(root, "bootstrap.dcs.x");
    if (oc->with)
        assert_true(pgv_value_patch(&arena, root, parse(oc->with), &changed, NULL));
    parent = parent_of(root, oc->path);
    if (value)
        assert_non_null(pgv_map_set(&arena, parent, last_key(oc->path), value));
    else
        pgv_map_remove(parent, last_key(oc->path));
    return root;
}

/* ---- what is said of a value ------------------------------------------------------------------
 */

/** Is there a line about @path, or a member of its list? @words: that holds these; @but: not those.
 */
static bool speaks(struct pgv_buf *b, const char *path, const char *words, const char *but)
{
    size_t n = strlen(path);
    const char *line = pgv_buf_cstr(b), *end;

    for (; *line; line = end + 1) {
        const char *text;

        end = strchr(line, '\n');
        assert_non_null(end);
        if (strncmp(line, path, n) != 0 ||
            !(line[n] == ' ' || (line[n] == '.' && line[n + 1] >= '0' && line[n + 1] <= '9')))
            continue;
        text = pgv_arena_printf(&arena, "%.*s", (int)(end - line), line);
        if (strstr(text, words) && !(but && strstr(text, but)))
            return true;
    }
    return false;
}

static void test_options__values_are_accepted_and_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct option_case *oc = &cases[i];
        const char *good = oc->good, *bad = oc->bad;
        struct pgv_value *v;
        struct agent_findings f;
        struct pgv_error err;

        while ((v = next_value(&good))) {
            agent_findings_init(&f);
            assert_true(agent_validate(document(oc, v), 0, &f, &err));
            if (speaks(&f.errors, oc->path, "", NULL) ||
                speaks(&f.warnings, oc->path, "", "has no effect"))
                fail_msg("%s refuses one of %s: %s%s", oc->path, oc->good, pgv_buf_cstr(&f.errors),
                         pgv_buf_cstr(&f.warnings));
            agent_findings_done(&f);
        }
        while ((v = next_value(&bad))) {
            agent_findings_init(&f);
            assert_true(agent_validate(document(oc, v), 0, &f, &err));
            if (!speaks(oc->demand == 'S' ? &f.warnings : &f.errors, oc->path, "", "has no effect"))
                fail_msg("%s takes one of '%s', but should %s: %s", oc->path, oc->bad,
                         oc->demand == 'S' ? "warn" : "refuse", pgv_buf_cstr(&f.errors));
            if (oc->demand == 'S' && speaks(&f.errors, oc->path, "", NULL))
                fail_msg("%s: a warning would do for one of '%s'", oc->path, oc->bad);
            agent_findings_done(&f);
        }
        pgv_arena_reset(&arena);
    }
}

static void test_options__what_a_section_needs(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct agent_findings f;
        struct pgv_error err;

        agent_findings_init(&f);
        assert_true(agent_validate(document(&cases[i], NULL), 0, &f, &err));
        if (speaks(&f.errors, cases[i].path, "is not defined.", "is needed]") !=
            (cases[i].demand == 'N'))
            fail_msg("%s: is it needed? %s", cases[i].path, pgv_buf_cstr(&f.errors));
        agent_findings_done(&f);
        pgv_arena_reset(&arena);
    }
}

/* ---- what an option does ----------------------------------------------------------------------
 */

static void put(struct pgv_buf *b, const char *name, const char *text)
{
    pgv_buf_printf(b, "%s=%s\n", name, text ? text : "(none)");
}

static void put_value(struct pgv_buf *b, const char *name, const struct pgv_value *v)
{
    pgv_buf_printf(b, "%s=", name);
    if (v)
        pgv_json_write(b, v, PGV_JSON_COMPACT);
    pgv_buf_putc(b, '\n');
}

static void put_policy(struct pgv_buf *b, const struct agent_config *c)
{
    struct watchdog_config w;
    struct ha_policy p;

    agent_config_policy(c, &p);
    agent_config_watchdog(c, &w);
    pgv_buf_printf(
        b, "times %llu %llu %llu %llu %llu %llu lag %llu history %d\n",
        (unsigned long long)p.ttl_ms, (unsigned long long)p.loop_wait_ms,
        (unsigned long long)p.retry_timeout_ms, (unsigned long long)p.primary_start_timeout_ms,
        (unsigned long long)p.primary_race_backoff_ms, (unsigned long long)p.member_slots_ttl_ms,
        (unsigned long long)p.maximum_lag_bytes, c->max_timelines_history);
    pgv_buf_printf(b, "flags %d%d%d %d %d%d%d%d %d\n", p.paused, p.check_timeline, p.failsafe_mode,
                   p.sync_requested, p.clone_without_leader, p.rewind, p.remove_on_diverged,
                   p.remove_on_rewind_failure, p.use_slots);
    pgv_buf_printf(b, "watchdog %d %llu %d %s\n", p.watchdog,
                   (unsigned long long)p.watchdog_timeout_ms, w.driver, w.device);
    put_value(b, "tags", c->tags);
}

static void put_auth(struct pgv_buf *b, const struct pgconf_auth *a)
{
    const char *const texts[] = { a->username,    a->password,        a->sslmode,
                                  a->sslcert,     a->sslkey,          a->sslpassword,
                                  a->sslrootcert, a->sslcrl,          a->sslcrldir,
                                  a->gssencmode,  a->channel_binding, a->sslnegotiation };

    for (size_t i = 0; i < COUNT(texts); i++)
        put(b, "auth", texts[i]);
}

static void put_postgresql(struct pgv_buf *b, const struct agent_config *c)
{
    static const char *const programs[] = { "pg_ctl",        "initdb",   "pg_controldata",
                                            "pg_basebackup", "postgres", "pg_rewind" };
    char path[PGCONF_PATH_BYTES];
    struct pgconf_address addr;
    struct pgconf *p = NULL;
    struct pgv_error err;

    if (!pgconf_new(c->name, c->scope, c->postgresql, &p, &err) ||
        !pgconf_resolve_address(p, &addr, &err))
        fail_msg("%s", err.msg);
    put(b, "conn_url", addr.conn_url);
    put(b, "proxy_url", addr.proxy_url);
    put(b, "tcp_host", addr.tcp_host);
    put(b, "data_dir", p->data_dir);
    put(b, "conf_path", p->conf_path);
    put(b, "base_conf_path", p->base_conf_path);
    put(b, "listen_addresses", p->listen_addresses);
    put(b, "port", p->port);
    put(b, "database", p->database);
    put(b, "pgpass", p->pgpass);
    put(b, "krbsrvname", p->krbsrvname);
    put(b, "custom_conf", p->custom_conf);
    put(b, "pre_promote", p->pre_promote);
    put(b, "before_stop", p->before_stop);
    put_auth(b, &p->superuser);
    put_auth(b, &p->replication);
    put_auth(b, &p->rewind);
    pgv_buf_printf(
        b, "flags %d%d%d%d%d timeout %llu\n", p->use_unix_socket, p->use_unix_socket_repl,
        p->use_pg_rewind, p->remove_data_directory_on_rewind_failure,
        p->remove_data_directory_on_diverged_timelines, (unsigned long long)p->pg_ctl_timeout_ms);
    put_value(b, "parameters", p->parameters);
    put_value(b, "recovery_conf", p->recovery_conf);
    put_value(b, "pg_hba", p->pg_hba);
    put_value(b, "pg_ident", p->pg_ident);
    for (const char *const *m = p->create_replica_methods; *m; m++)
        put(b, "method", *m);
    for (size_t i = 0; i < COUNT(programs); i++) {
        assert_true(pgconf_bin(p, programs[i], path));
        put(b, "program", path);
    }
    pgconf_unref(p);
}

static void put_store(struct pgv_buf *b, const struct pgv_value *section)
{
    struct etcd3_config e = { 0 };
    struct pgv_error err;

    if (!etcd3_config_read(section, &e, &err)) {
        put(b, "etcd3", err.msg);
        return;
    }
    for (unsigned i = 0; i < e.n_hosts; i++)
        pgv_buf_printf(b, "host %s:%d\n", e.hosts[i].host, e.hosts[i].port);
    pgv_buf_printf(b, "flags %d%d%d\n", e.https, e.proxies, e.spread_host);
    put(b, "srv", e.srv);
    put(b, "srv_suffix", e.srv_suffix);
    put(b, "username", e.username);
    put(b, "password", e.password);
    put(b, "cacert", e.cacert);
    put(b, "cert", e.cert);
    put(b, "key", e.key);
}

/** All that others are given of @doc. */
static const char *fingerprint(const struct pgv_value *doc)
{
    static const enum pgv_role roles[] = { PGV_ROLE_UNINITIALIZED, PGV_ROLE_PRIMARY,
                                           PGV_ROLE_REPLICA, PGV_ROLE_STANDBY_LEADER };
    struct recorder_config recorder;
    struct agent_config c;
    struct pgv_error err;
    struct pgv_buf yaml, b;
    const char *text;

    pgv_buf_init(&yaml, 65536);
    pgv_buf_init(&b, 1 << 20);
    assert_true(pgv_yaml_write(&yaml, doc));
    assert_true(pgv_file_replace(file, pgv_buf_view(&yaml), 0600, &err));
    if (!agent_config_open(&c, file, &err) || !agent_config_use_bootstrap(&c, &err))
        fail_msg("%s\n%s", err.msg, pgv_buf_cstr(&yaml));
    put(&b, "name", c.name);
    put(&b, "scope", c.scope);
    put(&b, "namespace", c.name_space);
    put_value(&b, "restapi.auth", pgv_path(c.effective, "restapi.auth"));
    put_value(&b, "ctl.auth", pgv_path(c.effective, "ctl.auth"));
    put_policy(&b, &c);
    put_store(&b, c.dcs_section);
    for (size_t i = 0; i < COUNT(roles); i++) {
        (void)agent_config_set_role(&c, roles[i]);
        put_postgresql(&b, &c);
    }
    if (!recorder_config_read(pgv_get(c.local.root, "recorder"), NULL, "/nowhere", c.name,
                              &recorder, &err))
        fail_msg("%s", err.msg);
    pgv_buf_printf(&b, "recorder %d %llu %s\n", recorder.enabled,
                   (unsigned long long)recorder.size_bytes, recorder.file);
    agent_config_done(&c);
    text = pgv_arena_dup(&arena, pgv_buf_view(&b));
    assert_non_null(text);
    pgv_buf_done(&b);
    pgv_buf_done(&yaml);
    return text;
}

static void test_options__effects(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct option_case *oc = &cases[i];
        const char *good = oc->good, *without;
        struct pgv_value *v;

        pgv_arena_reset(&arena);
        if (oc->effect != SHOWS && oc->effect != NO_EFFECT)
            continue;
        without = oc->demand == 'N' && !oc->with ? fingerprint(parse(BASE)) : NULL;
        if (!without && oc->with) { /* what is needed is there, with another value */
            struct pgv_value *root = parse(BASE);
            bool changed;

            assert_true(pgv_value_patch(&arena, root, parse(oc->with), &changed, NULL));
            if (!pgv_path(root, "name"))
                (void)pgv_map_set(&arena, pgv_get(root, "postgresql"), "name", parse("o"));
            without = fingerprint(root);
        } else if (!without) {
            without = fingerprint(document(oc, NULL));
        }
        while ((v = next_value(&good))) {
            bool same = strcmp(fingerprint(document(oc, v)), without) == 0;

            if (same != (oc->effect == NO_EFFECT))
                fail_msg("%s: one of '%s' %s", oc->path, oc->good,
                         same ? "changes nothing" : "changes something");
        }
    }
}

/* ---- the two tables ---------------------------------------------------------------------------
 */

static const struct option_case *case_of(const char *path)
{
    const struct option_case *found = NULL;

    for (size_t i = 0; i < COUNT(cases); i++) {
        if (strcmp(cases[i].path, path) != 0)
            continue;
        if (found)
            fail_msg("two cases for '%s'", path);
        found = &cases[i];
    }
    return found;
}

static void test_options__each_has_a_case_and_each_case_an_option(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(options); i++) {
        const struct option_case *oc = case_of(options[i].path);

        if (!oc)
            fail_msg("no case for '%s'", options[i].path);
        /* what is documented as without effect, and nothing else */
        assert_int_equal(options[i].applied == NOTHING, oc->effect == NO_EFFECT);
    }
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (!agent_option_known(cases[i].path))
            fail_msg("'%s' is no option", cases[i].path);
    }
}

static void test_options__tests_elsewhere_speak_of_them(void **state)
{
    const char *source = getenv("PGVIGIL_SOURCE_DIR");

    (void)state;
    assert_non_null(source);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct option_case *oc = &cases[i];
        const char *key = last_key(oc->path);
        size_t n = strlen(key);
        struct pgv_error err;
        struct pgv_buf text;

        assert_int_equal(oc->effect == PROVEN, oc->proven != NULL);
        if (!oc->proven)
            continue;
        if (n > 5 && strcmp(key + n - 5, "_file") == 0)
            key = pgv_arena_printf(&arena, "%.*s", (int)n - 5, key);
        pgv_buf_init(&text, 1 << 20);
        if (!pgv_file_read(pgv_arena_printf(&arena, "%s/%s", source, oc->proven), &text, &err))
            fail_msg("%s: %s", oc->path, err.msg);
        if (!strstr(pgv_buf_cstr(&text), key))
            fail_msg("%s is not tested in %s", oc->path, oc->proven);
        pgv_buf_done(&text);
        pgv_arena_reset(&arena);
    }
}

/* Where the server lives stays, and the manual says so of these options and no others. */
static void test_options__the_server_stays_where_it_is(void **state)
{
    struct agent_config c;
    struct pgv_error err;
    struct pgv_buf yaml;
    bool changed;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct option_case *oc = &cases[i];
        const char *good = oc->good;
        bool stays;

        if (strncmp(oc->path, "postgresql.", 11) != 0 || oc->effect != SHOWS || oc->with)
            continue;
        pgv_buf_init(&yaml, 65536);
        assert_true(pgv_file_replace(file, PGV_STR(BASE), 0600, &err));
        assert_true(agent_config_open(&c, file, &err));
        assert_true(agent_config_pin(&c, &err));
        assert_true(pgv_yaml_write(&yaml, document(oc, next_value(&good))));
        assert_true(pgv_file_replace(file, pgv_buf_view(&yaml), 0600, &err));
        assert_true(agent_config_reload(&c, &changed, &err));
        assert_true(changed);
        stays = pgv_value_same(pgv_path(parse(BASE), oc->path), pgv_path(c.effective, oc->path)) ||
                (!pgv_path(parse(BASE), oc->path) && !pgv_path(c.effective, oc->path));
        if (stays != (agent_option_effect(oc->path) == AGENT_OPTION_RESTART))
            fail_msg("%s %s", oc->path, stays ? "stays" : "changes");
        agent_config_done(&c);
        pgv_buf_done(&yaml);
        pgv_arena_reset(&arena);
    }
}

static int up(void **state)
{
    (void)state;
    pgv_log_configure_ctl(PGV_CRITICAL);
    pgv_arena_init(&arena, 4u << 20);
    if (!mkdtemp(dir))
        return -1;
    (void)snprintf(file, sizeof(file), "%s/c.yml", dir);
    return 0;
}

static int down(void **state)
{
    struct pgv_error err;

    (void)state;
    pgv_arena_done(&arena);
    return pgv_tree_remove(dir, &err) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options__each_has_a_case_and_each_case_an_option),
        cmocka_unit_test(test_options__values_are_accepted_and_refused),
        cmocka_unit_test(test_options__what_a_section_needs),
        cmocka_unit_test(test_options__effects),
        cmocka_unit_test(test_options__tests_elsewhere_speak_of_them),
        cmocka_unit_test(test_options__the_server_stays_where_it_is),
    };

    return cmocka_run_group_tests(tests, up, down);
}
