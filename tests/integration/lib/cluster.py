# SPDX-License-Identifier: PostgreSQL
"""Several nodes of one scope on one etcd, and the questions one asks a cluster."""

import json
import os
import shutil
import signal
import subprocess

from . import process
from .etcd import EtcdCluster
from .node import Node, ctl_binary, merge, wait_primary
from .sampler import Sampler
from .wait import NOT_YET, Timeout, wait_for
from .writer import Writer


class Cluster:
    """kinds: the agent kind per node, for instance ["patroni", "pgvigil", "pgvigil"].
    dcs: changes to bootstrap.dcs; config: changes to every node's configuration.
    hosts: (address, netns) per node where the nodes do not live on loopback."""

    def __init__(self, kinds, dcs=None, config=None, etcd_members=1, hosts=None, etcd_hosts=None, scope="vigil",
                 directory=None):
        self.dir = directory or process.scratch()
        self.scope = scope
        self.etcd = EtcdCluster(self.dir, etcd_members, etcd_hosts)
        self.nodes, self.writers, self.samplers = [], [], []
        self.network, self.disks = None, []  # they go down with the cluster
        hosts = hosts or [("127.0.0.1", None)] * len(kinds)
        change = merge({"bootstrap": {"dcs": dcs or {}}}, config or {})
        for i, (kind, (host, netns)) in enumerate(zip(kinds, hosts)):
            self.nodes.append(Node(f"n{i + 1}", scope, self.etcd, self.dir, kind, host, netns, change))

    def __getitem__(self, name):
        return next(node for node in self.nodes if node.name == name)

    def key(self, name):
        return f"/service/{self.scope}/{name}"

    def start(self, timeout=90):
        """Starts everything and waits until all nodes stream. The first node becomes the leader."""
        self.etcd.start()
        self.nodes[0].start()
        wait_primary(self.nodes[:1], timeout)
        for node in self.nodes[1:]:
            node.start()
        self.wait_healthy(timeout)
        return self

    def start_all_at_once(self):
        self.etcd.start()
        for node in self.nodes:
            node.start()
        return self

    def close(self):
        self.rest()
        for node in self.nodes:
            node.close()
        self.etcd.close()
        for disk in self.disks:
            disk.close()
        if self.network:
            self.network.close()

    def mend(self):
        """After a test that failed: what it stopped or froze is up again, for the next one."""
        for member in self.etcd.members:
            if member.process and not member.process.alive():
                member.start()
            elif member.process:
                member.process.thaw()
        for node in self.nodes:
            if node.agent:
                postmaster = node.postmaster_pid()
                pids = process.tree(postmaster) if postmaster else []
                process.kill_all(pids + ([node.agent.pid] if node.agent.alive() else []), signal.SIGCONT)
                if not node.agent.alive():
                    node.start()

    def rest(self):
        """Whatever asked or wrote without end has stopped."""
        for helper in self.writers + self.samplers:
            helper.stop()
        self.writers, self.samplers = [], []

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    # What is so

    def alive(self):
        return [node for node in self.nodes if node.agent and node.agent.alive()]

    def leader_name(self):
        """The holder of the leader key, or None."""
        return self.etcd.get(self.key("leader"))

    def leader(self, timeout=60):
        return wait_primary(self.alive(), timeout)

    def replicas(self):
        name = self.leader_name()
        return [node for node in self.nodes if node.name != name]

    def wait_leader(self, node, timeout=60):
        wait_for(lambda: node.is_primary() and not node.in_recovery(), timeout, f"{node.name} is primary")
        return node

    def wait_new_leader(self, old, timeout=60):
        return wait_primary([node for node in self.alive() if node is not old], timeout)

    def healthy(self, nodes=None):
        """One leader, and all others stream from the same timeline as it has."""
        leader_name = self.leader_name()
        if leader_name is None:
            return False
        members = {key.rpartition("/")[2]: json.loads(value)
                   for key, value in self.etcd.prefix(self.key("members/")).items()}
        timelines = set()
        for node in nodes or self.nodes:
            status = node.status()
            timelines.add(status.get("timeline"))
            if status["state"] != "running" or node.name not in members:
                return False
            if node.name == leader_name:
                if status["role"] != "primary" or not node.is_primary():
                    return False
            elif status.get("replication_state") != "streaming":
                return False
        return len(timelines) == 1

    def wait_healthy(self, timeout=60, nodes=None):
        def healthy():
            for node in nodes or self.nodes:
                if not node.agent.alive():  # no use to wait any longer
                    raise Timeout(f"the agent of {node.name} has ended with {node.agent.popen.returncode}")
            try:
                return self.healthy(nodes)
            except NOT_YET:
                return False
        try:
            wait_for(healthy, timeout, "healthy cluster", interval=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from None

    def describe(self):
        lines = [f"leader key: {self.try_or_error(self.leader_name)}"]
        for node in self.nodes:
            lines.append(f"{node.name}: {self.try_or_error(lambda n=node: n.get('/patroni').text)}")
        return "\n".join(lines)

    @staticmethod
    def try_or_error(function):
        try:
            return function()
        except NOT_YET as error:
            return repr(error)

    def config(self):
        return self.etcd.get_json(self.key("config"))

    def patch(self, change, node=None):
        answer = (node or self.leader()).rest("PATCH", "/config", change, timeout=10)
        assert answer.status == 200, answer
        return answer.json

    # Tools

    def ctl(self, *arguments, kind=None, node=None, check=True, stdin=None, timeout=60):
        """Runs patronictl or pgvigilctl with a node's configuration file."""
        node = node or self.alive()[0]
        command = [ctl_binary(kind or node.kind), "-c", node.config_file, *arguments]
        if node.netns:
            command = ["nsenter", f"--net=/run/netns/{node.netns}", "--", *command]
        done = subprocess.run(command, input=stdin if stdin is not None else "", capture_output=True, text=True,
                              timeout=timeout, check=False, cwd=node.dir,
                              env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": self.dir,
                                   "COLUMNS": "200"})
        if check:
            assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def writer(self, kind=Writer, **more):
        writer = kind(self, **more)
        self.writers.append(writer)
        return writer.start()

    def sampler(self, **more):
        sampler = Sampler(self.nodes, **more)
        self.samplers.append(sampler)
        return sampler.start()

    def logs(self):
        return [os.path.join(self.dir, name) for name in sorted(os.listdir(self.dir)) if name.endswith(".log")] + \
               [os.path.join(self.etcd.dir, name) for name in sorted(os.listdir(self.etcd.dir))
                if name.endswith(".log")]
