/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/follow.c - the recovery configuration: written for a node to follow, and compared with what
 * the server has. Contract pg §14.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>

#include "base/banned.h"

#define QUERY_MS 2500

static void source_of(const struct postmaster_impl *im, const struct postmaster_node *node,
                      struct pgrecovery_source *ret)
{
    *ret = (struct pgrecovery_source){
        .conn_url = node->conn_url,
        .is_me = node->name[0] && strcmp(node->name, im->conf->name) == 0,
    };
}

static bool build(struct postmaster_impl *im, const struct postmaster_node *node,
                  struct pgv_arena *a, struct pgrecovery *ret, struct pgv_error *err)
{
    struct pgrecovery_source source;
    struct pgfiles_env env;

    source_of(im, node, &source);
    pm_env(im, &env);
    return pgrecovery_build(im->conf, &env, &source, a, ret, err);
}

bool pm_follow_write(struct postmaster_impl *im, const struct postmaster_node *node,
                     struct pgv_error *err)
{
    struct pgv_arena a;
    struct pgrecovery r;
    struct pgv_value *params = NULL;
    struct pgfiles_env env;
    struct pgv_error ignored = { 0 };
    int v = im->pm->facts.major_version;

    pgv_arena_init(&a, PM_ARENA_BYTES_MAX);
    pm_env(im, &env);
    if (!build(im, node, &a, &r, err) || !pgrecovery_write(im->conf, &env, &r, &a, &params, err)) {
        pgv_arena_done(&a);
        return false;
    }
    pgrecovery_current_done(&im->follow.current);
    im->follow.current = (struct pgrecovery_current){ 0 };
    im->follow.agreed = false;
    /* Only spares a query: without it the next comparison asks the server. */
    if (!pgrecovery_current_written(&im->follow.current, im->conf, &r, params, v, &ignored))
        im->follow.current.valid = false;
    pgv_arena_done(&im->recovery_arena);
    im->recovery_arena = a; /* the parameters live on in it */
    im->recovery_params = params;
    pm_read_dir(im);
    return true;
}

/* ---- comparison ---- */

static void answer(struct postmaster_impl *im, enum postmaster_follow how)
{
    void (*then)(struct postmaster_impl * im, enum postmaster_follow answer) = im->follow.then;

    im->follow.active = false;
    then(im, how);
}

/* A comparison is spared while all that it depends on tells by itself when it changes. */
static bool may_agree(const struct postmaster_impl *im)
{
    return !pm_is_starting(im) && im->pm->facts.announced && im->dir_read_ms;
}

/* The last comparison found nothing to change. As long as the rows are not stale, and all else that
 * it depends on is as it was, it would find the same again. */
static bool still_agreed(const struct postmaster_impl *im)
{
    const struct pm_follow *fo = &im->follow;
    const struct pm_receiver *now = &im->receiver, *then = &fo->agreed_on.receiver;

    return fo->agreed && may_agree(im) && im->pm->facts.major_version == fo->agreed_on.version &&
           pgv_file_stamp_same(&im->dir_stamp, &fo->agreed_on.dir) &&
           strcmp(fo->node.name, fo->agreed_on.node.name) == 0 &&
           strcmp(fo->node.conn_url, fo->agreed_on.node.conn_url) == 0 &&
           now->present == then->present && strcmp(now->slot_name, then->slot_name) == 0 &&
           strcmp(now->conninfo, then->conninfo) == 0;
}

static void note_agreed(struct postmaster_impl *im)
{
    im->follow.agreed = true;
    im->follow.agreed_on.version = im->pm->facts.major_version;
    im->follow.agreed_on.dir = im->dir_stamp;
    im->follow.agreed_on.node = im->follow.node;
    im->follow.agreed_on.receiver = im->receiver;
}

static void compare(struct postmaster_impl *im)
{
    struct pm_follow *fo = &im->follow;
    bool settled = pgrecovery_current_settled(&fo->current, PM_SETTLES_NS);
    const struct postmaster_facts *f = &im->pm->facts;
    struct pgrecovery_receiver receiver = {
        .present = im->receiver.present,
        .slot_name = im->receiver.present ? im->receiver.slot_name : NULL,
        .conninfo = im->receiver.conninfo[0] ? im->receiver.conninfo : NULL,
    };
    struct pgrecovery_diff diff;
    struct pgrecovery wanted;
    struct pgfiles_env env;
    struct pgv_arena a;
    struct pgv_error err = { 0 };

    pgv_arena_init(&a, PM_ARENA_BYTES_MAX);
    pm_env(im, &env);
    if (!build(im, &fo->node, &a, &wanted, &err)) {
        pgv_arena_done(&a);
        pgv_log(PGV_ERROR, "pg", "cannot build the recovery configuration: %s", err.msg);
        answer(im, PM_FOLLOW_OK); /* better than tearing the server down for our own want */
        return;
    }
    pgrecovery_compare(im->conf, &env, &wanted, &fo->current, &receiver, pm_is_starting(im),
                       f->announced, &diff);
    pgv_arena_done(&a);
    if (diff.change)
        pgv_log(PGV_DEBUG, "pg", "recovery configuration differs what='%s' restart=%d", diff.reason,
                diff.restart);
    if (!diff.change && !diff.other_passfile && settled && may_agree(im))
        note_agreed(im);
    answer(im, diff.restart ? PM_FOLLOW_RESTART : diff.change ? PM_FOLLOW_RELOAD : PM_FOLLOW_OK);
}

