"""`kill -9` at any moment, while everybody talks: the real manager on a real mosquitto.

What the broker has acknowledged to a device is the system's word that the reading will be counted:
the broker keeps it until the manager acknowledges, and the manager does so after its commit.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from manager import broker
from manager.broker import Broker
from manager.store import read
from shared import protocol
from tests.live.running import until

pytestmark = pytest.mark.broker

# Imports take most of a manager's start. This process has them done and becomes a manager by
# fork() for each line it reads, so that a thousand starts take minutes.
NURSERY = """
import os, sys
from pathlib import Path
from manager import service
from manager.web import app
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        service.serve(Path(line.strip()), verbose=False)
        os._exit(0)
    os.write(1, f"{pid}\\n".encode())
    os.waitpid(pid, 0)
    os.write(1, b"ended\\n")
"""
SITE = """
[site]
name = "kill"
limit_a = 60
open = true
worst_house_a = 0
[web]
host = "127.0.0.1"
port = {web}
[fog]
url = "http://127.0.0.1:1/nobody"
key = "{key}"
[broker]
host = "127.0.0.1"
port = {port}
"""
ROOT = "ievcc/kill/"


class Nursery:
    """Managers one after the other, each to be killed."""

    def __init__(self, folder: Path, port: int) -> None:
        self.config = folder / "site.toml"
        self.web = broker.free_port()
        self.config.write_text(SITE.format(key="11" * 32, port=port, web=self.web))
        self.store = folder / "ievcc.db"
        self._log = (folder / "managers.log").open("wb")
        self._popen = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self.pid = 0

    def start(self) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(f"{self.config}\n".encode())
        self._popen.stdin.flush()
        self.pid = int(self._line())

    def _line(self) -> str:
        assert self._popen.stdout is not None
        while True:
            line = self._popen.stdout.readline().decode()
            assert line, "no more managers"
            if line[0].isdigit() or line.startswith("ended"):
                return line.strip()

    def end(self, number: int) -> None:
        os.kill(self.pid, number)
        assert self._line() == "ended"

    def close(self) -> None:
        self._popen.kill()
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # it has the other end of the pipe, too
        self._popen.communicate()
        self._log.close()


@dataclass
class Said:
    """One reading on its way to the broker."""

    boot: int
    seq: int
    wh: int
    sent: paho.MQTTMessageInfo


class Talker:
    """A charger in a session, or a meter, that talks all the time and notes what was taken."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.meter = name.startswith("Counter")
        self.sender = protocol.Sender(None, 1)
        self.said: list[Said] = []
        self.leases: list[tuple[int, int]] = []  # number, A
        self.replies: set[str] = set()
        self.acknowledged: set[int] = set()  # sessions
        self.wh = 1000
        self.began_wh = self.wh
        self._status = False
        self.client = paho.Client(CallbackAPIVersion.VERSION2, name)
        self.client.max_queued_messages_set(0)
        self.client.max_inflight_messages_set(100)
        self.client.on_connect = lambda c, *_: c.subscribe(f"{ROOT}{name}/down", 1)
        self.client.on_message = self._heard
        self.client.connect("127.0.0.1", port, 60)
        self.client.loop_start()
        until(f"{name} is connected", self.client.is_connected)

    def say(self, code: int, topic: str = "", **fields: Any) -> paho.MQTTMessageInfo:
        full = f"{ROOT}{topic or self.name + '/up'}"
        return self.client.publish(full, self.sender.seal(full, {"code": code, **fields}), 1)

    def _heard(self, _c: paho.Client, _u: object, raw: paho.MQTTMessage) -> None:
        message = protocol.decode(raw.payload)
        if message["code"] == protocol.AVAILABLE_LOAD:
            self.leases.append((message["lease"], message["limit_a"]))
            self._status = True
        elif message["code"] == protocol.REPLY:
            self.replies.add(message["words"])
        elif message["code"] == protocol.SESSION_ACK:
            self.acknowledged.add(message["session"])

    def announce(self) -> None:
        about = {"id": self.name, "model": "test", "firmware": "1", "phases": 1}
        if self.meter:
            self.say(protocol.NEW_COUNTER, protocol.HELLO, role="house", **about)
        else:
            wiring = {"min_a": 6, "max_a": 32, "wiring": [1], "failsafe_a": 0}
            counter = {"counter": "Counter-1"}
            self.say(protocol.NEW_CHARGER, "Counter-1/new", **about, **wiring, **counter)

    def registered(self) -> bool:
        self.announce()
        return bool(self.replies)

    def talk(self) -> None:
        """A reading; for a charger sometimes how it is, too."""
        self.wh += 1
        fields: dict[str, Any] = {
            "current_ma": [6000],
            "voltage_dv": [2300],
            "power_w": [1380],
            "energy_wh": [self.wh],
            "age_ms": 0,
        }
        code = protocol.COUNTER_LOAD
        if not self.meter:
            code = protocol.CHARGER_LOAD
            fields |= {"session": 1, "session_wh": self.wh - self.began_wh}
        sent = self.say(code, **fields)
        self.said.append(Said(1, self.sender.seq, self.wh, sent))
        if not self.meter and (self._status or self.wh % 20 == 0):
            self._status = False
            self.status("C2")

    def status(self, state: str, mode: str = "managed") -> paho.MQTTMessageInfo:
        """How the charger is, going by the newest lease."""
        lease, limit = self.leases[-1] if self.leases else (0, 0)
        return self.say(protocol.CHARGER_STATUS, state=state, offer_a=limit, lease=lease, lease_ms=9000,
                        contactor=int(state[0] == "C"), mode=mode, faults=[], rejected=0, uptime_s=1)  # fmt: skip

    def close(self) -> None:
        self.client.loop_stop()
        self.client.disconnect()


