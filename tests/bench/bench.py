#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""pgvigil and Patroni, measured by the same scenario on the same machine in one run.

    make bench
    tests/bench/bench.py --agents patroni --only switchover,crash --repeat 1

Each agent gets a fresh cluster with production timing (ttl 30, loop_wait 10) and PostgreSQL with
fsync on. The table gives medians; all single values are in build/bench.json. The machine should
be otherwise idle: load from elsewhere is printed, not corrected for. Outages are those of a client with
a session to every node: how a driver searches for the new primary is the same for both.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration"))

from lib import process  # noqa: E402
from lib.cluster import Cluster  # noqa: E402
from lib.etcd import KeyWatch  # noqa: E402
from lib.node import KINDS, agent_binary, pg_bin_dir  # noqa: E402
from lib.process import now  # noqa: E402
from lib.wait import wait_for  # noqa: E402
from lib.writer import SessionWriter  # noqa: E402

IDLE_CONNECTIONS = 1000
PRODUCTION = {"ttl": 30, "loop_wait": 10, "retry_timeout": 10}

# name: (what it is, unit, whether less is better)
METRICS = {
    "threads": ("threads of an agent", "", True),
    "commit_kb": ("commit charge of an agent", "kB", True),
    "private_dirty_kb": ("Private_Dirty of an agent", "kB", True),
    "rss_kb": ("resident memory of an agent", "kB", True),
    "agent_cpu": ("CPU of the idle leader's agent, per minute", "ms", True),
    "replica_agent_cpu": ("CPU of an idle replica's agent, per minute", "ms", True),
    "pg_cpu": ("CPU of the leader's PostgreSQL due to its agent, per minute", "ms", True),
    "rest_keepalive_rps": ("GET /primary, 16 connections kept", "req/s", False),
    "rest_keepalive_p99": ("  p99", "ms", True),
    "rest_new_rps": ("GET /primary, 16 at once, each its own connection", "req/s", False),
    "rest_new_p99": ("  p99", "ms", True),
    "rest_new_max": ("  slowest", "ms", True),
    "rest_cpu": ("CPU of the agent per 1,000 such requests", "ms", True),
    "idle_answered": (f"GET /primary answered beside {IDLE_CONNECTIONS:,} idle connections", "%", False),
    "idle_p99": ("  p99", "ms", True),
    "join": ("two replicas join an empty leader: start to streaming", "s", True),
    "switchover": ("writes stop for a switchover", "s", True),
    "crash": ("writes stop for a killed postmaster", "s", True),
    "takeover": ("dead leader's key gone to first write", "s", True),
    "node_loss": ("writes stop for a killed node (ttl 30)", "s", True),
}


def own(node):
    """The agent's process, and the one that writes its flight recording."""
    return [pid for pid in process.tree(node.agent.pid)
            if pid == node.agent.pid or "pgvigil-recorder" in process.cmdline(pid)]


