/* SPDX-License-Identifier: PostgreSQL */
/* tests/unit/test_pg_process.c - whose process is it: postmaster.pid, /proc and the verdict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg/process.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void test_pm_pidfile_parse__reads_all_versions(void **state)
{
    struct pm_pidfile f;
    struct pgv_error err;

    (void)state;
    assert_true(pm_pidfile_parse(pgv_str("4711\n/var/lib/pg\n1700000000\n5432\n/run/pg\n*\n"
                                         "  5432001    131072\nready   \n"),
                                 &f, &err));
    assert_int_equal(f.pid, 4711);
    assert_false(f.single_user);
    assert_string_equal(f.data_dir, "/var/lib/pg");
    assert_true(f.start_time_s == 1700000000);
    assert_int_equal(f.port, 5432);
    assert_string_equal(f.status, "ready");
    /* 9.x: seven lines; a single-user backend: two */
    assert_true(pm_pidfile_parse(pgv_str("12\n/d\n1\n5433\n\n\n  1 2\n"), &f, &err));
    assert_string_equal(f.status, "");
    assert_true(pm_pidfile_parse(pgv_str("-815\n/d\n"), &f, &err));
    assert_int_equal(f.pid, 815);
    assert_true(f.single_user);
    assert_int_equal(f.port, 0);
    /* half written */
    assert_true(pm_pidfile_parse(pgv_str("77"), &f, &err));
    assert_int_equal(f.pid, 77);
    assert_true(f.start_time_s == 0);
}

static void test_pm_pidfile_parse__refuses_what_is_no_pid(void **state)
{
    static const char *const bad[] = { "",      "\n",    "x\n",          "0\n/d\n",      "-\n",
                                       "--5\n", "5 6\n", "9999999999\n", "-9999999999\n" };
    struct pm_pidfile f = { .pid = 3 };
    struct pgv_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(pm_pidfile_parse(pgv_str(bad[i]), &f, &err));
        assert_int_equal(err.code, PGV_EINVALID);
        assert_int_equal(f.pid, 3);
    }
}

static void test_pm_proc_parse_stat__is_not_fooled_by_names(void **state)
{
    struct pm_proc p;

    (void)state;
    assert_true(pm_proc_parse_stat(
        pgv_str("42 (a) S 1 ) R 7) Z 17 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 123456 9 9\n"),
        &p));
    assert_int_equal(p.pid, 42);
    assert_int_equal(p.state, 'Z');
    assert_int_equal(p.ppid, 17);
    assert_true(p.start_ticks == 123456);
    assert_false(pm_proc_parse_stat(pgv_str(""), &p));
    assert_false(pm_proc_parse_stat(pgv_str("42 (a"), &p));
    assert_false(pm_proc_parse_stat(pgv_str("42 (a) S 17 42 42 0"), &p));
    assert_false(
        pm_proc_parse_stat(pgv_str("0 (a) S 17 1 1 0 -1 4 1 0 0 0 0 0 0 0 2 0 1 0 1 9"), &p));
}

#define SELF 100
#define PARENT 50

static void test_pm_judge__walks_the_table(void **state)
{
    static const struct pm_whose whose = {
        .self = SELF, .parent = PARENT, .data_dir = "/data", .postgres = "/usr/bin/postgres"
    };
    static const struct {
        const char *what;
        pid_t pid, ppid;
        char pstate;
        int64_t started, file_time;
        const char *exe, *cwd;
        enum pm_verdict verdict;
    } rows[] = {
        { "the agent", SELF, 1, 'S', 10, 10, "/usr/bin/postgres", "/data", PM_NOT_POSTMASTER },
        { "its parent", PARENT, 1, 'S', 10, 10, "/usr/bin/postgres", "/data", PM_NOT_POSTMASTER },
        { "a zombie", 7, 1, 'Z', 10, 10, "", "", PM_NOT_POSTMASTER },
        { "start time equal", 7, 1, 'S', 10, 10, "", "", PM_IS_POSTMASTER },
        { "3 s apart", 7, 1, 'S', 13, 10, "/opt/postgres", "/", PM_IS_POSTMASTER },
        { "3 s apart, by another name", 7, 1, 'S', 13, 10, "/opt/pg.bin", "/data",
          PM_IS_POSTMASTER },
        { "a shell elsewhere", 7, 1, 'S', 10, 10, "/bin/sh", "/", PM_NOT_POSTMASTER },
        { "a shell, directory unknown", 7, 1, 'S', 10, 10, "/bin/sh", "", PM_IS_POSTMASTER },
        { "4 s apart, a shell", 7, 1, 'S', 14, 10, "/bin/sh", "/data", PM_NOT_POSTMASTER },
        { "4 s earlier, a shell", 7, 1, 'S', 6, 10, "/bin/sh", "/data", PM_NOT_POSTMASTER },
        { "executable unknown", 7, 1, 'S', 99, 10, "", "/data", PM_NOT_POSTMASTER },
        { "right directory", 7, 1, 'S', 99, 10, "/opt/postgres", "/data", PM_IS_POSTMASTER },
        { "called postmaster", 7, 1, 'S', 99, 10, "/opt/postmaster", "/data", PM_IS_POSTMASTER },
        { "another directory", 7, 1, 'S', 99, 10, "/usr/bin/postgres", "/d2", PM_NOT_POSTMASTER },
        { "directory unknown", 7, 1, 'S', 99, 10, "/usr/bin/postgres", "",
          PM_IS_POSTMASTER_UNPROVEN },
        { "no time in the file", 7, 1, 'S', 99, 0, "/usr/bin/postgres", "/data", PM_IS_POSTMASTER },
        { "child of ours: its time proves nothing", 7, SELF, 'S', 10, 10, "/bin/sh", "/data",
          PM_NOT_POSTMASTER },
        { "child of ours: a real one", 7, SELF, 'S', 10, 10, "/usr/bin/postgres", "/data",
          PM_IS_POSTMASTER },
        { "child of ours: directory unknown", 7, SELF, 'S', 10, 10, "/usr/bin/postgres", "",
          PM_NOT_POSTMASTER },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pm_proc p = { .pid = rows[i].pid,
                             .ppid = rows[i].ppid,
                             .state = rows[i].pstate,
                             .start_wall_s = rows[i].started };
        struct pm_pidfile f = { .pid = rows[i].pid, .start_time_s = rows[i].file_time };

        (void)snprintf(p.exe, sizeof(p.exe), "%s", rows[i].exe);
        (void)snprintf(p.cwd, sizeof(p.cwd), "%s", rows[i].cwd);
        if (pm_judge(&p, &f, &whose) != rows[i].verdict)
            fail_msg("%s", rows[i].what);
    }
}

