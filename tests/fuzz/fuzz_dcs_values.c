/* links: pgvigil_dcs */
/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/fuzz/fuzz_dcs_values.c - what others wrote into the DCS: lines of 'key value', each value
 * with \n for a newline inside, become a snapshot, which is then shown.
 */
#include "base/log.h"
#include "dcs/cluster.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

static struct dcs_snapshot snap;

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
    struct pgv_str rest = { (const char *)data, n }, line, key, value;
    struct pgv_arena a;
    bool more;

    pgv_log_configure_ctl(PGV_CRITICAL);
    dcs_snapshot_init(&snap);
    do {
        more = pgv_str_cut(rest, '\n', &line, &rest);
        if (!pgv_str_cut(line, ' ', &key, &value))
            value = (struct pgv_str){ 0 };
        dcs_snapshot_put(&snap, key, value, "1", "2");
    } while (more);
    dcs_snapshot_finish(&snap);
    pgv_arena_init(&a, 1 << 20);
    (void)dcs_cluster_to_json(&a, &snap, NULL, "main");
    for (unsigned i = 0; i < snap.cluster.n_members; i++)
        PGV_ASSERT(dcs_find_member(&snap.cluster, snap.cluster.members[i].name) != NULL);
    pgv_arena_done(&a);
    dcs_snapshot_done(&snap);
    return 0;
}
