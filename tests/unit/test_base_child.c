/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_base_child.c - child processes on the loop.
 *
 * Every test has a loop and a reaper of its own and ends with uv_loop_close() == 0, so no handle
 * outlives its owner. Waiting is for a condition, with a deadline far beyond what it should take.
 */
#include "base_support.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEADLINE_MS 20000

static uv_loop_t loop;

struct seen {
    struct pgv_child child;
    bool ended;
    int status;
    char lines[2000]; /* '1:text|2:text|' */
    size_t pieces, longest;
    void (*on_line)(struct seen *s, struct pgv_str line);
};

static void on_end(struct pgv_child *c, int status)
{
    struct seen *s = c->data;

    assert_false(s->ended);
    assert_int_equal(c->pid, 0);
    s->ended = true;
    s->status = status;
}

static void on_line(struct pgv_child *c, int fd, struct pgv_str line)
{
    struct seen *s = c->data;
    size_t n = strlen(s->lines);

    assert_false(s->ended);
    s->pieces++;
    if (line.n > s->longest)
        s->longest = line.n;
    (void)snprintf(s->lines + n, sizeof(s->lines) - n, "%d:%.*s|", fd, (int)line.n, line.p);
    if (s->on_line)
        s->on_line(s, line);
}

static int setup(void **state)
{
    struct pgv_error err = { 0 };

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_true(pgv_reaper_open(&loop, &err));
    return base_setup(state);
}

static int teardown(void **state)
{
    pgv_reaper_close();
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return base_teardown(state);
}

static void on_deadline(uv_timer_t *t)
{
    (void)t;
    fail_msg("nothing happened for %d ms", DEADLINE_MS);
}

/* Runs the loop until @done says so. */
static void run_until(bool (*done)(void *), void *arg)
{
    uv_timer_t deadline;

    uv_timer_init(&loop, &deadline);
    uv_timer_start(&deadline, on_deadline, DEADLINE_MS, 0);
    while (!done(arg))
        (void)uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&deadline, NULL);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
}

static bool has_ended(void *arg)
{
    return ((struct seen *)arg)->ended;
}

static bool has_a_line(void *arg)
{
    return strchr(((struct seen *)arg)->lines, '|') != NULL;
}

static void start(struct seen *s, const struct pgv_child_options *o)
{
    struct pgv_error err = { 0 };

    *s = (struct seen){ .child = s->child };
    s->child.data = s;
    if (!pgv_child_start(&loop, &s->child, o, on_end, &err))
        fail_msg("%s", err.msg);
    assert_false(s->ended);
    assert_true(s->child.pid > 0);
}

/* Starts '/bin/sh -c script' with its lines noted. */
static void start_shell(struct seen *s, const char *script)
{
    const char *argv[] = { "/bin/sh", "-c", script, NULL };

    start(s, &(struct pgv_child_options){ .argv = argv, .on_line = on_line });
}

static void test_child__lines_of_both_streams_then_the_end(void **state)
{
    struct seen s = { 0 };

    (void)state;
    start_shell(&s, "echo one; echo two; printf tail; exit 3");
    run_until(has_ended, &s);
    assert_string_equal(s.lines, "1:one|1:two|1:tail|");
    assert_true(WIFEXITED(s.status));
    assert_int_equal(WEXITSTATUS(s.status), 3);
    start_shell(&s, "echo err >&2; echo; exit 0"); /* the same struct again */
    run_until(has_ended, &s);
    assert_non_null(strstr(s.lines, "2:err|"));
    assert_non_null(strstr(s.lines, "1:|"));
    assert_int_equal(s.status, 0);
}

