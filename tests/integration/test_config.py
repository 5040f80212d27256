# SPDX-License-Identifier: PostgreSQL
"""Configuration that changes while everything runs: the cluster's in the store, the node's file."""

import os
import signal
import time

import pytest

from lib.node import REPLICATOR_PASSWORD
from lib.wait import holds_for, patience, wait_for


@pytest.fixture(scope="class")
def cluster(make_cluster):
    return make_cluster(2)


def setting(node, name):
    return node.value("SELECT setting || coalesce(unit, '') FROM pg_settings WHERE name = %s", name)


class TestDynamic:
    def test_reloadable_parameter(self, cluster):
        """Applied everywhere by a reload, no restart."""
        postmasters = [node.postmaster_pid() for node in cluster.nodes]
        merged = cluster.patch({"postgresql": {"parameters": {"work_mem": "7MB"}}})
        assert merged["postgresql"]["parameters"]["work_mem"] == "7MB"
        assert cluster.config()["postgresql"]["parameters"]["work_mem"] == "7MB"
        for node in cluster.nodes:
            wait_for(lambda n=node: n.value("SHOW work_mem") == "7MB", 20, f"work_mem on {node.name}")
            assert not node.status().get("pending_restart")
        assert [node.postmaster_pid() for node in cluster.nodes] == postmasters

    def test_parameter_taken_away(self, cluster):
        cluster.patch({"postgresql": {"parameters": {"work_mem": None}}})
        for node in cluster.nodes:
            wait_for(lambda n=node: n.value("SHOW work_mem") == "4MB", 20, f"work_mem on {node.name}")

    def test_parameter_that_needs_a_restart(self, cluster):
        """Flagged with the old and the new value, and nothing restarts by itself."""
        postmasters = [node.postmaster_pid() for node in cluster.nodes]
        cluster.patch({"postgresql": {"parameters": {"shared_buffers": None, "max_connections": 60}}})
        for node in cluster.nodes:
            wait_for(lambda n=node: n.status().get("pending_restart"), 20, f"pending restart on {node.name}")
            assert node.status()["pending_restart_reason"]["max_connections"] == {"old_value": "50", "new_value": "60"}
        assert [node.postmaster_pid() for node in cluster.nodes] == postmasters
        out = cluster.ctl("list", cluster.scope).stdout
        assert "max_connections: 50->60" in out
        # first the leader: a replica may not have less than it knows of the leader
        leader = cluster.leader()
        for node in [leader] + cluster.replicas():
            answer = node.rest("POST", "/restart", {"restart_pending": True}, timeout=60)
            assert (answer.status, answer.text) == (200, "restarted successfully")
            wait_for(lambda n=node: n.value("SHOW max_connections") == "60", 20)
            wait_for(lambda n=node: not n.status().get("pending_restart"), 20)
        cluster.wait_healthy(60)
        assert cluster.leader_name() == leader.name

    def test_loop_wait_and_ttl(self, cluster):
        cluster.patch({"ttl": 25, "loop_wait": 1})
        assert cluster.config()["ttl"] == 25

        def granted():
            lease = cluster.etcd.call("kv/range", {"key": __import__("base64").b64encode(
                cluster.key("leader").encode()).decode()})["kvs"][0]["lease"]
            return cluster.etcd.call("lease/timetolive", {"ID": lease})["grantedTTL"] == "25"
        wait_for(granted, 30, "a lease of 25 s")
        cluster.wait_healthy(30)
        cluster.patch({"ttl": 20, "loop_wait": 2})

    def test_put_replaces_the_document(self, cluster):
        before = cluster.config()
        wanted = {**before, "maximum_lag_on_failover": 4242}
        answer = cluster.nodes[1].rest("PUT", "/config", wanted)
        assert answer.status == 200 and answer.json == wanted
        assert cluster.config() == wanted
        wait_for(lambda: cluster.nodes[0].get("/config").json == wanted, 10, "the document on the other node")
        assert cluster.nodes[0].rest("PUT", "/config", before).status == 200

    @pytest.mark.parametrize("body, status", [("{", 400), ("[]", 400), ("", 400), ("{}", 400)])
    def test_patch_with_nonsense(self, cluster, body, status):
        before = cluster.config()
        assert cluster.nodes[0].rest("PATCH", "/config", body).status == status
        assert cluster.config() == before

    def test_value_postgresql_refuses(self, cluster):
        """A value that PostgreSQL would not start with must not take the cluster down."""
        postmasters = [node.postmaster_pid() for node in cluster.nodes]
        cluster.patch({"postgresql": {"parameters": {"work_mem": "a lot"}}})
        try:
            holds_for(lambda: all(node.status()["state"] == "running" for node in cluster.nodes), 6, "all running")
            assert [node.postmaster_pid() for node in cluster.nodes] == postmasters
            assert cluster.leader().value("SHOW work_mem") == "4MB"
        finally:
            cluster.patch({"postgresql": {"parameters": {"work_mem": None}}})
        cluster.wait_healthy(20)

    @pytest.mark.pgvigil
    def test_what_a_role_adds(self, cluster):
        """parameters_<role>, pg_hba_<role> and pg_ident_<role> follow the roles through a switchover."""
        hba = list(cluster.nodes[0].config["postgresql"]["pg_hba"])
        change = {"postgresql": {
            "parameters": {"temp_buffers": "10MB", "work_mem": "5MB"},
            "parameters_primary": {"work_mem": "11MB", "max_connections": 7},
            "parameters_replica": {"Work_Mem": "12MB", "temp_buffers": "9MB"},
            "pg_ident_primary": ["m on_primary postgres"]}}
        for node in cluster.nodes:
            node.config["postgresql"]["pg_hba_replica"] = hba + ["host all on_replica 192.0.2.1/32 reject"]
            node.write_config()
            node.hup()
        cluster.patch(change)

        def dressed(node, primary):
            work_mem, temp_buffers = (node.value(f"SHOW {name}") for name in ("work_mem", "temp_buffers"))
            lines = [row[0] for row in node.sql("SELECT unnest(user_name) FROM pg_hba_file_rules")]
            with open(f"{node.data_dir}/pg_ident.conf", encoding="utf-8") as file:
                ident = "on_primary" in file.read()
            return ((work_mem, temp_buffers, "on_replica" in lines, ident) ==
                    (("11MB", "10MB", False, True) if primary else ("12MB", "9MB", True, ident)))
        first, second = cluster.leader(), cluster.replicas()[0]
        wait_for(lambda: dressed(first, True), 30, "the primary's settings")
        wait_for(lambda: dressed(second, False), 30, "the replica's settings")
        assert first.value("SHOW max_connections") != "7"
        assert "attempted to override protected parameter 'max_connections'" in first.log_text()
        cluster.ctl("switchover", cluster.scope, "--leader", first.name, "--candidate", second.name, "--force")
        cluster.wait_leader(second, 30)
        cluster.wait_healthy(60)
        wait_for(lambda: dressed(second, True), 30, "the new primary's settings")
        wait_for(lambda: dressed(first, False), 30, "the new replica's settings")
        cluster.patch({"postgresql": {key: None for key in change["postgresql"] if "_" in key} |
                       {"parameters": {"temp_buffers": None, "work_mem": None}}})
        for node in cluster.nodes:
            del node.config["postgresql"]["pg_hba_replica"]
            node.write_config()
            node.hup()
        cluster.ctl("switchover", cluster.scope, "--leader", second.name, "--candidate", first.name, "--force")
        cluster.wait_leader(first, 30)
        cluster.wait_healthy(60)

    def test_ignore_slots(self, cluster):
        """A slot nobody of the cluster needs is dropped, unless the cluster is told to leave it alone."""
        leader = cluster.leader()
        cluster.patch({"ignore_slots": [{"name": "kept", "type": "physical"}]})
        leader.sql("SELECT pg_create_physical_replication_slot('kept', true)")
        leader.sql("SELECT pg_create_physical_replication_slot('dropped', true)")
        wait_for(lambda: not leader.sql("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'dropped'"), 30, "dropped")
        assert leader.sql("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'kept'")
        cluster.patch({"ignore_slots": None})
        wait_for(lambda: not leader.sql("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'kept'"), 30, "dropped, too")


