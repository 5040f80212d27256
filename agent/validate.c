/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/validate.c - --validate-config: everything that is wrong with a configuration, at once.
 *
 * Each line begins as Patroni's does ('<path> <value> <error>'), so that scripts which read it go
 * on working; where it stands and what would be right follow in brackets. Unknown keys, which
 * Patroni passes over, are warnings with a suggestion: a typing error otherwise shows as a setting
 * that has no effect. Values of secrets are never printed.
 */
#include "agent/validate_private.h"

#include "agent/config_private.h"
#include "agent/watchdog.h"
#include "base/config.h"
#include "base/parse.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

static const struct validate_option options[] = {
#define OPTION(...) { __VA_ARGS__ },
#include "agent/options.def"
#undef OPTION
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define OF_ALL_MEMBERS "bootstrap.dcs." /* in front of the postgresql section of all members */

void agent_findings_init(struct agent_findings *f)
{
    *f = (struct agent_findings){ 0 };
    pgv_buf_init(&f->errors, AGENT_FINDINGS_BYTES_MAX);
    pgv_buf_init(&f->warnings, AGENT_FINDINGS_BYTES_MAX);
}

void agent_findings_done(struct agent_findings *f)
{
    if (!f)
        return;
    pgv_buf_done(&f->errors);
    pgv_buf_done(&f->warnings);
}

static const char *last_key(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot ? dot + 1 : path;
}

/* Does a secret stand in it, or could it? What looks like one anywhere counts, as people put values
 * into the wrong place. */
bool agent_option_is_secret(const char *path, const struct pgv_value *v)
{
    static const char *const secret[] = {
        "password",  "keyfile_password", "key_password", "sslpassword", "token",
        "auth_data", "set_acls",         "url",          "proxy"
    };
    const char *key = last_key(path);
    struct pgv_buf text;
    bool found = false;

    for (size_t i = 0; i < COUNT(secret); i++) {
        if (strcmp(key, secret[i]) == 0)
            return true;
    }
    if (strstr(path, "authentication") && strcmp(key, "username") != 0)
        return true;
    pgv_buf_init(&text, AGENT_FINDINGS_BYTES_MAX);
    if (!pgv_value_text(&text, v) || strcasestr(pgv_buf_cstr(&text), "password") ||
        strcasestr(pgv_buf_cstr(&text), "token") ||
        (strstr(pgv_buf_cstr(&text), "://") && strchr(pgv_buf_cstr(&text), '@')))
        found = true;
    pgv_buf_done(&text);
    return found;
}

void validate_say(struct agent_findings *f, bool error, const char *path,
                  const struct pgv_value *at, const struct pgv_value *shown, const char *what,
                  const char *hint)
{
    struct pgv_buf *b = error ? &f->errors : &f->warnings;

    if (error)
        f->errors_n++;
    else
        f->warnings_n++;
    pgv_buf_printf(b, "%s ",
                   f->below && pgv_str_starts(pgv_str(path), f->below) ? path + strlen(f->below)
                                                                       : path);
    if (shown && shown->type != PGV_NULL && agent_option_is_secret(path, shown))
        pgv_buf_puts(b, "(hidden)");
    else if (shown)
        pgv_value_text(b, shown);
    pgv_buf_printf(b, " %s", what);
    if (at && at->file && at->line)
        pgv_buf_printf(b, " [%s line %u%s%s]", at->file, at->line, *hint ? ": " : "", hint);
    else if (*hint)
        pgv_buf_printf(b, " [%s]", hint);
    pgv_buf_putc(b, '\n');
}

void validate_bad(struct validate_check *k, const struct pgv_value *v, const char *what,
                  const char *hint)
{
    validate_say(k->f, !k->soft, k->path, v, v, what, hint);
}

void validate_bad_item(struct validate_check *k, const struct pgv_value *item, unsigned i,
                       const char *below, const char *what, const char *hint)
{
    char path[VALIDATE_PATH_BYTES + 32];

    (void)snprintf(path, sizeof(path), "%s.%u%s", k->path, i, below);
    validate_say(k->f, !k->soft, path, item, item, what, hint);
}

/* ---- the whole ---------------------------------------------------------------------------------
 */

/* Of the section for all members Patroni looks at these alone. */
static bool is_checked_for_all(const char *key)
{
    static const char *const keys[] = {
        "parameters", "use_pg_rewind", "rewind",    "basebackup",
        "pg_hba",     "pg_ident",      "use_slots", "pg_ctl_timeout"
    };

    for (size_t i = 0; i < COUNT(keys); i++) {
        if (strcmp(key, keys[i]) == 0)
            return true;
    }
    return false;
}

/* As in files that were made by --generate-sample-config: nobody counts on it. */
static bool is_default(const struct validate_option *o, const struct pgv_value *v)
{
    struct pgv_buf text;
    bool same;

    pgv_buf_init(&text, 256);
    same = pgv_value_text(&text, v) && strcmp(pgv_buf_cstr(&text), o->standard) == 0;
    pgv_buf_done(&text);
    return same;
}

/* @prefix is put before the option's path: of what stands in the section for all members. */
static void check_option(struct validate_check *k, const struct validate_option *o,
                         const char *prefix)
{
    const struct pgv_value *parent, *v;
    char path[VALIDATE_PATH_BYTES], above[VALIDATE_PATH_BYTES];
    char *dot;

    (void)snprintf(path, sizeof(path), "%s%s", prefix, o->path);
    (void)snprintf(above, sizeof(above), "%s", path);
    dot = strrchr(above, '.');
    if (dot)
        *dot = '\0';
    parent = dot ? pgv_path(k->local, above) : k->local;
    if (dot && !pgv_is(parent, PGV_MAP)) /* what is needed below is named by its section alone */
        return;
    k->o = o;
    k->path = path;
    k->soft = *prefix ? !is_checked_for_all(last_key(path)) : o->demand == SOFT;
    v = pgv_get(parent, last_key(path));
    if (v) {
        validate_value(k, v);
        if (o->applied == NOTHING && pgv_truthy(v) && !is_default(o, v))
            validate_say(k->f, false, path, v, v, "has no effect", o->about);
    } else if (o->kind == BIN_DIR && !*prefix) {
        validate_bin_dir(k, NULL);
    } else if (o->demand == NEED && !*prefix) {
        validate_say(k->f, true, path, parent, NULL, "is not defined.", o->about);
    }
}

static const struct validate_option *option_at(const char *path)
{
    bool of_all =
        strncmp(path, OF_ALL_MEMBERS "postgresql.", sizeof(OF_ALL_MEMBERS "postgresql.") - 1) == 0;
    const char *here = of_all ? path + sizeof(OF_ALL_MEMBERS) - 1 : path;

    for (size_t i = 0; i < COUNT(options); i++) {
        if (strcmp(options[i].path, path) == 0 || strcmp(options[i].path, here) == 0)
            return &options[i];
    }
    return NULL;
}

bool agent_option_known(const char *path)
{
    return option_at(path) != NULL;
}

enum agent_option_effect agent_option_effect(const char *path)
{
    static const char *const shared[] = { "ttl", "loop_wait", "retry_timeout", "standby_cluster" };
    const struct validate_option *o = NULL;
    char above[VALIDATE_PATH_BYTES];
    char *dot;

    if (!pgv_copyz(above, sizeof(above), path))
        return AGENT_OPTION_NONE;
    for (size_t i = 0; i < COUNT(shared); i++) {
        size_t n = strlen(shared[i]);

        if (strncmp(path, shared[i], n) == 0 && (path[n] == '\0' || path[n] == '.'))
            return AGENT_OPTION_SHARED;
    }
    while (!(o = option_at(above)) && (dot = strrchr(above, '.')))
        *dot = '\0';
    if (!o)
        return AGENT_OPTION_NONE;
    if (strncmp(o->path, "bootstrap", 9) == 0)
        return AGENT_OPTION_BOOTSTRAP;
    if (o->where == DYNAMIC)
        return AGENT_OPTION_SHARED;
    switch (o->applied) {
    case RELOAD:
        return AGENT_OPTION_NOW;
    case RESTART:
        return AGENT_OPTION_RESTART;
    case SERVER:
        return AGENT_OPTION_SERVER;
    case ONCE:
        return AGENT_OPTION_BOOTSTRAP;
    case NOTHING:
        break;
    }
    return AGENT_OPTION_NONE;
}

static void check_unknown(struct validate_check *k, const struct pgv_value *map, const char *prefix)
{
    PGV_EACH(item, map)
    {
        const struct validate_option *o, *best = NULL;
        char path[VALIDATE_PATH_BYTES], hint[128] = "";
        const char *base = prefix;
        size_t base_n;
        unsigned least = 4, d;

        if (snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", item->key.p) >=
            (int)sizeof(path))
            continue;
        o = option_at(path);
        if (o) {
            if (o->kind == SECTION && pgv_is(item, PGV_MAP))
                check_unknown(k, item, path);
            continue;
        }
        /* A way to make a replica or a cluster, or a store of another name, is a map of its own. */
        if (pgv_is(item, PGV_MAP) &&
            (strcmp(prefix, "postgresql") == 0 ||
             strcmp(prefix, OF_ALL_MEMBERS "postgresql") == 0 || strcmp(prefix, "bootstrap") == 0))
            continue;
        if (strcmp(base, OF_ALL_MEMBERS "postgresql") == 0)
            base = "postgresql";
        base_n = strlen(base);
        for (size_t i = 0; i < COUNT(options); i++) {
            const char *key = last_key(options[i].path);
            size_t parent_n = key == options[i].path ? 0 : (size_t)(key - options[i].path) - 1;

            if (parent_n != base_n || strncmp(options[i].path, base, base_n) != 0)
                continue;
            d = pgv_letters_apart(item->key.p, key);
            if (d < least && d < strlen(key)) {
                least = d;
                best = &options[i];
            }
        }
        if (best)
            (void)snprintf(hint, sizeof(hint), "did you mean '%s'?", last_key(best->path));
        validate_say(k->f, false, path, item, NULL, "is not known and has no effect", hint);
    }
}

static void check_one_of(struct validate_check *k, const char *section, const char *const *keys,
                         size_t n)
{
    const struct pgv_value *map = pgv_path(k->local, section);
    char path[VALIDATE_PATH_BYTES];

    if (!pgv_is(map, PGV_MAP))
        return;
    for (size_t i = 0; i < n; i++) {
        if (pgv_get(map, keys[i]))
            return;
    }
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(path, sizeof(path), "%s.%s", section, keys[i]);
        validate_say(k->f, true, path, map, NULL, "is not defined.", "one of these is needed");
    }
}

