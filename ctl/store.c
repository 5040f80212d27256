/* SPDX-License-Identifier: PostgreSQL */
/* ctl/store.c - a cluster's keys for the tool, one request after another. */
#include "ctl/store.h"

#include "base/clock.h"

#include "base/banned.h"

/** One request, until its callback has run. */
struct turn {
    struct dcs_req req;
    struct pgv_error err;
    bool done, failed;
};

static void on_reply(struct dcs_req *req, const struct pgv_error *err)
{
    struct turn *t = req->data;

    t->failed = err != NULL;
    if (err)
        t->err = *err;
    t->done = true;
}

static void on_dcs_closed(struct dcs *dcs)
{
    *(bool *)dcs->data = true;
}

static void on_view(struct dcs *dcs, unsigned changed)
{
    (void)dcs; /* reads are asked for and waited for */
    (void)changed;
}

static void close_dcs(struct ctl *c, struct dcs *dcs)
{
    bool closed = false;

    dcs->data = &closed;
    dcs_close(dcs, on_dcs_closed);
    ctl_finish(c, &closed);
}

static bool run(struct ctl *c, struct dcs *dcs, enum dcs_op op, struct pgv_str value,
                const char *version, struct pgv_error *err)
{
    struct turn t = {
        .req = { .op = op, .value = value, .deadline_ms = pgv_clock_ms() + CTL_STORE_MS }
    };

    t.req.data = &t;
    if (version && !pgv_copyz(t.req.version, sizeof(t.req.version), version))
        return pgv_fail(err, PGV_EINVALID, "the version of a key is too long");
    dcs_submit(dcs, &t.req, on_reply);
    if (!ctl_wait(c, &t.done, NULL)) {
        dcs_cancel(&t.req);
        ctl_finish(c, &t.done);
        return ctl_aborted(c, true, err);
    }
    if (t.failed)
        *err = t.err;
    return !t.failed;
}

static bool valid_citus(const struct pgv_value *config)
{
    return pgv_is(pgv_path(config, "citus.group"), PGV_INT) &&
           pgv_is(pgv_path(config, "citus.database"), PGV_STRING);
}

bool ctl_is_citus(const struct ctl *c, struct ctl_group group)
{
    return group.given || valid_citus(c->config);
}

struct ctl_group ctl_group_of(struct ctl *c, const struct ctl_args *args, bool configured)
{
    struct ctl_group group = { 0 };
    const struct pgv_value *v = pgv_path(c->config, "citus.group");

    group.given = ctl_integer(args, "--group", &group.n);
    if (!group.given && configured && valid_citus(c->config))
        group = (struct ctl_group){ true, v->u.i };
    return group;
}

bool ctl_name_of(struct ctl *c, const struct ctl_args *args, const char **ret,
                 struct pgv_error *err)
{
    const char *name = ctl_argument(args, 0);

    if (!name)
        name = ctl_config_text(c, "scope");
    if (!name)
        return pgv_fail(err, PGV_EINVALID, "No cluster name was given and no scope is configured");
    *ret = name;
    return true;
}

/** Nothing is configured, or something that this build does not know. */
static bool no_store(const struct ctl *c, struct pgv_error *err)
{
    static const char *const known[] = { "consul",     "etcd", "etcd3",    "exhibitor",
                                         "kubernetes", "raft", "zookeeper" };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (pgv_get(c->config, known[i]))
            return pgv_fail(err, PGV_EINVALID, "%s has no support for the store '%s'", c->prog,
                            known[i]);
    }
    return ctl_fail_lines(err, "Can not find suitable configuration of distributed configuration "
                               "store\nAvailable implementations: consul, etcd, etcd3, exhibitor, "
                               "kubernetes, raft, zookeeper");
}

/** Open the keys below @scope, one of ours or a whole Citus cluster's. */
static bool open_scope(struct ctl_cluster *k, struct pgv_error *err)
{
    const char *name_space = ctl_config_text(k->c, "namespace");
    const char *own_name = ctl_config_text(k->c, "name");

    k->ops = dcs_find_ops(k->c->config, &k->config.section);
    if (!k->ops)
        return no_store(k->c, err);
    k->config.name = own_name ? own_name : k->name;
    k->config.scope = k->scope;
    k->config.name_space = name_space && *name_space ? name_space : "service";
    k->config.ttl_ms = 30000;
    k->config.loop_wait_ms = CTL_LOOP_WAIT_S * 1000;
    k->config.retry_timeout_ms = CTL_STORE_MS;
    k->dcs.on_view = on_view;
    k->open = dcs_open(&k->dcs, &k->c->loop, k->ops, &k->config, err);
    return k->open;
}

static void close_workers(struct ctl_cluster *k)
{
    while (k->n_workers > 0)
        ctl_cluster_close(k->workers[--k->n_workers]);
}

bool ctl_cluster_open(struct ctl *c, const char *name, struct ctl_group group,
                      struct ctl_cluster *ret, struct pgv_error *err)
{
    bool citus = ctl_is_citus(c, group);
    int n;

