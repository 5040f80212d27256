#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""Writes base_yaml_table.h: what PyYAML makes of documents, and how it writes values.

Run it with a Python that has PyYAML 6 and compare before committing:
    python3 base_yaml_table.py > base_yaml_table.h
"""
import datetime
import json

import yaml

SCALARS = """yes Yes YES no No NO on On ON off Off OFF true True TRUE false False FALSE y n Y N yEs tRUE
~ null Null NULL nULL 0 -0 +0 00 1 -1 +1 0644 0o644 08 0_7 0_8 010 -010 0x1F 0x1f 0X1F 0x_1 0xg 0b1 0b101 0b2 0B1
-0b11 -0x10 1_000 1__0 _1 1_ +_1 1:30 1:60 1:5 01:30 6:07 190:20:30 -1:30 22:5432 60:00 1:2:3:4 :30
9223372036854775807 -9223372036854775808 9223372036854775808 0xFFFFFFFFFFFFFFFF 0777777777777777777777777
1.5 1. .5 -.5 +.5 -1.5 +1.5 1.5e3 1.5e+3 1.5E-3 1e3 1e+3 1.e+3 .5e+3 1_0.5_0 1.2.3 1..2 ._5 1.0e+400 190:20:30.15 6:7.
.inf -.inf +.inf .Inf .INF .iNF .nan .NaN .NAN -.nan inf nan .
2001-01-01 2001-1-1 2001-12-14T21:59:43.10-05:00 2001-12-14t21:59:43Z 1.2.3.4 127.0.0.1:5432 1,000 12-34
foo a#b a:b :a -a --- ?a =a <<a %a host:80 http://a/b?c=d&e /var/lib/pg 100% C:\\x a\\nb it's say"so" \u00e9t\u00e9 0.0.0.0/0""".split()

