/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/unit/test_agent_recorder.c - the flight recorder with its real writer: going on, holes,
 * reading back, memory. A writer that is stopped is what a disk that hangs looks like.
 */
#include "agent/recorder.h"

#include "agent/record_file.h"
#include "agent/replay.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 20000
#define STEP_NS_MAX 20000 /* a tenth of it where nothing is checked: sanitizers take their time */
#define ROOM_BYTES 49152  /* less than a pipe may hold */

static uv_loop_t loop;
static struct ha ha; /* large */
static struct ha_effects fx;
static struct ha_policy policy;
static struct recorder r;
static char dir[] = "/tmp/pgvigil-recorder-XXXXXX";
static struct recorder_config config;
static unsigned n_settled;
static char *story;

static void on_settled(struct recorder *of)
{
    assert_ptr_equal(of, &r);
    n_settled++;
}

static int setup(void **state)
{
    const char *build = getenv("PGVIGIL_BUILD_DIR");
    char program[512];
    struct pgv_error err;

    (void)state;
    pgv_log_configure_ctl(PGV_CRITICAL);
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    if (!build || !mkdtemp(dir) || uv_loop_init(&loop) != 0 || !pgv_reaper_open(&loop, &err))
        return 1;
    ha_init(&ha);
    memset(&policy, 0, sizeof(policy));
    policy.ttl_ms = 30000;
    policy.loop_wait_ms = 10000;
    policy.retry_timeout_ms = 10000;
    if (!pgv_copyz(policy.name, sizeof(policy.name), "n1"))
        return 1;
    snprintf(program, sizeof(program), "%s/pgvigil-recorder", build);
    n_settled = 0;
    recorder_init(&r, &loop, &ha, program);
    r.on_settled = on_settled;
    return recorder_config_read(NULL, dir, NULL, "n1", &config, &err) ? 0 : 1;
}

static void on_deadline(uv_timer_t *t)
{
    (void)t;
    fail_msg("nothing happened for %d ms", DEADLINE_MS);
}

static void run_while(bool (*goes_on)(void))
{
    uv_timer_t deadline;

    uv_timer_init(&loop, &deadline);
    uv_timer_start(&deadline, on_deadline, DEADLINE_MS, 0);
    while (goes_on())
        (void)uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&deadline, NULL);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
}

static bool is_unsettled(void)
{
    return !recorder_is_settled(&r);
}

static bool is_writing(void)
{
    return r.writing;
}

static bool is_reading(void)
{
    return r.reading;
}

static void open_it(void)
{
    struct pgv_error err;

    if (!recorder_open(&r, &config, "n1", &err))
        fail_msg("%s", err.msg);
    run_while(is_unsettled);
}

/* As after the agent's death: what was in the pipe is in the file once the writer has let go. */
static void close_it(void)
{
    int fd;

    recorder_close(&r);
    run_while(is_writing);
    fd = open(config.file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    assert_int_equal(flock(fd, LOCK_EX), 0);
    close(fd);
}

static int teardown(void **state)
{
    (void)state;
    close_it();
    pgv_reaper_close();
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&loop) != 0)
        return 1;
    free(story);
    story = NULL;
    unlink(config.file);
    return rmdir(dir);
}

static int unread_bytes(void)
{
    int n = 0;

    if (r.fd >= 0)
        assert_int_equal(ioctl(r.fd, FIONREAD, &n), 0);
    return n;
}

static void wait_for_room(int bytes)
{
    uint64_t until_ms = pgv_clock_ms() + DEADLINE_MS;

    while (unread_bytes() > bytes) {
        assert_true(pgv_clock_ms() < until_ms);
        assert_int_equal(kill(r.writer.pid, RECORDER_SIGNAL_TAKE), 0);
        (void)poll(NULL, 0, 1);
    }
}

/* Frame @seq is in the file, as its header says. */
static void wait_written(uint64_t seq)
{
    uint64_t until_ms = pgv_clock_ms() + DEADLINE_MS;
    unsigned char head[RECORD_HEADER_BYTES];
    struct record_header h = { 0 };

    while (h.seq < seq) {
        int fd = open(config.file, O_RDONLY | O_CLOEXEC);

        assert_true(pgv_clock_ms() < until_ms);
        wait_for_room(0);
        assert_int_equal(read(fd, head, sizeof(head)), sizeof(head));
        assert_true(record_header_read(head, sizeof(head), &h, NULL));
        close(fd);
    }
}

