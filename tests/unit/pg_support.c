/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/pg_support.c - a real PostgreSQL for the tests of pg/. */
#include "pg_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/file.h"
#include "http/names.h"

#include <arpa/inet.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 60000
#define TICK_MS 20
#define ROOM_BYTES (2ull << 30)

static struct {
    uv_loop_t loop;
    uv_timer_t tick; /* so that a wait can look at its deadline */
    char dir[64], bin[256];
    bool open;
} site;

extern char **environ;

static bool find_bin(void)
{
    glob_t g = { 0 };
    int best = 0;

    if (glob("/usr/lib/postgresql/*/bin/postgres", 0, NULL, &g) == 0)
        for (size_t i = 0; i < g.gl_pathc; i++) {
            int v = (int)strtol(g.gl_pathv[i] + strlen("/usr/lib/postgresql/"), NULL, 10);

            if (v > best) {
                best = v;
                (void)snprintf(site.bin, sizeof(site.bin), "/usr/lib/postgresql/%d/bin", v);
            }
        }
    globfree(&g);
    return best > 0;
}

static bool become_postgres(void)
{
    struct passwd *pw;

    if (getuid() != 0)
        return true;
    pw = getpwnam("postgres");
    if (!pw || initgroups("postgres", pw->pw_gid) != 0 || setgid(pw->pw_gid) != 0 ||
        setuid(pw->pw_uid) != 0)
        return false;
    (void)setenv("HOME", pw->pw_dir, 1);
    /* The leak checker looks into us with ptrace, which a change of user forbids. */
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

static void on_tick(uv_timer_t *t)
{
    (void)t;
}

bool pg_site_open(void)
{
    const char *tmp = getenv("TMPDIR");
    struct statvfs vfs;
    struct pgv_error err;

    if (!find_bin() || !become_postgres())
        return false;
    /* Memory where there is enough of it: on a busy disk the fsyncs of PostgreSQL take most of the
     * time. The path must fit a socket's. */
    if (!tmp && statvfs("/dev/shm", &vfs) == 0 &&
        (uint64_t)vfs.f_bavail * vfs.f_frsize > ROOM_BYTES && access("/dev/shm", W_OK) == 0)
        tmp = "/dev/shm";
    (void)snprintf(site.dir, sizeof(site.dir), "%s/pgvigil-test-XXXXXX",
                   tmp && strlen(tmp) < 32 ? tmp : "/tmp");
    if (!mkdtemp(site.dir) || chdir(site.dir) != 0)
        return false;
    assert_int_equal(uv_loop_init(&site.loop), 0);
    assert_true(pgv_reaper_open(&site.loop, &err));
    assert_true(names_open(&site.loop, &err));
    (void)uv_timer_init(&site.loop, &site.tick);
    (void)uv_timer_start(&site.tick, on_tick, TICK_MS, TICK_MS);
    site.open = true;
    return true;
}

static void on_names_closed(void *data)
{
    *(bool *)data = true;
}

void pg_site_close(void)
{
    struct pgv_error err;
    bool closed = false;

    if (!site.open)
        return;
    names_close(on_names_closed, &closed);
    pgv_reaper_close();
    uv_close((uv_handle_t *)&site.tick, NULL);
    while (uv_run(&site.loop, UV_RUN_DEFAULT) != 0)
        ;
    assert_true(closed);
    assert_int_equal(uv_loop_close(&site.loop), 0);
    assert_int_equal(chdir("/"), 0);
    if (!pgv_tree_remove(site.dir, &err))
        print_message("%s\n", err.msg);
    site.open = false;
}

const char *pg_site_dir(void)
{
    return site.dir;
}

const char *pg_site_bin(void)
{
    return site.bin;
}

uv_loop_t *pg_site_loop(void)
{
    return &site.loop;
}

bool pg_run(const char *const *argv)
{
    union {
        const char *const *in;
        char *const *out;
    } u = { .in = argv };
    pid_t pid;
    int status;

    if (posix_spawn(&pid, argv[0], NULL, NULL, u.out, environ) != 0)
        return false;
    return waitpid(pid, &status, 0) == pid && status == 0;
}

int pg_free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    close(fd);
    return ntohs(a.sin_port);
}

