/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/cluster.c - from the keys and texts in a DCS to the typed view.
 *
 * One reader per key. All of them keep to one rule: a value that cannot be read makes its part
 * unknown, is logged once per version of the key, and never hides that the key is there. What is
 * accepted and what it means follows Patroni 4.1's from_node() functions (named at each reader),
 * so that a mixed cluster agrees on what it sees.
 */
#include "dcs/cluster.h"

#include "base/log.h"
#include "base/parse.h"

#include <ctype.h>
#include <strings.h>

#include "base/banned.h"

/* A reader of one key: the snapshot, the text, the document (NULL: no JSON, or a scalar or list
 * where the reader says so) and what the store tells about the key. */
struct entry {
    struct dcs_snapshot *s;
    struct pgv_str key, value;
    const char *version, *session;
};

/* ---- logging -------------------------------------------------------------------------------- */

/* A view is rebuilt at every change of any key, so a corrupt value would be reported for ever. The
 * last few reports are remembered as hashes of key, version and reason. */
#define LOGGED_MAX 32
static uint64_t logged[LOGGED_MAX];
static unsigned logged_next;

static uint64_t fnv(uint64_t h, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 1099511628211u;
    return h;
}

static void complain(const struct entry *e, const char *why)
{
    uint64_t h = fnv(14695981039346656037u, e->key.p, e->key.n);
    char key[PGV_NAME_BYTES + 16];

    if (e->s->failed) /* it may be for lack of memory only */
        return;
    h = fnv(h, e->version, strlen(e->version) + 1);
    h = fnv(h, why, strlen(why));
    for (unsigned i = 0; i < LOGGED_MAX; i++)
        if (logged[i] == h)
            return;
    logged[logged_next++ % LOGGED_MAX] = h;
    pgv_copy_cut(key, sizeof(key), e->key);
    pgv_log(PGV_WARNING, "dcs", "unusable value, that part counts as unknown key=%s version=%s: %s",
            key, e->version, why);
}

/* ---- small readers -------------------------------------------------------------------------- */

/* Parse @text as JSON into the snapshot. NULL when it is none. */
static struct pgv_value *parse(struct entry *e, struct pgv_str text)
{
    struct pgv_value *v = NULL;
    struct pgv_error err;

    if (text.n > DCS_VALUE_BYTES_MAX)
        return NULL;
    if (!pgv_json_parse(&e->s->arena, text, &v, &err)) {
        if (err.code == PGV_ENOMEM)
            e->s->failed = true;
        return NULL;
    }
    return v;
}

static bool copy_version(char dst[DCS_VERSION_BYTES], const char *src)
{
    return pgv_copyz(dst, DCS_VERSION_BYTES, src);
}

/* A name we can hold: no NUL inside, fits. */
static bool copy_name(char *dst, size_t bytes, struct pgv_str s)
{
    if (s.n && memchr(s.p, 0, s.n)) {
        dst[0] = 0;
        return false;
    }
    return pgv_copy(dst, bytes, s);
}

/* A name we cannot hold is not absent: show what fits of it, ending in '...', equal to nobody's. */
static void copy_strange_name(char *dst, size_t bytes, struct pgv_str s)
{
    size_t n = s.n < bytes - 4 ? s.n : bytes - 4;

    for (size_t i = 0; i < n; i++)
        dst[i] = s.p[i] ? s.p[i] : '?';
    memcpy(dst + n, "...", 4);
}

static uint64_t lsn_of(const struct pgv_value *v)
{
    int64_t i = pgv_int_like(v, NULL, 0);

    return i > 0 ? (uint64_t)i : 0;
}

/* "4.1.5" is 40105. Source: Patroni, Member.patroni_version: all parts must be integers. */
static int agent_version(struct pgv_str s)
{
    struct pgv_str head, tail = s;
    uint64_t part;
    int version = 0;
    unsigned n = 0;
    bool more;

    do {
        more = pgv_str_cut(tail, '.', &head, &tail);
        if (!pgv_parse_u64(head, &part))
            return 0;
        if (n++ < 3)
            version = version * 100 + (part > 99 && n > 1 ? 99 : (int)(part > 9999 ? 9999 : part));
    } while (more);
    for (; n < 3; n++)
        version *= 100;
    return version;
}

/* ---- initialize, config, leader ------------------------------------------------------------- */

/* "" is a bootstrap going on, ten digits and more are a system identifier. Source: Ha.sysid_valid.
 */
