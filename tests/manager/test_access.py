"""An intruder at a real mosquitto with our certificates, passwords and access list."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from manager import access, authority
from manager.access import Member
from manager.broker import free_port, mosquitto

SITE = "house"
MEMBERS = (Member("Counter-1"), Member("Charger-1", "Counter-1"), Member("Charger-2", "Counter-1"))
pytestmark = pytest.mark.broker


class Site:
    """A broker with two doors and the folder its files are in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tls_port, self.plain_port = free_port(), free_port()
        now = datetime.now(UTC)
        self.authority = authority.make_authority(SITE, now)
        broker = authority.issue(self.authority, "broker", now, ("localhost", "127.0.0.1"))
        (folder / "ca.crt").write_bytes(self.authority.certificate)
        (folder / "broker.crt").write_bytes(broker.certificate)
        (folder / "broker.key").write_bytes(broker.key)
        for name in ("manager", *(m.id for m in MEMBERS)):
            self.certify(self.authority, name)
        (folder / "acl").write_text(access.rules(SITE, MEMBERS))
        (folder / "passwords").write_text(
            access.password_line("Counter-1", "right", b"twelve bytes")
            + "\n"
            + access.password_line("homeassistant", "home", b"other twelve")
            + "\n"
        )
        conf = access.configuration(folder, self.tls_port, self.plain_port, "127.0.0.1")
        conf += "log_dest stderr\n"
        if os.geteuid() == 0:
            conf += "user root\n"  # else it becomes the user mosquitto, who may not read tmp_path
        (folder / "mosquitto.conf").write_text(conf)

    def certify(self, by: authority.Credential, name: str, file: str = "") -> None:
        made = authority.issue(by, name, datetime.now(UTC))
        (self.folder / f"{file or name}.crt").write_bytes(made.certificate)
        (self.folder / f"{file or name}.key").write_bytes(made.key)

    def client(self, certificate: str = "", user: str = "", password: str = "") -> Client:
        return Client(self, certificate, user, password)


