# SPDX-License-Identifier: PostgreSQL
"""The status page in a real browser, and what it lives on: GET /events."""

import json
import os
import socket

import pytest

from lib.wait import wait_for

webdriver = pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")

pytestmark = [pytest.mark.pgvigil, pytest.mark.skipif(
    not (os.access("/usr/bin/chromium", os.X_OK) and os.access("/usr/bin/chromedriver", os.X_OK)),
    reason="chromium and chromium-driver are not installed")]


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.chrome.service.Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@pytest.fixture(scope="class")
def cluster(make_cluster):
    return make_cluster(2, config={"tags": {"zone": "<b>a</b>"}})


def text(browser, selector):
    return browser.execute_script("return document.querySelector(arguments[0]).innerText", selector)


def media(browser, scheme, width, height, phone=False):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone})


def shot(browser, name):
    directory = os.environ.get("PGVIGIL_SCREENSHOTS")
    if directory:
        browser.save_screenshot(os.path.join(directory, name))


class TestPage:
    @pytest.fixture
    def page(self, browser, cluster):
        node = cluster.replicas()[0]
        browser.get_log("browser")
        browser.get(f"http://{node.host}:{node.rest_port}/dashboard")
        wait_for(lambda: len(browser.find_elements("css selector", "#cards article")) == 2, 20, "the members")
        return browser

    def test_shows_the_cluster(self, page, cluster):
        wait_for(lambda: "all 2 members are well" in text(page, "#headline"), 20)
        assert text(page, "h1") == cluster.scope
        leader = cluster.leader_name()
        cards = dict(page.execute_script("return [...document.querySelectorAll('#cards article')].map((a) => "
                                         "[a.querySelector('h3').firstChild.data, a.innerText])"))
        assert set(cards) == {"n1", "n2"}
        assert "leader" in cards[leader] and "streaming" in cards[cluster.replicas()[0].name]
        assert f"{leader} leads" in page.find_element("id", "topology").get_attribute("aria-label")
        assert text(page, "#connection-text") == "live"

    def test_texts_are_never_markup(self, page):
        assert "zone=<b>a</b>" in text(page, "#cards")
        assert not page.find_elements("css selector", "#cards b")

    def test_policy(self, page, cluster):
        headers = cluster.nodes[0].get("/dashboard").headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        page.execute_script("const s = document.createElement('script'); s.textContent = 'window.intruder = 1';"
                            "document.body.append(s)")
        assert page.execute_script("return window.intruder") is None
        resources = page.execute_script("return performance.getEntriesByType('resource').map(e => new URL(e.name).host)")
        assert set(resources) == {page.current_url.split("/")[2]}

    def test_no_errors_on_the_console(self, page):
        wait_for(lambda: text(page, "#connection-text") == "live", 10)
        bad = [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE" and "/decisions" not in entry["message"]]
        assert bad == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width, height, phone", [(1280, 900, False), (360, 740, True)])
    def test_fits(self, page, scheme, width, height, phone):
        """Nothing sticks out at the side, and text stands out from its ground."""
        media(page, scheme, width, height, phone)
        wait_for(lambda: page.find_elements("css selector", ".plot svg"), 20, "the plot of the lag")
        assert page.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        worst = page.execute_script("""
            const light = (c) => { const v = c.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255)
                .map((x) => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
                return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
            const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
                if (!c.endsWith(', 0)')) return c; } return 'rgb(255, 255, 255)'; };
            return Math.min(...[...document.querySelectorAll('h1,h2,h3,p,dt,dd,th,td,figcaption,footer,.badge')].map((e) => {
                const a = light(getComputedStyle(e).color), b = light(ground(e));
                return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }));""")
        assert worst >= 4.5
        shot(page, f"{scheme}-{width}.png")

    def test_keyboard_and_screen_reader(self, page):
        names = page.execute_script("return [...document.querySelectorAll('section')].map((s) => "
                                    "document.getElementById(s.getAttribute('aria-labelledby')).textContent)")
        assert names == ["Summary", "Topology", "Members", "This member", "History", "Last decisions"]
        assert page.execute_script("return document.documentElement.lang") == "en"
        page.execute_script("document.activeElement.blur()")
        page.find_element("tag name", "body").send_keys("\ue004")  # Tab
        assert page.execute_script("return document.activeElement.className") == "skip"
        assert page.find_element("id", "headline").get_attribute("aria-live") == "polite"

    def test_follows_a_switchover(self, page, cluster):
        cluster.wait_healthy(60)
        old, new = cluster.leader_name(), cluster.replicas()[0].name
        answer = cluster[old].rest("POST", "/switchover", {"leader": old, "candidate": new}, timeout=40)
        assert answer.status == 200
        wait_for(lambda: text(page, "#headline").startswith(f"{new} leads"), 30, "the new leader on the page")
        wait_for(lambda: new in text(page, "#history"), 30, "the history on the page")


class Events:
    """A client of GET /events."""

    def __init__(self, node):
        self.sock = socket.create_connection((node.host, node.rest_port), 20)
        self.sock.sendall(b"GET /events HTTP/1.0\r\n\r\n")
        self.file = self.sock.makefile("rb")
        self.status = self.file.readline().decode()
        self.headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value

    def next(self, kind):
        event = None
        while line := self.file.readline():
            name, _, value = line.decode().strip().partition(": ")
            if name == "event":
                event = value
            elif name == "data" and event == kind:
                return json.loads(value)
        return None

    def close(self):
        self.file.close()
        self.sock.close()


class TestEvents:
    def test_first_what_is_so(self, cluster):
        events = Events(cluster.nodes[0])
        assert " 200 " in events.status and events.headers["content-type"] == "text/event-stream"
        member = events.next("member")
        assert member["name"] == cluster.nodes[0].name and member["state"] == "running"
        names = [m["name"] for m in events.next("cluster")["members"]]
        assert names == ["n1", "n2"]
        events.close()

    def test_then_what_changes(self, cluster):
        events = Events(cluster.nodes[0])
        cluster.patch({"pause": True})
        while not events.next("member")["pause"]:
            pass
        cluster.patch({"pause": None})
        while events.next("member")["pause"]:
            pass
        events.close()

    def test_clients_are_bounded(self, cluster):
        clients = [Events(cluster.nodes[0]) for _ in range(70)]
        assert [" 200 " in client.status for client in clients].count(True) == 64
        assert " 503 " in clients[-1].status
        for client in clients:
            client.close()

        def room():
            client = Events(cluster.nodes[0])
            client.close()
            return " 200 " in client.status
        wait_for(room, 10, "room again")
        assert cluster.nodes[0].get("/health").status == 200
