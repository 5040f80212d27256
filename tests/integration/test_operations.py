# SPDX-License-Identifier: PostgreSQL
"""What an operator does on an ordinary day: stop, restart, reinitialize, pause."""

import os
import signal
from datetime import datetime, timedelta, timezone

import pytest

from lib import process
from lib.process import now
from lib.wait import holds_for, patience, wait_for


@pytest.fixture(scope="class")
def cluster(make_cluster):
    return make_cluster(3)


def assert_says_stopped(cluster, node):
    """The member key of one who went in order says so, as long as it lives."""
    member = cluster.etcd.get_json(cluster.key(f"members/{node.name}"))
    assert member is None or member["state"] == "stopped"


class TestStop:
    def test_leader_hands_over_at_once(self, cluster, kind):
        """SIGTERM: PostgreSQL stops, the key is released, and a replica goes on without waiting
        for the lease to end. All that was acknowledged is there."""
        cluster.wait_healthy(60)
        old = cluster.leader()
        writer, sampler = cluster.writer(), cluster.sampler()
        stopped = now()
        assert old.stop() == 0
        assert old.postmaster_pid() is None
        new = cluster.wait_new_leader(old, 15)
        writer.wait_writes(15, stopped)
        writer.wait_writes(5)
        outage, _, _ = writer.outage(stopped)
        assert outage < (2 if kind == "pgvigil" else 8) * patience()
        assert_says_stopped(cluster, old)
        assert old.controldata()["Database cluster state"] == "shut down"
        old.start()
        cluster.wait_healthy(60)
        writer.stop()
        sampler.stop()
        sampler.assert_never_two()
        assert writer.missing(new) == []

    def test_replica(self, cluster):
        cluster.wait_healthy(60)
        replica, leader = cluster.replicas()[0], cluster.leader()
        writer = cluster.writer()
        stopped = now()
        assert replica.stop() == 0
        assert replica.postmaster_pid() is None
        assert_says_stopped(cluster, replica)
        replica.start()
        cluster.wait_healthy(60)
        writer.stop()
        assert cluster.leader_name() == leader.name
        assert writer.outage(stopped)[0] < 1.0 * patience()

    def test_everything(self, cluster):
        """All down in order, all up again: the same leader's data."""
        cluster.wait_healthy(60)
        writer = cluster.writer()
        writer.stop()
        for node in cluster.replicas():
            assert node.stop() == 0
        last = next(node for node in cluster.nodes if node.agent.alive())
        assert last.stop() == 0
        assert cluster.leader_name() is None
        for node in cluster.nodes:
            node.start()
        cluster.wait_healthy(90)
        assert writer.missing(cluster.leader()) == []

    def test_sigint_as_well(self, cluster):
        cluster.wait_healthy(60)
        replica = cluster.replicas()[0]
        replica.agent.signal(signal.SIGINT)
        assert replica.agent.wait(30) == 0
        assert replica.postmaster_pid() is None
        replica.start()
        cluster.wait_healthy(60)


class TestRestart:
    def test_leader(self, cluster):
        cluster.wait_healthy(60)
        leader = cluster.leader()
        before, timeline = leader.postmaster_pid(), leader.status()["timeline"]
        answer = leader.rest("POST", "/restart", timeout=60)
        assert (answer.status, answer.text) == (200, "restarted successfully")
        assert leader.postmaster_pid() not in (None, before)
        cluster.wait_healthy(60)
        assert cluster.leader_name() == leader.name
        assert leader.status()["timeline"] == timeline

    def test_replica_by_the_command_line(self, cluster):
        cluster.wait_healthy(60)
        replica = cluster.replicas()[0]
        before = replica.postmaster_pid()
        out = cluster.ctl("restart", cluster.scope, replica.name, "--force").stdout
        assert f"Success: restart on member {replica.name}" in out
        assert replica.postmaster_pid() not in (None, before)
        cluster.wait_healthy(60)

    @pytest.mark.parametrize("body, status, text", [
        ({"role": "replica"}, 503, "restart conditions are not satisfied"),
        ({"role": "king"}, 400, "PostgreSQL role should be either primary, standby_leader, or replica"),
        ({"postgres_version": "9.6"}, 400, "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 9.6"),
        ({"postgres_version": "10.1"}, 503, "restart conditions are not satisfied"),
        ({"timeout": "-1"}, 400, "Timeout should be a positive number of seconds"),
        ({"when": "now"}, 400, "Unknown filter for the scheduled restart: when"),
        ({"restart_pending": True}, 503, "restart conditions are not satisfied"),
        ({"schedule": "2099-01-01T10:00:00"}, 400, "Timezone information is mandatory for the scheduled restart"),
    ])
    def test_refused(self, cluster, body, status, text):
        leader = cluster.leader()
        before = leader.postmaster_pid()
        answer = leader.rest("POST", "/restart", body, timeout=60)
        assert (answer.status, answer.text) == (status, text)
        assert leader.postmaster_pid() == before

    def test_scheduled(self, cluster):
        cluster.wait_healthy(60)
        replica = cluster.replicas()[0]
        before = replica.postmaster_pid()
        at = (datetime.now(timezone.utc) + timedelta(seconds=4)).isoformat()
        answer = replica.rest("POST", "/restart", {"schedule": at})
        assert (answer.status, answer.text) == (202, "Restart scheduled")
        answer = replica.rest("POST", "/restart", {"schedule": at})
        assert (answer.status, answer.text) == (409, "Another restart is already scheduled")
        assert replica.status()["scheduled_restart"]["schedule"] == at
        wait_for(lambda: replica.postmaster_pid() not in (None, before), 30, "the restart")
        wait_for(lambda: "scheduled_restart" not in replica.status(), 15)
        cluster.wait_healthy(60)

    def test_scheduled_and_taken_back(self, cluster):
        replica = cluster.replicas()[0]
        at = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
        assert replica.rest("POST", "/restart", {"schedule": at}).status == 202
        answer = replica.rest("DELETE", "/restart")
        assert (answer.status, answer.text) == (200, "scheduled restart deleted")
        answer = replica.rest("DELETE", "/restart")
        assert (answer.status, answer.text) == (404, "no restarts are scheduled")