static void test_child__output_is_collected_up_to_its_limit(void **state)
{
    const char *argv[] = { "sh", "-c", "echo out; echo err >&2; head -c 1000000 /dev/zero >&2",
                           NULL };
    struct seen s = { 0 };

    (void)state;
    start(&s, &(struct pgv_child_options){ .argv = argv, .keep_output = true });
    run_until(has_ended, &s);
    assert_string_equal(pgv_buf_cstr(&s.child.out), "out\n");
    assert_int_equal(s.child.err_out.n, PGV_CHILD_OUTPUT_BYTES);
    assert_memory_equal(s.child.err_out.p, "err\n", 5);
    pgv_child_done(&s.child);
    pgv_child_done(NULL);
}

static void test_child__long_lines_come_in_pieces(void **state)
{
    struct seen s = { 0 };

    (void)state;
    start_shell(
        &s,
        "head -c 10000 /dev/zero | tr '\\0' x; echo; head -c 4096 /dev/zero | tr '\\0' y; echo");
    run_until(has_ended, &s);
    assert_int_equal(s.longest, PGV_CHILD_LINE_BYTES);
    assert_int_equal(s.pieces, 3 + 1);
}

static void test_child__gets_its_input(void **state)
{
    const char *argv[] = { "cat", NULL };
    struct seen s = { 0 };
    char *big;

    (void)state;
    start(&s, &(struct pgv_child_options){
                  .argv = argv, .on_line = on_line, .input = PGV_STR("a\nb\n") });
    run_until(has_ended, &s);
    assert_string_equal(s.lines, "1:a|1:b|");
    start(&s, &(struct pgv_child_options){ .argv = argv, .on_line = on_line });
    run_until(has_ended, &s); /* without input: /dev/null, not ours */
    assert_string_equal(s.lines, "");
    big = calloc(1, 500000);
    assert_non_null(big);
    argv[0] = "true"; /* does not read it */
    start(&s, &(struct pgv_child_options){ .argv = argv, .input = { big, 500000 } });
    free(big); /* it was copied */
    run_until(has_ended, &s);
    assert_int_equal(s.status, 0);
}

static void test_child__starts_clean(void **state)
{
    static const char script[] =
        "grep -E 'SigBlk|SigIgn' /proc/self/status | cut -f2 | tr '\\n' ' ';"
        "ls /proc/self/fd | tr '\\n' ' '";
    sigset_t block, old;
    struct seen s = { 0 };
    int fd = dup(2); /* without close-on-exec */
    char *rest;

    (void)state;
    assert_true(fd > 2);
    (void)sigemptyset(&block);
    (void)sigaddset(&block, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &block, &old);
    start_shell(&s, script); /* SIGPIPE is ignored here by pgv_reaper_open() */
    (void)sigprocmask(SIG_SETMASK, &old, NULL);
    run_until(has_ended, &s);
    /* glibc ignores signals 32 and 33, its own, in what it spawns; 3 is ls's descriptor. */
    assert_true(strncmp(s.lines, "1:0000000000000000 ", 19) == 0);
    assert_int_equal(strtoull(s.lines + 19, &rest, 16) & 0x7fffffff, 0);
    assert_string_equal(rest, " 0 1 2 3 |");
    (void)close(fd);
}

static void test_child__environment_and_folder(void **state)
{
    const char *argv[] = { "/bin/sh", "-c", "echo $A$HOME; pwd", NULL };
    const char *env[] = { "A=x", NULL };
    struct seen s = { 0 };

    (void)state;
    start(&s, &(struct pgv_child_options){
                  .argv = argv, .env = env, .cwd = "/usr", .on_line = on_line });
    run_until(has_ended, &s);
    assert_string_equal(s.lines, "1:x|1:/usr|");
}

/* 'pid pgrp session' of the child, as it says itself. */
static void test_child__has_its_own_group_or_session(void **state)
{
    const char *argv[] = { "/bin/sh", "-c", "cut -d' ' -f5,6 /proc/$$/stat", NULL };
    struct seen s = { 0 };
    char expected[64];

    (void)state;
    start(&s, &(struct pgv_child_options){ .argv = argv, .on_line = on_line });
    (void)snprintf(expected, sizeof(expected), "1:%d %d|", (int)s.child.pid, (int)getsid(0));
    run_until(has_ended, &s);
    assert_string_equal(s.lines, expected);
    start(&s, &(struct pgv_child_options){ .argv = argv, .on_line = on_line, .new_session = true });
    (void)snprintf(expected, sizeof(expected), "1:%d %d|", (int)s.child.pid, (int)s.child.pid);
    run_until(has_ended, &s);
    assert_string_equal(s.lines, expected);
}