class Client:
    """A paho client whose refusal or admission, and what it hears, can be looked at."""

    def __init__(self, site: Site, certificate: str, user: str, password: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.granted: list[int] = []
        self.answer = ""
        self.mqtt = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.mqtt.on_connect = self._on_connect
        self.mqtt.on_message = self._on_message
        port = site.plain_port
        if certificate or not user:
            context = ssl.create_default_context(cafile=str(site.folder / "ca.crt"))
            if certificate:
                context.load_cert_chain(
                    site.folder / f"{certificate}.crt", site.folder / f"{certificate}.key"
                )
            self.mqtt.tls_set_context(context)
            port = site.tls_port
        if user:
            self.mqtt.username_pw_set(user, password)
        try:
            self.mqtt.connect("localhost", port)
        except (OSError, ssl.SSLError) as e:
            self.answer = str(e) or type(e).__name__
            return
        self.mqtt.loop_start()

    def _on_message(self, _c: object, _u: object, message: mqtt.MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload)))

    def _on_connect(self, _c: object, _u: object, _f: object, code: object, _p: object) -> None:
        self.answer = self.answer or str(code)

    def wait(self, what: str, within_s: float = 5.0) -> bool:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if what == "answer" and self.answer:
                return True
            if what == "heard" and self.heard:
                return True
            time.sleep(0.02)
        return False

    @property
    def admitted(self) -> bool:
        self.wait("answer")
        return self.answer == "Success"

    def close(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    program = mosquitto()
    if program is None:
        pytest.skip("mosquitto is not installed")
    made = Site(tmp_path_factory.mktemp("broker"))
    with (made.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-c", str(made.folder / "mosquitto.conf")], stderr=log, stdout=log
        )
    time.sleep(0.3)
    try:
        assert process.poll() is None, (made.folder / "log").read_text()
        yield made
    finally:
        process.terminate()
        process.wait(5)


def test_our_own_come_in(site: Site) -> None:
    for client in (
        site.client("manager"),
        site.client("Charger-1"),
        site.client(user="Counter-1", password="right"),
    ):
        assert client.admitted, client.answer
        client.close()


def test_strangers_do_not(site: Site) -> None:
    other = authority.make_authority(SITE, datetime.now(UTC))
    site.certify(other, "Charger-1", "forged")
    for client in (
        site.client(),
        site.client("forged"),
        site.client(user="Counter-1", password="wrong"),
        site.client(user="Charger-1", password="right"),
        site.client(user="manager", password=""),
    ):
        client.wait("answer", 2)
        assert client.answer != "Success"
        client.close()


@pytest.mark.parametrize(
    ("who", "topic", "passes"),
    [
        ("Charger-1", "Charger-1/up", True),
        ("Charger-1", "Charger-1/state", True),
        ("Charger-1", "Counter-1/new", True),
        ("Charger-1", "Charger-2/up", False),
        ("Charger-1", "Charger-2/down", False),
        ("Charger-1", "Charger-1/down", False),
        ("Charger-1", "Counter-1/up", False),
        ("Charger-1", "hello/new", False),
        ("Charger-1", "#", False),
        ("manager", "Charger-2/down", True),
    ],
)
def test_each_writes_its_own_topics_only(site: Site, who: str, topic: str, passes: bool) -> None:
    if topic == "#":
        topic = "anything/else"
    watcher = site.client("manager")
    assert watcher.admitted
    watcher.mqtt.subscribe(f"ievcc/{SITE}/#", 1)
    time.sleep(0.2)
    client = site.client(who) if who != "manager" else watcher
    assert client.admitted
    client.mqtt.publish(f"ievcc/{SITE}/{topic}", b"x", 1)
    # What passes comes after what was dropped: the manager's own mark ends the waiting.
    time.sleep(0.2)
    watcher.mqtt.publish(f"ievcc/{SITE}/mark", b"", 1)
    deadline = time.monotonic() + 5
    while f"ievcc/{SITE}/mark" not in [t for t, _ in watcher.heard]:
        assert time.monotonic() < deadline, "the manager's own message did not come back"
        time.sleep(0.02)
    assert (f"ievcc/{SITE}/{topic}" in [t for t, _ in watcher.heard]) is passes
    if client is not watcher:
        client.close()
    watcher.close()


def test_home_assistant_reaches_what_is_made_for_it_and_nothing_else(site: Site) -> None:
    root = f"ievcc/{SITE}"
    passes = {"homeassistant/status", f"{root}/home/Charger-1/set/limit"}
    stopped = {
        "homeassistant/sensor/x/config", f"{root}/home/Charger-1/now", f"{root}/Charger-1/down",
        f"{root}/Charger-1/up", f"{root}/Counter-1/new", f"{root}/manager/state",
    }  # fmt: skip
    heard = {f"{root}/home/Charger-1/now", "homeassistant/sensor/x/config"}
    manager = site.client("manager")
    home = site.client(user="homeassistant", password="home")
    assert manager.admitted
    assert home.admitted
    manager.mqtt.subscribe([(f"{root}/#", 1), ("homeassistant/status", 1)])
    home.mqtt.subscribe(
        [("#", 1), (f"{root}/#", 1), ("homeassistant/#", 1), (f"{root}/home/#", 1)]
    )
    time.sleep(0.3)
    for topic in sorted(passes | stopped):
        home.mqtt.publish(topic, b"from home", 1)
    for topic in (*sorted(heard), f"{root}/Charger-1/down", f"{root}/mark"):
        manager.mqtt.publish(topic, b"from us", 1)
    home.mqtt.publish("homeassistant/status", b"mark", 1)
    deadline = time.monotonic() + 5
    marks = [(f"{root}/mark", b"from us"), ("homeassistant/status", b"mark")]
    while not all(mark in manager.heard for mark in marks) or len(home.heard) < len(heard):
        assert time.monotonic() < deadline, (manager.heard, home.heard)
        time.sleep(0.02)
    assert {t for t, said in manager.heard if said == b"from home"} == passes
    assert {t for t, said in home.heard if said == b"from us"} == heard
    for client in (manager, home):
        client.close()


def test_a_device_does_not_hear_the_others(site: Site) -> None:
    spy, manager = site.client("Charger-2"), site.client("manager")
    assert spy.admitted
    assert manager.admitted
    for wanted in (f"ievcc/{SITE}/#", f"ievcc/{SITE}/+/down", "#", f"ievcc/{SITE}/Charger-1/down"):
        spy.mqtt.subscribe(wanted, 1)
    spy.mqtt.subscribe(f"ievcc/{SITE}/Charger-2/down", 1)
    time.sleep(0.3)
    for device in ("Charger-1", "Counter-1", "Charger-2"):
        manager.mqtt.publish(f"ievcc/{SITE}/{device}/down", device.encode(), 1)
    assert spy.wait("heard")
    time.sleep(0.2)
    assert {payload for _, payload in spy.heard} == {b"Charger-2"}
    spy.close()
    manager.close()


def test_a_message_far_too_large_does_not_pass(site: Site) -> None:
    manager, charger = site.client("manager"), site.client("Charger-1")
    assert manager.admitted
    assert charger.admitted
    manager.mqtt.subscribe(f"ievcc/{SITE}/Charger-1/up", 1)
    time.sleep(0.2)
    charger.mqtt.publish(f"ievcc/{SITE}/Charger-1/up", b"x" * 20000, 0)
    charger.mqtt.publish(f"ievcc/{SITE}/Charger-1/up", b"small", 1)
    assert manager.wait("heard")
    assert b"small" in [p for _, p in manager.heard]
    assert max(len(p) for _, p in manager.heard) < 20000
    manager.close()
    charger.close()


def test_certificates_end_and_say_when() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    ca = authority.make_authority(SITE, now)
    leaf = authority.issue(ca, "Charger-1", now)
    assert (authority.expires(leaf.certificate) - now).days == authority.LEAF_DAYS
    late = authority.issue(ca, "Charger-1", datetime(2045, 6, 1, tzinfo=UTC))
    assert authority.expires(late.certificate) == authority.expires(ca.certificate)
    for damaged in (ca.certificate[:200], b""):
        with pytest.raises(authority.AuthorityError):
            authority.expires(damaged)
        with pytest.raises(authority.AuthorityError):
            authority.issue(authority.Credential(damaged, ca.key), "x", now)
    with pytest.raises(authority.AuthorityError):
        authority.issue(ca, "", now)
