# SPDX-License-Identifier: PostgreSQL
"""pgvigil --validate-config against patroni --validate-config: the same exit status, and every
line Patroni says is the beginning of a line of ours, up to the differences named here.

Skipped when Patroni is not set up (tests/peers/install patroni).
"""

import copy
import os
import subprocess

import pytest
import yaml

from lib.node import agent_binary, pg_bin_dir

PATRONI, PGVIGIL = agent_binary("patroni"), agent_binary("pgvigil")
pytestmark = pytest.mark.skipif(not os.access(PATRONI, os.X_OK), reason="Patroni is not set up")

GOOD = {
    "name": "a", "scope": "s",
    "restapi": {"listen": "127.0.0.1:58008", "connect_address": "10.0.0.1:8008"},
    "etcd3": {"url": "http://127.0.0.1:2379"},
    "postgresql": {
        "listen": "127.0.0.1:55432", "connect_address": "10.0.0.1:5432",
        "data_dir": "/nonexistent/pgvigil", "bin_dir": pg_bin_dir(),
        "authentication": {"superuser": {"username": "p"}, "replication": {"username": "r"}},
    },
}

# path -> value (None: the key is taken away); status 0 or 1 is what both must say
CASES = {
    "good": ({}, 0),
    "unknown keys": ({"nonsense": 1, "restapi.lsten": "x"}, 0),
    "no name": ({"name": None}, 1),
    "scope is a number": ({"scope": 1}, 1),
    "no store": ({"etcd3": None}, 1),
    "etcd without a server": ({"etcd3": {"protocol": "http"}}, 1),
    "no restapi": ({"restapi": None}, 1),
    "no superuser": ({"postgresql.authentication.superuser": None}, 1),
    "loopback to others": ({"restapi.connect_address": "127.0.0.1:8008"}, 1),
    "ttl too small": ({"bootstrap.dcs": {"ttl": 5}}, 1),
    "ttl as text": ({"bootstrap.dcs": {"ttl": "30"}}, 0),
    "ttl is a word": ({"bootstrap.dcs": {"ttl": "long"}}, 1),
    "no dcs": ({"bootstrap.method": "x"}, 1),
    "quorum": ({"bootstrap.dcs": {"synchronous_mode": "quorum"}}, 0),
    "initdb is a text": ({"bootstrap": {"dcs": {}, "initdb": "x"}}, 1),
    "log level in lower case": ({"log.level": "info"}, 1),
    "log format": ({"log.format": ["message", {"asctime": "t"}]}, 0),
    "queue": ({"restapi.request_queue_size": 4097}, 1),
    "allowlist is a text": ({"restapi.allowlist": "10.0.0.0/8"}, 1),
    "verify_client": ({"restapi.verify_client": "Required"}, 1),
    "server tokens in any case": ({"restapi.server_tokens": "MINIMAL"}, 0),
    "watchdog off": ({"watchdog.mode": False}, 0),
    "watchdog number": ({"watchdog.mode": 3}, 1),
    "margin": ({"watchdog.safety_margin": -2}, 1),
    "both tags": ({"tags": {"nofailover": True, "failover_priority": 1}}, 1),
    "own tag": ({"tags": {"rack": "r1"}}, 0),
    "tag is a text": ({"tags": {"nofailover": "false"}}, 1),
    "citus without a group": ({"citus": {"database": "c"}}, 1),
    "pg_hba is a text": ({"postgresql.pg_hba": "local all all trust"}, 1),
    "rewind number": ({"postgresql.use_pg_rewind": 1}, 1),
}


def document(changes):
    root = copy.deepcopy(GOOD)
    for path, value in changes.items():
        at, keys = root, path.split(".")
        for key in keys[:-1]:
            at = at.setdefault(key, {})
        if value is None:
            del at[keys[-1]]
        else:
            at[keys[-1]] = value
    return root


def validate(program, path):
    return subprocess.run([program, "--validate-config", path], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"]})


@pytest.mark.parametrize("name", CASES)
def test_the_same_verdict(name, tmp_path):
    changes, status = CASES[name]
    path = str(tmp_path / "a.yml")
    with open(path, "w") as f:
        yaml.safe_dump(document(changes), f)
    theirs, ours = validate(PATRONI, path), validate(PGVIGIL, path)
    assert (theirs.returncode, ours.returncode) == (status, status), (theirs.stderr, ours.stderr)
    assert theirs.stdout == ours.stdout == ""
    for line in theirs.stderr.splitlines():
        assert any(mine.startswith(line) for mine in ours.stderr.splitlines()), (line, ours.stderr)
