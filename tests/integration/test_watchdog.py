# SPDX-License-Identifier: PostgreSQL
"""The watchdog, by the driver 'testing': what the agent tells the device, and when it would fire."""

import os

import pytest

from lib import process
from lib.etcd import KeyWatch
from lib.process import now
from lib.wait import holds_for, wait_for
from lib.watchdog import Watchdog

# ttl 20, safety_margin 5
FULL = "C15"


@pytest.fixture(scope="class")
def guarded(make_cluster):
    """guarded(size, kind=…, mode=…): each node has its watchdog, cluster.watchdogs by name."""
    made = []

    def make(size, kind="pgvigil", mode="required", missing=(), dcs=None, **more):
        cluster = make_cluster(kinds=[kind] * size, start=False, dcs=dcs)
        cluster.watchdogs = {node.name: Watchdog(node, mode, **more) for node in cluster.nodes}
        for name in missing:
            cluster.watchdogs[name].vanish()
        made.append(cluster)
        return cluster.start()

    yield make
    for cluster in made:
        for watchdog in cluster.watchdogs.values():
            watchdog.vanish()


def state_of_server(node):
    """By its control file, and whether there is a postmaster."""
    return node.controldata()["Database cluster state"], node.postmaster_pid()


@pytest.mark.parametrize("kind", ["pgvigil", "patroni"], scope="class")
class TestLife:
    """The same script for both agents; what they tell the device is the same story."""

    @pytest.fixture(scope="class")
    def cluster(self, guarded, kind, request):
        if kind == "patroni":
            request.getfixturevalue("patroni")
        return guarded(2, kind)

    def test_of_the_leader_only(self, cluster, kind):
        leader = cluster.leader()
        mine = cluster.watchdogs[leader.name]
        assert mine.story() == [FULL, "1"]
        # kept alive by each renewal of the lease
        at = mine.wait_keepalives(5)
        gaps = [b - a for a, b in zip(at, at[1:])]
        assert sum(gaps) / len(gaps) < 5, gaps
        assert [w.story() for w in cluster.watchdogs.values() if w is not mine] == [[]]
        assert "watchdog_failed" not in leader.status()
        assert not mine.fired

    def test_nobody_inherits_it(self, cluster, kind):
        """PostgreSQL outlives the agent: it must not hold the device open."""
        leader = cluster.leader()
        path = cluster.watchdogs[leader.name].path
        holders = []
        for pid in process.tree(leader.agent.pid) + process.tree(leader.postmaster_pid()):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                try:
                    if os.readlink(f"/proc/{pid}/fd/{fd}") == path:
                        holders.append(pid)
                except FileNotFoundError:
                    pass
        assert holders == [leader.agent.pid]

    def test_switchover(self, cluster, kind):
        """Disabled when the old primary cannot write any more, activated before the new one can."""
        old = cluster.leader()
        new = cluster.replicas()[0]
        one, other = cluster.watchdogs[old.name], cluster.watchdogs[new.name]
        since, offset, seen = one.count(), new.log_size(), []
        one.on_event = lambda token: token == "V" and seen.append(state_of_server(old))
        answer = old.rest("POST", "/switchover", {"leader": old.name, "candidate": new.name}, timeout=60)
        assert answer.status == 200, answer
        one.wait("V", since)
        cluster.wait_healthy(60)
        one.on_event = None
        assert one.story(since) in (["1", "V"], ["V"])
        assert other.story() == [FULL, "1"]
        log = new.log_text(offset)
        assert log.index("activated with 15 second timeout") < log.index("received promote request")
        if kind == "pgvigil":  # Patroni's safe point is earlier: no more sessions
            assert seen[0][0] == "shut down" or seen[0][1] is None, seen

    def test_pause(self, cluster, kind):
        leader = cluster.leader()
        mine = cluster.watchdogs[leader.name]
        since, server = mine.count(), leader.postmaster_pid()
        cluster.patch({"pause": True})
        mine.wait("V", since)
        mine.silent(5)
        assert leader.postmaster_pid() == server
        since = mine.count()
        cluster.patch({"pause": None})
        mine.wait("1", since)
        assert mine.story(since) == [FULL, "1"]

    def test_another_ttl(self, cluster, kind):
        leader = cluster.leader()
        mine = cluster.watchdogs[leader.name]
        since = mine.count()
        cluster.patch({"ttl": 30})
        mine.wait("C25", since)
        mine.wait_keepalives(1)
        since = mine.count()
        cluster.patch({"ttl": 20})
        mine.wait(FULL, since)
        mine.wait_keepalives(2)
        assert mine.story(since) in (["1", FULL, "1"], [FULL, "1"])

    def test_reload_to_off_and_back(self, cluster, kind):
        leader = cluster.leader()
        mine = cluster.watchdogs[leader.name]
        since = mine.count()
        leader.config["watchdog"]["mode"] = "off"
        leader.write_config()
        leader.hup()
        mine.wait("V", since, 10)
        mine.silent(5)
        assert leader.is_primary()
        since = mine.count()
        leader.config["watchdog"]["mode"] = "required"
        leader.write_config()
        leader.hup()
        mine.wait("1", since)
        assert mine.story(since) == [FULL, "1"]

    def test_the_agent_is_killed_and_comes_back(self, cluster, kind):
        """The device counts on; who proves the lease again in time keeps the machine."""
        leader = cluster.leader()
        mine = cluster.watchdogs[leader.name]
        since, server = mine.count(), leader.postmaster_pid()
        leader.kill_agent()
        assert "V" not in mine.story(since)
        assert mine.running()
        since = mine.count()
        leader.start()
        mine.wait("1", since)
        cluster.wait_healthy(60)
        assert mine.story(since) == [FULL, "1"]
        assert leader.postmaster_pid() == server
        assert not mine.fired

    def test_shutdown(self, cluster, kind):
        leader = cluster.leader()
        mine = cluster.watchdogs[leader.name]
        since, seen = mine.count(), []
        mine.on_event = lambda token: token == "V" and seen.append(state_of_server(leader))
        leader.stop()
        mine.on_event = None
        assert mine.last() == "V"
        assert mine.story(since) in (["1", "V"], ["V"])
        if kind == "pgvigil":
            assert seen[0][0] == "shut down" or seen[0][1] is None, seen
        leader.start()
        cluster.wait_healthy(60)
        for watchdog in cluster.watchdogs.values():
            assert not watchdog.fired