class TestBehindTheAgentsBack:
    """What others change on a standby is seen in the next cycle, of 2 s here, for however long
    nothing had changed before."""

    @pytest.fixture
    def standby(self, cluster):
        cluster.wait_healthy(60)
        node = cluster.replicas()[0]
        files = [os.path.join(node.data_dir, name) for name in ("", "postgresql.conf", "postgresql.auto.conf")]
        files.append(node.config["postgresql"]["pgpass"])
        wait_for(lambda: time.time() - max(os.stat(file).st_ctime for file in files) > 6, 30, "cycles without a change")
        yield node
        cluster.wait_healthy(60)

    @pytest.mark.parametrize("disguised", (False, True))
    def test_password_file(self, standby, kind, disguised):
        if disguised and kind == "patroni":
            pytest.skip("goes by the time of the last change")
        path = standby.config["postgresql"]["pgpass"]
        before = os.stat(path)
        with open(path, "r+", encoding="utf-8") as file:
            right = file.read()
            file.seek(0)
            file.write(right.replace(REPLICATOR_PASSWORD, REPLICATOR_PASSWORD[::-1]))
        if disguised:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

        def is_right():
            with open(path, encoding="utf-8") as file:
                return file.read() == right
        assert not is_right()
        wait_for(is_right, 6 * patience(), "the right password")

    def test_upstream(self, standby):
        if standby.value("SELECT current_setting('server_version_num')::int") < 130000:
            pytest.skip("primary_conninfo cannot be reloaded")
        right = setting(standby, "primary_conninfo")
        with open(os.path.join(standby.data_dir, "postgresql.conf"), "a", encoding="utf-8") as file:
            file.write("\nprimary_conninfo = 'host=127.0.0.1 port=1'\n")
        offset = standby.log_size()
        os.kill(standby.postmaster_pid(), signal.SIGHUP)
        standby.wait_log('"primary_conninfo" changed to "host=127.0.0.1 port=1"', 10, offset)
        wait_for(lambda: setting(standby, "primary_conninfo") == right, 8 * patience(), "the right one")

    def test_signal_file(self, standby):
        if standby.value("SELECT current_setting('server_version_num')::int") < 120000:
            pytest.skip("it is recovery.conf")
        path = os.path.join(standby.data_dir, "standby.signal")
        os.unlink(path)
        wait_for(lambda: os.path.exists(path), 10 * patience(), "standby.signal")


