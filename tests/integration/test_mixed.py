# SPDX-License-Identifier: PostgreSQL
"""Patroni and pgvigil in one cluster, and one taking over from the other."""

import json

import pytest

from lib.process import now
from lib.wait import patience, wait_for


def hand_over(cluster, old, new, tool):
    """A switchover under load, asked for with either's command line tool."""
    writer, sampler = cluster.writer(), cluster.sampler()
    asked = now()
    out = cluster.ctl("switchover", cluster.scope, "--leader", old.name, "--candidate", new.name, "--force",
                      kind=tool).stdout
    assert f'Successfully switched over to "{new.name}"' in out
    cluster.wait_leader(new, 30)
    cluster.wait_healthy(60)
    writer.wait_writes(10, asked)
    writer.stop()
    sampler.stop()
    sampler.assert_never_two()
    assert writer.missing(new) == []


class TestOneClusterOfBoth:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster, kind, patroni):
        return make_cluster(kinds=[patroni, kind, kind])

    def test_switchovers_in_every_direction(self, cluster, kind, patroni):
        original, ours, ours_too = cluster.nodes
        assert cluster.leader() is original
        hand_over(cluster, original, ours, patroni)
        hand_over(cluster, ours, ours_too, patroni)
        hand_over(cluster, ours_too, original, kind)
        hand_over(cluster, original, ours, kind)

    def test_failover_to_the_original(self, cluster, patroni):
        """Our leader dies; only Patroni may take over."""
        self.failover(cluster, cluster.nodes[1], cluster.nodes[0])

    def test_failover_from_the_original(self, cluster):
        """Patroni's leader dies; one of ours takes over."""
        self.failover(cluster, cluster.nodes[0], None)

    def failover(self, cluster, old, new):
        cluster.wait_healthy(60)
        if cluster.leader() is not old:
            cluster.ctl("switchover", cluster.scope, "--candidate", old.name, "--force")
            cluster.wait_leader(old, 30)
            cluster.wait_healthy(60)
        for node in cluster.nodes:
            node.config["tags"] = {"nofailover": True} if new not in (None, node) and node is not old else {}
            node.write_config()
            node.hup()
        for node in cluster.nodes:
            wait_for(lambda n=node: cluster.etcd.get_json(cluster.key(f"members/{n.name}")).get("tags", {})
                     == n.config["tags"], 20, f"tags of {node.name}")
        sampler = cluster.sampler()
        old.kill_hard()
        leader = cluster.wait_new_leader(old, 60)
        assert new in (None, leader)
        old.start()
        cluster.wait_healthy(90)
        sampler.stop()
        sampler.assert_never_two()
        for node in cluster.nodes:
            node.config["tags"] = {}
            node.write_config()
            node.hup()

    def test_the_tools_say_the_same(self, cluster, kind, patroni):
        """Byte for byte, on the same cluster."""
        cluster.wait_healthy(60)
        for arguments in (["list", cluster.scope], ["list", cluster.scope, "-f", "json"], ["list", cluster.scope, "-f", "yaml"],
                          ["list", cluster.scope, "-f", "tsv"], ["list", cluster.scope, "-e"], ["topology", cluster.scope],
                          ["history", cluster.scope], ["history", cluster.scope, "-f", "json"],
                          ["show-config", cluster.scope], ["dsn", cluster.scope], ["dsn", cluster.scope, "-r", "replica"],
                          ["dsn", cluster.scope, "-m", "n1"]):
            def same(arguments=arguments):
                mine = cluster.ctl(*arguments, kind=kind).stdout
                return mine if mine == cluster.ctl(*arguments, kind=patroni).stdout else None
            # positions may move between the two calls, so not at the first try
            wait_for(same, 20, f"the same from both tools: {arguments}")

    def test_edit_config_by_the_original(self, cluster, patroni):
        cluster.ctl("edit-config", cluster.scope, "-p", "work_mem=9MB", "--force", kind=patroni)
        for node in cluster.nodes:
            wait_for(lambda n=node: n.value("SHOW work_mem") == "9MB", 20)

    def test_restart_and_reinit_by_the_original(self, cluster, patroni):
        cluster.wait_healthy(60)
        for node in cluster.nodes[1:]:
            if node.name != cluster.leader_name():
                out = cluster.ctl("restart", cluster.scope, node.name, "--force", kind=patroni).stdout
                assert f"Success: restart on member {node.name}" in out
                out = cluster.ctl("reinit", cluster.scope, node.name, "--force", "--wait", kind=patroni).stdout
                assert f"Reinitialize is completed on: {node.name}" in out
        cluster.wait_healthy(90)

    def test_pause_by_the_original(self, cluster, patroni, kind):
        out = cluster.ctl("pause", cluster.scope, "--wait", kind=patroni).stdout
        assert "Success: cluster management is paused" in out
        assert all(node.status().get("pause") for node in cluster.nodes)
        out = cluster.ctl("resume", cluster.scope, "--wait", kind=kind).stdout
        assert "Success: cluster management is resumed" in out
        cluster.wait_healthy(60)

    def test_what_members_say_of_themselves(self, cluster):
        """The same fields in the same form, or tools that read the store would stumble."""
        cluster.wait_healthy(60)
        members = {key.rpartition("/")[2]: json.loads(value)
                   for key, value in cluster.etcd.prefix(cluster.key("members/")).items()}
        replicas = [node.name for node in cluster.replicas()]
        shapes = {name: {field: type(value) for field, value in members[name].items()} for name in replicas}
        assert len(set(map(str, shapes.values()))) == 1, shapes

    def test_status_documents_alike(self, cluster):
        cluster.wait_healthy(60)
        replicas = [node for node in cluster.replicas()]
        shapes = [{field: type(value).__name__ for field, value in node.status().items() if field != "pgvigil"}
                  for node in replicas]  # its own version stands beside the one it matches
        assert shapes[0] == shapes[1]
        names = [[line.split()[2] for line in node.get("/metrics").text.splitlines() if line.startswith("# TYPE")]
                 for node in replicas]
        missing = set(names[0]) ^ set(names[1])
        # newer than the original's release, and pgvigil's own
        assert {name for name in missing if not name.startswith("pgvigil_")} <= {
            "patroni_failsafe_mode_enabled", "patroni_failsafe_member", "patroni_failover_priority"}


