/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/documents.c - texts that go into a DCS and addresses that come out: the prefix of a cluster,
 * the documents of the failover and status keys, the parts of a conn_url.
 */
#include "base/parse.h"
#include "dcs/cluster.h"

#include <ctype.h>

#include "base/banned.h"

bool dcs_prefix(const char *name_space, const char *scope, char *ret, size_t ret_bytes)
{
    const char *parts[] = { "/", name_space ? name_space : "", "/", scope ? scope : "", "/" };
    size_t n = 0;

    if (!scope || !*scope)
        return false;
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        for (const char *p = parts[i]; *p; p++) {
            if (*p == '/' && n && ret[n - 1] == '/')
                continue; /* runs of slashes count as one */
            if (n + 1 >= ret_bytes)
                return false;
            ret[n++] = *p;
        }
    }
    ret[n] = 0;
    return n > 1;
}

/* One member of an object whose earlier members may all have been left out. */
static bool write_field(struct pgv_buf *b, const char *key, const char *value, bool *first)
{
    if (!value || !*value)
        return true;
    if (!*first)
        pgv_buf_putc(b, ',');
    *first = false;
    pgv_json_write_string(b, pgv_str(key));
    pgv_buf_putc(b, ':');
    return pgv_json_write_string(b, pgv_str(value));
}

bool dcs_write_failover(struct pgv_buf *b, const char *leader, const char *candidate,
                        const char *scheduled_at)
{
    bool first = true;

    pgv_buf_putc(b, '{');
    write_field(b, "leader", leader, &first);
    write_field(b, "member", candidate, &first);
    write_field(b, "scheduled_at", scheduled_at, &first);
    pgv_buf_putc(b, '}');
    return !b->failed;
}

bool dcs_write_status(struct pgv_buf *b, uint64_t optime, const struct dcs_slot_lsn *slots,
                      unsigned n_slots, const char (*retain)[PGV_SLOT_NAME_BYTES],
                      unsigned n_retain)
{
    pgv_buf_printf(b, "{\"optime\":%llu", (unsigned long long)optime);
    for (unsigned i = 0; i < n_slots; i++) {
        pgv_buf_puts(b, i ? "," : ",\"slots\":{");
        pgv_json_write_string(b, pgv_str(slots[i].name));
        pgv_buf_printf(b, ":%llu", (unsigned long long)slots[i].lsn);
    }
    if (n_slots)
        pgv_buf_putc(b, '}');
    for (unsigned i = 0; i < n_retain; i++) {
        pgv_buf_puts(b, i ? "," : ",\"retain_slots\":[");
        pgv_json_write_string(b, pgv_str(retain[i]));
    }
    if (n_retain)
        pgv_buf_putc(b, ']');
    pgv_buf_putc(b, '}');
    return !b->failed;
}

bool dcs_conn_url_parse(const char *url, char *ret_host, size_t host_bytes, int *ret_port,
                        char *ret_dbname, size_t dbname_bytes)
{
    struct pgv_str s = pgv_str(url), authority, path;
    const char *at, *sep;

    if (!url || !pgv_str_starts(s, "postgres"))
        return false;
    sep = strstr(url, "://");
    if (!sep)
        return false;
    s = pgv_str(sep + 3);
    (void)pgv_str_cut(s, '?', &s, &path);
    if (!pgv_str_cut(s, '/', &authority, &path))
        path = (struct pgv_str){ 0 };
    at = authority.n ? memrchr(authority.p, '@', authority.n) : NULL;
    if (at) {
        authority.n -= (size_t)(at + 1 - authority.p);
        authority.p = at + 1;
    }
    if (authority.n && authority.p[authority.n - 1] == ':')
        authority.n--; /* 'host:' has the default port */
    if (!authority.n || !pgv_parse_host_port(authority, 5432, ret_host, host_bytes, ret_port) ||
        !ret_host[0])
        return false;
    for (char *p = ret_host; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return !ret_dbname || pgv_copy(ret_dbname, dbname_bytes, path);
}
