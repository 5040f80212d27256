/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpd_reply.c - answers out.
 *
 * The head is written into memory reserved when the server was opened, and head and body leave in
 * one system call, so answering allocates nothing unless the client is slow to read. Order of
 * headers and looks of error pages: contract of Patroni 4.1, REST API, 2.1; we speak HTTP/1.1 with
 * Content-Length, and HTTP/1.0 to those who ask in it.
 */
#include "http/httpd_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <time.h>

#include "base/banned.h"

/* Small bodies join the head, so that they share its TLS record. */
#define JOINED_BODY_BYTES 8192

static void log_access(const struct httpd_conn *c, const struct httpd_req *r, int status)
{
    char peer[SOCK_ADDR_BYTES], line[256];
    size_t n = 0;
    uint64_t us = pgv_clock_us() - r->received_us;

    if (!pgv_log_enabled(PGV_DEBUG, "rest"))
        return;
    for (size_t i = 0; i < r->request_line.n && n + 1 < sizeof(line); i++) {
        char ch = r->request_line.p[i];
        line[n++] = (unsigned char)ch < ' ' || (unsigned char)ch >= 0x7f ? '?' : ch;
    }
    line[n] = '\0';
    sock_addr_text(&c->req.peer, peer);
    pgv_log(PGV_DEBUG, "rest", "API thread: %s - - \"%s\" %d - latency: %llu.%03llu ms", peer, line,
            status, (unsigned long long)(us / 1000), (unsigned long long)(us % 1000));
}

static const char *date_now(struct httpd *s)
{
    static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    int64_t now_s = pgv_wall_us() / 1000000;
    time_t t = (time_t)now_s;
    struct tm tm;

    if (now_s == s->date_s || !gmtime_r(&t, &tm))
        return s->date;
    s->date_s = now_s;
    (void)snprintf(s->date, sizeof(s->date), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                   days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour,
                   tm.tm_min, tm.tm_sec);
    return s->date;
}

/* 'HTTP/1.1 200 OK'; @reason NULL for the usual one. */
static struct pgv_buf *begin_head(struct httpd_conn *c, int status, const char *reason)
{
    struct pgv_buf *b = &c->s->head_out;

    pgv_buf_reset(b);
    (void)pgv_buf_puts(b, c->reader.http10 ? "HTTP/1.0 " : "HTTP/1.1 ");
    (void)pgv_buf_printf(b, "%d ", status);
    (void)pgv_buf_puts(b, reason ? reason : httpd_reason(status));
    (void)pgv_buf_puts(b, "\r\n");
    return b;
}

static void put_header(struct pgv_buf *b, const char *name, const char *value)
{
    if (!value)
        return;
    (void)pgv_buf_puts(b, name);
    (void)pgv_buf_puts(b, ": ");
    (void)pgv_buf_puts(b, value);
    (void)pgv_buf_puts(b, "\r\n");
}

static void put_identity(struct httpd_conn *c, struct pgv_buf *b)
{
    put_header(b, "Server", c->s->server_name);
    put_header(b, "Date", date_now(c->s));
}

/* Only what differs from what the version means by itself. */
static void put_connection(struct httpd_conn *c, struct pgv_buf *b)
{
    if (c->close_after && !c->reader.http10)
        (void)pgv_buf_puts(b, "Connection: close\r\n");
    else if (!c->close_after && c->reader.http10)
        (void)pgv_buf_puts(b, "Connection: keep-alive\r\n");
}

/* The request is still ours to answer. False: its client is gone, and now nobody waits for it. */
static bool claim(struct httpd_req *r)
{
    struct httpd_conn *c = r->conn;

    if (!PGV_EXPECT(c->in_request && !c->streaming))
        return false;
    if (!c->closing)
        return true;
    httpd_conn_answered(c);
    return false;
}

static void send_answer(struct httpd_conn *c, int status, struct pgv_buf *b, struct pgv_str body)
{
    log_access(c, &c->req, status);
    (void)pgv_buf_puts(b, "\r\n");
    if (body.n && body.n <= JOINED_BODY_BYTES && c->tls && pgv_buf_str(b, body))
        body.n = 0;
    if (b->failed)
        httpd_conn_close(c);
    else
        httpd_conn_send(c, pgv_buf_view(b), body, c->close_after);
    httpd_conn_answered(c);
}

void httpd_reply(struct httpd_req *r, int status, const char *headers, const char *content_type,
                 struct pgv_str body)
{
    struct httpd_conn *c = r->conn;
    struct pgv_buf *b;

    if (!claim(r))
        return;
    b = begin_head(c, status, NULL);
    put_identity(c, b);
    if (headers)
        (void)pgv_buf_puts(b, headers);
    put_header(b, "Content-Type", content_type);
    if (c->s->extra_headers)
        (void)pgv_buf_puts(b, c->s->extra_headers);
    (void)pgv_buf_printf(b, "Content-Length: %zu\r\n", body.n);
    put_connection(c, b);
    if (r->method == HTTPD_HEAD)
        body.n = 0;
    send_answer(c, status, b, body);
}

void httpd_reply_status(struct httpd_req *r, int status)
{
    struct httpd_conn *c = r->conn;
    struct pgv_buf *b;

    if (!claim(r))
        return;
    b = begin_head(c, status, NULL);
    (void)pgv_buf_puts(b, "Content-Length: 0\r\n");
    put_connection(c, b);
    send_answer(c, status, b, (struct pgv_str){ 0 });
}

