"""Both published timelines, live: firmware, broker and manager, offers read at the pilot's pin.

Two buildings run side by side, so that one test's waiting is the other's too: one shares every 5 s
and has its house metered by itself, the other shares at once and meters house and cars together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.garage import Garage

pytestmark = [pytest.mark.board, pytest.mark.broker, pytest.mark.timeout(240)]

SETTLED_S = 20.0  # an update, a car's time to follow, and the next update

# What happens, and what the three pilots show when all has settled.
STEPS: list[tuple[str, float | None, dict[str, str], tuple[int, int, int]]] = [
    ("(b) the first starts", 3.2, {"Charger-1": "C"}, (26, 0, 0)),
    ("(c), (d) the home takes more", 5, {}, (25, 0, 0)),
    ("(e) the second starts", None, {"Charger-2": "C"}, (12, 12, 0)),
    ("(f) the third starts", None, {"Charger-3": "C"}, (8, 8, 8)),
    ("(h) not enough for three", 13, {}, (8, 8, 0)),
    ("(i), (j) the home takes more", 16.4, {}, (6, 6, 0)),
    (
        "(k) the second stops, the third has left",
        None,
        {"Charger-2": "B", "Charger-3": "A"},
        (13, 0, 0),
    ),
    ("(l) all start", 4.3, {"Charger-2": "C", "Charger-3": "C"}, (8, 8, 8)),
    ("(m) the third stops", None, {"Charger-3": "A"}, (12, 12, 0)),
    ("(n) the second stops", None, {"Charger-2": "A"}, (25, 0, 0)),
    ("19.9 A free", 10.1, {}, (19, 0, 0)),
    ("a home of 12 A", 12, {}, (18, 0, 0)),
    ("a second charger, the third", None, {"Charger-3": "C"}, (9, 0, 9)),
]


@pytest.fixture(scope="module")
def buildings(
    tmp_path_factory: pytest.TempPathFactory, mosquitto: str, micropython: str
) -> Iterator[list[Garage]]:
    started: list[Garage] = []
    try:
        for role, interval in (("house", 5), ("grid", 0)):
            settings = f'policy = "equal"\nupdate_interval_s = {interval}'
            folder: Path = tmp_path_factory.mktemp(role)
            started.append(Garage(folder, settings, role))
        yield started
    finally:
        for building in started:
            building.stop()


def test_both_published_timelines(buildings: list[Garage]) -> None:
    for words, house_a, cars, offers in STEPS:
        for building in buildings:
            if house_a is not None:
                building.house_a = house_a
            for charger, state in cars.items():
                building.plug(charger, state)
        for building in buildings:
            building.settle(offers, SETTLED_S, words)
