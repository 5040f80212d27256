# SPDX-License-Identifier: PostgreSQL
"""PostgreSQL dies under an agent that lives."""

import re
import signal
from datetime import datetime

import pytest

from lib import process
from lib.process import now
from lib.wait import patience, wait_for


def recovery_s(log):
    """How long PostgreSQL itself took from its start to taking connections, from its own log."""
    stamps = {}
    for line in log.splitlines():
        at = re.match(r"(\d+-\d+-\d+ \d+:\d+:\d+\.\d+)", line)
        for text in ("starting PostgreSQL", "database system is ready to accept connections"):
            if at and text in line:
                stamps[text] = datetime.fromisoformat(at[1])
    assert len(stamps) == 2, log
    started, ready = stamps.values()
    return (ready - started).total_seconds()


class TestPostmasterKilled:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        # loop_wait as in production: what is noticed at once must not wait for it
        return make_cluster(3, dcs={"loop_wait": 10, "ttl": 30, "retry_timeout": 10})

    def test_of_the_leader(self, cluster, kind):
        leader = cluster.leader()
        timeline = leader.status()["timeline"]
        writer, sampler = cluster.writer(), cluster.sampler()
        offset, killed = leader.log_size(), now()
        old = leader.kill_postmaster()
        wait_for(lambda: leader.postmaster_pid() not in (None, old), 40, "a new postmaster")
        # an orphaned backend may still acknowledge a write or two: only the new server's count
        wait_for(lambda: "ready to accept connections" in leader.log_text(offset), 40, "a server that is ready")
        writer.wait_writes(40, now())
        writer.stop()
        sampler.stop()
        sampler.assert_never_two()
        outage, _, _ = writer.outage(killed)
        if kind == "pgvigil":
            assert outage <= recovery_s(leader.log_text(offset)) + 0.3 * patience()
        else:
            assert outage <= 25
        assert cluster.leader_name() == leader.name
        cluster.wait_healthy(40)
        assert leader.status()["timeline"] == timeline, "restarting in place must not change the timeline"
        assert writer.missing(leader) == []

    def test_of_a_replica(self, cluster):
        replica, leader = cluster.replicas()[0], cluster.leader()
        old = replica.kill_postmaster()
        wait_for(lambda: replica.postmaster_pid() not in (None, old), 40, "a new postmaster")
        cluster.wait_healthy(40)
        assert cluster.leader_name() == leader.name

    def test_backend_killed(self, cluster):
        """PostgreSQL restarts its children by itself: the agent keeps out of it."""
        leader = cluster.leader()
        postmaster = leader.postmaster_pid()
        connection = leader.connect()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            process.kill_all([cursor.fetchone()[0]])
        connection.close()
        wait_for(lambda: leader.value("SELECT 1"), 30, "connections again")
        cluster.wait_healthy(40)
        assert leader.postmaster_pid() == postmaster
        assert cluster.leader_name() == leader.name

    def test_stopped_by_hand(self, cluster):
        """Somebody's pg_ctl stop is answered with a start, as long as the cluster is not paused."""
        leader = cluster.leader()
        old = leader.postmaster_pid()
        process.kill_all([old], signal.SIGINT)  # fast shutdown
        wait_for(lambda: leader.postmaster_pid() not in (None, old), 40, "a new postmaster")
        cluster.wait_healthy(60)


def test_two_kills_in_a_row(make_cluster):
    """Killed again while it recovers."""
    cluster = make_cluster(2)
    leader = cluster.leader()
    writer = cluster.writer()
    seen = {leader.kill_postmaster()}
    for _ in range(2):
        pid = wait_for(lambda: leader.postmaster_pid() if leader.postmaster_pid() not in seen else None, 40,
                       "a new postmaster")
        process.kill_all([pid])
        process.gone([pid])
        seen.add(pid)
    killed = now()
    writer.wait_writes(60, killed)
    writer.stop()
    new = cluster.leader()
    cluster.wait_healthy(60)
    if new is leader:
        assert writer.missing(leader) == []