class TestEditConfig:
    def test_set(self, cluster):
        out = cluster.ctl("edit-config", cluster.scope, "-s", "maximum_lag_on_failover=3000", "--force").stdout
        assert "Configuration changed" in out
        assert "+maximum_lag_on_failover: 3000" in out
        assert cluster.config()["maximum_lag_on_failover"] == 3000

    def test_postgresql_parameter(self, cluster):
        cluster.ctl("edit-config", cluster.scope, "-p", "work_mem=6MB", "--force")
        for node in cluster.nodes:
            wait_for(lambda n=node: n.value("SHOW work_mem") == "6MB", 20)

    def test_null_takes_away(self, cluster):
        cluster.ctl("edit-config", cluster.scope, "-s", "maximum_lag_on_failover=null", "--force")
        assert "maximum_lag_on_failover" not in cluster.config()

    def test_apply_from_stdin(self, cluster):
        out = cluster.ctl("edit-config", cluster.scope, "--apply", "-", "--force", stdin="ttl: 22\nslots: {}\n").stdout
        assert "Configuration changed" in out
        assert cluster.config()["ttl"] == 22

    def test_no_change(self, cluster):
        ttl = cluster.config()["ttl"]
        out = cluster.ctl("edit-config", cluster.scope, "-s", f"ttl={ttl}", "--force").stdout
        assert "Not changed" in out

    def test_not_confirmed(self, cluster):
        before = cluster.config()
        cluster.ctl("edit-config", cluster.scope, "-s", "ttl=44", stdin="n\n")
        assert cluster.config() == before

    def test_nonsense(self, cluster):
        before = cluster.config()
        done = cluster.ctl("edit-config", cluster.scope, "-s", "ttl", "--force", check=False)
        assert done.returncode == 1
        assert "Invalid parameter setting ttl" in done.stderr + done.stdout
        assert cluster.config() == before

    def test_show_config(self, cluster):
        out = cluster.ctl("show-config", cluster.scope).stdout
        assert f"ttl: {cluster.config()['ttl']}\n" in out


