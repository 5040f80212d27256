/* SPDX-License-Identifier: PostgreSQL */
/*
 * ctl/members.c - the members table. Source of its columns and rules: Patroni 4.1,
 * ctl.output_members(), topology_sort(); the document it is made of is that of GET /cluster.
 */
#include "ctl/members.h"

#include <ctype.h>

#include "base/banned.h"

#define REASON_COLUMNS_MAX 50 /* longer ones are hidden in tables */
#define POSTGRES_PORT 5432
#define MEMBER_COLUMNS_MAX 16
#define MEGABYTE (1024 * 1024)

int64_t ctl_megabytes(int64_t bytes)
{
    int64_t whole = bytes / MEGABYTE, part = bytes % MEGABYTE;

    if (part > MEGABYTE / 2 || (part == MEGABYTE / 2 && whole % 2 != 0))
        whole++;
    return whole;
}

/** One member on its way into a row. */
struct row {
    const struct pgv_value *member; /* as in GET /cluster */
    int64_t group;
    unsigned depth; /* in the tree; 0: no prefix */
};

/** A group of a Citus cluster, or the whole of another. */
struct section {
    int64_t group;
    const struct pgv_value *cluster, *members;
};

struct view {
    const struct ctl_members_view *o;
    struct pgv_arena arena;
    struct section sections[1 + DCS_GROUPS_MAX]; /* ordered by their groups */
    unsigned n_sections;
    bool with_port;
    struct row rows[CTL_MEMBERS_MAX];
    unsigned n_rows;
    struct ctl_column columns[MEMBER_COLUMNS_MAX];
    struct ctl_sheet sheet;
};

static struct pgv_value *text_value(struct view *v, const char *text)
{
    return pgv_new_string(&v->arena, pgv_str(text ? text : ""));
}

/** A value as it stands, or the empty text when it is absent. */
static struct pgv_value *copy_or_empty(struct view *v, const struct pgv_value *from)
{
    return from ? pgv_value_copy(&v->arena, from) : text_value(v, "");
}

static bool is_leader(const struct pgv_value *member)
{
    struct pgv_str role = pgv_string(pgv_get(member, "role"));

    return role.n >= 6 && memcmp(role.p + role.n - 6, "leader", 6) == 0;
}

/** The member whose child @member is: another replica that 'replicatefrom' names. NULL: the root's.
 */
static const struct pgv_value *parent_of(const struct section *s, const struct pgv_value *member)
{
    struct pgv_str from = pgv_string(pgv_path(member, "tags.replicatefrom"));

    if (from.n == 0 || pgv_str_eq(from, pgv_string(pgv_get(member, "name"))))
        return NULL;
    PGV_EACH(other, s->members)
    {
        if (!is_leader(other) && pgv_str_eq(from, pgv_string(pgv_get(other, "name"))))
            return other;
    }
    return NULL;
}

static void add_row(struct view *v, const struct section *s, const struct pgv_value *member,
                    unsigned depth)
{
    if (v->n_rows < CTL_MEMBERS_MAX)
        v->rows[v->n_rows++] = (struct row){ member, s->group, depth };
}

/** Children of @parent (NULL: of the root), each followed by its own. A cycle is never entered. */
static void add_children(struct view *v, const struct section *s, const struct pgv_value *parent,
                         unsigned depth)
{
    PGV_EACH(member, s->members)
    {
        if (is_leader(member) || parent_of(s, member) != parent || v->n_rows == CTL_MEMBERS_MAX)
            continue;
        add_row(v, s, member, depth);
        add_children(v, s, member, depth + 1);
    }
}

static void add_rows(struct view *v, const struct section *s)
{
    if (v->o->format != CTL_TOPOLOGY) {
        PGV_EACH(member, s->members)
        {
            add_row(v, s, member, 0);
        }
        return;
    }
    PGV_EACH(member, s->members)
    {
        if (is_leader(member)) {
            add_row(v, s, member, 0);
            break;
        }
    }
    add_children(v, s, NULL, 1);
}