static void check_both_tags(struct validate_check *k, const char *flag, const char *priority)
{
    const struct pgv_value *tags = pgv_get(k->local, "tags");
    char what[96];

    if (!pgv_get(tags, flag) || !pgv_get(tags, priority))
        return;
    (void)snprintf(what, sizeof(what), "Multiple of ('%s', '%s') provided", flag, priority);
    validate_say(k->f, true, "tags", tags, NULL, what, "keep one of them");
}

static int64_t time_of(const struct pgv_value *local, const char *key, int64_t otherwise)
{
    return pgv_int_like(pgv_get(pgv_path(local, "bootstrap.dcs"), key), NULL, otherwise);
}

static long long at_least(int64_t seconds, int64_t least)
{
    return seconds < least ? least : seconds > INT32_MAX ? INT32_MAX : seconds;
}

static void check_times(struct validate_check *k)
{
    static const char *const local_only[] = { "ttl", "loop_wait", "retry_timeout" };
    int64_t ttl = time_of(k->local, "ttl", 30), wait = time_of(k->local, "loop_wait", 10);
    int64_t retry = time_of(k->local, "retry_timeout", 10);
    char what[192];

    for (size_t i = 0; i < COUNT(local_only); i++) {
        const struct pgv_value *v = pgv_get(k->local, local_only[i]);

        if (v)
            validate_say(k->f, false, local_only[i], v, v, "has no effect here",
                         "it belongs to bootstrap.dcs, and later to the dynamic configuration");
    }
    if (ttl > INT32_MAX || wait > INT32_MAX || retry > INT32_MAX || wait + 2 * retry <= ttl)
        return;
    (void)snprintf(what, sizeof(what),
                   "are impossible together: loop_wait + 2*retry_timeout = %lld s is more than "
                   "ttl = %lld s",
                   (long long)(wait + 2 * retry), (long long)ttl);
    validate_say(k->f, false, "bootstrap.dcs.ttl, loop_wait, retry_timeout",
                 pgv_path(k->local, "bootstrap.dcs"), NULL, what,
                 "the agent will lower the other two");
}

