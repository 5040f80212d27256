/* SPDX-License-Identifier: PostgreSQL */
/*
 * base/config.c - the local configuration: file or folder of files, environment merged over it.
 *
 * The environment is taken once: every variable we know is converted, put into a tree and removed,
 * so that no child inherits a password. A configuration is then the files' mappings merged one
 * after another into an empty map, and that tree merged over them; a reload repeats the second
 * half. Without files the tree alone is the configuration.
 *
 * Source of names, conversions and order: Patroni 4.1, config.py (_build_environment_configuration,
 * _load_config_path), and its merge rule, in which null deletes and equal texts stay as they are.
 */
#include "base/config.h"

#include "base/file.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/secrets.h"
#include "base/vocabulary.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define ENV_PREFIX "PATRONI_"
#define ENV_NAME_BYTES 128

/** How the text of a variable becomes a value. */
enum conversion {
    TEXT,
    INT,
    REAL,
    BOOL,
    LIST,   /* YAML; brackets may be missing */
    MAP,    /* YAML; braces may be missing */
    FORMAT, /* a format with %(items)s is text, anything else a list of fields */
};

#define AUTH_KEYS                                                                                  \
    "username password sslmode sslcert sslkey sslpassword sslrootcert sslcrl sslcrldir "           \
    "gssencmode "                                                                                  \
    "channel_binding sslnegotiation username_file password_file sslpassword_file"
#define USER_KEYS "username password username_file password_file"

/** Variable PATRONI_<prefix><KEY> goes to <path>.<key>; empty values are as good as unset. */
static const struct {
    const char *prefix, *path;
    enum conversion conversion;
    const char *keys;
} known[] = {
    { "", "", TEXT, "name namespace scope thread_pool_size thread_stack_size" },
    { "RESTAPI_", "restapi", TEXT,
      "listen connect_address certfile keyfile keyfile_password keyfile_password_file cafile "
      "ciphers verify_client server_tokens" },
    { "RESTAPI_", "restapi", MAP, "http_extra_headers https_extra_headers" },
    { "RESTAPI_", "restapi", LIST, "allowlist" },
    { "RESTAPI_", "restapi", BOOL, "allowlist_include_members" },
    { "RESTAPI_", "restapi", INT, "request_queue_size" },
    { "RESTAPI_", "restapi.authentication", TEXT, USER_KEYS },
    { "CTL_", "ctl", TEXT, "cacert certfile keyfile keyfile_password keyfile_password_file" },
    { "CTL_", "ctl", BOOL, "insecure" },
    { "CTL_", "ctl.authentication", TEXT, USER_KEYS },
    { "POSTGRESQL_", "postgresql", TEXT,
      "listen connect_address proxy_address config_dir data_dir pgpass bin_dir" },
    { "POSTGRESQL_BIN_", "postgresql.bin_name", TEXT,
      "pg_ctl initdb pg_controldata pg_basebackup postgres pg_isready pg_rewind" },
    { "SUPERUSER_", "postgresql.authentication.superuser", TEXT, AUTH_KEYS },
    { "REPLICATION_", "postgresql.authentication.replication", TEXT, AUTH_KEYS },
    { "REWIND_", "postgresql.authentication.rewind", TEXT, AUTH_KEYS },
    { "LOG_", "log", TEXT, "type level traceback_level dateformat dir" },
    { "LOG_", "log", FORMAT, "format" },
    { "LOG_", "log", INT, "mode max_queue_size file_size file_num" },
    { "LOG_", "log", MAP, "static_fields loggers" },
    { "LOG_", "log", BOOL, "deduplicate_heartbeat_logs" },
    { "RAFT_", "raft", TEXT, "data_dir self_addr password password_file bind_addr" },
    { "RAFT_", "raft", LIST, "partner_addrs" },
    { "RAFT_", "raft", REAL,
      "min_timeout max_timeout connection_timeout append_entries_period connection_retry_time "
      "leader_fallback_timeout" },
};

/** Former names of three variables; the new name wins, even when it is set to nothing. */
static const struct {
    const char *old_name, *new_name, *key;
    enum conversion conversion;
} renamed[] = {
    { "LOGLEVEL", "LOG_LEVEL", "level", TEXT },
    { "LOGFORMAT", "LOG_FORMAT", "format", FORMAT },
    { "LOG_DATEFMT", "LOG_DATEFORMAT", "dateformat", TEXT },
};

