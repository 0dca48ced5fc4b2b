"""`ievcc commission` against a running house: manager, meter, charger and car."""

from pathlib import Path

import pytest

from manager.asking import ask
from manager.commissioning import Commissioning
from tests.live.garage import Garage
from tests.live.running import until

pytestmark = [pytest.mark.board, pytest.mark.broker]


def test_a_charger_is_stepped_and_all_agree(
    tmp_path: Path, micropython: str, mosquitto: str
) -> None:
    garage = Garage(tmp_path, "update_interval_s = 0", "grid", 1)
    try:
        garage.house_a = 3.0
        garage.plug("Charger-1", "C")
        until("the car charges", lambda: garage.cables["Charger-1"].drawn_ma > 6000, 30)
        said: list[str] = []
        run = Commissioning(
            lambda path, body=None: ask(garage.url + path, body), said.append, settle_s=4
        )
        assert run.run(["Charger-1"]), said
        assert "  offer, own meter and main meter agree" in said
    finally:
        garage.stop()
