"""A site lives through everything that has to do with a secret; then all it said and wrote is searched."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manager import logins
from manager.enrol import Folder
from shared import protocol
from tests.live.installed import Installed, Party
from tests.live.running import until

pytestmark = pytest.mark.broker

PASSWORD, OTHER, BACKUP = "correct horse battery", "staple the other one", "kept at my aunt's"
CARD = "04a1b2c3d4e5f6"
BROUGHT = bytes(range(100, 132))
DEVICES = ["--meter", "Counter-1", "--charger", "Charger-1@Counter-1"]


class Browser:
    """One login; keeps what it is answered."""

    def __init__(self, site: Installed) -> None:
        self.site = site
        self.cookie = self.csrf = ""
        self.said: list[str] = []

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        link = http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=10)
        headers = {"Content-Type": "application/json", "X-CSRF-Token": self.csrf}
        if self.cookie:
            headers["Cookie"] = f"ievcc={self.cookie}"
        link.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = link.getresponse()
        text = "" if path == "/api/live" else answer.read().decode(errors="replace")
        link.close()
        cookie = answer.getheader("Set-Cookie") or ""
        if cookie.startswith("ievcc="):
            self.cookie = cookie.partition("=")[2].partition(";")[0]
        if path not in ("/api/me", "/api/login"):  # the login's own token for changes
            self.said.append(f"{method} {path} {text}")
        return answer.status, text

    def log_in(self, name: str, password: str) -> int:
        status, text = self.ask("POST", "/api/login", {"name": name, "password": password})
        if status == 200:
            self.csrf = json.loads(text)["csrf"]
        return status


def refused(browser: Browser) -> dict[str, int]:
    found: dict[str, int] = json.loads(browser.ask("GET", "/api/state")[1])["refused"]
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Installed]:
    made = Installed(tmp_path_factory.mktemp("secrets"), DEVICES)
    yield made
    made.stop()


def test_no_secret_is_in_a_log_a_dump_an_answer_or_a_page(site: Installed, tmp_path: Path) -> None:
    config = ["--config", str(site.config)]
    spoken = [site.made]

    def run(*words: str, stdin: str = "") -> None:
        done = subprocess.run(
            [sys.executable, "-m", "manager", *words, *config],
            input=stdin, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        spoken.append(f"{words} {done.stdout} {done.stderr}")

    for name, word in (("Ana", PASSWORD), ("Rui", OTHER)):
        run("accounts", "add", name, "--role", "administrator", "--stdin", stdin=f"{word}\n")
    browser = Browser(site)
    assert browser.log_in("Ana", "wrong" + PASSWORD) == 401
    assert browser.log_in("Ana", PASSWORD) == 200
    cookie = browser.cookie
    # Devices: enrolled, brought with a key, given one, with the wrong one, replayed, malformed.
    run("devices", "add", "Charger-5", "--counter", "Counter-1")
    run("devices", "authorise", "Charger-6", "--key", stdin=BROUGHT.hex() + "\n")
    run("devices", "authorise", "Charger-6", "--key", stdin=BROUGHT.hex()[:-1] + "\n")
    path = "/api/devices/Charger-8/authorise"
    assert browser.ask("POST", path, {"key": BROUGHT.hex()})[0] == 200
    assert browser.ask("POST", path, {"key": BROUGHT.hex() + "0"})[0] == 400
    assert browser.ask("POST", "/api/pairing", {"minutes": 5})[0] == 200
    meter = Party(site, "Counter-1")
    charger = Party(site, "Charger-1", key=None)
    try:
        assert meter.announce_counter() == "Counter registered: Counter-1"
        meter.measure(3)
        charger.announce_charger()
        charger.raw("Charger-1/up", json.dumps({"key": site.key("Charger-1").hex()}).encode())
        until("refused", lambda: sum(refused(browser).values()) >= 2)
        charger.close()
        charger = Party(site, "Charger-1")
        assert charger.announce_charger() == "Charger registered: Charger-1"
        charger.say("Charger-1/up", protocol.CARD_READ, card=CARD)
        assert charger.hear(protocol.CARD_VERDICT)
        run("sessions", "list")
    finally:
        meter.close()
        charger.close()
    # Backups and looks, by every way there is.
    run("backup", str(tmp_path / "b"), "--stdin", stdin=f"{BACKUP}\n")
    run("restore", str(tmp_path / "b"), "--stdin", stdin=f"{BACKUP}\n")  # refused: it runs
    for words in (
        ["doctor"], ["doctor", "--json"], ["status"], ["status", "--json"], ["devices"],
        ["devices", "--json"], ["devices", "waiting", "--json"], ["accounts", "list"],
        ["accounts", "list", "--json"],
    ):  # fmt: skip
        run(*words)
    table = json.loads(browser.ask("GET", "/api/openapi.json")[1])
    for path, methods in table["paths"].items():
        if "get" in methods and "{" not in path and path != "/api/live":
            browser.ask("GET", path)
    for path in ("/", "/metrics", "/api/devices/Counter-1", "/site.toml", "/../site.toml"):
        browser.ask("GET", path)
    # What is wrong is told without what was given.
    broken = site.config.read_text().replace('key = "', 'key = "zz', 1)
    (site.folder / "broken.toml").write_text(broken)
    spoken.append(
        subprocess.run(
            [sys.executable, "-m", "manager", "run", "--config", str(site.folder / "broken.toml")],
            capture_output=True, text=True, check=False,
        ).stderr
    )  # fmt: skip
    browser.ask("POST", "/api/password", {"old": PASSWORD, "new": PASSWORD[::-1]})
    site.manager.terminate()
    until("it ends", lambda: site.manager.status() is not None, 20)

    folder = Folder(site.folder)
    settings = [folder.settings(n) for n in ("Counter-1", "Charger-1", "Charger-5")]
    secrets = {
        "a device's key": [s["key"] for s in settings] + [BROUGHT.hex()],
        "a password": [PASSWORD, PASSWORD[::-1], OTHER, BACKUP]
        + [s["broker_password"] for s in settings if "broker_password" in s],
        "a login": [cookie],
        "the commands' token": [logins.token_file(folder.path / "ievcc.db").read_text()],
        "a private key": [
            "".join(p.read_text().splitlines()[1:2])
            for p in (folder.ca_key, folder.broker / "broker.key", folder.path / "manager.key")
        ],
        "the store's key": [(folder.path / "ievcc.key").read_text()],
        "a password's hash": ["argon2id"],
        "a card's number": [CARD],
    }
    assert all(len(value) >= 8 for values in secrets.values() for value in values if value)
    said = {
        "the commands": "\n".join(spoken),
        "the API and the page": "\n".join(browser.said),
        "the manager's log": (site.folder / "manager.log").read_text(),
        "mosquitto's log": (site.folder / "broker.log").read_text(errors="replace"),
    }
    for file in site.folder.glob("ievcc.db*"):
        said[f"the store, {file.name}"] = file.read_bytes().decode("latin-1")
    assert len(said["the API and the page"]) > 5000
    for what, values in secrets.items():
        for where, text in said.items():
            if what == "a password's hash" and where.startswith("the store"):
                continue  # where it belongs
            for value in values:
                if value:
                    at = text.lower().find(value.lower())
                    assert at < 0, f"{what} is in {where}: ..{text[max(0, at - 200) : at]}.."