static bool shares_host(const struct pgv_value *a, const struct pgv_value *others)
{
    struct pgv_str host = pgv_string(pgv_get(a, "host"));

    for (const struct pgv_value *b = others; b; b = b->next) {
        if (pgv_get(b, "host") && pgv_str_eq(host, pgv_string(pgv_get(b, "host"))))
            return true;
    }
    return false;
}

/** All hosts get their port when one is unusual or two members share a host. */
static bool needs_port(const struct view *v)
{
    for (unsigned i = 0; i < v->n_sections; i++) {
        PGV_EACH(a, v->sections[i].members)
        {
            if (!pgv_get(a, "host"))
                continue;
            if (pgv_int_like(pgv_get(a, "port"), NULL, POSTGRES_PORT) != POSTGRES_PORT ||
                shares_host(a, a->next))
                return true;
            for (unsigned k = i + 1; k < v->n_sections; k++)
                if (shares_host(a, pgv_value_first(v->sections[k].members)))
                    return true;
        }
    }
    return false;
}

static bool any_member_has(const struct view *v, const char *key)
{
    for (unsigned i = 0; i < v->n_sections; i++) {
        PGV_EACH(member, v->sections[i].members)
        {
            if (pgv_get(member, "host") && pgv_truthy(pgv_get(member, key)))
                return true;
        }
    }
    return false;
}

static bool is_table(const struct view *v)
{
    return v->o->format == CTL_PRETTY || v->o->format == CTL_TOPOLOGY;
}

static struct pgv_value *name_cell(struct view *v, const struct row *row)
{
    struct pgv_str name = pgv_string(pgv_get(row->member, "name"));
    char *text;

    if (row->depth == 0)
        return pgv_new_string(&v->arena, name);
    text = pgv_arena_printf(&v->arena, "%*s+ %.*s", (int)(row->depth - 1) * 2, "", (int)name.n,
                            name.p);
    return text ? pgv_new_string(&v->arena, pgv_str(text)) : NULL;
}

static struct pgv_value *host_cell(struct view *v, const struct pgv_value *member)
{
    const char *host = pgv_stringz(pgv_get(member, "host"));
    int64_t port = pgv_int_like(pgv_get(member, "port"), NULL, 0);
    char *text;

    if (!v->with_port || !host || !*host || !port)
        return text_value(v, host);
    text = pgv_arena_printf(&v->arena, "%s:%lld", host, (long long)port);
    return text ? pgv_new_string(&v->arena, pgv_str(text)) : NULL;
}

/** 'sync_standby' is shown as 'Sync Standby'. */
static struct pgv_value *role_cell(struct view *v, const struct pgv_value *member)
{
    struct pgv_value *cell = pgv_new_string(&v->arena, pgv_string(pgv_get(member, "role")));
    char *text;
    bool start = true;

    text = cell ? pgv_arena_dup(&v->arena, cell->u.s) : NULL;
    if (!text)
        return NULL;
    for (char *c = text; *c; c++) {
        *c = *c == '_' ? ' ' : *c;
        *c = (char)(start ? toupper((unsigned char)*c) : tolower((unsigned char)*c));
        start = !isalpha((unsigned char)*c);
    }
    return text_value(v, text);
}

struct position {
    const struct pgv_value *lsn, *lag;
};

static bool is_unknown(const struct pgv_value *v)
{
    return pgv_str_eqz(pgv_string(v), "unknown");
}

/** Old members tell only where they are, not what they received and replayed. */
static void read_positions(const struct pgv_value *m, struct position *received,
                           struct position *replayed)
{
    struct position old = { pgv_get(m, "lsn"), pgv_get(m, "lag") };

    *received = (struct position){ pgv_get(m, "receive_lsn"), pgv_get(m, "receive_lag") };
    *replayed = (struct position){ pgv_get(m, "replay_lsn"), pgv_get(m, "replay_lag") };
    if (!is_unknown(received->lsn) || !is_unknown(replayed->lsn) || !pgv_truthy(old.lsn) ||
        is_unknown(old.lsn))
        return;
    if (pgv_str_eqz(pgv_string(pgv_get(m, "state")), "streaming"))
        *received = old;
    else
        *replayed = old;
}

static struct pgv_value *lag_cell(struct view *v, const struct pgv_value *lag)
{
    if (pgv_is(lag, PGV_INT))
        return pgv_new_int(&v->arena, ctl_megabytes(lag->u.i));
    return is_unknown(lag) ? text_value(v, "") : copy_or_empty(v, lag);
}