static void test_child__that_cannot_start_leaves_nothing(void **state)
{
    const char *argv[] = { "/nonexistent/program", NULL };
    struct pgv_child c = { 0 };
    struct pgv_error err = { 0 };

    (void)state;
    assert_false(pgv_child_start(
        &loop, &c, &(struct pgv_child_options){ .argv = argv, .on_line = on_line }, on_end, &err));
    assert_int_equal(err.code, PGV_ESYS);
    assert_int_equal(err.sys, ENOENT);
    assert_non_null(strstr(err.msg, "/nonexistent/program"));
    argv[0] = "no-such-program-in-the-path";
    assert_false(
        pgv_child_start(&loop, &c, &(struct pgv_child_options){ .argv = argv }, on_end, &err));
    assert_int_equal(err.sys, ENOENT);
    argv[0] = "/etc/passwd";
    assert_false(
        pgv_child_start(&loop, &c, &(struct pgv_child_options){ .argv = argv }, on_end, &err));
    assert_int_equal(err.sys, EACCES);
    argv[0] = "true";
    assert_false(pgv_child_start(&loop, &c,
                                 &(struct pgv_child_options){ .argv = argv, .cwd = "/nonexistent" },
                                 on_end, &err));
    assert_int_equal(err.sys, ENOENT);
    assert_int_equal(c.pid, 0);
}

static void test_child_start__every_allocation_may_fail(void **state)
{
    const char *argv[] = { "cat", NULL };
    struct seen s = { 0 };
    bool done = false;
    unsigned long nth;

    (void)state;
    for (nth = 1; !done; nth++) {
        struct pgv_error err = { 0 };

        s.child.data = &s;
        pgv_alloc_fail_at(nth, false);
        done = pgv_child_start(&loop, &s.child,
                               &(struct pgv_child_options){
                                   .argv = argv, .input = PGV_STR("x\n"), .on_line = on_line },
                               on_end, &err);
        pgv_alloc_fail_at(0, false);
        if (!done)
            assert_int_equal(err.code, PGV_ENOMEM);
    }
    assert_int_equal(nth, 5); /* two line buffers and the input may fail, the fourth time it runs */
    run_until(has_ended, &s);
    assert_string_equal(s.lines, "1:x|");
}

static void test_child__running_out_of_memory_loses_output_only(void **state)
{
    const char *argv[] = { "sh", "-c", "head -c 100000 /dev/zero; exit 4", NULL };
    struct seen s = { 0 };

    (void)state;
    start(&s, &(struct pgv_child_options){ .argv = argv, .keep_output = true });
    pgv_alloc_fail_at(1, true);
    run_until(has_ended, &s);
    pgv_alloc_fail_at(0, false);
    assert_int_equal(WEXITSTATUS(s.status), 4);
    assert_true(s.child.out.failed);
    pgv_child_done(&s.child);
}

static void test_child_timeout__ends_it_by_term(void **state)
{
    const char *argv[] = { "sleep", "1000", NULL };
    struct seen s = { 0 };

    (void)state;
    start(&s, &(struct pgv_child_options){ .argv = argv, .timeout_ms = 50 });
    run_until(has_ended, &s);
    assert_true(s.child.timed_out);
    assert_true(WIFSIGNALED(s.status));
    assert_int_equal(WTERMSIG(s.status), SIGTERM);
}

static void test_child_timeout__kills_who_will_not_hear(void **state)
{
    const char *argv[] = { "/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 1000; done",
                           NULL };
    struct seen s = { 0 };

    (void)state;
    start(&s, &(struct pgv_child_options){
                  .argv = argv, .on_line = on_line, .timeout_ms = 200, .kill_ms = 100 });
    run_until(has_ended, &s);
    assert_true(s.child.timed_out);
    assert_int_equal(WTERMSIG(s.status), SIGKILL);
}

