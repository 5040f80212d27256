# SPDX-License-Identifier: PostgreSQL
"""One process, one thread, memory that does not grow: what pgvigil is there for."""

import os
import re
import subprocess

import pytest

from lib import process
from lib.wait import wait_for

pytestmark = pytest.mark.pgvigil


class TestOneTask:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        cluster = make_cluster(2, start=False)
        for node in cluster.nodes:
            node.trace = f"{node.dir}/trace"
            # -f follows what it forks, so a thread of the agent itself would show; -D: strace is
            # the child, and the pid we know is the agent's
            node.wrapper = ["strace", "-D", "-f", "-q", "-e", "trace=clone,clone3,vfork,fork", "-e", "signal=none",
                            "-o", node.trace]
        cluster.start()
        return cluster

    def tasks(self, cluster):
        return [process.threads(node.agent.pid) for node in cluster.nodes]

    def test_through_a_whole_life(self, cluster):
        assert self.tasks(cluster) == [1, 1]
        leader, replica = cluster.nodes
        for _ in range(50):
            leader.get("/patroni"), leader.get("/metrics"), replica.get("/cluster")
        cluster.ctl("switchover", cluster.scope, "--force")
        cluster.wait_leader(replica, 30)
        cluster.wait_healthy(60)
        assert self.tasks(cluster) == [1, 1]
        leader.rest("POST", "/restart", timeout=60)
        leader.rest("POST", "/reinitialize")
        assert self.tasks(cluster) == [1, 1]
        cluster.wait_healthy(60)
        replica.kill_postmaster()
        cluster.wait_healthy(60)
        cluster.etcd.stop()
        cluster.etcd.start()
        cluster.wait_healthy(60)
        cluster.patch({"postgresql": {"parameters": {"work_mem": "5MB"}}})
        wait_for(lambda: replica.value("SHOW work_mem") == "5MB", 20)
        assert self.tasks(cluster) == [1, 1]
        pids = [node.agent.pid for node in cluster.nodes]
        for node in cluster.nodes:
            node.stop()
        for node, pid in zip(cluster.nodes, pids):
            with open(node.trace, encoding="utf-8", errors="replace") as file:
                calls = [line for line in file if re.match(r"\d+ +(clone|clone3|vfork|fork)\(", line)]
            assert calls, "nothing traced"
            ours = [line for line in calls if line.split()[0] == str(pid)]
            assert ours, "the agent has started PostgreSQL and left no trace of it"
            assert not [line for line in ours if "CLONE_THREAD" in line]


class TestMemory:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        return make_cluster(2, dcs={"loop_wait": 1})

    def private_kb(self, node):
        return process.memory_kb(node.agent.pid)["private_dirty"]

    def commit_kb(self, node):
        return process.memory_kb(node.agent.pid)["commit"]

    def memory(self, cluster):
        return [(self.private_kb(node), self.commit_kb(node)) for node in cluster.nodes]

    def probe(self, node, times):
        for i in range(times):
            assert node.get(("/primary", "/replica", "/health", "/patroni", "/metrics", "/cluster", "/readiness",
                             "/nonsense")[i % 8]).status in (200, 503)

    def cycles(self, node, count):
        begin = len(re.findall("no action", node.log_text()))
        wait_for(lambda: len(re.findall("no action", node.log_text())) >= begin + count, count * 3,
                 f"{count} cycles", interval=0.5)

    @pytest.mark.timeout(600)
    def test_ten_thousand_probes_and_200_cycles(self, cluster):
        for node in cluster.nodes:
            self.probe(node, 500)  # what is set up once is set up now
        self.cycles(cluster.nodes[0], 10)
        before = self.memory(cluster)
        for _ in range(2):  # a buffer that has met its longest answer grows once; a leak, each time
            middle = self.memory(cluster)
            for node in cluster.nodes:
                self.probe(node, 2500)
            self.cycles(cluster.nodes[0], 100)
        after = self.memory(cluster)
        for first, second, last in zip(before, middle, after):
            assert last[0] <= second[0] + 16, "private memory grows"
            assert last[0] <= first[0] + 64, "private memory has grown"
            # the heap's end moves by steps of 16 kB, and back
            assert last[1] <= second[1] + 32 and last[1] <= first[1] + 64, "committed memory has grown"

    def test_connections_that_come_and_go(self, cluster):
        """Hundreds at once for a moment leave nothing behind."""
        import socket
        node = cluster.nodes[0]

        def crowd():
            socks = [socket.create_connection((node.host, node.rest_port), 5) for _ in range(200)]
            for sock in socks:
                sock.sendall(b"GET /patroni HTTP/1.1\r\nHost: x\r\n\r\n")
            for sock in socks:
                sock.recv(65536)
                sock.close()
        crowd()
        crowd()
        before = self.private_kb(node)
        for _ in range(10):
            crowd()
        assert self.private_kb(node) <= before + 64

    def test_a_few_megabytes(self, cluster):
        for node in cluster.nodes:
            assert self.commit_kb(node) < 8 * 1024
            assert self.private_kb(node) < 4 * 1024


class TestNoMemory:
    def test_lives_on_when_memory_is_short(self, make_cluster):
        """With its address space at the limit, the agent answers and keeps its lease."""
        cluster = make_cluster(2, dcs={"loop_wait": 1})
        leader = cluster.leader()
        used = int(re.search(r"VmSize:\s+(\d+)", open(f"/proc/{leader.agent.pid}/status", encoding="utf-8").read())[1])
        limit = (used + 64) * 1024
        # as its own user: a container's root may not touch the limits of another's processes
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        subprocess.run([*as_user, "prlimit", "--pid", str(leader.agent.pid), f"--as={limit}"], check=True)
        postmaster = leader.postmaster_pid()
        begin = len(re.findall("no action", leader.log_text()))
        for _ in range(200):
            assert leader.is_primary()
            cluster.nodes[1].get("/cluster")
        wait_for(lambda: len(re.findall("no action", leader.log_text())) >= begin + 25, 60, "25 more cycles")
        assert leader.agent.alive() and leader.is_primary()
        assert cluster.leader_name() == leader.name
        assert leader.postmaster_pid() == postmaster