static void put_initialize(struct entry *e)
{
    struct dcs_cluster *c = &e->s->cluster;
    bool digits = true;

    if (!copy_version(c->initialize_version, e->version))
        e->s->failed = true;
    if (!e->value.n) {
        c->initialize = DCS_INIT_BOOTSTRAPPING;
        return;
    }
    for (size_t i = 0; i < e->value.n; i++)
        digits = digits && e->value.p[i] >= '0' && e->value.p[i] <= '9';
    if (digits && e->value.n >= 10 &&
        pgv_copy(c->initialize_text, sizeof(c->initialize_text), e->value)) {
        c->initialize = DCS_INIT_SYSID;
        return;
    }
    c->initialize = DCS_INIT_GARBAGE;
    e->s->initialize_garbage = pgv_arena_dup(&e->s->arena, e->value);
    complain(e, "neither nothing nor a system identifier");
}

/* Source: ClusterConfig.from_node(). Garbage keeps the running configuration, '{}' does not. */
static void put_config(struct entry *e)
{
    struct dcs_cluster *c = &e->s->cluster;
    struct pgv_value *v = parse(e, e->value);

    c->config_exists = true;
    if (!pgv_is(v, PGV_MAP)) {
        complain(e, "no JSON object");
        return;
    }
    e->s->config = v;
    c->config_valid = true;
    c->config_empty = !v->u.c.n;
    if (!copy_version(c->config_version, e->version))
        e->s->failed = true;
}

static void put_leader(struct entry *e)
{
    struct dcs_cluster *c = &e->s->cluster;

    if (!copy_version(c->leader_version, e->version) ||
        !copy_version(c->leader_session, e->session))
        e->s->failed = true;
    c->has_leader = e->value.n > 0;
    if (!copy_name(c->leader, sizeof(c->leader), e->value)) {
        copy_strange_name(c->leader, sizeof(c->leader), e->value);
        complain(e, "a name longer than any member's");
    }
}

/* ---- members -------------------------------------------------------------------------------- */

static void copy_url(struct entry *e, char *dst, struct pgv_str s)
{
    if (!copy_name(dst, PGV_URL_BYTES, s))
        complain(e, "a URL longer than we can hold");
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The value of a query parameter, decoded in the arena. */
static struct pgv_str decode(struct dcs_snapshot *s, struct pgv_str in)
{
    char *out = pgv_arena_dup(&s->arena, in);
    size_t n = 0;

    if (!out) {
        s->failed = true;
        return (struct pgv_str){ 0 };
    }
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] == '%' && i + 2 < in.n && hex(in.p[i + 1]) >= 0 && hex(in.p[i + 2]) >= 0) {
            out[n++] = (char)(hex(in.p[i + 1]) * 16 + hex(in.p[i + 2]));
            i += 2;
        } else {
            out[n++] = in.p[i] == '+' ? ' ' : in.p[i];
        }
    }
    out[n] = 0;
    return (struct pgv_str){ out, n };
}

/* Old members stored a connection URL with the API's URL in its query. Source: Patroni,
 * parse_connection_string(). */
static struct pgv_value *parse_legacy_member(struct entry *e)
{
    struct pgv_arena *a = &e->s->arena;
    struct pgv_value *v = pgv_new(a, PGV_MAP);
    struct pgv_str conn, query, pair, name, value, api = { 0 };
    bool more = pgv_str_cut(e->value, '?', &conn, &query);

    while (more && !api.n) {
        more = pgv_str_cut(query, '&', &pair, &query);
        if (pgv_str_cut(pair, '=', &name, &value) && pgv_str_eqz(name, "application_name"))
            api = decode(e->s, value);
    }
    if (!pgv_map_set(a, v, "conn_url", pgv_new_string(a, conn)) ||
        (api.n && !pgv_map_set(a, v, "api_url", pgv_new_string(a, api))))
        e->s->failed = true;
    return v;
}

