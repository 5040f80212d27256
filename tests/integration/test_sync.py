# SPDX-License-Identifier: PostgreSQL
"""Synchronous replication: what was acknowledged survives the loss of the leader."""

import pytest

from lib.process import now
from lib.wait import wait_for


def sync_key(cluster):
    return cluster.etcd.get_json(cluster.key("sync")) or {}


def sync_names(cluster):
    return set(filter(None, (sync_key(cluster).get("sync_standby") or "").split(",")))


class TestSynchronous:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        cluster = make_cluster(3, dcs={"synchronous_mode": True})
        wait_for(lambda: sync_names(cluster), 30, "a synchronous standby")
        return cluster

    def test_one_of_the_replicas_is_synchronous(self, cluster):
        leader = cluster.leader()
        assert sync_key(cluster)["leader"] == leader.name
        names = sync_names(cluster)
        assert len(names) == 1
        sync = cluster[names.pop()]
        wait_for(lambda: leader.value("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1, 15)
        wait_for(lambda: sync.get("/sync").status == 200, 15)
        assert sync.get("/async").status == 503
        other = next(node for node in cluster.replicas() if node is not sync)
        assert (other.get("/sync").status, other.get("/async").status) == (503, 200)
        assert "Sync Standby" in cluster.ctl("list", cluster.scope).stdout

    def test_leader_killed_loses_nothing(self, cluster):
        cluster.wait_healthy(60)
        wait_for(lambda: sync_names(cluster), 30)
        old, names = cluster.leader(), sync_names(cluster)
        writer, sampler = cluster.writer(), cluster.sampler()
        killed = now()
        old.kill_hard()
        new = cluster.wait_new_leader(old, 60)
        assert new.name in names
        writer.wait_writes(60, killed)
        old.start()
        cluster.wait_healthy(90)
        writer.stop()
        sampler.stop()
        sampler.assert_never_two()
        assert writer.missing(new) == []

    def test_standby_gone_writes_go_on(self, cluster):
        """Not strict: the other replica takes its place soon."""
        cluster.wait_healthy(60)
        wait_for(lambda: sync_names(cluster), 30)
        sync = cluster[sync_names(cluster).pop()]
        writer = cluster.writer()
        gone = now()
        sync.kill_hard()
        wait_for(lambda: sync_names(cluster) and sync.name not in sync_names(cluster), 40, "another synchronous standby")
        writer.wait_writes(20)
        sync.start()
        cluster.wait_healthy(90)
        writer.stop()
        assert writer.missing(cluster.leader()) == []
        assert writer.outage(gone)[0] < 12

    def test_switchover_to_the_asynchronous_is_refused(self, cluster):
        cluster.wait_healthy(60)
        wait_for(lambda: sync_names(cluster), 30)
        leader = cluster.leader()
        other = next(node for node in cluster.replicas() if node.name not in sync_names(cluster))
        answer = leader.rest("POST", "/switchover", {"leader": leader.name, "candidate": other.name}, timeout=20)
        assert (answer.status, answer.text) == (412, "candidate name does not match with sync_standby")

    def test_switchover(self, cluster):
        cluster.wait_healthy(60)
        wait_for(lambda: sync_names(cluster), 30)
        old, name = cluster.leader(), sync_names(cluster).pop()
        writer = cluster.writer()
        answer = old.rest("POST", "/switchover", {"leader": old.name}, timeout=40)
        assert answer.text == f'Successfully switched over to "{name}"'
        cluster.wait_healthy(60)
        writer.wait_writes(20)
        writer.stop()
        assert writer.missing(cluster[name]) == []

    def test_switched_off(self, cluster):
        cluster.wait_healthy(60)
        cluster.patch({"synchronous_mode": False})
        leader = cluster.leader()
        wait_for(lambda: leader.value("SHOW synchronous_standby_names") == "", 20)
        wait_for(lambda: not sync_names(cluster), 20)


def test_strict_waits_for_a_standby(make_cluster):
    """No acknowledgement while nobody is there to receive it, and then all of them."""
    cluster = make_cluster(2, dcs={"synchronous_mode": True, "synchronous_mode_strict": True})
    wait_for(lambda: sync_names(cluster), 30)
    leader, replica = cluster.leader(), cluster.replicas()[0]
    writer = cluster.writer()
    replica.kill_hard()
    gone = now()
    wait_for(lambda: now() - writer.last() > 5, 20, "no more acknowledgements")
    assert leader.is_primary()
    replica.start()
    writer.wait_writes(60, gone)
    cluster.wait_healthy(60)
    writer.stop()
    assert writer.missing(replica) == []


class TestQuorum:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        cluster = make_cluster(3, dcs={"synchronous_mode": "quorum"})
        wait_for(lambda: len(sync_names(cluster)) == 2, 40, "both replicas in the quorum")
        return cluster

    def test_any_one_of_two(self, cluster):
        leader = cluster.leader()
        names = leader.value("SHOW synchronous_standby_names")
        assert names.upper().startswith("ANY 1 ("), names
        for node in cluster.replicas():
            wait_for(lambda n=node: n.get("/quorum").status == 200, 15)
        assert "Quorum Standby" in cluster.ctl("list", cluster.scope).stdout

    def test_leader_killed_loses_nothing(self, cluster):
        cluster.wait_healthy(60)
        wait_for(lambda: len(sync_names(cluster)) == 2, 40)
        old = cluster.leader()
        writer, sampler = cluster.writer(), cluster.sampler()
        killed = now()
        old.kill_hard()
        new = cluster.wait_new_leader(old, 60)
        writer.wait_writes(60, killed)
        old.start()
        cluster.wait_healthy(90)
        writer.stop()
        sampler.stop()
        sampler.assert_never_two()
        assert writer.missing(new) == []