/* What concerns several options, told behind the section it belongs to: Patroni's order. */
static void check_together(struct validate_check *k, const char *section)
{
    static const char *const etcd[] = { "host", "hosts", "srv", "srv_suffix", "url", "proxy" };
    static const char *const consul[] = { "host", "url" };
    static const char *const standby[] = { "host", "port", "restore_command" };

    if (strcmp(section, "etcd") == 0 || strcmp(section, "etcd3") == 0) {
        check_one_of(k, section, etcd, COUNT(etcd));
    } else if (strcmp(section, "consul") == 0) {
        check_one_of(k, section, consul, COUNT(consul));
    } else if (strcmp(section, "bootstrap.dcs.standby_cluster") == 0) {
        check_one_of(k, section, standby, COUNT(standby));
    } else if (strcmp(section, "tags") == 0) {
        check_both_tags(k, "nofailover", "failover_priority");
        check_both_tags(k, "nosync", "sync_priority");
    } else if (strcmp(section, OF_ALL_MEMBERS "postgresql") == 0) {
        for (size_t i = 0; i < COUNT(options); i++) {
            if (strncmp(options[i].path, "postgresql.", 11) == 0 && options[i].where != LOCAL)
                check_option(k, &options[i], OF_ALL_MEMBERS);
        }
    }
}

