# SPDX-License-Identifier: PostgreSQL
"""Asks all nodes for /primary without end, as load balancers do, so that a test can say what
they were told and when, above all that never two nodes said yes at once."""

import http.client
import threading
import time

from . import netns
from .process import now


class Sampler:
    """samples[node name]: [(asked, answered, status or None when there was no answer)]"""

    def __init__(self, nodes, path="/primary", pace=0.02, timeout=1.0):
        self.nodes, self.path, self.pace, self.timeout = list(nodes), path, pace, timeout
        self.samples = {node.name: [] for node in self.nodes}
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(node,), daemon=True) for node in self.nodes]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def _run(self, node):
        if node.netns:
            netns.enter(node.netns)  # this thread only: the node stays reachable when it is cut off
        samples = self.samples[node.name]
        while not self.stopping.is_set():
            asked, status = now(), None
            connection = http.client.HTTPConnection(node.host, node.rest_port, timeout=self.timeout)
            try:
                connection.request("GET", self.path)
                status = connection.getresponse().status
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            samples.append((asked, now(), status))
            time.sleep(self.pace)  # the pace of the load, not a wait for something

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(10)

    def runs(self, name):
        """Stretches of uninterrupted 200s: [(surely from, surely until)]. A single answer was
        given at an unknown moment of its request: surely from is then after surely until."""
        runs, run = [], []
        for asked, answered, status in list(self.samples[name]) + [(0, 0, None)]:
            if status == 200:
                run.append((asked, answered))
            elif run:
                runs.append((run[0][1], run[-1][0]))
                run = []
        return runs

    def first(self, name, status, since=0.0):
        """When the first answer with that status came that was asked for after since."""
        for asked, answered, got in list(self.samples[name]):
            if asked >= since and got == status:
                return answered
        return None

    def last(self, name, status):
        for _, answered, got in reversed(list(self.samples[name])):
            if got == status:
                return answered
        return None

    def assert_never_two(self):
        """No two nodes were primary for load balancers at the same moment."""
        names = list(self.samples)
        for i, one in enumerate(names):
            for other in names[i + 1:]:
                for a_from, a_until in self.runs(one):
                    for b_from, b_until in self.runs(other):
                        # For a lone answer the moment lies somewhere in between, so it counts only
                        # when the other node's stretch covers all of its request.
                        begin, end = max(a_from, b_from), min(a_until, b_until)
                        if a_from > a_until:
                            begin, end = (0, 1) if b_from <= a_until and a_from <= b_until else (1, 0)
                        elif b_from > b_until:
                            begin, end = (0, 1) if a_from <= b_until and b_from <= a_until else (1, 0)
                        assert begin > end, (
                            f"{one} and {other} both answered 200 on {self.path}: "
                            f"{one} {a_from:.3f}..{a_until:.3f}, {other} {b_from:.3f}..{b_until:.3f}")

    def ever(self, name, status, since=0.0):
        return self.first(name, status, since) is not None