    *ret = (struct ctl_cluster){ .name = name, .group = group, .citus = citus, .c = c };
    /* A Citus group's keys stand in a folder of their own below the cluster's; the coordinator is
     * 0. */
    n = citus ? snprintf(ret->scope, sizeof(ret->scope), "%s/%lld", name, (long long)group.n)
              : snprintf(ret->scope, sizeof(ret->scope), "%s", name);
    if (n < 0 || (size_t)n >= sizeof(ret->scope))
        return pgv_fail(err, PGV_EINVALID, "the cluster's name is too long");
    if (citus && !group.given) {
        ret->whole = pgv_arena_alloc(&c->arena, sizeof(*ret->whole));
        ret->workers = pgv_arena_alloc(&c->arena, DCS_GROUPS_MAX * sizeof(*ret->workers));
        if (!ret->whole || !ret->workers)
            return ctl_out_of_memory(err);
        *ret->whole = (struct ctl_cluster){ .name = name, .c = c };
        (void)snprintf(ret->whole->scope, sizeof(ret->whole->scope), "%s", name);
    }
    if (!open_scope(ret, err) || (ret->whole && !open_scope(ret->whole, err)) ||
        !ctl_cluster_read(ret, err)) {
        ctl_cluster_close(ret);
        return false;
    }
    return true;
}

void ctl_cluster_close(struct ctl_cluster *k)
{
    close_workers(k);
    if (k->whole)
        ctl_cluster_close(k->whole);
    if (!k->open)
        return;
    k->open = false;
    k->s = NULL;
    close_dcs(k->c, &k->dcs);
}

static bool read_scope(struct ctl_cluster *k, struct pgv_error *err)
{
    k->s = NULL;
    k->leader = NULL;
    if (!run(k->c, &k->dcs, DCS_READ, (struct pgv_str){ 0 }, NULL, err))
        return false;
    k->s = k->dcs.view;
    if (!k->s)
        return pgv_fail(err, PGV_EUNREACHABLE, "the store gave no view of the cluster");
    if (k->s->cluster.has_leader) {
        k->leader = dcs_leader_member(&k->s->cluster);
        if (!k->leader) {
            k->absent_leader = (struct dcs_member){ .role = PGV_ROLE_UNKNOWN };
            pgv_copy_cut(k->absent_leader.name, sizeof(k->absent_leader.name),
                         pgv_str(k->s->cluster.leader));
            k->leader = &k->absent_leader;
        }
    }
    return true;
}

static bool same_groups(const struct ctl_cluster *k)
{
    const struct dcs_snapshot *s = k->whole->s;
    unsigned n = 0;

    for (unsigned i = 0; i < s->n_groups; i++) {
        if (s->groups[i] == 0)
            continue;
        if (n == k->n_workers || k->workers[n]->group.n != s->groups[i])
            return false;
        n++;
    }
    return n == k->n_workers;
}

/** The groups that are there now, opened (which reads them) or read again. */
static bool read_workers(struct ctl_cluster *k, struct pgv_error *err)
{
    const struct dcs_snapshot *s;

    if (!read_scope(k->whole, err))
        return false;
    s = k->whole->s;
    if (same_groups(k)) {
        for (unsigned i = 0; i < k->n_workers; i++)
            if (!ctl_cluster_read(k->workers[i], err))
                return false;
        return true;
    }
    close_workers(k);
    for (unsigned i = 0; i < s->n_groups; i++) {
        struct ctl_cluster *worker;

        if (s->groups[i] == 0)
            continue;
        worker = pgv_arena_alloc(&k->c->arena, sizeof(*worker));
        if (!worker)
            return ctl_out_of_memory(err);
        if (!ctl_cluster_open(k->c, k->name, (struct ctl_group){ true, s->groups[i] }, worker, err))
            return false;
        k->workers[k->n_workers++] = worker;
    }
    return true;
}

bool ctl_cluster_read(struct ctl_cluster *k, struct pgv_error *err)
{
    return read_scope(k, err) && (!k->whole || read_workers(k, err));
}

bool ctl_cluster_write(struct ctl_cluster *k, enum dcs_op op, struct pgv_str value,
                       const char *version, struct pgv_error *err)
{
    struct dcs dcs = { .on_view = on_view };
    bool ok;

    if (!dcs_open(&dcs, &k->c->loop, k->ops, &k->config, err))
        return false;
    ok = run(k->c, &dcs, op, value, version, err);
    close_dcs(k->c, &dcs);
    return ok;
}

const struct pgv_value *ctl_dynamic(const struct ctl_cluster *k)
{
    return k->s->config;
}

bool ctl_is_paused(const struct ctl_cluster *k)
{
    return pgv_bool_like(pgv_get(ctl_dynamic(k), "pause"));
}

bool ctl_is_standby_cluster(const struct ctl_cluster *k)
{
    const struct pgv_value *standby = pgv_get(ctl_dynamic(k), "standby_cluster");

    return pgv_truthy(pgv_get(standby, "host")) || pgv_truthy(pgv_get(standby, "port")) ||
           pgv_truthy(pgv_get(standby, "restore_command"));
}

bool ctl_is_synchronous(const struct ctl_cluster *k)
{
    const struct pgv_value *mode = pgv_get(ctl_dynamic(k), "synchronous_mode");
    struct pgv_str text = pgv_string(mode);

    if (ctl_is_standby_cluster(k))
        return false;
    return pgv_bool_like(mode) || (text.n == 6 && strncasecmp(text.p, "quorum", 6) == 0);
}

int64_t ctl_loop_wait_s(const struct ctl_cluster *k)
{
    int64_t s = pgv_int_like(pgv_get(ctl_dynamic(k), "loop_wait"), NULL, 0);

    return s ? s : CTL_LOOP_WAIT_S;
}
