"""The manager's connection, on a real mosquitto, when more comes at once than can be looked at at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from manager import broker, mqtt, turned_away
from manager.mqtt import Arrival, Link
from manager.process import Child

pytestmark = pytest.mark.broker

WAITING = 600  # messages, as of a thousand devices in half a second
LOOKED_AT_S = 0.001


@pytest.fixture
def running(tmp_path: Path, mosquitto: str) -> Iterator[broker.Broker]:
    running = broker.start(tmp_path, kind="mosquitto")
    yield running
    running.stop()


class Ear:
    """A link whose every message takes a moment and is answered, as a reading is by a lease."""

    def __init__(self, at: broker.Broker, *more: str) -> None:
        self.heard: list[bytes] = []
        self.turn = 0  # of the loop
        self.turns: list[int] = []  # in which each message was looked at
        self.link = Link(
            at.host, at.port, "ear", ["a/+/up", *more], "a/state", self._heard, lambda _: None
        )

    def _heard(self, arrival: Arrival) -> None:
        self.heard.append(arrival.data)
        self.turns.append(self.turn)
        time.sleep(LOOKED_AT_S)
        self.link.publish("a/b/down", arrival.data)
        self.link.acknowledge(arrival)

    async def until(self, what: str, done: Callable[[], bool]) -> None:
        """Run the loop, counting its turns, until `done()`."""
        ends = time.monotonic() + 20
        while not done():
            assert time.monotonic() < ends, what
            self.turn += 1
            await asyncio.sleep(0)


def say(at: broker.Broker, client_id: str, messages: list[bytes]) -> None:
    """All of them at the broker's when this returns."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id)
    client.max_inflight_messages_set(0)
    client.connect(at.host, at.port)
    client.loop_start()
    for info in [client.publish("a/b/up", m, 1) for m in messages]:
        info.wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def test_what_waits_is_looked_at_for_a_moment_at_a_time(running: broker.Broker) -> None:
    # However much waits and is under way: ticks, leases' acknowledgements and the page have a turn
    # in between. Before this held, a stall of seconds was never made up for on a large site.
    async def run() -> None:
        ear = Ear(running)
        serving = asyncio.create_task(ear.link.run())
        await ear.until("connected", lambda: ear.link.connected)
        while not ear.heard:
            await asyncio.to_thread(say, running, "early", [b"subscribed?"])
        messages = [b"%d" % n for n in range(WAITING)]
        say(running, "late", messages)  # the loop stands still meanwhile
        await ear.until("all heard", lambda: ear.heard[-1] == messages[-1])
        assert ear.heard[-WAITING:] == messages
        at_once = max(map(ear.turns.count, set(ear.turns)))
        assert at_once <= mqtt.TURN_S / LOOKED_AT_S + 1
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(run())


def test_a_broker_that_takes_nothing_gets_no_leases_of_long_ago(running: broker.Broker) -> None:
    async def run() -> None:
        ear = Ear(running)
        serving = asyncio.create_task(ear.link.run())
        await ear.until("connected", lambda: ear.link.connected)
        child: Child = running.child
        os.kill(child.pid, signal.SIGSTOP)
        try:
            sent = [ear.link.publish("a/b/down", b"lease") for _ in range(mqtt.UNDER_WAY + 50)]
            assert sum(sent) <= mqtt.UNDER_WAY
            assert not any(sent[mqtt.UNDER_WAY :])
            assert ear.link.publish("a/b/kept", b"state", retain=True)
        finally:
            os.kill(child.pid, signal.SIGCONT)
        await ear.until("taken again", lambda: ear.link.publish("a/b/down", b"lease"))
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(run())


@pytest.mark.parametrize("kind", broker.KINDS)
def test_a_broker_that_does_not_speak_of_itself_is_a_broker_all_the_same(
    kind: str, tmp_path: Path, mosquitto: str, caplog: pytest.LogCaptureFixture
) -> None:
    # iotcore ends the connection of whoever subscribes to $SYS/...; mosquitto counts there.
    at = broker.start(tmp_path, kind=kind)

    async def run() -> None:
        ear = Ear(at, *turned_away.TOPICS)
        serving = asyncio.create_task(ear.link.run())
        answered = mqtt.IN_VAIN + 1 if kind == "iotcore" else 1
        await ear.until("connected", lambda: ear.link.connection == answered)
        while not ear.heard:
            await asyncio.to_thread(say, at, "early", [b"subscribed?"])
        # Long enough for one more loss, if there were one.
        ends = time.monotonic() + 1
        await ear.until("a while has passed", lambda: time.monotonic() > ends)
        assert ear.link.connection == answered
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    try:
        asyncio.run(run())
    finally:
        at.stop()
    assert ("it is not counted" in caplog.text) == (kind == "iotcore")