static bool is_gone(void *arg)
{
    return kill(*(pid_t *)arg, 0) != 0 && errno == ESRCH;
}

/* The pid in the first line of output. */
static pid_t first_pid(const struct seen *s)
{
    return (pid_t)strtol(s->lines + 2, NULL, 10);
}

static void test_child_cancel__waits_for_the_whole_group(void **state)
{
    struct seen s = { 0 };
    pid_t grandchild;
    uint64_t began_ms;

    (void)state;
    /* The leader ends at TERM, its child does not. */
    start_shell(&s, "(trap '' TERM; sh -c 'echo $PPID'; while :; do sleep 1000; done) & wait");
    run_until(has_a_line, &s);
    grandchild = first_pid(&s);
    assert_int_equal(kill(grandchild, 0), 0);
    began_ms = pgv_clock_ms();
    pgv_child_cancel(&s.child, 300);
    assert_false(s.ended);              /* never from within the call */
    pgv_child_cancel(&s.child, 100000); /* a later KILL does not put off the first */
    run_until(has_ended, &s);
    assert_in_range(pgv_clock_ms() - began_ms, 290, DEADLINE_MS);
    assert_false(s.child.timed_out);
    assert_int_equal(WTERMSIG(s.status), SIGTERM);
    run_until(is_gone, &grandchild);
}

static void test_child_cancel__is_done_when_the_group_is_gone(void **state)
{
    struct seen s = { 0 };
    uint64_t began_ms;

    (void)state;
    start_shell(&s, "sleep 1000 & echo up; wait");
    run_until(has_a_line, &s);
    began_ms = pgv_clock_ms();
    pgv_child_cancel(&s.child, 100000);
    run_until(has_ended, &s);
    assert_in_range(pgv_clock_ms() - began_ms, 0, 10000);
    pgv_child_cancel(&s.child, 0); /* ended: harmless */
    pgv_child_kill(&s.child, SIGKILL);
}

static void test_child_cancel__can_be_hastened(void **state)
{
    struct seen s = { 0 };

    (void)state;
    start_shell(&s, "trap '' TERM; echo up; while :; do sleep 1000; done");
    run_until(has_a_line, &s);
    pgv_child_cancel(&s.child, 100000);
    pgv_child_cancel(&s.child, 0);
    run_until(has_ended, &s);
    assert_int_equal(WTERMSIG(s.status), SIGKILL);
}

static void test_child_kill__reaches_the_group(void **state)
{
    struct seen s = { 0 };
    pid_t grandchild;

    (void)state;
    start_shell(&s, "sleep 1000 & echo $!; wait");
    run_until(has_a_line, &s);
    grandchild = first_pid(&s);
    pgv_child_kill(&s.child, SIGKILL);
    run_until(has_ended, &s);
    assert_int_equal(WTERMSIG(s.status), SIGKILL);
    run_until(is_gone, &grandchild);
}

static void test_child__a_grandchild_with_the_pipe_holds_up_a_second_at_most(void **state)
{
    struct seen s = { 0 };
    pid_t grandchild;
    uint64_t began_ms = pgv_clock_ms();

    (void)state;
    start_shell(&s, "sleep 1000 & echo $!; printf last");
    run_until(has_ended, &s);
    assert_in_range(pgv_clock_ms() - began_ms, 900, 10000);
    assert_int_equal(s.status, 0);
    assert_non_null(strstr(s.lines, "|1:last|"));
    grandchild = first_pid(&s);
    assert_int_equal(kill(grandchild, 0), 0); /* and is left alone */
    assert_int_equal(kill(grandchild, SIGKILL), 0);
    run_until(is_gone, &grandchild); /* an orphan: reaped by us */
}

