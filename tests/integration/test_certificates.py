# SPDX-License-Identifier: PostgreSQL
"""The REST API over TLS: switched on by a reload, renewed while clients are connected, and called by
the command line tool with a certificate of its own. And secrets that live in files."""

import http.client
import json
import os
import ssl

import pytest

from lib import process
from lib.certificates import Authority
from lib.wait import holds_for, wait_for

pytestmark = pytest.mark.pgvigil


def connect(node, authority, client=None, tls12=None):
    """A connection that is not made anew behind our back."""
    context = ssl.create_default_context(cafile=authority.cacert)
    if client:
        context.load_cert_chain(*client, password="key word")
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(tls12)
    connection = http.client.HTTPSConnection(node.host, node.rest_port, timeout=5, context=context)
    connection.connect()
    connection.auto_open = 0
    return connection


def ask(connection, path="/patroni"):
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


def serial(connection):
    return int(connection.sock.getpeercert()["serialNumber"], 16)


def change(node, section, **options):
    """Options of a section, None to take one away; then the node is told."""
    for key, value in options.items():
        node.config.setdefault(section, {})[key] = value
        if value is None:
            del node.config[section][key]
    node.write_config()
    offset = node.log_size()
    node.hup()
    return offset


class TestCertificates:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        return make_cluster(1)

    @pytest.fixture(scope="class")
    def node(self, cluster):
        return cluster.nodes[0]

    @pytest.fixture(scope="class")
    def authority(self, cluster):
        return Authority(cluster.dir, "authority")

    @pytest.fixture(scope="class")
    def client(self, authority):
        return authority.issue("client", 7)

    def test_switched_on_by_a_reload(self, node, authority):
        certfile, keyfile = authority.issue("server", 100)
        change(node, "restapi", certfile=certfile, keyfile=keyfile, keyfile_password="key word",
               ciphers="ECDHE-RSA-AES256-GCM-SHA384")

        def secure():
            try:
                return connect(node, authority)
            except OSError:
                return None
        connection = wait_for(secure, 20, "HTTPS")
        assert serial(connection) == 100
        status, body = ask(connection)
        assert status == 200 and json.loads(body)["role"] == "primary"

    def test_ciphers(self, node, authority):
        assert ask(connect(node, authority, tls12="ECDHE-RSA-AES256-GCM-SHA384"))[0] == 200
        with pytest.raises(ssl.SSLError):
            connect(node, authority, tls12="ECDHE-RSA-AES128-GCM-SHA256")

    def test_renewed_under_an_open_connection(self, node, authority):
        """New clients see the new certificate; who is connected does not notice."""
        before = connect(node, authority)
        assert ask(before)[0] == 200
        sock = before.sock
        for number in (200, 201):  # the same paths, other content: the configuration is the same
            authority.issue("server", number)
            node.hup()
            wait_for(lambda n=number: serial(connect(node, authority)) == n, 20, f"certificate {number}")
            assert ask(before)[0] == 200
        assert before.sock is sock and serial(before) == 100

    def test_a_broken_certificate_changes_nothing(self, node, authority):
        """Neither it, nor what else is in the file."""
        certfile = node.config["restapi"]["certfile"]
        node.config["tags"] = {"zone": "new"}
        node.config["postgresql"]["parameters"]["deadlock_timeout"] = "1700ms"
        offset = change(node, "restapi", certfile="/nowhere/server.crt", server_tokens="productonly")
        node.wait_log("the old configuration stays, all of it", 20, offset)
        assert "/nowhere/server.crt" in node.log_text(offset)

        def as_before():
            connection = connect(node, authority)
            connection.request("GET", "/patroni")
            response = connection.getresponse()
            status = json.loads(response.read())
            return (serial(connection) == 201 and "tags" not in status and
                    response.headers["Server"].startswith("pgvigil") and
                    node.value("SHOW deadlock_timeout") == "1s")
        holds_for(as_before, 3, "all as before")
        offset = change(node, "restapi", certfile=certfile)
        wait_for(lambda: node.value("SHOW deadlock_timeout") == "1700ms", 20, "all of it, now that it is right")
        text = node.log_text(offset)
        assert "tags.zone set to 'new': in force" in text
        assert "postgresql.parameters.deadlock_timeout set to '1700ms'" in text
        assert "restapi.server_tokens set to 'productonly': in force" in text
        change(node, "restapi", server_tokens=None)

    def test_client_certificates(self, node, authority, client):
        change(node, "restapi", cafile=authority.cacert, verify_client="required")

        def refused():
            try:
                return ask(connect(node, authority))[0] == 403
            except (OSError, http.client.HTTPException):
                return True
        wait_for(refused, 20, "no answer without a certificate")
        assert ask(connect(node, authority, client))[0] == 200

    def test_the_tool_calls(self, cluster, node, authority, client):
        """ctl.*: whom to trust, and what to show."""
        certfile, keyfile = client
        done = cluster.ctl("reload", cluster.scope, node.name, "--force", check=False)
        assert "Reload request received" not in done.stdout
        change(node, "ctl", cacert=authority.cacert, certfile=certfile, keyfile=keyfile, keyfile_password="key word")
        done = cluster.ctl("reload", cluster.scope, node.name, "--force")
        assert "Reload request received for member n1" in done.stdout
        change(node, "ctl", keyfile_password="another")
        done = cluster.ctl("reload", cluster.scope, node.name, "--force", check=False)
        assert "Reload request received" not in done.stdout
        change(node, "ctl", keyfile_password="key word")

    def test_insecure(self, cluster, node, authority):
        """Without a certificate of its own the tool may be told not to look at the server's."""
        stranger = Authority(cluster.dir, "stranger")
        change(node, "restapi", verify_client=None)
        change(node, "ctl", cacert=stranger.cacert, certfile=None, keyfile=None, keyfile_password=None)
        wait_for(lambda: ask(connect(node, authority))[0] == 200, 20, "no certificate asked for")
        done = cluster.ctl("reload", cluster.scope, node.name, "--force", check=False)
        assert "Reload request received" not in done.stdout and "certificate" in done.stderr
        change(node, "ctl", insecure=True)
        done = cluster.ctl("reload", cluster.scope, node.name, "--force")
        assert "Reload request received for member n1" in done.stdout


