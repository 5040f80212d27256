# SPDX-License-Identifier: PostgreSQL
"""Ten thousand connections, most of them silent and the rest up to no good: probes are answered
all the while, memory stays within a bound, and the lease is renewed on time."""

import multiprocessing
import resource
import socket

import pytest

from lib import process
from lib.wait import patience, wait_for

pytestmark = pytest.mark.pgvigil

IDLE, HOSTILE = 9900, 100
SECONDS = 12
P99_S = 0.005
IDLE_S = 60  # then a silent connection is closed
# What the connections may cost: about 1 kB each and the buffers of those that send.
MEMORY_KB = 24 * 1024


@pytest.fixture(scope="class")
def node(make_cluster):
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(old[0], 12000), max(old[1], 12000)))
    except (ValueError, PermissionError):
        pytest.skip("needs 12000 file descriptors")
    yield make_cluster(1).nodes[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, old)


def connect(node, n):
    socks = []
    for _ in range(n):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((node.host, node.rest_port))
        socks.append(sock)
    return socks


class Mischief(multiprocessing.get_context("fork").Process):
    """A process of its own, so that the interpreter's lock is not what is measured. Keeps HOSTILE connections busy: half heads, half bodies, floods of requests whose answers
    nobody reads, half-closed sockets, handshakes of TLS that stall. Who is cut comes again."""

    KINDS = ["head", "body", "flood", "half-closed", "tls"]

    def __init__(self, node):
        super().__init__(daemon=True)
        context = multiprocessing.get_context("fork")
        self.node, self.done = node, context.Event()
        self.sent = {kind: context.Value("i", 0, lock=False) for kind in self.KINDS}

    def begin(self, kind):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(5)
        sock.connect((self.node.host, self.node.rest_port))
        sock.setblocking(False)
        self.sent[kind].value += 1
        if kind == "half-closed":
            sock.send(b"GET /primary HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
        return sock

    PIECES = {"head": b"X", "body": b" ", "tls": b"\x16\x03\x01", "half-closed": b"",
              "flood": b"GET /patroni HTTP/1.1\r\nHost: x\r\n\r\n" * 50}
    FIRST = {"head": b"GET /primary HTTP/1.1\r\nX-", "body": b"PATCH /config HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"}

    def run(self):
        socks = []
        try:
            while not self.done.wait(0.02):
                if len(socks) < HOSTILE:
                    kind = self.KINDS[len(socks) % len(self.KINDS)]
                    socks.append([kind, self.begin(kind)])
                    if kind in self.FIRST:
                        socks[-1][1].send(self.FIRST[kind])
                for entry in socks:
                    kind, sock = entry
                    try:
                        sock.send(self.PIECES[kind])
                    except BlockingIOError:
                        pass
                    except OSError:
                        sock.close()
                        entry[1] = self.begin(kind)
        finally:
            for _, sock in socks:
                sock.close()


class Control:
    """A server which does nothing but answer, in a process of its own: how long an answer takes it
    beside the same mischief is what this machine costs anybody."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.host, self.rest_port = self.sock.getsockname()
        self.process = multiprocessing.get_context("fork").Process(target=self.serve, daemon=True)
        self.process.start()

    def serve(self):
        while True:
            with self.sock.accept()[0] as client:
                client.recv(100)
                client.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

    def close(self):
        self.process.kill()
        self.process.join(10)
        self.sock.close()


def ask(node):
    begin = process.now()
    with socket.create_connection((node.host, node.rest_port), 5) as sock:
        sock.sendall(b"OPTIONS /primary HTTP/1.0\r\n\r\n")
        answer = sock.recv(100)
    assert b" 200 " in answer
    return process.now() - begin


def probe(nodes, seconds):
    """Per node the durations of OPTIONS /primary, sorted: connections of their own, in turns."""
    found, end = [[] for _ in nodes], process.now() + seconds
    while process.now() < end:
        for node, durations in zip(nodes, found):
            durations.append(ask(node))
    return [sorted(durations) for durations in found]


def p99(durations):
    return durations[int(len(durations) * 0.99)]


class TestTenThousand:
    def test_probes_memory_and_the_lease(self, node):
        # beside other work the limit is what that costs anybody; alone on the machine there is no excuse
        quiet = patience() == 1.0
        before = process.memory_kb(node.agent.pid)["private_dirty"]
        log_offset, idle, control, begun = node.log_size(), [], Control(), process.now()
        mischief = Mischief(node)
        try:
            while len(idle) < IDLE:
                idle += connect(node, 300)
                ask(node)  # the backlog has been taken up
            wait_for(lambda: open_connections(node) >= IDLE, 10, "the connections to be open")
            mischief.start()
            durations, controls = probe([node, control], SECONDS)
            peak = process.memory_kb(node.agent.pid)["private_dirty"]
            still_open, held_s = open_connections(node), process.now() - begun
        finally:
            control.close()
            mischief.done.set()
            if mischief.pid:
                mischief.join(10)
            for sock in idle:
                sock.close()
        sent = {kind: value.value for kind, value in mischief.sent.items()}
        allowed = P99_S if quiet else 2 * p99(controls) + P99_S
        print(f"{still_open} open, {len(durations)} probes, p99 {p99(durations) * 1000:.2f} ms, worst {durations[-1] * 1000:.2f} ms, "
              f"the control's p99 {p99(controls) * 1000:.2f} ms; {before} -> {peak} kB; {sent}")
        assert still_open >= IDLE or held_s >= IDLE_S, f"{still_open} open after {held_s:.0f} s"
        assert p99(durations) <= allowed
        assert peak - before <= MEMORY_KB
        assert all(sent.values())
        said = node.log_text(log_offset)
        assert "demot" not in said and "lease unproven" not in said
        # and when all of them are gone the agent is as it was
        wait_for(lambda: open_connections(node) < 10, 30, "the connections to be gone")
        assert node.is_primary()


def open_connections(node):
    text = node.get("/metrics").text
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("pgvigil_rest_connections{"))
