# SPDX-License-Identifier: PostgreSQL
"""Runs the original patronictl as subprocess.run() would, but in a twentieth of the time.

Starting its interpreter and importing it takes most of a second; see lib/origin_server.py. A few
of its decisions are made while it is imported (the user's folder); whoever changes what they
depend on gets a process of its own.
"""

import json
import os
import re
import selectors
import signal
import subprocess

SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "origin_server.py")
AT_IMPORT = ("HOME", "XDG_CONFIG_HOME", "LC_ALL", "LANG", "TZ")  # read once and for all


class Origin:
    def __init__(self, tool, directory, env):
        """tool: Patroni's wrapper; env: the environment of most commands."""
        self.tool, self.dir, self.env, self.server = tool, directory, env, None
        with open(tool, encoding="utf-8") as file:
            self.python = re.search(r"^PYTHONPATH=(\S+) exec (\S+) -c", file.read(), re.M)

    def _start(self):
        self.server = subprocess.Popen([self.python[2], SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       env={**self.env, "PYTHONPATH": self.python[1]}, text=True,
                                       start_new_session=True)
        self._answer("ready", 60)

    def _answer(self, what, timeout):
        with selectors.DefaultSelector() as selector:
            selector.register(self.server.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                self.close()
                raise subprocess.TimeoutExpired(what, timeout)
        line = self.server.stdout.readline()
        assert line, f"the server of patronictl has died: {what}"
        return line

    def run(self, args, stdin, env, cwd, timeout=60):
        """Its exit status, what it wrote on standard output, and on standard error."""
        if not self.python or any(env.get(name) != self.env.get(name) for name in AT_IMPORT):
            done = subprocess.run([self.tool, *args], input=stdin, capture_output=True, env=env, timeout=timeout,
                                  cwd=cwd, check=False)
            return done.returncode, done.stdout, done.stderr
        if not self.server:
            self._start()
        files = [os.path.join(self.dir, f"origin.{name}") for name in ("in", "out", "err")]
        for path, content in zip(files, (stdin, b"", b"")):
            with open(path, "wb") as file:
                file.write(content)
        self.server.stdin.write(json.dumps({"args": args, "env": env, "cwd": cwd, "files": files}) + "\n")
        self.server.stdin.flush()
        status = int(self._answer(" ".join(args), timeout))
        output = []
        for path in files[1:]:
            with open(path, "rb") as file:
                output.append(file.read())
        return status, output[0], output[1]

    def close(self):
        if self.server:
            os.killpg(self.server.pid, signal.SIGKILL)  # and the command that hangs
            self.server.wait()
            self.server.stdin.close()
            self.server.stdout.close()
            self.server = None
