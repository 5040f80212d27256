# SPDX-License-Identifier: PostgreSQL
"""A whole node, or only its agent, is gone from one moment to the next."""

import json
import os
import signal

import pytest

from lib import process
from lib.etcd import KeyWatch
from lib.process import now
from lib.wait import holds_for, patience, wait_for


class TestNodeKilled:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        return make_cluster(3)

    def test_replica_takes_over_and_the_old_leader_rejoins(self, cluster, kind):
        old = cluster.leader()
        timeline = old.status()["timeline"]
        writer, sampler = cluster.writer(), cluster.sampler()
        watch = KeyWatch(cluster.etcd, cluster.key("leader"))
        killed = now()
        old.kill_hard()
        key_gone = watch.gone_at(killed, 30)
        assert key_gone - killed <= 22, "the lease outlived its ttl"  # etcd looks for ended ones now and then
        writer.wait_writes(30, key_gone)
        delay = writer.first_after(key_gone) - key_gone
        assert delay <= (0.5 if kind == "pgvigil" else 5) * patience(), f"first write {delay:.2f} s after the key was gone"
        new = cluster.wait_new_leader(old)
        wait_for(lambda: new.status()["timeline"] == timeline + 1, 10, "the next timeline")
        old.start()
        cluster.wait_healthy(60)
        writer.stop()
        sampler.stop()
        watch.close()
        sampler.assert_never_two()
        wait_for(lambda: writer.missing(old) == writer.missing(new), 10, "the same rows on both")

    def test_diverged_leader_rewinds(self, cluster):
        """What the old leader wrote and nobody received is undone by pg_rewind, not by a new copy."""
        old = cluster.leader()
        old.sql("CREATE TABLE IF NOT EXISTS harness_fork (what text)")
        wait_for(lambda: all(node.sql("SELECT 1 FROM pg_class WHERE relname = 'harness_fork'")
                             for node in cluster.nodes), 10)
        walsenders = [row[0] for row in old.sql("SELECT pid FROM pg_stat_replication")]
        assert len(walsenders) == 2
        process.kill_all(walsenders, signal.SIGSTOP)  # nothing leaves the leader any more
        old.sql("INSERT INTO harness_fork VALUES ('only here')")
        old.kill_hard()
        new = cluster.wait_new_leader(old)
        offset = old.log_size()
        old.start()
        cluster.wait_healthy(60)
        assert "pg_rewind" in old.log_text(offset)
        assert "pg_basebackup" not in old.log_text(offset)
        assert old.sql("SELECT what FROM harness_fork") == []
        assert new.sql("SELECT what FROM harness_fork") == []

    @pytest.mark.pgvigil
    def test_pg_rewind_killed_while_it_copies(self, cluster):
        """What it leaves is a mixture of two histories: never started, and rewound again."""
        old = cluster.leader()
        script = os.path.join(process.own_dir(os.path.join(cluster.dir, "bin")), "pg_rewind_once")
        real = os.path.join(old.config["postgresql"]["bin_dir"], "pg_rewind")
        process.write_file(script, f"""#!/bin/sh
[ $# -lt 2 ] || [ -e {script}.killed ] && exec {real} "$@"
touch {script}.killed
echo 'pg_rewind: need to copy 37 MB' >&2
kill -9 $$
""", 0o755)
        walsenders = [row[0] for row in old.sql("SELECT pid FROM pg_stat_replication")]
        process.kill_all(walsenders, signal.SIGSTOP)
        old.sql("CREATE TABLE harness_mixture (i int)")
        old.kill_hard()
        cluster.wait_new_leader(old)
        old.config["postgresql"]["bin_name"] = {"pg_rewind": os.path.relpath(script, os.path.dirname(real))}
        offset = old.log_size()
        old.start()
        cluster.wait_healthy(90)
        log = old.log_text(offset)
        killed, again = log.index("pg_rewind killed by signal 9"), log.rindex("running pg_rewind from")
        assert killed < again
        assert "starting PostgreSQL" not in log[killed:again]
        assert not os.path.exists(os.path.join(old.data_dir, "pgvigil.rewinding"))
        assert "pg_basebackup" not in log

    def test_replica_killed(self, cluster):
        leader = cluster.leader()
        writer = cluster.writer()
        replica = cluster.replicas()[0]
        killed = now()
        replica.kill_hard()
        others = [node for node in cluster.nodes if node is not replica]
        replica.start()
        cluster.wait_healthy(60)
        writer.stop()
        assert writer.outage(killed)[0] < 1.5 * patience()
        assert cluster.leader_name() == leader.name
        assert all(node.agent.alive() for node in others)


