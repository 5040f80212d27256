# SPDX-License-Identifier: PostgreSQL
"""A cluster from nothing: three empty nodes started at once."""

import json
import os
import stat

import pytest

from lib import process
from lib.cluster import Cluster
from lib.node import REPLICATOR, REPLICATOR_PASSWORD, REWINDER, pg_bin_dir
from lib.wait import wait_for


class TestThreeEmptyNodes:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        config = {"bootstrap": {"dcs": {"postgresql": {"parameters": {"work_mem": "5MB", "max_worker_processes": 9}}},
                                "post_bootstrap": None},
                  "postgresql": {"parameters": {"deadlock_timeout": "1234ms"}}}
        cluster = make_cluster(3, start=False, config=config)
        script = os.path.join(cluster.dir, "post.sh")
        process.write_file(script, "#!/bin/sh\nexec psql -qXd \"$1\" -c 'CREATE TABLE made_by_post_bootstrap ()'\n", 0o755)
        for node in cluster.nodes:
            node.config["bootstrap"]["post_bootstrap"] = script
        cluster.start_all_at_once()
        cluster.wait_healthy(90)
        return cluster

    def test_one_leader_two_replicas(self, cluster):
        roles = sorted(node.status()["role"] for node in cluster.nodes)
        assert roles == ["primary", "replica", "replica"]
        identifiers = {node.status()["database_system_identifier"] for node in cluster.nodes}
        assert identifiers == {cluster.etcd.get(cluster.key("initialize"))}

    def test_the_keys_of_the_store(self, cluster):
        keys = cluster.etcd.prefix(cluster.key(""))
        for name in ("initialize", "config", "leader", "status", "members/n1", "members/n2", "members/n3"):
            assert cluster.key(name) in keys, sorted(keys)
        assert json.loads(keys[cluster.key("config")])["ttl"] == 20
        for node in cluster.nodes:
            member = json.loads(keys[cluster.key(f"members/{node.name}")])
            assert member["conn_url"] == f"postgres://{node.host}:{node.pg_port}/postgres"
            assert member["api_url"] == f"http://{node.host}:{node.rest_port}/patroni"

    def test_users(self, cluster):
        rows = dict(cluster.leader().sql("SELECT rolname, rolsuper::text || rolreplication::text FROM pg_roles "
                                         "WHERE rolname IN ('postgres', %s, %s)", REPLICATOR, REWINDER))
        assert rows == {"postgres": "truetrue", REPLICATOR: "falsetrue", REWINDER: "falsefalse"}
        granted = cluster.leader().value(
            "SELECT has_function_privilege(%s, 'pg_read_binary_file(text, bigint, bigint, boolean)', 'EXECUTE')", REWINDER)
        assert granted

    def test_replication_connects_with_its_password(self, cluster):
        connection = cluster.leader().connect(user=REPLICATOR, password=REPLICATOR_PASSWORD)
        connection.close()

    def test_slots_of_the_members(self, cluster):
        leader = cluster.leader()
        wanted = {node.name for node in cluster.replicas()}
        wait_for(lambda: {row[0] for row in leader.sql("SELECT slot_name FROM pg_replication_slots WHERE active")}
                 == wanted, 20, "active slots of both replicas")

    def test_parameters(self, cluster):
        for node in cluster.nodes:
            assert node.value("SHOW work_mem") == "5MB"
            assert node.value("SHOW max_worker_processes") == "9"
            assert node.value("SHOW deadlock_timeout") == "1234ms"
            assert node.value("SHOW data_checksums") == "on"
            assert node.value("SHOW cluster_name") == cluster.scope
            assert node.value("SHOW hot_standby") == "on"
            assert node.value("SELECT count(*) FROM pg_settings WHERE pending_restart") == 0

    def test_hba_as_configured(self, cluster):
        for node in cluster.nodes:
            with open(os.path.join(node.data_dir, "pg_hba.conf"), encoding="utf-8") as file:
                lines = [line for line in file.read().splitlines() if line and not line.startswith("#")]
            assert lines == node.config["postgresql"]["pg_hba"]

    def test_files_are_private(self, cluster):
        for node in cluster.nodes:
            assert stat.S_IMODE(os.stat(node.data_dir).st_mode) == 0o700
            conf = os.path.join(node.data_dir, "postgresql.conf")
            assert stat.S_IMODE(os.stat(conf).st_mode) == 0o600
            # what a replica needs to reach the leader may hold a password, so nobody else reads it
            pgpass = node.config["postgresql"]["pgpass"]
            if os.path.exists(pgpass):
                assert stat.S_IMODE(os.stat(pgpass).st_mode) == 0o600

    def test_post_bootstrap_ran_once(self, cluster):
        for node in cluster.nodes:
            wait_for(lambda n=node: n.sql("SELECT 1 FROM pg_class WHERE relname = 'made_by_post_bootstrap'"), 10)

    def test_no_password_in_the_logs(self, cluster):
        for node in cluster.nodes:
            for section in node.config["postgresql"]["authentication"].values():
                assert section["password"] not in node.log_text()


