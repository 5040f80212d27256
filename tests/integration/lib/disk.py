# SPDX-License-Identifier: PostgreSQL
"""A small disk of its own for a directory, which can be filled."""

import os
import subprocess

from . import process


def possible():
    """Whether this process may mount file systems."""
    return os.getuid() == 0 and subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode == 0


class Disk:
    def __init__(self, directory, megabytes):
        self.dir = process.own_dir(directory)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "pgvigil-test", self.dir],
                       check=True)
        process.own_dir(self.dir)
        self.filler = os.path.join(self.dir, "filler")

    def resize(self, megabytes):
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", self.dir], check=True)

    def fill(self, but_mb=0):
        """All of it, or all but so much."""
        stat = os.statvfs(self.dir)
        with open(self.filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, stat.f_bavail * stat.f_frsize - but_mb * 1024 * 1024)

    def free(self):
        os.unlink(self.filler)

    def close(self):
        subprocess.run(["umount", "--lazy", self.dir], check=False)
