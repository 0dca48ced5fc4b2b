"""Chargers of other makes share like ours, in either version and either unit."""

from pathlib import Path

import pytest

from simulator.ocpp_charger import Habits
from tests.manager.ocpp.building import building, run, site_text, until


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
@pytest.mark.parametrize("unit", ["Current", "Power"])
def test_takes_what_is_left_and_gives_way_to_the_house(
    tmp_path: Path, version: str, unit: str
) -> None:
    async def test() -> None:
        async with building(tmp_path, site_text("Left")) as here:
            car = here.car("Left", version, Habits(units=unit))
            await here.charging(car)
            await until("the car draws what is left", lambda: 26 < car.drawn_a <= 28)
            assert here.charger("Left").mode == "managed"
            here.house_a = 20.0
            await until("it gives way", lambda: 8 < car.drawn_a <= 10)
            await until("that is confirmed", lambda: here.charger("Left").worst_a <= 10)
            here.house_a = 26.0
            await until("it pauses", lambda: car.drawn_a == 0)
            here.house_a = 2.0
            await until("it goes on", lambda: car.drawn_a > 20)
            await car.end()
            await until("it is free", lambda: here.charger("Left").state == "A1")
            assert not car.errors
            ended = [e for e in here.manager.events if e["kind"] == "refused"]
            assert not ended

    run(test)


def test_two_share(tmp_path: Path) -> None:
    async def test() -> None:
        async with building(tmp_path, site_text("Left", "Right")) as here:
            left, right = here.car("Left"), here.car("Right", "2.0.1")
            await here.charging(left)
            await until("all is the first one's", lambda: left.drawn_a > 26)
            await here.charging(right)
            await until("half each", lambda: left.drawn_a == right.drawn_a == 14)
            most = 0.0
            for _ in range(20):
                most = max(most, left.drawn_a + right.drawn_a)
            assert most <= 28

    run(test)
