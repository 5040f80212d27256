/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent/validate_value.c - --validate-config: is a single value of the right kind and size?
 *
 * The words are Patroni's; which of them comes for which mistake follows its validator.py: some
 * options are looked at for their type first ('is not a string'), others only as a whole
 * ("didn't pass validation: Wrong value").
 */
#include "agent/validate_private.h"

#include "base/parse.h"
#include "base/vocabulary.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

#include "base/banned.h"

static bool has_word(const char *words, struct pgv_str s, bool nocase)
{
    struct pgv_str rest = pgv_str(words), word, tail;

    while (rest.n > 0) {
        tail = (struct pgv_str){ 0 };
        if (!pgv_str_cut(rest, ' ', &word, &tail))
            tail = (struct pgv_str){ 0 };
        rest = tail;
        if (word.n == s.n &&
            (nocase ? strncasecmp(word.p, s.p, s.n) : memcmp(word.p, s.p, s.n)) == 0)
            return true;
    }
    return false;
}

static void wrong_number(struct validate_check *k, const struct pgv_value *v)
{
    const struct validate_option *o = k->o;
    const char *unit = o->unit, *blank = *unit ? " " : "";
    char hint[128];

    if (o->kind == POSITIVE)
        (void)snprintf(hint, sizeof(hint), "a number above 0%s%s", blank, unit);
    else if (o->kind == REAL)
        (void)snprintf(hint, sizeof(hint), "a number of at least 0%s%s", blank, unit);
    else if (o->least == INT64_MIN)
        (void)snprintf(hint, sizeof(hint), "a number of at most %lld%s%s", (long long)o->most,
                       blank, unit);
    else if (o->most >= INT32_MAX)
        (void)snprintf(hint, sizeof(hint), "a number of at least %lld%s%s", (long long)o->least,
                       blank, unit);
    else
        (void)snprintf(hint, sizeof(hint), "a number from %lld to %lld%s%s", (long long)o->least,
                       (long long)o->most, blank, unit);
    validate_bad(k, v, INVALID "Wrong value", hint);
}

static void check_integer(struct validate_check *k, const struct pgv_value *v)
{
    const struct validate_option *o = k->o;
    const char *unit = o->kind == TIME ? "s" : o->kind == SIZE ? "B" : NULL;
    bool bounded = o->least != INT64_MIN || o->most != INT64_MAX;
    int64_t i;

    if (o->kind == INT && !pgv_is(v, PGV_INT) && !pgv_is(v, PGV_BOOL)) {
        validate_bad(k, v, "is not an integer", "a whole number without quotes");
        return;
    }
    if (!bounded) /* the type alone counts, and a boolean is an integer in Python */
        return;
    i = pgv_int_like(v, unit, INT64_MIN);
    if (i == INT64_MIN || i < o->least || i > o->most)
        wrong_number(k, v);
    else if (strcmp(k->path, "thread_stack_size") == 0 && i % 65536 != 0)
        validate_bad(k, v, INVALID "Wrong value", "a multiple of 65536");
}

static void check_real(struct validate_check *k, const struct pgv_value *v)
{
    double d = -1;

    if (pgv_is(v, PGV_INT))
        d = (double)v->u.i;
    else if (pgv_is(v, PGV_REAL))
        d = v->u.d;
    else if (!pgv_is(v, PGV_STRING) || !pgv_parse_real(pgv_string(v), NULL, &d))
        d = -1;
    if (k->o->kind == POSITIVE ? !(d > 0) : !(d >= 0)) /* so that NaN is wrong, too */
        wrong_number(k, v);
}

