/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_config.c - the dynamic configuration: GET, PATCH (compare-and-swap), PUT (blind).
 *
 * Names and values of options are not judged here; any agent of the cluster, of any version, will
 * read them. Only a document that every agent would refuse as a whole is turned down, because it
 * would silently leave the cluster on the old one (rest contract §7).
 */
#include "agent/rest.h"

#include <stdio.h>

#include "base/banned.h"

#define CONFIG_BYTES_MAX (2u << 20) /* of the document as it is written */

struct config_call {
    struct rest_call call; /* first */
    struct pgv_value *merged;
};

/* ---- GET -------------------------------------------------------------------------------- */

static void on_config(struct rest_call *c, const struct pgv_error *err)
{
    const struct dcs_snapshot *s = c->rest->agent->dcs.view;

    (void)err;
    if (s->config)
        rest_call_json(c, 200, s->config);
    else
        rest_call_error(c, 502, "there is no valid /config key in the store");
}

void rest_get_config(struct rest *r, struct httpd_req *req)
{
    const struct dcs_snapshot *view = rest_cached_cluster(r->agent);
    struct rest_call *c;

    if (view && view->config) {
        rest_reply_json(r, req, 200, view->config);
        return;
    }
    if (view) {
        rest_reply_error(r, req, 502, "there is no valid /config key in the store");
        return;
    }
    c = rest_call_new(r, req, sizeof(*c));
    if (c)
        rest_call_read(c, on_config);
}

/* ---- writing ---------------------------------------------------------------------------- */

/* Submit @document as the new value; a failure to do so is answered. */
static void write_document(struct rest_call *c, const struct pgv_value *document,
                           const char *version,
                           void (*step)(struct rest_call *c, const struct pgv_error *err))
{
    struct pgv_buf text;

    pgv_buf_init(&text, CONFIG_BYTES_MAX);
    if (!pgv_json_write(&text, document, PGV_JSON_COMPACT)) {
        pgv_buf_done(&text);
        rest_call_error(c, 503, "out of memory, or the document is too large");
        return;
    }
    rest_call_write(c, DCS_SET_CONFIG, pgv_buf_view(&text), version, step);
    pgv_buf_done(&text);
}

static bool refuse_unacceptable(struct rest_call *c, const struct pgv_value *document)
{
    struct pgv_error err = { 0 };
    char why[PGV_ERROR_MSG_BYTES + 64];

    if (agent_config_acceptable(document, &err))
        return false;
    snprintf(why, sizeof(why), "nothing was changed, no member could use this document: %s",
             err.msg);
    rest_call_error(c, 400, why);
    return true;
}

static void on_patched(struct rest_call *c, const struct pgv_error *err)
{
    struct config_call *k = (struct config_call *)c;
    struct agent *a = c->rest->agent;

    if (err && err->code == PGV_EUNREACHABLE) {
        rest_call_error(c, 503,
                        "the store did not answer: the change may or may not have been made");
        return;
    }
    if (err) {
        rest_call_error(c, 409, "the configuration was changed by somebody else meanwhile");
        return;
    }
    agent_wake(a);
    rest_call_json(c, 200, k->merged);
}

static void on_read_for_patch(struct rest_call *c, const struct pgv_error *err)
{
    struct config_call *k = (struct config_call *)c;
    struct agent *a = c->rest->agent;
    const struct dcs_snapshot *s = a->dcs.view;
    struct pgv_error patch_err = { 0 };
    bool changed = false;

    (void)err;
    if (!s->config || !s->cluster.config_version[0]) {
        rest_call_error(c, 503, "there is no valid /config key in the store");
        return;
    }
    k->merged = pgv_value_copy(&c->arena, s->config);
    if (!k->merged || !pgv_value_patch(&c->arena, k->merged, c->body, &changed, &patch_err)) {
        rest_call_error(c, 503, "out of memory, or the document is too large");
        return;
    }
    if (!changed) {
        agent_wake(a);
        rest_call_json(c, 200, k->merged);
        return;
    }
    if (!refuse_unacceptable(c, k->merged))
        write_document(c, k->merged, s->cluster.config_version, on_patched);
}

void rest_patch_config(struct rest *r, struct httpd_req *req)
{
    struct rest_call *c = rest_call_new(r, req, sizeof(struct config_call));

    if (c && rest_call_body(c, false))
        rest_call_read(c, on_read_for_patch);
}

static void on_put(struct rest_call *c, const struct pgv_error *err)
{
    if (err)
        rest_call_error(c, 502, "the store did not take the configuration");
    else
        rest_call_json(c, 200, c->body);
}

static void on_read_for_put(struct rest_call *c, const struct pgv_error *err)
{
    const struct dcs_snapshot *s = c->rest->agent->dcs.view;

    (void)err;
    if (s->config && pgv_value_same(s->config, c->body)) {
        rest_call_json(c, 200, c->body);
        return;
    }
    if (!refuse_unacceptable(c, c->body))
        write_document(c, c->body, "", on_put);
}

void rest_put_config(struct rest *r, struct httpd_req *req)
{
    struct rest_call *c = rest_call_new(r, req, sizeof(*c));

    if (c && rest_call_body(c, false))
        rest_call_read(c, on_read_for_put);
}