/* conn_url, or the one that conn_kwargs stands for. Source: Member.conn_url. */
static void read_conn_url(struct entry *e, struct dcs_member *m, const struct pgv_value *data)
{
    const struct pgv_value *kwargs = pgv_get(data, "conn_kwargs");
    struct pgv_str url = pgv_string(pgv_get(data, "conn_url"));
    struct pgv_str host = pgv_string(pgv_get(kwargs, "host"));
    int64_t port = pgv_int_like(pgv_get(kwargs, "port"), NULL, 5432);
    bool v6 = host.n && memchr(host.p, ':', host.n);
    char *text;

    if (!url.n && host.n) {
        text = pgv_arena_printf(&e->s->arena, "postgresql://%s%s%s:%lld", v6 ? "[" : "", host.p,
                                v6 ? "]" : "", (long long)port);
        if (!text)
            e->s->failed = true;
        url = pgv_str(text);
    }
    copy_url(e, m->conn_url, url);
}

/*
 * Whether the checkpoint after a promotion is done: told by members newer than 1.5.6, as 'primary
 * and no field checkpoint_after_promote'. Source: Leader.checkpoint_after_promote.
 */
static void read_checkpoint(struct dcs_member *m, const struct pgv_value *data)
{
    m->checkpoint_known = m->agent_version > 10506;
    m->checkpoint_done = m->checkpoint_known && m->role == PGV_ROLE_PRIMARY &&
                         !pgv_get(data, "checkpoint_after_promote");
}

/* Source: Member.from_node() and its properties. */
static void put_member(struct entry *e, struct pgv_str name)
{
    struct dcs_cluster *c = &e->s->cluster;
    struct dcs_member *m;
    struct pgv_value *data;
    struct pgv_str replication;
    int64_t timeline;

    if (!name.n || memchr(name.p, '/', name.n))
        return; /* deeper keys are nobody's member; Patroni does not see them either */
    if (c->n_members == DCS_MEMBERS_MAX) {
        complain(e, "one member more than we can hold; it is left out");
        return;
    }
    m = &c->members[c->n_members];
    *m = (struct dcs_member){ .state = PGV_STATE_UNKNOWN, .role = PGV_ROLE_UNKNOWN };
    if (!copy_name(m->name, sizeof(m->name), name)) {
        complain(e, "a member whose name is too long; it is left out");
        return;
    }
    if (!copy_version(m->version, e->version) || !copy_version(m->session, e->session))
        e->s->failed = true;
    c->n_members++;

    data = pgv_str_starts(e->value, "postgres") ? parse_legacy_member(e) : parse(e, e->value);
    if (!pgv_is(data, PGV_MAP)) {
        complain(e, "no JSON object");
        data = pgv_new(&e->s->arena, PGV_MAP);
        if (!data)
            e->s->failed = true;
    }
    m->data = data;
    read_conn_url(e, m, data);
    copy_url(e, m->api_url, pgv_string(pgv_get(data, "api_url")));
    m->state = pgv_state_parse(pgv_string(pgv_get(data, "state")));
    m->role = pgv_role_parse(pgv_string(pgv_get(data, "role")));
    pgv_tags_read(pgv_get(data, "tags"), &m->tags);
    m->tags.clonefrom = m->tags.clonefrom && m->conn_url[0];
    m->xlog_location = lsn_of(pgv_get(data, "xlog_location"));
    m->receive_lsn = lsn_of(pgv_get(data, "receive_lsn"));
    m->replay_lsn = lsn_of(pgv_get(data, "replay_lsn"));
    timeline = pgv_int_like(pgv_get(data, "timeline"), NULL, 0);
    m->timeline = timeline > 0 && timeline <= UINT32_MAX ? (uint32_t)timeline : 0;
    m->agent_version = agent_version(pgv_string(pgv_get(data, "version")));
    read_checkpoint(m, data);
    replication = pgv_string(pgv_get(data, "replication_state"));
    m->streaming = pgv_str_eqz(replication, "streaming");
    m->in_archive_recovery = pgv_str_eqz(replication, "in archive recovery");
    m->pause = pgv_truthy(pgv_get(data, "pause"));
    m->pending_restart = pgv_truthy(pgv_get(data, "pending_restart"));
    m->has_scheduled_restart = pgv_truthy(pgv_get(data, "scheduled_restart"));
}

/* ---- status --------------------------------------------------------------------------------- */

/* On Kubernetes the parts of status are annotations: JSON within a string. */
static const struct pgv_value *unfold(struct entry *e, const struct pgv_value *v)
{
    return pgv_is(v, PGV_STRING) ? parse(e, v->u.s) : v;
}

