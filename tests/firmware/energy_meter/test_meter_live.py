"""The energy meter at work: its firmware, a PZEM, a broker. What the manager hears of it."""

import asyncio
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from manager import broker as brokers
from shared import protocol
from simulator.pzem_slave import FAULTS, Exchange, Pzem
from tests.firmware.energy_meter.rig import KEY, meter

pytestmark = [pytest.mark.board, pytest.mark.broker]


@pytest.fixture(autouse=True)
def _real_parts(micropython: str, mosquitto: str) -> None:
    """Both are needed by every test here."""


def test_announces_measures_and_says_how_it_is(tmp_path: Path) -> None:
    async def run() -> None:
        async with meter(tmp_path) as rig:
            await rig.until(lambda: rig.loads and rig.statuses)
            new = rig.manager.of(protocol.NEW_COUNTER)[0]
            assert new["id"] == "Counter-1"
            assert new["role"] == "grid"
            assert new["phases"] == 1
            load = rig.loads[0]
            assert load["current_ma"] == [3000]
            assert load["voltage_dv"] == [2300]
            assert load["power_w"] == [690]
            assert load["freq_mhz"] == 50_000
            assert load["pf_pct"] == [100]
            assert load["age_ms"] < 200
            assert "suspect" not in load
            await rig.until(lambda: rig.statuses[-1]["state"] == "ok")
            assert rig.manager.states == ["online"]
            assert rig.manager.bad == []
            # Implausible is marked, not hidden: more watts than volts times amperes.
            rig.line.pzems[0].set(power_dw=90_000)
            await rig.until(lambda: rig.loads[-1]["power_w"] == [9000])
            assert rig.loads[-1]["suspect"] == 1

    asyncio.run(run())


