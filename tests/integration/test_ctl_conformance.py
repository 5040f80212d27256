# SPDX-License-Identifier: PostgreSQL
"""pgvigilctl against patronictl: the same keys, the same members, the same words; then the same
output, exit status, requests and keys.

The cluster is made of keys written by hand into a real etcd, and members are a small HTTP server
which answers as told and remembers what it was asked. Skipped when Patroni is not set up
(tests/peers/install patroni).
"""

import base64
import http.server
import json
import os
import queue
import re
import signal
import subprocess
import threading

import pytest
import yaml

from lib.etcd import EtcdCluster
from lib.node import ctl_binary
from lib.origin import Origin
from lib.ports import free_port, give_back
from lib.process import scratch
from lib.terminal import Terminal

PATRONICTL, PGVIGILCTL = ctl_binary("patroni"), ctl_binary("pgvigil")
pytestmark = pytest.mark.skipif(not os.access(PATRONICTL, os.X_OK), reason="Patroni is not set up")

NAMESPACE = "/service/batman"
SYSID = "7277694203142172922"


class Members(http.server.ThreadingHTTPServer):
    """All members' REST APIs in one: answers[(method, path)] is (status, body) or a list of them."""

    def __init__(self):
        self.port = free_port()
        super().__init__(("127.0.0.1", self.port), Handler)
        self.answers, self.asked = {}, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()
        give_back(self.port)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length or 0)).decode()
        self.server.asked.append((self.command, self.path, json.loads(body) if body else None,
                                  self.headers.get("Authorization"), length if self.command in ("POST", "PATCH") else None))
        answer = self.server.answers.get((self.command, self.path), (404, "no such thing"))
        if isinstance(answer, list):
            answer = answer.pop(0)
        if callable(answer):
            answer = answer()
        status, text = answer
        self.send_response(status)
        if not isinstance(text, str):  # pieces, as they come
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for piece in text:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece.encode()), piece.encode()))
                self.wfile.write(b"0\r\n\r\n")
            except OSError:  # the client has seen enough
                self.close_connection = True
            return
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *args):
        pass


def member(port, state="running", role="replica", api=None, **more):
    doc = {"conn_url": f"postgres://127.0.0.1:{port}/postgres", "state": state, "role": role, "version": "4.1.5"}
    if api:
        doc["api_url"] = api
    doc.update(more)
    return doc


class World:
    def __init__(self):
        self.dir = scratch()
        self.etcd = EtcdCluster(self.dir).start()
        self.members = Members()
        self.dead_port = free_port()
        self.config = os.path.join(self.dir, "ctl.yml")
        self.write_config()
        self.env = {"PATH": os.environ["PATH"], "HOME": self.dir, "TZ": "Europe/Berlin", "LC_ALL": "C.UTF-8",
                    "PATRONICTL_CONFIG_FILE": self.config}
        self.origin = Origin(PATRONICTL, self.dir, self.env)
        self.held = None  # the keys that are in the store for sure

    def write_config(self, **more):
        config = {"scope": "batman", "namespace": "/service/", "name": "here",
                  "etcd3": {"host": self.etcd.addresses[0]}}
        config.update(more)
        with open(self.config, "w", encoding="utf-8") as file:
            yaml.safe_dump(config, file)

    def api(self, name):
        return f"http://127.0.0.1:{self.members.port}/{name}"

    def dead_api(self):
        return f"http://127.0.0.1:{self.dead_port}/patroni"

    def keys(self):
        """A healthy cluster of three."""
        return {
            "initialize": SYSID,
            "config": {"ttl": 30, "loop_wait": 10, "retry_timeout": 10, "maximum_lag_on_failover": 1048576,
                       "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 100}}},
            "leader": "postgresql0",
            "status": {"optime": 67395656, "slots": {"postgresql1": 67395656}},
            "members/postgresql0": member(5432, role="primary", api=self.api("patroni"), xlog_location=67395656,
                                          timeline=5),
            "members/postgresql1": member(5433, api=self.api("patroni"), xlog_location=67108864,
                                          replay_lsn=65107944, receive_lsn=67108864, timeline=5,
                                          replication_state="streaming"),
            "members/postgresql2": member(5434, state="stopped", api=self.api("patroni")),
        }

    def put(self, keys, known=False):
        """Replaces everything, unless it is as it should be. known: found() is called before another
        put()."""
        def b64(text):
            return base64.b64encode(text.encode()).decode()

        wanted = {f"{NAMESPACE}/{key}": value if isinstance(value, str) else json.dumps(value)
                  for key, value in keys.items()}
        if self.held == wanted:
            self.held = wanted if known else None
            return
        puts = [{"requestPut": {"key": b64(key), "value": b64(value)}} for key, value in wanted.items()]
        self.etcd.call("kv/deleterange", {"key": b64("/service/"), "range_end": b64("/service0")})
        if puts:
            self.etcd.call("kv/txn", {"success": puts})
        self.held = wanted if known else None

    def found(self):
        self.held = self.etcd.prefix("/service/")
        return self.held

    def close(self):
        self.origin.close()
        self.members.close()
        self.etcd.close()
        give_back(self.dead_port)


@pytest.fixture(scope="module")
def world():
    assert os.access(PGVIGILCTL, os.X_OK), f"{PGVIGILCTL} is not there: build it first"
    w = World()
    yield w
    w.close()


def normal(text):
    """Without what differs in every run or by intent."""
    text = text.replace("patronictl", "pgvigilctl")
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{5}", "<stamp>", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?= cluster is |.{0,5}(ERROR, SQLSTATE|No connection))", "<second>", text)
    text = re.sub(r"(?<= cluster: )(HTTPConnectionPool|127\.0\.0\.1:\d+: connecting).*", "<why it cannot be reached>", text)
    return re.sub(r"\(e\.g\. \d{4}-\d\d-\d\dT\d\d:\d\d", "(e.g. <minute>", text)


def errors(text, status):
    """The error a person sees, without log lines. The origin dies of some with a trace, in whose
    place we have a sentence; it logs others with one and goes on."""
    lines = text.splitlines()
    if "Traceback (most recent call last)" in text:
        lines = [line for line in lines if re.match("Error: |Aborted!", line)]
        if status == 1 and not lines:
            return "<trace>"
    lines = [line for line in lines if not re.match(r"\d{4}-\d\d-\d\d .* - [A-Z]+ - ", line)]
    return normal("\n".join(lines))


def run(tool, world, args, keys, answers, stdin, env, files):
    world.put(keys, known=True)
    world.members.answers = {key: list(value) if isinstance(value, list) else value for key, value in answers.items()}
    world.members.asked = []
    for name, text in files.items():
        with open(os.path.join(world.dir, name), "w", encoding="utf-8") as file:
            file.write(text)
    environment = {**world.env, **env}
    if tool == PATRONICTL:
        status, out, err = world.origin.run(args, stdin.encode(), environment, world.dir)
    else:
        done = subprocess.run([tool, *args], input=stdin.encode(), capture_output=True, env=environment, timeout=60,
                              cwd=world.dir, check=False)
        status, out, err = done.returncode, done.stdout, done.stderr
    found = world.found()
    stored = {}
    for key, value in found.items():
        try:
            stored[key] = json.loads(value)
        except ValueError:
            stored[key] = value
    return {"status": status, "out": normal(out.decode()), "err": errors(err.decode(), status),
            "asked": list(world.members.asked), "stored": stored, "raw_config": found.get(NAMESPACE + "/config")}


@pytest.fixture
def same(world):
    """same("list", "-f", "json", keys={…}): runs both tools and compares. Returns what ours did."""

    def check(*args, keys=None, answers=None, stdin="", env=None, files=None, but=(), also=False):
        keys = world.keys() if keys is None else keys
        theirs = run(PATRONICTL, world, args, keys, answers or {}, stdin, env or {}, files or {})
        ours = run(PGVIGILCTL, world, args, keys, answers or {}, stdin, env or {}, files or {})
        if also:  # an option that only we have is told of
            ours["out"], n = re.subn(r"^  --dry-run .*\n(   +\S.*\n)*", "", ours["out"], flags=re.M)
            assert n == 1
        if theirs["err"] == "<trace>":
            assert ours["err"].startswith("Error: ") and ours["err"].count("\n") == 0, ours
        for what in theirs:
            if what in but or (what == "err" and theirs["err"] == "<trace>"):
                continue
            assert ours[what] == theirs[what], what
        return ours

    return check


