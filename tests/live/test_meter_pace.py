"""How often a meter reports, live: every second while a car is there, every five while none is."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from manager import store
from tests.live.garage import Garage
from tests.live.running import until

pytestmark = [pytest.mark.board, pytest.mark.broker]


def test_a_meter_is_calm_until_a_car_comes(
    tmp_path: Path, mosquitto: str, micropython: str
) -> None:
    garage = Garage(tmp_path, 'policy = "fair"', "house", chargers=1)

    def readings() -> list[int]:
        question = "SELECT at_ms FROM reading WHERE device = 'Counter-1' ORDER BY at_ms"
        return [at for (at,) in store.read(tmp_path / "ievcc.db", question)]

    def gaps_ms(count: int) -> list[int]:
        """Between so many readings from now on."""
        before = len(readings())
        until(f"{count} readings", lambda: len(readings()) >= before + count, 60)
        at = readings()[before : before + count]
        return [b - a for a, b in itertools.pairwise(at)]

    try:
        garage.house_a = 5
        until("no car is there", lambda: garage.charger("Charger-1")["state"][:1] == "A", 20)
        time.sleep(1)  # what was under way when the meter was told
        assert min(gaps_ms(3)) > 4000
        garage.plug("Charger-1", "B")
        time.sleep(1)
        assert sorted(gaps_ms(9))[4] < 1500
        garage.plug("Charger-1", "A")
        time.sleep(1)
        assert min(gaps_ms(3)) > 4000
    finally:
        garage.stop()
