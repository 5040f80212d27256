/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_agent_callbacks.c - the operator's scripts, and what systemd is told. */
#include "agent_support.h"

#include "base/child.h"
#include "base/file.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char out_path[128];
static struct pgv_buf out;

/* 'long' runs until it is killed, and has a child of its own that does. */
static const char script[] = "echo \"$@\" >> \"$0.out\"\n"
                             "case \"$1\" in\n"
                             "long) test -e \"$0.quick\" && exit 3\n"
                             "sleep 1000 & echo \"$! $$\" >> \"$0.pids\"; wait ;;\n"
                             "esac\n";

static int up(void **state)
{
    char script_path[128], more[1024];
    struct pgv_error err;

    (void)state;
    world_open("", "");
    snprintf(script_path, sizeof(script_path), "%s/cb", world.dir);
    snprintf(out_path, sizeof(out_path), "%s/cb.out", world.dir);
    assert_true(pgv_file_replace(script_path, pgv_str(script), 0700, &err));
    snprintf(more, sizeof(more),
             "  callbacks:\n    on_start: /bin/sh %s 'a  b'\n    on_stop: /bin/sh %s long\n"
             "    on_restart: /nonexistent/x\n    on_reload: /bin/sh %s long\n"
             "    on_role_change: /bin/sh %s last\n",
             script_path, script_path, script_path, script_path);
    world_config_write("", more);
    {
        bool changed;

        assert_true(agent_config_reload(&world.a.config, &changed, &err));
    }
    assert_true(pgv_reaper_open(&world.a.loop, &err));
    assert_true(callbacks_open(&world.a, &err));
    pgv_buf_init(&out, 65536);
    return 0;
}

static bool callbacks_closed;

static void on_closed(struct agent *a)
{
    (void)a;
    callbacks_closed = true;
}

static bool is_closed(void)
{
    return callbacks_closed;
}

static int down(void **state)
{
    (void)state;
    if (world.a.callbacks) {
        callbacks_closed = false;
        callbacks_close(&world.a, on_closed);
        world_turn_until(is_closed);
    }
    pgv_reaper_close();
    pgv_buf_done(&out);
    world_close();
    return 0;
}

static const char *wanted;

static bool out_is_wanted(void)
{
    struct pgv_error err;

    pgv_buf_reset(&out);
    return pgv_file_read(out_path, &out, &err) && strcmp(pgv_buf_cstr(&out), wanted) == 0;
}

static void wait_for(const char *text)
{
    wanted = text;
    world_turn_until(out_is_wanted);
}

static pid_t pids[2];

static bool pids_written(void)
{
    struct pgv_error err;
    struct pgv_buf b;
    char path[160];
    bool ok;

    snprintf(path, sizeof(path), "%s/cb.pids", world.dir);
    pgv_buf_init(&b, 65536);
    ok =
        pgv_file_read(path, &b, &err) && sscanf(pgv_buf_cstr(&b), "%d %d", &pids[0], &pids[1]) == 2;
    pgv_buf_done(&b);
    return ok;
}

/* Ended, though its parent may not have asked for it yet. */
static bool gone(int pid)
{
    char path[64], state = 'X';
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "r");
    if (!f)
        return true;
    if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
        state = 'X';
    fclose(f);
    return state == 'Z' || state == 'X';
}

static bool both_gone(void)
{
    return gone(pids[0]) && gone(pids[1]);
}

static void test_callbacks_run__words_action_role_scope(void **state)
{
    struct agent *a = &world.a;

    (void)state;
    callbacks_run(a, "on_start", PGV_ROLE_PROMOTED);
    wait_for("a  b on_start primary demo\n");
    callbacks_run(a, "on_nothing", PGV_ROLE_REPLICA); /* not configured */
    callbacks_run(a, "on_restart", PGV_ROLE_REPLICA); /* cannot be started: the next one can */
    callbacks_run(a, "on_role_change", PGV_ROLE_STANDBY_LEADER);
    wait_for("a  b on_start primary demo\nlast on_role_change standby_leader demo\n");
}

static void test_callbacks_run__the_newest_kills_the_running_one(void **state)
{
    struct agent *a = &world.a;

    (void)state;
    callbacks_run(a, "on_stop", PGV_ROLE_REPLICA);
    world_turn_until(pids_written);
    callbacks_run(a, "on_start", PGV_ROLE_REPLICA); /* replaced before it began */
    callbacks_run(a, "on_role_change", PGV_ROLE_PRIMARY);
    wait_for("long on_stop replica demo\nlast on_role_change primary demo\n");
    world_turn_until(both_gone); /* with its children; they were killed before the next began */
}

static void test_callbacks_run__reload_has_its_own_place(void **state)
{
    struct agent *a = &world.a;
    struct pgv_error err;
    char quick[128];

    (void)state;
    callbacks_run(a, "on_reload", PGV_ROLE_PRIMARY);
    world_turn_until(pids_written);
    callbacks_run(a, "on_role_change", PGV_ROLE_PRIMARY);
    wait_for("long on_reload primary demo\nlast on_role_change primary demo\n");
    assert_int_equal(kill(pids[1], 0), 0); /* it runs on */
    snprintf(quick, sizeof(quick), "%s/cb.quick", world.dir);
    assert_true(pgv_file_replace(quick, PGV_STR(""), 0600, &err)); /* the next one ends soon */
    callbacks_run(a, "on_reload", PGV_ROLE_REPLICA);
    wait_for("long on_reload primary demo\nlast on_role_change primary demo\n"
             "long on_reload replica demo\n");
    world_turn_until(both_gone);
}

static void test_callbacks_close__waits_for_a_script_that_runs(void **state)
{
    struct agent *a = &world.a;

    (void)state;
    callbacks_run(a, "on_start", PGV_ROLE_REPLICA);
    callbacks_closed = false;
    callbacks_close(a, on_closed);
    callbacks_run(a, "on_role_change", PGV_ROLE_PRIMARY); /* too late */
    world_turn_until(is_closed);
    wait_for("a  b on_start replica demo\n");
}

static void test_notify_systemd__datagrams(void **state)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    char dir[] = "/tmp/pgvigil-notify-XXXXXX", text[256] = "";
    unsigned long long us = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ssize_t n;

    (void)state;
    assert_true(fd >= 0);
    assert_non_null(mkdtemp(dir));
    snprintf(at.sun_path, sizeof(at.sun_path), "%s/s", dir);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", at.sun_path, 1), 0);
    notify_systemd("READY=1");
    n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
    assert_int_equal(n, 7);
    assert_string_equal(text, "READY=1");
    assert_null(getenv("NOTIFY_SOCKET")); /* PostgreSQL must not speak in our name */
    notify_systemd("RELOADING=1");
    n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
    assert_true(n > 0);
    text[n] = '\0';
    assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%llu", &us), 1);
    assert_true(us > 0);
    close(fd);
    notify_systemd("STOPPING=1"); /* nobody there: said in the log, no more */
    unlink(at.sun_path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_callbacks_run__words_action_role_scope, up, down),
        cmocka_unit_test_setup_teardown(test_callbacks_run__the_newest_kills_the_running_one, up,
                                        down),
        cmocka_unit_test_setup_teardown(test_callbacks_run__reload_has_its_own_place, up, down),
        cmocka_unit_test_setup_teardown(test_callbacks_close__waits_for_a_script_that_runs, up,
                                        down),
        cmocka_unit_test(test_notify_systemd__datagrams),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
