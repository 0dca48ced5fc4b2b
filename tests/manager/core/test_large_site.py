"""A site of more than 64 chargers: what all may draw is added up for a rise four times a second, at
ticks, and not at every word of every charger. Cuts wait for nothing.
"""

from __future__ import annotations

import pytest

from manager.core.events import Tick
from manager.core.leases import worst_a
from manager.core.site import site
from manager.core.work import LARGE
from shared import protocol
from tests.manager.core.plant import Plant


def given(plant: Plant, since: int) -> list[tuple[str, int]]:
    """Leases sent from the `since`th message on."""
    return [
        (device, message["limit_a"])
        for _, device, message in plant.sent[since:]
        if message["code"] == protocol.AVAILABLE_LOAD
    ]


@pytest.mark.parametrize(("chargers", "at_once"), [(LARGE, True), (LARGE + 1, False)])
def test_a_rise_that_has_become_possible_waits_for_a_tick_where_many_charge(
    chargers: int, at_once: bool
) -> None:
    plant = Plant(site(20, min_off_ms=0, min_on_ms=0, max_chargers=LARGE + 1))
    one, two = [plant.add(f"c{n}") for n in range(1, chargers + 1)][:2]
    plant.state("c1", "C")
    plant.run(8)
    assert plant.offers()[:2] == (20, 0)
    plant.state("c2", "C")
    for _ in range(40):  # to be shared among both at some tick; the first follows with delay
        if one.offer_a < 20:
            break
        plant.now += 250
        plant.put(Tick(minute=0))
    assert (one.offer_a, two.offer_a) == (10, 0)

    plant.now += 100  # so that what becomes free does so between two ticks

    def first_may_draw_a(in_ms: int) -> int:
        return worst_a(plant.site.chargers["c1"], plant.now + in_ms)

    while first_may_draw_a(250) > 10:  # its car has some seconds to follow
        plant.now += 250
        plant.read()
        plant.put(Tick(minute=0))
    assert first_may_draw_a(0) > 10
    assert two.offer_a == 0

    before = len(plant.sent)
    plant.now += next(ms for ms in range(1, 250) if first_may_draw_a(ms) <= 10)
    plant.load(two)  # between two ticks: what it waits for has just become free
    assert given(plant, before) == ([("c2", 10)] if at_once else [])
    plant.now += 250
    plant.put(Tick(minute=0))
    assert given(plant, before) == [("c2", 10)]


def test_a_cut_waits_for_nothing_where_many_charge() -> None:
    plant = Plant(site(20, min_off_ms=0, min_on_ms=0, max_chargers=LARGE + 1))
    for n in range(1, LARGE + 2):
        plant.add(f"c{n}")
    plant.state("c1", "C")
    plant.run(8)
    plant.now += 100
    before = len(plant.sent)
    plant.house(12)
    plant.read()
    assert given(plant, before) == [("c1", 8)]
