"""Intruders at an installation that works: mosquitto and manager as `ievcc init` made them, a real
meter and a real charger that charges. Nothing an intruder does changes an offer, and all is counted.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from manager import authority, store
from manager.process import Child
from shared import protocol
from simulator.pzem_slave import LineThread, Pzem
from tests.live.installed import Installed, Party, board, ievcc
from tests.live.running import until

pytestmark = [pytest.mark.broker, pytest.mark.board]

DEVICES = ["--meter", "Counter-1", "--charger", "Charger-1@Counter-1"]
INSIDER = ["--charger", "Charger-2@Counter-1"]  # a charger whose certificate was stolen
HOUSE_A, OFFER_A = 8, 22
# A last will looks like a message that came, so that its bytes less seem to be turned away; so many at most.
WILLS = 10 * len(b"offline")
TLS_REFUSED = "OpenSSL Error|SSL routines|peer did not return a certificate"


class Town:
    """A site at work, and what its charger was offered since."""

    def __init__(self, folder: Path) -> None:
        # At this level mosquitto writes down what its access list stopped.
        # Long leases and a patient eye on the meter: a busy computer is no intruder.
        patient = "ttl_s = 60\nmeter_silent_s = 40\nmeter_lost_s = 60\n"
        self.site = Installed(folder, DEVICES + INSIDER, patient, "log_type all\nsys_interval 1\n")
        self.pzem = Pzem()
        self.pzem.set(current_ma=HOUSE_A * 1000)
        self.line = LineThread([self.pzem])
        self.line.__enter__()
        meter, _ = board(self.site, "energy_meter", "Counter-1")
        charger, _ = board(self.site, "charger", "Charger-1", start_delay_s=0, resume_s=1)
        self.bench = folder / "bench"
        self.boards = [
            Child("meter", [*meter, "--uart", self.line.path], folder / "meter.log"),
            Child("charger", [*charger, "--bench", str(self.bench)], folder / "charger.log"),
        ]
        self.offers: list[int] = []
        self.socket = socket.socket(socket.AF_UNIX)
        until("the meter measures", lambda: self.house() == [float(HOUSE_A)], 60)
        until("the bench answers", lambda: not self.socket.connect_ex(str(self.bench)), 60)
        threading.Thread(target=self._read, daemon=True).start()
        until("the charger is there", lambda: self.site.charger("Charger-1"), 60)
        self.put({"ev": "C"})
        until("it offers all there is", lambda: self.offers and self.offers[-1] == OFFER_A, 60)
        self.put({"car_ma": [OFFER_A * 1000, 0, 0]})
        until("it charges", lambda: self.site.charger("Charger-1")["current_a"] == [OFFER_A], 60)

    def put(self, what: dict[str, Any]) -> None:
        self.socket.sendall(json.dumps(what).encode() + b"\n")

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self.socket.makefile("rb") as lines:
            for line in lines:
                self.offers.append(int(json.loads(line).get("offer_a", 0)))

    def house(self) -> Any:
        return self.site.state()["feeders"][0]["house_a"]

    def refused(self, what: str) -> int:
        return int(self.site.state()["refused"].get(what, 0))

    def turned_away(self, what: str) -> int:
        """Messages, bytes or connections, as the manager says of its broker."""
        return int(self.site.state()["broker"][f"{what}_refused"])

    def decisions(self) -> list[tuple[Any, ...]]:
        asked = "SELECT id, offer_a FROM decision WHERE charger = 'Charger-1' ORDER BY id"
        return store.read(self.site.folder / "ievcc.db", asked)

    def log(self, words: str) -> int:
        """How often mosquitto wrote this."""
        return len(re.findall(words, (self.site.folder / "broker.log").read_text()))

    def denied_bytes(self) -> int:
        """Of all messages mosquitto says it denied."""
        log = (self.site.folder / "broker.log").read_text()
        return sum(int(n) for n in re.findall(r"Denied PUBLISH from .*\((\d+) bytes\)", log))

    def logged(self, words: str, times: int) -> bool:
        return self.log(words) >= times

    def stop(self) -> None:
        for child in self.boards:
            child.end()
        self.socket.close()
        self.line.__exit__(None, None, None)
        self.site.stop()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Town]:
    made = Town(tmp_path_factory.mktemp("town"))
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def nothing_changes(town: Town) -> Iterator[None]:
    """Before and after: the same offer, none other in between, meter and charger heard."""
    shown, decided = len(town.offers), town.decisions()
    yield
    taken = town.site.state()["taken"]
    until("the boards are heard still", lambda: town.site.state()["taken"] >= taken + 3, 30)
    assert set(town.offers[shown:]) <= {OFFER_A}
    assert town.decisions() == decided
    assert town.site.charger("Charger-1")["offer_a"] == OFFER_A
    assert town.house() == [float(HOUSE_A)]
    until("it is there", lambda: town.site.charger("Charger-1")["online"], 30)


@contextlib.contextmanager
def party(town: Town, name: str, **how: Any) -> Iterator[Party]:
    made = Party(town.site, name, uid="intruder", **how)
    try:
        yield made
    finally:
        made.close()


def load(amps: int) -> dict[str, Any]:
    """A reading's fields."""
    return {
        "current_ma": [amps * 1000], "voltage_dv": [2300], "power_w": [amps * 230],
        "energy_wh": [1], "age_ms": 0,
    }  # fmt: skip


