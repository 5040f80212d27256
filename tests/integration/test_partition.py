# SPDX-License-Identifier: PostgreSQL
"""The network breaks: nodes in namespaces of their own, joined by a bridge, and a plug is pulled."""

import threading

import psycopg2
import pytest

from lib import netns
from lib.process import now
from lib.wait import patience, wait_for

TTL = 20
pytestmark = pytest.mark.network


class InNetwork:
    """Runs a function of a node from inside the node's own network, where it can be reached
    although it is cut off."""

    def __init__(self, node):
        self.node = node

    def __call__(self, function):
        result = []

        def run():
            netns.enter(self.node.netns)
            try:
                result.append(function())
            except Exception as error:  # pylint: disable=broad-except
                result.append(error)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(15)
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]


def refuses_writes(node):
    """In recovery, on its way down, or down."""
    try:
        return node.in_recovery()
    except psycopg2.OperationalError as error:
        return "shutting down" in str(error) or "refused" in str(error) or "starting up" in str(error)


def test_leader_cut_off_from_everything(cut_cluster, kind):
    """It stops being primary before its lease ends, the others elect one of them afterwards, and
    what it had written alone is rewound when the plug is back in."""
    cluster = cut_cluster(3, dcs={"ttl": TTL, "loop_wait": 5, "retry_timeout": 5})
    old = cluster.leader()
    inside = InNetwork(old)
    sampler = cluster.sampler()
    cut = now()
    cluster.network.cut(old.name)
    new = cluster.wait_new_leader(old, TTL + 30)
    assert not inside(old.is_primary)
    sampler.assert_never_two()
    stepped_back = sampler.first(old.name, 503, cut)
    promoted = sampler.first(new.name, 200, cut)
    assert stepped_back < promoted
    if kind == "pgvigil":
        assert stepped_back - cut > TTL - 5 - 5, "stepped back long before it had to"
    assert inside(lambda: refuses_writes(old))
    new.sql("CREATE TABLE after_the_cut ()")
    joined = now()
    cluster.network.join(old.name)
    cluster.wait_healthy(60)
    assert now() - joined < 60
    wait_for(lambda: old.sql("SELECT 1 FROM pg_class WHERE relname = 'after_the_cut'"), 10)
    sampler.stop()
    sampler.assert_never_two()
    assert cluster.leader_name() == new.name


def test_replica_cut_off(cut_cluster):
    """Nobody else notices."""
    cluster = cut_cluster(3, dcs={"ttl": TTL, "loop_wait": 5, "retry_timeout": 5})
    leader, replica = cluster.leader(), cluster.replicas()[0]
    writer, sampler = cluster.writer(), cluster.sampler()
    cut = now()
    cluster.network.cut(replica.name)
    wait_for(lambda: cluster.etcd.get(cluster.key(f"members/{replica.name}")) is None, TTL + 10, "its member key to end")
    wait_for(lambda: sampler.first(replica.name, 503, cut), 10, "still an answer from it")
    cluster.network.join(replica.name)
    cluster.wait_healthy(60)
    writer.stop()
    sampler.stop()
    assert not sampler.ever(leader.name, 503, cut)
    assert not sampler.ever(replica.name, 200, cut)
    assert cluster.leader_name() == leader.name
    assert writer.outage(cut)[0] < 3 * patience()


def test_store_cut_off_from_all(cut_cluster):
    """Silence instead of refused connections: the leader steps back in time, and returns."""
    cluster = cut_cluster(3, dcs={"ttl": TTL, "loop_wait": 5, "retry_timeout": 5})
    leader = cluster.leader()
    sampler = cluster.sampler()
    cut = now()
    cluster.network.cut("etcd")
    stepped_back = wait_for(lambda: sampler.first(leader.name, 503, cut), TTL + 10, "503 from the leader")
    assert stepped_back - cut < TTL
    assert refuses_writes(leader)
    cluster.network.join("etcd")
    cluster.wait_healthy(60)
    sampler.stop()
    sampler.assert_never_two()
