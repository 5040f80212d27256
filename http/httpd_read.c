/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/httpd_read.c - bytes to requests.
 *
 * A head is collected whole, its lines checked as they come, and only then given to llhttp. The
 * checks are stricter than llhttp's of any version (8 without its strict mode accepts a bare LF
 * and folded lines), because a proxy in front of us may see another request in what we forgive:
 * RFC 9112 sections 2.2, 5.1, 5.2 and 6.3 (request smuggling). llhttp then decides about framing:
 * Content-Length, Transfer-Encoding, chunks.
 */
#include "http/httpd_read.h"

#include <strings.h>

#include "base/banned.h"

#define BLANK_LINES_MAX 4 /* before a request: RFC 9112, section 2.2 asks for at least one */

enum { HEADER_OTHER, HEADER_AUTHORIZATION, HEADER_EXPECT, HEADER_TRANSFER_ENCODING };

static int on_url(llhttp_t *p, const char *at, size_t n);
static int on_header_field(llhttp_t *p, const char *at, size_t n);
static int on_header_value(llhttp_t *p, const char *at, size_t n);
static int on_headers_complete(llhttp_t *p);
static int on_body(llhttp_t *p, const char *at, size_t n);
static int on_message_complete(llhttp_t *p);

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void httpd_reader_init(struct httpd_reader *rd, const struct httpd_limits *limits)
{
    *rd = (struct httpd_reader){ .limits = limits, .reading = HTTPD_READING_HEAD };
    /* Room for one read beyond the limits, which are checked after it. */
    pgv_buf_init(&rd->in, (size_t)limits->head_bytes_max + (64u << 10));
    pgv_buf_init(&rd->head, rd->in.bytes_max);
    pgv_buf_init(&rd->body, limits->body_bytes_max);
}

void httpd_reader_done(struct httpd_reader *rd)
{
    pgv_buf_done(&rd->in);
    pgv_buf_done(&rd->head);
    pgv_buf_done(&rd->body);
}

bool httpd_reader_begun(const struct httpd_reader *rd)
{
    return rd->reading != HTTPD_READING_HEAD || rd->in.n > 0 || rd->n_blanks > 0;
}

static void trim(struct pgv_buf *b)
{
    if (b->n == 0)
        pgv_buf_done(b);
}

void httpd_reader_trim(struct httpd_reader *rd)
{
    trim(&rd->in);
    trim(&rd->head);
    trim(&rd->body);
}

void httpd_reader_next(struct httpd_reader *rd)
{
    /* The usual request was alone in its packet: its buffer receives the next one. */
    if (rd->in.n == 0) {
        struct pgv_buf swap = rd->in;
        rd->in = rd->head;
        rd->head = swap;
        pgv_buf_reset(&rd->in);
    }
    pgv_buf_reset(&rd->head);
    pgv_buf_done(&rd->body);
    rd->reading = HTTPD_READING_HEAD;
    rd->line_at = rd->seen = rd->body_raw_bytes = 0;
    rd->n_lines = rd->status = 0;
    rd->n_blanks = 0;
    rd->complete = rd->expects = rd->head_done = rd->no_memory = false;
    rd->why = NULL;
    rd->req = NULL;
}

static enum httpd_read refuse(struct httpd_reader *rd, struct httpd_req *r, int status,
                              const char *why)
{
    rd->status = (uint16_t)status;
    rd->why = why;
    rd->keep_alive = false;
    r->method = HTTPD_OTHER;
    r->method_text = r->request_line = (struct pgv_str){ 0 };
    r->path = r->query = r->body = r->authorization = (struct pgv_str){ 0 };
    return HTTPD_READ_REFUSE;
}

/* token of RFC 9110, section 5.6.2 */
static bool is_token(struct pgv_str s)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if ((c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') &&
            (c == '\0' || !strchr(others, c)))
            return false;
    }
    return s.n > 0;
}

/* 'METHOD target HTTP/1.x', single blanks; 0 or the status that refuses it. */
static int check_request_line(struct pgv_str line, const char **ret_why)
{
    struct pgv_str method, target, version, rest;

    *ret_why = "Bad request syntax";
    if (!pgv_str_cut(line, ' ', &method, &rest) || !is_token(method))
        return 400;
    if (!pgv_str_cut(rest, ' ', &target, &version) || target.n == 0)
        return 400;
    for (size_t i = 0; i < target.n; i++)
        if ((unsigned char)target.p[i] <= ' ' || target.p[i] == 0x7f)
            return 400;
    *ret_why = "Bad request version";
    if (version.n != 8 || !pgv_str_starts(version, "HTTP/") || version.p[6] != '.')
        return 400;
    if (version.p[5] >= '2' && version.p[5] <= '9') {
        *ret_why = "Invalid HTTP version";
        return 505;
    }
    if (version.p[5] != '1' || (version.p[7] != '0' && version.p[7] != '1'))
        return 400;
    return 0;
}

