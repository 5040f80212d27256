#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""A cluster on this machine, hurt before your eyes.

Starts etcd, three agents with their PostgreSQL and HAProxy on loopback, lets a client write through
HAProxy without pause, and then: a switchover, a kill -9 of the primary's postmaster, a kill -9 of
a whole node. Each time it prints how long the client could not write. Then the cluster stays
up for you until Ctrl-C; with DEMO_EXIT=1 the demo ends by itself, with status 0 if all went well.

    make demo
    DEMO_EXIT=1 tests/demo/demo.py --agent patroni     the same with the original
"""

import argparse
import os
import signal
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration"))

from lib.cluster import Cluster  # noqa: E402
from lib.haproxy import HAProxy  # noqa: E402
from lib.node import KINDS, agent_binary, ctl_binary  # noqa: E402
from lib.process import now, server_user  # noqa: E402
from lib.wait import wait_for  # noqa: E402

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def heading(text):
    print(f"\n{paint('1;36', '==> ' + text)}", flush=True)


def say(text):
    print(f"    {text}", flush=True)


def good(text):
    print(f"    {paint('32', 'ok')}  {text}", flush=True)


class Demo:
    def __init__(self, kind):
        self.kind = kind
        self.cluster = Cluster(
            [kind] * 3, scope="demo", dcs={"ttl": 20, "loop_wait": 10, "retry_timeout": 5},
            config={"postgresql": {"parameters": {"fsync": True}}})
        self.proxy = None
        self.writer = None
        self.outages = []

    def list(self):
        for line in self.cluster.ctl("list", "demo").stdout.rstrip().splitlines():
            say(line)

    def start(self):
        user = server_user()
        heading(f"A cluster of three: etcd, {self.kind}, PostgreSQL, HAProxy")
        say(f"in {self.cluster.dir}, PostgreSQL runs as {user.pw_name if user else 'you'}")
        begin = now()
        self.cluster.start_all_at_once()
        self.cluster.wait_healthy(90)
        self.proxy = HAProxy(self.cluster).start()
        self.cluster.leader().sql("SELECT 1")
        self.writer = self.cluster.writer(host="127.0.0.1", port=self.proxy.write_port)
        good(f"from empty directories to three running nodes in {now() - begin:.1f} s")
        self.list()
        say(f"a client writes numbered rows through HAProxy, port {self.proxy.write_port}, and counts what is acknowledged")

    def measure(self, what, since):
        """Waits until the client writes steadily again, and notes its longest silence."""
        self.writer.wait_writes(60, since)
        self.cluster.wait_healthy(60, self.cluster.alive())
        seen = len(self.writer.acked)
        wait_for(lambda: len(self.writer.acked) > seen + 100, 20, "100 more rows")
        outage, _, _ = self.writer.outage(since)
        self.outages.append((what, outage))
        good(f"{what}: {paint('1', f'{outage:.2f} s')} without an acknowledged write")

    def check_rows(self):
        rows = len(self.writer.acked)
        missing = wait_for(lambda: (self.writer.missing(self.cluster.leader()),), 30)[0]
        if missing:
            raise AssertionError(f"acknowledged rows are lost: {missing[:10]}")
        good(f"all of the {rows} acknowledged rows are there")

    def switchover(self):
        heading("Switchover")
        old = self.cluster.leader()
        since = now()
        tool = os.path.basename(ctl_binary(self.kind))
        say(f"$ {tool} switchover demo --leader {old.name} --force")
        out = self.cluster.ctl("switchover", "demo", "--leader", old.name, "--force").stdout
        for line in out.splitlines():
            if "uccessfully" in line:
                say(line)
        new = self.cluster.wait_new_leader(old, 30)
        self.measure(f"switchover from {old.name} to {new.name}", since)
        self.check_rows()
        self.list()

    def kill_postmaster(self):
        leader = self.cluster.leader()
        heading(f"kill -9 of the postmaster on the primary, {leader.name}")
        since = now()
        pid = leader.kill_postmaster()
        say(f"$ kill -9 {pid}")
        self.measure("postmaster killed", since)
        if self.cluster.leader_name() == leader.name:
            say(f"{leader.name} recovered and stayed the primary")
            self.check_rows()
        self.list()

    def kill_node(self):
        old = self.cluster.leader()
        heading(f"kill -9 of everything on the primary, {old.name}: agent and PostgreSQL")
        since = now()
        old.kill_hard()
        say("nobody can say goodbye, so the others wait for the lease (ttl 20 s) to end")
        self.measure("node killed", since)
        say(f"{self.cluster.leader_name()} is the primary now; {old.name} is started again")
        old.start()
        self.cluster.wait_healthy(60)
        good(f"{old.name} rejoined by itself")
        self.list()

    def summary(self):
        heading("How long the client could not write")
        for what, outage in self.outages:
            say(f"{outage:6.2f} s  {what}")

    def stay(self):
        leader = self.cluster.leader()
        heading("The cluster stays up. Ctrl-C ends it.")
        say(f"PGPASSWORD={leader.dsn()['password']} psql -h 127.0.0.1 -p {self.proxy.write_port} -U postgres")
        say(f"{ctl_binary(self.kind)} -c {leader.config_file} list demo")
        say(f"http://127.0.0.1:{leader.rest_port}/patroni   http://127.0.0.1:{self.proxy.stats_port}/ (HAProxy)")
        while all(node.agent.alive() for node in self.cluster.nodes):
            time.sleep(1)  # nothing to wait for but the user
        raise AssertionError("an agent has ended")

    def close(self):
        if self.proxy:
            self.proxy.close()
        self.cluster.close()
        self.cluster.remove()


def interrupt(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--agent", choices=KINDS, default="pgvigil")
    kind = parser.parse_args().agent
    if not os.access(agent_binary(kind), os.X_OK):
        sys.exit(f"{agent_binary(kind)} is not there; build it with: make")
    signal.signal(signal.SIGTERM, interrupt)
    demo = Demo(kind)
    status = 1
    try:
        demo.start()
        demo.switchover()
        demo.kill_postmaster()
        demo.kill_node()
        demo.summary()
        status = 0
        if os.environ.get("DEMO_EXIT") != "1":
            demo.stay()
    except AssertionError as error:
        status = 1
        print(f"\n{paint('1;31', 'FAILED')} {error}", file=sys.stderr)
        for log in demo.cluster.logs():
            print(f"--- the end of {log}", file=sys.stderr)
            with open(log, encoding="utf-8", errors="replace") as file:
                print("\n".join(file.read().splitlines()[-25:]), file=sys.stderr)
    except KeyboardInterrupt:
        print()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        demo.close()
    sys.exit(status)


if __name__ == "__main__":
    main()
