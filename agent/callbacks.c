/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/callbacks.c - the operator's scripts on_start, on_stop, on_restart, on_reload,
 * on_role_change: started and not waited for (ha contract §25).
 *
 * One slot for all but on_reload, which has its own: a new callback ends the running one first
 * (with its process group, since a stale script that moves an address is worse than none), waits
 * until it is really gone and then starts. What was queued meanwhile is replaced: only the newest
 * matters. Exit codes are logged and change nothing.
 */
#include "agent/agent.h"
#include "base/child.h"
#include "base/log.h"
#include "base/parse.h"

#include "base/banned.h"

/* Scripts that still run when the agent ends have this long to finish: on_stop is one of them. */
#define CALLBACKS_CLOSE_MS 10000
#define CALLBACK_ARENA_BYTES_MAX (64 * 1024)

struct slot {
    struct callbacks *owner;
    struct pgv_child child;
    bool running, queued;
    char running_action[24];
    char action[24]; /* queued */
    enum pgv_role role;
};

struct callbacks {
    struct agent *agent;
    struct slot main, reload;
    bool closing;
    uv_timer_t close_timer;
    void (*close_cb)(struct agent *a);
};

static void start(struct slot *s, const char *action, enum pgv_role role);

bool callbacks_open(struct agent *a, struct pgv_error *err)
{
    struct callbacks *c = pgv_zalloc(sizeof(*c));

    if (!c)
        return pgv_fail(err, PGV_ENOMEM, "no memory for the callbacks");
    c->agent = a;
    c->main.owner = c->reload.owner = c;
    a->callbacks = c;
    return true;
}

static void on_timer_closed(uv_handle_t *timer)
{
    struct callbacks *c = timer->data;
    struct agent *a = c->agent;
    void (*cb)(struct agent *) = c->close_cb;

    pgv_child_done(&c->main.child);
    pgv_child_done(&c->reload.child);
    a->callbacks = NULL;
    pgv_free(c);
    cb(a);
}

static void close_when_idle(struct callbacks *c)
{
    if (!c->main.running && !c->reload.running && !uv_is_closing((uv_handle_t *)&c->close_timer))
        uv_close((uv_handle_t *)&c->close_timer, on_timer_closed);
}

static void on_end(struct pgv_child *child, int status)
{
    struct slot *s = child->data;
    char how[64];

    s->running = false;
    pgv_child_describe(status, how, sizeof(how));
    pgv_log(status == 0 ? PGV_DEBUG : PGV_INFO, "callbacks", "callback %s ended: %s",
            s->running_action, how);
    pgv_child_done(child);
    if (s->owner->closing) {
        close_when_idle(s->owner);
        return;
    }
    if (s->queued) {
        s->queued = false;
        start(s, s->action, s->role);
    }
}

static void start(struct slot *s, const char *action, enum pgv_role role)
{
    struct agent *a = s->owner->agent;
    const char *command = pgv_stringz(pgv_get(pgv_get(a->config.postgresql, "callbacks"), action));
    struct pgv_child_options o = { .inherit_output = true };
    struct pgv_error err = { 0 };
    struct pgv_arena arena;
    char **words, **argv;
    size_t n;

    if (!command || !command[0])
        return;
    pgv_arena_init(&arena, CALLBACK_ARENA_BYTES_MAX);
    if (!pgv_shell_split(&arena, pgv_str(command), &words, &n, &err))
        goto fail;
    argv = pgv_arena_alloc(&arena, (n + 4) * sizeof(*argv));
    if (!argv) {
        pgv_fail(&err, PGV_ENOMEM, "no memory for its arguments");
        goto fail;
    }
    memcpy(argv, words, n * sizeof(*argv));
    argv[n] = pgv_arena_dup(&arena, pgv_str(action));
    argv[n + 1] = pgv_arena_dup(
        &arena, pgv_str(pgv_role_name(role == PGV_ROLE_PROMOTED ? PGV_ROLE_PRIMARY : role)));
    argv[n + 2] = pgv_arena_dup(&arena, pgv_str(a->config.scope));
    if (!n || !argv[n] || !argv[n + 1] || !argv[n + 2]) {
        pgv_fail(&err, n ? PGV_ENOMEM : PGV_EINVALID,
                 n ? "no memory for its arguments" : "no command");
        goto fail;
    }
    o.argv = (const char *const *)argv;
    s->child.data = s;
    if (!pgv_child_start(&a->loop, &s->child, &o, on_end, &err))
        goto fail;
    s->running = true;
    pgv_copy_cut(s->running_action, sizeof(s->running_action), pgv_str(action));
    pgv_log(PGV_INFO, "callbacks", "callback %s started: %s pid=%d", action, argv[0],
            (int)s->child.pid);
    pgv_arena_done(&arena);
    return;
fail:
    pgv_log(PGV_ERROR, "callbacks", "callback %s was not started: %s", action, err.msg);
    pgv_arena_done(&arena);
}

void callbacks_run(struct agent *a, const char *action, enum pgv_role role)
{
    struct callbacks *c = a->callbacks;
    struct slot *s;

    if (!c || c->closing)
        return;
    s = strcmp(action, "on_reload") == 0 ? &c->reload : &c->main;
    if (!pgv_stringz(pgv_get(pgv_get(a->config.postgresql, "callbacks"), action)))
        return; /* nothing configured: what runs may go on */
    if (!s->running) {
        start(s, action, role);
        return;
    }
    pgv_copy_cut(s->action, sizeof(s->action), pgv_str(action));
    s->role = role;
    s->queued = true;
    pgv_log(PGV_WARNING, "callbacks", "callback %s still runs, killing it for %s",
            s->running_action, action);
    pgv_child_cancel(&s->child, 0); /* TERM, and KILL in the next turn; on_end() starts ours */
}

static void on_close_timeout(uv_timer_t *timer)
{
    struct callbacks *c = timer->data;

    if (c->main.running)
        pgv_child_cancel(&c->main.child, 0);
    if (c->reload.running)
        pgv_child_cancel(&c->reload.child, 0);
}

void callbacks_close(struct agent *a, void (*cb)(struct agent *a))
{
    struct callbacks *c = a->callbacks;

    PGV_ASSERT(c && !c->closing);
    c->closing = true;
    c->close_cb = cb;
    c->main.queued = c->reload.queued = false;
    uv_timer_init(&a->loop, &c->close_timer); /* cannot fail */
    c->close_timer.data = c;
    uv_timer_start(&c->close_timer, on_close_timeout, CALLBACKS_CLOSE_MS, 0);
    close_when_idle(c);
}
