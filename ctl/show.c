/* SPDX-License-Identifier: PostgreSQL */
/* ctl/show.c - commands that only look: history, show-config, dsn, version. */
#include "ctl/commands.h"
#include "ctl/members.h"
#include "ctl/rest.h"

#include "base/banned.h"

static const struct ctl_column history_columns[] = { { .name = "TL", .right = true },
                                                     { .name = "LSN", .right = true },
                                                     { .name = "Reason" },
                                                     { .name = "Timestamp" },
                                                     { .name = "New Leader" } };
#define HISTORY_COLUMNS (sizeof(history_columns) / sizeof(history_columns[0]))

/** Old entries are shorter; what a newer version may add is left out. */
static struct pgv_value *history_rows(struct pgv_arena *a, const struct pgv_value *history)
{
    struct pgv_value *rows = pgv_new(a, PGV_LIST);

    PGV_EACH(line, history)
    {
        struct pgv_value *row;
        size_t n = 0;

        if (!pgv_is(line, PGV_LIST))
            continue;
        row = pgv_list_add(rows, pgv_new(a, PGV_LIST));
        PGV_EACH(v, line)
        {
            if (n == HISTORY_COLUMNS)
                break;
            if (!pgv_list_add(row, pgv_value_copy(a, v)))
                return NULL;
            n++;
        }
        for (; n < HISTORY_COLUMNS; n++) {
            if (!pgv_list_add(row, pgv_new_string(a, (struct pgv_str){ 0 })))
                return NULL;
        }
    }
    return rows;
}

static bool run_history(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    struct ctl_sheet sheet = { .arena = &c->arena,
                               .n_columns = HISTORY_COLUMNS,
                               .columns = history_columns };
    struct ctl_cluster k;
    const char *name;
    struct pgv_buf b;
    bool ok;

    if (!ctl_name_of(c, args, &name, err) ||
        !ctl_cluster_open(c, name, ctl_group_of(c, args, true), &k, err))
        return false;
    sheet.rows = history_rows(&c->arena, k.s->history);
    pgv_buf_init(&b, CTL_OUTPUT_BYTES_MAX);
    ok = ctl_sheet_write(&b, &sheet, ctl_format_parse(ctl_text(args, "--format"))) ||
         ctl_out_of_memory(err);
    if (ok)
        ctl_print_buf(c, &b);
    pgv_buf_done(&b);
    ctl_cluster_close(&k);
    return ok;
}

static bool run_show_config(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    struct ctl_cluster k;
    const struct pgv_value *config;
    const char *name;
    struct pgv_buf b;
    bool ok = true;

    if (!ctl_name_of(c, args, &name, err) ||
        !ctl_cluster_open(c, name, ctl_group_of(c, args, true), &k, err))
        return false;
    if (k.s->cluster.config_exists) {
        config = k.s->config ? k.s->config : pgv_new(&c->arena, PGV_MAP);
        pgv_buf_init(&b, CTL_OUTPUT_BYTES_MAX);
        ok = (config && pgv_yaml_write(&b, config) && pgv_buf_putc(&b, '\n')) ||
             ctl_out_of_memory(err);
        if (ok)
            ctl_print_buf(c, &b);
        pgv_buf_done(&b);
    }
    ctl_cluster_close(&k);
    return ok;
}

static bool run_dsn(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    const char *member_name = ctl_text(args, "--member"), *role = ctl_text(args, "--role"), *name;
    const struct dcs_member *member;
    struct ctl_cluster k;
    char host[PGV_URL_BYTES];
    int port;
    bool ok = false;

    if (member_name && role)
        return pgv_fail(err, PGV_EINVALID, "--role and --member are mutually exclusive options");
    if (!ctl_name_of(c, args, &name, err) ||
        !ctl_cluster_open(c, name, ctl_group_of(c, args, false), &k, err))
        return false;
    member = ctl_find_member(&k, member_name, role);
    if (!member) {
        pgv_fail(err, PGV_EINVALID, "Can not find a suitable member");
    } else if (!dcs_conn_url_parse(member->conn_url, host, sizeof(host), &port, NULL, 0)) {
        pgv_fail(err, PGV_EINVALID, "member %s does not tell where its PostgreSQL is",
                 member->name);
    } else {
        ctl_print(c, "host=%s port=%d\n", host, port);
        ok = true;
    }
    ctl_cluster_close(&k);
    return ok;
}