def test_polls_fast_and_publishes_at_once(tmp_path: Path) -> None:
    """At least five polls a second of one phase; from the end of the answer to the manager's ear
    under 50 ms; every second without a change, every 5 s once no car charges."""
    ended: list[float] = []

    async def run() -> None:
        async with meter(tmp_path) as rig:
            rig.line.heard = lambda _: ended.append(time.monotonic())
            await rig.until(lambda: rig.loads)
            polls, began = len(rig.line.log), time.monotonic()
            for n in range(20):
                rig.line.pzems[0].set(current_ma=5000 + 500 * n)
                await asyncio.sleep(0.3)
            assert (len(rig.line.log) - polls) / (time.monotonic() - began) >= 5
            delays = sorted(_delays(rig.manager.messages, ended))
            assert len(delays) >= 20
            assert delays[len(delays) // 2] < 0.02
            assert delays[int(len(delays) * 0.9)] < 0.05

            quiet = len(rig.loads)
            await asyncio.sleep(4.5)
            assert 3 <= len(rig.loads) - quiet <= 6
            rig.manager.say({"code": protocol.COMMAND, "command": "stop"})
            await asyncio.sleep(0.5)
            quiet = len(rig.loads)
            await asyncio.sleep(5.5)
            assert len(rig.loads) - quiet == 1
            rig.line.pzems[0].set(current_ma=9000)
            await rig.until(lambda: rig.loads[-1]["current_ma"] == [9000], 1)

    asyncio.run(run())


def _delays(messages: list[tuple[float, dict[str, Any]]], ended: list[float]) -> list[float]:
    """From the newest end of an answer before each load message to that message."""
    found = []
    for at, message in messages:
        if message["code"] == protocol.COUNTER_LOAD:
            before = [e for e in ended if e <= at]
            if before:
                found.append(at - before[-1])
    return found


def test_three_phases_on_one_line(tmp_path: Path) -> None:
    pzems = [Pzem(n, update_s=0) for n in (1, 2, 3)]
    for n, pzem in enumerate(pzems):
        pzem.set(current_ma=1000 * (n + 1), voltage_dv=2300 + n)

    async def run() -> None:
        async with meter(tmp_path, pzems) as rig:
            load = (await rig.until(lambda: rig.loads))[0]
            assert load["current_ma"] == [1000, 2000, 3000]
            assert load["voltage_dv"] == [2300, 2301, 2302]
            pzems[1].powered = False
            await rig.until(lambda: "pzem_2" in rig.statuses[-1]["faults"], 12)
            count = len(rig.loads)
            pzems[0].set(current_ma=20_000)
            await asyncio.sleep(1)
            # Two phases of three are not the building: better silent than wrong.
            assert len(rig.loads) == count
            pzems[1].powered = True
            await rig.until(lambda: len(rig.loads) > count)
            await rig.until(lambda: rig.statuses[-1]["faults"] == [])

    asyncio.run(run())


def test_on_a_bad_line_nothing_wrong_is_published(tmp_path: Path) -> None:
    """Every answer has values of its own: what is published was true at that very question."""
    dice = random.Random(5)
    true: set[tuple[int, int]] = set()
    pzem = Pzem(1, update_s=0)

    def new_values(_: Exchange | None = None) -> None:
        pzem.set(voltage_dv=dice.randrange(2200, 2400), current_ma=dice.randrange(90_000))
        true.add((pzem.true.voltage_dv, pzem.true.current_ma))

    new_values()

    async def run() -> None:
        async with meter(tmp_path, [pzem]) as rig:
            rig.line.heard = new_values
            await rig.until(lambda: rig.loads)
            rig.line.fault_rates = dict.fromkeys(FAULTS, 0.03)
            await asyncio.sleep(15)
            assert len(rig.loads) > 40
            for load in rig.loads:
                assert (load["voltage_dv"][0], load["current_ma"][0]) in true
            assert {e.fault for e in rig.line.log} > {"crc", "late", "zero"}
            assert not rig.board.resets

    asyncio.run(run())


def test_a_pzem_that_is_gone_is_shown_and_found_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with meter(tmp_path) as rig:
            await rig.until(lambda: rig.loads)
            rig.line.pzems[0].powered = False
            gone = time.monotonic()
            await rig.until(lambda: rig.statuses[-1]["state"] == "silent", 12)
            assert time.monotonic() - gone >= 4.5
            assert rig.statuses[-1]["faults"] == ["pzem_1"]
            assert rig.statuses[-1]["errors"] > 5
            rig.line.pzems[0].powered = True
            rig.line.pzems[0].address = 9  # and is another one
            await rig.until(lambda: rig.statuses[-1]["state"] == "ok")
            assert not rig.board.resets

    asyncio.run(run())


def test_a_manager_that_forgot_the_meter_is_told_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with meter(tmp_path) as rig:
            await rig.until(lambda: rig.loads)
            rig.manager.reply(protocol.UNKNOWN_DEVICE, "not known here")
            await rig.until(lambda: len(rig.manager.of(protocol.NEW_COUNTER)) == 2)
            count = len(rig.loads)
            await rig.until(lambda: len(rig.loads) > count)

    asyncio.run(run())


def test_a_manager_that_refuses_hears_no_readings(tmp_path: Path) -> None:
    async def run() -> None:
        async with meter(tmp_path) as rig:
            rig.manager.answers = False
            for _ in range(3):
                rig.manager.messages.clear()
                await rig.until(lambda: rig.manager.of(protocol.NEW_COUNTER))
                rig.manager.reply(protocol.FULL, "Max registered counters achieved")
                assert rig.loads == []

    asyncio.run(run())


def test_without_a_manager_it_broadcasts_for_chargers_that_decide_themselves(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with meter(tmp_path) as rig:
            rig.manager.answers = False
            await rig.until(lambda: rig.loads)
            assert rig.loads[0]["current_ma"] == [3000]
            # A manager comes after all.
            rig.manager.answers = True
            rig.manager.reply(protocol.UNKNOWN_DEVICE, "not known here")
            await rig.until(lambda: rig.statuses)

    asyncio.run(run())


def test_a_broker_that_is_gone_is_retried(tmp_path: Path) -> None:
    async def run() -> None:
        async with meter(tmp_path) as rig:
            await rig.until(lambda: rig.loads)
            rig.broker.stop()
            await asyncio.sleep(3)
            again = brokers.start(tmp_path / "broker", port=rig.broker.port, kind="mosquitto")
            try:
                count = len(rig.loads)
                await rig.until(lambda: len(rig.loads) > count, 20)
                assert len(rig.manager.of(protocol.NEW_COUNTER)) >= 2
                assert rig.statuses[-1]["uptime_s"] >= 3
                assert not rig.board.resets
            finally:
                again.stop()

    asyncio.run(run())


def test_a_broker_that_hangs_is_noticed(tmp_path: Path) -> None:
    """Connected, and silent: neither the meter nor its watchdog is fooled."""

    async def run() -> None:
        async with meter(tmp_path) as rig:
            await rig.until(lambda: rig.loads)
            os.kill(rig.broker.child.pid, signal.SIGSTOP)
            await asyncio.sleep(8)
            os.kill(rig.broker.child.pid, signal.SIGCONT)
            count = len(rig.loads)
            await rig.until(lambda: len(rig.loads) > count, 20)
            assert not rig.board.resets

    asyncio.run(run())


def test_without_wifi_it_goes_on_and_comes_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with meter(tmp_path) as rig:
            await rig.until(lambda: rig.loads)
            rig.board.take('{"net": {"wifi": 1}}')
            await asyncio.sleep(4)
            rig.board.take('{"net": {"wifi": 0}}')
            count = len(rig.loads)
            await rig.until(lambda: len(rig.loads) > count, 25)
            assert not rig.board.resets

    asyncio.run(run())


def test_settings_over_the_network(tmp_path: Path) -> None:
    async def run() -> None:
        async with meter(tmp_path) as rig:
            await rig.until(lambda: rig.loads)
            for name, value, result, shown in (
                ("threshold_ma", "500", "ok", "500"),
                ("threshold_ma", "5", "refused", None),
                ("threshold_ma", "not json", "refused", None),
                ("colour", "1", "unknown", None),
                ("role", '"solar"', "ok", '"solar"'),
            ):
                rig.manager.messages.clear()
                rig.manager.say({"code": protocol.CONFIG_SET, "name": name, "value": value})
                answer = (await rig.until(lambda: rig.manager.of(protocol.CONFIG_VALUE)))[0]
                assert (answer["result"], answer.get("value")) == (result, shown), name
            rig.manager.messages.clear()
            rig.manager.say({"code": protocol.CONFIG_GET, "name": "key"})
            await rig.until(lambda: rig.manager.of(protocol.CONFIG_VALUE))
            assert rig.manager.of(protocol.CONFIG_VALUE)[-1]["value"] == '"***"'
            assert KEY not in str(rig.manager.messages)
            rig.manager.say({"code": protocol.COMMAND, "command": "reset"})
            new = (await rig.until(lambda: rig.manager.of(protocol.NEW_COUNTER)))[0]
            assert new["role"] == "solar"
            assert rig.board.resets == {"hard": 1}
            assert new["boot"] == 2

    asyncio.run(run())


def test_the_same_firmware_on_an_esp32(tmp_path: Path) -> None:
    async def run() -> None:
        async with meter(tmp_path, chip="esp32") as rig:
            await rig.until(lambda: rig.loads and rig.statuses[-1:])
            assert rig.loads[0]["current_ma"] == [3000]
            assert not rig.board.resets

    asyncio.run(run())


def test_on_a_computer_without_micropython(tmp_path: Path) -> None:
    """The same files on CPython with the same shims."""

    async def run() -> None:
        async with meter(tmp_path, cpython=True) as rig:
            await rig.until(lambda: rig.loads)
            assert rig.loads[0]["current_ma"] == [3000]

    asyncio.run(run())


def test_on_the_other_two_pins(tmp_path: Path) -> None:
    async def run() -> None:
        async with meter(tmp_path, uart_swap=1) as rig:
            await rig.until(lambda: rig.loads)

    asyncio.run(run())


def test_a_broker_with_a_name_is_looked_up_within_limits(tmp_path: Path) -> None:
    async def run() -> None:
        async with meter(tmp_path, broker_host="broker.lan") as rig:
            # For a while there is no name server at all.
            await asyncio.sleep(7)
            assert not rig.board.resets
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(
                NameServer, ("127.0.0.1", rig.board.ports[53])
            )
            await rig.until(lambda: rig.loads, 25)
            transport.close()
            assert not rig.board.resets

    asyncio.run(run())


class NameServer(asyncio.DatagramProtocol):
    """Knows one name: broker.lan is 127.0.0.1."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if b"\x06broker\x03lan\x00" in data:
            answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"
            head = data[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
            self._transport.sendto(head + data[12:] + answer, addr)


def test_garbage_on_its_topic_changes_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with meter(tmp_path) as rig:
            await rig.until(lambda: rig.loads and rig.statuses)
            for data in (b"", b"{}", b"\xff" * 100, b"[" * 400, b"x" * 65_536, b"null"):
                rig.manager.raw("Counter-1/down", data)
            topic = rig.manager.root + "Counter-1/down"
            forged = {"code": protocol.COMMAND, "command": "reset", "re_boot": 1, "re_seq": 1}
            rig.manager.raw("Counter-1/down", protocol.Sender(bytes(16), 8).seal(topic, forged))
            await rig.until(lambda: rig.statuses[-1]["rejected"] >= 7, 14)
            count = len(rig.loads)
            await rig.until(lambda: len(rig.loads) > count)
            assert not rig.board.resets
            assert len(rig.manager.of(protocol.NEW_COUNTER)) == 1  # it was never cut off

    asyncio.run(run())
