/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/probe.c - has a starting server begun to accept connections?
 *
 * From 10 on the postmaster writes its progress into postmaster.pid, so a glance at that file every
 * few milliseconds tells when a connection is worth the while, and the server's log is spared a
 * line for each attempt. Beyond that a connection is tried now and then, because only an answer
 * counts: refused or no socket is no response, SQLSTATE 57P03 is a server that rejects still, any
 * other answer is one that accepts (as pg_isready has it).
 */
#include "pg/postmaster_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include "base/banned.h"

#define QUERY_MS 3000

static void tick(struct postmaster_impl *im);

static uint64_t age_ms(const struct postmaster_impl *im)
{
    return pgv_clock_ms() - im->probe.since_ms;
}

/* How soon to glance again: quick restarts are quick, a recovery of hours costs nothing. */
static uint64_t glance_ms(uint64_t age)
{
    return age < 1000 ? 5 : age < 10000 ? 20 : 100;
}

/* How long after the last attempt to try without being told. */
static uint64_t attempt_ms(int major_version, uint64_t age)
{
    if (major_version >= 100000)
        return 1000;
    return age < 500 ? 10 : age < 10000 ? 50 : 1000;
}

static void on_answer(struct pgsql_query *q, const PGresult *res, const struct pgv_error *err)
{
    struct postmaster_impl *im = q->data;

    im->probe.asking = false;
    if (!im->probe.on || !im->pm->facts.alive)
        return;
    if (!err && pm_look_take(im, res)) {
        pm_on_accepting(im);
        return;
    }
    if (err && err->code != PGV_ECANCELED && q->sqlstate[0] && strcmp(q->sqlstate, "57P03") != 0) {
        pgv_log(PGV_WARNING, "pg", "the server accepts connections, but not this one: %s",
                err->msg);
        pm_on_accepting(im);
        return;
    }
    pm_arm(im, PM_TIMER_PROBE, glance_ms(age_ms(im)), tick);
}

static bool says_ready(const struct postmaster_impl *im)
{
    struct pm_pidfile file;

    return im->pm->facts.major_version >= 100000 && pm_server_pidfile(im, &file) &&
           file.pid == im->pm->facts.pid && strcmp(file.status, "ready") == 0;
}

static void tick(struct postmaster_impl *im)
{
    uint64_t now = pgv_clock_ms(), age = now - im->probe.since_ms;
    uint64_t every = attempt_ms(im->pm->facts.major_version, age);
    /* A server that says it is ready but does not answer is asked again at a gentler pace. */
    bool ready = says_ready(im) && (!im->probe.told || now >= im->probe.asked_ms + 50);

    if (!ready && now < im->probe.asked_ms + every) {
        pm_arm(im, PM_TIMER_PROBE, glance_ms(age), tick);
        return;
    }
    im->probe.told = ready;
    im->probe.asking = true;
    im->probe.asked_ms = now;
    im->probe.query.data = im;
    im->probe.query.sql = pm_look_sql(im);
    im->probe.query.deadline_ms = now + QUERY_MS;
    pgsql_submit(&im->conn.heartbeat, &im->probe.query, on_answer);
}

void pm_probe_on(struct postmaster_impl *im)
{
    if (im->probe.on || im->closing)
        return;
    im->probe.on = true;
    im->probe.told = false;
    im->probe.since_ms = pgv_clock_ms();
    /* A just spawned server has nothing to say yet; a found one most likely runs. */
    im->probe.asked_ms = im->server.ours ? im->probe.since_ms : 0;
    if (!im->probe.asking)
        pm_arm(im, PM_TIMER_PROBE, 0, tick);
}

void pm_probe_off(struct postmaster_impl *im)
{
    im->probe.on = false;
    pm_disarm(im, PM_TIMER_PROBE);
    if (im->probe.asking)
        pgsql_cancel(&im->conn.heartbeat, &im->probe.query);
}