/* Source: Status.from_node(). */
static void put_status(struct entry *e)
{
    struct dcs_cluster *c = &e->s->cluster;
    struct pgv_value *v = parse(e, e->value);
    const struct pgv_value *slots, *retain;
    int64_t optime = 0;

    c->status_exists = true;
    c->status_optime = 0;     /* whatever optime/leader said */
    if (pgv_is(v, PGV_INT)) { /* as before 2.1 */
        c->status_optime = v->u.i > 0 ? (uint64_t)v->u.i : 0;
        return;
    }
    if (!pgv_is(v, PGV_MAP)) {
        complain(e, "no JSON object");
        return;
    }
    e->s->status = v;
    if (pgv_to_int(pgv_get(v, "optime"), &optime) && optime > 0)
        c->status_optime = (uint64_t)optime;

    slots = unfold(e, pgv_get(v, "slots"));
    if (pgv_is(slots, PGV_MAP)) {
        PGV_EACH(slot, slots)
        {
            struct dcs_slot_lsn *to = &c->status_slots[c->n_status_slots];

            if (c->n_status_slots == DCS_SLOTS_MAX) {
                complain(e, "more slots than we can hold; the rest is left out");
                break;
            }
            if (!copy_name(to->name, sizeof(to->name), slot->key)) {
                complain(e, "a slot whose name is too long; it is left out");
                continue;
            }
            to->lsn = lsn_of(slot);
            c->n_status_slots++;
        }
    }
    retain = unfold(e, pgv_get(v, "retain_slots"));
    if (pgv_is(retain, PGV_LIST)) {
        PGV_EACH(name, retain)
        {
            if (c->n_retain_slots == DCS_SLOTS_MAX) {
                complain(e, "more retained slots than we can hold; the rest is left out");
                break;
            }
            if (!pgv_string(name).n || !copy_name(c->retain_slots[c->n_retain_slots],
                                                  PGV_SLOT_NAME_BYTES, pgv_string(name))) {
                complain(e, "a retained slot that is no name; it is left out");
                continue;
            }
            c->n_retain_slots++;
        }
    }
}

/* What leaders before 2.1 wrote instead of status; counts only while there is no status. */
static void put_optime(struct entry *e)
{
    struct dcs_cluster *c = &e->s->cluster;
    uint64_t optime;

    if (c->status_exists)
        return;
    if (pgv_parse_u64(pgv_str_trim(e->value), &optime))
        c->status_optime = optime;
    else
        complain(e, "no number");
}

/* ---- failover ------------------------------------------------------------------------------- */

/* An absent, null or otherwise false field names nobody; anything but a usable name is refused, so
 * that an unreadable 'leader' never turns a switchover into a failover. */
static bool read_target(const struct pgv_value *v, char name[PGV_NAME_BYTES])
{
    if (!pgv_truthy(v))
        return true;
    return pgv_is(v, PGV_STRING) && copy_name(name, PGV_NAME_BYTES, v->u.s);
}

/* 'leader:candidate', as before 1.1; the candidate is optional. */
static void read_legacy_failover(struct entry *e)
{
    struct dcs_failover *f = &e->s->cluster.failover;
    struct pgv_str leader, candidate = { 0 }, rest;

    if (pgv_str_cut(e->value, ':', &leader, &candidate))
        (void)pgv_str_cut(candidate, ':', &candidate, &rest);
    if (!copy_name(f->leader, sizeof(f->leader), pgv_str_trim(leader)) ||
        !copy_name(f->candidate, sizeof(f->candidate), pgv_str_trim(candidate))) {
        f->leader[0] = f->candidate[0] = 0;
        complain(e, "names longer than any member's");
    }
}

/* A moment that cannot be read is 'no valid schedule'; it never breaks the view as in Patroni. */
static void read_schedule(struct entry *e, const struct pgv_value *v)
{
    struct dcs_failover *f = &e->s->cluster.failover;

    if (!pgv_truthy(v))
        return;
    f->scheduled = true;
    pgv_copy_cut(f->schedule_text, sizeof(f->schedule_text), pgv_string(v));
    f->schedule_valid = pgv_parse_moment(pgv_string(v), &f->scheduled_wall_us,
                                         &f->schedule_has_zone, &f->schedule_offset_s);
    if (!f->schedule_valid)
        complain(e, "a scheduled_at that is no moment");
}

