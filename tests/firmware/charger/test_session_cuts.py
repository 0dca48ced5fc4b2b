"""The whole firmware, its own meter and a manager, with the power cut at random moments: no session is lost, none is
counted twice, and their energy together is what the meter counted, to the Wh."""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from shared import protocol
from tests.firmware.charger.bench import Bench, ChargerManager, charger, until

pytestmark = [pytest.mark.board, pytest.mark.broker]
SPEED = 10
# What a fast clock on a busy computer may bring about: service looks after it while the power is off.
LATCHING = {"residual_self_test", "welded_contactor", "contactor_missing"}
CUTS = int(os.environ.get("IEVCC_SOAK_CUTS", "1000"))


def ended(manager: ChargerManager) -> dict[int, int]:
    """Energy of each session that was told, Wh; told again it says the same."""
    energy: dict[int, int] = {}
    for message in manager.of(protocol.SESSION_END):
        assert energy.setdefault(message["session"], message["energy_wh"]) == message["energy_wh"]
    return energy


def acknowledge(
    manager: ChargerManager, bench: Bench, chance: random.Random, often: float
) -> None:
    """What waits in flash, each as often as that."""
    for session in ended(manager):
        if (bench.flash / "sessions" / str(session)).exists() and chance.random() < often:
            manager.say({"code": protocol.SESSION_ACK, "session": session})


def waiting(bench: Bench) -> list[str]:
    folder = bench.flash / "sessions"
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def counted(manager: ChargerManager) -> int:
    """What the meter says once no current flows, Wh."""
    manager.more(protocol.CHARGER_LOAD, len(manager.of(protocol.CHARGER_LOAD)) + 1)
    load = manager.of(protocol.CHARGER_LOAD)[-1]
    assert load["current_ma"] == [0]
    return int(load["energy_wh"][0])


def latched(got: dict[str, Any]) -> bool:
    return bool(LATCHING & set(got["faults"]))


def off_and_on(bench: Bench) -> None:
    """Cut the power, and give it back."""
    serviced = latched(bench.line)
    at = len(bench.lines)
    bench.put(power=False)
    bench.wait(lambda got: not got["running"], since=at)
    if serviced:
        for name in ("latches", "latches.bak"):
            (bench.flash / name).unlink(missing_ok=True)
    at = len(bench.lines)
    bench.put(power=True)
    bench.wait(lambda got: got["running"], 60, since=at)


def cuts(folder: Path, times: int) -> None:
    chance = random.Random(times)
    with charger(folder, speed=SPEED, mode="manual", manual_a=32) as (bench, manager):
        first = counted(manager)
        for _ in range(times):
            bench.put(ev="C", car_ma=[32_000, 0, 0])
            if chance.random() < 0.7:  # else it is cut on its way there
                bench.wait(lambda got: got["contactor"] or latched(got), 60)
            time.sleep(chance.random() * 8 / SPEED)
            if chance.random() < 0.6:
                bench.put(ev="A", car_ma=[0, 0, 0])
                time.sleep(chance.random() * 4 / SPEED)
            acknowledge(manager, bench, chance, 0.5)
            time.sleep(chance.random() * 0.05)
            announced = len(manager.of(protocol.NEW_CHARGER))
            off_and_on(bench)
            if chance.random() < 0.6:  # else it is cut again before it has told anything
                manager.more(protocol.NEW_CHARGER, announced)
        bench.put(ev="A", car_ma=[0, 0, 0])
        while latched(bench.wait(lambda got: got["state"] == "A1" or latched(got), 60)):
            off_and_on(bench)
        last = counted(manager)

        def told() -> bool:
            acknowledge(manager, bench, chance, 1)
            time.sleep(0.1)
            under_way = json.loads((bench.flash / "session").read_text())["running"]
            return not waiting(bench) and under_way is None

        until(told, 60, lambda: (waiting(bench), bench.log()[-2000:]))
        energy = ended(manager)
        print(f"{times} cuts, {len(energy)} sessions, {sum(energy.values())} Wh")
        assert sorted(energy) == list(range(1, len(energy) + 1))
        assert sum(energy.values()) == last - first
        assert last - first >= times // 3


def test_no_session_is_lost_or_doubled(tmp_path: Path, micropython: str, mosquitto: str) -> None:
    cuts(tmp_path, 6)


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_no_session_is_lost_or_doubled_over_a_thousand_cuts(
    tmp_path: Path, micropython: str, mosquitto: str
) -> None:
    cuts(tmp_path, CUTS)
