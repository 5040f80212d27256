# SPDX-License-Identifier: PostgreSQL
"""pgvigil --generate-sample-config and --generate-config against Patroni's: the same document.

Skipped when Patroni is not set up (tests/peers/install patroni).
"""

import os
import shutil
import stat
import subprocess

import psycopg2
import pytest
import yaml

from lib import process
from lib.node import agent_binary, pg_bin_dir
from lib.ports import free_port, give_back

PATRONI, PGVIGIL = agent_binary("patroni"), agent_binary("pgvigil")
pytestmark = [pytest.mark.pgvigil,
              pytest.mark.skipif(not os.access(PATRONI, os.X_OK), reason="Patroni is not set up")]
PATH = {"PATH": pg_bin_dir() + ":" + os.environ["PATH"], "HOME": "/nonexistent"}


def run(program, *args, env=None, stdin=""):
    """No terminal: a password is asked for on standard input."""
    return subprocess.run([program, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          env={**PATH, **(env or {})}, input=stdin, start_new_session=True)


def same(*args, env=None, stdin="", status=0):
    """Both run; the same exit status, and the same document, which is given back."""
    theirs, ours = run(PATRONI, *args, env=env, stdin=stdin), run(PGVIGIL, *args, env=env, stdin=stdin)
    assert (theirs.returncode, ours.returncode) == (status, status), (theirs.stderr, ours.stderr)
    if status == 0:
        assert yaml.safe_load(ours.stdout) == yaml.safe_load(theirs.stdout)
        assert keys_in_order(ours.stdout) == keys_in_order(theirs.stdout)
    return ours if status == 0 else (theirs, ours)


def keys_in_order(text):
    """The lines without comments, which may read differently."""
    return [line.rstrip() for line in text.splitlines() if not line.lstrip().startswith("#")]


# ---- the sample

@pytest.mark.parametrize("env", [
    {},
    {"PATRONI_NAME": "n1", "PATRONI_SCOPE": "demo", "PATRONI_NAMESPACE": "/db/", "PATRONI_ETCD3_HOSTS": "a:1,b:2"},
    {"PATRONI_RESTAPI_LISTEN": "0.0.0.0:8008", "PATRONI_RESTAPI_ALLOWLIST": "10.0.0.0/8", "PATRONI_LOG_LEVEL": "DEBUG",
     "PATRONI_CTL_INSECURE": "on", "PATRONI_RESTAPI_USERNAME": "u", "PATRONI_RESTAPI_PASSWORD": "p"},
    {"PATRONI_POSTGRESQL_DATA_DIR": "/data", "PATRONI_REPLICATION_USERNAME": "standby",
     "PATRONI_SUPERUSER_PASSWORD": "s", "PATRONI_REWIND_USERNAME": "rw", "PATRONI_POSTGRESQL_BIN_POSTGRES": "postgres"},
    {"PATRONI_KUBERNETES_LABELS": "app: x", "PATRONI_CITUS_GROUP": "0", "PATRONI_CITUS_DATABASE": "c",
     "PATRONI_RAFT_SELF_ADDR": "h:1"},
    {"PATRONI_CONFIGURATION": "{scope: c, watchdog: {mode: off}, tags: {rack: r1, clonefrom: null}, "
                              "postgresql: {parameters: {work_mem: 8MB}}, bootstrap: {dcs: {ttl: 99}, method: x}}"},
], ids=["plain", "names", "restapi", "postgresql", "stores", "whole"])
def test_sample(env):
    done = same("--generate-sample-config", env=env)
    assert done.stdout.endswith("\n") and not done.stdout.endswith("\n\n")
    if not env:  # what a person has to do is said
        assert "to be filled in: scope\n" in done.stderr
        assert "to be filled in: postgresql.authentication.rewind.password\n" in done.stderr
        assert "a store" in done.stderr
    if "PATRONI_SCOPE" in env:
        assert "scope" not in done.stderr and "a store" not in done.stderr


def test_sample_without_postgresql():
    theirs, ours = same("--generate-sample-config", env={"PATRONI_POSTGRESQL_BIN_DIR": "/nowhere"}, status=1)
    assert theirs.stderr.split(":")[0] == ours.stderr.split(":")[0] == "Failed to get postgres version"
    assert ours.stdout == ""


def test_into_a_file(tmp_path):
    theirs, ours = str(tmp_path / "deep" / "theirs.yml"), str(tmp_path / "deeper" / "still" / "ours.yml")
    for program, path in ((PATRONI, theirs), (PGVIGIL, ours)):
        done = run(program, "--generate-sample-config", path)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with open(theirs, encoding="utf-8") as a, open(ours, encoding="utf-8") as b:
        assert yaml.safe_load(a) == yaml.safe_load(b)
    os.chmod(ours, 0o644)  # what holds passwords is not left open to all
    assert run(PGVIGIL, "--generate-sample-config", ours).returncode == 0
    assert stat.S_IMODE(os.stat(ours).st_mode) == 0o600
    assert os.listdir(os.path.dirname(ours)) == ["ours.yml"]


def test_into_what_is_no_file(tmp_path):
    done = run(PGVIGIL, "--generate-sample-config", "/dev/stdout")
    assert done.returncode == 0 and yaml.safe_load(done.stdout)["scope"] == "#FIXME"
    assert not os.path.isfile("/dev/stdout.pgvigil-new")
    done = run(PGVIGIL, "--generate-sample-config", str(tmp_path))
    assert done.returncode == 1 and str(tmp_path) in done.stderr


@pytest.mark.parametrize("first, second", [("--validate-config", "--generate-config"),
                                           ("--generate-config", "--generate-sample-config")])
def test_one_mode_only(first, second):
    theirs, ours = same(first, second, status=2)
    words = f"error: argument {second}: not allowed with argument {first}"
    assert words in theirs.stderr and words in ours.stderr


@pytest.mark.parametrize("args", [("--nonsense",), ("a", "b")])
def test_wrong_arguments(args):
    theirs, ours = same(*args, status=2)
    assert theirs.stderr.splitlines()[-1] == ours.stderr.splitlines()[-1].replace("pgvigil", "patroni")


def test_dsn_wants_an_argument():
    theirs, ours = same("--generate-config", "--dsn", status=2)
    assert theirs.stderr.splitlines()[-1] == ours.stderr.splitlines()[-1].replace("pgvigil", "patroni")


# ---- a running server

class Server:
    """Of the newest version here, with settings of all kinds."""

    HBA = ("# comment\nlocal all all trust\n\n  host all all 127.0.0.1/32 scram-sha-256  # behind\n"
           "hostssl all all 10.0.0.0/8 md5\nhostgssenc all all 10.0.0.0/8 gss\n")
    IDENT = "# map\nm  root  postgres\nn  /^(.*)$  \\1\n"

    def __init__(self):
        self.dir = process.scratch()
        self.data, self.port = os.path.join(self.dir, "data"), free_port()
        os.chown(self.dir, *((user.pw_uid, user.pw_gid) if (user := process.server_user()) else (-1, -1)))
        self.tool("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        self.append("postgresql.conf", f"""
listen_addresses = '127.0.0.1'
port = {self.port}
unix_socket_directories = '{self.dir}'
fsync = off
shared_buffers = 16MB
cluster_name = 'shop'
archive_mode = on
archive_command = 'true # it''s %p'
restore_command = 'false'
recovery_target_timeline = 'current'
max_connections = 50
work_mem = 5MB
my.own = 'x y'
""")
        self.append("pg_hba.conf", self.HBA, "w")
        self.append("pg_ident.conf", self.IDENT, "w")
        self.tool("pg_ctl", "-D", self.data, "-l", os.path.join(self.dir, "log"), "-w", "-t", "60",
                  "-o", "-c wal_level=logical", "start")
        with psycopg2.connect(host=self.dir, port=self.port, user="postgres", dbname="postgres") as connection:
            with connection.cursor() as cursor:
                cursor.execute("CREATE ROLE admin LOGIN SUPERUSER PASSWORD 'p w''d'; CREATE ROLE nobody LOGIN")

    def append(self, name, text, mode="a"):
        with open(os.path.join(self.data, name), mode, encoding="utf-8") as file:
            file.write(text)

    def tool(self, name, *args):
        user = process.server_user()
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        subprocess.run([os.path.join(pg_bin_dir(), name), *args], check=True, stdout=subprocess.DEVNULL, cwd="/", **who)

    def dsn(self, **more):
        return " ".join(f"{k}='{v}'" for k, v in {"host": self.dir, "port": self.port, "user": "admin",
                                                  "dbname": "postgres", "password": "secret", **more}.items() if v)

    def close(self):
        self.tool("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")
        give_back(self.port)
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture(scope="module")
def server():
    s = Server()
    yield s
    s.close()


def test_server(server):
    config = yaml.safe_load(same("--generate-config", "--dsn", server.dsn()).stdout)
    assert config["scope"] == "shop"
    assert config["postgresql"]["data_dir"] == server.data
    assert config["postgresql"]["bin_dir"] == pg_bin_dir()
    assert config["postgresql"]["parameters"]["archive_command"] == "true # it's %p"
    assert config["bootstrap"]["dcs"]["postgresql"]["parameters"]["wal_level"] == "logical"
    assert "recovery_target_timeline" not in config["bootstrap"]["dcs"]["postgresql"]["parameters"]
    assert len(config["postgresql"]["pg_hba"]) == 4 and len(config["postgresql"]["pg_ident"]) == 2
    assert config["postgresql"]["authentication"]["superuser"]["username"] == "admin"


def test_server_by_uri(server):
    same("--generate-config", "--dsn",
         f"postgresql://admin:p%20w@127.0.0.1:{server.port}/postgres?sslmode=disable", status=1)  # a wrong password
    config = yaml.safe_load(same("--generate-config", "--dsn",
                                 f"postgresql://admin:p%20w%27d@127.0.0.1:{server.port}/postgres?sslmode=disable").stdout)
    assert config["postgresql"]["authentication"]["superuser"]["sslmode"] == "disable"
    assert config["postgresql"]["authentication"]["superuser"]["password"] == "p w'd"


def test_server_by_variables(server):
    config = yaml.safe_load(same("--generate-config", env={
        "PGHOST": server.dir, "PGPORT": str(server.port), "PGUSER": "admin", "PGPASSWORD": "secret",
        "PGDATABASE": "postgres", "PGSSLMODE": "disable", "PGSSLCRL": "/nowhere", "PATRONI_NAME": "n1",
        "PATRONI_RESTAPI_CONNECT_ADDRESS": "10.0.0.1:8008", "PATRONI_ETCD3_HOST": "h:1"}).stdout)
    assert config["name"] == "n1"
    assert config["postgresql"]["authentication"]["superuser"]["sslcrl"] == "/nowhere"


def test_server_password_by_hand(server):
    config = yaml.safe_load(same("--generate-config", "--dsn", server.dsn(password=None), stdin="by hand\n").stdout)
    assert config["postgresql"]["authentication"]["superuser"]["password"] == "by hand"


def test_server_users_of_the_environment(server):
    """Patroni forgets them here."""
    done = run(PGVIGIL, "--generate-config", env={
        "PGHOST": server.dir, "PGPORT": str(server.port), "PGDATABASE": "postgres",
        "PATRONI_SUPERUSER_USERNAME": "admin", "PATRONI_SUPERUSER_PASSWORD": "s", "PATRONI_REWIND_USERNAME": "rw",
        "PATRONI_REPLICATION_USERNAME": "standby", "PATRONI_REPLICATION_PASSWORD": "r"})
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["postgresql"]["authentication"] == {
        "superuser": {"username": "admin", "password": "s"},
        "replication": {"username": "standby", "password": "r"},
        "rewind": {"username": "rw", "password": "#FIXME"}}


def test_server_files_elsewhere(server, tmp_path):
    """A pg_hba.conf of the operator's own is named and not copied."""
    elsewhere = os.path.join(server.dir, "own_hba.conf")
    shutil.copy(os.path.join(server.data, "pg_hba.conf"), elsewhere)
    os.chmod(elsewhere, 0o644)
    server.append("postgresql.conf", f"hba_file = '{elsewhere}'\n")
    server.tool("pg_ctl", "-D", server.data, "-l", os.path.join(server.dir, "log"), "-w", "restart")
    config = yaml.safe_load(same("--generate-config", "--dsn", server.dsn()).stdout)
    assert config["postgresql"]["parameters"]["hba_file"] == elsewhere
    assert "pg_hba" not in config["postgresql"]


@pytest.mark.parametrize("change, words", [
    ({"user": "nobody"}, "The provided user does not have superuser privilege"),
    ({"port": "1"}, "Failed to establish PostgreSQL connection"),
    ({"user": "who"}, "Failed to establish PostgreSQL connection"),
])
def test_server_refusals(server, change, words):
    theirs, ours = same("--generate-config", "--dsn", server.dsn(**change), status=1)
    assert words in theirs.stderr and words in ours.stderr
    assert ours.stdout == "" and len(ours.stderr.splitlines()) == 1
    assert "secret" not in ours.stderr


def test_not_a_connection_string():
    theirs, ours = same("--generate-config", "--dsn", "secret", status=1)
    assert "Failed to parse DSN string" in theirs.stderr
    assert ours.stderr.startswith("Failed to parse DSN string") and "secret" not in ours.stderr


def test_nobody_answers(tmp_path):
    """What listens and says nothing does not hold us for ever."""
    import socket
    import time
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(4)
        begin = time.monotonic()
        done = run(PGVIGIL, "--generate-config", "--dsn", f"host=127.0.0.1 port={s.getsockname()[1]} user=a password=b")
        assert done.returncode == 1 and "no answer within 15 s" in done.stderr
        assert time.monotonic() - begin < 30
