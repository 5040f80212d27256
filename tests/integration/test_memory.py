# SPDX-License-Identifier: PostgreSQL
"""The system gives the agent no more memory: it keeps its lease and says what is the matter."""

import os
import socket
import subprocess

import pytest

from lib import process
from lib.certificates import Authority
from lib.process import now
from lib.wait import wait_for

TTL = 20  # s, the least there is
CONNECTIONS = 3000
SIZES = (6000, 100, 3000, 700, 1500, 16000)


pytestmark = pytest.mark.pgvigil


@pytest.fixture(scope="class", params=["plain", "tls"])
def cluster(make_cluster, request):
    """With the store over TLS, whose every handshake wants memory."""
    cluster = make_cluster(1, start=False)
    if request.param == "tls":
        cluster.nodes[0].config["etcd3"] = cluster.etcd.secure(Authority(cluster.dir, "authority"))
    return cluster.start()


def address_space(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def limit(node, size):
    """By the user that the agent runs as: another's limits are root's only with a capability."""
    command = ["prlimit", f"--pid={node.agent.pid}", f"--as={size}:"]
    user = process.server_user()
    switch = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    subprocess.run(command, check=True, timeout=10, **switch)


def fill(node, sockets):
    """Fifty more connections with half a request each, of all sizes: what malloc still has in large
    pieces and small. They end by themselves after a while, so this goes on until it is enough."""
    for n in range(50):
        sock = socket.create_connection((node.host, node.rest_port), timeout=5)
        sock.settimeout(0.5)
        sockets.append(sock)
        try:
            sock.sendall(b"GET /primary HTTP/1.1\r\nHost: x\r\nX-Fill: " + b"x" * SIZES[n % len(SIZES)])
        except OSError:
            pass
    if len(sockets) > CONNECTIONS:
        for sock in sockets[:50]:
            sock.close()
        del sockets[:50]


def lives_on_the_reserve(node, offset=0):
    return "living on the reserve" in node.log_text(offset)


def test_leads_on_without_memory(cluster):
    leader = cluster.leader()
    postmaster = leader.postmaster_pid()
    writer = cluster.writer()
    begin = now()
    sockets = []
    limit(leader, address_space(leader.agent.pid))
    try:
        wait_for(lambda: fill(leader, sockets) or lives_on_the_reserve(leader), 60, "the reserve to be used")
        # longer than the lease
        wait_for(lambda: now() > begin + TTL + 5, TTL + 30)
        assert leader.postmaster_pid() == postmaster
        assert "demot" not in leader.log_text()
        assert cluster.etcd.get(cluster.key("leader")) == leader.name
        assert writer.outage(begin)[0] < 2
    finally:
        for sock in sockets:
            sock.close()
        limit(leader, "unlimited")
    wait_for(lambda: leader.get("/primary").status == 200, 20, "an answer")
    wait_for(lambda: "there is memory again" in leader.log_text(), 40, "the end of it to be said")
    cluster.patch({"postgresql": {"parameters": {"work_mem": "5MB"}}}, leader)
    wait_for(lambda: leader.value("SHOW work_mem") == "5MB", 30, "the change")
    writer.stop()
    assert not writer.missing(leader)


@pytest.mark.parametrize("store", ["stopped", "frozen"])
def test_fences_without_memory(cluster, store):
    """Neither the resolver nor libpq, neither TLS nor a child may be needed for stepping back in time."""
    cluster.wait_healthy(60)
    leader = cluster.leader()
    writer = cluster.writer()
    offset = leader.log_size()
    sockets = []
    limit(leader, address_space(leader.agent.pid))
    try:
        wait_for(lambda: fill(leader, sockets) or lives_on_the_reserve(leader, offset), 60, "the reserve to be used")
        writer.wait_writes(5)
        (cluster.etcd.stop if store == "stopped" else cluster.etcd.freeze)()
        gone = now()

        def quiet():
            fill(leader, sockets)
            return now() - max(writer.last(), gone) > 2

        wait_for(quiet, TTL + 15, "the end of all writes")
        assert writer.last() - gone < TTL, "wrote on after the lease had ended"
    finally:
        for sock in sockets:
            sock.close()
        limit(leader, "unlimited")
        if store == "stopped":
            cluster.etcd.start()
        cluster.etcd.thaw()
    back = now()
    writer.wait_writes(60, back)
    cluster.wait_healthy(60)
    writer.stop()
    assert not writer.missing(leader)


def test_connects_anew_without_memory(cluster):
    """Every connection to the store is lost: the lease is kept by new ones, or nothing is written when it ends."""
    cluster.wait_healthy(60)
    leader = cluster.leader()
    writer = cluster.writer()
    offset = leader.log_size()
    sockets, key = [], cluster.key("leader")
    limit(leader, address_space(leader.agent.pid))
    try:
        wait_for(lambda: fill(leader, sockets) or lives_on_the_reserve(leader, offset), 60, "the reserve to be used")
        writer.wait_writes(5)
        cluster.etcd.stop()
        cluster.etcd.start()
        end, gone = now() + TTL + 10, []

        def over():
            fill(leader, sockets)
            if cluster.etcd.get(key) is None:
                last = writer.last()
                if cluster.etcd.get(key) is None:
                    gone.append(writer.last() - last)
            return now() > end

        wait_for(over, TTL + 30)
        print(f"without a lease for {len(gone)} looks")
        assert not any(gone), "wrote without a lease"
    finally:
        for sock in sockets:
            sock.close()
        limit(leader, "unlimited")
    back = now()
    writer.wait_writes(60, back)
    cluster.wait_healthy(60)
    writer.stop()
    assert not writer.missing(leader)