def refused_by_broker(town: Town, context: ssl.SSLContext | None, user: str = "") -> bool:
    """Whether a connection with this is not let in."""
    answers: list[str] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, "Charger-1-intruder")
    client.on_connect = lambda _c, _u, _f, code, _p: answers.append(str(code))
    client.on_disconnect = lambda *_: answers.append("cut off")
    if context is not None:
        client.tls_set_context(context)
    if user:
        client.username_pw_set(user, "guessed")
    try:
        client.connect("localhost", town.site.tls_port if context else town.site.plain_port)
        client.loop_start()
        with contextlib.suppress(AssertionError):
            until("an answer", lambda: answers, 2)
    except (OSError, ssl.SSLError):
        pass
    client.disconnect()
    client.loop_stop()
    return "Success" not in answers


def test_who_has_no_credentials_does_not_get_past_mosquitto(town: Town, tmp_path: Path) -> None:
    ca = str(town.site.folder / "broker/ca.crt")
    counted = town.turned_away("connections")
    bare = ssl.create_default_context(cafile=ca)
    forged = ssl.create_default_context(cafile=ca)
    other = authority.make_authority("home", datetime.now(UTC))
    for name in ("Charger-1", "manager"):
        made = authority.issue(other, name, datetime.now(UTC))
        (tmp_path / "crt").write_bytes(made.certificate)
        (tmp_path / "key").write_bytes(made.key)
        forged.load_cert_chain(tmp_path / "crt", tmp_path / "key")
        before = town.log(TLS_REFUSED)
        assert refused_by_broker(town, forged)
        assert refused_by_broker(town, bare)
        until("written down", partial(town.logged, TLS_REFUSED, before + 2))
    for user in ("Counter-1", "Charger-1", "manager", "nobody", ""):
        assert refused_by_broker(town, None, user)
    until("written down too", lambda: town.log("not authori[sz]ed") >= 5)
    until("and counted", lambda: town.turned_away("connections") == counted + 9)


def test_an_unknown_device_with_anothers_certificate(town: Town) -> None:
    before = town.refused("stranger")
    with party(town, "Charger-2") as insider:
        announced = {
            "id": "Charger-9", "counter": "Counter-1", "model": "x", "firmware": "1", "min_a": 6,
            "max_a": 32, "phases": 1, "wiring": [1], "failsafe_a": 0,
        }  # fmt: skip
        insider.say("Counter-1/new", protocol.NEW_CHARGER, **announced)
        until("counted", lambda: town.refused("stranger") == before + 1)
    assert not town.site.charger("Charger-9")


def test_the_wrong_key(town: Town) -> None:
    before = town.refused("signature")
    with party(town, "Charger-2", key=bytes(32)) as insider:
        insider.say("Charger-2/up", protocol.CHARGER_LOAD, **load(30))
    # The ESP8266's password can be read on the way; its key cannot.
    for key in (bytes(32), None):
        with party(town, "Counter-1", key=key, boot=1_000_000) as thief:
            thief.say("Counter-1/up", protocol.COUNTER_LOAD, **load(0))
            thief.say("hello/new", protocol.NEW_COUNTER, id="Counter-1", model="x", firmware="1",
                      phases=1, role="house")  # fmt: skip
    until("all are counted", lambda: town.refused("signature") == before + 5)


def test_what_was_recorded_is_played_back(town: Town) -> None:
    heard: list[tuple[str, bytes]] = []
    spy = paho.Client(CallbackAPIVersion.VERSION2, "spy")
    spy.on_message = lambda _c, _u, m: heard.append((m.topic, bytes(m.payload)))
    spy.on_connect = lambda c, *_: c.subscribe("ievcc/home/Counter-1/up")
    context = ssl.create_default_context(cafile=str(town.site.folder / "broker/ca.crt"))
    context.load_cert_chain(town.site.folder / "manager.crt", town.site.folder / "manager.key")
    spy.tls_set_context(context)
    spy.connect("localhost", town.site.tls_port)
    spy.loop_start()
    until("something is recorded", lambda: len(heard) >= 3, 20)
    spy.disconnect()
    spy.loop_stop()
    replay, signature = town.refused("replay"), town.refused("signature")
    with party(town, "Counter-1", key=None) as thief:
        for _, data in heard[:3] * 3:
            thief.raw("Counter-1/up", data)
        until("all are counted", lambda: town.refused("replay") == replay + 9)
        # The same bytes on another topic, and a reading with its number changed, are not signed.
        thief.raw("hello/new", heard[0][1])
        changed = re.sub(rb'"seq":\d+', b'"seq":4000000', heard[0][1])
        thief.raw("Counter-1/up", changed)
        until("counted", lambda: town.refused("signature") >= signature + 1)


