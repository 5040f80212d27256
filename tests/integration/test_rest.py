# SPDX-License-Identifier: PostgreSQL
"""The REST API as load balancers, monitoring and scripts see it."""

import socket
import subprocess
import threading

import pytest

from lib.node import RawRest
from lib.process import now
from lib.wait import holds_for, wait_for


@pytest.fixture(scope="class")
def cluster(make_cluster):
    cluster = make_cluster(2, config={"tags": {"zone": "a", "clonefrom": True}})
    cluster.leader_node = cluster.leader()
    cluster.replica_node = cluster.replicas()[0]
    return cluster


LEADER_CODES = {
    "/": (200, 503), "/primary": (200, 503), "/master": (200, 503), "/read-write": (200, 503), "/leader": (200, 503),
    "/standby-leader": (503, 503), "/standby_leader": (503, 503), "/replica": (503, 200), "/read-only": (200, 200),
    "/health": (200, 200), "/sync": (503, 503), "/synchronous": (503, 503), "/async": (503, 200),
    "/asynchronous": (503, 200), "/quorum": (503, 503), "/read-only-sync": (200, 503), "/read-only-quorum": (200, 503),
    "/nonsense": (503, 503), "/primary?tag_zone=a": (200, 503), "/replica?lag=16MB": (503, 200),
    "/replica?tag_zone=a": (503, 200), "/replica?tag_zone=b": (503, 503), "/replica?tag_clonefrom=true": (503, 200),
    "/replica?tag_other=": (503, 200), "/replica?lag=": (503, 200), "//primary": (200, 503),
    "/foo-leader-x": (200, 503), "/PRIMARY": (503, 503),
}


class TestHealth:
    @pytest.mark.parametrize("path", LEADER_CODES)
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    def test_codes(self, cluster, method, path):
        codes = tuple(node.rest(method, path).status for node in (cluster.leader_node, cluster.replica_node))
        assert codes == LEADER_CODES[path]

    @pytest.mark.parametrize("path, get, head", [
        ("/liveness", 200, 503), ("/readiness", 200, 503), ("/patroni", 200, 503), ("/metrics", 200, 503),
        ("/cluster", 200, 503), ("/history", 200, 503), ("/config", 200, 503), ("/patroni/anything", 200, 503)])
    def test_information_is_for_get_only(self, cluster, path, get, head):
        for node in cluster.nodes:
            assert node.get(path).status == get
            assert node.rest("HEAD", path).status == head
            assert node.rest("OPTIONS", path).status == head

    def test_only_the_status_line_counts(self, cluster):
        """Load balancers send HTTP/1.0 and hang up early."""
        raw = RawRest(cluster.leader_node).send(b"OPTIONS / HTTP/1.0\r\n\r\n")
        assert raw.answer().split(b"\r\n")[0].endswith(b" 200 OK")
        for _ in range(20):
            RawRest(cluster.leader_node).send(b"HEAD /primary HTTP/1.0\r\n\r\n").close()
        assert cluster.leader_node.is_primary()

    def test_probes_have_no_body(self, cluster):
        assert cluster.leader_node.get("/liveness").text == ""
        assert cluster.leader_node.get("/readiness").text == ""


