# SPDX-License-Identifier: PostgreSQL
"""pgvigil --validate-config against patroni --validate-config: the same exit status, and every
line Patroni says is the beginning of a line of ours, up to the differences named here.

Skipped when Patroni is not set up (tests/peers/install patroni).
"""

import copy
import os
import socket
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
    "zeros": ({"bootstrap.dcs": {"maximum_lag_on_failover": 0, "primary_stop_timeout": 0, "member_slots_ttl": 0},
               "log": {"mode": 0, "file_num": 0, "file_size": 0}, "watchdog.safety_margin": 0,
               "restapi.request_queue_size": 0, "tags.sync_priority": 0}, 0),
    "word of another type": ({"log.level": 5}, 1),
    "parameter of all members": ({"bootstrap.dcs": {"postgresql": {"parameters": {"max_connections": 0}}}}, 1),
    "initdb is a map": ({"bootstrap": {"dcs": {}, "initdb": {"encoding": "UTF8"}}}, 1),
    "initdb has a number": ({"bootstrap": {"dcs": {}, "initdb": ["data-checksums", 5]}}, 1),
    "standby port": ({"bootstrap.dcs": {"standby_cluster": {"port": 65536}}}, 1),
    "kubernetes ports": ({"kubernetes": {"labels": {}, "ports": [{"name": 1}, {"name": "x", "port": 65536}]}}, 1),
    "kubernetes address": ({"kubernetes": {"labels": {}, "pod_ip": "x", "retriable_http_codes": ["x"]}}, 1),
    "raft partners": ({"raft": {"self_addr": "10.0.0.1:1", "partner_addrs": "10.0.0.2:1"}}, 1),
    "consul checks": ({"consul": {"url": "x", "checks": [5], "port": 65536}}, 1),
    "store that is not there": ({"etcd3": {"hosts": "127.0.0.1:1"}}, 1),
    "stores that are not there": ({"etcd3": {"hosts": ["127.0.0.1:1", "a:b"]}}, 1),
    "listens on a name": ({"restapi.listen": "nobody.invalid:58008"}, 1),
    "listens without a host": ({"postgresql.listen": ":55432"}, 1),
    "star and more": ({"postgresql.listen": "127.0.0.1,*:55432"}, 1),
    "port is a word": ({"postgresql.connect_address": "10.0.0.1:x"}, 1),
    "no such bin_dir": ({"postgresql.bin_dir": "/nonexistent/pgvigil"}, 1),
    "bin_dir without programs": ({"postgresql.bin_dir": "/etc"}, 1),
    "bin_dir is a file": ({"postgresql.bin_dir": "/etc/passwd"}, 1),
    "bin_name": ({"postgresql.bin_name": {"pg_ctl": "nonexistent"}}, 1),
    "data_dir is a file": ({"postgresql.data_dir": "/etc/passwd"}, 1),
    "data_dir is something else": ({"postgresql.data_dir": "/etc"}, 1),
    "everything": ({"name": 1, "scope": None, "log.level": "info", "restapi.listen": "x:y", "etcd3": {},
                    "postgresql.connect_address": "localhost:5432", "tags": {"nosync": 5}}, 1),
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


def validate(program, path, *options, env=None):
    return subprocess.run([program, "--validate-config", *options, path], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60,
                          env=env or {"PATH": os.environ["PATH"]})


@pytest.mark.parametrize("name", CASES)
def test_the_same_verdict(name, tmp_path):
    changes, status = CASES[name]
    path = str(tmp_path / "a.yml")
    with open(path, "w") as f:
        yaml.safe_dump(document(changes), f)
    theirs, ours = validate(PATRONI, path), validate(PGVIGIL, path)
    assert (theirs.returncode, ours.returncode) == (status, status), (theirs.stderr, ours.stderr)
    assert theirs.stdout == ours.stdout == ""
    same_lines(theirs.stderr, ours.stderr)


def same_lines(theirs, ours):
    """Each line of theirs begins one of ours, in the same order."""
    mine = ours.splitlines()
    for line in theirs.splitlines():
        while mine and not mine[0].startswith(line):
            mine.pop(0)
        assert mine, (line, ours)


def good_with(tmp_path, changes):
    path = str(tmp_path / "a.yml")
    with open(path, "w") as f:
        yaml.safe_dump(document(changes), f)
    return path


def test_an_address_in_use(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(16)
        address = f"127.0.0.1:{s.getsockname()[1]}"
        path = good_with(tmp_path, {"restapi.listen": address, "etcd3": {"host": address}})
        theirs, ours = validate(PATRONI, path), validate(PGVIGIL, path)
        assert (theirs.returncode, ours.returncode) == (1, 1), ours.stderr
        same_lines(theirs.stderr, ours.stderr)
        assert "already in use" in ours.stderr and "not reachable" not in ours.stderr
        theirs, ours = validate(PATRONI, path, "-i"), validate(PGVIGIL, path, "-i")
        assert (theirs.returncode, ours.returncode) == (0, 0), (theirs.stderr, ours.stderr)


@pytest.mark.parametrize("version, wal, status", [(None, "pg_wal", 0), (None, "gone", 1), ("9.6", "pg_xlog", 1)])
def test_a_data_directory(tmp_path, version, wal, status):
    data = tmp_path / "data"
    (data / wal).mkdir(parents=True)
    (data / "PG_VERSION").write_text((version or pg_bin_dir().split("/")[4]) + "\n")
    path = good_with(tmp_path, {"postgresql.data_dir": str(data)})
    theirs, ours = validate(PATRONI, path), validate(PGVIGIL, path)
    assert (theirs.returncode, ours.returncode) == (status, status), (theirs.stderr, ours.stderr)
    same_lines(theirs.stderr, ours.stderr)


def test_print(tmp_path):
    path = good_with(tmp_path, {"postgresql.bin_dir": None, "name": "\u00e9"})
    env = {"PATH": pg_bin_dir() + ":" + os.environ["PATH"]}
    theirs, ours = validate(PATRONI, path, "-p", env=env), validate(PGVIGIL, path, "-p", env=env)
    assert (theirs.returncode, ours.returncode) == (0, 0), (theirs.stderr, ours.stderr)
    assert yaml.safe_load(theirs.stdout) == yaml.safe_load(ours.stdout)
    assert theirs.stdout == ours.stdout
