/* SPDX-License-Identifier: PostgreSQL */
/* ctl/rest.h - the REST API of a member, called and waited for. */
#pragma once

#include "ctl/ctl.h"
#include "dcs/cluster.h"
#include "http/httpc.h"

struct ctl_answer {
    int status;
    struct pgv_buf body;
};

/** How long an answer may take: the tool must not hang, nor give up on what takes its time. */
enum ctl_patience {
    CTL_PATIENCE_LOOK,   /* a question that is answered at once */
    CTL_PATIENCE_CHANGE, /* the member writes to its store first */
    CTL_PATIENCE_WORK,   /* the member answers when it is done: a restart, a switchover */
};

/**
 * Ask @member. @endpoint NULL: its api_url as it stands, else in the place of its path. @body NULL:
 * none. @what as in ctl_wait(). A refused connection is tried again a few times.
 *
 * False: no HTTP answer (PGV_EUNREACHABLE, PGV_EINVALID), Ctrl-C (PGV_ECANCELED), memory. True: any
 * answer, whatever its status; ctl_answer_done() must follow.
 */
bool ctl_request(struct ctl *c, const struct dcs_member *member, const char *method,
                 const char *endpoint, const struct pgv_value *body, enum ctl_patience patience,
                 const char *what, struct ctl_answer *ret, struct pgv_error *err) PGV_MUST_CHECK;
void ctl_answer_done(struct ctl_answer *a);
/** The body, terminated. */
const char *ctl_answer_text(struct ctl_answer *a);

/** For requests that go on beside others: a pool of its own. */
bool ctl_client_open(struct ctl *c, struct httpc **ret, struct pgv_error *err) PGV_MUST_CHECK;
/** What is under way is cancelled; *@io_client becomes NULL, and may be. */
void ctl_client_close(struct ctl *c, struct httpc **io_client);
/** A GET with our credentials, @endpoint as above; its texts live as long as the run. */
bool ctl_request_fill(struct ctl *c, const struct dcs_member *member, const char *endpoint,
                      struct httpc_req *ret, struct pgv_error *err) PGV_MUST_CHECK;

/** For ctl_close(). */
void ctl_rest_close(struct ctl *c);