# Looking

FORMATS = ["pretty", "tsv", "json", "yaml", "yml"]


def rich_keys(world):
    """Everything a members table can show."""
    keys = world.keys()
    keys["config"]["pause"] = True
    keys["failover"] = {"leader": "postgresql0", "member": "postgresql2", "scheduled_at": "2030-03-23T18:00:00+00:00"}
    keys["members/postgresql0"].update(
        pending_restart=True, tags={"clonefrom": True, "zone": "Zürich", "n": 5, "weird": "on", "list": [1, "a"]},
        pending_restart_reason={"max_connections": {"old_value": "100", "new_value": "200"},
                                "shared_preload_libraries": {"old_value": "", "new_value": "a," * 30 + "b"}})
    keys["members/postgresql1"].update(
        tags={"replicatefrom": "postgresql2"},
        scheduled_restart={"schedule": "2030-01-01T10:00:00+01:00", "postgres_version": "16.5",
                           "postmaster_start_time": "2024-01-01"})
    return keys


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("extended", [[], ["-e"]])
@pytest.mark.parametrize("which", ["plain", "rich", "empty"])
def test_list(world, same, which, extended, fmt):
    keys = {"plain": world.keys(), "rich": rich_keys(world), "empty": {}}[which]
    same("list", "-f", fmt, *extended, keys=keys)


def test_list_by_name_and_of_several(world, same):
    same("list", "batman", "nosuch", keys=rich_keys(world))


def test_list_without_names(world, same):
    same("list", env={"PATRONICTL_CONFIG_FILE": "/dev/null"}, but=("err", "status"))
    same("-d", f"etcd3://{world.etcd.addresses[0]}", "list", env={"PATRONICTL_CONFIG_FILE": ""})
    same("-d", f"etcd3://{world.etcd.addresses[0]}", "list", "batman", env={"PATRONICTL_CONFIG_FILE": ""})
    same("-d", f"etcd3://{world.etcd.addresses[0]}/elsewhere", "list", "batman")
    same("list", "batman", env={"PATRONICTL_CONFIG_FILE": "", "DCS_URL": f"etcd3://{world.etcd.addresses[0]}"})
    same("-d", "nosuch://h:1", "list", "batman")


@pytest.mark.parametrize("case", ["initializing", "damaged initialize", "long initialize", "usual ports", "one host", "ipv6", "no leader", "standby cluster",
                                  "sync", "quorum", "old members", "no host", "odd states", "long name", "lags",
                                  "leader without member", "wide"])
def test_list_of_other_clusters(world, same, case):
    keys = world.keys()
    p0, p1, p2 = (keys[f"members/postgresql{i}"] for i in range(3))
    if case == "initializing":
        keys["initialize"] = ""
    elif case in ("damaged initialize", "long initialize"):
        keys["initialize"] = "nonsense" if case == "damaged initialize" else "12345678901234567890123456789"
    elif case in ("usual ports", "one host"):
        for n, m in enumerate((p0, p1, p2)):
            m["conn_url"] = f"postgres://10.0.0.{n if case == 'usual ports' else 1}:5432/postgres"
    elif case == "ipv6":
        for n, m in enumerate((p0, p1, p2)):
            m["conn_url"] = f"postgres://[fe80::{n + 1}]:543{n}/postgres"
    elif case == "no leader":
        del keys["leader"]
    elif case == "standby cluster":
        keys["config"]["standby_cluster"] = {"host": "10.1.1.1"}
        p0["role"] = "standby_leader"
        p0["replication_state"] = "streaming"
    elif case in ("sync", "quorum"):
        keys["config"]["synchronous_mode"] = True if case == "sync" else "quorum"
        keys["sync"] = {"leader": "postgresql0", "sync_standby": "postgresql2,POSTGRESQL1", "quorum": 1}
    elif case == "old members":
        p1.pop("receive_lsn")
        p1.pop("replay_lsn")
        p2.update(xlog_location=1234567, state="running")
    elif case == "no host":
        del p1["conn_url"]
        p2["conn_url"] = "postgres://h2/x"
    elif case == "odd states":
        p1["state"] = "creating replica"
        del p2["state"]
        p2["tags"] = {}
    elif case == "long name":
        keys["members/" + "n" * 60] = p1
    elif case == "lags":
        keys["status"]["optime"] = 10 * 1048576
        for name, lag in (("a", 1572864), ("b", 2621440), ("c", 524288), ("d", 524289), ("e", 3 * 524288 + 1)):
            keys[f"members/{name}"] = member(5440, receive_lsn=10485760 - lag, replay_lsn=10485760)
    elif case == "leader without member":
        del keys["members/postgresql0"]
    elif case == "wide":
        p1["tags"] = {"city": "東京", "accent": "e\u0301"}
        keys["config"]["pause"] = "on"
    same("list", keys=keys)
    same("list", "-f", "json", keys=keys)
    same("topology", keys=keys)


def test_topology(world, same):
    keys = rich_keys(world)
    same("topology", keys=keys)
    keys["members/a"] = member(5441, tags={"replicatefrom": "postgresql2"})
    keys["members/b"] = member(5442, tags={"replicatefrom": "a"})
    keys["members/c"] = member(5443, tags={"replicatefrom": "d"})  # a cycle is not shown
    keys["members/d"] = member(5444, tags={"replicatefrom": "c"})
    keys["members/e"] = member(5445, tags={"replicatefrom": "e"})
    keys["members/f"] = member(5446, tags={"replicatefrom": "postgresql0"})
    keys["members/g"] = member(5447, tags={"replicatefrom": "nobody"})
    same("topology", "batman", keys=keys)
    del keys["leader"]
    same("topology", "batman", keys=keys)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("history", [None, "[]", [[1, 25623960, "no recovery target specified"],
                                                  [2, 25623961, "before: 'x' \"ü\"", "2019-09-23T16:57:57+02:00", "n"]]])
def test_history(world, same, fmt, history):
    keys = world.keys()
    if history is not None:
        keys["history"] = history
    same("history", "-f", fmt, keys=keys)


CONFIGS = [
    {}, [1], {"a": None, "b": [1, {"c": "d", "e": [2]}], "f": {}, "g": []},
    {"s": ["on", "5", "null", "2020-01-01", "y", "~", "", " x", "a: b", "#c", "1:30", "1e3", "0644", "x\ny", "ü", "'"]},
    {"postgresql": {"parameters": {"a.b": "x", "archive_command": "cp %p /x/%f && " + "long " * 60, "t": 1.0,
                                   "u": 1e300, "v": -0.5}, "pg_hba": ["host all all all md5", "local all all trust"]}},
]


@pytest.mark.parametrize("config", CONFIGS + [None])
def test_show_config(world, same, config):
    keys = world.keys()
    if config is None:
        del keys["config"]
    else:
        keys["config"] = config
    same("show-config", keys=keys)


@pytest.mark.parametrize("args", [[], ["-r", "replica"], ["-r", "any"], ["-r", "primary"], ["-r", "standby-leader"],
                                  ["-m", "postgresql2"], ["-m", "nosuch"], ["-m", "x", "-r", "any"], ["nosuch"]])
def test_dsn(same, args):
    same("dsn", *args)


def test_version(world, same):
    answer = {("GET", "/patroni"): [(200, json.dumps({"patroni": {"version": "4.1.5"}, "server_version": 160004})),
                                    (200, json.dumps({"patroni": {"version": "4.0.1"}, "server_version": 90624})),
                                    (503, json.dumps({"patroni": {}}))]}

    def tail(got):
        return got["out"].split("\n", 1)[1]

    ours = same("version", "batman", answers=answer, but=("out",))
    assert tail(ours) == ("\npostgresql0: Patroni 4.1.5 PostgreSQL 16.4\npostgresql1: Patroni 4.0.1 PostgreSQL 9.6.24\n"
                          "postgresql2: Patroni None\n")
    assert ours["out"].startswith("pgvigilctl version ")
    same("version", but=("out",))
    ours = same("version", "batman", "postgresql1", answers={("GET", "/patroni"): (200, "x")}, but=("out",))
    assert tail(ours).startswith("\npostgresql1: failed to get version: ")


# The command line

