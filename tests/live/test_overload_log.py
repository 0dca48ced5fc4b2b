"""The log says of every overload how long it was and what it took of the breaker's trip budget."""

import time
from pathlib import Path

import pytest

from tests.live.garage import Garage
from tests.live.running import until

pytestmark = [pytest.mark.board, pytest.mark.broker]


def test_an_overload_and_its_share_of_the_trip_budget_are_told(tmp_path: Path) -> None:
    settings = 'update_interval_s = 0\n[breaker]\nkind = "icp"\n'
    garage = Garage(tmp_path, settings, "house", chargers=1)
    try:
        garage.house_a = 10
        garage.plug("Charger-1", "C")
        until("the car charges", lambda: garage.offers() == (20,), 30)
        time.sleep(1)
        garage.house_a = 45
        until("the car stops", lambda: garage.offers() == (0,), 20)
        time.sleep(2)
        garage.house_a = 10

        def told() -> list[str]:
            events = garage.state()["events"]
            return [e["words"] for e in events if e["kind"] == "overload"]

        words = until("the overload is told", told, 15)[0]
        assert "above 30 A" in words
        assert words.endswith("% of the breaker's trip budget")
        percent = float(words.split(": ")[1].split(" %")[0])
        # 45 A on 30 would take 167 s; with the car's 20 A more, 52 s. It lasted some 5 s.
        assert 1 < percent < 25
    finally:
        garage.stop()
