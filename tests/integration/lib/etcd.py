# SPDX-License-Identifier: PostgreSQL
"""An etcd cluster of one or three members, and a small client over etcd's JSON gateway."""

import base64
import http.client
import json
import os
import threading

from .ports import free_port, give_back
from .process import Process, now, own_dir
from .wait import wait_for


def _b64(text):
    return base64.b64encode(text.encode()).decode()


def _text(b64):
    return base64.b64decode(b64).decode()


class EtcdMember:
    def __init__(self, cluster, name, host, netns=None):
        self.cluster, self.name, self.host, self.netns = cluster, name, host, netns
        self.port, self.peer_port = free_port(), free_port()
        self.dir = own_dir(os.path.join(cluster.dir, name))
        self.process = None
        self.secure_port = self.certificate = None

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    @property
    def secure_address(self):
        return f"{self.host}:{self.secure_port}"

    def start(self):
        peers = ",".join(f"{m.name}=http://{m.host}:{m.peer_port}" for m in self.cluster.members)
        url, peer_url = f"http://{self.address}", f"http://{self.host}:{self.peer_port}"
        advertised, secure = url, []
        if self.certificate:
            advertised = f"https://{self.secure_address}"
            url += f",{advertised}"
            secure = ["--cert-file", self.certificate[0], "--key-file", self.certificate[1]]
        self.process = Process(
            ["etcd", "--name", self.name, "--data-dir", os.path.join(self.dir, "data"),
             "--listen-client-urls", url, "--advertise-client-urls", advertised, *secure,
             "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
             "--initial-cluster", peers, "--logger", "zap", "--log-level", "warn"],
            os.path.join(self.cluster.dir, f"{self.name}.log"), netns=self.netns, cwd=self.dir)
        self.process.start()
        return self


class EtcdCluster:
    """members=1 or 3. hosts: (address, netns) per member where they do not live on loopback."""

    def __init__(self, directory, members=1, hosts=None):
        self.dir = own_dir(os.path.join(directory, "etcd"))
        hosts = hosts or [("127.0.0.1", None)] * members
        self.members = []
        for i, (host, netns) in enumerate(hosts):
            self.members.append(EtcdMember(self, f"etcd{i + 1}", host, netns))

    @property
    def addresses(self):
        return [member.address for member in self.members]

    def secure(self, authority):
        """Before start(): the nodes are served over TLS. Returns what an agent is to be told; ours stays plain."""
        for i, member in enumerate(self.members):
            member.secure_port = free_port()
            member.certificate = authority.issue(member.name, 1 + i, password=None)
        return {"hosts": [member.secure_address for member in self.members], "protocol": "https",
                "cacert": authority.cacert}

    def start(self):
        for member in self.members:
            member.start()
        self.wait_healthy()
        return self

    def stop(self):
        """Ends all members; start_again() takes up the same data."""
        for member in self.members:
            if member.process:
                member.process.thaw()
                member.process.stop()

    def close(self):
        for member in self.members:
            if member.process and member.process.alive():
                member.process.kill()
            give_back(member.port, member.peer_port, *([member.secure_port] if member.secure_port else []))

    def freeze(self):
        for member in self.members:
            member.process.freeze()

    def thaw(self):
        for member in self.members:
            member.process.thaw()

    def wait_healthy(self, timeout=30):
        wait_for(lambda: self.put("/harness/health", "x") is not None, timeout, "etcd healthy")

    # The client: asks the members in turn, the first that answers counts.

    def call(self, path, body, timeout=3):
        error = None
        for member in self.members:
            connection = http.client.HTTPConnection(member.host, member.port, timeout=timeout)
            try:
                connection.request("POST", f"/v3/{path}", json.dumps(body))
                response = connection.getresponse()
                text = response.read()
                if response.status == 200:
                    return json.loads(text)
                error = OSError(f"etcd says {response.status}: {text[:200]!r}")
            except (OSError, http.client.HTTPException) as failed:
                error = failed
            finally:
                connection.close()
        raise error

    def put(self, key, value, lease=0):
        return self.call("kv/put", {"key": _b64(key), "value": _b64(value), "lease": lease})

    def get(self, key):
        found = self.call("kv/range", {"key": _b64(key)}).get("kvs")
        return _text(found[0].get("value", "")) if found else None

    def get_json(self, key):
        text = self.get(key)
        return None if text is None else json.loads(text)

    def delete(self, key):
        return self.call("kv/deleterange", {"key": _b64(key)})

    def prefix(self, prefix):
        """{key: value} of everything below prefix."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        found = self.call("kv/range", {"key": _b64(prefix), "range_end": _b64(end)}).get("kvs", [])
        return {_text(kv["key"]): _text(kv.get("value", "")) for kv in found}


class KeyWatch(threading.Thread):
    """Notes when a key changes: events is a list of (monotonic time, value or None when gone)."""

    def __init__(self, etcd, key, member=0):
        super().__init__(daemon=True)
        self.events = []
        host, port = etcd.members[member].host, etcd.members[member].port
        self.connection = http.client.HTTPConnection(host, port, timeout=600)
        self.connection.request("POST", "/v3/watch", json.dumps(
            {"create_request": {"key": _b64(key)}}))
        self.response = self.connection.getresponse()
        created = json.loads(self.response.readline())
        assert created["result"].get("created"), created
        self.start()

    def run(self):
        try:
            while line := self.response.readline():
                at = now()
                for event in json.loads(line)["result"].get("events", []):
                    gone = event.get("type") == "DELETE"
                    self.events.append((at, None if gone else _text(event["kv"].get("value", ""))))
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            pass

    def gone_at(self, since=0.0, timeout=60):
        """When the key was first deleted after since."""
        def first():
            for at, value in list(self.events):
                if value is None and at >= since:
                    return at
            return None
        return wait_for(first, timeout, "deletion of the watched key", interval=0.01)

    def close(self):
        sock = self.connection.sock
        if sock:
            try:
                sock.shutdown(2)
            except OSError:
                pass
        self.connection.close()