static struct pgv_value *reason_cell(struct view *v, const struct pgv_value *member)
{
    struct pgv_value *cell;
    struct pgv_buf text;

    pgv_buf_init(&text, CTL_OUTPUT_BYTES_MAX);
    PGV_EACH(parameter, pgv_get(member, "pending_restart_reason"))
    {
        size_t start;

        if (text.n > 0)
            pgv_buf_putc(&text, '\n');
        start = text.n;
        pgv_buf_str(&text, parameter->key);
        pgv_buf_puts(&text, ": ");
        pgv_value_text(&text, pgv_get(parameter, "old_value"));
        pgv_buf_puts(&text, "->");
        pgv_value_text(&text, pgv_get(parameter, "new_value"));
        if (is_table(v) && !text.failed &&
            ctl_text_columns((struct pgv_str){ text.p + start, text.n - start }) >
                REASON_COLUMNS_MAX) {
            text.n = start + parameter->key.n;
            pgv_buf_puts(&text, ": [hidden - too long]");
        }
    }
    cell = text.failed ? NULL : pgv_new_string(&v->arena, pgv_buf_view(&text));
    pgv_buf_done(&text);
    return cell;
}

static struct pgv_value *scheduled_cell(struct view *v, const struct pgv_value *member)
{
    const struct pgv_value *restart = pgv_get(member, "scheduled_restart");
    const char *schedule = pgv_stringz(pgv_get(restart, "schedule"));
    const char *version = pgv_stringz(pgv_get(restart, "postgres_version"));
    char *text;

    if (!schedule || !version)
        return text_value(v, schedule);
    text = pgv_arena_printf(&v->arena, "%s if version < %s", schedule, version);
    return text ? text_value(v, text) : NULL;
}

/** Tags as YAML: a block in the plain table, one line where lines count, a map for programs. */
static struct pgv_value *tags_cell(struct view *v, const struct pgv_value *member)
{
    const struct pgv_value *tags = pgv_get(member, "tags");
    struct pgv_value *cell = NULL;
    struct pgv_buf text;
    bool ok;

    if (!pgv_truthy(tags) || v->o->format == CTL_JSON || v->o->format == CTL_YAML)
        return copy_or_empty(v, tags);
    pgv_buf_init(&text, CTL_OUTPUT_BYTES_MAX);
    ok =
        v->o->format == CTL_PRETTY ? pgv_yaml_write(&text, tags) : pgv_yaml_write_flow(&text, tags);
    if (ok)
        cell = pgv_new_string(&v->arena, pgv_str_trim(pgv_buf_view(&text)));
    pgv_buf_done(&text);
    return cell;
}

static struct pgv_value *cell_of(struct view *v, const char *column, const struct row *row)
{
    const struct pgv_value *m = row->member;
    struct position received, replayed;

    read_positions(m, &received, &replayed);
    if (strcmp(column, "Cluster") == 0)
        return text_value(v, v->o->name);
    if (strcmp(column, "Group") == 0)
        return pgv_new_int(&v->arena, row->group);
    if (strcmp(column, "Member") == 0)
        return name_cell(v, row);
    if (strcmp(column, "Host") == 0)
        return host_cell(v, m);
    if (strcmp(column, "Role") == 0)
        return role_cell(v, m);
    if (strcmp(column, "State") == 0)
        return copy_or_empty(v, pgv_get(m, "state"));
    if (strcmp(column, "TL") == 0)
        return copy_or_empty(v, pgv_get(m, "timeline"));
    if (strcmp(column, "Receive LSN") == 0)
        return copy_or_empty(v, received.lsn);
    if (strcmp(column, "Receive Lag") == 0)
        return lag_cell(v, received.lag);
    if (strcmp(column, "Replay LSN") == 0)
        return copy_or_empty(v, replayed.lsn);
    if (strcmp(column, "Replay Lag") == 0)
        return lag_cell(v, replayed.lag);
    if (strcmp(column, "Pending restart") == 0)
        return text_value(v, pgv_truthy(pgv_get(m, "pending_restart")) ? "*" : "");
    if (strcmp(column, "Pending restart reason") == 0)
        return reason_cell(v, m);
    if (strcmp(column, "Scheduled restart") == 0)
        return scheduled_cell(v, m);
    PGV_ASSERT(strcmp(column, "Tags") == 0);
    return tags_cell(v, m);
}

