"""The MQTT link on a board's sockets, whose time-outs setblocking(True) cancels: no call hangs.

Programs run on the simulated board; each prints lines of JSON, and those are what is looked at.
"""

import asyncio
import contextlib
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from manager import broker as brokers
from shared import protocol
from simulator.board import Board

pytestmark = [pytest.mark.board, pytest.mark.broker]
KEY = bytes(range(16))
LIMIT_MS = 800

PROGRAM = """
import json, network, time
from firmware.common.config import Config
from firmware.common.link import Link
from shared import protocol

wlan = network.WLAN(network.WLAN.IF_STA)
wlan.active(True)
wlan.connect("home", "x")
while not wlan.isconnected():
    time.sleep_ms(20)
link = Link(Config(), 1, "aa", limit_ms=%d%s)
slowest = sent = heard = 0
began = time.ticks_ms()
STATUS = {"code": protocol.COUNTER_STATUS, "state": "ok", "faults": [], "rejected": 0, "uptime_s": 0}
prepare = False
def timed(call, *args):
    global slowest
    at = time.ticks_ms()
    result = call(*args)
    slowest = max(slowest, time.ticks_diff(time.ticks_ms(), at))
    return result
words = ""
told = 0
while True:
    timed(link.service)
    %s
    got = link.take()
    while got is not None:
        heard += 1
        words = got[1].get("words", words)
        got = link.take()
    if time.ticks_diff(time.ticks_ms(), told) > 100:
        told = time.ticks_ms()
        print(json.dumps({"connected": link.connected, "session": link.session, "sent": sent,
            "heard": heard, "words": words, "rejected": link.rejected, "slowest": slowest,
            "fault": link.fault, "ms": time.ticks_diff(told, began)}))
    timed(link.wait, 20)
"""
FOLLOWING = ", follow=(('m2', bytes(16)),)"
SHORT_OF_MEMORY = """
    if not prepare:
        prepare = True
        class Short:  # of memory at the first try, each time
            def __init__(self, real):
                self.real = real
                self.tries = 0
            def open(self, topic, data):
                self.tries += 1
                if self.tries % 2:
                    raise MemoryError
                return self.real.open(topic, data)
        link._receivers["m1/down"] = ("", Short(link._receivers["m1/down"][1]))
"""
PUBLISH = "sent += 1 if timed(link.publish, STATUS) else 0"


class Bench:
    """A board that runs one of these programs."""

    def __init__(self, board: Board) -> None:
        self.board = board

    @property
    def told(self) -> dict[str, Any]:
        return self.board.console

    async def until(self, what: Callable[[dict[str, Any]], Any], seconds: float = 10) -> Any:
        for _ in range(int(seconds / 0.02)):
            if self.told and (got := what(self.told)):
                return got
            await asyncio.sleep(0.02)
        raise AssertionError(self.told)


@contextlib.asynccontextmanager
async def running(
    tmp_path: Path, port: int, each_round: str = "pass", extra: str = ""
) -> AsyncIterator[Bench]:
    settings = {
        "id": "m1",
        "key": KEY.hex(),
        "broker_host": "127.0.0.1",
        "broker_port": port,
        "keepalive_s": 5,
    }
    program = PROGRAM % (LIMIT_MS, extra, each_round)
    board = Board("energy_meter", settings, tmp_path / "flash", main=program)
    await board.start()
    try:
        yield Bench(board)
    finally:
        await board.stop()


@contextlib.contextmanager
def a_broker(tmp_path: Path, port: int = 0) -> Any:
    broker = brokers.start(tmp_path / "broker", port=port, kind="mosquitto")
    try:
        yield broker
    finally:
        broker.stop()


