"""ocpp-rpc in strict mode as a charge point here: both versions, both units, no schema broken."""

from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

from tests.manager.ocpp.building import (
    PASSWORD,
    Scenario,
    building,
    run,
    side_by_side,
    site_text,
    until,
)
from tests.manager.ocpp.rpc import Peer


def session_of_a_strict_charger(tmp_path: Path, version: str, unit: str) -> None:
    async def test() -> None:
        text = site_text(
            "Left\nphases = 3", site="limit_a = 30\nphases = 3\nupdate_interval_s = 0"
        )
        async with building(tmp_path, text) as here:
            what = {
                "url": here.url,
                "id": "Left",
                "password": PASSWORD,
                "version": version,
                "unit": unit,
                "phases": 3,
                "follow_ms": 200,
            }
            async with Peer("charger", what) as peer:
                await until("it is accepted", lambda: peer.of("booted"))

                await until("it has a car", lambda: peer.of("draws"))

                def drawn() -> float:
                    return float(peer.of("draws")[-1]["amps"])

                assert await peer.ask(begin="04A1B2C3", wants=32) == "Accepted"
                await until("it draws what is left", lambda: 24 < drawn() <= 28)
                here.house_a = 18.0
                await until("it gives way", lambda: 9 < drawn() <= 12)
                await peer.ask(drop=True)
                await until("it is here again", lambda: len(peer.of("booted")) == 2)
                here.house_a = 8.0
                await until("it is led again", lambda: 18 < drawn() <= 22, 60)
                await peer.ask(end=True)
                await until("it is free", lambda: here.charger("Left").state == "A1")
                assert peer.violations == []
                station = here.central.stations["Left"]
                # What was under way as it dropped the connection may be answered on the next one.
                assert set(station.refused) <= {"stray", "unanswered"}
                assert station.connectors[1].form == 0, "it took the best form"
                assert not station.mended

    run(test)


SCENARIOS: dict[str, Scenario] = {
    "1.6-A": partial(session_of_a_strict_charger, version="1.6", unit="A"),
    "1.6-W": partial(session_of_a_strict_charger, version="1.6", unit="W"),
    "2.0.1-A": partial(session_of_a_strict_charger, version="2.0.1", unit="A"),
    "2.0.1-W": partial(session_of_a_strict_charger, version="2.0.1", unit="W"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[None]]:
    return side_by_side(SCENARIOS, tmp_path_factory.mktemp("strict"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_strict(name: str, outcomes: dict[str, Future[None]]) -> None:
    outcomes[name].result(170)