class TestDocuments:
    def test_status_of_the_leader(self, cluster):
        status = cluster.leader_node.status()
        assert list(status)[:4] == ["state", "postmaster_start_time", "role", "server_version"]
        assert status["role"] == "primary" and status["xlog"]["location"] > 0
        assert [sender["application_name"] for sender in status["replication"]] == [cluster.replica_node.name]
        assert status["tags"] == {"zone": "a", "clonefrom": True}
        assert status["patroni"]["scope"] == cluster.scope and status["patroni"]["name"] == cluster.leader_node.name
        assert all(part.isdigit() for part in status["patroni"]["version"].split("."))

    def test_status_of_a_replica(self, cluster):
        status = cluster.replica_node.status()
        assert status["role"] == "replica" and status["replication_state"] == "streaming"
        assert set(status["xlog"]) == {"received_location", "replayed_location", "replayed_timestamp", "paused"}
        assert status["timeline"] == cluster.leader_node.status()["timeline"]

    def test_cluster(self, cluster):
        wait_for(lambda: "streaming" in cluster.replica_node.get("/cluster").text, 20, "the replica streams")
        document = cluster.replica_node.get("/cluster").json
        assert document["scope"] == cluster.scope
        members = {member["name"]: member for member in document["members"]}
        assert members[cluster.leader_node.name]["role"] == "leader"
        replica = members[cluster.replica_node.name]
        assert (replica["role"], replica["state"], replica["host"]) == ("replica", "streaming", "127.0.0.1")
        assert replica["port"] == cluster.replica_node.pg_port
        assert "lag" in replica and "lsn" in replica and "receive_lag" in replica

    def test_json_as_python_writes_it(self, cluster):
        text = cluster.leader_node.get("/patroni").text
        assert text.startswith('{"state": "running", "postmaster_start_time": "')

    def test_metrics(self, cluster):
        text = cluster.leader_node.get("/metrics").text
        labels = f'{{scope="{cluster.scope}",name="{cluster.leader_node.name}"}}'
        for line in (f"patroni_postgres_running{labels} 1", f"patroni_primary{labels} 1", f"patroni_replica{labels} 0",
                     f"patroni_is_paused{labels} 0", f"patroni_pending_restart{labels} 0",
                     f"patroni_cluster_unlocked{labels} 0"):
            assert line in text.splitlines()
        for name in ("patroni_version", "patroni_xlog_location", "patroni_postgres_timeline", "patroni_dcs_last_seen",
                     "patroni_postgres_server_version", "patroni_postmaster_start_time", "patroni_sync_standby",
                     "patroni_xlog_received_location", "patroni_xlog_replayed_timestamp", "patroni_xlog_paused",
                     "patroni_failsafe_mode_is_active", "patroni_postgres_state", "patroni_postgres_streaming"):
            assert f"# TYPE {name} " in text and f"\n{name}{labels} " in text

    def test_content_types(self, cluster):
        for path, wanted in (("/patroni", "application/json"), ("/metrics", "text/plain"), ("/cluster", "application/json")):
            headers = {key.lower(): value for key, value in cluster.leader_node.get(path).headers.items()}
            assert headers["content-type"].startswith(wanted)


