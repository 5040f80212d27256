# SPDX-License-Identifier: PostgreSQL
"""Those who ask in earnest: HAProxy, curl and Prometheus the REST API; vip-manager and confd the store."""

import csv
import json
import os
import shutil
import socket
import subprocess

import pytest

from lib import process
from lib.ports import free_port, give_back
from lib.wait import wait_for

pytestmark = pytest.mark.pgvigil


@pytest.fixture(scope="module")
def ports():
    found = {"n1": free_port(), "n2": free_port(), "in": free_port(), "stats": free_port()}
    yield found
    give_back(*found.values())


@pytest.fixture(scope="class")
def cluster(make_cluster, ports):
    cluster = make_cluster(2, start=False)
    for node in cluster.nodes:
        node.config["restapi"]["agent_check"] = f"127.0.0.1:{ports[node.name]}"
    return cluster.start()


def said(port):
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        return sock.makefile("rb").read().decode()


class TestAgentCheck:
    @pytest.fixture(scope="class")
    def haproxy(self, cluster, ports):
        config = os.path.join(cluster.dir, "agent-check.cfg")
        servers = "\n".join(
            f"    server {node.name} {node.host}:{node.pg_port} weight 100 check port {node.rest_port} "
            f"agent-check agent-port {ports[node.name]} agent-inter 200ms" for node in cluster.nodes)
        process.write_file(config, f"""
defaults
    mode tcp
    timeout connect 4s
    timeout client 30m
    timeout server 30m
    timeout check 5s
listen stats
    mode http
    bind 127.0.0.1:{ports['stats']}
    stats enable
    stats uri /
listen reads
    bind 127.0.0.1:{ports['in']}
    option httpchk OPTIONS /health
    http-check expect status 200
    default-server inter 500ms fall 2 rise 1
{servers}
""", 0o644)
        running = process.Process(["/usr/sbin/haproxy", "-db", "-f", config], os.path.join(cluster.dir, "agent-check.log"))
        running.start()
        yield running
        running.kill()

    @staticmethod
    def servers(ports):
        done = subprocess.run(["curl", "-s", f"http://127.0.0.1:{ports['stats']}/;csv"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConnectionError("HAProxy is not up yet")
        text = done.stdout
        return {row["svname"]: (row["status"], int(row["weight"])) for row in csv.DictReader(text.lstrip("# ").splitlines())
                if row["pxname"] == "reads" and row["svname"] not in ("FRONTEND", "BACKEND")}

    def test_words(self, cluster, ports):
        assert said(ports[cluster.leader_name()]) == "ready up 100%\n"
        wait_for(lambda: said(ports[cluster.replicas()[0].name]).startswith("ready up "), 20)

    def test_haproxy_follows(self, cluster, haproxy, ports):
        wait_for(lambda: {s for s, _ in self.servers(ports).values()} == {"UP"}, 20, "both up")
        replica = cluster.replicas()[0]
        leader = cluster.leader()
        cluster.patch({"pause": True}, leader)  # else the agent resumes the replay
        wait_for(lambda: replica.status().get("pause"), 20, "the pause")
        replica.sql("SELECT pg_wal_replay_pause()")
        leader.sql("CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 4000)")
        wait_for(lambda: self.servers(ports)[replica.name][1] == 1, 30, "its weight to fall")
        cluster.patch({"pause": None}, leader)
        wait_for(lambda: self.servers(ports)[replica.name][1] > 90, 30, "its weight to rise")
        assert self.servers(ports)[leader.name] == ("UP", 100)

    def test_maintenance_by_the_tag(self, cluster, haproxy, ports):
        replica = cluster.replicas()[0]
        replica.config["tags"] = {"noloadbalance": True}
        replica.write_config()
        replica.hup()
        wait_for(lambda: self.servers(ports)[replica.name][0].startswith("MAINT"), 20, "maintenance")
        del replica.config["tags"]
        replica.write_config()
        replica.hup()
        wait_for(lambda: self.servers(ports)[replica.name][0] == "UP", 20, "out of maintenance")

    def test_moves_and_ends_with_a_reload(self, cluster, ports):
        node, port = cluster.nodes[0], free_port()
        node.config["restapi"]["agent_check"] = f"127.0.0.1:{port}"
        node.write_config()
        node.hup()
        wait_for(lambda: said(port), 20, "the new port")
        del node.config["restapi"]["agent_check"]
        node.write_config()
        node.hup()

        def closed():
            try:
                said(port)
                return False
            except ConnectionRefusedError:
                return True
        wait_for(closed, 20, "nobody there")
        assert node.get("/health").status == 200
        give_back(port)


class TestCurl:
    @pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    def test_probe(self, cluster, version, method):
        node = cluster.leader()
        done = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10", version,
                               *(["-I"] if method == "HEAD" else ["-X", method]),
                               f"http://{node.host}:{node.rest_port}/primary"], capture_output=True, text=True, check=True)
        assert done.stdout == "200"

    @pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
    def test_patch(self, cluster, version):
        node = cluster.leader()
        done = subprocess.run(["curl", "-s", "--max-time", "10", version, "-XPATCH", "-d", '{"ttl": 20}',
                               f"http://{node.host}:{node.rest_port}/config"], capture_output=True, text=True, check=True)
        assert '"ttl": 20' in done.stdout


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (package prometheus) is not installed")
class TestPrometheus:
    def test_promtool_parses(self, cluster):
        """It also lints names; what it says of Patroni's own ('counter metrics should have "_total"
        suffix') is as old as they are."""
        for node in cluster.nodes:
            text = node.get("/metrics").text
            done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
            assert done.returncode in (0, 3), done.stderr
            ours = [line for line in done.stderr.splitlines() if not line.startswith("patroni_")]
            assert ours == []

    def test_histograms_fill(self, cluster):
        node = cluster.leader()
        labels = f'scope="{cluster.scope}",name="{node.name}"'
        values = dict(line.rsplit(" ", 1) for line in node.get("/metrics").text.splitlines() if not line.startswith("#"))
        for name in ("pgvigil_cycle_duration_seconds", "pgvigil_dcs_request_duration_seconds",
                     "pgvigil_probe_duration_seconds", "pgvigil_postgres_query_duration_seconds"):
            count = int(values[f"{name}_count{{{labels}}}"])
            buckets = [int(value) for key, value in values.items() if key.startswith(f"{name}_bucket")]
            assert count > 0 and buckets == sorted(buckets) and buckets[-1] == count


