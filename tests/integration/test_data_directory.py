# SPDX-License-Identifier: PostgreSQL
"""Somebody else at the data directory: another agent."""

import copy

import pytest

from lib import process
from lib.node import Node
from lib.ports import free_port
from lib.process import now
from lib.wait import wait_for


class TestSecondAgent:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster, kind):
        if kind != "pgvigil":
            pytest.skip("Patroni lets both of them at it")
        return make_cluster(2)

    @staticmethod
    def start_beside(cluster, other, name):
        """An agent with a configuration copied from @other's."""
        second = Node(name, cluster.scope, cluster.etcd, other.dir)
        ports = f"127.0.0.1:{second.rest_port}"
        second.config = copy.deepcopy(other.config)
        second.config["name"] = name
        second.config["restapi"] = {"listen": ports, "connect_address": ports}
        return second.start()

    @pytest.mark.parametrize("name", ["n1", "other"])
    def test_is_refused(self, cluster, name):
        leader = cluster["n1"]
        if cluster.leader_name() != "n1":
            cluster.ctl("failover", "--candidate", "n1", "--force")
            cluster.wait_leader(leader)
        writer = cluster.writer()
        offset, pid, timeline = leader.log_size(), leader.postmaster_pid(), leader.status()["timeline"]
        second = self.start_beside(cluster, leader, name)
        try:
            assert second.agent.wait(20) != 0
            assert ("already a node named" if name == "n1" else "another agent") in second.log_text()
            writer.wait_writes(20, now())
        finally:
            second.kill_agent()
            writer.stop()
        assert (leader.postmaster_pid(), leader.status()["timeline"]) == (pid, timeline)
        assert "demot" not in leader.log_text(offset)
        assert cluster.leader_name() == "n1"

    def test_takes_over_from_one_that_was_killed(self, cluster):
        leader = cluster.leader()
        pid = leader.postmaster_pid()
        leader.kill_agent()
        leader.start()
        cluster.wait_healthy(40)
        assert leader.postmaster_pid() == pid