class TestTakeover:
    """The way of a user who moves: pause, stop the one agent, start the other, resume. PostgreSQL
    runs all the time."""

    @pytest.fixture(scope="class")
    def cluster(self, make_cluster, patroni):
        return make_cluster(kinds=[patroni] * 3)

    def move(self, cluster, kind):
        postmasters = [node.postmaster_pid() for node in cluster.nodes]
        leader = cluster.leader()
        writer = cluster.writer()
        begin = now()
        cluster.ctl("pause", cluster.scope, "--wait")
        for node in cluster.nodes:
            node.stop()
            node.kind = kind
            node.start()
            wait_for(lambda n=node: n.status()["state"] == "running", 30, f"{node.name} runs under {kind}")
        cluster.ctl("resume", cluster.scope, "--wait")
        cluster.wait_healthy(60)
        writer.stop()
        assert [node.postmaster_pid() for node in cluster.nodes] == postmasters, "PostgreSQL was restarted"
        assert cluster.leader() is leader
        assert writer.outage(begin)[0] < 1.0 * patience()
        assert not any(node.status().get("pending_restart") for node in cluster.nodes)

    def test_there_and_back(self, cluster, kind, patroni):
        self.move(cluster, kind)
        leader, candidate = cluster.leader(), cluster.replicas()[0]
        hand_over(cluster, leader, candidate, kind)
        self.move(cluster, patroni)
        leader, candidate = cluster.leader(), cluster.replicas()[0]
        hand_over(cluster, leader, candidate, patroni)

    def test_one_by_one_without_pause(self, cluster, kind):
        """Replica by replica, then a switchover, then the last."""
        cluster.wait_healthy(60)
        leader = cluster.leader()
        for node in cluster.replicas():
            node.stop()
            node.kind = kind
            node.start()
            cluster.wait_healthy(60)
        candidate = cluster.replicas()[0]
        hand_over(cluster, leader, candidate, kind)
        leader.stop()
        leader.kind = kind
        leader.start()
        cluster.wait_healthy(60)