static void test_pm_proc_read__sees_this_process(void **state)
{
    struct pm_proc p;

    (void)state;
    assert_true(pm_proc_read(getpid(), &p));
    assert_int_equal(p.pid, getpid());
    assert_int_equal(p.ppid, getppid());
    assert_true(p.start_wall_s <= time(NULL) + 1 && p.start_wall_s > time(NULL) - 600);
    assert_non_null(strstr(p.exe, "test_pg_process"));
    assert_int_equal(p.cwd[0], '/');
    assert_false(pm_proc_read(0x7ffffff0, &p));
}

/* A child that has a child, both waiting until the pipe is closed. */
static pid_t family(int fd[2])
{
    pid_t pid;
    char c;

    assert_int_equal(pipe(fd), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fd[1]);
        if (fork() < 0)
            _exit(1);
        (void)!read(fd[0], &c, 1);
        _exit(0);
    }
    close(fd[0]);
    return pid;
}

static void test_pm_proc_descendants__finds_grandchildren(void **state)
{
    int fd[2];
    pid_t child = family(fd), found[16];
    unsigned n = 0;

    (void)state;
    for (int i = 0; i < 5000 && n < 2; i++) { /* until the grandchild is there */
        n = pm_proc_descendants(getpid(), found, 16);
        (void)sched_yield();
    }
    assert_int_equal(n, 2);
    assert_int_equal(found[0], child);
    assert_int_not_equal(found[1], child);
    assert_int_equal(pm_proc_descendants(getpid(), found, 1), 1);
    assert_int_equal(pm_proc_descendants(child, found, 16), 1);
    close(fd[1]);
    (void)waitpid(child, NULL, 0);
}

static void test_pm_proc_leftovers__goes_by_binary_and_directory(void **state)
{
    char cwd[PATH_MAX];
    struct pm_proc me;
    struct pm_whose whose = { .self = 1, .parent = 1 };
    int fd[2];
    pid_t child, found[16];

    (void)state;
    assert_true(pm_proc_read(getpid(), &me));
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    whose.data_dir = cwd;
    whose.postgres = me.exe;
    child = family(fd);
    /* we and the child at least: same binary, same directory */
    assert_true(pm_proc_leftovers(&whose, 0, found, 16) >= 2);
    assert_int_equal(pm_proc_leftovers(&whose, 0, found, 1), 1);
    assert_false(pm_proc_is_backend(child)); /* a command line, no title */
    whose.data_dir = "/nowhere";
    assert_int_equal(pm_proc_leftovers(&whose, 0, found, 16), 0);
    close(fd[1]);
    (void)waitpid(child, NULL, 0);
}

static void test_pm_proc_with_arguments__goes_by_a_run_of_them(void **state)
{
    static const char *const there[] = { "-D", "/a/b", "--source-server", NULL };
    static const char *const apart[] = { "-D", "--source-server", NULL };
    static const char *const longer[] = { "-D", "/a/b", "--source-server", "x", "y", NULL };
    static const char *const part[] = { "-D", "/a", NULL };
    pid_t child, found[4];
    int status;

    (void)state;
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)execl("/bin/sh", "sh", "-c", "kill -STOP $$", "tool", "-D", "-D", "/a/b",
                    "--source-server", "x", (char *)NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, WUNTRACED), child); /* it stops itself */
    assert_true(WIFSTOPPED(status));
    assert_int_equal(pm_proc_with_arguments(there, found, 4), 1);
    assert_int_equal(found[0], child);
    assert_int_equal(pm_proc_with_arguments(there, found, 0), 0);
    assert_int_equal(pm_proc_with_arguments(apart, found, 4), 0);
    assert_int_equal(pm_proc_with_arguments(longer, found, 4), 0);
    assert_int_equal(pm_proc_with_arguments(part, found, 4), 0);
    assert_int_equal(kill(child, SIGKILL), 0);
    (void)waitpid(child, NULL, 0);
    assert_int_equal(pm_proc_with_arguments(there, found, 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pm_pidfile_parse__reads_all_versions),
        cmocka_unit_test(test_pm_pidfile_parse__refuses_what_is_no_pid),
        cmocka_unit_test(test_pm_proc_parse_stat__is_not_fooled_by_names),
        cmocka_unit_test(test_pm_judge__walks_the_table),
        cmocka_unit_test(test_pm_proc_read__sees_this_process),
        cmocka_unit_test(test_pm_proc_descendants__finds_grandchildren),
        cmocka_unit_test(test_pm_proc_leftovers__goes_by_binary_and_directory),
        cmocka_unit_test(test_pm_proc_with_arguments__goes_by_a_run_of_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
