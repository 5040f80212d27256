/* SPDX-License-Identifier: PostgreSQL */
/* ctl/context.c - one run of the tool: configuration, loop, Ctrl-C, progress, printing. */
#include "ctl/ctl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"
#include "ctl/rest.h"
#include "http/names.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/banned.h"

static volatile sig_atomic_t interrupted;
static uv_async_t *interrupt_wake; /* uv_async_send() may be called by a signal handler */

static void on_sigint(int sig)
{
    (void)sig;
    interrupted = 1;
    if (interrupt_wake)
        uv_async_send(interrupt_wake);
}

bool ctl_interrupted(void)
{
    return interrupted;
}

void ctl_interrupt_meant_waiting(void)
{
    interrupted = 0;
}

bool ctl_aborted(struct ctl *c, bool newline, struct pgv_error *err)
{
    c->abort_newline = newline;
    return pgv_fail(err, PGV_ECANCELED, "aborted");
}

bool ctl_out_of_memory(struct pgv_error *err)
{
    return pgv_fail(err, PGV_ENOMEM, "out of memory");
}

void ctl_print_buf(struct ctl *c, const struct pgv_buf *b)
{
    if (b->n > 0 && (fwrite(b->p, 1, b->n, c->out) != b->n || fflush(c->out) != 0)) {
        if (errno != EPIPE) /* who reads us has seen enough */
            fprintf(stderr, "Error: cannot write the output: %s\n", strerror(errno));
        _exit(1);
    }
}

void ctl_print(struct ctl *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (vfprintf(c->out, fmt, args) < 0 || fflush(c->out) != 0) {
        if (errno != EPIPE)
            fprintf(stderr, "Error: cannot write the output: %s\n", strerror(errno));
        _exit(1);
    }
    va_end(args);
}

bool ctl_on_terminal(const struct ctl *c)
{
    const char *term = getenv("TERM");

    return c->out == stdout && isatty(STDOUT_FILENO) && !(term && strcmp(term, "dumb") == 0);
}

bool ctl_coloured(const struct ctl *c)
{
    const char *no = getenv("NO_COLOR");

    return !(no && *no) && ctl_on_terminal(c);
}

bool ctl_default_config_path(char *ret, size_t ret_bytes)
{
    const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int n;

    if (base)
        n = snprintf(ret, ret_bytes, "%s/patroni/patronictl.yaml", base);
    else
        n = snprintf(ret, ret_bytes, "%s/.config/patroni/patronictl.yaml", home ? home : "");
    return n >= 0 && (size_t)n < ret_bytes;
}

/** Stores that a URL may name, with the port that stands for each, in the order of the origin. */
static const struct {
    const char *name;
    int port;
} url_stores[] = {
    { "zookeeper", 2181 }, { "exhibitor", 8181 }, { "consul", 8500 },
    { "etcd", 2379 },      { "etcd3", 2379 },
};
#define URL_STORES (sizeof(url_stores) / sizeof(url_stores[0]))

/** The parts of a store's URL. */
struct store_url {
    struct pgv_str scheme, host, path;
    int port; /* 0: none given */
};

static bool split_store_url(struct pgv_str s, struct store_url *ret, struct pgv_error *err)
{
    struct store_url u = { 0 };
    struct pgv_str at = s, port = { 0 }, rest;
    uint64_t number;
    size_t n = 0;

    while (at.n > 1 && !(at.p[0] == '/' && at.p[1] == '/')) {
        at.p++;
        at.n--;
    }
    if (at.n > 1) {
        u.scheme = (struct pgv_str){ s.p, (size_t)(at.p - s.p) };
        if (u.scheme.n > 0 && u.scheme.p[u.scheme.n - 1] == ':')
            u.scheme.n--;
        s = (struct pgv_str){ at.p + 2, at.n - 2 };
    }
    while (n < s.n && !strchr("/?#", s.p[n]))
        n++;
    u.host = (struct pgv_str){ s.p, n };
    u.path = (struct pgv_str){ s.p + n, s.n - n };
    if (u.path.n > 0 && u.path.p[0] != '/')
        u.path.n = 0;
    while (pgv_str_cut(u.host, '@', &rest, &at))
        u.host = at; /* nobody's user and password are of use to these stores */
    if (u.host.n > 0 && u.host.p[0] == '[') {
        if (pgv_str_cut(u.host, ']', &rest, &at)) {
            u.host = (struct pgv_str){ rest.p, rest.n + 1 };
            port = at.n > 0 && at.p[0] == ':' ? (struct pgv_str){ at.p + 1, at.n - 1 } : at;
        }
    } else if (pgv_str_cut(u.host, ':', &rest, &port)) {
        u.host = rest;
    }
    if (port.n > 0) {
        if (!pgv_parse_u64(port, &number) || number > 65535)
            return pgv_fail(err, PGV_EINVALID, "Invalid port in the DCS URL: %.*s", (int)port.n,
                            port.p);
        u.port = (int)number;
    }
    *ret = u;
    return true;
}