def switch_over(cluster):
    old = cluster.leader()
    answer = old.rest("POST", "/switchover", {"leader": old.name}, timeout=60)
    assert answer.status == 200, answer
    return cluster.wait_new_leader(old, 30)


class TestPatronisHAProxy:
    """The checks that Patroni's haproxy.cfg has: OPTIONS / in HTTP/1.0, three times in 3 s intervals."""

    @pytest.fixture
    def port(self, cluster):
        port, config = free_port(), os.path.join(cluster.dir, "patronis.cfg")
        servers = "\n".join(f"    server postgresql_{node.host}_{node.pg_port} {node.host}:{node.pg_port} maxconn 100 "
                            f"check port {node.rest_port}" for node in cluster.nodes)
        process.write_file(config, f"""
global
    maxconn 100
defaults
    log global
    mode tcp
    retries 2
    timeout client 30m
    timeout connect 4s
    timeout server 30m
    timeout check 5s
listen batman
    bind 127.0.0.1:{port}
    option httpchk
    http-check expect status 200
    default-server inter 3s fall 3 rise 2 on-marked-down shutdown-sessions
{servers}
""", 0o644)
        running = process.Process(["/usr/sbin/haproxy", "-db", "-f", config], os.path.join(cluster.dir, "patronis.log"))
        running.start()
        yield port
        running.kill()
        give_back(port)

    def test_leads_to_the_primary(self, cluster, port):
        def leads_to(node):  # it takes turns between those that it believes to be up
            return {node.value("SELECT current_setting('port')", host="127.0.0.1", port=port) for _ in range(4)} == {str(node.pg_port)}
        cluster.wait_healthy(60)
        wait_for(lambda: leads_to(cluster.leader()), 30, "the primary behind HAProxy")
        new = switch_over(cluster)
        wait_for(lambda: leads_to(new), 40, "the new primary behind HAProxy")
        cluster.wait_healthy(60)


class TestReadersOfTheKeys:
    @staticmethod
    def etcdctl(cluster, *arguments, **more):
        return [["etcdctl", "--endpoints", cluster.etcd.addresses[0], *arguments],
                {"env": {**os.environ, "ETCDCTL_API": "3"}, "text": True, "stdout": subprocess.PIPE, **more}]

    def get(self, cluster, *arguments):
        command, options = self.etcdctl(cluster, "get", *arguments)
        return subprocess.run(command, check=True, timeout=20, **options).stdout

    def test_vip_manager(self, cluster):
        """It compares the leader key's bare value with its own name, and watches the key."""
        cluster.wait_healthy(60)
        key = cluster.key("leader")
        assert self.get(cluster, key, "--print-value-only") == cluster.leader_name() + "\n"
        command, options = self.etcdctl(cluster, "watch", key, bufsize=1)
        with subprocess.Popen(command, **options) as watch:
            try:
                new = switch_over(cluster)
                told = []
                while told[-3:] != ["PUT", key, new.name]:
                    line = watch.stdout.readline()
                    assert line, told
                    told.append(line.rstrip("\n"))
            finally:
                watch.kill()
        assert self.get(cluster, key, "--print-value-only") == new.name + "\n"
        cluster.wait_healthy(60)

    def test_confd(self, cluster):
        """Its templates cut address and port of the checks out of the members' documents."""
        prefix = cluster.key("members/")
        lines = self.get(cluster, "--prefix", prefix).splitlines()
        members = {key.rpartition("/")[2]: json.loads(value) for key, value in zip(lines[::2], lines[1::2])}
        assert set(members) == {node.name for node in cluster.nodes}
        for node in cluster.nodes:
            data = members[node.name]
            address = data["conn_url"].split("/")[2].replace("@", "/").rpartition("/")[2]
            assert address == f"{node.host}:{node.pg_port}"
            assert data["api_url"].split("/")[2].split(":")[1] == str(node.rest_port)