class TestLocalFile:
    def test_parameter_by_sighup(self, cluster):
        node = cluster.nodes[1]
        node.config["postgresql"]["parameters"]["deadlock_timeout"] = "1500ms"
        node.write_config()
        node.hup()
        wait_for(lambda: setting(node, "deadlock_timeout") == "1500ms", 20)
        assert setting(cluster.nodes[0], "deadlock_timeout") == "1000ms"

    def test_tags_by_post_reload(self, cluster):
        node = cluster.nodes[1]
        node.config["tags"] = {"noloadbalance": True, "zone": "b"}
        node.write_config()
        answer = node.rest("POST", "/reload")
        assert (answer.status, answer.text) == (202, "reload scheduled")
        wait_for(lambda: node.status().get("tags") == {"noloadbalance": True, "zone": "b"}, 20)
        assert node.get("/replica").status == 503
        wait_for(lambda: cluster.etcd.get_json(cluster.key("members/n2")).get("tags", {}).get("zone") == "b", 20)
        node.config["tags"] = {}
        node.write_config()
        node.rest("POST", "/reload")
        wait_for(lambda: node.get("/replica").status == 200, 20)

    def test_hba_by_sighup(self, cluster):
        node = cluster.nodes[1]
        node.config["postgresql"]["pg_hba"].append("host all nobody_at_all 192.0.2.1/32 reject")
        node.write_config()
        node.hup()
        wait_for(lambda: node.sql("SELECT 1 FROM pg_hba_file_rules WHERE user_name = '{nobody_at_all}'"), 20)

    def test_rest_password_by_sighup(self, cluster):
        node = cluster.nodes[1]
        assert node.rest("POST", "/reload").status == 202
        node.config["restapi"]["authentication"] = {"username": "u", "password": "p"}
        node.write_config()
        node.hup()
        wait_for(lambda: node.rest("POST", "/reload").status == 401, 20)
        assert node.rest("POST", "/reload", auth=("u", "wrong")).text == "not authenticated"
        assert node.rest("POST", "/reload", auth=("u", "p")).status == 202
        del node.config["restapi"]["authentication"]
        node.write_config()
        node.hup()
        wait_for(lambda: node.rest("POST", "/reload").status == 202, 20)

    @pytest.mark.parametrize("text, line", [
        ("scope: vigil\nname: n2\n  listen: [\n", 3),
        ("scope: vigil\nname: n2\npostgresql:\n\tlisten: x\n", 4),
        ("scope: vigil\nname: 'n2\n", None),
    ])
    def test_broken_yaml_keeps_the_old(self, cluster, kind, text, line):
        node = cluster.nodes[1]
        offset, postmaster = node.log_size(), node.postmaster_pid()
        node.write_config(text)
        node.hup()
        if kind == "pgvigil":
            logged = node.wait_log(node.config_file, 15, offset)
            if line:
                assert f"line {line}" in logged or f":{line}" in logged, logged
        else:
            wait_for(lambda: "Traceback" in node.log_text(offset) or "ERROR" in node.log_text(offset), 15)
        holds_for(lambda: node.streaming(), 3, "still running")
        assert node.postmaster_pid() == postmaster
        node.write_config()
        node.hup()
        cluster.wait_healthy(20)

    @pytest.mark.pgvigil
    @pytest.mark.parametrize("change", [
        {"postgresql": None}, {"postgresql": "what"}, {"restapi": {"listen": "no port here"}}, {"name": "other"}])
    def test_nonsense_in_good_yaml_keeps_the_old(self, cluster, change):
        import copy
        import yaml
        from lib.node import merge
        node = cluster.nodes[1]
        offset = node.log_size()
        node.write_config(yaml.safe_dump(merge(copy.deepcopy(node.config), change)))
        node.hup()
        wait_for(lambda: node.log_size() > offset, 15)
        holds_for(node.streaming, 3, "still running")
        assert cluster.etcd.get(cluster.key("members/n2"))
        node.write_config()
        node.hup()
        cluster.wait_healthy(20)


