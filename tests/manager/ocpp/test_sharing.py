"""Chargers of other makes share like ours, in either version and either unit."""

import asyncio
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

from simulator.ocpp_charger import Habits
from tests.manager.ocpp.building import Scenario, building, run, side_by_side, site_text, until


def takes_what_is_left_and_gives_way_to_the_house(tmp_path: Path, version: str, unit: str) -> None:
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


def two_share(tmp_path: Path) -> None:
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
                await asyncio.sleep(0.05)
            assert most <= 28

    run(test)


SCENARIOS: dict[str, Scenario] = {
    "1.6-Current": partial(
        takes_what_is_left_and_gives_way_to_the_house, version="1.6", unit="Current"
    ),
    "1.6-Power": partial(
        takes_what_is_left_and_gives_way_to_the_house, version="1.6", unit="Power"
    ),
    "2.0.1-Current": partial(
        takes_what_is_left_and_gives_way_to_the_house, version="2.0.1", unit="Current"
    ),
    "2.0.1-Power": partial(
        takes_what_is_left_and_gives_way_to_the_house, version="2.0.1", unit="Power"
    ),
    "two": two_share,
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[None]]:
    return side_by_side(SCENARIOS, tmp_path_factory.mktemp("sharing"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_sharing(name: str, outcomes: dict[str, Future[None]]) -> None:
    outcomes[name].result(170)
