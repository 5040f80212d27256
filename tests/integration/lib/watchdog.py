# SPDX-License-Identifier: PostgreSQL
"""A watchdog made of a named pipe: the driver 'testing' of both agents talks to it, and it counts.

What arrives is 'Ctimeout=N' and a newline, '1' for a keepalive, 'V' before the clean end."""

import os
import re
import select
import threading
import time

from . import process
from .process import now
from .wait import wait_for


class Watchdog:
    """events: [(when, token)], where token is C15, 1 or V. on_fire is called once, in our thread,
    when it has counted to its end. on_event is called with each token, before the next is read."""

    def __init__(self, node, mode="required", on_fire=None, **more):
        self.node, self.on_fire, self.on_event = node, on_fire, None
        self.path = os.path.join(node.dir, "watchdog")
        self.events, self.timeout, self.deadline, self.fired = [], 60, None, None
        node.config["watchdog"] = {"mode": mode, "driver": "testing", "device": self.path, **more}
        self.fd, self.thread = None, None
        self.open()

    def open(self):
        """The device is there."""
        os.mkfifo(self.path)
        user = process.server_user()
        if user:
            os.chown(self.path, user.pw_uid, user.pw_gid)
        self.fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # never at its end
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.stopping = threading.Event()
        self.thread.start()
        return self

    def vanish(self):
        """The device is gone, for those who have it open, too. Harmless when it is."""
        if self.fd is None:
            return
        os.unlink(self.path)
        self.stopping.set()
        self.thread.join(10)
        os.close(self.fd)
        self.fd, self.deadline = None, None

    def _run(self):
        text = ""
        while not self.stopping.is_set():
            if self.deadline and now() >= self.deadline and not self.fired:
                self.fired = now()
                if self.on_fire:
                    self.on_fire()
            if not select.select([self.fd], [], [], 0.02)[0]:
                continue
            text += os.read(self.fd, 4096).decode()
            while found := re.match(r"C(?:timeout=(\d+)\n)|1|V", text):
                text = text[found.end():]
                self._happened("C" + found[1] if found[1] else found[0], found[1])

    def _happened(self, token, seconds):
        if seconds:
            self.timeout = int(seconds)
        self.events.append((now(), token))
        self.deadline = None if token == "V" else now() + self.timeout
        if self.on_event:
            self.on_event(token)

    # What is so

    def story(self, since=0):
        """The tokens from that event on, keepalives in a row as one."""
        told = []
        for _, token in self.events[since:]:
            if token != "1" or not told or told[-1] != "1":
                told.append(token)
        return told

    def count(self):
        return len(self.events)

    def last(self):
        return self.events[-1][1] if self.events else None

    def running(self):
        return self.deadline is not None

    def wait(self, token, since=0, timeout=60):
        """The moment at which it arrived."""
        def arrived():
            return next((at for at, got in self.events[since:] if got == token), None)
        return wait_for(arrived, timeout, f"'{token}' in the watchdog of {self.node.name}, not only {self.story(since)}")

    def wait_keepalives(self, n, timeout=60):
        """n more of them from now on; returns their moments."""
        since = self.count()

        def arrived():
            pings = [at for at, got in self.events[since:] if got == "1"]
            return pings if len(pings) >= n else None
        return wait_for(arrived, timeout, f"{n} keepalives of {self.node.name}")

    def silent(self, seconds):
        """Nothing arrives for as long."""
        since = self.count()
        time.sleep(seconds)  # that nothing comes shows by waiting only
        assert self.story(since) == []
