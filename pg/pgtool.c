/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgtool.c - argument lists, option lists, environments, one child with its output.
 *
 * Nothing secret ever goes into an argument: passwords travel in files that the environment names
 * (PGPASSFILE) or that are removed afterwards (initdb's pwfile).
 */
#include "pg/pgtool.h"

#include "base/file.h"
#include "base/log.h"
#include "base/parse.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

#define CANCEL_KILL_MS 2000
#define GUC_TIMEOUT_MS 30000

/* ----------------------------------------------------------------------------------- arguments */

void pgtool_args_init(struct pgtool_args *args, struct pgv_arena *a)
{
    *args = (struct pgtool_args){ .arena = a };
}

static void add_owned(struct pgtool_args *args, const char *arg)
{
    if (!arg || args->n == PGTOOL_ARGS_MAX) {
        args->failed = true;
        return;
    }
    args->v[args->n++] = arg;
    args->v[args->n] = NULL;
}

void pgtool_args_add(struct pgtool_args *args, const char *arg)
{
    add_owned(args, pgv_arena_dup(args->arena, pgv_str(arg)));
}

void pgtool_args_addf(struct pgtool_args *args, const char *fmt, ...)
{
    struct pgv_buf text;
    char stack[512];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(stack, sizeof(stack), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(stack)) {
        pgtool_args_add(args, stack);
        return;
    }
    pgv_buf_init(&text, PGCONF_BYTES_MAX);
    if (n < 0 || !pgv_buf_reserve(&text, (size_t)n + 1)) {
        args->failed = true;
    } else {
        va_start(ap, fmt);
        (void)vsnprintf(text.p, (size_t)n + 1, fmt, ap);
        va_end(ap);
        pgtool_args_add(args, text.p);
    }
    pgv_buf_done(&text);
}

bool pgtool_args_split(struct pgtool_args *args, const char *command, struct pgv_error *err)
{
    char **words;
    size_t n;

    if (!pgv_shell_split(args->arena, pgv_str(command), &words, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        add_owned(args, words[i]);
    return true;
}

/* --------------------------------------------------------------------------------- user options */

struct option_rules {
    const char *tool;
    const char *const *forbidden;
    bool (*refused)(const char *key, const char *value, int version);
    int version;
    bool strict;
};

/** Complain: an error when strict, else a line in the log and go on. */
static bool complain(const struct option_rules *r, struct pgv_error *err, const char *text)
{
    if (r->strict)
        return pgv_fail(err, PGV_EINVALID, "%s", text);
    pgv_log(PGV_ERROR, "pg", "%s", text);
    return true;
}

static bool allowed(const struct option_rules *r, const char *key, const char *value)
{
    size_t n = strcspn(key, "=");
    const char *inside = key[n] == '=' ? key + n + 1 : value;
    char name[128];

    if (!pgv_copy(name, sizeof(name), (struct pgv_str){ key, n }))
        return false;
    for (const char *const *f = r->forbidden; *f; f++)
        if (strcmp(*f, name) == 0)
            return false;
    return !r->refused || !r->refused(name, inside, r->version);
}

/** A value that is one quoted shell word loses its quotes: "'a b'" is what it says. */
static const char *unquote(struct pgtool_args *args, const char *value)
{
    size_t n = strlen(value), words;
    char **v;

    if (n < 2 || (value[0] != '\'' && value[0] != '"') || value[n - 1] != value[0])
        return value;
    if (!pgv_shell_split(args->arena, pgv_str(value), &v, &words, NULL) || words != 1)
        return value;
    return v[0];
}

static bool add_option(struct pgtool_args *args, const struct option_rules *r, const char *key,
                       const char *value, struct pgv_error *err)
{
    char text[256];

    if (!allowed(r, key, value)) {
        (void)snprintf(text, sizeof(text), "%.*s option for %s is not allowed",
                       (int)strcspn(key, "="), key, r->tool);
        return complain(r, err, text);
    }
    if (value)
        pgtool_args_addf(args, "--%s=%s", key, unquote(args, value));
    else
        pgtool_args_addf(args, "--%s", key);
    return true;
}

static bool add_list_item(struct pgtool_args *args, const struct option_rules *r,
                          const struct pgv_value *item, struct pgv_error *err)
{
    const struct pgv_value *pair = pgv_value_first(item);
    char text[256];

    if (item->type == PGV_STRING)
        return add_option(args, r, item->u.s.p, NULL, err);
    if (item->type != PGV_MAP) {
        (void)snprintf(text, sizeof(text),
                       "Error when parsing %s option: value should be string value or a single "
                       "key-value pair",
                       r->tool);
        return complain(r, err, text);
    }
    if (item->u.c.n != 1 || pair->type != PGV_STRING) {
        (void)snprintf(text, sizeof(text),
                       "Error when parsing %s key-value option %s: only one key-value is allowed "
                       "and value should be a string",
                       r->tool, pair ? pair->key.p : "");
        return complain(r, err, text);
    }
    return add_option(args, r, pair->key.p, pair->u.s.p, err);
}

static bool add_map_item(struct pgtool_args *args, const struct option_rules *r,
                         const struct pgv_value *item, struct pgv_error *err)
{
    struct pgv_buf text;
    bool ok;

    if (!pgv_truthy(item))
        return true;
    pgv_buf_init(&text, PGCONF_BYTES_MAX);
    ok = pgv_value_text(&text, item) ||
         pgv_fail(err, PGV_ENOMEM, "no memory for the options of %s", r->tool);
    ok = ok && add_option(args, r, item->key.p, pgv_buf_cstr(&text), err);
    pgv_buf_done(&text);
    return ok;
}

bool pgtool_user_options(struct pgtool_args *args, const char *tool,
                         const struct pgv_value *options, const char *const *forbidden,
                         bool (*refused)(const char *key, const char *value, int version),
                         int version, bool strict, struct pgv_error *err)
{
    const struct option_rules r = { tool, forbidden, refused, version, strict };
    char text[128];

    if (!pgv_truthy(options))
        return true;
    if (options->type != PGV_LIST && options->type != PGV_MAP) {
        (void)snprintf(text, sizeof(text), "%s options must be list or dict", tool);
        return complain(&r, err, text);
    }
    PGV_EACH(item, options)
    {
        if (options->type == PGV_LIST ? !add_list_item(args, &r, item, err)
                                      : !add_map_item(args, &r, item, err))
            return false;
    }
    return true;
}

/* --------------------------------------------------------------------------------- environment */

static bool same_name(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");

    return strncmp(a, b, n) == 0 && b[n] == '=';
}

const char *const *pgtool_env(struct pgv_arena *a, const char *const *over)
{
    size_t n = 0, k = 0;
    const char **env;

    for (char **e = environ; *e; e++)
        n++;
    for (const char *const *o = over; o && *o; o++)
        n++;
    env = pgv_arena_alloc(a, (n + 1) * sizeof(*env));
    if (!env)
        return NULL;
    for (char **e = environ; *e; e++) {
        bool covered = false;

        for (const char *const *o = over; o && *o; o++)
            covered = covered || same_name(*o, *e);
        if (!covered)
            env[k++] = *e;
    }
    for (const char *const *o = over; o && *o; o++)
        env[k++] = *o;
    return env;
}

/* --------------------------------------------------------------------------------- connections */

#define OVER_MAX 8
#define SERVICE "pgvigil"

/**
 * libpq reads sslpassword from nowhere but conninfo and service files, so a service file it is.
 * Source: PostgreSQL docs, 'The Connection Service File'.
 */
static bool write_service(const char *path, const char *sslpassword, struct pgv_error *err)
{
    struct pgv_buf text;
    bool ok;

    pgv_buf_init(&text, 4096);
    (void)pgv_buf_printf(&text, "[" SERVICE "]\nsslpassword=%s\n", sslpassword);
    ok = text.failed ? pgv_fail(err, PGV_ENOMEM, "no memory for a service file")
                     : pgv_file_replace(path, pgv_buf_view(&text), 0600, err);
    if (text.p)
        explicit_bzero(text.p, text.n);
    pgv_buf_done(&text);
    return ok;
}

bool pgtool_connection(struct pgv_arena *a, const struct pgconf *c, const struct pgdsn *d,
                       int version, const char *const *over, const char **ret_dsn,
                       const char *const **ret_env, struct pgv_error *err)
{
    const char *all[OVER_MAX + 3] = { NULL }, *service = NULL, *dsn = NULL;
    const char *const *env = NULL;
    struct pgv_buf text;
    bool written = false, ok = false;
    size_t n = 0;

    pgv_buf_init(&text, PGDSN_BYTES_MAX);
    for (; over && over[n] && n < OVER_MAX; n++)
        all[n] = over[n];
    if (!pgdsn_pgpass_write(c->pgpass, d, &written, err))
        goto out;
    if (written && !(all[n++] = pgv_arena_printf(a, "PGPASSFILE=%s", c->pgpass)))
        goto no_memory;
    if (d->v[PGDSN_SSLPASSWORD]) {
        service = pgv_arena_printf(a, "%s.service", c->pgpass);
        if (!service || !(all[n++] = pgv_arena_printf(a, "PGSERVICEFILE=%s", service)))
            goto no_memory;
        if (!write_service(service, d->v[PGDSN_SSLPASSWORD], err))
            goto out;
    }
    if (pgdsn_write_public(&text, d, version)) {
        if (service)
            (void)pgv_buf_puts(&text, " service=" SERVICE);
        dsn = pgv_arena_dup(a, pgv_buf_view(&text));
        env = pgtool_env(a, all);
    }
    if (text.failed || !dsn || !env)
        goto no_memory;
    *ret_dsn = dsn;
    *ret_env = env;
    ok = true;
    goto out;
no_memory:
    (void)pgv_fail(err, PGV_ENOMEM, "no memory for a connection");
out:
    pgv_buf_done(&text);
    return ok;
}

/* ------------------------------------------------------------------------------------- one run */

static void on_end(struct pgv_child *child, int status)
{
    struct pgtool *t = child->data;

    /* Half of what it said would be taken for all of it. */
    t->cb(t, child->out.failed || child->err_out.failed ? PGTOOL_UNHEARD : status);
}

bool pgtool_start(struct pgtool *t, uv_loop_t *loop, const char *const *argv,
                  const char *const *env_over, uint64_t timeout_ms,
                  void (*cb)(struct pgtool *t, int status), struct pgv_error *err)
{
    struct pgv_child_options options = {
        .argv = argv,
        .timeout_ms = timeout_ms,
        .kill_ms = CANCEL_KILL_MS,
        .keep_output = true,
    };
    const char *over[16] = { "LANG=C", "LC_ALL=C" };
    struct pgv_arena arena;
    size_t n = 2;
    bool ok = false;

    for (; env_over && *env_over && n < 15; env_over++)
        over[n++] = *env_over;
    pgv_arena_init(&arena, 1u << 20);
    options.env = pgtool_env(&arena, over);
    if (!options.env) {
        (void)pgv_fail(err, PGV_ENOMEM, "no memory to run %s", argv[0]);
        goto out;
    }
    t->cb = cb;
    t->child = (struct pgv_child){ .data = t };
    ok = pgv_child_start(loop, &t->child, &options, on_end, err);
out:
    pgv_arena_done(&arena);
    return ok;
}

void pgtool_cancel(struct pgtool *t)
{
    pgv_child_cancel(&t->child, CANCEL_KILL_MS);
}

void pgtool_done(struct pgtool *t)
{
    pgv_child_done(&t->child);
}

bool pgtool_guc_start(struct pgtool *t, uv_loop_t *loop, const struct pgconf *c, const char *name,
                      void (*cb)(struct pgtool *t, int status), struct pgv_error *err)
{
    char bin[PGCONF_PATH_BYTES], conf[PGCONF_PATH_BYTES + 16];
    const char *argv[] = { bin, "-D", c->data_dir, "-C", name, conf, NULL };

    if (!pgconf_bin(c, "postgres", bin))
        return pgv_fail(err, PGV_EINVALID, "postgresql.bin_dir: path is too long");
    (void)snprintf(conf, sizeof(conf), "--config-file=%s", c->conf_path);
    return pgtool_start(t, loop, argv, NULL, GUC_TIMEOUT_MS, cb, err);
}

struct pgv_str pgtool_guc_value(const struct pgtool *t, int status)
{
    if (!pgtool_ok(status))
        return (struct pgv_str){ 0 };
    return pgv_str_trim(pgv_buf_view(&t->child.out));
}

int pgtool_parse_version(struct pgv_str output)
{
    /* 'postgres (PostgreSQL) 15.8 (Debian 15.8-1)', '… 18beta1', '… 9.6.24' */
    struct pgv_str word = { 0 }, rest = pgv_str_trim(output);
    char text[32];
    size_t n = 0;
    bool dot = false;
    int version;

    for (int i = 0; i < 3; i++)
        if (!pgv_str_cut(rest, ' ', &word, &rest) && i < 2)
            return 0;
    while (n < word.n && n < sizeof(text) - 3 &&
           (isdigit((unsigned char)word.p[n]) || word.p[n] == '.')) {
        dot |= word.p[n] == '.';
        text[n] = word.p[n];
        n++;
    }
    if (!dot) {
        text[n++] = '.';
        text[n++] = '0';
    }
    text[n] = '\0';
    return pgv_parse_pg_version(pgv_str(text), &version) ? version : 0;
}

bool pgtool_ok(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool pgtool_expand(struct pgv_buf *b, const char *command, const char *path, const char *file,
                   const char *restart_file)
{
    pgv_buf_reset(b);
    for (const char *p = command; *p; p++) {
        if (*p != '%' || p[1] == '\0') {
            (void)pgv_buf_putc(b, *p);
            continue;
        }
        switch (*++p) {
        case 'p':
            (void)pgv_buf_puts(b, path);
            break;
        case 'f':
            (void)pgv_buf_puts(b, file);
            break;
        case 'r':
            (void)pgv_buf_puts(b, restart_file);
            break;
        case '%':
            (void)pgv_buf_putc(b, '%');
            break;
        default:
            (void)pgv_buf_putc(b, '%');
            (void)pgv_buf_putc(b, *p);
        }
    }
    return !b->failed;
}
