"""Commissioning: what the figures of a few steps say, and a run against a pretended manager."""

from typing import Any

import pytest

from manager.commissioning import Commissioning, Point, judge, steps

GOOD = (Point(6, (5.9,), (8.9,)), Point(10, (9.8,), (12.9,)), Point(16, (15.7,), (18.8,)))
THREE = (
    Point(6, (6.0, 6.0, 6.0), (7.0, 8.0, 9.0)),
    Point(16, (16.0, 16.0, 16.0), (17.0, 18.1, 19.0)),
)


@pytest.mark.parametrize(
    ("phases", "points", "word"),
    [
        ([1], GOOD, ""),
        ([1, 2, 3], THREE, ""),
        # One phase on another wire than its name says.
        ([2], (Point(6, (6.0,), (7.0, 1.0)), Point(16, (16.0,), (17.0, 1.0))), "swap"),
        (
            [1],
            (Point(6, (6.0,), (1.0, 7.0)), Point(16, (16.0,), (1.1, 17.0))),
            "phase 2|sees it on 2",
        ),
        # The main meter's transformer sees half of it, or nothing.
        ([1], (Point(6, (6.0,), (3.0,)), Point(16, (16.0,), (8.0,))), "transformer"),
        ([1], (Point(6, (6.0,), (1.0,)), Point(16, (16.0,), (1.0,))), "transformer"),
        ([1], (Point(6, (9.0,), (9.0,)), Point(16, (16.0,), (16.0,))), "too much"),
        ([1], (Point(6, (6.0,), (9.0,)), Point(16, (7.0,), (10.0,))), "did not change"),
    ],
)
def test_what_the_figures_say(phases: list[int], points: tuple[Point, ...], word: str) -> None:
    found = judge(phases, points)
    if not word:
        assert found == []
    else:
        assert any(part in words for words in found for part in word.split("|")), found


def test_steps() -> None:
    assert steps(16) == [6, 10, 16]
    assert steps(32) == [6, 10, 16, 20, 25, 32]
    assert steps(6) == [6]
    assert steps(13) == [6, 10, 13]


class House:
    """A manager whose cars follow at once, on a meter that can be wired wrong."""

    def __init__(self, *, swapped: bool = False, state: str = "C2") -> None:
        self.limits: dict[str, int | None] = {"Charger-1": None, "Charger-2": None}
        self.swapped = swapped
        self.state = state
        self.said: list[str] = []

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if body is not None:
            assert path == "/api/limit"
            self.limits[body["charger"]] = body["limit_a"]
            return {"words": "ok"}
        drawn = {name: 16 if a is None else a for name, a in self.limits.items()}
        main = [3.0, 2.0]
        for name, amps in drawn.items():
            phase = int(name[-1]) - 1
            main[1 - phase if self.swapped else phase] += amps
        chargers = [
            {"id": n, "state": self.state, "offer_a": a, "max_a": 16, "current_a": [float(a)],
             "phases": [int(n[-1])], "reason": "limited by hand"}
            for n, a in drawn.items()
        ]  # fmt: skip
        return {"chargers": chargers, "meters": [{"role": "grid", "current_a": main}]}

    def run(self, *names: str) -> bool:
        return Commissioning(self.ask, self.said.append, lambda _: None, 0).run(names)


def test_a_house_that_is_wired_right() -> None:
    house = House()
    assert house.run()
    assert house.said.count("  offer, own meter and main meter agree") == 2
    assert house.limits == {"Charger-1": None, "Charger-2": None}


def test_swapped_phases_are_found_and_the_limits_taken_back() -> None:
    house = House(swapped=True)
    assert not house.run("Charger-2")
    assert any("swap" in words for words in house.said)
    assert house.limits == {"Charger-1": None, "Charger-2": None}


def test_without_a_car_there_is_nothing_to_compare() -> None:
    house = House(state="A1")
    assert not house.run()
    assert not House().run("Charger-9")
