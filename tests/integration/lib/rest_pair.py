# SPDX-License-Identifier: PostgreSQL
"""Two clusters of equal shape, one of each agent, which are put the same requests: for the tests
that compare our REST API with Patroni's (test_rest_conformance.py says how they differ)."""

import base64
import json
import re
import socket
import ssl
import threading

from . import process
from .cluster import Cluster
from .wait import wait_for

AUTH = "Authorization: Basic " + base64.b64encode(b"admin:geheim").decode()
CONFIG = {
    "tags": {"zone": "a", "clonefrom": True, "number": 3, "ratio": 1.4, "nofailover": False},
    "restapi": {"authentication": {"username": "admin", "password": "geheim"}, "server_tokens": "productonly",
                "http_extra_headers": {"X-One": "1", "X-Two": "zwei"}},
}
IN_42 = ("patroni_failsafe_mode_enabled", "patroni_failsafe_member", "patroni_failover_priority")
HEADERS_THAT_MATTER = ("server", "www-authenticate", "lsn", "content-type", "x-one", "x-two")
DIED = {"status": None}


def exchange(node, method, path, body=None, headers=(), version="1.0", timeout=30, tls=None, source="127.0.0.1"):
    """One request as bytes, and the answer until the other side closes. tls: an ssl.SSLContext."""
    lines = [f"{method} {path} HTTP/{version}", "Host: x", "Connection: close", *headers]
    if body is not None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines.append(f"Content-Length: {len(body)}")
    got = b""
    try:
        with socket.create_connection((node.host, node.rest_port), timeout, (source, 0)) as sock:
            sock = tls.wrap_socket(sock, server_hostname="localhost") if tls else sock
            sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
            while chunk := sock.recv(65536):
                got += chunk
    except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
        pass
    if not got:
        return DIED
    head, _, text = got.partition(b"\r\n\r\n")
    status, *found = head.decode("latin-1").split("\r\n")
    return {"status": int(status.split()[1]), "reason": status.split(None, 2)[2],
            "headers": [tuple(line.split(": ", 1)) for line in found], "text": text.decode("utf-8", "replace")}


def headers(answer):
    """Those that matter, in order; none where only the status counts, or on an error page."""
    found = [(name.lower(), value) for name, value in answer["headers"] if name.lower() in HEADERS_THAT_MATTER]
    return found if answer["text"] else []


STAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d)?")
VARIES = {"location", "received_location", "replayed_location", "dcs_last_seen", "port", "database_system_identifier",
          "lag", "receive_lag", "replay_lag", "timeline"}
LSN = re.compile(r"^[0-9A-F]+/[0-9A-F]+$")


def normal(value, key=None):
    """Without what differs in every run: times, positions, ports."""
    if isinstance(value, dict):
        return [(k, normal(v, k)) for k, v in value.items() if k != "pgvigil"]
    if isinstance(value, list):
        return [normal(v) for v in value]
    if key in VARIES and value is not None:
        return f"<{type(value).__name__}>"
    if key == "replayed_timestamp":  # null until something was replayed since the start
        return "<time or null>"
    if isinstance(value, str):
        if LSN.match(value):
            return "<lsn>"
        value = re.sub(r"127\.0\.0\.1:\d+", "<address>", value)
        if value.startswith("2100-"):
            return value
        return STAMP.sub(lambda m: "<time" + (m[2] or "") + ">", value)
    return value


def body(answer):
    content = dict((name.lower(), value) for name, value in answer["headers"]).get("content-type", "")
    if content == "application/json":
        return normal(json.loads(answer["text"]))
    if content == "text/plain":
        return metrics(answer["text"])
    if content.startswith("text/html;"):
        return "Server does not support this operation" in answer["text"]
    return normal(answer["text"])


def metrics(text):
    """Help, type and labels as they are; values of those that hang on the moment by their kind."""
    found = []
    skip = False
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
            skip = name in IN_42 or name.startswith("pgvigil_")
        if skip:
            continue
        if not line.startswith("#") and re.search("location|time|last_seen", line.split("{")[0]):
            name, _, value = line.rpartition(" ")
            if name.startswith("patroni_xlog_replayed_timestamp") and value == "0":
                value = "0.0"
            line = f"{name} {'0' if value == '0' else '<float>' if '.' in value else '<int>'}"
        found.append(line)
    return found


def comparable(answer):
    if answer is DIED:
        return DIED
    return {"status": answer["status"], "reason": answer["reason"], "headers": headers(answer), "body": body(answer)}


class Pair:
    """The two clusters; nodes are meant by their names, which are the same in both."""

    def __init__(self, size=2):
        self.clusters = [Cluster([kind] * size, config=CONFIG) for kind in ("patroni", "pgvigil")]
        for cluster in self.clusters:
            for node in cluster.nodes:  # while there is such a file, a standby does not come up
                node.hold = f"{node.dir}/hold"
                node.config["postgresql"]["recovery_conf"] = {
                    "restore_command": f"while test -e {node.hold}; do sleep 0.1; done; false"}
        self.both(lambda cluster: cluster.start())

    def both(self, function):
        failed = []

        def run(cluster):
            try:
                function(cluster)
            except BaseException as error:  # told to the test
                failed.append(error)
        threads = [threading.Thread(target=run, args=(cluster,)) for cluster in self.clusters]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    def wait(self, name, condition, timeout=60):
        self.both(lambda cluster: wait_for(lambda: condition(cluster[name]), timeout, f"{name} of {cluster.nodes[0].kind}"))

    def ask(self, name, *request, **more):
        answers = [None, None]

        def one(cluster):
            answers[self.clusters.index(cluster)] = exchange(cluster[name], *request, **more)
        self.both(one)
        return answers

    def compare(self, requests, **more):
        """(name, method, path[, body[, headers]]) …: every difference at once. more: as exchange()."""
        wrong = []
        for request in requests:
            if len(wrong) == 12:  # each was waited for: they have drifted apart
                break
            name, method, path, sent, extra, *_ = *request, *(None, ())[len(request) - 3:]
            theirs, ours = self.ask(name, method, path, sent, extra, **more)
            deadline = process.now() + 5
            while method in ("GET", "HEAD", "OPTIONS") and process.now() < deadline and \
                    comparable(theirs) != comparable(ours):  # one of them may be in motion, say reconnecting
                theirs, ours = self.ask(name, method, path, sent, extra, **more)
            if theirs is DIED:  # its handler died: we say why instead
                if ours is DIED or ours["status"] not in (400, 501, 503):
                    wrong.append(f"{request}\n  theirs: the connection was closed\n  ours:   {ours}")
                continue
            a, b = comparable(theirs), comparable(ours)
            if a != b:
                fields = [key for key in a if b is DIED or a[key] != b[key]]
                wrong.append(f"{request}\n" + "\n".join(
                    f"  theirs: {key} {a[key]}\n  ours:   {key} {b.get(key)}" for key in fields))
        assert not wrong, f"{len(wrong)} differences\n" + "\n".join(wrong)

    def refuse(self, requests, **more):
        """Neither gives any answer at all, as when a handshake fails."""
        for name, *request in requests:
            assert self.ask(name, *request, **more) == [DIED, DIED], (name, *request)

    def close(self):
        for cluster in self.clusters:
            cluster.close()
            cluster.remove()