bool ctl_apply_dcs_url(struct pgv_arena *a, struct pgv_value *config, const char *url,
                       struct pgv_error *err)
{
    struct pgv_value *section = pgv_new(a, PGV_MAP), *hosts;
    struct store_url u = { 0 };
    size_t which = 3; /* etcd */
    char *host, *host_port, *path;

    if (!split_store_url(pgv_str(url), &u, err))
        return false;
    if (u.scheme.n > 0) {
        for (which = 0; which < URL_STORES && !pgv_str_eqz(u.scheme, url_stores[which].name);)
            which++;
        if (which == URL_STORES)
            return pgv_fail(err, PGV_EINVALID, "Unknown dcs scheme: %.*s", (int)u.scheme.n,
                            u.scheme.p);
    } else {
        for (size_t i = URL_STORES; u.port && i-- > 0;)
            which = url_stores[i].port == u.port ? i : which;
    }
    if (u.port == 0)
        u.port = url_stores[which].port;
    host = pgv_arena_dup(a, u.host.n > 0 ? u.host : PGV_STR("localhost"));
    if (!host || !section)
        return ctl_out_of_memory(err);
    for (char *p = host; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    host_port = pgv_arena_printf(a, "%s:%d", host, u.port);
    if (!host_port)
        return ctl_out_of_memory(err);

    if (strcmp(url_stores[which].name, "zookeeper") == 0) {
        hosts = pgv_map_set(a, section, "hosts", pgv_new(a, PGV_LIST));
        if (!pgv_list_add(hosts, pgv_new_string(a, pgv_str(host_port))))
            return ctl_out_of_memory(err);
    } else if (strcmp(url_stores[which].name, "exhibitor") == 0) {
        hosts = pgv_map_set(a, section, "hosts", pgv_new(a, PGV_LIST));
        if (!pgv_list_add(hosts, pgv_new_string(a, pgv_str(host))) ||
            !pgv_map_set(a, section, "port", pgv_new_int(a, u.port)))
            return ctl_out_of_memory(err);
    } else if (!pgv_map_set(a, section, "host", pgv_new_string(a, pgv_str(host_port)))) {
        return ctl_out_of_memory(err);
    }
    for (size_t i = 0; i < URL_STORES; i++)
        pgv_map_remove(config, url_stores[i].name);
    if (!pgv_map_set(a, config, url_stores[which].name, section))
        return ctl_out_of_memory(err);
    u.path = pgv_str_trim(u.path);
    if (u.path.n > 0 && !pgv_str_eqz(u.path, "/")) {
        path = pgv_arena_dup(a, u.path);
        if (!path || !pgv_map_set(a, config, "namespace", pgv_new_string(a, pgv_str(path))))
            return ctl_out_of_memory(err);
    }
    return true;
}

/*
 * What lies in files of its own may be for the agent's eyes alone. That of PostgreSQL's users is
 * not needed here, and who cannot read the rest may still do what needs no credentials.
 */
static void read_secrets(struct ctl *c)
{
    struct pgv_error err;

    PGV_EACH(section, c->local.root)
    {
        if (!pgv_str_eqz(section->key, "postgresql") &&
            !pgv_config_read_secrets(&c->local, section->key.p, &err))
            pgv_log(PGV_WARNING, "ctl", "%s", err.msg);
    }
}

static bool load_config(struct ctl *c, const char *path, const char *dcs_url, struct pgv_error *err)
{
    char fallback[512];
    struct pgv_value *section;

    if (access(path, R_OK) != 0) {
        if (!ctl_default_config_path(fallback, sizeof(fallback)) || strcmp(path, fallback) != 0)
            return pgv_fail(err, PGV_EINVALID,
                            "Provided config file %s not existing or no read rights. Check the "
                            "-c/--config-file parameter",
                            path);
        path = ""; /* nobody has to have the default file */
    }
    if (!pgv_config_env_take(&c->env, err) ||
        !pgv_config_load_lenient(path, &c->env, &c->local, err))
        return false;
    read_secrets(c);
    c->config = pgv_value_copy(&c->arena, c->local.root);
    if (!c->config)
        return ctl_out_of_memory(err);
    if (dcs_url && !ctl_apply_dcs_url(&c->arena, c->config, dcs_url, err))
        return false;
    section = pgv_get(c->config, "ctl");
    c->insecure = c->insecure || pgv_truthy(pgv_get(section, "insecure"));
    return true;
}

static void on_names_closed(void *data)
{
    (void)data; /* the loop ends when all of its handles have */
}

static void on_wake(uv_async_t *async)
{
    (void)async; /* the loop has turned, that is all it is for */
}

/**
 * Up to libuv 1.44 a turn runs due timers and then waits for events, although it was a timer that
 * brought what is awaited: it would wait for something else to happen, perhaps for ever.
 */
static void on_before_poll(uv_prepare_t *prepare)
{
    const struct ctl *c = prepare->data;

    if (c->awaited && *c->awaited)
        uv_stop(prepare->loop);
}

bool ctl_open(struct ctl *c, const char *config_path, const char *dcs_url, bool insecure,
              struct pgv_error *err)
{
    struct sigaction action = { .sa_handler = on_sigint }; /* no SA_RESTART: prompts must end */
    int rc;

