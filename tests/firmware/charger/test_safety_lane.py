"""The safety lane's own promises: every way out of it opens the contactor, and a trip is never overruled or lost."""

# ruff: noqa: ARG002, ARG005 - stand-ins take what a board's objects take

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from firmware.charger import pins_esp32


class Pin:
    IN, OUT, PULL_UP, IRQ_RISING = 0, 1, 2, 1

    def __init__(
        self, number: int, mode: int = -1, pull: int = -1, *, value: int | None = None
    ) -> None:
        self.number = number
        self.level = value or 0
        self.handler: Any = None

    def value(self, level: int | None = None) -> int:
        if level is not None:
            self.level = level
        return self.level

    def on(self) -> None:
        self.level = 1

    def off(self) -> None:
        self.level = 0

    def irq(self, handler: Any, trigger: int) -> None:
        self.handler = handler


class PWM:
    def __init__(self, pin: Pin, freq: int, duty_u16: int) -> None:
        self.duty = duty_u16

    def duty_u16(self, duty: int) -> None:
        self.duty = duty


class ADC:
    ATTN_11DB = 3

    def __init__(self, pin: Pin, atten: int) -> None:
        self.uv = 2_000_000

    def read_uv(self) -> int:
        return self.uv


@pytest.fixture
def board_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """firmware.charger.board, imported anew with a `machine` whose pins are only numbers."""
    machine: Any = ModuleType("machine")
    machine.Pin, machine.PWM, machine.ADC = Pin, PWM, ADC
    machine.WDT = lambda timeout: None
    monkeypatch.setitem(sys.modules, "machine", machine)
    monkeypatch.setitem(sys.modules, "network", ModuleType("network"))
    monkeypatch.delitem(sys.modules, "firmware.charger.board", raising=False)
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module("firmware.charger.board")
    sys.modules.pop("firmware.charger.board", None)


@pytest.fixture
def board(board_module: Any) -> Any:
    """The charger's board."""
    return board_module.Board(pins_esp32)


def lane(board: Any) -> Any:
    from firmware.charger.exchange import Exchange, Orders
    from firmware.charger.records import Settings
    from firmware.charger.safety_lane import SafetyLane
    from firmware.common.ticks import ticks_ms

    orders = Orders()
    return SafetyLane(board, Settings(), Exchange(orders), orders, None, ticks_ms())


def test_it_starts_open_and_at_minus_twelve_volts(board: Any) -> None:
    assert board._contactor.level == 0
    assert board._pilot.duty == 0


@pytest.mark.parametrize(
    "error", [ValueError, OSError, MemoryError, KeyboardInterrupt, SystemExit]
)
def test_every_way_out_opens_the_contactor(board: Any, error: type[BaseException]) -> None:
    safety = lane(board)
    board.contactor(True)
    assert board._contactor.level == 1

    def broken(*_: Any) -> None:
        raise error

    safety.evse.step = broken
    with pytest.raises(error):
        safety.run()
    assert board._contactor.level == 0
    assert board._pilot.duty == 0


def test_a_trip_after_the_state_machine_has_looked_is_not_overruled(board: Any) -> None:
    safety = lane(board)
    board._rcm.level = 0
    step = safety.evse.step

    def trips_meanwhile(i: Any, now: int) -> Any:
        out = step(i, now)
        out.contactor = True  # as if it had been closed
        board._rcm.level = 1
        board._rcm.handler(board._rcm)
        board._rcm.level = 0  # a monitor that lets go again at once
        return out

    safety.evse.step = trips_meanwhile
    safety.step()
    assert board._contactor.level == 0
    safety.evse.step = step
    safety.evse.out.contactor = True
    safety.step()
    assert board._contactor.level == 0
    assert "residual_current" in safety.evse.out.faults


def test_a_trip_in_the_middle_of_a_window_opens_at_once(board: Any) -> None:
    board.contactor(True)
    reads = 0
    read = board._adc.read_uv
    opened_at: list[int] = []

    def counts() -> int:
        nonlocal reads
        reads += 1
        if reads == 100:
            board._rcm.level = 1
        if board._contactor.level == 0 and not opened_at:
            opened_at.append(reads)
        return int(read())

    board._adc.read_uv = counts
    board._rcm.level = 0
    board.window()
    assert opened_at
    assert opened_at[0] - 100 <= 33


def test_a_fault_is_cleared_once_for_each_word(board: Any) -> None:
    safety = lane(board)
    seen = []
    step = safety.evse.step

    def watched(i: Any, now: int) -> Any:
        seen.append(i.clear)
        return step(i, now)

    safety.evse.step = watched
    from firmware.charger.exchange import Orders

    for clear in ("*", "*", "", "*", "over_current", "over_current"):
        orders = Orders()
        orders.clear = clear
        safety._exchange.order(orders)
        safety.step()
    assert seen == ["*", "", "", "*", "over_current", ""]


def test_a_card_lets_one_car_charge_and_not_the_next(board: Any) -> None:
    from firmware.charger.exchange import Orders

    safety = lane(board)
    orders = Orders()
    seen = []

    def plugs(i: Any, now: int) -> Any:
        seen.append(i.allowed)
        return safety.evse.out

    safety.evse.step = plugs
    for plug, expected in ((1, [True, True, False, False]), (-1, [True] * 4)):
        safety._report.plugs, seen[:] = 0, []
        orders.plug = plug
        safety._exchange.order(orders)
        for plugged in (True, False, True, True):
            safety.evse.plugged = plugged
            safety.step()
            if plugged and len(seen) == 3:
                safety.step()
                seen.pop(2)  # the step in which it comes: nothing closes in that
        assert seen == expected
        safety.evse.plugged = safety._report.plugged = False


@pytest.mark.parametrize("settled", [False, True])
def test_new_firmware_that_does_not_reach_the_manager_starts_anew(
    board: Any, monkeypatch: pytest.MonkeyPatch, settled: bool
) -> None:
    from firmware.charger.exchange import Orders

    safety = lane(board)
    now = [0]
    monkeypatch.setattr(safety._clock, "now_ms", lambda: now[0])
    safety.trial_ms = 600_000
    orders = Orders()
    orders.settled = settled
    safety._exchange.order(orders)
    step = safety.evse.step

    def charges(i: Any, at: int) -> Any:
        out = step(i, at)
        out.contactor = now[0] < 700_000
        return out

    safety.evse.step = charges
    for now[0] in (20, 599_999, 600_000, 699_980):
        safety.step()  # time enough, or a car is charging
    now[0] = 700_000
    if not settled:
        with pytest.raises(RuntimeError):
            safety.step()
    else:
        safety.step()
        assert safety.trial_ms == 0
