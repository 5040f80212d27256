# SPDX-License-Identifier: PostgreSQL
"""What is wrong outside is said in one clear line, with the right exit status, and nothing is
changed: files, values in the store, what the machine lacks."""

import os
import socket
import subprocess

import pytest

from lib.node import agent_binary, merge
from lib.wait import holds_for, wait_for


@pytest.fixture
def lone(make_cluster):
    """One node, nothing started."""
    cluster = make_cluster(1, start=False)
    node = cluster.nodes[0]
    node.cluster = cluster
    return node


def start_and_end(node, timeout=20):
    """Starts the agent, which is expected to end by itself; its status and what it said."""
    node.start()
    status = node.agent.wait(timeout)
    return status, node.log_text()


class TestConfigurationFile:
    def run(self, node, text):
        node.write_config(text)
        done = subprocess.run([agent_binary(node.kind), node.config_file], capture_output=True, text=True, timeout=20,
                              check=False, user="postgres" if os.getuid() == 0 else None,
                              env={"PATH": os.environ["PATH"], "LC_ALL": "C"})
        assert done.returncode == 1
        return done.stdout + done.stderr

    @pytest.mark.parametrize("text, wanted", [
        ("scope: [\n", "n1.yml"), ("a: b: c\n", "n1.yml"), ("\tx\n", "n1.yml"), ("- a list\n", "n1.yml"), ("", "n1.yml"),
        ("scope: x\nname: '" + "n" * 70000 + "\n", "n1.yml")])
    def test_not_a_document(self, lone, text, wanted):
        assert wanted in self.run(lone, text)

    @pytest.mark.pgvigil
    @pytest.mark.parametrize("text, line", [
        ("scope: x\nname: [\n", 3), ("scope: x\nname: y\n  z: 1\n", 3), ("scope: x\n\tname: y\n", 2)])
    def test_line_of_the_error(self, lone, text, line):
        said = self.run(lone, text)
        assert f"line {line}" in said or f":{line}" in said, said
        assert len(said.splitlines()) <= 3, said

    @pytest.mark.pgvigil
    @pytest.mark.parametrize("change, wanted", [
        ({"name": None}, "name"), ({"scope": None}, "scope"), ({"restapi": None}, "restapi"),
        ({"restapi": {"listen": None}}, "restapi.listen"), ({"restapi": {"listen": "here"}}, "restapi"),
        ({"etcd3": None}, "distributed configuration store"), ({"postgresql": {"data_dir": None}}, "data_dir"),
        ({"name": "__patroni_strict_sync_replica_placeholder__"}, "__patroni_strict_sync_replica_placeholder__"),
        ({"postgresql": {"parameters": "many"}}, "postgresql.parameters"),
        ({"restapi": {"authentication": {"username": "x"}}}, "authentication")])
    def test_what_is_missing_or_wrong(self, lone, change, wanted):
        merge(lone.config, change)
        status, said = start_and_end(lone)
        assert status == 1
        assert wanted in said
        assert not os.path.exists(os.path.join(lone.data_dir, "PG_VERSION"))

    def test_no_such_file(self, lone, kind):
        done = subprocess.run([agent_binary(kind), "/nowhere/at-all.yml"], capture_output=True, text=True, timeout=20,
                              check=False, env={"PATH": os.environ["PATH"]})
        assert done.returncode == 1
        assert ("/nowhere/at-all.yml" if kind == "pgvigil" else "Config is empty") in done.stdout + done.stderr

    def test_no_arguments(self, kind):
        done = subprocess.run([agent_binary(kind)], capture_output=True, text=True, timeout=20, check=False,
                              env={"PATH": os.environ["PATH"]})
        assert done.returncode == 1

    def test_unknown_option(self, kind):
        done = subprocess.run([agent_binary(kind), "--fly"], capture_output=True, text=True, timeout=20, check=False,
                              env={"PATH": os.environ["PATH"]})
        assert done.returncode == 2
        assert "--fly" in done.stderr

    def test_version(self, kind):
        done = subprocess.run([agent_binary(kind), "--version"], capture_output=True, text=True, timeout=20, check=False,
                              env={"PATH": os.environ["PATH"]})
        assert done.returncode == 0 and done.stdout.split()[0] == kind