USAGE = [
    [], ["--help"], ["-k"], ["nosuch"], ["--nosuch"], ["-x"], ["-c"], ["-c", "/nonexistent", "list"],
    ["-c", "/nonexistent", "list", "--nosuch"], ["-c", "/nonexistent", "nosuch"], ["list", "--foo"],
    ["list", "--formt", "x"], ["list", "--form"], ["list", "-f", "x"], ["list", "--format=x"], ["list", "-fx"],
    ["list", "-f"], ["list", "--format"], ["list", "-etfx"], ["list", "-ez"], ["list", "--extended=1"],
    ["list", "-w", "x"], ["list", "--group", "x"], ["list", "--group", "1.5", "-f", "y"], ["list", "-w", "x", "-f", "y"],
    ["dsn", "a", "b"], ["dsn", "a", "b", "c"], ["dsn", "-r", "boss"], ["restart"], ["flush"], ["flush", "x"],
    ["flush", "x", "y"], ["flush", "x", "y", "z"], ["remove"], ["remove", "a", "b"], ["reload", "--role"],
    ["switchover", "--candidat", "x"], ["list", "--", "--format"], ["edit-config", "-qs"], ["edit-config", "-s", "a"],
    ["pause", "--wat"], ["list", "--help", "--nosuch"], ["list", "--help", "-f", "x"], ["list", "x", "--help"],
]


@pytest.mark.parametrize("args", USAGE, ids=" ".join)
def test_usage(same, args):
    # The tool's own page tells of commands of ours, and of both names.
    same(*args, but=("out",) if args in ([], ["--help"]) else ())


COMMANDS = ["demote-cluster", "dsn", "edit-config", "failover", "flush", "history", "list", "pause", "promote-cluster", "query",
            "reinit", "reload", "remove", "restart", "resume", "show-config", "switchover", "topology", "version"]


@pytest.mark.parametrize("args", [["--nosuch"], ["-Z"], ["--group"], ["--group", "x"], ["--group=1.5"], ["--help=1"], ["--force=1"],
                                  ["--role", "boss"], ["-r"], ["-f", "nosuch"], ["--wait", "--wait", "--nosuch"], ["-w", "soon"],
                                  ["a", "b", "c", "--nosuch"], ["--", "a", "b", "--nosuch"], ["nosuch-cluster"], []], ids=" ".join)
@pytest.mark.parametrize("command", COMMANDS)
def test_exit_status_of_each_command(same, command, args):
    """The same words, the same status, and the same error, whether the command line is wrong or there is no such cluster."""
    same(command, *args, keys={}, but=("out",) if command == "version" else ())


@pytest.mark.parametrize("command", ["demote-cluster", "promote-cluster", "dsn", "edit-config", "failover", "flush",
                                     "history", "list", "pause", "reinit",
                                     "reload", "remove", "restart", "resume", "show-config", "switchover", "topology"])
@pytest.mark.parametrize("columns", ["80", "60", "200", "20"])
def test_help(same, command, columns):
    same(command, "--help", env={"COLUMNS": columns}, also=command in DRY)


# Changing the configuration

SETTINGS = [
    ["-s", "ttl=20"], ["-s", "ttl=30"], ["-s", "ttl="], ["-s", "ttl=null"], ["-s", "nosuch="], ["-s", "a.b.c=[1, x]"],
    ["-s", "a.b.c=null"], ["-s", "postgresql.parameters.max_connections="], ["-p", "max_connections="],
    ["-p", " a.b.c=on"], ["-p", 'x="on"', "-p", "y=off"], ["-s", "postgresql.parameters.q.r=5", "-s", "ttl = 7"],
    ["-s", "postgresql=5"], ["-s", "ttl.x=5"], ["-s", "ttl.x="], ["-s", "loop_wait"], ["-s", ""], ["-p", "x"],
    ["-q", "-s", "ttl=21"], ["-s", "synchronous_mode=on", "-s", "s='ü'"], ["-s", "a={b: 1, c: {d: ~}}"],
    ["-s", "=5"], ["-s", "x=1", "-s", "x=2"], ["-s", "postgresql.parameters.=5"], ["-s", "a..b=5"],
    ["-s", "ttl=1:30", "-s", "l=0x1F", "-s", "o=0644", "-s", "f=1.5"],
]


# The agents would refuse or correct what these make: unless forced, we write nothing.
INVALID = [["-s", "postgresql=5"], ["-s", "ttl.x=5"],
           ["-s", "postgresql.parameters.q.r=5", "-s", "ttl = 7"]]


@pytest.mark.parametrize("args", SETTINGS, ids=" ".join)
def test_edit_config_by_options(same, args):
    same("edit-config", *args, "--force")
    if args in INVALID:
        ours = same("edit-config", *args, stdin="y\n", but=("out", "err", "status", "stored", "raw_config"))
        assert ours["status"] == 1
        assert ours["err"] == "Error: The configuration is invalid and was not changed; --force would"
        assert ours["stored"][NAMESPACE + "/config"]["ttl"] == 30
        assert "Apply these changes" not in ours["out"] and ours["out"].startswith("--- \n+++ \n")
    else:
        same("edit-config", *args, stdin="y\n")


@pytest.mark.parametrize("stdin", ["", "n\n", "\n", "no\n", "YES\n", "maybe\nY\n", " y \n"])
def test_edit_config_asks(same, stdin):
    same("edit-config", "-s", "ttl=20", stdin=stdin)


DOCUMENTS = ["ttl: 20\npostgresql: {parameters: {a: 1, max_connections: null}}\n", "ttl: null\n", "{}\n",
             "ttl: '30'\n", "a: 1.0\nb: yes\nc: [x, y]\nd:\n  - e: 1\n", "new: {a: null}\n"]


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("option", ["--apply", "--replace"])
def test_edit_config_by_file(same, option, document):
    same("edit-config", option, "change.yml", "--force", files={"change.yml": document})
    same("edit-config", option, "-", stdin=document)
    same("edit-config", option, "-", "--force", stdin=document)
    same("edit-config", option, "change.yml", "-s", "ttl=25", "-p", "z=1", "--force", files={"change.yml": document})


def test_edit_config_refuses(world, same):
    same("edit-config", "--apply", "/nonexistent", "--force")
    same("edit-config", "--apply", "list.yml", "--force", files={"list.yml": "- a\n"})
    same("edit-config", "--apply", "bad.yml", "--force", files={"bad.yml": "a: [\n"})
    keys = world.keys()
    del keys["config"]
    same("edit-config", "-s", "ttl=20", keys=keys)


def test_edit_config_of_long_documents(world, same):
    """The difference is difflib's, also where lines repeat a lot."""
    keys = world.keys()
    keys["config"]["postgresql"]["parameters"] = {f"p{i:03}": "on" for i in range(150)}
    keys["config"]["slots"] = {f"s{i:03}": {"type": "physical"} for i in range(150)}
    document = yaml.safe_dump({"postgresql": {"parameters": {f"p{i:03}": None if i % 7 == 0 else f"v{i}" if i % 11 == 0
                                                             else "on" for i in range(160)}},
                               "slots": {f"s{i:03}": None if i % 5 == 0 else {"type": "physical", "x": i}
                                         if i % 13 == 0 else {"type": "physical"} for i in range(170)}})
    same("edit-config", "--apply", "change.yml", "--force", keys=keys, files={"change.yml": document})


EDITOR = "#!/bin/sh\nset -e\ncase $1 in */batman-config-*.yaml) ;; *) exit 9;; esac\n"


@pytest.mark.parametrize("script", ["sed -i s/30/20/ $1", "true", "exit 3", "echo 'a: [' >> $1", "echo '' >> $1",
                                    "kill -9 $$", "mv $1 $1.x; sed s/30/20/ $1.x > $1; rm $1.x", "echo '# c' >> $1"])
def test_edit_config_by_editor(world, same, script):
    editor = os.path.join(world.dir, "editor")
    files = {"editor": EDITOR + script + "\n"}
    with open(editor, "w", encoding="utf-8") as file:
        file.write("")
    os.chmod(editor, 0o755)
    os.makedirs(os.path.join(world.dir, "tmp"), exist_ok=True)
    same("edit-config", stdin="y\n", env={"EDITOR": editor, "TMPDIR": os.path.join(world.dir, "tmp")}, files=files)
    assert os.listdir(os.path.join(world.dir, "tmp")) == []


# Members' REST API