/* Source: Failover.from_node(). */
static void put_failover(struct entry *e)
{
    struct dcs_failover *f = &e->s->cluster.failover;
    struct pgv_value *v;

    f->exists = true;
    if (!copy_version(f->version, e->version))
        e->s->failed = true;
    if (!e->value.n)
        return;
    v = parse(e, e->value);
    if (!v && !e->s->failed) {
        read_legacy_failover(e);
    } else if (pgv_is(v, PGV_MAP)) {
        e->s->failover = v;
        if (!read_target(pgv_get(v, "leader"), f->leader) ||
            !read_target(pgv_get(v, "member"), f->candidate)) {
            f->leader[0] = f->candidate[0] = 0;
            complain(e, "a name that is none");
        }
        read_schedule(e, pgv_get(v, "scheduled_at"));
    } else if (!pgv_is(v, PGV_NULL)) {
        complain(e, "no JSON object");
    }
    f->present = f->leader[0] || f->candidate[0];
}

/* ---- sync ----------------------------------------------------------------------------------- */

static void sync_is_garbage(struct entry *e, const char *why)
{
    struct dcs_sync *s = &e->s->cluster.sync;

    s->garbage = true;
    s->leader[0] = 0;
    s->quorum = 0;
    s->n = 0;
    complain(e, why);
}

/* Source: SyncState.from_node(). Nothing, null and an object without leader are the empty state. */
static void put_sync(struct entry *e)
{
    struct dcs_sync *s = &e->s->cluster.sync;
    const struct pgv_value *leader, *quorum, *standbys;
    struct pgv_value *v;
    struct pgv_str name, rest;
    int64_t votes = 0;
    bool more;

    s->exists = true;
    if (!copy_version(s->version, e->version))
        e->s->failed = true;
    if (!e->value.n)
        return;
    v = parse(e, e->value);
    if (pgv_is(v, PGV_NULL))
        return;
    if (!pgv_is(v, PGV_MAP)) {
        sync_is_garbage(e, "no JSON object");
        return;
    }
    e->s->sync = v;
    leader = pgv_get(v, "leader");
    quorum = pgv_get(v, "quorum");
    standbys = pgv_get(v, "sync_standby");
    if (!pgv_truthy(leader))
        return;
    if (!pgv_is(leader, PGV_STRING) || !copy_name(s->leader, sizeof(s->leader), leader->u.s)) {
        sync_is_garbage(e, "a leader that is no name");
        return;
    }
    if (pgv_truthy(quorum) && (!pgv_to_int(quorum, &votes) || votes < 0 || votes > 1000)) {
        sync_is_garbage(e, "a quorum that is no number of votes");
        return;
    }
    s->quorum = (int)votes;
    if (pgv_truthy(standbys) && !pgv_is(standbys, PGV_STRING)) {
        sync_is_garbage(e, "a sync_standby that is no text");
        return;
    }
    rest = pgv_string(standbys);
    do {
        more = pgv_str_cut(rest, ',', &name, &rest);
        name = pgv_str_trim(name);
        if (!name.n)
            continue;
        if (s->n == DCS_SYNC_NAMES_MAX) {
            complain(e, "more synchronous standbys than we can hold; the rest is left out");
            break;
        }
        if (copy_name(s->voters[s->n], PGV_NAME_BYTES, name))
            s->n++;
        else
            complain(e, "a standby whose name is too long; it is left out");
    } while (more);
}

/* ---- history, failsafe ---------------------------------------------------------------------- */

/* Source: TimelineHistory.from_node(), Cluster.timeline: exactly '[]' is timeline 1. */
static void put_history(struct entry *e)
{
    struct dcs_cluster *c = &e->s->cluster;
    struct pgv_value *v = parse(e, e->value);
    const struct pgv_value *last;
    int64_t tl;

    c->history_exists = true;
    if (!pgv_is(v, PGV_LIST)) {
        complain(e, "no JSON array");
        return;
    }
    e->s->history = v;
    c->history_lines = (unsigned)v->u.c.n;
    last = v->u.c.last;
    if (!last) {
        c->history_timeline = pgv_str_eqz(e->value, "[]") ? 1 : 0;
        return;
    }
    if (!pgv_is(last, PGV_LIST) || !pgv_to_int(pgv_value_first(last), &tl) || tl < 0 ||
        tl >= UINT32_MAX) {
        complain(e, "a last line without a timeline");
        return;
    }
    c->history_last_tl = (uint32_t)tl;
    c->history_timeline = (uint32_t)tl + 1;
    c->history_last_fields = (unsigned)last->u.c.n;
}

