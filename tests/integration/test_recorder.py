# SPDX-License-Identifier: PostgreSQL
"""The flight recorder: what an agent decided can be told again, and is decided again."""

import os
import random
import shutil
import stat
import subprocess

import pytest

from lib import process
from lib.node import REPLICATOR_PASSWORD, REWINDER_PASSWORD, ROOT, SUPERUSER_PASSWORD, agent_binary
from lib.wait import holds_for, patience, wait_for

pytestmark = pytest.mark.pgvigil

HEADER_BYTES = 512
SECRETS = [secret.encode() for secret in (SUPERUSER_PASSWORD, REPLICATOR_PASSWORD, REWINDER_PASSWORD)]


def recording(node):
    return node.data_dir + ".rec"


def replay(node, path=None):
    done = subprocess.run([agent_binary("pgvigil"), "--replay", path or recording(node)], stdout=subprocess.PIPE,
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


def metric(node, name):
    return next(int(line.split()[1]) for line in node.get("/metrics").text.splitlines() if line.startswith(name + "{"))


def writer(node):
    """The process that writes the file."""
    found = [pid for pid in process.children(node.agent.pid) if "pgvigil-recorder\0write\0" in process.cmdline(pid)]
    assert len(found) == 1
    return found[0]


def run(*argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    return done.returncode == 0, done.stdout


class Disk:
    """A file system that stops to take writes when told: whoever writes then waits, unkillably."""

    def __init__(self, dir):
        self.image, self.dir, self.frozen = os.path.join(dir, "image"), os.path.join(dir, "disk"), False
        with open(self.image, "wb") as file:
            file.truncate(32 << 20)
        os.mkdir(self.dir)
        ok, said = run("mkfs.ext4", "-q", "-F", self.image)
        if ok:
            ok, said = run("mount", "-o", "loop", self.image, self.dir)
        if not ok:
            pytest.skip(f"no file system of our own: {said}")
        process.own_dir(self.dir)

    def freeze(self):
        ok, said = run("fsfreeze", "--freeze", self.dir)
        assert ok, said
        self.frozen = True

    def thaw(self):
        if self.frozen:
            ok, said = run("fsfreeze", "--unfreeze", self.dir)
            assert ok, said
        self.frozen = False

    def close(self):
        self.thaw()
        run("umount", "--lazy", self.dir)


@pytest.fixture
def disk():
    if os.getuid() != 0:
        pytest.skip("only root can make a file system hang")
    if not all(map(shutil.which, ("mkfs.ext4", "mount", "umount", "fsfreeze"))):
        pytest.skip("needs mkfs.ext4, mount and fsfreeze")
    dir = process.scratch()
    os.chmod(dir, 0o755)
    disk = Disk(dir)
    yield disk
    disk.close()
    shutil.rmtree(dir, ignore_errors=True)


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
        assert "a failover reaches its promotion within" in said and "after a crash of PostgreSQL alone" in said
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


def test_a_disk_that_hangs(make_cluster, disk):
    """The writer waits for it; the agent does not, and keeps its lease. What could not be written is counted."""
    cluster = make_cluster(1, start=False)
    node = cluster.nodes[0]
    node.config["recorder"] = {"file": os.path.join(disk.dir, "flight.rec"), "size": "8MB"}
    cluster.start()
    assert metric(node, "pgvigil_recorder_lost_steps_total") == 0
    offset = node.log_size()
    disk.freeze()

    def lost():
        node.hup()  # so that there is more to be recorded
        return metric(node, "pgvigil_recorder_lost_steps_total") > 0

    wait_for(lost, 60, "steps that are not recorded")
    assert process.state(writer(node)) == "D"
    # for longer than the lease
    holds_for(lambda: node.is_primary(), node.config["bootstrap"]["dcs"]["ttl"] + 2, "the leadership")
    assert "does not keep up" in node.log_text(offset)
    disk.thaw()
    recorded = metric(node, "pgvigil_recorder_steps_total")
    wait_for(lambda: metric(node, "pgvigil_recorder_steps_total") > recorded + 20, 60, "steps recorded again")
    assert "the flight recorder goes on" in node.log_text(offset)

    def goes_on_behind_the_hole():  # the routine of quiet cycles may lie in the pipe for a while
        node.hup()
        status, story, errors = replay(node, os.path.join(disk.dir, "flight.rec"))
        assert status == 0, f"{errors}\n{story[-4000:]}"
        return story.count("the world of") == 2  # the start, and behind the hole

    wait_for(goes_on_behind_the_hole, 60, "the recording behind the hole")


def test_the_writer_ends_with_the_agent(make_cluster):
    """And whoever kills it is told of, not followed."""
    cluster = make_cluster(1)
    node = cluster.nodes[0]
    first = writer(node)
    offset = node.log_size()
    process.kill_all([first])
    node.wait_log("the flight recorder rests", offset=offset)
    assert node.is_primary()
    node.kill_agent()
    node.start()
    cluster.wait_healthy(60)
    second = writer(node)
    node.stop()
    process.gone([first, second])
    assert "-> end with status 0" in assert_replays(node)  # the very last step


def cpu_ns(pid):
    with open(f"/proc/{pid}/schedstat", encoding="utf-8") as file:
        return int(file.read().split()[0])


def wakeups(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))


def test_a_quiet_node_hardly_pays_for_it(make_cluster):
    """The writer sleeps while nothing is decided, and is small."""
    cluster = make_cluster(1, dcs={"ttl": 30, "loop_wait": 10, "retry_timeout": 10})
    node = cluster.nodes[0]
    pid = writer(node)

    def cycles():
        return metric(node, "pgvigil_cycles_total")

    done = cycles()
    wait_for(lambda: cycles() >= done + 1, 30, "the bootstrap to be over", interval=1)
    done, steps = cycles(), metric(node, "pgvigil_recorder_steps_total")
    begun = {"agent": cpu_ns(node.agent.pid), "writer": cpu_ns(pid), "wakeups": wakeups(pid)}
    wait_for(lambda: cycles() >= done + 5, 90, "five quiet cycles", interval=5)
    steps = metric(node, "pgvigil_recorder_steps_total") - steps
    agent, took, woken = cpu_ns(node.agent.pid) - begun["agent"], cpu_ns(pid) - begun["writer"], wakeups(pid) - begun["wakeups"]
    memory = process.memory_kb(pid)
    print(f"agent {agent / 1e6:.2f} ms, writer {took / 1e6:.3f} ms, woken {woken} times, {steps} steps; {memory}")
    assert steps >= 5
    assert woken <= 2
    assert took <= 0.02 * agent * patience()
    assert memory["private_dirty"] <= 400 and memory["commit"] <= 2048


def test_switched_off_by_reload(make_cluster):
    """Off and on again while it runs; steady state takes no memory."""
    cluster = make_cluster(1)
    node = cluster.nodes[0]
    node.wait_log("no action. I am (n1), the leader with the lock")

    def decided():
        decisions = node.get("/decisions?last=1")
        return decisions.status == 200 and decisions.json[-1]["seq"]

    def least_memory(steps):
        """The heap's end moves by steps, and back once in six cycles."""
        seen, first = [], decided()
        wait_for(lambda: seen.append(memory_kb(node.agent.pid)) or decided() > first + steps, 120, "more cycles")
        return min(seen)

    before = least_memory(60)
    assert least_memory(60) <= before + 16
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
