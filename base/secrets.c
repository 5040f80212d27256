/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/secrets.c - secrets that the configuration keeps in files.
 *
 * Containers are given secrets as files, and what a variable holds, every child and 'docker
 * inspect' can see. So each secret has a second key, its name with '_file' behind it, which names a
 * file instead. It is read whenever the configuration is, so that a reload takes up a new password.
 */
#include "base/secrets.h"

#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/banned.h"

#define FILE_KEY "_file"
#define KEY_BYTES 64
#define WHERE_BYTES 200

#define USER "username password"
#define LIBPQ "username password sslpassword"
static const struct {
    const char *path, *keys;
} secrets[] = {
    { "restapi", "keyfile_password" },
    { "restapi.authentication", USER },
    { "ctl", "keyfile_password" },
    { "ctl.authentication", USER },
    { "consul", "token" },
    { "etcd", USER },
    { "etcd3", USER },
    { "raft", "password" },
    { "zookeeper", "key_password" },
    { "postgresql.authentication.superuser", LIBPQ },
    { "postgresql.authentication.replication", LIBPQ },
    { "postgresql.authentication.rewind", LIBPQ },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/** The next of the words in @rest; false: there is none. */
static bool next_key(struct pgv_str *rest, char key[KEY_BYTES], char file_key[KEY_BYTES])
{
    struct pgv_str word, tail = { 0 };

    if (rest->n == 0)
        return false;
    if (!pgv_str_cut(*rest, ' ', &word, &tail))
        word = *rest;
    *rest = tail;
    PGV_ASSERT(pgv_copy(key, KEY_BYTES, word)); /* all come from the table above */
    PGV_ASSERT(snprintf(file_key, KEY_BYTES, "%s" FILE_KEY, key) < KEY_BYTES);
    return true;
}

/** Who named the file: 'PATRONI_X_FILE', or 'config file 'a.yml' line 3:
 * ctl.keyfile_password_file'.
 */
static const char *where(const struct pgv_value *at, const char *path, const char *file_key,
                         char ret[WHERE_BYTES])
{
    if (at->file && !at->line) /* a variable has no lines */
        (void)snprintf(ret, WHERE_BYTES, "%s", at->file);
    else if (at->file)
        (void)snprintf(ret, WHERE_BYTES, "config file '%.100s' line %u: %.60s.%s", at->file,
                       at->line, path, file_key);
    else
        (void)snprintf(ret, WHERE_BYTES, "%s.%s", path, file_key);
    return ret;
}

bool pgv_secrets_give_way(struct pgv_value *root, const struct pgv_value *layer,
                          struct pgv_error *err)
{
    char key[KEY_BYTES], file_key[KEY_BYTES], at[WHERE_BYTES];

    for (size_t i = 0; i < COUNT(secrets); i++) {
        const struct pgv_value *from = pgv_path(layer, secrets[i].path);
        struct pgv_value *to = pgv_path(root, secrets[i].path);
        struct pgv_str rest = pgv_str(secrets[i].keys);

        while (from && next_key(&rest, key, file_key)) {
            const struct pgv_value *text = pgv_get(from, key), *file = pgv_get(from, file_key);

            if (pgv_truthy(text) && pgv_truthy(file))
                return pgv_fail(err, PGV_EINVALID,
                                "%s: '%s' is given as well: one of them has to go",
                                where(file, secrets[i].path, file_key, at), key);
            if (pgv_truthy(text))
                pgv_map_remove(to, file_key);
            else if (pgv_truthy(file))
                pgv_map_remove(to, key);
        }
    }
    return true;
}

/* Without the newlines at the end, which editors and 'echo' put there. */
static bool read_file(const char *file, struct pgv_buf *text, bool *ret_public,
                      struct pgv_error *err)
{
    struct stat st;

    if (stat(file, &st) != 0)
        return pgv_fail_sys(err, errno, "cannot open '%.100s'", file);
    if (!S_ISREG(st.st_mode))
        return pgv_fail(err, PGV_EINVALID, "'%.100s' is no regular file", file);
    if (!pgv_file_read(file, text, err))
        return false;
    while (text->n > 0 && (text->p[text->n - 1] == '\n' || text->p[text->n - 1] == '\r'))
        text->p[--text->n] = '\0';
    if (text->n == 0)
        return pgv_fail(err, PGV_EINVALID, "'%.100s' is empty", file);
    if (memchr(text->p, '\n', text->n) || memchr(text->p, '\0', text->n))
        return pgv_fail(err, PGV_EINVALID, "'%.100s' holds more than one line, or no text", file);
    *ret_public = (st.st_mode & S_IROTH) != 0;
    return true;
}

static bool read_secret(struct pgv_arena *a, struct pgv_value *map, const struct pgv_value *named,
                        const char *path, const char *key, const char *file_key,
                        struct pgv_error *err)
{
    const char *file = pgv_stringz(named);
    struct pgv_value *secret = NULL;
    char at[WHERE_BYTES];
    struct pgv_buf text;
    bool open_to_all = false, ok;

    where(named, path, file_key, at);
    if (!file)
        return pgv_fail(err, PGV_EINVALID, "%s: is not a string", at);
    pgv_buf_init(&text, PGV_SECRET_BYTES_MAX);
    ok = read_file(file, &text, &open_to_all, err);
    if (!ok)
        pgv_error_wrap(err, "%s", at);
    else if (!(secret = pgv_new_string(a, pgv_buf_view(&text))) ||
             !pgv_map_set(a, map, key, secret))
        ok = pgv_fail(err, PGV_ENOMEM, "configuration: out of memory");
    if (ok) {
        secret->file = named->file;
        secret->line = named->line;
        if (open_to_all)
            pgv_log(PGV_WARNING, "config", "%s: '%s' can be read by everybody on this machine", at,
                    file);
        pgv_map_remove(map, file_key);
    }
    if (text.p)
        explicit_bzero(text.p, text.n);
    pgv_buf_done(&text);
    return ok;
}

/** Is @path @section or below it? */
static bool is_in(const char *path, const char *section)
{
    size_t n = section ? strlen(section) : 0;

    return !section || (strncmp(path, section, n) == 0 && (path[n] == '\0' || path[n] == '.'));
}

bool pgv_secrets_read(struct pgv_arena *a, struct pgv_value *root, const char *section,
                      unsigned *ret_n, struct pgv_error *err)
{
    char key[KEY_BYTES], file_key[KEY_BYTES];

    *ret_n = 0;
    for (size_t i = 0; i < COUNT(secrets); i++) {
        struct pgv_value *map = pgv_path(root, secrets[i].path);
        struct pgv_str rest = pgv_str(secrets[i].keys);

        while (pgv_is(map, PGV_MAP) && is_in(secrets[i].path, section) &&
               next_key(&rest, key, file_key)) {
            const struct pgv_value *named = pgv_get(map, file_key);

            if (!pgv_truthy(named)) {
                pgv_map_remove(map, file_key);
                continue;
            }
            if (!read_secret(a, map, named, secrets[i].path, key, file_key, err))
                return false;
            ++*ret_n;
        }
    }
    return true;
}