@pytest.mark.pgvigil
class TestRequired:
    @pytest.fixture(scope="class")
    def cluster(self, guarded):
        return guarded(2, missing=["n2"])

    def test_a_peer_without_one_is_no_candidate(self, cluster):
        leader, other = cluster["n1"], cluster["n2"]
        assert cluster.leader() is leader
        wait_for(lambda: other.status().get("watchdog_failed") is True, 20, "watchdog_failed")
        answer = leader.rest("POST", "/switchover", {"leader": "n1", "candidate": "n2"}, timeout=30)
        assert answer.status == 412, answer
        assert "no good candidates" in answer.text
        assert leader.is_primary()

    def test_and_is_not_promoted_until_it_has_one(self, cluster):
        leader, other = cluster["n1"], cluster["n2"]
        offset = other.log_size()
        leader.kill_hard()
        wait_for(lambda: cluster.leader_name() is None, 40, "the end of the lease")
        other.wait_log("watchdog is required and cannot be used", 20, offset)
        holds_for(lambda: cluster.leader_name() is None and other.in_recovery(), 6, "nobody leads")
        cluster.watchdogs["n2"].open()
        cluster.wait_leader(other, 60)
        assert cluster.watchdogs["n2"].story()[0] == FULL
        assert "watchdog_failed" not in other.status()
        leader.start()
        cluster.wait_healthy(90)

    def test_a_primary_whose_device_vanishes(self, cluster):
        old = cluster.leader()
        sampler, offset = cluster.sampler(), old.log_size()
        cluster.watchdogs[old.name].vanish()
        new = cluster.wait_new_leader(old, 60)
        old.wait_log("Demoting self because watchdog could not be activated", 10, offset)
        cluster.wait_healthy(60)
        sampler.stop()
        sampler.assert_never_two()
        assert cluster.watchdogs[new.name].running()
        cluster.watchdogs[old.name].open()
        wait_for(lambda: "watchdog_failed" not in old.status(), 60, "a device for the old one")