class Load:
    """Three devices that talk without pause, from a thread of their own."""

    def __init__(self, port: int) -> None:
        self.talkers = [Talker(port, n) for n in ("Counter-1", "Charger-1", "Charger-2")]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        for talker in self.talkers:
            until(f"{talker.name} is registered", talker.registered)
            if not talker.meter:
                talker.say(
                    protocol.SESSION_BEGIN, session=1, how="free", energy_wh=talker.wh, age_s=0
                )
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.wait(0.02):
            for talker in self.talkers:
                talker.talk()

    def stop(self) -> None:
        """No more talk; every message taken by the broker, every session at its end."""
        self._ending.set()
        self._thread.join()
        for talker in self.talkers:
            talker.said[-1].sent.wait_for_publish(30)
            if not talker.meter:
                talker.say(protocol.SESSION_END, session=1, energy_wh=talker.wh - talker.began_wh,
                           duration_s=60, age_s=0, why="unplugged")  # fmt: skip

    def close(self) -> None:
        self._ending.set()
        for talker in self.talkers:
            talker.close()


@pytest.fixture
def mqtt(tmp_path: Path, mosquitto: str) -> Iterator[Broker]:
    own = broker.start(tmp_path / "broker", kind="mosquitto")
    yield own
    own.stop()


def killed(folder: Path, port: int, times: int) -> None:
    nursery = Nursery(folder, port)
    load = Load(port)
    seconds = random.Random(times)
    try:
        nursery.start()
        load.start()
        for _ in range(times):
            time.sleep(seconds.uniform(0.0, 0.7))
            nursery.end(signal.SIGKILL)
            nursery.start()
        load.stop()
        chargers = load.talkers[1:]
        until("sessions are on disk", lambda: all(t.acknowledged == {1} for t in chargers), 60)
        nursery.end(signal.SIGTERM)
        check(nursery.store, load)
    finally:
        load.close()
        nursery.close()


