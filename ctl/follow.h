/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/follow.h - what members do while a person waits.
 *
 * A pgvigil tells by itself (GET /events). A Patroni takes that question for a health check, and is
 * then asked for its status every second. All of it is for display: a member that does not answer
 * stays unknown and is tried again, and nothing here ever fails a command.
 */
#pragma once

#include "ctl/members.h"
#include "ctl/rest.h"

/** Each needs a connection of the client's HTTPC_CONNS_MAX; further members are not followed. */
#define CTL_FOLLOW_MAX 12

/** What a member last told of itself. */
struct ctl_status {
    bool known;      /* it has told something; the rest is zero before */
    bool is_pgvigil; /* else a Patroni */
    enum pgv_state state;
    enum pgv_role role;
    bool leader;       /* a pgvigil: its lease is proven; a Patroni: it calls itself primary */
    bool streaming;    /* a standby that receives WAL */
    uint32_t timeline; /* 0: unknown */
    /** The long job that runs; a Patroni does not tell of any. */
    struct {
        bool running;
        char kind[32], name[64], step[64];
        int percent;                 /* -1: unknown */
        uint64_t bytes, bytes_total; /* copied so far and in all; 0: unknown */
    } job;
};

/** The document of GET /patroni or of an event 'member'. False: neither, @ret is untouched. */
bool ctl_status_parse(struct pgv_str json, struct ctl_status *ret,
                      struct pgv_error *err) PGV_MUST_CHECK;
/** It is being made anew: told to, or already copying. */
bool ctl_status_is_copying(const struct ctl_status *s);

struct ctl_follow;

struct ctl_followed {
    char name[PGV_NAME_BYTES];
    struct ctl_status status;
    uint64_t bytes_per_s; /* of the job's copying; 0: not known yet */
    /* private */
    struct ctl_follow *follow;
    struct httpc_req events, patroni, *req; /* @req: the one under way, or NULL */
    struct pgv_buf text;                    /* what came and is not yet a whole event */
    uv_timer_t again;
    bool asked_in_vain;                  /* its /events is none */
    uint64_t source_bytes, source_total; /* ctl_follow_learn() */
    struct {
        uint64_t ms, bytes;
    } rate_from, rate_next;
};

struct ctl_follow {
    void *data;
    unsigned n; /* 0: nobody is followed */
    struct ctl_followed v[CTL_FOLLOW_MAX];
    /** The status of f->v[i] was told anew. Called by the loop, may print. */
    void (*on_told)(struct ctl_follow *f, unsigned i);
    /* private */
    struct ctl *c;
    struct httpc *client;
    unsigned n_timers;
    bool closing, closed, met;
};

/**
 * Begin to follow those of @s, the first CTL_FOLLOW_MAX, when progress is shown at all; @f has data
 * and on_told. ctl_follow_close() must follow.
 */
void ctl_follow_open(struct ctl_follow *f, struct ctl *c, const struct ctl_selection *s);
void ctl_follow_close(struct ctl_follow *f);
/** Somebody else has told how far the copy for f->v[@i] is, which does not tell that itself. */
void ctl_follow_learn(struct ctl_follow *f, unsigned i, uint64_t bytes, uint64_t total);
/** Wait until all have told something, at most @ms. False: Ctrl-C came. */
bool ctl_follow_greet(struct ctl_follow *f, uint64_t ms, struct pgv_error *err) PGV_MUST_CHECK;

/** 'basebackup 45% of 1.2 GB, 85.0 MB/s, 8 s left'; the state's name when no job runs. */
void ctl_put_doing(struct pgv_buf *b, const struct ctl_followed *m);
/** '1.2 GB'. */
void ctl_put_bytes(struct pgv_buf *b, uint64_t bytes);