def test_failing_post_bootstrap_leaves_nothing_behind(make_cluster):
    """The one who could not finish gives the initialize key back, so that another may try."""
    cluster = make_cluster(1, start=False, config={"bootstrap": {"post_bootstrap": "/bin/false"}})
    cluster.start_all_at_once()
    node = cluster.nodes[0]
    assert node.agent.wait(60) == 1
    assert cluster.etcd.get(cluster.key("initialize")) is None
    assert cluster.etcd.get(cluster.key("leader")) is None
    assert node.postmaster_pid() is None
    assert not os.path.exists(os.path.join(node.data_dir, "PG_VERSION"))


def test_data_directory_of_another_cluster_is_refused(make_cluster):
    """A node that brings a foreign database does not join, and does not touch its data."""
    cluster = make_cluster(2, dcs={"loop_wait": 1})
    stranger = Cluster([cluster.nodes[0].kind], scope="stranger", directory=os.path.join(cluster.dir, "other"))
    try:
        stranger.start()
        foreign = stranger.nodes[0]
        identifier = foreign.controldata()["Database system identifier"]
        foreign.stop()
        foreign.config["scope"] = cluster.scope
        foreign.config["name"] = "foreign"
        foreign.config["etcd3"]["hosts"] = cluster.etcd.addresses
        foreign.start()
        assert foreign.agent.wait(30) == 1
        assert "system ID mismatch" in foreign.log_text()
        assert foreign.controldata()["Database system identifier"] == identifier
        cluster.wait_healthy(10)
    finally:
        stranger.close()


# A program in the place of PostgreSQL's: it does the work, leaves its trace in the directory and hangs, once.
HALF_WAY = """#!/bin/sh
{program} "$@" || exit
[ -e {again} ] && exit
touch {again}
for arg; do d=${{arg#--pgdata=}}; done
[ -d "$d" ] || for arg; do case $arg in --pgdata=*) d=${{arg#--pgdata=}};; esac; done
touch "$d/half_made" {reached}
exec sleep 1000
"""


