/* SPDX-License-Identifier: PostgreSQL */
/*
 * tests/sim/html.c - one run as a picture: what was noted, as data, put into timeline.html.
 *
 * Everything the page shows comes from here; the page needs nothing else and no network.
 */
#include "tests/sim/sim.h"

#include <errno.h>
#include <string.h>

static void put_string(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < 0x20 || c == '<' || c == '>' || c == '&')
            fprintf(to, "\\u%04x", c);
        else
            fputc(c, to);
    }
    fputc('"', to);
}

static void put_faults(FILE *to, const struct sim_plan *p)
{
    bool more = false;

    fprintf(to, "\"faults\":[");
    for (unsigned i = 0; i < p->n_faults; i++) {
        const struct sim_fault *f = &p->faults[i];

        if (f->off)
            continue;
        fprintf(to, "%s[%llu,%llu,%d,\"%s\",%lld]", more ? "," : "",
                (unsigned long long)(f->at_us / SIM_MS), (unsigned long long)(f->dur_us / SIM_MS),
                f->node, fault_name(f->kind), (long long)f->arg);
        more = true;
    }
    fprintf(to, "],");
}

static void put_data(FILE *to, const struct sim *s, const char *title)
{
    const struct sim_config *c = &s->plan.config;

    fprintf(to, "{\"title\":");
    put_string(to, title);
    fprintf(to, ",\"seed\":%llu,\"nodes\":%u,\"end\":%llu,\"from\":%llu,",
            (unsigned long long)s->plan.seed, s->n, (unsigned long long)(s->now_us / SIM_MS),
            (unsigned long long)(s->plan.faults_from_us / SIM_MS));
    fprintf(to, "\"config\":\"ttl %llu s, loop_wait %llu s, retry_timeout %llu s\",",
            (unsigned long long)(c->ttl_ms / 1000), (unsigned long long)(c->loop_wait_ms / 1000),
            (unsigned long long)(c->retry_timeout_ms / 1000));
    fprintf(to, "\"bad\":");
    put_string(to, s->check.violations ? check_rule_name(s->check.rule) : "");
    fputc(',', to);
    put_faults(to, &s->plan);
    fprintf(to, "\"marks\":[");
    for (unsigned i = 0; i < s->n_marks; i++) {
        fprintf(to, "%s[%llu,%d,%u,", i ? ",\n" : "", (unsigned long long)(s->marks[i].us / SIM_MS),
                s->marks[i].node, s->marks[i].what);
        put_string(to, s->marks[i].text);
        fputc(']', to);
    }
    fprintf(to, "]}");
}

bool html_write(const struct sim *s, const char *path, const char *title, struct pgv_error *err)
{
    static const char slot[] = "/*DATA*/null";
    static char page[64 * 1024];
    FILE *from = fopen(SIM_SOURCE_DIR "/timeline.html", "r"), *to = NULL;
    char *at;
    size_t n;
    bool ok = false;

    if (!from) {
        (void)pgv_fail_sys(err, errno, "timeline.html");
        goto out;
    }
    n = fread(page, 1, sizeof(page) - 1, from);
    page[n] = 0;
    at = strstr(page, slot);
    to = at ? fopen(path, "w") : NULL;
    if (!to) {
        (void)pgv_fail_sys(err, errno, "cannot write");
        goto out;
    }
    fwrite(page, 1, (size_t)(at - page), to);
    put_data(to, s, title);
    fputs(at + sizeof(slot) - 1, to);
    ok = fflush(to) == 0 || pgv_fail_sys(err, errno, "cannot write");
out:
    if (from)
        fclose(from);
    if (to)
        fclose(to);
    return ok;
}
