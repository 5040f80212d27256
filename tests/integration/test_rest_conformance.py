# SPDX-License-Identifier: PostgreSQL
"""The REST API against Patroni's: the same requests in the same states, then the same answers.

Two clusters of equal shape, one of each agent, go through the same states together, and in each
state every request is put to both. Compared are the status, the headers that matter in their order,
and the body: JSON field by field with the order of its keys, other text as it is.

Intended differences, which normal() and headers() in lib/rest_pair.py take out:

- We speak HTTP/1.1 with Content-Length and keep connections; Patroni speaks HTTP/1.0 and closes.
  So status-only answers have a Content-Length: 0, where Patroni sends no header at all.
- The text of error pages is for people, and ours says more. Only 501's has a reader.
- /patroni ends with one field more, "pgvigil": who really answers.
- /metrics has what Patroni 4.2 added, and our own under pgvigil_.
- Where Patroni drops the connection because its handler died, we answer 400, 501 or 503.

The order of the tests saves changes of state, but each brings about the state it is about: one that
is run alone passes too.
"""

import os

import pytest

from lib import process
from lib.rest_pair import AUTH, Pair
from lib.wait import wait_for


pytestmark = pytest.mark.xdist_group("test_rest_conformance")  # two clusters are enough


@pytest.fixture(scope="module")
def pair(patroni):
    made = Pair()
    yield made
    made.close()


PATHS = ["/", "/primary", "/master", "/read-write", "/leader", "/standby-leader", "/standby_leader", "/replica",
         "/read-only", "/health", "/sync", "/synchronous", "/async", "/asynchronous", "/quorum", "/read-only-sync",
         "/read-only-synchronous", "/read-only-quorum", "/nonsense", "//primary", "/foo-leader-x", "/PRIMARY",
         "/primary;x", "/primary#y", "/%70rimary", "/restart", "/replica/x/y"]
QUERIES = ["?lag=16MB", "?lag=0", "?lag=-1", "?lag=nonsense", "?lag=1mb", "?lag=", "?lag=1.5MB&tag_zone=a",
           "?tag_zone=a", "?tag_zone=b", "?tag_zone=b&tag_zone=a", "?tag_clonefrom=true", "?tag_clonefrom=True",
           "?tag_number=3", "?tag_ratio=1.4", "?tag_other=x", "?tag_other=", "?tag_nofailover=false", "?tag_zone=%61",
           "?tag_zone=a;tag_x=1"]
INFO = ["/patroni", "/patroni/x", "/cluster", "/history", "/config", "/metrics", "/failsafe", "/liveness", "/readiness",
        "/readiness?lag=0", "/readiness?lag=1GB&mode=write", "/readiness?mode=apply", "/readiness?lag=x",
        "/readiness?lag=-1"]


def probes():
    for name in ("n1", "n2"):
        for method in ("GET", "HEAD", "OPTIONS"):
            for path in PATHS + ["/patroni", "/liveness", "/metrics"]:
                yield name, method, path
        for path in ("/primary", "/replica", "/read-only", "/health", "/async"):
            for query in QUERIES:
                yield name, "GET", path + query
        for path in INFO:
            yield name, "GET", path


def change(pair, patch):
    pair.both(lambda cluster: cluster["n1"].rest("PATCH", "/config", patch, auth=("admin", "geheim")))


def pause(pair):
    change(pair, {"pause": True})
    for name in ("n1", "n2"):
        pair.wait(name, lambda node: node.status().get("pause"))


def test_healthy(pair):
    pair.compare(probes())


def test_access(pair):
    for header in ((), ("Authorization: Basic eDp5",), ("Authorization: basic " + AUTH.split()[-1],),
                   ("Authorization: Bearer x",)):
        pair.compare([("n1", method, path, {}, header) for method, path in (
            ("PATCH", "/config"), ("PUT", "/config"), ("POST", "/reload"), ("POST", "/failsafe"), ("POST", "/sigterm"),
            ("POST", "/restart"), ("POST", "/reinitialize"), ("POST", "/failover"), ("POST", "/switchover"),
            ("POST", "/citus"), ("DELETE", "/restart"), ("DELETE", "/switchover"))])


def test_methods(pair):
    pair.compare([("n1", method, path, None, (AUTH,)) for method, path in (
        ("POST", "/nothing"), ("DELETE", "/primary"), ("PUT", "/restart"), ("BREW", "/primary"), ("PATCH", "/patroni"),
        ("DELETE", "/config"), ("POST", "/config"), ("TRACE", "/"))])