/** 160004 is 16.4, 90624 is 9.6.24. */
static void write_pg_version(struct pgv_buf *b, int64_t v)
{
    if (v < 100000)
        pgv_buf_printf(b, "%d.%d.%d", (int)(v / 10000), (int)(v / 100 % 100), (int)(v % 100));
    else
        pgv_buf_printf(b, "%lld.%d", (long long)(v / 10000), (int)(v % 100));
}

static bool print_member_version(struct ctl *c, const struct dcs_member *m, struct pgv_error *err)
{
    struct ctl_answer answer = { 0 };
    struct pgv_arena arena;
    struct pgv_value *root, *version;
    struct pgv_error why = { 0 };
    struct pgv_buf line;
    int64_t pg_version;

    pgv_arena_init(&arena, CTL_ARENA_BYTES_MAX);
    pgv_buf_init(&line, CTL_OUTPUT_BYTES_MAX);
    if (ctl_request(c, m, "GET", NULL, NULL, CTL_PATIENCE_LOOK, NULL, &answer, &why) &&
        pgv_json_parse(&arena, pgv_buf_view(&answer.body), &root, &why)) {
        version = pgv_path(root, "patroni.version");
        pg_version = pgv_int_like(pgv_get(root, "server_version"), NULL, 0);
        pgv_buf_printf(&line, "%s: Patroni ", m->name);
        if (version)
            pgv_value_text(&line, version);
        else
            pgv_buf_puts(&line, "None");
        if (pg_version) {
            pgv_buf_puts(&line, " PostgreSQL ");
            write_pg_version(&line, pg_version);
        }
    } else if (why.code != PGV_ECANCELED) {
        pgv_buf_printf(&line, "%s: failed to get version: %s", m->name, why.msg);
    }
    if (why.code == PGV_ECANCELED) {
        *err = why;
    } else {
        pgv_buf_putc(&line, '\n');
        ctl_print_buf(c, &line);
    }
    pgv_buf_done(&line);
    pgv_arena_done(&arena);
    ctl_answer_done(&answer);
    return why.code != PGV_ECANCELED;
}

static bool run_version(struct ctl *c, const struct ctl_args *args, struct pgv_error *err)
{
    const char *name = ctl_argument(args, 0);
    const char *const *names;
    struct ctl_selection s;
    struct ctl_cluster k;
    size_t n_names;
    bool ok = true;

    ctl_print(c, "%s version %s\n", c->prog, PGVIGIL_VERSION);
    if (!name || !*name)
        return true;
    ctl_print(c, "\n");
    if (!ctl_cluster_open(c, name, ctl_group_of(c, args, false), &k, err))
        return false;
    names = ctl_arguments(args, 1, &n_names);
    ctl_members_with_role(&k, CTL_ROLE_ANY, &s);
    for (unsigned i = 0; ok && i < s.n; i++) {
        bool asked = n_names == 0;

        for (size_t n = 0; n < n_names && !asked; n++)
            asked = strcmp(names[n], s.v[i]->name) == 0;
        if (asked && s.v[i]->api_url[0])
            ok = print_member_version(c, s.v[i], err);
    }
    ctl_cluster_close(&k);
    return ok;
}

const struct ctl_command ctl_history_command = {
    .name = "history",
    .help = "Show the history of failovers/switchovers",
    .options = { CTL_OPTION_GROUP, CTL_OPTION_FORMAT },
    .arguments = { { .name = "CLUSTER_NAME" } },
    .run = run_history,
};

const struct ctl_command ctl_show_config_command = {
    .name = "show-config",
    .help = "Show cluster configuration",
    .options = { CTL_OPTION_GROUP },
    .arguments = { { .name = "CLUSTER_NAME" } },
    .run = run_show_config,
};

const struct ctl_command ctl_dsn_command = {
    .name = "dsn",
    .help = "Generate a dsn for the provided member, defaults to a dsn of the leader",
    .options = { CTL_OPTION_ROLE("Give a dsn of any member with this role"),
                 { .names = { "--member", "-m" },
                   .kind = CTL_TEXT,
                   .help = "Generate a dsn for this member" },
                 CTL_OPTION_GROUP },
    .arguments = { { .name = "CLUSTER_NAME" } },
    .run = run_dsn,
};

const struct ctl_command ctl_version_command = {
    .name = "version",
    .help = "Output version of this command or a running Patroni instance",
    .options = { CTL_OPTION_GROUP },
    .arguments = { { .name = "CLUSTER_NAME" }, { .name = "MEMBER_NAMES", .variadic = true } },
    .run = run_version,
};
