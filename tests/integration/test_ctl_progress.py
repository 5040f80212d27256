# SPDX-License-Identifier: PostgreSQL
"""What a terminal shows while real members do what takes its time: of our kind, of Patroni's, and both."""

import re

import pytest

from lib.node import ctl_binary
from lib.terminal import Terminal
from lib.wait import wait_for

pytestmark = pytest.mark.pgvigil


def terminal(cluster, *args, **env):
    node = cluster.alive()[0]
    return Terminal([ctl_binary("pgvigil"), "-c", node.config_file, *args],
                    {"PATH": "/usr/bin:/bin", "HOME": cluster.dir, "LC_ALL": "C.UTF-8", "TERM": "dumb", "COLUMNS": "200", **env},
                    cluster.dir)


def notes(seen):
    """The lines that stay, as [(seconds, text)]."""
    lines = [re.split(r"\r|\x1b\[K", line)[-1] for line in seen.split("\r\n")]
    return [(float(match[1]), match[2]) for match in (re.fullmatch(r" *(\d+\.\d) s  (.*)", line) for line in lines) if match]


def switch_over(cluster, candidate):
    """Returns the texts of the steps, which came in order, and what else was seen."""
    cluster.wait_healthy(60)
    old = cluster.leader()
    it = terminal(cluster, "switchover", cluster.scope, "--candidate", candidate.name, "--force")
    assert it.ended(60) == 0, it.seen
    assert f'Successfully switched over to "{candidate.name}"' in it.seen
    told = notes(it.seen)
    assert told == sorted(told, key=lambda note: note[0]) and told[-1][0] < 25
    steps = [text for _, text in told]
    for first, then in ((f"{old.name}: no longer the leader", rf"{old.name}: follows on timeline \d+"),
                        (f"{candidate.name}: the new leader", rf"{candidate.name}: promoted, timeline \d+"),
                        (rf"{candidate.name}: promoted, timeline \d+", rf"{old.name}: follows on timeline \d+")):
        places = [next((i for i, step in enumerate(steps) if re.fullmatch(what, step)), None) for what in (first, then)]
        assert None not in places and places[0] < places[1], steps
    # All was said, so the table tells how it ended.
    table = it.seen[it.seen.index("Successfully"):]
    assert table.count("| streaming |") == len(cluster.nodes) - 1, it.seen
    return steps, it.seen


class TestOurs:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        return make_cluster(3)

    def test_switchover(self, cluster):
        steps, _ = switch_over(cluster, cluster.replicas()[0])
        assert len([step for step in steps if ": follows on timeline " in step]) == 2

    def test_restart(self, cluster):
        cluster.wait_healthy(60)
        it = terminal(cluster, "restart", cluster.scope, "--force")
        assert it.ended(60) == 0, it.seen
        for i, node in enumerate(cluster.nodes):
            assert f"restart: member {node.name} ({i + 1} of 3)" in it.seen
        assert [text for _, text in notes(it.seen)] == [f"{i + 1} of 3: n{i + 1}" for i in range(3)]

    def test_reinit(self, cluster):
        """The copy is slowed down, so that there is something to see."""
        cluster.wait_healthy(60)
        cluster.patch({"postgresql": {"basebackup": [{"max-rate": "6M"}]}})
        replica = cluster.replicas()[0]
        it = terminal(cluster, "reinit", cluster.scope, replica.name, "--force", "--wait")
        it.until(rf"reinit: {replica.name}: basebackup \d+% of [\d.]+ MB, [\d.]+ [kM]B/s, \d+ s left… ", 40)
        assert it.ended(60) == 0, it.seen
        assert it.seen.endswith(f"Reinitialize is completed on: {replica.name}\r\n")
        figures = [int(percent) for percent in re.findall(r"basebackup (\d+)%", it.seen)]
        assert figures == sorted(figures) and len(set(figures)) > 1
        cluster.patch({"postgresql": {"basebackup": None}})
        cluster.wait_healthy(60)

    def test_nothing_of_it_in_a_pipe(self, cluster):
        cluster.wait_healthy(60)
        replica = cluster.replicas()[0]
        done = cluster.ctl("restart", cluster.scope, replica.name, "--force")
        assert done.stderr == "" and done.stdout.endswith(f"Success: restart on member {replica.name}\n")

    def test_who_waits_for_a_restart(self, cluster):
        """edit-config names the members that will say so themselves a moment later."""
        cluster.wait_healthy(60)
        done = cluster.ctl("edit-config", cluster.scope, "-p", "max_connections=60", "--force")
        assert done.stderr.endswith("Needs a restart: max_connections 50 -> 60: restart of n1, n2, n3\n")
        wait_for(lambda: all(node.status().get("pending_restart") for node in cluster.nodes), 30, "pending restarts")
        done = cluster.ctl("edit-config", cluster.scope, "-p", "max_connections=50", "--force")
        assert "Needs a restart" not in done.stderr, "that is what they run with"


class TestBothKinds:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster, kind, patroni):
        return make_cluster(kinds=[patroni, kind, kind])

    def test_switchovers(self, cluster):
        original, ours, _ = cluster.nodes
        switch_over(cluster, ours)
        switch_over(cluster, original)

    def test_reinit_of_a_patroni(self, cluster):
        cluster.wait_healthy(60)
        if cluster.leader() is cluster.nodes[0]:
            switch_over(cluster, cluster.nodes[1])
        cluster.wait_healthy(60)
        cluster.patch({"postgresql": {"basebackup": [{"max-rate": "3M"}]}})
        for attempt in range(3):
            it = terminal(cluster, "reinit", cluster.scope, "n1", "--force", "--wait")
            try:
                # It does not tell, but the leader does.
                it.until(r"reinit: n1: basebackup \d+% of [\d.]+ MB, [\d.]+ [kM]B/s, \d+ s left… ", 40)
                break
            except AssertionError:
                # A Patroni that has not begun when it is asked, 2 s later, counts as one that is done.
                assert attempt < 2 and "Reinitialize is completed on: n1" in it.seen, it.seen
                cluster.wait_healthy(60)
        assert it.ended(60) == 0, it.seen
        assert it.seen.endswith("Reinitialize is completed on: n1\r\n")
        cluster.patch({"postgresql": {"basebackup": None}})