class TestKilledHalfWay:
    """The agent is killed while a data directory is being made, and starts again: what it left is no cluster."""

    @staticmethod
    def hang_once(node, program):
        """node's @program works to its end and then hangs, in a process that outlives the agent."""
        script, reached = os.path.join(node.dir, program), os.path.join(node.dir, "reached")
        process.write_file(script, HALF_WAY.format(program=os.path.join(pg_bin_dir(), program), reached=reached,
                                                   again=os.path.join(node.dir, "again")), 0o755)
        node.config["postgresql"]["bin_name"] = {program: os.path.relpath(script, pg_bin_dir())}
        return reached

    @staticmethod
    def kill_when(node, reached):
        wait_for(lambda: os.path.exists(reached), 60, "half of the work")
        wait_for(lambda: os.path.exists(os.path.join(node.data_dir, "pgvigil.unfinished")), 10, "the mark")
        children = [pid for pid in process.tree(node.agent.pid) if pid != node.agent.pid]
        node.kill_agent()
        assert any(process.exists(pid) for pid in children), "a tool goes on without its agent"
        return children

    @staticmethod
    def has(node, name, suffix=""):
        return os.path.exists(os.path.join(node.data_dir + suffix, name))

    def test_initdb(self, make_cluster):
        cluster = make_cluster(1, start=False)
        node = cluster.nodes[0]
        reached = self.hang_once(node, "initdb")
        cluster.start_all_at_once()
        children = self.kill_when(node, reached)
        assert cluster.etcd.get(cluster.key("initialize")) == ""
        node.start()
        cluster.wait_healthy(60)
        process.gone(children)
        assert not self.has(node, "half_made") and not self.has(node, "pgvigil.unfinished")
        assert self.has(node, "half_made", ".failed")
        assert cluster.etcd.get(cluster.key("initialize")) == node.status()["database_system_identifier"]

    def test_post_bootstrap(self, make_cluster):
        """The server of an unfinished cluster runs on: it is stopped, and never leads."""
        cluster = make_cluster(1, start=False)
        node = cluster.nodes[0]
        script, reached = os.path.join(node.dir, "post"), os.path.join(node.dir, "reached")
        process.write_file(script, f"#!/bin/sh\n[ -e {reached} ] && exit\ntouch {reached}\nexec sleep 1000\n", 0o755)
        node.config["bootstrap"]["post_bootstrap"] = script
        cluster.start_all_at_once()
        children = self.kill_when(node, reached)
        identifier, postmaster = node.controldata()["Database system identifier"], node.postmaster_pid()
        process.kill_all(set(children) - set(process.tree(postmaster)))  # the script would wait for ever
        node.start()
        cluster.wait_healthy(60)
        assert not process.exists(postmaster)
        assert node.status()["database_system_identifier"] != identifier
        assert cluster.etcd.get(cluster.key("initialize")) == node.status()["database_system_identifier"]
        assert not self.has(node, "pgvigil.unfinished")

    def test_finished_by_somebody_else(self, make_cluster):
        """Patroni, say, takes what is there, and leaves the mark. The store tells that it has become a cluster."""
        cluster = make_cluster(1)
        node = cluster.nodes[0]
        postmaster, identifier = node.postmaster_pid(), node.status()["database_system_identifier"]
        node.kill_agent()
        process.write_file(os.path.join(node.data_dir, "pgvigil.unfinished"), "bootstrap\n0 0\n1\n")
        node.start()
        cluster.wait_healthy(60)
        assert node.postmaster_pid() == postmaster
        assert node.status()["database_system_identifier"] == identifier
        assert not self.has(node, "pgvigil.unfinished")

    @pytest.mark.parametrize("method", ["basebackup", "custom"])
    def test_copy(self, make_cluster, method):
        cluster = make_cluster(2, start=False)
        leader, node = cluster.nodes
        reached = self.hang_once(node, "pg_basebackup")
        if method == "custom":
            del node.config["postgresql"]["bin_name"]
            script = os.path.join(node.dir, "copy")
            process.write_file(script, "#!/bin/sh\nfor arg; do case $arg in --datadir=*) d=${arg#--datadir=};; "
                                       "--connstring=*) c=${arg#--connstring=};; esac; done\n"
                                       f"{node.dir}/pg_basebackup "
                                       '-X stream -c fast --dbname="$c" --pgdata="$d"\n', 0o755)
            node.config["postgresql"].update(create_replica_methods=["mine"], mine={"command": script})
        cluster.etcd.start()
        leader.start()
        cluster.wait_leader(leader)
        node.start()
        children = self.kill_when(node, reached)
        node.start()
        cluster.wait_healthy(60)
        process.gone(children)
        assert not self.has(node, "half_made") and not self.has(node, "pgvigil.unfinished")
        assert not self.has(node, "", ".failed")