static const char *const stores[] = { "consul",     "etcd", "etcd3",    "exhibitor",
                                      "kubernetes", "raft", "zookeeper" };

bool agent_names_store(const struct pgv_value *local)
{
    for (size_t i = 0; i < COUNT(stores); i++) {
        if (pgv_get(local, stores[i]))
            return true;
    }
    return false;
}

static void check_has_store(struct validate_check *k)
{
    if (agent_names_store(k->local))
        return;
    for (size_t i = 0; i < COUNT(stores); i++)
        validate_say(k->f, true, stores[i], NULL, NULL, "is not defined.", "one store is needed");
}

bool agent_validate(const struct pgv_value *local, unsigned look, struct agent_findings *f,
                    struct pgv_error *err)
{
    struct validate_check k = { .f = f, .local = local, .look = look };
    struct pgv_error refusal = { 0 };

    for (size_t i = 0; i < COUNT(options); i++) {
        if (strcmp(options[i].path, "consul") == 0)
            check_has_store(&k);
        check_option(&k, &options[i], "");
        check_together(&k, options[i].path);
    }
    check_unknown(&k, local, "");
    check_times(&k);
    /* What the agent itself would say when it started, unless it has been said. */
    if (f->errors_n == 0 && !agent_config_check_local(local, &refusal)) {
        f->errors_n++;
        pgv_buf_printf(&f->errors, "%s\n", refusal.msg);
    }
    if (f->errors.failed || f->warnings.failed || refusal.code == PGV_ENOMEM)
        return pgv_fail(err, PGV_ENOMEM, "no memory for all that is to be said");
    return true;
}

/** A parameter that is null is as good as none. */
static void drop_nulls(struct pgv_value *map)
{
    struct pgv_value *next;

    for (struct pgv_value *v = pgv_is(map, PGV_MAP) ? pgv_value_first(map) : NULL; v; v = next) {
        next = v->next;
        if (v->type == PGV_NULL)
            pgv_map_remove(map, v->key.p);
    }
}

bool agent_validate_dynamic(const struct pgv_value *document, struct agent_findings *f,
                            struct pgv_error *err)
{
    static const char *const roles[] = { "", "_primary", "_replica", "_standby_leader" };
    struct validate_check k = { .f = f };
    struct pgv_value *root, *bootstrap, *dcs = NULL;
    struct pgv_arena arena;
    char path[VALIDATE_PATH_BYTES];
    bool ok;

    f->below = OF_ALL_MEMBERS;
    pgv_arena_init(&arena, AGENT_CONFIG_ARENA_BYTES_MAX);
    root = pgv_new(&arena, PGV_MAP);
    bootstrap = pgv_map_set(&arena, root, "bootstrap", pgv_new(&arena, PGV_MAP));
    if (bootstrap)
        dcs = pgv_map_set(&arena, bootstrap, "dcs", pgv_value_copy(&arena, document));
    if (dcs) {
        k.local = root;
        for (size_t i = 0; i < COUNT(roles); i++) {
            (void)snprintf(path, sizeof(path), OF_ALL_MEMBERS "postgresql.parameters%s", roles[i]);
            drop_nulls(pgv_path(root, path));
        }
        for (size_t i = 0; i < COUNT(options); i++) {
            if (strncmp(options[i].path, OF_ALL_MEMBERS, sizeof(OF_ALL_MEMBERS) - 1) != 0)
                continue;
            check_option(&k, &options[i], "");
            check_together(&k, options[i].path);
        }
        check_unknown(&k, dcs, "bootstrap.dcs");
        check_times(&k);
        for (size_t i = 0; i < COUNT(roles); i++) {
            (void)snprintf(path, sizeof(path), OF_ALL_MEMBERS "postgresql.parameters%s", roles[i]);
            validate_parameters(&k, path);
        }
    }
    ok = (dcs && !f->errors.failed && !f->warnings.failed) ||
         pgv_fail(err, PGV_ENOMEM, "no memory for all that is to be said");
    pgv_arena_done(&arena);
    return ok;
}

