/* SPDX-License-Identifier: PostgreSQL */
/* http/percent.c - %XX decoded (RFC 3986, section 2.1). */
#include "http/percent.h"

#include "base/banned.h"

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool percent_decode(struct pgv_str s, bool plus_is_blank, char *ret, size_t ret_bytes)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == '+' && plus_is_blank) {
            c = ' ';
        } else if (c == '%' && i + 2 < s.n && hex_of(s.p[i + 1]) >= 0 && hex_of(s.p[i + 2]) >= 0) {
            c = (char)(hex_of(s.p[i + 1]) << 4 | hex_of(s.p[i + 2]));
            i += 2;
        }
        if (c == '\0' || n + 1 >= ret_bytes)
            return false;
        ret[n++] = c;
    }
    ret[n] = '\0';
    return true;
}
