/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpc_read.c - bytes to answers: llhttp decides about framing, we keep the few headers
 * somebody wants, and collect or hand on the body.
 */
#include "http/httpc_read.h"

#include <strings.h>

#include "base/banned.h"

static int count_head(struct httpc_reader *rd, size_t n)
{
    rd->head_bytes += n;
    if (rd->head_bytes <= HTTPC_HEAD_BYTES_MAX)
        return 0;
    rd->why = "the head of the answer is too long";
    return HPE_USER;
}

static int on_message_begin(llhttp_t *p)
{
    struct httpc_reader *rd = p->data;

    rd->informational = false;
    return 0;
}

static int on_status(llhttp_t *p, const char *at, size_t n)
{
    (void)at;
    return count_head(p->data, n);
}

static int on_header_field(llhttp_t *p, const char *at, size_t n)
{
    struct httpc_reader *rd = p->data;

    if (rd->named) { /* a new header begins */
        rd->named = false;
        rd->name_n = 0;
    }
    for (size_t i = 0; i < n && rd->name_n < sizeof(rd->name); i++)
        rd->name[rd->name_n++] = at[i];
    return count_head(rd, n);
}

static int on_header_field_complete(llhttp_t *p)
{
    struct httpc_reader *rd = p->data;
    struct httpc_req *r = rd->req;
    const struct {
        const char *name;
        char *value;
        size_t bytes;
    } wanted[] = {
        { "lsn", r->lsn_header, sizeof(r->lsn_header) },
        { "x-etcd-cluster-id", r->cluster_id, sizeof(r->cluster_id) },
        { "x-raft-term", r->raft_term, sizeof(r->raft_term) },
        { "x-consul-index", r->index_header, sizeof(r->index_header) },
        { "x-etcd-index", r->index_header, sizeof(r->index_header) },
        { "location", r->location, sizeof(r->location) },
    };

    rd->named = true;
    rd->value = NULL;
    rd->value_n = 0;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        if (strlen(wanted[i].name) != rd->name_n ||
            strncasecmp(wanted[i].name, rd->name, rd->name_n) != 0)
            continue;
        rd->value = wanted[i].value;
        rd->value_bytes = wanted[i].bytes;
    }
    return 0;
}

static int on_header_value(llhttp_t *p, const char *at, size_t n)
{
    struct httpc_reader *rd = p->data;

    if (rd->value && rd->value_n + n >= rd->value_bytes) {
        rd->value[0] = '\0'; /* half a value would be a wrong one */
        rd->value = NULL;
    } else if (rd->value) {
        memcpy(rd->value + rd->value_n, at, n);
        rd->value_n += n;
        while (rd->value_n && rd->value[rd->value_n - 1] == ' ')
            rd->value_n--;
        rd->value[rd->value_n] = '\0';
    }
    return count_head(rd, n);
}

static int on_headers_complete(llhttp_t *p)
{
    struct httpc_reader *rd = p->data;
    int status = llhttp_get_status_code(p);

    if (status < 100 || status > 999) { /* llhttp takes fewer digits than three */
        rd->why = "a status that is none";
        return HPE_USER;
    }
    if (status == 101) {
        rd->why = "an upgrade nobody asked for";
        return HPE_USER;
    }
    rd->informational = status < 200;
    rd->req->status = status;
    if (!rd->informational && !(p->flags & F_CHUNKED) && !rd->req->on_piece &&
        p->content_length > HTTPC_BODY_BYTES_MAX) {
        rd->why = "the answer is too large";
        return HPE_USER;
    }
    return rd->bodyless ? 1 : 0; /* 1: no body follows, whatever the headers say */
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct httpc_reader *rd = p->data;
    struct httpc_req *r = rd->req;

    if (r->on_piece) {
        r->on_piece(r, (struct pgv_str){ at, n });
        return rd->req ? 0 : HPE_USER;
    }
    if (pgv_buf_append(&r->answer, at, n))
        return 0;
    if (r->answer.n + n > r->answer.bytes_max)
        rd->why = "the answer is too large";
    else
        rd->no_memory = true;
    return HPE_USER;
}

static int on_message_complete(llhttp_t *p)
{
    struct httpc_reader *rd = p->data;

    if (rd->informational)
        return 0; /* '100 Continue' and its kin: the answer is still to come */
    rd->complete = true;
    rd->keep_alive = llhttp_should_keep_alive(p);
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_message_begin = on_message_begin,
    .on_status = on_status,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void httpc_reader_init(struct httpc_reader *rd, struct httpc_req *r, bool bodyless)
{
    *rd = (struct httpc_reader){ .req = r, .bodyless = bodyless };
    llhttp_init(&rd->parser, HTTP_RESPONSE, &settings);
    rd->parser.data = rd;
}

void httpc_reader_forget(struct httpc_reader *rd)
{
    rd->req = NULL;
}

static enum httpc_read failed(struct httpc_reader *rd)
{
    if (!rd->why)
        rd->why = "no HTTP answer";
    return HTTPC_READ_FAILED;
}

enum httpc_read httpc_reader_feed(struct httpc_reader *rd, struct pgv_str bytes, size_t *ret_left)
{
    llhttp_errno_t e;

    *ret_left = 0;
    if (bytes.n == 0)
        return HTTPC_READ_MORE;
    rd->any = true;
    e = llhttp_execute(&rd->parser, bytes.p, bytes.n);
    if (!rd->req)
        return HTTPC_READ_FORGOTTEN;
    if (rd->complete) {
        *ret_left = (size_t)(bytes.p + bytes.n - llhttp_get_error_pos(&rd->parser));
        return HTTPC_READ_DONE;
    }
    return e == HPE_OK ? HTTPC_READ_MORE : failed(rd);
}

enum httpc_read httpc_reader_eof(struct httpc_reader *rd)
{
    llhttp_errno_t e;

    if (!rd->any)
        return HTTPC_READ_CUT;
    e = llhttp_finish(&rd->parser);
    if (rd->complete) {
        rd->keep_alive = false;
        return HTTPC_READ_DONE;
    }
    return e == HPE_OK || e == HPE_INVALID_EOF_STATE ? HTTPC_READ_CUT : failed(rd);
}