/** PATRONI_<SECTION>_<SUFFIX> for any section and these suffixes. Empty texts are kept here. */
static const struct {
    const char *suffix;
    enum conversion conversion;
} generic[] = {
    { "HOST", TEXT },
    { "HOSTS", LIST },
    { "PORT", INT },
    { "USE_PROXIES", BOOL },
    { "PROTOCOL", TEXT },
    { "SRV", TEXT },
    { "SRV_SUFFIX", TEXT },
    { "URL", TEXT },
    { "PROXY", TEXT },
    { "CACERT", TEXT },
    { "CERT", TEXT },
    { "KEY", TEXT },
    { "VERIFY", BOOL },
    { "TOKEN", TEXT },
    { "TOKEN_FILE", TEXT },
    { "CHECKS", LIST },
    { "DC", TEXT },
    { "CONSISTENCY", TEXT },
    { "REGISTER_SERVICE", BOOL },
    { "SERVICE_CHECK_INTERVAL", TEXT },
    { "SERVICE_CHECK_TLS_SERVER_NAME", TEXT },
    { "SERVICE_TAGS", LIST },
    { "NAMESPACE", TEXT },
    { "CONTEXT", TEXT },
    { "USE_ENDPOINTS", BOOL },
    { "SCOPE_LABEL", TEXT },
    { "ROLE_LABEL", TEXT },
    { "POD_IP", TEXT },
    { "PORTS", LIST },
    { "LABELS", MAP },
    { "BYPASS_API_SERVICE", BOOL },
    { "RETRIABLE_HTTP_CODES", LIST },
    { "KEY_PASSWORD", TEXT },
    { "KEY_PASSWORD_FILE", TEXT },
    { "USE_SSL", TEXT },
    { "SET_ACLS", MAP },
    { "GROUP", TEXT },
    { "DATABASE", TEXT },
    { "LEADER_LABEL_VALUE", TEXT },
    { "FOLLOWER_LABEL_VALUE", TEXT },
    { "STANDBY_LEADER_LABEL_VALUE", TEXT },
    { "TMP_ROLE_LABEL", TEXT },
    { "AUTH_DATA", MAP },
    { "BOOTSTRAP_LABELS", MAP },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool out_of_memory(struct pgv_error *err)
{
    return pgv_fail(err, PGV_ENOMEM, "configuration: out of memory");
}

/** The map at a dotted path, made on the way. NULL: the arena is full, or something else is there.
 */
static struct pgv_value *map_at(struct pgv_arena *a, struct pgv_value *root, const char *path)
{
    struct pgv_str rest = pgv_str(path), head;

    while (root && rest.n > 0) {
        char key[ENV_NAME_BYTES];
        struct pgv_str tail = { 0 };

        if (!pgv_str_cut(rest, '.', &head, &tail))
            tail = (struct pgv_str){ 0 };
        rest = tail;
        if (!pgv_copy(key, sizeof(key), head))
            return NULL;

        struct pgv_value *child = pgv_get(root, key);

        if (!child)
            child = pgv_map_set(a, root, key, pgv_new(a, PGV_MAP));
        root = pgv_is(child, PGV_MAP) ? child : NULL;
    }
    return root;
}

/** '%(word)' somewhere: what tells a log format from a list of fields. */
static bool has_format_item(struct pgv_str s)
{
    for (size_t i = 0; i + 3 < s.n; i++) {
        size_t end = i + 2;

        if (s.p[i] != '%' || s.p[i + 1] != '(')
            continue;
        while (end < s.n && (isalnum((unsigned char)s.p[end]) || s.p[end] == '_'))
            end++;
        if (end > i + 2 && end < s.n && s.p[end] == ')')
            return true;
    }
    return false;
}

/** NULL in @ret: the text does not convert, which is logged or silent, as the origin has it. */
static bool convert_yaml(struct pgv_arena *a, const char *name, struct pgv_str text, bool map,
                         struct pgv_value **ret, struct pgv_error *err)
{
    struct pgv_str trimmed = pgv_str_trim(text);
    bool secret = strstr(name, "AUTH_DATA") != NULL; /* user and password of a store */
    bool wrap = map ? !pgv_str_starts(trimmed, "{")
                    : !pgv_str_starts(trimmed, "-") && !memchr(text.p, '[', text.n);
    struct pgv_value *v = NULL;
    struct pgv_error why;
    const char *source = pgv_arena_dup(a, pgv_str(name));
    char *yaml = NULL;

    if (wrap)
        yaml = pgv_arena_printf(a, map ? "{%.*s}" : "[%.*s]", (int)text.n, text.p);
    else
        yaml = pgv_arena_dup(a, text);
    if (!source || !yaml)
        return out_of_memory(err);
    *ret = NULL;
    if (pgv_yaml_parse(a, source, pgv_str(yaml), &v, &why)) {
        if (!pgv_is(v, PGV_NULL))
            *ret = v;
    } else if (why.code == PGV_ENOMEM) {
        return out_of_memory(err);
    } else {
        pgv_log(PGV_ERROR, "config", "Exception when parsing %s %s", map ? "dict" : "list",
                secret ? name : yaml);
    }
    return true;
}

/** A variable that names a file with a secret. */
static bool is_file_name(const char *name)
{
    size_t n = strlen(name);

    return n > 5 && strcmp(name + n - 5, "_FILE") == 0;
}

static bool convert(struct pgv_arena *a, const char *name, struct pgv_str text,
                    enum conversion conversion, struct pgv_value **ret, struct pgv_error *err)
{
    int64_t i;
    double d;
    bool b;

    *ret = NULL;
    switch (conversion) {
    case FORMAT:
        if (!has_format_item(text)) {
            if (!convert_yaml(a, name, text, false, ret, err))
                return false;
            if (pgv_truthy(*ret))
                return true;
        }
        break;
    case TEXT:
        break;
    case INT:
        if (!pgv_parse_int(text, NULL, &i))
            return true;
        *ret = pgv_new_int(a, i);
        return *ret != NULL || out_of_memory(err);
    case REAL:
        if (!pgv_parse_real(text, NULL, &d))
            return true;
        *ret = pgv_new(a, PGV_REAL);
        if (!*ret)
            return out_of_memory(err);
        (*ret)->u.d = d;
        return true;
    case BOOL:
        if (!pgv_parse_bool(text, &b))
            return true;
        *ret = pgv_new_bool(a, b);
        return *ret != NULL || out_of_memory(err);
    case LIST:
        return convert_yaml(a, name, text, false, ret, err);
    case MAP:
        return convert_yaml(a, name, text, true, ret, err);
    }
    *ret = pgv_new_string(a, text);
    if (*ret && is_file_name(name)) /* what is wrong with the file is told with the variable */
        (*ret)->file = pgv_arena_dup(a, pgv_str(name));
    return (*ret && (!is_file_name(name) || (*ret)->file)) || out_of_memory(err);
}

/** The variable's value copied into @a and the variable removed; NULL in @ret when it is not set.
 */
static bool take_variable(struct pgv_arena *a, const char *name, const char **ret,
                          struct pgv_error *err)
{
    const char *value = getenv(name);

    *ret = NULL;
    if (!value)
        return true;
    *ret = pgv_arena_dup(a, pgv_str(value));
    (void)unsetenv(name); /* fails only for names that cannot be set either */
    return *ret != NULL || out_of_memory(err);
}

/** Put a converted variable where it belongs; what converts to nothing leaves only its section. */
static bool store(struct pgv_config_env *env, const char *name, const char *text,
                  enum conversion conversion, const char *path, const char *key,
                  struct pgv_error *err)
{
    struct pgv_value *map = map_at(&env->arena, env->overlay, path), *v;

    if (!map)
        return out_of_memory(err);
    if (!convert(&env->arena, name, pgv_str(text), conversion, &v, err))
        return false;
    if (!v || ((conversion == LIST || conversion == MAP) && !pgv_truthy(v)))
        return true;
    return pgv_map_set(&env->arena, map, key, v) != NULL || out_of_memory(err);
}

/** 'PATRONI_' + prefix + KEY. */
static void variable_name(char ret[ENV_NAME_BYTES], const char *prefix, struct pgv_str key)
{
    size_t n = sizeof(ENV_PREFIX) - 1 + strlen(prefix);

    PGV_ASSERT(n + key.n < ENV_NAME_BYTES); /* both come from the tables above */
    memcpy(ret, ENV_PREFIX, sizeof(ENV_PREFIX) - 1);
    memcpy(ret + sizeof(ENV_PREFIX) - 1, prefix, strlen(prefix));
    for (size_t i = 0; i < key.n; i++)
        ret[n + i] = (char)toupper((unsigned char)key.p[i]);
    ret[n + key.n] = '\0';
}

static bool take_known(struct pgv_config_env *env, struct pgv_error *err)
{
    char name[ENV_NAME_BYTES], key[ENV_NAME_BYTES];
    const char *text;

    for (size_t i = 0; i < COUNT(renamed); i++) {
        variable_name(name, "", pgv_str(renamed[i].new_name));
        bool superseded = getenv(name) != NULL;

        variable_name(name, "", pgv_str(renamed[i].old_name));
        if (!take_variable(&env->arena, name, &text, err))
            return false;
        if (text && *text && !superseded &&
            !store(env, name, text, renamed[i].conversion, "log", renamed[i].key, err))
            return false;
    }
    for (size_t i = 0; i < COUNT(known); i++) {
        struct pgv_str rest = pgv_str(known[i].keys), word;

        while (rest.n > 0) {
            struct pgv_str tail = { 0 };

            if (!pgv_str_cut(rest, ' ', &word, &tail))
                tail = (struct pgv_str){ 0 };
            rest = tail;
            variable_name(name, known[i].prefix, word);
            if (!take_variable(&env->arena, name, &text, err))
                return false;
            if (!text || !*text)
                continue;
            PGV_ASSERT(pgv_copy(key, sizeof(key), word));
            if (!store(env, name, text, known[i].conversion, known[i].path, key, err))
                return false;
        }
    }
    return true;
}

/** An integer or a list of nothing stays the empty text, as in the origin; flags and maps do not.
 */
static enum conversion generic_conversion(const char *section, const char *suffix,
                                          enum conversion conversion, const char *text)
{
    if (strcmp(section, "citus") == 0 && strcmp(suffix, "GROUP") == 0)
        return INT;
    if (!*text && (conversion == INT || conversion == LIST))
        return TEXT;
    return conversion;
}

/** @entry is 'NAME=value' of the environment. @ret_taken: it was one of ours and is gone now. */
static bool take_generic(struct pgv_config_env *env, const char *entry, bool *ret_taken,
                         struct pgv_error *err)
{
    struct pgv_str name, section, suffix, value = { 0 };
    char variable[ENV_NAME_BYTES], section_key[ENV_NAME_BYTES], suffix_key[ENV_NAME_BYTES];
    struct pgv_value *map, *v;
    const char *text;
    size_t which = 0;

    *ret_taken = false;
    if (!pgv_str_cut(pgv_str(entry), '=', &name, &value) || !pgv_str_starts(name, ENV_PREFIX) ||
        !pgv_copy(variable, sizeof(variable), name))
        return true;
    name.p += sizeof(ENV_PREFIX) - 1;
    name.n -= sizeof(ENV_PREFIX) - 1;
    if (!pgv_str_cut(name, '_', &section, &suffix) || section.n == 0)
        return true;
    while (which < COUNT(generic) && !pgv_str_eqz(suffix, generic[which].suffix))
        which++;
    if (which == COUNT(generic))
        return true;

    if (!take_variable(&env->arena, variable, &text, err))
        return false;
    if (!text)
        return true; /* the entry is not what getenv() finds: a name that stands there twice */
    *ret_taken = true;
    PGV_ASSERT(pgv_copy(section_key, sizeof(section_key), section));
    PGV_ASSERT(pgv_copy(suffix_key, sizeof(suffix_key), suffix));
    for (char *c = section_key; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    if (strcmp(section_key, "citus") == 0 && strcmp(suffix_key, "GROUP") != 0 &&
        strcmp(suffix_key, "DATABASE") != 0)
        return true;
    if (!convert(&env->arena, variable, pgv_str(text),
                 generic_conversion(section_key, suffix_key, generic[which].conversion, text), &v,
                 err))
        return false;
    if (!v)
        return true;
    map = pgv_get(env->overlay, section_key);
    if (!map)
        map = map_at(&env->arena, env->overlay, section_key);
    if (!map)
        return out_of_memory(err);
    if (!pgv_is(map, PGV_MAP)) {
        pgv_log(PGV_WARNING, "config", "ignoring %s: '%s' is no section", variable, section_key);
        return true;
    }
    for (char *c = suffix_key; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return pgv_map_set(&env->arena, map, suffix_key, v) != NULL || out_of_memory(err);
}

/** User and password of etcd count only beside another etcd variable; they are removed either way.
 */
static bool take_store_users(struct pgv_config_env *env, struct pgv_error *err)
{
    static const char *const stores[] = { "etcd", "etcd3" };
    static const char *const keys[] = { "username", "password", "username_file", "password_file" };

    for (size_t s = 0; s < COUNT(stores); s++) {
        for (size_t k = 0; k < COUNT(keys); k++) {
            char name[ENV_NAME_BYTES], prefix[ENV_NAME_BYTES];
            const char *text;

            variable_name(name, "", pgv_str(stores[s]));
            PGV_ASSERT(pgv_copyz(prefix, sizeof(prefix), name + sizeof(ENV_PREFIX) - 1));
            prefix[strlen(stores[s])] = '_';
            prefix[strlen(stores[s]) + 1] = '\0';
            variable_name(name, prefix, pgv_str(keys[k]));
            if (!take_variable(&env->arena, name, &text, err))
                return false;
            if (text && *text && pgv_get(env->overlay, stores[s]) &&
                !store(env, name, text, TEXT, stores[s], keys[k], err))
                return false;
        }
    }
    return true;
}

bool pgv_config_env_take(struct pgv_config_env *env, struct pgv_error *err)
{
    const char *text;
    struct pgv_value *root = NULL;

    *env = (struct pgv_config_env){ 0 };
    pgv_arena_init(&env->arena, PGV_CONFIG_ARENA_BYTES_MAX);
    env->overlay = pgv_new(&env->arena, PGV_MAP);
    if (!env->overlay) {
        out_of_memory(err);
        goto fail;
    }
    if (!take_known(env, err))
        goto fail;
    for (size_t i = 0; environ && environ[i];) {
        bool taken;

        if (!take_generic(env, environ[i], &taken, err))
            goto fail;
        i += taken ? 0 : 1; /* taking one moves the rest down */
    }
    if (!take_store_users(env, err) ||
        !take_variable(&env->arena, ENV_PREFIX "CONFIGURATION", &text, err))
        goto fail;
    if (text && *text) {
        static const char source[] = ENV_PREFIX "CONFIGURATION";

        if (!pgv_yaml_parse(&env->arena, source, pgv_str(text), &root, &env->configuration_err)) {
            env->configuration_bad = true;
        } else if (pgv_is(root, PGV_MAP)) {
            if (pgv_truthy(root))
                env->configuration = root;
        } else if (pgv_truthy(root)) {
            env->configuration_bad = true;
            pgv_fail(&env->configuration_err, PGV_EINVALID, "%s does not contain a dict", source);
        }
    }
    return true;
fail:
    pgv_config_env_done(env);
    return false;
}

void pgv_config_env_done(struct pgv_config_env *env)
{
    if (!env)
        return;
    pgv_arena_done(&env->arena);
    *env = (struct pgv_config_env){ 0 };
}

/** Merge one file into @c->root. */
static bool load_file(struct pgv_config *c, const char *path, struct pgv_error *err)
{
    struct pgv_arena scratch;
    struct pgv_buf text;
    struct pgv_value *v = NULL;
    const char *source = pgv_arena_dup(&c->arena, pgv_str(path)); /* values refer to it */
    bool changed, ok = false;

    pgv_arena_init(&scratch, PGV_CONFIG_ARENA_BYTES_MAX);
    pgv_buf_init(&text, PGV_CONFIG_BYTES_MAX);
    if (!source) {
        out_of_memory(err);
        goto out;
    }
    if (!pgv_file_read(path, &text, err)) {
        pgv_error_wrap(err, "config file '%s'", path);
        goto out;
    }
    if (!pgv_yaml_parse(&scratch, source, pgv_buf_view(&text), &v, err))
        goto out;
    if (!pgv_is(v, PGV_MAP)) {
        pgv_log(PGV_ERROR, "config", "%s does not contain a dict", path);
        pgv_fail(err, PGV_EINVALID, "invalid config file %s", path);
        goto out;
    }
    ok = pgv_secrets_give_way(c->root, v, err) &&
         pgv_value_patch(&c->arena, c->root, v, &changed, err);
out:
    pgv_buf_done(&text);
    pgv_arena_done(&scratch);
    return ok;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_yaml_name(const char *name)
{
    size_t n = strlen(name);

    return (n >= 4 && strcmp(name + n - 4, ".yml") == 0) ||
           (n >= 5 && strcmp(name + n - 5, ".yaml") == 0);
}

/** Regular files ending in .yml or .yaml, links to such included, in the order of their bytes. */
static bool load_folder(struct pgv_config *c, const char *path, struct pgv_error *err)
{
    const char *files[PGV_CONFIG_FILES_MAX];
    size_t n = 0;
    DIR *dir = opendir(path);
    struct dirent *entry;
    struct stat st;

    if (!dir)
        return pgv_fail_sys(err, errno, "config folder '%s'", path);
    while ((entry = readdir(dir))) {
        const char *file;

        if (!is_yaml_name(entry->d_name))
            continue;
        file = pgv_arena_printf(&c->arena, "%s/%s", path, entry->d_name);
        if (!file) {
            closedir(dir);
            return out_of_memory(err);
        }
        if (stat(file, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        if (n == PGV_CONFIG_FILES_MAX) {
            closedir(dir);
            return pgv_fail(err, PGV_EINVALID, "config folder '%s': more than %d files", path,
                            PGV_CONFIG_FILES_MAX);
        }
        files[n++] = file;
    }
    closedir(dir);
    qsort(files, n, sizeof(files[0]), compare_names);
    for (size_t i = 0; i < n; i++) {
        if (!load_file(c, files[i], err))
            return false;
    }
    return true;
}

/** What of the given sources counts; see the header. */
static bool load_sources(struct pgv_config *c, const char *path, const struct pgv_config_env *env,
                         struct pgv_error *err)
{
    struct stat st;
    bool changed;

    if (path && *path && stat(path, &st) == 0) {
        c->reloadable = true;
        if (S_ISREG(st.st_mode)) {
            if (!load_file(c, path, err))
                return false;
        } else if (S_ISDIR(st.st_mode)) {
            if (!load_folder(c, path, err))
                return false;
        } else {
            pgv_log(PGV_ERROR, "config", "config path %s is neither directory nor file", path);
            return pgv_fail(err, PGV_EINVALID, "invalid config path");
        }
        return pgv_secrets_give_way(c->root, env->overlay, err) &&
               pgv_value_patch(&c->arena, c->root, env->overlay, &changed, err);
    }
    if (env->configuration_bad) {
        *err = env->configuration_err;
        return false;
    }
    if (!pgv_secrets_give_way(NULL, env->configuration ? env->configuration : env->overlay, err))
        return false;
    c->root = pgv_value_copy(&c->arena, env->configuration ? env->configuration : env->overlay);
    return c->root != NULL || out_of_memory(err);
}

bool pgv_config_load_lenient(const char *path, const struct pgv_config_env *env,
                             struct pgv_config *ret, struct pgv_error *err)
{
    struct pgv_config c = { 0 };
    struct pgv_error scratch;
    struct pgv_value *parameters;
    bool ok = false;

    if (!err)
        err = &scratch;
    pgv_arena_init(&c.arena, PGV_CONFIG_ARENA_BYTES_MAX);
    c.root = pgv_new(&c.arena, PGV_MAP);
    if (!c.root) {
        out_of_memory(err);
        goto out;
    }
    if (!load_sources(&c, path, env, err))
        goto out;
    parameters = pgv_path(c.root, "postgresql.parameters");
    if (pgv_truthy(parameters) && !pgv_is(parameters, PGV_MAP)) {
        pgv_fail(err, PGV_EINVALID, "postgresql.parameters is not a dictionary");
        goto out;
    }
    *ret = c;
    c = (struct pgv_config){ 0 }; /* moved out */
    ok = true;
out:
    pgv_config_done(&c);
    return ok;
}

bool pgv_config_load(const char *path, const struct pgv_config_env *env, struct pgv_config *ret,
                     struct pgv_error *err)
{
    struct pgv_config c;

    if (!pgv_config_load_lenient(path, env, &c, err))
        return false;
    if (!pgv_config_read_secrets(&c, NULL, err)) {
        pgv_config_done(&c);
        return false;
    }
    if (!pgv_truthy(c.root)) {
        pgv_config_done(&c);
        if (path && *path)
            return pgv_fail(
                err, PGV_EINVALID,
                "Config is empty: '%s' does not exist or holds nothing, and there are no "
                "PATRONI_* variables",
                path);
        return pgv_fail(err, PGV_EINVALID, "Config is empty.");
    }
    if (pgv_str_eqz(pgv_string(pgv_get(c.root, "name")), PGV_NAME_PLACEHOLDER)) {
        pgv_config_done(&c);
        return pgv_fail(err, PGV_EINVALID, "Node 'name' can't be set to '%s'",
                        PGV_NAME_PLACEHOLDER);
    }
    *ret = c;
    return true;
}

bool pgv_config_read_secrets(struct pgv_config *c, const char *section, struct pgv_error *err)
{
    unsigned n;

    if (!pgv_secrets_read(&c->arena, c->root, section, &n, err))
        return false;
    c->secrets_n += n;
    return true;
}

void pgv_config_done(struct pgv_config *c)
{
    if (!c)
        return;
    pgv_arena_done(&c->arena);
    *c = (struct pgv_config){ 0 };
}
