/* SPDX-License-Identifier: PostgreSQL */
/*
 * dcs/dcs.c - the wrappers around a store's table of functions: preconditions once for all of them.
 */
#include "dcs/dcs.h"

#include "base/clock.h"

#include "base/banned.h"

/* Source: Patroni, dcs.dcs_modules(): sorted by name, the first section that is there wins. */
static const struct dcs_ops *const stores[] = { &dcs_etcd3_ops };

const struct dcs_ops *dcs_find_ops(const struct pgv_value *config,
                                   const struct pgv_value **ret_section)
{
    for (size_t i = 0; i < sizeof(stores) / sizeof(*stores); i++) {
        const struct pgv_value *section = pgv_get(config, stores[i]->name);

        if (pgv_is(section, PGV_MAP)) {
            *ret_section = section;
            return stores[i];
        }
    }
    *ret_section = NULL;
    return NULL;
}

bool dcs_open(struct dcs *dcs, uv_loop_t *loop, const struct dcs_ops *ops,
              const struct dcs_config *config, struct pgv_error *err)
{
    PGV_ASSERT(config->name && config->scope && config->ttl_ms && config->loop_wait_ms &&
               config->retry_timeout_ms);
    dcs->ops = ops;
    dcs->config = *config;
    dcs->view = NULL;
    dcs->view_live = false;
    dcs->last_seen_ms = 0;
    dcs->last_seen_wall_us = 0;
    dcs->loop = loop;
    dcs->impl = NULL;
    dcs->closing = false;
    dcs->close_cb = NULL;
    return ops->open(dcs, err);
}

void dcs_close(struct dcs *dcs, void (*cb)(struct dcs *dcs))
{
    PGV_ASSERT(!dcs->closing);
    dcs->closing = true;
    dcs->close_cb = cb;
    dcs->ops->close(dcs);
}

void dcs_closed(struct dcs *dcs)
{
    dcs->impl = NULL;
    dcs->view = NULL;
    dcs->view_live = false;
    dcs->close_cb(dcs);
}

void dcs_submit(struct dcs *dcs, struct dcs_req *req, dcs_reply_cb cb)
{
    PGV_ASSERT(!dcs->closing);
    PGV_ASSERT(req->deadline_ms);
    req->sent_ms = 0;
    req->new_version[0] = 0;
    req->dcs = dcs;
    req->cb = cb;
    req->impl = NULL;
    req->next = NULL;
    dcs->ops->submit(dcs, req);
}

void dcs_cancel(struct dcs_req *req)
{
    req->dcs->ops->cancel(req->dcs, req);
}

void dcs_set_times(struct dcs *dcs, uint64_t ttl_ms, uint64_t loop_wait_ms,
                   uint64_t retry_timeout_ms)
{
    struct dcs_config *c = &dcs->config;

    PGV_ASSERT(ttl_ms && loop_wait_ms && retry_timeout_ms);
    if (c->ttl_ms == ttl_ms && c->loop_wait_ms == loop_wait_ms &&
        c->retry_timeout_ms == retry_timeout_ms)
        return;
    c->ttl_ms = ttl_ms;
    c->loop_wait_ms = loop_wait_ms;
    c->retry_timeout_ms = retry_timeout_ms;
    dcs->ops->set_times(dcs);
}

bool dcs_reload(struct dcs *dcs, const struct pgv_value *section, struct pgv_error *err)
{
    const struct pgv_value *old = dcs->config.section;

    dcs->config.section = section;
    if (dcs->ops->reload(dcs, err))
        return true;
    dcs->config.section = old;
    return false;
}

const char *dcs_op_name(enum dcs_op op)
{
    switch (op) { /* no default: the compiler names the one we forgot */
    case DCS_READ:
        return "read";
    case DCS_TOUCH_MEMBER:
        return "touch member";
    case DCS_ACQUIRE_LEADER:
        return "acquire leader";
    case DCS_TAKE_LEADER:
        return "take leader";
    case DCS_RENEW_LEADER:
        return "renew leader";
    case DCS_RELEASE_LEADER:
        return "release leader";
    case DCS_CREATE_INITIALIZE:
        return "create initialize";
    case DCS_SET_INITIALIZE:
        return "set initialize";
    case DCS_DELETE_INITIALIZE:
        return "delete initialize";
    case DCS_SET_CONFIG:
        return "set config";
    case DCS_SET_FAILOVER:
        return "set failover";
    case DCS_SET_SYNC:
        return "set sync";
    case DCS_DELETE_SYNC:
        return "delete sync";
    case DCS_SET_HISTORY:
        return "set history";
    case DCS_SET_STATUS:
        return "set status";
    case DCS_SET_FAILSAFE:
        return "set failsafe";
    case DCS_DELETE_CLUSTER:
        return "delete cluster";
    }
    return "?";
}