DOCUMENTS = [
    '', ' ', '\n', '# only a comment\n', '---\n', '---\n...\n', 'a:', 'a: ', 'a: # comment', 'a: b # comment',
    'a: b#c', 'a: "b" # c', '- 1\n- a\n-\n- - x\n  - y\n', 'a:\n- 1\n- 2\nb: 3\n', 'a:\n  - 1\n  - {b: c, d: [e, f]}\n',
    '{a: 1, b: [x, y], c: {d: ~}}', '[]', '{}', '[a, [b, [c]], ]', '{a, b: }', '[h1:2379,h2:2379]', '{a: 1,b: 2}',
    "['h1:1','h2:2']", '{? a : b}', '? a\n: b\n', '? a\n', '? |\n  long\n: x\n',
    # quoting
    "'it''s'", '"a\\tb\\n\\x41\\u00e9\\U0001F418\\\\ \\" \\/ \\e \\0"', '"a\\\n   b"', '"a\n\n  b"', "'a\n  b\n\n  c'",
    'a: "1"\nb: \'yes\'\nc: "~"\n', 'foo\n  bar\n  baz', 'a: foo\n  bar\n\n  baz\nb: x\n',
    # block scalars
    'a: |\n  one\n   two\n\n  three\n', 'a: |-\n  one\n', 'a: |+\n  one\n\n\nb: 1\n', 'a: >\n  one\n  two\n\n  three\n   four\n  five\n',
    'a: >-\n  one\n  two\n', 'a: >+\n  one\n\n', 'a: |2\n    x\n', 'a: |1-\n x\n', 'a: |\n\nb: 1\n', 'a: >\n\n\n  x\n', '|\n# no comment\n',
    'pg_hba:\n- host all all 0.0.0.0/0 md5\n- "local all all trust"\nparameters:\n  wal_log_hints: on\n  max_connections: 100\n'
    '  archive_command: \'test ! -f /a/%f && cp %p /a/%f\'\n  log_line_prefix: "%m [%p] "\n  unix_socket_directories: .\n',
    # anchors, aliases, merging
    'a: &x 1\nb: *x\n', 'a: &x {p: 1, q: [2]}\nb: *x\n', 'a: &x\n  p: 1\nb:\n  <<: *x\n  q: 2\n',
    'a: &x {p: 1, q: 2}\nb: {q: 3, <<: *x}\n', 'a: &x {p: 1}\nb: &y {p: 2, q: 3}\nc: {<<: [*x, *y], r: 4}\n',
    'a: &x {p: 1}\nb: &y {p: 2, q: 3}\nc: {<<: *x, r: 4, <<: *y}\n', 'c: {<<: {p: {q: 1}}, p: {r: 2}}\n',
    'a: &x {p: 1}\nb: &y {<<: *x, q: 2}\nc: {<<: *y, r: 3}\nd: *y\n', "'<<': 1\n", '"<<": {a: 1}\nb: 2\n', 'a: {<<: []}\n',
    '- &a x\n- &b y\n- [*a, *b, *a]\n', '&k key: &v value\nagain: *v\n', '*k : 1\n', 'a: &x\nb: *x\n',
    # duplicates, other keys
    'a: 1\na: 2\n', 'a: 1\nb: 2\na: {c: 3}\n', '1: a\n', 'true: a\n', '~: a\n', '1.5: a\n', '0x10: a\n', '"1": a\n', 'a b: c\n',
    'a: 1\nb: 2\na: 3\nc: 4\nb: 5\na: 6\n', 'a: &x 1\na: 2\nb: *x\n', 'a: &x {p: 1}\na: &y {q: 2}\nb: [*x, *y]\n',
    'm: &m {a: 1, b: 2}\nn: {b: 3, <<: *m, a: 4, c: 5, <<: [{c: 6, d: 7}, {d: 8, a: 9}]}\n', 'a: {<<: x}\n',
    '=: x\n', '? [a]\n: b\n', '? {a: b}\n: c\n',
    # tags
    '!!str 1', '!!int "12"', '!!int 0x1f', '!!float 1', '!!bool "no"', '!!null ""', '!!str', '! 12', '! "12"', '!!seq [a]', '!!map {a: b}',
    '!!str [a]', '!!map [a]', '!!int x', '!!bool maybe', '!!float x', '!foo x', '!<tag:yaml.org,2002:str> 1', '%TAG ! tag:yaml.org,2002:\n---\n!int "7"\n',
    '%YAML 1.1\n---\na: 1\n', '!!python/object/apply:os.system [x]',
    # what is wrong
    'a: b: c', 'a: [1, 2', 'a: {b', "a: 'x", 'a: "x', '"\\q"', 'a: *nowhere', 'a: &x *x', '&x [*x]', '&x {a: *x}', 'a: &x 1\nb: &x 2\n', 'a: 1\n b: 2\n', '- a\nb: c\n', 'a: =',
    'a: @x', 'a: `x', 'a: %x', '\tb: 1', 'a:\n\tb: 1\n', 'a: 1\n---\nb: 2\n', 'a: 1\n...\nb', '<<: 1\n', 'a: {<<: [1]}\n', 'a: <<', '}', ']', ', a', '- - -', '? - a\n', 'a: |x\n  b\n',
    'a: "\x07"', '\x00', 'a: 0b_\n', 'a: 0x_\n',
    '\ufeffa: 1\n', 'a: \u65e5\u672c \U0001F418\n', 'a:\u00a0b', 'a: x\u2028y', '%YAML 2.0\n---\na\n', '--- a\n', '--- |\n  x\n', '---\n# c\na: 1\n... # end\n',
]