/* ---- a supervised server ---- */

static void on_change(struct postmaster *pm)
{
    struct pg_node *n = pm->data;

    n->changes++;
    if (!pm->facts.alive && n->dead_ms == 0)
        n->dead_ms = pgv_clock_ms();
}

static void append(char *to, size_t bytes, const char *a, const char *b)
{
    size_t at = strlen(to);

    (void)snprintf(to + at, bytes - at, "%s%s:%s", at ? " " : "", a, b);
}

static void on_job_end(struct postmaster *pm, enum postmaster_job job,
                       enum postmaster_outcome outcome, const char *message)
{
    static const char *const names[] = { "done", "no", "unknown", "failed", "canceled" };
    struct pg_node *n = pm->data;

    n->ends++;
    n->end_job = job;
    n->end_outcome = outcome;
    (void)snprintf(n->end_message, sizeof(n->end_message), "%s", message);
    append(n->ended, sizeof(n->ended), postmaster_job_name(job), names[outcome]);
}

static void on_shutdown_checkpoint(struct postmaster *pm, uint64_t lsn, uint64_t prev)
{
    struct pg_node *n = pm->data;

    n->checkpoint_seen = true;
    n->checkpoint_lsn = lsn;
    n->prev_lsn = prev;
}

static void on_callback(struct postmaster *pm, const char *action, enum pgv_role role)
{
    struct pg_node *n = pm->data;

    append(n->callbacks, sizeof(n->callbacks), action, pgv_role_name(role));
}

void pg_node_configure(struct pg_node *n, const char *extra)
{
    char text[4096];
    struct pgv_error err;
    struct pgv_value *root;

    (void)snprintf(text, sizeof(text),
                   "listen: 127.0.0.1:%d\n"
                   "connect_address: 127.0.0.1:%d\n"
                   "data_dir: %s\n"
                   "bin_dir: %s\n"
                   "pgpass: %s/%s.pgpass\n"
                   "use_unix_socket: true\n"
                   "use_unix_socket_repl: true\n"
                   "use_pg_rewind: true\n"
                   "authentication:\n"
                   "  superuser: {username: postgres}\n"
                   "  replication: {username: postgres}\n"
                   "%s\n",
                   n->port, n->port, n->data_dir, site.bin, site.dir, n->name, extra ? extra : "");
    if (!extra || !strstr(extra, "parameters:"))
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
                       "parameters: {unix_socket_directories: %s, shared_buffers: 16MB,"
                       " max_connections: 30}\n",
                       site.dir);
    pgv_arena_reset(&n->arena);
    if (!pgv_yaml_parse(&n->arena, "test", pgv_str(text), &root, &err))
        fail_msg("%s", err.msg);
    n->config = (struct postmaster_config){
        .name = n->name,
        .scope = "test",
        .postgresql = root,
        .bootstrap = n->config.bootstrap,
        .retry_timeout_ms = 10000,
        .loop_wait_ms = 10000,
        .has_config_key = true,
    };
}

void pg_node_init(struct pg_node *n, const char *name, const char *extra)
{
    memset(n, 0, sizeof(*n));
    (void)snprintf(n->name, sizeof(n->name), "%s", name);
    (void)snprintf(n->data_dir, sizeof(n->data_dir), "%s/%s", site.dir, name);
    n->port = pg_free_port();
    pgv_arena_init(&n->arena, 1u << 20);
    pg_node_configure(n, extra);
}

void pg_node_open(struct pg_node *n)
{
    struct pgv_error err;

    n->pm = (struct postmaster){ .data = n,
                                 .on_change = on_change,
                                 .on_job_end = on_job_end,
                                 .on_shutdown_checkpoint = on_shutdown_checkpoint,
                                 .on_callback = on_callback };
    if (!postmaster_open(&n->pm, &site.loop, &n->config, &err))
        fail_msg("%s", err.msg);
    n->open = true;
}

