/* SPDX-License-Identifier: PostgreSQL */
/* pg/pghist.c - timeline history files. */
#include "pg/pghist.h"

#include "base/file.h"
#include "base/log.h"
#include "base/parse.h"
#include "pg/pgconf.h"

#include <stdio.h>
#include <sys/stat.h>

#include "base/banned.h"

/** The three fields; false when the line is something else (a comment, an empty one). */
static bool split_line(struct pgv_str line, struct pgv_str ret[3])
{
    struct pgv_str rest;

    if (!pgv_str_cut(line, '\t', &ret[0], &rest) || !pgv_str_cut(rest, '\t', &ret[1], &ret[2]))
        return false;
    return !ret[2].p || !memchr(ret[2].p, '\t', ret[2].n);
}

static bool parse_line(struct pgv_str line, struct pghist_entry *ret)
{
    struct pgv_str field[3];
    uint64_t timeline, lsn;

    line = pgv_str_trim(line);
    if (!split_line(line, field))
        return false;
    if (!pgv_parse_u64(pgv_str_trim(field[0]), &timeline) || timeline == 0 ||
        timeline > UINT32_MAX || !pgv_parse_lsn(pgv_str_trim(field[1]), &lsn)) {
        pgv_log(PGV_ERROR, "pg", "timeline history line is not understood: %.*s",
                (int)(line.n < 200 ? line.n : 200), line.p);
        return false;
    }
    *ret = (struct pghist_entry){ (uint32_t)timeline, lsn, field[2] };
    return true;
}

bool pghist_parse(struct pgv_arena *a, struct pgv_str text, struct pghist *ret,
                  struct pgv_error *err)
{
    struct pghist h = { 0 };
    size_t lines = 1;

    if (text.n > PGHIST_BYTES_MAX)
        return pgv_fail(err, PGV_EINVALID, "timeline history is too long");
    for (size_t i = 0; i < text.n; i++)
        lines += text.p[i] == '\n';
    h.v = pgv_arena_alloc(a, lines * sizeof(*h.v));
    if (!h.v)
        goto no_memory;
    while (text.n > 0) {
        struct pghist_entry *entry = &h.v[h.n];
        struct pgv_str line, tail;

        (void)pgv_str_cut(text, '\n', &line, &tail);
        text = tail;
        if (!parse_line(line, entry))
            continue;
        entry->reason.p = pgv_arena_dup(a, entry->reason);
        if (!entry->reason.p)
            goto no_memory;
        h.n++;
    }
    *ret = h;
    return true;
no_memory:
    return pgv_fail(err, PGV_ENOMEM, "no memory for a timeline history");
}

void pghist_file_name(uint32_t timeline, char ret[PGHIST_FILE_BYTES])
{
    (void)snprintf(ret, PGHIST_FILE_BYTES, "%08X.history", (unsigned)timeline);
}

bool pghist_read(struct pgv_arena *a, const char *data_dir, int major_version, uint32_t timeline,
                 struct pghist *ret, int64_t *ret_file_wall_us, struct pgv_error *err)
{
    char name[PGHIST_FILE_BYTES], path[PGCONF_PATH_BYTES];
    struct pgv_buf text;
    struct pghist h;
    struct stat st;
    bool ok = false;
    int n;

    pghist_file_name(timeline, name);
    n = snprintf(path, sizeof(path), "%s/%s/%s", data_dir, pgconf_wal_dir(major_version), name);
    if (n < 0 || (size_t)n >= sizeof(path))
        return pgv_fail(err, PGV_EINVALID, "path of '%s' is too long", name);
    pgv_buf_init(&text, PGHIST_BYTES_MAX);
    if (pgv_file_read(path, &text, err) && pghist_parse(a, pgv_buf_view(&text), &h, err)) {
        *ret = h;
        *ret_file_wall_us = stat(path, &st) == 0
                                ? (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000
                                : 0;
        ok = true;
    }
    pgv_buf_done(&text);
    return ok;
}