VALUES = [
    None, True, False, 0, -5, 2 ** 63 - 1, 1.5, 30.0, 1e16, 1e17, 1e-5, float('inf'), '', 'x', 'x y', ' x', 'x ', '1', '1.5', 'yes', 'on', 'null', '~', '2001-01-01',
    '0x1F', '1:30', '1e3', '=', '<<', '-', '- x', '-x', '?', '? x', '?x', ':', ': x', ':x', 'a:', 'a: b', 'a:b', '#', 'a #b', 'a#b', ',', 'a,b', '[a]', '{a}', '&a', '*a', '!a', '|a', '>a', "'a'",
    '"a"', '%a', '@a', '`a', 'a%b', "it's", 'say "so"', '\\', 'a\\b', 'a\nb', 'a\n', '\na', 'a\n\nb\n', 'a \nb', 'a\n b', 'a\tb', 'a\rb', '\x00\x07\x1b\x7f', '\u00e9t\u00e9', '\u65e5\u672c', '\U0001F418',
    'a\u2028b', 'a\x85b', '\u00a0', '\ufeff', '---', '--- a', '...', 'a---', [], {}, [[]], [{}], [1, 'a', None], [[1, [2]], [3]], [{'a': 1, 'b': [2]}, {'c': {}}],
    {'b': 1, 'a': 2, 'B': 3, '_': 4, '1': 5, '\u00e9': 6}, {'a': {'b': {'c': ['d', {'e': 'f', 'g': []}]}}}, {'': 1}, {'yes': 1, 'null': 2, 'a b': 3, 'a: b': 4, '- a': 5},
    {'a\nb': 1}, {'x' * 122: 1}, {'x' * 123: 1}, {'x' * 123: {'y': 1}}, {'x' * 123: [1]},
    ' '.join(['word'] * 60), ' '.join(['wo: rd'] * 60), ' '.join(['wo\trd'] * 60), 'x' * 300, {'key': ' '.join(['word'] * 60)}, ['a ' * 120 + 'b'], {'k': {'l': "it's " * 60}},
    '  '.join(['two blanks'] * 40), '\u00e9' * 150 + ' ' + '\u00e9' * 100 + ' x',
    {'ttl': 30, 'loop_wait': 10, 'retry_timeout': 10, 'maximum_lag_on_failover': 1048576, 'synchronous_mode': False, 'standby_cluster': None,
     'postgresql': {'use_pg_rewind': True, 'use_slots': True, 'parameters': {
         'wal_level': 'replica', 'hot_standby': 'on', 'max_connections': 100, 'archive_command': "test ! -f /a/%f && cp '%p' /a/%f", 'archive_timeout': '1800s', 'log_line_prefix': '%m [%p] ',
         'shared_buffers': '128MB', 'unix_socket_directories': '/var/run/postgresql,/tmp', 'checkpoint_completion_target': 0.9, 'search_path': '"$user", public', 'log_timezone': 'Europe/Z\u00fcrich'},
         'pg_hba': ['local all all peer', 'host replication replicator 10.0.0.0/8 scram-sha-256', 'host all all ::1/128 md5 # local'],
         'recovery_conf': {'restore_command': 'cp ../wal_archive/%f %p'}},
     'slots': {'perm': {'type': 'physical'}, 'lg': {'type': 'logical', 'database': 'db', 'plugin': 'pgoutput'}},
     'ignore_slots': [{'name': 'x', 'type': 'logical'}, {'database': 'd'}], 'tags': {}},
]


def c_string(text):
    """A C literal of the UTF-8 of text; its length goes beside it, because of zero bytes."""
    out = ''
    hexa = False
    for byte in text.encode('utf-8'):
        char = chr(byte)
        if byte in b'"\\':
            out, hexa = out + '\\' + char, False
        elif char == '\n':
            out, hexa = out + '\\n', False
        elif 32 <= byte < 127 and char != '?':
            out += ('""' if hexa and char in '0123456789abcdefABCDEF' else '') + char
            hexa = False
        else:
            out, hexa = out + '\\%03o' % byte, False
    return '{ "%s", %d }' % (out, len(text.encode('utf-8')))


class NotOurs(Exception):
    """A value our tree does not have: a document that we refuse or read otherwise on purpose."""


def plain(value):
    """What our tree has for it: keys as JSON has them, dates as they were written, no infinity."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else json.dumps(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, (datetime.date, bytes, set, tuple)):
        raise NotOurs
    if isinstance(value, int) and not isinstance(value, bool) and not -2 ** 63 <= value < 2 ** 63:
        return float(value)
    if isinstance(value, float) and value in (float('inf'), float('-inf')) or value != value:
        return None
    return value


class Loader(yaml.SafeLoader):
    """The safe loader, with dates left as they are written."""


Loader.add_constructor('tag:yaml.org,2002:timestamp', Loader.construct_yaml_str)


def read(document):
    try:
        return c_string(json.dumps(plain(yaml.load(document, Loader))))
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return '{ NULL, 0 }'


def main():
    print('/* SPDX-License-Identifier: PostgreSQL */')
    print('/* tests/unit/base_yaml_table.h - written by base_yaml_table.py with PyYAML %s. */' % yaml.__version__)
    print('#pragma once\n\n/* clang-format off */')
    print('/* A document and the JSON text of its value; NULL: it is refused. */')
    print('static const struct pgv_str yaml_read_table[][2] = {')
    for document in ['a: ' + scalar for scalar in SCALARS] + SCALARS + DOCUMENTS:
        print('    { %s, %s },' % (c_string(document), read(document)))
    print('};\n\n/* The JSON text of a value, and how it is written: in blocks, and in flow style. */')
    print('static const struct pgv_str yaml_write_table[][3] = {')
    for value in VALUES:
        if value == float('inf'):
            continue  # JSON cannot say it; the test does it by hand
        block = yaml.safe_dump(value, default_flow_style=False, width=200, allow_unicode=True)
        flow = yaml.safe_dump(value, default_flow_style=True, width=1000000, allow_unicode=True)
        flow = flow[:-1].removesuffix('\n...')
        print('    { %s,\n      %s,\n      %s },' % (c_string(json.dumps(value)), c_string(block), c_string(flow)))
    print('};\n/* clang-format on */')


if __name__ == '__main__':
    main()