static bool is_header_line(struct pgv_str line)
{
    struct pgv_str name, value;

    /* A blank in front (obs-fold) or before the colon makes the name no token. */
    if (!pgv_str_cut(line, ':', &name, &value) || !is_token(name))
        return false;
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static enum httpd_read refuse_long(struct httpd_reader *rd, struct httpd_req *r)
{
    if (rd->n_lines == 0)
        return refuse(rd, r, 414, "the request line is too long");
    return refuse(rd, r, 431, "the head is too long");
}

/* Blank lines before a request are skipped. */
static void skip_blanks(struct httpd_reader *rd)
{
    while (rd->n_lines == 0 && rd->line_at == 0 && rd->n_blanks < BLANK_LINES_MAX &&
           rd->in.n >= 2 && rd->in.p[0] == '\r' && rd->in.p[1] == '\n') {
        pgv_buf_consume(&rd->in, 2);
        rd->n_blanks++;
        rd->seen = 0;
    }
}

/* HTTPD_READ_REQUEST here means: the head is complete, line_at is its length. */
static enum httpd_read check_lines(struct httpd_reader *rd, struct httpd_req *r)
{
    skip_blanks(rd);
    if (rd->n_lines == 0 && rd->in.n > 0) {
        char c = rd->in.p[0];
        /* 0x16 begins a TLS handshake record; an unprintable byte begins no method at all. */
        if (((unsigned char)c < ' ' && c != '\r') || (unsigned char)c >= 0x7f)
            return HTTPD_READ_NOT_HTTP;
        if (!is_token((struct pgv_str){ &c, 1 }) && (c != '\r' || rd->in.n > 1))
            return refuse(rd, r, 400, "Bad request syntax");
    }
    while (rd->seen < rd->in.n) {
        const char *nl = memchr(rd->in.p + rd->seen, '\n', rd->in.n - rd->seen);
        struct pgv_str line;
        const char *why = NULL;
        int status;

        if (!nl) {
            rd->seen = rd->in.n;
            break;
        }
        line = (struct pgv_str){ rd->in.p + rd->line_at, (size_t)(nl - rd->in.p) - rd->line_at };
        if (line.n == 0 || line.p[line.n - 1] != '\r')
            return refuse(rd, r, 400, "a line ends without CR LF");
        line.n--;
        if (line.n && (memchr(line.p, '\r', line.n) || memchr(line.p, '\0', line.n)))
            return refuse(rd, r, 400, "a control character in the head");
        rd->seen = rd->line_at = (size_t)(nl + 1 - rd->in.p);
        if (rd->line_at > rd->limits->head_bytes_max)
            return refuse_long(rd, r);
        if (line.n == 0 && rd->n_lines > 0)
            return HTTPD_READ_REQUEST;
        if (rd->n_lines == 0) {
            status = check_request_line(line, &why);
            if (status)
                return refuse(rd, r, status, why);
        } else if (rd->n_lines > HTTPD_HEADERS_MAX) {
            return refuse(rd, r, 431, "too many headers");
        } else if (!is_header_line(line)) {
            return refuse(rd, r, 400, "a malformed header line");
        }
        rd->n_lines++;
    }
    if (rd->in.n > rd->limits->head_bytes_max)
        return refuse_long(rd, r);
    return HTTPD_READ_MORE;
}

/* The head gets memory of its own; what follows it stays in 'in'. */
static bool take_head(struct httpd_reader *rd)
{
    size_t head_bytes = rd->line_at;
    struct pgv_buf swap = rd->head;
    struct pgv_str rest;

    rd->head = rd->in;
    rd->in = swap;
    pgv_buf_reset(&rd->in);
    rest = (struct pgv_str){ rd->head.p + head_bytes, rd->head.n - head_bytes };
    if (rest.n && !pgv_buf_str(&rd->in, rest))
        return false;
    rd->head.n = head_bytes;
    return true;
}

static bool has_prefix(struct pgv_str s, const char *prefix)
{
    return s.n >= strlen(prefix) && strncasecmp(s.p, prefix, strlen(prefix)) == 0;
}

/* Source: contract of Patroni 4.1, REST API, routing: urlparse() of the target. */
static void split_target(struct pgv_str target, struct httpd_req *r)
{
    struct pgv_str head, tail;
    size_t slash, scheme = has_prefix(target, "http://")    ? 7
                           : has_prefix(target, "https://") ? 8
                                                            : 0;

    if (pgv_str_cut(target, '#', &head, &tail))
        target = head;
    if (scheme) { /* absolute form: the path begins after the authority */
        size_t i = scheme;
        while (i < target.n && target.p[i] != '/' && target.p[i] != '?')
            i++;
        target = (struct pgv_str){ target.p + i, target.n - i };
        if (target.n == 0)
            target = PGV_STR("/");
    }
    (void)pgv_str_cut(target, '?', &r->path, &r->query);
    if (r->path.n == 0)
        r->path = PGV_STR("/");
    while (r->path.n >= 2 && r->path.p[0] == '/' && r->path.p[1] == '/') {
        r->path.p++;
        r->path.n--;
    }
    slash = r->path.n;
    while (slash > 0 && r->path.p[slash - 1] != '/')
        slash--;
    tail = (struct pgv_str){ r->path.p + slash, r->path.n - slash };
    if (pgv_str_cut(tail, ';', &head, &tail))
        r->path.n = slash + head.n;
}

static enum httpd_method method_of(struct pgv_str s)
{
    static const struct {
        const char *name;
        enum httpd_method method;
    } names[] = {
        { "GET", HTTPD_GET },       { "HEAD", HTTPD_HEAD }, { "OPTIONS", HTTPD_OPTIONS },
        { "POST", HTTPD_POST },     { "PUT", HTTPD_PUT },   { "PATCH", HTTPD_PATCH },
        { "DELETE", HTTPD_DELETE },
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (pgv_str_eqz(s, names[i].name))
            return names[i].method;
    return HTTPD_OTHER;
}

static int on_url(llhttp_t *p, const char *at, size_t n)
{
    struct httpd_reader *rd = p->data;

    split_target((struct pgv_str){ at, n }, rd->req);
    return 0;
}

static int on_header_field(llhttp_t *p, const char *at, size_t n)
{
    struct httpd_reader *rd = p->data;

    rd->header = HEADER_OTHER;
    if (rd->head_done) /* trailers say nothing to us */
        return 0;
    if (n == 13 && strncasecmp(at, "authorization", n) == 0)
        rd->header = HEADER_AUTHORIZATION;
    else if (n == 6 && strncasecmp(at, "expect", n) == 0)
        rd->header = HEADER_EXPECT;
    else if (n == 17 && strncasecmp(at, "transfer-encoding", n) == 0)
        rd->header = HEADER_TRANSFER_ENCODING;
    return 0;
}

static int on_header_value(llhttp_t *p, const char *at, size_t n)
{
    struct httpd_reader *rd = p->data;
    struct pgv_str value = pgv_str_trim((struct pgv_str){ at, n });

    if (rd->header == HEADER_AUTHORIZATION && !rd->req->authorization.p) {
        rd->req->authorization = value;
    } else if (rd->header == HEADER_EXPECT) {
        if (value.n != 12 || strncasecmp(value.p, "100-continue", 12) != 0) {
            rd->status = 417;
            rd->why = "an unknown expectation";
            return HPE_USER;
        }
        rd->expects = true;
    } else if (rd->header == HEADER_TRANSFER_ENCODING &&
               (value.n != 7 || strncasecmp(value.p, "chunked", 7) != 0)) {
        rd->status = 400; /* the length of anything else cannot be known (RFC 9112, 6.3) */
        rd->why = "an unknown transfer encoding";
        return HPE_USER;
    }
    return 0;
}

static int on_headers_complete(llhttp_t *p)
{
    struct httpd_reader *rd = p->data;
    bool encoded = (p->flags & F_TRANSFER_ENCODING) || (p->flags & F_CHUNKED);

    rd->head_done = true;
    rd->http10 = llhttp_get_http_minor(p) == 0;
    rd->keep_alive = llhttp_should_keep_alive(p);
    rd->req->has_length = encoded || (p->flags & F_CONTENT_LENGTH);
    p->upgrade = 0; /* we speak nothing else: CONNECT and Upgrade are requests like others */
    if (encoded && (rd->http10 || (p->flags & F_CONTENT_LENGTH))) {
        rd->status = 400; /* two lengths, or one an old proxy does not know (RFC 9112, 6.1) */
        rd->why = "conflicting body lengths";
        return HPE_USER;
    }
    if (!encoded && p->content_length > rd->limits->body_bytes_max) {
        rd->status = 413;
        rd->why = "the body is too large";
        return HPE_USER;
    }
    return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct httpd_reader *rd = p->data;

    if (n > rd->limits->body_bytes_max - rd->body.n) {
        rd->status = 413;
        rd->why = "the body is too large";
        return HPE_USER;
    }
    if (!pgv_buf_append(&rd->body, at, n)) {
        rd->no_memory = true;
        return HPE_USER;
    }
    return 0;
}

static int on_message_complete(llhttp_t *p)
{
    struct httpd_reader *rd = p->data;

    rd->complete = true;
    return HPE_PAUSED; /* what follows is another request */
}

static enum httpd_read refuse_parsed(struct httpd_reader *rd, struct httpd_req *r, llhttp_errno_t e)
{
    if (rd->no_memory)
        return refuse(rd, r, 503, "out of memory");
    if (rd->status)
        return refuse(rd, r, rd->status, rd->why);
    if (e == HPE_INVALID_METHOD) {
        struct pgv_str method = r->method_text; /* a token: fit to be shown */
        struct pgv_str line = r->request_line;  /* for the log */
        (void)refuse(rd, r, 501, "Unsupported method");
        r->method_text = method;
        r->request_line = line;
        return HTTPD_READ_REFUSE;
    }
    return refuse(rd, r, 400, "Bad request syntax");
}

static enum httpd_read parse_head(struct httpd_reader *rd, struct httpd_req *r)
{
    struct pgv_str line, rest;
    llhttp_errno_t e;

    if (!take_head(rd))
        return refuse(rd, r, 503, "out of memory");
    rd->req = r;
    r->has_length = false;
    r->path = r->query = r->body = r->authorization = (struct pgv_str){ 0 };
    (void)pgv_str_cut(pgv_buf_view(&rd->head), ' ', &r->method_text, &rest);
    r->method = method_of(r->method_text);
    (void)pgv_str_cut(pgv_buf_view(&rd->head), '\r', &line, &rest);
    r->request_line = line;

    llhttp_init(&rd->parser, HTTP_REQUEST, &settings);
    rd->parser.data = rd;
    e = llhttp_execute(&rd->parser, rd->head.p, rd->head.n);
    if (!(e == HPE_OK || (e == HPE_PAUSED && rd->complete)) || !rd->head_done)
        return refuse_parsed(rd, r, e);
    rd->reading = HTTPD_READING_BODY;
    return rd->complete ? HTTPD_READ_REQUEST : HTTPD_READ_MORE;
}

static enum httpd_read parse_body(struct httpd_reader *rd, struct httpd_req *r)
{
    llhttp_errno_t e;
    size_t used;

    if (rd->in.n == 0) {
        if (!rd->expects || rd->http10)
            return HTTPD_READ_MORE;
        rd->expects = false; /* said once */
        return HTTPD_READ_CONTINUE;
    }
    rd->expects = false;
    e = llhttp_execute(&rd->parser, rd->in.p, rd->in.n);
    if (e == HPE_PAUSED && rd->complete)
        used = (size_t)(llhttp_get_error_pos(&rd->parser) - rd->in.p);
    else if (e == HPE_OK)
        used = rd->in.n;
    else
        return refuse_parsed(rd, r, e);
    rd->body_raw_bytes += used;
    pgv_buf_consume(&rd->in, used);
    if (rd->complete)
        return HTTPD_READ_REQUEST;
    /* Chunk headers, extensions and trailers are not kept, but may not go on for ever either. */
    if (rd->body_raw_bytes > (size_t)rd->limits->body_bytes_max * 2 + rd->limits->head_bytes_max)
        return refuse(rd, r, 413, "the body is too large");
    return HTTPD_READ_MORE;
}

enum httpd_read httpd_reader_run(struct httpd_reader *rd, struct httpd_req *r)
{
    enum httpd_read got = HTTPD_READ_REQUEST;

    if (rd->in.failed)
        return refuse(rd, r, 503, "out of memory");
    if (rd->reading == HTTPD_READING_HEAD) {
        got = check_lines(rd, r);
        if (got != HTTPD_READ_REQUEST)
            return got;
        got = parse_head(rd, r);
        if (got != HTTPD_READ_MORE && got != HTTPD_READ_REQUEST)
            return got;
    }
    if (!rd->complete) {
        got = parse_body(rd, r);
        if (got != HTTPD_READ_REQUEST)
            return got;
    }
    r->body = pgv_buf_view(&rd->body);
    return HTTPD_READ_REQUEST;
}