class TestReinitialize:
    def test_replica(self, cluster):
        cluster.wait_healthy(60)
        replica = cluster.replicas()[0]
        marker = os.path.join(replica.data_dir, "marker-of-the-old-copy")
        process.write_file(marker, "")
        answer = replica.rest("POST", "/reinitialize", {"force": False})
        assert (answer.status, answer.text) == (200, "reinitialize started")
        wait_for(lambda: not os.path.exists(marker), 40, "the old copy to go")
        cluster.wait_healthy(90)

    def test_by_the_command_line(self, cluster):
        cluster.wait_healthy(60)
        replica = cluster.replicas()[0]
        marker = os.path.join(replica.data_dir, "marker-of-the-old-copy")
        process.write_file(marker, "")
        out = cluster.ctl("reinit", cluster.scope, replica.name, "--force", "--wait").stdout
        assert f"Success: reinitialize for member {replica.name}" in out
        assert f"Reinitialize is completed on: {replica.name}" in out
        assert not os.path.exists(marker)
        cluster.wait_healthy(60)

    def test_leader_refuses(self, cluster):
        answer = cluster.leader().rest("POST", "/reinitialize")
        assert (answer.status, answer.text) == (503, "I am the leader, can not reinitialize")


class TestPause:
    @pytest.fixture
    def paused(self, cluster):
        cluster.wait_healthy(60)
        cluster.patch({"pause": True})
        for node in cluster.nodes:
            wait_for(lambda n=node: n.status().get("pause"), 15, f"{node.name} paused")
        yield cluster
        wait_for(lambda: cluster.nodes[0].rest("PATCH", "/config", {"pause": None}).status == 200, 20)
        for node in cluster.nodes:
            wait_for(lambda n=node: not n.status().get("pause"), 30, f"{node.name} resumed")
        cluster.wait_healthy(90)

    def test_stopped_postgresql_stays_down(self, paused):
        leader, replicas = paused.leader(), paused.replicas()
        pid = leader.postmaster_pid()
        process.kill_all([pid], signal.SIGINT)
        process.gone([pid])
        holds_for(lambda: leader.postmaster_pid() is None, 6, "down")
        assert all(node.in_recovery() for node in replicas), "nobody may be promoted"

    def test_agent_leaves_postgresql_alone(self, paused):
        """Stopping and starting agents of a paused cluster does not touch PostgreSQL."""
        postmasters = [node.postmaster_pid() for node in paused.nodes]
        for node in paused.nodes:
            assert node.stop() == 0
        assert [node.postmaster_pid() for node in paused.nodes] == postmasters
        for node in paused.nodes:
            node.start()
        for node in paused.nodes:
            wait_for(lambda n=node: n.status().get("state") == "running", 30)
        assert [node.postmaster_pid() for node in paused.nodes] == postmasters

    def test_switchover_needs_a_candidate(self, paused):
        leader = paused.leader()
        answer = leader.rest("POST", "/switchover", {"leader": leader.name})
        assert (answer.status, answer.text) == (
            400, "Switchover is possible only to a specific candidate in a paused state")

    def test_nothing_is_scheduled(self, paused):
        leader = paused.leader()
        at = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
        answer = leader.rest("POST", "/restart", {"schedule": at})
        assert (answer.status, answer.text) == (500, "Can't schedule restart in the paused state")
        answer = leader.rest("POST", "/switchover", {"leader": leader.name, "candidate": paused.replicas()[0].name,
                                                     "scheduled_at": at})
        assert (answer.status, answer.text) == (400, "Can't schedule switchover in the paused state")

    def test_command_line(self, cluster):
        cluster.wait_healthy(60)
        out = cluster.ctl("pause", cluster.scope, "--wait").stdout
        assert "Success: cluster management is paused" in out
        assert all(node.status().get("pause") for node in cluster.nodes)
        assert "Maintenance mode: on" in cluster.ctl("list", cluster.scope).stdout
        done = cluster.ctl("pause", cluster.scope, check=False)
        assert done.returncode == 1 and "Cluster is already paused" in done.stdout + done.stderr
        out = cluster.ctl("resume", cluster.scope, "--wait").stdout
        assert "Success: cluster management is resumed" in out
        assert not any(node.status().get("pause") for node in cluster.nodes)
