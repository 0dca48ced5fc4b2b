"""The room the charger's firmware has on an ESP32, over hours with sessions and lost connections."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared import protocol
from tests.firmware.charger.bench import Bench, ChargerManager, charger

pytestmark = [pytest.mark.board, pytest.mark.broker]
SPEED = int(os.environ.get("IEVCC_SOAK_SPEED", "30"))
SOAK_HOURS = int(os.environ.get("IEVCC_SOAK_HOURS", "24"))
# While this file is there the board's clock goes no faster than the world's: for a computer needed for something else.
SOAK_PAUSE = os.environ.get("IEVCC_SOAK_PAUSE", "")
LATCHING = {"residual_self_test", "residual_current", "welded_contactor", "contactor_missing"}
GROWTH_BYTES = 4096  # on a 64-bit computer: 2 KiB of an ESP32's


def until_so(bench: Bench, manager: ChargerManager, what: Callable[[dict[str, Any]], Any]) -> None:
    """Wait for it; where a fast clock on a busy computer made a self-test fail, a user clears that."""
    for _ in range(5):
        got = bench.wait(lambda got: what(got) or LATCHING & set(got["faults"]), 60)
        if what(got):
            return
        bench.pace(1)
        manager.say({"code": protocol.COMMAND, "command": "clear_fault", "argument": "*"})
        bench.wait(lambda got: not LATCHING & set(got["faults"]), 60)
        bench.pace(SPEED)
    raise AssertionError(bench.log()[-2000:])


def announces(manager: ChargerManager, before: int) -> bool:
    """Whether the charger says again who it is."""
    ends = time.monotonic() + 12
    while len(manager.of(protocol.NEW_CHARGER)) == before and time.monotonic() < ends:
        time.sleep(0.01)
    return len(manager.of(protocol.NEW_CHARGER)) > before


def hours(folder: Path, record_property, simulated_s: int) -> None:
    # Without the sense line: a contactor that the bench opens late, on a busy computer and under a fast clock, is no
    # welded one, which would take a restart.
    with charger(folder, speed=SPEED, mode="manual", manual_a=10, mains_sense=0) as (
        bench,
        manager,
    ):
        started = manager.status["uptime_s"]
        k = hour = 0
        while manager.status["uptime_s"] - started < simulated_s:
            if SOAK_PAUSE and Path(SOAK_PAUSE).exists():
                bench.pace(1)
                while Path(SOAK_PAUSE).exists():
                    time.sleep(1)
                bench.pace(SPEED)
            k += 1
            bench.put(ev="B")
            until_so(bench, manager, lambda got: got["offer_a"] == 10)
            bench.put(ev="C")
            until_so(bench, manager, lambda got: got["contactor"])
            bench.put(ev="A")
            until_so(bench, manager, lambda got: not got["contactor"])
            # The connection is lost and comes back, and what happened meanwhile is told.
            announced = len(manager.of(protocol.NEW_CHARGER))
            how = ("wifi", "receive", "send")[k % 3]
            for _ in range(5):
                bench.put(net={how: 1})
                time.sleep(8 / SPEED)
                bench.put(net={how: 0})
                if how != "wifi" or announces(manager, announced):
                    break  # else it was over before a board that this computer keeps waiting had seen it
            else:
                raise AssertionError(bench.log()[-2000:])
            seen = len(manager.of(protocol.CHARGER_STATUS))
            manager.more(protocol.CHARGER_STATUS, seen + 1)
            for message in manager.of(protocol.SESSION_END):
                if (bench.flash / "sessions" / str(message["session"])).exists():
                    manager.say({"code": protocol.SESSION_ACK, "session": message["session"]})
            if (manager.status["uptime_s"] - started) // 3600 > hour:
                hour += 1
                free = [m["free"] for m in manager.of(protocol.CHARGER_STATUS)]
                print(f"{hour} h, {k} sessions: {max(free[-50:])} bytes free", flush=True)
        assert bench.line["resets"] == {}
        # What a status tells has garbage in it that the next collection takes: the most of many counts.
        free = [m["free"] for m in manager.of(protocol.CHARGER_STATUS)]
        third = len(free) // 3
        assert third >= 10, free
        first, last = max(free[:third]), max(free[-third:])
        record_property("free_bytes", min(free))
        print(f"{k} sessions and lost connections in {simulated_s} s")
        print(f"free {min(free)} bytes at least, first third {first}, last third {last}")
        assert last >= first - GROWTH_BYTES, free
        # A 64-bit computer counts every word twice: an eighth of the room must stay free.
        assert first > 25_000, free


def test_ten_minutes(tmp_path: Path, record_property, micropython: str, mosquitto: str) -> None:
    hours(tmp_path, record_property, 600)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_day(tmp_path: Path, record_property, micropython: str, mosquitto: str) -> None:
    hours(tmp_path, record_property, 3600 * SOAK_HOURS)
