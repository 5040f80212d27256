# SPDX-License-Identifier: PostgreSQL
"""Free TCP ports, safe between parallel runs.

A port is ours while we hold the lock on its file in a directory all runs share, whether or not
somebody listens on it at the moment. They lie below the ephemeral range (net.ipv4.
ip_local_port_range starts at 32768), so no outgoing connection takes one in between.
"""

import fcntl
import os
import random
import socket
import tempfile

FIRST, LAST = 10000, 31999
_held = {}


def _directory():
    path = os.path.join(tempfile.gettempdir(), f"pgvigil-ports-{os.getuid()}")
    os.makedirs(path, exist_ok=True)
    return path


def _can_listen(port):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("", port))
        except OSError:
            return False
    return True


def free_port():
    """A port nobody else gets until this process ends."""
    while True:
        port = random.randint(FIRST, LAST)
        if port in _held:
            continue
        fd = os.open(os.path.join(_directory(), str(port)), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            continue
        if not _can_listen(port):
            os.close(fd)
            continue
        _held[port] = fd
        return port


def give_back(*ports):
    for port in ports:
        fd = _held.pop(port, None)
        if fd is not None:
            os.close(fd)