class Other:
    """Another client of the broker."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("ievcc/#", 1)
        self.client.on_message = lambda _, __, m: self.heard.append((m.topic, bytes(m.payload)))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.sender = protocol.Sender(KEY, 7)

    def say(self, words: str, **fields: Any) -> bytes:
        """A reply to the board; the bytes that went."""
        topic = "ievcc/home/m1/down"
        message = {"code": protocol.REPLY, "result": 0, "words": words, "re_boot": 1, "re_seq": 1}
        data = self.sender.seal(topic, {**message, **fields})
        self.client.publish(topic, data, 1)
        return data

    def states(self) -> list[bytes]:
        return [data for topic, data in self.heard if topic.endswith("/state")]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(autouse=True)
def _real_parts(micropython: str, mosquitto: str) -> None:
    """Both are needed by every test here."""


def test_it_says_when_it_comes_and_the_broker_says_when_it_goes(tmp_path: Path) -> None:
    async def run() -> None:
        with a_broker(tmp_path) as broker, contextlib.closing(Other(broker.port)) as other:
            async with running(tmp_path, broker.port, PUBLISH) as bench:
                await bench.until(lambda t: t["sent"] > 3)
                assert other.states() == [b"online"]
            for _ in range(100):
                await asyncio.sleep(0.1)
                if len(other.states()) > 1:
                    break
            assert other.states() == [b"online", b"offline"]  # its last will

    asyncio.run(run())


def test_only_what_is_signed_and_new_arrives(tmp_path: Path) -> None:
    async def run() -> None:
        with a_broker(tmp_path) as broker, contextlib.closing(Other(broker.port)) as other:
            async with running(tmp_path, broker.port) as bench:
                await bench.until(lambda t: t["connected"])
                topic = "ievcc/home/m1/down"
                data = other.say("first")
                await bench.until(lambda t: t["heard"] == 1)
                other.client.publish(topic, data, 1)  # again
                other.client.publish(topic, data.replace(b"first", b"worst"), 1)
                other.say("of another start", re_boot=0)
                other.client.publish(topic, b"", 1)
                await bench.until(lambda t: t["rejected"] == 4)
                other.say("last")
                await bench.until(lambda t: t["words"] == "last")
                assert bench.told["heard"] == 2

    asyncio.run(run())


def test_what_could_not_be_opened_for_want_of_memory_is_not_lost(tmp_path: Path) -> None:
    async def run() -> None:
        with a_broker(tmp_path) as broker, contextlib.closing(Other(broker.port)) as other:
            async with running(tmp_path, broker.port, SHORT_OF_MEMORY) as bench:
                await bench.until(lambda t: t["connected"])
                for n in range(5):
                    other.say(f"no. {n}")
                await bench.until(lambda t: t["words"] == "no. 4")
                assert (bench.told["heard"], bench.told["rejected"]) == (5, 0)

    asyncio.run(run())


def test_a_packet_larger_than_its_memory_is_thrown_away(tmp_path: Path) -> None:
    async def run() -> None:
        with a_broker(tmp_path) as broker, contextlib.closing(Other(broker.port)) as other:
            async with running(tmp_path, broker.port) as bench:
                await bench.until(lambda t: t["connected"])
                other.client.publish("ievcc/home/m1/down", bytes(200_000), 1)
                other.say("after it")
                await bench.until(lambda t: t["words"] == "after it")
                assert bench.told["session"] == 1
                assert bench.told["rejected"] == 1

    asyncio.run(run())


def test_packet_numbers_wrap(tmp_path: Path) -> None:
    each = (
        "link._client and link._client.pid == 2 and setattr(link._client, 'pid', 65530); "
        + PUBLISH
    )

    async def run() -> None:
        with a_broker(tmp_path) as broker:
            async with running(tmp_path, broker.port, each) as bench:
                await bench.until(lambda t: t["sent"] > 15)
                assert bench.told["session"] == 1
                assert bench.told["slowest"] < LIMIT_MS

    asyncio.run(run())


def test_after_a_broker_restart_it_hears_again(tmp_path: Path) -> None:
    async def run() -> None:
        with a_broker(tmp_path) as broker:
            async with running(tmp_path, broker.port, PUBLISH) as bench:
                await bench.until(lambda t: t["sent"] > 3)
                broker.stop()
                await bench.until(lambda t: not t["connected"])
                with (
                    a_broker(tmp_path, broker.port),
                    contextlib.closing(Other(broker.port)) as other,
                ):
                    await bench.until(lambda t: t["session"] == 2, 15)
                    await asyncio.sleep(0.3)
                    other.say("again")
                    await bench.until(lambda t: t["words"] == "again")

    asyncio.run(run())


def test_a_dead_broker_is_noticed_and_no_call_hangs(tmp_path: Path) -> None:
    """The process stopped, its connections open: nothing is refused and nothing is answered."""

    async def run() -> None:
        with a_broker(tmp_path) as broker:
            for each_round in ("pass", PUBLISH):
                async with running(tmp_path, broker.port, each_round) as bench:
                    await bench.until(lambda t: t["connected"])
                    await asyncio.sleep(0.3)
                    os.kill(broker.child.pid, signal.SIGSTOP)
                    try:
                        # Half a keepalive, the ping's limit, and a little.
                        await bench.until(lambda t: not t["connected"], 2.5 + 0.8 + 1.2)
                        assert bench.told["fault"] == "silent"
                        await asyncio.sleep(4)
                    finally:
                        os.kill(broker.child.pid, signal.SIGCONT)
                    await bench.until(lambda t: t["connected"], 15)
                    assert bench.told["slowest"] < LIMIT_MS + 300

    asyncio.run(run())


def test_a_charger_hears_the_meter_it_follows_and_nobody_else(tmp_path: Path) -> None:
    async def run() -> None:
        with a_broker(tmp_path) as broker, contextlib.closing(Other(broker.port)) as other:
            async with running(tmp_path, broker.port, "pass", FOLLOWING) as bench:
                await bench.until(lambda t: t["connected"])
                load = {
                    "code": protocol.COUNTER_LOAD, "current_ma": [1], "voltage_dv": [2300],
                    "power_w": [0], "energy_wh": [0], "age_ms": 0,
                }  # fmt: skip
                meter = protocol.Sender(bytes(16), 3)
                for topic, sender in (
                    ("ievcc/home/m2/up", protocol.Sender(KEY, 3)),  # somebody else's key
                    ("ievcc/home/m3/up", meter),  # somebody else
                    ("ievcc/home/m2/up", meter),
                ):
                    other.client.publish(topic, sender.seal(topic, load), 1)
                await bench.until(lambda t: t["heard"] == 1)
                assert bench.told["rejected"] == 1

    asyncio.run(run())


CONNACK = bytes.fromhex("20020000")
SUBACK = bytes.fromhex("9003000101")
PUBACK = bytes.fromhex("40020002")
ONLINE = CONNACK + SUBACK + PUBACK


def rude_broker(script: bytes, trickle_s: float) -> tuple[int, Callable[[], None]]:
    """A server that says these bytes to everybody, then one more byte each `trickle_s` (0: then
    nothing, negative: then hangs up)."""
    import socket
    import time

    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve(visitor: socket.socket) -> None:
        with visitor, contextlib.suppress(OSError):
            # Not all at once: umqtt must have asked before the answer comes.
            for byte in script:
                visitor.sendall(bytes([byte]))
                time.sleep(0.01)
            while trickle_s >= 0 and not ended.wait(trickle_s or 0.2):
                if trickle_s:
                    visitor.sendall(b"x")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                visitor = listener.accept()[0]
                threading.Thread(target=serve, args=(visitor,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()

    def end() -> None:
        ended.set()
        listener.close()

    return int(listener.getsockname()[1]), end


TOPIC = b"ievcc/home/m1/down"
PUBLISHED = b"\x32\xff\x03\x00" + bytes([len(TOPIC)]) + TOPIC  # QoS 1, 511 bytes are to come


@pytest.mark.parametrize(
    ("script", "trickle_s"),
    [
        (b"", 0),  # accepts, and never speaks
        (b"", 0.1),
        (b"\x20", 0),  # half an answer to the connection
        (CONNACK, 0),
        (CONNACK + b"\x90", 0),
        (CONNACK + SUBACK, 0),
        (ONLINE + PUBLISHED[:1], 0),  # half a packet
        (ONLINE + PUBLISHED, 0.3),  # a packet that takes for ever
        (ONLINE + b"\x32\xff\xff\xff\x7f", 0.3),  # one of 256 MiB
        (ONLINE + b"\x32\x03\x00\xff", 0.1),  # a topic longer than its packet
        (ONLINE + b"\x40\x02\x00\x09", 0.1),  # an acknowledgement nobody waits for
        (ONLINE + bytes(40), 0.05),  # no MQTT at all
        (ONLINE, -1),
        (CONNACK[:3] + b"\x05", -1),  # not welcome
    ],
)
def test_whatever_a_broker_says_no_call_hangs(
    tmp_path: Path, script: bytes, trickle_s: float
) -> None:
    async def run() -> None:
        port, end = rude_broker(script, trickle_s)
        try:
            async with running(tmp_path, port, PUBLISH) as bench:
                await bench.until(lambda t: t["ms"] > 2300)
                assert bench.told["slowest"] < 2 * LIMIT_MS + 300  # connect, and then subscribe
                assert not bench.board.resets
        finally:
            end()

    asyncio.run(run())


def test_no_network_and_no_broker_are_tried_for_ever_and_harm_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, 9, PUBLISH) as bench:
            await bench.until(lambda t: t["fault"] == "refused")
            bench.board.take(json.dumps({"net": {"connect": 1}}))
            await bench.until(lambda t: t["fault"] == "silent", 12)
            assert bench.told["slowest"] < LIMIT_MS + 300

    asyncio.run(run())
