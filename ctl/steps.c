/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/steps.c - the steps of a switchover.
 *
 * What is told is what was seen: a step that was over between two looks is left out. A Patroni is
 * looked at once a second and does not tell about its key, so of it fewer are seen.
 */
#include "ctl/steps.h"

#include "base/banned.h"

enum {
    STOPS = 1,
    CHECKPOINT = 2,
    RELEASED = 4,
    STOPPED = 8,
    LEADS = 16,
    PROMOTED = 32,
    FOLLOWS = 64
};

static bool news(unsigned *said, unsigned step, bool seen)
{
    if (!seen || (*said & step))
        return false;
    *said |= step;
    return true;
}

static void look_at_old(struct ctl_steps *s, const struct ctl_followed *m, unsigned i,
                        struct pgv_buf *b)
{
    const struct ctl_status *t = &m->status;
    bool stops = t->job.running && strcmp(t->job.kind, "stop") == 0;

    if (t->leader && !s->v[i].led) {
        s->v[i].led = true;
        s->old_timeline = t->timeline;
    }
    if (news(&s->v[i].said, STOPS, stops || t->state == PGV_STATE_STOPPING))
        pgv_buf_printf(b, "%s: shutting down\n", m->name);
    if (news(&s->v[i].said, CHECKPOINT,
             stops && strcmp(t->job.step, "shutdown checkpoint written") == 0))
        pgv_buf_printf(b, "%s: shutdown checkpoint written\n", m->name);
    if (news(&s->v[i].said, RELEASED, s->v[i].led && !t->leader))
        pgv_buf_printf(b, "%s: no longer the leader\n", m->name);
    if (news(&s->v[i].said, STOPPED, t->state == PGV_STATE_STOPPED))
        pgv_buf_printf(b, "%s: stopped\n", m->name);
}

static void look_at_other(struct ctl_steps *s, const struct ctl_followed *m, unsigned i,
                          struct pgv_buf *b)
{
    const struct ctl_status *t = &m->status;
    bool up = t->role == PGV_ROLE_PRIMARY && t->state == PGV_STATE_RUNNING && t->timeline &&
              (!s->old_timeline || t->timeline > s->old_timeline);

    if (news(&s->v[i].said, LEADS, t->leader))
        pgv_buf_printf(b, "%s: the new leader\n", m->name);
    if (!news(&s->v[i].said, PROMOTED, t->leader && up))
        return;
    pgv_buf_printf(b, "%s: promoted, timeline %u\n", m->name, t->timeline);
    s->promoted = true;
    s->timeline = t->timeline;
}

static bool follows(const struct ctl_steps *s, const struct ctl_status *t)
{
    return s->promoted && t->role == PGV_ROLE_REPLICA && t->streaming && t->timeline == s->timeline;
}

void ctl_steps_look(struct ctl_steps *s, const struct ctl_follow *f, unsigned i, struct pgv_buf *b)
{
    if (s->old[0] && strcmp(f->v[i].name, s->old) == 0)
        look_at_old(s, &f->v[i], i, b);
    else
        look_at_other(s, &f->v[i], i, b);
    /* A promotion seen just now may explain what the others told before. */
    for (unsigned k = 0; k < f->n; k++)
        if (news(&s->v[k].said, FOLLOWS, follows(s, &f->v[k].status)))
            pgv_buf_printf(b, "%s: follows on timeline %u\n", f->v[k].name, s->timeline);
}

bool ctl_steps_complete(const struct ctl_steps *s, const struct ctl_follow *f)
{
    if (!s->promoted)
        return false;
    for (unsigned i = 0; i < f->n; i++)
        if (f->v[i].status.known && !(s->v[i].said & (PROMOTED | FOLLOWS)))
            return false;
    return true;
}
