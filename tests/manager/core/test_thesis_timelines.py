"""Both published timelines of the thesis, moment by moment: 30 A, 6 A minimum, chargers in order."""

import pytest

from manager.core.site import site
from tests.manager.core.plant import Plant

UPDATES = pytest.mark.parametrize("interval_ms", [5_000, 0], ids=["every 5 s", "immediate"])
METERS = pytest.mark.parametrize("role", ["house", "grid"])
SETTLED_S = 20  # an update interval, a car's time to follow, and the next update


def garage(interval_ms: int, role: str, chargers: int) -> Plant:
    plant = Plant(site(30, policy="equal", update_interval_ms=interval_ms), role=role)
    for n in range(1, chargers + 1):
        plant.add(f"Charger-{n}")
    return plant


@UPDATES
@METERS
def test_three_chargers(interval_ms: int, role: str) -> None:
    """The thesis' figure 20, moments (a) to (n)."""
    plant = garage(interval_ms, role, 3)
    plant.house(3.2)
    plant.run(SETTLED_S)
    assert plant.offers() == (0, 0, 0)  # (a)
    plant.state("Charger-1", "C")
    plant.run(SETTLED_S)
    assert plant.offers() == (26, 0, 0)  # (b)
    plant.house(5)  # (c)
    plant.run(SETTLED_S)
    assert plant.offers() == (25, 0, 0)  # (d)
    plant.state("Charger-2", "C")
    plant.run(SETTLED_S)
    assert plant.offers() == (12, 12, 0)  # (e)
    plant.state("Charger-3", "C")
    plant.run(SETTLED_S)
    assert plant.offers() == (8, 8, 8)  # (f)
    plant.house(8)  # (g)
    plant.run(SETTLED_S)
    assert plant.offers() == (7, 7, 7)
    plant.house(13)
    plant.run(SETTLED_S)
    assert plant.offers() == (8, 8, 0)  # (h): the last to register stands by
    plant.house(16.4)  # (i)
    plant.run(SETTLED_S)
    assert plant.offers() == (6, 6, 0)  # (j)
    plant.state("Charger-2", "B")
    plant.state("Charger-3", "B")
    plant.run(SETTLED_S)
    assert plant.offers() == (13, 0, 0)  # (k)
    plant.house(4.3)
    plant.state("Charger-2", "C")
    plant.state("Charger-3", "C")
    plant.run(SETTLED_S)
    assert plant.offers() == (8, 8, 8)  # (l)
    plant.state("Charger-3", "A")
    plant.run(SETTLED_S)
    assert plant.offers() == (12, 12, 0)  # (m)
    plant.state("Charger-2", "A")
    plant.run(SETTLED_S)
    assert plant.offers() == (25, 0, 0)  # (n)


@UPDATES
@METERS
def test_whole_amperes_and_a_second_charger(interval_ms: int, role: str) -> None:
    """The article's figure 8: 19.9 A free, then a house of 12 A, then a second charger (number 3)."""
    plant = garage(interval_ms, role, 3)
    plant.house(10.1)
    plant.run(SETTLED_S)
    plant.state("Charger-1", "C")
    plant.run(SETTLED_S)
    assert plant.offers() == (19, 0, 0)
    plant.house(12)
    plant.run(SETTLED_S)
    assert plant.offers() == (18, 0, 0)
    plant.state("Charger-3", "C")
    plant.run(SETTLED_S)
    assert plant.offers() == (9, 0, 9)


@pytest.mark.parametrize(
    ("house_a", "offers"),
    [(14, (8, 8, 0)), (22, (8, 0, 0)), (25, (0, 0, 0))],
    ids=["the last stands by", "only the first is left", "not even the first"],
)
def test_less_and_less_is_left(house_a: float, offers: tuple[int, ...]) -> None:
    plant = garage(0, "house", 3)
    plant.house(5)
    for name in plant.boards:
        plant.state(name, "C")
    plant.run(SETTLED_S)
    assert plant.offers() == (8, 8, 8)
    plant.house(house_a)
    plant.run(1)
    assert sum(plant.offers()) <= 30 - house_a  # a cut does not wait for the update
    plant.run(SETTLED_S)
    assert plant.offers() == offers
    plant.house(5)
    plant.run(SETTLED_S)
    assert plant.offers() == (8, 8, 8)