def test_another_devices_topic(town: Town) -> None:
    before, denied = sum(town.site.state()["refused"].values()), town.log("Denied PUBLISH")
    # By then the broker has said a few times what it has counted: the manager knows where it stands.
    until("it has run for a while", lambda: town.site.state()["uptime_s"] >= 15, 20)
    counted, octets = town.turned_away("messages"), town.turned_away("bytes")
    denied_bytes = town.denied_bytes()
    lease = {"limit_a": 0, "ttl_ms": 15000, "lease": 2_000_000_000, "reason": "cut", "re_boot": 1,
             "re_seq": 1}  # fmt: skip
    with party(town, "Charger-2") as insider:
        for topic in ("Charger-1/down", "Counter-1/down", "manager/down"):
            insider.say(topic, protocol.AVAILABLE_LOAD, **lease)
        for topic in ("Charger-1/up", "Counter-1/up"):
            insider.say(topic, protocol.COUNTER_LOAD, **load(0))
        for topic in ("Charger-1/state", "Counter-1/state", "manager/state"):
            insider.raw(topic, b"offline", retain=True)
        until("mosquitto stopped all", lambda: town.log("Denied PUBLISH") >= denied + 8)
    with party(town, "Counter-1", key=None) as thief:
        for topic in ("Charger-1/up", "Charger-1/down", "Charger-1/state", "Counter-1/down"):
            thief.raw(topic, b"x")
        until("all again", lambda: town.log("Denied PUBLISH") >= denied + 12)
    # The three that it was to retain mosquitto does not number, but weighs.
    until("the manager knows", lambda: town.turned_away("messages") == counted + 9, 30)
    denied_bytes = town.denied_bytes() - denied_bytes
    assert denied_bytes > 500
    least = octets + denied_bytes - WILLS
    until("and how much it was", lambda: town.turned_away("bytes") >= least, 30)
    assert town.turned_away("bytes") <= octets + denied_bytes
    until("and tells", lambda: any(
        "the broker turned away" in e["words"] for e in town.site.state()["events"]), 70)  # fmt: skip
    assert sum(town.site.state()["refused"].values()) == before
    assert "turned away by the broker: " in ievcc("status", "--config", str(town.site.config))


def test_another_devices_topic_with_what_the_broker_does_not_number(town: Town) -> None:
    until("it has run for a while", lambda: town.site.state()["uptime_s"] >= 15, 20)
    counted, octets = town.turned_away("messages"), town.turned_away("bytes")
    denied = town.log("Denied PUBLISH")
    with party(town, "Charger-2") as insider:
        for _ in range(100):
            insider.raw("Charger-1/state", b"offline", retain=True)
        until("mosquitto stopped all", lambda: town.log("Denied PUBLISH") >= denied + 100)
    until("the manager knows", lambda: town.turned_away("bytes") >= octets + 700 - WILLS, 40)
    assert town.turned_away("bytes") <= octets + 700
    assert town.turned_away("messages") == counted


def test_malformed_and_oversized(town: Town) -> None:
    before = sum(town.site.state()["refused"].values())
    chance = random.Random(5)
    good = protocol.encode(
        {"code": protocol.CHARGER_LOAD, "boot": 1, "seq": 1, **load(1)}
    )  # fmt: skip
    bad: list[bytes] = [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"v":1}', b"[" * 500, b'{"v":1,"code":"0x999"}',
        b'{"v":1,"code":"0x032","boot":1e99,"seq":1}', good[:-1], good + b"}", b'"' + b"x" * 600,
        b"x" * 513, b"x" * 16_000, good.replace(b"1000", b"-1"),
    ]  # fmt: skip
    bad += [chance.randbytes(chance.randrange(1, 600)) for _ in range(100)]
    with party(town, "Charger-2") as insider:
        for data in bad:
            insider.raw("Charger-2/up", data)
            insider.raw("Counter-1/new", data)
        # Longer than mosquitto passes on: it goes no further than there.
        insider.client.publish("ievcc/home/Charger-2/up", b"x" * 100_000, 0)
        counted = before + 2 * len(bad)
        until(
            "all are counted",
            lambda: sum(town.site.state()["refused"].values()) == counted,
            20,
        )


def test_a_flood(town: Town) -> None:
    before = sum(town.site.state()["refused"].values())
    events = store.read(town.site.folder / "ievcc.db", "SELECT count(*) FROM event")[0][0]
    with party(town, "Charger-2", key=bytes(32)) as insider:
        topic = f"{town.site.root}Charger-2/up"
        signed = insider.sender.seal(topic, {"code": protocol.CHARGER_LOAD, **load(30)})
        for n in range(6000):
            data = (b"{", signed, b"x" * 500)[n % 3]
            insider.client.publish(topic, data, 1)
        until(
            "all are counted",
            lambda: sum(town.site.state()["refused"].values()) == before + 6000,
            60,
        )
    now = store.read(town.site.folder / "ievcc.db", "SELECT count(*) FROM event")[0][0]
    # Five a second are written down, so that the log is not what the flood fills.
    assert now - events < 1000