static void watchdog_times(const struct pgv_value *local, long long ttl, long long wait,
                           struct pgv_buf *b)
{
    struct watchdog_config w;

    agent_config_watchdog_of(pgv_get(local, "watchdog"), ttl, wait, &w);
    if (w.mode == HA_WATCHDOG_OFF)
        return;
    if (!w.possible)
        pgv_buf_printf(b,
                       "  the agent hangs: no watchdog helps, as its time-out of %lld s is less "
                       "than loop_wait or than %d s%s\n",
                       (long long)w.timeout_s, HA_WATCHDOG_TIMEOUT_MIN_MS / 1000,
                       w.mode == HA_WATCHDOG_REQUIRED ? "; as it is required, nobody can lead"
                                                      : "");
    else
        pgv_buf_printf(b,
                       "  the agent hangs: a watchdog resets the machine %lld s after the last "
                       "renewal of the lease, that is %lld s before the lease ends; where there is "
                       "one, a primary that cannot renew is stopped %d s before it would fire\n",
                       (long long)w.timeout_s, ttl - (long long)w.timeout_s,
                       HA_DEMOTE_MARGIN_MS / 1000);
}

/*
 * The sum of a failover is the one of ha_explain() (ha/explain.c), the fence the margin of ha.h; a
 * renewal is at most loop_wait old when the store falls silent. Impossible times are first lowered
 * as the agent will (config contract §7.2).
 */
void agent_validate_times(const struct pgv_value *local, struct pgv_buf *b)
{
    long long ttl = at_least(time_of(local, "ttl", 30), 20);
    long long wait = at_least(time_of(local, "loop_wait", 10), 1);
    long long retry = at_least(time_of(local, "retry_timeout", 10), 3);
    long long start = time_of(local, "primary_start_timeout", 300);
    long long backoff = at_least(time_of(local, "primary_race_backoff", 0), 0);
    long long margin = HA_DEMOTE_MARGIN_MS / 1000;

    if (1 + 2 * retry > ttl) {
        wait = 1;
        retry = (ttl - 1) / 2;
    } else if (wait + 2 * retry > ttl) {
        wait = ttl - 2 * retry;
    }
    pgv_buf_printf(b,
                   "With ttl %lld s, loop_wait %lld s, retry_timeout %lld s and "
                   "primary_start_timeout %lld s:\n",
                   ttl, wait, retry, start);
    pgv_buf_printf(b,
                   "  the primary's machine is lost: at worst another takes over after ttl + "
                   "loop_wait + retry_timeout + primary_race_backoff = %lld s\n",
                   ttl + wait + retry + backoff);
    pgv_buf_printf(b,
                   "  the store is silent: the primary is stopped %lld s before its lease ends, "
                   "that is %lld to %lld s after the silence began\n",
                   margin, ttl > wait + margin ? ttl - wait - margin : 0, ttl - margin);
    if (start > 0)
        pgv_buf_printf(b,
                       "  PostgreSQL crashes: it may recover for %lld s before another takes "
                       "over\n",
                       start);
    else
        pgv_buf_puts(b, "  PostgreSQL crashes: another takes over at once if one can\n");
    watchdog_times(local, ttl, wait, b);
}