static void test_child_cancel__cuts_the_second_short(void **state)
{
    struct seen s = { 0 };
    pid_t grandchild, leader;

    (void)state;
    start_shell(&s, "sleep 1000 & echo $!");
    leader = s.child.pid;
    run_until(is_gone, &leader); /* reaped, but its output is still awaited */
    assert_false(s.ended);
    pgv_child_cancel(&s.child, 0);
    assert_false(s.ended);
    run_until(has_ended, &s);
    assert_int_equal(s.status, 0);
    grandchild = first_pid(&s);
    assert_int_equal(kill(grandchild, SIGKILL), 0);
    run_until(is_gone, &grandchild);
}

static void cancel_at_line(struct seen *s, struct pgv_str line)
{
    (void)line;
    pgv_child_cancel(&s->child, 1000);
}

static void test_child_cancel__from_within_a_line(void **state)
{
    struct seen s = { 0 };

    (void)state;
    start_shell(&s, "while :; do echo again; done");
    s.on_line = cancel_at_line;
    run_until(has_ended, &s);
    assert_int_equal(WTERMSIG(s.status), SIGTERM);
}

static void test_reaper__orphans_are_reaped(void **state)
{
    struct seen s = { 0 };
    pid_t orphan;

    (void)state;
    start_shell(&s, "sleep 0.1 >/dev/null 2>&1 & echo $!");
    run_until(has_ended, &s);
    orphan = first_pid(&s);
    run_until(is_gone, &orphan); /* a zombie would still answer */
}

/* Many at once: each gets its own status, whichever way it is reaped. */
static void test_child__many_at_once(void **state)
{
    enum { N = 30 };
    static struct seen all[N];

    (void)state;
    memset(all, 0, sizeof(all));
    for (int i = 0; i < N; i++) {
        char script[40];

        (void)snprintf(script, sizeof(script), "(exit 9) & exit %d", i);
        start_shell(&all[i], script);
    }
    for (int i = 0; i < N; i++) {
        run_until(has_ended, &all[i]);
        assert_int_equal(WEXITSTATUS(all[i].status), i);
    }
}

/* With no descriptor left for a pidfd, SIGCHLD alone must do. */
static void test_child__without_a_pidfd(void **state)
{
    const char *argv[] = { "sh", "-c", "exit 7", NULL };
    struct rlimit old, none;
    struct seen s = { 0 };
    int lowest = dup(2);

    (void)state;
    assert_true(lowest >= 0);
    (void)close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    start(&s, &(struct pgv_child_options){ .argv = argv });
    assert_int_equal(s.child.pidfd, -1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    (void)uv_run(&loop, UV_RUN_DEFAULT); /* the loop goes on for its sake, and ends with it */
    assert_true(s.ended);
    assert_int_equal(WEXITSTATUS(s.status), 7);
}

static void test_child__runs_out_of_descriptors(void **state)
{
    const char *argv[] = { "true", NULL };
    struct rlimit old, few;
    struct seen s = { 0 };
    int lowest = dup(2);
    bool done = false;

    (void)state;
    (void)close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = old;
    for (int extra = 0; !done; extra++) {
        struct pgv_error err = { 0 };

        few.rlim_cur = (rlim_t)(lowest + extra);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        s.child.data = &s;
        done = pgv_child_start(
            &loop, &s.child,
            &(struct pgv_child_options){ .argv = argv, .on_line = on_line, .input = PGV_STR("x") },
            on_end, &err);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        if (!done)
            assert_int_equal(err.sys, EMFILE);
        assert_true(extra < 20);
    }
    run_until(has_ended, &s);
    assert_int_equal(dup(2), lowest); /* none leaked */
    (void)close(lowest);
}

/* Whatever the turn at which it is cancelled, the callback comes once and nothing is left. */
static void test_child__cancelled_after_any_number_of_turns(void **state)
{
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        const char *argv[] = { "sh", "-c", "cat; echo out; echo err >&2", NULL };
        struct seen s = { 0 };

        start(&s,
              &(struct pgv_child_options){
                  .argv = argv, .on_line = on_line, .timeout_ms = 5000, .input = PGV_STR("in\n") });
        for (int i = 0; i < turns && !s.ended; i++)
            (void)uv_run(&loop, UV_RUN_ONCE);
        pgv_child_cancel(&s.child, 0);
        run_until(has_ended, &s);
    }
}

