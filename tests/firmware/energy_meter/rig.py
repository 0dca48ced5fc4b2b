"""An energy meter whole: its firmware on a simulated board, a PZEM that is not ours, a broker, and
the little of a manager that it takes to be believed."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from manager import broker as brokers
from shared import protocol
from simulator.board import Board
from simulator.pzem_slave import Line, Pzem

KEY = "00112233445566778899aabbccddeeff"
SETTINGS: dict[str, Any] = {
    "id": "Counter-1",
    "site": "home",
    "key": KEY,
    "wifi_ssid": "home",
    "wifi_password": "not a real one",
    "broker_host": "127.0.0.1",
    "repl_window_ms": 100,
    "role": "grid",
}


class Manager:
    """Hears a meter, keeps what it says, and answers as the manager does."""

    def __init__(self, port: int, key: str = KEY, device: str = "Counter-1") -> None:
        self.port = port
        self.messages: list[tuple[float, dict[str, Any]]] = []
        self.bad: list[tuple[str, bytes]] = []
        self.states: list[str] = []
        self.answers = True  # to announcements
        self.bundle = b""  # what an update consists of
        self.device = device
        self.root = "ievcc/home/"
        self.boot_seq = (0, 0)
        self._key = bytes.fromhex(key) or None
        self._receiver = protocol.Receiver(self._key)
        self._sender = protocol.Sender(self._key, 7)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._connected
        self._client.on_message = self._heard
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _connected(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(self.root + "#", 1)

    def _heard(self, _: Any, __: Any, got: mqtt.MQTTMessage) -> None:
        topic = got.topic.removeprefix(self.root)
        if topic.endswith("/state"):
            self.states.append(got.payload.decode())
            return
        if topic.endswith("/down"):
            return
        try:
            message = self._receiver.open(got.topic, bytes(got.payload))
        except protocol.ProtocolError:
            self.bad.append((topic, bytes(got.payload)))
            return
        self.boot_seq = (message["boot"], message["seq"])
        self.messages.append((time.monotonic(), message))
        if message["code"] == protocol.NEW_COUNTER and self.answers:
            self.reply(protocol.OK, "Counter registered: Counter-1")
        if message["code"] == protocol.UPDATE_STATUS and message["state"] == "loading":
            self._piece(message["offset"])

    def offer(self, bundle: bytes, version: str, digest: str = "") -> None:
        """Offer an update; its pieces go as the device asks for them."""
        self.bundle = bundle
        self.say(
            {
                "code": protocol.UPDATE_OFFER,
                "update": 1,
                "version": version,
                "size": len(bundle),
                "sha256": digest or hashlib.sha256(bundle).hexdigest(),
            }
        )

    def _piece(self, at: int) -> None:
        data = self.bundle[at : at + 128].hex()
        self.say({"code": protocol.UPDATE_CHUNK, "update": 1, "offset": at, "data": data})

    def reply(self, result: int, words: str) -> None:
        """Answer the newest message."""
        self.say({"code": protocol.REPLY, "result": result, "words": words})

    def say(self, message: dict[str, Any]) -> None:
        """Send a message, as the answer to the newest one heard."""
        boot, seq = self.boot_seq
        message = {**message, "re_boot": boot, "re_seq": seq}
        topic = f"{self.root}{self.device}/down"
        self._client.publish(topic, self._sender.seal(topic, message), 1)

    def raw(self, topic: str, data: bytes, retain: bool = False) -> None:
        """Anything at all."""
        self._client.publish(self.root + topic, data, 1, retain)

    def of(self, code: int) -> list[dict[str, Any]]:
        """The messages of one kind heard so far."""
        return [m for _, m in list(self.messages) if m["code"] == code]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Rig:
    """The meter, its PZEMs and its manager."""

    def __init__(
        self, board: Board, line: Line, manager: Manager, broker: brokers.Broker, folder: Path
    ) -> None:
        self.board = board
        self.line = line
        self.manager = manager
        self.broker = broker
        self.folder = folder

    @property
    def loads(self) -> list[dict[str, Any]]:
        return self.manager.of(protocol.COUNTER_LOAD)

    @property
    def statuses(self) -> list[dict[str, Any]]:
        return self.manager.of(protocol.COUNTER_STATUS)

    async def until(self, what: Callable[[], Any], seconds: float = 15) -> Any:
        """Wait for something to become true, and give it."""
        ends = time.monotonic() + seconds
        while True:
            got = what()
            if got:
                return got
            assert time.monotonic() < ends, (self.statuses[-3:], self.board.resets)
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def meter(
    tmp_path: Path,
    pzems: list[Pzem] | None = None,
    *,
    paced: bool = True,
    oled: bool = False,
    chip: str | None = None,
    cpython: bool = False,
    **settings: Any,
) -> AsyncIterator[Rig]:
    """A meter that runs; everything ends with the block."""
    if pzems is None:
        pzems = [Pzem(1, update_s=0)]
        pzems[0].set(current_ma=3000)
    with contextlib.ExitStack() as ends:
        broker = brokers.start(tmp_path / "broker", kind="mosquitto")
        ends.callback(broker.stop)
        manager = Manager(broker.port)
        ends.callback(manager.close)
        line = Line(pzems, paced=paced)
        config = {**SETTINGS, "broker_port": broker.port, "phases": len(pzems), **settings}
        flash = tmp_path / "flash"
        board = Board(
            "energy_meter", config, flash, uart=line.open(), chip=chip, cpython=cpython, oled=oled
        )
        ends.callback(line.close)
        await board.start()
        try:
            yield Rig(board, line, manager, broker, flash)
        finally:
            await board.stop()
