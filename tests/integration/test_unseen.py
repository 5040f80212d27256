# SPDX-License-Identifier: PostgreSQL
"""A server that its agent cannot look at: promoted, it takes writes, and nobody tells the agent."""

import os

import psycopg2
import pytest

from lib.process import write_file
from lib.wait import wait_for


class TestPromotedUnseen:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster, kind):
        if kind != "pgvigil":
            pytest.skip("Patroni takes it for a standby")
        cluster = make_cluster(3, start=False)
        n2, n3 = cluster["n2"], cluster["n3"]
        n2.config["tags"], n3.config["tags"] = {"failover_priority": 2}, {"failover_priority": 1}
        # The agent is thrown out, and by then nobody may log in by its name.
        script = os.path.join(n2.dir, "pre_promote")
        write_file(script, f"""#!/bin/sh
exec psql -h {n2.dir} -p {n2.pg_port} -U app postgres -c "SELECT pg_terminate_backend(pid)
    FROM pg_stat_activity WHERE usename = 'postgres' AND pid <> pg_backend_pid()"
""", 0o755)
        n2.config["postgresql"]["pre_promote"] = script
        return cluster.start()

    @staticmethod
    def ask(node, query):
        return node.sql(query, user="app", host=node.dir)

    def takes_writes(self, node):
        try:
            self.ask(node, "INSERT INTO unseen VALUES (1)")
            return True
        except psycopg2.Error:
            return False

    def test_is_stopped_when_it_loses_the_key(self, cluster):
        n1, n2, n3 = (cluster[name] for name in ("n1", "n2", "n3"))
        n1.sql("CREATE ROLE app LOGIN SUPERUSER")
        n1.sql("CREATE TABLE unseen (i int)")
        n1.sql("ALTER ROLE postgres NOLOGIN")
        for node in (n2, n3):
            wait_for(lambda node=node: self.ask(node, "SELECT 1 FROM pg_roles WHERE rolname = 'postgres'"
                                                " AND NOT rolcanlogin"), 20, "the role in the standbys")
        n1.kill_hard()
        wait_for(lambda: cluster.leader_name() == "n2" and self.takes_writes(n2), 60, "n2 takes writes")
        n2.wait_log("promote not finished", 20)
        cluster.etcd.delete(cluster.key("leader"))

        def stopped():
            another = cluster.leader_name() == "n3"
            writes = self.takes_writes(n2)
            assert not (another and writes), "n3 leads, and n2 takes writes"
            return not writes

        wait_for(stopped, 8, "n2 takes no writes any more")
        wait_for(lambda: cluster.leader_name() in ("n2", "n3"), 60, "somebody leads")
