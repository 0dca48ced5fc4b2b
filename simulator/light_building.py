"""A building's devices without boards: one meter and some chargers over MQTT, light enough for
many buildings.

They speak the wire as the boards do, follow their leases, and keep account of every message, so
that what the datahub ends up with can be compared with what was sent. A device that wants every
reading kept repeats its last messages whenever the manager comes back; the manager takes each
once.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from shared import protocol

METER = "Counter-1"
_VOLTAGE_DV = 2300
_REMEMBERED_S = 60.0


@dataclass(slots=True)
class Car:
    """What a charger's car does: plugged in for `stay_s`, away for `away_s`, at most `most_a`."""

    most_a: int
    stay_s: float
    away_s: float
    plugged: bool = False
    until: float = 0.0


@dataclass(slots=True)
class _Device:
    name: str
    energy_mwh: int = 0
    power_w: int = 0
    car: Car | None = None
    seq: int = 0
    boot: int = 1
    sent: dict[int, tuple[str, int]] = field(default_factory=dict)
    limit_a: int = 0
    lease: int = 0
    session: int = 0
    session_from_mwh: int = 0
    session_at: float = 0.0
    asked: str = ""  # the command that brought on what the car does next


class LightBuilding:
    """`chargers` chargers under one meter; every device sends a reading each `every_s` seconds."""

    def __init__(
        self, site: str, host: str, port: int, chargers: int, every_s: float, seed: int = 0
    ) -> None:
        self.root = f"ievcc/{site}/"
        self._every_s = every_s
        self._random = random.Random(f"{site} {seed}")
        self.meter = _Device(METER)
        self.chargers = [
            _Device(
                f"Charger-{i + 1}",
                car=Car(
                    self._random.choice((10, 16, 20, 32)),
                    self._random.uniform(30, 90),
                    self._random.uniform(5, 30),
                ),
            )
            for i in range(chargers)
        ]
        self._devices = {d.name: d for d in (self.meter, *self.chargers)}
        self._lock = threading.Lock()
        self._ring: deque[tuple[float, str, bytes]] = deque()
        self._heard_manager = False
        self._stopped = threading.Event()
        self._site = site
        self._broker = (host, port)
        self._client: paho.Client | None = None
        self._lost = threading.Event()
        self._closed = threading.Event()
        self._link = threading.Thread(target=self._connect, name=f"link {site}", daemon=True)
        self._thread = threading.Thread(target=self._run, name=f"building {site}", daemon=True)

    def start(self) -> None:
        """Announce everybody and begin to send."""
        self._link.start()
        with self._lock:
            self._announce(self.meter)
            for charger in self.chargers:
                self._announce(charger)
        self._thread.start()

    def stop(self) -> None:
        """Send nothing new; what was sent is still repeated if the manager comes back."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(10)

    def close(self) -> None:
        """Leave the broker."""
        self.stop()
        self._closed.set()
        self._lost.set()
        if self._link.ident is not None:
            self._link.join(10)

    def sent(self) -> dict[tuple[str, int, int], str]:
        """Every message that is to reach the cloud: (device, boot, seq) -> its name."""
        with self._lock:
            return {
                (d.name, d.boot, seq): kind
                for d in self._devices.values()
                for seq, (kind, _) in d.sent.items()
            }

    def energy_wh(self) -> dict[str, int]:
        """Each device's energy from its first reading sent to its last."""
        out = {}
        with self._lock:
            for d in self._devices.values():
                counters = [wh for kind, wh in d.sent.values() if kind.endswith("_load")]
                out[d.name] = counters[-1] - counters[0] if counters else 0
        return out

    def repeat(self) -> None:
        """Send again what was sent lately."""
        with self._lock:
            self._repeat()

    # From here on with the lock held.

    def _send(self, device: _Device, message: dict[str, Any], topic: str = "") -> None:
        device.seq += 1
        whole = {**message, "boot": device.boot, "seq": device.seq}
        code = message["code"]
        kind = protocol.name_of(code)
        if code != protocol.CHARGER_STATUS:  # states go up to the cloud only when they change
            device.sent[device.seq] = (
                kind,
                sum(message.get("energy_wh") or (0,)) if kind.endswith("_load") else 0,
            )
        place = self.root + (topic or f"{device.name}/up")
        data = protocol.encode(whole)
        now = time.monotonic()
        self._ring.append((now, place, data))
        if self._client is not None and self._heard_manager:
            while self._ring and self._ring[0][0] < now - _REMEMBERED_S:
                self._ring.popleft()
            self._client.publish(place, data, qos=1)

    def _repeat(self) -> None:
        if self._client is not None and self._heard_manager:
            for _, place, data in self._ring:
                self._client.publish(place, data, qos=1)

    def _announce(self, device: _Device) -> None:
        if device is self.meter:
            self._send(
                device,
                {
                    "code": protocol.NEW_COUNTER,
                    "id": device.name,
                    "model": "light",
                    "firmware": "1",
                    "phases": 1,
                    "role": "grid",
                },
                protocol.HELLO,
            )
        else:
            self._send(
                device,
                {
                    "code": protocol.NEW_CHARGER,
                    "id": device.name,
                    "counter": METER,
                    "model": "light",
                    "firmware": "1",
                    "min_a": 6,
                    "max_a": 32,
                    "phases": 1,
                    "wiring": [1],
                    "failsafe_a": 0,
                    "meter": 1,
                },
                f"{METER}/new",
            )

    def _run(self) -> None:
        due = last = time.monotonic()
        while not self._stopped.is_set():
            now = time.monotonic()
            with self._lock:
                self._step(now, now - last)
            last = now
            due = max(due + self._every_s, now)
            self._stopped.wait(due - time.monotonic())

    def _step(self, now: float, elapsed_s: float) -> None:
        house = 600 + int(400 * (1 + (now / 40) % 1)) + self._random.randrange(50)
        cars = 0
        for charger in self.chargers:
            self._drive(charger, now)
            assert charger.car is not None
            charging = charger.car.plugged and charger.limit_a >= 6
            amps = min(charger.limit_a, charger.car.most_a) if charging else 0
            charger.power_w = amps * _VOLTAGE_DV // 10
            cars += charger.power_w
            self._load(charger, elapsed_s, protocol.CHARGER_LOAD)
        self.meter.power_w = house + cars
        self._load(self.meter, elapsed_s, protocol.COUNTER_LOAD)

    def _drive(self, charger: _Device, now: float) -> None:
        car = charger.car
        assert car is not None
        if now < car.until:
            return
        car.plugged = not car.plugged
        car.until = now + (car.stay_s if car.plugged else car.away_s)
        if car.plugged:
            charger.session += 1
            charger.session_from_mwh = charger.energy_mwh
            charger.session_at = now
            self._send(
                charger,
                {
                    "code": protocol.SESSION_BEGIN,
                    "session": charger.session,
                    "how": "manager" if charger.asked == "start" else "free",
                    "energy_wh": charger.energy_mwh // 1000,
                    "age_s": 0,
                },
            )
        elif charger.session:
            self._send(
                charger,
                {
                    "code": protocol.SESSION_END,
                    "session": charger.session,
                    "energy_wh": (charger.energy_mwh - charger.session_from_mwh) // 1000,
                    "duration_s": int(now - charger.session_at),
                    "age_s": 0,
                    "why": "manager" if charger.asked == "stop" else "unplugged",
                },
            )
        charger.asked = ""
        self._status(charger)

    def _load(self, device: _Device, elapsed_s: float, code: int) -> None:
        device.energy_mwh += int(device.power_w * elapsed_s * 1000 / 3600)
        message: dict[str, Any] = {
            "code": code,
            "current_ma": [device.power_w * 10_000 // _VOLTAGE_DV],
            "voltage_dv": [_VOLTAGE_DV],
            "power_w": [device.power_w],
            "energy_wh": [device.energy_mwh // 1000],
            "age_ms": 0,
        }
        self._send(device, message)

    def _status(self, charger: _Device) -> None:
        assert charger.car is not None
        on = charger.limit_a >= 6
        letter = ("C" if on else "B") if charger.car.plugged else "A"
        self._send(
            charger,
            {
                "code": protocol.CHARGER_STATUS,
                "state": letter + ("2" if on else "1"),
                "offer_a": charger.limit_a,
                "lease": charger.lease,
                "lease_ms": 15_000 if charger.lease else 0,
                "contactor": int(letter == "C"),
                "mode": "managed",
                "faults": [],
                "rejected": 0,
                "uptime_s": int(time.monotonic()) % 2**31,
            },
        )

    def _connect(self) -> None:
        """Keep connected, with a new client each time: the old one would send what it still holds
        before what the broker lost, and the manager takes nothing older than what it heard.
        """
        while not self._closed.is_set():
            self._lost.clear()
            client = paho.Client(
                CallbackAPIVersion.VERSION2,
                client_id=f"light-{self._site}",
                clean_session=True,
                reconnect_on_failure=False,
            )
            client.max_inflight_messages_set(500)
            client.on_connect = self._connected
            client.on_disconnect = self._disconnected
            client.on_message = self._message
            try:
                client.connect(*self._broker, keepalive=10)
            except OSError:
                self._closed.wait(0.3)
                continue
            client.loop_start()
            self._lost.wait()
            with self._lock:
                self._heard_manager = False
                self._client = None
            client.disconnect()
            client.loop_stop()

    # From paho's thread.

    def _connected(self, client: paho.Client, *_: Any) -> None:
        with self._lock:
            self._client = client
        client.subscribe([(f"{self.root}{name}/down", 1) for name in self._devices])
        client.subscribe(f"{self.root}manager/state", 1)

    def _disconnected(self, *_: Any) -> None:
        self._lost.set()

    def _message(self, client: paho.Client, _data: Any, got: paho.MQTTMessage) -> None:
        name = got.topic.removeprefix(self.root).partition("/")[0]
        with self._lock:
            if client is not self._client:  # the last words of a connection that is lost
                return
            if name == "manager":
                self._heard_manager = got.payload == b"online"
                self._repeat()
                return
            device = self._devices.get(name)
            if device is None:
                return
            try:
                message = protocol.decode(got.payload)
            except protocol.ProtocolError:
                return
            if message["code"] == protocol.AVAILABLE_LOAD and message["lease"] > device.lease:
                device.limit_a = message["limit_a"]
                device.lease = message["lease"]
                self._status(device)
            elif message["code"] == protocol.COMMAND and device.car is not None:
                # A person at the cable: plugged in on a start, out on a stop, at once.
                wanted = {"start": True, "stop": False}.get(message["command"])
                if wanted is not None and device.car.plugged != wanted:
                    device.asked = message["command"]
                    device.car.until = 0.0
            elif (
                message["code"] == protocol.REPLY and message["result"] == protocol.UNKNOWN_DEVICE
            ):
                self._announce(device)