class TestBadRequests:
    """Whatever comes in, the agent answers others meanwhile and lives on."""

    @pytest.mark.parametrize("sent", [
        b"\r\n\r\n", b"GET\r\n\r\n", b"GET /primary HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * 70000 + b"\r\n\r\n", b"BREW /primary HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /config HTTP/1.1\r\n\r\n", b"PATCH /config HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"PATCH /config HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"PATCH /config HTTP/1.1\r\nContent-Length: 5\r\n\r\n{\"a\":", b"\x00" * 1000])
    def test_nonsense(self, cluster, sent):
        node = cluster.leader_node
        raw = RawRest(node)
        try:
            raw.send(sent)
            raw.sock.shutdown(socket.SHUT_WR)
            answer = raw.answer()
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
        raw.close()
        assert not answer.startswith((b"HTTP/1.0 2", b"HTTP/1.1 2")) or b"HTTP/9.9" in sent
        assert node.is_primary()

    @pytest.mark.parametrize("method, path, status", [
        ("POST", "/nothing", 501), ("DELETE", "/primary", 501), ("PUT", "/restart", 501), ("BREW", "/primary", 501)])
    def test_methods(self, cluster, method, path, status):
        assert cluster.leader_node.rest(method, path).status == status

    @pytest.mark.parametrize("path", ["switchover", "failover", "config"])
    @pytest.mark.parametrize("body, status", [("{", 400), ("[1]", 400), ("\"x\"", 400), ("\xff", 400), ("", 400),
                                              ("[" * 5000, 400)])
    def test_bodies(self, cluster, path, body, status):
        method = "PATCH" if path == "config" else "POST"
        assert cluster.leader_node.rest(method, f"/{path}", body.encode("latin-1")).status == status

    def test_no_length(self, cluster):
        raw = RawRest(cluster.leader_node).send(b"POST /switchover HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 411 " in raw.answer().split(b"\r\n")[0]

    @pytest.mark.pgvigil
    def test_huge_body_is_refused(self, cluster):
        """Refused for its announced size, without waiting for 1 GB to arrive."""
        raw = RawRest(cluster.leader_node).send(
            b"PATCH /config HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n{")
        assert b" 413 " in raw.answer().split(b"\r\n")[0]

    def test_malformed_reinitialize_starts_nothing(self, cluster, kind):
        if kind != "pgvigil":
            pytest.skip("the original goes on after its 400")
        assert cluster.replica_node.rest("POST", "/reinitialize", "{").status == 400
        holds_for(cluster.replica_node.streaming, 2, "no reinitialize")


@pytest.mark.pgvigil
class TestManyConnections:
    def test_idle_connections_harm_nobody(self, cluster):
        """Five of them stop the original's health checks for as long as they like."""
        node = cluster.leader_node
        idle = []
        try:
            for _ in range(300):
                idle.append(socket.create_connection((node.host, node.rest_port), 5))
            begin = now()
            for _ in range(50):
                assert node.is_primary()
            assert now() - begin < 2
        finally:
            for sock in idle:
                sock.close()

    def test_slow_clients_are_hung_up_on(self, cluster):
        """Who sends half a request is not waited for without end."""
        raw = RawRest(cluster.leader_node, timeout=60).send(b"GET /primary HTTP/1.1\r\nHo")
        begin = now()
        raw.answer()
        assert now() - begin < 60

    def test_reader_that_does_not_read(self, cluster):
        """Pipelined requests whose answers nobody takes do not pile up in the agent."""
        node = cluster.leader_node
        with socket.create_connection((node.host, node.rest_port), 5) as sock:
            sock.setblocking(False)
            try:
                for _ in range(20000):
                    sock.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            except (BlockingIOError, ConnectionResetError, BrokenPipeError):
                pass
            assert node.is_primary()

    def test_parallel_requests(self, cluster):
        failures = []

        def ask():
            for _ in range(100):
                if not cluster.leader_node.is_primary():
                    failures.append(1)
        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures


class TestAccess:
    @pytest.fixture(scope="class")
    def guarded(self, make_cluster):
        return make_cluster(1, config={"restapi": {"authentication": {"username": "admin", "password": "geheim:x"}}}).nodes[0]

    @pytest.mark.parametrize("method, path", [
        ("PATCH", "/config"), ("PUT", "/config"), ("POST", "/reload"), ("POST", "/restart"), ("POST", "/reinitialize"),
        ("POST", "/failover"), ("POST", "/switchover"), ("DELETE", "/restart"), ("DELETE", "/switchover"),
        ("POST", "/failsafe"), ("POST", "/sigterm")])
    def test_password(self, guarded, method, path):
        answer = guarded.rest(method, path, "{}")
        assert (answer.status, answer.text) == (401, "no auth header received")
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="Patroni"'
        answer = guarded.rest(method, path, "{}", auth=("admin", "wrong"))
        assert (answer.status, answer.text) == (401, "not authenticated")

    def test_reading_is_free(self, guarded):
        for path in ("/patroni", "/config", "/cluster", "/history", "/metrics", "/primary"):
            assert guarded.get(path).status == 200

    def test_right_password(self, guarded):
        assert guarded.rest("POST", "/reload", auth=("admin", "geheim:x")).status == 202

    def test_command_line_knows_it(self, make_cluster, guarded):
        from lib.node import ctl_binary
        done = subprocess.run([ctl_binary(guarded.kind), "-c", guarded.config_file, "restart", guarded.scope, "--force"],
                              capture_output=True, text=True, timeout=60, check=False)
        assert "Success: restart on member n1" in done.stdout
        wait_for(guarded.is_primary, 30)

    def test_password_stays_secret(self, guarded):
        assert "geheim" not in guarded.log_text()


class TestAllowlist:
    @pytest.mark.parametrize("networks, status", [(["192.0.2.0/24"], 403), (["127.0.0.0/8"], 202), (["localhost"], 202)])
    def test_source_address(self, make_cluster, networks, status):
        cluster = make_cluster(1, config={"restapi": {"allowlist": networks}})
        answer = cluster.nodes[0].rest("POST", "/reload")
        assert answer.status == status
        if status == 403:
            assert answer.text == "Access is denied"
        assert cluster.nodes[0].is_primary()