/* Colours only repeat what the words say. */

static const char *paint_role(struct pgv_str text)
{
    return pgv_str_eqz(text, "Leader") || pgv_str_eqz(text, "Standby Leader") ? CTL_BOLD : NULL;
}

static const char *paint_state(struct pgv_str text)
{
    static const char *const good[] = { "running", "streaming" };
    static const char *const bad[] = { "stopped", "crashed", "failed" };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (pgv_str_eqz(text, good[i]))
            return CTL_GREEN;
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (text.n >= strlen(bad[i]) &&
            memcmp(text.p + text.n - strlen(bad[i]), bad[i], strlen(bad[i])) == 0)
            return CTL_RED; /* also 'start failed' and its like */
    }
    return text.n > 0 ? CTL_YELLOW : NULL;
}

static const char *paint_attention(struct pgv_str text)
{
    return text.n > 0 ? CTL_YELLOW : NULL;
}

static void choose_columns(struct view *v)
{
    static const struct {
        struct ctl_column column;
        const char *only_if; /* some member has it, or --extended */
    } all[] = {
        { { .name = "Cluster", .in_title = true }, NULL },
        { { .name = "Group", .right = true }, NULL },
        { { .name = "Member" }, NULL },
        { { .name = "Host" }, NULL },
        { { .name = "Role", .paint = paint_role }, NULL },
        { { .name = "State", .paint = paint_state }, NULL },
        { { .name = "TL", .right = true }, NULL },
        { { .name = "Receive LSN", .right = true }, NULL },
        { { .name = "Receive Lag", .heading = "Lag", .right = true }, NULL },
        { { .name = "Replay LSN", .right = true }, NULL },
        { { .name = "Replay Lag", .heading = "Lag", .right = true }, NULL },
        { { .name = "Pending restart", .paint = paint_attention }, "pending_restart" },
        { { .name = "Pending restart reason" }, "pending_restart_reason" },
        { { .name = "Scheduled restart" }, "scheduled_restart" },
        { { .name = "Tags" }, "tags" },
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct ctl_column *c = &v->columns[v->sheet.n_columns];

        if (all[i].only_if && !v->o->extended && !any_member_has(v, all[i].only_if))
            continue;
        if (strcmp(all[i].column.name, "Group") == 0 && !v->o->citus)
            continue;
        *c = all[i].column;
        if (strcmp(c->name, "Group") == 0)
            c->in_title = v->o->group.given;
        v->sheet.n_columns++;
    }
}

static const char *make_title(struct view *v)
{
    const struct dcs_cluster *c = &v->o->s->cluster;
    const char *id = c->initialize_text;

    if (c->initialize == DCS_INIT_ABSENT)
        id = "uninitialized";
    else if (c->initialize == DCS_INIT_BOOTSTRAPPING)
        id = "initializing";
    else if (c->initialize == DCS_INIT_GARBAGE)
        id = v->o->s->initialize_garbage ? v->o->s->initialize_garbage : "";
    if (!v->o->citus)
        return pgv_arena_printf(&v->arena, " Cluster: %s (%s) ", v->o->name, id);
    if (!v->o->group.given)
        return pgv_arena_printf(&v->arena, " Citus cluster: %s ", v->o->name);
    return pgv_arena_printf(&v->arena, " Citus cluster: %s (group: %lld, %s) ", v->o->name,
                            (long long)v->o->group.n, id);
}