class TestMachine:
    def test_rest_port_in_use(self, lone):
        lone.cluster.etcd.start()
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", lone.rest_port))
            sock.listen()
            status, said = start_and_end(lone)
        assert status == 1
        assert f"127.0.0.1:{lone.rest_port}" in said and "restapi.listen" in said
        assert not os.path.exists(os.path.join(lone.data_dir, "PG_VERSION"))

    def test_postgresql_missing(self, lone, kind):
        lone.cluster.etcd.start()
        lone.config["postgresql"]["bin_dir"] = "/nowhere/bin"
        lone.start()
        if kind == "pgvigil":
            lone.wait_log("/nowhere/bin", 20)
        wait_for(lambda: not lone.agent.alive(), 40, "the end of the agent")
        assert lone.agent.wait(1) != 0
        assert lone.cluster.etcd.get(lone.cluster.key("initialize")) is None
        assert lone.cluster.etcd.get(lone.cluster.key("leader")) is None

    def test_data_directory_not_ours(self, lone):
        """Something else lives there: it stays."""
        if os.getuid() != 0:
            pytest.skip("needs root to make a foreign directory")
        lone.cluster.etcd.start()
        os.makedirs(lone.data_dir)
        os.chmod(lone.data_dir, 0o755)
        precious = os.path.join(lone.data_dir, "precious")
        with open(precious, "w", encoding="utf-8") as file:
            file.write("x")
        lone.start()
        wait_for(lambda: lone.log_size() > 0, 10)
        holds_for(lambda: os.path.exists(precious), 5, "the foreign file")
        assert lone.cluster.etcd.get(lone.cluster.key("initialize")) is None

    def test_store_unreachable_from_the_start(self, lone):
        """It waits, says so, and starts nothing."""
        lone.start()
        wait_for(lambda: lone.log_size() > 0, 20)
        holds_for(lone.agent.alive, 5, "waiting")
        assert not os.path.exists(os.path.join(lone.data_dir, "PG_VERSION"))
        lone.cluster.etcd.start()
        lone.cluster.wait_healthy(60)

    def test_wrong_replication_password(self, make_cluster):
        """The replica cannot be made; that is said, tried again, and the leader is unharmed."""
        cluster = make_cluster(2, start=False, dcs={"loop_wait": 1})
        leader, replica = cluster.nodes
        replica.config["postgresql"]["authentication"]["replication"]["password"] = "wrong-one"
        cluster.etcd.start()
        leader.start()
        cluster.wait_leader(leader, 60)
        replica.start()
        replica.wait_log("password authentication failed", 40)
        holds_for(leader.is_primary, 2)
        assert "wrong-one" not in replica.log_text()
        replica.config["postgresql"]["authentication"]["replication"]["password"] = \
            leader.config["postgresql"]["authentication"]["replication"]["password"]
        replica.stop()
        replica.start()
        cluster.wait_healthy(60)

    def test_postgresql_port_in_use(self, lone, kind):
        """PostgreSQL cannot start: no leader key is held for it."""
        lone.cluster.etcd.start()
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", lone.pg_port))
            sock.listen()
            lone.start()
            lone.wait_log("could not bind IPv4 address", 40)
            wait_for(lambda: lone.cluster.etcd.get(lone.cluster.key("leader")) is None, 40)


