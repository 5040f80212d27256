# SPDX-License-Identifier: PostgreSQL
"""Handing over on purpose: by REST and by the command line tool."""

from datetime import datetime, timedelta, timezone

import pytest

from lib.process import now
from lib.wait import patience, wait_for


def in_seconds(seconds):
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


@pytest.fixture(scope="class")
def cluster(make_cluster):
    return make_cluster(3)


@pytest.fixture
def healthy(cluster):
    cluster.wait_healthy(60)
    return cluster


def hand_over(cluster, ask):
    """Asks for it under load, and checks all that must hold of any switchover.
    Returns (old, new, seconds without writes)."""
    old = cluster.leader()
    writer, sampler = cluster.writer(), cluster.sampler()
    asked = now()
    ask(old)
    new = cluster.wait_new_leader(old, 60)
    writer.wait_writes(20, asked)
    cluster.wait_healthy(60)
    writer.wait_writes(5)
    writer.stop()
    sampler.stop()
    sampler.assert_never_two()
    outage, _, _ = writer.outage(asked)
    assert writer.missing(new) == [], "acknowledged writes are lost"
    return old, new, outage


class TestSwitchover:
    def test_by_rest_without_candidate(self, healthy, kind):
        answers = []
        old, new, outage = hand_over(healthy, lambda leader: answers.append(
            leader.rest("POST", "/switchover", {"leader": leader.name}, timeout=40)))
        assert answers[0].status == 200
        assert answers[0].text == f'Successfully switched over to "{new.name}"'
        assert old is not new
        assert outage < (1.5 if kind == "pgvigil" else 6) * patience()
        history = new.get("/history").json
        assert history[-1][4] == new.name

    def test_by_rest_to_a_candidate(self, healthy):
        candidate = healthy.replicas()[1]
        answers = []
        _, new, _ = hand_over(healthy, lambda leader: answers.append(
            leader.rest("POST", "/switchover", {"leader": leader.name, "candidate": candidate.name}, timeout=40)))
        assert new is candidate
        assert answers[0].text == f'Successfully switched over to "{candidate.name}"'

    def test_asked_from_a_replica(self, healthy):
        """Any node takes the request: it only writes the key."""
        replica = healthy.replicas()[0]
        hand_over(healthy, lambda leader: replica.rest(
            "POST", "/switchover", {"leader": leader.name, "candidate": replica.name}, timeout=40))
        assert healthy.leader_name() == replica.name

    def test_by_the_command_line(self, healthy):
        out = []
        _, new, _ = hand_over(healthy, lambda leader: out.append(healthy.ctl("switchover", healthy.scope, "--force").stdout))
        assert f'Successfully switched over to "{new.name}"' in out[0]

    def test_by_the_command_line_to_a_candidate(self, healthy):
        candidate = healthy.replicas()[0]
        _, new, _ = hand_over(healthy, lambda leader: healthy.ctl(
            "switchover", healthy.scope, "--leader", leader.name, "--candidate", candidate.name, "--force"))
        assert new is candidate

    def test_failover_by_the_command_line(self, healthy):
        candidate = healthy.replicas()[0]
        out = []
        hand_over(healthy, lambda leader: out.append(
            healthy.ctl("failover", healthy.scope, "--candidate", candidate.name, "--force").stdout))
        assert f'Successfully failed over to "{candidate.name}"' in out[0]

    def test_scheduled(self, healthy):
        candidate = healthy.replicas()[0]
        answers = []
        _, new, _ = hand_over(healthy, lambda leader: answers.append(leader.rest(
            "POST", "/switchover", {"leader": leader.name, "candidate": candidate.name, "scheduled_at": in_seconds(4)})))
        assert (answers[0].status, answers[0].text) == (202, "Switchover scheduled")
        assert new is candidate

    def test_scheduled_and_taken_back(self, healthy):
        leader = healthy.leader()
        at = in_seconds(3600)
        answer = leader.rest("POST", "/switchover", {"leader": leader.name, "scheduled_at": at})
        assert (answer.status, answer.text) == (202, "Switchover scheduled")
        assert leader.get("/cluster").json["scheduled_switchover"] == {"at": at, "from": leader.name}
        answer = leader.rest("DELETE", "/switchover")
        assert (answer.status, answer.text) == (200, "scheduled switchover deleted")
        answer = leader.rest("DELETE", "/switchover")
        assert (answer.status, answer.text) == (404, "no switchover is scheduled")


class TestRefused:
    """Answered with a reason, and nothing happens."""

    @pytest.mark.parametrize("path, body, status, text", [
        ("failover", {"leader": ""}, 400, "Failover could be performed only to a specific candidate"),
        ("switchover", {"candidate": "n2"}, 400, "Switchover could be performed only from a specific leader"),
        ("failover", {"candidate": "n2", "scheduled_at": "2099-01-01T10:00:00+00:00"}, 400, "Failover can't be scheduled"),
        ("switchover", {"leader": "n1", "candidate": "n1"}, 400, "Switchover target and source are the same"),
        ("switchover", {"leader": "n2"}, 412, "leader name does not match"),
        ("switchover", {"leader": "n1", "candidate": "n9"}, 412, "candidate does not exists"),
        ("failover", {"candidate": "n9"}, 412, "candidate does not exists"),
        ("switchover", {"leader": "n1", "scheduled_at": "1999-01-01T10:00:00+00:00"}, 422,
         "Cannot schedule switchover in the past"),
        ("switchover", {"leader": "n1", "scheduled_at": "2099-01-01T10:00:00"}, 400,
         "Timezone information is mandatory for the scheduled switchover"),
        ("switchover", {"leader": "n1", "scheduled_at": "soon"}, 422,
         "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"),
    ])
    def test_wrong_request(self, cluster, path, body, status, text):
        cluster.wait_healthy(30)
        assert cluster.leader_name() == "n1"
        answer = cluster["n2"].rest("POST", f"/{path}", body, timeout=15)
        assert (answer.status, answer.text) == (status, text)
        assert not cluster.etcd.get_json(cluster.key("failover")) if cluster.etcd.get(cluster.key("failover")) else True
        assert cluster.leader_name() == "n1"

    def test_no_good_candidate(self, cluster):
        """A replica that is tagged nofailover is none."""
        cluster.wait_healthy(30)
        nodes = cluster.replicas()
        for node in nodes:
            node.config["tags"] = {"nofailover": True}
            node.write_config()
            assert node.rest("POST", "/reload").status == 202
        for node in nodes:
            wait_for(lambda n=node: n.status().get("tags", {}).get("nofailover"), 15, "the new tag")
        wait_for(lambda: all(cluster.etcd.get_json(cluster.key(f"members/{node.name}")).get("tags") for node in nodes), 15)
        leader = cluster.leader()
        answer = leader.rest("POST", "/switchover", {"leader": leader.name}, timeout=15)
        assert (answer.status, answer.text) == (412, "switchover is not possible: no good candidates have been found")
        done = cluster.ctl("switchover", cluster.scope, "--force", check=False)
        assert done.returncode == 1
        assert "No candidates found to switchover to" in done.stdout + done.stderr
        assert cluster.leader_name() == leader.name


def test_alone(make_cluster):
    cluster = make_cluster(1)
    answer = cluster.nodes[0].rest("POST", "/switchover", {"leader": "n1"})
    assert (answer.status, answer.text) == (
        412, "switchover is not possible: cluster does not have members except leader")