/* What the pump does: a real step of the brain, told to the recorder. */
static void step(uint64_t now_ms)
{
    struct ha_event ev = { .type = HA_EV_POLICY, .now_ms = now_ms, .wall_us = 1 };

    ev.u.policy = &policy;
    ha_step(&ha, &ev, &fx);
    recorder_step(&r, &ha, &ev, &fx);
}

/* The same at a pace the writer can keep. */
static void paced_step(uint64_t now_ms)
{
    wait_for_room(ROOM_BYTES);
    step(now_ms);
}

static int replay(void)
{
    size_t n;
    FILE *out;
    int status;

    free(story);
    out = open_memstream(&story, &n);
    assert_non_null(out);
    status = replay_file(config.file, out, out);
    fclose(out);
    return status;
}

static unsigned count(const char *text)
{
    unsigned n = 0;

    for (const char *p = story; (p = strstr(p, text)) != NULL; p++)
        n++;
    return n;
}

static void test_recorder_config_read__defaults_and_refusals(void **state)
{
    static const struct {
        const char *key, *text;
        bool ok;
    } rows[] = { { "size", "8MB", true },      { "size", "512kB", false },
                 { "size", "2GB", false },     { "size", "a lot", false },
                 { "file", "/x/y.rec", true }, { "file", "y.rec", false },
                 { "enabled", "maybe", false } };
    struct recorder_config c;
    struct pgv_error err;
    struct pgv_arena a;

    (void)state;
    assert_true(recorder_config_read(NULL, NULL, "/srv/data/", "n1", &c, &err));
    assert_true(c.enabled);
    assert_int_equal(c.size_bytes, 8u << 20);
    assert_string_equal(c.file, "/srv/data.rec");
    assert_true(recorder_config_read(NULL, "/var/log", "/srv/data", "n1", &c, &err));
    assert_string_equal(c.file, "/var/log/pgvigil-n1.rec");
    assert_true(recorder_config_read(NULL, "/var/log", "/srv/data", "../n1", &c, &err));
    assert_string_equal(c.file, "/var/log/pgvigil-node.rec");
    pgv_arena_init(&a, 65536);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pgv_value *section = pgv_new(&a, PGV_MAP);

        pgv_map_set(&a, section, rows[i].key, pgv_new_string(&a, pgv_str(rows[i].text)));
        assert_int_equal(recorder_config_read(section, NULL, "/d", "n1", &c, &err), rows[i].ok);
        if (!rows[i].ok)
            assert_non_null(strstr(err.msg, rows[i].key));
    }
    pgv_arena_done(&a);
}

static void test_recorder_step__the_first_one_is_replayed(void **state)
{
    (void)state;
    open_it();
    assert_int_equal(n_settled, 1);
    step(1000);
    close_it();
    assert_int_equal(r.lost, 0);
    assert_int_equal(replay(), 0);
    assert_non_null(strstr(story, "\n1 steps of n1 replayed, 0 before the first keyframe"));
}

