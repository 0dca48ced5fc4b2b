"""One meter for house and cars together, with the lag of a PZEM-004T, and cars that take their time.

Two meters never look at the same moment, so a ramping car looks like a stepping house. It must not be
taken for one, and a house that does step must not hide behind a car.
"""

from __future__ import annotations

import pytest

from manager.core.commands import Note
from manager.core.events import Report, Tick
from manager.core.site import site
from shared import protocol
from tests.manager.core.plant import Board, Plant

LAG_MS = (1_000, 2_650)  # a PZEM-004T averages over what was between these times ago
STEP_MS = 50


class Lagging(Plant):
    """Cars ramp `ramp_a_s` amperes a second after `wait_ms`; every meter shows what was."""

    def __init__(self, ramp_a_s: float = 3.0, wait_ms: int = 2_000, poll_ms: int = 1_000) -> None:
        super().__init__(site(30, update_interval_ms=0, min_off_ms=60_000), "grid", STEP_MS)
        self.ramp_ma = round(ramp_a_s * STEP_MS)
        self.wait_ms = wait_ms
        self.poll_ms = poll_ms
        self.drawn: dict[str, int] = {}
        self.told: dict[str, tuple[int, int]] = {}  # offer, since
        self.past: dict[str, list[int]] = {"": []}
        self.excess_mas = 0
        self.over_ms = 0
        self.changes: list[tuple[int, ...]] = []

    def _move(self, board: Board) -> None:
        offer, since = self.told.get(board.name, (0, 0))
        if board.offer_a != offer:
            self.told[board.name] = (board.offer_a, self.now)
            return
        wanted = board.drawn_ma
        now = self.drawn.get(board.name, 0)
        if self.now - since >= self.wait_ms or wanted == 0:
            step = 10 * self.ramp_ma if wanted < now else self.ramp_ma  # cars let go faster
            now = max(wanted, now - step) if wanted < now else min(wanted, now + step)
        self.drawn[board.name] = now

    def _lagged(self, what: str) -> int:
        past = self.past[what]
        first, last = (max(0, len(past) - ms // STEP_MS) for ms in reversed(LAG_MS))
        window = past[first:last] or past[:1]
        return sum(window) // len(window)

    def run(self, seconds: float) -> None:
        end = self.now + round(seconds * 1000)
        while self.now < end:
            self.now += STEP_MS
            total = self.house_ma[0]
            for board in self.boards.values():
                self._move(board)
                total += self.drawn[board.name]
                self.past.setdefault(board.name, []).append(self.drawn[board.name])
            self.past[""].append(total)
            if total > 30_000:
                self.over_ms += STEP_MS
                self.excess_mas += (total - 30_000) * STEP_MS // 1000
            for n, board in enumerate(self.boards.values()):
                if self.now % self.poll_ms == (170 * n + 100) % self.poll_ms // STEP_MS * STEP_MS:
                    self.put(Report(board.name, {
                        "code": protocol.CHARGER_LOAD, "boot": board.boot, "seq": board.next_seq(),
                        "current_ma": [self._lagged(board.name)], "voltage_dv": [2300],
                        "power_w": [0], "energy_wh": [0], "age_ms": 0,
                    }))  # fmt: skip
            if self.now % 1000 == 0:
                self.put(Report("Counter-1", self.meter(
                    protocol.COUNTER_LOAD, current_ma=[self._lagged("")], voltage_dv=[2300],
                    power_w=[0], energy_wh=[0], age_ms=0)))  # fmt: skip
            if self.now % 250 == 0:
                self.put(Tick(minute=0))
            if not self.changes or self.changes[-1] != self.offers():
                self.changes.append(self.offers())


def warm(plant: Lagging, house_a: float, *names: str) -> Lagging:
    plant.house(house_a)
    for name in names:
        plant.add(name)
    plant.run(5)
    return plant


RAMPS = pytest.mark.parametrize("ramp_a_s", [0.5, 2.0, 6.0, 40.0])
POLLS = pytest.mark.parametrize("poll_ms", [1000, 5000])


@RAMPS
@POLLS
def test_a_ramping_car_is_not_a_stepping_house(ramp_a_s: float, poll_ms: int) -> None:
    plant = warm(Lagging(ramp_a_s, poll_ms=poll_ms), 3.2, "c1")
    plant.state("c1", "C")
    plant.run(90)
    assert plant.changes == [(0,), (26,)]  # offered once, never taken back
    assert plant.over_ms == 0


@RAMPS
def test_a_second_car_costs_the_first_one_cut(ramp_a_s: float) -> None:
    plant = warm(Lagging(ramp_a_s), 3.2, "c1", "c2")
    plant.state("c1", "C")
    plant.run(60)
    plant.state("c2", "C")
    plant.run(90)
    assert plant.offers() == (13, 13)
    assert [c for c in plant.changes if c[0] not in (0, 26, 13)] == []
    assert plant.over_ms == 0


@RAMPS
@POLLS
def test_a_step_of_the_house_is_met_and_nothing_swings(ramp_a_s: float, poll_ms: int) -> None:
    plant = warm(Lagging(ramp_a_s, poll_ms=poll_ms), 3.2, "c1", "c2")
    plant.state("c1", "C")
    plant.state("c2", "C")
    plant.run(120)
    assert plant.offers() == (13, 13)
    plant.changes.clear()
    plant.house(11.2)
    plant.run(90)
    assert plant.offers() == (9, 9)
    assert len(plant.changes) <= 4  # partly seen, wholly seen, at most one back
    assert plant.over_ms <= 8_000  # meter's lag, one poll, the car's time to follow
    plant.house(3.2)
    plant.run(90)
    assert plant.offers() == (13, 13)


def test_a_step_while_a_car_ramps_does_no_harm_meanwhile() -> None:
    plant = warm(Lagging(1.0), 3.2, "c1")
    plant.state("c1", "C")
    plant.run(10)  # at 8 A or so of 26
    plant.house(9.2)
    plant.run(60)
    assert plant.offers() == (20,)
    assert plant.over_ms == 0


def test_notes_are_few() -> None:
    plant = warm(Lagging(), 3.2, "c1")
    plant.state("c1", "C")
    plant.run(60)
    assert len([n for n in plant.notes if isinstance(n, Note)]) < 10