def check(store: Path, load: Load) -> None:
    for talker in load.talkers:
        acknowledged = {(s.boot, s.seq): s.wh for s in talker.said if s.sent.is_published()}
        assert len(acknowledged) == len(talker.said)
        kept = read(
            store, "SELECT boot, seq, energy_wh FROM reading WHERE device = ?", [talker.name]
        )
        assert len(kept) == len({(b, s) for b, s, _ in kept})
        assert {(b, s): wh for b, s, wh in kept} == acknowledged
    # What goes on to the fog is numbered there by the same pair: once each, here too.
    outbox = read(store, "SELECT device, boot, seq FROM outbox WHERE kind LIKE '%load'")
    assert len(outbox) == len(set(outbox)) == sum(len(t.said) for t in load.talkers)
    for talker in load.talkers[1:]:
        used = talker.wh - talker.began_wh
        row = read(
            store,
            "SELECT s.energy_wh, (SELECT sum(energy_wh) FROM quarter WHERE session = s.id)"
            " FROM session s WHERE charger = ?",
            [talker.name],
        )
        assert row == [(used, used)]
        # A lease's number is used once, whoever sent it; a broker may deliver one twice.
        given = dict(talker.leases)
        assert given.items() == set(talker.leases)
        assert given, "leases came while managers died"
    fault = read(store, "PRAGMA integrity_check")
    assert fault == [("ok",)]


@pytest.mark.parametrize("taken", [False, True], ids=["as the broker has it", "once it is taken"])
def test_what_a_charger_takes_by_its_own_rule_is_known_after_a_kill(
    tmp_path: Path, mqtt: Broker, taken: bool
) -> None:
    """It says so once and is never heard again."""
    nursery = Nursery(tmp_path, mqtt.port)
    meter, silent, other = (Talker(mqtt.port, n) for n in ("Counter-1", "Charger-1", "Charger-2"))
    try:
        nursery.start()
        for talker in (meter, silent, other):
            until(f"{talker.name} is registered", talker.registered)
        silent.status("A1")
        other.status("A1")
        silent.status("C2", "manual").wait_for_publish(10)
        if taken:
            told = "SELECT 1 FROM event WHERE kind = 'own_rule'"
            until("the manager has taken it", lambda: read(nursery.store, told))
        nursery.end(signal.SIGKILL)
        nursery.start()

        def offered() -> bool:
            meter.say(protocol.COUNTER_LOAD, current_ma=[0], voltage_dv=[2300], power_w=[0],
                      energy_wh=[1000], age_ms=0)  # fmt: skip
            other.status("C2")
            time.sleep(0.5)
            return sum(a > 0 for _, a in other.leases) > 2

        until("leases come", offered, 60)
    finally:
        for talker in (meter, silent, other):
            talker.close()
        nursery.close()
    assert {a for _, a in other.leases if a} == {60 - 32}


def test_what_was_answered_is_kept(tmp_path: Path, mqtt: Broker) -> None:
    # Killed as soon as the answer is there: the next manager goes by it.
    nursery = Nursery(tmp_path, mqtt.port)
    url = f"http://127.0.0.1:{nursery.web}/api/"

    def state() -> Any:
        try:
            with urllib.request.urlopen(url + "state", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    try:
        nursery.start()
        for amps in range(20, 26):
            until("it answers", state, 20)
            head = {"Content-Type": "application/json"}
            said = json.dumps({"limit_a": amps}).encode()
            urllib.request.urlopen(urllib.request.Request(url + "limit", said, head), timeout=10)
            nursery.end(signal.SIGKILL)
            nursery.start()
            assert until("it answers again", state, 20)["by_hand_a"] == amps
        nursery.end(signal.SIGTERM)
    finally:
        nursery.close()


def test_twenty_times(tmp_path: Path, mqtt: Broker) -> None:
    killed(tmp_path, mqtt.port, 20)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_thousand_times(tmp_path: Path, mqtt: Broker) -> None:
    killed(tmp_path, mqtt.port, 1000)
