"""A whole system of real processes for a test: broker, manager, and devices that speak MQTT."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from manager import broker
from manager.process import Child
from shared import protocol


class LateError(AssertionError):
    """What had to happen did not happen in time."""


def until(what: str, ask: Callable[[], Any], within_s: float = 10.0) -> Any:
    """The first true answer, or LateError with what was waited for and the last answer."""
    deadline = time.monotonic() + within_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise LateError(f"not within {within_s:g} s: {what}; last: {answer!r}")
        time.sleep(0.05)


class Running:
    """A broker and `ievcc run` in a folder; `site` is the [site] table and more, as TOML."""

    def __init__(self, folder: Path, site: str, kind: str = "mosquitto") -> None:
        self.folder = folder
        self.kind = kind
        self.broker = broker.start(folder / "broker", kind=kind)
        self.port = broker.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = folder / "site.toml"
        self.config.write_text(
            f'{site}\n[broker]\nhost = "127.0.0.1"\nport = {self.broker.port}\n'
            f'[web]\nhost = "127.0.0.1"\nport = {self.port}\n'
        )
        self.manager = self.start_manager()
        self.root = f"ievcc/{self.state()['name']}/"

    def start_manager(self) -> Child:
        command = [sys.executable, "-m", "manager", "run", "--config", str(self.config), "-v"]
        self.manager = Child("manager", command, self.folder / "manager.log")
        until("the manager is connected", self.connected, 20)
        return self.manager

    def connected(self) -> bool:
        assert self.manager.status() is None, self.manager.words()
        try:
            return bool(self.state()["broker"]["connected"])
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def state(self) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/state", timeout=5) as answer:
            return json.load(answer)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:
            return json.load(answer)

    def post(self, path: str, body: object) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def charger(self, name: str) -> Any:
        return next((c for c in self.state()["chargers"] if c["id"] == name), None)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.manager.end()
        self.broker.stop()


def _at_once(_client: paho.Client, _: object, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Device:
    """One party on MQTT with its own numbering, as a board has: says messages, hears answers."""

    def __init__(
        self, running: Running, name: str, boot: int = 1, key: bytes | None = None, uid: str = ""
    ) -> None:
        self.running = running
        self.name = name
        self.boot = boot
        self.sender = protocol.Sender(key, boot)
        self.heard: queue.Queue[dict[str, Any]] = queue.Queue()
        self.client = self._client(f"{name}-{uid}")
        self.client.on_socket_open = _at_once
        self.client.on_connect = self._connected
        self.client.on_message = self._arrived
        self.client.will_set(f"{running.root}{name}/state", b"offline", 1, retain=True)
        self.up = False
        self._connect()
        self.client.loop_start()
        until(f"{name} is connected", lambda: self.up)

    def _client(self, name: str) -> paho.Client:
        return paho.Client(CallbackAPIVersion.VERSION2, name)

    def _connect(self) -> None:
        self.client.connect("127.0.0.1", self.running.broker.port, 15)

    def _connected(self, client: paho.Client, *_: Any) -> None:
        client.subscribe(f"{self.running.root}{self.name}/down", 1)
        client.on_subscribe = self._subscribed

    def _subscribed(self, client: paho.Client, *_: Any) -> None:
        client.publish(f"{self.running.root}{self.name}/state", b"online", 1, retain=True)
        self.up = True

    def _arrived(self, _c: paho.Client, _u: object, message: paho.MQTTMessage) -> None:
        self.heard.put(protocol.decode(message.payload))

    def say(self, topic: str, code: int, **fields: Any) -> int:
        """Publish on this topic under the root; the sequence number."""
        full = self.running.root + topic
        self.raw(topic, self.sender.seal(full, {"code": code, **fields}))
        return self.sender.seq

    def raw(self, topic: str, data: bytes, *, retain: bool = False) -> None:
        self.client.publish(self.running.root + topic, data, 1, retain).wait_for_publish(5)

    def hear(self, code: int, within_s: float = 5.0) -> dict[str, Any]:
        """The next message of this code; others are passed over."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                message = self.heard.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise LateError(f"{self.name} heard no {protocol.name_of(code)}") from None
            if message["code"] == code:
                return message

    def words(self, within_s: float = 5.0) -> str:
        return str(self.hear(protocol.REPLY, within_s)["words"])

    def announce_counter(self, topic: str = protocol.HELLO, **changes: Any) -> str:
        fields = {"id": self.name, "model": "test", "firmware": "1", "phases": 1, "role": "house"}
        self.say(topic, protocol.NEW_COUNTER, **{**fields, **changes})
        return self.words()

    def announce_charger(self, topic: str = "Counter-1/new", **changes: Any) -> str:
        fields = {
            "id": self.name,
            "counter": topic.partition("/")[0],
            "model": "test",
            "firmware": "1",
            "min_a": 6,
            "max_a": 32,
            "phases": 1,
            "wiring": [1],
            "failsafe_a": 0,
        }
        self.say(topic, protocol.NEW_CHARGER, **{**fields, **changes})
        return self.words()

    def measure(self, amps: float, code: int = protocol.COUNTER_LOAD, age_ms: int = 0) -> None:
        ma = round(amps * 1000)
        self.say(
            f"{self.name}/up",
            code,
            current_ma=[ma],
            voltage_dv=[2300],
            power_w=[ma * 230 // 1000],
            energy_wh=[0],
            age_ms=age_ms,
        )

    def close(self) -> None:
        """Leave as a crash would: no goodbye, so the last will is said."""
        self.client.loop_stop()
        if (sock := self.client.socket()) is not None:
            sock.close()