static void put_failsafe(struct entry *e)
{
    struct dcs_cluster *c = &e->s->cluster;
    struct pgv_value *v = parse(e, e->value);

    if (!pgv_is(v, PGV_MAP)) {
        c->failsafe_garbage = !pgv_is(v, PGV_NULL);
        if (c->failsafe_garbage)
            complain(e, "no JSON object");
        return;
    }
    e->s->failsafe = v;
    c->failsafe_exists = true;
    PGV_EACH(item, v)
    {
        if (c->n_failsafe == DCS_MEMBERS_MAX) {
            c->failsafe_garbage = true;
            complain(e, "more members than we can hold");
            break;
        }
        if (!copy_name(c->failsafe[c->n_failsafe].name, PGV_NAME_BYTES, item->key)) {
            c->failsafe_garbage = true;
            complain(e, "a member whose name is too long");
            continue;
        }
        /* A member without a usable URL stays in the list: it must be asked and cannot agree. */
        copy_url(e, c->failsafe[c->n_failsafe].api_url, pgv_string(item));
        c->n_failsafe++;
    }
}

/* ---- the snapshot --------------------------------------------------------------------------- */

static void begin(struct dcs_snapshot *s)
{
    s->cluster.empty = true;
    pgv_arena_init(&s->arena, DCS_SNAPSHOT_BYTES_MAX);
}

void dcs_snapshot_init(struct dcs_snapshot *s)
{
    memset(s, 0, sizeof(*s));
    begin(s);
}

void dcs_snapshot_reset(struct dcs_snapshot *s)
{
    dcs_snapshot_done(s);
    begin(s);
}

void dcs_snapshot_done(struct dcs_snapshot *s)
{
    if (!s)
        return;
    pgv_arena_done(&s->arena);
    pgv_zero(s, sizeof(*s));
}

/** '12/leader': a key of group 12. */
static void note_group(struct dcs_snapshot *s, struct pgv_str key)
{
    struct pgv_str head, rest;
    uint64_t group;

    if (!pgv_str_cut(key, '/', &head, &rest) || !pgv_parse_u64(head, &group) || group > INT32_MAX)
        return;
    for (unsigned i = 0; i < s->n_groups; i++)
        if (s->groups[i] == (int64_t)group)
            return;
    if (s->n_groups < DCS_GROUPS_MAX)
        s->groups[s->n_groups++] = (int64_t)group;
}

void dcs_snapshot_put(struct dcs_snapshot *s, struct pgv_str key, struct pgv_str value,
                      const char *version, const char *session)
{
    static const struct {
        const char *key;
        void (*put)(struct entry *e);
    } readers[] = {
        { "initialize", put_initialize },
        { "config", put_config },
        { "leader", put_leader },
        { "status", put_status },
        { "optime/leader", put_optime },
        { "failover", put_failover },
        { "sync", put_sync },
        { "history", put_history },
        { "failsafe", put_failsafe },
    };
    struct entry e = { s, key, value, version ? version : "", session ? session : "" };

    s->cluster.empty = false;
    if (pgv_str_starts(key, "members/")) {
        put_member(&e, (struct pgv_str){ key.p + 8, key.n - 8 });
        return;
    }
    for (size_t i = 0; i < sizeof(readers) / sizeof(*readers); i++)
        if (pgv_str_eqz(key, readers[i].key))
            readers[i].put(&e);
    note_group(s, key);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct dcs_member *)a)->name, ((const struct dcs_member *)b)->name);
}

void dcs_snapshot_finish(struct dcs_snapshot *s)
{
    struct dcs_cluster *c = &s->cluster;

    qsort(c->members, c->n_members, sizeof(c->members[0]), by_name);
}

const struct dcs_member *dcs_find_member(const struct dcs_cluster *c, const char *name)
{
    for (unsigned i = 0; i < c->n_members; i++)
        if (!strcmp(c->members[i].name, name))
            return &c->members[i];
    return NULL;
}

const struct dcs_member *dcs_leader_member(const struct dcs_cluster *c)
{
    return c->has_leader ? dcs_find_member(c, c->leader) : NULL;
}

bool dcs_sync_matches(const struct dcs_sync *s, const char *name, bool with_leader)
{
    if (!s->leader[0] || !name[0])
        return false;
    if (with_leader && !strcasecmp(s->leader, name))
        return true;
    for (unsigned i = 0; i < s->n; i++)
        if (!strcasecmp(s->voters[i], name))
            return true;
    return false;
}