def test_pause_and_resume(world, same):
    ok = {("PATCH", "/config"): (200, "{}")}
    same("pause", answers=ok)
    same("resume", answers=ok)
    same("pause", answers={("PATCH", "/config"): (403, "Forbidden")})
    keys = world.keys()
    keys["config"]["pause"] = True
    same("pause", keys=keys, answers=ok)
    same("resume", keys=keys, answers=ok)
    keys = world.keys()
    keys["members/postgresql0"]["api_url"] = world.dead_api()
    same("pause", keys=keys, answers=ok)
    for name in ("members/postgresql0", "members/postgresql1", "members/postgresql2"):
        keys[name].pop("api_url")
    same("pause", keys=keys, answers=ok)


def test_pause_waits(world, same):
    ok = {("PATCH", "/config"): (200, "{}")}
    keys = world.keys()
    for i in range(3):
        keys[f"members/postgresql{i}"]["pause"] = True
    same("pause", "--wait", keys=keys, answers=ok)
    keys["config"]["loop_wait"] = 1
    keys["members/postgresql2"]["pause"] = False
    same("pause", "--wait", keys=keys, answers=ok)


def test_credentials(world, same):
    ok = {("PATCH", "/config"): (200, "{}")}
    try:
        world.write_config(restapi={"authentication": {"username": "u", "password": "p:q r"}})
        same("pause", answers=ok)
        world.write_config(restapi={"authentication": {"username": "u", "password": "p"}},
                           ctl={"authentication": {"username": "c", "password": "d"}})
        same("pause", answers=ok)
    finally:
        world.write_config()


RESTARTS = [
    (["batman", "--force"], ""), (["batman"], "\ny\n\n"), (["batman"], "now\ny\n\n"), (["batman"], "\nn\n"),
    (["batman"], "2030-01-01T10:00\ny\n16.5\n"), (["batman"], "2030-07-01 10:00:30\ny\n\n"),
    (["batman"], "2030-01-01T10:00+05:30\nn\n"), (["batman"], "nonsense\n"), (["batman"], ""), (["batman"], "\n"),
    (["batman", "postgresql1", "nosuch", "--force"], ""), (["batman", "nosuch", "--force"], ""),
    (["batman", "-r", "leader", "--force"], ""), (["batman", "-r", "replica", "postgresql0", "--force"], ""),
    (["batman", "--pending", "--force"], ""), (["batman", "--pending"], "\ny\n\n"),
    (["batman", "--pending", "--scheduled", "2030-01-01T10:00Z"], "y\n\n"),
    (["batman", "--pending", "--scheduled", "2030-01-01T10:00Z"], "n\n"),
    (["batman", "--scheduled", "20300101T101010Z", "--force", "--timeout", "5min"], ""),
    (["batman", "--pg-version", "9.5.2", "--force"], ""), (["batman", "--pg-version", "16.4"], "\ny\n"),
    (["batman", "--pg-version", "x.y", "--force"], ""), (["batman", "--pg-version", "16", "--force"], ""),
    (["batman", "--pg-version", "9.5", "--force"], ""), (["batman", "--pg-version", "1.2.3.4", "--force"], ""),
    (["nosuch", "--force"], ""), (["batman", "-r", "standby-leader", "--force"], ""),
]


@pytest.mark.parametrize("args,stdin", RESTARTS, ids=lambda value: repr(value) if isinstance(value, str) else " ".join(value))
@pytest.mark.parametrize("status", [200, 202, 409, 503])
def test_restart(same, args, stdin, status):
    same("restart", *args, stdin=stdin, answers={("POST", "/restart"): (status, "restart says so")})


def test_restart_in_other_states(world, same):
    keys = world.keys()
    keys["members/postgresql1"].update(pending_restart=True, scheduled_restart={"schedule": "2030-01-01T00:00:00+00:00"})
    answers = {("POST", "/restart"): (202, "ok"), ("DELETE", "/restart"): (404, "no such")}
    same("restart", "batman", "--pending", "--force", keys=keys, answers=answers)
    same("restart", "batman", "--scheduled", "2030-02-01T00:00", "--force", keys=keys, answers=answers)
    keys["config"]["pause"] = True
    same("restart", "batman", "--scheduled", "2030-02-01T00:00", "--force", keys=keys, answers=answers)
    keys = world.keys()
    keys["members/postgresql1"]["api_url"] = world.dead_api()
    same("restart", "batman", "--force", keys=keys, answers=answers)


@pytest.mark.parametrize("status", [200, 202, 503])
def test_reload(same, status):
    answers = {("POST", "/reload"): (status, "busy")}
    same("reload", "batman", "--force", answers=answers)
    same("reload", "batman", "postgresql2", stdin="y\n", answers=answers)
    same("reload", "batman", stdin="n\n", answers=answers)
    same("reload", "batman", stdin="", answers=answers)
    same("reload", "nosuch", answers=answers)


def test_reinit(same):
    ok = {("POST", "/reinitialize"): (200, "reinitialize started")}
    busy = {("POST", "/reinitialize"): [(503, "reinitialize already in progress"), (200, "reinitialize started")]}
    same("reinit", "batman", "--force", answers=ok)
    same("reinit", "batman", "postgresql1", "--force", answers=ok)
    same("reinit", "batman", "postgresql1", "--from-leader", stdin="y\n", answers=ok)
    same("reinit", "batman", "postgresql0", "--force", answers=ok)
    same("reinit", "batman", "postgresql1", stdin="y\ny\n", answers=busy)
    same("reinit", "batman", "postgresql1", stdin="y\nn\n", answers=busy)
    same("reinit", "batman", "postgresql1", "--force", answers=busy)
    waiting = {**ok, ("GET", "/patroni"): [(200, json.dumps({"state": "creating replica"})),
                                           (200, json.dumps({"state": "running"}))]}
    same("reinit", "batman", "postgresql1", "--force", "--wait", answers=waiting)


def test_reinit_asks_which(same):
    ok = {("POST", "/reinitialize"): (200, "reinitialize started")}
    for stdin in ("postgresql1\ny\n", "nosuch\n", "\n"):
        ours = same("reinit", "batman", stdin=stdin, answers=ok, but=("out",))  # the origin's order is arbitrary
        assert "Which member do you want to reinitialize [postgresql1, postgresql2]? []: " in ours["out"]


def test_flush(world, same):
    keys = world.keys()
    keys["members/postgresql1"]["scheduled_restart"] = {"schedule": "2030-01-01T00:00:00+00:00"}
    for status in (200, 404):
        same("flush", "batman", "restart", "--force", keys=keys, answers={("DELETE", "/restart"): (status, "x")})
    same("flush", "batman", "postgresql2", "restart", keys=keys, stdin="y\n")
    same("flush", "batman", "postgresql1", "restart", keys=keys, stdin="n\n")
    same("flush", "batman", "switchover")
    keys["failover"] = {"leader": "postgresql0", "scheduled_at": "2030-03-23T18:00:00+00:00"}
    for status in (200, 404, 412):
        same("flush", "batman", "switchover", keys=keys, answers={("DELETE", "/switchover"): (status, "x")})
    for i in range(3):
        keys[f"members/postgresql{i}"]["api_url"] = world.dead_api()
    same("flush", "batman", "switchover", keys=keys)


SWITCHOVERS = [
    (["--force"], ""), (["--candidate", "postgresql1", "--force"], ""), ([], "\n\n\ny\n"),
    ([], "postgresql0\npostgresql1\nnow\ny\n"), ([], "\npostgresql2\n2030-01-01T10:00\ny\n"),
    ([], "\npostgresql2\n2030-01-01T10:00\nn\n"), ([], "\npostgresql1\n\nn\n"), ([], "postgresql1\n"),
    ([], "\nnosuch\n"), ([], "\npostgresql0\n"), ([], "\n\ntoday-ish\n"), ([], ""), ([], "\n"),
    (["--leader", "postgresql1", "--force"], ""), (["--primary", "postgresql0"], "postgresql1\n\ny\n"),
    (["--scheduled", "2030-06-01T10:00:00.5", "--force"], ""), (["--scheduled", "now"], "\n\ny\n"),
    (["--scheduled", "", "--force"], ""), (["nosuch", "--force"], ""), (["batman", "--candidate", "", "--force"], ""),
]


