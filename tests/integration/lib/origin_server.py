# SPDX-License-Identifier: PostgreSQL
"""patronictl without its start-up time: imports it once and forks for every command.

Run by the python that Patroni's wrapper names, with its PYTHONPATH. A line of JSON on standard
input is one command: its words, environment, folder, and the files to read from and write to. The
answer is a line with its exit status. lib/origin.py is the other side.
"""

import gc
import importlib
import io
import json
import os
import sys
import time
import traceback

PROG = "patronictl"


def status_of(code):
    """As the interpreter ends a program that raises SystemExit(code)."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def become(command):
    """This process is the one that was to be started."""
    os.environ.clear()
    os.environ.update(command["env"])
    time.tzset()
    os.chdir(command["cwd"])
    for fd, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        file = os.open(command["files"][fd], flags)
        os.dup2(file, fd)
        os.close(file)
    sys.argv = [PROG, *command["args"]]
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(io.FileIO(2, "w", closefd=False)), encoding="utf-8",
                                  errors="backslashreplace", line_buffering=True)


def child(command, run):
    try:
        become(command)
        sys.exit(run())
    except SystemExit as end:
        status = status_of(end.code)
    except BaseException:  # pylint: disable=broad-exception-caught
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main():
    sys.path.pop(0)  # this folder has an etcd.py of its own
    run = importlib.import_module("patroni.ctl").ctl
    for name in ("patroni.dcs.etcd3", "dateutil.parser", "prettytable", "concurrent.futures.thread"):
        importlib.import_module(name)  # what it would import when it needs it
    gc.collect()
    gc.freeze()  # the children share it
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line), run)
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])), flush=True)


if __name__ == "__main__":
    main()