def test_bodies(pair):
    bodies = [None, b"", b"{", b"[1]", b'"x"', b"\xff", b"{}", b"null", b"1", b" "]
    pair.compare([("n1", method, path, sent, (AUTH,)) for method, path in (
        ("PATCH", "/config"), ("PUT", "/config"), ("POST", "/switchover"), ("POST", "/failover"), ("POST", "/mpp"))
        for sent in bodies])
    pair.compare([("n1", "POST", "/restart", sent, (AUTH,)) for sent in bodies if sent not in (None, b"", b"{}")])
    pair.compare([("n1", "POST", "/citus", {"type": "x", "group": 1, "leader": "l", "timeout": 1, "cooldown": 1}, (AUTH,)),
                  ("n1", "POST", "/sigterm", None, (AUTH,))])
    failsafe = {"name": "n1", "conn_url": "postgres://127.0.0.1:1/", "api_url": "http://127.0.0.1:1/patroni"}
    pair.compare([(name, "POST", "/failsafe", sent, (AUTH,)) for name in ("n1", "n2")
                  for sent in (failsafe, {"name": "n1"}, *bodies)])


def test_config(pair):
    patches = [{"ttl": 21}, {"ttl": "21"}, {"ttl": 20}, {"x": {"y": [1, "zwei", None, True, 1.5]}}, {"x": {"y": None}},
               {"x": None}, {"ü": "ß\u20ac"}, {"ü": None}, {"postgresql": {"parameters": {"work_mem": "5MB"}}}]
    pair.compare([("n1", "PATCH", "/config", patch, (AUTH,)) for patch in patches])
    for cluster in pair.clusters:
        cluster.document = cluster.config()
    document = pair.clusters[0].document
    assert document == pair.clusters[1].document
    pair.compare([("n2", "PUT", "/config", document, (AUTH,)), ("n2", "PUT", "/config", {**document, "ttl": 22}, (AUTH,)),
                  ("n2", "PUT", "/config", document, (AUTH,))])


def test_restart_refusals_and_schedules(pair):
    at = "2100-01-01T10:10:10+02:00"
    requests = [{"role": "x"}, {"role": "master"}, {"role": 1}, {"postgres_version": "9"}, {"postgres_version": "x"},
                {"postgres_version": "9.6"}, {"postgres_version": "15.1.2.3"}, {"postgres_version": ""},
                {"timeout": 0}, {"timeout": "x"}, {"timeout": -1}, {"timeout": "10MB"}, {"other": 1}, {"role": "replica"},
                {"restart_pending": False}, {"postgres_version": "9.5.1"}, {"schedule": "x"}, {"schedule": 5},
                {"schedule": "2100-01-01T10:10:10"}, {"schedule": "2001-01-01T10:10:10+00:00"}, {"schedule": None},
                {"schedule": at, "x": 1}, {"schedule": at, "role": "primary", "timeout": "1min", "restart_pending": True},
                {"schedule": at}]
    pair.compare([("n1", "POST", "/restart", sent, (AUTH,)) for sent in requests])
    pair.both(lambda cluster: wait_for(lambda: "scheduled_restart" in cluster["n1"].get("/cluster").text, 20))
    pair.compare([("n1", "GET", "/patroni"), ("n1", "GET", "/cluster"), ("n1", "DELETE", "/restart", None, (AUTH,)),
                  ("n1", "DELETE", "/restart", None, (AUTH,)), ("n1", "GET", "/patroni")])


def test_switchover_refusals_and_schedules(pair):
    at = "2100-01-01T10:10:10.5+02:00"
    switch = [{"x": 1}, {"leader": ""}, {"leader": "n1", "candidate": "n1"}, {"leader": "nn"}, {"leader": "n1", "candidate": "nn"},
              {"leader": "n2", "candidate": "n1"}, {"leader": "n1", "scheduled_at": "x"},
              {"leader": "n1", "scheduled_at": "2100-01-01T00:00"}, {"leader": "n1", "scheduled_at": "2001-01-01T00:00Z"},
              {"leader": "n1", "candidate": "n1", "scheduled_at": at}, {"leader": "n1", "member": "nn"}]
    fail = [{"x": 1}, {"leader": "n1"}, {"candidate": "nn"}, {"candidate": "n2", "scheduled_at": at},
            {"leader": "n1", "candidate": "n1"}, {"leader": "n2", "candidate": "n1"}]
    pair.compare([("n2", "POST", "/switchover", sent, (AUTH,)) for sent in switch] +
                 [("n2", "POST", "/failover", sent, (AUTH,)) for sent in fail])
    pair.compare([("n1", "DELETE", "/switchover", None, (AUTH,)),
                  ("n2", "POST", "/switchover", {"leader": "n1", "candidate": "n2", "scheduled_at": at}, (AUTH,)),
                  ("n1", "GET", "/cluster"), ("n1", "DELETE", "/switchover", None, (AUTH,)),
                  ("n1", "GET", "/cluster"), ("n1", "DELETE", "/switchover", None, (AUTH,))])