    c->insecure = insecure;
    pgv_arena_init(&c->arena, CTL_ARENA_BYTES_MAX);
    if (!load_config(c, config_path, dcs_url, err))
        return false;
    rc = uv_loop_init(&c->loop);
    if (rc != 0)
        return pgv_fail(err, PGV_ESYS, "cannot start an event loop: %s", uv_strerror(rc));
    rc = uv_async_init(&c->loop, &c->wake, on_wake);
    if (rc != 0) {
        (void)uv_loop_close(&c->loop);
        return pgv_fail(err, PGV_ESYS, "cannot start an event loop: %s", uv_strerror(rc));
    }
    c->loop_open = true;
    uv_timer_init(&c->loop, &c->progress);
    c->progress.data = c;
    uv_prepare_init(&c->loop, &c->before_poll);
    c->before_poll.data = c;
    uv_prepare_start(&c->before_poll, on_before_poll);
    if (!names_open(&c->loop, err)) {
        uv_close((uv_handle_t *)&c->wake, NULL);
        uv_close((uv_handle_t *)&c->progress, NULL);
        uv_close((uv_handle_t *)&c->before_poll, NULL);
        uv_run(&c->loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&c->loop);
        c->loop_open = false;
        return false;
    }
    interrupt_wake = &c->wake;
    sigaction(SIGINT, &action, NULL);
    return true;
}

void ctl_close(struct ctl *c)
{
    if (c->loop_open) {
        interrupt_wake = NULL;
        ctl_rest_close(c);
        names_close(on_names_closed, NULL);
        uv_close((uv_handle_t *)&c->wake, NULL);
        uv_close((uv_handle_t *)&c->progress, NULL);
        uv_close((uv_handle_t *)&c->before_poll, NULL);
        uv_run(&c->loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&c->loop);
        c->loop_open = false;
    }
    pgv_config_done(&c->local);
    pgv_config_env_done(&c->env);
    pgv_arena_done(&c->arena);
}

const char *ctl_config_text(struct ctl *c, const char *path)
{
    const struct pgv_value *v = pgv_path(c->config, path);
    struct pgv_buf b;
    const char *text;

    if (!v || v->type == PGV_NULL || v->type == PGV_LIST || v->type == PGV_MAP)
        return NULL;
    pgv_buf_init(&b, 4096);
    text = pgv_value_text(&b, v) ? pgv_arena_dup(&c->arena, pgv_buf_view(&b)) : NULL;
    pgv_buf_done(&b);
    return text;
}

static void turn(struct ctl *c, const bool *done)
{
    c->awaited = done;
    uv_run(&c->loop, UV_RUN_ONCE);
    c->awaited = NULL;
}

void ctl_finish(struct ctl *c, const bool *done)
{
    while (!*done)
        turn(c, done);
}

bool ctl_wait(struct ctl *c, const bool *done, const char *what)
{
    ctl_progress_begin(c, what);
    while (!*done && !interrupted)
        turn(c, done);
    ctl_progress_end(c);
    return *done;
}

static void on_slept(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void on_sleep_closed(uv_handle_t *handle)
{
    *(bool *)handle->data = true;
}

int ctl_wait_for_fd(int fd, short events, uint64_t until_ms)
{
    struct pollfd waited = { .fd = fd, .events = events };
    sigset_t sigint, before;
    int ready;

    sigemptyset(&sigint);
    sigaddset(&sigint, SIGINT);
    sigprocmask(SIG_BLOCK, &sigint, &before); /* so that it cannot come between look and wait */
    do {
        uint64_t now_ms = pgv_clock_ms(), left_ms = until_ms > now_ms ? until_ms - now_ms : 0;
        struct timespec left = { .tv_sec = (time_t)(left_ms / 1000),
                                 .tv_nsec = (long)(left_ms % 1000) * 1000000 };

        ready = ctl_interrupted()
                    ? -1
                    : ppoll(&waited, 1, until_ms == UINT64_MAX ? NULL : &left, &before);
    } while (ready < 0 && errno == EINTR && !ctl_interrupted());
    sigprocmask(SIG_SETMASK, &before, NULL);
    return ctl_interrupted() ? -1 : ready != 0;
}

bool ctl_sleep(struct ctl *c, uint64_t ms, const char *what, struct pgv_error *err)
{
    bool over = false;

    return ctl_sleep_until(c, &over, ms, what, err);
}

bool ctl_sleep_until(struct ctl *c, bool *over, uint64_t ms, const char *what,
                     struct pgv_error *err)
{
    uv_timer_t timer;
    bool closed = false, slept;

    uv_timer_init(&c->loop, &timer);
    timer.data = over;
    uv_update_time(&c->loop);
    uv_timer_start(&timer, on_slept, ms, 0);
    slept = ctl_wait(c, over, what);
    timer.data = &closed;
    uv_close((uv_handle_t *)&timer, on_sleep_closed);
    ctl_finish(c, &closed);
    return slept || ctl_aborted(c, true, err);
}