static void put_escaped(struct pgv_buf *b, const char *s)
{
    for (; *s; s++) {
        switch (*s) {
        case '<':
            (void)pgv_buf_puts(b, "&lt;");
            break;
        case '>':
            (void)pgv_buf_puts(b, "&gt;");
            break;
        case '&':
            (void)pgv_buf_puts(b, "&amp;");
            break;
        default:
            (void)pgv_buf_putc(b, *s);
        }
    }
}

/* Old clients look for exactly this in a 501. Source: contract of Patroni 4.1, REST API, 2.1. */
static const char *explanation(int status)
{
    switch (status) {
    case 501:
        return "Server does not support this operation";
    case 503:
        return "The request cannot be served now";
    case 411:
        return "The request needs a Content-Length";
    default:
        return status < 500 ? "The request cannot be served as it is"
                            : "The request could not be carried out";
    }
}

void httpd_reply_error(struct httpd_req *r, int status, const char *why)
{
    struct httpd_conn *c = r->conn;
    const char *reason = httpd_reason(status);
    char bytes[1024];
    struct pgv_buf *b;
    size_t n_head;
    int n;

    if (!claim(r))
        return;
    c->close_after = true;
    /* 501 has the method in its reason phrase: contract, 'unknown method'. */
    b = begin_head(c, status, status == 501 && why ? why : NULL);
    put_identity(c, b);
    (void)pgv_buf_puts(b, "Connection: close\r\nContent-Type: text/html;charset=utf-8\r\n");
    n_head = b->n;
    (void)pgv_buf_printf(b,
                         "<!DOCTYPE html>\n<html>\n<head><title>%d %s</title></head>\n<body>\n"
                         "<h1>%d %s</h1>\n<p>",
                         status, reason, status, reason);
    put_escaped(b, why && *why ? why : reason);
    (void)pgv_buf_printf(b, "</p>\n<p>%s.</p>\n</body>\n</html>\n", explanation(status));
    /* The page was written behind the head to be measured; it moves behind Content-Length. */
    if (!b->failed && b->n - n_head < sizeof(bytes)) {
        size_t n_page = b->n - n_head;
        memcpy(bytes, b->p + n_head, n_page);
        b->n = n_head;
        (void)pgv_buf_printf(b, "Content-Length: %zu\r\n", n_page);
        n = r->method == HTTPD_HEAD ? 0 : (int)n_page;
        send_answer(c, status, b, (struct pgv_str){ bytes, (size_t)n });
        return;
    }
    b->n = n_head; /* too long a reason: say the number alone */
    b->failed = false;
    (void)pgv_buf_puts(b, "Content-Length: 0\r\n");
    send_answer(c, status, b, (struct pgv_str){ 0 });
}

void httpd_stream_begin(struct httpd_req *r, const char *content_type)
{
    struct httpd_conn *c = r->conn;
    struct pgv_buf *b;

    PGV_ASSERT(c->in_request && !c->streaming);
    c->streaming = true;
    if (c->closing)
        return; /* on_abort tells */
    c->chunked = !c->reader.http10;
    c->close_after = c->close_after || !c->chunked;
    b = begin_head(c, 200, NULL);
    put_identity(c, b);
    put_header(b, "Content-Type", content_type);
    put_header(b, "Cache-Control", "no-cache");
    if (c->s->extra_headers)
        (void)pgv_buf_puts(b, c->s->extra_headers);
    if (c->chunked)
        put_header(b, "Transfer-Encoding", "chunked");
    if (c->close_after && c->chunked)
        put_header(b, "Connection", "close");
    (void)pgv_buf_puts(b, "\r\n");
    log_access(c, r, 200);
    if (b->failed)
        httpd_conn_close(c);
    else
        httpd_conn_send(c, pgv_buf_view(b), (struct pgv_str){ 0 }, false);
}

/* One chunk, in one piece when it is small. */
static void send_chunk(struct httpd_conn *c, struct pgv_str piece)
{
    struct pgv_buf *b = &c->s->head_out;

    pgv_buf_reset(b);
    (void)pgv_buf_printf(b, "%zx\r\n", piece.n);
    if (piece.n <= JOINED_BODY_BYTES) {
        (void)pgv_buf_str(b, piece);
        piece.n = 0;
    } else if (!b->failed) {
        httpd_conn_send(c, pgv_buf_view(b), piece, false);
        pgv_buf_reset(b);
    }
    (void)pgv_buf_puts(b, "\r\n");
    if (b->failed)
        httpd_conn_close(c);
    else
        httpd_conn_send(c, pgv_buf_view(b), (struct pgv_str){ 0 }, false);
}

bool httpd_stream_write(struct httpd_req *r, struct pgv_str piece)
{
    struct httpd_conn *c = r->conn;

    PGV_ASSERT(c->in_request && c->streaming);
    if (!c->closing && c->out.n + piece.n > HTTPD_STREAM_BYTES_MAX)
        httpd_conn_close(c);
    if (!c->closing && piece.n > 0) { /* an empty chunk would end the stream */
        if (c->chunked)
            send_chunk(c, piece);
        else
            httpd_conn_send(c, piece, (struct pgv_str){ 0 }, false);
    }
    if (!c->closing)
        return true;
    httpd_conn_answered(c); /* false says it; on_abort will not */
    return false;
}

void httpd_stream_end(struct httpd_req *r)
{
    struct httpd_conn *c = r->conn;

    PGV_ASSERT(c->in_request && c->streaming);
    if (!c->closing && c->chunked)
        httpd_conn_send(c, PGV_STR("0\r\n\r\n"), (struct pgv_str){ 0 }, false);
    httpd_conn_answered(c);
}