static void on_rows(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    struct pm_follow *fo = &im->follow;
    struct pgrecovery_row rows[PGRECOVERY_ROWS_MAX];
    struct pgv_error set_err = { 0 };
    size_t n = 0;

    if (err) {
        /* Contract pg §14.6.2: a server that does not answer just after its restart says nothing
         * about its configuration. */
        pgv_log(PGV_WARNING, "pg", "cannot read the recovery parameters: %s", err->msg);
        fo->current.valid = fo->was_valid;
        answer(im, (fo->only_postmaster || err->code == PGV_ECANCELED) && err->code != PGV_ECONFLICT
                       ? PM_FOLLOW_OK
                       : PM_FOLLOW_RESTART);
        return;
    }
    for (int i = 0; i < PQntuples(res) && n < PGRECOVERY_ROWS_MAX; i++)
        rows[n++] = (struct pgrecovery_row){
            .name = PQgetvalue(res, i, 0),
            .setting = PQgetvalue(res, i, 1),
            .restart = pgv_str_eqz(pgsql_field(res, i, 2), "true"),
            .sourcefile = pgsql_is_null(res, i, 3) ? NULL : PQgetvalue(res, i, 3),
        };
    if (!pgrecovery_current_set(&fo->current, rows, n, &set_err)) {
        pgv_log(PGV_ERROR, "pg", "cannot keep the recovery parameters: %s", set_err.msg);
        answer(im, PM_FOLLOW_OK);
        return;
    }
    compare(im);
}

/* Before 12: the file itself. */
static void read_recovery_conf(struct postmaster_impl *im, int v)
{
    struct pm_follow *fo = &im->follow;
    char path[PGCONF_PATH_BYTES + 32];
    struct pgv_error err = { 0 };
    struct pgv_buf text;
    bool ok;

    (void)snprintf(path, sizeof(path), "%s/recovery.conf", im->conf->data_dir);
    pgv_buf_init(&text, PGCONF_BYTES_MAX);
    ok = pgv_file_read(path, &text, &err) &&
         pgrecovery_current_parse(&fo->current, pgv_buf_view(&text), v, &err);
    if (text.p)
        explicit_bzero(text.p, text.n);
    pgv_buf_done(&text);
    if (ok) {
        compare(im);
        return;
    }
    pgv_log(PGV_INFO, "pg", "recovery.conf cannot be compared: %s", err.msg);
    answer(im, PM_FOLLOW_RESTART);
}

static void begin(struct postmaster_impl *im)
{
    struct pm_follow *fo = &im->follow;
    const struct postmaster_facts *f = &im->pm->facts;
    int v = f->major_version;
    bool starting = pm_is_starting(im) && v >= 120000, only_postmaster = false, fresh;

    fresh = !starting && fo->current.valid &&
            !pgrecovery_current_stale(&fo->current, im->conf, v, f->start_time_wall_us,
                                      &only_postmaster);
    if (fresh && still_agreed(im)) {
        answer(im, PM_FOLLOW_OK);
        return;
    }
    fo->agreed = false;
    if (!pgrecovery_exists(im->conf, v)) {
        answer(im, PM_FOLLOW_RESTART);
        return;
    }
    if (starting || fresh) {
        compare(im);
        return;
    }
    fo->was_valid = fo->current.valid;
    fo->only_postmaster = only_postmaster;
    pgrecovery_current_stamp(&fo->current, im->conf, v, f->start_time_wall_us);
    if (v < 120000) {
        read_recovery_conf(im, v);
        return;
    }
    fo->query.data = im;
    fo->query.sql = pgrecovery_sql(v);
    fo->query.deadline_ms = pgv_clock_ms() + QUERY_MS;
    pgsql_submit(&im->conn.heartbeat, &fo->query, on_rows);
}

bool pm_follow_compare(struct postmaster_impl *im, const struct postmaster_node *node,
                       void (*then)(struct postmaster_impl *im, enum postmaster_follow answer))
{
    struct pm_follow *fo = &im->follow;

    if (fo->active)
        return false;
    fo->active = true;
    fo->node = *node;
    fo->then = then;
    pm_arm(im, PM_TIMER_FOLLOW, 0, begin);
    return true;
}

/* ---- for the owner ---- */

static void on_answer(struct postmaster_impl *im, enum postmaster_follow how)
{
    im->follow.answer = how;
    im->follow_due = true;
    pm_wake_owner(im);
}

void postmaster_check_follow(struct postmaster *pm, const struct postmaster_node *node,
                             void (*cb)(struct postmaster *pm, enum postmaster_follow answer))
{
    struct postmaster_impl *im = pm->impl;

    im->follow.cb = cb;
    if (pm_follow_compare(im, node, on_answer))
        return;
    /* A job compares just now, or the owner asked before: there is something under way that
     * changes the answer, so that the next cycle shall ask again. */
    im->follow.answer = PM_FOLLOW_OK;
    im->follow_due = true;
    pm_wake_owner(im);
}