@pytest.mark.pgvigil
class TestAutomatic:
    @pytest.fixture(scope="class")
    def cluster(self, guarded):
        return guarded(2, mode="automatic", safety_margin=2)

    def test_the_device_vanishes_and_comes_back(self, cluster):
        """Nothing happens but a line in the log, and it is used again when it is there again."""
        leader = cluster.leader()
        mine, server, offset = cluster.watchdogs[leader.name], leader.postmaster_pid(), leader.log_size()
        mine.vanish()
        leader.wait_log("leading on without it", 20, offset)
        assert "watchdog_failed" not in leader.status()
        mine.open()
        since = mine.count()
        mine.wait("1", since)
        assert mine.story(since) == ["C18", "1"]
        assert leader.is_primary() and leader.postmaster_pid() == server

    def test_a_late_answer_of_the_store(self, cluster):
        """The store answers some seconds late: the full time-out would outlive the lease."""
        leader = cluster.leader()
        mine = cluster.watchdogs[leader.name]
        shortened = None
        for _ in range(10):
            mine.wait_keepalives(1)
            since, frozen = mine.count(), now()
            cluster.etcd.freeze()
            wait_for(lambda f=frozen: now() - f > 4.5, 10, "a store that hangs")
            cluster.etcd.thaw()
            mine.wait_keepalives(2)
            shortened = next((token for token in mine.story(since) if token[0] == "C" and token != "C18"), None)
            if shortened:
                break
        assert shortened in ("C13", "C14", "C15", "C16", "C17"), mine.story()
        mine.wait("C18", since)
        assert leader.is_primary()
        assert not mine.fired

    def test_the_agent_hangs(self, cluster):
        """What the machine does then, a reset, comes before anybody else may lead."""
        old = cluster.leader()
        mine, other = cluster.watchdogs[old.name], cluster.replicas()[0]
        sampler, writer = cluster.sampler(), cluster.writer()
        mine.wait_keepalives(2)
        machine = process.tree(old.agent.pid) + process.tree(old.postmaster_pid())
        mine.on_fire = lambda: process.kill_all(machine)  # what is born later goes with its postmaster
        lease = KeyWatch(cluster.etcd, cluster.key("leader"))
        old.freeze_agent()
        frozen = now()
        gone = lease.gone_at(frozen)
        lease.close()
        assert cluster.wait_new_leader(old, 60) is other
        writer.wait_writes(5)
        writer.stop()
        sampler.stop()
        sampler.assert_never_two()
        pinged = max(at for at, token in mine.events if token == "1")
        assert 18 <= mine.fired - pinged < 18 + 0.5
        assert mine.fired < gone, (mine.fired - pinged, gone - pinged)
        old.agent.wait(10)
        mine.on_fire = None
        old.start()
        cluster.wait_healthy(90)

    def test_the_agent_dies_and_stays_dead(self, cluster):
        leader = cluster.leader()
        mine = cluster.watchdogs[leader.name]
        mine.fired, since = None, mine.count()
        leader.kill_agent()
        wait_for(lambda: mine.fired, 30, "the watchdog's end")
        assert "V" not in mine.story(since)
        process.kill_all(process.tree(leader.postmaster_pid()))
        cluster.wait_new_leader(leader, 60)
