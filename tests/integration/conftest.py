# SPDX-License-Identifier: PostgreSQL
"""Fixtures of the integration tests.

    pytest tests/integration                    against build/release/pgvigil
    pytest tests/integration --agent patroni    against the original, to check the tests themselves
    pytest tests/integration -n 4 --dist loadgroup

Every test gets its clusters from make_cluster. When a test fails, the tails of all logs are
in the report, and the logs are kept in build/test-logs.
"""

import os
import re
import shutil

import pytest

from lib import disk, netns
from lib.cluster import Cluster
from lib.node import KINDS, ROOT, agent_binary

TAIL_LINES = 60
LOGS_KEPT = os.path.join(ROOT, "build", "test-logs")
open_clusters = []


def pytest_addoption(parser):
    parser.addoption("--agent", default=os.environ.get("PGVIGIL_TEST_AGENT", "pgvigil"), choices=KINDS)


def pytest_report_header(config):
    return f"agent: {agent_binary(config.getoption('--agent'))}, patroni: {agent_binary('patroni')}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    other = pytest.mark.skip(reason="pgvigil only")
    no_network = pytest.mark.skip(reason="needs root and network namespaces")
    no_mount = pytest.mark.skip(reason="needs root and the right to mount")
    cannot_cut, cannot_mount = not netns.possible(), not disk.possible()
    for item in items:
        if item.cls:  # the tests of a class share their cluster, so they stay together
            item.add_marker(pytest.mark.xdist_group(f"{item.module.__name__}.{item.cls.__name__}"))
        if config.getoption("--agent") != "pgvigil" and item.get_closest_marker("pgvigil"):
            item.add_marker(other)
        if cannot_cut and item.get_closest_marker("network"):
            item.add_marker(no_network)
        if cannot_mount and item.get_closest_marker("disk"):
            item.add_marker(no_mount)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    item.has_failed = getattr(item, "has_failed", False) or report.failed
    if not report.failed:
        return
    for cluster in open_clusters:
        cluster.failed = re.sub(r"[^A-Za-z0-9_.-]+", "_", item.nodeid.rpartition("/")[2])
        report.sections.append(("cluster", cluster.describe()))
        for log in cluster.logs():
            with open(log, encoding="utf-8", errors="replace") as file:
                tail = file.read().splitlines()[-TAIL_LINES:]
            report.sections.append((os.path.basename(log), "\n".join(tail)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report):
    """xdist appends the group to the name, by which --last-failed would find nothing and run all."""
    if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers' own go by the long name
        report.nodeid = re.sub(r"@test_\w+(\.Test\w+)?$", "", report.nodeid)


def keep_logs(cluster):
    kept = os.path.join(LOGS_KEPT, cluster.failed)
    shutil.rmtree(kept, ignore_errors=True)
    os.makedirs(kept)
    for log in cluster.logs():
        shutil.copy(log, kept)
    for node in cluster.nodes:
        if os.path.exists(node.config_file):
            shutil.copy(node.config_file, kept)


@pytest.fixture(autouse=True)
def next_test_starts_well(request):
    """One failed test is no reason for the next in its class to fail."""
    yield
    for cluster in open_clusters:
        cluster.rest()
        if getattr(request.node, "has_failed", False):
            cluster.mend()


@pytest.fixture(scope="session")
def kind(request):
    """The agent under test."""
    kind = request.config.getoption("--agent")
    assert os.access(agent_binary(kind), os.X_OK), f"{agent_binary(kind)} is not there: build it first"
    return kind


@pytest.fixture(scope="session")
def patroni():
    """Patroni itself, for mixed clusters."""
    assert os.access(agent_binary("patroni"), os.X_OK), "Patroni is not there: run tests/peers/install patroni"
    return "patroni"


@pytest.fixture(scope="class")
def make_cluster(kind):
    """make_cluster(3) or make_cluster(kinds=[…]), and whatever else Cluster() takes. start=False:
    nothing runs yet. All is taken down at the end of the class (of the test, outside of one)."""
    made = []

    def make(size=3, kinds=None, start=True, **more):
        cluster = Cluster(kinds or [kind] * size, **more)
        cluster.failed = None
        made.append(cluster)
        open_clusters.append(cluster)
        return cluster.start() if start else cluster

    yield make
    for cluster in made:
        cluster.close()
        open_clusters.remove(cluster)
        if cluster.failed:
            keep_logs(cluster)
        cluster.remove()


@pytest.fixture(scope="class")
def cut_cluster(make_cluster):
    """A cluster whose nodes live in network namespaces n1, n2, n3 and whose etcd in another:
    cluster.network.cut("n1") pulls the plug of one."""
    def make(size=3, **more):
        names = [f"n{i + 1}" for i in range(size)] + ["etcd"]
        network = netns.Network(names)
        cluster = make_cluster(size, start=False, hosts=network.hosts[:size], etcd_hosts=network.hosts[size:], **more)
        cluster.network = network
        return cluster.start()

    return make