static void abandon_at_line(struct seen *s, struct pgv_str line)
{
    (void)line;
    pgv_child_abandon(&s->child);
}

static void test_child_abandon__lets_it_go_on(void **state)
{
    struct seen s = { 0 };
    pid_t pid;

    (void)state;
    start_shell(&s, "trap '' PIPE; printf 'half a line'; exec sleep 1000");
    pid = s.child.pid;
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    pgv_child_abandon(&s.child);
    assert_false(s.ended);
    assert_string_equal(s.lines, ""); /* not from within the call, and not later */
    run_until(has_ended, &s);
    assert_int_equal(s.status, -1);
    assert_string_equal(s.lines, "");
    assert_int_equal(kill(pid, 0), 0);
    pgv_child_abandon(&s.child); /* ended: harmless */
    assert_int_equal(kill(pid, SIGKILL), 0);
    run_until(is_gone, &pid); /* reaped all the same */
}

static void test_child_abandon__from_within_a_line(void **state)
{
    struct seen s = { 0 };
    pid_t pid;

    (void)state;
    start_shell(&s, "printf 'one\\ntwo\\nthree\\n'; exec sleep 1000");
    s.on_line = abandon_at_line;
    pid = s.child.pid;
    run_until(has_ended, &s);
    assert_string_equal(s.lines, "1:one|");
    assert_int_equal(kill(pid, SIGKILL), 0);
    run_until(is_gone, &pid);
}

static void test_child_describe__for_people(void **state)
{
    char text[64];

    (void)state;
    pgv_child_describe(3 << 8, text, sizeof(text));
    assert_string_equal(text, "exit status 3");
    pgv_child_describe(9, text, sizeof(text));
    assert_string_equal(text, "killed by signal 9 (Killed)");
}

struct watched {
    struct pgv_pidwatch watch;
    unsigned fired, closed;
};

static void on_gone(struct pgv_pidwatch *w)
{
    ((struct watched *)w->data)->fired++;
}

static void on_watch_close(struct pgv_pidwatch *w)
{
    ((struct watched *)w->data)->closed++;
}

static bool has_fired(void *arg)
{
    return ((struct watched *)arg)->fired > 0;
}

static bool has_closed(void *arg)
{
    return ((struct watched *)arg)->closed > 0;
}

/* A process that is not our child any more: @s ends, its background process stays. */
static pid_t start_stranger(struct seen *s)
{
    start_shell(s, "sleep 1000 >/dev/null 2>&1 & echo $!");
    run_until(has_ended, s);
    return first_pid(s);
}

static void test_pidwatch__tells_the_end_once(void **state)
{
    struct watched w = { 0 };
    struct pgv_error err = { 0 };
    struct seen s = { 0 };
    pid_t pid = start_stranger(&s);

    (void)state;
    w.watch.data = &w;
    assert_true(pgv_pidwatch_open(&loop, &w.watch, pid, on_gone, &err));
    assert_int_equal(kill(pid, SIGKILL), 0);
    run_until(has_fired, &w);
    assert_int_equal(w.fired, 1);
    pgv_pidwatch_close(&w.watch, on_watch_close); /* also after it has fired */
    assert_int_equal(w.closed, 0);                /* but never from within the call */
    run_until(has_closed, &w);
    run_until(is_gone, &pid);
    assert_false(pgv_pidwatch_open(&loop, &w.watch, pid, on_gone, &err));
    assert_int_equal(err.code, PGV_ESYS);
    assert_int_equal(err.sys, ESRCH);
    assert_int_equal(w.fired, 1);
    assert_int_equal(w.closed, 1);
}