class TestStoreValues:
    """Somebody wrote nonsense into the store. The agents say so and keep what they know."""

    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        return make_cluster(2, dcs={"loop_wait": 1})

    NONSENSE = {"nothing": "", "half": "{", "list": "[]", "null": "null", "text": "\"x\"", "words": "{\"ttl\": \"soon\"}",
                "deep": "[" * 3000, "long": "x" * 100000, "control": "\x01\x02", "infinite": "{\"a\": 1e999}"}

    @pytest.mark.parametrize("value", NONSENSE)
    @pytest.mark.parametrize("key", ["config", "failover", "history", "status", "sync", "members/n2", "members/stranger",
                                     "failsafe"])
    def test_nonsense(self, cluster, key, value, kind):
        if kind != "pgvigil" and value == "deep":
            pytest.skip("the original demotes over it")
        cluster.wait_healthy(40)
        leader = cluster.leader_name()
        postmasters = [node.postmaster_pid() for node in cluster.nodes]
        before = cluster.etcd.get(cluster.key(key))
        cluster.etcd.put(cluster.key(key), self.NONSENSE[value])
        begin = [node.log_size() for node in cluster.nodes]
        wait_for(lambda: all(node.log_size() > at for node, at in zip(cluster.nodes, begin)), 15, "a cycle of each")
        if before is not None:
            cluster.etcd.put(cluster.key(key), before)
        else:
            cluster.etcd.delete(cluster.key(key))
        cluster.wait_healthy(40)
        assert cluster.leader_name() == leader
        assert [node.postmaster_pid() for node in cluster.nodes] == postmasters
        assert all(node.agent.alive() for node in cluster.nodes)

    def test_key_with_a_strange_name(self, cluster):
        for name in ("members/", "members/../x", "members/" + "n" * 5000, "", "optime/leader/x", "0", "a/b/c"):
            cluster.etcd.put(cluster.key(name), "{}")
        begin = [node.log_size() for node in cluster.nodes]
        wait_for(lambda: all(node.log_size() > at for node, at in zip(cluster.nodes, begin)), 15, "a cycle of each")
        assert all(node.agent.alive() for node in cluster.nodes)
        for name in ("members/", "members/../x", "members/" + "n" * 5000, "", "optime/leader/x", "0", "a/b/c"):
            cluster.etcd.delete(cluster.key(name))
        cluster.wait_healthy(40)


@pytest.mark.pgvigil
class TestForeignHands:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        return make_cluster(2, dcs={"loop_wait": 2})

    def test_leader_key_stolen(self, cluster):
        """The store says somebody else is the leader: then we are not."""
        leader = cluster.leader()
        sampler = cluster.sampler()
        cluster.etcd.put(cluster.key("leader"), "nobody-knows-him")
        wait_for(lambda: not leader.is_primary(), 15, "stepping back")
        wait_for(leader.in_recovery, 20)
        cluster.etcd.delete(cluster.key("leader"))
        cluster.wait_healthy(60)
        sampler.stop()
        sampler.assert_never_two()

    @pytest.mark.parametrize("value", [None, "{}", "7"])
    def test_status_lost(self, cluster, value):
        """An idle leader has nothing new to tell, but others count on what it told."""
        cluster.wait_healthy(60)
        leader, key = cluster.leader(), cluster.key("status")

        def whole():
            status = cluster.etcd.get_json(key)
            return isinstance(status, dict) and {"n1", "n2"} <= set(status.get("retain_slots", [])) and status["optime"]

        def idle():
            offset, before = leader.log_size(), whole()
            wait_for(lambda: leader.log_text(offset).count("no action") >= 2, 20, "two cycles")
            return before and whole() == before

        wait_for(idle, 40, "a leader without news")
        if value is None:
            cluster.etcd.delete(key)
        else:
            cluster.etcd.put(key, value)
        wait_for(whole, 10, "the status as it was")

    def test_leader_key_deleted(self, cluster):
        """Taken again by whoever is fit; never two."""
        cluster.wait_healthy(60)
        writer, sampler = cluster.writer(), cluster.sampler()
        cluster.etcd.delete(cluster.key("leader"))
        wait_for(cluster.leader_name, 30, "a leader key")
        cluster.wait_healthy(60)
        writer.stop()
        sampler.stop()
        sampler.assert_never_two()
        assert writer.missing(cluster.leader()) == []
