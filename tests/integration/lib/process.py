# SPDX-License-Identifier: PostgreSQL
"""One child process: started as the right user, in the right network, its output in a file."""

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

from .wait import wait_for


def server_user():
    """Whom PostgreSQL runs as: postgres when we are root, else ourselves (None)."""
    return pwd.getpwnam("postgres") if os.getuid() == 0 else None


PREFIX = "pgvigil-"
OWNER = ".owner"  # locked as long as the run that made a scratch directory lives
_owned = []


def scratch():
    """A new directory that the server user may enter; in memory when there is room."""
    parent = os.environ.get("PGVIGIL_SCRATCH")
    if not parent:
        parent = "/var/tmp"
        if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 4 << 30:
            parent = "/dev/shm"
    sweep(parent)
    path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
    os.chmod(path, 0o755)
    owner = os.open(os.path.join(path, "owner.new"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(owner, fcntl.LOCK_EX)
    os.rename(os.path.join(path, "owner.new"), os.path.join(path, OWNER))  # not seen before it is locked
    _owned.append(owner)
    return path


def sweep(parent):
    """Removes what a run that was killed left behind, its processes first."""
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        try:
            owner = os.open(os.path.join(path, OWNER), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # not ours, or just being made
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            pids = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if path + "/" in cmdline(pid)]
            kill_all({one for pid in pids for one in tree(pid)})
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # its run lives
        finally:
            os.close(owner)


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def own_dir(path):
    """Makes a directory of the server user."""
    os.makedirs(path, exist_ok=True)
    user = server_user()
    if user:
        os.chown(path, user.pw_uid, user.pw_gid)
    os.chmod(path, 0o750)
    return path


def write_file(path, text, mode=0o600):
    """Writes a file of the server user; in one go, so that a reader sees the old or the new one."""
    new = f"{path}.new"
    with open(new, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(new, mode)
    user = server_user()
    if user:
        os.chown(new, user.pw_uid, user.pw_gid)
    os.rename(new, path)


class Process:
    """A child and its log. It leads a session of its own, so that Ctrl-C reaches only us."""

    def __init__(self, argv, log, netns=None, as_server_user=True, env=None, cwd="/"):
        self.argv, self.log, self.netns, self.env, self.cwd = argv, log, netns, env or {}, cwd
        self.as_server_user = as_server_user
        self.popen = None

    @property
    def pid(self):
        return self.popen.pid if self.popen else None

    def command(self):
        """The argv with nsenter in front where a network namespace is wanted; it execs, so the
        pid we know is the program's own."""
        user = server_user() if self.as_server_user else None
        if self.netns:
            who = ["--setuid", str(user.pw_uid), "--setgid", str(user.pw_gid)] if user else []
            return ["nsenter", f"--net=/run/netns/{self.netns}", *who, "--", *self.argv], None
        return self.argv, user

    def start(self):
        assert not self.alive(), f"{self.argv[0]} runs already"
        argv, user = self.command()
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC", **self.env}
        switch = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=env, cwd=self.cwd, start_new_session=True, **switch)
        return self

    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def signal(self, number):
        if self.alive():
            self.popen.send_signal(number)

    def freeze(self):
        self.signal(signal.SIGSTOP)
        wait_for(lambda: state(self.pid) == "T", 5, f"pid {self.pid} stopped")

    def thaw(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.wait(10)

    def stop(self, timeout=30):
        """SIGTERM and the exit status; a process that does not go is killed, and that is an error."""
        if self.popen is None:
            return None
        self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.argv[0]} did not end within {timeout} s of SIGTERM") from None

    def wait(self, timeout):
        return self.popen.wait(timeout)

    def log_text(self, offset=0):
        try:
            with open(self.log, "rb") as file:
                file.seek(offset)
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def log_size(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def wait_log(self, text, timeout, offset=0):
        """Waits until the log holds text after offset; returns the first line with it."""
        def line():
            for found in self.log_text(offset).splitlines():
                if text in found:
                    return found
            return None
        return wait_for(line, timeout, f"{text!r} in {self.log}")


def state(pid):
    """The one-letter state from /proc, or None when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def exists(pid):
    return state(pid) not in (None, "Z", "X")


def children(pid):
    """Direct children of pid."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    if file.read().rpartition(")")[2].split()[1] == str(pid):
                        found.append(int(name))
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


def tree(pid):
    """pid and all below it."""
    found = [pid]
    for child in children(pid):
        found += tree(child)
    return found


def kill_all(pids, number=signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def gone(pids, timeout=10):
    wait_for(lambda: not any(exists(pid) for pid in pids), timeout, f"end of {pids}")


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def cpu_s(pids):
    """User and system seconds used so far, of those that are still there, reaped children included."""
    ticks = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_kb(pid):
    """What the kernel promised and what is touched, in kB: commit is the sum over the mappings
    with the flag ac (proc(5): "area is accountable"), which is what counts against the commit
    limit; and Private_Dirty, Rss and Pss."""
    sums = {"commit": 0, "private_dirty": 0, "rss": 0, "pss": 0}
    names = {"Private_Dirty:": "private_dirty", "Rss:": "rss", "Pss:": "pss"}
    size = 0
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if words[0] == "Size:":
                size = int(words[1])
            elif words[0] == "VmFlags:" and "ac" in words:
                sums["commit"] += size
            elif words[0] in names:
                sums[names[words[0]]] += int(words[1])
    return sums


def now():
    return time.monotonic()