class TestSecretsInFiles:
    @pytest.fixture(scope="class")
    def cluster(self, make_cluster):
        cluster = make_cluster(1, start=False)
        node = cluster.nodes[0]
        for user in ("superuser", "replication", "rewind"):
            entry = node.config["postgresql"]["authentication"][user]
            path = os.path.join(node.dir, f"{user}.secret")
            process.write_file(path, entry.pop("password") + "\n")
            entry["password_file"] = path
        path = os.path.join(node.dir, "rest.secret")
        process.write_file(path, "first")
        node.config["restapi"]["authentication"] = {"username": "u", "password_file": path}
        return cluster.start()

    def test_they_work(self, cluster):
        node = cluster.nodes[0]
        assert node.value("SELECT 1") == 1  # by password: bootstrap has set it
        assert node.rest("POST", "/reload", auth=("u", "wrong")).status == 401
        assert node.rest("POST", "/reload", auth=("u", "first")).status == 202
        assert "Reload request received" in cluster.ctl("reload", cluster.scope, node.name, "--force").stdout

    def test_renewed_by_a_reload(self, cluster):
        node = cluster.nodes[0]
        offset = node.log_size()
        process.write_file(os.path.join(node.dir, "rest.secret"), "second\n")
        node.hup()
        wait_for(lambda: node.rest("POST", "/reload", auth=("u", "second")).status == 202, 20, "the new password")
        assert node.rest("POST", "/reload", auth=("u", "first")).status == 401
        text = node.log_text(offset)
        assert "restapi.authentication.password changed from '(hidden)' to '(hidden)': in force" in text
        assert "first" not in text and "second" not in text

    def test_lost_it_stays_as_it_was(self, cluster):
        node = cluster.nodes[0]
        path = os.path.join(node.dir, "rest.secret")
        os.unlink(path)
        offset = node.log_size()
        node.hup()
        line = node.wait_log("rest.secret", 20, offset)
        assert "restapi.authentication.password_file" in line and "the old one stays" in line
        assert node.rest("POST", "/reload", auth=("u", "second")).status == 202
        done = cluster.ctl("list", cluster.scope)  # who cannot read a secret may still look
        assert node.name in done.stdout and "rest.secret" in done.stderr
        process.write_file(path, "second")

    def test_nothing_of_them_in_the_log(self, cluster):
        text = cluster.nodes[0].log_text()
        for secret in ("super-secret", "rep-secret", "rewind-secret"):
            assert secret not in text