def test_reinitialize_and_reload(pair):
    pair.compare([("n1", "POST", "/reinitialize", None, (AUTH,)), ("n1", "POST", "/reinitialize", {"force": True}, (AUTH,)),
                  ("n2", "POST", "/reload", None, (AUTH,))])


def test_restart(pair):
    pair.both(lambda cluster: cluster.wait_healthy(60))
    pair.compare([("n2", "POST", "/restart", {"role": "replica"}, (AUTH,))])
    pair.both(lambda cluster: cluster.wait_healthy(60))
    pair.compare([("n2", "GET", path) for path in ("/replica", "/patroni", "/health")])


def test_starting(pair):
    """A standby that does not come up: its WAL from the archive is a long time coming."""
    def hold(cluster):
        process.write_file(cluster["n2"].hold, "")
        cluster["n2"].kill_postmaster()
    pair.both(hold)
    try:
        pair.wait("n2", lambda node: node.status()["state"] == "starting")
        pair.both(lambda cluster: wait_for(
            lambda: {"starting"} & {m["state"] for m in cluster["n1"].get("/cluster").json["members"]}, 30))
        pair.wait("n1", lambda node: not node.status().get("replication"))
        pair.compare(probes())
        pair.compare([("n2", "POST", "/restart", {}, (AUTH,)), ("n1", "POST", "/failover", {"candidate": "n2"}, (AUTH,)),
                      ("n1", "POST", "/switchover", {"leader": "n1", "candidate": "n2"}, (AUTH,))])
    finally:
        pair.both(lambda cluster: os.unlink(cluster["n2"].hold))
    pair.both(lambda cluster: cluster.wait_healthy(90))


def test_pending_restart(pair):
    pair.compare([("n1", "PATCH", "/config", {"postgresql": {"parameters": {"max_connections": 60}}}, (AUTH,))])
    for name in ("n1", "n2"):
        pair.wait(name, lambda node: node.status().get("pending_restart"))
        pair.both(lambda cluster, n=name: wait_for(lambda: all("pending_restart" in m for m in cluster[n].get("/cluster").json["members"]), 20))
    pair.compare([(name, "GET", path) for name in ("n1", "n2") for path in ("/patroni", "/cluster", "/metrics")])
    pair.compare([("n1", "PATCH", "/config", {"postgresql": {"parameters": {"max_connections": 50}}}, (AUTH,))])
    for name in ("n1", "n2"):
        pair.wait(name, lambda node: not node.status().get("pending_restart"))


def test_paused(pair):
    pair.compare([("n1", "PATCH", "/config", {"pause": True}, (AUTH,))])
    pause(pair)
    at = "2100-01-01T10:10:10+02:00"
    pair.compare(probes())
    pair.compare([("n1", "POST", "/restart", {"schedule": at}, (AUTH,)), ("n1", "POST", "/switchover", {"leader": "n1"}, (AUTH,)),
                  ("n1", "POST", "/switchover", {"leader": "n1", "candidate": "n2", "scheduled_at": at}, (AUTH,)),
                  ("n1", "POST", "/failover", {"candidate": "nn"}, (AUTH,))])


def test_stopped(pair):
    """In pause, so that it stays down."""
    pause(pair)

    def stop(cluster):
        for name in ("n2", "n1"):
            pid = cluster[name].postmaster_pid()
            process.kill_all([pid], 2)
            process.gone([pid])
    pair.both(stop)
    for name in ("n1", "n2"):
        pair.wait(name, lambda node: node.status()["state"] not in ("running", "unknown"))
        pair.both(lambda cluster, n=name: wait_for(
            lambda: not {m["state"] for m in cluster[n].get("/cluster").json["members"]} & {"running", "streaming"}, 30))
    pair.wait("n1", lambda node: not node.is_primary())
    pair.compare(probes())


def lead_by_n1(cluster):
    cluster.wait_healthy(90)
    if cluster.leader_name() != "n1":
        cluster["n2"].rest("POST", "/switchover", {"leader": "n2", "candidate": "n1"}, auth=("admin", "geheim"), timeout=40)
        cluster.wait_healthy(90)
    assert cluster.leader_name() == "n1"


def test_without_the_store(pair):
    change(pair, {"pause": None})
    pair.both(lead_by_n1)
    pair.both(lambda cluster: cluster.etcd.stop())
    for name in ("n1", "n2"):
        pair.wait(name, lambda node: not node.is_primary() and node.status().get("cluster_unlocked") and
                  node.status()["state"] == "running" and node.status()["role"] == "replica", 90)
    pair.wait("n1", lambda node: node.status().get("replication"))
    pair.wait("n2", lambda node: node.status().get("replication_state"))
    # those which ask the store anew take as long as the store may, so few of them
    pair.compare(request for request in probes() if request[2] not in ("/cluster", "/history", "/config"))