class Bench:
    def __init__(self, kind, repeat, seconds):
        self.kind, self.repeat, self.seconds = kind, repeat, seconds
        self.values = {}
        self.failures = []

    def add(self, metric, value):
        self.values.setdefault(metric, []).append(value)
        print(f"  {self.kind:8} {metric:20} {value:.4g}", flush=True)

    def cluster(self, size=3):
        return Cluster([self.kind] * size, scope="bench", dcs=PRODUCTION,
                       config={"postgresql": {"parameters": {"fsync": True, "autovacuum": False}}})

    def run(self, scenarios):
        for scenario in scenarios:
            print(f"{self.kind}: {scenario}", flush=True)
            try:
                getattr(self, f"measure_{scenario}")()
            except (AssertionError, OSError) as error:
                self.failures.append(f"{scenario}: {error}")
                print(f"  FAILED {error}", file=sys.stderr, flush=True)

    # Footprint and idle cost

    def measure_idle(self):
        cluster = self.cluster()
        try:
            cluster.start(120)
            leader, replica = cluster.leader(), cluster.replicas()[0]
            for node in cluster.nodes:  # as in use: probed by a load balancer
                for _ in range(50):
                    node.get("/primary"), node.get("/patroni")
            for _ in range(self.repeat):
                usage = self.cpu_over_a_minute(leader, replica)
                self.add("agent_cpu", usage["agent"])
                self.add("replica_agent_cpu", usage["replica_agent"])
                with_agent = usage["postgres"]
                # the same minute with the agent standing still, its lease left to the others' mercy:
                # in pause nobody takes over
                cluster.patch({"pause": True}, leader)
                for node in cluster.nodes:
                    wait_for(lambda n=node: n.status().get("pause"), 30)
                leader.freeze_agent()
                without = self.cpu_over_a_minute(leader, replica)["postgres"]
                leader.thaw_agent()
                wait_for(lambda: leader.rest("PATCH", "/config", {"pause": None}).status == 200, 40)
                cluster.wait_healthy(90)
                self.add("pg_cpu", with_agent - without)
            for node in cluster.nodes:
                parts = [process.memory_kb(pid) for pid in own(node)]
                memory = {what: sum(part[what] for part in parts) for what in parts[0]}
                self.add("threads", process.threads(node.agent.pid))
                self.add("commit_kb", memory["commit"])
                self.add("private_dirty_kb", memory["private_dirty"])
                self.add("rss_kb", memory["rss"])
        finally:
            cluster.close()
            cluster.remove()

    def cpu_over_a_minute(self, leader, replica):
        """CPU in ms per minute."""
        def read():
            return {"agent": sum(map(self.cpu_ns, own(leader))), "replica_agent": sum(map(self.cpu_ns, own(replica))),
                    "postgres": sum(self.cpu_ns(pid) for pid in process.tree(leader.postmaster_pid()))}
        begin, at = read(), now()
        time.sleep(self.seconds)  # the length of the measurement
        end, until = read(), now()
        return {key: (end[key] - begin[key]) / 1e6 * 60 / (until - at) for key in begin}

    @staticmethod
    def cpu_ns(pid):
        """CPU time of all threads of a process to the nanosecond, and of the children it has
        reaped, such as backends that came and went, in clock ticks."""
        total = 0
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat", encoding="utf-8") as file:
                    total += int(file.read().split()[0])
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return 0  # it has just ended: its parent has reaped it, and counts it
        return total + sum(int(field) for field in fields[13:15]) * 10**9 // os.sysconf("SC_CLK_TCK")

    # REST

    def wrk(self, node, *arguments, connections=16):
        done = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", "-d5s", "--timeout", "10s", "--latency", *arguments,
             f"http://{node.host}:{node.rest_port}/primary"], capture_output=True, text=True, check=True, timeout=60)
        out = done.stdout
        unit = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}

        def ms(text):
            found = re.match(r"([\d.]+)(us|ms|s|m)", text)
            return float(found[1]) * unit[found[2]]
        latency = re.search(r"Latency\s+\S+\s+\S+\s+(\S+)", out)
        return {"rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
                "requests": int(re.search(r"(\d+) requests in", out)[1]),
                "p99": ms(re.search(r"99%\s+(\S+)", out)[1]), "max": ms(latency[1]), "text": out}

    def measure_rest(self):
        cluster = self.cluster(1)
        try:
            cluster.start(120)
            node = cluster.leader()
            for _ in range(self.repeat):
                kept = self.wrk(node)
                self.add("rest_keepalive_rps", kept["rps"])
                self.add("rest_keepalive_p99", kept["p99"])
                before = self.cpu_ns(node.agent.pid)
                fresh = self.wrk(node, "-H", "Connection: close")
                used = self.cpu_ns(node.agent.pid) - before
                self.add("rest_new_rps", fresh["rps"])
                self.add("rest_new_p99", fresh["p99"])
                self.add("rest_new_max", fresh["max"])
                self.add("rest_cpu", used / 1e6 / fresh["requests"] * 1000)
            for _ in range(self.repeat):
                self.beside_idle_connections(node)
        finally:
            cluster.close()
            cluster.remove()

    def beside_idle_connections(self, node):
        """Connections that send nothing, as a port scan, a broken proxy or a bored client has."""
        idle = []
        try:
            for _ in range(IDLE_CONNECTIONS):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex((node.host, node.rest_port))
                idle.append(sock)
            took = []
            for _ in range(20):
                begin = now()
                try:
                    if node.get("/primary", timeout=2).status == 200:
                        took.append((now() - begin) * 1000)
                except OSError:
                    pass
            self.add("idle_answered", 100 * len(took) / 20)
            if took:
                self.add("idle_p99", max(took))
        finally:
            for sock in idle:
                sock.close()
        wait_for(node.is_primary, 120, "answers after the idle connections have gone")

    # Joining and losing

    def measure_join(self):
        for _ in range(self.repeat):
            cluster = self.cluster()
            try:
                cluster.etcd.start()
                cluster.nodes[0].start()
                cluster.wait_leader(cluster.nodes[0], 120)
                begin = now()
                for node in cluster.nodes[1:]:
                    node.start()
                leader = cluster.nodes[0]
                wait_for(lambda: leader.value("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == 2,
                         120, "two streaming replicas")
                self.add("join", now() - begin)
            finally:
                cluster.close()
                cluster.remove()

    def on_one_cluster(self, hurt):
        cluster = self.cluster()
        try:
            cluster.start(120)
            for _ in range(self.repeat):
                cluster.wait_healthy(120)
                writer = cluster.writer(SessionWriter)
                hurt(cluster, writer)
                cluster.wait_healthy(120)
                writer.stop()
        finally:
            cluster.close()
            cluster.remove()

    def measure_switchover(self):
        def hurt(cluster, writer):
            old, begin = cluster.leader(), now()
            answer = old.rest("POST", "/switchover", {"leader": old.name}, timeout=60)
            assert answer.status == 200, answer
            writer.wait_writes(60, begin)
            new = cluster.wait_new_leader(old, 60)
            writer.wait_writes(10)
            assert not writer.missing(new), "acknowledged rows are lost"
            self.add("switchover", writer.outage(begin)[0])
        self.on_one_cluster(hurt)

    def measure_crash(self):
        def hurt(cluster, writer):
            leader, begin = cluster.leader(), now()
            leader.kill_postmaster()
            wait_for(lambda: writer.errors_since(begin), 10)
            writer.wait_writes(120)
            self.add("crash", writer.outage(begin)[0])
        self.on_one_cluster(hurt)

    def measure_takeover(self):
        def hurt(cluster, writer):
            old, watch = cluster.leader(), KeyWatch(cluster.etcd, cluster.key("leader"))
            killed = now()
            old.kill_hard()
            gone = watch.gone_at(killed, 60)
            writer.wait_writes(60, gone)
            self.add("takeover", writer.first_after(gone) - gone)
            self.add("node_loss", writer.outage(killed)[0])
            watch.close()
            old.start()
        self.on_one_cluster(hurt)


SCENARIOS = ("idle", "rest", "join", "switchover", "crash", "takeover")


def number(value):
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(results, kinds):
    width = max(len(text) + len(unit) + 3 for text, unit, _ in METRICS.values())
    head = "".join(f"{kind:>12}" for kind in kinds) + (f"{'ratio':>10}" if len(kinds) == 2 else "")
    lines = [f"{'':{width}}{head}", "-" * (width + len(head))]
    for name, (text, unit, less) in METRICS.items():
        medians = [statistics.median(results[kind][name]) if results[kind].get(name) else None for kind in kinds]
        if not any(value is not None for value in medians):
            continue
        label = f"{text} ({unit})" if unit else text
        line = f"{label:{width}}" + "".join(f"{number(value):>12}" for value in medians)
        if len(kinds) == 2 and None not in medians and medians[0] > 0 and medians[1] > 0:
            ratio = medians[1] / medians[0] if less else medians[0] / medians[1]
            line += f"{ratio:>9.3g}x"
        lines.append(line)
    return "\n".join(lines)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    postgres = subprocess.run([os.path.join(pg_bin_dir(), "postgres"), "--version"], capture_output=True, text=True,
                              check=True).stdout.strip()
    versions = {kind: subprocess.run([agent_binary(kind), "--version"], capture_output=True, text=True,
                                     check=False).stdout.strip() for kind in KINDS if os.path.exists(agent_binary(kind))}
    return {"cpu": model[1] if model else "?", "cores": os.cpu_count(), "kernel": os.uname().release, "postgres": postgres,
            "agents": versions, "load_before": os.getloadavg()[0], "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--agents", default="pgvigil,patroni")
    parser.add_argument("--only", default=",".join(SCENARIOS), help="of " + ",".join(SCENARIOS))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=60, help="how long CPU is measured")
    parser.add_argument("--json", default=os.path.join(ROOT, "build", "bench.json"))
    arguments = parser.parse_args()
    kinds = arguments.agents.split(",")
    for kind in kinds:
        if not os.access(agent_binary(kind), os.X_OK):
            sys.exit(f"{agent_binary(kind)} is not there")
    about = machine()
    print(json.dumps(about, indent=1))
    results, failures = {}, {}
    for kind in kinds:
        bench = Bench(kind, arguments.repeat, arguments.seconds)
        bench.run(arguments.only.split(","))
        results[kind], failures[kind] = bench.values, bench.failures
    about["load_after"] = os.getloadavg()[0]
    print(f"\n{about['cpu']}, {about['cores']} cores, {about['postgres']}, medians of {arguments.repeat} repetitions, "
          f"load {about['load_before']:.1f} before\n")
    print(table(results, kinds))
    os.makedirs(os.path.dirname(arguments.json), exist_ok=True)
    with open(arguments.json, "w", encoding="utf-8") as file:
        json.dump({"machine": about, "results": results, "failures": failures}, file, indent=1)
    print(f"\nall values: {arguments.json}")
    failed = [failure for kind in kinds for failure in failures[kind]]
    for failure in failed:
        print(f"FAILED {failure}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
