# SPDX-License-Identifier: PostgreSQL
"""What docs/examples and packaging ship works as it stands."""

import os
import shutil
import subprocess

import pytest
import yaml

from lib.haproxy import EXAMPLE, HAProxy
from lib.node import ROOT, merge
from lib.process import now
from lib.wait import patience, wait_for


def example():
    with open(os.path.join(ROOT, "docs", "examples", "pgvigil.yml"), encoding="utf-8") as file:
        return yaml.safe_load(file)


def test_example_configuration_runs(make_cluster):
    """Only what names this machine is replaced: addresses, directories."""
    cluster = make_cluster(1, start=False)
    node = cluster.nodes[0]
    mine = node.config
    config = example()
    merge(config, {
        "scope": mine["scope"], "name": mine["name"], "etcd3": mine["etcd3"],
        "restapi": {key: mine["restapi"][key] for key in ("listen", "connect_address")},
        "postgresql": {key: mine["postgresql"][key] for key in
                       ("listen", "connect_address", "data_dir", "bin_dir", "pgpass", "pg_hba", "authentication")}})
    config["postgresql"]["parameters"]["unix_socket_directories"] = node.dir
    node.config = config
    cluster.start()
    assert node.status()["role"] == "primary"
    assert node.value("SHOW max_connections") == "200"


def test_example_haproxy_configuration_is_valid():
    done = subprocess.run([HAProxy._binary(), "-c", "-f", EXAMPLE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class TestHAProxy:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        cluster = make_cluster(3)
        proxy = HAProxy(cluster).start()
        cluster.proxy = proxy
        yield cluster
        proxy.close()

    def through(self, cluster, port):
        return cluster.nodes[0].value("SELECT inet_server_port()", host="127.0.0.1", port=port)

    def test_writes_go_to_the_leader_reads_to_replicas(self, cluster):
        leader = cluster.leader()
        replicas = {node.pg_port for node in cluster.replicas()}
        wait_for(lambda: all(self.through(cluster, cluster.proxy.write_port) == leader.pg_port for _ in range(10)), 15)
        wait_for(lambda: {self.through(cluster, cluster.proxy.read_port) for _ in range(10)} == replicas, 15)

    def test_clients_follow_a_switchover(self, cluster, kind):
        cluster.wait_healthy(60)
        old = cluster.leader()
        writer = cluster.writer(host="127.0.0.1", port=cluster.proxy.write_port)
        asked = now()
        assert old.rest("POST", "/switchover", {"leader": old.name}, timeout=40).status == 200
        writer.wait_writes(20, asked)
        new = cluster.wait_new_leader(old, 20)
        cluster.wait_healthy(60)
        writer.stop()
        assert writer.missing(new) == []
        assert writer.outage(asked)[0] < (2.5 if kind == "pgvigil" else 8) * patience()


def test_unit_file(tmp_path):
    """systemd finds nothing wrong with it once its program is there."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd here")
    with open(os.path.join(ROOT, "packaging", "pgvigil.service"), encoding="utf-8") as file:
        text = file.read().replace("@CMAKE_INSTALL_FULL_BINDIR@/pgvigil", "/bin/true")
    assert "Type=notify" in text and "KillMode=process" in text and "User=postgres" in text
    unit = tmp_path / "pgvigil.service"
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert "pgvigil.service" not in done.stderr, done.stderr


@pytest.mark.pgvigil
def test_systemd_is_told(make_cluster):
    """READY=1 when it begins, STOPPING=1 when it ends, as Type=notify wants it."""
    import socket
    cluster = make_cluster(1, start=False)
    node = cluster.nodes[0]
    path = os.path.join(node.dir, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        os.chmod(path, 0o777)
        sock.settimeout(30)
        node.wrapper = ["env", f"NOTIFY_SOCKET={path}"]
        cluster.start()
        assert b"READY=1" in sock.recv(4096)
        environment = open(f"/proc/{node.postmaster_pid()}/environ", "rb").read()
        assert b"NOTIFY_SOCKET" not in environment, "PostgreSQL must not talk to our manager"
        node.hup()
        said = wait_for(lambda: sock.recv(4096), 20)
        assert b"RELOADING=1" in said and b"MONOTONIC_USEC=" in said
        wait_for(lambda: b"READY=1" in sock.recv(4096), 20)
        node.stop()
        wait_for(lambda: b"STOPPING=1" in sock.recv(4096), 10)
