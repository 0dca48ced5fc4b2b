"""A meter reports every second while a car may charge, and every few seconds while none can."""

from __future__ import annotations

from manager.core import plain
from manager.core.events import Announced
from manager.core.site import site
from shared import protocol
from tests.manager.core.plant import Plant


def told(plant: Plant) -> list[str]:
    commands = [
        message["command"]
        for _, device, message in plant.sent
        if device == "Counter-1" and message["code"] == protocol.COMMAND
    ]
    plant.sent.clear()
    return commands


def building() -> Plant:
    plant = Plant(site(30, update_interval_ms=0))
    plant.house(5)
    return plant


def test_the_meter_is_told_when_the_first_car_comes_and_when_the_last_has_gone() -> None:
    plant = building()
    plant.run(1)
    assert told(plant) == ["stop"]  # no charger is known
    plant.add("c1")
    plant.add("c2")
    plant.run(1)
    assert told(plant)[-1] == "stop"  # they have said that they have no car
    plant.state("c1", "B")
    assert told(plant) == ["start"]
    plant.state("c2", "C")
    plant.run(10)
    plant.state("c1", "A")
    plant.run(30)
    assert told(plant) == []
    plant.state("c2", "A")
    plant.run(30)  # the lease it had is over
    assert told(plant) == ["stop"]


def test_a_calm_meter_is_silent_later_but_no_car_is_offered_anything_on_an_old_reading() -> None:
    plant = building()
    plant.add("c1")
    plant.run(3)
    plant.meter_speaks = False
    plant.run(7)
    assert plant.site.houses["main"].grade == "measured"
    plant.state("c1", "C")  # in the very same decision the reading is 7 s old
    assert plant.site.houses["main"].grade == "silent"
    plant.state("c1", "A")
    plant.meter_speaks = True
    plant.run(30)
    plant.meter_speaks = False
    plant.run(9)
    assert plant.site.houses["main"].grade == "silent"


def test_a_meter_or_a_manager_that_starts_anew_is_told_anew() -> None:
    plant = building()
    plant.run(1)
    told(plant)
    announcement = plant.meter(
        protocol.NEW_COUNTER, id="Counter-1", model="", firmware="", phases=1, role="house"
    )
    plant.put(Announced("hello/new", announcement))
    plant.run(1)
    assert told(plant) == ["stop"]
    plant.site = plain.site_from_plain(plain.site_to_plain(plant.site), plant.now)
    plant.read()
    plant.run(1)
    assert told(plant) == ["stop"]
