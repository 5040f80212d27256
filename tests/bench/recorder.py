#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""What the flight recorder costs an idle primary: the same agent with it and without it, in turns.

    tests/bench/recorder.py [--pairs 15] [--cycles 20]

Every pair is one window of quiet cycles with the recorder and one without it, in changing order, at the smallest
loop_wait (1 s); it is switched by a reload, as in use. What counts is the CPU time of the agent and, with it, of the
writer's process, user and kernel, to the nanosecond (/proc/PID/schedstat). Load from elsewhere makes a window longer or
shorter, so the windows before and after are its measure: the figure is the median over the pairs, with an interval that
holds the true median in 95 of 100 runs. Exits with 1 when that is above --most (2 %).
"""

import argparse
import math
import os
import statistics
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration"))

from lib import process  # noqa: E402
from lib.cluster import Cluster  # noqa: E402
from lib.wait import wait_for  # noqa: E402


def cpu_ns(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/schedstat", encoding="utf-8") as file:
            total += int(file.read().split()[0])
    return total


def writers(node):
    return [pid for pid in process.children(node.agent.pid) if "pgvigil-recorder\0write\0" in process.cmdline(pid)]


def metric(node, name):
    return next(int(line.split()[1]) for line in node.get("/metrics").text.splitlines() if line.startswith(name + "{"))


def switch(node, on):
    node.config["recorder"] = {"enabled": on}
    node.write_config()
    node.hup()
    wait_for(lambda: node.get("/decisions").status == (200 if on else 503), 10, "the recorder to be switched")
    wait_for(lambda: len(writers(node)) == on, 10, "the writer's process")
    time.sleep(3)  # some quiet cycles: neither the reload nor the writer's start is counted


def window(node, cycles):
    """CPU ms of the agent and of the writer for each cycle, and the steps that were recorded."""
    pids, begun = writers(node), (metric(node, "pgvigil_cycles_total"), metric(node, "pgvigil_recorder_steps_total"))
    agent, writer = cpu_ns([node.agent.pid]), cpu_ns(pids)
    time.sleep(cycles)  # the length of the measurement; asking meanwhile would cost, too
    agent, writer = cpu_ns([node.agent.pid]) - agent, cpu_ns(pids) - writer
    done = metric(node, "pgvigil_cycles_total") - begun[0]
    return {"agent": agent / 1e6 / done, "writer": writer / 1e6 / done,
            "steps": (metric(node, "pgvigil_recorder_steps_total") - begun[1]) / done}


def interval(values):
    """The order statistics that hold the median with 95 %."""
    values, n = sorted(values), len(values)
    below, k = 0.0, 0
    while below + math.comb(n, k) / 2**n <= 0.025:
        below += math.comb(n, k) / 2**n
        k += 1
    return values[max(k - 1, 0)], values[min(n - k, n - 1)]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=15)
    options.add_argument("--cycles", type=int, default=20, help="of one window")
    options.add_argument("--most", type=float, default=2.0, help="per cent")
    args = options.parse_args()
    cluster = Cluster(["pgvigil"], scope="bench", dcs={"ttl": 20, "loop_wait": 1, "retry_timeout": 3},
                      config={"postgresql": {"parameters": {"autovacuum": False}}})
    more, shares, memory = [], [], {True: [], False: []}
    try:
        cluster.start(120)
        node = cluster.nodes[0]
        for pair in range(args.pairs):
            took = {}
            for on in (True, False) if pair % 2 else (False, True):
                switch(node, on)
                took[on] = window(node, args.cycles)
                memory[on].append(process.memory_kb(node.agent.pid)["private_dirty"])
            assert took[True]["steps"] > 3 and took[False]["steps"] == 0, took
            off, on = took[False]["agent"], took[True]["agent"]
            more.append(100 * (on + took[True]["writer"] - off) / off)
            shares.append(100 * took[True]["writer"] / off)
            print(f"off {off:.4f} ms, on {on:.4f} ms + writer {took[True]['writer']:.4f} ms a cycle of "
                  f"{took[True]['steps']:.1f} steps: {more[-1]:+.2f} %", flush=True)
    finally:
        cluster.close()
        cluster.remove()
    low, high = interval(more)
    print(f"the recorder costs {statistics.median(more):+.2f} % of an idle primary's CPU time ({low:+.2f} to {high:+.2f}), "
          f"{statistics.median(shares):.2f} % of it in its writer; {args.pairs} pairs of {args.cycles} cycles")
    print(f"Private_Dirty of the agent: {memory[False][-1]} kB without it, {memory[True][-1]} kB with it "
          f"(first windows {memory[False][0]} and {memory[True][0]} kB)")
    return 0 if statistics.median(more) <= args.most else 1


if __name__ == "__main__":
    sys.exit(main())
