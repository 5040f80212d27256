# SPDX-License-Identifier: PostgreSQL
"""The store is gone, silent, or only a part of it is."""

import re
import signal

import pytest

from lib import process
from lib.process import now
from lib.wait import holds_for, patience, wait_for

TTL = 20


def writes_end(writer, since, timeout):
    """When the last write before a quiet second was acknowledged."""
    wait_for(lambda: now() - max(writer.last(), since) > 1.5, timeout, "the end of all writes", interval=0.1)
    return writer.last()


class TestWholeStore:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        return make_cluster(3, dcs={"ttl": TTL, "loop_wait": 5, "retry_timeout": 5})

    @pytest.fixture(params=["stopped", "frozen"])
    def outage(self, request, cluster):
        cluster.wait_healthy(60)

        def begin():
            (cluster.etcd.stop if request.param == "stopped" else cluster.etcd.freeze)()
            return now()

        def end():
            (cluster.etcd.start if request.param == "stopped" else cluster.etcd.thaw)()
            return now()

        yield begin, end
        if not cluster.etcd.members[0].process.alive():
            cluster.etcd.start()
        cluster.etcd.thaw()

    def test_leader_steps_back_in_time_and_comes_back(self, cluster, outage, kind):
        begin, end = outage
        leader = cluster.leader()
        writer, sampler = cluster.writer(), cluster.sampler()
        # the lease can have been renewed no later than the store could answer
        gone = begin()
        stopped = writes_end(writer, gone, TTL + 10)
        assert stopped - gone < TTL, "wrote on after the lease had ended"
        if kind == "pgvigil":
            # the last renewal is at most loop_wait old: the lease ends after gone + ttl - loop_wait
            assert stopped - gone > TTL - 5 - 5, "stepped back long before it had to"
        wait_for(lambda: sampler.first(leader.name, 503, stopped - 1), 10, "503 from the former leader")
        back = end()
        writer.wait_writes(40, back)
        new = cluster.leader()
        cluster.wait_healthy(60)
        writer.stop()
        sampler.stop()
        sampler.assert_never_two()
        assert writer.missing(new) == []
        if kind == "pgvigil":
            assert writer.first_after(back) - back < 10 * patience()

    def test_short_outage_is_nothing(self, cluster, outage):
        begin, end = outage
        leader = cluster.leader()
        writer = cluster.writer()
        timeline = leader.status()["timeline"]
        gone = begin()
        wait_for(lambda: now() - gone > 3, 10, "three seconds of outage")
        end()
        cluster.wait_healthy(30)
        writer.wait_writes(5)
        writer.stop()
        assert cluster.leader_name() == leader.name
        assert leader.status()["timeline"] == timeline
        assert writer.outage(gone)[0] < 1.0 * patience()

    def test_replica_restarted_meanwhile(self, cluster, outage):
        """An agent that starts without the store waits for it, and its PostgreSQL is left as it is."""
        begin, end = outage
        replica = cluster.replicas()[0]
        postmaster = replica.postmaster_pid()
        replica.kill_agent()
        begin()
        offset = replica.log_size()
        replica.start()
        # the second is what the original says while it looks for the first etcd member
        wait_for(lambda: re.search("Can not get cluster from dcs|waiting on etcd", replica.log_text(offset)), 40,
                 "a word about the store in the log")
        assert replica.postmaster_pid() == postmaster
        end()
        cluster.wait_healthy(90)


class TestOneOfThree:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        return make_cluster(3, etcd_members=3, dcs={"ttl": TTL, "loop_wait": 5, "retry_timeout": 5})

    @pytest.mark.parametrize("which, how", [(0, "killed"), (0, "frozen"), (1, "frozen"), (2, "frozen")])
    def test_nothing_happens(self, cluster, how, which):
        cluster.wait_healthy(60)
        leader = cluster.leader()
        timeline = leader.status()["timeline"]
        postmasters = [node.postmaster_pid() for node in cluster.nodes]
        writer, sampler = cluster.writer(), cluster.sampler()
        member = cluster.etcd.members[which]
        since = now()
        if how == "killed":
            member.process.kill()
        else:
            member.process.freeze()
        try:
            wait_for(lambda: now() - since > TTL + 5, TTL + 10, "longer than the lease")
        finally:
            if how == "killed":
                member.start()
            else:
                member.process.thaw()
        writer.wait_writes(5)
        writer.stop()
        sampler.stop()
        cluster.wait_healthy(30)
        assert cluster.leader_name() == leader.name
        assert leader.status()["timeline"] == timeline
        assert [node.postmaster_pid() for node in cluster.nodes] == postmasters
        assert writer.outage(since)[0] < 1.0 * patience()
        assert not sampler.ever(leader.name, 503, since)


def test_store_that_forgot_everything(make_cluster):
    """All keys deleted under a running cluster: they are written anew, PostgreSQL runs on."""
    cluster = make_cluster(2)
    postmasters = [node.postmaster_pid() for node in cluster.nodes]
    leader = cluster.leader()
    config = cluster.config()
    for key in cluster.etcd.prefix(cluster.key("")):
        cluster.etcd.delete(key)
    wait_for(lambda: cluster.etcd.get(cluster.key("initialize")), 40, "the initialize key")
    cluster.wait_healthy(60)
    assert cluster.etcd.get(cluster.key("initialize")) == leader.status()["database_system_identifier"]
    wait_for(cluster.config, 20, "the config key")
    assert cluster.config() == config
    # an idle server has nothing new to tell, but others count on what it told
    wait_for(lambda: cluster.etcd.get_json(cluster.key("status"))["optime"], 20, "the status key")
    assert [node.postmaster_pid() for node in cluster.nodes] == postmasters
    holds_for(lambda: cluster.leader_name() == leader.name, 1)


def test_etcd_frozen_for_the_leader_alone(make_cluster):
    """The leader's PostgreSQL is busy and its agent starved at the same time as the store is slow:
    after waking, what was leased before is judged by the clock, not by what the agent believed."""
    cluster = make_cluster(3, dcs={"ttl": TTL, "loop_wait": 5, "retry_timeout": 5})
    old = cluster.leader()
    sampler = cluster.sampler()
    frozen = now()
    old.freeze_agent()
    new = cluster.wait_new_leader(old, 60)
    cluster.etcd.freeze()
    process.kill_all([old.agent.pid], signal.SIGCONT)
    thawed = now()
    wait_for(lambda: sampler.first(old.name, 503, thawed), 30, "an answer from the old leader")
    assert not sampler.ever(old.name, 200, thawed)
    cluster.etcd.thaw()
    cluster.wait_healthy(60)
    sampler.stop()
    sampler.assert_never_two()
    assert sampler.ever(new.name, 200, frozen)