@pytest.mark.pgvigil
class TestReloadIsTold:
    """What changed, from what to what, and what it takes."""

    def test_each_option(self, cluster):
        node = cluster.nodes[1]
        node.config["postgresql"]["authentication"]["superuser"]["sslmode"] = "prefer"
        node.config["postgresql"]["parameters"]["max_connections"] = 500
        node.config["postgresql"]["parameters"]["huge_pages"] = "off"
        node.config["log"]["max_queue_size"] = 5
        node.config["recorder"] = {"size": "2MB"}
        node.config["ttl"] = 99
        node.config["nonsense"] = 1
        node.config["bootstrap"]["dcs"]["ttl"] = 33
        offset = node.log_size()
        node.write_config()
        node.hup()
        node.wait_log("nonsense set to", 20, offset)
        text = node.log_text(offset)
        for line in ("postgresql.authentication.superuser.sslmode set to '(hidden)': in force\n",
                     "postgresql.parameters.max_connections set to '500': no effect: the cluster's configuration",
                     "postgresql.parameters.huge_pages set to 'off': in force once PostgreSQL",
                     "log.max_queue_size set to '5': no effect\n",
                     "recorder.size set to '2MB': in force\n",
                     "ttl set to '99': no effect: the cluster's configuration decides",
                     "nonsense set to '1': no effect\n",
                     "bootstrap.dcs.ttl changed from '20' to '33': counts when a cluster begins"):
            assert line in text, text
        # PostgreSQL itself knows that this one has to wait
        node.wait_log("Changed huge_pages from 'try' to 'off' (restart might be required)", 20, offset)
        wait_for(lambda: "huge_pages" in node.status().get("pending_restart_reason", {}), 20)
        for key in ("ttl", "nonsense", "recorder"):
            del node.config[key]
        del node.config["postgresql"]["parameters"]["huge_pages"]
        offset = node.log_size()
        node.write_config()
        node.hup()
        node.wait_log("nonsense taken away, it was '1'", 20, offset)
        # PostgreSQL keeps a setting that was taken back again pending, until it starts anew
        assert node.rest("POST", "/restart", {}, timeout=60).status == 200
        wait_for(lambda: not node.status().get("pending_restart"), 20)

    def test_who_and_where_stay(self, cluster):
        """name, scope and the server's place wait for a restart of the agent, and are said to."""
        node = cluster.nodes[1]
        before = node.config
        node.config = {**before, "name": "n9", "scope": "another",
                       "postgresql": {**before["postgresql"], "data_dir": node.data_dir + "-other"}}
        offset, postmaster = node.log_size(), node.postmaster_pid()
        node.write_config()
        node.hup()
        node.wait_log("data_dir changed from", 20, offset)
        for key in ("name", "scope", "postgresql.data_dir"):
            line = next(x for x in node.log_text(offset).splitlines() if f" {key} changed from" in x)
            assert line.endswith("takes a restart of the agent"), line
        holds_for(lambda: node.streaming() and node.status()["patroni"]["name"] == "n2", 4, "still n2")
        assert node.postmaster_pid() == postmaster
        node.config = before
        node.write_config()
        node.hup()

    def test_a_port_in_use_keeps_the_old(self, cluster):
        """The address cannot be had: nothing of the new file is in force."""
        node, other = cluster.nodes[1], cluster.nodes[0]
        old = node.config["restapi"]["listen"]
        node.config["restapi"]["listen"] = other.config["restapi"]["listen"]
        node.config["tags"] = {"zone": "x"}
        offset = node.log_size()
        node.write_config()
        node.hup()
        node.wait_log("the old configuration stays, all of it", 20, offset)
        holds_for(lambda: "tags" not in node.status(), 3, "no tags")
        node.config["restapi"]["listen"] = old
        node.config["tags"] = {}
        node.write_config()
        node.hup()
