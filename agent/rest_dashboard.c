/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/rest_dashboard.c - GET /dashboard: the status page, compiled into the program.
 *
 * The page is made of agent/dashboard/ by cmake/embed_dashboard.cmake. It only reads, and only from
 * the member that served it; its policy lets nothing else run or be loaded, whatever a member's
 * name or a status text may contain.
 */
#include "agent/rest.h"

#include <stdio.h>

#include "base/banned.h"

void rest_get_dashboard(struct rest *r, struct httpd_req *req)
{
    char headers[640];
    struct pgv_str page = { (const char *)rest_dashboard_html, rest_dashboard_html_bytes };

    snprintf(headers, sizeof(headers),
             "Content-Security-Policy: default-src 'none'; %s; connect-src 'self'; img-src data:; "
             "base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
             "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
             "Cache-Control: no-cache\r\n",
             rest_dashboard_hashes);
    rest_reply(r, req, 200, headers, "text/html;charset=utf-8", page);
}
