/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/reload.c - SIGHUP to the postmaster, and waiting until it has arrived.
 *
 * What asks the server about its settings right after a reload would otherwise see the old ones.
 * Our own session tells: pg_conf_load_time() is the moment at which it read the files itself. Who
 * wants a reload while one is under way gets one of his own behind it, because the files may have
 * changed since the first.
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <signal.h>

#include "base/banned.h"

#define QUERY_MS 2500
/** How long it may take to arrive. Source: Patroni sleeps 1 s after a reload. */
#define ARRIVE_MS 1000
#define TICK_MS 10

static void begin(struct postmaster_impl *im);

static void finish(struct postmaster_impl *im)
{
    struct pm_reload *r = &im->reload;
    struct pm_waiters now = r->waiters;

    r->active = false;
    r->waiters = r->later;
    r->later.n = 0;
    if (r->waiters.n > 0) {
        r->active = true;
        r->quiet = r->later_quiet;
        pm_arm(im, PM_TIMER_RELOAD, 0, begin);
    }
    pm_tell(im, &now);
}

static const char load_time_sql[] =
    "SELECT extract(epoch FROM pg_catalog.pg_conf_load_time())::pg_catalog.text";

static void ask(struct postmaster_impl *im, pgsql_cb cb)
{
    struct pm_reload *r = &im->reload;

    r->query.data = im;
    r->query.sql = load_time_sql;
    r->query.deadline_ms = pgv_clock_ms() + QUERY_MS;
    pgsql_submit(&im->conn.heartbeat, &r->query, cb);
}

static void ask_again(struct postmaster_impl *im);

static void on_new_time(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    struct pm_reload *r = &im->reload;

    if (err || !pgv_str_eqz(pgsql_field(res, 0, 0), r->load_time) ||
        pgv_clock_ms() >= r->sent_ms + ARRIVE_MS) {
        finish(im);
        return;
    }
    pm_arm(im, PM_TIMER_RELOAD, TICK_MS, ask_again);
}

static void ask_again(struct postmaster_impl *im)
{
    ask(im, on_new_time);
}

static void on_old_time(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;
    struct pm_reload *r = &im->reload;

    if (im->closing) {
        finish(im);
        return;
    }
    pgv_copy_cut(r->load_time, sizeof(r->load_time),
                 err ? (struct pgv_str){ 0 } : pgsql_field(res, 0, 0));
    r->sent_ms = pgv_clock_ms();
    r->ok = pm_server_signal(im, SIGHUP);
    if (!r->ok) {
        pgv_log(PGV_WARNING, "pg", "cannot reload, postgres is not running");
        finish(im);
        return;
    }
    if (!r->quiet)
        pm_callback(im, "on_reload");
    if (err)
        finish(im); /* it cannot tell us */
    else
        pm_arm(im, PM_TIMER_RELOAD, TICK_MS, ask_again);
}

static void begin(struct postmaster_impl *im)
{
    ask(im, on_old_time);
}

void pm_reload(struct postmaster_impl *im, bool quiet, pm_next next)
{
    struct pm_reload *r = &im->reload;

    if (r->active) {
        r->later_quiet = quiet && (r->later.n == 0 || r->later_quiet);
        pm_wait(&r->later, next);
        return;
    }
    r->active = true;
    r->quiet = quiet;
    pm_wait(&r->waiters, next);
    pm_arm(im, PM_TIMER_RELOAD, 0, begin);
}

void pm_reload_cancel(struct postmaster_impl *im)
{
    struct pm_reload *r = &im->reload;

    r->later.n = 0;
    if (!r->active)
        return;
    if (r->query.in_line)
        pgsql_cancel(&im->conn.heartbeat, &r->query);
    else
        pm_arm(im, PM_TIMER_RELOAD, 0, finish);
}