@pytest.mark.parametrize("args,stdin", SWITCHOVERS, ids=lambda value: repr(value) if isinstance(value, str) else " ".join(value))
@pytest.mark.parametrize("status", [200, 202, 412, 501])
def test_switchover(same, args, stdin, status):
    text = "Server does not support this operation" if status == 501 else "Successfully switched over"
    same("switchover", *args, stdin=stdin, answers={("POST", "/switchover"): (status, text),
                                                    ("POST", "/failover"): (200, "Failed over")})


FAILOVERS = [
    (["--candidate", "postgresql1", "--force"], ""), (["--force"], ""), ([], "postgresql1\ny\n"), ([], "\n"),
    ([], "postgresql2\nn\n"), (["--candidate", "nosuch"], ""), (["--candidate", "postgresql0"], ""),
    (["--candidate", "postgresql2"], "y\ny\n"), (["--candidate", "postgresql2"], "n\n"),
]


@pytest.mark.parametrize("args,stdin", FAILOVERS, ids=lambda value: repr(value) if isinstance(value, str) else " ".join(value))
@pytest.mark.parametrize("state", ["healthy", "synchronous", "no leader", "nofailover", "dead", "alone"])
def test_failover(world, same, args, stdin, state):
    keys = world.keys()
    if state == "synchronous":
        keys["config"]["synchronous_mode"] = True
        keys["sync"] = {"leader": "postgresql0", "sync_standby": "postgresql1"}
    elif state == "no leader":
        del keys["leader"]
    elif state == "nofailover":
        keys["members/postgresql1"]["tags"] = {"nofailover": True}
    elif state == "dead":
        for i in range(3):
            keys[f"members/postgresql{i}"]["api_url"] = world.dead_api()
    elif state == "alone":
        del keys["members/postgresql1"], keys["members/postgresql2"]
    same("failover", *args, keys=keys, stdin=stdin, answers={("POST", "/failover"): (200, "Failed over")})


def test_switchover_in_other_states(world, same):
    keys = world.keys()
    del keys["leader"]
    same("switchover", "--force", keys=keys)
    keys = world.keys()
    keys["config"]["pause"] = True
    same("switchover", "--scheduled", "2030-01-01T10:00", "--force", keys=keys)
    keys = world.keys()
    keys["config"]["standby_cluster"] = {"host": "x"}
    same("switchover", keys=keys, stdin="\n\n\nn\n")
    keys = world.keys()
    keys["members/postgresql0"]["api_url"] = world.dead_api()
    same("switchover", "--candidate", "postgresql1", "--force", keys=keys)
    same("switchover", "--scheduled", "2030-01-01T10:00", "--force", keys=keys)
    del keys["members/postgresql0"]
    same("switchover", "--candidate", "postgresql1", "--force", keys=keys)


@pytest.mark.parametrize("stdin", ["batman\nYes I am aware\npostgresql0\n", "batman\nYes I am aware\nx\n", "batman\nyes\n",
                                   "x\n", "", "\n\nbatman\nYes I am aware\n"])
def test_remove(world, same, stdin):
    same("remove", "batman", stdin=stdin)
    keys = world.keys()
    del keys["leader"]
    same("remove", "batman", "-f", "json", keys=keys, stdin=stdin)


def test_a_group_of_a_citus_cluster(world, same):
    keys = {f"1/{key}": value for key, value in world.keys().items()}
    same("list", "--group", "1", keys=keys)
    same("topology", "--group", "1", keys=keys)
    same("list", "--group", "1", "-f", "json", keys=keys)
    same("show-config", "--group", "1", keys=keys)
    same("switchover", "--group", "1", "--force", keys=keys, answers={("POST", "/switchover"): (200, "ok")})
    same("list", "--group", "2", keys=keys)


@pytest.fixture
def citus(world):
    """Keys of a Citus cluster of three groups, with citus in the configuration."""
    world.write_config(citus={"group": 0, "database": "citus"})
    keys = {f"0/{key}": value for key, value in world.keys().items()}
    for group, port, state in ((1, 5441, "streaming"), (10, 5451, "stopped"), (2, 5461, "running")):
        keys.update({
            f"{group}/initialize": str(group) + SYSID[1:],
            f"{group}/config": {"ttl": 30, "pause": group == 10},
            f"{group}/leader": f"worker{group}a",
            f"{group}/status": {"optime": 67395656},
            f"{group}/members/worker{group}a": member(port, role="primary", api=world.api("patroni"), timeline=group),
            f"{group}/members/worker{group}b": member(port + 1, state=state, api=world.api("patroni"), tags={"x": group},
                                                      pending_restart=group == 2)})
    keys["1/failover"] = {"leader": "worker1a", "member": "worker1b", "scheduled_at": "2030-03-23T18:00:00+00:00"}
    yield keys
    world.write_config()


@pytest.mark.parametrize("args", [
    ["list"], ["list", "-e"], ["list", "-f", "json"], ["list", "-f", "yaml"], ["list", "-f", "tsv"], ["topology"],
    ["list", "--group", "1"], ["list", "--group", "10"], ["list", "--group", "7"], ["list", "nosuch"], ["list", "batman", "nosuch"],
    ["topology", "--group", "2"], ["dsn"], ["dsn", "-r", "replica"], ["dsn", "-m", "worker2b"], ["dsn", "-m", "worker10a"],
    ["dsn", "--group", "1"], ["dsn", "-r", "standby-leader"], ["show-config"], ["show-config", "--group", "10"], ["history"],
    ["restart", "batman", "--force"], ["restart", "batman", "-r", "leader", "--force"],
    ["restart", "batman", "--pending", "--force"], ["restart", "batman", "worker1b", "worker10b", "--force"],
    ["restart", "batman", "--group", "1", "--force"], ["reload", "batman", "--force"], ["reload", "batman", "-r", "replica", "--force"],
    ["reinit", "batman", "worker2b", "--force"], ["reinit", "batman", "worker2a", "--force"], ["flush", "batman", "restart", "--force"],
    ["flush", "batman", "switchover"], ["flush", "batman", "switchover", "--group", "1"], ["switchover", "--force"],
    ["failover", "--force"], ["switchover", "--group", "2", "--force"], ["remove", "batman"], ["pause"], ["pause", "--group", "2"],
    ["query", "-c", "SELECT 1", "-m", "nosuch"], ["query", "-c", "SELECT 1", "-r", "standby-leader"]], ids=" ".join)
def test_a_whole_citus_cluster(same, citus, args):
    ok = {("POST", path): (200, "ok") for path in ("/restart", "/reload", "/reinitialize", "/switchover", "/failover")}
    ok[("PATCH", "/config")] = ok[("DELETE", "/switchover")] = (200, "{}")
    same(*args, keys=citus, answers=ok)


@pytest.mark.parametrize("stdin", ["", "x\n2\n\nworker2b\nnow\ny\n", "7\n", "1\n\n\n\nn\n"])
def test_a_switchover_asks_for_the_group(same, citus, stdin):
    same("switchover", keys=citus, stdin=stdin, answers={("POST", "/switchover"): (200, "ok")})


def test_versions_of_a_whole_citus_cluster(same, citus):
    answer = {("GET", "/patroni"): (200, json.dumps({"patroni": {"version": "4.1.5"}, "server_version": 160004}))}
    ours = same("version", "batman", keys=citus, answers=answer, but=("out",))
    assert re.findall(r"^(\w+): ", ours["out"], re.M) == [
        "postgresql0", "postgresql1", "postgresql2", "worker1a", "worker1b", "worker10a", "worker10b", "worker2a", "worker2b"]


ROLE_CHANGES = [
    (["demote-cluster"], ""), (["demote-cluster", "--primary-slot-name", "s", "--force"], ""),
    (["demote-cluster", "--host", "", "--force"], ""), (["demote-cluster", "--port", "x"], ""),
    (["demote-cluster", "--host", "h"], "n\n"), (["demote-cluster", "--host", "h"], ""),
    (["demote-cluster", "--host", "h", "--port", "5433", "--primary-slot-name", "s"], "y\n"),
    (["demote-cluster", "--restore-command", "cp /x/%f %p", "--force"], ""),
    (["promote-cluster"], "n\n"), (["promote-cluster", "batman"], "y\n"), (["promote-cluster", "nosuch", "--force"], ""),
]


@pytest.mark.parametrize("args,stdin", ROLE_CHANGES,
                         ids=lambda value: repr(value) if isinstance(value, str) else " ".join(value))
