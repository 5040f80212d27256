# SPDX-License-Identifier: PostgreSQL
"""One node: an agent of either kind, its configuration, its PostgreSQL, and ways to hurt them."""

import base64
import copy
import glob
import http.client
import json
import os
import signal
import subprocess

import psycopg2
import yaml

from . import process
from .ports import free_port, give_back
from .wait import wait_for

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
KINDS = ("pgvigil", "patroni")
SUPERUSER, SUPERUSER_PASSWORD = "postgres", "super-secret"
REPLICATOR, REPLICATOR_PASSWORD = "replicator", "rep-secret"
REWINDER, REWINDER_PASSWORD = "rewinder", "rewind-secret"


def peers_dir():
    return os.environ.get("PEERS", "/var/tmp/pgvigil-peers")


def agent_binary(kind):
    """PGVIGIL_BIN points at another build's directory, for instance the sanitized one."""
    if kind == "patroni":
        return os.path.join(peers_dir(), "bin", "patroni")
    return os.path.join(os.environ.get("PGVIGIL_BIN", os.path.join(ROOT, "build", "release")), "pgvigil")


def ctl_binary(kind):
    return agent_binary(kind).replace("patroni", "patronictl") if kind == "patroni" else agent_binary(kind) + "ctl"


def pg_bin_dir():
    """The newest PostgreSQL of this machine, or PGVIGIL_PG_BIN."""
    given = os.environ.get("PGVIGIL_PG_BIN")
    if given:
        return given
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[4]))
    assert found, "no PostgreSQL server below /usr/lib/postgresql: run 'make deps'"
    return found[-1]


def merge(into, change):
    """Patroni's patch semantics: None deletes, maps merge, all else replaces."""
    for key, value in change.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)
    return into