static void on_closed(struct postmaster *pm)
{
    struct pg_node *n = pm->data;

    n->open = false;
}

static bool is_closed(struct pg_node *n)
{
    return !n->open;
}

void pg_node_close(struct pg_node *n)
{
    postmaster_close(&n->pm, on_closed);
    pg_until(is_closed, n, "close");
}

void pg_node_done(struct pg_node *n)
{
    pid_t pid = 0;

    if (n->open) {
        pid = n->pm.facts.pid;
        pg_node_close(n);
    }
    if (pid > 0)
        (void)kill(pid, SIGQUIT);
    pgv_arena_done(&n->arena);
}

void pg_initdb(struct pg_node *n)
{
    char initdb[300];
    const char *argv[] = { initdb,  "-D", n->data_dir, "-N",          "-A",
                           "trust", "-U", "postgres",  "--no-locale", NULL };

    (void)snprintf(initdb, sizeof(initdb), "%s/initdb", site.bin);
    assert_true(pg_run(argv));
}

void pg_until(bool (*done)(struct pg_node *n), struct pg_node *n, const char *what)
{
    uint64_t deadline = pgv_clock_ms() + WAIT_MS;

    while (!done(n)) {
        if (pgv_clock_ms() > deadline)
            fail_msg("%s: waited too long for '%s' (ended: %s; state %s)", n->name, what, n->ended,
                     n->open ? pgv_state_name(n->pm.facts.state) : "closed");
        (void)uv_run(&site.loop, UV_RUN_ONCE);
    }
}

static unsigned ends_wanted;

static bool has_ended(struct pg_node *n)
{
    return n->ends >= ends_wanted;
}

enum postmaster_outcome pg_job(struct pg_node *n, const struct postmaster_job_args *args)
{
    struct pgv_error err;

    ends_wanted = n->ends + 1;
    if (!postmaster_job_start(&n->pm, args, &err))
        fail_msg("%s", err.msg);
    pg_until(has_ended, n, postmaster_job_name(args->job));
    assert_int_equal(n->end_job, args->job);
    if (n->end_outcome != PM_DONE)
        print_message("%s: %s ended with: %s\n", n->name, postmaster_job_name(args->job),
                      n->end_message);
    return n->end_outcome;
}

static void on_look(struct postmaster *pm)
{
    struct pg_node *n = pm->data;

    n->looks++;
}

static unsigned looks_wanted;

static bool has_looked(struct pg_node *n)
{
    return n->looks >= looks_wanted;
}

void pg_look(struct pg_node *n)
{
    looks_wanted = n->looks + 1;
    postmaster_look(&n->pm, on_look);
    assert_int_equal(n->looks + 1, looks_wanted); /* never inside the call */
    pg_until(has_looked, n, "look");
}

void pg_sql(struct pg_node *n, const char *sql, char ret[256])
{
    char psql[300], port[16], out[300];
    const char *argv[] = { psql, "-XAtq",    "-h", site.dir, "-p", port, "-U", "postgres",
                           "-d", "postgres", "-c", sql,      "-o", out,  NULL };
    struct pgv_error err;
    struct pgv_buf b;

    (void)snprintf(psql, sizeof(psql), "%s/psql", site.bin);
    (void)snprintf(port, sizeof(port), "%d", n->port);
    (void)snprintf(out, sizeof(out), "%s/psql.out", site.dir);
    if (!pg_run(argv))
        fail_msg("psql failed: %s", sql);
    pgv_buf_init(&b, 1u << 20);
    assert_true(pgv_file_read(out, &b, &err));
    (void)snprintf(ret, 256, "%.*s", (int)strcspn(pgv_buf_cstr(&b), "\n"), pgv_buf_cstr(&b));
    pgv_buf_done(&b);
}