static void test_pidwatch__closed_before_and_while_it_fires(void **state)
{
    struct pgv_error err = { 0 };

    (void)state;
    for (int turns = 0; turns < 4; turns++) {
        struct watched w = { 0 };
        struct seen s = { 0 };
        pid_t pid = start_stranger(&s);

        w.watch.data = &w;
        assert_true(pgv_pidwatch_open(&loop, &w.watch, pid, on_gone, &err));
        if (turns) {
            assert_int_equal(kill(pid, SIGKILL), 0);
            for (int i = 1; i < turns; i++)
                (void)uv_run(&loop, UV_RUN_NOWAIT);
        }
        pgv_pidwatch_close(&w.watch, on_watch_close);
        run_until(has_closed, &w);
        assert_int_equal(w.closed, 1);
        assert_in_range(w.fired, 0, 1);
        if (turns < 2)
            assert_int_equal(w.fired, 0);
        (void)kill(pid, SIGKILL);
        run_until(is_gone, &pid);
    }
}

/* No descriptor is left: the end is seen all the same. */
static void test_pidwatch__without_a_descriptor(void **state)
{
    struct rlimit was, none;
    struct pgv_error err = { 0 };

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    for (int ends = 0; ends < 2; ends++) {
        struct watched w = { 0 };
        struct seen s = { 0 };
        pid_t pid = start_stranger(&s);

        w.watch.data = &w;
        none = was;
        none.rlim_cur = 0;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        assert_true(pgv_pidwatch_open(&loop, &w.watch, pid, on_gone, &err));
        assert_int_equal(w.watch.pidfd, -1);
        if (ends) {
            assert_int_equal(kill(pid, SIGKILL), 0);
            run_until(has_fired, &w);
        }
        pgv_pidwatch_close(&w.watch, on_watch_close);
        run_until(has_closed, &w);
        assert_int_equal(w.fired, ends);
        assert_int_equal(w.closed, 1);
        (void)kill(pid, SIGKILL);
        run_until(is_gone, &pid);
        assert_false(pgv_pidwatch_open(&loop, &w.watch, pid, on_gone, &err));
        assert_int_equal(err.sys, ESRCH);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    }
}

#define child_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(test_child__lines_of_both_streams_then_the_end),
        child_test(test_child__output_is_collected_up_to_its_limit),
        child_test(test_child__long_lines_come_in_pieces),
        child_test(test_child__gets_its_input),
        child_test(test_child__starts_clean),
        child_test(test_child__environment_and_folder),
        child_test(test_child__has_its_own_group_or_session),
        child_test(test_child__that_cannot_start_leaves_nothing),
        child_test(test_child_start__every_allocation_may_fail),
        child_test(test_child__running_out_of_memory_loses_output_only),
        child_test(test_child_timeout__ends_it_by_term),
        child_test(test_child_timeout__kills_who_will_not_hear),
        child_test(test_child_cancel__waits_for_the_whole_group),
        child_test(test_child_cancel__is_done_when_the_group_is_gone),
        child_test(test_child_cancel__can_be_hastened),
        child_test(test_child_kill__reaches_the_group),
        child_test(test_child__a_grandchild_with_the_pipe_holds_up_a_second_at_most),
        child_test(test_child_cancel__cuts_the_second_short),
        child_test(test_child_cancel__from_within_a_line),
        child_test(test_reaper__orphans_are_reaped),
        child_test(test_child__many_at_once),
        child_test(test_child__without_a_pidfd),
        child_test(test_child__runs_out_of_descriptors),
        child_test(test_child__cancelled_after_any_number_of_turns),
        child_test(test_child_abandon__lets_it_go_on),
        child_test(test_child_abandon__from_within_a_line),
        child_test(test_child_describe__for_people),
        child_test(test_pidwatch__tells_the_end_once),
        child_test(test_pidwatch__closed_before_and_while_it_fires),
        child_test(test_pidwatch__without_a_descriptor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