static void check_list(struct validate_check *k, const struct pgv_value *v)
{
    bool maps = k->o->kind == OPTIONS || k->o->kind == OPTIONS_MAP;
    unsigned i = 0;

    if (k->o->kind == OPTIONS_MAP && (pgv_is(v, PGV_MAP) || !pgv_truthy(v)))
        return;
    if (!pgv_is(v, PGV_LIST)) {
        validate_bad(k, v, "is not a list", "a list, each item on a line with '- '");
        return;
    }
    if (!v->u.c.first && k->o->kind != ANYLIST)
        validate_bad(k, v, "is an empty list", "leave the key out instead");
    PGV_EACH(item, v)
    {
        if (k->o->kind != ANYLIST && !pgv_is(item, PGV_STRING) &&
            !(maps && pgv_is(item, PGV_MAP))) {
            validate_bad_item(k, item, i, "", "is not a string", "put it into quotes");
            if (maps)
                validate_bad_item(k, item, i, "", "is not a dictionary", "or make it 'option: x'");
        }
        i++;
    }
}

/* kubernetes.ports */
static void check_ports(struct validate_check *k, const struct pgv_value *v)
{
    unsigned i = 0;

    if (!pgv_is(v, PGV_LIST)) {
        validate_bad(k, v, "is not a list", "a list of name and port");
        return;
    }
    if (!v->u.c.first)
        validate_bad(k, v, "is an empty list", "leave the key out instead");
    PGV_EACH(item, v)
    {
        const struct pgv_value *name = pgv_get(item, "name"), *port = pgv_get(item, "port");

        if (!pgv_is(item, PGV_MAP)) {
            validate_bad_item(k, item, i++, "", "is not a dictionary", "keys name and port");
            continue;
        }
        if (!name)
            validate_bad_item(k, item, i, ".name", "is not defined.", "name of the port");
        else if (!pgv_is(name, PGV_STRING))
            validate_bad_item(k, item, i, ".name", "is not a string", "put it into quotes");
        if (!port)
            validate_bad_item(k, item, i, ".port", "is not defined.", "number of the port");
        else if (!pgv_is(port, PGV_INT) && !pgv_is(port, PGV_BOOL))
            validate_bad_item(k, item, i, ".port", "is not an integer",
                              "a whole number without quotes");
        else if (!pgv_is(port, PGV_INT) || port->u.i > 65535)
            validate_bad_item(k, item, i, ".port", INVALID "Wrong value", "at most 65535");
        i++;
    }
}

/* kubernetes.retriable_http_codes */
static void check_codes(struct validate_check *k, const struct pgv_value *v)
{
    unsigned i = 0;
    bool wrong = false;

    if (pgv_is(v, PGV_INT) || pgv_is(v, PGV_BOOL))
        return;
    if (!pgv_is(v, PGV_LIST)) {
        validate_bad(k, v, "is not an integer", "one status, or a list of them");
        validate_bad(k, v, "is not a list", "one status, or a list of them");
        return;
    }
    if (!v->u.c.first)
        validate_bad(k, v, "is an empty list", "leave the key out instead");
    PGV_EACH(item, v)
    {
        wrong = wrong || (!pgv_is(item, PGV_INT) && !pgv_is(item, PGV_BOOL));
    }
    if (wrong)
        validate_bad(k, v, "is not an integer", "one status, or a list of them");
    PGV_EACH(item, v)
    {
        if (!pgv_is(item, PGV_INT) && !pgv_is(item, PGV_BOOL))
            validate_bad_item(k, item, i, "", "is not an integer", "a whole number without quotes");
        i++;
    }
}

static void check_ip(struct validate_check *k, const struct pgv_value *v)
{
    const char *text = pgv_stringz(v);
    struct in6_addr in6;
    struct in_addr in;

    if (text && (inet_aton(text, &in) == 1 || inet_pton(AF_INET6, text, &in6) == 1))
        return;
    validate_bad(k, v, INVALID "Is not a valid ipv4 address", "a numeric address");
    validate_bad(k, v, INVALID "Is not a valid ipv6 address", "a numeric address");
}

/* log.format: a text, or a list of fields and of maps that rename one field. */
static void check_format(struct validate_check *k, const struct pgv_value *v)
{
    static const char hint[] = "a format, or a list of fields";

    if (pgv_is(v, PGV_STRING))
        return;
    if (!pgv_is(v, PGV_LIST)) {
        validate_bad(k, v, INVALID "Should be a string or a list", hint);
        return;
    }
    if (!v->u.c.first) {
        validate_bad(k, v, INVALID "should contain at least one item", hint);
        return;
    }
    PGV_EACH(item, v)
    {
        const struct pgv_value *only = pgv_value_first(item);

        if (pgv_is(item, PGV_STRING) ||
            (pgv_is(item, PGV_MAP) && only && !only->next && pgv_is(only, PGV_STRING)))
            continue;
        validate_bad(k, v,
                     INVALID "each item should be a string or a dictionary with string values",
                     "'field', or 'field: its new name'");
        return;
    }
}

