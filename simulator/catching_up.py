"""A building the fog could not be reached from for days: what its manager has kept, and how fast
it decides while all of it goes up.
"""

from __future__ import annotations

import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from manager import broker, store
from manager.forward import Settings
from manager.outbox import Outbox
from manager.process import Child
from shared import protocol

METER = "Counter-1"
LIMIT_A = 200
_HIGHEST_A = 150  # of the house: at 6 A each, eight chargers have nothing left to be cut by
_LOWEST_A = 10
_BATCH = 5000
_PERIOD_S = 0.25
_PACE_S = 0.05
_FEW = 500  # records that wait even when all is well: the manager makes new ones


def fill(path: Path, key: bytes, days: float, every_s: float, chargers: int, now_ms: int) -> int:
    """Put into the store at `path` what a manager with one meter and `chargers` chargers keeps
    for the fog in so many days until `now_ms`: readings every `every_s`, a decision a minute and
    charger, a session a day and charger. Returns how many records.
    """
    db = store.connect(path)
    box = Outbox(key, 1)
    rounds = int(days * 86_400 / every_s)
    per_day = max(1, int(86_400 / every_s))
    per_minute = max(1, int(60 / every_s))
    names = [f"Charger-{i + 1}" for i in range(chargers)]
    seq = dict.fromkeys((METER, *names), 0)

    def say(device: str, code: int, t_ms: int, **fields: Any) -> list[store.Row]:
        seq[device] += 1
        return box.message(device, {"code": code, "boot": 1, "seq": seq[device], **fields}, t_ms)

    rows: list[store.Row] = []
    count = 0
    for turn in range(rounds):
        t_ms = now_ms - int((rounds - turn) * every_s * 1000)
        for device in (METER, *names):
            code = protocol.COUNTER_LOAD if device == METER else protocol.CHARGER_LOAD
            power = 1000 + turn * 7919 % 2600
            rows += say(
                device,
                code,
                t_ms,
                current_ma=[power * 100 // 23],
                voltage_dv=[2290 + turn % 20],
                power_w=[power],
                energy_wh=[turn * 5],
                pf_pct=[99],
                freq_mhz=50_000,
                age_ms=120,
            )
        for device in names:
            day = turn // per_day
            if turn % per_day == 0:
                how = {"how": "card", "card": "04a1b2c3", "energy_wh": turn * 5, "age_s": 0}
                rows += say(device, protocol.SESSION_BEGIN, t_ms, session=day + 1, **how)
            elif turn % per_day == per_day - 1:
                how = {"energy_wh": 9000, "duration_s": 80_000, "age_s": 0, "why": "unplugged"}
                rows += say(device, protocol.SESSION_END, t_ms, session=day + 1, **how)
            if turn % per_minute == 0:
                rows.append(box.decision(device, 6 + turn % 26, turn, "fair", "its share", t_ms))
        if len(rows) >= _BATCH or turn == rounds - 1:
            count += len(rows)
            db.execute("BEGIN")
            for statement, values in rows:
                db.execute(statement, values)
            db.execute("COMMIT")
            rows = []
    db.close()
    return count


def waiting(path: Path) -> int:
    """How many records still wait in the store at `path`, as good as exactly."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        first, last = db.execute("SELECT min(n), max(n) FROM outbox").fetchone()
        return 0 if first is None else int(last - first + 1)
    finally:
        db.close()


class CutOff:
    """A building in `folder`: a broker, a manager with `days` behind it that the fog at `url` has
    not heard of, and a probe of its decisions. A context manager.
    """

    def __init__(self, folder: Path, fog: Settings, days: float) -> None:
        self._folder = folder
        self._fog = fog
        self._days = days
        self.path = folder / "ievcc.db"
        self.kept = 0  # records that were there as the manager started

    def __enter__(self) -> Self:
        folder, fog = self._folder, self._fog
        folder.mkdir(parents=True, exist_ok=True)
        now_ms = time.time_ns() // 1_000_000
        self.kept = fill(self.path, fog.key, self._days, 5, 3, now_ms)
        self._broker = broker.start(folder / "broker")
        (folder / "site.toml").write_text(f"""\
[site]
name = "{fog.site}"
limit_a = {LIMIT_A}
open = true
[broker]
host = "127.0.0.1"
port = {self._broker.port}
[web]
host = "127.0.0.1"
port = {broker.free_port()}
[fog]
url = "{fog.url}"
key = "{fog.key.hex()}"
password = "{fog.password}"
ca = "{fog.ca}"
""")
        command = [sys.executable, "-m", "manager", "run", "--config", str(folder / "site.toml")]
        self.manager = Child("manager", command, folder / "manager.log")
        try:
            self.probe = Probe(fog.site, self._broker.port)
        except TimeoutError as e:
            words = self.manager.words()
            self.__exit__(None, None, None)
            raise TimeoutError(f"{e}: {words}") from None
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "probe"):
            self.probe.close()
        self.manager.end(10)
        self._broker.stop()

    def idle(self, seconds: float) -> list[float]:
        """Times of decisions, in ms, while nothing can be sent."""
        ends = time.monotonic() + seconds
        return [ms for _, ms in self.probe.measure(lambda: time.monotonic() > ends)]

    def busy(self, begin: Callable[[], None], most_s: float) -> tuple[list[float], float]:
        """Let the fog come back by `begin`; (times of decisions in ms, seconds) from the first
        record's leaving to the last's.
        """
        taken: list[tuple[float, float]] = []
        over = threading.Event()
        # Kafka must be started from a thread that stays.
        probing = threading.Thread(target=lambda: taken.extend(self.probe.measure(over.is_set)))
        probing.start()
        try:
            begin()
            began = self._until(lambda left: left < self.kept, most_s)
            ended = self._until(lambda left: left < _FEW, most_s)
        finally:
            over.set()
            probing.join(90)
        return [ms for at, ms in taken if began <= at <= ended], ended - began

    def _until(self, so: Callable[[int], bool], most_s: float) -> float:
        ends = time.monotonic() + most_s
        while not so(left := waiting(self.path)):
            if time.monotonic() > ends:
                raise TimeoutError(f"{left} of {self.kept} still wait after {most_s:g} s")
            time.sleep(0.05)
        return time.monotonic()


class Probe:
    """A meter and chargers over MQTT that find out how fast a manager decides.

    With every reading the house takes an ampere more than is left, so that some charger must be
    cut by the next answer. What `measure` returns are the times from a reading's leaving to the cut's
    arrival, in ms: broker, manager and its disk (a cut is kept before it is sent).
    """

    def __init__(self, site: str, port: int, chargers: int = 8) -> None:
        self._root = f"ievcc/{site}/"
        self._names = [f"Charger-{i + 1}" for i in range(chargers)]
        self._seq = dict.fromkeys((METER, *self._names), 0)
        self._lock = threading.Condition()
        self._offer: dict[str, int] = {}
        self._lease = dict.fromkeys(self._names, 0)
        self._cuts: list[float] = []
        self._house_a = _LOWEST_A
        self._manager_up = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"probe-{site}")
        self._client.on_socket_open = _at_once
        self._client.on_connect = self._connected
        self._client.on_message = self._heard
        self._client.connect("127.0.0.1", port, 30)
        self._client.loop_start()
        if not self._manager_up.wait(60):
            self.close()
            raise TimeoutError("no manager within 60 s")
        self._announce()

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()

    def measure(self, done: Callable[[], bool]) -> list[tuple[float, float]]:
        """[(when, ms), ...] until `done` says so; no answer within 10 s counts as 10 s."""
        taken: list[tuple[float, float]] = []
        while not done():
            with self._lock:
                self._house_a = LIMIT_A - sum(self._offer.values()) + 1  # one too many
                if self._house_a <= _HIGHEST_A:
                    self._cuts.clear()
                    at = time.monotonic()
                    self._read()
                    self._lock.wait_for(lambda: bool(self._cuts), 10)
                    came = self._cuts[0] if self._cuts else time.monotonic()
                    taken.append((at, 1000 * (came - at)))
                    # The chargers get it back in their time.
                    self._house_a = _LOWEST_A
                    self._read()
            if self._house_a > _HIGHEST_A:
                self._rise(done)
            time.sleep(_PACE_S)
        return taken

    def _rise(self, done: Callable[[], bool] = lambda: False) -> None:
        """The house takes little again; wait for what the chargers get then, or for `done`."""
        self._house_a = _LOWEST_A
        ends = time.monotonic() + 60
        wanted = min(LIMIT_A - _LOWEST_A, 32 * len(self._names)) - 20
        while time.monotonic() < ends and not done():
            with self._lock:
                self._read()
                if sum(self._offer.values()) >= wanted:
                    return
            time.sleep(_PERIOD_S)
        if not done():
            raise TimeoutError(f"{sum(self._offer.values())} A offered of {wanted} A")

    def _announce(self) -> None:
        self._say(
            METER, protocol.HELLO, code=protocol.NEW_COUNTER, id=METER, model="probe",
            firmware="1", phases=1, role="house",
        )  # fmt: skip
        for name in self._names:
            self._say(
                name, f"{METER}/new", code=protocol.NEW_CHARGER, id=name, counter=METER,
                model="probe", firmware="1", min_a=6, max_a=32, phases=1, wiring=[1],
                failsafe_a=0,
            )  # fmt: skip
        for name in self._names:
            self._status(name)
        self._rise()

    def _read(self) -> None:
        ma = self._house_a * 1000
        self._say(
            METER, f"{METER}/up", code=protocol.COUNTER_LOAD, current_ma=[ma], voltage_dv=[2300],
            power_w=[ma * 23 // 100], energy_wh=[0], age_ms=0,
        )  # fmt: skip

    def _status(self, name: str) -> None:
        offer = self._offer.get(name, 0)
        self._say(
            name, f"{name}/up", code=protocol.CHARGER_STATUS, state="C2", offer_a=offer,
            lease=self._lease[name], lease_ms=15_000 if self._lease[name] else 0,
            contactor=int(offer > 0), mode="managed", faults=[], rejected=0, uptime_s=1,
        )  # fmt: skip

    def _say(self, device: str, topic: str, **message: Any) -> None:
        with self._lock:
            self._seq[device] += 1
            whole = {**message, "boot": 2, "seq": self._seq[device]}
            self._client.publish(self._root + topic, protocol.encode(whole), qos=1)

    def _connected(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([(f"{self._root}{name}/down", 1) for name in self._seq])
        client.subscribe(f"{self._root}manager/state", 1)

    def _heard(self, _client: paho.Client, _data: Any, got: paho.MQTTMessage) -> None:
        at = time.monotonic()
        name = got.topic.removeprefix(self._root).partition("/")[0]
        if name == "manager":
            if got.payload == b"online":
                self._manager_up.set()
            return
        message = protocol.decode(got.payload)
        if message["code"] != protocol.AVAILABLE_LOAD:
            return
        with self._lock:
            if message["lease"] <= self._lease[name]:
                return
            if message["limit_a"] < self._offer.get(name, 0):
                self._cuts.append(at)
                self._lock.notify()
            self._offer[name] = message["limit_a"]
            self._lease[name] = message["lease"]
            self._status(name)


def _at_once(_client: paho.Client, _data: object, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
