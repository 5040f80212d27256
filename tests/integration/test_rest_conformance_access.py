# SPDX-License-Identifier: PostgreSQL
"""Who may ask what of the REST API, against Patroni's: allowlists, client certificates, and what
the log says of it. As test_rest_conformance.py; one node of each agent is enough."""

import os
import re
import ssl

import pytest

from lib import process
from lib.node import ROOT
from lib.rest_pair import AUTH, Pair, exchange
from lib.wait import wait_for

pytestmark = pytest.mark.xdist_group("test_rest_conformance_access")  # two clusters are enough
CERTS = os.path.join(ROOT, "tests", "unit", "data", "http")
READS = [("n1", method, path) for method in ("GET", "HEAD", "OPTIONS")
         for path in ("/", "/primary", "/replica", "/health", "/patroni", "/liveness", "/readiness", "/cluster", "/metrics")]
# What is refused before it does anything, or does nothing.
WRITES = [("n1", "PATCH", "/config", {}), ("n1", "PUT", "/config", {}), ("n1", "POST", "/reload", None),
          ("n1", "POST", "/failsafe", {}), ("n1", "POST", "/sigterm", None), ("n1", "POST", "/restart", {"role": "x"}),
          ("n1", "POST", "/reinitialize", None), ("n1", "POST", "/failover", {}), ("n1", "POST", "/switchover", {}),
          ("n1", "POST", "/citus", {}), ("n1", "DELETE", "/restart"), ("n1", "DELETE", "/switchover")]
# For who is refused: an answer given before the body was read may be lost when the connection is closed.
REFUSED = [(name, method, path) for name, method, path, *_ in WRITES]
UNKNOWN = [("n1", "POST", "/nothing", {}), ("n1", "BREW", "/")]


def with_headers(requests, *headers):
    return [(name, method, path, body[0] if body else None, headers) for name, method, path, *body in requests]


@pytest.fixture(scope="module")
def pair(patroni):
    made = Pair(1)
    made.restapi = dict(made.clusters[0]["n1"].config["restapi"])
    made.serial = 100
    yield made
    made.close()


def context(certificate=None):
    made = ssl.create_default_context(cafile=os.path.join(CERTS, "ca.pem"))
    if certificate:
        made.load_cert_chain(os.path.join(CERTS, f"{certificate}.pem"), os.path.join(CERTS, f"{certificate}.key"))
    return made


def configure(pair, log_level="INFO", tls=None, **restapi):
    """The REST API's section as at the start, changed by these, is in force."""
    def apply(cluster):
        node = cluster["n1"]
        listen = {key: node.config["restapi"][key] for key in ("listen", "connect_address")}
        node.config["restapi"] = {**pair.restapi, **listen, **restapi, "http_extra_headers": {"X-One": str(pair.serial)}}
        node.config["log"]["level"] = log_level
        node.write_config()
        node.hup()
        wait_for(lambda: ("X-One", str(pair.serial)) in exchange(node, "GET", "/patroni", tls=tls).get("headers", ()), 60,
                 f"{node.kind} to reload")

    for _ in range(2):  # theirs shows the headers before it opens its socket anew: the second time it has
        pair.serial += 1
        pair.both(apply)


def certificates(pair, verify_client):
    """Options of the section; every node has the files where its server may read them."""
    found = {"verify_client": verify_client}
    for option, name in (("certfile", "server.pem"), ("keyfile", "server.key"), ("cafile", "ca.pem")):
        with open(os.path.join(CERTS, name), encoding="ascii") as file:
            text = file.read()
        found[option] = os.path.join(pair.clusters[0].dir, name)
        process.write_file(found[option], text)
    return found


@pytest.mark.parametrize("allowlist", [
    ["127.0.0.1"], ["10.0.0.0/8", "127.0.0.1/32"], ["10.0.0.0/8"], ["127.0.0.3/30"], ["localhost"], ["::1"],
    [], "10.0.0.0/8", {"a": "10.0.0.0/8"}, None], ids=str)