/** What stands below a table: maintenance mode, a scheduled switchover. */
static void write_footer(struct pgv_buf *b, const struct view *v, const struct section *s)
{
    const struct pgv_value *planned = pgv_get(s->cluster, "scheduled_switchover");
    bool paused = pgv_truthy(pgv_get(s->cluster, "pause"));

    if (!paused && !planned)
        return;
    if (v->o->citus && !v->o->group.given)
        pgv_buf_printf(b, "Citus group: %lld\n", (long long)s->group);
    if (paused)
        pgv_buf_puts(b, " Maintenance mode: on\n");
    if (!planned)
        return;
    pgv_buf_puts(b, " Switchover scheduled at: ");
    pgv_value_text(b, pgv_get(planned, "at"));
    for (size_t i = 0; i < 2; i++) {
        static const char *const ends[] = { "from", "to" };

        if (!pgv_get(planned, ends[i]))
            continue;
        pgv_buf_printf(b, "\n%24s: ", ends[i]);
        pgv_value_text(b, pgv_get(planned, ends[i]));
    }
    pgv_buf_putc(b, '\n');
}

static bool fill_rows(struct view *v)
{
    v->sheet.rows = pgv_new(&v->arena, PGV_LIST);
    for (unsigned i = 0; i < v->n_rows; i++) {
        struct pgv_value *row = pgv_list_add(v->sheet.rows, pgv_new(&v->arena, PGV_LIST));

        for (size_t k = 0; k < v->sheet.n_columns; k++) {
            struct pgv_value *cell = cell_of(v, v->sheet.columns[k].name, &v->rows[i]);

            if (!pgv_list_add(row, cell))
                return false;
        }
    }
    return v->sheet.rows != NULL;
}

/** Put among the others by the number of its group. */
static bool add_section(struct view *v, int64_t group, const struct dcs_snapshot *s)
{
    unsigned at = v->n_sections;
    struct section section = {
        .group = group,
        .cluster = dcs_cluster_to_json(&v->arena, s, s->config, v->o->name),
    };

    if (!section.cluster)
        return false;
    section.members = pgv_get(section.cluster, "members");
    for (; at > 0 && v->sections[at - 1].group > group; at--)
        v->sections[at] = v->sections[at - 1];
    v->sections[at] = section;
    v->n_sections++;
    return true;
}

bool ctl_write_members(struct pgv_buf *b, const struct ctl_members_view *view,
                       struct pgv_error *err)
{
    struct view *v = pgv_zalloc(sizeof(*v));
    bool ok = false;

    if (!v)
        return ctl_out_of_memory(err);
    v->o = view;
    pgv_arena_init(&v->arena, CTL_ARENA_BYTES_MAX);
    ok = add_section(v, view->group.n, view->s);
    for (unsigned i = 0; ok && i < view->n_workers; i++)
        ok = add_section(v, view->workers[i]->group.n, view->workers[i]->s);
    for (unsigned i = 0; i < v->n_sections; i++)
        add_rows(v, &v->sections[i]);
    v->with_port = needs_port(v);
    v->sheet.arena = &v->arena;
    v->sheet.columns = v->columns;
    choose_columns(v);
    v->sheet.title = make_title(v);
    v->sheet.coloured = view->coloured;
    ok = ok && v->sheet.title && fill_rows(v) && ctl_sheet_write(b, &v->sheet, view->format);
    for (unsigned i = 0; ok && is_table(v) && i < v->n_sections; i++)
        write_footer(b, v, &v->sections[i]);
    ok = ok && !b->failed;
    pgv_arena_done(&v->arena);
    pgv_free(v);
    return ok || ctl_out_of_memory(err);
}

bool ctl_write_members_of(struct pgv_buf *b, struct ctl_cluster *k, bool extended,
                          enum ctl_format format, struct pgv_error *err)
{
    struct ctl_members_view view = { .s = k->s,
                                     .name = k->name,
                                     .citus = k->citus,
                                     .group = k->group,
                                     .workers = k->workers,
                                     .n_workers = k->n_workers,
                                     .extended = extended,
                                     .coloured = ctl_coloured(k->c),
                                     .format = format };

    return ctl_write_members(b, &view, err);
}

bool ctl_print_members(struct ctl_cluster *k, bool extended, enum ctl_format format,
                       struct pgv_error *err)
{
    struct pgv_buf b;
    bool ok;

    pgv_buf_init(&b, CTL_OUTPUT_BYTES_MAX);
    ok = ctl_write_members_of(&b, k, extended, format, err);
    if (ok)
        ctl_print_buf(k->c, &b);
    pgv_buf_done(&b);
    return ok;
}
