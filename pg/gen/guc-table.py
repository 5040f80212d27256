#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""Makes pg/pgguc_table.c.

The dump is what a running server says of itself:

    psql -At -F $'\\t' -c "SELECT name, vartype, coalesce(unit, ''), coalesce(min_val, ''),
        coalesce(max_val, ''), coalesce(array_to_string(enumvals, '|'), ''), context
        FROM pg_catalog.pg_settings ORDER BY lower(name)" > pg/gen/guc-15.tsv

and guc-facts.txt adds the other versions. Then:

    pg/gen/guc-table.py > pg/pgguc_table.c && clang-format -i pg/pgguc_table.c

To move to a newer server: dump it, and take out of the facts what it now says by itself.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
OLDEST, OPEN = 90300, 10000000
UNITS = ["", "B", "kB", "8kB", "MB", "16MB", "ms", "s", "min"]
TYPES = {"bool": "PGGUC_BOOL", "integer": "PGGUC_INTEGER", "real": "PGGUC_REAL",
         "enum": "PGGUC_ENUM", "enumbool": "PGGUC_ENUM_BOOL", "string": "PGGUC_STRING"}


def read_facts(path):
    since, gone, rules, recovery, restart = {}, {}, {}, {}, {}
    for line in open(path):
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] in ("since", "gone"):
            for name in words[2:]:
                {"since": since, "gone": gone}[words[0]][name] = int(words[1])
            continue
        if words[0] == "restart":
            for name in words[3:]:
                restart[name] = (OLDEST if words[1] == "-" else int(words[1]),
                                 OPEN if words[2] == "-" else int(words[2]))
            continue
        kind, name, first, till, vartype, *rest = words
        rule = {"from": OLDEST if first == "-" else int(first),
                "till": OPEN if till == "-" else int(till), "type": vartype,
                "min": "0", "max": "0", "unit": "", "values": ""}
        if vartype in ("integer", "real"):
            rule["min"], rule["max"] = rest[:2]
            rule["unit"] = rest[2] if len(rest) > 2 else ""
        elif vartype in ("enum", "enumbool"):
            rule["values"] = rest[0]
        {"rule": rules, "recovery": recovery}[kind].setdefault(name, []).append(rule)
    return since, gone, rules, recovery, restart


def main():
    since, gone, rules, recovery, restart = read_facts(os.path.join(HERE, "guc-facts.txt"))
    for line in open(os.path.join(HERE, "guc-15.tsv")):
        name, vartype, unit, low, high, values, context = line.rstrip("\n").split("\t")
        name = name.lower()
        if context == "postmaster":
            restart.setdefault(name, (OLDEST, OPEN))
        if context == "internal" or name in rules or name in recovery:
            continue
        values = [v.lower() for v in values.split("|")] if values else []
        if vartype == "enum" and {"on", "off"} <= set(values):
            vartype = "enumbool"
            values = [v for v in values if v not in ("on", "off", "true", "false", "yes", "no", "1", "0")]
        number = vartype in ("integer", "real")
        rules[name] = [{"from": since.get(name, OLDEST), "till": gone.get(name, OPEN),
                        "type": vartype, "min": low if number else "0",
                        "max": high if number else "0", "unit": unit, "values": "|".join(values)}]
    for name in [*since, *restart]:
        assert name in rules or name in recovery, name
    lists = sorted({r["values"] for v in (rules, recovery) for rs in v.values() for r in rs
                    if r["values"]})
    out = sys.stdout
    out.write("""/* SPDX-License-Identifier: PostgreSQL */
/*
 * pg/pgguc_table.c - the parameters of PostgreSQL 9.3 to 19. Made by pg/gen/guc-table.py, which
 * says how; corrections belong into pg/gen/guc-facts.txt.
 */
#include "pg/pgguc_table.h"

/* clang-format off */
""")
    out.write("const char pgguc_units[][8] = {\n")
    for unit in UNITS:
        out.write('    "%s",\n' % unit)
    out.write("};\n\nconst char pgguc_lists[][PGGUC_LIST_BYTES] = {\n    \"\",\n")
    for text in lists:
        out.write('    "%s",\n' % text)
    out.write("};\n")
    for title, table in (("pgguc_general", rules), ("pgguc_recovery", recovery)):
        out.write("\n/* name, type, unit, values, from, till, restart from, till, min, max */\n")
        out.write("const struct pgguc_row %s[] = {\n" % title)
        count = 0
        for name in sorted(table):
            for r in table[name]:
                count += 1
                out.write('    { "%s", %s, %d, %d, %d, %d, %d, %d, %s, %s },\n' % (
                    name, TYPES[r["type"]], UNITS.index(r["unit"]),
                    1 + lists.index(r["values"]) if r["values"] else 0,
                    r["from"], r["till"], *restart.get(name, (0, 0)), r["min"], r["max"]))
        out.write("};\nconst unsigned %s_rows = %d;\n" % (title, count))
    out.write("/* clang-format on */\n")
    assert max(map(len, lists)) < 80 and max(map(len, rules)) < 44  # pgguc_table.h
    print("lists: %d, longest %d, longest name %d" % (
        1 + len(lists), max(map(len, lists)), max(map(len, rules))), file=sys.stderr)


main()
