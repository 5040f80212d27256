# SPDX-License-Identifier: PostgreSQL
"""The flight recorder: what an agent decided can be told again, and is decided again."""

import os
import random
import stat
import subprocess

import pytest

from lib.node import REPLICATOR_PASSWORD, REWINDER_PASSWORD, ROOT, SUPERUSER_PASSWORD, agent_binary
from lib.wait import wait_for

pytestmark = pytest.mark.pgvigil

HEADER_BYTES = 512
SECRETS = [secret.encode() for secret in (SUPERUSER_PASSWORD, REPLICATOR_PASSWORD, REWINDER_PASSWORD)]


def recording(node):
    return node.data_dir + ".rec"


def replay(node):
    done = subprocess.run([agent_binary("pgvigil"), "--replay", recording(node)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def assert_replays(node):
    status, story, errors = replay(node)
    assert status == 0, f"{node.name}: status {status}\n{errors}\n{story[-4000:]}"
    return story


def memory_kb(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["VmData"].split()[0])


class TestFailover:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        return make_cluster(3)

    def test_replays_identically(self, cluster):
        """Start, bootstrap, clone, promotion, crash of the leader's whole node, failover, rewind: all again."""
        old = cluster.leader()
        old.kill_hard()
        new = cluster.wait_new_leader(old, 60)
        old.start()
        cluster.wait_healthy(90)
        story = assert_replays(new)
        assert "promoted self to leader by acquiring session lock" in story
        for node in cluster.nodes:
            assert_replays(node)

    def test_the_file_tells_no_secrets(self, cluster):
        for node in cluster.nodes:
            mode = os.stat(recording(node))
            assert stat.S_IMODE(mode.st_mode) == 0o600
            assert mode.st_size == 8 << 20
            with open(recording(node), "rb") as file:
                content = file.read()
            assert not [secret for secret in SECRETS if secret in content]

    def test_becomes_a_test_of_the_brain(self, cluster):
        """What real agents have recorded, as texts: the brain decides again what stands in them."""
        simulator = os.path.join(ROOT, "tests", "sim", "run")
        for node in cluster.nodes:
            text = subprocess.run([simulator, "--import", recording(node)], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=300, check=False)
            assert text.returncode == 0 and b"otherwise" not in text.stderr, text.stderr
            assert not [secret for secret in SECRETS if secret in text.stdout]
            path = os.path.join(cluster.dir, node.name + ".trace")
            with open(path, "wb") as file:
                file.write(text.stdout)
            done = subprocess.run([simulator, "--check", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=60, check=False)
            assert done.returncode == 0, done.stdout[-2000:]

    def test_decisions(self, cluster):
        """The last decisions over REST, and bad questions refused."""
        node = cluster.leader()
        decisions = node.get("/decisions?last=5").json
        assert 1 <= len(decisions) <= 5
        assert all(d["decided"] and d["known"] and d["time"] for d in decisions)
        assert [d["seq"] for d in decisions] == sorted(d["seq"] for d in decisions)
        assert node.get("/decisions?last=0").status == 400
        assert node.get("/decisions?last=many").status == 400

    def test_explain(self, cluster):
        leader, replica = cluster.leader(), cluster.replicas()[0]
        answer = leader.get("/explain").json
        assert answer["leader"] is True and answer["switchover"]["verdict"] != "no"
        answer = replica.get("/explain").json
        failing = [rule["rule"] for rule in answer["promotion"]["rules"] if rule["verdict"] == "fail"]
        assert answer["leader"] is False and failing == ["leader_key"]
        said = cluster.ctl("explain", replica.name).stdout
        assert f"{leader.name} holds the leader key" in said
        assert "would it be promoted now? no" in said
        said = cluster.ctl("explain").stdout
        assert all(f"{node.name}: it is " in said for node in cluster.nodes)

    def test_a_damaged_file_is_said_to_be_one(self, cluster):
        node = cluster.replicas()[0]
        with open(recording(node), "rb") as file:
            content = file.read()
        broken = os.path.join(cluster.dir, "broken.rec")
        for keep, status in (0, 2), (100, 2), (HEADER_BYTES, 2), (len(content) // 2, 0):
            with open(broken, "wb") as file:
                file.write(content[:keep])
            done = subprocess.run([agent_binary("pgvigil"), "--replay", broken], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=60, check=False)
            assert done.returncode == status, (keep, done.stderr)


class TestKilled:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        return make_cluster(1)

    def test_at_random_moments(self, cluster):
        """Whatever it was doing: the file is readable, and the next run goes on behind it."""
        node = cluster.nodes[0]
        seed = random.randrange(1 << 30)
        rng = random.Random(seed)
        print("seed", seed)
        for _ in range(8):
            target = node.log_size() + rng.randrange(1, 1500)
            wait_for(lambda: node.log_size() >= target, 60, "some lines of log")
            node.kill_agent()
            assert_replays(node)
            node.start()
        cluster.wait_healthy(60)
        story = assert_replays(node)
        assert story.count("the world of") >= 8


def test_switched_off_by_reload(make_cluster):
    """Off and on again while it runs; steady state takes no memory."""
    cluster = make_cluster(1)
    node = cluster.nodes[0]
    node.wait_log("no action. I am (n1), the leader with the lock")

    def decided():
        decisions = node.get("/decisions?last=1")
        return decisions.status == 200 and decisions.json[-1]["seq"]

    first = decided()
    wait_for(lambda: decided() > first + 20, 60, "some cycles")
    before = memory_kb(node.agent.pid)
    first = decided()
    wait_for(lambda: decided() > first + 60, 120, "more cycles")
    assert memory_kb(node.agent.pid) == before
    node.config["recorder"] = {"enabled": False}
    node.write_config()
    node.hup()
    wait_for(lambda: node.get("/decisions").status == 503, 10, "the recorder to be off")
    node.config["recorder"] = {"size": "1MB", "file": os.path.join(node.dir, "flight.rec")}
    node.write_config()
    node.hup()
    wait_for(lambda: node.get("/decisions").status == 200, 10, "the recorder to be on")
    assert os.stat(os.path.join(node.dir, "flight.rec")).st_size == 1 << 20
    offset = node.log_size()
    node.config["recorder"] = {"size": "a lot"}
    node.write_config()
    node.hup()
    node.wait_log("recorder.size: must be a size", offset=offset)
    assert node.get("/decisions").status == 200
