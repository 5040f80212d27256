# SPDX-License-Identifier: PostgreSQL
"""Processes that stand still and then go on, as after a VM's suspend or a starved host."""

import signal

import pytest

from lib import process
from lib.process import now
from lib.wait import patience, wait_for


class TestFrozenLeader:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        return make_cluster(3)

    @pytest.mark.parametrize("what", ["agent", "agent and PostgreSQL"])
    def test_longer_than_the_lease(self, cluster, what):
        """It wakes as somebody who was leader: it may say so to nobody, and must step back."""
        old = cluster.leader()
        sampler = cluster.sampler()
        if what == "agent":
            old.freeze_agent()
            pids = [old.agent.pid]
        else:
            pids = old.freeze_all()
        frozen = now()
        new = cluster.wait_new_leader(old, 60)
        wait_for(lambda: sampler.first(new.name, 200, frozen), 10, "a 200 from the new leader")
        thawed = now()
        process.kill_all(pids, signal.SIGCONT)
        wait_for(lambda: sampler.first(old.name, 503, thawed), 40, "a 503 from the old leader")
        cluster.wait_healthy(60)
        sampler.stop()
        sampler.assert_never_two()
        assert not sampler.ever(old.name, 200, thawed), "said to be primary without holding the key"
        assert cluster.leader_name() == new.name

    def test_shorter_than_the_lease(self, cluster):
        """A pause within the lease has no consequences."""
        leader = cluster.leader()
        postmaster, writer = leader.postmaster_pid(), cluster.writer()
        frozen = now()
        leader.freeze_agent()
        wait_for(lambda: now() - frozen > 6, 10, "six seconds of frost")
        leader.thaw_agent()
        cluster.wait_healthy(20)
        writer.wait_writes(5)
        writer.stop()
        assert cluster.leader_name() == leader.name
        assert leader.postmaster_pid() == postmaster
        assert writer.outage(frozen)[0] < 1.0 * patience()


def test_frozen_replica(make_cluster):
    """Nobody waits for it, and it takes up where it was."""
    cluster = make_cluster(3)
    replica = cluster.replicas()[0]
    writer = cluster.writer()
    frozen = now()
    pids = replica.freeze_all()
    wait_for(lambda: cluster.etcd.get(cluster.key(f"members/{replica.name}")) is None, 40, "its member key to end")
    process.kill_all(pids, signal.SIGCONT)
    cluster.wait_healthy(60)
    writer.stop()
    assert writer.outage(frozen)[0] < 1.0 * patience()
    assert writer.missing(cluster.leader()) == []
