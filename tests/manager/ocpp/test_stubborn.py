"""Chargers that refuse, ignore or cannot be reached are counted at what they may draw, and stopped if they must be."""

import asyncio
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

from simulator.ocpp_charger import Habits
from tests.manager.ocpp.building import Scenario, building, run, side_by_side, site_text, until

ALL = ("TxProfile", "TxDefaultProfile", "ChargePointMaxProfile", "ChargingStationMaxProfile")


def one_that_refuses_every_profile_is_counted_then_stopped(
    tmp_path: Path, version: str, stubborn: int
) -> None:
    async def test() -> None:
        async with building(tmp_path, site_text("Left")) as here:
            car = here.car("Left", version, Habits(refuses=ALL, will_not_stop=stubborn))
            await here.charging(car, 16)
            await until("it draws", lambda: car.drawn_a == 16)
            await until("it is counted so", lambda: here.charger("Left").worst_a == 16)
            assert here.charger("Left").mode == "manual"
            here.house_a = 16.0
            await until("it has to stop, whatever it takes", lambda: car.drawn_a == 0, 60)
            assert car.stops == stubborn + 1
            assert "stopped" in here.kinds()

    run(test)


def one_that_ignores_its_profile_is_counted_then_stopped(tmp_path: Path) -> None:
    async def test() -> None:
        async with building(tmp_path, site_text("Left", "Right")) as here:
            deaf, good = here.car("Left", habits=Habits(ignores=True)), here.car("Right")
            await here.charging(deaf, 20)
            await here.charging(good)
            await until("both draw", lambda: deaf.drawn_a == 20 and good.drawn_a)
            # The one that heeds has what the other leaves: 30 A less the house's 2 and 20.
            await until("it is found out", lambda: here.charger("Left").mode == "manual", 40)
            await until("it is counted", lambda: here.charger("Left").worst_a == 20)
            await until("the other gives way", lambda: good.drawn_a <= 8)
            assert deaf.transaction, "there is room for it as it is: it may go on"
            here.house_a = 12.0
            await until("there is none any more", lambda: deaf.drawn_a == 0)
            await until("the other has it", lambda: good.drawn_a > 12)

    run(test)


def forms_are_tried_until_one_is_taken(tmp_path: Path) -> None:
    async def test() -> None:
        async with building(tmp_path, site_text("Left")) as here:
            picky = Habits(refuses=("TxProfile",), one_period=True, units="Power")
            car = here.car("Left", habits=picky)
            await here.charging(car)
            await until("it draws", lambda: car.drawn_a > 25)
            here.house_a = 15.0
            await until("it heeds", lambda: 0 < car.drawn_a <= 15)
            assert here.charger("Left").mode == "managed"

    run(test)


def while_it_is_gone_it_counts_until_its_profile_has_ended(tmp_path: Path) -> None:
    async def test() -> None:
        async with building(tmp_path, site_text("Left", "Right")) as here:
            gone, other = here.car("Left"), here.car("Right")
            await here.charging(gone, 20)
            await until("it draws", lambda: gone.drawn_a == 20)
            await gone.disconnect()
            await here.charging(other)
            seen = 0.0
            for _ in range(200):
                seen = max(seen, gone.drawn_a + other.drawn_a)
                if gone.drawn_a == 0:
                    break
                await asyncio.sleep(0.1)
            assert gone.drawn_a == 0, "its profile ended by itself"
            assert seen <= 28
            await until("the other has all of it", lambda: other.drawn_a > 26, 40)
            await gone.connect()
            await until("it comes back to its share", lambda: gone.drawn_a >= 6, 40)
            assert gone.drawn_a + other.drawn_a <= 28

    run(test)


def one_whose_profile_has_no_end_counts_for_as_long_as_it_is_gone(tmp_path: Path) -> None:
    async def test() -> None:
        async with building(tmp_path, site_text("Left", "Right")) as here:
            gone, other = here.car("Left", habits=Habits(one_period=True)), here.car("Right")
            await here.charging(gone, 20)
            await until("it draws", lambda: gone.drawn_a == 20)
            await here.charging(other)
            await until("they share", lambda: gone.drawn_a == other.drawn_a == 14)
            await gone.disconnect()
            here.house_a = 6.0
            await until("only the other can give way", lambda: 0 < other.drawn_a <= 10)
            await asyncio.sleep(15)  # longer than any lease and its time to follow
            assert gone.drawn_a == 14
            assert here.charger("Left").worst_a == 14
            assert gone.drawn_a + other.drawn_a <= 24

    run(test)


SCENARIOS: dict[str, Scenario] = {
    "refuses-1.6": partial(
        one_that_refuses_every_profile_is_counted_then_stopped, version="1.6", stubborn=1
    ),
    "refuses-2.0.1": partial(
        one_that_refuses_every_profile_is_counted_then_stopped, version="2.0.1", stubborn=0
    ),
    "ignores": one_that_ignores_its_profile_is_counted_then_stopped,
    "picky": forms_are_tried_until_one_is_taken,
    "gone": while_it_is_gone_it_counts_until_its_profile_has_ended,
    "gone-without-end": one_whose_profile_has_no_end_counts_for_as_long_as_it_is_gone,
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[None]]:
    return side_by_side(SCENARIOS, tmp_path_factory.mktemp("stubborn"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_stubborn(name: str, outcomes: dict[str, Future[None]]) -> None:
    outcomes[name].result(170)