bool agent_options_markdown(struct pgv_buf *b)
{
    static const char *const wheres[] = { "local", "dynamic", "both" };
    static const char *const applies[] = { "reload", "restart of the agent",
                                           "reload or restart of PostgreSQL", "at bootstrap",
                                           "accepted, no effect" };

    pgv_buf_puts(
        b,
        "# Configuration reference\n\n"
        "Generated from `agent/options.def`, which the validator follows, too; do not edit.\n\n"
        "`pgvigil --validate-config FILE` says all that is wrong with a configuration at once: "
        "the option, its value,\nwhat is wrong, the file with the line, and what would be right. "
        "Exit status 0: nothing is wrong (warnings and\nthe worst cases that follow from the "
        "times may be told), 1: something is. It looks whether stores accept a\nconnection, "
        "whether "
        "the programs of PostgreSQL are in `bin_dir`, whether `data_dir` is theirs, and whether "
        "the\naddresses to listen on are free; `-i` passes over the last, for a node that runs. "
        "`-p` prints the configuration\nwith all files and variables in it, secrets included, when "
        "nothing is wrong.\n\n"
        "Where: *local* is the file or the environment, *dynamic* what `pgvigilctl edit-config` "
        "changes (`bootstrap.dcs`\nis its first state), *both* may stand in either.\n\n"
        "`pgvigil --generate-sample-config [FILE]` writes a configuration to begin with, `pgvigil "
        "--generate-config\n[--dsn DSN] [FILE]` one for the PostgreSQL server that runs on this "
        "machine: its parameters, `pg_hba.conf`,\n`pg_ident.conf`, directories and addresses. "
        "`PATRONI_*` variables have the last word, what nobody knows is\n`#FIXME` and named on "
        "standard error. The file is replaced as a whole and for its owner's eyes alone.\n\n"
        "A reload (SIGHUP, `POST /reload`, `pgvigilctl reload`) takes all of the new files or "
        "nothing: certificates are\nloaded, addresses bound and every section is read before "
        "anything is in force. The log tells each option that\nchanged, with secrets hidden, and "
        "what it takes for it to have an effect.\n\n"
        "A secret may lie in a file of its own: the key with `_file` behind it (`password_file`) "
        "or "
        "the variable with\n`_FILE` (`PATRONI_SUPERUSER_PASSWORD_FILE`) names it. It is read at "
        "start and at every reload; newlines at its\nend do not count; 8 kB and one line are the "
        "limit; a file that everybody may read is a warning. The secret and\nits file in one "
        "source are an error; between sources the later one wins, as for any other option. With "
        "a\nconfiguration from variables alone, a reload reads these files again.\n\n"
        "| option | default | unit | environment | where | applied by | meaning |\n"
        "|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < COUNT(options); i++) {
        const struct validate_option *o = &options[i];

        pgv_buf_printf(b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", o->path, o->standard, o->unit,
                       o->env, wheres[o->where], applies[o->applied], o->about);
    }
    return !b->failed;
}

int agent_validate_main(const char *path, bool print, bool ignore_listen_port)
{
    struct pgv_config_env env = { 0 };
    struct pgv_config config = { 0 };
    struct agent_findings f;
    struct pgv_error err = { 0 };
    struct pgv_buf text;
    unsigned look =
        AGENT_LOOK_NAMES | AGENT_LOOK_FILES | (ignore_listen_port ? 0 : AGENT_LOOK_PORTS);
    int rc = 1;

    agent_findings_init(&f);
    pgv_buf_init(&text, AGENT_FINDINGS_BYTES_MAX * 4);
    if (!pgv_config_env_take(&env, &err) || !pgv_config_load_lenient(path, &env, &config, &err) ||
        !pgv_config_read_secrets(&config, NULL, &err) ||
        !agent_validate(config.root, look, &f, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        goto out;
    }
    if (*path && access(path, F_OK) != 0) { /* a typing error must not pass for an empty file */
        f.warnings_n++;
        pgv_buf_printf(&f.warnings, "%s is not there: the environment alone was looked at\n", path);
    }
    fputs(pgv_buf_cstr(&f.errors), stderr);
    if (f.warnings_n)
        fprintf(stderr, "Warnings:\n%s", pgv_buf_cstr(&f.warnings));
    if (f.errors_n)
        goto out;
    agent_validate_times(config.root, &text);
    fputs(pgv_buf_cstr(&text), stderr);
    pgv_buf_reset(&text);
    if (print) {
        struct pgv_value *pg = pgv_get(config.root, "postgresql");

        /* Patroni's validator fills in this one default. */
        if (!pgv_get(pg, "bin_dir") && !pgv_map_set(&config.arena, pg, "bin_dir",
                                                    pgv_new_string(&config.arena, PGV_STR("")))) {
            fprintf(stderr, "no memory to print the configuration\n");
            goto out;
        }
        if (!pgv_yaml_write(&text, config.root)) {
            fprintf(stderr, "no memory to print the configuration\n");
            goto out;
        }
        fputs(pgv_buf_cstr(&text), stdout);
    }
    rc = 0;
out:
    pgv_buf_done(&text);
    agent_findings_done(&f);
    pgv_config_done(&config);
    pgv_config_env_done(&env);
    return rc;
}