@pytest.mark.parametrize("state", ["done", "already", "refused", "no leader", "dead"])
def test_the_role_of_a_cluster(world, same, args, stdin, state):
    roles = ["primary", "standby_leader"]
    if args[0] == "promote-cluster":
        roles.reverse()
    keys = world.keys()
    keys["members/postgresql0"]["role"] = roles[state == "already"]
    if state == "no leader":
        del keys["leader"]
    elif state == "dead":
        keys["members/postgresql0"]["api_url"] = world.dead_api()

    def change():
        if state == "refused":
            return 409, "busy"
        keys["members/postgresql0"]["role"] = roles[1]
        world.etcd.put(f"{NAMESPACE}/members/postgresql0", json.dumps(keys["members/postgresql0"]))
        keys["members/postgresql0"]["role"] = roles[0]
        return 200, "{}"

    same(*args, keys=keys, stdin=stdin, answers={("PATCH", "/config"): change})


def test_the_way_to_another_role_is_told(world):
    """The former leader is still starting after somebody else has become the standby leader."""
    keys = world.keys()

    def change():
        document = {**keys["members/postgresql1"], "role": "standby_leader", "state": "running"}
        world.etcd.put(f"{NAMESPACE}/members/postgresql1", json.dumps(document))
        world.etcd.put(f"{NAMESPACE}/leader", "postgresql1")
        document = {**keys["members/postgresql0"], "role": "replica", "state": "starting"}
        world.etcd.put(f"{NAMESPACE}/members/postgresql0", json.dumps(document))
        document["state"] = "running"
        timer = threading.Timer(1.5, world.etcd.put, (f"{NAMESPACE}/members/postgresql0", json.dumps(document)))
        timer.start()
        return 200, "{}"

    for tool in (PATRONICTL, PGVIGILCTL):
        got = run(tool, world, ["demote-cluster", "--host", "h", "--force"], keys, {("PATCH", "/config"): change}, "", {}, {})
        assert "<second> cluster is unlocked: False, leader role: standby_leader, leader state: running, " \
               "previous leader state: 'starting'\n" in got["out"]
        assert "<second> cluster is successfully demoted\n+ Cluster: batman" in got["out"]


# Where we differ on purpose

DRY = {"switchover", "failover", "edit-config", "remove"}


@pytest.mark.parametrize("args,stdin,said", [
    (["switchover", "--force"], "",
     'member postgresql0 would be asked for a switchover: {"candidate": null, "leader": "postgresql0"}'),
    (["switchover"], "\npostgresql1\n2030-01-01T10:00\n", 'member postgresql0 would be asked for a switchover: {"candidate": '
     '"postgresql1", "leader": "postgresql0", "scheduled_at": "2030-01-01T10:00:00+01:00"}'),
    (["failover", "--candidate", "postgresql2"], "",
     'member postgresql0 would be asked for a failover: {"candidate": "postgresql2"}'),
    (["edit-config", "-s", "ttl=20"], "", "-ttl: 30\n+ttl: 20\nDry run: the configuration is not changed"),
    (["edit-config", "--apply", "-", "--force"], "ttl: 20\n", "Dry run: the configuration is not changed"),
    (["edit-config", "-s", "ttl=30"], "", "Not changed"),
    (["remove", "batman"], "", "Dry run: all keys below /service/batman/ would be deleted"),
    (["switchover", "--candidate", "nosuch"], "\n", "does not exist in cluster batman"),
    (["failover"], "\n", "Failover could be performed only to a specific candidate"),
    (["edit-config", "-s", "ttl"], "", "Invalid parameter setting ttl")])
def test_a_dry_run_changes_nothing(world, args, stdin, said):
    keys = world.keys()
    got = run(PGVIGILCTL, world, [*args, "--dry-run"], keys, {}, stdin, {}, {})
    assert said in got["out"] + got["err"]
    assert got["status"] == (0 if said not in got["err"] else 1)
    assert got["asked"] == []
    assert got["stored"] == {f"{NAMESPACE}/{key}": json.loads(value) if isinstance(value, str) and value.isdigit() else value
                             for key, value in keys.items()}
    assert "Are you sure" not in got["out"] and "Apply these" not in got["out"] and "confirm" not in got["out"]

def ours_alone(world, args, stdin="", keys=None, **more):
    return run(PGVIGILCTL, world, args, keys or world.keys(), {}, stdin, more, {})


def test_credentials_are_utf8(world):
    """As the agents expect them; the origin's client sends Latin-1, which they refuse."""
    try:
        world.write_config(ctl={"authentication": {"username": "u", "password": "pü"}})
        got = ours_alone(world, ["reload", "batman", "postgresql1", "--force"])
        assert got["asked"][0][3] == "Basic " + base64.b64encode("u:pü".encode()).decode()
    finally:
        world.write_config()


