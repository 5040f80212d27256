# SPDX-License-Identifier: PostgreSQL
"""query of pgvigilctl against patronictl's: the same statements on the same server, the same output."""

import os
import re
import signal
import socket
import subprocess

import psycopg2
import pytest

from lib.node import pg_bin_dir
from lib.ports import free_port, give_back
from lib.process import own_dir, server_user
from lib.wait import wait_for
from test_ctl_conformance import (PGVIGILCTL, terminal_of, pytestmark, run, same,  # pylint: disable=unused-import
                                  world)


class Server:
    """A primary and, on a port of its own, a standby of it."""

    def __init__(self, directory):
        self.dir = own_dir(os.path.join(directory, "servers"))
        self.ports = [free_port(), free_port()]
        self.data = [os.path.join(self.dir, name) for name in ("primary", "standby")]
        self._tool("initdb", "-D", self.data[0], "-U", "postgres", "-E", "UTF8", "--locale=C", "-N", "-A", "trust")
        with open(os.path.join(self.data[0], "postgresql.conf"), "a", encoding="utf-8") as file:
            file.write(f"listen_addresses = '127.0.0.1'\nunix_socket_directories = '{self.dir}'\nfsync = off\n"
                       f"port = {self.ports[0]}\ntimezone = 'UTC'\nshared_buffers = '2MB'\n")
        with open(os.path.join(self.data[0], "pg_hba.conf"), "w", encoding="utf-8") as file:
            file.write("host all pw 127.0.0.1/32 scram-sha-256\nlocal all all trust\nhost all all 127.0.0.1/32 trust\n"
                       "host replication all 127.0.0.1/32 trust\n")
        self._start(0)
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE ROLE pw LOGIN PASSWORD 'gehe\u00efm'; CREATE TABLE t (a int)")
        self._tool("pg_basebackup", "-D", self.data[1], "-h", "127.0.0.1", "-p", str(self.ports[0]), "-U", "postgres",
                   "-R", "--no-sync", "-c", "fast")
        with open(os.path.join(self.data[1], "postgresql.conf"), "a", encoding="utf-8") as file:
            file.write(f"port = {self.ports[1]}\n")
        self._start(1)

    def _tool(self, name, *args):
        user = server_user()
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        subprocess.run([os.path.join(pg_bin_dir(), name), *args], check=True, stdout=subprocess.DEVNULL, cwd="/", **who)

    def _start(self, which):
        self._tool("pg_ctl", "-D", self.data[which], "-l", os.path.join(self.dir, "log"), "-w", "-t", "60", "start")

    def connect(self):
        return psycopg2.connect(host="127.0.0.1", port=self.ports[0], user="postgres", dbname="postgres")

    def close(self):
        for data in reversed(self.data):
            self._tool("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        for port in self.ports:
            give_back(port)


@pytest.fixture(scope="module")
def server(world):
    s = Server(world.dir)
    yield s
    s.close()


@pytest.fixture
def ask(world, server, same):
    """As same(), with members that live on the server."""

    def check(*args, keys=None, env=None, **more):
        return same("query", *args, keys=keys or keys_of(world, server),
                    env={"PGUSER": "postgres", "PGDATABASE": "postgres", **(env or {})}, **more)

    return check


def keys_of(world, server):
    keys = world.keys()
    for i, port in enumerate((server.ports[0], server.ports[1], world.dead_port)):
        keys[f"members/postgresql{i}"]["conn_url"] = f"postgres://127.0.0.1:{port}/postgres"
    return keys


VALUES = [
    "1, -2::int2, 9223372036854775807, 4294967295::oid", "true, false, NULL::text", "'a'::text, ''::text, 'Z\u00fcrich'::name",
    "1.5::float8, 1::float4, 0.1::float4, 1e300::float8, 'nan'::float8, 'inf'::float4, '-inf'::float8",
    "1.50, 100, 0.000001, 0.0000001, 0.00000012, 0.0000000, 0.00000000, -0.0000015, 'nan'::numeric, 123456789012345678901234.5",
    "date '2024-02-29', timestamp '2024-02-29 10:11:12', timestamp '2024-02-29 10:11:12.5', "
    "timestamptz '2024-02-29 10:11:12.000001+02'", "time '01:02:03', time '01:02:03.25', timetz '01:02:03+05:30'",
    "interval '1 day 2 hours', interval '-1 second', interval '1 year 2 mons 3 days 04:05:06.7', interval '-3 days -1 hour', "
    "interval '0', interval '0.000001 s', interval '40 hours', interval '-1 day', interval '1 mon -1 day'",
    "'{1,NULL,3}'::int[], '{{1,2},{3,4}}'::int8[], '{}'::text[], '[0:1]={a,b}'::text[], '{t,f}'::bool[], '{1.5,2}'::float8[]",
    "array['a\"b', 'c\\d', 'e,f', '{', 'NULL', NULL, '', 'it''s', 'x\ny']::text[]", "'{1,2}'::oid[], '{a,b}'::name[], '{1}'::smallint[]",
    "'{\"b\": [1, 2.5, null, true], \"a\": {\"c\": \"d\"}}'::jsonb, '[1]'::json, '\"x\"'::json, 'null'::jsonb",
    "'10.0.0.1'::inet, '7f000000-0000-0000-0000-000000000001'::uuid, '16/B374D848'::pg_lsn, '5'::xid, 'x'::\"char\"",
    "'two\nlines', 'a'", "'on', '5', 'null', '2020-01-01', ' x', '#', 'a: b'", "row(1, 'a'), point '(1,2)', '1 USD'",
]


def named(values):
    """As one row whose columns have names: PrettyTable wants them unique."""
    return f"SELECT v.* FROM (SELECT {values}) v ({', '.join('c' + str(i) for i in range(12)[:count(values)])})"


def count(values):
    """Commas that stand between columns."""
    depth = n = 0
    quoted = False
    for char in values:
        quoted ^= char == "'"
        depth += 0 if quoted else (char in "([{") - (char in ")]}")
        n += char == "," and depth == 0 and not quoted
    return n + 1


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("fmt", ["tsv", "pretty"])
def test_values(ask, values, fmt):
    ours = ask("-c", named(values), "--format", fmt)
    assert ours["status"] == 0 and "ERROR" not in ours["out"]


# What json and PyYAML cannot say kills the origin.
@pytest.mark.parametrize("values", [v for v in VALUES if not re.search(r"::numeric|date '|time '|interval|'nan'|1\.50", v)])
def test_values_as_json(ask, values):
    ask("-c", named(values), "--format", "json")


@pytest.mark.parametrize("values", [v for v in VALUES if not re.search(r"::numeric|time '|interval|1\.50", v)] + [
    "date '2024-02-29', timestamp '2024-02-29 10:11:12', timestamptz '2024-02-29 10:11:12.000001+02', 'x'"])
@pytest.mark.parametrize("fmt", ["yaml", "yml"])
def test_values_as_yaml(ask, values, fmt):
    ask("-c", named(values), "--format", fmt)


def test_what_steers_a_terminal(world, server, ask):
    """stays as it is in what programs read, and is not shown in tables, where the origin prints it."""
    sql = "SELECT 'a\tb' AS a, chr(27) || '[2J' AS b"
    ask("-c", "SELECT 'a\\tb' AS a, chr(1) AS b")
    got = run(PGVIGILCTL, world, ["query", "-U", "postgres", "-d", "postgres", "-c", sql, "--format", "pretty"],
              keys_of(world, server), {}, "", {}, {})
    assert "| a?b | ?[2J |\n" in got["out"]


def test_values_that_the_origin_cannot_show(world, server):
    """They are texts."""
    got = run(PGVIGILCTL, world, ["query", "-U", "postgres", "-c", "SELECT date '2024-02-29' d, 1.50 n, interval '1 day' i, "
                                  "timestamp 'infinity' t, 'nan'::float8 f, '\\x00ff'::bytea b", "-d", "postgres",
                                  "--format", "json"], keys_of(world, server), {}, "", {}, {})
    assert got["out"] == '[{"d": "2024-02-29", "n": "1.50", "i": "1 day, 0:00:00", "t": "infinity", "f": NaN, ' \
                         '"b": "\\\\x00ff"}]\n'.replace("NaN", "null")
    assert got["status"] == 0


@pytest.mark.parametrize("fmt", ["tsv", "pretty", "topology", "json", "yaml", "nosuch", ""])
@pytest.mark.parametrize("sql", ["SELECT 1 AS one WHERE false", "SELECT i AS a, i * i AS b FROM generate_series(1, 3) i",
                                 "SELECT 'x' AS \"Zürich\""])
def test_shapes(ask, sql, fmt):
    ask("-c", sql, "--format", fmt)


REFUSED = ["CREATE TEMP TABLE x (a int)", "INSERT INTO t VALUES (1)", "SELECT nosuch", "nonsense", "", ";", "-- nothing",
           "SELECT 1 / 0", "SELECT 1 AS a; SELECT 2 AS b, 3 AS c", "SELECT 1 AS a; SET work_mem = '1MB'",
           "SET work_mem = '2MB'; SELECT current_setting('work_mem') AS m", "SELECT 1; SELECT nosuch; SELECT 2",
           "BEGIN; SELECT 1 AS a; COMMIT", "DO $$ BEGIN RAISE NOTICE 'x'; END $$",
           "INSERT INTO t VALUES (7) RETURNING a", "SHOW server_encoding", "EXPLAIN (COSTS OFF) SELECT 1",
           "SET datestyle = 'German'; SELECT 1 AS a"]


@pytest.mark.parametrize("sql", REFUSED)
@pytest.mark.parametrize("fmt", ["tsv", "pretty", "json", "yaml"])
def test_other_statements(ask, sql, fmt):
    ask("-c", sql, "--format", fmt)


@pytest.mark.parametrize("args", [[], ["-m", "postgresql1"], ["-m", "nosuch"], ["-r", "leader"], ["-r", "primary"],
                                  ["-r", "replica"], ["-r", "standby"], ["-r", "standby-leader"], ["-r", "any"],
                                  ["-m", "postgresql1", "-r", "any"], ["-m", "postgresql2"], ["batman"], ["nosuch"],
                                  ["-r", "boss"], ["-U", "nosuch"], ["-d", "nosuch"], ["-U", ""], ["-d", "template1"]])
def test_whom_it_asks(ask, args):
    ask(*args, "-c", "SELECT inet_server_port() > 0 AS port, pg_is_in_recovery() AS r, current_database() AS d, "
        "current_user AS u, current_setting('application_name') AS a")


def test_the_role_is_checked(world, server, ask):
    """Roles are the store's word; where they matter the server has the last one."""
    keys = keys_of(world, server)
    keys["leader"] = "postgresql1"
    for role in ("primary", "replica", "standby-leader", "leader", "any"):
        ours = ask("-r", role, "-c", "SELECT pg_is_in_recovery() AS r", keys=keys)
        assert ("No connection to role" in ours["out"]) == (role in ("primary", "replica")), role


def test_names_of_hosts(world, server, ask):
    keys = keys_of(world, server)
    keys["members/postgresql0"]["conn_url"] = f"postgres://localhost:{server.ports[0]}/postgres"
    ask("-c", "SELECT 1 AS a", keys=keys)
    ask("-c", "SELECT 1 AS a", "-U", "nosuch", keys=keys, but=("out",))  # ::1 is tried first, or is not


def test_dates_are_iso_whatever_is_set(ask):
    ask("-c", "SELECT date '2024-02-29' AS d", env={"PGDATESTYLE": "German"})


@pytest.mark.parametrize("delimiter", ["|", ", ", "", "\\t", "é"])
def test_delimiter(ask, delimiter):
    ask("-c", "SELECT 1 AS a, NULL AS b, 'x' AS c", "--delimiter", delimiter)
    ask("-c", "SELECT nosuch", "--delimiter", delimiter)


@pytest.mark.parametrize("args,stdin", [
    ([], ""), (["-c", "x", "-f", "q.sql"], ""), (["-f", "q.sql"], ""), (["-f", "/nonexistent"], ""), (["-f", "-"], "SELECT 2 AS a"),
    (["--file=q.sql"], ""), (["-fq.sql"], ""), (["-f", "-"], ""), (["-f", "latin1.sql"], ""), (["-f"], ""), (["a", "b", "-c", "x"], "")])
def test_where_the_statements_come_from(world, ask, args, stdin):
    with open(os.path.join(world.dir, "latin1.sql"), "wb") as file:
        file.write(b"SELECT '\xfc' AS a")
    ask(*args, stdin=stdin, files={"q.sql": "SELECT 1\n  AS a -- ü\n;\n"})


@pytest.mark.parametrize("columns", ["80", "60", "200", "20"])
def test_help(ask, columns):
    ask("--help", env={"COLUMNS": columns})


def test_password(world, server):
    """Asked for on the terminal, and not shown there."""
    world.put(keys_of(world, server))
    for password, expected in (("gehe\u00efm", r"u\r\npw\r\n"), ("wrong", r"ERROR, SQLSTATE: .*password authentication failed")):
        terminal = terminal_of(world, ["query", "-U", "pw", "-d", "postgres", "--password", "-c", "SELECT current_user AS u"])
        terminal.until(r"^Password: $")
        terminal.type("\n")
        terminal.until(r"^Password: \r\nPassword: $")
        terminal.type(password + "\n")
        terminal.until(expected)
        assert terminal.ended() == 0
        assert password not in terminal.seen


def test_password_from_input(world, server):
    """Without a terminal the question is no part of the output; the end of input is an abort."""
    args = ["query", "-U", "pw", "-d", "postgres", "--password", "-c", "SELECT current_user AS u"]
    for stdin, status, out in (("gehe\u00efm\n", 0, b"u\npw\n"), ("", 1, b"")):
        done = subprocess.run([PGVIGILCTL, *args], input=stdin.encode(), capture_output=True, env=world.env, timeout=60,
                              check=False, start_new_session=True)
        assert (done.returncode, done.stdout) == (status, out), done
        assert done.stderr.startswith(b"Password: ")
        assert done.stderr.endswith(b"Aborted!\n") == (status == 1)


def test_a_connection_that_is_cut(world, server):
    """The server said why; psycopg2 forgets it and tells only that the connection is gone."""
    got = run(PGVIGILCTL, world, ["query", "-U", "postgres", "-d", "postgres", "-c", "SELECT pg_terminate_backend(pg_backend_pid())"],
              keys_of(world, server), {}, "", {}, {})
    assert re.fullmatch(r"\S+ \S+\tERROR, SQLSTATE: 57P01\n|<second>\tERROR, SQLSTATE: 57P01\n", got["out"])
    assert got["status"] == 0


def test_watch(world, server):
    """Again and again over a new connection each time; nothing is cleared; a failure is a row."""
    world.put(keys_of(world, server))
    terminal = terminal_of(world, ["query", "-U", "postgres", "-d", "postgres", "-w", "0.1", "-c", "SELECT pg_backend_pid() AS pid"],
                        on=("stdout",))
    terminal.until(r"^(pid\r\n\d+\r\n){3}")
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.ended() == 1
    pids = re.findall(r"\d+", terminal.seen)
    assert len(pids) == len(set(pids)) and "\x1b" not in terminal.seen
    terminal = terminal_of(world, ["query", "-m", "postgresql2", "-W", "-c", "SELECT 1"], on=("stdout",))
    terminal.until(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\tERROR, SQLSTATE: connection to server.*\r\n){2}")
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.ended() == 1


def test_interruption_stops_the_statement(world, server):
    world.put(keys_of(world, server))
    watcher = server.connect()
    watcher.autocommit = True

    def running():
        with watcher.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'Patroni ctl' AND state = 'active'")
            return cursor.fetchone()[0]

    try:
        terminal = terminal_of(world, ["query", "-U", "postgres", "-d", "postgres", "-c", "SELECT pg_sleep(600)"])
        wait_for(running, 20)
        os.killpg(terminal.process.pid, signal.SIGINT)
        assert terminal.ended() == 1
        assert terminal.seen.endswith("\r\nAborted!\r\n")
        wait_for(lambda: not running(), 20)
    finally:
        watcher.close()


def test_a_server_that_does_not_answer(world, server):
    """It accepts and says nothing: the attempt ends after five seconds, as libpq's would."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        keys = keys_of(world, server)
        keys["members/postgresql0"]["conn_url"] = f"postgres://127.0.0.1:{silent.getsockname()[1]}/postgres"
        got = run(PGVIGILCTL, world, ["query", "-c", "SELECT 1"], keys, {}, "", {}, {})
        assert got["status"] == 0
        assert got["out"].rstrip().endswith("failed: timeout expired")


def test_a_result_without_end_is_refused(world, server):
    got = run(PGVIGILCTL, world, ["query", "-U", "postgres", "-d", "postgres", "-c",
                                  "SELECT repeat('x', 1000000) FROM generate_series(1, 1000000)"], keys_of(world, server),
              {}, "", {}, {})
    assert got["status"] == 1
    assert got["err"] == "Error: the result is too large to be shown"


def test_a_member_without_address(world, server, ask):
    keys = keys_of(world, server)
    del keys["members/postgresql0"]["conn_url"]
    ask("-c", "SELECT 1", keys=keys)
