# SPDX-License-Identifier: PostgreSQL
"""The command line tool: what scripts read from it."""

import json

import pytest
import yaml


@pytest.fixture(scope="class")
def cluster(make_cluster):
    return make_cluster(2)


class TestReading:
    def test_list_json(self, cluster):
        rows = json.loads(cluster.ctl("list", cluster.scope, "-f", "json").stdout)
        by_name = {row["Member"]: row for row in rows}
        leader, replica = cluster.leader(), cluster.replicas()[0]
        assert by_name[leader.name]["Role"] == "Leader" and by_name[leader.name]["State"] == "running"
        assert by_name[replica.name]["Role"] == "Replica" and by_name[replica.name]["State"] == "streaming"
        assert by_name[leader.name]["Host"] == f"127.0.0.1:{leader.pg_port}"
        assert by_name[leader.name]["Cluster"] == cluster.scope

    def test_list_yaml_and_tsv(self, cluster):
        rows = yaml.safe_load(cluster.ctl("list", cluster.scope, "-f", "yaml").stdout)
        assert [row["Member"] for row in rows] == ["n1", "n2"]
        lines = cluster.ctl("list", cluster.scope, "-f", "tsv").stdout.splitlines()
        assert lines[0].split("\t")[:4] == ["Cluster", "Member", "Host", "Role"]

    def test_topology(self, cluster):
        out = cluster.ctl("topology", cluster.scope).stdout
        leader, replica = cluster.leader(), cluster.replicas()[0]
        assert f"| {leader.name} " in out and f"+ {replica.name}" in out

    def test_scope_from_the_configuration(self, cluster):
        assert cluster.ctl("list").stdout == cluster.ctl("list", cluster.scope).stdout

    def test_dsn(self, cluster):
        leader = cluster.leader()
        assert cluster.ctl("dsn", cluster.scope).stdout.strip() == f"host=127.0.0.1 port={leader.pg_port}"

    def test_version(self, cluster):
        out = cluster.ctl("version", cluster.scope).stdout
        for node in cluster.nodes:
            assert f"{node.name}: " in out

    def test_unknown_cluster(self, cluster):
        out = cluster.ctl("list", "nowhere", check=False)
        assert "nowhere" in out.stdout + out.stderr


class TestErrors:
    @pytest.mark.parametrize("arguments, status", [
        (["fly"], 2), (["list", "--fly"], 2), (["restart"], 2), (["switchover", "--candidate"], 2)])
    def test_usage(self, cluster, arguments, status):
        done = cluster.ctl(*arguments, check=False)
        assert done.returncode == status
        assert done.stderr

    @pytest.mark.parametrize("arguments, text", [
        (["switchover", "vigil", "--leader", "n9", "--force"], "Member n9 is not the leader of cluster vigil"),
        (["switchover", "vigil", "--candidate", "n9", "--force"],
         "Member n9 does not exist in cluster vigil or is tagged as nofailover"),
        (["failover", "vigil", "--force"], "Failover could be performed only to a specific candidate"),
        (["resume", "vigil"], "Cluster is not paused"),
        (["restart", "vigil", "n9", "--force"], "among provided members"),
        (["restart", "vigil", "--pg-version", "x", "--force"], "PostgreSQL version")])
    def test_refused(self, cluster, arguments, text):
        cluster.wait_healthy(30)
        leader = cluster.leader_name()
        done = cluster.ctl(*arguments, check=False)
        assert done.returncode == 1
        assert text in done.stdout + done.stderr
        assert cluster.leader_name() == leader

    def test_not_confirmed(self, cluster):
        leader = cluster.leader()
        pid = leader.postmaster_pid()
        done = cluster.ctl("restart", cluster.scope, leader.name, stdin="now\nn\n", check=False)
        assert done.returncode == 1 and "Aborted restart" in done.stdout + done.stderr
        assert leader.postmaster_pid() == pid

    @pytest.mark.pgvigil
    def test_store_unreachable(self, cluster):
        """An error after a while; the original tries without end."""
        cluster.etcd.freeze()
        try:
            done = cluster.ctl("list", cluster.scope, check=False)
            assert done.returncode == 1
        finally:
            cluster.etcd.thaw()
        cluster.wait_healthy(60)


def test_remove(make_cluster):
    """Takes the keys of a cluster away, after the name and the sentence were typed."""
    cluster = make_cluster(1)
    node = cluster.nodes[0]
    leader = cluster.leader_name()
    node.kill_hard()
    done = cluster.ctl("remove", cluster.scope, node=node, stdin="wrong\n", check=False)
    assert done.returncode == 1
    assert cluster.etcd.prefix(cluster.key(""))
    cluster.ctl("remove", cluster.scope, node=node, stdin=f"{cluster.scope}\nYes I am aware\n{leader}\n")
    assert not cluster.etcd.prefix(cluster.key(""))