def test_an_emptied_configuration_is_refused(world):
    """The origin would store 'null'."""
    editor = os.path.join(world.dir, "editor")
    with open(editor, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n: > $1\n")
    os.chmod(editor, 0o755)
    got = ours_alone(world, ["edit-config", "--force"], EDITOR=editor)
    assert got["status"] == 1 and got["err"].startswith("Error: ")
    assert got["stored"][NAMESPACE + "/config"]["ttl"] == 30


def test_a_store_that_does_not_answer_is_an_error(world):
    """The origin asks for ever."""
    got = ours_alone(world, ["-d", f"etcd3://127.0.0.1:{world.dead_port}", "list", "batman"])
    assert got["status"] == 1
    assert got["err"].startswith("Error: ") and "\n" not in got["err"]


def test_a_concurrent_change_is_not_overwritten(world):
    """While the editor is open someone else changes the configuration."""
    editor = os.path.join(world.dir, "editor")
    url = f"http://{world.etcd.addresses[0]}/v3/kv/put"
    body = json.dumps({"key": base64.b64encode(f"{NAMESPACE}/config".encode()).decode(),
                       "value": base64.b64encode(b'{"ttl":99}').decode()})
    with open(editor, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\nsed -i s/30/20/ $1\ncurl -fsS -d '{body}' {url} > /dev/null\n")
    os.chmod(editor, 0o755)
    got = ours_alone(world, ["edit-config", "--force"], EDITOR=editor)
    assert got["status"] == 1
    assert got["err"] == "Error: Config modification aborted due to concurrent changes"
    assert got["stored"][NAMESPACE + "/config"] == {"ttl": 99}


def terminal_of(world, args, on=("stdin", "stdout", "stderr"), **env):
    environment = {"PATH": os.environ["PATH"], "HOME": world.dir, "LC_ALL": "C.UTF-8", "TERM": "dumb",
                   "PATRONICTL_CONFIG_FILE": world.config, **env}
    return Terminal([PGVIGILCTL, *args], environment, world.dir, on)


def complains(world, args, keys=None, stdin="", **env):
    """What ours writes on standard error, and its exit status."""
    world.put(keys or world.keys())
    done = subprocess.run([PGVIGILCTL, *args], input=stdin.encode(), capture_output=True, env={**world.env, **env}, timeout=60,
                          cwd=world.dir, check=False)
    return re.sub(r"^\d{4}-\d\d-\d\d [\d:,]+ - ([A-Z]+) - ", r"\1 ", done.stderr.decode(), flags=re.M), done.returncode


@pytest.mark.parametrize("args,said", [
    (["-p", "max_connections=200"],
     "WARNING Needs a restart: max_connections 100 -> 200: restart of postgresql0, postgresql1\n"),
    (["-p", "work_mem=64MB"], ""),
    (["-p", "max_connectons=200"], "WARNING Warning: postgresql.parameters.max_connectons  is not known to PostgreSQL [did you "
     "mean 'max_connections'?]\n"),
    (["-s", "lop_wait=5"], "WARNING Warning: lop_wait  is not known and has no effect [did you mean 'loop_wait'?]\n"),
    (["-q", "-p", "max_connections=200"], ""),
    (["-s", "ttl=x"], "ERROR Invalid: ttl x didn't pass validation: Wrong value [a number of at least 20 s]\n")])
@pytest.mark.parametrize("force", [True, False])
def test_a_change_is_checked(world, args, said, force):
    """postgresql2 does not run, and will start with the new value."""
    err, status = complains(world, ["edit-config", *args, *(["--force"] if force else [])], stdin="y\n")
    refused = "ERROR" in said and not force
    assert err == said + ("Error: The configuration is invalid and was not changed; --force would\n" if refused else "")
    assert status == refused
    config = json.loads(world.found()[NAMESPACE + "/config"])
    assert (config == world.keys()["config"]) == refused


def test_what_is_said_on_a_terminal_about_a_change(world):
    world.put(world.keys())
    terminal = terminal_of(world, ["edit-config", "-p", 'work_mem="\\e[2J"', "-p", "shared_buffers=1GB"], PAGER="cat")
    terminal.until(r"\nWarning: postgresql.parameters.work_mem \?\[2J does not suit and is left out \[a number, by itself counted in kB\]\r\n"
                   r"Needs a restart: shared_buffers default -> 1GB: restart of postgresql0, postgresql1\r\n"
                   r"Apply these changes\? \[y/N\]: $")
    terminal.type("n\n")
    assert terminal.ended() == 0


def test_a_change_of_somebody_else_is_shown_and_the_text_kept(world):
    editor = os.path.join(world.dir, "editor")
    url = f"http://{world.etcd.addresses[0]}/v3/kv/put"
    body = json.dumps({"key": base64.b64encode(f"{NAMESPACE}/config".encode()).decode(),
                       "value": base64.b64encode(b'{"ttl":99}').decode()})
    with open(editor, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\nsed -i s/30/25/ $1\ncurl -fsS -d '{body}' {url} > /dev/null\n")
    os.chmod(editor, 0o755)
    os.makedirs(os.path.join(world.dir, "kept"), exist_ok=True)
    err, status = complains(world, ["edit-config"], stdin="y\n", EDITOR=editor, TMPDIR=os.path.join(world.dir, "kept"))
    assert status == 1
    assert "WARNING Meanwhile: -ttl: 30\nWARNING Meanwhile: +ttl: 99\n" in err
    assert err.endswith("Error: Config modification aborted due to concurrent changes\n")
    kept = re.search(r"WARNING the edited configuration is kept in (.*)\n", err)[1]
    with open(kept, encoding="utf-8") as file:
        assert "ttl: 25\n" in file.read()
    assert os.stat(kept).st_mode & 0o777 == 0o600
    os.unlink(kept)


def test_an_invalid_edited_text_is_kept(world):
    editor = os.path.join(world.dir, "editor")
    with open(editor, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\nsed -i 's/ttl: 30/ttl: thirty/' $1\n")
    err, status = complains(world, ["edit-config"], stdin="y\n", EDITOR=editor)
    kept = re.search(r"WARNING the edited configuration is kept in (.*)\n", err)[1]
    assert status == 1 and "ERROR Invalid: ttl thirty didn't pass validation" in err and "line" in err
    os.unlink(kept)


# What takes its time

class Stream:
    """GET /events of one member: what it tells, when it is told to."""

    def __init__(self, **first):
        self.member, self.queue = {"leader": False, "role": "replica", "state": "running", "timeline": 5, **first}, queue.Queue()
        self.tell()

    def tell(self, **change):
        self.member.update(change)
        self.member = {key: value for key, value in self.member.items() if value is not None}
        self.queue.put(f"event: member\ndata: {json.dumps(self.member)}\n\nevent: cluster\ndata: {{}}\n\n")

    def end(self):
        self.queue.put(None)

    def __iter__(self):
        return iter(self.queue.get, None)


@pytest.fixture
def three(world):
    """A server for each of three members, and the keys that lead to them."""
    servers = [Members() for _ in range(3)]
    keys = world.keys()
    for i, server in enumerate(servers):
        keys[f"members/postgresql{i}"]["api_url"] = f"http://127.0.0.1:{server.port}/patroni"
    world.put(keys)
    yield servers
    for server in servers:
        server.close()


def test_the_steps_of_a_switchover_are_told(world, three):
    streams = [Stream(leader=True, role="primary"), Stream(replication_state="streaming"), Stream(replication_state="streaming")]
    done = threading.Event()
    for server, stream in zip(three, streams):
        server.answers = {("GET", "/events"): (200, stream)}
    three[0].answers[("POST", "/switchover")] = lambda: (200, 'Successfully switched over to "postgresql1"') if done.wait(20) else None
    terminal = terminal_of(world, ["switchover", "--force"], on=("stderr",))
    old, new, third = streams
    try:
        old.tell(state="stopping", job={"kind": "stop", "name": "switchover: demote", "seconds": 0, "step": "stopping"})
        terminal.until(r"\d\.\d s  postgresql0: shutting down\r\n(.*\r)*switchover: postgresql0: stopping… \d")
        old.tell(state="stopped", leader=False, job=None)
        terminal.until(r"\d\.\d s  postgresql0: no longer the leader\r\n +\d\.\d s  postgresql0: stopped\r\n")
        new.tell(leader=True, job={"kind": "promote", "name": "promotion", "step": "\x1b[2Jpromoting"})
        terminal.until(r"postgresql1: the new leader\r\n(.*\r)*switchover: postgresql1: \?\[2Jpromoting… \d")
        done.set()
        new.tell(role="primary", timeline=6, job=None, replication_state=None)
        terminal.until(r"postgresql1: promoted, timeline 6\r\n(.*\r)*switchover: waiting for the members to follow… \d")
        third.tell(timeline=6)
        terminal.until(r"\d\.\d s  postgresql2: follows on timeline 6\r\n")
        old.tell(state="running", role="replica", timeline=6, replication_state="streaming")
        terminal.until(r"\d\.\d s  postgresql0: follows on timeline 6\r\n")
        out, _ = terminal.process.communicate(timeout=20)
        assert terminal.ended() == 0
        assert 'Successfully switched over to "postgresql1"' in out.decode() and out.decode().count("+ Cluster: batman") == 2
        assert "\x1b[2J" not in terminal.seen and b"\x1b" not in out
    finally:
        for stream in streams:
            stream.end()


def test_members_that_are_patroni_are_asked_every_second(world, three):
    """Its health check answers for /events."""
    told = [{"state": "running", "role": "primary", "timeline": 5}, {"state": "running", "role": "replica", "timeline": 5},
            {"state": "running", "role": "replica", "timeline": 5}]
    done = threading.Event()
    for server, now in zip(three, told):
        server.answers = {("GET", "/events"): lambda now=now: (503, json.dumps(now)), ("GET", "/patroni"): lambda now=now: (200, json.dumps(now))}
    three[0].answers[("POST", "/switchover")] = lambda: (200, "Successfully switched over") if done.wait(20) else None
    terminal = terminal_of(world, ["switchover", "--force"], on=("stderr",))
    told[0].update(state="stopping")
    terminal.until("postgresql0: shutting down")
    told[0].update(state="stopped", role="replica")
    terminal.until("postgresql0: no longer the leader(.*\r?\n)+.*postgresql0: stopped")
    told[1].update(role="primary", timeline=6)
    terminal.until("postgresql1: the new leader\r\n.*postgresql1: promoted, timeline 6")
    done.set()
    for now in (told[0], told[2]):
        now.update(state="running", timeline=6, replication_state="streaming")
    terminal.until("postgresql2: follows on timeline 6")
    out, _ = terminal.process.communicate(timeout=20)
    assert terminal.ended() == 0 and out.decode().count("+ Cluster: batman") == 2
    assert [path for _, path, *_ in three[1].asked].count("/events") == 1


def test_ctrl_c_leaves_out_the_wait_for_the_others(world, three):
    stream = Stream(leader=True, role="primary")
    three[0].answers = {("GET", "/events"): (200, stream), ("POST", "/switchover"): (200, "Successfully switched over")}
    terminal = terminal_of(world, ["switchover", "--force"], on=("stderr",))
    terminal.until(r"switchover: waiting for the new leader… [1-9]")
    os.killpg(terminal.process.pid, signal.SIGINT)
    out, _ = terminal.process.communicate(timeout=20)
    assert terminal.ended() == 0 and out.decode().count("+ Cluster: batman") == 2
    stream.end()


def test_the_copy_of_a_member_is_followed(world, three):
    stream = Stream(state="creating replica", job={"kind": "clone", "name": "reinitialize", "step": "basebackup", "percent": 0,
                                                   "bytes": 0, "bytes_total": 2 << 30})
    looks = []
    three[1].answers = {("GET", "/events"): (200, stream), ("POST", "/reinitialize"): (200, "reinitialize started"),
                        ("GET", "/patroni"): lambda: (looks.append(1), (200, json.dumps(stream.member)))[1]}
    terminal = terminal_of(world, ["reinit", "batman", "postgresql1", "--force", "--wait"])
    try:
        terminal.until(r"Waiting for reinitialize to complete on: postgresql1\r\n(.*\r)*reinit: postgresql1: basebackup 0% of 2\.0 GB… ")
        for percent in range(1, 46):
            stream.tell(job={**stream.member["job"], "percent": percent, "bytes": (2 << 30) * percent // 100})
            if percent == 1:
                terminal.until(r"reinit: postgresql1: basebackup 1% of 2\.0 GB, [\d.]+ [MG]B/s, \d+ s left… \d+\.\d s")
        terminal.until(r"reinit: postgresql1: basebackup 45% of 2\.0 GB, ")
        stream.tell(state="starting", job={"kind": "start", "name": "starting as a secondary"})
        terminal.until(r"Reinitialize is completed on: postgresql1\r\n")
        assert terminal.ended() == 0
    finally:
        stream.end()
    assert "Success: reinitialize for member postgresql1\r\n" in terminal.seen and looks


def test_a_member_that_is_still_to_be_copied_is_waited_for(world, three):
    """A pgvigil stops PostgreSQL first, and tells why; a pipe waits for it as well."""
    told = [{"state": "stopping", "pgvigil": {"job": {"kind": "stop", "name": "reinitialize"}}},
            {"state": "creating replica", "pgvigil": {"job": {"kind": "clone", "name": "reinitialize"}}}, {"state": "starting"}]
    three[1].answers = {("POST", "/reinitialize"): (200, "ok"), ("GET", "/patroni"): [(200, json.dumps(now)) for now in told]}
    done = subprocess.run([PGVIGILCTL, "reinit", "batman", "postgresql1", "--force", "--wait"], env=world.env,
                          capture_output=True, timeout=60, check=True)
    assert done.stdout.decode().endswith("Waiting for reinitialize to complete on: postgresql1\n"
                                         "Reinitialize is completed on: postgresql1\n")
    assert done.stderr == b"" and [path for _, path, *_ in three[1].asked] == ["/reinitialize"] + 3 * ["/patroni"]


def test_restarts_are_counted(world, three):
    streams = [Stream(job={"kind": "restart", "name": "restart", "step": "stopping"}) for _ in three]
    go_on = [threading.Event() for _ in three]
    for server, stream, event in zip(three, streams, go_on):
        server.answers = {("GET", "/events"): (200, stream), ("POST", "/restart"): lambda event=event: (200, "ok") if event.wait(20) else None}
    terminal = terminal_of(world, ["restart", "batman", "--force"])
    for i in range(3):
        terminal.until(rf"restart: member postgresql{i} \({i + 1} of 3\): stopping… \d+\.\d s")
        streams[i].tell(job={"kind": "restart", "name": "restart", "step": "starting"})
        terminal.until(rf"restart: member postgresql{i} \({i + 1} of 3\): starting… \d+\.\d s")
        go_on[i].set()
        terminal.until(rf"\d s  {i + 1} of 3: postgresql{i}\r\nSuccess: restart on member postgresql{i}\r\n")
        streams[i].end()
    assert terminal.ended() == 0


def test_a_demotion_that_cannot_be_ends(world):
    """All who answer are of a kind that is never a standby cluster."""
    keys = world.keys()
    answers = {("PATCH", "/config"): (200, "{}"), ("GET", "/patroni"): (200, '{"state": "running", "pgvigil": {"version": "1"}}')}
    got = run(PGVIGILCTL, world, ["demote-cluster", "--host", "h", "--force"], keys, answers, "", {}, {})
    assert got["status"] == 1 and got["err"].startswith("Error: Nothing has come of it within 30 seconds: ")
    assert got["out"].count("leader role: primary, leader state: running\n") == 30
    # One of them is a Patroni, so it goes on; Ctrl-C ends the waiting.
    world.put(keys)
    world.members.answers = {("PATCH", "/config"): (200, "{}"), ("GET", "/patroni"): (200, '{"state": "running"}')}
    terminal = terminal_of(world, ["demote-cluster", "--host", "h", "--force"])
    terminal.until(r"(leader state: running\r\n(.*\r)*.*){33}", timeout=60)
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.ended() == 1 and "Aborted!" in terminal.seen


def test_progress_is_shown_on_a_terminal(world):
    world.put(world.keys())
    go_on = threading.Event()
    world.members.answers = {("POST", "/switchover"): lambda: (200, "done") if go_on.wait(20) else (500, "late")}
    terminal = terminal_of(world, ["switchover", "--force"], on=("stderr",))
    terminal.until(r"switchover: waiting for the new leader… \d+\.\d s")
    go_on.set()
    out, _ = terminal.process.communicate(timeout=20)
    assert terminal.ended() == 0
    assert terminal.seen.endswith("\r\x1b[K"), "the line is taken away at the end"
    assert "waiting" not in out.decode() and " done\n" in out.decode()


def test_questions_and_interruption_on_a_terminal(world):
    world.put(world.keys())
    terminal = terminal_of(world, ["switchover"])
    terminal.until(r"Primary \[postgresql0\]: $")
    terminal.type("\n")
    terminal.until(r"Candidate .* \[\]: $")
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.ended() == 1
    assert terminal.seen.endswith("[]: Aborted!\r\n")


def test_interruption_while_waiting(world):
    world.put(world.keys())
    asked = threading.Event()
    go_on = threading.Event()

    def wait():
        asked.set()
        go_on.wait(20)
        return 200, "done"

    world.members.answers = {("POST", "/restart"): wait}
    terminal = terminal_of(world, ["restart", "batman", "postgresql1", "--force"])
    assert asked.wait(20)
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.ended() == 1
    assert terminal.seen.endswith("\r\nAborted!\r\n")
    go_on.set()


@pytest.mark.parametrize("pager", ["cat", "./pager"])
def test_differences_go_through_the_pager(world, pager):
    world.put(world.keys())
    with open(os.path.join(world.dir, "pager"), "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\necho paged; cat\n")
    os.chmod(os.path.join(world.dir, "pager"), 0o755)
    terminal = terminal_of(world, ["edit-config", "-s", "ttl=45"], PAGER=pager)
    terminal.until(r"-ttl: 30\r\n\+ttl: 45\r\n.*Apply these changes\? \[y/N\]: $")
    assert ("paged" in terminal.seen) == (pager == "./pager")
    terminal.type("y\n")
    assert terminal.ended() == 0
    assert "Configuration changed" in terminal.seen


def test_no_pager(world):
    world.put(world.keys())
    terminal = terminal_of(world, ["edit-config", "-s", "ttl=20"], PATH="/nonexistent", PAGER="nosuch")
    terminal.until("Error: No pager could be found")
    assert terminal.ended() == 1


def test_the_screen_is_redrawn_in_place(world):
    """Cleared once; after that each round is written over the last, which may have been longer."""
    world.put(world.keys())
    terminal = terminal_of(world, ["list", "-w", "0.1"], TERM="xterm", NO_COLOR="1")
    line = r"[^\x1b\r\n]*\x1b\[K\r\n"
    terminal.until(rf"^\x1b\[2J\x1b\[1;1H(\+ Cluster: batman {line}({line})+\x1b\[J\x1b\[1;1H){{3}}")
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.ended() == 1


@pytest.mark.parametrize("env,coloured", [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": ""}, True),
                                          ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours(world, env, coloured):
    """Only on a terminal that has them and for whom wants them; the words stay the same."""
    world.put(world.keys())
    plain = subprocess.run([PGVIGILCTL, "list"], env={**world.env, **env}, capture_output=True, timeout=60, check=True).stdout
    assert b"\x1b" not in plain
    terminal = terminal_of(world, ["list"], **env)
    terminal.until(r"(\r\n\+-[-+]+){2}\r\n$|\| postgresql2 .*\r\n\+-[-+]+\r\n$")
    assert terminal.ended() == 0
    assert re.sub(r"\x1b\[\d+m", "", terminal.seen).replace("\r\n", "\n") == plain.decode()
    for word in ("\x1b[1mLeader\x1b[0m ", "\x1b[32mrunning\x1b[0m ", "\x1b[31mstopped\x1b[0m "):
        assert (word in terminal.seen) == coloured
    assert ("\x1b" in terminal.seen) == coloured