class TestAgentAlone:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        return make_cluster(3)

    def test_leaders_agent_killed_and_back(self, cluster):
        """PostgreSQL never notices."""
        leader = cluster.leader()
        postmaster, writer = leader.postmaster_pid(), cluster.writer()
        killed = now()
        leader.kill_agent()
        leader.start()
        cluster.wait_leader(leader, 30)
        cluster.wait_healthy(30)
        writer.stop()
        assert leader.postmaster_pid() == postmaster
        assert cluster.leader_name() == leader.name
        assert writer.outage(killed)[0] < 1.0 * patience()
        assert writer.missing(leader) == []

    @pytest.mark.pgvigil
    def test_a_slot_kept_for_an_absent_member_outlives_the_leaders_agent(self, cluster):
        """Else the member would find its WAL gone when it comes back, for an upgrade of the agent."""
        cluster.wait_healthy(30)
        leader, absent = cluster.leader(), cluster.replicas()[0]
        retained = lambda: cluster.etcd.get_json(cluster.key("status")).get("retain_slots", [])
        slot = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{absent.name}'"
        wait_for(lambda: absent.name in retained(), 30, "the slot to be published")
        absent.stop()
        cluster.etcd.delete(cluster.key(f"members/{absent.name}"))
        offset = leader.log_size()
        wait_for(lambda: leader.log_text(offset).count("no action") >= 2, 30, "cycles without the member")
        assert absent.name in retained() and leader.value(slot) == 1
        leader.kill_agent()
        leader.start()
        cluster.wait_leader(leader, 30)
        offset = leader.log_size()
        wait_for(lambda: leader.log_text(offset).count("no action") >= 3, 60, "cycles of the new agent")
        assert leader.value(slot) == 1
        assert absent.name in retained()
        absent.start()
        cluster.wait_healthy(60)

    def test_replicas_agent_killed_and_back(self, cluster):
        replica = cluster.replicas()[0]
        postmaster = replica.postmaster_pid()
        replica.kill_agent()
        replica.start()
        cluster.wait_healthy(30)
        assert replica.postmaster_pid() == postmaster

    def test_second_agent_of_the_same_name_is_refused(self, cluster):
        replica = cluster.replicas()[0]
        twin_log = replica.log_size()
        running = replica.agent
        replica.start()
        try:
            assert replica.agent.wait(30) == 1
            assert f"there is already a node named '{replica.name}' running" in replica.log_text(twin_log)
        finally:
            replica.agent = running
        cluster.wait_healthy(20)

    def test_agent_gone_longer_than_the_lease(self, cluster):
        """PostgreSQL of the lost agent runs on, but its agent finds another leader when it comes
        back, and makes it a replica again."""
        old = cluster.leader()
        old.kill_agent()
        new = cluster.wait_new_leader(old, 60)
        sampler = cluster.sampler()
        old.start()
        cluster.wait_healthy(90)
        sampler.stop()
        sampler.assert_never_two()
        assert not sampler.ever(old.name, 200)
        assert cluster.leader_name() == new.name


def test_last_node_of_all(make_cluster):
    """All three go down hard; the one that was leader, and only one with its data, comes back."""
    cluster = make_cluster(3)
    leader = cluster.leader()
    writer = cluster.writer()
    writer.stop()
    for node in cluster.nodes:
        node.kill_hard()
    for node in cluster.nodes:
        node.start()
    cluster.wait_healthy(90)
    assert writer.missing(cluster.leader()) == []
    members = cluster.etcd.prefix(cluster.key("members/"))
    assert {json.loads(value)["role"] for value in members.values()} == {"primary", "replica"}
    assert leader.agent.alive()
    holds_for(lambda: cluster.leader_name() is not None, 1)
