# SPDX-License-Identifier: PostgreSQL
"""HAProxy in front of a cluster, with the very configuration that docs/examples ships: only
addresses and ports are replaced."""

import os
import re

from .node import ROOT
from .ports import free_port, give_back
from .process import Process, write_file

EXAMPLE = os.path.join(ROOT, "docs", "examples", "haproxy.cfg")


class HAProxy:
    def __init__(self, cluster):
        self.write_port, self.read_port, self.stats_port = free_port(), free_port(), free_port()
        self.config_file = os.path.join(cluster.dir, "haproxy.cfg")
        write_file(self.config_file, self.adapt(cluster.nodes), 0o644)
        self.process = Process([self._binary(), "-db", "-f", self.config_file],
                               os.path.join(cluster.dir, "haproxy.log"))

    @staticmethod
    def _binary():
        return "/usr/sbin/haproxy" if os.path.exists("/usr/sbin/haproxy") else "haproxy"

    def adapt(self, nodes):
        ports = {"5000": self.write_port, "5001": self.read_port, "7000": self.stats_port}
        servers = [f"    server {node.name} {node.host}:{node.pg_port} check port {node.rest_port}" for node in nodes]
        lines = []
        with open(EXAMPLE, encoding="utf-8") as file:
            for line in file.read().splitlines():
                bind = re.match(r"(\s*bind) \S+:(\d+)(.*)$", line)
                if bind:
                    line = f"{bind[1]} 127.0.0.1:{ports[bind[2]]}{bind[3]}"
                if re.match(r"\s*server ", line):
                    if lines[-len(servers):] != servers:
                        lines += servers
                    continue
                lines.append(line)
        return "\n".join(lines) + "\n"

    def start(self):
        self.process.start()
        return self

    def close(self):
        if self.process.alive():
            self.process.kill()
        give_back(self.write_port, self.read_port, self.stats_port)
