/* SPDX-License-Identifier: PostgreSQL */
/*
 * http/query.c - form-encoded queries as Python's parse_qs() reads them (contract of Patroni 4.1,
 * REST API, routing): only '&' separates, '+' and %XX are decoded, a broken escape stays as it
 * is, and a key with an empty value does not exist.
 */
#include "http/httpd.h"
#include "http/percent.h"

#include "base/banned.h"

#define QUERY_KEY_BYTES 128
#define QUERY_VALUE_BYTES 1024

/* The next pair with a value, still encoded; false at the end. */
static bool next_pair(struct pgv_str *query, struct pgv_str *ret_key, struct pgv_str *ret_value)
{
    while (query->n > 0) {
        struct pgv_str pair, rest;

        if (!pgv_str_cut(*query, '&', &pair, &rest))
            rest = (struct pgv_str){ 0 };
        *query = rest;
        if (pgv_str_cut(pair, '=', ret_key, ret_value) && ret_value->n > 0)
            return true;
    }
    return false;
}

bool httpd_query_get(struct pgv_str query, const char *key, char *ret, size_t ret_bytes)
{
    struct pgv_str k, v;
    char name[QUERY_KEY_BYTES];

    PGV_ASSERT(ret_bytes > 0);
    while (next_pair(&query, &k, &v)) {
        if (!percent_decode(k, true, name, sizeof(name)) || strcmp(name, key) != 0)
            continue;
        if (percent_decode(v, true, ret, ret_bytes))
            return true;
        break; /* the first value counts, even when it is one we cannot take */
    }
    ret[0] = '\0';
    return false;
}

void httpd_query_each(struct pgv_str query, void *data,
                      bool (*each)(void *data, const char *key, const char *value))
{
    char name[QUERY_KEY_BYTES], value[QUERY_VALUE_BYTES];
    struct pgv_str k, v;

    while (next_pair(&query, &k, &v)) {
        if (!percent_decode(k, true, name, sizeof(name)) ||
            !percent_decode(v, true, value, sizeof(value)))
            continue;
        if (!each(data, name, value))
            return;
    }
}
