# SPDX-License-Identifier: PostgreSQL
"""Network namespaces joined by a bridge, to cut a node off as a broken switch would."""

import ctypes
import fcntl
import os
import subprocess
import tempfile

CLONE_NEWNET = 0x40000000


def possible():
    """Whether this process may make network namespaces."""
    return os.getuid() == 0 and subprocess.run(
        ["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0


def enter(name):
    """Moves the calling thread, and no other, into the namespace."""
    fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {name}")
    finally:
        os.close(fd)


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


class Network:
    """A bridge with one namespace per name; the test itself sits at .1 of the same subnet."""

    def __init__(self, names):
        self.number, self.lock = self._number()
        self.bridge = f"pgv{self.number}"
        self.names = names
        self.hosts = []
        _run("ip", "link", "add", self.bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{self._address(1)}/24", "dev", self.bridge)
        _run("ip", "link", "set", self.bridge, "up")
        for i, name in enumerate(names):
            namespace, outside = f"{self.bridge}-{name}", f"{self.bridge}v{i}"
            _run("ip", "netns", "add", namespace)
            _run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            _run("ip", "link", "set", outside, "master", self.bridge, "up")
            inside = ("ip", "-n", namespace)
            _run(*inside, "addr", "add", f"{self._address(11 + i)}/24", "dev", "eth0")
            _run(*inside, "link", "set", "lo", "up")
            _run(*inside, "link", "set", "eth0", "up")
            self.hosts.append((self._address(11 + i), namespace))

    @staticmethod
    def _number():
        """A subnet nobody else uses, by a lock file like those of the ports."""
        directory = os.path.join(tempfile.gettempdir(), f"pgvigil-nets-{os.getuid()}")
        os.makedirs(directory, exist_ok=True)
        for number in range(1, 250):
            fd = os.open(os.path.join(directory, str(number)), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                continue
            Network._sweep(f"pgv{number}")
            return number, fd
        raise OSError("no free subnet number")

    @staticmethod
    def _sweep(bridge):
        """What a run that was killed left behind under this number."""
        for device in os.listdir("/sys/class/net"):
            if device.startswith(f"{bridge}v"):
                _run("ip", "link", "del", device)
        if os.path.isdir("/run/netns"):
            for namespace in os.listdir("/run/netns"):
                if namespace.startswith(f"{bridge}-"):
                    _run("ip", "netns", "del", namespace)
        if os.path.exists(f"/sys/class/net/{bridge}"):
            _run("ip", "link", "del", bridge)

    def _address(self, host):
        return f"10.213.{self.number}.{host}"

    def cut(self, name):
        """Pulls the plug of one namespace: nothing in, nothing out, and nobody is told."""
        _run("ip", "link", "set", f"{self.bridge}v{self.names.index(name)}", "nomaster")

    def join(self, name):
        _run("ip", "link", "set", f"{self.bridge}v{self.names.index(name)}", "master", self.bridge)

    def close(self):
        self._sweep(self.bridge)
        os.close(self.lock)