/* Whatever reads as a boolean passes, the number 1 as well. */
static void check_sync(struct validate_check *k, const struct pgv_value *v)
{
    struct pgv_buf text;
    bool b, ok = false;

    pgv_buf_init(&text, 4096);
    if (!pgv_is(v, PGV_MAP) && !pgv_is(v, PGV_LIST) && pgv_value_text(&text, v))
        ok = pgv_parse_bool(pgv_buf_view(&text), &b) ||
             (pgv_is(v, PGV_STRING) && has_word("quorum", pgv_buf_view(&text), true));
    pgv_buf_done(&text);
    if (!ok)
        validate_bad(k, v, INVALID "invalid value for synchronous_mode", "true, false or quorum");
}

static void check_string(struct validate_check *k, const struct pgv_value *v)
{
    if (!pgv_is(v, PGV_STRING))
        validate_bad(k, v, "is not a string", "put it into quotes");
    else if (strcmp(k->path, "name") == 0 && pgv_str_eqz(pgv_string(v), PGV_NAME_PLACEHOLDER))
        validate_bad(k, v, INVALID "Node 'name' can't be set to '" PGV_NAME_PLACEHOLDER "'",
                     "this name is reserved");
}

static void check_word(struct validate_check *k, const struct pgv_value *v)
{
    char hint[160];

    (void)snprintf(hint, sizeof(hint), "one of: %s", k->o->words);
    if (!pgv_is(v, PGV_STRING) || !has_word(k->o->words, pgv_string(v), k->o->kind == WORD_NOCASE))
        validate_bad(k, v, INVALID "Wrong value", hint);
}

void validate_value(struct validate_check *k, const struct pgv_value *v)
{
    switch (k->o->kind) {
    case STR:
        check_string(k, v);
        return;
    case INT:
    case NUM:
    case TIME:
    case SIZE:
        check_integer(k, v);
        return;
    case REAL:
    case POSITIVE:
        check_real(k, v);
        return;
    case BOOL:
        if (!pgv_is(v, PGV_BOOL))
            validate_bad(k, v, "is not a boolean", "true or false, without quotes");
        return;
    case SYNC:
        check_sync(k, v);
        return;
    case WORD_OR_FALSE:
        if (pgv_is(v, PGV_BOOL) && !v->u.b)
            return;
        if (!pgv_is(v, PGV_BOOL) && !pgv_is(v, PGV_STRING)) {
            validate_bad(k, v, INVALID "expected type is not a string",
                         "off, automatic or required");
            return;
        }
        check_word(k, v);
        return;
    case WORD:
    case WORD_NOCASE:
        check_word(k, v);
        return;
    case FORMAT:
        check_format(k, v);
        return;
    case LIST:
    case ANYLIST:
    case OPTIONS:
    case OPTIONS_MAP:
        check_list(k, v);
        return;
    case MAP:
    case SECTION:
    case TAGS:
        if (!pgv_is(v, PGV_MAP))
            validate_bad(k, v, "is not a dictionary", "keys with values, indented below it");
        return;
    case LISTEN:
    case LISTENS:
    case CONNECT:
    case REACH:
        validate_address(k, v);
        return;
    case HOSTS:
    case ADDRS:
        validate_hosts(k, v);
        return;
    case IP:
        check_ip(k, v);
        return;
    case PORTS:
        check_ports(k, v);
        return;
    case CODES:
        check_codes(k, v);
        return;
    case DATA_DIR:
        validate_data_dir(k, v);
        return;
    case BIN_DIR:
        validate_bin_dir(k, v);
        return;
    case BIN:
        validate_bin(k, v);
        return;
    case ANYTHING:
        return;
    }
}