class Answer:
    """An HTTP answer: status, headers, text, and json when it is some."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.text = status, headers, body.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.text)

    def __repr__(self):
        return f"<{self.status} {self.text[:300]!r}>"


class Node:
    """config is the whole YAML document as a dict: change it before start(), or any time and
    write_config(). Hosts other than loopback come with the network namespace they live in."""

    def __init__(self, name, scope, etcd, directory, kind="pgvigil", host="127.0.0.1", netns=None, config=None):
        assert kind in KINDS
        self.name, self.kind, self.etcd, self.host, self.netns = name, kind, etcd, host, netns
        self.scope = scope
        self.dir = process.own_dir(os.path.join(directory, name))
        self.data_dir = os.path.join(self.dir, "data")
        self.config_file = os.path.join(self.dir, f"{name}.yml")
        self.log = os.path.join(directory, f"{name}.log")
        self.pg_port, self.rest_port = free_port(), free_port()
        self.config = merge(self.default_config(), config or {})
        self.agent = None
        self.wrapper = []  # what runs the agent, for instance strace

    # Configuration

    def default_config(self):
        net = "127.0.0.1/32" if self.host.startswith("127.") else self.host.rpartition(".")[0] + ".0/24"
        return {
            "scope": self.scope,
            "name": self.name,
            "log": {"level": "INFO"},
            "restapi": {"listen": f"{self.host}:{self.rest_port}",
                        "connect_address": f"{self.host}:{self.rest_port}"},
            "etcd3": {"hosts": list(self.etcd.addresses)},
            "bootstrap": {
                "dcs": {
                    "ttl": 20, "loop_wait": 2, "retry_timeout": 5,
                    "postgresql": {"use_pg_rewind": True, "parameters": {
                        "max_connections": 50, "wal_keep_size": "128MB", "wal_log_hints": True}}},
                # PostgreSQL 13 keeps the password as MD5 unless told to expect SCRAM.
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth-host": "scram-sha-256"},
                           "data-checksums", "no-sync"]},
            "postgresql": {
                "listen": f"{self.host}:{self.pg_port}",
                "connect_address": f"{self.host}:{self.pg_port}",
                "data_dir": self.data_dir,
                "bin_dir": pg_bin_dir(),
                "pgpass": os.path.join(self.dir, "pgpass"),
                "authentication": {
                    "superuser": {"username": SUPERUSER, "password": SUPERUSER_PASSWORD},
                    "replication": {"username": REPLICATOR, "password": REPLICATOR_PASSWORD},
                    "rewind": {"username": REWINDER, "password": REWINDER_PASSWORD}},
                "parameters": {
                    "unix_socket_directories": self.dir, "log_line_prefix": "%m [%p] ",
                    "shared_buffers": "16MB", "dynamic_shared_memory_type": "mmap",
                    "logging_collector": False, "fsync": False},
                "pg_hba": [
                    f"host replication {REPLICATOR} {net} scram-sha-256",
                    f"host all all {net} scram-sha-256",
                    "local all all trust"]},
        }

    def write_config(self, text=None):
        process.write_file(self.config_file, text if text is not None else yaml.safe_dump(self.config, sort_keys=False))

    # The agent

    def start(self):
        self.write_config()
        self.agent = process.Process(
            [*self.wrapper, agent_binary(self.kind), self.config_file], self.log, netns=self.netns,
            env={"HOME": self.dir, "PGVIGIL_TEST": "1"}, cwd=self.dir)
        self.agent.start()
        return self

    def stop(self, timeout=40):
        """SIGTERM: the agent stops PostgreSQL (unless paused) and ends."""
        return self.agent.stop(timeout)

    def kill_agent(self):
        return self.agent.kill()

    def freeze_agent(self):
        self.agent.freeze()

    def thaw_agent(self):
        self.agent.thaw()

    def hup(self):
        self.agent.signal(signal.SIGHUP)

    def log_text(self, offset=0):
        return self.agent.log_text(offset)

    def log_size(self):
        return self.agent.log_size()

    def wait_log(self, text, timeout=30, offset=0):
        return self.agent.wait_log(text, timeout, offset)

    # PostgreSQL

    def postmaster_pid(self):
        """From postmaster.pid, if that process is alive; else None."""
        try:
            with open(os.path.join(self.data_dir, "postmaster.pid"), encoding="utf-8") as file:
                pid = int(file.readline())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return pid if process.exists(pid) else None

    def kill_postmaster(self):
        """SIGKILL to the postmaster alone; its children notice and go by themselves."""
        pid = self.postmaster_pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_hard(self):
        """The whole node at once, as when the power goes."""
        pids = []
        if self.agent and self.agent.alive():
            pids += process.tree(self.agent.pid)
        postmaster = self.postmaster_pid()
        if postmaster:
            pids += process.tree(postmaster)
        process.kill_all(pids)
        if self.agent:
            self.agent.wait(10)
        process.gone(pids)

    def freeze_all(self):
        pids = process.tree(self.agent.pid) + process.tree(self.postmaster_pid())
        process.kill_all(pids, signal.SIGSTOP)
        return pids

    def dsn(self, dbname="postgres", user=SUPERUSER, password=SUPERUSER_PASSWORD, **more):
        return {"host": self.host, "port": self.pg_port, "dbname": dbname, "user": user, "password": password,
                "connect_timeout": 3, "application_name": "harness", "options": "-c statement_timeout=5000", **more}

    def connect(self, **more):
        connection = psycopg2.connect(**self.dsn(**more))
        connection.autocommit = True
        return connection

    def sql(self, query, *parameters, **more):
        """Runs one statement over a connection of its own and returns its rows."""
        connection = self.connect(**more)
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, parameters or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def value(self, query, *parameters, **more):
        return self.sql(query, *parameters, **more)[0][0]

    def in_recovery(self):
        return self.value("SELECT pg_is_in_recovery()")

    def timeline(self):
        return self.value("SELECT timeline_id FROM pg_control_checkpoint()")

    def controldata(self):
        text = subprocess.run([os.path.join(pg_bin_dir(), "pg_controldata"), self.data_dir], check=True,
                              capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stdout
        return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}

    # REST

    def rest(self, method, path, body=None, timeout=3, auth=None, headers=None):
        """One request, one connection. body: a dict becomes JSON, text goes as it is."""
        connection = http.client.HTTPConnection(self.host, self.rest_port, timeout=timeout)
        headers = dict(headers or {})
        if auth:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{auth[0]}:{auth[1]}".encode()).decode()
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.rest("GET", path, **more)

    def status(self):
        return self.get("/patroni").json

    def is_primary(self):
        """What a load balancer would think."""
        return self.get("/primary").status == 200

    def running_as(self, role):
        status = self.status()
        return status["state"] == "running" and status["role"] == role

    def streaming(self):
        status = self.status()
        return status["state"] == "running" and status.get("replication_state") == "streaming"

    def close(self):
        """Whatever state it is in: gone. PostgreSQL gets a chance to remove its shared memory."""
        if self.agent and self.agent.alive():
            process.kill_all(process.tree(self.agent.pid))
            self.agent.wait(10)
        postmaster = self.postmaster_pid()
        if postmaster:
            pids = process.tree(postmaster)
            process.kill_all(pids, signal.SIGCONT)
            process.kill_all([postmaster], signal.SIGQUIT)
            try:
                process.gone(pids, 10)
            except AssertionError:
                self.kill_hard()
        give_back(self.pg_port, self.rest_port)


class RawRest:
    """Bytes straight to the REST port, for what http.client would refuse to send."""

    def __init__(self, node, timeout=5):
        import socket
        self.sock = socket.create_connection((node.host, node.rest_port), timeout)

    def send(self, data):
        self.sock.sendall(data)
        return self

    def answer(self):
        """All until the other side closes."""
        chunks = []
        try:
            while chunk := self.sock.recv(65536):
                chunks.append(chunk)
        except ConnectionResetError:
            pass
        return b"".join(chunks)

    def close(self):
        self.sock.close()


def wait_primary(nodes, timeout=60):
    """The node that answers 200 on /primary and takes writes."""
    def primary():
        for node in nodes:
            try:
                if node.is_primary() and not node.in_recovery():
                    return node
            except (OSError, psycopg2.Error, http.client.HTTPException):
                continue
        return None
    return wait_for(primary, timeout, "a primary")