@pytest.mark.parametrize("members", [None, True], ids=["", "members"])
def test_allowlist(pair, allowlist, members):
    configure(pair, allowlist=allowlist, **({"allowlist_include_members": members} if members else {}))
    for source in "127.0.0.1", "127.0.0.2":
        pair.compare(READS + with_headers(WRITES, AUTH) + with_headers(UNKNOWN, AUTH), source=source)
        pair.compare(with_headers(WRITES), source=source)  # the address comes first, then who it is


def test_an_allowlist_of_nonsense(pair):
    """Guards ours, and opens theirs."""
    configure(pair, allowlist=["127.0.0.1/99", "x y"])
    for _, *request in with_headers(WRITES, AUTH):
        theirs, ours = pair.ask("n1", *request)
        assert ours["status"] == 403 and theirs["status"] != 403, request


def test_mpp(pair):
    """Theirs asks nobody who he is."""
    configure(pair)
    theirs, ours = pair.ask("n1", "POST", "/mpp", {})
    assert (theirs["status"], ours["status"]) == (400, 401)
    pair.compare([("n1", "POST", "/mpp", {}, (AUTH,))])


@pytest.mark.parametrize("verify_client", ["none", "optional", "required", "Optional", "nonsense", 1], ids=str)
def test_client_certificates(pair, verify_client):
    """Per class of request: without a certificate, with one of ours, with a stranger's."""
    configure(pair, tls=context("client"), **certificates(pair, verify_client))
    pair.compare(READS + with_headers(WRITES, AUTH) + REFUSED + UNKNOWN, tls=context("client"))
    if verify_client == "required":
        pair.refuse(READS[:3] + REFUSED[:2], tls=context())
        pair.refuse(READS[:3] + REFUSED[:2], tls=context("stranger"))
    elif verify_client in ("optional", "Optional"):
        pair.compare(READS + with_headers(REFUSED, AUTH) + REFUSED + UNKNOWN, tls=context())
        pair.refuse(READS[:3], tls=context("stranger"))  # one that cannot be verified is worse than none
    else:
        for tls in context(), context("stranger"):
            pair.compare(READS + with_headers(WRITES, AUTH) + REFUSED + UNKNOWN, tls=tls)
    pair.refuse(READS[:1])  # not without TLS


def test_certificates_and_allowlist(pair):
    """The address is looked at before the certificate, and that before the password."""
    configure(pair, tls=context("client"), allowlist=["127.0.0.1"], **certificates(pair, "optional"))
    for source in "127.0.0.1", "127.0.0.2":
        for tls in context(), context("client"):
            pair.compare(REFUSED, source=source, tls=tls)


ACCESS = re.compile(r"DEBUG: (API thread: \S+ - - \".*\?probe.*) latency: \d+\.\d{3} ms$", re.MULTILINE)


def test_access_log(pair):
    """The lines that people count requests by."""
    configure(pair, log_level="DEBUG", allowlist=["10.0.0.0/8"])
    nodes = [cluster["n1"] for cluster in pair.clusters]
    offsets = [node.log_size() for node in nodes]
    requests = [(method, path + "?probe", headers)
                for method in ("GET", "HEAD", "OPTIONS", "POST", "BREW", "DELETE")
                for path in ("/primary", "/replica", "/patroni", "/liveness", "/nothing", "/restart", '/"quoted"', "/%22x%0a")
                for headers in ((), (AUTH,))]
    for method, path, headers in requests:
        pair.ask("n1", method, path, None, headers)
    pair.ask("n1", "GET", "/?probe=last")
    lines = []
    for node, offset in zip(nodes, offsets):
        wait_for(lambda: "probe=last" in node.log_text(offset), 20)
        lines.append(ACCESS.findall(node.log_text(offset)))
    assert len(lines[0]) == len(requests) + 1
    assert lines[0] == lines[1]
