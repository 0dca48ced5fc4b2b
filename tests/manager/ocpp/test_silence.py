"""What never comes, and when that is concluded: the end of a transaction, an answer to a ping. On a fast clock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from manager.ocpp.downward import PING_S
from shared import protocol
from simulator.ocpp_charger import Charger
from tests.manager.ocpp.building import (
    Building,
    Scenario,
    building,
    side_by_side,
    site_text,
    until,
)
from tests.manager.ocpp.hurried import HurriedClock, run_hurried

SPEED = 20.0
BEGINS_MS = 1_774_656_000_000
PROFILE_S = 10  # of `site_text`: so long a charger goes by what it last accepted


def a_car(here: Building, clock: HurriedClock, version: str) -> Charger:
    return here.car("Left", version, clock=lambda: clock.utc_ms() / 1000, follow_s=4.0)


def an_end_that_never_comes(folder: Path, version: str) -> None:
    """Free for a minute with a transaction open: it is over, by its last reading. What is said of it later is
    answered, counted, and changes nothing."""

    async def test() -> None:
        clock = HurriedClock(SPEED, BEGINS_MS)
        async with building(folder, site_text("Left"), clock=clock) as here:
            ends: list[Mapping[str, Any]] = []
            here.manager.listeners.append(
                lambda _, m: ends.append(m) if m["code"] == protocol.SESSION_END else None
            )
            car = a_car(here, clock, version)
            await here.charging(car, 16)
            await until("it draws", lambda: car.drawn_a == 16)
            await asyncio.sleep(120)
            station = here.central.stations["Left"]
            late = car.transaction
            # The car is gone and the charger free; it forgets to say that the transaction is over.
            car.transaction, car.wants_a, car.drawn_a = "", 0.0, 0.0
            car.status = "Available"
            free_ms = clock.now_ms()
            await car.say_status()
            await until("it is taken for over", lambda: ends)
            assert 60_000 <= clock.now_ms() - free_ms < 75_000
            assert ends[0]["why"] == "end_lost"
            read_wh = round(car.energy_wh) - 1000
            assert 0 <= read_wh - ends[0]["energy_wh"] <= 8, (
                "no more is missing than since its last reading"
            )
            await until("what it had is others' again", lambda: here.charger("Left").worst_a == 0)
            car.transaction = late
            await car.end()
            assert station.mended["end"] == 1
            assert station.mended["stop_unknown"] == 1
            await asyncio.sleep(10)
            assert len(ends) == 1
            assert await car.begin("04A1B2C3", 16) == "Accepted"
            await until("the next one charges", lambda: car.drawn_a == 16)
            assert not car.errors

    run_hurried(test, SPEED)


def a_web_socket_on_which_nobody_answers(folder: Path, version: str) -> None:
    """The line is there, and nothing comes: closed by the ping, and counted at what it may still draw till then."""

    async def test() -> None:
        clock = HurriedClock(SPEED, BEGINS_MS)
        async with building(folder, site_text("Left"), clock=clock) as here:
            car = a_car(here, clock, version)
            await here.charging(car, 16)
            await until("it draws", lambda: car.drawn_a == 16)
            station = here.central.stations["Left"]
            assert car.socket is not None
            car.socket.transport.pause_reading()  # the kernel still takes what we send
            frozen_ms = clock.now_ms()
            accepted = [(clock.now_ms(), here.charger("Left").worst_a)]
            while station.talk is not None:
                await asyncio.sleep(0.5)
                if here.charger("Left").worst_a < 16:
                    accepted.append((clock.now_ms(), here.charger("Left").worst_a))
                assert clock.now_ms() - frozen_ms < 60_000, "it is still taken for connected"
            gone_ms = clock.now_ms() - frozen_ms
            assert gone_ms <= 2 * PING_S * 1000 + 2_000
            # Never less than what the profile it last accepted lets it draw, and nothing once that is over.
            too_early = [t for t, a in accepted[1:] if t - frozen_ms < PROFILE_S * 1000 / 2]
            assert not too_early
            await until("it is out of the count", lambda: here.charger("Left").worst_a == 0, 10)
            assert not here.charger("Left").online

    run_hurried(test, SPEED)


SCENARIOS: dict[str, Scenario] = {
    f"{what.__name__}-{version}": partial(what, version=version)
    for what in (an_end_that_never_comes, a_web_socket_on_which_nobody_answers)
    for version in ("1.6", "2.0.1")
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[None]]:
    return side_by_side(SCENARIOS, tmp_path_factory.mktemp("silence"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_silence(name: str, outcomes: dict[str, Future[None]]) -> None:
    outcomes[name].result(100)