static void test_recorder_step__wraps_goes_on_and_replays(void **state)
{
    struct stat st;
    uint64_t now = 1000, last;

    (void)state;
    config.size_bytes = RECORDER_BYTES_MIN;
    open_it();
    for (unsigned i = 0; i < 40000; i++) /* more than once around */
        paced_step(now += 7);
    assert_int_equal(r.lost, 0);
    last = r.next_seq;
    assert_true(last > 40000);
    close_it();
    assert_int_equal(stat(config.file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, RECORDER_BYTES_MIN);
    assert_int_equal(replay(), 0);

    ha_init(&ha);
    open_it();
    assert_int_equal(r.next_seq, last + 1); /* the world of the new run stands there already */
    for (unsigned i = 0; i < 100; i++)
        paced_step(now += 7);
    close_it();
    assert_int_equal(replay(), 0);
    assert_int_equal(count("the world of"), 2);

    open_it();
    policy.ttl_ms = 20000;
    for (unsigned i = 0; i < 10; i++)
        paced_step(now += 7);
    ha.lease_until_ms = now + 1000000; /* behind the recorder's back: the worlds part */
    r.keyframe_due = true;
    step(now += 7);
    close_it();
    assert_int_equal(replay(), 1);
    assert_int_equal(stat(config.file, &st), 0);
    assert_int_equal(st.st_size, RECORDER_BYTES_MIN);
}

/* The disk hangs: no step waits, all that is lost is counted, and what follows can be replayed. */
static void test_recorder_step__a_disk_that_hangs(void **state)
{
    const unsigned n = 20000;
    uint64_t now = 1000, lost;

    (void)state;
    open_it();
    paced_step(now++);
    wait_for_room(0);
    assert_int_equal(kill(r.writer.pid, SIGSTOP), 0);
    for (unsigned i = 0; i < n; i++) /* returns, or the test hangs */
        step(now++);
    lost = r.lost;
    assert_true(lost > 0 && lost < n);
    assert_int_equal(r.steps + r.lost, n + 1);
    assert_int_equal(kill(r.writer.pid, SIGCONT), 0);
    wait_for_room(0);
    for (unsigned i = 0; i < 10; i++)
        paced_step(now++);
    assert_true(r.lost <= lost + 1); /* the first only brings the world */
    close_it();
    assert_int_equal(replay(), 0);
    assert_int_equal(count("the world of"), 2);
}

/* Whoever ends the writer: another one goes on in the same file. */
static void test_recorder_step__a_writer_that_was_killed(void **state)
{
    uint64_t now = 1000, lost;

    (void)state;
    open_it();
    for (unsigned i = 0; i < 10; i++)
        paced_step(now++);
    wait_written(1);
    assert_int_equal(kill(r.writer.pid, SIGKILL), 0);
    run_while(is_writing);
    assert_false(r.ready);
    for (unsigned i = 0; i < 10; i++)
        step(now++);
    assert_int_equal(r.lost, 10);
    assert_false(r.writing); /* not at once: it may be the disk that fails */
    r.start_at_ms = 0;
    r.settled = false;
    step(now++);
    run_while(is_unsettled);
    lost = r.lost;
    for (unsigned i = 0; i < 10; i++)
        paced_step(now++);
    assert_int_equal(r.lost, lost);
    close_it();
    assert_int_equal(replay(), 0);
    assert_int_equal(count("the world of"), 2);
}

/* Another file, while the disk of the first one hangs. */
static void test_recorder_open__elsewhere(void **state)
{
    char first[sizeof(config.file)];
    uint64_t now = 1000;
    pid_t hangs;

    (void)state;
    memcpy(first, config.file, sizeof(first));
    open_it();
    hangs = r.writer.pid;
    assert_int_equal(kill(hangs, SIGSTOP), 0);
    config.file[strlen(config.file) - 1] = 'x';
    open_it();
    assert_true(r.ready && r.writer.pid != hangs);
    paced_step(now++);
    assert_int_equal(kill(hangs, SIGCONT), 0);
    close_it();
    assert_int_equal(replay(), 0);
    unlink(first);
}

static uint64_t last_seq(void)
{
    struct record_file f;
    struct pgv_error err;
    uint64_t next;

    assert_true(record_file_open(&f, config.file, config.size_bytes, "n1", &err));
    next = f.next_seq;
    record_file_close(&f);
    return next - 1;
}

/* The routine waits, first in the agent and then in the pipe, a deed does not, nor does a cycle
 * that ends otherwise than the last one; and what waits is written when recording ends. */
static void test_recorder_step__a_decision_is_taken_at_once(void **state)
{
    struct ha_event ev = { .type = HA_EV_TICK, .now_ms = 1 };
    int had;

    (void)state;
    open_it();
    memset(&fx, 0, sizeof(fx));
    fx.n = 1;
    fx.v[0].type = HA_DO_CYCLE_DONE;
    for (unsigned i = 0; i < 3; i++) { /* the first may find it reading */
        recorder_step(&r, &ha, &ev, &fx);
        (void)poll(NULL, 0, 50);
    }
    assert_int_equal(unread_bytes(), 0);
    fx.v[0].why = HA_WHY_dcs_lost;
    recorder_step(&r, &ha, &ev, &fx);
    had = unread_bytes();
    assert_true(had > 0);
    for (unsigned i = 0; i < 240; i++)
        recorder_step(&r, &ha, &ev, &fx);
    assert_in_range(unread_bytes(), had + 12288, had + 240 * 64);
    fx.v[0].type = HA_DO_CHECKPOINT;
    recorder_step(&r, &ha, &ev, &fx);
    for (uint64_t until_ms = pgv_clock_ms() + DEADLINE_MS; unread_bytes() > 0;)
        assert_true(pgv_clock_ms() < until_ms);
    fx.v[0].type = HA_DO_CYCLE_DONE;
    recorder_step(&r, &ha, &ev, &fx);
    close_it();
    assert_int_equal(r.steps, 246);
    assert_int_equal(replay(), 1); /* no brain decided so */
    assert_int_equal(last_seq(), 247);
}

static uint64_t cpu_ns(void)
{
    struct timespec t;

    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A step of a quiet cycle. The best of many counts: whatever else the machine does only adds. */
static void test_recorder_step__takes_microseconds(void **state)
{
    static struct postmaster_facts facts;
    struct ha_event ev = { .type = HA_EV_LOOKED, .now_ms = 1, .u.facts = &facts };
    uint64_t best = UINT64_MAX;

    (void)state;
    if (getenv("PGVIGIL_VALGRIND"))
        skip();
    open_it();
    facts.wal_lsn = 123456789;
    memset(&fx, 0, sizeof(fx));
    fx.n = 1;
    fx.v[0].type = HA_DO_LOOK;
    for (unsigned i = 0; i < 200; i++) {
        uint64_t began;

        wait_for_room(0);
        began = cpu_ns();
        for (unsigned k = 0; k < 50; k++)
            recorder_step(&r, &ha, &ev, &fx);
        if (cpu_ns() - began < best)
            best = cpu_ns() - began;
    }
    print_message("%.2f us a step\n", (double)best / 50000);
    assert_int_equal(r.lost, 0);
    assert_true(best < 50 * STEP_NS_MAX);
}

static void test_recorder_step__takes_no_memory(void **state)
{
    size_t blocks;

    (void)state;
    open_it();
    step(1);
    blocks = pgv_alloc_blocks_in_use();
    pgv_alloc_fail_at(1, true); /* not one allocation succeeds from here on */
    for (unsigned i = 0; i < 2000; i++)
        paced_step(2 + i);
    pgv_alloc_fail_at(0, false);
    assert_int_equal(r.lost, 0);
    assert_int_equal(pgv_alloc_blocks_in_use(), blocks);
}

/* After an upgrade the writer on disk may be newer than the agent that runs. */
static void test_recorder_writer__of_another_build(void **state)
{
    struct stat st;
    int status;
    pid_t pid;

    (void)state;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);

        dup2(null, STDERR_FILENO);
        execl(r.program, r.program, "write", config.file, "1048576", "n1", "0123456789abcdef",
              NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_int_equal(stat(config.file, &st), -1);
}

static void test_recorder_open__leaves_other_files_alone(void **state)
{
    static const char text[] = "precious";
    char back[sizeof(text)];
    FILE *f = fopen(config.file, "w");

    (void)state;
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
    open_it();
    assert_int_equal(n_settled, 1);
    assert_false(r.ready || r.writing);
    step(1);
    assert_int_equal(r.lost, 1);
    f = fopen(config.file, "r");
    assert_non_null(f);
    assert_non_null(fgets(back, sizeof(back), f));
    fclose(f);
    assert_string_equal(back, text);
    assert_int_equal(replay(), 2);
}

/* ---- reading back ------------------------------------------------------------------------- */

static struct pgv_arena answer_arena;
static struct pgv_value *answer;
static char answer_why[256];

static void on_answer(void *data, const struct pgv_buf *json, const char *why)
{
    struct pgv_error err;

    assert_ptr_equal(data, &answer);
    if (json && !pgv_json_parse(&answer_arena, pgv_buf_view(json), &answer, &err))
        fail_msg("%s", err.msg);
    if (why)
        pgv_copy_cut(answer_why, sizeof(answer_why), pgv_str(why));
}

static void ask(unsigned n)
{
    struct pgv_error err;

    answer = NULL;
    answer_why[0] = '\0';
    if (!recorder_ask(&r, n, on_answer, &answer, &err))
        fail_msg("%s", err.msg);
    assert_false(recorder_ask(&r, n, on_answer, &answer, &err));
    assert_int_equal(err.code, PGV_ECONFLICT);
    run_while(is_reading);
}

static void test_recorder_ask__gives_the_last_that_decided(void **state)
{
    struct ha_event ev = { .type = HA_EV_TICK };
    struct pgv_error err;

    (void)state;
    assert_false(recorder_ask(&r, 1, on_answer, &answer, &err));
    assert_int_equal(err.code, PGV_EINVALID);
    pgv_arena_init(&answer_arena, 8u << 20);
    open_it();
    memset(&fx, 0, sizeof(fx));
    fx.n = 1;
    for (unsigned i = 0; i < 20; i++) { /* the frames 2 to 21: the world is the first */
        ev.now_ms = i;
        fx.v[0].type = i % 2 ? HA_DO_LOOK : HA_DO_CYCLE_DONE;
        recorder_step(&r, &ha, &ev, &fx);
    }
    ask(3);
    assert_int_equal(answer->u.c.n, 3);
    assert_int_equal(pgv_get(answer->u.c.first, "seq")->u.i, 16);
    assert_int_equal(pgv_get(answer->u.c.last, "seq")->u.i, 20);
    assert_string_equal(pgv_stringz(pgv_get(answer->u.c.last, "event")), "tick");
    ask(100);
    assert_int_equal(answer->u.c.n, 10);
    unlink(config.file);
    ask(3);
    assert_null(answer);
    assert_non_null(strstr(answer_why, "No such file"));
    pgv_arena_done(&answer_arena);
}

/* Long decisions: as many of the newest as the answer may hold, and it is whole. */
static void test_recorder_ask__more_than_an_answer_holds(void **state)
{
    struct ha_event ev = { .type = HA_EV_TICK };

    (void)state;
    pgv_arena_init(&answer_arena, 8u << 20);
    config.size_bytes = 64u << 20; /* no keyframe between them */
    open_it();
    memset(&fx, 0, sizeof(fx));
    fx.n = 4;
    for (unsigned i = 0; i < fx.n; i++) {
        fx.v[i].type = HA_DO_LOG;
        memset(fx.v[i].text, 'x', sizeof(fx.v[i].text) - 1);
    }
    for (unsigned i = 0; i < RECORD_DECISIONS_MAX; i++) {
        ev.now_ms = i;
        wait_for_room(ROOM_BYTES);
        recorder_step(&r, &ha, &ev, &fx);
    }
    ask(RECORD_DECISIONS_MAX);
    assert_int_equal(pgv_get(answer->u.c.last, "seq")->u.i, RECORD_DECISIONS_MAX + 1);
    assert_in_range(answer->u.c.n, 50, RECORD_DECISIONS_MAX - 1);
    assert_int_equal(pgv_get(answer->u.c.first, "seq")->u.i,
                     RECORD_DECISIONS_MAX + 2 - answer->u.c.n);
    pgv_arena_done(&answer_arena);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_recorder_config_read__defaults_and_refusals),
        TEST(test_recorder_step__the_first_one_is_replayed),
        TEST(test_recorder_step__wraps_goes_on_and_replays),
        TEST(test_recorder_step__a_disk_that_hangs),
        TEST(test_recorder_step__a_writer_that_was_killed),
        TEST(test_recorder_open__elsewhere),
        TEST(test_recorder_step__a_decision_is_taken_at_once),
        TEST(test_recorder_step__takes_microseconds),
        TEST(test_recorder_step__takes_no_memory),
        TEST(test_recorder_writer__of_another_build),
        TEST(test_recorder_open__leaves_other_files_alone),
        TEST(test_recorder_ask__gives_the_last_that_decided),
        TEST(test_recorder_ask__more_than_an_answer_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
