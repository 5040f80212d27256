# SPDX-License-Identifier: PostgreSQL
"""Commands on a terminal: what they show there, and what is typed."""

import codecs
import os
import pty
import re
import select
import subprocess
import time


class Terminal:
    """A command on a terminal of its own; only what on names is the terminal, the rest are pipes."""

    def __init__(self, command, env, cwd, on=("stdin", "stdout", "stderr")):
        self.fd, slave = pty.openpty()
        streams = {name: slave if name in on else subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        self.process = subprocess.Popen(command, env=env, cwd=cwd, start_new_session=True, **streams)
        os.close(slave)
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.seen = ""

    def read(self, timeout):
        """What comes next; False when everybody has closed it."""
        assert select.select([self.fd], [], [], max(0, timeout))[0], self.seen
        try:
            piece = os.read(self.fd, 65536)
        except OSError:
            return False
        self.seen += self.decoder.decode(piece)
        return bool(piece)

    def until(self, pattern, timeout=20):
        """Reads until pattern shows; returns the match."""
        end = time.monotonic() + timeout
        while not (match := re.search(pattern, self.seen)):
            assert self.read(end - time.monotonic()), self.seen
        return match

    def type(self, text):
        os.write(self.fd, text.encode())

    def ended(self, timeout=20):
        """Its exit status, and all of what it wrote has been seen."""
        end = time.monotonic() + timeout
        while self.read(end - time.monotonic()):
            pass
        os.close(self.fd)
        return self.process.wait(max(0.1, end - time.monotonic()))
