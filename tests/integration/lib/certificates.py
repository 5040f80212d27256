# SPDX-License-Identifier: PostgreSQL
"""An authority and what it signs, made by openssl(1)."""

import os
import subprocess

from . import process


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, directory, name):
        self.dir = process.own_dir(os.path.join(directory, name))
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", "ca.key", "-out", "ca.crt")
        self.cacert = os.path.join(self.dir, "ca.crt")

    def _openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=self.dir)

    def issue(self, name, serial, password="key word"):
        """Paths of certificate and key, which is encrypted unless password is None; what was there under the name
        is replaced."""
        with open(os.path.join(self.dir, "ext"), "w", encoding="utf-8") as file:
            # Python 3.13 wants the signer named, and the authority's key to be one for signing
            file.write("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
        encrypted = ["-aes256", "-passout", f"pass:{password}"] if password else []
        self._openssl("genrsa", *encrypted, "-out", f"{name}.key", "2048")
        self._openssl("req", "-new", "-key", f"{name}.key", "-passin", f"pass:{password}", "-subj", f"/CN={name}",
                      "-out", f"{name}.csr")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "2",
                      "-set_serial", str(serial), "-extfile", "ext", "-out", f"{name}.crt")
        for kind in ("key", "crt"):
            path = os.path.join(self.dir, f"{name}.{kind}")
            with open(path, encoding="utf-8") as file:
                process.write_file(path, file.read())
        return os.path.join(self.dir, f"{name}.crt"), os.path.join(self.dir, f"{name}.key")
